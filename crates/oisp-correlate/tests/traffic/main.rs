//! Generated traffic through all stages up to events, and the same again from a raw recording.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod generated;
mod replayed;
mod stages;
