//! The TLS libraries, one file each.

mod boringssl;
mod error_reports;
mod go;
mod openssl;
mod openssl_static;
mod ring;
mod rustls;
mod unknown;

use crate::analysis::{Refusal, Stack};
use crate::image::Parsed;

pub(crate) use unknown::refuse_unknown;

/// Finds one library's functions, where the file contains that library. A refusal where it does and they cannot be
/// located.
type Find = fn(&Parsed<'_>) -> Result<Option<Stack>, Refusal>;

/// All of them; each is asked about every file, because a file may contain several.
pub(crate) const FINDERS: &[Find] = &[
    openssl::find,
    openssl_static::find,
    boringssl::find,
    rustls::find,
    ring::find,
    go::find,
    go::refuse_copy,
];

/// How the file names of the libraries begin.
pub(crate) const LIBRARY_NAMES: &[&str] = &[openssl::LIBRARY_NAME];
