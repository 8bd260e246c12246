//! Looking at text around a candidate, with the looking counted.

use std::cell::Cell;

/// The text under examination. Detectors look at it only through runs that are counted, so that a test can
/// assert that the work stays in proportion to the text whatever the text is; and with a note of whether the end of the
/// text was met: what was decided without it holds whatever follows.
pub(crate) struct Text<'t> {
    text: &'t str,
    examined: Cell<u64>,
    met_end: Cell<bool>,
}

impl<'t> Text<'t> {
    pub(crate) fn new(text: &'t str) -> Self {
        Self { text, examined: Cell::new(0), met_end: Cell::new(false) }
    }

    /// Bytes looked at so far.
    pub(crate) fn examined(&self) -> u64 {
        self.examined.get()
    }

    /// Whether anything at or behind the end of the text was asked for since this was asked last.
    pub(crate) fn take_met_end(&self) -> bool {
        self.met_end.replace(false)
    }

    /// Something up to `end` is looked at.
    fn look(&self, end: usize) {
        if end > self.text.len() {
            self.met_end.set(true);
        }
    }

    pub(crate) fn count(&self, bytes: usize) {
        self.examined.set(self.examined.get() + bytes as u64);
    }

    /// To bound a look by: whether it met the end is judged by where it went.
    pub(crate) fn len(&self) -> usize {
        self.text.len()
    }

    pub(crate) fn byte(&self, at: usize) -> Option<u8> {
        self.look(at.saturating_add(1));
        self.text.as_bytes().get(at).copied()
    }

    pub(crate) fn before(&self, at: usize) -> Option<u8> {
        at.checked_sub(1).and_then(|at| self.byte(at))
    }

    /// The text of a range whose ends are moved inwards to character boundaries.
    pub(crate) fn slice(&self, start: usize, end: usize) -> &'t str {
        self.look(end);
        let end = self.text.floor_char_boundary(end.min(self.text.len()));
        self.text.get(self.text.ceil_char_boundary(start)..end).unwrap_or("")
    }

    /// The end of the longest run of bytes of `class` from `start`, of at most `limit` bytes.
    pub(crate) fn run(&self, start: usize, limit: usize, class: impl Fn(u8) -> bool) -> usize {
        let end = start.saturating_add(limit).min(self.text.len());
        let bytes = self.text.as_bytes().get(start..end).unwrap_or(&[]);
        let length = bytes.iter().position(|byte| !class(*byte)).unwrap_or(bytes.len());
        self.count(length + 1);
        // Also where the limit ends it there: limits are often made of the text's length.
        self.look(start.saturating_add(length).saturating_add(1));
        start + length
    }

    /// The start of the longest run of bytes of `class` that ends at `end`, of at most `limit` bytes.
    pub(crate) fn run_back(&self, end: usize, limit: usize, class: impl Fn(u8) -> bool) -> usize {
        let start = end.saturating_sub(limit);
        let bytes = self.text.as_bytes().get(start..end).unwrap_or(&[]);
        let length = bytes.iter().rev().position(|byte| !class(*byte)).unwrap_or(bytes.len());
        self.count(length + 1);
        end - length
    }

    pub(crate) fn starts_with(&self, at: usize, what: &str) -> bool {
        self.count(what.len());
        self.look(at.saturating_add(what.len()));
        self.text.as_bytes().get(at..).is_some_and(|rest| rest.starts_with(what.as_bytes()))
    }

    pub(crate) fn starts_with_ignoring_case(&self, at: usize, what: &str) -> bool {
        self.count(what.len());
        self.look(at.saturating_add(what.len()));
        let bytes = self.text.as_bytes().get(at..at.saturating_add(what.len()));
        bytes.is_some_and(|bytes| bytes.eq_ignore_ascii_case(what.as_bytes()))
    }
}

/// Letters and digits.
pub(crate) fn is_alphanumeric(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
}

/// What base64url and most providers make tokens of.
pub(crate) fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')
}

/// What names of variables, flags, headers and JSON keys are made of.
pub(crate) fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.')
}

/// Blanks within a line.
pub(crate) fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}
