//! Anthropic's messages.

use serde_json::{Value, json};

use super::http::quoted;
use super::plan::{CallPlan, SYSTEM, TOOLS};

pub(super) fn request(plan: &CallPlan) -> Value {
    let tools: Vec<Value> = TOOLS
        .iter()
        .map(|(name, description)| {
            json!({ "name": name, "description": description, "input_schema": { "type": "object" } })
        })
        .collect();
    json!({
        "model": plan.model,
        "max_tokens": 8192,
        "system": SYSTEM,
        "messages": [{ "role": "user", "content": plan.prompt() }],
        "stream": plan.streamed,
        "tools": tools,
    })
}

pub(super) fn whole(plan: &CallPlan) -> Value {
    let mut content = vec![json!({ "type": "text", "text": plan.answer().piece(u64::MAX) })];
    content.extend(plan.tools().iter().map(|tool| {
        let input: Value = serde_json::from_str(&tool.arguments).unwrap_or_default();
        json!({ "type": "tool_use", "id": tool.id, "name": tool.name, "input": input })
    }));
    json!({
        "id": plan.response_id(),
        "type": "message",
        "role": "assistant",
        "model": plan.model,
        "content": content,
        "stop_reason": plan.finish_reason(),
        "stop_sequence": null,
        "usage": { "input_tokens": plan.input_tokens(), "output_tokens": plan.output_tokens() },
    })
}

pub(super) fn stream_begin(plan: &CallPlan) -> Vec<String> {
    let message = json!({
        "id": plan.response_id(), "type": "message", "role": "assistant", "model": plan.model, "content": [],
        "stop_reason": null, "stop_sequence": null,
        "usage": { "input_tokens": plan.input_tokens(), "output_tokens": 1 },
    });
    vec![
        event(&json!({ "type": "message_start", "message": message })),
        event(
            &json!({ "type": "content_block_start", "index": 0, "content_block": { "type": "text", "text": "" } }),
        ),
        event(&json!({ "type": "ping" })),
    ]
}

pub(super) fn stream_text(text: &str) -> String {
    format!(
        "event: content_block_delta\ndata: {{\"type\":\"content_block_delta\",\"index\":0,\
         \"delta\":{{\"type\":\"text_delta\",\"text\":{}}}}}\n\n",
        quoted(text)
    )
}

pub(super) fn stream_end(plan: &CallPlan) -> Vec<String> {
    let mut events = vec![event(&json!({ "type": "content_block_stop", "index": 0 }))];
    for (index, tool) in (1..).zip(plan.tools()) {
        let block = json!({ "type": "tool_use", "id": tool.id, "name": tool.name, "input": {} });
        events.push(event(&json!({ "type": "content_block_start", "index": index, "content_block": block })));
        let delta = json!({ "type": "input_json_delta", "partial_json": tool.arguments });
        events.push(event(&json!({ "type": "content_block_delta", "index": index, "delta": delta })));
        events.push(event(&json!({ "type": "content_block_stop", "index": index })));
    }
    events.push(event(&json!({
        "type": "message_delta",
        "delta": { "stop_reason": plan.finish_reason(), "stop_sequence": null },
        "usage": { "output_tokens": plan.output_tokens() },
    })));
    events.push(event(&json!({ "type": "message_stop" })));
    events
}

fn event(data: &Value) -> String {
    let name = data["type"].as_str().unwrap_or_default();
    format!("event: {name}\ndata: {data}\n\n")
}
