//! The page `docs/runtimes.md`, made of the rows.

use std::fs;
use std::path::PathBuf;

use super::row::{Outcome, Row};

const HEADING: &str = "\
# Runtimes

<!-- Made by a test: crates/oisp-sensor/tests/end_to_end/runtimes/mod.rs says how -->

What the sensor finds in programs as they are shipped, and what came of recording them. *Recorded* means that every call to
a provider under test was captured byte for byte in both directions: three calls one after the other, plain or streamed;
eight at once, each on a connection of its own; eight at once on one connection of HTTP/2. A dash: the test does not let
the program call in this way. `oisp-sensor tls --explain FILE` shows the same of any file, with addresses and reasons.

Rust programs are made here of reqwest, in release mode, stripped, with LTO. Coding agents are looked at, not run; Claude
Code 2.1.330 and Codex 0.169.0 were also run by hand against a provider under test, and recorded. So were Python modules that
have a TLS library inside: curl_cffi 0.17.0, impit 0.15.1, primp 2.0.1 and rnet 2.4.2. Such a module is loaded by its path
while the program runs: what goes over it before its probes are there is not seen, and told to be missing.

Go programs have a test of their own (`crates/oisp-sensor/tests/end_to_end/go.rs`): HTTP/1.1, HTTP/2, eight connections at
once, and stacks that move, with and without symbols, as PIE and not. Recorded with Go 1.21.13, 1.22.10, 1.23.9, 1.24.11,
1.25.5, 1.26.6 and 1.27.3, and stripped with 1.19.8.

| program | version | TLS | found by | functions | entry probes | plain | streamed | 8 connections | HTTP/2 |
|---|---|---|---|---|---|---|---|---|---|
";

/// The row as it stands on the page.
pub(crate) fn line(row: &Row) -> String {
    let of_stacks = |column: usize| {
        let texts: Vec<&str> = row.stacks.iter().map(|stack| stack[column].as_str()).collect();
        texts.join("; ")
    };
    let refused: Vec<String> = row.refusals.iter().map(|refusal| format!("refused: {refusal}")).collect();
    let tls: Vec<String> = row.stacks.iter().map(|stack| stack[0].clone()).chain(refused).collect();
    let outcomes: Vec<String> = row.outcomes().iter().map(|outcome| text(outcome)).collect();
    format!(
        "| {} | {} | {} | {} | {} | {} | {} |",
        row.name,
        row.version,
        tls.join("; "),
        of_stacks(1),
        of_stacks(2),
        of_stacks(3),
        outcomes.join(" | ")
    )
}

fn text(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Recorded => "recorded".to_owned(),
        Outcome::Refused => "refused".to_owned(),
        Outcome::NotSpoken => "–".to_owned(),
        Outcome::Failed(why) => format!("**not recorded**: {}", why.replace('|', "/")),
    }
}

/// The page has these rows.
pub(crate) fn assert_has(rows: &[Row]) {
    let page = fs::read_to_string(file()).unwrap();
    let missing: Vec<String> =
        rows.iter().map(line).filter(|line| !page.lines().any(|there| there == line)).collect();
    assert!(missing.is_empty(), "docs/runtimes.md does not say:\n{}", missing.join("\n"));
}

/// The page has these rows and no others; with `OISP_TEST_BLESS=1` it is made to.
pub(crate) fn assert_is(rows: &[Row]) {
    let page = HEADING.to_owned() + &rows.iter().map(|row| line(row) + "\n").collect::<String>();
    if std::env::var_os("OISP_TEST_BLESS").is_some_and(|value| value == "1") {
        fs::write(file(), &page).unwrap();
    }
    assert!(fs::read_to_string(file()).unwrap() == page, "docs/runtimes.md is out of date");
}

fn file() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/runtimes.md")
}
