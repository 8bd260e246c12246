//! Where a function is probed: the cheapest place that is safe.
//!
//! A breakpoint whose instruction the kernel emulates costs a seventh of one that it executes elsewhere and traps on again,
//! so the address matters more than the program. Places are instructions that every call passes, at which all arguments
//! are still where they were when the function was entered; or, for its result, which every return passes, with the result
//! where a function returns it. Where that cannot be shown the function's first instruction and its return instructions
//! are taken.

mod aarch64;
mod choice;
mod forward;
mod verify;
mod walk;
mod x86_64;

pub(crate) use choice::choose;
pub(crate) use forward::add_internal_functions;
pub use verify::SiteError;

use crate::analysis::{CostClass, Function};
use crate::image::Architecture;

/// An instruction, as far as the choice needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Step {
    length: u64,
    flow: Flow,
    cost: CostClass,
    /// Whether it is of a kind that probes are put on for its price.
    ///
    /// Not a call: an emulated one leaves nothing on the shadow stack of a process that has one, and its return would end
    /// the process. Not a `nop`: newer kernels replace long ones with a call, which writes below the stack pointer, where
    /// a leaf function may keep its data.
    is_cheap_place: bool,
    /// Registers that it may change, by number.
    writes: u32,
    /// Bytes by which the stack grows; `None` where that is not known.
    growth: Option<i64>,
}

/// What follows an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flow {
    /// The next one.
    Next,
    /// A function's first instruction, and when it has returned the next one.
    Call(Option<u64>),
    /// The next one or this.
    Branch(u64),
    /// This.
    Jump(u64),
    /// The function is left with its result where results are.
    Return,
    /// Nothing: a trap.
    End,
    /// It cannot be known.
    Unknown,
}

fn decode(architecture: Architecture, code: &[u8], address: u64) -> Option<Step> {
    match architecture {
        Architecture::X86_64 => x86_64::decode(code, address),
        Architecture::Aarch64 => aarch64::decode(code, address),
    }
}

/// The registers that the program for a function reads when it is entered.
fn arguments(architecture: Architecture, function: Function) -> u32 {
    let count = match function {
        Function::SslNew => 0,
        Function::SslFree | Function::SslClear => 1,
        Function::SslRead | Function::SslWrite => 3,
        Function::SslReadEx | Function::SslWriteEx | Function::SslReadInternal => 4,
        Function::SslWriteEx2 | Function::SslWriteInternal => 5,
        Function::AeadSeal
        | Function::AeadSealScatter
        | Function::AeadOpen
        | Function::AeadOpenGather
        | Function::RingSeal
        | Function::RingOpen => 8,
        Function::GoRead
        | Function::GoWrite
        | Function::GoClose
        | Function::GoClientHandshake
        | Function::GoServerHandshake => return go_arguments(architecture),
    };
    match architecture {
        Architecture::X86_64 => x86_64::ARGUMENTS.iter().take(count).fold(0, |mask, bit| mask | 1 << bit),
        // x8 holds the address of a result that is a structure.
        Architecture::Aarch64 => ((1 << count) - 1) | (1 << 8),
    }
}

/// Go passes arguments in registers of its own, and has two more with fixed meanings.
fn go_arguments(architecture: Architecture) -> u32 {
    match architecture {
        Architecture::X86_64 => x86_64::GO_ARGUMENTS.iter().fold(0, |mask, bit| mask | 1 << bit),
        Architecture::Aarch64 => 0xffff | (1 << 28),
    }
}

/// The register that a function returns its result in.
fn result(architecture: Architecture) -> u32 {
    match architecture {
        Architecture::X86_64 => 1 << x86_64::RESULT,
        Architecture::Aarch64 => 1,
    }
}

#[cfg(test)]
mod tests;
