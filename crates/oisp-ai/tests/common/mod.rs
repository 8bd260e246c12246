//! Exchanges as HTTP events, and the checks that every event must pass.

#![allow(dead_code, clippy::allow_attributes, reason = "each test file uses a part of this module")]
#![expect(clippy::unwrap_used, reason = "a failing helper fails its test")]

use std::sync::OnceLock;

use bytes::Bytes;
use oisp_ai::{AiAnswer, AiCall, AiEvent, ConnectionInterpreter, Findings, Limits};
use oisp_decode::{
    BodyEnd, Completeness, Defect, ExchangeId, Header, Headers, HttpEvent, HttpEventKind, HttpVersion, Nanos,
    RequestHead, ResponseHead,
};
use oisp_event::validate::SpecValidator;
use oisp_event::{Confidence, Event, EventIdGenerator, Extension, OISP_VERSION, Payload, Source, Timestamp};
use serde_json::{Map, Value};

/// One piece of a body.
#[derive(Clone, Debug)]
pub(crate) enum Piece {
    Bytes(Vec<u8>),
    Gap(u64),
}

impl From<&str> for Piece {
    fn from(text: &str) -> Self {
        Self::Bytes(text.as_bytes().to_vec())
    }
}

/// An exchange to be interpreted. Each event comes one millisecond after the one before it.
#[derive(Clone, Debug)]
pub(crate) struct Exchange {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) request_headers: Vec<(String, String)>,
    pub(crate) request: Vec<Piece>,
    pub(crate) request_defect: Option<Defect>,
    pub(crate) status: u16,
    pub(crate) response_headers: Vec<(String, String)>,
    pub(crate) response: Vec<Piece>,
    pub(crate) response_defect: Option<Defect>,
}

impl Exchange {
    /// A POST with a JSON body, answered by nothing yet.
    pub(crate) fn post(host: &str, path: &str, body: &Value) -> Self {
        Self {
            method: "POST".to_owned(),
            target: path.to_owned(),
            request_headers: owned(&[("host", host), ("content-type", "application/json")]),
            request: vec![body.to_string().as_str().into()],
            request_defect: None,
            status: 200,
            response_headers: Vec::new(),
            response: Vec::new(),
            response_defect: None,
        }
    }

    pub(crate) fn request_header(mut self, name: &str, value: &str) -> Self {
        self.request_headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn response_header(mut self, name: &str, value: &str) -> Self {
        self.response_headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    pub(crate) fn json(mut self, body: &Value) -> Self {
        self.response_headers.push(("content-type".to_owned(), "application/json".to_owned()));
        self.response = vec![body.to_string().as_str().into()];
        self
    }

    /// A stream of events, each `data: JSON`.
    pub(crate) fn sse(self, events: &[Value]) -> Self {
        let pieces = events.iter().map(|event| Piece::from(data(event).as_str())).collect();
        self.sse_pieces(pieces)
    }

    pub(crate) fn sse_pieces(mut self, pieces: Vec<Piece>) -> Self {
        self.response_headers.push(("content-type".to_owned(), "text/event-stream".to_owned()));
        self.response = pieces;
        self
    }

    /// An AWS event stream of these frames.
    pub(crate) fn aws_events(mut self, frames: &[AwsFrame<'_>]) -> Self {
        let media_type = "application/vnd.amazon.eventstream";
        self.response_headers.push(("content-type".to_owned(), media_type.to_owned()));
        self.response = frames.iter().map(|frame| Piece::Bytes(frame.encoded())).collect();
        self
    }

    pub(crate) fn events(&self, id: u64) -> Vec<HttpEvent> {
        let mut events = Vec::new();
        let mut time = 0;
        let mut add = |kind: HttpEventKind| {
            time += 1_000_000;
            events.push(HttpEvent { exchange: ExchangeId(id), time: Nanos(time), kind });
        };
        add(HttpEventKind::RequestHead(RequestHead {
            method: self.method.clone(),
            target: self.target.clone(),
            version: HttpVersion::Http11,
            headers: headers(&self.request_headers),
            first_byte: Nanos(500_000),
        }));
        for piece in &self.request {
            add(match piece {
                Piece::Bytes(bytes) => HttpEventKind::RequestBody(Bytes::from(bytes.clone())),
                Piece::Gap(lost) => HttpEventKind::RequestBodyGap { lost: *lost },
            });
        }
        add(HttpEventKind::RequestEnd(end(&self.request, self.request_defect.as_ref())));
        if self.status > 0 {
            add(HttpEventKind::ResponseHead(ResponseHead {
                status: self.status,
                reason: String::new(),
                version: HttpVersion::Http11,
                headers: headers(&self.response_headers),
                first_byte: Nanos(10_000_000),
            }));
            for piece in &self.response {
                add(match piece {
                    Piece::Bytes(bytes) => HttpEventKind::ResponseBody(Bytes::from(bytes.clone())),
                    Piece::Gap(lost) => HttpEventKind::ResponseBodyGap { lost: *lost },
                });
            }
        }
        add(HttpEventKind::ResponseEnd(end(&self.response, self.response_defect.as_ref())));
        events
    }

    /// Interprets it on a connection of its own; every event is checked.
    pub(crate) fn interpret(&self) -> (Option<AiCall>, Option<AiAnswer>) {
        let mut interpreter = ConnectionInterpreter::new(Limits::default());
        let mut out = Vec::new();
        for event in self.events(1) {
            interpreter.event(&event, &mut out);
        }
        assert_eq!(interpreter.buffered_bytes(), 0);
        interpreter.close(Nanos(u64::MAX), &mut out);
        halves(out)
    }

    pub(crate) fn answer(&self) -> AiAnswer {
        self.interpret().1.unwrap()
    }

    pub(crate) fn call(&self) -> AiCall {
        self.interpret().0.unwrap()
    }
}

/// The one request and the one response of some events; each is checked.
pub(crate) fn halves(events: Vec<AiEvent>) -> (Option<AiCall>, Option<AiAnswer>) {
    let (mut call, mut answer) = (None, None);
    for event in events {
        assert_valid(&event);
        match event {
            AiEvent::Request(request) => assert!(call.replace(*request).is_none(), "two requests"),
            AiEvent::Response(response) => assert!(answer.replace(*response).is_none(), "two responses"),
            AiEvent::Chunk(chunk) => panic!("not asked for: {chunk:?}"),
            AiEvent::Mcp(message) => panic!("no call to a model: {message:?}"),
        }
    }
    (call, answer)
}

/// A frame of an AWS event stream.
pub(crate) enum AwsFrame<'a> {
    /// An event under this name.
    Event(&'a str, Value),
    /// A maker's own event, as invocations carry it.
    Chunk(Value),
    /// A failure of this kind.
    Exception(&'a str, Value),
    /// A piece of a body that the model's server frames itself.
    PayloadPart(&'a [u8]),
}

impl AwsFrame<'_> {
    pub(crate) fn encoded(&self) -> Vec<u8> {
        use base64::Engine as _;
        let base64 = |value: &Value| base64::engine::general_purpose::STANDARD.encode(value.to_string());
        let (kind, key, name, payload) = match self {
            Self::Event(name, value) => ("event", ":event-type", *name, value.to_string().into_bytes()),
            Self::Chunk(value) => {
                let wrapped = serde_json::json!({ "bytes": base64(value), "p": "abc" });
                ("event", ":event-type", "chunk", wrapped.to_string().into_bytes())
            }
            Self::Exception(name, value) => {
                ("exception", ":exception-type", *name, value.to_string().into_bytes())
            }
            Self::PayloadPart(bytes) => ("event", ":event-type", "PayloadPart", bytes.to_vec()),
        };
        let mut headers = Vec::new();
        for (name, value) in [(":message-type", kind), (key, name), (":content-type", "application/json")] {
            headers.push(u8::try_from(name.len()).unwrap());
            headers.extend_from_slice(name.as_bytes());
            headers.push(7);
            headers.extend_from_slice(&u16::try_from(value.len()).unwrap().to_be_bytes());
            headers.extend_from_slice(value.as_bytes());
        }
        let length = |bytes: usize| u32::try_from(bytes).unwrap().to_be_bytes();
        let mut frame = length(16 + headers.len() + payload.len()).to_vec();
        frame.extend_from_slice(&length(headers.len()));
        frame.extend_from_slice(&crc32fast::hash(&frame).to_be_bytes());
        frame.extend_from_slice(&headers);
        frame.extend_from_slice(&payload);
        frame.extend_from_slice(&crc32fast::hash(&frame).to_be_bytes());
        frame
    }
}

pub(crate) fn data(event: &Value) -> String {
    format!("data: {event}\n\n")
}

pub(crate) fn owned(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn headers(pairs: &[(String, String)]) -> Headers {
    pairs.iter().map(|(name, value)| Header::new(name.clone(), value.clone().into_bytes())).collect()
}

fn end(pieces: &[Piece], defect: Option<&Defect>) -> BodyEnd {
    let mut completeness = Completeness::default();
    for piece in pieces {
        if let Piece::Gap(lost) = piece {
            completeness.add(Defect::Gap { lost_bytes: *lost, at: 0 });
        }
    }
    if let Some(defect) = defect {
        completeness.add(defect.clone());
    }
    BodyEnd { completeness, ..BodyEnd::default() }
}

/// Interprets events with chunks and without: everything else must be the same, and the chunks must add up to the answers.
/// Gives the number of chunks, and of answers whose end said something else than their stream.
pub(crate) fn chunks_add_up(events: &[HttpEvent]) -> (usize, usize) {
    let run = |streaming_chunks| {
        let limits = Limits { streaming_chunks, ..Limits::default() };
        let mut interpreter = ConnectionInterpreter::new(limits);
        let mut out = Vec::new();
        events.iter().for_each(|event| interpreter.event(event, &mut out));
        out.iter().for_each(assert_valid);
        out
    };
    let mut others = Vec::new();
    let (mut chunks, mut superseded) = (0, 0);
    let mut open: std::collections::BTreeMap<ExchangeId, Vec<oisp_ai::AiChunk>> = Default::default();
    for event in run(true) {
        match event {
            AiEvent::Chunk(chunk) => {
                chunks += 1;
                open.entry(chunk.exchange).or_default().push(*chunk);
                continue;
            }
            AiEvent::Response(answer) => {
                let told = open.remove(&answer.exchange).unwrap_or_default();
                if told.iter().any(|chunk| chunk.extension.contains_key("superseded")) {
                    superseded += 1;
                } else if !told.is_empty() {
                    add_up(&told, &answer);
                }
                others.push(AiEvent::Response(answer));
            }
            other => others.push(other),
        }
    }
    assert_eq!(others, run(false));
    assert!(open.is_empty(), "chunks without a response");
    (chunks, superseded)
}

fn add_up(chunks: &[oisp_ai::AiChunk], answer: &AiAnswer) {
    for choice in &answer.response.choices {
        let own: Vec<_> = chunks.iter().filter(|chunk| chunk.choice == choice.index).collect();
        let text: String = own.iter().filter_map(|chunk| chunk.chunk.delta.content.as_deref()).collect();
        let content = choice.message.as_ref().and_then(|message| message.content.as_ref()?.as_str());
        assert_eq!(text, content.unwrap_or_default());
        let roles = own.iter().filter(|chunk| chunk.chunk.delta.role.is_some()).count();
        let last: Vec<_> = own.iter().filter(|chunk| chunk.is_last).collect();
        assert_eq!((roles, last.len()), (1, 1));
        assert_eq!(last[0].chunk.finish_reason, choice.finish_reason);
        assert!(own.last().unwrap().is_last);
    }
    for (number, call) in (0..).zip(&answer.response.tool_calls) {
        let fragments: Vec<_> = chunks
            .iter()
            .flat_map(|chunk| chunk.call_numbers.iter().zip(&chunk.chunk.delta.tool_calls))
            .filter(|(at, _)| **at == number)
            .map(|(_, fragment)| fragment)
            .collect();
        let arguments: String = fragments.iter().filter_map(|call| call.arguments.as_deref()).collect();
        assert_eq!(arguments, call.arguments.as_deref().unwrap_or_default());
        assert_eq!((&fragments[0].name, &fragments.last().unwrap().id), (&call.name, &call.id));
    }
}

/// The event as it would be written.
pub(crate) fn written(event: &AiEvent) -> Value {
    let nothing = Findings::default();
    let (payload, findings, extension): (_, _, &Map<String, Value>) = match event {
        AiEvent::Request(call) => {
            (Payload::AiRequest(Box::new(call.request.clone())), &call.findings, &call.extension)
        }
        AiEvent::Response(answer) => {
            (Payload::AiResponse(Box::new(answer.response.clone())), &answer.findings, &answer.extension)
        }
        AiEvent::Chunk(chunk) => {
            (Payload::AiStreamingChunk(Box::new(chunk.chunk.clone())), &nothing, &chunk.extension)
        }
        AiEvent::Mcp(message) => panic!("becomes an event in a conversation: {message:?}"),
    };
    let ts = Timestamp::from_unix_nanoseconds(1_790_000_000_000_000_000);
    let mut confidence = Confidence::high();
    findings.apply_to(&mut confidence);
    serde_json::to_value(Event {
        oisp_version: OISP_VERSION.to_owned(),
        event_id: EventIdGenerator::with_seed(1).next(ts),
        ts,
        ts_mono: None,
        payload,
        host: None,
        actor: None,
        process: None,
        source: Source {
            collector: "oisp-sensor".to_owned(),
            collector_version: None,
            capture_method: None,
            capture_point: None,
        },
        confidence,
        ext: Extension { oisp_sensor: extension.clone() },
        related_events: Vec::new(),
    })
    .unwrap()
}

/// Valid by the project's own schema, and by the specification's when it is there.
pub(crate) fn assert_valid(event: &AiEvent) {
    static OWN: OnceLock<jsonschema::Validator> = OnceLock::new();
    static SPECIFICATION: OnceLock<Option<SpecValidator>> = OnceLock::new();
    if matches!(event, AiEvent::Mcp(_)) {
        return;
    }
    let json = written(event);
    let own = OWN.get_or_init(|| jsonschema::validator_for(&oisp_event::json_schema()).unwrap());
    let errors: Vec<_> = own.iter_errors(&json).map(|error| error.to_string()).collect();
    assert!(errors.is_empty(), "{errors:?}");
    let specification = SPECIFICATION.get_or_init(|| match std::env::var_os("OISP_SPEC") {
        Some(folder) => Some(SpecValidator::from_dir(folder).unwrap()),
        None => {
            assert!(std::env::var_os("OISP_REQUIRE_ALL").is_none(), "OISP_SPEC is not set");
            eprintln!("skipped: validation against the specification, OISP_SPEC is not set");
            None
        }
    });
    if let Some(specification) = specification {
        let errors = specification.errors(&json);
        assert!(errors.is_empty(), "{errors:?}");
    }
}

/// The text of the only choice.
pub(crate) fn content(answer: &AiAnswer) -> Option<&str> {
    answer.response.choices[0].message.as_ref()?.content.as_ref()?.as_str()
}
