//! What the host can tell of a process that was not seen starting.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use oisp_capture::ProcessId;
use serde::{Deserialize, Serialize};

/// What is known of a process.
///
/// Its serialised form is part of raw recordings: see [`oisp_capture::raw::VERSION`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessFacts {
    /// Its parent.
    pub parent: Option<ProcessId>,
    /// Path of its executable.
    #[serde(with = "oisp_capture::path_serde::option")]
    pub executable: Option<PathBuf>,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Its working directory.
    #[serde(with = "oisp_capture::path_serde::option")]
    pub working_directory: Option<PathBuf>,
    /// User and group id.
    pub user: Option<(u32, u32)>,
    /// Its main thread's name, where the executable is not known.
    pub name: Option<String>,
}

/// Asks the host where events came from.
pub trait ProcessLookup: Send {
    /// A process's facts; of an ancestor only names and ids are used.
    fn process(&self, process: ProcessId) -> Option<ProcessFacts>;

    /// A user's name.
    fn user_name(&self, uid: u32) -> Option<String>;
}

impl<L: ProcessLookup + ?Sized> ProcessLookup for Box<L> {
    fn process(&self, process: ProcessId) -> Option<ProcessFacts> {
        (**self).process(process)
    }

    fn user_name(&self, uid: u32) -> Option<String> {
        (**self).user_name(uid)
    }
}

/// A host that can't be asked: recordings and synthetic traffic.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoLookup;

impl ProcessLookup for NoLookup {
    fn process(&self, _process: ProcessId) -> Option<ProcessFacts> {
        None
    }

    fn user_name(&self, _uid: u32) -> Option<String> {
        None
    }
}

/// This host: `/proc` and `/etc/passwd`.
#[derive(Clone, Copy, Debug, Default)]
pub struct HostLookup;

impl ProcessLookup for HostLookup {
    fn process(&self, process: ProcessId) -> Option<ProcessFacts> {
        let folder = PathBuf::from(format!("/proc/{}", process.0));
        let status = fs::read_to_string(folder.join("status")).ok()?;
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let first_number = |name: &str| field(name)?.split_whitespace().next()?.parse::<u32>().ok();
        Some(ProcessFacts {
            parent: first_number("PPid:").filter(|&parent| parent != 0).map(ProcessId),
            executable: fs::read_link(folder.join("exe")).ok(),
            arguments: fs::read(folder.join("cmdline")).map(|text| arguments(&text)).unwrap_or_default(),
            working_directory: fs::read_link(folder.join("cwd")).ok(),
            user: first_number("Uid:").zip(first_number("Gid:")),
            name: field("Name:").map(str::to_owned),
        })
    }

    fn user_name(&self, uid: u32) -> Option<String> {
        let users = fs::read_to_string("/etc/passwd").ok()?;
        users.lines().find_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
        })
    }
}

/// Arguments as `/proc/PID/cmdline` has them, each ended by a zero byte.
fn arguments(text: &[u8]) -> Vec<String> {
    let text = text.strip_suffix(b"\0").unwrap_or(text);
    if text.is_empty() {
        return Vec::new();
    }
    text.split(|&byte| byte == 0)
        .map(|argument| std::ffi::OsStr::from_bytes(argument).to_string_lossy().into_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_known_to_the_host() {
        let facts = HostLookup.process(ProcessId(std::process::id())).expect("it runs");
        assert_eq!(facts.executable, std::env::current_exe().ok());
        assert_eq!(facts.parent, Some(ProcessId(std::os::unix::process::parent_id())));
        assert_eq!(facts.arguments.first(), std::env::args().next().as_ref());
        assert!(facts.user.is_some());
    }

    #[test]
    fn root_has_a_name_and_an_unused_id_has_none() {
        assert_eq!(HostLookup.user_name(0).as_deref(), Some("root"));
        assert_eq!(HostLookup.user_name(4_294_900_000), None);
        assert_eq!(HostLookup.process(ProcessId(u32::MAX)), None);
    }
}
