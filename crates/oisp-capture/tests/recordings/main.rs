//! Raw recordings: written, read, replayed.

mod raw;
mod replay;
mod support;
