//! Responses that are captured before their request.
//!
//! From the frame on that begins one, the server's direction waits: header blocks are to be read in their order.

use super::Http2;
use super::frame::{self, FrameHeader};
use super::lane::LaneState;
use crate::body::Side;
use crate::message::{HttpEvent, Nanos, Role};

/// A frame whose payload is not read yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stalled {
    pub(super) header: FrameHeader,
    pub(super) first_byte: Nanos,
    /// When its header was complete.
    pub(super) time: Nanos,
}

impl Http2 {
    /// Whether a frame of the server is to wait for the request of its stream. Only a client can receive it
    /// before its request was captured. After a loss the request may be what was lost.
    pub(super) fn awaits_request(&self, side: Side, header: &FrameHeader) -> bool {
        let [client, server] = &self.lanes;
        side == Side::Response
            && !self.refuses_early
            && self.role() == Role::Client
            && !self.joined
            && !self.streams.has_lost()
            && !matches!(client.state, LaneState::Lost)
            && matches!(header.kind, frame::HEADERS | frame::RST_STREAM)
            && header.is_consistent()
            && header.length <= server.max_frame
            && server.block.is_none()
            && self.streams.is_unused_by_client(header.stream)
    }

    /// Reads what waited, if its request has come.
    pub(super) fn resume(&mut self, out: &mut Vec<HttpEvent>) {
        let Some(stalled) = self.stalled else { return };
        if self.early.exceeds(self.limits.early_response_bytes) {
            self.refuses_early = true;
        }
        if self.awaits_request(Side::Response, &stalled.header) {
            return;
        }
        self.stalled = None;
        let records = self.early.take();
        self.begin_frame(Side::Response, stalled.header, stalled.first_byte, stalled.time, out);
        for record in records {
            self.data(self.lanes[1].direction, record.time, &record.bytes, out);
        }
    }

    /// Reads what waited although there is no request.
    pub(super) fn give_up_early(&mut self, out: &mut Vec<HttpEvent>) {
        if self.stalled.is_some() {
            self.refuses_early = true;
            self.resume(out);
        }
    }
}
