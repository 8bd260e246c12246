//! Records parsed from the bytes of the ring.

use crate::layout::{
    ARGUMENTS_CAPACITY, CloseReason, CloseRecord, Direction, ExecRecord, ExitRecord, ForkRecord, Function,
    PATH_CAPACITY, RecordHeader, RecordKind, SocketEndRecord, SocketRecord, StreamNotice, StreamRecord,
    TlsRecord,
};
use core::mem::{offset_of, size_of};

/// A record of the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record<'a> {
    /// Content of a connection.
    Tls(Tls<'a>),
    /// A connection ended.
    Close(Close),
    /// A program was started.
    Exec(Exec<'a>),
    /// A process ended.
    Exit(Exit),
    /// A process made another.
    Fork(Fork),
    /// Bytes of a connection went over a socket.
    Socket(Socket),
    /// A socket ended.
    SocketEnd(SocketEnd),
    /// Something about a stream between two processes.
    Stream(Stream),
}

/// When and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// `CLOCK_MONOTONIC`, nanoseconds.
    pub time_ns: u64,
    /// Process id.
    pub tgid: u32,
    /// Thread id.
    pub tid: u32,
}

/// See [`TlsRecord`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are those of TlsRecord")]
pub struct Tls<'a> {
    pub origin: Origin,
    pub ssl: u64,
    pub born_ns: u64,
    pub offset: u64,
    pub call_length: u32,
    pub direction: Direction,
    pub function: Function,
    pub file: u16,
    pub generation: u32,
    pub payload: &'a [u8],
}

/// See [`CloseRecord`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are those of CloseRecord")]
pub struct Close {
    pub origin: Origin,
    pub ssl: u64,
    pub born_ns: u64,
    pub sent_end: u64,
    pub received_end: u64,
    pub reason: CloseReason,
    pub generation: u32,
}

/// See [`ExecRecord`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are those of ExecRecord")]
pub struct Exec<'a> {
    pub origin: Origin,
    pub parent_tgid: u32,
    pub uid: u32,
    pub gid: u32,
    pub working_directory_inode: u64,
    pub filename: &'a [u8],
    pub interpreter: &'a [u8],
    pub arguments: &'a [u8],
    pub arguments_total: u32,
}

/// See [`ExitRecord`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are those of ExitRecord")]
pub struct Exit {
    pub origin: Origin,
    pub wait_status: u32,
}

/// See [`ForkRecord`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are those of ForkRecord")]
pub struct Fork {
    pub origin: Origin,
    pub child_tgid: u32,
}

/// See [`SocketRecord`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are those of SocketRecord")]
pub struct Socket {
    pub origin: Origin,
    pub ssl: u64,
    pub born_ns: u64,
    pub generation: u32,
    pub socket: u64,
    pub content_bytes: u32,
    pub socket_bytes: u32,
    pub tls_records: u32,
    pub direction: Direction,
    pub inside: bool,
    pub local: core::net::SocketAddr,
    pub remote: core::net::SocketAddr,
}

/// See [`SocketEndRecord`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are those of SocketEndRecord")]
pub struct SocketEnd {
    pub origin: Origin,
    pub socket: u64,
}

/// See [`StreamRecord`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are those of StreamRecord")]
pub struct Stream {
    pub origin: Origin,
    pub stream: u64,
    pub born_ns: u64,
    pub peer: u64,
    pub offset: u64,
    pub what: StreamNotice,
}

/// Why bytes are not a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordError {
    /// Fewer bytes than the structure has.
    Short {
        /// Bytes that are needed.
        needed: usize,
        /// Bytes that are there.
        found: usize,
    },
    /// A kind that this version does not know.
    UnknownKind(u16),
    /// A direction that does not exist.
    UnknownDirection(u8),
    /// A function that does not exist.
    UnknownFunction(u8),
    /// A reason that does not exist.
    UnknownCloseReason(u32),
    /// Something about a stream that this version does not know.
    UnknownNotice(u32),
    /// An address family that a TLS connection's socket does not have.
    UnknownFamily(u16),
    /// A length field larger than its field.
    LengthOutOfRange {
        /// What the field says.
        length: u32,
        /// What there is room for.
        capacity: usize,
    },
}

impl core::fmt::Display for RecordError {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Short { needed, found } => write!(formatter, "record of {found} bytes, {needed} needed"),
            Self::UnknownKind(kind) => write!(formatter, "record of unknown kind {kind}"),
            Self::UnknownDirection(value) => write!(formatter, "unknown direction {value}"),
            Self::UnknownFunction(value) => write!(formatter, "unknown function {value}"),
            Self::UnknownCloseReason(value) => write!(formatter, "unknown close reason {value}"),
            Self::UnknownNotice(value) => write!(formatter, "unknown notice of a stream {value}"),
            Self::UnknownFamily(value) => write!(formatter, "unknown address family {value}"),
            Self::LengthOutOfRange { length, capacity } => {
                write!(formatter, "length {length} in a field of {capacity} bytes")
            }
        }
    }
}

impl core::error::Error for RecordError {}

impl<'a> Record<'a> {
    /// Parses one record.
    ///
    /// # Errors
    /// When the bytes are not a record that this version knows.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, RecordError> {
        let fields = Fields { bytes };
        fields.require(size_of::<RecordHeader>())?;
        let origin = Origin {
            time_ns: fields.u64(offset_of!(RecordHeader, time_ns)),
            tgid: fields.u32(offset_of!(RecordHeader, tgid)),
            tid: fields.u32(offset_of!(RecordHeader, tid)),
        };
        let kind = fields.u16(offset_of!(RecordHeader, kind));
        if kind == RecordKind::Tls as u16 {
            Tls::parse(&fields, origin).map(Self::Tls)
        } else if kind == RecordKind::Close as u16 {
            Close::parse(&fields, origin).map(Self::Close)
        } else if kind == RecordKind::Exec as u16 {
            Exec::parse(&fields, origin).map(Self::Exec)
        } else if kind == RecordKind::Exit as u16 {
            fields.require(size_of::<ExitRecord>())?;
            Ok(Self::Exit(Exit { origin, wait_status: fields.u32(offset_of!(ExitRecord, wait_status)) }))
        } else if kind == RecordKind::Fork as u16 {
            fields.require(size_of::<ForkRecord>())?;
            Ok(Self::Fork(Fork { origin, child_tgid: fields.u32(offset_of!(ForkRecord, child_tgid)) }))
        } else if kind == RecordKind::Socket as u16 {
            Socket::parse(&fields, origin).map(Self::Socket)
        } else if kind == RecordKind::SocketEnd as u16 {
            fields.require(size_of::<SocketEndRecord>())?;
            Ok(Self::SocketEnd(SocketEnd { origin, socket: fields.u64(offset_of!(SocketEndRecord, socket)) }))
        } else if kind == RecordKind::Stream as u16 {
            Stream::parse(&fields, origin).map(Self::Stream)
        } else {
            Err(RecordError::UnknownKind(kind))
        }
    }

    /// When and where.
    #[must_use]
    pub fn origin(&self) -> Origin {
        match self {
            Self::Tls(record) => record.origin,
            Self::Close(record) => record.origin,
            Self::Exec(record) => record.origin,
            Self::Exit(record) => record.origin,
            Self::Fork(record) => record.origin,
            Self::Socket(record) => record.origin,
            Self::SocketEnd(record) => record.origin,
            Self::Stream(record) => record.origin,
        }
    }
}

impl<'a> Tls<'a> {
    fn parse(fields: &Fields<'a>, origin: Origin) -> Result<Self, RecordError> {
        fields.require(size_of::<TlsRecord>())?;
        let length = fields.u32(offset_of!(TlsRecord, payload_length));
        let available = &fields.bytes[size_of::<TlsRecord>()..];
        Ok(Self {
            origin,
            ssl: fields.u64(offset_of!(TlsRecord, ssl)),
            born_ns: fields.u64(offset_of!(TlsRecord, born_ns)),
            offset: fields.u64(offset_of!(TlsRecord, offset)),
            call_length: fields.u32(offset_of!(TlsRecord, call_length)),
            direction: fields.direction(offset_of!(TlsRecord, direction))?,
            function: {
                let number = fields.bytes[offset_of!(TlsRecord, function)];
                Function::from_number(number).ok_or(RecordError::UnknownFunction(number))?
            },
            file: fields.u16(offset_of!(TlsRecord, file)),
            generation: fields.u32(offset_of!(TlsRecord, generation)),
            payload: prefix(available, length)?,
        })
    }
}

impl Close {
    fn parse(fields: &Fields<'_>, origin: Origin) -> Result<Self, RecordError> {
        fields.require(size_of::<CloseRecord>())?;
        Ok(Self {
            origin,
            ssl: fields.u64(offset_of!(CloseRecord, ssl)),
            born_ns: fields.u64(offset_of!(CloseRecord, born_ns)),
            sent_end: fields.u64(offset_of!(CloseRecord, sent_end)),
            received_end: fields.u64(offset_of!(CloseRecord, received_end)),
            reason: match fields.u32(offset_of!(CloseRecord, reason)) {
                0 => CloseReason::Freed,
                1 => CloseReason::Cleared,
                2 => CloseReason::Replaced,
                3 => CloseReason::Notified,
                4 => CloseReason::SocketEnded,
                other => return Err(RecordError::UnknownCloseReason(other)),
            },
            generation: fields.u32(offset_of!(CloseRecord, generation)),
        })
    }
}

/// `AF_INET` and `AF_INET6` (include/linux/socket.h).
const FAMILY_V4: u16 = 2;
const FAMILY_V6: u16 = 10;

impl Socket {
    fn parse(fields: &Fields<'_>, origin: Origin) -> Result<Self, RecordError> {
        use core::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
        fields.require(size_of::<SocketRecord>())?;
        let family = fields.u16(offset_of!(SocketRecord, family));
        let address = |at: usize, port_at: usize| {
            let address = match family {
                FAMILY_V4 => Ipv4Addr::from(fields.array::<4>(at)).into(),
                FAMILY_V6 => Ipv6Addr::from(fields.array::<16>(at)).to_canonical(),
                other => return Err(RecordError::UnknownFamily(other)),
            };
            Ok(SocketAddr::new(address, fields.u16(port_at)))
        };
        Ok(Self {
            origin,
            ssl: fields.u64(offset_of!(SocketRecord, ssl)),
            born_ns: fields.u64(offset_of!(SocketRecord, born_ns)),
            generation: fields.u32(offset_of!(SocketRecord, generation)),
            socket: fields.u64(offset_of!(SocketRecord, socket)),
            content_bytes: fields.u32(offset_of!(SocketRecord, content_bytes)),
            socket_bytes: fields.u32(offset_of!(SocketRecord, socket_bytes)),
            tls_records: fields.u32(offset_of!(SocketRecord, tls_records)),
            direction: fields.direction(offset_of!(SocketRecord, direction))?,
            inside: fields.bytes[offset_of!(SocketRecord, inside)] != 0,
            local: address(offset_of!(SocketRecord, local_address), offset_of!(SocketRecord, local_port))?,
            remote: address(offset_of!(SocketRecord, remote_address), offset_of!(SocketRecord, remote_port))?,
        })
    }
}

impl Stream {
    fn parse(fields: &Fields<'_>, origin: Origin) -> Result<Self, RecordError> {
        fields.require(size_of::<StreamRecord>())?;
        Ok(Self {
            origin,
            stream: fields.u64(offset_of!(StreamRecord, stream)),
            born_ns: fields.u64(offset_of!(StreamRecord, born_ns)),
            peer: fields.u64(offset_of!(StreamRecord, peer)),
            offset: fields.u64(offset_of!(StreamRecord, offset)),
            what: match fields.u32(offset_of!(StreamRecord, what)) {
                0 => StreamNotice::Followed,
                1 => StreamNotice::Read,
                2 => StreamNotice::Ended,
                other => return Err(RecordError::UnknownNotice(other)),
            },
        })
    }
}

impl<'a> Exec<'a> {
    fn parse(fields: &Fields<'a>, origin: Origin) -> Result<Self, RecordError> {
        fields.require(size_of::<ExecRecord>())?;
        let text = |start: usize, capacity: usize, length_at: usize| {
            prefix(&fields.bytes[start..start + capacity], fields.u32(length_at))
        };
        Ok(Self {
            origin,
            parent_tgid: fields.u32(offset_of!(ExecRecord, parent_tgid)),
            uid: fields.u32(offset_of!(ExecRecord, uid)),
            gid: fields.u32(offset_of!(ExecRecord, gid)),
            working_directory_inode: fields.u64(offset_of!(ExecRecord, working_directory_inode)),
            filename: text(
                offset_of!(ExecRecord, filename),
                PATH_CAPACITY,
                offset_of!(ExecRecord, filename_length),
            )?,
            interpreter: text(
                offset_of!(ExecRecord, interpreter),
                PATH_CAPACITY,
                offset_of!(ExecRecord, interpreter_length),
            )?,
            arguments: text(
                offset_of!(ExecRecord, arguments),
                ARGUMENTS_CAPACITY,
                offset_of!(ExecRecord, arguments_length),
            )?,
            arguments_total: fields.u32(offset_of!(ExecRecord, arguments_total)),
        })
    }
}

fn prefix(bytes: &[u8], length: u32) -> Result<&[u8], RecordError> {
    bytes.get(..length as usize).ok_or(RecordError::LengthOutOfRange { length, capacity: bytes.len() })
}

/// Reads integers at offsets that `require` has shown to exist.
struct Fields<'a> {
    bytes: &'a [u8],
}

impl Fields<'_> {
    fn require(&self, needed: usize) -> Result<(), RecordError> {
        if self.bytes.len() < needed {
            return Err(RecordError::Short { needed, found: self.bytes.len() });
        }
        Ok(())
    }

    fn array<const N: usize>(&self, offset: usize) -> [u8; N] {
        let mut array = [0; N];
        array.copy_from_slice(&self.bytes[offset..offset + N]);
        array
    }

    fn direction(&self, offset: usize) -> Result<Direction, RecordError> {
        match self.bytes[offset] {
            0 => Ok(Direction::Sent),
            1 => Ok(Direction::Received),
            other => Err(RecordError::UnknownDirection(other)),
        }
    }

    fn u16(&self, offset: usize) -> u16 {
        u16::from_ne_bytes(self.array(offset))
    }

    fn u32(&self, offset: usize) -> u32 {
        u32::from_ne_bytes(self.array(offset))
    }

    fn u64(&self, offset: usize) -> u64 {
        u64::from_ne_bytes(self.array(offset))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::{ActiveCall, CallKey, ConnectionKey, ConnectionState, StreamState};
    use std::vec::Vec;

    fn header(kind: RecordKind) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend((kind as u16).to_ne_bytes());
        bytes.extend(0_u16.to_ne_bytes());
        bytes.extend(0_u32.to_ne_bytes());
        bytes.extend(7_000_000_001_u64.to_ne_bytes());
        bytes.extend(41_u32.to_ne_bytes());
        bytes.extend(42_u32.to_ne_bytes());
        bytes
    }

    fn tls_record(payload_length: u32, payload: &[u8]) -> Vec<u8> {
        let mut bytes = header(RecordKind::Tls);
        bytes.extend(0xdead_beef_u64.to_ne_bytes());
        bytes.extend(6_000_000_000_u64.to_ne_bytes());
        bytes.extend(123_u64.to_ne_bytes());
        bytes.extend(payload_length.to_ne_bytes());
        bytes.extend(5_u32.to_ne_bytes());
        bytes.extend([1, 3, 0, 0, 0, 0, 0, 0]);
        bytes.extend(payload);
        bytes
    }

    #[test]
    fn tls_record_is_read_field_by_field_and_without_the_rest_of_its_class() {
        let bytes = tls_record(5, b"hello-and-uninitialised-rest");
        let Ok(Record::Tls(record)) = Record::parse(&bytes) else { panic!("a TLS record") };
        assert_eq!(record.origin, Origin { time_ns: 7_000_000_001, tgid: 41, tid: 42 });
        assert_eq!((record.ssl, record.born_ns, record.offset), (0xdead_beef, 6_000_000_000, 123));
        assert_eq!((record.direction, record.function), (Direction::Received, Function::SslWriteEx));
        assert_eq!(record.payload, b"hello");
    }

    #[test]
    fn payload_length_beyond_the_record_is_refused() {
        let bytes = tls_record(6, b"hello");
        assert_eq!(Record::parse(&bytes), Err(RecordError::LengthOutOfRange { length: 6, capacity: 5 }));
    }

    #[test]
    fn every_cut_of_every_kind_is_refused_and_never_panics() {
        let tls = tls_record(5, b"hello");
        for cut in 0..tls.len() {
            assert!(Record::parse(&tls[..cut]).is_err(), "cut at {cut}");
        }
        for (kind, size) in [
            (RecordKind::Close, size_of::<CloseRecord>()),
            (RecordKind::Exec, size_of::<ExecRecord>()),
            (RecordKind::Exit, size_of::<ExitRecord>()),
            (RecordKind::Fork, size_of::<ForkRecord>()),
            (RecordKind::SocketEnd, size_of::<SocketEndRecord>()),
            (RecordKind::Stream, size_of::<StreamRecord>()),
        ] {
            let mut bytes = header(kind);
            bytes.resize(size, 0);
            assert!(Record::parse(&bytes).is_ok(), "{kind:?}");
            assert_eq!(
                Record::parse(&bytes[..size - 1]),
                Err(RecordError::Short { needed: size, found: size - 1 }),
                "{kind:?}"
            );
        }
    }

    #[test]
    fn socket_record_of_both_families_is_read_field_by_field_and_no_cut_of_it_panics() {
        let record = |family: u16, address: [u8; 16]| {
            let mut bytes = header(RecordKind::Socket);
            for word in [0xdead_beef_u64, 6_000, 0xffff_8880] {
                bytes.extend(word.to_ne_bytes());
            }
            for word in [100_u32, 122, 9] {
                bytes.extend(word.to_ne_bytes());
            }
            for half in [family, 40_000, 443] {
                bytes.extend(half.to_ne_bytes());
            }
            bytes.extend([1, 1]);
            bytes.extend(1_u32.to_ne_bytes());
            bytes.extend(address);
            bytes.extend(address);
            bytes
        };
        let mut v4 = [0xaa; 16];
        v4[..4].copy_from_slice(&[127, 0, 0, 1]);
        let Ok(Record::Socket(socket)) = Record::parse(&record(FAMILY_V4, v4)) else { panic!("a socket") };
        assert_eq!((socket.ssl, socket.born_ns, socket.socket), (0xdead_beef, 6_000, 0xffff_8880));
        assert_eq!((socket.content_bytes, socket.socket_bytes, socket.tls_records), (100, 122, 1));
        assert_eq!((socket.direction, socket.inside, socket.generation), (Direction::Received, true, 9));
        assert_eq!(socket.local, "127.0.0.1:40000".parse().unwrap());
        assert_eq!(socket.remote, "127.0.0.1:443".parse().unwrap());
        let mut v6 = [0; 16];
        v6[15] = 1;
        let Ok(Record::Socket(socket)) = Record::parse(&record(FAMILY_V6, v6)) else { panic!("a socket") };
        assert_eq!(socket.remote, "[::1]:443".parse().unwrap());
        let unknown = record(1, v6);
        assert_eq!(Record::parse(&unknown), Err(RecordError::UnknownFamily(1)));
        for cut in 0..unknown.len() {
            assert!(Record::parse(&unknown[..cut]).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn stream_record_is_read_field_by_field_and_an_unknown_notice_is_refused() {
        let record = |what: u32| {
            let mut bytes = header(RecordKind::Stream);
            for word in [77_u64, 6_000, 78, 123] {
                bytes.extend(word.to_ne_bytes());
            }
            bytes.extend(what.to_ne_bytes());
            bytes.extend(0_u32.to_ne_bytes());
            bytes
        };
        let bytes = record(1);
        let Ok(Record::Stream(stream)) = Record::parse(&bytes) else { panic!("a stream") };
        assert_eq!((stream.stream, stream.born_ns, stream.peer, stream.offset), (77, 6_000, 78, 123));
        assert_eq!((stream.what, stream.origin.tgid), (StreamNotice::Read, 41));
        assert_eq!(Record::parse(&record(3)), Err(RecordError::UnknownNotice(3)));

        let mut state = [0; size_of::<StreamState>()];
        state[..8].copy_from_slice(&11_u64.to_ne_bytes());
        state[8..16].copy_from_slice(&22_u64.to_ne_bytes());
        assert_eq!(StreamState::progress_of(&state), (11, 22));
    }

    #[test]
    fn map_keys_and_values_keep_their_fields_through_bytes() {
        let key = ConnectionKey { tgid: 0x0102_0304, generation: 0, ssl: 0x1122_3344_5566_7788 };
        let mut expected = [0; 16];
        expected[..4].copy_from_slice(&key.tgid.to_ne_bytes());
        expected[8..].copy_from_slice(&key.ssl.to_ne_bytes());
        assert_eq!(key.to_bytes(), expected);

        let mut bytes = [0; size_of::<ConnectionState>()];
        for (index, word) in [11_u64, 22, 33, 44, 55, 66, 77].into_iter().enumerate() {
            bytes[index * 8..][..8].copy_from_slice(&word.to_ne_bytes());
        }
        let state = ConnectionState::from_bytes(&bytes);
        assert_eq!((state.born_ns, state.offsets), (11, [22, 33]));
        assert_eq!(state.calls[1], CallKey { pid_tgid: 66, stack: 77 });

        let mut call = [0; 16];
        call[..8].copy_from_slice(&((41_u64 << 32) | 42).to_ne_bytes());
        assert_eq!(CallKey::tgid_of(&call), 41);

        let mut active = [0; size_of::<ActiveCall>()];
        active[32..40].copy_from_slice(&77_u64.to_ne_bytes());
        assert_eq!(ActiveCall::time_of(&active), 77);
    }

    #[test]
    fn unknown_numbers_are_refused() {
        let mut bytes = tls_record(0, b"");
        bytes[offset_of!(TlsRecord, direction)] = 2;
        assert_eq!(Record::parse(&bytes), Err(RecordError::UnknownDirection(2)));
        let mut bytes = tls_record(0, b"");
        bytes[offset_of!(TlsRecord, function)] = 99;
        assert_eq!(Record::parse(&bytes), Err(RecordError::UnknownFunction(99)));
        assert_eq!(Record::parse(&[0xff; 64]), Err(RecordError::UnknownKind(0xffff)));
    }
}
