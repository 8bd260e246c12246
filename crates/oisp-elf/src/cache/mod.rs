//! Analyses that were made before.
//!
//! An entry is a hint and never believed: it is used when the file still has the size, the headers and the code around
//! every place that the entry was made of, each place is in code, and [`Analysis::verify`] finds nothing wrong. Anything
//! else means a new analysis.
//!
//! A file with functions is known by its build id and size. One in which nothing was found has nothing that could be
//! compared, so it is known by device, inode, size and times; and so is one without a build id.

mod entry;
mod folder;

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use sha2::{Digest as _, Sha256};

use crate::analysis::{Analysis, analyze_parsed};
use crate::image::{ElfError, Image, Parsed};
use entry::Entry;
use folder::Folder;

/// What is kept at most; the oldest entries go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheLimits {
    /// Entries.
    pub entries: usize,
    /// Bytes of all entries.
    pub bytes: u64,
}

impl Default for CacheLimits {
    /// 1,024 entries in 16 MiB.
    fn default() -> Self {
        Self { entries: 1024, bytes: 16 << 20 }
    }
}

/// Analyses on disk. Several processes may use one folder at once.
#[derive(Debug)]
pub struct AnalysisCache {
    folder: Folder,
}

/// Why a cache, or an entry, is not used.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// The folder cannot be made or looked at.
    #[error("{}: {source}", folder.display())]
    Folder {
        /// Which.
        folder: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Somebody else could write to it.
    #[error("{}: not used, because {reason}; make it a folder of this user's own with mode 0700", folder.display())]
    Untrusted {
        /// Which.
        folder: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// An entry is damaged, and replaced.
    #[error("{}: damaged ({reason}); the file is analysed anew", entry.display())]
    Damaged {
        /// Which.
        entry: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// An entry cannot be written.
    #[error("{}: cannot be written: {source}", entry.display())]
    NotWritten {
        /// Which.
        entry: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// An analysis and where it is from.
#[derive(Debug)]
pub struct Looked {
    /// What is in the file.
    pub analysis: Analysis,
    /// It had been made before, and the file is as it was.
    pub cached: bool,
    /// What was wrong with the cache; the analysis is right all the same.
    pub trouble: Vec<CacheError>,
}

/// A file that changed a moment ago may change again within the same tick of its times.
const SETTLED: Duration = Duration::from_secs(2);

impl AnalysisCache {
    /// Opens a folder, and makes it where there is none.
    ///
    /// # Errors
    /// When it cannot be made, or others than this user could write to it.
    pub fn open(folder: &Path, limits: CacheLimits) -> Result<Self, CacheError> {
        Ok(Self { folder: Folder::open(folder, limits)? })
    }

    /// `/var/cache/oisp-sensor` for root, else `oisp-sensor` in `$XDG_CACHE_HOME` (`~/.cache`); a service's own folder
    /// (`$CACHE_DIRECTORY`) goes before both. `None` where none is known.
    #[must_use]
    pub fn default_folder() -> Option<PathBuf> {
        let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        if let Some(folders) = std::env::var_os("CACHE_DIRECTORY")
            && let Some(folder) = std::env::split_paths(&folders).next().filter(|path| path.is_absolute())
        {
            return Some(folder);
        }
        if rustix::process::geteuid().is_root() {
            return Some(PathBuf::from("/var/cache/oisp-sensor"));
        }
        let cache = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")))?;
        Some(cache.join("oisp-sensor"))
    }

    /// What is in a file: from the cache where that holds, else analysed and kept.
    ///
    /// # Errors
    /// When the file is not an ELF file of a supported kind. Nothing about the cache is an error.
    pub fn analyze(&self, file: &File) -> Result<Looked, ElfError> {
        let metadata = file.metadata()?;
        let image = Image::map(file)?;
        let parsed = Parsed::parse(image.bytes())?;
        let by_identity = key_of_identity(&metadata);
        let by_build_id = parsed.build_id().map(|build_id| key_of_build_id(&build_id, image.bytes().len()));
        let mut trouble = Vec::new();
        for key in by_build_id.iter().chain([&by_identity]) {
            match self.folder.read(key).map(|found| found.map(|bytes| Entry::decode(&bytes, key))) {
                Ok(Some(Ok(entry))) => {
                    let may_be_empty = *key == by_identity;
                    if let Some(analysis) = entry.verified(&parsed, image.bytes(), may_be_empty)
                        && analysis.verify(&image).is_ok()
                    {
                        return Ok(Looked { analysis, cached: true, trouble });
                    }
                }
                Ok(Some(Err(entry::Unusable::OtherVersion)) | None) => {}
                Ok(Some(Err(entry::Unusable::Damaged(reason)))) => {
                    trouble.push(CacheError::Damaged { entry: self.folder.path_of(key), reason });
                }
                Err(error) => trouble.push(error),
            }
        }
        let analysis = analyze_parsed(&parsed);
        let key = match by_build_id {
            Some(key) if !analysis.stacks.is_empty() => Some(key),
            _ => has_settled(&metadata, SystemTime::now()).then_some(by_identity),
        };
        if let Some(key) = key {
            let bytes = Entry::of(&analysis, &parsed, image.bytes()).and_then(|entry| entry.encode(&key));
            if let Some(bytes) = bytes
                && let Err(error) = self.folder.write(&key, &bytes)
            {
                trouble.push(error);
            }
        }
        Ok(Looked { analysis, cached: false, trouble })
    }
}

/// What an entry is filed under: 32 bytes in hexadecimal.
type Key = String;

/// With the size, because a program that is put behind another one (as `bun build --compile` does) keeps its build id.
fn key_of_build_id(build_id: &str, size: usize) -> Key {
    hexadecimal(
        &Sha256::new()
            .chain_update("build id")
            .chain_update(build_id)
            .chain_update(size.to_le_bytes())
            .finalize(),
    )
}

fn key_of_identity(metadata: &Metadata) -> Key {
    let mut digest = Sha256::new().chain_update("identity");
    for number in [metadata.dev(), metadata.ino(), metadata.size()] {
        digest.update(number.to_le_bytes());
    }
    for number in [metadata.mtime(), metadata.mtime_nsec(), metadata.ctime(), metadata.ctime_nsec()] {
        digest.update(number.to_le_bytes());
    }
    hexadecimal(&digest.finalize())
}

fn has_settled(metadata: &Metadata, now: SystemTime) -> bool {
    let changed =
        u64::try_from(metadata.ctime()).map(|seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
    changed.is_ok_and(|changed| now.duration_since(changed).is_ok_and(|age| age > SETTLED))
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
