//! Probes come, are alive, and go, however the recorder ends; and it leaves nothing behind.

use std::collections::BTreeSet;
use std::io::{BufReader, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, ChildStdout, Command, Stdio};

use oisp_capture::{CaptureEvent, CaptureSource as _, Stop};
use oisp_capture_ebpf::{EbpfCapture, HeldCommand, Options};
use oisp_testkit::provider::{Config, FakeProvider};
use serde_json::{Value, json};

use crate::support::{
    LibraryCopy, ProbeState, Recording, Setup, can_record, client, in_role, line_of, open_descriptors,
    probe_state, role, say, truths, wait_until,
};

/// A client that has the library open and waits to be told to go on.
fn waiting_client(library: &LibraryCopy, mut command: Command) -> (Child, BufReader<ChildStdout>) {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    assert_eq!(line_of(&mut output)["pid"], child.id());
    assert_eq!(probe_state(child.id(), library), ProbeState::Original);
    (child, output)
}

#[test]
fn probes_are_in_the_code_while_the_capture_lives_and_the_original_is_back_after_it() {
    if !can_record() {
        return;
    }
    let library = LibraryCopy::new();
    let (mut child, _output) = waiting_client(&library, client(&library, "plain --wait-before connect"));
    for _ in 0..2 {
        let mut capture = EbpfCapture::load(&Options::default()).unwrap_or_else(|error| panic!("{error}"));
        capture.record_process(child.id()).unwrap();
        let files: Vec<_> =
            capture.attached_files().iter().filter(|file| file.path == library.file()).collect();
        assert_eq!(files.len(), 1);
        let functions: BTreeSet<&str> = files[0].functions.iter().map(|function| function.name).collect();
        assert_eq!(functions, library.functions());
        assert_eq!(probe_state(child.id(), &library), ProbeState::Breakpoints);
        drop(capture);
        wait_until("the original code", || probe_state(child.id(), &library) == ProbeState::Original);
    }
    child.stdin.take().unwrap().write_all(b"\n").unwrap();
    assert!(child.wait().unwrap().success());
}

#[test]
fn recorder_killed_in_traffic_leaves_the_original_code_and_the_client_its_bytes() {
    if let Some(told) = role() {
        return record_until_killed(&told);
    }
    if !can_record() {
        return;
    }
    let library = LibraryCopy::new();
    let folder = tempfile::tempdir().unwrap();
    let provider = FakeProvider::start(Config::new(folder.path())).unwrap();
    let mut command = client(&library, "loop --seconds 10 --bytes 20000 --wait-before connect");
    command.arg("--base").arg(provider.base_url()).arg("--ca").arg(provider.ca_file());
    let (mut child, mut output) = waiting_client(&library, command);
    let mut recorder = in_role(
        recorder_killed_in_traffic_leaves_the_original_code_and_the_client_its_bytes,
        &json!({ "pid": child.id() }),
    );
    let mut recorder = recorder.stdout(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(recorder.stdout.take().unwrap());
    assert_eq!(line_of(&mut said)["recording"], true);
    assert_eq!(probe_state(child.id(), &library), ProbeState::Breakpoints);
    child.stdin.take().unwrap().write_all(b"\n").unwrap();
    assert_eq!(line_of(&mut said)["captured"], true);

    recorder.kill().unwrap();
    assert_eq!(recorder.wait().unwrap().signal(), Some(9));
    wait_until("the original code", || probe_state(child.id(), &library) == ProbeState::Original);
    let calls = |provider: &FakeProvider| provider.log().exchanges().count();
    let before = calls(&provider);
    wait_until("calls without the recorder", || calls(&provider) > before + 3);
    assert_eq!(child.try_wait().unwrap(), None, "it was looked at while it ran");

    let truth = line_of(&mut output).to_string();
    assert!(child.wait().unwrap().success(), "the client understood every answer");
    assert!(provider.wait_idle(std::time::Duration::from_secs(60)));
    let object = &truths(&truth)[0].objects[0];
    let log = provider.log();
    let connection = &log.connections[0];
    assert_eq!(u64::from(connection.peer_port), object.local_port());
    assert_eq!(object.sha256(crate::support::Direction::Sent), connection.received_sha256);
    assert_eq!(object.sha256(crate::support::Direction::Received), connection.sent_sha256);
}

/// Says when it records and when it has content, and goes on.
fn record_until_killed(told: &Value) {
    let pid = u32::try_from(told["pid"].as_u64().unwrap()).unwrap();
    let mut capture = EbpfCapture::load(&Options::default()).unwrap_or_else(|error| panic!("{error}"));
    capture.record_process(pid).unwrap();
    say(&json!({ "recording": true }));
    let mut heard = 0;
    capture
        .run(&Stop::new().unwrap(), &mut |event| {
            if matches!(event, CaptureEvent::Content(_)) {
                heard += 1;
                if heard == 50 {
                    say(&json!({ "captured": true }));
                }
            }
        })
        .unwrap();
}

#[test]
fn two_hundred_short_processes_leave_no_descriptor_and_nothing_in_scope() {
    if role().is_some() {
        return say(&record_short_processes());
    }
    if !can_record() {
        return;
    }
    // In a process of its own: other tests open descriptors in this one.
    let mut command =
        in_role(two_hundred_short_processes_leave_no_descriptor_and_nothing_in_scope, &Value::Null);
    let output = command.stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success());
    let told = line_of(&mut &output.stdout[..]);
    assert_eq!(told["exits"], 201);
    assert_eq!(told["after"], told["before"], "descriptors while recording");
    assert_eq!(told["end"], told["start"], "descriptors without a capture");
    assert_eq!(told["in_scope"], 0);
    assert_eq!(told["lost"], 0);
}

fn record_short_processes() -> Value {
    // The first use of anything may keep a descriptor for good.
    drop(EbpfCapture::load(&Options::default()).unwrap_or_else(|error| panic!("{error}")));
    let start = open_descriptors();
    let mut capture = EbpfCapture::load(&Options::default()).unwrap_or_else(|error| panic!("{error}"));
    let library = LibraryCopy::new();
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "i=0; while [ $i -lt 200 ]; do /bin/true; i=$((i+1)); done"]);
    let held = HeldCommand::start(command).unwrap();
    capture.record_command(held.pid(), &[library.candidate()]).unwrap();
    let stop = Stop::new().unwrap();
    let mut child = held.release().unwrap();
    let before = open_descriptors();
    let waiter = std::thread::spawn({
        let stop = stop.clone();
        move || {
            child.wait().unwrap();
            stop.request();
        }
    });
    let (mut exits, mut most) = (0, 0);
    capture
        .run(&stop, &mut |event| {
            exits += u32::from(matches!(event, CaptureEvent::ProcessExited(_)));
            most = most.max(open_descriptors());
        })
        .unwrap();
    waiter.join().unwrap();
    let in_scope = capture.table_use().processes;
    let lost = capture.statistics().losses.lifecycle_records;
    drop((capture, stop, library));
    json!({
        // While it runs there are the two queues that it waits on.
        "start": start, "before": before, "after": most - 2, "end": open_descriptors(),
        "exits": exits, "in_scope": in_scope, "lost": lost,
    })
}

#[test]
fn recorder_rests_after_the_command_has_ended() {
    if !can_record() {
        return;
    }
    let library = LibraryCopy::new();
    let mut recording = Recording::of(client(&library, "plain"), &Setup::probing(library.candidate()));
    recording.wait_for_end();
    // Long enough that a recorder that does not sleep shows; one that does uses next to none of it.
    std::thread::sleep(std::time::Duration::from_secs(2));
    let recorded = recording.finish();
    let used = recorded.processor_time;
    assert!(
        used < std::time::Duration::from_millis(300),
        "{used:?} of two seconds in which nothing happened"
    );
}
