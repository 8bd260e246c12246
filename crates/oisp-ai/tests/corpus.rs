//! Recorded exchanges with real services, framed as HTTP/1.1 and HTTP/2 and cut at random places, give what an
//! independent reading of the same bodies gives.

#![expect(clippy::expect_used, reason = "a failing helper fails its test")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command;

use base64::Engine as _;
use oisp_ai::{AiAnswer, AiCall, ConnectionInterpreter, Limits};
use oisp_decode::{ConnectionDecoder, Direction, HttpEvent, Nanos};
use oisp_event::{Level, RequestType, Role};
use serde_json::{Value, json};

/// The recorded exchanges that the reference reads, with its reading.
fn corpus() -> Option<Vec<(Value, Value)>> {
    let Some(folder) = std::env::var_os("OISP_CORPUS") else {
        assert!(std::env::var_os("OISP_REQUIRE_ALL").is_none(), "OISP_CORPUS is not set");
        eprintln!("skipped: OISP_CORPUS is not set");
        return None;
    };
    let file = std::path::Path::new(&folder).join("exchanges.jsonl");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/reference_reading.py");
    let output = Command::new("python3").arg(script).arg(&file).output().expect("python3 is needed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let exchanges = all_exchanges();
    let expected = String::from_utf8(output.stdout).expect("the reference writes UTF-8");
    let pairs: Vec<_> = expected
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("a line is JSON"))
        .map(|expected| (exchanges[&expected["id"].to_string()].clone(), expected))
        .collect();
    assert!(pairs.len() > 300, "only {} exchanges", pairs.len());
    Some(pairs)
}

/// All of the file, by id.
fn all_exchanges() -> BTreeMap<String, Value> {
    let folder = std::env::var_os("OISP_CORPUS").expect("it is set");
    let file = std::path::Path::new(&folder).join("exchanges.jsonl");
    let text = std::fs::read_to_string(file).expect("the corpus is readable");
    text.lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("a line is JSON"))
        .map(|exchange| (exchange["id"].to_string(), exchange))
        .collect()
}

/// Small, fast, and the same on every run.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).expect("31 bits") % end.max(1)
    }
}

fn body(exchange: &Value, side: &str) -> Vec<u8> {
    match exchange[format!("{side}_body")].as_str() {
        Some(text) => text.as_bytes().to_vec(),
        None => {
            let encoded = exchange[format!("{side}_body_base64")].as_str().unwrap_or_default();
            base64::engine::general_purpose::STANDARD.decode(encoded).expect("base64")
        }
    }
}

fn header_lines(headers: &Value) -> String {
    let mut lines = String::new();
    for (name, value) in headers.as_object().into_iter().flatten() {
        if name == "content-length" || name == "transfer-encoding" {
            continue;
        }
        let values = value.as_array().cloned().unwrap_or_else(|| vec![value.clone()]);
        for value in values.iter().filter_map(Value::as_str) {
            lines.push_str(&format!("{name}: {value}\r\n"));
        }
    }
    lines
}

fn framed(head: String, body: &[u8], random: &mut Random) -> Vec<u8> {
    if random.below(2) == 0 {
        return [format!("{head}content-length: {}\r\n\r\n", body.len()).as_bytes(), body].concat();
    }
    let mut bytes = format!("{head}transfer-encoding: chunked\r\n\r\n").into_bytes();
    let mut rest = body;
    while !rest.is_empty() {
        let (chunk, left) = rest.split_at(1 + random.below(rest.len().min(3000)));
        bytes.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        bytes.extend_from_slice(chunk);
        bytes.extend_from_slice(b"\r\n");
        rest = left;
    }
    bytes.extend_from_slice(b"0\r\n\r\n");
    bytes
}

/// The exchange's two directions as they were on the wire.
fn on_the_wire(exchange: &Value, random: &mut Random) -> (Vec<u8>, Vec<u8>) {
    let url = exchange["url"].as_str().expect("a url");
    let rest = url.split_once("://").expect("a scheme").1;
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let head = format!(
        "{} {path} HTTP/1.1\r\nhost: {host}\r\n{}",
        exchange["method"].as_str().expect("a method"),
        header_lines(&exchange["request_headers"])
    );
    let request = framed(head, &body(exchange, "request"), random);
    let head =
        format!("HTTP/1.1 {} X\r\n{}", exchange["status"], header_lines(&exchange["response_headers"]));
    let response = framed(head, &body(exchange, "response"), random);
    (request, response)
}

fn http2_frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a frame is short").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A message as HTTP/2, its fields as literals.
fn http2_message(
    stream: u32,
    pseudo: &[(&str, &str)],
    headers: &Value,
    body: &[u8],
    random: &mut Random,
) -> Vec<u8> {
    let lines = header_lines(headers).to_ascii_lowercase();
    let values = header_lines(headers);
    let fields = lines.lines().zip(values.lines()).filter_map(|(lower, line)| {
        let (name, value) = (lower.split_once(": ")?.0, line.split_once(": ")?.1);
        (name != "host" && name != "connection").then_some((name, value))
    });
    let mut block = Vec::new();
    for (name, value) in pseudo.iter().copied().chain(fields) {
        block.push(0);
        for text in [name, value] {
            let length = text.len();
            if length < 127 {
                block.push(u8::try_from(length).expect("below 127"));
            } else {
                let rest = length - 127;
                assert!(rest < 1 << 14, "no field is that long");
                block.extend([127, u8::try_from(rest & 127).expect("7 bits") | 128]);
                block.push(u8::try_from(rest >> 7).expect("7 bits"));
            }
            block.extend_from_slice(text.as_bytes());
        }
    }
    let mut out = http2_frame(1, 4, stream, &block);
    let mut rest = body;
    while !rest.is_empty() {
        let (piece, left) = rest.split_at(1 + random.below(rest.len().min(16_384)));
        out.extend(http2_frame(0, 0, stream, piece));
        rest = left;
    }
    out.extend(http2_frame(0, 1, stream, b""));
    out
}

/// The same as HTTP/2 on a stream.
fn on_http2(exchange: &Value, stream: u32, random: &mut Random) -> (Vec<u8>, Vec<u8>) {
    let url = exchange["url"].as_str().expect("a url");
    let rest = url.split_once("://").expect("a scheme").1;
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let method = exchange["method"].as_str().expect("a method");
    let pseudo = [(":method", method), (":scheme", "https"), (":path", path), (":authority", host)];
    let (headers, content) = (&exchange["request_headers"], body(exchange, "request"));
    let request = http2_message(stream, &pseudo, headers, &content, random);
    let status = exchange["status"].to_string();
    let (headers, content) = (&exchange["response_headers"], body(exchange, "response"));
    let response = http2_message(stream, &[(":status", &status)], headers, &content, random);
    (request, response)
}

fn in_pieces(
    decoder: &mut ConnectionDecoder,
    direction: Direction,
    mut bytes: &[u8],
    random: &mut Random,
    out: &mut Vec<HttpEvent>,
) {
    while !bytes.is_empty() {
        let (piece, rest) = bytes.split_at(1 + random.below(bytes.len().min(1500)));
        decoder.data(direction, Nanos(1), piece, out);
        bytes = rest;
    }
}

fn interpreted(events: &[HttpEvent]) -> Vec<oisp_ai::AiEvent> {
    let mut interpreter = ConnectionInterpreter::new(Limits::default());
    let mut out = Vec::new();
    events.iter().for_each(|event| interpreter.event(event, &mut out));
    assert_eq!(interpreter.buffered_bytes(), 0);
    out
}

fn role(role: Role) -> Value {
    serde_json::to_value(role).expect("a role is a text")
}

/// Whether two texts are the same; where both are JSON, whether their values are.
fn same_arguments(ours: &str, expected: &str) -> bool {
    let parse = serde_json::from_str::<Value>;
    ours == expected || matches!((parse(ours), parse(expected)), (Ok(a), Ok(b)) if a == b)
}

fn reasoning(answer: &AiAnswer) -> String {
    let pieces = answer.extension.get("reasoning").and_then(Value::as_array).into_iter().flatten();
    let pieces: Vec<_> = pieces.filter_map(|piece| piece["text"].as_str()).collect();
    pieces.join("\n")
}

fn compare(call: &AiCall, answer: &AiAnswer, expected: &Value) {
    let id = &expected["id"];
    let request = &call.request;
    assert_eq!(json!(request.model.as_ref().map(|m| &m.id)), expected["model"], "{id}");
    assert_eq!(json!(request.streaming), expected["streaming"], "{id}");
    let messages: Vec<_> =
        request.messages.iter().map(|m| json!([role(m.role), m.content, m.tool_call_id])).collect();
    assert_eq!(json!(messages), expected["messages"], "{id}");
    let tools: Vec<_> = request.tools.iter().map(|tool| &tool.name).collect();
    assert_eq!(json!(tools), expected["tools"], "{id}");
    assert!(call.findings.is_empty(), "{id}: {:?}", call.findings);

    let response = &answer.response;
    let wanted = &expected["response"];
    assert_eq!(json!(response.model.as_ref().map(|m| &m.id)), wanted["model"], "{id}");
    let embedding = answer.embedding.map(|embedding| json!([embedding.count, embedding.dimensions]));
    assert_eq!(json!(embedding), expected["embedding"], "{id}");
    let is_embedding = request.request_type == RequestType::Embedding;
    assert_eq!(is_embedding, embedding.is_some(), "{id}");
    let text = if is_embedding { None } else { common::content(answer) }.unwrap_or_default();
    assert_eq!(text, wanted["text"].as_str().unwrap_or_default(), "{id}");
    assert_eq!(reasoning(answer), wanted["reasoning"].as_str().unwrap_or_default(), "{id}");
    let calls = wanted["calls"].as_array().expect("a list");
    assert_eq!(response.tool_calls.len(), calls.len(), "{id}");
    for (ours, wanted) in response.tool_calls.iter().zip(calls) {
        assert_eq!((json!(ours.id), json!(ours.name)), (wanted[0].clone(), wanted[1].clone()), "{id}");
        let arguments = ours.arguments.as_deref().unwrap_or_default();
        assert!(same_arguments(arguments, wanted[2].as_str().unwrap_or_default()), "{id}: {arguments}");
    }
    let usage = response.usage.as_ref().map(|usage| {
        json!([
            usage.prompt_tokens,
            usage.completion_tokens,
            usage.total_tokens,
            usage.cached_tokens,
            usage.reasoning_tokens
        ])
    });
    assert_eq!(json!(usage), wanted["usage"], "{id}");
    // One recorded stream ends without ever giving a reason.
    let finish = answer.extension.get("finish_reason").unwrap_or(&Value::Null);
    assert_eq!(finish, &wanted["finish"], "{id}");
    assert_eq!(response.success, Some(true), "{id}");
    assert!(answer.findings.is_empty(), "{id}: {:?}", answer.findings);
}

/// The exchange with its answer in a content encoding; `None` where it was recorded in one.
fn encoded(exchange: &Value, encoding: &str) -> Option<Value> {
    let mut exchange = exchange.clone();
    if encoding.is_empty() {
        return Some(exchange);
    }
    if exchange["response_headers"].get("content-encoding").is_some() {
        return None;
    }
    let plain = body(&exchange, "response");
    let mut out = Vec::new();
    match encoding {
        "gzip" => {
            let mut encoder = flate2::write::GzEncoder::new(&mut out, flate2::Compression::default());
            encoder.write_all(&plain).expect("memory takes it");
        }
        "deflate" => {
            let mut encoder = flate2::write::ZlibEncoder::new(&mut out, flate2::Compression::default());
            encoder.write_all(&plain).expect("memory takes it");
        }
        "br" => {
            let mut encoder = brotli::CompressorWriter::new(&mut out, 4096, 5, 20);
            encoder.write_all(&plain).expect("memory takes it");
        }
        "zstd" => {
            out.resize(zstd_safe::compress_bound(plain.len()), 0);
            let length = zstd_safe::compress(&mut out[..], &plain, 3).expect("there is room");
            out.truncate(length);
        }
        other => panic!("no encoding: {other}"),
    }
    let headers = exchange["response_headers"].as_object_mut().expect("headers");
    headers.insert("content-encoding".to_owned(), encoding.into());
    let fields = exchange.as_object_mut().expect("an exchange");
    fields.remove("response_body");
    let text = base64::engine::general_purpose::STANDARD.encode(&out);
    fields.insert("response_body_base64".to_owned(), text.into());
    Some(exchange)
}

/// What became of the exchanges with one service in one format.
#[derive(Default)]
struct Tally {
    exchanges: u64,
    streamed: u64,
    readings: u64,
    recognised: u64,
    wrong: u64,
}

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/providers.md");

const HEADING: &str = "# What is read of recorded exchanges

This page is made by a test (`OISP_TEST_BLESS=1 cargo test -p oisp-ai --test corpus`), from public recordings of real
services that are not part of this repository (`OISP_CORPUS`). Each exchange is framed as HTTP/1.1 anew, its answer as it was
and in gzip, deflate, br and zstd, cut at random places, and read. What comes out is compared with an independent reading of the
same bodies in Python: model asked for and served, messages, tools, text, reasoning, tool calls with their arguments, finish
reason, tokens, size of embeddings. Recognised is what is given as a call; wrong is what differs in any of these. The same
exchanges also go over one kept-alive connection and over one of HTTP/2.

| service | format | exchanges | streamed | readings | recognised | wrong |
|---|---|--:|--:|--:|--:|--:|
";

#[test]
fn each_exchange_in_every_encoding_is_read_as_the_reference_reads_it() {
    let Some(corpus) = corpus() else { return };
    let mut random = Random(1);
    let mut tallies: BTreeMap<(String, String), Tally> = BTreeMap::new();
    let mut certain = 0;
    for (exchange, expected) in &corpus {
        let mut of = None;
        let mut tally = Tally { exchanges: 1, ..Tally::default() };
        for encoding in ["", "gzip", "deflate", "br", "zstd"] {
            let Some(exchange) = encoded(exchange, encoding) else { continue };
            tally.readings += 1;
            let (request, response) = on_the_wire(&exchange, &mut random);
            let mut decoder = ConnectionDecoder::new(oisp_decode::Limits::default());
            let mut events = Vec::new();
            in_pieces(&mut decoder, Direction::Sent, &request, &mut random, &mut events);
            in_pieces(&mut decoder, Direction::Received, &response, &mut random, &mut events);
            decoder.close(Nanos(2), &mut events);
            let (Some(call), Some(answer)) = common::halves(interpreted(&events)) else {
                eprintln!("{} is not recognised", expected["id"]);
                continue;
            };
            tally.recognised += 1;
            let compared = catch_unwind(AssertUnwindSafe(|| compare(&call, &answer, expected)));
            tally.wrong += u64::from(compared.is_err());
            if encoding.is_empty() {
                certain += usize::from(call.detection.confidence == Level::High);
            }
            let format = call.extension.get("api_format").and_then(Value::as_str).unwrap_or("none");
            tally.streamed = u64::from(answer.extension.contains_key("streamed"));
            of = Some((call.detection.provider_id.clone(), format.to_owned()));
        }
        let sum = tallies.entry(of.unwrap_or_default()).or_default();
        for (to, from) in [
            (&mut sum.exchanges, tally.exchanges),
            (&mut sum.streamed, tally.streamed),
            (&mut sum.readings, tally.readings),
            (&mut sum.recognised, tally.recognised),
            (&mut sum.wrong, tally.wrong),
        ] {
            *to += from;
        }
    }
    let mut page = HEADING.to_owned();
    for ((service, format), tally) in &tallies {
        let Tally { exchanges, streamed, readings, recognised, wrong } = tally;
        page.push_str(&format!(
            "| {service} | {format} | {exchanges} | {streamed} | {readings} | {recognised} | {wrong} |\n"
        ));
    }
    println!("{page}");
    for (of, tally) in &tallies {
        assert_eq!(tally.wrong, 0, "{of:?}");
        assert!(tally.recognised * 100 >= tally.readings * 99, "{of:?}");
    }
    // Only the local server is not known by its host's name.
    assert!(certain * 100 > corpus.len() * 95, "{certain} of {}", corpus.len());
    if std::env::var_os("OISP_TEST_BLESS").is_some() {
        std::fs::write(PAGE, &page).expect("the page can be written");
    }
    let kept = std::fs::read_to_string(PAGE).expect("the page is there");
    assert_eq!(kept, page, "docs/providers.md is not what this run makes; run it with OISP_TEST_BLESS=1");
}

#[test]
fn chunks_of_recorded_streams_add_up_to_their_answers() {
    let Some(corpus) = corpus() else { return };
    let mut random = Random(5);
    let (mut streams, mut chunks) = (0, 0);
    for (exchange, expected) in &corpus {
        let (request, response) = on_the_wire(exchange, &mut random);
        let mut decoder = ConnectionDecoder::new(oisp_decode::Limits::default());
        let mut events = Vec::new();
        in_pieces(&mut decoder, Direction::Sent, &request, &mut random, &mut events);
        in_pieces(&mut decoder, Direction::Received, &response, &mut random, &mut events);
        decoder.close(Nanos(2), &mut events);
        for (number, event) in (1..).zip(&mut events) {
            event.time = Nanos(number * 40_000_000);
        }
        let (told, superseded) = catch_unwind(AssertUnwindSafe(|| common::chunks_add_up(&events)))
            .unwrap_or_else(|panic| {
                eprintln!("in exchange {}", expected["id"]);
                std::panic::resume_unwind(panic)
            });
        assert_eq!(superseded, 0, "{}", expected["id"]);
        streams += usize::from(told > 0);
        chunks += told;
    }
    eprintln!("{chunks} chunks of {streams} streams");
    assert!(streams > 100 && chunks > 3 * streams, "{chunks} of {streams}");
}

#[test]
fn exchanges_that_are_no_calls_give_nothing() {
    let Some(corpus) = corpus() else { return };
    let calls: BTreeSet<String> = corpus.iter().map(|(exchange, _)| exchange["id"].to_string()).collect();
    let mut random = Random(4);
    let mut others = 0;
    for exchange in all_exchanges().values().filter(|exchange| !calls.contains(&exchange["id"].to_string())) {
        let (request, response) = on_the_wire(exchange, &mut random);
        let mut decoder = ConnectionDecoder::new(oisp_decode::Limits::default());
        let mut events = Vec::new();
        in_pieces(&mut decoder, Direction::Sent, &request, &mut random, &mut events);
        in_pieces(&mut decoder, Direction::Received, &response, &mut random, &mut events);
        decoder.close(Nanos(2), &mut events);
        assert_eq!(interpreted(&events), [], "{}", exchange["url"]);
        others += 1;
    }
    assert!(others > 0);
}

#[test]
fn all_exchanges_on_one_kept_alive_connection_are_read_the_same() {
    let Some(corpus) = corpus() else { return };
    let mut random = Random(2);
    let mut decoder = ConnectionDecoder::new(oisp_decode::Limits::default());
    let mut events = Vec::new();
    for (exchange, _) in &corpus {
        let (request, response) = on_the_wire(exchange, &mut random);
        in_pieces(&mut decoder, Direction::Sent, &request, &mut random, &mut events);
        in_pieces(&mut decoder, Direction::Received, &response, &mut random, &mut events);
    }
    let out = interpreted(&events);
    assert_eq!(out.len(), 2 * corpus.len());
    for (pair, (_, expected)) in out.chunks(2).zip(&corpus) {
        let (call, answer) = common::halves(pair.to_vec());
        compare(&call.expect("a request"), &answer.expect("a response"), expected);
    }
}

#[test]
fn all_exchanges_on_one_http2_connection_are_read_the_same() {
    let Some(corpus) = corpus() else { return };
    let mut random = Random(3);
    let mut decoder = ConnectionDecoder::new(oisp_decode::Limits::default());
    let mut events = Vec::new();
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    in_pieces(&mut decoder, Direction::Sent, preface, &mut random, &mut events);
    for (stream, (exchange, _)) in (1..).step_by(2).zip(&corpus) {
        let (request, response) = on_http2(exchange, stream, &mut random);
        in_pieces(&mut decoder, Direction::Sent, &request, &mut random, &mut events);
        in_pieces(&mut decoder, Direction::Received, &response, &mut random, &mut events);
    }
    let out = interpreted(&events);
    assert_eq!(out.len(), 2 * corpus.len());
    for (pair, (_, expected)) in out.chunks(2).zip(&corpus) {
        let (call, answer) = common::halves(pair.to_vec());
        compare(&call.expect("a request"), &answer.expect("a response"), expected);
    }
}

#[test]
fn streams_of_responses_give_the_same_from_their_deltas_alone() {
    let Some(corpus) = corpus() else { return };
    let mut streams = 0;
    for (exchange, expected) in &corpus {
        let url = exchange["url"].as_str().expect("a url");
        let (host, path) = url.split_once("://").expect("a scheme").1.split_once('/').expect("a path");
        let Some(text) =
            exchange["response_body"].as_str().filter(|text| text.starts_with("event: response."))
        else {
            continue;
        };
        // What gives a part as a whole is left out, and the numbers that would tell of it.
        let events: Vec<Value> = text
            .lines()
            .filter_map(|line| line.strip_prefix("data: "))
            .filter_map(|data| serde_json::from_str::<Value>(data).ok())
            .filter(|event| {
                let kind = event["type"].as_str().unwrap_or_default();
                !kind.ends_with(".done") && !matches!(kind, "response.completed" | "response.incomplete")
            })
            .map(|mut event| {
                event.as_object_mut().map(|event| event.remove("sequence_number"));
                event
            })
            .collect();
        let request = serde_json::from_slice(&body(exchange, "request")).expect("JSON");
        let answer = common::Exchange::post(host, &format!("/{path}"), &request).sse(&events).answer();
        let id = &expected["id"];
        let wanted = &expected["response"];
        let said = answer.response.choices.first().map(|_| common::content(&answer).unwrap_or_default());
        assert_eq!(said.unwrap_or_default(), wanted["text"].as_str().unwrap_or_default(), "{id}");
        assert_eq!(reasoning(&answer), wanted["reasoning"].as_str().unwrap_or_default(), "{id}");
        let calls: Vec<_> = answer
            .response
            .tool_calls
            .iter()
            .map(|call| json!([call.id, call.name, call.arguments]))
            .collect();
        assert_eq!(json!(calls), wanted["calls"], "{id}");
        assert!(!answer.extension.contains_key("incomplete_tool_calls"), "{id}");
        assert_eq!(answer.findings.reasons, ["stream_ended_early"], "{id}");
        streams += 1;
    }
    assert!(streams > 30, "only {streams} streams");
}
