//! What a sensor says of itself.
//!
//! Every text in here goes to people's terminals and into their files: it must be redacted before it is put in
//! (`Redactor::redact_text` of `oisp-redact`), because names of files, commands and processes may hold secrets. Counts,
//! names of stages and reasons are the sensor's own words.
//!
//! A value that is not known is an absent key. Keys are only added within a version, so a reader ignores those that it
//! does not know.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The version of [`Status`]: changes when a key changes its meaning or goes away.
pub const STATUS_VERSION: u32 = 1;
/// Bytes of one text; longer ones are cut and end in `…`.
pub const MAX_TEXT: usize = 512;
/// Bytes of a name that is the sensor's own word: of a reason, a stage, a function.
const MAX_WORD: usize = 64;
/// Entries of a list, unless it has a limit of its own.
const MAX_ENTRIES: usize = 32;
const MAX_ATTACHED: usize = 100;
const MAX_PROCESSES: usize = 50;
const MAX_RECENT: usize = 20;

/// A running sensor.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    /// [`STATUS_VERSION`].
    pub status_version: u32,
    /// The sensor's name, which is also its socket's.
    pub name: String,
    /// The sensor's version.
    pub version: String,
    /// Its process id.
    pub pid: u32,
    /// When it started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started: Option<Timestamp>,
    /// Seconds since it started, by a clock that does not jump.
    pub uptime_seconds: u64,
    /// Which log lines it writes, for example `info,oisp_capture_ebpf=debug`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_level: Option<String>,
    /// What it records.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<Scope>,
    /// Its configuration, and how reading it went.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub configuration: Option<ConfigurationState>,
    /// Files that are probed: at most 100.
    pub attached: Vec<Attached>,
    /// Processes in scope now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub processes: Option<Processes>,
    /// What it knows that it does not see.
    pub coverage: Coverage,
    /// The stages, in the order in which data passes them.
    pub stages: Vec<Stage>,
    /// The queues between them.
    pub queues: Vec<Queue>,
    /// What the kernel's side lost, by reason; which unit it counts is part of the reason (`ring_full_bytes`).
    pub kernel_losses: BTreeMap<String, u64>,
    /// Memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<Memory>,
    /// Time of the CPU.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<Cpu>,
    /// Connections that are followed now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connections_open: Option<u64>,
    /// Where events go.
    pub sinks: Vec<Sink>,
    /// The last warnings and errors of the log, oldest first: at most 20.
    pub last_errors: Vec<ErrorLine>,
    /// Entries that the limits on lists left out, by the list's name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub omitted: BTreeMap<String, u64>,
}

/// What a sensor records.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scope {
    /// The kind.
    pub kind: ScopeKind,
    /// For people, redacted: `python3 agent.py`, `process 4711 and its descendants`, `the whole host`.
    pub text: String,
}

/// The kinds of scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScopeKind {
    /// A command that the sensor started.
    Command,
    /// A running process and its descendants.
    Process,
    /// The whole host.
    Host,
    /// Something else: the text says what.
    #[serde(other)]
    Other,
}

/// The configuration of a sensor.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ConfigurationState {
    /// The file; absent: defaults and arguments only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// When it was last read, whether that went well or not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loaded: Option<Timestamp>,
    /// Why the last reading was refused; absent: it went well. What was in force before stays in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// A probed file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Attached {
    /// Its path, redacted.
    pub path: String,
    /// The TLS libraries in it.
    pub libraries: Vec<String>,
    /// The functions that are probed.
    pub functions: Vec<String>,
    /// Processes that use it, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub processes: Option<u64>,
    /// What is proven of it by what went through it, where that can be known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proof: Option<String>,
}

/// Processes in scope.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Processes {
    /// How many.
    pub count: u64,
    /// Some of them: at most 50.
    pub first: Vec<ProcessEntry>,
}

/// A process in scope.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProcessEntry {
    /// Process id.
    pub pid: u32,
    /// The program's name, redacted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// What is known not to be seen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Coverage {
    /// Findings by kind, since the start.
    pub counts: BTreeMap<String, u64>,
    /// The last ones, oldest first: at most 20.
    pub recent: Vec<Finding>,
}

/// A coverage finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// When.
    pub time: Timestamp,
    /// What is not seen and why, redacted.
    pub text: String,
}

/// A stage of the pipeline; all counts since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Stage {
    /// Its name: `capture`, `decode`, …
    pub name: String,
    /// What it was given.
    pub received: u64,
    /// What it gave on.
    pub sent: u64,
    /// What it did not give on, by reason.
    pub dropped: BTreeMap<String, u64>,
    /// What went wrong.
    pub errors: u64,
}

/// A queue between two stages.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Queue {
    /// Its name.
    pub name: String,
    /// Entries it can hold.
    pub capacity: u64,
    /// Entries in it now.
    pub length: u64,
    /// The most it ever held.
    pub high_water: u64,
}

/// Memory, in bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Memory {
    /// The bound on all buffers together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit_bytes: Option<u64>,
    /// The most bytes that were ever in buffers together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub buffers_high_water_bytes: Option<u64>,
    /// Bytes in buffers, by what they are for.
    pub buffers: BTreeMap<String, u64>,
    /// The process's own memory that is resident (`RssAnon`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resident_anonymous_bytes: Option<u64>,
    /// Resident pages of mapped files (`RssFile`): the kernel counts the pages of its rings here, twice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resident_file_bytes: Option<u64>,
    /// Resident shared memory (`RssShmem`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resident_shared_bytes: Option<u64>,
    /// Memory of the kernel's side, by map; the ring's is `ring`.
    pub kernel: BTreeMap<String, u64>,
}

/// Time of the CPU; percentages are of one core.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Cpu {
    /// Seconds in user mode since the start.
    pub user_seconds: f64,
    /// Seconds in the kernel since the start. What a probe costs is not in here: it runs in the probed process.
    pub system_seconds: f64,
    /// Of the time since the start.
    pub percent_since_start: f64,
    /// Of the last interval.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub percent_recently: Option<f64>,
    /// The interval's length.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval_seconds: Option<f64>,
}

/// Where events go.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sink {
    /// What and where, redacted: `jsonl /var/log/events.jsonl`.
    pub name: String,
    /// Events it has taken.
    pub written: u64,
    /// Events it has not.
    pub refused: u64,
    /// The last error, redacted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A warning or an error of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorLine {
    /// When.
    pub time: Timestamp,
    /// `warn` or `error`.
    pub level: String,
    /// What, redacted.
    pub text: String,
}

/// What reloading the configuration did; texts are redacted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ReloadReport {
    /// The file that was read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Whether what was read is in force now. With problems it is not, and all stays as it was.
    pub applied: bool,
    /// What is different from before and in force: `redaction.mode: safe -> minimal`.
    pub changed: Vec<String>,
    /// What is different in the file but in force only after a restart.
    pub needs_restart: Vec<String>,
    /// What is wrong with the file.
    pub problems: Vec<String>,
}

impl Status {
    /// Cuts lists and texts to their limits and counts what was cut, so that an answer is bounded whatever is put in.
    /// The server does this to every status.
    pub fn bound(&mut self) {
        let mut omitted = std::mem::take(&mut self.omitted);
        let mut left_out = |list: &str, count: usize| {
            if count > 0 {
                *omitted.entry(list.to_owned()).or_default() += count as u64;
            }
        };
        left_out("attached", keep_first(&mut self.attached, MAX_ATTACHED));
        if let Some(processes) = &mut self.processes {
            left_out("processes", keep_first(&mut processes.first, MAX_PROCESSES));
        }
        left_out("coverage.recent", keep_last(&mut self.coverage.recent, MAX_RECENT));
        left_out("coverage.counts", keep_keys(&mut self.coverage.counts));
        left_out("stages", keep_first(&mut self.stages, MAX_ENTRIES));
        for stage in &mut self.stages {
            left_out("stages.dropped", keep_keys(&mut stage.dropped));
        }
        left_out("queues", keep_first(&mut self.queues, MAX_ENTRIES));
        left_out("kernel_losses", keep_keys(&mut self.kernel_losses));
        if let Some(memory) = &mut self.memory {
            left_out("memory.buffers", keep_keys(&mut memory.buffers));
            left_out("memory.kernel", keep_keys(&mut memory.kernel));
        }
        left_out("sinks", keep_first(&mut self.sinks, MAX_ENTRIES));
        left_out("last_errors", keep_last(&mut self.last_errors, MAX_RECENT));
        for file in &mut self.attached {
            left_out("attached.libraries", keep_first(&mut file.libraries, 4));
            left_out("attached.functions", keep_first(&mut file.functions, 16));
        }
        self.omitted = omitted;
        self.cut_texts();
    }

    fn cut_texts(&mut self) {
        let word = |text: &mut String| cut(text, MAX_WORD);
        let text = |text: &mut String| cut(text, MAX_TEXT);
        word(&mut self.name);
        word(&mut self.version);
        self.log_level.iter_mut().for_each(text);
        self.scope.iter_mut().for_each(|scope| text(&mut scope.text));
        if let Some(configuration) = &mut self.configuration {
            configuration.file.iter_mut().chain(&mut configuration.problem).for_each(text);
        }
        for file in &mut self.attached {
            text(&mut file.path);
            file.proof.iter_mut().for_each(word);
            file.libraries.iter_mut().chain(&mut file.functions).for_each(word);
        }
        for process in self.processes.iter_mut().flat_map(|processes| &mut processes.first) {
            process.name.iter_mut().for_each(text);
        }
        self.coverage.recent.iter_mut().for_each(|finding| text(&mut finding.text));
        self.stages.iter_mut().for_each(|stage| word(&mut stage.name));
        self.queues.iter_mut().for_each(|queue| word(&mut queue.name));
        for sink in &mut self.sinks {
            text(&mut sink.name);
            sink.error.iter_mut().for_each(text);
        }
        for line in &mut self.last_errors {
            word(&mut line.level);
            text(&mut line.text);
        }
    }
}

impl ReloadReport {
    /// Cuts lists and texts to their limits. The server does this to every report.
    pub fn bound(&mut self) {
        for list in [&mut self.changed, &mut self.needs_restart, &mut self.problems] {
            let left_out = keep_first(list, MAX_ENTRIES);
            list.iter_mut().for_each(|text| cut(text, MAX_TEXT));
            if left_out > 0 {
                list.push(format!("… and {left_out} more"));
            }
        }
        self.file.iter_mut().for_each(|text| cut(text, MAX_TEXT));
    }
}

fn keep_first<T>(list: &mut Vec<T>, limit: usize) -> usize {
    let left_out = list.len().saturating_sub(limit);
    list.truncate(limit);
    left_out
}

fn keep_last<T>(list: &mut Vec<T>, limit: usize) -> usize {
    let left_out = list.len().saturating_sub(limit);
    list.drain(..left_out);
    left_out
}

fn keep_keys(map: &mut BTreeMap<String, u64>) -> usize {
    let left_out = map.len().saturating_sub(MAX_ENTRIES);
    while map.len() > MAX_ENTRIES {
        map.pop_last();
    }
    for (mut key, value) in std::mem::take(map) {
        cut(&mut key, MAX_WORD);
        // Two that are the same when cut are counted together.
        *map.entry(key).or_default() += value;
    }
    left_out
}

/// Cuts a text, and takes out what could do something to a terminal: names of files and processes may hold anything.
fn cut(text: &mut String, limit: usize) {
    const MARK: &str = "…";
    if text.contains(char::is_control) {
        *text = text.replace(char::is_control, "\u{fffd}");
    }
    if text.len() > limit {
        text.truncate(text.floor_char_boundary(limit - MARK.len()));
        text.push_str(MARK);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::answer_line;

    fn flood(character: char) -> Status {
        let text = || character.to_string().repeat(2 * MAX_TEXT);
        let some = || Some(text());
        let time = Timestamp::UNIX_EPOCH;
        let map = || (0..200).map(|n| (format!("{n}{}", text()), n)).collect::<BTreeMap<_, _>>();
        let attached = Attached {
            path: text(),
            libraries: vec![text(); 8],
            functions: vec![text(); 20],
            processes: None,
            proof: some(),
        };
        let stage = Stage { name: text(), dropped: map(), ..Stage::default() };
        Status {
            name: text(),
            log_level: some(),
            configuration: Some(ConfigurationState { file: some(), loaded: None, problem: some() }),
            attached: vec![attached; 150],
            processes: Some(Processes {
                count: 9999,
                first: vec![ProcessEntry { pid: 1, name: some() }; 1000],
            }),
            coverage: Coverage { counts: map(), recent: vec![Finding { time, text: text() }; 1000] },
            stages: vec![stage; 40],
            queues: vec![Queue { name: text(), ..Queue::default() }; 100],
            kernel_losses: map(),
            memory: Some(Memory { buffers: map(), kernel: map(), ..Memory::default() }),
            sinks: vec![Sink { name: text(), error: some(), ..Sink::default() }; 100],
            last_errors: (0..100)
                .map(|n| ErrorLine { time, level: text(), text: format!("{n} {}", text()) })
                .collect(),
            ..Status::default()
        }
    }

    #[test]
    fn whatever_is_put_in_the_answer_stays_within_its_limit_and_counts_what_it_left_out() {
        for character in ['\u{1b}', '"', 'ä', 'x'] {
            let mut status = flood(character);
            status.bound();
            let line = answer_line(Ok(&status));
            assert!(line.starts_with(b"{\"version\":1,\"ok\":"), "{character:?}: {}", line.len());
            assert_eq!(status.omitted["attached"], 50);
            assert_eq!(status.omitted["processes"], 950);
            assert_eq!(status.processes.as_ref().map(|processes| processes.count), Some(9999));
            assert!(status.last_errors.last().is_some_and(|line| line.text.starts_with("99 ")));
            let again = status.clone();
            status.bound();
            assert_eq!(status, again);
        }
    }

    #[test]
    fn nothing_in_an_answer_controls_a_terminal() {
        let mut status = flood('\u{9b}');
        status.bound();
        let text = serde_json::to_value(&status).unwrap().to_string();
        assert!(!text.contains(char::is_control) && !text.contains("\\u00"), "{text}");
    }

    #[test]
    fn unknown_is_an_absent_key_and_an_absent_key_is_unknown() {
        let json = serde_json::to_value(Status::default()).unwrap();
        for key in ["started", "memory", "cpu", "scope", "configuration", "connections_open", "omitted"] {
            assert!(json.get(key).is_none(), "{key}");
        }
        let read: Status = serde_json::from_str(r#"{"name":"host","key_of_a_newer_one":[1]}"#).unwrap();
        assert_eq!(read, Status { name: "host".into(), ..Status::default() });
    }

    #[test]
    fn text_is_cut_between_characters() {
        let mut text = "ä".repeat(MAX_TEXT);
        cut(&mut text, MAX_TEXT);
        assert!(text.len() <= MAX_TEXT && text.ends_with("ä…"));
    }
}
