//! Generated traffic through all stages up to events, and the same again from a raw recording.

mod generated;
mod replayed;
mod stages;
