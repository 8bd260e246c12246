//! Joins what was understood with who did it: AI calls and process notices become OISP events.
//!
//! Takes capture events of processes and the interpreter's AI events, each with the connection that it came from; gives
//! [`oisp_event::Event`]s with host, user, process and its ancestors, wall-clock times and the links between events.
//! Knows no protocol but what sessions of MCP are made of. What it asks the host (`/proc`, the user database) stands behind [`ProcessLookup`], so that
//! recordings of another host are never joined with this one's processes.

mod clock;
mod conversations;
mod correlator;
mod host;
mod lookup;
mod mcp;
mod processes;
mod raw_recording;
mod recorded_lookup;
mod tools;

pub use clock::Clock;
pub use correlator::{CallOrigin, Correlator};
pub use host::{host_facts, sensor_container};
pub use lookup::{HostLookup, NoLookup, ProcessFacts, ProcessLookup};
pub use processes::ProcessTable;
pub use raw_recording::{RawRecorder, Replay, replay};
pub use recorded_lookup::{
    LookupAnswer, RecordingLookup, ReplayedAnswers, ReplayedLookup, ReplayedStatistics,
};
