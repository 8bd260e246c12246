//! What a capture source delivers, whatever it is: the kernel, a recording, a generator.
//!
//! A [`CaptureSource`] gives [`CaptureEvent`]s in the order in which things happened: content of connections with the
//! absolute position of every byte, ends of connections, processes, and what was lost. Depends on the decoder only for
//! the types of time and direction; knows nothing of eBPF.
//!
//! [`raw`] writes events to a file and reads them back, [`ReplaySource`] delivers them again. [`generator`] makes
//! traffic of its own.

mod event;
mod function;
pub mod generator;
pub mod path_serde;
pub mod raw;
mod replay;
mod source;

pub use event::{
    AttachedFile, CaptureEvent, CloseCause, ConnectionClosed, ConnectionId, ConnectionPeer, ConnectionSocket,
    Content, CoverageFinding, CoverageReason, DirectionProof, FileProof, FunctionName, Losses,
    MonotonicNanos, PIPE, ProcessExited, ProcessForked, ProcessId, ProcessStarted, SocketEnds, UNIX_STREAM,
    WaitStatus,
};
pub use oisp_decode::{Direction, Nanos};
pub use replay::{ReplaySource, ReplaySpeed, SpeedFactor, UnknownSpeed};
pub use source::{CaptureError, CaptureSource, Stop, monotonic_now};
