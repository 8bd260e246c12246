//! Arguments of a tool call that come piece by piece, each for a place named by a JSON path.

use serde_json::{Map, Value};

use crate::json::text;

/// Adds a piece (`{"jsonPath": "$.a.b[0]", "stringValue": "…", "willContinue": true}`). Says whether it could be placed.
///
/// A text for a place that holds text continues it.
pub(super) fn add(arguments: &mut Value, piece: &Value) -> bool {
    let path = ["jsonPath", "json_path"].iter().find_map(|key| text(piece, key)).unwrap_or_default();
    let Some(value) = value(piece) else { return false };
    let Some(steps) = steps(path) else { return false };
    let Some(place) = place(arguments, &steps) else { return false };
    match (place, value) {
        (Value::String(known), Value::String(more)) => known.push_str(&more),
        (place, value) => *place = value,
    }
    true
}

/// The value that a piece brings; `None` if it is of no known kind.
fn value(piece: &Value) -> Option<Value> {
    const KINDS: [&str; 6] =
        ["stringValue", "string_value", "numberValue", "number_value", "boolValue", "bool_value"];
    if let Some(value) = KINDS.iter().find_map(|key| piece.get(key)) {
        return Some(value.clone());
    }
    ["nullValue", "null_value"].iter().any(|key| piece.get(key).is_some()).then_some(Value::Null)
}

enum Step<'a> {
    Key(&'a str),
    Index(usize),
}

/// Deeper than this nothing is placed, and no list grows longer: a path of a few bytes must not take megabytes.
const DEEPEST: usize = 64;
const LONGEST: usize = 4096;

/// The steps of `$.a['b'][0]`.
fn steps(path: &str) -> Option<Vec<Step<'_>>> {
    let mut rest = path.strip_prefix('$')?;
    let mut steps = Vec::new();
    while !rest.is_empty() {
        if steps.len() == DEEPEST {
            return None;
        }
        if let Some(after) = rest.strip_prefix('.') {
            let end = after.find(['.', '[']).unwrap_or(after.len());
            if end == 0 {
                return None;
            }
            steps.push(Step::Key(&after[..end]));
            rest = &after[end..];
            continue;
        }
        let after = rest.strip_prefix('[')?;
        let quote = after.chars().next().filter(|first| matches!(first, '\'' | '"'));
        if let Some(quote) = quote {
            let (key, tail) = after[1..].split_once(quote)?;
            steps.push(Step::Key(key));
            rest = tail.strip_prefix(']')?;
        } else {
            let (index, tail) = after.split_once(']')?;
            steps.push(Step::Index(index.parse().ok().filter(|index| *index < LONGEST)?));
            rest = tail;
        }
    }
    Some(steps)
}

/// The place at the end of the steps, made where it is not there yet; `None` where something else stands in the way.
fn place<'a>(root: &'a mut Value, steps: &[Step<'_>]) -> Option<&'a mut Value> {
    let mut place = root;
    for step in steps {
        place = match step {
            Step::Key(key) => {
                if place.is_null() {
                    *place = Value::Object(Map::new());
                }
                place.as_object_mut()?.entry(*key).or_insert(Value::Null)
            }
            Step::Index(index) => {
                if place.is_null() {
                    *place = Value::Array(Vec::new());
                }
                let list = place.as_array_mut()?;
                // Elements come in their order: a place further off is no place in this list.
                if *index > list.len() {
                    return None;
                }
                if *index == list.len() {
                    list.push(Value::Null);
                }
                list.get_mut(*index)?
            }
        };
    }
    Some(place)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn pieces_are_put_in_their_places_and_texts_are_continued() {
        let mut arguments = Value::Null;
        for piece in [
            json!({ "jsonPath": "$.city", "stringValue": "New ", "willContinue": true }),
            json!({ "jsonPath": "$.city", "stringValue": "York" }),
            json!({ "jsonPath": "$.days[0]", "numberValue": 1 }),
            json!({ "jsonPath": "$.days[1]", "numberValue": 2.5 }),
            json!({ "json_path": "$['a key'].deep", "bool_value": true }),
            json!({ "jsonPath": "$.nothing", "nullValue": "NULL_VALUE" }),
        ] {
            assert!(add(&mut arguments, &piece), "{piece}");
        }
        assert_eq!(
            arguments,
            json!({ "city": "New York", "days": [1, 2.5], "a key": { "deep": true }, "nothing": null })
        );
    }

    #[test]
    fn a_piece_that_has_no_place_is_refused_and_changes_nothing_much() {
        let mut arguments = json!({ "a": "text" });
        for path in ["", "a", "$.", "$.a.b", "$.list[9]", "$.list[99999999]", "$[", "$['x", "$.a[0]"] {
            assert!(!add(&mut arguments, &json!({ "jsonPath": path, "stringValue": "x" })), "{path}");
        }
        assert!(!add(&mut arguments, &json!({ "jsonPath": "$.b" })));
        assert_eq!(arguments["a"], "text");
        let deep = format!("${}", "[0]".repeat(100_000));
        assert!(!add(&mut arguments, &json!({ "jsonPath": deep, "stringValue": "x" })));
    }
}
