//! The sensor's settings: one table of keys, from which everything else follows.
//!
//! Takes a TOML file, environment variables and flags; gives [`Settings`] in which every value is right, with the
//! [`Origin`] of each, or all [`Problems`] at once. Makes the commented default file and the reference page. Only
//! [`load`] reads anything. Depends on no other crate of the sensor, and none of its decoders depends on it: whoever
//! wires them converts.

mod file;
mod flags;
mod load;
mod merge;
mod nearest;
mod problem;
mod render;
mod settings;
mod table;
mod value;

#[cfg(test)]
mod tests;

pub use flags::{Flags, from_matches, with_flags};
pub use load::{FILE_VARIABLE, check, default_paths, load};
pub use merge::{Configuration, FlagValue, Layers, OTHER_VARIABLES, Origin, merge};
pub use problem::{Fault, Place, Problem, Problems};
pub use render::{default_file, effective, reference_markdown, to_toml};
pub use settings::{
    Capture, Changes, ContentLimits, Control, Decode, Exclude, Include, Log, Memory, Providers, Queues,
    RateLimit, Redaction, Sample, Settings, Shutdown, key, keys,
};
pub use table::{Applies, Flag, Key};
pub use value::{
    ByteSize, Case, Fraction, LogFilter, LogFormat, LogLevel, Patterns, Rate, RatePeriod, RedactionMode,
    Refusal, Refused, Service, Services, Setting, Within,
};
