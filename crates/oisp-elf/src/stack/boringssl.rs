//! BoringSSL without symbols, as in Bun, Chromium and Electron: by the errors that its functions report.
//!
//! The rules and the reason codes are those of `ssl/ssl_lib.cc` and `include/openssl/ssl.h` of the last years. Each
//! function must be the only one with its marks, and they must agree with one another: the order in the source file,
//! that `SSL_read` calls the helper that it shares with `SSL_peek`, and that it alone consumes what was read.

use crate::analysis::{Evidence, Function, FunctionSite, Library, Refusal, RefusalReason, Stack};
use crate::code::{Code, Mark, Reach, Text, Trace, find_functions};
use crate::image::Parsed;

use super::error_reports::ErrorReports;

/// `ERR_LIB_SSL`
const ERR_LIB_SSL: u64 = 16;
/// `ERR_R_SHOULD_NOT_HAVE_BEEN_CALLED`: for a QUIC connection.
const SHOULD_NOT_HAVE_BEEN_CALLED: u64 = 66;
/// `SSL_R_BAD_LENGTH`
const BAD_LENGTH: u64 = 111;
/// `SSL_R_NULL_SSL_CTX`
const NULL_SSL_CTX: u64 = 185;
/// `SSL_R_PROTOCOL_IS_SHUTDOWN`
const PROTOCOL_IS_SHUTDOWN: u64 = 194;
/// `SSL_R_SSL_HANDSHAKE_FAILURE`
const SSL_HANDSHAKE_FAILURE: u64 = 215;
/// `SSL_R_UNINITIALIZED`
const UNINITIALIZED: u64 = 226;

/// What `SSL_write` reports: now; until 2023, when the length was checked further down; until 2021, when it also looked
/// for a shutdown.
const WRITE_REASONS: [&[u64]; 3] = [
    &[SHOULD_NOT_HAVE_BEEN_CALLED, UNINITIALIZED, SSL_HANDSHAKE_FAILURE, BAD_LENGTH],
    &[SHOULD_NOT_HAVE_BEEN_CALLED, UNINITIALIZED, SSL_HANDSHAKE_FAILURE],
    &[SHOULD_NOT_HAVE_BEEN_CALLED, UNINITIALIZED, SSL_HANDSHAKE_FAILURE, PROTOCOL_IS_SHUTDOWN],
];

/// How far before the first error of `SSL_write` that of `SSL_read` is, in lines: `SSL_peek`'s few lines come between.
const READ_BEFORE_WRITE: std::ops::RangeInclusive<u64> = 10..=40;

pub(crate) fn find(parsed: &Parsed<'_>) -> Result<Option<Stack>, Refusal> {
    let code = parsed.code();
    let files = code.texts(Mark::BoringSslFile);
    if files.is_empty() {
        return Ok(None);
    }
    // Symbols that contradict themselves are told where they are read.
    let known = super::openssl::by_symbols(parsed).ok().flatten();
    match Reach::widening(|reach| locate(code, files, reach)) {
        Ok(found) => {
            let sites: Option<Vec<_>> = found
                .into_iter()
                .map(|(function, address)| {
                    let offset = parsed.code_offset(address)?;
                    Some(FunctionSite::at(function, address, offset, Evidence::Behaviour))
                })
                .collect();
            let functions = sites.unwrap_or_default();
            let is_known = known
                .iter()
                .flat_map(|stack| &stack.functions)
                .any(|known| functions.iter().any(|site| site.address == known.address));
            Ok((!is_known && !functions.is_empty())
                .then_some(Stack { library: Library::BoringSsl, functions }))
        }
        // The symbols say where the functions are, whatever they look like.
        Err(_) if known.is_some() => Ok(None),
        Err(reason) => Err(Refusal { library: Library::BoringSsl, reason }),
    }
}

/// The functions, sorted, with their addresses.
fn locate(code: &Code<'_>, files: &[Text<'_>], reach: Reach) -> Result<Vec<(Function, u64)>, RefusalReason> {
    let addresses: Vec<u64> = files.iter().map(|file| file.address).collect();
    let candidates: Vec<(Trace, ErrorReports)> = find_functions(code, &code.references(&addresses), reach)
        .into_iter()
        .map(|function| {
            let reports = ErrorReports::of(&function, files, ERR_LIB_SSL);
            (function, reports)
        })
        .collect();

    let is_write = |reports: &ErrorReports| WRITE_REASONS.iter().any(|reasons| reports.are(reasons));
    let writes = candidates.iter().filter(|(_, reports)| is_write(reports));
    let (write, write_reports) = only(Function::SslWrite, writes)?;
    let write_begins = write_reports.lowest_line().unwrap_or(0);

    // `ssl_read_impl`, which does the reading for `SSL_read` and `SSL_peek`
    let is_helper = |reports: &ErrorReports| {
        reports.include(&[UNINITIALIZED, SSL_HANDSHAKE_FAILURE])
            && !reports.include(&[BAD_LENGTH])
            && reports.lines(UNINITIALIZED).all(|line| line < write_begins)
    };
    let helpers = candidates.iter().filter(|(_, reports)| is_helper(reports));
    let (helper, _) = only(Function::SslRead, helpers)?;

    let looks_like_read = |(function, reports): &&(Trace, ErrorReports)| {
        reports.are(&[SHOULD_NOT_HAVE_BEEN_CALLED])
            && reports
                .lines(SHOULD_NOT_HAVE_BEEN_CALLED)
                .all(|line| write_begins.checked_sub(line).is_some_and(|by| READ_BEFORE_WRITE.contains(&by)))
            && function.calls(helper.start)
    };
    // `SSL_peek` is the same but for what `SSL_read` does afterwards: it consumes what was read.
    let (reads, peeks): (Vec<_>, Vec<_>) =
        candidates.iter().filter(looks_like_read).partition(|(function, _)| function.consumes_span());
    let read = match (reads.as_slice(), peeks.as_slice()) {
        ([], [(peek, _)]) => caller_that_consumes(code, peek)?,
        _ => only(Function::SslRead, reads.into_iter())?.0.start,
    };

    let mut found = vec![(Function::SslRead, read), (Function::SslWrite, write.start)];
    let news = candidates.iter().filter(|(_, reports)| {
        reports.are(&[NULL_SSL_CTX]) && reports.lowest_line().is_some_and(|line| line < write_begins)
    });
    if let Ok((new, _)) = only(Function::SslNew, news) {
        found.push((Function::SslNew, new.start));
    }
    Ok(found)
}

/// `SSL_read` where it calls `SSL_peek` instead of containing it: the one caller that consumes what was read.
fn caller_that_consumes(code: &Code<'_>, peek: &Trace) -> Result<u64, RefusalReason> {
    let callers = find_functions(code, &code.callers(&[peek.start]), Reach::Near);
    let reads = callers.iter().filter(|function| function.calls(peek.start) && function.consumes_span());
    only(Function::SslRead, reads).map(|function| function.start)
}

/// The only one that there is.
pub(super) fn only<T>(
    function: Function,
    mut candidates: impl Iterator<Item = T>,
) -> Result<T, RefusalReason> {
    let Some(first) = candidates.next() else { return Err(RefusalReason::Absent(function)) };
    match candidates.count() {
        0 => Ok(first),
        more => Err(RefusalReason::Ambiguous { function, candidates: more + 1 }),
    }
}
