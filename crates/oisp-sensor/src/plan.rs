//! What the settings mean for a recording: sizes, bounds, what is told.

use std::sync::Arc;
use std::time::Duration;

use oisp_capture_ebpf::{KernelMemory, Options};
use oisp_config::Settings;
use oisp_redact::{HashKey, RedactionConfig, Redactor};

use crate::config;
use crate::pipeline::Limits;
use crate::runtime::{Live, QueueSizes};
use crate::select::Selection;

/// For the program itself, and for the message that is becoming an event: it exists several times then.
const WORKING_BYTES: usize = 16 << 20;

/// For a source that is not the kernel: its files or its made-up programs are in this process too.
const SOURCE_BYTES: usize = 10 << 20;

/// With less nothing of use can be recorded.
const LEAST_BUFFERS: usize = 8 << 20;

/// Settings, with the key of this host's hashes.
#[derive(Clone)]
pub(crate) struct Plan {
    pub(crate) settings: Settings,
    key: HashKey,
}

impl Plan {
    pub(crate) fn new(settings: Settings, key: HashKey) -> Self {
        Self { settings, key }
    }

    /// The same host with other settings.
    pub(crate) fn with(&self, settings: Settings) -> Self {
        Self { settings, key: self.key.clone() }
    }

    pub(crate) fn kernel(&self) -> Options {
        kernel(&self.settings)
    }

    pub(crate) fn buffers(&self, held: Option<KernelMemory>) -> usize {
        buffers(&self.settings, held)
    }

    /// What is wrong with settings that are right one by one: the kernel's part leaves too little.
    pub(crate) fn conflict(&self, held: Option<KernelMemory>) -> Option<String> {
        let buffers = self.buffers(held);
        (buffers < LEAST_BUFFERS).then(|| {
            let kernel = held.map_or(SOURCE_BYTES, |kernel| kernel.total());
            format!(
                "memory.limit = {}: must be at least {} MiB: {} MiB for the source (of the kernel: capture.*), {} MiB \
                 for the program, and {} MiB for buffers",
                self.settings.memory.limit,
                (kernel + WORKING_BYTES + LEAST_BUFFERS).div_ceil(1 << 20),
                kernel.div_ceil(1 << 20),
                WORKING_BYTES >> 20,
                LEAST_BUFFERS >> 20,
            )
        })
    }

    pub(crate) fn queues(&self) -> QueueSizes {
        let queues = &self.settings.queues;
        QueueSizes { capture_events: queues.capture_events, events: queues.events }
    }

    pub(crate) fn drain_timeout(&self) -> Duration {
        self.settings.shutdown.drain_timeout
    }

    pub(crate) fn redactor(&self) -> Redactor {
        let mode = config::redaction_mode(&self.settings);
        let redactor = Redactor::new(RedactionConfig { mode, key: self.key.clone() });
        match self.settings.content.max_text {
            Some(longest) => redactor.cutting_texts_at(longest.as_usize()),
            None => redactor,
        }
    }

    /// Arguments for people to see, whatever the mode of the events is.
    pub(crate) fn redacted_arguments(&self, arguments: Vec<String>) -> Vec<String> {
        let mode = oisp_redact::RedactionMode::Safe;
        Redactor::new(RedactionConfig { mode, key: self.key.clone() }).redact_arguments(arguments)
    }

    pub(crate) fn limits(&self, buffers: usize) -> Limits {
        let services = config::services(&self.settings.providers);
        let mut limits =
            Limits { services, ..Limits::within(config::limits(&self.settings.decode), buffers) };
        limits.interpret.streaming_chunks = self.settings.events.streaming_chunks;
        limits
    }

    /// What the stages can change to while they run.
    pub(crate) fn live(&self, buffers: usize) -> Live {
        Live {
            limits: self.limits(buffers),
            selection: Selection::from(&self.settings),
            redactor: Arc::new(self.redactor()),
        }
    }
}

/// Sizes of what the kernel holds.
pub(crate) fn kernel(settings: &Settings) -> Options {
    let capture = &settings.capture;
    Options {
        ring_bytes: config::ring_bytes(settings),
        connections: capture.connections,
        processes: capture.processes,
        calls: capture.calls,
        pipes: capture.pipes,
        analyses: config::analyses(settings),
    }
}

/// Bytes for this process's buffers: what of the limit neither the source (the kernel holds it, where it records) nor the
/// program itself with the message in work take.
pub(crate) fn buffers(settings: &Settings, held: Option<KernelMemory>) -> usize {
    let taken = held.map_or(SOURCE_BYTES, |kernel| kernel.total());
    settings.memory.limit.as_usize().saturating_sub(taken + WORKING_BYTES)
}
