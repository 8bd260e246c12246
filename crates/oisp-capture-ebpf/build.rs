//! Chooses the kernel object to embed: the committed one of this CPU, or the one that `OISP_EBPF_OBJECT` names at build
//! time (the tests of a fresh build of the kernel programs set it).

use std::path::PathBuf;
use std::{env, fs, process};

fn main() {
    println!("cargo::rerun-if-env-changed=OISP_EBPF_OBJECT");
    let architecture = env::var("CARGO_CFG_TARGET_ARCH").unwrap_or_default();
    let source = env::var_os("OISP_EBPF_OBJECT")
        .filter(|path| !path.is_empty())
        .map_or_else(|| PathBuf::from(format!("bpf/oisp-ebpf.{architecture}.o")), PathBuf::from);
    println!("cargo::rerun-if-changed={}", source.display());
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default()).join("oisp-ebpf.o");
    if let Err(error) = fs::copy(&source, &out) {
        eprintln!(
            "no kernel object for {architecture}: {}: {error}\nbuild it with `cargo xtask build-ebpf`",
            source.display()
        );
        process::exit(1);
    }
}
