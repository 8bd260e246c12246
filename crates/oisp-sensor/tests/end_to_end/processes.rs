//! Processes: what was started, by whom, and how it ended; which processes are in scope.

use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::support::{Provider, Sensor, assert_told, can_record};

#[test]
fn programs_of_a_tree_are_told_with_arguments_folder_parents_and_exit() {
    if !can_record() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let place = std::fs::canonicalize(folder.path()).unwrap();
    let mut command = Command::new("sh");
    command.current_dir(&place);
    let script = "sh -c 'exit 3'; env FOO=bar sh -c 'echo \"two words\" >/dev/null; kill -TERM $$'; true '' 'a  b'; /bin/true 'ä\n'";
    command.args(["-c", script, "name", "and more"]);
    let recorded = Sensor::recording(&command).run();
    recorded.assert_clean();
    let events = recorded.events();

    let started: Vec<&Value> = events.of_type("process.exec").collect();
    let arguments: Vec<Vec<&str>> = started
        .iter()
        .map(|event| {
            event["data"]["args"].as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect()
        })
        .collect();
    assert_eq!(arguments[0], ["sh", "-c", script, "name", "and more"]);
    assert_eq!(arguments[1], ["sh", "-c", "exit 3"]);
    assert_eq!(arguments[2], ["env", "FOO=bar", "sh", "-c", "echo \"two words\" >/dev/null; kill -TERM $$"]);
    // `env` becomes the shell: the same process, another program.
    assert_eq!(arguments[3], ["sh", "-c", "echo \"two words\" >/dev/null; kill -TERM $$"]);
    assert_eq!(started[3]["process"]["pid"], started[2]["process"]["pid"]);
    assert_eq!(arguments.last().unwrap(), &["/bin/true", "ä\n"]);

    let first = started[0];
    assert_eq!(first["process"]["ppid"], recorded.pid);
    assert_eq!(first["data"]["cwd"], place.to_str().unwrap());
    for child in &started[1..] {
        assert_eq!(child["process"]["ppid"], first["process"]["pid"]);
        let ancestors: Vec<&Value> =
            child["process"]["ancestors"].as_array().unwrap().iter().map(|one| &one["pid"]).collect();
        assert_eq!(
            ancestors[..3],
            [&first["process"]["pid"], &json!(recorded.pid), &json!(std::process::id()),]
        );
        assert_eq!(child["process"]["parent"]["pid"], first["process"]["pid"]);
    }

    let exit_of = |event: &Value| {
        let pid = &event["process"]["pid"];
        let exits: Vec<&Value> =
            events.of_type("process.exit").filter(|exit| exit["process"]["pid"] == *pid).collect();
        let [exit] = exits[..] else { panic!("{} exits of {pid}", exits.len()) };
        exit["data"].clone()
    };
    assert_eq!(exit_of(started[1])["exit_code"], 3);
    assert_eq!(exit_of(started[2])["signal_name"], "SIGTERM");
    assert_eq!(exit_of(started[2])["exit_code"], 143);
    assert_eq!(exit_of(first)["termination_type"], "normal");
}

#[test]
fn calls_of_a_child_are_attributed_to_the_child_and_others_are_out_of_scope() {
    if !can_record() {
        return;
    }
    let (inside, outside) = (Provider::start(), Provider::start());
    // Another process on the same library at the same time, which is not recorded.
    let mut other = outside.test_client("loop --seconds 30 --pause-ms 1");
    let mut other = other.stdout(Stdio::null()).spawn().unwrap();
    let client = inside.test_client("plain --calls 3");
    let mut shell = Command::new("sh");
    shell.args(["-c", "\"$@\"; exit $?", "sh"]).arg(client.get_program()).args(client.get_args());
    let recorded = Sensor::recording(&shell).run();
    other.kill().unwrap();
    other.wait().unwrap();
    // The client contains rustls, which it does not use here, and is known only once the shell starts it.
    recorded.assert_clean_but_for("oisp-test-client was opened in process");
    assert!(outside.log().exchanges().next().is_some(), "the other process made calls");
    let events = recorded.events();
    assert_eq!(assert_told(&events, &inside.log()).len(), 3);
    let child = events.of_type("process.exec").nth(1).expect("the client");
    for event in events.requests() {
        assert_eq!(event["process"]["pid"], child["process"]["pid"]);
        assert_eq!(event["process"]["name"], "oisp-test-client");
        assert_eq!(event["process"]["ancestors"][1]["pid"], recorded.pid);
    }
}

#[test]
fn running_client_is_recorded_by_its_process_id() {
    use std::io::{BufRead as _, BufReader, Write as _};
    if !can_record() {
        return;
    }
    let provider = Provider::start();
    let mut client = provider
        .test_client("plain --calls 3 --bytes 71245 --stream --wait-before connect")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(client.stdout.take().unwrap());
    output.read_line(&mut String::new()).unwrap();
    let mut running = Sensor::recording_process(client.id()).start();
    running.wait_for("recording process");
    client.stdin.take().unwrap().write_all(b"\n").unwrap();
    let recorded = running.finish();
    assert!(client.wait().unwrap().success());
    recorded.assert_clean();
    let events = recorded.events();
    assert_eq!(assert_told(&events, &provider.log()).len(), 3);
    for event in events.requests() {
        assert_eq!(event["process"]["pid"], client.id());
        assert_eq!(event["process"]["ppid"], std::process::id());
    }
}
