//! rustls over AWS-LC: TLS records are sealed and opened by the AEAD functions of the cipher library.

use object::{Object as _, ObjectSymbol as _, SymbolKind};

use crate::analysis::{Evidence, Function, FunctionSite, Library, Refusal, Stack};
use crate::image::Parsed;

pub(crate) fn find(parsed: &Parsed<'_>) -> Result<Option<Stack>, Refusal> {
    Ok(by_symbols(parsed))
}

/// `aws_lc_0_47_0_EVP_AEAD_CTX_seal`: the version of the bindings stands before each name.
const PREFIX: &[u8] = b"aws_lc_";
const FIPS: &[u8] = b"fips_";
const NAMES: &[(&[u8], Function)] = &[
    (b"_EVP_AEAD_CTX_seal", Function::AeadSeal),
    (b"_EVP_AEAD_CTX_seal_scatter", Function::AeadSealScatter),
    (b"_EVP_AEAD_CTX_open", Function::AeadOpen),
    (b"_EVP_AEAD_CTX_open_gather", Function::AeadOpenGather),
];

/// Without a version only the library itself is meant (`libcrypto` of AWS-LC), which OpenSSL's interface is followed
/// for.
fn by_symbols(parsed: &Parsed<'_>) -> Option<Stack> {
    let mut functions: Vec<FunctionSite> = Vec::new();
    let exported = parsed.file.dynamic_symbols().map(|symbol| (symbol, Evidence::DynamicSymbol));
    let internal = parsed.file.symbols().map(|symbol| (symbol, Evidence::Symbol));
    for (symbol, evidence) in exported.chain(internal) {
        if symbol.is_undefined() || symbol.kind() != SymbolKind::Text {
            continue;
        }
        let Ok(name) = symbol.name_bytes() else { continue };
        let Some(function) = function(name) else { continue };
        // Several versions in one program have the same name here, and are all followed.
        let address = symbol.address();
        if functions.iter().all(|site| site.address != address)
            && let Some(file_offset) = parsed.code_offset(address)
        {
            functions.push(FunctionSite::at(function, address, file_offset, evidence));
        }
    }
    functions.sort_by_key(|site| (site.function, site.address));
    let has = |functions: &[FunctionSite], wanted: [Function; 2]| {
        functions.iter().any(|site| wanted.contains(&site.function))
    };
    // The linker drops what a program does not use, such as TLS 1.2's.
    let is_whole = has(&functions, [Function::AeadSeal, Function::AeadSealScatter])
        && has(&functions, [Function::AeadOpen, Function::AeadOpenGather]);
    is_whole.then_some(Stack { library: Library::RustlsAwsLc, functions })
}

fn function(name: &[u8]) -> Option<Function> {
    let rest = name.strip_prefix(PREFIX)?;
    let rest = rest.strip_prefix(FIPS).unwrap_or(rest);
    let version = rest.iter().take_while(|byte| byte.is_ascii_digit() || **byte == b'_').count();
    // The version's last `_` belongs to the name.
    let name = rest.get(version.checked_sub(1)?..)?;
    NAMES.iter().find(|(known, _)| *known == name).map(|(_, function)| *function)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_known_whatever_the_version_of_their_bindings() {
        assert_eq!(function(b"aws_lc_0_47_0_EVP_AEAD_CTX_seal"), Some(Function::AeadSeal));
        assert_eq!(function(b"aws_lc_0_9_0_EVP_AEAD_CTX_open_gather"), Some(Function::AeadOpenGather));
        assert_eq!(function(b"aws_lc_fips_0_13_0_EVP_AEAD_CTX_open"), Some(Function::AeadOpen));
        for other in ["aws_lc_0_47_0_EVP_AEAD_CTX_sealed", "EVP_AEAD_CTX_seal", "aws_lc_", "aws_lc_0_47_0_"] {
            assert_eq!(function(other.as_bytes()), None, "{other}");
        }
    }
}
