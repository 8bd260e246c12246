//! The ids of streams that were used.

use std::collections::VecDeque;

/// Which ids of one side were used. They ascend, so those below the next that were not seen are
/// few ranges: streams whose beginning was lost.
#[derive(Debug)]
pub(super) struct Ids {
    /// Above all that were used.
    pub(super) next: u32,
    missing: VecDeque<(u32, u32)>,
}

/// Ranges of missing ids that are remembered; older ones count as used.
const MISSING_RANGES: usize = 64;

impl Ids {
    pub(super) fn from(next: u32) -> Self {
        Self { next, missing: VecDeque::new() }
    }

    /// Whether an id is used for the first time.
    pub(super) fn take(&mut self, id: u32) -> bool {
        if id >= self.next {
            if id > self.next {
                self.remember(self.next, id - 2);
            }
            self.next = id.saturating_add(2);
            return true;
        }
        let Some(at) = self.missing.iter().position(|(first, last)| (*first..=*last).contains(&id)) else {
            return false;
        };
        let Some((first, last)) = self.missing.remove(at) else { return false };
        if first < id {
            self.remember(first, id - 2);
        }
        if id < last {
            self.remember(id + 2, last);
        }
        true
    }

    /// Whether an id was not used yet.
    pub(super) fn is_unused(&self, id: u32) -> bool {
        id >= self.next || self.missing.iter().any(|(first, last)| (*first..=*last).contains(&id))
    }

    fn remember(&mut self, first: u32, last: u32) {
        if self.missing.len() == MISSING_RANGES {
            self.missing.pop_front();
        }
        self.missing.push_back((first, last));
    }

    pub(super) fn buffered_bytes(&self) -> usize {
        self.missing.capacity() * size_of::<(u32, u32)>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_id_is_taken_once_also_those_that_were_skipped() {
        let mut ids = Ids::from(1);
        assert!(ids.take(1) && ids.take(9));
        assert!(!ids.take(1) && !ids.take(9));
        assert!(ids.take(5) && !ids.take(5));
        assert!(ids.take(3) && ids.take(7) && ids.take(11));
        assert!(!ids.take(3) && !ids.take(7));
        assert!(ids.missing.is_empty());
    }

    #[test]
    fn what_is_remembered_of_skipped_ids_is_bounded() {
        let mut ids = Ids::from(1);
        for id in (1..10_000).step_by(6) {
            assert!(ids.take(id));
        }
        assert_eq!(ids.missing.len(), MISSING_RANGES);
        assert!(!ids.take(3));
    }
}
