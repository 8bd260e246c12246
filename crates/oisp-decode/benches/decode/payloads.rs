//! What models' providers send, of any size.

use std::io::Write as _;

/// An array of messages.
pub(crate) fn array(size: usize) -> Vec<u8> {
    let mut text = b"[".to_vec();
    let mut number = 0;
    while text.len() < size {
        let comma = if number == 0 { "" } else { "," };
        // Writing to memory does not fail, here and below.
        let _ = write!(
            text,
            r#"{comma}{{"role":"assistant","index":{number},"content":"The {number}th line of an answer, with \"quotes\" and a\nbreak.","usage":{{"input_tokens":{},"output_tokens":{}}}}}"#,
            number * 7,
            number % 93,
        );
        number += 1;
    }
    text.push(b']');
    text
}

/// Deltas of a streamed answer, one a line.
pub(crate) fn lines(size: usize) -> Vec<u8> {
    numbered_lines(size, |text, number| {
        let _ = writeln!(
            text,
            r#"{{"type":"content_block_delta","index":0,"delta":{{"type":"text_delta","text":" word{number}"}}}}"#
        );
    })
}

/// Calls of tools, one a line.
pub(crate) fn json_rpc(size: usize) -> Vec<u8> {
    numbered_lines(size, |text, number| {
        let _ = writeln!(
            text,
            r#"{{"jsonrpc":"2.0","id":{number},"method":"tools/call","params":{{"name":"search","arguments":{{"query":"word{number}","limit":10}}}}}}"#
        );
    })
}

fn numbered_lines(size: usize, line: impl Fn(&mut Vec<u8>, u64)) -> Vec<u8> {
    let mut text = Vec::new();
    for number in 0.. {
        if text.len() >= size {
            break;
        }
        line(&mut text, number);
    }
    text
}
