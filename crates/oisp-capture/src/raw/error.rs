//! What can go wrong with a raw recording.

use std::io;
use std::path::PathBuf;

/// Why a raw recording could not be written.
#[derive(Debug, thiserror::Error)]
pub enum RawWriteError {
    /// There is a file of that name.
    #[error("{path} exists; choose another name for the raw recording, or allow that it is replaced")]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// What is there is not a file.
    #[error("{path} is not a regular file, so it is not replaced; choose another name for the raw recording")]
    NotAFile {
        /// What was named.
        path: PathBuf,
    },
    /// The file could not be made.
    #[error("the raw recording {path} cannot be made: {source}")]
    Create {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Writing failed. The recording is whole up to what was written before.
    #[error("writing the raw recording failed: {0}; what was written before can be replayed")]
    Write(#[source] io::Error),
    /// Writing failed before, or the recording was finished.
    #[error("the raw recording has ended: nothing more can be written to it")]
    Ended,
    /// A record is too long. It was left out; the recording goes on.
    #[error("a record of {bytes} bytes is over the limit of {limit} of a raw recording")]
    TooLong {
        /// Its length, encoded.
        bytes: usize,
        /// The longest that is written.
        limit: usize,
    },
    /// A record or the header has no encoding.
    #[error("a record cannot be encoded for the raw recording: {0}")]
    Encode(String),
}

/// Why a raw recording, or the rest of it, could not be read.
#[derive(Debug, thiserror::Error)]
pub enum RawReadError {
    /// The file could not be opened.
    #[error("{path} cannot be opened: {source}")]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Reading failed.
    #[error("reading the raw recording failed after record {records}: {source}")]
    Read {
        /// Records that were read before.
        records: u64,
        /// Why.
        source: io::Error,
    },
    /// It is something else.
    #[error("this is not a raw recording: it does not begin like one that `oisp-sensor record --raw` made")]
    NotRaw,
    /// It is of a version that is not known.
    #[error(
        "the raw recording has format version {found}, and this sensor reads version {known}; replay it with the \
         version of oisp-sensor that recorded it"
    )]
    UnknownVersion {
        /// The recording's.
        found: u32,
        /// The one that is known.
        known: u32,
    },
    /// The recorder was ended before it could finish.
    #[error("the raw recording ends early: {bytes} bytes after record {records} are not a whole frame")]
    EndsEarly {
        /// Whole records before.
        records: u64,
        /// Bytes behind them.
        bytes: u64,
    },
    /// Bytes were changed.
    #[error("the raw recording is damaged after record {records}, at byte {offset}: {reason}")]
    Damaged {
        /// Whole records before.
        records: u64,
        /// Where the damaged frame begins.
        offset: u64,
        /// What is wrong with it.
        reason: String,
    },
}
