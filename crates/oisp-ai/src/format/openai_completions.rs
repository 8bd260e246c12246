//! OpenAI text completions: `POST .../completions`; also Mistral's `POST .../fim/completions`.
//!
//! Answers are those of chat completions, with a text in the place of the message.

use oisp_decode::Headers;
use oisp_event::{Model, RequestType, Role};
use serde_json::{Value, json};

use super::common::{self, Content, Messages};
use super::openai_chat::{self, OpenAiChat};
use super::{Format, FormatId, ParsedRequest, ParsedResponse, StreamAccumulator, invocations, plain_request};
use crate::detect::Target;
use crate::json::{into_object, take_text, text};
use crate::providers::Dialect;

pub(super) struct OpenAiCompletions;

impl Format for OpenAiCompletions {
    fn id(&self) -> FormatId {
        FormatId::OpenAiCompletions
    }

    fn name(&self) -> &'static str {
        "openai_completions"
    }

    fn compatible_id(&self) -> &'static str {
        "openai_compatible"
    }

    fn serves_known_host(&self, path: &str) -> bool {
        self.serves_any_host(path) || invocations::is_at(path)
    }

    fn serves_any_host(&self, path: &str) -> bool {
        let path = path.trim_end_matches('/');
        path.ends_with("/completions") && !OpenAiChat.serves_known_host(path)
    }

    fn is_distinctive(&self, path: &str, _headers: &Headers) -> bool {
        path.contains("/v1/completions") || path.contains("/fim/completions")
    }

    fn recognises_request(&self, body: &Value, _target: &Target) -> bool {
        body.get("prompt").is_some_and(|prompt| prompt.is_string() || prompt.is_array())
    }

    /// A request for an image has a model and a prompt too.
    fn owns_request(&self, body: &Value, _headers: &Headers) -> bool {
        text(body, "model").is_some()
            && text(body, "prompt").is_some()
            && body.get("max_tokens").is_some_and(Value::is_u64)
    }

    /// Some services answer with messages here too.
    fn recognises_response(&self, body: &Value) -> bool {
        has_text(body) || OpenAiChat.recognises_response(body)
    }

    fn recognises_stream_event(&self, name: &str, data: &Value) -> bool {
        has_text(data) || OpenAiChat.recognises_stream_event(name, data)
    }

    fn may_begin_response(&self, beginning: &str) -> bool {
        beginning.contains("\"text_completion") || beginning.contains("\"choices\"")
    }

    fn parse_request(&self, body: Value, target: &Target) -> ParsedRequest {
        let mut map = into_object(body);
        let mut parsed = ParsedRequest::default();
        let mut messages = Messages::default();
        match map.remove("prompt") {
            // Either one prompt as tokens, or several prompts.
            Some(Value::Array(list)) if list.first().is_some_and(Value::is_u64) => {
                push_prompt(&mut messages, Value::Array(list));
            }
            Some(Value::Array(list)) => list.into_iter().for_each(|one| push_prompt(&mut messages, one)),
            Some(Value::Null) | None => {}
            Some(prompt) => push_prompt(&mut messages, prompt),
        }
        // What is to come after the text that is asked for.
        if let Some(suffix) = take_text(&mut map, "suffix").filter(|suffix| !suffix.is_empty()) {
            let mut content = Content::default();
            content.push_owned_text(suffix);
            messages.push(Role::User, content).name = Some("suffix".to_owned());
        }
        messages.finish(&mut parsed);
        let request = &mut parsed.request;
        request.request_type = RequestType::Completion;
        common::set_model_and_streaming(request, &mut map, target);
        request.model =
            request.model.take().or_else(|| target.segment_after("engines").map(|id| Model { id }));
        request.parameters = Some(openai_chat::parameters(&map));
        common::enter_other_parameters(&mut parsed.extension, &map, OTHER_PARAMETERS);
        plain_request::note_deployment(&mut parsed, target);
        parsed
    }

    fn parse_response(&self, body: Value, dialect: Dialect) -> ParsedResponse {
        OpenAiChat.parse_response(body, dialect)
    }

    fn stream(&self, dialect: Dialect) -> Box<dyn StreamAccumulator> {
        OpenAiChat.stream(dialect)
    }
}

const OTHER_PARAMETERS: &[&str] = &[
    "n",
    "best_of",
    "echo",
    "logprobs",
    "seed",
    "random_seed",
    "min_tokens",
    "top_k",
    "response_format",
    "stream_options",
    "user",
    "metadata",
];

fn has_text(body: &Value) -> bool {
    text(body, "object") == Some("text_completion")
        || body
            .get("choices")
            .and_then(|choices| choices.as_array()?.first())
            .is_some_and(|choice| choice.get("text").is_some_and(Value::is_string))
}

/// A prompt is a text or a list of token numbers.
fn push_prompt(messages: &mut Messages, prompt: Value) {
    let mut content = Content::default();
    match prompt {
        Value::String(text) => content.push_owned_text(text),
        Value::Array(tokens) => content.push_part(json!({ "type": "tokens", "count": tokens.len() })),
        other => content.push_part(common::describe_part(&other)),
    }
    messages.push(Role::User, content);
}
