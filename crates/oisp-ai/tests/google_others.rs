//! What Google serves beside Gemini's answers: embeddings, token counts, interactions, other makers' models; and what of it
//! is no call.

mod common;

use common::{Exchange, Piece, content};
use oisp_ai::Embedding;
use oisp_event::{FinishReason, ProviderName, RequestType, Role, ToolType, Usage};
use serde_json::{Value, json};

const HOST: &str = "generativelanguage.googleapis.com";
const VERTEX: &str = "us-east5-aiplatform.googleapis.com";

fn prompt(answer: &oisp_ai::AiAnswer) -> Option<u64> {
    answer.response.usage.as_ref().and_then(|usage| usage.prompt_tokens)
}

#[test]
fn embeddings_say_what_was_sent_and_how_many_vectors_came_back() {
    let vector = json!([0.1, 0.2, 0.3]);
    let batch = (
        "/v1beta/models/gemini-embedding-001:batchEmbedContents",
        json!({ "requests": [
            { "model": "models/gemini-embedding-001", "content": { "parts": [{ "text": "a" }] }, "outputDimensionality": 3 },
            { "model": "models/gemini-embedding-001", "content": { "parts": [{ "text": "b" }] }, "outputDimensionality": 3 },
        ] }),
        json!({ "embeddings": [{ "values": vector }, { "values": vector }] }),
    );
    let (call, answer) = Exchange::post(HOST, batch.0, &batch.1).json(&batch.2).interpret();
    let (call, answer) = (call.unwrap(), answer.unwrap());
    assert_eq!(call.request.request_type, RequestType::Embedding);
    assert_eq!(call.request.model.as_ref().unwrap().id, "gemini-embedding-001");
    let messages: Vec<_> = call.request.messages.iter().map(|m| (m.role, m.content.clone())).collect();
    assert_eq!(messages, [(Role::User, Some(json!("a"))), (Role::User, Some(json!("b")))]);
    assert_eq!(call.extension["parameters"]["output_dimensionality"], 3);
    assert_eq!(answer.embedding, Some(Embedding { count: 2, dimensions: Some(3) }));
    assert_eq!(answer.response.usage, None);
    assert!(answer.response.choices.is_empty());
    assert!(call.findings.is_empty() && answer.findings.is_empty());

    let answer = Exchange::post(
        HOST,
        "/v1beta/models/e:embedContent",
        &json!({ "content": { "parts": [{ "text": "a" }] }, "taskType": "RETRIEVAL_QUERY" }),
    )
    .json(&json!({ "embedding": { "values": vector }, "usageMetadata": { "promptTokenCount": 2 } }))
    .answer();
    assert_eq!(answer.embedding, Some(Embedding { count: 1, dimensions: Some(3) }));
    assert_eq!(prompt(&answer), Some(2));

    let path = "/v1/projects/p/locations/us-east5/publishers/google/models/text-embedding-005:predict";
    let body = json!({ "instances": [{ "content": "a", "task_type": "X" }, { "content": "b" }], "parameters": { "outputDimensionality": 3 } });
    let prediction =
        json!({ "embeddings": { "values": vector, "statistics": { "token_count": 4, "truncated": false } } });
    let (call, answer) = Exchange::post(VERTEX, path, &body)
        .json(
            &json!({ "predictions": [prediction, prediction], "metadata": { "billableCharacterCount": 2 } }),
        )
        .interpret();
    let (call, answer) = (call.unwrap(), answer.unwrap());
    assert_eq!(call.request.messages_count, Some(2));
    assert_eq!(call.request.messages[1].content, Some(json!("b")));
    assert_eq!(answer.embedding, Some(Embedding { count: 2, dimensions: Some(3) }));
    assert_eq!(prompt(&answer), Some(8));
    assert_eq!(answer.extension["usage"]["billableCharacterCount"], 2);
}

#[test]
fn embedding_of_images_gives_sizes_and_no_content() {
    let path = "/v1/projects/p/locations/us-east5/publishers/google/models/multimodalembedding@001:predict";
    let (call, answer) = Exchange::post(
        VERTEX,
        path,
        &json!({ "instances": [{ "text": "a", "image": { "bytesBase64Encoded": "SECRET" } }] }),
    )
    .json(&json!({ "predictions": [{ "textEmbedding": [0.1, 0.2], "imageEmbedding": [0.1, 0.2] }] }))
    .interpret();
    let (call, answer) = (call.unwrap(), answer.unwrap());
    assert_eq!(call.request.image_count, Some(1));
    assert_eq!(call.extension["parts"][0]["encoded_bytes"], 6);
    assert!(!format!("{:?}", call.extension).contains("SECRET"));
    assert_eq!(answer.embedding, Some(Embedding { count: 2, dimensions: Some(2) }));
}

#[test]
fn counting_tokens_is_no_chat_and_uses_none() {
    let contents = json!([{ "role": "user", "parts": [{ "text": "hi" }] }]);
    for body in [
        json!({ "contents": contents }),
        json!({ "generateContentRequest": { "model": "models/gemini", "contents": contents } }),
    ] {
        let (call, answer) = Exchange::post(HOST, "/v1beta/models/gemini:countTokens", &body)
            .json(&json!({ "totalTokens": 31, "promptTokensDetails": [{ "modality": "TEXT", "tokenCount": 31 }] }))
            .interpret();
        let (call, answer) = (call.unwrap(), answer.unwrap());
        assert_eq!(call.request.request_type, RequestType::Other);
        assert_eq!(call.request.model.as_ref().unwrap().id, "gemini");
        assert_eq!(call.request.messages[0].content, Some(json!("hi")));
        assert_eq!(call.extension["api_format"], "count_tokens");
        assert_eq!(answer.response.usage, None);
        assert!(answer.response.choices.is_empty());
        assert_eq!(answer.extension["counted_tokens"], 31);
        assert!(call.findings.is_empty() && answer.findings.is_empty());
    }
    let (call, answer) = Exchange::post(
        VERTEX,
        "/v1/projects/p/locations/us-east5/publishers/anthropic/models/count-tokens:rawPredict",
        &json!({ "model": "claude-x", "messages": [{ "role": "user", "content": "hi" }], "anthropic_version": "vertex-2023-10-16" }),
    )
    .json(&json!({ "input_tokens": 8 }))
    .interpret();
    let (call, answer) = (call.unwrap(), answer.unwrap());
    assert_eq!(call.request.model.as_ref().unwrap().id, "claude-x");
    assert_eq!(call.request.request_type, RequestType::Other);
    assert_eq!(answer.extension["counted_tokens"], 8);
}

#[test]
fn other_makers_models_on_vertex_are_read_in_their_makers_format() {
    let base = "/v1/projects/p/locations/us-east5/publishers";
    let messages = json!([{ "role": "user", "content": "hi" }]);
    let claude = json!({ "type": "message", "role": "assistant", "model": "claude-3-7", "id": "msg_vrtx_1",
        "content": [{ "type": "text", "text": "ola" }], "stop_reason": "end_turn",
        "usage": { "input_tokens": 3, "output_tokens": 4 } });
    let (call, answer) = Exchange::post(
        VERTEX,
        &format!("{base}/anthropic/models/claude-3-7@2025:rawPredict"),
        &json!({ "anthropic_version": "vertex-2023-10-16", "max_tokens": 5, "messages": messages }),
    )
    .json(&claude)
    .interpret();
    let (call, answer) = (call.unwrap(), answer.unwrap());
    assert_eq!(call.request.model.as_ref().unwrap().id, "claude-3-7@2025");
    assert_eq!(call.extension["api_format"], "anthropic_messages");
    assert_eq!(call.extension["provider_id"], "vertex_ai");
    assert_eq!(call.request.provider.region.as_deref(), Some("us-east5"));
    assert_eq!(call.request.streaming, Some(false));
    assert_eq!(content(&answer), Some("ola"));

    let call = Exchange::post(
        VERTEX,
        &format!("{base}/anthropic/models/claude:streamRawPredict"),
        &json!({ "anthropic_version": "vertex-2023-10-16", "messages": messages }),
    )
    .call();
    assert_eq!(call.request.streaming, Some(true));

    let (call, answer) = Exchange::post(
        VERTEX,
        &format!("{base}/mistralai/models/mistral-large:rawPredict"),
        &json!({ "model": "mistral-large", "messages": messages }),
    )
    .json(&json!({ "object": "chat.completion", "model": "mistral-large", "choices": [
        { "index": 0, "message": { "role": "assistant", "content": "salut" }, "finish_reason": "stop" }] }))
    .interpret();
    assert_eq!(call.unwrap().extension["api_format"], "openai_chat");
    assert_eq!(content(&answer.unwrap()), Some("salut"));

    let listed = Exchange::post(
        VERTEX,
        &format!("{base}/anthropic/models/claude:streamRawPredict"),
        &json!({ "anthropic_version": "vertex-2023-10-16", "messages": messages, "stream": true }),
    )
    .status(404)
    .json(&json!([{ "error": { "code": 404, "message": "no such model", "status": "NOT_FOUND" } }]))
    .answer();
    assert_eq!(listed.response.error.unwrap().error_type.as_deref(), Some("NOT_FOUND"));
}

fn interaction(stream: bool, input: Value) -> Exchange {
    Exchange::post(
        HOST,
        "/v1beta/interactions",
        &json!({
            "model": "gemini-3", "input": input, "stream": stream, "system_instruction": "be kind",
            "previous_interaction_id": "v1_before",
            "tools": [{ "type": "function", "name": "f", "description": "d" }, { "type": "code_execution" },
                      { "type": "mcp_server", "name": "files", "url": "https://h", "headers": { "authorization": "SECRET" } }],
            "generation_config": { "temperature": 0.5, "max_output_tokens": 9, "thinking_level": "low", "tool_choice": "auto" },
        }),
    )
}

fn event(kind: &str, mut fields: Value) -> Value {
    fields["event_type"] = kind.into();
    fields
}

fn named(events: &[Value]) -> Vec<Piece> {
    let mut pieces: Vec<Piece> = events
        .iter()
        .map(|event| {
            format!("event: {}\ndata: {event}\n\n", event["event_type"].as_str().unwrap_or_default())
                .as_str()
                .into()
        })
        .collect();
    pieces.push("event: done\ndata: [DONE]\n\n".into());
    pieces
}

fn interaction_events() -> Vec<Value> {
    vec![
        event(
            "interaction.created",
            json!({ "interaction": { "id": "v1_a", "status": "in_progress", "object": "interaction", "model": "gemini-3" } }),
        ),
        event("interaction.status_update", json!({ "interaction_id": "v1_a", "status": "in_progress" })),
        event(
            "step.start",
            json!({ "index": 0, "step": { "type": "thought", "summary": [{ "type": "text", "text": "h" }] } }),
        ),
        event(
            "step.delta",
            json!({ "index": 0, "delta": { "type": "thought_summary", "content": { "type": "text", "text": "m" } } }),
        ),
        event(
            "step.delta",
            json!({ "index": 0, "delta": { "type": "thought_signature", "signature": "s" } }),
        ),
        event("step.stop", json!({ "index": 0 })),
        event(
            "step.start",
            json!({ "index": 1, "step": { "type": "model_output", "content": [{ "type": "text", "text": "h" }] } }),
        ),
        event("step.delta", json!({ "index": 1, "delta": { "type": "text", "text": "ello" } })),
        event("step.stop", json!({ "index": 1 })),
        event(
            "step.start",
            json!({ "index": 2, "step": { "type": "function_call", "id": "c1", "name": "f", "arguments": {} } }),
        ),
        event(
            "step.delta",
            json!({ "index": 2, "delta": { "type": "arguments_delta", "arguments": "{\"a\":" } }),
        ),
        event("step.delta", json!({ "index": 2, "delta": { "type": "arguments_delta", "arguments": "1}" } })),
        event("step.stop", json!({ "index": 2 })),
        event(
            "interaction.completed",
            json!({ "interaction": { "id": "v1_a", "status": "requires_action", "model": "gemini-3",
            "usage": { "total_input_tokens": 10, "total_output_tokens": 5, "total_thought_tokens": 7,
                       "total_cached_tokens": 3, "total_tokens": 22 } } }),
        ),
    ]
}

#[test]
fn interaction_is_read_streamed_and_whole() {
    let (call, streamed) =
        interaction(true, json!("hi")).sse_pieces(named(&interaction_events())).interpret();
    let call = call.unwrap();
    let request = &call.request;
    assert_eq!(request.model.as_ref().unwrap().id, "gemini-3");
    assert_eq!(request.streaming, Some(true));
    assert_eq!(request.messages[0].role, Role::System);
    assert_eq!(request.messages[1].content, Some(json!("hi")));
    assert_eq!(request.tools[1].tool_type, Some(ToolType::CodeInterpreter));
    assert_eq!(call.extension["mcp_servers"], json!(["files"]));
    assert_eq!(call.extension["previous_response_id"], "v1_before");
    assert_eq!(call.extension["parameters"]["thinking_level"], "low");
    assert_eq!(request.tool_choice.as_deref(), Some("auto"));
    assert_eq!(request.parameters.as_ref().unwrap().max_tokens, Some(9));
    assert!(!format!("{:?}", call.extension).contains("SECRET"));

    let whole = interaction(false, json!("hi"))
        .json(&json!({
            "id": "v1_a", "object": "interaction", "status": "requires_action", "model": "gemini-3",
            "steps": [
                { "type": "user_input", "content": [{ "type": "text", "text": "hi" }] },
                { "type": "thought", "summary": [{ "type": "text", "text": "hm" }], "signature": "s" },
                { "type": "model_output", "content": [{ "type": "text", "text": "hello" }] },
                { "type": "function_call", "id": "c1", "name": "f", "arguments": { "a": 1 } },
            ],
            "usage": { "total_input_tokens": 10, "total_output_tokens": 5, "total_thought_tokens": 7,
                       "total_cached_tokens": 3, "total_tokens": 22 },
        }))
        .answer();
    for answer in [streamed.unwrap(), whole] {
        assert_eq!(content(&answer), Some("hello"));
        assert_eq!(answer.extension["reasoning"], json!([{ "choice": 0, "text": "hm" }]));
        let calls = &answer.response.tool_calls;
        assert_eq!(
            (calls.len(), calls[0].id.as_deref(), calls[0].name.as_deref()),
            (1, Some("c1"), Some("f"))
        );
        assert_eq!(calls[0].arguments.as_deref(), Some(r#"{"a":1}"#));
        assert_eq!(answer.response.finish_reason, Some(FinishReason::ToolCalls));
        assert_eq!(answer.extension["finish_reason"], "requires_action");
        assert_eq!(answer.extension["response_id"], "v1_a");
        assert_eq!(
            answer.response.usage,
            Some(Usage {
                prompt_tokens: Some(10),
                completion_tokens: Some(12),
                total_tokens: Some(22),
                cached_tokens: Some(3),
                reasoning_tokens: Some(7),
                ..Usage::default()
            })
        );
        assert!(answer.findings.is_empty(), "{:?}", answer.findings);
    }
}

#[test]
fn interaction_input_is_read_in_every_form() {
    let roles_and_texts = |input: Value| {
        let call = interaction(false, input).call();
        assert!(call.findings.is_empty(), "{:?}", call.findings);
        let messages = call.request.messages.iter().skip(1);
        messages.map(|message| (message.role, message.content.clone())).collect::<Vec<_>>()
    };
    let user = |text: &str| (Role::User, Some(json!(text)));
    assert_eq!(
        roles_and_texts(json!([
            { "type": "text", "text": "a" }, { "type": "image", "mime_type": "image/png", "data": "AA" },
        ])),
        [user("a")]
    );
    assert_eq!(
        roles_and_texts(json!([
            { "role": "user", "content": "a" }, { "role": "model", "content": [{ "type": "text", "text": "b" }] },
        ])),
        [user("a"), (Role::Assistant, Some(json!("b")))]
    );
    assert_eq!(
        roles_and_texts(json!([
            { "type": "user_input", "content": [{ "type": "text", "text": "a" }] },
            { "type": "function_call", "id": "c", "name": "f", "arguments": {} },
            { "type": "function_result", "call_id": "c", "name": "f", "result": "42" },
        ])),
        [user("a"), (Role::Assistant, None), (Role::Tool, Some(json!("42")))]
    );
}

#[test]
fn interaction_with_lost_bytes_splices_nothing() {
    let mut pieces = named(&interaction_events());
    // The event after a gap is not certain to be whole, so it is lost with what the gap held.
    pieces[7] = Piece::Gap(50);
    pieces[10] = Piece::Gap(50);
    let answer = interaction(true, json!("hi")).sse_pieces(pieces).answer();
    assert_eq!(content(&answer), Some("h"));
    assert_eq!(answer.extension["incomplete_tool_calls"], json!([0]));
    assert_eq!(answer.response.tool_calls[0].name.as_deref(), Some("f"));
    assert_eq!(answer.response.tool_calls[0].arguments, None);
}

#[test]
fn interaction_tells_of_errors_in_mid_stream_and_of_a_failed_step() {
    let mut events = interaction_events();
    events.truncate(8);
    events.push(event("error", json!({ "error": { "code": "internal", "message": "broke" } })));
    let answer = interaction(true, json!("hi")).sse_pieces(named(&events)).answer();
    assert_eq!(content(&answer), Some("hello"));
    assert_eq!(answer.response.error.as_ref().unwrap().message.as_deref(), Some("broke"));
    assert_eq!(answer.response.success, Some(false));

    let answer = interaction(false, json!("hi"))
        .json(&json!({ "id": "v1", "object": "interaction", "status": "failed", "steps": [
            { "type": "model_output", "error": { "code": 13, "message": "broke" } }] }))
        .answer();
    assert_eq!(answer.response.error.as_ref().unwrap().message.as_deref(), Some("broke"));
    assert_eq!(answer.response.finish_reason, Some(FinishReason::Error));
}

#[test]
fn the_format_is_known_on_any_host_by_path_and_by_body() {
    let body = json!({ "contents": [{ "parts": [{ "text": "hi" }] }] });
    let gateway = Exchange::post("gateway.example", "/google/v1beta/models/g:generateContent", &body);
    let (call, answer) = gateway
        .json(
            &json!({ "candidates": [{ "content": { "parts": [{ "text": "x" }] }, "finishReason": "STOP" }] }),
        )
        .interpret();
    assert_eq!(call.unwrap().extension["provider_id"], "gemini_compatible");
    assert_eq!(content(&answer.unwrap()), Some("x"));
    let call = Exchange::post("gateway.example", "/ask", &body).call();
    assert_eq!((call.request.streaming, call.extension["api_format"].as_str()), (None, Some("gemini")));
}

#[test]
fn what_else_googles_hosts_serve_is_no_call() {
    for (host, path) in [
        ("aiplatform.googleapis.com", "/v1/projects/p/locations/l/customJobs"),
        (HOST, "/v1beta/cachedContents"),
        (HOST, "/upload/v1beta/files"),
        ("cloudcode-pa.googleapis.com", "/v1internal:loadCodeAssist"),
    ] {
        assert!(Exchange::post(host, path, &json!({ "a": 1 })).interpret().0.is_none(), "{path}");
    }
    // A call that is not read is told of all the same.
    let (call, _) = Exchange::post(
        "us-central1-aiplatform.googleapis.com",
        "/google.cloud.aiplatform.v1.PredictionService/StreamGenerateContent",
        &json!({}),
    )
    .interpret();
    let call = call.unwrap();
    assert_eq!(call.findings.reasons, ["unknown_format"]);
    assert_eq!(call.request.provider.region.as_deref(), Some("us-central1"));
}

#[test]
fn openais_interface_at_google_stays_openais() {
    for (host, path, id) in [
        (HOST, "/v1beta/openai/chat/completions", "gemini"),
        (
            "us-central1-aiplatform.googleapis.com",
            "/v1/projects/p/locations/us-central1/endpoints/openapi/chat/completions",
            "vertex_ai",
        ),
    ] {
        let call = Exchange::post(
            host,
            path,
            &json!({ "model": "google/gemini", "messages": [{ "role": "user", "content": "hi" }] }),
        )
        .call();
        assert_eq!(call.extension["api_format"], "openai_chat");
        assert_eq!(call.extension["provider_id"], id);
        assert_eq!(call.request.model.as_ref().unwrap().id, "google/gemini");
        assert_eq!(call.request.provider.name, ProviderName::Google);
    }
}

#[test]
fn interaction_in_the_background_has_a_status_and_no_reason_to_finish() {
    let answer = interaction(false, json!("hi"))
        .json(&json!({ "id": "v1", "object": "interaction", "status": "in_progress" }))
        .answer();
    assert_eq!(answer.extension["status"], "in_progress");
    assert_eq!(answer.response.finish_reason, None);
    assert_eq!(answer.extension.get("finish_reason"), None);
    assert!(answer.response.choices.is_empty());
}

#[test]
fn project_is_also_read_from_the_header_that_names_who_pays() {
    let call = Exchange::post(
        HOST,
        "/v1beta/models/g:generateContent",
        &json!({ "contents": [{ "parts": [{ "text": "hi" }] }] }),
    )
    .request_header("x-goog-user-project", "p-2")
    .call();
    assert_eq!(call.request.provider.project_id.as_deref(), Some("p-2"));
}
