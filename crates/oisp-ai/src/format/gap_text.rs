//! Text that arrives in pieces, some of which may be lost.

use serde_json::{Value, json};

/// Text collected from a stream. What comes after a gap is kept apart from what came before it.
#[derive(Debug, Default)]
pub(super) struct GapText {
    /// How many gaps the stream had when this text began.
    born: u32,
    whole: String,
    later: Vec<(u32, String)>,
}

impl GapText {
    /// Text whose beginning is seen after `gaps` gaps.
    pub(super) fn born(gaps: u32) -> Self {
        Self { born: gaps, ..Self::default() }
    }

    /// Appends a piece that arrives after `gaps` gaps.
    pub(super) fn push(&mut self, piece: &str, gaps: u32) {
        if piece.is_empty() {
            return;
        }
        if gaps == self.born {
            self.whole.push_str(piece);
            return;
        }
        match self.later.last_mut() {
            Some((gap, text)) if *gap == gaps => text.push_str(piece),
            _ => self.later.push((gaps, piece.to_owned())),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.whole.is_empty() && self.later.is_empty()
    }

    pub(super) fn is_cut(&self) -> bool {
        !self.later.is_empty()
    }

    /// The contiguous text from its beginning.
    pub(super) fn whole(&self) -> &str {
        &self.whole
    }

    /// The contiguous text, and each piece after a gap as an object with the gap's number (from 1)
    /// and the text.
    pub(super) fn into_parts(self) -> (String, Vec<(u32, String)>) {
        (self.whole, self.later)
    }
}

/// A piece after a gap for the extension.
pub(super) fn piece(gap: u32, text: String, place: (&str, u64)) -> Value {
    json!({ "after_gap": gap, place.0: place.1, "text": text })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_after_a_gap_is_kept_apart() {
        let mut text = GapText::default();
        for (piece, gaps) in [("a", 0), ("b", 0), ("c", 1), ("d", 1), ("", 2), ("e", 3)] {
            text.push(piece, gaps);
        }
        assert!(text.is_cut());
        assert_eq!(text.into_parts(), ("ab".to_owned(), vec![(1, "cd".to_owned()), (3, "e".to_owned())]));
    }

    #[test]
    fn text_that_begins_after_a_gap_is_whole() {
        let mut text = GapText::born(1);
        text.push("a", 1);
        text.push("b", 1);
        assert!(!text.is_cut());
        assert_eq!(text.whole(), "ab");
    }
}
