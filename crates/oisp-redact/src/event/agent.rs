//! Tool calls and their results, sessions.

use oisp_event::{AgentInfo, AgentSession, AgentToolCall, AgentToolResult, SessionStats, Tool};
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
        let Self { name, category: _, provider, server, description } = self;
        scrub.hidden_text(name);
        scrub.optional_label(provider);
        scrub.hidden_text(server);
        scrub.hidden_text(description);
    }
}

impl Redact for AgentSession {
    fn redact(&mut self, scrub: &mut Scrubber<'_>) {
        let Self { agent, action: _, session_id, duration_ms: _, stats } = self;
        agent.redact(scrub);
        // The sensor's own, never the one that opens the session.
        scrub.optional_label(session_id);
        stats.redact(scrub);
    }
}

impl Redact for AgentInfo {
    fn redact(&mut self, scrub: &mut Scrubber<'_>) {
        let Self { name, version } = self;
        scrub.hidden_text(name);
        scrub.hidden_text(version);
    }
}

impl Redact for SessionStats {
    fn redact(&mut self, _: &mut Scrubber<'_>) {
        let Self { tool_calls: _ } = self;
    }
}
