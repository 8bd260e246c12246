//! JSON Lines: one event a line, in a file or on standard output.

use std::fs::{File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use oisp_event::Event;
use oisp_redact::Redacted;

use crate::{Obstacle, Sink, SinkError};

/// The buffer is written out before it takes another event once it holds this much.
const FLUSH_AT: usize = 64 * 1024;

/// Writes one JSON object a line.
///
/// A file is made with mode 0600. One that exists is appended to, never emptied; it must be readable by its
/// owner alone (an empty one is made so). Only whole lines leave the buffer, but for what a full disk or a crash cuts: at most one line,
/// the last one. When writing goes on after a failure, it goes on exactly where it stopped; a file that ends in
/// a cut line gets a line break first.
#[derive(Debug)]
pub struct JsonlSink {
    output: Output,
    buffer: Vec<u8>,
}

#[derive(Debug)]
enum Output {
    File { path: PathBuf, file: File },
    StandardOutput(io::Stdout),
}

impl JsonlSink {
    /// A sink that writes to `target`; `-` is standard output.
    ///
    /// # Errors
    /// [`SinkError::Open`], [`SinkError::Exposed`], [`SinkError::InUse`].
    pub fn open(target: &Path) -> Result<Self, SinkError> {
        if target.as_os_str() == "-" {
            return Ok(Self { output: Output::StandardOutput(io::stdout()), buffer: Vec::new() });
        }
        let error = |source: io::Error| SinkError::Open {
            path: target.to_owned(),
            kind: Obstacle::of(&source),
            source,
        };
        let mut file = open_for_append(target).map_err(error)?;
        let metadata = file.metadata().map_err(error)?;
        let mut buffer = Vec::new();
        // Devices and named pipes have neither a last line nor permissions of ours.
        if metadata.is_file() {
            let mode = metadata.mode() & 0o7777;
            if mode & 0o077 != 0 && metadata.len() == 0 {
                // Made for this purpose by `touch` or a redirection: nothing in it was ever readable.
                file.set_permissions(Permissions::from_mode(0o600)).map_err(error)?;
            } else if mode & 0o077 != 0 {
                return Err(SinkError::Exposed { path: target.to_owned(), mode });
            }
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Err(SinkError::InUse { path: target.to_owned() }),
                Err(TryLockError::Error(source)) => return Err(error(source)),
            }
            if ends_within_a_line(&mut file).map_err(error)? {
                buffer.push(b'\n');
            }
        }
        Ok(Self { output: Output::File { path: target.to_owned(), file }, buffer })
    }

    /// Writes the buffer out. What could not be written stays in it.
    fn drain(&mut self) -> io::Result<()> {
        let mut written = 0;
        let result = loop {
            let Some(rest) = self.buffer.get(written..).filter(|rest| !rest.is_empty()) else { break Ok(()) };
            let count = match &mut self.output {
                Output::File { file, .. } => file.write(rest),
                Output::StandardOutput(output) => output.write(rest),
            };
            match count {
                Ok(0) => break Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => written += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break Err(error),
            }
        };
        self.buffer.drain(..written);
        result?;
        match &mut self.output {
            Output::File { .. } => Ok(()),
            Output::StandardOutput(output) => output.flush(),
        }
    }

    fn error(&self, source: io::Error) -> SinkError {
        let destination = match &self.output {
            Output::StandardOutput(_) if source.kind() == io::ErrorKind::BrokenPipe => {
                return SinkError::BrokenPipe;
            }
            Output::StandardOutput(_) => "standard output".to_owned(),
            Output::File { path, .. } => path.display().to_string(),
        };
        SinkError::Write { destination, kind: Obstacle::of(&source), source }
    }
}

impl Sink for JsonlSink {
    fn name(&self) -> &str {
        "jsonl"
    }

    fn write(&mut self, event: &Redacted<Event>) -> Result<(), SinkError> {
        if self.buffer.len() >= FLUSH_AT {
            self.flush()?;
        }
        let start = self.buffer.len();
        if let Err(source) = serde_json::to_writer(&mut self.buffer, event) {
            self.buffer.truncate(start);
            return Err(SinkError::Encode { event_id: event.event_id.to_string(), source });
        }
        self.buffer.push(b'\n');
        Ok(())
    }

    fn flush(&mut self) -> Result<(), SinkError> {
        let result = self.drain();
        // One huge event must not hold its memory for good.
        if self.buffer.is_empty() && self.buffer.capacity() > 4 * FLUSH_AT {
            self.buffer = Vec::new();
        }
        result.map_err(|source| self.error(source))
    }
}

impl Drop for JsonlSink {
    fn drop(&mut self) {
        // A last try for a sink that was dropped on the way out of an error; the ordinary way out calls
        // `flush` and reports what it says.
        if self.drain().is_err() {
            self.buffer.clear();
        }
    }
}

/// Reading is for the look at the last byte; a pipe or a device may allow writing alone.
fn open_for_append(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(0o600);
    match options.clone().read(true).open(path) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => options.open(path),
        other => other,
    }
}

fn ends_within_a_line(file: &mut File) -> io::Result<bool> {
    if file.seek(SeekFrom::End(0))? == 0 {
        return Ok(false);
    }
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(last != *b"\n")
}
