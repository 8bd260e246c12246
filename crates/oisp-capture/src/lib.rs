//! What a capture source delivers, whatever it is: the kernel, a recording, a generator.
//!
//! A [`CaptureSource`] gives [`CaptureEvent`]s in the order in which things happened: content of connections with the
//! absolute position of every byte, ends of connections, processes, and what was lost. Depends on the decoder only for
//! the types of time and direction; knows nothing of eBPF.

mod event;
mod source;

pub use event::{
    CaptureEvent, CloseCause, ConnectionClosed, ConnectionId, Content, CoverageFinding, CoverageReason,
    Losses, MonotonicNanos, ProcessExited, ProcessForked, ProcessId, ProcessStarted, WaitStatus,
};
pub use oisp_decode::{Direction, Nanos};
pub use source::{CaptureError, CaptureSource, Stop};
