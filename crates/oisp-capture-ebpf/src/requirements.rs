//! What a host needs to be recorded, and what to do where it is missing.

use std::fmt;
use std::path::Path;

use crate::btf::KERNEL_BTF;

/// The first kernel with BPF ring buffers.
pub const MINIMUM_KERNEL: (u32, u32) = (5, 8);

/// Something that a host needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    /// What.
    pub name: &'static str,
    /// Whether it is there.
    pub met: bool,
    /// What was found.
    pub found: String,
    /// Why it is needed and what mends it, where it is not there.
    pub remedy: Option<String>,
}

impl fmt::Display for Requirement {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.name, self.found)?;
        if let Some(remedy) = &self.remedy {
            write!(formatter, "\n  {remedy}")?;
        }
        Ok(())
    }
}

/// Everything that is needed, in the order in which it should be mended.
#[must_use]
pub fn all() -> Vec<Requirement> {
    vec![
        kernel(&kernel_release()),
        type_information(Path::new(KERNEL_BTF)),
        uprobes(Path::new("/sys/bus/event_source/devices/uprobe/type")),
        pid_namespace(),
        capabilities(&effective_capabilities()),
    ]
}

/// The first that is not met.
#[must_use]
pub fn first_unmet() -> Option<Requirement> {
    all().into_iter().find(|requirement| !requirement.met)
}

fn met(name: &'static str, found: String) -> Requirement {
    Requirement { name, met: true, found, remedy: None }
}

fn unmet(name: &'static str, found: String, remedy: String) -> Requirement {
    Requirement { name, met: false, found, remedy: Some(remedy) }
}

pub(crate) fn kernel_release() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

fn kernel(release: &str) -> Requirement {
    let (major, minor) = MINIMUM_KERNEL;
    match version(release) {
        Some(found) if found >= MINIMUM_KERNEL => met("kernel", release.to_owned()),
        Some(_) => unmet(
            "kernel",
            format!("{release} is too old"),
            format!(
                "BPF ring buffers came with Linux {major}.{minor}: boot a kernel from {major}.{minor} on"
            ),
        ),
        None => unmet(
            "kernel",
            format!("`{release}` is not a version that can be compared"),
            format!("Linux {major}.{minor} or later is needed"),
        ),
    }
}

pub(crate) fn version(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.split(|character: char| !character.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

fn type_information(path: &Path) -> Requirement {
    const NAME: &str = "kernel type information (BTF)";
    if path.exists() {
        return met(NAME, path.display().to_string());
    }
    unmet(
        NAME,
        format!("{} does not exist", path.display()),
        "positions of kernel structures are read from it: use a kernel built with CONFIG_DEBUG_INFO_BTF=y (the \
         kernels of Debian, Ubuntu, Fedora and RHEL are), and mount sysfs on /sys"
            .to_owned(),
    )
}

fn uprobes(path: &Path) -> Requirement {
    if path.exists() {
        return met("uprobes", "available".to_owned());
    }
    unmet(
        "uprobes",
        format!("{} does not exist", path.display()),
        "TLS libraries are read with them: use a kernel built with CONFIG_UPROBE_EVENTS=y, and mount sysfs on /sys"
            .to_owned(),
    )
}

/// Inode of the initial pid namespace (`PROC_PID_INIT_INO` in `include/linux/proc_ns.h`).
const INITIAL_PID_NAMESPACE: &str = "pid:[4026531836]";

fn pid_namespace() -> Requirement {
    const NAME: &str = "pid namespace";
    match std::fs::read_link("/proc/self/ns/pid") {
        Ok(namespace) if namespace.as_os_str() == INITIAL_PID_NAMESPACE => {
            met(NAME, "the host's".to_owned())
        }
        Ok(namespace) => unmet(
            NAME,
            format!("{} is not the host's", namespace.display()),
            "the kernel names processes by the host's ids: run the sensor on the host, or its container with the \
             host's pid namespace (`docker run --pid=host`)"
                .to_owned(),
        ),
        Err(error) => unmet(
            NAME,
            format!("/proc/self/ns/pid: {error}"),
            "mount procfs: mount -t proc proc /proc".to_owned(),
        ),
    }
}

/// Capabilities by number (`include/uapi/linux/capability.h`).
const CAP_SYS_PTRACE: u32 = 19;
const CAP_SYS_ADMIN: u32 = 21;
const CAP_PERFMON: u32 = 38;
const CAP_BPF: u32 = 39;

fn effective_capabilities() -> Result<u64, String> {
    let status = std::fs::read_to_string("/proc/self/status").map_err(|error| error.to_string())?;
    status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|value| u64::from_str_radix(value.trim(), 16).ok())
        .ok_or_else(|| "/proc/self/status has no CapEff line".to_owned())
}

fn capabilities(effective: &Result<u64, String>) -> Requirement {
    const NAME: &str = "capabilities";
    const REMEDY: &str = "run as root (`sudo oisp-sensor …`), or give the program what it needs: \
                          setcap cap_bpf,cap_perfmon,cap_sys_ptrace,cap_dac_read_search+ep oisp-sensor \
                          (some kernels, 5.15 and 6.8 among them, allow uprobes only with cap_sys_admin as well)";
    let effective = match effective {
        Ok(effective) => *effective,
        Err(error) => return unmet(NAME, error.clone(), REMEDY.to_owned()),
    };
    let has = |capability: u32| effective & (1 << capability) != 0;
    if has(CAP_SYS_ADMIN) {
        return met(NAME, "CAP_SYS_ADMIN".to_owned());
    }
    let missing: Vec<&str> =
        [(CAP_BPF, "CAP_BPF"), (CAP_PERFMON, "CAP_PERFMON"), (CAP_SYS_PTRACE, "CAP_SYS_PTRACE")]
            .into_iter()
            .filter(|&(capability, _)| !has(capability))
            .map(|(_, name)| name)
            .collect();
    if missing.is_empty() {
        met(NAME, "CAP_BPF, CAP_PERFMON, CAP_SYS_PTRACE".to_owned())
    } else {
        unmet(NAME, format!("missing {}", missing.join(", ")), REMEDY.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_versions_are_compared_as_numbers() {
        for (release, is_met) in [
            ("5.7.19-generic", false),
            ("4.18.0-553.el8.x86_64", false),
            ("5.8.0", true),
            ("5.10.0-30-amd64", true),
            ("6.1.0-44-cloud-amd64", true),
            ("10.0-rc1", true),
            ("unknown", false),
        ] {
            assert_eq!(kernel(release).met, is_met, "{release}");
        }
        assert!(kernel("5.7.0").to_string().contains("ring buffers came with Linux 5.8"));
    }

    #[test]
    fn missing_capabilities_are_named() {
        let requirement = capabilities(&Ok(1 << CAP_BPF));
        assert!(!requirement.met);
        assert_eq!(requirement.found, "missing CAP_PERFMON, CAP_SYS_PTRACE");
        assert!(capabilities(&Ok(1 << CAP_SYS_ADMIN)).met);
        assert!(capabilities(&Ok((1 << CAP_BPF) | (1 << CAP_PERFMON) | (1 << CAP_SYS_PTRACE))).met);
    }

    #[test]
    fn absent_type_information_says_which_kernel_to_use() {
        let requirement = type_information(Path::new("/nonexistent/btf"));
        assert!(!requirement.met);
        assert!(requirement.to_string().contains("CONFIG_DEBUG_INFO_BTF=y"));
    }
}
