//! Events for the tests of recordings.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

use bytes::Bytes;
use oisp_capture::raw::RawHeader;
use oisp_capture::{
    AttachedFile, CaptureEvent, CloseCause, ConnectionClosed, ConnectionId, ConnectionPeer, ConnectionSocket,
    Content, CoverageFinding, CoverageReason, Direction, DirectionProof, FileProof, Losses, Nanos,
    ProcessExited, ProcessForked, ProcessId, ProcessStarted, SocketEnds, WaitStatus,
};
use proptest::prelude::*;

pub(crate) fn header() -> RawHeader {
    let mut more = serde_json::Map::new();
    more.insert("command".to_owned(), serde_json::json!(["curl", "https://example.org"]));
    RawHeader {
        sensor_version: "0.1.0".to_owned(),
        host: serde_json::json!({ "hostname": "there", "os": "linux" }),
        wall_minus_monotonic_ns: 1_769_860_800_000_000_000,
        started: Nanos(5),
        more,
    }
}

pub(crate) const CONNECTION: ConnectionId =
    ConnectionId { process: ProcessId(7), object: 0x7f00_1234_5678, born: Nanos(1_000_000_000) };

pub(crate) fn content_at(time: u64, offset: u64, bytes: &[u8]) -> CaptureEvent {
    CaptureEvent::Content(Content {
        connection: CONNECTION,
        thread: 8,
        direction: Direction::Sent,
        offset,
        bytes: Bytes::copy_from_slice(bytes),
        time: Nanos(time),
        function: "SSL_write",
    })
}

pub(crate) fn content(offset: u64, bytes: &[u8]) -> CaptureEvent {
    content_at(9, offset, bytes)
}

pub(crate) fn closed(time: u64, cause: CloseCause) -> CaptureEvent {
    CaptureEvent::ConnectionClosed(ConnectionClosed {
        connection: CONNECTION,
        sent_end: 10,
        received_end: 300,
        time: Nanos(time),
        cause,
    })
}

/// Bytes that do not pack.
pub(crate) fn noise(length: usize) -> Vec<u8> {
    let mut state = 1_u64;
    std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    })
    .take(length)
    .collect()
}

fn started(path: &[u8]) -> CaptureEvent {
    let path = PathBuf::from(OsString::from_vec(path.to_vec()));
    CaptureEvent::ProcessStarted(ProcessStarted {
        process: ProcessId(8),
        parent: ProcessId(7),
        uid: 1000,
        gid: 1001,
        filename: path.clone(),
        executable: "/usr/bin/python3".into(),
        arguments: vec!["python3".to_owned(), "an agent.py".to_owned()],
        arguments_truncated: true,
        working_directory: Some(path),
        time: Nanos(11),
    })
}

fn socket(ends: Option<(&str, &str)>) -> CaptureEvent {
    CaptureEvent::ConnectionSocket(ConnectionSocket {
        connection: ConnectionId { process: ProcessId(7), object: 1, born: Nanos(2) },
        ends: ends.map(|(local, remote)| SocketEnds {
            local: local.parse().unwrap(),
            remote: remote.parse().unwrap(),
        }),
        time: Nanos(16),
    })
}

pub(crate) fn one_of_each() -> Vec<CaptureEvent> {
    let finding = |process, file: Option<&str>, reason| {
        CaptureEvent::Coverage(CoverageFinding {
            process,
            file: file.map(PathBuf::from),
            reason,
            time: Nanos(15),
        })
    };
    let error = || "because".to_owned();
    vec![
        content(3, b"hello"),
        closed(10, CloseCause::Released),
        closed(10, CloseCause::ProcessGone),
        closed(10, CloseCause::RecordingEnded),
        started(b"/not\xffutf8"),
        CaptureEvent::ProcessForked(ProcessForked {
            parent: ProcessId(7),
            child: ProcessId(8),
            time: Nanos(12),
        }),
        CaptureEvent::ProcessExited(ProcessExited {
            process: ProcessId(8),
            status: WaitStatus(0x100),
            time: Nanos(13),
        }),
        finding(Some(ProcessId(8)), Some("/lib/libssl.so.3"), CoverageReason::AttachedLate { latency: 99 }),
        finding(None, Some("/lib/x"), CoverageReason::AttachFailed { error: error() }),
        finding(None, Some("/lib/x"), CoverageReason::Unreadable { error: error() }),
        finding(None, Some("/lib/x"), CoverageReason::ForeignArchitecture),
        finding(None, Some("/lib/x"), CoverageReason::SandboxedProcess),
        finding(None, None, CoverageReason::MappingNoticesLost { count: 3 }),
        finding(Some(ProcessId(8)), None, CoverageReason::MappingsNotFollowed { error: error() }),
        CaptureEvent::Losses(Losses {
            ring_full_records: 1,
            ring_full_bytes: 2,
            unreadable_bytes: 3,
            over_limit_bytes: 4,
            calls: 5,
            processes: 6,
            lifecycle_records: 7,
            malformed_records: 8,
        }),
        CaptureEvent::Attached(AttachedFile {
            path: "/lib/libssl.so.3".into(),
            libraries: vec!["OpenSSL".to_owned()],
            functions: vec!["SSL_read".to_owned(), "SSL_write".to_owned()],
            time: Nanos(14),
        }),
        socket(Some(("127.0.0.1:40000", "127.0.0.1:443"))),
        socket(Some(("[::1]:40000", "[2001:db8::1]:443"))),
        socket(None),
        CaptureEvent::FileProof(FileProof {
            path: "/lib/libssl.so.3".into(),
            sent: DirectionProof::Proven,
            received: DirectionProof::Nothing,
            time: Nanos(17),
        }),
        finding(None, None, CoverageReason::SocketsNotFollowed { error: error() }),
        finding(None, Some("/lib/x"), CoverageReason::WrongMatch { library: error(), error: error() }),
        finding(None, Some("/lib/x"), CoverageReason::NotLocated { library: error(), error: error() }),
        finding(Some(ProcessId(8)), None, CoverageReason::NotJoined { connections: 3 }),
        finding(None, None, CoverageReason::ContentUnplaced { records: 3, bytes: 300 }),
        CaptureEvent::ConnectionPeer(ConnectionPeer {
            connection: CONNECTION,
            peer: ProcessId(8),
            time: Nanos(18),
        }),
        finding(Some(ProcessId(8)), Some("/bin/x"), CoverageReason::PipesNotFollowed),
    ]
}

pub(crate) fn any_event() -> impl Strategy<Value = CaptureEvent> {
    let function = prop::sample::select(vec![
        "SSL_read",
        "SSL_write_ex2",
        "gnutls_record_send",
        "crypto/tls.(*Conn).Read",
    ]);
    let id = (any::<u32>(), any::<u64>(), any::<u64>()).prop_map(|(process, object, born)| ConnectionId {
        process: ProcessId(process),
        object,
        born: Nanos(born),
    });
    let bytes = prop::collection::vec(any::<u8>(), 0..2000);
    let content = (id, any::<u32>(), any::<bool>(), any::<u64>(), bytes, any::<u64>(), function).prop_map(
        |(connection, thread, sent, offset, bytes, time, function)| {
            CaptureEvent::Content(Content {
                connection,
                thread,
                direction: if sent { Direction::Sent } else { Direction::Received },
                offset,
                bytes: bytes.into(),
                time: Nanos(time),
                function,
            })
        },
    );
    let path = prop::collection::vec(1..=255_u8, 0..40).prop_map(|path| started(&path));
    let other = prop::sample::select(one_of_each());
    prop_oneof![content, path, other]
}
