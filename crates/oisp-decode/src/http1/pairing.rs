//! Which response belongs to which request.
//!
//! HTTP/1 answers in the order of the requests, so without loss the n-th response belongs to the
//! n-th request. After a loss in which whole requests may have vanished ("hidden"), a request is
//! only given a response when nothing hidden can still be owed one:
//! - requests known before the loss are answered first, in their order: those stay certain;
//! - a later request is certain again once the other direction was active with no known request
//!   open (that was the answer to the hidden one) and is at a boundary, on a connection whose
//!   client was never seen to send a request before the previous one was answered.
//!
//! A loss is known only when the next record of its direction comes, so its consequences come
//! first: an answer to a request that was never seen, a request while the previous answer seems
//! unfinished. Both are judged when their direction goes on, by whether it goes on with a gap.
//!
//! What remains: a client that pipelines while the very requests that would show it are lost.
//! Hardly any HTTP/1.1 client pipelines.

use std::collections::VecDeque;

use super::framing::RequestKind;
use crate::message::ExchangeId;

#[derive(Debug)]
pub(super) struct Pairing {
    /// Exchanges whose response has not ended, in the order of their requests.
    open: VecDeque<(ExchangeId, RequestKind)>,
    last: u64,
    /// The exchange whose response came while its request head was still incomplete.
    early: Option<ExchangeId>,
    hidden: bool,
    /// The other direction was active with nothing open since requests became hidden.
    answered: bool,
    /// A response belonged to no request although no loss was known.
    unexplained: bool,
    /// A request came before the previous one was answered: pipelining, or a loss not known yet.
    overlap: bool,
    /// The connection began with a response of which it is not certain that it was asked for before.
    start_in_doubt: bool,
    /// The client pipelines, so that counting is all there is.
    pipelined: bool,
    limit: usize,
}

/// Where the response direction is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Answers {
    /// Between two messages.
    Between,
    /// Within a message.
    Within,
    /// Unknown after a loss.
    Lost,
}

/// What becomes of a new request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Admission {
    /// Its response will carry the same id.
    Paired,
    /// It gets no response: it is uncertain which is its own.
    Uncertain,
    /// It gets no response: too many wait.
    TooMany,
}

impl Pairing {
    /// `last`: the last id that the connection has used.
    pub(super) fn new(limit: usize, last: ExchangeId) -> Self {
        Self {
            open: VecDeque::new(),
            last: last.0,
            early: None,
            hidden: false,
            answered: false,
            unexplained: false,
            overlap: false,
            start_in_doubt: false,
            pipelined: false,
            limit,
        }
    }

    pub(super) fn last(&self) -> ExchangeId {
        ExchangeId(self.last)
    }

    fn fresh(&mut self) -> ExchangeId {
        self.last += 1;
        ExchangeId(self.last)
    }

    /// A request head is complete.
    pub(super) fn request(&mut self, kind: RequestKind, answers: Answers) -> (ExchangeId, Admission) {
        if let Some(early) = self.early.take() {
            if let Some((_, known)) = self.open.iter_mut().find(|(id, _)| *id == early) {
                *known = kind;
            }
            return (early, Admission::Paired);
        }
        let exchange = self.fresh();
        if std::mem::take(&mut self.unexplained) {
            // No loss explains it: the response was unasked for (a server that times out), or the
            // order of the records is wrong. Counting can't be trusted from here on.
            self.pipelined = true;
        }
        // Where answers were lost, one that seems unfinished may have ended.
        self.overlap |= !self.open.is_empty() && answers != Answers::Lost;
        if self.hidden {
            if !(self.answered && answers != Answers::Within && self.open.is_empty() && !self.pipelined) {
                return (exchange, Admission::Uncertain);
            }
            self.hidden = false;
        }
        if self.open.len() >= self.limit {
            self.give_up();
            return (exchange, Admission::TooMany);
        }
        self.open.push_back((exchange, kind));
        (exchange, Admission::Paired)
    }

    /// The response that the connection began with is taken for one that was asked for before the connection
    /// was seen. If it was not, the client is soon seen to ask again before it has an answer.
    pub(super) fn doubt_start(&mut self) {
        self.start_in_doubt = true;
    }

    /// A request begins. Whether it shows that the pairing so far was wrong, where that was in doubt.
    pub(super) fn refutes_start(&mut self) -> bool {
        !self.open.is_empty() && std::mem::take(&mut self.start_in_doubt)
    }

    /// Whether nothing speaks against counting.
    pub(super) fn is_sure(&self) -> bool {
        !self.hidden && !self.pipelined && self.early.is_none()
    }

    /// Requests may have vanished from here on.
    pub(super) fn hide_requests(&mut self) {
        // An answer without a request that came before is the answer to what vanished.
        self.answered &= self.hidden;
        self.hidden = true;
        self.unexplained = false;
        self.early = None;
    }

    /// Requests vanished in a way that no later request can be paired with certainty.
    pub(super) fn give_up(&mut self) {
        self.hide_requests();
        self.pipelined = true;
    }

    pub(super) fn requests_may_be_hidden(&self) -> bool {
        self.hidden
    }

    /// The response direction went on, with bytes or with a gap.
    pub(super) fn response_activity(&mut self, is_gap: bool) {
        if std::mem::take(&mut self.overlap) && !is_gap {
            self.pipelined = true;
        }
        self.answered |= self.hidden && self.open.is_empty();
    }

    /// A response begins that belongs to no request, while no loss is known.
    pub(super) fn unexplained_response(&mut self) {
        self.hide_requests();
        self.answered = true;
        self.unexplained = true;
    }

    /// The exchange that a response belongs to, if its request is known.
    pub(super) fn front(&self) -> Option<(ExchangeId, RequestKind)> {
        self.open.front().copied()
    }

    /// Opens an exchange for a response that came while its request head is incomplete.
    pub(super) fn open_early(&mut self) -> Option<ExchangeId> {
        if self.hidden || self.early.is_some() {
            return None;
        }
        let exchange = self.open_orphan();
        self.early = Some(exchange);
        Some(exchange)
    }

    /// Opens an exchange for a response without a request.
    pub(super) fn open_orphan(&mut self) -> ExchangeId {
        let exchange = self.fresh();
        self.open.push_back((exchange, RequestKind::Other));
        exchange
    }

    /// The response in front has ended.
    pub(super) fn close_front(&mut self) -> Option<ExchangeId> {
        self.open.pop_front().map(|(exchange, _)| exchange)
    }

    pub(super) fn is_open(&self, exchange: ExchangeId) -> bool {
        self.open.iter().any(|(id, _)| *id == exchange)
    }

    /// Whether the next response can only belong to the one open exchange.
    pub(super) fn next_is_certain(&self) -> bool {
        self.open.len() == 1 && !self.pipelined
    }

    /// Whether the exchange is the only one that waits for its answer or receives it, as far as can be.
    pub(super) fn is_only(&self, exchange: ExchangeId) -> bool {
        self.open.len() == 1
            && self.is_open(exchange)
            && !self.pipelined
            && !self.hidden
            && self.early.is_none()
    }

    pub(super) fn is_idle(&self) -> bool {
        self.open.is_empty()
    }

    pub(super) fn buffered_bytes(&self) -> usize {
        self.open.capacity() * size_of::<(ExchangeId, RequestKind)>()
    }
}
