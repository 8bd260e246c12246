//! Raw recordings: written, read, replayed.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod raw;
mod replay;
mod support;
