//! Analyses that are wrong, where the sensor finds them: in the folder that it keeps analyses in.
//!
//! The format is that of `oisp_elf`'s cache, which believes an entry whose places are instructions of the file. That they
//! are other functions' than it says can only show in what goes through them.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use object::{Object as _, ObjectSegment as _, ObjectSymbol as _};
use oisp_elf::{
    Analysis, AnalysisCache, CacheLimits, CostClass, Evidence, Function, FunctionSite, Library, ProbeSite,
    Returns, Stack,
};
use sha2::{Digest as _, Sha256};

use super::LibraryCopy;

/// Which functions of a file are taken for others.
pub(crate) struct WrongAnalysis<'a> {
    pub(crate) file: &'a Path,
    /// What it is taken for, and the exported function that it is.
    pub(crate) functions: &'a [(Function, &'a str)],
}

impl WrongAnalysis<'_> {
    fn analysis(&self, right: Analysis) -> Analysis {
        let bytes = fs::read(self.file).unwrap();
        let parsed = object::File::parse(&*bytes).unwrap();
        let functions =
            self.functions.iter().map(|&(function, name)| site(&parsed, function, name)).collect();
        let stacks = vec![Stack { library: Library::OpenSsl, functions }];
        Analysis { stacks, refusals: Vec::new(), ..right }
    }

    /// The places that get a probe.
    pub(crate) fn sites(&self) -> Vec<u64> {
        let bytes = fs::read(self.file).unwrap();
        let parsed = object::File::parse(&*bytes).unwrap();
        self.functions.iter().map(|&(function, name)| site(&parsed, function, name).file_offset).collect()
    }
}

/// An exported function, probed where it begins.
fn site(file: &object::File<'_>, function: Function, name: &str) -> FunctionSite {
    let symbol = file.dynamic_symbols().find(|symbol| symbol.name() == Ok(name) && !symbol.is_undefined());
    let address = symbol.unwrap_or_else(|| panic!("{name} is not exported")).address();
    let segment = file
        .segments()
        .find(|segment| (segment.address()..segment.address() + segment.size()).contains(&address))
        .unwrap();
    let file_offset = address - segment.address() + segment.file_range().0;
    let entry = ProbeSite {
        address,
        file_offset,
        pushed_words: 0,
        cost: CostClass::SingleStepped,
        why: name.to_owned().into(),
    };
    let returns = Returns { probe: Some(entry.clone()), instructions: Vec::new() };
    FunctionSite {
        function,
        address,
        file_offset,
        evidence: Evidence::Behaviour,
        entry,
        returns,
        arguments: 0,
    }
}

/// Makes a folder of analyses that says this of the file. `genuine` is any file with TLS: its entry shows how one looks.
pub(crate) fn forge(wrong: &WrongAnalysis<'_>, genuine: &LibraryCopy) -> PathBuf {
    let folder = genuine.folder().join("analyses");
    let cache = AnalysisCache::open(&folder, CacheLimits::default()).unwrap();
    cache.analyze(&File::open(genuine.file()).unwrap()).unwrap();
    let entry = fs::read_dir(&folder).unwrap().next().expect("the genuine entry").unwrap();
    let genuine_entry = fs::read(entry.path()).unwrap();
    let (version, ..): (&str, &str, [u8; 32], &[u8]) = postcard::from_bytes(&genuine_entry).unwrap();

    let file = File::open(wrong.file).unwrap();
    let analysis = wrong.analysis(cache.analyze(&file).unwrap().analysis);
    let bytes = fs::read(wrong.file).unwrap();
    let build_id = analysis.build_id.as_deref().expect("a build id");
    let key = Sha256::new()
        .chain_update("build id")
        .chain_update(build_id)
        .chain_update(bytes.len().to_le_bytes())
        .finalize();
    let key: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
    let inner = (bytes.len() as u64, code(&analysis, &bytes), &analysis);
    let inner = postcard::to_extend(&inner, Vec::new()).unwrap();
    let digest: [u8; 32] = Sha256::digest(&inner).into();
    let sealed = postcard::to_extend(&(version, &*key, digest, &*inner), Vec::new()).unwrap();
    let path = folder.join(format!("{key}.analysis"));
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options.open(path).unwrap().write_all(&sealed).unwrap();

    let looked = cache.analyze(&file).unwrap();
    assert!(looked.cached && looked.analysis == analysis, "it is not believed: {looked:?}");
    folder
}

/// Of the headers, and the code around every place.
fn code(analysis: &Analysis, bytes: &[u8]) -> [u8; 32] {
    let mut digest = Sha256::new_with_prefix(&bytes[..bytes.len().min(4096)]);
    for site in analysis.stacks.iter().flat_map(|stack| &stack.functions) {
        let places = [Some(&site.entry), site.returns.probe.as_ref()].into_iter().flatten();
        for offset in std::iter::once(site.file_offset).chain(places.map(|place| place.file_offset)) {
            let at = usize::try_from(offset).unwrap();
            digest.update(offset.to_le_bytes());
            digest.update(&bytes[at.saturating_sub(64)..(at + 64).min(bytes.len())]);
        }
    }
    digest.finalize().into()
}
