//! What decoding costs on one core, beside something well known on the same bytes in the same run:
//! `serde_json` where the payload is JSON, copying memory where it is not. Absolute times are the machine's;
//! the ratio and the growth with the size are the decoder's. Measures, and asserts nothing on time.
//!
//! `cargo xtask bench decode [-- --quick] [-- ROW…]`; a protocol or coding is one entry of [`ROWS`].

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::io::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use oisp_decode::{ConnectionDecoder, Direction, HttpEvent, HttpEventKind, Limits, Nanos, SseParser};
use rustix::time::{ClockId, clock_gettime};

/// What one captured call holds at most.
const PIECE: usize = 16 << 10;

const SIZES: [usize; 6] = [1 << 10, 10 << 10, 100 << 10, 1 << 20, 10 << 20, 100 << 20];

/// Time for one row and size, both sides; at least [`MINIMUM_RUNS`] whatever it takes.
const BUDGET: Duration = Duration::from_millis(300);
const MINIMUM_RUNS: usize = 3;

struct Row {
    name: &'static str,
    /// A payload of about this many bytes.
    payload: fn(usize) -> Vec<u8>,
    /// The payload as the bytes of an answer.
    wire: fn(&[u8]) -> Vec<u8>,
    decode: fn(&[u8]) -> u64,
    baseline: Baseline,
}

#[derive(Clone, Copy)]
enum Baseline {
    SerdeJson,
    Copy,
}

const ROWS: &[Row] = &[
    Row { name: "content-length", payload: json, wire: length, decode: http, baseline: Baseline::SerdeJson },
    Row { name: "chunked", payload: json, wire: chunked, decode: http, baseline: Baseline::SerdeJson },
    Row { name: "gzip", payload: json, wire: gzip, decode: http, baseline: Baseline::SerdeJson },
    Row { name: "chunked + SSE", payload: events, wire: chunked, decode: http_sse, baseline: Baseline::Copy },
    Row { name: "SSE alone", payload: events, wire: <[u8]>::to_vec, decode: sse, baseline: Baseline::Copy },
];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let quick = arguments.iter().any(|argument| argument == "--quick");
    let names: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with("--")).collect();
    println!(
        "{:<15} {:>7} {:>9} {:>9} {:>8} {:>8} {:>10} {:>9}",
        "row", "payload", "min ns/B", "med ns/B", "MB/s", "baseline", "of its rate", "allocs"
    );
    for row in ROWS {
        if !names.is_empty() && !names.iter().any(|name| row.name.contains(name.as_str())) {
            continue;
        }
        for size in SIZES {
            if quick && size > 1 << 20 {
                continue;
            }
            measure(row, size);
        }
    }
}

/// Runs decoder and baseline by turns, so that what disturbs the machine disturbs both.
fn measure(row: &Row, size: usize) {
    let payload = (row.payload)(size);
    let wire = (row.wire)(&payload);
    let delivered = (row.decode)(&wire);
    match row.baseline {
        Baseline::SerdeJson => assert_eq!(delivered, payload.len() as u64, "{}: all is decoded", row.name),
        Baseline::Copy => assert!(delivered > 0, "{}: events come out", row.name),
    }

    let before = ALLOCATIONS.load(Ordering::Relaxed);
    black_box((row.decode)(&wire));
    let allocations = ALLOCATIONS.load(Ordering::Relaxed) - before;

    // Small ones are repeated until the clock can see them.
    let repeat = ((64 << 10) / payload.len()).max(1);
    let (mut decoding, mut baseline) = (Vec::new(), Vec::new());
    let mut copy = vec![0; payload.len()];
    let start = Instant::now();
    while decoding.len() < MINIMUM_RUNS || start.elapsed() < BUDGET {
        decoding.push(time(repeat, || black_box((row.decode)(black_box(&wire)))));
        baseline.push(match row.baseline {
            Baseline::SerdeJson => time(repeat, || {
                let value: Result<serde_json::Value, _> = serde_json::from_slice(black_box(&payload));
                u64::from(black_box(value).is_ok())
            }),
            Baseline::Copy => time(repeat, || {
                copy.copy_from_slice(black_box(&payload));
                u64::from(black_box(&copy)[0])
            }),
        });
    }
    let bytes = (repeat * payload.len()) as f64;
    let per_byte = |times: &mut Vec<Duration>, at: fn(usize) -> usize| {
        times.sort();
        times[at(times.len())].as_nanos() as f64 / bytes
    };
    let least = per_byte(&mut decoding, |_| 0);
    let median = per_byte(&mut decoding, |count| count / 2);
    let other = per_byte(&mut baseline, |_| 0);
    println!(
        "{:<15} {:>7} {least:>9.3} {median:>9.3} {:>8.0} {:>8} {:>9.3} x {allocations:>9}",
        row.name,
        shown(payload.len()),
        1000.0 / least,
        match row.baseline {
            Baseline::SerdeJson => "serde",
            Baseline::Copy => "copy",
        },
        other / least,
    );
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

/// One connection: a short request, then the answer in pieces; events are dropped as they come, as the sensor does.
fn exchange(answer: &[u8], mut take: impl FnMut(HttpEvent)) {
    let limits = Limits { body_bytes: u64::MAX, ..Limits::default() };
    let mut decoder = ConnectionDecoder::new(limits);
    let mut out = Vec::new();
    let request = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}";
    decoder.data(Direction::Sent, Nanos(0), request, &mut out);
    for piece in answer.chunks(PIECE) {
        decoder.data(Direction::Received, Nanos(1), piece, &mut out);
        out.drain(..).for_each(&mut take);
    }
    decoder.close(Nanos(2), &mut out);
    out.drain(..).for_each(&mut take);
}

/// Body bytes of the answer.
fn http(answer: &[u8]) -> u64 {
    let mut bytes = 0;
    exchange(answer, |event| {
        if let HttpEventKind::ResponseBody(body) = event.kind {
            bytes += body.len() as u64;
        }
    });
    bytes
}

/// Events of the answer.
fn http_sse(answer: &[u8]) -> u64 {
    let mut parser = SseParser::with_limit(1 << 20);
    let mut parsed = Vec::new();
    let mut events = 0;
    exchange(answer, |event| {
        if let HttpEventKind::ResponseBody(body) = event.kind {
            parser.push(&body, &mut parsed);
            events += parsed.drain(..).count() as u64;
        }
    });
    events
}

/// Events of a body.
fn sse(body: &[u8]) -> u64 {
    let mut parser = SseParser::with_limit(1 << 20);
    let mut parsed = Vec::new();
    let mut events = 0;
    for piece in body.chunks(PIECE) {
        parser.push(piece, &mut parsed);
        events += parsed.drain(..).count() as u64;
    }
    events
}

/// An array of messages as a model's provider writes them.
fn json(size: usize) -> Vec<u8> {
    let mut text = b"[".to_vec();
    let mut number = 0;
    while text.len() < size {
        let comma = if number == 0 { "" } else { "," };
        let _ = write!(
            text,
            r#"{comma}{{"role":"assistant","index":{number},"content":"The {number}th line of an answer, with \"quotes\" and a\nbreak.","usage":{{"input_tokens":{},"output_tokens":{}}}}}"#,
            number * 7,
            number % 93,
        );
        number += 1;
    }
    text.push(b']');
    text
}

/// Deltas of a streamed answer.
fn events(size: usize) -> Vec<u8> {
    let mut text = Vec::new();
    let mut number = 0;
    while text.len() < size {
        let _ = write!(
            text,
            "event: content_block_delta\ndata: {{\"type\":\"content_block_delta\",\"index\":0,\"delta\":{{\"type\":\"text_delta\",\"text\":\" word{number}\"}}}}\n\n"
        );
        number += 1;
    }
    text
}

fn length(payload: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        payload.len()
    );
    [head.as_bytes(), payload].concat()
}

/// Chunks of 1000 bytes, of the order that servers send.
fn chunked(payload: &[u8]) -> Vec<u8> {
    let mut wire = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    for chunk in payload.chunks(1000) {
        let _ = write!(wire, "{:x}\r\n", chunk.len());
        wire.extend(chunk);
        wire.extend(b"\r\n");
    }
    wire.extend(b"0\r\n\r\n");
    wire
}

fn gzip(payload: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    // Writing to memory does not fail.
    let _ = encoder.write_all(payload);
    let body = encoder.finish().unwrap_or_default();
    let head = format!("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), &body].concat()
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
