//! What was not seen, or may not have been, is said.

use std::io::Write as _;
use std::process::Command;

use oisp_testkit::calls::Api;
use oisp_testkit::clients::Client;

use crate::support::{LibraryCopy, Provider, Sensor, Task, assert_told, can_record, is_probed};

#[test]
fn library_that_is_opened_late_is_probed_and_said_to_be_late() {
    if !can_record() {
        return;
    }
    let library = LibraryCopy::new();
    let provider = Provider::start();
    let mut client = provider.test_client("plain --calls 2 --bytes 5000 --wait-before connect");
    client.arg("--library-folder").arg(library.folder());
    let mut running = Sensor::recording(&client).with_input().start();
    let held: serde_json::Value = serde_json::from_str(&running.line()).unwrap();
    let pid = u32::try_from(held["pid"].as_u64().unwrap()).unwrap();
    crate::support::wait_until("the late library is probed", || is_probed(pid, &library));
    running.take_input().write_all(b"\n").unwrap();
    let recorded = running.finish();
    assert!(recorded.status.success(), "{}", recorded.stderr);
    let said = format!("warning: {} was opened in process {pid} and probed ", library.file().display());
    assert!(recorded.stderr.contains(&said), "{}", recorded.stderr);
    // What came after the probes is whole.
    assert_told(&recorded.events(), &provider.log());
}

#[test]
fn library_of_a_folder_of_its_own_that_is_linked_is_probed_before_the_first_byte() {
    if !can_record() {
        return;
    }
    let library = LibraryCopy::new();
    let provider = Provider::start();
    let mut curl = provider.curl(Api::OpenAi, &Api::OpenAi.simple_body("fake", "Hello", false), &[]);
    curl.env("LD_LIBRARY_PATH", library.folder());
    let recorded = Sensor::recording(&curl).run();
    recorded.assert_clean();
    assert!(recorded.stderr.contains(&library.file().display().to_string()), "{}", recorded.stderr);
    assert_told(&recorded.events(), &provider.log());
}

#[test]
fn program_with_its_own_openssl_that_a_shell_starts_is_told_or_said_to_be_late() {
    if !can_record() {
        return;
    }
    let provider = Provider::start();
    let task = Task { api: Api::OpenAi, model: "fake", bytes: 500, requests: 3, stream: false };
    let Some(node) = provider.client(Client::NodeFetch, &provider.call(task)) else { return };
    let mut shell = Command::new("sh");
    // The executable is not known before it is started.
    shell.args(["-c", "\"$@\"; exit $?", "sh"]).arg(node.get_program()).args(node.get_args());
    for (name, value) in node.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    let recorded = Sensor::recording(&shell).run();
    assert!(recorded.status.success(), "{}", recorded.stderr);
    assert_eq!(provider.log().exchanges().count(), 3);
    let finding = recorded.stderr.lines().any(|line| {
        line.contains("warning")
            && line.contains("node")
            && line.contains("what went over it before was not seen")
    });
    // Distributions build Node.js on the shared OpenSSL, which is probed before anything starts: then all is told.
    assert!(finding || recorded.events().requests().len() == 3, "{}", recorded.stderr);
    // However much came too late: nothing is told that was not.
    let asked: Vec<String> =
        crate::support::calls(&provider.log()).iter().map(|call| call.messages()[0].1.clone()).collect();
    for request in recorded.events().requests() {
        let told = request["data"]["messages"][0]["content"].as_str().unwrap_or_default();
        assert!(
            asked.iter().any(|asked| asked == told) || request["confidence"]["completeness"] == "partial"
        );
    }
}

#[test]
fn nothing_to_probe_and_nothing_said_are_told_apart() {
    if !can_record() {
        return;
    }
    let recorded = Sensor::recording(&Command::new("true")).run();
    recorded.assert_clean();
    assert!(recorded.stderr.contains("0 AI calls made"), "{}", recorded.stderr);
    assert!(
        recorded.stderr.contains("probed ") && recorded.stderr.to_lowercase().contains("ssl_write"),
        "{}",
        recorded.stderr
    );
    assert!(recorded.stderr.contains("nothing was seen of it yet"), "{}", recorded.stderr);
}
