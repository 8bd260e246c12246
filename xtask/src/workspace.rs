//! Where things are in this checkout.

use std::env;
use std::path::{Path, PathBuf};

/// The root of the checkout that xtask was started in.
///
/// Cargo names the manifest's folder when it runs a program, which stays right when a built xtask is
/// found in a target folder shared by several checkouts; the compiled-in path serves direct starts.
pub(crate) fn root() -> PathBuf {
    let manifest = env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    manifest.parent().map(Path::to_path_buf).unwrap_or(manifest)
}

/// The folder that holds everything built, ignored by git.
pub(crate) fn target() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |folder| root().join(folder))
}

/// The kernel objects in git.
pub(crate) fn committed_objects() -> PathBuf {
    root().join("crates/oisp-capture-ebpf/bpf")
}
