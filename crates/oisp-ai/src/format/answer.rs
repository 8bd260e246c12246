//! An answer of one choice, whole or streamed, before it is written.

use oisp_event::{Choice, ErrorInfo, Model, Role, ToolCall, Usage};
use serde_json::{Map, Value};

use super::ParsedResponse;
use super::common::{self, Content};
use crate::json::{self, count, take_text};

/// What an answer has said so far.
#[derive(Debug, Default)]
pub(super) struct Answer {
    /// Whether it has a message, even an empty one.
    pub(super) answered: bool,
    pub(super) model: Option<String>,
    pub(super) response_id: Option<String>,
    pub(super) request_id: Option<String>,
    pub(super) content: Content,
    pub(super) reasoning: Vec<Value>,
    pub(super) calls: Vec<ToolCall>,
    pub(super) citations: Citations,
    /// The provider's word for it.
    pub(super) finish_reason: Option<String>,
    pub(super) usage: Option<Usage>,
    pub(super) error: Option<ErrorInfo>,
    /// Everything else.
    pub(super) extension: Map<String, Value>,
}

impl Answer {
    pub(super) fn push_reasoning(&mut self, text: String) {
        if !text.is_empty() {
            self.reasoning.push(serde_json::json!({ "choice": 0, "text": text }));
        }
    }

    /// Keeps a value beside the answer as it is, measured only where it is large.
    pub(super) fn keep(&mut self, key: &str, value: Option<Value>) {
        if let Some(value) = value.filter(|value| !value.is_null()) {
            self.extension.insert(key.to_owned(), common::bounded(value));
        }
    }

    pub(super) fn finish(self) -> ParsedResponse {
        let mut parsed = ParsedResponse { extension: self.extension, ..ParsedResponse::default() };
        let (response, extension) = (&mut parsed.response, &mut parsed.extension);
        response.provider_request_id = self.request_id.or_else(|| self.response_id.clone());
        common::set_text(extension, "response_id", self.response_id);
        response.model = self.model.map(|id| Model { id });
        response.error = self.error;
        response.finish_reason = self.finish_reason.as_deref().map(common::finish_reason);
        common::set_text(extension, "finish_reason", self.finish_reason);
        response.usage = self.usage;
        common::set_array(extension, "reasoning", self.reasoning);
        self.citations.enter(extension);
        if self.answered {
            let (message, parts) = self.content.into_message(Role::Assistant);
            response.choices.push(Choice {
                index: 0,
                message: Some(message),
                finish_reason: response.finish_reason,
            });
            response.tool_calls_count = Some(self.calls.len() as u64);
            response.tool_calls = self.calls;
            common::set_array(extension, "parts", parts);
        }
        parsed
    }
}

/// The sources that an answer cites: all are counted, the first are listed.
#[derive(Debug, Default)]
pub(super) struct Citations {
    list: Vec<Value>,
    count: u64,
}

impl Citations {
    const MOST: usize = 64;

    /// Adds one: its kind and where the source is, without the text that is cited.
    pub(super) fn push(&mut self, description: Map<String, Value>) {
        self.count += 1;
        if self.list.len() < Self::MOST {
            self.list.push(Value::Object(description));
        }
    }

    fn enter(self, extension: &mut Map<String, Value>) {
        if self.count > 0 {
            extension.insert("citation_count".to_owned(), self.count.into());
            common::set_array(extension, "citations", self.list);
        }
    }
}

/// A citation by the fields of it that name a source.
pub(super) fn citation(value: &Value, kind: Option<&str>) -> Map<String, Value> {
    const LONGEST: usize = 512;
    let mut description = Map::new();
    if let Some(kind) = kind.or_else(|| json::text(value, "type")) {
        description.insert("type".to_owned(), kind.into());
    }
    for (from, to) in
        [("title", "title"), ("document_title", "title"), ("source", "source"), ("file_id", "file_id")]
    {
        if let Some(text) = json::owned_text(value, from) {
            let text: String = text.chars().take(LONGEST).collect();
            let text = if from == "source" { json::bare_url(&text) } else { text };
            description.insert(to.to_owned(), text.into());
        }
    }
    if let Some(url) = json::text(value, "url") {
        let url: String = url.chars().take(LONGEST).collect();
        description.insert("url".to_owned(), json::bare_url(&url).into());
    }
    for (from, to) in [
        ("document_index", "document_index"),
        ("documentIndex", "document_index"),
        ("search_result_index", "search_result_index"),
        ("searchResultIndex", "search_result_index"),
    ] {
        if let Some(index) = count(value, from) {
            description.insert(to.to_owned(), index.into());
        }
    }
    description
}

/// Usage of services that count cache reads and cache writes apart from the other input; the keys in this order: input,
/// output, read, written.
pub(crate) fn usage_with_cache_apart(
    counts: &Value,
    keys: [&str; 4],
    extension: &mut Map<String, Value>,
) -> Option<Usage> {
    let [input, output, read, written] = keys.map(|key| count(counts, key));
    if let Some(written) = written {
        extension.insert("cache_write_tokens".to_owned(), written.into());
    }
    let prompt = input.map(|input| [read, written].into_iter().flatten().fold(input, u64::saturating_add));
    let usage = Usage {
        prompt_tokens: prompt,
        completion_tokens: output,
        total_tokens: prompt.and_then(|prompt| prompt.checked_add(output?)),
        cached_tokens: read,
        ..Usage::default()
    };
    (usage != Usage::default()).then_some(usage)
}

/// Moves a non-empty text to where it belongs, if there is one.
pub(super) fn replace_text(to: &mut Option<String>, map: &mut Map<String, Value>, key: &str) {
    if let Some(text) = take_text(map, key).filter(|text| !text.is_empty()) {
        *to = Some(text);
    }
}
