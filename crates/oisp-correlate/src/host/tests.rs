use std::fs;
use std::os::unix::fs::symlink;

use oisp_event::{Cloud, CloudProvider, ContainerRuntime, Kubernetes};
use tempfile::TempDir;

use super::*;

const ID: &str = "4c01db0b339c7b3d5f0a7e1e6d3a9b8c7f6e5d4c3b2a19080706050403020100";
const UID: &str = "550e8400-e29b-41d4-a716-446655440000";
const INITIAL: &str = "pid:[4026531836]";

/// A made-up root.
struct Made(TempDir);

impl Made {
    fn with(files: &[(&str, &str)]) -> Self {
        let made = Self(tempfile::tempdir().unwrap());
        for (path, text) in files {
            made.file(path, text);
        }
        made
    }

    fn file(&self, path: &str, text: &str) {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn link(&self, path: &str, target: &str) {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink(target, path).unwrap();
    }

    fn tree(&self) -> Tree {
        Tree::new(self.0.path())
    }

    fn facts(&self) -> Host {
        facts(&self.tree(), "x86_64")
    }

    fn container(&self) -> Option<Container> {
        self.facts().container
    }
}

fn cloud(files: &[(&str, &str)]) -> Option<Cloud> {
    Made::with(files).facts().cloud
}

fn dmi(name: &str) -> String {
    format!("sys/class/dmi/id/{name}")
}

#[test]
fn of_an_empty_root_only_what_is_certain_is_said() {
    let expected = Host { os: Some("linux".into()), arch: Some("x86_64".into()), ..Host::default() };
    assert_eq!(Made::with(&[]).facts(), expected);
    for (arch, expected) in [("aarch64", "aarch64"), ("x86", "i686"), ("riscv64", "other")] {
        assert_eq!(facts(&Made::with(&[]).tree(), arch).arch.as_deref(), Some(expected));
    }
}

#[test]
fn physical_host_has_name_system_kernel_and_device() {
    let made = Made::with(&[
        ("proc/sys/kernel/hostname", "build-7\n"),
        ("proc/sys/kernel/osrelease", "6.12.1-amd64\n"),
        ("etc/os-release", "ID=debian\nPRETTY_NAME=\"Debian 12\"\n"),
        ("etc/machine-id", "0123456789abcdef0123456789abcdef\n"),
        (&dmi("sys_vendor"), "Dell Inc.\n"),
    ]);
    let host = made.facts();
    assert_eq!(host.hostname.as_deref(), Some("build-7"));
    assert_eq!(host.kernel_version.as_deref(), Some("6.12.1-amd64"));
    assert_eq!(host.os_version.as_deref(), Some("Debian 12"));
    // HMAC-SHA-256 with the machine id as its key, as other tools compute it.
    assert_eq!(host.device_id.as_deref(), Some("69f29f77-f47b-4ea8-a1e1-c201e22bb315"));
    assert_eq!((host.cloud, host.container, host.k8s), (None, None, None));
}

#[test]
fn machine_id_that_is_none_gives_no_device() {
    for id in ["", "uninitialized", "0123", &"0".repeat(32), &"+".repeat(32), &"x".repeat(32)] {
        assert_eq!(Made::with(&[("etc/machine-id", id)]).facts().device_id, None, "{id:?}");
    }
}

#[test]
fn values_that_cannot_be_facts_are_left_out() {
    for name in ["", "\n", "a\u{1b}[2Jb", &"x".repeat(257), "(none)"] {
        let made = Made::with(&[("proc/sys/kernel/hostname", name)]);
        assert_eq!(made.facts().hostname, None, "{name:?}");
    }
    let made = Made::with(&[("etc/os-release", "ID=other\n")]);
    assert_eq!(made.facts().os_version, None);
}

#[test]
fn clouds_are_known_by_their_firmware() {
    for (field, value, provider) in [
        ("sys_vendor", "Amazon EC2", CloudProvider::Aws),
        ("bios_version", "4.11.amazon", CloudProvider::Aws),
        ("product_name", "Google Compute Engine", CloudProvider::Gcp),
        ("chassis_asset_tag", "7783-7084-3265-9085-8269-3286-77", CloudProvider::Azure),
        ("sys_vendor", "DigitalOcean", CloudProvider::DigitalOcean),
        ("sys_vendor", "Hetzner", CloudProvider::Other),
        ("product_name", "Alibaba Cloud ECS", CloudProvider::Other),
        ("chassis_asset_tag", "OracleCloud.com", CloudProvider::Other),
        ("product_name", "OpenStack Nova", CloudProvider::Other),
    ] {
        let expected = Cloud { provider, region: None, instance_id: None, instance_type: None };
        assert_eq!(cloud(&[(&dmi(field), &format!("{value}\n"))]), Some(expected), "{value}");
    }
    for (field, value) in [
        ("sys_vendor", "QEMU"),
        ("sys_vendor", "VMware, Inc."),
        ("sys_vendor", "Microsoft Corporation"),
        ("sys_vendor", "Google"),
        ("product_name", "Amazon EC2"),
        ("product_serial", "ec2aaaa"),
    ] {
        assert_eq!(cloud(&[(&dmi(field), value)]), None, "{value}");
    }
}

#[test]
fn instance_is_told_where_the_firmware_has_it() {
    let nitro = cloud(&[
        (&dmi("sys_vendor"), "Amazon EC2"),
        (&dmi("product_name"), "m5.large"),
        (&dmi("board_asset_tag"), "i-0abcdef0123456789"),
    ])
    .unwrap();
    assert_eq!(nitro.instance_id.as_deref(), Some("i-0abcdef0123456789"));
    assert_eq!(nitro.instance_type.as_deref(), Some("m5.large"));
    let odd = cloud(&[
        (&dmi("sys_vendor"), "Amazon EC2"),
        (&dmi("product_name"), "HVM domU"),
        (&dmi("board_asset_tag"), "Not Specified"),
    ])
    .unwrap();
    assert_eq!((odd.instance_id, odd.instance_type), (None, None));
    let droplet = cloud(&[(&dmi("sys_vendor"), "DigitalOcean"), (&dmi("product_serial"), "123456")]).unwrap();
    assert_eq!(droplet.instance_id.as_deref(), Some("123456"));
    let xen = [("sys/hypervisor/uuid", "ec2e1916-9099-7caf-fd21-012345abcdef")];
    assert_eq!(cloud(&xen), None, "one in 4,096 machines has such a number");
    let serial = dmi("product_serial");
    let both = [xen[0], (serial.as_str(), "EC2E1916-9099-7CAF-FD21-012345ABCDEF")];
    assert_eq!(cloud(&both).unwrap().provider, CloudProvider::Aws);
}

const INSTANCE_DATA: &str = "run/cloud-init/instance-data.json";

#[test]
fn cloud_init_adds_what_the_firmware_does_not_know_and_never_contradicts_it() {
    let data = r#"{"v1": {"cloud_id": "aws", "region": "eu-central-1", "instance_id": "i-1"},
        "ds": {"meta_data": {"instance-type": "m5.large"}}}"#;
    let expected = Cloud {
        provider: CloudProvider::Aws,
        region: Some("eu-central-1".into()),
        instance_id: Some("i-1".into()),
        instance_type: Some("m5.large".into()),
    };
    assert_eq!(cloud(&[(INSTANCE_DATA, data)]), Some(expected.clone()));
    assert_eq!(cloud(&[(INSTANCE_DATA, data), (&dmi("sys_vendor"), "Amazon EC2")]), Some(expected));
    let other = cloud(&[(INSTANCE_DATA, data), (&dmi("sys_vendor"), "Hetzner")]).unwrap();
    assert_eq!((other.provider, other.region), (CloudProvider::Other, None));
    for data in [
        "",
        "[]",
        r#"{"v1": {"cloud_id": "nocloud", "region": "eu"}}"#,
        r#"{"v1": {"cloud_id": "unknown"}}"#,
        r#"{"v1": {"cloud_id": 7}}"#,
    ] {
        assert_eq!(cloud(&[(INSTANCE_DATA, data)]), None, "{data}");
    }
    let unknown =
        r#"{"v1": {"cloud_name": "gce", "region": null, "instance_id": "redacted for non-root user"}}"#;
    let unknown = cloud(&[(INSTANCE_DATA, unknown)]).unwrap();
    assert_eq!((unknown.provider, unknown.region, unknown.instance_id), (CloudProvider::Gcp, None, None));
}

#[test]
fn containers_are_known_by_their_control_group() {
    for (group, runtime) in [
        (format!("/docker/{ID}"), Some(ContainerRuntime::Docker)),
        (format!("/system.slice/docker-{ID}.scope"), Some(ContainerRuntime::Docker)),
        (format!("/machine.slice/libpod-{ID}.scope/container"), Some(ContainerRuntime::Podman)),
        (format!("/kubepods.slice/cri-containerd-{ID}.scope"), Some(ContainerRuntime::Containerd)),
        (format!("/kubepods.slice/crio-{ID}.scope"), Some(ContainerRuntime::Crio)),
        (format!("/ecs/task/{ID}"), None),
        // Docker in Docker: the inner one.
        (format!("/docker/{}/docker/{ID}", ID.replace('4', "5")), Some(ContainerRuntime::Docker)),
    ] {
        let text = format!("12:pids:{group}\n0::/\n");
        let container = Made::with(&[("proc/1/cgroup", &text)]).container().unwrap();
        assert_eq!((container.id.as_deref(), container.runtime), (Some(ID), runtime), "{group}");
    }
    for group in
        ["/", "/init.scope", "/system.slice/docker.service", "/docker/abc", "/user.slice/user-0.slice"]
    {
        let text = format!("0::{group}\n");
        assert_eq!(Made::with(&[("proc/1/cgroup", &text)]).container(), None, "{group}");
    }
}

#[test]
fn container_whose_control_group_is_hidden_is_known_by_its_mounts() {
    let mounts = |source: &str| {
        format!(
            "500 1 0:50 / / rw - overlay overlay rw\n\
             501 500 8:1 /lib/docker/containers/{}/hosts /var/other rw - ext4 /dev/sda1 rw\n\
             502 500 8:1 {source} /etc/hostname rw,relatime - ext4 /dev/sda1 rw\n",
            "a".repeat(64)
        )
    };
    for (source, runtime) in [
        (format!("/var/lib/docker/containers/{ID}/hostname"), ContainerRuntime::Docker),
        (format!("/containers/storage/overlay-containers/{ID}/userdata/hostname"), ContainerRuntime::Podman),
    ] {
        let text = mounts(&source);
        let made = Made::with(&[("proc/1/cgroup", "0::/\n"), ("proc/1/mountinfo", &text)]);
        let container = made.container().unwrap();
        assert_eq!((container.id.as_deref(), container.runtime), (Some(ID), Some(runtime)));
    }
    assert_eq!(Made::with(&[("proc/1/mountinfo", &mounts("/etc/hostname"))]).container(), None);
}

#[test]
fn marks_of_runtimes_are_read() {
    let docker = Made::with(&[(".dockerenv", "")]).container().unwrap();
    assert_eq!((docker.id, docker.runtime), (None, Some(ContainerRuntime::Docker)));
    let text =
        format!("engine=\"podman-4.3.1\"\nname=\"web\"\nid=\"{ID}\"\nimage=\"docker.io/library/x:1\"\n");
    let podman = Made::with(&[("run/.containerenv", &text)]).container().unwrap();
    assert_eq!(podman.runtime, Some(ContainerRuntime::Podman));
    assert_eq!(
        (podman.id.as_deref(), podman.name.as_deref(), podman.image.as_deref()),
        (Some(ID), Some("web"), Some("docker.io/library/x:1"))
    );
    for (files, runtime) in [
        (("proc/1/environ", "PATH=/bin\0container=lxc\0"), ContainerRuntime::Other),
        (("proc/1/environ", "container=podman\0"), ContainerRuntime::Podman),
        (("run/systemd/container", "systemd-nspawn\n"), ContainerRuntime::Other),
        (("proc/1/cgroup", "0::/lxc.payload.web/init.scope\n"), ContainerRuntime::Other),
    ] {
        assert_eq!(Made::with(&[files]).container().unwrap().runtime, Some(runtime), "{files:?}");
    }
    let not = Made::with(&[("proc/1/environ", "notcontainer=lxc\0x=container=lxc\0")]);
    assert_eq!(not.container(), None);
}

#[test]
fn virtual_machine_made_of_an_image_is_no_container() {
    let made = Made::with(&[
        (".dockerenv", ""),
        ("proc/1/cgroup", "0::/\n"),
        ("etc/machine-id", "0123456789abcdef0123456789abcdef"),
    ]);
    made.link("proc/self/ns/pid", INITIAL);
    let host = made.facts();
    assert_eq!(host.container, None);
    assert!(host.device_id.is_some());
    assert_eq!(container::of_sensor(&made.tree()), None);
}

#[test]
fn container_has_no_device_because_its_image_may_have_brought_the_id() {
    let made = Made::with(&[(".dockerenv", ""), ("etc/machine-id", "0123456789abcdef0123456789abcdef")]);
    assert_eq!(made.facts().device_id, None);
}

#[test]
fn sensor_in_a_container_that_shares_the_hosts_processes_tells_the_host() {
    let group = format!("0::/system.slice/docker-{ID}.scope\n");
    let made = Made::with(&[
        (".dockerenv", ""),
        ("etc/os-release", "PRETTY_NAME=\"the image\"\n"),
        ("proc/sys/kernel/hostname", "image\n"),
        ("proc/self/cgroup", &group),
        ("proc/1/cgroup", "0::/init.scope\n"),
        ("proc/1/root/etc/os-release", "PRETTY_NAME=\"the host\"\n"),
        ("proc/1/root/etc/hostname", "node-1\n"),
    ]);
    made.link("proc/self/ns/pid", INITIAL);
    made.link("proc/self/ns/uts", "uts:[2]");
    made.link("proc/1/ns/uts", "uts:[1]");
    let host = made.facts();
    assert_eq!(host.container, None);
    assert_eq!(host.os_version.as_deref(), Some("the host"));
    assert_eq!(host.hostname.as_deref(), Some("node-1"));
    let own = container::of_sensor(&made.tree()).unwrap();
    assert_eq!((own.id.as_deref(), own.runtime), (Some(ID), Some(ContainerRuntime::Docker)));
}

#[test]
fn pod_is_told_with_its_namespace() {
    let expected = Kubernetes { namespace: Some("prod".into()), pod_uid: Some(UID.into()) };
    let systemd = format!(
        "0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{}.slice/cri-containerd-{ID}.scope\n",
        UID.replace('-', "_")
    );
    let plain = format!("0::/kubepods/besteffort/pod{UID}/{ID}\n");
    let mounts = format!("5 1 8:1 /var/lib/kubelet/pods/{UID}/etc-hosts /etc/hosts rw - ext4 /dev/sda1 rw\n");
    for files in [
        vec![("proc/1/cgroup", systemd.as_str())],
        vec![("proc/1/cgroup", &plain)],
        vec![("proc/1/mountinfo", &mounts), ("proc/1/environ", "container=oci\0")],
    ] {
        let made = Made::with(&files);
        made.file("var/run/secrets/kubernetes.io/serviceaccount/namespace", "prod");
        assert_eq!(made.facts().k8s, Some(expected.clone()), "{files:?}");
    }
}

#[test]
fn pipe_in_place_of_a_file_is_not_waited_for() {
    let made = Made::with(&[]);
    fs::create_dir_all(made.0.path().join("etc")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        made.0.path().join("etc/machine-id"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RWXU,
        0,
    )
    .unwrap();
    assert_eq!(made.facts().device_id, None);
}

#[test]
fn facts_of_this_host_are_those_that_the_kernel_tells() {
    let system = rustix::system::uname();
    let host = host_facts();
    assert_eq!(host.kernel_version.as_deref(), system.release().to_str().ok());
    assert_eq!(host.os.as_deref(), Some("linux"));
}
