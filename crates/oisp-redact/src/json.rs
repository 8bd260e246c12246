//! JSON values: what stands under `ext.oisp_sensor`, and contents that are not one string.

use serde_json::{Map, Value};

use crate::arguments::secret_after;
use crate::detect::{classify, is_secret_value};
use crate::redactor::{RedactionMode, Scrubber};

/// Keys under `ext.oisp_sensor`, at any depth, whose text `minimal` keeps (secrets in it are replaced all the
/// same). They name kinds, states and reasons; text under any other key may be content and is hidden.
pub const MINIMAL_EXTENSION_KEYS: &[&str] = &[
    "api",
    "api_format",
    "arch",
    "call_id_source",
    "capture",
    "code",
    "completeness",
    "connection_id",
    "content_encoding",
    "content_type",
    "cost_excludes",
    "cost_source",
    "currency",
    "detection",
    "direction",
    "encoding",
    "event",
    "finish_reason",
    "format",
    "http_version",
    "http_version",
    "kind",
    "level",
    "library",
    "loss",
    "media_type",
    "method",
    "mode",
    "object",
    "operation",
    "origin",
    "outcome",
    "price_model",
    "price_table",
    "protocol",
    "protocol_version",
    "provider_id",
    "reason",
    "reasons",
    "role",
    "roles",
    "runtime",
    "source",
    "state",
    "status",
    "synthetic",
    "transport",
    "type",
    "unit",
    "version",
];

/// Redacts every string of a map, keys too.
pub(crate) fn redact_map(map: &mut Map<String, Value>, scrub: &mut Scrubber<'_>) {
    let named = har_name(map);
    for (key, mut value) in std::mem::take(map) {
        let name = if key == "value" { named.as_deref().unwrap_or(&key) } else { &key };
        redact_named(name, &mut value, scrub);
        let mut key = key;
        redact_key(&mut key, scrub);
        map.insert(key, value);
    }
}

/// Redacts a value without a name: content in some other form than text.
pub(crate) fn redact_value(value: &mut Value, scrub: &mut Scrubber<'_>) {
    redact_named("", value, scrub);
}

/// The name in `{"name": "Cookie", "value": "…"}`.
fn har_name(map: &Map<String, Value>) -> Option<String> {
    let name = map.get("name").or_else(|| map.get("key"))?.as_str()?;
    classify(name).map(|_| name.to_owned())
}

fn redact_named(name: &str, value: &mut Value, scrub: &mut Scrubber<'_>) {
    match value {
        Value::Null | Value::Bool(_) => {}
        Value::Number(number) => {
            // A password of digits.
            if scrub.mode() != RedactionMode::Full
                && let Some(label) = secret_under(name, &number.to_string())
            {
                *value = Value::String(scrub.whole(label, &number.to_string()));
            }
        }
        Value::String(text) => redact_string(name, text, scrub),
        Value::Array(items) => {
            for index in 0..items.len() {
                let (before, rest) = items.split_at_mut(index);
                let previous = before.last().and_then(Value::as_str);
                let Some(item) = rest.first_mut() else { continue };
                match (previous, item) {
                    // ["authorization", "Bearer …"]
                    (Some(header), item) if index == 1 && classify(header).is_some() => {
                        redact_named(header, item, scrub);
                    }
                    (flag, item) => match (flag, &*item) {
                        (Some(flag), Value::String(argument)) => {
                            match secret_after(flag, argument, scrub.mode()) {
                                Some(label) => *item = Value::String(scrub.whole(label, argument)),
                                None => redact_named(name, item, scrub),
                            }
                        }
                        _ => redact_named(name, item, scrub),
                    },
                }
            }
        }
        Value::Object(map) => redact_map(map, scrub),
    }
}

fn redact_string(name: &str, text: &mut String, scrub: &mut Scrubber<'_>) {
    if let Some(label) = secret_under(name, text)
        && (scrub.mode() != RedactionMode::Full || is_header(label))
    {
        *text = scrub.whole(label, text);
    } else if scrub.hides_content() && !MINIMAL_EXTENSION_KEYS.contains(&name) && !is_marker(text) {
        *text = scrub.hidden_marker(text);
    } else {
        scrub.label(text);
    }
}

fn redact_key(key: &mut String, scrub: &mut Scrubber<'_>) {
    let ordinary = key.len() <= 40
        && key.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
    if scrub.hides_content() && !ordinary && !is_marker(key) {
        *key = scrub.hidden_marker(key);
    } else {
        scrub.label(key);
    }
}

fn secret_under(name: &str, value: &str) -> Option<&'static str> {
    let secret = classify(name)?;
    is_secret_value(value, secret.kind, true).then_some(secret.label)
}

fn is_header(label: &str) -> bool {
    matches!(label, "authorization_header" | "cookie" | "api_key_header")
}

fn is_marker(text: &str) -> bool {
    text.starts_with("[REDACTED:") && crate::detect::is_placeholder(text)
}
