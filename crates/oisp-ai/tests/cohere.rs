//! Cohere: both versions of chat, generated texts, embeddings, reranking.

mod common;

use common::{Exchange, Piece, content};
use oisp_event::{FinishReason, ProviderName, RequestType, Role, Usage};
use serde_json::{Value, json};

const HOST: &str = "api.cohere.com";

fn ask_v2() -> Exchange {
    Exchange::post(
        HOST,
        "/v2/chat",
        &json!({ "model": "command-a", "stream": true, "messages": [{ "role": "user", "content": "hi" }] }),
    )
}

fn ask_v1(stream: bool) -> Exchange {
    Exchange::post(HOST, "/v1/chat", &json!({ "model": "command-r", "stream": stream, "message": "hi" }))
}

fn usage(prompt: u64, completion: u64) -> Usage {
    Usage {
        prompt_tokens: Some(prompt),
        completion_tokens: Some(completion),
        total_tokens: Some(prompt + completion),
        ..Usage::default()
    }
}

fn texts(call: &oisp_ai::AiCall) -> Vec<(Role, Option<&str>)> {
    let text = |message: &oisp_event::Message| message.role;
    call.request
        .messages
        .iter()
        .map(|message| (text(message), message.content.as_ref().and_then(Value::as_str)))
        .collect()
}

fn sse(events: &[Value]) -> Vec<Piece> {
    let named =
        |event: &Value| format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap_or_default());
    let mut pieces: Vec<Piece> = events.iter().map(|event| named(event).as_str().into()).collect();
    pieces.push("data: [DONE]\n\n".into());
    pieces
}

#[test]
fn v2_request_is_read_whole() {
    let call = Exchange::post(
        HOST,
        "/v2/chat",
        &json!({
            "model": "command-a",
            "messages": [
                { "role": "system", "content": "be kind" },
                { "role": "user", "content": [{ "type": "text", "text": "see" }, { "type": "image_url", "image_url": { "url": "data:image/png;base64,QUJD" } }] },
                { "role": "assistant", "tool_plan": "I will look", "tool_calls": [{ "id": "t1", "type": "function", "function": { "name": "look", "arguments": "{}" } }] },
                { "role": "tool", "tool_call_id": "t1", "content": [{ "type": "document", "document": { "data": "{\"seen\":1}" } }] },
            ],
            "tools": [{ "type": "function", "function": { "name": "look", "description": "looks", "parameters": {} } }],
            "tool_choice": "REQUIRED",
            "documents": [{ "data": { "text": "secret" } }],
            "max_tokens": 7, "p": 0.5, "k": 3, "stop_sequences": ["END"], "safety_mode": "STRICT",
        }),
    )
    .call();
    assert_eq!(call.extension["api_format"], "cohere_v2");
    assert_eq!(call.request.provider.name, ProviderName::Cohere);
    assert_eq!(
        texts(&call),
        [
            (Role::System, Some("be kind")),
            (Role::User, Some("see")),
            (Role::Assistant, None),
            (Role::Tool, Some("{\"seen\":1}")),
        ]
    );
    assert_eq!(call.request.messages[3].tool_call_id.as_deref(), Some("t1"));
    assert_eq!(call.request.image_count, Some(1));
    assert_eq!(call.request.tools[0].name.as_deref(), Some("look"));
    assert_eq!(call.request.tool_choice.as_deref(), Some("REQUIRED"));
    let parameters = call.request.parameters.as_ref().unwrap();
    assert_eq!(
        (parameters.max_tokens, parameters.top_p, parameters.stop.as_slice()),
        (Some(7), Some(0.5), &["END".to_owned()][..])
    );
    assert_eq!(call.extension["parameters"]["k"], 3);
    assert_eq!(call.extension["documents"], 1);
    assert!(call.findings.is_empty(), "{:?}", call.findings);
}

#[test]
fn v2_answer_is_read_whole() {
    let answer = ask_v2()
        .json(&json!({
            "id": "c-1", "finish_reason": "TOOL_CALL",
            "message": {
                "role": "assistant",
                "content": [{ "type": "thinking", "thinking": "hmm" }, { "type": "text", "text": "Grüße" }],
                "tool_plan": "I will look",
                "tool_calls": [{ "id": "t1", "type": "function", "function": { "name": "look", "arguments": "{\"a\":1}" } }],
                "citations": [{ "start": 0, "end": 3, "text": "Grü", "sources": [{ "type": "document", "id": "d1", "document": { "title": "T", "text": "secret" } }] }],
            },
            "usage": { "billed_units": { "input_tokens": 2, "output_tokens": 3 }, "tokens": { "input_tokens": 60, "output_tokens": 4 }, "cached_tokens": 16 },
        }))
        .answer();
    assert_eq!(content(&answer), Some("Grüße"));
    let reasoning = json!([{ "choice": 0, "text": "hmm" }, { "choice": 0, "text": "I will look" }]);
    assert_eq!(answer.extension["reasoning"], reasoning);
    assert_eq!(answer.response.tool_calls[0].arguments.as_deref(), Some("{\"a\":1}"));
    assert_eq!(answer.response.finish_reason, Some(FinishReason::ToolCalls));
    assert_eq!(answer.response.usage, Some(Usage { cached_tokens: Some(16), ..usage(60, 4) }));
    assert_eq!(answer.extension["usage"]["billed_units"]["input_tokens"], 2);
    assert_eq!(answer.extension["citations"], json!([{ "type": "document", "title": "T", "id": "d1" }]));
    assert_eq!(answer.extension["response_id"], "c-1");
    assert!(answer.findings.is_empty(), "{:?}", answer.findings);
}

fn v2_events() -> Vec<Value> {
    let content = |kind: &str, index: u64, content: Value| json!({ "type": kind, "index": index, "delta": { "message": { "content": content } } });
    let call = |kind: &str, index: u64, call: Value| json!({ "type": kind, "index": index, "delta": { "message": { "tool_calls": call } } });
    let start =
        |id: &str| json!({ "id": id, "type": "function", "function": { "name": "look", "arguments": "" } });
    vec![
        json!({ "type": "message-start", "id": "c-1", "delta": { "message": { "role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": [] } } }),
        json!({ "type": "tool-plan-delta", "delta": { "message": { "tool_plan": "I will" } } }),
        json!({ "type": "tool-plan-delta", "delta": { "message": { "tool_plan": " look" } } }),
        content("content-start", 0, json!({ "type": "thinking", "thinking": "" })),
        content("content-delta", 0, json!({ "thinking": "hmm" })),
        json!({ "type": "content-end", "index": 0 }),
        content("content-start", 1, json!({ "type": "text", "text": "" })),
        content("content-delta", 1, json!({ "text": "Grü" })),
        content("content-delta", 1, json!({ "text": "ße" })),
        json!({ "type": "content-end", "index": 1 }),
        call("tool-call-start", 0, start("t1")),
        call("tool-call-delta", 0, json!({ "function": { "arguments": "{\"a\"" } })),
        call("tool-call-delta", 0, json!({ "function": { "arguments": ":1}" } })),
        json!({ "type": "tool-call-end", "index": 0 }),
        call("tool-call-start", 1, start("t2")),
        call("tool-call-delta", 1, json!({ "function": { "arguments": "{}" } })),
        json!({ "type": "tool-call-end", "index": 1 }),
        json!({ "type": "citation-start", "index": 0, "delta": { "message": { "citations": { "start": 0, "end": 1, "sources": [{ "type": "tool", "id": "t1" }] } } } }),
        json!({ "type": "citation-end", "index": 0 }),
        json!({ "type": "message-end", "delta": { "finish_reason": "TOOL_CALL", "usage": { "billed_units": { "input_tokens": 2, "output_tokens": 3 } } } }),
    ]
}

#[test]
fn v2_stream_is_collected_with_parallel_tool_calls() {
    let answer = ask_v2().sse_pieces(sse(&v2_events())).answer();
    assert_eq!(content(&answer), Some("Grüße"));
    let reasoning = json!([{ "choice": 0, "text": "hmm" }, { "choice": 0, "text": "I will look" }]);
    assert_eq!(answer.extension["reasoning"], reasoning);
    let calls: Vec<_> = answer
        .response
        .tool_calls
        .iter()
        .map(|call| (call.id.as_deref(), call.name.as_deref(), call.arguments.as_deref()))
        .collect();
    assert_eq!(
        calls,
        [(Some("t1"), Some("look"), Some("{\"a\":1}")), (Some("t2"), Some("look"), Some("{}"))]
    );
    // Only what was billed is said.
    assert_eq!(answer.response.usage, Some(usage(2, 3)));
    assert_eq!(answer.extension["citation_count"], 1);
    assert_eq!(answer.response.finish_reason, Some(FinishReason::ToolCalls));
    assert!(answer.findings.is_empty(), "{:?}", answer.findings);
}

#[test]
fn v2_lost_events_splice_nothing() {
    let mut pieces = sse(&v2_events());
    pieces[8] = Piece::Gap(50);
    pieces[12] = Piece::Gap(50);
    let answer = ask_v2().sse_pieces(pieces).answer();
    assert_eq!(content(&answer), Some("Grü"));
    assert_eq!(answer.extension["incomplete_tool_calls"], json!([0]));
    assert_eq!(answer.response.tool_calls[1].arguments.as_deref(), Some("{}"));
}

#[test]
fn v2_errors_are_read_by_status_and_in_the_stream() {
    let refused = ask_v2().status(401).json(&json!({ "id": "x", "message": "invalid api token" })).answer();
    assert_eq!(refused.response.error.unwrap().message.as_deref(), Some("invalid api token"));
    let end =
        json!({ "type": "message-end", "delta": { "finish_reason": "ERROR", "error": "model failed" } });
    let failed = ask_v2().sse_pieces(sse(&[v2_events()[0].clone(), end])).answer();
    assert_eq!(failed.response.error.as_ref().unwrap().message.as_deref(), Some("model failed"));
    assert_eq!(
        (failed.response.success, failed.response.finish_reason),
        (Some(false), Some(FinishReason::Error))
    );
}

#[test]
fn v1_request_is_read_whole() {
    let call = Exchange::post(
        HOST,
        "/v1/chat",
        &json!({
            "message": "and now",
            "preamble": "be kind",
            "conversation_id": "conv-1",
            "chat_history": [
                { "role": "USER", "message": "hi" },
                { "role": "CHATBOT", "message": "ho", "tool_calls": [{ "name": "look", "parameters": { "a": 1 } }] },
                { "role": "TOOL", "tool_results": [{ "call": { "name": "look", "parameters": {} }, "outputs": [{ "seen": 1 }] }] },
            ],
            "tools": [{ "name": "look", "description": "looks", "parameter_definitions": {} }],
            "connectors": [{ "id": "web-search" }],
            "temperature": 0.25,
        }),
    )
    .call();
    assert_eq!(
        texts(&call),
        [
            (Role::System, Some("be kind")),
            (Role::User, Some("hi")),
            (Role::Assistant, Some("ho")),
            (Role::Tool, Some("[{\"seen\":1}]")),
            (Role::User, Some("and now")),
        ]
    );
    assert_eq!(call.request.messages[3].name.as_deref(), Some("look"));
    assert_eq!(call.extension["message_tool_calls"][0]["arguments"], "{\"a\":1}");
    assert_eq!(call.extension["conversation_id"], "conv-1");
    assert_eq!(call.extension["connectors"], json!(["web-search"]));
    assert_eq!((call.request.model.as_ref(), call.request.streaming), (None, Some(false)));
    assert!(call.findings.is_empty(), "{:?}", call.findings);
}

fn v1_end() -> Value {
    json!({
        "is_finished": true, "event_type": "stream-end", "finish_reason": "COMPLETE",
        "response": {
            "response_id": "r", "generation_id": "g", "text": "Grüße", "finish_reason": "COMPLETE",
            "tool_calls": [{ "name": "look", "parameters": { "a": 1 } }],
            "citations": [{ "start": 0, "end": 1, "text": "G", "document_ids": ["d1", "d2"] }],
            "meta": { "api_version": { "version": "1" }, "billed_units": { "input_tokens": 2, "output_tokens": 3 },
                      "tokens": { "input_tokens": 20, "output_tokens": 3 } },
        },
    })
}

fn v1_events() -> Vec<Value> {
    vec![
        json!({ "is_finished": false, "event_type": "stream-start", "generation_id": "g" }),
        json!({ "is_finished": false, "event_type": "text-generation", "text": "Grü" }),
        json!({ "is_finished": false, "event_type": "text-generation", "text": "ße" }),
        json!({ "is_finished": false, "event_type": "tool-calls-generation", "tool_calls": [{ "name": "look", "parameters": { "a": 1 } }] }),
        v1_end(),
    ]
}

#[test]
fn v1_answers_are_the_same_whole_and_streamed_by_line_and_by_event() {
    let lines = |events: &[Value]| -> Vec<Piece> {
        events.iter().map(|event| format!("{event}\n").as_str().into()).collect()
    };
    let mut by_line = ask_v1(true).response_header("content-type", "application/stream+json");
    by_line.response = lines(&v1_events());
    let by_event = ask_v1(true).sse(&v1_events());
    let whole = ask_v1(false).json(&v1_end()["response"]);
    for exchange in [&by_line, &by_event, &whole] {
        let answer = exchange.answer();
        assert_eq!(answer.extension["api_format"], "cohere_v1");
        assert_eq!(content(&answer), Some("Grüße"));
        assert_eq!(answer.response.tool_calls.len(), 1);
        assert_eq!(answer.response.tool_calls[0].arguments.as_deref(), Some("{\"a\":1}"));
        assert_eq!(answer.response.usage, Some(usage(20, 3)));
        assert_eq!(answer.response.finish_reason, Some(FinishReason::Stop));
        assert_eq!(answer.extension["citation_count"], 2);
        assert_eq!(answer.response.provider_request_id.as_deref(), Some("r"));
        assert!(answer.findings.is_empty(), "{:?}", answer.findings);
    }
    // The end repeats the answer, so what was lost before it is there all the same.
    by_line.response[2] = Piece::Gap(40);
    let answer = by_line.answer();
    assert_eq!(content(&answer), Some("Grüße"));
    assert!(!answer.findings.is_empty());
    // Without it, nothing is spliced.
    by_line.response = lines(&v1_events()[..4]);
    by_line.response[1] = Piece::Gap(40);
    let answer = by_line.answer();
    assert_ne!(content(&answer), Some("ße"));
}

#[test]
fn generated_texts_keep_their_numbers_whole_and_streamed() {
    let ask = Exchange::post(
        HOST,
        "/v1/generate",
        &json!({ "prompt": "hi", "num_generations": 2, "max_tokens": 5 }),
    );
    let call = ask.call();
    assert_eq!((call.request.request_type, call.request.messages.len()), (RequestType::Completion, 1));
    let whole = ask
        .clone()
        .json(&json!({
            "id": "i", "prompt": "hi",
            "generations": [{ "id": "a", "text": "ho", "finish_reason": "COMPLETE" }, { "id": "b", "text": "hu", "finish_reason": "MAX_TOKENS" }],
            "meta": { "billed_units": { "input_tokens": 1, "output_tokens": 2 } },
        }))
        .answer();
    let mut streamed = ask.response_header("content-type", "application/stream+json");
    streamed.response = [
        json!({ "text": "h", "index": 0, "is_finished": false }),
        json!({ "text": "hu", "index": 1, "is_finished": false }),
        json!({ "text": "o", "index": 0, "is_finished": false }),
        json!({ "is_finished": true, "finish_reason": "COMPLETE", "response": { "id": "i",
            "generations": [{ "text": "ho", "index": 0, "finish_reason": "COMPLETE" }, { "text": "hu", "index": 1, "finish_reason": "MAX_TOKENS" }],
            "meta": { "billed_units": { "input_tokens": 1, "output_tokens": 2 } } } }),
    ]
    .iter()
    .map(|event| format!("{event}\n").as_str().into())
    .collect();
    for answer in [whole, streamed.answer()] {
        let choices: Vec<_> = answer
            .response
            .choices
            .iter()
            .map(|choice| {
                (
                    choice.index,
                    choice.message.as_ref().unwrap().content.clone().unwrap(),
                    choice.finish_reason,
                )
            })
            .collect();
        assert_eq!(
            choices,
            [(0, json!("ho"), Some(FinishReason::Stop)), (1, json!("hu"), Some(FinishReason::Length))]
        );
        assert_eq!(answer.response.usage, Some(usage(1, 2)));
        assert_eq!(answer.extension["response_id"], "i");
        assert!(answer.findings.is_empty(), "{:?}", answer.findings);
    }
}

#[test]
fn embeddings_of_every_type_have_number_and_dimensions() {
    for (path, request, embeddings, dimensions) in [
        ("/v1/embed", json!({ "texts": ["a", "b"], "model": "e" }), json!([[1.0, 2.0], [1.0, 2.0]]), Some(2)),
        (
            "/v2/embed",
            json!({ "texts": ["a", "b"], "model": "e" }),
            json!({ "float": [[1.0, 2.0], [1.0, 2.0]], "int8": [[1, 2], [1, 2]] }),
            Some(2),
        ),
        (
            "/v2/embed",
            json!({ "inputs": [{ "content": [{ "type": "text", "text": "a" }] }, { "content": [{ "type": "image_url", "image_url": { "url": "data:image/png;base64,QUJD" } }] }], "model": "e" }),
            json!({ "ubinary": [[1, 2], [1, 2]] }),
            Some(16),
        ),
        (
            "/v2/embed",
            json!({ "texts": ["a", "b"], "model": "e" }),
            json!({ "base64": ["QUJD", "QUJD"] }),
            None,
        ),
    ] {
        let exchange = Exchange::post(HOST, path, &request).json(&json!({
            "id": "x", "embeddings": embeddings, "meta": { "billed_units": { "input_tokens": 4 } },
        }));
        let call = exchange.call();
        assert_eq!(call.request.request_type, RequestType::Embedding);
        assert_eq!(call.request.messages[0].content, Some("a".into()));
        let answer = exchange.answer();
        let embedding = answer.embedding.unwrap();
        assert_eq!((embedding.count, embedding.dimensions), (2, dimensions), "{embeddings}");
        let usage = answer.response.usage.as_ref().unwrap();
        assert_eq!((usage.prompt_tokens, usage.completion_tokens), (Some(4), None));
        assert!(answer.findings.is_empty(), "{:?}", answer.findings);
    }
}

#[test]
fn reranking_counts_what_was_searched() {
    for path in ["/v1/rerank", "/v2/rerank"] {
        let exchange = Exchange::post(HOST, path, &json!({ "model": "r", "query": "q", "documents": ["a", "b"] }))
            .json(&json!({
                "id": "x", "results": [{ "index": 1, "relevance_score": 0.5 }], "meta": { "billed_units": { "search_units": 1 } },
            }));
        let call = exchange.call();
        assert_eq!(
            (call.request.request_type, &call.extension["documents"]),
            (RequestType::Other, &json!(2))
        );
        let answer = exchange.answer();
        assert_eq!(answer.extension["usage"]["billed_units"]["search_units"], 1);
        assert_eq!((answer.response.usage.as_ref(), &answer.extension["results"]), (None, &json!(1)));
        assert!(answer.findings.is_empty(), "{:?}", answer.findings);
    }
}

#[test]
fn compatible_interface_and_unknown_hosts_are_told_apart() {
    let body = json!({ "model": "command-a", "messages": [{ "role": "user", "content": "hi" }] });
    let call = Exchange::post(HOST, "/compatibility/v1/chat/completions", &body).call();
    assert_eq!(call.extension["api_format"], "openai_chat");
    let call = Exchange::post("gateway.example", "/v2/chat", &body).call();
    assert_eq!(call.extension["provider_id"], "cohere_compatible");
}
