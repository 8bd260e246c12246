//! Streamed answers whose parts are told while they come: what the redactor holds of each.

use std::collections::BTreeMap;

use oisp_ai::AiChunk;
use oisp_capture::ConnectionId;
use oisp_decode::ExchangeId;
use oisp_event::Event;
use oisp_redact::{ChunkPlace, ChunkRedaction, Redacted, Redactor};

use crate::runtime::{Holder, MemoryBudget};

/// Held of all answers together; what would go beyond it is not told before its response.
const MOST_HELD: usize = 4 << 20;
/// Memory of an answer of which nothing is held.
const BASE_BYTES: usize = 2 * (size_of::<ChunkRedaction>() + size_of::<(ConnectionId, ExchangeId)>());

/// The answers that are open.
#[derive(Debug, Default)]
pub(crate) struct Chunks {
    answers: BTreeMap<(ConnectionId, ExchangeId), ChunkRedaction>,
    held: usize,
}

/// Where a chunk's texts belong.
pub(crate) fn place(chunk: &AiChunk) -> ChunkPlace {
    ChunkPlace { choice: chunk.choice, calls: chunk.call_numbers.clone(), is_last: chunk.is_last }
}

impl Chunks {
    /// The chunk as it may be told; `None` while all of it is held.
    pub(crate) fn redact(
        &mut self,
        answer: (ConnectionId, ExchangeId),
        event: Event,
        place: &ChunkPlace,
        redactor: &Redactor,
        budget: &MemoryBudget,
    ) -> Option<Redacted<Event>> {
        let is_known = self.answers.contains_key(&answer);
        let state = self.answers.entry(answer).or_default();
        let before = if is_known { held(state) } else { 0 };
        let told = redactor.redact_chunk(state, event, place);
        if self.held - before + held(state) > MOST_HELD {
            state.give_up();
        }
        let after = held(state);
        self.held = self.held - before + after;
        if after >= before {
            budget.take(Holder::Connections, after - before);
        } else {
            budget.give_back(Holder::Connections, before - after);
        }
        told
    }

    /// The answer is told whole.
    pub(crate) fn answered(&mut self, answer: (ConnectionId, ExchangeId), budget: &MemoryBudget) {
        if let Some(state) = self.answers.remove(&answer) {
            self.held -= held(&state);
            budget.give_back(Holder::Connections, held(&state));
        }
    }

    /// Nothing more comes on a connection.
    pub(crate) fn connection_closed(&mut self, connection: ConnectionId, budget: &MemoryBudget) {
        let range = (connection, ExchangeId(0))..=(connection, ExchangeId(u64::MAX));
        let left: Vec<_> = self.answers.range(range).map(|(answer, _)| *answer).collect();
        left.into_iter().for_each(|answer| self.answered(answer, budget));
    }
}

fn held(answer: &ChunkRedaction) -> usize {
    BASE_BYTES + answer.held_bytes()
}
