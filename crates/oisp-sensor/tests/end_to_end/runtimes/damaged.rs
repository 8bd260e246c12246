//! Files that look as if they had a TLS library and have none, made of one that has.

use std::fs;
use std::path::{Path, PathBuf};

use oisp_elf::{ElfError, analyze};

use super::programs::installed;

/// The newest Bun and the newest Deno: BoringSSL and rustls.
fn originals() -> Option<Vec<PathBuf>> {
    let programs = installed()?;
    let newest = |name: &str| {
        let program = programs.iter().find(|program| program.name == name && program.newest);
        program.unwrap_or_else(|| panic!("{name} is missing: cargo xtask runtimes")).path.clone()
    };
    Some(vec![newest("bun"), newest("deno")])
}

/// A copy whose code is all breakpoints: texts and tables stay.
fn without_code(original: &Path, folder: &Path) -> PathBuf {
    let mut bytes = fs::read(original).unwrap();
    let number = |at: usize, length: usize| {
        bytes[at..at + length].iter().rev().fold(0_u64, |number, byte| number << 8 | u64::from(*byte))
    };
    // The program headers of a 64-bit ELF file.
    let (start, size, count) = (number(32, 8), number(54, 2), number(56, 2));
    let code: Vec<(usize, usize)> = (0..count)
        .map(|index| usize::try_from(start + index * size).unwrap())
        .filter(|at| number(*at, 4) == 1 && number(at + 4, 4) & 1 == 1)
        .map(|at| (usize::try_from(number(at + 8, 8)).unwrap(), usize::try_from(number(at + 32, 8)).unwrap()))
        .collect();
    assert!(!code.is_empty());
    for (at, length) in code {
        // The headers may be mapped with the code.
        bytes[at.max(4096)..at + length].fill(0xcc);
    }
    let copy = folder.join("without-code");
    fs::write(&copy, bytes).unwrap();
    copy
}

#[test]
fn a_file_with_the_texts_of_a_library_but_without_its_code_is_refused() {
    let Some(originals) = originals() else { return };
    for original in originals {
        let folder = tempfile::tempdir().unwrap();
        let analysis = analyze(&without_code(&original, folder.path())).unwrap();
        assert!(analysis.stacks.is_empty(), "{}: {:?}", original.display(), analysis.stacks);
        assert!(!analysis.refusals.is_empty(), "{}: nothing was said", original.display());
    }
}

#[test]
fn a_file_that_is_cut_off_is_refused() {
    let Some(originals) = originals() else { return };
    for original in originals {
        let folder = tempfile::tempdir().unwrap();
        let bytes = fs::read(&original).unwrap();
        let cut = folder.path().join("cut");
        for eighths in 1..8 {
            fs::write(&cut, &bytes[..bytes.len() / 8 * eighths]).unwrap();
            match analyze(&cut) {
                Err(ElfError::Damaged(_)) => {}
                Err(error) => panic!("{eighths}/8 of {}: {error}", original.display()),
                Ok(analysis) => assert_eq!(analysis.stacks, [], "{eighths}/8 of {}", original.display()),
            }
        }
    }
}
