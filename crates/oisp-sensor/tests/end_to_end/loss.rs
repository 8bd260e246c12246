//! When the kernel has no room: what was lost is said, and what is told is a piece of the truth.

use std::process::Command;

use oisp_testkit::calls::Api;
use serde_json::Value;

use crate::support::{Events, Provider, Sensor, calls, can_record, quoted};

/// Every string that stands where content stands is a contiguous piece of something that was really said.
fn assert_no_splice(events: &Events, provider: &Provider) {
    let truths: Vec<String> = calls(&provider.log())
        .into_iter()
        .flat_map(|call| {
            let said = call.messages().into_iter().map(|(_, text)| text);
            said.chain([call.answer.text.clone()]).collect::<Vec<_>>()
        })
        .collect();
    for event in events.0.iter().filter(|event| event["event_type"].as_str().unwrap().starts_with("ai.")) {
        for content in contents(event) {
            assert!(
                truths.iter().any(|truth| truth.contains(content)),
                "{} characters that nobody said so: {}… in {}",
                content.chars().count(),
                content.chars().take(80).collect::<String>(),
                event["confidence"]
            );
        }
    }
}

/// Texts of messages, wherever in the event: also the pieces after a gap under `ext`.
fn contents(value: &Value) -> Vec<&str> {
    match value {
        Value::Object(map) => map
            .iter()
            .flat_map(|(key, value)| match value {
                Value::String(text) if matches!(key.as_str(), "content" | "text") => vec![text.as_str()],
                _ => contents(value),
            })
            .collect(),
        Value::Array(list) => list.iter().flat_map(contents).collect(),
        _ => Vec::new(),
    }
}

/// The command in a shell that stops its parent, the sensor, while the command runs: a sensor that cannot keep up,
/// however fast the machine is.
fn while_the_sensor_stands_still(command: &Command) -> Command {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let line = words.map(|word| quoted(word.to_str().unwrap())).collect::<Vec<_>>().join(" ");
    let mut shell = Command::new("sh");
    shell.arg("-c");
    shell.arg(format!("kill -STOP $PPID; {line}; status=$?; kill -CONT $PPID; exit $status"));
    shell
}

fn with_a_tiny_ring(arguments: &str) {
    let provider = Provider::start();
    let client = while_the_sensor_stands_still(&provider.test_client(arguments));
    let recorded = Sensor::recording_with(&["--ring-size", "64KiB"], &client).run();
    assert!(recorded.status.success(), "the client is not harmed: {}", recorded.stderr);
    assert!(
        recorded.stderr.contains("lost in") && recorded.stderr.contains("ring was full"),
        "{}",
        recorded.stderr
    );
    assert!(recorded.stderr.contains("missing in connections"), "{}", recorded.stderr);
    let events = recorded.events();
    assert_no_splice(&events, &provider);
    // What is told as whole is whole: its length is that of something really said.
    let truths: Vec<usize> = calls(&provider.log())
        .iter()
        .flat_map(|call| [call.messages()[0].1.chars().count(), call.answer.text.chars().count()])
        .collect();
    let mut partial = 0;
    for event in events.requests().into_iter().chain(events.responses()) {
        let confidence = &event["confidence"];
        if confidence["completeness"] == "partial" {
            partial += 1;
            assert_ne!(confidence["level"], "high", "{confidence}");
            assert!(confidence["missing"].is_array() || confidence["reasons"].is_array(), "{confidence}");
        } else {
            for content in contents(&event["data"]) {
                assert!(truths.contains(&content.chars().count()), "cut and told as whole: {confidence}");
            }
        }
    }
    let calls = provider.log().exchanges().count();
    assert!(events.requests().len() <= calls, "more requests are told than were made");
    assert!(partial > 0 || events.requests().is_empty(), "what was lost shows in no event");
}

#[test]
fn mib_request_through_a_tiny_ring_is_told_in_pieces_of_the_truth_or_not_at_all() {
    if can_record() {
        with_a_tiny_ring("plain --calls 3 --bytes 1000000");
    }
}

#[test]
fn large_answer_through_a_tiny_ring_is_told_in_pieces_of_the_truth_or_not_at_all() {
    if can_record() {
        with_a_tiny_ring("plain --calls 3 --bytes 2000 --model fake-answer-500000");
    }
}

#[test]
fn long_stream_through_a_tiny_ring_is_told_in_pieces_of_the_truth_or_not_at_all() {
    if can_record() {
        with_a_tiny_ring(
            "parallel --connections 4 --calls 2 --bytes 20000 --stream --model fake-answer-200000-chunks-600",
        );
        with_a_tiny_ring(
            "parallel --connections 4 --calls 2 --bytes 20000 --stream --api anthropic --model fake-answer-200000-chunks-600",
        );
    }
}

#[test]
fn answer_that_the_provider_breaks_off_is_told_as_far_as_it_came() {
    if !can_record() {
        return;
    }
    for api in [Api::OpenAi, Api::Anthropic] {
        let provider = Provider::start();
        let body = api.simple_body("fake-answer-4000-chunks-40-break-20", "Go on.", true);
        let recorded = Sensor::recording(&provider.curl(api, &body, &["--http1.1"])).run();
        assert!(recorded.status.success());
        let events = recorded.events();
        let [request] = events.requests()[..] else { panic!("one request") };
        let response = events.response_to(request);
        assert_eq!(response["data"]["success"], false);
        assert!(response["data"]["error"]["message"].is_string(), "{response}");
        let told = crate::support::text_of(response);
        assert_eq!(told.chars().count(), 2000);
        let body = provider.log().exchanges().next().unwrap().response_body.clone();
        let place = if api == Api::OpenAi { "/choices/0/delta/content" } else { "/delta/text" };
        let sent: String = String::from_utf8(body)
            .unwrap()
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line.strip_prefix("data: ")?).ok())
            .filter_map(|chunk| Some(chunk.pointer(place)?.as_str()?.to_owned()))
            .collect();
        assert_eq!(told, sent);
    }
}
