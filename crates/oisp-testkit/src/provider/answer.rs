//! What every provider format shares: the question, the answer, and what the model's name asks for.

use std::time::Duration;

use serde_json::{Value, json};

use crate::http1::{Headers, Request, header};
use crate::prose;
use crate::transcript::sha256_hex;

/// A provider's wire format.
pub trait ProviderFormat: Send + Sync {
    /// For the log.
    fn name(&self) -> &'static str;

    /// The answer, or `None` when the request is none of this format's.
    fn answer(&self, asked: &Asked<'_>) -> Option<Answer>;
}

/// A request as a format sees it.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// With the body joined and decompressed.
    pub request: &'a Request,
    /// SHA-256 over method, target and body, in hexadecimal. Everything in an answer follows from it and from
    /// `index`.
    pub digest: &'a str,
    /// How many requests came before on the same connection.
    pub index: u64,
}

impl Asked<'_> {
    /// The path without the query.
    #[must_use]
    pub fn path(&self) -> &str {
        self.request.target.split('?').next().unwrap_or_default()
    }

    /// `length` hexadecimal digits (at most 64) that differ for each request and each `purpose`.
    #[must_use]
    pub fn id(&self, purpose: &str, length: usize) -> String {
        let mut id = sha256_hex(format!("{}/{}/{purpose}", self.digest, self.index).as_bytes());
        id.truncate(length);
        id
    }

    /// A number that follows from the request.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.digest.get(..16).and_then(|digits| u64::from_str_radix(digits, 16).ok()).unwrap_or(0)
    }

    /// Seconds since 1970, made up: no clock is read.
    #[must_use]
    pub fn created(&self) -> u64 {
        1_790_000_000 + self.seed() % 1_000_000
    }
}

/// An answer before it is framed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// Headers except those that frame the body.
    pub headers: Headers,
    /// The body; a streamed one part by part.
    pub parts: Vec<Vec<u8>>,
    /// Sent part by part without a declared length.
    pub streamed: bool,
    /// Waited before each part but the first.
    pub delay: Duration,
    /// Compress although the client sent no `x-test-gzip: 1`; it must still accept gzip.
    pub gzip: bool,
}

impl Answer {
    /// A body of known length.
    #[must_use]
    pub fn whole(status: u16, content_type: &str, body: Vec<u8>) -> Self {
        Self {
            status,
            headers: vec![("content-type".to_owned(), content_type.to_owned())],
            parts: vec![body],
            streamed: false,
            delay: Duration::ZERO,
            gzip: false,
        }
    }

    /// A JSON body.
    #[must_use]
    pub fn json(status: u16, body: &Value) -> Self {
        Self::whole(status, "application/json", body.to_string().into_bytes())
    }

    /// Server-sent events, each a part.
    #[must_use]
    pub fn events(events: Vec<Vec<u8>>) -> Self {
        let mut answer = Self::whole(200, "text/event-stream; charset=utf-8", Vec::new());
        answer.headers.push(("cache-control".to_owned(), "no-cache".to_owned()));
        answer.parts = events;
        answer.streamed = true;
        answer
    }

    /// With one more header.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// With delay and compression as the model's name asks.
    #[must_use]
    pub fn paced(mut self, script: &Script) -> Self {
        self.delay = script.delay;
        self.gzip = script.gzip;
        self
    }
}

/// What a model's name asks for, in any order and combination:
/// `fake-answer-100000` an answer of 100,000 characters; `fake-chunks-50-delay-5ms` a stream of 50 text chunks
/// 5 ms apart; `error-429` that status; `fake-gzip` a compressed body; `fake-break-3` a streamed error after
/// 3 text chunks; `fake-echo` an answer that repeats what the user wrote. Other names, real ones too, give a short answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Script {
    /// Characters of the answer.
    pub answer_chars: Option<usize>,
    /// Text chunks of a streamed answer.
    pub chunks: Option<usize>,
    /// Time between chunks, at most a minute.
    pub delay: Duration,
    /// A status from 400 to 599.
    pub error: Option<u16>,
    /// Compress the body for a client that accepts gzip.
    pub gzip: bool,
    /// End a streamed answer with an error after so many text chunks.
    pub break_after: Option<usize>,
    /// Repeat what the user wrote.
    pub echo: bool,
}

impl Script {
    const MAX_ANSWER: usize = 64 << 20;
    const MAX_CHUNKS: usize = 1_000_000;
    const MAX_DELAY_MS: u64 = 60_000;

    /// Reads the model's name, and a header `x-test-script` in the same words for callers that need a real name.
    #[must_use]
    pub fn of(asked: &Asked<'_>, model: &str) -> Self {
        let more = header(&asked.request.headers, "x-test-script").unwrap_or_default();
        Self::from_model(&format!("{model}-{more}"))
    }

    /// Reads a model's name; what is not understood is passed over.
    #[must_use]
    pub fn from_model(model: &str) -> Self {
        let mut script = Self::default();
        let mut words = model.split('-').peekable();
        while let Some(word) = words.next() {
            let next = words.peek().copied().unwrap_or_default();
            let number = next.parse::<usize>().ok();
            match word {
                "answer" => script.answer_chars = number.map(|chars| chars.min(Self::MAX_ANSWER)),
                "chunks" => script.chunks = number.map(|chunks| chunks.clamp(1, Self::MAX_CHUNKS)),
                "delay" => {
                    let delay = next.strip_suffix("ms").and_then(|delay| delay.parse().ok()).unwrap_or(0);
                    script.delay = Duration::from_millis(delay.min(Self::MAX_DELAY_MS));
                }
                "error" => script.error = next.parse().ok().filter(|status| (400..600).contains(status)),
                "break" => script.break_after = number,
                "gzip" => script.gzip = true,
                "echo" => script.echo = true,
                _ => {}
            }
        }
        script
    }

    /// The answer's text: the digest and length of what the user wrote, then prose.
    #[must_use]
    pub fn text(&self, asked: &Asked<'_>, user: &str) -> String {
        let digest = sha256_hex(user.as_bytes());
        let opening = format!("You wrote {} characters with digest {}.", user.chars().count(), &digest[..16]);
        let opening = if self.echo { format!("{opening} It was: {user}\n") } else { opening };
        let wanted = self.answer_chars.unwrap_or_else(|| (opening.len() + 120).max(self.chunks.unwrap_or(0)));
        let rest = wanted.saturating_sub(opening.len());
        opening.chars().take(wanted).chain(prose::of_chars(asked.seed(), rest).chars()).collect()
    }

    /// The text cut into this many pieces, of nearly the same number of characters.
    #[must_use]
    pub fn pieces(&self, text: &str) -> Vec<String> {
        let letters: Vec<char> = text.chars().collect();
        let count = self.chunks.unwrap_or((letters.len() / 16).min(2000)).clamp(1, letters.len().max(1));
        (0..count)
            .map(|piece| {
                let (from, to) = (piece * letters.len() / count, (piece + 1) * letters.len() / count);
                letters[from..to].iter().collect()
            })
            .collect()
    }
}

/// The text of a `content` field: a string, or the text parts of a list.
#[must_use]
pub(super) fn text_of(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => {
            parts.iter().filter_map(|part| part.get("text").and_then(Value::as_str)).collect()
        }
        _ => String::new(),
    }
}

/// Tokens as if four characters were one.
#[must_use]
pub(super) fn tokens(text: &str) -> u64 {
    (text.chars().count() as u64).div_ceil(4)
}

/// Which of the offered tools the user's words ask for: none, the first, or every one.
#[must_use]
pub(super) fn tools_wanted<'a>(offered: &'a [Value], user: &str) -> &'a [Value] {
    if user.contains("use every tool") {
        offered
    } else if user.contains("use a tool") {
        offered.get(..1).unwrap_or_default()
    } else {
        &[]
    }
}

/// Arguments that fit a tool's JSON Schema, from its properties' types.
#[must_use]
pub(super) fn arguments_for(schema: &Value, asked: &Asked<'_>) -> Value {
    let properties = schema.get("properties").and_then(Value::as_object);
    let arguments = properties.into_iter().flatten().map(|(name, property)| {
        let first_of_enum = property.get("enum").and_then(|values| values.get(0)).cloned();
        let value = first_of_enum.unwrap_or_else(|| match property.get("type").and_then(Value::as_str) {
            Some("integer") => json!(asked.seed() % 100),
            Some("number") => json!(0.5),
            Some("boolean") => json!(true),
            Some("array") => json!([]),
            Some("object") => json!({}),
            _ => json!(format!("{name} \"é\" {}", asked.id(name, 8))),
        });
        (name.clone(), value)
    });
    Value::Object(arguments.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(request: &Request) -> Asked<'_> {
        Asked { request, digest: "00000000000000aa", index: 0 }
    }

    #[test]
    fn a_models_name_is_read_in_any_order_and_real_names_mean_nothing() {
        let script = Script::from_model("fake-chunks-50-delay-5ms-answer-1000-gzip");
        assert_eq!(script.chunks, Some(50));
        assert_eq!(script.delay, Duration::from_millis(5));
        assert_eq!(script.answer_chars, Some(1000));
        assert!(script.gzip);
        assert_eq!(Script::from_model("error-429").error, Some(429));
        assert_eq!(Script::from_model("error-99").error, None);
        assert_eq!(Script::from_model("claude-sonnet-4-5-20250929"), Script::default());
        assert_eq!(Script::from_model("answer-"), Script::default());
    }

    #[test]
    fn the_answer_has_the_size_asked_for_and_its_pieces_are_the_whole() {
        let request = Request::default();
        for chars in [0, 10, 1000, 100_000] {
            let script = Script { answer_chars: Some(chars), chunks: Some(50), ..Script::default() };
            let text = script.text(&asked(&request), "hello");
            assert_eq!(text.chars().count(), chars);
            let pieces = script.pieces(&text);
            assert_eq!(pieces.concat(), text);
            assert_eq!(pieces.len(), if chars == 0 { 1 } else { chars.min(50) });
        }
    }

    #[test]
    fn chunks_without_a_size_give_exactly_that_many_pieces() {
        let request = Request::default();
        let script = Script::from_model("fake-chunks-1000");
        let text = script.text(&asked(&request), "hello");
        assert_eq!(script.pieces(&text).len(), 1000);
        assert!(script.pieces(&text).iter().all(|piece| !piece.is_empty()));
    }
}
