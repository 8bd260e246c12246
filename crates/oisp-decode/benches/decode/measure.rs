//! Runs a row at one size, and says what it took.

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::clock::time;
use crate::{Delivered, REFERENCE, Row};

/// Time for one row and size, all sides; at least [`MINIMUM_RUNS`] whatever it takes.
const BUDGET: Duration = Duration::from_millis(300);
const MINIMUM_RUNS: usize = 3;

/// Growth of the cost of a byte beyond this is told: what other programs do to the caches is less.
const NOISE: f64 = 1.3;

/// What one row takes at one size. Times are the least of all runs, in nanoseconds for a byte of payload.
pub(crate) struct Measurement {
    payload: usize,
    decoding: f64,
    serde_json: f64,
    copying: f64,
    /// For a message.
    allocations: f64,
    /// The same of payloads of [`REFERENCE`], as many as make up this one, so that they do not stay in the caches
    /// either; for larger ones only.
    reference: Option<f64>,
}

impl Measurement {
    fn growth(&self) -> Option<f64> {
        self.reference.map(|reference| self.decoding / reference)
    }

    /// Whether a byte costs more than in payloads of [`REFERENCE`] by what neither other programs explain, nor
    /// memory, which cannot take longer than for copying the byte.
    fn grows(&self) -> bool {
        self.reference.is_some_and(|reference| {
            self.decoding > NOISE * reference && self.decoding - reference > self.copying
        })
    }
}

/// A table in Markdown, which is read as well where it is printed.
pub(crate) const TITLE: &str = "\
| row                 | payload |   MB/s |    ns/B | of serde_json | of memcpy |   allocations a … | growth |
|---------------------|--------:|-------:|--------:|--------------:|----------:|------------------:|-------:|";

pub(crate) fn line(row: &Row, measured: &Measurement) -> String {
    format!(
        "| {:<19} | {:>7} | {:>6.0} | {:>7.3} | {:>11.2} x | {:>7.3} x | {:>8.2} {:<8} | {:>6} |",
        row.name,
        shown(measured.payload),
        1000.0 / measured.decoding,
        measured.decoding,
        measured.serde_json / measured.decoding,
        measured.copying / measured.decoding,
        measured.allocations,
        row.unit,
        measured.growth().map_or_else(String::new, |growth| format!("{growth:.2}")),
    )
}

/// Says whether a byte costs more the more there are.
pub(crate) fn tell_growth(measured: &[(&str, Measurement)]) {
    let growths = measured.iter().filter_map(|(_, measurement)| measurement.growth());
    let (least, most) = growths.fold((f64::INFINITY, 0.0), |(least, most): (f64, f64), growth| {
        (least.min(growth), most.max(growth))
    });
    if most == 0.0 {
        println!("\nGrowth is told of payloads beyond {}: these have none.", shown(REFERENCE));
        return;
    }
    println!("\nA byte of a larger payload costs {least:.2} to {most:.2} times one of {}.", shown(REFERENCE));
    let growing: Vec<String> = measured
        .iter()
        .filter(|(_, measurement)| measurement.grows())
        .map(|(name, measurement)| format!("{name} at {}", shown(measurement.payload)))
        .collect();
    if growing.is_empty() {
        println!("No row's cost of a byte grows by more than noise ({NOISE} times) and copying the byte.");
    } else {
        println!(
            "The cost of a byte grows by more than noise ({NOISE} times) and copying the byte: {}.",
            growing.join(", ")
        );
    }
}

/// Runs decoder, baselines and reference by turns, so that what disturbs the machine disturbs all.
pub(crate) fn measure(row: &Row, size: usize) -> Measurement {
    let payload = (row.payload)(size);
    let wire = (row.wire)(&payload);
    let delivered = decode_all(row, &payload, &wire);

    let before = ALLOCATIONS.load(Ordering::Relaxed);
    black_box((row.decode)(&wire));
    let allocations = ALLOCATIONS.load(Ordering::Relaxed) - before;

    // Small ones are repeated until the clock can see them.
    let repeat = ((64 << 10) / payload.len()).max(1);
    let reference_payload = (row.payload)(REFERENCE);
    let references =
        if size > REFERENCE { vec![(row.wire)(&reference_payload); size / REFERENCE] } else { Vec::new() };
    let mut copy = vec![0; payload.len()];
    let mut least = [Duration::MAX; 4];
    let mut runs = 0;
    let start = Instant::now();
    while runs < MINIMUM_RUNS || start.elapsed() < BUDGET {
        // When memory is next asked for, the allocator puts in order what `serde_json` freed.
        black_box((row.decode)(references.first().unwrap_or(&wire)));
        let times = [
            time(repeat, || (row.decode)(black_box(&wire)).bytes),
            time(1, || references.iter().map(|wire| (row.decode)(black_box(wire)).bytes).sum()),
            time(repeat, || {
                copy.copy_from_slice(black_box(&payload));
                u64::from(black_box(&copy)[0])
            }),
            time(repeat, || {
                let values = serde_json::Deserializer::from_slice(black_box(&payload));
                values.into_iter().filter(|value: &Result<Value, _>| black_box(value).is_ok()).count() as u64
            }),
        ];
        for (least, time) in least.iter_mut().zip(times) {
            *least = time.min(*least);
        }
        runs += 1;
    }
    let per_byte = |time: Duration, bytes: usize| time.as_nanos() as f64 / bytes as f64;
    let [decoding, references_decoding, copying, serde_json] = least;
    let [decoding, copying, serde_json] =
        [decoding, copying, serde_json].map(|time| per_byte(time, repeat * payload.len()));
    let reference = per_byte(references_decoding, references.len() * reference_payload.len());
    Measurement {
        payload: payload.len(),
        decoding,
        serde_json,
        copying,
        allocations: allocations as f64 / delivered.messages as f64,
        reference: (!references.is_empty()).then_some(reference),
    }
}

/// Decodes, and sees that all of the payload comes out, or all but what stands between lines or elements and
/// around these.
fn decode_all(row: &Row, payload: &[u8], wire: &[u8]) -> Delivered {
    let delivered = (row.decode)(wire);
    let between = (payload.len() as u64).checked_sub(delivered.bytes);
    let all = [0, delivered.messages, delivered.messages + 1];
    assert!(
        delivered.messages > 0 && between.is_some_and(|between| all.contains(&between)),
        "{}: of {} bytes come {} in {} messages",
        row.name,
        payload.len(),
        delivered.bytes,
        delivered.messages,
    );
    delivered
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
