//! One direction of a connection: where it is, and where in a message.

use super::framing::Framing;
use super::head::{BlockStatus, LineBlock};
use crate::Limits;
use crate::body::MessageBody;
use crate::message::{Direction, ExchangeId, Nanos, Problem, ProblemKind};

#[derive(Debug)]
pub(super) struct Half {
    pub(super) direction: Direction,
    pub(super) offset: u64,
    pub(super) state: State,
    /// Boundaries were lost and found by looks, and no head has begun with a record since.
    pub(super) resynchronised: bool,
    /// Where the message begins that was found by looks.
    pub(super) found_at: u64,
}

#[derive(Debug)]
pub(super) enum State {
    /// Between messages, or within a head.
    Head { block: LineBlock, first_byte: Nanos, offset: u64 },
    /// `hold`: an upgrade was asked for, so what follows the body waits for the answer.
    Body { framing: Framing, body: Box<MessageBody>, hold: bool },
    /// Requests only: an upgrade was asked for, and the answer decides what these bytes are.
    Held { exchange: ExchangeId, bytes: Vec<u8>, time: Nanos },
    /// Message boundaries are lost.
    Lost,
}

impl State {
    /// Waiting for a message.
    pub(super) fn between(limits: &Limits) -> Self {
        Self::Head { block: LineBlock::head(limits), first_byte: Nanos(0), offset: 0 }
    }
}

pub(super) enum HeadProgress {
    Partial,
    Complete { block: LineBlock, first_byte: Nanos, offset: u64 },
    TooLarge,
}

impl Half {
    pub(super) fn new(direction: Direction, offset: u64, limits: &Limits) -> Self {
        Self { direction, offset, state: State::between(limits), resynchronised: false, found_at: offset }
    }

    pub(super) fn advance(&mut self, bytes: u64) {
        self.offset = self.offset.saturating_add(bytes);
    }

    pub(super) fn doubt(&self) -> Option<ProblemKind> {
        self.resynchronised.then_some(ProblemKind::Resynchronised)
    }

    pub(super) fn here(&self, kind: ProblemKind) -> Problem {
        Problem { direction: self.direction, offset: self.offset, kind }
    }

    /// Gives bytes to the head. A complete one is taken out, leaving `State::Lost`.
    pub(super) fn head_bytes(
        &mut self,
        time: Nanos,
        rest: &[u8],
        record_start: bool,
    ) -> (usize, HeadProgress) {
        let here = self.offset;
        let State::Head { block, first_byte, offset } = &mut self.state else {
            return (rest.len(), HeadProgress::Partial);
        };
        if block.is_empty() {
            (*first_byte, *offset) = (time, here);
            self.resynchronised &= !record_start || here == self.found_at;
        }
        let (taken, status) = block.push(rest);
        self.offset = here.saturating_add(taken as u64);
        match status {
            BlockStatus::Partial => (taken, HeadProgress::Partial),
            BlockStatus::TooLarge => (taken, HeadProgress::TooLarge),
            BlockStatus::Complete => match std::mem::replace(&mut self.state, State::Lost) {
                State::Head { block, first_byte, offset } => {
                    (taken, HeadProgress::Complete { block, first_byte, offset })
                }
                _ => (taken, HeadProgress::Partial),
            },
        }
    }

    pub(super) fn buffered_bytes(&self) -> usize {
        match &self.state {
            State::Head { block, .. } => block.buffered_bytes(),
            State::Body { framing, body, .. } => framing.buffered_bytes() + body.buffered_bytes(),
            State::Held { bytes, .. } => bytes.capacity(),
            State::Lost => 0,
        }
    }
}
