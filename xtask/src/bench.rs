//! Measures: `cargo xtask bench`. Nothing here passes or fails: figures depend on the machine.

use anyhow::{Result, bail};

use crate::command;

/// A measurement: a bench target of a package.
struct Bench {
    name: &'static str,
    package: &'static str,
    says: &'static str,
}

const BENCHES: &[Bench] = &[
    Bench {
        name: "decode",
        package: "oisp-decode",
        says: "protocol decoding on one core: throughput, cost of a byte by size, allocations of a message",
    },
    Bench {
        name: "interpret",
        package: "oisp-ai",
        says: "decoding and interpreting calls of models on one core, beside reading their JSON",
    },
    Bench {
        name: "probe",
        package: "oisp-sensor",
        says: "what a TLS call costs the program that makes it, beside a bpftrace script (root)",
    },
    Bench {
        name: "overload",
        package: "oisp-sensor",
        says: "two minutes of more traffic than can be taken: memory, drops, and whether every drop is counted",
    },
];

/// Runs one, or lists them.
pub(crate) fn run(name: Option<&str>, arguments: &[String]) -> Result<()> {
    let Some(name) = name else {
        for bench in BENCHES {
            println!("{:<9} {}", bench.name, bench.says);
        }
        return Ok(());
    };
    let Some(bench) = BENCHES.iter().find(|bench| bench.name == name) else {
        bail!("there is no bench {name}; `cargo xtask bench` lists them");
    };
    let mut cargo = command::cargo();
    cargo.args(["bench", "--locked", "--package", bench.package, "--bench", bench.name, "--"]);
    command::run(cargo.args(arguments))
}
