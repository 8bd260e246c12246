//! The compiled kernel programs that are kept in git, of both CPUs; needs no kernel.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use object::{Architecture, Object as _, ObjectSection as _, ObjectSymbol as _, SymbolKind};
use oisp_testkit::transcript::sha256_hex;

const ARCHITECTURES: [&str; 2] = ["x86_64", "aarch64"];

/// Every program that the loader asks for.
const PROGRAMS: [&str; 35] = [
    "aead_open",
    "aead_open_gather",
    "aead_opened",
    "aead_opened_instruction",
    "aead_seal",
    "aead_seal_scatter",
    "go_client_handshake",
    "go_close",
    "go_read",
    "go_return",
    "go_server_handshake",
    "go_write",
    "process_exec",
    "process_exit",
    "process_fork",
    "ring_open",
    "ring_seal",
    "socket_received",
    "socket_sent",
    "socket_state",
    "ssl_clear",
    "ssl_free",
    "ssl_new_return",
    "ssl_new_return_instruction",
    "ssl_read",
    "ssl_read_ex",
    "ssl_read_internal",
    "ssl_return",
    "ssl_return_instruction",
    "ssl_write",
    "ssl_write_ex",
    "ssl_write_ex2",
    "ssl_write_internal",
    "ssl_write_internal_without_flags",
    "system_call",
];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("bpf")
}

#[test]
fn committed_objects_of_both_cpus_are_bpf_with_every_program_their_types_and_the_license() {
    for architecture in ARCHITECTURES {
        let data = std::fs::read(folder().join(format!("oisp-ebpf.{architecture}.o"))).unwrap();
        let file = object::File::parse(&data[..]).unwrap();
        assert_eq!(file.architecture(), Architecture::Bpf);
        let programs: BTreeSet<&str> = file
            .symbols()
            .filter(|symbol| symbol.is_global() && symbol.kind() == SymbolKind::Text)
            // What the programs call is not one of them.
            .filter(|symbol| {
                let section = symbol.section_index().and_then(|index| file.section_by_index(index).ok());
                section.is_some_and(|section| section.name() != Ok(".text"))
            })
            .map(|symbol| symbol.name().unwrap())
            .collect();
        assert_eq!(programs, BTreeSet::from(PROGRAMS), "{architecture}");
        let license = file.section_by_name("license").unwrap();
        assert_eq!(license.data().unwrap(), b"Dual MIT/GPL\0");
        for section in [".BTF", ".BTF.ext", "maps"] {
            assert!(file.section_by_name(section).is_some(), "{architecture}: {section}");
        }
        assert!(file.sections().all(|section| !section.name().unwrap_or_default().starts_with(".debug")));
    }
}

#[test]
fn committed_objects_are_those_that_the_manifest_names() {
    let manifest: serde_json::Value =
        serde_json::from_slice(&std::fs::read(folder().join("manifest.json")).unwrap()).unwrap();
    for architecture in ARCHITECTURES {
        let object = &manifest["objects"][architecture];
        let data = std::fs::read(folder().join(object["file"].as_str().unwrap())).unwrap();
        assert_eq!(object["sha256"], sha256_hex(&data), "{architecture}");
    }
}
