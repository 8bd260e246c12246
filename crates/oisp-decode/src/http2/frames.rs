//! One frame of a direction: where it begins, its payload, and what its end means.

use super::Http2;
use super::frame::{self, FrameHeader, HEADER_LENGTH};
use super::head::Section;
use super::hpack::{self, BlockLimits};
use super::lane::{Block, LaneState, Payload, PayloadKind};
use super::stream::{BlockError, BlockOrigin};
use crate::body::Side;
use crate::headers::Headers;
use crate::message::{HttpEvent, Nanos, ProblemKind};

/// SETTINGS_MAX_FRAME_SIZE.
const MAX_FRAME_SIZE: u16 = 5;

impl Http2 {
    /// A frame header is complete.
    pub(super) fn begin_frame(
        &mut self,
        side: Side,
        header: FrameHeader,
        first_byte: Nanos,
        time: Nanos,
        out: &mut Vec<HttpEvent>,
    ) {
        if header.kind != frame::DATA || self.pending != Some(header.stream) {
            self.flush(side, time, out);
        }
        let last_stream = self.last_plausible_stream();
        let lane = &mut self.lanes[side as usize];
        let is_refuted = lane.doubt && !header.is_plausible(last_stream);
        if header.length > lane.max_frame || is_refuted {
            self.streams.lose(side, HEADER_LENGTH as u64);
            self.lose(side, time, out);
            return;
        }
        let continues = header.kind == frame::CONTINUATION
            && lane.block.as_ref().is_some_and(|block| block.stream == header.stream);
        let offset = lane.offset.saturating_sub(HEADER_LENGTH as u64);
        if !continues && let Some(block) = &mut lane.block {
            // Nothing may come in between (section 6.2).
            block.malformed = true;
            self.malformed(side, offset, time, out);
            self.end_block(side, time, out);
        }
        let kind = match header.kind {
            _ if !header.is_consistent() || (header.kind == frame::CONTINUATION && !continues) => {
                self.malformed(side, offset, time, out);
                let lane = &mut self.lanes[side as usize];
                if matches!(header.kind, frame::PUSH_PROMISE | frame::CONTINUATION) {
                    lane.headers.forget();
                }
                PayloadKind::Skip
            }
            // Before the roles are known nothing can be said of a stream without its head.
            frame::DATA if !self.role_is_certain => PayloadKind::Skip,
            frame::DATA if header.is_padded() => PayloadKind::DataPadded,
            frame::DATA => PayloadKind::Data { content: header.length },
            frame::HEADERS
            | frame::PUSH_PROMISE
            | frame::CONTINUATION
            | frame::SETTINGS
            | frame::RST_STREAM
            | frame::GOAWAY => PayloadKind::Collect { bytes: Vec::new(), lost: 0, too_large: false },
            _ => PayloadKind::Skip,
        };
        let lane = &mut self.lanes[side as usize];
        lane.state =
            LaneState::Payload(Payload { header, time: first_byte, offset, left: header.length, kind });
        if header.length == 0 {
            self.end_frame(side, time, out);
        }
    }

    /// Takes bytes of a frame's payload. The state must be `Payload`.
    pub(super) fn payload(
        &mut self,
        side: Side,
        time: Nanos,
        rest: &[u8],
        out: &mut Vec<HttpEvent>,
    ) -> usize {
        let limit = self.limits.head_bytes;
        let lane = &mut self.lanes[side as usize];
        let LaneState::Payload(payload) = &mut lane.state else { return rest.len() };
        let mut taken = rest.len().min(payload.left as usize);
        let stream = payload.header.stream;
        let mut content = 0;
        let mut bad_padding = None;
        match &mut payload.kind {
            PayloadKind::Skip => {}
            PayloadKind::Collect { bytes, too_large, .. } => {
                *too_large |= bytes.len() + taken > limit;
                if *too_large {
                    *bytes = Vec::new();
                } else {
                    bytes.extend_from_slice(&rest[..taken]);
                }
            }
            PayloadKind::DataPadded => {
                taken = 1;
                match (payload.left - 1).checked_sub(u32::from(rest[0])) {
                    Some(content) => payload.kind = PayloadKind::Data { content },
                    None => {
                        bad_padding = Some(payload.offset);
                        payload.kind = PayloadKind::Skip;
                    }
                }
            }
            PayloadKind::Data { content: left } => {
                content = taken.min(*left as usize);
                *left -= content as u32;
            }
        }
        payload.left -= taken as u32;
        let is_done = payload.left == 0;
        let content_offset = lane.offset;
        lane.advance(taken as u64);
        if let Some(offset) = bad_padding {
            self.malformed(side, offset, time, out);
        }
        if content > 0 {
            self.streams.data(stream, side, content_offset, time, &rest[..content], out);
            self.pending = Some(stream);
        }
        if is_done {
            self.end_frame(side, time, out);
        }
        taken
    }

    /// The payload of a frame is complete.
    pub(super) fn end_frame(&mut self, side: Side, time: Nanos, out: &mut Vec<HttpEvent>) {
        let lane = &mut self.lanes[side as usize];
        let LaneState::Payload(payload) = std::mem::replace(&mut lane.state, LaneState::between()) else {
            return;
        };
        let Payload { header, time: first_byte, offset, kind, .. } = payload;
        let PayloadKind::Collect { bytes, lost, too_large } = kind else {
            if header.kind == frame::DATA
                && header.ends_stream()
                && self.role_is_certain
                && header.stream != 0
            {
                let origin = BlockOrigin {
                    direction: lane.direction,
                    offset,
                    first_byte,
                    ends_stream: true,
                    doubt: lane.doubt,
                };
                self.streams.end(header.stream, side, Headers::new(), origin, time, out);
            }
            return;
        };
        let is_whole = lost == 0 && !too_large;
        match header.kind {
            frame::CONTINUATION => {
                if let Some(block) = &mut lane.block {
                    block.add(&bytes, lost, too_large, self.limits.head_bytes);
                }
            }
            frame::HEADERS | frame::PUSH_PROMISE => {
                let mut block = Block {
                    stream: header.stream,
                    promised: None,
                    ends_stream: header.ends_stream(),
                    bytes: Vec::new(),
                    lost: 0,
                    too_large: false,
                    malformed: false,
                    first_byte,
                    offset,
                };
                match fragment(&header, &bytes) {
                    Some((promised, fragment)) if is_whole => {
                        block.promised = promised;
                        block.add(fragment, 0, false, self.limits.head_bytes);
                    }
                    None if is_whole => block.malformed = true,
                    _ => block.add(&[], lost, too_large, self.limits.head_bytes),
                }
                lane.block = Some(block);
            }
            frame::SETTINGS => {
                if !header.is_ack() {
                    self.settings(side, &bytes, is_whole);
                }
                return;
            }
            frame::RST_STREAM => {
                let at = Some((lane.direction, offset));
                self.streams.cut(header.stream, at, Some(ProblemKind::StreamReset), time, out);
                return;
            }
            _ => {
                if let (true, Some(last)) = (is_whole, bytes.first_chunk::<4>()) {
                    let last = u32::from_be_bytes(*last) & 0x7fff_ffff;
                    let at = (lane.direction, offset);
                    self.streams.go_away(side == Side::Response, last, at, time, out);
                }
                return;
            }
        }
        if header.ends_headers() {
            self.end_block(side, time, out);
        }
    }

    /// What a side tells the other about frames. The other may still send by older settings.
    pub(super) fn settings(&mut self, side: Side, bytes: &[u8], is_whole: bool) {
        let other = &mut self.lanes[1 - side as usize];
        if !is_whole {
            other.max_frame = frame::LARGEST_FRAME;
        }
        for setting in bytes.chunks_exact(6) {
            let [a, b, c, d, e, f] = *setting else { continue };
            if u16::from_be_bytes([a, b]) == MAX_FRAME_SIZE {
                other.max_frame = other.max_frame.max(u32::from_be_bytes([c, d, e, f]));
            }
        }
    }

    /// The header block of a direction ends, complete or not.
    pub(super) fn end_block(&mut self, side: Side, time: Nanos, out: &mut Vec<HttpEvent>) {
        let limits = BlockLimits { fields: self.limits.headers, bytes: self.limits.head_bytes };
        let lane = &mut self.lanes[side as usize];
        let Some(block) = lane.block.take() else { return };
        let error = if block.lost > 0 {
            Some(BlockError::Lost(block.lost))
        } else if block.too_large {
            Some(BlockError::TooLarge)
        } else {
            block.malformed.then_some(BlockError::Malformed)
        };
        let decoded = match error {
            Some(error) => {
                lane.headers.forget();
                Err(error)
            }
            None => match lane.headers.decode(&block.bytes, limits) {
                Ok(fields) => Ok(Section::new(fields)),
                Err(hpack::MalformedBlock) => Err(BlockError::Malformed),
            },
        };
        let origin = BlockOrigin {
            direction: lane.direction,
            offset: block.offset,
            first_byte: block.first_byte,
            ends_stream: block.ends_stream,
            doubt: lane.doubt,
        };
        let mut side = side;
        if !self.role_is_certain {
            // A promise is the server's, its head is a request's.
            let told = match (&decoded, block.promised) {
                (_, Some(_)) => Some(Side::Response),
                (Ok(section), None) => section.side(),
                (Err(_), None) => None,
            };
            let Some(told) = told else { return };
            if told != side {
                self.lanes.swap(0, 1);
                side = told;
            }
            self.role_is_certain = true;
        }
        match block.promised {
            None => self.streams.head(block.stream, side, decoded, origin, time, out),
            Some(promised) if promised % 2 == 0 && promised != 0 => {
                let origin = BlockOrigin { ends_stream: true, ..origin };
                self.streams.head(promised, Side::Request, decoded, origin, time, out);
            }
            Some(_) => self.malformed(side, block.offset, time, out),
        }
    }
}

/// The part of a HEADERS or PUSH_PROMISE frame that belongs to the header block, and the promised
/// stream. `None` if it contradicts itself.
fn fragment<'a>(header: &FrameHeader, mut payload: &'a [u8]) -> Option<(Option<u32>, &'a [u8])> {
    let mut padding = 0;
    if header.is_padded() {
        let (length, rest) = payload.split_first()?;
        (padding, payload) = (usize::from(*length), rest);
    }
    let mut promised = None;
    if header.kind == frame::PUSH_PROMISE {
        let (id, rest) = payload.split_first_chunk::<4>()?;
        (promised, payload) = (Some(u32::from_be_bytes(*id) & 0x7fff_ffff), rest);
    } else if header.has_priority() {
        payload = payload.get(5..)?;
    }
    Some((promised, payload.get(..payload.len().checked_sub(padding)?)?))
}
