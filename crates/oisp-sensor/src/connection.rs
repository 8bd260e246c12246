//! One connection's way through assembly, decoding and interpretation.

use oisp_ai::{AiEvent, ConnectionContext, ConnectionInterpreter, McpSide};
use oisp_capture::{CloseCause, ConnectionClosed, ConnectionId, Content, Direction, MonotonicNanos, Nanos};
use oisp_decode::{ConnectionDecoder, HttpEvent, Protocol, Role, Segment, StreamAssembler};

use crate::pipeline::Limits;

/// A connection that is open.
#[derive(Default)]
pub(crate) struct Connection {
    sent: StreamAssembler,
    received: StreamAssembler,
    stages: Option<Box<Stages>>,
    /// What it was seen to speak before it gave way.
    spoke: Protocol,
    /// What [`Self::held_bytes`] says.
    held: usize,
    /// Whether it gave way: it is then taken up again in the middle.
    gave_way: bool,
    /// Whether nothing of its process is told.
    pub(crate) is_excluded: bool,
    is_server: bool,
    last_sent: Option<(u32, &'static str)>,
    last_received: Option<(u32, &'static str)>,
}

/// A half of a call or a message, with the thread and the function that transferred it.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) call: AiEvent,
    pub(crate) thread: u32,
    pub(crate) function: &'static str,
}

struct Stages {
    decoder: ConnectionDecoder,
    interpreter: ConnectionInterpreter,
}

impl Connection {
    /// One of which nothing came yet.
    pub(crate) fn new(is_excluded: bool) -> Self {
        Self { is_excluded, ..Self::default() }
    }

    /// Memory of one that holds nothing, with its place in the tables.
    pub(crate) const BASE_BYTES: usize = 2 * size_of::<Self>() + 64;

    /// Bytes held of messages that are not complete.
    pub(crate) fn held_bytes(&self) -> usize {
        self.held
    }

    /// Bytes that were known to exist and did not come.
    pub(crate) fn bytes_lost(&self) -> u64 {
        self.sent.bytes_lost() + self.received.bytes_lost()
    }

    pub(crate) fn protocol(&self) -> Protocol {
        self.stages.as_ref().map_or(self.spoke, |stages| stages.decoder.protocol())
    }

    /// Takes content; gives what became complete by it.
    pub(crate) fn content(&mut self, content: &Content, limits: &Limits) -> Vec<Told> {
        let by = Some((content.thread, content.function));
        *match content.direction {
            Direction::Sent => &mut self.last_sent,
            Direction::Received => &mut self.last_received,
        } = by;
        let mut stages = self.stages.take().unwrap_or_else(|| self.begin(content, limits));
        let mut messages = Vec::new();
        self.assembler(content.direction).push(content.offset, &content.bytes, |segment| {
            decode(&mut stages.decoder, content.direction, content.time, segment, &mut messages);
        });
        let mut calls = Vec::new();
        stages.interpret(&messages, &mut calls);
        self.held = stages.held_bytes();
        self.is_server = stages.decoder.role() == Some(Role::Server);
        self.stages = Some(stages);
        self.told(calls)
    }

    /// Content that nobody wants to know. What was held is forgotten: it must never be joined to what comes later.
    pub(crate) fn pass_over(&mut self, content: &Content) {
        self.gave_way = true;
        self.stages = None;
        self.held = 0;
        self.assembler(content.direction).push(content.offset, &content.bytes, |_| ());
    }

    /// Forgets what it holds, and tells with a mark what that was; goes on with what comes next.
    pub(crate) fn give_way(&mut self, time: MonotonicNanos) -> Vec<Told> {
        let mut calls = Vec::new();
        self.spoke = self.protocol();
        if let Some(mut stages) = self.stages.take() {
            stages.interpreter.cut_short(time, "memory_limit", &mut calls);
        }
        self.gave_way = true;
        self.held = 0;
        self.told(calls)
    }

    /// How far it is known, as the end of a connection of which no end was told.
    pub(crate) fn end(&self, connection: ConnectionId, time: MonotonicNanos) -> ConnectionClosed {
        ConnectionClosed {
            connection,
            sent_end: self.sent.next_offset(),
            received_end: self.received.next_offset(),
            time,
            cause: CloseCause::ProcessGone,
        }
    }

    /// The connection is over.
    pub(crate) fn close(&mut self, closed: &ConnectionClosed) -> Vec<Told> {
        let (mut messages, mut calls) = (Vec::new(), Vec::new());
        let mut stages = self.stages.take();
        for (direction, end) in
            [(Direction::Sent, closed.sent_end), (Direction::Received, closed.received_end)]
        {
            self.assembler(direction).close(end, |segment| {
                if let Some(stages) = &mut stages {
                    decode(&mut stages.decoder, direction, closed.time, segment, &mut messages);
                }
            });
        }
        if let Some(stages) = &mut stages {
            stages.decoder.close(closed.time, &mut messages);
            stages.interpret(&messages, &mut calls);
            stages.interpreter.close(closed.time, &mut calls);
        }
        self.held = 0;
        self.told(calls)
    }

    fn assembler(&mut self, direction: Direction) -> &mut StreamAssembler {
        match direction {
            Direction::Sent => &mut self.sent,
            Direction::Received => &mut self.received,
        }
    }

    fn begin(&self, content: &Content, limits: &Limits) -> Box<Stages> {
        let mut decoder = ConnectionDecoder::new(limits.decode);
        if self.gave_way {
            // It begins in the middle: what came before is as good as lost to it. Of what it says to that nothing is
            // news.
            let mut ignored = Vec::new();
            for (direction, seen) in [(Direction::Sent, &self.sent), (Direction::Received, &self.received)] {
                decoder.gap(direction, content.time, seen.next_offset(), &mut ignored);
            }
        }
        let context = ConnectionContext { services: limits.services, ..ConnectionContext::default() };
        Box::new(Stages {
            decoder,
            interpreter: ConnectionInterpreter::with_context(limits.interpret, context),
        })
    }

    /// With the thread and the function of the direction that a call's half went: a recorded server receives requests.
    fn told(&self, calls: Vec<AiEvent>) -> Vec<Told> {
        let by = |call: &AiEvent| {
            let was_sent = match call {
                AiEvent::Request(_) => !self.is_server,
                AiEvent::Response(_) | AiEvent::Chunk(_) => self.is_server,
                AiEvent::Mcp(message) => message.from == message.recorded,
            };
            let (first, second) = if was_sent {
                (self.last_sent, self.last_received)
            } else {
                (self.last_received, self.last_sent)
            };
            // An answer that never came is told by the request's direction.
            first.or(second).unwrap_or((0, "unknown"))
        };
        calls
            .into_iter()
            .map(|mut call| {
                if let AiEvent::Mcp(message) = &mut call
                    && self.is_server
                {
                    message.recorded = McpSide::Server;
                }
                let (thread, function) = by(&call);
                Told { call, thread, function }
            })
            .collect()
    }
}

impl Stages {
    fn interpret(&mut self, messages: &[HttpEvent], calls: &mut Vec<AiEvent>) {
        for message in messages {
            self.interpreter.event(message, calls);
        }
    }

    fn held_bytes(&self) -> usize {
        size_of::<Self>() + self.decoder.buffered_bytes() + self.interpreter.buffered_bytes()
    }
}

fn decode(
    decoder: &mut ConnectionDecoder,
    direction: Direction,
    time: Nanos,
    segment: Segment<'_>,
    messages: &mut Vec<HttpEvent>,
) {
    match segment {
        Segment::Data { bytes, .. } => decoder.data(direction, time, bytes, messages),
        Segment::Gap { length, .. } => decoder.gap(direction, time, length, messages),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use oisp_capture::ProcessId;

    const REQUEST: &[u8] = b"POST /v1/chat/completions HTTP/1.1\r\nHost: api.openai.com\r\n\
        Content-Type: application/json\r\nContent-Length: 64\r\n\r\n\
        {\"model\":\"gpt-9\",\"messages\":[{\"role\":\"user\",\"content\":\"Hello\"}]}";

    fn sent(offset: u64, bytes: &'static [u8]) -> Content {
        Content {
            connection: ConnectionId { process: ProcessId(7), object: 1, born: Nanos(1) },
            thread: 8,
            direction: Direction::Sent,
            offset,
            bytes: Bytes::from_static(bytes),
            time: Nanos(5),
            function: "SSL_write",
        }
    }

    fn request(told: &[Told]) -> &oisp_ai::AiCall {
        let [Told { call: AiEvent::Request(call), .. }, ..] = told else { panic!("a request: {told:?}") };
        call
    }

    #[test]
    fn one_that_gave_way_tells_what_it_had_with_a_mark_and_goes_on_with_the_next_message() {
        let limits = Limits::default();
        let mut connection = Connection::default();
        let half = REQUEST.len() - 20;
        assert!(connection.content(&sent(0, &REQUEST[..half]), &limits).is_empty());
        assert!(connection.held_bytes() > 0);
        let told = connection.give_way(Nanos(6));
        assert_eq!(connection.held_bytes(), 0);
        assert!(request(&told).findings.reasons.contains(&"memory_limit".to_owned()), "{told:?}");

        assert!(connection.content(&sent(half as u64, &REQUEST[half..]), &limits).is_empty());
        let told = connection.content(&sent(REQUEST.len() as u64, REQUEST), &limits);
        assert_eq!(request(&told).request.messages.len(), 1);
        assert_eq!(connection.bytes_lost(), 0, "what was seen is not missing");
    }

    #[test]
    fn message_whose_middle_was_passed_over_is_not_joined_from_its_ends() {
        let limits = Limits::default();
        let mut connection = Connection::default();
        let (third, two) = (REQUEST.len() - 40, REQUEST.len() - 20);
        connection.content(&sent(0, &REQUEST[..third]), &limits);
        connection.pass_over(&sent(third as u64, &REQUEST[third..two]));
        assert_eq!(connection.held_bytes(), 0);
        let told = connection.content(&sent(two as u64, &REQUEST[two..]), &limits);
        assert!(told.is_empty(), "{told:?}");
        let told = connection.content(&sent(REQUEST.len() as u64, REQUEST), &limits);
        assert_eq!(request(&told).request.messages.len(), 1);
    }

    #[test]
    fn what_was_passed_over_is_not_taken_for_a_loss() {
        let mut connection = Connection::default();
        connection.pass_over(&sent(0, REQUEST));
        let told = connection.content(&sent(REQUEST.len() as u64, REQUEST), &Limits::default());
        assert_eq!(request(&told).request.messages.len(), 1);
        let end = 2 * REQUEST.len() as u64;
        let closed = ConnectionClosed {
            connection: sent(0, b"").connection,
            sent_end: end,
            received_end: 0,
            time: Nanos(9),
            cause: CloseCause::Released,
        };
        connection.close(&closed);
        assert_eq!(connection.bytes_lost(), 0);
    }
}
