//! Packages from npm's registry, by npm.

use std::fs;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use super::{Line, check_program, program_of, release_folder};
use crate::command;
use crate::runtimes::releases::Release;

/// What `npm pack --json` says of an archive.
#[derive(Deserialize)]
struct Packed {
    filename: String,
    integrity: String,
    size: u64,
}

/// Fetches and unpacks a release, unless it lies there.
pub(super) fn fetch(line: &Line, release: &Release) -> Result<()> {
    let folder = release_folder(line, release);
    if folder.exists() {
        return check_program(&program_of(line, release))
            .with_context(|| format!("delete {} to have it fetched again", folder.display()));
    }
    let parent = folder.parent().context("a folder of its own")?;
    fs::create_dir_all(parent).with_context(|| format!("can't make {}", parent.display()))?;
    // Renamed when it is whole, so that what lies there is.
    let unpacked = tempfile::tempdir_in(parent)?;
    let start = Instant::now();
    eprint!("{} {}: ", line.name, release.version);
    let package = format!("{}@{}", line.package, release.version);
    let said =
        command::output(npm().args(["pack", "--json", "--silent", &package]).current_dir(unpacked.path()))?;
    let packed: Vec<Packed> = serde_json::from_str(&said).with_context(|| format!("npm said {said}"))?;
    let [packed] = &packed[..] else { bail!("npm packed {} archives", packed.len()) };
    ensure!(
        packed.integrity == release.integrity,
        "the registry's archive has the digest {}, pinned is {}",
        packed.integrity,
        release.integrity
    );
    let archive = unpacked.path().join(&packed.filename);
    let size = archive.metadata().with_context(|| format!("no {}", archive.display()))?.len();
    ensure!(size == packed.size, "{size} bytes arrived of {}", packed.size);
    command::output(Command::new("tar").arg("xzf").arg(&archive).arg("-C").arg(unpacked.path()))?;
    fs::remove_file(&archive)?;
    let folder_made = unpacked.keep();
    fs::rename(&folder_made, &folder).with_context(|| format!("can't rename {}", folder_made.display()))?;
    eprintln!("{:.0} MB, {:.0} s", size as f64 / 1e6, start.elapsed().as_secs_f64());
    check_program(&program_of(line, release))
}

/// Every version of a package.
pub(super) fn versions(package: &str) -> Result<Vec<String>> {
    let said = command::output(npm().args(["view", "--json", package, "versions"]))?;
    serde_json::from_str(&said).with_context(|| format!("npm said of {package}: {said}"))
}

/// The digest of a version's archive.
pub(super) fn integrity(package: &str, version: &str) -> Result<String> {
    let package = format!("{package}@{version}");
    let said = command::output(npm().args(["view", "--json", &package, "dist.integrity"]))?;
    serde_json::from_str(&said).with_context(|| format!("npm said of {package}: {said}"))
}

fn npm() -> Command {
    Command::new("npm")
}
