//! Images, audio, moderation and reranking: content by type and size, texts and counts as they are.

mod common;

use common::{Exchange, Piece, content};
use oisp_event::{RequestType, Role, Usage};
use serde_json::json;

const HOST: &str = "api.openai.com";

fn form(path: &str, parts: &[(&str, &str)]) -> Exchange {
    let mut exchange = Exchange::post(HOST, path, &json!({}));
    exchange.request_headers[1].1 = "multipart/form-data; boundary=XX".to_owned();
    let mut body = String::new();
    for (disposition, value) in parts {
        body.push_str(&format!("--XX\r\nContent-Disposition: form-data; {disposition}\r\n\r\n{value}\r\n"));
    }
    body.push_str("--XX--\r\n");
    exchange.request = body.as_bytes().chunks(7).map(|piece| Piece::Bytes(piece.to_vec())).collect();
    exchange
}

fn transcription(format: &str) -> Exchange {
    form(
        "/v1/audio/transcriptions",
        &[
            ("name=\"model\"", "gpt-4o-transcribe"),
            ("name=\"file\"; filename=\"private name.mp3\"\r\nContent-Type: audio/mpeg", "\u{1}\u{2}\u{3}"),
            ("name=\"prompt\"", "names: Ann"),
            ("name=\"response_format\"", format),
            ("name=\"stream\"", "true"),
        ],
    )
}

#[test]
fn form_gives_fields_and_of_the_file_only_type_and_size() {
    let call = transcription("json").call();
    let request = &call.request;
    assert_eq!((request.request_type, request.streaming), (RequestType::Audio, Some(true)));
    assert_eq!(request.model.as_ref().unwrap().id, "gpt-4o-transcribe");
    assert_eq!(request.messages[0].content, Some(json!("names: Ann")));
    assert_eq!(
        call.extension["parts"],
        json!([{ "type": "audio", "media_type": "audio/mpeg", "bytes": 3, "message": 0 }])
    );
    assert_eq!(call.extension["parameters"]["response_format"], "json");
    assert!(!format!("{:?}", call.extension).contains("private"));
    assert!(call.findings.is_empty(), "{:?}", call.findings);
}

#[test]
fn form_larger_than_a_body_may_be_is_read_because_its_file_is_not_kept() {
    let mut exchange = transcription("json");
    let head = "--XX\r\nContent-Disposition: form-data; name=\"file\"; filename=\"x\"\r\n\r\n";
    exchange.request = vec![head.into()];
    exchange.request.extend((0..20).map(|_| Piece::Bytes(vec![0; 1 << 20])));
    exchange
        .request
        .push("\r\n--XX\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nwhisper-1\r\n--XX--".into());
    let call = exchange.call();
    assert_eq!(call.request.model.unwrap().id, "whisper-1");
    assert_eq!(call.extension["parts"][0]["bytes"], 20 << 20);
    assert!(call.findings.is_empty(), "{:?}", call.findings);
}

#[test]
fn lost_bytes_in_a_file_leave_its_size_out_and_are_said() {
    let mut exchange = transcription("json");
    let head = "--XX\r\nContent-Disposition: form-data; name=\"file\"; filename=\"x\"\r\n\r\nab";
    let rest = "cd\r\n--XX\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nm\r\n--XX--";
    exchange.request = vec![head.into(), Piece::Gap(99), rest.into()];
    let call = exchange.call();
    assert_eq!(call.request.model.unwrap().id, "m");
    assert_eq!(call.extension["parts"][0]["incomplete"], true);
    assert!(call.findings.reasons.contains(&"bytes_lost".to_owned()));
}

#[test]
fn transcripts_are_choices_as_json_as_text_and_streamed() {
    let usage = json!({ "type": "tokens", "input_tokens": 14, "output_tokens": 3, "total_tokens": 17,
        "input_token_details": { "audio_tokens": 14 } });
    let whole = transcription("json").json(&json!({ "text": "Hello", "usage": usage })).answer();
    let streamed = transcription("json")
        .sse(&[
            json!({ "type": "transcript.text.delta", "delta": "Hel" }),
            json!({ "type": "transcript.text.delta", "delta": "lo" }),
            json!({ "type": "transcript.text.done", "text": "Hello", "usage": usage }),
        ])
        .answer();
    for answer in [whole, streamed] {
        assert_eq!(content(&answer), Some("Hello"));
        assert_eq!(
            answer.response.usage,
            Some(Usage {
                prompt_tokens: Some(14),
                completion_tokens: Some(3),
                total_tokens: Some(17),
                ..Usage::default()
            })
        );
        assert_eq!(answer.extension["usage"]["input_token_details"]["audio_tokens"], 14);
        assert!(answer.findings.is_empty(), "{:?}", answer.findings);
    }
    let mistral = transcription("json")
        .sse(&[
            json!({ "type": "transcription.text.delta", "text": "Hel" }),
            json!({ "type": "transcription.text.delta", "text": "lo" }),
            json!({ "type": "transcription.done", "model": "voxtral", "usage": { "prompt_tokens": 4, "completion_tokens": 2 } }),
        ])
        .answer();
    assert_eq!(content(&mistral), Some("Hello"));
    assert_eq!(mistral.response.usage.as_ref().unwrap().total_tokens, Some(6));
    assert!(mistral.findings.is_empty(), "{:?}", mistral.findings);
    let mut plain = transcription("srt").response_header("content-type", "text/plain; charset=utf-8");
    plain.response = vec!["1\n00:00 --> 00:01\nHello\n\n".into()];
    let answer = plain.answer();
    assert_eq!(content(&answer), Some("1\n00:00 --> 00:01\nHello"));
    assert!(answer.findings.is_empty(), "{:?}", answer.findings);
    let verbose = json!({ "task": "transcribe", "language": "english", "duration": 2.5, "text": "Hello",
        "segments": [{ "id": 0 }], "usage": { "type": "duration", "seconds": 3 } });
    let answer = transcription("verbose_json").json(&verbose).answer();
    assert_eq!((answer.response.usage, &answer.extension["duration"]), (None, &json!(2.5)));
    assert_eq!(answer.extension["usage"]["seconds"], 3);
}

#[test]
fn speech_is_a_size_and_no_finding() {
    let ask = || {
        Exchange::post(
            HOST,
            "/v1/audio/speech",
            &json!({ "model": "tts-1", "input": "say this", "voice": "alloy" }),
        )
    };
    let call = ask().call();
    assert_eq!(call.request.request_type, RequestType::Audio);
    assert_eq!(call.request.messages[0].content, Some(json!("say this")));
    assert_eq!(call.extension["parameters"]["voice"], "alloy");
    let mut exchange = ask().response_header("content-type", "audio/mpeg");
    exchange.response = vec![Piece::Bytes(vec![255; 1000]), Piece::Bytes(vec![0; 500])];
    let answer = exchange.answer();
    assert_eq!(
        answer.extension["parts"],
        json!([{ "type": "audio", "media_type": "audio/mpeg", "bytes": 1500 }])
    );
    assert_eq!(answer.response.success, Some(true));
    assert!(answer.findings.is_empty(), "{:?}", answer.findings);
    let mut untyped = ask().response_header("content-type", "application/octet-stream");
    untyped.response = exchange.response.clone();
    assert_eq!(untyped.answer().extension["parts"][0]["bytes"], 1500);
    let refused = json!({ "error": { "message": "no" } });
    untyped.response = vec![refused.to_string().as_str().into()];
    assert_eq!(untyped.answer().response.error.unwrap().message.as_deref(), Some("no"));
    exchange.response.insert(1, Piece::Gap(5));
    let answer = exchange.answer();
    assert_eq!(answer.extension["parts"][0]["bytes"], json!(null));
    assert!(answer.findings.reasons.contains(&"bytes_lost".to_owned()));
    let streamed = ask()
        .sse(&[
            json!({ "type": "speech.audio.delta", "audio": "AAAA" }),
            json!({ "type": "speech.audio.delta", "audio": "AAAA" }),
            json!({ "type": "speech.audio.done", "usage": { "input_tokens": 4, "output_tokens": 9, "total_tokens": 13 } }),
        ])
        .answer();
    assert_eq!(streamed.extension["encoded_audio_bytes"], 8);
    assert_eq!(streamed.response.usage.unwrap().total_tokens, Some(13));
}

#[test]
fn images_are_counted_with_the_host_or_size_of_each() {
    let body =
        json!({ "model": "gpt-image-1", "prompt": "a cat", "n": 2, "size": "1024x1024", "quality": "high" });
    let ask = || Exchange::post(HOST, "/v1/images/generations", &body);
    let call = ask().call();
    assert_eq!(call.request.request_type, RequestType::Image);
    assert_eq!(call.request.messages[0].content, Some(json!("a cat")));
    assert_eq!(call.extension["parameters"], json!({ "n": 2, "size": "1024x1024", "quality": "high" }));
    let answer = ask()
        .json(&json!({ "created": 1, "data": [{ "b64_json": "AAAAAAAA" }, { "url": "https://h/x.png?sig=SECRET", "revised_prompt": "a nice cat" }],
            "usage": { "input_tokens": 5, "output_tokens": 100, "total_tokens": 105, "input_tokens_details": { "text_tokens": 5 } } }))
        .answer();
    let message = answer.response.choices[0].message.as_ref().unwrap();
    assert_eq!((message.image_count, message.content.clone()), (Some(2), Some(json!("a nice cat"))));
    assert_eq!(
        answer.extension["parts"],
        json!([{ "type": "image", "encoded_bytes": 8, "choice": 0 }, { "type": "image", "url": "https://h/x.png", "choice": 0 }])
    );
    assert_eq!(answer.response.usage.as_ref().unwrap().completion_tokens, Some(100));
    assert!(answer.findings.is_empty(), "{:?}", answer.findings);
    let edit = form(
        "/v1/images/edits",
        &[
            ("name=\"image[]\"; filename=\"a\"\r\nContent-Type: image/png", "123"),
            ("name=\"image[]\"; filename=\"b\"\r\nContent-Type: image/png", "4567"),
            ("name=\"prompt\"", "add a hat"),
            ("name=\"model\"", "gpt-image-1"),
        ],
    );
    let call = edit.call();
    assert_eq!((call.request.image_count, call.request.messages_count), (Some(2), Some(1)));
    assert_eq!(call.extension["parts"][1]["bytes"], 4);
    let streamed = ask()
        .sse(&[
            json!({ "type": "image_generation.partial_image", "b64_json": "AA", "partial_image_index": 0 }),
            json!({ "type": "image_generation.completed", "b64_json": "AAAA", "size": "1024x1024", "usage": { "total_tokens": 9 } }),
        ])
        .answer();
    assert_eq!(streamed.response.choices[0].message.as_ref().unwrap().image_count, Some(1));
    assert_eq!(streamed.extension["size"], "1024x1024");
    let refused = ask()
        .status(400)
        .json(&json!({ "error": { "code": "moderation_blocked", "message": "no", "type": "image_generation_user_error" } }))
        .answer();
    assert_eq!(refused.response.error.unwrap().code.as_deref(), Some("moderation_blocked"));
}

#[test]
fn moderation_and_reranking_give_their_judgement() {
    let answer = Exchange::post(
        HOST,
        "/v1/moderations",
        &json!({ "model": "omni-moderation-latest", "input": ["a", "b"] }),
    )
    .json(&json!({ "id": "modr-1", "model": "omni-moderation-latest", "results": [
            { "flagged": false, "categories": { "hate": false } },
            { "flagged": true, "categories": { "hate": true, "violence": false } } ] }))
    .answer();
    assert_eq!(
        answer.extension["moderation"],
        json!([{ "flagged": false, "categories": [] }, { "flagged": true, "categories": ["hate"] }])
    );
    assert!(answer.findings.is_empty(), "{:?}", answer.findings);
    for (host, key) in [("api.jina.ai", "results"), ("api.voyageai.com", "data")] {
        let body = json!({ "model": "rerank", "query": "q", "documents": ["a", "b"], "top_n": 1 });
        let (call, answer) = Exchange::post(host, "/v1/rerank", &body)
            .json(&json!({ "model": "rerank", key: [{ "index": 1, "relevance_score": 0.5 }], "usage": { "total_tokens": 7 } }))
            .interpret();
        let call = call.unwrap();
        assert_eq!((call.request.request_type, call.request.messages_count), (RequestType::Other, Some(3)));
        assert!(call.request.messages.iter().all(|message| message.role == Role::User));
        let answer = answer.unwrap();
        assert_eq!(answer.extension["ranking"], json!([{ "index": 1, "score": 0.5 }]));
        assert_eq!(answer.response.usage.unwrap().total_tokens, Some(7));
    }
}

#[test]
fn form_on_an_unknown_host_is_read_and_a_form_that_is_none_is_no_call() {
    let mut exchange = transcription("json");
    exchange.request_headers[0].1 = "whisper.internal.example".to_owned();
    let call = exchange.call();
    assert_eq!(call.detection.provider_id, "openai_compatible");
    assert_eq!(call.request.model.unwrap().id, "gpt-4o-transcribe");
    exchange.request = vec!["{}".into()];
    assert!(exchange.interpret().0.is_none());
    let mut upload = exchange.clone();
    upload.target = "/upload".to_owned();
    assert!(upload.interpret().0.is_none());
}
