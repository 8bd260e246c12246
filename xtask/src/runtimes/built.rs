//! Programs that are made here: of a pinned runtime, or from source.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result};
use sha2::{Digest as _, Sha256};

use super::releases::Releases;
use super::{check_program, folder, program_named};
use crate::command;
use crate::workspace;

/// One program.
pub(super) struct Build {
    pub(super) name: &'static str,
    pub(super) version: String,
    /// Made for every full test run.
    pub(super) newest: bool,
    how: How,
}

enum How {
    /// A script, with this release of Bun in front.
    BunCompiled,
    Rust(&'static Rust),
}

/// A Rust program of the test kit, in release mode, with LTO, stripped afterwards.
struct Rust {
    name: &'static str,
    version: &'static str,
    feature: &'static str,
    opt_level: &'static str,
    panic: &'static str,
    newest: bool,
}

const RUST: &[Rust] = &[
    Rust { newest: true, ..AWS_LC },
    Rust { version: "O3, abort", panic: "abort", ..AWS_LC },
    Rust { version: "Os, unwind", opt_level: "s", ..AWS_LC },
    Rust { version: "Os, abort", opt_level: "s", panic: "abort", ..AWS_LC },
    Rust { name: "rust-ring", feature: "ring", newest: true, ..AWS_LC },
    Rust { name: "rust-openssl", feature: "openssl", ..AWS_LC },
];

const AWS_LC: Rust = Rust {
    name: "rust-aws-lc",
    version: "O3, unwind",
    feature: "aws-lc",
    opt_level: "3",
    panic: "unwind",
    newest: false,
};

/// Of the lines here.
pub(super) const NAMES: [&str; 4] = ["bun-compiled", "rust-aws-lc", "rust-ring", "rust-openssl"];

const SCRIPT: &str = "crates/oisp-testkit/clients/fetch_call.mjs";
const CRATE: &str = "crates/oisp-testkit/programs/rustls-client";

/// All of them: of Bun the oldest and the newest that are pinned.
pub(super) fn builds(releases: &Releases) -> Vec<Build> {
    let bun: Vec<&str> = releases
        .release
        .iter()
        .filter(|release| release.name == "bun")
        .map(|release| release.version.as_str())
        .collect();
    let compiled = bun.first().into_iter().chain(bun.last().filter(|_| bun.len() > 1));
    let compiled = compiled.map(|version| Build {
        name: "bun-compiled",
        version: (*version).to_owned(),
        newest: bun.last() == Some(version),
        how: How::BunCompiled,
    });
    let rust = RUST.iter().map(|rust| Build {
        name: rust.name,
        version: rust.version.to_owned(),
        newest: rust.newest,
        how: How::Rust(rust),
    });
    compiled.chain(rust).collect()
}

/// Where the newest Rust programs are as they were built, with their symbols; the tests read it as `OISP_TEST_PROGRAMS`.
pub(crate) fn with_symbols() -> PathBuf {
    folder().join("with-symbols")
}

impl Build {
    pub(super) fn program(&self) -> PathBuf {
        self.folder().join("call")
    }

    fn folder(&self) -> PathBuf {
        folder().join(self.name).join(self.version.replace(", ", "-"))
    }

    /// Makes it, unless it was made of the same.
    pub(super) fn make(&self) -> Result<()> {
        let made_of = self.made_of()?;
        let mark = self.folder().join("made-of");
        if fs::read_to_string(&mark).is_ok_and(|before| before == made_of) && self.program().exists() {
            return check_program(&self.program());
        }
        fs::create_dir_all(self.folder())
            .with_context(|| format!("can't make {}", self.folder().display()))?;
        eprintln!("{} {}: building", self.name, self.version);
        let start = Instant::now();
        match &self.how {
            How::BunCompiled => {
                let bun = program_named("bun", &self.version).context("Bun has a line")?;
                check_program(&bun).context("fetch bun first")?;
                // It downloads nothing: the program in front is the one that compiles.
                command::output(
                    Command::new(bun)
                        .args(["build", "--compile", "--outfile"])
                        .arg(self.program())
                        .arg(workspace::root().join(SCRIPT)),
                )?;
            }
            How::Rust(rust) => {
                let built = rust.build()?;
                if rust.newest {
                    fs::create_dir_all(with_symbols())?;
                    fs::copy(&built, with_symbols().join(format!("rustls-client-{}", rust.feature)))?;
                }
                command::output(Command::new("strip").arg("-o").arg(self.program()).arg(built))?;
            }
        }
        check_program(&self.program())?;
        fs::write(&mark, made_of)?;
        eprintln!("{} {}: {:.0} s", self.name, self.version, start.elapsed().as_secs_f64());
        Ok(())
    }

    /// The digest of what it is made of.
    fn made_of(&self) -> Result<String> {
        let mut digest = Sha256::new();
        let mut add = |file: &Path| -> Result<()> {
            digest.update(fs::read(file).with_context(|| format!("can't read {}", file.display()))?);
            Ok(())
        };
        match &self.how {
            How::BunCompiled => add(&workspace::root().join(SCRIPT))?,
            How::Rust(rust) => {
                let folder = workspace::root().join(CRATE);
                for file in ["Cargo.toml", "Cargo.lock", "src/main.rs"] {
                    add(&folder.join(file))?;
                }
                digest.update(rust.arguments().join(" "));
            }
        }
        Ok(digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

impl Rust {
    fn arguments(&self) -> Vec<String> {
        let mut arguments =
            ["build", "--release", "--locked", "--no-default-features"].map(str::to_owned).to_vec();
        arguments.push(format!("--features={}", self.feature));
        for setting in [
            "lto=\"fat\"".to_owned(),
            "codegen-units=1".to_owned(),
            format!("opt-level={}", if self.opt_level == "s" { "\"s\"" } else { self.opt_level }),
            format!("panic=\"{}\"", self.panic),
        ] {
            arguments.push(format!("--config=profile.release.{setting}"));
        }
        arguments
    }

    /// Builds it and says where it stands.
    fn build(&self) -> Result<PathBuf> {
        let target = folder().join("build");
        let mut cargo = command::cargo();
        cargo
            .args(self.arguments())
            .arg("--manifest-path")
            .arg(workspace::root().join(CRATE).join("Cargo.toml"))
            .env("CARGO_TARGET_DIR", &target);
        command::run(&mut cargo)?;
        Ok(target.join("release/rustls-client"))
    }
}
