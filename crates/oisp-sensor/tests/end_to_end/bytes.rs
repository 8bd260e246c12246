//! Byte for byte: what capture delivers and the decoder makes of it is what the provider received and sent.

use oisp_testkit::calls::Api;
use oisp_testkit::clients::{Client, Clients};
use oisp_testkit::provider::ConnectionLog;

use crate::support::{Connection, Provider, Task, can_record, record};

/// Every byte that the provider received was captured. Of what it sent the client may have left the end unread; the
/// bodies that are complete are those that the provider sent.
fn assert_same(captured: &Connection, logged: &ConnectionLog, stream: bool) {
    assert!(captured.sent == logged.received, "sent bytes differ on {:?}", logged.peer_port);
    let read = &captured.received;
    assert!(logged.sent.starts_with(read), "received bytes differ on {:?}", logged.peer_port);
    let unread = &logged.sent[read.len()..];
    // A client that stops at the end of the events leaves at most the last chunk's frame.
    let may_stay_unread = if stream { b"0\r\n\r\n".len() } else { 0 };
    assert!(unread.len() <= may_stay_unread, "{} bytes were not captured", unread.len());
    let bodies = captured.exchanges();
    assert_eq!(bodies.len(), logged.exchanges.len());
    for (told, exchange) in bodies.values().zip(&logged.exchanges) {
        assert!(told.request == exchange.request_body, "request bodies differ");
        assert!(told.response == exchange.response_body, "response bodies differ");
        assert!(told.complete || !unread.is_empty(), "an exchange is incomplete");
    }
}

/// Two calls a run: small and of a coding agent's size, plain and streamed, in every format.
fn bytes_are_the_providers(client: Client) {
    if !can_record() {
        return;
    }
    for api in [Api::OpenAi, Api::Anthropic].into_iter().filter(|api| client.speaks(*api)) {
        for (stream, bytes, model) in
            [(false, 71_245, "fake-answer-50000"), (true, 300, "fake-answer-3000-chunks-40-gzip")]
        {
            let provider = Provider::start();
            let call = provider.call(Task { api, model, bytes, requests: 2, stream });
            let Some(command) = provider.client(client, &call) else { return };
            let (captured, output) = record(command);
            assert_eq!(Clients::answers(client, &call, &output).unwrap().len(), 2);
            let log = provider.log();
            let logged: Vec<_> =
                log.connections.iter().filter(|connection| connection.received_total > 0).collect();
            // Both in the order in which they were used; these clients use one after the other.
            assert_eq!(captured.len(), logged.len());
            let mut captured = captured;
            captured.sort_by_key(Connection::first_time);
            for (captured, logged) in captured.iter().zip(logged) {
                assert_same(captured, logged, stream);
            }
        }
    }
}

#[test]
fn bytes_of_curl_are_captured_and_decoded_as_the_provider_logged_them() {
    bytes_are_the_providers(Client::Curl);
}

#[test]
fn bytes_of_cpython_urllib_are_captured_and_decoded_as_the_provider_logged_them() {
    bytes_are_the_providers(Client::PythonUrllib);
}

#[test]
fn bytes_of_the_openai_sdk_are_captured_and_decoded_as_the_provider_logged_them() {
    bytes_are_the_providers(Client::PythonOpenAi);
}

#[test]
fn bytes_of_the_anthropic_sdk_are_captured_and_decoded_as_the_provider_logged_them() {
    bytes_are_the_providers(Client::PythonAnthropic);
}

#[test]
fn bytes_of_node_fetch_are_captured_and_decoded_as_the_provider_logged_them() {
    bytes_are_the_providers(Client::NodeFetch);
}

#[test]
fn bytes_of_node_https_are_captured_and_decoded_as_the_provider_logged_them() {
    bytes_are_the_providers(Client::NodeHttps);
}
