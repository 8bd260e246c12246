//! One message body: counts, undoes the content encoding, delivers. Knows no framing, so that
//! every protocol can use it.

use bytes::Bytes;

use crate::Limits;
use crate::encoding::{ContentDecoder, EncodingError};
use crate::headers::Headers;
use crate::message::{
    BodyEnd, Completeness, Defect, ExchangeId, HttpEvent, HttpEventKind, Nanos, Problem, Undecodable,
};
use crate::whole::Hashing;

/// Which message of an exchange.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Side {
    Request,
    Response,
}

/// A body being received.
#[derive(Debug)]
pub(crate) struct MessageBody {
    exchange: ExchangeId,
    side: Side,
    delivery: Delivery,
    limit: u64,
    /// Decoded bytes of a compressed body after which it is given up.
    expanded_limit: u64,
    over_limit: bool,
    /// Decoded bytes beyond the limit.
    beyond: u64,
    hashing: Hashing,
    /// Decoded bytes not delivered yet. Joins the pieces of one captured record: a record of
    /// one-byte chunks gives one event, not thousands.
    pending: Vec<u8>,
    /// How many of them are hashed.
    pending_hashed: usize,
    end: BodyEnd,
}

#[derive(Debug)]
enum Delivery {
    Decoding(ContentDecoder),
    /// Known to be unreadable, said as soon as there is a byte that can't be read.
    Unsupported(String),
    Stopped,
}

/// Bytes after which pending ones are delivered within a record.
const PIECE: usize = 64 << 10;

impl MessageBody {
    /// `length`: of the body on the wire, where it is known.
    pub(crate) fn new(
        exchange: ExchangeId,
        side: Side,
        codings: &[String],
        length: Option<u64>,
        limits: &Limits,
    ) -> Self {
        let mut hashing = Hashing::new(limits.hash_from_bytes);
        let delivery = match ContentDecoder::with_limits(codings, limits) {
            Ok(decoder) => {
                if decoder.is_identity() && length.is_some_and(|length| length <= limits.body_bytes) {
                    hashing.stop();
                }
                Delivery::Decoding(decoder)
            }
            Err(name) => {
                hashing.stop();
                Delivery::Unsupported(name)
            }
        };
        Self {
            exchange,
            side,
            delivery,
            limit: limits.body_bytes,
            expanded_limit: limits.expanded_bytes,
            over_limit: false,
            beyond: 0,
            hashing,
            pending: Vec::new(),
            pending_hashed: 0,
            end: BodyEnd::default(),
        }
    }

    pub(crate) fn exchange(&self) -> ExchangeId {
        self.exchange
    }

    /// Bytes of memory held besides the fixed size.
    pub(crate) fn buffered_bytes(&self) -> usize {
        let decoder = match &self.delivery {
            Delivery::Decoding(decoder) => decoder.buffered_bytes(),
            Delivery::Unsupported(_) | Delivery::Stopped => 0,
        };
        self.pending.capacity() + decoder + self.hashing.buffered_bytes()
    }

    /// Takes the next bytes of the body, transfer encoding removed.
    pub(crate) fn data(&mut self, time: Nanos, bytes: &[u8], out: &mut Vec<HttpEvent>) {
        if bytes.is_empty() {
            return;
        }
        self.end.first_byte.get_or_insert(time);
        self.end.last_byte = Some(time);
        self.end.wire_bytes = self.end.wire_bytes.saturating_add(bytes.len() as u64);
        self.say_unsupported();
        if let Delivery::Decoding(decoder) = &mut self.delivery {
            let is_expanding = !decoder.is_identity();
            let (pending, hashing) = (&mut self.pending, &mut self.hashing);
            let (end, beyond) = (&mut self.end, &mut self.beyond);
            let result = decoder.push_to(bytes, &mut |made| {
                let room = usize::try_from(self.limit - end.decoded_bytes).unwrap_or(usize::MAX);
                let (kept, rest) = made.split_at(made.len().min(room));
                if pending.is_empty() {
                    // As much as the record has, at least: a coding or many chunks give it in pieces.
                    pending.reserve(bytes.len().min(room).min(PIECE).max(kept.len()));
                }
                pending.extend_from_slice(kept);
                end.decoded_bytes += kept.len() as u64;
                if rest.is_empty() {
                    return Ok(());
                }
                self.over_limit = true;
                hashing.push_now(&pending[self.pending_hashed..]);
                self.pending_hashed = pending.len();
                hashing.push_now(rest);
                *beyond = beyond.saturating_add(rest.len() as u64);
                if is_expanding && end.decoded_bytes.saturating_add(*beyond) > self.expanded_limit {
                    return Err(EncodingError::OverLimit);
                }
                Ok(())
            });
            match result {
                Ok(()) => {}
                Err(EncodingError::OverLimit) => {
                    self.over_limit = true;
                    self.hashing.stop();
                    self.delivery = Delivery::Stopped;
                }
                Err(EncodingError::Corrupt | EncodingError::Truncated) => {
                    self.stop(Undecodable::CorruptEncoding);
                }
                Err(error @ (EncodingError::WindowTooLarge { .. } | EncodingError::OutOfMemory)) => {
                    self.stop(Undecodable::UnsupportedEncoding(error.to_string()));
                }
            }
            if self.pending.len() >= PIECE {
                self.flush(time, out);
            }
        }
    }

    /// Tells that bytes of the body are missing here.
    pub(crate) fn gap(&mut self, time: Nanos, lost: u64, out: &mut Vec<HttpEvent>) {
        self.flush(time, out);
        self.hashing.stop();
        self.say_unsupported();
        self.defect(Defect::Gap { lost_bytes: lost, at: self.end.decoded_bytes });
        if let Delivery::Decoding(decoder) = &self.delivery {
            if !decoder.is_identity() {
                self.delivery = Delivery::Stopped;
            }
            let kind = match self.side {
                Side::Request => HttpEventKind::RequestBodyGap { lost },
                Side::Response => HttpEventKind::ResponseBodyGap { lost },
            };
            out.push(HttpEvent { exchange: self.exchange, time, kind });
        }
    }

    /// Tells that more bytes are missing at a place that `gap` was told of: they were captured, but
    /// not where in the body they belong.
    pub(crate) fn lose(&mut self, bytes: u64) {
        self.defect(Defect::Gap { lost_bytes: bytes, at: self.end.decoded_bytes });
    }

    /// Stops delivering: what follows can't be read.
    pub(crate) fn stop(&mut self, reason: Undecodable) {
        self.defect(Defect::Undecodable(reason));
        self.hashing.stop();
        self.delivery = Delivery::Stopped;
    }

    pub(crate) fn defect(&mut self, defect: Defect) {
        self.end.completeness.add(defect);
    }

    /// Delivers what is pending. To be called at the end of each captured record.
    pub(crate) fn flush(&mut self, time: Nanos, out: &mut Vec<HttpEvent>) {
        if self.pending.is_empty() {
            return;
        }
        let bytes = Bytes::from(std::mem::take(&mut self.pending));
        let hashed = std::mem::take(&mut self.pending_hashed);
        if hashed < bytes.len() {
            self.hashing.push(&bytes.slice(hashed..));
        }
        let kind = match self.side {
            Side::Request => HttpEventKind::RequestBody(bytes),
            Side::Response => HttpEventKind::ResponseBody(bytes),
        };
        out.push(HttpEvent { exchange: self.exchange, time, kind });
    }

    /// The message is over.
    pub(crate) fn finish(mut self, time: Nanos, trailers: Headers, out: &mut Vec<HttpEvent>) {
        self.flush(time, out);
        if let Delivery::Decoding(decoder) = &self.delivery
            && self.end.completeness.is_complete()
            && decoder.finish().is_err()
        {
            self.defect(Defect::Undecodable(Undecodable::TruncatedEncoding));
        }
        if self.over_limit {
            if self.end.completeness.is_complete() {
                self.end.whole = self.hashing.finish();
            }
            let total_bytes = self.end.wire_bytes;
            self.end.completeness.add(Defect::OverLimit { total_bytes });
        }
        self.end.trailers = trailers;
        out.push(end_event(self.exchange, self.side, time, self.end));
    }

    fn say_unsupported(&mut self) {
        if let Delivery::Unsupported(name) = &mut self.delivery {
            let reason = Undecodable::UnsupportedEncoding(std::mem::take(name));
            self.stop(reason);
        }
    }
}

/// The event that ends one message of an exchange.
pub(crate) fn end_event(exchange: ExchangeId, side: Side, time: Nanos, end: BodyEnd) -> HttpEvent {
    let kind = match side {
        Side::Request => HttpEventKind::RequestEnd(end),
        Side::Response => HttpEventKind::ResponseEnd(end),
    };
    HttpEvent { exchange, time, kind }
}

/// The event that reports a problem.
pub(crate) fn problem(exchange: ExchangeId, time: Nanos, problem: Problem) -> HttpEvent {
    HttpEvent { exchange, time, kind: HttpEventKind::Problem(problem) }
}

/// The end of a response of which no body was seen.
pub(crate) fn bare_end<const N: usize>(exchange: ExchangeId, time: Nanos, defects: [Defect; N]) -> HttpEvent {
    let completeness: Completeness = defects.into_iter().collect();
    end_event(exchange, Side::Response, time, BodyEnd { completeness, ..BodyEnd::default() })
}
