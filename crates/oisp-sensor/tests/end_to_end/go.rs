//! Go programs, whose TLS is their own: with and without symbols, of several versions, with goroutines and stacks that
//! move. What is captured is what the provider logged, byte for byte.
//!
//! `OISP_TEST_GO` lists the `go` programs of the test of all versions.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use oisp_testkit::calls::Api;
use oisp_testkit::peers::{Ask, GoBuild, GoMode, PeerError, Reply, listed_go, newest_go, system_go};

use crate::support::{Provider, Sensor, assert_told, can_record, peers, record, unless_missing};

const PLAIN: &[&str] = &[];
const STRIPPED: &[&str] = &["-trimpath", "-ldflags=-s -w"];
const STRIPPED_PIE: &[&str] = &["-trimpath", "-buildmode=pie", "-ldflags=-s -w"];

/// Eight: plain and streamed, in both formats, of a coding agent's size and of 1 MiB.
fn asks() -> Vec<Ask> {
    [
        (Api::OpenAi, 300, false, "fake-answer-3000"),
        (Api::OpenAi, 71_245, true, "fake-answer-6000-chunks-40"),
        (Api::Anthropic, 71_245, false, "fake-answer-60000"),
        (Api::Anthropic, 500, true, "fake-answer-6000-chunks-40-delay-2ms"),
        (Api::OpenAi, 1 << 20, false, "fake-answer-1000"),
        (Api::Anthropic, 700, false, "fake-answer-1000000"),
        (Api::OpenAi, 700, true, "fake-answer-3000-chunks-20-gzip"),
        (Api::Anthropic, 150_000, true, "fake-answer-3000-chunks-200"),
    ]
    .into_iter()
    .enumerate()
    .map(|(number, (api, bytes, stream, model))| Ask {
        path: format!("{}?number={number}", api.path()),
        body: api.sized_request("", model, number as u64, bytes, stream).body,
    })
    .collect()
}

fn provider(mode: GoMode) -> Provider {
    if mode == GoMode::Http2 { Provider::start_http2() } else { Provider::start() }
}

/// Records the program and compares every connection with the provider's log.
fn assert_captured_as_logged(build: &GoBuild, folder: &Path, mode: GoMode) {
    let provider = provider(mode);
    let asks = asks();
    let client =
        peers(folder).go_client(build, mode, provider.base_url(), provider.ca_file(), &asks).unwrap();
    let (captured, output) = record(client);
    let replies = Reply::all(&output).unwrap();
    assert!(replies.iter().all(|reply| reply.status == 200), "{replies:?}");
    let replied: BTreeSet<_> = replies.into_iter().map(|reply| reply.path).collect();
    assert_eq!(replied, asks.iter().map(|ask| ask.path.clone()).collect());

    let log = provider.log();
    let mut logged: Vec<_> =
        log.connections.iter().filter(|connection| connection.received_total > 0).collect();
    assert_eq!(captured.len(), logged.len());
    let connections = if matches!(mode, GoMode::Http1 | GoMode::Http2) { 1 } else { asks.len() };
    assert_eq!(captured.len(), connections);
    for connection in &captured {
        let same = logged.iter().position(|logged| logged.received == connection.sent);
        let logged = logged.remove(same.expect("the provider received what was captured"));
        assert!(logged.sent.starts_with(&connection.received), "received bytes differ");
        let bodies = connection.exchanges();
        assert_eq!(bodies.len(), logged.exchanges.len());
        for told in bodies.values() {
            // HTTP/2 answers in any order.
            let asked = |head: &[u8]| head.split(|byte| *byte == b' ').nth(1) == Some(told.target.as_bytes());
            let exchange = logged.exchanges.iter().find(|exchange| asked(&exchange.request_head)).unwrap();
            assert!(told.complete, "incomplete: {}", told.target);
            assert!(told.request == exchange.request_body, "request body of {}", told.target);
            assert!(told.response == exchange.response_body, "response body of {}", told.target);
        }
    }
}

fn assert_every_mode_is_captured(toolchain: PathBuf, forms: &[&'static [&'static str]]) {
    for arguments in forms.iter().copied() {
        let build = GoBuild { toolchain: toolchain.clone(), arguments };
        let folder = tempfile::tempdir().unwrap();
        for mode in [GoMode::Http1, GoMode::Http2, GoMode::AtOnce, GoMode::MovingStacks] {
            eprintln!("{} {arguments:?} {mode:?}", toolchain.display());
            assert_captured_as_logged(&build, folder.path(), mode);
        }
    }
}

#[test]
fn bytes_of_programs_of_the_newest_go_are_captured_as_the_provider_logged_them_stripped_or_not() {
    if !can_record() {
        return;
    }
    let Some(go) = unless_missing(newest_go().map_err(PeerError::Missing)) else { return };
    assert_every_mode_is_captured(go, &[PLAIN, STRIPPED, STRIPPED_PIE]);
}

#[test]
fn bytes_of_stripped_programs_of_the_systems_go_are_captured_as_the_provider_logged_them() {
    if !can_record() {
        return;
    }
    let Some(go) = unless_missing(system_go().map_err(PeerError::Missing)) else { return };
    assert_every_mode_is_captured(go, &[STRIPPED]);
}

#[test]
#[ignore = "compiles the standard library for every version and form"]
fn bytes_of_programs_of_every_listed_go_are_captured_as_the_provider_logged_them() {
    if !can_record() {
        return;
    }
    let Some(all) = unless_missing(listed_go().map_err(PeerError::Missing)) else { return };
    for go in all {
        assert_every_mode_is_captured(
            go,
            &[PLAIN, STRIPPED, &["-trimpath"], &["-buildmode=pie"], STRIPPED_PIE],
        );
    }
}

#[test]
fn calls_of_a_stripped_go_program_are_told_as_the_provider_saw_them() {
    if !can_record() {
        return;
    }
    let Some(toolchain) = unless_missing(system_go().map_err(PeerError::Missing)) else { return };
    let build = GoBuild { toolchain, arguments: STRIPPED };
    let folder = tempfile::tempdir().unwrap();
    for mode in [GoMode::AtOnce, GoMode::Http2] {
        let provider = provider(mode);
        let asks = asks();
        let client = peers(folder.path())
            .go_client(&build, mode, provider.base_url(), provider.ca_file(), &asks)
            .unwrap();
        let recorded = Sensor::recording(&client).run();
        recorded.assert_clean();
        assert_eq!(assert_told(&recorded.events(), &provider.log()).len(), asks.len());
    }
}
