//! The kernel side: the embedded object, its settings, its maps.

use std::path::PathBuf;

use aya::maps::{HashMap, Map, MapData, PerCpuArray, RingBuf};
use aya::programs::{ProgramError, RawTracePoint, UProbe};
use aya::{Ebpf, EbpfError, EbpfLoader};
use oisp_ebpf_common::{
    AeadCall, CallKey, ConnectionKey, ConnectionState, ReaderState, SocketKey, SocketUser, StreamKey,
    StreamState, ThreadKey, ThreadState,
};

use crate::btf::{Btf, BtfError};
use crate::placement;
use crate::programs::{SOCKET_TRACEPOINTS, TRACEPOINTS, UPROBES};
use crate::requirements::{self, Requirement};

/// The object for this CPU, built from `oisp-ebpf`.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/oisp-ebpf.o"));

/// Keys and values of maps as bytes: their structure is `oisp-ebpf-common`'s.
pub(crate) type ConnectionKeyBytes = [u8; size_of::<ConnectionKey>()];
pub(crate) type ConnectionStateBytes = [u8; size_of::<ConnectionState>()];
pub(crate) type StreamStateBytes = [u8; size_of::<StreamState>()];
pub(crate) type CallKeyBytes = [u8; size_of::<CallKey>()];
pub(crate) type ActiveCallBytes = [u8; size_of::<oisp_ebpf_common::ActiveCall>()];

/// Sizes of what the kernel side holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Bytes of the ring, a power of two from 64 KiB to 1 GiB; other values are rounded up to one.
    pub ring_bytes: u32,
    /// Connections whose position is remembered; of more the least recently used is forgotten.
    pub connections: u32,
    /// Processes in scope; more are not recorded, and counted. Of the whole host all are recorded.
    pub processes: u32,
    /// Calls in progress; of more the connection starts anew, and they are counted.
    pub calls: u32,
    /// Follow what is written to pipes, by a tracepoint that every system call of the host passes.
    pub pipes: bool,
    /// The folder that analyses of files are kept in; without one every file is analysed each time.
    pub analyses: Option<PathBuf>,
}

/// Memory that the kernel holds for a capture, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelMemory {
    /// The ring.
    pub ring: usize,
    /// All tables together, as far as it can be known from outside.
    pub tables: usize,
}

impl KernelMemory {
    /// Both.
    #[must_use]
    pub fn total(&self) -> usize {
        self.ring + self.tables
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            ring_bytes: 16 << 20,
            connections: 32_768,
            processes: 16_384,
            calls: 16_384,
            pipes: false,
            analyses: None,
        }
    }
}

/// What a hash table takes for each entry besides key and value, both rounded up to 8 bytes: `struct htab_elem` (48
/// bytes) and a bucket (16 bytes, as many as entries, rounded up to a power of two), in kernel/bpf/hashtab.c.
const HASH_ENTRY_OVERHEAD: usize = 48 + 16;

impl Options {
    /// What it costs. The kernel reserves all of it when the programs are loaded.
    #[must_use]
    pub fn memory(&self) -> KernelMemory {
        let table = |entries: u32, key: usize, value: usize| {
            entries as usize * (key.next_multiple_of(8) + value.next_multiple_of(8) + HASH_ENTRY_OVERHEAD)
        };
        KernelMemory {
            ring: self.ring() as usize,
            tables: table(self.connections, size_of::<ConnectionKey>(), size_of::<ConnectionState>())
                + table(self.processes, size_of::<u32>(), size_of::<u64>())
                + table(self.calls, size_of::<CallKey>(), size_of::<oisp_ebpf_common::ActiveCall>())
                + table(self.threads(), size_of::<ThreadKey>(), size_of::<ThreadState>())
                + table(self.sockets(), size_of::<SocketKey>(), size_of::<SocketUser>())
                + table(self.streams(), size_of::<StreamKey>(), size_of::<StreamState>())
                + table(self.streams(), size_of::<StreamKey>(), size_of::<ReaderState>())
                + table(self.threads(), size_of::<CallKey>(), size_of::<AeadCall>())
                + table(self.threads(), size_of::<u32>(), size_of::<u32>()),
        }
    }

    /// Threads that use TLS; of more the least recently used is forgotten, and with it evidence of its sockets.
    fn threads(&self) -> u32 {
        self.calls.div_ceil(4).max(1)
    }

    /// Sockets whose end is told; the end of more than that is not noticed.
    fn sockets(&self) -> u32 {
        self.connections.div_ceil(2).max(1)
    }

    /// Unix sockets that are known, in each direction; of more the least recently used is looked at anew.
    fn streams(&self) -> u32 {
        self.connections.div_ceil(4).max(1)
    }

    pub(crate) fn ring(&self) -> u32 {
        self.ring_bytes.clamp(MINIMUM_RING, 1 << 30).next_power_of_two()
    }

    /// What content leaves free of the ring: a few notices of processes (9 KiB each), fewer in a tiny ring.
    fn reserve(&self) -> u32 {
        (64 << 10).min(self.ring() / 4)
    }
}

/// Three quarters of it take two of the largest content records (16 KiB and a header), the quarter that content leaves
/// free takes a program's start (9 KiB). It is also a multiple of every page size.
const MINIMUM_RING: u32 = 64 << 10;

/// Why the kernel side cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The host lacks something.
    #[error("{0}")]
    Requirement(Requirement),
    /// A kernel structure is not as the programs need it.
    #[error("this kernel's type information cannot be used: {0}")]
    Btf(#[from] BtfError),
    /// The kernel refused the object.
    #[error("the kernel refused the programs: {0}")]
    Object(#[source] Box<EbpfError>),
    /// The kernel refused a program.
    #[error("the kernel refused the program `{program}`: {reason}")]
    Program {
        /// Which.
        program: &'static str,
        /// Why, in the kernel's words.
        reason: String,
    },
    /// The object does not have what it should have: it was not built from these sources.
    #[error("the embedded kernel object has no `{0}`; rebuild it with `cargo xtask build-ebpf`")]
    Missing(&'static str),
    /// A map could not be used.
    #[error("the kernel's `{map}` map cannot be used: {reason}")]
    Map {
        /// Which.
        map: &'static str,
        /// Why.
        reason: String,
    },
    /// A file descriptor or a thread could not be had.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: &'static str,
        /// Why it failed.
        source: std::io::Error,
    },
}

/// Who is in scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// The processes that are taken into scope, and their descendants.
    Chosen,
    /// Every process but this one, since this time of the monotonic clock.
    Host { since_ns: u64 },
}

/// The loaded object.
pub(crate) struct Kernel {
    pub(crate) ebpf: Ebpf,
    pub(crate) ring: RingBuf<MapData>,
    pub(crate) scope: HashMap<MapData, u32, u64>,
    pub(crate) connections: HashMap<MapData, ConnectionKeyBytes, ConnectionStateBytes>,
    pub(crate) active_calls: HashMap<MapData, CallKeyBytes, ActiveCallBytes>,
    pub(crate) counters: PerCpuArray<MapData, u64>,
    pub(crate) streams: HashMap<MapData, u64, StreamStateBytes>,
    /// Why sockets are not followed, where they are not.
    pub(crate) without_sockets: Option<String>,
    /// Signs that a file's functions are not what they were taken for, by the file's number.
    pub(crate) doubts: HashMap<MapData, u32, u64>,
    /// Whether a probe can tell its program about its place.
    pub(crate) has_cookies: bool,
}

impl Kernel {
    /// Loads everything and attaches the process tracepoints; with an empty scope nothing is recorded yet.
    pub(crate) fn load(options: &Options, scope: Scope) -> Result<Self, LoadError> {
        if let Some(unmet) = requirements::first_unmet() {
            return Err(LoadError::Requirement(unmet));
        }
        let btf = Btf::of_kernel()?;
        let settings = settings(&btf)?;
        let reserve = options.reserve();
        let sensor = std::process::id();
        let host_since = match scope {
            Scope::Chosen => 0,
            Scope::Host { since_ns } => since_ns,
        };
        let has_cookies = placement::has_cookies();
        let cookies = u32::from(has_cookies);
        let mut loader = EbpfLoader::new();
        loader.map_max_entries("EVENTS", options.ring());
        loader.map_max_entries("CONNECTIONS", options.connections.max(1));
        loader.map_max_entries("SCOPE", options.processes.max(1));
        loader.map_max_entries("ACTIVE_CALLS", options.calls.max(1));
        loader.map_max_entries("THREADS", options.threads());
        // One at a time on each thread.
        loader.map_max_entries("AEAD_CALLS", options.threads());
        loader.map_max_entries("MOVING", options.threads());
        loader.map_max_entries("SOCKETS", options.sockets());
        loader.map_max_entries("STREAMS", options.streams());
        loader.map_max_entries("READERS", options.streams());
        loader.override_global("RING_RESERVE", &reserve, true);
        loader.override_global("SENSOR_TGID", &sensor, true);
        loader.override_global("HOST_SINCE", &host_since, true);
        loader.override_global("COOKIES", &cookies, true);
        for (name, offset) in &settings {
            loader.override_global(name, offset, true);
        }
        let mut ebpf = loader.load(OBJECT).map_err(|error| LoadError::Object(Box::new(error)))?;

        for name in UPROBES {
            load_uprobe(&mut ebpf, name)?;
        }
        let mut kernel = Self {
            ring: take(&mut ebpf, "EVENTS", RingBuf::try_from)?,
            scope: take(&mut ebpf, "SCOPE", HashMap::try_from)?,
            connections: take(&mut ebpf, "CONNECTIONS", HashMap::try_from)?,
            active_calls: take(&mut ebpf, "ACTIVE_CALLS", HashMap::try_from)?,
            counters: take(&mut ebpf, "COUNTERS", PerCpuArray::try_from)?,
            streams: take(&mut ebpf, "STREAMS", HashMap::try_from)?,
            doubts: take(&mut ebpf, "DOUBTS", HashMap::try_from)?,
            without_sockets: None,
            has_cookies,
            ebpf,
        };
        for &(name, tracepoint) in TRACEPOINTS {
            kernel.attach_tracepoint(name, tracepoint)?;
        }
        if options.pipes {
            kernel.attach_tracepoint("system_call", "sys_exit")?;
        }
        kernel.without_sockets = kernel.attach_sockets().err().map(|error| error.to_string());
        Ok(kernel)
    }

    /// The tracepoints of sends and receives came with Linux 6.3. Without them everything is recorded but the addresses.
    fn attach_sockets(&mut self) -> Result<(), LoadError> {
        SOCKET_TRACEPOINTS.iter().try_for_each(|&(name, tracepoint)| self.attach_tracepoint(name, tracepoint))
    }

    fn attach_tracepoint(&mut self, name: &'static str, tracepoint: &str) -> Result<(), LoadError> {
        let refused = |error: ProgramError| LoadError::Program { program: name, reason: chain(&error) };
        let program: &mut RawTracePoint =
            self.ebpf.program_mut(name).ok_or(LoadError::Missing(name))?.try_into().map_err(refused)?;
        program.load().map_err(refused)?;
        // The link lives in the program, which lives as long as the object.
        program.attach(tracepoint).map_err(refused)?;
        Ok(())
    }

    /// The uprobe program of a name that is in [`UPROBES`].
    pub(crate) fn uprobe(&mut self, name: &'static str) -> Result<&mut UProbe, LoadError> {
        self.ebpf
            .program_mut(name)
            .ok_or(LoadError::Missing(name))?
            .try_into()
            .map_err(|error: ProgramError| LoadError::Program { program: name, reason: chain(&error) })
    }
}

fn load_uprobe(ebpf: &mut Ebpf, name: &'static str) -> Result<(), LoadError> {
    let refused = |error: ProgramError| LoadError::Program { program: name, reason: chain(&error) };
    let program: &mut UProbe =
        ebpf.program_mut(name).ok_or(LoadError::Missing(name))?.try_into().map_err(refused)?;
    program.load().map_err(refused)
}

fn take<T, E: std::fmt::Display>(
    ebpf: &mut Ebpf,
    name: &'static str,
    convert: impl FnOnce(Map) -> Result<T, E>,
) -> Result<T, LoadError> {
    let map = ebpf.take_map(name).ok_or(LoadError::Missing(name))?;
    convert(map).map_err(|error| LoadError::Map { map: name, reason: error.to_string() })
}

/// The structure offsets that the programs need, by the names of their settings.
fn settings(btf: &Btf) -> Result<Vec<(&'static str, u32)>, BtfError> {
    // A kernel without IPv6 has no such members, and no socket that would be asked for them.
    let of_ipv6 = [("SOCK_LOCAL_V6", "skc_v6_rcv_saddr"), ("SOCK_REMOTE_V6", "skc_v6_daddr")]
        .map(|(setting, member)| Ok((setting, btf.member_offset("sock_common", member).unwrap_or(0))));
    // A kernel without them does not have its unix sockets followed.
    let of_streams = [
        ("SOCK_TYPE", btf.member_offset("sock", "sk_type")),
        ("SOCK_SHUTDOWN", btf.member_offset("sock", "sk_shutdown")),
        ("SOCK_SOCKET", btf.member_offset("sock", "sk_socket")),
        ("SOCKET_INODE_NUMBER", inode_number_of_socket(btf)),
        ("UNIX_PEER", btf.member_offset("unix_sock", "peer")),
    ];
    let is_complete = of_streams.iter().all(|(_, offset)| offset.is_ok());
    let of_streams =
        of_streams.map(|(setting, offset)| Ok((setting, offset.ok().filter(|_| is_complete).unwrap_or(0))));
    [
        ("TASK_TGID", "task_struct", "tgid"),
        ("TASK_REAL_PARENT", "task_struct", "real_parent"),
        ("TASK_FLAGS", "task_struct", "flags"),
        ("TASK_MM", "task_struct", "mm"),
        ("TASK_SIGNAL", "task_struct", "signal"),
        ("TASK_EXIT_CODE", "task_struct", "exit_code"),
        ("TASK_FS", "task_struct", "fs"),
        ("FS_PWD", "fs_struct", "pwd"),
        ("PATH_DENTRY", "path", "dentry"),
        ("DENTRY_INODE", "dentry", "d_inode"),
        ("INODE_NUMBER", "inode", "i_ino"),
        ("MM_ARG_START", "mm_struct", "arg_start"),
        ("MM_ARG_END", "mm_struct", "arg_end"),
        ("SIGNAL_LIVE", "signal_struct", "live"),
        ("BINPRM_FILENAME", "linux_binprm", "filename"),
        ("BINPRM_INTERP", "linux_binprm", "interp"),
        ("SOCK_PROTOCOL", "sock", "sk_protocol"),
        ("SOCK_FAMILY", "sock_common", "skc_family"),
        ("SOCK_LOCAL_PORT", "sock_common", "skc_num"),
        ("SOCK_REMOTE_PORT", "sock_common", "skc_dport"),
        ("SOCK_LOCAL_V4", "sock_common", "skc_rcv_saddr"),
        ("SOCK_REMOTE_V4", "sock_common", "skc_daddr"),
        ("TASK_FILES", "task_struct", "files"),
        ("FILES_TABLE", "files_struct", "fdt"),
        ("TABLE_DESCRIPTORS", "fdtable", "fd"),
        ("FILE_INODE", "file", "f_inode"),
        ("INODE_MODE", "inode", "i_mode"),
    ]
    .into_iter()
    .map(|(setting, structure, member)| Ok((setting, btf.member_offset(structure, member)?)))
    .chain(of_ipv6)
    .chain(of_streams)
    .collect()
}

/// `struct socket_alloc` holds a socket and its inode.
fn inode_number_of_socket(btf: &Btf) -> Result<u32, BtfError> {
    Ok(btf.member_offset("socket_alloc", "vfs_inode")? + btf.member_offset("inode", "i_ino")?)
}

/// An error with its causes, in one line: the kernel's verdict is often two levels down.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text.push_str(": ");
            text.push_str(&inner_text);
        }
        cause = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ring_size_is_a_power_of_two_that_the_kernel_takes() {
        let ring = |ring_bytes| Options { ring_bytes, ..Options::default() };
        assert_eq!(ring(0).ring(), 65_536);
        assert_eq!(ring(100_000).ring(), 131_072);
        assert_eq!(ring(u32::MAX).ring(), 1 << 30);
        assert_eq!(ring(0).reserve(), 16_384);
        assert_eq!(Options::default().reserve(), 65_536);
    }
}
