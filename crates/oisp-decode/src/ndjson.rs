//! Newline-delimited JSON: one value a line (`application/x-ndjson`, `application/jsonl`,
//! `application/stream+json`, JSON-RPC over standard input and output). Lines are split, not read.

use std::fmt;

use crate::Limits;

/// One line that is not blank, without its end.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct NdjsonLine {
    /// Bytes of the stream before the line.
    pub offset: u64,
    /// The line.
    pub bytes: Vec<u8>,
    /// It was longer than the bound, or bytes of it were lost: what is here is its beginning.
    pub truncated: bool,
}

/// Splits a stream into lines, however the bytes are cut. Lines end in LF or CRLF.
#[derive(Clone)]
pub struct NdjsonSplitter {
    limit: usize,
    line: NdjsonLine,
    /// Bytes of the stream so far.
    offset: u64,
    /// Bytes were lost, and the line that goes on may have begun in them.
    skipping: bool,
}

impl NdjsonSplitter {
    /// At the start of a stream. Of one line, [`Limits::message_bytes`] are kept.
    pub fn new(limits: &Limits) -> Self {
        Self { limit: limits.message_bytes, line: NdjsonLine::default(), offset: 0, skipping: false }
    }

    /// Takes the next bytes and appends the lines that they complete.
    pub fn push(&mut self, mut bytes: &[u8], out: &mut Vec<NdjsonLine>) {
        while let Some(end) = memchr::memchr(b'\n', bytes) {
            self.keep(&bytes[..end]);
            self.offset += 1;
            self.end_line(out);
            bytes = &bytes[end + 1..];
        }
        self.keep(bytes);
    }

    /// The stream is over. Returns a last line that no line feed ended: it may be whole or cut off.
    pub fn finish(&mut self) -> Option<NdjsonLine> {
        let mut out = Vec::new();
        self.end_line(&mut out);
        out.pop()
    }

    /// `lost` bytes of the stream are missing here, as far as their number is known. Returns the line
    /// that they cut off, marked as truncated; what follows is left out up to the next line feed.
    pub fn gap(&mut self, lost: u64) -> Option<NdjsonLine> {
        let cut = self.finish().map(|line| NdjsonLine { truncated: true, ..line });
        self.offset = self.offset.saturating_add(lost);
        self.skipping = true;
        cut
    }

    /// Bytes of memory held besides the fixed size.
    pub fn buffered_bytes(&self) -> usize {
        self.line.bytes.capacity()
    }

    fn keep(&mut self, bytes: &[u8]) {
        self.offset += bytes.len() as u64;
        if self.skipping {
            return;
        }
        // One byte more than the limit: it may be the CR of the line end.
        let room = self.limit.saturating_add(1) - self.line.bytes.len();
        self.line.truncated |= bytes.len() > room;
        self.line.bytes.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn end_line(&mut self, out: &mut Vec<NdjsonLine>) {
        let next = NdjsonLine { offset: self.offset, ..NdjsonLine::default() };
        let mut line = std::mem::replace(&mut self.line, next);
        if std::mem::take(&mut self.skipping) {
            return;
        }
        if !line.truncated && line.bytes.last() == Some(&b'\r') {
            line.bytes.pop();
        }
        if line.bytes.len() > self.limit {
            line.truncated = true;
            line.bytes.truncate(self.limit);
        }
        if line.truncated || !line.bytes.trim_ascii().is_empty() {
            out.push(line);
        }
    }
}

// Lines are captured content: sizes only.
impl fmt::Debug for NdjsonLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NdjsonLine({} bytes at {})", self.bytes.len(), self.offset)
    }
}

impl fmt::Debug for NdjsonSplitter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NdjsonSplitter({} bytes held)", self.buffered_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzz::cut;
    use proptest::prelude::*;

    fn split(pieces: &[&[u8]], limit: usize) -> Vec<(u64, String, bool)> {
        let mut splitter = NdjsonSplitter::new(&Limits { message_bytes: limit, ..Limits::default() });
        let mut out = Vec::new();
        for piece in pieces {
            splitter.push(piece, &mut out);
            assert!(splitter.buffered_bytes() <= 2 * (limit + 16));
        }
        out.extend(splitter.finish());
        assert_eq!(splitter.finish(), None);
        out.into_iter()
            .map(|line| (line.offset, String::from_utf8_lossy(&line.bytes).into_owned(), line.truncated))
            .collect()
    }

    #[test]
    fn lines_end_in_lf_or_crlf_blank_ones_are_left_out_and_the_last_needs_no_end() {
        let lines = split(&[b"{\"a\":1}\r\n\n \r\n[2]\n{\"cut"], 100);
        assert_eq!(
            lines,
            [(0, "{\"a\":1}".into(), false), (13, "[2]".into(), false), (17, "{\"cut".into(), false)]
        );
    }

    #[test]
    fn a_line_of_exactly_the_limit_is_whole_and_a_longer_one_is_marked_and_skipped_to_its_end() {
        assert_eq!(split(&[b"12345\r\n6"], 5), [(0, "12345".into(), false), (7, "6".into(), false)]);
        assert_eq!(split(&[b"123456\n7"], 5), [(0, "12345".into(), true), (7, "7".into(), false)]);
        assert_eq!(split(&[b"12345\rx\n7"], 5), [(0, "12345".into(), true), (8, "7".into(), false)]);
        let endless = vec![&b"0123456789"[..]; 1000];
        assert_eq!(split(&endless, 50), [(0, "0123456789".repeat(5), true)]);
    }

    proptest! {
        #[test]
        fn a_gap_joins_nothing_and_spares_every_line_that_it_does_not_touch(
            lines in proptest::collection::vec("[a-z]{1,8}", 1..12),
            from in any::<prop::sample::Index>(),
            length in 1..30_usize,
            cuts in proptest::collection::vec(any::<u16>(), 0..4),
        ) {
            let stream: String = lines.iter().map(|line| format!("{line}\n")).collect();
            let from = from.index(stream.len());
            let to = (from + length).min(stream.len());
            let mut splitter = NdjsonSplitter::new(&Limits::default());
            let mut out = Vec::new();
            splitter.push(&stream.as_bytes()[..from], &mut out);
            out.extend(splitter.gap((to - from) as u64));
            for piece in cut(&stream.as_bytes()[to..], &cuts) {
                splitter.push(piece, &mut out);
            }
            out.extend(splitter.finish());
            let mut whole = Vec::new();
            let mut at = 0;
            for line in &lines {
                let end = at + line.len() + 1;
                // A line that begins with the first byte behind the gap may have begun within it.
                if end <= from || at > to {
                    whole.push((at as u64, line.clone()));
                }
                at = end;
            }
            let seen: Vec<_> = out
                .iter()
                .filter(|line| !line.truncated)
                .map(|line| (line.offset, String::from_utf8(line.bytes.clone()).unwrap()))
                .collect();
            prop_assert_eq!(seen, whole);
            prop_assert!(out.iter().filter(|line| line.truncated).count() <= 1);
        }

        #[test]
        fn any_cut_gives_the_same_lines(
            stream in "([a-z]{0,9}|\r|\n|\r\n| ){0,30}",
            limit in 0..12_usize,
            cuts in proptest::collection::vec(any::<u16>(), 0..8),
        ) {
            let stream = stream.as_bytes();
            prop_assert_eq!(split(&cut(stream, &cuts), limit), split(&[stream], limit));
        }
    }
}
