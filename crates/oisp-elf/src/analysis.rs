//! What a file contains for the sensor.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;

use object::{Object as _, ObjectSymbol as _, SymbolKind};
use serde::{Deserialize, Serialize};

use crate::image::{Architecture, ElfError, Image, Parsed};
use crate::{kept, site, stack};

/// What was found in a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Analysis {
    /// The CPU that the file is for.
    pub architecture: Architecture,
    /// The GNU build id, in hexadecimal.
    pub build_id: Option<String>,
    /// The TLS stacks in the file; empty where there are none that the sensor can locate.
    pub stacks: Vec<Stack>,
    /// TLS stacks that are in the file, or seem to be, and whose functions could not be located.
    pub refusals: Vec<Refusal>,
}

/// A TLS stack that cannot be followed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// Which library.
    pub library: Library,
    /// Why.
    pub reason: RefusalReason,
}

/// By another name, because the derived code would take a reference for one into what is read.
type Text = &'static str;

/// Why the functions of a TLS stack could not be located.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum RefusalReason {
    /// Its texts are in the file, but no function has all the marks of this one.
    #[error("no function has the marks of {}", .0.name())]
    Absent(Function),
    /// Several functions have the marks of this one.
    #[error("{candidates} functions have the marks of {}", .function.name())]
    Ambiguous {
        /// The function that was looked for.
        function: Function,
        /// How many were found.
        candidates: usize,
    },
    /// What was found does not agree with itself.
    #[error("{0}")]
    Contradiction(#[serde(deserialize_with = "kept::text")] Text),
    /// It is of a kind that cannot be located.
    #[error("{0}")]
    Unsupported(#[serde(deserialize_with = "kept::text")] Text),
    /// It is none of those that the sensor knows.
    #[error("the file speaks TLS 1.3 and has none of the libraries that can be followed")]
    Unknown {
        /// The file is a library that others name; who maps it does not necessarily use it.
        shared: bool,
    },
}

/// One TLS library's functions in a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stack {
    /// Which library.
    pub library: Library,
    /// Its functions: one that reads and one that writes at least, except that a program may do only one of them.
    pub functions: Vec<FunctionSite>,
}

/// A TLS library, as far as its interface is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Library {
    /// The OpenSSL interface: OpenSSL, LibreSSL, BoringSSL or AWS-LC with symbols; OpenSSL without.
    OpenSsl,
    /// BoringSSL without symbols.
    BoringSsl,
    /// rustls over AWS-LC: the AEAD functions of its cipher library.
    RustlsAwsLc,
    /// rustls over ring.
    RustlsRing,
    /// Go's `crypto/tls`.
    Go,
    /// Any other.
    Unknown,
}

impl Library {
    /// The name for people.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::OpenSsl => "OpenSSL",
            Self::BoringSsl => "BoringSSL",
            Self::RustlsAwsLc => "rustls (aws-lc)",
            Self::RustlsRing => "rustls (ring)",
            Self::Go => "Go crypto/tls",
            Self::Unknown => "an unknown TLS library",
        }
    }
}

/// What a function is to the sensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
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
    /// `SSL_new`: what it returns begins a connection
    SslNew,
    /// `ssl_read_internal`, OpenSSL's, behind all its readers
    SslReadInternal,
    /// `ssl_write_internal`, OpenSSL's, behind all its writers
    SslWriteInternal,
    /// `EVP_AEAD_CTX_seal`
    AeadSeal,
    /// `EVP_AEAD_CTX_seal_scatter`
    AeadSealScatter,
    /// `EVP_AEAD_CTX_open`
    AeadOpen,
    /// `EVP_AEAD_CTX_open_gather`
    AeadOpenGather,
    /// `crypto/tls.(*Conn).Read`
    GoRead,
    /// `crypto/tls.(*Conn).Write`
    GoWrite,
    /// `crypto/tls.(*Conn).Close`
    GoClose,
    /// `crypto/tls.(*Conn).clientHandshake`: begins a connection
    GoClientHandshake,
    /// `crypto/tls.(*Conn).serverHandshake`: begins a connection
    GoServerHandshake,
    /// `ring::aead seal`, the function of ring that seals a record in place
    RingSeal,
    /// `ring::aead open`, the function of ring that opens a record in place
    RingOpen,
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
            Self::SslNew => "SSL_new",
            Self::SslReadInternal => "ssl_read_internal",
            Self::SslWriteInternal => "ssl_write_internal",
            Self::AeadSeal => "EVP_AEAD_CTX_seal",
            Self::AeadSealScatter => "EVP_AEAD_CTX_seal_scatter",
            Self::AeadOpen => "EVP_AEAD_CTX_open",
            Self::AeadOpenGather => "EVP_AEAD_CTX_open_gather",
            Self::GoRead => "crypto/tls.(*Conn).Read",
            Self::GoWrite => "crypto/tls.(*Conn).Write",
            Self::GoClose => "crypto/tls.(*Conn).Close",
            Self::GoClientHandshake => "crypto/tls.(*Conn).clientHandshake",
            Self::GoServerHandshake => "crypto/tls.(*Conn).serverHandshake",
            Self::RingSeal => "ring::aead seal",
            Self::RingOpen => "ring::aead open",
        }
    }
}

impl Function {
    /// The public functions that do nothing but call this one; where it is among a stack's functions, that was shown of all
    /// of them, and either they or it are probed.
    #[must_use]
    pub fn stands_for(self) -> &'static [Self] {
        match self {
            Self::SslReadInternal => &[Self::SslRead, Self::SslReadEx],
            Self::SslWriteInternal => &[Self::SslWrite, Self::SslWriteEx, Self::SslWriteEx2],
            _ => &[],
        }
    }
}

/// A function, how it is known, and where to probe it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FunctionSite {
    /// Which function.
    pub function: Function,
    /// Its address as the file states it, before relocation.
    pub address: u64,
    /// Its first instruction's place in the file.
    pub file_offset: u64,
    /// How it was found.
    pub evidence: Evidence,
    /// Where its arguments are read.
    pub entry: ProbeSite,
    /// Where its result is read, for functions that transfer bytes.
    pub returns: Returns,
    /// Where the arguments are that are not where the function's interface says, as
    /// `oisp_ebpf_common::ProbeCookie::arguments` carries it; 0 where all are. The same for `entry` and for the function's
    /// first instruction.
    pub arguments: u32,
}

impl FunctionSite {
    /// `arguments` of OpenSSL's `ssl_write_internal` before 3.3, which has no flags: the number of bytes goes through the
    /// argument with index 3.
    pub const WRITE_WITHOUT_FLAGS: u32 = 3;

    /// To be probed where it begins, until a cheaper place is chosen.
    pub(crate) fn at(function: Function, address: u64, file_offset: u64, evidence: Evidence) -> Self {
        let entry = ProbeSite {
            address,
            file_offset,
            pushed_words: 0,
            cost: CostClass::SingleStepped,
            why: Cow::Borrowed("the function's first instruction"),
        };
        let returns = Returns { probe: Some(entry.clone()), instructions: Vec::new() };
        Self { function, address, file_offset, evidence, entry, returns, arguments: 0 }
    }
}

/// An instruction that a probe is put on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeSite {
    /// Its address as the file states it, before relocation.
    pub address: u64,
    /// Its place in the file, which is what a uprobe takes.
    pub file_offset: u64,
    /// 8-byte words that the stack has grown by since the function was entered.
    pub pushed_words: u8,
    /// What the kernel does with it.
    pub cost: CostClass,
    /// Why here, for people.
    pub why: Cow<'static, str>,
}

/// What the kernel has to do to go on after a breakpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum CostClass {
    /// It emulates the instruction.
    Emulated,
    /// It executes the instruction elsewhere and traps once more.
    SingleStepped,
}

/// Where a function's result can be read: the one or the other, as is safe and cheap for target and kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Returns {
    /// The instruction that a return probe goes on, where the target survives one: the function's first.
    pub probe: Option<ProbeSite>,
    /// Every instruction by which the function is left; empty where not all are known.
    pub instructions: Vec<ProbeSite>,
}

/// How a function was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Evidence {
    /// An exported symbol.
    DynamicSymbol,
    /// A symbol of the symbol table, which stripping removes.
    Symbol,
    /// The function table that Go programs keep when stripped (pclntab).
    GoFunctionTable,
    /// What the function does: the errors that it reports, what it calls, who calls it.
    Behaviour,
}

impl Evidence {
    /// For people.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::DynamicSymbol => "exported symbol",
            Self::Symbol => "symbol",
            Self::GoFunctionTable => "Go function table",
            Self::Behaviour => "behaviour",
        }
    }
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
    Ok(analyze_parsed(&Parsed::parse(image.bytes())?))
}

pub(crate) fn analyze_parsed(parsed: &Parsed<'_>) -> Analysis {
    let mut analysis = Analysis {
        architecture: parsed.architecture,
        build_id: parsed.build_id(),
        stacks: Vec::new(),
        refusals: Vec::new(),
    };
    for find in stack::FINDERS {
        match find(parsed) {
            Ok(Some(stack)) => analysis.stacks.push(stack),
            Ok(None) => {}
            Err(refusal) => analysis.refusals.push(refusal),
        }
    }
    if analysis.stacks.is_empty() && analysis.refusals.is_empty() {
        analysis.refusals.extend(stack::refuse_unknown(parsed));
    }
    site::choose(parsed, analysis.stacks.iter_mut().flat_map(|stack| &mut stack.functions));
    analysis
}

/// The addresses that symbols may give to the functions of one library. Real programs have at most 32, those of four
/// versions.
const MAX_NAMED: usize = 256;

/// The functions that the file has symbols for, as `known` tells them by their names: each address once, an exported
/// symbol before one of the symbol table. Sorted by function, then by address. A program may contain several versions of
/// a library, and then all of them are used.
///
/// # Errors
/// Where a function has more addresses than any program has versions of a library.
pub(crate) fn named_functions(
    parsed: &Parsed<'_>,
    known: impl Fn(&[u8]) -> Option<Function>,
) -> Result<Vec<FunctionSite>, RefusalReason> {
    let mut sites: BTreeMap<u64, FunctionSite> = BTreeMap::new();
    let exported = parsed.file.dynamic_symbols().map(|symbol| (symbol, Evidence::DynamicSymbol));
    let internal = parsed.file.symbols().map(|symbol| (symbol, Evidence::Symbol));
    for (symbol, evidence) in exported.chain(internal) {
        if symbol.is_undefined() || symbol.kind() != SymbolKind::Text {
            continue;
        }
        let Some(function) = symbol.name_bytes().ok().and_then(&known) else { continue };
        let address = symbol.address();
        if let Some(file_offset) = parsed.code_offset(address) {
            sites
                .entry(address)
                .or_insert_with(|| FunctionSite::at(function, address, file_offset, evidence));
            let candidates = sites.len();
            if candidates > MAX_NAMED {
                return Err(RefusalReason::Ambiguous { function, candidates });
            }
        }
    }
    let mut sites: Vec<FunctionSite> = sites.into_values().collect();
    sites.sort_by_key(|site| site.function);
    Ok(sites)
}
