//! Records into the ring.

use core::hint::black_box;
use core::mem::size_of;

use aya_ebpf::bindings::{BPF_RB_AVAIL_DATA, BPF_RB_RING_SIZE};
use aya_ebpf::helpers::{bpf_get_current_pid_tgid, generated};
use aya_ebpf::maps::ring_buf::RingBufEntry;
use oisp_ebpf_common::{Counter, MAX_CALL_BYTES, PAYLOAD_CLASSES, RecordHeader, RecordKind, TlsRecord};

use crate::maps::{EVENTS, count, doubt};
use crate::settings::RING_RESERVE;

/// The largest class; most of a large call is cut into it.
pub(crate) const LARGEST: usize = PAYLOAD_CLASSES[PAYLOAD_CLASSES.len() - 1] as usize;

/// What a call transferred, as far as it is the same for all its records.
#[derive(Clone, Copy)]
pub(crate) struct Transfer {
    pub(crate) time_ns: u64,
    pub(crate) ssl: u64,
    pub(crate) born_ns: u64,
    /// Position of the call's first byte.
    pub(crate) offset: u64,
    /// Address of the bytes in the process.
    pub(crate) buffer: u64,
    /// How many bytes.
    pub(crate) length: u32,
    pub(crate) direction: u8,
    pub(crate) function: u8,
    pub(crate) file: u16,
    pub(crate) generation: u32,
}

#[repr(C)]
struct Slot<const N: usize> {
    record: TlsRecord,
    payload: [u8; N],
}

/// Room for a process or connection record: they may use the part of the ring that content leaves free.
#[inline(always)]
pub(crate) fn reserve_lifecycle<T: 'static>() -> Result<RingBufEntry<T>, Counter> {
    EVENTS.reserve::<T>(0).ok_or(Counter::LifecycleRecordsLost)
}

/// The header of a record of the current thread.
#[inline(always)]
pub(crate) fn header(kind: RecordKind, length: usize, time_ns: u64) -> RecordHeader {
    let pid_tgid = bpf_get_current_pid_tgid();
    RecordHeader { tid: pid_tgid as u32, ..header_of((pid_tgid >> 32) as u32, kind, length, time_ns) }
}

/// The header of a record of a process, whatever happens to run.
#[inline(always)]
pub(crate) fn header_of(tgid: u32, kind: RecordKind, length: usize, time_ns: u64) -> RecordHeader {
    RecordHeader { kind: kind as u16, reserved: 0, length: length as u32, time_ns, tgid, tid: 0 }
}

/// Writes all of a call, in records of the size classes. Whatever cannot be written is counted; its place in the
/// stream stays empty, because every record carries its own position.
#[inline(always)]
pub(crate) fn write_transfer(transfer: &Transfer) {
    let captured = if transfer.length > MAX_CALL_BYTES {
        count(Counter::OverLimitBytes, u64::from(transfer.length - MAX_CALL_BYTES));
        MAX_CALL_BYTES
    } else {
        transfer.length
    };
    let mut done = 0_u32;
    // A fixed bound: verifiers before 5.17 know no other loop.
    for _ in 0..(MAX_CALL_BYTES as usize / LARGEST) {
        if captured - done < LARGEST as u32 {
            break;
        }
        write_record::<LARGEST>(transfer, done, LARGEST as u32);
        done += LARGEST as u32;
    }
    let rest = captured - done;
    if rest != 0 {
        write_rest(transfer, done, rest);
    }
}

/// Writes `length` bytes, 1 to [`LARGEST`], from `done` bytes into the call.
#[inline(always)]
pub(crate) fn write_piece(transfer: &Transfer, done: u32, length: u32) {
    write_rest(transfer, done, length);
}

/// Writes a TLS record's content: 1 to [`LARGEST`] bytes.
#[inline(always)]
pub(crate) fn write_tls_record(transfer: &Transfer) {
    write_rest(transfer, 0, transfer.length);
}

/// Writes the last `rest` bytes of a call, no more than [`LARGEST`], in one record of the class that holds them.
#[inline(always)]
fn write_rest(transfer: &Transfer, done: u32, rest: u32) {
    if rest > 8192 {
        write_record::<16384>(transfer, done, rest);
    } else if rest > 4096 {
        write_record::<8192>(transfer, done, rest);
    } else if rest > 2048 {
        write_record::<4096>(transfer, done, rest);
    } else if rest > 1024 {
        write_record::<2048>(transfer, done, rest);
    } else if rest > 512 {
        write_record::<1024>(transfer, done, rest);
    } else if rest > 256 {
        write_record::<512>(transfer, done, rest);
    } else {
        write_record::<256>(transfer, done, rest);
    }
}

/// One record of class `N`, with `length` bytes from `done` bytes into the call.
#[inline(always)]
fn write_record<const N: usize>(transfer: &Transfer, done: u32, length: u32) {
    let Some(mut entry) = reserve_content::<Slot<N>>() else {
        count(Counter::RingFullRecords, 1);
        count(Counter::RingFullBytes, u64::from(length));
        return;
    };
    let slot = entry.as_mut_ptr();
    let record = TlsRecord {
        header: header(RecordKind::Tls, size_of::<TlsRecord>() + length as usize, transfer.time_ns),
        ssl: transfer.ssl,
        born_ns: transfer.born_ns,
        offset: transfer.offset + u64::from(done),
        payload_length: length,
        call_length: transfer.length,
        direction: transfer.direction,
        function: transfer.function,
        file: transfer.file,
        generation: transfer.generation,
    };
    // SAFETY: the slot is as large as its type, and the helper checks the process's memory.
    let status = unsafe {
        (&raw mut (*slot).record).write(record);
        let payload = (&raw mut (*slot).payload).cast();
        let source = (transfer.buffer + u64::from(done)) as *const _;
        if length >= N as u32 {
            generated::bpf_probe_read_user(payload, N as u32, source)
        } else {
            // The mask says to every verifier what the comparison said: less than N. Hidden from the compiler,
            // which would drop it as redundant.
            let bounded = black_box(length) & (N as u32 - 1);
            generated::bpf_probe_read_user(payload, bounded, source)
        }
    };
    if status == 0 {
        entry.submit(0);
        count(Counter::TlsRecords, 1);
        count(Counter::TlsBytes, u64::from(length));
    } else {
        entry.discard(0);
        count(Counter::UnreadableBytes, u64::from(length));
        doubt(transfer.file);
    }
}

/// Room for content: never the part of the ring that is kept for process and connection records.
#[inline(always)]
fn reserve_content<T: 'static>() -> Option<RingBufEntry<T>> {
    let used = EVENTS.query(u64::from(BPF_RB_AVAIL_DATA));
    let size = EVENTS.query(u64::from(BPF_RB_RING_SIZE));
    if used + size_of::<T>() as u64 + u64::from(RING_RESERVE.load()) > size {
        return None;
    }
    EVENTS.reserve::<T>(0)
}
