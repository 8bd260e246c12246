//! Anthropic text completions, the interface before messages: `POST /v1/complete`, and the same body as Bedrock invokes it.

use oisp_decode::Headers;
use serde_json::Value;

use super::common;
use super::completion::{self, CompletionStream, Reading, TextPiece};
use super::{Format, FormatId, ParsedRequest, ParsedResponse, StreamAccumulator};
use crate::bedrock;
use crate::detect::Target;
use crate::json::{into_object, owned_text, text};
use crate::providers::Dialect;

pub(super) struct AnthropicComplete;

impl Format for AnthropicComplete {
    fn id(&self) -> FormatId {
        FormatId::AnthropicComplete
    }

    fn name(&self) -> &'static str {
        "anthropic_complete"
    }

    fn compatible_id(&self) -> &'static str {
        "anthropic_compatible"
    }

    fn serves_known_host(&self, path: &str) -> bool {
        path.trim_end_matches('/').ends_with("/v1/complete") || bedrock::may_invoke(path, "anthropic")
    }

    fn serves_any_host(&self, path: &str) -> bool {
        self.serves_known_host(path)
    }

    fn is_distinctive(&self, path: &str, headers: &Headers) -> bool {
        path.ends_with("/v1/complete") && headers.get("anthropic-version").is_some()
    }

    fn recognises_request(&self, body: &Value, _target: &Target) -> bool {
        text(body, "prompt").is_some() && body.get("max_tokens_to_sample").is_some()
    }

    fn recognises_response(&self, body: &Value) -> bool {
        text(body, "completion").is_some()
    }

    fn recognises_stream_event(&self, _name: &str, data: &Value) -> bool {
        text(data, "completion").is_some()
    }

    fn parse_request(&self, body: Value, target: &Target) -> ParsedRequest {
        completion::parse_prompt(body, target, &["top_k", "metadata"])
    }

    fn parse_response(&self, body: Value, _dialect: Dialect) -> ParsedResponse {
        CompletionStream::read_whole(read, body)
    }

    fn stream(&self, _dialect: Dialect) -> Box<dyn StreamAccumulator> {
        Box::new(CompletionStream::new(read))
    }
}

/// A body or an event: `{"type":"completion","completion","stop_reason","model","id"}`.
fn read(body: Value) -> Reading {
    let mut reading = Reading {
        model: owned_text(&body, "model"),
        response_id: owned_text(&body, "id").or_else(|| owned_text(&body, "log_id")),
        ..Reading::default()
    };
    let map = into_object(body);
    reading.error = common::error_in(&map);
    if map.contains_key("completion") {
        reading.texts.push(TextPiece::of(0, map, "completion", "stop_reason"));
    }
    reading
}
