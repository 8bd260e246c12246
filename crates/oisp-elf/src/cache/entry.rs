//! One analysis as it is kept, with what the file must still look like.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::analysis::{Analysis, FunctionSite, ProbeSite};
use crate::image::Parsed;

/// Of the format, and of the code that made the analysis.
const VERSION: &str = concat!("oisp-analysis 1 ", env!("CARGO_PKG_VERSION"), " ", env!("OISP_ELF_SOURCES"));
/// Bytes on each side of a place whose change means that the place may be another one.
const AROUND: usize = 64;
/// The headers at a file's start, the segments' among them.
const HEADERS: usize = 4096;
/// More places are not what the analysis gives.
const MAX_SITES: usize = 4096;

type Sha = [u8; 32];

/// What the file was and what was found.
#[derive(Serialize, Deserialize)]
pub(super) struct Entry {
    file_size: u64,
    /// Of the headers, and the code around every place.
    code: Sha,
    analysis: Analysis,
}

/// The whole entry: a digest of the rest, against damage.
#[derive(Serialize, Deserialize)]
struct Sealed<'a> {
    version: &'a str,
    key: &'a str,
    digest: Sha,
    #[serde(borrow)]
    entry: &'a [u8],
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unusable {
    /// Another sensor's, which is no fault.
    OtherVersion,
    Damaged(&'static str),
}

impl Entry {
    /// `None` where it has more places than could be checked.
    pub(super) fn of(analysis: &Analysis, parsed: &Parsed<'_>, bytes: &[u8]) -> Option<Self> {
        let code = digest(analysis, parsed, bytes)?;
        Some(Self { file_size: bytes.len() as u64, code, analysis: analysis.clone() })
    }

    pub(super) fn encode(&self, key: &str) -> Option<Vec<u8>> {
        let entry = postcard::to_extend(self, Vec::new()).ok()?;
        let sealed = Sealed { version: VERSION, key, digest: Sha256::digest(&entry).into(), entry: &entry };
        postcard::to_extend(&sealed, Vec::new()).ok()
    }

    pub(super) fn decode(bytes: &[u8], key: &str) -> Result<Self, Unusable> {
        let sealed: Sealed<'_> =
            postcard::from_bytes(bytes).map_err(|_| Unusable::Damaged("it cannot be read as an entry"))?;
        if sealed.version != VERSION {
            return Err(Unusable::OtherVersion);
        }
        if sealed.key != key {
            return Err(Unusable::Damaged("it is filed under another file's name"));
        }
        if sealed.digest != <Sha>::from(Sha256::digest(sealed.entry)) {
            return Err(Unusable::Damaged("its digest differs"));
        }
        postcard::from_bytes(sealed.entry).map_err(|_| Unusable::Damaged("it holds no analysis"))
    }

    /// The analysis, where the file is what it was made of.
    pub(super) fn verified(self, parsed: &Parsed<'_>, bytes: &[u8], may_be_empty: bool) -> Option<Analysis> {
        let Self { file_size, code, analysis } = self;
        let is_this_file = file_size == bytes.len() as u64
            && analysis.architecture == parsed.architecture
            && analysis.build_id == parsed.build_id()
            && (may_be_empty || !analysis.stacks.is_empty());
        (is_this_file && digest(&analysis, parsed, bytes)? == code).then_some(analysis)
    }
}

/// Of the headers and of the code around every place; `None` where a place is not in code, or not where its address is.
fn digest(analysis: &Analysis, parsed: &Parsed<'_>, bytes: &[u8]) -> Option<Sha> {
    let mut digest = Sha256::new();
    digest.update(bytes.get(..HEADERS.min(bytes.len()))?);
    let functions = || analysis.stacks.iter().flat_map(|stack| &stack.functions);
    let places = functions().flat_map(places);
    for (count, (address, file_offset)) in places.enumerate() {
        if count >= MAX_SITES || parsed.code_offset(address) != Some(file_offset) {
            return None;
        }
        let at = usize::try_from(file_offset).ok()?;
        let code = bytes.get(at.saturating_sub(AROUND)..at.saturating_add(AROUND).min(bytes.len()))?;
        digest.update(file_offset.to_le_bytes());
        digest.update(code);
    }
    Some(digest.finalize().into())
}

/// Every place of a function that a probe may go to.
fn places(site: &FunctionSite) -> impl Iterator<Item = (u64, u64)> + '_ {
    let probes = [&site.entry].into_iter().chain(&site.returns.probe).chain(&site.returns.instructions);
    std::iter::once((site.address, site.file_offset))
        .chain(probes.map(|&ProbeSite { address, file_offset, .. }| (address, file_offset)))
}

#[cfg(test)]
impl Entry {
    /// As a forger would make it.
    pub(super) fn replace_analysis(&mut self, analysis: Analysis) {
        self.analysis = analysis;
    }
}
