//! The stages in their order: assemble, decode, interpret, correlate, select, redact.
//!
//! Synchronous and without I/O of its own: a capture event goes in, redacted events come out. So the same code runs
//! behind every source.

use std::collections::BTreeMap;
use std::sync::Arc;

use oisp_ai::AiEvent;
use oisp_capture::{
    CaptureEvent, ConnectionClosed, ConnectionId, ConnectionSocket, Content, MonotonicNanos, ProcessId,
};
use oisp_correlate::{CallOrigin, Clock, Correlator};
use oisp_decode::{ExchangeId, Protocol};
use oisp_event::Event;
use oisp_redact::{ChunkPlace, Redacted, Redactor};

use crate::chunks::Chunks;
use crate::connection::{Connection, Told};
use crate::runtime::{DropReason, Holder, MemoryBudget, StageCounters};
use crate::select::Selector;
use crate::sockets::{Sockets, of_process};

/// How long a clock is used: somebody may set the wall clock meanwhile.
const CLOCK_AGE: u64 = 60_000_000_000;

/// All stages of one recording.
pub(crate) struct Pipeline {
    connections: BTreeMap<ConnectionId, Connection>,
    sockets: Sockets,
    limits: Limits,
    correlator: Correlator,
    selector: Selector,
    chunks: Chunks,
    redactor: Arc<Redactor>,
    budget: Arc<MemoryBudget>,
    counters: Counters,
    counts: PipelineCounts,
    /// When the host's clocks were compared last; `None` where they are not this host's.
    clock_read: Option<MonotonicNanos>,
    /// The latest time of any event.
    latest: MonotonicNanos,
    origin: Option<String>,
}

/// Bounds of one connection, and what it is interpreted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Limits {
    pub(crate) decode: oisp_decode::Limits,
    pub(crate) interpret: oisp_ai::Limits,
    pub(crate) services: oisp_ai::Services,
}

impl Limits {
    /// Bounds that keep a single message from taking all memory: what is read of it exists several times while it
    /// becomes an event (as bytes, parsed, as an event, redacted).
    pub(crate) fn within(decode: oisp_decode::Limits, memory: usize) -> Self {
        let interpret = oisp_ai::Limits::default();
        let body = usize::try_from(decode.body_bytes).unwrap_or(usize::MAX);
        Self {
            decode,
            interpret: oisp_ai::Limits {
                body_bytes: body.min(memory / 3),
                buffered_bytes: interpret.buffered_bytes.min(memory / 2),
                parsed_bytes: interpret.parsed_bytes.min(memory / 2),
                ..interpret
            },
            services: oisp_ai::Services::default(),
        }
    }
}

/// The counters of the stages in this file.
#[derive(Clone)]
pub(crate) struct Counters {
    /// Capture events taken and interpreted.
    pub(crate) interpret: Arc<StageCounters>,
    /// Events made, and passed on.
    pub(crate) select: Arc<StageCounters>,
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            interpret: Arc::new(StageCounters::new("interpret", "capture events")),
            select: Arc::new(StageCounters::new("select", "events")),
        }
    }
}

/// What the stages met.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PipelineCounts {
    /// Connections by what they spoke, when they ended.
    pub(crate) http1: u64,
    pub(crate) http2: u64,
    /// JSON-RPC without HTTP, as MCP over pipes.
    pub(crate) json_rpc_lines: u64,
    /// Connections that turned from HTTP to something that is not interpreted: WebSocket, a tunnel.
    pub(crate) not_interpreted: u64,
    pub(crate) other: u64,
    /// Connections that nothing was read of.
    pub(crate) silent: u64,
    /// Connections that had to give way for want of memory.
    pub(crate) gave_way: u64,
    /// Content bytes that were known to exist and did not come.
    pub(crate) bytes_missing: u64,
    /// Open connections whose addresses had to be forgotten: too many at once.
    pub(crate) addresses_forgotten: u64,
}

impl Pipeline {
    /// With the limits that a decoder has by itself, as far as the memory allows them.
    pub(crate) fn new(
        correlator: Correlator,
        selector: Selector,
        redactor: Arc<Redactor>,
        budget: Arc<MemoryBudget>,
    ) -> Self {
        Self {
            connections: BTreeMap::new(),
            sockets: Sockets::default(),
            limits: Limits::within(oisp_decode::Limits::default(), budget.limit()),
            correlator,
            selector,
            chunks: Chunks::default(),
            redactor,
            budget,
            counters: Counters::default(),
            counts: PipelineCounts::default(),
            clock_read: None,
            latest: oisp_capture::Nanos(0),
            origin: None,
        }
    }

    /// Says on every event where it comes from, when that is not this host as it is now.
    pub(crate) fn with_origin(mut self, origin: String) -> Self {
        self.origin = Some(origin);
        self
    }

    /// Follows this host's wall clock.
    pub(crate) fn following_the_clock(mut self) -> Self {
        self.clock_read = Some(oisp_capture::Nanos(0));
        self
    }

    /// Bounds for connections from now on.
    pub(crate) fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    pub(crate) fn set_redactor(&mut self, redactor: Arc<Redactor>) {
        self.redactor = redactor;
    }

    /// What is told from now on.
    pub(crate) fn set_selection(&mut self, selection: crate::select::Selection) {
        self.selector.set(selection);
        for (id, connection) in &mut self.connections {
            connection.is_excluded = is_excluded(&mut self.correlator, &self.selector, id.process);
        }
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.counters
    }

    pub(crate) fn counts(&self) -> &PipelineCounts {
        &self.counts
    }

    pub(crate) fn open_connections(&self) -> usize {
        self.connections.len()
    }

    /// The processes that connections are open of, in no order.
    pub(crate) fn processes(&mut self) -> Vec<(u32, Option<String>)> {
        let mut ids: Vec<ProcessId> = self.connections.keys().map(|connection| connection.process).collect();
        ids.sort_unstable();
        ids.dedup();
        ids.into_iter().map(|id| (id.0, self.correlator.process(id).name)).collect()
    }

    /// Takes a capture event; gives what became complete by it.
    pub(crate) fn handle(&mut self, event: &CaptureEvent, out: &mut Vec<Redacted<Event>>) {
        self.counters.interpret.received();
        self.latest = event.time().unwrap_or(self.latest).max(self.latest);
        let mut taken = Ok(());
        match event {
            CaptureEvent::Content(content) => taken = self.content(content, out),
            CaptureEvent::ConnectionClosed(closed) => self.closed(closed, out),
            CaptureEvent::ProcessStarted(started) => {
                self.follow_clock(started.time);
                let event = self.correlator.process_started(started);
                self.tell_of_process(event, out);
            }
            CaptureEvent::ProcessForked(forked) => self.correlator.process_forked(*forked),
            CaptureEvent::ConnectionSocket(socket) => self.note_socket(socket),
            CaptureEvent::ProcessExited(exited) => {
                self.follow_clock(exited.time);
                let ids: Vec<ConnectionId> = of_process(&self.connections, exited.process).collect();
                self.close_all(&ids, exited.time, out);
                self.sockets.process_exited(exited.process);
                let ended = self.correlator.mcp_process_exited(exited.process, exited.time);
                self.tell_of_sessions(ended, out);
                let event = self.correlator.process_exited(exited);
                self.selector.process_exited(exited.process);
                self.tell_of_process(event, out);
            }
            // Told to the person by the summary and the status.
            CaptureEvent::Attached(_)
            | CaptureEvent::FileProof(_)
            | CaptureEvent::Coverage(_)
            | CaptureEvent::Losses(_) => {}
            CaptureEvent::ConnectionPeer(peer) => self.correlator.connection_peer(peer.connection, peer.peer),
        }
        match taken {
            Ok(()) => self.counters.interpret.sent(),
            Err(reason) => self.counters.interpret.dropped(reason),
        }
    }

    fn content(&mut self, content: &Content, out: &mut Vec<Redacted<Event>>) -> Result<(), DropReason> {
        self.follow_clock(content.time);
        let Self { connections, correlator, selector, limits, budget, .. } = self;
        let connection = connections.entry(content.connection).or_insert_with(|| {
            budget.take(Holder::Connections, Connection::BASE_BYTES);
            let is_excluded = is_excluded(correlator, selector, content.connection.process);
            Connection::new(is_excluded)
        });
        let held = connection.held_bytes();
        if connection.is_excluded {
            connection.pass_over(content);
            account(budget, held, 0);
            return Err(DropReason::Excluded);
        }
        let calls = connection.content(content, limits);
        account(budget, held, connection.held_bytes());
        self.tell(content.connection, calls, out);
        if self.budget.is_short() {
            self.relieve(out);
        }
        Ok(())
    }

    fn closed(&mut self, closed: &ConnectionClosed, out: &mut Vec<Redacted<Event>>) {
        self.follow_clock(closed.time);
        self.end(closed, out);
        self.sockets.closed(&closed.connection);
    }

    fn end(&mut self, closed: &ConnectionClosed, out: &mut Vec<Redacted<Event>>) {
        let Some(mut connection) = self.connections.remove(&closed.connection) else { return };
        self.budget.give_back(Holder::Connections, Connection::BASE_BYTES + connection.held_bytes());
        let excluded = connection.is_excluded;
        let protocol = connection.protocol();
        let calls = connection.close(closed);
        let lost = connection.bytes_lost();
        if !excluded {
            self.tell(closed.connection, calls, out);
        }
        self.correlator.connection_closed(closed.connection);
        self.selector.connection_closed(closed.connection);
        self.chunks.connection_closed(closed.connection, &self.budget);
        if excluded {
            return;
        }
        self.counts.bytes_missing += lost;
        *match protocol {
            Protocol::Http1 => &mut self.counts.http1,
            Protocol::Tunnel | Protocol::WebSocket => &mut self.counts.not_interpreted,
            Protocol::Http2 => &mut self.counts.http2,
            Protocol::JsonRpcLines => &mut self.counts.json_rpc_lines,
            Protocol::Opaque => &mut self.counts.other,
            Protocol::Undetermined => &mut self.counts.silent,
        } += 1;
    }

    /// Before the connection's first content, or at any time after it.
    fn note_socket(&mut self, socket: &ConnectionSocket) {
        let connections = &self.connections;
        let is_open = |id: &ConnectionId| connections.contains_key(id);
        let forgotten = self.sockets.note(socket.connection, socket.ends, is_open);
        if forgotten > 0 {
            self.counts.addresses_forgotten += forgotten;
            tracing::warn!(
                connections = forgotten,
                "too many connections are open at once: events of the oldest have no addresses"
            );
        }
    }

    /// When memory is short, the connections that hold the most give it up, with a mark, until an eighth is free. What
    /// others hold cannot be had here: then the connections give way down to that eighth of their own.
    pub(crate) fn relieve(&mut self, out: &mut Vec<Redacted<Event>>) {
        let limit = self.budget.limit();
        let goal = limit - limit / 8;
        let mut by_size: Vec<(usize, ConnectionId)> = self
            .connections
            .iter()
            .map(|(id, connection)| (connection.held_bytes(), *id))
            .filter(|(held, _)| *held > 0)
            .collect();
        by_size.sort_unstable_by(|one, other| other.cmp(one));
        for (held, id) in by_size {
            if self.budget.used() <= goal || self.budget.used_by(Holder::Connections) <= limit / 8 {
                break;
            }
            let Some(connection) = self.connections.get_mut(&id) else { continue };
            let calls = connection.give_way(self.latest);
            account(&self.budget, held, connection.held_bytes());
            self.counts.gave_way += 1;
            if !connection.is_excluded {
                self.tell(id, calls, out);
            }
            // What comes next on it counts its exchanges anew.
            self.correlator.connection_closed(id);
            self.selector.connection_closed(id);
            self.chunks.connection_closed(id, &self.budget);
        }
    }

    /// Nothing more comes: what is open is over.
    pub(crate) fn finish(&mut self, out: &mut Vec<Redacted<Event>>) {
        let ids: Vec<ConnectionId> = self.connections.keys().copied().collect();
        self.close_all(&ids, self.latest, out);
    }

    /// Ends connections whose end was not told, as when the notice found no place.
    fn close_all(&mut self, ids: &[ConnectionId], time: MonotonicNanos, out: &mut Vec<Redacted<Event>>) {
        for id in ids {
            let Some(connection) = self.connections.get(id) else { continue };
            let closed = connection.end(*id, time);
            self.closed(&closed, out);
        }
    }

    /// Sessions that are over because their process is.
    fn tell_of_sessions(&mut self, events: Vec<Event>, out: &mut Vec<Redacted<Event>>) {
        for mut event in events {
            let select = &self.counters.select;
            select.received();
            let is_taken = event.process.as_ref().is_none_or(|process| {
                let endpoint = event.ext.oisp_sensor.get("mcp").and_then(|mcp| mcp["endpoint"].as_str());
                self.selector.takes_process(process, event.actor.as_ref())
                    && self.selector.takes_mcp(endpoint)
            });
            if !is_taken {
                select.dropped(DropReason::Excluded);
                continue;
            }
            self.mark(&mut event);
            self.counters.select.sent();
            out.push(self.redactor.redact(event));
        }
    }

    fn tell_of_process(&mut self, mut event: Event, out: &mut Vec<Redacted<Event>>) {
        let select = &self.counters.select;
        select.received();
        let taken = event
            .process
            .as_ref()
            .is_none_or(|process| self.selector.takes_process(process, event.actor.as_ref()));
        if !taken {
            select.dropped(DropReason::Excluded);
            return;
        }
        self.mark(&mut event);
        self.counters.select.sent();
        out.push(self.redactor.redact(event));
    }

    fn tell(&mut self, id: ConnectionId, calls: Vec<Told>, out: &mut Vec<Redacted<Event>>) {
        for Told { call, thread, function } in calls {
            let socket = self.sockets.of(&id);
            let origin = CallOrigin { connection: id, thread, function, socket };
            let taken = self.selector.takes_call(id, &call, time_of(&call));
            if let AiEvent::Chunk(chunk) = call {
                let (exchange, place) = (chunk.exchange, crate::chunks::place(&chunk));
                for event in self.correlator.ai_event(origin, AiEvent::Chunk(chunk)) {
                    self.tell_chunk((id, exchange), event, &place, taken, out);
                }
                continue;
            }
            if let AiEvent::Response(answer) = &call {
                self.chunks.answered((id, answer.exchange), &self.budget);
            }
            // Also one that is not told: its response must not find another's request.
            for mut event in self.correlator.ai_event(origin, call) {
                self.counters.select.received();
                if let Err(reason) = taken {
                    self.counters.select.dropped(reason);
                    continue;
                }
                self.mark(&mut event);
                self.counters.select.sent();
                out.push(self.redactor.redact(event));
            }
        }
    }

    /// A part of an answer, once the redactor lets anything of it out.
    fn tell_chunk(
        &mut self,
        answer: (ConnectionId, ExchangeId),
        mut event: Event,
        place: &ChunkPlace,
        taken: Result<(), DropReason>,
        out: &mut Vec<Redacted<Event>>,
    ) {
        if let Err(reason) = taken {
            self.counters.select.received();
            self.counters.select.dropped(reason);
            return;
        }
        self.mark(&mut event);
        if let Some(event) = self.chunks.redact(answer, event, place, &self.redactor, &self.budget) {
            self.counters.select.received();
            self.counters.select.sent();
            out.push(event);
        }
    }

    fn mark(&self, event: &mut Event) {
        self.selector.mark(event);
        if let Some(origin) = &self.origin {
            event.ext.set("origin", origin.as_str());
        }
    }

    fn follow_clock(&mut self, time: MonotonicNanos) {
        if let Some(read) = self.clock_read
            && time.0.saturating_sub(read.0) > CLOCK_AGE
        {
            if read.0 != 0 {
                self.correlator.set_clock(Clock::of_host());
            }
            self.clock_read = Some(time);
        }
    }
}

/// Whether nothing of a process is told.
fn is_excluded(correlator: &mut Correlator, selector: &Selector, process: ProcessId) -> bool {
    let facts = correlator.process(process);
    let actor = correlator.actor(process);
    !selector.takes_process(&facts, actor.as_ref())
}

fn account(budget: &MemoryBudget, before: usize, after: usize) {
    if after >= before {
        budget.take(Holder::Connections, after - before);
    } else {
        budget.give_back(Holder::Connections, before - after);
    }
}

fn time_of(call: &AiEvent) -> MonotonicNanos {
    match call {
        AiEvent::Request(call) => call.completed,
        AiEvent::Chunk(chunk) => chunk.time,
        AiEvent::Mcp(message) => message.time,
        AiEvent::Response(answer) => {
            let timings = answer.timings;
            timings.last_byte.or(timings.first_byte).or(timings.request_completed).unwrap_or_default()
        }
    }
}

#[cfg(test)]
mod tests;
