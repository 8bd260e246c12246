//! Payloads as they come over a connection.

use std::io::Write as _;

/// A client that asks for one stream.
const HTTP2_REQUEST: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\
    \0\0\0\x04\0\0\0\0\0\
    \0\0\x03\x01\x05\0\0\0\x01\x83\x84\x87";

/// What the client sent for an answer that begins like this.
pub(crate) fn request_for(answer: &[u8]) -> &'static [u8] {
    if answer.starts_with(b"HTTP/1.1 101") {
        b"GET /v1/realtime HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    } else if answer.starts_with(b"HTTP/1.1") {
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}"
    } else {
        HTTP2_REQUEST
    }
}

pub(crate) fn length(payload: &[u8]) -> Vec<u8> {
    answer("Content-Type: application/json\r\n", payload)
}

fn answer(fields: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// Chunks of 1000 bytes, of the order that servers send.
pub(crate) fn chunked(payload: &[u8]) -> Vec<u8> {
    let mut wire = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    for chunk in payload.chunks(1000) {
        // Writing to memory does not fail, here and below.
        let _ = write!(wire, "{:x}\r\n", chunk.len());
        wire.extend(chunk);
        wire.extend(b"\r\n");
    }
    wire.extend(b"0\r\n\r\n");
    wire
}

pub(crate) fn gzip(payload: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    let _ = encoder.write_all(payload);
    answer("Content-Encoding: gzip\r\n", &encoder.finish().unwrap_or_default())
}

pub(crate) fn deflate(payload: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    let _ = encoder.write_all(payload);
    answer("Content-Encoding: deflate\r\n", &encoder.finish().unwrap_or_default())
}

/// At the quality that servers use for what they do not keep.
pub(crate) fn brotli(payload: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    let _ = brotli::CompressorWriter::new(&mut body, 64 << 10, 4, 22).write_all(payload);
    answer("Content-Encoding: br\r\n", &body)
}

pub(crate) fn zstd(payload: &[u8]) -> Vec<u8> {
    let mut body = vec![0; zstd_safe::compress_bound(payload.len())];
    // What did not get compressed shows as an answer without a body.
    let length = zstd_safe::compress(&mut body[..], payload, 3).unwrap_or_default();
    body.truncate(length);
    answer("Content-Encoding: zstd\r\n", &body)
}

/// One stream in the largest frames that need no SETTINGS.
pub(crate) fn http2_large(payload: &[u8]) -> Vec<u8> {
    let mut wire = http2_head();
    for piece in payload.chunks(16 << 10) {
        frame(&mut wire, DATA, 0, 1, piece);
    }
    frame(&mut wire, DATA, END_STREAM, 1, &[]);
    wire
}

/// One stream with a frame for each line.
pub(crate) fn http2_deltas(payload: &[u8]) -> Vec<u8> {
    let mut wire = http2_head();
    for line in payload.split_inclusive(|byte| *byte == b'\n') {
        frame(&mut wire, DATA, 0, 1, line);
    }
    frame(&mut wire, DATA, END_STREAM, 1, &[]);
    wire
}

fn http2_head() -> Vec<u8> {
    let mut wire = Vec::new();
    frame(&mut wire, SETTINGS, 0, 0, &[]);
    // `:status: 200`, entry 8 of the static table.
    frame(&mut wire, HEADERS, END_HEADERS, 1, b"\x88");
    wire
}

/// A stream for each line: what the client and what the server writes, in batches of 32 streams. The fields
/// that stay the same come from the dynamic table, the others are literal, without Huffman coding.
pub(crate) fn http2_exchanges(payload: &[u8]) -> Vec<u8> {
    let mut wire = Vec::new();
    let mut stream = 1;
    let lines: Vec<&[u8]> = lines(payload).collect();
    for batch in lines.chunks(32) {
        let (mut requests, mut answers) = (Vec::new(), Vec::new());
        if stream == 1 {
            requests.extend(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
            frame(&mut requests, SETTINGS, 0, 0, &[]);
            frame(&mut answers, SETTINGS, 0, 0, &[]);
        }
        for line in batch {
            // `:method: POST`, `:scheme: https`; then `:authority` and `:path`, to be entries 63 and 62.
            let mut block = b"\x83\x87".to_vec();
            match stream {
                1 => block.extend(b"\x41\x0bexample.org\x44\x0c/v1/messages"),
                _ => block.extend(b"\xbf\xbe"),
            }
            literal(&mut block, "x-request-id", &format!("req_{stream:020}"));
            frame(&mut requests, HEADERS, END_HEADERS | END_STREAM, stream, &block);

            // `:status: 200`; then `content-type`, to be entry 62.
            let mut block = b"\x88".to_vec();
            match stream {
                1 => block.extend(b"\x5f\x10application/json"),
                _ => block.extend(b"\xbe"),
            }
            literal(&mut block, "x-request-id", &format!("req_{stream:020}"));
            frame(&mut answers, HEADERS, END_HEADERS, stream, &block);
            frame(&mut answers, DATA, END_STREAM, stream, line);
            stream += 2;
        }
        for part in [requests, answers] {
            wire.extend((part.len() as u32).to_be_bytes());
            wire.extend(part);
        }
    }
    wire
}

/// The batches of [`http2_exchanges`].
pub(crate) fn batches(mut wire: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let mut part = move || {
        let (length, rest) = wire.split_first_chunk()?;
        let (part, rest) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
        wire = rest;
        Some(part)
    };
    std::iter::from_fn(move || Some((part()?, part()?)))
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

fn frame(wire: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    wire.extend(&(payload.len() as u32).to_be_bytes()[1..]);
    wire.extend([kind, flags]);
    wire.extend(stream.to_be_bytes());
    wire.extend(payload);
}

/// A field that does not go to the dynamic table; name and value shorter than 127 bytes.
fn literal(block: &mut Vec<u8>, name: &str, value: &str) {
    block.push(0);
    for text in [name, value] {
        block.push(text.len() as u8);
        block.extend(text.as_bytes());
    }
}

/// A message for each line.
pub(crate) fn websocket(payload: &[u8]) -> Vec<u8> {
    let mut wire = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n".to_vec();
    lines(payload).for_each(|line| websocket_frame(&mut wire, 0x81, line));
    wire
}

/// A compressed message for each line, each referring to those before it (RFC 7692 section 7.2.1).
pub(crate) fn websocket_deflate(payload: &[u8]) -> Vec<u8> {
    let mut wire = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
        .to_vec();
    let mut compress = flate2::Compress::new(flate2::Compression::default(), false);
    let mut message = Vec::new();
    for line in lines(payload) {
        message.clear();
        message.reserve(line.len() + 64);
        let _ = compress.compress_vec(line, &mut message, flate2::FlushCompress::Sync);
        // The end of a flush is left out.
        message.truncate(message.len().saturating_sub(4));
        websocket_frame(&mut wire, 0xc1, &message);
    }
    wire
}

fn websocket_frame(wire: &mut Vec<u8>, first: u8, payload: &[u8]) {
    wire.push(first);
    match payload.len() {
        length @ 0..126 => wire.push(length as u8),
        length => {
            wire.push(126);
            wire.extend((length as u16).to_be_bytes());
        }
    }
    wire.extend(payload);
}

/// An event for each line.
pub(crate) fn sse(payload: &[u8]) -> Vec<u8> {
    let mut wire = Vec::new();
    for line in lines(payload) {
        wire.extend(b"event: content_block_delta\ndata: ");
        wire.extend(line);
        wire.extend(b"\n\n");
    }
    wire
}

pub(crate) fn chunked_sse(payload: &[u8]) -> Vec<u8> {
    chunked(&sse(payload))
}

/// A message for each line, with the headers that Amazon Bedrock sends.
pub(crate) fn event_stream(payload: &[u8]) -> Vec<u8> {
    let mut headers = Vec::new();
    for (name, value) in
        [(":event-type", "chunk"), (":content-type", "application/json"), (":message-type", "event")]
    {
        headers.push(name.len() as u8);
        headers.extend(name.as_bytes());
        headers.push(7);
        headers.extend((value.len() as u16).to_be_bytes());
        headers.extend(value.as_bytes());
    }
    let mut wire = Vec::new();
    for line in lines(payload) {
        let start = wire.len();
        wire.extend((16 + headers.len() as u32 + line.len() as u32).to_be_bytes());
        wire.extend((headers.len() as u32).to_be_bytes());
        wire.extend(crc32fast::hash(&wire[start..]).to_be_bytes());
        wire.extend(&headers);
        wire.extend(line);
        wire.extend(crc32fast::hash(&wire[start..]).to_be_bytes());
    }
    wire
}

/// A message for each line.
pub(crate) fn grpc(payload: &[u8]) -> Vec<u8> {
    let mut wire = Vec::new();
    for line in lines(payload) {
        wire.push(0);
        wire.extend((line.len() as u32).to_be_bytes());
        wire.extend(line);
    }
    wire
}

fn lines(payload: &[u8]) -> impl Iterator<Item = &[u8]> {
    payload.split(|byte| *byte == b'\n').filter(|line| !line.is_empty())
}
