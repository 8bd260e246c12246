//! Vectors that an embedding gave: how many, how long. Their numbers are looked at no further.

use serde_json::Value;

use crate::call::Embedding;
use crate::thin;

/// Measures a list of vectors; each is a list of numbers, base64 of 32-bit floats, or an object that
/// holds one of those.
pub(super) fn measure(vectors: &[Value]) -> Embedding {
    let mut lengths = vectors.iter().map(dimensions);
    let first = lengths.next().flatten();
    Embedding {
        count: vectors.len() as u64,
        dimensions: first.filter(|first| lengths.all(|length| length == Some(*first))),
    }
}

/// The numbers in one vector.
fn dimensions(vector: &Value) -> Option<u64> {
    let base64_floats = || {
        let length = thin::base64_length(vector)?;
        let bytes = length / 4 * 3 + (length % 4).saturating_sub(1);
        (bytes > 0 && bytes.is_multiple_of(4)).then_some(bytes / 4)
    };
    thin::number_count(vector).or_else(base64_floats).or_else(|| match vector {
        Value::Object(map) => {
            ["embedding", "float", "values", "base64"].iter().find_map(|key| dimensions(map.get(*key)?))
        }
        // One vector in a list of its own.
        Value::Array(list) if list.len() == 1 => dimensions(&list[0]),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn vectors_are_counted_in_every_shape_and_unequal_lengths_give_none() {
        for (vectors, count, dimensions) in [
            (json!([{ "embedding": [0.5, -1, 2] }, { "embedding": [1, 2, 3] }]), 2, Some(3)),
            (json!([[1, 2], [1, 2, 3]]), 2, None),
            (json!([{ "embedding": "AACAPwAAAEA=" }]), 1, Some(2)),
            (json!([{ "embedding": "not four" }]), 1, None),
            (json!([{ "embedding": [[1, 2, 3, 4]] }]), 1, Some(4)),
            (json!([]), 0, None),
        ] {
            let measured = measure(vectors.as_array().unwrap());
            assert_eq!(measured, Embedding { count, dimensions }, "{vectors}");
        }
    }
}
