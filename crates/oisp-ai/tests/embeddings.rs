//! Embeddings of OpenAI's shape: counted and measured, never kept.

mod common;

use common::Exchange;
use oisp_event::{RequestType, Usage};
use serde_json::{Value, json};

fn ask(host: &str, path: &str, input: Value) -> Exchange {
    Exchange::post(host, path, &json!({ "model": "text-embedding-3-small", "input": input, "dimensions": 2 }))
}

#[test]
fn inputs_of_every_shape_are_messages_and_tokens_are_counted_only() {
    for (input, texts, parts) in [
        (json!("a"), vec![Some("a")], json!(null)),
        (json!(["a", "b"]), vec![Some("a"), Some("b")], json!(null)),
        (json!([1, 2, 3]), vec![None], json!([{ "type": "tokens", "count": 3, "message": 0 }])),
        (
            json!([[1], [2, 3]]),
            vec![None, None],
            json!([{ "type": "tokens", "count": 1, "message": 0 }, { "type": "tokens", "count": 2, "message": 1 }]),
        ),
        (
            json!([{ "text": "a" }, { "image": "https://h/x.png?key=S" }]),
            vec![Some("a"), None],
            json!([{ "type": "image", "url": "https://h/x.png", "message": 1 }]),
        ),
    ] {
        let call = ask("api.openai.com", "/v1/embeddings", input).call();
        assert_eq!(call.request.request_type, RequestType::Embedding);
        let said: Vec<_> = call
            .request
            .messages
            .iter()
            .map(|message| message.content.as_ref().and_then(|content| content.as_str().map(str::to_owned)))
            .collect();
        assert_eq!(said.iter().map(Option::as_deref).collect::<Vec<_>>(), texts);
        assert_eq!(call.extension.get("parts").cloned().unwrap_or_default(), parts);
        assert_eq!(call.extension["parameters"], json!({ "dimensions": 2 }));
        assert!(call.findings.is_empty(), "{:?}", call.findings);
    }
    let voyage = json!({ "model": "voyage-multimodal-3", "inputs": [
        { "content": [{ "type": "text", "text": "a" }, { "type": "image_base64", "image_base64": "data:image/png;base64,AAAA" }] } ] });
    let call = Exchange::post("api.voyageai.com", "/v1/multimodalembeddings", &voyage).call();
    assert_eq!(call.request.messages[0].content, Some(json!("a")));
    assert_eq!(call.request.image_count, Some(1));
}

#[test]
fn vectors_are_counted_as_lists_and_as_base64_and_stand_in_no_event() {
    let usage = json!({ "prompt_tokens": 8, "total_tokens": 8 });
    for vector in [json!([0.123456789, -0.25]), json!("AACAPwAAAEA=")] {
        let exchange = ask("api.openai.com", "/v1/embeddings", json!(["a", "b"])).json(&json!({
            "object": "list", "model": "text-embedding-3-small", "usage": usage,
            "data": [{ "object": "embedding", "index": 0, "embedding": vector },
                     { "object": "embedding", "index": 1, "embedding": vector }] }));
        let answer = exchange.answer();
        let embedding = answer.embedding.unwrap();
        assert_eq!((embedding.count, embedding.dimensions), (2, Some(2)));
        assert_eq!(
            answer.response.usage,
            Some(Usage { prompt_tokens: Some(8), total_tokens: Some(8), ..Usage::default() })
        );
        assert!(answer.response.choices.is_empty() && answer.findings.is_empty());
        let written = common::written(&oisp_ai::AiEvent::Response(Box::new(answer))).to_string();
        assert!(!written.contains("0.1234") && !written.contains("AACAPw"));
    }
}

#[test]
fn parts_of_documents_are_counted_one_by_one() {
    let body = json!({ "model": "voyage-context-3", "inputs": [["a", "b"], ["c"]] });
    let part = json!({ "object": "embedding", "embedding": [1, 2], "index": 0 });
    let answer = Exchange::post("api.voyageai.com", "/v1/contextualizedembeddings", &body)
        .json(&json!({ "object": "list", "model": "voyage-context-3", "usage": { "total_tokens": 3 }, "data": [
            { "object": "list", "index": 0, "data": [part, part] }, { "object": "list", "index": 1, "data": [part] } ] }))
        .answer();
    let embedding = answer.embedding.unwrap();
    assert_eq!((embedding.count, embedding.dimensions), (3, Some(2)));
    assert!(answer.findings.is_empty(), "{:?}", answer.findings);
}

#[test]
fn every_service_is_known_by_its_row_or_by_path_and_body() {
    for (host, path, id) in [
        ("my.openai.azure.com", "/openai/deployments/emb/embeddings?api-version=1", "azure_openai"),
        ("api.mistral.ai", "/v1/embeddings", "mistral"),
        ("api.together.xyz", "/v1/embeddings", "together"),
        ("api.voyageai.com", "/v1/embeddings", "voyage"),
        ("api.jina.ai", "/v1/embeddings", "jina"),
        ("localhost:1234", "/api/v0/embeddings", "lmstudio"),
        ("localhost:8000", "/v1/embeddings", "vllm"),
        ("unknown.example", "/some/v1/embeddings", "openai_compatible"),
    ] {
        let answer = ask(host, path, json!("a"))
            .json(&json!({ "data": [{ "embedding": [1, 2, 3] }], "model": "m", "usage": { "total_tokens": 4 } }))
            .answer();
        assert_eq!(answer.detection.provider_id, id);
        assert_eq!(answer.embedding.unwrap().dimensions, Some(3), "{host}");
        assert_eq!(answer.response.usage.unwrap().total_tokens, Some(4));
    }
    let call = ask("my.openai.azure.com", "/openai/deployments/emb/embeddings", json!("a")).call();
    assert_eq!(call.extension["deployment"], "emb");
}

#[test]
fn answer_far_over_the_bound_of_a_body_is_still_counted_because_its_vectors_are_not_kept() {
    let numbers = format!("[{}0.5]", "0.25000000,".repeat(1535));
    let base64 = format!("\"{}\"", "AAAA".repeat(1536 * 4 / 3));
    for vector in [numbers, base64] {
        let item = format!(r#"{{"object":"embedding","index":0,"embedding":{vector}}},"#);
        let mut exchange = ask("api.openai.com", "/v1/embeddings", json!("a"))
            .response_header("content-type", "application/json");
        // 34 and 16.8 million bytes; the bound is 16 MiB.
        exchange.response = vec![r#"{"object":"list","data":["#.into()];
        exchange.response.extend((0..2047).map(|_| common::Piece::from(item.as_str())));
        let usage = r#""usage":{"prompt_tokens":5,"total_tokens":5}}"#;
        exchange
            .response
            .push(format!(r#"{}],"model":"m",{usage}"#, item.trim_end_matches(',')).as_str().into());
        let answer = exchange.answer();
        let embedding = answer.embedding.unwrap();
        assert_eq!((embedding.count, embedding.dimensions), (2048, Some(1536)));
        assert_eq!(answer.response.usage.unwrap().prompt_tokens, Some(5));
    }
}

#[test]
fn answer_over_the_bound_or_with_lost_bytes_is_a_finding_and_an_error_is_told() {
    let mut exchange = ask("api.openai.com", "/v1/embeddings", json!("a"));
    exchange.response =
        vec![common::Piece::from("{\"data\":[\""), common::Piece::Bytes(vec![b' '; 17 << 20])];
    let answer = exchange.answer();
    assert_eq!(answer.embedding, None);
    assert!(answer.findings.reasons.contains(&"message_over_limit".to_owned()), "{:?}", answer.findings);
    exchange.response = vec![common::Piece::from("{\"data\":["), common::Piece::Gap(9)];
    assert!(exchange.answer().findings.reasons.contains(&"bytes_lost".to_owned()));
    let answer = ask("api.openai.com", "/v1/embeddings", json!("a"))
        .status(429)
        .json(&json!({ "error": { "message": "slow down", "type": "requests", "code": "rate_limit_exceeded" } }))
        .answer();
    assert_eq!(answer.response.error.unwrap().code.as_deref(), Some("rate_limit_exceeded"));
    assert_eq!(answer.embedding, None);
}
