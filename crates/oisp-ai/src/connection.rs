//! One connection: hands events to their exchanges and holds the bounds.

use std::collections::BTreeMap;

use oisp_decode::{ExchangeId, HttpEvent, HttpEventKind, HttpVersion, Nanos};

use crate::call::AiEvent;
use crate::exchange::Exchange;
use crate::mcp::LineMessages;
use crate::{Limits, Services};

/// About what an exchange takes besides its bodies: heads, and what was found so far.
const EXCHANGE_BYTES: usize = 4096;

/// What is known of a connection besides its bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConnectionContext {
    /// The server's name (SNI), for requests that name no host.
    pub server_name: Option<String>,
    /// Whether the connection is not encrypted: endpoints are then written as `http`.
    pub plaintext: bool,
    /// Services besides the known ones.
    pub services: Services,
}

/// What became of the exchanges of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Exchanges seen.
    pub exchanges: u64,
    /// Requests given.
    pub requests: u64,
    /// Responses given.
    pub responses: u64,
    /// Messages of MCP given.
    pub mcp_messages: u64,
    /// Exchanges ended because there were more than [`Limits::exchanges`].
    pub evicted: u64,
    /// Exchanges whose bodies were dropped because of [`Limits::buffered_bytes`].
    pub bodies_dropped: u64,
}

/// Interprets the HTTP events of one connection.
pub struct ConnectionInterpreter {
    limits: Limits,
    context: ConnectionContext,
    exchanges: BTreeMap<ExchangeId, Exchange>,
    /// Of a connection that carries lines instead of HTTP.
    lines: Option<LineMessages>,
    buffered: usize,
    counters: Counters,
}

impl ConnectionInterpreter {
    /// For a TLS connection of which nothing else is known.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self::with_context(limits, ConnectionContext::default())
    }

    /// For a connection of which something is known.
    #[must_use]
    pub fn with_context(limits: Limits, context: ConnectionContext) -> Self {
        Self {
            limits,
            context,
            exchanges: BTreeMap::new(),
            lines: None,
            buffered: 0,
            counters: Counters::default(),
        }
    }

    /// Takes the next event and appends what it completes.
    pub fn event(&mut self, event: &HttpEvent, out: &mut Vec<AiEvent>) {
        let before = out.len();
        self.take(event, out);
        self.count(&out[before..]);
    }

    /// The connection is over: ends every exchange that has not ended.
    pub fn close(&mut self, time: Nanos, out: &mut Vec<AiEvent>) {
        self.cut_short(time, "connection_closed", out);
        let before = out.len();
        if let Some(lines) = &mut self.lines {
            lines.close(time, out);
        }
        self.count(&out[before..]);
    }

    /// Ends every exchange that has not ended, because nothing more of it will be handed in; `reason` is a short
    /// identifier that goes into [`Findings::reasons`](crate::Findings::reasons).
    pub fn cut_short(&mut self, time: Nanos, reason: &str, out: &mut Vec<AiEvent>) {
        let before = out.len();
        for exchange in std::mem::take(&mut self.exchanges).into_values() {
            exchange.cut_short(time, reason, &self.limits, out);
        }
        self.buffered = 0;
        self.count(&out[before..]);
    }

    /// Bytes held for all exchanges.
    #[must_use]
    pub fn buffered_bytes(&self) -> usize {
        let lines = self.lines.as_ref().map_or(0, LineMessages::buffered);
        self.buffered + lines + self.exchanges.len() * EXCHANGE_BYTES
    }

    /// What became of the exchanges so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters
    }

    fn take(&mut self, event: &HttpEvent, out: &mut Vec<AiEvent>) {
        let id = event.exchange;
        match &event.kind {
            HttpEventKind::JsonRpcLine(line) => {
                let lines = self.lines.get_or_insert_with(LineMessages::new);
                lines.line(line, event.time, &self.limits, out);
                return;
            }
            HttpEventKind::Problem(_) if id == ExchangeId::CONNECTION => {
                if let Some(lines) = &mut self.lines {
                    lines.gap();
                }
            }
            _ => {}
        }
        // Anything but a head belongs to an exchange that is known, or was given up.
        let begins = matches!(event.kind, HttpEventKind::RequestHead(_) | HttpEventKind::ResponseHead(_));
        if !self.exchanges.contains_key(&id) {
            if !begins || id == ExchangeId::CONNECTION {
                return;
            }
            self.counters.exchanges += 1;
            if matches!(&event.kind, HttpEventKind::RequestHead(head) if head.version == HttpVersion::Http2) {
                self.end_answered(event.time, out);
            }
            self.make_room(event.time, out);
        }
        let exchange = self.exchanges.entry(id).or_insert_with(|| Exchange::new(id, event.time));
        let held = exchange.buffered();
        match &event.kind {
            HttpEventKind::RequestHead(head) => {
                exchange.request_head(head.clone(), event.time, &self.context);
            }
            _ => exchange.event(event, &self.limits, out),
        }
        let mut holds = exchange.buffered();
        if self.buffered.saturating_sub(held) + holds > self.limits.buffered_bytes && holds > held {
            self.counters.bodies_dropped += u64::from(exchange.give_up());
            holds = exchange.buffered();
        }
        let over = exchange.is_over();
        if over {
            holds = 0;
            self.exchanges.remove(&id);
        }
        self.buffered = self.buffered.saturating_sub(held).saturating_add(holds);
    }

    /// A client of HTTP/2 that has the last event of an answer may read no further before it goes on: the end of the
    /// message comes only with the answer to its next request, which may bring results of what this answer asks for.
    fn end_answered(&mut self, time: Nanos, out: &mut Vec<AiEvent>) {
        for exchange in self.exchanges.values_mut() {
            let held = exchange.buffered();
            exchange.end_if_answered(time, &self.limits, out);
            let holds = exchange.buffered();
            self.buffered = self.buffered.saturating_sub(held).saturating_add(holds);
        }
        self.exchanges.retain(|_, exchange| !exchange.is_over());
    }

    fn make_room(&mut self, time: Nanos, out: &mut Vec<AiEvent>) {
        while self.exchanges.len() >= self.limits.exchanges.max(1) {
            let Some((_, oldest)) = self.exchanges.pop_first() else { return };
            self.buffered = self.buffered.saturating_sub(oldest.buffered());
            self.counters.evicted += 1;
            oldest.cut_short(time, "too_many_exchanges", &self.limits, out);
        }
    }

    fn count(&mut self, given: &[AiEvent]) {
        for event in given {
            match event {
                AiEvent::Request(_) => self.counters.requests += 1,
                AiEvent::Response(_) => self.counters.responses += 1,
                AiEvent::Chunk(_) => {}
                AiEvent::Mcp(_) => self.counters.mcp_messages += 1,
            }
        }
    }
}
