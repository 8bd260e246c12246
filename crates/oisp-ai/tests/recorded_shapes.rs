//! Shapes that recordings of services showed and that their documentation does not: each as small as it can be.

#![expect(clippy::expect_used, reason = "a failing helper fails its test")]

mod common;

use base64::Engine as _;
use common::AwsFrame::{Chunk, Event, PayloadPart};
use common::{Exchange, Piece, content};
use oisp_event::{AuthType, FinishReason, RequestType};
use serde_json::{Value, json};

fn asked(host: &str, path: &str) -> Exchange {
    Exchange::post(host, path, &json!({ "model": "m", "messages": [{ "role": "user", "content": "hi" }] }))
}

fn tokens(answer: &oisp_ai::AiAnswer) -> (Option<u64>, Option<u64>) {
    let usage = answer.response.usage.as_ref().expect("there is usage");
    (usage.prompt_tokens, usage.completion_tokens)
}

#[test]
fn event_stream_of_aws_without_its_media_type_is_read_and_other_binary_is_not() {
    let request = json!({ "messages": [{ "role": "user", "content": [{ "text": "hi" }] }], "system": [] });
    let mut exchange =
        Exchange::post("bedrock-runtime.us-east-1.amazonaws.com", "/model/m/converse-stream", &request)
            .aws_events(&[
                Event("messageStart", json!({ "role": "assistant" })),
                Event("contentBlockDelta", json!({ "contentBlockIndex": 0, "delta": { "text": "yes" } })),
                Event("messageStop", json!({ "stopReason": "end_turn" })),
                Event(
                    "metadata",
                    json!({ "usage": { "inputTokens": 3, "outputTokens": 1, "totalTokens": 4 } }),
                ),
            ]);
    exchange.response_headers.clear();
    let (call, answer) = exchange.interpret();
    // What is empty is no message.
    assert_eq!(call.expect("a request").request.messages.len(), 1);
    let answer = answer.expect("a response");
    assert_eq!(content(&answer), Some("yes"));
    assert_eq!(tokens(&answer), (Some(3), Some(1)));
    assert!(answer.findings.is_empty(), "{:?}", answer.findings);

    // Its second length is that of no headers.
    exchange.response = vec![Piece::Bytes(b"\0\0\0\x20ftypisom\0\0\0\0".to_vec())];
    assert_eq!(exchange.answer().findings.reasons, ["invalid_json"]);
}

#[test]
fn content_given_as_an_object_is_told_as_its_text() {
    let host = "api.cloudflare.com";
    let exchange = asked(host, "/client/v4/accounts/a/ai/v1/chat/completions");
    let message = json!({ "role": "assistant", "content": { "name": "Ada", "age": 36 } });
    let body = json!({ "object": "chat.completion", "choices": [{ "index": 0, "message": message, "finish_reason": "stop" }] });
    let answer = exchange.json(&body).answer();
    assert_eq!(answer.detection.provider_id, "cloudflare_workers_ai");
    assert_eq!(content(&answer), Some("{\"age\":36,\"name\":\"Ada\"}"));
    assert!(asked(host, "/client/v4/accounts/a/dns").interpret().0.is_none());
}

#[test]
fn parts_without_a_kind_are_told_by_what_they_hold() {
    let parts = json!([{ "role": "system", "content": "one" }, { "text": "two" }]);
    let body = json!({ "model": "m", "messages": [{ "role": "user", "content": parts }] });
    let call = Exchange::post("api.openai.com", "/v1/chat/completions", &body).call();
    assert_eq!(call.request.messages[0].content, Some(json!("one\ntwo")));
}

#[test]
fn watsonx_at_its_paths_of_before_is_read() {
    let body = json!({ "model_id": "google/flan-ul2", "input": "What is 1 + 1?", "project_id": "p" });
    let host = "us-south.ml.cloud.ibm.com";
    let result = json!({ "generated_text": "2", "generated_token_count": 2, "input_token_count": 7, "stop_reason": "eos_token" });
    let whole = json!({ "model_id": "google/flan-ul2", "results": [result] });
    let path = "/ml/v1-beta/generation/text?version=2024-02-15";
    let answer = Exchange::post(host, path, &body).json(&whole).answer();
    assert_eq!((content(&answer), tokens(&answer)), (Some("2"), (Some(7), Some(2))));
    let streamed = Exchange::post(host, "/ml/v1-beta/generation/text_stream", &body).sse(&[whole]);
    assert_eq!(streamed.call().request.streaming, Some(true));
    assert_eq!(content(&streamed.answer()), Some("2"));
}

#[test]
fn bare_values_of_a_stream_are_its_text_and_need_no_end() {
    let body = json!({ "model": "palmyra-x4", "prompt": "Tell", "stream": true });
    let exchange = Exchange::post("api.writer.com", "/v1/completions", &body);
    let answer = exchange.sse(&[json!({ "value": "Sure" }), json!({ "value": ", here" })]).answer();
    assert_eq!(content(&answer), Some("Sure, here"));
    assert!(answer.findings.is_empty(), "{:?}", answer.findings);
}

#[test]
fn aleph_alpha_is_read_whole_and_streamed() {
    let body = json!({
        "model": "luminous-base",
        "prompt": [{ "type": "text", "data": "Tell me" }, { "type": "image", "data": "AAAA" }],
        "maximum_tokens": 9,
    });
    let exchange = Exchange::post("api.aleph-alpha.com", "/complete", &body);
    let request = exchange.call().request;
    assert_eq!((request.messages[0].content.clone(), request.image_count), (Some(json!("Tell me")), Some(1)));
    assert_eq!(request.parameters.expect("parameters").max_tokens, Some(9));
    let whole = json!({
        "completions": [{ "completion": "a joke", "finish_reason": "maximum_tokens" }],
        "model_version": "2022-04",
        "num_tokens_prompt_total": 9,
        "num_tokens_generated": 2,
    });
    let answer = exchange.clone().json(&whole).answer();
    assert_eq!((content(&answer), tokens(&answer)), (Some("a joke"), (Some(9), Some(2))));
    assert_eq!(answer.extension["finish_reason"], "maximum_tokens");
    let streamed = exchange.sse(&[
        json!({ "type": "stream_chunk", "index": 0, "completion": "a " }),
        json!({ "type": "stream_chunk", "index": 0, "completion": "joke" }),
        json!({ "type": "stream_summary", "index": 0, "finish_reason": "end_of_text", "model_version": "2022-04" }),
        json!({ "type": "completion_summary", "num_tokens_prompt_total": 9, "num_tokens_generated": 2 }),
    ]);
    let answer = streamed.answer();
    assert_eq!((content(&answer), tokens(&answer)), (Some("a joke"), (Some(9), Some(2))));
    assert!(answer.findings.is_empty(), "{:?}", answer.findings);
}

#[test]
fn endpoint_of_databricks_is_its_model_and_that_of_sagemaker_is_not() {
    let body = json!({ "messages": [{ "role": "user", "content": "hi" }] });
    let call =
        Exchange::post("w.cloud.databricks.com", "/serving-endpoints/claude/invocations", &body).call();
    assert_eq!(
        (call.request.model.expect("a model").id, call.detection.provider_id),
        ("claude".into(), "databricks".into())
    );
    let vectors = json!({ "object": "list", "model": "gte", "data": [{ "embedding": [1, 2] }] });
    let path = "/serving-endpoints/gte/invocations";
    let embedded =
        Exchange::post("w.cloud.databricks.com", path, &json!({ "input": ["x"] })).json(&vectors).answer();
    assert_eq!(embedded.embedding.and_then(|embedding| embedding.dimensions), Some(2));
    let host = "runtime.sagemaker.eu-west-1.amazonaws.com";
    let call = Exchange::post(host, "/endpoints/mine/invocations", &body).call();
    assert!(call.request.model.is_none());
    assert_eq!(
        (&call.extension["deployment"], &call.extension["api_format"]),
        (&json!("mine"), &json!("openai_chat"))
    );
}

#[test]
fn sagemakers_stream_is_read_through_its_pieces_wherever_they_are_cut() {
    let delta = |text: &str| json!({ "object": "chat.completion.chunk", "choices": [{ "index": 0, "delta": { "content": text } }] });
    let end = json!({ "object": "chat.completion.chunk", "choices": [{ "index": 0, "delta": {}, "finish_reason": "stop" }] });
    let events = [delta("Hel"), delta("lo"), end];
    let body: String = events.iter().map(common::data).collect();
    let lines: String = events.iter().map(|event| format!("{event}\n")).collect();
    let host = "runtime.sagemaker.eu-west-1.amazonaws.com";
    let path = "/endpoints/mine/invocations-response-stream";
    for body in [body, lines] {
        for cut in (1..body.len()).step_by(7) {
            let (first, second) = body.as_bytes().split_at(cut);
            let exchange = asked(host, path).aws_events(&[PayloadPart(first), PayloadPart(second)]);
            assert_eq!(exchange.call().request.streaming, Some(true));
            let answer = exchange.answer();
            assert_eq!(content(&answer), Some("Hello"), "{cut}");
            assert_eq!(answer.response.finish_reason, Some(FinishReason::Stop));
            assert!(answer.findings.is_empty(), "{:?}", answer.findings);
        }
        let mut exchange = asked(host, path).aws_events(&[PayloadPart(&body.as_bytes()[..90])]);
        exchange.response.push(Piece::Gap(40));
        let answer = exchange.answer();
        assert!("Hello".starts_with(
            answer.response.choices.first().map_or("", |_| content(&answer).unwrap_or_default())
        ));
    }
}

#[test]
fn lines_under_the_media_type_of_json_are_read_as_a_stream() {
    let body = json!({ "model": "llama3", "messages": [{ "role": "user", "content": "hi" }] });
    let line = |text: &str, done: bool| json!({ "model": "llama3", "message": { "role": "assistant", "content": text }, "done": done, "prompt_eval_count": 2, "eval_count": 3 });
    let mut exchange = Exchange::post("localhost:11434", "/api/chat", &body).json(&line("", true));
    let lines = format!("{}\n{}\n{}", line("Hel", false), line("lo", false), line("", true));
    exchange.response = vec![lines.as_str().into()];
    let answer = exchange.answer();
    assert_eq!((content(&answer), tokens(&answer)), (Some("Hello"), (Some(2), Some(3))));
    assert!(answer.findings.is_empty(), "{:?}", answer.findings);
    exchange.response = vec!["{\"a\":1}\nnot JSON".into()];
    assert_eq!(exchange.answer().findings.reasons, ["invalid_json"]);
}

#[test]
fn key_among_a_websockets_protocols_is_the_callers() {
    let mut exchange = asked("api.openai.com", "/v1/chat/completions");
    let protocols = "realtime, openai-insecure-api-key.sk-proj-0123456789abcdef, openai-beta.realtime-v1";
    exchange = exchange.request_header("sec-websocket-protocol", protocols);
    let auth = exchange.call().request.auth.expect("an auth");
    assert_eq!((auth.auth_type, auth.key_prefix.as_deref()), (AuthType::ApiKey, Some("sk-proj-")));
}

#[test]
fn results_of_tools_that_the_service_executed_are_told_where_they_are_short() {
    let long = "x".repeat(5000);
    for (result, told) in [("18 degrees", json!("18 degrees")), (long.as_str(), Value::Null)] {
        let item = json!({ "type": "mcp_call", "id": "mcp_1", "name": "weather", "arguments": "{}", "output": result });
        let body = json!({ "object": "response", "id": "resp_1", "status": "completed", "model": "m", "output": [item] });
        let request = json!({ "model": "m", "input": "hi" });
        let answer = Exchange::post("api.openai.com", "/v1/responses", &request).json(&body).answer();
        let call = &answer.extension["server_tool_calls"][0];
        assert_eq!(
            (&call["output_bytes"], call.get("output").unwrap_or(&Value::Null)),
            (&json!(result.len()), &told)
        );

        let block = json!({ "type": "mcp_tool_result", "tool_use_id": "t", "content": [{ "type": "text", "text": result }] });
        let body = json!({ "type": "message", "model": "m", "content": [block], "usage": { "input_tokens": 1, "output_tokens": 1 } });
        let answer = asked("api.anthropic.com", "/v1/messages").json(&body).answer();
        let part = &answer.extension["parts"][0];
        assert_eq!(part["content"][0]["text"], told);
        assert_eq!(part["content"].get("json_bytes").is_some(), told.is_null());
    }
}

#[test]
fn text_of_a_guardrail_ends_titans_stream() {
    let path = "/model/amazon.titan-text-express-v1/invoke-with-response-stream";
    let body = json!({ "inputText": "hi" });
    let said = json!({ "outputText": "Input blocked", "index": 0.0, "totalOutputTextTokenCount": 3.0, "inputTextTokenCount": 6.0 });
    let exchange =
        Exchange::post("bedrock-runtime.us-east-1.amazonaws.com", path, &body).aws_events(&[Chunk(said)]);
    let answer = exchange.answer();
    assert_eq!((content(&answer), tokens(&answer)), (Some("Input blocked"), (Some(6), Some(3))));
    assert!(answer.findings.is_empty(), "{:?}", answer.findings);
}

#[test]
fn deployment_that_a_path_names_is_told_of_chat_too() {
    let body = json!({ "messages": [{ "role": "user", "content": "hi" }] });
    let path = "/openai/deployments/mine/chat/completions?api-version=2025-01-01";
    let call = Exchange::post("r.openai.azure.com", path, &body).call();
    assert_eq!(
        (&call.extension["deployment"], &call.extension["api_version"]),
        (&json!("mine"), &json!("2025-01-01"))
    );
}

#[test]
fn request_whose_tokens_are_counted_is_told_and_its_tokens_are_no_usage() {
    let body = json!({ "model": "m", "input": "hi" });
    let counted = json!({ "object": "response.input_tokens", "input_tokens": 11 });
    let (call, answer) =
        Exchange::post("api.openai.com", "/v1/responses/input_tokens", &body).json(&counted).interpret();
    let request = call.expect("a request").request;
    assert_eq!((request.request_type, request.messages.len()), (RequestType::Other, 1));
    let answer = answer.expect("a response");
    assert_eq!((answer.extension["counted_tokens"].as_u64(), answer.response.usage), (Some(11), None));
}

#[test]
fn what_tools_and_parts_of_a_service_used_is_kept() {
    let breakdown = json!({ "models": [{ "model": "a", "usage": { "prompt_tokens": 1 } }] });
    let message = json!({ "role": "assistant", "content": "yes" });
    let body = json!({ "choices": [{ "index": 0, "message": message }], "usage_breakdown": breakdown });
    let answer = asked("api.groq.com", "/openai/v1/chat/completions").json(&body).answer();
    assert_eq!(answer.extension["usage_breakdown"], breakdown);
    let body = json!({ "object": "response", "status": "completed", "output": [], "tool_usage": { "web_search": { "num_requests": 1 } } });
    let request = json!({ "model": "m", "input": "hi" });
    let answer = Exchange::post("api.openai.com", "/v1/responses", &request).json(&body).answer();
    assert_eq!(answer.extension["tool_usage"]["web_search"]["num_requests"], 1);
}

#[test]
fn run_of_an_assistant_is_read_from_what_is_asked_to_what_it_used() {
    let host = "api.openai.com";
    let asked = json!({ "role": "user", "content": "Solve it." });
    let call = Exchange::post(host, "/v1/threads/thread_1/messages", &asked).call();
    assert_eq!(call.request.messages[0].content, Some(json!("Solve it.")));
    assert_eq!(call.extension["conversation_id"], "thread_1");

    let run = |status: &str| {
        json!({
            "object": "thread.run", "id": "run_1", "thread_id": "thread_1", "status": status, "model": "gpt-4o",
            "usage": if status == "completed" { json!({ "prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13 }) } else { Value::Null },
        })
    };
    let body = json!({ "assistant_id": "asst_1", "instructions": "Be brief.", "stream": true });
    let mut exchange = Exchange::post(host, "/v1/threads/thread_1/runs", &body);
    let delta = |text: &str| json!({ "object": "thread.message.delta", "delta": { "content": [{ "index": 0, "type": "text", "text": { "value": text } }] } });
    let events = [
        ("thread.run.created", run("queued")),
        ("thread.message.delta", delta("x = ")),
        ("thread.message.delta", delta("1")),
        ("thread.run.completed", run("completed")),
    ];
    let pieces =
        events.iter().map(|(name, data)| Piece::from(format!("event: {name}\ndata: {data}\n\n").as_str()));
    exchange = exchange.sse_pieces(pieces.chain(["event: done\ndata: [DONE]\n\n".into()]).collect());
    assert_eq!(exchange.call().extension["assistant_id"], "asst_1");
    let answer = exchange.answer();
    assert_eq!((content(&answer), tokens(&answer)), (Some("x = 1"), (Some(9), Some(4))));
    assert_eq!(answer.response.finish_reason, Some(FinishReason::Stop));
    assert_eq!(answer.response.model.as_ref().expect("a model").id, "gpt-4o");
    assert!(answer.findings.is_empty(), "{:?}", answer.findings);

    let function =
        json!({ "id": "call_1", "type": "function", "function": { "name": "f", "arguments": "{}" } });
    let mut waiting = run("requires_action");
    waiting["required_action"] =
        json!({ "type": "submit_tool_outputs", "submit_tool_outputs": { "tool_calls": [function] } });
    let answer = Exchange::post(host, "/v1/threads/thread_1/runs", &json!({ "assistant_id": "a" }))
        .json(&waiting)
        .answer();
    assert_eq!(
        (answer.response.finish_reason, answer.response.tool_calls.len()),
        (Some(FinishReason::ToolCalls), 1)
    );
    let body = json!({ "tool_outputs": [{ "tool_call_id": "call_1", "output": "42" }] });
    let call = Exchange::post(host, "/v1/threads/thread_1/runs/run_1/submit_tool_outputs", &body).call();
    let result = &call.request.messages[0];
    assert_eq!((result.content.clone(), result.tool_call_id.as_deref()), (Some(json!("42")), Some("call_1")));
    assert!(Exchange::post(host, "/v1/assistants", &json!({ "model": "m" })).interpret().0.is_none());
}

fn fetched(host: &str, path: &str, body: &Value) -> Option<oisp_ai::AiAnswer> {
    let mut exchange = Exchange::post(host, path, &json!({})).json(body);
    exchange.method = "GET".to_owned();
    exchange.request.clear();
    let (call, answer) = exchange.interpret();
    assert!(call.is_none());
    answer
}

#[test]
fn answer_that_is_fetched_when_it_is_made_is_told_once_and_one_that_was_told_is_not() {
    let response = |status: &str, background: bool| {
        json!({
            "object": "response", "id": "resp_1", "status": status, "background": background, "model": "m",
            "output": [{ "type": "message", "role": "assistant", "content": [{ "type": "output_text", "text": "yes" }] }],
            "usage": { "input_tokens": 3, "output_tokens": 1, "total_tokens": 4 },
        })
    };
    let (host, path) = ("api.openai.com", "/v1/responses/resp_1");
    let answer = fetched(host, path, &response("completed", true)).expect("an answer");
    assert_eq!((content(&answer), tokens(&answer)), (Some("yes"), (Some(3), Some(1))));
    assert_eq!((answer.has_request, &answer.extension["fetched"]), (false, &json!(true)));
    for (path, body) in [
        (path, response("in_progress", true)),
        (path, response("completed", false)),
        ("/v1/responses/resp_1/input_items", response("completed", true)),
        ("/v1/models/m", response("completed", true)),
    ] {
        assert_eq!(fetched(host, path, &body), None, "{path} {body}");
    }
    let prediction =
        |status: &str| json!({ "id": "p", "status": status, "input": {}, "urls": {}, "output": ["a", "b"] });
    let answer =
        fetched("api.replicate.com", "/v1/predictions/p", &prediction("succeeded")).expect("an answer");
    assert_eq!(content(&answer), Some("ab"));
    assert_eq!(fetched("api.replicate.com", "/v1/predictions/p", &prediction("processing")), None);
}

const AGENTS: &str = "bedrock-agent-runtime.us-east-1.amazonaws.com";

#[test]
fn agent_on_bedrock_tells_its_text_its_steps_and_the_tokens_of_all() {
    let text = base64::engine::general_purpose::STANDARD.encode("It is 30.");
    let usage = json!({ "modelInvocationOutput": { "metadata": { "usage": { "inputTokens": 10, "outputTokens": 2 } } } });
    let trace =
        |step: Value| Event("trace", json!({ "sessionId": "s", "trace": { "orchestrationTrace": step } }));
    let lookup = json!({ "invocationType": "KNOWLEDGE_BASE", "knowledgeBaseLookupInput": { "text": "sum" } });
    let exchange =
        Exchange::post(AGENTS, "/agents/A/agentAliases/B/sessions/s1/text", &json!({ "inputText": "Add" }))
            .aws_events(&[
                trace(json!({ "modelInvocationInput": { "foundationModel": "amazon.nova-pro-v1:0" } })),
                trace(usage.clone()),
                trace(json!({ "rationale": { "text": "Simple." } })),
                trace(json!({ "rationale": { "text": "Done." } })),
                trace(json!({ "invocationInput": lookup })),
                trace(usage),
                Event("chunk", json!({ "bytes": text })),
            ]);
    let call = exchange.call();
    assert_eq!(
        (&call.extension["agent_id"], &call.extension["conversation_id"]),
        (&json!("A"), &json!("s1"))
    );
    assert_eq!(call.request.messages[0].content, Some(json!("Add")));
    let answer = exchange.answer();
    assert_eq!((content(&answer), tokens(&answer)), (Some("It is 30."), (Some(20), Some(4))));
    assert_eq!(answer.extension["reasoning"][0]["text"], "Simple.\nDone.");
    assert_eq!(answer.extension["server_tool_calls"][0]["arguments"]["text"], "sum");
    assert_eq!(answer.response.model.as_ref().expect("a model").id, "amazon.nova-pro-v1:0");
    assert!(answer.findings.is_empty(), "{:?}", answer.findings);
}

#[test]
fn agent_on_bedrock_hands_calls_back_to_its_caller() {
    let input =
        json!({ "functionInvocationInput": { "actionGroup": "g", "function": "add", "parameters": [] } });
    let exchange = Exchange::post(
        AGENTS,
        "/agents/s1",
        &json!({ "foundationModel": "m", "instruction": "Be brief.", "inputText": "Add" }),
    )
    .aws_events(&[Event("returnControl", json!({ "invocationId": "i1", "invocationInputs": [input] }))]);
    assert_eq!(exchange.call().request.model.expect("a model").id, "m");
    let answer = exchange.answer();
    let call = &answer.response.tool_calls[0];
    assert_eq!((call.id.as_deref(), call.name.as_deref()), (Some("i1"), Some("add")));
}

#[test]
fn knowledge_base_on_bedrock_is_read_whole_and_streamed() {
    let configuration = json!({ "type": "KNOWLEDGE_BASE", "knowledgeBaseConfiguration": { "knowledgeBaseId": "K", "modelArn": "m" } });
    let body = json!({ "input": { "text": "What?" }, "retrieveAndGenerateConfiguration": configuration });
    let whole = json!({ "output": { "text": "That." }, "sessionId": "s", "citations": [{}] });
    let exchange = Exchange::post(AGENTS, "/retrieveAndGenerate", &body).json(&whole);
    assert_eq!(exchange.call().extension["knowledge_base_id"], "K");
    let answer = exchange.answer();
    assert_eq!((content(&answer), &answer.extension["citation_count"]), (Some("That."), &json!(1)));
    let streamed = Exchange::post(AGENTS, "/retrieveAndGenerateStream", &body).aws_events(&[
        Event("output", json!({ "text": "Th" })),
        Event("output", json!({ "text": "at." })),
        Event("citation", json!({})),
    ]);
    let answer = streamed.answer();
    assert_eq!((content(&answer), &answer.extension["citation_count"]), (Some("That."), &json!(1)));
    assert!(answer.findings.is_empty(), "{:?}", answer.findings);
    assert!(Exchange::post(AGENTS, "/knowledgebases/K/retrieve", &json!({})).interpret().0.is_none());
}
