//! The calls beside messages: counting tokens and batches.

use oisp_event::{Model, RequestType};
use serde_json::{Value, json};

use crate::format::common;
use crate::format::{ParsedRequest, ParsedResponse};
use crate::json::{count, owned_text, text};

/// Whether a path is one of theirs.
pub(super) fn is_at(path: &str) -> bool {
    let path = path.trim_end_matches('/');
    path.ends_with("/v1/messages/count_tokens") || path.ends_with("/v1/messages/batches")
}

/// Whether a body makes a batch.
pub(super) fn is_batch(body: &Value, path: &str) -> bool {
    is_at(path) && body.get("requests").is_some_and(Value::is_array)
}

/// A batch by its size and its models: its requests are answered elsewhere and much later.
pub(super) fn parse_batch(body: &Value) -> ParsedRequest {
    let requests = body.get("requests").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let mut models: Vec<&str> = requests
        .iter()
        .filter_map(|request| request.get("params").and_then(|params| text(params, "model")))
        .collect();
    models.sort_unstable();
    models.dedup();
    let mut parsed = ParsedRequest::default();
    parsed.request.request_type = RequestType::Other;
    if let [model] = models[..] {
        parsed.request.model = Some(Model { id: model.to_owned() });
    }
    parsed.extension.insert("batch".to_owned(), json!({ "requests": requests.len() }));
    if models.len() > 1 {
        let models = common::bounded(json!(models));
        parsed.extension.insert("models".to_owned(), models);
    }
    parsed
}

/// Whether a body answers one of them.
pub(super) fn is_answer(body: &Value) -> bool {
    text(body, "type") == Some("message_batch")
        || (count(body, "input_tokens").is_some()
            && ["type", "object"].iter().all(|key| body.get(*key).is_none()))
}

/// Counted tokens are no usage: nothing was charged for them.
pub(super) fn parse_answer(mut body: Value) -> ParsedResponse {
    let mut parsed = ParsedResponse::default();
    let extension = &mut parsed.extension;
    if let Some(tokens) = count(&body, "input_tokens") {
        extension.insert("counted_tokens".to_owned(), tokens.into());
    }
    if let Some(edits) = body.get_mut("context_management").map(Value::take).filter(|edits| !edits.is_null())
    {
        extension.insert("context_management".to_owned(), common::bounded(edits));
    }
    if text(&body, "type") == Some("message_batch") {
        let counts = body.get("request_counts").cloned().unwrap_or_default();
        let batch = json!({ "status": text(&body, "processing_status"), "request_counts": counts });
        extension.insert("batch".to_owned(), common::bounded(batch));
        let id = owned_text(&body, "id");
        parsed.response.provider_request_id.clone_from(&id);
        common::set_text(extension, "response_id", id);
    }
    parsed
}
