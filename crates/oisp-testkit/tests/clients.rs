//! Real client programs against the provider: what they print is what the provider sent.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::PathBuf;

use oisp_testkit::calls::Api;
use oisp_testkit::clients::{Client, ClientCall, ClientError, Clients};
use oisp_testkit::http1::Response;
use oisp_testkit::provider::{Config, ExchangeLog, FakeProvider};

/// Runs a client in every format, size and mode that it knows, and compares its answers with the log.
fn answers_equal_the_log(client: Client) {
    let folder = tempfile::tempdir().unwrap();
    let clients = Clients::in_folder(folder.path()).unwrap();
    for api in [Api::OpenAi, Api::Anthropic].into_iter().filter(|api| client.speaks(*api)) {
        for (tls, stream, bytes, requests) in
            [(true, false, 200, 2), (true, true, 71_245, 2), (true, false, 1 << 20, 1), (false, true, 200, 1)]
        {
            let mut config = Config::new(folder.path());
            config.tls = tls;
            let provider = FakeProvider::start(config).unwrap();
            let ca_file: PathBuf = provider.ca_file().to_owned();
            let call = ClientCall {
                base_url: &provider.base_url(),
                ca_file: Some(&ca_file),
                api,
                model: "fake-answer-3000-chunks-40-gzip",
                bytes,
                requests,
                stream,
            };
            let answers = match clients.run(client, &call) {
                Err(ClientError::Missing(missing)) if std::env::var_os("OISP_REQUIRE_ALL").is_none() => {
                    eprintln!("skipped: {missing}");
                    return;
                }
                other => other.unwrap(),
            };
            let log = provider.log();
            let exchanges: Vec<&ExchangeLog> = log.exchanges().collect();
            assert_eq!((answers.len(), exchanges.len()), (requests, requests));
            for (answer, exchange) in answers.iter().zip(exchanges) {
                assert!(exchange.complete);
                assert!(exchange.request_body.len() > bytes);
                let content_type = if stream { "text/event-stream" } else { "application/json" };
                let sent = api
                    .read_answer(&Response {
                        status: exchange.status,
                        headers: vec![("content-type".to_owned(), content_type.to_owned())],
                        body: exchange.response_body.clone(),
                    })
                    .unwrap();
                assert_eq!(answer.text.chars().count(), 3000);
                assert_eq!(answer.text, sent.text);
                assert_eq!(answer.id, sent.id);
                let output = if api == Api::OpenAi { "completion_tokens" } else { "output_tokens" };
                assert_eq!(answer.usage[output], sent.usage[output]);
            }
        }
    }
}

#[test]
fn curl_gets_what_the_provider_sent() {
    answers_equal_the_log(Client::Curl);
}

#[test]
fn python_urllib_gets_what_the_provider_sent() {
    answers_equal_the_log(Client::PythonUrllib);
}

#[test]
fn the_openai_sdk_gets_what_the_provider_sent() {
    answers_equal_the_log(Client::PythonOpenAi);
}

#[test]
fn the_anthropic_sdk_gets_what_the_provider_sent() {
    answers_equal_the_log(Client::PythonAnthropic);
}

#[test]
fn node_fetch_gets_what_the_provider_sent() {
    answers_equal_the_log(Client::NodeFetch);
}

#[test]
fn node_https_gets_what_the_provider_sent() {
    answers_equal_the_log(Client::NodeHttps);
}
