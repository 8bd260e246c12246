use std::sync::LazyLock;

use oisp_event::{
    AiStreamingChunk, Confidence, Delta, EventIdGenerator, Extension, OISP_VERSION, Role, Source, Timestamp,
};
use proptest::prelude::*;

use super::*;
use crate::detect::samples;
use crate::{HashKey, RedactionConfig};

fn redactor(mode: RedactionMode) -> Redactor {
    Redactor::new(RedactionConfig { mode, key: HashKey::from_bytes(&[7; 32]) })
}

/// For properties: compiling the detectors takes longer than a case.
static REDACTORS: LazyLock<[Redactor; 2]> =
    LazyLock::new(|| [RedactionMode::Safe, RedactionMode::Full].map(redactor));

fn event(delta: Delta) -> Event {
    let ts = Timestamp::from_unix_nanoseconds(0);
    Event {
        oisp_version: OISP_VERSION.to_owned(),
        event_id: EventIdGenerator::with_seed(1).next(ts),
        ts,
        ts_mono: None,
        payload: Payload::AiStreamingChunk(Box::new(AiStreamingChunk { delta, ..Default::default() })),
        host: None,
        actor: None,
        process: None,
        source: Source {
            collector: "oisp-sensor".to_owned(),
            collector_version: None,
            capture_method: None,
            capture_point: None,
        },
        confidence: Confidence::high(),
        ext: Extension::default(),
        related_events: Vec::new(),
    }
}

fn chunk(event: &Event) -> &AiStreamingChunk {
    let Payload::AiStreamingChunk(chunk) = &event.payload else { panic!("a chunk") };
    chunk
}

/// The chunks of a text that comes in these pieces.
fn chunks(redactor: &Redactor, pieces: &[&str]) -> Vec<Redacted<Event>> {
    let mut answer = ChunkRedaction::default();
    let last = pieces.len() - 1;
    let told = pieces.iter().enumerate().filter_map(|(number, piece)| {
        let delta = Delta { content: Some((*piece).to_owned()), ..Delta::default() };
        let place = ChunkPlace { is_last: number == last, ..ChunkPlace::default() };
        redactor.redact_chunk(&mut answer, event(delta), &place)
    });
    told.collect()
}

fn joined(events: &[Redacted<Event>]) -> String {
    events.iter().filter_map(|event| chunk(event).delta.content.as_deref()).collect()
}

/// The places where a text may be cut.
fn places(text: &str) -> impl Iterator<Item = usize> {
    (0..=text.len()).filter(|at| text.is_char_boundary(*at))
}

#[test]
fn secret_cut_anywhere_is_in_no_chunk_and_all_chunks_are_the_redacted_text() {
    let redactor = redactor(RedactionMode::Safe);
    for detector in samples() {
        let texts = detector.positives.iter().map(|(text, secret)| (*text, Some(*secret)));
        for (sample, secret) in texts.chain(detector.negatives.iter().map(|text| (*text, None))) {
            for text in [
                sample.to_owned(),
                format!("Here it is: {sample}\nand that was all of it, {}", "so ".repeat(99)),
            ] {
                let expected = redactor.redact_text(&text).into_owned();
                // What comes behind the sample changes nothing.
                for at in places(&text).filter(|at| *at <= sample.len() + 20) {
                    let events = chunks(&redactor, &[&text[..at], &text[at..], ""]);
                    assert_eq!(joined(&events), expected, "{text:?} cut at {at}");
                    if let Some(secret) = secret {
                        let written = serde_json::to_string(&events).expect("JSON");
                        assert!(!written.contains(secret), "{text:?} cut at {at}");
                    }
                }
                let single: Vec<&str> = text.split_inclusive(|_: char| true).collect();
                assert_eq!(joined(&chunks(&redactor, &single)), expected, "{text:?} in characters");
            }
        }
    }
}

#[test]
fn no_beginning_of_a_secret_is_let_out_before_its_end_is_known() {
    let redactor = redactor(RedactionMode::Safe);
    for detector in samples() {
        for (text, secret) in detector.positives {
            let end = text.find(secret).expect("the sample has it") + secret.len();
            for at in places(text).filter(|at| *at < end) {
                let mut answer = ChunkRedaction::default();
                let delta = Delta { content: Some(text[..at].to_owned()), ..Delta::default() };
                let told = redactor.redact_chunk(&mut answer, event(delta), &ChunkPlace::default());
                let content = told.as_ref().and_then(|event| chunk(event).delta.content.clone());
                let shown = content.unwrap_or_default();
                let begun = text.find(secret).expect("it is there");
                assert!(shown.len() <= begun, "{text:?} at {at}: {shown:?}");
            }
        }
    }
}

fn pieces() -> impl Strategy<Value = Vec<String>> {
    let mut known: Vec<String> = Vec::new();
    for detector in samples() {
        known.extend(detector.anchors.iter().map(|anchor| (*anchor).to_owned()));
        known.extend(detector.positives.iter().map(|(text, _)| (*text).to_owned()));
        let half = |text: &str| text.chars().take(text.chars().count() / 2).collect::<String>();
        known.extend(detector.positives.iter().map(|(text, _)| half(text)));
        known.extend(detector.negatives.iter().map(|text| (*text).to_owned()));
    }
    let other =
        ["\"", "'", "\\", "\\\"", "\n", "\\n", " ", "=", ": ", ",", "é", "a1", "[", "-----", "[REDACTED:"];
    known.extend(other.map(str::to_owned));
    known.push("word ".repeat(60));
    known.push("aB3".repeat(200));
    proptest::collection::vec(prop::sample::select(known), 1..24)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn chunks_of_any_text_are_its_redaction_however_it_is_cut(
        pieces in pieces(),
        cuts in proptest::collection::vec(any::<u16>(), 0..30),
        always in any::<bool>(),
    ) {
        let redactor = &REDACTORS[usize::from(always)];
        let text = pieces.concat();
        let mut places: Vec<usize> =
            cuts.iter().map(|cut| text.floor_char_boundary(text.len() * usize::from(*cut) / 65536)).collect();
        places.extend([0, text.len(), text.len()]);
        places.sort_unstable();
        let cut: Vec<&str> = places.windows(2).map(|pair| &text[pair[0]..pair[1]]).collect();
        let expected = redactor.replace(redactor.catalogue(), &text, |_| {}).into_owned();
        prop_assert_eq!(joined(&chunks(redactor, &cut)), expected);
    }
}

#[test]
fn ordinary_text_is_hardly_held_and_memory_does_not_grow_with_it() {
    let redactor = redactor(RedactionMode::Safe);
    let mut answer = ChunkRedaction::default();
    let mut shown = 0;
    for number in 1..=5000 {
        let delta = Delta { content: Some("some words and more ".to_owned()), ..Delta::default() };
        let told = redactor.redact_chunk(&mut answer, event(delta), &ChunkPlace::default());
        shown += told.map_or(0, |event| chunk(&event).delta.content.as_ref().map_or(0, String::len));
        assert!(number * 20 - shown <= 200, "{shown} of {}", number * 20);
        assert!(answer.held_bytes() < 4096);
    }
}

#[test]
fn text_that_never_lets_itself_be_judged_is_given_up_with_a_marker() {
    let redactor = redactor(RedactionMode::Safe);
    let mut answer = ChunkRedaction::default();
    let begin = [&"see ".repeat(50), concat!("-----BEGIN ", "PRIVATE KEY-----\n")].concat();
    let mut events = Vec::new();
    for piece in [begin].into_iter().chain((0..2000).map(|_| "q83vEjRWeJq83vEjRWeJAQIDBAUGBwgJ\n".repeat(3)))
    {
        let delta = Delta { content: Some(piece), ..Delta::default() };
        events.extend(redactor.redact_chunk(&mut answer, event(delta), &ChunkPlace::default()));
        assert!(answer.held_bytes() < MOST_HELD + 4096);
    }
    let delta = Delta { content: Some("after".to_owned()), ..Delta::default() };
    let place = ChunkPlace { is_last: true, ..ChunkPlace::default() };
    events.extend(redactor.redact_chunk(&mut answer, event(delta), &place));
    let text = joined(&events);
    assert!(
        text.starts_with("see see ") && text.contains("[REDACTED:held_text:") && text.ends_with(']'),
        "{text}"
    );
    assert!(!serde_json::to_string(&events).expect("JSON").contains("q83v"));
    let last = events.last().expect("the last is told");
    assert_eq!(last.confidence.limitations, ["streamed_text_given_up"]);
}

#[test]
fn arguments_of_calls_are_held_apart_and_let_out_with_the_last_chunk() {
    let redactor = redactor(RedactionMode::Safe);
    let mut answer = ChunkRedaction::default();
    let fragment = |id: &str, name: Option<&str>, arguments: &str| ToolCall {
        id: Some(id.to_owned()),
        name: name.map(str::to_owned),
        arguments: Some(arguments.to_owned()),
        ..ToolCall::default()
    };
    let mut tell = |calls: Vec<(u64, ToolCall)>, is_last| {
        let (numbers, tool_calls) = calls.into_iter().unzip();
        let delta = Delta { tool_calls, ..Delta::default() };
        let place = ChunkPlace { calls: numbers, is_last, ..ChunkPlace::default() };
        redactor.redact_chunk(&mut answer, event(delta), &place)
    };
    let first = tell(
        vec![
            (0, fragment("call_a", Some("login"), r#"{"password":"correct"#)),
            (1, fragment("call_b", Some("look"), r#"{"path":"/x"#)),
        ],
        false,
    )
    .expect("names are told at once");
    assert_eq!(chunk(&first).delta.tool_calls[0].name.as_deref(), Some("login"));
    assert_eq!(chunk(&first).chunk_index, Some(0));
    assert!(tell(vec![(0, fragment("call_a", None, " horse\"}"))], false).is_none(), "held");
    let last = tell(vec![(1, fragment("call_b", None, "\"}"))], true).expect("the last is told");
    let calls = &chunk(&last).delta.tool_calls;
    assert_eq!(last.ext.oisp_sensor["tool_call_indexes"], json!([0, 1]));
    assert_eq!(calls[0].id.as_deref(), Some("call_a"));
    let arguments = calls[0].arguments.as_deref().expect("arguments");
    assert!(arguments.starts_with(r#"{"password":"[REDACTED:password:13:"#), "{arguments}");
    assert_eq!(calls[1].arguments.as_deref(), Some(r#"{"path":"/x"}"#));
    assert_eq!(chunk(&last).chunk_index, Some(1));
}

#[test]
fn nothing_is_let_out_behind_the_last_part_and_a_call_may_be_in_it_twice() {
    let redactor = redactor(RedactionMode::Safe);
    let fragment =
        |arguments: &str| ToolCall { arguments: Some(arguments.to_owned()), ..ToolCall::default() };
    let mut answer = ChunkRedaction::default();
    let mut tell = |content: &str, tool_calls: Vec<ToolCall>| {
        let place = ChunkPlace { calls: vec![0; tool_calls.len()], is_last: true, ..ChunkPlace::default() };
        let delta = Delta { content: Some(content.to_owned()), tool_calls, ..Delta::default() };
        redactor.redact_chunk(&mut answer, event(delta), &place).expect("the last is told")
    };
    let told = tell("see ghp_", vec![fragment("{\"password\":\"corr"), fragment("ect horse\"}")]);
    assert_eq!(chunk(&told).delta.content.as_deref(), Some("see ghp_"));
    let written = serde_json::to_string(&told).expect("JSON");
    assert!(!written.contains("corr") && !written.contains("horse"), "{written}");
    let told = tell("x7Kq2Zt9mVbR5xLw0Yk3Nf8Hc1Dg6Js4PaUe", vec![fragment("more")]);
    let delta = &chunk(&told).delta;
    assert_eq!((&delta.content, delta.tool_calls.len()), (&None, 0));
}

#[test]
fn minimal_tells_lengths_alone() {
    let redactor = redactor(RedactionMode::Minimal);
    let events = chunks(&redactor, &["grüße", "", "and more"]);
    let lengths: Vec<_> =
        events.iter().map(|event| event.ext.oisp_sensor["content_length"].clone()).collect();
    assert_eq!(lengths, [json!(5), json!(0), json!(8)]);
    assert_eq!(joined(&events), "");
    assert_eq!(events[0].confidence.completeness, Completeness::Redacted);
}

#[test]
fn text_is_cut_where_whole_texts_are() {
    let redactor = redactor(RedactionMode::Safe).cutting_texts_at(150);
    let events = chunks(&redactor, &["some words and ", &"more of them ".repeat(20), "end"]);
    let whole = format!("some words and {}", "more of them ".repeat(20));
    assert_eq!(joined(&events), whole[..150]);
    assert!(
        events.last().expect("one").confidence.limitations.contains(&"texts_cut_at_150_bytes".to_owned())
    );
}

#[test]
fn what_did_not_come_this_way_loses_its_text_and_another_mode_gives_up_what_is_held() {
    let safe = redactor(RedactionMode::Safe);
    let delta =
        || Delta { content: Some("half a sec".to_owned()), role: Some(Role::Assistant), ..Delta::default() };
    assert_eq!(chunk(&safe.redact(event(delta()))).delta.content, None);

    let mut answer = ChunkRedaction::default();
    let first = safe.redact_chunk(&mut answer, event(delta()), &ChunkPlace::default());
    assert_eq!(chunk(&first.expect("a role")).delta.content, None, "held");
    let place = ChunkPlace { is_last: true, ..ChunkPlace::default() };
    let told =
        redactor(RedactionMode::Full).redact_chunk(&mut answer, event(delta()), &place).expect("the last");
    assert_eq!(chunk(&told).delta.content, None);
    // Read back from a file it keeps what it has.
    let delta = Delta { content: Some("shown".to_owned()), ..Delta::default() };
    let told = safe.redact_chunk(&mut ChunkRedaction::default(), event(delta), &place).expect("the last");
    assert_eq!(chunk(&safe.redact(Event::clone(&told))).delta.content.as_deref(), Some("shown"));
}
