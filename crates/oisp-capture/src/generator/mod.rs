//! Synthetic traffic: calls to models as programs make them, without a kernel, a network or a program.
//!
//! [`Generator`] is a capture source. From a seed and [`GeneratorConfig`] follows every event: processes that start and
//! end, connections with HTTP/1.1, OpenAI chat completions and Anthropic messages, whole and streamed, with tool calls
//! and usage, and records that are lost. [`CallTruth`] says what was said, for comparing.
//!
//! Time is the generator's own: it begins at [`GeneratorConfig::start`] and goes on as calls take their time. With
//! [`GeneratorPace::RealTime`] events are delivered when their time has come.
//!
//! Memory: some hundred bytes for each open connection and the messages that are being written; texts are made when they
//! are needed.

mod anthropic;
mod http;
mod openai;
mod plan;
mod processes;
mod random;
mod traffic;
mod truth;

use std::time::Duration;

use crate::{MonotonicNanos, Nanos};

pub use traffic::{Generator, GeneratorStatistics};
pub use truth::{CallTruth, Delivery, ToolCallTruth};

/// Connections and processes that can be asked for.
const MAX_CONNECTIONS: usize = 100_000;
/// The longest text that can be asked for.
const MAX_TEXT: u64 = 8 << 20;

/// What traffic to make.
#[derive(Clone, Debug, PartialEq)]
pub struct GeneratorConfig {
    /// The same seed gives the same events.
    pub seed: u64,
    /// When the traffic begins.
    pub start: MonotonicNanos,
    /// Connections that are open at once; each makes one call at a time.
    pub connections: usize,
    /// Calls on a connection before it is closed and another opened.
    pub calls_per_connection: Sizes,
    /// Processes that are there at once; connections are spread over them.
    pub processes: usize,
    /// Connections of a process before another takes its place.
    pub connections_per_process: u64,
    /// Whom calls are made to, with weights.
    pub services: Vec<(Service, u32)>,
    /// Share of answers that are streams, from 0 to 1.
    pub streamed: f64,
    /// Share of answers that ask for tools, from 0 to 1.
    pub tool_calls: f64,
    /// Bytes of what a user says.
    pub prompt_bytes: Sizes,
    /// Bytes of what a model says.
    pub answer_bytes: Sizes,
    /// Bytes of the text of one streamed event.
    pub chunk_bytes: Sizes,
    /// The most bytes of one record; what is written or read at once is cut there.
    pub record_bytes: usize,
    /// Share of records with content that are lost, from 0 to 1.
    pub lost: f64,
    /// How much traffic.
    pub rate: GeneratorRate,
    /// When events are delivered.
    pub pace: GeneratorPace,
    /// Calls in all; without it there is no such end.
    pub calls: Option<u64>,
    /// No call begins later, in the generator's time.
    pub duration: Option<Duration>,
}

impl Default for GeneratorConfig {
    fn default() -> Self {
        Self {
            seed: 1,
            start: Nanos(1_000_000_000),
            connections: 8,
            calls_per_connection: Sizes { min: 1, median: 4, max: 50 },
            processes: 3,
            connections_per_process: 8,
            services: vec![(Service::OpenAi, 3), (Service::Anthropic, 3), (Service::OpenRouter, 1)],
            streamed: 0.7,
            tool_calls: 0.2,
            prompt_bytes: Sizes { min: 50, median: 4_000, max: 400_000 },
            answer_bytes: Sizes { min: 10, median: 1_200, max: 40_000 },
            chunk_bytes: Sizes { min: 1, median: 12, max: 80 },
            record_bytes: 16 << 10,
            lost: 0.0,
            rate: GeneratorRate::default(),
            pace: GeneratorPace::Unpaced,
            calls: None,
            duration: None,
        }
    }
}

/// A service that calls are made to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Service {
    /// Chat completions at api.openai.com.
    OpenAi,
    /// Messages at api.anthropic.com.
    Anthropic,
    /// Chat completions at openrouter.ai.
    OpenRouter,
}

impl Service {
    /// Its host.
    #[must_use]
    pub fn host(self) -> &'static str {
        match self {
            Self::OpenAi => "api.openai.com",
            Self::Anthropic => "api.anthropic.com",
            Self::OpenRouter => "openrouter.ai",
        }
    }

    /// Where its calls go.
    #[must_use]
    pub fn path(self) -> &'static str {
        match self {
            Self::OpenAi => "/v1/chat/completions",
            Self::Anthropic => "/v1/messages",
            Self::OpenRouter => "/api/v1/chat/completions",
        }
    }

    fn models(self) -> &'static [&'static str] {
        match self {
            Self::OpenAi => &["gpt-5", "gpt-5-mini", "gpt-4o"],
            Self::Anthropic => &["claude-opus-4-5", "claude-sonnet-4-5", "claude-haiku-4-5"],
            Self::OpenRouter => &["deepseek/deepseek-v3.2", "qwen/qwen3-max"],
        }
    }
}

/// Sizes that vary: half of them up to the median, the others above with a long tail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    min: u64,
    median: u64,
    max: u64,
}

impl Sizes {
    /// `None` unless `1 <= min <= median <= max`.
    #[must_use]
    pub fn new(min: u64, median: u64, max: u64) -> Option<Self> {
        (1 <= min && min <= median && median <= max).then_some(Self { min, median, max })
    }

    /// Always the same size; at least 1.
    #[must_use]
    pub fn always(size: u64) -> Self {
        let size = size.max(1);
        Self { min: size, median: size, max: size }
    }
}

/// How much traffic. Of several limits the lowest holds; without any, every connection makes its calls one after the
/// other, at the speed of a real service and with pauses.
///
/// Calls are made shorter than real ones where the connections could not keep the rate otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct GeneratorRate {
    /// Calls a second, of the generator's time.
    pub calls_per_second: Option<f64>,
    /// Bytes of content a second, of the generator's time, as on the wire.
    pub content_bytes_per_second: Option<f64>,
}

/// When events are delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GeneratorPace {
    /// As fast as they are taken.
    Unpaced,
    /// When their time has come. Where that cannot be kept, time is dropped rather than made up for:
    /// [`GeneratorStatistics::behind`] says how much.
    RealTime,
}

/// Why traffic cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GeneratorConfigError {
    /// A share is not one.
    #[error("{name} must be from 0 to 1")]
    Share {
        /// Which.
        name: &'static str,
    },
    /// A number is too small or too large.
    #[error("{name} must be from {least} to {most}")]
    Range {
        /// Which.
        name: &'static str,
        /// The least that is allowed.
        least: u64,
        /// The most that is allowed.
        most: u64,
    },
    /// A rate is not a positive number.
    #[error("{name} must be a number above 0")]
    Rate {
        /// Which.
        name: &'static str,
    },
    /// No service has a weight.
    #[error("no service to call: at least one must have a weight above 0")]
    NoService,
}

impl GeneratorConfig {
    fn check(&self) -> Result<(), GeneratorConfigError> {
        for (name, share) in
            [("streamed", self.streamed), ("tool_calls", self.tool_calls), ("lost", self.lost)]
        {
            if !(0.0..=1.0).contains(&share) {
                return Err(GeneratorConfigError::Share { name });
            }
        }
        let connections = MAX_CONNECTIONS as u64;
        for (name, value, least, most) in [
            ("start", self.start.0, 0, 1 << 62),
            ("connections", self.connections as u64, 1, connections),
            ("processes", self.processes as u64, 1, connections),
            ("connections_per_process", self.connections_per_process, 1, u64::MAX),
            ("record_bytes", self.record_bytes as u64, 1, 1 << 20),
            ("prompt_bytes", self.prompt_bytes.max, 1, MAX_TEXT),
            ("answer_bytes", self.answer_bytes.max, 1, MAX_TEXT),
            ("chunk_bytes", self.chunk_bytes.max, 1, MAX_TEXT),
        ] {
            if !(least..=most).contains(&value) {
                return Err(GeneratorConfigError::Range { name, least, most });
            }
        }
        for (name, rate) in [
            ("calls_per_second", self.rate.calls_per_second),
            ("content_bytes_per_second", self.rate.content_bytes_per_second),
        ] {
            if rate.is_some_and(|rate| !(rate.is_finite() && rate > 0.0)) {
                return Err(GeneratorConfigError::Rate { name });
            }
        }
        if self.services.iter().all(|(_, weight)| *weight == 0) {
            return Err(GeneratorConfigError::NoService);
        }
        Ok(())
    }
}
