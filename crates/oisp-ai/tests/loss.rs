//! Lost, cut, hostile and foreign input: nothing is spliced, nothing is claimed, memory stays bounded.

mod common;

use common::{Exchange, Piece, content};
use oisp_ai::{AiEvent, ConnectionInterpreter, Limits};
use oisp_decode::{Defect, Direction, HttpEvent, HttpEventKind, HttpVersion, Nanos, Problem, ProblemKind};
use oisp_event::{Completeness, DetectionMethod, Level, ProviderName, RequestType};
use serde_json::{Value, json};

fn body() -> Value {
    json!({ "model": "gpt-5", "messages": [{ "role": "user", "content": "hi" }] })
}

fn ask() -> Exchange {
    Exchange::post("api.openai.com", "/v1/chat/completions", &body())
}

fn answer_body() -> Value {
    json!({ "object": "chat.completion", "model": "m",
            "choices": [{ "index": 0, "message": { "role": "assistant", "content": "yes" }, "finish_reason": "stop" }] })
}

fn delta(text: &str) -> Piece {
    common::data(&json!({ "object": "chat.completion.chunk", "choices": [{ "index": 0, "delta": { "content": text } }] }))
        .as_str()
        .into()
}

#[test]
fn text_after_a_gap_in_a_stream_is_kept_apart_and_the_end_still_counts() {
    let call = |fragment: Value| {
        common::data(&json!({ "choices": [{ "index": 0, "delta": { "tool_calls": [fragment] } }] }))
            .as_str()
            .into()
    };
    let answer = ask()
        .sse_pieces(vec![
            delta("be"),
            delta("fore"),
            call(json!({ "index": 0, "id": "a", "function": { "name": "f", "arguments": "{\"x\":" } })),
            "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"half".into(),
            Piece::Gap(100),
            "half\"}}]}\n\n".into(),
            delta("af"),
            delta("ter"),
            call(json!({ "index": 0, "function": { "arguments": "1}" } })),
            call(json!({ "index": 1, "function": { "arguments": "tail" } })),
            call(json!({ "index": 2, "id": "c", "function": { "name": "h", "arguments": "{" } })),
            call(json!({ "index": 2, "function": { "arguments": "}" } })),
            Piece::Gap(5),
            "\n\n".into(),
            delta("end"),
            common::data(&json!({ "choices": [{ "index": 0, "delta": {}, "finish_reason": "stop" }] }))
                .as_str()
                .into(),
            common::data(&json!({ "choices": [], "usage": { "prompt_tokens": 1, "completion_tokens": 2 } }))
                .as_str()
                .into(),
        ])
        .answer();
    assert_eq!(content(&answer), Some("before"));
    assert_eq!(
        answer.extension["content_after_gap"],
        json!([{ "after_gap": 1, "choice": 0, "text": "after" }, { "after_gap": 2, "choice": 0, "text": "end" }])
    );
    let arguments: Vec<_> = answer.response.tool_calls.iter().map(|call| call.arguments.as_deref()).collect();
    assert_eq!(arguments, [Some("{\"x\":"), None, Some("{}")]);
    assert_eq!(answer.extension["incomplete_tool_calls"], json!([0, 1]));
    assert_eq!(answer.response.usage.as_ref().unwrap().total_tokens, Some(3));
    assert_eq!(answer.extension["finish_reason"], "stop");
    assert_eq!(answer.findings.lost_bytes, 105);
    assert_eq!(answer.findings.completeness, Completeness::Partial);
    assert_eq!(answer.findings.missing, ["response_body"]);
}

#[test]
fn request_with_a_gap_is_still_given_where_host_and_path_identify_it() {
    for (host, path, expected) in [
        ("api.openai.com", "/v1/chat/completions", Some(DetectionMethod::KnownEndpoint)),
        ("api.anthropic.com", "/v1/messages", Some(DetectionMethod::KnownEndpoint)),
        ("gateway.example", "/v1/chat/completions", Some(DetectionMethod::Heuristic)),
        ("shop.example", "/v1/messages", None),
        ("shop.example", "/orders", None),
    ] {
        let mut exchange = Exchange::post(host, path, &body());
        exchange.request = vec!["{\"model\":\"gpt".into(), Piece::Gap(9), "}".into()];
        let (call, _) = exchange.interpret();
        assert_eq!(call.as_ref().map(|call| call.detection.method), expected, "{host}{path}");
        if let Some(call) = call {
            assert_eq!(
                (call.findings.level, call.findings.completeness),
                (Level::Low, Completeness::Partial)
            );
            assert_eq!(call.findings.missing, ["request_body"]);
            assert_eq!(call.findings.lost_bytes, 9);
            assert!(call.request.messages.is_empty() && call.request.model.is_none());
            assert_eq!(call.request.messages_count, None);
            assert_eq!(call.request.streaming, None);
        }
    }
}

#[test]
fn json_answer_with_a_gap_says_so_and_claims_no_content() {
    let mut exchange = ask().json(&answer_body());
    exchange.response.insert(0, Piece::Gap(3));
    let answer = exchange.answer();
    assert!(answer.response.choices.is_empty());
    assert_eq!(answer.response.success, Some(true));
    assert_eq!((answer.findings.level, answer.findings.lost_bytes), (Level::Low, 3));
    assert_eq!(answer.response.tool_calls_count, None);
}

#[test]
fn request_whose_response_was_never_seen_ends_without_a_claim() {
    let mut exchange = ask();
    exchange.status = 0;
    exchange.response_defect = Some(Defect::PairingLost);
    let answer = exchange.answer();
    assert_eq!((answer.response.status_code, answer.response.success), (None, None));
    assert_eq!(answer.findings.completeness, Completeness::MetadataOnly);
    assert!(answer.findings.reasons.contains(&"pairing_lost".to_owned()));
    assert!(answer.findings.missing.contains(&"response".to_owned()));
}

#[test]
fn closing_a_connection_ends_what_is_open() {
    let events = ask().sse_pieces(vec![delta("so far")]).events(1);
    for keep in 1..events.len() {
        let mut interpreter = ConnectionInterpreter::new(Limits::default());
        let mut out = Vec::new();
        events[..keep].iter().for_each(|event| interpreter.event(event, &mut out));
        interpreter.close(Nanos(u64::MAX), &mut out);
        let (call, answer) = common::halves(out);
        assert!(call.is_some());
        let answer = answer.unwrap();
        assert!(answer.findings.reasons.contains(&"connection_closed".to_owned()), "{keep}");
        assert_ne!(answer.findings.completeness, Completeness::Full);
        assert_eq!(interpreter.buffered_bytes(), 0);
    }
}

#[test]
fn exchange_found_again_after_a_loss_has_a_lower_confidence_though_it_is_whole() {
    let mut events = ask().json(&answer_body()).events(1);
    let problem = Problem { direction: Direction::Received, offset: 0, kind: ProblemKind::Resynchronised };
    let event = HttpEvent { kind: HttpEventKind::Problem(problem), ..events[0].clone() };
    events.insert(1, event);
    let mut interpreter = ConnectionInterpreter::new(Limits::default());
    let mut out = Vec::new();
    events.iter().for_each(|event| interpreter.event(event, &mut out));
    let (call, answer) = common::halves(out);
    let (call, answer) = (call.unwrap(), answer.unwrap());
    assert_eq!(content(&answer), Some("yes"));
    for findings in [&call.findings, &answer.findings] {
        assert_eq!((findings.level, findings.completeness), (Level::Medium, Completeness::Full));
        assert_eq!(findings.reasons, ["resynchronised"]);
    }
}

#[test]
fn response_that_overtakes_its_request_waits_for_it() {
    let mut events = ask().json(&answer_body()).events(1);
    let request_end = events.iter().position(|e| matches!(e.kind, HttpEventKind::RequestEnd(_))).unwrap();
    let end = events.remove(request_end);
    events.push(end);
    let mut interpreter = ConnectionInterpreter::new(Limits::default());
    let mut out = Vec::new();
    events.iter().for_each(|event| interpreter.event(event, &mut out));
    assert!(matches!(out[0], AiEvent::Request(_)));
    let (_, answer) = common::halves(out);
    let answer = answer.unwrap();
    assert_eq!(content(&answer), Some("yes"));
    assert!(answer.findings.is_empty());
}

#[test]
fn answer_without_its_request_is_known_by_its_body_with_low_confidence() {
    let only_response = |exchange: &Exchange| {
        let mut interpreter = ConnectionInterpreter::new(Limits::default());
        let mut out = Vec::new();
        for event in exchange.events(1).iter().filter(|event| {
            !matches!(
                event.kind,
                HttpEventKind::RequestHead(_) | HttpEventKind::RequestBody(_) | HttpEventKind::RequestEnd(_)
            )
        }) {
            interpreter.event(event, &mut out);
        }
        assert_eq!(interpreter.buffered_bytes(), 0);
        common::halves(out).1
    };
    let answer = only_response(&ask().json(&answer_body())).unwrap();
    assert_eq!(answer.detection.provider_id, "openai_compatible");
    assert_eq!(answer.detection.confidence, Level::Low);
    assert!(!answer.has_request);
    assert_eq!(answer.response.latency_ms, None);
    assert_eq!(answer.findings.missing, ["request"]);
    let known = ask().response_header("x-groq-region", "eu").json(&answer_body());
    let answer = only_response(&known).unwrap();
    assert_eq!(answer.detection.method, DetectionMethod::HeaderFingerprint);
    assert_eq!(answer.response.provider.name, ProviderName::Groq);
    let streamed = ask().sse(&[
        json!({ "type": "message_start", "message": { "role": "assistant", "content": [] } }),
        json!({ "type": "message_stop" }),
    ]);
    assert_eq!(only_response(&streamed).unwrap().detection.provider_id, "anthropic_compatible");
    for foreign in [
        json!({ "choices": ["a", "b"] }),
        json!({ "type": "message", "assistant": "none", "message": 1 }),
        json!({ "error": { "message": "no" } }),
    ] {
        assert!(only_response(&ask().json(&foreign)).is_none(), "{foreign}");
    }
}

#[test]
fn detection_follows_host_path_and_body() {
    use DetectionMethod::{KnownEndpoint, PayloadInspection};
    for (host, path, id, name, method, level) in [
        (
            "api.openai.com",
            "/v1/chat/completions",
            "openai",
            ProviderName::OpenAi,
            KnownEndpoint,
            Level::High,
        ),
        (
            "openrouter.ai",
            "/api/v1/chat/completions",
            "openrouter",
            ProviderName::Other,
            KnownEndpoint,
            Level::High,
        ),
        ("openrouter.ai", "/api/v1/messages", "openrouter", ProviderName::Other, KnownEndpoint, Level::High),
        (
            "r.openai.azure.com",
            "/openai/deployments/d/chat/completions?api-version=1",
            "azure_openai",
            ProviderName::AzureOpenAi,
            KnownEndpoint,
            Level::High,
        ),
        (
            "localhost:4443",
            "/v1/chat/completions",
            "openai_compatible",
            ProviderName::Other,
            PayloadInspection,
            Level::Medium,
        ),
        (
            "localhost:11434",
            "/v1/chat/completions",
            "ollama",
            ProviderName::Ollama,
            PayloadInspection,
            Level::Medium,
        ),
        (
            "gw.example",
            "/v1/messages",
            "anthropic_compatible",
            ProviderName::Other,
            PayloadInspection,
            Level::Medium,
        ),
        ("gw.example", "/proxy", "openai_compatible", ProviderName::Other, PayloadInspection, Level::Low),
    ] {
        let (call, answer) = Exchange::post(host, path, &body()).json(&answer_body()).interpret();
        let (call, answer) = (call.unwrap(), answer.unwrap());
        assert_eq!(call.detection.provider_id, id, "{host}");
        assert_eq!(call.request.provider.name, name, "{host}");
        assert_eq!((call.detection.method, call.detection.confidence), (method, level), "{host}");
        assert_eq!(call.detection, answer.detection);
        assert_eq!(call.extension["provider_id"], id);
    }
}

#[test]
fn unknown_format_on_a_known_host_is_metadata_only() {
    let (call, answer) = Exchange::post("api.openai.com", "/v1/videos", &json!({ "prompt": "secret text" }))
        .response_header("content-type", "application/json")
        .interpret();
    let (call, answer) = (call.unwrap(), answer.unwrap());
    assert_eq!(call.request.request_type, RequestType::Other);
    assert_eq!(
        (call.detection.confidence, call.findings.completeness),
        (Level::Medium, Completeness::MetadataOnly)
    );
    assert_eq!(call.findings.reasons, ["unknown_format"]);
    assert_eq!(answer.findings.completeness, Completeness::MetadataOnly);
    assert_eq!((answer.response.status_code, answer.response.success), (Some(200), Some(true)));
    assert!(!serde_json::to_string(&call.request).unwrap().contains("secret text"));
}

#[test]
fn what_is_no_call_to_a_model_gives_nothing() {
    let messages = json!({ "messages": [{ "id": 1 }], "model": "car" });
    let mut get = ask();
    get.method = "GET".to_owned();
    for exchange in [
        get,
        Exchange::post("shop.example", "/orders", &json!({ "item": 1 })),
        Exchange::post("shop.example", "/orders", &messages),
        Exchange::post("shop.example", "/v1/messages", &messages),
        Exchange::post("shop.example", "/v1/chat/completions", &json!([1])),
        Exchange::post("api.openai.com", "/v1/traces/ingest", &body()),
        Exchange::post("api.anthropic.com", "/api/event_logging/batch", &body()),
        Exchange::post("openrouter.ai", "/login", &body()),
    ] {
        let (call, answer) = exchange.clone().json(&json!({ "ok": true })).interpret();
        assert!(call.is_none() && answer.is_none(), "{}", exchange.target);
    }
}

#[test]
fn bodies_of_foreign_requests_are_given_up_after_a_bounded_look() {
    let limits = Limits::default();
    for (content_type, text) in [
        ("application/json", "{\"padding\":\"xxxxxxxx"),
        ("application/json", "[1,2,3"),
        ("application/octet-stream", "xxxxx"),
    ] {
        let mut exchange = Exchange::post("shop.example", "/upload", &json!({}));
        exchange.request_headers = common::owned(&[("host", "shop.example"), ("content-type", content_type)]);
        exchange.request = (0..1000).map(|_| text.repeat(20).as_str().into()).collect();
        let mut interpreter = ConnectionInterpreter::new(limits);
        let mut out = Vec::new();
        let mut most = 0;
        for event in exchange.events(1) {
            interpreter.event(&event, &mut out);
            most = most.max(interpreter.buffered_bytes());
        }
        assert!(most <= 4 * limits.sniff_bytes, "{most}");
        assert!(out.is_empty());
    }
}

#[test]
fn answer_that_has_ended_is_told_before_the_next_request_though_its_message_has_no_end_yet() {
    let streams = [vec![delta("yes"), "data: [DONE]\n\n".into()], vec![delta("and so on")]];
    let [ended, goes_on] = streams.map(|pieces| ask().sse_pieces(pieces));
    let mut interpreter = ConnectionInterpreter::new(Limits::default());
    let mut out = Vec::new();
    let mut ends = Vec::new();
    // A client of HTTP/2 has three answers under way when it asks the fourth time.
    for (id, exchange) in [(1, &ended), (3, &goes_on), (5, &ended)] {
        let mut events = exchange.events(id);
        ends.extend(events.pop());
        events.iter().for_each(|event| interpreter.event(event, &mut out));
    }
    let requests_and_answers = |out: &[AiEvent]| -> Vec<(bool, u64)> {
        let told = |event: &AiEvent| match event {
            AiEvent::Request(call) => Some((true, call.exchange.0)),
            AiEvent::Response(answer) => Some((false, answer.exchange.0)),
            _ => None,
        };
        out.iter().filter_map(told).collect()
    };
    for mut event in ask().json(&answer_body()).events(7) {
        if let HttpEventKind::RequestHead(head) = &mut event.kind {
            head.version = HttpVersion::Http2;
        }
        interpreter.event(&event, &mut out);
    }
    let told = requests_and_answers(&out);
    assert_eq!(told, [(true, 1), (true, 3), (true, 5), (false, 1), (false, 5), (true, 7), (false, 7)]);
    // Their ends, late, change nothing.
    ends.iter().for_each(|event| interpreter.event(event, &mut out));
    assert_eq!(requests_and_answers(&out[told.len()..]), [(false, 3)]);
    assert_eq!(interpreter.buffered_bytes(), 0);
    for event in &out {
        if let AiEvent::Response(answer) = event {
            assert_eq!(answer.findings.is_empty(), answer.exchange.0 != 3, "{:?}", answer.findings);
        }
    }
}

#[test]
fn memory_is_bounded_and_what_is_dropped_is_said() {
    let limits = Limits { exchanges: 4, body_bytes: 10_000, buffered_bytes: 25_000, ..Limits::default() };
    let mut interpreter = ConnectionInterpreter::new(limits);
    let mut out = Vec::new();
    let mut open = ask();
    open.request = (0..20).map(|_| Piece::Bytes(vec![b' '; 400])).collect();
    for id in 1..=10 {
        for event in &open.events(id)[..20] {
            interpreter.event(event, &mut out);
            assert!(interpreter.buffered_bytes() <= limits.buffered_bytes + 2 * limits.body_bytes);
        }
    }
    interpreter.close(Nanos(u64::MAX), &mut out);
    assert_eq!(interpreter.counters().evicted, 6);
    assert!(interpreter.counters().bodies_dropped > 0);
    assert_eq!((interpreter.counters().requests, interpreter.counters().responses), (10, 10));
    let said = |reason: &str| {
        out.iter().any(|event| match event {
            AiEvent::Request(call) => call.findings.reasons.iter().any(|known| known == reason),
            AiEvent::Response(_) | AiEvent::Chunk(_) | AiEvent::Mcp(_) => false,
        })
    };
    assert!(said("too_many_exchanges") && said("message_over_limit"));
    out.iter().for_each(common::assert_valid);
}

#[test]
fn length_of_an_answer_over_the_limit_is_that_of_the_wire_also_where_its_vectors_were_left_out() {
    let limits = Limits { body_bytes: 300, ..Limits::default() };
    let body = json!({ "data": [{ "embedding": vec![0.5; 500] }], "note": "x".repeat(400) });
    let exchange = Exchange::post("api.openai.com", "/v1/embeddings", &json!({ "model": "m", "input": "i" }))
        .json(&body);
    let mut interpreter = ConnectionInterpreter::new(limits);
    let mut out = Vec::new();
    exchange.events(1).iter().for_each(|event| interpreter.event(event, &mut out));
    let (_, answer) = common::halves(out);
    let expected = format!("response_of_{}_bytes_over_limit", body.to_string().len());
    assert!(answer.unwrap().findings.limitations.contains(&expected));
}

#[test]
fn body_over_the_limit_is_not_read_and_a_long_stream_is_cut() {
    let limits = Limits { body_bytes: 300, ..Limits::default() };
    let run = |exchange: &Exchange| {
        let mut interpreter = ConnectionInterpreter::new(limits);
        let mut out = Vec::new();
        exchange.events(1).iter().for_each(|event| interpreter.event(event, &mut out));
        common::halves(out)
    };
    let mut large = answer_body();
    large["choices"][0]["message"]["content"] = "x".repeat(1000).into();
    let answer = run(&ask().json(&large)).1.unwrap();
    assert!(answer.response.choices.is_empty());
    assert!(answer.findings.reasons.contains(&"message_over_limit".to_owned()));
    let answer = run(&ask().sse_pieces((0..10).map(|_| delta("abc")).collect())).1.unwrap();
    assert_eq!(content(&answer), Some("abcabcabc"));
    assert!(answer.findings.limitations.contains(&"stream_cut_at_300_bytes".to_owned()));
}

#[test]
fn hostile_json_costs_bounded_memory() {
    let limits = Limits { parsed_bytes: 100_000, ..Limits::default() };
    let mut exchange = ask();
    exchange.request = vec![format!("[{}0]", "{\"\":0},".repeat(10_000)).as_str().into()];
    let mut interpreter = ConnectionInterpreter::new(limits);
    let mut out = Vec::new();
    exchange.events(1).iter().for_each(|event| interpreter.event(event, &mut out));
    let call = common::halves(out).0.unwrap();
    assert!(call.findings.reasons.contains(&"json_too_large".to_owned()));
}

#[test]
fn invalid_utf8_is_replaced_and_said() {
    let mut exchange = ask();
    exchange.request = vec![
        "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"a".into(),
        Piece::Bytes(vec![0xff]),
        "b\"}]}".into(),
    ];
    let call = exchange.call();
    assert_eq!(call.request.messages[0].content, Some(json!("a\u{fffd}b")));
    assert_eq!(call.findings.reasons, ["invalid_utf8"]);
}
