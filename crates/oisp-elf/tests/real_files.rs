//! Against the machine's own files: the same answer as `nm` gives.

#![expect(clippy::expect_used, reason = "a test's helper may end the test")]

use std::path::{Path, PathBuf};
use std::process::Command;

use oisp_elf::{Analysis, ElfError, Evidence, Function, Image, analyze, dependencies};

fn system_libssl() -> PathBuf {
    [
        "/usr/lib/x86_64-linux-gnu/libssl.so.3",
        "/usr/lib/aarch64-linux-gnu/libssl.so.3",
        "/usr/lib64/libssl.so.3",
    ]
    .iter()
    .map(PathBuf::from)
    .find(|path| path.exists())
    .expect("libssl.so.3 is needed: apt-get install libssl3")
}

fn functions(analysis: &Analysis) -> Vec<(Function, u64)> {
    analysis
        .stacks
        .iter()
        .flat_map(|stack| &stack.functions)
        .map(|site| (site.function, site.address))
        .collect()
}

#[test]
fn shared_libssl_gives_the_addresses_that_nm_prints() {
    let path = system_libssl();
    let analysis = analyze(&path).expect("an analysis");
    assert_eq!(analysis.stacks.len(), 1);
    assert!(analysis.build_id.is_some());
    let output =
        Command::new("nm").arg("-D").arg(&path).output().expect("nm is needed: apt-get install binutils");
    let listing = String::from_utf8_lossy(&output.stdout).into_owned();
    let found = functions(&analysis);
    for function in
        [Function::SslRead, Function::SslReadEx, Function::SslWrite, Function::SslWriteEx, Function::SslFree]
    {
        let line = listing
            .lines()
            .find(|line| {
                line.split_whitespace()
                    .nth(2)
                    .is_some_and(|name| name.split('@').next() == Some(function.name()))
            })
            .unwrap_or_else(|| panic!("nm lists {}", function.name()));
        let address = u64::from_str_radix(line.split_whitespace().next().expect("an address"), 16)
            .expect("hexadecimal");
        assert!(
            found.contains(&(function, address)),
            "{} at {address:#x}, found {found:x?}",
            function.name()
        );
    }
    let by_behaviour = [Function::SslReadInternal, Function::SslWriteInternal];
    for site in &analysis.stacks[0].functions {
        let is_internal = by_behaviour.contains(&site.function);
        let evidence = if is_internal { Evidence::Behaviour } else { Evidence::DynamicSymbol };
        assert_eq!(site.evidence, evidence, "{}", site.function.name());
    }
}

#[test]
fn libraries_that_the_loader_will_load_are_listed() {
    let library = dependencies(&Image::open(&system_libssl()).expect("mapped")).expect("read");
    assert!(library.needed.iter().any(|name| name.starts_with("libcrypto.so")), "{library:?}");
    let program = dependencies(&Image::open(Path::new("/bin/sh")).expect("mapped")).expect("read");
    assert!(program.interpreter.is_some_and(|path| path.contains("ld-linux")));
}

#[test]
fn program_without_tls_has_no_stacks() {
    assert_eq!(analyze(Path::new("/bin/sh")).expect("an analysis").stacks, []);
}

#[test]
fn what_is_not_elf_is_said_to_be_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let script = folder.path().join("script");
    std::fs::write(&script, "#!/bin/sh\n").expect("written");
    assert!(matches!(analyze(&script), Err(ElfError::NotElf)));
    let empty = folder.path().join("empty");
    std::fs::write(&empty, "").expect("written");
    assert!(matches!(analyze(&empty), Err(ElfError::NotElf)));
    assert!(matches!(analyze(folder.path()), Err(ElfError::NotElf)));
    assert!(matches!(analyze(&folder.path().join("absent")), Err(ElfError::Io(_))));
}

#[test]
fn truncated_library_is_an_error_or_has_less_and_never_panics() {
    let bytes = std::fs::read(system_libssl()).expect("readable");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("cut.so");
    let whole = functions(&analyze(&system_libssl()).expect("an analysis"));
    for part in 0..40 {
        std::fs::write(&path, &bytes[..bytes.len() * part / 40]).expect("written");
        if let Ok(analysis) = analyze(&path) {
            assert!(functions(&analysis).iter().all(|site| whole.contains(site)));
        }
    }
}

#[test]
fn library_with_any_byte_of_its_headers_changed_never_panics() {
    let bytes = std::fs::read(system_libssl()).expect("readable");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("changed.so");
    for position in (0..1024).step_by(3) {
        let mut changed = bytes.clone();
        changed[position] ^= 0xff;
        std::fs::write(&path, &changed).expect("written");
        let _result = analyze(&path);
        let _result = dependencies(&Image::open(&path).expect("mapped"));
    }
}
