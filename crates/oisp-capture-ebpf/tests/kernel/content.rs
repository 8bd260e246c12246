//! Bytes of both directions, in calls of every size.

use std::collections::BTreeSet;
use std::path::Path;

use oisp_testkit::openssl_client::Call;
use serde_json::{Value, json};

use crate::support::{
    Direction, LibraryCopy, MemoryPair, Recorded, Recording, Setup, assert_whole, can_record, client,
    connections, in_role, matched, role, say,
};

/// What one call may carry and be captured whole.
const MIB: usize = 1 << 20;
/// What is captured of one call.
const LIMIT: usize = oisp_ebpf_common::MAX_CALL_BYTES as usize;

/// Records a memory pair that makes one call of each size in both directions, and leaves the bytes in the library's
/// folder. In the role of `test` it is that pair, and gives nothing.
fn record_calls(test: impl Fn(), call: Call, sizes: &[usize]) -> Option<(Recorded, LibraryCopy)> {
    if let Some(told) = role() {
        make_calls(&told);
        return None;
    }
    if !can_record() {
        return None;
    }
    let library = LibraryCopy::new();
    let command =
        in_role(test, &json!({ "folder": library.folder(), "ex": call == Call::Ex, "sizes": sizes }));
    let recorded = Recording::of(command, &Setup::probing(library.candidate())).finish();
    Some((recorded, library))
}

fn make_calls(told: &Value) {
    let call = if told["ex"] == true { Call::Ex } else { Call::Plain };
    let folder = Path::new(told["folder"].as_str().unwrap());
    let mut pair = MemoryPair::connect(folder, call);
    for size in told["sizes"].as_array().unwrap() {
        let size = usize::try_from(size.as_u64().unwrap()).unwrap();
        pair.send(size, 32 << 10);
        // Read in pieces that fit no record and no class of the ring.
        pair.answer(size, 777);
    }
    let truth = pair.close();
    truth.dump(folder).unwrap();
    say(&truth.to_json());
}

/// The smallest calls, and both sides of each of the kernel's size classes and of a TLS record.
const SIZES: [usize; 21] = [
    1, 2, 100, 255, 256, 257, 511, 512, 513, 1024, 1025, 2049, 4096, 4097, 8192, 8193, 16_383, 16_384,
    16_385, 32_768, 71_245,
];

/// The functions that calls of the public ones are seen in.
fn of_calls(library: &LibraryCopy, public: &[&'static str]) -> BTreeSet<&'static str> {
    let probed = library.functions();
    let internal = BTreeSet::from(["ssl_read_internal", "ssl_write_internal"]);
    if internal.is_subset(&probed) { internal } else { public.iter().copied().collect() }
}

#[test]
fn ssl_write_and_ssl_read_of_every_size_class_are_captured_byte_for_byte() {
    let Some((recorded, library)) = record_calls(
        ssl_write_and_ssl_read_of_every_size_class_are_captured_byte_for_byte,
        Call::Plain,
        &SIZES,
    ) else {
        return;
    };
    recorded.assert_nothing_lost();
    recorded.assert_no_findings();
    assert_whole(&recorded.truths(), &recorded.events);
    for connection in connections(&recorded.events).values() {
        assert_eq!(connection.functions, of_calls(&library, &["SSL_read", "SSL_write"]));
    }
}

#[test]
fn ssl_write_ex_and_ssl_read_ex_of_every_size_class_are_captured_byte_for_byte() {
    let Some((recorded, library)) = record_calls(
        ssl_write_ex_and_ssl_read_ex_of_every_size_class_are_captured_byte_for_byte,
        Call::Ex,
        &SIZES,
    ) else {
        return;
    };
    recorded.assert_nothing_lost();
    assert_whole(&recorded.truths(), &recorded.events);
    for connection in connections(&recorded.events).values() {
        // From OpenSSL 3.3 on the one is made of the other.
        let mut functions = connection.functions.clone();
        functions.remove("SSL_write_ex2");
        assert_eq!(functions, of_calls(&library, &["SSL_read_ex", "SSL_write_ex"]));
    }
}

#[test]
fn one_write_of_71245_bytes_and_one_of_a_mebibyte_with_a_head_are_captured_whole() {
    let Some((recorded, _library)) = record_calls(
        one_write_of_71245_bytes_and_one_of_a_mebibyte_with_a_head_are_captured_whole,
        Call::Plain,
        &[71_245, MIB, MIB + 2000],
    ) else {
        return;
    };
    recorded.assert_nothing_lost();
    assert_whole(&recorded.truths(), &recorded.events);
    for connection in connections(&recorded.events).values() {
        assert_eq!(
            connection.stream(Direction::Sent).largest_call(),
            MIB as u64 + 2000,
            "one call, not several"
        );
    }
}

#[test]
fn write_beyond_the_limit_leaves_a_counted_gap_and_what_follows_is_in_its_place() {
    let sizes = [10, 3 * MIB, 1000];
    let Some((recorded, library)) = record_calls(
        write_beyond_the_limit_leaves_a_counted_gap_and_what_follows_is_in_its_place,
        Call::Plain,
        &sizes,
    ) else {
        return;
    };
    let truths = recorded.truths();
    let connections = connections(&recorded.events);
    // Each side wrote it once.
    assert_eq!(recorded.statistics.losses.over_limit_bytes, 2 * (3 * MIB - LIMIT) as u64);
    assert_eq!(recorded.statistics.losses.content_bytes(), 2 * (3 * MIB - LIMIT) as u64);
    for (place, (object, connection)) in matched(&truths, &connections).into_iter().enumerate() {
        let total = object.total(Direction::Sent);
        let gap = 10 + LIMIT as u64..10 + 3 * MIB as u64;
        let sent = connection.stream(Direction::Sent);
        assert_eq!(sent.gaps(total), [gap]);
        sent.assert_part_of(&std::fs::read(library.folder().join(format!("{place}-wrote.bin"))).unwrap());
        assert_eq!(connection.end(Direction::Sent), total);
        let received = connection.stream(Direction::Received);
        received.assert_part_of(&std::fs::read(library.folder().join(format!("{place}-read.bin"))).unwrap());
        assert_eq!(received.gaps(object.total(Direction::Received)), [], "it was read in small calls");
    }
}

#[test]
fn http_calls_over_memory_bios_and_over_a_socket_are_captured_byte_for_byte() {
    if !can_record() {
        return;
    }
    for arguments in [
        "memory-bio --bytes 0 --calls 3",
        "memory-bio --bytes 71245 --calls 3 --ex --model fake-answer-100000",
        "plain --bytes 71245 --calls 3 --stream --model fake-chunks-200",
    ] {
        let library = LibraryCopy::new();
        let recorded =
            Recording::of(client(&library, arguments), &Setup::probing(library.candidate())).finish();
        recorded.assert_nothing_lost();
        assert_whole(&recorded.truths(), &recorded.events);
    }
}
