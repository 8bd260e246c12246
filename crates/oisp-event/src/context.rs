//! Who: user and process.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Timestamp;

/// The user a process runs as.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Actor {
    /// Numeric user id in the initial user namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// Numeric group id in the initial user namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gid: Option<u32>,
    /// The user's name in the host's user database.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
}

/// A process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Process {
    /// Process id (thread group id) in the initial pid namespace.
    pub pid: u32,
    /// The parent's process id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ppid: Option<u32>,
    /// Path of the executable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exe: Option<String>,
    /// The executable's file name, or the kernel's `comm` where the path is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The command line, arguments joined with spaces.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cmdline: Option<String>,
    /// Working directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
    /// When it was started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Timestamp>,
    /// Its parent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<ParentProcess>,
    /// Parent, grandparent and so on, nearest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ancestors: Vec<ParentProcess>,
    /// The thread that did it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thread_id: Option<u32>,
}

/// An ancestor of a process: names and ids only.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ParentProcess {
    /// Process id.
    pub pid: u32,
    /// Path of the executable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exe: Option<String>,
    /// The executable's file name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}
