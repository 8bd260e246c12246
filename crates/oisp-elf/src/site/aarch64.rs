//! aarch64. What the kernel simulates is in `arch/arm64/kernel/probes/decode-insn.c`.

use super::{Flow, Step};
use crate::analysis::CostClass;

/// The instruction at the beginning of `code`; `None` where there is none.
pub(super) fn decode(code: &[u8], address: u64) -> Option<Step> {
    let word = u32::from_le_bytes(*code.first_chunk::<4>()?);
    // Zero is `udf`: data, or the end of code.
    if !address.is_multiple_of(4) || word == 0 {
        return None;
    }
    let flow = flow(word, address);
    let is_emulated = SIMULATED.iter().any(|(mask, value)| word & mask == *value);
    let (writes, growth) = effect(word);
    Some(Step {
        length: 4,
        flow,
        cost: if is_emulated { CostClass::Emulated } else { CostClass::SingleStepped },
        is_cheap_place: is_emulated && matches!(flow, Flow::Branch(_) | Flow::Jump(_)),
        writes,
        growth,
    })
}

/// `(mask, value)` of the instructions that are simulated.
const SIMULATED: &[(u32, u32)] = &[
    (0x7c00_0000, 0x1400_0000), // b, bl
    (0xff00_0010, 0x5400_0000), // b.cond
    (0x7e00_0000, 0x3400_0000), // cbz, cbnz
    (0x7e00_0000, 0x3600_0000), // tbz, tbnz
    (0x1f00_0000, 0x1000_0000), // adr, adrp
    (0xff00_0000, 0x1800_0000), // ldr (literal), 32 bits
    (0xff00_0000, 0x5800_0000), // ldr (literal), 64 bits
    (0xff00_0000, 0x9800_0000), // ldrsw (literal)
    (0xffff_fc1f, 0xd61f_0000), // br
    (0xffff_fc1f, 0xd63f_0000), // blr
    (0xffff_fc1f, 0xd65f_0000), // ret
];

fn flow(word: u32, address: u64) -> Flow {
    let target = |low: u32, bits: u32| {
        let field = word >> low & ((1 << bits) - 1);
        let shift = 32 - bits;
        let words = (field << shift).cast_signed() >> shift;
        address.wrapping_add_signed(i64::from(words) * 4)
    };
    if word & 0xfc00_0000 == 0x1400_0000 {
        Flow::Jump(target(0, 26))
    } else if word & 0xfc00_0000 == 0x9400_0000 {
        Flow::Call(Some(target(0, 26)))
    } else if word & 0xff00_0010 == 0x5400_0000 || word & 0x7e00_0000 == 0x3400_0000 {
        Flow::Branch(target(5, 19))
    } else if word & 0x7e00_0000 == 0x3600_0000 {
        Flow::Branch(target(5, 14))
    } else if word & 0xfe00_0000 == 0xd600_0000 {
        // Branches to a register, with or without authentication: the operation is in bits 21 and 22.
        match word >> 21 & 3 {
            1 => Flow::Call(None),
            2 => Flow::Return,
            _ => Flow::Unknown,
        }
    } else if word & 0xff00_0000 == 0xd400_0000 {
        // Exceptions: of these only a system call goes on.
        if word & 0x1f == 1 { Flow::Call(None) } else { Flow::End }
    } else {
        Flow::Next
    }
}

const STACK_POINTER: u32 = 31;

/// The registers that an instruction may change, and by how much the stack grows: known for the kinds that functions begin
/// and end with; any other may change everything.
fn effect(word: u32) -> (u32, Option<i64>) {
    let register = |low: u32| word >> low & 31;
    let bit = |number: u32| if number == 31 { 0 } else { 1 << number };
    // Branches; comparisons with zero and tests change nothing.
    let changes_nothing = word & 0xfc00_0000 == 0x1400_0000
        || word & 0xff00_0010 == 0x5400_0000
        || word & 0x7c00_0000 == 0x3400_0000
        || word & 0xffff_fc1f == 0xd65f_0000
        // Hints: nop, bti, paciasp, autiasp.
        || word & 0xffff_f01f == 0xd503_201f;
    if changes_nothing {
        return (0, Some(0));
    }
    // Add and subtract an immediate, 64 bits, without flags.
    if word & 0x7f00_0000 == 0x1100_0000 || word & 0x7f00_0000 == 0x5100_0000 {
        let amount = i64::from(word >> 10 & 0xfff) << if word >> 22 & 1 == 1 { 12 } else { 0 };
        let amount = if word >> 30 & 1 == 1 { amount } else { -amount };
        return match (register(0), register(5)) {
            (STACK_POINTER, STACK_POINTER) => (0, Some(amount)),
            (STACK_POINTER, _) => (0, None),
            (number, _) => (bit(number), Some(0)),
        };
    }
    // Subtract an immediate with flags: a comparison where nothing takes the difference.
    if word & 0x7f00_0000 == 0x7100_0000 {
        return (bit(register(0)), Some(0));
    }
    // Move a register (orr with the zero register), 32 and 64 bits.
    if word & 0x7fe0_ffe0 == 0x2a00_03e0 {
        return (bit(register(0)), Some(0));
    }
    // Pairs of general registers, to or from the stack: before, after, at an offset.
    if word & 0x7e00_0000 == 0x2800_0000 && register(5) == STACK_POINTER {
        let is_wide = word >> 31 == 1;
        let is_load = word >> 22 & 1 == 1;
        let offset = i64::from((word >> 15 & 0x7f) << 25 >> 25).wrapping_mul(1);
        let offset = if offset >= 64 { offset - 128 } else { offset } * if is_wide { 8 } else { 4 };
        let moves = matches!(word >> 23 & 3, 1 | 3);
        let writes = if is_load { bit(register(0)) | bit(register(10)) } else { 0 };
        return (writes, Some(if moves { -offset } else { 0 }));
    }
    // One general register to or from the stack, at an offset.
    if word & 0xbf80_0000 == 0xb900_0000 && register(5) == STACK_POINTER {
        let is_load = word >> 22 & 1 == 1;
        return (if is_load { bit(register(0)) } else { 0 }, Some(0));
    }
    (u32::MAX, None)
}
