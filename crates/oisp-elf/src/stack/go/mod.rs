//! Go's `crypto/tls`, by the function table that the runtime needs and that stripping therefore leaves (pclntab).
//!
//! `memory`: the file as the program sees it; `build`: whether it is Go's, and of which version; `table`: functions by
//! name; `code`: where in a function to probe.
//!
//! No return probe goes on Go code: the runtime moves stacks and walks them, and a changed return address ends the
//! program. Each `ret` is probed instead.

mod build;
mod code;
mod memory;
mod table;

use std::borrow::Cow;

use self::build::Build;
use self::code::Places;
use self::memory::Memory;
use self::table::{Format, Table};
use crate::analysis::{
    Evidence, Function, FunctionSite, Library, ProbeSite, Refusal, RefusalReason, Returns, Stack,
};
use crate::image::{Architecture, Parsed};

const FUNCTIONS: [Function; 5] = [
    Function::GoRead,
    Function::GoWrite,
    Function::GoClose,
    Function::GoClientHandshake,
    Function::GoServerHandshake,
];

/// Texts that are in a program with `crypto/tls`: the name of a function, and what a function says.
const SIGNS: [&[u8]; 2] = [b"crypto/tls.(*Conn).Write", b"tls: failed to send closeNotify alert"];

/// The function that all writers end in, as function tables name it, and what is before it in the original.
const COPIED: &[u8] = b"tls.(*Conn).writeRecordLocked\0";
const ORIGINAL: &[u8] = b"crypto/";

const TOO_OLD: RefusalReason = RefusalReason::Unsupported(
    "built by a Go that passes arguments on the stack (before 1.17, on aarch64 1.18)",
);

pub(crate) fn find(parsed: &Parsed<'_>) -> Result<Option<Stack>, Refusal> {
    let memory = Memory::of(parsed);
    let Some(build) = Build::of(&memory) else { return Ok(None) };
    locate(parsed, &memory, &build).map_err(|reason| Refusal { library: Library::Go, reason })
}

/// A copy of `crypto/tls` under another path (uTLS), beside it or alone: its connections have functions of their own.
pub(crate) fn refuse_copy(parsed: &Parsed<'_>) -> Result<Option<Stack>, Refusal> {
    let memory = Memory::of(parsed);
    if Build::of(&memory).is_none() || !memory.has_without(ORIGINAL, COPIED) {
        return Ok(None);
    }
    Err(Refusal {
        library: Library::Go,
        reason: RefusalReason::Unsupported("connections of a copy of crypto/tls are not followed"),
    })
}

fn locate(parsed: &Parsed<'_>, memory: &Memory<'_>, build: &Build) -> Result<Option<Stack>, RefusalReason> {
    let is_linked_in = || SIGNS.iter().any(|sign| memory.contains(sign));
    let oldest = if parsed.architecture == Architecture::X86_64 { 17 } else { 18 };
    if build.is_before(oldest) || build.has_no_register_abi() {
        return if is_linked_in() { Err(TOO_OLD) } else { Ok(None) };
    }
    let Some(table) = Table::find(memory, parsed.architecture) else {
        return if is_linked_in() {
            Err(RefusalReason::Unsupported(
                "a Go program without a function table of a known form: changed after it was built, or too new",
            ))
        } else {
            Ok(None)
        };
    };
    let names = FUNCTIONS.map(Function::name);
    let found = table.functions(&names)?;
    let mut functions = Vec::new();
    for (function, range) in FUNCTIONS.into_iter().zip(found) {
        let Some(range) = range else { continue };
        let bytes = memory.code(&range).ok_or(RefusalReason::Contradiction(
            "the function table names addresses outside the program's code",
        ))?;
        let transfers = matches!(function, Function::GoRead | Function::GoWrite);
        let places = Places::of(parsed.architecture, range.start, bytes)?;
        // Of the old interface the check of the stack looks otherwise.
        let surely_new = build.is_known() || (table.format != Format::Go116);
        if !places.checks_stack && !surely_new {
            return Err(TOO_OLD);
        }
        functions.push(site(parsed, function, range.start, &places, transfers)?);
    }
    if functions.iter().any(|site| matches!(site.function, Function::GoRead | Function::GoWrite)) {
        return Ok(Some(Stack { library: Library::Go, functions }));
    }
    // Without them nothing can go over a connection: the linker has left out what is not called.
    if functions.is_empty() && memory.contains(SIGNS[1]) {
        return Err(RefusalReason::Unsupported(
            "a Go program whose functions were renamed after it was compiled",
        ));
    }
    Ok(None)
}

fn site(
    parsed: &Parsed<'_>,
    function: Function,
    address: u64,
    places: &Places,
    transfers: bool,
) -> Result<FunctionSite, RefusalReason> {
    let place = |address: u64, cost, why| {
        let file_offset = parsed
            .code_offset(address)
            .ok_or(RefusalReason::Contradiction("code that is not in the file"))?;
        Ok(ProbeSite { address, file_offset, pushed_words: 0, cost, why: Cow::Borrowed(why) })
    };
    let entry = if places.checks_stack {
        place(places.entry, places.entry_cost, "the jump of the stack check, before anything was pushed")?
    } else {
        place(places.entry, places.entry_cost, "the function's first instruction")?
    };
    let mut instructions = Vec::new();
    if transfers {
        if places.returns.is_empty() {
            return Err(RefusalReason::Contradiction("a function that never returns"));
        }
        for &address in &places.returns {
            instructions.push(place(address, places.return_cost, "return instruction")?);
        }
    }
    Ok(FunctionSite {
        function,
        address,
        file_offset: place(address, entry.cost, "")?.file_offset,
        evidence: Evidence::GoFunctionTable,
        entry,
        returns: Returns { probe: None, instructions },
        arguments: 0,
    })
}
