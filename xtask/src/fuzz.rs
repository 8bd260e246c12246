//! Fuzzes the parsers: `cargo xtask fuzz`.
//!
//! The folder `fuzz` is laid out for cargo-fuzz, but needs it for extras only: coverage counters come from stable
//! compiler options, and the targets are programs that can be started. That saves the full test run the compilation
//! of cargo-fuzz, and a fresh machine a nightly compiler. Address sanitizer, which does need one of the unstable
//! compiler's options, is `cargo fuzz run TARGET`'s.

use std::env;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};

use crate::{command, workspace};

/// What makes code report to libFuzzer which branches it takes and what it compares.
const COVERAGE: &[&str] = &[
    "--cfg",
    "fuzzing",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
];

/// More memory than this is a finding.
const MEMORY_MEGABYTES: u32 = 1024;

/// A single input that takes longer is a finding. It hangs then, however loaded the machine is: the longest inputs
/// have 4 KiB.
const INPUT_SECONDS: u32 = 60;

/// What ran and found nothing.
pub(crate) struct Fuzzed {
    targets: usize,
    duration: Duration,
    executions: u64,
}

impl fmt::Display for Fuzzed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (targets, seconds) = (self.targets, self.duration.as_secs());
        write!(f, "{targets} targets for {seconds} s each, {} executions, nothing found", self.executions)
    }
}

/// Fuzzes the named targets, or all, for `duration` each, on every processor one. Every target runs even when an
/// earlier one finds something.
pub(crate) fn run(names: &[String], duration: Duration) -> Result<Fuzzed> {
    let all = targets()?;
    for name in names {
        ensure!(all.contains(name), "there is no target {name}; there are: {}", all.join(", "));
    }
    let chosen = if names.is_empty() { &all } else { names };
    // libFuzzer does not end when it is told to take no time.
    let duration = duration.max(Duration::from_secs(1));
    let programs = build(chosen)?;
    let waiting = Mutex::new(chosen.iter());
    let next = || waiting.lock().ok().and_then(|mut waiting| waiting.next());
    let work = || {
        let mut outcomes = Vec::new();
        while let Some(target) = next() {
            let outcome = fuzz(&programs.join(target), target, duration);
            match &outcome {
                Ok(executions) => eprintln!("{target:<16} {} s, {executions} executions", duration.as_secs()),
                Err(error) => eprintln!("FAILED: {error:#}"),
            }
            outcomes.push(outcome);
        }
        outcomes
    };
    let processors = thread::available_parallelism().map_or(1, usize::from);
    let outcomes: Vec<Result<u64>> = thread::scope(|scope| {
        let workers: Vec<_> = (0..processors.min(chosen.len())).map(|_| scope.spawn(work)).collect();
        let died = |_| vec![Err(anyhow!("a thread of xtask panicked"))];
        workers.into_iter().flat_map(|worker| worker.join().unwrap_or_else(died)).collect()
    });
    let findings: Vec<String> = outcomes
        .iter()
        .filter_map(|outcome| outcome.as_ref().err().map(|error| format!("{error:#}")))
        .collect();
    if !findings.is_empty() {
        bail!("{} of {} targets failed\n{}", findings.len(), chosen.len(), findings.join("\n"));
    }
    let executions = outcomes.into_iter().filter_map(Result::ok).sum();
    Ok(Fuzzed { targets: chosen.len(), duration, executions })
}

fn folder() -> PathBuf {
    workspace::root().join("fuzz")
}

/// The names of the targets: one file each.
fn targets() -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder().join("targets")).context("fuzz/targets")? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "rs")
            && let Some(name) = path.file_stem()
        {
            names.push(name.to_string_lossy().into_owned());
        }
    }
    names.sort();
    ensure!(!names.is_empty(), "fuzz/targets has no targets");
    Ok(names)
}

/// Compiles the targets and returns the folder of the programs.
fn build(names: &[String]) -> Result<PathBuf> {
    // libFuzzer is C++.
    if !command::succeeds(Command::new("c++").arg("--version")) {
        bail!("fuzzing needs a C++ compiler: install one (Debian: apt-get install g++)");
    }
    let host = command::output(Command::new("rustc").arg("-vV"))?
        .lines()
        .find_map(|line| line.strip_prefix("host: ").map(str::to_owned))
        .context("rustc -vV names no host")?;
    let built = workspace::target().join("fuzz");
    let mut cargo = command::cargo();
    // With a target named, the options are not for build scripts.
    cargo.args(["build", "--locked", "--manifest-path", "fuzz/Cargo.toml", "--target", &host]);
    for name in names {
        cargo.args(["--bin", name]);
    }
    cargo
        .env("CARGO_TARGET_DIR", &built)
        .env("CARGO_INCREMENTAL", "0")
        .env("CARGO_ENCODED_RUSTFLAGS", COVERAGE.join("\u{1f}"))
        .env_remove("RUSTFLAGS");
    command::run(&mut cargo).context(
        "the fuzz targets did not compile. When it says that the lock file needs an update: \
         `cargo update --workspace --manifest-path fuzz/Cargo.toml`",
    )?;
    Ok(built.join(host).join("debug"))
}

/// Runs one target and returns how many inputs it was given.
fn fuzz(program: &Path, target: &str, duration: Duration) -> Result<u64> {
    let corpus = folder().join("corpus").join(target);
    let artifacts = folder().join("artifacts").join(target);
    for folder in [&corpus, &artifacts] {
        fs::create_dir_all(folder).with_context(|| format!("could not create {}", folder.display()))?;
    }
    let seeds = folder().join("seeds").join(target);
    ensure!(seeds.is_dir(), "{target}: it has no seeds: add some to fuzz/seeds/make.py");
    let mut run = Command::new(program);
    run.arg(format!("-max_total_time={}", duration.as_secs()))
        .arg(format!("-timeout={INPUT_SECONDS}"))
        .arg(format!("-rss_limit_mb={MEMORY_MEGABYTES}"))
        .arg(format!("-artifact_prefix={}/", artifacts.display()))
        .arg("-verbosity=0")
        .arg("-print_final_stats=1")
        // What is found goes to the first folder; the seeds stay as they are.
        .arg(&corpus)
        .arg(seeds)
        .stdin(Stdio::null());
    let output = run.output().with_context(|| format!("could not start {}", program.display()))?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        let newest = newest(&artifacts);
        let input = newest.as_deref().map_or_else(|| "INPUT".to_owned(), |path| path.display().to_string());
        bail!(
            "{target}: an input breaks it. Once more:\n    {} {input}\n\
             smaller:\n    {0} -minimize_crash=1 -max_total_time=30 {input}\n\
             Keep it as a unit test of the crate, then mend it.\n{}",
            shown(program),
            telling(&said),
        );
    }
    let executions = executions(&said);
    ensure!(executions > 0, "{target}: it executed nothing\n{}", telling(&said));
    Ok(executions)
}

/// What libFuzzer's statistics say at the end of a run.
fn executions(said: &str) -> u64 {
    let mut numbers = said.lines().filter_map(|line| line.strip_prefix("stat::number_of_executed_units:"));
    numbers.next_back().and_then(|number| number.trim().parse().ok()).unwrap_or(0)
}

/// The lines that tell what happened, without those that libFuzzer writes in every run.
fn telling(said: &str) -> String {
    const USUAL: &[&str] = &["INFO:", "WARNING:", "NEW_FUNC", "stat::", "######", "\""];
    let told = said.lines().map(str::trim).filter(|line| !line.is_empty());
    let told: Vec<&str> =
        told.filter(|line| !USUAL.iter().any(|usual| line.starts_with(usual))).take(20).collect();
    told.join("\n")
}

fn newest(folder: &Path) -> Option<PathBuf> {
    let files = fs::read_dir(folder).ok()?.filter_map(Result::ok);
    files.max_by_key(|file| file.metadata().and_then(|data| data.modified()).ok()).map(|file| file.path())
}

/// The path as one would type it at the root of the checkout.
fn shown(path: &Path) -> String {
    let here = env::current_dir().unwrap_or_default();
    path.strip_prefix(here).unwrap_or(path).display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUN: &str = "\
INFO: Running with entropic power schedule (0xFF, 100).
\tNEW_FUNC[1/3]: 0x5616e2c0dde1
\"\\000\\000\" # Uses: 40915
stat::number_of_executed_units: 2305169
stat::average_exec_per_sec:     768389
";

    #[test]
    fn executions_are_those_of_the_statistics_and_none_where_there_are_none() {
        assert_eq!(executions(RUN), 2_305_169);
        assert_eq!(executions("INFO: seed corpus: files: 2"), 0);
    }

    #[test]
    fn a_failed_run_is_told_without_what_every_run_says() {
        let failed = format!("{RUN}thread '<unnamed>' panicked at body.rs:1:2:\n one response end\n");
        assert_eq!(telling(&failed), "thread '<unnamed>' panicked at body.rs:1:2:\none response end");
    }
}
