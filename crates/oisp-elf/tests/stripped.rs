//! Stripped programs, made here by the C compiler: the answer equals the symbols that were there before.
//!
//! With `OISP_TEST_BINARIES`, a folder of programs as shipped, the wide tests look at those
//! (`cargo test -p oisp-elf --release --test stripped -- --ignored --nocapture`).

#![expect(clippy::expect_used, reason = "a test's helper may end the test")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use oisp_elf::{Analysis, Evidence, Function, FunctionSite, Library, Refusal, RefusalReason, analyze};

/// How programs are compiled: code and data where the file says or anywhere, with and without an unwind table, and as
/// large or as small as compilers make them.
const STYLES: &[&[&str]] = &[
    &["-O2", "-fno-pie", "-no-pie"],
    &["-O2", "-fPIE", "-pie"],
    &["-O3", "-fPIE", "-pie", "-fno-asynchronous-unwind-tables", "-fno-unwind-tables"],
    &["-Os", "-fno-pie", "-no-pie", "-fno-asynchronous-unwind-tables", "-fno-unwind-tables"],
    &["-Os", "-fPIE", "-pie", "-fomit-frame-pointer"],
    &["-O1", "-fPIE", "-pie", "-fno-omit-frame-pointer"],
];

struct Program {
    _folder: tempfile::TempDir,
    whole: PathBuf,
    stripped: PathBuf,
    symbols: BTreeMap<String, u64>,
}

impl Program {
    /// `None` where there is no C compiler.
    fn make(source: &str, options: &[&str]) -> Option<Self> {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sources").join(source);
        let folder = tempfile::tempdir().expect("a folder");
        let (whole, stripped) = (folder.path().join("whole"), folder.path().join("stripped"));
        let compiled = Command::new("cc").args(options).arg("-w").arg(&source).arg("-o").arg(&whole).output();
        let Ok(compiled) = compiled else {
            assert!(std::env::var_os("OISP_REQUIRE_ALL").is_none(), "cc is needed: apt-get install gcc");
            eprintln!("skipped: there is no C compiler");
            return None;
        };
        assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
        let symbols = symbols(&whole);
        output(Command::new("strip").arg("-o").arg(&stripped).arg(&whole));
        Some(Self { _folder: folder, whole, stripped, symbols })
    }

    fn analysis(&self) -> Analysis {
        analyze(&self.stripped).expect("an analysis")
    }
}

/// The names that `nm` lists, with their addresses.
fn symbols(path: &Path) -> BTreeMap<String, u64> {
    let listing = output(Command::new("nm").arg("--defined-only").arg(path));
    let symbol = |line: &str| {
        let mut words = line.split_whitespace();
        let address = u64::from_str_radix(words.next()?, 16).ok()?;
        Some((words.nth(1)?.to_owned(), address))
    };
    listing.lines().filter_map(symbol).collect()
}

fn output(command: &mut Command) -> String {
    let output = command.output().expect("binutils are needed: apt-get install binutils");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Asserts that there is one stack, with these functions where these symbols were.
fn assert_found(program: &Program, library: Library, expected: &[(Function, &str)], style: &[&str]) {
    let analysis = program.analysis();
    assert_eq!(analysis.refusals, [], "{style:?}");
    assert_eq!(analysis.stacks.len(), 1, "{style:?}: {:?}", analysis.stacks);
    assert_eq!(analysis.stacks[0].library, library);
    let found: BTreeMap<Function, u64> =
        analysis.stacks[0].functions.iter().map(|site| (site.function, site.address)).collect();
    let expected: BTreeMap<Function, u64> =
        expected.iter().map(|&(function, symbol)| (function, program.symbols[symbol])).collect();
    assert_eq!(found, expected, "{style:?}");
    assert!(analysis.stacks[0].functions.iter().all(|site| site.evidence == Evidence::Behaviour));
}

#[test]
fn stripped_boringssl_is_found_where_its_symbols_were() {
    for inlined in [&["-DPEEK_INLINED"][..], &[]] {
        for style in STYLES {
            let options = [*style, inlined].concat();
            let Some(program) = Program::make("boringssl.c", &options) else { return };
            let expected = [
                (Function::SslRead, "SSL_read"),
                (Function::SslWrite, "SSL_write"),
                (Function::SslNew, "SSL_new"),
            ];
            assert_found(&program, Library::BoringSsl, &expected, &options);
        }
    }
}

#[test]
fn stripped_aws_lc_below_rustls_is_found_where_its_symbols_were() {
    for style in STYLES {
        let Some(program) = Program::make("aead.c", style) else { return };
        let expected = [
            (Function::AeadSeal, "AeadSeal"),
            (Function::AeadSealScatter, "AeadSealScatter"),
            (Function::AeadOpen, "AeadOpen"),
            (Function::AeadOpenGather, "AeadOpenGather"),
        ];
        assert_found(&program, Library::RustlsAwsLc, &expected, style);
    }
}

#[test]
fn stripped_openssl_is_found_where_its_symbols_were_with_the_arguments_of_its_version() {
    for (flags, arguments) in [(&["-DFLAGS"][..], 0), (&[], FunctionSite::WRITE_WITHOUT_FLAGS)] {
        for style in STYLES {
            let options = [*style, flags].concat();
            let Some(program) = Program::make("openssl.c", &options) else { return };
            let expected = [
                (Function::SslReadInternal, "ssl_read_internal"),
                (Function::SslWriteInternal, "ssl_write_internal"),
                (Function::SslNew, "SSL_new"),
            ];
            assert_found(&program, Library::OpenSsl, &expected, &options);
            let analysis = program.analysis();
            let write = analysis.stacks[0]
                .functions
                .iter()
                .find(|site| site.function == Function::SslWriteInternal)
                .expect("it was found");
            assert_eq!(write.arguments, arguments, "{options:?}");
        }
    }
}

#[test]
fn file_with_the_texts_but_without_the_functions_is_refused() {
    let Some(program) = Program::make("boringssl.c", &["-O2", "-DWITHOUT_WRITE"]) else { return };
    let analysis = program.analysis();
    assert_eq!(analysis.stacks, []);
    assert_eq!(analysis.refusals[0].reason, RefusalReason::Absent(Function::SslWrite));
}

#[test]
fn tls_of_no_known_library_is_refused_and_told_apart_from_a_library_that_others_name() {
    for (options, shared) in [
        (&["-O2"][..], false),
        (&["-O2", "-static"], false),
        (&["-O2", "-fPIC", "-shared"], false),
        (&["-O2", "-fPIC", "-shared", "-Wl,-soname,libunknown.so.1"], true),
    ] {
        let Some(program) = Program::make("unknown.c", options) else { return };
        let analysis = program.analysis();
        assert_eq!(analysis.stacks, [], "{options:?}");
        let unknown = Refusal { library: Library::Unknown, reason: RefusalReason::Unknown { shared } };
        assert_eq!(analysis.refusals, [unknown], "{options:?}");
    }
}

#[test]
fn two_functions_with_the_same_marks_are_refused() {
    let Some(program) = Program::make("boringssl.c", &["-O2", "-DSECOND_WRITE"]) else { return };
    let analysis = program.analysis();
    assert_eq!(analysis.stacks, []);
    assert_eq!(
        analysis.refusals[0].reason,
        RefusalReason::Ambiguous { function: Function::SslWrite, candidates: 2 }
    );
}

#[test]
fn stack_that_its_symbols_show_is_reported_once() {
    let Some(program) = Program::make("boringssl.c", &["-O2", "-rdynamic"]) else { return };
    let analysis = program.analysis();
    assert_eq!(analysis.refusals, []);
    assert_eq!(analysis.stacks.len(), 1, "{:?}", analysis.stacks);
    assert_eq!(analysis.stacks[0].library, Library::OpenSsl);
    assert!(analysis.stacks[0].functions.iter().all(|site| site.evidence == Evidence::DynamicSymbol));
}

#[test]
fn every_version_of_a_library_that_has_symbols_is_taken_and_an_absurd_number_is_refused() {
    let Some(program) = Program::make("versions.c", &["-O2"]) else { return };
    let analysis = analyze(&program.whole).expect("an analysis");
    assert_eq!(analysis.refusals, []);
    let [stack] = analysis.stacks.as_slice() else { panic!("{:?}", analysis.stacks) };
    let found: Vec<_> = stack.functions.iter().map(|site| (site.function, site.address)).collect();
    let symbol = |name: &str| program.symbols[name];
    assert_eq!(
        found,
        [
            (Function::AeadSeal, symbol("aws_lc_0_28_0_EVP_AEAD_CTX_seal")),
            (Function::AeadSeal, symbol("aws_lc_0_38_0_EVP_AEAD_CTX_seal")),
            (Function::AeadOpen, symbol("aws_lc_0_28_0_EVP_AEAD_CTX_open")),
            (Function::AeadOpen, symbol("aws_lc_0_38_0_EVP_AEAD_CTX_open")),
        ]
        .into_iter()
        .collect::<std::collections::BTreeSet<_>>()
        .into_iter()
        .collect::<Vec<_>>()
    );

    let Some(program) = Program::make("versions.c", &["-O2", "-DTOO_MANY"]) else { return };
    let analysis = analyze(&program.whole).expect("an analysis");
    assert_eq!(analysis.stacks, []);
    assert!(matches!(analysis.refusals[0].reason, RefusalReason::Ambiguous { .. }), "{analysis:?}");
}

#[test]
fn truncated_program_is_an_error_or_is_refused_and_never_gives_other_functions() {
    let Some(program) = Program::make("boringssl.c", &["-O2"]) else { return };
    let whole = program.analysis();
    let sites = |analysis: &Analysis| -> Vec<(Function, u64)> {
        let functions = analysis.stacks.iter().flat_map(|stack| &stack.functions);
        functions.map(|site| (site.function, site.address)).collect()
    };
    let bytes = std::fs::read(&program.stripped).expect("readable");
    let cut = program.stripped.with_extension("cut");
    for part in 0..32 {
        std::fs::write(&cut, &bytes[..bytes.len() * part / 32]).expect("written");
        if let Ok(analysis) = analyze(&cut) {
            assert!(sites(&analysis).iter().all(|site| sites(&whole).contains(site)), "{part}/32");
        }
    }
}

/// The programs in the folder that `OISP_TEST_BINARIES` names; empty where it is not set.
fn shipped_programs() -> Vec<PathBuf> {
    let Some(folder) = std::env::var_os("OISP_TEST_BINARIES") else {
        assert!(std::env::var_os("OISP_REQUIRE_ALL").is_none(), "OISP_TEST_BINARIES is not set");
        eprintln!("skipped: OISP_TEST_BINARIES is not set");
        return Vec::new();
    };
    let (mut folders, mut programs) = (vec![PathBuf::from(folder)], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a readable folder").flatten() {
            let kind = entry.file_type().expect("a type");
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() && is_elf(&entry.path()) {
                programs.push(entry.path());
            }
        }
    }
    programs.sort();
    programs
}

fn is_elf(path: &Path) -> bool {
    use std::io::Read as _;
    let mut magic = [0; 4];
    std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut magic)).is_ok() && magic == *b"\x7fELF"
}

/// Where a program as shipped still has symbols, the functions of a copy without them are where those were.
#[test]
#[ignore = "takes a folder of programs as shipped: OISP_TEST_BINARIES"]
fn shipped_program_with_symbols_gives_the_same_without() {
    let folder = tempfile::tempdir().expect("a folder");
    let stripped = folder.path().join("stripped");
    let mut compared = 0;
    let programs = shipped_programs();
    for path in &programs {
        let Ok(whole) = analyze(path) else { continue };
        let has_symbols = |stack: &oisp_elf::Stack| {
            stack.functions.iter().all(|site| site.evidence == Evidence::Symbol)
                && matches!(stack.library, Library::OpenSsl | Library::RustlsAwsLc)
        };
        if !whole.stacks.iter().any(has_symbols) {
            continue;
        }
        let symbols = symbols(path);
        output(Command::new("strip").arg("-o").arg(&stripped).arg(path));
        let bare = analyze(&stripped).expect("an analysis");
        let found = bare.stacks.iter().flat_map(|stack| &stack.functions);
        let found: Vec<_> = found.filter(|site| site.evidence == Evidence::Behaviour).collect();
        assert!(!found.is_empty(), "{}: {:?}", path.display(), bare.refusals);
        for site in found {
            // A library's version may be before a name, and what sets a variant apart after it.
            let name = site.function.name().split(' ').next().expect("a name");
            let is_there = symbols.iter().any(|(symbol, &address)| {
                address == site.address && (symbol == name || symbol.ends_with(&format!("_{name}")))
            });
            assert!(is_there, "{}: {site:?}", path.display());
            compared += 1;
        }
    }
    assert!(programs.is_empty() || compared > 0, "no program in the folder has symbols");
    println!("{compared} functions are where their symbols were");
}
