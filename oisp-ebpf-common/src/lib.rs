//! The binary interface between the kernel programs and user space.
//!
//! Kernel side and user side are compiled from this one file, so a layout cannot differ between them; constant
//! assertions hold it fixed, and tests at the end compare it with literal bytes. Records are written by the
//! kernel programs field by field and *parsed* from bytes by user space ([`record`]), never transmuted.
//!
//! All integers are in the byte order of the machine: records never leave it.
#![no_std]

#[cfg(test)]
extern crate std;

mod counter;
mod layout;
pub mod record;

pub use counter::Counter;
pub use layout::{
    ARGUMENTS_CAPACITY, ActiveCall, AeadCall, CallKey, CloseReason, CloseRecord, ConnectionKey,
    ConnectionState, Direction, EnclosingCall, ExecRecord, ExitRecord, ForkRecord, Function, GO_CALL,
    MAX_CALL_BYTES, MAX_EVIDENCE, MAX_TLS_RECORD, OPPOSITE, PATH_CAPACITY, PAYLOAD_CLASSES, ProbeCookie,
    ReaderState, RecordHeader, RecordKind, ScopeKey, ScopeState, SocketEndRecord, SocketKey, SocketRecord,
    SocketSight, SocketUser, StreamKey, StreamNotice, StreamRecord, StreamState, ThreadKey, ThreadState,
    TlsRecord, WRITTEN_SLOTS, WRONG_WAY, Written,
};
