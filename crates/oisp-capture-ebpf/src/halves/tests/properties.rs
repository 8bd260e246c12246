//! What holds for any order of what is heard.

use proptest::prelude::*;

use super::*;

/// A half of a made-up connection: pieces of content, and before or after which of them its socket is told, if ever.
#[derive(Clone, Debug)]
struct Script {
    pieces: Vec<usize>,
    evidence: Option<(usize, bool)>,
}

fn script() -> impl Strategy<Value = Script> {
    let evidence = proptest::option::weighted(0.8, (0_usize..4, any::<bool>()));
    (proptest::collection::vec(1_usize..40, 1..6), evidence)
        .prop_map(|(pieces, evidence)| Script { pieces, evidence })
}

proptest! {
    /// Several connections at a time, on few contexts that are used again, and on sockets that are used again: whatever
    /// is known of them and in whatever order it comes, no connection has bytes of two, each byte comes once, at its
    /// place, and those whose sockets are known with their first bytes are joined.
    #[test]
    fn no_interleaving_mixes_connections_or_loses_a_byte(
        rounds in proptest::collection::vec(proptest::collection::vec((script(), script()), 1..5), 1..4),
        order in proptest::collection::vec(any::<u16>(), 200),
        times in proptest::collection::vec(0_u64..SECOND, 200),
    ) {
        let mut bench = Bench::default();
        let mut truth: BTreeMap<(u64, bool), Vec<u8>> = BTreeMap::new();
        let mut known_at_once = BTreeSet::new();
        let (mut time, mut turn, mut number) = (1000, 0, 0_u64);
        for round in &rounds {
            let mut running = Vec::new();
            for (slot, scripts) in round.iter().enumerate() {
                number += 1;
                if [&scripts.0, &scripts.1].iter().all(|script| matches!(script.evidence, Some((0, _)))) {
                    known_at_once.insert(number);
                }
                for (is_received, script) in [(false, &scripts.0), (true, &scripts.1)] {
                    time += 100;
                    // The contexts of a round are those of the one before, in another order.
                    let context = (2 * slot as u64 + u64::from(is_received) + number) % 10;
                    running.push((number, slot as u16, is_received, half(context, time), script, 0_usize, 0_u64));
                }
            }
            let contexts: BTreeSet<u64> = running.iter().map(|one| one.3.object).collect();
            prop_assume!(contexts.len() == running.len());
            let ids: Vec<ConnectionId> = running.iter().map(|one| one.3).collect();
            while !running.is_empty() {
                let chosen = usize::from(order[turn % order.len()]) % running.len();
                time += times[turn % times.len()] / 20;
                turn += 1;
                let (number, slot, is_received, id, script, piece, offset) = &mut running[chosen];
                let direction = if *is_received { RECEIVED } else { SENT };
                if script.evidence == Some((*piece, true)) {
                    bench.bound(*id, direction, *slot, time);
                }
                let text = format!("{number}{}", if *is_received { "r" } else { "s" }).repeat(script.pieces[*piece]);
                bench.content(*id, direction, *offset, &text, time);
                truth.entry((*number, *is_received)).or_default().extend(text.as_bytes());
                *offset += text.len() as u64;
                if script.evidence == Some((*piece, false)) {
                    bench.bound(*id, direction, *slot, time);
                }
                bench.passed(time);
                *piece += 1;
                if *piece == script.pieces.len() {
                    bench.ended(*id, *offset, time);
                    running.swap_remove(chosen);
                }
            }
            // All sockets of a round end with it.
            ids.iter().for_each(|id| bench.halves.socket_ended(id, Nanos(time)));
            time += 3 * SECOND;
            bench.passed(time);
        }
        bench.finish(time);
        prop_assert_eq!(bench.halves.waiting.bytes(), 0);
        prop_assert!(bench.halves.halves.is_empty() && bench.halves.connections.is_empty());
        prop_assert!(bench.halves.by_socket.is_empty() && bench.halves.lingering.is_empty());

        let mut streams: BTreeMap<ConnectionId, [Vec<u8>; 2]> = BTreeMap::new();
        let mut ends = BTreeMap::new();
        for output in &bench.out {
            match output {
                Output::Content(content) => {
                    prop_assert!(!ends.contains_key(&content.connection), "content after the end");
                    let stream = &mut streams.entry(content.connection).or_default()[index(content.direction)];
                    prop_assert_eq!(content.offset, stream.len() as u64);
                    stream.extend_from_slice(&content.bytes);
                }
                Output::Closed(closed, _) => {
                    prop_assert!(ends.insert(closed.connection, [closed.sent_end, closed.received_end]).is_none());
                }
                Output::Socket(_) | Output::Forgotten(_) => {}
            }
        }
        let mut left = truth;
        for (id, [sent, received]) in &streams {
            prop_assert_eq!(ends.get(id), Some(&[sent.len() as u64, received.len() as u64]));
            let owner = |bytes: &[u8], is_received, left: &mut BTreeMap<(u64, bool), Vec<u8>>| {
                if bytes.is_empty() {
                    return None;
                }
                let found = left.iter().find(|((_, way), truth)| *way == is_received && &truth[..] == bytes);
                let key = *found.unwrap_or_else(|| panic!("bytes of several")).0;
                left.remove(&key);
                Some(key.0)
            };
            let (sender, receiver) = (owner(sent, false, &mut left), owner(received, true, &mut left));
            prop_assert!(sender.is_none() || receiver.is_none() || sender == receiver, "two in one");
            if sender == receiver {
                known_at_once.remove(&sender.unwrap());
            }
        }
        prop_assert!(known_at_once.is_empty(), "not joined: {:?}", known_at_once);
        prop_assert!(left.is_empty(), "bytes that never came");
    }
}

/// Something that is heard, of few halves and sockets, whether it makes sense or not.
#[derive(Clone, Debug)]
enum Heard {
    Content(usize),
    Bound,
    Likely,
    Ended,
    SocketEnded,
    ProcessGone,
    Passed,
}

fn heard() -> impl Strategy<Value = Heard> {
    prop_oneof![
        8 => (0_usize..20).prop_map(Heard::Content),
        4 => Just(Heard::Bound),
        3 => Just(Heard::Likely),
        2 => Just(Heard::Ended),
        2 => Just(Heard::SocketEnded),
        1 => Just(Heard::ProcessGone),
        2 => Just(Heard::Passed),
    ]
}

proptest! {
    /// Keys in both directions, on several sockets, used again after others followed, with positions and times that go
    /// back: every byte is delivered or counted as dropped, every connection that content came of ends, and nothing is
    /// left behind.
    #[test]
    fn nonsense_loses_no_byte_uncounted_and_leaves_nothing_behind(
        steps in proptest::collection::vec(
            (heard(), 0_u64..3, 1_u64..5, any::<bool>(), 0_u16..3, 0_u64..40, 0..3 * SECOND), 1..120,
        ),
    ) {
        let mut bench = Bench::default();
        let mut given = 0;
        for (heard, context, born, is_sent, number, offset, time) in steps {
            // Born 50, 100, 150, 200: two generations with two uses each.
            let id = half(context, 50 * born);
            let direction = if is_sent { SENT } else { RECEIVED };
            match heard {
                Heard::Content(length) => {
                    given += length as u64;
                    bench.content(id, direction, offset, &"x".repeat(length), time);
                }
                Heard::Bound => bench.bound(id, direction, number, time),
                Heard::Likely => bench.likely(id, direction, number, time),
                Heard::Ended => bench.ended(id, offset, time),
                Heard::SocketEnded => bench.halves.socket_ended(&id, Nanos(time)),
                Heard::ProcessGone => {
                    bench.halves.process_gone(ProcessId(7), Nanos(time), &mut |output| bench.out.push(output));
                }
                Heard::Passed => bench.passed(time),
            }
            let halves = &bench.halves;
            prop_assert!(halves.connections.len() <= halves.halves.len());
            prop_assert!(halves.likely.len() <= halves.halves.len());
            prop_assert!(halves.by_socket.len() <= halves.connections.len());
            let lingering = halves.connections.values().filter(|joined| joined.lingers_until.is_some()).count();
            prop_assert_eq!(halves.lingering.len(), lingering);
        }
        bench.finish(4 * SECOND);
        let halves = &bench.halves;
        let left = [
            halves.halves.len(), halves.connections.len(), halves.by_socket.len(), halves.likely.len(),
            halves.lingering.len(), halves.waiting.bytes(),
        ];
        prop_assert_eq!(left, [0; 6]);
        let mut delivered = 0;
        let mut open = BTreeSet::new();
        for output in &bench.out {
            match output {
                Output::Content(content) => {
                    delivered += content.bytes.len() as u64;
                    open.insert(content.connection);
                }
                Output::Closed(closed, _) => {
                    open.remove(&closed.connection);
                }
                Output::Socket(_) | Output::Forgotten(_) => {}
            }
        }
        prop_assert!(open.is_empty(), "without an end: {:?}", open);
        let dropped = bench.halves.news(Nanos(0), true).map_or(0, |news| news.dropped_bytes);
        prop_assert_eq!(delivered + dropped, given);
    }
}
