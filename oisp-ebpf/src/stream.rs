//! Streams between processes: what is written to unix sockets and pipes, which an agent and the tool servers that it starts talk over.
//!
//! The tracepoints of sends and receives fire for them too, inside the system call that writes: its registers say where
//! the bytes are. The first bytes that are seen of a socket decide: what cannot be JSON is never looked at again. User
//! space withdraws what turns out not to be JSON-RPC. Pipes are followed by the ends of system calls, where that is asked for.
//!
//! Content is copied where it is written, so a socket's two ends are told apart and nothing is seen twice. A socket is
//! known by the number of its inode: the address of its `struct sock` is used again at once, and nothing tells its end.

use core::hint::black_box;
use core::mem::size_of;

use aya_ebpf::helpers::{bpf_get_current_pid_tgid, bpf_probe_read_user, generated};
use aya_ebpf::programs::RawTracePointContext;
use oisp_ebpf_common::{
    Counter, Direction, Function, MAX_CALL_BYTES, ReaderState, RecordKind, StreamNotice, StreamRecord,
    StreamState,
};

use crate::kernel::field;
use crate::maps::{PROGRESS, Progress, READERS, STREAMS, count};
use crate::programs::Outcome;
use crate::ring::{self, Transfer};
use crate::scope;
use crate::settings;
use crate::tls::now;

/// `include/linux/net.h`
const SOCK_STREAM: u16 = 1;
/// `include/net/sock.h`
const RCV_SHUTDOWN: u8 = 1;
/// `include/uapi/linux/stat.h`
const S_IFMT: u16 = 0o170_000;
const S_IFIFO: u16 = 0o010_000;
/// `BPF_NOEXIST`
const IF_ABSENT: u64 = 1;

/// Pieces of a call that are copied at most: 1 MiB and 64 KiB in one, or as many entries of a vector.
const MAX_PIECES: u32 = 96;
/// Bytes that decide.
const DECIDING: usize = 16;

/// Where a system call has what it writes.
struct Call {
    /// The bytes, where they are in one place.
    buffer: u64,
    /// Else the `struct iovec`s, and how many they are.
    vector: u64,
    vector_length: u64,
}

/// `moved` bytes were written to a unix socket.
#[inline(always)]
pub(crate) fn written(pid_tgid: u64, socket: *const u8, moved: i32) -> Outcome {
    let tgid = (pid_tgid >> 32) as u32;
    if moved <= 0 || !scope::contains(tgid) || !is_stream(socket) {
        return Ok(());
    }
    let Some(stream) = number(socket) else { return Ok(()) };
    let peer = || {
        let peer: *const u8 = field(socket, settings::UNIX_PEER.load());
        number(peer).unwrap_or(0)
    };
    follow(tgid, stream, peer, moved.cast_unsigned(), running_call, Function::UnixStream)
}

/// `length` bytes were written to a stream, whose other end is `peer`, by `call`.
#[inline(always)]
fn follow(
    tgid: u32,
    stream: u64,
    peer: impl FnOnce() -> u64,
    length: u32,
    call: impl FnOnce() -> Option<Call>,
    function: Function,
) -> Outcome {
    let known = STREAMS.get_ptr_mut(stream);
    if let Some(state) = known {
        // SAFETY: a map value; user space replaces it as a whole.
        if unsafe { (*state).followed } == 0 {
            return Ok(());
        }
    }
    let call = call();
    let time_ns = now();
    if known.is_none() {
        let followed = call.as_ref().is_some_and(|call| is_maybe_json(call, length));
        let state = StreamState {
            born_ns: time_ns,
            offset: 0,
            peer: peer(),
            followed: u32::from(followed),
            reserved: 0,
        };
        let _ = STREAMS.insert(stream, state, 0);
        if !followed {
            return Ok(());
        }
        // Counted here and not handed on: what verifiers follow from here on is the same whatever came of it.
        if let Err(counter) = begin(tgid, stream, &state) {
            count(counter, 1);
        }
    }
    let Some(state) = STREAMS.get_ptr_mut(stream) else { return Err(Counter::ConnectionTableFull) };
    // SAFETY: a map value. Writers of one stream agree among themselves, or nobody could read what they write; the worst
    // that a breach does is a wrong position in that stream.
    let (born_ns, offset) = unsafe {
        let start = (*state).offset;
        (*state).offset = start + u64::from(length);
        ((*state).born_ns, start)
    };
    let Some(call) = call else {
        // By `splice`, io_uring, a program of 32 bits.
        count(Counter::UnreadableBytes, u64::from(length));
        return Ok(());
    };
    write_content(
        &call,
        Transfer {
            time_ns,
            ssl: stream,
            born_ns,
            offset,
            buffer: call.buffer,
            length,
            direction: Direction::Sent as u8,
            function: function as u8,
            file: 0,
            generation: 0,
        },
    );
    Ok(())
}

/// A read from a unix socket has given `moved` bytes.
#[inline(always)]
pub(crate) fn read(pid_tgid: u64, socket: *const u8, moved: i32) -> Outcome {
    let tgid = (pid_tgid >> 32) as u32;
    if moved < 0 || !scope::contains(tgid) || !is_stream(socket) {
        return Ok(());
    }
    let Some(reader) = number(socket) else { return Ok(()) };
    note_read(tgid, reader, moved > 0, || {
        // Else there was no room for a byte.
        let shutdown: u8 = field(socket, settings::SOCK_SHUTDOWN.load());
        shutdown & RCV_SHUTDOWN != 0
    })
}

/// A read from the end `reader` of a stream has given something or, where `is_end` says so, the end.
#[inline(always)]
fn note_read(tgid: u32, reader: u64, has_bytes: bool, is_end: impl FnOnce() -> bool) -> Outcome {
    let Some(state) = READERS.get_ptr_mut(reader) else {
        if has_bytes {
            // Its other end may be found to be of interest only after this.
            let _ = READERS.insert(reader, ReaderState { stream: 0, tgid, told: 0 }, IF_ABSENT);
        }
        return Ok(());
    };
    // SAFETY: a map value; what is read and written are single words.
    let (stream, told) = unsafe {
        if (*state).tgid == 0 && has_bytes {
            (*state).tgid = tgid;
        }
        ((*state).stream, (*state).told)
    };
    if stream == 0 {
        return Ok(());
    }
    if has_bytes {
        if told != 0 {
            return Ok(());
        }
        // SAFETY: as above.
        unsafe { (*state).told = 1 };
        return tell(stream, reader, tgid, StreamNotice::Read);
    }
    if !is_end() {
        return Ok(());
    }
    let outcome = tell(stream, reader, tgid, StreamNotice::Ended);
    let _ = READERS.remove(reader);
    let _ = STREAMS.remove(stream);
    outcome
}

/// `sys_exit(regs, ret)`: a system call of any process returns. What is written to pipes and read from them passes no
/// other place. Both ends of a pipe have one inode.
#[inline(always)]
pub(crate) fn system_call_returned(context: &RawTracePointContext) -> Outcome {
    let registers: *const u8 = context.arg(0);
    let returned: i64 = context.arg(1);
    let call: u64 = field(registers, abi::NUMBER);
    let is_write = call == abi::WRITE || call == abi::WRITEV;
    if returned < 0 || !(is_write || call == abi::READ || call == abi::READV) {
        return Ok(());
    }
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    if !scope::contains(tgid) {
        return Ok(());
    }
    let Some(pipe) = number_of_pipe(field(registers, abi::FIRST_ARGUMENT)) else { return Ok(()) };
    if !is_write {
        return note_read(tgid, pipe, returned > 0, || {
            // Else there was no room for a byte.
            let length: u64 = field(registers, abi::THIRD_ARGUMENT);
            length != 0
        });
    }
    if returned == 0 {
        return Ok(());
    }
    let length = (returned as u64).min(u64::from(u32::MAX >> 1)) as u32;
    follow(tgid, pipe, || pipe, length, || call_of(registers), Function::Pipe)
}

/// The number of the inode of an open file of this process, where it is a pipe.
#[inline(always)]
fn number_of_pipe(descriptor: u64) -> Option<u64> {
    // SAFETY: the helper has no preconditions; the task is read by one that checks the address.
    let task: *const u8 = unsafe { generated::bpf_get_current_task() } as *const u8;
    let files: *const u8 = field(task, settings::TASK_FILES.load());
    let table: *const u8 = field(files, settings::FILES_TABLE.load());
    let descriptors: *const u8 = field(table, settings::TABLE_DESCRIPTORS.load());
    // The upper half of the argument is no part of it.
    let file: *const u8 = field(descriptors.wrapping_add(descriptor as u32 as usize * 8), 0);
    let inode: *const u8 = field(file, settings::FILE_INODE.load());
    let mode: u16 = field(inode, settings::INODE_MODE.load());
    if mode & S_IFMT != S_IFIFO {
        return None;
    }
    let number: u64 = field(inode, settings::INODE_NUMBER.load());
    if number == 0 { None } else { Some(number) }
}

/// A stream is followed from now on.
#[inline(always)]
fn begin(tgid: u32, stream: u64, state: &StreamState) -> Outcome {
    let told = tell(stream, state.peer, tgid, StreamNotice::Followed);
    if state.peer == 0 {
        return told;
    }
    let _ = READERS.insert(state.peer, ReaderState { stream, tgid: 0, told: 0 }, IF_ABSENT);
    let Some(reader) = READERS.get_ptr_mut(state.peer) else { return told };
    // SAFETY: as in `note_read`.
    let reading = unsafe {
        (*reader).stream = stream;
        (*reader).tgid
    };
    // What was written may have been read before its writer came here.
    if reading == 0 {
        return told;
    }
    // SAFETY: as in `note_read`.
    unsafe { (*reader).told = 1 };
    told.and(tell(stream, state.peer, reading, StreamNotice::Read))
}

/// Says something about a stream, of a process.
#[inline(always)]
fn tell(stream: u64, peer: u64, tgid: u32, what: StreamNotice) -> Outcome {
    // SAFETY: the value is copied.
    let (born_ns, offset) = match unsafe { STREAMS.get(stream) } {
        Some(state) => (state.born_ns, state.offset),
        None => (0, 0),
    };
    let mut entry = ring::reserve_lifecycle::<StreamRecord>()?;
    entry.write(StreamRecord {
        header: ring::header_of(tgid, RecordKind::Stream, size_of::<StreamRecord>(), now()),
        stream,
        born_ns,
        peer,
        offset,
        what: what as u32,
        reserved: 0,
    });
    entry.submit(0);
    Ok(())
}

/// Writes what a call has written, piece by piece.
#[inline(always)]
fn write_content(call: &Call, mut transfer: Transfer) {
    let captured = transfer.length.min(MAX_CALL_BYTES);
    let Some(progress) = PROGRESS.get_ptr_mut(0) else { return };
    let left = if call.vector == 0 { captured } else { 0 };
    // SAFETY: this CPU's own value; a program does not run inside itself. Volatile, so that it stays in the map.
    unsafe {
        progress.write_volatile(Progress {
            at: call.buffer,
            vector: call.vector,
            vector_length: call.vector_length,
            left,
            done: 0,
        });
        for _ in 0..MAX_PIECES {
            if (&raw const (*progress).done).read_volatile() >= captured || !next_piece(progress, captured) {
                break;
            }
            let done = (&raw const (*progress).done).read_volatile();
            let left = (&raw const (*progress).left).read_volatile();
            if left == 0 {
                continue;
            }
            let at = (&raw const (*progress).at).read_volatile();
            let piece = left.min(ring::LARGEST as u32);
            transfer.buffer = at.wrapping_sub(u64::from(done));
            ring::write_piece(&transfer, done, piece);
            (&raw mut (*progress).done).write_volatile(done.wrapping_add(piece));
            (&raw mut (*progress).left).write_volatile(left - piece);
            (&raw mut (*progress).at).write_volatile(at.wrapping_add(u64::from(piece)));
        }
        let done = (&raw const (*progress).done).read_volatile();
        if done < transfer.length {
            count(Counter::OverLimitBytes, u64::from(transfer.length - done));
        }
    }
}

/// Goes on to the next entry of the vector where one is used up; `false` where there is none.
///
/// # Safety
/// As in [`write_content`].
#[inline(always)]
unsafe fn next_piece(progress: *mut Progress, captured: u32) -> bool {
    // SAFETY: the caller's.
    unsafe {
        if (&raw const (*progress).left).read_volatile() != 0 {
            return true;
        }
        let length = (&raw const (*progress).vector_length).read_volatile();
        if length == 0 {
            return false;
        }
        let vector = (&raw const (*progress).vector).read_volatile();
        let Some([address, bytes]) = user::<[u64; 2]>(vector) else { return false };
        let done = (&raw const (*progress).done).read_volatile();
        let left = bytes.min(u64::from(captured.saturating_sub(done))) as u32;
        (&raw mut (*progress).vector).write_volatile(vector.wrapping_add(16));
        (&raw mut (*progress).vector_length).write_volatile(length - 1);
        (&raw mut (*progress).at).write_volatile(address);
        (&raw mut (*progress).left).write_volatile(left);
        true
    }
}

/// Whether the first bytes may be those of an object, or of an array of objects.
#[inline(always)]
fn is_maybe_json(call: &Call, length: u32) -> bool {
    let (address, length) = if call.vector == 0 {
        (call.buffer, length)
    } else {
        let Some([address, bytes]) = user::<[u64; 2]>(call.vector) else { return false };
        (address, bytes.min(u64::from(length)) as u32)
    };
    let mut first = [0_u8; DECIDING];
    let destination = (&raw mut first).cast();
    // SAFETY: the helper checks the process's memory and writes no more than the array has.
    let status = unsafe {
        if length >= DECIDING as u32 {
            generated::bpf_probe_read_user(destination, DECIDING as u32, address as *const _)
        } else {
            // As in `ring::write_record`.
            let bounded = black_box(length) & (DECIDING as u32 - 1);
            generated::bpf_probe_read_user(destination, bounded, address as *const _)
        }
    };
    if status != 0 {
        return false;
    }
    let mut in_array = false;
    for (index, byte) in first.into_iter().enumerate() {
        if index as u32 >= length {
            break;
        }
        match byte {
            b' ' | b'\t' | b'\r' | b'\n' => {}
            b'{' => return true,
            b'[' if !in_array => in_array = true,
            _ => return false,
        }
    }
    // Nothing speaks against it yet.
    true
}

/// Whether it is one end of a stream that can be followed.
#[inline(always)]
fn is_stream(socket: *const u8) -> bool {
    let kind: u16 = field(socket, settings::SOCK_TYPE.load());
    kind == SOCK_STREAM && settings::UNIX_PEER.load() != 0
}

/// The number of a socket's inode.
#[inline(always)]
fn number(socket: *const u8) -> Option<u64> {
    if socket.is_null() {
        return None;
    }
    let inner: *const u8 = field(socket, settings::SOCK_SOCKET.load());
    if inner.is_null() {
        // Nobody has accepted it yet.
        return None;
    }
    let number: u64 = field(inner, settings::SOCKET_INODE_NUMBER.load());
    if number == 0 { None } else { Some(number) }
}

/// The system call that runs, where it is one that says what it writes.
#[inline(always)]
fn running_call() -> Option<Call> {
    // SAFETY: the helpers have no preconditions; the registers are read by one that checks the address.
    call_of(unsafe { generated::bpf_task_pt_regs(generated::bpf_get_current_task_btf()) } as *const u8)
}

/// The same, with its registers.
#[inline(always)]
fn call_of(registers: *const u8) -> Option<Call> {
    let number: u64 = field(registers, abi::NUMBER);
    let second: u64 = field(registers, abi::SECOND_ARGUMENT);
    if number == abi::WRITE || number == abi::SENDTO {
        return Some(Call { buffer: second, vector: 0, vector_length: 0 });
    }
    if number == abi::WRITEV {
        let third: u64 = field(registers, abi::THIRD_ARGUMENT);
        return Some(Call { buffer: 0, vector: second, vector_length: third });
    }
    if number == abi::SENDMSG {
        // `msg_iov` and `msg_iovlen` of `struct user_msghdr`, include/linux/socket.h
        let [vector, vector_length] = user::<[u64; 2]>(second + 16)?;
        return Some(Call { buffer: 0, vector, vector_length });
    }
    None
}

/// Registers of a system call by their offset in `struct pt_regs`, and the numbers of calls: arch/x86/include/asm/ptrace.h,
/// arch/x86/entry/syscalls/syscall_64.tbl.
#[cfg(bpf_target_arch = "x86_64")]
mod abi {
    /// `orig_ax`
    pub(super) const NUMBER: u32 = 120;
    /// `di`
    pub(super) const FIRST_ARGUMENT: u32 = 112;
    /// `si`
    pub(super) const SECOND_ARGUMENT: u32 = 104;
    /// `dx`
    pub(super) const THIRD_ARGUMENT: u32 = 96;
    pub(super) const READ: u64 = 0;
    pub(super) const READV: u64 = 19;
    pub(super) const WRITE: u64 = 1;
    pub(super) const WRITEV: u64 = 20;
    pub(super) const SENDTO: u64 = 44;
    pub(super) const SENDMSG: u64 = 46;
}

/// The same: arch/arm64/include/asm/ptrace.h, include/uapi/asm-generic/unistd.h.
#[cfg(bpf_target_arch = "aarch64")]
mod abi {
    /// `regs[8]`
    pub(super) const NUMBER: u32 = 64;
    /// `orig_x0`: the first register has the result already.
    pub(super) const FIRST_ARGUMENT: u32 = 272;
    pub(super) const SECOND_ARGUMENT: u32 = 8;
    pub(super) const THIRD_ARGUMENT: u32 = 16;
    pub(super) const READ: u64 = 63;
    pub(super) const READV: u64 = 65;
    pub(super) const WRITE: u64 = 64;
    pub(super) const WRITEV: u64 = 66;
    pub(super) const SENDTO: u64 = 206;
    pub(super) const SENDMSG: u64 = 211;
}

/// Something in the process's memory.
#[inline(always)]
fn user<T: Copy>(address: u64) -> Option<T> {
    // SAFETY: the helper checks the address, and every `T` used here may hold any bytes.
    unsafe { bpf_probe_read_user(address as *const T) }.ok()
}
