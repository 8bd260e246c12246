//! `oisp-sensor record`

use std::path::Path;
use std::process::{Child, Command, ExitCode, ExitStatus};
use std::sync::Arc;

use oisp_capture::{ProcessId, Stop};
use oisp_capture_ebpf::{EbpfCapture, HeldCommand, LoadError, Options, candidates_of_command};
use oisp_config::{RedactionMode, Settings};
use oisp_correlate::{Clock, Correlator, HostLookup, host_facts};
use oisp_event::{Event, EventIdGenerator};
use oisp_export::{JsonlSink, Sink};
use oisp_redact::{Redacted, RedactionConfig, Redactor};

use crate::arguments::RecordOptions;
use crate::exit::{FAILED, Failure, WRAPPER_FAILED};
use crate::pipeline::Pipeline;
use crate::recording::{self, Outcome};
use crate::signals::{Policy, SignalGuard, end_with};
use crate::summary::{Tally, text, warnings};
use crate::{command, config, hash_key};

pub(crate) fn run(options: &RecordOptions) -> Result<ExitCode, Failure> {
    let settings = config::load(&options.flags)?.settings;
    let own_failure = if options.command.is_empty() { FAILED } else { WRAPPER_FAILED };
    let mut sink = JsonlSink::open(&settings.output).map_err(|error| Failure::new(own_failure, error))?;
    let destination = settings.output.display().to_string();
    let destination = (destination != "-").then_some(destination);
    let recording = Recording::new(&settings, own_failure)?;
    let mut tally = Tally::default();
    let mut each = |event: &Redacted<Event>| tally.add(event);
    let (outcome, status) = match options.pid {
        Some(pid) => {
            let ready = || {
                if !settings.quiet {
                    eprintln!("oisp-sensor: recording process {pid} until it ends or Ctrl-C");
                }
            };
            (recording.process(pid, ready, &mut sink, &mut each)?, None)
        }
        None => {
            let (program, arguments) = options.command.split_first().ok_or_else(|| {
                Failure::new(FAILED, "nothing to record: give a command after --, or --pid")
            })?;
            let path = command::find(program)?;
            let mut command = Command::new(&path);
            std::os::unix::process::CommandExt::arg0(&mut command, program);
            command.args(arguments);
            let (outcome, status) = recording.command(&path, command, &mut sink, &mut each)?;
            (outcome, Some(status))
        }
    };
    if settings.quiet {
        for warning in warnings(&tally, &outcome) {
            eprintln!("oisp-sensor: warning: {}", recording.redactor.redact_text(&warning));
        }
    } else {
        for line in text(&tally, &outcome, destination.as_deref()).lines() {
            eprintln!("oisp-sensor: {}", recording.redactor.redact_text(line));
        }
    }
    Ok(match status {
        Some(status) => exit_code(status),
        None if outcome.sink_error.is_some() || outcome.capture_error.is_some() => ExitCode::from(FAILED),
        None => ExitCode::SUCCESS,
    })
}

/// How to record, whatever is recorded.
pub(crate) struct Recording<'a> {
    settings: &'a Settings,
    /// The exit code for what goes wrong before anything is recorded.
    own_failure: u8,
    /// Also for what is said to the person: names of files and commands may hold secrets.
    pub(crate) redactor: Arc<Redactor>,
}

impl<'a> Recording<'a> {
    pub(crate) fn new(settings: &'a Settings, own_failure: u8) -> Result<Self, Failure> {
        let redactor =
            Redactor::new(RedactionConfig { mode: config::redaction_mode(settings), key: hash_key::load()? });
        Ok(Self { settings, own_failure, redactor: Arc::new(redactor) })
    }

    /// Records a running process until it ends or a signal comes; calls `ready` when it will miss nothing more.
    pub(crate) fn process(
        &self,
        pid: u32,
        ready: impl FnOnce(),
        sink: &mut dyn Sink,
        each: &mut dyn FnMut(&Redacted<Event>),
    ) -> Result<Outcome, Failure> {
        let mut capture = self.load()?;
        capture.record_process(pid).map_err(|error| self.failure(error))?;
        let stop = Stop::new().map_err(|error| self.failure(error))?;
        let _signals =
            SignalGuard::install(Policy::EndRecording, &stop).map_err(|error| self.failure(error))?;
        let pipeline = self.pipeline();
        ready();
        recording::run(capture, &stop, Some(ProcessId(pid)), pipeline, sink, each)
            .map_err(|error| self.failure(error))
    }

    /// Starts a command, records it to its end, and gives its status.
    pub(crate) fn command(
        &self,
        path: &Path,
        command: Command,
        sink: &mut dyn Sink,
        each: &mut dyn FnMut(&Redacted<Event>),
    ) -> Result<(Outcome, ExitStatus), Failure> {
        let mut capture = self.load()?;
        let pipeline = self.pipeline();
        let environment: Vec<_> =
            command.get_envs().map(|(name, value)| (name.to_owned(), value.map(ToOwned::to_owned))).collect();
        let candidates = candidates_of_command(path, |name| {
            environment
                .iter()
                .find(|(known, _)| known == name)
                .map_or_else(|| std::env::var_os(name), |(_, value)| value.clone())
        });
        let name = command.get_program().to_string_lossy().into_owned();
        let held = HeldCommand::start(command).map_err(|error| self.failure(error))?;
        capture.record_command(held.pid(), &candidates).map_err(|error| self.failure(error))?;
        let stop = Stop::new().map_err(|error| self.failure(error))?;
        let signals = SignalGuard::install(Policy::LeaveToCommand(held.pid()), &stop)
            .map_err(|error| self.failure(error))?;
        let child: Child = held.release().map_err(|error| command::not_started(&name, &error))?;
        let waiting = end_with(child, &stop);
        let outcome = recording::run(capture, &stop, None, pipeline, sink, each)
            .map_err(|error| self.failure(error))?;
        // The recording may have been ended by a signal or a closed pipe: the command still runs then, and its status is
        // still waited for, unless a signal asks again.
        let status = waiting
            .join()
            .map_err(|_| Failure::new(self.own_failure, "the thread that waits for the command panicked"))?
            .map_err(|error| Failure::new(self.own_failure, format!("waiting for the command: {error}")))?;
        drop(signals);
        Ok((outcome, status))
    }

    fn load(&self) -> Result<EbpfCapture, Failure> {
        if self.settings.redaction.mode == RedactionMode::Full {
            eprintln!(
                "oisp-sensor: warning: --redaction full keeps secrets and personal data in the events; only \
                 credentials in headers and URLs are removed"
            );
        }
        EbpfCapture::load(&Options { ring_bytes: config::ring_bytes(self.settings) }).map_err(|error| {
            match error {
                LoadError::Requirement(_) => Failure::new(
                    self.own_failure,
                    format!("cannot record on this host\n{error}\n(see `oisp-sensor check`)"),
                ),
                _ => Failure::new(self.own_failure, error),
            }
        })
    }

    fn pipeline(&self) -> Pipeline {
        let correlator =
            Correlator::new(host_facts(), Clock::of_host(), Box::new(HostLookup), EventIdGenerator::new());
        Pipeline::new(correlator, Arc::clone(&self.redactor))
    }

    fn failure(&self, error: impl std::fmt::Display) -> Failure {
        Failure::new(self.own_failure, error)
    }
}

/// The command's status as a shell gives it.
fn exit_code(status: ExitStatus) -> ExitCode {
    use std::os::unix::process::ExitStatusExt as _;
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX))
}
