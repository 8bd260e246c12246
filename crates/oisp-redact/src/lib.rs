//! Removes secrets from events: the only door to a sink.
//!
//! Takes an [`Event`](oisp_event::Event) by value and gives a [`Redacted`] one, which nothing else can make
//! and nobody can change; also redacts text on its way to a log or a terminal. Depends on the event model
//! alone: it knows neither where events come from nor where they go, and does no I/O but for its own key
//! file ([`HashKey`]).
//!
//! How it is cut:
//! - the detectors know what a secret looks like: one automaton finds candidates in one pass, the detector
//!   of each decides; the work is linear whatever the text is;
//! - [`Redactor`] knows the modes: what a found secret is replaced by, what a mode keeps of a content;
//! - text that is shown while it comes is held back until nothing that may follow can make a secret of it
//!   ([`ChunkRedaction`]);
//! - the event modules take every structure of the event model apart field by field, without `..`, so that a
//!   new field does not compile until somebody has decided what it is.
//!
//! A secret becomes `[REDACTED:type:length:hash]`: its length in characters and the first 8 digits of its
//! keyed hash, by which equal secrets can be matched without being known.
#![forbid(unsafe_code)]

mod arguments;
mod detect;
mod event;
mod json;
mod key;
mod redacted;
mod redactor;
mod stream;

pub use json::MINIMAL_EXTENSION_KEYS;
pub use key::{HashKey, KeyError};
pub use redacted::Redacted;
pub use redactor::{RedactionConfig, RedactionMode, Redactor, UnknownMode};
pub use stream::{ChunkPlace, ChunkRedaction};
