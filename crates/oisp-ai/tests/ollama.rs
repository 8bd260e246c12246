//! Ollama's own interface: lines of JSON, streamed unless the request says otherwise.

mod common;

use common::{Exchange, Piece, content};
use oisp_event::{FinishReason, ProviderName, RequestType, Role, ToolType, Usage};
use serde_json::{Value, json};

fn chat() -> Exchange {
    Exchange::post(
        "localhost:11434",
        "/api/chat",
        &json!({ "model": "llama3", "messages": [{ "role": "user", "content": "hi" }] }),
    )
}

fn lines(exchange: Exchange, lines: &[Value]) -> Exchange {
    let pieces = lines.iter().map(|line| Piece::from(format!("{line}\n").as_str())).collect();
    with_pieces(exchange, pieces)
}

fn with_pieces(mut exchange: Exchange, pieces: Vec<Piece>) -> Exchange {
    exchange = exchange.response_header("content-type", "application/x-ndjson");
    exchange.response = pieces;
    exchange
}

fn said(text: &str) -> Value {
    json!({ "model": "llama3", "created_at": "2025", "message": { "role": "assistant", "content": text }, "done": false })
}

fn end() -> Value {
    json!({ "model": "llama3", "message": { "role": "assistant", "content": "" }, "done": true,
            "done_reason": "stop", "total_duration": 900, "load_duration": 100,
            "prompt_eval_count": 11, "prompt_eval_duration": 200, "eval_count": 4, "eval_duration": 300 })
}

#[test]
fn request_is_read_whole_and_streams_where_it_does_not_say() {
    let call = Exchange::post(
        "localhost:11434",
        "/api/chat",
        &json!({
            "model": "qwen3",
            "messages": [
                { "role": "system", "content": "be kind" },
                { "role": "user", "content": "what is it", "images": ["AAAA", "BBBBBBBB"] },
                { "role": "assistant", "content": "", "thinking": "hmm", "tool_calls": [
                    { "function": { "name": "f", "arguments": { "a": [1, 2] } } } ] },
                { "role": "tool", "content": "2", "tool_name": "f" },
            ],
            "tools": [{ "type": "function", "function": { "name": "f", "description": "does", "parameters": {} } }],
            "options": { "num_predict": 7, "temperature": 0.5, "stop": ["END"], "num_ctx": 4096, "seed": 1 },
            "think": "high", "keep_alive": "5m", "format": { "type": "object" },
        }),
    )
    .call();
    let request = &call.request;
    assert_eq!((request.request_type, request.streaming), (RequestType::Chat, Some(true)));
    assert_eq!(request.provider.name, ProviderName::Ollama);
    assert_eq!(request.model.as_ref().unwrap().id, "qwen3");
    let roles: Vec<_> = request.messages.iter().map(|message| message.role).collect();
    assert_eq!(roles, [Role::System, Role::User, Role::Assistant, Role::Tool]);
    assert_eq!((request.messages[1].image_count, request.image_count), (Some(2), Some(2)));
    assert_eq!(request.messages[3].name.as_deref(), Some("f"));
    assert_eq!(request.tools[0].tool_type, Some(ToolType::Function));
    let parameters = request.parameters.as_ref().unwrap();
    assert_eq!((parameters.max_tokens, parameters.temperature), (Some(7), Some(0.5)));
    assert_eq!(parameters.stop, ["END"]);
    assert_eq!(
        call.extension["parameters"],
        json!({ "think": "high", "keep_alive": "5m", "format": { "type": "object" }, "num_ctx": 4096, "seed": 1 })
    );
    assert_eq!(call.extension["message_tool_calls"][0]["arguments"], r#"{"a":[1,2]}"#);
    assert_eq!(call.extension["parts"][1]["encoded_bytes"], 8);
    assert_eq!(call.extension["api_format"], "ollama");
    assert!(call.findings.is_empty(), "{:?}", call.findings);
}

#[test]
fn generate_request_on_a_named_host_and_on_an_unknown_one_is_read() {
    for (host, id) in [("ollama.com", "ollama"), ("models.internal.example:8443", "ollama")] {
        let body = json!({ "model": "codellama", "system": "s", "prompt": "def", "suffix": "return", "stream": false,
                           "options": { "num_predict": -1 }, "context": [1, 2, 3], "images": ["QUFB"] });
        let call = Exchange::post(host, "/api/generate", &body).call();
        let request = &call.request;
        assert_eq!((request.request_type, request.streaming), (RequestType::Completion, Some(false)));
        let said: Vec<_> = request.messages.iter().map(|message| message.content.clone().unwrap()).collect();
        assert_eq!(said, ["s", "def", "return"]);
        assert_eq!(request.messages[2].name.as_deref(), Some("suffix"));
        assert_eq!(request.image_count, Some(1));
        assert_eq!(request.parameters.as_ref().unwrap().max_tokens, None);
        assert_eq!(call.extension["parameters"]["num_predict"], -1);
        assert_eq!(call.extension["context_tokens"], 3);
        assert_eq!(call.detection.provider_id, id);
    }
}

#[test]
fn body_of_an_application_at_the_same_path_is_not_taken_for_ollamas() {
    let parts =
        json!({ "id": "c", "messages": [{ "role": "user", "parts": [{ "type": "text", "text": "hi" }] }] });
    assert!(Exchange::post("app.example", "/api/chat", &parts).interpret().0.is_none());
    let other = json!({ "model": "x", "kind": "report" });
    assert!(Exchange::post("app.example", "/api/generate", &other).interpret().0.is_none());
}

#[test]
fn stream_is_collected_with_thinking_parallel_tool_calls_and_usage() {
    let thought = json!({ "model": "llama3", "message": { "role": "assistant", "content": "", "thinking": "hm" }, "done": false });
    let calls = json!({ "model": "llama3", "done": false, "message": { "role": "assistant", "content": "", "tool_calls": [
        { "id": "call_1", "function": { "index": 0, "name": "f", "arguments": { "x": 1 } } },
        { "function": { "name": "g", "arguments": {} } } ] } });
    let answer = lines(chat(), &[thought, said("Hel"), said("lo"), calls, end()]).answer();
    assert_eq!(content(&answer), Some("Hello"));
    let response = &answer.response;
    let calls: Vec<_> = response
        .tool_calls
        .iter()
        .map(|call| (call.id.as_deref(), call.name.as_deref().unwrap(), call.arguments.as_deref().unwrap()))
        .collect();
    assert_eq!(calls, [(Some("call_1"), "f", r#"{"x":1}"#), (None, "g", "{}")]);
    assert_eq!(response.finish_reason, Some(FinishReason::ToolCalls));
    assert_eq!(
        response.usage,
        Some(Usage {
            prompt_tokens: Some(11),
            completion_tokens: Some(4),
            total_tokens: Some(15),
            ..Usage::default()
        })
    );
    assert_eq!(answer.extension["reasoning"], json!([{ "choice": 0, "text": "hm" }]));
    assert_eq!(answer.extension["server_timings_ns"]["eval_duration"], 300);
    assert_eq!(answer.extension["usage"], json!({ "prompt_eval_count": 11, "eval_count": 4 }));
    assert_eq!(answer.extension["streamed"], true);
    // The request's last byte was captured at 2 ms, the first line at 5 ms.
    assert_eq!(response.time_to_first_token_ms, Some(3));
    assert!(answer.findings.is_empty(), "{:?}", answer.findings);
}

#[test]
fn whole_answer_is_read_and_cached_prompt_leaves_its_count_out() {
    let answer = Exchange::post(
        "h:1",
        "/api/generate",
        &json!({ "model": "m", "prompt": "p", "stream": false }),
    )
    .json(&json!({ "model": "m", "response": "yes", "thinking": "hm", "done": true, "done_reason": "length",
                       "context": [1, 2], "eval_count": 3 }))
    .answer();
    assert_eq!(content(&answer), Some("yes"));
    assert_eq!(answer.response.finish_reason, Some(FinishReason::Length));
    assert_eq!(answer.response.usage, Some(Usage { completion_tokens: Some(3), ..Usage::default() }));
    assert!(answer.findings.is_empty(), "{:?}", answer.findings);
}

#[test]
fn errors_are_told_by_status_and_in_the_middle_of_a_stream() {
    let answer = chat().status(404).json(&json!({ "error": "model 'x' not found" })).answer();
    assert_eq!(answer.response.success, Some(false));
    assert_eq!(answer.response.error.unwrap().message.as_deref(), Some("model 'x' not found"));
    for before in [vec![], vec![said("Hel")]] {
        let all: Vec<Value> = before.iter().cloned().chain([json!({ "error": "out of memory" })]).collect();
        let answer = lines(chat(), &all).answer();
        assert_eq!((answer.response.status_code, answer.response.success), (Some(200), Some(false)));
        assert_eq!(answer.response.error.as_ref().unwrap().message.as_deref(), Some("out of memory"));
        if !before.is_empty() {
            assert_eq!(content(&answer), Some("Hel"));
        }
    }
}

#[test]
fn text_after_lost_bytes_is_kept_apart_and_an_early_end_is_said() {
    let line = |value: &Value| Piece::from(format!("{value}\n").as_str());
    let pieces = vec![line(&said("a")), Piece::Gap(50), line(&said("lost")), line(&said("b")), line(&end())];
    let answer = with_pieces(chat(), pieces).answer();
    assert_eq!(content(&answer), Some("a"));
    assert_eq!(answer.extension["content_after_gap"], json!([{ "after_gap": 1, "choice": 0, "text": "b" }]));
    let answer = lines(chat(), &[said("a")]).answer();
    assert!(answer.findings.reasons.contains(&"stream_ended_early".to_owned()));
}

#[test]
fn embeddings_of_both_kinds_are_counted_and_measured() {
    let answer = Exchange::post("localhost:11434", "/api/embed", &json!({ "model": "e", "input": ["a", "b"] }))
        .json(&json!({ "model": "e", "embeddings": [[0.1, 0.2, 0.3], [1, 2, 3]], "total_duration": 5, "prompt_eval_count": 8 }))
        .answer();
    let embedding = answer.embedding.unwrap();
    assert_eq!((embedding.count, embedding.dimensions), (2, Some(3)));
    assert_eq!(answer.response.usage.unwrap().prompt_tokens, Some(8));
    assert!(answer.findings.is_empty(), "{:?}", answer.findings);
    let (call, answer) = Exchange::post("h:1", "/api/embeddings", &json!({ "model": "e", "prompt": "a" }))
        .json(&json!({ "embedding": [0.1, 0.2] }))
        .interpret();
    let request = call.unwrap().request;
    assert_eq!((request.request_type, request.streaming), (RequestType::Embedding, Some(false)));
    assert_eq!(request.messages[0].content, Some(json!("a")));
    assert_eq!(answer.unwrap().embedding.unwrap().dimensions, Some(2));
}
