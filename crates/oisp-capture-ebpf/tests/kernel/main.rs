//! The capture on this machine's kernel: loaded, attached, and compared with what the recorded programs know of
//! themselves.
//!
//! Every test records its own child processes, against its own copy of `libssl`, with its own maps: tests do not see
//! each other. What is missing is told, and is a failure where `OISP_REQUIRE_ALL=1` is set.
//!
//! `oisp-test-client` is built when a test first needs it; `OISP_TEST_CLIENT` names one that is there already (a
//! machine without a compiler).
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod coming_and_going;
mod connections;
mod content;
mod discovery;
mod lifetime;
mod losses;
mod objects;
mod processes;
mod requirements;
mod sockets;
mod streams;
mod support;
mod wrong_matches;
