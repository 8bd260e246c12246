//! The sensor's own log: what is written to standard error while it runs.
//!
//! Libraries log through `tracing`. Everything passes one layer that limits repeats, redacts every text, makes it one
//! line whatever is in it, and remembers the last warnings for the sensor's status. Redaction comes before formatting:
//! in a formatted line a secret may be escaped so that no detector knows it.
//!
//! Before [`install`] nothing is logged, and of a panic only the place is told ([`hide_panics`]).

mod layer;
mod line;
mod repeats;

use std::backtrace::{Backtrace, BacktraceStatus};
use std::fmt;
use std::io::{self, Write};
use std::panic::PanicHookInfo;
use std::str::FromStr;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use oisp_control::ErrorLine;
use tracing::level_filters::LevelFilter;
use tracing::{Level, Subscriber};
use tracing_subscriber::Registry;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::reload;

use layer::{LogLayer, Shared};
pub use line::Format;
pub use repeats::Limit;

/// Takes the secrets out of a text.
pub type Redact = Arc<dyn Fn(&str) -> String + Send + Sync>;

/// How to log.
pub struct Settings {
    /// Which lines.
    pub levels: Levels,
    /// How a line looks.
    pub format: Format,
    /// Every message, every field and every panic goes through it.
    pub redact: Redact,
    /// How often the same message of the same place is written.
    pub limit: Limit,
}

/// Which lines are written: a level for all, and others for some targets (the paths of modules):
/// `info,oisp_capture_ebpf=debug`. Without a level for all it is `info`.
#[derive(Clone, Debug, PartialEq)]
pub struct Levels {
    text: String,
    targets: Targets,
}

/// A text that names no levels.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a log level: {0:?}; use error, warn, info, debug, trace or off, for a target as well: info,oisp_decode=debug"
)]
pub struct InvalidLevels(String);

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// It was set up before.
    #[error("the log is set up already")]
    Installed,
    /// The log is gone.
    #[error("the level of the log cannot be changed: {0}")]
    Reload(#[from] reload::Error),
}

/// The log that was set up: change its levels, ask for its last errors.
#[derive(Clone)]
pub struct Logging {
    levels: reload::Handle<Targets, Registry>,
    text: Arc<std::sync::Mutex<String>>,
    shared: Arc<Shared>,
}

static INSTALLED: OnceLock<Arc<Shared>> = OnceLock::new();

/// Sets up the log of this process, on standard error.
///
/// # Errors
/// It was set up before.
pub fn install(settings: Settings) -> Result<Logging, LoggingError> {
    let (subscriber, logging) = build(settings, Box::new(io::stderr()), clock());
    tracing::subscriber::set_global_default(subscriber).map_err(|_| LoggingError::Installed)?;
    INSTALLED.set(Arc::clone(&logging.shared)).map_err(|_| LoggingError::Installed)?;
    hide_panics();
    Ok(logging)
}

/// From now on a panic tells its place, and its message only redacted: it may quote captured bytes. Before [`install`]
/// there is nothing to redact with, so the message is left out.
pub fn hide_panics() {
    std::panic::set_hook(Box::new(|panic| tell_panic(panic, INSTALLED.get().map(AsRef::as_ref))));
}

impl Logging {
    /// Changes which lines are written, from the next one on.
    ///
    /// # Errors
    /// The log is gone.
    pub fn set_levels(&self, levels: &Levels) -> Result<(), LoggingError> {
        self.levels.reload(levels.targets.clone())?;
        *layer::lock(&self.text) = levels.text.clone();
        Ok(())
    }

    /// Which lines are written, as it was given.
    #[must_use]
    pub fn levels(&self) -> String {
        layer::lock(&self.text).clone()
    }

    /// The last warnings and errors, oldest first, redacted: at most 20.
    #[must_use]
    pub fn last_errors(&self) -> Vec<ErrorLine> {
        self.shared.last_errors()
    }

    /// Says how many repeats were left out in intervals that are over. Also done before each line; to be called now
    /// and then where nothing else is logged.
    pub fn tell_suppressed(&self) {
        self.shared.tell_suppressed(false);
    }

    /// Says how many repeats were left out until now: for the end.
    pub fn finish(&self) {
        self.shared.tell_suppressed(true);
    }
}

impl fmt::Debug for Logging {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Logging").field("levels", &self.levels()).finish_non_exhaustive()
    }
}

impl FromStr for Levels {
    type Err = InvalidLevels;

    fn from_str(text: &str) -> Result<Self, InvalidLevels> {
        // `Targets` would take a mistyped level for the name of a target.
        let mut targets = Targets::new().with_default(LevelFilter::INFO);
        for part in text.split(',').map(str::trim) {
            let invalid = || InvalidLevels(part.to_owned());
            let (target, name) = match part.split_once('=') {
                Some((target, name)) => (Some(target.trim()), name.trim()),
                None => (None, part),
            };
            let level = match name {
                "off" => LevelFilter::OFF,
                "error" => LevelFilter::ERROR,
                "warn" => LevelFilter::WARN,
                "info" => LevelFilter::INFO,
                "debug" => LevelFilter::DEBUG,
                "trace" => LevelFilter::TRACE,
                _ => return Err(invalid()),
            };
            targets = match target {
                None => targets.with_default(level),
                Some(target) => {
                    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ':');
                    if target.is_empty() || !target.chars().all(allowed) {
                        return Err(invalid());
                    }
                    targets.with_target(target, level)
                }
            };
        }
        Ok(Self { text: text.to_owned(), targets })
    }
}

impl fmt::Display for Levels {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

/// Time since some point, by a clock that does not jump.
type Clock = Box<dyn Fn() -> std::time::Duration + Send + Sync>;

fn clock() -> Clock {
    let start = Instant::now();
    Box::new(move || start.elapsed())
}

fn build(
    settings: Settings,
    output: Box<dyn Write + Send>,
    clock: Clock,
) -> (impl Subscriber + Send + Sync, Logging) {
    let Settings { levels, format, redact, limit } = settings;
    let shared = Arc::new(Shared::new(format, redact, limit, output, clock));
    let (filter, handle) = reload::Layer::new(levels.targets);
    let subscriber = Registry::default().with(filter).with(LogLayer(Arc::clone(&shared)));
    (subscriber, Logging { levels: handle, text: Arc::new(std::sync::Mutex::new(levels.text)), shared })
}

fn tell_panic(panic: &PanicHookInfo<'_>, log: Option<&Shared>) {
    let place = panic.location().map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
    let thread = std::thread::current();
    let place = format!("thread {} panicked at {place}", thread.name().unwrap_or("without a name"));
    let told = match log {
        Some(log) if !layer::redacting() => {
            let message = panic.payload_as_str().unwrap_or("(no message)");
            log.write_panic(&format!("{place}: {message}"))
        }
        // Without a redactor, or with one that is what panicked.
        _ => false,
    };
    let mut stderr = io::stderr().lock();
    // There is nobody left to tell that this could not be written.
    if !told {
        let _ =
            writeln!(stderr, "oisp-sensor: {place} (the message is not shown: it may hold captured data)");
    }
    let backtrace = Backtrace::capture();
    if backtrace.status() == BacktraceStatus::Captured {
        // Names of functions and files only.
        let _ = write!(stderr, "{backtrace}");
    }
}

/// `WARN` as people write it in lower case.
fn level_name(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warn",
        Level::INFO => "info",
        Level::DEBUG => "debug",
        Level::TRACE => "trace",
    }
}

#[cfg(test)]
mod tests;
