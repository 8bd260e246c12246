//! A recording of one command or process, from its start to its end.

use std::io::{BufReader, Read as _, Write as _};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::channel;
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use oisp_capture::{CaptureEvent, CaptureSource as _, Losses, Stop};
use oisp_capture_ebpf::{
    Candidate, CaptureStatistics, EbpfCapture, HeldCommand, LoadError, Options, TableUse,
};
use serde_json::Value;

use super::client::{Truth, client_executable, line_of, truths};
use super::host::PATIENCE;

/// How to record.
#[derive(Clone, Debug, Default)]
pub(crate) struct Setup {
    pub(crate) options: Options,
    /// What is probed before the command runs.
    pub(crate) candidates: Vec<Candidate>,
    /// Give the command an input that stays open until [`Recording::say`] writes to it.
    pub(crate) with_input: bool,
    /// Stop consuming at the first content, until [`Recording::resume`]: the ring runs full.
    pub(crate) stall: bool,
    /// Consume nothing at all before [`Recording::resume`].
    pub(crate) pause: bool,
}

impl Setup {
    /// Only this is probed, and the client's executable: it contains rustls over ring, and would be probed late otherwise.
    pub(crate) fn probing(candidate: Candidate) -> Self {
        let executable = Candidate { path: client_executable().to_owned(), why: "the command" };
        Self { candidates: vec![candidate, executable], ..Self::default() }
    }
}

/// A running recording.
pub(crate) struct Recording {
    child: Child,
    stdout: BufReader<ChildStdout>,
    output: String,
    stop: Stop,
    shared: Arc<Shared>,
    capture: Option<JoinHandle<Finished>>,
}

#[derive(Default)]
struct Shared {
    events: Mutex<Vec<CaptureEvent>>,
    more: Condvar,
    stalls: Mutex<bool>,
    pauses: Mutex<bool>,
    resumed: Condvar,
}

struct Finished {
    statistics: CaptureStatistics,
    tables: TableUse,
    processor_time: Duration,
}

/// A recording that is over.
pub(crate) struct Recorded {
    pub(crate) pid: u32,
    pub(crate) status: ExitStatus,
    /// What the command printed, except for the lines that the test has read by itself.
    pub(crate) output: String,
    pub(crate) events: Vec<CaptureEvent>,
    pub(crate) statistics: CaptureStatistics,
    /// What was left in the kernel's tables.
    pub(crate) tables: TableUse,
    /// What delivering the events cost.
    pub(crate) processor_time: Duration,
}

impl Recording {
    /// Records a command from its first instruction.
    pub(crate) fn of(mut command: Command, setup: &Setup) -> Self {
        command.stdout(Stdio::piped());
        command.stdin(if setup.with_input { Stdio::piped() } else { Stdio::null() });
        let held = HeldCommand::start(command).unwrap();
        let (pid, candidates) = (held.pid(), setup.candidates.clone());
        let started = start(setup, move |capture| capture.record_command(pid, &candidates));
        let mut child = held.release().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Self::with(child, stdout, started)
    }

    /// Records a child that runs already; its output is the one given.
    pub(crate) fn of_running(child: Child, stdout: BufReader<ChildStdout>, setup: &Setup) -> Self {
        let pid = child.id();
        let started = start(setup, move |capture| capture.record_process(pid).map(drop));
        Self::with(child, stdout, started)
    }

    fn with(
        child: Child,
        stdout: BufReader<ChildStdout>,
        (shared, stop, capture): (Arc<Shared>, Stop, JoinHandle<Finished>),
    ) -> Self {
        Self { child, stdout, output: String::new(), stop, shared, capture: Some(capture) }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The next line of JSON that the command prints.
    pub(crate) fn line(&mut self) -> Value {
        line_of(&mut self.stdout)
    }

    /// Gives the command a line of input.
    pub(crate) fn say(&mut self, line: &str) {
        let stdin = self.child.stdin.as_mut().expect("an input");
        stdin.write_all(line.as_bytes()).and_then(|()| stdin.flush()).unwrap();
    }

    /// Ends the command with SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
    }

    /// Waits for an event that must come.
    pub(crate) fn wait_for(&self, what: &str, mut is_it: impl FnMut(&CaptureEvent) -> bool) {
        let events = self.shared.events.lock().unwrap();
        let (events, result) = self
            .shared
            .more
            .wait_timeout_while(events, PATIENCE, |events| !events.iter().any(&mut is_it))
            .unwrap();
        // Content may be gigabytes.
        let is_content = |event: &&CaptureEvent| matches!(event, CaptureEvent::Content(_));
        let told = || events.iter().filter(|event| !is_content(event)).collect::<Vec<_>>();
        assert!(!result.timed_out(), "never came: {what}; what came beside content: {:#?}", told());
    }

    /// Waits for the command's end, and goes on recording.
    pub(crate) fn wait_for_end(&mut self) {
        drop(self.child.stdin.take());
        self.stdout.read_to_string(&mut self.output).unwrap();
        self.child.wait().unwrap();
    }

    /// Ends a stall.
    pub(crate) fn resume(&self) {
        *self.shared.stalls.lock().unwrap() = false;
        *self.shared.pauses.lock().unwrap() = false;
        self.shared.resumed.notify_all();
    }

    /// Waits for the command's end and ends the recording.
    pub(crate) fn finish(mut self) -> Recorded {
        self.wait_for_end();
        self.resume();
        self.stop.request();
        let finished = self.capture.take().unwrap().join().expect("the capture ran to its end");
        Recorded {
            pid: self.child.id(),
            status: self.child.wait().unwrap(),
            output: std::mem::take(&mut self.output),
            events: std::mem::take(&mut *self.shared.events.lock().unwrap()),
            statistics: finished.statistics,
            tables: finished.tables,
            processor_time: finished.processor_time,
        }
    }
}

impl Drop for Recording {
    /// After a failed assertion: nothing is left running.
    fn drop(&mut self) {
        self.resume();
        self.stop.request();
        // Ended already is as good.
        let _ended = self.child.kill().and_then(|()| self.child.wait());
    }
}

impl Recorded {
    /// What the recorded programs know of themselves.
    pub(crate) fn truths(&self) -> Vec<Truth> {
        assert!(self.status.success(), "{}: {}", self.status, self.output);
        truths(&self.output)
    }

    /// Nothing was lost.
    pub(crate) fn assert_nothing_lost(&self) {
        assert_eq!(self.statistics.losses, Losses::default());
        let reported = self.events.iter().find(|event| matches!(event, CaptureEvent::Losses(_)));
        assert_eq!(reported, None);
    }

    /// No finding says that something went unseen.
    pub(crate) fn assert_no_findings(&self) {
        let finding = self.events.iter().find(|event| matches!(event, CaptureEvent::Coverage(_)));
        assert_eq!(finding, None);
    }
}

/// Loads a capture and runs it in a thread of its own, where it stays.
fn start(
    setup: &Setup,
    take: impl FnOnce(&mut EbpfCapture) -> Result<(), LoadError> + Send + 'static,
) -> (Arc<Shared>, Stop, JoinHandle<Finished>) {
    let shared = Arc::new(Shared {
        stalls: Mutex::new(setup.stall),
        pauses: Mutex::new(setup.pause),
        ..Shared::default()
    });
    let stop = Stop::new().unwrap();
    let (ready, when_ready) = channel();
    let capture = std::thread::spawn({
        let (shared, stop, options) = (Arc::clone(&shared), stop.clone(), setup.options.clone());
        move || {
            let begin = Instant::now();
            let mut capture = EbpfCapture::load(&options).unwrap_or_else(|error| panic!("{error}"));
            let loaded = begin.elapsed();
            take(&mut capture).unwrap_or_else(|error| panic!("{error}"));
            eprintln!("loaded in {loaded:?}, probed in {:?}", begin.elapsed() - loaded);
            ready.send(()).unwrap();
            shared.wait(&shared.pauses);
            let before = thread_time();
            capture.run(&stop, &mut |event| shared.deliver(event)).unwrap();
            Finished {
                statistics: capture.statistics().clone(),
                tables: capture.table_use(),
                processor_time: thread_time() - before,
            }
        }
    });
    if when_ready.recv().is_err() {
        // The thread has said why.
        panic!("the capture did not start: {:?}", capture.join().err());
    }
    (shared, stop, capture)
}

impl Shared {
    fn deliver(&self, event: CaptureEvent) {
        let is_content = matches!(event, CaptureEvent::Content(_));
        self.events.lock().unwrap().push(event);
        self.more.notify_all();
        if is_content {
            self.wait(&self.stalls);
        }
    }

    fn wait(&self, condition: &Mutex<bool>) {
        let mut waits = condition.lock().unwrap();
        while *waits {
            // Two conditions share the signal, so it may be the other's.
            waits = self.resumed.wait_timeout(waits, Duration::from_millis(10)).unwrap().0;
        }
    }
}

fn thread_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.cast_unsigned(), u32::try_from(time.tv_nsec).unwrap())
}
