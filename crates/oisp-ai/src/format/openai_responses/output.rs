//! A response object and the items of its output.

use std::collections::BTreeSet;

use oisp_event::{Choice, ErrorInfo, FinishReason, Model, Role, ToolCall};
use serde_json::{Map, Value, json};

use super::push_content;
use crate::format::ParsedResponse;
use crate::format::common::{self, Content};
use crate::format::openai_chat::usage;
use crate::json::{as_text, into_object, into_text, owned_text, take_array, take_text, text};
use crate::providers::Dialect;

/// What a response object says beside its output. In a stream a later event overwrites an earlier one.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub(super) id: Option<String>,
    model: Option<String>,
    status: Option<String>,
    /// Why it is incomplete.
    reason: Option<String>,
    service_tier: Option<String>,
    previous: Option<String>,
    conversation: Option<String>,
    upstream: Option<String>,
    /// Whether it was worked on after its request was answered.
    background: Option<bool>,
    usage: Option<Value>,
    /// How often tools of the service were used, which is charged for.
    tool_usage: Option<Value>,
    pub(super) error: Option<ErrorInfo>,
}

impl Facts {
    pub(super) fn take(&mut self, response: &mut Map<String, Value>) {
        for (to, key) in [
            (&mut self.id, "id"),
            (&mut self.model, "model"),
            (&mut self.status, "status"),
            (&mut self.service_tier, "service_tier"),
            (&mut self.previous, "previous_response_id"),
            (&mut self.conversation, "conversation_id"),
            (&mut self.upstream, "provider"),
        ] {
            if let Some(text) = take_text(response, key).filter(|text| !text.is_empty()) {
                *to = Some(text);
            }
        }
        self.background = response.get("background").and_then(Value::as_bool).or(self.background);
        if let Some(conversation) = response.get("conversation").and_then(|value| owned_text(value, "id")) {
            self.conversation = Some(conversation);
        }
        // The second is the realtime interface's.
        for details in ["incomplete_details", "status_details"] {
            let Some(details) = response.get(details) else { continue };
            self.reason = owned_text(details, "reason").or(self.reason.take());
            if let Some(error) = details.as_object().and_then(common::error_in) {
                self.error = Some(error);
            }
        }
        self.error = common::error_in(response).or(self.error.take());
        self.tool_usage = response.remove("tool_usage").filter(Value::is_object).or(self.tool_usage.take());
        if let Some(usage) = response.remove("usage").filter(Value::is_object) {
            self.usage = Some(usage);
        }
    }

    /// The event that ends a stream says the status by its name, also where its response does not.
    pub(super) fn end(&mut self, event: &str) {
        let is_open = matches!(self.status.as_deref(), None | Some("queued" | "in_progress"));
        if is_open && event != "done" {
            self.status = Some(event.to_owned());
        }
    }

    fn finish_reason(&self, calls: bool) -> Option<FinishReason> {
        Some(match (self.status.as_deref()?, self.reason.as_deref()) {
            ("completed", _) if calls => FinishReason::ToolCalls,
            ("completed", _) => FinishReason::Stop,
            ("incomplete", Some("max_output_tokens" | "max_tokens" | "length")) => FinishReason::Length,
            ("incomplete", Some("content_filter")) => FinishReason::ContentFilter,
            ("failed", _) => FinishReason::Error,
            ("queued" | "in_progress", _) => return None,
            _ => FinishReason::Other,
        })
    }

    /// Writes the response with its output.
    pub(super) fn finish(self, output: Output, dialect: Dialect) -> ParsedResponse {
        let mut parsed = ParsedResponse::default();
        let (response, extension) = (&mut parsed.response, &mut parsed.extension);
        response.finish_reason = self.finish_reason(!output.calls.is_empty());
        let is_over = !matches!(self.status.as_deref(), None | Some("queued" | "in_progress" | "failed"));
        common::set_text(extension, "status", self.status.clone());
        if response.finish_reason.is_some() {
            common::set_text(extension, "finish_reason", self.reason.or(self.status));
        }
        response.provider_request_id.clone_from(&self.id);
        response.model = self.model.map(|id| Model { id });
        response.error = self.error;
        common::set_text(extension, "response_id", self.id);
        common::set_text(extension, "service_tier", self.service_tier);
        common::set_text(extension, "previous_response_id", self.previous);
        common::set_text(extension, "conversation_id", self.conversation);
        common::set_text(extension, "upstream_provider", self.upstream);
        if let Some(used) = self.tool_usage {
            extension.insert("tool_usage".to_owned(), common::bounded(used));
        }
        if self.background == Some(true) {
            extension.insert("background".to_owned(), true.into());
        }
        if let Some(usage) = self.usage {
            // Output includes reasoning here, also at services whose chat interface excludes it.
            let dialect = Dialect { completion_excludes_reasoning: false, ..dialect };
            response.usage = usage::normalise(&usage, dialect, extension);
            extension.insert("usage".to_owned(), usage);
        }
        if is_over || output.has_items {
            let (message, parts) = output.content.into_message(Role::Assistant);
            let finish_reason = response.finish_reason;
            response.choices.push(Choice { index: 0, message: Some(message), finish_reason });
            response.tool_calls_count = Some(output.calls.len() as u64);
            response.tool_calls = output.calls;
            common::set_array(extension, "parts", parts);
        }
        common::set_array(extension, "reasoning", output.reasoning);
        common::set_array(extension, "refusal", output.refusals);
        common::set_array(extension, "server_tool_calls", output.server_calls);
        if !output.annotations.is_empty() {
            extension.insert("citations".to_owned(), output.annotations.len().into());
        }
        common::set_array(extension, "annotations", output.annotations);
        parsed
    }
}

/// The items of an output, read.
#[derive(Debug, Default)]
pub(super) struct Output {
    pub(super) has_items: bool,
    pub(super) content: Content,
    pub(super) reasoning: Vec<Value>,
    pub(super) refusals: Vec<Value>,
    pub(super) calls: Vec<ToolCall>,
    server_calls: Vec<Value>,
    annotations: Vec<Value>,
}

impl Output {
    pub(super) fn push(&mut self, item: Value) {
        self.has_items = true;
        let kind = text(&item, "type").unwrap_or_default();
        match kind {
            // A compaction gives back what others said as well.
            "message" if matches!(text(&item, "role"), None | Some("assistant")) => self.message(item),
            "reasoning" => self.reasoning(item),
            _ if is_client_call(&item) => self.calls.push(tool_call(item)),
            "image_generation_call" => {
                let format = text(&item, "output_format").unwrap_or_default();
                self.content.push_image(json!({
                    "type": "image",
                    "media_type": if format.is_empty() { String::new() } else { format!("image/{format}") },
                    "encoded_bytes": text(&item, "result").map_or(0, str::len),
                }));
                self.server_calls.push(server_call(&item));
            }
            "mcp_list_tools" | "mcp_approval_request" => self.server_calls.push(server_call(&item)),
            _ if kind.ends_with("_call") || kind.ends_with("_call_output") => {
                self.server_calls.push(server_call(&item));
            }
            _ => self.content.push_part(common::describe_part(&item)),
        }
    }

    /// Takes over another's items, whose text is kept apart.
    pub(super) fn append(&mut self, mut other: Self) {
        self.has_items |= other.has_items;
        other.content.take_text();
        self.content.append_parts(other.content);
        self.calls.extend(other.calls);
        self.server_calls.extend(other.server_calls);
        self.annotations.extend(other.annotations);
    }

    fn message(&mut self, item: Value) {
        for mut part in take_array(&mut into_object(item), "content").unwrap_or_default() {
            match text(&part, "type") {
                Some("refusal") => {
                    if let Some(refusal) = owned_text(&part, "refusal") {
                        self.refusals.push(json!({ "choice": 0, "text": refusal }));
                    }
                }
                // Of a stream, which has told of the sound by itself.
                Some("output_audio" | "audio") if part.get("audio").is_none_or(Value::is_null) => {
                    let transcript = part.get_mut("transcript").map(Value::take).and_then(into_text);
                    transcript.into_iter().for_each(|text| self.content.push_owned_text(text));
                }
                _ => {
                    let annotations = part.get_mut("annotations").map(Value::take);
                    for annotation in annotations.iter().filter_map(Value::as_array).flatten() {
                        self.annotations.push(describe_annotation(annotation));
                    }
                    push_content(&mut self.content, Value::Array(vec![part]));
                }
            }
        }
    }

    fn reasoning(&mut self, item: Value) {
        let mut item = into_object(item);
        let mut told = BTreeSet::new();
        for key in ["summary", "content"] {
            for part in take_array(&mut item, key).unwrap_or_default() {
                // Some services give the same text under both names.
                if let Some(text) = owned_text(&part, "text")
                    && told.insert(text.clone())
                {
                    self.reasoning.push(json!({ "choice": 0, "text": text }));
                }
            }
        }
        if let Some(encrypted) = item.get("encrypted_content").and_then(Value::as_str) {
            self.content.push_part(json!({ "type": "reasoning", "encrypted_bytes": encrypted.len() }));
        }
    }
}

/// Whether the client is to execute the call that an item is.
pub(super) fn is_client_call(item: &Value) -> bool {
    match text(item, "type") {
        // xAI searches X by tools of its own that have this form.
        Some("custom_tool_call") => !text(item, "call_id").is_some_and(|id| id.starts_with("xs_call_")),
        Some("function_call" | "computer_call" | "local_shell_call" | "apply_patch_call") => true,
        Some("shell_call") => !item
            .get("environment")
            .and_then(|environment| text(environment, "type"))
            .is_some_and(|kind| kind.starts_with("container")),
        Some("tool_search_call") => text(item, "execution") == Some("client"),
        _ => false,
    }
}

/// A call that the client is to execute.
pub(super) fn tool_call(item: Value) -> ToolCall {
    let mut item = into_object(item);
    let call_type = take_text(&mut item, "type");
    // Tools of the service's own have no other name than their kind.
    let kind = call_type.as_deref().and_then(|kind| kind.strip_suffix("_call")).map(str::to_owned);
    let arguments = ["arguments", "input", "action", "actions", "operation"];
    ToolCall {
        id: ["call_id", "id"].iter().find_map(|key| take_text(&mut item, key).filter(|id| !id.is_empty())),
        name: take_text(&mut item, "name").or(kind),
        call_type,
        arguments: arguments.iter().find_map(|key| item.get_mut(*key).map(Value::take).and_then(into_text)),
        arguments_hash: None,
    }
}

/// A call that the service executed itself, or what belongs to one. Of long results the size is told.
fn server_call(item: &Value) -> Value {
    let mut call = Map::new();
    for key in ["type", "id", "call_id", "status", "name", "server_label"] {
        common::set_text(&mut call, key, owned_text(item, key));
    }
    let arguments = match item.get("action").and_then(Value::as_object) {
        Some(action) => {
            let asked: Map<String, Value> = action
                .iter()
                .filter(|(key, _)| *key != "sources")
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect();
            Some(Value::Object(asked).to_string())
        }
        None => {
            ["arguments", "input", "code", "queries"].iter().find_map(|key| item.get(*key).and_then(as_text))
        }
    };
    common::set_text(&mut call, "arguments", arguments);
    // What an image is made by, in the model's words.
    common::set_text(&mut call, "revised_prompt", owned_text(item, "revised_prompt"));
    common::set_text(&mut call, "error", item.get("error").and_then(as_text));
    let outputs = ["output", "outputs", "results", "result"];
    if let Some(output) = outputs.iter().find_map(|key| item.get(*key).and_then(as_text)) {
        call.insert("output_bytes".to_owned(), output.len().into());
        // What a tool gave is told as that of the client's own tools is; of what is long, only how long.
        if matches!(text(item, "type"), Some("mcp_call" | "code_interpreter_call" | "shell_call_output"))
            && output.len() <= common::LARGEST
        {
            call.insert("output".to_owned(), output.into());
        }
    }
    if let Some(tools) = item.get("tools").and_then(Value::as_array) {
        let names = tools.iter().filter_map(|tool| owned_text(tool, "name").map(Value::String)).collect();
        call.insert("tools".to_owned(), Value::Array(names));
    }
    Value::Object(call)
}

fn describe_annotation(annotation: &Value) -> Value {
    let mut described = Map::new();
    for key in ["type", "title", "file_id", "filename"] {
        common::set_text(&mut described, key, owned_text(annotation, key));
    }
    common::set_text(&mut described, "url", text(annotation, "url").map(crate::json::bare_url));
    Value::Object(described)
}
