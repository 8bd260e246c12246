//! Libraries and processes that were not known at the start.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use oisp_capture::{CaptureEvent, CoverageReason, ProcessId};
use oisp_capture_ebpf::Candidate;
use serde_json::json;

use crate::support::{
    Direction, LibraryCopy, ProbeState, Recording, Setup, assert_whole, can_record, client,
    client_executable, connections, in_role, line_of, probe_state, role, truths, wait_until,
};

/// Whether an event says that this library was probed late, in this process.
fn is_late(event: &CaptureEvent, library: &LibraryCopy, process: Option<u32>) -> bool {
    let CaptureEvent::Coverage(finding) = event else { return false };
    let CoverageReason::AttachedLate { latency } = finding.reason else { return false };
    assert!(latency > 0);
    finding.file.as_deref() == Some(library.file())
        && process.is_none_or(|id| finding.process == Some(ProcessId(id)))
}

#[test]
fn library_opened_after_the_start_is_a_finding_and_later_connections_are_captured() {
    if !can_record() {
        return;
    }
    let library = LibraryCopy::new();
    // Two clients in turn, each held before it opens the library that nobody has told of.
    let held = client(&library, "plain --bytes 5000 --wait-before load");
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "\"$@\"; exec \"$@\"", "sh"]).arg(held.get_program()).args(held.get_args());
    let executable = Candidate { path: client_executable().to_owned(), why: "the command" };
    let setup = Setup { with_input: true, candidates: vec![executable], ..Setup::default() };
    let mut recording = Recording::of(command, &setup);
    let first = recording.line();
    recording.say("\n");
    recording.wait_for("the finding", |event| is_late(event, &library, None));
    // The truth of the first, then the second's pid.
    let truth = recording.line();
    let second = recording.line();
    assert_ne!(first["pid"], second["pid"]);
    recording.say("\n");
    let recorded = recording.finish();
    assert_eq!(recorded.statistics.late_attachments, 1, "once for the file, not for each process");
    assert!(!recorded.statistics.longest_attach_latency.is_zero());
    let first_pid = u32::try_from(first["pid"].as_u64().unwrap()).unwrap();
    assert!(recorded.events.iter().any(|event| is_late(event, &library, Some(first_pid))));
    assert_eq!(truth["objects"][0]["pid"], first_pid);

    let of_second: Vec<CaptureEvent> =
        recorded.events.iter().filter(|event| !is_content_of(event, first_pid)).cloned().collect();
    assert_whole(&recorded.truths(), &of_second);
}

fn is_content_of(event: &CaptureEvent, pid: u32) -> bool {
    match event {
        CaptureEvent::Content(content) => content.connection.process.0 == pid,
        CaptureEvent::ConnectionClosed(closed) => closed.connection.process.0 == pid,
        _ => false,
    }
}

#[test]
fn process_that_opens_a_library_and_ends_at_once_is_still_a_finding() {
    if let Some(told) = role() {
        let file = std::ffi::CString::new(told["file"].as_str().unwrap()).unwrap();
        // SAFETY: opening this library only sets up its own state, and the process ends.
        unsafe {
            let library = libc::dlopen(file.as_ptr(), libc::RTLD_NOW);
            libc::_exit(i32::from(library.is_null()))
        }
    }
    if !can_record() {
        return;
    }
    let library = LibraryCopy::new();
    let command = in_role(
        process_that_opens_a_library_and_ends_at_once_is_still_a_finding,
        &json!({ "file": library.file() }),
    );
    // The recorder is at rest for the whole life of the process: it hears of it afterwards.
    let setup = Setup { pause: true, ..Setup::default() };
    let mut recording = Recording::of(command, &setup);
    recording.wait_for_end();
    recording.resume();
    recording.wait_for("the finding", |event| is_late(event, &library, None));
    assert!(recording.finish().status.success());
}

#[test]
fn running_process_is_captured_from_the_moment_it_is_taken_into_scope() {
    if !can_record() {
        return;
    }
    let library = LibraryCopy::new();
    let mut child = client(&library, "plain --bytes 71245 --calls 3 --wait-before connect")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    line_of(&mut output);
    assert_eq!(probe_state(child.id(), &library), ProbeState::Original);
    let mut recording = Recording::of_running(child, output, &Setup::default());
    assert_eq!(probe_state(recording.pid(), &library), ProbeState::Breakpoints);
    recording.say("\n");
    let recorded = recording.finish();
    recorded.assert_nothing_lost();
    assert_whole(&recorded.truths(), &recorded.events);
}

#[test]
fn children_of_a_running_process_are_in_scope_whether_made_before_or_after() {
    if !can_record() {
        return;
    }
    let library = LibraryCopy::new();
    let held = client(&library, "plain --bytes 3000 --wait-before connect");
    // A grandchild that is there already, and one that comes later.
    let mut command = Command::new("/bin/sh");
    command
        .args(["-c", "(\"$@\"; :); \"$@\"", "sh"])
        .arg(held.get_program())
        .args(held.get_args())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    line_of(&mut output);
    let mut recording = Recording::of_running(child, output, &Setup::default());
    recording.say("\n");
    let first = recording.line();
    recording.line();
    recording.say("\n");
    let mut recorded = recording.finish();
    recorded.assert_nothing_lost();
    recorded.output.insert_str(0, &format!("{first}\n"));
    assert_eq!(recorded.truths().len(), 2);
    assert_whole(&recorded.truths(), &recorded.events);
}

#[test]
fn process_that_does_not_exist_cannot_be_recorded() {
    if !can_record() {
        return;
    }
    let mut capture = oisp_capture_ebpf::EbpfCapture::load(&oisp_capture_ebpf::Options::default())
        .unwrap_or_else(|error| panic!("{error}"));
    let mut child = Command::new("/bin/true").spawn().unwrap();
    // Ended, but still to be waited for: its id is taken, and will be another process's.
    wait_until("its end", || {
        std::fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap().contains(") Z ")
    });
    let error = capture.record_process(child.id()).expect_err("it has ended");
    assert!(error.to_string().contains(&format!("there is no process {}", child.id())), "{error}");
    child.wait().unwrap();
    let error = capture.record_process(child.id()).expect_err("it is gone");
    assert!(error.to_string().contains(&format!("there is no process {}", child.id())), "{error}");
    assert_eq!(capture.table_use().processes, 0);
}

#[test]
fn library_that_was_deleted_while_in_use_is_captured() {
    if !can_record() {
        return;
    }
    let library = LibraryCopy::new();
    let mut child = client(&library, "plain --bytes 3000 --wait-before connect")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    line_of(&mut output);
    // As an update does it.
    std::fs::rename(library.file(), library.folder().join("old")).unwrap();
    std::fs::copy(library.folder().join("old"), library.file()).unwrap();
    std::fs::remove_file(library.folder().join("old")).unwrap();
    let mut recording = Recording::of_running(child, output, &Setup::default());
    recording.say("\n");
    let recorded = recording.finish();
    assert_whole(&recorded.truths(), &recorded.events);
    let sent: u64 = connections(&recorded.events)
        .values()
        .map(|connection| connection.stream(Direction::Sent).delivered())
        .sum();
    assert!(sent > 3000);
    let mut rest = String::new();
    BufReader::new(recorded.output.as_bytes()).read_line(&mut rest).unwrap();
    assert_eq!(truths(&rest).len(), 1);
}
