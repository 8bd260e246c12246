//! The runtime's function table (pclntab) and where the code is that it speaks of (moduledata).
//!
//! Found without section headers: by its first bytes, and only where the runtime's description of the program points to
//! it and agrees with it in every figure.

use std::ops::Range;

use memchr::memmem;

use super::memory::{MAX_PLACES, Memory};
use crate::analysis::RefusalReason;
use crate::image::Architecture;

/// How a version of Go writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// Go 1.16 and 1.17: addresses.
    Go116,
    /// From Go 1.18: offsets from the beginning of the code. 1.20 changed the first bytes only.
    Go118,
}

const FORMATS: [(u32, Format); 3] =
    [(0xffff_fffa, Format::Go116), (0xffff_fff0, Format::Go118), (0xffff_fff1, Format::Go118)];

/// A function table that agrees with the program's description.
pub(super) struct Table<'a, 'm> {
    memory: &'m Memory<'a>,
    pub(super) format: Format,
    /// Names, each ended by a zero byte.
    names: &'a [u8],
    /// One entry a function and one for the end of the code; each function's description follows.
    functions: &'a [u8],
    /// Address of `functions`.
    functions_at: u64,
    count: usize,
    /// Beginning of the code.
    text: u64,
}

impl<'a, 'm> Table<'a, 'm> {
    pub(super) fn find(memory: &'m Memory<'a>, architecture: Architecture) -> Option<Self> {
        let smallest_instruction = match architecture {
            Architecture::X86_64 => 1,
            Architecture::Aarch64 => 4,
        };
        FORMATS.into_iter().find_map(|(magic, format)| {
            let mut head = [0; 8];
            head[..4].copy_from_slice(&magic.to_le_bytes());
            head[6..].copy_from_slice(&[smallest_instruction, 8]);
            let places: Vec<u64> = memory.places(&head, 8, false).take(MAX_PLACES).collect();
            places.into_iter().find_map(|place| Self::at(memory, place, format))
        })
    }

    /// The table at an address, if there is one.
    fn at(memory: &'m Memory<'a>, address: u64, format: Format) -> Option<Self> {
        let bytes = memory.from(address)?;
        let count = word(bytes, 8)?;
        // Before the offsets: the numbers of functions and files, and from Go 1.18 the code's beginning.
        let offsets = match format {
            Format::Go116 => 24,
            Format::Go118 => 32,
        };
        let (names_offset, units_offset) = (word(bytes, offsets)?, word(bytes, offsets + 8)?);
        let functions_offset = word(bytes, offsets + 32)?;
        let names = bytes.get(usize::try_from(names_offset).ok()?..usize::try_from(units_offset).ok()?)?;
        let functions = bytes.get(usize::try_from(functions_offset).ok()?..)?;
        let names_at = address.checked_add(names_offset)?;
        let functions_at = address.checked_add(functions_offset)?;
        let table = Self {
            memory,
            format,
            names,
            functions,
            functions_at,
            count: usize::try_from(count).ok()?,
            text: 0,
        };
        // The table has an entry more than functions, of which only the first half counts.
        table.entry(table.count.checked_sub(1)?)?;
        memory.places_of_word(address).into_iter().find_map(|module| {
            let field = |offset: u64| memory.word(module.checked_add(offset)?);
            let agrees = field(8)? == names_at
                && field(128)? == functions_at
                && field(136)? == count.checked_add(1)?;
            let (first, end, text) = (field(160)?, field(168)?, field(176)?);
            let table = Self { text, ..table.clone() };
            (agrees
                && memory.is_code(text)
                && table.address(0)? == first
                && table.address(table.count)? == end)
                .then_some(table)
        })
    }

    /// The functions with these names, each from its first to after its last byte.
    pub(super) fn functions<const N: usize>(
        &self,
        names: &[&str; N],
    ) -> Result<[Option<Range<u64>>; N], RefusalReason> {
        let wanted = names.map(|name| self.name_offset(name));
        let mut found = [const { None }; N];
        if wanted.iter().all(Option::is_none) {
            return Ok(found);
        }
        for index in 0..self.count {
            let Some(name) = self.name_of(index) else { continue };
            for (slot, _) in found.iter_mut().zip(&wanted).filter(|(_, wanted)| **wanted == Some(name)) {
                if slot.is_some() {
                    return Err(RefusalReason::Contradiction("a function is in the function table twice"));
                }
                let (Some(start), Some(end)) = (self.address(index), self.address(index + 1)) else {
                    return Err(DAMAGED);
                };
                if start >= end {
                    return Err(DAMAGED);
                }
                *slot = Some(start..end);
            }
        }
        Ok(found)
    }

    /// The place of a name among the names.
    fn name_offset(&self, name: &str) -> Option<u32> {
        let mut text = Vec::with_capacity(name.len() + 1);
        text.extend_from_slice(name.as_bytes());
        text.push(0);
        let is_whole = |at: &usize| at.checked_sub(1).is_none_or(|before| self.names.get(before) == Some(&0));
        memmem::find_iter(self.names, &text).find(is_whole).and_then(|at| u32::try_from(at).ok())
    }

    fn name_of(&self, index: usize) -> Option<u32> {
        let (_, description) = self.entry(index)?;
        // After the function's address or offset.
        let place = usize::try_from(description).ok()?.checked_add(match self.format {
            Format::Go116 => 8,
            Format::Go118 => 4,
        })?;
        half(self.functions, place)
    }

    /// An entry: address or offset of a function, and the place of its description.
    fn entry(&self, index: usize) -> Option<(u64, u64)> {
        match self.format {
            Format::Go116 => {
                let place = index.checked_mul(16)?;
                Some((word(self.functions, place)?, word(self.functions, place + 8)?))
            }
            Format::Go118 => {
                let place = index.checked_mul(8)?;
                Some((half(self.functions, place)?.into(), half(self.functions, place + 4)?.into()))
            }
        }
    }

    /// Where a function begins, and with the number of functions where the code ends.
    fn address(&self, index: usize) -> Option<u64> {
        match self.format {
            // The loader has to fill it in where the program may lie anywhere.
            Format::Go116 => {
                let place = u64::try_from(index.checked_mul(16)?).ok()?;
                self.memory.word(self.functions_at.checked_add(place)?)
            }
            Format::Go118 => self.text.checked_add(half(self.functions, index.checked_mul(8)?)?.into()),
        }
    }
}

impl Clone for Table<'_, '_> {
    fn clone(&self) -> Self {
        Self { ..*self }
    }
}

const DAMAGED: RefusalReason = RefusalReason::Contradiction("the function table contradicts itself");

fn word(bytes: &[u8], place: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(place..)?.first_chunk::<8>()?))
}

fn half(bytes: &[u8], place: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(place..)?.first_chunk::<4>()?))
}
