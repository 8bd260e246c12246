use oisp_ai::{AiAnswer, AiCall, AiEvent, McpBody, McpPlace, Timings};
use oisp_capture::{Nanos, ProcessStarted};
use oisp_decode::{ExchangeId, JsonRpcId};
use oisp_event::{AiRequest, AiResponse, EventIdGenerator, Host, Message, Role, ToolCall};
use serde_json::json;

use super::session::MAX_SESSIONS;
use super::*;
use crate::{Clock, NoLookup};

/// A correlator with the time that goes on, and the next id of a request.
struct Scene {
    correlator: Correlator,
    now: u64,
    exchange: u64,
}

const AGENT: ProcessId = ProcessId(10);
const HELPER: ProcessId = ProcessId(11);
const STRANGER: ProcessId = ProcessId(20);

fn scene() -> Scene {
    let ids = EventIdGenerator::with_seed(1);
    let correlator = Correlator::new(Host::default(), Clock::with_difference(0), Box::new(NoLookup), ids);
    let mut scene = Scene { correlator, now: 0, exchange: 0 };
    for (process, parent) in [(AGENT, 1), (HELPER, AGENT.0), (STRANGER, 1)] {
        scene.correlator.process_started(&ProcessStarted {
            process,
            parent: ProcessId(parent),
            uid: 0,
            gid: 0,
            filename: "/a".into(),
            executable: "/a".into(),
            arguments: Vec::new(),
            arguments_truncated: false,
            working_directory: None,
            time: Nanos(0),
        });
    }
    scene
}

fn origin(process: ProcessId, object: u64) -> CallOrigin {
    let connection = ConnectionId { process, object, born: Nanos(1) };
    CallOrigin { connection, thread: process.0, function: "SSL_write", socket: None }
}

fn initialized(server: &str) -> Value {
    json!({ "protocolVersion": "2025-06-18", "capabilities": {}, "serverInfo": { "name": server, "version": "2" } })
}

fn text(text: &str) -> Value {
    json!({ "content": [{ "type": "text", "text": text }] })
}

impl Scene {
    fn time(&mut self) -> Nanos {
        self.now += 1_000_000;
        Nanos(self.now)
    }

    /// A message of a session over lines on connection `object` of a process.
    fn say(&mut self, process: ProcessId, object: u64, from: McpSide, body: McpBody) -> Vec<Event> {
        let time = self.time();
        let message = McpMessage {
            exchange: ExchangeId(1),
            opens_exchange: true,
            from,
            recorded: McpSide::Client,
            time,
            place: McpPlace {
                transport: McpTransport::Stdio,
                endpoint: None,
                session: None,
                protocol_version: None,
            },
            body,
            has_headers: false,
            findings: Findings::default(),
        };
        self.correlator.ai_event(origin(process, object), AiEvent::Mcp(Box::new(message)))
    }

    fn ask(&mut self, process: ProcessId, object: u64, id: u64, method: &str, params: Value) -> Vec<Event> {
        let id = JsonRpcId::Number(id.to_string());
        self.say(process, object, McpSide::Client, McpBody::Request { id, method: method.to_owned(), params })
    }

    fn reply(&mut self, process: ProcessId, object: u64, id: u64, result: Value) -> Vec<Event> {
        let id = Some(JsonRpcId::Number(id.to_string()));
        self.say(process, object, McpSide::Server, McpBody::Response { id, outcome: Ok(result) })
    }

    /// A session of a process with a server, and its tools if they were asked for.
    fn session(&mut self, process: ProcessId, object: u64, server: &str, tools: &[&str]) -> Event {
        self.ask(process, object, 1, "initialize", json!({ "protocolVersion": "2025-06-18" }));
        let mut begun = self.reply(process, object, 1, initialized(server));
        if !tools.is_empty() {
            let tools: Vec<Value> =
                tools.iter().map(|name| json!({ "name": name, "description": "Does." })).collect();
            self.ask(process, object, 2, "tools/list", Value::Null);
            self.reply(process, object, 2, json!({ "tools": tools }));
        }
        assert_eq!(begun.len(), 1);
        begun.remove(0)
    }

    fn call(&mut self, process: ProcessId, object: u64, id: u64, name: &str, arguments: Value) -> Vec<Event> {
        self.ask(process, object, id, "tools/call", json!({ "name": name, "arguments": arguments }))
    }

    /// A model is asked by the agent; with results of earlier calls.
    fn model_asked(&mut self, results: &[&str]) -> Vec<Event> {
        self.exchange += 1;
        let mut messages = vec![Message::text(Role::Assistant, "calls")];
        messages.extend(results.iter().map(|id| Message {
            tool_call_id: Some((*id).to_owned()),
            ..Message::text(Role::Tool, "as the model is told")
        }));
        let time = self.time();
        let call = AiCall {
            exchange: ExchangeId(self.exchange),
            request: AiRequest { messages, ..AiRequest::default() },
            detection: detection(),
            started: time,
            completed: time,
            findings: Findings::default(),
            extension: Map::new(),
        };
        self.correlator.ai_event(origin(AGENT, 1), AiEvent::Request(Box::new(call)))
    }

    /// The model answers with tool calls.
    fn model_answers(&mut self, calls: &[(&str, &str, Value)]) -> Vec<Event> {
        let tool_calls = calls
            .iter()
            .map(|(id, name, arguments)| ToolCall {
                id: Some((*id).to_owned()),
                name: Some((*name).to_owned()),
                arguments: Some(arguments.to_string()),
                ..ToolCall::default()
            })
            .collect();
        let time = self.time();
        let answer = AiAnswer {
            exchange: ExchangeId(self.exchange),
            response: AiResponse { tool_calls, ..AiResponse::default() },
            embedding: None,
            detection: detection(),
            has_request: true,
            timings: Timings { last_byte: Some(time), ..Timings::default() },
            findings: Findings::default(),
            extension: Map::new(),
        };
        self.correlator.ai_event(origin(AGENT, 1), AiEvent::Response(Box::new(answer)))
    }
}

fn detection() -> Detection {
    Detection {
        provider_id: "openai".to_owned(),
        method: DetectionMethod::KnownEndpoint,
        confidence: Level::High,
    }
}

fn calls(events: &[Event]) -> Vec<(&AgentToolCall, &Event)> {
    events
        .iter()
        .filter_map(|event| match &event.payload {
            Payload::AgentToolCall(call) => Some((&**call, event)),
            _ => None,
        })
        .collect()
}

fn results(events: &[Event]) -> Vec<(&AgentToolResult, &Event)> {
    events
        .iter()
        .filter_map(|event| match &event.payload {
            Payload::AgentToolResult(result) => Some((&**result, event)),
            _ => None,
        })
        .collect()
}

fn mcp(event: &Event) -> &Value {
    &event.ext.oisp_sensor["mcp"]
}

#[test]
fn call_of_a_model_that_a_server_carries_out_is_told_once_however_the_agent_names_it() {
    for offered in [
        "read",
        "mcp__files__read",
        "mcp__any_alias__read",
        "files_read",
        "files-read",
        "Files.read",
        "files__read",
    ] {
        let mut scene = scene();
        scene.session(AGENT, 2, "files", &["read", "write"]);
        scene.model_asked(&[]);
        let told = scene.model_answers(&[("c1", offered, json!({ "path": "/x" }))]);
        let [(call, event)] = calls(&told)[..] else { panic!("{told:?}") };
        assert_eq!(call.triggered_by, Some(Trigger::LlmDecision));
        assert_eq!(
            (call.tool.provider.as_deref(), call.tool.server.as_deref()),
            (Some("mcp"), Some("files"))
        );
        assert_eq!(call.tool.description.as_deref(), Some("Does."));
        assert_eq!(mcp(event)["transport"], "stdio");

        assert!(scene.call(AGENT, 2, 3, "read", json!({ "path": "/x" })).is_empty(), "{offered}");
        let told = scene.reply(AGENT, 2, 3, text("content"));
        let [(result, result_event)] = results(&told)[..] else { panic!("{told:?}") };
        assert_eq!(
            (result.call_id.as_str(), result.success, result.duration_ms),
            ("c1", Some(true), Some(1))
        );
        assert_eq!(result.result, Some(json!("content")));
        assert_eq!(result.tool.as_ref().and_then(|tool| tool.server.as_deref()), Some("files"));
        assert_eq!(result_event.related_events[0].event_id, event.event_id);
        assert!(!result_event.confidence.reasons.contains(&"tls_boundary_capture".to_owned()));
        // The agent tells the model what it was told already.
        assert!(results(&scene.model_asked(&["c1"])).is_empty());
    }
}

#[test]
fn server_that_did_not_say_what_it_offers_is_told_with_the_result() {
    let mut scene = scene();
    scene.session(AGENT, 2, "files", &[]);
    scene.model_asked(&[]);
    let told = scene.model_answers(&[("c1", "files_read", json!({ "path": "/x" }))]);
    let [(call, event)] = calls(&told)[..] else { panic!("{told:?}") };
    assert_eq!((&call.tool.provider, &call.tool.server), (&None, &None));
    assert!(scene.call(AGENT, 2, 3, "read", json!({ "path": "/x" })).is_empty());
    let told = scene.reply(AGENT, 2, 3, text("content"));
    let [(result, result_event)] = results(&told)[..] else { panic!("{told:?}") };
    assert_eq!(result.tool.as_ref().and_then(|tool| tool.server.as_deref()), Some("files"));
    assert_eq!(mcp(result_event)["transport"], "stdio");
    assert_eq!(result_event.related_events[0].event_id, event.event_id);
}

#[test]
fn call_that_no_model_asked_for_is_automatic_and_has_its_own_result() {
    let mut scene = scene();
    let begun = scene.session(AGENT, 2, "files", &["read"]);
    let told = scene.call(AGENT, 2, 3, "read", json!({ "path": "/x" }));
    let [(call, event)] = calls(&told)[..] else { panic!("{told:?}") };
    assert_eq!(call.triggered_by, Some(Trigger::Automatic));
    assert_eq!(call.arguments.as_ref().map(|arguments| &arguments["path"]), Some(&json!("/x")));
    assert_eq!(event.related_events[0].event_id, begun.event_id);
    let answered = scene.reply(AGENT, 2, 3, json!({ "content": [], "isError": true }));
    let [(result, result_event)] = results(&answered)[..] else { panic!("{answered:?}") };
    assert_eq!((Some(&result.call_id), result.success), (call.call_id.as_ref(), Some(false)));
    assert_eq!(result_event.related_events[0].event_id, event.event_id);
    let over = scene.say(AGENT, 2, McpSide::Client, McpBody::End);
    let [Event { payload: Payload::AgentSession(session), .. }] = &over[..] else { panic!("{over:?}") };
    assert_eq!((session.action, session.duration_ms), (SessionAction::End, Some(5)));
    assert_eq!(session.stats.as_ref().and_then(|stats| stats.tool_calls), Some(1));
    assert_eq!(over[0].related_events[0].event_id, begun.event_id);
    assert!(scene.correlator.mcp_process_exited(AGENT, Nanos(9)).is_empty(), "it is over already");
}

#[test]
fn calls_are_told_apart_by_their_arguments_and_by_name_only_where_that_is_certain() {
    let mut scene = scene();
    scene.session(AGENT, 2, "files", &["read"]);
    scene.model_asked(&[]);
    let both = [("c1", "read", json!({ "path": "/1" })), ("c2", "read", json!({ "path": "/2" }))];
    scene.model_answers(&both);
    // In another order than they were asked for.
    scene.call(AGENT, 2, 3, "read", json!({ "path": "/2" }));
    let told = scene.reply(AGENT, 2, 3, text("two"));
    assert_eq!(results(&told)[0].0.call_id, "c2");
    // One is left: the agent may have changed what it was asked.
    assert!(scene.call(AGENT, 2, 4, "read", json!({ "path": "/changed" })).is_empty());
    let told = scene.reply(AGENT, 2, 4, text("one"));
    assert_eq!(results(&told)[0].0.call_id, "c1");

    scene.model_asked(&["c1", "c2"]);
    scene.model_answers(&[("c3", "read", json!({ "path": "/1" })), ("c4", "read", json!({ "path": "/2" }))]);
    let told = scene.call(AGENT, 2, 5, "read", json!({ "path": "/other" }));
    assert_eq!(calls(&told)[0].0.triggered_by, Some(Trigger::Automatic), "it may be either's or none's");
}

#[test]
fn helper_that_the_agent_started_carries_out_its_calls_and_a_stranger_does_not() {
    for (process, is_kin) in [(HELPER, true), (STRANGER, false)] {
        let mut scene = scene();
        scene.session(process, 2, "files", &["read"]);
        scene.model_asked(&[]);
        let told = scene.model_answers(&[("c1", "read", json!({}))]);
        assert_eq!(calls(&told)[0].0.tool.server.is_some(), is_kin);
        assert_eq!(scene.call(process, 2, 3, "read", json!({})).is_empty(), is_kin);
    }
}

#[test]
fn tool_that_several_servers_offer_is_no_ones_unless_the_name_says_whose() {
    let mut scene = scene();
    scene.session(AGENT, 2, "files", &["read"]);
    scene.session(AGENT, 3, "mail", &["read"]);
    scene.model_asked(&[]);
    let told = scene.model_answers(&[
        ("c1", "read", json!({})),
        ("c2", "mail_read", json!({})),
        ("c3", "web_read", json!({})),
        ("c4", "other", json!({})),
    ]);
    let servers: Vec<_> = calls(&told).iter().map(|(call, _)| call.tool.server.as_deref()).collect();
    assert_eq!(servers, [None, Some("mail"), None, None]);
}

#[test]
fn call_that_goes_out_before_the_end_of_the_models_answer_was_seen_is_still_the_models() {
    let mut scene = scene();
    scene.session(AGENT, 2, "files", &["read"]);
    scene.model_asked(&[]);
    assert!(scene.call(AGENT, 2, 3, "read", json!({ "path": "/x" })).is_empty());
    assert!(scene.reply(AGENT, 2, 3, text("content")).is_empty());
    assert!(scene.call(AGENT, 2, 4, "read", json!({ "path": "/by itself" })).is_empty());
    let told = scene.model_answers(&[("c1", "read", json!({ "path": "/x" }))]);
    let told_calls = calls(&told);
    let triggers: Vec<_> = told_calls.iter().map(|(call, _)| call.triggered_by).collect();
    assert_eq!(triggers, [Some(Trigger::LlmDecision), Some(Trigger::Automatic)]);
    let [(result, event)] = results(&told)[..] else { panic!("{told:?}") };
    assert_eq!(result.call_id, "c1");
    assert_eq!(event.related_events[0].event_id, told_calls[0].1.event_id);
    assert_eq!(scene.correlator.sessions.held, 0);
    assert_eq!(results(&scene.reply(AGENT, 2, 4, text("too"))).len(), 1);
}

#[test]
fn process_that_ends_ends_its_sessions_and_tells_what_was_held_back() {
    let mut scene = scene();
    scene.session(AGENT, 2, "files", &["read"]);
    scene.session(AGENT, 3, "mail", &["send"]);
    scene.correlator.connection_peer(origin(AGENT, 3).connection, HELPER);
    scene.model_asked(&[]);
    scene.call(AGENT, 2, 3, "read", json!({}));
    let told = scene.correlator.mcp_process_exited(AGENT, Nanos(1_000_000_000));
    assert_eq!(calls(&told).len(), 1);
    let ends: Vec<&Event> =
        told.iter().filter(|event| matches!(event.payload, Payload::AgentSession(_))).collect();
    assert_eq!(ends.len(), 2);
    assert_eq!(
        (&mcp(ends[0])["calls_without_result"], &mcp(ends[0])["tools"]),
        (&json!(1), &json!(["read"]))
    );
    assert_eq!(mcp(ends[1])["peer_pid"], HELPER.0);
    assert_eq!(scene.correlator.sessions.held, 0);
}

#[test]
fn sessions_without_end_stay_bounded() {
    let mut scene = scene();
    scene.model_asked(&[]);
    for object in 0..MAX_SESSIONS as u64 + 50 {
        scene.session(AGENT, object, "files", &["read"]);
        scene.call(AGENT, object, 3, "read", json!({}));
    }
    assert!(scene.correlator.sessions.open.len() <= MAX_SESSIONS);
    assert!(scene.correlator.sessions.held <= MAX_HELD);
}
