//! Paths as bytes: serde's own form refuses those that are not UTF-8, and a recording must hold any.
//!
//! For `#[serde(with = "oisp_capture::path_serde")]`.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde::{Deserialize as _, Deserializer, Serializer};

/// Writes a path.
///
/// # Errors
/// Those of the serializer.
pub fn serialize<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bytes(path.as_os_str().as_bytes())
}

/// Reads a path.
///
/// # Errors
/// Those of the deserializer.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PathBuf, D::Error> {
    Bytes::deserialize(deserializer).map(from_bytes)
}

fn from_bytes(bytes: Bytes) -> PathBuf {
    OsString::from_vec(bytes.into()).into()
}

/// The same where there may be no path.
pub mod option {
    use std::os::unix::ffi::OsStrExt as _;

    use super::{Bytes, Deserializer, PathBuf, Serializer, from_bytes};
    use serde::{Deserialize as _, Serialize as _};

    /// Writes a path or that there is none.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(path: &Option<PathBuf>, serializer: S) -> Result<S::Ok, S::Error> {
        let bytes = path.as_ref().map(|path| Bytes::copy_from_slice(path.as_os_str().as_bytes()));
        bytes.serialize(serializer)
    }

    /// Reads a path or that there is none.
    ///
    /// # Errors
    /// Those of the deserializer.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<PathBuf>, D::Error> {
        Ok(Option::<Bytes>::deserialize(deserializer)?.map(from_bytes))
    }
}
