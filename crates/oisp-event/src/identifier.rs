//! Event identifiers.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Timestamp;

/// A ULID: sorts by the event's time, unique across hosts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct EventId(String);

impl EventId {
    /// The identifier's 26 characters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Makes identifiers from the time of the event, not the time of writing, so that identifiers sort as
/// things happened. 80 random bits start anew for each generator and count up within it: two events of one
/// millisecond keep the order in which they were made.
#[derive(Debug)]
pub struct EventIdGenerator {
    next_random: u128,
}

const RANDOM_MASK: u128 = (1 << 80) - 1;

impl EventIdGenerator {
    /// A generator with a random start.
    #[must_use]
    pub fn new() -> Self {
        Self::with_seed(ulid::Ulid::new().random())
    }

    /// A generator whose identifiers are the same on every run, for tests and replay.
    #[must_use]
    pub fn with_seed(seed: u128) -> Self {
        // The top bit stays free so that counting up never wraps within a process's life.
        Self { next_random: seed & (RANDOM_MASK >> 1) }
    }

    /// The seed that gives the identifiers which are still to come again.
    #[must_use]
    pub fn seed(&self) -> u128 {
        self.next_random
    }

    /// The next identifier for an event at `time`.
    pub fn next(&mut self, time: Timestamp) -> EventId {
        let id = ulid::Ulid::from_parts(time.unix_milliseconds(), self.next_random);
        self.next_random = (self.next_random + 1) & RANDOM_MASK;
        EventId(id.to_string())
    }
}

impl Default for EventIdGenerator {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_sort_by_time_then_by_order_of_making() {
        let mut generator = EventIdGenerator::new();
        let late = generator.next(Timestamp::from_unix_nanoseconds(2_000_000_000_000));
        let early = generator.next(Timestamp::from_unix_nanoseconds(1_000_000_000_000));
        let early_second = generator.next(Timestamp::from_unix_nanoseconds(1_000_000_000_000));
        assert!(early < early_second && early_second < late);
        assert_eq!(late.as_str().len(), 26);
    }

    #[test]
    fn seed_gives_the_same_identifiers_again() {
        let mut generator = EventIdGenerator::new();
        let mut again = EventIdGenerator::with_seed(generator.seed());
        let time = Timestamp::from_unix_nanoseconds(0);
        assert_eq!(generator.next(time), again.next(time));
    }
}
