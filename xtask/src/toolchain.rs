//! Finds the compiler for the kernel programs, or sets one up.
//!
//! The BPF target has no prebuilt `core`, so the compiler needs the library's sources (`rust-src`) and
//! `-Z build-std`, and a linker that speaks LLVM bitcode (`bpf-linker`). Two kinds are known: a rustup
//! nightly, and Debian's `rustc-web` packages unpacked into the user's cache folder, beside whatever else
//! is installed.

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, anyhow, bail, ensure};
use serde::{Deserialize, Serialize};

use crate::command;

/// Links with the LLVM library of the compiler itself, so producer and reader of the bitcode agree.
const BPF_LINKER: &str = "0.10.4";

/// LLVM versions that this bpf-linker can be built for.
const BPF_LINKER_LLVM: [&str; 3] = ["20", "21", "22"];

/// The first rustc that compiles the workspace.
const OLDEST_RUSTC: (u32, u32) = (1, 95);

/// A compiler that can make BPF objects.
pub(crate) struct Toolchain {
    kind: Kind,
    sysroot: PathBuf,
}

enum Kind {
    /// A rustup toolchain by name; bpf-linker is on PATH.
    Rustup(String),
    /// Unpacked packages, see [`Unpacked`].
    Distribution(Unpacked),
}

/// The programs that made an object. Equal versions make equal bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Versions {
    /// The lines of `rustc -vV` but for the host, of which BPF objects are independent.
    pub(crate) rustc: Vec<String>,
    /// `cargo --version`: cargo chooses the crates' hashes.
    pub(crate) cargo: String,
    /// `bpf-linker --version`.
    pub(crate) bpf_linker: String,
}

impl Toolchain {
    /// A toolchain that is ready for use; the error says what was looked for and what to do.
    pub(crate) fn find() -> Result<Self> {
        let mut looked = String::new();
        match rustup_nightly() {
            Ok(toolchain) => return Ok(toolchain),
            Err(reason) => {
                let _ = writeln!(looked, "  - a rustup nightly with rust-src, and bpf-linker: {reason}");
            }
        }
        let unpacked = Unpacked::in_cache()?;
        match unpacked.toolchain() {
            Ok(toolchain) => return Ok(toolchain),
            Err(reason) => {
                let _ = writeln!(
                    looked,
                    "  - the distribution's compiler in {}: {reason:#}",
                    unpacked.folder.display()
                );
            }
        }
        bail!(
            "found no compiler for the kernel programs. Looked for\n{looked}\
             Install either of them:\n    \
             rustup toolchain install nightly --component rust-src && cargo install bpf-linker\n\
             or, on Debian, nothing system-wide:\n    \
             cargo xtask build-ebpf --install"
        )
    }

    /// As [`Toolchain::find`], but unpacks the distribution's compiler when there is none.
    pub(crate) fn find_or_install() -> Result<Self> {
        if let Ok(toolchain) = Self::find() {
            return Ok(toolchain);
        }
        let unpacked = Unpacked::in_cache()?;
        unpacked.install().context(
            "could not set up the distribution's compiler. The other way is\n    \
             rustup toolchain install nightly --component rust-src && cargo install bpf-linker",
        )?;
        unpacked.toolchain()
    }

    /// A `cargo` command that compiles with this toolchain.
    pub(crate) fn cargo(&self) -> Command {
        match &self.kind {
            Kind::Rustup(name) => {
                let mut command = Command::new("rustup");
                command.args(["run", name, "cargo"]).current_dir(crate::workspace::root());
                command
            }
            Kind::Distribution(unpacked) => {
                let mut command = command::cargo();
                unpacked.set_environment(&mut command);
                command
            }
        }
    }

    /// The folders under which the standard library's sources appear in debug information.
    pub(crate) fn library_sources(&self) -> Vec<PathBuf> {
        let named = self.sysroot.join("lib/rustlib/src/rust");
        // Debian's is a link to usr/src; rustc shows one or the other.
        let real = named.canonicalize().unwrap_or_else(|_| named.clone());
        if real == named { vec![named] } else { vec![named, real] }
    }

    /// What the programs say about themselves.
    pub(crate) fn versions(&self) -> Result<Versions> {
        let (mut rustc, mut linker) = match &self.kind {
            Kind::Rustup(name) => {
                let run = |program: &str| {
                    let mut command = Command::new("rustup");
                    command.args(["run", name, program]);
                    command
                };
                (run("rustc"), run("bpf-linker"))
            }
            Kind::Distribution(unpacked) => {
                let run = |program: PathBuf| {
                    let mut command = Command::new(program);
                    unpacked.set_environment(&mut command);
                    command
                };
                (run(unpacked.rustc()), run(unpacked.linker()))
            }
        };
        Ok(Versions {
            rustc: command::output(rustc.arg("-vV"))?
                .lines()
                .filter(|line| !line.starts_with("host:"))
                .map(str::to_owned)
                .collect(),
            cargo: command::output(self.cargo().arg("--version"))?.trim().to_owned(),
            bpf_linker: command::output(linker.arg("--version"))?.trim().to_owned(),
        })
    }
}

/// The first rustup nightly that has the library's sources, or why there is none.
fn rustup_nightly() -> Result<Toolchain, String> {
    let list = command::output(Command::new("rustup").args(["toolchain", "list", "--quiet"]))
        .map_err(|_| "rustup is not on PATH".to_owned())?;
    let mut nightlies = list
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| name.starts_with("nightly"))
        .peekable();
    if nightlies.peek().is_none() {
        return Err("rustup has no nightly".to_owned());
    }
    let mut without = Vec::new();
    for name in nightlies {
        let sysroot =
            command::output(Command::new("rustup").args(["run", name, "rustc", "--print", "sysroot"]))
                .map(|sysroot| PathBuf::from(sysroot.trim()));
        match sysroot {
            Ok(sysroot) if has_library_sources(&sysroot) => {
                if on_path("bpf-linker").is_none() {
                    return Err(format!("{name} has rust-src, but bpf-linker is not on PATH"));
                }
                return Ok(Toolchain { kind: Kind::Rustup(name.to_owned()), sysroot });
            }
            _ => without.push(name),
        }
    }
    Err(format!("{} has no rust-src", without.join(", ")))
}

fn has_library_sources(sysroot: &Path) -> bool {
    sysroot.join("lib/rustlib/src/rust/library/core/src/lib.rs").is_file()
}

fn on_path(program: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?).map(|folder| folder.join(program)).find(|path| path.is_file())
}

/// Debian's compiler, unpacked: `root/` as the packages lay it out, `bpf-linker/bin` from cargo.
struct Unpacked {
    folder: PathBuf,
}

impl Unpacked {
    fn in_cache() -> Result<Self> {
        let cache = env::var_os("XDG_CACHE_HOME")
            .map(PathBuf::from)
            .filter(|folder| folder.is_absolute())
            .or_else(|| env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")))
            .ok_or_else(|| anyhow!("neither XDG_CACHE_HOME nor HOME is set: no cache folder"))?;
        Ok(Self { folder: cache.join("oisp-sensor/ebpf-toolchain") })
    }

    fn rustc(&self) -> PathBuf {
        self.folder.join("root/usr/bin/rustc")
    }

    fn linker(&self) -> PathBuf {
        self.folder.join("bpf-linker/bin/bpf-linker")
    }

    fn libraries(&self) -> Vec<PathBuf> {
        let triple = format!("{}-linux-gnu", env::consts::ARCH);
        [format!("root/usr/lib/{triple}"), format!("root/lib/{triple}")]
            .into_iter()
            .map(|folder| self.folder.join(folder))
            .filter(|folder| folder.is_dir())
            .collect()
    }

    /// Lets programs of this toolchain find each other. `LD_LIBRARY_PATH` holds nothing else, because
    /// bpf-linker takes the first LLVM it meets there.
    fn set_environment(&self, command: &mut Command) {
        let mut path = vec![self.folder.join("bpf-linker/bin")];
        path.extend(env::split_paths(&env::var_os("PATH").unwrap_or_default()));
        let join = |folders: Vec<PathBuf>| env::join_paths(folders).unwrap_or_default();
        command
            .env("RUSTC", self.rustc())
            // A stable compiler takes `-Z build-std` only so.
            .env("RUSTC_BOOTSTRAP", "1")
            .env("LD_LIBRARY_PATH", join(self.libraries()))
            .env("PATH", join(path))
            .env_remove("RUSTC_WRAPPER")
            .env_remove("RUSTC_WORKSPACE_WRAPPER");
    }

    fn toolchain(&self) -> Result<Toolchain> {
        ensure!(self.rustc().is_file(), "not unpacked");
        ensure!(self.linker().is_file(), "bpf-linker is missing");
        let mut rustc = Command::new(self.rustc());
        self.set_environment(&mut rustc);
        let sysroot = PathBuf::from(command::output(rustc.args(["--print", "sysroot"]))?.trim());
        ensure!(has_library_sources(&sysroot), "rust-web-src is missing");
        Ok(Toolchain { kind: Kind::Distribution(Self { folder: self.folder.clone() }), sysroot })
    }

    /// Downloads and unpacks into a folder beside the final one, then renames: a build never meets half a
    /// toolchain.
    fn install(&self) -> Result<()> {
        ensure!(
            on_path("apt-get").is_some() && on_path("dpkg").is_some(),
            "this needs Debian's apt-get and dpkg, which are not on PATH"
        );
        let parent = self.folder.parent().context("the cache folder has no parent")?;
        fs::create_dir_all(parent).with_context(|| format!("could not create {}", parent.display()))?;
        let staging = tempfile::Builder::new().prefix("ebpf-toolchain.").tempdir_in(parent)?;
        let packages = packages()?;
        eprintln!("downloading {}", packages.names.join(" "));
        let downloads = staging.path().join("packages");
        fs::create_dir(&downloads)?;
        command::run(
            Command::new("apt-get")
                // The files stay in a folder that apt's own user can't enter; apt only warns about it.
                .args(["--quiet=2", "-o", "APT::Sandbox::User=root", "download"])
                .args(&packages.names)
                .current_dir(&downloads),
        )?;
        let root = staging.path().join("root");
        for archive in fs::read_dir(&downloads)? {
            command::run(Command::new("dpkg").arg("-x").arg(archive?.path()).arg(&root))?;
        }
        fs::remove_dir_all(&downloads)?;

        eprintln!("building bpf-linker {BPF_LINKER}; this takes some minutes");
        command::run(
            command::cargo()
                .args(["install", "--quiet", "--locked", "bpf-linker", "--version", BPF_LINKER])
                .args(["--no-default-features", "--features"])
                .arg(format!("llvm-{0},rust-llvm-{0}", packages.llvm))
                .arg("--root")
                .arg(staging.path().join("bpf-linker"))
                // Its own target folder: this xtask runs from the workspace's, and cargo locks that.
                .arg("--target-dir")
                .arg(staging.path().join("build")),
        )?;
        fs::remove_dir_all(staging.path().join("build"))?;

        if self.folder.exists() {
            fs::remove_dir_all(&self.folder)?;
        }
        fs::rename(staging.keep(), &self.folder)
            .with_context(|| format!("could not create {}", self.folder.display()))?;
        eprintln!("the compiler is in {}", self.folder.display());
        Ok(())
    }
}

/// What to fetch.
struct Packages {
    names: Vec<String>,
    /// The LLVM that this rustc is linked with.
    llvm: String,
}

/// The names carry versions that move with the suite, so apt is asked.
fn packages() -> Result<Packages> {
    if candidate_rustc().is_none_or(|version| version < OLDEST_RUSTC) {
        // Debian's base suite has an older rustc-web than its security suite, of which a fresh machine has
        // no list yet.
        command::run(Command::new("apt-get").args(["--quiet=2", "update"]))
            .context("the package lists could not be brought up to date (this needs root)")?;
    }
    let (major, minor) = candidate_rustc().context("no package rustc-web: not Debian 12 or later")?;
    ensure!(
        (major, minor) >= OLDEST_RUSTC,
        "the suite's rustc-web is {major}.{minor}, at least {}.{} is needed (Debian's security suite has it)",
        OLDEST_RUSTC.0,
        OLDEST_RUSTC.1
    );
    let standard_library = dependency("libstd-rust-web-dev", "libstd-rust-web-")?;
    let llvm_library = dependency(&standard_library, "libllvm")?;
    let llvm = llvm_library.trim_start_matches("libllvm").to_owned();
    ensure!(
        BPF_LINKER_LLVM.contains(&llvm.as_str()),
        "the suite's rustc-web uses LLVM {llvm}, for which bpf-linker {BPF_LINKER} can't be built"
    );
    let mut names: Vec<String> =
        ["rustc-web", "rust-web-src", "libstd-rust-web-dev"].into_iter().map(str::to_owned).collect();
    names.push(standard_library);
    // LLVM's own libraries, so far as the machine lacks them.
    let simulation = command::output(
        Command::new("apt-get")
            .args(["--quiet=2", "--simulate", "--no-install-recommends", "install"])
            .arg(&llvm_library),
    )?;
    names.push(llvm_library);
    for line in simulation.lines() {
        if let Some(name) = line.strip_prefix("Inst ").and_then(|rest| rest.split(' ').next())
            && !names.iter().any(|known| known == name)
        {
            names.push(name.to_owned());
        }
    }
    Ok(Packages { names, llvm })
}

/// The dependency of `package` whose name starts with `prefix`.
fn dependency(package: &str, prefix: &str) -> Result<String> {
    command::output(Command::new("apt-cache").args(["depends", package]))?
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Depends: "))
        .find(|name| name.starts_with(prefix))
        .map(str::to_owned)
        .with_context(|| format!("the package {package} has no dependency {prefix}*"))
}

/// Major and minor version of the rustc-web that apt would fetch.
fn candidate_rustc() -> Option<(u32, u32)> {
    let policy = command::output(Command::new("apt-cache").args(["policy", "rustc-web"])).ok()?;
    let version = policy.lines().find_map(|line| line.trim().strip_prefix("Candidate: "))?;
    let mut numbers = version.split(['.', '+']).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}
