//! What the sensor's own process takes of the host.

use std::fs;
use std::io;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use crate::status::{Cpu, Memory};

/// The shortest interval of [`Cpu::percent_recently`]: over a shorter one the asking itself is most of the load.
const SHORTEST: Duration = Duration::from_secs(1);

/// Resident memory of a process in bytes, as the kernel counts it (proc(5), `/proc/PID/status`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resident {
    /// `RssAnon`.
    pub anonymous: Option<u64>,
    /// `RssFile`.
    pub file: Option<u64>,
    /// `RssShmem`.
    pub shared: Option<u64>,
}

impl Resident {
    /// Puts the figures where a status has them.
    pub fn fill(self, memory: &mut Memory) {
        memory.resident_anonymous_bytes = self.anonymous;
        memory.resident_file_bytes = self.file;
        memory.resident_shared_bytes = self.shared;
    }

    fn parse(status: &str) -> Self {
        let bytes = |key: &str| {
            let value = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
            value.trim().strip_suffix("kB")?.trim_end().parse::<u64>().ok()?.checked_mul(1024)
        };
        Self { anonymous: bytes("RssAnon"), file: bytes("RssFile"), shared: bytes("RssShmem") }
    }
}

/// Resident memory of this process.
///
/// # Errors
/// `/proc` cannot be read.
pub fn resident() -> io::Result<Resident> {
    Ok(Resident::parse(&fs::read_to_string("/proc/self/status")?))
}

/// Measures the CPU time of this process, from its making on.
#[derive(Debug)]
pub struct CpuMeter {
    start: Instant,
    /// CPU time that the process had used when the meter was made.
    used_before: Duration,
    /// Where the current interval began, and the last whole interval.
    interval: Mutex<Interval>,
}

#[derive(Clone, Copy, Debug)]
struct Interval {
    began: Duration,
    used: Duration,
    last: Option<(f64, Duration)>,
}

impl CpuMeter {
    /// Begins to measure.
    #[must_use]
    pub fn start() -> Self {
        let interval = Interval { began: Duration::ZERO, used: Duration::ZERO, last: None };
        Self { start: Instant::now(), used_before: used(), interval: Mutex::new(interval) }
    }

    /// The time used until now. The interval of the recent percentage begins at the last sample that was taken at
    /// least a second before; whoever asks more often is told the last whole interval.
    ///
    /// # Errors
    /// `/proc` cannot be read.
    pub fn sample(&self) -> io::Result<Cpu> {
        let used = used().saturating_sub(self.used_before);
        let elapsed = self.start.elapsed();
        let (user_seconds, system_seconds) = modes(&fs::read_to_string("/proc/self/stat")?)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "/proc/self/stat is not understood"))?;
        // A panic cannot leave the interval half changed.
        let mut interval = self.interval.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        interval.advance(elapsed, used);
        Ok(Cpu {
            user_seconds,
            system_seconds,
            percent_since_start: percent(used, elapsed),
            percent_recently: interval.last.map(|(percent, _)| percent),
            interval_seconds: interval.last.map(|(_, length)| length.as_secs_f64()),
        })
    }
}

impl Interval {
    fn advance(&mut self, elapsed: Duration, used: Duration) {
        let length = elapsed.saturating_sub(self.began);
        if length >= SHORTEST {
            let last = (percent(used.saturating_sub(self.used), length), length);
            *self = Self { began: elapsed, used, last: Some(last) };
        }
    }
}

fn percent(used: Duration, elapsed: Duration) -> f64 {
    if elapsed.is_zero() { 0.0 } else { 100.0 * used.as_secs_f64() / elapsed.as_secs_f64() }
}

/// CPU time of all threads, to the nanosecond; `/proc/self/stat` counts ticks of 10 ms.
fn used() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Seconds in user mode and in the kernel: fields 14 and 15 of proc(5) `/proc/PID/stat`.
fn modes(stat: &str) -> Option<(f64, f64)> {
    // The second field is the program's name in parentheses, which may itself hold spaces and parentheses.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    #[expect(clippy::cast_precision_loss, reason = "ticks of 10 ms: exact for 2 million years")]
    let mut seconds = || {
        let ticks: u64 = fields.next()?.parse().ok()?;
        Some(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
    };
    Some((seconds()?, seconds()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resident_memory_is_read_in_bytes_and_absent_where_the_kernel_has_none() {
        let read = Resident::parse("Name:\tx\nRssAnon:\t     700 kB\nRssFile:\t  12 kB\nRssShmem:\t junk\n");
        assert_eq!(read, Resident { anonymous: Some(700 << 10), file: Some(12 << 10), shared: None });
        assert_eq!(Resident::parse("State: Z (zombie)\n"), Resident::default());
    }

    #[test]
    fn this_process_is_resident_and_has_used_time() {
        assert!(resident().unwrap().anonymous.unwrap() > 0);
        let meter = CpuMeter::start();
        let mut sum = 0_u64;
        while used() <= meter.used_before {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        let cpu = meter.sample().unwrap();
        assert!(cpu.percent_since_start > 0.0, "{cpu:?}");
    }

    #[test]
    fn programs_name_cannot_shift_the_fields() {
        let ticks = rustix::param::clock_ticks_per_second();
        let stat = format!("1 (a) R 1) S 0 1 1 0 -1 4 5 6 7 8 {} {} 0 0 20", ticks * 3, ticks / 2);
        assert_eq!(modes(&stat), Some((3.0, 0.5)));
        assert_eq!(modes("1 (x) S 0"), None);
    }

    #[test]
    fn asking_often_does_not_shorten_the_interval() {
        let mut interval = Interval { began: Duration::ZERO, used: Duration::ZERO, last: None };
        let ms = Duration::from_millis;
        interval.advance(ms(500), ms(500));
        assert_eq!(interval.last, None);
        interval.advance(ms(2000), ms(1000));
        assert_eq!(interval.last, Some((50.0, ms(2000))));
        interval.advance(ms(2100), ms(1100));
        assert_eq!(interval.last, Some((50.0, ms(2000))));
        interval.advance(ms(4000), ms(1000));
        assert_eq!(interval.last, Some((0.0, ms(2000))));
    }
}
