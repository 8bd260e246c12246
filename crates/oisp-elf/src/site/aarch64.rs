//! aarch64: what the kernel simulates (`arch/arm64/kernel/probes/decode-insn.c`).

use crate::analysis::CostClass;

/// The first instruction's length, and what a probe on it costs; `None` where there is no instruction.
pub(crate) fn decode(code: &[u8], address: u64) -> Option<(u64, CostClass)> {
    let word = u32::from_le_bytes(*code.first_chunk::<4>()?);
    // Zero is `udf`: data, or the end of code.
    (address.is_multiple_of(4) && word != 0).then(|| (4, cost(word)))
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

fn cost(word: u32) -> CostClass {
    if SIMULATED.iter().any(|(mask, value)| word & mask == *value) {
        CostClass::Emulated
    } else {
        CostClass::SingleStepped
    }
}
