//! Usage of the OpenAI shape, normalised: input includes cached tokens, output includes reasoning.

use oisp_event::Usage;
use serde_json::{Map, Value};

use crate::json::count;
use crate::providers::{Dialect, ReportedCost};

/// Reads a `usage` object; `None` if it has no count that is known.
pub(in crate::format) fn normalise(
    usage: &Value,
    dialect: Dialect,
    extension: &mut Map<String, Value>,
) -> Option<Usage> {
    let detail = |group: &str, key: &str| usage.get(group).and_then(|group| count(group, key));
    let prompt = count(usage, "prompt_tokens");
    let completion = count(usage, "completion_tokens");
    let total = count(usage, "total_tokens");
    let reasoning =
        detail("completion_tokens_details", "reasoning_tokens").or_else(|| count(usage, "reasoning_tokens"));
    let cached = detail("prompt_tokens_details", "cached_tokens")
        .or_else(|| count(usage, "prompt_cache_hit_tokens"))
        .or_else(|| count(usage, "cached_tokens"))
        .or_else(|| count(usage, "num_cached_tokens"));
    let output = completion.map(|completion| match reasoning {
        Some(reasoning) if excludes_reasoning(prompt, completion, reasoning, total, dialect) => {
            completion.saturating_add(reasoning)
        }
        _ => completion,
    });
    let written = detail("prompt_tokens_details", "cache_write_tokens")
        .or_else(|| count(usage, "cache_creation_input_tokens"));
    if let Some(written) = written {
        extension.insert("cache_write_tokens".to_owned(), written.into());
    }
    let cost = match dialect.cost {
        ReportedCost::Unknown => None,
        ReportedCost::UsageCost => usage.get("cost").and_then(Value::as_f64),
        ReportedCost::UsageCostTotal => usage.get("cost").and_then(|cost| cost.get("total_cost")?.as_f64()),
        ReportedCost::UsdTicks => {
            usage.get("cost_in_usd_ticks").and_then(Value::as_f64).map(|ticks| ticks * 1e-10)
        }
    };
    if cost.is_some() {
        extension.insert("cost_source".to_owned(), "provider".into());
    }
    let normalised = Usage {
        prompt_tokens: prompt,
        completion_tokens: output,
        total_tokens: total.or_else(|| prompt?.checked_add(output?)),
        cached_tokens: cached,
        reasoning_tokens: reasoning,
        total_cost_usd: cost,
        ..Usage::default()
    };
    (normalised != Usage::default()).then_some(normalised)
}

/// Whether `completion` is without `reasoning`. The total tells where it adds up only one way; else
/// the service's known habit counts.
fn excludes_reasoning(
    prompt: Option<u64>,
    completion: u64,
    reasoning: u64,
    total: Option<u64>,
    dialect: Dialect,
) -> bool {
    let sum = prompt.and_then(|prompt| prompt.checked_add(completion));
    if reasoning > 0
        && let (Some(sum), Some(total)) = (sum, total)
    {
        if total == sum {
            return false;
        }
        if Some(total) == sum.checked_add(reasoning) {
            return true;
        }
    }
    dialect.completion_excludes_reasoning
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const XAI: Dialect = Dialect { completion_excludes_reasoning: true, cost: ReportedCost::UsdTicks };

    fn read(usage: &Value, dialect: Dialect) -> Usage {
        normalise(usage, dialect, &mut Map::new()).unwrap()
    }

    #[test]
    fn output_includes_reasoning_whoever_counts() {
        let details = json!({ "reasoning_tokens": 121 });
        for (completion, total, dialect, expected) in [
            (77, Some(694), XAI, 198),
            (77, Some(694), Dialect::default(), 198),
            (198, Some(694), XAI, 198),
            (77, None, XAI, 198),
            (198, None, Dialect::default(), 198),
        ] {
            let mut usage = json!({ "prompt_tokens": 496, "completion_tokens": completion, "completion_tokens_details": details });
            if let Some(total) = total {
                usage["total_tokens"] = total.into();
            }
            let usage = read(&usage, dialect);
            assert_eq!((usage.completion_tokens, usage.total_tokens), (Some(expected), Some(694)));
        }
    }

    #[test]
    fn unknown_counts_are_left_out() {
        let usage = read(&json!({ "prompt_tokens": 5, "completion_tokens": null }), Dialect::default());
        assert_eq!(usage, Usage { prompt_tokens: Some(5), ..Usage::default() });
        assert_eq!(normalise(&json!({}), XAI, &mut Map::new()), None);
    }

    #[test]
    fn cost_is_taken_only_from_services_whose_unit_is_known() {
        let usage = json!({ "prompt_tokens": 1, "cost": 0.25, "cost_in_usd_ticks": 3_155_600 });
        assert_eq!(read(&usage, Dialect::default()).total_cost_usd, None);
        let openrouter = Dialect { cost: ReportedCost::UsageCost, ..Dialect::default() };
        assert_eq!(read(&usage, openrouter).total_cost_usd, Some(0.25));
        let ticks = read(&usage, XAI).total_cost_usd.unwrap();
        assert!((ticks - 0.000_315_56).abs() < 1e-12);
    }
}
