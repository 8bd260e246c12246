//! An event told in a few lines, for a person at a terminal. Takes redacted events only.

use std::fmt::Write as _;

use oisp_event::{AgentSession, AiRequest, AiResponse, Event, Message, Payload, SessionAction, ToolCall};
use oisp_redact::Redacted;
use serde_json::Value;

/// Characters of a text that are shown.
const EXCERPT: usize = 160;

/// The lines for an event; none for events that are not calls.
pub(crate) fn tell(event: &Redacted<Event>) -> Option<String> {
    let mut text = String::new();
    match &event.payload {
        Payload::AiRequest(request) => {
            let process = event.process.as_ref();
            let name = process.and_then(|process| process.name.as_deref()).unwrap_or("?");
            let pid = process.map_or(0, |process| process.pid);
            line(&mut text, &format!("→ {} by {name} (pid {pid})", what(request)));
            tell_request(&mut text, request);
        }
        Payload::AiResponse(response) => tell_response(&mut text, response),
        // Told with the request and the response that they belong to.
        Payload::AiStreamingChunk(_)
        | Payload::AiEmbedding(_)
        | Payload::AgentToolCall(_)
        | Payload::AgentToolResult(_) => return None,
        Payload::AgentSession(session) => line(&mut text, &tell_session(session, event)),
        Payload::ProcessExec(_) | Payload::ProcessExit(_) => return None,
    }
    if event.confidence.completeness == oisp_event::Completeness::Partial {
        line(&mut text, &format!("    incomplete: {}", event.confidence.reasons.join(", ")));
    }
    Some(text)
}

fn tell_session(session: &AgentSession, event: &Event) -> String {
    let mcp = event.ext.oisp_sensor.get("mcp");
    let server = mcp.and_then(|mcp| mcp["server"]["name"].as_str()).unwrap_or("a server");
    let transport = mcp.and_then(|mcp| mcp["transport"].as_str()).unwrap_or("?");
    match session.action {
        SessionAction::Start => format!("⇄ MCP session with {server} ({transport})"),
        SessionAction::End => {
            let calls = session.stats.as_ref().and_then(|stats| stats.tool_calls).unwrap_or(0);
            format!("⇄ end of MCP session with {server}: {calls} tool calls")
        }
    }
}

fn what(request: &AiRequest) -> String {
    let endpoint = request.provider.endpoint.as_deref().unwrap_or("an unknown endpoint");
    match &request.model {
        Some(model) => format!("{} at {endpoint}", model.id),
        None => endpoint.to_owned(),
    }
}

fn tell_request(text: &mut String, request: &AiRequest) {
    for message in &request.messages {
        tell_message(text, message);
    }
    if !request.tools.is_empty() {
        let names: Vec<&str> = request.tools.iter().filter_map(|tool| tool.name.as_deref()).collect();
        line(text, &format!("    tools offered: {}", names.join(", ")));
    }
}

fn tell_response(text: &mut String, response: &AiResponse) {
    let status = response.status_code.map_or(String::new(), |status| format!("{status} "));
    let model = response.model.as_ref().map_or("an answer", |model| model.id.as_str());
    let mut facts = Vec::new();
    if let Some(usage) = &response.usage {
        if let (Some(input), Some(output)) = (usage.prompt_tokens, usage.completion_tokens) {
            facts.push(format!("{input} tokens in, {output} out"));
        }
        if let Some(cost) = usage.total_cost_usd {
            facts.push(format!("${cost:.6}"));
        }
    }
    if let Some(latency) = response.latency_ms {
        facts.push(format!("{latency} ms"));
    }
    if let Some(first) = response.time_to_first_token_ms {
        facts.push(format!("first token after {first} ms"));
    }
    line(text, &format!("← {status}{model}: {}", facts.join(", ")));
    if let Some(error) = &response.error {
        line(text, &format!("    error: {}", excerpt(error.message.as_deref().unwrap_or("without a text"))));
    }
    for message in response.choices.iter().filter_map(|choice| choice.message.as_ref()) {
        tell_message(text, message);
    }
    for ToolCall { name, arguments, .. } in &response.tool_calls {
        let name = name.as_deref().unwrap_or("?");
        line(text, &format!("    tool call: {name}({})", excerpt(arguments.as_deref().unwrap_or(""))));
    }
}

fn tell_message(text: &mut String, message: &Message) {
    let role = format!("{:?}", message.role).to_lowercase();
    match &message.content {
        Some(Value::String(content)) if content.is_empty() => {}
        Some(Value::String(content)) => line(text, &format!("    {role}: {}", excerpt(content))),
        Some(_) => line(text, &format!("    {role}: (not kept)")),
        None => {}
    }
}

/// The beginning of a text in one line, without anything that a terminal would act on.
fn excerpt(text: &str) -> String {
    let mut shown: String = text
        .chars()
        .take(EXCERPT)
        .map(|character| if character.is_control() { ' ' } else { character })
        .collect();
    if text.chars().nth(EXCERPT).is_some() {
        shown.push('…');
    }
    shown
}

fn line(text: &mut String, line: &str) {
    // Writing to a string cannot fail.
    let _ =
        writeln!(text, "{}", line.chars().filter(|character| !character.is_control()).collect::<String>());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn excerpt_is_one_short_line_that_no_terminal_acts_on() {
        assert_eq!(excerpt("a\n\u{1b}[31mb"), "a  [31mb");
        let long = excerpt(&"ä".repeat(500));
        assert_eq!(long.chars().count(), EXCERPT + 1);
    }
}
