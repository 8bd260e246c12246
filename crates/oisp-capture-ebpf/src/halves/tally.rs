//! What was joined, what was not, and what is to be told of it.

use oisp_capture::{MonotonicNanos, ProcessId};

/// How often it is told that halves stay alone: on a host where none can be joined it would be told for ever.
const TELLING_INTERVAL: u64 = 60_000_000_000;

/// What was joined and what was not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct JoinStatistics {
    /// Connections of which both directions were joined.
    pub(crate) joined: u64,
    /// Halves that became connections of one direction, because their socket was not known in time.
    pub(crate) one_sided: u64,
}

/// What was not told before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct JoinNews {
    /// Halves that became connections of one direction.
    pub(crate) one_sided: u64,
    /// Records with content that belong to no connection that there is.
    pub(crate) dropped_records: u64,
    /// The content of those.
    pub(crate) dropped_bytes: u64,
    /// The process, where it is about one.
    pub(crate) process: Option<ProcessId>,
}

#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) statistics: JoinStatistics,
    news: JoinNews,
    told: Option<MonotonicNanos>,
}

impl Tally {
    /// A half became a connection of one direction.
    pub(super) fn one_sided(&mut self, process: ProcessId) {
        self.is_about(process);
        self.statistics.one_sided += 1;
        self.news.one_sided += 1;
    }

    /// Content belongs to no connection that there is.
    pub(super) fn dropped(&mut self, process: ProcessId, bytes: usize) {
        self.is_about(process);
        self.news.dropped_records += 1;
        self.news.dropped_bytes += bytes as u64;
    }

    /// What is to be told now: the first at once, what follows from time to time, and at the end all.
    pub(super) fn news(&mut self, now: MonotonicNanos, is_end: bool) -> Option<JoinNews> {
        let is_due = self.told.is_none_or(|told| now.0.saturating_sub(told.0) >= TELLING_INTERVAL);
        if self.is_told() || !(is_due || is_end) {
            return None;
        }
        self.told = Some(now);
        Some(std::mem::take(&mut self.news))
    }

    fn is_told(&self) -> bool {
        self.news == JoinNews::default()
    }

    fn is_about(&mut self, process: ProcessId) {
        if self.is_told() {
            self.news.process = Some(process);
        } else if self.news.process != Some(process) {
            self.news.process = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use oisp_capture::Nanos;

    #[test]
    fn first_is_told_at_once_and_the_rest_in_sums_of_which_none_is_missing() {
        let mut tally = Tally::default();
        assert_eq!(tally.news(Nanos(0), true), None);
        tally.one_sided(ProcessId(7));
        let first = JoinNews { one_sided: 1, process: Some(ProcessId(7)), ..JoinNews::default() };
        assert_eq!(tally.news(Nanos(5), false), Some(first));
        tally.one_sided(ProcessId(7));
        tally.dropped(ProcessId(7), 10);
        assert_eq!(tally.news(Nanos(4 + TELLING_INTERVAL), false), None);
        tally.dropped(ProcessId(8), 20);
        tally.one_sided(ProcessId(7));
        let rest = JoinNews { one_sided: 2, dropped_records: 2, dropped_bytes: 30, process: None };
        assert_eq!(tally.news(Nanos(5 + TELLING_INTERVAL), false), Some(rest));
        tally.one_sided(ProcessId(9));
        let last = JoinNews { one_sided: 1, process: Some(ProcessId(9)), ..JoinNews::default() };
        assert_eq!(tally.news(Nanos(6 + TELLING_INTERVAL), true), Some(last));
        assert_eq!(tally.news(Nanos(7 + TELLING_INTERVAL), true), None);
        assert_eq!(tally.statistics.one_sided, 4);
    }
}
