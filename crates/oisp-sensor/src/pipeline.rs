//! The stages in their order: assemble, decode, interpret, correlate, redact.
//!
//! Synchronous and without I/O of its own: a capture event goes in, redacted events come out. So the same code runs
//! behind every source.

use std::collections::HashMap;
use std::sync::Arc;

use oisp_ai::{AiEvent, ConnectionInterpreter};
use oisp_capture::{CaptureEvent, ConnectionClosed, ConnectionId, Content, Direction, Nanos};
use oisp_correlate::{CallOrigin, Correlator};
use oisp_decode::{ConnectionDecoder, HttpEvent, Protocol, Role, Segment, StreamAssembler};
use oisp_event::Event;
use oisp_redact::{Redacted, Redactor};

/// All stages of one recording.
pub(crate) struct Pipeline {
    connections: HashMap<ConnectionId, Connection>,
    correlator: Correlator,
    redactor: Arc<Redactor>,
    counts: PipelineCounts,
}

/// What the stages met.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PipelineCounts {
    /// Connections by what they spoke, when they ended.
    pub(crate) http1: u64,
    pub(crate) http2: u64,
    /// Connections that turned from HTTP to something that is not interpreted: WebSocket, a tunnel.
    pub(crate) not_interpreted: u64,
    pub(crate) other: u64,
    /// Connections that nothing was read of.
    pub(crate) silent: u64,
    /// Content bytes that were known to exist and did not come.
    pub(crate) bytes_missing: u64,
}

/// One connection's way through the stages.
struct Connection {
    sent: StreamAssembler,
    received: StreamAssembler,
    decoder: ConnectionDecoder,
    interpreter: ConnectionInterpreter,
    last_sent: Option<(u32, &'static str)>,
    last_received: Option<(u32, &'static str)>,
}

impl Pipeline {
    pub(crate) fn new(correlator: Correlator, redactor: Arc<Redactor>) -> Self {
        Self { connections: HashMap::new(), correlator, redactor, counts: PipelineCounts::default() }
    }

    /// Takes a capture event; gives what became complete by it.
    pub(crate) fn handle(&mut self, event: &CaptureEvent, out: &mut Vec<Redacted<Event>>) {
        match event {
            CaptureEvent::Content(content) => self.content(content, out),
            CaptureEvent::ConnectionClosed(closed) => self.closed(closed, out),
            CaptureEvent::ProcessStarted(started) => {
                let event = self.correlator.process_started(started);
                out.push(self.redactor.redact(event));
            }
            CaptureEvent::ProcessForked(forked) => self.correlator.process_forked(*forked),
            CaptureEvent::ProcessExited(exited) => {
                let event = self.correlator.process_exited(exited);
                out.push(self.redactor.redact(event));
            }
            // Told to the person by the summary.
            CaptureEvent::Coverage(_) | CaptureEvent::Losses(_) => {}
        }
    }

    pub(crate) fn counts(&self) -> &PipelineCounts {
        &self.counts
    }

    fn content(&mut self, content: &Content, out: &mut Vec<Redacted<Event>>) {
        let connection = self.connections.entry(content.connection).or_insert_with(Connection::new);
        let calls = connection.content(content);
        let connection = &self.connections[&content.connection];
        Self::tell(&mut self.correlator, &self.redactor, connection, content.connection, calls, out);
    }

    fn closed(&mut self, closed: &ConnectionClosed, out: &mut Vec<Redacted<Event>>) {
        let Some(mut connection) = self.connections.remove(&closed.connection) else { return };
        let calls = connection.close(closed);
        Self::tell(&mut self.correlator, &self.redactor, &connection, closed.connection, calls, out);
        self.correlator.connection_closed(closed.connection);
        self.counts.bytes_missing += connection.sent.bytes_lost() + connection.received.bytes_lost();
        *match connection.decoder.protocol() {
            Protocol::Http1 => &mut self.counts.http1,
            Protocol::Tunnel | Protocol::WebSocket => &mut self.counts.not_interpreted,
            Protocol::Http2 => &mut self.counts.http2,
            Protocol::Opaque => &mut self.counts.other,
            Protocol::Undetermined => &mut self.counts.silent,
        } += 1;
    }

    fn tell(
        correlator: &mut Correlator,
        redactor: &Redactor,
        connection: &Connection,
        id: ConnectionId,
        calls: Vec<AiEvent>,
        out: &mut Vec<Redacted<Event>>,
    ) {
        for call in calls {
            let (thread, function) = connection.transferred_by(&call);
            let origin = CallOrigin { connection: id, thread, function };
            out.push(redactor.redact(correlator.ai_event(origin, call)));
        }
    }
}

impl Connection {
    fn new() -> Self {
        Self {
            sent: StreamAssembler::new(),
            received: StreamAssembler::new(),
            decoder: ConnectionDecoder::new(oisp_decode::Limits::default()),
            interpreter: ConnectionInterpreter::new(oisp_ai::Limits::default()),
            last_sent: None,
            last_received: None,
        }
    }

    fn content(&mut self, content: &Content) -> Vec<AiEvent> {
        let by = Some((content.thread, content.function));
        let assembler = match content.direction {
            Direction::Sent => {
                self.last_sent = by;
                &mut self.sent
            }
            Direction::Received => {
                self.last_received = by;
                &mut self.received
            }
        };
        let mut messages = Vec::new();
        let decoder = &mut self.decoder;
        assembler.push(content.offset, &content.bytes, |segment| {
            decode(decoder, content.direction, content.time, segment, &mut messages);
        });
        self.interpret(&messages)
    }

    fn close(&mut self, closed: &ConnectionClosed) -> Vec<AiEvent> {
        let mut messages = Vec::new();
        let decoder = &mut self.decoder;
        self.sent.close(closed.sent_end, |segment| {
            decode(decoder, Direction::Sent, closed.time, segment, &mut messages);
        });
        self.received.close(closed.received_end, |segment| {
            decode(decoder, Direction::Received, closed.time, segment, &mut messages);
        });
        decoder.close(closed.time, &mut messages);
        let mut calls = self.interpret(&messages);
        self.interpreter.close(closed.time, &mut calls);
        calls
    }

    fn interpret(&mut self, messages: &[HttpEvent]) -> Vec<AiEvent> {
        let mut calls = Vec::new();
        for message in messages {
            self.interpreter.event(message, &mut calls);
        }
        calls
    }

    /// Thread and function of the direction that a call's half went: a recorded server receives requests.
    fn transferred_by(&self, call: &AiEvent) -> (u32, &'static str) {
        let is_server = self.decoder.role() == Some(Role::Server);
        let was_sent = matches!(call, AiEvent::Request(_)) != is_server;
        let (first, second) = if was_sent {
            (self.last_sent, self.last_received)
        } else {
            (self.last_received, self.last_sent)
        };
        // An answer that never came is told by the request's direction.
        first.or(second).unwrap_or((0, "unknown"))
    }
}

fn decode(
    decoder: &mut ConnectionDecoder,
    direction: Direction,
    time: Nanos,
    segment: Segment<'_>,
    messages: &mut Vec<HttpEvent>,
) {
    match segment {
        Segment::Data { bytes, .. } => decoder.data(direction, time, bytes, messages),
        Segment::Gap { length, .. } => decoder.gap(direction, time, length, messages),
    }
}
