//! HTTP/2 and WebSocket: real clients get what the provider sent, and the log holds every byte.

#![cfg(feature = "full-protocols")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use oisp_testkit::calls::Api;
use oisp_testkit::clients::{Client, ClientAnswer, ClientCall, ClientError, Clients};
use oisp_testkit::http1::{MessageReader, Response};
use oisp_testkit::provider::{Config, FakeProvider, ProviderLog};
use serde_json::Value;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

fn provider(folder: &std::path::Path, tls: bool) -> FakeProvider {
    let config = Config::new(folder).with_http2();
    FakeProvider::start(if tls { config } else { config.plain_http() }).unwrap()
}

/// `None` where the client is missing and that is allowed.
fn run(
    client: Client,
    api: Api,
    tls: bool,
    stream: bool,
    bytes: usize,
) -> Option<(Vec<ClientAnswer>, ProviderLog)> {
    let folder = tempfile::tempdir().unwrap();
    let provider = provider(folder.path(), tls);
    let clients = Clients::in_folder(folder.path()).unwrap();
    let ca_file = provider.ca_file().to_owned();
    let call = ClientCall {
        base_url: &provider.base_url(),
        ca_file: Some(&ca_file),
        api,
        model: "fake-answer-3000-chunks-40-delay-1ms-gzip",
        bytes,
        requests: 5,
        stream,
    };
    let answers = match clients.run(client, &call) {
        Err(ClientError::Missing(missing)) if std::env::var_os("OISP_REQUIRE_ALL").is_none() => {
            eprintln!("skipped: {missing}");
            return None;
        }
        other => other.unwrap(),
    };
    assert!(provider.wait_idle(Duration::from_secs(10)));
    Some((answers, provider.log()))
}

/// Five calls at once on one HTTP/2 connection, in every mode.
fn http2_answers_equal_the_log(client: Client) {
    for api in [Api::OpenAi, Api::Anthropic] {
        for (tls, stream, bytes) in [(true, false, 200), (true, true, 71_245), (false, true, 1 << 20)] {
            let Some((answers, log)) = run(client, api, tls, stream, bytes) else { return };
            assert_eq!(log.connections.len(), 1, "all on one connection");
            let connection = &log.connections[0];
            assert!(connection.is_whole());
            assert!(connection.received.starts_with(PREFACE));
            assert_eq!(connection.exchanges.len(), 5);
            for answer in &answers {
                let content_type = if stream { "text/event-stream" } else { "application/json" };
                let same = connection.exchanges.iter().find(|exchange| {
                    let response = Response {
                        status: exchange.status,
                        headers: vec![("content-type".to_owned(), content_type.to_owned())],
                        body: exchange.response_body.clone(),
                    };
                    let sent = api.read_answer(&response).unwrap();
                    (&sent.id, &sent.text) == (&answer.id, &answer.text)
                });
                let exchange = same.unwrap();
                assert!(exchange.complete && exchange.request_body.len() > bytes);
                assert!(
                    exchange.request_head.starts_with(format!("POST {} HTTP/2\r\n", api.path()).as_bytes())
                );
                assert_eq!(answer.text.chars().count(), 3000);
            }
            let streams: std::collections::BTreeSet<_> =
                connection.exchanges.iter().map(|exchange| exchange.stream.unwrap()).collect();
            assert_eq!((answers.len(), streams.len()), (5, 5));
        }
    }
}

#[test]
fn node_gets_over_http2_what_the_provider_sent() {
    http2_answers_equal_the_log(Client::NodeHttp2);
}

#[test]
fn httpx_gets_over_http2_what_the_provider_sent() {
    http2_answers_equal_the_log(Client::PythonHttpx);
}

#[test]
fn a_client_of_http1_is_served_as_before() {
    for tls in [true, false] {
        let Some((answers, log)) = run(Client::PythonUrllib, Api::OpenAi, tls, true, 200) else { return };
        assert_eq!((answers.len(), log.exchanges().count()), (5, 5));
        assert!(log.exchanges().all(|exchange| exchange.complete && exchange.stream.is_none()));
    }
}

#[test]
fn websockets_of_python_get_what_the_provider_sent() {
    for tls in [true, false] {
        let Some((answers, log)) = run(Client::PythonWebSocket, Api::OpenAi, tls, true, 71_245) else {
            return;
        };
        let exchange = log.exchanges().next().unwrap();
        assert_eq!((answers.len(), log.exchanges().count(), exchange.status), (5, 1, 101));
        assert!(log.connections[0].is_whole());
        let (asked, sent): (Vec<_>, Vec<_>) = exchange.messages.iter().partition(|message| message.received);
        assert_eq!(asked.len(), 5);
        assert!(asked.iter().all(|message| message.text && message.payload.len() > 71_245));
        let sent: Vec<Value> =
            sent.iter().map(|message| serde_json::from_slice(&message.payload).unwrap()).collect();
        let completed: Vec<&Value> =
            sent.iter().filter(|event| event["type"] == "response.completed").collect();
        for (answer, event) in answers.iter().zip(completed) {
            assert_eq!(event["response"]["id"], answer.id);
            assert_eq!(event["response"]["output"][0]["content"][0]["text"], answer.text);
            assert_eq!(answer.text.chars().count(), 3000);
        }
    }
}

#[test]
fn a_first_message_that_came_with_the_handshake_is_answered() {
    let folder = tempfile::tempdir().unwrap();
    let provider = provider(folder.path(), false);
    let mut socket = TcpStream::connect(provider.address()).unwrap();
    // The example of RFC 6455 section 1.3, and a masked text frame in the same write.
    let request =
        b"GET /v1/realtime?model=fake HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
    let message = br#"{"type":"response.create"}"#;
    let frame = [&[0x81, 0x80 | message.len() as u8, 0, 0, 0, 0], &message[..]].concat();
    socket.write_all(&[&request[..], &frame].concat()).unwrap();
    // A close frame with status 1000.
    socket.write_all(&[0x88, 0x82, 0, 0, 0, 0, 3, 0xe8]).unwrap();
    let mut reader = MessageReader::new(socket);
    let head = String::from_utf8(reader.head().unwrap().unwrap()).unwrap();
    assert!(head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{head}");
    let (mut socket, mut rest) = reader.into_parts();
    socket.read_to_end(&mut rest).unwrap();
    drop(socket);
    assert!(provider.wait_idle(Duration::from_secs(10)));
    let log = provider.log();
    assert_eq!(log.connections[0].sent, [head.as_bytes(), &rest].concat());
    let messages = &log.exchanges().next().unwrap().messages;
    let types: Vec<String> = messages
        .iter()
        .map(|message| {
            serde_json::from_slice::<Value>(&message.payload).unwrap()["type"].as_str().unwrap().to_owned()
        })
        .collect();
    assert_eq!((&types[0][..], &types[1][..]), ("session.created", "response.create"));
    assert_eq!(types.last().unwrap(), "response.done");
}
