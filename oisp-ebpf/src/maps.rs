//! The maps, shared by all programs. User space sets the sizes when it loads the object.

use core::arch::asm;

use aya_ebpf::macros::map;
use aya_ebpf::maps::{HashMap, LruHashMap, PerCpuArray, RingBuf};
use oisp_ebpf_common::{
    ActiveCall, AeadCall, CallKey, ConnectionKey, ConnectionState, Counter, ReaderState, ScopeKey,
    ScopeState, SocketKey, SocketUser, StreamKey, StreamState, ThreadKey, ThreadState, WRONG_WAY,
};

/// All records, in one ring, so that their order is the order of events.
#[map]
pub(crate) static EVENTS: RingBuf = RingBuf::with_byte_size(16 << 20, 0);

/// The processes that are recorded.
#[map]
pub(crate) static SCOPE: HashMap<ScopeKey, ScopeState> = HashMap::with_max_entries(16_384, 0);

/// Calls that were entered and have not returned.
#[map]
pub(crate) static ACTIVE_CALLS: HashMap<CallKey, ActiveCall> = HashMap::with_max_entries(16_384, 0);

/// Records that are being opened. The least recently used gives way: its thread left the call by a jump, or ended.
#[map]
pub(crate) static AEAD_CALLS: LruHashMap<CallKey, AeadCall> = LruHashMap::with_max_entries(4096, 0);

/// Positions in connections. The least recently used gives way: it would be seen as a new one, joined late.
#[map]
pub(crate) static CONNECTIONS: LruHashMap<ConnectionKey, ConnectionState> =
    LruHashMap::with_max_entries(32_768, 0);

/// Threads that use TLS. The least recently used gives way: evidence of its sockets is then missing.
#[map]
pub(crate) static THREADS: LruHashMap<ThreadKey, ThreadState> = LruHashMap::with_max_entries(4096, 0);

/// Processes of which any thread may go on with a connection. The value says nothing.
#[map]
pub(crate) static MOVING: LruHashMap<u32, u32> = LruHashMap::with_max_entries(4096, 0);

/// Sockets that a record has named, so that their end is told.
#[map]
pub(crate) static SOCKETS: LruHashMap<SocketKey, SocketUser> = LruHashMap::with_max_entries(16_384, 0);

/// Unix sockets that processes in scope wrote to. The least recently used gives way: its next write is looked at as the
/// first.
#[map]
pub(crate) static STREAMS: LruHashMap<StreamKey, StreamState> = LruHashMap::with_max_entries(16_384, 0);

/// Unix sockets that processes in scope read from. The least recently used gives way: it is seen again at its next read.
#[map]
pub(crate) static READERS: LruHashMap<StreamKey, ReaderState> = LruHashMap::with_max_entries(16_384, 0);

/// By file: calls with a result or a buffer that the function they were taken for cannot have; and with
/// [`oisp_ebpf_common::WRONG_WAY`] those that moved their bytes the other way.
#[map]
pub(crate) static DOUBTS: HashMap<u32, u64> = HashMap::with_max_entries(1024, 0);

/// How far the call that is being written has come, on this CPU.
#[map]
pub(crate) static PROGRESS: PerCpuArray<Progress> = PerCpuArray::with_max_entries(1, 0);

/// In a map and not in variables: a verifier would follow their values through every iteration, and give up.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Progress {
    /// Where the next bytes are.
    pub(crate) at: u64,
    /// The next entry of the vector, and how many there are from there on.
    pub(crate) vector: u64,
    pub(crate) vector_length: u64,
    /// Bytes that are left at `at`.
    pub(crate) left: u32,
    /// Bytes that were written.
    pub(crate) done: u32,
}

#[map]
pub(crate) static COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(Counter::COUNT, 0);

/// Adds to a counter of this CPU.
#[inline(always)]
pub(crate) fn count(counter: Counter, amount: u64) {
    if let Some(value) = COUNTERS.get_ptr_mut(counter as u32) {
        // SAFETY: the pointer is to this CPU's own value. Atomic, because a probe may be preempted by another on the same
        // CPU; in assembler, because Rust has no atomic addition for this target. All kernels know this instruction.
        unsafe {
            asm!("lock *(u64 *)({value} + 0) += {amount}", value = in(reg) value, amount = in(reg) amount);
        }
    }
}

/// Notes a sign that a file's functions are not what they were taken for.
#[inline(always)]
pub(crate) fn doubt(file: u16) {
    add_doubt(u32::from(file));
}

/// Notes that a call moved on its socket, the other way, what it was taken to transfer.
#[inline(always)]
pub(crate) fn doubt_way(file: u16) {
    add_doubt(u32::from(file) | WRONG_WAY);
}

#[inline(always)]
fn add_doubt(file: u32) {
    if let Some(value) = DOUBTS.get_ptr_mut(file) {
        // SAFETY: a map value. A sign that is lost to another CPU's comes again.
        unsafe { *value += 1 };
    } else {
        // Full of other files in doubt, whose probes will be removed.
        let _ = DOUBTS.insert(file, 1, 0);
    }
}
