//! Raw recordings: everything that a recording needs to go through all stages again and give the same events.
//!
//! [`RawWriter`] writes capture events in the order of their delivery and what the host answered when it was asked
//! about processes; [`RawReader`] gives them back; [`crate::ReplaySource`] is a capture source on top of it. What an
//! answer is, is not known here: any type that serde can write.
//!
//! A raw recording holds content as it was captured, secrets among it: files are made for their owner alone.
//!
//! `docs/raw-format.md` has the format. In short: a magic and a version, then frames with a checksum, each compressed
//! by itself, of a header, of records, and an end. A recording that was cut short is read up to its last whole frame.

mod error;
mod frame;
mod reader;
mod writer;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{CaptureEvent, MonotonicNanos};

pub use error::{RawReadError, RawWriteError};
pub use reader::RawReader;
pub use writer::RawWriter;

/// The version of the format that is written, and the only one that is read.
pub const VERSION: u32 = 1;

/// The longest record, encoded: far more than any event, and little enough to hold in memory.
pub const MAX_RECORD_BYTES: usize = 4 << 20;

/// What a raw recording begins with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RawHeader {
    /// Version of the sensor that recorded.
    pub sensor_version: String,
    /// Facts of the host, for every event.
    pub host: Value,
    /// What to add to a monotonic time to get wall-clock time since 1970, nanoseconds.
    pub wall_minus_monotonic_ns: i64,
    /// When the recording began.
    pub started: MonotonicNanos,
    /// Whatever else the recorder wants to find again.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub more: Map<String, Value>,
}

/// One entry of a raw recording. `A` is what the host answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RawRecord<A> {
    /// A capture event.
    Event(CaptureEvent),
    /// What the host answered, when it was asked because of the event before it.
    Answer(A),
}

/// Reads any bytes as a raw recording, for fuzzing. The first byte says what the others are: a whole file; the records
/// of a frame; or the plain length of a frame and its packed content. Of the latter two the checksums are made right:
/// nothing that was changed at random gets past them.
///
/// # Panics
/// When more records come after an error, or a record can't be written again: a bug in this module.
pub fn fuzz<A>(bytes: &[u8])
where
    A: Serialize + serde::de::DeserializeOwned,
{
    let Some((what, bytes)) = bytes.split_first() else { return };
    let file = match what % 3 {
        0 => bytes.to_vec(),
        1 => {
            let mut packed = vec![0; zstd_safe::compress_bound(bytes.len())];
            let Ok(length) = zstd_safe::compress(&mut packed[..], bytes, 1) else { return };
            frame::recording_of(bytes.len(), &packed[..length])
        }
        _ => {
            let Some((plain, packed)) = bytes.split_first_chunk() else { return };
            frame::recording_of(u32::from_le_bytes(*plain) as usize, packed)
        }
    };
    let Ok(mut reader) = RawReader::<A, _>::new(&*file) else { return };
    for record in reader.by_ref() {
        let Ok(record) = record else { break };
        let written = postcard::to_extend(&record, Vec::new());
        assert!(written.is_ok(), "what was read can be written: {written:?}");
    }
    assert!(reader.next().is_none(), "nothing comes after the end");
}
