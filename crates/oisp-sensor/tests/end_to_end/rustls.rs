//! Programs with rustls: both directions of a connection are seen apart and joined.
//!
//! `OISP_TEST_PROGRAMS` names a folder with builds of `crates/oisp-testkit/programs/rustls-client`: `rustls-client-aws-lc`
//! and `rustls-client-ring` (without the default feature, with `ring`).

use std::path::PathBuf;
use std::process::Command;

use oisp_testkit::provider::ProviderLog;

use crate::support::{Provider, Sensor, assert_told, can_record, is_missing, record};

const PROGRAMS_VARIABLE: &str = "OISP_TEST_PROGRAMS";

/// A frame of HTTP/2: its type, and its length without debug data (RFC 9113, section 6.8).
const GOAWAY: u8 = 7;
const GOAWAY_BYTES: usize = 17;

fn program(name: &str) -> Option<PathBuf> {
    let folder = std::env::var_os(PROGRAMS_VARIABLE).map(PathBuf::from);
    let program = folder.map(|folder| folder.join(name)).filter(|program| program.is_file());
    if program.is_none() {
        is_missing(&format_args!("{name} ({PROGRAMS_VARIABLE})"));
    }
    program
}

fn command(program: &PathBuf, provider: &Provider, arguments: &str) -> Command {
    let mut command = Command::new(program);
    command.arg(provider.base_url()).arg(provider.ca_file()).args(arguments.split(' '));
    command
}

/// What each connection carried that carried something.
fn bytes(log: &ProviderLog) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut bytes: Vec<_> = log
        .connections
        .iter()
        .inspect(|connection| assert!(connection.is_whole()))
        // A client may connect once more than it needs.
        .filter(|connection| connection.received_total > 0)
        .map(|connection| (connection.received.clone(), connection.sent.clone()))
        .collect();
    bytes.sort();
    bytes
}

fn recorded_bytes_are_those_of_the_provider(program_name: &str, arguments: &str) {
    let Some(program) = program(program_name).filter(|_| can_record()) else { return };
    let provider = if arguments.contains("http2") { Provider::start_http2() } else { Provider::start() };
    let (connections, output) = record(command(&program, &provider, arguments));
    let log = provider.log();
    let count: Vec<usize> = arguments.split(' ').skip(1).filter_map(|number| number.parse().ok()).collect();
    assert_eq!(String::from_utf8_lossy(&output).lines().count(), count[0] * count[1]);
    let mut recorded: Vec<_> =
        connections.into_iter().map(|connection| (connection.sent, connection.received)).collect();
    recorded.sort();
    let mut truth = bytes(&log);
    for ((_, sent), (_, received)) in truth.iter_mut().zip(&recorded) {
        // A client that leaves does not read that the provider says farewell.
        if arguments.contains("http2") && sent.len() == received.len() + GOAWAY_BYTES {
            assert_eq!(sent[received.len() + 3], GOAWAY);
            sent.truncate(received.len());
        }
    }
    let lengths = |all: &[(Vec<u8>, Vec<u8>)]| -> Vec<_> {
        all.iter().map(|(sent, received)| (sent.len(), received.len())).collect()
    };
    assert_eq!(lengths(&recorded), lengths(&truth), "{arguments}");
    assert!(recorded == truth, "other bytes: {arguments}");
}

/// Eight connections at once on several threads, in each protocol, plain and streamed; and connections one after the
/// other, which use the contexts of those before.
const RUNS: [&str; 10] = [
    "plain 1 1",
    "plain 8 3",
    "stream 8 3",
    "plain 8 3 tls1.2",
    "stream 8 3 tls1.2",
    "plain 8 4 http2",
    "stream 8 4 http2",
    "stream 8 4 http2 tls1.2",
    "stream 2 10 reconnect",
    "plain 8 6 reconnect tls1.2",
];

#[test]
fn bytes_of_rustls_over_aws_lc_are_those_of_the_provider() {
    for arguments in RUNS {
        recorded_bytes_are_those_of_the_provider("rustls-client-aws-lc", arguments);
    }
}

#[test]
fn bytes_of_rustls_over_ring_with_symbols_are_those_of_the_provider() {
    for arguments in RUNS {
        recorded_bytes_are_those_of_the_provider("rustls-client-ring", arguments);
    }
}

#[test]
fn calls_of_rustls_over_aws_lc_are_told_as_the_provider_saw_them() {
    let Some(program) = program("rustls-client-aws-lc").filter(|_| can_record()) else { return };
    for arguments in ["plain 8 3", "stream 8 3", "stream 4 3 reconnect tls1.2", "stream 8 4 http2"] {
        let provider = if arguments.contains("http2") { Provider::start_http2() } else { Provider::start() };
        let recorded = Sensor::recording(&command(&program, &provider, arguments)).run();
        recorded.assert_clean();
        assert_told(&recorded.events(), &provider.log());
    }
}
