//! The sensor of the whole host: one at a time, with the others beside it.
//!
//! In a program of its own, because it probes what the other tests' programs use. What is recorded is thrown away: it is
//! everybody's on this machine. Needs root and a kernel that can be recorded; where one is missing the test says so and
//! passes, with `OISP_REQUIRE_ALL=1` it fails.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use oisp_capture_ebpf::requirements;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Long against anything that is waited for, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(60);

fn can_record() -> bool {
    let lacking = if rustix::process::geteuid().is_root() {
        requirements::first_unmet().map(|requirement| requirement.to_string())
    } else {
        Some("these tests need root".to_owned())
    };
    let Some(lacking) = lacking else { return true };
    assert!(std::env::var_os("OISP_REQUIRE_ALL").is_none_or(|value| value != "1"), "{lacking}");
    eprintln!("skipped: {lacking}");
    false
}

/// A folder for sensors that know each other by it, and by nothing else.
struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn directory(&self) -> PathBuf {
        self.0.path().join("control")
    }

    fn sensor(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_oisp-sensor"));
        command.args(arguments).stdin(Stdio::null());
        command.env("HOME", self.0.path()).env("STATE_DIRECTORY", self.0.path().join("state"));
        command
    }

    /// The arguments of a recording that throws away what it sees.
    fn record(&self, more: &[&str]) -> Command {
        let directory = format!("control.directory={}", self.directory().display());
        let mut command =
            self.sensor(&["record", "--redaction", "minimal", "-o", "/dev/null", "--set", &directory]);
        command.args(more);
        command
    }

    fn status(&self) -> Value {
        let directory = self.directory();
        let output = self
            .sensor(&["status", "host", "--json", "--directory", directory.to_str().unwrap()])
            .output()
            .unwrap();
        assert!(output.status.success(), "no status");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    fn host(&self, more: &[&str]) -> Running {
        let mut child = self.record(&["--host"]).args(more).stderr(Stdio::piped()).spawn().unwrap();
        let mut errors = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains("recording the whole host") {
            line.clear();
            assert_ne!(errors.read_line(&mut line).unwrap(), 0, "it ended and never recorded");
        }
        Running { child, errors: Some(errors) }
    }

    /// A second one: its exit code and what it says.
    fn second(&self, more: &[&str]) -> (Option<i32>, String) {
        let output = self.record(&["--host"]).args(more).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

/// A sensor of the whole host; killed when dropped.
struct Running {
    child: Child,
    errors: Option<BufReader<ChildStderr>>,
}

impl Running {
    fn pid(&self) -> u32 {
        self.child.id()
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    fn end(mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        let mut errors = self.errors.take().unwrap();
        // So that it never waits for a reader. What it says is about everybody's programs: not for a test's log.
        let reader = std::thread::spawn(move || errors.read_to_string(&mut String::new()));
        let begin = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(begin.elapsed() < PATIENCE, "it does not end");
            std::thread::sleep(Duration::from_millis(5));
        };
        reader.join().unwrap().unwrap();
        status
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Ended already is as good.
        let _ended = self.child.kill().and_then(|()| self.child.wait());
    }
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !is_so() {
        assert!(begin.elapsed() < PATIENCE, "never came: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn second_host_wide_sensor_is_told_about_the_first_and_recordings_run_beside_it() {
    if !can_record() {
        return;
    }
    let home = Home::new();
    let first = home.host(&[]);
    let refusal = format!("a host-wide sensor already runs as process {}", first.pid());
    for more in [&[][..], &["--set", "control.enabled=false"]] {
        let (code, said) = home.second(more);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains(&refusal), "{said}");
    }
    let beside = home.record(&["--quiet", "--", "/bin/sh", "-c", "exit 7"]).status().unwrap();
    assert_eq!(beside.code(), Some(7));

    let status = home.status();
    assert_eq!((&status["name"], &status["pid"]), (&Value::from("host"), &Value::from(first.pid())));
    assert_eq!(status["scope"]["kind"], "host");
    assert_eq!(status["scope"]["text"], "the whole host");
    let loaded = status["configuration"]["loaded"].clone();
    first.signal(Signal::HUP);
    wait_until("the configuration read again", || home.status()["configuration"]["loaded"] != loaded);
    assert_eq!(first.end().code(), Some(0));
    let left = std::fs::read_dir(home.directory()).unwrap().count();
    assert_eq!(left, 0, "its name is free, and so are those of the recordings");
}

#[test]
fn second_host_wide_sensor_is_refused_where_the_first_does_not_answer() {
    if !can_record() {
        return;
    }
    let home = Home::new();
    let first = home.host(&["--set", "control.enabled=false"]);
    assert!(!socket(&home.directory()).exists());
    let (code, said) = home.second(&[]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains(&format!("already runs as process {}", first.pid())), "{said}");
    // Killed, it leaves a name that the next one takes.
    drop(first);
    let next = home.host(&[]);
    assert_eq!(home.status()["pid"], next.pid());
    assert_eq!(next.end().code(), Some(0));
}

fn socket(directory: &Path) -> PathBuf {
    directory.join("host.sock")
}
