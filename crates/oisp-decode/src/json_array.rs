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
    /// It was longer than the bound: what is here is its beginning.
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
                Part::Nested if !is_structural(byte) => {
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

    /// Bytes of memory held besides the fixed size.
    pub fn buffered_bytes(&self) -> usize {
        self.element.capacity()
    }

    fn byte(&mut self, byte: u8, out: &mut Vec<JsonElement>) -> Result<(), JsonArrayError> {
        let malformed = JsonArrayError::Malformed { at: self.offset };
        let is_blank = matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
        match (self.part, byte) {
            (Part::Before | Part::Element { .. } | Part::AfterElement | Part::After, _) if is_blank => {}
            (Part::Before, b'[') => self.part = Part::Element { may_end: true },
            (Part::Before, _) => return Err(JsonArrayError::NotAnArray),
            (Part::Element { may_end: true }, b']') | (Part::AfterElement, b']') => self.part = Part::After,
            (Part::AfterElement, b',') => self.part = Part::Element { may_end: false },
            (Part::Element { .. }, _) => {
                self.start = self.offset;
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

/// Whether a byte outside of texts matters for where an element ends.
fn is_structural(byte: u8) -> bool {
    matches!(byte, b'"' | b'{' | b'}' | b'[' | b']')
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
