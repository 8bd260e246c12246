//! Gemini embeddings: `:embedContent`, `:batchEmbedContents`, and `:predict` of Vertex's embedding models.

use oisp_decode::Headers;
use oisp_event::{Model, RequestType, Role, Usage};
use serde_json::{Map, Value, json};

use super::common::{self, Content, Messages};
use super::gemini::parts::{self, Part, object, snake_case_object};
use super::gemini::usage;
use super::{Format, FormatId, ParsedRequest, ParsedResponse, StreamAccumulator, google_path};
use crate::call::Embedding;
use crate::detect::Target;
use crate::json::{count, into_object, take_array, take_text};
use crate::providers::Dialect;

pub(super) struct GeminiEmbeddings;

impl Format for GeminiEmbeddings {
    fn id(&self) -> FormatId {
        FormatId::GeminiEmbeddings
    }

    fn name(&self) -> &'static str {
        "gemini_embeddings"
    }

    fn compatible_id(&self) -> &'static str {
        "gemini_compatible"
    }

    /// `:predict` is of every model that Vertex serves; the model's name tells those that embed.
    fn serves_known_host(&self, path: &str) -> bool {
        match google_path::verb(path) {
            Some("predict") => path.contains("embedding") || path.contains("gecko"),
            _ => self.serves_any_host(path),
        }
    }

    fn serves_any_host(&self, path: &str) -> bool {
        matches!(google_path::verb(path), Some("embedContent" | "batchEmbedContents"))
    }

    fn is_distinctive(&self, _path: &str, _headers: &Headers) -> bool {
        true
    }

    fn recognises_request(&self, body: &Value, _target: &Target) -> bool {
        ["content", "requests", "instances"].iter().any(|key| body.get(key).is_some())
    }

    /// Nothing in the body says that it is for embedding.
    fn owns_request(&self, _body: &Value, _headers: &Headers) -> bool {
        false
    }

    fn recognises_response(&self, body: &Value) -> bool {
        vectors(body).is_some()
    }

    fn may_begin_response(&self, beginning: &str) -> bool {
        beginning.contains("\"values\"")
            && (beginning.contains("\"embedding\"") || beginning.contains("\"embeddings\""))
    }

    fn parse_request(&self, body: Value, target: &Target) -> ParsedRequest {
        let mut parsed = ParsedRequest::default();
        let mut map = object(body);
        let mut said = take_text(&mut map, "model");
        let mut settings = map.remove("parameters").or_else(|| map.remove("embedContentConfig"));
        let mut messages = Messages::default();
        if let Some(content) = map.remove("content") {
            push_input(&mut messages, content);
        }
        for request in take_array(&mut map, "requests").unwrap_or_default() {
            let mut request = object(request);
            said = said.or_else(|| take_text(&mut request, "model"));
            push_input(&mut messages, request.remove("content").unwrap_or_default());
            // They are the same for all, mostly; the first stands for them.
            settings.get_or_insert(Value::Object(request));
        }
        for instance in take_array(&mut map, "instances").unwrap_or_default() {
            let instance = object(instance);
            map.extend(instance.get("taskType").map(|task| ("taskType".to_owned(), task.clone())));
            push_instance(&mut messages, instance);
        }
        messages.finish(&mut parsed);
        let request = &mut parsed.request;
        request.request_type = RequestType::Embedding;
        request.streaming = Some(false);
        let model = google_path::model(target).or_else(|| said.as_deref().map(google_path::bare_model));
        request.model = model.filter(|id| !id.is_empty()).map(|id| Model { id });
        let mut others = snake_case_object(&object(settings.unwrap_or_default()));
        others.extend(snake_case_object(&map));
        let keys = ["task_type", "title", "output_dimensionality", "auto_truncate", "dimension"];
        common::enter_other_parameters(&mut parsed.extension, &others, &keys);
        parsed
    }

    fn parse_response(&self, body: Value, _dialect: Dialect) -> ParsedResponse {
        let mut parsed = ParsedResponse::default();
        let extension = &mut parsed.extension;
        parsed.response.error = body.as_object().and_then(common::error_in);
        if let Some(vectors) = vectors(&body) {
            let dimensions = |vector: &&Value| vector.as_array().map(|values| values.len() as u64);
            let first = vectors.first().and_then(dimensions);
            let same = vectors.iter().all(|vector| dimensions(vector) == first);
            parsed.embedding =
                Some(Embedding { count: vectors.len() as u64, dimensions: first.filter(|_| same) });
        }
        let counted = counted_tokens(&body);
        let mut map = object(body);
        let said = ["usageMetadata", "metadata"].iter().find_map(|key| map.remove(*key));
        if let Some(said) = said.filter(Value::is_object) {
            let said = Value::Object(object(said));
            parsed.response.usage = usage::normalise(&said, &usage::COUNTS);
            extension.insert("usage".to_owned(), said);
        }
        if let (None, Some(tokens)) = (&parsed.response.usage, counted) {
            parsed.response.usage = Some(Usage { prompt_tokens: Some(tokens), ..Usage::default() });
        }
        parsed
    }

    fn stream(&self, _dialect: Dialect) -> Box<dyn StreamAccumulator> {
        Box::new(NoStream::default())
    }
}

/// An input is a content; every text of it is read.
fn push_input(messages: &mut Messages, content: Value) {
    let mut message = Content::default();
    match content {
        Value::String(text) => message.push_owned_text(text),
        content => {
            for part in take_array(&mut object(content), "parts").unwrap_or_default() {
                parts::push(&mut message, parts::read(part));
            }
        }
    }
    messages.push(Role::User, message);
}

/// Vertex's older form: `{"content": text}`, of multimodal models `{"text", "image", "video"}`.
fn push_instance(messages: &mut Messages, mut instance: Map<String, Value>) {
    let mut message = Content::default();
    for key in ["content", "text"] {
        if let Some(text) = take_text(&mut instance, key) {
            message.push_owned_text(text);
        }
    }
    for kind in ["image", "audio", "video"] {
        let Some(media) = instance.remove(kind).filter(Value::is_object) else { continue };
        let media = object(media);
        let bytes = media.get("bytesBase64Encoded").and_then(Value::as_str).map(str::len);
        let url = media.get("gcsUri").and_then(Value::as_str).map(crate::json::bare_url);
        let mut description = json!({ "type": kind });
        if let Some(media_type) = media.get("mimeType").and_then(Value::as_str) {
            description["media_type"] = media_type.into();
        }
        if let Some(bytes) = bytes {
            description["encoded_bytes"] = bytes.into();
        }
        if let Some(url) = url {
            description["url"] = url.into();
        }
        parts::push(
            &mut message,
            if kind == "image" { Part::Image(description) } else { Part::Other(description) },
        );
    }
    messages.push(Role::User, message);
}

/// The vectors, in all the places where they may be.
fn vectors(body: &Value) -> Option<Vec<&Value>> {
    if let Some(values) = body.get("embedding").and_then(|embedding| embedding.get("values")) {
        return Some(vec![values]);
    }
    if let Some(embeddings) = body.get("embeddings").and_then(Value::as_array) {
        let vectors: Option<Vec<&Value>> =
            embeddings.iter().map(|embedding| embedding.get("values")).collect();
        return vectors.filter(|vectors| !vectors.is_empty());
    }
    let predictions = body.get("predictions")?.as_array()?;
    let vectors: Vec<&Value> = predictions
        .iter()
        .flat_map(|prediction| {
            let text = prediction.get("embeddings").and_then(|embeddings| embeddings.get("values"));
            let others = ["textEmbedding", "imageEmbedding"].map(|key| prediction.get(key));
            let videos = prediction.get("videoEmbeddings").and_then(Value::as_array);
            let videos = videos.into_iter().flatten().filter_map(|video| video.get("embedding"));
            text.into_iter().chain(others.into_iter().flatten()).chain(videos)
        })
        .collect();
    (!vectors.is_empty()).then_some(vectors)
}

/// The tokens that each prediction counts, if all do.
fn counted_tokens(body: &Value) -> Option<u64> {
    let predictions = body.get("predictions")?.as_array()?;
    let counts = predictions.iter().map(|prediction| {
        let statistics = prediction.get("embeddings")?.get("statistics")?;
        count(statistics, "token_count").or_else(|| count(statistics, "tokenCount"))
    });
    counts.sum::<Option<u64>>().filter(|_| !predictions.is_empty())
}

/// What is asked for here does not come as a stream; whatever does is an error.
#[derive(Default)]
pub(super) struct NoStream {
    parsed: ParsedResponse,
    events: u64,
}

impl StreamAccumulator for NoStream {
    fn event(&mut self, _name: &str, data: Value) -> bool {
        self.events += 1;
        if let Some(error) = common::error_in(&into_object(data)) {
            self.parsed.response.error.get_or_insert(error);
        }
        false
    }

    fn gap(&mut self) {}

    fn is_complete(&self) -> bool {
        self.parsed.response.error.is_some()
    }

    fn has_ended(&self) -> bool {
        false
    }

    fn finish(mut self: Box<Self>) -> ParsedResponse {
        if self.events > 0 && self.parsed.response.error.is_none() {
            self.parsed.unparsed.push("stream_events".to_owned());
        }
        self.parsed
    }
}
