//! Entries for what bodies are made of. Each takes pieces as long as the low seven bits of the first byte say;
//! with bit 7, bytes are lost behind the first piece. What comes out is compared with what comes out of the body
//! in one piece, or in two around the loss.

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

/// Bytes that are lost, where that is told.
const LOST: u64 = 3;

/// A body, and in what pieces it comes.
struct Cut<'a> {
    body: &'a [u8],
    length: usize,
    is_lossy: bool,
}

impl<'a> Cut<'a> {
    fn of(bytes: &'a [u8]) -> Option<Self> {
        let (&how, body) = bytes.split_first()?;
        Some(Self::new(how, body))
    }

    fn new(how: u8, body: &'a [u8]) -> Self {
        let length = usize::from(how & 0x7f).max(1);
        Self { body, length, is_lossy: how & 0x80 != 0 && body.len() > length }
    }

    /// `None` is a loss.
    fn pieces(&self) -> impl Iterator<Item = Option<&'a [u8]>> {
        let (before, after) = self.parts();
        let after = after.into_iter().flat_map(|after| after.chunks(self.length).map(Some));
        before.chunks(self.length).map(Some).chain(self.is_lossy.then_some(None)).chain(after)
    }

    fn whole(&self) -> impl Iterator<Item = Option<&'a [u8]>> {
        let (before, after) = self.parts();
        [Some(before)].into_iter().chain(self.is_lossy.then_some(None)).chain(after.map(Some))
    }

    fn parts(&self) -> (&'a [u8], Option<&'a [u8]>) {
        if self.is_lossy {
            let (before, after) = self.body.split_at(self.length);
            (before, Some(after))
        } else {
            (self.body, None)
        }
    }
}

/// Parses a stream of server-sent events.
///
/// # Panics
/// When a cut makes a difference, or memory or an event exceeds its bound: a bug in this crate.
pub fn sse(bytes: &[u8]) {
    fn run<'a>(pieces: impl Iterator<Item = Option<&'a [u8]>>) -> Vec<SseEvent> {
        let mut parser = SseParser::with_limit(LIMIT);
        let mut out = Vec::new();
        for piece in pieces {
            match piece {
                Some(piece) => parser.push(piece, &mut out),
                None => out.extend(parser.gap()),
            }
            assert!(parser.buffered_bytes() < 1024, "memory is bounded");
        }
        out.extend(parser.finish());
        out
    }
    let Some(cut) = Cut::of(bytes) else { return };
    let events = run(cut.pieces());
    assert!(events.iter().all(|event| event.event.len() + event.data.len() <= LIMIT));
    assert!(events == run(cut.whole()), "a cut makes no difference");
}

/// Splits lines.
///
/// # Panics
/// When a cut makes a difference, a line is not what the body has there, or a bound is exceeded: a bug in
/// this crate.
pub fn ndjson(bytes: &[u8]) {
    fn run<'a>(pieces: impl Iterator<Item = Option<&'a [u8]>>) -> Vec<NdjsonLine> {
        let mut splitter = NdjsonSplitter::new(&limits());
        let mut out = Vec::new();
        for piece in pieces {
            match piece {
                Some(piece) => splitter.push(piece, &mut out),
                None => out.extend(splitter.gap(LOST)),
            }
            assert!(splitter.buffered_bytes() < 1000, "memory is bounded");
        }
        out.extend(splitter.finish());
        out
    }
    let Some(cut) = Cut::of(bytes) else { return };
    let lines = run(cut.pieces());
    assert!(lines.iter().all(|line| line.bytes.len() <= LIMIT));
    assert!(lines == run(cut.whole()), "a cut makes no difference");
    if cut.is_lossy {
        return;
    }
    let body = cut.body;
    let expected = body.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let mut expected = expected.filter(|line| line.len() > LIMIT || !line.trim_ascii().is_empty());
    for line in &lines {
        let expected = expected.next().unwrap_or_default();
        assert_eq!(line.truncated, expected.len() > LIMIT);
        assert_eq!(line.bytes, expected[..expected.len().min(LIMIT)]);
        assert!(body[line.offset as usize..].starts_with(&line.bytes));
    }
    assert_eq!(expected.next(), None, "no line is left out");
}

/// Splits a JSON array.
///
/// # Panics
/// When a cut makes a difference, an array that `serde_json` reads has other elements, or a bound is
/// exceeded: a bug in this crate.
pub fn json_array(bytes: &[u8]) {
    type Outcome = (Vec<JsonElement>, Result<(), JsonArrayError>);
    fn run<'a>(pieces: impl Iterator<Item = Option<&'a [u8]>>, limits: &Limits) -> Outcome {
        let mut splitter = JsonArraySplitter::new(limits);
        let mut out = Vec::new();
        for piece in pieces {
            let Some(piece) = piece else {
                out.extend(splitter.gap(LOST));
                continue;
            };
            let failed = splitter.push(piece, &mut out).is_err();
            assert!(!failed || splitter.finish().is_err(), "an error lasts");
            assert!(splitter.buffered_bytes() < 1000 || limits.message_bytes > LIMIT, "memory is bounded");
        }
        (out, splitter.finish())
    }
    let Some(cut) = Cut::of(bytes) else { return };
    let (elements, result) = run(cut.pieces(), &limits());
    assert!(elements.iter().all(|element| element.bytes.len() <= LIMIT));
    assert!(elements.windows(2).all(|pair| pair[0].range.end < pair[1].range.start));
    assert!((&elements, &result) == as_pair(&run(cut.whole(), &limits())), "a cut makes no difference");

    let body = cut.body;
    let Ok(expected) = serde_json::from_slice::<Vec<Value>>(body) else { return };
    let (elements, result) = run([Some(body)].into_iter(), &Limits::default());
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
    fn run<'a>(pieces: impl Iterator<Item = Option<&'a [u8]>>) -> Outcome {
        let mut parser = EventStreamParser::new(&limits());
        let mut out = Vec::new();
        for piece in pieces {
            let Some(piece) = piece else {
                parser.gap();
                continue;
            };
            let failed = parser.push(piece, &mut out).is_err();
            assert!(!failed || parser.finish().is_err(), "an error lasts");
            assert!(parser.buffered_bytes() < 16 << 20, "memory is bounded");
        }
        (out, parser.finish())
    }
    let Some((&how, mut rest)) = bytes.split_first() else { return };
    let mut body = Vec::new();
    let mut payloads = Vec::new();
    if how % 2 == 1 {
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
    let cut = Cut::new(how, &body);
    let (messages, result) = run(cut.pieces());
    assert!(messages.iter().all(|message| message.payload.len() <= LIMIT));
    assert!((&messages, &result) == as_pair(&run(cut.whole())), "a cut makes no difference");
    if how % 2 == 0 && !cut.is_lossy {
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
    fn run<'a>(pieces: impl Iterator<Item = Option<&'a [u8]>>) -> Outcome {
        let mut splitter = GrpcSplitter::new(&limits());
        let mut out = Vec::new();
        for piece in pieces {
            let Some(piece) = piece else {
                out.extend(splitter.gap(Some(LOST)));
                continue;
            };
            let failed = splitter.push(piece, &mut out).is_err();
            assert!(!failed || splitter.finish().is_err(), "an error lasts");
            assert!(splitter.buffered_bytes() < 1000, "memory is bounded");
        }
        (out, splitter.finish())
    }
    let Some(cut) = Cut::of(bytes) else { return };
    let (messages, result) = run(cut.pieces());
    assert!(messages.iter().all(|message| message.bytes.len() <= LIMIT.min(message.length as usize)));
    assert!((&messages, &result) == as_pair(&run(cut.whole())), "a cut makes no difference");
    if result.is_ok() && !cut.is_lossy {
        assert!(messages.iter().all(|message| message.bytes.len() == LIMIT.min(message.length as usize)));
        let length: usize = messages.iter().map(|message| 5 + message.length as usize).sum();
        assert_eq!(length, cut.body.len(), "no byte is left out");
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
