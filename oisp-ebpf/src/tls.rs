//! TLS functions: from the arguments at entry and the result at return to bytes at a position of a connection.
//!
//! Content is copied at return: then the number of bytes is known, a write that is retried (`WANT_WRITE`) was not yet
//! counted, and the pages are present.

use aya_ebpf::EbpfContext;
use aya_ebpf::bindings::pt_regs;
use aya_ebpf::helpers::{bpf_get_current_pid_tgid, bpf_ktime_get_ns, bpf_probe_read_user};
use aya_ebpf::programs::{ProbeContext, RetProbeContext};
use oisp_ebpf_common::{
    ActiveCall, CallKey, CloseReason, CloseRecord, ConnectionKey, ConnectionState, Counter, Direction,
    Function, ProbeCookie, RecordHeader, RecordKind, SocketUser,
};

use crate::cookie;
use crate::maps::{ACTIVE_CALLS, CONNECTIONS, count, doubt};
use crate::programs::Outcome;
use crate::ring::{self, Transfer};
use crate::scope;
use crate::socket;

/// A call inside another on the same buffer begins within nanoseconds of it; what is older was left behind by a call
/// whose return was never seen.
const NESTED_WITHIN_NS: u64 = 1_000_000_000;

/// What a call instruction left on the stack, and the return has taken off.
#[cfg(bpf_target_arch = "x86_64")]
pub(crate) const RETURN_ADDRESS_BYTES: u64 = 8;
#[cfg(bpf_target_arch = "aarch64")]
pub(crate) const RETURN_ADDRESS_BYTES: u64 = 0;

/// A function was entered: `(SSL *ssl, void *buf, length, …)`; `count_argument` is the index of the pointer through
/// which it gives the number of bytes, where it does not return it.
#[inline(always)]
pub(crate) fn enter(
    context: &ProbeContext,
    function: Function,
    direction: Direction,
    count_argument: Option<usize>,
) -> Outcome {
    let pid_tgid = bpf_get_current_pid_tgid();
    let tgid = (pid_tgid >> 32) as u32;
    let Some(since_ns) = scope::since(tgid) else { return Ok(()) };

    let ssl: u64 = context.arg(0).unwrap_or(0);
    let buffer: u64 = context.arg(1).unwrap_or(0);
    let length: u64 = context.arg(2).unwrap_or(0);
    let count_address: u64 = match count_argument {
        Some(index) => context.arg(index).unwrap_or(0),
        None => 0,
    };
    let time_ns = now();
    let key = ConnectionKey { tgid, generation: 0, ssl };
    let state = connection(&key, since_ns, time_ns)?;
    let cookie = cookie::of(context);
    let call_key = CallKey { pid_tgid, stack: stack_within(context, cookie) };

    // SAFETY: a map value; one connection object is used by one thread at a time (a rule of the libraries), and the
    // worst that a breach of it does is a wrong position in that connection.
    let outer = unsafe { (&raw const (*state).calls[direction as usize]).read() };
    if is_nested(&outer, &call_key, ssl, buffer, time_ns) {
        count(Counter::NestedCalls, 1);
        return Ok(());
    }
    // Its return was never seen: the thread left it by a jump, or ended. The entry would stay for ever.
    forget(&outer);
    let call = ActiveCall {
        ssl,
        buffer,
        length,
        count_address,
        time_ns,
        function: function as u8,
        direction: direction as u8,
        file: cookie.file,
        generation: 0,
    };
    if ACTIVE_CALLS.insert(call_key, call, 0).is_err() {
        // The call's bytes will be missing and nobody will know how many: what follows is another connection.
        let _ = CONNECTIONS.remove(key);
        return Err(Counter::CallTableFull);
    }
    // SAFETY: as above.
    unsafe {
        (&raw mut (*state).calls[direction as usize]).write(call_key);
        (*state).ends_with_socket = u8::from(cookie.arguments == ProbeCookie::ENDS_WITH_SOCKET);
    }
    socket::begin(&call_key, &key, direction);
    Ok(())
}

/// A function returned, or is about to: its result is where a function returns it. `stack` is the stack pointer after the
/// return.
#[inline(always)]
pub(crate) fn leave(context: &impl EbpfContext, stack: u64) -> Outcome {
    let pid_tgid = bpf_get_current_pid_tgid();
    let tgid = (pid_tgid >> 32) as u32;
    let Some(since_ns) = scope::since(tgid) else { return Ok(()) };
    let call_key = CallKey { pid_tgid, stack };
    // SAFETY: the value is copied before the entry is removed, and only this thread removes it.
    let Some(call) = (unsafe { ACTIVE_CALLS.get(call_key).copied() }) else { return Ok(()) };
    let _ = ACTIVE_CALLS.remove(call_key);
    let outcome = record(context, pid_tgid, since_ns, &call);
    socket::end(pid_tgid);
    outcome
}

/// A call returned that was entered as `call`.
#[inline(always)]
fn record(context: &impl EbpfContext, pid_tgid: u64, since_ns: u64, call: &ActiveCall) -> Outcome {
    let tgid = (pid_tgid >> 32) as u32;
    let time_ns = now();
    let key = ConnectionKey { tgid, generation: call.generation, ssl: call.ssl };
    let state = connection(&key, since_ns, time_ns)?;
    let direction = (call.direction & 1) as usize;
    // SAFETY: as in `enter`.
    unsafe { (&raw mut (*state).calls[direction]).write(CallKey { pid_tgid: 0, stack: 0 }) };

    let returned = result(context) as i32;
    let transferred = if call.count_address == 0 {
        if returned <= 0 {
            return Ok(());
        }
        returned as u64
    } else {
        if returned != 1 {
            return Ok(());
        }
        // SAFETY: the helper checks the process's memory.
        match unsafe { bpf_probe_read_user(call.count_address as *const u64) } {
            Ok(transferred) => transferred,
            Err(_) => {
                let _ = CONNECTIONS.remove(key);
                doubt(call.file);
                return Err(Counter::UnreadableCounts);
            }
        }
    };
    transferred_bytes(&key, state, call, transferred, time_ns, Some(pid_tgid))
}

/// A call transferred bytes: they are the next of its direction. `thread` is the one whose socket calls show which socket
/// the bytes went over.
#[inline(always)]
pub(crate) fn transferred_bytes(
    key: &ConnectionKey,
    state: *mut ConnectionState,
    call: &ActiveCall,
    transferred: u64,
    time_ns: u64,
    thread: Option<u64>,
) -> Outcome {
    let direction = (call.direction & 1) as usize;
    // No library transfers more than it was asked to; a process that says so is not believed.
    if transferred > call.length {
        doubt(call.file);
    }
    let length = transferred.min(call.length).min(u64::from(u32::MAX >> 1)) as u32;
    if length == 0 {
        return Ok(());
    }
    // SAFETY: as in `enter`.
    let (born_ns, offset) = unsafe {
        let offset = &raw mut (*state).offsets[direction];
        let start = offset.read();
        offset.write(start + u64::from(length));
        ((*state).born_ns, start)
    };
    let way = if direction == 0 { Direction::Sent } else { Direction::Received };
    let told = match thread {
        Some(pid_tgid) => socket::transferred(pid_tgid, call.file, key, state, way, length, time_ns),
        None => Ok(()),
    };
    ring::write_transfer(&Transfer {
        time_ns,
        ssl: call.ssl,
        born_ns,
        offset,
        buffer: call.buffer,
        length,
        direction: direction as u8,
        function: call.function,
        file: call.file,
        generation: call.generation,
    });
    told
}

/// A connection object is given back, or made ready for another connection.
#[inline(always)]
pub(crate) fn close(context: &ProbeContext, reason: CloseReason) -> Outcome {
    end(context.arg(0).unwrap_or(0), reason)
}

/// A connection object was made: an earlier one at its address has ended, however it did.
#[inline(always)]
pub(crate) fn begin(context: &impl EbpfContext) -> Outcome {
    end(result(context), CloseReason::Replaced)
}

/// A connection ends with its object, where one is known.
#[inline(always)]
pub(crate) fn end(ssl: u64, reason: CloseReason) -> Outcome {
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    let Some(since_ns) = scope::since(tgid) else { return Ok(()) };
    let key = ConnectionKey { tgid, generation: 0, ssl };
    // SAFETY: the value is copied before the entry is removed.
    let Some(state) = (unsafe { CONNECTIONS.get(key).copied() }) else { return Ok(()) };
    let _ = CONNECTIONS.remove(key);
    for call in &state.calls {
        forget(call);
    }
    if state.born_ns < since_ns {
        return Ok(());
    }
    tell_end(&key, &state, reason, now())
}

/// The socket of a connection was closed, whose end nothing else marks: what comes from its object afterwards is another
/// connection's. A call in progress is left to return.
#[inline(always)]
pub(crate) fn end_with_socket(user: &SocketUser) -> Outcome {
    let key = ConnectionKey { tgid: user.tgid, generation: 0, ssl: user.ssl };
    // SAFETY: the value is copied before the entry is removed.
    let Some(state) = (unsafe { CONNECTIONS.get(key).copied() }) else { return Ok(()) };
    let _ = CONNECTIONS.remove(key);
    let header = ring::header_of(user.tgid, RecordKind::Close, size_of::<CloseRecord>(), now());
    write_end(header, &key, &state, CloseReason::SocketEnded)
}

/// Says that a connection is over.
#[inline(always)]
pub(crate) fn tell_end(
    key: &ConnectionKey,
    state: &ConnectionState,
    reason: CloseReason,
    time_ns: u64,
) -> Outcome {
    let header = ring::header(RecordKind::Close, size_of::<CloseRecord>(), time_ns);
    write_end(header, key, state, reason)
}

#[inline(always)]
fn write_end(
    header: RecordHeader,
    key: &ConnectionKey,
    state: &ConnectionState,
    reason: CloseReason,
) -> Outcome {
    let mut entry = ring::reserve_lifecycle::<CloseRecord>()?;
    entry.write(CloseRecord {
        header,
        ssl: key.ssl,
        born_ns: state.born_ns,
        sent_end: state.offsets[Direction::Sent as usize],
        received_end: state.offsets[Direction::Received as usize],
        reason: reason as u32,
        generation: key.generation,
    });
    entry.submit(0);
    Ok(())
}

/// Drops a call that will not return, if it is one.
#[inline(always)]
fn forget(call: &CallKey) {
    if call.pid_tgid != 0 {
        let _ = ACTIVE_CALLS.remove(call);
    }
}

#[inline(always)]
pub(crate) fn now() -> u64 {
    // SAFETY: the helper has no preconditions.
    unsafe { bpf_ktime_get_ns() }
}

/// The connection's state, made anew where there is none or only one of an earlier program of the process.
#[inline(always)]
pub(crate) fn connection(
    key: &ConnectionKey,
    since_ns: u64,
    time_ns: u64,
) -> Result<*mut ConnectionState, Counter> {
    if let Some(state) = CONNECTIONS.get_ptr_mut(key) {
        // SAFETY: a map value; see `enter`.
        if unsafe { (*state).born_ns } >= since_ns {
            return Ok(state);
        }
    }
    let _ = CONNECTIONS.insert(key, ConnectionState::new(time_ns), 0);
    CONNECTIONS.get_ptr_mut(key).ok_or(Counter::ConnectionTableFull)
}

/// Whether `call` happens inside `outer`, on the same connection and buffer (`SSL_write_ex` calling
/// `SSL_write_ex2`): its bytes are the outer call's.
#[inline(always)]
fn is_nested(outer: &CallKey, call: &CallKey, ssl: u64, buffer: u64, time_ns: u64) -> bool {
    // Stacks grow downwards: an inner call has the lower address.
    if outer.pid_tgid != call.pid_tgid || outer.stack <= call.stack {
        return false;
    }
    // SAFETY: a map value that only this thread writes.
    let Some(active) = (unsafe { ACTIVE_CALLS.get(outer) }) else { return false };
    active.ssl == ssl && active.buffer == buffer && time_ns - active.time_ns < NESTED_WITHIN_NS
}

/// The stack pointer as it will be after the return, at an instruction of the function.
#[inline(always)]
pub(crate) fn stack_within(context: &impl EbpfContext, cookie: ProbeCookie) -> u64 {
    stack_pointer(context) + u64::from(cookie.pushed_words) * 8 + RETURN_ADDRESS_BYTES
}

/// The stack pointer where a return probe sees it.
#[inline(always)]
pub(crate) fn stack_after_return(context: &RetProbeContext) -> u64 {
    stack_pointer(context)
}

/// The thread's registers.
#[inline(always)]
fn registers(context: &impl EbpfContext) -> *const pt_regs {
    context.as_ptr().cast()
}

#[inline(always)]
pub(crate) fn stack_pointer(context: &impl EbpfContext) -> u64 {
    // SAFETY: the context of a uprobe holds the thread's registers.
    #[cfg(bpf_target_arch = "x86_64")]
    unsafe {
        (*registers(context)).rsp
    }
    // SAFETY: as above.
    #[cfg(bpf_target_arch = "aarch64")]
    unsafe {
        (*registers(context)).sp
    }
}

/// What the function returns.
#[inline(always)]
pub(crate) fn result(context: &impl EbpfContext) -> u64 {
    // SAFETY: the context of a uprobe holds the thread's registers.
    #[cfg(bpf_target_arch = "x86_64")]
    unsafe {
        (*registers(context)).rax
    }
    // SAFETY: as above.
    #[cfg(bpf_target_arch = "aarch64")]
    unsafe {
        (*registers(context)).regs[0]
    }
}
