//! What the kernel objects in git were made from.
//!
//! The manifest beside the objects names the hash of their sources, the programs that compiled them and
//! the hash of each object, so that a test without any toolchain notices objects that are out of date, and
//! a build with the same programs can compare bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::toolchain::Versions;
use crate::workspace;

/// Packages that run on the host while the kernel programs are compiled. Their own versions count, as they
/// write code; what they are built with does not.
const HOST_PACKAGES: [&str; 3] = ["aya-build", "aya-ebpf-macros", "rustversion"];

/// `manifest.json`.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    /// Hash of [`sources`].
    pub(crate) sources_sha256: String,
    /// What compiled them.
    pub(crate) toolchain: Versions,
    /// By CPU architecture.
    pub(crate) objects: BTreeMap<String, Object>,
}

/// One object file.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Object {
    /// Its name, in the manifest's folder.
    pub(crate) file: String,
    pub(crate) sha256: String,
}

impl Manifest {
    fn path() -> PathBuf {
        workspace::committed_objects().join("manifest.json")
    }

    pub(crate) fn read() -> Result<Self> {
        let path = Self::path();
        let text = fs::read_to_string(&path).with_context(|| format!("could not read {}", path.display()))?;
        serde_json::from_str(&text).with_context(|| format!("{} is not a manifest", path.display()))
    }

    pub(crate) fn write(&self) -> Result<()> {
        let mut text = serde_json::to_string_pretty(self)?;
        text.push('\n');
        let path = Self::path();
        fs::write(&path, text).with_context(|| format!("could not write {}", path.display()))
    }
}

/// SHA-256 in hexadecimal.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Hash of everything in this checkout that the objects' bytes depend on.
pub(crate) fn sources_sha256() -> Result<String> {
    let root = workspace::root();
    let mut hash = Sha256::new();
    let mut add = |name: &str, content: &[u8]| {
        hash.update((name.len() as u64).to_le_bytes());
        hash.update(name);
        hash.update((content.len() as u64).to_le_bytes());
        hash.update(content);
    };
    for path in source_files(&root)? {
        let content = fs::read(root.join(&path)).with_context(|| format!("could not read {path}"))?;
        add(&path, &content);
    }
    let workspace_manifest: toml::Value = toml::from_str(&fs::read_to_string(root.join("Cargo.toml"))?)?;
    for keys in [
        &["profile", "ebpf"][..],
        // What `ebpf` inherits.
        &["profile", "release"],
        &["workspace", "package", "edition"],
        // Part of the crates' hashes, so of symbol names.
        &["workspace", "package", "version"],
    ] {
        let name = keys.join(".");
        let value = keys
            .iter()
            .try_fold(&workspace_manifest, |value, key| value.get(key))
            .with_context(|| format!("Cargo.toml lacks {name}"))?;
        add(&name, value.to_string().as_bytes());
    }
    let lock = fs::read_to_string(root.join("Cargo.lock"))?;
    for package in locked_packages(&lock)? {
        add("package", package.as_bytes());
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Manifests and Rust files of the kernel programs and of their ABI crate, relative and sorted.
fn source_files(root: &Path) -> Result<Vec<String>> {
    let mut files = Vec::new();
    let mut folders = vec![PathBuf::from("oisp-ebpf"), PathBuf::from("oisp-ebpf-common")];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(root.join(&folder))
            .with_context(|| format!("could not list {}", folder.display()))?;
        for entry in entries {
            let entry = entry?;
            let path = folder.join(entry.file_name());
            let kind = entry.file_type()?;
            let is_test = folder.components().count() == 1 && entry.file_name() == "tests";
            if kind.is_dir() && !is_test {
                folders.push(path);
            } else if kind.is_file()
                && (path.extension().is_some_and(|extension| extension == "rs")
                    || path.file_name().is_some_and(|name| name == "Cargo.toml"))
            {
                files.push(path.to_str().context("a file name is not UTF-8")?.to_owned());
            }
        }
    }
    files.sort();
    Ok(files)
}

#[derive(Deserialize)]
struct Lock {
    package: Vec<LockedPackage>,
}

#[derive(Deserialize)]
struct LockedPackage {
    name: String,
    version: String,
    checksum: Option<String>,
    #[serde(default)]
    dependencies: Vec<String>,
}

/// Name, version and checksum of each package that ends up in an object or writes code for it.
fn locked_packages(lock: &str) -> Result<BTreeSet<String>> {
    let lock: Lock = toml::from_str(lock).context("Cargo.lock")?;
    let mut found = BTreeSet::new();
    let mut wanted = vec!["oisp-ebpf".to_owned()];
    while let Some(reference) = wanted.pop() {
        // "name", or "name version" where the lock file has several.
        let mut words = reference.split(' ');
        let (name, version) = (words.next().unwrap_or_default(), words.next());
        let package = lock
            .package
            .iter()
            .find(|package| package.name == name && version.is_none_or(|version| package.version == version))
            .with_context(|| format!("Cargo.lock lacks {reference}"))?;
        // Packages of this workspace are hashed as files.
        let is_new = match &package.checksum {
            Some(checksum) => found.insert(format!("{name} {} {checksum}", package.version)),
            None => true,
        };
        if is_new && !HOST_PACKAGES.contains(&name) {
            wanted.extend(package.dependencies.iter().cloned());
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_objects_in_git_are_made_from_the_sources_in_git() {
        let manifest = Manifest::read().unwrap();
        assert_eq!(
            manifest.sources_sha256,
            sources_sha256().unwrap(),
            "the kernel programs' sources have changed: run `cargo xtask build-ebpf` and commit {}",
            workspace::committed_objects().display()
        );
    }

    #[test]
    fn kernel_objects_in_git_have_the_bytes_that_the_manifest_names() {
        let manifest = Manifest::read().unwrap();
        assert!(!manifest.objects.is_empty());
        for object in manifest.objects.values() {
            let bytes = fs::read(workspace::committed_objects().join(&object.file)).unwrap();
            assert_eq!(object.sha256, sha256(&bytes), "{}: run `cargo xtask build-ebpf`", object.file);
        }
    }

    #[test]
    fn a_changed_kernel_library_counts_as_a_changed_source_but_a_macro_parser_does_not() {
        let lock = |bindings: &str, syn: &str| {
            format!(
                r#"
                [[package]]
                name = "oisp-ebpf"
                version = "0.1.0"
                dependencies = ["aya-ebpf-macros", "aya-ebpf-bindings"]
                [[package]]
                name = "aya-ebpf-bindings"
                version = "{bindings}"
                checksum = "b"
                [[package]]
                name = "aya-ebpf-macros"
                version = "0.2.0"
                checksum = "m"
                dependencies = ["syn"]
                [[package]]
                name = "syn"
                version = "{syn}"
                checksum = "s"
                "#
            )
        };
        let packages = |bindings, syn| locked_packages(&lock(bindings, syn)).unwrap();
        assert_ne!(packages("0.2.0", "2.0.0"), packages("0.2.1", "2.0.0"));
        assert_eq!(packages("0.2.0", "2.0.0"), packages("0.2.0", "3.0.0"));
    }
}
