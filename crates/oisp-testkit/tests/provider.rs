//! The provider against the bundled OpenSSL client and plain sockets: framing, formats, log.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use oisp_testkit::calls::{AnswerError, Api};
use oisp_testkit::demo::{ClientOptions, run_client};
use oisp_testkit::endpoint::Endpoint;
use oisp_testkit::http1::{MessageReader, Request, Response, encode_request, header};
use oisp_testkit::openssl_client::{Call, OpenSsl, OpenSslError, RequestError, run_requests};
use oisp_testkit::provider::{Config, FakeProvider};
use oisp_testkit::scenario::{Options, Scenario, Truth, run};
use oisp_testkit::transcript::sha256_hex;
use serde_json::{Value, json};
use tempfile::TempDir;

struct Fixture {
    folder: TempDir,
    provider: FakeProvider,
}

impl Fixture {
    fn new(configure: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::new(folder.path());
        configure(&mut config);
        Self { provider: FakeProvider::start(config).unwrap(), folder }
    }

    fn tls() -> Self {
        Self::new(|_| {})
    }

    fn plain() -> Self {
        Self::new(|config| config.tls = false)
    }

    fn endpoint(&self) -> Endpoint {
        Endpoint::parse(&self.provider.base_url()).unwrap()
    }

    fn socket(&self) -> MessageReader<TcpStream> {
        MessageReader::new(self.endpoint().connect().unwrap())
    }

    fn options(&self) -> Options {
        Options {
            library: OpenSsl::load(None).unwrap(),
            endpoint: self.endpoint(),
            ca_file: self.provider.ca_file().to_owned(),
            folder: self.folder.path().to_owned(),
            call: Call::Plain,
            api: Api::OpenAi,
            model: "fake".to_owned(),
            bytes: 2000,
            calls: 1,
            stream: false,
            keep: true,
        }
    }

    /// Every client object's bytes equal the provider's, connection by connection.
    fn assert_log_equals(&self, truth: &Truth) {
        assert!(self.provider.wait_idle(Duration::from_secs(10)), "connections stay open");
        let log = self.provider.log();
        assert_eq!(log.connections.len(), truth.objects.len());
        for object in &truth.objects {
            let connection = log
                .connections
                .iter()
                .find(|connection| Some(connection.peer_port) == object.local_port)
                .expect("the connection is in the log");
            assert!(connection.is_whole());
            assert!(connection.received == object.wrote.kept(), "what the client wrote is what was received");
            assert!(connection.sent == object.read.kept(), "what the client read is what was sent");
            assert_eq!(connection.received_sha256, object.wrote.sha256());
            assert_eq!(connection.end.as_deref(), Some("closed"));
            let mut received = 0;
            let mut sent = 0;
            for exchange in &connection.exchanges {
                assert!(exchange.complete);
                assert_eq!((exchange.received_range.start, exchange.sent_range.start), (received, sent));
                (received, sent) = (exchange.received_range.end, exchange.sent_range.end);
            }
            assert_eq!((received, sent), (connection.received_total, connection.sent_total));
        }
    }
}

fn call(fixture: &Fixture, api: Api, body: &Value) -> Response {
    fixture.socket().exchange(&api.request("localhost", body)).unwrap()
}

fn body_json(response: &Response) -> Value {
    serde_json::from_slice(&response.body).unwrap()
}

#[test]
fn a_request_of_1_mib_and_one_of_71245_bytes_in_one_write_arrive_whole() {
    for (bytes, call) in
        [(1 << 20, Call::Plain), (71_245, Call::Plain), (1 << 20, Call::Ex), (71_245, Call::Ex)]
    {
        let fixture = Fixture::tls();
        let truth = run(Scenario::Plain, &Options { bytes, call, calls: 2, ..fixture.options() }).unwrap();
        fixture.assert_log_equals(&truth);
        assert!(fixture.provider.log().exchanges().all(|exchange| exchange.request_body.len() == bytes));
    }
}

#[test]
fn fifty_parallel_connections_each_get_their_own_answer() {
    let fixture = Fixture::tls();
    let options = Options { calls: 3, bytes: 20_000, stream: true, ..fixture.options() };
    let truth = run(Scenario::Parallel { connections: 50 }, &options).unwrap();
    fixture.assert_log_equals(&truth);
    let log = fixture.provider.log();
    let ids: std::collections::BTreeSet<_> =
        log.exchanges().map(|exchange| sha256_hex(&exchange.response_body)).collect();
    assert_eq!(ids.len(), 150);
}

#[test]
fn more_connections_than_places_are_served_after_each_other() {
    let fixture = Fixture::new(|config| config.max_connections = 2);
    let ca_file = fixture.provider.ca_file().to_owned();
    let endpoint = fixture.endpoint();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let context = OpenSsl::load(None).unwrap().client_context(&ca_file).unwrap();
                let request = Api::OpenAi.sized_request("localhost", "fake", 1, 500, false);
                run_requests(&context, &endpoint, Call::Plain, &[request]).unwrap();
            });
        }
    });
    assert_eq!(fixture.provider.log().exchanges().filter(|exchange| exchange.complete).count(), 8);
}

#[test]
fn interleaved_reused_and_streamed_connections_are_logged_as_the_client_saw_them() {
    for scenario in [Scenario::TwoConnections, Scenario::Reuse { connections: 5 }] {
        for api in [Api::OpenAi, Api::Anthropic] {
            let fixture = Fixture::tls();
            let options = Options { api, calls: 2, bytes: 40_000, stream: true, ..fixture.options() };
            fixture.assert_log_equals(&run(scenario, &options).unwrap());
        }
    }
}

#[test]
fn over_memory_bios_and_after_want_write_each_byte_is_written_and_read_once() {
    let fixture = Fixture::tls();
    let options = Options { bytes: 1 << 20, calls: 2, ..fixture.options() };
    let scenarios =
        [Scenario::MemoryBio, Scenario::WantWrite { partial: false }, Scenario::WantWrite { partial: true }];
    for scenario in scenarios {
        for call in [Call::Plain, Call::Ex] {
            let truth = run(scenario, &Options { call, ..options.clone() }).unwrap();
            let [client, server] = &truth.objects[..] else { panic!("two objects") };
            assert!(client.wrote.kept() == server.read.kept());
            assert!(server.wrote.kept() == client.read.kept());
            assert!(client.wrote.total() > 2 << 20);
        }
    }
}

#[test]
fn the_same_request_gives_the_same_bytes_from_any_provider() {
    let request = Api::OpenAi.sized_request("localhost", "fake-chunks-20", 1, 500, true);
    let [first, second] =
        [Fixture::plain(), Fixture::plain()].map(|fixture| fixture.socket().exchange(&request).unwrap());
    assert_eq!(first, second);
    let other = Api::OpenAi.sized_request("localhost", "fake-chunks-20", 2, 500, true);
    assert_ne!(Fixture::plain().socket().exchange(&other).unwrap().body, first.body);
}

#[test]
fn streamed_and_whole_answers_say_the_same_and_the_size_is_as_asked() {
    let fixture = Fixture::plain();
    for api in [Api::OpenAi, Api::Anthropic] {
        for stream in [false, true] {
            let body = api.simple_body("fake-answer-100000-chunks-50-delay-1ms", "grüß dich", stream);
            let answer = api.read_answer(&call(&fixture, api, &body)).unwrap();
            assert_eq!(answer.text.chars().count(), 100_000);
            let digest = &sha256_hex("grüß dich".as_bytes())[..16];
            assert!(answer.text.starts_with(&format!("You wrote 9 characters with digest {digest}.")));
            assert!(answer.finish_reason.is_some());
            let output = if api == Api::OpenAi { "completion_tokens" } else { "output_tokens" };
            assert_eq!(answer.usage[output], 25_000);
        }
    }
}

#[test]
fn chunks_arrive_in_the_number_asked_for() {
    let fixture = Fixture::plain();
    let body = Api::OpenAi.simple_body("fake-chunks-50", "hello", true);
    let response = call(&fixture, Api::OpenAi, &body);
    let text = String::from_utf8(response.body).unwrap();
    // An opening, 50 pieces, the finish, the usage, [DONE].
    assert_eq!(text.matches("data: ").count(), 54);
    assert!(text.ends_with("data: [DONE]\n\n"));
}

#[test]
fn usage_of_a_stream_comes_only_when_asked_for() {
    let fixture = Fixture::plain();
    let body = json!({ "model": "m", "stream": true, "messages": [{ "role": "user", "content": "hi" }] });
    let answer = Api::OpenAi.read_answer(&call(&fixture, Api::OpenAi, &body)).unwrap();
    assert_eq!(answer.usage, Value::Null);
}

#[test]
fn gzip_is_sent_when_both_control_and_accept_encoding_ask_for_it() {
    let fixture = Fixture::plain();
    for stream in [false, true] {
        let mut request =
            Api::Anthropic.request("localhost", &Api::Anthropic.simple_body("fake-chunks-9", "hi", stream));
        let plain = fixture.socket().exchange(&request).unwrap();
        request.headers.push(("x-test-gzip".to_owned(), "1".to_owned()));
        assert_eq!(header(&fixture.socket().exchange(&request).unwrap().headers, "content-encoding"), None);
        request.headers.push(("Accept-Encoding".to_owned(), "gzip;q=1.0, br".to_owned()));
        let zipped = fixture.socket().exchange(&request).unwrap();
        assert_eq!(header(&zipped.headers, "content-encoding"), Some("gzip"));
        assert_eq!(Api::Anthropic.read_answer(&zipped).unwrap(), Api::Anthropic.read_answer(&plain).unwrap());
        let log = fixture.provider.log();
        assert_eq!(log.connections.last().unwrap().exchanges[0].response_body, plain.body);
    }
}

#[test]
fn a_request_with_expect_chunks_and_gzip_is_understood() {
    let fixture = Fixture::plain();
    let body = Api::OpenAi.simple_body("fake", "hello", false).to_string();
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(body.as_bytes()).unwrap();
    let zipped = encoder.finish().unwrap();
    let mut wire = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n\
        Content-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n"
        .to_vec();
    let mut connection = fixture.socket();
    connection.send(&wire).unwrap();
    let interim = connection.head().unwrap().unwrap();
    assert_eq!(interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    wire.clear();
    for part in zipped.chunks(7) {
        oisp_testkit::http1::push_chunk(&mut wire, part);
    }
    wire.extend_from_slice(oisp_testkit::http1::LAST_CHUNK);
    connection.send(&wire).unwrap();
    Api::OpenAi.read_answer(&connection.response("POST").unwrap()).unwrap();
    let exchange = &fixture.provider.log().connections[0].exchanges[0];
    assert_eq!(exchange.request_body, body.as_bytes());
    assert_eq!(exchange.sent_range.start, 0);
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let fixture = Fixture::plain();
    let requests = [1, 2, 3].map(|seed| Api::OpenAi.sized_request("localhost", "fake", seed, 900, false));
    let mut connection = fixture.socket();
    connection.send(&requests.iter().flat_map(encode_request).collect::<Vec<u8>>()).unwrap();
    let ids: Vec<String> = requests
        .iter()
        .map(|_| Api::OpenAi.read_answer(&connection.response("POST").unwrap()).unwrap().id)
        .collect();
    drop(connection);
    let log = fixture.provider.log();
    for (exchange, (request, id)) in log.exchanges().zip(requests.iter().zip(&ids)) {
        assert_eq!(exchange.request_body, request.body);
        assert!(String::from_utf8_lossy(&exchange.response_body).contains(id));
    }
}

#[test]
fn errors_have_the_providers_form() {
    let fixture = Fixture::plain();
    for status in [401, 429, 500, 529] {
        let body = json!({ "model": format!("error-{status}"), "max_tokens": 1,
            "messages": [{ "role": "user", "content": "hi" }] });
        let openai = call(&fixture, Api::OpenAi, &body);
        assert_eq!(openai.status, status);
        assert!(body_json(&openai)["error"]["message"].is_string());
        let anthropic = call(&fixture, Api::Anthropic, &body);
        assert_eq!(anthropic.status, status);
        assert_eq!(body_json(&anthropic)["type"], "error");
        assert_eq!(header(&anthropic.headers, "retry-after").is_some(), status == 429);
    }
    let no_max_tokens = json!({ "model": "m", "messages": [{ "role": "user", "content": "hi" }] });
    assert_eq!(call(&fixture, Api::Anthropic, &no_max_tokens).status, 400);
    let mut broken = Api::OpenAi.request("localhost", &Value::Null);
    broken.body = b"{".to_vec();
    assert_eq!(fixture.socket().exchange(&broken).unwrap().status, 400);
}

#[test]
fn a_stream_that_breaks_ends_with_the_providers_error_event() {
    let fixture = Fixture::plain();
    for api in [Api::OpenAi, Api::Anthropic] {
        let response = call(&fixture, api, &api.simple_body("fake-break-3", "hi", true));
        assert_eq!(response.status, 200);
        assert!(matches!(api.read_answer(&response), Err(AnswerError::Refused { status: 200, .. })));
    }
}

#[test]
fn tools_are_called_with_arguments_that_fit_their_schema_streamed_or_not() {
    let fixture = Fixture::plain();
    let schema = json!({ "type": "object", "properties": {
        "place": { "type": "string" }, "days": { "type": "integer" }, "unit": { "enum": ["celsius"] } } });
    for api in [Api::OpenAi, Api::Anthropic] {
        let tools: Vec<Value> = ["weather", "train"]
            .iter()
            .map(|name| match api {
                Api::OpenAi => {
                    json!({ "type": "function", "function": { "name": name, "parameters": schema } })
                }
                Api::Anthropic => json!({ "name": name, "input_schema": schema }),
            })
            .collect();
        for (words, expected) in [("just talk", 0), ("use a tool", 1), ("use every tool", 2)] {
            let ask = |stream| {
                let mut body = api.simple_body("fake", words, stream);
                body["tools"] = json!(tools);
                api.read_answer(&call(&fixture, api, &body)).unwrap().tool_calls
            };
            for calls in [ask(false), ask(true)] {
                assert_eq!(calls.len(), expected);
                for (call, name) in calls.iter().zip(["weather", "train"]) {
                    let arguments: Value = serde_json::from_str(&call.arguments).unwrap();
                    assert_eq!(call.name, name);
                    assert!(arguments["place"].is_string() && arguments["days"].is_u64());
                    assert_eq!(arguments["unit"], "celsius");
                }
            }
        }
    }
}

#[test]
fn thinking_comes_as_a_signed_block_before_the_text() {
    let fixture = Fixture::plain();
    let mut body = Api::Anthropic.simple_body("fake", "hi", false);
    body["thinking"] = json!({ "type": "enabled", "budget_tokens": 1024 });
    let whole = body_json(&call(&fixture, Api::Anthropic, &body));
    assert_eq!(whole["content"][0]["type"], "thinking");
    assert_eq!(whole["content"][1]["type"], "text");
    body["stream"] = json!(true);
    let stream = String::from_utf8(call(&fixture, Api::Anthropic, &body).body).unwrap();
    for part in ["event: ping\n", "thinking_delta", "signature_delta", "event: message_stop\n"] {
        assert!(stream.contains(part), "{part}");
    }
}

#[test]
fn embeddings_come_as_numbers_or_base64() {
    let fixture = Fixture::plain();
    let mut request = Request {
        method: "POST".to_owned(),
        target: "/v1/embeddings".to_owned(),
        headers: Api::OpenAi.headers("localhost"),
        body: json!({ "model": "m", "input": ["a", "b"], "dimensions": 8 }).to_string().into_bytes(),
    };
    let numbers = body_json(&fixture.socket().exchange(&request).unwrap());
    assert_eq!(numbers["data"][1]["embedding"].as_array().unwrap().len(), 8);
    request.body = json!({ "model": "m", "input": "a", "dimensions": 8, "encoding_format": "base64" })
        .to_string()
        .into_bytes();
    let text = body_json(&fixture.socket().exchange(&request).unwrap());
    // 8 floats of 4 bytes are 32 bytes, 44 characters.
    assert_eq!(text["data"][0]["embedding"].as_str().unwrap().len(), 44);
}

#[test]
fn bytes_that_are_not_http_end_the_connection_and_are_logged() {
    let fixture = Fixture::plain();
    let mut stream = fixture.endpoint().connect().unwrap();
    stream.write_all(b"\x00\x01 nonsense\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert!(answer.is_empty());
    assert!(fixture.provider.wait_idle(Duration::from_secs(10)));
    let connection = &fixture.provider.log().connections[0];
    assert_eq!(connection.received, b"\x00\x01 nonsense\r\n\r\n");
    assert_eq!(connection.end.as_deref(), Some("not an HTTP/1.1 request head"));
}

#[test]
fn stopping_ends_idle_connections_and_slow_streams() {
    let mut fixture = Fixture::plain();
    let idle = fixture.endpoint().connect().unwrap();
    let mut slow = fixture.socket();
    let body = Api::OpenAi.simple_body("fake-chunks-2-delay-60000ms", "hi", true);
    slow.send(&encode_request(&Api::OpenAi.request("localhost", &body))).unwrap();
    slow.head().unwrap().unwrap();
    fixture.provider.stop();
    assert!(slow.body(oisp_testkit::http1::BodyFraming::Chunked).is_err());
    idle.shutdown(Shutdown::Both).ok();
    assert!(fixture.provider.log().connections.iter().all(|connection| connection.end.is_some()));
}

#[test]
fn a_certificate_from_another_authority_or_for_another_name_is_refused() {
    let fixture = Fixture::tls();
    let stranger = Fixture::tls();
    let library = OpenSsl::load(None).unwrap();
    let trusting = library.client_context(fixture.provider.ca_file()).unwrap();
    let mistaken = library.client_context(stranger.provider.ca_file()).unwrap();
    let request = [Api::OpenAi.sized_request("localhost", "fake", 1, 500, false)];
    let refused = |context, endpoint: &Endpoint| {
        matches!(
            run_requests(context, endpoint, Call::Plain, &request),
            Err(RequestError::OpenSsl(OpenSslError::Certificate { .. }))
        )
    };
    assert!(refused(&mistaken, &fixture.endpoint()));
    assert!(refused(&trusting, &fixture.endpoint().named("example.com")));
    for name in ["localhost", "127.0.0.1", "api.openai.com", "api.anthropic.com", "any.provider.test"] {
        assert!(!refused(&trusting, &fixture.endpoint().named(name)), "{name}");
    }
    assert!(fixture.provider.wait_idle(Duration::from_secs(10)));
    let names: Vec<_> = fixture
        .provider
        .log()
        .connections
        .into_iter()
        .filter_map(|connection| connection.server_name)
        .collect();
    assert_eq!(names, ["localhost", "api.openai.com", "api.anthropic.com", "any.provider.test"]);
}

#[test]
fn a_copy_of_the_library_in_another_folder_is_used_and_an_empty_folder_is_an_error_with_advice() {
    let fixture = Fixture::tls();
    let Err(error) = OpenSsl::load(Some(fixture.folder.path())) else { panic!("an empty folder") };
    assert!(error.to_string().contains("apt-get install libssl3"), "{error}");

    let system = OpenSsl::load(None).unwrap();
    let copies = tempfile::tempdir().unwrap();
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    for name in
        [system.file().to_str().unwrap().to_owned(), system.file().to_str().unwrap().replace("ssl", "crypto")]
    {
        let mapped =
            maps.lines().find_map(|line| line.split_whitespace().last().filter(|file| file.ends_with(&name)));
        std::fs::copy(mapped.expect("the library is mapped"), copies.path().join(&name)).unwrap();
    }
    let copy = OpenSsl::load(Some(copies.path())).unwrap();
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    assert!(maps.contains(copy.file().to_str().unwrap()));
    let truth = run(Scenario::Plain, &Options { library: copy, ..fixture.options() }).unwrap();
    fixture.assert_log_equals(&truth);
}

#[test]
fn the_demo_makes_a_tool_call_brings_its_result_and_streams() {
    let fixture = Fixture::tls();
    let calls = run_client(&ClientOptions {
        endpoint: fixture.endpoint(),
        ca_file: fixture.provider.ca_file().to_owned(),
        library_folder: None,
    })
    .unwrap();
    assert_eq!(calls.len(), 3);
    assert_eq!(calls[0].answer.tool_calls[0].name, "weather");
    assert!(calls[1].answer.tool_calls.is_empty() && !calls[1].answer.text.is_empty());
    assert!(calls[2].streamed && calls[2].api == Api::Anthropic);
    let log = fixture.provider.log();
    let hosts: Vec<_> =
        log.connections.iter().filter_map(|connection| connection.server_name.as_deref()).collect();
    assert_eq!(hosts, ["api.openai.com", "api.anthropic.com"]);
}

#[test]
fn the_log_as_json_holds_every_byte() {
    use base64::Engine;
    let fixture = Fixture::plain();
    call(&fixture, Api::OpenAi, &Api::OpenAi.simple_body("fake", "hi", true));
    let log = fixture.provider.log();
    let json = log.to_json();
    let sent = base64::engine::general_purpose::STANDARD
        .decode(json["connections"][0]["sent"].as_str().unwrap())
        .unwrap();
    assert_eq!(sent, log.connections[0].sent);
}
