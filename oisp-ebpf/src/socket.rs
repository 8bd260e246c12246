//! Sockets: evidence of which one a TLS connection uses.
//!
//! Nothing ties a connection object to a socket but what happens on a thread: a library that has the socket makes its
//! socket calls inside its own call; one that works in memory is followed by a send, or preceded by a receive, on the same
//! thread. What is seen is told, a few times for each connection and direction; user space decides.
//!
//! The tracepoints run for every send and receive of the host: a process out of scope is left after one look at a map. Of
//! the others a thread that never used TLS is left after a second one. Threads get into it by [`begin`] and
//! [`transferred`]. What goes over unix sockets is another matter: see [`crate::stream`].

use core::mem::size_of;

use aya_ebpf::helpers::{bpf_get_current_pid_tgid, generated};
use aya_ebpf::programs::RawTracePointContext;
use oisp_ebpf_common::{
    CallKey, ConnectionKey, ConnectionState, Direction, EnclosingCall, MAX_EVIDENCE, MAX_TLS_RECORD,
    OPPOSITE, RecordKind, SocketEndRecord, SocketRecord, SocketSight, SocketUser, ThreadState, WRITTEN_SLOTS,
    Written,
};

use crate::kernel::field;
use crate::maps::{CONNECTIONS, MOVING, SOCKETS, THREADS, doubt_way};
use crate::programs::Outcome;
use crate::ring;
use crate::scope;
use crate::settings;
use crate::stream;
use crate::tls::{self, now};

/// What was written this long ago was sent by somebody else, and what was received was read by somebody else.
const FORGOTTEN_AFTER_NS: u64 = 1_000_000_000;

/// Bytes that TLS adds to a record: 5 of header and 16 of tag at least (RFC 7905); at most header, initialisation
/// vector, SHA-384 and a block of padding (RFC 5246, section 6.2.3.2).
const LEAST_OVERHEAD: u32 = 21;
const MOST_OVERHEAD: u32 = 5 + 16 + 48 + 16;

/// `include/uapi/linux/in.h`
const IPPROTO_TCP: u16 = 6;
const IPPROTO_MPTCP: u16 = 262;
/// `include/linux/socket.h`
const AF_UNIX: u16 = 1;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
const MSG_PEEK: i32 = 2;
/// `include/net/tcp_states.h`
const TCP_CLOSE: i32 = 7;

/// A call of a TLS library begins that makes its socket calls itself, on this thread, before [`transferred`] is called
/// for it. `call` is the thread, with the stack pointer of the call.
///
/// Not for calls that may go on in another thread: what happens on this one would be taken for theirs.
#[inline(always)]
pub(crate) fn begin(call: &CallKey, key: &ConnectionKey, direction: Direction) {
    let Some(thread) = thread_made(call.pid_tgid) else { return };
    let begun = EnclosingCall {
        ssl: key.ssl,
        stack: call.stack,
        generation: key.generation,
        direction: direction as u32,
    };
    // SAFETY: a map value that only its own thread uses; the worst that its loss to another thread's entry does is
    // evidence that contradicts other evidence.
    unsafe {
        let current = (*thread).call;
        // Stacks grow downwards: what has a lower address is inside. What has not has been left.
        (*thread).outer =
            if current.ssl != 0 && current.stack > call.stack { current } else { ThreadState::NEW.outer };
        (*thread).call = begun;
        (*thread).inside = ThreadState::NEW.inside;
    }
}

/// The call that [`begin`] told of returned. To be called whatever came of it, after [`transferred`].
#[inline(always)]
pub(crate) fn end(pid_tgid: u64) {
    let Some(thread) = THREADS.get_ptr_mut(pid_tgid) else { return };
    // SAFETY: as in `begin`.
    unsafe {
        let outer = (*thread).outer;
        (*thread).call = outer;
        (*thread).outer = ThreadState::NEW.outer;
        if outer.ssl == 0 {
            // The sockets inside an inner call are inside the outer one, too.
            (*thread).inside = ThreadState::NEW.inside;
        }
    }
}

/// Content went through a TLS library: `bytes` in `direction` on the connection of `key`, whose entry in `CONNECTIONS`
/// is `state`. To be called before the record of the content is written: where the socket is known then, it is told
/// first. `file` is the number of the file whose function did it.
#[inline(always)]
pub(crate) fn transferred(
    pid_tgid: u64,
    file: u16,
    key: &ConnectionKey,
    state: *mut ConnectionState,
    direction: Direction,
    bytes: u32,
    time_ns: u64,
) -> Outcome {
    let Some(thread) = thread_made(pid_tgid) else { return Ok(()) };
    let tls_records = bytes.div_ceil(MAX_TLS_RECORD);
    // SAFETY: as in `begin`.
    let (call, inside, received) = unsafe { ((*thread).call, (*thread).inside, (*thread).received) };
    let is_call = call.ssl == key.ssl
        && call.generation == key.generation
        && call.direction == direction as u32
        && inside.socket != 0;
    let evidence = |inside, sight| {
        write_evidence(&Evidence { key, state, direction, bytes, tls_records, inside, sight, time_ns })
    };
    let is_opposite = inside.is_read == OPPOSITE;
    if is_call && is_opposite && is_fitting(bytes, tls_records, inside.bytes) {
        // What is taken for a read sent its content, or what is taken for a write received it.
        doubt_way(file);
        return Ok(());
    }
    if is_call && !is_opposite {
        return evidence(true, inside);
    }
    if matches!(direction, Direction::Received) {
        // SAFETY: as in `begin`.
        unsafe { (*thread).received = ThreadState::NEW.received };
        if received.socket == 0 || time_ns.saturating_sub(received.time_ns) > FORGOTTEN_AFTER_NS {
            return Ok(());
        }
        return evidence(false, received);
    }
    // SAFETY: as in `begin`.
    unsafe { remember_written(&mut (*thread).written, key, bytes, tls_records, time_ns) };
    Ok(())
}

/// Something else than content was taken out of what a thread received: what it receives next has nothing to do with it.
#[inline(always)]
pub(crate) fn read_other(pid_tgid: u64, direction: Direction) {
    if matches!(direction, Direction::Received)
        && let Some(thread) = thread_made(pid_tgid)
    {
        // SAFETY: as in `begin`.
        unsafe { (*thread).received.is_read = 1 };
    }
}

/// A process whose TLS is followed by records: what its threads receive is watched from their first receive on, because
/// any of them may go on with a connection.
#[inline(always)]
pub(crate) fn watch_threads(tgid: u32) {
    // SAFETY: one aligned word is read.
    if unsafe { MOVING.get(tgid) }.is_none() {
        // Of too many the least recently used gives way, and evidence is missing.
        let _ = MOVING.insert(tgid, 1, 0);
    }
}

/// `sock_send_length(sk, ret, flags)`: a send has moved `ret` bytes.
#[inline(always)]
pub(crate) fn sent(context: &RawTracePointContext) -> Outcome {
    let pid_tgid = bpf_get_current_pid_tgid();
    if scope::is_plainly_out((pid_tgid >> 32) as u32) {
        return Ok(());
    }
    let socket: *const u8 = context.arg(0);
    let moved: i32 = context.arg(1);
    if family(socket) == AF_UNIX {
        return stream::written(pid_tgid, socket, moved);
    }
    let Some(thread) = THREADS.get_ptr_mut(pid_tgid) else { return Ok(()) };
    if moved <= 0 {
        return Ok(());
    }
    // SAFETY: as in `begin`.
    unsafe {
        if (*thread).call.ssl != 0 {
            if (*thread).call.direction == Direction::Sent as u32 {
                see_inside(&mut (*thread).inside, socket, moved.cast_unsigned());
                return Ok(());
            }
            see_opposite(&mut (*thread).inside, socket, moved.cast_unsigned());
        }
        // Also inside a read: a program that is called back from there may write, and send what it wrote.
        write_evidence_of_send(&mut (*thread).written, pid_tgid, socket, moved.cast_unsigned())
    }
}

/// `sock_recv_length(sk, ret, flags)`: a receive has moved `ret` bytes.
#[inline(always)]
pub(crate) fn received(context: &RawTracePointContext) -> Outcome {
    let pid_tgid = bpf_get_current_pid_tgid();
    if scope::is_plainly_out((pid_tgid >> 32) as u32) {
        return Ok(());
    }
    let socket: *const u8 = context.arg(0);
    let moved: i32 = context.arg(1);
    let flags: i32 = context.arg(2);
    if family(socket) == AF_UNIX {
        return if flags & MSG_PEEK == 0 { stream::read(pid_tgid, socket, moved) } else { Ok(()) };
    }
    let thread = match THREADS.get_ptr_mut(pid_tgid) {
        Some(thread) => thread,
        // SAFETY: one aligned word is read.
        None if unsafe { MOVING.get((pid_tgid >> 32) as u32) }.is_some() => {
            let Some(thread) = thread_made(pid_tgid) else { return Ok(()) };
            thread
        }
        None => return Ok(()),
    };
    if moved <= 0 || flags & MSG_PEEK != 0 {
        return Ok(());
    }
    // SAFETY: as in `begin`.
    unsafe {
        if (*thread).call.ssl == 0 {
            see(&mut (*thread).received, socket, moved.cast_unsigned());
        } else if (*thread).call.direction == Direction::Received as u32 {
            see_inside(&mut (*thread).inside, socket, moved.cast_unsigned());
        } else {
            see_opposite(&mut (*thread).inside, socket, moved.cast_unsigned());
        }
    }
    Ok(())
}

/// `inet_sock_set_state(sk, oldstate, newstate)`: whatever happens to run when it does.
#[inline(always)]
pub(crate) fn state_changed(context: &RawTracePointContext) -> Outcome {
    let state: i32 = context.arg(2);
    if state != TCP_CLOSE {
        return Ok(());
    }
    let socket: u64 = context.arg(0);
    // SAFETY: the value is copied before the entry is removed.
    let Some(user) = (unsafe { SOCKETS.get(socket).copied() }) else { return Ok(()) };
    let _ = SOCKETS.remove(socket);
    if user.ends_connection != 0 {
        tls::end_with_socket(&user)?;
    }
    let mut entry = ring::reserve_lifecycle::<SocketEndRecord>()?;
    entry.write(SocketEndRecord {
        header: ring::header_of(user.tgid, RecordKind::SocketEnd, size_of::<SocketEndRecord>(), now()),
        socket,
    });
    entry.submit(0);
    Ok(())
}

/// A thread of a process in scope ends.
#[inline(always)]
pub(crate) fn thread_ends() {
    // One that never used TLS has no entry.
    let _ = THREADS.remove(bpf_get_current_pid_tgid());
}

/// The thread's entry, made where there is none.
#[inline(always)]
fn thread_made(pid_tgid: u64) -> Option<*mut ThreadState> {
    if let Some(thread) = THREADS.get_ptr_mut(pid_tgid) {
        return Some(thread);
    }
    let _ = THREADS.insert(pid_tgid, ThreadState::NEW, 0);
    THREADS.get_ptr_mut(pid_tgid)
}

/// Adds a socket call to what was seen.
///
/// # Safety
/// As in [`begin`].
#[inline(always)]
unsafe fn see(sight: &mut SocketSight, socket: *const u8, bytes: u32) {
    let Some(ports) = ports_of_tcp(socket) else { return };
    let time_ns = now();
    let socket = socket as u64;
    if sight.is_read != 0 && sight.socket != socket {
        *sight = ThreadState::NEW.received;
    }
    // On the same socket it may be the rest of what began there.
    sight.is_read = 0;
    if sight.socket == socket && sight.ports == ports {
        sight.bytes = sight.bytes.saturating_add(bytes);
    } else {
        // Of calls on several sockets between two reads the last is as likely as the others.
        sight.several = u32::from(sight.socket != 0);
        sight.socket = socket;
        sight.ports = ports;
        sight.bytes = bytes;
    }
    sight.time_ns = time_ns;
}

/// Adds a socket call that moved bytes the way of the call that it is inside of.
///
/// # Safety
/// As in [`begin`].
#[inline(always)]
unsafe fn see_inside(inside: &mut SocketSight, socket: *const u8, bytes: u32) {
    if inside.is_read == OPPOSITE {
        *inside = ThreadState::NEW.inside;
    }
    // SAFETY: the caller's.
    unsafe { see(inside, socket, bytes) };
}

/// Adds one that moved bytes the other way. A handshake does that within any call; it says something only where nothing
/// went the call's own way.
///
/// # Safety
/// As in [`begin`].
#[inline(always)]
unsafe fn see_opposite(inside: &mut SocketSight, socket: *const u8, bytes: u32) {
    if inside.socket != 0 && inside.is_read != OPPOSITE {
        return;
    }
    // SAFETY: the caller's.
    unsafe { see(inside, socket, bytes) };
    if inside.socket != 0 {
        inside.is_read = OPPOSITE;
    }
}

#[inline(always)]
fn family(socket: *const u8) -> u16 {
    field(socket, settings::SOCK_FAMILY.load())
}

/// Both ports of a TCP socket; `None` for any other.
#[inline(always)]
fn ports_of_tcp(socket: *const u8) -> Option<u32> {
    let protocol: u16 = field(socket, settings::SOCK_PROTOCOL.load());
    let family = family(socket);
    if (protocol != IPPROTO_TCP && protocol != IPPROTO_MPTCP) || (family != AF_INET && family != AF_INET6) {
        return None;
    }
    Some(ports(socket))
}

/// The local port in the upper half, the remote one as the network has it in the lower.
#[inline(always)]
fn ports(socket: *const u8) -> u32 {
    let local: u16 = field(socket, settings::SOCK_LOCAL_PORT.load());
    let remote: u16 = field(socket, settings::SOCK_REMOTE_PORT.load());
    u32::from(local) << 16 | u32::from(remote)
}

#[inline(always)]
fn remember_written(
    written: &mut [Written; WRITTEN_SLOTS],
    key: &ConnectionKey,
    bytes: u32,
    tls_records: u32,
    time_ns: u64,
) {
    let mut chosen = 0;
    let mut is_chosen = false;
    for index in 0..WRITTEN_SLOTS {
        let slot = &mut written[index];
        if slot.ssl == key.ssl && slot.generation == key.generation {
            // An unsent rest of long ago is not part of this.
            let is_fresh = time_ns.saturating_sub(slot.time_ns) <= FORGOTTEN_AFTER_NS;
            slot.bytes = if is_fresh { slot.bytes.saturating_add(bytes) } else { bytes };
            slot.tls_records =
                if is_fresh { slot.tls_records.saturating_add(tls_records) } else { tls_records };
            slot.time_ns = time_ns;
            return;
        }
        if !is_chosen && slot.ssl == 0 {
            chosen = index;
            is_chosen = true;
        }
    }
    // With none free the first gives way: its send will not be told.
    for (index, slot) in written.iter_mut().enumerate() {
        if index == chosen {
            *slot = Written {
                ssl: key.ssl,
                time_ns,
                generation: key.generation,
                bytes,
                tls_records,
                reserved: 0,
            };
        }
    }
}

/// A send outside of calls: the content that it carried is the one whose size fits, or the only one that waits.
///
/// # Safety
/// As in [`begin`].
#[inline(always)]
unsafe fn write_evidence_of_send(
    written: &mut [Written; WRITTEN_SLOTS],
    pid_tgid: u64,
    socket: *const u8,
    moved: u32,
) -> Outcome {
    let (mut waiting, mut fitting) = (0_u32, 0_u32);
    let mut fits = Written::default();
    let mut waits = Written::default();
    for slot in written.iter() {
        if slot.ssl == 0 {
            continue;
        }
        waiting += 1;
        waits = *slot;
        if is_fitting(slot.bytes, slot.tls_records, moved) {
            fitting += 1;
            fits = *slot;
        }
    }
    if waiting == 0 {
        return Ok(());
    }
    let Some(ports) = ports_of_tcp(socket) else { return Ok(()) };
    let chosen = if fitting == 1 {
        fits
    } else if fitting == 0 && waiting == 1 {
        waits
    } else {
        Written::default()
    };
    // Of those among which it cannot be decided none is left: the next send would be taken for the wrong one's.
    for slot in written.iter_mut() {
        if chosen.ssl == 0 || (slot.ssl == chosen.ssl && slot.generation == chosen.generation) {
            *slot = ThreadState::NEW.written[0];
        }
    }
    let time_ns = now();
    let tgid = (pid_tgid >> 32) as u32;
    let Some(since_ns) = scope::since(tgid) else { return Ok(()) };
    if chosen.ssl == 0
        || chosen.time_ns < since_ns
        || time_ns.saturating_sub(chosen.time_ns) > FORGOTTEN_AFTER_NS
    {
        return Ok(());
    }
    let key = ConnectionKey { tgid, generation: chosen.generation, ssl: chosen.ssl };
    let Some(state) = CONNECTIONS.get_ptr_mut(key) else { return Ok(()) };
    let sight = SocketSight { socket: socket as u64, time_ns, ports, bytes: moved, several: 0, is_read: 0 };
    write_evidence(&Evidence {
        key: &key,
        state,
        direction: Direction::Sent,
        bytes: chosen.bytes,
        tls_records: chosen.tls_records,
        inside: false,
        sight,
        time_ns,
    })
}

/// Whether `moved` bytes on a socket can be exactly this content.
#[inline(always)]
fn is_fitting(bytes: u32, tls_records: u32, moved: u32) -> bool {
    let records = tls_records & 0xffff;
    let least = u64::from(bytes) + u64::from(records * LEAST_OVERHEAD);
    let most = u64::from(bytes) + u64::from(records * MOST_OVERHEAD);
    (least..=most).contains(&u64::from(moved))
}

struct Evidence<'a> {
    key: &'a ConnectionKey,
    state: *mut ConnectionState,
    direction: Direction,
    bytes: u32,
    tls_records: u32,
    inside: bool,
    sight: SocketSight,
    time_ns: u64,
}

#[inline(always)]
fn write_evidence(evidence: &Evidence<'_>) -> Outcome {
    let Evidence { key, state, direction, bytes, tls_records, inside, sight, time_ns } = *evidence;
    // SAFETY: a map value; see `tls::enter`.
    let (told, born_ns) = unsafe { ((*state).evidence[direction as usize & 1], (*state).born_ns) };
    // Of records the last socket is the one: they are opened where they were read, and what was received before on another
    // was a handshake in clear.
    if told >= MAX_EVIDENCE || (sight.several != 0 && key.generation == 0) {
        return Ok(());
    }
    let socket = sight.socket as *const u8;
    // A socket that was closed since has given its port back: its address may be another's by now.
    if ports(socket) != sight.ports {
        return Ok(());
    }
    // SAFETY: as above.
    let ends_connection = unsafe {
        (*state).evidence[direction as usize & 1] = told + 1;
        u32::from((*state).ends_with_socket)
    };
    let _ = SOCKETS.insert(sight.socket, SocketUser { tgid: key.tgid, ends_connection, ssl: key.ssl }, 0);
    let family = family(socket);
    let mut entry = ring::reserve_lifecycle::<SocketRecord>()?;
    let record = entry.as_mut_ptr();
    let (local, remote, length) = if family == AF_INET {
        (settings::SOCK_LOCAL_V4.load(), settings::SOCK_REMOTE_V4.load(), 4)
    } else {
        (settings::SOCK_LOCAL_V6.load(), settings::SOCK_REMOTE_V6.load(), 16)
    };
    // SAFETY: the record is as large as its type, and the helper checks what it reads and writes no more than 16 bytes.
    unsafe {
        record.write(SocketRecord {
            header: ring::header(RecordKind::Socket, size_of::<SocketRecord>(), time_ns),
            ssl: key.ssl,
            born_ns,
            socket: sight.socket,
            content_bytes: bytes,
            socket_bytes: sight.bytes,
            generation: key.generation,
            family,
            local_port: (sight.ports >> 16) as u16,
            remote_port: u16::from_be(sight.ports as u16),
            direction: direction as u8,
            inside: u8::from(inside),
            tls_records,
            local_address: [0; 16],
            remote_address: [0; 16],
        });
        let read = |destination: *mut [u8; 16], offset: u32| {
            let source = socket.wrapping_add(offset as usize).cast();
            if length == 4 {
                generated::bpf_probe_read_kernel(destination.cast(), 4, source)
            } else {
                generated::bpf_probe_read_kernel(destination.cast(), 16, source)
            }
        };
        let status =
            read(&raw mut (*record).local_address, local) | read(&raw mut (*record).remote_address, remote);
        if status != 0 {
            entry.discard(0);
            return Ok(());
        }
    }
    entry.submit(0);
    Ok(())
}
