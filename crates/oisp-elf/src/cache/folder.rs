//! A folder of entries: private, bounded, each entry replaced at once or not at all.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::OFlags;

use super::{CacheError, CacheLimits};

/// A larger entry is neither written nor read.
pub(super) const MAX_ENTRY: u64 = 256 << 10;

const ENDING: &str = ".analysis";
/// Begins the name of an entry that is being written.
const UNFINISHED: &str = ".unfinished-";
/// An entry that is not finished after this time never will be.
const ABANDONED: Duration = Duration::from_secs(3600);

#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    limits: CacheLimits,
}

impl Folder {
    pub(super) fn open(path: &Path, limits: CacheLimits) -> Result<Self, CacheError> {
        let failed = |source| CacheError::Folder { folder: path.to_owned(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed)?;
        let metadata = fs::symlink_metadata(path).map_err(failed)?;
        let untrusted = |reason| CacheError::Untrusted { folder: path.to_owned(), reason };
        if !metadata.is_dir() {
            return Err(untrusted("it is not a folder but a link"));
        }
        if metadata.uid() != rustix::process::geteuid().as_raw() {
            return Err(untrusted("it belongs to another user"));
        }
        if metadata.mode() & 0o077 != 0 {
            return Err(untrusted("others may enter it"));
        }
        Ok(Self { path: path.to_owned(), limits })
    }

    pub(super) fn path_of(&self, key: &str) -> PathBuf {
        self.path.join(format!("{key}{ENDING}"))
    }

    /// The bytes of an entry; `None` where there is none.
    pub(super) fn read(&self, key: &str) -> Result<Option<Vec<u8>>, CacheError> {
        let path = self.path_of(key);
        let no_link_no_waiting = OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let opened =
            OpenOptions::new().read(true).custom_flags(no_link_no_waiting.bits().cast_signed()).open(&path);
        let file = match opened {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(_) => return Err(CacheError::Damaged { entry: path, reason: "it cannot be opened" }),
        };
        self.read_file(file).map(Some).map_err(|reason| CacheError::Damaged { entry: path, reason })
    }

    fn read_file(&self, file: File) -> Result<Vec<u8>, &'static str> {
        let metadata = file.metadata().map_err(|_| "it cannot be looked at")?;
        if !metadata.is_file() || metadata.uid() != rustix::process::geteuid().as_raw() {
            return Err("it is not a file of this user's");
        }
        let mut bytes = Vec::new();
        let read = file.take(MAX_ENTRY + 1).read_to_end(&mut bytes).map_err(|_| "it cannot be read")?;
        if read as u64 > MAX_ENTRY { Err("it is too large") } else { Ok(bytes) }
    }

    /// Puts an entry in its place, and takes the oldest away where there are too many.
    pub(super) fn write(&self, key: &str, bytes: &[u8]) -> Result<(), CacheError> {
        let path = self.path_of(key);
        let failed = |source| CacheError::NotWritten { entry: path.clone(), source };
        if bytes.len() as u64 > MAX_ENTRY.min(self.limits.bytes) || self.limits.entries == 0 {
            return Ok(());
        }
        self.make_room(key, bytes.len() as u64).map_err(failed)?;
        // Made with mode 0600, and gone again unless it is put in its place.
        let mut file = tempfile::Builder::new().prefix(UNFINISHED).tempfile_in(&self.path).map_err(failed)?;
        file.write_all(bytes).map_err(failed)?;
        file.persist(&path).map_err(|error| failed(error.error))?;
        Ok(())
    }

    fn make_room(&self, key: &str, needed: u64) -> io::Result<()> {
        let mut entries = Vec::new();
        let mut total = needed;
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            // Another process may have taken it away just now.
            let Ok(metadata) = entry.metadata() else { continue };
            let Ok(changed) = metadata.modified() else { continue };
            let is_abandoned = || SystemTime::now().duration_since(changed).is_ok_and(|age| age > ABANDONED);
            if name.starts_with(UNFINISHED) && is_abandoned() {
                remove(&entry.path())?;
            } else if let Some(other) = name.strip_suffix(ENDING)
                && other != key
                && metadata.is_file()
            {
                total += metadata.len();
                entries.push((changed, entry.path(), metadata.len()));
            }
        }
        entries.sort();
        let mut oldest = entries.iter();
        let mut count = entries.len() + 1;
        while (count > self.limits.entries || total > self.limits.bytes)
            && let Some((_, path, size)) = oldest.next()
        {
            remove(path)?;
            count -= 1;
            total -= size;
        }
        Ok(())
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
