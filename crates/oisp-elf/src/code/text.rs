//! Texts among a file's constants.

use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, MatchKind};

use super::Code;

/// A text that ends with a zero byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Text<'a> {
    pub(crate) address: u64,
    /// From its beginning, without the zero byte.
    pub(crate) bytes: &'a [u8],
    /// Where the mark is in it.
    pub(crate) mark: u64,
}

/// A text by which a TLS library is told, or one of its functions. All are looked for in one pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    /// BoringSSL's source file that has the interface's functions, with any prefix.
    BoringSslFile,
    /// AWS-LC's source file that has the AEAD functions, with any prefix; also of its variants validated for FIPS.
    AeadFile,
    /// OpenSSL's source file that has the interface's functions, with any prefix.
    OpenSslFile,
    /// The names of functions of OpenSSL.
    ReadInternal,
    /// See [`Self::ReadInternal`].
    WriteInternal,
    /// See [`Self::ReadInternal`].
    New,
    /// Before the number of a version of OpenSSL 3.
    OpenSslVersion,
    /// The name of a kind of error that rustls alone has.
    RustlsError,
    /// In the paths of rustls's source files.
    RustlsPath,
    /// In the paths of rustls's source files for ring.
    RustlsRingPath,
    /// In the paths of ring's source files.
    RingPath,
    /// In the paths of AWS-LC's source files, or of rustls's for it.
    AwsLcPath,
    /// What every server's signature in TLS 1.3 is made over.
    Tls13,
}

impl Mark {
    const ALL: [Self; 13] = [
        Self::BoringSslFile,
        Self::AeadFile,
        Self::OpenSslFile,
        Self::ReadInternal,
        Self::WriteInternal,
        Self::New,
        Self::OpenSslVersion,
        Self::RustlsError,
        Self::RustlsPath,
        Self::RustlsRingPath,
        Self::RingPath,
        Self::AwsLcPath,
        Self::Tls13,
    ];

    /// A text for each of them, as a program has them.
    pub(crate) fn all_texts() -> Vec<u8> {
        Self::ALL.iter().flat_map(|mark| mark.pattern().bytes().chain([0])).collect()
    }

    /// Those at the end of a text, which code refers to.
    pub(super) const ENDS: [Self; 5] =
        [Self::BoringSslFile, Self::AeadFile, Self::ReadInternal, Self::WriteInternal, Self::New];

    /// What is looked for; with a zero byte where it is the end of a text.
    const fn pattern(self) -> &'static str {
        match self {
            Self::BoringSslFile => "ssl/ssl_lib.cc\0",
            Self::AeadFile => "crypto/fipsmodule/cipher/aead.c\0",
            Self::OpenSslFile => "ssl/ssl_lib.c\0",
            Self::ReadInternal => "ssl_read_internal\0",
            Self::WriteInternal => "ssl_write_internal\0",
            Self::New => "SSL_new\0",
            Self::OpenSslVersion => "OpenSSL 3.",
            Self::RustlsError => "PeerMisbehaved",
            Self::RustlsPath => "/rustls-0.",
            Self::RustlsRingPath => "/src/crypto/ring/",
            Self::RingPath => "/ring-0.",
            Self::AwsLcPath => "/aws-lc",
            Self::Tls13 => "TLS 1.3, server CertificateVerify",
        }
    }
}

/// More copies of one text than the rules ask for.
const MAX_FOUND: usize = 64;

/// The paths of source files are not longer.
const MAX_LENGTH: usize = 512;

static MARKS: LazyLock<Option<AhoCorasick>> = LazyLock::new(|| {
    let patterns = Mark::ALL.map(Mark::pattern);
    AhoCorasick::builder().match_kind(MatchKind::LeftmostFirst).build(patterns).ok()
});

/// Where the marks are.
#[derive(Default)]
pub(super) struct Texts<'a> {
    found: [Vec<Text<'a>>; Mark::ALL.len()],
}

impl<'a> Texts<'a> {
    pub(super) fn find(code: &Code<'a>) -> Self {
        let mut texts = Self::default();
        let Some(marks) = MARKS.as_ref() else { return texts };
        for region in code.constant() {
            for found in marks.find_iter(region.bytes) {
                let index = found.pattern().as_usize();
                if texts.found[index].len() == MAX_FOUND {
                    continue;
                }
                let before = &region.bytes[found.start().saturating_sub(MAX_LENGTH)..found.start()];
                let prefix = before.iter().rev().take_while(|byte| (0x20..0x7f).contains(*byte)).count();
                let start = found.start() - prefix;
                let is_end = Mark::ALL[index].pattern().ends_with('\0');
                let end = if is_end { found.end() - 1 } else { found.end() };
                texts.found[index].push(Text {
                    address: region.address.wrapping_add(start as u64),
                    bytes: &region.bytes[start..end],
                    mark: region.address.wrapping_add(found.start() as u64),
                });
            }
        }
        texts
    }

    pub(super) fn of(&self, mark: Mark) -> &[Text<'a>] {
        Mark::ALL.iter().position(|&known| known == mark).map_or(&[], |index| &self.found[index])
    }
}
