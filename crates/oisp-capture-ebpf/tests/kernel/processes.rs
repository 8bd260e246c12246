//! Programs started, processes made, processes ended; and who is recorded at all.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use oisp_capture::{CaptureEvent, CloseCause, ProcessExited, ProcessId, ProcessStarted};
use oisp_ebpf_common::ARGUMENTS_CAPACITY;
use oisp_testkit::endpoint::Endpoint;
use oisp_testkit::openssl_client::{Call, OpenSsl};
use oisp_testkit::provider::{Config, FakeProvider};
use serde_json::json;

use crate::support::{
    LibraryCopy, MemoryPair, ProbeState, Recorded, Recording, Setup, assert_whole, can_record, client,
    connections, in_role, line_of, probe_state, role, say, truths, wait_until,
};

fn shell(script: &str) -> Command {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", script]);
    command
}

fn started(recorded: &Recorded) -> Vec<&ProcessStarted> {
    recorded
        .events
        .iter()
        .filter_map(|event| match event {
            CaptureEvent::ProcessStarted(started) => Some(started),
            _ => None,
        })
        .collect()
}

fn exits(recorded: &Recorded) -> Vec<&ProcessExited> {
    recorded
        .events
        .iter()
        .filter_map(|event| match event {
            CaptureEvent::ProcessExited(exited) => Some(exited),
            _ => None,
        })
        .collect()
}

/// Who a process event is about.
fn process_of(event: &CaptureEvent) -> Option<ProcessId> {
    match event {
        CaptureEvent::Content(content) => Some(content.connection.process),
        CaptureEvent::ConnectionClosed(closed) => Some(closed.connection.process),
        CaptureEvent::ProcessStarted(started) => Some(started.process),
        CaptureEvent::ProcessForked(forked) => Some(forked.parent),
        CaptureEvent::ProcessExited(exited) => Some(exited.process),
        CaptureEvent::Coverage(finding) => finding.process,
        CaptureEvent::ConnectionSocket(socket) => Some(socket.connection.process),
        CaptureEvent::Losses(_)
        | CaptureEvent::Attached(_)
        | CaptureEvent::FileProof(_)
        | CaptureEvent::ConnectionPeer(_) => None,
    }
}

#[test]
fn program_is_told_with_arguments_user_parent_and_working_directory() {
    if !can_record() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let mut command = Command::new("/bin/cat");
    command.args(["-", "", "two words", "ümlaut"]).current_dir(folder.path()).uid(65534).gid(65533);
    let setup = Setup { with_input: true, ..Setup::default() };
    let recording = Recording::of(command, &setup);
    recording.wait_for("its start", |event| matches!(event, CaptureEvent::ProcessStarted(_)));
    let recorded = recording.finish();
    let started = started(&recorded);
    assert_eq!(started.len(), 1);
    let started = started[0];
    assert_eq!(started.process.0, recorded.pid);
    assert_eq!(started.parent.0, std::process::id());
    assert_eq!((started.uid, started.gid), (65534, 65533));
    assert_eq!(started.filename, Path::new("/bin/cat"));
    assert_eq!(started.arguments, ["/bin/cat", "-", "", "two words", "ümlaut"]);
    assert!(!started.arguments_truncated);
    assert_eq!(started.working_directory.as_deref(), Some(folder.path().canonicalize().unwrap().as_path()));
    assert_eq!(exits(&recorded)[0].status.exit_code(), Some(1), "there is no file `two words`");
}

#[test]
fn program_that_changes_its_folder_at_once_is_never_told_with_the_new_one() {
    if !can_record() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for _ in 0..5 {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "cd /; sleep 0.2"]).current_dir(folder.path());
        let recorded = Recording::of(command, &Setup::default()).finish();
        let shell = started(&recorded)[0];
        assert_ne!(shell.working_directory.as_deref(), Some(Path::new("/")));
    }
}

#[test]
fn script_is_told_with_its_interpreter() {
    if !can_record() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("script");
    std::fs::write(&script, "#!/bin/sh -e\nexit 0\n").unwrap();
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let recorded = Recording::of(Command::new(&script), &Setup::default()).finish();
    let started = started(&recorded);
    assert_eq!(started[0].filename, script);
    assert_eq!(started[0].executable, Path::new("/bin/sh"));
    assert_eq!(started[0].arguments, ["/bin/sh", "-e", script.to_str().unwrap()]);
}

#[test]
fn arguments_beyond_their_room_are_cut_and_marked_and_those_that_just_fit_are_not() {
    if !can_record() {
        return;
    }
    let name = "/bin/true".len() + 1;
    for (length, truncated) in [
        (10_000, true),
        (ARGUMENTS_CAPACITY - name, true),
        (ARGUMENTS_CAPACITY - name - 1, false),
        (5000, false),
    ] {
        let argument: String = (0..length).map(|index| char::from(b'a' + (index % 26) as u8)).collect();
        let mut command = Command::new("/bin/true");
        command.arg(&argument);
        let recorded = Recording::of(command, &Setup::default()).finish();
        let started = started(&recorded);
        assert_eq!(started[0].arguments_truncated, truncated, "{length}");
        let kept = length.min(ARGUMENTS_CAPACITY - name);
        assert_eq!(started[0].arguments, ["/bin/true", &argument[..kept]], "{length}");
    }
}

#[test]
fn exit_codes_and_signals_are_told_as_wait_tells_them() {
    if !can_record() {
        return;
    }
    let recorded = Recording::of(
        shell("(exit 3) & wait $!; (kill -9 $(exec sh -c 'echo $PPID')) ; (sleep 60 & kill -TERM $!; wait); exit 42"),
        &Setup::default(),
    )
    .finish();
    assert_eq!(recorded.status.code(), Some(42));
    let exits = exits(&recorded);
    let last = exits.last().unwrap();
    assert_eq!((last.process.0, last.status.exit_code()), (recorded.pid, Some(42)));
    assert!(exits.iter().any(|exit| exit.status.exit_code() == Some(3)));
    assert!(exits.iter().any(|exit| exit.status.signal() == Some(9)));
    assert!(exits.iter().any(|exit| exit.status.signal() == Some(15)));
    recorded.assert_nothing_lost();
}

#[test]
fn every_process_forked_is_told_before_it_starts_and_ends() {
    if !can_record() {
        return;
    }
    let recorded = Recording::of(
        shell("for i in 1 2 3; do /bin/true; sh -c '/bin/true & wait'; done"),
        &Setup::default(),
    )
    .finish();
    let mut known = vec![ProcessId(recorded.pid)];
    let mut ended = Vec::new();
    for event in &recorded.events {
        match event {
            CaptureEvent::ProcessForked(forked) => {
                assert!(known.contains(&forked.parent), "{forked:?}");
                known.push(forked.child);
            }
            CaptureEvent::ProcessStarted(started) => {
                assert!(known.contains(&started.process) && !ended.contains(&started.process), "{started:?}");
            }
            CaptureEvent::ProcessExited(exited) => {
                assert!(known.contains(&exited.process) && !ended.contains(&exited.process), "{exited:?}");
                ended.push(exited.process);
            }
            other => panic!("{other:?}"),
        }
    }
    known.sort();
    ended.sort();
    assert_eq!(known, ended);
    assert_eq!(known.len(), 1 + 3 * 3);
    assert_eq!(started(&recorded).len(), 1 + 3 * 3);
    assert_eq!(recorded.tables.processes, 0);
}

#[test]
fn program_started_by_another_thread_than_the_first_keeps_the_process_and_ends_its_connections() {
    if let Some(told) = role() {
        let mut pair = MemoryPair::connect(Path::new(told["folder"].as_str().unwrap()), Call::Plain);
        pair.send(10, 100);
        // In a thread of its own, however the harness runs tests.
        std::thread::spawn(|| panic!("{}", Command::new("/bin/sh").args(["-c", "exit 7"]).exec()))
            .join()
            .unwrap();
    }
    if !can_record() {
        return;
    }
    let library = LibraryCopy::new();
    let command = in_role(
        program_started_by_another_thread_than_the_first_keeps_the_process_and_ends_its_connections,
        &json!({ "folder": library.folder() }),
    );
    let recorded = Recording::of(command, &Setup::probing(library.candidate())).finish();
    assert_eq!(recorded.status.code(), Some(7));
    let started = started(&recorded);
    assert_eq!(started.len(), 2);
    assert!(started.iter().all(|started| started.process.0 == recorded.pid));
    let exits = exits(&recorded);
    assert_eq!(exits.len(), 1);
    assert_eq!(exits[0].status.exit_code(), Some(7));
    let connections = connections(&recorded.events);
    assert_eq!(connections.len(), 2);
    assert!(connections.values().all(|connection| connection.closed[0].cause == CloseCause::ProcessGone));
    assert_eq!((recorded.tables.connections, recorded.tables.calls), (0, 0));
}

#[test]
fn process_out_of_scope_that_uses_the_probed_library_produces_nothing() {
    if !can_record() {
        return;
    }
    let library = LibraryCopy::new();
    let mut bystander = client(&library, "plain --bytes 20000 --calls 5 --wait-before connect")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(bystander.stdout.take().unwrap());
    assert_eq!(line_of(&mut output)["pid"], bystander.id());

    let setup = Setup { with_input: true, ..Setup::probing(library.candidate()) };
    let mut recording =
        Recording::of(client(&library, "plain --bytes 20000 --calls 5 --wait-before connect"), &setup);
    recording.line();
    assert_eq!(probe_state(bystander.id(), &library), ProbeState::Breakpoints, "it does run into the probes");
    recording.say("\n");
    bystander.stdin.take().unwrap().write_all(b"\n").unwrap();
    let mut truth = String::new();
    output.read_line(&mut truth).unwrap();
    assert!(bystander.wait().unwrap().success());
    assert_eq!(truths(&truth)[0].objects.len(), 1, "it has used the library");
    let recorded = recording.finish();

    assert_whole(&recorded.truths(), &recorded.events);
    let foreign = recorded.events.iter().find(|event| {
        !matches!(event, CaptureEvent::Attached(_) | CaptureEvent::FileProof(_))
            && process_of(event) != Some(ProcessId(recorded.pid))
    });
    assert_eq!(foreign, None);
}

#[test]
fn process_killed_in_a_call_leaves_nothing_in_the_kernels_tables() {
    if let Some(told) = role() {
        return read_from_a_silent_peer(Path::new(told["folder"].as_str().unwrap()));
    }
    if !can_record() {
        return;
    }
    let library = LibraryCopy::new();
    let command = in_role(
        process_killed_in_a_call_leaves_nothing_in_the_kernels_tables,
        &json!({ "folder": library.folder() }),
    );
    let mut recording = Recording::of(command, &Setup::probing(library.candidate()));
    recording.line();
    // It says so just before the call; in the call a thread of it waits in read.
    wait_until("the call", || {
        let threads = std::fs::read_dir(format!("/proc/{}/task", recording.pid())).unwrap();
        threads.flatten().any(|thread| {
            std::fs::read_to_string(thread.path().join("syscall"))
                // read(socket, …): number 0 on x86_64, 63 on aarch64.
                .is_ok_and(|call| call.starts_with(if cfg!(target_arch = "x86_64") { "0 " } else { "63 " }))
        })
    });
    recording.kill();
    recording.wait_for("its end", |event| matches!(event, CaptureEvent::ProcessExited(_)));
    let recorded = recording.finish();
    assert_eq!(recorded.tables.calls, 0);
    assert_eq!(recorded.tables.processes, 0);
}

/// No byte of the connection is ever read or written.
fn read_from_a_silent_peer(library: &Path) {
    let folder = tempfile::tempdir().unwrap();
    let provider = FakeProvider::start(Config::new(folder.path())).unwrap();
    let context = OpenSsl::load(Some(library)).unwrap().client_context(provider.ca_file()).unwrap();
    let mut ssl = context.connect(&Endpoint::parse(&provider.base_url()).unwrap()).unwrap();
    say(&json!({ "reads": true }));
    let read = ssl.try_read(&mut [0; 100]);
    panic!("it was to wait for ever: {read:?}");
}
