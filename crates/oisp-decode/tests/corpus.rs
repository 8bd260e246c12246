//! Recorded bodies of real services, cut in pieces, give what a reading of the whole body gives.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use base64::Engine as _;
use oisp_decode::{ContentDecoder, EventMessageType, EventStreamParser, JsonArraySplitter, Limits};
use serde_json::Value;

/// A recorded response body, its content encoding undone, and its content type.
struct Body {
    id: String,
    content_type: String,
    bytes: Vec<u8>,
}

/// Pieces of these sizes, which meet the borders of every small structure.
const PIECES: [usize; 4] = [1, 7, 1000, usize::MAX];

fn bodies() -> Option<Vec<Body>> {
    let Some(folder) = std::env::var_os("OISP_CORPUS") else {
        assert!(std::env::var_os("OISP_REQUIRE_ALL").is_none(), "OISP_CORPUS is not set");
        eprintln!("skipped: OISP_CORPUS is not set");
        return None;
    };
    let text = std::fs::read_to_string(std::path::Path::new(&folder).join("exchanges.jsonl")).unwrap();
    Some(text.lines().map(|line| body(&serde_json::from_str(line).unwrap())).collect())
}

fn body(exchange: &Value) -> Body {
    let header = |name: &str| {
        let value = &exchange["response_headers"][name];
        value.as_str().or_else(|| value[0].as_str()).unwrap_or_default().to_owned()
    };
    let encoded = match exchange["response_body_base64"].as_str() {
        Some(text) => base64::engine::general_purpose::STANDARD.decode(text).unwrap(),
        None => exchange["response_body"].as_str().unwrap_or_default().as_bytes().to_vec(),
    };
    let id = exchange["id"].to_string();
    let codings: Vec<String> =
        Some(header("content-encoding")).filter(|name| !name.is_empty()).into_iter().collect();
    let mut decoder = ContentDecoder::for_codings(&codings).unwrap();
    let mut bytes = Vec::new();
    for piece in encoded.chunks(100) {
        decoder.push(piece, 16 << 20, &mut bytes).unwrap();
    }
    assert_eq!(decoder.finish(), Ok(()), "{id}");
    Body { id, content_type: header("content-type"), bytes }
}

#[test]
fn recorded_event_streams_parse_with_both_checksums() {
    let Some(bodies) = bodies() else { return };
    let mut streams = 0;
    for body in bodies.iter().filter(|body| body.content_type.contains("vnd.amazon.eventstream")) {
        streams += 1;
        let read = PIECES.map(|size| {
            let mut parser = EventStreamParser::new(&Limits::default());
            let mut out = Vec::new();
            for piece in body.bytes.chunks(size) {
                parser.push(piece, &mut out).unwrap();
            }
            assert_eq!(parser.finish(), Ok(()), "{}", body.id);
            out
        });
        assert!(read.iter().all(|messages| *messages == read[0]), "{}", body.id);
        assert!(!read[0].is_empty(), "{}", body.id);
        for message in &read[0] {
            assert_eq!(message.message_type(), EventMessageType::Event, "{}", body.id);
            assert!(message.name().is_some() && !message.truncated, "{}", body.id);
            serde_json::from_slice::<Value>(&message.payload).unwrap();
        }
        let whole: usize = read[0].iter().map(|message| message.payload.len()).sum();
        assert!(whole < body.bytes.len());
    }
    eprintln!("{streams} event streams");
    assert!(streams > 0, "the corpus has event streams");
}

#[test]
fn recorded_arrays_are_split_into_the_elements_that_serde_json_reads() {
    let Some(bodies) = bodies() else { return };
    let mut arrays = 0;
    for body in bodies.iter().filter(|body| body.bytes.trim_ascii_start().starts_with(b"[")) {
        let whole: Vec<Value> = serde_json::from_slice(&body.bytes).unwrap();
        arrays += 1;
        for size in PIECES {
            let mut splitter = JsonArraySplitter::new(&Limits::default());
            let mut out = Vec::new();
            for piece in body.bytes.chunks(size) {
                splitter.push(piece, &mut out).unwrap();
            }
            assert_eq!(splitter.finish(), Ok(()), "{}", body.id);
            let elements: Vec<Value> =
                out.iter().map(|element| serde_json::from_slice(&element.bytes).unwrap()).collect();
            assert!(elements == whole, "{} in pieces of {size}", body.id);
        }
    }
    eprintln!("{arrays} arrays");
    assert!(arrays > 0, "the corpus has arrays");
}
