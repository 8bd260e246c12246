//! JSON values within a memory bound, and reading fields out of them.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// A parsed text.
#[derive(Debug)]
pub(crate) struct Parsed {
    pub(crate) value: Value,
    /// Whether bytes that are not UTF-8 were replaced by U+FFFD.
    pub(crate) lossy: bool,
}

/// Why a text was not parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ParseFailure {
    /// Not JSON, or nested deeper than 128 levels.
    Invalid,
    /// Its values would take more memory than allowed.
    TooLarge,
}

/// Parses a whole text. `allowance` bounds the estimated memory of the result in bytes.
pub(crate) fn parse(bytes: &[u8], allowance: usize) -> Result<Parsed, ParseFailure> {
    // Outside of texts JSON is ASCII, and texts are checked as they are read: a pass of its own over a large body
    // is needed only where this fails.
    match parse_with(serde_json::Deserializer::from_slice(bytes), allowance) {
        Err(ParseFailure::Invalid) => match String::from_utf8_lossy(bytes) {
            Cow::Borrowed(_) => Err(ParseFailure::Invalid),
            Cow::Owned(text) => parse_text(&text, allowance).map(|value| Parsed { value, lossy: true }),
        },
        parsed => parsed.map(|value| Parsed { value, lossy: false }),
    }
}

/// As [`parse`], of text.
pub(crate) fn parse_text(text: &str, allowance: usize) -> Result<Value, ParseFailure> {
    parse_with(serde_json::Deserializer::from_str(text), allowance)
}

fn parse_with<'de, R: serde_json::de::Read<'de>>(
    mut deserializer: serde_json::Deserializer<R>,
    allowance: usize,
) -> Result<Value, ParseFailure> {
    let budget = Cell::new(Some(allowance));
    let failure = |_| if budget.get().is_none() { ParseFailure::TooLarge } else { ParseFailure::Invalid };
    let value = BoundedValue(&budget).deserialize(&mut deserializer).map_err(failure)?;
    deserializer.end().map_err(|_| ParseFailure::Invalid)?;
    Ok(value)
}

/// Builds a [`Value`] as long as the budget lasts; `None` in it means that it did not.
#[derive(Clone, Copy)]
struct BoundedValue<'a>(&'a Cell<Option<usize>>);

/// A B-tree leaf of `serde_json::Map` has room for 11 entries of key and value from the start.
const OBJECT_COST: usize = 640;
const ENTRY_COST: usize = 64;
const ELEMENT_COST: usize = 2 * size_of::<Value>();

impl BoundedValue<'_> {
    fn charge<E: serde::de::Error>(self, cost: usize) -> Result<(), E> {
        let left = self.0.get().and_then(|budget| budget.checked_sub(cost));
        self.0.set(left);
        if left.is_some() { Ok(()) } else { Err(E::custom("JSON larger than allowed")) }
    }
}

impl<'de> DeserializeSeed<'de> for BoundedValue<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for BoundedValue<'_> {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<Value, E> {
        self.charge(value.len())?;
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E: serde::de::Error>(self, value: String) -> Result<Value, E> {
        self.charge(value.len())?;
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut elements = Vec::new();
        while let Some(element) = access.next_element_seed(self)? {
            self.charge::<A::Error>(ELEMENT_COST)?;
            elements.push(element);
        }
        Ok(Value::Array(elements))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        let mut first = true;
        while let Some(key) = access.next_key::<String>()? {
            self.charge::<A::Error>(key.len() + ENTRY_COST + if first { OBJECT_COST } else { 0 })?;
            first = false;
            map.insert(key, access.next_value_seed(self)?);
        }
        Ok(Value::Object(map))
    }
}

/// The field as text, if it is text.
pub(crate) fn text<'a>(value: &'a Value, key: &str) -> Option<&'a str> {
    value.get(key)?.as_str()
}

/// The field as non-empty text, owned.
pub(crate) fn owned_text(value: &Value, key: &str) -> Option<String> {
    text(value, key).filter(|text| !text.is_empty()).map(str::to_owned)
}

/// Takes the field's text out of an object.
pub(crate) fn take_text(map: &mut Map<String, Value>, key: &str) -> Option<String> {
    match map.get_mut(key).map(Value::take) {
        Some(Value::String(text)) => Some(text),
        _ => None,
    }
}

/// Takes the field's array out of an object.
pub(crate) fn take_array(map: &mut Map<String, Value>, key: &str) -> Option<Vec<Value>> {
    match map.get_mut(key).map(Value::take) {
        Some(Value::Array(elements)) => Some(elements),
        _ => None,
    }
}

/// Takes an object out of a value; anything else gives an empty one.
pub(crate) fn into_object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

/// A count: a whole number, also one written with a fraction of zero.
pub(crate) fn count(value: &Value, key: &str) -> Option<u64> {
    let value = value.get(key)?;
    value.as_u64().or_else(|| {
        let float = value.as_f64()?;
        // Above 2^53 not every whole number is a float, so such a float is no exact count.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "range checked")]
        let whole =
            (float.fract() == 0.0 && (0.0..9_007_199_254_740_992.0).contains(&float)).then_some(float as u64);
        whole
    })
}

/// A text as it is; anything else but null as its JSON.
pub(crate) fn as_text(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

/// As [`as_text`], without a copy of a text.
pub(crate) fn into_text(value: Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text),
        other => Some(other.to_string()),
    }
}

/// A URL without query, fragment and user information: those may hold credentials.
pub(crate) fn bare_url(url: &str) -> String {
    let url = &url[..url.find(['?', '#']).unwrap_or(url.len())];
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    format!("{scheme}://{host}{path}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn equals_what_serde_json_reads() {
        for text in
            [r#"{"a":[1,-2,3.5,null,true,"x\n\u00e9"],"b":{}}"#, "[]", "18446744073709551615", "\"\"", "1e3"]
        {
            let expected: Value = serde_json::from_str(text).unwrap();
            assert_eq!(parse(text.as_bytes(), 10_000).unwrap().value, expected);
        }
    }

    #[test]
    fn many_small_values_stop_at_the_allowance_and_not_at_the_length_of_their_text() {
        let text = format!("[{}{{}}]", "{\"\":0},".repeat(1000));
        assert_eq!(parse(text.as_bytes(), 100_000).unwrap_err(), ParseFailure::TooLarge);
        assert!(parse(text.as_bytes(), 1_000_000).is_ok());
    }

    #[test]
    fn invalid_utf8_is_replaced_and_said() {
        let parsed = parse(b"{\"a\":\"x\xffy\"}", 10_000).unwrap();
        assert!(parsed.lossy);
        assert_eq!(parsed.value, json!({"a": "x\u{fffd}y"}));
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_give_what_their_text_with_replacements_gives(
            pieces in proptest::collection::vec(
                proptest::sample::select(vec![
                    &b"{\"a\":\"\xff\"}"[..], b"{\"a\":\"", b"\xff", b"\xc3\xa9", b"\xc3", b"\\n", b"\"", b"}", b" ",
                ]),
                0..12,
            ),
            allowance in 0_usize..1000,
        ) {
            let bytes = pieces.concat();
            let text = String::from_utf8_lossy(&bytes);
            let expected = parse_text(&text, allowance).map(|value| (value, matches!(text, Cow::Owned(_))));
            let parsed = parse(&bytes, allowance).map(|parsed| (parsed.value, parsed.lossy));
            proptest::prop_assert_eq!(parsed, expected);
        }
    }

    #[test]
    fn trailing_garbage_and_deep_nesting_are_invalid() {
        assert_eq!(parse(b"{} x", 10_000).unwrap_err(), ParseFailure::Invalid);
        assert_eq!(parse("[".repeat(100_000).as_bytes(), 10_000_000).unwrap_err(), ParseFailure::Invalid);
    }

    #[test]
    fn bare_url_has_no_query_fragment_or_user() {
        assert_eq!(bare_url("https://u:p@h/x?key=1#f"), "https://h/x");
        assert_eq!(bare_url("/v1/x?key=1"), "/v1/x");
        assert_eq!(bare_url("http://h@k"), "http://k");
    }

    #[test]
    fn counts_are_whole_and_not_negative() {
        let value = json!({"a": 3, "b": 3.0, "c": 3.5, "d": -1, "e": "3", "f": null, "g": 1e300});
        let counts: Vec<_> = "abcdefg".chars().map(|key| count(&value, &key.to_string())).collect();
        assert_eq!(counts, [Some(3), Some(3), None, None, None, None, None]);
    }
}
