//! Embeddings: `POST .../embeddings` of OpenAI and all who copied it, and Ollama's own interface.

use oisp_decode::Headers;
use oisp_event::{Model, RequestType};
use serde_json::{Map, Value};

use super::common::Messages;
use super::openai_chat::usage;
use super::plain_request as plain;
use super::text_answer::{TextStream, fields, read_whole, some_fields};
use super::{Format, FormatId, ParsedRequest, ParsedResponse, StreamAccumulator, invocations, vectors};
use crate::detect::Target;
use crate::json::{count, into_object, take_array, take_text, text};
use crate::providers::Dialect;
use crate::thin::Thinning;

/// OpenAI's, and Voyage's for texts with images, and llama.cpp's old one.
pub(super) struct OpenAiEmbeddings;

impl Format for OpenAiEmbeddings {
    fn id(&self) -> FormatId {
        FormatId::OpenAiEmbeddings
    }

    fn name(&self) -> &'static str {
        "openai_embeddings"
    }

    fn compatible_id(&self) -> &'static str {
        "openai_compatible"
    }

    fn serves_known_host(&self, path: &str) -> bool {
        let path = path.trim_end_matches('/');
        ["/embeddings", "/embedding", "/multimodalembeddings", "/contextualizedembeddings"]
            .iter()
            .any(|end| path.ends_with(end))
            || invocations::is_at(path)
    }

    fn serves_any_host(&self, path: &str) -> bool {
        self.serves_known_host(path) && !invocations::is_at(path)
    }

    fn is_distinctive(&self, path: &str, _headers: &Headers) -> bool {
        path.trim_end_matches('/').ends_with("/v1/embeddings")
    }

    fn recognises_request(&self, body: &Value, target: &Target) -> bool {
        let is_input = |value: &Value| value.is_string() || value.is_array() || value.is_object();
        let path = target.path.trim_end_matches('/');
        let llama_cpp = path.ends_with("/embedding")
            && body.get("content").is_some_and(|content| content.is_string() || content.is_array());
        llama_cpp || ["input", "inputs"].iter().any(|key| body.get(*key).is_some_and(is_input))
    }

    /// Its body is no different from that of other calls with a model and an input.
    fn owns_request(&self, _body: &Value, _headers: &Headers) -> bool {
        false
    }

    fn recognises_response(&self, body: &Value) -> bool {
        let list = body.get("data").or(Some(body)).and_then(Value::as_array);
        list.and_then(|list| list.first()).is_some_and(|first| {
            first.get("embedding").is_some_and(|vector| !vector.is_null())
                || first.get("embeddings").is_some_and(Value::is_array)
        })
    }

    fn accepts_response(&self, body: &Value) -> bool {
        self.recognises_response(body)
            || text(body, "object") == Some("list") && body.get("data").is_some_and(Value::is_array)
    }

    fn may_begin_response(&self, beginning: &str) -> bool {
        beginning.contains("\"embedding\"") && beginning.contains("\"object\"")
    }

    fn thinning(&self) -> Option<Thinning> {
        Some(Thinning::NumbersAndBase64)
    }

    fn parse_request(&self, body: Value, target: &Target) -> ParsedRequest {
        let mut parsed = request(body, &["input", "inputs", "content"], OTHER_PARAMETERS);
        parsed.request.model =
            parsed.request.model.or_else(|| invocations::model(target).map(|id| Model { id }));
        plain::note_deployment(&mut parsed, target);
        parsed
    }

    fn parse_response(&self, body: Value, dialect: Dialect) -> ParsedResponse {
        let (list, mut map) = match body {
            Value::Array(list) => (list, Map::new()),
            other => {
                let mut map = into_object(other);
                (take_array(&mut map, "data").unwrap_or_default(), map)
            }
        };
        let original = map.remove("usage").filter(Value::is_object);
        let id = take_text(&mut map, "id");
        let mut answer = read_whole(Value::Object(map), |answer, _, mut map| {
            answer.model = take_text(&mut map, "model");
            false
        });
        answer.response_id = id;
        if let Some(original) = original {
            answer.usage = usage::normalise(&original, dialect, &mut answer.extension);
            answer.extension.insert("usage".to_owned(), original);
        }
        answer.ended = true;
        let mut parsed = answer.finish();
        // Voyage groups the parts of each document.
        let (groups, single): (Vec<Value>, Vec<Value>) =
            list.into_iter().partition(|item| item.get("data").is_some_and(Value::is_array));
        let parts = groups.into_iter().map(into_object);
        let list: Vec<Value> = parts
            .flat_map(|mut group| take_array(&mut group, "data").unwrap_or_default())
            .chain(single)
            .collect();
        parsed.embedding = Some(vectors::measure(&list));
        parsed
    }

    fn stream(&self, _dialect: Dialect) -> Box<dyn StreamAccumulator> {
        TextStream::boxed(|_, _, _| false)
    }
}

const OTHER_PARAMETERS: &[&str] = &[
    "dimensions",
    "encoding_format",
    "input_type",
    "task",
    "truncation",
    "truncate",
    "output_dimension",
    "output_dtype",
    "embedding_type",
    "late_chunking",
    "normalized",
    "embd_normalize",
    "user",
];

/// A request for embeddings, its inputs under one of some keys.
fn request(body: Value, inputs: &[&str], parameters: &[&str]) -> ParsedRequest {
    let mut map = into_object(body);
    let mut parsed = plain::begin(RequestType::Embedding, take_text(&mut map, "model"));
    let mut messages = Messages::default();
    for key in inputs {
        plain::push_inputs(&mut messages, map.remove(*key).unwrap_or_default());
    }
    messages.finish(&mut parsed);
    parsed.request.streaming = Some(false);
    plain::note(&mut parsed, &map, parameters);
    parsed
}

/// Ollama's: `POST /api/embed`, and `POST /api/embeddings` of old.
pub(super) struct OllamaEmbeddings;

impl Format for OllamaEmbeddings {
    fn id(&self) -> FormatId {
        FormatId::OllamaEmbeddings
    }

    fn name(&self) -> &'static str {
        "ollama_embeddings"
    }

    fn compatible_id(&self) -> &'static str {
        "ollama"
    }

    fn serves_known_host(&self, path: &str) -> bool {
        let path = path.trim_end_matches('/');
        path.ends_with("/api/embed") || path.ends_with("/api/embeddings")
    }

    fn serves_any_host(&self, path: &str) -> bool {
        self.serves_known_host(path)
    }

    fn recognises_request(&self, body: &Value, target: &Target) -> bool {
        let is_old = target.path.trim_end_matches('/').ends_with("/api/embeddings");
        text(body, "model").is_some()
            && match is_old {
                true => body.get("prompt").is_some_and(Value::is_string),
                false => body.get("input").is_some_and(|input| input.is_string() || input.is_array()),
            }
    }

    fn recognises_response(&self, body: &Value) -> bool {
        body.get("embeddings").is_some_and(Value::is_array) && text(body, "model").is_some()
    }

    fn accepts_response(&self, body: &Value) -> bool {
        ["embeddings", "embedding"].iter().any(|key| body.get(*key).is_some())
    }

    fn may_begin_response(&self, beginning: &str) -> bool {
        beginning.contains("\"embeddings\":[[")
    }

    fn thinning(&self) -> Option<Thinning> {
        Some(Thinning::NumbersAndBase64)
    }

    fn parse_request(&self, body: Value, _target: &Target) -> ParsedRequest {
        request(body, &["input", "prompt"], &["dimensions", "truncate", "keep_alive", "options"])
    }

    fn parse_response(&self, body: Value, _dialect: Dialect) -> ParsedResponse {
        let mut map = into_object(body);
        let vectors = match map.remove("embeddings") {
            Some(Value::Array(vectors)) => vectors,
            _ => map.remove("embedding").filter(|vector| !vector.is_null()).into_iter().collect(),
        };
        let mut answer = read_whole(Value::Object(map), |answer, _, mut map| {
            answer.model = take_text(&mut map, "model");
            answer.note("server_timings_ns", some_fields(&map, &["total_duration", "load_duration"]));
            let original = fields(&map, &["prompt_eval_count"]);
            answer.count_tokens(count(&Value::Object(map), "prompt_eval_count"), None, original);
            false
        });
        answer.ended = true;
        let mut parsed = answer.finish();
        parsed.embedding = Some(vectors::measure(&vectors));
        parsed
    }

    fn stream(&self, _dialect: Dialect) -> Box<dyn StreamAccumulator> {
        TextStream::boxed(|_, _, _| false)
    }
}
