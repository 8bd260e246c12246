//! OpenAI responses: requests, answers, streams.

#![expect(clippy::unwrap_used, reason = "a failing helper fails its test")]

mod common;

use common::{Exchange, Piece, content, data};
use oisp_ai::AiAnswer;
use oisp_event::{FinishReason, Level, ProviderName, RequestType, Role, ToolType, Usage};
use serde_json::{Value, json};

const HOST: &str = "api.openai.com";
const PATH: &str = "/v1/responses";

fn ask() -> Exchange {
    Exchange::post(HOST, PATH, &json!({ "model": "gpt-5", "input": "hi", "stream": true }))
}

/// Events of a stream, numbered.
fn numbered(events: &[Value]) -> Vec<Value> {
    let numbered = events.iter().enumerate().map(|(number, event)| {
        let mut event = event.clone();
        event["sequence_number"] = number.into();
        event
    });
    numbered.collect()
}

fn items() -> Value {
    json!([
        { "id": "rs_1", "type": "reasoning", "summary": [
            { "type": "summary_text", "text": "first" }, { "type": "summary_text", "text": "second" },
        ], "encrypted_content": "xxxx" },
        { "id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": [
            { "type": "output_text", "text": "Hello", "annotations": [
                { "type": "url_citation", "url": "https://site.example/x?key=SECRET", "title": "t" },
            ] },
            { "type": "refusal", "refusal": "not that" },
        ] },
        { "id": "fc_1", "type": "function_call", "call_id": "call_1", "name": "f", "arguments": "{\"a\":1}" },
        { "id": "fc_2", "type": "function_call", "call_id": "call_2", "name": "g", "arguments": "{\"b\":2}" },
        { "id": "ct_1", "type": "custom_tool_call", "call_id": "call_3", "name": "apply_patch", "input": "*** Begin" },
    ])
}

fn usage() -> Value {
    json!({
        "input_tokens": 10, "input_tokens_details": { "cached_tokens": 4, "cache_write_tokens": 2 },
        "output_tokens": 5, "output_tokens_details": { "reasoning_tokens": 3 }, "total_tokens": 15,
    })
}

fn response(status: &str, output: &Value) -> Value {
    json!({
        "id": "resp_1", "object": "response", "model": "gpt-5-2025", "status": status, "error": null,
        "incomplete_details": null, "output": output, "service_tier": "default",
        "previous_response_id": "resp_0", "conversation": { "id": "conv_1" }, "usage": usage(),
    })
}

/// The stream of `items()`, up to but without its last event.
fn stream() -> Vec<Value> {
    let added = |place: u64, item: Value| json!({ "type": "response.output_item.added", "output_index": place, "item": item });
    let call = |place: u64, kind: &str, id: &str, call: &str, name: &str| {
        let key = if kind == "function_call" { "arguments" } else { "input" };
        added(place, json!({ "id": id, "type": kind, "call_id": call, "name": name, key: "" }))
    };
    let summary = |index: u64, text: &str| {
        json!({ "type": "response.reasoning_summary_text.delta", "item_id": "rs_1", "output_index": 0,
                "summary_index": index, "delta": text })
    };
    let arguments = |place: u64, text: &str| json!({ "type": "response.function_call_arguments.delta", "output_index": place, "delta": text });
    let part = |index: u64, part: Value| json!({ "type": "response.content_part.added", "output_index": 1, "content_index": index, "part": part });
    let text = |kind: &str, index: u64, text: &str| json!({ "type": format!("response.{kind}.delta"), "output_index": 1, "content_index": index, "delta": text });
    numbered(&[
        json!({ "type": "response.created", "response": {
            "id": "resp_1", "object": "response", "model": "gpt-5-2025", "status": "in_progress", "output": [], "usage": null,
        } }),
        added(0, json!({ "id": "rs_1", "type": "reasoning", "summary": [], "encrypted_content": "xxxx" })),
        summary(0, "fi"),
        summary(0, "rst"),
        summary(1, "second"),
        added(1, json!({ "id": "msg_1", "type": "message", "role": "assistant", "content": [] })),
        part(0, json!({ "type": "output_text", "text": "", "annotations": [] })),
        text("output_text", 0, "Hel"),
        text("output_text", 0, "lo"),
        json!({ "type": "response.output_text.annotation.added", "output_index": 1, "content_index": 0,
                "annotation": { "type": "url_citation", "url": "https://site.example/x?key=SECRET", "title": "t" } }),
        part(1, json!({ "type": "refusal", "refusal": "" })),
        text("refusal", 1, "not that"),
        call(2, "function_call", "fc_1", "call_1", "f"),
        call(3, "function_call", "fc_2", "call_2", "g"),
        arguments(2, "{\"a\""),
        arguments(3, "{\"b\":"),
        arguments(2, ":1}"),
        arguments(3, "2}"),
        call(4, "custom_tool_call", "ct_1", "call_3", "apply_patch"),
        json!({ "type": "response.custom_tool_call_input.delta", "output_index": 4, "delta": "*** " }),
        json!({ "type": "response.custom_tool_call_input.delta", "output_index": 4, "delta": "Begin" }),
    ])
}

fn texts(answer: &AiAnswer, key: &str) -> Vec<String> {
    let list = answer.extension.get(key).and_then(Value::as_array).into_iter().flatten();
    list.filter_map(|entry| entry["text"].as_str().map(str::to_owned)).collect()
}

fn says_the_items(answer: &AiAnswer) {
    assert_eq!(content(answer), Some("Hello"));
    assert_eq!(texts(answer, "reasoning"), ["first", "second"]);
    assert_eq!(texts(answer, "refusal"), ["not that"]);
    let calls: Vec<_> = answer
        .response
        .tool_calls
        .iter()
        .map(|call| {
            [&call.id, &call.name, &call.call_type, &call.arguments].map(|text| text.clone().unwrap())
        })
        .collect();
    assert_eq!(
        calls,
        [
            ["call_1", "f", "function_call", "{\"a\":1}"],
            ["call_2", "g", "function_call", "{\"b\":2}"],
            ["call_3", "apply_patch", "custom_tool_call", "*** Begin"],
        ]
    );
    let extension = &answer.extension;
    assert_eq!(extension["citations"], 1);
    assert_eq!(
        extension["annotations"],
        json!([{ "type": "url_citation", "url": "https://site.example/x", "title": "t" }])
    );
    assert!(
        extension["parts"]
            .as_array()
            .unwrap()
            .contains(&json!({ "type": "reasoning", "encrypted_bytes": 4 }))
    );
    assert_eq!(answer.response.model.as_ref().unwrap().id, "gpt-5-2025");
}

fn says_the_whole(answer: &AiAnswer) {
    says_the_items(answer);
    let response = &answer.response;
    assert_eq!(response.finish_reason, Some(FinishReason::ToolCalls));
    assert_eq!(
        response.usage,
        Some(Usage {
            prompt_tokens: Some(10),
            completion_tokens: Some(5),
            total_tokens: Some(15),
            cached_tokens: Some(4),
            reasoning_tokens: Some(3),
            ..Usage::default()
        })
    );
    for (key, value) in [
        ("status", json!("completed")),
        ("finish_reason", json!("completed")),
        ("response_id", json!("resp_1")),
        ("previous_response_id", json!("resp_0")),
        ("conversation_id", json!("conv_1")),
        ("service_tier", json!("default")),
        ("cache_write_tokens", json!(2)),
        ("usage", usage()),
        ("api_format", json!("openai_responses")),
    ] {
        assert_eq!(answer.extension[key], value, "{key}");
    }
    assert_eq!(response.success, Some(true));
    assert!(answer.findings.is_empty(), "{:?}", answer.findings);
}

#[test]
fn request_is_read_whole() {
    let call = Exchange::post(
        HOST,
        PATH,
        &json!({
            "model": "gpt-5",
            "instructions": "be kind",
            "input": [
                { "role": "developer", "content": "be brief" },
                { "type": "message", "role": "user", "content": [
                    { "type": "input_text", "text": "what" },
                    { "type": "input_image", "image_url": "data:image/png;base64,AAAA" },
                    { "type": "input_file", "filename": "a.pdf", "file_data": "AAAAAA" },
                    { "type": "input_text", "text": "is it" },
                ] },
                { "type": "reasoning", "id": "rs", "summary": [{ "type": "summary_text", "text": "hm" }], "encrypted_content": "xxx" },
                { "type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}" },
                { "type": "custom_tool_call", "call_id": "c2", "name": "g", "input": "raw" },
                { "type": "function_call_output", "call_id": "c1", "output": "2" },
                { "type": "custom_tool_call_output", "call_id": "c2", "output": [{ "type": "input_text", "text": "3" }] },
                { "type": "shell_call", "call_id": "c3", "action": { "commands": ["ls"] } },
                { "type": "shell_call_output", "call_id": "c3", "output": [{ "stdout": "x", "stderr": "", "outcome": { "type": "exit", "exit_code": 0 } }] },
                { "type": "computer_call_output", "call_id": "c4", "output": { "type": "computer_screenshot", "image_url": "data:image/png;base64,AA" } },
                { "type": "item_reference", "id": "msg_9" },
                { "role": "assistant", "content": [{ "type": "output_text", "text": "done" }] },
            ],
            "tools": [
                { "type": "function", "name": "f", "description": "does", "parameters": {} },
                { "type": "custom", "name": "g" },
                { "type": "web_search" },
                { "type": "mcp", "server_label": "wiki", "server_url": "https://mcp.example/sse?token=SECRET",
                  "authorization": "SECRET", "headers": { "x": "SECRET" }, "allowed_tools": ["a"] },
                { "type": "namespace", "name": "crm", "tools": [{ "type": "function", "name": "h" }] },
                { "type": "code_interpreter", "container": { "type": "auto" } },
            ],
            "tool_choice": "auto",
            "previous_response_id": "resp_0",
            "conversation": { "id": "conv_1" },
            "reasoning": { "effort": "high" },
            "text": { "format": { "type": "json_schema", "name": "s", "schema": {} } },
            "store": false,
            "background": true,
            "service_tier": "flex",
            "max_output_tokens": 7,
            "temperature": 0.5,
        }),
    )
    .call();
    let request = &call.request;
    assert_eq!(request.request_type, RequestType::Chat);
    assert_eq!(request.model.as_ref().unwrap().id, "gpt-5");
    assert_eq!(request.streaming, Some(false));
    let messages: Vec<_> = request
        .messages
        .iter()
        .map(|m| (m.role, m.content.clone().unwrap_or_default(), m.tool_call_id.as_deref()))
        .collect();
    assert_eq!(
        messages,
        [
            (Role::System, json!("be kind"), None),
            (Role::System, json!("be brief"), None),
            (Role::User, json!("what\nis it"), None),
            (Role::Assistant, json!(null), None),
            (Role::Tool, json!("2"), Some("c1")),
            (Role::Tool, json!("3"), Some("c2")),
            (Role::Assistant, json!(null), None),
            (Role::Tool, json!(null), Some("c3")),
            (Role::Tool, json!(null), Some("c4")),
            (Role::Assistant, json!("done"), None),
        ]
    );
    assert_eq!(request.image_count, Some(2));
    assert_eq!(request.has_system_prompt, Some(true));
    assert_eq!(request.tool_choice.as_deref(), Some("auto"));
    let tools: Vec<_> =
        request.tools.iter().map(|tool| (tool.name.as_deref(), tool.tool_type.unwrap())).collect();
    assert_eq!(
        tools,
        [
            (Some("f"), ToolType::Function),
            (Some("g"), ToolType::Other),
            (None, ToolType::Other),
            (Some("wiki"), ToolType::Other),
            (Some("crm"), ToolType::Other),
            (None, ToolType::CodeInterpreter),
        ]
    );
    let parameters = request.parameters.as_ref().unwrap();
    assert_eq!((parameters.max_tokens, parameters.temperature), (Some(7), Some(0.5)));
    let extension = &call.extension;
    assert_eq!(extension["tool_types"][2]["server_url"], "https://mcp.example/sse");
    assert_eq!(extension["tool_types"][3]["tools"], json!(["h"]));
    assert_eq!(
        (&extension["previous_response_id"], &extension["conversation_id"]),
        (&json!("resp_0"), &json!("conv_1"))
    );
    let names: Vec<_> = extension["message_tool_calls"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| (&c["message"], &c["name"]))
        .collect();
    assert_eq!(names, [(&json!(3), &json!("f")), (&json!(3), &json!("g")), (&json!(6), &json!("shell"))]);
    assert_eq!(extension["input_items"][0]["type"], "item_reference");
    assert_eq!(extension["parameters"]["text"]["format"]["type"], "json_schema");
    assert_eq!(extension["parameters"]["store"], false);
    assert!(call.findings.is_empty(), "{:?}", call.findings);
    let json = common::written(&oisp_ai::AiEvent::Request(Box::new(call))).to_string();
    assert!(!json.contains("SECRET"), "{json}");
}

#[test]
fn text_input_is_a_message_of_the_user() {
    let call = ask().call();
    assert_eq!(call.request.messages.len(), 1);
    assert_eq!((call.request.messages[0].role, call.request.streaming), (Role::User, Some(true)));
}

#[test]
fn answer_is_read_whole() {
    says_the_whole(&ask().json(&response("completed", &items())).answer());
}

#[test]
fn last_event_of_a_stream_gives_everything() {
    let end = json!({ "type": "response.completed", "sequence_number": 21, "response": response("completed", &items()) });
    let mut events = stream();
    events.push(end.clone());
    says_the_whole(&ask().sse(&events).answer());
    // Also where the events before it were never seen.
    says_the_whole(&ask().sse(&[end]).answer());
}

#[test]
fn last_event_without_an_output_leaves_what_the_others_said() {
    let mut events = stream();
    events.push(json!({ "type": "response.completed", "sequence_number": 21, "response": response("completed", &json!([])) }));
    says_the_whole(&ask().sse(&events).answer());
}

#[test]
fn stream_without_its_end_is_put_together_from_its_deltas_and_said_to_be_cut() {
    let answer = ask().sse(&stream()).answer();
    says_the_items(&answer);
    assert_eq!((answer.response.finish_reason, &answer.response.usage), (None, &None));
    assert_eq!(answer.findings.reasons, ["stream_ended_early"]);
    // Of the last call, which is no JSON, more might have come.
    assert_eq!(answer.extension["incomplete_tool_calls"], json!([2]));
}

#[test]
fn last_event_says_the_status_by_its_name() {
    let mut events = stream();
    events.push(
        json!({ "type": "response.completed", "sequence_number": 21, "response": { "usage": usage() } }),
    );
    let answer = ask().sse(&events).answer();
    says_the_items(&answer);
    assert_eq!(answer.response.finish_reason, Some(FinishReason::ToolCalls));
    assert!(answer.findings.is_empty(), "{:?}", answer.findings);
}

#[test]
fn items_that_come_whole_need_no_deltas() {
    let events: Vec<_> = items()
        .as_array()
        .unwrap()
        .iter()
        .enumerate()
        .map(|(place, item)| json!({ "type": "response.output_item.done", "output_index": place, "item": item }))
        .chain([json!({ "type": "response.completed", "response": response("completed", &json!([])) })])
        .collect();
    says_the_whole(&ask().sse(&events).answer());
}

#[test]
fn items_that_all_have_the_same_number_are_kept_apart() {
    let events: Vec<_> = items()
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|item| {
            ["added", "done"].map(|step| json!({ "type": format!("response.output_item.{step}"), "output_index": 0, "item": item }))
        })
        .chain([json!({ "type": "response.completed", "response": response("completed", &json!([])) })])
        .collect();
    says_the_whole(&ask().sse(&events).answer());
}

#[test]
fn nothing_is_joined_over_lost_bytes() {
    let events = stream();
    for lost in 1..events.len() {
        let pieces = events.iter().enumerate().map(|(at, event)| {
            let text = data(event);
            if at == lost { Piece::Gap(text.len() as u64) } else { Piece::from(text.as_str()) }
        });
        let answer = ask().sse_pieces(pieces.collect()).answer();
        not_spliced(&answer, lost);
        assert!(answer.findings.reasons.contains(&"bytes_lost".to_owned()), "{lost}");
    }
}

#[test]
fn nothing_is_joined_over_an_event_whose_number_is_missing() {
    for lost in 1..stream().len() - 1 {
        let mut events = stream();
        events.remove(lost);
        let answer = ask().sse(&events).answer();
        not_spliced(&answer, lost);
        assert_eq!(answer.extension["lost_events"], 1);
        assert!(answer.findings.reasons.contains(&"stream_events_lost".to_owned()));
    }
}

/// What is told as whole is a beginning of the whole; calls that are not whole are named.
fn not_spliced(answer: &AiAnswer, lost: usize) {
    if !answer.response.choices.is_empty() {
        assert!("Hello".starts_with(content(answer).unwrap_or_default()), "{lost}: {:?}", content(answer));
    }
    let reasoning = texts(answer, "reasoning");
    assert!(
        reasoning.iter().zip(["first", "second"]).all(|(ours, whole)| whole.starts_with(ours)),
        "{lost}: {reasoning:?}"
    );
    let incomplete = answer.extension.get("incomplete_tool_calls").cloned().unwrap_or(json!([]));
    let expected = [("f", "{\"a\":1}"), ("g", "{\"b\":2}"), ("apply_patch", "*** Begin")];
    for (number, call) in answer.response.tool_calls.iter().enumerate() {
        let said = (call.name.as_deref().unwrap_or_default(), call.arguments.as_deref().unwrap_or_default());
        let known = expected.contains(&said) || incomplete.as_array().unwrap().contains(&json!(number));
        assert!(known, "{lost}: {said:?} {incomplete}");
    }
}

#[test]
fn whole_last_event_heals_what_was_lost_before() {
    let mut events = stream();
    events.drain(7..9);
    events.push(json!({ "type": "response.completed", "sequence_number": 21, "response": response("completed", &items()) }));
    let answer = ask().sse(&events).answer();
    says_the_whole(&answer);
    // Some services leave numbers out.
    assert!(!answer.extension.contains_key("lost_events"));
}

#[test]
fn incomplete_and_failed_answers_say_why() {
    let mut cut = response(
        "incomplete",
        &json!([{ "type": "message", "role": "assistant", "content": [{ "type": "output_text", "text": "Hel" }] }]),
    );
    for (reason, finish) in
        [("max_output_tokens", FinishReason::Length), ("content_filter", FinishReason::ContentFilter)]
    {
        cut["incomplete_details"] = json!({ "reason": reason });
        for answer in [
            ask().json(&cut).answer(),
            ask().sse(&[json!({ "type": "response.incomplete", "response": cut })]).answer(),
        ] {
            assert_eq!(answer.response.finish_reason, Some(finish));
            assert_eq!(answer.extension["finish_reason"], reason);
            assert_eq!((content(&answer), answer.response.success), (Some("Hel"), Some(true)));
        }
    }
    let mut failed = response("failed", &json!([]));
    failed["error"] = json!({ "code": "server_error", "message": "oh" });
    for answer in [
        ask().json(&failed).answer(),
        ask().sse(&[json!({ "type": "response.failed", "response": failed })]).answer(),
    ] {
        let error = answer.response.error.as_ref().unwrap();
        assert_eq!((error.code.as_deref(), error.message.as_deref()), (Some("server_error"), Some("oh")));
        assert_eq!(
            (answer.response.success, answer.response.finish_reason),
            (Some(false), Some(FinishReason::Error))
        );
        assert!(answer.response.choices.is_empty());
    }
}

#[test]
fn errors_are_read_wherever_they_stand() {
    let error = json!({ "error": { "type": "invalid_request_error", "message": "bad", "code": "x" } });
    let refused = ask().status(400).json(&error).answer();
    let mut middle = stream()[..8].to_vec();
    middle
        .push(json!({ "type": "error", "code": "x", "message": "bad", "param": null, "sequence_number": 8 }));
    let streamed = ask().sse(&middle).answer();
    let mut nested = error.clone();
    nested["type"] = "error".into();
    let nested = ask().sse(&[nested]).answer();
    for answer in [&refused, &streamed, &nested] {
        let error = answer.response.error.as_ref().unwrap();
        assert_eq!((error.code.as_deref(), error.message.as_deref()), (Some("x"), Some("bad")));
        assert_eq!(answer.response.success, Some(false));
    }
    assert_eq!(content(&streamed), Some("Hel"));
    assert_eq!(nested.response.error.unwrap().error_type.as_deref(), Some("invalid_request_error"));
}

#[test]
fn calls_of_the_services_own_tools_are_described_apart() {
    let answer = ask()
        .json(&response(
            "completed",
            &json!([
                { "id": "ws_1", "type": "web_search_call", "status": "completed",
                  "action": { "type": "search", "query": "rain", "sources": [{ "type": "url", "url": "u" }] } },
                { "id": "m_1", "type": "mcp_list_tools", "server_label": "wiki", "tools": [{ "name": "a", "input_schema": {} }] },
                { "id": "m_2", "type": "mcp_call", "server_label": "wiki", "name": "a", "arguments": "{}", "output": "four" },
                { "id": "ci_1", "type": "code_interpreter_call", "code": "1+1", "container_id": "c", "outputs": null },
                { "id": "sh_1", "type": "shell_call", "call_id": "s", "action": { "commands": ["ls"] },
                  "environment": { "type": "container_reference", "container_id": "c" } },
                { "id": "ig_1", "type": "image_generation_call", "output_format": "png", "result": "AAAA", "status": "completed" },
                { "id": "ctc_1", "type": "custom_tool_call", "call_id": "xs_call_1", "name": "x_keyword_search", "input": "{}" },
                { "id": "sh_2", "type": "local_shell_call", "call_id": "l", "action": { "type": "exec", "command": ["ls"] } },
            ]),
        ))
        .answer();
    let calls = answer.extension["server_tool_calls"].as_array().unwrap();
    let kinds: Vec<_> = calls.iter().map(|call| call["type"].as_str().unwrap()).collect();
    assert_eq!(
        kinds,
        [
            "web_search_call",
            "mcp_list_tools",
            "mcp_call",
            "code_interpreter_call",
            "shell_call",
            "image_generation_call",
            "custom_tool_call"
        ]
    );
    assert_eq!(calls[0]["arguments"], r#"{"query":"rain","type":"search"}"#);
    assert_eq!((&calls[2]["server_label"], &calls[2]["output_bytes"]), (&json!("wiki"), &json!(4)));
    assert_eq!(calls[3]["arguments"], "1+1");
    let ours = &answer.response.tool_calls;
    assert_eq!((ours.len(), ours[0].name.as_deref()), (1, Some("local_shell")));
    assert_eq!(answer.response.choices[0].message.as_ref().unwrap().image_count, Some(1));
    assert_eq!(
        answer.extension["parts"],
        json!([{ "type": "image", "media_type": "image/png", "encoded_bytes": 4 }])
    );
}

#[test]
fn answer_that_is_still_being_made_says_nothing_yet() {
    let answer = ask()
        .json(&json!({ "id": "r", "object": "response", "status": "queued", "output": [], "usage": null }))
        .answer();
    assert!(answer.response.choices.is_empty());
    assert_eq!((answer.response.finish_reason, &answer.extension["status"]), (None, &json!("queued")));
}

#[test]
fn compaction_is_an_answer_and_what_it_keeps_of_others_is_not_the_assistants() {
    let answer = Exchange::post(HOST, "/v1/responses/compact", &json!({ "model": "gpt-5", "input": "hi" }))
        .json(&json!({ "id": "cmp", "object": "response.compaction", "usage": usage(), "output": [
            { "type": "message", "role": "user", "content": [{ "type": "input_text", "text": "mine" }] },
            { "type": "compaction", "id": "c", "encrypted_content": "xx" },
        ] }))
        .answer();
    assert_eq!(content(&answer), None);
    assert_eq!(answer.response.usage.as_ref().unwrap().prompt_tokens, Some(10));
}

#[test]
fn costs_are_those_that_the_service_reports() {
    let reported = |host: &str, path: &str, key: &str, value: Value| {
        let mut body = response("completed", &json!([]));
        body["usage"][key] = value;
        let answer = Exchange::post(host, path, &json!({ "model": "m", "input": "hi" })).json(&body).answer();
        let usage = answer.response.usage.unwrap();
        // Output includes reasoning in this format, whoever counts.
        assert_eq!(usage.completion_tokens, Some(5));
        usage.total_cost_usd.unwrap()
    };
    let ticks = reported("api.x.ai", "/v1/responses", "cost_in_usd_ticks", json!(2_500_000_000_u64));
    assert!((ticks - 0.25).abs() < 1e-9);
    let dollars = reported("openrouter.ai", "/api/v1/responses", "cost", json!(0.25));
    assert!((dollars - 0.25).abs() < 1e-9);
}

#[test]
fn every_service_and_an_unknown_one_is_recognised_by_its_path() {
    for (host, path, id, level) in [
        ("chatgpt.com", "/backend-api/codex/responses", "openai", Level::High),
        ("my.openai.azure.com", "/openai/v1/responses", "azure_openai", Level::High),
        ("my.services.ai.azure.com", "/openai/responses?api-version=preview", "azure_openai", Level::High),
        ("openrouter.ai", "/api/v1/responses", "openrouter", Level::High),
        ("api.githubcopilot.com", "/responses", "github_copilot", Level::High),
        ("bedrock-mantle.us-east-1.api.aws", "/openai/v1/responses", "aws_bedrock", Level::High),
        ("localhost:11434", "/v1/responses", "ollama", Level::Medium),
        ("unknown.example", "/x/responses", "openai_compatible", Level::Medium),
    ] {
        let call = Exchange::post(host, path, &json!({ "model": "m", "input": "hi" })).call();
        assert_eq!((call.detection.provider_id.as_str(), call.detection.confidence), (id, level), "{host}");
        assert_eq!(call.extension["api_format"], "openai_responses");
    }
    let (call, _) =
        Exchange::post("chatgpt.com", "/backend-api/conversation", &json!({ "model": "m", "input": "hi" }))
            .interpret();
    assert!(call.is_none());
    let (call, _) =
        Exchange::post("unknown.example", "/survey/responses", &json!({ "answers": [1] })).interpret();
    assert!(call.is_none());
    assert_eq!(ask().call().request.provider.name, ProviderName::OpenAi);
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { cases: 500, failure_persistence: None, ..Default::default() })]

    #[test]
    fn nothing_is_joined_whichever_events_are_lost(
        kept in proptest::collection::vec(proptest::prelude::any::<bool>(), 21),
        done in proptest::prelude::any::<bool>(),
        gaps in proptest::prelude::any::<bool>(),
    ) {
        let mut events = stream();
        if done {
            // Some texts come as a whole as well.
            events[11] = json!({ "type": "response.output_text.done", "sequence_number": 11, "output_index": 1,
                                 "content_index": 0, "text": "Hello" });
            events[20] = json!({ "type": "response.custom_tool_call_input.done", "sequence_number": 20, "output_index": 4,
                                 "input": "*** Begin" });
        }
        let pieces = events.iter().zip(&kept).filter(|(_, kept)| gaps || **kept).map(|(event, kept)| {
            let text = data(event);
            if *kept { Piece::from(text.as_str()) } else { Piece::Gap(text.len() as u64) }
        });
        let (_, answer) = ask().sse_pieces(pieces.collect()).interpret();
        let answer = answer.unwrap();
        // Of numbers alone, a loss at the end or at the beginning is not known; of a beginning nothing is told whole.
        if gaps || kept[0] {
            not_spliced(&answer, 0);
        }
    }
}
