//! The unwind table (`.eh_frame_hdr`), which says for some functions where they begin and end.

use object::Endianness;
use object::elf::{FileHeader64, PT_GNU_EH_FRAME};
use object::read::elf::{FileHeader as _, ProgramHeader as _};

use crate::image::{Parsed, Region};

/// The table that linkers make: sorted pairs of a function's start and its entry, both relative to the table.
pub(crate) struct Table<'a> {
    address: u64,
    pairs: &'a [u8],
    regions: Vec<Region<'a>>,
}

/// How the only form of table that linkers write encodes its pairs: relative to the table, four bytes, signed.
const TABLE_RELATIVE_SIGNED_4: u8 = 0x3b;

/// The table's header, its pointer to the entries and its count.
const HEADER: usize = 12;

impl<'a> Table<'a> {
    pub(super) fn find(parsed: &Parsed<'a>, regions: &[Region<'a>]) -> Option<Self> {
        let bytes = parsed.file.data();
        let header = FileHeader64::<Endianness>::parse(bytes).ok()?;
        let endian = header.endian().ok()?;
        let segment = header
            .program_headers(endian, bytes)
            .ok()?
            .iter()
            .find(|segment| segment.p_type(endian) == PT_GNU_EH_FRAME)?;
        let address = segment.p_vaddr(endian);
        let table = regions.iter().find_map(|region| region.from(address))?;
        // Version 1; entries relative to themselves in four bytes; their count in four bytes.
        if table.get(..4)? != [1, 0x1b, 0x03, TABLE_RELATIVE_SIGNED_4] {
            return None;
        }
        let count = usize::try_from(u32_at(table, 8)?).ok()?;
        let pairs = table.get(HEADER..HEADER.checked_add(count.checked_mul(8)?)?)?;
        let regions = regions.iter().filter(|region| !region.writable).copied().collect();
        Some(Self { address, pairs, regions })
    }

    /// Start and end of the part of a function that an entry says an address lies in.
    pub(crate) fn covering(&self, address: u64) -> Option<(u64, u64)> {
        let pairs = self.pairs.as_chunks::<8>().0;
        let after = pairs.partition_point(|pair| self.start(pair).is_some_and(|start| start <= address));
        let pair = pairs.get(after.checked_sub(1)?)?;
        let start = self.start(pair)?;
        let entry = self.relative(pair, 4)?;
        let bytes = self.regions.iter().find_map(|region| region.from(entry))?;
        // Length, distance to the common entry, start relative to itself, length of the code.
        if relative_to(entry.wrapping_add(8), bytes, 8)? != start {
            return None;
        }
        let end = start.checked_add(u64::from(u32_at(bytes, 12)?))?;
        (start..end).contains(&address).then_some((start, end))
    }

    fn start(&self, pair: &[u8; 8]) -> Option<u64> {
        self.relative(pair, 0)
    }

    fn relative(&self, pair: &[u8; 8], position: usize) -> Option<u64> {
        relative_to(self.address, pair, position)
    }
}

fn relative_to(base: u64, bytes: &[u8], position: usize) -> Option<u64> {
    let distance = i32::from_le_bytes(bytes.get(position..position + 4)?.try_into().ok()?);
    Some(base.wrapping_add_signed(i64::from(distance)))
}

fn u32_at(bytes: &[u8], position: usize) -> Option<u32> {
    bytes.get(position..position + 4)?.try_into().ok().map(u32::from_le_bytes)
}
