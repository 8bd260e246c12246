//! Entries for fuzzing: any bytes in, invariants asserted. Compiled always, so that tests use the
//! same entries as the fuzz targets.

mod bodies;

use crate::{
    ConnectionDecoder, Direction, ExchangeId, HttpEvent, HttpEventKind, Limits, Nanos, Segment,
    StreamAssembler, UpgradeProtocol,
};
use std::collections::HashMap;

pub use bodies::{event_stream, grpc, json_array, json_rpc, ndjson, sse};

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
        early_response_bytes: 200,
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

/// Reads `script` as [`connection`] does, on an HTTP/2 connection.
///
/// # Panics
/// When an invariant of [`HttpEventKind`] is broken: a bug in this crate.
pub fn http2(script: &[u8]) {
    let mut out = Vec::new();
    operate(begun_http2(&mut out), script, &mut out);
    check(&out);
}

/// Reads `script` as header blocks, each after one byte: bit 7 the direction, bit 6 whether it ends its
/// stream, the low six bits the block's length; the blocks of a direction are on streams that count up.
///
/// # Panics
/// When an invariant of [`HttpEventKind`] is broken: a bug in this crate.
pub fn header_blocks(mut script: &[u8]) {
    let mut out = Vec::new();
    let mut decoder = begun_http2(&mut out);
    let mut streams = [1_u32; 2];
    while let Some((&operation, rest)) = script.split_first() {
        let (block, rest) = rest.split_at(usize::from(operation & 0x3f).min(rest.len()));
        script = rest;
        let side = usize::from(operation >> 7);
        let end_headers_and_stream = 0x04 | (operation >> 6 & 1);
        let mut frame = vec![0, 0, block.len() as u8, 0x01, end_headers_and_stream];
        frame.extend(streams[side].to_be_bytes());
        frame.extend_from_slice(block);
        streams[side] += 2;
        let direction = [Direction::Sent, Direction::Received][side];
        decoder.data(direction, Nanos(1), &frame, &mut out);
        assert!(decoder.buffered_bytes() < 600_000, "memory is bounded");
    }
    decoder.close(Nanos(2), &mut out);
    check(&out);
}

fn begun_http2(out: &mut Vec<HttpEvent>) -> ConnectionDecoder {
    let mut decoder = ConnectionDecoder::new(fuzz_limits());
    let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    let preface = [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &settings].concat();
    decoder.data(Direction::Sent, Nanos(0), &preface, out);
    decoder.data(Direction::Received, Nanos(0), &settings, out);
    decoder
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
            let of_connection =
                matches!(event.kind, HttpEventKind::Problem(_) | HttpEventKind::JsonRpcLine(_));
            assert!(of_connection, "only problems and lines belong to no exchange");
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
            HttpEventKind::JsonRpcLine(_) => unreachable!("a line belongs to no exchange"),
            HttpEventKind::Problem(_) => {}
        }
    }
    for (exchange, seen) in exchanges {
        assert!(seen.response_end, "{exchange:?} has no response end");
        assert_eq!(seen.request_head, seen.request_end, "{exchange:?}");
    }
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
