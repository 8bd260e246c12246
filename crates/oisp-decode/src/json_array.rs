//! A JSON array that arrives piece by piece (Gemini streams its answers as one): its elements are
//! split off as soon as each is over. Strings and nesting are followed; values are not validated.

use std::fmt;
use std::ops::Range;

use thiserror::Error;

use crate::Limits;

/// One element of the array.
#[derive(Clone, PartialEq, Eq)]
pub struct JsonElement {
    /// Where in the body it is.
    pub range: Range<u64>,
    /// Its bytes, without blanks around them.
    pub bytes: Vec<u8>,
    /// It was longer than the bound, or bytes of it were lost: what is here is its beginning.
    pub truncated: bool,
}

/// Why an array could not be read further. The elements before are not affected.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum JsonArrayError {
    /// The first byte that is no blank does not open an array.
    #[error("the body is no JSON array")]
    NotAnArray,
    /// A bracket, comma or element where none may be.
    #[error("the JSON array is broken at byte {at}")]
    Malformed {
        /// Bytes of the body before the place.
        at: u64,
    },
    /// An element nested deeper than [`Limits::json_depth`].
    #[error("the JSON array is nested too deeply at byte {at}")]
    TooDeep {
        /// Bytes of the body before the place.
        at: u64,
    },
    /// Bytes were lost, and the array is not written in lines from which its elements could be told.
    #[error("bytes of the JSON array were lost before byte {at}")]
    Lost {
        /// Bytes of the body before the place, lost ones included as far as their number is known.
        at: u64,
    },
    /// The body ended before the array did.
    #[error("the JSON array ends early")]
    Truncated,
    /// The array is followed by something else.
    #[error("{bytes} bytes follow the JSON array")]
    TrailingBytes {
        /// How many, from the first that is no blank.
        bytes: u64,
    },
}

/// Splits one array into its elements, however the bytes are cut.
#[derive(Clone)]
pub struct JsonArraySplitter {
    limit: usize,
    depth_limit: u32,
    part: Part,
    /// Bytes of the body so far.
    offset: u64,
    /// Where the current element began, and its bytes so far.
    start: u64,
    element: Vec<u8>,
    truncated: bool,
    /// Bytes of the element before, [`MAX_RESERVED`] at most.
    last_length: usize,
    /// Open brackets of the element, the innermost in the lowest bit: 1 for a brace.
    open: u128,
    depth: u32,
    layout: Layout,
}

/// How the array is written in lines. No text of JSON has a line feed in it, so where every line of
/// an element is indented deeper than its first and its last, the lines tell the elements apart.
#[derive(Clone, Copy, Default)]
struct Layout {
    /// Blanks before the first byte of the current line, and whether none but blanks came yet.
    column: usize,
    at_line_start: bool,
    /// Blanks before the lines in which elements begin.
    indent: Option<usize>,
    /// Lines were seen that are indented deeper.
    has_lines: bool,
    /// Something was seen that is written otherwise.
    is_refuted: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Before,
    /// An element may begin, and the array may end only if it is empty so far.
    Element {
        may_end: bool,
    },
    /// In a number, `true`, `false` or `null`.
    Bare,
    /// In an object or array, outside its strings.
    Nested,
    Text,
    /// After a backslash in a text.
    Escape,
    /// A comma or the end is due.
    AfterElement,
    /// Bytes were lost: a line that tells where an element begins or ends is looked for.
    Searching,
    /// At the last byte of an element of which the beginning was lost.
    Headless,
    After,
    Failed(JsonArrayError),
}

/// Bytes that are reserved for an element before they come.
const MAX_RESERVED: usize = 4 << 10;

/// The most levels there is room for.
const DEPTH: u32 = u128::BITS;

impl JsonArraySplitter {
    /// At the start of a body. Of one element, [`Limits::message_bytes`] are kept.
    pub fn new(limits: &Limits) -> Self {
        Self {
            limit: limits.message_bytes,
            depth_limit: limits.json_depth.min(DEPTH),
            part: Part::Before,
            offset: 0,
            start: 0,
            element: Vec::new(),
            truncated: false,
            last_length: 0,
            open: 0,
            depth: 0,
            layout: Layout::default(),
        }
    }

    /// Takes the next bytes and appends the elements that they complete.
    ///
    /// # Errors
    /// See [`JsonArrayError`]. Nothing more comes out after one; bytes after the array are told by
    /// [`finish`](Self::finish).
    pub fn push(&mut self, mut bytes: &[u8], out: &mut Vec<JsonElement>) -> Result<(), JsonArrayError> {
        while let Some(&byte) = bytes.first() {
            let taken = match self.part {
                Part::Failed(JsonArrayError::TrailingBytes { bytes: before }) => {
                    let trailing = before.saturating_add(bytes.len() as u64);
                    self.part = Part::Failed(JsonArrayError::TrailingBytes { bytes: trailing });
                    return Ok(());
                }
                Part::Failed(error) => return Err(error),
                Part::Text => {
                    // The bulk of every body.
                    let end = memchr::memchr2(b'"', b'\\', bytes);
                    self.keep(&bytes[..end.map_or(bytes.len(), |end| end + 1)]);
                    match end {
                        Some(end) if bytes[end] == b'\\' => self.part = Part::Escape,
                        Some(_) if self.depth == 0 => self.end_element(end, out),
                        Some(_) => self.part = Part::Nested,
                        None => {}
                    }
                    end.map_or(bytes.len(), |end| end + 1)
                }
                Part::Searching if !self.layout.at_line_start => {
                    let end = memchr::memchr(b'\n', bytes);
                    self.layout.begins_line(if end.is_some() { b'\n' } else { b'x' });
                    end.map_or(bytes.len(), |end| end + 1)
                }
                Part::Nested if !is_structural(byte) && !self.layout.at_line_start => {
                    let run = bytes.iter().position(|byte| is_structural(*byte)).unwrap_or(bytes.len());
                    self.keep(&bytes[..run]);
                    run
                }
                _ => {
                    self.byte(byte, out).inspect_err(|error| self.fail(*error))?;
                    1
                }
            };
            self.offset += taken as u64;
            bytes = &bytes[taken..];
        }
        Ok(())
    }

    /// The body is over.
    ///
    /// # Errors
    /// [`JsonArrayError::Truncated`] or [`JsonArrayError::TrailingBytes`], or the error that
    /// stopped the splitter.
    pub fn finish(&self) -> Result<(), JsonArrayError> {
        match self.part {
            Part::After => Ok(()),
            Part::Failed(error) => Err(error),
            _ => Err(JsonArrayError::Truncated),
        }
    }

    /// `lost` bytes of the body are missing here, as far as their number is known. Returns the element
    /// that they cut off, marked as truncated. The array goes on at the next line that tells where an
    /// element of it begins or ends, if it is written in lines so far; else nothing more comes out
    /// ([`JsonArrayError::Lost`]).
    pub fn gap(&mut self, lost: u64) -> Option<JsonElement> {
        if matches!(self.part, Part::After | Part::Failed(_)) {
            return None;
        }
        let is_cut = matches!(self.part, Part::Bare | Part::Nested | Part::Text | Part::Escape);
        let bytes = std::mem::take(&mut self.element);
        let cut = is_cut.then_some(JsonElement { range: self.start..self.offset, bytes, truncated: true });
        self.truncated = false;
        self.offset = self.offset.saturating_add(lost);
        (self.open, self.depth) = (0, 0);
        self.layout.at_line_start = false;
        if self.layout.has_lines && !self.layout.is_refuted {
            self.part = Part::Searching;
        } else {
            self.fail(JsonArrayError::Lost { at: self.offset });
        }
        cut
    }

    /// Bytes of memory held besides the fixed size.
    pub fn buffered_bytes(&self) -> usize {
        self.element.capacity()
    }

    fn byte(&mut self, byte: u8, out: &mut Vec<JsonElement>) -> Result<(), JsonArrayError> {
        let malformed = JsonArrayError::Malformed { at: self.offset };
        let is_blank = matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
        if self.layout.begins_line(byte) {
            match self.part {
                Part::Nested => {
                    let is_end = self.depth == 1 && matches!(byte, b'}' | b']');
                    self.layout.line_of_element(is_end);
                }
                Part::Searching => self.take_up(byte),
                _ => {}
            }
        }
        match (self.part, byte) {
            (Part::Before | Part::Element { .. } | Part::AfterElement | Part::After, _) if is_blank => {}
            (Part::Before, b'[') => self.part = Part::Element { may_end: true },
            (Part::Before, _) => return Err(JsonArrayError::NotAnArray),
            (Part::Element { may_end: true }, b']') | (Part::AfterElement, b']') => self.part = Part::After,
            (Part::AfterElement, b',') => self.part = Part::Element { may_end: false },
            (Part::Searching, _) => {}
            (Part::Headless, _) => self.part = Part::AfterElement,
            (Part::Element { .. }, _) => {
                self.start = self.offset;
                self.layout.element(byte);
                // Elements of a stream are much alike: one allocation instead of several.
                self.element.reserve(self.last_length);
                match byte {
                    b'{' | b'[' => self.opens(byte)?,
                    b'"' => self.part = Part::Text,
                    b'-' | b'0'..=b'9' | b't' | b'f' | b'n' => self.part = Part::Bare,
                    _ => return Err(malformed),
                }
                self.keep(&[byte]);
            }
            (Part::Bare, b',' | b']') => {
                self.end_element(None, out);
                return self.byte(byte, out);
            }
            (Part::Bare, _) if is_blank => self.end_element(None, out),
            (Part::Bare, b'-' | b'+' | b'.' | b'0'..=b'9' | b'a'..=b'z' | b'E') => self.keep(&[byte]),
            (Part::Nested, _) => {
                self.keep(&[byte]);
                match byte {
                    b'{' | b'[' => self.opens(byte)?,
                    b'"' => self.part = Part::Text,
                    b'}' | b']' => {
                        if (self.open & 1 == 1) != (byte == b'}') {
                            return Err(malformed);
                        }
                        self.open >>= 1;
                        self.depth -= 1;
                        if self.depth == 0 {
                            self.end_element(Some(0), out);
                        }
                    }
                    _ => {}
                }
            }
            (Part::Escape, _) => {
                self.keep(&[byte]);
                self.part = Part::Text;
            }
            (Part::After, _) => self.part = Part::Failed(JsonArrayError::TrailingBytes { bytes: 1 }),
            (Part::Bare | Part::AfterElement, _) => return Err(malformed),
            // Both are dealt with where bytes are taken.
            (Part::Text | Part::Failed(_), _) => return Err(malformed),
        }
        Ok(())
    }

    /// After a loss: the first byte of a line.
    fn take_up(&mut self, byte: u8) {
        let Some(indent) = self.layout.indent else { return };
        // What is set here is what the byte meets; it is dealt with by its caller.
        match byte {
            b']' if self.layout.column <= indent => self.part = Part::AfterElement,
            _ if self.layout.column != indent => {}
            b'{' => self.part = Part::Element { may_end: false },
            b',' => self.part = Part::AfterElement,
            // Ends an element whose beginning was lost.
            b'}' => self.part = Part::Headless,
            _ => {}
        }
    }

    fn opens(&mut self, bracket: u8) -> Result<(), JsonArrayError> {
        if self.depth >= self.depth_limit {
            return Err(JsonArrayError::TooDeep { at: self.offset });
        }
        self.depth += 1;
        self.open = self.open << 1 | u128::from(bracket == b'{');
        self.part = Part::Nested;
        Ok(())
    }

    fn keep(&mut self, bytes: &[u8]) {
        let room = self.limit - self.element.len();
        self.truncated |= bytes.len() > room;
        self.element.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    /// The element is over before the current byte, or with the byte that is so far behind it.
    fn end_element(&mut self, last: Option<usize>, out: &mut Vec<JsonElement>) {
        let end = self.offset + last.map_or(0, |last| last as u64 + 1);
        self.last_length = self.element.len().min(MAX_RESERVED);
        out.push(JsonElement {
            range: self.start..end,
            bytes: std::mem::take(&mut self.element),
            truncated: std::mem::take(&mut self.truncated),
        });
        self.part = Part::AfterElement;
    }

    fn fail(&mut self, error: JsonArrayError) {
        self.part = Part::Failed(error);
        self.element = Vec::new();
    }
}

impl Layout {
    /// Follows the lines; whether this byte is the first of its line that is no blank.
    fn begins_line(&mut self, byte: u8) -> bool {
        match byte {
            b'\n' => (self.column, self.at_line_start) = (0, true),
            b' ' | b'\t' if self.at_line_start => self.column += 1,
            b'\r' => {}
            _ => return std::mem::take(&mut self.at_line_start),
        }
        false
    }

    /// An element begins with this byte.
    fn element(&mut self, byte: u8) {
        self.is_refuted |= byte != b'{' || *self.indent.get_or_insert(self.column) != self.column;
    }

    /// A line begins within an element, or with its end.
    fn line_of_element(&mut self, is_end: bool) {
        let indent = self.indent.unwrap_or(0);
        self.has_lines |= !is_end;
        self.is_refuted |= if is_end { self.column != indent } else { self.column <= indent };
    }
}

/// Whether a byte outside of texts matters for where an element ends, or for the lines it is written in.
fn is_structural(byte: u8) -> bool {
    matches!(byte, b'"' | b'{' | b'}' | b'[' | b']' | b'\n')
}

// Elements are captured content: sizes only.
impl fmt::Debug for JsonElement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JsonElement({} bytes at {})", self.bytes.len(), self.range.start)
    }
}

impl fmt::Debug for JsonArraySplitter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JsonArraySplitter({} bytes held)", self.buffered_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzz::cut;
    use proptest::prelude::*;

    type Split = (Vec<(Range<u64>, String, bool)>, Result<(), JsonArrayError>);

    fn split_with(limits: &Limits, pieces: &[&[u8]]) -> Split {
        let mut splitter = JsonArraySplitter::new(limits);
        let mut out = Vec::new();
        for piece in pieces {
            if let Err(error) = splitter.push(piece, &mut out) {
                assert_eq!(splitter.finish(), Err(error), "an error lasts");
                break;
            }
            assert!(splitter.buffered_bytes() <= 2 * (limits.message_bytes + 16));
        }
        let elements = out.into_iter().map(|element| {
            let text = String::from_utf8_lossy(&element.bytes).into_owned();
            (element.range, text, element.truncated)
        });
        (elements.collect(), splitter.finish())
    }

    fn split(body: &str) -> Split {
        split_with(&Limits::default(), &[body.as_bytes()])
    }

    fn texts(body: &str) -> (Vec<String>, Result<(), JsonArrayError>) {
        let (elements, end) = split(body);
        for (range, text, _) in &elements {
            assert_eq!(
                &body.as_bytes()[usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()],
                text.as_bytes()
            );
        }
        (elements.into_iter().map(|(_, text, _)| text).collect(), end)
    }

    #[test]
    fn elements_of_every_kind_are_split_off_with_their_places() {
        let body = " [ {\"a\":[1,{\"]\":\"},\\\"\\\\\"}]}\r\n,[[],{}], -1.5e+3,true,\"a,]\\\"\" ,null\n]\n ";
        let (elements, end) = texts(body);
        let expected =
            ["{\"a\":[1,{\"]\":\"},\\\"\\\\\"}]}", "[[],{}]", "-1.5e+3", "true", "\"a,]\\\"\"", "null"];
        assert_eq!(
            (elements.iter().map(String::as_str).collect::<Vec<_>>(), end),
            (expected.to_vec(), Ok(()))
        );
        assert_eq!(texts("[]"), (vec![], Ok(())));
        assert_eq!(texts(" [\n] "), (vec![], Ok(())));
    }

    #[test]
    fn an_element_comes_out_with_its_last_byte() {
        let mut splitter = JsonArraySplitter::new(&Limits::default());
        let mut out = Vec::new();
        splitter.push(b"[{\"text\":\"a\"}", &mut out).unwrap();
        assert_eq!(out.len(), 1);
        splitter.push(b",\"b\"", &mut out).unwrap();
        assert_eq!(out.len(), 2);
        assert_eq!(splitter.finish(), Err(JsonArrayError::Truncated));
    }

    #[test]
    fn broken_arrays_keep_what_came_before_and_say_where() {
        use JsonArrayError::{Malformed, NotAnArray, TrailingBytes, Truncated};
        for (body, count, error) in [
            ("{}", 0, NotAnArray),
            ("", 0, Truncated),
            ("[", 0, Truncated),
            ("[1", 0, Truncated),
            ("[1,", 1, Truncated),
            ("[{},]", 1, Malformed { at: 4 }),
            ("[,1]", 0, Malformed { at: 1 }),
            ("[1 2]", 1, Malformed { at: 3 }),
            ("[{]}]", 0, Malformed { at: 2 }),
            ("[{}}", 1, Malformed { at: 3 }),
            ("[1\"a\"]", 0, Malformed { at: 2 }),
            ("[x]", 0, Malformed { at: 1 }),
            ("[1] x[2]", 1, TrailingBytes { bytes: 4 }),
        ] {
            let (elements, end) = texts(body);
            assert_eq!((elements.len(), end), (count, Err(error)), "{body:?}");
        }
    }

    #[test]
    fn nesting_is_bounded_and_as_deep_as_the_limit_is_read() {
        let limits = Limits { json_depth: 1000, ..Limits::default() };
        let body = |depth: usize| format!("[{}{}]", "[".repeat(depth), "]".repeat(depth));
        assert_eq!(split_with(&limits, &[body(128).as_bytes()]).1, Ok(()));
        assert_eq!(split_with(&limits, &[body(129).as_bytes()]).1, Err(JsonArrayError::TooDeep { at: 129 }));
        let limits = Limits { json_depth: 2, ..Limits::default() };
        assert_eq!(split_with(&limits, &[b"[[{}],[[[]]]]"]).1, Err(JsonArrayError::TooDeep { at: 8 }));
    }

    #[test]
    fn an_endless_element_is_marked_and_the_next_one_is_whole() {
        let limits = Limits { message_bytes: 10, ..Limits::default() };
        let mut pieces = vec![&b"[\""[..]];
        pieces.extend(vec![&b"0123456789\\\""[..]; 1000]);
        pieces.push(b"\",{\"b\":3456}]");
        let (elements, end) = split_with(&limits, &pieces);
        assert_eq!(end, Ok(()));
        assert_eq!(elements[0], (1..12_003, "\"012345678".into(), true));
        assert_eq!(elements[1], (12_004..12_014, "{\"b\":3456}".into(), false));
    }

    /// The texts before and after a gap; the one that `gap` returned has `!` in front.
    fn with_gap(
        body: &str,
        from: usize,
        to: usize,
        cuts: &[u16],
    ) -> (Vec<String>, Result<(), JsonArrayError>) {
        let mut splitter = JsonArraySplitter::new(&Limits::default());
        let mut out = Vec::new();
        let _ = splitter.push(&body.as_bytes()[..from], &mut out);
        let cut_off = splitter.gap((to - from) as u64).map(|element| {
            assert!(element.truncated);
            format!("!{}", String::from_utf8_lossy(&element.bytes))
        });
        let before = out.len();
        for piece in cut(&body.as_bytes()[to..], cuts) {
            let _ = splitter.push(piece, &mut out);
        }
        for element in &out {
            let range =
                usize::try_from(element.range.start).unwrap()..usize::try_from(element.range.end).unwrap();
            assert_eq!(&body.as_bytes()[range], &element.bytes[..]);
        }
        let mut texts: Vec<String> =
            out.into_iter().map(|element| String::from_utf8(element.bytes).unwrap()).collect();
        if let Some(cut_off) = cut_off {
            texts.insert(before, cut_off);
        }
        (texts, splitter.finish())
    }

    #[test]
    fn after_a_gap_an_array_in_lines_goes_on_and_another_does_not() {
        let gemini = "[{\n  \"a\": \"one\"\n}\n,\r\n{\n  \"b\": [\n    2\n  ]\n}\n,\r\n{\n  \"c\": 3\n}\n]";
        let at = gemini.find("\"b\"").unwrap();
        let (texts, end) = with_gap(gemini, at, at + 5, &[]);
        assert_eq!(texts, ["{\n  \"a\": \"one\"\n}", "!{\n  ", "{\n  \"c\": 3\n}"].map(str::to_owned));
        assert_eq!(end, Ok(()));
        let compact = "[{\"a\":1},{\"b\":2},{\"c\":3}]";
        assert_eq!(
            with_gap(compact, 12, 14, &[]),
            (vec!["{\"a\":1}".to_owned(), "!{\"b".to_owned()], Err(JsonArrayError::Lost { at: 14 }))
        );
    }

    fn value() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<f64>().prop_map(Into::into),
            "[\\[\\]{},:\"\\\\a\u{e9} \n]{0,12}".prop_map(Into::into),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
                proptest::collection::vec(("[a-z\"\\\\]{0,3}", inner), 0..4)
                    .prop_map(|fields| serde_json::Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_array_gives_the_elements_that_serde_json_reads_however_it_is_cut(
            values in proptest::collection::vec(value(), 0..5),
            pretty in any::<bool>(),
            cuts in proptest::collection::vec(any::<u16>(), 0..8),
        ) {
            let body =
                if pretty { serde_json::to_vec_pretty(&values) } else { serde_json::to_vec(&values) }.unwrap();
            let (elements, end) = split_with(&Limits::default(), &cut(&body, &cuts));
            prop_assert_eq!(end, Ok(()));
            let elements: Vec<serde_json::Value> =
                elements.iter().map(|(_, text, _)| serde_json::from_str(text).unwrap()).collect();
            prop_assert_eq!(elements, serde_json::from_slice::<Vec<serde_json::Value>>(&body).unwrap());
        }

        #[test]
        fn a_gap_in_an_array_in_lines_gives_only_elements_that_are_there(
            values in proptest::collection::vec(
                proptest::collection::btree_map("[a-z]{1,3}", value(), 1..4), 1..6),
            from in any::<prop::sample::Index>(),
            length in 1..60_usize,
            cuts in proptest::collection::vec(any::<u16>(), 0..4),
        ) {
            let body = serde_json::to_string_pretty(&values).unwrap();
            // Texts with characters of several bytes are cut anywhere.
            let from = from.index(body.len());
            let to = (from + length).min(body.len());
            let (seen, _) = with_gap(&body, from, to, &cuts);
            let (all, end) = texts(&body);
            prop_assert_eq!(end, Ok(()));
            let seen: Vec<_> = seen.into_iter().filter(|text| !text.starts_with('!')).collect();
            let mut rest = all.iter();
            for text in &seen {
                prop_assert!(rest.any(|element| element == text), "{text} is no element of {body}");
            }
        }

        #[test]
        fn any_cut_of_anything_gives_the_same(
            body in "\\[?(\\[|\\]|\\{|\\}|,|\"|\\\\|1|null| |x){0,30}",
            limit in 0..8_usize,
            cuts in proptest::collection::vec(any::<u16>(), 0..8),
        ) {
            let limits = Limits { message_bytes: limit, json_depth: 3, ..Limits::default() };
            let body = body.as_bytes();
            prop_assert_eq!(split_with(&limits, &cut(body, &cuts)), split_with(&limits, &[body]));
        }
    }
}
