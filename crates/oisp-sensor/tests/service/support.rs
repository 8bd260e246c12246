//! A sensor with a home, a configuration and a control socket of its own.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Read};
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

/// Long beyond what anything here takes on the slowest machine: only what never happens takes so long.
const FOREVER: Duration = Duration::from_secs(120);

pub(crate) struct Home {
    folder: tempfile::TempDir,
}

impl Home {
    /// With this configuration.
    pub(crate) fn new(configuration: &str) -> Self {
        let home = Self { folder: tempfile::tempdir().unwrap() };
        home.configure(configuration);
        home
    }

    pub(crate) fn configure(&self, configuration: &str) {
        // Whole or not at all: the sensor may be reading.
        let control = format!("control.directory = '{}'\n", self.path("control").display());
        let new = self.path("config.new");
        fs::write(&new, control + configuration).unwrap();
        fs::rename(new, self.path("config.toml")).unwrap();
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn sensor(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_oisp-sensor"));
        command.env("STATE_DIRECTORY", self.path("state")).env("OISP_CONFIG", self.path("config.toml"));
        command.stdin(Stdio::null());
        command
    }

    /// A command that is about running sensors.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.sensor();
        command.args(arguments).arg("--directory").arg(self.path("control"));
        command
    }

    /// A sensor with generated traffic that writes to the home's file; returns when it can be asked.
    pub(crate) fn generate(&self, arguments: &[&str]) -> Sensor {
        let mut command = self.sensor();
        command.arg("generate").args(arguments).arg("-o").arg(self.path("events.jsonl"));
        self.start(command)
    }

    /// The same, writing to a pipe that nobody reads before the end.
    pub(crate) fn generate_to_pipe(&self, arguments: &[&str]) -> Sensor {
        let mut command = self.sensor();
        command.arg("generate").args(arguments).args(["-o", "-"]);
        self.start(command)
    }

    pub(crate) fn replay(&self, arguments: &[&str]) -> Sensor {
        let mut command = self.sensor();
        command.arg("replay").args(arguments);
        Sensor::start(command)
    }

    fn start(&self, command: Command) -> Sensor {
        let mut sensor = Sensor::start(command);
        let socket = self.path("control").join(format!("record-{}.sock", sensor.id()));
        wait_until(|| socket.exists() || !sensor.is_running());
        sensor
    }

    pub(crate) fn status(&self) -> Value {
        let output = self.command(&["status", "--json"]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// The events so far.
    pub(crate) fn events(&self) -> Events {
        Events::read(&self.path("events.jsonl"))
    }
}

pub(crate) struct Sensor {
    child: Child,
    stderr: Option<JoinHandle<String>>,
}

impl Sensor {
    fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let stderr: ChildStderr = child.stderr.take().unwrap();
        let stderr = std::thread::spawn(move || {
            let mut text = String::new();
            BufReader::new(stderr).read_to_string(&mut text).unwrap();
            text
        });
        Self { child, stderr: Some(stderr) }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Its exit code and what it said.
    pub(crate) fn finish(&mut self) -> (Option<i32>, String) {
        wait_until(|| !self.is_running());
        let said = self.stderr.take().unwrap().join().unwrap();
        (self.child.wait().unwrap().code(), said)
    }

    /// The signal that ended it.
    pub(crate) fn finish_with_signal(&mut self) -> Option<i32> {
        wait_until(|| !self.is_running());
        self.child.wait().unwrap().signal()
    }

    pub(crate) fn stdout(&mut self) -> ChildStdout {
        self.child.stdout.take().unwrap()
    }
}

impl Drop for Sensor {
    fn drop(&mut self) {
        // A test that failed half way: whether it still runs is not known.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) struct Events(pub(crate) Vec<Value>);

impl Events {
    pub(crate) fn read(file: &std::path::Path) -> Self {
        let Ok(file) = fs::File::open(file) else { return Self(Vec::new()) };
        let lines = BufReader::new(file).lines().map_while(Result::ok);
        // The last line may be in the middle of being written.
        Self(lines.filter_map(|line| serde_json::from_str(&line).ok()).collect())
    }

    pub(crate) fn of<'e>(&'e self, event_type: &'e str) -> impl Iterator<Item = &'e Value> {
        self.0.iter().filter(move |event| event["event_type"] == event_type)
    }

    /// Every request has its response, and every response its request.
    pub(crate) fn assert_calls_are_whole(&self) {
        let ids = |event_type| {
            let mut ids: Vec<&str> =
                self.of(event_type).map(|event| event["data"]["request_id"].as_str().unwrap()).collect();
            ids.sort_unstable();
            ids
        };
        assert_eq!(ids("ai.request"), ids("ai.response"));
    }
}

/// What each stage said at its end: received, sent, dropped.
pub(crate) fn ended_stages(said: &str) -> BTreeMap<String, [u64; 3]> {
    said.lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|line| line["message"] == "stage ended")
        .map(|line| {
            let fields = if line["fields"].is_object() { &line["fields"] } else { &line };
            let number = |name: &str| {
                let value = &fields[name];
                value.as_u64().or_else(|| value.as_str()?.parse().ok()).unwrap()
            };
            let name = fields["stage"].as_str().unwrap().to_owned();
            (name, [number("received"), number("sent"), number("dropped")])
        })
        .collect()
}

pub(crate) fn kill(pid: u32, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(pid.cast_signed()).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}

pub(crate) fn wait_until(mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < FOREVER, "it never came to be so");
        std::thread::sleep(Duration::from_millis(20));
    }
}
