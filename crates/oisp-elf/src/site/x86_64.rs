//! x86_64. What the kernel emulates is in `branch_setup_xol_ops` and `push_setup_xol_ops` of
//! `arch/x86/kernel/uprobes.c`; long `nop`s and `endbr64` are stepped by most kernels.

use iced_x86::{
    Code, Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory, Mnemonic, OpAccess,
    OpKind, Register,
};

use super::{Flow, Step};
use crate::analysis::CostClass;

/// Numbers of the registers: rdi, rsi, rdx, rcx, r8, r9.
pub(super) const ARGUMENTS: [u32; 6] = [7, 6, 2, 1, 8, 9];
/// rax, rbx, rcx, rdi, rsi, r8, r9, r10, r11; and the goroutine in r14.
pub(super) const GO_ARGUMENTS: [u32; 10] = [0, 3, 1, 7, 6, 8, 9, 10, 11, 14];
/// rax
pub(super) const RESULT: u32 = 0;
const STACK_POINTER: u32 = 4;

/// The instruction at the beginning of `code`; `None` where there is none.
pub(super) fn decode(code: &[u8], address: u64) -> Option<Step> {
    let instruction = instruction(code, address)?;
    let flow = flow(&instruction);
    let is_jump = matches!(flow, Flow::Branch(_) | Flow::Jump(_));
    let is_push = instruction.code() == Code::Push_r64;
    let is_emulated = is_emulated(&instruction);
    let writes = if matches!(flow, Flow::Call(_)) { u32::MAX } else { written(&instruction) };
    Some(Step {
        length: instruction.len() as u64,
        flow,
        cost: if is_emulated { CostClass::Emulated } else { CostClass::SingleStepped },
        is_cheap_place: is_emulated && (is_jump || is_push),
        writes: writes & !(1 << STACK_POINTER),
        growth: growth(&instruction, writes),
    })
}

pub(super) fn instruction(code: &[u8], address: u64) -> Option<Instruction> {
    let mut decoder = Decoder::with_ip(64, code, address, DecoderOptions::NONE);
    let instruction = decoder.decode();
    (!instruction.is_invalid()).then_some(instruction)
}

fn is_emulated(instruction: &Instruction) -> bool {
    match instruction.code() {
        Code::Push_r64 => instruction.len() <= 2,
        Code::Call_rel32_64 => instruction.len() == 5,
        Code::Jmp_rel8_64 => instruction.len() == 2,
        Code::Jmp_rel32_64 => instruction.len() == 5,
        // The kernel rejects some prefixes, so none is taken.
        _ if instruction.is_jcc_short() => instruction.len() == 2,
        _ if instruction.is_jcc_near() => instruction.len() == 6,
        _ => instruction.mnemonic() == Mnemonic::Nop && instruction.len() == 1,
    }
}

fn flow(instruction: &Instruction) -> Flow {
    let target = instruction.near_branch_target();
    let is_near = instruction.op_count() > 0 && instruction.op0_kind() == OpKind::NearBranch64;
    match instruction.flow_control() {
        FlowControl::Next => Flow::Next,
        FlowControl::Call | FlowControl::IndirectCall => {
            // A system call is one as well.
            Flow::Call(is_near.then_some(target))
        }
        FlowControl::ConditionalBranch if is_near => Flow::Branch(target),
        FlowControl::UnconditionalBranch if is_near => Flow::Jump(target),
        FlowControl::Return => Flow::Return,
        FlowControl::Exception | FlowControl::Interrupt => Flow::End,
        FlowControl::ConditionalBranch
        | FlowControl::UnconditionalBranch
        | FlowControl::IndirectBranch
        | FlowControl::XbeginXabortXend => Flow::Unknown,
    }
}

/// The general registers that an instruction may write.
fn written(instruction: &Instruction) -> u32 {
    let mut factory = InstructionInfoFactory::new();
    factory
        .info(instruction)
        .used_registers()
        .iter()
        .filter(|used| {
            matches!(
                used.access(),
                OpAccess::Write | OpAccess::CondWrite | OpAccess::ReadWrite | OpAccess::ReadCondWrite
            )
        })
        .filter_map(|used| number(used.register()))
        .fold(0, |mask, number| mask | 1 << number)
}

pub(super) fn number(register: Register) -> Option<u32> {
    let full = register.full_register();
    full.is_gpr64().then(|| u32::try_from(full.number()).ok())?
}

fn growth(instruction: &Instruction, writes: u32) -> Option<i64> {
    let on_stack = |index| {
        instruction.op_kind(index) == OpKind::Register && instruction.op_register(index) == Register::RSP
    };
    let immediate = |index| instruction.try_immediate(index).ok().map(u64::cast_signed);
    match instruction.mnemonic() {
        Mnemonic::Push | Mnemonic::Pop if !(instruction.mnemonic() == Mnemonic::Pop && on_stack(0)) => {
            Some(-i64::from(instruction.stack_pointer_increment()))
        }
        Mnemonic::Sub if on_stack(0) => immediate(1),
        Mnemonic::Add if on_stack(0) => immediate(1)?.checked_neg(),
        _ if matches!(instruction.flow_control(), FlowControl::Call | FlowControl::IndirectCall) => Some(0),
        _ if writes & 1 << STACK_POINTER == 0 => Some(0),
        _ => None,
    }
}
