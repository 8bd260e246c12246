//! OpenAI's chat completions.

use serde_json::{Value, json};

use super::http::quoted;
use super::plan::{CallPlan, SYSTEM, TOOLS};

pub(super) fn request(plan: &CallPlan) -> Value {
    let tools: Vec<Value> = TOOLS
        .iter()
        .map(|(name, description)| {
            json!({ "type": "function",
                    "function": { "name": name, "description": description, "parameters": { "type": "object" } } })
        })
        .collect();
    let mut body = json!({
        "model": plan.model,
        "messages": [{ "role": "system", "content": SYSTEM }, { "role": "user", "content": plan.prompt() }],
        "stream": plan.streamed,
        "tools": tools,
    });
    if plan.streamed {
        body["stream_options"] = json!({ "include_usage": true });
    }
    body
}

pub(super) fn whole(plan: &CallPlan) -> Value {
    let mut message = json!({ "role": "assistant", "content": plan.answer().piece(u64::MAX) });
    if plan.tool_calls > 0 {
        message["tool_calls"] = plan
            .tools()
            .iter()
            .map(|tool| {
                json!({ "id": tool.id, "type": "function",
                        "function": { "name": tool.name, "arguments": tool.arguments } })
            })
            .collect();
    }
    json!({
        "id": plan.response_id(),
        "object": "chat.completion",
        "created": plan.created,
        "model": plan.model,
        "choices": [{ "index": 0, "message": message, "finish_reason": plan.finish_reason() }],
        "usage": usage(plan),
    })
}

pub(super) fn stream_begin(plan: &CallPlan) -> Vec<String> {
    vec![delta(plan, r#"{"role":"assistant","content":""}"#, "null")]
}

pub(super) fn stream_text(plan: &CallPlan, text: &str) -> String {
    delta(plan, &format!(r#"{{"content":{}}}"#, quoted(text)), "null")
}

pub(super) fn stream_end(plan: &CallPlan) -> Vec<String> {
    let mut events = Vec::new();
    for (index, tool) in plan.tools().iter().enumerate() {
        let call = |value: Value| delta(plan, &json!({ "tool_calls": [value] }).to_string(), "null");
        events.push(call(json!({ "index": index, "id": tool.id, "type": "function",
                                 "function": { "name": tool.name, "arguments": "" } })));
        let middle = tool.arguments.len() / 2;
        let middle = (middle..).find(|at| tool.arguments.is_char_boundary(*at)).unwrap_or_default();
        let (first, second) = tool.arguments.split_at(middle);
        for part in [first, second] {
            events.push(call(json!({ "index": index, "function": { "arguments": part } })));
        }
    }
    events.push(delta(plan, "{}", &quoted(plan.finish_reason())));
    let usage = json!({
        "id": plan.response_id(), "object": "chat.completion.chunk", "created": plan.created, "model": plan.model,
        "choices": [], "usage": usage(plan),
    });
    events.push(format!("data: {usage}\n\n"));
    events.push("data: [DONE]\n\n".to_owned());
    events
}

fn delta(plan: &CallPlan, delta: &str, finish: &str) -> String {
    format!(
        "data: {{\"id\":\"{}\",\"object\":\"chat.completion.chunk\",\"created\":{},\"model\":\"{}\",\
         \"choices\":[{{\"index\":0,\"delta\":{delta},\"finish_reason\":{finish}}}]}}\n\n",
        plan.response_id(),
        plan.created,
        plan.model,
    )
}

fn usage(plan: &CallPlan) -> Value {
    let (input, output) = (plan.input_tokens(), plan.output_tokens());
    json!({ "prompt_tokens": input, "completion_tokens": output, "total_tokens": input + output })
}
