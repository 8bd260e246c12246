//! What a file contains for the sensor.

use std::path::Path;

use object::{Object as _, ObjectSymbol as _, SymbolKind};

use crate::image::{Architecture, ElfError, Image, Parsed};
use crate::stack;

/// What was found in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Analysis {
    /// The CPU that the file is for.
    pub architecture: Architecture,
    /// The GNU build id, in hexadecimal.
    pub build_id: Option<String>,
    /// The TLS stacks in the file; empty where there are none that the sensor can locate.
    pub stacks: Vec<Stack>,
}

/// One TLS library's functions in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stack {
    /// Which library.
    pub library: Library,
    /// Its functions, at least one that reads and one that writes.
    pub functions: Vec<FunctionSite>,
}

/// A TLS library, as far as its interface is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Library {
    /// The OpenSSL interface: OpenSSL, LibreSSL, BoringSSL or AWS-LC with symbols.
    OpenSsl,
}

impl Library {
    /// The name for people.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::OpenSsl => "OpenSSL",
        }
    }
}

/// What a function is to the sensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Function {
    /// `SSL_read`
    SslRead,
    /// `SSL_read_ex`
    SslReadEx,
    /// `SSL_write`
    SslWrite,
    /// `SSL_write_ex`
    SslWriteEx,
    /// `SSL_write_ex2`
    SslWriteEx2,
    /// `SSL_free`
    SslFree,
    /// `SSL_clear`
    SslClear,
}

impl Function {
    /// The function's name in its library.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::SslRead => "SSL_read",
            Self::SslReadEx => "SSL_read_ex",
            Self::SslWrite => "SSL_write",
            Self::SslWriteEx => "SSL_write_ex",
            Self::SslWriteEx2 => "SSL_write_ex2",
            Self::SslFree => "SSL_free",
            Self::SslClear => "SSL_clear",
        }
    }
}

/// Where a function is, and how that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FunctionSite {
    /// Which function.
    pub function: Function,
    /// Its address as the file states it, before relocation.
    pub address: u64,
    /// Its place in the file, which is what a uprobe takes.
    pub file_offset: u64,
    /// How it was found.
    pub evidence: Evidence,
}

/// How a function was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// An exported symbol.
    DynamicSymbol,
    /// A symbol of the symbol table, which stripping removes.
    Symbol,
}

/// Analyses the file at a path.
///
/// # Errors
/// When the file cannot be read or is not an ELF file of a supported kind.
pub fn analyze(path: &Path) -> Result<Analysis, ElfError> {
    analyze_file(&Image::open(path)?)
}

/// Analyses a mapped file.
///
/// # Errors
/// When it is not an ELF file of a supported kind.
pub fn analyze_file(image: &Image) -> Result<Analysis, ElfError> {
    let parsed = Parsed::parse(image.bytes())?;
    let stacks = stack::FINDERS.iter().filter_map(|find| find(&parsed)).collect();
    Ok(Analysis { architecture: parsed.architecture, build_id: parsed.build_id(), stacks })
}

/// The functions of `names` that the file defines; an exported symbol wins over one of the symbol table. Sorted by
/// function.
pub(crate) fn defined_functions(parsed: &Parsed<'_>, names: &[(&str, Function)]) -> Vec<FunctionSite> {
    let mut sites: Vec<FunctionSite> = Vec::new();
    let exported = parsed.file.dynamic_symbols().map(|symbol| (symbol, Evidence::DynamicSymbol));
    let internal = parsed.file.symbols().map(|symbol| (symbol, Evidence::Symbol));
    for (symbol, evidence) in exported.chain(internal) {
        if symbol.is_undefined() || symbol.kind() != SymbolKind::Text {
            continue;
        }
        let Ok(name) = symbol.name_bytes() else { continue };
        let Some(&(_, function)) = names.iter().find(|(known, _)| known.as_bytes() == name) else { continue };
        if sites.iter().any(|site| site.function == function) {
            continue;
        }
        let address = symbol.address();
        if let Some(file_offset) = parsed.code_offset(address) {
            sites.push(FunctionSite { function, address, file_offset, evidence });
        }
    }
    sites.sort_by_key(|site| site.function);
    sites
}
