//! Each connection is told with the addresses of its own socket.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::Command;

use oisp_capture::{CaptureEvent, ConnectionId, SocketEnds};
use oisp_testkit::certificates::Certificates;

use crate::support::{
    Direction, LibraryCopy, Recorded, Recording, Setup, assert_whole, can_record, client, connections,
    matched,
};

/// The sockets that were told last, by connection. Before a connection's first content or after it, never after its end.
fn told(events: &[CaptureEvent]) -> BTreeMap<ConnectionId, Option<SocketEnds>> {
    let mut told = BTreeMap::new();
    let mut closed = Vec::new();
    for event in events {
        match event {
            CaptureEvent::ConnectionSocket(socket) => {
                assert!(!closed.contains(&socket.connection), "told after the connection's end");
                told.insert(socket.connection, socket.ends);
            }
            CaptureEvent::ConnectionClosed(over) => closed.push(over.connection),
            _ => {}
        }
    }
    told
}

#[test]
fn every_connection_of_one_thread_and_of_reused_objects_has_its_own_port() {
    if !can_record() {
        return;
    }
    for arguments in [
        "two-connections --bytes 20000 --calls 3",
        "reuse-ssl --connections 5",
        "parallel --connections 20 --bytes 2000 --calls 2",
        "plain --bytes 600000 --ex",
    ] {
        let library = LibraryCopy::new();
        let recorded =
            Recording::of(client(&library, arguments), &Setup::probing(library.candidate())).finish();
        recorded.assert_nothing_lost();
        recorded.assert_no_findings();
        let truths = recorded.truths();
        assert_whole(&truths, &recorded.events);
        let told = told(&recorded.events);
        let connections = connections(&recorded.events);
        let ids: BTreeMap<*const _, ConnectionId> =
            connections.iter().map(|(id, connection)| (std::ptr::from_ref(connection), *id)).collect();
        for (object, connection) in matched(&truths, &connections) {
            let id = ids[&std::ptr::from_ref(connection)];
            let ends = told.get(&id).copied().flatten();
            let port = ends.map(|ends| u64::from(ends.local.port()));
            assert_eq!(port, Some(object.local_port()), "{arguments}: {object:?}");
        }
    }
}

/// Runs the program whose connections say their own addresses, and compares them with what was told of each. Gives how
/// many requests, as against answers, were delivered when their socket was not yet known.
fn addresses_are_told(mode: &str, host: &str, version: &str, count: usize) -> usize {
    let library = LibraryCopy::new();
    let files = Certificates::generate(&[]).unwrap().write_to(library.folder()).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kernel/programs/addresses.py");
    let mut command = Command::new("/usr/bin/python3");
    command.arg(script).args([mode, host]).arg(&files.server).arg(&files.server_key);
    command.args([version, &count.to_string()]).env("LD_LIBRARY_PATH", library.folder());
    let recorded = Recording::of(command, &Setup::probing(library.candidate())).finish();
    assert!(recorded.status.success(), "{}", recorded.output);
    recorded.assert_nothing_lost();
    assert_told_as_said(&recorded, count * if mode == "sockets" { 2 } else { 1 })
}

fn assert_told_as_said(recorded: &Recorded, clients: usize) -> usize {
    let told = told(&recorded.events);
    let mut seen = 0;
    for (id, connection) in connections(&recorded.events) {
        let sent = connection.stream(Direction::Sent).whole();
        let text = String::from_utf8(sent).unwrap();
        let Some((first, _)) = text.split_once('.').filter(|_| !text.is_empty()).map(|_| {
            let end = text.find(". ").unwrap();
            (&text[..end], ())
        }) else {
            continue;
        };
        let words: Vec<&str> = first.split(' ').collect();
        let address = |at: usize| {
            let ip: IpAddr = words[at].parse().unwrap();
            SocketAddr::new(ip.to_canonical(), words[at + 1].parse().unwrap())
        };
        let said = SocketEnds { local: address(0), remote: address(2) };
        assert_eq!(told.get(&id), Some(&Some(said)), "{id:?}");
        seen += 1;
    }
    assert_eq!(seen, 2 * clients, "both ends of every connection");
    // How often the request came first.
    let mut known = std::collections::BTreeSet::new();
    let mut early = std::collections::BTreeSet::new();
    for event in &recorded.events {
        match event {
            CaptureEvent::ConnectionSocket(socket) => drop(known.insert(socket.connection)),
            CaptureEvent::Content(content) if !known.contains(&content.connection) => {
                early.insert(content.connection);
            }
            _ => {}
        }
    }
    early.len()
}

#[test]
fn python_with_tls_on_the_socket_is_told_before_its_first_content_over_ipv4_and_ipv6() {
    if !can_record() {
        return;
    }
    for (host, version) in [("127.0.0.1", "TLSv1_3"), ("::1", "TLSv1_3"), ("127.0.0.1", "TLSv1_2")] {
        assert_eq!(addresses_are_told("sockets", host, version, 8), 0);
    }
}

#[test]
fn python_with_tls_in_memory_and_many_connections_on_one_thread_is_told_over_ipv4_and_ipv6() {
    if !can_record() {
        return;
    }
    for (host, version) in [("127.0.0.1", "TLSv1_3"), ("::1", "TLSv1_3"), ("::1", "TLSv1_2")] {
        let early = addresses_are_told("asyncio", host, version, 8);
        eprintln!(
            "asyncio, {host}, {version}: {early} connections with content before their socket was known"
        );
    }
}
