//! Calls over a WebSocket: responses (`wss://.../responses`) and the realtime interface (`wss://.../realtime`).
//!
//! Both sides send JSON objects with a `type`. A call begins with the client's `response.create`, or, in the realtime
//! interface, by a response that the service begins by itself when somebody stops to speak; it ends with the event that
//! says how the response ended. One call at a time: requests and responses of an exchange are told in turns.

mod conversation;

use oisp_decode::{BodyEnd, Direction, ExchangeId, Nanos, RequestHead, WebSocketKind, WebSocketMessage};
use oisp_event::{Auth, Completeness, DetectionMethod, Level, Model, Provider};
use serde_json::{Map, Value};

use self::conversation::Conversation;
use crate::call::{AiAnswer, AiCall, AiEvent, Detection, Timings};
use crate::chunks::Draft;
use crate::detect::{Service, Target};
use crate::findings::Findings;
use crate::format::{self, FormatId};
use crate::json::{self, into_object, owned_text, text};
use crate::stream::Collector;
use crate::{ConnectionContext, Limits, account, headers, providers, response};

/// A WebSocket whose messages are followed.
pub(crate) struct Socket {
    interface: Interface,
    service: Service,
    detection: Detection,
    provider: Provider,
    auth: Auth,
    target: Target,
    /// The service has accepted it.
    pub(crate) is_open: bool,
    has_closed: [bool; 2],
    conversation: Conversation,
    /// A message of the client was not captured as a whole.
    lost_question: bool,
    call: Option<OpenCall>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Interface {
    Responses,
    Realtime,
}

/// A call whose response has not ended.
struct OpenCall {
    completed: Nanos,
    /// Of the response, once it is known.
    id: Option<String>,
    collector: Collector,
    taken: usize,
    is_over_limit: bool,
    gaps: u32,
    first_byte: Option<Nanos>,
    last_byte: Option<Nanos>,
    findings: Findings,
    rate_limit: Option<Value>,
}

impl Socket {
    /// The WebSocket that a request asks for, if calls may go through it.
    pub(crate) fn new(head: &RequestHead, context: &ConnectionContext) -> Option<Self> {
        let is_named = |protocol: &str| protocol.trim().eq_ignore_ascii_case("websocket");
        let upgrades = head.headers.get("upgrade").is_some_and(|to| to.split(',').any(is_named));
        // By HTTP/2 it is a CONNECT (RFC 8441).
        if !(upgrades || head.method.eq_ignore_ascii_case("CONNECT")) {
            return None;
        }
        let destination = headers::destination(head, context.server_name.as_deref(), context.plaintext);
        let path = destination.path.trim_end_matches('/');
        let interface = match path.rsplit('/').next() {
            Some("responses") => Interface::Responses,
            Some("realtime") => Interface::Realtime,
            _ => return None,
        };
        let known = providers::by_host(&destination.host, destination.port);
        let named = known.filter(|provider| provider.is_named());
        if named.is_some_and(|provider| !provider.serves(&destination.path)) {
            return None;
        }
        let service = Service::new(known, FormatId::OpenAiResponses);
        let (method, confidence) = match named {
            Some(_) => (DetectionMethod::KnownEndpoint, Level::High),
            None => (DetectionMethod::PayloadInspection, Level::Medium),
        };
        let (organization_id, project_id) = headers::organization_and_project(&head.headers);
        Some(Self {
            interface,
            service,
            detection: Detection { provider_id: service.id.to_owned(), method, confidence },
            provider: Provider {
                name: service.name,
                endpoint: destination.endpoint.map(|endpoint| endpoint.replacen("http", "ws", 1)),
                organization_id,
                project_id,
                ..Provider::default()
            },
            auth: Auth {
                account_type: account::account_type(head, &destination.host),
                ..headers::auth(head)
            },
            target: Target::new(head, &destination.path),
            is_open: false,
            has_closed: [false; 2],
            conversation: Conversation::default(),
            lost_question: false,
            call: None,
        })
    }

    /// Whether both sides have said that they send nothing more.
    pub(crate) fn is_over(&self) -> bool {
        self.has_closed == [true; 2]
    }

    pub(crate) fn buffered(&self) -> usize {
        let call = self.call.as_ref().map_or(0, |call| call.taken);
        self.conversation.held() + call
    }

    /// Keeps nothing more, for want of room; says whether that is news.
    pub(crate) fn give_up(&mut self) -> bool {
        let held = self.buffered() > 0;
        self.conversation.give_up();
        if let Some(call) = &mut self.call {
            call.is_over_limit = true;
            call.taken = 0;
        }
        held
    }

    /// Takes the next message of either side.
    pub(crate) fn message(
        &mut self,
        exchange: ExchangeId,
        time: Nanos,
        message: &WebSocketMessage,
        limits: &Limits,
        out: &mut Vec<AiEvent>,
    ) {
        match message.kind {
            WebSocketKind::Ping | WebSocketKind::Pong => return,
            WebSocketKind::Close { .. } => {
                self.has_closed[usize::from(message.direction == Direction::Sent)] = true;
                if self.is_over() {
                    self.end(exchange, time, Some("websocket_closed"), out);
                }
                return;
            }
            WebSocketKind::Text | WebSocketKind::Binary => {}
        }
        if !message.completeness.is_complete() {
            self.lost_question |= message.masked;
            if let Some(call) = self.call.as_mut().filter(|_| !message.masked) {
                let completeness = message.completeness.clone();
                call.findings.body_end(&BodyEnd { completeness, ..BodyEnd::default() }, "response_body");
                call.gaps = call.gaps.saturating_add(1);
                call.collector.gap();
            }
            return;
        }
        // What is no JSON is no event of these interfaces.
        let Ok(parsed) = json::parse(&message.bytes, limits.parsed_bytes) else { return };
        let Some(kind) = text(&parsed.value, "type").map(str::to_owned) else { return };
        let event = Event { kind: &kind, value: parsed.value, bytes: message.bytes.len(), time };
        self.event(exchange, event, message.first_byte, limits, out);
        if let Some(call) = self.call.as_mut().filter(|_| limits.streaming_chunks) {
            let (asked, chunks) = (call.completed, call.collector.take_chunks());
            self.tell(exchange, asked, chunks, out);
        }
    }

    /// Ends the call that is open, if one is; `cut_short` says why before its time.
    pub(crate) fn end(
        &mut self,
        exchange: ExchangeId,
        time: Nanos,
        cut_short: Option<&str>,
        out: &mut Vec<AiEvent>,
    ) {
        let Some(call) = self.call.take() else { return };
        let asked = call.completed;
        let (answer, chunks) = self.answer(exchange, time, call, cut_short);
        self.tell(exchange, asked, chunks, out);
        out.push(AiEvent::Response(Box::new(answer)));
    }

    fn event(
        &mut self,
        exchange: ExchangeId,
        mut event: Event<'_>,
        first_byte: Nanos,
        limits: &Limits,
        out: &mut Vec<AiEvent>,
    ) {
        match event.kind {
            "response.create" => {
                let time = event.time;
                self.begin(exchange, first_byte, time, Some(event.value), limits, out);
            }
            "response.created" => {
                let id = event.value.get("response").and_then(|response| owned_text(response, "id"));
                let is_other = |call: &OpenCall| call.id.is_some() && id.is_some() && call.id != id;
                if self.call.as_ref().is_none_or(is_other) {
                    self.begin(exchange, first_byte, event.time, None, limits, out);
                }
                if let Some(call) = &mut self.call {
                    call.id = id;
                    call.take(event, limits);
                }
            }
            "error" => {
                // In the realtime interface it may be about anything that the client sent.
                let always = self.interface == Interface::Responses;
                if let Some(call) = self.call.as_mut().filter(|call| always || call.id.is_none()) {
                    let time = event.time;
                    call.take(event, limits);
                    self.end(exchange, time, None, out);
                }
            }
            "rate_limits.updated" => {
                if let Some(call) = &mut self.call {
                    call.rate_limit = event.value.get_mut("rate_limits").map(Value::take);
                }
            }
            kind if kind.starts_with("response.") => {
                let Some(call) = self.call.as_mut().filter(|call| call.is_mine(&event.value)) else { return };
                let time = event.time;
                let ends = matches!(
                    kind,
                    "response.done" | "response.completed" | "response.failed" | "response.incomplete"
                );
                call.take(event, limits);
                if ends {
                    self.end(exchange, time, None, out);
                }
            }
            _ if self.interface == Interface::Realtime => self.conversation.event(event),
            _ => {}
        }
    }

    /// A call begins; without `question` the service began it.
    fn begin(
        &mut self,
        exchange: ExchangeId,
        started: Nanos,
        time: Nanos,
        question: Option<Value>,
        limits: &Limits,
        out: &mut Vec<AiEvent>,
    ) {
        self.end(exchange, time, Some("next_call_before_end"), out);
        let mut findings = Findings::default();
        let mut extension = Map::new();
        let is_asked = question.is_some();
        let mut event = into_object(question.unwrap_or_default());
        event.remove("type");
        // The realtime interface nests it, and the other may.
        let nested = event.remove("response").filter(Value::is_object).map(into_object);
        let mut body = match (self.interface, nested) {
            (Interface::Realtime, nested) => {
                let nested = nested.unwrap_or_default();
                self.conversation.body(nested, &mut findings, &mut extension)
            }
            (Interface::Responses, Some(nested)) if !event.contains_key("input") => nested,
            (Interface::Responses, _) => event,
        };
        body.insert("stream".to_owned(), true.into());
        let format = format::of(FormatId::OpenAiResponses);
        let parsed = format.parse_request(Value::Object(body), &self.target);
        let mut request = parsed.request;
        request.model = request.model.or_else(|| {
            let named = ["model", "deployment"].iter().find_map(|key| self.target.query_value(key));
            named.map(|id| Model { id })
        });
        for part in parsed.unparsed {
            findings.partial("request_not_wholly_understood");
            findings.limitation(&format!("{part}_not_understood"));
        }
        let lost = std::mem::take(&mut self.lost_question);
        match self.interface {
            // What was lost may have been of another call.
            Interface::Responses if is_asked => {}
            Interface::Realtime if !lost => {
                if !is_asked {
                    extension.insert("begun_by".to_owned(), "service".into());
                }
            }
            _ => {
                findings.partial(if is_asked { "earlier_message_lost" } else { "request_not_seen" });
                findings.missing("request_body");
            }
        }
        request.provider = self.provider.clone();
        request.auth = Some(self.auth.clone());
        extension.extend(parsed.extension);
        self.mark(&mut extension);
        out.push(AiEvent::Request(Box::new(AiCall {
            exchange,
            request,
            detection: self.detection.clone(),
            started,
            completed: time,
            findings,
            extension,
        })));
        self.call = Some(OpenCall {
            completed: time,
            id: None,
            collector: Collector::new(Some(FormatId::OpenAiResponses), self.service.dialect, *limits),
            taken: 0,
            is_over_limit: false,
            gaps: 0,
            first_byte: None,
            last_byte: None,
            findings: Findings::default(),
            rate_limit: None,
        });
    }

    /// Tells parts of a response.
    fn tell(&self, exchange: ExchangeId, asked: Nanos, chunks: Vec<Draft>, out: &mut Vec<AiEvent>) {
        out.extend(
            chunks
                .into_iter()
                .map(|chunk| AiEvent::Chunk(Box::new(chunk.of(exchange, self.detection.clone(), asked)))),
        );
    }

    fn mark(&self, extension: &mut Map<String, Value>) {
        let name = match self.interface {
            Interface::Responses => format::of(FormatId::OpenAiResponses).name(),
            Interface::Realtime => "openai_realtime",
        };
        extension.insert("provider_id".to_owned(), self.service.id.into());
        extension.insert("api_format".to_owned(), name.into());
        extension.insert("transport".to_owned(), "websocket".into());
    }

    fn answer(
        &self,
        exchange: ExchangeId,
        time: Nanos,
        call: OpenCall,
        cut_short: Option<&str>,
    ) -> (AiAnswer, Vec<Draft>) {
        let mut findings = call.findings;
        if let Some(reason) = cut_short {
            findings.partial(reason);
            findings.missing("response_body");
        }
        if call.is_over_limit {
            findings.partial("message_over_limit");
            findings.missing("response_body");
        }
        let times = call.collector.times;
        let timings = Timings {
            request_completed: Some(call.completed),
            first_byte: call.first_byte,
            first_content: times.first_content,
            last_byte: call.last_byte.or(cut_short.map(|_| time)),
            chunk_count: times.chunks,
            longest_chunk_gap: times.longest_gap,
        };
        let is_complete = call.collector.is_complete();
        let ends_unsaid = cut_short.is_none() && call.gaps == 0 && !call.is_over_limit;
        let parsed = if times.chunks == 0 {
            findings.unread("response_not_seen", "response");
            findings.completeness = Completeness::MetadataOnly;
            None
        } else {
            call.collector.finish(&mut findings, ends_unsaid)
        };
        let parsed = parsed.map(|(_, parsed)| parsed).unwrap_or_default();
        for part in parsed.unparsed {
            findings.partial("response_not_wholly_understood");
            findings.limitation(&format!("{part}_not_understood"));
        }
        let (mut response, mut extension) = (parsed.response, parsed.extension);
        let chunks = parsed.chunks;
        response.success = match &response.error {
            Some(_) => Some(false),
            None => is_complete.then_some(true),
        };
        response.provider = self.provider.clone();
        if let Some(state) = call.rate_limit {
            extension.insert("rate_limit".to_owned(), state);
        }
        extension.insert("streamed".to_owned(), true.into());
        self.mark(&mut extension);
        if findings.lost_bytes > 0 {
            extension.insert("lost_bytes".to_owned(), findings.lost_bytes.into());
        }
        response::write_timings(&timings, true, &mut response, &mut extension);
        let answer = AiAnswer {
            exchange,
            response,
            detection: self.detection.clone(),
            has_request: true,
            embedding: None,
            timings,
            findings,
            extension,
        };
        (answer, chunks)
    }
}

/// A message that was read.
struct Event<'a> {
    kind: &'a str,
    value: Value,
    /// Of its text.
    bytes: usize,
    time: Nanos,
}

impl OpenCall {
    /// Whether an event is not of another response.
    fn is_mine(&self, event: &Value) -> bool {
        let named = text(event, "response_id")
            .or_else(|| event.get("response").and_then(|response| text(response, "id")));
        named.is_none() || self.id.is_none() || named == self.id.as_deref()
    }

    fn take(&mut self, event: Event<'_>, limits: &Limits) {
        self.first_byte.get_or_insert(event.time);
        self.last_byte = Some(event.time);
        // Of audio only the size is kept.
        let is_audio = matches!(event.kind, "response.audio.delta" | "response.output_audio.delta");
        let bytes = if is_audio { 0 } else { event.bytes };
        self.is_over_limit |= bytes > limits.body_bytes.saturating_sub(self.taken);
        if !self.is_over_limit {
            self.taken += bytes;
            self.collector.value(event.time, event.kind, event.value, event.bytes);
        }
    }
}
