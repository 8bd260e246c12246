//! OpenAI text completions: requests, answers, streams.

mod common;

use common::{Exchange, content};
use oisp_event::{FinishReason, RequestType};
use serde_json::{Value, json};

fn ask(prompt: &Value) -> Exchange {
    Exchange::post(
        "api.openai.com",
        "/v1/completions",
        &json!({ "model": "gpt-3.5-turbo-instruct", "prompt": prompt, "max_tokens": 5, "n": 2, "echo": false }),
    )
}

#[test]
fn each_prompt_is_a_message_and_tokens_are_counted() {
    for (prompt, texts, parts) in [
        (json!("a"), vec![Some("a")], json!(null)),
        (json!(["a", "b"]), vec![Some("a"), Some("b")], json!(null)),
        (json!([1, 2, 3]), vec![None], json!([{ "message": 0, "type": "tokens", "count": 3 }])),
        (
            json!([[1], [2, 3]]),
            vec![None, None],
            json!([{ "message": 0, "type": "tokens", "count": 1 }, { "message": 1, "type": "tokens", "count": 2 }]),
        ),
    ] {
        let call = ask(&prompt).call();
        assert_eq!(call.request.request_type, RequestType::Completion);
        let said: Vec<_> = call
            .request
            .messages
            .iter()
            .map(|message| message.content.as_ref().and_then(Value::as_str))
            .collect();
        assert_eq!(said, texts);
        assert_eq!(call.extension.get("parts").cloned().unwrap_or_default(), parts);
        assert_eq!(call.extension["parameters"], json!({ "n": 2, "echo": false }));
        assert!(call.findings.is_empty());
    }
}

#[test]
fn answer_is_read_whole() {
    let answer = ask(&json!("a"))
        .json(&json!({
            "id": "cmpl-1", "object": "text_completion", "model": "gpt-3.5-turbo-instruct:x",
            "choices": [
                { "index": 0, "text": "one", "finish_reason": "stop", "logprobs": null },
                { "index": 1, "text": "two", "finish_reason": "length" },
            ],
            "usage": { "prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3 },
        }))
        .answer();
    assert_eq!(content(&answer), Some("one"));
    let choices = &answer.response.choices;
    assert_eq!(choices[1].message.as_ref().unwrap().content, Some(json!("two")));
    assert_eq!(choices[1].finish_reason, Some(FinishReason::Length));
    assert_eq!(answer.response.usage.as_ref().unwrap().total_tokens, Some(3));
    assert_eq!(answer.extension["api_format"], "openai_completions");
    assert!(answer.findings.is_empty(), "{:?}", answer.findings);
}

#[test]
fn stream_is_put_together_per_choice() {
    let chunk = |index: u64, text: &str, finish: Value| json!({ "object": "text_completion", "choices": [{ "index": index, "text": text, "finish_reason": finish }] });
    let events = [
        chunk(0, "o", json!(null)),
        chunk(1, "tw", json!(null)),
        chunk(0, "ne", json!("stop")),
        chunk(1, "o", json!("stop")),
        json!({ "object": "text_completion", "choices": [], "usage": { "prompt_tokens": 1, "completion_tokens": 2 } }),
    ];
    let mut pieces: Vec<common::Piece> =
        events.iter().map(|event| common::data(event).as_str().into()).collect();
    pieces.push("data: [DONE]\n\n".into());
    let answer = ask(&json!("a")).sse_pieces(pieces).answer();
    assert_eq!(content(&answer), Some("one"));
    assert_eq!(answer.response.choices[1].message.as_ref().unwrap().content, Some(json!("two")));
    assert_eq!(answer.response.usage.as_ref().unwrap().total_tokens, Some(3));
    assert!(answer.findings.is_empty(), "{:?}", answer.findings);
    let cut = ask(&json!("a")).sse(&events[..2]).answer();
    assert_eq!(cut.findings.reasons, ["stream_ended_early"]);
}

#[test]
fn filling_in_the_middle_is_a_completion_with_a_suffix() {
    let ask = Exchange::post(
        "codestral.mistral.ai",
        "/v1/fim/completions",
        &json!({ "model": "codestral", "prompt": "def f(", "suffix": "return 1" }),
    );
    let call = ask.call();
    assert_eq!(call.detection.provider_id, "mistral");
    assert_eq!(call.request.messages[1].name.as_deref(), Some("suffix"));
    let answer = ask
        .sse(&[
            json!({ "id": "1", "model": "codestral", "choices": [{ "index": 0, "delta": { "content": "x):" }, "finish_reason": "stop" }] }),
        ])
        .answer();
    assert_eq!(
        (content(&answer), &answer.extension["api_format"]),
        (Some("x):"), &json!("openai_completions"))
    );
}

#[test]
fn model_in_the_path_counts() {
    let call = Exchange::post(
        "api.githubcopilot.com",
        "/v1/engines/copilot-codex/completions",
        &json!({ "prompt": "x", "suffix": "", "max_tokens": 500, "stream": true }),
    )
    .call();
    assert_eq!(call.request.model.unwrap().id, "copilot-codex");
    assert_eq!(call.request.messages.len(), 1);
}

#[test]
fn request_for_an_image_is_no_completion() {
    let body = json!({ "model": "m", "prompt": "a cat", "size": "1x1" });
    let (call, _) = Exchange::post("unknown.example", "/images", &body).interpret();
    assert!(call.is_none());
}
