//! `text/event-stream`, by the rules of the WHATWG HTML standard, section "Server-sent events".

use std::borrow::Cow;
use std::fmt;

use crate::Limits;

/// One event of a stream.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct SseEvent {
    /// Value of the last `event` field; empty means `message`.
    pub event: String,
    /// Values of the `data` fields, joined by LF.
    pub data: String,
    /// The last event id of the stream at this event.
    pub id: Option<String>,
    /// Reconnection time in milliseconds, if this event's block set it.
    pub retry: Option<u64>,
    /// Fields were larger than the bound, or bytes were lost: what is here is their beginning.
    pub truncated: bool,
}

/// Splits a stream into events, however the bytes are cut. Lines end in LF, CRLF or CR.
#[derive(Clone)]
pub struct SseParser {
    limit: usize,
    id_limit: usize,
    /// The line so far, at most `limit` bytes of it.
    line: Vec<u8>,
    line_truncated: bool,
    /// The last byte was a CR that ended a line: an LF now belongs to it.
    after_cr: bool,
    /// No line has ended yet: a byte order mark may stand at its start.
    first_line: bool,
    /// Bytes were lost: lines belong to nothing certain until an empty one ends their event.
    skipping: bool,
    block: Block,
    id: Option<String>,
    comments: u64,
}

#[derive(Clone, Default)]
struct Block {
    event: String,
    data: String,
    has_data: bool,
    retry: Option<u64>,
    truncated: bool,
}

impl SseParser {
    /// At the start of a stream, with the default [`Limits`].
    pub fn new() -> Self {
        Self::with_limits(&Limits::default())
    }

    /// At the start of a stream. Of the fields of an event together, and of a line, at most
    /// `event_bytes` bytes are kept.
    pub fn with_limit(event_bytes: usize) -> Self {
        Self::with_limits(&Limits { message_bytes: event_bytes, ..Limits::default() })
    }

    /// At the start of a stream. Of the fields of an event together, and of a line,
    /// [`Limits::message_bytes`] are kept.
    pub fn with_limits(limits: &Limits) -> Self {
        Self {
            limit: limits.message_bytes,
            id_limit: limits.event_id_bytes,
            line: Vec::new(),
            line_truncated: false,
            after_cr: false,
            first_line: true,
            skipping: false,
            block: Block::default(),
            id: None,
            comments: 0,
        }
    }

    /// Takes the next bytes and appends the events that they complete.
    pub fn push(&mut self, mut bytes: &[u8], out: &mut Vec<SseEvent>) {
        if self.after_cr && !bytes.is_empty() {
            self.after_cr = false;
            bytes = bytes.strip_prefix(b"\n").unwrap_or(bytes);
        }
        while let Some(end) = memchr::memchr2(b'\n', b'\r', bytes) {
            self.keep(&bytes[..end]);
            let mut next = end + 1;
            if bytes[end] == b'\r' {
                match bytes.get(next) {
                    Some(b'\n') => next += 1,
                    Some(_) => {}
                    None => self.after_cr = true,
                }
            }
            self.end_line(out);
            bytes = &bytes[next..];
        }
        self.keep(bytes);
    }

    /// The stream is over. An event that its closing empty line did not reach is discarded by the
    /// standard; it is returned here, for a stream that was cut off.
    pub fn finish(&mut self) -> Option<SseEvent> {
        let mut out = Vec::new();
        if !self.line.is_empty() || self.line_truncated {
            self.end_line(&mut out);
        }
        self.dispatch(&mut out);
        out.pop()
    }

    /// Bytes of the stream were lost here. Returns the event that they cut off, marked as truncated;
    /// what follows is left out up to the end of the event that it may belong to. The last event id
    /// is not known from here on, because the lost bytes may have set it.
    pub fn gap(&mut self) -> Option<SseEvent> {
        // Half a number is another number.
        let retry = self.block.retry;
        let mut out = Vec::new();
        if !self.line.is_empty() || self.line_truncated {
            self.end_line(&mut out);
        }
        self.block.retry = retry;
        self.block.truncated = true;
        self.dispatch(&mut out);
        self.id = None;
        self.after_cr = false;
        self.first_line = false;
        self.skipping = true;
        // The lost bytes may have held the beginning of this line: it is not an empty one.
        self.line_truncated = true;
        out.pop()
    }

    /// Comment lines so far (keep-alives).
    pub fn comments(&self) -> u64 {
        self.comments
    }

    /// Bytes of memory held besides the fixed size.
    pub fn buffered_bytes(&self) -> usize {
        self.line.capacity() + self.block.event.capacity() + self.block.data.capacity()
    }

    fn keep(&mut self, bytes: &[u8]) {
        if self.skipping {
            self.line_truncated |= !bytes.is_empty();
            return;
        }
        let room = self.limit - self.line.len();
        self.line_truncated |= bytes.len() > room;
        self.line.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn end_line(&mut self, out: &mut Vec<SseEvent>) {
        let mut buffer = std::mem::take(&mut self.line);
        let truncated = std::mem::take(&mut self.line_truncated);
        let first = std::mem::take(&mut self.first_line);
        let line = match buffer.strip_prefix(b"\xef\xbb\xbf") {
            Some(after_mark) if first => after_mark,
            _ => &buffer,
        };
        match (line.is_empty() && !truncated, self.skipping) {
            (true, true) => self.skipping = false,
            (true, false) => self.dispatch(out),
            (false, true) => {}
            (false, false) => self.field(line, truncated),
        }
        buffer.clear();
        // Keeps the allocation for the next line, unless one huge line blew it up.
        if buffer.capacity() <= 64 << 10 {
            self.line = buffer;
        }
    }

    fn field(&mut self, line: &[u8], truncated: bool) {
        let colon = memchr::memchr(b':', line).unwrap_or(line.len());
        let (name, value) = line.split_at(colon);
        let value = value.strip_prefix(b":").unwrap_or(value);
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match name {
            b"" => self.comments += 1,
            b"event" => {
                self.block.truncated |= truncated;
                self.block.event.clear();
                self.append(value, |block| &mut block.event);
            }
            b"data" => {
                if self.block.has_data {
                    self.append(b"\n", |block| &mut block.data);
                }
                self.block.has_data = true;
                self.block.truncated |= truncated;
                self.append(value, |block| &mut block.data);
            }
            b"id" if !value.contains(&0) && value.len() <= self.id_limit => {
                self.id = Some(String::from_utf8_lossy(value).into_owned());
            }
            b"retry" if !value.is_empty() && value.iter().all(u8::is_ascii_digit) => {
                self.block.retry = std::str::from_utf8(value).ok().and_then(|digits| digits.parse().ok());
            }
            _ => {}
        }
    }

    /// Appends text to a field of the block as far as the bound allows.
    fn append(&mut self, value: &[u8], field: impl Fn(&mut Block) -> &mut String) {
        let room = self.limit.saturating_sub(self.block.event.len() + self.block.data.len());
        // Looking for what to replace is slower than seeing that nothing is.
        let text = std::str::from_utf8(value).map_or_else(|_| String::from_utf8_lossy(value), Cow::Borrowed);
        let mut end = text.len().min(room);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        self.block.truncated |= end < text.len();
        field(&mut self.block).push_str(&text[..end]);
    }

    fn dispatch(&mut self, out: &mut Vec<SseEvent>) {
        let block = std::mem::take(&mut self.block);
        // Without a data field there is no event; with an empty one the standard has none either,
        // but some services mark their steps so (MCP's priming event), so it is delivered.
        if block.has_data {
            out.push(SseEvent {
                event: block.event,
                data: block.data,
                id: self.id.clone(),
                retry: block.retry,
                truncated: block.truncated,
            });
        }
    }
}

impl Default for SseParser {
    fn default() -> Self {
        Self::new()
    }
}

// Events are captured content: sizes only.
impl fmt::Debug for SseEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SseEvent({:?}, {} bytes)", self.event, self.data.len())
    }
}

impl fmt::Debug for SseParser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SseParser({} bytes held)", self.buffered_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(pieces: &[&[u8]]) -> Vec<(String, String)> {
        let mut parser = SseParser::new();
        let mut out = Vec::new();
        for piece in pieces {
            parser.push(piece, &mut out);
        }
        out.into_iter().map(|event| (event.event, event.data)).collect()
    }

    fn pair(event: &str, data: &str) -> (String, String) {
        (event.into(), data.into())
    }

    #[test]
    fn streams_are_read_by_the_standard() {
        let cases: &[(&str, &[(&str, &str)])] = &[
            ("data: a\n\n", &[("", "a")]),
            ("data:a\r\n\r\n", &[("", "a")]),
            ("data:  a\r\r", &[("", " a")]),
            ("\u{feff}data: a\n\n", &[("", "a")]),
            ("data: \u{feff}a\n\n", &[("", "\u{feff}a")]),
            ("event: x\ndata: a\ndata: b\n\n", &[("x", "a\nb")]),
            ("event: x\n\ndata: a\n\n", &[("", "a")]),
            ("event: x\nevent: y\ndata\n\n", &[("y", "")]),
            (": keep-alive\n\ndata: [DONE]\n\n", &[("", "[DONE]")]),
            ("data\ndata\n\n", &[("", "\n")]),
            ("data: never ended\n", &[]),
            ("other: x\ndata: a\n\n\n\n", &[("", "a")]),
            ("Data: a\n\n", &[]),
        ];
        for (stream, expected) in cases {
            let expected: Vec<_> = expected.iter().map(|(event, data)| pair(event, data)).collect();
            assert_eq!(parse(&[stream.as_bytes()]), expected, "{stream:?}");
        }
    }

    #[test]
    fn ids_last_and_retry_belongs_to_its_block() {
        let mut parser = SseParser::new();
        let mut out = Vec::new();
        parser.push(
            b": c\nid: 7\nretry: 20\ndata: a\n\nid: x\0y\nretry: 2x\ndata: b\n\nid\ndata: c\n\n",
            &mut out,
        );
        let seen: Vec<_> = out.iter().map(|event| (event.id.as_deref(), event.retry)).collect();
        assert_eq!(seen, [(Some("7"), Some(20)), (Some("7"), None), (Some(""), None)]);
        assert_eq!(parser.comments(), 1);
    }

    #[test]
    fn an_event_cut_off_at_the_end_is_only_returned_by_finish() {
        let mut parser = SseParser::new();
        let mut out = Vec::new();
        parser.push(b"event: e\ndata: a\ndata: b", &mut out);
        assert!(out.is_empty());
        let last = parser.finish().unwrap();
        assert_eq!((last.event.as_str(), last.data.as_str()), ("e", "a\nb"));
        assert_eq!(parser.finish(), None);
    }

    #[test]
    fn an_endless_line_and_endless_data_lines_hold_bounded_memory_and_say_so() {
        let mut parser = SseParser::with_limit(100);
        let mut out = Vec::new();
        for _ in 0..1000 {
            parser.push(b"data: 0123456789", &mut out);
            assert!(parser.buffered_bytes() < 1000);
        }
        parser.push(b"\n", &mut out);
        for _ in 0..1000 {
            parser.push("data: é\n".as_bytes(), &mut out);
            assert!(parser.buffered_bytes() < 1000);
        }
        parser.push(b"\ndata: fine\n\n", &mut out);
        assert_eq!(out.len(), 2);
        assert!(out[0].truncated && out[0].data.len() <= 100);
        assert!(!out[1].truncated && out[1].data == "fine");
    }

    fn is_subsequence(part: &[String], whole: &[String]) -> bool {
        let mut whole = whole.iter();
        part.iter().all(|wanted| whole.any(|event| event == wanted))
    }

    /// Events before and after a gap; the one that `gap` returned has `!` before its data.
    fn parse_with_gap(before: &[u8], after: &[&[u8]]) -> Vec<String> {
        let mut parser = SseParser::new();
        let mut out = Vec::new();
        parser.push(before, &mut out);
        let mut shown: Vec<String> = out.drain(..).map(|event| event.data).collect();
        shown.extend(parser.gap().map(|event| {
            assert!(event.truncated);
            format!("!{}", event.data)
        }));
        for piece in after {
            parser.push(piece, &mut out);
        }
        out.extend(parser.finish());
        shown.extend(out.into_iter().map(|event| event.data));
        shown
    }

    #[test]
    fn after_a_gap_the_stream_is_taken_up_behind_the_next_empty_line() {
        let cases: &[(&str, &str, &[&str])] = &[
            ("data: a\n\ndata: b", "ar\n\ndata: c\n\n", &["a", "!b", "c"]),
            ("data: a\n\n", "data: b\n\ndata: c\n\n", &["a", "c"]),
            ("data: a\n", "data: b\n\ndata: c\n\n", &["!a", "c"]),
            ("data: a\r\n", "\ndata: b\r\n\r\ndata: c\r\n\r\n", &["!a", "c"]),
            ("data: a\r", "\n\ndata: c\n\n", &["!a", "c"]),
            ("da", "ta: b\n\n\ndata: c\n\n", &["c"]),
            ("", "\u{feff}data: b\n\ndata: c\n\n", &["c"]),
            ("data: a", "no end", &["!a"]),
            ("", "\n\ndata: c\n\n", &["c"]),
        ];
        for (before, after, expected) in cases {
            let single: Vec<&[u8]> = after.as_bytes().chunks(1).collect();
            assert_eq!(
                parse_with_gap(before.as_bytes(), &[after.as_bytes()]),
                *expected,
                "{before:?} {after:?}"
            );
            assert_eq!(parse_with_gap(before.as_bytes(), &single), *expected, "{before:?} {after:?}");
        }
    }

    #[test]
    fn a_gap_forgets_the_last_id_and_takes_no_half_number() {
        let mut parser = SseParser::new();
        let mut out = Vec::new();
        parser.push(b"id: 7\ndata: a\nretry: 20", &mut out);
        assert_eq!(parser.gap().unwrap().retry, None);
        parser.push(b"00\n\ndata: b\n\n", &mut out);
        assert_eq!((out[0].data.as_str(), &out[0].id), ("b", &None));
    }

    proptest! {
        #[test]
        fn a_gap_invents_no_event_and_spares_all_that_it_does_not_touch(
            events in proptest::collection::vec("[a-z]{1,8}", 1..12),
            crlf in any::<bool>(),
            from in any::<prop::sample::Index>(),
            length in 1..30_usize,
        ) {
            let end = if crlf { "\r\n" } else { "\n" };
            let blocks: Vec<String> = events.iter().map(|data| format!("data: {data}{end}{end}")).collect();
            let stream = blocks.concat();
            let from = from.index(stream.len());
            let to = (from + length).min(stream.len());
            let seen = parse_with_gap(&stream.as_bytes()[..from], &[&stream.as_bytes()[to..]]);
            let mut at = 0;
            let mut whole = Vec::new();
            let mut boundary_behind = false;
            for (block, data) in blocks.iter().zip(&events) {
                // Both line ends that end the block before are to be behind the gap.
                if at + block.len() <= from || boundary_behind {
                    whole.push(data.clone());
                }
                boundary_behind = at + block.len() - 2 * end.len() >= to;
                at += block.len();
            }
            let seen: Vec<_> = seen.into_iter().filter(|event| !event.starts_with('!')).collect();
            prop_assert!(
                is_subsequence(&whole, &seen),
                "{seen:?} lacks some of {whole:?}"
            );
            prop_assert!(is_subsequence(&seen, &events), "{seen:?} of {events:?}");
        }

        #[test]
        fn any_split_gives_the_same_events(
            stream in "(data|event|id|:|\\x{feff}| |a|\r|\n|\r\n|é){0,60}",
            cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..8),
        ) {
            let bytes = stream.as_bytes();
            let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            at.sort_unstable();
            let mut pieces = Vec::new();
            let mut start = 0;
            for cut in at {
                pieces.push(&bytes[start..cut]);
                start = cut;
            }
            pieces.push(&bytes[start..]);
            prop_assert_eq!(parse(&pieces), parse(&[bytes]));
        }
    }
}
