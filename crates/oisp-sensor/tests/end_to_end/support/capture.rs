//! The library that the sensor is made of, used by the test itself: every byte and every decoded message.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::process::{Child, Command, Output, Stdio};

use oisp_capture::{
    CaptureEvent, CaptureSource as _, ConnectionId, Direction, Losses, Nanos, ProcessId, Stop,
};
use oisp_capture_ebpf::{Candidate, EbpfCapture, HeldCommand, Options, candidates_of_command};
use oisp_decode::{
    ConnectionDecoder, ExchangeId, Headers, HttpEvent, HttpEventKind, Limits, Role, Segment, StreamAssembler,
};

use super::host::send_signal;

/// One connection as it was captured and decoded.
pub(crate) struct Connection {
    pub(crate) process: ProcessId,
    pub(crate) sent: Vec<u8>,
    pub(crate) received: Vec<u8>,
    pub(crate) messages: Vec<HttpEvent>,
    assemblers: (StreamAssembler, StreamAssembler),
    decoder: ConnectionDecoder,
}

/// An exchange, put together.
#[derive(Default)]
pub(crate) struct Exchange {
    pub(crate) target: String,
    pub(crate) request: Vec<u8>,
    pub(crate) status: u16,
    pub(crate) response: Vec<u8>,
    pub(crate) content_encoding: Option<String>,
    pub(crate) informational: Vec<u16>,
    pub(crate) trailers: Headers,
    /// Both sides ended and nothing is missing.
    pub(crate) complete: bool,
    ends: usize,
    /// What is missing, as it was said.
    pub(crate) defects: Vec<String>,
}

/// A server and a client, both of them recorded.
pub(crate) struct Conversation {
    /// Those that carried something.
    pub(crate) connections: Vec<Connection>,
    pub(crate) client: ProcessId,
    pub(crate) client_output: Vec<u8>,
    pub(crate) server_output: Vec<u8>,
}

impl Connection {
    fn of(process: ProcessId) -> Self {
        Self {
            process,
            sent: Vec::new(),
            received: Vec::new(),
            messages: Vec::new(),
            assemblers: Default::default(),
            decoder: ConnectionDecoder::new(Limits::default()),
        }
    }

    fn take(&mut self, event: &CaptureEvent) {
        let Self { sent, received, assemblers, decoder, messages, .. } = self;
        match event {
            CaptureEvent::Content(content) => {
                let (assembler, bytes) = match content.direction {
                    Direction::Sent => (&mut assemblers.0, sent),
                    Direction::Received => (&mut assemblers.1, received),
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
                assert_eq!(closed.sent_end, sent.len() as u64, "bytes missing at the end");
                assert_eq!(closed.received_end, received.len() as u64, "bytes missing at the end");
                decoder.close(closed.time, messages);
            }
            _ => {}
        }
    }

    pub(crate) fn role(&self) -> Option<Role> {
        self.decoder.role()
    }

    /// When the first thing became known.
    pub(crate) fn first_time(&self) -> Option<Nanos> {
        self.messages.first().map(|message| message.time)
    }

    /// The exchanges in the order of their ids. Nothing may have been misunderstood.
    pub(crate) fn exchanges(&self) -> BTreeMap<ExchangeId, Exchange> {
        let mut exchanges = BTreeMap::<ExchangeId, Exchange>::new();
        for message in &self.messages {
            if let HttpEventKind::Problem(problem) = &message.kind {
                panic!("{problem:?} of {:?} of {:?}", message.exchange, self.role());
            }
            let exchange = exchanges.entry(message.exchange).or_default();
            match &message.kind {
                HttpEventKind::RequestHead(head) => exchange.target.clone_from(&head.target),
                HttpEventKind::RequestBody(bytes) => exchange.request.extend_from_slice(bytes),
                HttpEventKind::ResponseHead(head) => {
                    exchange.status = head.status;
                    exchange.content_encoding =
                        head.headers.get("content-encoding").map(std::borrow::Cow::into_owned);
                }
                HttpEventKind::InformationalHead(head) => exchange.informational.push(head.status),
                HttpEventKind::ResponseBody(bytes) => exchange.response.extend_from_slice(bytes),
                HttpEventKind::RequestEnd(end) | HttpEventKind::ResponseEnd(end) => {
                    exchange.ends += 1;
                    if !end.completeness.is_complete() {
                        exchange.defects.push(format!("{:?}", end.completeness));
                    }
                    if matches!(message.kind, HttpEventKind::ResponseEnd(_)) {
                        exchange.trailers = end.trailers.clone();
                    }
                }
                _ => {}
            }
            exchange.complete = exchange.ends == 2 && exchange.defects.is_empty();
        }
        exchanges
    }
}

/// Records a command; gives its connections and output.
pub(crate) fn record(mut command: Command) -> (Vec<Connection>, Vec<u8>) {
    let candidates = candidates(&command);
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let held = HeldCommand::start(command).unwrap();
    let mut capture = EbpfCapture::load(&Options::default()).unwrap();
    capture.record_command(held.pid(), &candidates).unwrap();
    let child = held.release().unwrap();
    let (connections, output) = run(&mut capture, move || child.wait_with_output().unwrap());
    assert!(output.status.success());
    (connections, output.stdout)
}

/// Records a server, which has its socket, and a client of it. When the client has ended the signal ends the server.
pub(crate) fn record_conversation(mut server: Command, end_signal: i32, mut client: Command) -> Conversation {
    let candidates: Vec<Candidate> =
        candidates(&server).into_iter().chain(self::candidates(&client)).collect();
    server.stdout(Stdio::piped());
    client.stdin(Stdio::null()).stdout(Stdio::piped());
    let held_server = HeldCommand::start(server).unwrap();
    let held_client = HeldCommand::start(client).unwrap();
    let client_id = ProcessId(held_client.pid());
    let mut capture = EbpfCapture::load(&Options::default()).unwrap();
    capture.record_command(held_server.pid(), &candidates).unwrap();
    capture.record_command(held_client.pid(), &[]).unwrap();
    // The other way round it would never return: the client, forked later, may hold a copy of what `spawn` of the
    // server waits for until the client has executed. It does not wait for the server: the socket is there already.
    let mut client = held_client.release().unwrap();
    let server = held_server.release().unwrap_or_else(|error| {
        client.kill().unwrap();
        panic!("{error}");
    });
    let (connections, (server, client)) = run(&mut capture, move || {
        let client = client.wait_with_output();
        (end(server, end_signal), client.unwrap())
    });
    assert!(client.status.success(), "the client ended with {}", client.status);
    assert!(server.status.success(), "the server ended with {}", server.status);
    Conversation {
        connections,
        client: client_id,
        client_output: client.stdout,
        server_output: server.stdout,
    }
}

fn end(server: Child, signal: i32) -> Output {
    let signal = rustix::process::Signal::from_named_raw(signal).expect("a signal");
    send_signal(server.id(), signal);
    server.wait_with_output().unwrap()
}

fn candidates(command: &Command) -> Vec<Candidate> {
    candidates_of_command(command.get_program().as_ref(), |name| {
        let set = command.get_envs().find(|(known, _)| *known == OsStr::new(name));
        set.map_or_else(|| std::env::var_os(name), |(_, value)| value.map(ToOwned::to_owned))
    })
}

/// Captures until `processes`, which waits for those in scope, is done. Nothing may be lost.
fn run<T: Send + 'static>(
    capture: &mut EbpfCapture,
    processes: impl FnOnce() -> T + Send + 'static,
) -> (Vec<Connection>, T) {
    let stop = Stop::new().unwrap();
    let ends = std::thread::spawn({
        let stop = stop.clone();
        move || {
            let result = processes();
            stop.request();
            result
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
            connections.entry(id).or_insert_with(|| Connection::of(id.process)).take(&event);
        })
        .unwrap();
    assert_eq!(capture.statistics().losses, Losses::default());
    let result = ends.join().unwrap();
    // Some were made and never used.
    let used = connections.into_values().filter(|connection| !connection.sent.is_empty());
    (used.collect(), result)
}
