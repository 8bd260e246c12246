//! Gemini, on Google's API and on Vertex: requests, answers, streams, errors.

mod common;

use common::{Exchange, Piece, content};
use oisp_event::{AuthType, FinishReason, ProviderName, RequestType, Role, ToolType, Usage};
use serde_json::{Value, json};

const HOST: &str = "generativelanguage.googleapis.com";
const WHOLE: &str = "/v1beta/models/gemini-2.5-pro:generateContent?key=AIzaSECRETSECRET";
const STREAM: &str = "/v1beta/models/gemini-2.5-pro:streamGenerateContent?alt=sse";

fn ask(path: &str) -> Exchange {
    Exchange::post(HOST, path, &json!({ "contents": [{ "role": "user", "parts": [{ "text": "hi" }] }] }))
}

fn chunk(parts: Value) -> Value {
    json!({ "candidates": [{ "content": { "role": "model", "parts": parts }, "index": 0 }],
            "usageMetadata": { "promptTokenCount": 4, "totalTokenCount": 4 },
            "modelVersion": "gemini-2.5-pro-001", "responseId": "r1" })
}

fn last(parts: Value, reason: &str) -> Value {
    json!({ "candidates": [{ "content": { "role": "model", "parts": parts }, "finishReason": reason }],
            "usageMetadata": { "promptTokenCount": 4, "candidatesTokenCount": 5, "thoughtsTokenCount": 6,
                               "totalTokenCount": 15, "serviceTier": "standard" },
            "modelVersion": "gemini-2.5-pro-001", "responseId": "r1" })
}

fn usage() -> Usage {
    Usage {
        prompt_tokens: Some(4),
        completion_tokens: Some(11),
        total_tokens: Some(15),
        reasoning_tokens: Some(6),
        ..Usage::default()
    }
}

/// Google ends lines as the oldest of standards has it.
fn crlf(events: &[Value]) -> Vec<Piece> {
    events.iter().map(|event| format!("data: {event}\r\n\r\n").as_str().into()).collect()
}

#[test]
fn request_is_read_whole_in_either_spelling() {
    let camel = json!({
        "systemInstruction": { "role": "user", "parts": [{ "text": "be kind" }] },
        "contents": [
            { "role": "user", "parts": [
                { "text": "what" },
                { "inlineData": { "mimeType": "image/png", "data": "SECRET" } },
                { "fileData": { "mimeType": "video/mp4", "fileUri": "https://h/v?sig=SECRET" } },
                { "text": "is it" },
            ] },
            { "role": "model", "parts": [
                { "text": "thinking aloud", "thought": true },
                { "functionCall": { "id": "c1", "name": "look", "args": { "at": "it" } }, "thoughtSignature": "SECRET" },
            ] },
            { "role": "user", "parts": [
                { "functionResponse": { "id": "c1", "name": "look", "response": { "output": "a cat" } } },
                { "functionResponse": { "name": "other", "response": { "error": "no", "code": 3 } } },
                { "functionResponse": { "name": "third", "response": { "error": "broken" } } },
            ] },
        ],
        "tools": [
            { "functionDeclarations": [{ "name": "look", "description": "looks" }, { "name": "other" }] },
            { "googleSearch": {} },
            { "codeExecution": {} },
        ],
        "toolConfig": { "functionCallingConfig": { "mode": "ANY", "allowedFunctionNames": ["look"] } },
        "generationConfig": {
            "temperature": 0.5, "topP": 0.9, "topK": 40, "maxOutputTokens": 100, "stopSequences": ["END"],
            "presencePenalty": 0.1, "frequencyPenalty": 0.2, "candidateCount": 2, "seed": 3,
            "responseMimeType": "application/json", "responseSchema": { "type": "OBJECT" },
            "thinkingConfig": { "thinkingBudget": 10 },
        },
        "safetySettings": [{ "category": "X", "threshold": "BLOCK_NONE" }],
        "cachedContent": "cachedContents/1",
        "labels": { "team": "a" },
    });
    let mut snake = camel.to_string();
    for (from, to) in [
        ("systemInstruction", "system_instruction"),
        ("inlineData", "inline_data"),
        ("mimeType", "mime_type"),
        ("fileData", "file_data"),
        ("fileUri", "file_uri"),
        ("functionCall\"", "function_call\""),
        ("functionResponse", "function_response"),
        ("functionDeclarations", "function_declarations"),
        ("functionCallingConfig", "function_calling_config"),
        ("toolConfig", "tool_config"),
        ("generationConfig", "generation_config"),
        ("topP", "top_p"),
        ("topK", "top_k"),
        ("maxOutputTokens", "max_output_tokens"),
        ("stopSequences", "stop_sequences"),
        ("presencePenalty", "presence_penalty"),
        ("frequencyPenalty", "frequency_penalty"),
        ("candidateCount", "candidate_count"),
        ("responseMimeType", "response_mime_type"),
        ("responseSchema", "response_schema"),
        ("thinkingConfig", "thinking_config"),
        ("safetySettings", "safety_settings"),
        ("cachedContent\"", "cached_content\""),
        ("allowedFunctionNames", "allowed_function_names"),
        ("googleSearch", "google_search"),
        ("codeExecution", "code_execution"),
    ] {
        assert!(snake.contains(from), "{from}");
        snake = snake.replace(from, to);
    }
    let snake: Value = serde_json::from_str(&snake).unwrap();
    let call = Exchange::post(HOST, WHOLE, &camel).call();
    let same = Exchange::post(HOST, WHOLE, &snake).call();
    assert_eq!(call.request, same.request);
    assert_eq!(call.extension, same.extension);

    let request = &call.request;
    assert_eq!(request.request_type, RequestType::Chat);
    assert_eq!(request.model.as_ref().unwrap().id, "gemini-2.5-pro");
    assert_eq!(request.streaming, Some(false));
    assert_eq!(request.provider.name, ProviderName::Google);
    assert_eq!(call.extension["provider_id"], "gemini");
    assert_eq!(call.extension["api_format"], "gemini");
    let auth = request.auth.as_ref().unwrap();
    assert_eq!((auth.auth_type, auth.key_prefix.as_deref()), (AuthType::ApiKey, Some("AIza")));
    let roles: Vec<_> = request.messages.iter().map(|message| message.role).collect();
    assert_eq!(roles, [Role::System, Role::User, Role::Assistant, Role::Tool, Role::Tool, Role::Tool]);
    assert_eq!(request.messages[1].content, Some(json!("what\nis it")));
    assert_eq!(request.messages[1].image_count, Some(1));
    assert_eq!(request.messages[3].content, Some(json!("a cat")));
    assert_eq!(request.messages[3].tool_call_id.as_deref(), Some("c1"));
    assert_eq!(request.messages[3].name.as_deref(), Some("look"));
    assert_eq!(request.messages[4].content, Some(json!(r#"{"code":3,"error":"no"}"#)));
    assert_eq!(request.messages[5].content, Some(json!("broken")));
    assert_eq!(call.extension["tool_errors"], json!([5]));
    assert_eq!(call.extension["message_tool_calls"][0]["arguments"], r#"{"at":"it"}"#);
    assert_eq!(call.extension["message_tool_calls"][0]["message"], 2);
    assert_eq!(request.tools_count, Some(4));
    assert_eq!(request.tools[0].name.as_deref(), Some("look"));
    assert_eq!(request.tools[3].tool_type, Some(ToolType::CodeInterpreter));
    assert_eq!(call.extension["tool_types"][0], json!({ "tool": 2, "type": "googleSearch" }));
    assert_eq!(request.tool_choice.as_deref(), Some(r#"{"allowedFunctionNames":["look"],"mode":"ANY"}"#));
    let parameters = request.parameters.as_ref().unwrap();
    assert_eq!((parameters.temperature, parameters.top_p), (Some(0.5), Some(0.9)));
    assert_eq!((parameters.max_tokens, parameters.presence_penalty), (Some(100), Some(0.1)));
    assert_eq!(parameters.stop, ["END"]);
    let others = &call.extension["parameters"];
    for (key, value) in [
        ("top_k", json!(40)),
        ("candidate_count", json!(2)),
        ("seed", json!(3)),
        ("response_schema", json!({ "type": "OBJECT" })),
        ("cached_content", json!("cachedContents/1")),
        ("labels", json!({ "team": "a" })),
    ] {
        assert_eq!(others[key], value, "{key}");
    }
    assert!(call.findings.is_empty(), "{:?}", call.findings);
    let json = serde_json::to_string(&common::written(&oisp_ai::AiEvent::Request(Box::new(call)))).unwrap();
    assert!(!json.contains("SECRET"), "{json}");
}

#[test]
fn whole_answer_has_text_thoughts_calls_code_and_counts() {
    let answer = ask(WHOLE)
        .json(&json!({
            "candidates": [{
                "content": { "role": "model", "parts": [
                    { "text": "hm", "thought": true },
                    { "text": "hel" },
                    { "executableCode": { "language": "PYTHON", "code": "print(1)" } },
                    { "codeExecutionResult": { "outcome": "OUTCOME_OK", "output": "1\n" } },
                    { "text": "lo" },
                    { "inlineData": { "mimeType": "image/png", "data": "AAAA" } },
                    { "functionCall": { "id": "c1", "name": "f", "args": { "b": 1, "a": "x" } }, "thoughtSignature": "s" },
                    { "functionCall": { "name": "g", "args": {} } },
                ] },
                "finishReason": "STOP", "index": 0,
                "citationMetadata": { "citationSources": [{ "uri": "https://a" }] },
                "groundingMetadata": {
                    "webSearchQueries": ["q"], "groundingChunks": [{}, {}], "groundingSupports": [{}, {}, {}],
                },
            }],
            "usageMetadata": {
                "promptTokenCount": 10, "candidatesTokenCount": 5, "thoughtsTokenCount": 7, "toolUsePromptTokenCount": 100,
                "cachedContentTokenCount": 4, "totalTokenCount": 122, "trafficType": "ON_DEMAND",
                "promptTokensDetails": [{ "modality": "TEXT", "tokenCount": 10 }],
            },
            "modelVersion": "gemini-2.5-pro-001", "responseId": "r1",
        }))
        .answer();
    let response = &answer.response;
    assert_eq!(content(&answer), Some("hello"));
    assert_eq!(response.model.as_ref().unwrap().id, "gemini-2.5-pro-001");
    assert_eq!(response.provider_request_id.as_deref(), Some("r1"));
    assert_eq!(response.choices[0].message.as_ref().unwrap().image_count, Some(1));
    assert_eq!(answer.extension["reasoning"], json!([{ "choice": 0, "text": "hm" }]));
    assert_eq!(response.tool_calls_count, Some(2));
    assert_eq!(response.tool_calls[0].id.as_deref(), Some("c1"));
    assert_eq!(response.tool_calls[0].arguments.as_deref(), Some(r#"{"a":"x","b":1}"#));
    assert_eq!(response.tool_calls[1].arguments.as_deref(), Some("{}"));
    // The service says STOP also of an answer that asks for tools.
    assert_eq!(response.finish_reason, Some(FinishReason::ToolCalls));
    assert_eq!(answer.extension["finish_reason"], "STOP");
    assert_eq!(
        response.usage,
        Some(Usage {
            prompt_tokens: Some(110),
            completion_tokens: Some(12),
            total_tokens: Some(122),
            cached_tokens: Some(4),
            reasoning_tokens: Some(7),
            ..Usage::default()
        })
    );
    assert_eq!(answer.extension["usage"]["promptTokensDetails"][0]["modality"], "TEXT");
    assert_eq!(answer.extension["parts"][0]["text"], "print(1)");
    assert_eq!(answer.extension["parts"][1]["outcome"], "OUTCOME_OK");
    assert_eq!(answer.extension["parts"][2]["encoded_bytes"], 4);
    assert_eq!(answer.extension["citation_count"], 1);
    assert_eq!(
        answer.extension["grounding"],
        json!([{ "choice": 0, "search_queries": 1, "sources": 2, "supports": 3, "urls": 0 }])
    );
    assert!(answer.findings.is_empty(), "{:?}", answer.findings);
}

#[test]
fn stream_gives_the_same_as_events_and_as_an_array() {
    let events = [
        chunk(json!([{ "text": "h", "thought": true }])),
        chunk(json!([{ "text": "m", "thought": true }, { "text": "hel" }])),
        chunk(json!([{ "text": "lo" }, { "functionCall": { "name": "f", "args": { "a": [1] } } }])),
        last(json!([{ "text": "" }]), "STOP"),
    ];
    let array = events.iter().map(Value::to_string).collect::<Vec<_>>().join("\n,\r\n");
    let as_events = ask(STREAM).sse_pieces(crlf(&events)).answer();
    let mut exchange = ask("/v1beta/models/gemini-2.5-pro:streamGenerateContent");
    exchange = exchange.response_header("content-type", "application/json; charset=UTF-8");
    exchange.response = vec![format!("[{array}\n]\n").as_str().into()];
    let as_array = exchange.answer();
    for answer in [&as_events, &as_array] {
        assert_eq!(content(answer), Some("hello"));
        assert_eq!(answer.extension["reasoning"][0]["text"], "hm");
        assert_eq!(answer.response.tool_calls[0].arguments.as_deref(), Some(r#"{"a":[1]}"#));
        assert_eq!(answer.response.usage, Some(usage()));
        assert_eq!(answer.extension["service_tier"], "standard");
        assert_eq!(answer.extension["streamed"], true);
        assert_eq!(answer.timings.chunk_count, 4);
        assert!(answer.findings.is_empty(), "{:?}", answer.findings);
    }
    assert_eq!(as_events.response.choices, as_array.response.choices);
    assert_eq!(ask(STREAM).call().request.streaming, Some(true));
}

#[test]
fn candidates_of_a_stream_are_kept_apart() {
    let event = |index: u64, text: &str, reason: Option<&str>| json!({ "candidates": [{ "index": index, "content": { "parts": [{ "text": text }] }, "finishReason": reason }] });
    let answer = ask(STREAM)
        .sse_pieces(crlf(&[
            event(0, "a", None),
            event(1, "b", None),
            event(0, "A", Some("STOP")),
            event(1, "B", Some("MAX_TOKENS")),
        ]))
        .answer();
    let texts: Vec<_> = answer
        .response
        .choices
        .iter()
        .map(|choice| choice.message.as_ref().unwrap().content.clone())
        .collect();
    assert_eq!(texts, [Some(json!("aA")), Some(json!("bB"))]);
    assert_eq!(answer.response.choices[1].finish_reason, Some(FinishReason::Length));
    assert_eq!(answer.extension["choices"][1]["finish_reason"], "MAX_TOKENS");
    assert_eq!(answer.response.usage, None);
    assert!(answer.findings.is_empty(), "{:?}", answer.findings);
}

#[test]
fn arguments_that_come_in_pieces_are_put_together() {
    let call = |call: Value| chunk(json!([{ "functionCall": call }]));
    let events = [
        call(json!({ "name": "weather", "id": "c1", "willContinue": true })),
        call(
            json!({ "partialArgs": [{ "jsonPath": "$.city", "stringValue": "New ", "willContinue": true }], "willContinue": true }),
        ),
        call(
            json!({ "partialArgs": [{ "jsonPath": "$.city", "stringValue": "York" }, { "jsonPath": "$.days", "numberValue": 2 }], "willContinue": true }),
        ),
        call(json!({})),
        last(json!([]), "STOP"),
    ];
    let answer = ask(STREAM).sse_pieces(crlf(&events)).answer();
    assert_eq!(answer.response.tool_calls.len(), 1);
    assert_eq!(answer.response.tool_calls[0].arguments.as_deref(), Some(r#"{"city":"New York","days":2}"#));
    assert_eq!(answer.extension.get("incomplete_tool_calls"), None);

    let mut pieces = crlf(&events);
    pieces[2] = Piece::Gap(100);
    let answer = ask(STREAM).sse_pieces(pieces).answer();
    assert_eq!(answer.extension["incomplete_tool_calls"], json!([0]));
    assert_eq!(answer.response.tool_calls[0].arguments.as_deref(), Some(r#"{"city":"New "}"#));
}

#[test]
fn text_after_lost_bytes_is_not_spliced() {
    let mut pieces = crlf(&[
        chunk(json!([{ "text": "one " }])),
        chunk(json!([{ "text": "two " }])),
        chunk(json!([{ "text": "whose beginning is not certain " }])),
        chunk(json!([{ "text": "three" }])),
        last(json!([]), "STOP"),
    ]);
    pieces[1] = Piece::Gap(60);
    let answer = ask(STREAM).sse_pieces(pieces).answer();
    assert_eq!(content(&answer), Some("one "));
    assert_eq!(
        answer.extension["content_after_gap"],
        json!([{ "after_gap": 1, "choice": 0, "text": "three" }])
    );
    assert!(!answer.findings.is_empty());
}

#[test]
fn a_refused_prompt_is_a_refusal_with_status_200() {
    let body = json!({
        "promptFeedback": { "blockReason": "PROHIBITED_CONTENT", "blockReasonMessage": "not that" },
        "usageMetadata": { "promptTokenCount": 4, "totalTokenCount": 4 }, "modelVersion": "m",
    });
    for answer in
        [ask(WHOLE).json(&body).answer(), ask(STREAM).sse_pieces(crlf(std::slice::from_ref(&body))).answer()]
    {
        assert_eq!(answer.response.finish_reason, Some(FinishReason::ContentFilter));
        assert_eq!(answer.extension["refusal"], json!([{ "choice": 0, "text": "not that" }]));
        assert_eq!(answer.extension["block_reason"], "PROHIBITED_CONTENT");
        assert!(answer.response.choices.is_empty());
        assert_eq!(answer.response.usage.as_ref().unwrap().completion_tokens, None);
        assert!(answer.findings.is_empty(), "{:?}", answer.findings);
    }
}

#[test]
fn reasons_to_finish_are_read_as_names_and_as_numbers() {
    for (reason, original, expected) in [
        (json!("SAFETY"), "SAFETY", FinishReason::ContentFilter),
        (json!("RECITATION"), "RECITATION", FinishReason::ContentFilter),
        (json!("IMAGE_SAFETY"), "IMAGE_SAFETY", FinishReason::ContentFilter),
        (json!("MODEL_ARMOR"), "MODEL_ARMOR", FinishReason::ContentFilter),
        (json!("MALFORMED_FUNCTION_CALL"), "MALFORMED_FUNCTION_CALL", FinishReason::Error),
        (json!("OTHER"), "OTHER", FinishReason::Other),
        (json!(1), "STOP", FinishReason::Stop),
        (json!(2), "MAX_TOKENS", FinishReason::Length),
        (json!(99), "99", FinishReason::Other),
    ] {
        let answer = ask("/v1beta/models/m:generateContent?%24alt=json%3Benum-encoding=int")
            .json(&json!({ "candidates": [{ "finishReason": reason, "content": { "parts": [] } }] }))
            .answer();
        assert_eq!(answer.response.finish_reason, Some(expected), "{reason}");
        assert_eq!(answer.extension["finish_reason"], original);
        assert!(answer.findings.is_empty(), "{:?}", answer.findings);
    }
}

#[test]
fn errors_are_read_in_every_disguise() {
    let error = json!({ "error": { "code": 429, "message": "slow down", "status": "RESOURCE_EXHAUSTED" } });
    let list = json!([error]);
    let whole = ask(WHOLE).status(429).json(&error).answer();
    let listed = ask(WHOLE).status(429).json(&list).answer();
    let array = ask("/v1beta/models/m:streamGenerateContent").status(429).json(&list).answer();
    let instead = ask(STREAM).status(429).json(&error).answer();
    let inside = ask(WHOLE).json(&error).answer();
    let mid = ask(STREAM).sse_pieces(crlf(&[chunk(json!([{ "text": "hel" }])), error])).answer();
    for answer in [&whole, &listed, &array, &instead, &inside, &mid] {
        let read = answer.response.error.as_ref().unwrap();
        assert_eq!(read.error_type.as_deref(), Some("RESOURCE_EXHAUSTED"));
        assert_eq!((read.message.as_deref(), read.code.as_deref()), (Some("slow down"), Some("429")));
        assert_eq!(answer.response.success, Some(false));
        assert!(answer.findings.is_empty(), "{:?}", answer.findings);
    }
    assert_eq!(content(&mid), Some("hel"));
}

#[test]
fn vertex_tells_region_and_project_in_host_and_path() {
    let body = json!({ "contents": [{ "parts": [{ "text": "hi" }] }] });
    for (host, path, model, region, project) in [
        (
            "us-east5-aiplatform.googleapis.com",
            "/v1/projects/p-1/locations/us-east5/publishers/google/models/gemini:generateContent",
            "gemini",
            Some("us-east5"),
            Some("p-1"),
        ),
        (
            "aiplatform.googleapis.com",
            "/v1beta1/projects/p-1/locations/global/endpoints/123:streamGenerateContent",
            "endpoints/123",
            Some("global"),
            Some("p-1"),
        ),
        (
            "aiplatform.googleapis.com",
            "/v1/publishers/google/models/g:generateContent?key=x",
            "g",
            None,
            None,
        ),
        (
            "aiplatform.us.rep.googleapis.com",
            "/v1/projects/p/locations/us/publishers/google/models/g:generateContent",
            "g",
            Some("us"),
            Some("p"),
        ),
    ] {
        let (call, answer) = Exchange::post(host, path, &body)
            .request_header("Authorization", "Bearer ya29.abcdefghijklm")
            .json(&last(json!([{ "text": "x" }]), "STOP"))
            .interpret();
        let (call, answer) = (call.unwrap(), answer.unwrap());
        assert_eq!(call.extension["provider_id"], "vertex_ai");
        assert_eq!(call.request.auth.as_ref().unwrap().auth_type, AuthType::OAuth);
        assert_eq!(call.request.model.as_ref().unwrap().id, model);
        for provider in [&call.request.provider, &answer.response.provider] {
            assert_eq!((provider.region.as_deref(), provider.project_id.as_deref()), (region, project));
        }
    }
}

#[test]
fn developers_client_wraps_request_and_answer() {
    let (call, answer) = Exchange::post(
        "cloudcode-pa.googleapis.com",
        "/v1internal:streamGenerateContent?alt=sse",
        &json!({
            "model": "gemini-2.5-flash", "project": "p", "user_prompt_id": "u",
            "request": { "contents": [{ "role": "user", "parts": [{ "text": "hi" }] }], "session_id": "s" },
        }),
    )
    .sse_pieces(crlf(&[
        json!({ "response": chunk(json!([{ "text": "hel" }])) }),
        json!({ "response": last(json!([{ "text": "lo" }]), "STOP"), "traceId": "t" }),
    ]))
    .interpret();
    let (call, answer) = (call.unwrap(), answer.unwrap());
    assert_eq!(call.request.model.as_ref().unwrap().id, "gemini-2.5-flash");
    assert_eq!(call.request.messages[0].content, Some(json!("hi")));
    assert_eq!(content(&answer), Some("hello"));
    assert_eq!(answer.response.usage, Some(usage()));
    assert!(answer.findings.is_empty() && call.findings.is_empty());
}
