//! TLS records where they are sealed and opened: the AEAD functions of a cipher library, for TLS stacks that are compiled
//! into their callers.
//!
//! A key serves one direction of one connection, so what is followed here is a half-connection. Its context's address is
//! used again by other keys; the first 4 bytes of the nonce tell them apart, because they stay the same for a key (RFC
//! 8446 section 5.3, RFC 5288 section 3, RFC 7905 section 2).
//!
//! What is sealed is in place: the plaintext is there when the function is entered and gone when it returns, so it is
//! copied at entry. Should the function then fail, which none does for arguments that a TLS stack passes, the copy tells
//! of a record that was never sent.

use aya_ebpf::EbpfContext;
use aya_ebpf::helpers::{bpf_get_current_pid_tgid, bpf_probe_read_user};
use aya_ebpf::programs::ProbeContext;
use core::hint::black_box;
use oisp_ebpf_common::{
    AeadCall, CallKey, CloseReason, ConnectionKey, ConnectionState, Counter, Direction, Function, ProbeCookie,
};

use crate::cookie;
use crate::maps::{AEAD_CALLS, CONNECTIONS, count};
use crate::programs::Outcome;
use crate::ring::{self, Transfer};
use crate::scope;
use crate::socket;
use crate::tls::{self, RETURN_ADDRESS_BYTES, now, stack_pointer};

/// Where a function's arguments are, by index; `NONE` where it has no such argument.
pub(crate) struct Arguments {
    nonce: usize,
    nonce_length: usize,
    input: usize,
    input_length: usize,
    extra: usize,
    extra_length: usize,
    additional: usize,
    additional_length: usize,
    /// The pointer through which the length of the output is given.
    output_length: usize,
}

const NONE: usize = usize::MAX;

pub(crate) const SEAL: Arguments = Arguments {
    nonce: 4,
    nonce_length: 5,
    input: 6,
    input_length: 7,
    extra: NONE,
    extra_length: NONE,
    additional: 8,
    additional_length: 9,
    output_length: 2,
};
pub(crate) const SEAL_SCATTER: Arguments = Arguments {
    nonce: 5,
    nonce_length: 6,
    input: 7,
    input_length: 8,
    extra: 9,
    extra_length: 10,
    additional: 11,
    additional_length: 12,
    output_length: NONE,
};
pub(crate) const OPEN: Arguments = SEAL;
pub(crate) const OPEN_GATHER: Arguments = Arguments {
    nonce: 2,
    nonce_length: 3,
    input: 4,
    input_length: 5,
    extra: NONE,
    extra_length: NONE,
    additional: 8,
    additional_length: 9,
    output_length: NONE,
};

const NONCE_BYTES: u64 = 12;
/// Additional data of a record in TLS 1.3 (its header) and in TLS 1.2 (its number and its header).
const TLS13_ADDITIONAL: u64 = 5;
const TLS12_ADDITIONAL: u64 = 13;
/// The tag of every cipher that both versions share with rustls.
const TAG_BYTES: u32 = 16;
/// Content of a record at most (RFC 8446, section 5.1), and of TLS 1.3 with its type.
const MAX_CONTENT: u32 = 1 << 14;
const MAX_INNER: u32 = MAX_CONTENT + 1;
/// Padding that is looked through, in words of 8 bytes. Of more the end of the content is not known.
const MAX_PADDING_WORDS: u32 = 512;

/// Content types (RFC 8446, section 5.1).
const ALERT: u8 = 0x15;
const HANDSHAKE: u8 = 0x16;
const APPLICATION_DATA: u8 = 0x17;
/// In an alert: its level 2, and `close_notify`.
const FATAL: u8 = 2;
const CLOSE_NOTIFY: u8 = 0;

/// What nonce and additional data say of a record.
#[derive(Clone, Copy)]
struct Sealing {
    generation: u32,
    /// Grows by one with each record of the half-connection, seen through an exclusive or with a constant of the key.
    number: u64,
    /// The content type; 0 where it is the last byte of the content (TLS 1.3).
    kind: u8,
    /// Of TLS 1.2 the content's, of TLS 1.3 that of the sealed record.
    length: u32,
}

/// A record's plaintext.
#[derive(Clone, Copy)]
struct Plaintext {
    context: u64,
    direction: Direction,
    function: u8,
    file: u16,
    buffer: u64,
    length: u32,
    /// Where the content type stands that was given apart from the rest; 0 where it was not.
    extra: u64,
}

/// A sealing function was entered.
#[inline(always)]
pub(crate) fn seal(context: &ProbeContext, function: Function, arguments: &Arguments) -> Outcome {
    let pid_tgid = bpf_get_current_pid_tgid();
    let Some(since_ns) = scope::since((pid_tgid >> 32) as u32) else { return Ok(()) };
    let cookie = cookie::of(context);
    let Some(sealing) = sealing(context, cookie, arguments) else { return Ok(()) };
    let length = argument(context, cookie, arguments.input_length);
    if length > u64::from(MAX_INNER) {
        return Ok(());
    }
    let extra = match argument(context, cookie, arguments.extra_length) {
        0 => 0,
        1 => argument(context, cookie, arguments.extra),
        _ => return Ok(()),
    };
    let plaintext = Plaintext {
        context: argument(context, cookie, 0),
        direction: Direction::Sent,
        function: function as u8,
        file: cookie.file,
        buffer: argument(context, cookie, arguments.input),
        length: length as u32,
        extra,
    };
    take(pid_tgid, since_ns, &sealing, &plaintext)
}

/// An opening function was entered.
#[inline(always)]
pub(crate) fn open(context: &ProbeContext, function: Function, arguments: &Arguments) -> Outcome {
    let pid_tgid = bpf_get_current_pid_tgid();
    if scope::since((pid_tgid >> 32) as u32).is_none() {
        return Ok(());
    }
    let cookie = cookie::of(context);
    let Some(sealing) = sealing(context, cookie, arguments) else { return Ok(()) };
    let length = argument(context, cookie, arguments.input_length);
    if length > u64::from(MAX_INNER + 2 * TAG_BYTES) {
        return Ok(());
    }
    let call = AeadCall {
        context: argument(context, cookie, 0),
        buffer: argument(context, cookie, 1),
        length_address: argument(context, cookie, arguments.output_length),
        number: sealing.number,
        generation: sealing.generation,
        input_length: length as u32,
        record_length: sealing.length,
        kind: sealing.kind,
        function: function as u8,
        file: cookie.file,
    };
    follow(context, cookie, pid_tgid, &call)
}

/// Keeps a call until [`opened`].
#[inline(always)]
fn follow(context: &ProbeContext, cookie: ProbeCookie, pid_tgid: u64, call: &AeadCall) -> Outcome {
    let key = CallKey { pid_tgid, stack: tls::stack_within(context, cookie) };
    // Where there is no room its record will be missed, which the next one's number tells.
    AEAD_CALLS.insert(key, call, 0).map_err(|_| Counter::CallTableFull)
}

/// An opening function returned, or is about to; `stack` is the stack pointer after the return.
#[inline(always)]
pub(crate) fn opened(context: &impl EbpfContext, stack: u64) -> Outcome {
    let pid_tgid = bpf_get_current_pid_tgid();
    let Some(since_ns) = scope::since((pid_tgid >> 32) as u32) else { return Ok(()) };
    let key = CallKey { pid_tgid, stack };
    // SAFETY: the value is copied before the entry is removed, and only this thread removes it.
    let Some(call) = (unsafe { AEAD_CALLS.get(key).copied() }) else { return Ok(()) };
    let _ = AEAD_CALLS.remove(key);
    // ring's returns no number, and does not fail for anything as short as a record.
    if call.function != Function::RingOpen as u8 && tls::result(context) as i32 != 1 {
        return Ok(());
    }
    let length = if call.length_address == 0 {
        u64::from(call.input_length)
    } else {
        // SAFETY: the helper checks the address.
        unsafe { bpf_probe_read_user(call.length_address as *const u64) }
            .map_err(|_| Counter::UnreadableCounts)?
    };
    if length > u64::from(MAX_INNER) {
        return Ok(());
    }
    let sealing = Sealing {
        generation: call.generation,
        number: call.number,
        kind: call.kind,
        length: call.record_length,
    };
    let plaintext = Plaintext {
        context: call.context,
        direction: Direction::Received,
        function: call.function,
        file: call.file,
        buffer: call.buffer,
        length: length as u32,
        extra: 0,
    };
    take(pid_tgid, since_ns, &sealing, &plaintext)
}

/// A call of one of ring's functions.
#[derive(Clone, Copy)]
struct RingCall {
    key: u64,
    buffer: u64,
    length: u64,
    /// Where the sealed bytes begin in the buffer; the opened ones begin where it does.
    source: u64,
    sealing: Sealing,
}

/// ring's sealing function was entered. Unlike the others it gives the tag apart from what it seals.
#[inline(always)]
pub(crate) fn ring_seal(context: &ProbeContext) -> Outcome {
    let pid_tgid = bpf_get_current_pid_tgid();
    let Some(since_ns) = scope::since((pid_tgid >> 32) as u32) else { return Ok(()) };
    let cookie = cookie::of(context);
    let Some(call) = ring_call(context, cookie, false) else { return Ok(()) };
    let plaintext = Plaintext {
        context: call.key,
        direction: Direction::Sent,
        function: Function::RingSeal as u8,
        file: cookie.file,
        buffer: call.buffer,
        length: call.length as u32,
        extra: 0,
    };
    take(pid_tgid, since_ns, &call.sealing, &plaintext)
}

/// ring's opening function was entered. Its caller compares the tags afterwards: what fails that was still taken for content.
#[inline(always)]
pub(crate) fn ring_open(context: &ProbeContext) -> Outcome {
    let pid_tgid = bpf_get_current_pid_tgid();
    if scope::since((pid_tgid >> 32) as u32).is_none() {
        return Ok(());
    }
    let cookie = cookie::of(context);
    let Some(ring) = ring_call(context, cookie, true) else { return Ok(()) };
    let call = AeadCall {
        context: ring.key,
        buffer: ring.buffer,
        length_address: 0,
        number: ring.sealing.number,
        generation: ring.sealing.generation,
        input_length: (ring.length - ring.source) as u32,
        record_length: ring.sealing.length,
        kind: ring.sealing.kind,
        function: Function::RingOpen as u8,
        file: cookie.file,
    };
    follow(context, cookie, pid_tgid, &call)
}

/// The arguments, where they are a TLS record's. Where the result does not fit into registers, the place for it is the
/// first argument on x86_64; which of the two it is shows in the record's header.
#[inline(always)]
fn ring_call(context: &ProbeContext, cookie: ProbeCookie, has_source: bool) -> Option<RingCall> {
    // Each is read once and kept: out of two reads the compiler makes one through a computed address, which the verifier
    // refuses.
    let value = |index| black_box(argument(context, cookie, index));
    let values = [value(0), value(1), value(2), value(3), value(4), value(5), value(6), value(7)];
    #[cfg(bpf_target_arch = "x86_64")]
    if let Some(call) = ring_call_from::<1>(&values, has_source) {
        return Some(call);
    }
    ring_call_from::<0>(&values, has_source)
}

#[inline(always)]
fn ring_call_from<const FIRST: usize>(values: &[u64; 8], has_source: bool) -> Option<RingCall> {
    let [key, nonce, additional, additional_length, buffer, length, source] =
        core::array::from_fn(|index| values[FIRST + index]);
    let source = if has_source { source } else { 0 };
    if length > u64::from(MAX_INNER) + 8 || source > length {
        return None;
    }
    let sealing = sealing_of(nonce, additional, additional_length)?;
    let tag = if sealing.kind == 0 { TAG_BYTES } else { 0 };
    if u64::from(sealing.length) != length - source + u64::from(tag) {
        return None;
    }
    Some(RingCall { key, buffer, length, source, sealing })
}

/// What nonce and additional data say, where they are those of a TLS record.
#[inline(always)]
fn sealing(context: &ProbeContext, cookie: ProbeCookie, arguments: &Arguments) -> Option<Sealing> {
    let additional_length = argument(context, cookie, arguments.additional_length);
    if argument(context, cookie, arguments.nonce_length) != NONCE_BYTES {
        return None;
    }
    let nonce = argument(context, cookie, arguments.nonce);
    sealing_of(nonce, argument(context, cookie, arguments.additional), additional_length)
}

#[inline(always)]
fn sealing_of(nonce: u64, additional: u64, additional_length: u64) -> Option<Sealing> {
    if additional_length != TLS13_ADDITIONAL && additional_length != TLS12_ADDITIONAL {
        return None;
    }
    // 0 is no generation: it means a connection that has both directions.
    let generation = match user(nonce)? {
        0 => u32::MAX,
        generation => generation,
    };
    if additional_length == TLS13_ADDITIONAL {
        let header: [u8; 5] = user(additional)?;
        if header[0] != APPLICATION_DATA || header[1] != 3 || header[2] != 3 {
            return None;
        }
        let number = u64::from_be_bytes(user(nonce + 4)?);
        let length = u32::from(u16::from_be_bytes([header[3], header[4]]));
        Some(Sealing { generation, number, kind: 0, length })
    } else {
        let header: [u8; 5] = user(additional + 8)?;
        if header[1] != 3 || header[2] != 3 {
            return None;
        }
        let number = u64::from_be_bytes(user(additional)?);
        let length = u32::from(u16::from_be_bytes([header[3], header[4]]));
        Some(Sealing { generation, number, kind: header[0], length })
    }
}

/// A record's plaintext is there.
#[inline(always)]
fn take(pid_tgid: u64, since_ns: u64, sealing: &Sealing, plaintext: &Plaintext) -> Outcome {
    let tgid = (pid_tgid >> 32) as u32;
    let key = ConnectionKey { tgid, generation: sealing.generation, ssl: plaintext.context };
    let (kind, length) = if sealing.kind != 0 {
        if sealing.length != plaintext.length {
            return Ok(());
        }
        (sealing.kind, plaintext.length)
    } else {
        let extra_length = if plaintext.extra == 0 { 0 } else { 1 };
        if sealing.length != plaintext.length + extra_length + TAG_BYTES {
            return Ok(());
        }
        if plaintext.extra != 0 {
            (user(plaintext.extra).ok_or(Counter::UnreadableCounts)?, plaintext.length)
        } else {
            match inner(plaintext.buffer, plaintext.length) {
                Some(inner) => inner,
                None => {
                    // Its length is not known, so nothing that follows has a known position.
                    let _ = CONNECTIONS.remove(key);
                    return Err(Counter::UnreadableCounts);
                }
            }
        }
    };
    socket::watch_threads(tgid);
    let time_ns = now();
    let Some(state) = state(&key, since_ns, sealing.number, plaintext.direction) else {
        // A record inside another call on the same one.
        count(Counter::NestedCalls, 1);
        return Ok(());
    };
    match kind {
        APPLICATION_DATA => {}
        HANDSHAKE => {
            socket::read_other(pid_tgid, plaintext.direction);
            return Ok(());
        }
        ALERT => return alert(&key, state, plaintext, length, time_ns),
        _ => return Ok(()),
    }
    if length == 0 || length > MAX_CONTENT {
        return Ok(());
    }
    let state = match state {
        Some(state) => state,
        None => {
            let fresh = ConnectionState { last_record: sealing.number, ..ConnectionState::new(time_ns) };
            let _ = CONNECTIONS.insert(key, fresh, 0);
            CONNECTIONS.get_ptr_mut(key).ok_or(Counter::ConnectionTableFull)?
        }
    };
    // SAFETY: a map value; one key is used by one thread at a time, because each record's number follows the one before.
    let (born_ns, offset) = unsafe {
        let offset = &raw mut (*state).offsets[plaintext.direction as usize & 1];
        let start = offset.read();
        offset.write(start + u64::from(length));
        ((*state).born_ns, start)
    };
    let told =
        socket::transferred(pid_tgid, plaintext.file, &key, state, plaintext.direction, length, time_ns);
    ring::write_tls_record(&Transfer {
        time_ns,
        ssl: plaintext.context,
        born_ns,
        offset,
        buffer: plaintext.buffer,
        length,
        direction: plaintext.direction as u8,
        function: plaintext.function,
        file: plaintext.file,
        generation: sealing.generation,
    });
    told
}

/// The half-connection's state, where it has one; `None` where this record is the one that was seen last.
///
/// A record that does not follow the one before was preceded by others that were missed. Nobody knows how long they
/// were: the half-connection starts anew.
#[inline(always)]
#[expect(clippy::option_option, reason = "taken apart at once by its only caller")]
fn state(
    key: &ConnectionKey,
    since_ns: u64,
    number: u64,
    direction: Direction,
) -> Option<Option<*mut ConnectionState>> {
    let Some(state) = CONNECTIONS.get_ptr_mut(key) else { return Some(None) };
    // SAFETY: as in `take`.
    let ConnectionState { born_ns, offsets, last_record, .. } = unsafe { *state };
    if born_ns < since_ns {
        let _ = CONNECTIONS.remove(key);
        return Some(None);
    }
    let step = last_record ^ number;
    if step == 0 {
        return None;
    }
    // From a number to the next one all bits up to the lowest zero change, whatever constant both are combined with.
    if step & step.wrapping_add(1) != 0 && offsets[direction as usize & 1] != 0 {
        let _ = CONNECTIONS.remove(key);
        count(Counter::MissedRecords, 1);
        return Some(None);
    }
    // SAFETY: as in `take`.
    unsafe { (&raw mut (*state).last_record).write(number) };
    Some(Some(state))
}

/// An alert. The one that ends the connection's direction is told, where it had content.
#[inline(always)]
fn alert(
    key: &ConnectionKey,
    state: Option<*mut ConnectionState>,
    plaintext: &Plaintext,
    length: u32,
    time_ns: u64,
) -> Outcome {
    let Some(state) = state else { return Ok(()) };
    if length != 2 {
        return Ok(());
    }
    let Some([level, description]) = user::<[u8; 2]>(plaintext.buffer) else { return Ok(()) };
    if level != FATAL && description != CLOSE_NOTIFY {
        return Ok(());
    }
    // SAFETY: as in `take`.
    let state = unsafe { state.read() };
    tls::tell_end(key, &state, CloseReason::Notified, time_ns)
}

/// Content type and length of what a record of TLS 1.3 holds: content, its type, zeros (RFC 8446, section 5.4). `None`
/// where the type cannot be found.
#[inline(always)]
fn inner(buffer: u64, length: u32) -> Option<(u8, u32)> {
    if length == 0 {
        return None;
    }
    let last: u8 = user(buffer + u64::from(length) - 1)?;
    if last != 0 {
        return Some((last, length - 1));
    }
    let mut end = length - 1;
    for _ in 0..MAX_PADDING_WORDS {
        if end == 0 {
            return None;
        }
        let word: u64 = user((buffer + u64::from(end)).wrapping_sub(8))?;
        // Of the first bytes those before the buffer are not part of it.
        let word = if end < 8 { word & (u64::MAX << (8 * (8 - end))) } else { word };
        if word != 0 {
            let zeros = word.leading_zeros() / 8;
            let kind = (word >> (8 * (7 - zeros))) as u8;
            return Some((kind, end.wrapping_sub(zeros + 1) & (2 * MAX_CONTENT - 1)));
        }
        end = end.saturating_sub(8);
    }
    None
}

/// An argument of the function that is being entered; 0 where it has none of this index, or it cannot be read.
#[inline(always)]
fn argument(context: &ProbeContext, cookie: ProbeCookie, index: usize) -> u64 {
    if index == NONE {
        return 0;
    }
    if let Some(value) = context.arg::<u64>(index) {
        return value;
    }
    let words = (index - REGISTER_ARGUMENTS) as u64 + u64::from(cookie.pushed_words);
    user(stack_pointer(context) + RETURN_ADDRESS_BYTES + 8 * words).unwrap_or(0)
}

/// Arguments that are passed in registers.
#[cfg(bpf_target_arch = "x86_64")]
const REGISTER_ARGUMENTS: usize = 6;
#[cfg(bpf_target_arch = "aarch64")]
const REGISTER_ARGUMENTS: usize = 8;

/// Something in the process's memory.
#[inline(always)]
fn user<T: Copy>(address: u64) -> Option<T> {
    // SAFETY: the helper checks the address, and every `T` used here may hold any bytes.
    unsafe { bpf_probe_read_user(address as *const T) }.ok()
}
