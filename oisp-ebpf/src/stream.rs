//! Streams between processes: what is written to unix sockets, which an agent and the tool servers that it starts talk over.
//!
//! The tracepoints of sends and receives fire for them too, inside the system call that writes: its registers say where
//! the bytes are. The first bytes that are seen of a socket decide: what cannot be JSON is never looked at again. User
//! space withdraws what turns out not to be JSON-RPC.
//!
//! Content is copied where it is written, so a socket's two ends are told apart and nothing is seen twice. A socket is
//! known by the number of its inode: the address of its `struct sock` is used again at once, and nothing tells its end.

use core::hint::black_box;
use core::mem::size_of;

use aya_ebpf::helpers::{bpf_probe_read_user, generated};
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
    let length = moved.cast_unsigned();
    let known = STREAMS.get_ptr_mut(stream);
    if let Some(state) = known {
        // SAFETY: a map value; user space replaces it as a whole.
        if unsafe { (*state).followed } == 0 {
            return Ok(());
        }
    }
    let call = running_call();
    let time_ns = now();
    let mut told = Ok(());
    if known.is_none() {
        let followed = call.as_ref().is_some_and(|call| is_maybe_json(call, length));
        let peer: *const u8 = field(socket, settings::UNIX_PEER.load());
        let peer = number(peer).unwrap_or(0);
        let state =
            StreamState { born_ns: time_ns, offset: 0, peer, followed: u32::from(followed), reserved: 0 };
        let _ = STREAMS.insert(stream, state, 0);
        if !followed {
            return Ok(());
        }
        told = begin(stream, &state);
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
        return told;
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
            function: Function::UnixStream as u8,
            file: 0,
            generation: 0,
        },
    );
    told
}

/// A read from a unix socket has given `moved` bytes.
#[inline(always)]
pub(crate) fn read(pid_tgid: u64, socket: *const u8, moved: i32) -> Outcome {
    let tgid = (pid_tgid >> 32) as u32;
    if moved < 0 || !scope::contains(tgid) || !is_stream(socket) {
        return Ok(());
    }
    let Some(reader) = number(socket) else { return Ok(()) };
    let Some(state) = READERS.get_ptr_mut(reader) else {
        if moved > 0 {
            // Its other end may be found to be of interest only after this.
            let _ = READERS.insert(reader, ReaderState { stream: 0, tgid, told: 0 }, IF_ABSENT);
        }
        return Ok(());
    };
    // SAFETY: a map value; what is read and written are single words.
    let (stream, told) = unsafe {
        if (*state).tgid == 0 && moved > 0 {
            (*state).tgid = tgid;
        }
        ((*state).stream, (*state).told)
    };
    if stream == 0 {
        return Ok(());
    }
    if moved > 0 {
        if told != 0 {
            return Ok(());
        }
        // SAFETY: as above.
        unsafe { (*state).told = 1 };
        return tell(stream, reader, tgid, StreamNotice::Read);
    }
    let shutdown: u8 = field(socket, settings::SOCK_SHUTDOWN.load());
    if shutdown & RCV_SHUTDOWN == 0 {
        // There was no room for a byte.
        return Ok(());
    }
    let outcome = tell(stream, reader, tgid, StreamNotice::Ended);
    let _ = READERS.remove(reader);
    let _ = STREAMS.remove(stream);
    outcome
}

/// A stream is followed from now on.
#[inline(always)]
fn begin(stream: u64, state: &StreamState) -> Outcome {
    let tgid = (aya_ebpf::helpers::bpf_get_current_pid_tgid() >> 32) as u32;
    tell(stream, state.peer, tgid, StreamNotice::Followed)?;
    if state.peer == 0 {
        return Ok(());
    }
    let _ = READERS.insert(state.peer, ReaderState { stream, tgid: 0, told: 0 }, IF_ABSENT);
    let Some(reader) = READERS.get_ptr_mut(state.peer) else { return Ok(()) };
    // SAFETY: as in `read`.
    let reading = unsafe {
        (*reader).stream = stream;
        (*reader).tgid
    };
    // What was written may have been read before its writer came here.
    if reading == 0 {
        return Ok(());
    }
    // SAFETY: as in `read`.
    unsafe { (*reader).told = 1 };
    tell(stream, state.peer, reading, StreamNotice::Read)
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
        progress.write_volatile(Progress { at: call.buffer, index: 0, left, done: 0 });
        for _ in 0..MAX_PIECES {
            if (&raw const (*progress).done).read_volatile() >= captured
                || !next_piece(call, progress, captured)
            {
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
unsafe fn next_piece(call: &Call, progress: *mut Progress, captured: u32) -> bool {
    // SAFETY: the caller's.
    unsafe {
        if (&raw const (*progress).left).read_volatile() != 0 {
            return true;
        }
        let index = (&raw const (*progress).index).read_volatile();
        if index >= call.vector_length {
            return false;
        }
        let Some([address, bytes]) = user::<[u64; 2]>(call.vector.wrapping_add(index * 16)) else {
            return false;
        };
        let done = (&raw const (*progress).done).read_volatile();
        let left = bytes.min(u64::from(captured.saturating_sub(done))) as u32;
        (&raw mut (*progress).index).write_volatile(index + 1);
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
    let registers: *const u8 =
        unsafe { generated::bpf_task_pt_regs(generated::bpf_get_current_task_btf()) } as *const u8;
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
    /// `si`
    pub(super) const SECOND_ARGUMENT: u32 = 104;
    /// `dx`
    pub(super) const THIRD_ARGUMENT: u32 = 96;
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
    pub(super) const SECOND_ARGUMENT: u32 = 8;
    pub(super) const THIRD_ARGUMENT: u32 = 16;
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
