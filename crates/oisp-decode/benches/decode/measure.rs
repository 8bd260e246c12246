//! Runs a row at one size, and says what it took.

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use crate::{REFERENCE, Row};

/// Time for one row and size, all sides; at least [`MINIMUM_RUNS`] whatever it takes.
const BUDGET: Duration = Duration::from_millis(300);
const MINIMUM_RUNS: usize = 3;

/// Growth of the cost of a byte beyond this is told: what caches and other programs do is less.
const NOISE: f64 = 1.3;

/// What one row takes at one size. Times are the least of all runs, in nanoseconds for a byte of payload.
#[derive(Clone, Copy)]
pub(crate) struct Measurement {
    payload: usize,
    decoding: f64,
    serde_json: f64,
    copying: f64,
    /// For a message.
    allocations: f64,
}

/// The cost of a byte beside that at [`REFERENCE`]; for comparison that of `serde_json`, which has to get through
/// the same caches.
#[derive(Clone, Copy)]
pub(crate) struct Growth {
    decoding: f64,
    serde_json: f64,
}

impl Growth {
    pub(crate) fn between(reference: &Measurement, measurement: &Measurement) -> Self {
        Self {
            decoding: measurement.decoding / reference.decoding,
            serde_json: measurement.serde_json / reference.serde_json,
        }
    }
}

/// A table in Markdown, which is read as well where it is printed.
pub(crate) const TITLE: &str = "\
| row                 | payload |   MB/s | ns/B    | of serde_json | of memcpy | allocations a … | growth |
|---------------------|--------:|-------:|--------:|--------------:|----------:|----------------:|-------:|";

pub(crate) fn line(row: &Row, measured: &Measurement, growth: Option<Growth>) -> String {
    format!(
        "| {:<19} | {:>7} | {:>6.0} | {:>7.3} | {:>11.2} x | {:>7.3} x | {:>6.2} {:<8} | {:>6} |",
        row.name,
        shown(measured.payload),
        1000.0 / measured.decoding,
        measured.decoding,
        measured.serde_json / measured.decoding,
        measured.copying / measured.decoding,
        measured.allocations,
        row.unit,
        growth.map_or_else(String::new, |growth| format!("{:.2}", growth.decoding)),
    )
}

/// Says whether a byte costs more the more there are.
pub(crate) fn tell_growth(growths: &[(&str, usize, Growth)]) {
    let Some(largest) = growths.iter().map(|(_, size, _)| *size).max() else {
        println!("\nGrowth is told from {} on; these sizes end before.", shown(REFERENCE));
        return;
    };
    let at_largest = || growths.iter().filter(|(_, size, _)| *size == largest);
    let range = |of: fn(&Growth) -> f64| {
        let values = || at_largest().map(|(_, _, growth)| of(growth));
        (values().fold(f64::INFINITY, f64::min), values().fold(0.0, f64::max))
    };
    let (least, most) = range(|growth| growth.decoding);
    let (serde_least, serde_most) = range(|growth| growth.serde_json);
    println!(
        "\nA byte at {} costs {least:.2} to {most:.2} times one at {} (serde_json: {serde_least:.2} to {serde_most:.2}).",
        shown(largest),
        shown(REFERENCE),
    );
    let growing: Vec<&str> =
        at_largest().filter(|(_, _, growth)| growth.decoding > NOISE).map(|(name, _, _)| *name).collect();
    if growing.is_empty() {
        println!("No row's cost of a byte grows with the size by more than noise ({NOISE}).");
    } else {
        println!(
            "The cost of a byte grows with the size by more than noise ({NOISE}): {}.",
            growing.join(", ")
        );
    }
}

/// Runs decoder and baselines by turns, so that what disturbs the machine disturbs all.
pub(crate) fn measure(row: &Row, size: usize) -> Measurement {
    let payload = (row.payload)(size);
    let wire = (row.wire)(&payload);
    let delivered = (row.decode)(&wire);
    // All of it, or all but what stands between lines or elements and around these.
    let between = (payload.len() as u64).checked_sub(delivered.bytes);
    assert!(
        between.is_some_and(|between| [0, delivered.messages, delivered.messages + 1].contains(&between)),
        "{}: of {} bytes come {} in {} messages",
        row.name,
        payload.len(),
        delivered.bytes,
        delivered.messages,
    );
    assert!(delivered.messages > 0, "{}: messages come out", row.name);

    let before = ALLOCATIONS.load(Ordering::Relaxed);
    black_box((row.decode)(&wire));
    let allocations = ALLOCATIONS.load(Ordering::Relaxed) - before;

    // Small ones are repeated until the clock can see them.
    let repeat = ((64 << 10) / payload.len()).max(1);
    let mut least = [Duration::MAX; 3];
    let mut copy = vec![0; payload.len()];
    let start = Instant::now();
    let mut runs = 0;
    while runs < MINIMUM_RUNS || start.elapsed() < BUDGET {
        let times = [
            time(repeat, || (row.decode)(black_box(&wire)).bytes),
            time(repeat, || {
                let values = serde_json::Deserializer::from_slice(black_box(&payload));
                values.into_iter::<serde_json::Value>().filter(|value| black_box(value).is_ok()).count()
                    as u64
            }),
            time(repeat, || {
                copy.copy_from_slice(black_box(&payload));
                u64::from(black_box(&copy)[0])
            }),
        ];
        for (least, time) in least.iter_mut().zip(times) {
            *least = time.min(*least);
        }
        runs += 1;
    }
    let [decoding, serde_json, copying] =
        least.map(|time| time.as_nanos() as f64 / (repeat * payload.len()) as f64);
    Measurement {
        payload: payload.len(),
        decoding,
        serde_json,
        copying,
        allocations: allocations as f64 / delivered.messages as f64,
    }
}

fn time(repeat: usize, mut run: impl FnMut() -> u64) -> Duration {
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

fn shown(bytes: usize) -> String {
    match bytes {
        0..0x10_0000 => format!("{} KB", bytes >> 10),
        _ => format!("{} MB", bytes >> 20),
    }
}

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
/// The system's allocator, counted.
struct Counting;

// SAFETY: every call is passed on unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promises are those of the system's allocator.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;
