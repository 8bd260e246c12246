//! What the linker writes about a build (`debug/buildinfo`): that it is Go's, and the version.

use super::memory::Memory;

const MAGIC: &[u8] = b"\xff Go buildinf:";
const ALIGNMENT: u64 = 16;
/// Since Go 1.18 the texts follow the header; before, it has their addresses.
const INLINE: u8 = 2;
const HEADER: u64 = 32;
/// Longer ones are not read.
const MAX_VERSION: u64 = 256;

/// A Go build.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Build {
    /// Of "go1.27.3", 27; `None` where no such version is told.
    minor: Option<u32>,
    register_abi_off: bool,
}

impl Build {
    /// Of a Go program; `None` for others.
    pub(super) fn of(memory: &Memory<'_>) -> Option<Self> {
        // The loader does not change it, but it lies in what is written to.
        let place = memory.places(MAGIC, ALIGNMENT, true).next()?;
        let version = version(memory, place).unwrap_or_default();
        Some(Self::of_version(&String::from_utf8_lossy(version)))
    }

    fn of_version(text: &str) -> Self {
        let minor = text.split("go1.").nth(1).and_then(|rest| {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            rest.get(..digits)?.parse().ok()
        });
        Self { minor, register_abi_off: text.contains("noregabi") }
    }

    pub(super) fn is_before(&self, minor: u32) -> bool {
        self.minor.is_some_and(|own| own < minor)
    }

    pub(super) fn is_known(&self) -> bool {
        self.minor.is_some()
    }

    pub(super) fn has_no_register_abi(&self) -> bool {
        self.register_abi_off
    }
}

fn version<'a>(memory: &Memory<'a>, place: u64) -> Option<&'a [u8]> {
    let header = memory.from(place)?;
    let [pointer_size, flags] = *header.get(MAGIC.len()..)?.first_chunk::<2>()?;
    if flags & INLINE != 0 {
        let text = memory.from(place.checked_add(HEADER)?)?;
        // A version is shorter than 128 bytes, so its length is one byte.
        let (&length, text) = text.split_first()?;
        return text.get(..usize::from(length));
    }
    if pointer_size != 8 {
        return None;
    }
    let string = memory.word(place.checked_add(16)?)?;
    let (text, length) = (memory.word(string)?, memory.word(string.checked_add(8)?)?);
    memory.from(text)?.get(..usize::try_from(length.min(MAX_VERSION)).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_is_understood_as_releases_and_others_write_it() {
        for (text, minor) in [
            ("go1.27.3", Some(27)),
            ("go1.17", Some(17)),
            ("go1.22rc1 X:loopvar", Some(22)),
            ("devel go1.28-a1b2c3d Thu Jan 1", Some(28)),
            ("unknown", None),
            ("", None),
            ("go1.", None),
            ("go1.99999999999999", None),
        ] {
            assert_eq!(Build::of_version(text).minor, minor, "{text}");
        }
        assert!(Build::of_version("go1.17.1 X:noregabi").has_no_register_abi());
    }
}
