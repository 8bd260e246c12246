//! The install key: what makes hashes of secrets comparable here and worthless elsewhere.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

const KEY_LENGTH: usize = 32;

/// How many hexadecimal digits of a hash are written: 128 bits.
const DIGITS: usize = 32;

/// How many of them stand in a marker.
pub(crate) const MARKER_DIGITS: usize = 8;

/// The key of the keyed hash (HMAC-SHA-256). Whoever has it can test guesses of what was redacted, so it
/// never leaves its file; it has no text form.
#[derive(Clone)]
pub struct HashKey(Hmac<Sha256>);

impl fmt::Debug for HashKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("HashKey(..)")
    }
}

impl HashKey {
    /// A key that lives as long as the process: hashes can be compared within one run only.
    ///
    /// # Errors
    /// [`KeyError::NoRandomness`] when the kernel's random source can't be read.
    pub fn ephemeral() -> Result<Self, KeyError> {
        Ok(Self::from_bytes(&random_key()?))
    }

    /// The key in the file at `path`; where there is none, a new one is made and written, mode 0600.
    ///
    /// Of two processes that start at once, one writes the file and both use it.
    ///
    /// # Errors
    /// [`KeyError`] when the file can't be read or made, is not a regular file of 32 bytes, belongs to
    /// another user, or could be read or written by anyone but its owner.
    pub fn load_or_create(path: &Path) -> Result<Self, KeyError> {
        if let Some(key) = load(path)? {
            return Ok(key);
        }
        create(path)?;
        load(path)?.ok_or_else(|| KeyError::io(path, "read", io::ErrorKind::NotFound.into()))
    }

    pub(crate) fn from_bytes(bytes: &[u8; KEY_LENGTH]) -> Self {
        Self(hmac_from(bytes))
    }

    /// The keyed hash as events carry it: `hmac-sha256:` and 32 hexadecimal digits.
    pub(crate) fn hash(&self, data: &str) -> String {
        format!("hmac-sha256:{}", self.digits(data, DIGITS))
    }

    /// The first digits of the same hash, as markers carry them.
    pub(crate) fn short_hash(&self, data: &str) -> String {
        self.digits(data, MARKER_DIGITS)
    }

    /// The first 16 bytes of the hash as a number.
    pub(crate) fn number(&self, data: &str) -> u128 {
        self.digest(data).iter().take(16).fold(0, |number, byte| number << 8 | u128::from(*byte))
    }

    fn digits(&self, data: &str, count: usize) -> String {
        let mut text = String::with_capacity(count);
        for byte in self.digest(data).iter().take(count / 2) {
            for nibble in [byte >> 4, byte & 15] {
                text.push(char::from_digit(u32::from(nibble), 16).unwrap_or('0'));
            }
        }
        text
    }

    fn digest(&self, data: &str) -> [u8; 32] {
        let mut state = self.0.clone();
        state.update(data.as_bytes());
        state.finalize().into_bytes().into()
    }
}

#[expect(clippy::expect_used, reason = "HMAC takes a key of any length (RFC 2104, section 3)")]
fn hmac_from(bytes: &[u8; KEY_LENGTH]) -> Hmac<Sha256> {
    Hmac::new_from_slice(bytes).expect("any length is a key")
}

/// Why there is no install key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The kernel's random source failed.
    #[error("cannot read random bytes from /dev/urandom: {0}")]
    NoRandomness(#[source] io::Error),
    /// The file can't be opened, read or made.
    #[error("cannot {action} the redaction key {}: {source}", path.display())]
    File {
        /// The key file, or the temporary file beside it.
        path: PathBuf,
        /// `open`, `read`, `create`, …
        action: &'static str,
        /// The system's reason.
        source: io::Error,
    },
    /// Others can read or write the file: hashes made with it protect nothing.
    #[error(
        "the redaction key {} has mode {mode:04o}: others may know it; delete it (hashes of earlier events \
         can then no longer be compared with new ones) or, if nobody else has read it, run: chmod 600 {}",
        path.display(),
        path.display()
    )]
    Exposed {
        /// The key file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file belongs to another user, who could know the key.
    #[error(
        "the redaction key {} belongs to user {owner}, not to user {expected} who runs the sensor; \
         choose another path or delete it",
        path.display()
    )]
    ForeignOwner {
        /// The key file.
        path: PathBuf,
        /// Who owns it.
        owner: u32,
        /// Who runs the sensor.
        expected: u32,
    },
    /// The file is not what this crate wrote.
    #[error("the redaction key {} is not a file of 32 bytes; delete it to have a new one made", path.display())]
    Malformed {
        /// The key file.
        path: PathBuf,
    },
}

impl KeyError {
    fn io(path: &Path, action: &'static str, source: io::Error) -> Self {
        Self::File { path: path.to_owned(), action, source }
    }
}

fn random_key() -> Result<[u8; KEY_LENGTH], KeyError> {
    let mut bytes = [0; KEY_LENGTH];
    File::open("/dev/urandom")
        .and_then(|mut source| source.read_exact(&mut bytes))
        .map_err(KeyError::NoRandomness)?;
    Ok(bytes)
}

/// `None` when there is no file.
fn load(path: &Path) -> Result<Option<HashKey>, KeyError> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(KeyError::io(path, "open", error)),
    };
    // Checked on the open file: a path could be exchanged between check and use.
    let metadata = file.metadata().map_err(|error| KeyError::io(path, "inspect", error))?;
    if !metadata.is_file() {
        return Err(KeyError::Malformed { path: path.to_owned() });
    }
    let mode = metadata.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(KeyError::Exposed { path: path.to_owned(), mode });
    }
    let expected = rustix::process::geteuid().as_raw();
    if metadata.uid() != expected {
        return Err(KeyError::ForeignOwner { path: path.to_owned(), owner: metadata.uid(), expected });
    }
    if metadata.len() != KEY_LENGTH as u64 {
        return Err(KeyError::Malformed { path: path.to_owned() });
    }
    let mut bytes = [0; KEY_LENGTH];
    file.read_exact(&mut bytes).map_err(|error| KeyError::io(path, "read", error))?;
    Ok(Some(HashKey::from_bytes(&bytes)))
}

/// Written whole under a temporary name, then linked: nobody ever sees half a key, and `link` fails where
/// another process was faster.
fn create(path: &Path) -> Result<(), KeyError> {
    let bytes = random_key()?;
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".{}.new", std::process::id()));
    let temporary = PathBuf::from(temporary);
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&temporary)
        .and_then(|mut file| file.write_all(&bytes).and_then(|()| file.sync_all()))
        .map_err(|error| KeyError::io(&temporary, "create", error));
    let linked = written.and_then(|()| match fs::hard_link(&temporary, path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(KeyError::io(path, "create", error))
        }
        _ => Ok(()),
    });
    let removed = fs::remove_file(&temporary);
    linked?;
    removed.map_err(|error| KeyError::io(&temporary, "remove", error))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn key_file_is_made_once_private_and_gives_the_same_hashes_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("redaction.key");
        let first = HashKey::load_or_create(&path).unwrap();
        let second = HashKey::load_or_create(&path).unwrap();
        assert_eq!(first.hash("secret"), second.hash("secret"));
        assert_ne!(first.hash("secret"), HashKey::ephemeral().unwrap().hash("secret"));
        let metadata = fs::metadata(&path).unwrap();
        assert_eq!((metadata.mode() & 0o7777, metadata.len()), (0o600, 32));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "no temporary file stays behind");
    }

    #[test]
    fn key_file_that_others_can_read_is_refused_with_the_remedy() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("redaction.key");
        HashKey::load_or_create(&path).unwrap();
        for mode in [0o640, 0o604, 0o602] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let error = HashKey::load_or_create(&path).unwrap_err();
            assert!(matches!(error, KeyError::Exposed { mode: found, .. } if found == mode));
            assert!(error.to_string().contains("chmod 600"), "{error}");
        }
    }

    #[test]
    fn key_file_of_another_size_or_kind_or_in_no_directory_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("short.key");
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .unwrap()
            .write_all(b"x")
            .unwrap();
        assert!(matches!(HashKey::load_or_create(&path), Err(KeyError::Malformed { .. })));
        assert!(matches!(HashKey::load_or_create(directory.path()), Err(KeyError::Malformed { .. })));
        let missing = directory.path().join("none").join("redaction.key");
        assert!(matches!(HashKey::load_or_create(&missing), Err(KeyError::File { .. })));
    }

    #[test]
    fn processes_that_start_at_once_agree_on_one_key() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("redaction.key");
        // What a second process does that lost the race: its link fails, the first one's file stands.
        create(&path).unwrap();
        let first = load(&path).unwrap().unwrap();
        create(&path).unwrap();
        assert_eq!(load(&path).unwrap().unwrap().hash("x"), first.hash("x"));
    }

    #[test]
    fn hash_is_hmac_sha_256_and_has_no_text_form_of_its_key() {
        // RFC 4231 test case 1, its key padded with zeros to 32 bytes: HMAC pads a short key the same way.
        let mut bytes = [0; KEY_LENGTH];
        bytes[..20].fill(0x0b);
        let key = HashKey::from_bytes(&bytes);
        assert_eq!(key.hash("Hi There"), "hmac-sha256:b0344c61d8db38535ca8afceaf0bf12b");
        assert_eq!(key.short_hash("Hi There"), "b0344c61");
        assert_eq!(format!("{key:?}"), "HashKey(..)");
    }
}
