//! Entries for fuzzing: any bytes in, invariants asserted. Compiled always, so that tests use the
//! same entries as the fuzz targets.

use crate::{
    ConnectionDecoder, Direction, ExchangeId, HttpEvent, HttpEventKind, Limits, Nanos, Segment, SseParser,
    StreamAssembler,
};
use std::collections::HashMap;

/// Reads `script` as a sequence of operations on a connection and checks what comes out.
///
/// An operation is one byte: bit 7 the direction, bit 6 a gap instead of data, the low six bits a
/// length; data then follows.
///
/// # Panics
/// When an invariant of [`HttpEventKind`] is broken: a bug in this crate.
pub fn connection(mut script: &[u8]) {
    let limits = Limits {
        body_bytes: 1000,
        head_bytes: 400,
        headers: 8,
        pending_requests: 4,
        sniff_bytes: 100,
        held_bytes: 100,
        chunk_line_bytes: 20,
        streams: 3,
        header_table_bytes: 300,
    };
    let mut decoder = ConnectionDecoder::new(limits);
    let mut out = Vec::new();
    let mut time = 0;
    while let Some((&operation, rest)) = script.split_first() {
        script = rest;
        time += 1;
        let direction = if operation & 0x80 == 0 { Direction::Sent } else { Direction::Received };
        let length = usize::from(operation & 0x3f);
        if operation & 0x40 == 0 {
            let (data, rest) = script.split_at(length.min(script.len()));
            script = rest;
            decoder.data(direction, Nanos(time), data, &mut out);
        } else {
            decoder.gap(direction, Nanos(time), length as u64, &mut out);
        }
        assert!(decoder.buffered_bytes() < 600_000, "memory is bounded");
    }
    decoder.close(Nanos(time), &mut out);
    check(&out);
}

/// Checks the promises of [`HttpEventKind`] on the events of one closed connection.
///
/// # Panics
/// When one is broken: a bug in this crate.
pub fn check(events: &[HttpEvent]) {
    #[derive(Default)]
    struct Seen {
        request_head: bool,
        request_end: bool,
        response_head: bool,
        response_end: bool,
        request_bytes: u64,
        response_bytes: u64,
    }
    let mut exchanges: HashMap<ExchangeId, Seen> = HashMap::new();
    for event in events {
        if event.exchange == ExchangeId::CONNECTION {
            assert!(matches!(event.kind, HttpEventKind::Problem(_)), "only problems belong to no exchange");
            continue;
        }
        let seen = exchanges.entry(event.exchange).or_default();
        match &event.kind {
            HttpEventKind::RequestHead(_) => {
                assert!(!seen.request_head, "one request head");
                seen.request_head = true;
            }
            HttpEventKind::RequestBody(bytes) => {
                assert!(seen.request_head && !seen.request_end && !bytes.is_empty());
                seen.request_bytes += bytes.len() as u64;
            }
            HttpEventKind::RequestBodyGap { lost } => {
                assert!(seen.request_head && !seen.request_end && *lost > 0);
            }
            HttpEventKind::RequestEnd(end) => {
                assert!(seen.request_head && !seen.request_end);
                assert_eq!(end.decoded_bytes, seen.request_bytes);
                seen.request_end = true;
            }
            HttpEventKind::InformationalHead(_) => assert!(!seen.response_head && !seen.response_end),
            HttpEventKind::ResponseHead(_) => {
                assert!(!seen.response_head && !seen.response_end);
                seen.response_head = true;
            }
            HttpEventKind::ResponseBody(bytes) => {
                assert!(seen.response_head && !seen.response_end && !bytes.is_empty());
                seen.response_bytes += bytes.len() as u64;
            }
            HttpEventKind::ResponseBodyGap { lost } => {
                assert!(seen.response_head && !seen.response_end && *lost > 0);
            }
            HttpEventKind::ResponseEnd(end) => {
                assert!(!seen.response_end, "one response end");
                assert_eq!(end.decoded_bytes, seen.response_bytes);
                assert!(seen.response_head || !end.completeness.is_complete());
                seen.response_end = true;
            }
            HttpEventKind::Upgraded { .. } => assert!(seen.response_head && !seen.response_end),
            HttpEventKind::Problem(_) => {}
        }
    }
    for (exchange, seen) in exchanges {
        assert!(seen.response_end, "{exchange:?} has no response end");
        assert_eq!(seen.request_head, seen.request_end, "{exchange:?}");
    }
}

/// Parses an event stream from pieces as long as its first byte says.
///
/// # Panics
/// When memory exceeds its bound: a bug in this crate.
pub fn sse(bytes: &[u8]) {
    let Some((&piece, stream)) = bytes.split_first() else { return };
    let mut parser = SseParser::with_limit(64);
    let mut out = Vec::new();
    for piece in stream.chunks(usize::from(piece).max(1)) {
        parser.push(piece, &mut out);
        assert!(parser.buffered_bytes() < 1024, "memory is bounded");
    }
    out.extend(parser.finish());
    assert!(out.iter().all(|event| event.event.len() + event.data.len() <= 64));
}

/// Undoes gzip from pieces as long as its first byte says.
///
/// # Panics
/// When more comes out than there was room for: a bug in this crate.
pub fn gzip(bytes: &[u8]) {
    let Some((&piece, stream)) = bytes.split_first() else { return };
    let Ok(mut decoder) = crate::ContentDecoder::for_codings(&["gzip"]) else { return };
    let mut out = Vec::new();
    for piece in stream.chunks(usize::from(piece).max(1)) {
        let room = 1000 - out.len();
        if decoder.push(piece, room, &mut out).is_err() {
            break;
        }
        assert!(out.len() <= 1000);
    }
    assert!(out.len() <= 1000);
}

/// Reads pairs of offset (one byte) and length (one byte, data filled up) as records.
///
/// # Panics
/// When segments are not contiguous: a bug in this crate.
pub fn assemble(script: &[u8]) {
    let mut assembler = StreamAssembler::new();
    let mut expected = 0;
    let data = [0; 255];
    for pair in script.chunks_exact(2) {
        assembler.push(u64::from(pair[0]) * 4, &data[..usize::from(pair[1])], |segment| {
            let (offset, length) = match segment {
                Segment::Data { offset, bytes } => (offset, bytes.len() as u64),
                Segment::Gap { offset, length } => (offset, length),
            };
            assert_eq!(offset, expected);
            assert!(length > 0);
            expected += length;
        });
    }
    assert_eq!(assembler.next_offset(), expected);
}
