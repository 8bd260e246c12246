//! Lines of JSON-RPC without HTTP, as over pipes.

use oisp_decode::{Limits, Protocol};
use proptest::prelude::*;

use crate::support::{Step, assert_lines, lines, received, run, run_with, sent};

const ASK: &str = r#"{"method":"tools/list","jsonrpc":"2.0","id":1}"#;
const ANSWER: &str = r#"{"jsonrpc":"2.0","id":1,"result":{}}"#;
const NOTE: &str = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;

#[test]
fn first_line_that_is_a_json_rpc_message_makes_a_connection_one_of_lines() {
    let steps = [sent(format!("{ASK}\n")), received(format!("{ANSWER}\r\n\n{NOTE}")), sent("no json\n")];
    let expected =
        [format!("0 > {ASK}"), format!("0 < {ANSWER}"), "0 > no json".into(), format!("0 < {NOTE}")];
    assert_lines(&steps, &expected.each_ref().map(String::as_str));
    assert_eq!((run(&steps).protocol, run(&steps).role), (Protocol::JsonRpcLines, None));
    assert_eq!(run(&[sent(format!("[{ASK}]\n"))]).protocol, Protocol::JsonRpcLines, "a batch");
}

#[test]
fn other_protocols_and_other_json_are_not_taken_for_it() {
    for (first, protocol) in [
        ("{\"id\":1,\"method\":\"x\"}\n", Protocol::Opaque),
        ("{\"log\":\"a line\"}\n", Protocol::Opaque),
        ("{not json\n", Protocol::Opaque),
        // The Language Server Protocol has heads.
        (
            "Content-Length: 46\r\n\r\n{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"initialize\"}\n",
            Protocol::Opaque,
        ),
        ("{\"jsonrpc\":\"2.0\",\"id\":1,", Protocol::Opaque),
    ] {
        assert_eq!(run(&[sent(first), received("x\n")]).protocol, protocol, "{first}");
    }
    assert_eq!(run(&[sent("{\"jsonrpc\":")]).protocol, Protocol::Opaque, "it never ended");
}

#[test]
fn first_line_longer_than_is_held_is_passed_over_and_the_next_is_read() {
    let limits = Limits { sniff_bytes: 100, ..Limits::default() };
    let long = format!("{}{}\n", &ASK[..ASK.len() - 1], " ".repeat(60) + "}");
    let split = run_with(limits, &[sent(&long[..20]), sent(&long[20..]), sent(format!("{ASK}\n"))]);
    let whole = run_with(limits, &[sent(&long), sent(format!("{ASK}\n"))]);
    assert_eq!(lines(&split.events), ["0 ! Unrecognised s0".to_owned(), format!("0 > {ASK}")]);
    assert_eq!(lines(&whole.events), lines(&split.events));
}

#[test]
fn connection_that_is_joined_in_the_middle_is_read_from_the_next_record_that_is_a_line() {
    let steps =
        [Step::SentGap(9), sent("rest\"}\n"), received(format!("{ANSWER}\n")), sent(format!("{ASK}\n"))];
    let expected = ["0 ! FramingLost s0".to_owned(), format!("0 < {ANSWER}"), format!("0 > {ASK}")];
    assert_lines(&steps, &expected.each_ref().map(String::as_str));
}

#[test]
fn lines_on_both_sides_of_lost_bytes_are_never_joined() {
    let steps =
        [sent(format!("{ASK}\n{}", &ASK[..12])), Step::SentGap(5), sent(format!("{}\n{NOTE}\n", &ASK[17..]))];
    let cut = format!("0 > {} cut", &ASK[..12]);
    let expected = [format!("0 > {ASK}"), cut, "0 ! FramingLost s59".into(), format!("0 > {NOTE}")];
    assert_lines(&steps, &expected.each_ref().map(String::as_str));
}

proptest! {
    #[test]
    fn any_split_gives_the_same_lines(
        messages in proptest::collection::vec(
            (any::<bool>(), prop_oneof![Just(ASK), Just(ANSWER), Just(NOTE), Just("other"), Just("")]),
            0..8,
        ),
        first in prop_oneof![Just(ASK), Just("{\"x\":1}"), Just("[]"), Just("{")],
        cuts in proptest::collection::vec(1_usize..40, 0..8),
        limit in 64_usize..80,
    ) {
        let limits = Limits { sniff_bytes: limit, ..Limits::default() };
        let mut steps = vec![sent(format!("{first}\n"))];
        for (is_sent, line) in messages {
            let line = format!("{line}\n");
            steps.push(if is_sent { sent(line) } else { received(line) });
        }
        let mut split = Vec::new();
        let mut cuts = cuts.into_iter().cycle();
        for step in &steps {
            let (Step::Sent(bytes) | Step::Received(bytes)) = step else { unreachable!() };
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let (piece, after) = rest.split_at(cuts.next().unwrap_or(rest.len()).min(rest.len()));
                split.push(if matches!(step, Step::Sent(_)) { sent(piece) } else { received(piece) });
                rest = after;
            }
        }
        let (whole, split) = (run_with(limits, &steps), run_with(limits, &split));
        if first == ASK {
            prop_assert_eq!(whole.protocol, Protocol::JsonRpcLines);
            prop_assert_eq!(lines(&whole.events), lines(&split.events));
        } else {
            prop_assert!(lines(&split.events)[0].contains("Unrecognised"));
        }
    }
}
