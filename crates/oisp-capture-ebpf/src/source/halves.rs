//! Half-connections: records of them, joined to connections.

use oisp_capture::{
    CaptureEvent, ConnectionId, Content, CoverageReason, Direction, MonotonicNanos, ProcessId,
};
use oisp_ebpf_common::{ConnectionKey, ConnectionState};

use super::{EbpfCapture, finding};
use crate::connections::index;
use crate::halves::{ForgottenHalf, HalfEnd, Halves, JoinNews, Output, SocketUse};
use crate::kernel::Kernel;
use crate::records::HalfEnded;
use crate::sockets::{Evidence, Sizes};

type Deliver<'a> = &'a mut dyn FnMut(CaptureEvent);

impl EbpfCapture {
    pub(super) fn half_content(&mut self, content: Content, generation: u32, deliver: Deliver<'_>) {
        self.statistics.content_records += 1;
        self.statistics.content_bytes += content.bytes.len() as u64;
        self.with_halves(deliver, |halves, _, output| halves.content(generation, content, output));
    }

    pub(super) fn half_ended(&mut self, ended: &HalfEnded, deliver: Deliver<'_>) {
        self.with_halves(deliver, |halves, _, output| {
            halves.ended(&ended.half, ended.end, ended.time, output);
        });
    }

    pub(super) fn half_socket(&mut self, evidence: &Evidence, generation: u32, deliver: Deliver<'_>) {
        self.sockets.add(evidence);
        // A record that is received in pieces is opened when the last of them came: fewer bytes than it has contradict
        // nothing, and this piece came over its socket.
        let is_piece = evidence.sizes() == Sizes::Contradict;
        if !is_piece && let Some((file, verdict)) = self.proofs.evidence(evidence) {
            self.judge(file, verdict, deliver);
        }
        let Evidence { connection: half, direction, time, .. } = *evidence;
        let bound = self.sockets.bound(&half);
        let only = self.sockets.only_candidate(&half);
        let likely = only.or((is_piece && direction == Direction::Received).then_some(evidence.socket));
        let uses = |socket| SocketUse { half, generation, direction, socket, time };
        self.with_halves(deliver, |halves, kernel, output| match (bound, likely) {
            (Some(socket), _) => {
                let end = |half: &ConnectionId, generation, direction| {
                    kernel_end(kernel, half, generation, direction)
                };
                halves.bound(&uses(socket), &end, output);
            }
            (None, Some(socket)) => halves.likely(&uses(socket), output),
            (None, None) => {}
        });
    }

    pub(super) fn halves_passed(&mut self, time: MonotonicNanos, deliver: Deliver<'_>) {
        self.with_halves(deliver, |halves, _, output| halves.passed(time, output));
        let statistics = self.halves.statistics();
        self.statistics.joined_connections = statistics.joined;
        self.statistics.one_sided_connections = statistics.one_sided;
    }

    /// Tells what was not joined.
    pub(super) fn tell_of_halves(&mut self, time: MonotonicNanos, is_end: bool, deliver: Deliver<'_>) {
        let Some(news) = self.halves.news(time, is_end) else { return };
        let JoinNews { one_sided, dropped_records, dropped_bytes, process } = news;
        let pid = process.map(|process| process.0);
        if one_sided > 0 {
            deliver(finding(pid, None, CoverageReason::NotJoined { connections: one_sided }));
        }
        if dropped_records > 0 {
            let reason = CoverageReason::ContentUnplaced { records: dropped_records, bytes: dropped_bytes };
            deliver(finding(pid, None, reason));
        }
    }

    pub(super) fn halves_of_process_ended(
        &mut self,
        process: ProcessId,
        time: MonotonicNanos,
        deliver: Deliver<'_>,
    ) {
        self.with_halves(deliver, |halves, _, output| halves.process_gone(process, time, output));
    }

    pub(super) fn halves_finished(&mut self, time: MonotonicNanos, deliver: Deliver<'_>) {
        self.with_halves(deliver, |halves, _, output| halves.finish(time, output));
        self.halves_passed(time, deliver);
        self.tell_of_halves(time, true, deliver);
    }

    /// What comes out of `work` becomes events.
    fn with_halves(
        &mut self,
        deliver: Deliver<'_>,
        work: impl FnOnce(&mut Halves, &Kernel, &mut dyn FnMut(Output)),
    ) {
        let mut over = Vec::new();
        {
            let kernel = &self.kernel;
            work(&mut self.halves, kernel, &mut |output| match output {
                Output::Socket(socket) => deliver(CaptureEvent::ConnectionSocket(socket)),
                Output::Content(content) => deliver(CaptureEvent::Content(content)),
                Output::Closed(mut closed, ends) => {
                    for end in ends {
                        // What lies beyond the last byte heard was lost.
                        let known = kernel_end(kernel, &end.half, end.generation, end.direction);
                        let position = known.map_or(0, |known| end.position(known));
                        match end.direction {
                            Direction::Sent => closed.sent_end = closed.sent_end.max(position),
                            Direction::Received => closed.received_end = closed.received_end.max(position),
                        }
                        let HalfEnd { half, generation, direction, .. } = end;
                        over.push(ForgottenHalf { half, generation, direction });
                    }
                    deliver(CaptureEvent::ConnectionClosed(closed));
                }
                Output::Forgotten(half) => over.push(half),
            });
        }
        for end in over {
            self.forget_connection(&end.half);
            if kernel_end(&self.kernel, &end.half, end.generation, end.direction).is_some() {
                // Already gone is as good.
                let _ = self.kernel.connections.remove(&key(&end.half, end.generation));
            }
        }
    }
}

/// How far a half came by the kernel's account.
fn kernel_end(kernel: &Kernel, half: &ConnectionId, generation: u32, direction: Direction) -> Option<u64> {
    let state = kernel.connections.get(&key(half, generation), 0).ok()?;
    let state = ConnectionState::from_bytes(&state);
    (state.born_ns == half.born.0).then_some(state.offsets[index(direction)])
}

fn key(half: &ConnectionId, generation: u32) -> [u8; size_of::<ConnectionKey>()] {
    ConnectionKey { tgid: half.process.0, generation, ssl: half.object }.to_bytes()
}
