//! What decoding and interpreting calls of models costs on one core, beside `serde_json` reading the same JSON
//! into values in the same run: the body of a request, of an answer, the data of each streamed event. Absolute
//! times are the machine's; the ratios are the interpreter's. Measures, and asserts nothing on time.
//!
//! `cargo xtask bench interpret [-- ROW…]`; with `OISP_CORPUS` set also recorded exchanges.

// The other bench of this kind measures the same way.
#[path = "../../../oisp-decode/benches/decode/clock.rs"]
mod clock;
mod corpus;
mod exchanges;

use std::hint::black_box;
use std::time::{Duration, Instant};

use oisp_ai::{AiEvent, ConnectionInterpreter};
use oisp_decode::{ConnectionDecoder, Direction, Nanos};
use serde_json::Value;

use clock::time;
use exchanges::Exchange;

/// What one captured call holds at most.
const PIECE: usize = 16 << 10;

/// Time for one row, both sides; at least [`MINIMUM_RUNS`] whatever it takes.
const BUDGET: Duration = Duration::from_millis(1500);
const MINIMUM_RUNS: usize = 5;
/// Of JSON in one measured run: much less, and the clock is too coarse.
const RUN_BYTES: usize = 1 << 20;

struct Row {
    name: &'static str,
    /// `None` where what they are made of is not here.
    exchanges: fn() -> Option<Vec<Exchange>>,
}

#[rustfmt::skip]
const ROWS: &[Row] = &[
    Row { name: "OpenAI chat request", exchanges: || Some(vec![exchanges::chat_request()]) },
    Row { name: "OpenAI chat answer", exchanges: || Some(vec![exchanges::chat_answer()]) },
    Row { name: "OpenAI chat stream", exchanges: || Some(vec![exchanges::chat_stream()]) },
    Row { name: "OpenAI chat tool stream", exchanges: || Some(vec![exchanges::chat_tool_stream()]) },
    Row { name: "Anthropic request", exchanges: || Some(vec![exchanges::messages_request()]) },
    Row { name: "Anthropic stream", exchanges: || Some(vec![exchanges::messages_stream()]) },
    Row { name: "Responses stream", exchanges: || Some(vec![exchanges::responses_stream()]) },
    Row { name: "Gemini stream", exchanges: || Some(vec![exchanges::gemini_stream()]) },
    Row { name: "Cohere stream", exchanges: || Some(vec![exchanges::cohere_stream()]) },
    Row { name: "Ollama stream", exchanges: || Some(vec![exchanges::ollama_stream()]) },
    Row { name: "recorded exchanges", exchanges: || corpus::exchanges("") },
    Row { name: "recorded chat", exchanges: || corpus::exchanges("/chat/completions") },
    Row { name: "recorded messages", exchanges: || corpus::exchanges("/v1/messages") },
    Row { name: "recorded Responses", exchanges: || corpus::exchanges("/responses") },
    Row { name: "recorded Gemini", exchanges: || corpus::exchanges("GenerateContent") },
];

fn main() {
    let names: Vec<String> = std::env::args().skip(1).filter(|name| !name.starts_with("--")).collect();
    println!("| row                     | exchanges | JSON texts | of bytes | ns/B  | of serde_json |");
    println!("|-------------------------|----------:|-----------:|---------:|------:|--------------:|");
    for row in ROWS.iter().filter(|row| names.is_empty() || names.iter().any(|name| row.name.contains(name)))
    {
        match (row.exchanges)() {
            Some(exchanges) => measure(row.name, &exchanges),
            None => println!("| {:<23} | skipped: OISP_CORPUS is not set", row.name),
        }
    }
}

/// Interprets and reads by turns, so that what disturbs the machine disturbs both, and prints the row.
fn measure(name: &str, exchanges: &[Exchange]) {
    for exchange in exchanges {
        assert_read(exchange);
    }
    let texts: usize = exchanges.iter().map(|exchange| exchange.json.len()).sum();
    let bytes: usize = exchanges.iter().flat_map(|exchange| &exchange.json).map(Vec::len).sum();
    let repeat = RUN_BYTES.div_ceil(bytes);
    let mut least = [Duration::MAX; 2];
    let mut runs = 0;
    let start = Instant::now();
    while runs < MINIMUM_RUNS || start.elapsed() < BUDGET {
        let times = [
            time(repeat, || {
                exchanges
                    .iter()
                    .map(|exchange| interpret(black_box(exchange), |event| drop(black_box(event))))
                    .sum()
            }),
            time(repeat, || {
                let texts = exchanges.iter().flat_map(|exchange| &exchange.json);
                texts
                    .filter(|text| black_box(serde_json::from_slice::<Value>(black_box(text))).is_ok())
                    .count() as u64
            }),
        ];
        for (least, time) in least.iter_mut().zip(times) {
            *least = time.min(*least);
        }
        runs += 1;
    }
    let [interpreting, serde_json] = least.map(|time| time.as_nanos() as f64 / (repeat * bytes) as f64);
    println!(
        "| {name:<23} | {:>9} | {texts:>10} | {bytes:>8} | {interpreting:>5.2} | {:>11.2} x |",
        exchanges.len(),
        serde_json / interpreting,
    );
}

/// The whole chain on a connection of its own; each event is given as soon as it is complete.
fn interpret(exchange: &Exchange, mut take: impl FnMut(AiEvent)) -> u64 {
    let mut decoder = ConnectionDecoder::new(oisp_decode::Limits::default());
    let mut interpreter = ConnectionInterpreter::new(oisp_ai::Limits::default());
    let (mut events, mut out, mut given) = (Vec::new(), Vec::new(), 0);
    let directions = [(Direction::Sent, &exchange.sent), (Direction::Received, &exchange.received)];
    for (direction, bytes) in directions {
        for piece in bytes.chunks(PIECE) {
            decoder.data(direction, Nanos(1), piece, &mut events);
            events.drain(..).for_each(|event| interpreter.event(&event, &mut out));
            given += out.len() as u64;
            out.drain(..).for_each(&mut take);
        }
    }
    decoder.close(Nanos(2), &mut events);
    events.drain(..).for_each(|event| interpreter.event(&event, &mut out));
    interpreter.close(Nanos(2), &mut out);
    given += out.len() as u64;
    out.drain(..).for_each(&mut take);
    given
}

/// What is measured must be the reading of a call and of its answer, not the giving up of either.
fn assert_read(exchange: &Exchange) {
    let (mut calls, mut answers) = (0, 0);
    interpret(exchange, |event| match event {
        AiEvent::Request(call) => {
            calls += 1;
            assert!(call.findings.is_empty(), "{:?}", call.findings);
        }
        AiEvent::Chunk(_) => {}
        AiEvent::Response(answer) => {
            answers += 1;
            assert!(
                answer.findings.is_empty() && answer.response.success == Some(true),
                "{:?}",
                answer.findings
            );
        }
        AiEvent::Mcp(message) => panic!("no call to a model: {message:?}"),
    });
    assert_eq!((calls, answers), (1, 1));
}
