//! Content that is held, by half and by age.
//!
//! The order is kept as content comes and goes: however many halves wait, finding the one that has waited longest costs
//! no look at the others.

use std::collections::{BTreeMap, BTreeSet};

use oisp_capture::{ConnectionId, Content, MonotonicNanos};

/// What a piece takes besides its bytes: itself, its allocation and its place here. Without it, pieces of one byte would
/// be bounded in bytes only and take a hundred times as much.
pub(super) const PIECE_BYTES: usize = size_of::<Piece>() + 64;

/// Content, with the number of its arrival among all halves'.
pub(super) type Piece = (u64, Content);

#[derive(Debug, Default)]
pub(super) struct Waiting {
    of_half: BTreeMap<ConnectionId, Vec<Piece>>,
    /// By the time of a half's first piece.
    by_age: BTreeSet<(MonotonicNanos, ConnectionId)>,
    bytes: usize,
    arrivals: u64,
}

impl Waiting {
    /// Holds content of the half `content.connection`.
    pub(super) fn push(&mut self, content: Content) {
        self.arrivals += 1;
        self.bytes += size(&content);
        let pieces = self.of_half.entry(content.connection).or_default();
        if pieces.is_empty() {
            self.by_age.insert((content.time, content.connection));
        }
        pieces.push((self.arrivals, content));
    }

    /// What is held of a half, in its order; nothing is afterwards.
    pub(super) fn take(&mut self, half: &ConnectionId) -> Vec<Piece> {
        let Some(pieces) = self.of_half.remove(half) else { return Vec::new() };
        self.bytes -= pieces.iter().map(|(_, content)| size(content)).sum::<usize>();
        if let Some((_, first)) = pieces.first() {
            self.by_age.remove(&(first.time, *half));
        }
        pieces
    }

    /// Since when something of a half is held.
    pub(super) fn since(&self, half: &ConnectionId) -> Option<MonotonicNanos> {
        Some(self.of_half.get(half)?.first()?.1.time)
    }

    /// The half that has waited longest, and since when.
    pub(super) fn oldest(&self) -> Option<(MonotonicNanos, ConnectionId)> {
        self.by_age.first().copied()
    }

    /// What all pieces take.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

fn size(content: &Content) -> usize {
    PIECE_BYTES + content.bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use oisp_capture::{Direction, Nanos, ProcessId};
    use proptest::prelude::*;

    fn id(object: u64) -> ConnectionId {
        ConnectionId { process: ProcessId(7), object, born: Nanos(1) }
    }

    fn content(object: u64, time: u64, length: usize) -> Content {
        Content {
            connection: id(object),
            thread: 1,
            direction: Direction::Sent,
            offset: 0,
            bytes: Bytes::from(vec![0; length]),
            time: Nanos(time),
            function: "seal",
        }
    }

    proptest! {
        /// Also with times that go back, as those of two CPUs may.
        #[test]
        fn oldest_and_sum_are_those_of_a_look_at_everything(
            steps in proptest::collection::vec((0_u64..6, 0_u64..50, 0_usize..9, any::<bool>()), 1..60),
        ) {
            let mut waiting = Waiting::default();
            let mut all: BTreeMap<ConnectionId, Vec<Content>> = BTreeMap::new();
            for (object, time, length, is_taken) in steps {
                if is_taken {
                    let taken: Vec<Content> = waiting.take(&id(object)).into_iter().map(|(_, one)| one).collect();
                    prop_assert_eq!(taken, all.remove(&id(object)).unwrap_or_default());
                } else {
                    waiting.push(content(object, time, length));
                    all.entry(id(object)).or_default().push(content(object, time, length));
                }
                let oldest = all.iter().map(|(half, pieces)| (pieces[0].time, *half)).min();
                prop_assert_eq!(waiting.oldest(), oldest);
                let sum: usize = all.values().flatten().map(|one| PIECE_BYTES + one.bytes.len()).sum();
                prop_assert_eq!(waiting.bytes(), sum);
                prop_assert_eq!(waiting.since(&id(object)), all.get(&id(object)).map(|pieces| pieces[0].time));
            }
        }
    }
}
