//! The kernel's records as capture events.

use std::path::PathBuf;

use bytes::Bytes;
use oisp_capture::{
    CloseCause, ConnectionClosed, ConnectionId, Content, Direction, MonotonicNanos, Nanos, ProcessExited,
    ProcessForked, ProcessId, ProcessStarted, WaitStatus,
};
use oisp_ebpf_common as abi;
use oisp_ebpf_common::record::{Close, Exec, Record, Tls};

use crate::sockets::{Evidence, SocketIdentity};
use crate::streams::StreamId;

/// A record of the ring with its bytes copied out: the ring's memory is given back at once.
pub(crate) enum Owned {
    /// With the number of the file whose function it went through, 0 where that is not known.
    Content(Content, u16),
    /// The same of a half-connection, with its generation.
    HalfContent(Content, u32, u16),
    Closed(ConnectionClosed),
    HalfEnded(HalfEnded),
    /// With the inode of the working directory that the program was started in.
    Started(ProcessStarted, u64),
    Forked(ProcessForked),
    Exited(ProcessExited),
    /// Evidence of which socket a connection uses.
    Socket(Evidence),
    /// The same of a half-connection, with its generation.
    HalfSocket(Evidence, u32),
    /// Content of a stream between two processes, and who wrote it.
    StreamContent(StreamId, ProcessId, Content),
    Stream(StreamNews),
    /// The `struct sock` at this address has ended.
    SocketEnded(u64, MonotonicNanos),
}

/// A half-connection has ended with an alert.
pub(crate) struct HalfEnded {
    pub(crate) half: ConnectionId,
    /// The position behind its content.
    pub(crate) end: u64,
    pub(crate) time: MonotonicNanos,
}

/// Something about a stream.
pub(crate) struct StreamNews {
    pub(crate) id: StreamId,
    pub(crate) what: abi::StreamNotice,
    /// Who writes, or who reads.
    pub(crate) process: ProcessId,
    /// Inode number of the socket at the other end.
    pub(crate) peer_socket: u64,
    /// Bytes written so far.
    pub(crate) end: u64,
    pub(crate) time: MonotonicNanos,
}

impl From<Record<'_>> for Owned {
    fn from(record: Record<'_>) -> Self {
        let time = Nanos(record.origin().time_ns);
        let process = ProcessId(record.origin().tgid);
        match record {
            Record::Tls(tls) if matches!(tls.function, abi::Function::UnixStream | abi::Function::Pipe) => {
                let id = StreamId { socket: tls.ssl, born: Nanos(tls.born_ns) };
                Self::StreamContent(id, process, content(&tls, process, time))
            }
            Record::Tls(tls) if tls.generation == 0 => Self::Content(content(&tls, process, time), tls.file),
            Record::Tls(tls) => Self::HalfContent(content(&tls, process, time), tls.generation, tls.file),
            Record::Close(close) if close.generation == 0 => Self::Closed(closed(&close, process, time)),
            Record::Close(close) => Self::HalfEnded(HalfEnded {
                half: ConnectionId { process, object: close.ssl, born: Nanos(close.born_ns) },
                // It has one direction only.
                end: close.sent_end.max(close.received_end),
                time,
            }),
            Record::Exec(exec) => Self::Started(started(&exec, process, time), exec.working_directory_inode),
            Record::Exit(exit) => {
                Self::Exited(ProcessExited { process, status: WaitStatus(exit.wait_status), time })
            }
            Record::Fork(fork) => {
                Self::Forked(ProcessForked { parent: process, child: ProcessId(fork.child_tgid), time })
            }
            Record::Socket(socket) if socket.generation == 0 => {
                Self::Socket(evidence(&socket, process, time))
            }
            Record::Socket(socket) => Self::HalfSocket(evidence(&socket, process, time), socket.generation),
            Record::Stream(stream) => Self::Stream(StreamNews {
                id: StreamId { socket: stream.stream, born: Nanos(stream.born_ns) },
                what: stream.what,
                process,
                peer_socket: stream.peer,
                end: stream.offset,
                time,
            }),
            Record::SocketEnd(end) => Self::SocketEnded(end.socket, time),
        }
    }
}

fn content(tls: &Tls<'_>, process: ProcessId, time: MonotonicNanos) -> Content {
    Content {
        connection: ConnectionId { process, object: tls.ssl, born: Nanos(tls.born_ns) },
        thread: tls.origin.tid,
        direction: direction(tls.direction),
        offset: tls.offset,
        bytes: Bytes::copy_from_slice(tls.payload),
        time,
        function: tls.function.name(),
    }
}

fn direction(direction: abi::Direction) -> Direction {
    match direction {
        abi::Direction::Sent => Direction::Sent,
        abi::Direction::Received => Direction::Received,
    }
}

fn evidence(socket: &abi::record::Socket, process: ProcessId, time: MonotonicNanos) -> Evidence {
    Evidence {
        connection: ConnectionId { process, object: socket.ssl, born: Nanos(socket.born_ns) },
        direction: direction(socket.direction),
        socket: SocketIdentity { socket: socket.socket, local: socket.local, remote: socket.remote },
        content_bytes: socket.content_bytes,
        socket_bytes: socket.socket_bytes,
        tls_records: socket.tls_records,
        inside: socket.inside,
        time,
    }
}

fn closed(close: &Close, process: ProcessId, time: MonotonicNanos) -> ConnectionClosed {
    ConnectionClosed {
        connection: ConnectionId { process, object: close.ssl, born: Nanos(close.born_ns) },
        sent_end: close.sent_end,
        received_end: close.received_end,
        time,
        cause: CloseCause::Released,
    }
}

fn started(exec: &Exec<'_>, process: ProcessId, time: MonotonicNanos) -> ProcessStarted {
    use std::os::unix::ffi::OsStrExt as _;
    let path = |bytes: &[u8]| PathBuf::from(std::ffi::OsStr::from_bytes(bytes));
    let text = exec.arguments.strip_suffix(b"\0").unwrap_or(exec.arguments);
    ProcessStarted {
        process,
        parent: ProcessId(exec.parent_tgid),
        uid: exec.uid,
        gid: exec.gid,
        filename: path(exec.filename),
        executable: path(exec.interpreter),
        arguments: if text.is_empty() {
            Vec::new()
        } else {
            text.split(|&byte| byte == 0)
                .map(|argument| String::from_utf8_lossy(argument).into_owned())
                .collect()
        },
        arguments_truncated: (exec.arguments.len() as u64) < u64::from(exec.arguments_total),
        working_directory: None,
        time,
    }
}
