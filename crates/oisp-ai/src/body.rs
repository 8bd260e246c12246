//! A body that is read as a whole: kept up to a bound, given up at a gap.

/// The bytes of a body so far.
#[derive(Debug, Default)]
pub(crate) struct Body {
    bytes: Vec<u8>,
    total: u64,
    state: State,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Whole,
    Damaged,
    OverLimit,
}

impl Body {
    pub(crate) fn push(&mut self, bytes: &[u8], limit: usize) {
        self.total = self.total.saturating_add(bytes.len() as u64);
        if self.state != State::Whole {
            return;
        }
        if bytes.len() > limit.saturating_sub(self.bytes.len()) {
            self.give_up();
        } else {
            self.bytes.extend_from_slice(bytes);
        }
    }

    /// Bytes are missing here: what was kept cannot be read as a whole any more.
    pub(crate) fn gap(&mut self) {
        self.bytes = Vec::new();
        if self.state == State::Whole {
            self.state = State::Damaged;
        }
    }

    /// Drops what was kept and keeps nothing more, for want of room; says whether that is news.
    pub(crate) fn give_up(&mut self) -> bool {
        self.bytes = Vec::new();
        std::mem::replace(&mut self.state, State::OverLimit) == State::Whole
    }

    /// The bytes, if none is missing so far.
    pub(crate) fn whole(&self) -> Option<&[u8]> {
        (self.state == State::Whole).then_some(&self.bytes)
    }

    pub(crate) fn is_damaged(&self) -> bool {
        self.state == State::Damaged
    }

    pub(crate) fn is_over_limit(&self) -> bool {
        self.state == State::OverLimit
    }

    /// Bytes delivered, kept or not.
    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    pub(crate) fn buffered(&self) -> usize {
        self.bytes.capacity()
    }
}
