//! Reading of small texts of a known shape without building values.
//!
//! What is read so must come out as it would from [`json::parse_text`](crate::json::parse_text) and a look at the
//! values. Where a text has another shape, an unknown field, a field twice or is no JSON, reading fails, and the
//! caller takes that other way.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

/// More than a byte of text costs of the allowance of a parsed text, whatever it says: `{"":` repeated costs the
/// most, 704 for 5 bytes.
const BYTE_COST: usize = 256;

/// Whether a text is so small that parsing it can never take more than the allowance.
pub(crate) fn is_small(text: &str, allowance: usize) -> bool {
    text.len().checked_mul(BYTE_COST).is_some_and(|cost| cost <= allowance)
}

/// Reads a small text of a known shape; `None` if it has another.
pub(crate) fn read<'de, T: Deserialize<'de>>(text: &'de str) -> Option<T> {
    serde_json::from_str(text).ok()
}

/// A text, borrowed where nothing in it is escaped. (`Option<Cow<str>>` itself never borrows.)
#[derive(serde::Deserialize)]
#[serde(transparent)]
pub(crate) struct Text<'a>(#[serde(borrow)] pub(crate) Cow<'a, str>);

/// An object. What `serde` derives for a struct takes an array as well.
pub(crate) struct Object<T>(pub(crate) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Fields<T> {
            type Value = T;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, access: A) -> Result<T, A::Error> {
                T::deserialize(MapAccessDeserializer::new(access))
            }
        }

        deserializer.deserialize_map(Fields(PhantomData)).map(Object)
    }
}

/// Any value, read as strictly as if it were needed and then left out. (`serde`'s `IgnoredAny` takes what is no
/// value: numbers out of range, half of an escaped character, any depth.)
#[derive(Default)]
pub(crate) struct Skipped;

impl<'de> Deserialize<'de> for Skipped {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for Skipped {
    type Value = Self;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Self, A::Error> {
        while access.next_element::<Self>()?.is_some() {}
        Ok(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Self, A::Error> {
        while access.next_entry::<Text<'de>, Self>()?.is_some() {}
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::json;

    const ALLOWANCE: usize = 10_000_000;

    #[test]
    fn what_is_skipped_is_read_as_strictly_as_what_is_kept() {
        for text in [
            "1e400",
            "-1e400",
            "\"\\ud800\"",
            "\"\\ud83d\\ude00\"",
            "\"\u{1}\"",
            "{\"a\":1,\"a\":[null,true,-2,2.5]}",
            "{\"\\ud800\":1}",
            "{1:2}",
            "[1,]",
            "{} x",
            "",
        ] {
            let kept = json::parse_text(text, ALLOWANCE).is_ok();
            assert_eq!(read::<Skipped>(text).is_some(), kept, "{text}");
        }
        for depth in [126, 127, 128, 129, 50_000] {
            let text = ["[".repeat(depth), "]".repeat(depth)].concat();
            let kept = json::parse_text(&text, usize::MAX).is_ok();
            assert_eq!(read::<Skipped>(&text).is_some(), kept, "{depth}");
        }
    }

    #[test]
    fn an_array_is_no_object() {
        #[derive(serde::Deserialize)]
        struct Fields {
            a: u64,
        }
        assert_eq!(read::<Object<Fields>>("{\"a\":1}").map(|object| object.0.a), Some(1));
        assert!(read::<Object<Fields>>("[1]").is_none());
    }

    #[test]
    fn a_text_without_escapes_is_borrowed() {
        let borrowed =
            |text| read::<Option<Text<'_>>>(text).flatten().map(|text| matches!(text.0, Cow::Borrowed(_)));
        assert_eq!(borrowed("\"a\""), Some(true));
        assert_eq!(borrowed("\"\\n\""), Some(false));
        assert_eq!(borrowed("null"), None);
    }

    proptest! {
        #[test]
        fn what_is_small_enough_is_never_too_large_to_be_parsed(
            parts in proptest::collection::vec(
                prop::sample::select(vec!["{\"\":", "[{\"\":0},", "{}", "0,", "]", "}", "[", "\"a\":0,", "0"]), 0..40),
        ) {
            let text = parts.concat();
            let allowance = text.len() * BYTE_COST;
            prop_assert!(is_small(&text, allowance) && (text.is_empty() || !is_small(&text, allowance - 1)));
            let parsed = json::parse_text(&text, allowance);
            prop_assert_ne!(parsed.err(), Some(json::ParseFailure::TooLarge));
        }
    }
}
