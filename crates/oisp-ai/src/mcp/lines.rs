//! Messages that come as lines, over pipes or a socket: one conversation a connection.

use std::collections::BTreeMap;

use oisp_decode::{Direction, ExchangeId, JsonRpcId, JsonRpcLine, Nanos};

use super::read::{self, Text};
use super::{McpBody, McpMessage, McpPlace, McpSide, McpTransport};
use crate::{AiEvent, Findings, Limits};

/// Lines that are looked at before a connection is taken for one of another protocol.
const MOST_BEFORE: u32 = 64;
/// Requests whose answers are waited for.
const MOST_WAITING: usize = 1024;

/// Reads the lines of one connection.
pub(crate) struct LineMessages {
    state: State,
    /// Exchanges whose answer has not come, by who asked and the id.
    waiting: BTreeMap<(McpSide, String), ExchangeId>,
    last: u64,
    /// Lines that were not understood since the last that was.
    unread: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// So many lines that tell nothing.
    Unknown(u32),
    /// The client's direction.
    Known(Direction),
    Other,
}

impl LineMessages {
    pub(crate) fn new() -> Self {
        Self { state: State::Unknown(0), waiting: BTreeMap::new(), last: 0, unread: 0 }
    }

    /// Takes a line.
    pub(crate) fn line(&mut self, line: &JsonRpcLine, time: Nanos, limits: &Limits, out: &mut Vec<AiEvent>) {
        if self.state == State::Other {
            return;
        }
        let messages = if line.truncated {
            None
        } else {
            match read::messages(&line.bytes, limits.parsed_bytes) {
                Text::Messages(messages) => Some(messages),
                Text::TooLarge | Text::Other => None,
            }
        };
        let Some(messages) = messages else {
            self.unread += 1;
            self.pass();
            return;
        };
        for body in messages {
            if let State::Unknown(_) = self.state
                && read::is_distinctive(&body)
            {
                let is_of_client = read::is_of_client(&body).unwrap_or(line.direction == Direction::Sent);
                let client = if is_of_client { line.direction } else { line.direction.opposite() };
                self.state = State::Known(client);
            }
            let State::Known(client) = self.state else {
                self.pass();
                continue;
            };
            let from = if line.direction == client { McpSide::Client } else { McpSide::Server };
            let message = self.message(from, client, time, body);
            out.push(AiEvent::Mcp(Box::new(message)));
        }
    }

    /// Bytes of a direction were lost.
    pub(crate) fn gap(&mut self) {
        self.unread += 1;
    }

    /// The connection is over.
    pub(crate) fn close(&mut self, time: Nanos, out: &mut Vec<AiEvent>) {
        if let State::Known(client) = self.state {
            let message = self.message(McpSide::Client, client, time, McpBody::End);
            out.push(AiEvent::Mcp(Box::new(message)));
        }
        self.state = State::Other;
        self.waiting.clear();
    }

    pub(crate) fn buffered(&self) -> usize {
        self.waiting.len() * 128
    }

    fn pass(&mut self) {
        if let State::Unknown(lines) = self.state {
            self.state = if lines >= MOST_BEFORE { State::Other } else { State::Unknown(lines + 1) };
        }
    }

    fn message(&mut self, from: McpSide, client: Direction, time: Nanos, body: McpBody) -> McpMessage {
        let answered = match &body {
            McpBody::Response { id: Some(id), .. } => self.waiting.remove(&(from.opposite(), key(id))),
            _ => None,
        };
        let exchange = answered.unwrap_or_else(|| {
            self.last += 1;
            ExchangeId(self.last)
        });
        if let McpBody::Request { id, .. } = &body {
            if self.waiting.len() >= MOST_WAITING {
                self.waiting.pop_first();
            }
            self.waiting.insert((from, key(id)), exchange);
        }
        let mut findings = Findings::default();
        let unread = std::mem::take(&mut self.unread);
        if unread > 0 {
            findings.limitation(&format!("{unread}_lines_before_it_not_read"));
        }
        McpMessage {
            exchange,
            opens_exchange: answered.is_none(),
            from,
            recorded: if client == Direction::Sent { McpSide::Client } else { McpSide::Server },
            time,
            place: McpPlace {
                transport: McpTransport::Stdio,
                endpoint: None,
                session: None,
                protocol_version: None,
            },
            body,
            has_headers: false,
            findings,
        }
    }
}

/// An id as a key: the number 1 is not the text "1".
pub(super) fn key(id: &JsonRpcId) -> String {
    match id {
        JsonRpcId::Number(digits) => digits.clone(),
        JsonRpcId::Text(text) => format!("\"{text}"),
    }
}
