//! A ring that runs full: nothing is lost without a count, nothing is displaced, and ends are told.

use std::path::Path;

use oisp_capture::{CaptureEvent, Losses};
use oisp_capture_ebpf::Options;
use oisp_testkit::openssl_client::Call;
use serde_json::json;

use crate::support::{
    Direction, LibraryCopy, MemoryPair, Recorded, Recording, Setup, can_record, client, connections, in_role,
    matched, role,
};

/// The smallest ring that there is.
fn tiny() -> Options {
    Options { ring_bytes: 64 << 10, ..Options::default() }
}

/// Every byte of the truth was delivered in its place or is in the count; gives the bytes lost.
fn assert_accounted(recorded: &Recorded, library: &LibraryCopy) -> u64 {
    let truths = recorded.truths();
    let connections = connections(&recorded.events);
    let (mut delivered, mut total) = (0, 0);
    for (place, (object, connection)) in matched(&truths, &connections).into_iter().enumerate() {
        for (direction, name) in [(Direction::Sent, "wrote"), (Direction::Received, "read")] {
            let bytes = std::fs::read(library.folder().join(format!("{place}-{name}.bin"))).unwrap();
            assert_eq!(bytes.len() as u64, object.total(direction));
            let stream = connection.stream(direction);
            stream.assert_part_of(&bytes);
            delivered += stream.delivered();
            total += object.total(direction);
            assert_eq!(
                connection.end(direction),
                object.total(direction),
                "the end is told although bytes are lost"
            );
        }
    }
    let losses = recorded.statistics.losses;
    assert_eq!(delivered + losses.content_bytes(), total);
    assert_eq!(
        losses,
        Losses {
            ring_full_records: losses.ring_full_records,
            ring_full_bytes: losses.ring_full_bytes,
            ..Losses::default()
        }
    );
    let mut reported = Losses::default();
    for event in &recorded.events {
        if let CaptureEvent::Losses(some) = event {
            reported += *some;
        }
    }
    assert_eq!(reported, losses, "what the statistics say was told as it happened");
    losses.ring_full_bytes
}

fn burst(library: &LibraryCopy) -> std::process::Command {
    let mut command = client(library, "memory-bio --bytes 300000 --calls 10 --model fake-answer-200000");
    command.arg("--dump").arg(library.folder());
    command
}

#[test]
fn burst_into_a_tiny_ring_loses_only_what_is_counted_and_displaces_nothing() {
    if !can_record() {
        return;
    }
    let library = LibraryCopy::new();
    let setup = Setup { options: tiny(), ..Setup::probing(library.candidate()) };
    let recorded = Recording::of(burst(&library), &setup).finish();
    // One write alone is several times the ring.
    assert!(assert_accounted(&recorded, &library) > 0);
}

#[test]
fn stalled_consumer_still_learns_of_ends_and_exits_and_where_the_lost_tail_lies() {
    if !can_record() {
        return;
    }
    let library = LibraryCopy::new();
    let setup = Setup { options: tiny(), stall: true, ..Setup::probing(library.candidate()) };
    let mut recording = Recording::of(burst(&library), &setup);
    recording.wait_for_end();
    recording.resume();
    let recorded = recording.finish();
    assert!(assert_accounted(&recorded, &library) > 0);
    let connections = connections(&recorded.events);
    assert_eq!(connections.len(), 2);
    for connection in connections.values() {
        let heard = connection.stream(Direction::Sent).end();
        assert!(heard < connection.end(Direction::Sent), "the tail was lost: the ring was full by then");
    }
    let exited = recorded.events.iter().any(|event| matches!(event, CaptureEvent::ProcessExited(_)));
    assert!(exited, "the ring keeps room for it");
}

/// Together they have more to say at their ends than any gap that content leaves in the ring.
const PAIRS: usize = 10;

#[test]
fn ring_filled_to_the_last_small_record_still_takes_the_ends_of_connections_and_of_the_process() {
    if let Some(told) = role() {
        let folder = Path::new(told["folder"].as_str().unwrap());
        let pairs: Vec<MemoryPair> = (0..PAIRS)
            .map(|_| {
                let mut pair = MemoryPair::connect(folder, Call::Plain);
                for _ in 0..30 {
                    pair.send(1, 100);
                }
                pair
            })
            .collect();
        return pairs.into_iter().for_each(|pair| drop(pair.close()));
    }
    if !can_record() {
        return;
    }
    let library = LibraryCopy::new();
    let command = in_role(
        ring_filled_to_the_last_small_record_still_takes_the_ends_of_connections_and_of_the_process,
        &json!({ "folder": library.folder() }),
    );
    let setup = Setup { options: tiny(), pause: true, ..Setup::probing(library.candidate()) };
    let mut recording = Recording::of(command, &setup);
    recording.wait_for_end();
    recording.resume();
    let recorded = recording.finish();
    assert!(recorded.statistics.losses.ring_full_records > 0, "the ring was full");
    assert_eq!(recorded.statistics.losses.lifecycle_records, 0);
    let connections = connections(&recorded.events);
    // Also of those of which no byte was delivered.
    assert_eq!(connections.len(), 2 * PAIRS);
    assert!(connections.values().any(|connection| connection.functions.is_empty()));
    for connection in connections.values() {
        assert_eq!(connection.end(Direction::Sent) + connection.end(Direction::Received), 30);
    }
    assert!(recorded.events.iter().any(|event| matches!(event, CaptureEvent::ProcessExited(_))));
}
