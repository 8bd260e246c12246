//! OpenSSL's internal functions behind its public ones.
//!
//! `SSL_read` and `SSL_read_ex` do nothing but call `ssl_read_internal`, and `SSL_write` and its like `ssl_write_internal`:
//! one function for all callers, which returns 1 and gives the number of bytes through a pointer. What the public functions
//! do is shown from their code: on the straight way from the first instruction to the first call nothing branches off but
//! on a negative length, and the call has the object, the buffer and the length where the public function got them, and a
//! pointer to a local (or the caller's pointer) for the number of bytes. An asynchronous job and QUIC are inside of the
//! internal functions, which return the result all the same.

use iced_x86::{Code, Instruction, Mnemonic, OpKind, Register};

use super::x86_64::{self, ARGUMENTS};
use super::{Flow, decode};
use crate::analysis::{Evidence, Function, FunctionSite};
use crate::image::{Architecture, Parsed};

/// What a register holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Value {
    /// An argument of the public function, by index.
    Argument(usize),
    /// An address on the stack.
    Local,
    Zero,
    Other,
}

/// A call of another function with the same object, buffer and length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Forward {
    target: u64,
    /// Index of the argument that is the pointer for the number of bytes.
    count_argument: u32,
}

/// From the first instruction to the call there are few.
const MAX_INSTRUCTIONS: usize = 48;

/// Adds `ssl_read_internal` and `ssl_write_internal` to OpenSSL's functions, each where all public functions before it are
/// shown to do nothing but call it.
pub(crate) fn add_internal_functions(parsed: &Parsed<'_>, functions: &mut Vec<FunctionSite>) {
    if parsed.architecture != Architecture::X86_64 {
        return;
    }
    for internal in [Function::SslReadInternal, Function::SslWriteInternal] {
        if functions.iter().any(|site| site.function == internal) {
            continue;
        }
        let Some(forward) = common_forward(parsed, functions, internal) else { continue };
        if functions.iter().any(|site| site.address == forward.target) {
            continue;
        }
        let Some(file_offset) = parsed.code_offset(forward.target) else { continue };
        let mut site = FunctionSite::at(internal, forward.target, file_offset, Evidence::Behaviour);
        site.arguments = match (internal, forward.count_argument) {
            (Function::SslReadInternal, 3) | (Function::SslWriteInternal, 4) => 0,
            (Function::SslWriteInternal, 3) => FunctionSite::WRITE_WITHOUT_FLAGS,
            _ => continue,
        };
        functions.push(site);
    }
    functions.sort_by_key(|site| site.function);
}

/// What all public functions before an internal one call; `None` where they do not agree.
fn common_forward(parsed: &Parsed<'_>, functions: &[FunctionSite], internal: Function) -> Option<Forward> {
    let public: Vec<_> =
        functions.iter().filter(|site| internal.stands_for().contains(&site.function)).collect();
    let follow = |site: &FunctionSite| forward(parsed, site.address, site.function);
    let mut common = None;
    for site in &public {
        let mut found = follow(site)?;
        // `SSL_write_ex` may call `SSL_write_ex2`.
        if let Some(next) = public.iter().find(|other| other.address == found.target) {
            if next.function != Function::SslWriteEx2 || found.count_argument != 4 {
                return None;
            }
            found = follow(next)?;
        }
        if common.is_some_and(|common| common != found) {
            return None;
        }
        common = Some(found);
    }
    let common = common?;
    // Only then is anything gained.
    let code = parsed.code_from(common.target)?;
    decode(parsed.architecture, code, common.target)?.is_cheap_place.then_some(common)
}

/// The first call of a public function, where it passes on what the function got.
fn forward(parsed: &Parsed<'_>, address: u64, function: Function) -> Option<Forward> {
    let code = parsed.code_from(address)?;
    let mut values = [Value::Other; 16];
    for (index, register) in ARGUMENTS.iter().enumerate() {
        values[*register as usize] = Value::Argument(index);
    }
    let mut at = 0;
    let mut tests_length = false;
    for _ in 0..MAX_INSTRUCTIONS {
        let code = code.get(at..)?;
        let here = address.checked_add(at as u64)?;
        let instruction = x86_64::instruction(code, here)?;
        let step = decode(parsed.architecture, code, here)?;
        match step.flow {
            Flow::Next => {}
            Flow::Call(Some(target)) | Flow::Jump(target) => return passed_on(&values, target, function),
            // `num < 0`
            Flow::Branch(_)
                if tests_length && matches!(instruction.mnemonic(), Mnemonic::Js | Mnemonic::Jl) => {}
            Flow::Call(None) | Flow::Branch(_) | Flow::Return | Flow::End | Flow::Unknown => return None,
        }
        if step.flow == Flow::Next {
            tests_length = is_test_of_length(&instruction, &values);
            apply(&instruction, step.writes, &mut values);
        }
        at += instruction.len();
    }
    None
}

fn passed_on(values: &[Value; 16], target: u64, function: Function) -> Option<Forward> {
    let value = |index: usize| values[ARGUMENTS[index] as usize];
    if (0..3).any(|index| value(index) != Value::Argument(index)) {
        return None;
    }
    // Where the caller's pointer is, if it has given one.
    let count = match function {
        Function::SslRead | Function::SslWrite => Value::Local,
        Function::SslReadEx | Function::SslWriteEx => Value::Argument(3),
        Function::SslWriteEx2 => Value::Argument(4),
        _ => return None,
    };
    let has_flags =
        value(3) == Value::Zero || function == Function::SslWriteEx2 && value(3) == Value::Argument(3);
    if value(3) == count && count != Value::Other {
        Some(Forward { target, count_argument: 3 })
    } else if has_flags && value(4) == count {
        Some(Forward { target, count_argument: 4 })
    } else {
        None
    }
}

fn register(instruction: &Instruction, index: u32) -> Option<usize> {
    (instruction.op_count() > index && instruction.op_kind(index) == OpKind::Register)
        .then(|| x86_64::number(instruction.op_register(index)))?
        .map(|number| number as usize)
}

fn is_test_of_length(instruction: &Instruction, values: &[Value; 16]) -> bool {
    let is_length = |index| register(instruction, index).is_some_and(|at| values[at] == Value::Argument(2));
    match instruction.mnemonic() {
        Mnemonic::Test => is_length(0) && is_length(1),
        Mnemonic::Cmp => is_length(0) && instruction.try_immediate(1).is_ok_and(|value| value == 0),
        _ => false,
    }
}

fn apply(instruction: &Instruction, writes: u32, values: &mut [Value; 16]) {
    const LENGTH: Value = Value::Argument(2);
    let source = register(instruction, 1);
    let is_stack = |register: Register| register == Register::RSP;
    let new = match instruction.code() {
        Code::Mov_r64_rm64 | Code::Mov_rm64_r64 if source.is_some() => {
            if is_stack(instruction.op_register(1)) {
                Value::Local
            } else {
                source.map_or(Value::Other, |at| values[at])
            }
        }
        // The length as a number of another width; it is not negative.
        Code::Movsxd_r64_rm32 | Code::Mov_r32_rm32 | Code::Mov_rm32_r32
            if source.is_some_and(|at| values[at] == LENGTH) =>
        {
            LENGTH
        }
        Code::Lea_r64_m
            if is_stack(instruction.memory_base()) && instruction.memory_index() == Register::None =>
        {
            Value::Local
        }
        Code::Xor_r32_rm32 | Code::Xor_rm32_r32 | Code::Xor_r64_rm64 | Code::Xor_rm64_r64
            if source.is_some() && source == register(instruction, 0) =>
        {
            Value::Zero
        }
        _ => Value::Other,
    };
    let destination = register(instruction, 0);
    for (number, value) in values.iter_mut().enumerate() {
        if writes >> number & 1 == 1 {
            *value = if destination == Some(number) { new } else { Value::Other };
        }
    }
}
