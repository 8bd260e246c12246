//! Encoders of other hands on both sides: each of several clients talks to each of several servers, both are recorded,
//! and every exchange is on each side what the server says it was.
//!
//! nginx is recorded on its way to the provider too.

use std::collections::BTreeMap;

use oisp_decode::Role;
use oisp_testkit::calls::Api;
use oisp_testkit::peers::{Ask, PeerClient, PeerServer, Reply, Served};
use oisp_testkit::transcript::sha256_hex;

use crate::support::{
    Connection, Conversation, Exchange, Provider, can_record, peers, record_conversation, unless_missing,
};

const HTTP1: bool = false;
const HTTP2: bool = true;

#[test]
fn bodies_between_every_client_and_nginx_are_decoded_as_the_provider_logged_them() {
    assert_pairs_agree(
        PeerServer::Nginx,
        &[
            (PeerClient::Curl, HTTP1),
            (PeerClient::Curl, HTTP2),
            (PeerClient::Python, HTTP2),
            (PeerClient::Node, HTTP2),
            (PeerClient::Go, HTTP2),
        ],
    );
}

#[test]
fn bodies_between_clients_and_a_go_server_are_decoded_as_it_logged_them() {
    assert_pairs_agree(
        PeerServer::Go,
        &[
            (PeerClient::Curl, HTTP1),
            (PeerClient::Curl, HTTP2),
            (PeerClient::Node, HTTP2),
            (PeerClient::Go, HTTP1),
            (PeerClient::Go, HTTP2),
        ],
    );
}

#[test]
fn bodies_between_clients_and_a_python_server_are_decoded_as_it_logged_them() {
    assert_pairs_agree(PeerServer::Python, &[(PeerClient::Curl, HTTP2), (PeerClient::Go, HTTP2)]);
}

#[test]
fn bodies_between_clients_and_a_node_server_are_decoded_as_it_logged_them() {
    assert_pairs_agree(
        PeerServer::Node,
        &[(PeerClient::Python, HTTP1), (PeerClient::Python, HTTP2), (PeerClient::Go, HTTP1)],
    );
}

#[test]
#[ignore = "all pairs take minutes; run it after a change of a decoder"]
fn bodies_between_all_clients_and_all_servers_are_decoded_as_the_servers_logged_them() {
    for server in [PeerServer::Nginx, PeerServer::Go, PeerServer::Python, PeerServer::Node] {
        for http2 in [HTTP1, HTTP2] {
            for client in [PeerClient::Curl, PeerClient::Python, PeerClient::Node, PeerClient::Go] {
                if http2 || server.speaks_http1() {
                    assert_pairs_agree(server, &[(client, http2)]);
                }
            }
        }
    }
}

fn assert_pairs_agree(server: PeerServer, clients: &[(PeerClient, bool)]) {
    if !can_record() {
        return;
    }
    for (client, http2) in clients.iter().copied() {
        eprintln!("{client:?} calls {server:?} over {}", if http2 { "HTTP/2" } else { "HTTP/1.1" });
        let folder = tempfile::tempdir().unwrap();
        let peers = peers(folder.path());
        let provider = Provider::start();
        let Some((server_command, base_url)) = unless_missing(peers.server(server, provider.address()))
        else {
            return;
        };
        let asks = asks(client, server);
        let Some(client_command) = unless_missing(peers.client(client, http2, &base_url, &asks)) else {
            return;
        };
        let conversation = record_conversation(server_command, server.end_signal(), client_command);
        let mut replies = Reply::all(&conversation.client_output).unwrap();
        replies.sort_by(|one, other| one.path.cmp(&other.path));
        let mut wanted: Vec<Reply> =
            asks.iter().map(|ask| Reply { path: ask.path.clone(), status: 200, http2 }).collect();
        wanted.sort_by(|one, other| one.path.cmp(&other.path));
        assert_eq!(replies, wanted);
        let served = if server == PeerServer::Nginx {
            served_by(&provider)
        } else {
            Served::all(&conversation.server_output).unwrap()
        };
        assert_eq!(served.len(), asks.len());
        for (ask, one) in
            asks.iter().map(|ask| (ask, served.iter().find(|one| one.path == ask.path).expect("served")))
        {
            assert_eq!(one.request, sha256_hex(&ask.body), "the server read something else");
        }
        // Each exchange is seen once at each end of its connections.
        let ends = if server == PeerServer::Nginx { 3 } else { 2 };
        assert_exchanges(&conversation, server, &served, ends);
        assert_streams_match(&conversation);
        if server == PeerServer::Nginx {
            assert_nginx_asked_as_logged(&conversation, &provider);
        }
    }
}

/// Small and large, plain and streamed, compressed and not; every body another one.
fn asks(client: PeerClient, server: PeerServer) -> Vec<Ask> {
    let mut asks = Vec::new();
    if server == PeerServer::Nginx {
        for (number, (api, bytes, stream, how)) in [
            (Api::OpenAi, 300, false, "fake"),
            (Api::OpenAi, 71_245, true, "fake-answer-6000-chunks-40"),
            (Api::Anthropic, 71_245, false, "fake-answer-60000"),
            (Api::Anthropic, 500, true, "fake-answer-6000-chunks-40"),
            (Api::OpenAi, 700, true, "fake-answer-3000-chunks-20-gzip"),
            (Api::OpenAi, 150_000, false, "length=unknown fake-gzip"),
        ]
        .into_iter()
        .enumerate()
        {
            let (query, model) = how.split_once(' ').unwrap_or(("length=known", how));
            let body = api.sized_request("", model, number as u64, bytes, stream).body;
            asks.push(Ask { path: format!("{}?number={number}&{query}", api.path()), body });
        }
        return asks;
    }
    for (bytes, query) in [
        (300, "size=300"),
        (71_245, "size=60000"),
        (800, "size=0"),
        (900, "size=6000&chunks=40"),
        (0, "size=80000&chunks=10"),
        (71_245, "size=20000&chunks=10&encoding=gzip"),
        (150_000, "size=50000&encoding=deflate&length=unknown"),
        (40_000, "size=100&expect=continue"),
    ] {
        let body = Api::OpenAi.sized_request("", "fake", asks.len() as u64, bytes, false).body;
        let body = if bytes == 0 { Vec::new() } else { body };
        asks.push(Ask { path: format!("/answer?{query}"), body });
    }
    if server == PeerServer::Node {
        asks.push(Ask { path: "/answer?size=20000&chunks=10&encoding=br".to_owned(), body: b"br".to_vec() });
        asks.push(Ask { path: "/answer?size=20000&encoding=br".to_owned(), body: b"b".to_vec() });
    }
    if !matches!(client, PeerClient::Curl | PeerClient::Go) {
        asks.retain(|ask| !ask.path.contains("expect"));
    }
    asks
}

fn served_by(provider: &Provider) -> Vec<Served> {
    let log = provider.log();
    let served = log.exchanges().map(|exchange| {
        assert!(exchange.complete);
        let head = String::from_utf8_lossy(&exchange.request_head);
        Served {
            path: head.split(' ').nth(1).unwrap().to_owned(),
            request: sha256_hex(&exchange.request_body),
            response: sha256_hex(&exchange.response_body),
        }
    });
    served.collect()
}

fn assert_exchanges(conversation: &Conversation, server: PeerServer, served: &[Served], ends: usize) {
    let mut seen = BTreeMap::<String, usize>::new();
    for connection in &conversation.connections {
        for exchange in connection.exchanges().values() {
            let Exchange { target, status, .. } = exchange;
            let place = format!("{target} at {:?} {:?}", connection.process, connection.role());
            let truth = served.iter().find(|one| one.path == *target).unwrap_or_else(|| panic!("{place}"));
            let sizes = (exchange.request.len(), exchange.response.len());
            assert!(exchange.complete, "incomplete: {place}, {sizes:?} bytes, {:?}", exchange.defects);
            assert_eq!(*status, 200, "{place}");
            assert_eq!(sha256_hex(&exchange.request), truth.request, "request of {place}");
            assert_eq!(sha256_hex(&exchange.response), truth.response, "response of {place}");
            *seen.entry(target.clone()).or_default() += 1;

            let behind_nginx = server == PeerServer::Nginx && is_behind_nginx(conversation, connection);
            let wanted = if server == PeerServer::Nginx {
                // It compresses what the provider did not.
                (!behind_nginx).then_some("gzip")
            } else {
                target.split('&').find_map(|parameter| parameter.strip_prefix("encoding="))
            };
            if !behind_nginx {
                assert_eq!(exchange.content_encoding.as_deref(), wanted, "{place}");
            }
            if server != PeerServer::Nginx && target.contains("chunks=") {
                let told = exchange.trailers.get("x-digest");
                assert_eq!(told.as_deref(), Some(truth.response.as_str()), "trailer of {place}");
                assert!(exchange.informational.contains(&103), "{:?} of {place}", exchange.informational);
            }
            if target.contains("expect=continue") {
                assert!(exchange.informational.contains(&100), "{:?} of {place}", exchange.informational);
            }
        }
    }
    let wanted: BTreeMap<String, usize> = served.iter().map(|one| (one.path.clone(), ends)).collect();
    assert_eq!(seen, wanted, "how often each exchange was seen");
}

fn is_behind_nginx(conversation: &Conversation, connection: &Connection) -> bool {
    connection.process != conversation.client && connection.role() == Some(Role::Client)
}

/// What one end sent is what the other received, except that either may have left the end unread.
fn assert_streams_match(conversation: &Conversation) {
    let (clients, servers): (Vec<&Connection>, Vec<&Connection>) =
        conversation.connections.iter().partition(|connection| connection.process == conversation.client);
    let servers: Vec<_> =
        servers.into_iter().filter(|connection| connection.role() == Some(Role::Server)).collect();
    // A client of HTTP/2 may connect more often than it needs to and say nothing there, which the server does not wait for.
    let servers: Vec<_> = servers.into_iter().filter(|server| !server.received.is_empty()).collect();
    assert_eq!(clients.len(), servers.len());
    for client in clients {
        let same = |server: &&&Connection| {
            client.sent.starts_with(&server.received)
                && (server.sent.starts_with(&client.received) || client.received.starts_with(&server.sent))
        };
        assert_eq!(servers.iter().filter(same).count(), 1, "no end received what this one sent");
    }
}

/// Every byte that nginx wrote to the provider was captured, and every byte that it read.
fn assert_nginx_asked_as_logged(conversation: &Conversation, provider: &Provider) {
    let log = provider.log();
    let mut connections = 0;
    for captured in &conversation.connections {
        if is_behind_nginx(conversation, captured) {
            let logged = log.connections.iter().find(|logged| logged.received == captured.sent);
            assert!(logged.expect("received by the provider").sent.starts_with(&captured.received));
            connections += 1;
        }
    }
    assert_eq!(connections, log.connections.len());
}
