//! Byte for byte: what capture delivers and the decoder makes of it is what the provider received and sent.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};

use oisp_capture::{CaptureEvent, CaptureSource as _, ConnectionId, Direction, Losses, Stop};
use oisp_capture_ebpf::{EbpfCapture, HeldCommand, Options, candidates_of_command};
use oisp_decode::{
    ConnectionDecoder, ExchangeId, HttpEvent, HttpEventKind, Limits, Segment, StreamAssembler,
};
use oisp_testkit::calls::Api;
use oisp_testkit::clients::{Client, Clients};
use oisp_testkit::provider::ConnectionLog;

use crate::support::{Provider, Task, can_record};

/// One connection as it was captured and decoded.
struct Connection {
    sent: (StreamAssembler, Vec<u8>),
    received: (StreamAssembler, Vec<u8>),
    decoder: ConnectionDecoder,
    messages: Vec<HttpEvent>,
}

impl Default for Connection {
    fn default() -> Self {
        Self {
            sent: Default::default(),
            received: Default::default(),
            decoder: ConnectionDecoder::new(Limits::default()),
            messages: Vec::new(),
        }
    }
}

/// Bodies of the exchanges, in their order: request, response, and whether both are complete.
type Bodies = BTreeMap<ExchangeId, (Vec<u8>, Vec<u8>, bool)>;

impl Connection {
    fn take(&mut self, event: &CaptureEvent) {
        let Self { sent, received, decoder, messages } = self;
        match event {
            CaptureEvent::Content(content) => {
                let (assembler, bytes) = match content.direction {
                    Direction::Sent => sent,
                    Direction::Received => received,
                };
                assembler.push(content.offset, &content.bytes, |segment| match segment {
                    Segment::Data { bytes: data, .. } => {
                        bytes.extend_from_slice(data);
                        decoder.data(content.direction, content.time, data, messages);
                    }
                    Segment::Gap { offset, length } => panic!("{length} bytes missing at {offset}"),
                });
            }
            CaptureEvent::ConnectionClosed(closed) => {
                assert_eq!(closed.sent_end, sent.1.len() as u64, "bytes missing at the end");
                assert_eq!(closed.received_end, received.1.len() as u64, "bytes missing at the end");
                decoder.close(closed.time, messages);
            }
            _ => {}
        }
    }

    fn bodies(&self) -> Bodies {
        let mut bodies = Bodies::new();
        for message in &self.messages {
            let (request, response, complete) =
                bodies.entry(message.exchange).or_insert_with(|| (Vec::new(), Vec::new(), true));
            match &message.kind {
                HttpEventKind::RequestBody(bytes) => request.extend_from_slice(bytes),
                HttpEventKind::ResponseBody(bytes) => response.extend_from_slice(bytes),
                HttpEventKind::RequestEnd(end) | HttpEventKind::ResponseEnd(end) => {
                    *complete &= end.completeness.is_complete();
                }
                HttpEventKind::Problem(problem) => panic!("{problem:?}"),
                _ => {}
            }
        }
        bodies
    }
}

/// Records a command with the library that the sensor is made of; gives its connections and output.
fn record(mut command: Command) -> (Vec<Connection>, Vec<u8>) {
    let candidates = candidates_of_command(command.get_program().as_ref(), |name| {
        let set = command.get_envs().find(|(known, _)| *known == name);
        set.map_or_else(|| std::env::var_os(name), |(_, value)| value.map(ToOwned::to_owned))
    });
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let held = HeldCommand::start(command).unwrap();
    let mut capture = EbpfCapture::load(&Options { ring_bytes: 16 << 20 }).unwrap();
    capture.record_command(held.pid(), &candidates).unwrap();
    let stop = Stop::new().unwrap();
    let child = held.release().unwrap();
    let ends = std::thread::spawn({
        let stop = stop.clone();
        move || {
            let output = child.wait_with_output();
            stop.request();
            output.unwrap()
        }
    });
    let mut connections: BTreeMap<ConnectionId, Connection> = BTreeMap::new();
    capture
        .run(&stop, &mut |event| {
            let id = match &event {
                CaptureEvent::Content(content) => content.connection,
                CaptureEvent::ConnectionClosed(closed) => closed.connection,
                CaptureEvent::Coverage(finding) => panic!("{finding:?}"),
                _ => return,
            };
            connections.entry(id).or_default().take(&event);
        })
        .unwrap();
    assert_eq!(capture.statistics().losses, Losses::default());
    let output = ends.join().unwrap();
    assert!(output.status.success());
    // Some were made and never used.
    let used = connections.into_values().filter(|connection| !connection.sent.1.is_empty());
    (used.collect(), output.stdout)
}

/// Every byte that the provider received was captured. Of what it sent the client may have left the end unread; the
/// bodies that are complete are those that the provider sent.
fn assert_same(captured: &Connection, logged: &ConnectionLog, stream: bool) {
    assert!(captured.sent.1 == logged.received, "sent bytes differ on {:?}", logged.peer_port);
    let read = &captured.received.1;
    assert!(logged.sent.starts_with(read), "received bytes differ on {:?}", logged.peer_port);
    let unread = &logged.sent[read.len()..];
    // A client that stops at the end of the events leaves at most the last chunk's frame.
    let may_stay_unread = if stream { b"0\r\n\r\n".len() } else { 0 };
    assert!(unread.len() <= may_stay_unread, "{} bytes were not captured", unread.len());
    let bodies = captured.bodies();
    assert_eq!(bodies.len(), logged.exchanges.len());
    for ((request, response, complete), exchange) in bodies.values().zip(&logged.exchanges) {
        assert!(*request == exchange.request_body, "request bodies differ");
        assert!(*response == exchange.response_body, "response bodies differ");
        assert!(*complete || !unread.is_empty(), "an exchange is incomplete");
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
            captured.sort_by_key(|connection| connection.messages.first().map(|message| message.time));
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
