//! Entries for fuzzing: any bytes in, invariants asserted.

use crate::{Image, analyze_file, dependencies};

/// Analyses a file that has these bytes.
///
/// # Panics
/// When a function is said to lie outside the file: a bug in this crate.
pub fn file(bytes: &[u8]) {
    let Ok(image) = Image::copy_of(bytes) else { return };
    if let Ok(analysis) = analyze_file(&image) {
        for site in analysis.stacks.iter().flat_map(|stack| &stack.functions) {
            assert!(site.file_offset < bytes.len() as u64, "{site:?} is outside the file");
            for place in std::iter::once(&site.entry).chain(&site.returns.instructions) {
                assert!(place.file_offset < bytes.len() as u64, "{place:?} is outside the file");
            }
        }
        // Whatever the answer is.
        let _ = analysis.verify(&image);
    }
    let _ = dependencies(&image);
}
