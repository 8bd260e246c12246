//! Assembly, decoding and interpreting, as the sensor wires them.

use std::collections::HashMap;

use oisp_ai::{AiEvent, ConnectionInterpreter};
use oisp_capture::{CaptureEvent, ConnectionId, Direction, Nanos};
use oisp_decode::{ConnectionDecoder, HttpEvent, Segment, StreamAssembler};

/// All connections that are open.
#[derive(Default)]
pub(crate) struct Stages {
    connections: HashMap<ConnectionId, Connection>,
    /// Bytes that closed connections lost.
    pub(crate) missing: u64,
}

/// One connection's way through the stages.
struct Connection {
    sent: StreamAssembler,
    received: StreamAssembler,
    decoder: ConnectionDecoder,
    interpreter: ConnectionInterpreter,
}

impl Stages {
    /// What becomes complete by an event.
    pub(crate) fn handle(&mut self, event: &CaptureEvent) -> Vec<AiEvent> {
        let (mut messages, mut out) = (Vec::new(), Vec::new());
        match event {
            CaptureEvent::Content(content) => {
                let connection = self.connections.entry(content.connection).or_insert_with(Connection::new);
                let assembler = match content.direction {
                    Direction::Sent => &mut connection.sent,
                    Direction::Received => &mut connection.received,
                };
                assembler.push(content.offset, &content.bytes, |segment| {
                    decode(&mut connection.decoder, content.direction, content.time, segment, &mut messages);
                });
                connection.interpret(&messages, &mut out);
            }
            CaptureEvent::ConnectionClosed(closed) => {
                // Of a connection all of whose records were lost nothing came but its end.
                let mut connection =
                    self.connections.remove(&closed.connection).unwrap_or_else(Connection::new);
                connection.sent.close(closed.sent_end, |segment| {
                    decode(&mut connection.decoder, Direction::Sent, closed.time, segment, &mut messages);
                });
                connection.received.close(closed.received_end, |segment| {
                    decode(&mut connection.decoder, Direction::Received, closed.time, segment, &mut messages);
                });
                connection.decoder.close(closed.time, &mut messages);
                connection.interpret(&messages, &mut out);
                connection.interpreter.close(closed.time, &mut out);
                self.missing += connection.sent.bytes_lost() + connection.received.bytes_lost();
            }
            _ => {}
        }
        out
    }

    pub(crate) fn open(&self) -> usize {
        self.connections.len()
    }
}

impl Connection {
    fn new() -> Self {
        Self {
            sent: StreamAssembler::new(),
            received: StreamAssembler::new(),
            decoder: ConnectionDecoder::new(oisp_decode::Limits::default()),
            interpreter: ConnectionInterpreter::new(oisp_ai::Limits::default()),
        }
    }

    fn interpret(&mut self, messages: &[HttpEvent], out: &mut Vec<AiEvent>) {
        messages.iter().for_each(|message| self.interpreter.event(message, out));
    }
}

fn decode(
    decoder: &mut ConnectionDecoder,
    direction: Direction,
    time: Nanos,
    segment: Segment<'_>,
    out: &mut Vec<HttpEvent>,
) {
    match segment {
        Segment::Data { bytes, .. } => decoder.data(direction, time, bytes, out),
        Segment::Gap { length, .. } => decoder.gap(direction, time, length, out),
    }
}
