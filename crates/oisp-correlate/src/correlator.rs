//! Events from what was understood and who did it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use oisp_ai::prices::enter_estimate;
use oisp_ai::{AiAnswer, AiCall, AiChunk, AiEvent, Detection, Findings};
use oisp_capture::{
    ConnectionId, MonotonicNanos, ProcessExited, ProcessForked, ProcessId, ProcessStarted, SocketEnds,
};
use oisp_decode::ExchangeId;
use oisp_event::{
    AiEmbedding, CaptureMethod, Confidence, ContentSource, Event, EventId, EventIdGenerator, Extension, Host,
    Model, OISP_VERSION, Payload, ProcessAttribution, ProcessExec, ProcessExit, RelatedEvent, Relationship,
    Source, TerminationType,
};
use serde_json::{Map, Value, json};

use crate::conversations::Conversations;
use crate::mcp::Sessions;
use crate::tools::{MAX_OF_ONE, NewResult, Tools, call_of_model};
use crate::{Clock, ProcessLookup, ProcessTable};

/// Requests that wait for their response; of more than that the oldest are forgotten, and their responses stand alone.
const MAX_WAITING: usize = 65_536;

/// Where an AI event was captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallOrigin {
    /// The connection.
    pub connection: ConnectionId,
    /// The thread that transferred its last bytes.
    pub thread: u32,
    /// The function that transferred them.
    pub function: &'static str,
    /// The socket that the connection uses, where it is known.
    pub socket: Option<SocketEnds>,
}

/// Makes events.
pub struct Correlator {
    host: Arc<Host>,
    pub(crate) clock: Clock,
    pub(crate) processes: ProcessTable,
    pub(crate) ids: EventIdGenerator,
    pub(crate) waiting: BTreeMap<(ConnectionId, ExchangeId), Waiting>,
    pub(crate) tools: Tools,
    pub(crate) sessions: Sessions,
    pub(crate) conversations: Conversations,
}

/// A request whose response has not come.
pub(crate) struct Waiting {
    request_id: String,
    event_id: EventId,
    conversation_id: Option<String>,
    model: Option<String>,
}

impl Correlator {
    /// A correlator for events of one host.
    #[must_use]
    pub fn new(host: Host, clock: Clock, lookup: Box<dyn ProcessLookup>, ids: EventIdGenerator) -> Self {
        Self {
            host: Arc::new(host),
            clock,
            processes: ProcessTable::new(lookup),
            ids,
            waiting: BTreeMap::new(),
            tools: Tools::default(),
            conversations: Conversations::default(),
            sessions: Sessions::default(),
        }
    }

    /// Uses another clock from now on: the host's may have been set.
    pub fn set_clock(&mut self, clock: Clock) {
        self.clock = clock;
    }

    /// What is known of a process, as events have it.
    pub fn process(&mut self, process: ProcessId) -> oisp_event::Process {
        self.processes.process(process, self.clock)
    }

    /// The user that a process runs as.
    pub fn actor(&mut self, process: ProcessId) -> Option<oisp_event::Actor> {
        self.processes.actor(process)
    }

    /// A program was started: `process.exec`.
    pub fn process_started(&mut self, notice: &ProcessStarted) -> Event {
        self.processes.started(notice);
        let text = |path: &std::path::Path| path.to_string_lossy().into_owned();
        let payload = Payload::ProcessExec(ProcessExec {
            exe: text(&notice.executable),
            args: notice.arguments.clone(),
            cwd: notice.working_directory.as_deref().map(text),
        });
        let mut event = self.process_event(payload, notice.process, notice.time, "sched_process_exec");
        if notice.arguments_truncated {
            event.confidence.completeness = oisp_event::Completeness::Partial;
            event.confidence.limitations.push("arguments_truncated".to_owned());
        }
        if notice.filename != notice.executable {
            event.ext.set("filename", text(&notice.filename));
        }
        event
    }

    /// A process made another. Not an event: its programs will be.
    pub fn process_forked(&mut self, notice: ProcessForked) {
        self.processes.forked(notice);
    }

    /// A process ended: `process.exit`.
    pub fn process_exited(&mut self, notice: &ProcessExited) -> Event {
        let runtime = self.processes.exited(notice);
        self.tools.process_exited(notice.process);
        self.conversations.process_exited(notice.process);
        let signal = notice.status.signal();
        let payload = Payload::ProcessExit(ProcessExit {
            exit_code: notice.status.exit_code().unwrap_or_else(|| 128 + signal.unwrap_or(0)),
            signal,
            signal_name: signal.and_then(signal_name).map(str::to_owned),
            runtime_ms: runtime.map(|nanoseconds| nanoseconds / 1_000_000),
            termination_type: Some(match signal {
                None => TerminationType::Normal,
                Some(_) if notice.status.dumped_core() => TerminationType::Coredump,
                Some(_) => TerminationType::Signaled,
            }),
        });
        self.process_event(payload, notice.process, notice.time, "sched_process_exit")
    }

    /// A request or a response, and what follows from it: `ai.request` and an `agent.tool_result` for each result in it;
    /// `ai.response`, an `agent.tool_call` for each call that it asks for, and an `ai.embedding`. A part of a response, where
    /// such are asked for: `ai.streaming_chunk`, whose text the redaction stage holds back until it can judge it. Of a message
    /// of MCP: `agent.session`, `agent.tool_call` where no model asked for the call, `agent.tool_result`.
    pub fn ai_event(&mut self, origin: CallOrigin, event: AiEvent) -> Vec<Event> {
        match event {
            AiEvent::Request(call) => self.request(origin, *call),
            AiEvent::Response(answer) => self.response(origin, *answer),
            AiEvent::Chunk(chunk) => self.chunk(origin, *chunk).into_iter().collect(),
            AiEvent::Mcp(message) => self.mcp_message(origin, *message),
        }
    }

    /// A connection is over: requests on it will not be answered any more.
    pub fn connection_closed(&mut self, connection: ConnectionId) {
        let first = (connection, ExchangeId(0));
        let last = (connection, ExchangeId(u64::MAX));
        let left: Vec<_> = self.waiting.range(first..=last).map(|(key, _)| *key).collect();
        for key in left {
            self.waiting.remove(&key);
        }
    }

    fn request(&mut self, origin: CallOrigin, call: AiCall) -> Vec<Event> {
        let (results, untold) = self.tools.results(origin.connection.process, &call);
        let event_id = self.ids.next(self.clock.wall(call.completed));
        let conversation_id = self.conversations.of_request(origin.connection.process, &call, &event_id);
        let AiCall { exchange, mut request, detection, started, completed, mut findings, mut extension } =
            call;
        if untold > 0 {
            findings.limitations.push(format!("{untold}_tool_results_not_told_as_events"));
        }
        let request_id = format!("req_{event_id}");
        request.request_id.clone_from(&request_id);
        request.conversation_id.clone_from(&conversation_id);
        if self.waiting.len() >= MAX_WAITING {
            // Connections sort by process and age: the first is as good a victim as any, and it is found at once.
            self.waiting.pop_first();
        }
        let model = request.model.as_ref().map(|model| model.id.clone());
        let waiting = Waiting { request_id, event_id: event_id.clone(), conversation_id, model };
        self.waiting.insert((origin.connection, exchange), waiting);
        extension
            .insert("timing".to_owned(), json!({ "started_ns": started.0, "completed_ns": completed.0 }));
        let payload = Payload::AiRequest(Box::new(request));
        let mut events =
            vec![self.call_event(payload, event_id, completed, origin, &detection, &findings, extension)];
        for NewResult { result, call, by_name } in results {
            let event_id = self.ids.next(self.clock.wall(completed));
            let payload = Payload::AgentToolResult(Box::new(result));
            let extension = call_id_source(by_name);
            let mut event =
                self.call_event(payload, event_id, completed, origin, &detection, &findings, extension);
            relate(&mut event, call, Relationship::Parent);
            relate(&mut event, Some(events[0].event_id.clone()), Relationship::Related);
            events.push(event);
        }
        events
    }

    /// `None` where its request was forgotten.
    fn chunk(&mut self, origin: CallOrigin, chunk: AiChunk) -> Option<Event> {
        let AiChunk { exchange, mut chunk, detection, time, extension, .. } = chunk;
        let waiting = self.waiting.get(&(origin.connection, exchange))?;
        chunk.request_id.clone_from(&waiting.request_id);
        let request = waiting.event_id.clone();
        let event_id = self.ids.next(self.clock.wall(time));
        let payload = Payload::AiStreamingChunk(Box::new(chunk));
        let findings = Findings::default();
        let mut event = self.call_event(payload, event_id, time, origin, &detection, &findings, extension);
        relate(&mut event, Some(request), Relationship::CausedBy);
        Some(event)
    }

    fn response(&mut self, origin: CallOrigin, answer: AiAnswer) -> Vec<Event> {
        let AiAnswer {
            exchange,
            mut response,
            embedding,
            detection,
            has_request: _,
            timings,
            mut findings,
            mut extension,
        } = answer;
        let time = timings.last_byte.or(timings.first_byte).or(timings.request_completed).unwrap_or_default();
        let wall = self.clock.wall(time);
        let event_id = self.ids.next(wall);
        let waiting = self.waiting.remove(&(origin.connection, exchange));
        response.request_id =
            waiting.as_ref().map_or_else(|| format!("req_{event_id}"), |waiting| waiting.request_id.clone());
        if let Some(conversation) = waiting.as_ref().and_then(|waiting| waiting.conversation_id.as_deref()) {
            response.conversation_id = Some(conversation.to_owned());
            let failed = response.success == Some(false);
            self.conversations.answered(origin.connection.process, conversation, time, failed, &extension);
        }
        let model_asked = waiting.as_ref().and_then(|waiting| waiting.model.as_deref());
        enter_estimate(&mut response, &mut extension, model_asked, wall.unix_seconds());
        let incomplete: Vec<u64> = extension
            .get("incomplete_tool_calls")
            .and_then(Value::as_array)
            .map(|numbers| numbers.iter().filter_map(Value::as_u64).collect())
            .unwrap_or_default();
        let process = origin.connection.process;
        let calls: Vec<_> = response
            .tool_calls
            .iter()
            .take(MAX_OF_ONE)
            .map(|call| {
                let mut call = call_of_model(call);
                let server = self.complete(process, &mut call.tool);
                (call, server)
            })
            .collect();
        let untold = response.tool_calls.len() - calls.len();
        if untold > 0 {
            findings.limitations.push(format!("{untold}_tool_calls_not_told_as_events"));
        }
        let embedding = embedding.map(|embedding| AiEmbedding {
            provider: response.provider.clone(),
            model: response.model.clone().or_else(|| model_asked.map(|id| Model { id: id.to_owned() })),
            input_count: Some(embedding.count),
            total_tokens: response
                .usage
                .as_ref()
                .and_then(|usage| usage.total_tokens.or(usage.prompt_tokens)),
            dimensions: embedding.dimensions,
            latency_ms: response.latency_ms,
        });
        let payload = Payload::AiResponse(Box::new(response));
        let mut event =
            self.call_event(payload, event_id.clone(), time, origin, &detection, &findings, extension);
        relate(&mut event, waiting.map(|waiting| waiting.event_id), Relationship::CausedBy);
        let mut events = vec![event];
        for (number, (mut call, server)) in calls.into_iter().enumerate() {
            let call_event_id = self.ids.next(wall);
            let unnumbered = self.tools.asked(origin.connection.process, &mut call, &call_event_id, time);
            // What the answer lacks elsewhere says nothing of a call whose arguments are whole.
            let findings =
                if incomplete.contains(&(number as u64)) { findings.clone() } else { Findings::default() };
            let payload = Payload::AgentToolCall(Box::new(call));
            let mut extension = call_id_source(unnumbered);
            extension.extend(server.map(|server| ("mcp".to_owned(), server)));
            let mut event =
                self.call_event(payload, call_event_id, time, origin, &detection, &findings, extension);
            relate(&mut event, Some(event_id.clone()), Relationship::CausedBy);
            events.push(event);
        }
        if let Some(embedding) = embedding {
            let embedding_id = self.ids.next(wall);
            let payload = Payload::AiEmbedding(Box::new(embedding));
            let mut event =
                self.call_event(payload, embedding_id, time, origin, &detection, &findings, Map::new());
            relate(&mut event, Some(event_id), Relationship::Related);
            events.push(event);
        }
        // Agents act on what they read of an answer before its end was seen here.
        events.extend(self.settle(process));
        events
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of an event, each from another place")]
    pub(crate) fn call_event(
        &mut self,
        payload: Payload,
        event_id: EventId,
        time: MonotonicNanos,
        origin: CallOrigin,
        detection: &Detection,
        findings: &Findings,
        mut extension: Map<String, Value>,
    ) -> Event {
        let connection = origin.connection;
        extension.insert("provider_id".to_owned(), detection.provider_id.clone().into());
        let mut told = json!({ "object": format!("{:#x}", connection.object), "born_ns": connection.born.0 });
        if let Some(socket) = origin.socket {
            told["local"] = endpoint(socket.local);
            told["remote"] = endpoint(socket.remote);
        }
        extension.insert("connection".to_owned(), told);
        let mut confidence = Confidence::high();
        confidence.lower_to(detection.confidence);
        confidence.reasons.push("tls_boundary_capture".to_owned());
        confidence.content_source = Some(ContentSource::TlsBoundary);
        confidence.process_attribution = Some(ProcessAttribution::Direct);
        confidence.ai_detection_method = Some(detection.method);
        findings.apply_to(&mut confidence);
        if findings.lost_bytes > 0 {
            extension.insert("lost_bytes".to_owned(), findings.lost_bytes.into());
        }
        let mut process = self.processes.process(connection.process, self.clock);
        process.thread_id = Some(origin.thread);
        Event {
            oisp_version: OISP_VERSION.to_owned(),
            event_id,
            ts: self.clock.wall(time),
            ts_mono: Some(time.0),
            payload,
            host: Some(Arc::clone(&self.host)),
            actor: self.processes.actor(connection.process),
            process: Some(process),
            source: source(CaptureMethod::EbpfUprobe, origin.function),
            confidence,
            ext: Extension { oisp_sensor: extension },
            related_events: Vec::new(),
        }
    }

    fn process_event(
        &mut self,
        payload: Payload,
        process: ProcessId,
        time: MonotonicNanos,
        tracepoint: &str,
    ) -> Event {
        let ts = self.clock.wall(time);
        let mut confidence = Confidence::high();
        confidence.reasons.push("kernel_tracepoint".to_owned());
        confidence.process_attribution = Some(ProcessAttribution::Direct);
        Event {
            oisp_version: OISP_VERSION.to_owned(),
            event_id: self.ids.next(ts),
            ts,
            ts_mono: Some(time.0),
            payload,
            host: Some(Arc::clone(&self.host)),
            actor: self.processes.actor(process),
            process: Some(self.processes.process(process, self.clock)),
            source: source(CaptureMethod::EbpfTracepoint, tracepoint),
            confidence,
            ext: Extension::default(),
            related_events: Vec::new(),
        }
    }
}

/// Some services (Ollama, Gemini before its version 3) give calls no ids.
fn call_id_source(is_ours: bool) -> Map<String, Value> {
    let source = is_ours.then(|| ("call_id_source".to_owned(), Value::from("sensor")));
    source.into_iter().collect()
}

pub(crate) fn relate(event: &mut Event, other: Option<EventId>, relationship: Relationship) {
    event.related_events.extend(other.map(|event_id| RelatedEvent { event_id, relationship }));
}

/// As the specification's network events have one.
fn endpoint(address: SocketAddr) -> Value {
    json!({ "ip": address.ip(), "port": address.port() })
}

fn source(method: CaptureMethod, point: &str) -> Source {
    Source {
        collector: "oisp-sensor".to_owned(),
        collector_version: Some(env!("CARGO_PKG_VERSION").to_owned()),
        capture_method: Some(method),
        capture_point: Some(point.to_owned()),
    }
}

/// Names of the signals that end processes (signal(7)); the numbers are those of x86 and Arm.
fn signal_name(signal: i32) -> Option<&'static str> {
    Some(match signal {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        5 => "SIGTRAP",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        10 => "SIGUSR1",
        11 => "SIGSEGV",
        12 => "SIGUSR2",
        13 => "SIGPIPE",
        14 => "SIGALRM",
        15 => "SIGTERM",
        16 => "SIGSTKFLT",
        24 => "SIGXCPU",
        25 => "SIGXFSZ",
        26 => "SIGVTALRM",
        27 => "SIGPROF",
        29 => "SIGIO",
        30 => "SIGPWR",
        31 => "SIGSYS",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::NoLookup;
    use oisp_ai::Timings;
    use oisp_capture::{Nanos, WaitStatus};
    use oisp_event::{AiRequest, AiResponse, DetectionMethod, Level, Role};

    fn correlator() -> Correlator {
        let ids = EventIdGenerator::with_seed(1);
        Correlator::new(Host::default(), Clock::with_difference(0), Box::new(NoLookup), ids)
    }

    fn origin(object: u64) -> CallOrigin {
        CallOrigin {
            connection: ConnectionId { process: ProcessId(7), object, born: Nanos(1) },
            thread: 8,
            function: "SSL_write",
            socket: None,
        }
    }

    fn detection() -> Detection {
        Detection {
            provider_id: "openrouter".to_owned(),
            method: DetectionMethod::KnownEndpoint,
            confidence: Level::High,
        }
    }

    fn call(exchange: u64) -> AiEvent {
        AiEvent::Request(Box::new(AiCall {
            exchange: ExchangeId(exchange),
            request: AiRequest::default(),
            detection: detection(),
            started: Nanos(10),
            completed: Nanos(2_000_000),
            findings: Findings::default(),
            extension: Map::new(),
        }))
    }

    fn answer(exchange: u64, findings: Findings) -> AiEvent {
        AiEvent::Response(Box::new(AiAnswer {
            exchange: ExchangeId(exchange),
            response: AiResponse::default(),
            embedding: None,
            detection: detection(),
            has_request: true,
            timings: Timings { last_byte: Some(Nanos(9_000_000)), ..Timings::default() },
            findings,
            extension: Map::new(),
        }))
    }

    fn only(mut events: Vec<Event>) -> Event {
        assert_eq!(events.len(), 1, "{events:?}");
        events.remove(0)
    }

    fn request_id(event: &Event) -> &str {
        match &event.payload {
            Payload::AiRequest(request) => &request.request_id,
            Payload::AiResponse(response) => &response.request_id,
            other => panic!("not a call: {}", other.event_type()),
        }
    }

    #[test]
    fn response_has_its_requests_id_and_names_its_event_though_others_came_between() {
        let mut correlator = correlator();
        let first = only(correlator.ai_event(origin(1), call(1)));
        let other_connection = only(correlator.ai_event(origin(2), call(1)));
        let second = only(correlator.ai_event(origin(1), call(2)));
        let answered = only(correlator.ai_event(origin(1), answer(1, Findings::default())));
        assert_eq!(request_id(&answered), request_id(&first));
        assert_ne!(request_id(&first), request_id(&other_connection));
        assert_ne!(request_id(&first), request_id(&second));
        assert_eq!(answered.related_events[0].event_id, first.event_id);
        assert!(answered.event_id > first.event_id);
        assert_eq!(answered.ext.oisp_sensor["provider_id"], "openrouter");
    }

    #[test]
    fn socket_of_the_connection_is_told_where_it_is_known() {
        let mut correlator = correlator();
        let first = only(correlator.ai_event(origin(1), call(1)));
        assert!(first.ext.oisp_sensor["connection"].get("remote").is_none());
        let ends = SocketEnds {
            local: "[::1]:40000".parse().expect("an address"),
            remote: "[2001:db8::1]:443".parse().expect("an address"),
        };
        let known = CallOrigin { socket: Some(ends), ..origin(1) };
        let answered = only(correlator.ai_event(known, answer(1, Findings::default())));
        let connection = &answered.ext.oisp_sensor["connection"];
        assert_eq!(connection["local"], json!({ "ip": "::1", "port": 40000 }));
        assert_eq!(connection["remote"], json!({ "ip": "2001:db8::1", "port": 443 }));
    }

    #[test]
    fn response_after_its_connection_was_closed_stands_alone() {
        let mut correlator = correlator();
        let first = only(correlator.ai_event(origin(1), call(1)));
        correlator.connection_closed(origin(1).connection);
        let answered = only(correlator.ai_event(origin(1), answer(1, Findings::default())));
        assert_ne!(request_id(&answered), request_id(&first));
        assert!(answered.related_events.is_empty());
    }

    fn part(exchange: u64) -> AiEvent {
        AiEvent::Chunk(Box::new(AiChunk {
            exchange: ExchangeId(exchange),
            chunk: oisp_event::AiStreamingChunk::default(),
            detection: detection(),
            time: Nanos(5_000_000),
            choice: 0,
            call_numbers: Vec::new(),
            is_last: false,
            extension: Map::new(),
        }))
    }

    #[test]
    fn part_of_a_response_names_its_request_and_leaves_the_response_its_own() {
        let mut correlator = correlator();
        let request = only(correlator.ai_event(origin(1), call(1)));
        let chunk = only(correlator.ai_event(origin(1), part(1)));
        let Payload::AiStreamingChunk(data) = &chunk.payload else { panic!("a chunk") };
        assert_eq!(data.request_id, request_id(&request));
        assert_eq!(chunk.related_events[0].event_id, request.event_id);
        assert_eq!(correlator.ai_event(origin(1), part(2)), [], "of a request that was not seen");
        let answered = only(correlator.ai_event(origin(1), answer(1, Findings::default())));
        assert_eq!(request_id(&answered), request_id(&request));
        assert!(request.event_id < chunk.event_id && chunk.event_id < answered.event_id);
    }

    #[test]
    fn response_is_of_its_requests_conversation() {
        let mut correlator = correlator();
        let conversation = |event: &Event| match &event.payload {
            Payload::AiRequest(request) => request.conversation_id.clone(),
            Payload::AiResponse(response) => response.conversation_id.clone(),
            other => panic!("not a call: {}", other.event_type()),
        };
        let ask = |exchange, texts: &[&str]| {
            let AiEvent::Request(mut request) = call(exchange) else { panic!("a call") };
            let roles = [Role::User, Role::Assistant].into_iter().cycle();
            let messages = roles.zip(texts).map(|(role, text)| oisp_event::Message::text(role, *text));
            request.request.messages = messages.collect();
            AiEvent::Request(request)
        };
        let first = only(correlator.ai_event(origin(1), ask(1, &["one"])));
        let other = only(correlator.ai_event(origin(2), ask(1, &["two"])));
        let answered = only(correlator.ai_event(origin(1), answer(1, Findings::default())));
        let second = only(correlator.ai_event(origin(3), ask(1, &["one", "yes", "go on"])));
        let begun = conversation(&first);
        assert!(begun.is_some() && begun != conversation(&other));
        assert_eq!((conversation(&answered), conversation(&second)), (begun.clone(), begun));
        let none = only(correlator.ai_event(origin(2), answer(7, Findings::default())));
        assert_eq!(conversation(&none), None, "a response alone");
    }

    #[test]
    fn lost_bytes_lower_confidence_and_are_told() {
        let mut correlator = correlator();
        let findings = Findings {
            level: Level::Low,
            completeness: oisp_event::Completeness::Partial,
            reasons: vec!["bytes_lost".to_owned()],
            lost_bytes: 4096,
            ..Findings::default()
        };
        let event = only(correlator.ai_event(origin(1), answer(1, findings)));
        assert_eq!(event.confidence.level, Level::Low);
        assert_eq!(event.confidence.completeness, oisp_event::Completeness::Partial);
        assert_eq!(event.ext.oisp_sensor["lost_bytes"], 4096);
    }

    #[test]
    fn exit_by_signal_is_told_as_shells_do() {
        let mut correlator = correlator();
        let notice = ProcessExited { process: ProcessId(7), status: WaitStatus(9), time: Nanos(3) };
        let event = correlator.process_exited(&notice);
        let Payload::ProcessExit(exit) = &event.payload else { panic!("an exit") };
        assert_eq!(
            (exit.exit_code, exit.signal, exit.signal_name.as_deref()),
            (137, Some(9), Some("SIGKILL"))
        );
        assert_eq!(exit.termination_type, Some(TerminationType::Signaled));
        assert_eq!(exit.runtime_ms, None, "its start was not seen");
    }

    fn answer_with_calls(exchange: u64, calls: &[(&str, &str)]) -> AiEvent {
        let AiEvent::Response(mut answer) = answer(exchange, Findings::default()) else {
            panic!("an answer")
        };
        answer.response.tool_calls = calls
            .iter()
            .map(|(id, arguments)| oisp_event::ToolCall {
                id: Some((*id).to_owned()),
                name: Some("read_file".to_owned()),
                arguments: Some((*arguments).to_owned()),
                ..oisp_event::ToolCall::default()
            })
            .collect();
        AiEvent::Response(answer)
    }

    /// A request with the whole conversation: an answer of the model, then results, the last `new` of them after it.
    fn call_with_results(exchange: u64, old: &[&str], new: &[&str]) -> AiEvent {
        let AiEvent::Request(mut request) = call(exchange) else { panic!("a call") };
        let message = |role, id: Option<&&str>| oisp_event::Message {
            tool_call_id: id.map(|id| (*id).to_owned()),
            ..oisp_event::Message::text(role, "what it gave")
        };
        let results =
            |ids: &[&str]| -> Vec<_> { ids.iter().map(|id| message(Role::Tool, Some(id))).collect() };
        request.request.messages =
            [results(old), vec![message(Role::Assistant, None)], results(new)].concat();
        request.started = Nanos(12_000_000);
        AiEvent::Request(request)
    }

    #[test]
    fn tool_call_and_its_result_are_told_once_and_name_each_other() {
        let mut correlator = correlator();
        only(correlator.ai_event(origin(1), call(1)));
        let answered = correlator.ai_event(
            origin(1),
            answer_with_calls(1, &[("call_1", "{\"path\":\"/x\"}"), ("call_2", "text")]),
        );
        let [response, first, second] = answered.as_slice() else { panic!("{answered:?}") };
        let Payload::AgentToolCall(tool_call) = &first.payload else { panic!("a tool call") };
        assert_eq!(tool_call.call_id.as_deref(), Some("call_1"));
        assert_eq!(tool_call.arguments.as_ref().expect("arguments")["path"], "/x");
        assert_eq!(first.related_events[0].event_id, response.event_id);
        assert!(response.event_id < first.event_id && first.event_id < second.event_id);

        // The next request, on another connection of the process, brings one result; the one after it both.
        let told = correlator.ai_event(origin(2), call_with_results(1, &[], &["call_1"]));
        let [request, result] = told.as_slice() else { panic!("{told:?}") };
        let Payload::AgentToolResult(tool_result) = &result.payload else { panic!("a result") };
        assert_eq!(tool_result.tool.as_ref().and_then(|tool| tool.name.as_deref()), Some("read_file"));
        assert_eq!((tool_result.duration_ms, tool_result.result_size_bytes), (Some(3), Some(12)));
        assert_eq!(result.related_events[0].event_id, first.event_id);
        assert_eq!(result.related_events[1].event_id, request.event_id);
        let told = correlator.ai_event(origin(2), call_with_results(2, &["call_1"], &["call_2"]));
        assert_eq!(told.len(), 2);
        only(correlator.ai_event(origin(2), call_with_results(3, &["call_1", "call_2"], &[])));
    }

    #[test]
    fn result_without_an_id_is_that_of_the_oldest_call_without_one_of_its_tool_and_is_told_once() {
        let calls_without_ids = |exchange| {
            let AiEvent::Response(mut answer) = answer_with_calls(exchange, &[("", "{}"), ("", "{}")]) else {
                panic!("an answer")
            };
            answer.response.tool_calls.iter_mut().for_each(|call| call.id = None);
            AiEvent::Response(answer)
        };
        let results = |exchange, old: &[&str], new: &[&str]| {
            let AiEvent::Request(mut request) = call_with_results(exchange, old, new) else {
                panic!("a call")
            };
            for message in request.request.messages.iter_mut().filter(|message| message.role == Role::Tool) {
                message.tool_call_id = None;
                message.name = Some("read_file".to_owned());
            }
            AiEvent::Request(request)
        };
        let mut correlator = correlator();
        only(correlator.ai_event(origin(1), call(1)));
        let answered = correlator.ai_event(origin(1), calls_without_ids(1));
        let told = correlator.ai_event(origin(1), results(2, &[], &["", ""]));
        assert_eq!((answered.len(), told.len()), (3, 3));
        for (call, result) in answered[1..].iter().zip(&told[1..]) {
            let (Payload::AgentToolCall(asked), Payload::AgentToolResult(given)) =
                (&call.payload, &result.payload)
            else {
                panic!("a call and its result")
            };
            assert_eq!(asked.call_id.as_deref(), Some(call.event_id.as_str()));
            assert_eq!(given.call_id, call.event_id.as_str());
            assert_eq!(result.related_events[0].event_id, call.event_id);
            for event in [call, result] {
                assert_eq!(event.ext.oisp_sensor["call_id_source"], "sensor");
            }
        }
        // A retry, and a later turn of the conversation in which the tool was called again: one result is new.
        only(correlator.ai_event(origin(1), results(3, &[], &["", ""])));
        let again = correlator.ai_event(origin(1), calls_without_ids(3));
        let told = correlator.ai_event(origin(1), results(4, &["", ""], &[""]));
        let [_, result] = told.as_slice() else { panic!("{told:?}") };
        assert_eq!(result.related_events[0].event_id, again[1].event_id);
        // Of another process it is not known.
        let mut other = origin(9);
        other.connection.process = ProcessId(4242);
        only(correlator.ai_event(other, results(5, &[], &[""])));
    }

    #[test]
    fn results_of_a_conversation_that_began_before_are_told_only_where_they_are_new() {
        let mut correlator = correlator();
        let told = correlator.ai_event(origin(1), call_with_results(1, &["old_1", "old_2"], &["new"]));
        assert_eq!(told.len(), 2);
        let Payload::AgentToolResult(result) = &told[1].payload else { panic!("a result") };
        assert_eq!((result.call_id.as_str(), &result.tool, result.duration_ms), ("new", &None, None));
        // A retry is no second result.
        only(correlator.ai_event(origin(1), call_with_results(2, &["old_1", "old_2"], &["new"])));
    }

    #[test]
    fn absurd_numbers_of_calls_and_results_are_bounded_and_said() {
        let ids: Vec<String> = (0..MAX_OF_ONE + 3).map(|number| format!("call_{number}")).collect();
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        let mut correlator = correlator();
        let told = correlator.ai_event(origin(1), call_with_results(1, &[], &ids));
        assert_eq!(told.len(), 1 + MAX_OF_ONE);
        assert_eq!(told[0].confidence.limitations, ["3_tool_results_not_told_as_events"]);
        let calls: Vec<_> = ids.iter().map(|id| (*id, "{}")).collect();
        let told = correlator.ai_event(origin(1), answer_with_calls(1, &calls));
        assert_eq!(told.len(), 1 + MAX_OF_ONE);
        assert_eq!(told[0].confidence.limitations, ["3_tool_calls_not_told_as_events"]);
    }

    #[test]
    fn embedding_is_told_with_its_response() {
        let mut correlator = correlator();
        only(correlator.ai_event(origin(1), call(1)));
        let AiEvent::Response(mut answer) = answer(1, Findings::default()) else { panic!("an answer") };
        answer.embedding = Some(oisp_ai::Embedding { count: 3, dimensions: Some(1536) });
        let told = correlator.ai_event(origin(1), AiEvent::Response(answer));
        let Payload::AiEmbedding(embedding) = &told[1].payload else { panic!("{told:?}") };
        assert_eq!((embedding.input_count, embedding.dimensions), (Some(3), Some(1536)));
        assert_eq!(told[1].related_events[0].event_id, told[0].event_id);
    }
}
