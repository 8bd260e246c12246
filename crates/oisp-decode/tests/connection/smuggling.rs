//! Messages that two readers may end at different places, as request smuggling writes them: each is
//! refused or said to be odd, and nothing that may be another message is taken for one in silence.

use crate::support::{lines, received, run, sent};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// A request behind which another may be hidden, and what is said of it.
const REQUESTS: [(&str, &str, &str); 34] = [
    (
        "both lengths",
        "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "TransferEncodingWithLength",
    ),
    (
        "both, reversed",
        "Transfer-Encoding: chunked\r\nContent-Length: 6\r\n\r\n0\r\n\r\n",
        "TransferEncodingWithLength",
    ),
    ("two lengths", "Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcde", "ConflictingLength"),
    ("two lengths in a list", "Content-Length: 5, 6\r\n\r\nabcde", "ConflictingLength"),
    ("a list that ends early", "Content-Length: 5,\r\n\r\nabcde", "ConflictingLength"),
    ("a negative length", "Content-Length: -1\r\n\r\n", "ConflictingLength"),
    ("a signed length", "Content-Length: +5\r\n\r\nabcde", "ConflictingLength"),
    ("a hexadecimal length", "Content-Length: 0x5\r\n\r\nabcde", "ConflictingLength"),
    ("two numbers", "Content-Length: 5 5\r\n\r\nabcde", "ConflictingLength"),
    ("a length beyond 64 bits", "Content-Length: 18446744073709551617\r\n\r\nabcde", "ConflictingLength"),
    ("an empty length", "Content-Length:\r\n\r\nabcde", "ConflictingLength"),
    ("a length in other digits", "Content-Length: \u{0665}\r\n\r\nabcde", "ConflictingLength"),
    ("a blank before the colon", "Content-Length : 5\r\n\r\nabcde", "MalformedHead"),
    ("a tab before the colon", "Transfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n", "MalformedHead"),
    ("a name with a zero byte", "Content-Length\0: 5\r\n\r\nabcde", "MalformedHead"),
    ("no colon", "Content-Length 5\r\n\r\nabcde", "MalformedHead"),
    ("a first field that is folded", " Content-Length: 5\r\n\r\nabcde", "MalformedHead"),
    ("chunked twice", "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", "UnsupportedTransferEncoding"),
    (
        "chunked in two fields",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "UnsupportedTransferEncoding",
    ),
    ("chunked not last", "Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n", "UnsupportedTransferEncoding"),
    ("a misspelt coding", "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", "UnsupportedTransferEncoding"),
    ("quotes", "Transfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n", "UnsupportedTransferEncoding"),
    ("a vertical tab", "Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", "MalformedHead"),
    (
        "a blank of another kind",
        "Transfer-Encoding: \u{a0}chunked\r\n\r\n0\r\n\r\n",
        "UnsupportedTransferEncoding",
    ),
    (
        "chunked and identity",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
        "DoubtfulTransferEncoding",
    ),
    (
        "chunked with a parameter",
        "Transfer-Encoding: chunked;x=y\r\n\r\n0\r\n\r\n",
        "DoubtfulTransferEncoding",
    ),
    ("an empty coding", "Transfer-Encoding:\r\nContent-Length: 2\r\n\r\nab", "DoubtfulTransferEncoding"),
    ("a folded coding", "Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n", "ObsoleteFolding"),
    ("bare line feeds", "Content-Length: 5\n\nabcde", "BareLineFeed"),
    ("a bare carriage return", "A: b\rContent-Length: 5\r\n\r\nabcde", "BareCarriageReturn"),
    (
        "a chunk size in another base",
        "Transfer-Encoding: chunked\r\n\r\n0x5\r\nabcde\r\n0\r\n\r\n",
        "MalformedChunk",
    ),
    ("a negative chunk size", "Transfer-Encoding: chunked\r\n\r\n-1\r\n\r\n", "MalformedChunk"),
    (
        "a chunk size beyond 64 bits",
        "Transfer-Encoding: chunked\r\n\r\n10000000000000000\r\nabc",
        "MalformedChunk",
    ),
    (
        "a chunk that is longer than its size",
        "Transfer-Encoding: chunked\r\n\r\n3\r\nabcde\r\n0\r\n\r\n",
        "MalformedChunk",
    ),
];

#[test]
fn each_shape_is_refused_or_said_to_be_odd_however_it_is_cut() {
    for (name, request, problem) in REQUESTS {
        let request = format!("POST /1 HTTP/1.1\r\n{request}");
        let whole = lines(&run(&[sent(&request), received(OK)]).events);
        assert!(whole.iter().any(|line| line.contains(&format!("! {problem}"))), "{name}: {whole:?}");
        for at in 0..request.len() {
            let (before, after) = request.as_bytes().split_at(at);
            let cut = lines(&run(&[sent(before), sent(after), received(OK)]).events);
            assert_eq!(cut, whole, "{name}, cut at {at}");
        }
    }
}

#[test]
fn what_comes_behind_a_refused_message_is_not_taken_for_a_message() {
    let refused = ["ConflictingLength", "MalformedHead", "UnsupportedTransferEncoding", "MalformedChunk"];
    for (name, request, problem) in REQUESTS.iter().filter(|(_, _, problem)| refused.contains(problem)) {
        let request = format!("POST /1 HTTP/1.1\r\n{request}GET /smuggled HTTP/1.1\r\n\r\n");
        let seen = lines(&run(&[sent(&request)]).events);
        assert!(!seen.iter().any(|line| line.contains("smuggled")), "{name}, {problem}: {seen:?}");
    }
}

#[test]
fn line_ends_of_chunks_are_exact() {
    for (name, body) in [
        ("a bare line feed behind a size", "5\nabcde\r\n0\r\n\r\n"),
        ("a bare line feed behind a chunk", "5\r\nabcde\n0\r\n\r\n"),
        ("a bare line feed in an extension", "5;a=b\nabcde\r\n0\r\n\r\n"),
        ("a bare carriage return behind a size", "5\rabcde\r\n0\r\n\r\n"),
        ("no size", "\r\n0\r\n\r\n"),
        ("a blank before the size", " 5\r\nabcde\r\n0\r\n\r\n"),
    ] {
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        let seen = lines(&run(&[sent("GET / HTTP/1.1\r\n\r\n"), received([head, body].concat())]).events);
        assert!(seen.iter().any(|line| line.contains("MalformedChunk")), "{name}: {seen:?}");
    }
}

#[test]
fn chunks_in_http_1_0_are_read_and_said_to_be_doubtful() {
    let response = "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
    let seen = lines(&run(&[sent("GET / HTTP/1.0\r\n\r\n"), received(response)]).events);
    assert_eq!(seen[2..], ["1 < 200", "1 ! DoubtfulTransferEncoding r0", "1 < ok", "1 < end 2"]);
}

#[test]
fn answers_that_have_no_body_do_not_eat_the_next_whatever_their_fields_say() {
    let fields = "Content-Length: 30\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (request, status) in
        [("HEAD / HTTP/1.1\r\n\r\n", 200), ("GET / HTTP/1.1\r\n\r\n", 204), ("GET / HTTP/1.1\r\n\r\n", 304)]
    {
        let response = format!("HTTP/1.1 {status} X\r\n{fields}");
        let seen = lines(
            &run(&[sent(request), received(response), sent("GET /2 HTTP/1.1\r\n\r\n"), received(OK)]).events,
        );
        assert_eq!(seen[seen.len() - 3..], ["2 < 200", "2 < ok", "2 < end 2"], "{seen:?}");
    }
}
