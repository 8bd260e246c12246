//! What the tests share.

mod client;
mod forged;
mod host;
mod memory_pair;
mod recording;
mod role;
mod streams;

pub(crate) use client::{Direction, client, client_executable, line_of, truths};
pub(crate) use forged::{WrongAnalysis, forge};
pub(crate) use host::{
    LibraryCopy, ProbeState, can_record, open_descriptors, probe_state, probe_state_at, wait_until,
};
pub(crate) use memory_pair::MemoryPair;
pub(crate) use recording::{Recorded, Recording, Setup};
pub(crate) use role::{in_role, role, say};
pub(crate) use streams::{assert_whole, connections, matched};
