//! Responses that are captured before their request.

use super::half::State;
use super::{Http1, Start, classify};
use crate::early::Record;
use crate::message::{Direction, ExchangeId, Role};

impl Http1 {
    /// Whether a response that begins now is to wait for its request. Only a client can receive it before
    /// its request was captured: what a server receives is captured before it can be answered. After a loss
    /// the request may be what was lost.
    pub(super) fn awaits_request(&self) -> bool {
        !self.refuses_early
            && !self.joined
            && self.response.direction == Direction::Received
            && self.pairing.is_idle()
            && self.pairing.is_sure()
            && !self.request.resynchronised
            && !self.response.resynchronised
            && matches!(self.request.state, State::Head { .. })
            && matches!(&self.response.state, State::Head { block, .. } if block.is_empty())
    }

    /// Asked before bytes come: whether the request that begins with them is not that of the response that
    /// is held. The response is told without a request then.
    ///
    /// With the first bytes of a connection it is not certain that its beginning was seen. A response in
    /// front that has ended was more likely asked for before, as every later pairing would be wrong if it
    /// was not. One that goes on is this request's, since a client waits for the end of an answer before it
    /// asks again, and so is one that switches protocols, as no request comes after it.
    pub(crate) fn refutes_early(&mut self, direction: Direction, bytes: &[u8]) -> bool {
        if self.early.is_empty() || direction != self.request.direction {
            return false;
        }
        let mut start = self.early.records().iter().flat_map(|record| &record.bytes).copied();
        let start: Vec<u8> = start.by_ref().take(STATUS.end + 1).collect();
        if classify(&start, self.limits.sniff_bytes) != Start::Response {
            return true;
        }
        match start.get(STATUS) {
            // A server may give up waiting for a request and say so.
            Some(b"408") => return true,
            _ if self.request.offset > 0 => return false,
            Some(b"101") => {}
            _ if self.early_has_ended() => {
                self.pairing.doubt_start();
                return true;
            }
            _ => {}
        }
        !matches!(classify(bytes, self.limits.sniff_bytes), Start::Request | Start::Undecided)
    }

    /// The records to be read now, where some were held and need not wait any more.
    pub(crate) fn due_early(&mut self) -> Option<Vec<Record>> {
        if self.early.is_empty() || self.awaits_request() {
            return None;
        }
        Some(self.early.take())
    }

    /// Whether more is held than may be.
    pub(crate) fn early_is_too_long(&self) -> bool {
        self.early.exceeds(self.limits.early_response_bytes)
    }

    /// The records to be read although there is no request, until [`read_early`](Self::read_early).
    pub(crate) fn refuse_early(&mut self) -> Vec<Record> {
        self.refuses_early = true;
        self.early.take()
    }

    /// What was held is read.
    pub(crate) fn read_early(&mut self) {
        self.refuses_early = false;
    }

    fn early_has_ended(&self) -> bool {
        let mut reader = Self::new(self.limits, Role::Client, (0, 0), ExchangeId::CONNECTION);
        reader.pairing.open_orphan();
        for record in self.early.records() {
            if reader.data(self.response.direction, record.time, &record.bytes, &mut Vec::new()).is_some() {
                return false;
            }
        }
        reader.pairing.is_idle()
    }
}

/// Where a status line has its code.
const STATUS: std::ops::Range<usize> = 9..12;

/// Whether bytes may begin a response.
pub(super) fn may_begin_response(bytes: &[u8]) -> bool {
    const START: &[u8] = b"HTTP/1.";
    bytes.starts_with(START) || START.starts_with(bytes)
}
