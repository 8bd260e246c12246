//! Interfaces of their own: Text Generation Inference, llama.cpp, LM Studio, watsonx, Replicate.

mod common;

use common::{Exchange, Piece, content};
use oisp_event::{FinishReason, RequestType, Usage};
use serde_json::{Value, json};

fn usage(prompt: u64, completion: u64) -> Option<Usage> {
    Some(Usage {
        prompt_tokens: Some(prompt),
        completion_tokens: Some(completion),
        total_tokens: Some(prompt + completion),
        ..Usage::default()
    })
}

fn tgi(path: &str) -> Exchange {
    Exchange::post(
        "tgi.example",
        path,
        &json!({ "inputs": "hi", "parameters": { "max_new_tokens": 5, "temperature": 0.5, "stop": ["x"], "top_k": 3 } }),
    )
}

#[test]
fn tgi_request_is_read_and_elsewhere_only_its_own_body_is() {
    let call = tgi("/generate_stream").call();
    let request = &call.request;
    assert_eq!((request.request_type, request.streaming), (RequestType::Completion, Some(true)));
    assert_eq!(request.messages[0].content, Some(json!("hi")));
    let parameters = request.parameters.as_ref().unwrap();
    assert_eq!((parameters.max_tokens, parameters.stop.len()), (Some(5), 1));
    assert_eq!(call.extension["parameters"], json!({ "top_k": 3 }));
    for path in ["/", "/invocations"] {
        assert_eq!(tgi(path).call().extension["api_format"], "huggingface_tgi");
        let other = json!({ "inputs": [1, 2], "columns": ["a"] });
        assert!(Exchange::post("other.example", path, &other).interpret().0.is_none());
    }
    let other = json!({ "inputs": 3 });
    assert!(Exchange::post("other.example", "/generate", &other).interpret().0.is_none());
    let hub =
        Exchange::post("api-inference.huggingface.co", "/models/org/name", &json!({ "inputs": "x" })).call();
    assert_eq!(hub.request.model.unwrap().id, "org/name");
    let sagemaker = Exchange::post(
        "runtime.sagemaker.eu-west-1.amazonaws.com",
        "/endpoints/mine/invocations",
        &json!({ "inputs": "x" }),
    );
    assert_eq!(sagemaker.call().extension["deployment"], "mine");
}

#[test]
fn tgi_answers_whole_as_object_or_list_and_streamed_are_read() {
    let details = json!({ "finish_reason": "length", "generated_tokens": 5, "prefill": [], "tokens": [] });
    for body in [
        json!({ "generated_text": "yes", "details": details }),
        json!([{ "generated_text": "yes", "details": details }]),
    ] {
        let answer = tgi("/generate")
            .response_header("x-prompt-tokens", "3")
            .response_header("x-generated-tokens", "5")
            .json(&body)
            .answer();
        assert_eq!(content(&answer), Some("yes"));
        assert_eq!(answer.response.finish_reason, Some(FinishReason::Length));
        assert_eq!(answer.response.usage.as_ref().unwrap().completion_tokens, Some(5));
        assert!(answer.findings.is_empty(), "{:?}", answer.findings);
    }
    let answer = tgi("/generate")
        .response_header("x-prompt-tokens", "3")
        .response_header("x-generated-tokens", "5")
        .json(&json!({ "generated_text": "yes" }))
        .answer();
    assert_eq!((answer.response.usage, &answer.extension["usage_source"]), (usage(3, 5), &json!("headers")));
    let token = |text: &str, special: bool| json!({ "index": 1, "token": { "id": 1, "text": text, "logprob": -1.0, "special": special }, "generated_text": null, "details": null });
    let last = json!({ "token": { "id": 2, "text": "</s>", "special": true }, "generated_text": "Hello",
        "details": { "finish_reason": "eos_token", "generated_tokens": 3, "input_length": 7 } });
    let pieces: Vec<Piece> = [token("Hel", false), token("lo", false), last]
        .iter()
        .map(|event| Piece::from(format!("data:{event}\n\n").as_str()))
        .collect();
    let answer = tgi("/generate_stream").sse_pieces(pieces.clone()).answer();
    assert_eq!(content(&answer), Some("Hello"));
    assert_eq!(answer.response.usage, usage(7, 3));
    assert_eq!(answer.response.finish_reason, Some(FinishReason::Stop));
    assert!(answer.findings.is_empty(), "{:?}", answer.findings);
    // What is lost in the middle does not matter where the end repeats all.
    let gapped = vec![pieces[0].clone(), Piece::Gap(9), pieces[2].clone(), pieces[2].clone()];
    assert_eq!(content(&tgi("/generate_stream").sse_pieces(gapped).answer()), Some("Hello"));
    let answer = tgi("/generate_stream")
        .sse(&[token("Hel", false), json!({ "error": "overloaded", "error_type": "overloaded" })])
        .answer();
    assert_eq!(content(&answer), Some("Hel"));
    assert_eq!(answer.response.error.unwrap().error_type.as_deref(), Some("overloaded"));
}

#[test]
fn hub_models_take_named_inputs_and_sound_of_which_only_the_size_is_kept() {
    let path = "/hf-inference/models/org/name";
    let asked = json!({ "inputs": { "question": "who", "context": "Ann is" } });
    let (call, answer) = Exchange::post("router.huggingface.co", path, &asked)
        .json(&json!({ "answer": "Ann", "score": 0.9 }))
        .interpret();
    let call = call.unwrap();
    assert_eq!((call.request.request_type, call.request.messages_count), (RequestType::Other, Some(2)));
    assert_eq!(content(&answer.unwrap()), Some("Ann"));
    let mut sound =
        Exchange::post("router.huggingface.co", path, &json!({})).json(&json!({ "text": "Hello" }));
    sound.request_headers[1].1 = "audio/flac".to_owned();
    sound.request = vec![Piece::Bytes(vec![7; 1000])];
    let (call, answer) = sound.interpret();
    let call = call.unwrap();
    assert_eq!(call.request.request_type, RequestType::Audio);
    assert_eq!((&call.extension["parts"][0]["bytes"], call.findings.is_empty()), (&json!(1000), true));
    assert_eq!(content(&answer.unwrap()), Some("Hello"));
}

#[test]
fn llama_cpp_takes_tokens_among_texts_and_several_prompts() {
    let call = llama(&json!({ "prompt": ["a", 1, 2, "b"] })).call();
    assert_eq!(call.request.messages[0].content, Some(json!("a\nb")));
    assert_eq!(call.extension["parts"], json!([{ "type": "tokens", "count": 2, "message": 0 }]));
    let one =
        |text: &str| json!({ "content": text, "stop": true, "tokens_predicted": 1, "tokens_evaluated": 1 });
    let answer = llama(&json!({ "prompt": ["a", "b"] })).json(&json!([one("x"), one("y")])).answer();
    let texts: Vec<_> = answer
        .response
        .choices
        .iter()
        .map(|choice| choice.message.clone().unwrap().content.unwrap())
        .collect();
    assert_eq!((texts, answer.response.usage), (vec![json!("x"), json!("y")], None));
}

#[test]
fn text_embeddings_inference_is_known_by_path_and_body() {
    let ask = |body: &Value| Exchange::post("tei.example", "/embed", body);
    let answer =
        ask(&json!({ "inputs": ["a", "b"], "truncate": true })).json(&json!([[0.5, 1], [1, 2]])).answer();
    let embedding = answer.embedding.unwrap();
    assert_eq!((embedding.count, embedding.dimensions), (2, Some(2)));
    assert!(answer.findings.is_empty(), "{:?}", answer.findings);
    assert!(ask(&json!({ "inputs": ["a"], "model": "m" })).interpret().0.is_none());
}

#[test]
fn hugging_face_vectors_are_measured() {
    let path = "/hf-inference/models/org/name/pipeline/feature-extraction";
    for (body, count, dimensions) in
        [(json!([0.5, 1, 2]), 1, Some(3)), (json!([[0.5, 1], [1, 2]]), 2, Some(2))]
    {
        let exchange = Exchange::post("router.huggingface.co", path, &json!({ "inputs": ["a"] })).json(&body);
        let (call, answer) = exchange.interpret();
        let request = call.unwrap().request;
        assert_eq!(
            (request.request_type, request.model.unwrap().id.as_str()),
            (RequestType::Embedding, "org/name")
        );
        let embedding = answer.unwrap().embedding.unwrap();
        assert_eq!((embedding.count, embedding.dimensions), (count, dimensions));
    }
}

fn llama(body: &Value) -> Exchange {
    Exchange::post("localhost:8080", "/completion", body)
}

#[test]
fn llama_cpp_completion_is_read_whole_and_streamed() {
    let ask =
        json!({ "prompt": "hi", "n_predict": 5, "stop": ["x"], "grammar": "root ::= x", "stream": true });
    let call = llama(&ask).call();
    assert_eq!(call.detection.provider_id, "llama_cpp");
    assert_eq!(call.request.parameters.as_ref().unwrap().max_tokens, Some(5));
    assert_eq!(call.extension["parameters"], json!({ "grammar": "root ::= x" }));
    let last = json!({ "content": "", "stop": true, "stop_type": "limit", "model": "m.gguf", "tokens_predicted": 5,
        "tokens_evaluated": 9, "timings": { "cache_n": 4, "predicted_ms": 10.5 } });
    let answer = llama(&ask)
        .sse(&[
            json!({ "index": 0, "content": "Hel", "stop": false }),
            json!({ "index": 0, "content": "lo", "stop": false }),
            last.clone(),
        ])
        .answer();
    assert_eq!(content(&answer), Some("Hello"));
    assert_eq!(answer.response.finish_reason, Some(FinishReason::Length));
    let with_cache = usage(9, 5).map(|usage| Usage { cached_tokens: Some(4), ..usage });
    assert_eq!(answer.response.usage, with_cache);
    assert_eq!(answer.response.model.as_ref().unwrap().id, "m.gguf");
    assert_eq!(answer.extension["server_timings"]["predicted_ms"], 10.5);
    assert!(answer.findings.is_empty(), "{:?}", answer.findings);
    let mut whole = last;
    whole["content"] = json!("Hello");
    let answer = llama(&json!({ "prompt": [1, 2] })).json(&whole).answer();
    assert_eq!((content(&answer), answer.response.usage.clone()), (Some("Hello"), with_cache));
    let old = json!({ "content": "a", "stop": true, "stopped_word": true, "stopped_eos": false });
    assert_eq!(llama(&ask).json(&old).answer().response.finish_reason, Some(FinishReason::Stop));
    let error =
        json!({ "error": { "code": 400, "message": "too long", "type": "exceed_context_size_error" } });
    let answer = llama(&ask).status(400).json(&error).answer();
    assert_eq!(answer.response.error.unwrap().code.as_deref(), Some("400"));
}

#[test]
fn llama_cpp_infill_keeps_its_parts_apart_by_name() {
    let body = json!({ "input_prefix": "def f", "input_suffix": "return", "prompt": "", "input_extra": [{ "filename": "a", "text": "x" }] });
    let call = Exchange::post("h:1", "/infill", &body).call();
    let named: Vec<_> = call
        .request
        .messages
        .iter()
        .filter_map(|message| Some((message.name.clone()?, message.content.clone()?)))
        .collect();
    let expected = [("input_extra", "x"), ("input_prefix", "def f"), ("input_suffix", "return")];
    assert_eq!(named, expected.map(|(name, text)| (name.to_owned(), json!(text))));
}

#[test]
fn lm_studio_chat_is_read_whole_and_streamed() {
    let ask = || {
        Exchange::post(
            "localhost:1234",
            "/api/v1/chat",
            &json!({ "model": "m", "system_prompt": "s", "max_output_tokens": 9, "previous_response_id": "r0",
                "input": [{ "type": "message", "content": "hi" }, { "type": "image", "data_url": "data:image/png;base64,AAAA" }],
                "integrations": [{ "type": "ephemeral_mcp", "server_label": "hub", "server_url": "https://h/?key=SECRET" }] }),
        )
    };
    let call = ask().call();
    assert_eq!(call.request.messages_count, Some(2));
    assert_eq!(call.request.image_count, Some(1));
    assert_eq!(call.extension["previous_response_id"], "r0");
    assert!(!format!("{:?}", call.extension).contains("SECRET"));
    let stats = json!({ "input_tokens": 10, "total_output_tokens": 6, "reasoning_output_tokens": 2, "tokens_per_second": 3.5 });
    let result = json!({ "model_instance_id": "m-1", "response_id": "r1", "stats": stats, "output": [
        { "type": "reasoning", "content": "hm" },
        { "type": "tool_call", "tool": "find", "arguments": { "q": 1 }, "output": "found", "provider_info": { "type": "ephemeral_mcp" } },
        { "type": "message", "content": "Hello" } ] });
    let whole = ask().json(&result).answer();
    let streamed = ask()
        .sse(&[
            json!({ "type": "chat.start", "model_instance_id": "m-1" }),
            json!({ "type": "reasoning.delta", "content": "hm" }),
            json!({ "type": "tool_call.success", "tool": "find", "arguments": { "q": 1 }, "output": "found", "provider_info": { "type": "ephemeral_mcp" } }),
            json!({ "type": "message.delta", "content": "Hel" }),
            json!({ "type": "message.delta", "content": "lo" }),
            json!({ "type": "chat.end", "result": result }),
        ])
        .answer();
    for answer in [whole, streamed] {
        assert_eq!(content(&answer), Some("Hello"));
        assert_eq!(answer.response.tool_calls[0].arguments.as_deref(), Some(r#"{"q":1}"#));
        assert_eq!(answer.response.tool_calls_count, Some(1));
        let expected = usage(10, 6).map(|usage| Usage { reasoning_tokens: Some(2), ..usage });
        assert_eq!(answer.response.usage, expected);
        assert_eq!(answer.extension["response_id"], "r1");
        assert_eq!(answer.extension["reasoning"][0]["text"], "hm");
        assert!(answer.findings.is_empty(), "{:?}", answer.findings);
    }
    let failed = ask()
        .sse(&[
            json!({ "type": "chat.start", "model_instance_id": "m-1" }),
            json!({ "type": "error", "error": { "type": "internal", "message": "no" } }),
        ])
        .answer();
    assert_eq!(failed.response.error.unwrap().message.as_deref(), Some("no"));
}

const WATSONX: &str = "us-south.ml.cloud.ibm.com";

#[test]
fn watsonx_text_and_chat_are_read_whole_and_streamed() {
    let body = json!({ "model_id": "ibm/granite", "input": "hi", "project_id": "p",
        "parameters": { "max_new_tokens": 5, "decoding_method": "greedy" } });
    let ask = |path: &str| Exchange::post(WATSONX, path, &body);
    let part = |text: &str, tokens: (u64, u64), reason: &str| {
        json!({ "model_id": "ibm/granite", "results": [
        { "generated_text": text, "input_token_count": tokens.0, "generated_token_count": tokens.1, "stop_reason": reason } ] })
    };
    let whole = ask("/ml/v1/text/generation?version=2024").json(&part("Hello", (3, 2), "eos_token")).answer();
    let streamed = ask("/ml/v1/text/generation_stream?version=2024")
        .sse(&[part("Hel", (3, 1), "not_finished"), part("lo", (0, 2), "eos_token")])
        .answer();
    for answer in [whole, streamed] {
        assert_eq!(answer.detection.provider_id, "watsonx");
        assert_eq!(content(&answer), Some("Hello"));
        assert_eq!(answer.response.usage, usage(3, 2));
        assert_eq!(answer.response.finish_reason, Some(FinishReason::Stop));
        assert_eq!(answer.response.model.as_ref().unwrap().id, "ibm/granite");
        assert!(answer.findings.is_empty(), "{:?}", answer.findings);
    }
    let chat = json!({ "model_id": "ibm/granite", "project_id": "p", "messages": [{ "role": "user", "content": "hi" }] });
    let (call, answer) = Exchange::post(WATSONX, "/ml/v1/text/chat_stream?version=2024", &chat)
        .sse(&[
            json!({ "id": "c", "model_id": "ibm/granite", "choices": [{ "index": 0, "delta": { "content": "Hello" } }] }),
            json!({ "id": "c", "model_id": "ibm/granite", "choices": [{ "index": 0, "delta": {}, "finish_reason": "stop" }],
                    "usage": { "prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5 } }),
        ])
        .interpret();
    let (call, answer) = (call.unwrap(), answer.unwrap());
    assert_eq!(call.request.model.unwrap().id, "ibm/granite");
    assert_eq!(call.request.streaming, Some(true));
    assert_eq!((content(&answer), answer.response.usage.clone()), (Some("Hello"), usage(3, 2)));
    assert_eq!(answer.response.model.unwrap().id, "ibm/granite");
    let failed = ask("/ml/v1/text/generation")
        .status(404)
        .json(&json!({ "errors": [{ "code": "model_not_supported", "message": "no" }], "trace": "t", "status_code": 404 }))
        .answer();
    assert_eq!(failed.response.error.unwrap().code.as_deref(), Some("model_not_supported"));
}

#[test]
fn replicate_prediction_is_read_with_its_failure() {
    let ask = || {
        Exchange::post(
            "api.replicate.com",
            "/v1/models/meta/llama/predictions",
            &json!({ "input": { "prompt": "hi", "system_prompt": "s", "max_tokens": 5, "top_k": 3, "note": "private" }, "stream": true }),
        )
    };
    let call = ask().call();
    assert_eq!(call.request.model.as_ref().unwrap().id, "meta/llama");
    assert_eq!(call.request.messages_count, Some(2));
    assert!(!format!("{:?}", call.extension).contains("private"));
    let prediction = |status: &str, output: Value, error: Value| {
        json!({ "id": "p1", "model": "meta/llama", "version": "v",
        "input": {}, "status": status, "output": output, "error": error, "urls": { "get": "https://x" },
        "metrics": { "input_token_count": 3, "output_token_count": 2, "predict_time": 0.5 } })
    };
    let answer = ask().status(201).json(&prediction("succeeded", json!(["Hel", "lo"]), json!(null))).answer();
    assert_eq!((content(&answer), answer.response.usage.clone()), (Some("Hello"), usage(3, 2)));
    let answer = ask().json(&prediction("failed", json!(null), json!("out of memory"))).answer();
    assert_eq!(answer.response.success, Some(false));
    assert_eq!(answer.response.error.unwrap().message.as_deref(), Some("out of memory"));
    let file = json!(["https://replicate.delivery/x/out.png?token=S"]);
    let answer = ask().json(&prediction("succeeded", file, json!(null))).answer();
    assert_eq!(answer.extension["parts"][0]["url"], "https://replicate.delivery/x/out.png");
}
