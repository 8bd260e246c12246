//! A recording as its user deals with it while it runs: the control socket, the signals, reloading.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use jiff::Timestamp;
use oisp_capture::{Stop, monotonic_now};
use oisp_capture_ebpf::KernelMemory;
use oisp_config::{Configuration, Flags, Key, Settings};
use oisp_control::{
    Attached, Claim, ClaimError, ConfigurationState, Controlled, Coverage, CpuMeter, Finding, Memory,
    ProcessEntry, Processes, Queue, ReloadReport, STATUS_VERSION, Scope, ScopeKind, SensorName, Server,
    ServerError, Sink, Stage, Status, default_directory, resident,
};
use oisp_redact::Redactor;

use crate::config;
use crate::logging::Logging;
use crate::plan::Plan;
use crate::runtime::{Command, Described, Draining, DropReason, Holder, View};
use crate::summary::{describe, describe_proof};

/// How long the stages may take to describe themselves; busier ones are told without.
const PATIENCE: Duration = Duration::from_millis(500);

/// What a recording is, for [`Session::open`].
pub(crate) struct Subject {
    pub(crate) scope: ScopeKind,
    /// What is recorded, for people.
    pub(crate) text: String,
    /// What the kernel holds for it, if it does.
    pub(crate) kernel: Option<KernelMemory>,
}

/// How other sensors and clients know of a recording, until it is dropped.
pub(crate) enum Presence {
    /// They do not.
    None,
    /// By its name alone, which is held.
    Claimed { _claim: Claim },
    /// It answers on its control socket.
    Served { _server: Server },
}

/// Takes the name that only one sensor of the whole host has. Also where nobody answers on it: two would read the same
/// bytes twice, and every process would pay twice.
pub(crate) fn claim_host(settings: &Settings) -> Result<Claim, HostClaimError> {
    let directory =
        settings.control.directory.clone().or_else(default_directory).ok_or(HostClaimError::NoDirectory)?;
    Ok(Claim::take(&directory, &SensorName::host())?)
}

/// Why this cannot be the one sensor of the whole host.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HostClaimError {
    /// Another has the name, or it cannot be had.
    #[error(transparent)]
    Claim(#[from] ClaimError),
    /// Nothing says where names are taken.
    #[error(
        "no directory is known in which the one host-wide sensor of this host can be told from a second: run as root, set \
         XDG_RUNTIME_DIR, or set control.directory"
    )]
    NoDirectory,
}

/// A running recording, from outside.
pub(crate) struct Session {
    subject: Subject,
    flags: Flags,
    view: Arc<View>,
    commands: Sender<Command>,
    stop: Stop,
    draining: Draining,
    logging: Logging,
    started: Timestamp,
    since: Instant,
    cpu: CpuMeter,
    state: Mutex<State>,
}

/// What reloading changes.
struct State {
    plan: Plan,
    configuration: Configuration,
    redactor: Arc<Redactor>,
    loaded: Timestamp,
    problem: Option<String>,
}

/// What a session needs of the recording that runs.
pub(crate) struct Handles {
    pub(crate) view: Arc<View>,
    pub(crate) commands: Sender<Command>,
    pub(crate) stop: Stop,
    pub(crate) draining: Draining,
}

impl Session {
    pub(crate) fn new(
        subject: Subject,
        handles: Handles,
        plan: Plan,
        configuration: Configuration,
        flags: Flags,
        logging: Logging,
    ) -> Arc<Self> {
        let Handles { view, commands, stop, draining } = handles;
        let redactor = Arc::new(plan.redactor());
        let loaded = Timestamp::now();
        Arc::new(Self {
            subject,
            flags,
            view,
            commands,
            stop,
            draining,
            logging,
            started: loaded,
            since: Instant::now(),
            cpu: CpuMeter::start(),
            state: Mutex::new(State { plan, configuration, redactor, loaded, problem: None }),
        })
    }

    /// Answers on the control socket, where the configuration wants one.
    ///
    /// A recording that was asked for by name goes on without one, with a warning.
    pub(crate) fn serve(self: &Arc<Self>) -> Option<Server> {
        let settings = self.state().plan.settings.clone();
        if !settings.control.enabled {
            return None;
        }
        let directory = settings.control.directory.or_else(default_directory)?;
        let name = self.name();
        match Server::start(&directory, &name, Arc::clone(self) as Arc<dyn Controlled>) {
            Ok(server) => Some(server),
            Err(error) => {
                let error = error.to_string();
                let text = self.state().redactor.redact_text(&error).into_owned();
                tracing::warn!("`oisp-sensor status` will not find this recording: {text}");
                None
            }
        }
    }

    /// Answers on the control socket under a name that is held already, where the configuration wants it.
    ///
    /// # Errors
    /// The socket cannot be made: who asked for the one sensor of the whole host must find it.
    pub(crate) fn serve_claimed(self: &Arc<Self>, claim: Claim) -> Result<Presence, ServerError> {
        if !self.state().plan.settings.control.enabled {
            return Ok(Presence::Claimed { _claim: claim });
        }
        let server = Server::start_claimed(claim, Arc::clone(self) as Arc<dyn Controlled>)?;
        Ok(Presence::Served { _server: server })
    }

    fn name(&self) -> SensorName {
        match self.subject.scope {
            ScopeKind::Host => SensorName::host(),
            _ => SensorName::of_recording(std::process::id()),
        }
    }

    /// Reads the configuration again, from the same places, and changes what can change.
    pub(crate) fn reload(&self) -> ReloadReport {
        let environment = std::env::vars_os().collect();
        let result = oisp_config::load(&self.flags, environment);
        let mut state = self.state();
        state.loaded = Timestamp::now();
        let report = match result {
            Ok(new) => {
                state.problem = None;
                self.apply(&mut state, new)
            }
            Err(problems) => {
                let problems: Vec<String> = problems
                    .all()
                    .iter()
                    .map(|problem| state.redactor.redact_text(&problem.to_string()).into_owned())
                    .collect();
                state.problem = Some(problems.join("; "));
                let file = file_of(&state.configuration, &state.redactor);
                ReloadReport { file, problems, ..ReloadReport::default() }
            }
        };
        drop(state);
        log(&report);
        report
    }

    fn apply(&self, state: &mut State, new: Configuration) -> ReloadReport {
        let before = state.plan.settings.clone();
        if let Some(conflict) = state.plan.with(before.reloaded(&new.settings)).conflict(self.subject.kernel)
        {
            state.problem = Some(conflict.clone());
            let file = file_of(&new, &state.redactor);
            return ReloadReport { file, problems: vec![conflict], ..ReloadReport::default() };
        }
        let changes = before.changes(&new.settings);
        let shown = |key: &&'static Key| {
            let (old, new) = (key.value(&before), key.value(&new.settings));
            state.redactor.redact_text(&format!("{}: {old} -> {new}", key.path)).into_owned()
        };
        let changed: Vec<String> = changes.live.iter().map(shown).collect();
        let needs_restart = changes.restart.iter().map(shown).collect();
        if !changes.live.is_empty() {
            state.plan = state.plan.with(before.reloaded(&new.settings));
            let buffers = state.plan.buffers(self.subject.kernel);
            self.view.budget.set_limit(buffers);
            self.draining.set_timeout(state.plan.drain_timeout());
            let live = state.plan.live(buffers);
            state.redactor = Arc::clone(&live.redactor);
            match config::levels(&state.plan.settings) {
                Ok(levels) => {
                    if let Err(error) = self.logging.set_levels(&levels) {
                        tracing::error!("{error}");
                    }
                }
                Err(error) => tracing::error!("{error}"),
            }
            if self.commands.try_send(Command::Apply(Box::new(live))).is_err() {
                // They are stuck, or the recording has just ended.
                tracing::error!("the stages take no new settings: reload again");
            }
        }
        let file = file_of(&new, &state.redactor);
        state.configuration = new;
        ReloadReport { file, applied: true, changed, needs_restart, problems: Vec::new() }
    }

    fn describe(&self) -> Option<Described> {
        let (sender, receiver) = crossbeam_channel::bounded(1);
        self.commands.try_send(Command::Describe(sender)).ok()?;
        receiver.recv_timeout(PATIENCE).ok()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Controlled for Session {
    fn status(&self) -> Status {
        let described = self.describe();
        let state = self.state();
        let redacted = |text: &str| state.redactor.redact_text(text).into_owned();
        let memory = self.memory();
        Status {
            status_version: STATUS_VERSION,
            name: self.name().to_string(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            started: Some(self.started),
            uptime_seconds: self.since.elapsed().as_secs(),
            log_level: Some(state.plan.settings.log.level.to_string()),
            scope: Some(Scope { kind: self.subject.scope, text: redacted(&self.subject.text) }),
            configuration: Some(ConfigurationState {
                file: file_of(&state.configuration, &state.redactor),
                loaded: Some(state.loaded),
                problem: state.problem.clone(),
            }),
            attached: self
                .view
                .attached()
                .into_iter()
                .map(|file| Attached {
                    proof: self
                        .view
                        .proof(&file.path)
                        .map(|proof| describe_proof(proof.sent, proof.received).to_owned()),
                    path: redacted(&file.path.to_string_lossy()),
                    libraries: file.libraries,
                    functions: file.functions,
                    processes: None,
                })
                .collect(),
            processes: Some(self.processes(described.as_ref(), &state.redactor)),
            coverage: self.coverage(&state.redactor),
            stages: self.view.all_stages().map(stage).collect(),
            queues: self
                .view
                .queues()
                .map(|queue| Queue {
                    name: queue.name().to_owned(),
                    capacity: queue.capacity() as u64,
                    length: queue.length() as u64,
                    high_water: queue.high_water() as u64,
                })
                .collect(),
            kernel_losses: losses(&self.view),
            memory: Some(memory),
            cpu: self.cpu.sample().ok(),
            connections_open: described.map(|described| described.open_connections as u64),
            sinks: self.sinks(&state),
            last_errors: self.logging.last_errors(),
            omitted: BTreeMap::new(),
        }
    }

    fn stop(&self) {
        self.draining.ask();
        self.stop.request();
    }

    fn reload(&self) -> ReloadReport {
        Session::reload(self)
    }
}

impl Session {
    fn memory(&self) -> Memory {
        let budget = &self.view.budget;
        let mut memory = Memory {
            limit_bytes: Some(budget.limit() as u64),
            buffers_high_water_bytes: Some(budget.highest() as u64),
            buffers: Holder::ALL
                .into_iter()
                .map(|holder| (holder.name().to_owned(), budget.used_by(holder) as u64))
                .collect(),
            kernel: self.subject.kernel.map_or_else(BTreeMap::new, |kernel| {
                let bytes = |name: &str, bytes: usize| (name.to_owned(), bytes as u64);
                BTreeMap::from([bytes("ring", kernel.ring), bytes("tables", kernel.tables)])
            }),
            ..Memory::default()
        };
        // Without /proc the figures stay absent.
        if let Ok(resident) = resident() {
            resident.fill(&mut memory);
        }
        memory
    }

    fn processes(&self, described: Option<&Described>, redactor: &Redactor) -> Processes {
        let names: BTreeMap<u32, &str> = described
            .into_iter()
            .flat_map(|described| &described.processes)
            .filter_map(|(pid, name)| Some((*pid, name.as_deref()?)))
            .collect();
        let ids = self.view.processes();
        let entry = |pid: &u32| ProcessEntry {
            pid: *pid,
            name: names.get(pid).map(|name| redactor.redact_text(name).into_owned()),
        };
        Processes { count: ids.len() as u64, first: ids.iter().take(50).map(entry).collect() }
    }

    fn coverage(&self, redactor: &Redactor) -> Coverage {
        let findings = self.view.findings();
        let (now, monotonic) = (Timestamp::now(), monotonic_now());
        let recent = findings.recent.iter().map(|finding| {
            let age = Duration::from_nanos(monotonic.0.saturating_sub(finding.time.0));
            Finding {
                time: now.checked_sub(age).unwrap_or(now),
                text: redactor.redact_text(&describe(finding)).into_owned(),
            }
        });
        Coverage {
            recent: recent.collect(),
            counts: findings.counts.iter().map(|(kind, count)| ((*kind).to_owned(), *count)).collect(),
        }
    }

    fn sinks(&self, state: &State) -> Vec<Sink> {
        let destination = state.plan.settings.output.display().to_string();
        let destination = state.redactor.redact_text(&destination);
        self.view
            .sinks
            .iter()
            .map(|(counters, queue)| {
                let snapshot = counters.snapshot();
                Sink {
                    name: match queue.name() {
                        "jsonl" => format!("jsonl {destination}"),
                        other => other.to_owned(),
                    },
                    written: snapshot.sent,
                    refused: snapshot.dropped_in_all(),
                    error: counters.last_error().map(|error| state.redactor.redact_text(&error).into_owned()),
                }
            })
            .collect()
    }
}

fn stage(counters: &crate::runtime::StageCounters) -> Stage {
    let snapshot = counters.snapshot();
    let dropped = |(reason, count): (&DropReason, &u64)| (reason.name().to_owned(), *count);
    Stage {
        name: counters.name().to_owned(),
        received: snapshot.received,
        sent: snapshot.sent,
        dropped: snapshot.dropped.iter().map(dropped).collect(),
        errors: snapshot.errors,
    }
}

fn losses(view: &View) -> BTreeMap<String, u64> {
    let losses = view.losses();
    [
        ("ring_full_records", losses.ring_full_records),
        ("ring_full_bytes", losses.ring_full_bytes),
        ("unreadable_bytes", losses.unreadable_bytes),
        ("over_limit_bytes", losses.over_limit_bytes),
        ("calls", losses.calls),
        ("processes", losses.processes),
        ("lifecycle_records", losses.lifecycle_records),
        ("malformed_records", losses.malformed_records),
    ]
    .into_iter()
    .filter(|(_, count)| *count > 0)
    .map(|(name, count)| (name.to_owned(), count))
    .collect()
}

fn file_of(configuration: &Configuration, redactor: &Redactor) -> Option<String> {
    let file = configuration.file.as_ref()?;
    Some(redactor.redact_text(&file.to_string_lossy()).into_owned())
}

fn log(report: &ReloadReport) {
    let file = report.file.as_deref().unwrap_or("no file");
    for problem in &report.problems {
        tracing::error!("configuration not reloaded: {problem}");
    }
    if report.applied {
        tracing::info!("configuration reloaded ({file}): {} changed", report.changed.len());
        for key in &report.needs_restart {
            tracing::warn!("takes effect when the sensor is started again: {key}");
        }
    }
}
