//! Go programs, built here: found with and without symbols, sections and a fixed address, of both CPUs; and what was
//! damaged or changed is refused. Needs Go (`apt-get install golang-go`).

#![expect(clippy::expect_used, reason = "a test's helper may end the test")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use oisp_elf::{
    Analysis, Architecture, CostClass, Evidence, Function, Library, Refusal, RefusalReason, analyze,
};
use proptest::prelude::{ProptestConfig, any, prop, proptest};

const WITH_TLS: &str = r#"package main

import ("crypto/tls"; "fmt"; "os")

func main() {
	if len(os.Args) > 2 {
		listener, err := tls.Listen("tcp", os.Args[1], &tls.Config{})
		fmt.Println(listener.Accept())
		fmt.Println(err)
	}
	conn, err := tls.Dial("tcp", os.Args[1], nil)
	if err != nil { panic(err) }
	conn.Write([]byte("request"))
	var answer [100]byte
	fmt.Println(conn.Read(answer[:]))
	conn.Close()
}
"#;

const WITHOUT_TLS: &str = "package main\n\nfunc main() { println(\"no network\") }\n";

struct Programs {
    folder: tempfile::TempDir,
}

impl Programs {
    /// `None` where there is no Go.
    fn new() -> Option<Self> {
        if Command::new("go")
            .arg("version")
            .stdout(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
        {
            return Some(Self { folder: tempfile::tempdir().expect("a folder") });
        }
        let required = std::env::var_os("OISP_REQUIRE_ALL").is_some_and(|value| value == "1");
        assert!(!required, "Go is missing: apt-get install golang-go");
        eprintln!("skipped: Go is missing: apt-get install golang-go");
        None
    }

    fn build(&self, source: &str, name: &str, architecture: &str, arguments: &[&str]) -> PathBuf {
        let file = self.folder.path().join(format!("{name}.go"));
        fs::write(&file, source).expect("written");
        let program = self.folder.path().join(name);
        let mut build = Command::new("go");
        build.arg("build").args(arguments).arg("-o").arg(&program).arg(&file);
        build.current_dir(self.folder.path());
        build.env("GOCACHE", Path::new(env!("CARGO_TARGET_TMPDIR")).join("go-cache"));
        build.env("GOPATH", self.folder.path()).env("GOARCH", architecture);
        build.envs([
            ("CGO_ENABLED", "0"),
            ("GO111MODULE", "off"),
            ("GOFLAGS", ""),
            ("GOPROXY", "off"),
            ("GOTOOLCHAIN", "local"),
        ]);
        let output = build.output().expect("go runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        program
    }

    /// A changed copy.
    fn changed(&self, original: &Path, change: impl FnOnce(&mut Vec<u8>)) -> PathBuf {
        let mut bytes = fs::read(original).expect("read");
        change(&mut bytes);
        let copy = self.folder.path().join("changed");
        fs::write(&copy, bytes).expect("written");
        copy
    }
}

/// Function and address, as `go tool nm` prints them.
fn symbols(program: &Path) -> Vec<(Function, u64)> {
    let output = Command::new("go").args(["tool", "nm"]).arg(program).output().expect("go tool nm runs");
    let listing = String::from_utf8_lossy(&output.stdout).into_owned();
    ALL.into_iter()
        .filter_map(|function| {
            let line = listing.lines().find(|line| line.ends_with(&format!(" T {}", function.name())))?;
            let address = line.split_whitespace().next()?;
            Some((function, u64::from_str_radix(address, 16).expect("hexadecimal")))
        })
        .collect()
}

const ALL: [Function; 5] = [
    Function::GoRead,
    Function::GoWrite,
    Function::GoClose,
    Function::GoClientHandshake,
    Function::GoServerHandshake,
];

fn functions(analysis: &Analysis) -> Vec<(Function, u64)> {
    let sites = analysis.stacks.iter().flat_map(|stack| &stack.functions);
    sites.map(|site| (site.function, site.address)).collect()
}

fn assert_found(program: &Path, wanted: &[(Function, u64)]) -> Analysis {
    let analysis = analyze(program).expect("an analysis");
    assert_eq!(analysis.refusals, []);
    assert_eq!(functions(&analysis), wanted, "{}", program.display());
    assert_eq!(analysis.stacks[0].library, Library::Go);
    for site in &analysis.stacks[0].functions {
        assert_eq!(site.evidence, Evidence::GoFunctionTable);
        // After the comparison with the stack's limit, where a jump is emulated.
        assert!(site.entry.address > site.address);
        assert_eq!((site.entry.cost, site.entry.pushed_words), (CostClass::Emulated, 0));
        assert_eq!(site.returns.probe, None, "a return probe ends a Go program");
        let transfers = matches!(site.function, Function::GoRead | Function::GoWrite);
        assert_eq!(!site.returns.instructions.is_empty(), transfers);
    }
    analysis
}

#[test]
fn stripped_programs_have_the_functions_that_their_symbols_name() {
    let Some(programs) = Programs::new() else { return };
    for (architecture, known) in [("amd64", Architecture::X86_64), ("arm64", Architecture::Aarch64)] {
        let plain = programs.build(WITH_TLS, "plain", architecture, &[]);
        let named = symbols(&plain);
        assert_eq!(named.len(), ALL.len());
        assert_eq!(assert_found(&plain, &named).architecture, known);
        let stripped = programs.build(WITH_TLS, "stripped", architecture, &["-ldflags=-s -w"]);
        assert_found(&stripped, &named);
        // And without the list of sections: its place and length in the file's header.
        let headless = programs.changed(&stripped, |bytes| {
            bytes[0x28..0x30].fill(0);
            bytes[0x3c..0x40].fill(0);
        });
        assert_found(&headless, &named);
    }
}

#[test]
fn program_that_may_lie_anywhere_has_the_functions_that_its_symbols_name() {
    let Some(programs) = Programs::new() else { return };
    let plain = programs.build(WITH_TLS, "plain", "amd64", &["-buildmode=pie"]);
    let named = symbols(&plain);
    assert_found(&plain, &named);
    let stripped = programs.build(WITH_TLS, "stripped", "amd64", &["-buildmode=pie", "-ldflags=-s -w"]);
    assert_found(&stripped, &named);
}

#[test]
fn program_without_tls_has_no_stack_and_nothing_to_refuse() {
    let Some(programs) = Programs::new() else { return };
    let analysis = analyze(&programs.build(WITHOUT_TLS, "program", "amd64", &[])).expect("an analysis");
    assert_eq!((analysis.stacks, analysis.refusals), (Vec::new(), Vec::new()));
}

#[test]
fn program_with_a_copy_of_the_library_is_refused_beside_what_was_found() {
    let Some(programs) = Programs::new() else { return };
    let package = programs.folder.path().join("src/example/utls");
    fs::create_dir_all(&package).expect("a folder");
    let copy = "package utls\n\ntype Conn struct{ sent int }\n\n//go:noinline\n\
        func (c *Conn) writeRecordLocked(bytes []byte) { c.sent += len(bytes) }\n\n\
        func (c *Conn) Write(bytes []byte) int { c.writeRecordLocked(bytes); return c.sent }\n";
    fs::write(package.join("utls.go"), copy).expect("written");
    for (source, is_beside) in [(WITH_TLS, true), (WITHOUT_TLS, false)] {
        let source = source
            .replace("package main", "package main\n\nimport \"example/utls\"\n")
            .replace("func main() {", "func main() {\n\tprintln(new(utls.Conn).Write([]byte(\"bytes\")));");
        let program = programs.build(&source, "program", "amd64", &["-ldflags=-s -w"]);
        let analysis = analyze(&program).expect("an analysis");
        assert_eq!(!analysis.stacks.is_empty(), is_beside);
        assert!(
            matches!(
                &analysis.refusals[..],
                [Refusal { library: Library::Go, reason: RefusalReason::Unsupported(_) }]
            ),
            "{analysis:?}"
        );
    }
}

#[test]
fn changed_program_is_refused_with_the_reason_and_never_misread() {
    let Some(programs) = Programs::new() else { return };
    let original = programs.build(WITH_TLS, "program", "amd64", &["-ldflags=-s -w"]);
    let bytes = fs::read(&original).expect("read");
    let find =
        |text: &[u8]| bytes.windows(text.len()).position(|window| window == text).expect("in the file");
    let reason = |program: PathBuf| {
        let analysis = analyze(&program).expect("an analysis");
        assert_eq!(analysis.stacks, []);
        let [Refusal { library: Library::Go, reason }] = &analysis.refusals[..] else {
            panic!("{analysis:?}")
        };
        reason.clone()
    };

    // Of Go 1.18, and from 1.20 on.
    let is_table = |window: &[u8]| matches!(window, [0xf0 | 0xf1, 0xff, 0xff, 0xff, 0, 0, 1, 8]);
    let table = bytes.chunks_exact(8).position(is_table).expect("a table") * 8;
    let other = programs.changed(&original, |bytes| bytes[table] = 0xe0);
    assert!(matches!(reason(other), RefusalReason::Unsupported(why) if why.contains("function table")));

    // After the header of 32 bytes and the text's length.
    let version = find(b"\xff Go buildinf:") + 33;
    let old = programs.changed(&original, |bytes| bytes[version..version + 6].copy_from_slice(b"go1.16"));
    assert!(matches!(reason(old), RefusalReason::Unsupported(why) if why.contains("on the stack")));

    let analysis = analyze(&original).expect("an analysis");
    let read = &analysis.stacks[0].functions[0];
    let place = usize::try_from(read.returns.instructions[0].file_offset).expect("a place");
    let undecodable = programs.changed(&original, |bytes| bytes[place] = 0x06);
    assert!(matches!(reason(undecodable), RefusalReason::Contradiction(_)));

    // Any other damage gives something or nothing, but ends.
    let damaged = programs.folder.path().join("damaged");
    let module = find(&u64::to_le_bytes(0x40_1000));
    let places = prop::collection::vec((any::<bool>(), 0..4096_usize, any::<u8>()), 1..20);
    proptest!(ProptestConfig::with_cases(24), |(changes in places, end in 0..bytes.len())| {
        let mut bytes = bytes.clone();
        for (of_table, at, value) in changes {
            let at = if of_table { table + at % 512 } else { (module & !4095) + at };
            if let Some(byte) = bytes.get_mut(at) {
                *byte = value;
            }
        }
        fs::write(&damaged, &bytes).expect("written");
        let _ = analyze(&damaged);
        bytes.truncate(end);
        fs::write(&damaged, &bytes).expect("written");
        let _ = analyze(&damaged);
    });
}
