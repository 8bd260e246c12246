//! Messages of MCP, over HTTP and as lines, and what conversations make of them.

mod common;

use common::{Exchange, Piece, data};
use oisp_ai::{
    AiEvent, ConnectionInterpreter, Limits, McpBody, McpConversation, McpEvent, McpMessage, McpOutcome,
    McpSide, McpTransport,
};
use oisp_decode::{ConnectionDecoder, Direction, Nanos};
use proptest::prelude::*;
use serde_json::{Value, json};

const BOTH: &str = "application/json, text/event-stream";

fn post(body: &Value) -> Exchange {
    Exchange::post("tools.example", "/mcp", body).request_header("accept", BOTH)
}

fn request(id: u64, method: &str, params: Value) -> Value {
    json!({ "method": method, "params": params, "jsonrpc": "2.0", "id": id })
}

fn answer(id: u64, result: Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "result": result })
}

fn initialize(id: u64) -> Value {
    let client = json!({ "name": "agent", "version": "1.0" });
    let params =
        json!({ "protocolVersion": "2025-06-18", "capabilities": { "sampling": {} }, "clientInfo": client });
    request(id, "initialize", params)
}

fn initialized(id: u64) -> Value {
    answer(
        id,
        json!({
            "protocolVersion": "2025-06-18",
            "capabilities": { "tools": {} },
            "serverInfo": { "name": "files", "version": "2.0" },
            "instructions": "Reads files.",
        }),
    )
}

fn call(id: u64, name: &str, arguments: Value) -> Value {
    request(id, "tools/call", json!({ "name": name, "arguments": arguments }))
}

fn text_result(text: &str) -> Value {
    json!({ "content": [{ "type": "text", "text": text }], "isError": false })
}

/// Interprets an exchange on a connection of its own.
fn interpret(exchange: &Exchange) -> Vec<McpMessage> {
    let mut interpreter = ConnectionInterpreter::new(Limits::default());
    let mut out = Vec::new();
    for event in exchange.events(1) {
        interpreter.event(&event, &mut out);
    }
    assert_eq!(interpreter.buffered_bytes(), 0);
    messages(out)
}

fn messages(events: Vec<AiEvent>) -> Vec<McpMessage> {
    events
        .into_iter()
        .map(|event| match event {
            AiEvent::Mcp(message) => *message,
            other => panic!("no message of MCP: {other:?}"),
        })
        .collect()
}

/// What a conversation makes of exchanges, each on a connection of its own.
fn converse(exchanges: &[Exchange]) -> (McpConversation, Vec<McpEvent>) {
    let mut conversation = McpConversation::default();
    let mut events = Vec::new();
    for (connection, exchange) in exchanges.iter().enumerate() {
        for message in interpret(exchange) {
            events.extend(conversation.take(connection as u64, message));
        }
    }
    (conversation, events)
}

fn outcomes(events: &[McpEvent]) -> Vec<&McpOutcome> {
    events
        .iter()
        .filter_map(|event| match event {
            McpEvent::Outcome(outcome) => Some(&**outcome),
            _ => None,
        })
        .collect()
}

/// What two sides wrote, a line at a time; `true` is the client.
fn lines(script: &[(bool, Value)]) -> Vec<McpMessage> {
    let mut decoder = ConnectionDecoder::new(oisp_decode::Limits::default());
    let mut interpreter = ConnectionInterpreter::new(Limits::default());
    let (mut events, mut out) = (Vec::new(), Vec::new());
    for (time, (is_client, line)) in script.iter().enumerate() {
        let direction = if *is_client { Direction::Sent } else { Direction::Received };
        decoder.data(direction, Nanos(time as u64), format!("{line}\n").as_bytes(), &mut events);
    }
    decoder.close(Nanos(1000), &mut events);
    events.iter().for_each(|event| interpreter.event(event, &mut out));
    interpreter.close(Nanos(1000), &mut out);
    assert_eq!(interpreter.buffered_bytes(), 0);
    messages(out)
}

#[test]
fn session_over_http_is_known_by_the_id_that_its_first_answer_names() {
    let begin = post(&initialize(0)).response_header("mcp-session-id", "s3cret").json(&initialized(0));
    let list = post(&request(1, "tools/list", json!({})))
        .request_header("mcp-session-id", "s3cret")
        .request_header("mcp-protocol-version", "2025-06-18")
        .sse(&[answer(
            1,
            json!({ "tools": [{ "name": "read", "description": "Reads." }], "nextCursor": "2" }),
        )]);
    let more = post(&request(2, "tools/list", json!({ "cursor": "2" })))
        .request_header("mcp-session-id", "s3cret")
        .json(&answer(2, json!({ "tools": [{ "name": "write" }] })));
    for exchange in [&begin, &list, &more] {
        let messages = interpret(exchange);
        assert_eq!(messages.len(), 2);
        assert!(messages.iter().all(|message| message.place.session.as_deref() == Some("s3cret")));
        assert_eq!([messages[0].opens_exchange, messages[1].opens_exchange], [true, false]);
        assert!(!format!("{messages:?}").contains("s3cret"));
    }
    let mut end = post(&Value::Null).request_header("mcp-session-id", "s3cret");
    (end.method, end.request) = ("DELETE".to_owned(), Vec::new());
    let (conversation, events) = converse(&[begin, list, more, end]);
    assert_eq!(events, [McpEvent::Begun, McpEvent::Ended]);
    let facts = conversation.facts();
    assert_eq!(facts.tools.keys().collect::<Vec<_>>(), ["read", "write"]);
    assert_eq!(facts.server.as_ref().unwrap().name, "files");
    assert_eq!(facts.client.as_ref().unwrap().name, "agent");
    let told = Value::Object(facts.whole());
    assert_eq!(
        (&told["client_capabilities"], &told["server_capabilities"]),
        (&json!(["sampling"]), &json!(["tools"]))
    );
    assert_eq!((&told["instructions"], &told["tools_count"]), (&json!("Reads files."), &json!(2)));
}

#[test]
fn result_may_come_on_the_stream_of_its_request_or_on_another() {
    let begin = post(&initialize(0)).json(&initialized(0));
    let noise = json!({ "jsonrpc": "2.0", "method": "notifications/progress", "params": { "progress": 1 } });
    let mut priming = vec![Piece::from("id: 0\ndata:\n\n"), Piece::from(": keep-alive\n\n")];
    priming.push(data(&noise).as_str().into());
    let on_its_own = data(&answer(1, text_result("one")));
    priming.push(on_its_own.as_str().into());
    let first = post(&call(1, "a", json!({ "x": 1 }))).sse_pieces(priming);
    let second = post(&call(2, "b", json!({}))).sse_pieces(Vec::new());
    let mut stream =
        post(&Value::Null).request_header("mcp-session-id", "s").sse(&[answer(2, text_result("two"))]);
    (stream.method, stream.request) = ("GET".to_owned(), Vec::new());
    let (_, events) = converse(&[begin, first, second, stream]);
    let told: Vec<_> =
        outcomes(&events).iter().map(|outcome| (outcome.name.clone(), outcome.text.clone())).collect();
    assert_eq!(told, [("a".to_owned(), Some("one".to_owned())), ("b".to_owned(), Some("two".to_owned()))]);
}

#[test]
fn older_transport_with_a_stream_and_a_place_to_post_to_is_one_session() {
    let mut stream = post(&Value::Null).sse_pieces(vec![
        "event: endpoint\r\ndata: /messages/?session_id=abc\r\n\r\n".into(),
        data(&initialized(0)).replace("data:", "event: message\ndata:").as_str().into(),
    ]);
    (stream.method, stream.target, stream.request) = ("GET".to_owned(), "/sse".to_owned(), Vec::new());
    let mut begin = Exchange::post("tools.example", "/messages/?session_id=abc", &initialize(0)).status(202);
    begin.response = vec!["Accepted".into()];
    let (asked, told) = (interpret(&begin), interpret(&stream));
    assert_eq!((asked.len(), told.len()), (1, 1));
    assert_eq!(asked[0].place.session, told[0].place.session);
    assert_eq!(asked[0].place.endpoint.as_deref(), Some("https://tools.example/messages/"));
    assert_eq!(asked[0].place.endpoint, told[0].place.endpoint);
    assert_eq!((asked[0].place.transport, told[0].place.transport), (McpTransport::Sse, McpTransport::Sse));
    let (_, events) = converse(&[begin, stream]);
    assert_eq!(events, [McpEvent::Begun]);
}

#[test]
fn stateless_requests_say_by_themselves_who_asks_and_input_that_is_required_makes_no_second_call() {
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": { "name": "agent", "version": "3" },
        "io.modelcontextprotocol/clientCapabilities": { "elicitation": {} },
    });
    let headers = |exchange: Exchange, method: &str| {
        exchange.request_header("mcp-protocol-version", "2026-07-28").request_header("mcp-method", method)
    };
    let ask = |more: Value| {
        let mut params = json!({ "name": "book", "arguments": { "seat": 3 }, "_meta": meta });
        params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        params
    };
    let required = json!({
        "resultType": "input_required",
        "requestState": "opaque",
        "inputRequests": { "ok": { "method": "elicitation/create", "params": { "message": "Sure?" } } },
    });
    let first = headers(post(&request(1, "tools/call", ask(json!({})))), "tools/call")
        .request_header("mcp-name", "book")
        .json(&answer(1, required));
    let again = json!({ "requestState": "opaque", "inputResponses": { "ok": { "action": "accept" } } });
    let mut result = text_result("booked");
    result["resultType"] = "complete".into();
    result["_meta"] = json!({ "io.modelcontextprotocol/serverInfo": { "name": "trains", "version": "9" } });
    let second = headers(post(&request(2, "tools/call", ask(again))), "tools/call").json(&answer(2, result));
    let (conversation, events) = converse(&[first, second]);
    assert!(matches!(events[..], [McpEvent::Begun, McpEvent::Call(_), McpEvent::Outcome(_)]), "{events:?}");
    assert_eq!(outcomes(&events)[0].text.as_deref(), Some("booked"));
    let facts = conversation.facts();
    assert_eq!(facts.protocol_version.as_deref(), Some("2026-07-28"));
    assert_eq!(
        (&*facts.client.as_ref().unwrap().name, &*facts.server.as_ref().unwrap().name),
        ("agent", "trains")
    );
    assert_eq!((facts.tool_calls, conversation.open_calls()), (1, 0));

    let refused = json!({ "jsonrpc": "2.0", "id": 1, "error": { "code": -32022, "message": "version" } });
    let discover = headers(post(&request(1, "server/discover", json!({ "_meta": meta }))), "server/discover")
        .status(400)
        .json(&refused);
    let (conversation, events) = converse(&[discover]);
    assert_eq!(events, [], "nothing begins with a refusal");
    assert_eq!(conversation.facts().whole()["errors"][0]["code"], "-32022");
}

#[test]
fn failures_are_told_apart() {
    let begin = || post(&initialize(0)).json(&initialized(0));
    let failed = json!({ "content": [{ "type": "text", "text": "no such file" }], "isError": true });
    let cases = [
        (post(&call(1, "t", json!({}))).json(&answer(1, failed)), Some(false), Some("tool_error"), None),
        (
            post(&call(1, "t", json!({}))).status(400).json(
                &json!({ "jsonrpc": "2.0", "id": null, "error": { "code": -32602, "message": "unknown tool" } }),
            ),
            Some(false),
            Some("json_rpc_error"),
            Some("-32602"),
        ),
        (post(&call(1, "t", json!({}))).status(401), Some(false), Some("http_status"), Some("401")),
        (post(&call(1, "t", json!({}))).json(&json!("no message")), None, None, None),
    ];
    for (exchange, success, kind, code) in cases {
        let (conversation, events) = converse(&[begin(), exchange]);
        let outcomes = outcomes(&events);
        let [outcome] = outcomes[..] else { panic!("{events:?}") };
        let error = outcome.error.clone().unwrap_or_default();
        assert_eq!(
            (outcome.success, error.error_type.as_deref(), error.code.as_deref()),
            (success, kind, code)
        );
        assert_eq!(conversation.open_calls(), 0);
        assert_eq!(outcome.findings.is_empty(), success.is_some(), "{:?}", outcome.findings);
    }
}

#[test]
fn lines_are_a_conversation_in_both_directions_with_an_exchange_for_each_request() {
    let script = [
        (true, initialize(0)),
        (false, initialized(0)),
        (true, json!({ "jsonrpc": "2.0", "method": "notifications/initialized" })),
        (true, call(1, "ask", json!({}))),
        // The server asks under an id that the client uses as well.
        (false, request(1, "sampling/createMessage", json!({ "messages": [] }))),
        (true, answer(1, json!({ "role": "assistant", "content": { "type": "text", "text": "yes" } }))),
        (false, answer(1, text_result("done"))),
        (true, call(2, "slow", json!({}))),
        (
            true,
            json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": 2, "reason": "enough" } }),
        ),
        (true, json!([call(3, "a", json!({})), call(4, "b", json!({}))])),
        (false, json!([answer(4, text_result("b")), answer(3, text_result("a"))])),
    ];
    let messages = lines(&script);
    let exchanges: Vec<u64> = messages.iter().map(|message| message.exchange.0).collect();
    assert_eq!(exchanges, [1, 1, 2, 3, 4, 4, 3, 5, 6, 7, 8, 8, 7, 9]);
    assert_eq!(messages.last().unwrap().body, McpBody::End);
    assert!(messages.iter().all(|message| message.recorded == McpSide::Client));
    let mut conversation = McpConversation::default();
    let events: Vec<_> = messages.into_iter().flat_map(|message| conversation.take(1, message)).collect();
    let told: Vec<_> = outcomes(&events)
        .iter()
        .map(|outcome| (outcome.name.as_str(), outcome.success, outcome.text.as_deref()))
        .collect();
    let expected = [
        ("ask", Some(true), Some("done")),
        ("slow", Some(false), None),
        ("b", Some(true), Some("b")),
        ("a", Some(true), Some("a")),
    ];
    assert_eq!(told, expected);
    assert_eq!((events.first(), events.last()), (Some(&McpEvent::Begun), Some(&McpEvent::Ended)));
    assert!(!conversation.facts().whole().contains_key("not_understood"));
}

#[test]
fn session_that_was_joined_late_says_so() {
    let exchange = post(&call(7, "t", json!({})))
        .request_header("mcp-session-id", "s")
        .request_header("mcp-protocol-version", "2025-11-25")
        .json(&answer(7, text_result("x")));
    let (conversation, events) = converse(&[exchange]);
    assert_eq!(events[0], McpEvent::Begun);
    assert!(conversation.facts().joined_late);
    assert_eq!(conversation.facts().protocol_version.as_deref(), Some("2025-11-25"));
}

#[test]
fn other_json_rpc_is_no_mcp() {
    let ethereum = request(1, "eth_blockNumber", json!([]));
    let language_server = request(1, "initialize", json!({ "processId": 1, "capabilities": {} }));
    let agent_to_agent = request(1, "tasks/get", json!({ "id": "t" }));
    for body in [&ethereum, &language_server, &agent_to_agent, &json!({ "method": "tools/call" }), &json!([])]
    {
        let exchange = post(body).json(&answer(1, json!({ "capabilities": {}, "tools": [] })));
        assert_eq!(interpret(&exchange), [], "{body}");
        let line = [(true, body.clone()), (false, answer(1, json!({})))];
        assert_eq!(lines(&line), [], "{body}");
    }
    // A stream of something else.
    let mut stream = post(&Value::Null).sse(&[initialized(0)]);
    (stream.method, stream.request) = ("GET".to_owned(), Vec::new());
    assert_eq!(interpret(&stream), []);
}

#[test]
fn lost_bytes_of_an_answer_are_said_and_nothing_is_made_of_the_rest() {
    let text = answer(1, text_result("a long text")).to_string();
    let mut exchange = post(&call(1, "t", json!({}))).json(&json!({}));
    exchange.response = vec![text[..30].into(), Piece::Gap(10), text[40..].into()];
    let (_, events) = converse(&[post(&initialize(0)).json(&initialized(0)), exchange]);
    let outcomes = outcomes(&events);
    let [outcome] = outcomes[..] else { panic!("{events:?}") };
    assert_eq!((outcome.success, &outcome.text), (None, &None));
    assert!(outcome.findings.reasons.contains(&"bytes_lost".to_owned()), "{:?}", outcome.findings);
}

proptest! {
    #[test]
    fn answers_are_read_the_same_wherever_they_are_cut(
        cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..6),
        is_stream in any::<bool>(),
    ) {
        let message = answer(1, text_result("ä\u{1f600}\r\n"));
        let body = if is_stream { format!("id: 1\r\n{}: x\n\n", data(&message)) } else { message.to_string() };
        let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(body.len())).collect();
        at.push(body.len());
        at.sort_unstable();
        let mut start = 0;
        let pieces: Vec<Piece> = at
            .into_iter()
            .map(|end| {
                let piece = Piece::Bytes(body.as_bytes()[start..end].to_vec());
                start = end;
                piece
            })
            .collect();
        let mut exchange = post(&call(1, "t", json!({}))).json(&json!({}));
        if is_stream {
            exchange = exchange.sse(&[]);
            exchange.response_headers.remove(0);
        }
        exchange.response = pieces;
        let (_, events) = converse(&[exchange]);
        prop_assert_eq!(outcomes(&events)[0].text.as_deref(), Some("ä\u{1f600}\r\n"));
    }

    #[test]
    fn any_messages_leave_a_conversation_bounded_and_never_panic(
        script in proptest::collection::vec((any::<bool>(), 0_u64..3, 0_usize..12, hostile()), 0..60),
    ) {
        let methods = [
            "initialize", "tools/list", "tools/call", "prompts/list", "resources/read", "notifications/cancelled",
            "server/discover", "x", "tasks/result", "ping", "prompts/get", "resources/list",
        ];
        let mut conversation = McpConversation::default();
        let script: Vec<(bool, Value)> = script
            .into_iter()
            .map(|(is_client, id, method, value)| {
                let line = match method % 4 {
                    0 => json!({ "jsonrpc": "2.0", "id": id, "result": value }),
                    1 => json!({ "jsonrpc": "2.0", "method": methods[method], "params": value }),
                    _ => request(id, methods[method], value),
                };
                (is_client, line)
            })
            .collect();
        for message in lines(&script) {
            conversation.take(1, message);
        }
        prop_assert!(conversation.open_calls() <= 60);
        prop_assert!(conversation.facts().bytes() < 1 << 20);
    }
}

/// Parameters and results with MCP's own keys and values of any type.
fn hostile() -> impl Strategy<Value = Value> {
    let key = proptest::sample::select(vec![
        "name",
        "arguments",
        "content",
        "type",
        "text",
        "tools",
        "cursor",
        "requestId",
        "taskId",
        "task",
        "_meta",
        "resultType",
        "inputResponses",
        "structuredContent",
        "isError",
        "serverInfo",
        "capabilities",
        "protocolVersion",
        "data",
        "resource",
        "uri",
        "blob",
        "prompts",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        proptest::sample::select(vec!["text", "image", "input_required", "2025-06-18", "t", "", "aGk="])
            .prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 5, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            proptest::collection::btree_map(key.clone().prop_map(str::to_owned), inner, 0..5)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}
