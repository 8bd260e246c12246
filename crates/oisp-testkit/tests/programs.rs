//! The two programs, as kernel tests start them.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use oisp_testkit::provider::{Config, FakeProvider};
use oisp_testkit::transcript::sha256_hex;
use serde_json::Value;

fn client() -> Command {
    Command::new(env!("CARGO_BIN_EXE_oisp-test-client"))
}

fn truth(output: &Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_str(String::from_utf8_lossy(&output.stdout).lines().last().unwrap()).unwrap()
}

fn line(child: &mut Child) -> (BufReader<std::process::ChildStdout>, Value) {
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    (stdout, serde_json::from_str(&line).unwrap())
}

fn maps_libssl(pid: &Value) -> bool {
    std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("maps"))
        .unwrap()
        .contains("libssl.so")
}

#[test]
fn every_scenario_runs_with_a_provider_of_its_own() {
    for arguments in [
        "plain --bytes 71245 --calls 2 --ex",
        "plain --stream --api anthropic --model fake-gzip-chunks-50",
        "memory-bio --bytes 1048576 --calls 2",
        "two-connections --bytes 71245",
        "want-write --bytes 1048576",
        "reuse-ssl --connections 5",
        "fork",
        "parallel --connections 50",
        "loop --seconds 0.2",
    ] {
        let truth = truth(&client().args(arguments.split(' ')).output().unwrap());
        for object in truth["objects"].as_array().unwrap() {
            assert!(object["wrote"]["bytes"].as_u64() > Some(0), "{arguments}: {object}");
            assert!(object["read"]["bytes"].as_u64() > Some(0), "{arguments}: {object}");
        }
    }
}

#[test]
fn after_a_fork_parent_and_child_report_what_the_provider_saw_of_each() {
    let folder = tempfile::tempdir().unwrap();
    let provider = FakeProvider::start(Config::new(folder.path())).unwrap();
    let mut command = client();
    command
        .args(["fork", "--bytes", "71245", "--base", &provider.base_url(), "--ca"])
        .arg(provider.ca_file());
    let truth = truth(&command.output().unwrap());
    let objects = truth["objects"].as_array().unwrap();
    assert_eq!(objects.len(), 3);
    assert_ne!(objects[1]["pid"], objects[2]["pid"]);
    let log = provider.log();
    for object in objects {
        let connection =
            log.connections.iter().find(|connection| object["local_port"] == connection.peer_port).unwrap();
        assert_eq!(object["wrote"]["sha256"], connection.received_sha256.as_str());
        assert_eq!(object["read"]["sha256"], connection.sent_sha256.as_str());
    }
}

#[test]
fn the_client_can_be_held_before_and_after_it_opens_the_library() {
    for (point, mapped) in [("load", false), ("connect", true)] {
        let mut child = client()
            .args(["plain", "--wait-before", point])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (mut stdout, held) = line(&mut child);
        assert_eq!(held["pid"], child.id());
        assert_eq!(maps_libssl(&held["pid"]), mapped, "{point}");
        child.stdin.take().unwrap().write_all(b"\n").unwrap();
        let mut rest = String::new();
        stdout.read_line(&mut rest).unwrap();
        assert!(child.wait().unwrap().success());
        assert!(rest.contains("sha256"));
    }
}

#[test]
fn the_dump_holds_the_bytes_whose_digest_is_printed() {
    let folder = tempfile::tempdir().unwrap();
    let truth = truth(&client().args(["plain", "--dump"]).arg(folder.path()).output().unwrap());
    for (direction, file) in [("wrote", "0-wrote.bin"), ("read", "0-read.bin")] {
        let bytes = std::fs::read(folder.path().join(file)).unwrap();
        assert_eq!(truth["objects"][0][direction]["sha256"], sha256_hex(&bytes));
    }
}

#[test]
fn the_provider_program_serves_until_its_input_ends_and_leaves_its_log() {
    let folder = tempfile::tempdir().unwrap();
    let mut provider = Command::new(env!("CARGO_BIN_EXE_oisp-fake-provider"))
        .arg("--folder")
        .arg(folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (_stdout, ready) = line(&mut provider);
    let (base, ca) = (ready["base_url"].as_str().unwrap(), ready["ca_file"].as_str().unwrap());
    let truth = truth(&client().args(["plain", "--base", base, "--ca", ca]).output().unwrap());
    drop(provider.stdin.take());
    assert!(provider.wait().unwrap().success());
    let log: Value = serde_json::from_slice(&std::fs::read(folder.path().join("log.json")).unwrap()).unwrap();
    let received = STANDARD.decode(log["connections"][0]["received"].as_str().unwrap()).unwrap();
    assert_eq!(truth["objects"][0]["wrote"]["sha256"], sha256_hex(&received));
}

#[test]
fn a_failed_run_says_why_and_ends_with_an_error() {
    let output = client().args(["plain", "--model", "error-429"]).output().unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("status 429"));
    let output = client().args(["want-write", "--bytes", "100"]).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("no write had to be retried"));
}
