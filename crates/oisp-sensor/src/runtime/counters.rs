//! What each stage took, passed on and dropped: one mechanism for the counters, the status and the log.
//!
//! At every stage and at any moment at rest, received = sent + dropped.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// Why a stage did not pass something on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum DropReason {
    /// The queue to the next stage had no place.
    QueueFull,
    /// The memory that all buffers share was used up.
    MemoryLimit,
    /// Left out by `include` or `exclude`.
    Excluded,
    /// Not in the sample.
    NotSampled,
    /// More exchanges on a connection than its rate allows.
    ConnectionRate,
    /// More exchanges of a process than its rate allows.
    ProcessRate,
    /// The sink did not take it.
    SinkFailed,
    /// The time for draining was over.
    DrainDeadline,
}

impl DropReason {
    const ALL: [Self; 8] = [
        Self::QueueFull,
        Self::MemoryLimit,
        Self::Excluded,
        Self::NotSampled,
        Self::ConnectionRate,
        Self::ProcessRate,
        Self::SinkFailed,
        Self::DrainDeadline,
    ];

    /// The name in the status and in logs.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::MemoryLimit => "memory_limit",
            Self::Excluded => "excluded",
            Self::NotSampled => "not_sampled",
            Self::ConnectionRate => "connection_rate",
            Self::ProcessRate => "process_rate",
            Self::SinkFailed => "sink_failed",
            Self::DrainDeadline => "drain_deadline",
        }
    }

    /// Why, for people.
    pub(crate) fn explanation(self) -> &'static str {
        match self {
            Self::QueueFull => "the queue behind it was full",
            Self::MemoryLimit => "the memory for all buffers was used up",
            Self::Excluded => "excluded",
            Self::NotSampled => "not in the sample",
            Self::ConnectionRate => "more exchanges on a connection than rate_limit.connection allows",
            Self::ProcessRate => "more exchanges of a process than rate_limit.process allows",
            Self::SinkFailed => "the sink failed",
            Self::DrainDeadline => "the time for draining was over",
        }
    }

    /// Whether somebody asked for it: then it is no loss, and no warning.
    pub(crate) fn is_wanted(self) -> bool {
        matches!(self, Self::Excluded | Self::NotSampled)
    }
}

/// The counters of one stage.
#[derive(Debug)]
pub(crate) struct StageCounters {
    name: String,
    /// What is counted, in the plural.
    unit: &'static str,
    received: AtomicU64,
    sent: AtomicU64,
    errors: AtomicU64,
    dropped: [AtomicU64; DropReason::ALL.len()],
    last_error: Mutex<Option<String>>,
    /// What the log has said.
    logged: Mutex<StageSnapshot>,
}

/// A stage's counters at a moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct StageSnapshot {
    pub(crate) received: u64,
    pub(crate) sent: u64,
    pub(crate) errors: u64,
    /// Only reasons that occurred.
    pub(crate) dropped: BTreeMap<DropReason, u64>,
}

impl StageSnapshot {
    pub(crate) fn dropped_in_all(&self) -> u64 {
        self.dropped.values().sum()
    }
}

impl StageCounters {
    pub(crate) fn new(name: impl Into<String>, unit: &'static str) -> Self {
        Self {
            name: name.into(),
            unit,
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            dropped: Default::default(),
            last_error: Mutex::default(),
            logged: Mutex::default(),
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn unit(&self) -> &'static str {
        self.unit
    }

    pub(crate) fn received(&self) {
        self.received.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn sent(&self) {
        self.sent.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn sent_many(&self, count: u64) {
        self.sent.fetch_add(count, Ordering::Relaxed);
    }

    pub(crate) fn received_many(&self, count: u64) {
        self.received.fetch_add(count, Ordering::Relaxed);
    }

    pub(crate) fn dropped(&self, reason: DropReason) {
        self.dropped_many(reason, 1);
    }

    pub(crate) fn dropped_many(&self, reason: DropReason, count: u64) {
        self.dropped[reason as usize].fetch_add(count, Ordering::Relaxed);
    }

    /// Something failed without being a drop by itself.
    pub(crate) fn error(&self, error: &dyn std::fmt::Display) {
        self.errors.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(stage = self.name, "{error}");
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.to_string());
    }

    /// The last thing that failed, as it was said: not redacted.
    pub(crate) fn last_error(&self) -> Option<String> {
        self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn snapshot(&self) -> StageSnapshot {
        StageSnapshot {
            received: self.received.load(Ordering::Relaxed),
            sent: self.sent.load(Ordering::Relaxed),
            errors: self.errors.load(Ordering::Relaxed),
            dropped: DropReason::ALL
                .iter()
                .map(|&reason| (reason, self.dropped[reason as usize].load(Ordering::Relaxed)))
                .filter(|(_, count)| *count > 0)
                .collect(),
        }
    }

    /// Writes a line for each reason for which something was dropped since the last call.
    pub(crate) fn log_drops(&self) {
        let now = self.snapshot();
        // A poisoned lock holds what an older call left: good enough for differences.
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        for (reason, total) in &now.dropped {
            let news = total - logged.dropped.get(reason).unwrap_or(&0);
            match (news, reason.is_wanted()) {
                (0, _) => {}
                (_, true) => tracing::debug!(
                    stage = self.name,
                    reason = reason.name(),
                    total,
                    "{news} {} left out",
                    self.unit
                ),
                (_, false) => tracing::warn!(
                    stage = self.name,
                    reason = reason.name(),
                    total,
                    "{news} {} dropped",
                    self.unit
                ),
            }
        }
        *logged = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snapshot_has_every_count_under_its_reason() {
        let counters = StageCounters::new("export", "events");
        for (index, reason) in DropReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index, "{}", reason.name());
            counters.dropped_many(reason, index as u64);
        }
        counters.received();
        counters.sent();
        let snapshot = counters.snapshot();
        assert_eq!((snapshot.received, snapshot.sent, snapshot.errors), (1, 1, 0));
        assert_eq!(snapshot.dropped.get(&DropReason::QueueFull), None, "what did not occur is absent");
        assert_eq!(snapshot.dropped[&DropReason::DrainDeadline], 7);
        assert_eq!(snapshot.dropped_in_all(), 28);
    }
}
