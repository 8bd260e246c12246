//! Token counts, normalised.

use oisp_event::Usage;
use serde_json::Value;

use crate::json::count;

/// Where the counts are.
pub(in crate::format) struct Counts {
    pub(in crate::format) prompt: &'static str,
    pub(in crate::format) tool_use: &'static str,
    pub(in crate::format) output: &'static str,
    pub(in crate::format) thoughts: &'static str,
    pub(in crate::format) total: &'static str,
    pub(in crate::format) cached: &'static str,
}

/// In `usageMetadata`.
pub(in crate::format) const COUNTS: Counts = Counts {
    prompt: "promptTokenCount",
    tool_use: "toolUsePromptTokenCount",
    output: "candidatesTokenCount",
    thoughts: "thoughtsTokenCount",
    total: "totalTokenCount",
    cached: "cachedContentTokenCount",
};

/// Input includes what tools put into the prompt, output the thoughts: both are counted apart. What came from a cache is
/// included in the prompt already.
pub(in crate::format) fn normalise(usage: &Value, counts: &Counts) -> Option<Usage> {
    let sum =
        |keys: [&str; 2]| keys.into_iter().filter_map(|key| count(usage, key)).reduce(u64::saturating_add);
    let normalised = Usage {
        prompt_tokens: sum([counts.prompt, counts.tool_use]),
        completion_tokens: sum([counts.output, counts.thoughts]),
        total_tokens: count(usage, counts.total),
        cached_tokens: count(usage, counts.cached),
        reasoning_tokens: count(usage, counts.thoughts),
        ..Usage::default()
    };
    (normalised != Usage::default()).then_some(normalised)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn thoughts_are_output_and_what_tools_read_is_input() {
        let usage = normalise(
            &json!({
                "promptTokenCount": 10, "candidatesTokenCount": 5, "thoughtsTokenCount": 7,
                "toolUsePromptTokenCount": 100, "cachedContentTokenCount": 4, "totalTokenCount": 122,
            }),
            &COUNTS,
        )
        .unwrap();
        assert_eq!((usage.prompt_tokens, usage.completion_tokens), (Some(110), Some(12)));
        assert_eq!((usage.total_tokens, usage.cached_tokens), (Some(122), Some(4)));
        assert_eq!(usage.reasoning_tokens, Some(7));
    }

    #[test]
    fn what_is_not_said_is_absent() {
        assert_eq!(normalise(&json!({ "trafficType": "ON_DEMAND" }), &COUNTS), None);
        let usage = normalise(&json!({ "promptTokenCount": 3, "totalTokenCount": 3 }), &COUNTS).unwrap();
        assert_eq!(usage.completion_tokens, None);
    }
}
