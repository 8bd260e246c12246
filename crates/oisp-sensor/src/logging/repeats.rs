//! How often the same message of the same place is written.

use std::collections::HashMap;
use std::time::Duration;

use tracing::Level;
use tracing::callsite::Identifier;

/// Different messages that are told apart at a time; what is more shares one limit.
const MAX_ENTRIES: usize = 256;
/// How many times the limit of one message all that share one have.
const SHARED: u32 = 10;
/// Characters of the message that say what was suppressed.
const MAX_DESCRIPTION: usize = 100;

/// At most so many lines of one message in an interval, from its first one on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Lines.
    pub lines: u32,
    /// The interval.
    pub interval: Duration,
}

impl Default for Limit {
    /// Five lines in ten seconds.
    fn default() -> Self {
        Self { lines: 5, interval: Duration::from_secs(10) }
    }
}

/// The place in the source, and a hash of the message.
pub(super) type Key = (Identifier, u64);

/// What was not written in an interval.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Suppressed {
    pub(super) count: u64,
    /// Level, target and beginning of the message, redacted; `None` for those that share a limit.
    pub(super) line: Option<(Level, &'static str, String)>,
}

impl Suppressed {
    pub(super) fn of(level: Level, target: &'static str, message: &str) -> Self {
        Self { count: 0, line: Some((level, target, message.chars().take(MAX_DESCRIPTION).collect())) }
    }
}

#[derive(Debug)]
struct Entry {
    began: Duration,
    admitted: u32,
    suppressed: Suppressed,
}

impl Entry {
    fn new(now: Duration) -> Self {
        Self { began: now, admitted: 0, suppressed: Suppressed { count: 0, line: None } }
    }

    fn admit(&mut self, limit: u32) -> bool {
        if self.admitted < limit {
            self.admitted += 1;
            return true;
        }
        self.suppressed.count += 1;
        false
    }
}

#[derive(Debug)]
pub(super) struct Repeats {
    limit: Limit,
    entries: HashMap<Key, Entry>,
    /// For messages for which there is no entry left.
    shared: Option<Entry>,
    /// No interval ends before.
    next_end: Duration,
}

impl Repeats {
    pub(super) fn new(limit: Limit) -> Self {
        Self { limit, entries: HashMap::new(), shared: None, next_end: Duration::MAX }
    }

    /// May this one be written?
    pub(super) fn admit(&mut self, key: &Key, now: Duration) -> bool {
        let full = self.entries.len() >= MAX_ENTRIES;
        let (entry, limit) = match self.entries.get_mut(key) {
            Some(entry) => (entry, self.limit.lines),
            None => {
                self.next_end = self.next_end.min(now.saturating_add(self.limit.interval));
                if full {
                    let shared = self.shared.get_or_insert_with(|| Entry::new(now));
                    (shared, self.limit.lines.saturating_mul(SHARED))
                } else {
                    (self.entries.entry(key.clone()).or_insert_with(|| Entry::new(now)), self.limit.lines)
                }
            }
        };
        entry.admit(limit)
    }

    /// Remembers what a message says, to tell it when more of it are suppressed.
    pub(super) fn describe(&mut self, key: &Key, told: Suppressed) {
        if let Some(entry) = self.entries.get_mut(key)
            && entry.suppressed.line.is_none()
        {
            entry.suppressed.line = told.line;
        }
    }

    /// What was suppressed in intervals that are over, or in all.
    pub(super) fn ended(&mut self, now: Duration, all: bool) -> Vec<Suppressed> {
        if now < self.next_end && !all {
            return Vec::new();
        }
        let interval = self.limit.interval;
        let over = |entry: &Entry| all || now.saturating_sub(entry.began) >= interval;
        let mut ended: Vec<Entry> =
            self.entries.extract_if(|_, entry| over(entry)).map(|(_, entry)| entry).collect();
        ended.extend(self.shared.take_if(|entry| over(entry)));
        let left = self.entries.values().chain(&self.shared);
        self.next_end = left.map(|entry| entry.began.saturating_add(interval)).min().unwrap_or(Duration::MAX);
        ended.sort_by_key(|entry| entry.began);
        ended.into_iter().map(|entry| entry.suppressed).filter(|suppressed| suppressed.count > 0).collect()
    }
}
