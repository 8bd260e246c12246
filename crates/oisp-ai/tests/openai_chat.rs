//! OpenAI chat completions: requests, answers, streams.

mod common;

use common::{Exchange, content};
use oisp_event::{FinishReason, ProviderName, RequestType, Role, ToolType, Usage};
use serde_json::{Value, json};

const HOST: &str = "api.openai.com";
const PATH: &str = "/v1/chat/completions";

fn ask() -> Exchange {
    Exchange::post(
        HOST,
        PATH,
        &json!({ "model": "gpt-5", "messages": [{ "role": "user", "content": "hi" }] }),
    )
}

fn delta(delta: Value) -> Value {
    json!({ "id": "c1", "object": "chat.completion.chunk", "model": "gpt-5-2025",
            "choices": [{ "index": 0, "delta": delta, "finish_reason": null }], "usage": null })
}

fn stop(reason: &str) -> Value {
    json!({ "object": "chat.completion.chunk",
            "choices": [{ "index": 0, "delta": {}, "finish_reason": reason }] })
}

#[test]
fn request_is_read_whole() {
    let call = Exchange::post(
        HOST,
        "/v1/chat/completions?debug=SECRET",
        &json!({
            "model": "gpt-5",
            "messages": [
                { "role": "developer", "content": "be kind" },
                { "role": "user", "name": "ann", "content": [
                    { "type": "text", "text": "what" },
                    { "type": "image_url", "image_url": { "url": "data:image/png;base64,AAAA" } },
                    { "type": "text", "text": "is it" },
                    { "type": "input_audio", "input_audio": { "data": "AA", "format": "wav" } },
                ] },
                { "role": "assistant", "content": null, "tool_calls": [
                    { "id": "t1", "type": "function", "function": { "name": "f", "arguments": "{\"a\":1}" } },
                ] },
                { "role": "tool", "tool_call_id": "t1", "content": "2" },
            ],
            "tools": [
                { "type": "function", "function": { "name": "f", "description": "does", "parameters": {} } },
                { "type": "custom", "custom": { "name": "g" } },
                { "type": "code_interpreter" },
            ],
            "tool_choice": { "type": "function", "function": { "name": "f" } },
            "stream": true,
            "temperature": 0.5,
            "max_tokens": 5,
            "max_completion_tokens": 7,
            "stop": "END",
            "seed": 3,
        }),
    )
    .request_header("Authorization", "Bearer sk-proj-0123456789abcdef")
    .request_header("OpenAI-Organization", "org-1")
    .request_header("OpenAI-Project", "proj-1")
    .call();
    let request = &call.request;
    assert_eq!(request.request_type, RequestType::Chat);
    assert_eq!(request.model.as_ref().unwrap().id, "gpt-5");
    assert_eq!(request.streaming, Some(true));
    assert_eq!(request.provider.name, ProviderName::OpenAi);
    assert_eq!(request.provider.endpoint.as_deref(), Some("https://api.openai.com/v1/chat/completions"));
    assert_eq!(request.provider.organization_id.as_deref(), Some("org-1"));
    assert_eq!(request.provider.project_id.as_deref(), Some("proj-1"));
    let auth = request.auth.as_ref().unwrap();
    assert_eq!(auth.key_prefix.as_deref(), Some("sk-proj-"));
    assert!(auth.credential.is_some());
    let roles: Vec<_> = request.messages.iter().map(|message| message.role).collect();
    assert_eq!(roles, [Role::System, Role::User, Role::Assistant, Role::Tool]);
    assert_eq!(request.messages[1].content, Some(json!("what\nis it")));
    assert_eq!(request.messages[1].content_length, Some(10));
    assert_eq!(request.messages[1].image_count, Some(1));
    assert_eq!(request.messages[1].name.as_deref(), Some("ann"));
    assert_eq!(request.messages[2].content, None);
    assert_eq!(request.messages[3].tool_call_id.as_deref(), Some("t1"));
    assert_eq!(
        (request.messages_count, request.has_system_prompt, request.image_count),
        (Some(4), Some(true), Some(1))
    );
    assert_eq!(request.tools_count, Some(3));
    assert_eq!(request.tools[1].tool_type, Some(ToolType::Other));
    assert_eq!(request.tools[2].tool_type, Some(ToolType::CodeInterpreter));
    assert_eq!(request.tool_choice.as_deref(), Some(r#"{"function":{"name":"f"},"type":"function"}"#));
    let parameters = request.parameters.as_ref().unwrap();
    assert_eq!((parameters.max_tokens, parameters.temperature), (Some(7), Some(0.5)));
    assert_eq!(parameters.stop, ["END"]);
    let extension = &call.extension;
    assert_eq!(extension["roles"], json!([{ "message": 0, "role": "developer" }]));
    assert_eq!(extension["message_tool_calls"][0]["arguments"], "{\"a\":1}");
    assert_eq!(extension["parts"][0]["encoded_bytes"], 4);
    assert_eq!(extension["parts"][1]["type"], "input_audio");
    assert_eq!(extension["parameters"]["seed"], 3);
    assert!(call.findings.is_empty(), "{:?}", call.findings);
    assert_eq!((call.started.0, call.completed.0), (500_000, 2_000_000));
    let json = serde_json::to_string(&common::written(&oisp_ai::AiEvent::Request(Box::new(call)))).unwrap();
    assert!(!json.contains("SECRET") && !json.contains("0123456789abcdef"));
}

#[test]
fn timings_of_local_servers_are_kept_and_a_port_does_not_name_what_its_service_does_not_speak() {
    let body = json!({ "model": "m", "messages": [{ "role": "user", "content": "hi" }] });
    for (host, path, key, id) in [
        ("localhost:1234", "/api/v0/chat/completions", "stats", "lmstudio"),
        ("localhost:8080", "/v1/chat/completions", "timings", "llama_cpp"),
    ] {
        let answer = Exchange::post(host, path, &body)
            .json(&json!({ "object": "chat.completion", key: { "predicted_ms": 1.5 },
                "choices": [{ "message": { "role": "assistant", "content": "yes" }, "finish_reason": "stop" }] }))
            .answer();
        assert_eq!(answer.detection.provider_id, id);
        assert_eq!(answer.extension["server_timings"]["predicted_ms"], 1.5);
    }
    // Writer has a shorter path, which is nobody's elsewhere.
    let writer = Exchange::post("api.writer.com", "/v1/chat", &body).call();
    assert_eq!((writer.detection.provider_id.as_str(), writer.findings.is_empty()), ("writer", true));
    let inputs = json!({ "inputs": "hi", "parameters": {} });
    let call = Exchange::post("localhost:8080", "/generate", &inputs).call();
    assert_eq!(call.detection.provider_id, "huggingface_tgi");
}

#[test]
fn answer_is_read_whole() {
    let answer = ask()
        .response_header("x-request-id", "req_1")
        .response_header("x-ratelimit-remaining-requests", "9")
        .json(&json!({
            "id": "c1", "object": "chat.completion", "model": "gpt-5-2025", "service_tier": "default",
            "choices": [{
                "index": 0,
                "message": {
                    "role": "assistant", "content": "hello", "reasoning_content": "hm",
                    "tool_calls": [
                        { "id": "t1", "type": "function", "function": { "name": "f", "arguments": "{}" } },
                        { "id": "t2", "type": "custom", "custom": { "name": "g", "input": "text" } },
                    ],
                },
                "finish_reason": "tool_calls",
            }],
            "usage": {
                "prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15,
                "prompt_tokens_details": { "cached_tokens": 4, "cache_write_tokens": 2 },
                "completion_tokens_details": { "reasoning_tokens": 3 },
            },
        }))
        .answer();
    let response = &answer.response;
    assert_eq!(response.provider_request_id.as_deref(), Some("req_1"));
    assert_eq!((response.status_code, response.success), (Some(200), Some(true)));
    assert_eq!(content(&answer), Some("hello"));
    assert_eq!(response.finish_reason, Some(FinishReason::ToolCalls));
    assert_eq!(response.tool_calls_count, Some(2));
    assert_eq!(response.tool_calls[1].arguments.as_deref(), Some("text"));
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
    // The request's last byte was captured at 2 ms, the response's at 5 ms.
    assert_eq!((response.latency_ms, response.time_to_first_token_ms), (Some(3), None));
    assert_eq!(answer.extension["finish_reason"], "tool_calls");
    assert_eq!(answer.extension["reasoning"], json!([{ "choice": 0, "text": "hm" }]));
    assert_eq!(answer.extension["rate_limit"]["x-ratelimit-remaining-requests"], "9");
    assert_eq!(answer.extension["cache_write_tokens"], 2);
    assert!(answer.findings.is_empty() && answer.has_request);
}

#[test]
fn stream_is_collected_with_tool_calls_by_index_and_usage_after_the_finish_reason() {
    let answer = ask()
        .sse_pieces(
            [
                ": keep-alive\n\n".to_owned(),
                common::data(&delta(json!({ "role": "assistant", "content": "" }))),
                common::data(&delta(json!({ "content": "Hel" }))),
                common::data(&delta(json!({ "content": "lo" }))),
                common::data(&delta(json!({ "tool_calls": [
                    { "index": 0, "id": "a", "type": "function", "function": { "name": "f", "arguments": "" } },
                    { "index": 1, "id": "b", "type": "function", "function": { "name": "g", "arguments": "{\"x\"" } },
                ] }))),
                common::data(&delta(json!({ "tool_calls": [{ "index": 1, "function": { "arguments": ":2}" } }] }))),
                common::data(&delta(json!({ "tool_calls": [{ "index": 0, "function": { "arguments": "{}" } }] }))),
                common::data(&stop("tool_calls")),
                common::data(&json!({ "object": "chat.completion.chunk", "choices": [],
                    "usage": { "prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3 } })),
                "data: [DONE]\n\n".to_owned(),
            ]
            .iter()
            .map(|text| text.as_str().into())
            .collect(),
        )
        .answer();
    assert_eq!(content(&answer), Some("Hello"));
    let calls: Vec<_> = answer
        .response
        .tool_calls
        .iter()
        .map(|call| {
            (call.id.as_deref().unwrap(), call.name.as_deref().unwrap(), call.arguments.as_deref().unwrap())
        })
        .collect();
    assert_eq!(calls, [("a", "f", "{}"), ("b", "g", "{\"x\":2}")]);
    assert_eq!(answer.response.usage.as_ref().unwrap().total_tokens, Some(3));
    assert_eq!(answer.response.model.as_ref().unwrap().id, "gpt-5-2025");
    assert_eq!(answer.extension["streamed"], true);
    assert_eq!(answer.timings.chunk_count, 9);
    // Head at 4 ms after the request's 2 ms; the empty first delta at 6 ms is no content.
    assert_eq!(answer.timings.first_content.unwrap().0, 7_000_000);
    assert_eq!(answer.response.time_to_first_token_ms, Some(5));
    assert_eq!(answer.timings.longest_chunk_gap, Some(1_000_000));
    assert!(answer.findings.is_empty(), "{:?}", answer.findings);
}

#[test]
fn tool_calls_that_all_have_index_0_or_none_stay_apart() {
    for index in [json!(0), Value::Null] {
        let call = |id: &str, name: &str| {
            delta(json!({ "tool_calls": [
                { "index": index, "id": id, "type": "function", "function": { "name": name, "arguments": "{}" } },
            ] }))
        };
        let answer = ask().sse(&[call("a", "f"), call("b", "g"), stop("tool_calls")]).answer();
        let names: Vec<_> = answer.response.tool_calls.iter().map(|call| call.name.as_deref()).collect();
        assert_eq!(names, [Some("f"), Some("g")]);
        assert!(answer.response.tool_calls.iter().all(|call| call.arguments.as_deref() == Some("{}")));
    }
}

#[test]
fn several_choices_keep_their_own_text_and_finish_reason() {
    let answer = ask()
        .sse(&[
            json!({ "choices": [{ "index": 1, "delta": { "content": "b" } }, { "index": 0, "delta": { "content": "a" } }] }),
            json!({ "choices": [{ "index": 0, "delta": { "content": "A" }, "finish_reason": "stop" }] }),
            json!({ "choices": [{ "index": 1, "delta": {}, "finish_reason": "length" }] }),
        ])
        .answer();
    let choices: Vec<_> = answer
        .response
        .choices
        .iter()
        .map(|choice| {
            (choice.index, choice.message.as_ref().unwrap().content.clone().unwrap(), choice.finish_reason)
        })
        .collect();
    assert_eq!(
        choices,
        [(0, json!("aA"), Some(FinishReason::Stop)), (1, json!("b"), Some(FinishReason::Length))]
    );
    assert_eq!(answer.extension["choices"][1]["finish_reason"], "length");
}

#[test]
fn finish_reasons_map_onto_the_closed_list() {
    for (original, expected) in [
        ("stop", FinishReason::Stop),
        ("eos", FinishReason::Stop),
        ("length", FinishReason::Length),
        ("function_call", FinishReason::ToolCalls),
        ("content_filter", FinishReason::ContentFilter),
        ("something_new", FinishReason::Other),
    ] {
        let answer = ask()
            .json(&json!({ "choices": [{ "message": { "content": "x" }, "finish_reason": original }] }))
            .answer();
        assert_eq!(answer.response.finish_reason, Some(expected));
        assert_eq!(answer.extension["finish_reason"], original);
    }
}

#[test]
fn errors_are_read_in_every_shape_and_status() {
    for (status, body, message, code) in [
        (
            401,
            json!({ "error": { "message": "no", "type": "auth", "code": "bad_key" } }),
            "no",
            Some("bad_key"),
        ),
        (429, json!({ "error": { "message": "slow", "code": 429 } }), "slow", Some("429")),
        (400, json!({ "code": "c", "error": "text" }), "text", Some("c")),
        (400, json!({ "error": "text", "error_type": "t" }), "text", None),
        (422, json!({ "detail": [{ "loc": 1 }] }), r#"[{"loc":1}]"#, None),
        (400, json!({ "object": "error", "message": "m", "type": "t", "code": 3 }), "m", Some("3")),
        (
            200,
            json!({ "error": { "message": "filtered", "code": "content_filter" } }),
            "filtered",
            Some("content_filter"),
        ),
    ] {
        let answer = ask().status(status).json(&body).answer();
        assert_eq!(answer.response.success, Some(false), "{body}");
        let error = answer.response.error.unwrap();
        assert_eq!((error.message.as_deref(), error.code.as_deref()), (Some(message), code), "{body}");
        assert!(answer.findings.is_empty(), "{body}");
    }
}

#[test]
fn error_in_the_middle_of_a_stream_is_a_failure_with_the_text_so_far() {
    for event in [
        "data: {\"error\":{\"message\":\"overloaded\",\"code\":503}}\n\n",
        "event: error\ndata: {\"error\":{\"message\":\"overloaded\",\"status_code\":503}}\n\n",
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"\"},\"finish_reason\":\"error\"}],\
         \"error\":{\"message\":\"overloaded\",\"code\":503}}\n\n",
    ] {
        let answer = ask()
            .sse_pieces(vec![
                common::data(&delta(json!({ "content": "so far" }))).as_str().into(),
                event.into(),
            ])
            .answer();
        assert_eq!((answer.response.status_code, answer.response.success), (Some(200), Some(false)));
        let error = answer.response.error.as_ref().unwrap();
        assert_eq!((error.message.as_deref(), error.code.as_deref()), (Some("overloaded"), Some("503")));
        assert_eq!(content(&answer), Some("so far"));
    }
}

#[test]
fn stream_that_ends_before_its_end_is_partial_and_one_left_at_done_or_an_error_is_whole() {
    let truncated = |events: Vec<&str>| {
        let mut exchange = ask().sse_pieces(
            std::iter::once(common::data(&delta(json!({ "content": "x" }))).as_str().into())
                .chain(events.into_iter().map(Into::into))
                .collect(),
        );
        exchange.response_defect = Some(oisp_decode::Defect::Truncated);
        exchange.answer().findings
    };
    let cut = truncated(vec![]);
    assert_eq!(cut.reasons, ["message_truncated", "stream_ended_early"]);
    assert_eq!(cut.missing, ["response_body"]);
    assert!(truncated(vec!["data: [DONE]\n\n"]).is_empty());
    assert!(truncated(vec!["data: {\"error\":{\"message\":\"overloaded\"}}\n\n"]).is_empty());
}

#[test]
fn json_body_under_an_event_stream_type_is_read_as_json_and_the_other_way_round() {
    let error = json!({ "error": { "message": "no" } });
    let mut exchange = ask().status(400).sse(&[]);
    exchange.response = vec![error.to_string().as_str().into()];
    assert_eq!(exchange.answer().response.error.unwrap().message.as_deref(), Some("no"));
    let mut exchange = ask().sse(&[delta(json!({ "content": "x" })), stop("stop")]);
    exchange.response_headers.clear();
    assert_eq!(content(&exchange.answer()), Some("x"));
}

#[test]
fn content_parts_in_deltas_are_told_apart() {
    let answer = ask()
        .sse(&[
            delta(json!({ "content": [{ "type": "thinking", "thinking": [{ "type": "text", "text": "hm" }] }] })),
            delta(json!({ "content": [{ "type": "text", "text": "yes" }] })),
            stop("stop"),
        ])
        .answer();
    assert_eq!(content(&answer), Some("yes"));
    assert_eq!(answer.extension["reasoning"][0]["text"], "hm");
}
