//! Streamed answers are told while they come, where that is asked for: all of the answer, and nothing secret of it.

use oisp_testkit::calls::Api;
use serde_json::{Value, json};

use crate::support::{Events, Provider, Sensor, can_record, text_of};

/// A key that the question has and the answer repeats, cut by the pieces in which it comes.
fn planted() -> String {
    format!("sk-proj-{}", "q7W2e".repeat(20))
}

fn question() -> String {
    format!("Repeat {} and my password: \"correct horse\", and then: {}", planted(), "so be it. ".repeat(40))
}

/// The chunks of the answer to a request.
fn chunks_of<'e>(events: &'e Events, request: &Value) -> Vec<&'e Value> {
    events
        .of_type("ai.streaming_chunk")
        .filter(|chunk| chunk["data"]["request_id"] == request["data"]["request_id"])
        .collect()
}

#[test]
fn chunks_of_an_answer_add_up_to_it_and_none_has_the_key_that_came_in_pieces() {
    if !can_record() {
        return;
    }
    for api in [Api::OpenAi, Api::Anthropic] {
        let provider = Provider::start();
        let body = api.simple_body("fake-echo-chunks-80-delay-10ms", &question(), true);
        let curl = provider.curl(api, &body, &["--no-buffer"]);
        let recorded = Sensor::recording_with(&["--streaming-chunks"], &curl).run();
        recorded.assert_clean();
        let raw = String::from_utf8(recorded.raw()).unwrap();
        for secret in ["q7W2eq7W2e", "q7W2e", "correct horse", "horse"] {
            assert!(!raw.contains(secret), "{secret} stands in the events");
        }
        let events = recorded.events();
        let [request] = events.requests()[..] else { panic!("one request") };
        let response = events.response_to(request);
        let chunks = chunks_of(&events, request);
        assert!(chunks.len() > 3, "{} chunks of an answer that takes 800 ms", chunks.len());
        let text: String =
            chunks.iter().filter_map(|chunk| chunk["data"]["delta"]["content"].as_str()).collect();
        assert!(text.contains("[REDACTED:openai_api_key:") && text.contains("so be it."), "{text}");
        assert_eq!(text, text_of(response));
        for (number, chunk) in chunks.iter().enumerate() {
            assert_eq!(chunk["data"]["chunk_index"], number);
            assert_eq!(chunk["related_events"][0]["event_id"], request["event_id"]);
            assert_eq!(chunk["process"]["pid"], request["process"]["pid"]);
            assert!(chunk["event_id"].as_str() < response["event_id"].as_str());
        }
        assert_eq!(chunks[0]["data"]["delta"]["role"], "assistant");
        let last = chunks[chunks.len() - 1];
        assert_eq!(last["data"]["finish_reason"], response["data"]["finish_reason"]);
    }
}

#[test]
fn key_in_the_arguments_of_a_streamed_tool_call_is_in_no_chunk() {
    if !can_record() {
        return;
    }
    for api in [Api::OpenAi, Api::Anthropic] {
        let provider = Provider::start();
        let parameters =
            json!({ "type": "object", "properties": { "key": { "type": "string", "enum": [planted()] } } });
        let mut body = api.simple_body("fake", "please use a tool", true);
        body["tools"] = match api {
            Api::OpenAi => {
                json!([{ "type": "function", "function": { "name": "login", "parameters": parameters } }])
            }
            Api::Anthropic => json!([{ "name": "login", "input_schema": parameters }]),
        };
        let curl = provider.curl(api, &body, &[]);
        let recorded = Sensor::recording_with(&["--streaming-chunks"], &curl).run();
        recorded.assert_clean();
        assert!(!String::from_utf8(recorded.raw()).unwrap().contains("q7W2e"));
        let events = recorded.events();
        let [request] = events.requests()[..] else { panic!("one request") };
        let call = &events.response_to(request)["data"]["tool_calls"][0];
        let fragments: Vec<&Value> = chunks_of(&events, request)
            .into_iter()
            .flat_map(|chunk| chunk["data"]["delta"]["tool_calls"].as_array().into_iter().flatten())
            .collect();
        let arguments: String =
            fragments.iter().filter_map(|fragment| fragment["arguments"].as_str()).collect();
        assert_eq!(arguments, call["arguments"].as_str().unwrap());
        assert!(arguments.contains("[REDACTED:"), "{arguments}");
        assert_eq!((&fragments[0]["name"], &fragments[0]["id"]), (&call["name"], &call["id"]));
    }
}

#[test]
fn chunks_are_told_only_where_they_are_asked_for_and_minimal_tells_their_lengths() {
    if !can_record() {
        return;
    }
    let provider = Provider::start();
    let body = Api::OpenAi.simple_body("fake-chunks-9", "Hello", true);
    let curl = provider.curl(Api::OpenAi, &body, &[]);
    let recorded = Sensor::recording(&curl).run();
    assert_eq!(recorded.events().of_type("ai.streaming_chunk").count(), 0);

    let recorded = Sensor::recording_with(&["--streaming-chunks", "--redaction", "minimal"], &curl).run();
    let events = recorded.events();
    let chunks: Vec<_> = events.of_type("ai.streaming_chunk").collect();
    assert!(chunks.iter().all(|chunk| chunk["data"]["delta"].get("content").is_none()), "{chunks:?}");
    let length: u64 =
        chunks.iter().map(|chunk| chunk["ext"]["oisp_sensor"]["content_length"].as_u64().unwrap()).sum();
    let response = events.response_to(events.requests()[0]);
    assert_eq!(response["data"]["choices"][0]["message"]["content_length"], length);
}
