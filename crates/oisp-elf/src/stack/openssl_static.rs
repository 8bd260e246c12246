//! OpenSSL 3 without symbols, as static programs contain it: by the names of its functions in its error reports.
//!
//! It reports an error by `ERR_set_debug(file, line, function)`. All its readers and all its writers end in one
//! internal function each, which give 0, 1 or a negative number and put the number of bytes behind a pointer.

use super::boringssl::only;
use crate::analysis::{Evidence, Function, FunctionSite, Library, Refusal, RefusalReason, Stack};
use crate::code::{Code, Mark, Reach, Trace, find_functions};
use crate::image::Parsed;

/// The function that says where in the file's source an error is has these arguments: file, line, function.
const FILE: usize = 0;
const NAME: usize = 2;

/// From this version of OpenSSL 3 on, `ssl_write_internal` takes flags before the pointer to the number of bytes.
const FLAGS_SINCE: u32 = 3;

pub(crate) fn find(parsed: &Parsed<'_>) -> Result<Option<Stack>, Refusal> {
    let code = parsed.code();
    let is_there =
        [Mark::OpenSslFile, Mark::ReadInternal, Mark::WriteInternal].iter().all(|&mark| code.has(mark));
    if !is_there || !matches!(super::openssl::by_symbols(parsed), Ok(None)) {
        return Ok(None);
    }
    let functions = Reach::widening(|reach| locate(code, reach))
        .map_err(|reason| Refusal { library: Library::OpenSsl, reason })?
        .into_iter()
        .filter_map(|(function, address, arguments)| {
            let offset = parsed.code_offset(address)?;
            Some(FunctionSite {
                arguments,
                ..FunctionSite::at(function, address, offset, Evidence::Behaviour)
            })
        })
        .collect();
    Ok(Some(Stack { library: Library::OpenSsl, functions }))
}

fn locate(code: &Code<'_>, reach: Reach) -> Result<Vec<(Function, u64, u32)>, RefusalReason> {
    let names = |mark: Mark| code.texts(mark).iter().map(|text| text.mark).collect::<Vec<u64>>();
    let (reads, writes, news) = (names(Mark::ReadInternal), names(Mark::WriteInternal), names(Mark::New));
    let all: Vec<u64> = reads.iter().chain(&writes).chain(&news).copied().collect();
    let functions = find_functions(code, &code.references(&all), reach);
    let is_file = |address: u64| {
        code.texts(Mark::OpenSslFile).iter().any(|file| (file.address..=file.mark).contains(&address))
    };
    let reports_as = |function: &Trace, names: &[u64]| {
        function.calls.iter().any(|call| {
            call.arguments[FILE].is_some_and(is_file)
                && call.arguments[NAME].is_some_and(|name| names.contains(&name))
        })
    };
    let named = |function: Function, names: &[u64]| {
        only(function, functions.iter().filter(|trace| reports_as(trace, names)))
    };
    let read = named(Function::SslReadInternal, &reads)?;
    let write = named(Function::SslWriteInternal, &writes)?;
    if read.start == write.start {
        return Err(RefusalReason::Contradiction("one function reports errors as reader and as writer"));
    }
    // The compiler of this file may have changed the arguments, so both sides have to agree where both can be seen.
    let has_flags = write.reads_argument(4);
    let expects_flags = minor_version(code).map(|minor| minor >= FLAGS_SINCE);
    let arguments_are_known = (0..4).all(|index| read.reads_argument(index) && write.reads_argument(index))
        && !read.reads_argument(4)
        && expects_flags.is_none_or(|expected| expected == has_flags);
    if !arguments_are_known {
        return Err(RefusalReason::Contradiction(
            "its reader or writer takes other arguments than its version",
        ));
    }
    let write_arguments = if has_flags { 0 } else { FunctionSite::WRITE_WITHOUT_FLAGS };
    let mut found = vec![
        (Function::SslReadInternal, read.start, 0),
        (Function::SslWriteInternal, write.start, write_arguments),
    ];
    if let Ok(new) = named(Function::SslNew, &news) {
        found.push((Function::SslNew, new.start, 0));
    }
    found.sort_unstable_by_key(|&(function, ..)| function);
    Ok(found)
}

/// The `x` of `OpenSSL 3.x.y 1 Jan 2025`, the text of its version; `None` where there is none or several disagree.
fn minor_version(code: &Code<'_>) -> Option<u32> {
    let mut found = None;
    for text in code.texts(Mark::OpenSslVersion) {
        let Some(rest) = code.constant_at(text.address + text.bytes.len() as u64) else { continue };
        let Some(minor) = version(&rest[..rest.len().min(48)]) else { continue };
        if found.is_some_and(|found| found != minor) {
            return None;
        }
        found = Some(minor);
    }
    found
}

/// Parses `x.y 1 Jan 2025`, `x.y-beta 1 Jan 2025`.
fn version(text: &[u8]) -> Option<u32> {
    let text = text.split(|&byte| byte == 0).next()?;
    let text = std::str::from_utf8(text).ok()?;
    let mut words = text.split(' ');
    let (number, day, month, year) = (words.next()?, words.next()?, words.next()?, words.next()?);
    let dated =
        day.parse::<u8>().is_ok() && month.len() == 3 && year.len() == 4 && year.parse::<u16>().is_ok();
    let (minor, _) = number.split_once('.')?;
    if dated { minor.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::version;

    #[test]
    fn only_the_text_of_a_version_with_its_date_counts() {
        assert_eq!(version(b"6.4 25 Aug 2026\0"), Some(6));
        assert_eq!(version(b"0.17 1 Jul 2025\0more"), Some(0));
        assert_eq!(version(b"5.0-beta1 25 Mar 2025\0"), Some(5));
        assert_eq!(version(b"0 and later\0"), None);
        assert_eq!(version(b"0.2 is needed for this\0"), None);
        assert_eq!(version(b"6.4"), None);
    }
}
