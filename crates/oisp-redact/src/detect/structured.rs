//! Secrets with an inner structure: JSON web tokens, private keys, webhooks.

use std::ops::Range;

use super::text::{Text, is_token};
use super::{Attempt, Detector, Matcher, Reach};

pub(super) const DETECTORS: &[Detector] = &[
    Detector {
        name: "private_key",
        reach: Reach::Safe,
        anchors: &["---BEGIN ", "--- BEGIN "],
        matcher: Matcher::Function(private_key),
        positives: &[
            (PEM, "q83vEjRWeJq83vEjRWeJAQIDBAUGBwgJ"),
            (PEM_ESCAPED, "ZXhhbXBsZWtleW1hdGVyaWFsMDEyMzQ1"),
            (PEM_NUMBERED, "bW9yZWtleW1hdGVyaWFsMTIzNDU2Nzg5"),
            (PEM_CUT, "dHJ1bmNhdGVka2V5bWF0ZXJpYWwwMTIz"),
        ],
        negatives: &[
            "-----BEGIN CERTIFICATE-----\nMIIBIjANBgkqhkiG9w0BAQ\n-----END CERTIFICATE-----",
            "-----BEGIN PUBLIC KEY-----\nMIIBIjANBgkqhkiG9w0BAQ\n-----END PUBLIC KEY-----",
            "a file that starts with -----BEGIN PRIVATE KEY----- holds a key that nobody should have",
        ],
    },
    Detector {
        name: "json_web_token",
        reach: Reach::Safe,
        anchors: &["eyJ"],
        matcher: Matcher::Function(json_web_token),
        positives: &[
            (
                concat!(
                    "eyJ",
                    "TCJ4jC3jrAApjbrK1svZkqFguD5EhjGdO.eyJB9KpGzU3HEEmXL1uhLsc4Rr4aKxU3f0BJxrxDwzkl-JwAryN",
                    ".n-5drcFlCxvnNGdcmyHc7E4nSmwfIp7-JoppZrDDs7Y"
                ),
                "JoppZrDDs7Y",
            ),
            (concat!("eyJ", "hbGciOiJub25lIn0.eyJzdWIiOiJhbGljZSJ9."), "eyJzdWIiOiJhbGljZSJ9"),
        ],
        negatives: &["eyJ", "eyJhbGciOiJub25lIn0", "eyJhbGciOiJub25lIn0.txt"],
    },
    Detector {
        name: "slack_webhook",
        reach: Reach::Safe,
        anchors: &["hooks.slack.com/"],
        matcher: Matcher::Pattern {
            expression: r"hooks\.slack\.com/(?:services|workflows|triggers)/(?<secret>[A-Za-z0-9/]{20,120})",
            window: 160,
        },
        positives: &[(
            concat!("https://hooks.slack", ".com/services/T01ABCDEFGH/B01ABCDEFGH/1sjmSEZS0c5JvHc3mXzUwP2q"),
            "1sjmSEZS0c5JvHc3mXzUwP2q",
        )],
        negatives: &["https://hooks.slack.com/", "https://hooks.slack.com/services/"],
    },
    Detector {
        name: "telegram_bot_token",
        reach: Reach::Safe,
        anchors: &[":AA"],
        matcher: Matcher::Function(telegram_bot_token),
        positives: &[
            (
                concat!("123456", "7890:AAvcX1eYgURZEQ3PZgPsTF2bUnxiP3zcCr1"),
                "AAvcX1eYgURZEQ3PZgPsTF2bUnxiP3zcCr1",
            ),
            (
                concat!(
                    "https://api.telegram.org/bot123456",
                    "7890:AAvcX1eYgURZEQ3PZgPsTF2bUnxiP3zcCr1/getMe"
                ),
                "AAvcX1eYgURZEQ3PZgPsTF2bUnxiP3zcCr1",
            ),
        ],
        negatives: &["12:AA", "mac 00:AA:11:22:33:44", "type:AAvcX1eYgURZEQ3PZgPsTF2bUnxiP3zcCr1Y6"],
    },
];

const PEM: &str = concat!(
    "-----BEGIN ",
    "RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,8A1F\n\n",
    "q83vEjRWeJq83vEjRWeJAQIDBAUGBwgJ\nYWJj\n-----END RSA PRIVATE KEY-----"
);
const PEM_ESCAPED: &str = concat!(
    r#"{"key":"-----BEGIN "#,
    r#"PRIVATE KEY-----\\nZXhhbXBsZWtleW1hdGVyaWFsMDEyMzQ1\\nNjc4OTAx\\n-----END PRIVATE KEY-----\\n"}"#
);
const PEM_NUMBERED: &str = concat!(
    "  1\t-----BEGIN ",
    "OPENSSH PRIVATE KEY-----\n  2\tb3BlbnNzaC1rZXktdjEAAAAABG5vbmUA\n",
    "  3\tbW9yZWtleW1hdGVyaWFsMTIzNDU2Nzg5\n  4\t-----END OPENSSH PRIVATE KEY-----"
);
const PEM_CUT: &str = concat!(
    "-----BEGIN ",
    "EC PRIVATE KEY-----\nMHcCAQEEIIrYSSNQFaA2Hwf1duRSxKtL\ndHJ1bmNhdGVka2V5bWF0ZXJpYWwwMTIz"
);

/// A PEM block, its body in whatever a log, an editor or a JSON encoder made of its lines. It goes on as long
/// as long base64 words follow one another closely; the block need not end.
fn private_key(text: &Text<'_>, anchor: Range<usize>) -> Attempt {
    const WORD: usize = 16;
    const GAP: usize = 128;
    if text.slice(anchor.end - 6, anchor.end) != "BEGIN " {
        return Attempt::Nothing;
    }
    let label_end =
        text.run(anchor.end, 48, |byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b' ');
    if !text.slice(anchor.end, label_end).contains("PRIVATE KEY") {
        return Attempt::Nothing;
    }
    let start = text.run_back(anchor.start, 8, |byte| byte == b'-');
    let mut at = text.run(label_end, 8, |byte| byte == b'-');
    // The end of what is known to be key; zero while nothing is.
    let mut key_end = 0;
    let mut gap_start = at;
    while at < text.len() && at - gap_start <= GAP {
        let word_end = text.run(at, usize::MAX, is_base64);
        if word_end - at >= WORD {
            key_end = word_end;
            gap_start = word_end;
        }
        at = text.run(word_end, GAP, |byte| !is_base64(byte) && byte != b'-');
        let dashes = text.run(at, 8, |byte| byte == b'-');
        if dashes - at >= 4 {
            let ends = text.run(dashes, 2, super::text::is_blank);
            if key_end > 0 && text.starts_with(ends, "END ") {
                let label_end = text
                    .run(ends, 52, |byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b' ');
                key_end = text.run(label_end, 8, |byte| byte == b'-');
            }
            break;
        }
        at = dashes.max(word_end);
    }
    if key_end == 0 { Attempt::Nothing } else { Attempt::Found(start..key_end) }
}

fn is_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=')
}

/// Three base64url parts; the first two start as JSON objects do, the third (the signature) may be empty.
fn json_web_token(text: &Text<'_>, anchor: Range<usize>) -> Attempt {
    if text.slice(anchor.start, anchor.end) != "eyJ" {
        return Attempt::Nothing;
    }
    let header_end = text.run(anchor.start, usize::MAX, is_token);
    // Whatever starts within this run ends where it ends, so nothing in it has a second part either.
    let nothing = Attempt::NothingBefore(header_end);
    if header_end - anchor.start < 12 || text.byte(header_end) != Some(b'.') {
        return nothing;
    }
    // A nested or encrypted token has a second part without a JSON object.
    let payload_end = text.run(header_end + 1, usize::MAX, is_token);
    if payload_end - header_end <= 8 || text.byte(payload_end) != Some(b'.') {
        return nothing;
    }
    let mut end = text.run(payload_end + 1, usize::MAX, is_token);
    // The five parts of an encrypted one.
    for _ in 0..2 {
        if text.byte(end) == Some(b'.') {
            end = text.run(end + 1, usize::MAX, is_token);
        }
    }
    Attempt::Found(anchor.start..end)
}

/// The bot's number, a colon and 35 characters.
fn telegram_bot_token(text: &Text<'_>, anchor: Range<usize>) -> Attempt {
    let start = text.run_back(anchor.start, 12, |byte| byte.is_ascii_digit());
    let end = text.run(anchor.start + 1, 64, is_token);
    let length = end - anchor.start - 1;
    if anchor.start - start < 7 || length < 34 || text.slice(anchor.start, anchor.end) != ":AA" {
        return Attempt::Nothing;
    }
    Attempt::Found(start..end)
}
