//! Events from what was understood and who did it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use oisp_ai::{AiAnswer, AiCall, AiEvent, Detection, Findings};
use oisp_capture::{
    ConnectionId, MonotonicNanos, ProcessExited, ProcessForked, ProcessId, ProcessStarted, SocketEnds,
};
use oisp_decode::ExchangeId;
use oisp_event::{
    CaptureMethod, Confidence, ContentSource, Event, EventId, EventIdGenerator, Extension, Host,
    OISP_VERSION, Payload, ProcessAttribution, ProcessExec, ProcessExit, RelatedEvent, Relationship, Source,
    TerminationType,
};
use serde_json::{Map, Value, json};

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
    clock: Clock,
    processes: ProcessTable,
    ids: EventIdGenerator,
    waiting: BTreeMap<(ConnectionId, ExchangeId), Waiting>,
}

/// A request whose response has not come.
struct Waiting {
    request_id: String,
    event_id: EventId,
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

    /// A request or a response: `ai.request`, `ai.response`.
    pub fn ai_event(&mut self, origin: CallOrigin, event: AiEvent) -> Event {
        match event {
            AiEvent::Request(call) => self.request(origin, *call),
            AiEvent::Response(answer) => self.response(origin, *answer),
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

    fn request(&mut self, origin: CallOrigin, call: AiCall) -> Event {
        let AiCall { exchange, mut request, detection, started, completed, findings, mut extension } = call;
        let event_id = self.ids.next(self.clock.wall(completed));
        let request_id = format!("req_{event_id}");
        request.request_id.clone_from(&request_id);
        if self.waiting.len() >= MAX_WAITING {
            // Connections sort by process and age: the first is as good a victim as any, and it is found at once.
            self.waiting.pop_first();
        }
        self.waiting
            .insert((origin.connection, exchange), Waiting { request_id, event_id: event_id.clone() });
        extension
            .insert("timing".to_owned(), json!({ "started_ns": started.0, "completed_ns": completed.0 }));
        let payload = Payload::AiRequest(Box::new(request));
        self.call_event(payload, event_id, completed, origin, &detection, &findings, extension)
    }

    fn response(&mut self, origin: CallOrigin, answer: AiAnswer) -> Event {
        let AiAnswer { exchange, mut response, detection, has_request: _, timings, findings, extension } =
            answer;
        let time = timings.last_byte.or(timings.first_byte).or(timings.request_completed).unwrap_or_default();
        let event_id = self.ids.next(self.clock.wall(time));
        let waiting = self.waiting.remove(&(origin.connection, exchange));
        response.request_id =
            waiting.as_ref().map_or_else(|| format!("req_{event_id}"), |waiting| waiting.request_id.clone());
        let payload = Payload::AiResponse(Box::new(response));
        let mut event = self.call_event(payload, event_id, time, origin, &detection, &findings, extension);
        if let Some(waiting) = waiting {
            event
                .related_events
                .push(RelatedEvent { event_id: waiting.event_id, relationship: Relationship::CausedBy });
        }
        event
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of an event, each from another place")]
    fn call_event(
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
    use oisp_event::{AiRequest, AiResponse, DetectionMethod, Level};

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
            detection: detection(),
            has_request: true,
            timings: Timings { last_byte: Some(Nanos(9_000_000)), ..Timings::default() },
            findings,
            extension: Map::new(),
        }))
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
        let first = correlator.ai_event(origin(1), call(1));
        let other_connection = correlator.ai_event(origin(2), call(1));
        let second = correlator.ai_event(origin(1), call(2));
        let answered = correlator.ai_event(origin(1), answer(1, Findings::default()));
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
        let first = correlator.ai_event(origin(1), call(1));
        assert!(first.ext.oisp_sensor["connection"].get("remote").is_none());
        let ends = SocketEnds {
            local: "[::1]:40000".parse().expect("an address"),
            remote: "[2001:db8::1]:443".parse().expect("an address"),
        };
        let known = CallOrigin { socket: Some(ends), ..origin(1) };
        let answered = correlator.ai_event(known, answer(1, Findings::default()));
        let connection = &answered.ext.oisp_sensor["connection"];
        assert_eq!(connection["local"], json!({ "ip": "::1", "port": 40000 }));
        assert_eq!(connection["remote"], json!({ "ip": "2001:db8::1", "port": 443 }));
    }

    #[test]
    fn response_after_its_connection_was_closed_stands_alone() {
        let mut correlator = correlator();
        let first = correlator.ai_event(origin(1), call(1));
        correlator.connection_closed(origin(1).connection);
        let answered = correlator.ai_event(origin(1), answer(1, Findings::default()));
        assert_ne!(request_id(&answered), request_id(&first));
        assert!(answered.related_events.is_empty());
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
        let event = correlator.ai_event(origin(1), answer(1, findings));
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
}
