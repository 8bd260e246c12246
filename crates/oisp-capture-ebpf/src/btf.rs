//! Offsets of kernel structure members, read from the running kernel's type information (BTF).
//!
//! Format: `Documentation/bpf/btf.rst` of the kernel. Only what is needed for structures and their members; libraries
//! for it are under licences that an Apache-2.0 program cannot link statically, or do not give offsets.

use std::path::Path;

/// Where the kernel shows its type information.
pub(crate) const KERNEL_BTF: &str = "/sys/kernel/btf/vmlinux";

/// Why an offset is not known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BtfError {
    /// The file cannot be read.
    #[error("cannot read {path}: {reason}")]
    Unreadable {
        /// Which file.
        path: String,
        /// Why.
        reason: String,
    },
    /// The data is not BTF as this version knows it.
    #[error("malformed BTF: {0}")]
    Malformed(&'static str),
    /// The kernel has no such member.
    #[error("this kernel has no {structure}.{member}")]
    NoSuchMember {
        /// The structure.
        structure: String,
        /// Its member.
        member: String,
    },
}

/// A kernel's types.
pub(crate) struct Btf {
    data: Vec<u8>,
    strings: std::ops::Range<usize>,
    /// Where each type begins; type ids count from 1.
    types: Vec<usize>,
}

const MAGIC: u16 = 0xeb9f;
const KIND_STRUCT: u32 = 4;
const KIND_UNION: u32 = 5;
/// Structures nest anonymous ones; no kernel nests them deeper than a few levels.
const MAX_DEPTH: usize = 8;

impl Btf {
    pub(crate) fn of_kernel() -> Result<Self, BtfError> {
        Self::read(Path::new(KERNEL_BTF))
    }

    fn read(path: &Path) -> Result<Self, BtfError> {
        let data = std::fs::read(path).map_err(|error| BtfError::Unreadable {
            path: path.display().to_string(),
            reason: error.to_string(),
        })?;
        Self::parse(data)
    }

    pub(crate) fn parse(data: Vec<u8>) -> Result<Self, BtfError> {
        let short = BtfError::Malformed("header cut off");
        let half = |offset: usize| Some(u16::from_ne_bytes(data.get(offset..offset + 2)?.try_into().ok()?));
        if half(0).ok_or_else(|| short.clone())? != MAGIC {
            return Err(BtfError::Malformed("wrong magic number"));
        }
        let field = |offset| word(&data, offset).map(|value| value as usize).ok_or_else(|| short.clone());
        let (header, type_offset, type_length) = (field(4)?, field(8)?, field(12)?);
        let (string_offset, string_length) = (field(16)?, field(20)?);
        let range = |offset: usize, length: usize| {
            let start = header.checked_add(offset)?;
            let end = start.checked_add(length)?;
            (end <= data.len()).then_some(start..end)
        };
        let types_range =
            range(type_offset, type_length).ok_or(BtfError::Malformed("types beyond the end"))?;
        let strings =
            range(string_offset, string_length).ok_or(BtfError::Malformed("strings beyond the end"))?;
        let mut types = Vec::new();
        let mut position = types_range.start;
        while position < types_range.end {
            types.push(position);
            let info = word(&data, position + 4).ok_or(BtfError::Malformed("type cut off"))?;
            let trailing = trailing_bytes(info).ok_or(BtfError::Malformed("unknown kind of type"))?;
            position += 12 + trailing;
        }
        Ok(Self { data, strings, types })
    }

    /// Offset in bytes of a member of a structure, anonymous inner structures included.
    pub(crate) fn member_offset(&self, structure: &str, member: &str) -> Result<u32, BtfError> {
        self.types
            .iter()
            .filter(|&&at| self.kind(at) == Some(KIND_STRUCT) && self.name(at) == Some(structure.as_bytes()))
            .find_map(|&at| self.find_member(at, member.as_bytes(), MAX_DEPTH))
            .filter(|bits| bits % 8 == 0)
            .map(|bits| bits / 8)
            .ok_or_else(|| BtfError::NoSuchMember {
                structure: structure.to_owned(),
                member: member.to_owned(),
            })
    }

    /// Offset in bits.
    fn find_member(&self, at: usize, member: &[u8], depth: usize) -> Option<u32> {
        let depth = depth.checked_sub(1)?;
        let info = word(&self.data, at + 4)?;
        let has_bitfields = info >> 31 == 1;
        (0..info & 0xffff).find_map(|index| {
            let entry = at + 12 + index as usize * 12;
            let (name, type_id, offset) =
                (word(&self.data, entry)?, word(&self.data, entry + 4)?, word(&self.data, entry + 8)?);
            // With the flag set the upper 8 bits are the width of a bit field.
            let offset = if has_bitfields { offset & 0x00ff_ffff } else { offset };
            if self.string(name)? == member {
                return Some(offset);
            }
            if self.string(name)?.is_empty() {
                let inner = *self.types.get((type_id as usize).checked_sub(1)?)?;
                if matches!(self.kind(inner), Some(KIND_STRUCT | KIND_UNION)) {
                    return Some(offset + self.find_member(inner, member, depth)?);
                }
            }
            None
        })
    }

    fn kind(&self, at: usize) -> Option<u32> {
        Some((word(&self.data, at + 4)? >> 24) & 0x1f)
    }

    fn name(&self, at: usize) -> Option<&[u8]> {
        self.string(word(&self.data, at)?)
    }

    fn string(&self, offset: u32) -> Option<&[u8]> {
        let strings = self.data.get(self.strings.clone())?;
        let rest = strings.get(offset as usize..)?;
        rest.split(|&byte| byte == 0).next()
    }
}

fn word(data: &[u8], offset: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(data.get(offset..offset + 4)?.try_into().ok()?))
}

/// Bytes that follow the 12 that every type has.
fn trailing_bytes(info: u32) -> Option<usize> {
    let count = (info & 0xffff) as usize;
    Some(match (info >> 24) & 0x1f {
        // INT, VAR, DECL_TAG
        1 | 14 | 17 => 4,
        // PTR, FWD, TYPEDEF, VOLATILE, CONST, RESTRICT, FUNC, FLOAT, TYPE_TAG
        2 | 7..=12 | 16 | 18 => 0,
        // ARRAY
        3 => 12,
        // STRUCT, UNION, DATASEC, ENUM64
        KIND_STRUCT | KIND_UNION | 15 | 19 => count * 12,
        // ENUM, FUNC_PROTO
        6 | 13 => count * 8,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `struct outer { int a; struct { int :24 b…; int c; }; }` by hand.
    fn sample() -> Vec<u8> {
        let strings = b"\0outer\0a\0c\0";
        let mut types: Vec<u32> = Vec::new();
        // 1: int
        types.extend([0, 1 << 24, 4, 32]);
        // 2: anonymous struct with one member `c` at bit 32
        types.extend([0, (KIND_STRUCT << 24) | 1, 8, 9, 1, 32]);
        // 3: struct outer { a at 0; anonymous at 64 } with the bit-field flag
        types.extend([1, (1 << 31) | (KIND_STRUCT << 24) | 2, 16, 7, 1, 32 << 24, 0, 2, 64]);
        let mut data = Vec::new();
        data.extend(MAGIC.to_ne_bytes());
        data.extend([1, 0]);
        let length = types.len() as u32 * 4;
        for value in [24, 0, length, length, strings.len() as u32] {
            data.extend(value.to_ne_bytes());
        }
        data.extend(types.iter().flat_map(|value| value.to_ne_bytes()));
        data.extend(strings);
        data
    }

    #[test]
    fn members_are_found_also_in_anonymous_structures() {
        let btf = Btf::parse(sample()).expect("well-formed");
        assert_eq!(btf.member_offset("outer", "a"), Ok(0));
        assert_eq!(btf.member_offset("outer", "c"), Ok(12));
        assert!(matches!(btf.member_offset("outer", "d"), Err(BtfError::NoSuchMember { .. })));
        assert!(matches!(btf.member_offset("inner", "a"), Err(BtfError::NoSuchMember { .. })));
    }

    #[test]
    fn cut_or_changed_type_information_never_panics() {
        let data = sample();
        for cut in 0..data.len() {
            if let Ok(btf) = Btf::parse(data[..cut].to_vec()) {
                let _result = btf.member_offset("outer", "c");
            }
        }
        for position in 0..data.len() {
            for value in [0, 1, 0x7f, 0xff] {
                let mut changed = data.clone();
                changed[position] = value;
                if let Ok(btf) = Btf::parse(changed) {
                    let _result = btf.member_offset("outer", "c");
                }
            }
        }
    }
}
