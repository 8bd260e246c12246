//! The TLS libraries, one file each.

mod openssl;

use crate::analysis::Stack;
use crate::image::Parsed;

/// Finds one library's functions, where the file contains that library.
type Find = fn(&Parsed<'_>) -> Option<Stack>;

/// All of them; each is asked about every file, because a file may contain several.
pub(crate) const FINDERS: &[Find] = &[openssl::find];

/// How the file names of the libraries begin.
pub(crate) const LIBRARY_NAMES: &[&str] = &[openssl::LIBRARY_NAME];
