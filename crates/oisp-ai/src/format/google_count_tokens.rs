//! Counting tokens: `:countTokens`, and the count of a maker's own body on Vertex. Such a call makes no answer and costs
//! nothing, but all that it counts goes to the service.

use oisp_decode::Headers;
use oisp_event::{Model, RequestType};
use serde_json::Value;

use super::anthropic_messages::AnthropicMessages;
use super::common;
use super::gemini::{self, has_contents};
use super::gemini_embeddings::NoStream;
use super::{Format, FormatId, ParsedRequest, ParsedResponse, StreamAccumulator, google_path};
use crate::detect::Target;
use crate::json::{count, into_object, take_array};
use crate::providers::Dialect;

pub(super) struct GoogleCountTokens;

impl Format for GoogleCountTokens {
    fn id(&self) -> FormatId {
        FormatId::GoogleCountTokens
    }

    fn name(&self) -> &'static str {
        "count_tokens"
    }

    fn compatible_id(&self) -> &'static str {
        "gemini_compatible"
    }

    fn serves_known_host(&self, path: &str) -> bool {
        self.serves_any_host(path)
    }

    fn serves_any_host(&self, path: &str) -> bool {
        google_path::verb(path) == Some("countTokens") || google_path::is_raw_count(path)
    }

    fn is_distinctive(&self, _path: &str, _headers: &Headers) -> bool {
        true
    }

    fn recognises_request(&self, body: &Value, _target: &Target) -> bool {
        has_contents(body) || common::has_messages(body) || body.get("instances").is_some()
    }

    /// Nothing in the body says that it is to be counted only.
    fn owns_request(&self, _body: &Value, _headers: &Headers) -> bool {
        false
    }

    fn recognises_response(&self, body: &Value) -> bool {
        tokens(body).is_some()
    }

    fn parse_request(&self, body: Value, target: &Target) -> ParsedRequest {
        let mut parsed = if google_path::is_raw_count(&target.path) {
            AnthropicMessages.parse_request(body, target)
        } else if body.get("instances").is_some() {
            let mut parsed = ParsedRequest::default();
            parsed.request.model = google_path::model(target).map(|id| Model { id });
            let instances = take_array(&mut into_object(body), "instances").unwrap_or_default();
            parsed.extension.insert("instances".to_owned(), instances.len().into());
            parsed.unparsed.push("instances".to_owned());
            parsed
        } else {
            gemini::read_request(body, target)
        };
        parsed.request.request_type = RequestType::Other;
        parsed.request.streaming = Some(false);
        parsed
    }

    /// The count is what was asked for and not what was used.
    fn parse_response(&self, body: Value, _dialect: Dialect) -> ParsedResponse {
        let mut parsed = ParsedResponse::default();
        parsed.response.error = body.as_object().and_then(common::error_in);
        if let Some(tokens) = tokens(&body) {
            parsed.extension.insert("counted_tokens".to_owned(), tokens.into());
        }
        parsed
    }

    fn stream(&self, _dialect: Dialect) -> Box<dyn StreamAccumulator> {
        Box::new(NoStream::default())
    }
}

/// The count, where the body says nothing that an answer would.
fn tokens(body: &Value) -> Option<u64> {
    if ["candidates", "choices", "usage", "content"].iter().any(|key| body.get(key).is_some()) {
        return None;
    }
    ["totalTokens", "total_tokens", "input_tokens"].iter().find_map(|key| count(body, key))
}
