use super::*;
use proptest::prelude::*;

fn id(object: u64) -> ConnectionId {
    ConnectionId { process: ProcessId(7), object, born: Nanos(object) }
}

fn socket(number: u16) -> SocketIdentity {
    SocketIdentity {
        socket: 0xffff_8880_0000_0000 + u64::from(number) * 64,
        local: SocketAddr::from(([127, 0, 0, 1], 40_000 + number)),
        remote: SocketAddr::from(([127, 0, 0, 1], 443)),
    }
}

fn inside(connection: u64, number: u16) -> Evidence {
    beside(connection, number, 0, 0, true)
}

fn beside(connection: u64, number: u16, content_bytes: u32, socket_bytes: u32, inside: bool) -> Evidence {
    Evidence {
        connection: id(connection),
        direction: Direction::Sent,
        socket: socket(number),
        content_bytes,
        socket_bytes,
        tls_records: content_bytes.div_ceil(1 << 14),
        inside,
        time: Nanos(u64::from(socket_bytes)),
    }
}

fn bound_after(evidence: &[Evidence]) -> Option<SocketIdentity> {
    let mut sockets = Sockets::default();
    evidence.iter().for_each(|one| sockets.add(one));
    sockets.bound(&id(1))
}

#[test]
fn sizes_of_every_cipher_agree_and_others_do_not() {
    let sizes = |content, socket| beside(1, 1, content, socket, false).sizes();
    // TLS 1.3; TLS 1.2 with ChaCha20, with AES-GCM; three records of TLS 1.3.
    for (content, socket) in [(100, 122), (100, 121), (100, 129), (40_000, 40_066)] {
        assert_eq!(sizes(content, socket), Sizes::Agree, "{content} and {socket}");
    }
    // TLS 1.2 with CBC: SHA-1, SHA-256 and SHA-384, each in both orders.
    for socket in [149, 153, 165, 165, 181, 181] {
        assert_eq!(sizes(100, socket), Sizes::Agree, "100 and {socket}");
    }
    // Node's first request: with the end of the handshake.
    assert_eq!(sizes(1205, 1307), Sizes::Agree);
    let received = Evidence { direction: Direction::Received, ..beside(1, 1, 1205, 1307, false) };
    assert_eq!(received.sizes(), Sizes::Fit);
    assert_eq!(sizes(100, 123), Sizes::Fit);
    assert_eq!(sizes(100, 5000), Sizes::Fit);
    assert_eq!(sizes(100, 120), Sizes::Contradict);
    assert_eq!(sizes(40_000, 40_022), Sizes::Contradict);
    assert_eq!(sizes(u32::MAX, u32::MAX), Sizes::Contradict);
}

#[test]
fn socket_call_inside_decides_at_once_and_against_what_merely_fits() {
    assert_eq!(bound_after(&[inside(1, 5)]), Some(socket(5)));
    let fitting = beside(1, 6, 100, 900, false);
    assert_eq!(bound_after(&[fitting, fitting, inside(1, 5)]), Some(socket(5)));
    assert_eq!(bound_after(&[inside(1, 5), fitting, fitting, fitting]), Some(socket(5)));
}

#[test]
fn agreeing_sizes_decide_at_once_and_fitting_ones_the_second_time() {
    assert_eq!(bound_after(&[beside(1, 5, 100, 122, false)]), Some(socket(5)));
    let fitting = beside(1, 5, 100, 900, false);
    assert_eq!(bound_after(&[fitting]), None);
    assert_eq!(bound_after(&[fitting, fitting]), Some(socket(5)));
    let too_small = beside(1, 5, 900, 100, false);
    assert_eq!(bound_after(&[too_small, too_small, too_small]), None);
}

#[test]
fn contradicting_evidence_gives_nothing_until_a_clear_majority_and_the_change_is_news() {
    let mut sockets = Sockets::default();
    sockets.add(&inside(1, 5));
    assert_eq!(sockets.news(&id(1)).map(|news| news.socket), Some(Some(socket(5))));
    assert_eq!(sockets.news(&id(1)), None);
    sockets.add(&inside(1, 6));
    assert_eq!(sockets.bound(&id(1)), None);
    assert_eq!(sockets.news(&id(1)).map(|news| news.socket), Some(None));
    sockets.add(&inside(1, 6));
    sockets.add(&inside(1, 6));
    assert_eq!(sockets.news(&id(1)).map(|news| news.socket), Some(Some(socket(6))));
}

#[test]
fn socket_address_in_use_again_is_another_socket() {
    let mut sockets = Sockets::default();
    sockets.add(&inside(1, 5));
    assert_eq!(sockets.socket_ended(socket(5).socket), [id(1)]);
    assert_eq!(sockets.bound(&id(1)), Some(socket(5)), "what is still read came from there");
    let again = SocketIdentity { local: SocketAddr::from(([127, 0, 0, 1], 50_000)), ..socket(5) };
    sockets.add(&Evidence { socket: again, ..inside(1, 0) });
    assert_eq!(sockets.bound(&id(1)), Some(again));
    sockets.add(&Evidence { socket: again, ..inside(2, 0) });
    assert_eq!(sockets.socket_ended(again.socket), [id(1), id(2)]);
}

#[test]
fn connections_of_a_process_that_ended_and_that_never_end_are_given_up() {
    let mut sockets = Sockets::default();
    for connection in 0..MAX_CONNECTIONS as u64 + 10 {
        sockets.add(&inside(connection, 5));
    }
    assert!(sockets.connections.len() <= MAX_CONNECTIONS);
    assert_eq!(sockets.by_socket.len(), sockets.connections.len());
    assert_eq!(sockets.bound(&id(0)), None, "the oldest");
    assert!(sockets.bound(&id(MAX_CONNECTIONS as u64 + 9)).is_some());
    sockets.process_ended(ProcessId(6), Nanos(u64::MAX));
    sockets.process_ended(ProcessId(7), Nanos(MAX_CONNECTIONS as u64 + 8));
    assert_eq!(sockets.connections.len(), 1, "the next program's");
    sockets.process_ended(ProcessId(7), Nanos(u64::MAX));
    assert!(sockets.connections.is_empty() && sockets.by_socket.is_empty());
}

proptest! {
    /// Right evidence of many connections in any order, each with one piece that a changed thread got wrong.
    #[test]
    fn interleaved_connections_get_their_own_sockets_though_one_piece_in_four_is_wrong(
        order in Just((0..8_u64).flat_map(|connection| (0..4_u16).map(move |piece| (connection, piece)))
            .collect::<Vec<_>>()).prop_shuffle(),
        wrong in proptest::collection::vec(0..8_u16, 8),
        is_inside: bool,
    ) {
        let mut sockets = Sockets::default();
        for (connection, piece) in order {
            let number = if piece == 0 { wrong[connection as usize] } else { connection as u16 };
            sockets.add(&beside(connection, number, 100, 122, is_inside));
        }
        for connection in 0..8_u16 {
            prop_assert_eq!(sockets.bound(&id(connection.into())), Some(socket(connection)));
        }
    }

    /// Whatever comes: one answer for each connection whatever the order of its evidence, no more than one socket, and
    /// nothing is left when all have ended.
    #[test]
    fn order_of_evidence_does_not_matter_and_nothing_is_left_at_the_end(
        pieces in proptest::collection::vec((0..4_u64, 0..4_u16, 0..200_u32, 0..300_u32, any::<bool>()), 0..8),
    ) {
        let evidence: Vec<_> = pieces
            .iter()
            .map(|&(connection, number, content, moved, inside)| beside(connection, number, content, moved, inside))
            .collect();
        let (mut forwards, mut backwards) = (Sockets::default(), Sockets::default());
        evidence.iter().for_each(|one| forwards.add(one));
        evidence.iter().rev().for_each(|one| backwards.add(one));
        for connection in 0..4 {
            prop_assert_eq!(forwards.bound(&id(connection)), backwards.bound(&id(connection)));
            forwards.closed(&id(connection));
        }
        prop_assert!(forwards.connections.is_empty() && forwards.by_socket.is_empty());
    }
}

#[test]
fn end_of_a_socket_is_told_once_to_those_who_used_it_and_not_that_of_the_next_at_its_address() {
    let mut sockets = Sockets::default();
    for connection in 0..100 {
        sockets.add(&inside(connection, 5));
    }
    let address = socket(5).socket;
    assert_eq!(sockets.socket_ended(address).len(), 100);
    assert_eq!(sockets.socket_ended(address), []);
    // One of them is seen with the next socket there.
    sockets.add(&inside(7, 5));
    assert_eq!(sockets.socket_ended(address), [id(7)]);
    (0..100).for_each(|connection| sockets.closed(&id(connection)));
    assert!(sockets.by_socket.is_empty() && sockets.connections.is_empty());
}
