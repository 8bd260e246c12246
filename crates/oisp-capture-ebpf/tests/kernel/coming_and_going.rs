//! Probes come and go while the program runs through them.

use std::io::{BufReader, Read as _};
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use oisp_capture_ebpf::{EbpfCapture, Options};
use oisp_testkit::openssl_client::{Call, Ssl};
use serde_json::{Value, json};

use crate::support::{
    LibraryCopy, MemoryPair, ProbeState, can_record, in_role, line_of, probe_state, role, say, wait_until,
};

/// How often, where nothing else is said (`OISP_TEST_ROUNDS`).
const ROUNDS: u32 = 12;
/// After so many it is told how far it is.
const ROUNDS_TOLD: u32 = 50;

#[test]
fn program_under_load_sees_no_wrong_byte_and_lives_while_probes_come_and_go() {
    if let Some(told) = role() {
        return be_under_load(&told);
    }
    if !can_record() {
        return;
    }
    let rounds =
        std::env::var("OISP_TEST_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(ROUNDS);
    let library = LibraryCopy::new();
    let mut command = in_role(
        program_under_load_sees_no_wrong_byte_and_lives_while_probes_come_and_go,
        &json!({ "folder": library.folder() }),
    );
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    assert_eq!(line_of(&mut output)["running"], true);

    // The file is analysed once, not in every round.
    let analyses = Some(library.folder().join("analyses"));
    let options = Options { analyses, ..Options::default() };
    let mut capture = EbpfCapture::load(&options).unwrap_or_else(|error| panic!("{error}"));
    capture.record_process(child.id()).unwrap();
    let begin = Instant::now();
    for round in 0..rounds {
        assert_eq!(probe_state(child.id(), &library), ProbeState::Breakpoints, "round {round}");
        assert!(capture.release(library.file()), "round {round}");
        // In every second round the next ones come while these go.
        if round % 2 == 0 {
            wait_until("the original code", || probe_state(child.id(), &library) == ProbeState::Original);
        }
        capture.probe(library.file());
        assert_eq!(child.try_wait().unwrap(), None, "round {round}");
        if (round + 1) % ROUNDS_TOLD == 0 {
            println!("{} of {rounds} rounds in {:?}", round + 1, begin.elapsed());
        }
    }
    let attachments = capture.attached_files().iter().filter(|file| file.path == library.file()).count();
    assert_eq!(attachments, usize::try_from(rounds).unwrap() + 1, "at the beginning, and in each round");
    drop(capture);
    wait_until("the original code", || probe_state(child.id(), &library) == ProbeState::Original);

    drop(child.stdin.take());
    let told = line_of(&mut output);
    assert!(child.wait().unwrap().success());
    let echoes = told["echoes"].as_u64().unwrap();
    assert!(echoes > u64::from(rounds), "it was under load: {echoes} echoes in {rounds} rounds");
    let probes = library.sites().len();
    println!("{rounds} rounds, {echoes} echoes, {attachments} attachments to {probes} places");
}

/// Two threads, each with a connection on which all that is sent comes back and is compared, until the input ends.
fn be_under_load(told: &Value) {
    let folder = Path::new(told["folder"].as_str().unwrap());
    let (stop, echoes) = (AtomicBool::new(false), AtomicU64::new(0));
    let mut pairs = [Call::Plain, Call::Ex].map(|call| MemoryPair::connect(folder, call));
    say(&json!({ "running": true }));
    std::thread::scope(|scope| {
        for pair in &mut pairs {
            scope.spawn(|| {
                let mut number = 0_u64;
                while !stop.load(Ordering::Relaxed) {
                    echo(pair, number);
                    number += 1;
                }
                echoes.fetch_add(number, Ordering::Relaxed);
            });
        }
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        stop.store(true, Ordering::Relaxed);
    });
    say(&json!({ "echoes": echoes.into_inner() }));
    // A byte that was wrong has ended this process by now.
}

fn echo(pair: &mut MemoryPair, number: u64) {
    let length = usize::try_from(1 + number * 37 % 3000).unwrap();
    let sent: Vec<u8> = (0..length).map(|index| (index as u64 * 31 + number) as u8).collect();
    let there = carry(&mut pair.client.ssl, &mut pair.server.ssl, &sent);
    let back = carry(&mut pair.server.ssl, &mut pair.client.ssl, &there);
    assert_eq!(back, sent, "echo {number}");
}

fn carry(from: &mut Ssl, to: &mut Ssl, bytes: &[u8]) -> Vec<u8> {
    assert_eq!(from.try_write(bytes).unwrap(), bytes.len());
    to.feed(&from.drain()).unwrap();
    let mut received = vec![0; bytes.len()];
    assert_eq!(to.try_read(&mut received).unwrap(), bytes.len());
    received
}
