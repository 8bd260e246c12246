//! 64-bit Arm: the instructions that the rules ask about, by the groups of the Arm Architecture Reference Manual,
//! chapter C4. All others only say which register they change.

use super::operation::{Decoded, Operation, Place, Register, Registers};
use super::{Kind, Sighting};

/// The registers of the first six arguments.
pub(super) const ARGUMENTS: [Register; 6] =
    [Register(0), Register(1), Register(2), Register(3), Register(4), Register(5)];

/// What a called function may change.
pub(super) const CALLER_SAVED: Registers = Registers(0x4007_ffff);

/// The zero register or the stack pointer, as the instruction has it.
const ZERO: u8 = 31;

/// Decodes the instruction that `bytes` begin with.
pub(super) fn decode(bytes: &[u8], address: u64) -> Option<Decoded> {
    let word = u32::from_le_bytes(bytes.get(..4)?.try_into().ok()?);
    let (operation, second) = match (word >> 25) & 0xf {
        0b0000 => (Operation::Stop, None),
        0b1000 | 0b1001 => (immediate(word, address), None),
        0b1010 | 0b1011 => (branch(word, address), None),
        0b0100 | 0b0110 | 0b1100 | 0b1110 => memory(word),
        _ => (register_operation(word), None),
    };
    Some(Decoded { length: 4, operation, second })
}

fn field(word: u32, low: u32, width: u32) -> u32 {
    (word >> low) & ((1 << width) - 1)
}

fn register(word: u32, low: u32) -> Register {
    #[expect(clippy::cast_possible_truncation, reason = "five bits")]
    Register(field(word, low, 5) as u8)
}

/// A field as a signed number.
fn signed(word: u32, low: u32, width: u32) -> i64 {
    let value = i64::from(field(word, low, width));
    if value >> (width - 1) == 0 { value } else { value - (1 << width) }
}

/// The address that lies `instructions` after this one.
fn relative(address: u64, instructions: i64) -> u64 {
    #[expect(clippy::cast_sign_loss, reason = "addresses wrap")]
    address.wrapping_add((instructions * 4) as u64)
}

fn unknown(register: Register) -> Operation {
    Operation::Other { clobbers: if register.0 == ZERO { Registers(0) } else { Registers(1 << register.0) } }
}

fn branch(word: u32, address: u64) -> Operation {
    if word >> 26 == 0b00_0101 {
        return Operation::Jump { target: Some(relative(address, signed(word, 0, 26))) };
    }
    if word >> 26 == 0b10_0101 {
        return Operation::Call { target: Some(relative(address, signed(word, 0, 26))) };
    }
    // b.cond, bc.cond; cbz, cbnz; tbz, tbnz
    if word & 0xff00_0000 == 0x5400_0000 || word & 0x7e00_0000 == 0x3400_0000 {
        return Operation::Branch { target: relative(address, signed(word, 5, 19)) };
    }
    if word & 0x7e00_0000 == 0x3600_0000 {
        return Operation::Branch { target: relative(address, signed(word, 5, 14)) };
    }
    if word >> 25 == 0b110_1011 {
        return match field(word, 21, 4) & 0b111 {
            0b000 => Operation::Jump { target: None },
            0b001 => Operation::Call { target: None },
            0b010 => Operation::Return,
            _ => Operation::Stop,
        };
    }
    if word & 0xffe0_001f == 0xd400_0001 {
        return Operation::Other { clobbers: Registers(1) };
    }
    if word & 0xff00_0000 == 0xd400_0000 {
        return Operation::Stop;
    }
    // mrs
    if word & 0xfff0_0000 == 0xd530_0000 {
        return unknown(register(word, 0));
    }
    Operation::NOTHING
}

fn immediate(word: u32, address: u64) -> Operation {
    let to = register(word, 0);
    let from = register(word, 5);
    let wide = word >> 31 == 1;
    let masked = |value: u64| if wide { value } else { value & 0xffff_ffff };
    // adr, adrp
    if word & 0x1f00_0000 == 0x1000_0000 {
        return Operation::Set { to, value: page_address(word, address) };
    }
    // add, sub; with the flags only, a comparison
    if word & 0x1f80_0000 == 0x1100_0000 {
        if word & (1 << 29) != 0 && to.0 == ZERO {
            return Operation::NOTHING;
        }
        let mut value = i64::from(field(word, 10, 12)) << (12 * field(word, 22, 1));
        if word & (1 << 30) != 0 {
            value = -value;
        }
        return Operation::Add { to, from, value, narrow: !wide };
    }
    // movn, movz, movk
    if word & 0x1f80_0000 == 0x1280_0000 {
        let shift = 16 * field(word, 21, 2);
        let value = u64::from(field(word, 5, 16)) << shift;
        return match field(word, 29, 2) {
            0b00 => Operation::Set { to, value: masked(!value) },
            0b10 => Operation::Set { to, value: masked(value) },
            // What was below is kept and small in what the rules look for; only the addition of an upper half to a
            // lower one is followed.
            #[expect(clippy::cast_possible_wrap, reason = "addresses wrap")]
            0b11 if shift > 0 => Operation::Add { to, from: to, value: value as i64, narrow: !wide },
            _ => unknown(to),
        };
    }
    // orr of a pattern into the zero register, which is how some constants are moved
    if word & 0x7f80_0000 == 0x3200_0000
        && from.0 == ZERO
        && let Some(value) = pattern(word)
    {
        return Operation::Set { to, value: masked(value) };
    }
    // tst
    if word & 0x7f80_0000 == 0x7200_0000 && to.0 == ZERO {
        return Operation::NOTHING;
    }
    unknown(to)
}

fn page_address(word: u32, address: u64) -> u64 {
    let distance = (signed(word, 5, 19) << 2) | i64::from(field(word, 29, 2));
    #[expect(clippy::cast_sign_loss, reason = "addresses wrap")]
    if word >> 31 == 1 {
        (address & !0xfff).wrapping_add((distance << 12) as u64)
    } else {
        address.wrapping_add(distance as u64)
    }
}

/// The 64-bit value of a logical immediate (DecodeBitMasks of the manual).
fn pattern(word: u32) -> Option<u64> {
    let (n, rotation, size) = (field(word, 22, 1), field(word, 16, 6), field(word, 10, 6));
    let length = 31 - ((n << 6) | (!size & 0x3f)).leading_zeros().min(31);
    if length == 0 {
        return None;
    }
    let width = 1u32 << length;
    let (rotation, ones) = (rotation & (width - 1), (size & (width - 1)) + 1);
    if ones == width {
        return None;
    }
    let element = (1u64 << ones) - 1;
    let all = if width == 64 { u64::MAX } else { (1u64 << width) - 1 };
    let rotated =
        if rotation == 0 { element } else { ((element >> rotation) | (element << (width - rotation))) & all };
    let mut value = 0;
    for repetition in 0..64 / width {
        value |= rotated << (repetition * width);
    }
    Some(value)
}

fn register_operation(word: u32) -> Operation {
    let to = register(word, 0);
    let (from, other) = (register(word, 5), register(word, 16));
    let narrow = word >> 31 == 0;
    // mov
    if word & 0x7fe0_ffe0 == 0x2a00_03e0 {
        return if other.0 == ZERO {
            Operation::Set { to, value: 0 }
        } else {
            Operation::Copy { to, from: other, narrow }
        };
    }
    // add and sub of registers, shifted or extended
    if word & 0x1f00_0000 == 0x0b00_0000 {
        if to.0 == ZERO {
            return Operation::NOTHING;
        }
        return Operation::Sum { to, from, other };
    }
    // csel
    if word & 0x7fe0_0c00 == 0x1a80_0000 && from.0 != ZERO && other.0 != ZERO {
        return Operation::Select { to, either: from, or: other };
    }
    unknown(to)
}

fn memory(word: u32) -> (Operation, Option<Operation>) {
    let (first, base) = (register(word, 0), register(word, 5));
    let vector = word & (1 << 26) != 0;
    // ldp, stp
    if word & 0x3a00_0000 == 0x2800_0000 {
        let second = register(word, 10);
        let (load, mode) = (word & (1 << 22) != 0, field(word, 23, 2));
        let size = if vector { 4u8 << field(word, 30, 2) } else { 4 << field(word, 31, 1) };
        if mode & 1 == 1 {
            // The base changes: the stack pointer nearly always, so that only the loaded registers matter.
            return if load && !vector {
                (unknown(first), Some(unknown(second)))
            } else {
                (unknown(base), None)
            };
        }
        #[expect(clippy::cast_possible_truncation, reason = "seven bits times at most 16")]
        let displacement = (signed(word, 15, 7) * i64::from(size)) as i32;
        let place = Place { base, displacement };
        let next = Place { base, displacement: displacement + i32::from(size) };
        return match (load, vector) {
            (true, true) => (Operation::NOTHING, None),
            (true, false) => {
                (Operation::Load { to: first, from: place }, Some(Operation::Load { to: second, from: next }))
            }
            (false, _) => (
                Operation::Store { to: place, from: (!vector).then_some(first), bytes: size },
                Some(Operation::Store { to: next, from: (!vector).then_some(second), bytes: size }),
            ),
        };
    }
    let scale = field(word, 30, 2);
    let kind = field(word, 22, 2);
    // ldr, str with an unsigned distance
    if word & 0x3b00_0000 == 0x3900_0000 {
        let scale = if vector && kind & 0b10 != 0 { 4 } else { scale };
        #[expect(clippy::cast_possible_wrap, reason = "twelve bits shifted by at most four")]
        let displacement = (field(word, 10, 12) << scale) as i32;
        return (one(first, Place { base, displacement }, vector, kind, scale), None);
    }
    // ldur, stur; with a changed base
    if word & 0x3b20_0000 == 0x3800_0000 {
        let scale = if vector && kind & 0b10 != 0 { 4 } else { scale };
        if field(word, 10, 2) & 1 == 1 {
            let loaded = if kind != 0 && !vector { Some(unknown(first)) } else { None };
            return (unknown(base), loaded);
        }
        #[expect(clippy::cast_possible_truncation, reason = "nine bits")]
        let displacement = signed(word, 12, 9) as i32;
        return (one(first, Place { base, displacement }, vector, kind, scale), None);
    }
    if vector {
        return (Operation::NOTHING, None);
    }
    // Exclusive and ordered ones write a status register as well.
    if word & 0x3f00_0000 == 0x0800_0000 {
        return (unknown(first), Some(unknown(register(word, 16))));
    }
    // ldr with a register's distance, ldr of a literal, atomic ones; what a store does not change is lost as well
    (unknown(first), None)
}

fn one(register: Register, place: Place, vector: bool, kind: u32, scale: u32) -> Operation {
    match (kind, vector) {
        (0b00, _) => Operation::Store { to: place, from: (!vector).then_some(register), bytes: 1 << scale },
        (0b10, true) => Operation::Store { to: place, from: None, bytes: 16 },
        (_, true) => Operation::NOTHING,
        (0b01, false) if scale >= 2 => Operation::Load { to: register, from: place },
        // prfm
        (0b10, false) if scale == 3 => Operation::NOTHING,
        (_, false) => unknown(register),
    }
}

/// Calls `found` for everything in the code that takes an address relative to itself: `adrp` with `add`, `adr`, `bl`
/// and `b`.
pub(super) fn scan(bytes: &[u8], address: u64, found: &mut dyn FnMut(Sighting)) {
    // What registers hold, as if the code ran from its beginning to its end. Compilers take several addresses from one
    // that is kept in a register ("section anchors"), so an `add` counts long after its `adrp`. Wrong ones among what
    // is found do no harm: whoever asks looks for few addresses and follows the code.
    let mut values = [None::<u64>; 32];
    for (index, word) in bytes.as_chunks::<4>().0.iter().enumerate() {
        let word = u32::from_le_bytes(*word);
        let at = address.wrapping_add(index as u64 * 4);
        if word & 0x7c00_0000 == 0x1400_0000 {
            let kind = if word >> 31 == 1 { Kind::Call } else { Kind::Jump };
            found(Sighting { at, target: relative(at, signed(word, 0, 26)), kind });
        } else if word & 0x9f00_0000 == 0x9000_0000 {
            values[usize::from(register(word, 0).0)] = Some(page_address(word, at));
        } else if word & 0xff80_0000 == 0x9100_0000 {
            let value = values[usize::from(register(word, 5).0)]
                .map(|value| value.wrapping_add(u64::from(field(word, 10, 12)) << (12 * field(word, 22, 1))));
            if let Some(target) = value {
                found(Sighting { at, target, kind: Kind::Address });
            }
            values[usize::from(register(word, 0).0)] = value;
        } else if word & 0x9f00_0000 == 0x1000_0000 {
            found(Sighting { at, target: page_address(word, at), kind: Kind::Address });
        }
    }
}

/// The same for conditional jumps alone.
pub(super) fn scan_branches(bytes: &[u8], address: u64, found: &mut dyn FnMut(Sighting)) {
    for (index, word) in bytes.chunks_exact(4).enumerate() {
        let word = u32::from_le_bytes([word[0], word[1], word[2], word[3]]);
        if (word >> 25) & 0xf == 0b1010 || (word >> 25) & 0xf == 0b1011 {
            let at = address.wrapping_add(index as u64 * 4);
            if let Operation::Branch { target } = branch(word, at) {
                found(Sighting { at, target, kind: Kind::Jump });
            }
        }
    }
}

/// Whether a function may begin after these bytes: padding, a return, a jump or a trap ends what was before.
pub(super) fn ends_before(bytes: &[u8], position: usize) -> bool {
    let Some(start) = position.checked_sub(4) else { return true };
    let Some(word) = bytes.get(start..position) else { return false };
    let word = u32::from_le_bytes([word[0], word[1], word[2], word[3]]);
    // nop; udf
    if word == 0xd503_201f || word >> 16 == 0 {
        return true;
    }
    // A call can be the last instruction where the called function does not return.
    matches!(
        branch(word, 0),
        Operation::Jump { .. } | Operation::Return | Operation::Stop | Operation::Call { target: Some(_) }
    ) && matches!((word >> 25) & 0xf, 0b1010 | 0b1011)
}
