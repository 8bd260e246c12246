//! From the kernel's monotonic time to wall-clock time.

use oisp_capture::MonotonicNanos;
use oisp_event::Timestamp;
use rustix::time::{ClockId, clock_gettime};

/// The difference between the two clocks, as it was when the clock was made.
///
/// It moves only when somebody sets the wall clock; whoever runs for long takes a new one now and then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    wall_minus_monotonic: i128,
}

impl Clock {
    /// The host's clocks, now.
    #[must_use]
    pub fn of_host() -> Self {
        // Between two readings of the monotonic clock, so that being interrupted costs half as much.
        let before = nanoseconds(ClockId::Monotonic);
        let wall = nanoseconds(ClockId::Realtime);
        let after = nanoseconds(ClockId::Monotonic);
        Self { wall_minus_monotonic: wall - i128::midpoint(before, after) }
    }

    /// A clock with a known difference in nanoseconds, for recordings.
    #[must_use]
    pub fn with_difference(wall_minus_monotonic: i128) -> Self {
        Self { wall_minus_monotonic }
    }

    /// The difference, for a recording that is to be replayed.
    #[must_use]
    pub fn difference(self) -> i128 {
        self.wall_minus_monotonic
    }

    /// The wall-clock time of a kernel time.
    #[must_use]
    pub fn wall(self, time: MonotonicNanos) -> Timestamp {
        Timestamp::from_unix_nanoseconds(i128::from(time.0) + self.wall_minus_monotonic)
    }
}

fn nanoseconds(clock: ClockId) -> i128 {
    let time = clock_gettime(clock);
    i128::from(time.tv_sec) * 1_000_000_000 + i128::from(time.tv_nsec)
}

#[cfg(test)]
mod tests {
    use super::*;
    use oisp_capture::Nanos;

    #[test]
    fn kernel_time_becomes_wall_time_by_the_difference() {
        let clock = Clock::with_difference(1_769_860_800_000_000_000);
        assert_eq!(clock.wall(Nanos(123_456_000)).to_string(), "2026-01-31T12:00:00.123456Z");
    }

    #[test]
    fn host_clock_puts_monotonic_zero_before_now() {
        let clock = Clock::of_host();
        let now = Timestamp::from_unix_nanoseconds(nanoseconds(ClockId::Realtime));
        assert!(clock.wall(Nanos(0)) < now);
    }
}
