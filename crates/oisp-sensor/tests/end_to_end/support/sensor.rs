//! The program under test, run on a command.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader, Read};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::Instant;

use super::events::Events;
use super::host::PATIENCE;

/// `oisp-sensor record` with a folder for its output.
pub(crate) struct Sensor {
    command: Command,
    folder: tempfile::TempDir,
}

/// A sensor that runs.
pub(crate) struct Running {
    child: Child,
    stdout: Option<BufReader<ChildStdout>>,
    stderr: BufReader<ChildStderr>,
    /// Of its standard error, what a test has read by itself.
    said: String,
    folder: tempfile::TempDir,
}

/// A sensor that has ended.
pub(crate) struct Finished {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
    pub(crate) pid: u32,
    folder: tempfile::TempDir,
}

impl Sensor {
    /// The program with any arguments; its state stays in the folder.
    pub(crate) fn with_arguments(arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_oisp-sensor"));
        command.args(arguments).stdin(Stdio::null());
        command.env("STATE_DIRECTORY", folder.path().join("state"));
        command.env("OISP_CONTROL_DIRECTORY", folder.path().join("control"));
        command.env("OISP_CACHE_DIRECTORY", folder.path().join("cache"));
        // A group of its own, as a shell gives it: signals can be sent as a terminal does.
        command.process_group(0);
        Self { command, folder }
    }

    /// Records a command into a file.
    pub(crate) fn recording(command: &Command) -> Self {
        Self::recording_with(&[], command)
    }

    /// The same with more options.
    pub(crate) fn recording_with(options: &[&str], recorded: &Command) -> Self {
        let mut sensor = Self::recording_into_file(options);
        sensor.command.arg("--").arg(recorded.get_program()).args(recorded.get_args());
        for (name, value) in recorded.get_envs() {
            match value {
                Some(value) => sensor.command.env(name, value),
                None => sensor.command.env_remove(name),
            };
        }
        if let Some(folder) = recorded.get_current_dir() {
            sensor.command.current_dir(folder);
        }
        sensor
    }

    /// Records a running process into a file.
    pub(crate) fn recording_process(pid: u32) -> Self {
        let mut sensor = Self::recording_into_file(&[]);
        sensor.command.arg("--pid").arg(pid.to_string());
        sensor
    }

    fn recording_into_file(options: &[&str]) -> Self {
        let mut sensor = Self::with_arguments(["record"]);
        let file = events_file(&sensor.folder);
        sensor.command.args(options).arg("-o").arg(file);
        sensor
    }

    /// Uses the state, with it the key of hashes, that another has made.
    pub(crate) fn with_state_of(mut self, other: &Finished) -> Self {
        self.command.env("STATE_DIRECTORY", other.folder.path().join("state"));
        self
    }

    /// Lets a test write to the command's standard input.
    pub(crate) fn with_input(mut self) -> Self {
        self.command.stdin(Stdio::piped());
        self
    }

    pub(crate) fn start(mut self) -> Running {
        let mut child = self.command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        Running {
            stdout: child.stdout.take().map(BufReader::new),
            stderr: BufReader::new(child.stderr.take().unwrap()),
            said: String::new(),
            child,
            folder: self.folder,
        }
    }

    /// Runs it to its end.
    pub(crate) fn run(self) -> Finished {
        self.start().finish()
    }
}

impl Running {
    /// Its own folder, where its control socket is.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The command's standard input, which ends when this is dropped.
    pub(crate) fn take_input(&mut self) -> ChildStdin {
        self.child.stdin.take().expect("started with an input")
    }

    /// The next line on standard output.
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        let stdout = self.stdout.as_mut().expect("not closed");
        assert_ne!(stdout.read_line(&mut line).unwrap(), 0, "it ended without a word: {}", self.said);
        line
    }

    /// Closes the reader's end of its standard output.
    pub(crate) fn close_output(&mut self) {
        self.stdout = None;
    }

    /// Waits until it says something on standard error.
    pub(crate) fn wait_for(&mut self, text: &str) {
        while !self.said.contains(text) {
            let read = self.stderr.read_line(&mut self.said).unwrap();
            assert_ne!(read, 0, "it ended and never said `{text}`: {}", self.said);
        }
    }

    /// Waits for its end.
    pub(crate) fn finish(mut self) -> Finished {
        drop(self.child.stdin.take());
        let stdout = self.stdout.take().map(reading);
        let stderr = reading(self.stderr);
        let start = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            if start.elapsed() > PATIENCE {
                let _ = self.child.kill();
                let rest = stderr.join().unwrap();
                panic!("the sensor does not end; it said: {}{}", self.said, String::from_utf8_lossy(&rest));
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        };
        let stderr = stderr.join().unwrap();
        Finished {
            status,
            stdout: stdout.map(|stdout| stdout.join().unwrap()).unwrap_or_default(),
            stderr: self.said + &String::from_utf8_lossy(&stderr),
            pid: self.child.id(),
            folder: self.folder,
        }
    }
}

impl Finished {
    pub(crate) fn file(&self) -> PathBuf {
        events_file(&self.folder)
    }

    /// The file as it is.
    pub(crate) fn raw(&self) -> Vec<u8> {
        std::fs::read(self.file()).unwrap()
    }

    /// The events, each of them valid.
    pub(crate) fn events(&self) -> Events {
        Events::parse(&self.raw())
    }

    /// As a shell shows it.
    pub(crate) fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| -self.status.signal().unwrap_or(0))
    }

    /// The command succeeded, and the sensor had nothing to warn of.
    pub(crate) fn assert_clean(&self) {
        assert!(self.status.success(), "{}: {}", self.status, self.stderr);
        assert!(!self.stderr.contains("warning"), "{}", self.stderr);
    }

    /// It succeeded, and every warning is about this.
    pub(crate) fn assert_clean_but_for(&self, expected: &str) {
        assert!(self.status.success(), "{}: {}", self.status, self.stderr);
        let other = self.stderr.lines().find(|line| line.contains("warning") && !line.contains(expected));
        assert_eq!(other, None, "{}", self.stderr);
    }
}

fn events_file(folder: &tempfile::TempDir) -> PathBuf {
    folder.path().join("events.jsonl")
}

fn reading(mut from: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut all = Vec::new();
        from.read_to_end(&mut all).unwrap();
        all
    })
}
