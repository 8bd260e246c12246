//! rustls over AWS-LC: the functions that seal and open records, by symbols or by the errors that they report.
//!
//! rustls itself leaves no functions that stay the same: it is compiled anew, and inlined, in every program. AWS-LC is
//! C code with a stable interface beneath it. Its functions are told apart as in `boringssl.rs`.

use super::boringssl::only;
use super::error_reports::ErrorReports;
use crate::analysis::{
    Evidence, Function, FunctionSite, Library, Refusal, RefusalReason, Stack, named_functions,
};
use crate::code::{Code, Mark, Reach, Text, Trace, find_functions};
use crate::image::Parsed;

/// BoringSSL's file is named alike, and its functions are.
const OTHER_LIBRARY: &[u8] = b"boringssl";

/// `ERR_LIB_CIPHER`
const ERR_LIB_CIPHER: u64 = 30;
/// `CIPHER_R_BAD_DECRYPT`
const BAD_DECRYPT: u64 = 101;
/// `CIPHER_R_BUFFER_TOO_SMALL`
const BUFFER_TOO_SMALL: u64 = 103;
/// `CIPHER_R_CTRL_NOT_IMPLEMENTED`
const CTRL_NOT_IMPLEMENTED: u64 = 104;
/// `CIPHER_R_INPUT_NOT_INITIALIZED`
const INPUT_NOT_INITIALIZED: u64 = 112;
/// `CIPHER_R_INVALID_OPERATION`
const OUTPUT_ALIASES_INPUT: u64 = 115;
/// `CIPHER_R_TOO_LARGE`
const TOO_LARGE: u64 = 117;

/// The symbols' ends: what is before is a prefix with the library's version (`aws_lc_0_38_0_`), or nothing.
const NAMES: &[(&[u8], Function)] = &[
    (b"EVP_AEAD_CTX_seal", Function::AeadSeal),
    (b"EVP_AEAD_CTX_seal_scatter", Function::AeadSealScatter),
    (b"EVP_AEAD_CTX_open", Function::AeadOpen),
    (b"EVP_AEAD_CTX_open_gather", Function::AeadOpenGather),
];

pub(crate) fn find(parsed: &Parsed<'_>) -> Result<Option<Stack>, Refusal> {
    let code = parsed.code();
    let mut files = code.texts(Mark::AeadFile).to_vec();
    files.retain(|file| memchr::memmem::find(file.bytes, OTHER_LIBRARY).is_none());
    if files.is_empty() || !has_rustls(code) {
        return Ok(None);
    }
    let refused = |reason| Refusal { library: Library::RustlsAwsLc, reason };
    let functions = match by_symbols(parsed).map_err(refused)? {
        Some(functions) => functions,
        None => Reach::widening(|reach| locate(code, &files, reach))
            .map_err(refused)?
            .into_iter()
            .filter_map(|(function, address)| {
                let offset = parsed.code_offset(address)?;
                Some(FunctionSite::at(function, address, offset, Evidence::Behaviour))
            })
            .collect(),
    };
    Ok(Some(Stack { library: Library::RustlsAwsLc, functions }))
}

/// rustls over ring, to be asked where its symbols do not show its functions: it can be seen to be there, and no more.
pub(crate) fn refuse_ring(parsed: &Parsed<'_>) -> Result<Option<Stack>, Refusal> {
    let code = parsed.code();
    if !has_rustls(code) {
        return Ok(None);
    }
    // The part of rustls for AWS-LC borrows a file of the other, by a path that is told apart from these.
    let without_aws_lc = code.has(Mark::RingPath) && !code.has(Mark::AwsLcPath);
    if code.has(Mark::RustlsRingPath) || without_aws_lc {
        return Err(Refusal {
            library: Library::RustlsRing,
            reason: RefusalReason::Unsupported("ring's functions cannot be located without symbols"),
        });
    }
    Ok(None)
}

fn has_rustls(code: &Code<'_>) -> bool {
    code.has(Mark::RustlsError) || code.has(Mark::RustlsPath)
}

fn by_symbols(parsed: &Parsed<'_>) -> Result<Option<Vec<FunctionSite>>, RefusalReason> {
    let sites = named_functions(parsed, |name| {
        let ends_in = |known: &[u8]| {
            name.strip_suffix(known).is_some_and(|prefix| prefix.is_empty() || prefix.ends_with(b"_"))
        };
        NAMES.iter().find(|(known, _)| ends_in(known)).map(|&(_, function)| function)
    })?;
    let has = |function| sites.iter().any(|site| site.function == function);
    Ok((has(Function::AeadSeal) && has(Function::AeadOpen)).then_some(sites))
}

/// The functions, sorted, with their addresses.
fn locate(code: &Code<'_>, files: &[Text<'_>], reach: Reach) -> Result<Vec<(Function, u64)>, RefusalReason> {
    let addresses: Vec<u64> = files.iter().map(|file| file.address).collect();
    let candidates: Vec<(Trace, ErrorReports)> = find_functions(code, &code.references(&addresses), reach)
        .into_iter()
        .map(|function| {
            let reports = ErrorReports::of(&function, files, ERR_LIB_CIPHER);
            (function, reports)
        })
        .collect();
    let exactly = |function, reasons: &[u64]| {
        only(function, candidates.iter().filter(|(_, reports)| reports.are(reasons)))
    };
    let (seal, seal_reports) =
        exactly(Function::AeadSeal, &[BUFFER_TOO_SMALL, OUTPUT_ALIASES_INPUT, TOO_LARGE])?;
    let (scatter, scatter_reports) =
        exactly(Function::AeadSealScatter, &[INPUT_NOT_INITIALIZED, OUTPUT_ALIASES_INPUT])?;
    let opens = candidates
        .iter()
        .filter(|(_, reports)| reports.include(&[BAD_DECRYPT, BUFFER_TOO_SMALL, OUTPUT_ALIASES_INPUT]));
    let (open, open_reports) = only(Function::AeadOpen, opens)?;

    // The order of the functions in the source file.
    let last_of = |reports: &ErrorReports| reports.reports.iter().map(|report| report.line).max();
    if !(last_of(seal_reports) < scatter_reports.lowest_line()
        && last_of(scatter_reports) < open_reports.lowest_line())
    {
        return Err(RefusalReason::Contradiction(
            "the functions that seal and open are not in the order of their source file",
        ));
    }
    let mut found = vec![
        (Function::AeadSeal, seal.start),
        (Function::AeadSealScatter, scatter.start),
        (Function::AeadOpen, open.start),
    ];
    match exactly(Function::AeadOpenGather, &[CTRL_NOT_IMPLEMENTED, OUTPUT_ALIASES_INPUT]) {
        Ok((gather, _)) => found.push((Function::AeadOpenGather, gather.start)),
        // Then it is a part of the function that opens, or nobody needed it.
        Err(RefusalReason::Absent(_)) => {}
        Err(reason) => return Err(reason),
    }
    Ok(found)
}
