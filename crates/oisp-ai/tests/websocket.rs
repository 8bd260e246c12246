//! Calls over WebSockets: responses, and the realtime interface.

mod common;

use bytes::Bytes;
use common::Exchange;
use oisp_ai::{AiAnswer, AiCall, AiEvent, ConnectionInterpreter, Limits};
use oisp_decode::{
    Completeness, Defect, Direction, ExchangeId, HttpEvent, HttpEventKind, Nanos, UpgradeProtocol,
    WebSocketKind, WebSocketMessage,
};
use oisp_event::{FinishReason, Level, Role};
use serde_json::{Value, json};

/// A WebSocket's conversation, each message one millisecond after the one before it.
struct Talk {
    interpreter: ConnectionInterpreter,
    out: Vec<AiEvent>,
    time: u64,
}

impl Talk {
    fn open(host: &str, target: &str) -> Self {
        Self::open_with(host, target, 101, true)
    }

    fn open_with(host: &str, target: &str, status: u16, accepted: bool) -> Self {
        let mut exchange = Exchange::post(host, target, &json!({}))
            .request_header("upgrade", "websocket")
            .request_header("authorization", "Bearer sk-proj-0123456789abcdef")
            .status(status);
        exchange.method = "GET".to_owned();
        exchange.request = Vec::new();
        let mut talk = Self {
            interpreter: ConnectionInterpreter::new(Limits::default()),
            out: Vec::new(),
            time: 100_000_000,
        };
        for event in exchange.events(1) {
            let end = matches!(event.kind, HttpEventKind::ResponseEnd(_));
            if end && accepted {
                let kind = HttpEventKind::Upgraded { protocol: UpgradeProtocol::WebSocket };
                talk.interpreter.event(&HttpEvent { kind, ..event.clone() }, &mut talk.out);
            }
            talk.interpreter.event(&event, &mut talk.out);
        }
        talk
    }

    fn message(&mut self, from_client: bool, kind: WebSocketKind, text: &str, completeness: Completeness) {
        self.time += 1_000_000;
        let message = WebSocketMessage {
            direction: if from_client { Direction::Sent } else { Direction::Received },
            kind,
            bytes: Bytes::copy_from_slice(text.as_bytes()),
            completeness,
            compressed: false,
            masked: from_client,
            wire_bytes: text.len() as u64,
            whole: None,
            first_byte: Nanos(self.time - 10),
        };
        let kind = HttpEventKind::WebSocketMessage(message);
        self.interpreter
            .event(&HttpEvent { exchange: ExchangeId(1), time: Nanos(self.time), kind }, &mut self.out);
    }

    fn ask(&mut self, event: &Value) {
        self.message(true, WebSocketKind::Text, &event.to_string(), Completeness::default());
    }

    fn say(&mut self, event: &Value) {
        self.message(false, WebSocketKind::Text, &event.to_string(), Completeness::default());
    }

    fn lose(&mut self, from_client: bool) {
        let mut completeness = Completeness::default();
        completeness.add(Defect::Gap { lost_bytes: 9, at: 0 });
        self.message(from_client, WebSocketKind::Text, "{", completeness);
    }

    /// Calls and answers in turns, each checked; then the connection ends.
    fn pairs(mut self) -> Vec<(AiCall, AiAnswer)> {
        let time = Nanos(self.time + 1);
        self.interpreter.close(time, &mut self.out);
        assert_eq!(self.interpreter.buffered_bytes(), 0);
        assert_eq!(self.out.len() % 2, 0);
        self.out
            .chunks(2)
            .map(|pair| match common::halves(pair.to_vec()) {
                (Some(call), Some(answer)) => (call, answer),
                _ => panic!("not in turns"),
            })
            .collect()
    }
}

fn response(id: &str, text: &str) -> Value {
    json!({
        "id": id, "object": "response", "model": "gpt-5-2025", "status": "completed",
        "output": [{ "type": "message", "role": "assistant", "content": [{ "type": "output_text", "text": text }] }],
        "usage": { "input_tokens": 3, "output_tokens": 1, "total_tokens": 4 },
    })
}

fn created(id: &str) -> Value {
    json!({ "type": "response.created", "response": { "id": id, "status": "in_progress", "output": [] } })
}

fn delta(text: &str) -> Value {
    json!({ "type": "response.output_text.delta", "output_index": 0, "content_index": 0, "delta": text })
}

#[test]
fn each_question_and_its_answer_are_a_call_of_their_own() {
    let mut talk = Talk::open("api.openai.com", "/v1/responses");
    for number in 0..3 {
        let id = format!("resp_{number}");
        talk.ask(&json!({ "type": "response.create", "model": "gpt-5", "input": format!("q{number}"), "previous_response_id": "p" }));
        talk.say(&created(&id));
        talk.say(&delta("a"));
        talk.say(&json!({ "type": "response.completed", "response": response(&id, &format!("a{number}")) }));
    }
    talk.message(
        true,
        WebSocketKind::Close { code: None, reason: String::new() },
        "",
        Completeness::default(),
    );
    talk.message(
        false,
        WebSocketKind::Close { code: None, reason: String::new() },
        "",
        Completeness::default(),
    );
    let pairs = talk.pairs();
    assert_eq!(pairs.len(), 3);
    for (number, (call, answer)) in pairs.iter().enumerate() {
        assert_eq!(call.request.messages[0].content, Some(json!(format!("q{number}"))));
        assert_eq!(call.extension["previous_response_id"], "p");
        assert_eq!(call.request.provider.endpoint.as_deref(), Some("wss://api.openai.com/v1/responses"));
        assert_eq!(call.request.auth.as_ref().unwrap().key_prefix.as_deref(), Some("sk-proj-"));
        assert_eq!((call.detection.provider_id.as_str(), call.detection.confidence), ("openai", Level::High));
        assert_eq!(call.request.streaming, Some(true));
        assert!(call.findings.is_empty(), "{:?}", call.findings);
        assert_eq!(common::content(answer), Some(format!("a{number}").as_str()));
        assert_eq!(answer.extension["response_id"], json!(format!("resp_{number}")));
        assert_eq!((answer.response.success, answer.has_request), (Some(true), true));
        assert_eq!(answer.timings.chunk_count, 3);
        assert_eq!(answer.timings.first_content.unwrap().0 - call.completed.0, 2_000_000);
        assert!(answer.findings.is_empty(), "{:?}", answer.findings);
        for extension in [&call.extension, &answer.extension] {
            assert_eq!(
                (&extension["api_format"], &extension["transport"]),
                (&json!("openai_responses"), &json!("websocket"))
            );
        }
    }
}

#[test]
fn error_answers_a_question() {
    let mut talk = Talk::open("api.openai.com", "/v1/responses");
    talk.ask(&json!({ "type": "response.create", "model": "m", "input": "q" }));
    talk.say(&json!({ "type": "error", "status": 400, "error": { "type": "invalid_request_error", "code": "c", "message": "bad" } }));
    let pairs = talk.pairs();
    let error = pairs[0].1.response.error.as_ref().unwrap();
    assert_eq!((error.code.as_deref(), error.message.as_deref()), (Some("c"), Some("bad")));
    assert_eq!(pairs[0].1.response.success, Some(false));
}

#[test]
fn call_that_another_one_or_the_end_overtakes_is_ended_and_said_to_be() {
    let mut talk = Talk::open("api.openai.com", "/v1/responses");
    talk.ask(&json!({ "type": "response.create", "model": "m", "input": "one" }));
    talk.say(&created("r1"));
    talk.say(&delta("par"));
    talk.ask(&json!({ "type": "response.create", "model": "m", "input": "two" }));
    talk.say(&created("r2"));
    // Of the first, and nothing of the second.
    talk.say(&json!({ "type": "response.completed", "response": response("r1", "wrong") }));
    talk.say(&delta("half"));
    let pairs = talk.pairs();
    assert_eq!(pairs.len(), 2);
    for ((_, answer), (text, reason)) in
        pairs.iter().zip([("par", "next_call_before_end"), ("half", "connection_closed")])
    {
        assert_eq!(common::content(answer), Some(text));
        assert!(answer.findings.reasons.contains(&reason.to_owned()), "{:?}", answer.findings);
        assert_eq!(answer.response.success, None);
    }
}

#[test]
fn lost_messages_are_said_and_nothing_is_joined_over_them() {
    let mut talk = Talk::open("api.openai.com", "/v1/responses");
    talk.lose(true);
    talk.say(&created("r1"));
    talk.say(&delta("be"));
    talk.lose(false);
    talk.say(&delta("hind"));
    let pairs = talk.pairs();
    let (call, answer) = &pairs[0];
    assert_eq!(call.findings.reasons, ["request_not_seen"]);
    assert_eq!(common::content(answer), Some("be"));
    assert_eq!(answer.extension["content_after_gap"][0]["text"], "hind");
    assert_eq!(answer.extension["lost_bytes"], 9);
    assert!(answer.findings.reasons.contains(&"bytes_lost".to_owned()));
}

fn session() -> Value {
    json!({ "type": "session.created", "session": {
        "id": "sess_1", "type": "realtime", "model": "gpt-realtime", "instructions": "be kind",
        "tools": [{ "type": "function", "name": "f", "description": "d", "parameters": {} }],
    } })
}

/// What the realtime interface says of a spoken answer with a tool call.
fn spoken(id: &str) -> Vec<Value> {
    vec![
        json!({ "type": "response.created", "response": { "id": id, "status": "in_progress", "output": [] } }),
        json!({ "type": "rate_limits.updated", "rate_limits": [{ "name": "requests", "remaining": 9 }] }),
        json!({ "type": "response.output_item.added", "response_id": id, "output_index": 0,
                "item": { "id": "i1", "type": "message", "role": "assistant", "content": [] } }),
        json!({ "type": "response.output_audio_transcript.delta", "response_id": id, "item_id": "i1", "output_index": 0, "content_index": 0, "delta": "Hel" }),
        json!({ "type": "response.output_audio.delta", "response_id": id, "item_id": "i1", "output_index": 0, "content_index": 0, "delta": "AAAA" }),
        json!({ "type": "response.output_audio_transcript.delta", "response_id": id, "item_id": "i1", "output_index": 0, "content_index": 0, "delta": "lo" }),
    ]
}

fn done(id: &str) -> Value {
    json!({ "type": "response.done", "response": {
        "id": id, "object": "realtime.response", "status": "completed", "conversation_id": "conv_1",
        "output": [
            { "id": "i1", "type": "message", "role": "assistant", "content": [{ "type": "output_audio", "transcript": "Hello" }] },
            { "id": "i2", "type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}" },
        ],
        "usage": {
            "total_tokens": 30, "input_tokens": 20, "output_tokens": 10,
            "input_token_details": { "text_tokens": 5, "audio_tokens": 15, "cached_tokens": 4 },
            "output_token_details": { "text_tokens": 2, "audio_tokens": 8 },
        },
    } })
}

#[test]
fn realtime_calls_ask_what_came_since_the_last_one() {
    let mut talk = Talk::open("api.openai.com", "/v1/realtime?model=gpt-realtime-mini");
    talk.say(&session());
    let item =
        json!({ "type": "message", "role": "user", "content": [{ "type": "input_text", "text": "hi" }] });
    talk.ask(&json!({ "type": "conversation.item.create", "item": item }));
    talk.say(&json!({ "type": "conversation.item.added", "item": item }));
    talk.ask(&json!({ "type": "response.create" }));
    spoken("r1").iter().for_each(|event| talk.say(event));
    let answer = json!({ "type": "message", "role": "assistant", "status": "in_progress", "content": [] });
    talk.say(&json!({ "type": "conversation.item.added", "item": answer }));
    talk.say(&done("r1"));
    talk.ask(&json!({ "type": "conversation.item.create", "item": { "type": "function_call_output", "call_id": "c1", "output": "4" } }));
    talk.ask(&json!({ "type": "response.create", "response": { "instructions": "be brief" } }));
    spoken("r2").iter().for_each(|event| talk.say(event));
    let pairs = talk.pairs();
    assert_eq!(pairs.len(), 2);
    let (call, answer) = &pairs[0];
    let messages = |call: &AiCall| -> Vec<(Role, Value)> {
        call.request.messages.iter().map(|m| (m.role, m.content.clone().unwrap_or_default())).collect()
    };
    assert_eq!(messages(call), [(Role::System, json!("be kind")), (Role::User, json!("hi"))]);
    assert_eq!(call.request.model.as_ref().unwrap().id, "gpt-realtime");
    assert_eq!(call.request.tools[0].name.as_deref(), Some("f"));
    assert_eq!(
        (&call.extension["session_id"], &call.extension["api_format"]),
        (&json!("sess_1"), &json!("openai_realtime"))
    );
    assert_eq!(common::content(answer), Some("Hello"));
    assert_eq!(answer.response.tool_calls[0].id.as_deref(), Some("c1"));
    assert_eq!(answer.response.finish_reason, Some(FinishReason::ToolCalls));
    let usage = answer.response.usage.as_ref().unwrap();
    assert_eq!(
        (usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens),
        (Some(20), Some(10), Some(4))
    );
    assert_eq!(answer.extension["parts"], json!([{ "type": "audio", "encoded_bytes": 4 }]));
    assert_eq!(answer.extension["rate_limit"][0]["remaining"], 9);
    assert_eq!(answer.extension["conversation_id"], "conv_1");
    assert!(answer.findings.is_empty(), "{:?}", answer.findings);
    let (call, answer) = &pairs[1];
    assert_eq!(messages(call), [(Role::System, json!("be brief")), (Role::Tool, json!("4"))]);
    // Cut before its end: what was heard so far.
    assert_eq!(common::content(answer), Some("Hello"));
    assert_eq!(answer.findings.reasons, ["connection_closed"]);
}

#[test]
fn response_that_the_service_begins_by_itself_has_a_call() {
    let mut talk = Talk::open("api.openai.com", "/v1/realtime?model=gpt-realtime-mini");
    // What the assistant said in an earlier conversation: the client gives it, the service repeats it.
    let earlier = json!({ "type": "message", "role": "assistant", "status": "completed", "content": [{ "type": "output_text", "text": "before" }] });
    talk.ask(&json!({ "type": "conversation.item.create", "item": earlier }));
    talk.say(&json!({ "type": "conversation.item.added", "item": earlier }));
    talk.ask(&json!({ "type": "input_audio_buffer.append", "audio": "AAAAAAAA" }));
    talk.say(&json!({ "type": "input_audio_buffer.committed", "item_id": "i0" }));
    talk.say(&json!({ "type": "conversation.item.added", "item": {
        "id": "i0", "type": "message", "role": "user", "content": [{ "type": "input_audio", "audio": null, "transcript": null }],
    } }));
    talk.say(&json!({ "type": "conversation.item.input_audio_transcription.completed", "item_id": "i0", "transcript": "what" }));
    spoken("r1").iter().for_each(|event| talk.say(event));
    // Of something else: the call goes on.
    talk.say(
        &json!({ "type": "error", "error": { "type": "invalid_request_error", "message": "no such item" } }),
    );
    talk.say(&done("r1"));
    let pairs = talk.pairs();
    assert_eq!(pairs.len(), 1);
    let (call, answer) = &pairs[0];
    assert_eq!(call.extension["begun_by"], "service");
    assert_eq!(call.request.model.as_ref().unwrap().id, "gpt-realtime-mini");
    let said: Vec<_> =
        call.request.messages.iter().map(|message| (message.role, message.content.clone())).collect();
    assert_eq!(said, [(Role::Assistant, Some(json!("before"))), (Role::User, Some(json!("what")))]);
    assert_eq!(call.extension["input_audio"], json!({ "encoded_bytes": 8 }));
    assert!(call.findings.is_empty(), "{:?}", call.findings);
    assert_eq!((common::content(answer), answer.response.success), (Some("Hello"), Some(true)));
}

#[test]
fn interrupted_answer_says_so() {
    let mut talk = Talk::open("api.x.ai", "/v1/realtime");
    talk.ask(&json!({ "type": "response.create" }));
    talk.say(&created("r1"));
    talk.say(
        &json!({ "type": "response.done", "response": { "id": "r1", "status": "cancelled", "output": [],
        "status_details": { "type": "cancelled", "reason": "turn_detected" } } }),
    );
    let pairs = talk.pairs();
    assert_eq!(pairs[0].1.extension["finish_reason"], "turn_detected");
    assert_eq!(pairs[0].1.response.finish_reason, Some(FinishReason::Other));
    assert_eq!(pairs[0].0.detection.provider_id, "xai");
}

#[test]
fn other_sockets_refused_ones_and_what_is_no_json_give_nothing() {
    let create = json!({ "type": "response.create", "model": "m", "input": "q" });
    for (host, target, status, accepted) in [
        ("chat.example", "/socket", 101, true),
        ("chatgpt.com", "/v1/realtime", 101, true),
        ("api.openai.com", "/v1/responses", 401, false),
    ] {
        let mut talk = Talk::open_with(host, target, status, accepted);
        talk.ask(&create);
        assert!(talk.pairs().is_empty(), "{host}{target}");
    }
    let mut talk = Talk::open("unknown.example", "/responses");
    talk.message(true, WebSocketKind::Binary, "\u{0}x", Completeness::default());
    talk.ask(&json!([1]));
    talk.ask(&json!({ "type": "survey.answered" }));
    assert!(talk.pairs().is_empty());
    let mut talk = Talk::open("unknown.example", "/responses");
    talk.ask(&create);
    let pairs = talk.pairs();
    assert_eq!(pairs[0].0.detection.confidence, Level::Medium);
    assert_eq!(pairs[0].1.findings.reasons, ["connection_closed", "response_not_seen"]);
}

#[test]
fn conversation_that_outgrows_its_bound_is_said_to_be_cut() {
    let mut talk = Talk::open("api.openai.com", "/v1/realtime");
    let text = "x".repeat(600_000);
    for _ in 0..3 {
        talk.ask(&json!({ "type": "conversation.item.create", "item": {
            "type": "message", "role": "user", "content": [{ "type": "input_text", "text": text }] } }));
    }
    assert!(talk.interpreter.buffered_bytes() < 1_100_000);
    talk.ask(&json!({ "type": "response.create" }));
    let pairs = talk.pairs();
    assert_eq!(pairs[0].0.request.messages.len(), 1);
    assert!(pairs[0].0.findings.reasons.contains(&"conversation_over_limit".to_owned()));
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { cases: 300, failure_persistence: None, ..Default::default() })]

    #[test]
    fn whatever_is_said_calls_and_answers_come_in_turns(
        realtime in proptest::prelude::any::<bool>(),
        picks in proptest::collection::vec(0_usize..24, 0..60),
    ) {
        let mut talk = Talk::open("api.openai.com", if realtime { "/v1/realtime" } else { "/v1/responses" });
        let item = json!({ "id": "i0", "type": "message", "role": "user", "content": [{ "type": "input_audio" }] });
        let mut events = vec![
            json!({ "type": "response.create", "model": "m", "input": "q" }),
            json!({ "type": "response.create" }),
            json!({ "type": "response.create", "response": { "input": [item] } }),
            json!({ "type": "conversation.item.create", "item": item }),
            json!({ "type": "conversation.item.added", "item": item }),
            json!({ "type": "conversation.item.input_audio_transcription.completed", "item_id": "i0", "transcript": "t" }),
            json!({ "type": "input_audio_buffer.append", "audio": "AA" }),
            json!({ "type": "session.update", "session": { "tools": [1], "model": 2 } }),
            json!({ "type": "error", "error": { "message": "m" } }),
            json!({ "type": "response.completed", "response": response("r2", "x") }),
            delta("z"),
            session(),
            done("r1"),
            done("r2"),
            created("r2"),
        ];
        events.extend(spoken("r1"));
        for pick in picks {
            match events.get(pick) {
                Some(event) => talk.say(event),
                None => talk.lose(pick % 2 == 0),
            }
        }
        talk.pairs();
    }
}

/// A frame with a whole text; a client's is masked.
fn frame(text: &str, from_client: bool) -> Vec<u8> {
    const KEY: [u8; 4] = [1, 2, 3, 4];
    let mask = if from_client { 0x80 } else { 0 };
    let mut bytes = vec![0x81];
    match u8::try_from(text.len()) {
        Ok(length) if length < 126 => bytes.push(mask | length),
        _ => {
            bytes.push(mask | 126);
            let Ok(length) = u16::try_from(text.len()) else { panic!("a text of {} bytes", text.len()) };
            bytes.extend(length.to_be_bytes());
        }
    }
    if from_client {
        bytes.extend(KEY);
        bytes.extend(text.bytes().enumerate().map(|(at, byte)| byte ^ KEY[at % 4]));
    } else {
        bytes.extend(text.bytes());
    }
    bytes
}

#[test]
fn bytes_of_a_connection_give_the_calls_of_its_websocket() {
    let opening = "GET /v1/responses HTTP/1.1\r\nhost: api.openai.com\r\nconnection: Upgrade\r\nupgrade: WebSocket\r\n\
        sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let accepted = "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
        sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    let mut decoder = oisp_decode::ConnectionDecoder::new(oisp_decode::Limits::default());
    let mut events = Vec::new();
    decoder.data(Direction::Sent, Nanos(1), opening.as_bytes(), &mut events);
    decoder.data(Direction::Received, Nanos(2), accepted.as_bytes(), &mut events);
    for number in 0..2 {
        let id = format!("r{number}");
        let ask =
            json!({ "type": "response.create", "model": "m", "input": format!("q{number}") }).to_string();
        decoder.data(Direction::Sent, Nanos(3), &frame(&ask, true), &mut events);
        for event in [created(&id), json!({ "type": "response.completed", "response": response(&id, &id) })] {
            let bytes = frame(&event.to_string(), false);
            let (first, second) = bytes.split_at(7);
            decoder.data(Direction::Received, Nanos(4), first, &mut events);
            decoder.data(Direction::Received, Nanos(5), second, &mut events);
        }
    }
    decoder.close(Nanos(6), &mut events);
    let mut talk =
        Talk { interpreter: ConnectionInterpreter::new(Limits::default()), out: Vec::new(), time: 10 };
    for event in &events {
        talk.interpreter.event(event, &mut talk.out);
    }
    let pairs = talk.pairs();
    assert_eq!(pairs.len(), 2);
    for (number, (call, answer)) in pairs.iter().enumerate() {
        assert_eq!(call.request.messages[0].content, Some(json!(format!("q{number}"))));
        assert_eq!(common::content(answer), Some(format!("r{number}").as_str()));
        assert!(call.findings.is_empty() && answer.findings.is_empty());
    }
}
