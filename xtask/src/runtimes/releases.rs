//! The pinned releases: `xtask/runtimes.toml`.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::workspace;

const HEADING: &str =
    "# What the tests of real runtimes run on; written by `cargo xtask runtimes --update`.\n\n";

/// All of them, a line's newest last.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Releases {
    pub(super) release: Vec<Release>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Release {
    /// The line's.
    pub(super) name: String,
    pub(super) version: String,
    /// The archive's digest as the registry states it, `sha512-…` in base64.
    pub(super) integrity: String,
}

impl Releases {
    pub(super) fn read() -> Result<Self> {
        let file = file();
        let text = fs::read_to_string(&file).with_context(|| format!("can't read {}", file.display()))?;
        toml::from_str(&text).with_context(|| format!("{} is not as expected", file.display()))
    }

    pub(super) fn write(&self) -> Result<()> {
        let file = file();
        let text = toml::to_string(self).context("releases")?;
        fs::write(&file, HEADING.to_owned() + &text)
            .with_context(|| format!("can't write {}", file.display()))
    }
}

fn file() -> PathBuf {
    workspace::root().join("xtask/runtimes.toml")
}
