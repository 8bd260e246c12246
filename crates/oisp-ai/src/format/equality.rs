//! Streams read with [`StreamAccumulator::text_event`] give what they give without it.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{FormatId, ParsedResponse, StreamAccumulator, of, of_stream};
use crate::json;
use crate::providers::Dialect;

/// A name and data; `None` is a gap.
type Event = Option<(String, String)>;

/// What came out, what each event was said to be, and how many were taken from their text.
type Read = (ParsedResponse, Vec<Option<bool>>, usize);

fn read(format: FormatId, events: &[Event], from_text: bool) -> Read {
    let mut accumulator: Box<dyn StreamAccumulator> = of(format).stream(Dialect::default());
    let (mut said, mut taken) = (Vec::new(), 0);
    for event in events {
        let Some((name, data)) = event else {
            accumulator.gap();
            continue;
        };
        let content = if from_text { accumulator.text_event(name, data) } else { None };
        taken += usize::from(content.is_some());
        said.push(content.or_else(|| {
            let value = json::parse_text(data, usize::MAX).ok()?;
            Some(accumulator.event(name, value))
        }));
        said.push(Some(accumulator.is_complete()));
        said.push(Some(accumulator.has_ended()));
    }
    (accumulator.finish(), said, taken)
}

/// How many events were taken from their text.
fn assert_equal(format: FormatId, events: &[Event]) -> usize {
    let (without, with) = (read(format, events, false), read(format, events, true));
    assert_eq!(without.1, with.1, "{events:?}");
    assert_eq!(without.0.response, with.0.response, "{events:?}");
    assert_eq!(without.0.extension, with.0.extension, "{events:?}");
    assert_eq!(without.0.unparsed, with.0.unparsed, "{events:?}");
    with.2
}

fn event(name: &str, data: impl ToString) -> Event {
    Some((name.to_owned(), data.to_string()))
}

#[test]
fn shapes_that_look_alike_give_the_same() {
    let chat = [
        r#"{"choices":[[0,"stop",null,{"content":"a"}]]}"#,
        r#"[null,null,null,null,null,[]]"#,
        r#"{"choices":[{"delta":["a"]}]}"#,
        r#"{"choices":[{"delta":[]}]}"#,
        r#"{"choices":[{"delta":null,"message":{"content":"a"}}]}"#,
        r#"{"choices":[{"delta":{"content":"a","content":"b"}}]}"#,
        r#"{"choices":[{"index":1.0,"delta":{"content":"a"}}]}"#,
        r#"{"choices":[{"index":-1,"delta":{"content":"a"}},{"index":null,"delta":{"content":"b"}}]}"#,
        r#"{"choices":[{"delta":{"content":"\ud800"}}]}"#,
        r#"{"choices":[{"delta":{"content":"\ud83d\ude00\n"}}]}"#,
        r#"{"created":1e400,"choices":[{"delta":{"content":"a"}}]}"#,
        r#"{"object":"\ud800","choices":[{"delta":{"content":"a"}}]}"#,
        r#"{"choices":[{"delta":{"content":"a"}}]} x"#,
        r#"{"choices":[{"delta":{"content":"a"}}],"usage":7}"#,
        r#"{"choices":[{"delta":{"content":"a"}}],"usage":{"prompt_tokens":1,"prompt_tokens":2}}"#,
        r#"{"choices":[{"delta":{"content":"a"}}],"x_groq":{"usage":{"prompt_tokens":1}}}"#,
        r#"{"choices":[{"delta":{"content":"a"}}],"error":{"message":"m"}}"#,
        r#"{"choices":[{"error":{"message":"m"}}]}"#,
        r#"{"choices":null}"#,
        r#"{"id":"","model":5,"choices":[]}"#,
        r#"{"choices":[{"delta":{"tool_calls":[{"function":null},{"function":{"arguments":{"a":1}}},null]}}]}"#,
        r#"{"choices":[{"delta":{"tool_calls":[{"custom":{"name":"n","input":"a"}}]}}]}"#,
        r#"{"choices":[{"delta":{"function_call":{"name":"n","arguments":"a"}}}]}"#,
        r#"{"choices":[{"delta":{"audio":{"data":"a"},"images":[]}}]}"#,
        r#"{"choices":[{"finish_reason":"","native_finish_reason":"x"}]}"#,
    ];
    let messages = [
        r#"["content_block_delta",0,["text_delta","a"]]"#,
        r#"{"type":"content_block_delta","index":0,"delta":["text_delta","a"]}"#,
        r#"{"type":"content_block_delta","delta":{"type":"text_delta","text":"a"}}"#,
        r#"{"type":"content_block_delta","index":-1,"delta":{"type":"text_delta","text":"a"}}"#,
        r#"{"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":7}}"#,
        r#"{"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":null}}"#,
        r#"{"type":"content_block_delta","index":1,"delta":{"type":"text_delta"},"error":"m"}"#,
        r#"{"type":"ping","index":1,"delta":{"type":"text_delta","text":"a"}}"#,
        r#"{"type":"content_block_delta","index":1,"delta":{"type":"other","text":"a"}}"#,
        r#"{"type":"content_block_delta","index":1,"delta":{"type":"signature_delta","signature":"a"}}"#,
        r#"{"type":null,"index":1,"delta":{"type":"text_delta","text":"a"}}"#,
    ];
    let responses = [
        r#"{"type":"response.output_item.added","output_index":1,"item":{"id":"i","type":"message"}}"#,
        r#"{"type":"response.output_text.delta","sequence_number":3,"item_id":"i","output_index":0,"delta":"a"}"#,
        r#"{"type":"response.output_text.delta","sequence_number":9,"item_id":"i","delta":"b","logprobs":[1e400]}"#,
        r#"{"type":"response.output_text.delta","sequence_number":9.0,"output_index":null,"delta":"b"}"#,
        r#"{"type":"response.output_text.delta","content_index":2,"delta":7}"#,
        r#"{"type":"response.output_text.delta"}"#,
        r#"{"type":"response.output_text.delta","delta":"a","response":{"id":"r"}}"#,
        r#"{"type":"response.reasoning_summary_text.delta","summary_index":1,"content_index":2,"delta":"a"}"#,
        r#"{"type":"response.function_call_arguments.delta","content_index":2,"delta":"{}"}"#,
        r#"{"type":"response.shell_call_command.delta","command_index":1,"delta":"ls"}"#,
        r#"{"type":"response.output_audio.delta","delta":"AAAA"}"#,
        r#"{"type":"response.web_search_call.delta","delta":"a"}"#,
        r#"{"type":"output_text.delta","delta":"a"}"#,
        r#"{"type":"response.output_text.done","text":"ab"}"#,
        r#"{"type":"response.output_text.delta","delta":"c"}"#,
        r#"["response.output_text.delta",1,"i",0,0,0,0,"a"]"#,
    ];
    let cohere = [
        r#"{"type":"content-start","index":0,"delta":{"message":{"content":{"type":"text","text":""}}}}"#,
        r#"{"type":"content-delta","index":0,"delta":{"message":{"content":{"text":"a"}}}}"#,
        r#"{"type":"content-delta","index":0,"delta":{"message":{"content":{"text":"a","thinking":""}}}}"#,
        r#"{"type":"content-delta","index":0,"delta":{"message":{"content":{"text":7,"thinking":"t"}}}}"#,
        r#"{"type":"content-delta","index":-1,"delta":{"message":{"content":{"text":"a"}}}}"#,
        r#"{"type":"content-delta","delta":{"message":{"content":["a"]}}}"#,
        r#"{"type":"content-delta","delta":{"message":{"content":null}}}"#,
        r#"{"type":"content-delta","delta":null}"#,
        r#"{"type":"tool-call-start","index":1,"delta":{"message":{"tool_calls":{"id":"c","function":{"name":"n","arguments":""}}}}}"#,
        r#"{"type":"tool-call-delta","index":1,"delta":{"message":{"tool_calls":{"function":{"arguments":"{}"}}}}}"#,
        r#"{"type":"tool-call-delta","index":1,"delta":{"message":{"tool_calls":[{"function":{"arguments":"{}"}}]}}}"#,
        r#"{"type":"tool-call-delta","index":2,"delta":{"message":{"tool_calls":{"function":{"arguments":null}}}}}"#,
        r#"{"type":"tool-plan-delta","delta":{"message":{"tool_plan":"p"}}}"#,
        r#"["content-delta",0,[[["text","a",null],null]]]"#,
    ];
    let ollama = [
        r#"{"model":"m","created_at":"t","message":{"role":"assistant","content":"a"},"done":false}"#,
        r#"{"model":"","message":{"content":"","thinking":"t"},"done":false}"#,
        r#"{"model":"n","message":null,"response":"r","thinking":"t","done":false}"#,
        r#"{"message":{"content":null},"response":"r","done":false}"#,
        r#"{"message":{"content":"a","tool_calls":[{"function":{"name":"n","arguments":{}}}]},"done":false}"#,
        r#"{"message":{"content":"a"}}"#,
        r#"{"message":{"content":"a"},"done":null}"#,
        r#"{"message":["assistant","a",null],"done":false}"#,
        r#"{"error":"e","done":false}"#,
        r#"{"message":{"content":"z"},"done":true,"done_reason":"stop","eval_count":1}"#,
    ];
    for name in ["", "error", "content_block_delta"] {
        for (format, texts) in [
            (FormatId::OpenAiChat, &chat[..]),
            (FormatId::AnthropicMessages, &messages[..]),
            (FormatId::OpenAiResponses, &responses[..]),
            (FormatId::CohereV2, &cohere[..]),
            (FormatId::Ollama, &ollama[..]),
        ] {
            for text in texts {
                assert_equal(format, &[event(name, text)]);
            }
            let all: Vec<Event> = texts.iter().map(|text| event(name, text)).collect();
            assert_equal(format, &all);
        }
    }
    let deep = ["{\"object\":", &"[".repeat(50_000), &"]".repeat(50_000), ",\"choices\":[]}"].concat();
    assert_eq!(assert_equal(FormatId::OpenAiChat, &[event("", deep)]), 0);
}

#[test]
fn recorded_streams_give_the_same() {
    let Some(folder) = std::env::var_os("OISP_CORPUS") else {
        assert!(std::env::var_os("OISP_REQUIRE_ALL").is_none(), "OISP_CORPUS is not set");
        eprintln!("skipped: OISP_CORPUS is not set");
        return;
    };
    let text = std::fs::read_to_string(std::path::Path::new(&folder).join("exchanges.jsonl")).unwrap();
    let (mut streams, mut events, mut taken) = (0, 0, 0);
    for line in text.lines() {
        let exchange: Value = serde_json::from_str(line).unwrap();
        let body = exchange["response_body"].as_str().unwrap_or_default();
        let data: Vec<&str> =
            body.lines().filter_map(|line| line.strip_prefix("data:")).map(str::trim).collect();
        let format = data.iter().find_map(|data| of_stream(&serde_json::from_str(data).ok()?, "", None));
        let Some(format) = format else { continue };
        let mut stream: Vec<Event> = data.iter().map(|data| event("", data)).collect();
        streams += 1;
        events += data.len();
        taken += assert_equal(format.id(), &stream);
        stream.insert(data.len() / 2, None);
        assert_equal(format.id(), &stream);
    }
    println!("of {events} events of {streams} streams {taken} are taken from their text");
    assert!(streams > 100 && taken * 2 > events, "{taken} of {events} events of {streams} streams");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_chat_stream_gives_the_same(events in proptest::collection::vec(chat_event(), 0..12)) {
        assert_equal(FormatId::OpenAiChat, &events);
    }

    #[test]
    fn any_messages_stream_gives_the_same(events in proptest::collection::vec(messages_event(), 0..12)) {
        assert_equal(FormatId::AnthropicMessages, &events);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_responses_stream_gives_the_same(events in proptest::collection::vec(responses_event(), 0..12)) {
        assert_equal(FormatId::OpenAiResponses, &events);
    }

    #[test]
    fn any_cohere_stream_gives_the_same(events in proptest::collection::vec(cohere_event(), 0..12)) {
        assert_equal(FormatId::CohereV2, &events);
    }

    #[test]
    fn any_ollama_stream_gives_the_same(events in proptest::collection::vec(ollama_event(), 0..12)) {
        assert_equal(FormatId::Ollama, &events);
    }
}

fn responses_event() -> BoxedStrategy<Event> {
    let kind = or_strange(
        prop::sample::select(vec![
            "response.output_text.delta",
            "response.output_text.delta",
            "response.refusal.delta",
            "response.reasoning_summary_text.delta",
            "response.function_call_arguments.delta",
            "response.output_text.done",
            "response.output_item.added",
            "response.output_item.done",
            "response.content_part.added",
            "response.output_audio.delta",
        ])
        .prop_map(|kind| json!(kind)),
    );
    let item = object(vec![("id", text()), ("type", or_strange(Just(json!("message"))))]);
    written(object(vec![
        ("type", kind),
        ("sequence_number", number()),
        ("item_id", text()),
        ("output_index", number()),
        ("content_index", number()),
        ("summary_index", number()),
        ("delta", text()),
        ("text", text()),
        ("item", item),
        ("logprobs", array(number())),
    ]))
}

fn cohere_event() -> BoxedStrategy<Event> {
    let kind = or_strange(
        prop::sample::select(vec![
            "content-delta",
            "content-delta",
            "content-start",
            "content-end",
            "tool-call-start",
            "tool-call-delta",
            "tool-call-end",
        ])
        .prop_map(|kind| json!(kind)),
    );
    let content = object(vec![("type", text()), ("text", text()), ("thinking", text())]);
    let call = object(vec![("function", object(vec![("arguments", text())]))]);
    let message = prop_oneof![
        object(vec![("content", content.clone())]),
        object(vec![("tool_calls", call.clone())]),
        object(vec![("content", content), ("tool_calls", call)]),
    ]
    .boxed();
    written(object(vec![("type", kind), ("index", number()), ("delta", object(vec![("message", message)]))]))
}

fn ollama_event() -> BoxedStrategy<Event> {
    let message = object(vec![("role", text()), ("content", text()), ("thinking", text())]);
    let done = or_strange(prop::sample::select(vec![false, false, true]).prop_map(|done| json!(done)));
    written(object(vec![
        ("model", text()),
        ("created_at", text()),
        ("message", message),
        ("response", text()),
        ("thinking", text()),
        ("done", done),
    ]))
}

/// Now and then something that does not belong there.
fn or_strange(usual: impl Strategy<Value = Value> + 'static) -> BoxedStrategy<Value> {
    let strange = prop::sample::select(vec![
        json!(null),
        json!(1),
        json!(-1.5),
        json!("x"),
        json!([]),
        json!(["x", 1]),
        json!({}),
        json!({ "type": "text", "text": "t", "usage": null }),
    ]);
    prop_oneof![12 => usual, 1 => strange].boxed()
}

fn text() -> BoxedStrategy<Value> {
    or_strange(prop::sample::select(vec!["", "a", "b", "\u{1f600}\n\"", "stop"]).prop_map(|text| json!(text)))
}

fn number() -> BoxedStrategy<Value> {
    or_strange((0_u64..3).prop_map(|number| json!(number)))
}

/// Each field is there or not.
fn object(fields: Vec<(&'static str, BoxedStrategy<Value>)>) -> BoxedStrategy<Value> {
    let fields: Vec<_> = fields
        .into_iter()
        .map(|(key, value)| proptest::option::of(value).prop_map(move |value| Some((key.to_owned(), value?))))
        .collect();
    let unknown =
        prop_oneof![15 => Just(None), 1 => Just(Some(("error".to_owned(), json!({ "message": "m" }))))];
    let object = (fields, unknown).prop_map(|(mut fields, unknown)| {
        fields.push(unknown);
        Value::Object(fields.into_iter().flatten().collect())
    });
    or_strange(object)
}

fn array(element: BoxedStrategy<Value>) -> BoxedStrategy<Value> {
    or_strange(proptest::collection::vec(element, 0..3).prop_map(Value::Array))
}

/// The JSON, sometimes cut off or with a field twice; or a gap.
fn written(value: BoxedStrategy<Value>) -> BoxedStrategy<Event> {
    let name = prop::sample::select(vec!["", "", "", "content_block_delta", "error"]);
    (name, value, 0_u8..40)
        .prop_map(|(name, value, fate)| {
            let text = value.to_string();
            match fate {
                0 => None,
                1 => event(name, text.replacen('{', "{\"index\":1,", 1)),
                2 => event(name, text.trim_end_matches('}')),
                _ => event(name, text),
            }
        })
        .boxed()
}

fn chat_event() -> BoxedStrategy<Event> {
    let function = object(vec![("name", text()), ("arguments", text())]);
    let call =
        object(vec![("index", number()), ("id", text()), ("type", text()), ("function", function.clone())]);
    let delta = object(vec![
        ("role", text()),
        ("content", text()),
        ("reasoning", text()),
        ("reasoning_content", text()),
        ("refusal", text()),
        ("tool_calls", array(call)),
    ]);
    let choice = object(vec![
        ("index", number()),
        ("delta", delta),
        ("logprobs", Just(json!({ "content": [{ "token": "a", "logprob": -0.5 }] })).boxed()),
        ("finish_reason", text()),
        ("native_finish_reason", text()),
    ]);
    let usage = object(vec![("prompt_tokens", number()), ("completion_tokens", number())]);
    // Without choices little else is looked at.
    let choices = array(choice);
    let chunk = (
        object(vec![
            ("id", text()),
            ("object", text()),
            ("created", number()),
            ("model", text()),
            ("provider", text()),
            ("service_tier", text()),
            ("system_fingerprint", text()),
            ("usage", usage),
            ("obfuscation", text()),
        ]),
        choices,
    );
    written(
        chunk
            .prop_map(|(mut chunk, choices)| {
                if let Value::Object(map) = &mut chunk {
                    map.insert("choices".to_owned(), choices);
                }
                chunk
            })
            .boxed(),
    )
}

fn messages_event() -> BoxedStrategy<Event> {
    let kind =
        |kinds: Vec<&'static str>| or_strange(prop::sample::select(kinds).prop_map(|kind| json!(kind)));
    let delta = object(vec![
        (
            "type",
            kind(vec![
                "text_delta",
                "input_json_delta",
                "thinking_delta",
                "citations_delta",
                "signature_delta",
            ]),
        ),
        ("text", text()),
        ("partial_json", text()),
        ("thinking", text()),
        ("stop_reason", text()),
    ]);
    let block = object(vec![
        ("type", kind(vec!["text", "tool_use", "thinking"])),
        ("text", text()),
        ("name", text()),
        ("input", object(vec![("a", text())])),
    ]);
    written(object(vec![
        (
            "type",
            kind(vec![
                "content_block_delta",
                "content_block_delta",
                "content_block_start",
                "content_block_stop",
                "message_delta",
            ]),
        ),
        ("index", number()),
        ("delta", delta),
        ("content_block", block),
    ]))
}
