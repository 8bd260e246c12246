//! OpenSSL and libraries with its interface, by symbols: shared libraries export them, executables that contain the
//! library keep them unless they were stripped (Node.js exports them for its add-ons).

use crate::analysis::{Function, Library, Refusal, RefusalReason, Stack, named_functions};
use crate::image::Parsed;
use crate::site;

/// `libssl.so.3`, `libssl.so.1.1`, `libssl.so`.
pub(crate) const LIBRARY_NAME: &str = "libssl.so";

const NAMES: &[(&str, Function)] = &[
    ("SSL_read", Function::SslRead),
    ("SSL_read_ex", Function::SslReadEx),
    ("SSL_write", Function::SslWrite),
    ("SSL_write_ex", Function::SslWriteEx),
    ("SSL_write_ex2", Function::SslWriteEx2),
    ("SSL_free", Function::SslFree),
    ("SSL_clear", Function::SslClear),
    ("SSL_new", Function::SslNew),
];

pub(crate) fn find(parsed: &Parsed<'_>) -> Result<Option<Stack>, Refusal> {
    let mut stack = by_symbols(parsed).map_err(|reason| Refusal { library: Library::OpenSsl, reason })?;
    if let Some(stack) = &mut stack {
        site::add_internal_functions(parsed, &mut stack.functions);
    }
    Ok(stack)
}

/// The functions that the file has symbols for.
pub(super) fn by_symbols(parsed: &Parsed<'_>) -> Result<Option<Stack>, RefusalReason> {
    let functions = named_functions(parsed, |name| {
        NAMES.iter().find(|(known, _)| known.as_bytes() == name).map(|&(_, function)| function)
    })?;
    let has = |function| functions.iter().any(|site| site.function == function);
    Ok((has(Function::SslRead) && has(Function::SslWrite))
        .then_some(Stack { library: Library::OpenSsl, functions }))
}
