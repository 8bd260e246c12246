//! Streams between processes: records of them, joined to connections.

use oisp_capture::{CaptureEvent, Content, CoverageReason, Direction, MonotonicNanos, ProcessId};
use oisp_ebpf_common::{StreamNotice, StreamState};

use super::{EbpfCapture, finding};
use crate::kernel::Kernel;
use crate::records::StreamNews;
use crate::streams::{Output, StreamId, Streams};

type Deliver<'a> = &'a mut dyn FnMut(CaptureEvent);

impl EbpfCapture {
    pub(super) fn stream_content(
        &mut self,
        id: StreamId,
        writer: ProcessId,
        content: Content,
        deliver: Deliver<'_>,
    ) {
        self.statistics.content_records += 1;
        self.statistics.content_bytes += content.bytes.len() as u64;
        self.with_streams(deliver, |streams, out| streams.content(id, writer, content, out));
    }

    pub(super) fn stream_news(&mut self, news: &StreamNews, deliver: Deliver<'_>) {
        let StreamNews { id, what, process, peer_socket, end, time } = *news;
        self.with_streams(deliver, |streams, out| match what {
            StreamNotice::Followed => streams.followed(id, process, peer_socket, out),
            StreamNotice::Read => streams.read_by(id, process, time, out),
            StreamNotice::Ended => streams.ended(id, end, time, out),
        });
    }

    pub(super) fn streams_of_process_ended(
        &mut self,
        process: ProcessId,
        time: MonotonicNanos,
        deliver: Deliver<'_>,
    ) {
        self.with_streams(deliver, |streams, out| streams.process_gone(process, time, out));
    }

    pub(super) fn streams_passed(&mut self, time: MonotonicNanos, deliver: Deliver<'_>) {
        self.with_streams(deliver, |streams, out| streams.passed(time, out));
    }

    pub(super) fn streams_finished(&mut self, time: MonotonicNanos, deliver: Deliver<'_>) {
        self.with_streams(deliver, |streams, out| streams.finish(time, out));
    }

    /// What comes out of `work` becomes events.
    fn with_streams(
        &mut self,
        deliver: Deliver<'_>,
        work: impl FnOnce(&mut Streams, &mut dyn FnMut(Output)),
    ) {
        let Self { streams, kernel, .. } = self;
        work(streams, &mut |output| match output {
            Output::Peer(peer) => deliver(CaptureEvent::ConnectionPeer(peer)),
            Output::Content(content) => deliver(CaptureEvent::Content(content)),
            Output::Closed(mut closed, streams) => {
                for (id, direction) in streams {
                    // What lies beyond the last byte heard was lost.
                    let Some(end) = kernel_end(kernel, id) else { continue };
                    // Already gone is as good.
                    let _ = kernel.streams.remove(&id.socket);
                    match direction {
                        Direction::Sent => closed.sent_end = closed.sent_end.max(end),
                        Direction::Received => closed.received_end = closed.received_end.max(end),
                    }
                }
                deliver(CaptureEvent::ConnectionClosed(closed));
            }
            Output::Withdrawn(id) => withdraw(kernel, id),
            Output::Unplaced { process, records, bytes } => {
                let reason = CoverageReason::ContentUnplaced { records, bytes };
                deliver(finding(Some(process.0), None, reason));
            }
        });
    }
}

/// How far a stream came by the kernel's account.
fn kernel_end(kernel: &Kernel, id: StreamId) -> Option<u64> {
    let state = kernel.streams.get(&id.socket, 0).ok()?;
    let (born, end) = StreamState::progress_of(&state);
    (born == id.born.0).then_some(end)
}

/// The kernel copies no more of it.
fn withdraw(kernel: &mut Kernel, id: StreamId) {
    const BPF_EXIST: u64 = 2;
    // One that the kernel has forgotten meanwhile is looked at again at its next write.
    let _ = kernel.streams.insert(id.socket, StreamState::passed_over(), BPF_EXIST);
}
