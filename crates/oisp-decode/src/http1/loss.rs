//! Losing message boundaries, and finding them again.

use super::Http1;
use super::half::State;
use crate::body::{Side, bare_end, problem};
use crate::headers::Headers;
use crate::message::{Defect, Direction, ExchangeId, HttpEvent, Nanos, Problem, ProblemKind, Undecodable};

impl Http1 {
    /// Tells that bytes are missing here.
    pub(crate) fn gap(&mut self, direction: Direction, time: Nanos, length: u64, out: &mut Vec<HttpEvent>) {
        let side = self.side(direction);
        if side == Side::Response {
            self.pairing.response_activity(true);
        }
        let mut left = length;
        while left > 0 {
            let half = self.half(side);
            let skipped = match &mut half.state {
                State::Lost => Some(left),
                State::Head { .. } | State::Held { .. } => None,
                State::Body { framing, body, .. } => {
                    let skipped = framing.skip(left);
                    if let Some(lost @ 1..) = skipped {
                        body.gap(time, lost, out);
                    }
                    skipped
                }
            };
            let Some(skipped) = skipped else {
                if self.keep_lost_chunks(side, time, left, out) {
                    return;
                }
                let here = self.half(side).here(ProblemKind::FramingLost);
                self.lose(side, time, Some(left), here, out);
                self.half(side).advance(left);
                return;
            };
            half.advance(skipped);
            left -= skipped;
            if matches!(&half.state, State::Body { framing, .. } if framing.is_done()) {
                self.end_body(side, time, Headers::new(), out);
            }
        }
    }

    /// A gap of `left` bytes lies across chunks of a response. If only that response can go on behind
    /// it, it stays open for its chunks to be found again; else false. Of requests that cannot be told:
    /// a client that pipelines may have sent others in what was lost.
    fn keep_lost_chunks(&mut self, side: Side, time: Nanos, left: u64, out: &mut Vec<HttpEvent>) -> bool {
        let here = self.response.here(ProblemKind::FramingLost);
        let State::Body { framing, body, .. } = &mut self.response.state else { return false };
        let exchange = body.exchange();
        if side == Side::Request || !self.pairing.is_only(exchange) || !framing.lose_chunks() {
            return false;
        }
        out.push(problem(exchange, time, here));
        body.gap(time, left, out);
        self.response.advance(left);
        true
    }

    /// At the start of a record of the response direction: finds the chunks of a body whose chunks were
    /// lost, if the record consists of them.
    pub(super) fn look_for_chunks(&mut self, time: Nanos, record: &[u8], out: &mut Vec<HttpEvent>) {
        let here = self.response.here(ProblemKind::Resynchronised);
        if let State::Body { framing, body, .. } = &mut self.response.state
            && framing.is_lost()
            && framing.find_chunks(record, &self.limits)
        {
            out.push(problem(body.exchange(), time, here));
        }
    }

    /// Ends a response whose chunks are lost, if there is one: they will not be found any more.
    pub(super) fn give_up_chunks(&mut self, time: Nanos, out: &mut Vec<HttpEvent>) {
        match std::mem::replace(&mut self.response.state, State::Lost) {
            State::Body { framing, mut body, .. } if framing.is_lost() => {
                self.response.resynchronised = false;
                body.defect(Defect::Truncated);
                body.finish(time, Headers::new(), out);
                self.pairing.close_front();
            }
            state => self.response.state = state,
        }
    }

    /// Whether a response may begin after a loss. Where it is uncertain whose it is, no open
    /// exchange gets it.
    pub(super) fn response_is_due(&mut self, time: Nanos, out: &mut Vec<HttpEvent>) -> bool {
        if self.pairing.is_idle() {
            return self.pairing.requests_may_be_hidden();
        }
        if !self.pairing.next_is_certain() {
            let (direction, offset) = (self.response.direction, self.response.offset);
            while let Some(exchange) = self.pairing.close_front() {
                let kind = ProblemKind::PairingUncertain;
                out.push(problem(exchange, time, Problem { direction, offset, kind }));
                out.push(bare_end(exchange, time, [Defect::PairingLost]));
                self.release_held(exchange, out);
            }
            self.pairing.hide_requests();
        }
        true
    }

    /// A certain message start was found.
    pub(super) fn resynchronise(&mut self, side: Side) {
        let state = State::between(&self.limits);
        let half = self.half(side);
        half.state = state;
        half.resynchronised = true;
        half.found_at = half.offset;
    }

    /// Message boundaries of a direction are lost, by a gap of `gap` bytes or by what was read.
    /// Ends the message that was going on.
    pub(super) fn lose(
        &mut self,
        side: Side,
        time: Nanos,
        gap: Option<u64>,
        cause: Problem,
        out: &mut Vec<HttpEvent>,
    ) {
        let half = self.half(side);
        half.resynchronised = false;
        let mut state = std::mem::replace(&mut half.state, State::Lost);
        if let State::Body { body, .. } = &mut state {
            // What came before comes before, wherever the record began.
            body.flush(time, out);
        }
        let exchange = match (&state, side) {
            (State::Body { body, .. }, _) => body.exchange(),
            (State::Head { .. }, Side::Response) => {
                self.pairing.front().map_or(ExchangeId::CONNECTION, |(exchange, _)| exchange)
            }
            _ => ExchangeId::CONNECTION,
        };
        out.push(problem(exchange, time, cause));
        let mut ended = None;
        match (state, side) {
            (State::Body { mut body, .. }, _) => {
                if let Some(lost) = gap {
                    body.gap(time, lost, out);
                }
                body.defect(Defect::Truncated);
                body.finish(time, Headers::new(), out);
                if side == Side::Response {
                    ended = self.pairing.close_front();
                }
            }
            (_, Side::Response) => {
                ended = self.pairing.close_front();
                if let Some(exchange) = ended {
                    let cause = match gap {
                        Some(lost_bytes) => Defect::Gap { lost_bytes, at: 0 },
                        None => Defect::Undecodable(Undecodable::MalformedHead),
                    };
                    out.push(bare_end(exchange, time, [cause, Defect::Truncated]));
                }
            }
            (_, Side::Request) => {}
        }
        match side {
            Side::Request => self.pairing.hide_requests(),
            Side::Response => {
                if let Some(exchange) = ended {
                    self.release_held(exchange, out);
                }
            }
        }
    }
}
