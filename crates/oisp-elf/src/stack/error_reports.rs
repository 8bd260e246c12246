//! How OpenSSL's relatives report errors: `ERR_put_error(library, unused, reason, file, line)`.
//!
//! What a function can report is the most lasting mark of it: reasons are a part of the library's interface, and the
//! file's name is in the program as a text.

use crate::code::{Text, Trace};

/// An error that a function can report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ErrorReport {
    pub(crate) reason: u64,
    pub(crate) line: u64,
}

/// The errors that a function can report from one source file, as one of a library's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ErrorReports {
    /// In order, each once.
    pub(crate) reports: Vec<ErrorReport>,
    /// Whether there are some whose reason or line could not be told.
    pub(crate) incomplete: bool,
}

impl ErrorReports {
    /// Those of `function` from one of `files`, of the library with this number.
    pub(crate) fn of(function: &Trace, files: &[Text<'_>], library: u64) -> Self {
        let is_file = |value: Option<u64>| files.iter().any(|file| Some(file.address) == value);
        let mut found = Self { incomplete: function.is_cut, ..Self::default() };
        for call in &function.calls {
            // Where the compiler has dropped the unused argument, those after it are one register earlier.
            let [first, second, third, fourth, fifth, _] = call.arguments;
            let (reason, line) = if is_file(fourth) {
                (third, fifth)
            } else if is_file(third) {
                (second, fourth)
            } else {
                continue;
            };
            match (first, reason, line) {
                (Some(number), Some(reason), Some(line)) if number == library => {
                    found.reports.push(ErrorReport { reason, line });
                }
                // Another library's, or no error report but some other use of the file's name (an assertion).
                (Some(_), ..) => {}
                (None, ..) => found.incomplete = true,
            }
            if first == Some(library) && (reason.is_none() || line.is_none()) {
                found.incomplete = true;
            }
        }
        found.reports.sort_unstable();
        found.reports.dedup();
        found
    }

    /// Whether its reasons are these and no others.
    pub(crate) fn are(&self, reasons: &[u64]) -> bool {
        !self.incomplete
            && self.reports.iter().all(|report| reasons.contains(&report.reason))
            && self.include(reasons)
    }

    /// Whether its reasons include these.
    pub(crate) fn include(&self, reasons: &[u64]) -> bool {
        reasons.iter().all(|&reason| self.lines(reason).next().is_some())
    }

    /// The lines that report this reason.
    pub(crate) fn lines(&self, reason: u64) -> impl Iterator<Item = u64> + '_ {
        self.reports.iter().filter(move |report| report.reason == reason).map(|report| report.line)
    }

    pub(crate) fn lowest_line(&self) -> Option<u64> {
        self.reports.iter().map(|report| report.line).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::code::Call;

    const FILE: Text<'static> = Text { address: 0x1000, bytes: b"ssl/ssl_lib.cc", mark: 0x1000 };

    fn function(calls: &[[Option<u64>; 6]]) -> Trace {
        let call = |&arguments| Call { at: 0, target: None, arguments };
        Trace { calls: calls.iter().map(call).collect(), ..Trace::default() }
    }

    #[test]
    fn both_layouts_of_arguments_give_the_same_report() {
        let whole = function(&[[Some(16), Some(0), Some(66), Some(0x1000), Some(931), None]]);
        let dropped = function(&[[Some(16), Some(66), Some(0x1000), Some(931), None, None]]);
        let expected = [ErrorReport { reason: 66, line: 931 }];
        assert_eq!(ErrorReports::of(&whole, &[FILE], 16).reports, expected);
        assert_eq!(ErrorReports::of(&dropped, &[FILE], 16).reports, expected);
    }

    #[test]
    fn another_library_and_another_file_do_not_count() {
        let calls = function(&[
            [Some(30), Some(0), Some(66), Some(0x1000), Some(931), None],
            [Some(16), Some(0), Some(66), Some(0x2000), Some(931), None],
        ]);
        assert_eq!(ErrorReports::of(&calls, &[FILE], 16), ErrorReports::default());
    }

    #[test]
    fn unknown_reason_makes_the_set_inexact() {
        let calls = function(&[
            [Some(16), Some(0), Some(66), Some(0x1000), Some(931), None],
            [Some(16), Some(0), None, Some(0x1000), Some(940), None],
        ]);
        let reports = ErrorReports::of(&calls, &[FILE], 16);
        assert!(reports.include(&[66]));
        assert!(!reports.are(&[66]));
    }
}
