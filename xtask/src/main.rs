//! Development tasks, run as `cargo xtask <task>`.
//!
//! Everything that a plain `cargo build` or `cargo test` can't do: compile the kernel programs for the
//! BPF target, check what the project depends on, and run every test, with what they need, in one go.
//! Nothing here is shipped.

mod bench;
mod command;
mod dependencies;
mod ebpf;
mod fuzz;
mod manifest;
mod outcome;
mod prices;
mod requirements;
mod runtimes;
mod strip;
mod test;
mod toolchain;
mod workspace;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Development tasks of OISP Sensor.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Compile the kernel programs, one object for each CPU architecture, and write them with their
    /// manifest to crates/oisp-capture-ebpf/bpf
    BuildEbpf {
        /// Set up the distribution's compiler in the user's cache folder when no toolchain is found
        #[arg(long)]
        install: bool,
        /// Write nothing: compare with the objects in git, or, with a toolchain other than the one that
        /// made those, see that the sources compile
        #[arg(long)]
        check: bool,
    },
    /// Compile the kernel programs, then the whole workspace in release mode
    BuildAll {
        /// As for build-ebpf
        #[arg(long)]
        install: bool,
    },
    /// Run the tests; the default is --full
    Test {
        /// Formatting, lints and the tests that need neither root nor the kernel
        #[arg(long, conflicts_with = "full")]
        quick: bool,
        /// Everything: the kernel programs from source, every check, kernel and end-to-end tests too.
        /// Installs what is missing (Debian) and needs root
        #[arg(long)]
        full: bool,
    },
    /// Check licences, sources and duplicate versions of all dependencies against deny.toml
    Dependencies,
    /// Fuzz the parsers, each for a bounded time; needs a C++ compiler
    Fuzz {
        /// How long each target runs
        #[arg(long, value_name = "N", default_value_t = 10)]
        seconds: u64,
        /// Targets (files in fuzz/targets); the default is all
        #[arg(value_name = "TARGET")]
        targets: Vec<String>,
    },
    /// Fetch and build the runtimes that the end-to-end tests run on, the newest of each, into target/runtimes
    Runtimes {
        /// Every pinned release, and coding agents as shipped: some gigabytes
        #[arg(long)]
        all: bool,
        /// Fetch nothing: ask npm for the newest releases and pin them in xtask/runtimes.toml
        #[arg(long, conflicts_with_all = ["all", "names"])]
        update: bool,
        /// Every pinned release of these alone (bun, deno, rust-aws-lc, …)
        #[arg(value_name = "NAME")]
        names: Vec<String>,
    },
    /// Derive the price table anew from public data (the Python package genai-prices, MIT)
    UpdatePrices {
        /// The package's version; the default is the newest
        #[arg(long)]
        version: Option<String>,
    },
    /// Measure; lists what there is when none is named
    Bench {
        /// What to measure
        name: Option<String>,
        /// For the measurement, which says what it takes
        #[arg(last = true)]
        arguments: Vec<String>,
    },
}

fn main() -> ExitCode {
    match run(Arguments::parse().task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Without the backtrace that RUST_BACKTRACE asks anyhow for: these errors are for people.
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> Result<()> {
    match task {
        Task::BuildEbpf { install, check: false } => ebpf::write_objects(install),
        Task::BuildEbpf { install, check: true } => ebpf::check_objects(install),
        Task::BuildAll { install } => {
            ebpf::write_objects(install)?;
            command::run(command::cargo().args(["build", "--workspace", "--release", "--locked"]))
        }
        Task::Test { quick: true, .. } => test::quick(),
        Task::Test { .. } => test::full(),
        Task::Dependencies => dependencies::check(),
        Task::Fuzz { seconds, targets } => {
            println!("{}", fuzz::run(&targets, Duration::from_secs(seconds))?);
            Ok(())
        }
        Task::Runtimes { update: true, .. } => runtimes::update(),
        Task::Runtimes { all, names, .. } => runtimes::ensure(all, &names),
        Task::UpdatePrices { version } => prices::update(version.as_deref()),
        Task::Bench { name, arguments } => bench::run(name.as_deref(), &arguments),
    }
}
