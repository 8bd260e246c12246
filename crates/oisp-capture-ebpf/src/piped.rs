//! Programs that were started with pipes of their own as standard input and output, as Python starts tool servers: where
//! pipes are not followed, what goes over these is not seen, and it shall not be missed without a word.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::PathBuf;

use oisp_capture::{MonotonicNanos, ProcessId, ProcessStarted};

/// Filters and commands whose output is read are over sooner; a tool server stays.
const STAYS: u64 = 1_000_000_000;
/// Programs that run, and programs that were told.
const MOST: usize = 1024;

/// The programs with such pipes that run, and those that were told.
#[derive(Debug, Default)]
pub(crate) struct PipedPrograms {
    running: BTreeMap<ProcessId, Running>,
    told: HashSet<PathBuf>,
}

#[derive(Debug)]
struct Running {
    program: PathBuf,
    since: MonotonicNanos,
}

impl PipedPrograms {
    /// A program was started by a process that is recorded; `has_pipes` says whether with such pipes.
    pub(crate) fn started(&mut self, started: &ProcessStarted, has_pipes: bool) {
        if !has_pipes {
            self.running.remove(&started.process);
            return;
        }
        // One that starts another in its place (a shell, `npx`) had the pipes since it began.
        let since = self.running.remove(&started.process).map_or(started.time, |running| running.since);
        if self.running.len() < MOST {
            self.running.insert(started.process, Running { program: started.filename.clone(), since });
        }
    }

    /// A process ended: its program, where that stayed and was not told before.
    pub(crate) fn exited(&mut self, process: ProcessId, time: MonotonicNanos) -> Option<PathBuf> {
        let Running { program, since } = self.running.remove(&process)?;
        let stayed = time.0.saturating_sub(since.0) >= STAYS;
        (stayed && self.told.len() < MOST && self.told.insert(program.clone())).then_some(program)
    }

    /// The recording ends: what still runs.
    pub(crate) fn finish(&mut self, time: MonotonicNanos) -> Vec<(ProcessId, PathBuf)> {
        let running: Vec<ProcessId> = self.running.keys().copied().collect();
        running.into_iter().filter_map(|process| Some((process, self.exited(process, time)?))).collect()
    }
}

/// Whether a process has other pipes than its parent as standard input and output. Python 3.11 and earlier give a socket
/// for the input.
pub(crate) fn has_own_pipes(process: ProcessId, parent: ProcessId) -> bool {
    let end = |process: ProcessId, number: u8| fs::read_link(format!("/proc/{}/fd/{number}", process.0)).ok();
    let is_own = |number: u8, kinds: &[&str]| {
        end(process, number).is_some_and(|own| {
            kinds.iter().any(|kind| own.to_string_lossy().starts_with(kind))
                && end(parent, number) != Some(own)
        })
    };
    is_own(0, &["pipe:", "socket:"]) && is_own(1, &["pipe:"])
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use oisp_capture::Nanos;

    use super::*;

    fn start(programs: &mut PipedPrograms, process: u32, program: &str, time: u64) {
        let started = ProcessStarted {
            process: ProcessId(process),
            parent: ProcessId(1),
            uid: 0,
            gid: 0,
            filename: program.into(),
            executable: program.into(),
            arguments: Vec::new(),
            arguments_truncated: false,
            working_directory: None,
            time: Nanos(time),
        };
        programs.started(&started, true);
    }

    #[test]
    fn program_that_stays_is_told_once_and_one_that_does_not_never() {
        let mut programs = PipedPrograms::default();
        start(&mut programs, 1, "/bin/short", 0);
        start(&mut programs, 2, "/bin/sh", 0);
        start(&mut programs, 2, "/bin/server", STAYS / 2);
        start(&mut programs, 3, "/bin/server", 0);
        start(&mut programs, 4, "/bin/other", 0);
        assert_eq!(programs.exited(ProcessId(1), Nanos(STAYS - 1)), None);
        assert_eq!(programs.exited(ProcessId(2), Nanos(STAYS)), Some("/bin/server".into()));
        assert_eq!(programs.exited(ProcessId(3), Nanos(STAYS)), None, "it was told");
        assert_eq!(programs.exited(ProcessId(9), Nanos(STAYS)), None);
        assert_eq!(programs.finish(Nanos(STAYS)), [(ProcessId(4), "/bin/other".into())]);
        assert_eq!(programs.finish(Nanos(STAYS)), []);
    }

    #[test]
    fn pipes_made_for_a_child_are_told_from_those_it_inherits() {
        let parent = ProcessId(std::process::id());
        let has_own = |input: Stdio, output: Stdio| {
            let mut child = Command::new("sleep").arg("60").stdin(input).stdout(output).spawn().unwrap();
            let has_own = has_own_pipes(ProcessId(child.id()), parent);
            child.kill().unwrap();
            child.wait().unwrap();
            has_own
        };
        assert!(has_own(Stdio::piped(), Stdio::piped()));
        assert!(!has_own(Stdio::inherit(), Stdio::inherit()));
        assert!(!has_own(Stdio::null(), Stdio::piped()));
        assert!(!has_own(Stdio::piped(), Stdio::null()));
    }
}
