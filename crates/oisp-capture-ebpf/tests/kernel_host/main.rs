//! The whole host as scope, on this machine's kernel.
//!
//! In a program of its own, because it probes what the other tests' programs use. What is captured of processes that are
//! not this test's is dropped unread.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

#[path = "../kernel/support/mod.rs"]
#[expect(dead_code, unused_imports, reason = "the tests of chosen processes use the rest")]
mod support;

use std::collections::HashSet;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use oisp_capture::{CaptureEvent, CaptureSource as _, CoverageReason, ProcessForked, ProcessStarted, Stop};
use oisp_capture_ebpf::{CaptureStatistics, EbpfCapture, HostProcesses, Options};
use oisp_testkit::openssl_client::Call;

use support::{
    LibraryCopy, MemoryPair, ProbeState, assert_whole, can_record, client, connections, line_of,
    open_descriptors, probe_state, truths, wait_until,
};

/// Two captures of the whole host would probe each other's programs.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What is kept of what is captured.
#[derive(Default)]
struct Kept {
    /// This test's processes: this one, those named, and those that these start.
    own: HashSet<u32>,
    /// This test's libraries: a finding about one may come before the start of the process that it names.
    libraries: HashSet<PathBuf>,
    events: Vec<CaptureEvent>,
}

impl Kept {
    fn take(&mut self, event: CaptureEvent) {
        let process = match &event {
            CaptureEvent::Content(content) => content.connection.process,
            CaptureEvent::ConnectionClosed(closed) => closed.connection.process,
            CaptureEvent::ConnectionSocket(socket) => socket.connection.process,
            CaptureEvent::ProcessStarted(ProcessStarted { process, parent, .. }) => {
                if self.own.contains(&parent.0) {
                    self.own.insert(process.0);
                }
                *process
            }
            CaptureEvent::ProcessForked(ProcessForked { parent, child, .. }) => {
                if self.own.contains(&parent.0) {
                    self.own.insert(child.0);
                }
                *parent
            }
            CaptureEvent::ProcessExited(exited) => exited.process,
            CaptureEvent::Coverage(finding) => {
                if finding.file.as_ref().is_some_and(|file| self.libraries.contains(file)) {
                    self.events.push(event);
                }
                return;
            }
            CaptureEvent::Attached(_)
            | CaptureEvent::Losses(_)
            | CaptureEvent::FileProof(_)
            | CaptureEvent::ConnectionPeer(_) => return,
        };
        if self.own.contains(&process.0) {
            self.events.push(event);
        }
    }
}

/// A capture of the whole host that runs.
struct Running {
    stop: Stop,
    kept: Arc<Mutex<Kept>>,
    capture: JoinHandle<CaptureStatistics>,
    found: HostProcesses,
}

impl Running {
    fn start(own: &[u32], libraries: &[&LibraryCopy], options: Options) -> Self {
        let stop = Stop::new().unwrap();
        let own = own.iter().copied().chain([std::process::id()]).collect();
        let libraries = libraries.iter().map(|library| library.file().to_owned()).collect();
        let kept = Arc::new(Mutex::new(Kept { own, libraries, events: Vec::new() }));
        let (ready, when_ready) = channel();
        let capture = std::thread::spawn({
            let (stop, kept) = (stop.clone(), Arc::clone(&kept));
            move || {
                let begin = std::time::Instant::now();
                let (mut capture, found) =
                    EbpfCapture::record_host(&options).unwrap_or_else(|error| panic!("{error}"));
                eprintln!(
                    "{} processes, {} files looked at, {} probed in {:?}",
                    found.processes.len(),
                    found.files,
                    capture.attached_files().len(),
                    begin.elapsed()
                );
                ready.send(found).unwrap();
                capture.run(&stop, &mut |event| kept.lock().unwrap().take(event)).unwrap();
                capture.statistics().clone()
            }
        });
        let Ok(found) = when_ready.recv() else {
            // The thread has said why.
            panic!("the capture did not start: {:?}", capture.join().err());
        };
        Self { stop, kept, capture, found }
    }

    fn wait_for(&self, what: &str, mut is_it: impl FnMut(&CaptureEvent) -> bool) {
        wait_until(what, || self.kept.lock().unwrap().events.iter().any(&mut is_it));
    }

    fn finish(self) -> (Vec<CaptureEvent>, CaptureStatistics) {
        self.stop.request();
        let statistics = self.capture.join().expect("the capture ran to its end");
        (std::mem::take(&mut self.kept.lock().unwrap().events), statistics)
    }
}

/// A client that waits before it connects.
struct Waiting {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Waiting {
    fn start(library: &LibraryCopy) -> Self {
        Self::start_with(library, "plain --bytes 20000 --calls 3")
    }

    fn start_with(library: &LibraryCopy, arguments: &str) -> Self {
        let mut child = client(library, &format!("{arguments} --wait-before connect"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        assert_eq!(line_of(&mut output)["pid"], child.id());
        Self { child, output }
    }

    /// Lets it connect.
    fn connect(&mut self) {
        self.child.stdin.take().unwrap().write_all(b"\n").unwrap();
    }

    /// Lets it connect; gives what it knows of its connections.
    fn finish(mut self) -> String {
        self.connect();
        self.ended()
    }

    fn ended(mut self) -> String {
        let mut truth = String::new();
        self.output.read_line(&mut truth).unwrap();
        self.output.read_to_string(&mut truth).unwrap();
        assert!(self.child.wait().unwrap().success());
        truth
    }
}

fn is_late(event: &CaptureEvent, processes: &[u32], library: &LibraryCopy) -> bool {
    let CaptureEvent::Coverage(finding) = event else { return false };
    matches!(finding.reason, CoverageReason::AttachedLate { .. })
        && finding.process.is_some_and(|process| processes.contains(&process.0))
        && finding.file.as_deref() == Some(library.file())
}

#[test]
fn process_that_ran_before_and_one_that_came_after_are_recorded_whole_and_the_sensor_is_not() {
    if !can_record() {
        return;
    }
    let _alone = alone();
    let (first, second) = (LibraryCopy::new(), LibraryCopy::new());
    let before = Waiting::start(&first);
    let running = Running::start(&[before.child.id()], &[&first, &second], Options::default());
    assert!(running.found.processes.contains(&before.child.id()));
    assert!(!running.found.processes.contains(&std::process::id()));
    assert_eq!(probe_state(before.child.id(), &first), ProbeState::Breakpoints);

    // A library that was nowhere mapped when the capture began.
    let after = Waiting::start(&second);
    let after_id = after.child.id();
    running.wait_for("the finding", |event| is_late(event, &[after_id], &second));

    // The sensor's own process runs into the probes as well.
    let mut pair = MemoryPair::connect(first.folder(), Call::Plain);
    pair.send(10, 100);
    drop(pair);
    assert_eq!(probe_state(std::process::id(), &first), ProbeState::Breakpoints);

    let output = format!("{}{}", before.finish(), after.finish());
    let (events, _) = running.finish();
    assert!(
        events.iter().any(
            |event| matches!(event, CaptureEvent::ProcessExited(exited) if exited.process.0 == after_id)
        )
    );
    // Of the connections, this also says that there are none but those of the two.
    let truths = truths(&output);
    assert_eq!(truths.len(), 2, "both said what they did");
    assert_whole(&truths, &events);
}

#[test]
fn call_that_waits_is_not_forgotten_when_other_processes_end() {
    if !can_record() {
        return;
    }
    let _alone = alone();
    let library = LibraryCopy::new();
    // From before the capture, so that the kernel's table of processes does not have it; its reads wait for seconds.
    let mut waiting = Waiting::start_with(&library, "plain --stream --model fake-chunks-3-delay-2500ms");
    let running = Running::start(&[waiting.child.id()], &[&library], Options::default());
    waiting.connect();
    // The ends of these make the capture look for calls that were left behind.
    while waiting.child.try_wait().unwrap().is_none() {
        assert!(Command::new("/bin/true").status().unwrap().success());
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let output = waiting.ended();
    let (events, _) = running.finish();
    assert_whole(&truths(&output), &events);
}

#[test]
fn probes_of_files_that_are_gone_are_removed() {
    if !can_record() {
        return;
    }
    let _alone = alone();
    let before = open_descriptors();
    let running = Running::start(&[], &[], Options::default());
    let at_start = open_descriptors();
    // Programs with libraries of their own, which are gone when the program has ended, as containers are.
    let mut highest = at_start;
    for _ in 0..70 {
        let library = LibraryCopy::new();
        running.kept.lock().unwrap().libraries.insert(library.file().to_owned());
        assert!(Command::new("/bin/true").env("LD_PRELOAD", library.file()).status().unwrap().success());
        running.wait_for("the finding", |event| {
            matches!(event, CaptureEvent::Coverage(finding) if finding.file.as_deref() == Some(library.file()))
        });
        highest = highest.max(open_descriptors());
    }
    assert!(highest > at_start + 350, "each has several probes: {at_start} {highest}");
    // Removing hundreds of probes takes long: it is waited for in steps.
    for left in [500, 350, 200] {
        wait_until("fewer probes", || open_descriptors() < at_start + left);
    }
    running.finish();
    wait_until("no probe", || open_descriptors() <= before + 2);
}

#[test]
fn table_of_processes_that_is_full_loses_no_process() {
    if !can_record() {
        return;
    }
    let _alone = alone();
    let library = LibraryCopy::new();
    let running = Running::start(&[], &[&library], Options { processes: 1, ..Options::default() });
    // Each takes the one place, or finds it taken.
    let clients: Vec<Waiting> = (0..3).map(|_| Waiting::start(&library)).collect();
    let ids: Vec<u32> = clients.iter().map(|client| client.child.id()).collect();
    running.wait_for("the finding", |event| is_late(event, &ids, &library));
    let output: String = clients.into_iter().map(Waiting::finish).collect();
    let (events, statistics) = running.finish();
    assert_eq!(truths(&output).len(), 3);
    assert_whole(&truths(&output), &events);
    assert_eq!(statistics.losses.processes, 0);
    assert!(connections(&events).values().all(|connection| connection.closed.len() == 1));
}
