//! What there is to run, and how it is run.

use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::support::{Provider, is_missing};

/// A program in the folder of runtimes.
pub(crate) struct Program {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) path: PathBuf,
    /// Among those that every full run takes.
    pub(crate) newest: bool,
}

/// One way to call the provider.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// Three calls one after the other, answered in one piece.
    Plain,
    /// The same, answered as a stream.
    Streamed,
    /// Eight calls at once, each on a connection of its own, answered as streams.
    EightAtOnce,
    /// Eight calls at once on one connection.
    Http2,
}

/// Answers that take their time, so that calls that are made at once are in progress at once.
const MODEL: &str = "fake-answer-3000-chunks-40-delay-2ms";

impl Way {
    pub(crate) const ALL: [Self; 4] = [Self::Plain, Self::Streamed, Self::EightAtOnce, Self::Http2];

    pub(crate) fn calls(self) -> usize {
        if matches!(self, Self::Plain | Self::Streamed) { 3 } else { 8 }
    }
}

/// Where `cargo xtask runtimes` has put them, with Debian's browser.
pub(crate) fn installed() -> Option<Vec<Program>> {
    let Some(folder) = std::env::var_os("OISP_TEST_RUNTIMES").map(PathBuf::from) else {
        is_missing(&"OISP_TEST_RUNTIMES is not set: cargo xtask runtimes");
        return None;
    };
    let list = folder.join("programs.json");
    let text = std::fs::read_to_string(&list)
        .unwrap_or_else(|error| panic!("{}: {error}: cargo xtask runtimes", list.display()));
    let list: Vec<Value> = serde_json::from_str(&text).unwrap();
    let mut programs: Vec<Program> = list
        .iter()
        .map(|program| Program {
            name: program["name"].as_str().unwrap().to_owned(),
            version: program["version"].as_str().unwrap().to_owned(),
            path: program["path"].as_str().unwrap().into(),
            newest: program["newest"].as_bool().unwrap(),
        })
        .collect();
    assert!(!programs.is_empty(), "cargo xtask runtimes");
    programs.extend(chromium());
    Some(programs)
}

/// Debian's; its version changes with security updates, so it has none here.
fn chromium() -> Option<Program> {
    let path = PathBuf::from("/usr/lib/chromium/chromium");
    if !path.exists() {
        is_missing(&"Chromium is missing; install it with: apt-get install chromium");
        return None;
    }
    Some(Program { name: "chromium".to_owned(), version: "Debian's".to_owned(), path, newest: true })
}

impl Program {
    /// Coding agents have no script to run: what is in them is looked at.
    pub(crate) fn is_agent(&self) -> bool {
        ["claude-code", "codex", "opencode", "amp", "copilot", "cline"].contains(&self.name.as_str())
    }

    /// Its TLS cannot be located, and this is why.
    pub(crate) fn refusal(&self) -> Option<&'static str> {
        let is_ring = self.name == "rust-ring" || self.name == "deno" && self.version.starts_with("2.2.");
        is_ring.then_some("ring's functions cannot be located without symbols")
    }

    /// The command for one way to call; `None` where it does not know that way.
    pub(crate) fn command(&self, way: Way, provider: &Provider, home: &std::path::Path) -> Option<Command> {
        let mut command = Command::new(&self.path);
        // Nothing of the user's own, and no proxy.
        command.env_clear().env("HOME", home).env("PATH", "/usr/bin:/bin").env("MODEL", MODEL);
        let ca = provider.ca_file();
        match self.name.as_str() {
            "deno" => {
                command.args(["run", "--quiet", "--no-lock", "--no-config", "--allow-all", "--cert"]).arg(ca);
                command.arg(provider.script());
                command.env("DENO_NO_UPDATE_CHECK", "1").env("DENO_DIR", home.join("deno"));
                // Its fetch takes HTTP/2 where it is offered; its http2 module is not what its programs use.
                self.script_arguments(&mut command, way, "fetch", provider);
            }
            "node" | "bun" | "bun-baseline" => {
                command.arg(provider.script()).env("NODE_EXTRA_CA_CERTS", ca);
                self.script_arguments(
                    &mut command,
                    way,
                    if way == Way::Http2 { "http2" } else { "fetch" },
                    provider,
                );
            }
            "bun-compiled" => {
                command.env("NODE_EXTRA_CA_CERTS", ca);
                self.script_arguments(
                    &mut command,
                    way,
                    if way == Way::Http2 { "http2" } else { "fetch" },
                    provider,
                );
            }
            "rust-aws-lc" | "rust-ring" | "rust-openssl" => {
                command.arg(provider.base_url()).arg(ca);
                match way {
                    Way::Plain => command.args(["plain", "1", "3"]),
                    Way::Streamed => command.args(["stream", "1", "3"]),
                    Way::EightAtOnce => command.args(["stream", "8", "1"]),
                    Way::Http2 => command.args(["stream", "1", "8", "http2"]),
                };
            }
            "chromium" => {
                if way != Way::Plain {
                    return None;
                }
                command.args([
                    "--headless",
                    "--no-sandbox",
                    "--disable-gpu",
                    "--disable-quic",
                    "--no-first-run",
                    "--disable-background-networking",
                    "--disable-component-update",
                    "--disable-sync",
                    "--disable-dev-shm-usage",
                    "--ignore-certificate-errors",
                    "--dump-dom",
                ]);
                command.arg(format!("--user-data-dir={}", home.join("browser").display()));
                command.arg(format!("{}/", provider.base_url()));
            }
            _ => return None,
        }
        Some(command)
    }

    fn script_arguments(&self, command: &mut Command, way: Way, module: &str, provider: &Provider) {
        // Bun 1.1 sends more than the window of HTTP/2 lets it, recorded or not, and a server may end that stream.
        let ignores_window =
            module == "http2" && self.name.starts_with("bun") && self.version.starts_with("1.1.");
        let bytes = if ignores_window { "6000" } else { "20000" };
        command.args(["--provider", "openai", "--base", provider.base_url(), "--module", module]);
        command.args(["--model", MODEL, "--bytes", bytes, "--requests", &way.calls().to_string()]);
        if way != Way::Plain {
            command.arg("--stream");
        }
        if way == Way::EightAtOnce || way == Way::Http2 && module == "fetch" {
            command.arg("--parallel");
        }
        if way == Way::Http2 && module == "fetch" {
            command.arg("--first-alone");
        }
    }
}
