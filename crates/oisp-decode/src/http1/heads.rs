//! A message begins: what its head makes of the connection.

use super::framing::{self, Framing, RequestKind, upgrade_of};
use super::half::State;
use super::head::{self, LineBlock};
use super::pairing::{Admission, Answers};
use super::{Http1, Successor};
use crate::body::{MessageBody, Side, bare_end, problem};
use crate::headers::Headers;
use crate::message::{
    Defect, ExchangeId, HttpEvent, HttpEventKind, Nanos, Problem, ProblemKind, UpgradeProtocol,
};
use crate::websocket::{Extensions, Opening};

impl Http1 {
    pub(super) fn request_head(
        &mut self,
        time: Nanos,
        block: LineBlock,
        first_byte: Nanos,
        offset: u64,
        out: &mut Vec<HttpEvent>,
    ) {
        let direction = self.request.direction;
        let at = |kind| Problem { direction, offset, kind };
        let (head, oddities) = head::request(block, first_byte, &self.limits);
        let head = match head {
            Ok(head) => head,
            Err(kind) => {
                for odd in oddities.problems() {
                    out.push(problem(ExchangeId::CONNECTION, time, at(odd)));
                }
                self.lose(Side::Request, time, None, at(kind), out);
                return;
            }
        };
        // Whoever asks again has the answer before.
        self.give_up_chunks(time, out);
        if self.answers() == Answers::Between && self.pairing.refutes_start() {
            while let Some(exchange) = self.pairing.close_front() {
                out.push(problem(exchange, time, at(ProblemKind::PairingUncertain)));
                out.push(bare_end(exchange, time, [Defect::PairingLost]));
            }
        }
        let kind = RequestKind::of(&head.method);
        let (exchange, admission) = self.pairing.request(kind, self.answers());
        let plan = framing::request_plan(&head, &self.limits);
        let asks_upgrade = kind == RequestKind::Connect || head.headers.all("upgrade").next().is_some();
        out.push(HttpEvent { exchange, time, kind: HttpEventKind::RequestHead(head) });
        let resynchronised = self.request.doubt();
        for kind in resynchronised.into_iter().chain(oddities.problems()).chain(plan.problem) {
            out.push(problem(exchange, time, at(kind)));
        }
        let refused = match admission {
            Admission::Paired => None,
            Admission::Uncertain => Some(ProblemKind::PairingUncertain),
            Admission::TooMany => Some(ProblemKind::TooManyPendingRequests),
        };
        if let Some(kind) = refused {
            out.push(problem(exchange, time, at(kind)));
            out.push(bare_end(exchange, time, [Defect::PairingLost]));
        }
        let mut body =
            Box::new(MessageBody::new(exchange, Side::Request, &plan.codings, plan.length(), &self.limits));
        if let Framing::Unknown(reason) = &plan.framing {
            body.stop(reason.clone());
            self.pairing.hide_requests();
        }
        let done = plan.framing.is_done();
        self.request.state = State::Body { framing: plan.framing, body, hold: asks_upgrade };
        if done {
            self.end_body(Side::Request, time, Headers::new(), out);
        }
    }

    /// Returns whether the connection was handed over.
    pub(super) fn response_head(
        &mut self,
        time: Nanos,
        block: LineBlock,
        first_byte: Nanos,
        offset: u64,
        out: &mut Vec<HttpEvent>,
    ) -> bool {
        let direction = self.response.direction;
        let at = |kind| Problem { direction, offset, kind };
        let (head, oddities) = head::response(block, first_byte, &self.limits);
        let (exchange, request) = match self.pairing.front() {
            Some(front) => front,
            None => self.response_without_request(time, offset, out),
        };
        let head = match head {
            Ok(head) => head,
            Err(kind) => {
                for odd in oddities.problems() {
                    out.push(problem(exchange, time, at(odd)));
                }
                self.lose(Side::Response, time, None, at(kind), out);
                return false;
            }
        };
        let plan = framing::response_plan(&head, request, &self.limits);
        let upgrade = upgrade_of(&head, request);
        // The answer to a request that asks for HTTP/2 comes by HTTP/2.
        let answered_later = upgrade == Some(UpgradeProtocol::Http2);
        let informational = (upgrade.is_none() || answered_later) && head.status < 200;
        let kind = if informational { HttpEventKind::InformationalHead } else { HttpEventKind::ResponseHead };
        let extensions = Extensions::accepted(&head.headers);
        out.push(HttpEvent { exchange, time, kind: kind(head) });
        let plan_problem = plan.problem.filter(|_| upgrade.is_none());
        let resynchronised = self.response.doubt();
        for kind in resynchronised.into_iter().chain(oddities.problems()).chain(plan_problem) {
            out.push(problem(exchange, time, at(kind)));
        }
        if let Some(protocol) = upgrade {
            let successor = protocol.clone();
            out.push(HttpEvent { exchange, time, kind: HttpEventKind::Upgraded { protocol } });
            if !answered_later {
                out.push(bare_end(exchange, time, []));
            }
            self.pairing.close_front();
            // In any case: what the client sent before the answer belongs to the new protocol.
            let opening = self.opening(exchange, extensions);
            self.successor = match successor {
                UpgradeProtocol::WebSocket => Successor::WebSocket(Box::new(opening)),
                UpgradeProtocol::Http2 => Successor::Http2 {
                    opening: Box::new(opening),
                    bodiless_response: request == RequestKind::Head,
                },
                _ => Successor::Unread,
            };
            self.close(time, out);
            return true;
        }
        if informational {
            return false;
        }
        let mut body =
            Box::new(MessageBody::new(exchange, Side::Response, &plan.codings, plan.length(), &self.limits));
        if let Framing::Unknown(reason) = &plan.framing {
            body.stop(reason.clone());
        }
        let done = plan.framing.is_done();
        self.response.state = State::Body { framing: plan.framing, body, hold: false };
        if done {
            self.end_body(Side::Response, time, Headers::new(), out);
        }
        false
    }

    /// What is to be known of a WebSocket. Takes out what the client sent before the answer: it
    /// belongs to the new protocol.
    fn opening(&mut self, exchange: ExchangeId, extensions: Extensions) -> Opening {
        let (state, held, held_since) = match std::mem::replace(&mut self.request.state, State::Lost) {
            State::Held { bytes, time, .. } => (State::Lost, bytes, Some(time)),
            state => (state, Vec::new(), None),
        };
        self.request.state = state;
        Opening {
            exchange,
            extensions,
            client: self.request.direction,
            client_offset: self.request.offset - held.len() as u64,
            server_offset: self.response.offset,
            client_is_lost: held_since.is_none(),
            held,
            held_since: held_since.unwrap_or_default(),
        }
    }

    /// The exchange of a response that begins while no request waits for one.
    fn response_without_request(
        &mut self,
        time: Nanos,
        offset: u64,
        out: &mut Vec<HttpEvent>,
    ) -> (ExchangeId, RequestKind) {
        let head_began = matches!(&self.request.state, State::Head { block, .. } if !block.is_empty());
        if head_began && let Some(exchange) = self.pairing.open_early() {
            return (exchange, RequestKind::Other);
        }
        if self.request.offset == 0 {
            // Nothing of the other direction was seen yet: joined between request and response.
            self.pairing.hide_requests();
        } else if !self.pairing.requests_may_be_hidden() {
            self.pairing.unexplained_response();
        }
        self.pairing.response_activity(false);
        let exchange = self.pairing.open_orphan();
        let (direction, kind) = (self.response.direction, ProblemKind::ResponseWithoutRequest);
        out.push(problem(exchange, time, Problem { direction, offset, kind }));
        (exchange, RequestKind::Other)
    }
}
