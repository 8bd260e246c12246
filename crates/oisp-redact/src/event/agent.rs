//! Tool calls and their results.

use oisp_event::{AgentToolCall, AgentToolResult, Tool};
use serde_json::Value;

use super::Redact;
use super::ai::redact_content;
use crate::redactor::Scrubber;

impl Redact for AgentToolCall {
    fn redact(&mut self, scrub: &mut Scrubber<'_>) {
        let Self { tool, call_id, triggered_by: _, arguments, arguments_hash } = self;
        tool.redact(scrub);
        scrub.optional_label(call_id);
        let mut content = arguments.take().map(Value::Object);
        redact_content(&mut content, arguments_hash, None, scrub);
        // An object stays one, whatever is done to it.
        *arguments = match content {
            Some(Value::Object(map)) => Some(map),
            _ => None,
        };
    }
}

impl Redact for AgentToolResult {
    fn redact(&mut self, scrub: &mut Scrubber<'_>) {
        let Self {
            tool,
            call_id,
            success: _,
            error,
            result,
            result_hash,
            result_size_bytes: _,
            duration_ms: _,
        } = self;
        tool.redact(scrub);
        scrub.label(call_id);
        error.redact(scrub);
        redact_content(result, result_hash, None, scrub);
    }
}

impl Redact for Tool {
    fn redact(&mut self, scrub: &mut Scrubber<'_>) {
        let Self { name, category: _, provider, server } = self;
        scrub.hidden_text(name);
        scrub.optional_label(provider);
        scrub.hidden_text(server);
    }
}
