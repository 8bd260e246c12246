//! What crossed the provider's side of each connection in clear.

use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::transcript::Transcript;

/// Everything since the provider started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProviderLog {
    /// In the order in which they were accepted.
    pub connections: Vec<ConnectionLog>,
}

/// One connection's plaintext.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionLog {
    /// Counted from 0.
    pub id: u64,
    /// The client's port on 127.0.0.1.
    pub peer_port: u16,
    /// The name in the ClientHello, where there was one.
    pub server_name: Option<String>,
    /// The bytes received, up to the provider's log limit.
    pub received: Vec<u8>,
    /// The bytes sent, up to the provider's log limit. They are logged before they are written, so a client
    /// never holds a byte that the log lacks.
    pub sent: Vec<u8>,
    /// Number of bytes received, kept or not.
    pub received_total: u64,
    /// Number of bytes sent, kept or not.
    pub sent_total: u64,
    /// SHA-256 over all bytes received.
    pub received_sha256: String,
    /// SHA-256 over all bytes sent.
    pub sent_sha256: String,
    /// In order.
    pub exchanges: Vec<ExchangeLog>,
    /// How the connection ended; `None` while it is open.
    pub end: Option<String>,
}

/// A request and its response. Bodies beyond the provider's log limit are left empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExchangeLog {
    /// Which format answered.
    pub format: &'static str,
    /// Request line and headers as received.
    pub request_head: Vec<u8>,
    /// The body after joining chunks and decompressing.
    pub request_body: Vec<u8>,
    /// The status answered.
    pub status: u16,
    /// Status line and headers as sent.
    pub response_head: Vec<u8>,
    /// The body before compressing and chunking.
    pub response_body: Vec<u8>,
    /// The stream on an HTTP/2 connection. Its exchanges interleave, so the ranges below stay empty, and heads
    /// are written as HTTP/1 would have them.
    pub stream: Option<u32>,
    /// What was said on the WebSocket that this exchange opened, in the provider's order.
    pub messages: Vec<MessageLog>,
    /// Offsets into the bytes received.
    pub received_range: Range<u64>,
    /// Offsets into the bytes sent, a `100 Continue` included.
    pub sent_range: Range<u64>,
    /// The whole response was handed to the connection.
    pub complete: bool,
}

/// A text or binary message of a WebSocket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MessageLog {
    /// Sent by the client, not by the provider.
    pub received: bool,
    /// Text, not binary.
    pub text: bool,
    /// The content, unmasked.
    pub payload: Vec<u8>,
}

impl ProviderLog {
    /// For a reader in another language: bytes in base64, names as here.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let connections: Vec<Value> = self.connections.iter().map(ConnectionLog::to_json).collect();
        json!({ "connections": connections })
    }

    /// All exchanges of all connections.
    pub fn exchanges(&self) -> impl Iterator<Item = &ExchangeLog> {
        self.connections.iter().flat_map(|connection| &connection.exchanges)
    }
}

impl ConnectionLog {
    /// Whether [`received`](Self::received) and [`sent`](Self::sent) hold every byte.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.received.len() as u64 == self.received_total && self.sent.len() as u64 == self.sent_total
    }

    fn to_json(&self) -> Value {
        let exchanges: Vec<Value> = self.exchanges.iter().map(ExchangeLog::to_json).collect();
        json!({
            "id": self.id,
            "peer_port": self.peer_port,
            "server_name": self.server_name,
            "received": STANDARD.encode(&self.received),
            "received_total": self.received_total,
            "received_sha256": self.received_sha256,
            "sent": STANDARD.encode(&self.sent),
            "sent_total": self.sent_total,
            "sent_sha256": self.sent_sha256,
            "exchanges": exchanges,
            "end": self.end,
        })
    }
}

impl ExchangeLog {
    fn to_json(&self) -> Value {
        json!({
            "format": self.format,
            "request_head": STANDARD.encode(&self.request_head),
            "request_body": STANDARD.encode(&self.request_body),
            "status": self.status,
            "response_head": STANDARD.encode(&self.response_head),
            "response_body": STANDARD.encode(&self.response_body),
            "stream": self.stream,
            "messages": self.messages.iter().map(MessageLog::to_json).collect::<Vec<_>>(),
            "received_range": [self.received_range.start, self.received_range.end],
            "sent_range": [self.sent_range.start, self.sent_range.end],
            "complete": self.complete,
        })
    }
}

impl MessageLog {
    fn to_json(&self) -> Value {
        json!({ "received": self.received, "text": self.text, "payload": STANDARD.encode(&self.payload) })
    }
}

/// The log while connections write to it.
#[derive(Debug)]
pub(super) struct LogBook {
    connections: Mutex<Vec<Record>>,
    budget: Arc<AtomicUsize>,
}

/// One connection's entry; clones are the same entry.
#[derive(Clone, Debug)]
pub(super) struct Record(Arc<Mutex<Entry>>);

#[derive(Debug)]
struct Entry {
    received: Transcript,
    sent: Transcript,
    /// The parts that need no derivation; its byte fields stay empty until a snapshot.
    log: ConnectionLog,
    budget: Arc<AtomicUsize>,
}

impl LogBook {
    /// A log that keeps about `limit` bytes in all.
    pub(super) fn new(limit: usize) -> Self {
        Self { connections: Mutex::default(), budget: Arc::new(AtomicUsize::new(limit)) }
    }

    pub(super) fn open(&self, peer_port: u16) -> Record {
        let mut connections = lock(&self.connections);
        let record = Record(Arc::new(Mutex::new(Entry {
            received: Transcript::default(),
            sent: Transcript::default(),
            log: ConnectionLog {
                id: connections.len() as u64,
                peer_port,
                server_name: None,
                received: Vec::new(),
                sent: Vec::new(),
                received_total: 0,
                sent_total: 0,
                received_sha256: String::new(),
                sent_sha256: String::new(),
                exchanges: Vec::new(),
                end: None,
            },
            budget: Arc::clone(&self.budget),
        })));
        connections.push(record.clone());
        record
    }

    pub(super) fn snapshot(&self) -> ProviderLog {
        ProviderLog { connections: lock(&self.connections).iter().map(Record::snapshot).collect() }
    }
}

impl Record {
    pub(super) fn id(&self) -> u64 {
        lock(&self.0).log.id
    }

    pub(super) fn server_name(&self, name: Option<&str>) {
        lock(&self.0).log.server_name = name.map(str::to_owned);
    }

    pub(super) fn received(&self, bytes: &[u8]) {
        let mut entry = lock(&self.0);
        if entry.afford(bytes.len()) { entry.received.push(bytes) } else { entry.received.count(bytes) }
    }

    /// Logs bytes that are about to be written.
    pub(super) fn sent(&self, bytes: &[u8]) {
        lock(&self.0).push_sent(bytes);
    }

    pub(super) fn sent_offset(&self) -> u64 {
        lock(&self.0).sent.total()
    }

    /// Begins an exchange and returns its number; [`Record::respond`] speaks of the one begun last.
    pub(super) fn begin(&self, mut exchange: ExchangeLog) -> usize {
        let mut entry = lock(&self.0);
        if !entry.afford(exchange.request_body.len()) {
            exchange.request_body = Vec::new();
        }
        entry.log.exchanges.push(exchange);
        entry.log.exchanges.len() - 1
    }

    /// Logs a part of the response of an exchange of which others may be open.
    #[cfg(feature = "full-protocols")]
    pub(super) fn respond_to(&self, exchange: usize, head: &[u8], body: &[u8], is_last: bool) {
        let mut entry = lock(&self.0);
        let affordable = entry.afford(body.len());
        if let Some(exchange) = entry.log.exchanges.get_mut(exchange) {
            exchange.response_head.extend_from_slice(head);
            if affordable {
                exchange.response_body.extend_from_slice(body);
            }
            exchange.complete = is_last;
        }
    }

    /// Logs a message of the WebSocket that an exchange opened.
    #[cfg(feature = "full-protocols")]
    pub(super) fn message(&self, exchange: usize, mut message: MessageLog) {
        let mut entry = lock(&self.0);
        if !entry.afford(message.payload.len()) {
            message.payload = Vec::new();
        }
        if let Some(exchange) = entry.log.exchanges.get_mut(exchange) {
            exchange.messages.push(message);
        }
    }

    /// Logs a part of the response that is about to be written: its bytes on the wire and what they mean.
    pub(super) fn respond(&self, wire: &[u8], head: &[u8], body: &[u8], is_last: bool) {
        let mut entry = lock(&self.0);
        entry.push_sent(wire);
        let affordable = entry.afford(body.len());
        let sent = entry.sent.total();
        if let Some(exchange) = entry.log.exchanges.last_mut() {
            exchange.response_head.extend_from_slice(head);
            if affordable {
                exchange.response_body.extend_from_slice(body);
            }
            exchange.sent_range.end = sent;
            exchange.complete = is_last;
        }
    }

    pub(super) fn end(&self, how: String) {
        lock(&self.0).log.end = Some(how);
    }

    fn snapshot(&self) -> ConnectionLog {
        let entry = lock(&self.0);
        ConnectionLog {
            received: entry.received.kept().to_vec(),
            sent: entry.sent.kept().to_vec(),
            received_total: entry.received.total(),
            sent_total: entry.sent.total(),
            received_sha256: entry.received.sha256(),
            sent_sha256: entry.sent.sha256(),
            ..entry.log.clone()
        }
    }
}

impl Entry {
    fn push_sent(&mut self, bytes: &[u8]) {
        if self.afford(bytes.len()) { self.sent.push(bytes) } else { self.sent.count(bytes) }
    }

    /// Takes `bytes` from the budget. Once it was exceeded nothing more is kept, so that what is kept is always
    /// a prefix.
    fn afford(&self, bytes: usize) -> bool {
        let left = self
            .budget
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| Some(left.saturating_sub(bytes)));
        left.is_ok_and(|left| left > 0 && left >= bytes)
    }
}

/// A thread that died while it logged leaves a log that is still worth reading.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A stream whose plaintext is logged.
pub(super) struct Logged<S> {
    pub(super) stream: S,
    pub(super) record: Record,
}

impl<S: io::Read> io::Read for Logged<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.stream.read(buffer)?;
        self.record.received(&buffer[..length]);
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn past_the_limit_bytes_are_counted_and_digested_and_what_is_kept_is_a_prefix() {
        let book = LogBook::new(10);
        let record = book.open(1);
        record.received(b"12345678");
        record.received(b"9abc");
        record.received(b"d");
        let log = &book.snapshot().connections[0];
        assert_eq!(log.received, b"12345678");
        assert_eq!(log.received_total, 13);
        assert_eq!(log.received_sha256, crate::transcript::sha256_hex(b"123456789abcd"));
        assert!(!log.is_whole());
    }
}
