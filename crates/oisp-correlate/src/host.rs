//! Facts of the host that stand on every event.
//!
//! All are read from files, below a folder that a test makes up; nothing is asked over the network. What is not known
//! for certain is left out.

mod cloud;
mod container;
mod device;
mod tree;

use std::path::Path;

use oisp_event::{Container, Host};

use tree::{Process, Tree};

/// What is known of this host.
#[must_use]
pub fn host_facts() -> Host {
    facts(&Tree::new(Path::new("/")), std::env::consts::ARCH)
}

/// The container that the sensor itself runs in, also where it shares the host's processes and records the whole host.
#[must_use]
pub fn sensor_container() -> Option<Container> {
    container::of_sensor(&Tree::new(Path::new("/")))
}

/// The host is what the first process sees: a sensor in a container that shares the host's processes has another root,
/// perhaps another name.
fn facts(tree: &Tree, arch: &str) -> Host {
    let first = tree.root_of(Process::First);
    let found = container::of_host(tree);
    let (container, k8s) = found.map_or((None, None), |found| (Some(found.container), found.kubernetes));
    Host {
        hostname: hostname(tree, &first),
        // A container's comes with its image, and all that were made of it have the same.
        device_id: if container.is_none() { device::id(&first) } else { None },
        os: Some("linux".to_owned()),
        os_version: ["etc/os-release", "usr/lib/os-release"]
            .iter()
            .find_map(|path| pretty_name(&first.text(path)?)),
        arch: Some(
            match arch {
                known @ ("x86_64" | "aarch64" | "arm") => known,
                "x86" => "i686",
                _ => "other",
            }
            .to_owned(),
        ),
        kernel_version: tree.value("proc/sys/kernel/osrelease"),
        cloud: cloud::of(tree, &first),
        container,
        k8s,
        tags: Vec::new(),
    }
}

fn hostname(tree: &Tree, first: &Tree) -> Option<String> {
    let namespace = |process: Process| tree.namespace(process, "uts");
    match (namespace(Process::First), namespace(Process::Sensor)) {
        // /proc/sys shows the name of who reads it.
        (Some(first_one), Some(own)) if first_one != own => first.value("etc/hostname"),
        _ => tree.value("proc/sys/kernel/hostname"),
    }
    .filter(|name| name != "(none)")
}

/// `PRETTY_NAME` of os-release(5).
fn pretty_name(release: &str) -> Option<String> {
    let value = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="))?;
    tree::value(value.trim().trim_matches(['"', '\'']))
}

#[cfg(test)]
mod tests;
