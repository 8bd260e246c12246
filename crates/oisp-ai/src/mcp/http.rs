//! Messages that one HTTP exchange carries.
//!
//! A client posts its messages. The answer is a message, or a stream of server-sent events with any number of them, or
//! nothing (202): the answers then come on a stream that the client has asked for by GET. In the revision of 2024-11-05
//! that stream begins with the place to post to.

use oisp_decode::{
    BodyEnd, ExchangeId, HttpEvent, HttpEventKind, JsonRpcId, Nanos, RequestHead, ResponseHead, SseEvent,
    SseParser,
};

use super::read::{self, Text};
use super::{McpBody, McpMessage, McpPlace, McpSide, McpTransport};
use crate::body::Body;
use crate::headers::{self, Destination};
use crate::{AiEvent, Findings, Limits};

/// Longer session ids are none.
const LONGEST_SESSION: usize = 4096;

/// Follows one exchange.
pub(crate) struct HttpMessages {
    place: McpPlace,
    has_headers: bool,
    method: Method,
    request: Body,
    state: State,
    /// Messages of a request that begins a session wait for the response's head, which may name it.
    held: Vec<(Nanos, McpBody, Findings)>,
    /// About what they take.
    held_bytes: usize,
    /// Requests that this exchange has not answered.
    waiting: Vec<JsonRpcId>,
    answer: Answer,
    status: Option<u16>,
    findings: Findings,
    has_told: bool,
    request_ended: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Method {
    Post,
    Get,
    Delete,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Its body decides.
    Unknown,
    /// It is MCP's.
    Known,
    Other,
}

enum Answer {
    None,
    Text(Body),
    Events(Box<SseParser>),
    /// Nothing of it is read any more.
    GivenUp,
}

impl HttpMessages {
    /// An exchange that may carry messages, by the head of its request.
    pub(crate) fn new(head: &RequestHead, destination: &Destination) -> Option<Self> {
        let method = match head.method.as_str() {
            "POST" => Method::Post,
            "GET" => Method::Get,
            "DELETE" => Method::Delete,
            _ => return None,
        };
        let session = headers::text(&head.headers, "mcp-session-id");
        let protocol_version = headers::text(&head.headers, "mcp-protocol-version")
            .map(|version| version.trim().to_owned())
            .filter(|version| read::is_version(version));
        let has_headers = session.is_some()
            || protocol_version.is_some()
            || headers::text(&head.headers, "mcp-method").is_some();
        let accepts_events = head
            .headers
            .get("accept")
            .is_some_and(|types| types.to_ascii_lowercase().contains("text/event-stream"));
        let plausible = match method {
            Method::Post => {
                let media_type = headers::media_type(&head.headers);
                has_headers || media_type.is_none_or(|media_type| media_type.contains("json"))
            }
            Method::Get => accepts_events,
            Method::Delete => session.is_some(),
        };
        if !plausible {
            return None;
        }
        let by_query = by_query(&head.target).filter(|_| method == Method::Post && !has_headers);
        let transport = if by_query.is_some() { McpTransport::Sse } else { McpTransport::Http };
        let session = session.or(by_query).filter(|session| session.len() <= LONGEST_SESSION);
        Some(Self {
            place: McpPlace { transport, endpoint: destination.endpoint.clone(), session, protocol_version },
            has_headers,
            method,
            request: Body::default(),
            state: if has_headers && method != Method::Post { State::Known } else { State::Unknown },
            held: Vec::new(),
            held_bytes: 0,
            waiting: Vec::new(),
            answer: Answer::None,
            status: None,
            findings: Findings::default(),
            has_told: false,
            request_ended: false,
        })
    }

    /// Whether it is MCP's, as far as is known: by headers, or by its body.
    pub(crate) fn is_certain(&self) -> bool {
        self.state == State::Known || (self.has_headers && self.state != State::Other)
    }

    /// Whether it is none of MCP's, for certain.
    pub(crate) fn is_other(&self) -> bool {
        self.state == State::Other
    }

    /// Whether its request is over.
    pub(crate) fn is_over(&self) -> bool {
        self.request_ended
    }

    pub(crate) fn buffered(&self) -> usize {
        let answer = match &self.answer {
            Answer::Text(body) => body.buffered(),
            Answer::Events(parser) => size_of::<SseParser>() + parser.buffered_bytes(),
            Answer::None | Answer::GivenUp => 0,
        };
        self.request.buffered() + answer + self.held_bytes
    }

    /// Keeps nothing more of the bodies, for want of room; says whether that is news.
    pub(crate) fn give_up(&mut self) -> bool {
        let news = !matches!(self.answer, Answer::None | Answer::GivenUp);
        if news {
            self.answer = Answer::GivenUp;
        }
        self.request.give_up() | news
    }

    /// Takes any event but the request's head.
    pub(crate) fn event(&mut self, event: &HttpEvent, limits: &Limits, out: &mut Vec<AiEvent>) {
        let (exchange, time) = (event.exchange, event.time);
        match &event.kind {
            HttpEventKind::RequestBody(bytes) => self.request_body(bytes, limits),
            HttpEventKind::RequestBodyGap { .. } => self.request.gap(),
            HttpEventKind::RequestEnd(end) => {
                self.request_end(end, time, limits);
                let names_session = |(_, body, _): &(_, McpBody, _)| matches!(body, McpBody::Request { method, .. } if method == "initialize");
                if self.place.session.is_some()
                    || self.status.is_some()
                    || !self.held.iter().any(names_session)
                {
                    self.tell_held(exchange, out);
                }
            }
            HttpEventKind::ResponseHead(head) => self.response_head(head, exchange, time, limits, out),
            HttpEventKind::ResponseBody(bytes) => self.response_body(bytes, exchange, time, limits, out),
            HttpEventKind::ResponseBodyGap { .. } => match &mut self.answer {
                Answer::Text(body) => body.gap(),
                Answer::Events(parser) => {
                    parser.gap();
                    self.findings.partial("bytes_lost");
                }
                Answer::None | Answer::GivenUp => {}
            },
            HttpEventKind::ResponseEnd(end) => self.response_end(Some(end), exchange, time, limits, out),
            _ => {}
        }
    }

    /// Nothing more of it will come.
    pub(crate) fn cut_short(
        &mut self,
        exchange: ExchangeId,
        time: Nanos,
        limits: &Limits,
        out: &mut Vec<AiEvent>,
    ) {
        self.response_end(None, exchange, time, limits, out);
    }

    fn request_body(&mut self, bytes: &[u8], limits: &Limits) {
        if self.state == State::Other || self.method != Method::Post {
            return;
        }
        if !self.has_headers && self.request.total() == 0 && !may_begin_json_rpc(bytes) {
            self.drop_request();
            return;
        }
        self.request.push(bytes, limits.body_bytes);
        // Most bodies that are posted anywhere are none of MCP's and should not be held twice.
        if self.has_headers {
            return;
        }
        let is_long = self.request.total() >= limits.sniff_bytes as u64;
        let is_plausible = self
            .request
            .whole()
            .is_none_or(|body| may_begin_json_rpc(body) && (!is_long || looks_like_json_rpc(body, limits)));
        if !is_plausible {
            self.drop_request();
        }
    }

    fn drop_request(&mut self) {
        self.state = State::Other;
        self.request.give_up();
    }

    fn request_end(&mut self, end: &BodyEnd, time: Nanos, limits: &Limits) {
        self.request_ended = true;
        if self.method != Method::Post || self.state == State::Other {
            return;
        }
        let body = std::mem::take(&mut self.request);
        let mut findings = Findings::default();
        findings.body_end(end, "request_body");
        let time = end.last_byte.unwrap_or(time);
        let bodies = match body.whole() {
            Some(bytes) if self.has_headers || looks_like_json_rpc(bytes, limits) => {
                read::messages(bytes, limits.parsed_bytes)
            }
            Some(_) => Text::Other,
            None => Text::TooLarge,
        };
        let Text::Messages(bodies) = bodies else {
            // What it says is not known; what is answered may be.
            self.state = if self.has_headers { State::Known } else { State::Other };
            self.findings.reason("request_not_read");
            return;
        };
        if !self.has_headers && !bodies.iter().any(read::is_distinctive) && !self.may_belong(&bodies) {
            self.state = State::Other;
            return;
        }
        self.state = State::Known;
        // Parsed, they take some times their text.
        self.held_bytes = usize::try_from(body.total()).unwrap_or(usize::MAX).saturating_mul(4);
        for body in bodies {
            if let McpBody::Request { id, .. } = &body {
                self.waiting.push(id.clone());
            }
            self.held.push((time, body, findings.clone()));
        }
    }

    /// A message that any JSON-RPC may have, posted to what looks like a session's place: an answer, a ping.
    fn may_belong(&self, bodies: &[McpBody]) -> bool {
        self.place.transport == McpTransport::Sse
            && bodies.iter().all(|body| match body {
                McpBody::Request { method, .. } | McpBody::Notification { method, .. } => method == "ping",
                _ => true,
            })
    }

    fn response_head(
        &mut self,
        head: &ResponseHead,
        exchange: ExchangeId,
        time: Nanos,
        limits: &Limits,
        out: &mut Vec<AiEvent>,
    ) {
        if self.state == State::Other || self.status.is_some() {
            return;
        }
        self.status = Some(head.status);
        if let Some(session) = headers::text(&head.headers, "mcp-session-id")
            && session.len() <= LONGEST_SESSION
        {
            self.place.session.get_or_insert(session);
        }
        self.tell_held(exchange, out);
        if self.method == Method::Delete {
            self.tell(exchange, McpSide::Client, time, McpBody::End, Findings::default(), out);
            return;
        }
        let media_type = headers::media_type(&head.headers).unwrap_or_default();
        self.answer = if media_type == "text/event-stream" {
            let decode = oisp_decode::Limits {
                message_bytes: limits.body_bytes.max(1024),
                ..oisp_decode::Limits::default()
            };
            Answer::Events(Box::new(SseParser::with_limits(&decode)))
        } else if self.method == Method::Post {
            Answer::Text(Body::default())
        } else {
            // A GET for anything but a stream is none of MCP's.
            self.state = State::Other;
            Answer::GivenUp
        };
    }

    fn response_body(
        &mut self,
        bytes: &[u8],
        exchange: ExchangeId,
        time: Nanos,
        limits: &Limits,
        out: &mut Vec<AiEvent>,
    ) {
        let mut events = Vec::new();
        match &mut self.answer {
            Answer::Text(body) if self.state != State::Other => body.push(bytes, limits.body_bytes),
            Answer::Events(parser) if self.state != State::Other => parser.push(bytes, &mut events),
            _ => {}
        }
        for event in events {
            self.server_event(&event, exchange, time, limits, out);
        }
    }

    fn server_event(
        &mut self,
        event: &SseEvent,
        exchange: ExchangeId,
        time: Nanos,
        limits: &Limits,
        out: &mut Vec<AiEvent>,
    ) {
        match event.event.as_str() {
            "endpoint" if self.method == Method::Get && self.state == State::Unknown => {
                self.place_named(event.data.trim());
                return;
            }
            _ if self.method == Method::Get && self.state == State::Unknown => {
                // The stream of something else.
                self.state = State::Other;
                return;
            }
            "" | "message" => {}
            _ => return,
        }
        // An event without data opens a stream that can be resumed.
        if event.data.is_empty() {
            return;
        }
        let read = if event.truncated {
            Text::TooLarge
        } else {
            read::messages(event.data.as_bytes(), limits.parsed_bytes)
        };
        match read {
            Text::Messages(bodies) => self.tell_answers(exchange, time, bodies, out),
            Text::TooLarge | Text::Other => self.findings.partial("message_not_read"),
        }
    }

    /// The stream says where to post to (2024-11-05): that is the session.
    fn place_named(&mut self, place: &str) {
        let stream = self.place.endpoint.as_deref().unwrap_or_default();
        let authority_end = stream
            .find("://")
            .and_then(|at| stream[at + 3..].find('/').map(|slash| at + 3 + slash))
            .unwrap_or(stream.len());
        let (base, target) = match place.split_once("://") {
            Some((_, rest)) => {
                let path = rest.find('/').map_or("/", |slash| &rest[slash..]);
                (
                    place[..place.len() - rest.len()].to_owned()
                        + &rest[..rest.find('/').unwrap_or(rest.len())],
                    path,
                )
            }
            None if place.starts_with('/') => (stream[..authority_end].to_owned(), place),
            None => return,
        };
        let path = &target[..target.find(['?', '#']).unwrap_or(target.len())];
        self.state = State::Known;
        self.place.transport = McpTransport::Sse;
        self.place.endpoint = Some(format!("{base}{path}"));
        self.place.session = by_query(target).filter(|session| session.len() <= LONGEST_SESSION);
    }

    fn response_end(
        &mut self,
        end: Option<&BodyEnd>,
        exchange: ExchangeId,
        time: Nanos,
        limits: &Limits,
        out: &mut Vec<AiEvent>,
    ) {
        if self.state != State::Known {
            return;
        }
        self.tell_held(exchange, out);
        match std::mem::replace(&mut self.answer, Answer::GivenUp) {
            Answer::Text(body) => {
                if let Some(end) = end {
                    self.findings.body_end(end, "response_body");
                }
                let time = end.and_then(|end| end.last_byte).unwrap_or(time);
                match body.whole().map(|bytes| read::messages(bytes, limits.parsed_bytes)) {
                    Some(Text::Messages(bodies)) => self.tell_answers(exchange, time, bodies, out),
                    // Accepted: the answers come on a stream.
                    _ if self.status == Some(202) => return,
                    _ => {}
                }
            }
            Answer::Events(mut parser) => {
                if let Some(event) = parser.finish() {
                    self.server_event(&event, exchange, time, limits, out);
                }
                // A stream that broke off can be resumed on another one.
                return;
            }
            Answer::None | Answer::GivenUp => {}
        }
        let status = self.status.filter(|status| *status >= 400);
        for id in std::mem::take(&mut self.waiting) {
            let mut findings = self.findings.clone();
            if status.is_none() {
                findings.unread("answer_not_read", "response");
            }
            self.tell(exchange, McpSide::Server, time, McpBody::Unanswered { id, status }, findings, out);
        }
    }

    fn tell_held(&mut self, exchange: ExchangeId, out: &mut Vec<AiEvent>) {
        self.held_bytes = 0;
        for (time, body, findings) in std::mem::take(&mut self.held) {
            self.tell(exchange, McpSide::Client, time, body, findings, out);
        }
    }

    fn tell_answers(
        &mut self,
        exchange: ExchangeId,
        time: Nanos,
        bodies: Vec<McpBody>,
        out: &mut Vec<AiEvent>,
    ) {
        for mut body in bodies {
            if let McpBody::Response { id, .. } = &mut body {
                // An error may come without the id of the only request that it can be about.
                if id.is_none()
                    && let [only] = &self.waiting[..]
                {
                    *id = Some(only.clone());
                }
                if let Some(id) = id {
                    self.waiting.retain(|waiting| waiting != id);
                }
            }
            let findings = self.findings.clone();
            self.tell(exchange, McpSide::Server, time, body, findings, out);
        }
    }

    fn tell(
        &mut self,
        exchange: ExchangeId,
        from: McpSide,
        time: Nanos,
        body: McpBody,
        findings: Findings,
        out: &mut Vec<AiEvent>,
    ) {
        out.push(AiEvent::Mcp(Box::new(McpMessage {
            exchange,
            opens_exchange: !std::mem::replace(&mut self.has_told, true),
            from,
            recorded: McpSide::Client,
            time,
            place: self.place.clone(),
            body,
            has_headers: self.has_headers,
            findings,
        })));
    }
}

/// What a target's query says of a session, with the path that it is of.
fn by_query(target: &str) -> Option<String> {
    let (path, query) = target.split_once('?')?;
    let path = path.find("://").map_or(path, |at| {
        let rest = &path[at + 3..];
        rest.find('/').map_or("/", |slash| &rest[slash..])
    });
    let names_session = query.split('&').any(|pair| {
        let name = pair.split('=').next().unwrap_or_default().to_ascii_lowercase();
        name.contains("session")
    });
    names_session.then(|| format!("{path}?{query}"))
}

/// Whether a body begins, as far as it is here, with an object, or a list of such, whose first key JSON-RPC has.
fn may_begin_json_rpc(body: &[u8]) -> bool {
    const KEYS: [&[u8]; 6] =
        [b"\"jsonrpc\"", b"\"id\"", b"\"method\"", b"\"params\"", b"\"result\"", b"\"error\""];
    let start = body.trim_ascii_start();
    let object = start.strip_prefix(b"[").unwrap_or(start).trim_ascii_start();
    let Some(fields) = object.strip_prefix(b"{") else { return object.is_empty() };
    let key = fields.trim_ascii_start();
    KEYS.iter().any(|known| key.starts_with(known) || known.starts_with(key))
}

/// Whether the first bytes of a body say that it may be JSON-RPC. Some write the version last, and the method first.
fn looks_like_json_rpc(body: &[u8], limits: &Limits) -> bool {
    const VERSION: &[u8] = b"\"jsonrpc\"";
    let start = body[..body.len().min(limits.sniff_bytes)].trim_ascii_start();
    let inner = start.strip_prefix(b"[").unwrap_or(start).trim_ascii_start();
    let Some(fields) = inner.strip_prefix(b"{") else { return false };
    fields.trim_ascii_start().starts_with(b"\"method\"")
        || start.windows(VERSION.len()).any(|window| window == VERSION)
}
