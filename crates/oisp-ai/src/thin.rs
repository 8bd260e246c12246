//! A JSON text without its vectors, as its bytes come.
//!
//! An embedding's answer is megabytes of numbers that nothing looks at. What is left of it is small,
//! so that an answer of any length is read, in little memory.

use serde_json::Value;

use crate::json;

/// What of an answer is only counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Thinning {
    /// Lists of numbers.
    Numbers,
    /// Those, and long texts of base64: for answers that have no other long texts.
    NumbersAndBase64,
}

/// Takes a text's bytes and gives those of the thinner text. A list of numbers becomes an object that
/// [`number_count`] reads, a long base64 text one that [`base64_length`] reads.
#[derive(Debug)]
pub(crate) struct Thinner {
    thinning: Thinning,
    state: State,
    /// The beginning of a text that may turn out to be long base64.
    held: Vec<u8>,
    taken: u64,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Plain,
    /// After `[`.
    Open,
    Numbers {
        commas: u64,
        after_comma: bool,
    },
    /// In a text that may be base64.
    Held,
    /// In a text that is kept.
    Text {
        escaped: bool,
    },
    /// In a text that is counted.
    Counted {
        length: u64,
        escaped: bool,
    },
}

/// Texts up to this length are kept.
const LONGEST_KEPT: usize = 1024;
/// No service has keys with this character.
const NUMBERS: &str = "\u{0}numbers";
const BASE64: &str = "\u{0}base64";

impl Thinner {
    pub(crate) fn new(thinning: Thinning) -> Self {
        Self { thinning, state: State::Plain, held: Vec::new(), taken: 0 }
    }

    /// Bytes of the text so far, before they were thinned.
    pub(crate) fn taken(&self) -> u64 {
        self.taken
    }

    /// What stays of the next bytes.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.taken = self.taken.saturating_add(bytes.len() as u64);
        let mut out = Vec::new();
        bytes.iter().for_each(|byte| self.byte(*byte, &mut out));
        out
    }

    fn byte(&mut self, byte: u8, out: &mut Vec<u8>) {
        self.state = match self.state {
            State::Plain => plain(self.thinning, byte, out),
            State::Open => match byte {
                b'0'..=b'9' | b'-' => State::Numbers { commas: 0, after_comma: false },
                byte if byte.is_ascii_whitespace() => State::Open,
                byte => {
                    out.push(b'[');
                    plain(self.thinning, byte, out)
                }
            },
            State::Numbers { commas, after_comma } => match byte {
                b',' => State::Numbers { commas: commas + 1, after_comma: true },
                b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E' => {
                    State::Numbers { commas, after_comma: false }
                }
                byte if byte.is_ascii_whitespace() => State::Numbers { commas, after_comma },
                b']' => {
                    out.extend_from_slice(format!("{{\"\\u0000numbers\":{}}}", commas + 1).as_bytes());
                    State::Plain
                }
                byte => {
                    // Numbers and other things: what the numbers were is not known any more.
                    out.extend_from_slice(if after_comma { b"[null," } else { b"[null" });
                    plain(self.thinning, byte, out)
                }
            },
            State::Held => {
                let is_base64 = byte.is_ascii_alphanumeric() || b"+/-_=".contains(&byte);
                if is_base64 && self.held.len() < LONGEST_KEPT {
                    self.held.push(byte);
                    State::Held
                } else if is_base64 {
                    let length = self.held.drain(..).filter(|byte| *byte != b'=').count() as u64;
                    State::Counted { length: length + u64::from(byte != b'='), escaped: false }
                } else {
                    out.push(b'"');
                    out.append(&mut self.held);
                    text(byte, false, out)
                }
            }
            State::Text { escaped } => text(byte, escaped, out),
            State::Counted { length, escaped } => match byte {
                b'"' if !escaped => {
                    out.extend_from_slice(format!("{{\"\\u0000base64\":{length}}}").as_bytes());
                    State::Plain
                }
                b'\\' if !escaped => State::Counted { length, escaped: true },
                byte => State::Counted { length: length + u64::from(byte != b'='), escaped: false },
            },
        };
    }
}

fn plain(thinning: Thinning, byte: u8, out: &mut Vec<u8>) -> State {
    match byte {
        b'[' => return State::Open,
        b'"' if thinning == Thinning::NumbersAndBase64 => return State::Held,
        b'"' => {
            out.push(byte);
            return State::Text { escaped: false };
        }
        byte => out.push(byte),
    }
    State::Plain
}

fn text(byte: u8, escaped: bool, out: &mut Vec<u8>) -> State {
    out.push(byte);
    match byte {
        b'"' if !escaped => State::Plain,
        byte => State::Text { escaped: byte == b'\\' && !escaped },
    }
}

/// How many numbers a list of nothing else has, kept or counted.
pub(crate) fn number_count(value: &Value) -> Option<u64> {
    match value {
        Value::Array(list) => {
            (!list.is_empty() && list.iter().all(Value::is_number)).then_some(list.len() as u64)
        }
        value => json::count(value, NUMBERS),
    }
}

/// How many characters a base64 text has without its padding, kept or counted.
pub(crate) fn base64_length(value: &Value) -> Option<u64> {
    match value {
        Value::String(text) => Some(text.trim_end_matches('=').len() as u64),
        value => json::count(value, BASE64),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn thin(thinning: Thinning, pieces: &[&[u8]]) -> Value {
        let mut thinner = Thinner::new(thinning);
        let out: Vec<u8> = pieces.iter().flat_map(|piece| thinner.push(piece)).collect();
        serde_json::from_slice(&out).unwrap()
    }

    #[test]
    fn numbers_are_counted_and_all_else_stays_wherever_the_text_is_cut() {
        let text = br#"{"a":[ [1,-2.5e+3, 3],[]],"b":["x",1],"c":[1, "x\"]\\",[2]],"d":4,"e":"[1,2]","f":["\"[1]"]}"#;
        for cut in 0..=text.len() {
            let value = thin(Thinning::NumbersAndBase64, &[&text[..cut], &text[cut..]]);
            assert_eq!((number_count(&value["a"][0]), &value["a"][1]), (Some(3), &json!([])));
            // A single number in a list is a list of numbers too.
            assert_eq!((&value["b"], &value["d"]), (&json!(["x", 1]), &json!(4)));
            assert_eq!((&value["c"][0], &value["c"][1]), (&json!(null), &json!("x\"]\\")));
            assert_eq!((&value["e"], &value["f"]), (&json!("[1,2]"), &json!(["\"[1]"])));
        }
    }

    #[test]
    fn long_base64_is_counted_where_asked_for_and_other_texts_stay() {
        let long = format!("{}+/=", "A".repeat(1024));
        let words = "some words ".repeat(300);
        let text = json!({ "v": long, "w": words, "s": "AAAA" }).to_string().replace('/', "\\/");
        for cut in [0, 1, 5, 500, 1029, 1030, 1031, 1032, 1033, 1034, 1035, text.len()] {
            let pieces = [&text.as_bytes()[..cut], &text.as_bytes()[cut..]];
            let value = thin(Thinning::NumbersAndBase64, &pieces);
            assert_eq!(base64_length(&value["v"]), Some(1026), "cut at {cut}");
            assert_eq!((value["w"].as_str(), value["s"].as_str()), (Some(words.as_str()), Some("AAAA")));
            let value = thin(Thinning::Numbers, &pieces);
            assert_eq!(value["v"].as_str(), Some(long.as_str()));
        }
    }
}
