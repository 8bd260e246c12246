//! The first content of a connection waits a moment for its socket.
//!
//! Of a library that works in memory the send that shows the socket comes after the call; without the wait the first
//! request of every connection would be told without its addresses. What comes behind waits too: the order stays.

use std::collections::VecDeque;

use oisp_capture::{ConnectionId, MonotonicNanos};

use crate::records::Owned;

/// The send follows within microseconds; the thread may lose its CPU in between.
const LONGEST_WAIT_NANOS: u64 = 10_000_000;
/// What may wait in all. Beyond it nothing does.
const MAX_RECORDS: usize = 1024;
const MAX_BYTES: usize = 1 << 20;

/// Records that wait, in their order.
#[derive(Default)]
pub(crate) struct Delay {
    records: VecDeque<Owned>,
    bytes: usize,
}

impl Delay {
    /// Takes a record behind all that wait.
    pub(crate) fn push(&mut self, record: Owned) {
        self.bytes += content_bytes(&record);
        self.records.push_back(record);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// The next record that need not wait. `lacks_socket` says of a connection whether its content should; the clock is
    /// read only for what should, because most records go through here without.
    pub(crate) fn next(
        &mut self,
        now: impl FnOnce() -> MonotonicNanos,
        lacks_socket: impl FnOnce(&ConnectionId) -> bool,
    ) -> Option<Owned> {
        let is_full = self.records.len() > MAX_RECORDS || self.bytes > MAX_BYTES;
        if let Owned::Content(content, _) = self.records.front()?
            && !is_full
            && lacks_socket(&content.connection)
            && now().0.saturating_sub(content.time.0) < LONGEST_WAIT_NANOS
        {
            return None;
        }
        self.next_at_once()
    }

    /// The next record, whatever it waits for.
    pub(crate) fn next_at_once(&mut self) -> Option<Owned> {
        let record = self.records.pop_front()?;
        self.bytes -= content_bytes(&record);
        Some(record)
    }
}

fn content_bytes(record: &Owned) -> usize {
    match record {
        Owned::Content(content, _) | Owned::HalfContent(content, ..) | Owned::StreamContent(.., content) => {
            content.bytes.len()
        }
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use oisp_capture::{Content, Direction, Nanos, ProcessId};

    fn content(object: u64, time: u64, length: usize) -> Owned {
        let connection = ConnectionId { process: ProcessId(7), object, born: Nanos(1) };
        let content = Content {
            connection,
            thread: 7,
            direction: Direction::Sent,
            offset: 0,
            bytes: Bytes::from(vec![0; length]),
            time: Nanos(time),
            function: "SSL_write",
        };
        Owned::Content(content, 0)
    }

    fn object_of(record: Option<Owned>) -> Option<u64> {
        match record? {
            Owned::Content(content, _) => Some(content.connection.object),
            _ => None,
        }
    }

    #[test]
    fn content_without_a_socket_waits_for_it_with_all_that_is_behind_it_but_no_longer_than_a_moment() {
        let mut delay = Delay::default();
        delay.push(content(1, 100, 5));
        delay.push(content(2, 101, 5));
        assert!(delay.next(|| Nanos(200), |id| id.object == 1).is_none());
        assert_eq!(object_of(delay.next(|| Nanos(200), |_| false)), Some(1));
        assert!(delay.next(|| Nanos(200), |id| id.object == 2).is_none());
        assert_eq!(object_of(delay.next(|| Nanos(101 + LONGEST_WAIT_NANOS), |_| true)), Some(2));
        assert!(delay.is_empty() && delay.bytes == 0);
    }

    #[test]
    fn clock_is_read_only_for_content_that_lacks_its_socket() {
        let mut reads = 0;
        let mut delay = Delay::default();
        for number in 0..100 {
            delay.push(content(number, 100, 5));
        }
        for _ in 0..99 {
            assert!(delay.next(|| unreachable!("the socket is known"), |_| false).is_some());
        }
        let mut clock = || {
            reads += 1;
            Nanos(101)
        };
        assert!(delay.next(&mut clock, |_| true).is_none());
        assert_eq!(reads, 1);
    }

    #[test]
    fn what_waits_is_bounded_in_records_and_bytes() {
        let mut delay = Delay::default();
        for number in 0..=MAX_RECORDS as u64 {
            delay.push(content(number, 100, 1));
        }
        assert_eq!(object_of(delay.next(|| Nanos(100), |_| true)), Some(0));
        assert!(delay.next(|| Nanos(100), |_| true).is_none());
        let mut delay = Delay::default();
        delay.push(content(1, 100, MAX_BYTES));
        delay.push(content(2, 100, 1));
        assert_eq!(object_of(delay.next(|| Nanos(100), |_| true)), Some(1));
        assert!(delay.next(|| Nanos(100), |_| true).is_none());
        assert_eq!(object_of(delay.next_at_once()), Some(2));
    }
}
