//! Sessions of MCP: which messages belong together, and whose tool calls they carry out.
//!
//! A session belongs to a process: over HTTP it is known by endpoint and session id, over lines by its connection. The
//! process that speaks MCP may be the agent that asks the model, or one that it started, or the other way round.

mod session;

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash as _, Hasher as _};

use oisp_ai::{
    Detection, Findings, McpBody, McpCall, McpEvent, McpMessage, McpOutcome, McpSide, McpTransport,
};
use oisp_capture::{ConnectionId, MonotonicNanos, ProcessId};
use oisp_event::{
    AgentSession, AgentToolCall, AgentToolResult, CaptureMethod, ContentSource, DetectionMethod, Event,
    EventId, Level, Payload, Relationship, SessionAction, SessionStats, Tool, Trigger,
};
use serde_json::{Map, Value};

use crate::correlator::relate;
use crate::tools::tool;
use crate::{CallOrigin, Correlator};

pub(crate) use self::session::Sessions;
use self::session::{Called, HeldCall, Key, Session, ToldCall, key_of};

/// Calls of one session without a result.
const MAX_CALLS: usize = 1024;
/// Calls of all sessions that wait for what a model may have asked; bytes of the arguments and of the result of one.
const MAX_HELD: usize = 64;
const MAX_HELD_BYTES: usize = 64 << 10;
/// Connections of which the other end is known.
const MAX_PEERS: usize = 4096;

/// How near a process is to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kinship {
    Same,
    Ancestor(usize),
    Descendant(usize),
}

impl Correlator {
    /// Who is at the other end of a connection between two processes.
    pub fn connection_peer(&mut self, connection: ConnectionId, peer: ProcessId) {
        if self.sessions.peers.len() >= MAX_PEERS {
            self.sessions.peers.pop_first();
        }
        self.sessions.peers.insert(connection, peer);
    }

    /// Sessions of a process are over: it has ended.
    pub fn mcp_process_exited(&mut self, process: ProcessId, time: MonotonicNanos) -> Vec<Event> {
        let keys: Vec<Key> =
            self.sessions.open.keys().filter(|key| key.process == process).cloned().collect();
        let events = keys.into_iter().flat_map(|key| self.end_session(&key, time)).collect();
        self.sessions.peers.retain(|connection, _| connection.process != process);
        events
    }

    /// A message of MCP, and what follows from it.
    pub(crate) fn mcp_message(&mut self, origin: CallOrigin, message: McpMessage) -> Vec<Event> {
        let time = message.time;
        let key = key_of(&origin, &message);
        let mut events = Vec::new();
        let is_initialize =
            matches!(&message.body, McpBody::Request { method, .. } if method == "initialize");
        if is_initialize
            && self.sessions.open.get(&key).is_some_and(|session| session.conversation.has_begun())
        {
            // The same client begins anew at the same place.
            events.extend(self.end_session(&key, time));
        }
        if !self.sessions.open.contains_key(&key) {
            if matches!(message.body, McpBody::End | McpBody::Unanswered { .. }) {
                return events;
            }
            self.sessions.make_room();
            let id = format!("mcp_{}", self.ids.next(self.clock.wall(time)));
            self.sessions.open.insert(key.clone(), Session::new(id, origin, &message));
        }
        let Some(session) = self.sessions.open.get_mut(&key) else { return events };
        session.origin = origin;
        session.last = time;
        session.has_headers |= message.has_headers;
        if message.place.transport == McpTransport::Sse {
            session.transport = McpTransport::Sse;
        }
        let findings = message.findings.clone();
        for news in session.conversation.take(number_of(origin.connection), message) {
            match news {
                McpEvent::Begun => events.extend(self.begun(&key, time, &findings)),
                McpEvent::Call(call) => events.extend(self.called(&key, *call, &findings)),
                McpEvent::Outcome(outcome) => events.extend(self.outcome(&key, *outcome)),
                McpEvent::Ended => events.extend(self.end_session(&key, time)),
            }
        }
        if self.sessions.held > 0 {
            let awaits_answer = self.awaits_answer(key.process);
            self.settle_session(&key, awaits_answer, &mut events);
        }
        events
    }

    /// Says of a tool that a model asks for which server has it, if one is known that offers it to this process.
    pub(crate) fn complete(&mut self, process: ProcessId, tool: &mut Tool) -> Option<Value> {
        let name = tool.name.clone()?;
        // What the AI service carries out itself is none of the host's servers'.
        let is_elsewhere = tool.provider.is_some()
            && !(tool.provider.as_deref() == Some("mcp") && name.starts_with("mcp__"));
        if is_elsewhere || self.sessions.open.is_empty() {
            return None;
        }
        let processes = self.sessions.processes();
        let kin = self.kin(process, &processes);
        let mut best: Option<((usize, u8), &Session, &str)> = None;
        let mut is_ambiguous = false;
        for (rank, relative) in kin.iter().enumerate() {
            for (_, session) in self.sessions.of(*relative) {
                let Some((score, own)) = session.offers(&name) else { continue };
                let rank = (rank, score);
                let Some((known, other, _)) = &best else {
                    best = Some((rank, session, own));
                    continue;
                };
                if rank < *known {
                    best = Some((rank, session, own));
                    is_ambiguous = false;
                } else if rank == *known {
                    let server = |session: &Session| session.conversation.facts().server.clone();
                    if server(session) != server(other) {
                        is_ambiguous = true;
                    } else if session.last > other.last {
                        best = Some((rank, session, own));
                    }
                }
            }
        }
        let (_, session, own) = best.filter(|_| !is_ambiguous)?;
        let own = own.to_owned();
        session.complete(tool, &own);
        Some(Value::Object(session.extension(&self.sessions.peers)))
    }

    fn begun(&mut self, key: &Key, time: MonotonicNanos, findings: &Findings) -> Option<Event> {
        let event_id = self.ids.next(self.clock.wall(time));
        let session = self.sessions.open.get_mut(key)?;
        session.begun = Some((event_id.clone(), time));
        let facts = session.conversation.facts();
        let is_joined_late = facts.joined_late;
        let payload = AgentSession {
            agent: session.agent(),
            action: SessionAction::Start,
            session_id: Some(session.id.clone()),
            ..AgentSession::default()
        };
        let mut extension = session.extension(&self.sessions.peers);
        extension.extend(facts.whole());
        let origin = session.origin;
        let mut event = self.mcp_event(
            key,
            Payload::AgentSession(Box::new(payload)),
            event_id,
            time,
            origin,
            findings,
            extension,
        )?;
        if is_joined_late {
            event.confidence.lower_to(Level::Medium);
            event.confidence.completeness = oisp_event::Completeness::Partial;
            event.confidence.reasons.push("session_joined_late".to_owned());
            event.confidence.missing.push("initialize".to_owned());
        }
        Some(event)
    }

    /// Tells a session's end, if its beginning was told.
    fn end_session(&mut self, key: &Key, time: MonotonicNanos) -> Vec<Event> {
        let mut events = Vec::new();
        self.settle_session(key, false, &mut events);
        events.extend(self.end(key, time));
        self.sessions.open.remove(key);
        events
    }

    fn end(&mut self, key: &Key, time: MonotonicNanos) -> Option<Event> {
        let session = self.sessions.open.get(key)?;
        let (began, since) = session.begun.clone()?;
        let facts = session.conversation.facts();
        let payload = AgentSession {
            agent: session.agent(),
            action: SessionAction::End,
            session_id: Some(session.id.clone()),
            duration_ms: Some(time.0.saturating_sub(since.0) / 1_000_000),
            stats: Some(SessionStats { tool_calls: Some(facts.tool_calls) }),
        };
        let mut extension = session.extension(&self.sessions.peers);
        extension.extend(facts.whole());
        let unanswered = session.conversation.open_calls();
        if unanswered > 0 {
            extension.insert("calls_without_result".to_owned(), unanswered.into());
        }
        let origin = session.origin;
        let event_id = self.ids.next(self.clock.wall(time));
        let payload = Payload::AgentSession(Box::new(payload));
        let mut event =
            self.mcp_event(key, payload, event_id, time, origin, &Findings::default(), extension)?;
        relate(&mut event, Some(began), Relationship::Related);
        Some(event)
    }

    fn called(&mut self, key: &Key, call: McpCall, findings: &Findings) -> Option<Event> {
        let session = self.sessions.open.get_mut(key)?;
        if session.calls.len() >= MAX_CALLS
            && let Some((_, Called::Held(_))) = session.calls.pop_first()
        {
            self.sessions.held -= 1;
        }
        let is_client = session.recorded == McpSide::Client;
        if is_client {
            if self.claim(key, &call) {
                return None;
            }
            if self.sessions.held < MAX_HELD
                && size_of_arguments(&call) <= MAX_HELD_BYTES
                && self.awaits_answer(key.process)
            {
                self.sessions.held += 1;
                let held = HeldCall { findings: findings.clone(), outcome: None, call };
                let number = held.call.number;
                self.sessions.open.get_mut(key)?.calls.insert(number, Called::Held(Box::new(held)));
                return None;
            }
        }
        self.tell_call(key, call, findings)
    }

    /// Whether a model asked for this call: then it is told already.
    fn claim(&mut self, key: &Key, call: &McpCall) -> bool {
        let asking = self.tools.processes();
        let kin = self.kin(key.process, &asking);
        let Some(claim) = self.tools.claim(&kin, &call.name, call.arguments.as_ref()) else { return false };
        let Some(session) = self.sessions.open.get_mut(key) else { return false };
        let mut tool = claim.tool;
        session.complete(&mut tool, &call.name);
        let called = ToldCall {
            event_id: claim.event_id,
            call_id: claim.key.1.clone(),
            tool,
            of_model: Some(claim.key),
        };
        session.calls.insert(call.number, Called::Told(Box::new(called)));
        true
    }

    /// Whether a model is asked by this process or its kin, and has not answered.
    fn awaits_answer(&mut self, process: ProcessId) -> bool {
        let mut asking: Vec<ProcessId> =
            self.waiting.keys().map(|(connection, _)| connection.process).collect();
        asking.dedup();
        !self.kin(process, &asking).is_empty()
    }

    /// A model has answered a process: which of the calls that are held back did it ask for? Those of which no open answer can tell any more were asked for by nobody.
    pub(crate) fn settle(&mut self, process: ProcessId) -> Vec<Event> {
        let mut events = Vec::new();
        if self.sessions.held == 0 {
            return events;
        }
        let processes = self.sessions.processes();
        for relative in self.kin(process, &processes) {
            let keys: Vec<Key> = self.sessions.of(relative).map(|(key, _)| key.clone()).collect();
            let awaits_answer = self.awaits_answer(relative);
            for key in keys {
                self.settle_session(&key, awaits_answer, &mut events);
            }
        }
        events
    }

    fn settle_session(&mut self, key: &Key, awaits_answer: bool, events: &mut Vec<Event>) {
        let Some(session) = self.sessions.open.get(key) else { return };
        let numbers: Vec<u64> = session
            .calls
            .iter()
            .filter_map(|(number, called)| matches!(called, Called::Held(_)).then_some(*number))
            .collect();
        for number in numbers {
            let Some(session) = self.sessions.open.get_mut(key) else { return };
            let Some(Called::Held(held)) = session.calls.remove(&number) else { continue };
            let too_large =
                held.outcome.as_ref().is_some_and(|outcome| size_of_outcome(outcome) > MAX_HELD_BYTES);
            if !self.claim(key, &held.call) {
                if awaits_answer && !too_large {
                    if let Some(session) = self.sessions.open.get_mut(key) {
                        session.calls.insert(number, Called::Held(held));
                    }
                    continue;
                }
                let HeldCall { call, findings, .. } = &*held;
                events.extend(self.tell_call(key, call.clone(), findings));
            }
            self.sessions.held -= 1;
            if let Some(outcome) = held.outcome {
                events.extend(self.outcome(key, outcome));
            }
        }
    }

    /// The event of a call that no model asked for.
    fn tell_call(&mut self, key: &Key, call: McpCall, findings: &Findings) -> Option<Event> {
        let McpCall { number, name, arguments, time } = call;
        let event_id = self.ids.next(self.clock.wall(time));
        let session = self.sessions.open.get_mut(key)?;
        let mut tool = tool(&name, None);
        session.complete(&mut tool, &name);
        let call_id = format!("mcp_{event_id}");
        let called = ToldCall {
            event_id: event_id.clone(),
            call_id: call_id.clone(),
            tool: tool.clone(),
            of_model: None,
        };
        session.calls.insert(number, Called::Told(Box::new(called)));
        let payload = AgentToolCall {
            tool,
            call_id: Some(call_id),
            // A server does not know why it is asked.
            triggered_by: (session.recorded == McpSide::Client).then_some(Trigger::Automatic),
            arguments,
            arguments_hash: None,
        };
        let (origin, began) = (session.origin, session.begun.clone());
        let extension = session.extension(&self.sessions.peers);
        let payload = Payload::AgentToolCall(Box::new(payload));
        let mut event = self.mcp_event(key, payload, event_id, time, origin, findings, extension)?;
        relate(&mut event, began.map(|(event_id, _)| event_id), Relationship::Parent);
        Some(event)
    }

    fn outcome(&mut self, key: &Key, outcome: McpOutcome) -> Option<Event> {
        let session = self.sessions.open.get_mut(key)?;
        let called = match session.calls.get_mut(&outcome.number)? {
            Called::Held(held) => {
                held.outcome = Some(outcome);
                return None;
            }
            Called::Told(_) => match session.calls.remove(&outcome.number)? {
                Called::Told(called) => called,
                Called::Held(_) => return None,
            },
        };
        let mut extension = session.extension(&self.sessions.peers);
        let origin = session.origin;
        if let Some(key) = &called.of_model
            && !self.tools.tell_claimed(key)
        {
            return None;
        }
        let McpOutcome { started, completed, success, error, text, parts, structured, findings, .. } =
            outcome;
        if !parts.is_empty() {
            extension.insert("parts".to_owned(), Value::Array(parts));
        }
        if let Some(structured) = structured {
            extension.insert("structured_content".to_owned(), structured);
        }
        let event_id = self.ids.next(self.clock.wall(completed));
        let payload = AgentToolResult {
            tool: Some(called.tool),
            call_id: called.call_id,
            success,
            error,
            result_size_bytes: text.as_ref().map(|text| text.len() as u64),
            result: text.map(Value::String),
            duration_ms: Some(completed.0.saturating_sub(started.0) / 1_000_000),
            ..AgentToolResult::default()
        };
        let payload = Payload::AgentToolResult(Box::new(payload));
        let mut event = self.mcp_event(key, payload, event_id, completed, origin, &findings, extension)?;
        relate(&mut event, Some(called.event_id), Relationship::Parent);
        Some(event)
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of an event, each from another place")]
    fn mcp_event(
        &mut self,
        key: &Key,
        payload: Payload,
        event_id: EventId,
        time: MonotonicNanos,
        origin: CallOrigin,
        findings: &Findings,
        extension: Map<String, Value>,
    ) -> Option<Event> {
        let session = self.sessions.open.get(key)?;
        let is_plain = session.transport == McpTransport::Stdio;
        let detection = Detection {
            provider_id: "mcp".to_owned(),
            method: if session.has_headers {
                DetectionMethod::HeaderFingerprint
            } else {
                DetectionMethod::PayloadInspection
            },
            confidence: Level::High,
        };
        let extension = Map::from_iter([("mcp".to_owned(), Value::Object(extension))]);
        let mut event = self.call_event(payload, event_id, time, origin, &detection, findings, extension);
        if is_plain {
            let confidence = &mut event.confidence;
            confidence.reasons.retain(|reason| reason != "tls_boundary_capture");
            confidence.reasons.push("pipe_capture".to_owned());
            confidence.content_source = Some(ContentSource::PlaintextCapture);
            event.source.capture_method = Some(CaptureMethod::EbpfTracepoint);
        }
        Some(event)
    }

    /// Those of `others` that are the process itself, its ancestors or its descendants, the nearest first.
    fn kin(&mut self, process: ProcessId, others: &[ProcessId]) -> Vec<ProcessId> {
        let line = self.processes.line_of(process);
        let mut kin: Vec<(Kinship, ProcessId)> = Vec::new();
        for other in others {
            let kinship = if *other == process {
                Some(Kinship::Same)
            } else if let Some(distance) = line.iter().position(|ancestor| ancestor == other) {
                Some(Kinship::Ancestor(distance))
            } else {
                let of_other = self.processes.line_of(*other);
                of_other.iter().position(|ancestor| *ancestor == process).map(Kinship::Descendant)
            };
            kin.extend(kinship.map(|kinship| (kinship, *other)));
        }
        kin.sort_unstable();
        kin.into_iter().map(|(_, process)| process).collect()
    }
}

fn size_of_arguments(call: &McpCall) -> usize {
    call.arguments.iter().flatten().map(|(name, value)| name.len() + value.to_string().len()).sum()
}

fn size_of_outcome(outcome: &McpOutcome) -> usize {
    let structured = outcome.structured.as_ref().map_or(0, |structured| structured.to_string().len());
    outcome.text.as_ref().map_or(0, String::len) + structured
}

/// The same number for the same connection.
fn number_of(connection: ConnectionId) -> u64 {
    let mut hasher = DefaultHasher::new();
    connection.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests;
