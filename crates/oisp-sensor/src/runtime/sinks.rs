//! A sink in its thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use oisp_capture::Stop;
use oisp_event::Event;
use oisp_export::{Sink, SinkError};
use oisp_redact::Redacted;

use super::counters::{DropReason, StageCounters};
use super::queue::QueueReceiver;

/// Events after which a sink is flushed even while more come.
const FLUSH_AFTER: u64 = 256;

/// What a sink's queue holds.
pub(super) type Shared = Arc<Redacted<Event>>;

/// An event with about the memory that it takes.
pub(super) struct Weighed {
    pub(super) event: Shared,
    pub(super) weight: usize,
}

impl Weighed {
    pub(super) fn new(event: Redacted<Event>) -> Self {
        let mut length = Length(0);
        // What cannot be written as JSON is told by the sink that tries.
        let _ = serde_json::to_writer(&mut length, &event);
        Self { event: Arc::new(event), weight: length.0 + size_of::<Event>() }
    }
}

/// Counts what is written to it. An event's JSON is about as long as the memory that it takes.
struct Length(usize);

impl std::io::Write for Length {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Takes events from its queue and hands them to its sink.
pub(super) struct SinkWorker {
    pub(super) sink: Box<dyn Sink>,
    pub(super) receiver: QueueReceiver<Shared>,
    pub(super) counters: Arc<StageCounters>,
    pub(super) abandoned: Arc<AtomicBool>,
    pub(super) stop: Stop,
}

impl SinkWorker {
    /// Runs to the end of the queue; gives the first error.
    pub(super) fn run(mut self) -> Option<SinkError> {
        let mut first = None;
        // Taken by the sink, perhaps still in its buffer.
        let mut pending = 0;
        loop {
            // Flushed when there is nothing more to do at once: promptly, and in large pieces under load.
            let event = match self.receiver.try_take() {
                Ok(event) => event,
                Err(_) => {
                    self.flush(&mut pending, &mut first);
                    match self.receiver.take() {
                        Ok(event) => event,
                        Err(_) => break,
                    }
                }
            };
            if self.abandoned.load(Ordering::Relaxed) {
                self.counters.dropped(DropReason::DrainDeadline);
                continue;
            }
            match self.sink.write(&event) {
                Ok(()) => pending += 1,
                Err(error) => {
                    self.counters.dropped(DropReason::SinkFailed);
                    self.judge(error, &mut first);
                }
            }
            if pending >= FLUSH_AFTER {
                self.flush(&mut pending, &mut first);
            }
        }
        self.flush(&mut pending, &mut first);
        self.counters.dropped_many(DropReason::SinkFailed, pending);
        first
    }

    /// What the sink has delivered counts as sent; what it could not stays pending.
    fn flush(&mut self, pending: &mut u64, first: &mut Option<SinkError>) {
        match self.sink.flush() {
            Ok(()) => self.counters.sent_many(std::mem::take(pending)),
            Err(error) => self.judge(error, first),
        }
    }

    fn judge(&self, error: SinkError, first: &mut Option<SinkError>) {
        match error {
            SinkError::BrokenPipe => self.stop.request(),
            _ => self.counters.error(&error),
        }
        first.get_or_insert(error);
    }
}
