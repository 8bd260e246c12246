//! Which files the dynamic loader will load with a program (ld.so(8)), before it does.

use std::collections::{HashMap, HashSet, VecDeque};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use oisp_elf::{Dependencies, Image};

const CACHE: &str = "/etc/ld.so.cache";
const CACHE_MAGIC: &[u8] = b"glibc-ld.so.cache1.1";
/// Programs load tens of libraries; a graph beyond this is not followed further.
const MAX_FILES: usize = 1024;

/// The loader's cache: file names of libraries and where they are.
#[derive(Debug, Default)]
pub(crate) struct LinkerCache {
    paths: HashMap<String, Vec<PathBuf>>,
}

impl LinkerCache {
    /// The host's; empty where there is none (then only folders are searched, as the loader does).
    pub(crate) fn of_host() -> Self {
        fs::read(CACHE).map(|data| Self::parse(&data)).unwrap_or_default()
    }

    /// The new format (`struct cache_file_new` in glibc's `sysdeps/generic/dl-cache.h`), alone or after the old one.
    fn parse(data: &[u8]) -> Self {
        let mut cache = Self::default();
        let Some(start) = data.windows(CACHE_MAGIC.len()).position(|window| window == CACHE_MAGIC) else {
            return cache;
        };
        let data = &data[start..];
        let word =
            |offset: usize| Some(u32::from_ne_bytes(data.get(offset..offset + 4)?.try_into().ok()?) as usize);
        let string = |offset: usize| data.get(offset..)?.split(|&byte| byte == 0).next();
        let count = word(20).unwrap_or(0);
        for index in 0..count {
            // An entry: flags, name, path, OS version, hardware capabilities (8 bytes).
            let entry = 48 + index * 24;
            let (Some(name), Some(path)) =
                (word(entry + 4).and_then(string), word(entry + 8).and_then(string))
            else {
                break;
            };
            let name = String::from_utf8_lossy(name).into_owned();
            cache.paths.entry(name).or_default().push(PathBuf::from(OsStr::from_bytes(path)));
        }
        cache
    }

    /// Everything in it whose name is that of a TLS library.
    pub(crate) fn tls_libraries(&self) -> Vec<PathBuf> {
        let mut found: Vec<PathBuf> = self
            .paths
            .iter()
            .filter(|(name, _)| oisp_elf::is_tls_library_name(name))
            .flat_map(|(_, paths)| paths.iter().cloned())
            .collect();
        found.sort();
        found.dedup();
        found
    }
}

/// The loader's search.
pub(crate) struct Loader<'a> {
    pub(crate) cache: &'a LinkerCache,
    /// `LD_LIBRARY_PATH` of the program to be.
    pub(crate) library_path: Vec<PathBuf>,
    /// `LD_PRELOAD` of the program to be.
    pub(crate) preload: Vec<PathBuf>,
}

impl Loader<'_> {
    /// The libraries that are loaded with a program, directly and indirectly.
    pub(crate) fn libraries_of(&self, program: &Path) -> Vec<PathBuf> {
        let mut seen: HashSet<PathBuf> = HashSet::from([program.to_owned()]);
        let mut waiting = VecDeque::from([program.to_owned()]);
        for path in &self.preload {
            if path.is_file() && seen.insert(path.clone()) {
                waiting.push_back(path.clone());
            }
        }
        while let Some(path) = waiting.pop_front() {
            // What cannot be read the loader cannot load either; the file itself is reported when it is looked at.
            let Ok(dependencies) = Image::open(&path).and_then(|image| oisp_elf::dependencies(&image)) else {
                continue;
            };
            for name in &dependencies.needed {
                for found in self.find(name, &path, &dependencies) {
                    if seen.len() < MAX_FILES && seen.insert(found.clone()) {
                        waiting.push_back(found);
                    }
                }
            }
        }
        seen.remove(program);
        let mut found: Vec<PathBuf> = seen.into_iter().collect();
        found.sort();
        found
    }

    /// Where a needed library is: the first place in the loader's order; of the cache all that have the name (the
    /// loader picks by CPU and hardware capabilities).
    fn find(&self, name: &str, origin: &Path, dependencies: &Dependencies) -> Vec<PathBuf> {
        if name.contains('/') {
            return vec![expand(name, origin)];
        }
        let rpath: &[String] = if dependencies.runpath.is_empty() { &dependencies.rpath } else { &[] };
        let first = rpath.iter().map(|folder| expand(folder, origin));
        let second = self.library_path.iter().cloned();
        let third = dependencies.runpath.iter().map(|folder| expand(folder, origin));
        if let Some(found) =
            first.chain(second).chain(third).map(|folder| folder.join(name)).find(|path| path.is_file())
        {
            return vec![found];
        }
        if let Some(paths) = self.cache.paths.get(name) {
            return paths.clone();
        }
        ["/lib64", "/usr/lib64", "/lib", "/usr/lib"]
            .iter()
            .map(|folder| Path::new(folder).join(name))
            .find(|path| path.is_file())
            .into_iter()
            .collect()
    }
}

fn expand(text: &str, origin: &Path) -> PathBuf {
    let folder = origin.parent().unwrap_or(Path::new("/")).display().to_string();
    PathBuf::from(text.replace("${ORIGIN}", &folder).replace("$ORIGIN", &folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_cache_lists_libssl_where_it_is() {
        let libraries = LinkerCache::of_host().tls_libraries();
        assert!(!libraries.is_empty(), "libssl3 is needed: apt-get install libssl3");
        assert!(libraries.iter().all(|path| path.exists()), "{libraries:?}");
    }

    #[test]
    fn damaged_cache_is_an_emptier_cache() {
        let whole = fs::read(CACHE).expect("readable");
        let entries = LinkerCache::parse(&whole).paths.len();
        for part in 0..20 {
            assert!(LinkerCache::parse(&whole[..whole.len() * part / 20]).paths.len() <= entries);
        }
        assert!(LinkerCache::parse(b"no cache").paths.is_empty());
    }

    #[test]
    fn libraries_of_a_program_are_those_that_ldd_prints() {
        let cache = LinkerCache::of_host();
        let loader = Loader { cache: &cache, library_path: Vec::new(), preload: Vec::new() };
        let program = fs::canonicalize("/bin/sh").expect("there is a shell");
        let found = loader.libraries_of(&program);
        let output =
            std::process::Command::new("ldd").arg(&program).output().expect("ldd is part of libc-bin");
        let listing = String::from_utf8_lossy(&output.stdout).into_owned();
        let libc = listing
            .lines()
            .filter_map(|line| line.split("=> ").nth(1)?.split_whitespace().next())
            .find(|path| path.contains("libc.so"))
            .expect("a shell needs libc");
        let libc = fs::canonicalize(libc).expect("exists");
        assert!(found.iter().any(|path| fs::canonicalize(path).is_ok_and(|path| path == libc)), "{found:?}");
    }
}
