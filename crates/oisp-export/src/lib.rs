//! Sinks: where redacted events go.
//!
//! One trait, one file a sink. A sink takes [`Redacted`] events and nothing else; it knows neither capture nor
//! the stages between. What it could not deliver it says ([`SinkError`]); whoever drives it counts the drop.
#![forbid(unsafe_code)]

mod jsonl;

use std::io;
use std::path::PathBuf;

use oisp_event::Event;
use oisp_redact::Redacted;

pub use jsonl::JsonlSink;

/// Somewhere events go.
///
/// An event that was not redacted is not a `Redacted<Event>`:
///
/// ```compile_fail,E0308
/// fn leak(sink: &mut dyn oisp_export::Sink, event: &oisp_event::Event) {
///     let _ = sink.write(event);
/// }
/// ```
///
/// ```
/// fn export(
///     sink: &mut dyn oisp_export::Sink,
///     redactor: &oisp_redact::Redactor,
///     event: oisp_event::Event,
/// ) -> Result<(), oisp_export::SinkError> {
///     sink.write(&redactor.redact(event))
/// }
/// ```
pub trait Sink: Send {
    /// What it is called in messages, metrics and the configuration.
    fn name(&self) -> &str;

    /// Takes an event. It may stay in the sink's bounded buffer until the next [`Self::flush`].
    ///
    /// # Errors
    /// [`SinkError`]: this event was not taken. Events taken before are kept, and tried again with the next
    /// call.
    fn write(&mut self, event: &Redacted<Event>) -> Result<(), SinkError>;

    /// Delivers what was taken.
    ///
    /// # Errors
    /// [`SinkError`]: something is still in the buffer.
    fn flush(&mut self) -> Result<(), SinkError>;
}

/// Why a sink could not be opened or did not take or deliver events.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SinkError {
    /// The reader of standard output is gone (`| head`): a reason to stop, not to complain.
    #[error("nobody reads standard output any more")]
    BrokenPipe,
    /// The file can't be opened.
    #[error("cannot open {} for writing: {source}{}", path.display(), hint(*.kind))]
    Open {
        /// The file.
        path: PathBuf,
        /// What stands in the way.
        kind: Obstacle,
        /// The system's reason.
        source: io::Error,
    },
    /// Others can read the file.
    #[error(
        "{} has mode {mode:04o}: other users could read what is recorded; run: chmod 600 {}, or choose another file",
        path.display(),
        path.display()
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Another process writes to the file.
    #[error("{} is being written by another process; choose another file or end that process", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// Events can't be written.
    #[error("cannot write events to {destination}: {source}{}", hint(*.kind))]
    Write {
        /// The file, or `standard output`.
        destination: String,
        /// What stands in the way.
        kind: Obstacle,
        /// The system's reason.
        source: io::Error,
    },
    /// The event has no JSON form.
    #[error("cannot write event {event_id} as JSON: {source}")]
    Encode {
        /// The event.
        event_id: String,
        /// The encoder's reason.
        source: serde_json::Error,
    },
}

/// What stands in the way of writing, as far as a person can do something about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Obstacle {
    /// No space is left (`ENOSPC`), or the quota is used up (`EDQUOT`).
    NoSpace,
    /// The user may not (`EACCES`, `EPERM`).
    Permission,
    /// The directory does not exist.
    NoDirectory,
    /// The path is a directory.
    IsDirectory,
    /// The file system can't be written.
    ReadOnly,
    /// Anything else.
    Other,
}

impl Obstacle {
    fn of(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::NoSpace,
            io::ErrorKind::PermissionDenied => Self::Permission,
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Self::NoDirectory,
            io::ErrorKind::IsADirectory => Self::IsDirectory,
            io::ErrorKind::ReadOnlyFilesystem => Self::ReadOnly,
            _ => Self::Other,
        }
    }
}

fn hint(obstacle: Obstacle) -> &'static str {
    match obstacle {
        Obstacle::NoSpace => "; free some space or choose a file on another file system",
        Obstacle::Permission => "; choose a file that you may write, or run as a user who may",
        Obstacle::NoDirectory => "; create the directory first (mkdir -p) or choose another file",
        Obstacle::IsDirectory => "; name a file in it",
        Obstacle::ReadOnly => "; choose a file on a writable file system",
        Obstacle::Other => "",
    }
}
