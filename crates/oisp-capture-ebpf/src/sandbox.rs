//! Processes in a seccomp sandbox, which a return probe kills on some kernels.
//!
//! From Linux 6.11 a return probe on x86_64 ends in a system call of its own, `uretprobe`. A sandbox does not know it and
//! refuses it, and the process is killed. Linux 6.14 lets the call pass every filter. The change was carried back to some
//! stable kernels, but no version tells which distribution's kernel has it: all of 6.11 to 6.13 count as without.

use crate::attachment::FileIdentity;
use crate::process;
use crate::requirements::{kernel_release, version};

/// Whether the running kernel kills a sandboxed process at a return probe.
pub(crate) fn is_killed_by_return_probes() -> bool {
    cfg!(target_arch = "x86_64") && is_killed_by(&kernel_release())
}

fn is_killed_by(release: &str) -> bool {
    // What cannot be read is not trusted.
    version(release).is_none_or(|version| ((6, 11)..(6, 14)).contains(&version))
}

/// Whether a process has a seccomp filter (`Seccomp: 2`, proc(5)).
pub(crate) fn is_sandboxed(pid: u32) -> bool {
    let Ok(status) = std::fs::read(format!("/proc/{pid}/status")) else { return false };
    has_filter(&String::from_utf8_lossy(&status))
}

fn has_filter(status: &str) -> bool {
    status.lines().find_map(|line| line.strip_prefix("Seccomp:")).is_some_and(|mode| mode.trim() == "2")
}

/// A sandboxed process that maps a file as code.
pub(crate) fn process_that_maps(identity: FileIdentity) -> Option<u32> {
    // A file system that lists no process cannot be recorded from either; discovery says so.
    let processes = process::all().unwrap_or_default();
    processes.into_iter().filter(|&pid| is_sandboxed(pid)).find(|&pid| maps(pid, identity))
}

fn maps(pid: u32, identity: FileIdentity) -> bool {
    // One that has ended maps nothing.
    let Ok(mappings) = process::code_mappings(pid) else { return false };
    mappings.iter().any(|mapping| {
        process::open_mapped(pid, mapping)
            .and_then(|file| file.metadata())
            .is_ok_and(|metadata| FileIdentity::of(&metadata) == identity)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::CommandExt as _;
    use std::process::Command;

    #[test]
    fn kernels_between_the_system_call_and_its_passing_of_filters_are_known() {
        for (release, kills) in [
            ("6.10.11", false),
            ("6.11.0-9-generic", true),
            ("6.12.38+deb13-amd64", true),
            ("6.13.7", true),
            ("6.14.0", false),
            ("6.18.5", false),
            ("5.15.0", false),
            ("unknown", true),
        ] {
            assert_eq!(is_killed_by(release), kills, "{release}");
        }
    }

    #[test]
    fn only_a_filter_is_a_sandbox_that_kills() {
        assert!(has_filter("Name:\tx\nSeccomp:\t2\nSeccomp_filters:\t1\n"));
        assert!(!has_filter("Name:\tx\nSeccomp:\t0\nSeccomp_filters:\t2\n"));
        assert!(!has_filter("Name:\tSeccomp: 2\n"));
    }

    #[test]
    fn sandboxed_process_is_found_by_a_file_that_it_maps_and_a_free_one_is_not() {
        // A program that nobody else runs.
        let folder = tempfile::tempdir().expect("a folder");
        let program = folder.path().join("sleep");
        std::fs::copy("/bin/sleep", &program).expect("copied");
        let identity = FileIdentity::of(&std::fs::metadata(&program).expect("known"));

        let mut free = Command::new(&program).arg("60").spawn().expect("started");
        let found_free = process_that_maps(identity);
        let mut sandboxed = Command::new(&program);
        sandboxed.arg("60");
        // SAFETY: two system calls between fork and exec, with constants and a filter on the stack.
        unsafe {
            sandboxed.pre_exec(|| {
                // BPF_RET | BPF_K with SECCOMP_RET_ALLOW: everything is allowed.
                let filter = [libc::sock_filter { code: 0x06, jt: 0, jf: 0, k: libc::SECCOMP_RET_ALLOW }];
                let program = libc::sock_fprog { len: 1, filter: filter.as_ptr().cast_mut() };
                let mode = libc::SECCOMP_MODE_FILTER;
                if libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0
                    || libc::prctl(libc::PR_SET_SECCOMP, mode, &raw const program) != 0
                {
                    return Err(std::io::Error::last_os_error());
                }
                Ok(())
            });
        }
        let mut sandboxed = sandboxed.spawn().expect("started");
        let found = process_that_maps(identity);
        for child in [&mut free, &mut sandboxed] {
            child.kill().expect("killed");
            child.wait().expect("reaped");
        }
        assert_eq!(found_free, None);
        assert_eq!(found, Some(sandboxed.id()));
    }
}
