//! Entries for what bodies are made of. Each takes pieces as long as the first byte says, and compares with
//! what comes out of the body in one piece.

use serde_json::Value;

use crate::{
    EventMessage, EventStreamError, EventStreamParser, GrpcError, GrpcMessage, GrpcSplitter, JsonArrayError,
    JsonArraySplitter, JsonElement, JsonRpcMessage, Limits, NdjsonLine, NdjsonSplitter, SseEvent, SseParser,
};

/// Bytes kept of one message.
const LIMIT: usize = 64;

fn limits() -> Limits {
    Limits { message_bytes: LIMIT, json_depth: 8, ..Limits::default() }
}

/// The body, and in what pieces it comes.
fn pieces(bytes: &[u8]) -> Option<(&[u8], impl Iterator<Item = &[u8]>)> {
    let (&length, body) = bytes.split_first()?;
    Some((body, body.chunks(usize::from(length).max(1))))
}

/// Parses a stream of server-sent events.
///
/// # Panics
/// When a cut makes a difference, or memory or an event exceeds its bound: a bug in this crate.
pub fn sse(bytes: &[u8]) {
    fn run<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Vec<SseEvent> {
        let mut parser = SseParser::with_limit(LIMIT);
        let mut out = Vec::new();
        for piece in pieces {
            parser.push(piece, &mut out);
            assert!(parser.buffered_bytes() < 1024, "memory is bounded");
        }
        out.extend(parser.finish());
        out
    }
    let Some((body, pieces)) = pieces(bytes) else { return };
    let events = run(pieces);
    assert!(events.iter().all(|event| event.event.len() + event.data.len() <= LIMIT));
    assert!(events == run([body].into_iter()), "a cut makes no difference");
}

/// Splits lines.
///
/// # Panics
/// When a cut makes a difference, a line is not what the body has there, or a bound is exceeded: a bug in
/// this crate.
pub fn ndjson(bytes: &[u8]) {
    fn run<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Vec<NdjsonLine> {
        let mut splitter = NdjsonSplitter::new(&limits());
        let mut out = Vec::new();
        for piece in pieces {
            splitter.push(piece, &mut out);
            assert!(splitter.buffered_bytes() < 1000, "memory is bounded");
        }
        out.extend(splitter.finish());
        out
    }
    let Some((body, pieces)) = pieces(bytes) else { return };
    let lines = run(pieces);
    let expected = body.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let mut expected = expected.filter(|line| line.len() > LIMIT || !line.trim_ascii().is_empty());
    for line in &lines {
        let expected = expected.next().unwrap_or_default();
        assert_eq!(line.truncated, expected.len() > LIMIT);
        assert_eq!(line.bytes, expected[..expected.len().min(LIMIT)]);
        assert!(body[line.offset as usize..].starts_with(&line.bytes));
    }
    assert_eq!(expected.next(), None, "no line is left out");
    assert!(lines == run([body].into_iter()), "a cut makes no difference");
}

/// Splits a JSON array.
///
/// # Panics
/// When a cut makes a difference, an array that `serde_json` reads has other elements, or a bound is
/// exceeded: a bug in this crate.
pub fn json_array(bytes: &[u8]) {
    type Outcome = (Vec<JsonElement>, Result<(), JsonArrayError>);
    fn run<'a>(pieces: impl Iterator<Item = &'a [u8]>, limits: &Limits) -> Outcome {
        let mut splitter = JsonArraySplitter::new(limits);
        let mut out = Vec::new();
        for piece in pieces {
            let failed = splitter.push(piece, &mut out).is_err();
            assert!(!failed || splitter.finish().is_err(), "an error lasts");
            assert!(splitter.buffered_bytes() < 1000 || limits.message_bytes > LIMIT, "memory is bounded");
        }
        (out, splitter.finish())
    }
    let Some((body, pieces)) = pieces(bytes) else { return };
    let (elements, result) = run(pieces, &limits());
    assert!(elements.iter().all(|element| element.bytes.len() <= LIMIT));
    assert!(elements.windows(2).all(|pair| pair[0].range.end < pair[1].range.start));
    assert!(
        (&elements, &result) == as_pair(&run([body].into_iter(), &limits())),
        "a cut makes no difference"
    );

    let Ok(expected) = serde_json::from_slice::<Vec<Value>>(body) else { return };
    let (elements, result) = run([body].into_iter(), &Limits::default());
    assert_eq!(result, Ok(()), "a valid array is read");
    assert_eq!(elements.len(), expected.len());
    for (element, expected) in elements.iter().zip(expected) {
        assert!(serde_json::from_slice::<Value>(&element.bytes).is_ok_and(|value| value == expected));
        assert_eq!(element.bytes, body[element.range.start as usize..element.range.end as usize]);
    }
}

fn as_pair<A, B>((a, b): &(A, B)) -> (&A, &B) {
    (a, b)
}

/// Parses an AWS event stream. No mutation meets a checksum, so the even ones of the first byte make one
/// message after the other from the bytes, with right checksums: two bytes of lengths, headers, payload.
///
/// # Panics
/// When a cut makes a difference, a message whose frame is right is not read, or a bound is exceeded: a bug
/// in this crate.
pub fn event_stream(bytes: &[u8]) {
    type Outcome = (Vec<EventMessage>, Result<(), EventStreamError>);
    fn run<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Outcome {
        let mut parser = EventStreamParser::new(&limits());
        let mut out = Vec::new();
        for piece in pieces {
            let failed = parser.push(piece, &mut out).is_err();
            assert!(!failed || parser.finish().is_err(), "an error lasts");
            assert!(parser.buffered_bytes() < 16 << 20, "memory is bounded");
        }
        (out, parser.finish())
    }
    let Some((&length, mut rest)) = bytes.split_first() else { return };
    let mut body = Vec::new();
    let mut payloads = Vec::new();
    if length % 2 == 1 {
        body.extend_from_slice(rest);
    } else {
        while let [headers, payload, after @ ..] = rest {
            let (headers, after) = after.split_at(usize::from(*headers).min(after.len()));
            let (payload, after) = after.split_at(usize::from(*payload).min(after.len()));
            rest = after;
            payloads.push(payload);
            let start = body.len();
            body.extend((16 + (headers.len() + payload.len()) as u32).to_be_bytes());
            body.extend((headers.len() as u32).to_be_bytes());
            body.extend(crc32fast::hash(&body[start..]).to_be_bytes());
            body.extend_from_slice(headers);
            body.extend_from_slice(payload);
            body.extend(crc32fast::hash(&body[start..]).to_be_bytes());
        }
    }
    let (messages, result) = run(body.chunks(usize::from(length).max(1)));
    assert!(messages.iter().all(|message| message.payload.len() <= LIMIT));
    assert!((&messages, &result) == as_pair(&run([&body[..]].into_iter())), "a cut makes no difference");
    if length % 2 == 0 {
        assert!(matches!(result, Ok(()) | Err(EventStreamError::Headers)), "frames and checksums are right");
        assert!(result.is_err() || messages.len() == payloads.len(), "no message is left out");
        for (message, payload) in messages.iter().zip(payloads) {
            assert_eq!(message.payload, payload[..payload.len().min(LIMIT)]);
            assert_eq!(message.truncated, payload.len() > LIMIT);
        }
    }
}

/// Splits gRPC messages.
///
/// # Panics
/// When a cut makes a difference, or a bound is exceeded: a bug in this crate.
pub fn grpc(bytes: &[u8]) {
    type Outcome = (Vec<GrpcMessage>, Result<(), GrpcError>);
    fn run<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Outcome {
        let mut splitter = GrpcSplitter::new(&limits());
        let mut out = Vec::new();
        for piece in pieces {
            let failed = splitter.push(piece, &mut out).is_err();
            assert!(!failed || splitter.finish().is_err(), "an error lasts");
            assert!(splitter.buffered_bytes() < 1000, "memory is bounded");
        }
        (out, splitter.finish())
    }
    let Some((body, pieces)) = pieces(bytes) else { return };
    let (messages, result) = run(pieces);
    assert!(messages.iter().all(|message| message.bytes.len() == LIMIT.min(message.length as usize)));
    assert!((&messages, &result) == as_pair(&run([body].into_iter())), "a cut makes no difference");
    if result.is_ok() {
        let length: usize = messages.iter().map(|message| 5 + message.length as usize).sum();
        assert_eq!(length, body.len(), "no byte is left out");
    }
}

/// Reads a JSON-RPC message.
///
/// # Panics
/// When something that `serde_json` does not read, or that says nothing of the protocol, is taken for a
/// message: a bug in this crate.
pub fn json_rpc(json: &[u8]) {
    fn says_version(value: &Value) -> bool {
        value.get("jsonrpc").is_some_and(|version| version == "2.0")
    }
    let message = JsonRpcMessage::parse(json);
    let Ok(value) = serde_json::from_slice::<Value>(json) else {
        return;
    };
    match message {
        JsonRpcMessage::Other => {}
        JsonRpcMessage::Batch(messages) => {
            let values = value.as_array().map(Vec::as_slice).unwrap_or_default();
            assert_eq!(messages.len(), values.len());
            for (message, value) in messages.iter().zip(values) {
                assert!(*message == JsonRpcMessage::Other || says_version(value));
            }
        }
        JsonRpcMessage::Request { .. }
        | JsonRpcMessage::Notification { .. }
        | JsonRpcMessage::Response { .. } => assert!(says_version(&value)),
    }
}
