//! One exchange: a request and its response, in whatever order their pieces come.

use oisp_decode::{
    BodyEnd, ExchangeId, HttpEvent, HttpEventKind, Nanos, ProblemKind, RequestHead, UpgradeProtocol,
};
use oisp_event::Level;
use serde_json::Value;

use crate::call::{AiAnswer, AiEvent};
use crate::chunks::Draft;
use crate::headers;
use crate::mcp::HttpMessages;
use crate::request::{Outcome, Recognised, Request};
use crate::response::Response;
use crate::websocket::Socket;
use crate::{ConnectionContext, Limits};

/// An exchange being followed.
pub(crate) struct Exchange {
    id: ExchangeId,
    request: RequestState,
    response: Option<Response>,
    /// What it opened, if calls may go through it.
    socket: Option<Box<Socket>>,
    /// The messages of MCP that it carries, as long as it may.
    mcp: Option<Box<HttpMessages>>,
    /// Response events that came before the request's end: what they mean depends on the request.
    early: Vec<HttpEvent>,
    early_bytes: usize,
    last_seen: Nanos,
    /// Found again after message boundaries had been lost: it may be paired wrongly, or be content that looks like a
    /// message.
    resynchronised: bool,
    /// Header fields of it are not known.
    fields_unknown: bool,
}

enum RequestState {
    /// Only the response was seen.
    Unseen,
    Reading(Box<Request>),
    Recognised(Box<Recognised>),
    Unrecognised {
        may_answer: bool,
    },
    /// The response is the answer to an earlier request.
    Fetches(Box<Recognised>),
}

impl Exchange {
    /// An exchange of which nothing was seen yet.
    pub(crate) fn new(id: ExchangeId, time: Nanos) -> Self {
        Self {
            id,
            request: RequestState::Unseen,
            response: Some(Response::default()),
            socket: None,
            mcp: None,
            early: Vec::new(),
            early_bytes: 0,
            last_seen: time,
            resynchronised: false,
            fields_unknown: false,
        }
    }

    pub(crate) fn request_head(&mut self, head: RequestHead, time: Nanos, context: &ConnectionContext) {
        if let RequestState::Unseen = self.request {
            self.socket = Socket::new(&head, context).map(Box::new);
            let destination = headers::destination(&head, context.server_name.as_deref(), context.plaintext);
            self.mcp = HttpMessages::new(&head, &destination).map(Box::new);
            if self.mcp.as_ref().is_some_and(|mcp| mcp.is_certain()) {
                self.request = RequestState::Unrecognised { may_answer: false };
                return;
            }
            self.request = match Request::new(head, destination, time, context) {
                Ok(request) => RequestState::Reading(Box::new(request)),
                Err(outcome) => RequestState::without_call(&outcome),
            };
        }
    }

    /// Takes any event but a request's head.
    pub(crate) fn event(&mut self, event: &HttpEvent, limits: &Limits, out: &mut Vec<AiEvent>) {
        self.last_seen = event.time;
        self.mcp_event(event, limits, out);
        match &event.kind {
            HttpEventKind::RequestHead(_)
            | HttpEventKind::InformationalHead(_)
            | HttpEventKind::JsonRpcLine(_) => {}
            HttpEventKind::WebSocketMessage(message) => {
                if let Some(socket) = &mut self.socket {
                    socket.message(self.id, event.time, message, limits, out);
                }
            }
            HttpEventKind::Problem(problem) => {
                self.resynchronised |= problem.kind == ProblemKind::Resynchronised;
                self.fields_unknown |= problem.kind == ProblemKind::HpackUnreliable;
            }
            HttpEventKind::RequestBody(bytes) => {
                self.read_request(|request| request.push(event.time, bytes, limits));
                self.replay(limits, out);
            }
            HttpEventKind::RequestBodyGap { .. } => {
                self.read_request(|request| request.gap(event.time));
                self.replay(limits, out);
            }
            HttpEventKind::RequestEnd(end) => {
                self.end_request(Some(end), None, limits, out);
                self.replay(limits, out);
            }
            HttpEventKind::ResponseHead(_)
            | HttpEventKind::ResponseBody(_)
            | HttpEventKind::ResponseBodyGap { .. }
            | HttpEventKind::ResponseEnd(_)
            | HttpEventKind::Upgraded { .. } => {
                if !matches!(self.request, RequestState::Reading(_)) {
                    self.response_event(event, limits, out);
                    return;
                }
                let bytes = match &event.kind {
                    HttpEventKind::ResponseBody(bytes) => bytes.len(),
                    _ => 0,
                };
                self.early_bytes += bytes + size_of::<HttpEvent>();
                self.early.push(event.clone());
                if self.early_bytes > limits.body_bytes {
                    self.end_request(None, Some("response_before_request_end"), limits, out);
                    self.replay(limits, out);
                }
            }
        }
    }

    /// Ends an answer that said that nothing of it follows, though the message has not ended.
    pub(crate) fn end_if_answered(&mut self, time: Nanos, limits: &Limits, out: &mut Vec<AiEvent>) {
        if self.response.as_ref().is_some_and(Response::has_ended) {
            self.end_response(None, None, time, limits, out);
        }
    }

    /// Whether nothing more can come.
    pub(crate) fn is_over(&self) -> bool {
        self.response.is_none()
            && !matches!(self.request, RequestState::Reading(_))
            && self.socket.as_ref().is_none_or(|socket| !socket.is_open || socket.is_over())
            && self.mcp.as_ref().is_none_or(|mcp| mcp.is_over())
    }

    /// Ends what has not ended, for `reason`.
    pub(crate) fn cut_short(mut self, time: Nanos, reason: &str, limits: &Limits, out: &mut Vec<AiEvent>) {
        self.end_request(None, Some(reason), limits, out);
        self.replay(limits, out);
        self.end_response(None, Some(reason), time, limits, out);
        if let Some(socket) = &mut self.socket {
            socket.end(self.id, time, Some(reason), out);
        }
        if let Some(mcp) = &mut self.mcp {
            mcp.cut_short(self.id, time, limits, out);
        }
    }

    /// Keeps nothing more of the bodies, for want of room; says whether that is news.
    pub(crate) fn give_up(&mut self) -> bool {
        let mut news = match &mut self.request {
            RequestState::Reading(request) => request.give_up(),
            _ => false,
        };
        for event in &mut self.early {
            if let HttpEventKind::ResponseBody(bytes) = &event.kind {
                self.early_bytes -= bytes.len();
                event.kind = HttpEventKind::ResponseBodyGap { lost: bytes.len() as u64 };
                news = true;
            }
        }
        news |= self.mcp.as_mut().is_some_and(|mcp| mcp.give_up());
        news |= self.socket.as_mut().is_some_and(|socket| socket.give_up());
        news | self.response.as_mut().is_some_and(Response::give_up)
    }

    pub(crate) fn buffered(&self) -> usize {
        let request = match &self.request {
            RequestState::Reading(request) => request.buffered(),
            _ => 0,
        };
        let socket = self.socket.as_ref().map_or(0, |socket| socket.buffered());
        let mcp = self.mcp.as_ref().map_or(0, |mcp| mcp.buffered());
        request + self.response.as_ref().map_or(0, Response::buffered) + socket + mcp + self.early_bytes
    }

    /// Hands an event to what reads messages of MCP. What is MCP's is no call to a model, and the other way round.
    fn mcp_event(&mut self, event: &HttpEvent, limits: &Limits, out: &mut Vec<AiEvent>) {
        let Some(mcp) = &mut self.mcp else { return };
        mcp.event(event, limits, out);
        if mcp.is_other() || matches!(self.request, RequestState::Recognised(_)) {
            self.mcp = None;
        } else if mcp.is_certain() && matches!(self.request, RequestState::Reading(_)) {
            self.request = RequestState::Unrecognised { may_answer: false };
            self.early.clear();
            self.early_bytes = 0;
        }
    }

    fn read_request(&mut self, read: impl FnOnce(&mut Request) -> Result<(), Outcome>) {
        if let RequestState::Reading(request) = &mut self.request
            && let Err(outcome) = read(request)
        {
            self.request = RequestState::without_call(&outcome);
        }
    }

    fn end_request(
        &mut self,
        end: Option<&BodyEnd>,
        cut_short: Option<&str>,
        limits: &Limits,
        out: &mut Vec<AiEvent>,
    ) {
        match std::mem::replace(&mut self.request, RequestState::Unseen) {
            RequestState::Reading(request) => match request.finish(self.id, end, cut_short, limits) {
                Outcome::Call(mut call, recognised) => {
                    if self.resynchronised {
                        call.findings.lower(Level::Medium);
                        call.findings.reason("resynchronised");
                    }
                    if self.fields_unknown {
                        call.findings.lower(Level::Medium);
                        call.findings.reason("header_fields_unknown");
                    }
                    out.push(AiEvent::Request(call));
                    self.request = RequestState::Recognised(recognised);
                }
                outcome @ (Outcome::Unrecognised { .. } | Outcome::Fetches(_)) => {
                    self.request = RequestState::without_call(&outcome);
                }
            },
            other => self.request = other,
        }
    }

    /// Takes up the early response events once the request is read.
    fn replay(&mut self, limits: &Limits, out: &mut Vec<AiEvent>) {
        if matches!(self.request, RequestState::Reading(_)) {
            return;
        }
        self.early_bytes = 0;
        for event in std::mem::take(&mut self.early) {
            self.response_event(&event, limits, out);
        }
    }

    fn response_event(&mut self, event: &HttpEvent, limits: &Limits, out: &mut Vec<AiEvent>) {
        if let (HttpEventKind::Upgraded { protocol: UpgradeProtocol::WebSocket }, Some(socket)) =
            (&event.kind, &mut self.socket)
        {
            socket.is_open = true;
        }
        let (recognised, may_answer) = self.request.recognised();
        let Some(response) = &mut self.response else { return };
        match &event.kind {
            HttpEventKind::ResponseHead(head) => response.head(head, recognised, may_answer),
            HttpEventKind::ResponseBody(bytes) => response.push(event.time, bytes, recognised, limits),
            HttpEventKind::ResponseBodyGap { .. } => response.gap(event.time, recognised, limits),
            // The answer follows, by HTTP/2.
            HttpEventKind::Upgraded { protocol: UpgradeProtocol::Http2 } => {}
            HttpEventKind::Upgraded { .. } => response.upgraded(),
            HttpEventKind::ResponseEnd(end) => self.end_response(Some(end), None, event.time, limits, out),
            _ => {}
        }
        if limits.streaming_chunks
            && let Some(response) = &mut self.response
        {
            tell(self.id, &self.request, response.take_chunks(), out);
        }
    }

    fn end_response(
        &mut self,
        end: Option<&BodyEnd>,
        cut_short: Option<&str>,
        time: Nanos,
        limits: &Limits,
        out: &mut Vec<AiEvent>,
    ) {
        let (recognised, _) = self.request.recognised();
        if let Some(response) = self.response.take()
            && let Some((mut answer, chunks)) =
                response.finish(self.id, end, cut_short, recognised, time, limits)
        {
            if let RequestState::Fetches(_) = self.request {
                if !is_late_answer(&answer) {
                    return;
                }
                answer.has_request = false;
                answer.extension.insert("fetched".to_owned(), true.into());
            }
            if self.resynchronised {
                answer.findings.lower(Level::Medium);
                answer.findings.reason("resynchronised");
            }
            if self.fields_unknown {
                answer.findings.lower(Level::Medium);
                answer.findings.reason("header_fields_unknown");
            }
            tell(self.id, &self.request, chunks, out);
            out.push(AiEvent::Response(Box::new(answer)));
        }
    }
}

/// Tells parts of a response whose request was told.
fn tell(id: ExchangeId, request: &RequestState, chunks: Vec<Draft>, out: &mut Vec<AiEvent>) {
    let RequestState::Recognised(request) = request else { return };
    out.extend(
        chunks.into_iter().map(|chunk| {
            AiEvent::Chunk(Box::new(chunk.of(id, request.detection.clone(), request.completed)))
        }),
    );
}

/// Whether what was fetched is an answer that nothing has told of yet: not that it is still being made, and not one that
/// was given when it was asked for.
fn is_late_answer(answer: &AiAnswer) -> bool {
    let is_read =
        answer.response.status_code.is_some_and(|status| status < 400) && answer.findings.missing.is_empty();
    let status = answer.extension.get("status").and_then(Value::as_str);
    let is_open = matches!(status, Some("queued" | "in_progress" | "starting" | "processing"));
    // What was not made in the background was the answer to its own request.
    let was_told = answer.extension.get("api_format").is_some_and(|format| format == "openai_responses")
        && !answer.extension.contains_key("background");
    is_read && !is_open && !was_told
}

impl RequestState {
    fn without_call(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Unrecognised { may_answer } => Self::Unrecognised { may_answer: *may_answer },
            Outcome::Call(_, recognised) => Self::Recognised(recognised.clone()),
            Outcome::Fetches(recognised) => Self::Fetches(recognised.clone()),
        }
    }

    /// What the request was recognised as, and whether a response is worth a look if it was not.
    fn recognised(&self) -> (Option<&Recognised>, bool) {
        match self {
            Self::Recognised(recognised) | Self::Fetches(recognised) => (Some(recognised), true),
            Self::Unrecognised { may_answer } => (None, *may_answer),
            Self::Unseen => (None, true),
            Self::Reading(_) => (None, false),
        }
    }
}
