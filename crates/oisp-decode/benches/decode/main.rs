//! What decoding costs on one core, beside something well known on the same payload in the same run:
//! `serde_json` reading its JSON, and copying it. Absolute times are the machine's; the ratios and the growth
//! with the size are the decoder's. Measures, and asserts nothing on time.
//!
//! `cargo xtask bench decode [-- --quick] [-- ROW…]`; a protocol or coding is one entry of [`ROWS`].

mod clock;
mod measure;
mod payloads;
mod wire;

use oisp_decode::{
    ConnectionDecoder, Direction, EventStreamParser, GrpcSplitter, HttpEvent, HttpEventKind,
    JsonArraySplitter, JsonRpcMessage, Limits, Nanos, NdjsonSplitter, SseParser,
};

/// What one captured call holds at most.
const PIECE: usize = 16 << 10;

const SIZES: [usize; 6] = [1 << 10, 10 << 10, 100 << 10, 1 << 20, 10 << 20, 100 << 20];

/// The size that growth is told from: large enough that setting up a connection no longer counts.
const REFERENCE: usize = 1 << 20;

struct Row {
    name: &'static str,
    /// What one message is.
    unit: &'static str,
    /// About this many bytes of JSON.
    payload: fn(usize) -> Vec<u8>,
    /// The payload as it comes over the connection, or as a body where the decoder takes one.
    wire: fn(&[u8]) -> Vec<u8>,
    decode: fn(&[u8]) -> Delivered,
}

/// What came out, to see that it was all.
#[derive(Clone, Copy, Default)]
struct Delivered {
    messages: u64,
    bytes: u64,
}

impl Delivered {
    fn add(&mut self, messages: u64, bytes: usize) {
        self.messages += messages;
        self.bytes += bytes as u64;
    }

    fn add_answer(&mut self, event: &HttpEvent) {
        match &event.kind {
            HttpEventKind::ResponseBody(body) => self.add(0, body.len()),
            HttpEventKind::ResponseEnd(end) if end.completeness.is_complete() => self.add(1, 0),
            _ => {}
        }
    }
}

#[rustfmt::skip]
const ROWS: &[Row] = &[
    // HTTP/1 and codings: one answer, its body a JSON text.
    Row { name: "content-length", unit: "exchange", payload: payloads::array, wire: wire::length, decode: http },
    Row { name: "chunked", unit: "exchange", payload: payloads::array, wire: wire::chunked, decode: http },
    Row { name: "gzip", unit: "exchange", payload: payloads::array, wire: wire::gzip, decode: http },
    Row { name: "deflate", unit: "exchange", payload: payloads::array, wire: wire::deflate, decode: http },
    Row { name: "br", unit: "exchange", payload: payloads::array, wire: wire::brotli, decode: http },
    Row { name: "zstd", unit: "exchange", payload: payloads::array, wire: wire::zstd, decode: http },
    // HTTP/2: one stream in frames of 16 KiB; one in a frame for each delta; many short streams.
    Row { name: "HTTP/2 large frames", unit: "exchange", payload: payloads::array, wire: wire::http2_large, decode: http },
    Row { name: "HTTP/2 delta frames", unit: "frame", payload: payloads::lines, wire: wire::http2_deltas, decode: http_lines },
    Row { name: "HTTP/2 exchanges", unit: "exchange", payload: payloads::lines, wire: wire::http2_exchanges, decode: http2_exchanges },
    Row { name: "WebSocket", unit: "message", payload: payloads::lines, wire: wire::websocket, decode: websocket },
    Row { name: "WebSocket deflate", unit: "message", payload: payloads::lines, wire: wire::websocket_deflate, decode: websocket },
    // Bodies made of messages.
    Row { name: "chunked + SSE", unit: "event", payload: payloads::lines, wire: wire::chunked_sse, decode: http_sse },
    Row { name: "SSE", unit: "event", payload: payloads::lines, wire: wire::sse, decode: sse },
    Row { name: "NDJSON", unit: "line", payload: payloads::lines, wire: <[u8]>::to_vec, decode: ndjson },
    Row { name: "JSON-RPC lines", unit: "line", payload: payloads::json_rpc, wire: <[u8]>::to_vec, decode: json_rpc },
    Row { name: "JSON array", unit: "element", payload: payloads::array, wire: <[u8]>::to_vec, decode: json_array },
    Row { name: "AWS event stream", unit: "event", payload: payloads::lines, wire: wire::event_stream, decode: event_stream },
    Row { name: "gRPC", unit: "message", payload: payloads::lines, wire: wire::grpc, decode: grpc },
];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let quick = arguments.iter().any(|argument| argument == "--quick");
    let names: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with("--")).collect();
    let mut measured = Vec::new();
    println!("{}", measure::TITLE);
    for row in ROWS.iter().filter(|row| names.is_empty() || names.iter().any(|name| row.name.contains(*name)))
    {
        for size in SIZES.into_iter().filter(|size| !quick || *size <= REFERENCE) {
            let measurement = measure::measure(row, size);
            println!("{}", measure::line(row, &measurement));
            measured.push((row.name, measurement));
        }
    }
    measure::tell_growth(&measured);
}

/// One connection, what the client sent on it first and then the answer in pieces; events are dropped as they
/// come, as the sensor does.
fn connection(request: &[u8], answer: &[u8], mut take: impl FnMut(HttpEvent)) {
    let limits = Limits { body_bytes: u64::MAX, ..Limits::default() };
    let mut decoder = ConnectionDecoder::new(limits);
    let mut out = Vec::new();
    decoder.data(Direction::Sent, Nanos(0), request, &mut out);
    for piece in answer.chunks(PIECE) {
        decoder.data(Direction::Received, Nanos(1), piece, &mut out);
        out.drain(..).for_each(&mut take);
    }
    decoder.close(Nanos(2), &mut out);
    out.drain(..).for_each(&mut take);
}

/// Answers and their body bytes.
fn http(answer: &[u8]) -> Delivered {
    let mut delivered = Delivered::default();
    connection(wire::request_for(answer), answer, |event| delivered.add_answer(&event));
    delivered
}

/// Lines of an answer's body, each of which was a frame.
fn http_lines(answer: &[u8]) -> Delivered {
    let mut delivered = Delivered::default();
    connection(wire::request_for(answer), answer, |event| {
        if let HttpEventKind::ResponseBody(body) = event.kind {
            delivered.add(memchr::memchr_iter(b'\n', &body).count() as u64, body.len());
        }
    });
    delivered
}

/// Answers on streams of their own, and their body bytes.
fn http2_exchanges(batches: &[u8]) -> Delivered {
    let mut decoder = ConnectionDecoder::new(Limits::default());
    let (mut out, mut delivered) = (Vec::new(), Delivered::default());
    for (requests, answers) in wire::batches(batches) {
        decoder.data(Direction::Sent, Nanos(0), requests, &mut out);
        decoder.data(Direction::Received, Nanos(1), answers, &mut out);
        out.drain(..).for_each(|event| delivered.add_answer(&event));
    }
    decoder.close(Nanos(2), &mut out);
    delivered
}

fn websocket(frames: &[u8]) -> Delivered {
    let mut delivered = Delivered::default();
    connection(wire::request_for(frames), frames, |event| {
        if let HttpEventKind::WebSocketMessage(message) = event.kind {
            delivered.add(1, message.bytes.len());
        }
    });
    delivered
}

fn http_sse(answer: &[u8]) -> Delivered {
    let mut parser = SseParser::with_limit(1 << 20);
    let (mut events, mut delivered) = (Vec::new(), Delivered::default());
    connection(wire::request_for(answer), answer, |event| {
        if let HttpEventKind::ResponseBody(body) = event.kind {
            parser.push(&body, &mut events);
            events.drain(..).for_each(|event| delivered.add(1, event.data.len()));
        }
    });
    delivered
}

fn sse(body: &[u8]) -> Delivered {
    let mut parser = SseParser::with_limit(1 << 20);
    let (mut events, mut delivered) = (Vec::new(), Delivered::default());
    for piece in body.chunks(PIECE) {
        parser.push(piece, &mut events);
        events.drain(..).for_each(|event| delivered.add(1, event.data.len()));
    }
    delivered
}

fn ndjson(body: &[u8]) -> Delivered {
    let mut delivered = Delivered::default();
    lines(body, |line| delivered.add(1, line.len()));
    delivered
}

fn json_rpc(body: &[u8]) -> Delivered {
    let mut delivered = Delivered::default();
    lines(body, |line| {
        if JsonRpcMessage::parse(line) != JsonRpcMessage::Other {
            delivered.add(1, line.len());
        }
    });
    delivered
}

fn lines(body: &[u8], mut take: impl FnMut(&[u8])) {
    let mut splitter = NdjsonSplitter::new(&Limits::default());
    let mut out = Vec::new();
    for piece in body.chunks(PIECE) {
        splitter.push(piece, &mut out);
        out.drain(..).for_each(|line| take(&line.bytes));
    }
}

// An error of the following three shows as messages that are missing.

fn json_array(body: &[u8]) -> Delivered {
    let mut splitter = JsonArraySplitter::new(&Limits::default());
    let (mut out, mut delivered) = (Vec::new(), Delivered::default());
    for piece in body.chunks(PIECE) {
        let _ = splitter.push(piece, &mut out);
        out.drain(..).for_each(|element| delivered.add(1, element.bytes.len()));
    }
    delivered
}

fn event_stream(body: &[u8]) -> Delivered {
    let mut parser = EventStreamParser::new(&Limits::default());
    let (mut out, mut delivered) = (Vec::new(), Delivered::default());
    for piece in body.chunks(PIECE) {
        let _ = parser.push(piece, &mut out);
        out.drain(..).for_each(|message| delivered.add(1, message.payload.len()));
    }
    delivered
}

fn grpc(body: &[u8]) -> Delivered {
    let mut splitter = GrpcSplitter::new(&Limits::default());
    let (mut out, mut delivered) = (Vec::new(), Delivered::default());
    for piece in body.chunks(PIECE) {
        let _ = splitter.push(piece, &mut out);
        out.drain(..).for_each(|message| delivered.add(1, message.bytes.len()));
    }
    delivered
}
