//! The processes that events can come from, with their ancestors.

use std::collections::HashMap;
use std::path::Path;

use oisp_capture::{MonotonicNanos, ProcessExited, ProcessForked, ProcessId, ProcessStarted};
use oisp_event::{Actor, ParentProcess, Process};

use crate::Clock;
use crate::lookup::{ProcessFacts, ProcessLookup};

/// Ancestors on an event; deeper trees are cut.
const MAX_ANCESTORS: usize = 16;
/// Processes that are remembered. When there are more, those that have ended are forgotten.
const MAX_PROCESSES: usize = 16_384;

/// Knows processes by what capture told of them, and asks the host about the others.
pub struct ProcessTable {
    lookup: Box<dyn ProcessLookup>,
    known: HashMap<ProcessId, Entry>,
    users: HashMap<u32, Option<String>>,
}

#[derive(Clone, Debug, Default)]
struct Entry {
    facts: ProcessFacts,
    started: Option<MonotonicNanos>,
    ended: bool,
}

impl ProcessTable {
    /// An empty table.
    #[must_use]
    pub fn new(lookup: Box<dyn ProcessLookup>) -> Self {
        Self { lookup, known: HashMap::new(), users: HashMap::new() }
    }

    /// A program was started.
    pub fn started(&mut self, notice: &ProcessStarted) {
        self.remember(
            notice.process,
            Entry {
                facts: ProcessFacts {
                    parent: Some(notice.parent).filter(|parent| parent.0 != 0),
                    executable: Some(notice.executable.clone()),
                    arguments: notice.arguments.clone(),
                    working_directory: notice.working_directory.clone(),
                    user: Some((notice.uid, notice.gid)),
                    name: None,
                },
                started: Some(notice.time),
                ended: false,
            },
        );
    }

    /// A process made another, which is the same program until it starts its own.
    pub fn forked(&mut self, notice: ProcessForked) {
        let mut facts = self.entry(notice.parent).map(|entry| entry.facts.clone()).unwrap_or_default();
        facts.parent = Some(notice.parent);
        self.remember(notice.child, Entry { facts, started: Some(notice.time), ended: false });
    }

    /// A process ended; it is still known to events that come after. Gives how long its program ran, where its start
    /// was seen.
    pub fn exited(&mut self, notice: &ProcessExited) -> Option<u64> {
        let entry = self.known.get_mut(&notice.process)?;
        entry.ended = true;
        Some(notice.time.0.saturating_sub(entry.started?.0))
    }

    /// A process for an event.
    pub fn process(&mut self, process: ProcessId, clock: Clock) -> Process {
        let Some(entry) = self.entry(process).cloned() else {
            return Process { pid: process.0, ..Process::default() };
        };
        let ancestors = self.ancestors(entry.facts.parent);
        let facts = entry.facts;
        Process {
            pid: process.0,
            ppid: facts.parent.map(|parent| parent.0),
            exe: facts.executable.as_deref().map(text),
            name: name(&facts),
            cmdline: (!facts.arguments.is_empty()).then(|| quoted(&facts.arguments)),
            cwd: facts.working_directory.as_deref().map(text),
            start_time: entry.started.map(|time| clock.wall(time)),
            parent: ancestors.first().cloned(),
            ancestors,
            thread_id: None,
        }
    }

    /// The user that a process runs as.
    pub fn actor(&mut self, process: ProcessId) -> Option<Actor> {
        let (uid, gid) = self.entry(process)?.facts.user?;
        let lookup = &self.lookup;
        let user = self.users.entry(uid).or_insert_with(|| lookup.user_name(uid)).clone();
        Some(Actor { uid: Some(uid), gid: Some(gid), user })
    }

    /// The ancestors of a process, the nearest first.
    pub(crate) fn line_of(&mut self, process: ProcessId) -> Vec<ProcessId> {
        let mut line = Vec::new();
        let mut next = self.entry(process).and_then(|entry| entry.facts.parent);
        while let Some(parent) = next
            && line.len() < MAX_ANCESTORS
            && !line.contains(&parent)
        {
            line.push(parent);
            next = self.entry(parent).and_then(|entry| entry.facts.parent);
        }
        line
    }

    fn ancestors(&mut self, mut next: Option<ProcessId>) -> Vec<ParentProcess> {
        let mut ancestors: Vec<ParentProcess> = Vec::new();
        while let Some(process) = next
            && ancestors.len() < MAX_ANCESTORS
            // A recording may name processes in a circle.
            && !ancestors.iter().any(|ancestor| ancestor.pid == process.0)
        {
            let facts = self.entry(process).map(|entry| entry.facts.clone()).unwrap_or_default();
            ancestors.push(ParentProcess {
                pid: process.0,
                exe: facts.executable.as_deref().map(text),
                name: name(&facts),
            });
            next = facts.parent;
        }
        ancestors
    }

    fn entry(&mut self, process: ProcessId) -> Option<&Entry> {
        if !self.known.contains_key(&process) {
            let facts = self.lookup.process(process)?;
            self.remember(process, Entry { facts, started: None, ended: false });
        }
        self.known.get(&process)
    }

    fn remember(&mut self, process: ProcessId, entry: Entry) {
        if self.known.len() >= MAX_PROCESSES {
            self.known.retain(|_, entry| !entry.ended);
            if self.known.len() >= MAX_PROCESSES {
                // All alive: they can be asked about again.
                self.known.clear();
            }
        }
        self.known.insert(process, entry);
    }
}

fn name(facts: &ProcessFacts) -> Option<String> {
    facts
        .executable
        .as_deref()
        .and_then(Path::file_name)
        .map(|name| name.to_string_lossy().into_owned())
        .or_else(|| facts.name.clone())
}

/// As a shell would read it, so that an argument with blanks stays one.
fn quoted(arguments: &[String]) -> String {
    // The only error is a zero byte in an argument, which the kernel does not allow; a recording may have one.
    shlex::try_join(arguments.iter().map(String::as_str)).unwrap_or_else(|_| arguments.join(" "))
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::NoLookup;
    use oisp_capture::{Nanos, WaitStatus};

    fn started(process: u32, parent: u32, executable: &str) -> ProcessStarted {
        ProcessStarted {
            process: ProcessId(process),
            parent: ProcessId(parent),
            uid: 1000,
            gid: 100,
            filename: executable.into(),
            executable: executable.into(),
            arguments: vec![executable.to_owned(), "--flag value".to_owned()],
            arguments_truncated: false,
            working_directory: Some("/work place".into()),
            time: Nanos(1_000_000),
        }
    }

    #[test]
    fn process_has_its_ancestors_nearest_first() {
        let mut table = ProcessTable::new(Box::new(NoLookup));
        table.started(&started(10, 1, "/usr/bin/agent"));
        table.started(&started(11, 10, "/bin/sh"));
        table.forked(ProcessForked { parent: ProcessId(11), child: ProcessId(12), time: Nanos(2) });
        let process = table.process(ProcessId(12), Clock::with_difference(0));
        assert_eq!((process.pid, process.ppid), (12, Some(11)));
        assert_eq!(process.name.as_deref(), Some("sh"));
        assert_eq!(process.cmdline.as_deref(), Some("/bin/sh '--flag value'"));
        let ids: Vec<u32> = process.ancestors.iter().map(|ancestor| ancestor.pid).collect();
        assert_eq!(ids, [11, 10, 1]);
        assert_eq!(process.parent.and_then(|parent| parent.exe).as_deref(), Some("/bin/sh"));
        assert_eq!(table.actor(ProcessId(12)).and_then(|actor| actor.uid), Some(1000));
    }

    #[test]
    fn ended_process_is_still_known_to_late_events() {
        let mut table = ProcessTable::new(Box::new(NoLookup));
        table.started(&started(10, 1, "/usr/bin/agent"));
        let exited = ProcessExited { process: ProcessId(10), status: WaitStatus(0), time: Nanos(5_000_000) };
        assert_eq!(table.exited(&exited), Some(4_000_000));
        assert_eq!(table.process(ProcessId(10), Clock::with_difference(0)).name.as_deref(), Some("agent"));
    }

    #[test]
    fn parents_in_a_circle_end() {
        let mut table = ProcessTable::new(Box::new(NoLookup));
        table.started(&started(10, 11, "/a"));
        table.started(&started(11, 10, "/b"));
        assert_eq!(table.process(ProcessId(10), Clock::with_difference(0)).ancestors.len(), 2);
    }

    #[test]
    fn unknown_process_has_its_id_and_nothing_invented() {
        let mut table = ProcessTable::new(Box::new(NoLookup));
        let process = table.process(ProcessId(77), Clock::with_difference(0));
        assert_eq!(process, Process { pid: 77, ..Process::default() });
        assert_eq!(table.actor(ProcessId(77)), None);
    }

    #[test]
    fn table_stays_bounded_under_many_processes() {
        let mut table = ProcessTable::new(Box::new(NoLookup));
        for id in 0..100_000 {
            table.started(&started(id, 0, "/bin/true"));
            table.exited(&ProcessExited { process: ProcessId(id), status: WaitStatus(0), time: Nanos(9) });
        }
        assert!(table.known.len() <= MAX_PROCESSES);
    }
}
