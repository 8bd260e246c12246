//! Reads what cargo's test programs print, and counts.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::AddAssign;

/// Tests of one or more test programs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    /// Ignored ones, and those that returned early and said so.
    pub(crate) skipped: u64,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

/// Follows the output of `cargo test … -- --show-output`, line by line.
///
/// A test that lacks something prints a line "skipped: why" and returns, which cargo counts as passed. Only
/// `--show-output` shows that line, among all that passing tests print; the rest of it is hidden again here.
#[derive(Default)]
pub(crate) struct Reader {
    counts: Counts,
    /// In the part of the output that belongs to passed tests.
    in_successes: bool,
    /// The test whose output is being read.
    test: String,
    skipped: BTreeSet<String>,
}

impl Reader {
    /// Takes one line without its end and returns whether a person wants to see it.
    pub(crate) fn line(&mut self, line: &str) -> bool {
        if let Some(result) = line.strip_prefix("test result: ") {
            let mut counts = result_counts(result);
            let skipped = self.skipped.len() as u64;
            counts.passed = counts.passed.saturating_sub(skipped);
            counts.skipped += skipped;
            self.counts += counts;
            self.in_successes = false;
            self.skipped.clear();
            return true;
        }
        match line {
            "successes:" => self.in_successes = true,
            "failures:" => self.in_successes = false,
            _ => {
                if let Some(test) =
                    line.strip_prefix("---- ").and_then(|rest| rest.strip_suffix(" stdout ----"))
                {
                    test.clone_into(&mut self.test);
                } else if self.in_successes && line.starts_with("skipped: ") {
                    self.skipped.insert(self.test.clone());
                    return true;
                }
            }
        }
        !self.in_successes
    }

    pub(crate) fn counts(&self) -> Counts {
        self.counts
    }
}

/// "ok. 5 passed; 1 failed; 2 ignored; 0 measured; 0 filtered out; finished in 0.00s".
fn result_counts(result: &str) -> Counts {
    let mut counts = Counts::default();
    let mut words = result.split_whitespace().peekable();
    while let Some(word) = words.next() {
        let (Ok(number), Some(what)) = (word.parse::<u64>(), words.peek()) else { continue };
        match what.trim_end_matches(';') {
            "passed" => counts.passed += number,
            "failed" => counts.failed += number,
            "ignored" => counts.skipped += number,
            _ => {}
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "\
running 4 tests
test a ... ok
test b ... ok
test c ... FAILED
test d ... ignored

successes:

---- a stdout ----
skipped: OISP_CORPUS is not set
skipped: OISP_SPEC is not set

---- b stdout ----
noise

successes:
    a
    b

failures:

---- c stdout ----
skipped: this one failed all the same

failures:
    c

test result: FAILED. 2 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s
";

    #[test]
    fn a_test_that_says_skipped_is_counted_once_and_not_as_passed() {
        let mut reader = Reader::default();
        for line in OUTPUT.lines() {
            reader.line(line);
        }
        assert_eq!(reader.counts(), Counts { passed: 1, failed: 1, skipped: 2 });
    }

    #[test]
    fn output_of_passed_tests_is_hidden_but_for_the_skip_lines() {
        let mut reader = Reader::default();
        let shown: Vec<&str> = OUTPUT.lines().filter(|line| reader.line(line)).collect();
        assert!(!shown.contains(&"noise"));
        assert!(shown.contains(&"skipped: OISP_CORPUS is not set"));
        assert!(shown.contains(&"---- c stdout ----"));
        assert!(shown.contains(&"test c ... FAILED"));
    }

    #[test]
    fn counts_of_several_programs_add_up() {
        let mut reader = Reader::default();
        for _ in 0..2 {
            reader.line("test result: ok. 7 passed; 0 failed; 1 ignored; 0 measured; 3 filtered out");
        }
        assert_eq!(reader.counts(), Counts { passed: 14, failed: 0, skipped: 2 });
    }
}
