//! A request and its answer, of any of the interfaces, from their bodies to events: nothing panics, and nothing is held
//! when all is over.
#![no_main]

use oisp_ai::prices::enter_estimate;
use oisp_ai::{AiEvent, ConnectionInterpreter, Limits};
use oisp_decode::{ConnectionDecoder, Direction, Nanos};

const TARGETS: &[(&str, &str)] = &[
    ("api.openai.com", "/v1/chat/completions"),
    ("api.openai.com", "/v1/responses"),
    ("api.openai.com", "/v1/completions"),
    ("api.openai.com", "/v1/embeddings"),
    ("api.openai.com", "/v1/images/edits"),
    ("api.openai.com", "/v1/audio/transcriptions"),
    ("api.anthropic.com", "/v1/messages"),
    ("api.anthropic.com", "/v1/messages/batches"),
    ("generativelanguage.googleapis.com", "/v1beta/models/m:streamGenerateContent"),
    ("generativelanguage.googleapis.com", "/v1beta/models/m:batchEmbedContents"),
    ("generativelanguage.googleapis.com", "/v1beta/interactions"),
    ("aiplatform.googleapis.com", "/v1/publishers/anthropic/models/m:streamRawPredict"),
    ("bedrock-runtime.us-east-1.amazonaws.com", "/model/amazon.titan/invoke-with-response-stream"),
    ("bedrock-runtime.us-east-1.amazonaws.com", "/model/m/converse-stream"),
    ("api.cohere.com", "/v2/chat"),
    ("api.cohere.com", "/v1/chat"),
    ("localhost:11434", "/api/chat"),
    ("localhost:8080", "/completion"),
    ("router.huggingface.co", "/generate_stream"),
    ("us-south.ml.cloud.ibm.com", "/ml/v1/text/generation_stream"),
    ("api.replicate.com", "/v1/predictions"),
    ("unknown.example", "/v1/chat/completions"),
    ("unknown.example", "/"),
];

const ASKS: &[&str] = &["application/json", "multipart/form-data; boundary=X", "text/plain"];

const ANSWERS: &[&str] = &[
    "application/json",
    "text/event-stream",
    "application/x-ndjson",
    "application/vnd.amazon.eventstream",
    "audio/mpeg",
    "",
];

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((choice, bodies)) = bytes.split_at_checked(3) else { return };
    let of = |list: &[&'static str], at: usize| list[usize::from(choice[at]) % list.len()];
    let (host, path) = TARGETS[usize::from(choice[0]) % TARGETS.len()];
    let cut = bodies.iter().position(|byte| *byte == 0).unwrap_or(bodies.len() / 2);
    let (request, response) = bodies.split_at(cut);
    let response = response.strip_prefix(b"\0").unwrap_or(response);
    let status = if choice[1] & 0x80 == 0 { 200 } else { 400 };

    let mut decoder = ConnectionDecoder::new(oisp_decode::Limits::default());
    let mut events = Vec::new();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: {host}\r\ncontent-type: {}\r\ncontent-length: {}\r\n\r\n",
        of(ASKS, 1),
        request.len()
    );
    decoder.data(Direction::Sent, Nanos(1), head.as_bytes(), &mut events);
    decoder.data(Direction::Sent, Nanos(1), request, &mut events);
    let head = format!("HTTP/1.1 {status} X\r\ncontent-type: {}\r\n\r\n", of(ANSWERS, 2));
    decoder.data(Direction::Received, Nanos(2), head.as_bytes(), &mut events);
    let middle = response.len() / 2;
    decoder.data(Direction::Received, Nanos(3), &response[..middle], &mut events);
    if choice[2] & 0x80 != 0 {
        decoder.gap(Direction::Received, Nanos(3), 7, &mut events);
    }
    decoder.data(Direction::Received, Nanos(4), &response[middle..], &mut events);
    decoder.close(Nanos(5), &mut events);

    let mut interpreter = ConnectionInterpreter::new(Limits::default());
    let mut calls = Vec::new();
    events.iter().for_each(|event| interpreter.event(event, &mut calls));
    interpreter.close(Nanos(6), &mut calls);
    assert_eq!(interpreter.buffered_bytes(), 0, "nothing is held when all is over");
    for call in calls {
        if let AiEvent::Response(mut answer) = call {
            enter_estimate(&mut answer.response, &mut answer.extension, Some("gpt-4o"), 1_795_348_800);
        }
    }
});
