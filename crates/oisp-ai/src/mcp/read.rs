//! JSON-RPC messages out of a text, and which of them are MCP's.

use oisp_decode::JsonRpcId;
use serde_json::{Map, Value};

use super::McpBody;
use crate::json;

/// Messages of one batch that are read.
const MOST_OF_A_BATCH: usize = 256;
/// Longer ids and methods are none.
const LONGEST_NAME: usize = 256;

/// Methods that no other JSON-RPC protocol is known to have, of all revisions. `ping`, `initialize`, `tasks/*` and what is
/// not listed say nothing by themselves: the Language Server Protocol initialises too, and A2A has tasks.
const METHODS: &[&str] = &[
    "completion/complete",
    "elicitation/create",
    "logging/setLevel",
    "notifications/cancelled",
    "notifications/elicitation/complete",
    "notifications/initialized",
    "notifications/message",
    "notifications/progress",
    "notifications/prompts/list_changed",
    "notifications/resources/list_changed",
    "notifications/resources/updated",
    "notifications/roots/list_changed",
    "notifications/subscriptions/acknowledged",
    "notifications/tasks/status",
    "notifications/tools/list_changed",
    "prompts/get",
    "prompts/list",
    "resources/list",
    "resources/read",
    "resources/subscribe",
    "resources/templates/list",
    "resources/unsubscribe",
    "roots/list",
    "sampling/createMessage",
    "server/discover",
    "subscriptions/listen",
    "tools/call",
    "tools/list",
];

/// Those that the side of the tools asks the other.
const OF_SERVER: &[&str] = &["elicitation/create", "roots/list", "sampling/createMessage"];

/// What a text is.
#[derive(Debug, PartialEq)]
pub(crate) enum Text {
    /// Messages, those left out of an absurd batch not counted.
    Messages(Vec<McpBody>),
    /// Larger than is read.
    TooLarge,
    /// Not JSON, or not JSON-RPC 2.0.
    Other,
}

/// Reads a message or a batch of them. `allowance` bounds the memory of what is read.
pub(crate) fn messages(text: &[u8], allowance: usize) -> Text {
    let parsed = match json::parse(text, allowance) {
        Ok(parsed) => parsed.value,
        Err(json::ParseFailure::TooLarge) => return Text::TooLarge,
        Err(json::ParseFailure::Invalid) => return Text::Other,
    };
    let all: Option<Vec<McpBody>> = match parsed {
        Value::Array(items) if !items.is_empty() => {
            items.into_iter().take(MOST_OF_A_BATCH).map(message).collect()
        }
        one => message(one).map(|message| vec![message]),
    };
    all.map_or(Text::Other, Text::Messages)
}

fn message(value: Value) -> Option<McpBody> {
    let Value::Object(mut map) = value else { return None };
    if map.get("jsonrpc").and_then(Value::as_str) != Some("2.0") {
        return None;
    }
    let id = match map.remove("id") {
        None | Some(Value::Null) => None,
        Some(Value::Number(number)) => Some(JsonRpcId::Number(number.to_string())),
        Some(Value::String(text)) if text.len() <= LONGEST_NAME => Some(JsonRpcId::Text(text)),
        Some(_) => return None,
    };
    if let Some(method) = json::take_text(&mut map, "method") {
        if method.len() > LONGEST_NAME {
            return None;
        }
        let params = map.remove("params").unwrap_or_default();
        return Some(match id {
            Some(id) => McpBody::Request { id, method, params },
            None => McpBody::Notification { method, params },
        });
    }
    let outcome = response(&mut map)?;
    Some(McpBody::Response { id, outcome })
}

fn response(map: &mut Map<String, Value>) -> Option<Result<Value, Value>> {
    match (map.remove("result"), map.remove("error")) {
        (Some(result), None) => Some(Ok(result)),
        (None, Some(error)) => Some(Err(error)),
        _ => None,
    }
}

/// Whether a message is one of MCP's and of no other protocol.
pub(crate) fn is_distinctive(body: &McpBody) -> bool {
    match body {
        McpBody::Request { method, params, .. } if method == "initialize" => {
            // A date, where the Agent Client Protocol has a number and the Language Server Protocol nothing.
            json::text(params, "protocolVersion").is_some_and(is_version)
        }
        McpBody::Request { method, .. } | McpBody::Notification { method, .. } => {
            METHODS.contains(&method.as_str())
        }
        _ => false,
    }
}

/// Whether the client sends such a message; `None` where either side may.
pub(crate) fn is_of_client(body: &McpBody) -> Option<bool> {
    match body {
        McpBody::Request { method, .. } if OF_SERVER.contains(&method.as_str()) => Some(false),
        McpBody::Request { method, .. } if method == "initialize" || METHODS.contains(&method.as_str()) => {
            Some(true)
        }
        McpBody::Notification { method, .. } if method == "notifications/initialized" => Some(true),
        _ => None,
    }
}

/// A method's name, if it is one of MCP's: others may be anything.
pub(crate) fn known_method(method: &str) -> Option<&'static str> {
    const FURTHER: &[&str] =
        &["initialize", "ping", "tasks/cancel", "tasks/get", "tasks/list", "tasks/result", "tasks/update"];
    METHODS.iter().chain(FURTHER).find(|known| **known == method).copied()
}

/// Whether a text is a version of the protocol: a date, for drafts with something before it.
pub(crate) fn is_version(text: &str) -> bool {
    let date = text.get(text.len().saturating_sub(10)..).unwrap_or_default();
    text.len() <= 32
        && date.len() == 10
        && date.bytes().enumerate().all(|(index, byte)| match index {
            4 | 7 => byte == b'-',
            _ => byte.is_ascii_digit(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> McpBody {
        let Text::Messages(mut messages) = messages(text.as_bytes(), 10_000) else { panic!("{text}") };
        assert_eq!(messages.len(), 1);
        messages.remove(0)
    }

    #[test]
    fn only_what_is_mcps_alone_is_taken_for_it() {
        for (text, expected) in [
            (
                r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18"}}"#,
                true,
            ),
            (r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#, true),
            (r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#, true),
            // The Language Server Protocol, the Agent Client Protocol, A2A, Ethereum.
            (
                r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"processId":1,"capabilities":{}}}"#,
                false,
            ),
            (r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":1}}"#, false),
            (r#"{"jsonrpc":"2.0","method":"initialized","params":{}}"#, false),
            (r#"{"jsonrpc":"2.0","id":1,"method":"tasks/get","params":{"id":"x"}}"#, false),
            (r#"{"jsonrpc":"2.0","id":1,"method":"eth_blockNumber","params":[]}"#, false),
            (r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#, false),
            (r#"{"jsonrpc":"2.0","id":1,"result":{"tools":[]}}"#, false),
        ] {
            assert_eq!(is_distinctive(&one(text)), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_json_rpc_is_none() {
        for text in
            ["", "{}", "[]", "[1]", r#"{"jsonrpc":"1.0","id":1,"method":"m"}"#, r#"{"jsonrpc":"2.0","id":1}"#]
        {
            assert_eq!(messages(text.as_bytes(), 10_000), Text::Other, "{text}");
        }
        assert_eq!(messages(br#"{"jsonrpc":"2.0","id":1,"result":[[],[],[]]}"#, 20), Text::TooLarge);
    }

    #[test]
    fn versions_are_dates() {
        for (text, expected) in [
            ("2025-11-25", true),
            ("DRAFT-2026-v1", false),
            ("DRAFT-2026-07-28", true),
            ("1", false),
            ("", false),
            ("\u{e9}025-11-25", false),
        ] {
            assert_eq!(is_version(text), expected, "{text}");
        }
    }
}
