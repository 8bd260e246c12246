//! What came of one runtime.

use std::panic::{AssertUnwindSafe, catch_unwind};

use oisp_elf::{Analysis, CostClass, analyze};

use super::programs::{Program, Way};
use crate::support::{Connection, Provider, record};

/// A line of the page.
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) version: String,
    /// Of each stack: library, evidence, functions, what a probe costs.
    pub(crate) stacks: Vec<[String; 4]>,
    pub(crate) refusals: Vec<String>,
    pub(crate) plain: Outcome,
    pub(crate) streamed: Outcome,
    pub(crate) eight_at_once: Outcome,
    pub(crate) http2: Outcome,
    expected_refusal: Option<&'static str>,
    is_agent: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Every call, byte for byte.
    Recorded,
    /// It cannot be, and the sensor says so.
    Refused,
    /// It does not call in this way.
    NotSpoken,
    /// It should have been.
    Failed(String),
}

impl Row {
    pub(crate) fn of(program: &Program) -> Self {
        let analysis =
            analyze(&program.path).unwrap_or_else(|error| panic!("{}: {error}", program.path.display()));
        let mut outcomes = Way::ALL.map(|way| {
            if program.is_agent() {
                return Outcome::NotSpoken;
            }
            if analysis.stacks.is_empty() {
                return Outcome::Refused;
            }
            outcome(program, way)
        });
        let mut next = 0;
        let mut take = || {
            next += 1;
            std::mem::replace(&mut outcomes[next - 1], Outcome::NotSpoken)
        };
        Self {
            name: program.name.clone(),
            version: program.version.clone(),
            stacks: stacks(&analysis),
            refusals: analysis
                .refusals
                .iter()
                .map(|refusal| format!("{}: {}", refusal.library.name(), refusal.reason))
                .collect(),
            plain: take(),
            streamed: take(),
            eight_at_once: take(),
            http2: take(),
            expected_refusal: program.refusal(),
            is_agent: program.is_agent(),
        }
    }

    pub(crate) fn outcomes(&self) -> [&Outcome; 4] {
        [&self.plain, &self.streamed, &self.eight_at_once, &self.http2]
    }

    pub(crate) fn is_as_expected(&self) -> bool {
        match self.expected_refusal {
            Some(reason) => self.stacks.is_empty() && self.refusals.iter().any(|said| said.ends_with(reason)),
            None if self.is_agent => !self.stacks.is_empty(),
            None => {
                self.plain == Outcome::Recorded
                    && self
                        .outcomes()
                        .iter()
                        .all(|outcome| matches!(outcome, Outcome::Recorded | Outcome::NotSpoken))
            }
        }
    }
}

fn stacks(analysis: &Analysis) -> Vec<[String; 4]> {
    let each = analysis.stacks.iter().map(|stack| {
        let mut evidence: Vec<&str> = stack.functions.iter().map(|site| site.evidence.name()).collect();
        evidence.dedup();
        let functions: Vec<&str> = stack.functions.iter().map(|site| site.function.name()).collect();
        let emulated = stack.functions.iter().filter(|site| site.entry.cost == CostClass::Emulated).count();
        [
            stack.library.name().to_owned(),
            evidence.join(", "),
            functions.join(", "),
            format!("{emulated} of {} emulated", functions.len()),
        ]
    });
    each.collect()
}

/// Records one run. What fails there is told in the page, and does not keep the others from being run.
fn outcome(program: &Program, way: Way) -> Outcome {
    let result = catch_unwind(AssertUnwindSafe(|| {
        let home = tempfile::tempdir().unwrap();
        let provider = if way == Way::Http2 { Provider::start_http2() } else { Provider::start() };
        let Some(command) = program.command(way, &provider, home.path()) else { return Outcome::NotSpoken };
        let (captured, _) = record(command);
        assert_same(&captured, &provider, if program.name == "chromium" { 1 } else { way.calls() }, way);
        Outcome::Recorded
    }));
    result.unwrap_or_else(|panic| {
        let said = panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(|said| (*said).to_owned()))
            .unwrap_or_default();
        Outcome::Failed(said.lines().next().unwrap_or_default().to_owned())
    })
}

/// Every connection that the provider saw was captured, every byte that was sent on it, and every body in both directions.
fn assert_same(captured: &[Connection], provider: &Provider, calls: usize, way: Way) {
    let log = provider.log();
    let logged: Vec<_> = log.connections.iter().filter(|connection| connection.received_total > 0).collect();
    assert_eq!(captured.len(), logged.len(), "connections that were captured, and that there were");
    if way == Way::EightAtOnce {
        assert_eq!(logged.len(), calls, "connections at once");
    }
    let mut exchanges = 0;
    let mut left: Vec<_> = captured.iter().collect();
    for logged in logged {
        let place = left.iter().position(|captured| captured.sent == logged.received);
        let captured = left.remove(place.expect("sent bytes differ from those that the provider received"));
        assert!(
            logged.sent.starts_with(&captured.received),
            "received bytes differ from those that were sent"
        );
        let mut told: Vec<_> = captured
            .exchanges()
            .into_values()
            .map(|exchange| (exchange.request, exchange.response))
            .collect();
        let mut wanted: Vec<_> = logged
            .exchanges
            .iter()
            .map(|exchange| (exchange.request_body.clone(), exchange.response_body.clone()))
            .collect();
        // Those of HTTP/2 interleave.
        told.sort();
        wanted.sort();
        assert!(told == wanted, "bodies differ");
        if way == Way::Http2 {
            assert!(logged.exchanges.iter().all(|exchange| exchange.stream.is_some()), "it spoke HTTP/1.1");
        }
        exchanges += wanted.len();
    }
    assert!(exchanges >= calls, "{exchanges} of {calls} calls were made");
}
