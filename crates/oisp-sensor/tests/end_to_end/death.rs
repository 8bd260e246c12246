//! The sensor dies: the recorded program does not notice.

use rustix::process::Signal;
use serde_json::Value;

use crate::support::{Events, Provider, Sensor, can_record, send_signal, wait_until};

#[test]
fn sensor_killed_under_traffic_leaves_the_client_and_its_bytes_alone() {
    if !can_record() {
        return;
    }
    for arguments in ["--bytes 71245", "--bytes 3000 --stream --model fake-chunks-50 --ex"] {
        let provider = Provider::start();
        let client = provider.test_client(&format!("loop --seconds 2 {arguments}"));
        let mut running = Sensor::recording(&client).start();
        wait_until("calls are made", || provider.log().exchanges().count() > 3);
        send_signal(running.pid(), Signal::KILL);
        let at_death = provider.log().exchanges().count();
        // The client has inherited standard output and goes on.
        let truth: Value = serde_json::from_str(&running.line()).unwrap();
        let recorded = running.finish();
        assert_eq!(recorded.code(), -9);
        let log = provider.log();
        assert!(log.exchanges().count() > at_death, "the client made calls after the sensor's death");
        assert_eq!(truth["notes"]["calls"], log.exchanges().count());
        let object = &truth["objects"][0];
        let connection =
            log.connections.iter().find(|connection| object["local_port"] == connection.peer_port).unwrap();
        assert_eq!(object["wrote"]["sha256"], connection.received_sha256.as_str());
        assert_eq!(object["read"]["sha256"], connection.sent_sha256.as_str());
        assert!(log.exchanges().all(|exchange| exchange.complete));
        // What was written until then can be read, but for a line that was cut.
        let raw = recorded.raw();
        let whole = raw.iter().rposition(|byte| *byte == b'\n').map_or(0, |place| place + 1);
        let events = Events::parse(&raw[..whole]);
        assert!(!events.0.is_empty(), "events were written while it ran");
    }
}

#[test]
fn second_request_to_terminate_ends_the_recording_while_the_command_goes_on() {
    if !can_record() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let go = folder.path().join("go");
    let script = format!(
        "trap 'echo asked' TERM; echo ready; while [ ! -e {} ]; do sleep 0.01; done; exit 6",
        go.display()
    );
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", &script]);
    let mut running = Sensor::recording(&shell).start();
    assert_eq!(running.line(), "ready\n");
    send_signal(running.pid(), Signal::TERM);
    assert_eq!(running.line(), "asked\n");
    send_signal(running.pid(), Signal::TERM);
    // Not recorded any more, but waited for.
    std::fs::write(&go, "").unwrap();
    assert_eq!(running.finish().code(), 6);
}
