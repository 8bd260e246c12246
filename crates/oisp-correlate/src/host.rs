//! Facts of the host that stand on every event.

use std::fs;

use oisp_event::Host;

/// The host's name, operating system, kernel and CPU.
#[must_use]
pub fn host_facts() -> Host {
    let system = rustix::system::uname();
    let text = |value: &std::ffi::CStr| Some(value.to_string_lossy().into_owned());
    Host {
        hostname: text(system.nodename()),
        os: Some("linux".to_owned()),
        os_version: fs::read_to_string("/etc/os-release").ok().and_then(|release| pretty_name(&release)),
        arch: Some(
            match std::env::consts::ARCH {
                known @ ("x86_64" | "aarch64") => known,
                _ => "other",
            }
            .to_owned(),
        ),
        kernel_version: text(system.release()),
    }
}

/// `PRETTY_NAME` of os-release(5).
fn pretty_name(release: &str) -> Option<String> {
    let value = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="))?;
    Some(value.trim_matches(['"', '\'']).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distribution_is_named_without_its_quotes() {
        assert_eq!(pretty_name("ID=debian\nPRETTY_NAME=\"Debian 12\"\n"), Some("Debian 12".to_owned()));
        assert_eq!(pretty_name("ID=other\n"), None);
    }
}
