//! HTTP/2: many calls at once on one connection, from clients with encoders of their own.

use oisp_testkit::calls::Api;
use oisp_testkit::clients::{Client, Clients};

use crate::support::{Provider, Sensor, Task, assert_told, can_record, text_of};

/// Records five calls at once on one connection, in each format, plain and streamed.
fn calls_over_http2_are_told(client: Client) {
    if !can_record() {
        return;
    }
    for api in [Api::OpenAi, Api::Anthropic] {
        for (stream, bytes) in [(false, 71_245), (true, 800)] {
            let provider = Provider::start_http2();
            let model = "fake-answer-3000-chunks-40-gzip";
            let call = provider.call(Task { api, model, bytes, requests: 5, stream });
            let Some(command) = provider.client(client, &call) else { return };
            let recorded = Sensor::recording(&command).run();
            recorded.assert_clean();
            let log = provider.log();
            assert!(log.exchanges().all(|exchange| exchange.stream.is_some()), "it spoke HTTP/1");
            let events = recorded.events();
            let told = assert_told(&events, &log);
            assert_eq!(told.len(), 5);
            let mut told: Vec<&str> = told.iter().map(|(_, response)| text_of(response)).collect();
            let understood = Clients::answers(client, &call, &recorded.stdout).unwrap();
            let mut understood: Vec<&str> = understood.iter().map(|answer| answer.text.as_str()).collect();
            told.sort_unstable();
            understood.sort_unstable();
            assert_eq!(told, understood);
        }
    }
}

#[test]
fn calls_of_node_over_http2_are_told_as_provider_and_client_saw_them() {
    calls_over_http2_are_told(Client::NodeHttp2);
}

#[test]
fn calls_of_python_httpx_over_http2_are_told_as_provider_and_client_saw_them() {
    calls_over_http2_are_told(Client::PythonHttpx);
}

#[test]
fn calls_of_curl_over_http2_are_told_as_the_provider_saw_them() {
    if !can_record() {
        return;
    }
    for api in [Api::OpenAi, Api::Anthropic] {
        // The body is an argument of curl's, and only 8 KiB of arguments are told.
        for (stream, question) in [(false, "x".repeat(5_000)), (true, "Why is the sky blue?".to_owned())] {
            let provider = Provider::start_http2();
            let body = api.simple_body("fake-answer-20000-chunks-50", &question, stream);
            let curl = provider.curl(api, &body, &["--http2"]);
            let recorded = Sensor::recording(&curl).run();
            recorded.assert_clean();
            let log = provider.log();
            assert!(log.exchanges().all(|exchange| exchange.stream.is_some()), "it spoke HTTP/1");
            assert_eq!(assert_told(&recorded.events(), &log).len(), 1);
        }
    }
}
