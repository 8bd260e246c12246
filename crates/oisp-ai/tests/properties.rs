//! However a body is cut, the events are the same; whatever comes, nothing panics and every event is valid.

mod common;

use bytes::Bytes;
use common::{Exchange, Piece};
use oisp_ai::{AiEvent, ConnectionInterpreter, Limits};
use oisp_decode::{
    BodyEnd, ExchangeId, Header, HttpEvent, HttpEventKind, HttpVersion, Nanos, RequestHead, ResponseHead,
};
use proptest::prelude::*;
use serde_json::json;

const CHAT: &str = concat!(
    ": comment\r\n\r\n",
    "data: {\"object\":\"chat.completion.chunk\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Gr\u{fc}\"}}]}\r\n\r\n",
    "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"\u{df}e \u{1f600}\",\"reasoning\":\"r\"}}]}\n\n",
    "data: {\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"a\",\"function\":{\"name\":\"f\",\"arguments\":\"{\\\"x\\\"\"}}]}}]}\n\n",
    "data: {\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\":1}\"}}]},\"finish_reason\":\"tool_calls\"}]}\r\r",
    "data: not json\n\n",
    "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2}}\n\n",
    "data: [DONE]\n\n",
);

const MESSAGES: &str = concat!(
    "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"m\",\"model\":\"c\",\"usage\":{\"input_tokens\":1,\"output_tokens\":1}}}\n\n",
    "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n",
    "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"\u{e4}\u{1f600}\"}}\n\n",
    "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"b\"}}\n\n",
    "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n",
    "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":5}}\n\n",
    "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
);

const WHOLE: &str = "{\"object\":\"chat.completion\",\"choices\":[{\"message\":{\"role\":\"assistant\",\"content\":\"\u{e4}\"},\"finish_reason\":\"stop\"}]}";

/// Every event at the same time, so that only the cutting differs.
fn interpret(exchange: &Exchange, gap_at: Option<usize>) -> Vec<AiEvent> {
    let mut interpreter = ConnectionInterpreter::new(Limits::default());
    let mut out = Vec::new();
    let mut delivered = 0;
    for mut event in exchange.events(1) {
        event.time = Nanos(1);
        if let HttpEventKind::ResponseBody(bytes) = &event.kind {
            if gap_at.is_some_and(|at| (delivered..delivered + bytes.len()).contains(&at)) {
                let (first, second) = bytes.split_at(gap_at.unwrap_or_default() - delivered);
                let kinds = [
                    HttpEventKind::ResponseBody(Bytes::copy_from_slice(first)),
                    HttpEventKind::ResponseBodyGap { lost: 9 },
                    HttpEventKind::ResponseBody(Bytes::copy_from_slice(second)),
                ];
                delivered += bytes.len();
                for kind in kinds {
                    interpreter.event(&HttpEvent { kind, ..event.clone() }, &mut out);
                }
                continue;
            }
            delivered += bytes.len();
        }
        interpreter.event(&event, &mut out);
    }
    assert_eq!(interpreter.buffered_bytes(), 0);
    out.iter().for_each(common::assert_valid);
    out
}

fn exchange(host: &str, path: &str, media_type: &str, request: Vec<Piece>, response: Vec<Piece>) -> Exchange {
    let mut exchange = Exchange::post(host, path, &json!({}));
    exchange.request = request;
    if !media_type.is_empty() {
        exchange = exchange.response_header("content-type", media_type);
    }
    exchange.response = response;
    exchange
}

/// The text cut at the given places (parts of its length in 65536ths).
fn cut(text: &str, cuts: &[u16]) -> Vec<Piece> {
    let mut places: Vec<usize> = cuts.iter().map(|cut| text.len() * usize::from(*cut) / 65536).collect();
    places.sort_unstable();
    places.push(text.len());
    let mut from = 0;
    places
        .into_iter()
        .map(|to| Piece::Bytes(text.as_bytes()[std::mem::replace(&mut from, to)..to].to_vec()))
        .collect()
}

const FORM: &str = "--X\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nm\r\n--X\r\nContent-Disposition: form-data; name=\"file\"; filename=\"f\"\r\n\r\nabc\r\n--X--\r\n";

const OLLAMA: &str = concat!(
    "{\"model\":\"m\",\"message\":{\"role\":\"assistant\",\"content\":\"\u{e4}\",\"thinking\":\"h\"},\"done\":false}\n",
    "{\"model\":\"m\",\"message\":{\"content\":\"\u{1f600}\",\"tool_calls\":[{\"function\":{\"name\":\"f\",\"arguments\":{\"x\":[1]}}}]},\"done\":false}\r\n",
    "{\"model\":\"m\",\"response\":\"b\",\"done\":true,\"done_reason\":\"stop\",\"prompt_eval_count\":1,\"eval_count\":2}\n",
);

const GENERATED: &str = concat!(
    "data:{\"token\":{\"id\":1,\"text\":\"\u{e4}\",\"special\":false},\"generated_text\":null}\n\n",
    "data:{\"token\":{\"id\":2,\"text\":\"b\"},\"generated_text\":\"\u{e4}b\",\"details\":{\"finish_reason\":\"length\",\"generated_tokens\":2}}\n\n",
);

const PREDICTED: &str = concat!(
    "data: {\"content\":\"\u{e4}\",\"stop\":false}\n\n",
    "data: {\"content\":\"b\",\"stop\":true,\"stop_type\":\"eos\",\"tokens_predicted\":2,\"tokens_evaluated\":1}\n\n",
);

const EMBEDDING: &str = "{\"object\":\"list\",\"data\":[{\"object\":\"embedding\",\"embedding\":[0.5,-1,2e3]}],\"model\":\"m\",\"usage\":{\"prompt_tokens\":1}}";

const TRANSCRIPT: &str = concat!(
    "data: {\"type\":\"transcript.text.delta\",\"delta\":\"\u{e4}\"}\r\n\r\n",
    "data: {\"type\":\"transcript.text.done\",\"text\":\"\u{e4}b\",\"usage\":{\"input_tokens\":1}}\r\n\r\n",
);

const REQUEST: &str =
    "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"\u{e4}\u{1f600}\"}],\"stream\":true}";

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_cutting_gives_the_same_events(
        cuts in proptest::collection::vec(any::<u16>(), 0..40),
        request_cuts in proptest::collection::vec(any::<u16>(), 0..10),
        text in prop::sample::select(vec![CHAT, MESSAGES, WHOLE, OLLAMA, GENERATED, PREDICTED, EMBEDDING, TRANSCRIPT]),
        media_type in prop::sample::select(vec!["", "text/event-stream", "application/x-ndjson", "text/plain", "audio/mpeg"]),
        host in prop::sample::select(vec![
            ("api.openai.com", "/v1/chat/completions"),
            ("openrouter.ai", "/api/v1/messages"),
            ("unknown.example", "/v1/chat/completions"),
            ("localhost:11434", "/api/chat"),
            ("ollama.com", "/api/generate"),
            ("api.openai.com", "/v1/embeddings"),
            ("api.openai.com", "/v1/audio/transcriptions"),
            ("router.huggingface.co", "/generate_stream"),
            ("localhost:8080", "/completion"),
            ("localhost:1234", "/api/v1/chat"),
            ("us-south.ml.cloud.ibm.com", "/ml/v1/text/generation_stream"),
            ("api.replicate.com", "/v1/predictions"),
            ("unknown.example", "/other"),
            ("unknown.example", "/v1/embeddings-of-nothing"),
        ]),
        gap in proptest::option::of(any::<u16>()),
    ) {
        let gap_at = gap.map(|gap| text.len() * usize::from(gap) / 65536);
        let whole = exchange(host.0, host.1, media_type, vec![REQUEST.into()], vec![text.into()]);
        let pieces = exchange(host.0, host.1, media_type, cut(REQUEST, &request_cuts), cut(text, &cuts));
        prop_assert_eq!(interpret(&whole, gap_at), interpret(&pieces, gap_at));
    }

    #[test]
    fn text_before_a_gap_is_a_beginning_of_the_whole_text(at in any::<u16>(), chat in any::<bool>()) {
        let (text, whole) = if chat { (CHAT, "Gr\u{fc}\u{df}e \u{1f600}") } else { (MESSAGES, "\u{e4}\u{1f600}b") };
        let at = text.len() * usize::from(at) / 65536;
        let exchange = exchange("openrouter.ai", "/api/v1/chat/completions", "text/event-stream", vec![REQUEST.into()], vec![text.into()]);
        let (_, answer) = common::halves(interpret(&exchange, Some(at)));
        let answer = answer.unwrap();
        if !answer.response.choices.is_empty() {
            prop_assert!(whole.starts_with(common::content(&answer).unwrap_or_default()));
        }
        prop_assert!(answer.findings.reasons.contains(&"bytes_lost".to_owned())
            || answer.findings.reasons.contains(&"stream_resynchronised_after_gap".to_owned()));
    }

    #[test]
    fn arbitrary_events_never_panic_and_every_event_is_valid(
        kinds in proptest::collection::vec((0_u64..4, kind()), 0..40),
    ) {
        let mut interpreter = ConnectionInterpreter::new(Limits { exchanges: 2, body_bytes: 4000, buffered_bytes: 6000, ..Limits::default() });
        let mut out = Vec::new();
        for (time, (id, kind)) in kinds.into_iter().enumerate() {
            let time = Nanos(1_000 - time as u64);
            interpreter.event(&HttpEvent { exchange: ExchangeId(id), time, kind }, &mut out);
        }
        interpreter.close(Nanos(0), &mut out);
        prop_assert_eq!(interpreter.buffered_bytes(), 0);
        out.iter().for_each(common::assert_valid);
    }
}

/// Any event; bodies are arbitrary bytes, fragments of the formats, or JSON made of the formats' words.
fn kind() -> impl Strategy<Value = HttpEventKind> {
    let target = prop::sample::select(vec![
        "/v1/chat/completions",
        "/v1/messages",
        "/x",
        "*",
        "http://",
        "?",
        "/api/chat",
        "/api/generate",
        "/api/embed",
        "/v1/embeddings",
        "/generate",
        "/generate_stream",
        "/completion",
        "/infill",
        "/api/v1/chat",
        "/v1/images/edits",
        "/v1/audio/transcriptions",
        "/v1/rerank",
        "/v1/moderations",
        "/models/a/b",
        "/ml/v1/text/generation",
        "/ml/v1/text/chat_stream",
        "/v1/models/a/b/predictions",
    ]);
    let host = prop::sample::select(vec![
        "api.openai.com",
        "api.anthropic.com",
        "h:1",
        ":",
        "[::1]:11434",
        "@",
        "localhost:1234",
        "localhost:8080",
        "router.huggingface.co",
        "api.replicate.com",
        "us-south.ml.cloud.ibm.com",
    ]);
    let media = prop::sample::select(vec![
        "application/json",
        "multipart/form-data; boundary=X",
        "multipart/form-data",
        "",
    ]);
    let request = (target, host, media).prop_map(|(target, host, media)| {
        HttpEventKind::RequestHead(RequestHead {
            method: "POST".into(),
            target: target.into(),
            version: HttpVersion::Http11,
            headers: [
                Header::new("host", host.as_bytes()),
                Header::new("content-type", media.as_bytes()),
                Header::new("authorization", "Bearer \u{e4}".as_bytes()),
            ]
            .into_iter()
            .collect(),
            first_byte: Nanos(0),
        })
    });
    let media = prop::sample::select(vec![
        "text/event-stream",
        "application/json",
        "text/plain",
        "application/x-ndjson",
        "audio/mpeg",
        "",
    ]);
    let response = (media, 100_u16..=999).prop_map(|(media, status)| {
        HttpEventKind::ResponseHead(ResponseHead {
            status,
            reason: String::new(),
            version: HttpVersion::Http11,
            headers: [Header::new("content-type", media.as_bytes())].into_iter().collect(),
            first_byte: Nanos(0),
        })
    });
    let bytes = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..200),
        (
            prop::sample::select(vec![
                CHAT, MESSAGES, WHOLE, REQUEST, OLLAMA, GENERATED, PREDICTED, EMBEDDING, TRANSCRIPT, FORM,
            ]),
            any::<u16>(),
            any::<u16>()
        )
            .prop_map(|(text, from, length)| {
                let from = text.len() * usize::from(from) / 65536;
                let to = (from + usize::from(length) % 800).min(text.len());
                text.as_bytes()[from..to].to_vec()
            }),
        json_value().prop_map(|value| value.to_string().into_bytes()),
        json_value().prop_map(|value| format!("data: {value}\n\n").into_bytes()),
    ];
    prop_oneof![
        request,
        response,
        bytes.clone().prop_map(|bytes| HttpEventKind::RequestBody(bytes.into())),
        bytes.prop_map(|bytes| HttpEventKind::ResponseBody(bytes.into())),
        Just(HttpEventKind::RequestBodyGap { lost: u64::MAX }),
        Just(HttpEventKind::ResponseBodyGap { lost: u64::MAX }),
        Just(HttpEventKind::RequestEnd(BodyEnd::default())),
        Just(HttpEventKind::ResponseEnd(BodyEnd::default())),
    ]
}

/// JSON whose keys are the formats' own, with values of any type.
fn json_value() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(|value| json!(value)),
        any::<i64>().prop_map(|value| json!(value)),
        any::<f64>().prop_map(|value| json!(value)),
        prop::sample::select(vec![
            "text",
            "user",
            "assistant",
            "tool_use",
            "message_start",
            "content_block_start",
            "content_block_delta",
            "message_delta",
            "text_delta",
            "input_json_delta",
            "chat.completion.chunk",
            "message",
            "",
            "\u{1f600}",
        ])
        .prop_map(|value| json!(value)),
    ];
    leaf.prop_recursive(6, 60, 6, |inner| {
        let key = prop::sample::select(vec![
            "type",
            "object",
            "model",
            "messages",
            "role",
            "content",
            "text",
            "choices",
            "delta",
            "message",
            "index",
            "tool_calls",
            "function",
            "name",
            "arguments",
            "id",
            "usage",
            "prompt_tokens",
            "completion_tokens",
            "completion_tokens_details",
            "reasoning_tokens",
            "input_tokens",
            "error",
            "code",
            "finish_reason",
            "tools",
            "content_block",
            "partial_json",
            "system",
            "stop",
            "max_tokens",
            "temperature",
            "input",
            "image_url",
            "prompt",
            "images",
            "options",
            "done",
            "done_reason",
            "response",
            "thinking",
            "eval_count",
            "inputs",
            "parameters",
            "token",
            "generated_text",
            "details",
            "results",
            "data",
            "embedding",
            "embeddings",
            "output",
            "stats",
            "result",
            "metrics",
            "errors",
            "documents",
            "query",
            "file",
        ]);
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(serde_json::Value::Array),
            proptest::collection::vec((key, inner), 0..6).prop_map(|pairs| {
                serde_json::Value::Object(
                    pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect(),
                )
            }),
        ]
    })
}
