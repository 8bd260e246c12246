//! WebSocket at `/v1/realtime` and `/v1/responses`: deterministic events in the manner of OpenAI's, without
//! compression.

use std::io::{self, Read, Write};
use std::time::Duration;

use serde_json::{Value, json};
use tungstenite::handshake::derive_accept_key;
use tungstenite::protocol::Role;
use tungstenite::{Message, WebSocket};

use super::answer::{Asked, Script, text_of, tokens};
use super::connection::digest;
use super::log::{ExchangeLog, Logged, MessageLog};
use crate::http1::{HttpError, Request, RequestHead, header, lists};

/// Whether a request opens a WebSocket that is served.
pub(super) fn is_asked_for(head: &RequestHead) -> bool {
    head.method == "GET"
        && matches!(path(head), "/v1/realtime" | "/v1/responses")
        && lists(&head.headers, "upgrade", "websocket")
        && header(&head.headers, "sec-websocket-key").is_some()
}

fn path(head: &RequestHead) -> &str {
    head.target.split('?').next().unwrap_or_default()
}

/// Serves the connection to its end. `ahead`: what was read of it behind the request.
pub(super) fn serve<S: Read + Write>(
    mut logged: Logged<S>,
    ahead: Vec<u8>,
    head: &RequestHead,
    exchange: ExchangeLog,
    pause: &dyn Fn(Duration) -> bool,
) -> Result<S, HttpError> {
    let key = header(&head.headers, "sec-websocket-key").unwrap_or_default();
    let opening = format!(
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\
        sec-websocket-accept: {}\r\n\r\n",
        derive_accept_key(key.as_bytes())
    )
    .into_bytes();
    let record = logged.record.clone();
    let number = record.begin(exchange);
    record.respond(&opening, &opening, &[], true);
    logged.stream.write_all(&opening)?;
    logged.stream.flush()?;

    let mut socket = WebSocket::from_partially_read(logged, ahead, Role::Server, None);
    let mut said = 0;
    let said_by_provider = |socket: &mut WebSocket<Logged<S>>, event: Value| {
        let text = event.to_string();
        record
            .message(number, MessageLog { received: false, text: true, payload: text.clone().into_bytes() });
        socket.send(Message::text(text))
    };
    let realtime = path(head) == "/v1/realtime";
    let mut served = || -> tungstenite::Result<()> {
        if realtime {
            said_by_provider(&mut socket, json!({ "type": "session.created", "event_id": "event_0" }))?;
        }
        loop {
            let message = socket.read()?;
            let (text, payload) = match message {
                Message::Text(text) => (true, text.as_bytes().to_vec()),
                Message::Binary(bytes) => (false, bytes.to_vec()),
                _ => continue,
            };
            record.message(number, MessageLog { received: true, text, payload: payload.clone() });
            let (delay, events) = events(head, &payload, said, realtime);
            said += 1;
            for event in events {
                if event["type"] == "response.output_text.delta" && !pause(delay) {
                    return Ok(());
                }
                said_by_provider(&mut socket, event)?;
            }
        }
    };
    match served() {
        Ok(()) | Err(tungstenite::Error::ConnectionClosed) => {}
        Err(tungstenite::Error::Io(error)) => return Err(error.into()),
        Err(error) => return Err(io::Error::other(error).into()),
    }
    Ok(socket.into_inner().stream)
}

/// What a message is answered with, and the time between the deltas.
fn events(head: &RequestHead, payload: &[u8], index: u64, realtime: bool) -> (Duration, Vec<Value>) {
    let error = |message: &str| {
        (
            Duration::ZERO,
            vec![
                json!({ "type": "error", "error": { "type": "invalid_request_error", "message": message } }),
            ],
        )
    };
    let Ok(asked) = serde_json::from_slice::<Value>(payload) else {
        return error("the message is not JSON");
    };
    match asked["type"].as_str() {
        Some("response.create") => response(head, &asked, payload, index, realtime),
        Some("session.update") => (
            Duration::ZERO,
            vec![
                json!({ "type": "session.updated", "event_id": format!("event_{index}"), "session": asked["session"] }),
            ],
        ),
        Some("conversation.item.create") => (
            Duration::ZERO,
            vec![json!({
                "type": "conversation.item.created", "event_id": format!("event_{index}"), "item": asked["item"],
            })],
        ),
        _ => error("no such type"),
    }
}

/// A response in Realtime's or Responses' form.
fn response(
    head: &RequestHead,
    event: &Value,
    payload: &[u8],
    index: u64,
    realtime: bool,
) -> (Duration, Vec<Value>) {
    let request = Request {
        method: head.method.clone(),
        target: head.target.clone(),
        headers: head.headers.clone(),
        body: payload.to_vec(),
    };
    let digest = digest(&request);
    let asked = Asked { request: &request, digest: &digest, index };
    // Responses takes the fields of a call beside the type, Realtime in an object of its own.
    let call = if event["response"].is_object() { &event["response"] } else { event };
    let in_target = head.target.split(['?', '&']).find_map(|parameter| parameter.strip_prefix("model="));
    let model = call["model"].as_str().or(in_target).unwrap_or("fake");
    let script = Script::of(&asked, model);
    let user = match &call["input"] {
        Value::Array(items) => items.iter().map(|item| text_of(&item["content"])).collect(),
        input => text_of(input),
    };
    let text = script.text(&asked, &user);
    let usage = json!({
        "input_tokens": tokens(&user), "output_tokens": tokens(&text),
        "total_tokens": tokens(&user) + tokens(&text),
    });
    let id = format!("resp_{}", asked.id("response", 32));
    let item = format!("msg_{}", asked.id("item", 32));
    let envelope = |status: &str| json!({ "id": id, "object": if realtime { "realtime.response" } else { "response" }, "status": status, "model": model, "output": [] });
    let mut events = vec![json!({ "type": "response.created", "response": envelope("in_progress") })];
    for piece in script.pieces(&text) {
        events.push(json!({
            "type": "response.output_text.delta", "item_id": item, "output_index": 0, "content_index": 0,
            "delta": piece,
        }));
    }
    events.push(json!({
        "type": "response.output_text.done", "item_id": item, "output_index": 0, "content_index": 0, "text": text,
    }));
    let mut whole = envelope("completed");
    whole["output"] = json!([{
        "id": item, "type": "message", "role": "assistant", "status": "completed",
        "content": [{ "type": "output_text", "text": text }],
    }]);
    whole["usage"] = usage;
    let last = if realtime { "response.done" } else { "response.completed" };
    events.push(json!({ "type": last, "response": whole }));
    for (number, event) in events.iter_mut().enumerate() {
        event[if realtime { "event_id" } else { "sequence_number" }] =
            if realtime { json!(format!("event_{index}_{number}")) } else { json!(number) };
    }
    (script.delay, events)
}

impl<S: Write> Write for Logged<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.record.sent(bytes);
        self.stream.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}
