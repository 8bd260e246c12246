//! The price table of `oisp-ai`, derived anew from the package genai-prices (MIT).

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::command;
use crate::workspace;

const TABLE: &str = "crates/oisp-ai/src/prices/table.json";

/// Fetches the package, the newest or the given version, and writes the table.
pub(crate) fn update(version: Option<&str>) -> Result<()> {
    let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
    let environment = folder.path().join("python");
    command::run(Command::new("python3").args(["-m", "venv"]).arg(&environment))?;
    let package =
        version.map_or_else(|| "genai-prices".to_owned(), |version| format!("genai-prices=={version}"));
    let python = environment.join("bin/python");
    command::run(Command::new(&python).args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        &package,
    ]))?;
    let today = command::output(Command::new("date").args(["--utc", "+%Y-%m-%d"]))?;
    let script = workspace::root().join("xtask/src/prices/convert.py");
    let text = command::output(Command::new(&python).arg(script).arg(today.trim()))?;

    let path = workspace::root().join(TABLE);
    let new = models(&text).context("the package gave no table")?;
    let old = fs::read_to_string(&path).ok().and_then(|text| models(&text).ok()).unwrap_or_default();
    // Fewer than half of them would be another package than the script was written for.
    ensure!(new.len() >= 500 && new.len() * 2 > old.len(), "the package has only {} models", new.len());
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    let changed = new.iter().filter(|line| !old.contains(line)).count();
    println!("{TABLE}: {} models, {changed} of them new or changed; run the tests of oisp-ai", new.len());
    Ok(())
}

/// Each model with its service, as text.
fn models(table: &str) -> Result<Vec<String>> {
    let table: Value = serde_json::from_str(table)?;
    let providers = table["providers"].as_array().context("it has no providers")?;
    Ok(providers
        .iter()
        .flat_map(|provider| {
            let models = provider["models"].as_array().into_iter().flatten();
            models.map(|model| format!("{} {model}", provider["id"]))
        })
        .collect())
}
