//! Text with a secret in it. The secret has lines of its own, so that nothing around it may save it.
#![no_main]

use std::sync::LazyLock;

use oisp_redact::{HashKey, RedactionConfig, RedactionMode, Redactor};

const SECRETS: [&str; 3] = [
    concat!("sk-", "ant-api03-q8Zt1mVbR5xLw0Yk7Nf3Hc9Dg2Js6Pa4Ue8Ti1Oo5Xv0Bz7Kq3Mw9Rl2Fy6Ch4Gd8Sn1Ej5-AA"),
    concat!("gh", "p_x7Kq2Zt9mVbR5xLw0Yk3Nf8Hc1Dg6Js4PaUe"),
    concat!("AK", "IA4XQ7ZT2MVBR5LWYK"),
];

static REDACTOR: LazyLock<Redactor> = LazyLock::new(|| {
    let key = HashKey::ephemeral().expect("the kernel gives random bytes");
    Redactor::new(RedactionConfig { mode: RedactionMode::Safe, key })
});

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((&choice, bytes)) = bytes.split_first() else { return };
    let secret = SECRETS[usize::from(choice) % SECRETS.len()];
    let around = String::from_utf8_lossy(bytes);
    let (before, after) = around.split_once('\u{0}').unwrap_or((&around, ""));
    let text = format!("{before}\n{secret}\n{after}");
    let once = REDACTOR.redact_text(&text);
    assert!(!once.contains(secret), "a secret survives in {once:?}");
    // Not that the same comes out: a marker may make what stands around it look like a secret.
    assert!(!REDACTOR.redact_text(&once).contains(secret), "redacting once more brings nothing back");
});
