//! What kind of JSON-RPC 2.0 message a line or a body is, and whose answer. Parameters and results
//! are passed over.

use std::borrow::Cow;
use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// A message by its kind.
#[derive(Clone, PartialEq, Eq)]
pub enum JsonRpcMessage {
    /// Asks for an answer.
    Request {
        /// What the answer will carry.
        id: JsonRpcId,
        /// The method called.
        method: String,
    },
    /// Asks for none.
    Notification {
        /// The method called.
        method: String,
    },
    /// An answer.
    Response {
        /// That of the request; `None` if the answering side could not read it.
        id: Option<JsonRpcId>,
        /// It carries an error instead of a result.
        is_error: bool,
    },
    /// Several in an array (in MCP only in the revision of 2025-03-26).
    Batch(Vec<JsonRpcMessage>),
    /// Anything else: no JSON, not this protocol, or a message that breaks its rules.
    Other,
}

/// Ties an answer to its request within one direction of one connection.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum JsonRpcId {
    /// A number, as serde_json writes it.
    Number(String),
    /// A string.
    Text(String),
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    jsonrpc: Option<Cow<'a, str>>,
    #[serde(default, deserialize_with = "present")]
    id: Option<Value>,
    #[serde(borrow)]
    method: Option<Cow<'a, str>>,
    #[serde(default, deserialize_with = "present")]
    result: Option<IgnoredAny>,
    #[serde(default, deserialize_with = "present")]
    error: Option<IgnoredAny>,
}

/// An envelope that is an object: serde takes an array as well, for the fields in their order.
struct Object<'a>(Envelope<'a>);

impl<'de: 'a, 'a> Deserialize<'de> for Object<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Object<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<Self::Value, A::Error> {
                Envelope::deserialize(MapAccessDeserializer::new(fields)).map(Object)
            }
        }
        from.deserialize_map(Fields)
    }
}

/// Tells a field with the value null from one that is not there.
fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Option<T>, D::Error> {
    T::deserialize(from).map(Some)
}

impl JsonRpcMessage {
    /// Reads one message, or a batch.
    pub fn parse(json: &[u8]) -> Self {
        if json.trim_ascii_start().first() != Some(&b'[') {
            return serde_json::from_slice(json).map_or(Self::Other, Self::of);
        }
        match serde_json::from_slice::<Vec<Object<'_>>>(json) {
            Ok(objects) if !objects.is_empty() => {
                Self::Batch(objects.into_iter().map(|Object(envelope)| Self::of(envelope)).collect())
            }
            _ => Self::Other,
        }
    }

    fn of(envelope: Envelope<'_>) -> Self {
        if envelope.jsonrpc.as_deref() != Some("2.0") {
            return Self::Other;
        }
        let has_id = envelope.id.is_some();
        let id = match envelope.id {
            Some(Value::Number(number)) => Some(JsonRpcId::Number(number.to_string())),
            Some(Value::String(text)) => Some(JsonRpcId::Text(text)),
            None | Some(Value::Null) => None,
            Some(_) => return Self::Other,
        };
        match (envelope.method, id, envelope.result, envelope.error) {
            (Some(method), Some(id), None, None) => Self::Request { id, method: method.into_owned() },
            (Some(method), None, None, None) if !has_id => Self::Notification { method: method.into_owned() },
            (None, id @ Some(_), Some(_), None) => Self::Response { id, is_error: false },
            (None, id, None, Some(_)) => Self::Response { id, is_error: true },
            _ => Self::Other,
        }
    }
}

// Ids and methods are captured content: kinds only.
impl fmt::Debug for JsonRpcMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Request { method, .. } => write!(f, "Request({} bytes of method)", method.len()),
            Self::Notification { method } => write!(f, "Notification({} bytes of method)", method.len()),
            Self::Response { id, is_error } => {
                write!(f, "Response(with id: {}, error: {is_error})", id.is_some())
            }
            Self::Batch(messages) => f.debug_tuple("Batch").field(messages).finish(),
            Self::Other => f.write_str("Other"),
        }
    }
}

impl fmt::Debug for JsonRpcId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(digits) => write!(f, "Number({} bytes)", digits.len()),
            Self::Text(text) => write!(f, "Text({} bytes)", text.len()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(id: JsonRpcId) -> JsonRpcMessage {
        JsonRpcMessage::Request { id, method: "tools/call".into() }
    }

    #[test]
    fn messages_are_told_apart_by_what_they_carry() {
        let number = || JsonRpcId::Number("7".into());
        let text = || JsonRpcId::Text("a\u{e9}".into());
        let notification = || JsonRpcMessage::Notification { method: "n".into() };
        let response = |id, is_error| JsonRpcMessage::Response { id, is_error };
        let cases = [
            (r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"id":9}}"#, request(number())),
            (r#" {"method":"tools\/call","id":"a\u00e9","jsonrpc":"2.0"} "#, request(text())),
            (r#"{"jsonrpc":"2.0","method":"n"}"#, notification()),
            (r#"{"jsonrpc":"2.0","id":7,"result":null}"#, response(Some(number()), false)),
            (r#"{"jsonrpc":"2.0","id":7,"error":{"code":-1}}"#, response(Some(number()), true)),
            (r#"{"jsonrpc":"2.0","id":null,"error":{}}"#, response(None, true)),
            (
                r#"[{"jsonrpc":"2.0","method":"n"},{"id":1}]"#,
                JsonRpcMessage::Batch(vec![notification(), JsonRpcMessage::Other]),
            ),
        ];
        for (json, expected) in cases {
            assert!(JsonRpcMessage::parse(json.as_bytes()) == expected, "{json}");
        }
    }

    #[test]
    fn what_breaks_the_rules_is_no_message() {
        let deep = "[".repeat(100_000);
        let deep_id = format!(r#"{{"jsonrpc":"2.0","method":"n","id":{deep}"#);
        for json in [
            "",
            "null",
            "[]",
            "[1]",
            r#"["2.0",7,"m"]"#,
            // Not the fields of an object in their order.
            r#"[["2.0",7,"m"]]"#,
            r#"{"jsonrpc":"1.0","id":7,"method":"m"}"#,
            r#"{"id":7,"method":"m"}"#,
            r#"{"jsonrpc":"2.0","id":null,"method":"m"}"#,
            r#"{"jsonrpc":"2.0","id":[],"method":"m"}"#,
            r#"{"jsonrpc":"2.0","id":7,"method":7}"#,
            r#"{"jsonrpc":"2.0","id":7,"method":"m","result":1}"#,
            r#"{"jsonrpc":"2.0","id":7,"result":1,"error":1}"#,
            r#"{"jsonrpc":"2.0","id":7}"#,
            r#"{"jsonrpc":"2.0","result":1}"#,
            r#"{"jsonrpc":"2.0","method":"m"} x"#,
            r#"{"jsonrpc":"2.0","method":"m""#,
            &deep,
            &deep_id,
        ] {
            assert!(JsonRpcMessage::parse(json.as_bytes()) == JsonRpcMessage::Other, "{:.60}", json);
        }
    }
}
