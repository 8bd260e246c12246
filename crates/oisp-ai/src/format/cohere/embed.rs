//! `POST /v1/embed` and `/v2/embed`, and the same body as Bedrock invokes it.

use oisp_event::RequestType;
use serde_json::Value;

use super::{COMPATIBLE, OTHER_PARAMETERS, ends_with, take_usage};
use crate::bedrock;
use crate::call::Embedding;
use crate::detect::Target;
use crate::format::answer::Answer;
use crate::format::completion::{self, CompletionStream, Reading};
use crate::format::{Format, FormatId, ParsedRequest, ParsedResponse, StreamAccumulator, common};
use crate::json::{into_object, owned_text, take_array, text};
use crate::providers::Dialect;

pub(in crate::format) struct CohereEmbed;

impl Format for CohereEmbed {
    fn id(&self) -> FormatId {
        FormatId::CohereEmbed
    }

    fn name(&self) -> &'static str {
        "cohere_embed"
    }

    fn compatible_id(&self) -> &'static str {
        COMPATIBLE
    }

    fn serves_known_host(&self, path: &str) -> bool {
        ends_with(path, "/v1/embed") || ends_with(path, "/v2/embed") || bedrock::may_invoke(path, "cohere")
    }

    fn serves_any_host(&self, path: &str) -> bool {
        self.serves_known_host(path)
    }

    fn recognises_request(&self, body: &Value, _target: &Target) -> bool {
        let has_inputs =
            ["texts", "images", "inputs"].iter().any(|key| body.get(key).is_some_and(Value::is_array));
        has_inputs && (text(body, "model").is_some() || text(body, "input_type").is_some())
    }

    fn recognises_response(&self, body: &Value) -> bool {
        body.get("embeddings").is_some_and(|found| found.is_array() || found.is_object())
    }

    fn parse_request(&self, body: Value, target: &Target) -> ParsedRequest {
        let mut map = into_object(body);
        let mut parsed = ParsedRequest::default();
        let mut texts = take_array(&mut map, "texts").unwrap_or_default();
        let mut images: Vec<Value> = take_array(&mut map, "images").unwrap_or_default();
        images = images.iter().filter_map(Value::as_str).map(completion::base64_image).collect();
        for mut input in take_array(&mut map, "inputs").unwrap_or_default() {
            for part in input.get_mut("content").and_then(Value::as_array_mut).into_iter().flatten() {
                if let Some(url) = part.get("image_url").and_then(|image| text(image, "url")) {
                    images.push(common::describe_url("image", url));
                } else if let Some(said) = part.get_mut("text") {
                    texts.push(said.take());
                }
            }
        }
        completion::enter_inputs(&mut parsed, RequestType::Embedding, texts, images);
        common::set_model_and_streaming(&mut parsed.request, &mut map, target);
        common::enter_other_parameters(&mut parsed.extension, &map, OTHER_PARAMETERS);
        parsed
    }

    fn parse_response(&self, mut body: Value, _dialect: Dialect) -> ParsedResponse {
        let mut answer = Answer { response_id: owned_text(&body, "id"), ..Answer::default() };
        take_usage(&mut answer, body.get_mut("meta").map(Value::take));
        let mut parsed = answer.finish();
        parsed.embedding = body.get("embeddings").map(embedding);
        parsed
    }

    /// There is no streamed embedding.
    fn stream(&self, _dialect: Dialect) -> Box<dyn StreamAccumulator> {
        Box::new(CompletionStream::new(|_| Reading::default()))
    }
}

/// A list of vectors, or such lists by type: the same inputs in each.
fn embedding(found: &Value) -> Embedding {
    if let Some(vectors) = found.as_array() {
        return completion::embedding_of(vectors);
    }
    let of_type = |kind: &str| found.get(kind).and_then(Value::as_array);
    if let Some(vectors) = ["float", "int8", "uint8"].iter().find_map(|kind| of_type(kind)) {
        return completion::embedding_of(vectors);
    }
    if let Some(vectors) = ["binary", "ubinary"].iter().find_map(|kind| of_type(kind)) {
        // A bit for each dimension.
        let packed = completion::embedding_of(vectors);
        return Embedding { dimensions: packed.dimensions.and_then(|bytes| bytes.checked_mul(8)), ..packed };
    }
    Embedding { count: of_type("base64").map_or(0, |vectors| vectors.len() as u64), dimensions: None }
}
