//! The memory that all buffers share.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Who holds memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Holder {
    /// Capture events that wait to be interpreted.
    CaptureQueue,
    /// What connections hold of messages that are not complete.
    Connections,
    /// Events that wait for sinks.
    EventQueues,
}

impl Holder {
    pub(crate) const ALL: [Self; 3] = [Self::CaptureQueue, Self::Connections, Self::EventQueues];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::CaptureQueue => "capture_queue",
            Self::Connections => "connections",
            Self::EventQueues => "event_queues",
        }
    }
}

/// How much of the configured memory is in use, by whom.
#[derive(Debug)]
pub(crate) struct MemoryBudget {
    /// Bytes for all buffers of this process; the kernel's ring and maps are taken off before.
    limit: AtomicUsize,
    used: [AtomicUsize; Holder::ALL.len()],
    /// The most that was ever in use together.
    highest: AtomicUsize,
    /// The same since somebody asked.
    peak: AtomicUsize,
    /// Whether somebody was refused since the last look.
    refused: AtomicBool,
}

impl MemoryBudget {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit: AtomicUsize::new(limit),
            used: Default::default(),
            highest: AtomicUsize::new(0),
            peak: AtomicUsize::new(0),
            refused: AtomicBool::new(false),
        }
    }

    pub(crate) fn limit(&self) -> usize {
        self.limit.load(Ordering::Relaxed)
    }

    pub(crate) fn set_limit(&self, limit: usize) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    /// The most that was ever in use together.
    pub(crate) fn highest(&self) -> usize {
        self.highest.load(Ordering::Relaxed)
    }

    pub(crate) fn used_by(&self, holder: Holder) -> usize {
        self.used[holder as usize].load(Ordering::Relaxed)
    }

    pub(crate) fn used(&self) -> usize {
        Holder::ALL.into_iter().map(|holder| self.used_by(holder)).sum()
    }

    /// The most that was in use together since the last call.
    pub(crate) fn take_peak(&self) -> usize {
        self.peak.swap(self.used(), Ordering::Relaxed)
    }

    /// Whether whoever can shall give memory back: it is nearly used up, or somebody was refused since the last call.
    pub(crate) fn is_short(&self) -> bool {
        let limit = self.limit();
        self.refused.swap(false, Ordering::Relaxed) || self.used() > limit - limit / 16
    }

    /// Whether it is worth asking again before long.
    pub(crate) fn is_tight(&self) -> bool {
        self.used() > self.limit() / 2
    }

    /// Takes `bytes` if there is room for them. Two threads may both find the same room: the bound may be passed by
    /// one item for each thread.
    pub(crate) fn try_take(&self, holder: Holder, bytes: usize) -> bool {
        if self.used().saturating_add(bytes) > self.limit() {
            self.refused.store(true, Ordering::Relaxed);
            return false;
        }
        self.take(holder, bytes);
        true
    }

    /// Takes `bytes`, whether there is room or not: for what is there already.
    pub(crate) fn take(&self, holder: Holder, bytes: usize) {
        self.used[holder as usize].fetch_add(bytes, Ordering::Relaxed);
        let used = self.used();
        self.highest.fetch_max(used, Ordering::Relaxed);
        self.peak.fetch_max(used, Ordering::Relaxed);
    }

    pub(crate) fn give_back(&self, holder: Holder, bytes: usize) {
        // Every byte was taken before: the sum cannot go below zero.
        self.used[holder as usize].fetch_sub(bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_holder_has_the_others_cannot_take() {
        let budget = MemoryBudget::new(100);
        assert!(budget.try_take(Holder::Connections, 60));
        assert!(!budget.try_take(Holder::CaptureQueue, 41));
        assert!(budget.try_take(Holder::CaptureQueue, 40));
        budget.give_back(Holder::Connections, 60);
        assert_eq!((budget.used(), budget.used_by(Holder::CaptureQueue)), (40, 40));
        budget.set_limit(39);
        assert!(!budget.try_take(Holder::EventQueues, 0), "over a limit that was lowered");
    }
}
