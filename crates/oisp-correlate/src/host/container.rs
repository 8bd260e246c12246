//! Whether the host is itself a container, and which.

use oisp_event::{Container, ContainerRuntime, Kubernetes};

use super::tree::{Process, Tree, value};

/// The kernel's initial pid namespace (`PROC_PID_INIT_INO` in include/linux/proc_ns.h).
const INITIAL_PID_NAMESPACE: &str = "pid:[4026531836]";

/// A container, and the pod that it belongs to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) container: Container,
    pub(super) kubernetes: Option<Kubernetes>,
}

/// The container whose processes are all that this host has.
pub(super) fn of_host(tree: &Tree) -> Option<Found> {
    // Here every process of the machine is seen. Marks of a container, if any, are then the sensor's own, or came with
    // an image that a virtual machine was made of.
    let namespace = tree.namespace(Process::Sensor, "pid").or_else(|| tree.namespace(Process::First, "pid"));
    if namespace.as_deref() == Some(INITIAL_PID_NAMESPACE) {
        return None;
    }
    of_process(tree, Process::First)
}

/// The container of the sensor itself.
pub(super) fn of_sensor(tree: &Tree) -> Option<Container> {
    if let Some(found) = of_host(tree) {
        return Some(found.container);
    }
    // A mark without an id may have come with an image.
    of_process(tree, Process::Sensor).map(|found| found.container).filter(|container| container.id.is_some())
}

fn of_process(tree: &Tree, process: Process) -> Option<Found> {
    let root = tree.root_of(process);
    let folder = process.folder();
    let groups = tree.text(&format!("{folder}/cgroup")).unwrap_or_default();
    let mounts = tree.text(&format!("{folder}/mountinfo")).unwrap_or_default();
    let mut container = root
        .text("run/.containerenv")
        .map(|text| containerenv(&text))
        .or_else(|| of_groups(&groups))
        .or_else(|| of_mounts(&mounts));
    if container.is_none() && root.exists(".dockerenv") {
        container = Some(Container { runtime: Some(ContainerRuntime::Docker), ..Container::default() });
    }
    let declared = || {
        // What the manager of the container tells the first process in it, and systemd all the others.
        let environment = tree.text(&format!("{folder}/environ")).unwrap_or_default();
        let variable = environment.split('\0').find_map(|entry| entry.strip_prefix("container="));
        variable.and_then(value).or_else(|| root.value("run/systemd/container"))
    };
    let container = match container {
        Some(container) => container,
        None => Container { runtime: Some(runtime(&declared()?)), ..Container::default() },
    };
    let pod_uid = pod_of_groups(&groups).or_else(|| pod_of_mounts(&mounts));
    let kubernetes = pod_uid.map(|pod_uid| Kubernetes {
        namespace: root.value("var/run/secrets/kubernetes.io/serviceaccount/namespace"),
        pod_uid: Some(pod_uid),
    });
    Some(Found { container, kubernetes })
}

fn runtime(name: &str) -> ContainerRuntime {
    match name {
        "docker" => ContainerRuntime::Docker,
        "podman" => ContainerRuntime::Podman,
        "containerd" => ContainerRuntime::Containerd,
        "crio" => ContainerRuntime::Crio,
        _ => ContainerRuntime::Other,
    }
}

/// Podman's file: `name="web"` a line; empty unless the container is privileged.
fn containerenv(text: &str) -> Container {
    let field = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))?;
        value(line.trim_matches('"'))
    };
    Container {
        id: field("id").filter(|id| is_id(id)),
        name: field("name"),
        image: field("image"),
        runtime: Some(ContainerRuntime::Podman),
    }
}

/// By the names that runtimes give the control groups of their containers; the innermost counts.
fn of_groups(text: &str) -> Option<Container> {
    group_paths(text).find_map(|path| {
        let parts: Vec<&str> = path.split('/').collect();
        (0..parts.len()).rev().find_map(|position| {
            let (part, parent) =
                (parts[position], position.checked_sub(1).map_or("", |before| parts[before]));
            let found = |id: &str, runtime| {
                is_id(id).then(|| Container { id: Some(id.to_owned()), runtime, ..Container::default() })
            };
            let scope = part.strip_suffix(".scope");
            for (prefix, runtime) in [
                ("docker-", ContainerRuntime::Docker),
                ("libpod-", ContainerRuntime::Podman),
                ("crio-", ContainerRuntime::Crio),
                ("cri-containerd-", ContainerRuntime::Containerd),
            ] {
                if let Some(id) = scope.unwrap_or(part).strip_prefix(prefix) {
                    return found(id, Some(runtime));
                }
            }
            if let Some(name) = part.strip_prefix("lxc.payload.") {
                let (name, runtime) = (value(name), Some(ContainerRuntime::Other));
                return Some(Container { name, runtime, ..Container::default() });
            }
            let known = match parent {
                "docker" => Some(ContainerRuntime::Docker),
                "libpod_parent" => Some(ContainerRuntime::Podman),
                _ => None,
            };
            found(part, known)
        })
    })
}

/// By the files that runtimes lay over the ones of the image; there the control group may say nothing.
fn of_mounts(text: &str) -> Option<Container> {
    own_files(text).find_map(|source| {
        for (folder, runtime) in
            [("/containers/", ContainerRuntime::Docker), ("/overlay-containers/", ContainerRuntime::Podman)]
        {
            if let Some((_, rest)) = source.split_once(folder)
                && let Some(id) = rest.split('/').next().filter(|id| is_id(id))
            {
                let (id, runtime) = (Some(id.to_owned()), Some(runtime));
                return Some(Container { id, runtime, ..Container::default() });
            }
        }
        None
    })
}

/// `kubepods/burstable/podUID/…`, or with systemd `kubepods-burstable-podUID.slice` with `_` for `-`.
fn pod_of_groups(text: &str) -> Option<String> {
    group_paths(text).filter(|path| path.contains("kubepods")).find_map(|path| {
        path.split('/').find_map(|part| {
            let part = part.strip_suffix(".slice").unwrap_or(part);
            let (_, uid) =
                part.rsplit_once("pod").filter(|(before, _)| before.is_empty() || before.ends_with('-'))?;
            let uid = uid.replace('_', "-");
            is_uuid(&uid).then_some(uid)
        })
    })
}

fn pod_of_mounts(text: &str) -> Option<String> {
    own_files(text).find_map(|source| {
        let (_, rest) = source.split_once("/kubelet/pods/").or_else(|| {
            // From the root of a file system of its own.
            source.strip_prefix("/pods/").map(|rest| ("", rest))
        })?;
        rest.split('/').next().filter(|uid| is_uuid(uid)).map(ToOwned::to_owned)
    })
}

/// The paths of cgroups(7), `/proc/PID/cgroup`.
fn group_paths(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| line.splitn(3, ':').nth(2))
}

/// Where the files lie that a runtime makes for each container: field 4 of proc(5), `/proc/PID/mountinfo`.
fn own_files(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(3);
        let (source, target) = (fields.next()?, fields.next()?);
        ["/etc/hostname", "/etc/hosts", "/etc/resolv.conf"].contains(&target).then_some(source)
    })
}

fn is_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(position, byte)| match position {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}
