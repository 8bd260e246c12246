//! Finding and opening the libraries.

use std::ffi::CStr;
use std::mem::ManuallyDrop;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;

use super::api::{Api, open};

/// `libssl` and the `libcrypto` it needs, newest first.
const NAMES: [(&str, &str); 2] = [("libssl.so.3", "libcrypto.so.3"), ("libssl.so.1.1", "libcrypto.so.1.1")];

/// An opened OpenSSL. Clones are the same library.
#[derive(Clone)]
pub struct OpenSsl {
    pub(super) api: Arc<Api>,
    file: PathBuf,
}

/// Why OpenSSL could not be used.
#[derive(Debug, Error)]
pub enum OpenSslError {
    /// No library by one of the known names.
    #[error(
        "no OpenSSL library found {place}; install it, for example with: apt-get install libssl3\n{attempts}"
    )]
    NotFound {
        /// Where it was looked for.
        place: String,
        /// What the loader said about each name.
        attempts: String,
    },
    /// The library lacks a function.
    #[error("{file} has no function {name}: it is not an OpenSSL of version 1.1.1 or 3")]
    Symbol {
        /// Which library.
        file: &'static str,
        /// The function.
        name: &'static str,
    },
    /// A call failed.
    #[error("{call} failed: {reason}")]
    Call {
        /// The function.
        call: &'static str,
        /// OpenSSL's error queue.
        reason: String,
    },
    /// The peer's certificate was refused.
    #[error("the server's certificate was refused: {reason}")]
    Certificate {
        /// OpenSSL's reason.
        reason: String,
    },
    /// A name or path holds a zero byte.
    #[error("\"{0}\" holds a zero byte")]
    ZeroByte(String),
    /// The socket failed.
    #[error("the connection failed: {0}")]
    Io(#[from] std::io::Error),
}

impl OpenSsl {
    /// Opens `libssl.so.3`, else `libssl.so.1.1`: from `folder` if one is given, else where the system's loader
    /// finds it. `libcrypto` is taken from `folder` when it is there.
    ///
    /// # Errors
    /// [`OpenSslError::NotFound`] and [`OpenSslError::Symbol`].
    pub fn load(folder: Option<&Path>) -> Result<Self, OpenSslError> {
        let mut attempts = Vec::new();
        for (libssl_name, libcrypto_name) in NAMES {
            let libcrypto_copy =
                folder.map(|folder| folder.join(libcrypto_name)).filter(|file| file.is_file());
            let libssl_file =
                folder.map_or_else(|| PathBuf::from(libssl_name), |folder| folder.join(libssl_name));
            // libcrypto first: libssl then binds to this copy, since the loader matches its name.
            let opened = open(&libcrypto_copy.unwrap_or_else(|| PathBuf::from(libcrypto_name)))
                .and_then(|libcrypto| Ok((libcrypto, open(&libssl_file)?)));
            match opened {
                Ok((libcrypto, libssl)) => {
                    // OpenSSL leaves exit handlers and thread-local destructors behind, which must stay mapped.
                    let (libcrypto, libssl) = (ManuallyDrop::new(libcrypto), ManuallyDrop::new(libssl));
                    // SAFETY: the libraries are named as OpenSSL's are, and are never unloaded.
                    let api = unsafe { Api::find(&libssl, &libcrypto)? };
                    return Ok(Self { api: Arc::new(api), file: libssl_file });
                }
                Err(error) => attempts.push(format!("  {libssl_name}: {error}")),
            }
        }
        let place = folder.map_or_else(
            || "in the system's library path".to_owned(),
            |folder| format!("in {}", folder.display()),
        );
        Err(OpenSslError::NotFound { place, attempts: attempts.join("\n") })
    }

    /// `OpenSSL 3.0.19 27 Jan 2026`, for example.
    #[must_use]
    pub fn version(&self) -> String {
        // SAFETY: the function returns a static string for 0 (OPENSSL_VERSION).
        let version = unsafe { CStr::from_ptr((self.api.OpenSSL_version)(0)) };
        version.to_string_lossy().into_owned()
    }

    /// The name or path under which `libssl` was opened.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.file
    }
}
