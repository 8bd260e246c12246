//! Fuzzes the parsers: `cargo xtask fuzz`.
//!
//! The folder `fuzz` is laid out for cargo-fuzz, but needs it for extras only: coverage counters come from stable
//! compiler options, and the targets are programs that can be started. That saves the full test run the compilation
//! of cargo-fuzz, and a fresh machine a nightly compiler. Address sanitizer, which does need one of the unstable
//! compiler's options, is `cargo fuzz run TARGET`'s.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

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

/// A single input that takes longer is a finding.
const INPUT_SECONDS: u32 = 25;

/// Fuzzes the named targets, or all, for `duration` each. Every target runs even when an earlier one finds something.
pub(crate) fn run(names: &[String], duration: Duration) -> Result<()> {
    let all = targets()?;
    for name in names {
        ensure!(all.contains(name), "there is no target {name}; there are: {}", all.join(", "));
    }
    let chosen = if names.is_empty() { &all } else { names };
    let programs = build(chosen)?;
    let mut findings = Vec::new();
    for target in chosen {
        if let Err(error) = fuzz(&programs.join(target), target, duration) {
            eprintln!("FAILED: {error:#}");
            findings.push(format!("{error:#}"));
        }
    }
    if !findings.is_empty() {
        bail!("{} of {} targets failed\n{}", findings.len(), chosen.len(), findings.join("\n"));
    }
    println!("fuzzed {} targets for {} s each: nothing found", chosen.len(), duration.as_secs());
    Ok(())
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
    cargo.args(["build", "--release", "--locked", "--manifest-path", "fuzz/Cargo.toml", "--target", &host]);
    for name in names {
        cargo.args(["--bin", name]);
    }
    cargo
        .env("CARGO_TARGET_DIR", &built)
        .env("CARGO_ENCODED_RUSTFLAGS", COVERAGE.join("\u{1f}"))
        .env_remove("RUSTFLAGS");
    command::run(&mut cargo).context(
        "the fuzz targets did not compile. When it says that the lock file needs an update: \
         `cargo update --workspace --manifest-path fuzz/Cargo.toml`",
    )?;
    Ok(built.join(host).join("release"))
}

fn fuzz(program: &Path, target: &str, duration: Duration) -> Result<()> {
    let corpus = folder().join("corpus").join(target);
    let artifacts = folder().join("artifacts").join(target);
    for folder in [&corpus, &artifacts] {
        fs::create_dir_all(folder).with_context(|| format!("could not create {}", folder.display()))?;
    }
    let mut run = Command::new(program);
    run.arg(format!("-max_total_time={}", duration.as_secs().max(1)))
        .arg(format!("-timeout={INPUT_SECONDS}"))
        .arg(format!("-rss_limit_mb={MEMORY_MEGABYTES}"))
        .arg(format!("-artifact_prefix={}/", artifacts.display()))
        .arg("-verbosity=0")
        .arg("-print_final_stats=1")
        // What is found goes to the first folder; the seeds stay as they are.
        .arg(&corpus);
    let seeds = folder().join("seeds").join(target);
    ensure!(seeds.is_dir(), "{target}: it has no seeds: add some to fuzz/seeds/make.py");
    run.arg(seeds);
    if command::run(&mut run).is_err() {
        let newest = newest(&artifacts);
        let input = newest.as_deref().map_or_else(|| "INPUT".to_owned(), |path| path.display().to_string());
        bail!(
            "{target}: an input breaks it. Once more:\n    {} {input}\n\
             smaller:\n    {0} -minimize_crash=1 -max_total_time=30 {input}\n\
             Keep it as a unit test of the crate, then mend it.",
            shown(program),
        );
    }
    Ok(())
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
