//! The client's side of a provider's format: requests as an SDK would send them, and answers put together
//! from JSON or from a stream.

use std::io::Read;

use serde_json::{Value, json};
use thiserror::Error;

use crate::http1::{Headers, Request, Response, header};
use crate::prose;

/// A provider's HTTP interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Api {
    /// `POST /v1/chat/completions`.
    OpenAi,
    /// `POST /v1/messages`.
    Anthropic,
}

/// A tool that the model asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolCall {
    /// The provider's id, to be named in the result.
    pub id: String,
    /// The tool.
    pub name: String,
    /// JSON text as the model wrote it.
    pub arguments: String,
}

/// What a client understood of an answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    /// The provider's id of the answer.
    pub id: String,
    /// All text, joined.
    pub text: String,
    /// In order.
    pub tool_calls: Vec<ToolCall>,
    /// Why the model stopped.
    pub finish_reason: Option<String>,
    /// The provider's own usage object, null when it sent none.
    pub usage: Value,
}

/// Why an answer could not be read.
#[derive(Debug, Error)]
pub enum AnswerError {
    /// The provider refused the call.
    #[error("the provider answered with status {status}: {body}")]
    Refused {
        /// The status code.
        status: u16,
        /// The body as text.
        body: String,
    },
    /// The body is not what the provider's format says.
    #[error("the answer is not in the provider's format: {0}")]
    Malformed(String),
}

impl Api {
    /// `openai` or `anthropic`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::Anthropic => "anthropic",
        }
    }

    /// The provider's real host.
    #[must_use]
    pub fn host(self) -> &'static str {
        match self {
            Self::OpenAi => "api.openai.com",
            Self::Anthropic => "api.anthropic.com",
        }
    }

    /// The path of a chat call.
    #[must_use]
    pub fn path(self) -> &'static str {
        match self {
            Self::OpenAi => "/v1/chat/completions",
            Self::Anthropic => "/v1/messages",
        }
    }

    /// A key of the form that the provider hands out. It is made here so that no key stands in the source.
    #[must_use]
    pub fn dummy_key(self) -> String {
        match self {
            Self::OpenAi => format!("sk-proj-{}", letters(11, 120)),
            Self::Anthropic => format!("sk-ant-api03-{}AA", letters(12, 93)),
        }
    }

    /// The headers of a chat call with [`Api::dummy_key`].
    #[must_use]
    pub fn headers(self, host: &str) -> Headers {
        let mut headers = vec![
            ("Host", host.to_owned()),
            ("User-Agent", concat!("oisp-test-client/", env!("CARGO_PKG_VERSION")).to_owned()),
            ("Accept", "application/json".to_owned()),
            ("Content-Type", "application/json".to_owned()),
        ];
        match self {
            Self::OpenAi => headers.push(("Authorization", format!("Bearer {}", self.dummy_key()))),
            Self::Anthropic => {
                headers.push(("x-api-key", self.dummy_key()));
                headers.push(("anthropic-version", "2023-06-01".to_owned()));
            }
        }
        headers.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// A chat call with the given body.
    #[must_use]
    pub fn request(self, host: &str, body: &Value) -> Request {
        Request {
            method: "POST".to_owned(),
            target: self.path().to_owned(),
            headers: self.headers(host),
            body: body.to_string().into_bytes(),
        }
    }

    /// The body of a chat call with one user message.
    #[must_use]
    pub fn simple_body(self, model: &str, message: &str, stream: bool) -> Value {
        let mut body = json!({
            "model": model,
            "messages": [{ "role": "user", "content": message }],
        });
        match self {
            Self::OpenAi if stream => body["stream_options"] = json!({ "include_usage": true }),
            Self::OpenAi => {}
            Self::Anthropic => body["max_tokens"] = json!(4096),
        }
        if stream {
            body["stream"] = json!(true);
        }
        body
    }

    /// A chat call whose body is exactly `bytes` long, or as short as possible if that is longer. `seed` makes
    /// it differ from others.
    #[must_use]
    pub fn sized_request(self, host: &str, model: &str, seed: u64, bytes: usize, stream: bool) -> Request {
        // The serializer escapes nothing that `prose` writes, so one byte of text is one byte of body.
        let empty = self.simple_body(model, "", stream).to_string().len();
        let message = prose::of_bytes(seed, bytes.saturating_sub(empty));
        self.request(host, &self.simple_body(model, &message, stream))
    }

    /// Puts an answer together, whether it came as JSON or as a stream, compressed with gzip or not.
    ///
    /// # Errors
    /// A status other than 200, or a body that is not in the provider's format.
    pub fn read_answer(self, response: &Response) -> Result<Answer, AnswerError> {
        let gzipped = header(&response.headers, "content-encoding") == Some("gzip");
        let body = if gzipped { gunzip(&response.body)? } else { response.body.clone() };
        if response.status != 200 {
            let body = String::from_utf8_lossy(&body).into_owned();
            return Err(AnswerError::Refused { status: response.status, body });
        }
        let streamed = header(&response.headers, "content-type")
            .is_some_and(|kind| kind.starts_with("text/event-stream"));
        match (self, streamed) {
            (Self::OpenAi, false) => Ok(openai_answer(&parse(&body)?)),
            (Self::Anthropic, false) => Ok(anthropic_answer(&parse(&body)?)),
            (Self::OpenAi, true) => openai_stream(&events(&body)?),
            (Self::Anthropic, true) => anthropic_stream(&events(&body)?),
        }
    }
}

fn letters(seed: u64, count: usize) -> String {
    const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let mut state = seed;
    (0..count)
        .map(|_| char::from(ALPHABET[(prose::next_random(&mut state) % ALPHABET.len() as u64) as usize]))
        .collect()
}

fn gunzip(bytes: &[u8]) -> Result<Vec<u8>, AnswerError> {
    let mut plain = Vec::new();
    flate2::read::GzDecoder::new(bytes)
        .read_to_end(&mut plain)
        .map_err(|error| AnswerError::Malformed(format!("gzip: {error}")))?;
    Ok(plain)
}

fn parse(bytes: &[u8]) -> Result<Value, AnswerError> {
    serde_json::from_slice(bytes).map_err(|error| AnswerError::Malformed(error.to_string()))
}

/// The data of each event; `[DONE]` becomes null.
fn events(body: &[u8]) -> Result<Vec<Value>, AnswerError> {
    let text = std::str::from_utf8(body).map_err(|error| AnswerError::Malformed(error.to_string()))?;
    text.lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .map(|data| if data == "[DONE]" { Ok(Value::Null) } else { parse(data.as_bytes()) })
        .collect()
}

fn text_at(value: &Value, pointer: &str) -> String {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn optional_text_at(value: &Value, pointer: &str) -> Option<String> {
    value.pointer(pointer).and_then(Value::as_str).map(str::to_owned)
}

fn items(value: &Value, key: &str) -> Vec<Value> {
    value.get(key).and_then(Value::as_array).cloned().unwrap_or_default()
}

fn openai_answer(body: &Value) -> Answer {
    let message = body.pointer("/choices/0/message").cloned().unwrap_or_default();
    Answer {
        id: text_at(body, "/id"),
        text: text_at(&message, "/content"),
        tool_calls: items(&message, "tool_calls")
            .iter()
            .map(|call| ToolCall {
                id: text_at(call, "/id"),
                name: text_at(call, "/function/name"),
                arguments: text_at(call, "/function/arguments"),
            })
            .collect(),
        finish_reason: optional_text_at(body, "/choices/0/finish_reason"),
        usage: body.get("usage").cloned().unwrap_or_default(),
    }
}

fn openai_stream(events: &[Value]) -> Result<Answer, AnswerError> {
    let mut answer = Answer::default();
    for event in events {
        if let Some(error) = event.get("error") {
            return Err(AnswerError::Refused { status: 200, body: error.to_string() });
        }
        if let Some(id) = optional_text_at(event, "/id") {
            answer.id = id;
        }
        if event.get("usage").is_some_and(Value::is_object) {
            answer.usage = event["usage"].clone();
        }
        answer.text.push_str(&text_at(event, "/choices/0/delta/content"));
        if let Some(reason) = optional_text_at(event, "/choices/0/finish_reason") {
            answer.finish_reason = Some(reason);
        }
        let delta = event.pointer("/choices/0/delta").cloned().unwrap_or_default();
        for fragment in items(&delta, "tool_calls") {
            let index = fragment.get("index").and_then(Value::as_u64).unwrap_or(0) as usize;
            if index > answer.tool_calls.len() {
                return Err(AnswerError::Malformed(format!(
                    "tool call {index} begins before the one before it"
                )));
            }
            if index == answer.tool_calls.len() {
                answer.tool_calls.push(ToolCall {
                    id: text_at(&fragment, "/id"),
                    name: text_at(&fragment, "/function/name"),
                    arguments: String::new(),
                });
            }
            answer.tool_calls[index].arguments.push_str(&text_at(&fragment, "/function/arguments"));
        }
    }
    if events.last() != Some(&Value::Null) {
        return Err(AnswerError::Malformed("the stream ended without [DONE]".to_owned()));
    }
    Ok(answer)
}

fn anthropic_answer(body: &Value) -> Answer {
    let blocks = items(body, "content");
    Answer {
        id: text_at(body, "/id"),
        text: blocks.iter().map(|block| text_at(block, "/text")).collect(),
        tool_calls: blocks
            .iter()
            .filter(|block| block["type"] == "tool_use")
            .map(|block| ToolCall {
                id: text_at(block, "/id"),
                name: text_at(block, "/name"),
                arguments: block["input"].to_string(),
            })
            .collect(),
        finish_reason: optional_text_at(body, "/stop_reason"),
        usage: body.get("usage").cloned().unwrap_or_default(),
    }
}

fn anthropic_stream(events: &[Value]) -> Result<Answer, AnswerError> {
    let mut answer = Answer::default();
    for event in events {
        match event["type"].as_str().unwrap_or_default() {
            "message_start" => {
                answer.id = text_at(event, "/message/id");
                answer.usage = event["message"]["usage"].clone();
            }
            "content_block_start" if event["content_block"]["type"] == "tool_use" => {
                answer.tool_calls.push(ToolCall {
                    id: text_at(event, "/content_block/id"),
                    name: text_at(event, "/content_block/name"),
                    arguments: String::new(),
                });
            }
            "content_block_delta" => {
                answer.text.push_str(&text_at(event, "/delta/text"));
                if let Some(call) = answer.tool_calls.last_mut() {
                    call.arguments.push_str(&text_at(event, "/delta/partial_json"));
                }
            }
            "message_delta" => {
                answer.finish_reason = optional_text_at(event, "/delta/stop_reason");
                // The counts are cumulative: later ones replace earlier ones.
                if let (Some(usage), Some(known)) = (event["usage"].as_object(), answer.usage.as_object_mut())
                {
                    known.extend(usage.clone());
                }
            }
            "error" => {
                return Err(AnswerError::Refused { status: 200, body: event["error"].to_string() });
            }
            _ => {}
        }
    }
    if !events.iter().any(|event| event["type"] == "message_stop") {
        return Err(AnswerError::Malformed("the stream ended without message_stop".to_owned()));
    }
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sized_request_has_exactly_the_size_asked_for() {
        for api in [Api::OpenAi, Api::Anthropic] {
            for bytes in [300, 71_245, 1 << 20] {
                assert_eq!(api.sized_request("localhost", "m", 3, bytes, true).body.len(), bytes);
            }
        }
    }

    #[test]
    fn a_stream_that_was_cut_off_is_no_answer() {
        let response = Response {
            status: 200,
            headers: vec![("content-type".to_owned(), "text/event-stream".to_owned())],
            body: b"data: {\"choices\":[{\"delta\":{\"content\":\"half\"}}]}\n\n".to_vec(),
        };
        assert!(matches!(Api::OpenAi.read_answer(&response), Err(AnswerError::Malformed(_))));
    }
}
