//! A recording from the kernel as one deals with it while it runs, and afterwards: status, stop, raw recording, replay.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use oisp_testkit::calls::Api;
use oisp_testkit::programs::copy_program;
use rustix::process::Signal;
use serde_json::Value;

use crate::support::{Provider, Sensor, assert_told, can_record, send_signal, wait_until};

/// A command about sensors with their sockets in this folder.
fn ask(control: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_oisp-sensor"));
    let output = command.args(arguments).arg("--directory").arg(control).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

fn status(control: &Path) -> Value {
    let (code, told, said) = ask(control, &["status", "--json"]);
    assert_eq!(code, Some(0), "{said}");
    serde_json::from_str(&told).unwrap()
}

#[test]
fn status_of_a_recording_names_its_command_its_probes_and_its_processes_without_their_secrets() {
    if !can_record() {
        return;
    }
    let mut command = Command::new("sh");
    command.args([
        "-c",
        "echo ready; read line; exit 3",
        "--token=sk-proj-abcdefghij0123456789ABCDEFGHIJ0123456789",
    ]);
    let mut running = Sensor::recording(&command).with_input().start();
    assert_eq!(running.line(), "ready\n");
    let control = running.folder().join("control");
    let status = status(&control);
    assert_eq!(status["pid"], running.pid());
    assert_eq!(status["scope"]["kind"], "command");
    let scope = status["scope"]["text"].as_str().unwrap();
    assert!(scope.contains("read line") && !scope.contains("abcdefghij0123456789"), "{scope}");
    let probed = status["attached"].as_array().unwrap();
    assert!(probed.iter().any(|file| file["path"].as_str().unwrap().contains("libssl")), "{status}");
    assert!(status["processes"]["count"].as_u64().unwrap() >= 1, "{status}");
    let kernel = &status["memory"]["kernel"];
    assert_eq!(kernel["ring"], 16 << 20);
    assert!((4 << 20..16 << 20).contains(&kernel["tables"].as_u64().unwrap()), "about 10 MiB: {kernel}");
    drop(running.take_input());
    let recorded = running.finish();
    assert_eq!(recorded.code(), 3, "{}", recorded.stderr);
}

#[test]
fn other_users_cannot_ask_a_sensor() {
    use std::os::unix::fs::PermissionsExt as _;
    use std::os::unix::process::CommandExt as _;
    if !can_record() {
        return;
    }
    let mut command = Command::new("sh");
    command.args(["-c", "echo ready; read line; exit 0"]);
    let mut running = Sensor::recording(&command).with_input().start();
    running.line();
    let folder = running.folder().to_owned();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o711)).unwrap();
    let program = folder.join("oisp-sensor");
    copy_program(Path::new(env!("CARGO_BIN_EXE_oisp-sensor")), &program).unwrap();
    for arguments in [&["status"][..], &["stop"], &["reload"]] {
        let mut other = Command::new(&program);
        other.args(arguments).arg("--directory").arg(folder.join("control")).uid(65534).gid(65534);
        let output = other.output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("sudo"), "{said}");
    }
    drop(running.take_input());
    running.finish().assert_clean();
}

#[test]
fn stopped_recording_of_a_process_ends_and_leaves_the_process() {
    if !can_record() {
        return;
    }
    // With streams of its own, which nobody waits for.
    let mut recorded = Command::new("sleep");
    recorded.arg("600").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut recorded = recorded.spawn().unwrap();
    let mut running = Sensor::recording_process(recorded.id()).start();
    running.wait_for("recording process");
    let control = running.folder().join("control");
    let (code, _, said) = ask(&control, &["stop"]);
    assert_eq!(code, Some(0), "{said}");
    let finished = running.finish();
    assert_eq!(finished.code(), 0, "{}", finished.stderr);
    assert!(recorded.try_wait().unwrap().is_none(), "the process runs on");
    recorded.kill().unwrap();
    recorded.wait().unwrap();
}

#[test]
fn hang_up_of_a_recording_without_a_command_reloads_and_loses_nothing() {
    if !can_record() {
        return;
    }
    let provider = Provider::start();
    let mut client = provider
        .test_client("plain --calls 30 --bytes 20000 --wait-before connect")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(client.stdout.take().unwrap());
    output.read_line(&mut String::new()).unwrap();
    let mut running = Sensor::recording_process(client.id()).start();
    running.wait_for("recording process");
    let control = running.folder().join("control");
    let before = status(&control)["configuration"]["loaded"].clone();
    send_signal(running.pid(), Signal::HUP);
    wait_until("it has read its configuration", || status(&control)["configuration"]["loaded"] != before);
    client.stdin.take().unwrap().write_all(b"\n").unwrap();
    while client.try_wait().unwrap().is_none() {
        send_signal(running.pid(), Signal::HUP);
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert!(client.wait().unwrap().success());
    let recorded = running.finish();
    recorded.assert_clean();
    assert_eq!(assert_told(&recorded.events(), &provider.log()).len(), 30);
}

#[test]
fn raw_recording_of_real_calls_gives_the_same_events_when_it_is_replayed() {
    use std::os::unix::fs::PermissionsExt as _;
    if !can_record() {
        return;
    }
    let provider = Provider::start();
    let folder = tempfile::tempdir().unwrap();
    let (raw, again) = (folder.path().join("calls.raw"), folder.path().join("again.jsonl"));
    let body = Api::OpenAi.simple_body("fake-answer-4000-chunks-40", "Tell me.", true);
    let client = provider.curl(Api::OpenAi, &body, &["--http1.1"]);
    let recorded = Sensor::recording_with(&["--raw", raw.to_str().unwrap()], &client).run();
    assert!(recorded.status.success(), "{}", recorded.stderr);
    assert!(recorded.stderr.contains("not redacted"), "{}", recorded.stderr);
    assert_eq!(fs::metadata(&raw).unwrap().permissions().mode() & 0o777, 0o600);
    assert_told(&recorded.events(), &provider.log());
    let replayed = Sensor::with_arguments([
        std::ffi::OsStr::new("replay"),
        raw.as_os_str(),
        std::ffi::OsStr::new("-o"),
        again.as_os_str(),
    ])
    .with_state_of(&recorded)
    .run();
    replayed.assert_clean();
    assert_eq!(fs::read(&again).unwrap(), recorded.raw());
}
