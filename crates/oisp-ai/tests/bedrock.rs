//! AWS Bedrock: Converse, invocations of every maker's models, who signed, where it went.

mod common;

use common::AwsFrame::{Chunk, Event, Exception};
use common::{Exchange, Piece, content};
use oisp_event::{AuthType, FinishReason, Level, ProviderName, RequestType, Role, ToolType, Usage};
use serde_json::{Value, json};

const HOST: &str = "bedrock-runtime.eu-west-1.amazonaws.com";

fn converse(body: &Value) -> Exchange {
    Exchange::post(HOST, "/model/us.amazon.nova-pro-v1%3A0/converse", body)
}

fn converse_stream() -> Exchange {
    let body = json!({ "messages": [{ "role": "user", "content": [{ "text": "hi" }] }] });
    Exchange::post(HOST, "/model/anthropic.claude-v9/converse-stream", &body)
}

fn invoke(model: &str, body: &Value) -> Exchange {
    Exchange::post(HOST, &format!("/model/{model}/invoke"), body)
}

fn invoke_stream(model: &str, body: &Value) -> Exchange {
    Exchange::post(HOST, &format!("/model/{model}/invoke-with-response-stream"), body)
}

fn usage(prompt: u64, completion: u64) -> Usage {
    Usage {
        prompt_tokens: Some(prompt),
        completion_tokens: Some(completion),
        total_tokens: Some(prompt + completion),
        ..Usage::default()
    }
}

#[test]
fn converse_request_is_read_whole() {
    let call = converse(&json!({
        "system": [{ "text": "be kind" }, { "cachePoint": { "type": "default" } }],
        "messages": [
            { "role": "user", "content": [
                { "text": "what is this" },
                { "image": { "format": "png", "source": { "bytes": "QUJD" } } },
                { "document": { "format": "pdf", "name": "report", "source": { "bytes": "QUJDREVG" } } },
                { "guardContent": { "text": { "text": "guarded", "qualifiers": ["query"] } } },
            ] },
            { "role": "assistant", "content": [
                { "reasoningContent": { "reasoningText": { "text": "hmm", "signature": "s" } } },
                { "toolUse": { "toolUseId": "t1", "name": "look", "input": { "at": 1 } } },
            ] },
            { "role": "user", "content": [
                { "toolResult": { "toolUseId": "t1", "content": [{ "json": { "seen": true } }], "status": "error" } },
            ] },
        ],
        "inferenceConfig": { "maxTokens": 100, "temperature": 0.5, "topP": 0.75, "stopSequences": ["END"] },
        "toolConfig": {
            "tools": [
                { "toolSpec": { "name": "look", "description": "looks", "inputSchema": { "json": {} } } },
                { "cachePoint": { "type": "default" } },
                { "systemTool": { "name": "nova_grounding" } },
            ],
            "toolChoice": { "auto": {} },
        },
        "additionalModelRequestFields": { "top_k": 5 },
        "guardrailConfig": { "guardrailIdentifier": "g", "guardrailVersion": "1" },
        "promptVariables": { "name": { "text": "secret" } },
    }))
    .call();
    let request = &call.request;
    assert_eq!(request.model.as_ref().map(|model| model.id.as_str()), Some("us.amazon.nova-pro-v1:0"));
    assert_eq!(call.extension["api_format"], "bedrock_converse");
    assert_eq!(request.provider.name, ProviderName::AwsBedrock);
    assert_eq!(request.provider.region.as_deref(), Some("eu-west-1"));
    assert_eq!((request.request_type, request.streaming), (RequestType::Chat, Some(false)));
    let messages: Vec<_> = request
        .messages
        .iter()
        .map(|message| (message.role, message.content.as_ref().and_then(Value::as_str)))
        .collect();
    assert_eq!(
        messages,
        [
            (Role::System, Some("be kind")),
            (Role::User, Some("what is this\nguarded")),
            (Role::Assistant, None),
            (Role::Tool, Some("{\"seen\":true}")),
        ]
    );
    assert_eq!(request.messages[3].tool_call_id.as_deref(), Some("t1"));
    assert_eq!(call.extension["tool_errors"], json!([3]));
    assert_eq!(call.extension["message_tool_calls"][0]["arguments"], "{\"at\":1}");
    assert_eq!(request.image_count, Some(1));
    let parts = call.extension["parts"].to_string();
    assert!(parts.contains("\"encoded_bytes\":4") && parts.contains("document") && !parts.contains("QUJD"));
    let tools: Vec<_> = request.tools.iter().map(|tool| (tool.name.as_deref(), tool.tool_type)).collect();
    assert_eq!(
        tools,
        [(Some("look"), Some(ToolType::Function)), (Some("nova_grounding"), Some(ToolType::Other))]
    );
    assert_eq!(request.tool_choice.as_deref(), Some("{\"auto\":{}}"));
    let parameters = request.parameters.as_ref().unwrap();
    assert_eq!(
        (parameters.max_tokens, parameters.temperature, parameters.top_p),
        (Some(100), Some(0.5), Some(0.75))
    );
    assert_eq!(parameters.stop, ["END"]);
    assert_eq!(call.extension["parameters"]["additionalModelRequestFields"]["top_k"], 5);
    assert_eq!(call.extension["prompt_variables"], json!(["name"]));
    assert!(call.findings.is_empty(), "{:?}", call.findings);
}

#[test]
fn converse_answer_is_read_whole() {
    let answer = converse(&json!({ "messages": [{ "role": "user", "content": [{ "text": "hi" }] }] }))
        .response_header("x-amzn-requestid", "r-1")
        .json(&json!({
            "output": { "message": { "role": "assistant", "content": [
                { "reasoningContent": { "reasoningText": { "text": "think", "signature": "s" } } },
                { "text": "first" },
                { "citationsContent": {
                    "content": [{ "text": "cited" }],
                    "citations": [{ "title": "T", "location": { "web": { "url": "https://h/p?token=1", "domain": "h" } } }],
                } },
                { "toolUse": { "toolUseId": "t1", "name": "look", "input": { "at": 1 } } },
            ] } },
            "stopReason": "tool_use",
            "usage": { "inputTokens": 10, "outputTokens": 5, "totalTokens": 45,
                       "cacheReadInputTokens": 20, "cacheWriteInputTokens": 10,
                       "cacheDetails": [{ "ttl": "5m", "inputTokens": 10 }] },
            "metrics": { "latencyMs": 321 },
            "serviceTier": { "type": "flex" },
            "trace": {
                "promptRouter": { "invokedModelId": "amazon.nova-lite-v1:0" },
                "guardrail": { "inputAssessment": { "g": { "match": "secret" } }, "actionReason": "No action." },
            },
        }))
        .answer();
    let response = &answer.response;
    assert_eq!(content(&answer), Some("first\ncited"));
    assert_eq!(answer.extension["reasoning"], json!([{ "choice": 0, "text": "think" }]));
    assert_eq!(answer.extension["citations"], json!([{ "type": "web", "title": "T", "url": "https://h/p" }]));
    assert_eq!(response.tool_calls[0].arguments.as_deref(), Some("{\"at\":1}"));
    assert_eq!(response.tool_calls[0].id.as_deref(), Some("t1"));
    assert_eq!(response.finish_reason, Some(FinishReason::ToolCalls));
    let expected = Usage { cached_tokens: Some(20), ..usage(40, 5) };
    assert_eq!(response.usage, Some(expected));
    assert_eq!(answer.extension["cache_write_tokens"], 10);
    assert_eq!(answer.extension["usage"]["cacheDetails"][0]["ttl"], "5m");
    assert_eq!(answer.extension["metrics"]["latencyMs"], 321);
    assert_eq!(answer.extension["service_tier"], "flex");
    assert_eq!(response.model.as_ref().map(|model| model.id.as_str()), Some("amazon.nova-lite-v1:0"));
    assert_eq!(response.provider_request_id.as_deref(), Some("r-1"));
    assert!(!format!("{:?}", answer.extension).contains("secret"));
    assert_eq!((response.success, response.provider.region.as_deref()), (Some(true), Some("eu-west-1")));
    assert!(answer.findings.is_empty(), "{:?}", answer.findings);
}

fn converse_frames() -> Vec<common::AwsFrame<'static>> {
    let delta = |index: u64, delta: Value| {
        Event("contentBlockDelta", json!({ "contentBlockIndex": index, "delta": delta, "p": "abcd" }))
    };
    let call = |index: u64, id: &str| {
        let start = json!({ "toolUse": { "toolUseId": id, "name": "look" } });
        Event("contentBlockStart", json!({ "contentBlockIndex": index, "start": start }))
    };
    let stop = |index: u64| Event("contentBlockStop", json!({ "contentBlockIndex": index, "p": "a" }));
    vec![
        Event("messageStart", json!({ "role": "assistant", "p": "abc" })),
        delta(0, json!({ "reasoningContent": { "text": "thi" } })),
        delta(0, json!({ "reasoningContent": { "text": "nk" } })),
        delta(0, json!({ "reasoningContent": { "signature": "xyz" } })),
        stop(0),
        delta(1, json!({ "text": "Grü" })),
        delta(1, json!({ "text": "ße" })),
        delta(
            1,
            json!({ "citation": { "title": "T", "location": { "documentPage": { "documentIndex": 2, "start": 1 } } } }),
        ),
        stop(1),
        call(2, "t1"),
        call(3, "t2"),
        delta(2, json!({ "toolUse": { "input": "{\"a\"" } })),
        delta(3, json!({ "toolUse": { "input": "{}" } })),
        delta(2, json!({ "toolUse": { "input": ":1}" } })),
        stop(2),
        stop(3),
        Event("messageStop", json!({ "stopReason": "tool_use" })),
        Event(
            "metadata",
            json!({ "usage": { "inputTokens": 3, "outputTokens": 4, "totalTokens": 7 }, "metrics": { "latencyMs": 9 } }),
        ),
    ]
}

#[test]
fn converse_stream_is_collected_with_parallel_tool_calls() {
    let exchange = converse_stream().aws_events(&converse_frames());
    assert_eq!(exchange.call().request.streaming, Some(true));
    let answer = exchange.answer();
    assert_eq!(content(&answer), Some("Grüße"));
    assert_eq!(answer.extension["reasoning"], json!([{ "choice": 0, "text": "think" }]));
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
    assert_eq!(
        answer.extension["citations"],
        json!([{ "type": "documentPage", "title": "T", "document_index": 2 }])
    );
    assert_eq!(answer.response.usage, Some(usage(3, 4)));
    assert_eq!(answer.response.finish_reason, Some(FinishReason::ToolCalls));
    assert_eq!(answer.extension["streamed"], true);
    assert!(answer.timings.first_content.is_some());
    assert!(answer.findings.is_empty(), "{:?}", answer.findings);
}

#[test]
fn lost_frames_splice_nothing() {
    let mut exchange = converse_stream().aws_events(&converse_frames());
    // The second piece of the text, and the second piece of a call's arguments.
    exchange.response[6] = Piece::Gap(77);
    exchange.response[13] = Piece::Gap(99);
    let answer = exchange.answer();
    assert_eq!(content(&answer), Some("Grü"));
    assert_eq!(answer.extension["incomplete_tool_calls"], json!([0]));
    assert_eq!(answer.response.tool_calls[1].arguments.as_deref(), Some("{}"));
    assert_eq!(answer.response.usage, Some(usage(3, 4)));
    assert!(answer.findings.reasons.contains(&"stream_resynchronised_after_gap".to_owned()));
}

#[test]
fn exception_in_a_stream_is_a_failure_with_the_text_so_far() {
    let answer = converse_stream()
        .aws_events(&[
            Event("messageStart", json!({ "role": "assistant" })),
            Event("contentBlockDelta", json!({ "contentBlockIndex": 0, "delta": { "text": "so far" } })),
            Exception("throttlingException", json!({ "message": "Too many tokens" })),
        ])
        .answer();
    assert_eq!(content(&answer), Some("so far"));
    let error = answer.response.error.as_ref().unwrap();
    assert_eq!(error.error_type.as_deref(), Some("throttlingException"));
    assert_eq!(error.message.as_deref(), Some("Too many tokens"));
    assert_eq!((answer.response.success, answer.response.status_code), (Some(false), Some(200)));
}

#[test]
fn refused_calls_have_the_errors_name_from_the_header() {
    for (path, body) in [("converse", json!({ "message": "no" })), ("invoke", json!({ "Message": "no" }))] {
        let request = json!({ "messages": [{ "role": "user", "content": [{ "text": "hi" }] }] });
        let answer = Exchange::post(HOST, &format!("/model/amazon.nova-pro-v1:0/{path}"), &request)
            .status(403)
            .response_header("x-amzn-errortype", "AccessDeniedException:http://internal.amazon.com/coral/")
            .json(&body)
            .answer();
        let error = answer.response.error.as_ref().unwrap();
        assert_eq!(error.error_type.as_deref(), Some("AccessDeniedException"), "{path}");
        assert_eq!(error.message.as_deref(), Some("no"), "{path}");
        assert_eq!(answer.response.success, Some(false));
    }
}

#[test]
fn claude_is_invoked_with_the_model_from_the_path_and_metrics_from_the_last_chunk() {
    let body = json!({ "anthropic_version": "bedrock-2023-05-31", "anthropic_beta": ["b1"], "max_tokens": 9,
                       "messages": [{ "role": "user", "content": "hi" }] });
    let model = "arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Ainference-profile%2Fus.anthropic.claude-v1%3A0";
    let exchange = invoke_stream(model, &body).aws_events(&[
        Chunk(json!({ "type": "message_start", "message": { "id": "msg", "type": "message", "role": "assistant",
            "model": "claude-x", "content": [], "usage": { "input_tokens": 4, "output_tokens": 1 } } })),
        Chunk(json!({ "type": "content_block_start", "index": 0, "content_block": { "type": "text", "text": "" } })),
        Chunk(json!({ "type": "content_block_delta", "index": 0, "delta": { "type": "text_delta", "text": "Olá" } })),
        Chunk(json!({ "type": "content_block_stop", "index": 0 })),
        Chunk(json!({ "type": "message_delta", "delta": { "stop_reason": "end_turn" }, "usage": { "output_tokens": 6 } })),
        Chunk(json!({ "type": "message_stop", "amazon-bedrock-invocationMetrics":
            { "inputTokenCount": 4, "outputTokenCount": 6, "invocationLatency": 500, "firstByteLatency": 90 } })),
    ]);
    let call = exchange.call();
    let expected = "arn:aws:bedrock:us-east-1:1:inference-profile/us.anthropic.claude-v1:0";
    assert_eq!(call.request.model.as_ref().map(|model| model.id.as_str()), Some(expected));
    assert_eq!((call.request.streaming, call.detection.confidence), (Some(true), Level::High));
    assert_eq!(call.extension["api_format"], "anthropic_messages");
    assert_eq!(call.extension["provider_id"], "aws_bedrock");
    assert_eq!(call.extension["beta_features"], json!(["b1"]));
    let answer = exchange.response_header("x-amzn-bedrock-service-tier", "priority").answer();
    assert_eq!(answer.extension["service_tier"], "priority");
    assert_eq!(content(&answer), Some("Olá"));
    assert_eq!(answer.response.usage, Some(usage(4, 6)));
    assert_eq!(answer.extension["invocation_metrics"]["firstByteLatency"], 90);
    assert!(answer.findings.is_empty(), "{:?}", answer.findings);
}

#[test]
fn texts_of_every_maker_are_read() {
    let prompt = |extra: Value| {
        let mut body = json!({ "prompt": "hi" });
        body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        body
    };
    for (model, request, answer, expected_usage, finish) in [
        (
            "amazon.titan-text-express-v1",
            json!({ "inputText": "hi", "textGenerationConfig": { "maxTokenCount": 7, "topP": 0.5 } }),
            json!({ "inputTextTokenCount": 3, "results": [{ "tokenCount": 2, "outputText": "ho", "completionReason": "FINISH" }] }),
            Some(usage(3, 2)),
            FinishReason::Stop,
        ),
        (
            "meta.llama3-8b-instruct-v1:0",
            prompt(json!({ "max_gen_len": 7, "top_p": 0.5 })),
            json!({ "generation": "ho", "prompt_token_count": 3, "generation_token_count": 2, "stop_reason": "length" }),
            Some(usage(3, 2)),
            FinishReason::Length,
        ),
        (
            "mistral.mistral-7b-instruct-v0:2",
            prompt(json!({ "max_tokens": 7, "top_p": 0.5 })),
            json!({ "outputs": [{ "text": "ho", "stop_reason": "stop" }] }),
            None,
            FinishReason::Stop,
        ),
        (
            "cohere.command-text-v14",
            prompt(json!({ "max_tokens": 7, "p": 0.5 })),
            json!({ "id": "i", "generations": [{ "id": "g", "text": "ho", "finish_reason": "COMPLETE" }], "prompt": "hi" }),
            None,
            FinishReason::Stop,
        ),
        (
            "ai21.j2-ultra-v1",
            prompt(json!({ "maxTokens": 7, "topP": 0.5 })),
            json!({ "id": 1, "completions": [{ "data": { "text": "ho" }, "finishReason": { "reason": "endoftext" } }] }),
            None,
            FinishReason::Stop,
        ),
        (
            "us.deepseek.r1-v1:0",
            prompt(json!({ "max_tokens": 7, "top_p": 0.5 })),
            json!({ "choices": [{ "text": "ho", "stop_reason": "stop" }] }),
            None,
            FinishReason::Stop,
        ),
        (
            "anthropic.claude-v2:1",
            prompt(json!({ "max_tokens_to_sample": 7, "top_p": 0.5 })),
            json!({ "type": "completion", "completion": "ho", "stop_reason": "stop_sequence", "stop": "\n\nHuman:" }),
            None,
            FinishReason::Stop,
        ),
    ] {
        let exchange = invoke(model, &request).json(&answer);
        let call = exchange.call();
        assert_eq!(call.request.messages[0].content, Some("hi".into()), "{model}");
        assert_eq!(call.request.model.as_ref().map(|found| found.id.as_str()), Some(model));
        assert_eq!(call.request.request_type, RequestType::Completion, "{model}");
        let parameters = call.request.parameters.as_ref().unwrap();
        assert_eq!((parameters.max_tokens, parameters.top_p), (Some(7), Some(0.5)), "{model}");
        assert!(call.findings.is_empty(), "{model}: {:?}", call.findings);
        let answer = exchange.answer();
        assert_eq!(content(&answer), Some("ho"), "{model}");
        assert_eq!(answer.response.usage, expected_usage, "{model}");
        assert_eq!(answer.response.finish_reason, Some(finish), "{model}");
        assert!(answer.findings.is_empty(), "{model}: {:?}", answer.findings);
        // What the body does not count, the headers do.
        let counted = exchange
            .response_header("x-amzn-bedrock-input-token-count", "3")
            .response_header("x-amzn-bedrock-output-token-count", "2")
            .response_header("x-amzn-bedrock-invocation-latency", "77")
            .answer();
        assert_eq!(counted.response.usage, Some(usage(3, 2)), "{model}");
        assert_eq!(counted.extension["invocation_metrics"]["invocationLatency"], 77);
    }
}

#[test]
fn streamed_texts_of_every_maker_are_collected() {
    let metrics =
        json!({ "inputTokenCount": 3, "outputTokenCount": 2, "invocationLatency": 5, "firstByteLatency": 1 });
    for (model, request, pieces) in [
        (
            "amazon.titan-text-express-v1",
            json!({ "inputText": "hi" }),
            vec![
                json!({ "outputText": "h", "index": 0, "totalOutputTextTokenCount": null, "completionReason": null, "inputTextTokenCount": 3 }),
                json!({ "outputText": "o", "index": 0, "totalOutputTextTokenCount": 2, "completionReason": "FINISH", "inputTextTokenCount": null }),
            ],
        ),
        (
            "meta.llama3-8b-instruct-v1:0",
            json!({ "prompt": "hi" }),
            vec![
                json!({ "generation": "h", "prompt_token_count": 3, "generation_token_count": 1, "stop_reason": null }),
                json!({ "generation": "o", "prompt_token_count": null, "generation_token_count": 2, "stop_reason": "stop" }),
            ],
        ),
        (
            "mistral.mistral-7b-instruct-v0:2",
            json!({ "prompt": "hi" }),
            vec![
                json!({ "outputs": [{ "text": "h", "stop_reason": null }] }),
                json!({ "outputs": [{ "text": "o", "stop_reason": "stop" }] }),
            ],
        ),
        (
            "cohere.command-text-v14",
            json!({ "prompt": "hi" }),
            vec![
                json!({ "text": "h", "is_finished": false }),
                json!({ "text": "o", "is_finished": false }),
                json!({ "is_finished": true, "finish_reason": "COMPLETE" }),
            ],
        ),
        (
            "anthropic.claude-v2:1",
            json!({ "prompt": "hi", "max_tokens_to_sample": 5 }),
            vec![
                json!({ "type": "completion", "completion": "h", "stop_reason": null }),
                json!({ "type": "completion", "completion": "o", "stop_reason": "stop_sequence" }),
            ],
        ),
        (
            "amazon.nova-lite-v1:0",
            json!({ "messages": [{ "role": "user", "content": [{ "text": "hi" }] }], "inferenceConfig": { "max_new_tokens": 9 } }),
            vec![
                json!({ "messageStart": { "role": "assistant" } }),
                json!({ "contentBlockDelta": { "delta": { "text": "h" }, "contentBlockIndex": 0 } }),
                json!({ "contentBlockDelta": { "delta": { "text": "o" }, "contentBlockIndex": 0 } }),
                json!({ "contentBlockStop": { "contentBlockIndex": 0 } }),
                json!({ "messageStop": { "stopReason": "end_turn" } }),
                json!({ "metadata": { "usage": { "inputTokens": 3, "outputTokens": 2 }, "metrics": {}, "trace": {} } }),
            ],
        ),
        (
            "cohere.command-r-v1:0",
            json!({ "message": "hi" }),
            vec![
                json!({ "event_type": "text-generation", "text": "h", "is_finished": false }),
                json!({ "event_type": "text-generation", "text": "o", "is_finished": false }),
                json!({ "event_type": "stream-end", "is_finished": true, "finish_reason": "COMPLETE",
                        "response": { "text": "ho", "generation_id": "g", "finish_reason": "COMPLETE" } }),
            ],
        ),
        (
            "ai21.jamba-1-5-large-v1:0",
            json!({ "messages": [{ "role": "user", "content": "hi" }] }),
            vec![
                json!({ "id": "c", "choices": [{ "index": 0, "delta": { "role": "assistant", "content": "h" } }] }),
                json!({ "id": "c", "choices": [{ "index": 0, "delta": { "content": "o" }, "finish_reason": "stop" }] }),
            ],
        ),
    ] {
        let mut chunks: Vec<Value> = pieces;
        chunks.last_mut().unwrap()["amazon-bedrock-invocationMetrics"] = metrics.clone();
        let frames: Vec<_> = chunks.into_iter().map(Chunk).collect();
        let exchange = invoke_stream(model, &request).aws_events(&frames);
        let call = exchange.call();
        assert_eq!(call.request.messages[0].content, Some("hi".into()), "{model}");
        assert_eq!(call.request.streaming, Some(true), "{model}");
        assert!(call.findings.is_empty(), "{model}: {:?}", call.findings);
        let answer = exchange.answer();
        assert_eq!(content(&answer), Some("ho"), "{model}");
        assert_eq!(answer.response.usage, Some(usage(3, 2)), "{model}");
        assert_eq!(answer.response.finish_reason, Some(FinishReason::Stop), "{model}");
        assert!(answer.timings.first_content.is_some(), "{model}");
        assert!(answer.findings.is_empty(), "{model}: {:?}", answer.findings);
    }
}

#[test]
fn intervention_of_a_guardrail_is_told_whole_and_streamed() {
    let request = json!({ "prompt": "hi" });
    let said = json!({ "generation": "blocked", "stop_reason": "stop", "amazon-bedrock-guardrailAction": "INTERVENED" });
    let whole = invoke("meta.llama3-v1", &request).json(&said);
    let streamed = invoke_stream("meta.llama3-v1", &request).aws_events(&[Chunk(said.clone())]);
    for answer in [whole.answer(), streamed.answer()] {
        assert_eq!(answer.extension["guardrail"]["action"], "INTERVENED");
        assert_eq!(content(&answer), Some("blocked"));
    }
}

#[test]
fn mistrals_chat_has_its_reason_under_another_name() {
    let request = json!({ "messages": [{ "role": "user", "content": "hi" }], "max_tokens": 5 });
    let answer = invoke("mistral.mistral-large-2407-v1:0", &request)
        .json(&json!({ "choices": [{ "index": 0, "message": { "role": "assistant", "content": "ho" }, "stop_reason": "length" }] }))
        .answer();
    assert_eq!((content(&answer), answer.response.finish_reason), (Some("ho"), Some(FinishReason::Length)));
}

#[test]
fn embeddings_and_images_have_sizes_and_no_content() {
    for (model, request, answer, count, dimensions) in [
        (
            "amazon.titan-embed-text-v2:0",
            json!({ "inputText": "hi", "dimensions": 3 }),
            json!({ "embedding": [0.1, 0.2, 0.3], "inputTextTokenCount": 2 }),
            1,
            Some(3),
        ),
        (
            "cohere.embed-english-v3",
            json!({ "texts": ["hi", "ho"], "input_type": "search_query" }),
            json!({ "id": "e", "response_type": "embeddings_floats", "embeddings": [[0.1, 0.2], [0.1, 0.2]], "texts": ["hi", "ho"] }),
            2,
            Some(2),
        ),
    ] {
        let exchange = invoke(model, &request).json(&answer);
        assert_eq!(exchange.call().request.request_type, RequestType::Embedding, "{model}");
        let answer = exchange.answer();
        let embedding = answer.embedding.unwrap();
        assert_eq!((embedding.count, embedding.dimensions), (count, dimensions), "{model}");
        assert!(answer.response.choices.is_empty(), "{model}");
        assert!(answer.findings.is_empty(), "{model}: {:?}", answer.findings);
    }
    let request = json!({ "taskType": "TEXT_IMAGE", "textToImageParams": { "text": "a cat" } });
    let exchange = invoke("amazon.nova-canvas-v1:0", &request).json(&json!({ "images": ["QUJDRA=="] }));
    let call = exchange.call();
    assert_eq!(call.request.request_type, RequestType::Image);
    assert_eq!(call.request.messages[0].content, Some("a cat".into()));
    let answer = exchange.answer();
    assert_eq!(answer.extension["parts"], json!([{ "type": "image", "encoded_bytes": 8 }]));
}

#[test]
fn counting_tokens_is_no_chat_and_its_count_no_usage() {
    let body = json!({ "input": { "converse": { "messages": [{ "role": "user", "content": [{ "text": "hi" }] }] } } });
    let exchange = Exchange::post(HOST, "/model/anthropic.claude-v9/count-tokens", &body)
        .json(&json!({ "inputTokens": 12 }));
    let call = exchange.call();
    assert_eq!(call.request.request_type, RequestType::Other);
    assert_eq!(call.request.messages[0].content, Some("hi".into()));
    let answer = exchange.answer();
    assert_eq!((answer.response.usage.as_ref(), &answer.extension["counted_tokens"]), (None, &json!(12)));
}

#[test]
fn an_invocation_to_be_counted_is_not_read_and_that_is_said() {
    let body = json!({ "input": { "invokeModel": { "body": "e30=" } } });
    let call = Exchange::post(HOST, "/model/anthropic.claude-v9/count-tokens", &body).call();
    assert_eq!((call.request.messages_count, call.request.request_type), (None, RequestType::Other));
    assert_eq!(call.findings.limitations, ["invocation_to_count_not_understood"]);
}

const SIGNATURE: &str = "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20260101/us-west-2/bedrock/aws4_request, SignedHeaders=host;x-amz-date, Signature=abcdef";

#[test]
fn signer_is_the_access_key_and_the_scope_gives_the_region() {
    let body = json!({ "prompt": "hi" });
    let mut exchange = Exchange::post("127.0.0.1:8080", "/model/meta.llama3-v1%3A0/invoke", &body)
        .request_header("authorization", SIGNATURE)
        .json(&json!({ "generation": "ho", "stop_reason": "stop" }));
    // As AWS's clients send it where nobody says better.
    exchange.request_headers[1].1 = "application/octet-stream".to_owned();
    let call = exchange.call();
    let auth = call.request.auth.as_ref().unwrap();
    assert_eq!((auth.auth_type, auth.key_prefix.as_deref()), (AuthType::ApiKey, Some("AKIA")));
    assert_eq!(
        auth.credential.as_ref().map(|credential| credential.0.as_str()),
        Some("AKIAIOSFODNN7EXAMPLE")
    );
    assert_eq!(call.request.provider.region.as_deref(), Some("us-west-2"));
    // The signature says for whom it is; the name it is reached by does not.
    assert_eq!(call.extension["provider_id"], "aws_bedrock");
    assert_eq!(call.detection.confidence, Level::Medium);
    assert_eq!(content(&exchange.answer()), Some("ho"));
}

#[test]
fn unsigned_paths_on_unknown_hosts_are_known_by_path_and_body() {
    let body = json!({ "messages": [{ "role": "user", "content": [{ "text": "hi" }] }] });
    let call = Exchange::post("gateway.example", "/bedrock/model/x.y/converse", &body).call();
    assert_eq!(call.extension["provider_id"], "bedrock_compatible");
    assert_eq!(call.extension["api_format"], "bedrock_converse");
    let nothing = Exchange::post("gateway.example", "/model/x.y/converse", &json!({ "a": 1 }));
    assert!(nothing.interpret().0.is_none());
}

#[test]
fn request_whose_body_was_lost_is_of_the_format_that_its_model_has() {
    for (model, format) in [
        ("us.anthropic.claude-v1", "anthropic_messages"),
        ("amazon.nova-lite-v1:0", "bedrock_converse"),
        ("meta.llama3-v1", "bedrock_native"),
    ] {
        let mut exchange = invoke(model, &json!({}));
        exchange.request = vec![Piece::Gap(100)];
        let call = exchange.call();
        assert_eq!(call.extension["api_format"], format, "{model}");
        assert_eq!(call.request.model.as_ref().map(|found| found.id.as_str()), Some(model));
        assert_eq!((call.request.streaming, call.request.messages_count), (Some(false), None));
        assert_eq!(call.detection.confidence, Level::Low);
    }
}
