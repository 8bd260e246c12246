//! IBM watsonx.ai: `POST /ml/v1/text/generation[_stream]` of its own shape, `/ml/v1/text/chat[_stream]`
//! of OpenAI's with the model under another name.

use oisp_decode::Headers;
use oisp_event::{RequestType, Role};
use serde_json::{Map, Value};

use super::common::Messages;
use super::openai_chat::OpenAiChat;
use super::plain_request as plain;
use super::text_answer::{TextAnswer, TextStream, fields, read_whole};
use super::{Format, FormatId, ParsedRequest, ParsedResponse, StreamAccumulator, vectors};
use crate::chunks::Progress;
use crate::detect::Target;
use crate::json::{count, into_object, take_array, take_text, text};
use crate::providers::Dialect;
use crate::thin::Thinning;

pub(super) struct Watsonx;

impl Format for Watsonx {
    fn id(&self) -> FormatId {
        FormatId::Watsonx
    }

    fn name(&self) -> &'static str {
        "watsonx"
    }

    fn compatible_id(&self) -> &'static str {
        "watsonx"
    }

    fn serves_known_host(&self, path: &str) -> bool {
        const BEFORE: [&str; 2] = ["/ml/v1-beta/generation/text", "/ml/v1-beta/generation/text_stream"];
        if BEFORE.iter().any(|before| path.trim_end_matches('/').ends_with(before)) {
            return true;
        }
        path.contains("/ml/v1")
            && ["/generation", "/generation_stream", "/chat", "/chat_stream", "/embeddings"].iter().any(
                |end| {
                    path.trim_end_matches('/').strip_suffix(end).is_some_and(|rest| rest.ends_with("/text"))
                },
            )
    }

    fn serves_any_host(&self, path: &str) -> bool {
        self.serves_known_host(path)
    }

    fn is_distinctive(&self, _path: &str, _headers: &Headers) -> bool {
        true
    }

    fn recognises_request(&self, body: &Value, target: &Target) -> bool {
        text(body, "input").is_some()
            || body.get("inputs").is_some_and(Value::is_array)
            || OpenAiChat.recognises_request(body, target)
    }

    fn owns_request(&self, body: &Value, _headers: &Headers) -> bool {
        text(body, "model_id").is_some()
            && ["project_id", "space_id"].iter().any(|key| text(body, key).is_some())
    }

    fn recognises_response(&self, body: &Value) -> bool {
        let first = body.get("results").and_then(Value::as_array).and_then(|results| results.first());
        first.is_some_and(|result| {
            result.get("generated_text").is_some() && result.get("generated_token_count").is_some()
        })
    }

    fn accepts_response(&self, body: &Value) -> bool {
        body.get("results").is_some_and(Value::is_array) || OpenAiChat.recognises_response(body)
    }

    fn recognises_stream_event(&self, _name: &str, data: &Value) -> bool {
        self.recognises_response(data) || text(data, "model_id").is_some() && data.get("choices").is_some()
    }

    fn may_begin_response(&self, beginning: &str) -> bool {
        beginning.contains("\"generated_token_count\"")
    }

    fn thinning(&self) -> Option<Thinning> {
        Some(Thinning::Numbers)
    }

    fn parse_request(&self, body: Value, target: &Target) -> ParsedRequest {
        let mut map = into_object(body);
        let streams = target.path.trim_end_matches('/').ends_with("_stream");
        let mut parsed = if map.contains_key("messages") {
            if let Some(model) = map.remove("model_id") {
                map.insert("model".to_owned(), model);
            }
            OpenAiChat.parse_request(Value::Object(map), target)
        } else {
            let inputs = map.remove("inputs");
            let kind = if inputs.is_some() { RequestType::Embedding } else { RequestType::Completion };
            let mut parsed = plain::begin(kind, take_text(&mut map, "model_id"));
            let mut messages = Messages::default();
            plain::push_text(&mut messages, Role::User, take_text(&mut map, "input").unwrap_or_default());
            plain::push_inputs(&mut messages, inputs.unwrap_or_default());
            messages.finish(&mut parsed);
            let parameters = into_object(map.remove("parameters").unwrap_or_default());
            parsed.request.parameters =
                Some(plain::parameters(&parameters, &["max_new_tokens"], "stop_sequences"));
            let known = ["max_new_tokens", "temperature", "top_p", "stop_sequences"];
            plain::note_others(&mut parsed, &parameters, &known);
            parsed
        };
        parsed.request.streaming = Some(streams);
        plain::note_deployment(&mut parsed, target);
        parsed
    }

    fn parse_response(&self, body: Value, dialect: Dialect) -> ParsedResponse {
        if body.get("choices").is_some() {
            return OpenAiChat.parse_response(with_model(body), dialect);
        }
        let embeds = body.get("results").and_then(Value::as_array);
        let embedding = embeds
            .filter(|results| results.first().is_some_and(|first| first.get("embedding").is_some()))
            .map(|results| vectors::measure(results));
        let mut answer = read_whole(body, take);
        answer.ended = true;
        let mut parsed = answer.finish();
        parsed.embedding = embedding;
        parsed
    }

    fn stream(&self, dialect: Dialect) -> Box<dyn StreamAccumulator> {
        Box::new(WatsonxStream::Undecided { dialect, gaps: 0 })
    }
}

/// Takes an event, or the one object of an answer that is not streamed.
fn take(answer: &mut TextAnswer, _name: &str, mut map: Map<String, Value>) -> bool {
    let mut content = false;
    if let Some(model) = take_text(&mut map, "model_id") {
        answer.model = Some(model);
    }
    if let Some(errors) = map.remove("errors") {
        let failed = Value::Object([("errors".to_owned(), errors)].into_iter().collect());
        answer.error = answer.error.take().or_else(|| super::error_of_failed(&failed));
    }
    let prompt = count(&Value::Object(fields(&map, &["input_token_count"])), "input_token_count");
    let original = fields(&map, &["input_token_count"]);
    answer.count_tokens(prompt, None, original);
    for result in take_array(&mut map, "results").unwrap_or_default() {
        let Some(text_of) = text(&result, "generated_text") else { continue };
        content |= answer.push_text(text_of);
        let known = answer.usage.as_ref().and_then(|usage| usage.prompt_tokens);
        // Later events say 0 where an earlier one has told.
        let prompt = count(&result, "input_token_count").filter(|tokens| *tokens > 0).or(known);
        let original = fields(&into_object(result.clone()), &["input_token_count", "generated_token_count"]);
        answer.count_tokens(prompt, count(&result, "generated_token_count"), original);
        if let Some(reason) = text(&result, "stop_reason").filter(|reason| *reason != "not_finished") {
            answer.finish = Some(reason.to_owned());
            answer.ended = true;
        }
    }
    content
}

/// The model under OpenAI's name for it, where there is a choice; a text's events keep theirs.
fn with_model(mut body: Value) -> Value {
    if let Some(map) = body.as_object_mut()
        && map.contains_key("choices")
        && !map.contains_key("model")
        && let Some(model) = map.remove("model_id")
    {
        map.insert("model".to_owned(), model);
    }
    body
}

/// A stream of either shape; its first event with content tells which.
enum WatsonxStream {
    Undecided { dialect: Dialect, gaps: u32 },
    Decided(Box<dyn StreamAccumulator>),
}

impl StreamAccumulator for WatsonxStream {
    fn event(&mut self, name: &str, data: Value) -> bool {
        if let Self::Undecided { dialect, gaps } = *self {
            let mut stream = match data.get("choices").is_some() {
                true => OpenAiChat.stream(dialect),
                false => TextStream::boxed(take),
            };
            (0..gaps).for_each(|_| stream.gap());
            *self = Self::Decided(stream);
        }
        match self {
            Self::Decided(stream) => stream.event(name, with_model(data)),
            Self::Undecided { .. } => false,
        }
    }

    fn progress(&self, progress: &mut Progress<'_>) {
        if let Self::Decided(stream) = self {
            stream.progress(progress);
        }
    }

    fn gap(&mut self) {
        match self {
            Self::Undecided { gaps, .. } => *gaps = gaps.saturating_add(1),
            Self::Decided(stream) => stream.gap(),
        }
    }

    fn is_complete(&self) -> bool {
        matches!(self, Self::Decided(stream) if stream.is_complete())
    }

    fn has_ended(&self) -> bool {
        matches!(self, Self::Decided(stream) if stream.has_ended())
    }

    fn finish(self: Box<Self>) -> ParsedResponse {
        match *self {
            Self::Decided(stream) => stream.finish(),
            Self::Undecided { .. } => ParsedResponse::default(),
        }
    }
}
