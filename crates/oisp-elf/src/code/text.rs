//! Texts among a file's constants.

use memchr::memmem::Finder;

use super::Code;

/// A text that ends with a zero byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Text<'a> {
    pub(crate) address: u64,
    pub(crate) bytes: &'a [u8],
}

/// More copies of one source file's name than any program has.
const MAX_TEXTS: usize = 32;

/// The paths of source files are not longer.
const MAX_LENGTH: usize = 512;

/// The texts that end in `end` and a zero byte, whole.
pub(crate) fn texts_ending_in<'a>(code: &Code<'a>, end: &str) -> Vec<Text<'a>> {
    let mut needle = end.as_bytes().to_vec();
    needle.push(0);
    let finder = Finder::new(&needle);
    let mut texts = Vec::new();
    for region in code.constant() {
        for position in finder.find_iter(region.bytes) {
            if texts.len() == MAX_TEXTS {
                return texts;
            }
            let before = &region.bytes[position.saturating_sub(MAX_LENGTH)..position];
            let prefix = before.iter().rev().take_while(|byte| (0x20..0x7f).contains(*byte)).count();
            let start = position - prefix;
            texts.push(Text {
                address: region.address.wrapping_add(start as u64),
                bytes: &region.bytes[start..position + end.len()],
            });
        }
    }
    texts
}

/// Whether any of the file's constants has this in it.
pub(crate) fn contains(code: &Code<'_>, text: &str) -> bool {
    let finder = Finder::new(text);
    code.constant().any(|region| finder.find(region.bytes).is_some())
}
