//! A call before it is made: everything that it will say follows from these few numbers.

use super::random::{Prose, Random};
use super::truth::ToolCallTruth;
use super::{GeneratorConfig, Service};

/// What every agent is told.
pub(super) const SYSTEM: &str = "You are a careful agent.\nUse the tools where they help.";
/// The tools that every request offers.
pub(super) const TOOLS: [(&str, &str); 2] =
    [("read_file", "Reads a file."), ("run_command", "Runs a command and gives what it prints.")];

#[derive(Clone, Debug)]
pub(super) struct CallPlan {
    pub(super) number: u64,
    pub(super) service: Service,
    pub(super) model: &'static str,
    pub(super) streamed: bool,
    pub(super) answer_bytes: u64,
    pub(super) tool_calls: u64,
    /// Seconds since 1970, of the provider's clock.
    pub(super) created: u64,
    prompt_bytes: u64,
    seed: u64,
}

impl CallPlan {
    pub(super) fn draw(number: u64, config: &GeneratorConfig, random: &mut Random) -> Self {
        let total: u64 = config.services.iter().map(|(_, weight)| u64::from(*weight)).sum();
        let mut at = random.below(total);
        let mut service = Service::OpenAi;
        for (candidate, weight) in &config.services {
            service = *candidate;
            if at < u64::from(*weight) {
                break;
            }
            at -= u64::from(*weight);
        }
        Self {
            number,
            service,
            model: random.pick(service.models()),
            streamed: random.chance(config.streamed),
            answer_bytes: random.size(config.answer_bytes),
            tool_calls: if random.chance(config.tool_calls) { random.between(1, 2) } else { 0 },
            created: 1_769_860_800 + number,
            prompt_bytes: random.size(config.prompt_bytes),
            seed: random.next(),
        }
    }

    /// What the user says; it begins with the call's number, so that each is another.
    pub(super) fn prompt(&self) -> String {
        format!("Call {}: {}", self.number, Prose::whole(self.seed, self.prompt_bytes))
    }

    pub(super) fn answer(&self) -> Prose {
        Prose::new(!self.seed, self.answer_bytes)
    }

    pub(super) fn input_tokens(&self) -> u64 {
        self.prompt_bytes / 4 + 24
    }

    pub(super) fn output_tokens(&self) -> u64 {
        self.answer_bytes / 4 + 1 + 16 * self.tool_calls
    }

    pub(super) fn response_id(&self) -> String {
        match self.service {
            Service::OpenAi => format!("chatcmpl-{:08}", self.number),
            Service::Anthropic => format!("msg_{:08}", self.number),
            Service::OpenRouter => format!("gen-{:08}", self.number),
        }
    }

    pub(super) fn finish_reason(&self) -> &'static str {
        match (self.service, self.tool_calls) {
            (Service::Anthropic, 0) => "end_turn",
            (Service::Anthropic, _) => "tool_use",
            (_, 0) => "stop",
            (_, _) => "tool_calls",
        }
    }

    pub(super) fn tools(&self) -> Vec<ToolCallTruth> {
        let mut random = Random::new(self.seed.rotate_left(32));
        let prefix = match self.service {
            Service::Anthropic => "toolu",
            Service::OpenAi | Service::OpenRouter => "call",
        };
        (0..self.tool_calls)
            .map(|index| ToolCallTruth {
                id: format!("{prefix}_{:08}_{index}", self.number),
                name: random.pick(&TOOLS).0,
                // Keys in their order, so that it is the same text again when a parser has read it.
                arguments:
                    serde_json::json!({ "line": random.below(5000), "text": Prose::whole(random.next(), 40) })
                        .to_string(),
            })
            .collect()
    }
}
