//! Go's `crypto/tls`: the same as `tls`, by Go's rules of calling.
//!
//! Arguments and results are in registers of Go's own order. A goroutine moves between threads while it waits, and its
//! stack moves in memory; what stays is the goroutine's structure and the distance from the end of its stack.
//!
//! Entered at the jump of the stack check, a call that has to grow the stack is seen twice, the second time with the
//! addresses that are right from then on.

use aya_ebpf::bindings::pt_regs;
use aya_ebpf::helpers::{bpf_get_current_pid_tgid, bpf_probe_read_user};
use aya_ebpf::programs::ProbeContext;
use oisp_ebpf_common::{
    ActiveCall, CallKey, CloseReason, ConnectionKey, ConnectionState, Counter, Direction, Function, GO_CALL,
};

use crate::maps::{ACTIVE_CALLS, CONNECTIONS};
use crate::programs::Outcome;
use crate::{cookie, scope, tls};

/// The registers that count: of both architectures in the order in which Go fills them.
struct Registers {
    /// First arguments; the first result is in the first as well.
    words: [u64; 3],
    /// Address of the goroutine's structure (`runtime.g`).
    goroutine: u64,
    stack: u64,
}

#[inline(always)]
fn registers(context: &ProbeContext) -> Registers {
    let registers: *const pt_regs = context.regs;
    // SAFETY: the context of a uprobe holds the thread's registers.
    #[cfg(bpf_target_arch = "x86_64")]
    unsafe {
        Registers {
            words: [(*registers).rax, (*registers).rbx, (*registers).rcx],
            goroutine: (*registers).r14,
            stack: (*registers).rsp,
        }
    }
    // SAFETY: as above.
    #[cfg(bpf_target_arch = "aarch64")]
    unsafe {
        let words = &(*registers).regs;
        Registers { words: [words[0], words[1], words[2]], goroutine: words[28], stack: (*registers).sp }
    }
}

/// The bounds of a goroutine's stack, with which its structure begins.
#[inline(always)]
fn stack_bounds(goroutine: u64) -> Result<[u64; 2], Counter> {
    // SAFETY: the helper checks the process's memory.
    unsafe { bpf_probe_read_user(goroutine as *const [u64; 2]) }.map_err(|_| Counter::UnreadableCounts)
}

/// What tells a call apart from all others in progress; at its return it is the same.
#[inline(always)]
fn call_key(tgid: u32, registers: &Registers, stack_end: u64) -> CallKey {
    // A stack has 1 GiB at most.
    let depth = (stack_end - registers.stack) as u32 & (GO_CALL - 1);
    CallKey { pid_tgid: u64::from(tgid) << 32 | u64::from(GO_CALL | depth), stack: registers.goroutine }
}

/// A function was entered: `func (c *tls.Conn) …(b []byte) (int, error)`
#[inline(always)]
pub(crate) fn enter(context: &ProbeContext, function: Function, direction: Direction) -> Outcome {
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    let Some(since_ns) = scope::since(tgid) else { return Ok(()) };
    let registers = registers(context);
    let [connection, buffer, length] = registers.words;
    let key = ConnectionKey { tgid, generation: 0, ssl: connection };
    let bounds = match stack_bounds(registers.goroutine) {
        Ok(bounds) => bounds,
        Err(counter) => {
            // The call's bytes will be missing and nobody will know how many: what follows is another connection.
            let _ = CONNECTIONS.remove(key);
            return Err(counter);
        }
    };
    let time_ns = tls::now();
    let state = tls::connection(&key, since_ns, time_ns)?;
    let call_key = call_key(tgid, &registers, bounds[1]);
    let is_on_stack = buffer >= bounds[0] && buffer < bounds[1];
    let call = ActiveCall {
        ssl: connection,
        buffer,
        length,
        count_address: if is_on_stack { bounds[1] } else { 0 },
        time_ns,
        function: function as u8,
        direction: direction as u8,
        file: cookie::of(context).file,
        generation: 0,
    };
    if ACTIVE_CALLS.insert(call_key, call, 0).is_err() {
        let _ = CONNECTIONS.remove(key);
        return Err(Counter::CallTableFull);
    }
    // Several goroutines may be in the same function of a connection: they wait for each other inside. The latest is the
    // one to be forgotten when the connection is closed under it.
    // SAFETY: a map value; the worst that a race does is a call that is not forgotten.
    unsafe { (&raw mut (*state).calls[direction as usize]).write(call_key) };
    Ok(())
}

/// A function is about to return.
#[inline(always)]
pub(crate) fn leave(context: &ProbeContext) -> Outcome {
    let pid_tgid = bpf_get_current_pid_tgid();
    let tgid = (pid_tgid >> 32) as u32;
    let Some(since_ns) = scope::since(tgid) else { return Ok(()) };
    let registers = registers(context);
    let bounds = stack_bounds(registers.goroutine)?;
    let call_key = call_key(tgid, &registers, bounds[1]);
    // SAFETY: the value is copied before the entry is removed, and only this goroutine removes it.
    let Some(mut call) = (unsafe { ACTIVE_CALLS.get(call_key).copied() }) else { return Ok(()) };
    if ACTIVE_CALLS.remove(call_key).is_err() {
        // A read has told it meanwhile.
        return Ok(());
    }

    let time_ns = tls::now();
    let key = ConnectionKey { tgid, generation: 0, ssl: call.ssl };
    let state = tls::connection(&key, since_ns, time_ns)?;
    // SAFETY: as in `enter`.
    unsafe {
        let latest = &raw mut (*state).calls[(call.direction & 1) as usize];
        if latest.read() == call_key {
            latest.write(NO_CALL);
        }
    }
    let transferred = registers.words[0].cast_signed();
    if transferred <= 0 {
        return Ok(());
    }
    if call.direction == Direction::Received as u8 {
        tell_write(&key, state, time_ns)?;
    }
    follow_stack(&mut call, bounds[1]);
    // What was read was received by this thread just before, as a rule. What was written has been sent already, perhaps by
    // another thread: the next send of this one would be taken for it.
    let thread = (call.direction == Direction::Received as u8).then_some(pid_tgid);
    tls::transferred_bytes(&key, state, &call, transferred as u64, time_ns, thread)
}

const NO_CALL: CallKey = CallKey { pid_tgid: 0, stack: 0 };

/// One goroutine writes a request, another reads the answer, and the read may return first. What is being written then is
/// taken for written: the answer must not be told before what it answers. After a write that fails nothing more can be
/// written to a connection.
#[inline(always)]
fn tell_write(key: &ConnectionKey, state: *mut ConnectionState, time_ns: u64) -> Outcome {
    // SAFETY: as in `enter`.
    let latest = unsafe { &raw mut (*state).calls[Direction::Sent as usize] };
    // SAFETY: as above.
    let call_key = unsafe { latest.read() };
    if call_key.pid_tgid == 0 {
        return Ok(());
    }
    // SAFETY: the value is copied before the entry is removed.
    let Some(mut call) = (unsafe { ACTIVE_CALLS.get(call_key).copied() }) else { return Ok(()) };
    if call.ssl != key.ssl {
        return Ok(());
    }
    if call.count_address != 0 {
        let Ok(bounds) = stack_bounds(call_key.stack) else { return Ok(()) };
        follow_stack(&mut call, bounds[1]);
    }
    // Who removes it tells it.
    if ACTIVE_CALLS.remove(call_key).is_err() {
        return Ok(());
    }
    // SAFETY: as above.
    unsafe { latest.write(NO_CALL) };
    tls::transferred_bytes(key, state, &call, call.length, time_ns, None)
}

/// A buffer on the stack is where the stack is now: it may have moved since the call began.
#[inline(always)]
fn follow_stack(call: &mut ActiveCall, stack_end: u64) {
    if call.count_address != 0 {
        call.buffer = call.buffer.wrapping_add(stack_end.wrapping_sub(call.count_address));
    }
}

/// A connection is closed. Its peer may have the end of what is being written, and have gone, before the write returns.
#[inline(always)]
pub(crate) fn close(context: &ProbeContext) -> Outcome {
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    let connection = registers(context).words[0];
    let key = ConnectionKey { tgid, generation: 0, ssl: connection };
    if scope::since(tgid).is_some()
        && let Some(state) = CONNECTIONS.get_ptr_mut(key)
    {
        tell_write(&key, state, tls::now())?;
    }
    tls::end(connection, CloseReason::Freed)
}

/// A connection begins. What was known at its address is of another, which nobody closed before its memory was used
/// again; the call that the handshake happens in is this one's.
///
/// A client may renegotiate (TLS 1.2), which is not a beginning. It does so inside a read; so where a client reads and
/// something is known, it is taken to go on. Clients write first.
#[inline(always)]
pub(crate) fn begin(context: &ProbeContext, client: bool) -> Outcome {
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    let Some(since_ns) = scope::since(tgid) else { return Ok(()) };
    let connection = registers(context).words[0];
    let key = ConnectionKey { tgid, generation: 0, ssl: connection };
    let Some(state) = CONNECTIONS.get_ptr_mut(key) else { return Ok(()) };
    // SAFETY: a map value.
    let known = unsafe { state.read() };
    let is_read = known.calls[Direction::Received as usize].pid_tgid != 0;
    if known.offsets == [0; 2] || (client && is_read) {
        return Ok(());
    }
    // SAFETY: a map value; nothing is transferred before the handshake is over.
    unsafe { state.write(ConnectionState { calls: known.calls, ..ConnectionState::new(tls::now()) }) };
    if known.born_ns < since_ns {
        return Ok(());
    }
    tls::tell_end(&key, &known, CloseReason::Replaced, tls::now())
}
