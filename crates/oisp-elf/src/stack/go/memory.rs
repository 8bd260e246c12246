//! The file as the program sees it: its loaded parts, with the addresses that the loader fills in.

use std::ops::Range;

use memchr::memmem;
use object::elf::{
    DT_RELA, DT_RELASZ, PF_W, PF_X, PT_DYNAMIC, PT_LOAD, R_AARCH64_RELATIVE, R_X86_64_RELATIVE, Rela64,
};
use object::read::elf::{Dyn as _, FileHeader as _, ProgramHeader as _, Rela as _};
use object::{Endianness, ReadRef as _};

use crate::image::{Architecture, Parsed};

pub(super) struct Memory<'a> {
    segments: Vec<Segment<'a>>,
    relocations: &'a [Rela64<Endianness>],
    relative: u32,
}

struct Segment<'a> {
    address: u64,
    bytes: &'a [u8],
    writable: bool,
    executable: bool,
}

const ENDIAN: Endianness = Endianness::Little;

impl<'a> Memory<'a> {
    pub(super) fn of(parsed: &Parsed<'a>) -> Self {
        let data = parsed.file.data();
        let headers = parsed.file.elf_header().program_headers(ENDIAN, data).unwrap_or_default();
        let segments = headers
            .iter()
            .filter(|header| header.p_type(ENDIAN) == PT_LOAD)
            .filter_map(|header| {
                Some(Segment {
                    address: header.p_vaddr(ENDIAN),
                    bytes: header.data(ENDIAN, data).ok()?,
                    writable: header.p_flags(ENDIAN) & PF_W != 0,
                    executable: header.p_flags(ENDIAN) & PF_X != 0,
                })
            })
            .collect();
        let relative = match parsed.architecture {
            Architecture::X86_64 => R_X86_64_RELATIVE,
            Architecture::Aarch64 => R_AARCH64_RELATIVE,
        };
        let relocations = headers
            .iter()
            .filter(|header| header.p_type(ENDIAN) == PT_DYNAMIC)
            .find_map(|header| {
                let entries = header.dynamic(ENDIAN, data).ok()??;
                let value = |tag: i64| {
                    entries.iter().find(|entry| entry.d_tag(ENDIAN) == tag).map(|entry| entry.d_val(ENDIAN))
                };
                let offset = parsed.file_offset(value(DT_RELA)?)?;
                let count = usize::try_from(value(DT_RELASZ)?).ok()? / size_of::<Rela64<Endianness>>();
                data.read_slice_at(offset, count).ok()
            })
            .unwrap_or_default();
        Self { segments, relocations, relative }
    }

    /// Whether a text is anywhere in it.
    pub(super) fn contains(&self, text: &[u8]) -> bool {
        let finder = memmem::Finder::new(text);
        self.segments.iter().any(|segment| finder.find(segment.bytes).is_some())
    }

    /// Whether a text is anywhere in it without this before it.
    pub(super) fn has_without(&self, before: &[u8], text: &[u8]) -> bool {
        let finder = memmem::Finder::new(text);
        self.segments.iter().any(|segment| {
            finder.find_iter(segment.bytes).any(|place| !segment.bytes[..place].ends_with(before))
        })
    }

    /// The places of a text that are aligned, in all parts or in those that are written to.
    pub(super) fn places<'m>(
        &'m self,
        text: &'m [u8],
        alignment: u64,
        only_writable: bool,
    ) -> impl Iterator<Item = u64> + 'm {
        self.segments
            .iter()
            .filter(move |segment| segment.writable || !only_writable)
            .flat_map(move |segment| {
                memmem::find_iter(segment.bytes, text)
                    .filter_map(move |offset| segment.address.checked_add(offset as u64))
            })
            .filter(move |address| address.is_multiple_of(alignment))
    }

    /// From an address to the end of its part of the file.
    pub(super) fn from(&self, address: u64) -> Option<&'a [u8]> {
        self.segments.iter().find_map(|segment| {
            let within = usize::try_from(address.checked_sub(segment.address)?).ok()?;
            segment.bytes.get(within..).filter(|rest| !rest.is_empty())
        })
    }

    /// Bytes of executable code.
    pub(super) fn code(&self, range: &Range<u64>) -> Option<&'a [u8]> {
        let length = usize::try_from(range.end.checked_sub(range.start)?).ok()?;
        self.segments.iter().filter(|segment| segment.executable).find_map(|segment| {
            let within = usize::try_from(range.start.checked_sub(segment.address)?).ok()?;
            segment.bytes.get(within..within.checked_add(length)?)
        })
    }

    pub(super) fn is_code(&self, address: u64) -> bool {
        self.code(&(address..address.saturating_add(1))).is_some_and(|code| !code.is_empty())
    }

    /// The word at an address, as it is once the program is loaded.
    pub(super) fn word(&self, address: u64) -> Option<u64> {
        let relocated = self.relative_relocations().find(|(place, _)| *place == address);
        relocated
            .map(|(_, value)| value)
            .or_else(|| Some(u64::from_le_bytes(*self.from(address)?.first_chunk::<8>()?)))
    }

    /// The aligned places of a word in what is written to, at run time or by the loader.
    pub(super) fn places_of_word(&self, word: u64) -> Vec<u64> {
        let relocated = self.relative_relocations().filter(|(_, value)| *value == word);
        let mut places: Vec<u64> = relocated.map(|(place, _)| place).take(MAX_PLACES).collect();
        places.extend(self.places(&word.to_le_bytes(), 8, true).take(MAX_PLACES));
        places
    }

    /// Where the loader writes an address of the program itself, and which.
    fn relative_relocations(&self) -> impl Iterator<Item = (u64, u64)> {
        self.relocations
            .iter()
            .filter(|relocation| relocation.r_type(ENDIAN, false) == self.relative)
            .map(|relocation| (relocation.r_offset(ENDIAN), relocation.r_addend(ENDIAN).cast_unsigned()))
    }
}

/// A program has one or two of each; a hostile file does not get more looked at.
pub(super) const MAX_PLACES: usize = 16;
