//! WebSocket (RFC 6455) with permessage-deflate (RFC 7692), both directions of one connection.
//!
//! Each direction is a state machine of its own. Bytes lost within a payload leave the framing
//! intact: the message they belong to says so. Bytes lost where a frame header may lie lose the
//! framing of that direction: it is found again when a captured record consists of nothing but
//! whole, well-formed messages. Messages that refer to earlier ones which were lost
//! (context takeover) are said to be undecodable; those that refer to nothing lost are read.

mod extension;
mod frame;
mod half;
mod inflate;
mod message;

pub(crate) use self::extension::Extensions;
use self::half::Half;
pub use self::message::{WebSocketKind, WebSocketMessage};
use crate::Limits;
use crate::message::{Direction, ExchangeId, HttpEvent, Nanos};

/// What the HTTP decoder knows when it hands the connection over.
#[derive(Debug)]
pub(crate) struct Opening {
    /// The exchange that asked for the upgrade.
    pub(crate) exchange: ExchangeId,
    pub(crate) extensions: Extensions,
    /// The client's direction.
    pub(crate) client: Direction,
    /// Offset of the client's first byte of the new protocol.
    pub(crate) client_offset: u64,
    /// Offset of the server's first byte of the new protocol.
    pub(crate) server_offset: u64,
    /// What the client had sent already, and when.
    pub(crate) held: Vec<u8>,
    pub(crate) held_since: Nanos,
    /// It is not known where the client's first frame begins.
    pub(crate) client_is_lost: bool,
}

/// Decoder of one connection after its upgrade.
#[derive(Debug)]
pub(crate) struct WebSocket {
    client: Half,
    server: Half,
}

impl WebSocket {
    /// Takes what the client had sent before the answer too.
    pub(crate) fn open(limits: &Limits, opening: Opening, out: &mut Vec<HttpEvent>) -> Self {
        let extensions = &opening.extensions;
        let half = |direction, offset, is_client| {
            Half::new(direction, offset, is_client, opening.exchange, extensions, limits)
        };
        let mut websocket = Self {
            client: half(opening.client, opening.client_offset, true),
            server: half(opening.client.opposite(), opening.server_offset, false),
        };
        if opening.client_is_lost {
            websocket.client.begin_lost();
        }
        websocket.data(opening.client, opening.held_since, &opening.held, out);
        websocket
    }

    /// Takes one record.
    pub(crate) fn data(
        &mut self,
        direction: Direction,
        time: Nanos,
        record: &[u8],
        out: &mut Vec<HttpEvent>,
    ) {
        self.half(direction).data(time, record, out);
    }

    /// Tells that bytes are missing here.
    pub(crate) fn gap(&mut self, direction: Direction, time: Nanos, length: u64, out: &mut Vec<HttpEvent>) {
        self.half(direction).gap(time, length, out);
    }

    /// Takes a piece of a stream that shares its connection with others: the piece's place in its
    /// direction does not follow from the pieces before.
    pub(crate) fn data_at(
        &mut self,
        from_client: bool,
        offset: u64,
        time: Nanos,
        piece: &[u8],
        out: &mut Vec<HttpEvent>,
    ) {
        let half = if from_client { &mut self.client } else { &mut self.server };
        half.move_to(offset);
        half.data(time, piece, out);
    }

    /// Tells that bytes of one side are missing here.
    pub(crate) fn gap_of(&mut self, of_client: bool, time: Nanos, length: u64, out: &mut Vec<HttpEvent>) {
        let half = if of_client { &mut self.client } else { &mut self.server };
        half.gap(time, length, out);
    }

    /// Tells that the connection ended.
    pub(crate) fn close(&mut self, time: Nanos, out: &mut Vec<HttpEvent>) {
        self.client.close(time, out);
        self.server.close(time, out);
    }

    /// Bytes of memory held besides the fixed size.
    pub(crate) fn buffered_bytes(&self) -> usize {
        self.client.buffered_bytes() + self.server.buffered_bytes()
    }

    fn half(&mut self, direction: Direction) -> &mut Half {
        if self.client.direction() == direction { &mut self.client } else { &mut self.server }
    }
}
