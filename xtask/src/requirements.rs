//! What the full test run needs on the machine, and how to get it.
//!
//! To add something, add a line to [`REQUIREMENTS`]: how to see that it is there, and how to install it.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::command;
use crate::workspace;

struct Requirement {
    name: &'static str,
    /// Which tests want it.
    purpose: &'static str,
    probe: Probe,
    install: Install,
}

/// Present when…
enum Probe {
    /// …this command succeeds.
    Runs(&'static [&'static str]),
    /// …the tests' Python has these packages, `name==version`.
    Python(&'static [&'static str]),
}

enum Install {
    Debian(&'static [&'static str]),
    RustupComponent(&'static str),
    /// Into the tests' own virtual environment.
    Python(&'static [&'static str]),
}

const PYTHON_PACKAGES: &[&str] =
    &["anthropic==2.12.0", "h2==4.4.1", "httpx==0.28.1", "openai==3.54.0", "websockets==17.4"];

/// In the order of installation: later ones may need earlier ones.
const REQUIREMENTS: &[Requirement] = &[
    Requirement {
        name: "rustfmt",
        purpose: "format check",
        probe: Probe::Runs(&["cargo", "fmt", "--version"]),
        install: Install::RustupComponent("rustfmt"),
    },
    Requirement {
        name: "clippy",
        purpose: "lints",
        probe: Probe::Runs(&["cargo", "clippy", "--version"]),
        install: Install::RustupComponent("clippy"),
    },
    Requirement {
        name: "C++ compiler",
        purpose: "fuzzing: libFuzzer is C++",
        probe: Probe::Runs(&["c++", "--version"]),
        install: Install::Debian(&["g++"]),
    },
    Requirement {
        name: "OpenSSL",
        purpose: "kernel and end-to-end tests: the library to probe",
        probe: Probe::Runs(&["openssl", "version"]),
        install: Install::Debian(&["openssl"]),
    },
    Requirement {
        name: "curl",
        purpose: "end-to-end tests: a client",
        probe: Probe::Runs(&["curl", "--version"]),
        install: Install::Debian(&["curl"]),
    },
    Requirement {
        name: "Node.js",
        purpose: "end-to-end tests: a client with OpenSSL linked statically",
        probe: Probe::Runs(&["node", "--version"]),
        install: Install::Debian(&["nodejs"]),
    },
    Requirement {
        name: "Python with venv",
        purpose: "end-to-end tests: a client, and the SDKs' home",
        probe: Probe::Runs(&["python3", "-c", "import ensurepip, venv"]),
        install: Install::Debian(&["python3", "python3-venv"]),
    },
    Requirement {
        name: "the providers' Python SDKs, HTTP/2 and WebSocket for Python",
        purpose: "end-to-end tests: the clients that people use",
        probe: Probe::Python(PYTHON_PACKAGES),
        install: Install::Python(PYTHON_PACKAGES),
    },
];

/// The virtual environment with the SDKs; the tests get it as `OISP_TEST_VENV`.
fn virtual_environment() -> PathBuf {
    workspace::target().join("python")
}

fn python() -> PathBuf {
    virtual_environment().join("bin/python")
}

/// Installs what is missing; fails with everything that could not be had.
pub(crate) fn ensure() -> Result<()> {
    let mut package_lists_are_fresh = false;
    let mut problems = Vec::new();
    for requirement in REQUIREMENTS {
        if requirement.probe.is_met() {
            continue;
        }
        eprintln!("{} is missing ({}): installing", requirement.name, requirement.purpose);
        let installed = requirement.install.run(&mut package_lists_are_fresh);
        if let Err(error) = installed {
            problems.push(format!("{}: {error:#}", requirement.name));
        } else if !requirement.probe.is_met() {
            problems.push(format!("{}: installed, but still not found", requirement.name));
        }
    }
    if !problems.is_empty() {
        bail!("the tests lack\n  {}", problems.join("\n  "));
    }
    Ok(())
}

impl Probe {
    fn is_met(&self) -> bool {
        match self {
            Self::Runs(words) => command::succeeds(Command::new(words[0]).args(&words[1..])),
            Self::Python(packages) => {
                let script = "import sys, importlib.metadata as m\n\
                    sys.exit(any(m.version(n) != v for n, v in (p.split('==') for p in sys.argv[1:])))";
                command::succeeds(Command::new(python()).args(["-c", script]).args(*packages))
            }
        }
    }
}

impl Install {
    fn run(&self, package_lists_are_fresh: &mut bool) -> Result<()> {
        match self {
            Self::Debian(packages) => {
                let mut install = Command::new("apt-get");
                install
                    .args(["--quiet=2", "--yes", "--no-install-recommends", "install"])
                    .args(*packages)
                    .env("DEBIAN_FRONTEND", "noninteractive");
                let manually = || format!("install it yourself (Debian: {})", command::line(&install));
                if !Path::new("/etc/debian_version").exists() {
                    bail!("this is not Debian: {}", manually());
                }
                let advice = manually();
                if !*package_lists_are_fresh {
                    command::run(Command::new("apt-get").args(["--quiet=2", "update"]))
                        .with_context(|| advice.clone())?;
                    *package_lists_are_fresh = true;
                }
                command::run(&mut install).context(advice)
            }
            Self::RustupComponent(component) => {
                command::run(Command::new("rustup").args(["component", "add", component]))
            }
            Self::Python(packages) => {
                let folder = virtual_environment();
                command::run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(folder))?;
                command::run(
                    Command::new(python())
                        .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
                        .args(*packages),
                )
            }
        }
    }
}

/// Variables that tell the tests where the installed things are.
pub(crate) fn set_environment(command: &mut Command) {
    if env::var_os("OISP_TEST_VENV").is_none() {
        command.env("OISP_TEST_VENV", virtual_environment());
    }
}
