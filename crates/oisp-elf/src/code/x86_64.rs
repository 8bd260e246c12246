//! 64-bit x86.

use super::operation::{Decoded, Operation, Place, Register, Registers};
use super::{Kind, Sighting};
use iced_x86::{Code, Decoder, DecoderOptions, FlowControl, Instruction, Mnemonic, OpKind};

/// The registers of the first six arguments.
pub(super) const ARGUMENTS: [Register; 6] =
    [Register(7), Register(6), Register(2), Register(1), Register(8), Register(9)];

/// What a called function may change.
pub(super) const CALLER_SAVED: Registers = Registers::of(&[0, 1, 2, 6, 7, 8, 9, 10, 11]);

const ACCUMULATORS: Registers = Registers::of(&[0, 2]);
const STRING_POINTERS: Registers = Registers::of(&[0, 1, 6, 7]);

/// Decodes the instruction that `bytes` begin with.
pub(super) fn decode(bytes: &[u8], address: u64) -> Option<Decoded> {
    let window = &bytes[..bytes.len().min(15)];
    let mut decoder = Decoder::with_ip(64, window, address, DecoderOptions::NONE);
    let instruction = decoder.decode();
    if instruction.is_invalid() {
        return None;
    }
    Some(Decoded {
        length: u8::try_from(instruction.len()).ok()?,
        operation: operation(&instruction),
        second: None,
    })
}

fn operation(instruction: &Instruction) -> Operation {
    match instruction.flow_control() {
        FlowControl::Next => data_operation(instruction),
        FlowControl::UnconditionalBranch => Operation::Jump { target: near_target(instruction) },
        FlowControl::ConditionalBranch => match near_target(instruction) {
            Some(target) => Operation::Branch { target },
            None => Operation::Stop,
        },
        FlowControl::IndirectBranch => Operation::Jump { target: None },
        FlowControl::Return => Operation::Return,
        FlowControl::Call => match instruction.code() {
            Code::Syscall | Code::Sysenter => Operation::Other { clobbers: Registers::of(&[0, 1, 11]) },
            _ => Operation::Call { target: near_target(instruction) },
        },
        FlowControl::IndirectCall => Operation::Call { target: None },
        FlowControl::Interrupt | FlowControl::Exception | FlowControl::XbeginXabortXend => Operation::Stop,
    }
}

fn near_target(instruction: &Instruction) -> Option<u64> {
    matches!(instruction.op0_kind(), OpKind::NearBranch64).then(|| instruction.near_branch64())
}

fn data_operation(instruction: &Instruction) -> Operation {
    let to = register(instruction, 0);
    let memory_first = instruction.op_count() > 0 && instruction.op_kind(0) == OpKind::Memory;
    match instruction.mnemonic() {
        Mnemonic::Mov if memory_first => store(instruction),
        Mnemonic::Movups
        | Mnemonic::Movaps
        | Mnemonic::Movdqu
        | Mnemonic::Movdqa
        | Mnemonic::Movq
        | Mnemonic::Vmovups
        | Mnemonic::Vmovaps
        | Mnemonic::Vmovdqu
        | Mnemonic::Vmovdqa
        | Mnemonic::Vmovq
            if memory_first =>
        {
            store(instruction)
        }
        Mnemonic::Add | Mnemonic::Sub if memory_first => match place(instruction) {
            Some(place) => Operation::Update { place },
            None => Operation::NOTHING,
        },
        _ if memory_first => Operation::NOTHING,
        Mnemonic::Cmp | Mnemonic::Test | Mnemonic::Bt | Mnemonic::Nop | Mnemonic::Endbr64 => {
            Operation::NOTHING
        }
        Mnemonic::Push => match (to, immediate(instruction, 0)) {
            (Some(from), _) => Operation::Push { from },
            (None, Some(value)) => Operation::PushConstant { value },
            (None, None) => Operation::Push { from: Register(4) },
        },
        Mnemonic::Pop => to.map_or(Operation::NOTHING, |to| Operation::Pop { to }),
        Mnemonic::Mul
        | Mnemonic::Imul
        | Mnemonic::Div
        | Mnemonic::Idiv
        | Mnemonic::Cdq
        | Mnemonic::Cqo
        | Mnemonic::Cwde
        | Mnemonic::Cdqe
        | Mnemonic::Cpuid
        | Mnemonic::Rdtsc
        | Mnemonic::Xgetbv
        | Mnemonic::Cmpxchg
        | Mnemonic::Xchg
        | Mnemonic::Xadd => {
            let mut clobbers = ACCUMULATORS;
            for register in [to, register(instruction, 1)].into_iter().flatten() {
                clobbers.0 |= 1 << register.0;
            }
            Operation::Other { clobbers }
        }
        Mnemonic::Movsb
        | Mnemonic::Movsq
        | Mnemonic::Movsw
        | Mnemonic::Stosb
        | Mnemonic::Stosd
        | Mnemonic::Stosq
        | Mnemonic::Stosw
        | Mnemonic::Scasb
        | Mnemonic::Cmpsb => Operation::Other { clobbers: STRING_POINTERS },
        _ => match to {
            Some(to) => into_register(instruction, to),
            None => Operation::NOTHING,
        },
    }
}

/// An instruction whose first operand is a general-purpose register.
fn into_register(instruction: &Instruction, to: Register) -> Operation {
    let unknown = Operation::Other { clobbers: Registers(1 << to.0) };
    let size = instruction.op0_register().size();
    let narrow = size == 4;
    if size < 4 {
        return unknown;
    }
    let masked = |value: u64| if narrow { value & 0xffff_ffff } else { value };
    let from = register(instruction, 1);
    let constant = immediate(instruction, 1);
    match instruction.mnemonic() {
        Mnemonic::Mov => match (from, constant) {
            (Some(from), _) => Operation::Copy { to, from, narrow },
            (None, Some(value)) => Operation::Set { to, value: masked(value) },
            (None, None) => match place(instruction) {
                Some(from) => Operation::Load { to, from },
                None => unknown,
            },
        },
        Mnemonic::Xor | Mnemonic::Sub if from == Some(to) => Operation::Set { to, value: 0 },
        Mnemonic::Or if constant == Some(u64::MAX) => Operation::Set { to, value: masked(u64::MAX) },
        Mnemonic::Lea if instruction.is_ip_rel_memory_operand() => {
            Operation::Set { to, value: masked(instruction.ip_rel_memory_address()) }
        }
        Mnemonic::Lea => {
            let base = number(instruction.memory_base());
            let index = number(instruction.memory_index());
            #[expect(clippy::cast_possible_wrap, reason = "a displacement is sign-extended to 64 bits")]
            let value = instruction.memory_displacement64() as i64;
            match (base, index) {
                (Some(from), None) => Operation::Add { to, from, value, narrow },
                (Some(from), Some(other)) => Operation::Sum { to, from, other },
                _ => unknown,
            }
        }
        Mnemonic::Add | Mnemonic::Sub => {
            #[expect(clippy::cast_possible_wrap, reason = "an immediate is sign-extended to 64 bits")]
            let value = constant.map(|value| value as i64);
            match (value, from) {
                (Some(value), _) => {
                    let subtract = instruction.mnemonic() == Mnemonic::Sub;
                    let value = if subtract { value.wrapping_neg() } else { value };
                    Operation::Add { to, from: to, value, narrow }
                }
                (None, Some(other)) => Operation::Sum { to, from: to, other },
                (None, None) => Operation::Sum { to, from: to, other: to },
            }
        }
        Mnemonic::Inc => Operation::Add { to, from: to, value: 1, narrow },
        Mnemonic::Dec => Operation::Add { to, from: to, value: -1, narrow },
        Mnemonic::Cmova
        | Mnemonic::Cmovae
        | Mnemonic::Cmovb
        | Mnemonic::Cmovbe
        | Mnemonic::Cmove
        | Mnemonic::Cmovg
        | Mnemonic::Cmovge
        | Mnemonic::Cmovl
        | Mnemonic::Cmovle
        | Mnemonic::Cmovne
        | Mnemonic::Cmovns
        | Mnemonic::Cmovs => match from {
            Some(from) => Operation::Select { to, either: to, or: from },
            None => unknown,
        },
        _ => unknown,
    }
}

fn store(instruction: &Instruction) -> Operation {
    let bytes = u8::try_from(instruction.memory_size().size()).unwrap_or(0);
    match place(instruction) {
        Some(to) => Operation::Store { to, from: register(instruction, 1), bytes },
        None => Operation::NOTHING,
    }
}

/// The field that the memory operand names, where it is a plain one.
fn place(instruction: &Instruction) -> Option<Place> {
    if instruction.memory_index() != iced_x86::Register::None {
        return None;
    }
    let base = number(instruction.memory_base())?;
    #[expect(clippy::cast_possible_truncation, reason = "a displacement has 32 bits")]
    let displacement = instruction.memory_displacement64() as i32;
    Some(Place { base, displacement })
}

fn register(instruction: &Instruction, operand: u32) -> Option<Register> {
    (operand < instruction.op_count() && instruction.op_kind(operand) == OpKind::Register)
        .then(|| number(instruction.op_register(operand)))?
}

fn number(register: iced_x86::Register) -> Option<Register> {
    if !register.is_gpr() {
        return None;
    }
    u8::try_from(register.full_register().number()).ok().map(Register)
}

fn immediate(instruction: &Instruction, operand: u32) -> Option<u64> {
    (operand < instruction.op_count()).then(|| instruction.try_immediate(operand).ok())?
}

/// Calls `found` with the place of the operand and the address for everything in the code that looks like an address
/// taken relative to itself: `lea r, [rip + disp]`, `call` and `jmp` with 32-bit distances.
pub(super) fn scan(bytes: &[u8], address: u64, found: &mut dyn FnMut(Sighting)) {
    // What else has one of these bytes is told apart by what follows, and what remains by the address that comes out.
    for position in memchr::memchr3_iter(LEA, CALL, JUMP, bytes) {
        let (operand, kind) = match bytes[position] {
            LEA if is_relative(bytes, position) => (position + 2, Kind::Address),
            LEA => continue,
            CALL => (position + 1, Kind::Call),
            _ => (position + 1, Kind::Jump),
        };
        sight(bytes, address, operand, kind, found);
    }
}

/// The same for `lea` alone.
pub(super) fn scan_addresses(bytes: &[u8], address: u64, found: &mut dyn FnMut(Sighting)) {
    for position in memchr::memchr_iter(LEA, bytes) {
        if is_relative(bytes, position) {
            sight(bytes, address, position + 2, Kind::Address, found);
        }
    }
}

const LEA: u8 = 0x8d;
const CALL: u8 = 0xe8;
const JUMP: u8 = 0xe9;

/// Whether the operand of the instruction at `position` is relative to the instruction pointer.
fn is_relative(bytes: &[u8], position: usize) -> bool {
    bytes.get(position + 1).is_some_and(|modrm| modrm & 0xc7 == 0x05)
}

fn sight(bytes: &[u8], address: u64, operand: usize, kind: Kind, found: &mut dyn FnMut(Sighting)) {
    let Some(distance) = word(bytes, operand) else { return };
    let at = address.wrapping_add(operand as u64);
    found(Sighting { at, target: at.wrapping_add(4).wrapping_add_signed(i64::from(distance)), kind });
}

/// The same for conditional jumps alone, which only some searches need.
pub(super) fn scan_branches(bytes: &[u8], address: u64, found: &mut dyn FnMut(Sighting)) {
    for position in memchr::memchr_iter(0x0f, bytes) {
        if bytes.get(position + 1).is_none_or(|opcode| opcode & 0xf0 != 0x80) {
            continue;
        }
        sight(bytes, address, position + 2, Kind::Jump, found);
    }
}

/// Whether the 32-bit constant at `operand` is moved into a register: `mov r32, imm32` or `mov r64, imm32`.
pub(super) fn is_moved_constant(bytes: &[u8], operand: usize) -> bool {
    let before = |distance: usize| operand.checked_sub(distance).and_then(|at| bytes.get(at)).copied();
    match before(1) {
        Some(0xb8..=0xbf) => true,
        Some(0xc0..=0xc7) => before(2) == Some(0xc7) && matches!(before(3), Some(0x48 | 0x49)),
        _ => false,
    }
}

/// Whether a function may begin after these bytes: padding, a return or a jump ends what was before.
pub(super) fn ends_before(bytes: &[u8], position: usize) -> bool {
    let before = |distance: usize| position.checked_sub(distance).and_then(|at| bytes.get(at)).copied();
    let Some(last) = before(1) else { return true };
    // int3 and ret; nop; the last byte of `ud2`.
    if matches!(last, 0xcc | 0xc3 | 0x90) || (last == 0x0b && before(2) == Some(0x0f)) {
        return true;
    }
    // `jmp rel32`, `jmp rel8`, and indirect `jmp`; a `call` of a function that does not return.
    if matches!(before(5), Some(0xe9 | 0xe8)) || before(2) == Some(0xeb) {
        return true;
    }
    if before(2) == Some(0xff) && matches!(last & 0xf8, 0xe0) {
        return true;
    }
    if before(6) == Some(0xff) && before(5) == Some(0x25) {
        return true;
    }
    // nops of several bytes end in zeros: `nop [rax + rax]` and longer.
    if last == 0 {
        for length in 3..=9 {
            if before(length) == Some(0x0f) && before(length - 1) == Some(0x1f) {
                return true;
            }
        }
    }
    // zeros between sections
    last == 0 && (1..=8).all(|distance| before(distance) == Some(0))
}

fn word(bytes: &[u8], position: usize) -> Option<i32> {
    bytes.get(position..position + 4)?.try_into().ok().map(i32::from_le_bytes)
}
