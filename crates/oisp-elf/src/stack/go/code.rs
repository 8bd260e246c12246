//! Where to probe a Go function.

use iced_x86::{Code, Decoder, DecoderOptions, FlowControl, Instruction, Mnemonic, OpKind, Register};

use crate::analysis::{CostClass, RefusalReason};
use crate::image::Architecture;

/// Instructions of a function that can be probed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Places {
    /// Where the arguments are still as they were passed.
    pub(super) entry: u64,
    pub(super) entry_cost: CostClass,
    /// Whether that is in the check of the stack that the compiler puts first. A function that has to grow the stack
    /// begins anew after it, so the place is met twice with the same arguments.
    pub(super) checks_stack: bool,
    /// Every return instruction.
    pub(super) returns: Vec<u64>,
    pub(super) return_cost: CostClass,
}

/// Larger functions are none of those that are looked for.
const MAX_BYTES: usize = 1 << 20;

const UNDECODABLE: RefusalReason = RefusalReason::Contradiction("a function of crypto/tls cannot be decoded");
const LEAVES: RefusalReason =
    RefusalReason::Unsupported("a function of crypto/tls is left by a jump, not by a return");

impl Places {
    /// Decodes all of a function.
    pub(super) fn of(architecture: Architecture, address: u64, code: &[u8]) -> Result<Self, RefusalReason> {
        if code.is_empty() || code.len() > MAX_BYTES {
            return Err(UNDECODABLE);
        }
        match architecture {
            Architecture::X86_64 => x86_64(address, code),
            Architecture::Aarch64 => aarch64(address, code),
        }
    }
}

fn x86_64(address: u64, code: &[u8]) -> Result<Places, RefusalReason> {
    let mut starts = Vec::new();
    let mut targets = Vec::new();
    let mut returns = Vec::new();
    let mut prologue = Vec::new();
    let mut decoder = Decoder::with_ip(64, code, address, DecoderOptions::NONE);
    let mut instruction = Instruction::default();
    while decoder.can_decode() {
        decoder.decode_out(&mut instruction);
        if instruction.is_invalid() {
            return Err(UNDECODABLE);
        }
        starts.push(instruction.ip());
        if prologue.len() < PROLOGUE {
            prologue.push(instruction);
        }
        match instruction.flow_control() {
            FlowControl::Return if instruction.code() == Code::Retnq => returns.push(instruction.ip()),
            FlowControl::ConditionalBranch | FlowControl::UnconditionalBranch => {
                targets.push(instruction.near_branch_target());
            }
            FlowControl::Return | FlowControl::IndirectBranch | FlowControl::XbeginXabortXend => {
                return Err(LEAVES);
            }
            FlowControl::Next
            | FlowControl::Call
            | FlowControl::IndirectCall
            | FlowControl::Interrupt
            | FlowControl::Exception => {}
        }
    }
    let end = address.saturating_add(code.len() as u64);
    for target in targets {
        if !(address..end).contains(&target) {
            return Err(LEAVES);
        }
        // A jump into the middle of an instruction: it was decoded from a wrong place.
        if starts.binary_search(&target).is_err() {
            return Err(UNDECODABLE);
        }
    }
    let check = stack_check(&prologue);
    Ok(Places {
        entry: check.unwrap_or(address),
        // A jump is emulated, whatever else is first is executed elsewhere.
        entry_cost: if check.is_some() { CostClass::Emulated } else { CostClass::SingleStepped },
        checks_stack: check.is_some(),
        returns,
        return_cost: CostClass::SingleStepped,
    })
}

/// Instructions of a stack check at most: of a large frame `mov r12, rsp`, `sub r12, …`, `jb`, `cmp`, `jbe`.
const PROLOGUE: usize = 5;

/// The jump at the end of the stack check, which compares with the goroutine's limit (`[r14+16]`).
fn stack_check(prologue: &[Instruction]) -> Option<u64> {
    let is_scratch = |register| register == Register::R12;
    let mut compared = false;
    for instruction in prologue {
        let first = instruction.op0_register();
        match instruction.mnemonic() {
            Mnemonic::Mov if is_scratch(first) && instruction.op1_register() == Register::RSP => {}
            Mnemonic::Lea if is_scratch(first) && instruction.memory_base() == Register::RSP => {}
            Mnemonic::Sub if is_scratch(first) && instruction.op1_kind() != OpKind::Memory => {}
            Mnemonic::Jb if !compared => {}
            Mnemonic::Cmp
                if (first == Register::RSP || is_scratch(first))
                    && instruction.memory_base() == Register::R14
                    && instruction.memory_index() == Register::None
                    && instruction.memory_displacement64() == GUARD =>
            {
                compared = true;
            }
            Mnemonic::Jbe if compared => return Some(instruction.ip()),
            _ => return None,
        }
    }
    None
}

/// `g.stackguard0`, after the stack's two bounds.
const GUARD: u64 = 16;

fn aarch64(address: u64, code: &[u8]) -> Result<Places, RefusalReason> {
    let (words, rest) = code.as_chunks::<4>();
    if !rest.is_empty() || !address.is_multiple_of(4) {
        return Err(UNDECODABLE);
    }
    let length = code.len() as u64;
    let mut returns = Vec::new();
    for (index, word) in words.iter().enumerate() {
        let word = u32::from_le_bytes(*word);
        let offset = index as u64 * 4;
        if word >> 16 == 0 && index > 0 && !is_padding(&words[index..]) {
            // `udf`, of which there are none: what is not code.
            return Err(UNDECODABLE);
        }
        // `ldr …, literal`: the function has data between its code, which is not to be taken for instructions.
        if word & 0x3b00_0000 == 0x1800_0000 {
            return Err(UNDECODABLE);
        }
        if word & 0xffff_fc1f == 0xd65f_0000 {
            returns.push(address.saturating_add(offset));
        } else if word & 0xffff_fc1f == 0xd61f_0000 {
            return Err(LEAVES);
        } else if let Some(distance) = branch(word)
            && offset.checked_add_signed(distance).is_none_or(|target| target >= length)
        {
            return Err(LEAVES);
        }
    }
    let check = aarch64_stack_check(words).map(|index| address.saturating_add(index as u64 * 4));
    Ok(Places {
        entry: check.unwrap_or(address),
        entry_cost: if check.is_some() { CostClass::Emulated } else { CostClass::SingleStepped },
        checks_stack: check.is_some(),
        returns,
        return_cost: CostClass::Emulated,
    })
}

/// Nothing but zeros between the function and the next.
fn is_padding(words: &[[u8; 4]]) -> bool {
    words.iter().all(|word| *word == [0; 4])
}

/// Where a jump goes to, in bytes from itself; `None` for calls and all else.
fn branch(word: u32) -> Option<i64> {
    // The field's sign is its highest bit.
    let signed = |field: u32, bits: u32| i64::from((field << (32 - bits)).cast_signed() >> (32 - bits)) * 4;
    if word & 0xfc00_0000 == 0x1400_0000 {
        Some(signed(word & 0x03ff_ffff, 26))
    } else if word & 0xff00_0000 == 0x5400_0000 || word & 0x7e00_0000 == 0x3400_0000 {
        // `b.cond`, `cbz`, `cbnz`
        Some(signed(word >> 5 & 0x7_ffff, 19))
    } else if word & 0x7e00_0000 == 0x3600_0000 {
        // `tbz`, `tbnz`
        Some(signed(word >> 5 & 0x3fff, 14))
    } else {
        None
    }
}

/// The index of `b.ls` after `ldr x16, [x28, #16]` and what compares it with the stack pointer.
fn aarch64_stack_check(words: &[[u8; 4]]) -> Option<usize> {
    const LOAD: u32 = 0xf940_0b90;
    if u32::from_le_bytes(*words.first()?) != LOAD {
        return None;
    }
    words.iter().take(6).position(|word| u32::from_le_bytes(*word) & 0xff00_001f == 0x5400_0009)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn x86(code: &[u8]) -> Result<Places, RefusalReason> {
        Places::of(Architecture::X86_64, 0x1000, code)
    }

    const SMALL: &[u8] = &[0x49, 0x3b, 0x66, 0x10, 0x76, 0x02, 0x90, 0xc3, 0xeb, 0xf6];

    #[test]
    fn function_is_entered_at_the_jump_of_its_stack_check_and_left_at_every_return() {
        let places = x86(SMALL).expect("decoded");
        assert_eq!((places.entry, places.entry_cost), (0x1004, CostClass::Emulated));
        assert_eq!(places.returns, [0x1007]);
        // lea r12,[rsp-0x68]; cmp r12,[r14+0x10]; jbe
        let large = [0x4c, 0x8d, 0x64, 0x24, 0x98, 0x4d, 0x3b, 0x66, 0x10, 0x76, 0x01, 0xc3, 0xeb, 0xf2];
        assert_eq!(x86(&large).expect("decoded").entry, 0x1009);
        // Without the check: the first instruction.
        let plain = x86(&[0x90, 0xc3]).expect("decoded");
        assert_eq!((plain.entry, plain.checks_stack), (0x1000, false));
    }

    #[test]
    fn stack_check_of_the_old_interface_is_not_taken_for_one() {
        // mov rcx, fs:[-8]; cmp rsp,[rcx+0x10]; jbe
        let old = [
            0x64, 0x48, 0x8b, 0x0c, 0x25, 0xf8, 0xff, 0xff, 0xff, 0x48, 0x3b, 0x61, 0x10, 0x76, 0x01, 0x90,
            0xc3,
        ];
        assert!(!x86(&old).expect("decoded").checks_stack);
    }

    #[test]
    fn function_that_is_left_by_a_jump_or_cannot_be_decoded_is_refused() {
        assert_eq!(x86(&[0xe9, 0x00, 0x10, 0x00, 0x00]), Err(LEAVES));
        assert_eq!(x86(&[0xff, 0xe0]), Err(LEAVES));
        assert_eq!(x86(&[0xff, 0xff]), Err(UNDECODABLE));
        assert_eq!(x86(&[0xe8, 0x00]), Err(UNDECODABLE), "cut");
        // A jump into the middle of the instruction after it.
        assert_eq!(x86(&[0xeb, 0x01, 0xb8, 0x90, 0x90, 0x90, 0x90, 0xc3]), Err(UNDECODABLE));
        assert_eq!(x86(&[]), Err(UNDECODABLE));
    }

    #[test]
    fn aarch64_function_is_entered_at_the_jump_of_its_stack_check_and_left_at_every_return() {
        let code = |words: &[u32]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<_>>();
        let arm = |words: &[u32]| Places::of(Architecture::Aarch64, 0x1000, &code(words));
        // ldr x16,[x28,#16]; cmp sp,x16; b.ls +12; nop; ret; b -20
        let words = [0xf940_0b90, 0xeb30_63ff, 0x5400_0069, 0xd503_201f, 0xd65f_03c0, 0x17ff_fffb];
        let places = arm(&words).expect("decoded");
        assert_eq!((places.entry, places.returns.as_slice()), (0x1008, &[0x1010][..]));
        assert_eq!(arm(&[0x1400_0100]), Err(LEAVES));
        assert_eq!(arm(&[0xd61f_0000]), Err(LEAVES));
        assert_eq!(arm(&[0x5800_0040, 0xd65f_03c0]), Err(UNDECODABLE), "a literal");
        assert_eq!(arm(&[0xd503_201f, 0x0000_1234, 0xd65f_03c0]), Err(UNDECODABLE));
    }
}
