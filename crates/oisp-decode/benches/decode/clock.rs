//! What measures share: how long something takes.

use std::hint::black_box;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// What this thread takes for it.
pub(crate) fn time(repeat: usize, mut run: impl FnMut() -> u64) -> Duration {
    let start = processor_time();
    for _ in 0..repeat {
        black_box(run());
    }
    processor_time().saturating_sub(start)
}

/// Of this thread: waiting for a processor that others use does not count.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
