//! Follows a function's control flow and keeps account of the constants in its registers.
//!
//! Compilers merge the tails of error reports, so that one `call` serves several of them: what a call is given depends
//! on the way to it. Each way is followed that brings other constants along.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::Code;
use super::operation::{Operation, REGISTERS, Register};
use super::starts::{FarTargets, Starts};

/// A call that a function makes, with what is known of its arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Call {
    /// Where.
    pub(crate) at: u64,
    /// What is called; `None` where it is computed.
    pub(crate) target: Option<u64>,
    /// The first six arguments, as far as they are constants.
    pub(crate) arguments: [Option<u64>; 6],
}

/// What one function does, as far as it was followed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trace {
    /// Where it begins.
    pub(crate) start: u64,
    /// Its calls, also those that it ends with.
    pub(crate) calls: Vec<Call>,
    /// Those of the places asked about that it has, in order.
    pub(crate) reached: Vec<u64>,
    /// Distances of the fields that something is stored in.
    pub(crate) stored: Vec<i32>,
    /// Distances of the fields that something is added to.
    pub(crate) advanced: Vec<i32>,
    /// Which of its first six arguments it reads, one bit each.
    pub(crate) arguments_read: u8,
    /// Where it jumps to far away: a part of it, or another function.
    pub(crate) far_jumps: Vec<u64>,
    /// The starts of the straight pieces that it consists of.
    pub(crate) pieces: Vec<u64>,
    /// How many instructions were followed.
    pub(crate) instructions: usize,
    /// Whether a bound ended the walk, so that there may be more.
    pub(crate) is_cut: bool,
}

impl Trace {
    /// Whether it consumes a span: adds to the span's pointer and stores its length, which is the next field.
    pub(crate) fn consumes_span(&self) -> bool {
        self.advanced.iter().any(|&field| {
            let next = field.wrapping_add(8);
            self.stored.contains(&next) || self.advanced.contains(&next)
        })
    }

    /// Whether it reads its argument with this index, from 0.
    pub(crate) fn reads_argument(&self, index: u8) -> bool {
        self.arguments_read & (1 << index) != 0
    }

    /// Whether it is a few straight instructions that return: perhaps what several functions have in common.
    pub(crate) fn is_outlined(&self) -> bool {
        self.pieces.len() == 1 && self.calls.is_empty() && self.instructions <= MAX_OUTLINED
    }

    pub(crate) fn calls(&self, function: u64) -> bool {
        self.calls.iter().any(|call| call.target == Some(function))
    }
}

/// Instructions followed in one function.
const MAX_INSTRUCTIONS: usize = 20_000;
/// Instructions followed for one search.
const MAX_INSTRUCTIONS_ALTOGETHER: usize = 4_000_000;
/// Different sets of constants with which one piece is followed.
const MAX_STATES: usize = 24;
/// Calls kept of one function.
const MAX_CALLS: usize = 512;
/// Fields and far jumps kept of one function.
const MAX_FIELDS: usize = 512;
/// A jump over more than this leaves the function, or goes to a part of it that was set apart as rarely executed.
const FAR: u64 = 32 << 10;
/// Instructions in a piece that several functions have in common.
const MAX_OUTLINED: usize = 8;
/// Values followed on the stack.
const STACK: usize = 12;

/// The stack pointer of x86; of Arm it is [`ZERO`].
const STACK_POINTER: u8 = 4;
/// Arm's zero register or stack pointer, whose value is never known.
const ZERO: u8 = 31;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
enum Value {
    #[default]
    Unknown,
    Constant(u64),
    /// What was in the field at this distance.
    Field(i32),
    /// That and something added.
    Advanced(i32),
    /// One of the function's own arguments, as it was given.
    Argument(u8),
}

#[derive(Clone, Copy)]
struct State {
    registers: [Value; REGISTERS],
    stack: [Value; STACK],
    depth: usize,
}

impl State {
    /// As a function finds it that has these registers for its arguments.
    fn entering(arguments: [Register; 6]) -> Self {
        let mut state =
            Self { registers: [Value::Unknown; REGISTERS], stack: [Value::Unknown; STACK], depth: 0 };
        for (index, register) in (0..).zip(arguments) {
            state.set(register, Value::Argument(index));
        }
        state
    }

    fn of(&self, register: Register) -> Value {
        self.registers.get(usize::from(register.0)).copied().unwrap_or_default()
    }

    fn constant(&self, register: Register) -> Option<u64> {
        match self.of(register) {
            Value::Constant(value) => Some(value),
            _ => None,
        }
    }

    fn set(&mut self, register: Register, value: Value) {
        if register.0 != ZERO
            && let Some(slot) = self.registers.get_mut(usize::from(register.0))
        {
            *slot = value;
        }
    }

    fn push(&mut self, value: Value) {
        if self.depth == STACK {
            self.stack.rotate_left(1);
            self.depth -= 1;
        }
        self.stack[self.depth] = value;
        self.depth += 1;
    }

    fn pop(&mut self) -> Value {
        match self.depth.checked_sub(1) {
            Some(depth) => {
                self.depth = depth;
                self.stack[depth]
            }
            None => Value::Unknown,
        }
    }

    /// Equal for states that have the same constants.
    fn fingerprint(&self) -> u64 {
        let mut fingerprint = 0xcbf2_9ce4_8422_2325_u64;
        for (index, value) in self.registers.iter().chain(&self.stack[..self.depth]).enumerate() {
            if let Value::Constant(value) = value {
                for part in [index as u64, *value] {
                    fingerprint = (fingerprint ^ part).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
                }
            }
        }
        fingerprint
    }
}

/// Follows functions; one for a search.
pub(crate) struct Walker<'c, 'a> {
    code: &'c Code<'a>,
    remaining: usize,
}

impl<'c, 'a> Walker<'c, 'a> {
    pub(crate) fn new(code: &'c Code<'a>) -> Self {
        Self { code, remaining: MAX_INSTRUCTIONS_ALTOGETHER }
    }

    /// Follows the function that begins at `start`; `sites`, in order, are the places of which it says whether it has
    /// them, and `starts` and `far` say which jumps lead into other functions.
    pub(crate) fn walk(&mut self, start: u64, sites: &[u64], starts: &Starts, far: &FarTargets) -> Trace {
        let mut walk = Walk {
            code: self.code,
            starts,
            far,
            sites,
            trace: Trace { start, ..Trace::default() },
            seen: HashMap::new(),
            calls: HashSet::new(),
            reached: BTreeSet::new(),
            pending: vec![(start, State::entering(self.code.arguments()))],
            budget: MAX_INSTRUCTIONS.min(self.remaining),
        };
        let budget = walk.budget;
        while let Some((address, state)) = walk.pending.pop() {
            walk.piece(address, state);
        }
        let instructions = budget - walk.budget;
        self.remaining -= instructions;
        let mut trace = walk.trace;
        trace.instructions = instructions;
        trace.reached = walk.reached.into_iter().collect();
        trace.pieces = walk.seen.into_keys().collect();
        trace.pieces.sort_unstable();
        trace
    }
}

/// A few straight instructions that were set apart.
struct Outlined {
    /// What they end by jumping to, if they do not return.
    ends_in: Option<Option<u64>>,
    after: State,
}

struct Walk<'c, 'a, 's> {
    code: &'c Code<'a>,
    starts: &'s Starts,
    far: &'s FarTargets,
    sites: &'s [u64],
    trace: Trace,
    /// The pieces followed, and with which constants.
    seen: HashMap<u64, Vec<u64>>,
    calls: HashSet<Call>,
    reached: BTreeSet<u64>,
    pending: Vec<(u64, State)>,
    budget: usize,
}

impl Walk<'_, '_, '_> {
    /// Follows instructions until the flow goes elsewhere.
    fn piece(&mut self, mut address: u64, mut state: State) {
        let mut first = true;
        let mut after_call = false;
        loop {
            // A call that another function comes right after does not return.
            if after_call && self.starts.is_function(address) && !self.code.is_inside_function(address) {
                return;
            }
            after_call = false;
            // A piece that others jump into the middle of is followed again only for other constants.
            if (first || self.seen.contains_key(&address)) && !self.is_new(address, &state) {
                return;
            }
            first = false;
            let Some(budget) = self.budget.checked_sub(1) else {
                self.trace.is_cut = true;
                return;
            };
            self.budget = budget;
            let Some(decoded) = self.code.decode(address) else { return };
            let next = address.wrapping_add(u64::from(decoded.length));
            self.note_site(address, next);
            let mut fork = None;
            for operation in std::iter::once(decoded.operation).chain(decoded.second) {
                match operation {
                    Operation::Call { target } => {
                        after_call = true;
                        match target.and_then(|target| self.outlined(target, &state)) {
                            Some(Outlined { ends_in: None, after }) => state = after,
                            Some(Outlined { ends_in: Some(target), after }) => {
                                self.note_call(address, target, &after);
                                self.forget_after_call(&mut state);
                            }
                            None => {
                                self.note_call(address, target, &state);
                                self.forget_after_call(&mut state);
                            }
                        }
                    }
                    Operation::Jump { target } => {
                        match target {
                            Some(target) if self.stays(address, target) => self.pending.push((target, state)),
                            target => self.note_call(address, target, &state),
                        }
                        return;
                    }
                    Operation::Branch { target } => {
                        if self.stays(address, target) {
                            self.pending.push((target, state));
                        } else {
                            self.note_call(address, Some(target), &state);
                        }
                    }
                    Operation::Return | Operation::Stop => return,
                    Operation::Select { to, either, or } => {
                        let (either, or) = (state.of(either), state.of(or));
                        if either != or {
                            fork = Some((to, or));
                        }
                        state.set(to, either);
                    }
                    other => self.data(other, &mut state),
                }
            }
            if let Some((to, value)) = fork
                && matches!(value, Value::Constant(_))
            {
                let mut other = state;
                other.set(to, value);
                self.pending.push((next, other));
            }
            address = next;
        }
    }

    /// What is called loses what it may change.
    fn forget_after_call(&self, state: &mut State) {
        for register in 0..REGISTERS {
            #[expect(clippy::cast_possible_truncation, reason = "below REGISTERS")]
            let register = Register(register as u8);
            if self.code.caller_saved().contains(register) {
                state.set(register, Value::Unknown);
            }
        }
    }

    /// What a call of a few straight instructions leaves: compilers that save space set apart what several functions
    /// have in common, which may be a part of an error report. `None` where it is no such piece.
    fn outlined(&mut self, start: u64, state: &State) -> Option<Outlined> {
        let mut after = *state;
        let mut address = start;
        for _ in 0..MAX_OUTLINED {
            self.budget = self.budget.checked_sub(1)?;
            let decoded = self.code.decode(address)?;
            for operation in std::iter::once(decoded.operation).chain(decoded.second) {
                match operation {
                    Operation::Return => return Some(Outlined { ends_in: None, after }),
                    Operation::Jump { target } => return Some(Outlined { ends_in: Some(target), after }),
                    Operation::Call { .. }
                    | Operation::Branch { .. }
                    | Operation::Stop
                    | Operation::Select { .. }
                    | Operation::PushConstant { .. }
                    | Operation::Push { .. }
                    | Operation::Pop { .. } => return None,
                    other => self.data(other, &mut after),
                }
            }
            address = address.wrapping_add(u64::from(decoded.length));
        }
        None
    }

    fn data(&mut self, operation: Operation, state: &mut State) {
        self.note_arguments(operation, state);
        match operation {
            Operation::Other { clobbers } => {
                for register in 0..REGISTERS {
                    #[expect(clippy::cast_possible_truncation, reason = "below REGISTERS")]
                    let register = Register(register as u8);
                    if clobbers.contains(register) {
                        state.set(register, Value::Unknown);
                    }
                }
            }
            Operation::Set { to, value } => state.set(to, Value::Constant(value)),
            Operation::Copy { to, from, narrow } => {
                let value = match state.of(from) {
                    Value::Constant(value) if narrow => Value::Constant(value & 0xffff_ffff),
                    value => value,
                };
                state.set(to, value);
            }
            Operation::Add { to, from, value, narrow } => {
                let sum = match state.of(from) {
                    Value::Constant(constant) => {
                        let sum = constant.wrapping_add_signed(value);
                        Value::Constant(if narrow { sum & 0xffff_ffff } else { sum })
                    }
                    _ => Value::Unknown,
                };
                state.set(to, sum);
            }
            Operation::Sum { to, from, other } => {
                let sum = match (state.of(from), state.of(other)) {
                    (Value::Field(field), _) | (_, Value::Field(field)) => Value::Advanced(field),
                    _ => Value::Unknown,
                };
                state.set(to, sum);
            }
            Operation::Load { to, from } => {
                let value = if is_stack(self.code, from.base) {
                    Value::Unknown
                } else {
                    Value::Field(from.displacement)
                };
                state.set(to, value);
            }
            Operation::Store { to, from, bytes } => {
                if is_stack(self.code, to.base) {
                    return;
                }
                note(&mut self.trace.stored, to.displacement);
                if bytes == 16 {
                    note(&mut self.trace.stored, to.displacement.wrapping_add(8));
                }
                if from.map(|from| state.of(from)) == Some(Value::Advanced(to.displacement)) {
                    note(&mut self.trace.advanced, to.displacement);
                }
            }
            Operation::Update { place } => {
                if !is_stack(self.code, place.base) {
                    note(&mut self.trace.advanced, place.displacement);
                }
            }
            Operation::PushConstant { value } => state.push(Value::Constant(value)),
            Operation::Push { from } => {
                let value = state.of(from);
                state.push(value);
            }
            Operation::Pop { to } => {
                let value = state.pop();
                state.set(to, value);
            }
            Operation::Select { .. }
            | Operation::Call { .. }
            | Operation::Jump { .. }
            | Operation::Branch { .. }
            | Operation::Return
            | Operation::Stop => {}
        }
    }

    /// Notes the arguments that an operation reads. A `push` is no sign: compilers push any register for alignment.
    fn note_arguments(&mut self, operation: Operation, state: &State) {
        let read = match operation {
            Operation::Copy { from, .. } | Operation::Add { from, .. } => [Some(from), None],
            Operation::Sum { from, other, .. } => [Some(from), Some(other)],
            Operation::Load { from, .. } => [Some(from.base), None],
            Operation::Store { to, from, .. } => [Some(to.base), from],
            Operation::Update { place } => [Some(place.base), None],
            _ => return,
        };
        for register in read.into_iter().flatten() {
            if let Value::Argument(index) = state.of(register) {
                self.trace.arguments_read |= 1 << index;
            }
        }
    }

    fn is_new(&mut self, address: u64, state: &State) -> bool {
        let fingerprint = state.fingerprint();
        let states = self.seen.entry(address).or_default();
        if states.contains(&fingerprint) {
            return false;
        }
        if states.len() == MAX_STATES {
            self.trace.is_cut = true;
            return false;
        }
        states.push(fingerprint);
        true
    }

    fn note_site(&mut self, address: u64, next: u64) {
        let index = self.sites.partition_point(|&site| site < address);
        for &site in self.sites[index..].iter().take_while(|&&site| site < next) {
            self.reached.insert(site);
        }
    }

    fn note_call(&mut self, at: u64, target: Option<u64>, state: &State) {
        let arguments = self.code.arguments().map(|register| state.constant(register));
        let call = Call { at, target, arguments };
        if self.calls.contains(&call) {
            return;
        }
        if self.trace.calls.len() == MAX_CALLS {
            self.trace.is_cut = true;
            return;
        }
        self.calls.insert(call);
        self.trace.calls.push(call);
    }

    /// Whether a jump stays in the function.
    fn stays(&mut self, from: u64, target: u64) -> bool {
        if target == self.trace.start {
            return true;
        }
        // What the unwind table knows as the inside of a function is none, even if some bytes look like a call of it.
        if self.far.is_function(target)
            || self.starts.is_function(target) && !self.code.is_inside_function(target)
        {
            return false;
        }
        if from.abs_diff(target) < FAR || self.far.is_part(target) {
            return true;
        }
        if self.trace.far_jumps.len() < MAX_FIELDS && !self.trace.far_jumps.contains(&target) {
            self.trace.far_jumps.push(target);
        }
        false
    }
}

fn is_stack(code: &Code<'_>, register: Register) -> bool {
    match code.architecture {
        crate::image::Architecture::X86_64 => register.0 == STACK_POINTER,
        crate::image::Architecture::Aarch64 => register.0 == ZERO,
    }
}

fn note(fields: &mut Vec<i32>, field: i32) {
    if fields.len() < MAX_FIELDS && !fields.contains(&field) {
        fields.push(field);
    }
}
