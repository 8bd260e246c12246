//! `oisp-sensor record`, and how everything is recorded.

use std::path::Path;
use std::process::{Command, ExitCode, ExitStatus};
use std::sync::Arc;

use oisp_capture::{CaptureSource, ProcessId, Stop};
use oisp_capture_ebpf::{EbpfCapture, HeldCommand, HostProcesses, LoadError, candidates_of_command};
use oisp_config::{Configuration, Flags, RedactionMode, Settings};
use oisp_control::{Claim, Controlled as _, ScopeKind};
use oisp_correlate::{Clock, Correlator, HostLookup, NoLookup, ProcessLookup, RawRecorder, host_facts};
use oisp_event::EventIdGenerator;
use oisp_export::{JsonlSink, Sink};
use oisp_redact::Redactor;

use crate::arguments::RecordOptions;
use crate::exit::{FAILED, Failure, MISUSED, WRAPPER_FAILED};
use crate::pipeline::Pipeline;
use crate::plan::Plan;
use crate::raw::{LABEL, RawTap};
use crate::runtime::{self, Draining, Job, MemoryBudget, Outcome, Running, Tap, WhenFull};
use crate::select::{Selection, Selector};
use crate::session::{self, Handles, Presence, Session, Subject};
use crate::signals::{CommandEnd, Policy, SignalGuard, end_with};
use crate::summary::{text, warnings};
use crate::{command, config, hash_key, logging};
use logging::Logging;

pub(crate) fn run(options: &RecordOptions) -> Result<ExitCode, Failure> {
    let own_failure = if options.command.is_empty() { FAILED } else { WRAPPER_FAILED };
    let recorder = Recorder::new(&options.flags, own_failure)?.with_raw(options.raw.as_deref());
    let settings = recorder.settings();
    let sink = JsonlSink::open(&settings.output).map_err(|error| Failure::new(own_failure, error))?;
    let sinks: Vec<Box<dyn Sink>> = vec![Box::new(sink)];
    let (outcome, status) = match options.pid {
        None if options.host => {
            let ready = |found: &HostProcesses| {
                if !settings.quiet {
                    eprintln!(
                        "oisp-sensor: recording the whole host ({} processes, {} files looked at) until Ctrl-C",
                        found.processes.len(),
                        found.files
                    );
                }
            };
            (recorder.host(ready, sinks)?, None)
        }
        Some(pid) => {
            let ready = || {
                if !settings.quiet {
                    eprintln!("oisp-sensor: recording process {pid} until it ends or Ctrl-C");
                }
            };
            (recorder.process(pid, ready, sinks)?, None)
        }
        None => {
            let (program, arguments) = options.command.split_first().ok_or_else(|| {
                Failure::new(FAILED, "nothing to record: give a command after --, --pid, or --host")
            })?;
            let path = command::find(program)?;
            let mut command = Command::new(&path);
            std::os::unix::process::CommandExt::arg0(&mut command, program);
            command.args(arguments);
            let (outcome, status) = recorder.command(&path, command, sinks)?;
            (outcome, Some(status))
        }
    };
    recorder.tell(&outcome, settings.quiet, recorder.destination().as_deref());
    Ok(match status {
        Some(status) => exit_code(status),
        None if outcome.has_failed() => ExitCode::from(FAILED),
        None => ExitCode::SUCCESS,
    })
}

/// How to record, whatever is recorded.
pub(crate) struct Recorder {
    plan: Plan,
    configuration: Configuration,
    flags: Flags,
    raw: Option<std::path::PathBuf>,
    /// The exit code for what goes wrong before anything is recorded.
    own_failure: u8,
    /// Also for what is said to the person: names of files and commands may hold secrets.
    pub(crate) redactor: Arc<Redactor>,
    logging: Logging,
}

/// Where capture events come from.
pub(crate) enum Origin {
    /// This host's kernel.
    Kernel,
    /// Nowhere: they are made up.
    Generator(WhenFull),
    /// An earlier recording, perhaps of another host.
    Recording {
        correlator: Box<Correlator>,
        /// What its events say of where they come from.
        label: Option<String>,
    },
}

/// A recording that runs, and who may ask about it.
struct Started {
    running: Running,
    session: Arc<Session>,
    _presence: Presence,
}

impl Recorder {
    /// Reads the configuration, and sets up the log by it.
    pub(crate) fn new(flags: &Flags, own_failure: u8) -> Result<Self, Failure> {
        let configuration = config::load(flags)?;
        let plan = Plan::new(configuration.settings.clone(), hash_key::load()?);
        let redactor = Arc::new(plan.redactor());
        let logging = begin_logging(&plan.settings, &redactor, own_failure)?;
        if plan.settings.redaction.mode == RedactionMode::Full {
            eprintln!(
                "oisp-sensor: warning: redaction full keeps secrets and personal data in the events; only \
                 credentials in headers and URLs are removed"
            );
        }
        Ok(Self { plan, configuration, flags: flags.clone(), raw: None, own_failure, redactor, logging })
    }

    /// Keeps what is captured in a file, for replaying.
    pub(crate) fn with_raw(mut self, file: Option<&Path>) -> Self {
        self.raw = file.map(Path::to_owned);
        self
    }

    pub(crate) fn settings(&self) -> Settings {
        self.plan.settings.clone()
    }

    /// The file that events go to; `None` for standard output.
    pub(crate) fn destination(&self) -> Option<String> {
        let output = &self.plan.settings.output;
        (output.as_os_str() != "-").then(|| output.display().to_string())
    }

    /// The file that somebody asked for, if anybody did.
    pub(crate) fn chosen_destination(&self) -> Option<std::path::PathBuf> {
        let key = oisp_config::key("output")?;
        let is_default = *self.configuration.origin(key) == oisp_config::Origin::Default;
        (!is_default).then(|| self.plan.settings.output.clone())
    }

    /// Records a running process until it ends or a signal comes; calls `ready` when it will miss nothing more.
    pub(crate) fn process(
        &self,
        pid: u32,
        ready: impl FnOnce(),
        sinks: Vec<Box<dyn Sink>>,
    ) -> Result<Outcome, Failure> {
        let mut capture = self.load()?;
        let members = capture.record_process(pid).map_err(|error| self.failure(error))?;
        let subject = Subject {
            scope: ScopeKind::Process,
            text: format!("process {pid} and its descendants"),
            kernel: Some(self.plan.kernel().memory()),
        };
        let stop = self.stop()?;
        let started =
            self.start(Box::new(capture), Origin::Kernel, subject, &stop, Some(ProcessId(pid)), sinks)?;
        started.running.view().begin_with(&members);
        let _signals = self.signals(Policy::EndRecording, &CommandEnd::default(), &started.session)?;
        ready();
        started.running.wait().map_err(|error| self.failure(error))
    }

    /// Records every process but this one until a signal comes; calls `ready` when it will miss nothing more. One sensor
    /// at a time: another is told about this one.
    pub(crate) fn host(
        &self,
        ready: impl FnOnce(&HostProcesses),
        sinks: Vec<Box<dyn Sink>>,
    ) -> Result<Outcome, Failure> {
        // Before anything is probed.
        let claim = session::claim_host(&self.plan.settings).map_err(|error| self.failure(error))?;
        let (capture, found) =
            EbpfCapture::record_host(&self.plan.kernel()).map_err(|error| self.not_loaded(error))?;
        let subject = Subject {
            scope: ScopeKind::Host,
            text: "the whole host".to_owned(),
            kernel: Some(self.plan.kernel().memory()),
        };
        let stop = self.stop()?;
        let started =
            self.start_claimed(Box::new(capture), Origin::Kernel, subject, &stop, None, sinks, Some(claim))?;
        started.running.view().begin_with(&found.processes);
        let _signals = self.signals(Policy::EndRecording, &CommandEnd::default(), &started.session)?;
        ready(&found);
        started.running.wait().map_err(|error| self.failure(error))
    }

    /// Starts a command, records it to its end, and gives its status.
    pub(crate) fn command(
        &self,
        path: &Path,
        command: Command,
        sinks: Vec<Box<dyn Sink>>,
    ) -> Result<(Outcome, ExitStatus), Failure> {
        let mut capture = self.load()?;
        let environment: Vec<_> =
            command.get_envs().map(|(name, value)| (name.to_owned(), value.map(ToOwned::to_owned))).collect();
        let candidates = candidates_of_command(path, |name| {
            environment
                .iter()
                .find(|(known, _)| known == name)
                .map_or_else(|| std::env::var_os(name), |(_, value)| value.clone())
        });
        let name = command.get_program().to_string_lossy().into_owned();
        let words = std::iter::once(command.get_program())
            .chain(command.get_args())
            .map(|word| word.to_string_lossy().into_owned());
        let words = self.plan.redacted_arguments(words.collect());
        let subject = Subject {
            scope: ScopeKind::Command,
            text: words.join(" "),
            kernel: Some(self.plan.kernel().memory()),
        };
        let held = HeldCommand::start(command).map_err(|error| self.failure(error))?;
        let pid = held.pid();
        capture.record_command(pid, &candidates).map_err(|error| self.failure(error))?;
        let stop = self.stop()?;
        let started = self.start(Box::new(capture), Origin::Kernel, subject, &stop, None, sinks)?;
        started.running.view().begin_with(&[pid]);
        let command_end = CommandEnd::default();
        let signals = self.signals(Policy::LeaveToCommand(pid), &command_end, &started.session)?;
        let child = match held.release() {
            Ok(child) => child,
            Err(error) => {
                stop.request();
                // What goes wrong with it now is of no interest beside the command that does not start.
                let _ = started.running.wait();
                return Err(command::not_started(&name, &error));
            }
        };
        let waiting = end_with(child, &stop, command_end);
        let outcome = started.running.wait().map_err(|error| self.failure(error))?;
        // The recording may have been ended by a signal or a closed pipe: the command still runs then, and its status is
        // still waited for, unless a signal asks again.
        let status = waiting
            .join()
            .map_err(|_| Failure::new(self.own_failure, "the thread that waits for the command panicked"))?
            .map_err(|error| Failure::new(self.own_failure, format!("waiting for the command: {error}")))?;
        drop(signals);
        Ok((outcome, status))
    }

    /// Runs a source that is not the kernel to its end, or until a signal comes. `scope` says what it is.
    pub(crate) fn source(
        &self,
        source: Box<dyn CaptureSource + Send>,
        origin: Origin,
        scope: &str,
        sinks: Vec<Box<dyn Sink>>,
    ) -> Result<Outcome, Failure> {
        let subject = Subject { scope: ScopeKind::Other, text: scope.to_owned(), kernel: None };
        let stop = self.stop()?;
        let started = self.start(source, origin, subject, &stop, None, sinks)?;
        let _signals = self.signals(Policy::EndRecording, &CommandEnd::default(), &started.session)?;
        started.running.wait().map_err(|error| self.failure(error))
    }

    /// Says what came of it.
    pub(crate) fn tell(&self, outcome: &Outcome, quiet: bool, destination: Option<&str>) {
        if quiet {
            for warning in warnings(outcome) {
                eprintln!("oisp-sensor: warning: {}", self.redactor.redact_text(&warning));
            }
            return;
        }
        for line in text(outcome, destination).lines() {
            eprintln!("oisp-sensor: {}", self.redactor.redact_text(line));
        }
    }

    fn start(
        &self,
        source: Box<dyn CaptureSource + Send>,
        origin: Origin,
        subject: Subject,
        stop: &Stop,
        watched: Option<ProcessId>,
        sinks: Vec<Box<dyn Sink>>,
    ) -> Result<Started, Failure> {
        self.start_claimed(source, origin, subject, stop, watched, sinks, None)
    }

    /// With a claim on a name the control socket must be there, or nothing is recorded.
    #[expect(clippy::too_many_arguments, reason = "what a recording is made of; most is moved on as it is")]
    fn start_claimed(
        &self,
        source: Box<dyn CaptureSource + Send>,
        origin: Origin,
        subject: Subject,
        stop: &Stop,
        watched: Option<ProcessId>,
        sinks: Vec<Box<dyn Sink>>,
        claim: Option<Claim>,
    ) -> Result<Started, Failure> {
        if let Some(conflict) = self.plan.conflict(subject.kernel) {
            return Err(Failure::new(MISUSED, conflict));
        }
        let budget = Arc::new(MemoryBudget::new(self.plan.buffers(subject.kernel)));
        let when_full = match origin {
            Origin::Kernel => WhenFull::Drop,
            Origin::Generator(when_full) => when_full,
            Origin::Recording { .. } => WhenFull::Wait,
        };
        let draining = Draining::new(self.plan.drain_timeout());
        let needs_probes = matches!(origin, Origin::Kernel);
        let (pipeline, tap) = self.pipeline(origin, &budget)?;
        let job = Job {
            source,
            when_full,
            pipeline,
            tap,
            sinks,
            stop: stop.clone(),
            watched,
            queues: self.plan.queues(),
            budget,
            draining: draining.clone(),
            needs_probes,
        };
        let running = runtime::start(job).map_err(|error| self.failure(error))?;
        let handles =
            Handles { view: running.view(), commands: running.commands(), stop: stop.clone(), draining };
        let session = Session::new(
            subject,
            handles,
            self.plan.clone(),
            self.configuration.clone(),
            self.flags.clone(),
            self.logging.clone(),
        );
        let presence = match claim {
            None => session.serve().map_or(Presence::None, |server| Presence::Served { _server: server }),
            Some(claim) => match session.serve_claimed(claim) {
                Ok(presence) => presence,
                Err(error) => {
                    stop.request();
                    // What goes wrong with it now is of no interest beside the recording that does not begin.
                    let _ = running.wait();
                    return Err(self.failure(error));
                }
            },
        };
        Ok(Started { running, session, _presence: presence })
    }

    fn pipeline(
        &self,
        origin: Origin,
        budget: &Arc<MemoryBudget>,
    ) -> Result<(Pipeline, Option<Box<dyn Tap>>), Failure> {
        // A raw recording has one clock from its beginning to its end.
        let follows_clock = matches!(origin, Origin::Kernel) && self.raw.is_none();
        let mut tap: Option<Box<dyn Tap>> = None;
        let (correlator, label) = match origin {
            Origin::Kernel => (self.correlator(HostLookup, None, &mut tap)?, None),
            Origin::Generator(_) => {
                let label = "generator";
                (self.correlator(NoLookup, Some(label), &mut tap)?, Some(label.to_owned()))
            }
            Origin::Recording { correlator, label } => (*correlator, label),
        };
        let selector = Selector::new(Selection::from(&self.plan.settings));
        let mut pipeline =
            Pipeline::new(correlator, selector, Arc::clone(&self.redactor), Arc::clone(budget));
        pipeline.set_limits(self.plan.limits(budget.limit()));
        if follows_clock {
            pipeline = pipeline.following_the_clock();
        }
        if let Some(label) = label {
            pipeline = pipeline.with_origin(label);
        }
        Ok((pipeline, tap))
    }

    /// The correlator of this host, with the raw recording of what it asks where one is wanted.
    fn correlator(
        &self,
        lookup: impl ProcessLookup + 'static,
        label: Option<&str>,
        tap: &mut Option<Box<dyn Tap>>,
    ) -> Result<Correlator, Failure> {
        let Some(path) = &self.raw else {
            let ids = EventIdGenerator::new();
            return Ok(Correlator::new(host_facts(), Clock::of_host(), Box::new(lookup), ids));
        };
        let more = label.map(|label| (LABEL.to_owned(), label.into())).into_iter().collect();
        let (recorder, correlator) =
            RawRecorder::create(path, false, more, lookup).map_err(|error| self.failure(error))?;
        eprintln!(
            "oisp-sensor: warning: {} will hold everything that is captured, keys and passwords among it: raw \
             recordings are not redacted",
            self.redactor.redact_text(&path.display().to_string())
        );
        *tap = Some(Box::new(RawTap::new(recorder)));
        Ok(correlator)
    }

    fn load(&self) -> Result<EbpfCapture, Failure> {
        EbpfCapture::load(&self.plan.kernel()).map_err(|error| self.not_loaded(error))
    }

    fn not_loaded(&self, error: LoadError) -> Failure {
        match error {
            LoadError::Requirement(_) => Failure::new(
                self.own_failure,
                format!("cannot record on this host\n{error}\n(see `oisp-sensor check`)"),
            ),
            _ => Failure::new(self.own_failure, error),
        }
    }

    fn stop(&self) -> Result<Stop, Failure> {
        Stop::new().map_err(|error| self.failure(error))
    }

    fn signals(
        &self,
        policy: Policy,
        command_end: &CommandEnd,
        session: &Arc<Session>,
    ) -> Result<SignalGuard, Failure> {
        let (session, ending) = (Arc::clone(session), Arc::clone(session));
        SignalGuard::install(
            policy,
            command_end.clone(),
            move || drop(session.reload()),
            move || ending.stop(),
        )
        .map_err(|error| self.failure(error))
    }

    fn failure(&self, error: impl std::fmt::Display) -> Failure {
        Failure::new(self.own_failure, error)
    }
}

fn begin_logging(settings: &Settings, redactor: &Arc<Redactor>, own_failure: u8) -> Result<Logging, Failure> {
    let redactor = Arc::clone(redactor);
    logging::install(logging::Settings {
        levels: config::levels(settings).map_err(|error| Failure::new(own_failure, error))?,
        format: match settings.log.format {
            oisp_config::LogFormat::Text => logging::Format::Text,
            oisp_config::LogFormat::Json => logging::Format::Json,
        },
        redact: Arc::new(move |text| redactor.redact_text(text).into_owned()),
        limit: logging::Limit::default(),
    })
    .map_err(|error| Failure::new(own_failure, error))
}

/// The command's status as a shell gives it.
fn exit_code(status: ExitStatus) -> ExitCode {
    use std::os::unix::process::ExitStatusExt as _;
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX))
}
