//! The capture: scope, discovery, and the ring turned into events.

mod halves;
mod host;
mod streams;

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::time::Duration;

use oisp_capture::{
    CaptureError, CaptureEvent, CaptureSource, CloseCause, ConnectionClosed, ConnectionId, ConnectionSocket,
    Content, CoverageFinding, CoverageReason, Direction, DirectionProof, FileProof, Losses, MonotonicNanos,
    Nanos, ProcessId, ProcessStarted, SocketEnds, Stop, monotonic_now as now,
};
use oisp_ebpf_common::record::Record;
use oisp_ebpf_common::{self as abi, ActiveCall, CallKey, ConnectionKey, ConnectionState, Counter};
use oisp_elf::RefusalReason;
use rustix::event::epoll;

use crate::analyses::Analyses;
use crate::attachment::{AttachError, AttachedFile, Attachments, FileIdentity, Outcome};
use crate::connections::{OpenConnections, index};
use crate::counters::Counts;
use crate::delay::Delay;
use crate::halves::Halves;
use crate::kernel::{Kernel, LoadError, Options, Scope, chain};
use crate::libraries::Candidate;
use crate::mappings::{MappingNotice, MappingWatch, Notice, Watched};
use crate::piped::{self, PipedPrograms};
use crate::process;
use crate::proof::{Proofs, Verdict};
use crate::records::Owned;
use crate::sandbox;
use crate::sockets::{Evidence, Sockets};
use crate::streams::Streams;
use host::Host;
pub use host::HostProcesses;

/// How often the counters are read and what is stale is looked for.
const COUNTER_INTERVAL: Duration = Duration::from_secs(1);
/// How soon what waits for a socket is looked at again.
const SOON: rustix::event::Timespec = rustix::event::Timespec { tv_sec: 0, tv_nsec: 2_000_000 };
/// Records handled before looking for new mappings again: a library that is opened under load is probed soon.
const RECORDS_BETWEEN_MAPPINGS: usize = 256;
/// Records handled before looking at the counters and for the request to stop: under a load that never lets the ring run
/// empty, both must still come.
const RECORDS_PER_ROUND: usize = 16_384;
/// How long records are left to gather once some were there. The kernel wakes the reader for a record only when there was
/// none before it, so the program that is recorded pays for one wake-up in this time, not for one a call.
const GATHERING: Duration = Duration::from_millis(5);
/// So fast is a ring filled at most; a small one is not left alone for long.
const BYTES_A_MILLISECOND: u32 = 1 << 20;
/// Mappings that are remembered; beyond it they are looked at again.
const MAX_SEEN_MAPPINGS: usize = 65_536;

/// A capture from the kernel.
pub struct EbpfCapture {
    // Before `kernel`, so that the probes go first.
    attachments: Attachments,
    kernel: Kernel,
    watches: Vec<MappingWatch>,
    seen_mappings: HashSet<SeenMapping>,
    /// Where the whole host is in scope.
    host: Option<Host>,
    ring_bytes: u32,
    connections: OpenConnections,
    halves: Halves,
    sockets: Sockets,
    streams: Streams,
    /// Where pipes are not followed.
    piped: Option<PipedPrograms>,
    proofs: Proofs,
    delay: Delay,
    counts: Counts,
    malformed_records: u64,
    /// Whether a process or program has ended since [`Self::forget_calls`].
    calls_may_be_stale: bool,
    statistics: CaptureStatistics,
    /// What is to be delivered besides records: findings, attached files.
    early: Vec<CaptureEvent>,
}

/// A file by what a notice of its mapping says: device, inode, generation; and the mount namespace, where a device does
/// not tell files apart.
type SeenMapping = ((u32, u32), u64, u64, u64);

/// What a capture has done so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CaptureStatistics {
    /// Records with content that were delivered.
    pub content_records: u64,
    /// Bytes of content that were delivered.
    pub content_bytes: u64,
    /// What was lost.
    pub losses: Losses,
    /// Connections whose two directions were seen apart and joined.
    pub joined_connections: u64,
    /// Directions of connections that were seen apart and could not be joined to the other one.
    pub one_sided_connections: u64,
    /// Files that were probed after a process had already mapped them.
    pub late_attachments: u64,
    /// The longest time from a mapping to its probes.
    pub longest_attach_latency: Duration,
}

/// How many entries the kernel's tables hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableUse {
    /// Processes in scope.
    pub processes: usize,
    /// Connections whose position is kept.
    pub connections: usize,
    /// Calls in progress.
    pub calls: usize,
}

impl EbpfCapture {
    /// Loads the kernel programs. Nothing is in scope and nothing is probed yet.
    ///
    /// # Errors
    /// When the host lacks something ([`LoadError::Requirement`] says what mends it) or the kernel refuses.
    pub fn load(options: &Options) -> Result<Self, LoadError> {
        Self::with_scope(options, Scope::Chosen)
    }

    fn with_scope(options: &Options, scope: Scope) -> Result<Self, LoadError> {
        let kernel = Kernel::load(options, scope)?;
        let counts = Counts::read(&kernel.counters)
            .map_err(|error| LoadError::Map { map: "COUNTERS", reason: error.to_string() })?;
        let early = kernel
            .without_sockets
            .clone()
            .map(|error| finding(None, None, CoverageReason::SocketsNotFollowed { error }));
        Ok(Self {
            attachments: Attachments::new(
                Analyses::kept_in(options.analyses.as_deref()),
                sandbox::is_killed_by_return_probes(),
            ),
            kernel,
            watches: Vec::new(),
            seen_mappings: HashSet::new(),
            host: None,
            ring_bytes: options.ring(),
            connections: OpenConnections::default(),
            halves: Halves::default(),
            sockets: Sockets::default(),
            streams: Streams::default(),
            // Of a whole host it would be told of every daemon.
            piped: (!options.pipes && scope == Scope::Chosen).then(PipedPrograms::default),
            proofs: Proofs::default(),
            delay: Delay::default(),
            counts,
            malformed_records: 0,
            calls_may_be_stale: false,
            statistics: CaptureStatistics::default(),
            early: early.into_iter().collect(),
        })
    }

    /// Takes a process into scope that is held before its `exec`, with all that will descend from it, and probes the
    /// candidates. When this returns, the process's first byte will be seen.
    ///
    /// # Errors
    /// When the process cannot be taken into scope. A candidate that cannot be probed is a finding, not an error.
    pub fn record_command(&mut self, pid: u32, candidates: &[Candidate]) -> Result<(), LoadError> {
        self.take_into_scope(pid)?;
        // A probe is there for everyone who maps the file: where it would kill a sandboxed process, that one is watched too.
        let watched =
            if self.attachments.spares_sandboxed() { Watched::Everyone } else { Watched::TreeOf(pid) };
        self.follow_mappings(watched, pid);
        for candidate in candidates {
            self.attach_path(&candidate.path, None);
        }
        Ok(())
    }

    /// Takes a running process into scope, with its descendants, and probes what they have mapped. Gives the processes
    /// that were found.
    ///
    /// # Errors
    /// When there is no such process or it cannot be taken into scope.
    pub fn record_process(&mut self, pid: u32) -> Result<Vec<u32>, LoadError> {
        // First the kernel, which follows forks from here on; then what was forked before, each before its own children
        // are looked for.
        self.take_into_scope(pid)?;
        self.follow_mappings(Watched::Everyone, pid);
        let mut members = vec![pid];
        let mut known = HashSet::from([pid]);
        let mut next = 0;
        while let Some(&member) = members.get(next) {
            next += 1;
            if member != pid
                && let Err(error) = self.take_into_scope(member)
            {
                if process::is_running(member) {
                    return Err(error);
                }
                continue;
            }
            members.extend(process::children(member).into_iter().filter(|child| known.insert(*child)));
            match process::code_mappings(member) {
                Ok(mappings) => {
                    for mapping in mappings {
                        match process::open_mapped(member, &mapping) {
                            Ok(file) => {
                                self.attach(&file, &mapping.path, Some(member));
                            }
                            Err(error) => {
                                let reason = CoverageReason::Unreadable { error: error.to_string() };
                                self.early_finding(Some(member), Some(&mapping.path), reason);
                            }
                        }
                    }
                }
                Err(error) => {
                    let reason = CoverageReason::Unreadable { error: error.to_string() };
                    self.early_finding(Some(member), None, reason);
                }
            }
        }
        Ok(members)
    }

    /// Probes a file where it has TLS, whoever maps it. What prevents it is a finding.
    pub fn probe(&mut self, path: &Path) {
        self.attach_path(path, None);
    }

    /// Removes the probes of a file, in a thread of its own; says whether it had any. It gets them again by
    /// [`Self::probe`], or when a process in scope maps it that has not mapped it before.
    pub fn release(&mut self, path: &Path) -> bool {
        let identity = std::fs::metadata(path).map(|metadata| FileIdentity::of(&metadata));
        identity.is_ok_and(|identity| self.attachments.release(identity))
    }

    /// The files that were probed, also after the capture has ended.
    #[must_use]
    pub fn attached_files(&self) -> &[AttachedFile] {
        self.attachments.history()
    }

    /// What was done so far.
    #[must_use]
    pub fn statistics(&self) -> &CaptureStatistics {
        &self.statistics
    }

    /// How full the kernel's tables are. Walks them, one system call for each entry.
    #[must_use]
    pub fn table_use(&self) -> TableUse {
        TableUse {
            processes: self.kernel.scope.keys().filter_map(Result::ok).count(),
            connections: self.kernel.connections.keys().filter_map(Result::ok).count(),
            calls: self.kernel.active_calls.keys().filter_map(Result::ok).count(),
        }
    }

    /// Takes a process into scope. One that the kernel has taken into scope already keeps its state.
    fn take_into_scope(&mut self, pid: u32) -> Result<(), LoadError> {
        const BPF_NOEXIST: u64 = 1;
        let refused = |error| LoadError::Map { map: "SCOPE", reason: crate::kernel::chain(&error) };
        let since = now().0;
        if let Err(error) = self.kernel.scope.insert(pid, since, BPF_NOEXIST)
            && self.kernel.scope.get(&pid, 0).is_err()
        {
            return Err(refused(error));
        }
        // Its end may have come before the entry, which would then wait for another process with this id.
        if !process::is_running(pid) {
            let _ = self.kernel.scope.remove(&pid);
            return Err(LoadError::Io {
                what: "process to record",
                source: io::Error::new(io::ErrorKind::NotFound, format!("there is no process {pid}")),
            });
        }
        Ok(())
    }

    fn follow_mappings(&mut self, watched: Watched, pid: u32) {
        match MappingWatch::open(watched) {
            Ok(watch) => self.watches.push(watch),
            Err(error) => {
                let reason = CoverageReason::MappingsNotFollowed { error: error.to_string() };
                self.early_finding(Some(pid), None, reason);
            }
        }
    }

    fn early_finding(&mut self, pid: Option<u32>, file: Option<&Path>, reason: CoverageReason) {
        if self.host.as_mut().is_some_and(|host| !host.is_news(pid, file, &reason)) {
            return;
        }
        self.early.push(finding(pid, file, reason));
    }

    fn attach_path(&mut self, path: &Path, pid: Option<u32>) {
        match File::open(path) {
            Ok(file) => {
                // For people: `libssl.so` is a link to the library that a program names.
                let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
                self.attach(&file, &path, pid);
            }
            // A candidate by name only: a library that the loader does not find either.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                self.early_finding(pid, Some(path), CoverageReason::Unreadable { error: error.to_string() });
            }
        }
    }

    /// Probes a file where it has TLS; says whether probes were put on it now. What prevents it is a finding.
    fn attach(&mut self, file: &File, path: &Path, pid: Option<u32>) -> bool {
        let attached = self.attach_located(file, path, pid);
        // Of a file that nobody uses it does not matter.
        if pid.is_some() {
            for refusal in self.attachments.take_refusals(file) {
                // Mapped through other libraries by programs that never call it: GnuTLS by Debian's curl, which uses OpenSSL.
                if refusal.reason == (RefusalReason::Unknown { shared: true }) {
                    continue;
                }
                let (library, error) = (refusal.library.name().to_owned(), refusal.reason.to_string());
                self.early_finding(pid, Some(path), CoverageReason::NotLocated { library, error });
            }
        }
        attached
    }

    /// From now on content says what a file's functions are.
    fn follow_proof(&mut self, file: &AttachedFile) {
        // Else content does not say which file it went through.
        if !self.kernel.has_cookies {
            return;
        }
        self.proofs.follow(file.number, file.by_behaviour);
        // Of an earlier file with this number; none is as good.
        for key in [u32::from(file.number), u32::from(file.number) | abi::WRONG_WAY] {
            let _ = self.kernel.doubts.remove(&key);
        }
        self.early.push(CaptureEvent::FileProof(FileProof {
            path: file.path.clone(),
            sent: DirectionProof::Nothing,
            received: DirectionProof::Nothing,
            time: now(),
        }));
    }

    fn attach_located(&mut self, file: &File, path: &Path, pid: Option<u32>) -> bool {
        let reason = match self.attachments.attach(&mut self.kernel, file, path) {
            Ok(Outcome::Attached(file)) => {
                self.early.push(CaptureEvent::Attached(oisp_capture::AttachedFile {
                    libraries: file.libraries.iter().map(|&name| name.to_owned()).collect(),
                    functions: file.functions.iter().map(|function| function.name.to_owned()).collect(),
                    path: file.path.clone(),
                    time: now(),
                }));
                self.follow_proof(&file);
                return true;
            }
            Ok(Outcome::AlreadyAttached | Outcome::NoTls | Outcome::Ended) => return false,
            Ok(Outcome::ForeignArchitecture) => CoverageReason::ForeignArchitecture,
            Ok(Outcome::Sandboxed(sandboxed)) => {
                self.early_finding(Some(sandboxed), Some(path), CoverageReason::SandboxedProcess);
                return false;
            }
            // Scripts and data files are mapped as code too, by programs that do not care.
            Err(AttachError::Elf(oisp_elf::ElfError::NotElf | oisp_elf::ElfError::Unsupported(_))) => {
                return false;
            }
            Err(AttachError::Elf(error)) => CoverageReason::Unreadable { error: error.to_string() },
            Err(error) => CoverageReason::AttachFailed { error: error.to_string() },
        };
        self.early_finding(pid, Some(path), reason);
        false
    }

    fn is_in_scope(&self, pid: u32) -> bool {
        match self.host {
            Some(_) => pid != std::process::id(),
            None => self.kernel.scope.get(&pid, 0).is_ok(),
        }
    }

    fn handle_mapping(&mut self, notice: &MappingNotice) {
        let key = seen_key(notice);
        if self.spare_sandboxed(notice) || self.seen_mappings.contains(&key) {
            return;
        }
        // A watch of everyone reports processes that are not recorded, too.
        if notice.watched == Watched::Everyone && !self.is_in_scope(notice.pid) {
            return;
        }
        let path = notice.mapping.path.clone();
        match process::open_mapped(notice.pid, &notice.mapping) {
            Ok(file) => {
                if self.attach(&file, &path, Some(notice.pid)) {
                    let latency = now().0.saturating_sub(notice.time.0);
                    self.statistics.late_attachments += 1;
                    self.statistics.longest_attach_latency =
                        self.statistics.longest_attach_latency.max(Duration::from_nanos(latency));
                    self.early_finding(
                        Some(notice.pid),
                        Some(&path),
                        CoverageReason::AttachedLate { latency },
                    );
                }
            }
            // The process was faster and has ended. Nothing tells what the file was but its name.
            Err(_) if !process::exists(notice.pid) && !has_tls_name(&path) => return,
            Err(error) => {
                let reason = CoverageReason::Unreadable { error: error.to_string() };
                self.early_finding(Some(notice.pid), Some(&path), reason);
            }
        }
        if self.seen_mappings.len() >= MAX_SEEN_MAPPINGS {
            self.seen_mappings.clear();
        }
        self.seen_mappings.insert(key);
    }

    fn handle_mappings(&mut self, deliver: &mut dyn FnMut(CaptureEvent)) {
        self.take_mappings();
        self.early.drain(..).for_each(&mut *deliver);
    }

    /// Looks at what was mapped; what there is to tell waits in `early`.
    fn take_mappings(&mut self) {
        let mut notices = Vec::new();
        for watch in &mut self.watches {
            watch.take(|notice| notices.push(notice));
        }
        // TLS libraries first: every moment counts for them, and the others take long to look at.
        notices.sort_by_key(
            |notice| !matches!(notice, Notice::Mapped(mapped) if has_tls_name(&mapped.mapping.path)),
        );
        for notice in notices {
            match notice {
                Notice::Mapped(mapped) => self.handle_mapping(&mapped),
                Notice::Lost(count) => {
                    self.early_finding(None, None, CoverageReason::MappingNoticesLost { count });
                }
            }
        }
        self.release_files_that_are_gone();
    }

    /// Takes what is in the ring, `limit` records at most; says how many there were.
    fn drain(&mut self, limit: usize, deliver: &mut dyn FnMut(CaptureEvent)) -> usize {
        let mut handled = 0;
        while handled < limit
            && let Some(parsed) = self.next_record()
        {
            match parsed {
                // At once, because what waits may wait for it.
                Ok(Owned::Socket(evidence)) => self.handle_evidence(&evidence, deliver),
                Ok(parsed) => self.delay.push(parsed),
                Err(_) => self.malformed_records += 1,
            }
            handled += 1;
            self.handle_delayed(deliver);
            if handled % RECORDS_BETWEEN_MAPPINGS == 0 {
                self.handle_mappings(deliver);
            }
        }
        handled
    }

    /// Handles what need not wait.
    fn handle_delayed(&mut self, deliver: &mut dyn FnMut(CaptureEvent)) {
        while !self.delay.is_empty() {
            let Self { delay, connections, sockets, kernel, .. } = self;
            // The first content only: where no evidence came with it, none may ever come.
            let record = delay.next(now, |connection| {
                kernel.without_sockets.is_none()
                    && !connections.is_open(*connection)
                    && sockets.bound(connection).is_none()
            });
            let Some(record) = record else { return };
            self.handle(record, deliver);
        }
    }

    fn handle_evidence(&mut self, evidence: &Evidence, deliver: &mut dyn FnMut(CaptureEvent)) {
        self.sockets.add(evidence);
        if let Some((file, verdict)) = self.proofs.evidence(evidence) {
            self.judge(file, verdict, deliver);
        }
        // Before its first content a connection is not told.
        if self.connections.is_open(evidence.connection) {
            self.tell_socket(evidence.connection, deliver);
        }
    }

    fn next_record(&mut self) -> Option<Result<Owned, abi::record::RecordError>> {
        let item = self.kernel.ring.next()?;
        Some(Record::parse(&item).map(Owned::from))
    }

    fn handle(&mut self, record: Owned, deliver: &mut dyn FnMut(CaptureEvent)) {
        match record {
            Owned::Content(content, file) => {
                self.prove(file, &content, deliver);
                self.statistics.content_records += 1;
                self.statistics.content_bytes += content.bytes.len() as u64;
                let end = content.offset + content.bytes.len() as u64;
                let over = self.connections.heard(content.connection, content.direction, end, content.time);
                for closed in over {
                    self.forget_connection(&closed.connection);
                    deliver(CaptureEvent::ConnectionClosed(closed));
                }
                self.tell_socket(content.connection, deliver);
                deliver(CaptureEvent::Content(content));
            }
            Owned::Closed(closed) => {
                self.forget_connection(&closed.connection);
                // Also one of which all was lost; but not one that never carried a byte.
                let heard = self.connections.close(closed.connection, closed.time, closed.cause).is_some();
                if heard || closed.sent_end > 0 || closed.received_end > 0 {
                    deliver(CaptureEvent::ConnectionClosed(closed));
                }
            }
            Owned::Started(mut started, folder) => {
                self.close_process(started.process, started.time, deliver);
                started.working_directory = process::working_directory(started.process.0, folder);
                self.note_pipes(&started);
                deliver(CaptureEvent::ProcessStarted(started));
            }
            Owned::Forked(forked) => deliver(CaptureEvent::ProcessForked(forked)),
            Owned::Socket(evidence) => self.handle_evidence(&evidence, deliver),
            Owned::HalfContent(content, generation, file) => {
                self.prove(file, &content, deliver);
                self.half_content(content, generation, deliver);
            }
            Owned::HalfEnded(ended) => self.half_ended(&ended, deliver),
            Owned::HalfSocket(evidence, generation) => self.half_socket(&evidence, generation, deliver),
            Owned::StreamContent(id, writer, content) => self.stream_content(id, writer, content, deliver),
            Owned::Stream(news) => self.stream_news(&news, deliver),
            Owned::SocketEnded(socket, time) => {
                for connection in self.sockets.socket_ended(socket) {
                    self.halves.socket_ended(&connection, time);
                }
            }
            Owned::Exited(exited) => {
                self.close_process(exited.process, exited.time, deliver);
                self.streams_of_process_ended(exited.process, exited.time, deliver);
                let piped = self.piped.as_mut();
                if let Some(program) = piped.and_then(|piped| piped.exited(exited.process, exited.time)) {
                    deliver(unseen_pipes(exited.process, &program));
                }
                deliver(CaptureEvent::ProcessExited(exited));
            }
        }
    }

    /// Notes a program that speaks to its parent over pipes, where these are not followed.
    fn note_pipes(&mut self, started: &ProcessStarted) {
        if self.piped.is_none() {
            return;
        }
        // What starts the recorded command is not recorded itself, and its pipes are its own business.
        let has_pipes =
            self.is_in_scope(started.parent.0) && piped::has_own_pipes(started.process, started.parent);
        if let Some(piped) = &mut self.piped {
            piped.started(started, has_pipes);
        }
    }

    /// Looks at content for what it says of the file whose function it went through.
    fn prove(&mut self, file: u16, content: &Content, deliver: &mut dyn FnMut(CaptureEvent)) {
        let Content { connection, direction, offset, bytes, .. } = content;
        if let Some(verdict) = self.proofs.content(file, *connection, *direction, *offset, bytes) {
            self.judge(file, verdict, deliver);
        }
    }

    /// Tells what was proven of a file, or takes its probes away.
    fn judge(&mut self, file: u16, verdict: Verdict, deliver: &mut dyn FnMut(CaptureEvent)) {
        match verdict {
            Verdict::Changed([sent, received]) => {
                if let Some(file) = self.attachments.numbered(file) {
                    let path = file.path.clone();
                    deliver(CaptureEvent::FileProof(FileProof { path, sent, received, time: now() }));
                }
            }
            Verdict::Refuted(error) => {
                self.proofs.forget(file);
                if let Some(file) = self.attachments.refute(file) {
                    // Whatever had been told for it: what was seen was not what it was taken for.
                    let (sent, received) = (DirectionProof::Nothing, DirectionProof::Nothing);
                    let path = file.path.clone();
                    deliver(CaptureEvent::FileProof(FileProof { path, sent, received, time: now() }));
                    let library = file.libraries.join(", ");
                    deliver(finding(None, Some(&file.path), CoverageReason::WrongMatch { library, error }));
                }
            }
        }
    }

    /// Looks at what the kernel met in calls that cannot be what they were taken for.
    fn look_at_doubts(&mut self, deliver: &mut dyn FnMut(CaptureEvent)) {
        let mut doubts = Vec::new();
        for doubt in self.kernel.doubts.iter() {
            match doubt {
                Ok(doubt) => doubts.push(doubt),
                // They are looked at again in a second.
                Err(error) => tracing::warn!("signs of wrong matches cannot be read: {}", chain(&error)),
            }
        }
        for (key, count) in doubts {
            // The upper half says of which kind they are.
            let file = key as u16;
            let verdict = match key & abi::WRONG_WAY {
                0 => self.proofs.doubts(file, count),
                _ => self.proofs.wrong_ways(file, count),
            };
            if let Some(verdict) = verdict {
                self.judge(file, verdict, deliver);
            }
        }
    }

    /// A connection is over.
    fn forget_connection(&mut self, connection: &ConnectionId) {
        self.sockets.closed(connection);
        self.proofs.closed(connection);
    }

    /// Tells what has become known of a connection's socket.
    fn tell_socket(&mut self, connection: ConnectionId, deliver: &mut dyn FnMut(CaptureEvent)) {
        let Some(news) = self.sockets.news(&connection) else { return };
        let ends = news.socket.map(|socket| SocketEnds { local: socket.local, remote: socket.remote });
        deliver(CaptureEvent::ConnectionSocket(ConnectionSocket { connection, ends, time: news.time }));
    }

    /// Closes the connections of a process that ended or became another program.
    fn close_process(
        &mut self,
        process: ProcessId,
        time: MonotonicNanos,
        deliver: &mut dyn FnMut(CaptureEvent),
    ) {
        self.calls_may_be_stale = true;
        for connection in self.connections.of_process(process) {
            self.forget_connection(&connection);
            if let Some(closed) = self.close_with_kernel_ends(connection, time, CloseCause::ProcessGone) {
                deliver(CaptureEvent::ConnectionClosed(closed));
            }
        }
        self.halves_of_process_ended(process, time, deliver);
        self.sockets.process_ended(process, time);
    }

    /// Drops the calls that will never return, because their process or program has ended.
    fn forget_calls(&mut self) {
        let calls: Vec<_> = self.kernel.active_calls.keys().filter_map(Result::ok).collect();
        for key in calls {
            // A call that has returned meanwhile is as good.
            let Ok(call) = self.kernel.active_calls.get(&key, 0) else { continue };
            let process = CallKey::tgid_of(&key);
            let is_stale = match self.kernel.scope.get(&process, 0) {
                Ok(since) => ActiveCall::time_of(&call) < since,
                // Of the whole host not every process has an entry.
                Err(_) => self.host.is_none() || !process::is_running(process),
            };
            if is_stale {
                let _ = self.kernel.active_calls.remove(&key);
            }
        }
        self.calls_may_be_stale = false;
    }

    /// Closes a connection where the kernel says that it ends: what lies beyond the last byte heard was lost.
    fn close_with_kernel_ends(
        &mut self,
        connection: ConnectionId,
        time: MonotonicNanos,
        cause: CloseCause,
    ) -> Option<ConnectionClosed> {
        let mut closed = self.connections.close(connection, time, cause)?;
        let key =
            ConnectionKey { tgid: connection.process.0, generation: 0, ssl: connection.object }.to_bytes();
        if let Ok(state) = self.kernel.connections.get(&key, 0) {
            let state = ConnectionState::from_bytes(&state);
            if state.born_ns == connection.born.0 {
                closed.sent_end = closed.sent_end.max(state.offsets[index(Direction::Sent)]);
                closed.received_end = closed.received_end.max(state.offsets[index(Direction::Received)]);
                // Already gone is as good.
                let _ = self.kernel.connections.remove(&key);
            }
        }
        Some(closed)
    }

    /// Reports what was lost since the last time.
    fn report_losses(&mut self, deliver: &mut dyn FnMut(CaptureEvent)) -> Result<(), CaptureError> {
        let counts = Counts::read(&self.kernel.counters).map_err(|error| CaptureError::Source {
            what: "reading the kernel's counters",
            reason: error.to_string(),
        })?;
        let mut losses = counts.losses_since(&self.counts);
        losses.malformed_records = std::mem::take(&mut self.malformed_records);
        self.counts = counts;
        self.statistics.losses += losses;
        if !losses.is_none() {
            deliver(CaptureEvent::Losses(losses));
        }
        Ok(())
    }

    fn finish(&mut self, deliver: &mut dyn FnMut(CaptureEvent)) -> Result<(), CaptureError> {
        // What was mapped until now is judged by the probes that were in place, not by their absence afterwards.
        self.handle_mappings(deliver);
        self.attachments.detach_all();
        self.drain(usize::MAX, deliver);
        while let Some(record) = self.delay.next_at_once() {
            self.handle(record, deliver);
        }
        self.handle_mappings(deliver);
        // What then stands in the table was in progress at the end.
        if self.calls_may_be_stale {
            self.forget_calls();
        }
        let time = now();
        self.halves_finished(time, deliver);
        self.streams_finished(time, deliver);
        for (process, program) in self.piped.as_mut().map(|piped| piped.finish(time)).unwrap_or_default() {
            deliver(unseen_pipes(process, &program));
        }
        for connection in self.connections.all() {
            if let Some(closed) = self.close_with_kernel_ends(connection, time, CloseCause::RecordingEnded) {
                deliver(CaptureEvent::ConnectionClosed(closed));
            }
        }
        self.report_losses(deliver)
    }

    /// Records that the kernel wrote, from its own counters: for tests that compare both sides.
    #[must_use]
    pub fn kernel_content_records(&self) -> u64 {
        self.counts.value(Counter::TlsRecords)
    }
}

impl CaptureSource for EbpfCapture {
    fn run(&mut self, stop: &Stop, deliver: &mut dyn FnMut(CaptureEvent)) -> Result<(), CaptureError> {
        let anything = self.poll(stop, true).map_err(CaptureError::Wait)?;
        let all_but_records = self.poll(stop, false).map_err(CaptureError::Wait)?;
        let mut ready = Vec::with_capacity(16);
        let (mut last_count, mut last_forgotten) = (now(), Nanos(0));
        let is_due =
            |last: MonotonicNanos| now().0.saturating_sub(last.0) >= COUNTER_INTERVAL.as_nanos() as u64;
        let timeout = |duration: Duration| rustix::event::Timespec {
            tv_sec: duration.as_secs().cast_signed(),
            tv_nsec: duration.subsec_nanos().into(),
        };
        let gathering =
            GATHERING.min(Duration::from_millis(u64::from(self.ring_bytes / BYTES_A_MILLISECOND)));
        loop {
            self.handle_mappings(deliver);
            let handled = self.drain(RECORDS_PER_ROUND, deliver);
            self.handle_delayed(deliver);
            self.halves_passed(now(), deliver);
            self.streams_passed(now(), deliver);
            if is_due(last_count) {
                self.report_losses(deliver)?;
                self.look_at_doubts(deliver);
                last_count = now();
                self.tell_of_halves(last_count, false, deliver);
            }
            if self.calls_may_be_stale && is_due(last_forgotten) {
                self.forget_calls();
                last_forgotten = now();
            }
            if stop.is_requested() {
                return self.finish(deliver);
            }
            ready.clear();
            let (poll, timeout) = match handled {
                0 if self.delay.is_empty() => (&anything, timeout(COUNTER_INTERVAL)),
                0 => (&anything, SOON),
                // More has come meanwhile than is taken in one round.
                RECORDS_PER_ROUND.. => continue,
                _ => (&all_but_records, timeout(gathering)),
            };
            match epoll::wait(poll, rustix::buffer::spare_capacity(&mut ready), Some(&timeout)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(CaptureError::Wait(error.into())),
            }
        }
    }
}

impl EbpfCapture {
    fn poll(&self, stop: &Stop, with_records: bool) -> io::Result<rustix::fd::OwnedFd> {
        let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let nothing = epoll::EventData::new_u64(0);
        if with_records {
            epoll::add(&poll, self.kernel.ring.as_fd(), nothing, epoll::EventFlags::IN)?;
        }
        epoll::add(&poll, stop.as_fd(), nothing, epoll::EventFlags::IN)?;
        for watch in &self.watches {
            for descriptor in watch.descriptors() {
                // By edge: once the followed processes have ended, the descriptor says so for ever.
                epoll::add(&poll, descriptor, nothing, epoll::EventFlags::IN | epoll::EventFlags::ET)?;
            }
        }
        Ok(poll)
    }
}

fn seen_key(notice: &MappingNotice) -> SeenMapping {
    let mapping = &notice.mapping;
    // Several file systems behind one number (subvolumes, overlays): inodes may be the same, and differ by namespace.
    let is_anonymous = mapping.device.0 == 0;
    let namespace = if is_anonymous { process::mount_namespace(notice.pid).unwrap_or(0) } else { 0 };
    (mapping.device, mapping.inode, notice.generation, namespace)
}

fn has_tls_name(path: &Path) -> bool {
    path.file_name().is_some_and(|name| oisp_elf::is_tls_library_name(&name.to_string_lossy()))
}

fn unseen_pipes(process: ProcessId, program: &Path) -> CaptureEvent {
    finding(Some(process.0), Some(program), CoverageReason::PipesNotFollowed)
}

fn finding(pid: Option<u32>, file: Option<&Path>, reason: CoverageReason) -> CaptureEvent {
    CaptureEvent::Coverage(CoverageFinding {
        process: pid.map(ProcessId),
        file: file.map(Path::to_owned),
        reason,
        time: now(),
    })
}
