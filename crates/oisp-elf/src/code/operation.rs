//! What an instruction does, as far as the rules ask, for any CPU.

/// A general-purpose register, by the number that its instructions encode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Register(pub(crate) u8);

/// How many registers either CPU has; numbers are below this.
pub(crate) const REGISTERS: usize = 32;

/// A set of registers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Registers(pub(crate) u32);

impl Registers {
    pub(crate) const fn of(numbers: &[u8]) -> Self {
        let mut set = 0;
        let mut index = 0;
        while index < numbers.len() {
            set |= 1 << numbers[index];
            index += 1;
        }
        Self(set)
    }

    pub(crate) fn contains(self, register: Register) -> bool {
        self.0 & (1 << register.0) != 0
    }
}

/// A field of what a register points to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) base: Register,
    pub(crate) displacement: i32,
}

/// What an instruction does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    /// Nothing of interest, but these registers hold something unknown from here on.
    Other { clobbers: Registers },
    /// A constant or an address into a register.
    Set { to: Register, value: u64 },
    /// One register into another; `narrow` where the upper half is cleared.
    Copy { to: Register, from: Register, narrow: bool },
    /// A register keeps its value or takes another's.
    Select { to: Register, either: Register, or: Register },
    /// A register and a constant into a register.
    Add { to: Register, from: Register, value: i64, narrow: bool },
    /// The sum or difference of a register and something unknown.
    Sum { to: Register, from: Register, other: Register },
    /// A field into a register.
    Load { to: Register, from: Place },
    /// Something into a field, `bytes` wide.
    Store { to: Place, from: Option<Register>, bytes: u8 },
    /// Something added to a field or taken away from it.
    Update { place: Place },
    /// A constant onto the stack.
    PushConstant { value: u64 },
    /// A register onto the stack.
    Push { from: Register },
    /// From the stack into a register.
    Pop { to: Register },
    /// A call; `None` where the target is computed.
    Call { target: Option<u64> },
    /// A jump; `None` where the target is computed.
    Jump { target: Option<u64> },
    /// A jump on a condition.
    Branch { target: u64 },
    /// Back to the caller.
    Return,
    /// Execution does not go on.
    Stop,
}

impl Operation {
    pub(crate) const NOTHING: Self = Self::Other { clobbers: Registers(0) };
}

/// A decoded instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Decoded {
    /// Its length in bytes.
    pub(crate) length: u8,
    /// What it does.
    pub(crate) operation: Operation,
    /// What it does besides, for those that do two things (a pair of stores).
    pub(crate) second: Option<Operation>,
}
