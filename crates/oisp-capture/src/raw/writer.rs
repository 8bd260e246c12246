//! Writing raw recordings.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use serde::Serialize;
use zstd_safe::CCtx;

use super::frame::{FrameHead, Kind, LENGTH, preamble};
use super::{MAX_RECORD_BYTES, RawHeader, RawWriteError};
use crate::CaptureEvent;

/// Records are written when there are so many bytes of them: enough to compress well.
const FRAME_BYTES: usize = 256 << 10;
/// Or when the oldest of them is this old: what a killed sensor loses at most.
const FRAME_AGE: Duration = Duration::from_secs(1);
/// zstd's fastest ordinary level: a recording must keep up with what it records.
const LEVEL: i32 = 1;

/// Writes a raw recording.
///
/// Records wait for a second at most, but only a call can end the wait: who has no event to give asks
/// [`RawWriter::flush_due`] how long it may sleep and calls [`RawWriter::flush`] then.
///
/// After an error of writing it refuses everything: the recording can be read up to there.
pub struct RawWriter<W: Write = File> {
    output: W,
    packer: CCtx<'static>,
    /// Records that are not written yet, each with its length before it.
    plain: Vec<u8>,
    packed: Vec<u8>,
    first_record: u64,
    records: u64,
    /// When the first of the waiting records came.
    oldest: Option<Instant>,
    bytes_written: u64,
    ended: bool,
}

/// As [`super::RawRecord`], of what it does not own.
#[derive(Serialize)]
enum RecordRef<'r, A> {
    Event(&'r CaptureEvent),
    Answer(&'r A),
}

impl RawWriter {
    /// Makes a file, for its owner alone, and writes the header.
    ///
    /// # Errors
    /// When there is a file of that name, and when it cannot be made or written.
    pub fn create(path: &Path, header: &RawHeader) -> Result<Self, RawWriteError> {
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        let file = file.map_err(|source| match source.kind() {
            io::ErrorKind::AlreadyExists => RawWriteError::Exists { path: path.to_owned() },
            _ => RawWriteError::Create { path: path.to_owned(), source },
        })?;
        Self::new(file, header)
    }

    /// As [`RawWriter::create`]; a file of that name is removed first.
    ///
    /// # Errors
    /// When what is there is not a file, and when the new one cannot be made or written.
    pub fn replace(path: &Path, header: &RawHeader) -> Result<Self, RawWriteError> {
        match fs::symlink_metadata(path) {
            Ok(metadata) if !metadata.is_file() => {
                return Err(RawWriteError::NotAFile { path: path.to_owned() });
            }
            Ok(_) => fs::remove_file(path)
                .map_err(|source| RawWriteError::Create { path: path.to_owned(), source })?,
            // Whatever is wrong with the place, making the file tells.
            Err(_) => {}
        }
        Self::create(path, header)
    }
}

impl<W: Write> RawWriter<W> {
    /// Writes the header.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn new(output: W, header: &RawHeader) -> Result<Self, RawWriteError> {
        let mut writer = Self {
            output,
            packer: CCtx::create(),
            plain: Vec::new(),
            packed: Vec::new(),
            first_record: 0,
            records: 0,
            oldest: None,
            bytes_written: 0,
            ended: false,
        };
        writer.put(&preamble())?;
        let header = serde_json::to_vec(header).map_err(|error| RawWriteError::Encode(error.to_string()))?;
        if header.len() > MAX_RECORD_BYTES {
            return Err(RawWriteError::TooLong { bytes: header.len(), limit: MAX_RECORD_BYTES });
        }
        writer.plain = header;
        writer.write_frame(Kind::Header)?;
        Ok(writer)
    }

    /// Adds an event.
    ///
    /// # Errors
    /// When it is too long, and when writing fails.
    pub fn event(&mut self, event: &CaptureEvent) -> Result<(), RawWriteError> {
        self.record(&RecordRef::Event::<()>(event))
    }

    /// Adds what the host answered when it was asked because of the event before it.
    ///
    /// # Errors
    /// When it is too long, and when writing fails.
    pub fn answer<A: Serialize>(&mut self, answer: &A) -> Result<(), RawWriteError> {
        self.record(&RecordRef::Answer(answer))
    }

    /// How long until records that wait should be written with [`RawWriter::flush`]; `None` when none wait.
    #[must_use]
    pub fn flush_due(&self) -> Option<Duration> {
        self.oldest.map(|oldest| FRAME_AGE.saturating_sub(oldest.elapsed()))
    }

    /// Writes the records that wait.
    ///
    /// # Errors
    /// When writing fails.
    pub fn flush(&mut self) -> Result<(), RawWriteError> {
        if self.ended {
            return Err(RawWriteError::Ended);
        }
        self.oldest = None;
        if !self.plain.is_empty() {
            self.write_frame(Kind::Records)?;
        }
        self.output.flush().map_err(|error| self.fail(error))
    }

    /// Writes the records that wait, and the end. Without it the recording counts as cut short.
    ///
    /// # Errors
    /// When writing fails.
    pub fn finish(&mut self) -> Result<(), RawWriteError> {
        self.flush()?;
        self.write_frame(Kind::End)?;
        self.output.flush().map_err(|error| self.fail(error))?;
        self.ended = true;
        Ok(())
    }

    /// Records that were taken.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.records
    }

    /// Bytes that were written.
    #[must_use]
    pub fn bytes_written(&self) -> u64 {
        self.bytes_written
    }

    fn record<T: Serialize>(&mut self, record: &T) -> Result<(), RawWriteError> {
        if self.ended {
            return Err(RawWriteError::Ended);
        }
        let start = self.plain.len();
        let mut plain = std::mem::take(&mut self.plain);
        plain.extend_from_slice(&[0; LENGTH]);
        self.plain = postcard::to_extend(record, plain).map_err(|error| {
            // The records that wait went with it; a recording with a hole in it is not one.
            self.ended = true;
            RawWriteError::Encode(error.to_string())
        })?;
        let bytes = self.plain.len() - start - LENGTH;
        let Some(length) = u32::try_from(bytes).ok().filter(|_| bytes <= MAX_RECORD_BYTES) else {
            self.plain.truncate(start);
            return Err(RawWriteError::TooLong { bytes, limit: MAX_RECORD_BYTES });
        };
        self.plain[start..start + LENGTH].copy_from_slice(&length.to_le_bytes());
        if start > 0 && self.plain.len() > FRAME_BYTES {
            // A frame of its own, so that none is longer than one record can be.
            let last = self.plain.split_off(start);
            self.flush()?;
            self.plain = last;
        }
        self.records += 1;
        let oldest = *self.oldest.get_or_insert_with(Instant::now);
        if self.plain.len() >= FRAME_BYTES || oldest.elapsed() >= FRAME_AGE {
            self.flush()?;
        }
        Ok(())
    }

    fn write_frame(&mut self, kind: Kind) -> Result<(), RawWriteError> {
        self.packed.clear();
        if !self.plain.is_empty() {
            self.packed.resize(zstd_safe::compress_bound(self.plain.len()), 0);
            let length = self
                .packer
                .compress(&mut self.packed[..], &self.plain, LEVEL)
                .map_err(|code| self.fail(io::Error::other(zstd_safe::get_error_name(code))))?;
            self.packed.truncate(length);
        }
        let plain = u32::try_from(self.plain.len()).unwrap_or(u32::MAX);
        let head = FrameHead::new(kind, self.first_record, plain, &self.packed);
        self.put(&head.to_bytes())?;
        let packed = std::mem::take(&mut self.packed);
        self.put(&packed)?;
        self.packed = packed;
        self.plain.clear();
        self.first_record = self.records;
        Ok(())
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), RawWriteError> {
        self.output.write_all(bytes).map_err(|error| self.fail(error))?;
        self.bytes_written += bytes.len() as u64;
        Ok(())
    }

    fn fail(&mut self, error: io::Error) -> RawWriteError {
        self.ended = true;
        self.oldest = None;
        RawWriteError::Write(error)
    }
}

impl<W: Write> Drop for RawWriter<W> {
    fn drop(&mut self) {
        if !self.ended {
            // Nobody is left to tell; the reader sees that there is no end.
            let _ = self.flush();
        }
    }
}
