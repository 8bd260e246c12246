//! The layer that every event of the log passes.

use std::cell::Cell;
use std::collections::VecDeque;
use std::hash::{BuildHasher as _, RandomState};
use std::io::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use oisp_control::ErrorLine;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::line::{Format, Line, collect};
use super::repeats::{Limit, Repeats, Suppressed};
use super::{Clock, Redact, level_name};

/// Warnings and errors that are remembered.
const REMEMBERED: usize = 20;
/// The target of lines that are the log's own.
const OWN_TARGET: &str = "oisp_sensor::logging";

thread_local! {
    static REDACTING: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread is inside the redactor: if it panics there, the message cannot be redacted.
pub(super) fn redacting() -> bool {
    REDACTING.get()
}

/// What is in it is whole after a panic: each change is one assignment or one call of a collection.
pub(super) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) struct LogLayer(pub(super) std::sync::Arc<Shared>);

impl<S: Subscriber> Layer<S> for LogLayer {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        self.0.handle(event);
    }
}

/// What the layer, the handle and the panic hook share.
pub(super) struct Shared {
    format: Format,
    redact: Redact,
    clock: Clock,
    hasher: RandomState,
    repeats: Mutex<Repeats>,
    errors: Mutex<VecDeque<ErrorLine>>,
    output: Mutex<Box<dyn Write + Send>>,
}

impl Shared {
    pub(super) fn new(
        format: Format,
        redact: Redact,
        limit: Limit,
        output: Box<dyn Write + Send>,
        clock: Clock,
    ) -> Self {
        Self {
            format,
            redact,
            clock,
            hasher: RandomState::new(),
            repeats: Mutex::new(Repeats::new(limit)),
            errors: Mutex::new(VecDeque::with_capacity(REMEMBERED)),
            output: Mutex::new(output),
        }
    }

    pub(super) fn last_errors(&self) -> Vec<ErrorLine> {
        lock(&self.errors).iter().cloned().collect()
    }

    pub(super) fn tell_suppressed(&self, all: bool) {
        let ended = lock(&self.repeats).ended((self.clock)(), all);
        for suppressed in ended {
            self.write_suppressed(&suppressed);
        }
    }

    /// `false` if it could not be written; the caller then tells it otherwise.
    pub(super) fn write_panic(&self, text: &str) -> bool {
        let message = self.redacted(text);
        let line = Line::new(Level::ERROR, "panic", message, Vec::new());
        // The panic may have come while this thread held the lock; another thread has it for an instant only.
        for _ in 0..100 {
            if let Ok(mut output) = self.output.try_lock() {
                let written = output.write_all(line.formatted(self.format).as_bytes()).is_ok();
                drop(output);
                if let Ok(mut errors) = self.errors.try_lock() {
                    remember(&mut errors, &line);
                }
                return written;
            }
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        false
    }

    fn handle(&self, event: &Event<'_>) {
        self.tell_suppressed(false);
        let metadata = event.metadata();
        let (message, fields) = collect(event);
        let key = (metadata.callsite(), self.hasher.hash_one(&message));
        if !lock(&self.repeats).admit(&key, (self.clock)()) {
            return;
        }
        let message = self.redacted(&message);
        let told = Suppressed::of(*metadata.level(), metadata.target(), &message);
        lock(&self.repeats).describe(&key, told);
        let fields = fields
            .into_iter()
            .map(|(name, value)| {
                // A detector may need the name to know the value for a secret.
                let whole = self.redacted(&format!("{name}={value}"));
                let value = whole.strip_prefix(name).and_then(|rest| rest.strip_prefix('='));
                (name, value.map_or_else(|| whole.clone(), ToOwned::to_owned))
            })
            .collect();
        self.write(&Line::new(*metadata.level(), metadata.target(), message, fields));
    }

    fn write_suppressed(&self, suppressed: &Suppressed) {
        let number = suppressed.count;
        let (level, target, message) = match &suppressed.line {
            Some((level, target, message)) => {
                (*level, *target, format!("{number} more like this suppressed: {message}"))
            }
            None => (Level::WARN, OWN_TARGET, format!("{number} more of many kinds suppressed")),
        };
        self.write(&Line::new(level, target, message, Vec::new()));
    }

    fn write(&self, line: &Line<'_>) {
        if line.level <= Level::WARN {
            remember(&mut lock(&self.errors), line);
        }
        // Where standard error is gone there is nowhere to say so.
        let _ = lock(&self.output).write_all(line.formatted(self.format).as_bytes());
    }

    fn redacted(&self, text: &str) -> String {
        REDACTING.set(true);
        let redacted = (self.redact)(text);
        REDACTING.set(false);
        redacted
    }
}

fn remember(errors: &mut VecDeque<ErrorLine>, line: &Line<'_>) {
    if errors.len() == REMEMBERED {
        errors.pop_front();
    }
    let level = level_name(line.level).to_owned();
    errors.push_back(ErrorLine { time: Timestamp::now(), level, text: line.text() });
}
