use std::sync::Arc;

use bytes::Bytes;
use oisp_capture::{
    CaptureEvent, CloseCause, ConnectionClosed, Content, Direction, Nanos, ProcessExited, WaitStatus,
};
use oisp_config::{Case, Patterns, Setting as _, Settings};
use oisp_correlate::NoLookup;
use oisp_event::{EventIdGenerator, Host};
use oisp_redact::{HashKey, RedactionConfig, RedactionMode};
use serde_json::{Value, json};

use super::*;
use crate::select::Selection;

const CLIENT: ProcessId = ProcessId(7);

fn pipeline(settings: &Settings, mode: RedactionMode) -> Pipeline {
    let ids = EventIdGenerator::with_seed(1);
    let correlator = Correlator::new(Host::default(), Clock::with_difference(0), Box::new(NoLookup), ids);
    let key = HashKey::ephemeral().expect("random bytes");
    let redactor = Arc::new(Redactor::new(RedactionConfig { mode, key }));
    let budget = Arc::new(MemoryBudget::new(8 << 20));
    Pipeline::new(correlator, Selector::new(Selection::from(settings)), redactor, budget)
}

/// What both sides of a pipe write, in pieces of `piece` bytes, and the end of it.
fn pipe(piece: usize, lines: &[(Direction, Value)]) -> Vec<CaptureEvent> {
    let connection = ConnectionId { process: CLIENT, object: 1, born: Nanos(1) };
    let mut offsets = [0_u64; 2];
    let mut events = Vec::new();
    for (number, (direction, line)) in lines.iter().enumerate() {
        let text = format!("{line}\n");
        for bytes in text.as_bytes().chunks(piece) {
            let offset = &mut offsets[usize::from(*direction == Direction::Received)];
            events.push(CaptureEvent::Content(Content {
                connection,
                thread: 8,
                direction: *direction,
                offset: *offset,
                bytes: Bytes::copy_from_slice(bytes),
                time: Nanos(number as u64 * 1_000_000),
                function: "write",
            }));
            *offset += bytes.len() as u64;
        }
    }
    events.push(CaptureEvent::ConnectionClosed(ConnectionClosed {
        connection,
        sent_end: offsets[0],
        received_end: offsets[1],
        time: Nanos(lines.len() as u64 * 1_000_000),
        cause: CloseCause::Released,
    }));
    events
}

fn conversation() -> Vec<(Direction, Value)> {
    use Direction::{Received, Sent};
    let request = |id: u64, method: &str, params: Value| json!({ "method": method, "params": params, "jsonrpc": "2.0", "id": id });
    let answer = |id: u64, result: Value| json!({ "jsonrpc": "2.0", "id": id, "result": result });
    let client = json!({ "name": "agent", "version": "1" });
    let server = json!({ "name": "files", "version": "2" });
    let arguments = json!({ "path": "/x", "password": "hunter2-hunter2" });
    vec![
        (
            Sent,
            request(
                0,
                "initialize",
                json!({ "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": client }),
            ),
        ),
        (
            Received,
            answer(0, json!({ "protocolVersion": "2025-06-18", "capabilities": {}, "serverInfo": server })),
        ),
        (Sent, json!({ "jsonrpc": "2.0", "method": "notifications/initialized" })),
        (Sent, request(1, "tools/call", json!({ "name": "read", "arguments": arguments }))),
        (
            Received,
            answer(
                1,
                json!({ "content": [{ "type": "text", "text": "key sk-proj-Zk3vQ8mT1xR7bN5cW9dL2fH6jP4sA0gY8uE3iO7k" }] }),
            ),
        ),
    ]
}

fn run(pipeline: &mut Pipeline, events: &[CaptureEvent]) -> Vec<Value> {
    let mut out = Vec::new();
    events.iter().for_each(|event| pipeline.handle(event, &mut out));
    out.iter().map(|event| serde_json::to_value(event).expect("an event is JSON")).collect()
}

fn types(events: &[Value]) -> Vec<&str> {
    events.iter().filter_map(|event| event["event_type"].as_str()).collect()
}

#[test]
fn mcp_over_a_pipe_is_told_however_its_lines_are_cut_and_secrets_in_it_are_not() {
    for piece in [1, 7, 10_000] {
        let mut pipeline = pipeline(&Settings::default(), RedactionMode::Safe);
        let told = run(&mut pipeline, &pipe(piece, &conversation()));
        assert_eq!(
            types(&told),
            ["agent.session", "agent.tool_call", "agent.tool_result", "agent.session"],
            "in pieces of {piece}"
        );
        let mcp = &told[2]["ext"]["oisp_sensor"]["mcp"];
        assert_eq!((&mcp["transport"], &mcp["server"]["name"]), (&json!("stdio"), &json!("files")));
        assert_eq!(told[2]["confidence"]["content_source"], "plaintext_capture");
        assert_eq!(told[1]["data"]["arguments"]["path"], "/x");
        let text = serde_json::to_string(&told).expect("JSON");
        assert!(!text.contains("hunter2") && !text.contains("Zk3vQ8mT"), "{text}");
        assert_eq!((pipeline.counts().json_rpc_lines, pipeline.counts().other), (1, 0));
        assert_eq!(pipeline.counts().bytes_missing, 0);
    }
}

#[test]
fn minimal_redaction_keeps_nothing_that_was_said() {
    let mut pipeline = pipeline(&Settings::default(), RedactionMode::Minimal);
    let told = run(&mut pipeline, &pipe(10_000, &conversation()));
    assert_eq!(told.len(), 4);
    assert_eq!(told[0]["ext"]["oisp_sensor"]["mcp"]["protocol_version"], "2025-06-18");
    let text = serde_json::to_string(&told).expect("JSON");
    for said in ["files", ":\"agent\"", "/x", ":\"read\"", "sk-proj"] {
        assert!(!text.contains(said), "{said} in {text}");
    }
}

#[test]
fn mcp_that_is_excluded_is_not_told_and_neither_is_other_json_rpc() {
    let mut settings = Settings::default();
    settings.exclude.provider = Patterns::from_text("mcp", &Case::Insensitive).expect("a pattern");
    let mut excluding = pipeline(&settings, RedactionMode::Safe);
    assert_eq!(run(&mut excluding, &pipe(100, &conversation())), [] as [Value; 0]);
    let other = [(Direction::Sent, json!({ "jsonrpc": "2.0", "id": 1, "method": "eth_call", "params": [] }))];
    let mut pipeline = pipeline(&Settings::default(), RedactionMode::Safe);
    assert_eq!(run(&mut pipeline, &pipe(100, &other)), [] as [Value; 0]);
}

#[test]
fn recorded_server_is_told_as_one_and_does_not_say_why_it_is_asked() {
    let connection = ConnectionId { process: CLIENT, object: 1, born: Nanos(1) };
    let mut offsets = [0_u64; 2];
    let mut events = Vec::new();
    for (number, (direction, line)) in conversation().iter().enumerate() {
        let (head, is_asked) = match direction {
            Direction::Sent => ("POST /mcp HTTP/1.1\r\nHost: tools.example", true),
            Direction::Received => ("HTTP/1.1 200 OK", false),
        };
        let body = line.to_string();
        let fields = "Mcp-Session-Id: one\r\nContent-Type: application/json";
        let mut text = format!("{head}\r\n{fields}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        if number == 2 {
            // A notification is accepted and not answered.
            continue;
        }
        let offset = &mut offsets[usize::from(is_asked)];
        let bytes = Bytes::from(std::mem::take(&mut text));
        let length = bytes.len() as u64;
        events.push(CaptureEvent::Content(Content {
            connection,
            thread: 8,
            direction: if is_asked { Direction::Received } else { Direction::Sent },
            offset: *offset,
            bytes,
            time: Nanos(number as u64 * 1_000_000),
            function: if is_asked { "SSL_read" } else { "SSL_write" },
        }));
        *offset += length;
    }
    let mut pipeline = pipeline(&Settings::default(), RedactionMode::Safe);
    let told = run(&mut pipeline, &events);
    assert_eq!(types(&told), ["agent.session", "agent.tool_call", "agent.tool_result"]);
    for event in &told {
        let mcp = &event["ext"]["oisp_sensor"]["mcp"];
        assert_eq!((&mcp["role"], &mcp["endpoint"]), (&json!("server"), &json!("https://tools.example/mcp")));
        assert!(!event.to_string().contains("\"one\""), "the session id is in {event}");
    }
    assert_eq!(told[1]["data"].get("triggered_by"), None);
    let points: Vec<_> = told.iter().map(|event| event["source"]["capture_point"].clone()).collect();
    assert_eq!(points, ["SSL_write", "SSL_read", "SSL_write"]);
}

#[test]
fn process_that_ends_ends_its_sessions_before_its_own_end_is_told() {
    let mut pipeline = pipeline(&Settings::default(), RedactionMode::Safe);
    let mut events = pipe(100, &conversation());
    events.pop();
    events.push(CaptureEvent::ProcessExited(ProcessExited {
        process: CLIENT,
        status: WaitStatus(0),
        time: Nanos(9_000_000),
    }));
    let told = run(&mut pipeline, &events);
    assert_eq!(types(&told)[3..], ["agent.session", "process.exit"]);
    assert_eq!(told[3]["data"]["action"], "end");
}

#[test]
fn lost_lines_are_never_joined_and_lower_what_is_told() {
    let mut events = pipe(10_000, &conversation());
    // The server's answer to `initialize` lost its end.
    if let CaptureEvent::Content(content) = &mut events[1] {
        content.bytes.truncate(20);
    }
    let mut pipeline = pipeline(&Settings::default(), RedactionMode::Safe);
    let told = run(&mut pipeline, &events);
    assert_eq!(types(&told)[..1], ["agent.tool_call"], "{told:?}");
    assert!(pipeline.counts().bytes_missing > 0);
}
