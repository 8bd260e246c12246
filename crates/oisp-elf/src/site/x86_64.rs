//! x86_64: what the kernel emulates (`branch_setup_xol_ops` and `push_setup_xol_ops` in `arch/x86/kernel/uprobes.c`).

use iced_x86::{Code, Decoder, DecoderOptions, FlowControl, Instruction, Mnemonic};

use crate::analysis::CostClass;

/// The first instruction's length, and what a probe on it costs; `None` where there is no instruction.
pub(crate) fn decode(code: &[u8], address: u64) -> Option<(u64, CostClass)> {
    let mut decoder = Decoder::with_ip(64, code, address, DecoderOptions::NONE);
    let instruction = decoder.decode();
    (!instruction.is_invalid()).then(|| (instruction.len() as u64, cost(&instruction)))
}

/// What a probe on an instruction costs.
pub(super) fn cost(instruction: &Instruction) -> CostClass {
    let is_emulated = match instruction.code() {
        Code::Push_r64 => true,
        Code::Call_rel32_64 | Code::Jmp_rel8_64 | Code::Jmp_rel32_64 => true,
        _ => {
            instruction.mnemonic() == Mnemonic::Nop && instruction.len() == 1
                || instruction.flow_control() == FlowControl::ConditionalBranch
                    && instruction.is_jcc_short_or_near()
        }
    };
    if is_emulated { CostClass::Emulated } else { CostClass::SingleStepped }
}
