//! Runtimes as they are shipped, stripped as they are: each calls the provider in several ways, and every body is
//! compared with the provider's log. What came of it is the page `docs/runtimes.md`.
//!
//! `cargo xtask runtimes` fetches and builds them; `OISP_TEST_RUNTIMES` names the folder. Every full run takes the newest
//! of each and compares with the page; the page itself is made of all of them:
//!
//! ```sh
//! cargo xtask runtimes --all
//! OISP_TEST_RUNTIMES=$PWD/target/runtimes OISP_TEST_BLESS=1 \
//!     cargo test -p oisp-sensor --test end_to_end -- --ignored --nocapture runtimes::
//! ```

mod damaged;
mod page;
mod programs;
mod row;

use crate::support::can_record;
use programs::{Program, installed};
use row::{Outcome, Row};

/// Rows of what is in the folder. Says of each what came of it.
fn rows(take: impl Fn(&Program) -> bool) -> Option<Vec<Row>> {
    if !can_record() {
        return None;
    }
    let programs = installed()?;
    let rows = programs.iter().filter(|program| take(program)).map(|program| {
        eprintln!("{} {}", program.name, program.version);
        let row = Row::of(program);
        eprintln!("  {}", page::line(&row));
        row
    });
    Some(rows.collect())
}

/// What must be recorded is, and what cannot be is refused with the reason.
fn assert_as_expected(rows: &[Row]) {
    let wrong: Vec<String> = rows.iter().filter(|row| !row.is_as_expected()).map(page::line).collect();
    assert!(wrong.is_empty(), "not as expected:\n{}", wrong.join("\n"));
}

#[test]
fn the_newest_of_each_runtime_is_recorded_as_the_page_says() {
    let Some(rows) = rows(|program| program.newest && !program.is_agent()) else { return };
    assert!(rows.iter().any(|row| row.streamed == Outcome::Recorded), "nothing was recorded");
    assert_as_expected(&rows);
    page::assert_has(&rows);
}

#[test]
#[ignore = "takes every pinned release: some gigabytes, and minutes"]
fn every_runtime_is_recorded_as_the_page_says() {
    let Some(rows) = rows(|_| true) else { return };
    page::assert_is(&rows);
    assert_as_expected(&rows);
}
