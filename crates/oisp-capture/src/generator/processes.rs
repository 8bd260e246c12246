//! The processes that make the calls.

use std::collections::BTreeMap;

use crate::{
    CaptureEvent, FunctionName, MonotonicNanos, ProcessExited, ProcessForked, ProcessId, ProcessStarted,
    WaitStatus,
};

/// Who starts the programs: a shell that was there before.
const SHELL: ProcessId = ProcessId(4242);
/// Process ids go from here to the kernel's limit and begin again.
const FIRST: u32 = 10_000;
const LIMIT: u32 = 4_194_304;

/// A program that calls models.
#[derive(Debug)]
pub(super) struct Program {
    pub(super) executable: &'static str,
    pub(super) arguments: &'static [&'static str],
    pub(super) user_agent: &'static str,
    pub(super) sends_with: FunctionName,
    pub(super) receives_with: FunctionName,
    /// Whether it writes a request's head and body apart.
    pub(super) head_apart: bool,
}

static PROGRAMS: [Program; 3] = [
    Program {
        executable: "/usr/bin/python3.11",
        arguments: &["python3", "/srv/agent/agent.py"],
        user_agent: "OpenAI/Python 2.8.1",
        sends_with: "SSL_write_ex",
        receives_with: "SSL_read_ex",
        head_apart: true,
    },
    Program {
        executable: "/usr/bin/node",
        arguments: &["node", "/srv/bot/index.js"],
        user_agent: "OpenAI/JS 6.9.0",
        sends_with: "SSL_write",
        receives_with: "SSL_read",
        head_apart: false,
    },
    Program {
        executable: "/usr/local/bin/claude",
        arguments: &["claude", "--print", "what is new?"],
        user_agent: "claude-cli/2.0.55 (external, cli)",
        sends_with: "SSL_write",
        receives_with: "SSL_read",
        head_apart: false,
    },
];

/// What a tool call starts.
const TOOL: &str = "/usr/bin/git";

/// All processes. A connection belongs to the process that its group has when it is opened.
#[derive(Debug)]
pub(super) struct Processes {
    groups: Vec<Group>,
    live: BTreeMap<ProcessId, Live>,
    next: u32,
    connections_each: u64,
}

#[derive(Debug, Default)]
struct Group {
    current: Option<ProcessId>,
    opened: u64,
}

#[derive(Debug)]
struct Live {
    program: &'static Program,
    open: usize,
    /// Its group has another process: it ends with its last connection.
    retired: bool,
}

impl Processes {
    pub(super) fn new(groups: usize, connections_each: u64) -> Self {
        let groups = std::iter::repeat_with(Group::default).take(groups.max(1)).collect();
        Self { groups, live: BTreeMap::new(), next: FIRST, connections_each }
    }

    /// A connection is opened: gives its process, which may have to be started first.
    pub(super) fn opened(
        &mut self,
        group: usize,
        time: MonotonicNanos,
        events: &mut Vec<CaptureEvent>,
    ) -> (ProcessId, &'static Program) {
        let number = group % self.groups.len();
        let group = &self.groups[number];
        let usable = group.current.filter(|_| group.opened < self.connections_each);
        let process = usable.unwrap_or_else(|| {
            if let Some(old) = self.groups[number].current {
                self.retire(old, time, events);
            }
            let process = self.start(&PROGRAMS[number % PROGRAMS.len()], time, events);
            self.groups[number] = Group { current: Some(process), opened: 0 };
            process
        });
        self.groups[number].opened += 1;
        let program = match self.live.get_mut(&process) {
            Some(live) => {
                live.open += 1;
                live.program
            }
            None => &PROGRAMS[0],
        };
        (process, program)
    }

    /// A connection was closed.
    pub(super) fn closed(
        &mut self,
        process: ProcessId,
        time: MonotonicNanos,
        events: &mut Vec<CaptureEvent>,
    ) {
        let Some(live) = self.live.get_mut(&process) else { return };
        live.open -= 1;
        if live.open == 0 && live.retired {
            self.live.remove(&process);
            events.push(exited(process, time));
        }
    }

    /// A process runs a tool.
    pub(super) fn run_tool(
        &mut self,
        parent: ProcessId,
        time: MonotonicNanos,
        events: &mut Vec<CaptureEvent>,
    ) {
        let child = self.next_id();
        events.push(CaptureEvent::ProcessForked(ProcessForked { parent, child, time }));
        events.push(started(child, parent, TOOL, &["git", "status", "--short"], time));
        events.push(exited(child, time));
    }

    /// All that are left end.
    pub(super) fn finish(&mut self, time: MonotonicNanos, events: &mut Vec<CaptureEvent>) {
        events.extend(std::mem::take(&mut self.live).into_keys().map(|process| exited(process, time)));
    }

    fn start(
        &mut self,
        program: &'static Program,
        time: MonotonicNanos,
        events: &mut Vec<CaptureEvent>,
    ) -> ProcessId {
        let process = self.next_id();
        events.push(CaptureEvent::ProcessForked(ProcessForked { parent: SHELL, child: process, time }));
        events.push(started(process, SHELL, program.executable, program.arguments, time));
        self.live.insert(process, Live { program, open: 0, retired: false });
        process
    }

    fn retire(&mut self, process: ProcessId, time: MonotonicNanos, events: &mut Vec<CaptureEvent>) {
        let Some(live) = self.live.get_mut(&process) else { return };
        live.retired = true;
        if live.open == 0 {
            self.live.remove(&process);
            events.push(exited(process, time));
        }
    }

    fn next_id(&mut self) -> ProcessId {
        loop {
            let id = ProcessId(self.next);
            self.next = if self.next + 1 < LIMIT { self.next + 1 } else { FIRST };
            // There are far fewer processes than ids, so one is free.
            if !self.live.contains_key(&id) {
                return id;
            }
        }
    }
}

fn started(
    process: ProcessId,
    parent: ProcessId,
    executable: &str,
    arguments: &[&str],
    time: MonotonicNanos,
) -> CaptureEvent {
    CaptureEvent::ProcessStarted(ProcessStarted {
        process,
        parent,
        uid: 1000,
        gid: 1000,
        filename: executable.into(),
        executable: executable.into(),
        arguments: arguments.iter().map(|argument| (*argument).to_owned()).collect(),
        arguments_truncated: false,
        working_directory: Some("/srv".into()),
        time,
    })
}

fn exited(process: ProcessId, time: MonotonicNanos) -> CaptureEvent {
    CaptureEvent::ProcessExited(ProcessExited { process, status: WaitStatus(0), time })
}
