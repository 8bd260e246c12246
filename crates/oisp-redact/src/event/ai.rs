//! AI requests and responses.

use oisp_event::{
    AiEmbedding, AiRequest, AiResponse, AiStreamingChunk, Auth, Choice, Credential, Delta, ErrorInfo,
    Message, Model, Parameters, Provider, Role, ToolCall, ToolDefinition, Usage,
};
use serde_json::{Value, json};

use super::Redact;
use crate::detect::{fixed_part, fixed_part_of_prefix, strip_scheme};
use crate::json::redact_value;
use crate::redactor::Scrubber;

impl Redact for AiRequest {
    fn redact(&mut self, scrub: &mut Scrubber<'_>) {
        let Self {
            request_id,
            conversation_id,
            provider,
            model,
            auth,
            request_type: _,
            streaming: _,
            messages,
            messages_count: _,
            has_system_prompt: _,
            system_prompt_hash,
            tools,
            tools_count,
            tool_choice,
            parameters,
            has_images: _,
            image_count: _,
        } = self;
        scrub.label(request_id);
        scrub.optional_label(conversation_id);
        provider.redact(scrub);
        model.redact(scrub);
        auth.redact(scrub);
        let prompt = system_prompt(messages);
        scrub.set_hash(system_prompt_hash, prompt.as_deref());
        messages.redact(scrub);
        if scrub.hides_content() && !tools.is_empty() {
            tools_count.get_or_insert(tools.len() as u64);
            tools.clear();
            scrub.changed = true;
        }
        tools.redact(scrub);
        // A choice of one tool names it.
        let general = matches!(tool_choice.as_deref(), Some("auto" | "none" | "required" | "any"));
        if !general {
            scrub.hidden_text(tool_choice);
        }
        parameters.redact(scrub);
    }
}

/// The texts of all system messages, joined by line breaks.
fn system_prompt(messages: &[Message]) -> Option<String> {
    let texts: Vec<&str> = messages
        .iter()
        .filter(|message| message.role == Role::System)
        .filter_map(|message| message.content.as_ref()?.as_str())
        .collect();
    (!texts.is_empty()).then(|| texts.join("\n"))
}

impl Redact for AiResponse {
    fn redact(&mut self, scrub: &mut Scrubber<'_>) {
        let Self {
            request_id,
            conversation_id,
            provider_request_id,
            provider,
            model,
            status_code: _,
            success: _,
            error,
            choices,
            tool_calls,
            tool_calls_count: _,
            usage,
            latency_ms: _,
            time_to_first_token_ms: _,
            finish_reason: _,
        } = self;
        scrub.label(request_id);
        scrub.optional_label(conversation_id);
        scrub.optional_label(provider_request_id);
        provider.redact(scrub);
        model.redact(scrub);
        error.redact(scrub);
        choices.redact(scrub);
        tool_calls.redact(scrub);
        usage.redact(scrub);
    }
}

impl Redact for AiStreamingChunk {
    fn redact(&mut self, scrub: &mut Scrubber<'_>) {
        let Self { request_id, chunk_index: _, delta, finish_reason: _ } = self;
        scrub.label(request_id);
        delta.redact(scrub);
    }
}

/// Without the text before it nobody can tell whether a piece is part of a secret: what did not go through
/// [`ChunkRedaction`](crate::ChunkRedaction), which puts its text in afterwards, loses it.
impl Redact for Delta {
    fn redact(&mut self, scrub: &mut Scrubber<'_>) {
        let Self { content, role: _, tool_calls } = self;
        if !scrub.redacted_before {
            scrub.changed |= content.take().is_some();
            for call in tool_calls.iter_mut() {
                scrub.changed |= call.arguments.take().is_some();
            }
        }
        scrub.hidden_text(content);
        tool_calls.redact(scrub);
    }
}

impl Redact for AiEmbedding {
    fn redact(&mut self, scrub: &mut Scrubber<'_>) {
        let Self { provider, model, input_count: _, total_tokens: _, dimensions: _, latency_ms: _ } = self;
        provider.redact(scrub);
        model.redact(scrub);
    }
}

impl Redact for Provider {
    fn redact(&mut self, scrub: &mut Scrubber<'_>) {
        let Self { name: _, endpoint, region, organization_id, project_id } = self;
        if let Some(endpoint) = endpoint {
            scrub.url(endpoint);
        }
        scrub.optional_label(region);
        scrub.optional_label(organization_id);
        scrub.optional_label(project_id);
    }
}

impl Redact for Model {
    fn redact(&mut self, scrub: &mut Scrubber<'_>) {
        let Self { id } = self;
        scrub.label(id);
    }
}

impl Redact for Auth {
    fn redact(&mut self, scrub: &mut Scrubber<'_>) {
        let Self { auth_type: _, account_type: _, key_prefix, key_hash, credential } = self;
        // Taken out in every mode; a hash is all that is ever known of it.
        let credential = credential.take().map(|Credential(text)| text);
        let secret = credential.as_deref().map(strip_scheme);
        // Only what every key of the scheme starts with: nothing of this one.
        let prefix = match secret {
            Some(secret) => fixed_part(secret),
            None => key_prefix.as_deref().and_then(fixed_part_of_prefix),
        };
        if key_prefix.as_deref() != prefix {
            *key_prefix = prefix.map(str::to_owned);
        }
        scrub.set_hash(key_hash, secret);
    }
}

impl Redact for Message {
    fn redact(&mut self, scrub: &mut Scrubber<'_>) {
        let Self {
            role: _,
            content,
            content_hash,
            content_length,
            has_images: _,
            image_count: _,
            tool_call_id,
            name,
        } = self;
        redact_content(content, content_hash, *content_length, scrub);
        scrub.optional_label(tool_call_id);
        scrub.hidden_text(name);
    }
}

/// Redacts what somebody wrote, a text or something else; `length` is its length in characters where that is known.
pub(super) fn redact_content(
    content: &mut Option<Value>,
    content_hash: &mut Option<String>,
    length: Option<u64>,
    scrub: &mut Scrubber<'_>,
) {
    // A text's own hash; the JSON text of anything else.
    let other = match content {
        None | Some(Value::String(_)) => None,
        Some(other) => Some(other.to_string()),
    };
    let text = content.as_ref().and_then(Value::as_str).or(other.as_deref());
    scrub.set_hash(content_hash, text);
    let length = length.unwrap_or_else(|| text.map_or(0, |text| text.chars().count() as u64));
    if scrub.hides_content() {
        if let Some(value) = content
            && !(scrub.redacted_before && is_redacted(value))
        {
            *value = json!({"$redacted": {
                "reason": "policy",
                "original_length": length,
                "hash": content_hash,
                "redaction_profile": scrub.mode().name(),
            }});
            scrub.changed = true;
        }
    } else {
        match content {
            Some(Value::String(text)) => scrub.label(text),
            Some(other) => redact_value(other, scrub),
            None => {}
        }
    }
}

/// Whether `minimal` has been here: an object with nothing but the fields that it writes.
fn is_redacted(value: &Value) -> bool {
    let Some(marker) = value.get("$redacted").and_then(Value::as_object) else { return false };
    let digits = |hash: &str| {
        hash.strip_prefix("hmac-sha256:")
            .is_some_and(|digits| digits.len() == 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
    };
    value.as_object().is_some_and(|object| object.len() == 1)
        && marker.iter().all(|(key, value)| match key.as_str() {
            "reason" => value == "policy",
            "original_length" => value.is_u64(),
            "hash" => value.as_str().is_some_and(digits),
            "redaction_profile" => value == "minimal",
            _ => false,
        })
}

impl Redact for ToolDefinition {
    fn redact(&mut self, scrub: &mut Scrubber<'_>) {
        let Self { name, tool_type: _, description } = self;
        scrub.hidden_text(name);
        scrub.hidden_text(description);
    }
}

impl Redact for ToolCall {
    fn redact(&mut self, scrub: &mut Scrubber<'_>) {
        let Self { id, name, call_type, arguments, arguments_hash } = self;
        scrub.optional_label(id);
        scrub.hidden_text(name);
        scrub.optional_label(call_type);
        scrub.set_hash(arguments_hash, arguments.as_deref());
        scrub.hidden_text(arguments);
    }
}

impl Redact for Parameters {
    fn redact(&mut self, scrub: &mut Scrubber<'_>) {
        let Self { temperature: _, top_p: _, max_tokens: _, frequency_penalty: _, presence_penalty: _, stop } =
            self;
        scrub.hidden_texts(stop);
    }
}

impl Redact for ErrorInfo {
    fn redact(&mut self, scrub: &mut Scrubber<'_>) {
        let Self { error_type, message, code } = self;
        scrub.optional_label(error_type);
        // Providers quote what they were sent.
        scrub.hidden_text(message);
        scrub.optional_label(code);
    }
}

impl Redact for Choice {
    fn redact(&mut self, scrub: &mut Scrubber<'_>) {
        let Self { index: _, message, finish_reason: _ } = self;
        message.redact(scrub);
    }
}

impl Redact for Usage {
    fn redact(&mut self, _: &mut Scrubber<'_>) {
        // Numbers all of them.
        let Self {
            prompt_tokens: _,
            completion_tokens: _,
            total_tokens: _,
            cached_tokens: _,
            reasoning_tokens: _,
            input_cost_usd: _,
            output_cost_usd: _,
            total_cost_usd: _,
        } = self;
    }
}
