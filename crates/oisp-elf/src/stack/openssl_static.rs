//! OpenSSL 3 without symbols, as static programs contain it: by the names of its functions in its error reports.
//!
//! It reports an error by `ERR_set_debug(file, line, function)`. All its readers and all its writers end in one
//! internal function each, which give 0, 1 or a negative number and put the number of bytes behind a pointer.

use super::boringssl::only;
use crate::analysis::{Evidence, Function, FunctionSite, Library, Refusal, RefusalReason, Stack};
use crate::code::{Code, Text, Trace, find_functions, texts_ending_in};
use crate::image::Parsed;

const SOURCE_FILE: &str = "ssl/ssl_lib.c";
const READ: &str = "ssl_read_internal";
const WRITE: &str = "ssl_write_internal";
const NEW: &str = "SSL_new";

/// The function that says where in the file's source an error is has these arguments: file, line, function.
const FILE: usize = 0;
const NAME: usize = 2;

/// From this version of OpenSSL 3 on, `ssl_write_internal` takes flags before the pointer to the number of bytes.
const FLAGS_SINCE: u32 = 3;

pub(crate) fn find(parsed: &Parsed<'_>) -> Result<Option<Stack>, Refusal> {
    let code = Code::of(parsed);
    let files = texts_ending_in(&code, SOURCE_FILE);
    let reads = texts_ending_in(&code, READ);
    let writes = texts_ending_in(&code, WRITE);
    if files.is_empty()
        || reads.is_empty()
        || writes.is_empty()
        || super::openssl::by_symbols(parsed).is_some()
    {
        return Ok(None);
    }
    let functions = locate(&code, &files, &reads, &writes)
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

fn locate(
    code: &Code<'_>,
    files: &[Text<'_>],
    reads: &[Text<'_>],
    writes: &[Text<'_>],
) -> Result<Vec<(Function, u64, u32)>, RefusalReason> {
    let news = texts_ending_in(code, NEW);
    // Linkers merge a name with the end of a longer one.
    let ends = |texts: &[Text<'_>], name: &str| -> Vec<u64> {
        texts.iter().map(|text| text.address + (text.bytes.len() - name.len()) as u64).collect()
    };
    let (reads, writes, news) = (ends(reads, READ), ends(writes, WRITE), ends(&news, NEW));
    let names: Vec<u64> = reads.iter().chain(&writes).chain(&news).copied().collect();
    let functions = find_functions(code, &code.references(&names));
    let is_file = |address: u64| {
        files.iter().any(|file| {
            let end = file.address + (file.bytes.len() - SOURCE_FILE.len()) as u64;
            (file.address..=end).contains(&address)
        })
    };
    let reports_as = |function: &Trace, names: &[u64]| {
        function.calls.iter().any(|call| {
            call.arguments[FILE].is_some_and(is_file)
                && call.arguments[NAME].is_some_and(|name| names.contains(&name))
        })
    };
    let named = |function: Function, names: &[u64]| {
        only(function, functions.iter().filter(|trace| reports_as(trace, names))).map(|trace| trace.start)
    };
    let read = named(Function::SslReadInternal, &reads)?;
    let write = named(Function::SslWriteInternal, &writes)?;
    if read == write {
        return Err(RefusalReason::Contradiction("one function reports errors as reader and as writer"));
    }
    let write_arguments = match minor_version(code) {
        Some(minor) if minor >= FLAGS_SINCE => 0,
        Some(_) => FunctionSite::WRITE_WITHOUT_FLAGS,
        None => {
            return Err(RefusalReason::Contradiction(
                "which version of OpenSSL 3 it is cannot be told, and with it not the arguments of its writer",
            ));
        }
    };
    let mut found =
        vec![(Function::SslReadInternal, read, 0), (Function::SslWriteInternal, write, write_arguments)];
    if let Ok(new) = named(Function::SslNew, &news) {
        found.push((Function::SslNew, new, 0));
    }
    found.sort_unstable_by_key(|&(function, ..)| function);
    Ok(found)
}

/// The `x` of `OpenSSL 3.x.y 1 Jan 2025`, the text of its version; `None` where there is none or several disagree.
fn minor_version(code: &Code<'_>) -> Option<u32> {
    let finder = memchr::memmem::Finder::new("OpenSSL 3.");
    let mut found = None;
    for region in code.constant() {
        for position in finder.find_iter(region.bytes) {
            let rest = &region.bytes[position + finder.needle().len()..];
            let Some(minor) = version(&rest[..rest.len().min(48)]) else { continue };
            if found.is_some_and(|found| found != minor) {
                return None;
            }
            found = Some(minor);
        }
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
