//! However a body is cut, the events are the same; whatever comes, nothing panics and every event is valid.

mod common;

use bytes::Bytes;
use common::{AwsFrame, Exchange, Piece};
use oisp_ai::{AiEvent, ConnectionInterpreter, Limits};
use oisp_decode::{
    BodyEnd, Completeness, Defect, Direction, ExchangeId, Header, HttpEvent, HttpEventKind, HttpVersion,
    JsonRpcLine, Nanos, RequestHead, ResponseHead, UpgradeProtocol, WebSocketKind, WebSocketMessage,
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

const COHERE: &str = concat!(
    "event: message-start\ndata: {\"type\":\"message-start\",\"id\":\"c\"}\n\n",
    "event: content-start\ndata: {\"type\":\"content-start\",\"index\":0,\"delta\":{\"message\":{\"content\":{\"type\":\"text\",\"text\":\"\"}}}}\n\n",
    "event: content-delta\ndata: {\"type\":\"content-delta\",\"index\":0,\"delta\":{\"message\":{\"content\":{\"text\":\"\u{e4}\u{1f600}\"}}}}\n\n",
    "event: tool-call-start\ndata: {\"type\":\"tool-call-start\",\"index\":0,\"delta\":{\"message\":{\"tool_calls\":{\"id\":\"a\",\"function\":{\"name\":\"f\",\"arguments\":\"{\"}}}}}\n\n",
    "event: tool-call-delta\ndata: {\"type\":\"tool-call-delta\",\"index\":0,\"delta\":{\"message\":{\"tool_calls\":{\"function\":{\"arguments\":\"}\"}}}}}\n\n",
    "event: message-end\ndata: {\"type\":\"message-end\",\"delta\":{\"finish_reason\":\"COMPLETE\",\"usage\":{\"tokens\":{\"input_tokens\":1,\"output_tokens\":2}}}}\n\n",
    "data: [DONE]\n\n",
);

const COHERE_LINES: &str = concat!(
    "{\"event_type\":\"stream-start\",\"generation_id\":\"g\"}\n",
    "{\"event_type\":\"text-generation\",\"text\":\"\u{e4}\u{1f600}\"}\n",
    "{\"event_type\":\"stream-end\",\"finish_reason\":\"COMPLETE\",\"response\":{\"generation_id\":\"g\",\"text\":\"\u{e4}\u{1f600}\",\"tool_calls\":[{\"name\":\"f\",\"parameters\":{}}],\"meta\":{\"tokens\":{\"input_tokens\":1}}}}",
);

const CONVERSE: &str = "{\"output\":{\"message\":{\"role\":\"assistant\",\"content\":[{\"text\":\"\u{e4}\"},{\"toolUse\":{\"toolUseId\":\"a\",\"name\":\"f\",\"input\":{}}}]}},\"stopReason\":\"end_turn\",\"usage\":{\"inputTokens\":1,\"outputTokens\":2}}";

/// An AWS event stream as Converse and as an invocation send it.
fn aws_stream(converse: bool) -> Vec<u8> {
    let chunk = |name: &'static str, data: serde_json::Value| {
        let frame =
            if converse { AwsFrame::Event(name, data) } else { AwsFrame::Chunk(json!({ name: data })) };
        frame.encoded()
    };
    [
        chunk("messageStart", json!({ "role": "assistant" })),
        chunk("contentBlockDelta", json!({ "contentBlockIndex": 0, "delta": { "text": "\u{e4}" } })),
        chunk("contentBlockDelta", json!({ "contentBlockIndex": 0, "delta": { "text": "\u{1f600}b" } })),
        chunk("contentBlockStop", json!({ "contentBlockIndex": 0 })),
        chunk("messageStop", json!({ "stopReason": "end_turn" })),
        chunk("metadata", json!({ "usage": { "inputTokens": 1, "outputTokens": 2 } })),
    ]
    .concat()
}
const GEMINI: &str = concat!(
    "data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"\u{e4}\",\"thought\":true},{\"text\":\"Gr\u{fc}\"}]},\"index\":0}],\"modelVersion\":\"g\"}\r\n\r\n",
    "data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"\u{df}e\"},{\"functionCall\":{\"name\":\"f\",\"args\":{\"a\":1}}}]},\"index\":0}]}\r\n\r\n",
    "data: {\"candidates\":[{\"content\":{\"parts\":[{\"functionCall\":{\"name\":\"h\",\"willContinue\":true}},{\"functionCall\":{\"partialArgs\":[{\"jsonPath\":\"$.a[0]\",\"stringValue\":\"x\"}]}}]}}]}\r\n\r\n",
    "data: {\"candidates\":[{\"finishReason\":\"STOP\",\"index\":0}],\"usageMetadata\":{\"promptTokenCount\":1,\"candidatesTokenCount\":2}}\r\n\r\n",
);

const GEMINI_ARRAY: &str = concat!(
    "[{\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"Gr\u{fc}\"}]},\"index\":0}]}\n,\r\n",
    "{\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"\u{df}e ]\"}]},\"finishReason\":\"STOP\"}],\"usageMetadata\":{\"promptTokenCount\":1}}\n]\n",
);

const INTERACTION: &str = concat!(
    "event: interaction.created\ndata: {\"interaction\":{\"id\":\"v1\",\"model\":\"g\"},\"event_type\":\"interaction.created\"}\n\n",
    "event: step.start\ndata: {\"index\":0,\"step\":{\"type\":\"model_output\"},\"event_type\":\"step.start\"}\n\n",
    "event: step.delta\ndata: {\"index\":0,\"delta\":{\"type\":\"text\",\"text\":\"Gr\u{fc}\"},\"event_type\":\"step.delta\"}\n\n",
    "event: step.start\ndata: {\"index\":1,\"step\":{\"type\":\"function_call\",\"id\":\"c\",\"name\":\"f\"},\"event_type\":\"step.start\"}\n\n",
    "event: step.delta\ndata: {\"index\":1,\"delta\":{\"type\":\"arguments_delta\",\"arguments\":\"{}\"},\"event_type\":\"step.delta\"}\n\n",
    "event: interaction.completed\ndata: {\"interaction\":{\"status\":\"completed\"},\"event_type\":\"interaction.completed\"}\n\n",
    "event: done\ndata: [DONE]\n\n",
);
const RESPONSES: &str = concat!(
    "event: response.created\ndata: {\"type\":\"response.created\",\"sequence_number\":0,\"response\":{\"id\":\"r\",\"model\":\"g\",\"status\":\"in_progress\"}}\n\n",
    "data: {\"type\":\"response.output_item.added\",\"sequence_number\":1,\"output_index\":0,\"item\":{\"id\":\"m\",\"type\":\"message\",\"content\":[]}}\n\n",
    "data: {\"type\":\"response.content_part.added\",\"sequence_number\":2,\"output_index\":0,\"content_index\":0,\"part\":{\"type\":\"output_text\",\"text\":\"\"}}\n\n",
    "data: {\"type\":\"response.output_text.delta\",\"sequence_number\":3,\"output_index\":0,\"content_index\":0,\"delta\":\"\u{e4}\u{1f600}\"}\n\n",
    "data: {\"type\":\"response.output_text.delta\",\"sequence_number\":4,\"output_index\":0,\"content_index\":0,\"delta\":\"b\"}\n\n",
    "data: {\"type\":\"response.output_item.added\",\"sequence_number\":5,\"output_index\":1,\"item\":{\"type\":\"function_call\",\"call_id\":\"c\",\"name\":\"f\",\"arguments\":\"\"}}\n\n",
    "data: {\"type\":\"response.function_call_arguments.delta\",\"sequence_number\":6,\"output_index\":1,\"delta\":\"{}\"}\n\n",
    "data: {\"type\":\"response.completed\",\"sequence_number\":7,\"response\":{\"id\":\"r\",\"status\":\"completed\",\"output\":[],\"usage\":{\"input_tokens\":1,\"output_tokens\":2}}}\n\n",
);

const ASK_RESPONSES: &str = "{\"model\":\"m\",\"input\":[{\"role\":\"user\",\"content\":\"\u{e4}\u{1f600}\"},{\"type\":\"function_call_output\",\"call_id\":\"c\",\"output\":\"x\"}]}";

const WHOLE: &str = "{\"object\":\"chat.completion\",\"choices\":[{\"message\":{\"role\":\"assistant\",\"content\":\"\u{e4}\"},\"finish_reason\":\"stop\"}]}";

const MCP: &str = "{\"method\":\"tools/call\",\"params\":{\"name\":\"t\",\"arguments\":{\"a\":\"\u{e4}\"}},\"jsonrpc\":\"2.0\",\"id\":1}";
const MCP_STREAM: &str = concat!(
    "event: endpoint\ndata: /messages?session_id=1\n\n",
    "event: message\ndata: {\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"content\":[{\"type\":\"text\",\"text\":\"x\"}]}}\n\n",
);

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
fn cut(text: impl AsRef<[u8]>, cuts: &[u16]) -> Vec<Piece> {
    let text = text.as_ref();
    let mut places: Vec<usize> = cuts.iter().map(|cut| text.len() * usize::from(*cut) / 65536).collect();
    places.sort_unstable();
    places.push(text.len());
    let mut from = 0;
    places.into_iter().map(|to| Piece::Bytes(text[std::mem::replace(&mut from, to)..to].to_vec())).collect()
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

/// A request of every format at once.
const REQUEST: &str = "{\"model\":\"m\",\"input\":\"i\",\"content\":{\"parts\":[{\"text\":\"c\"}]},\"contents\":[{\"parts\":[{\"text\":\"p\"}]}],\"messages\":[{\"role\":\"user\",\"content\":\"\u{e4}\u{1f600}\"}],\"stream\":true}";

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_cutting_gives_the_same_events(
        cuts in proptest::collection::vec(any::<u16>(), 0..40),
        request_cuts in proptest::collection::vec(any::<u16>(), 0..10),
        text in prop::sample::select(vec![
            CHAT, MESSAGES, WHOLE, COHERE, COHERE_LINES, CONVERSE, GEMINI, GEMINI_ARRAY, INTERACTION, RESPONSES, OLLAMA,
            GENERATED, PREDICTED, EMBEDDING, TRANSCRIPT,
        ]),
        asked in prop::sample::select(vec![REQUEST, ASK_RESPONSES]),
        media_type in prop::sample::select(vec!["", "text/event-stream", "application/x-ndjson", "text/plain", "audio/mpeg"]),
        host in prop::sample::select(vec![
            ("api.openai.com", "/v1/chat/completions"),
            ("openrouter.ai", "/api/v1/messages"),
            ("generativelanguage.googleapis.com", "/v1beta/models/g:streamGenerateContent"),
            ("generativelanguage.googleapis.com", "/v1beta/interactions"),
            ("us-east5-aiplatform.googleapis.com", "/v1/projects/p/locations/l/publishers/google/models/e-embedding:predict"),
            ("aiplatform.googleapis.com", "/v1/publishers/anthropic/models/c:streamRawPredict"),
            ("unknown.example", "/v1beta/models/g:countTokens"),
            ("api.openai.com", "/v1/responses"),
            ("unknown.example", "/v1/responses"),
            ("unknown.example", "/v1/completions"),
            ("unknown.example", "/v1/chat/completions"),
            ("api.cohere.com", "/v2/chat"),
            ("unknown.example", "/model/amazon.nova-v1/invoke"),
            ("localhost:11434", "/api/chat"),
            ("ollama.com", "/api/generate"),
            ("api.openai.com", "/v1/embeddings"),
            ("api.openai.com", "/v1/audio/transcriptions"),
            ("router.huggingface.co", "/generate_stream"),
            ("localhost:8080", "/completion"),
            ("localhost:1234", "/api/v1/chat"),
            ("us-south.ml.cloud.ibm.com", "/ml/v1/text/generation_stream"),
            ("api.replicate.com", "/v1/predictions"),
            ("api.aleph-alpha.com", "/complete"),
            ("api.openai.com", "/v1/threads/t/runs"),
            ("w.cloud.databricks.com", "/serving-endpoints/e/invocations"),
            ("runtime.sagemaker.eu-west-1.amazonaws.com", "/endpoints/e/invocations-response-stream"),
            ("bedrock-agent-runtime.us-east-1.amazonaws.com", "/agents/a/agentAliases/b/sessions/s/text"),
            ("bedrock-agent-runtime.us-east-1.amazonaws.com", "/retrieveAndGenerate"),
            ("unknown.example", "/other"),
            ("unknown.example", "/v1/embeddings-of-nothing"),
        ]),
        gap in proptest::option::of(any::<u16>()),
    ) {
        let gap_at = gap.map(|gap| text.len() * usize::from(gap) / 65536);
        let whole = exchange(host.0, host.1, media_type, vec![asked.into()], vec![text.into()]);
        let pieces = exchange(host.0, host.1, media_type, cut(asked, &request_cuts), cut(text, &cuts));
        prop_assert_eq!(interpret(&whole, gap_at), interpret(&pieces, gap_at));
        let mut events = pieces.events(1);
        if let Some(at) = gap.filter(|_| events.len() > 2) {
            let place = usize::from(at) % events.len();
            if let HttpEventKind::ResponseBody(bytes) = &events[place].kind {
                events[place].kind = HttpEventKind::ResponseBodyGap { lost: bytes.len() as u64 };
            }
        }
        for (number, event) in (1..).zip(&mut events) {
            event.time = Nanos(number * 70_000_000);
        }
        common::chunks_add_up(&events);
    }

    #[test]
    fn any_cutting_of_an_aws_event_stream_gives_the_same_events(
        cuts in proptest::collection::vec(any::<u16>(), 0..40),
        converse in any::<bool>(),
        media_type in prop::sample::select(vec!["application/vnd.amazon.eventstream", "application/octet-stream", ""]),
        gap in proptest::option::of(any::<u16>()),
    ) {
        let body = aws_stream(converse);
        let gap_at = gap.map(|gap| body.len() * usize::from(gap) / 65536);
        let path = if converse { "/model/a.b/converse-stream" } else { "/model/amazon.b/invoke-with-response-stream" };
        let of = |pieces: Vec<Piece>| {
            let request = "{\"messages\":[{\"role\":\"user\",\"content\":[{\"text\":\"hi\"}]}]}";
            exchange("unknown.example", path, media_type, vec![request.into()], pieces)
        };
        let whole = interpret(&of(vec![Piece::Bytes(body.clone())]), gap_at);
        prop_assert_eq!(&whole, &interpret(&of(cut(&body, &cuts)), gap_at));
        let (_, answer) = common::halves(whole);
        let answer = answer.unwrap();
        if !answer.response.choices.is_empty() {
            let said = common::content(&answer).unwrap_or_default();
            let is_beginning = "\u{e4}\u{1f600}b".starts_with(said);
            prop_assert!(is_beginning, "{said}");
            let is_whole = said == "\u{e4}\u{1f600}b";
            prop_assert!(gap.is_some() || is_whole, "{said}");
        } else {
            prop_assert!(gap.is_some());
        }
    }

    #[test]
    fn text_before_a_gap_is_a_beginning_of_the_whole_text(
        at in any::<u16>(),
        (text, whole) in prop::sample::select(vec![
            (CHAT, "Gr\u{fc}\u{df}e \u{1f600}"),
            (MESSAGES, "\u{e4}\u{1f600}b"),
            (GEMINI, "Gr\u{fc}\u{df}e"),
            (GEMINI_ARRAY, "Gr\u{fc}\u{df}e ]"),
            (RESPONSES, "\u{e4}\u{1f600}b"),
            (INTERACTION, "Gr\u{fc}"),
        ]),
    ) {
        let at = text.len() * usize::from(at) / 65536;
        let target = if text == GEMINI_ARRAY {
            ("generativelanguage.googleapis.com", "/v1beta/models/g:streamGenerateContent")
        } else {
            ("openrouter.ai", "/api/v1/chat/completions")
        };
        let exchange = exchange(target.0, target.1, "text/event-stream", vec![REQUEST.into()], vec![text.into()]);
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
        "/v1/messages/batches",
        "/v2/chat",
        "/v1/chat",
        "/v1/generate",
        "/v2/embed",
        "/v2/rerank",
        "/model/a/converse",
        "/model/a/count-tokens",
        "/model/%ff/invoke",
        "/model/amazon.titan/invoke-with-response-stream",
        "/v1/responses",
        "/v1/realtime",
        "/v1/completions",
        "/x",
        "*",
        "http://",
        "?",
        "/models/m:generateContent",
        "/models/:predict",
        "/v1beta/interactions",
        "/models/m:embedContent",
        "/models/m:countTokens",
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
        "api.cohere.com",
        "bedrock-runtime.us-east-1.amazonaws.com",
        "generativelanguage.googleapis.com",
        "aiplatform.googleapis.com",
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
    let method = prop::sample::select(vec!["POST", "POST", "GET", "DELETE"]);
    let session = prop::sample::select(vec![
        ("x", ""),
        ("mcp-session-id", "s"),
        ("mcp-protocol-version", "2026-07-28"),
    ]);
    let request =
        (target, host, media, method, session).prop_map(|(target, host, media, method, session)| {
            let upgrades = method == "GET";
            HttpEventKind::RequestHead(RequestHead {
                method: method.into(),
                target: target.into(),
                version: HttpVersion::Http11,
                headers: [
                    Header::new("host", host.as_bytes()),
                    Header::new("content-type", media.as_bytes()),
                    Header::new("authorization", "Bearer \u{e4}".as_bytes()),
                    Header::new("upgrade", if upgrades { "websocket" } else { "" }.as_bytes()),
                    Header::new("accept", "text/event-stream".as_bytes()),
                    Header::new(session.0, session.1.as_bytes()),
                ]
                .into_iter()
                .collect(),
                first_byte: Nanos(0),
            })
        });
    let media = prop::sample::select(vec![
        "text/event-stream",
        "application/json",
        "application/x-ndjson",
        "application/vnd.amazon.eventstream",
        "text/plain",
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
                CHAT,
                MESSAGES,
                WHOLE,
                REQUEST,
                COHERE,
                COHERE_LINES,
                CONVERSE,
                GEMINI,
                GEMINI_ARRAY,
                INTERACTION,
                RESPONSES,
                ASK_RESPONSES,
                OLLAMA,
                GENERATED,
                PREDICTED,
                EMBEDDING,
                TRANSCRIPT,
                FORM,
                MCP,
                MCP_STREAM,
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
        Just(HttpEventKind::Upgraded { protocol: UpgradeProtocol::WebSocket }),
        (json_value(), any::<bool>(), any::<bool>())
            .prop_map(|(value, masked, lost)| message(&value, masked, lost)),
        (prop::sample::select(vec![MCP, "{", "[]", MCP_STREAM]), any::<bool>(), any::<bool>()).prop_map(
            |(line, is_sent, truncated)| {
                let direction = if is_sent { Direction::Sent } else { Direction::Received };
                HttpEventKind::JsonRpcLine(JsonRpcLine { direction, bytes: line.into(), truncated })
            }
        ),
        Just(HttpEventKind::RequestBodyGap { lost: u64::MAX }),
        Just(HttpEventKind::ResponseBodyGap { lost: u64::MAX }),
        Just(HttpEventKind::RequestEnd(BodyEnd::default())),
        Just(HttpEventKind::ResponseEnd(BodyEnd::default())),
    ]
}

/// A message of a WebSocket, of which something may be missing.
fn message(value: &serde_json::Value, masked: bool, lost: bool) -> HttpEventKind {
    let text = value.to_string();
    let mut completeness = Completeness::default();
    if lost {
        completeness.add(Defect::Gap { lost_bytes: 1, at: 0 });
    }
    HttpEventKind::WebSocketMessage(WebSocketMessage {
        direction: if masked { Direction::Sent } else { Direction::Received },
        kind: WebSocketKind::Text,
        wire_bytes: text.len() as u64,
        bytes: text.into(),
        completeness,
        compressed: false,
        masked,
        whole: None,
        first_byte: Nanos(0),
    })
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
            "step.start",
            "step.delta",
            "interaction.completed",
            "function_call",
            "function_result",
            "model_output",
            "thought_summary",
            "arguments_delta",
            "$.a[0].b",
            "message",
            "function_call",
            "function_call_output",
            "reasoning",
            "mcp_call",
            "output_text",
            "response.create",
            "response.created",
            "response.output_item.added",
            "response.output_item.done",
            "response.content_part.added",
            "response.output_text.delta",
            "response.output_text.done",
            "response.function_call_arguments.delta",
            "response.reasoning_summary_text.delta",
            "response.completed",
            "response.done",
            "conversation.item.create",
            "conversation.item.added",
            "session.update",
            "error",
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
            "inputText",
            "outputText",
            "generations",
            "is_finished",
            "embeddings",
            "documents",
            "query",
            "toolUse",
            "toolResult",
            "output",
            "contentBlockDelta",
            "contentBlockIndex",
            "amazon-bedrock-invocationMetrics",
            "requests",
            "event_type",
            "response",
            "citations",
            "contents",
            "parts",
            "candidates",
            "functionCall",
            "function_response",
            "partialArgs",
            "jsonPath",
            "stringValue",
            "willContinue",
            "finishReason",
            "promptFeedback",
            "usageMetadata",
            "event_type",
            "step",
            "interaction",
            "steps",
            "summary",
            "requests",
            "instances",
            "embeddings",
            "values",
            "predictions",
            "output",
            "item",
            "item_id",
            "output_index",
            "content_index",
            "sequence_number",
            "part",
            "response",
            "session",
            "status",
            "call_id",
            "instructions",
            "summary",
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
