//! The sessions that are open, and what each offers.

use std::collections::BTreeMap;

use oisp_ai::{Findings, McpCall, McpConversation, McpMessage, McpOutcome, McpSide, McpTransport};
use oisp_capture::{ConnectionId, MonotonicNanos, ProcessId};
use oisp_event::{AgentInfo, EventId, Tool};
use serde_json::{Map, Value};

use crate::CallOrigin;
use crate::tools::names_within;

/// Sessions that are followed; of more than that the one that was silent for the longest is forgotten.
pub(super) const MAX_SESSIONS: usize = 1024;
/// Memory of what sessions offer, all together, about.
const MAX_BYTES: usize = 8 << 20;

/// The sessions of all processes.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    pub(super) open: BTreeMap<Key, Session>,
    pub(super) peers: BTreeMap<ConnectionId, ProcessId>,
    /// Calls that are held back.
    pub(super) held: usize,
}

/// What tells sessions apart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) process: ProcessId,
    pub(super) place: Place,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    Lines(ConnectionId),
    Http { endpoint: String, session: Option<String> },
}

// A session id opens the session.
impl std::fmt::Debug for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Lines(_) => "Lines",
            Self::Http { .. } => "Http",
        })
    }
}

#[derive(Debug)]
pub(super) struct Session {
    pub(super) conversation: McpConversation,
    /// The sensor's own.
    pub(super) id: String,
    /// The event of its beginning, and when that was.
    pub(super) begun: Option<(EventId, MonotonicNanos)>,
    pub(super) transport: McpTransport,
    pub(super) endpoint: Option<String>,
    pub(super) recorded: McpSide,
    pub(super) origin: CallOrigin,
    pub(super) has_headers: bool,
    pub(super) last: MonotonicNanos,
    pub(super) calls: BTreeMap<u64, Called>,
}

/// A call without a result.
#[derive(Debug)]
pub(super) enum Called {
    /// It is told as an event.
    Told(Box<ToldCall>),
    /// A model's answer is under way that may ask for it: agents do not wait for its last byte.
    Held(Box<HeldCall>),
}

#[derive(Debug)]
pub(super) struct ToldCall {
    pub(super) event_id: EventId,
    pub(super) call_id: String,
    pub(super) tool: Tool,
    /// The model's call that it carries out.
    pub(super) of_model: Option<(ProcessId, String)>,
}

#[derive(Debug)]
pub(super) struct HeldCall {
    pub(super) call: McpCall,
    pub(super) findings: Findings,
    pub(super) outcome: Option<McpOutcome>,
}

impl Sessions {
    pub(super) fn processes(&self) -> Vec<ProcessId> {
        let mut processes: Vec<ProcessId> = self.open.keys().map(|key| key.process).collect();
        processes.dedup();
        processes
    }

    pub(super) fn of(&self, process: ProcessId) -> impl Iterator<Item = (&Key, &Session)> {
        self.open.iter().filter(move |(key, _)| key.process == process)
    }

    pub(super) fn make_room(&mut self) {
        let bytes: usize = self.open.values().map(|session| session.conversation.facts().bytes()).sum();
        if self.open.len() < MAX_SESSIONS && bytes < MAX_BYTES {
            return;
        }
        let oldest = self.open.iter().min_by_key(|(_, session)| session.last).map(|(key, _)| key.clone());
        if let Some(oldest) = oldest {
            let forgotten = self.open.remove(&oldest);
            let calls = forgotten.iter().flat_map(|session| session.calls.values());
            self.held -= calls.filter(|called| matches!(called, Called::Held(_))).count();
        }
    }
}

impl Session {
    pub(super) fn new(id: String, origin: CallOrigin, message: &McpMessage) -> Self {
        Self {
            conversation: McpConversation::default(),
            id,
            begun: None,
            transport: message.place.transport,
            endpoint: message.place.endpoint.clone(),
            recorded: message.recorded,
            origin,
            has_headers: message.has_headers,
            last: message.time,
            calls: BTreeMap::new(),
        }
    }

    pub(super) fn agent(&self) -> Option<AgentInfo> {
        let client = self.conversation.facts().client.as_ref()?;
        Some(AgentInfo { name: Some(client.name.clone()), version: client.version.clone() })
    }

    /// For `ext.oisp_sensor.mcp`.
    pub(super) fn extension(&self, peers: &BTreeMap<ConnectionId, ProcessId>) -> Map<String, Value> {
        let mut map = self.conversation.facts().head();
        map.insert("transport".to_owned(), self.transport.name().into());
        map.insert("session_id".to_owned(), self.id.clone().into());
        if let Some(endpoint) = &self.endpoint {
            map.insert("endpoint".to_owned(), endpoint.clone().into());
        }
        if self.recorded == McpSide::Server {
            map.insert("role".to_owned(), "server".into());
        }
        if let Some(peer) = peers.get(&self.origin.connection) {
            map.insert("peer_pid".to_owned(), peer.0.into());
        }
        map
    }

    /// Enters what this session knows of its tool `own`.
    pub(super) fn complete(&self, tool: &mut Tool, own: &str) {
        let facts = self.conversation.facts();
        tool.provider = Some("mcp".to_owned());
        if let Some(server) = &facts.server {
            tool.server = Some(server.name.clone());
        }
        if let Some(description) = facts.tools.get(own).and_then(|tool| tool.description.clone()) {
            tool.description = Some(description);
        }
        if tool.category.is_none() {
            tool.category = crate::tools::tool(own, None).category;
        }
    }

    /// The tool that an agent offers to a model under a name, and how sure that is (0 is surest): its own name, or one with
    /// the server's in front.
    pub(super) fn offers<'n>(&self, offered: &'n str) -> Option<(u8, &'n str)> {
        let facts = self.conversation.facts();
        let server = facts.server.as_ref().map(|server| plain(&server.name)).unwrap_or_default();
        for (before, own) in names_within(offered) {
            if own.is_empty() || !facts.tools.contains_key(own) {
                continue;
            }
            let prefix = before.strip_prefix("mcp__");
            let named = plain(prefix.unwrap_or(before));
            let is_server = !named.is_empty()
                && !server.is_empty()
                && (server.contains(&named) || named.contains(&server));
            return match (before.is_empty(), is_server, prefix) {
                (true, _, _) | (_, true, _) => Some((0, own)),
                (_, false, Some(_)) => Some((1, own)),
                // Words in front that say nothing of this server: a tool of another.
                (_, false, None) => continue,
            };
        }
        None
    }
}

pub(super) fn key_of(origin: &CallOrigin, message: &McpMessage) -> Key {
    let place = match (&message.place.transport, &message.place.endpoint) {
        (McpTransport::Stdio, _) => Place::Lines(origin.connection),
        (_, endpoint) => Place::Http {
            endpoint: endpoint.clone().unwrap_or_default(),
            session: message.place.session.clone(),
        },
    };
    Key { process: origin.connection.process, place }
}

/// A name without what agents replace in it.
fn plain(name: &str) -> String {
    name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}
