//! Connections that must not be taken for each other.

use std::collections::BTreeSet;
use std::path::Path;

use oisp_capture::{CaptureEvent, CloseCause};
use oisp_testkit::openssl_client::Call;
use serde_json::json;

use crate::support::{
    Direction, LibraryCopy, MemoryPair, Recorded, Recording, Setup, assert_whole, can_record, client,
    connections, in_role, matched, role, say,
};

fn record(arguments: &str) -> Recorded {
    let library = LibraryCopy::new();
    let recorded = Recording::of(client(&library, arguments), &Setup::probing(library.candidate())).finish();
    recorded.assert_nothing_lost();
    recorded.assert_no_findings();
    assert_whole(&recorded.truths(), &recorded.events);
    recorded
}

#[test]
fn two_connections_used_in_turn_by_one_thread_do_not_mix() {
    if !can_record() {
        return;
    }
    let recorded = record("two-connections --bytes 71245 --calls 3");
    let threads: BTreeSet<u32> = recorded
        .events
        .iter()
        .filter_map(|event| match event {
            // Not the server's, which uses rustls.
            CaptureEvent::Content(content) if !content.function.starts_with("ring") => Some(content.thread),
            _ => None,
        })
        .collect();
    assert_eq!(threads.len(), 1, "the scenario uses one thread");
    assert_eq!(connections(&recorded.events).len(), 2);
}

#[test]
fn fifty_connections_at_once_are_captured_byte_for_byte() {
    if !can_record() {
        return;
    }
    let recorded = record("parallel --connections 50 --bytes 20000 --calls 2");
    assert_eq!(connections(&recorded.events).len(), 50);
}

#[test]
fn write_that_is_retried_after_want_write_is_captured_once() {
    if !can_record() {
        return;
    }
    let recorded = record("want-write --bytes 600000");
    assert!(recorded.truths()[0].notes["write_retries"].as_u64() > Some(0));
}

#[test]
fn partial_writes_are_captured_as_far_as_they_went() {
    if !can_record() {
        return;
    }
    let recorded = record("want-write --partial --bytes 600000 --ex");
    assert!(recorded.truths()[0].notes["write_retries"].as_u64() > Some(0));
}

#[test]
fn object_freed_and_made_again_at_the_same_address_is_another_connection() {
    if !can_record() {
        return;
    }
    let recorded = record("reuse-ssl --connections 5");
    assert!(recorded.truths()[0].notes["made_at_the_predecessors_address"].as_u64() > Some(0));
    let connections = connections(&recorded.events);
    assert_eq!(connections.len(), 5);
    assert!(connections.values().all(|connection| connection.closed[0].cause == CloseCause::Released));
}

#[test]
fn object_that_ssl_clear_makes_ready_again_is_another_connection() {
    if let Some(told) = role() {
        let mut pair = MemoryPair::connect(Path::new(told["folder"].as_str().unwrap()), Call::Plain);
        pair.send(100, 1000);
        pair.answer(2000, 3000);
        for object in [pair.client.ssl.address(), pair.server.ssl.address()] {
            ssl_clear(told["file"].as_str().unwrap(), object);
        }
        pair.handshake();
        pair.send(30, 1000);
        pair.answer(4, 1000);
        return say(&pair.close().to_json());
    }
    if !can_record() {
        return;
    }
    let library = LibraryCopy::new();
    let told = json!({ "folder": library.folder(), "file": library.file() });
    let command = in_role(object_that_ssl_clear_makes_ready_again_is_another_connection, &told);
    let recorded = Recording::of(command, &Setup::probing(library.candidate())).finish();
    recorded.assert_nothing_lost();
    let truths = recorded.truths();
    let connections = connections(&recorded.events);
    for object in &truths[0].objects {
        let ends: Vec<(u64, u64)> = connections
            .iter()
            .filter(|(id, _)| id.object == object.address)
            .map(|(_, connection)| (connection.end(Direction::Sent), connection.end(Direction::Received)))
            .collect();
        let (first, second) = ((100, 2000), (30, 4));
        let swap = |(sent, received): (u64, u64)| (received, sent);
        if object.address == truths[0].objects[0].address {
            assert_eq!(ends, [first, second]);
        } else {
            assert_eq!(ends, [swap(first), swap(second)]);
        }
    }
    assert_eq!(connections.len(), 4);
}

/// Calls the function of the library that this process has open already.
fn ssl_clear(file: &str, object: usize) {
    let file = std::ffi::CString::new(file).unwrap();
    // SAFETY: the library is open, so this only finds it; the function has this signature, and the object is alive.
    unsafe {
        let library = libc::dlopen(file.as_ptr(), libc::RTLD_NOW | libc::RTLD_NOLOAD);
        assert!(!library.is_null());
        let symbol = libc::dlsym(library, c"SSL_clear".as_ptr());
        assert!(!symbol.is_null());
        let ssl_clear: unsafe extern "C" fn(usize) -> libc::c_int = std::mem::transmute(symbol);
        assert_eq!(ssl_clear(object), 1);
    }
}

#[test]
fn child_of_fork_is_captured_from_its_first_byte_and_equal_addresses_are_two_connections() {
    if !can_record() {
        return;
    }
    let recorded = record("fork --bytes 71245");
    let truth = &recorded.truths()[0];
    assert_eq!(truth.notes["same_address"], true, "the scenario shows its case");
    let connections = connections(&recorded.events);
    assert_eq!(connections.len(), 3);
    assert_eq!(connections.keys().map(|id| id.process).collect::<BTreeSet<_>>().len(), 2);
    let child = matched(std::slice::from_ref(truth), &connections)[2].0.pid;
    let forked = recorded.events.iter().any(|event| {
        matches!(event, CaptureEvent::ProcessForked(forked)
            if forked.parent.0 == recorded.pid && forked.child.0 == child)
    });
    assert!(forked);
}
