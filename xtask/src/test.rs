//! Runs the tests: `cargo xtask test`.

use std::collections::BTreeSet;
use std::env;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use crate::command;
use crate::dependencies;
use crate::ebpf::{self, Warnings};
use crate::fuzz;
use crate::outcome::{Counts, Reader};
use crate::requirements;
use crate::runtimes;
use crate::toolchain::Toolchain;

/// Tests that need root and this machine's kernel. A run that calls itself full fails when one of them has
/// executed nothing.
const SYSTEM_TESTS: [SystemTest; 4] = [
    SystemTest { title: "kernel tests", package: "oisp-capture-ebpf", target: "kernel" },
    SystemTest { title: "kernel tests, whole host", package: "oisp-capture-ebpf", target: "kernel_host" },
    SystemTest { title: "end-to-end tests", package: "oisp-sensor", target: "end_to_end" },
    SystemTest { title: "end-to-end tests, whole host", package: "oisp-sensor", target: "end_to_end_host" },
];

/// How long the full run fuzzes each target: enough for what a change breaks at once.
const FUZZING: Duration = Duration::from_secs(5);

struct SystemTest {
    title: &'static str,
    package: &'static str,
    /// `tests/<target>.rs` of the package.
    target: &'static str,
}

/// What every change should pass.
pub(crate) fn quick() -> Result<()> {
    let mut run = Run::default();
    run.checks();
    run.ordinary_tests(|_| ());
    run.finish()
}

/// Everything.
pub(crate) fn full() -> Result<()> {
    let mut run = Run::default();
    run.check("requirements", requirements::ensure);
    run.check("runtimes", || runtimes::ensure(false, &[]));
    let mut built = None;
    run.check("kernel programs", || {
        let objects = ebpf::compile(&Toolchain::find_or_install()?, Warnings::Deny)?;
        let object = objects.for_this_machine()?.to_path_buf();
        let comparison = ebpf::compare_with_committed(&objects);
        built = Some(object);
        println!("{}", comparison?);
        Ok(())
    });
    run.checks();
    run.check("dependencies", dependencies::check);

    // Tests run on what was just compiled, not on the objects in git.
    let with_object = |command: &mut Command, object: Option<&Path>| {
        requirements::set_environment(command);
        if let Some(object) = object {
            command.env("OISP_EBPF_OBJECT", object);
        }
    };
    run.ordinary_tests(|command| {
        with_object(command, built.as_deref());
        // Without the outside data, which is not part of this repository, tests of it skip and say so.
        if ["OISP_CORPUS", "OISP_SPEC"].iter().all(|name| env::var_os(name).is_some()) {
            command.env("OISP_REQUIRE_ALL", "1");
        }
    });
    run.fuzzing();
    let targets = test_targets();
    for test in &SYSTEM_TESTS {
        run.tests(test.title, || {
            ensure!(
                targets.as_ref().is_ok_and(|targets| targets.contains(&(test.package, test.target))),
                "did not run: the package {} has no tests/{}.rs",
                test.package,
                test.target
            );
            let object = built.as_deref().context("did not run: the kernel programs did not compile")?;
            let mut command = cargo_test();
            command.args(["--workspace", "--test", test.target]);
            with_object(&mut command, Some(object));
            let outcome = execute(command.env("OISP_REQUIRE_ALL", "1"))?;
            if outcome.counts.passed + outcome.counts.failed == 0 {
                return Ok(Outcome { error: Some("no test ran".to_owned()), ..outcome });
            }
            Ok(outcome)
        });
    }
    run.finish()
}

/// One run of several steps; a failed step does not keep the next from running.
#[derive(Default)]
struct Run {
    steps: Vec<Step>,
    counts: Counts,
}

struct Step {
    title: String,
    duration: Duration,
    counts: Option<Counts>,
    /// What ran, where that is not counted in tests.
    detail: String,
    error: Option<String>,
}

struct Outcome {
    counts: Counts,
    error: Option<String>,
}

impl Run {
    fn checks(&mut self) {
        self.check("format", || command::run(command::cargo().args(["fmt", "--all", "--check"])));
        self.check("lints", || {
            let mut clippy = command::cargo();
            clippy.args(["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"]);
            command::run(&mut clippy)
        });
    }

    /// Unit and integration tests, and the examples in the documentation.
    fn ordinary_tests(&mut self, prepare: impl Fn(&mut Command)) {
        self.tests("unit tests", || {
            let targets = test_targets()?;
            let mut command = cargo_test();
            command.args(["--workspace", "--lib", "--bins"]);
            let names: BTreeSet<&str> = targets
                .iter()
                .map(|(_, target)| target)
                .filter(|target| !SYSTEM_TESTS.iter().any(|test| test.target == *target))
                .collect();
            for name in names {
                command.args(["--test", name]);
            }
            prepare(&mut command);
            execute(&mut command)
        });
        self.tests("documentation tests", || {
            let mut command = cargo_test();
            command.args(["--workspace", "--doc"]);
            prepare(&mut command);
            execute(&mut command)
        });
    }

    fn fuzzing(&mut self) {
        let mut detail = String::new();
        self.check("fuzzing", || {
            detail = fuzz::run(&[], FUZZING)?.to_string();
            println!("{detail}");
            Ok(())
        });
        if let Some(step) = self.steps.last_mut() {
            step.detail = detail;
        }
    }

    fn check(&mut self, title: &str, check: impl FnOnce() -> Result<()>) {
        self.step(title, || (None, check().err().map(|error| format!("{error:#}"))));
    }

    fn tests(&mut self, title: &str, tests: impl FnOnce() -> Result<Outcome>) {
        self.step(title, || match tests() {
            Ok(outcome) => (Some(outcome.counts), outcome.error),
            Err(error) => (None, Some(format!("{error:#}"))),
        });
    }

    fn step(&mut self, title: &str, step: impl FnOnce() -> (Option<Counts>, Option<String>)) {
        eprintln!("\n=== {title}");
        let start = Instant::now();
        let (counts, error) = step();
        if let Some(error) = &error {
            eprintln!("FAILED: {title}: {error}");
        }
        self.counts += counts.unwrap_or_default();
        // A failure that is not a test's counts as one, so that the last line never looks better than the run.
        if error.is_some() && counts.is_none_or(|counts| counts.failed == 0) {
            self.counts.failed += 1;
        }
        let (title, duration) = (title.to_owned(), start.elapsed());
        self.steps.push(Step { title, duration, counts, detail: String::new(), error });
    }

    /// Prints the table and the counts.
    fn finish(self) -> Result<()> {
        println!();
        for step in &self.steps {
            let verdict = if step.error.is_some() { "FAILED" } else { "ok" };
            let what = step.counts.map_or_else(|| step.detail.clone(), |counts| counts.to_string());
            println!("{verdict:<7}{:>6.1} s  {:<20} {what}", step.duration.as_secs_f64(), step.title);
            if let Some(error) = &step.error {
                println!("{:17}{}", "", error.lines().next().unwrap_or_default());
            }
        }
        println!("{}", self.counts);
        std::io::stdout().flush()?;
        let failed = self.steps.iter().filter(|step| step.error.is_some()).count();
        if failed > 0 {
            bail!("{failed} of {} steps failed", self.steps.len());
        }
        Ok(())
    }
}

fn cargo_test() -> Command {
    let mut command = command::cargo();
    command.args(["test", "--locked", "--no-fail-fast"]);
    command
}

/// Runs a `cargo test` command and counts while its output passes by.
fn execute(command: &mut Command) -> Result<Outcome> {
    command.args(["--", "--show-output"]);
    let line = command::line(command);
    eprintln!("$ {line}");
    let mut child =
        command.stdout(Stdio::piped()).spawn().with_context(|| format!("could not start `{line}`"))?;
    let stdout = child.stdout.take().context("cargo has no standard output")?;
    let mut reader = Reader::default();
    for text in BufReader::new(stdout).split(b'\n') {
        let text = text?;
        let text = String::from_utf8_lossy(&text);
        if reader.line(&text) {
            println!("{text}");
        }
    }
    let status = child.wait()?;
    let error = (!status.success()).then(|| format!("`{line}` failed: {status}"));
    Ok(Outcome { counts: reader.counts(), error })
}

/// The integration tests of the workspace.
struct Targets(BTreeSet<(String, String)>);

impl Targets {
    fn contains(&self, target: &(&str, &str)) -> bool {
        self.iter().any(|(package, name)| (package, name) == *target)
    }

    fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(package, target)| (package.as_str(), target.as_str()))
    }
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    targets: Vec<Target>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

fn test_targets() -> Result<Targets> {
    let text = command::output(command::cargo().args([
        "metadata",
        "--locked",
        "--no-deps",
        "--format-version",
        "1",
    ]))?;
    let metadata: Metadata = serde_json::from_str(&text).context("cargo metadata")?;
    let targets = metadata.packages.into_iter().flat_map(|package| {
        let tests =
            package.targets.into_iter().filter(|target| target.kind.iter().any(|kind| kind == "test"));
        tests.map(|target| (package.name.clone(), target.name)).collect::<Vec<_>>()
    });
    Ok(Targets(targets.collect()))
}
