//! The control interface of a running sensor: what it does, and how it is told to stop or to reload.
//!
//! A sensor starts a [`Server`] with something that is [`Controlled`]; it listens on a unix socket in a directory that
//! only its user can enter. A client finds the sensors of a directory ([`list`], [`find`]), connects to one and asks
//! ([`Connection`]). Both speak one JSON object a line; `docs/control.md` is the protocol's description.
//!
//! The server is one thread. It reads requests of bounded size from a bounded number of clients, waits for none of
//! them, and answers the same user and root only. It holds a lock beside its socket, so that the socket of a sensor
//! that was killed is known as such and replaced, and two sensors never share a name.
//!
//! Nothing here redacts: whoever fills a [`Status`] or a [`ReloadReport`] hands over text that is redacted already.
//! Depends on no other crate of the project: it knows neither capture nor events.

mod claim;
mod client;
mod directory;
mod peer;
mod protocol;
mod resources;
mod server;
mod status;

pub use claim::{Claim, ClaimError};
pub use client::{ClientError, Connection, Ending, Listed, Presence, find, list};
pub use directory::{InvalidName, SensorName, default_directory, directories};
pub use protocol::{Answer, Command, ErrorCode, MAX_ANSWER, MAX_REQUEST, Refusal, VERSION, parse_request};
pub use resources::{CpuMeter, Resident, resident};
pub use server::{Controlled, Server, ServerError};
pub use status::{
    Attached, ConfigurationState, Coverage, Cpu, ErrorLine, Finding, MAX_TEXT, Memory, ProcessEntry,
    Processes, Queue, ReloadReport, STATUS_VERSION, Scope, ScopeKind, Sink, Stage, Status,
};
