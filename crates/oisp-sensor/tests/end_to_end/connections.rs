//! Sizes and numbers: large writes, several calls on a connection, many connections at once.

use oisp_testkit::transcript::sha256_hex;
use serde_json::Value;

use crate::support::{Provider, Sensor, assert_told, can_record, text_of};

#[test]
fn requests_of_71_kb_and_of_a_mib_in_one_write_are_told_whole() {
    if !can_record() {
        return;
    }
    // The head goes with the body in one call, whose limit is 1 MiB.
    for bytes in [71_245, 1 << 20] {
        for call in ["", "--ex"] {
            let provider = Provider::start();
            let client = provider.test_client(&format!("plain --calls 2 --bytes {bytes} {call}"));
            let recorded = Sensor::recording(&client).run();
            recorded.assert_clean();
            let events = recorded.events();
            let told = assert_told(&events, &provider.log());
            assert_eq!(told.len(), 2);
            for request in events.requests() {
                // The internal function where all public ones end in it.
                let point = request["source"]["capture_point"].as_str().expect("a function");
                let public = if call.is_empty() { "SSL_write" } else { "SSL_write_ex" };
                assert!([public, "ssl_write_internal"].contains(&point), "{point}");
            }
        }
    }
}

#[test]
fn request_larger_than_one_call_can_carry_is_said_to_be_incomplete_and_its_answer_is_told() {
    if !can_record() {
        return;
    }
    let provider = Provider::start();
    let client = provider.test_client(&format!("plain --bytes {}", 3 << 20));
    let recorded = Sensor::recording(&client).run();
    assert!(recorded.status.success());
    assert!(recorded.stderr.contains("lost of calls larger than 1 MiB"), "{}", recorded.stderr);
    let events = recorded.events();
    let [request] = events.requests()[..] else { panic!("one request: {}", recorded.stderr) };
    assert_eq!(request["confidence"]["completeness"], "partial");
    assert_ne!(request["confidence"]["level"], "high");
    let log = provider.log();
    let exchange = log.exchanges().next().unwrap();
    let sent: Value = serde_json::from_slice(&exchange.request_body).unwrap();
    let truth = sent["messages"][0]["content"].as_str().unwrap();
    for message in request["data"]["messages"].as_array().into_iter().flatten() {
        let told = message["content"].as_str().unwrap_or_default();
        assert!(truth.contains(told), "not a piece of what was sent");
    }
    let answer: Value = serde_json::from_slice(&exchange.response_body).unwrap();
    let response = events.response_to(request);
    assert_eq!(text_of(response), answer["choices"][0]["message"]["content"].as_str().unwrap());
}

#[test]
fn two_connections_used_in_turn_by_one_thread_do_not_mix() {
    if !can_record() {
        return;
    }
    for arguments in ["--calls 3 --bytes 71245", "--calls 3 --bytes 3000 --stream --api anthropic --ex"] {
        let provider = Provider::start();
        let client = provider.test_client(&format!("two-connections {arguments}"));
        let recorded = Sensor::recording(&client).run();
        recorded.assert_clean();
        assert_eq!(assert_told(&recorded.events(), &provider.log()).len(), 6);
    }
}

#[test]
fn fifty_connections_at_once_pair_every_answer_with_its_request() {
    if !can_record() {
        return;
    }
    for arguments in ["--bytes 2000", "--bytes 4000 --stream --model fake-chunks-30-gzip --ex"] {
        let provider = Provider::start();
        let client = provider.test_client(&format!("parallel --connections 50 --calls 3 {arguments}"));
        let recorded = Sensor::recording(&client).run();
        recorded.assert_clean();
        let events = recorded.events();
        let told = assert_told(&events, &provider.log());
        assert_eq!(told.len(), 150);
        let mut ids = std::collections::BTreeSet::new();
        for request in events.requests() {
            // The answer names the digest of what was asked: independent of how the log pairs them.
            let asked = request["data"]["messages"][0]["content"].as_str().unwrap();
            let digest = &sha256_hex(asked.as_bytes())[..16];
            assert!(text_of(events.response_to(request)).contains(digest));
            assert!(ids.insert(request["data"]["request_id"].as_str().unwrap()), "a request id came twice");
        }
    }
}

#[test]
fn calls_on_one_connection_are_told_in_their_order() {
    if !can_record() {
        return;
    }
    let provider = Provider::start();
    let client = provider.test_client("plain --calls 20 --bytes 500 --stream --model fake-gzip-chunks-20");
    let recorded = Sensor::recording(&client).run();
    recorded.assert_clean();
    let events = recorded.events();
    let told = assert_told(&events, &provider.log());
    assert_eq!(told.len(), 20);
    let answers: Vec<&Value> = told.iter().map(|(_, response)| *response).collect();
    assert_eq!(answers, events.responses(), "the order on the connection is that of the events");
    let objects: std::collections::BTreeSet<String> =
        answers.iter().map(|event| event["ext"]["oisp_sensor"]["connection"].to_string()).collect();
    assert_eq!(objects.len(), 1);
    let mut before = "";
    for event in &events.0 {
        let time = event["ts"].as_str().unwrap();
        assert!(before <= time, "{before} stands before {time}");
        before = time;
    }
}

#[test]
fn compressed_answers_whole_and_streamed_are_told_in_clear() {
    use oisp_testkit::calls::Api;
    if !can_record() {
        return;
    }
    for api in [Api::OpenAi, Api::Anthropic] {
        for stream in [false, true] {
            let provider = Provider::start();
            let body = api.simple_body("fake-gzip-answer-20000-chunks-100", "Compress this, please.", stream);
            let curl = provider.curl(api, &body, &["--http1.1", "--compressed"]);
            let recorded = Sensor::recording(&curl).run();
            recorded.assert_clean();
            let events = recorded.events();
            let told = assert_told(&events, &provider.log());
            assert_eq!(text_of(told[0].1).chars().count(), 20_000);
            let log = provider.log();
            let head = String::from_utf8_lossy(&log.exchanges().next().unwrap().response_head).to_lowercase();
            assert!(head.contains("content-encoding: gzip"), "{head}");
        }
    }
}
