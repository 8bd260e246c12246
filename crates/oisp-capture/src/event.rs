//! Capture events.

use std::net::SocketAddr;
use std::path::PathBuf;

use bytes::Bytes;
use oisp_decode::{Direction, Nanos};
use serde::{Deserialize, Serialize};

/// The kernel's `CLOCK_MONOTONIC`, nanoseconds.
pub type MonotonicNanos = Nanos;

/// A process: its id in the initial pid namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ProcessId(pub u32);

/// One connection object of a TLS library in one use, or one stream between two processes. Never a thread: async runtimes
/// use many connections on one thread and one connection on many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ConnectionId {
    /// The process that has it.
    pub process: ProcessId,
    /// Address of the object in that process; of a stream the inode number of the socket or pipe.
    pub object: u64,
    /// When it was first seen in this use: addresses are used again.
    pub born: MonotonicNanos,
}

/// The name of a function of a TLS library: the sensor's own, or one that a recording had.
// An alias, because serde takes a `&'static str` that is spelt out for borrowed from the input.
pub type FunctionName = &'static str;

/// In place of a function: content that one process wrote to a unix socket, for another. Both directions are seen at the write.
pub const UNIX_STREAM: FunctionName = "unix_stream";

/// The same of content that was written to a pipe.
pub const PIPE: FunctionName = "pipe";

/// Something that happened.
///
/// The serialised form is that of raw recordings: whoever changes these types raises [`crate::raw::VERSION`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CaptureEvent {
    /// Bytes went over a connection.
    Content(Content),
    /// A connection is over, or will not be heard of again.
    ConnectionClosed(ConnectionClosed),
    /// A program was started.
    ProcessStarted(ProcessStarted),
    /// A process made another.
    ProcessForked(ProcessForked),
    /// A process ended.
    ProcessExited(ProcessExited),
    /// Something was not seen, or may not have been.
    Coverage(CoverageFinding),
    /// The kernel could not deliver something since the last such event.
    Losses(Losses),
    /// A file was probed.
    Attached(AttachedFile),
    /// It became known, or unknown again, which socket a connection uses.
    ConnectionSocket(ConnectionSocket),
    /// What is known of a probed file by what went through its functions.
    FileProof(FileProof),
    /// It became known which process is at the other end of a connection.
    ConnectionPeer(ConnectionPeer),
}

impl CaptureEvent {
    /// When it happened, where it has a time.
    #[must_use]
    pub fn time(&self) -> Option<MonotonicNanos> {
        match self {
            Self::Content(content) => Some(content.time),
            Self::ConnectionClosed(closed) => Some(closed.time),
            Self::ProcessStarted(started) => Some(started.time),
            Self::ProcessForked(forked) => Some(forked.time),
            Self::ProcessExited(exited) => Some(exited.time),
            Self::Attached(file) => Some(file.time),
            Self::Coverage(finding) => Some(finding.time),
            Self::ConnectionSocket(socket) => Some(socket.time),
            Self::FileProof(proof) => Some(proof.time),
            Self::ConnectionPeer(peer) => Some(peer.time),
            Self::Losses(_) => None,
        }
    }
}

/// Bytes of one direction of a connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// The connection.
    pub connection: ConnectionId,
    /// The thread that transferred them.
    pub thread: u32,
    /// Which way.
    pub direction: Direction,
    /// Position of the first byte in this direction, from 0. Positions that never come were lost.
    pub offset: u64,
    /// The bytes.
    pub bytes: Bytes,
    /// When the call that transferred them returned.
    pub time: MonotonicNanos,
    /// The function that transferred them (`SSL_write`); [`crate::UNIX_STREAM`] or [`crate::PIPE`]
    /// where none of a library did.
    #[serde(deserialize_with = "crate::function::deserialize")]
    pub function: FunctionName,
}

/// Which socket a connection uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionSocket {
    /// The connection.
    pub connection: ConnectionId,
    /// The socket's ends; none where evidence came to contradict what was told before.
    pub ends: Option<SocketEnds>,
    /// When it was known.
    pub time: MonotonicNanos,
}

/// Which process is at the other end of a connection between two processes of this host. Told once, before the first content
/// wherever it is known by then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionPeer {
    /// The connection, whose process is one end: the client.
    pub connection: ConnectionId,
    /// The other end.
    pub peer: ProcessId,
    /// When it was known.
    pub time: MonotonicNanos,
}

/// The two ends of a TCP socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SocketEnds {
    /// This end.
    pub local: SocketAddr,
    /// The other end.
    pub remote: SocketAddr,
}

/// A connection is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionClosed {
    /// The connection.
    pub connection: ConnectionId,
    /// Bytes that the process sent in all, delivered or not; what is missing at the end was lost.
    pub sent_end: u64,
    /// Bytes that the process received in all, delivered or not.
    pub received_end: u64,
    /// When.
    pub time: MonotonicNanos,
    /// Why.
    pub cause: CloseCause,
}

/// Why a connection is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CloseCause {
    /// The process gave the object back or reset it.
    Released,
    /// The process ended or started another program.
    ProcessGone,
    /// The recording ended while the connection was open.
    RecordingEnded,
}

/// A program was started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessStarted {
    /// The process.
    pub process: ProcessId,
    /// Its parent.
    pub parent: ProcessId,
    /// User id in the initial user namespace.
    pub uid: u32,
    /// Group id in the initial user namespace.
    pub gid: u32,
    /// What was executed, as it was named.
    #[serde(with = "crate::path_serde")]
    pub filename: PathBuf,
    /// The program that runs: the same, or a script's interpreter.
    #[serde(with = "crate::path_serde")]
    pub executable: PathBuf,
    /// The arguments, lossily as text, the program's name first.
    pub arguments: Vec<String>,
    /// Whether arguments are missing because they are too long.
    pub arguments_truncated: bool,
    /// Working directory, where it could be read before the process changed it or ended.
    #[serde(with = "crate::path_serde::option")]
    pub working_directory: Option<PathBuf>,
    /// When.
    pub time: MonotonicNanos,
}

/// A process made another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessForked {
    /// The parent.
    pub parent: ProcessId,
    /// The new process.
    pub child: ProcessId,
    /// When.
    pub time: MonotonicNanos,
}

/// A process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessExited {
    /// The process.
    pub process: ProcessId,
    /// How.
    pub status: WaitStatus,
    /// When.
    pub time: MonotonicNanos,
}

/// How a process ended, in the encoding of `wait(2)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitStatus(pub u32);

impl WaitStatus {
    /// What the process passed to `exit`, where no signal ended it.
    #[must_use]
    pub fn exit_code(self) -> Option<i32> {
        (self.0 & 0x7f == 0).then_some(((self.0 >> 8) & 0xff).cast_signed())
    }

    /// The signal that ended it.
    #[must_use]
    pub fn signal(self) -> Option<i32> {
        let signal = self.0 & 0x7f;
        (signal != 0).then_some(signal.cast_signed())
    }

    /// Whether a core file was written.
    #[must_use]
    pub fn dumped_core(self) -> bool {
        self.0 & 0x80 != 0
    }
}

/// A file whose functions are followed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachedFile {
    /// Where it was found.
    #[serde(with = "crate::path_serde")]
    pub path: PathBuf,
    /// The TLS libraries in it.
    pub libraries: Vec<String>,
    /// The functions that are followed.
    pub functions: Vec<String>,
    /// When it was probed.
    pub time: MonotonicNanos,
}

/// What is known of a probed file by what went through its functions. Told when it was probed, and at each change, where
/// content tells which file it went through.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileProof {
    /// Where it was found.
    #[serde(with = "crate::path_serde")]
    pub path: PathBuf,
    /// Of what was sent.
    pub sent: DirectionProof,
    /// Of what was received.
    pub received: DirectionProof,
    /// When.
    pub time: MonotonicNanos,
}

/// What is known of one direction of a probed file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum DirectionProof {
    /// Nothing went through its functions yet.
    #[default]
    Nothing,
    /// Something did; whether it is the content of connections is not proven.
    Seen,
    /// It is the content of connections: it began as HTTP does, or its lengths agreed with those on the socket.
    Proven,
}

/// Something was not seen, or may not have been.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CoverageFinding {
    /// The process, where it is about one.
    pub process: Option<ProcessId>,
    /// The file, where it is about one.
    #[serde(with = "crate::path_serde::option")]
    pub file: Option<PathBuf>,
    /// What and why.
    pub reason: CoverageReason,
    /// When.
    pub time: MonotonicNanos,
}

/// Why something was not seen, or may not have been.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CoverageReason {
    /// A library came into a process while it ran; what went over it before the probes were in place was not seen.
    AttachedLate {
        /// From the mapping of the file to the probes being in place, nanoseconds.
        latency: u64,
    },
    /// A file with a TLS stack could not be probed.
    AttachFailed {
        /// Why.
        error: String,
    },
    /// A file could not be read to look for TLS stacks.
    Unreadable {
        /// Why.
        error: String,
    },
    /// A file has a TLS stack for another CPU than this host's.
    ForeignArchitecture,
    /// Notices of mappings were lost: a library may have gone unnoticed.
    MappingNoticesLost {
        /// How many.
        count: u64,
    },
    /// Mappings of a process cannot be followed: libraries that it opens later go unnoticed.
    MappingsNotFollowed {
        /// Why.
        error: String,
    },
    /// A file with a TLS stack is not probed, because this process, which is in a seccomp sandbox, maps it, and the
    /// running kernel would kill it there.
    SandboxedProcess,
    /// Sockets cannot be followed: events have no addresses, and streams between processes are not seen.
    SocketsNotFollowed {
        /// Why.
        error: String,
    },
    /// Functions that were found in a file by what they do turned out to be others: its probes were removed.
    WrongMatch {
        /// The TLS library that it was taken for.
        library: String,
        /// What showed it.
        error: String,
    },
    /// A file has a TLS library whose functions were not found: what goes over it is not seen.
    NotLocated {
        /// The TLS library.
        library: String,
        /// Why.
        error: String,
    },
    /// Connections were seen in one direction only, because it was not known which other one belongs to it: what was
    /// asked and what was answered are told apart.
    NotJoined {
        /// How many such directions.
        connections: u64,
    },
    /// Content fits into no connection that there is, and was dropped: it came when its own was over, or by a key that had
    /// served the other direction, or was too much of a stream before it was known what it is.
    ContentUnplaced {
        /// Records with content.
        records: u64,
        /// The content.
        bytes: u64,
    },
    /// A process was started with pipes as its standard input and output, and stayed; what went over them was not seen,
    /// because pipes are not followed.
    PipesNotFollowed,
}

/// What the kernel side could not deliver since the last such event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Losses {
    /// Records with content that the ring had no room for.
    pub ring_full_records: u64,
    /// Bytes of content that the ring had no room for.
    pub ring_full_bytes: u64,
    /// Bytes of content that could not be read from the process.
    pub unreadable_bytes: u64,
    /// Bytes of content beyond the limit of one call.
    pub over_limit_bytes: u64,
    /// Calls of which nothing is known but that they happened: a table was full or their length could not be read.
    pub calls: u64,
    /// Child processes that could not be taken into scope.
    pub processes: u64,
    /// Process and connection notices that the ring had no room for.
    pub lifecycle_records: u64,
    /// Records that user space could not understand.
    pub malformed_records: u64,
}

impl Losses {
    /// Whether nothing was lost.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// Content bytes lost in all, as far as they could be counted.
    #[must_use]
    pub fn content_bytes(&self) -> u64 {
        self.ring_full_bytes + self.unreadable_bytes + self.over_limit_bytes
    }
}

impl std::ops::AddAssign for Losses {
    fn add_assign(&mut self, other: Self) {
        self.ring_full_records += other.ring_full_records;
        self.ring_full_bytes += other.ring_full_bytes;
        self.unreadable_bytes += other.unreadable_bytes;
        self.over_limit_bytes += other.over_limit_bytes;
        self.calls += other.calls;
        self.processes += other.processes;
        self.lifecycle_records += other.lifecycle_records;
        self.malformed_records += other.malformed_records;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wait_status_tells_exit_from_signal() {
        assert_eq!(WaitStatus(0x0300).exit_code(), Some(3));
        assert_eq!(WaitStatus(0x0300).signal(), None);
        assert_eq!(WaitStatus(9).signal(), Some(9));
        assert_eq!(WaitStatus(9).exit_code(), None);
        assert!(WaitStatus(11 | 0x80).dumped_core());
    }
}
