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
    /// Bytes of a connection went over a socket: [`SocketRecord`].
    Socket = 6,
    /// A socket that a [`SocketRecord`] named has ended: [`SocketEndRecord`].
    SocketEnd = 7,
    /// Something about a stream between two processes: [`StreamRecord`].
    Stream = 8,
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
    /// `int ssl_read_internal(SSL *, void *buf, size_t num, size_t *readbytes)`: OpenSSL's, behind both readers.
    SslReadInternal = 5,
    /// `int ssl_write_internal(SSL *, const void *buf, size_t num, uint64_t flags, size_t *written)`: OpenSSL's, behind
    /// all writers (before 3.3 without `flags`).
    SslWriteInternal = 6,
    /// `int EVP_AEAD_CTX_seal(ctx, out, out_len, max_out_len, nonce, nonce_len, in, in_len, ad, ad_len)`
    AeadSeal = 7,
    /// `int EVP_AEAD_CTX_seal_scatter(ctx, out, out_tag, out_tag_len, max_out_tag_len, nonce, nonce_len, in, in_len,
    /// extra_in, extra_in_len, ad, ad_len)`
    AeadSealScatter = 8,
    /// `int EVP_AEAD_CTX_open(ctx, out, out_len, max_out_len, nonce, nonce_len, in, in_len, ad, ad_len)`
    AeadOpen = 9,
    /// `int EVP_AEAD_CTX_open_gather(ctx, out, nonce, nonce_len, in, in_len, in_tag, in_tag_len, ad, ad_len)`
    AeadOpenGather = 10,
    /// `func (c *tls.Conn) Read(b []byte) (int, error)`
    GoRead = 11,
    /// `func (c *tls.Conn) Write(b []byte) (int, error)`
    GoWrite = 12,
    /// `ring::aead`: sealing in place.
    RingSeal = 13,
    /// `ring::aead`: opening in place.
    RingOpen = 14,
    /// No library's: a system call that wrote to a unix socket.
    UnixStream = 15,
    /// No library's: a system call that wrote to a pipe.
    Pipe = 16,
}

impl Function {
    const ALL: [Self; 17] = [
        Self::SslRead,
        Self::SslReadEx,
        Self::SslWrite,
        Self::SslWriteEx,
        Self::SslWriteEx2,
        Self::SslReadInternal,
        Self::SslWriteInternal,
        Self::AeadSeal,
        Self::AeadSealScatter,
        Self::AeadOpen,
        Self::AeadOpenGather,
        Self::GoRead,
        Self::GoWrite,
        Self::RingSeal,
        Self::RingOpen,
        Self::UnixStream,
        Self::Pipe,
    ];

    /// The function of a number, where there is one.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|function| *function as u8 == number)
    }

    /// Its name in its library.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::SslRead => "SSL_read",
            Self::SslReadEx => "SSL_read_ex",
            Self::SslWrite => "SSL_write",
            Self::SslWriteEx => "SSL_write_ex",
            Self::SslWriteEx2 => "SSL_write_ex2",
            Self::SslReadInternal => "ssl_read_internal",
            Self::SslWriteInternal => "ssl_write_internal",
            Self::AeadSeal => "EVP_AEAD_CTX_seal",
            Self::AeadSealScatter => "EVP_AEAD_CTX_seal_scatter",
            Self::AeadOpen => "EVP_AEAD_CTX_open",
            Self::AeadOpenGather => "EVP_AEAD_CTX_open_gather",
            Self::GoRead => "crypto/tls.(*Conn).Read",
            Self::GoWrite => "crypto/tls.(*Conn).Write",
            Self::RingSeal => "ring::aead seal",
            Self::RingOpen => "ring::aead open",
            Self::UnixStream => "unix_stream",
            Self::Pipe => "pipe",
        }
    }
}

/// Why a connection object ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum CloseReason {
    /// `SSL_free`, Go's `Conn.Close`.
    Freed = 0,
    /// `SSL_clear`: the object is about to serve another connection.
    Cleared = 1,
    /// A new object was made at the same address, or one there begins a connection: the earlier one had been freed.
    Replaced = 2,
    /// The process sent or received the alert that ends a connection (`close_notify`).
    Notified = 3,
    /// Its socket was closed, of an object whose end nothing else marks.
    SocketEnded = 4,
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
    /// The file whose probe this is, as its [`ProbeCookie`] says; 0 where the kernel has no cookies.
    pub file: u16,
    /// As in [`ConnectionKey`].
    pub generation: u32,
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
    /// As in [`ConnectionKey`].
    pub generation: u32,
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

/// Bytes of a connection went over a socket, as far as one thread shows it: evidence of which socket a connection uses.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketRecord {
    /// The header.
    pub header: RecordHeader,
    /// As in [`TlsRecord`].
    pub ssl: u64,
    /// As in [`TlsRecord`].
    pub born_ns: u64,
    /// Address of the kernel's `struct sock`; it is used again after the socket's end.
    pub socket: u64,
    /// Bytes of content that went through the TLS library in this direction: sent, since the connection's last send on
    /// this thread; received, by the first read after the socket calls.
    pub content_bytes: u32,
    /// Bytes that the socket calls moved: inside the call of the TLS library all of them together, received before it all
    /// since the last read.
    pub socket_bytes: u32,
    /// As in [`ConnectionKey`].
    pub generation: u32,
    /// `AF_INET` or `AF_INET6`.
    pub family: u16,
    /// Port of this end, host byte order.
    pub local_port: u16,
    /// Port of the other end, host byte order.
    pub remote_port: u16,
    /// A [`Direction`].
    pub direction: u8,
    /// 1 where the socket call happened inside the call of the TLS library, 0 where it followed (sent) or preceded
    /// (received) it on the same thread.
    pub inside: u8,
    /// TLS records that the content fills at least: each call begins one, and one holds [`MAX_TLS_RECORD`] bytes.
    pub tls_records: u32,
    /// Address of this end; of IPv4 the first 4 bytes.
    pub local_address: [u8; 16],
    /// Address of the other end; of IPv4 the first 4 bytes.
    pub remote_address: [u8; 16],
}

/// Content of one TLS record at most (RFC 8446, section 5.1).
pub const MAX_TLS_RECORD: u32 = 1 << 14;

/// Evidence records for one direction of a connection at most.
pub const MAX_EVIDENCE: u8 = 4;

/// A socket that a [`SocketRecord`] named has ended; its address may come to mean another.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketEndRecord {
    /// The header, of the process that used it; no thread.
    pub header: RecordHeader,
    /// As in [`SocketRecord`].
    pub socket: u64,
}

/// Something about a stream: what one process writes to a unix socket or pipe and another reads at its other end.
///
/// Its content comes in [`TlsRecord`]s: `ssl` is the stream, `function` [`Function::UnixStream`] or [`Function::Pipe`], the direction always
/// [`Direction::Sent`], because content is captured once, where it is written.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamRecord {
    /// The header: of who wrote, of who read.
    pub header: RecordHeader,
    /// Inode number of the socket or pipe that is written to. It is not used again for 2^32 others.
    pub stream: u64,
    /// When the first write was seen.
    pub born_ns: u64,
    /// Inode number of the socket at the other end, 0 where it has none yet. The two ends of a pipe have one.
    pub peer: u64,
    /// Bytes written so far.
    pub offset: u64,
    /// A [`StreamNotice`].
    pub what: u32,
    /// Zero.
    pub reserved: u32,
}

/// What a [`StreamRecord`] says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum StreamNotice {
    /// Its content is copied from now on. The record's process writes it.
    Followed = 0,
    /// The record's process has read from it.
    Read = 1,
    /// All was read and nothing more will come.
    Ended = 2,
}

/// What user space tells a kernel program about the place that it is attached to (`bpf_get_attach_cookie`).
///
/// ```
/// use oisp_ebpf_common::ProbeCookie;
/// let cookie = ProbeCookie { file: 7, pushed_words: 3, arguments: 0x1234 };
/// assert_eq!(ProbeCookie::unpack(cookie.pack()), cookie);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProbeCookie {
    /// The file's number, from 1.
    pub file: u16,
    /// 8-byte words that the stack has grown by since the function was entered.
    pub pushed_words: u8,
    /// Where the arguments are, as the program for the function reads it.
    pub arguments: u32,
}

impl ProbeCookie {
    /// In `arguments` of OpenSSL's and BoringSSL's functions: nothing but the end of its socket marks the end of a
    /// connection.
    pub const ENDS_WITH_SOCKET: u32 = 1;

    /// As the kernel keeps it.
    #[must_use]
    #[inline(always)]
    pub const fn pack(self) -> u64 {
        self.file as u64 | (self.pushed_words as u64) << 16 | (self.arguments as u64) << 32
    }

    /// Out of what the kernel kept.
    #[must_use]
    #[inline(always)]
    pub const fn unpack(cookie: u64) -> Self {
        Self { file: cookie as u16, pushed_words: (cookie >> 16) as u8, arguments: (cookie >> 32) as u32 }
    }
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
    /// Process id in the upper half; in the lower the thread id, of Go's calls [`GO_CALL`] and the depth of the stack.
    pub pid_tgid: u64,
    /// Stack pointer as it will be when the call has returned; of Go's calls the goroutine.
    pub stack: u64,
}

/// In the key of a Go call: no thread id is that large.
pub const GO_CALL: u32 = 1 << 31;

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
    /// Where the library writes the number of bytes, 0 where it returns it. Of Go's calls, which return it, the end of
    /// the stack that the buffer lies on, 0 where it lies elsewhere.
    pub count_address: u64,
    /// When the call began.
    pub time_ns: u64,
    /// A [`Function`].
    pub function: u8,
    /// A [`Direction`].
    pub direction: u8,
    /// As in [`TlsRecord`].
    pub file: u16,
    /// As in [`ConnectionKey`].
    pub generation: u32,
}

/// Value of `AEAD_CALLS`, whose key is a [`CallKey`]: a record that is being opened.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AeadCall {
    /// Address of the AEAD context.
    pub context: u64,
    /// Where the plaintext will be.
    pub buffer: u64,
    /// Where its length will be written, 0 where it is known beforehand.
    pub length_address: u64,
    /// As in [`ConnectionState::last_record`].
    pub number: u64,
    /// As in [`ConnectionKey`].
    pub generation: u32,
    /// Bytes that are opened, with the tag only where the function takes both as one.
    pub input_length: u32,
    /// The record's length as its additional data has it.
    pub record_length: u32,
    /// The record's content type, 0 where it is sealed with the content.
    pub kind: u8,
    /// A [`Function`].
    pub function: u8,
    /// As in [`TlsRecord`].
    pub file: u16,
}

/// Key of `CONNECTIONS`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionKey {
    /// Process id: the same address in two processes is two connections.
    pub tgid: u32,
    /// What tells apart the uses of one address, where a library shows it: of an AEAD context the first 4 bytes of the
    /// nonce, which stay the same for one key and direction. 0 for the others.
    pub generation: u32,
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
    /// Evidence records written of it, by [`Direction`].
    pub evidence: [u8; 2],
    /// 1 where nothing but the end of its socket marks the end of the connection.
    pub ends_with_socket: u8,
    /// Zero.
    pub reserved: [u8; 5],
    /// Number of the last TLS record, where records are followed one by one; of TLS 1.3 combined with a constant of the
    /// key (RFC 8446, section 5.3).
    pub last_record: u64,
}

/// Key of `THREADS`: process id in the upper, thread id in the lower half.
pub type ThreadKey = u64;

/// Value of `THREADS`: what one thread last did with TLS and with sockets. A thread has one once it has used TLS.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThreadState {
    /// The call of a TLS library in progress, the innermost.
    pub call: EnclosingCall,
    /// The call around it, of another connection: TLS inside TLS.
    pub outer: EnclosingCall,
    /// What moved inside `call` in its direction.
    pub inside: SocketSight,
    /// What was received outside of calls since the last read.
    pub received: SocketSight,
    /// What was written and not yet sent, by connection.
    pub written: [Written; WRITTEN_SLOTS],
}

/// Connections whose content may wait for its send on one thread.
pub const WRITTEN_SLOTS: usize = 4;

/// A call of a TLS library in progress on a thread.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EnclosingCall {
    /// Address of the connection object, 0 where there is no call.
    pub ssl: u64,
    /// Stack pointer as in [`CallKey`].
    pub stack: u64,
    /// As in [`ConnectionKey`].
    pub generation: u32,
    /// A [`Direction`].
    pub direction: u32,
}

/// Socket calls of a thread, on one socket.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SocketSight {
    /// Address of the `struct sock`, 0 where there was no call.
    pub socket: u64,
    /// When the last call was.
    pub time_ns: u64,
    /// Both ports, by which the socket is known again.
    pub ports: u32,
    /// Bytes that the calls moved.
    pub bytes: u32,
    /// 1 where other sockets were among the calls: nothing can be said.
    pub several: u32,
    /// 1 where something was taken out of it: what is received next is seen anew. Inside a call: [`OPPOSITE`] where the
    /// calls moved bytes the other way than the call does.
    pub is_read: u32,
}

/// In [`SocketSight::is_read`].
pub const OPPOSITE: u32 = 2;

/// In a key of the doubts, beside the number of the file: calls that moved their bytes the other way.
pub const WRONG_WAY: u32 = 1 << 16;

/// Content of one connection that waits for its send.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Address of the connection object, 0 where the slot is free.
    pub ssl: u64,
    /// When it was last added to.
    pub time_ns: u64,
    /// As in [`ConnectionKey`].
    pub generation: u32,
    /// Bytes of content.
    pub bytes: u32,
    /// As in [`SocketRecord`].
    pub tls_records: u32,
    /// Zero.
    pub reserved: u32,
}

impl ThreadState {
    /// A thread that has just used TLS for the first time.
    pub const NEW: Self = Self {
        call: EnclosingCall { ssl: 0, stack: 0, generation: 0, direction: 0 },
        outer: EnclosingCall { ssl: 0, stack: 0, generation: 0, direction: 0 },
        inside: SocketSight { socket: 0, time_ns: 0, ports: 0, bytes: 0, several: 0, is_read: 0 },
        received: SocketSight { socket: 0, time_ns: 0, ports: 0, bytes: 0, several: 0, is_read: 0 },
        written: [Written { ssl: 0, time_ns: 0, generation: 0, bytes: 0, tls_records: 0, reserved: 0 };
            WRITTEN_SLOTS],
    };
}

/// Key of `SOCKETS`: address of a `struct sock` that a [`SocketRecord`] named and that has not ended.
pub type SocketKey = u64;

/// Value of `SOCKETS`: who used it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketUser {
    /// The process.
    pub tgid: u32,
    /// 1 where the connection ends with the socket.
    pub ends_connection: u32,
    /// Address of the connection object.
    pub ssl: u64,
}

/// Key of `STREAMS` and `READERS`: inode number of a socket.
pub type StreamKey = u64;

/// Value of `STREAMS`: a unix socket that a process in scope has written to.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamState {
    /// When the first write was seen.
    pub born_ns: u64,
    /// Bytes written so far, while it is followed.
    pub offset: u64,
    /// As in [`StreamRecord`].
    pub peer: u64,
    /// 1 where its content is copied; 0 where it is not looked at again.
    pub followed: u32,
    /// Zero.
    pub reserved: u32,
}

/// Value of `READERS`: a unix socket that a process in scope has read from, or whose other end is followed.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReaderState {
    /// The key in `STREAMS` of the other end, 0 where that is not followed.
    pub stream: u64,
    /// The process that has read, 0 where none has.
    pub tgid: u32,
    /// 1 where that was told.
    pub told: u32,
}

impl StreamState {
    /// Not to be looked at again, as it lies in the map.
    #[must_use]
    pub const fn passed_over() -> [u8; size_of::<Self>()] {
        [0; size_of::<Self>()]
    }

    /// How far a stream came, from the bytes in the map: when it was first seen, and the bytes written since.
    #[must_use]
    pub fn progress_of(bytes: &[u8; size_of::<Self>()]) -> (u64, u64) {
        let word = |offset: usize| {
            let mut word = [0; 8];
            word.copy_from_slice(&bytes[offset..offset + 8]);
            u64::from_ne_bytes(word)
        };
        (word(offset_of!(Self, born_ns)), word(offset_of!(Self, offset)))
    }
}

impl ConnectionState {
    /// A connection that nothing has gone over yet.
    #[must_use]
    pub const fn new(born_ns: u64) -> Self {
        Self {
            born_ns,
            offsets: [0; 2],
            calls: [CallKey { pid_tgid: 0, stack: 0 }; 2],
            evidence: [0; 2],
            ends_with_socket: 0,
            reserved: [0; 5],
            last_record: 0,
        }
    }
}

impl ConnectionKey {
    /// The key as it lies in the map.
    #[must_use]
    pub fn to_bytes(self) -> [u8; size_of::<Self>()] {
        let mut bytes = [0; size_of::<Self>()];
        bytes[offset_of!(Self, tgid)..][..4].copy_from_slice(&self.tgid.to_ne_bytes());
        bytes[offset_of!(Self, generation)..][..4].copy_from_slice(&self.generation.to_ne_bytes());
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
            evidence: [bytes[offset_of!(Self, evidence)], bytes[offset_of!(Self, evidence) + 1]],
            ends_with_socket: bytes[offset_of!(Self, ends_with_socket)],
            reserved: [0; 5],
            last_record: word(offset_of!(Self, last_record)),
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
    assert!(size_of::<SocketRecord>() == 104);
    assert!(offset_of!(SocketRecord, socket) == 40);
    assert!(offset_of!(SocketRecord, local_address) == 72);
    assert!(size_of::<ScopeState>() == 8);
    assert!(size_of::<CallKey>() == 16);
    assert!(size_of::<ActiveCall>() == 48);
    assert!(size_of::<ConnectionKey>() == 16);
    assert!(size_of::<ConnectionState>() == 72);
    assert!(size_of::<SocketEndRecord>() == 32);
    assert!(size_of::<SocketUser>() == 16);
    assert!(offset_of!(SocketRecord, tls_records) == 68);
    assert!(size_of::<EnclosingCall>() == 24);
    assert!(size_of::<SocketSight>() == 32);
    assert!(size_of::<Written>() == 32);
    assert!(size_of::<ThreadState>() == 240);
    assert!(size_of::<AeadCall>() == 48);
    assert!(size_of::<StreamRecord>() == 64);
    assert!(offset_of!(StreamRecord, what) == 56);
    assert!(size_of::<StreamState>() == 32);
    assert!(size_of::<ReaderState>() == 16);
};
