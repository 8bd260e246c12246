//! Entries for fuzzing: any bytes in, invariants asserted. Compiled always, so that tests use the
//! same entries as the fuzz targets.

use crate::{
    ConnectionDecoder, Direction, EventStreamParser, ExchangeId, GrpcSplitter, HttpEvent, HttpEventKind,
    JsonArraySplitter, JsonRpcMessage, Limits, Nanos, NdjsonSplitter, Segment, SseParser, StreamAssembler,
    UpgradeProtocol,
};
use std::collections::HashMap;

/// Reads `script` as a sequence of operations on a connection and checks what comes out.
///
/// An operation is one byte: bit 7 the direction, bit 6 a gap instead of data, the low six bits a
/// length; data then follows.
///
/// # Panics
/// When an invariant of [`HttpEventKind`] is broken: a bug in this crate.
pub fn connection(script: &[u8]) {
    let mut out = Vec::new();
    let decoder = ConnectionDecoder::new(fuzz_limits());
    operate(decoder, script, &mut out);
    check(&out);
}

fn fuzz_limits() -> Limits {
    Limits {
        body_bytes: 1000,
        head_bytes: 400,
        headers: 8,
        pending_requests: 4,
        sniff_bytes: 100,
        held_bytes: 100,
        chunk_line_bytes: 20,
        websocket_message_bytes: 1000,
        streams: 3,
        header_table_bytes: 300,
        ..Limits::default()
    }
}

/// Reads `script` as [`connection`] does, on a connection that has become a WebSocket. The two low bits of
/// its first byte say whether messages are compressed and whether the client's refer to earlier ones.
///
/// # Panics
/// When an invariant of [`HttpEventKind`] is broken: a bug in this crate.
pub fn websocket(script: &[u8]) {
    let Some((&options, script)) = script.split_first() else { return };
    let extension = match options & 3 {
        0 => "",
        1 => "Sec-WebSocket-Extensions: permessage-deflate; client_no_context_takeover\r\n",
        2 => "Sec-WebSocket-Extensions: other\r\n",
        _ => "Sec-WebSocket-Extensions: permessage-deflate\r\n",
    };
    let mut decoder = ConnectionDecoder::new(fuzz_limits());
    let mut out = Vec::new();
    let request = b"GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n";
    decoder.data(Direction::Sent, Nanos(0), request, &mut out);
    let response = format!("HTTP/1.1 101 X\r\nUpgrade: websocket\r\n{extension}\r\n");
    decoder.data(Direction::Received, Nanos(0), response.as_bytes(), &mut out);
    operate(decoder, script, &mut out);
    check(&out);
}

fn operate(mut decoder: ConnectionDecoder, mut script: &[u8], out: &mut Vec<HttpEvent>) {
    let mut time = 0;
    while let Some((&operation, rest)) = script.split_first() {
        script = rest;
        time += 1;
        let direction = if operation & 0x80 == 0 { Direction::Sent } else { Direction::Received };
        let length = usize::from(operation & 0x3f);
        if operation & 0x40 == 0 {
            let (data, rest) = script.split_at(length.min(script.len()));
            script = rest;
            decoder.data(direction, Nanos(time), data, out);
        } else {
            decoder.gap(direction, Nanos(time), length as u64, out);
        }
        assert!(decoder.buffered_bytes() < 600_000, "memory is bounded");
    }
    decoder.close(Nanos(time), out);
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
        websocket: bool,
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
            HttpEventKind::Upgraded { protocol } => {
                let answered_later = *protocol == UpgradeProtocol::Http2;
                assert!(seen.response_head != answered_later && !seen.response_end);
                seen.websocket = *protocol == UpgradeProtocol::WebSocket;
            }
            HttpEventKind::WebSocketMessage(message) => {
                assert!(seen.websocket && seen.response_end);
                let identity = !message.compressed && message.completeness.is_complete();
                assert!(!identity || message.bytes.len() as u64 == message.wire_bytes);
            }
            HttpEventKind::Problem(_) => {}
        }
    }
    for (exchange, seen) in exchanges {
        assert!(seen.response_end, "{exchange:?} has no response end");
        assert_eq!(seen.request_head, seen.request_end, "{exchange:?}");
    }
}

/// Parses an event stream from pieces as long as the low seven bits of its first byte say; with bit 7,
/// bytes are lost between the first two.
///
/// # Panics
/// When memory exceeds its bound: a bug in this crate.
pub fn sse(bytes: &[u8]) {
    let Some((&piece, stream)) = bytes.split_first() else { return };
    let mut parser = SseParser::with_limit(64);
    let mut out = Vec::new();
    for (number, bytes) in stream.chunks(usize::from(piece & 0x7f).max(1)).enumerate() {
        if number == 1 && piece & 0x80 != 0 {
            out.extend(parser.gap());
        }
        parser.push(bytes, &mut out);
        assert!(parser.buffered_bytes() < 1024, "memory is bounded");
    }
    out.extend(parser.finish());
    assert!(out.iter().all(|event| event.event.len() + event.data.len() <= 64));
}

/// Splits a body in every way that there is, from pieces as long as the low seven bits of its first
/// byte say; with bit 7, bytes are lost between the first two.
///
/// # Panics
/// When memory or a message exceeds its bound: a bug in this crate.
pub fn bodies(bytes: &[u8]) {
    let Some((&piece, stream)) = bytes.split_first() else { return };
    let limits = Limits { message_bytes: 64, json_depth: 8, ..Limits::default() };
    let mut lines = (NdjsonSplitter::new(&limits), Vec::new());
    let mut array = (JsonArraySplitter::new(&limits), Vec::new());
    let mut events = (EventStreamParser::new(&limits), Vec::new());
    let mut grpc = (GrpcSplitter::new(&limits), Vec::new());
    for (number, bytes) in stream.chunks(usize::from(piece & 0x7f).max(1)).enumerate() {
        if number == 1 && piece & 0x80 != 0 {
            lines.1.extend(lines.0.gap(3));
            array.1.extend(array.0.gap(3));
            events.0.gap();
            grpc.1.extend(grpc.0.gap(Some(3)));
        }
        lines.0.push(bytes, &mut lines.1);
        let stopped = [
            array.0.push(bytes, &mut array.1).is_err() && array.0.finish().is_ok(),
            events.0.push(bytes, &mut events.1).is_err() && events.0.finish().is_ok(),
            grpc.0.push(bytes, &mut grpc.1).is_err() && grpc.0.finish().is_ok(),
        ];
        assert_eq!(stopped, [false; 3], "an error lasts");
        let held = lines.0.buffered_bytes() + array.0.buffered_bytes() + grpc.0.buffered_bytes();
        assert!(held < 1000 && events.0.buffered_bytes() < 16 << 20, "memory is bounded");
    }
    lines.1.extend(lines.0.finish());
    for line in &lines.1 {
        assert!(line.bytes.len() <= 64);
        let _ = JsonRpcMessage::parse(&line.bytes);
    }
    assert!(array.1.iter().all(|element| element.bytes.len() <= 64));
    assert!(array.1.windows(2).all(|pair| pair[0].range.end < pair[1].range.start));
    assert!(events.1.iter().all(|message| message.payload.len() <= 64));
    assert!(grpc.1.iter().all(|message| message.bytes.len() <= 64));
}

/// Cuts a stream at the places named, for tests of the promise that it makes no difference.
#[cfg(test)]
pub(crate) fn cut<'a>(bytes: &'a [u8], cuts: &[u16]) -> Vec<&'a [u8]> {
    let mut at: Vec<usize> = cuts.iter().map(|cut| usize::from(*cut) % (bytes.len() + 1)).collect();
    at.push(bytes.len());
    at.sort_unstable();
    let starts = std::iter::once(0).chain(at.iter().copied());
    starts.zip(&at).map(|(start, end)| &bytes[start..*end]).collect()
}

/// Undoes codings from pieces as long as its first byte says; the second byte says which codings.
///
/// # Panics
/// When more comes out than there was room for, or memory exceeds its bound: a bug in this crate.
pub fn encoding(bytes: &[u8]) {
    const CODINGS: [&[&str]; 7] = [
        &["gzip"],
        &["deflate"],
        &["br"],
        &["zstd"],
        &["gzip", "br"],
        &["zstd", "gzip"],
        &["br", "zstd", "deflate"],
    ];
    let [piece, codings, stream @ ..] = bytes else { return };
    let codings = CODINGS[usize::from(*codings) % CODINGS.len()];
    let Ok(mut decoder) = crate::ContentDecoder::for_codings(codings) else { return };
    let mut out = Vec::new();
    for piece in stream.chunks(usize::from(*piece).max(1)) {
        let room = 1000 - out.len();
        if decoder.push(piece, room, &mut out).is_err() {
            break;
        }
        assert!(out.len() <= 1000);
        assert!(decoder.buffered_bytes() < 3 * (24 << 20), "memory is bounded");
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
