//! Anthropic messages: requests, answers, streams.

mod common;

use common::{Exchange, Piece, content};
use oisp_event::{FinishReason, ProviderName, RequestType, Role, ToolType, Usage};
use serde_json::{Value, json};

fn ask() -> Exchange {
    Exchange::post(
        "api.anthropic.com",
        "/v1/messages?beta=true",
        &json!({ "model": "claude", "max_tokens": 9, "messages": [{ "role": "user", "content": "hi" }] }),
    )
}

fn sse(events: &[Value]) -> Vec<Piece> {
    events
        .iter()
        .map(|event| {
            format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap_or_default())
                .as_str()
                .into()
        })
        .collect()
}

fn start() -> Value {
    json!({ "type": "message_start", "message": { "id": "msg_1", "type": "message", "role": "assistant",
        "model": "claude-x", "content": [], "stop_reason": null,
        "usage": { "input_tokens": 10, "cache_creation_input_tokens": 3, "cache_read_input_tokens": 4, "output_tokens": 1 } } })
}

fn block(index: u64, block: Value) -> Value {
    json!({ "type": "content_block_start", "index": index, "content_block": block })
}

fn delta(index: u64, delta: Value) -> Value {
    json!({ "type": "content_block_delta", "index": index, "delta": delta })
}

fn block_stop(index: u64) -> Value {
    json!({ "type": "content_block_stop", "index": index })
}

fn stop(reason: &str) -> [Value; 2] {
    [
        json!({ "type": "message_delta", "delta": { "stop_reason": reason, "stop_sequence": null },
                "usage": { "output_tokens": 20, "cache_read_input_tokens": null } }),
        json!({ "type": "message_stop" }),
    ]
}

#[test]
fn request_is_read_whole() {
    let call = Exchange::post(
        "api.anthropic.com",
        "/v1/messages",
        &json!({
            "model": "claude",
            "max_tokens": 100,
            "system": [{ "type": "text", "text": "be" }, { "type": "text", "text": "kind" }],
            "messages": [
                { "role": "user", "content": [
                    { "type": "text", "text": "see" },
                    { "type": "image", "source": { "type": "base64", "media_type": "image/png", "data": "AAAA" } },
                ] },
                { "role": "assistant", "content": [
                    { "type": "thinking", "thinking": "hm", "signature": "s" },
                    { "type": "text", "text": "I look" },
                    { "type": "tool_use", "id": "t1", "name": "f", "input": { "a": 1 } },
                ] },
                { "role": "user", "content": [
                    { "type": "tool_result", "tool_use_id": "t1", "is_error": true,
                      "content": [{ "type": "text", "text": "one" }, { "type": "text", "text": "two" }] },
                    { "type": "text", "text": "go on" },
                ] },
            ],
            "tools": [
                { "name": "f", "description": "does", "input_schema": {} },
                { "type": "computer_20250124", "name": "computer" },
            ],
            "tool_choice": { "type": "auto" },
            "stop_sequences": ["END"],
            "thinking": { "type": "enabled", "budget_tokens": 5 },
            "mcp_servers": [{ "name": "m", "authorization_token": "SECRET" }],
        }),
    )
    .request_header("x-api-key", "sk-ant-api03-0123456789")
    .request_header("anthropic-version", "2023-06-01")
    .call();
    let request = &call.request;
    assert_eq!(request.provider.name, ProviderName::Anthropic);
    let messages: Vec<_> = request.messages.iter().map(|m| (m.role, m.content.clone())).collect();
    assert_eq!(
        messages,
        [
            (Role::System, Some(json!("be\nkind"))),
            (Role::User, Some(json!("see"))),
            (Role::Assistant, Some(json!("I look"))),
            (Role::Tool, Some(json!("one\ntwo"))),
            (Role::User, Some(json!("go on"))),
        ]
    );
    assert_eq!(request.messages[3].tool_call_id.as_deref(), Some("t1"));
    assert_eq!((request.has_system_prompt, request.image_count), (Some(true), Some(1)));
    assert_eq!(request.tools[0].tool_type, Some(ToolType::Function));
    assert_eq!(request.tools[1].tool_type, Some(ToolType::ComputerUse));
    assert_eq!(request.tool_choice.as_deref(), Some(r#"{"type":"auto"}"#));
    assert_eq!(request.parameters.as_ref().unwrap().stop, ["END"]);
    assert_eq!(request.streaming, Some(false));
    assert_eq!(request.auth.as_ref().unwrap().key_prefix.as_deref(), Some("sk-ant-a"));
    let extension = &call.extension;
    assert_eq!(
        extension["message_tool_calls"],
        json!([{ "message": 2, "id": "t1", "name": "f", "type": "tool_use", "arguments": "{\"a\":1}" }])
    );
    assert_eq!(extension["tool_errors"], json!([3]));
    assert_eq!(extension["mcp_servers"], json!(["m"]));
    assert_eq!(extension["parts"][1], json!({ "message": 2, "type": "thinking", "text_bytes": 2 }));
    assert!(call.findings.is_empty());
    assert!(!serde_json::to_string(extension).unwrap().contains("SECRET"));
}

#[test]
fn answer_is_read_whole_and_input_includes_the_cache() {
    let answer = ask()
        .response_header("request-id", "req_1")
        .response_header("anthropic-organization-id", "org")
        .json(&json!({
            "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-x",
            "content": [
                { "type": "thinking", "thinking": "hm" },
                { "type": "text", "text": "one" },
                { "type": "tool_use", "id": "t1", "name": "f", "input": { "b": 1, "a": [2] } },
                { "type": "text", "text": "two" },
            ],
            "stop_reason": "tool_use", "stop_sequence": null,
            "usage": { "input_tokens": 10, "cache_creation_input_tokens": 3, "cache_read_input_tokens": 4,
                       "output_tokens": 20, "output_tokens_details": { "thinking_tokens": 5 } },
        }))
        .answer();
    assert_eq!(content(&answer), Some("one\ntwo"));
    assert_eq!(answer.response.finish_reason, Some(FinishReason::ToolCalls));
    assert_eq!(answer.extension["finish_reason"], "tool_use");
    assert_eq!(answer.response.provider_request_id.as_deref(), Some("req_1"));
    assert_eq!(answer.response.provider.organization_id.as_deref(), Some("org"));
    let arguments: Value =
        serde_json::from_str(answer.response.tool_calls[0].arguments.as_deref().unwrap()).unwrap();
    assert_eq!(arguments, json!({ "a": [2], "b": 1 }));
    assert_eq!(
        answer.response.usage,
        Some(Usage {
            prompt_tokens: Some(17),
            completion_tokens: Some(20),
            total_tokens: Some(37),
            cached_tokens: Some(4),
            reasoning_tokens: Some(5),
            ..Usage::default()
        })
    );
    assert_eq!(answer.extension["cache_write_tokens"], 3);
    assert!(answer.findings.is_empty());
}

#[test]
fn stream_is_collected_and_cumulative_usage_overwrites() {
    let mut events = vec![
        start(),
        json!({ "type": "ping" }),
        block(0, json!({ "type": "thinking", "thinking": "" })),
        delta(0, json!({ "type": "thinking_delta", "thinking": "h" })),
        delta(0, json!({ "type": "thinking_delta", "thinking": "m" })),
        delta(0, json!({ "type": "signature_delta", "signature": "x" })),
        block_stop(0),
        block(1, json!({ "type": "text", "text": "" })),
        delta(1, json!({ "type": "text_delta", "text": "Hel" })),
        delta(1, json!({ "type": "text_delta", "text": "lo" })),
        block_stop(1),
        block(2, json!({ "type": "tool_use", "id": "t1", "name": "f", "input": {} })),
        delta(2, json!({ "type": "input_json_delta", "partial_json": "" })),
        delta(2, json!({ "type": "input_json_delta", "partial_json": "{\"a\":" })),
        delta(2, json!({ "type": "input_json_delta", "partial_json": "1}" })),
        block_stop(2),
        block(3, json!({ "type": "tool_use", "id": "t2", "name": "g", "input": {} })),
        block_stop(3),
        json!({ "type": "something_new" }),
    ];
    events.extend(stop("tool_use"));
    let answer = ask().sse_pieces(sse(&events)).answer();
    assert_eq!(content(&answer), Some("Hello"));
    assert_eq!(answer.extension["reasoning"], json!([{ "choice": 0, "text": "hm" }]));
    let calls: Vec<_> = answer
        .response
        .tool_calls
        .iter()
        .map(|call| (call.name.as_deref().unwrap(), call.arguments.as_deref().unwrap()))
        .collect();
    assert_eq!(calls, [("f", "{\"a\":1}"), ("g", "{}")]);
    let usage = answer.response.usage.as_ref().unwrap();
    assert_eq!((usage.prompt_tokens, usage.completion_tokens), (Some(17), Some(20)));
    assert_eq!(answer.response.model.as_ref().unwrap().id, "claude-x");
    assert_eq!(answer.extension["response_id"], "msg_1");
    assert!(answer.findings.is_empty(), "{:?}", answer.findings);
}

#[test]
fn errors_are_read_before_and_within_a_stream() {
    let error = json!({ "type": "error", "error": { "type": "overloaded_error", "message": "later" }, "request_id": "r" });
    let answer = ask().status(529).json(&error).answer();
    assert_eq!(answer.response.success, Some(false));
    assert_eq!(answer.response.provider_request_id.as_deref(), Some("r"));
    assert_eq!(answer.response.error.unwrap().error_type.as_deref(), Some("overloaded_error"));
    let events = [
        start(),
        block(0, json!({ "type": "text", "text": "" })),
        delta(0, json!({ "type": "text_delta", "text": "so far" })),
        error,
    ];
    let answer = ask().sse_pieces(sse(&events)).answer();
    assert_eq!((answer.response.status_code, answer.response.success), (Some(200), Some(false)));
    assert_eq!(content(&answer), Some("so far"));
    assert_eq!(answer.response.error.unwrap().message.as_deref(), Some("later"));
}

#[test]
fn stream_with_a_foreign_end_mark_is_read() {
    let mut events = vec![start(), block(0, json!({ "type": "text", "text": "x" })), block_stop(0)];
    events.extend(stop("end_turn"));
    let mut pieces = sse(&events);
    pieces.push("event: data\ndata: [DONE]\n\n".into());
    let answer = ask().sse_pieces(pieces).answer();
    assert_eq!(content(&answer), Some("x"));
    assert_eq!(answer.response.finish_reason, Some(FinishReason::Stop));
    assert!(answer.findings.is_empty());
}

#[test]
fn text_blocks_after_a_gap_are_not_joined_to_those_before_it() {
    let mut pieces = sse(&[
        start(),
        block(0, json!({ "type": "text", "text": "" })),
        delta(0, json!({ "type": "text_delta", "text": "before" })),
        block(1, json!({ "type": "tool_use", "id": "t1", "name": "f", "input": {} })),
        delta(1, json!({ "type": "input_json_delta", "partial_json": "{\"a\":" })),
    ]);
    pieces.push(Piece::Gap(77));
    pieces.push("lost tail\n\n".into());
    let mut after = vec![
        delta(0, json!({ "type": "text_delta", "text": "after" })),
        delta(1, json!({ "type": "input_json_delta", "partial_json": "1}" })),
        block(3, json!({ "type": "text", "text": "" })),
        delta(3, json!({ "type": "text_delta", "text": "later" })),
        block_stop(3),
        block(4, json!({ "type": "tool_use", "id": "t2", "name": "g", "input": {} })),
        delta(4, json!({ "type": "input_json_delta", "partial_json": "{}" })),
        block_stop(4),
    ];
    after.extend(stop("tool_use"));
    pieces.extend(sse(&after));
    let answer = ask().sse_pieces(pieces).answer();
    assert_eq!(content(&answer), Some("before"));
    assert_eq!(
        answer.extension["content_after_gap"],
        json!([
            { "after_gap": 1, "block": 0, "text": "after" },
            { "after_gap": 1, "block": 3, "text": "later" },
        ])
    );
    let calls = &answer.response.tool_calls;
    assert_eq!(calls[0].arguments.as_deref(), Some("{\"a\":"));
    assert_eq!(calls[1].arguments.as_deref(), Some("{}"));
    assert_eq!(answer.extension["incomplete_tool_calls"], json!([0]));
    assert_eq!(
        answer.extension["arguments_after_gap"],
        json!([{ "after_gap": 1, "tool_call": 0, "text": "1}" }])
    );
    assert_eq!(answer.response.usage.as_ref().unwrap().completion_tokens, Some(20));
    assert_eq!(answer.extension["lost_bytes"], 77);
    assert!(answer.findings.reasons.contains(&"bytes_lost".to_owned()));
}

#[test]
fn counting_tokens_is_no_chat_and_its_count_no_usage() {
    let body = json!({ "model": "claude", "messages": [{ "role": "user", "content": "hi" }] });
    let exchange = Exchange::post("api.anthropic.com", "/v1/messages/count_tokens", &body)
        .json(&json!({ "input_tokens": 14 }));
    let call = exchange.call();
    assert_eq!(call.request.request_type, RequestType::Other);
    assert_eq!(call.request.messages[0].content, Some("hi".into()));
    let answer = exchange.answer();
    assert_eq!((answer.response.usage.as_ref(), &answer.extension["counted_tokens"]), (None, &json!(14)));
    assert!(answer.findings.is_empty(), "{:?}", answer.findings);
}

#[test]
fn batch_is_known_by_its_size_and_model() {
    let one = |id: &str| json!({ "custom_id": id, "params": { "model": "claude", "max_tokens": 1, "messages": [] } });
    let exchange = Exchange::post(
        "api.anthropic.com",
        "/v1/messages/batches",
        &json!({ "requests": [one("a"), one("b")] }),
    )
    .json(&json!({ "id": "msgbatch_1", "type": "message_batch", "processing_status": "in_progress",
                           "request_counts": { "processing": 2, "succeeded": 0 } }));
    let call = exchange.call();
    assert_eq!(
        (call.request.request_type, &call.extension["batch"]),
        (RequestType::Other, &json!({ "requests": 2 }))
    );
    assert_eq!(call.request.model.as_ref().map(|model| model.id.as_str()), Some("claude"));
    let answer = exchange.answer();
    assert_eq!(answer.extension["response_id"], "msgbatch_1");
    assert_eq!(answer.extension["batch"]["request_counts"]["processing"], 2);
    assert!(answer.findings.is_empty(), "{:?}", answer.findings);
}

#[test]
fn old_completions_are_read_whole_and_streamed() {
    let ask = |stream: bool| {
        let body = json!({ "model": "claude-2", "prompt": "\n\nHuman: hi\n\nAssistant:", "max_tokens_to_sample": 5, "stream": stream });
        Exchange::post("api.anthropic.com", "/v1/complete", &body)
    };
    let whole = ask(false).json(&json!({ "type": "completion", "id": "compl_1", "completion": "ho", "stop_reason": "stop_sequence", "model": "claude-2.1" }));
    let streamed = ask(true).sse_pieces(sse(&[
        json!({ "type": "completion", "id": "compl_1", "completion": "h", "stop_reason": null, "model": "claude-2.1" }),
        json!({ "type": "ping" }),
        json!({ "type": "completion", "id": "compl_1", "completion": "o", "stop_reason": "stop_sequence", "model": "claude-2.1" }),
    ]));
    assert_eq!(streamed.call().request.streaming, Some(true));
    assert_eq!(whole.call().request.parameters.unwrap().max_tokens, Some(5));
    for answer in [whole.answer(), streamed.answer()] {
        assert_eq!(answer.extension["api_format"], "anthropic_complete");
        assert_eq!(content(&answer), Some("ho"));
        assert_eq!(answer.response.finish_reason, Some(FinishReason::Stop));
        assert_eq!(answer.response.model.as_ref().map(|model| model.id.as_str()), Some("claude-2.1"));
        assert!(answer.findings.is_empty(), "{:?}", answer.findings);
    }
    let failed = ask(true).sse_pieces(sse(&[
        json!({ "type": "completion", "completion": "h", "stop_reason": null }),
        json!({ "type": "error", "error": { "type": "overloaded_error", "message": "later" } }),
    ]));
    let answer = failed.answer();
    assert_eq!((content(&answer), answer.response.success), (Some("h"), Some(false)));
}

#[test]
fn citations_are_listed_without_what_they_quote() {
    let cited = json!({ "type": "web_search_result_location", "url": "https://h/p?q=1", "title": "T", "cited_text": "secret", "encrypted_index": "x" });
    let page = json!({ "type": "page_location", "document_index": 2, "document_title": "D", "cited_text": "secret" });
    let mut events = vec![start(), block(0, json!({ "type": "text", "text": "", "citations": [] }))];
    events.push(delta(0, json!({ "type": "text_delta", "text": "so" })));
    events.push(delta(0, json!({ "type": "citations_delta", "citation": cited })));
    events.push(delta(0, json!({ "type": "citations_delta", "citation": page })));
    events.push(block_stop(0));
    events.extend(stop("pause_turn"));
    let streamed = ask().sse_pieces(sse(&events)).answer();
    let whole = ask()
        .json(&json!({ "id": "m", "type": "message", "role": "assistant", "model": "c", "stop_reason": "pause_turn",
            "content": [{ "type": "text", "text": "so", "citations": [cited, page] }], "usage": { "input_tokens": 1, "output_tokens": 1 } }))
        .answer();
    for answer in [streamed, whole] {
        assert_eq!(answer.extension["citation_count"], 2);
        assert_eq!(
            answer.extension["citations"],
            json!([
                { "type": "web_search_result_location", "title": "T", "url": "https://h/p" },
                { "type": "page_location", "title": "D", "document_index": 2 },
            ])
        );
        assert_eq!(answer.response.finish_reason, Some(FinishReason::Other));
        assert_eq!(answer.extension["finish_reason"], "pause_turn");
    }
}

#[test]
fn trial_features_container_and_context_edits_are_kept() {
    let exchange = ask()
        .request_header("anthropic-beta", "a-2025, b-2025")
        .json(&json!({ "id": "m", "type": "message", "role": "assistant", "model": "c", "stop_reason": "refusal",
            "stop_details": { "type": "refusal", "category": "bio" },
            "container": { "id": "container_1", "expires_at": "2026-01-01T00:00:00Z" },
            "context_management": { "applied_edits": [{ "type": "clear_tool_uses", "cleared_input_tokens": 5 }] },
            "content": [], "usage": { "input_tokens": 1, "output_tokens": 1, "server_tool_use": { "web_search_requests": 3 } } }));
    assert_eq!(exchange.call().extension["beta_features"], json!(["a-2025", "b-2025"]));
    let answer = exchange.answer();
    assert_eq!(answer.response.finish_reason, Some(FinishReason::ContentFilter));
    assert_eq!(answer.extension["stop_details"]["category"], "bio");
    assert_eq!(answer.extension["container"]["id"], "container_1");
    assert_eq!(answer.extension["context_management"]["applied_edits"][0]["cleared_input_tokens"], 5);
    assert_eq!(answer.extension["usage"]["server_tool_use"]["web_search_requests"], 3);
}

#[test]
fn call_that_lost_its_last_piece_is_incomplete_though_its_end_was_seen() {
    let mut events =
        vec![start(), block(0, json!({ "type": "tool_use", "id": "t", "name": "f", "input": {} }))];
    events.push(delta(0, json!({ "type": "input_json_delta", "partial_json": "{\"a\"" })));
    events.push(delta(0, json!({ "type": "input_json_delta", "partial_json": ":1}" })));
    events.push(block_stop(0));
    events.extend(stop("tool_use"));
    let mut pieces = sse(&events);
    pieces[3] = Piece::Gap(30);
    let answer = ask().sse_pieces(pieces).answer();
    assert_eq!(answer.extension["incomplete_tool_calls"], json!([0]));
}
