//! `process.exec` and `process.exit`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `process.exec`: a program was started.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProcessExec {
    /// Path of the executable as the kernel was given it.
    pub exe: String,
    /// The arguments, the program's own name first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// Working directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
}

/// `process.exit`: a process ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProcessExit {
    /// What it passed to `exit`, 0 to 255; where a signal ended it, 128 plus the signal as shells write it.
    pub exit_code: i32,
    /// The signal that ended it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// That signal's name, for example `SIGKILL`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal_name: Option<String>,
    /// From exec (or from when it was first seen) to exit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runtime_ms: Option<u64>,
    /// How it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub termination_type: Option<TerminationType>,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TerminationType {
    /// By `exit`.
    Normal,
    /// By a signal.
    Signaled,
    /// By a signal that wrote a core file.
    Coredump,
}
