//! Structures that both sides see in memory: records in the ring, keys and values of maps.

use core::mem::{offset_of, size_of};

/// Content captured of one call at most: 1 MiB and room for a message's head before it. What is beyond becomes a gap
/// and is counted.
pub const MAX_CALL_BYTES: u32 = (1 << 20) + (64 << 10);

/// Payload capacities of a [`TlsRecord`]: a call is cut into records of the largest class, and the rest goes into
/// the smallest class that holds it, so that at most half of a record's room is unused.
pub const PAYLOAD_CLASSES: [u32; 7] = [256, 512, 1024, 2048, 4096, 8192, 16384];

/// Room for a path in an [`ExecRecord`], with its terminating zero.
pub const PATH_CAPACITY: usize = 512;

/// Room for the arguments in an [`ExecRecord`].
pub const ARGUMENTS_CAPACITY: usize = 8192;

/// What a record is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum RecordKind {
    /// Content of a TLS connection: [`TlsRecord`].
    Tls = 1,
    /// A TLS connection object ended: [`CloseRecord`].
    Close = 2,
    /// A program was started: [`ExecRecord`].
    Exec = 3,
    /// A process ended: [`ExitRecord`].
    Exit = 4,
    /// A process in scope made another: [`ForkRecord`].
    Fork = 5,
}

/// Which way content went, as the recorded process sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Direction {
    /// Written by the process.
    Sent = 0,
    /// Read by the process.
    Received = 1,
}

/// The probed function of a TLS library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Function {
    /// `int SSL_read(SSL *, void *buf, int num)`
    SslRead = 0,
    /// `int SSL_read_ex(SSL *, void *buf, size_t num, size_t *readbytes)`
    SslReadEx = 1,
    /// `int SSL_write(SSL *, const void *buf, int num)`
    SslWrite = 2,
    /// `int SSL_write_ex(SSL *, const void *buf, size_t num, size_t *written)`
    SslWriteEx = 3,
    /// `int SSL_write_ex2(SSL *, const void *buf, size_t num, uint64_t flags, size_t *written)`
    SslWriteEx2 = 4,
}

/// Why a connection object ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum CloseReason {
    /// `SSL_free`.
    Freed = 0,
    /// `SSL_clear`: the object is about to serve another connection.
    Cleared = 1,
}

/// The beginning of every record.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHeader {
    /// A [`RecordKind`].
    pub kind: u16,
    /// Zero.
    pub reserved: u16,
    /// Bytes of the record that carry meaning, this header included. The ring may hold more (the rest of a size
    /// class), which is not initialised.
    pub length: u32,
    /// `CLOCK_MONOTONIC`, nanoseconds.
    pub time_ns: u64,
    /// Process (thread group) id in the initial pid namespace.
    pub tgid: u32,
    /// Thread id in the initial pid namespace.
    pub tid: u32,
}

/// Content of one call, or a piece of it; the payload follows.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TlsRecord {
    /// The header; its time is when the call returned.
    pub header: RecordHeader,
    /// Address of the library's connection object in the process.
    pub ssl: u64,
    /// When the sensor first saw that object in this use; with process and address it names the connection.
    pub born_ns: u64,
    /// Position of the payload's first byte in this direction of the connection, from 0.
    pub offset: u64,
    /// Bytes of payload that follow.
    pub payload_length: u32,
    /// Bytes that the whole call transferred.
    pub call_length: u32,
    /// A [`Direction`].
    pub direction: u8,
    /// A [`Function`].
    pub function: u8,
    /// Zero.
    pub reserved: [u8; 6],
}

/// A connection object ended.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CloseRecord {
    /// The header.
    pub header: RecordHeader,
    /// As in [`TlsRecord`].
    pub ssl: u64,
    /// As in [`TlsRecord`].
    pub born_ns: u64,
    /// Bytes that the process sent on it in all, captured or not.
    pub sent_end: u64,
    /// Bytes that the process received on it in all, captured or not.
    pub received_end: u64,
    /// A [`CloseReason`].
    pub reason: u32,
    /// Zero.
    pub reserved: u32,
}

/// A process in scope started a program.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExecRecord {
    /// The header.
    pub header: RecordHeader,
    /// The parent's process id.
    pub parent_tgid: u32,
    /// User id in the initial user namespace.
    pub uid: u32,
    /// Group id in the initial user namespace.
    pub gid: u32,
    /// Bytes of `filename`, without the terminating zero.
    pub filename_length: u32,
    /// Bytes of `interpreter`, without the terminating zero.
    pub interpreter_length: u32,
    /// Bytes of `arguments` that are filled.
    pub arguments_length: u32,
    /// Bytes of arguments that the process has.
    pub arguments_total: u32,
    /// Zero.
    pub reserved: u32,
    /// Inode of the working directory, 0 where it could not be read.
    pub working_directory_inode: u64,
    /// What was executed, as it was named.
    pub filename: [u8; PATH_CAPACITY],
    /// The program that runs: the same, or a script's interpreter.
    pub interpreter: [u8; PATH_CAPACITY],
    /// The arguments, each ended by a zero byte.
    pub arguments: [u8; ARGUMENTS_CAPACITY],
}

/// A process in scope ended: its last thread did.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExitRecord {
    /// The header.
    pub header: RecordHeader,
    /// As `wait` reports it: the signal in bits 0 to 6, the core flag in bit 7, the exit code above.
    pub wait_status: u32,
    /// Zero.
    pub reserved: u32,
}

/// A process in scope made another, which is in scope from its first instruction.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ForkRecord {
    /// The header, of the parent.
    pub header: RecordHeader,
    /// The new process.
    pub child_tgid: u32,
    /// Zero.
    pub reserved: u32,
}

/// Key of `SCOPE`: a process id. A process whose id is in the map is recorded.
pub type ScopeKey = u32;

/// Value of `SCOPE`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScopeState {
    /// When the process took on its present program (or was forked, or taken into scope). Connection state that is
    /// older belongs to another program or process that had the same ids.
    pub since_ns: u64,
}

/// Key of `ACTIVE_CALLS`: one call in progress. The stack pointer tells nested and recursive calls apart.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallKey {
    /// Process id in the upper, thread id in the lower half.
    pub pid_tgid: u64,
    /// Stack pointer as it will be when the call has returned.
    pub stack: u64,
}

/// Value of `ACTIVE_CALLS`: what the return needs to know.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ActiveCall {
    /// Address of the connection object.
    pub ssl: u64,
    /// Address of the caller's buffer.
    pub buffer: u64,
    /// The buffer's length as the caller gave it.
    pub length: u64,
    /// Where the library writes the number of bytes, 0 where it returns it.
    pub count_address: u64,
    /// When the call began.
    pub time_ns: u64,
    /// A [`Function`].
    pub function: u32,
    /// A [`Direction`].
    pub direction: u32,
}

/// Key of `CONNECTIONS`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionKey {
    /// Process id: the same address in two processes is two connections.
    pub tgid: u32,
    /// Zero.
    pub reserved: u32,
    /// Address of the connection object.
    pub ssl: u64,
}

/// Value of `CONNECTIONS`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionState {
    /// When the object was first seen in this use.
    pub born_ns: u64,
    /// Bytes transferred so far, by [`Direction`].
    pub offsets: [u64; 2],
    /// The outermost call in progress, by [`Direction`]; zero where there is none.
    pub calls: [CallKey; 2],
}

impl ConnectionState {
    /// A connection that nothing has gone over yet.
    #[must_use]
    pub const fn new(born_ns: u64) -> Self {
        Self { born_ns, offsets: [0; 2], calls: [CallKey { pid_tgid: 0, stack: 0 }; 2] }
    }
}

impl ConnectionKey {
    /// The key as it lies in the map.
    #[must_use]
    pub fn to_bytes(self) -> [u8; size_of::<Self>()] {
        let mut bytes = [0; size_of::<Self>()];
        bytes[offset_of!(Self, tgid)..][..4].copy_from_slice(&self.tgid.to_ne_bytes());
        bytes[offset_of!(Self, reserved)..][..4].copy_from_slice(&self.reserved.to_ne_bytes());
        bytes[offset_of!(Self, ssl)..][..8].copy_from_slice(&self.ssl.to_ne_bytes());
        bytes
    }
}

impl ConnectionState {
    /// The value from the bytes in the map.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; size_of::<Self>()]) -> Self {
        let word = |offset: usize| {
            let mut word = [0; 8];
            word.copy_from_slice(&bytes[offset..offset + 8]);
            u64::from_ne_bytes(word)
        };
        let call = |index: usize| {
            let start = offset_of!(Self, calls) + index * size_of::<CallKey>();
            CallKey {
                pid_tgid: word(start + offset_of!(CallKey, pid_tgid)),
                stack: word(start + offset_of!(CallKey, stack)),
            }
        };
        Self {
            born_ns: word(offset_of!(Self, born_ns)),
            offsets: [word(offset_of!(Self, offsets)), word(offset_of!(Self, offsets) + 8)],
            calls: [call(0), call(1)],
        }
    }
}

impl CallKey {
    /// The process of a key as it lies in the map.
    #[must_use]
    pub fn tgid_of(bytes: &[u8; size_of::<Self>()]) -> u32 {
        let mut word = [0; 8];
        word.copy_from_slice(&bytes[offset_of!(Self, pid_tgid)..][..8]);
        (u64::from_ne_bytes(word) >> 32) as u32
    }
}

impl ActiveCall {
    /// The time of a value as it lies in the map.
    #[must_use]
    pub fn time_of(bytes: &[u8; size_of::<Self>()]) -> u64 {
        let mut word = [0; 8];
        word.copy_from_slice(&bytes[offset_of!(Self, time_ns)..][..8]);
        u64::from_ne_bytes(word)
    }
}

// The layout is the interface: a change of any figure is a change of the ABI.
const _: () = {
    assert!(size_of::<RecordHeader>() == 24);
    assert!(offset_of!(RecordHeader, length) == 4);
    assert!(offset_of!(RecordHeader, time_ns) == 8);
    assert!(offset_of!(RecordHeader, tgid) == 16);
    assert!(size_of::<TlsRecord>() == 64);
    assert!(offset_of!(TlsRecord, ssl) == 24);
    assert!(offset_of!(TlsRecord, offset) == 40);
    assert!(offset_of!(TlsRecord, payload_length) == 48);
    assert!(offset_of!(TlsRecord, direction) == 56);
    assert!(size_of::<CloseRecord>() == 64);
    assert!(size_of::<ExecRecord>() == 64 + 2 * PATH_CAPACITY + ARGUMENTS_CAPACITY);
    assert!(offset_of!(ExecRecord, working_directory_inode) == 56);
    assert!(offset_of!(ExecRecord, filename) == 64);
    assert!(size_of::<ExitRecord>() == 32);
    assert!(size_of::<ForkRecord>() == 32);
    assert!(size_of::<ScopeState>() == 8);
    assert!(size_of::<CallKey>() == 16);
    assert!(size_of::<ActiveCall>() == 48);
    assert!(size_of::<ConnectionKey>() == 16);
    assert!(size_of::<ConnectionState>() == 56);
};
