//! Which files a program's TLS may be in.

use std::ffi::OsStr;
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use crate::linker::{LinkerCache, Loader};
use crate::process;

/// A file to look at for TLS functions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Where it is.
    pub path: PathBuf,
    /// Why it is looked at.
    pub why: &'static str,
}

const LOADED: &str = "loaded with the command";

/// What a command will use: its executable, a script's interpreter, the libraries that are loaded with it, and those TLS
/// libraries that Python and others open by themselves later: of `LD_LIBRARY_PATH`, of the `lib` folder beside the
/// program's own (Conda and other self-contained installations), and of the linker cache.
///
/// `environment` gives the command's environment: `LD_LIBRARY_PATH`, `LD_PRELOAD` and `PATH` matter.
pub fn candidates_of_command(
    executable: &Path,
    environment: impl Fn(&str) -> Option<std::ffi::OsString>,
) -> Vec<Candidate> {
    let cache = LinkerCache::of_host();
    let folders = |name: &str| -> Vec<PathBuf> {
        environment(name)
            .map(|value| std::env::split_paths(&value).filter(|path| !path.as_os_str().is_empty()).collect())
            .unwrap_or_default()
    };
    let preload = environment("LD_PRELOAD")
        .map(|value| {
            value
                .as_bytes()
                .split(|&byte| byte == b' ' || byte == b':')
                .filter(|name| !name.is_empty())
                .map(|name| PathBuf::from(OsStr::from_bytes(name)))
                .collect()
        })
        .unwrap_or_default();
    let loader = Loader { cache: &cache, library_path: folders("LD_LIBRARY_PATH"), preload };

    let mut candidates = Candidates::default();
    for (index, program) in interpreter_chain(executable, &folders("PATH")).into_iter().enumerate() {
        candidates.add(program.clone(), if index == 0 { "the command" } else { "interprets the command" });
        for library in loader.libraries_of(&program) {
            candidates.add(library, LOADED);
        }
    }
    for folder in &loader.library_path {
        for library in tls_libraries_in(folder) {
            candidates.add(library, "TLS library of LD_LIBRARY_PATH");
        }
    }
    let programs: Vec<PathBuf> = candidates
        .0
        .iter()
        .filter(|candidate| candidate.why != LOADED)
        .filter_map(|candidate| std::fs::canonicalize(&candidate.path).ok())
        .collect();
    for installation in programs.iter().filter_map(|program| program.parent()?.parent()) {
        for library in tls_libraries_in(&installation.join("lib")) {
            candidates.add(library, "TLS library beside the program");
        }
    }
    for library in cache.tls_libraries() {
        candidates.add(library, "TLS library of the linker cache");
    }
    candidates.0
}

/// What a running process has mapped as code.
///
/// # Errors
/// When the process's memory map cannot be read.
pub fn candidates_of_process(pid: u32) -> std::io::Result<Vec<Candidate>> {
    let mappings = process::code_mappings(pid)?;
    Ok(mappings
        .into_iter()
        .map(|mapping| Candidate {
            path: process::in_root_of(pid, &mapping.path),
            why: "mapped by the process",
        })
        .collect())
}

/// The TLS libraries of the linker cache.
#[must_use]
pub fn tls_libraries_of_host() -> Vec<PathBuf> {
    LinkerCache::of_host().tls_libraries()
}

/// The files in a folder that are named as a TLS library is. A folder that cannot be read has none for a program either.
fn tls_libraries_in(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut found: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            path.file_name().is_some_and(|name| oisp_elf::is_tls_library_name(&name.to_string_lossy()))
        })
        .collect();
    found.sort();
    found
}

#[derive(Default)]
struct Candidates(Vec<Candidate>);

impl Candidates {
    fn add(&mut self, path: PathBuf, why: &'static str) {
        if !self.0.iter().any(|known| known.path == path) {
            self.0.push(Candidate { path, why });
        }
    }
}

/// Scripts name interpreters, which may be scripts; the kernel follows five.
const MAX_INTERPRETERS: usize = 5;
/// `BINPRM_BUF_SIZE`: what the kernel reads of a script's first line.
const FIRST_LINE_BYTES: u64 = 256;

/// The file itself and, for a script, what will interpret it; `env` is followed to the program that it starts.
fn interpreter_chain(executable: &Path, search: &[PathBuf]) -> Vec<PathBuf> {
    let mut chain = vec![executable.to_owned()];
    while chain.len() <= MAX_INTERPRETERS {
        let Some(words) = chain.last().and_then(|path| first_line(path)) else { break };
        let Some(interpreter) = words.first() else { break };
        chain.push(PathBuf::from(interpreter));
        if Path::new(interpreter).file_name() == Some(OsStr::new("env")) {
            // `env -S node --flag` and `env VARIABLE=value node`.
            let named = words[1..].iter().find(|word| !word.starts_with('-') && !word.contains('='));
            let found = named
                .and_then(|name| search.iter().map(|folder| folder.join(name)).find(|path| path.is_file()));
            match found {
                Some(program) => chain.push(program),
                None => break,
            }
        }
    }
    chain
}

/// The words after `#!`.
fn first_line(path: &Path) -> Option<Vec<String>> {
    let mut start = Vec::new();
    std::fs::File::open(path).ok()?.take(FIRST_LINE_BYTES).read_to_end(&mut start).ok()?;
    let line = start.strip_prefix(b"#!")?.split(|&byte| byte == b'\n').next()?;
    let text = String::from_utf8_lossy(line);
    Some(text.split_whitespace().map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn script_is_followed_through_env_to_its_interpreter() {
        let folder = tempfile::tempdir().expect("a folder");
        let interpreter = folder.path().join("myinterpreter");
        std::fs::write(&interpreter, "\x7fELF").expect("written");
        let script = folder.path().join("script");
        std::fs::write(&script, "#!/usr/bin/env -S myinterpreter --flag\nprint()\n").expect("written");
        let chain = interpreter_chain(&script, &[folder.path().to_owned()]);
        assert_eq!(chain, [script, PathBuf::from("/usr/bin/env"), interpreter]);
    }

    #[test]
    fn script_that_interprets_itself_ends() {
        let folder = tempfile::tempdir().expect("a folder");
        let script = folder.path().join("script");
        std::fs::write(&script, format!("#!{}\n", script.display())).expect("written");
        assert!(interpreter_chain(&script, &[]).len() <= MAX_INTERPRETERS + 1);
    }

    #[test]
    fn command_brings_the_tls_libraries_of_its_search_path_and_of_its_installation() {
        let folder = tempfile::tempdir().expect("a folder");
        let place = std::fs::canonicalize(folder.path()).expect("exists");
        for name in ["environment/bin", "environment/lib", "searched"] {
            std::fs::create_dir_all(place.join(name)).expect("made");
        }
        let program = place.join("environment/bin/python");
        for file in
            [&program, &place.join("environment/lib/libssl.so.3"), &place.join("searched/libssl.so.1.1")]
        {
            std::fs::write(file, "\x7fELF").expect("written");
        }
        std::fs::write(place.join("searched/libz.so.1"), "").expect("written");
        let search = place.join("searched").into_os_string();
        let candidates =
            candidates_of_command(&program, |name| (name == "LD_LIBRARY_PATH").then(|| search.clone()));
        let found: Vec<_> = candidates.iter().filter(|one| one.path.starts_with(&place)).collect();
        assert_eq!(found[1].path, place.join("searched/libssl.so.1.1"));
        assert_eq!(found[2].path, place.join("environment/lib/libssl.so.3"));
        assert_eq!(found.len(), 3, "{found:?}");
    }

    #[test]
    fn command_brings_the_linker_caches_tls_libraries() {
        let candidates = candidates_of_command(Path::new("/bin/sh"), |_| None);
        assert_eq!(candidates[0], Candidate { path: PathBuf::from("/bin/sh"), why: "the command" });
        assert!(candidates.iter().any(|candidate| candidate.path.to_string_lossy().contains("libssl.so")));
    }
}
