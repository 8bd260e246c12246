//! Streamed answers that are told while they come.

mod common;

use common::{Exchange, chunks_add_up};
use oisp_ai::{AiChunk, AiEvent, ConnectionInterpreter, Limits};
use oisp_decode::{HttpEvent, HttpEventKind};
use oisp_event::{FinishReason, Role};
use serde_json::{Value, json};

fn told(events: &[HttpEvent]) -> Vec<AiChunk> {
    let limits = Limits { streaming_chunks: true, ..Limits::default() };
    let mut interpreter = ConnectionInterpreter::new(limits);
    let mut out = Vec::new();
    events.iter().for_each(|event| interpreter.event(event, &mut out));
    let chunks = out.into_iter().filter_map(|event| match event {
        AiEvent::Chunk(chunk) => Some(*chunk),
        _ => None,
    });
    chunks.collect()
}

fn delta(content: &str) -> Value {
    json!({ "object": "chat.completion.chunk", "choices": [{ "index": 0, "delta": { "content": content } }] })
}

/// Events one millisecond apart.
fn chat(deltas: &[Value]) -> Vec<HttpEvent> {
    let end = json!({ "object": "chat.completion.chunk",
        "choices": [{ "index": 0, "delta": {}, "finish_reason": "stop" }] });
    let body = json!({ "model": "m", "messages": [{ "role": "user", "content": "u" }], "stream": true });
    let events: Vec<Value> = deltas.iter().cloned().chain([end]).collect();
    Exchange::post("api.openai.com", "/v1/chat/completions", &body).sse(&events).events(1)
}

#[test]
fn chunk_holds_what_came_within_a_tenth_of_a_second() {
    let events = chat(&vec![delta("ab"); 450]);
    chunks_add_up(&events);
    let chunks = told(&events);
    assert_eq!(chunks.len(), 1 + 4 + 1, "the first at once, one each 100 ms, the rest");
    assert_eq!(chunks[0].chunk.delta.content.as_deref(), Some("ab"));
    assert_eq!(chunks[0].chunk.delta.role, Some(Role::Assistant));
    assert_eq!(chunks[1].chunk.delta.content.as_ref().map(String::len), Some(200));
    assert_eq!(chunks[1].extension["stream_events"], 100);
    assert_eq!(chunks[1].extension["timing"]["since_request_ns"], chunks[1].time.0 - 2_000_000);
    assert_eq!(chunks[5].chunk.finish_reason, Some(FinishReason::Stop));
}

#[test]
fn much_text_at_once_is_told_before_the_time_is_over() {
    let events = chat(&vec![delta(&"x".repeat(1000)); 99]);
    chunks_add_up(&events);
    // At once, after each 32 KiB of the stream, and the end: all within 100 ms.
    assert_eq!(told(&events).len(), 1 + 3 + 1);
}

#[test]
fn nothing_behind_a_gap_is_told_as_if_it_followed() {
    let mut events = chat(&["one ", "two ", "three ", "four"].map(delta));
    let bodies: Vec<usize> = (0..events.len())
        .filter(|place| matches!(events[*place].kind, HttpEventKind::ResponseBody(_)))
        .collect();
    events[bodies[2]].kind = HttpEventKind::ResponseBodyGap { lost: 99 };
    chunks_add_up(&events);
    let text: String = told(&events).iter().filter_map(|chunk| chunk.chunk.delta.content.clone()).collect();
    assert_eq!(text, "one two ");
}

#[test]
fn answer_whose_end_says_something_else_is_marked_and_not_told_twice() {
    let body = json!({ "message": "u", "model": "command-r", "stream": true });
    let events = [
        json!({ "event_type": "stream-start", "generation_id": "g" }),
        json!({ "event_type": "text-generation", "text": "a draft" }),
        json!({ "event_type": "stream-end", "finish_reason": "COMPLETE",
            "response": { "text": "something else", "generation_id": "g", "finish_reason": "COMPLETE" } }),
    ];
    let events = Exchange::post("api.cohere.com", "/v1/chat", &body).sse(&events).events(1);
    assert_eq!(chunks_add_up(&events).1, 1);
    let chunks = told(&events);
    let text: String = chunks.iter().filter_map(|chunk| chunk.chunk.delta.content.clone()).collect();
    assert_eq!(text, "a draft");
    assert_eq!(chunks.last().expect("a chunk").extension["superseded"], true);
}

#[test]
fn tool_calls_come_in_fragments_under_their_numbers() {
    let call = |index: u64, id: Option<&str>, name: Option<&str>, arguments: &str| {
        json!({ "object": "chat.completion.chunk", "choices": [{ "index": 0, "delta": { "tool_calls": [
            { "index": index, "id": id, "type": "function", "function": { "name": name, "arguments": arguments } }] } }] })
    };
    let mut deltas = vec![call(0, Some("a"), Some("f"), "{\"x\":")];
    deltas.extend(vec![call(0, None, None, "1"); 150]);
    deltas.push(call(0, None, None, "}"));
    deltas.push(call(1, Some("b"), Some("g"), "{}"));
    let events = chat(&deltas);
    chunks_add_up(&events);
    let chunks = told(&events);
    assert_eq!(chunks[0].call_numbers, [0]);
    assert_eq!(chunks[0].chunk.delta.tool_calls[0].name.as_deref(), Some("f"));
    let second = &chunks[1].chunk.delta.tool_calls[0];
    assert_eq!((second.name.as_deref(), second.id.as_deref()), (None, Some("a")), "named once");
    assert_eq!(chunks.last().expect("a chunk").chunk.delta.content, None);
}
