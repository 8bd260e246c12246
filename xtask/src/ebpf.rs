//! Compiles the kernel programs.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::command;
use crate::manifest::{self, Manifest, Object};
use crate::strip;
use crate::toolchain::Toolchain;
use crate::workspace;

/// The register layout that a uprobe reads is the CPU's, so each has its own object.
const ARCHITECTURES: [&str; 2] = ["x86_64", "aarch64"];

/// `build-ebpf`: the objects and their manifest, into the folder that git knows.
pub(crate) fn write_objects(install: bool) -> Result<()> {
    let toolchain = if install { Toolchain::find_or_install() } else { Toolchain::find() }?;
    let built = compile(&toolchain, Warnings::Show)?;
    let folder = workspace::committed_objects();
    fs::create_dir_all(&folder)?;
    for (object, path) in built.manifest.objects.values().zip(&built.paths) {
        let destination = folder.join(&object.file);
        fs::copy(path, &destination).with_context(|| format!("could not write {}", destination.display()))?;
        println!("{} {}", object.sha256, relative(&destination).display());
    }
    built.manifest.write()
}

/// `build-ebpf --check`: that the objects in git are what the sources compile to.
pub(crate) fn check_objects(install: bool) -> Result<()> {
    let toolchain = if install { Toolchain::find_or_install() } else { Toolchain::find() }?;
    let built = compile(&toolchain, Warnings::Deny)?;
    println!("{}", compare_with_committed(&built)?);
    Ok(())
}

/// What a compiler warning about the kernel programs means. The lints of the workspace see an empty program
/// there, because they run for the host.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Warnings {
    Show,
    Deny,
}

/// Objects in the target folder.
pub(crate) struct Built {
    /// What the manifest in git should say if the objects there were these.
    manifest: Manifest,
    /// In the order of the manifest's objects.
    paths: Vec<PathBuf>,
}

impl Built {
    /// The object for this machine's CPU.
    pub(crate) fn for_this_machine(&self) -> Result<&Path> {
        self.manifest
            .objects
            .keys()
            .zip(&self.paths)
            .find(|(architecture, _)| *architecture == env::consts::ARCH)
            .map(|(_, path)| path.as_path())
            .with_context(|| format!("there are no kernel programs for {}", env::consts::ARCH))
    }
}

/// Compiles into the target folder and leaves the objects in git alone.
pub(crate) fn compile(toolchain: &Toolchain, warnings: Warnings) -> Result<Built> {
    let sources_sha256 = manifest::sources_sha256()?;
    let versions = toolchain.versions()?;
    let folder = workspace::target().join("ebpf/objects");
    fs::create_dir_all(&folder)?;
    let mut objects = BTreeMap::new();
    for architecture in ARCHITECTURES {
        let object = compile_for(architecture, toolchain, warnings)?;
        let stripped = strip::debug_sections(&object)
            .with_context(|| format!("the kernel programs for {architecture}"))?;
        let file = format!("oisp-ebpf.{architecture}.o");
        let path = folder.join(&file);
        fs::write(&path, &stripped).with_context(|| format!("could not write {}", path.display()))?;
        objects.insert(architecture.to_owned(), Object { file, sha256: manifest::sha256(&stripped) });
    }
    let paths = objects.values().map(|object| folder.join(&object.file)).collect();
    Ok(Built { manifest: Manifest { sources_sha256, toolchain: versions, objects }, paths })
}

/// Says how the objects compare with those in git; an error when they should be equal and are not.
pub(crate) fn compare_with_committed(built: &Built) -> Result<String> {
    let committed = Manifest::read().context("run `cargo xtask build-ebpf` and commit what it writes")?;
    if committed.sources_sha256 != built.manifest.sources_sha256 {
        bail!(
            "the kernel objects in git were made from other sources: run `cargo xtask build-ebpf` and \
             commit {}",
            relative(&workspace::committed_objects()).display()
        );
    }
    if committed.toolchain != built.manifest.toolchain {
        return Ok(format!(
            "the kernel programs compile; their bytes were not compared, because the objects in git were \
             made by {}, and this is {}",
            describe(&committed),
            describe(&built.manifest)
        ));
    }
    for (architecture, object) in &built.manifest.objects {
        let expected = committed
            .objects
            .get(architecture)
            .with_context(|| format!("git has no kernel object for {architecture}"))?;
        if expected != object {
            bail!(
                "{} in git is not what its sources compile to: sha256 {} in git, {} built",
                object.file,
                expected.sha256,
                object.sha256
            );
        }
    }
    Ok("the kernel objects in git are byte for byte what their sources compile to".to_owned())
}

fn describe(manifest: &Manifest) -> String {
    let versions = &manifest.toolchain;
    let rustc = versions.rustc.first().map_or("an unknown rustc", String::as_str);
    format!("{rustc}, {}, {}", versions.cargo, versions.bpf_linker)
}

/// The object as linked, with debug information.
fn compile_for(architecture: &str, toolchain: &Toolchain, warnings: Warnings) -> Result<Vec<u8>> {
    // A folder each: cargo leaves path remapping flags out of its file names, and the others with them, so
    // in one folder each architecture would compile over the other's `core`.
    let target = workspace::target().join("ebpf").join(architecture);
    let mut flags: Vec<OsString> = vec![
        // BTF is made from debug information.
        "-Cdebuginfo=2".into(),
        "-Clink-arg=--btf".into(),
        format!("--cfg=bpf_target_arch=\"{architecture}\"").into(),
    ];
    // Paths are in line information and panic messages: without these, bytes would depend on where the
    // checkout is. rustc takes the last rule that fits.
    flags.push(remap(&workspace::root(), "/oisp-sensor"));
    flags.push(remap(&target, "/oisp-sensor/target/ebpf"));
    flags.push(remap(&cargo_home()?, "/cargo"));
    flags.extend(toolchain.library_sources().iter().map(|folder| remap(folder, "/rustc")));

    let mut build = toolchain.cargo();
    build
        .args(["build", "--locked", "--package", "oisp-ebpf", "--bin", "oisp-ebpf", "--profile", "ebpf"])
        .args(["--target", "bpfel-unknown-none", "-Z", "build-std=core", "--target-dir"])
        .arg(&target)
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}".as_ref()))
        .env_remove("RUSTFLAGS");
    if warnings == Warnings::Deny {
        build.args(["-Z", "warnings", "--config", "build.warnings=\"deny\""]);
    }
    eprintln!("compiling the kernel programs for {architecture}");
    command::run(&mut build).with_context(|| format!("the kernel programs for {architecture}"))?;
    let object = target.join("bpfel-unknown-none/ebpf/oisp-ebpf");
    fs::read(&object).with_context(|| format!("could not read {}", object.display()))
}

fn remap(from: &Path, to: &str) -> OsString {
    let mut flag = OsString::from("--remap-path-prefix=");
    flag.push(from);
    flag.push("=");
    flag.push(to);
    flag
}

fn cargo_home() -> Result<PathBuf> {
    env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo")))
        .context("neither CARGO_HOME nor HOME is set")
}

fn relative(path: &Path) -> PathBuf {
    path.strip_prefix(workspace::root()).unwrap_or(path).to_path_buf()
}
