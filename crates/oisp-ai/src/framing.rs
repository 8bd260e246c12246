//! What carries the events of a streamed body: server-sent events, lines, a JSON array, an AWS event stream.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use oisp_decode::{
    EventMessage, EventMessageType, EventStreamParser, JsonArraySplitter, JsonElement, NdjsonLine,
    NdjsonSplitter, SseEvent, SseParser,
};
use serde::Deserialize;

use crate::Limits;

/// Names a framing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// `text/event-stream`
    ServerSentEvents,
    /// A JSON value a line.
    Lines,
    /// One JSON array whose elements are the events (Gemini without `alt=sse`).
    Array,
    /// `application/vnd.amazon.eventstream`
    AwsEvents,
}

impl Framing {
    /// The framing that a media type names.
    pub(crate) fn of_media_type(media_type: &str) -> Option<Self> {
        Some(match media_type {
            "text/event-stream" => Self::ServerSentEvents,
            "application/x-ndjson"
            | "application/ndjson"
            | "application/x-jsonlines"
            | "application/jsonlines"
            | "application/jsonl"
            | "application/stream+json" => Self::Lines,
            "application/vnd.amazon.eventstream" => Self::AwsEvents,
            _ => return None,
        })
    }
}

/// One event of a streamed body.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Frame<'a> {
    /// The name that its framing gives it; empty where none.
    pub(crate) name: &'a str,
    /// JSON, mostly.
    pub(crate) data: Cow<'a, str>,
    /// Its framing says that the call failed: `name` is the kind of failure.
    pub(crate) is_failure: bool,
    /// Only the beginning of it is here.
    pub(crate) is_truncated: bool,
}

/// Splits one body into its events.
pub(crate) enum Framer {
    ServerSentEvents {
        parser: SseParser,
        scratch: Vec<SseEvent>,
    },
    Lines {
        splitter: NdjsonSplitter,
        scratch: Vec<NdjsonLine>,
    },
    Array {
        splitter: JsonArraySplitter,
        scratch: Vec<JsonElement>,
    },
    AwsEvents {
        parser: EventStreamParser,
        scratch: Vec<EventMessage>,
        inner: Option<Box<Framer>>,
        decode: oisp_decode::Limits,
    },
}

/// The body cannot be read any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Broken;

impl Framer {
    pub(crate) fn new(framing: Framing, limits: &Limits) -> Self {
        let decode = oisp_decode::Limits {
            message_bytes: limits.body_bytes.max(1024),
            ..oisp_decode::Limits::default()
        };
        match framing {
            Framing::ServerSentEvents => Self::server_sent_events(&decode),
            Framing::Lines => Self::lines(&decode),
            Framing::Array => Self::Array { splitter: JsonArraySplitter::new(&decode), scratch: Vec::new() },
            Framing::AwsEvents => {
                let parser = EventStreamParser::new(&decode);
                Self::AwsEvents { parser, scratch: Vec::new(), inner: None, decode }
            }
        }
    }

    fn server_sent_events(decode: &oisp_decode::Limits) -> Self {
        Self::ServerSentEvents { parser: SseParser::with_limits(decode), scratch: Vec::new() }
    }

    fn lines(decode: &oisp_decode::Limits) -> Self {
        Self::Lines { splitter: NdjsonSplitter::new(decode), scratch: Vec::new() }
    }

    /// Takes the next bytes and hands on the events that they complete, those before a break as well.
    pub(crate) fn push(&mut self, bytes: &[u8], take: &mut dyn FnMut(&Frame<'_>)) -> Result<(), Broken> {
        match self {
            Self::ServerSentEvents { parser, scratch } => {
                parser.push(bytes, scratch);
                scratch.drain(..).for_each(|event| take(&sse_frame(&event)));
                Ok(())
            }
            Self::Lines { splitter, scratch } => {
                splitter.push(bytes, scratch);
                scratch.drain(..).for_each(|line| take(&text_frame(&line.bytes, line.truncated)));
                Ok(())
            }
            Self::Array { splitter, scratch } => {
                let pushed = splitter.push(bytes, scratch);
                scratch.drain(..).for_each(|element| take(&text_frame(&element.bytes, element.truncated)));
                pushed.map_err(|_| Broken)
            }
            Self::AwsEvents { parser, scratch, inner, decode } => {
                let pushed = parser.push(bytes, scratch);
                for message in scratch.drain(..) {
                    if message.name() == Some(PAYLOAD_PART) {
                        push_inner(inner, &message.payload, decode, take)?;
                    } else {
                        take(&aws_frame(&message));
                    }
                }
                pushed.map_err(|_| Broken)
            }
        }
    }

    /// Bytes are missing here. The event that they are in is lost; reading goes on at the next that is certain.
    pub(crate) fn gap(&mut self) {
        match self {
            Self::ServerSentEvents { parser, .. } => drop(parser.gap()),
            Self::Lines { splitter, .. } => drop(splitter.gap(0)),
            Self::Array { splitter, .. } => drop(splitter.gap(0)),
            Self::AwsEvents { parser, inner, .. } => {
                parser.gap();
                if let Some(inner) = inner {
                    inner.gap();
                }
            }
        }
    }

    /// The body is over: hands on an event whose end is not marked, which may be whole or cut off.
    pub(crate) fn finish(&mut self, take: &mut dyn FnMut(&Frame<'_>)) -> Result<(), Broken> {
        match self {
            Self::ServerSentEvents { parser, .. } => {
                parser.finish().iter().for_each(|event| take(&sse_frame(event)));
                Ok(())
            }
            Self::Lines { splitter, .. } => {
                splitter.finish().iter().for_each(|line| take(&text_frame(&line.bytes, line.truncated)));
                Ok(())
            }
            Self::Array { splitter, .. } => splitter.finish().map_err(|_| Broken),
            Self::AwsEvents { parser, inner, .. } => {
                let inner = inner.as_mut().map_or(Ok(()), |inner| inner.finish(take));
                parser.finish().map_err(|_| Broken).and(inner)
            }
        }
    }
}

/// SageMaker's messages: pieces of a body that the model's server frames as it likes, cut anywhere.
const PAYLOAD_PART: &str = "PayloadPart";

/// Hands a piece on to the framing that the first piece tells.
fn push_inner(
    inner: &mut Option<Box<Framer>>,
    payload: &[u8],
    decode: &oisp_decode::Limits,
    take: &mut dyn FnMut(&Frame<'_>),
) -> Result<(), Broken> {
    let Some(first) = payload.iter().find(|byte| !byte.is_ascii_whitespace()) else {
        return inner.as_mut().map_or(Ok(()), |inner| inner.push(payload, take));
    };
    let inner = inner.get_or_insert_with(|| {
        Box::new(match first {
            b'{' => Framer::lines(decode),
            _ => Framer::server_sent_events(decode),
        })
    });
    inner.push(payload, take)
}

fn sse_frame(event: &SseEvent) -> Frame<'_> {
    Frame {
        name: &event.event,
        data: Cow::Borrowed(event.data.trim_end()),
        is_failure: false,
        is_truncated: event.truncated,
    }
}

fn text_frame(bytes: &[u8], is_truncated: bool) -> Frame<'_> {
    Frame { name: "", data: String::from_utf8_lossy(bytes), is_failure: false, is_truncated }
}

/// Bedrock wraps what the model's maker sends: `{"bytes": "base64", "p": "padding"}`.
#[derive(Deserialize)]
struct Wrapped<'a> {
    #[serde(borrow)]
    bytes: Cow<'a, str>,
}

fn aws_frame(message: &EventMessage) -> Frame<'_> {
    let is_failure = matches!(message.message_type(), EventMessageType::Exception | EventMessageType::Error);
    let name = message.name().unwrap_or_default();
    let payload = String::from_utf8_lossy(&message.payload);
    let data = if name == "chunk" {
        serde_json::from_str::<Wrapped<'_>>(&payload)
            .ok()
            .and_then(|wrapped| STANDARD.decode(wrapped.bytes.as_bytes()).ok())
            .map(|inner| String::from_utf8_lossy(&inner).into_owned())
            // Agents send text, makers of models objects.
            .map(|inner| match inner.starts_with('{') {
                true => inner,
                false => serde_json::json!({ "text": inner }).to_string(),
            })
    } else {
        None
    };
    let data = match data {
        Some(inner) => Cow::Owned(inner),
        None if payload.is_empty() && is_failure => {
            // An error without a payload has its text in a header.
            Cow::Owned(serde_json::json!({ "message": message.text(":error-message") }).to_string())
        }
        None => payload,
    };
    Frame { name, data, is_failure, is_truncated: message.truncated }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(framing: Framing, pieces: &[&[u8]]) -> Vec<(String, String)> {
        let mut framer = Framer::new(framing, &Limits::default());
        let mut out = Vec::new();
        let mut take = |frame: &Frame<'_>| out.push((frame.name.to_owned(), frame.data.clone().into_owned()));
        for piece in pieces {
            framer.push(piece, &mut take).expect("a body as it should be");
        }
        framer.finish(&mut take).expect("a whole body");
        out
    }

    #[test]
    fn every_framing_gives_the_same_events_wherever_the_body_is_cut() {
        for (framing, body, expected) in [
            (
                Framing::ServerSentEvents,
                "event: a\r\ndata: {\"x\":1}\r\n\r\n: keep-alive\n\ndata: [DONE]\n\n",
                vec![("a", "{\"x\":1}"), ("", "[DONE]")],
            ),
            (
                Framing::Lines,
                "{\"x\":1}\n\n{\"x\":\"\u{e9}\"}",
                vec![("", "{\"x\":1}"), ("", "{\"x\":\"\u{e9}\"}")],
            ),
            (
                Framing::Array,
                "[{\"x\":[1,2]}\n,\r\n{\"x\":\"]\"}\n]\n",
                vec![("", "{\"x\":[1,2]}"), ("", "{\"x\":\"]\"}")],
            ),
        ] {
            let expected: Vec<_> =
                expected.into_iter().map(|(name, data)| (name.to_owned(), data.to_owned())).collect();
            for cut in 0..=body.len() {
                let (first, second) = body.as_bytes().split_at(cut);
                assert_eq!(read(framing, &[first, second]), expected, "{framing:?} cut at {cut}");
            }
        }
    }

    #[test]
    fn after_a_gap_the_next_certain_event_is_read_and_the_damaged_one_is_not() {
        let mut framer = Framer::new(Framing::ServerSentEvents, &Limits::default());
        let mut out = Vec::new();
        let mut take = |frame: &Frame<'_>| out.push(frame.data.clone().into_owned());
        framer.push(b"data: 1\n\ndata: {\"lo", &mut take).expect("no error");
        framer.gap();
        framer.push(b"st\"}\n\ndata: 2\n\n", &mut take).expect("no error");
        assert_eq!(out, ["1", "2"]);
    }
}
