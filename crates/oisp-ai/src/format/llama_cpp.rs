//! llama.cpp's own interface: `POST /completion`, `POST /infill`.

use oisp_decode::Headers;
use oisp_event::{RequestType, Role};
use serde_json::{Map, Value};

use super::common::{Content, Messages};
use super::plain_request as plain;
use super::text_answer::{TextAnswer, TextStream, fields, read_whole};
use super::{Format, FormatId, ParsedRequest, ParsedResponse, StreamAccumulator};
use crate::detect::Target;
use crate::json::{count, into_object, owned_text, take_array, take_text, text};
use crate::providers::Dialect;

pub(super) struct LlamaCpp;

impl Format for LlamaCpp {
    fn id(&self) -> FormatId {
        FormatId::LlamaCpp
    }

    fn name(&self) -> &'static str {
        "llama_cpp"
    }

    fn compatible_id(&self) -> &'static str {
        "llama_cpp"
    }

    fn serves_known_host(&self, path: &str) -> bool {
        let path = path.trim_end_matches('/');
        path.ends_with("/completion") || path.ends_with("/infill")
    }

    fn serves_any_host(&self, path: &str) -> bool {
        self.serves_known_host(path)
    }

    fn recognises_request(&self, body: &Value, target: &Target) -> bool {
        if target.path.trim_end_matches('/').ends_with("/infill") {
            return text(body, "input_prefix").is_some() && body.get("input_suffix").is_some();
        }
        let prompt = body.get("prompt");
        prompt.is_some_and(|prompt| {
            prompt.is_string() || prompt.is_array() || text(prompt, "prompt_string").is_some()
        })
    }

    fn owns_request(&self, body: &Value, _headers: &Headers) -> bool {
        body.get("prompt").is_some() && body.get("n_predict").is_some_and(Value::is_number)
    }

    fn recognises_response(&self, body: &Value) -> bool {
        let answer = body.as_array().and_then(|list| list.first()).unwrap_or(body);
        self.recognises_stream_event("", answer)
    }

    fn recognises_stream_event(&self, _name: &str, data: &Value) -> bool {
        text(data, "content").is_some()
            && data.get("stop").is_some_and(Value::is_boolean)
            && data.get("role").is_none()
    }

    fn may_begin_response(&self, beginning: &str) -> bool {
        beginning.contains("\"content\":")
            && ["\"stop\":", "\"tokens_predicted\":", "\"id_slot\":"]
                .iter()
                .any(|key| beginning.contains(key))
            && !beginning.contains("\"role\":")
    }

    fn parse_request(&self, body: Value, _target: &Target) -> ParsedRequest {
        let mut map = into_object(body);
        let mut parsed = plain::begin(RequestType::Completion, take_text(&mut map, "model"));
        let mut messages = Messages::default();
        for extra in take_array(&mut map, "input_extra").unwrap_or_default() {
            named(&mut messages, "input_extra", owned_text(&extra, "text"));
        }
        for key in ["input_prefix", "input_suffix"] {
            let text = take_text(&mut map, key);
            named(&mut messages, key, text);
        }
        let prompt = match map.remove("prompt").unwrap_or_default() {
            Value::Object(mut prompt) => {
                let mut content = Content::default();
                content.push_owned_text(take_text(&mut prompt, "prompt_string").unwrap_or_default());
                for media in take_array(&mut prompt, "multimodal_data").unwrap_or_default() {
                    content.push_part(serde_json::json!({
                        "type": "media", "encoded_bytes": media.as_str().map_or(0, str::len),
                    }));
                }
                messages.push(Role::User, content);
                Value::Null
            }
            // Texts and tokens mixed are one prompt.
            Value::Array(list) if list.iter().any(Value::is_string) && list.iter().any(Value::is_number) => {
                Value::Array(vec![mixed(list)])
            }
            prompt => prompt,
        };
        plain::push_inputs(&mut messages, prompt);
        messages.finish(&mut parsed);
        parsed.request.streaming = plain::streaming(&map, false);
        let limits = ["n_predict", "max_tokens"];
        parsed.request.parameters = Some(plain::parameters(&map, &limits, "stop"));
        plain::note(&mut parsed, &map, OTHER_PARAMETERS);
        parsed
    }

    fn parse_response(&self, body: Value, _dialect: Dialect) -> ParsedResponse {
        let Value::Array(list) = body else { return read_whole(body, take).finish() };
        // Of several prompts.
        let mut list = list.into_iter();
        let mut answer = read_whole(list.next().unwrap_or_default(), take);
        for other in list {
            answer.push_choice(text(&other, "content").unwrap_or_default());
            // The counts of one of them are not those of the call.
            answer.usage = None;
            answer.extension.remove("usage");
        }
        answer.finish()
    }

    fn stream(&self, _dialect: Dialect) -> Box<dyn StreamAccumulator> {
        TextStream::boxed(take)
    }
}

const OTHER_PARAMETERS: &[&str] = &[
    "top_k",
    "min_p",
    "typical_p",
    "repeat_penalty",
    "repeat_last_n",
    "mirostat",
    "seed",
    "n_probs",
    "n_keep",
    "n_indent",
    "cache_prompt",
    "id_slot",
    "ignore_eos",
    "samplers",
    "json_schema",
    "grammar",
    "lora",
];

fn named(messages: &mut Messages, name: &str, text: Option<String>) {
    if let Some(text) = text.filter(|text| !text.is_empty()) {
        let mut content = Content::default();
        content.push_owned_text(text);
        messages.push(Role::User, content).name = Some(name.to_owned());
    }
}

/// Texts, and how many tokens stand between them.
fn mixed(list: Vec<Value>) -> Value {
    let tokens = list.iter().filter(|element| element.is_number()).count();
    let texts = list.into_iter().filter(Value::is_string);
    texts.chain([serde_json::json!({ "type": "tokens", "count": tokens })]).collect()
}

/// Takes an event, or the one object of an answer that is not streamed.
fn take(answer: &mut TextAnswer, _name: &str, mut map: Map<String, Value>) -> bool {
    let content = take_text(&mut map, "content").is_some_and(|text| answer.push_text(&text));
    if let Some(model) = take_text(&mut map, "model").filter(|model| !model.is_empty()) {
        answer.model = Some(model);
    }
    // An answer that is not streamed has it as well.
    if map.get("stop").and_then(Value::as_bool) != Some(true) {
        return content;
    }
    answer.ended = true;
    answer.finish = take_text(&mut map, "stop_type").or_else(|| {
        // As servers before 2025 say it.
        [("stopped_eos", "eos"), ("stopped_word", "word"), ("stopped_limit", "limit")]
            .into_iter()
            .find(|(key, _)| map.get(*key).and_then(Value::as_bool) == Some(true))
            .map(|(_, reason)| reason.to_owned())
    });
    let original = fields(&map, &["tokens_evaluated", "tokens_predicted", "tokens_cached"]);
    let timings = map.remove("timings").filter(Value::is_object);
    let counts = Value::Object(map);
    answer.count_tokens(count(&counts, "tokens_evaluated"), count(&counts, "tokens_predicted"), original);
    if let (Some(usage), Some(timings)) = (&mut answer.usage, &timings) {
        usage.cached_tokens = count(timings, "cache_n");
    }
    answer.note("server_timings", timings);
    content
}
