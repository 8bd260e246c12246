//! What agents and the tool servers that they start write to each other over unix sockets.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use oisp_capture::{CaptureEvent, CloseCause, ConnectionId, CoverageReason, PIPE, UNIX_STREAM};
use oisp_capture_ebpf::Candidate;
use oisp_testkit::transcript::sha256_hex;
use serde_json::Value;

use crate::support::{Direction, Recorded, Recording, Setup, can_record, connections};

const PYTHON: &str = "/usr/bin/python3";

fn program(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kernel/programs").join(name)
}

/// The agent in Python: `pairs` or `one`, how many servers, the exchanges.
fn agent(pairs: &str, servers: usize, exchanges: &[&str]) -> Command {
    let mut command = Command::new(PYTHON);
    command.arg(program("stdio_agent.py")).arg(program("tool_server.py"));
    command.arg(pairs).arg(servers.to_string()).args(exchanges);
    command
}

fn said(recorded: &Recorded) -> Vec<Value> {
    assert!(recorded.status.success(), "{}: {}", recorded.status, recorded.output);
    let lines = recorded.output.lines().filter(|line| line.starts_with('{'));
    lines.map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The process at the other end of each connection: told once, before its first content.
fn peers(events: &[CaptureEvent]) -> BTreeMap<ConnectionId, u32> {
    let mut peers = BTreeMap::new();
    for event in events {
        match event {
            CaptureEvent::ConnectionPeer(told) => {
                assert_eq!(peers.insert(told.connection, told.peer.0), None, "told twice");
            }
            CaptureEvent::Content(content) if [UNIX_STREAM, PIPE].contains(&content.function) => {
                assert!(peers.contains_key(&content.connection), "content before the peer is known");
            }
            _ => {}
        }
    }
    peers
}

/// Each connection between an agent and a server was told whole, with both processes, and nothing else was.
fn assert_told(recorded: &Recorded) {
    assert_told_as(recorded, UNIX_STREAM);
}

fn assert_told_as(recorded: &Recorded, function: &str) {
    recorded.assert_nothing_lost();
    recorded.assert_no_findings();
    let said = said(recorded);
    let peers = peers(&recorded.events);
    let connections = connections(&recorded.events);
    assert_eq!(connections.len(), said.len(), "{connections:?}");
    for truth in said {
        let (pid, server) = (truth["pid"].as_u64().unwrap(), truth["server"].as_u64().unwrap());
        let is_it = |id: &ConnectionId| {
            u64::from(id.process.0) == pid && peers.get(id).is_some_and(|peer| u64::from(*peer) == server)
        };
        let (_, connection) = connections.iter().find(|(id, _)| is_it(id)).expect("a connection");
        assert_eq!(connection.functions.iter().copied().collect::<Vec<_>>(), [function]);
        for (direction, name) in [(Direction::Sent, "sent"), (Direction::Received, "received")] {
            let bytes = connection.stream(direction).whole();
            let expected = &truth[name];
            assert_eq!(bytes.len() as u64, expected["bytes"].as_u64().unwrap(), "{name}");
            assert_eq!(sha256_hex(&bytes), expected["sha256"].as_str().unwrap(), "{name}");
            assert_eq!(connection.end(direction), bytes.len() as u64, "{name}");
        }
        assert_ne!(connection.closed[0].cause, CloseCause::RecordingEnded);
    }
}

fn recorded(command: Command) -> Recorded {
    Recording::of(command, &Setup::default()).finish()
}

#[test]
fn every_way_to_write_is_told_whole_on_one_connection_with_both_processes() {
    if !can_record() {
        return;
    }
    let exchanges =
        ["whole:10:10", "vector:100:100", "message:5:5", "split:60:60", "bytes:3:3", "whole:102400:102400"];
    for pairs in ["pairs", "one"] {
        assert_told(&recorded(agent(pairs, 1, &exchanges)));
    }
}

#[test]
fn conversation_that_begins_byte_by_byte_or_in_a_vector_is_recognised() {
    if !can_record() {
        return;
    }
    for first in ["bytes:2:2", "split:10:10", "vector:10:10", "message:10:10", "vector:300000:300000"] {
        assert_told(&recorded(agent("pairs", 1, &[first, "whole:1:1"])));
    }
}

#[test]
fn two_servers_at_once_are_two_connections() {
    if !can_record() {
        return;
    }
    let exchanges = ["whole:10:2000", "split:4000:10", "whole:50000:50000", "whole:1:1"];
    for pairs in ["pairs", "one"] {
        assert_told(&recorded(agent(pairs, 2, &exchanges)));
    }
}

#[test]
fn node_with_a_python_server_is_told_whole() {
    if !can_record() {
        return;
    }
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let node = std::env::split_paths(&folders).map(|folder| folder.join("node")).find(|file| file.is_file());
    let Some(node) = node else {
        assert!(std::env::var_os("OISP_REQUIRE_ALL").is_none_or(|value| value != "1"), "there is no node");
        eprintln!("skipped: there is no node");
        return;
    };
    let mut command = Command::new(&node);
    command.arg(program("stdio_agent.mjs")).arg(PYTHON).arg(program("tool_server.py"));
    command.args(["10:10", "1:102400", "200000:1", "5:5"]);
    let setup = Setup { candidates: vec![Candidate { path: node, why: "the command" }], ..Setup::default() };
    assert_told(&Recording::of(command, &setup).finish());
}

#[test]
fn pipes_are_told_whole_where_that_is_asked_for_and_not_seen_otherwise() {
    if !can_record() {
        return;
    }
    let exchanges = ["whole:10:10", "vector:100:100", "split:60:60", "bytes:3:3", "whole:30000:30000"];
    let mut setup = Setup::default();
    setup.options.pipes = true;
    assert_told_as(&Recording::of(agent("pipes", 2, &exchanges), &setup).finish(), PIPE);
    let socket_pairs = Recording::of(agent("one", 1, &exchanges), &setup).finish();
    assert_told(&socket_pairs);
    let unseen = recorded(agent("pipes", 1, &exchanges));
    assert_eq!((said(&unseen).len(), unseen.statistics.content_records), (1, 0));
}

#[test]
fn program_that_stays_at_pipes_is_a_finding_where_pipes_are_not_followed() {
    if !can_record() {
        return;
    }
    let script = "import subprocess as s; s.Popen(['sleep', '1.3'], stdin=s.PIPE, stdout=s.PIPE).wait()";
    let found = |pipes: bool| {
        let mut command = Command::new(PYTHON);
        command.args(["-c", script]);
        let mut setup = Setup::default();
        setup.options.pipes = pipes;
        let recorded = Recording::of(command, &setup).finish();
        let programs = recorded.events.into_iter().filter_map(|event| match event {
            CaptureEvent::Coverage(finding) if finding.reason == CoverageReason::PipesNotFollowed => {
                finding.file
            }
            _ => None,
        });
        programs.collect::<Vec<PathBuf>>()
    };
    let told = found(false);
    assert!(told.len() == 1 && told[0].ends_with("sleep"), "{told:?}");
    assert_eq!(found(true), Vec::<PathBuf>::new());
}

#[test]
fn what_is_json_but_not_json_rpc_is_told_by_nobody_and_copied_only_until_its_first_line_is_known() {
    if !can_record() {
        return;
    }
    let recorded = recorded(agent("pairs", 1, &["plain:10:10", "whole:10:10"]));
    assert_eq!(said(&recorded).len(), 1);
    assert_eq!(connections(&recorded.events).len(), 0);
    assert_eq!(peers(&recorded.events).len(), 0);
    recorded.assert_no_findings();
}

#[test]
fn what_cannot_be_json_is_not_copied() {
    if !can_record() {
        return;
    }
    let script = "
import socket
for first in [b'GET / HTTP/1.1', b'[1, 2]', b' hello', b'\\x00', b'Content-Length: 5\\r\\n\\r\\n{}']:
    one, other = socket.socketpair()
    one.sendall(first)
    one.sendall(b'{\"jsonrpc\":\"2.0\",\"method\":\"a\"}\\n')
    other.recv(1000)
one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
one.send(b'{\"jsonrpc\":\"2.0\",\"method\":\"a\"}\\n')
one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
one.send(b'{\"jsonrpc\":\"2.0\",\"method\":\"a\"}\\n')
";
    let mut command = Command::new(PYTHON);
    command.args(["-c", script]);
    let recorded = recorded(command);
    assert!(recorded.status.success());
    assert_eq!(recorded.statistics.content_records, 0);
}

#[test]
fn socket_that_comes_at_the_address_of_an_earlier_one_is_judged_by_itself() {
    if !can_record() {
        return;
    }
    let script = "
import os, socket
message = b'{\"jsonrpc\":\"2.0\",\"method\":\"a\"}\\n'
for number in range(40):
    one, other = socket.socketpair()
    one.sendall(b'hello' if number % 2 else message)
    other.recv(1000)
    one.close()
    if number % 4:
        assert other.recv(1000) == b''
    other.close()
";
    let mut command = Command::new(PYTHON);
    command.args(["-c", script]);
    let recorded = recorded(command);
    assert!(recorded.status.success());
    let peers = peers(&recorded.events);
    let connections = connections(&recorded.events);
    assert_eq!(connections.len(), 20);
    for (id, connection) in &connections {
        assert_eq!(connection.stream(Direction::Sent).whole(), b"{\"jsonrpc\":\"2.0\",\"method\":\"a\"}\n");
        assert_eq!((id.process.0, peers.get(id)), (recorded.pid, Some(&recorded.pid)), "both ends are one's");
        assert_eq!(connection.closed.len(), 1);
    }
}

#[test]
fn processes_out_of_scope_are_not_seen() {
    if !can_record() {
        return;
    }
    let recording = Recording::of(Command::new("/bin/cat"), &Setup { with_input: true, ..Setup::default() });
    let other = agent("pairs", 1, &["whole:10:10"]).output().unwrap();
    assert!(other.status.success());
    let recorded = recording.finish();
    assert_eq!(recorded.statistics.content_records, 0);
    assert_eq!(peers(&recorded.events).len(), 0);
}
