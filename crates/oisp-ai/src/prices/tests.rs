//! Each expected cost is written as the prices of the services' own pages, multiplied out.

use oisp_event::{AiResponse, Model, Usage};
use serde_json::{Map, Value, json};

use super::enter_estimate;

/// 22 November 2026, 12:00 UTC.
const NOW: i64 = 1_795_348_800;
const PER_MILLION: f64 = 1e-6;

/// Input (all of it), read from the cache, written to it, output.
struct Counts(u64, u64, u64, u64);

fn cost_at(
    provider: &str,
    model: &str,
    counts: &Counts,
    original: Value,
    tier: Option<&str>,
    time: i64,
) -> (Option<f64>, Map<String, Value>) {
    let Counts(input, read, written, output) = *counts;
    let mut response = AiResponse {
        model: Some(Model { id: model.to_owned() }),
        usage: Some(Usage {
            prompt_tokens: Some(input),
            completion_tokens: Some(output),
            cached_tokens: (read > 0).then_some(read),
            ..Usage::default()
        }),
        ..AiResponse::default()
    };
    let mut extension = Map::from_iter([("provider_id".to_owned(), provider.into())]);
    extension.insert("usage".to_owned(), original);
    if written > 0 {
        extension.insert("cache_write_tokens".to_owned(), written.into());
    }
    if let Some(tier) = tier {
        extension.insert("service_tier".to_owned(), tier.into());
    }
    enter_estimate(&mut response, &mut extension, None, time);
    (response.usage.and_then(|usage| usage.total_cost_usd), extension)
}

fn cost(provider: &str, model: &str, counts: &Counts) -> Option<f64> {
    cost_at(provider, model, counts, Value::Null, None, NOW).0
}

#[track_caller]
fn assert_cost(actual: Option<f64>, expected: Option<f64>, case: &str) {
    match (actual, expected) {
        (Some(actual), Some(expected)) => {
            assert!((actual - expected).abs() <= expected.abs() * 1e-9, "{case}: {actual} is not {expected}");
        }
        (actual, expected) => assert_eq!(actual, expected, "{case}"),
    }
}

#[test]
fn ordinary_calls_cost_what_the_services_say() {
    // Provider, model, input, output, dollars for a million tokens of each.
    for (provider, model, input, output, input_price, output_price) in [
        ("openai", "gpt-4o", 1_000_u32, 500_u32, 2.5, 10.0),
        ("openai", "gpt-4o-2024-08-06", 12, 1, 2.5, 10.0),
        ("openai", "gpt-4o-mini", 100_000, 1_000, 0.15, 0.6),
        ("openai", "gpt-5", 1_000, 2_000, 1.25, 10.0),
        ("openai", "gpt-5-2025-08-07", 77, 88, 1.25, 10.0),
        ("openai", "gpt-5-mini", 1_000, 2_000, 0.25, 2.0),
        ("openai", "gpt-5-nano", 1_000, 2_000, 0.05, 0.4),
        ("openai", "gpt-5-pro", 1_000, 2_000, 15.0, 120.0),
        ("openai", "gpt-5.1", 10, 20, 1.25, 10.0),
        ("openai", "gpt-5.4", 272_000, 20, 2.5, 15.0),
        ("openai", "o3", 1_000, 2_000, 2.0, 8.0),
        ("openai", "text-embedding-3-small", 1_000_000, 0, 0.02, 0.0),
        ("anthropic", "claude-haiku-4-5-20251001", 1_000, 500, 1.0, 5.0),
        ("anthropic", "claude-opus-4-1-20250805", 1_000, 500, 15.0, 75.0),
        ("anthropic", "claude-opus-4-5-20251101", 1_000, 500, 5.0, 25.0),
        ("anthropic", "claude-3-5-haiku-20241022", 1_000, 500, 0.8, 4.0),
        ("anthropic", "claude-3-5-sonnet-latest", 1_000, 500, 3.0, 15.0),
        ("anthropic", "claude-3-7-sonnet-20250219", 1_000, 500, 3.0, 15.0),
        ("anthropic", "claude-3-haiku-20240307", 1_000, 500, 0.25, 1.25),
        ("vertex_ai", "claude-3-7-sonnet@20250219", 1_000, 500, 3.0, 15.0),
        ("gemini", "gemini-2.5-flash", 1_000, 500, 0.3, 2.5),
        ("vertex_ai", "gemini-2.5-flash", 1_000, 500, 0.3, 2.5),
        ("gemini", "gemini-2.5-pro", 1_000, 500, 1.25, 10.0),
        ("azure_openai", "gpt-4o-2024-11-20", 1_000, 500, 2.5, 10.0),
        ("mistral", "mistral-large-2512", 1_000, 500, 0.5, 1.5),
        ("mistral", "mistral-large-2411", 1_000, 500, 2.0, 6.0),
        ("groq", "llama-3.3-70b-versatile", 1_000, 500, 0.59, 0.79),
        ("groq", "llama-3.1-8b-instant", 1_000, 500, 0.05, 0.08),
        ("xai", "grok-3-mini", 1_000, 500, 0.3, 0.5),
        ("xai", "grok-4-0709", 1_000, 500, 3.0, 15.0),
        ("cohere", "command-a-03-2025", 1_000, 500, 2.5, 10.0),
        ("cohere", "command-r7b-12-2024", 1_000, 500, 0.0375, 0.15),
        ("cohere", "embed-v4.0", 1_000, 0, 0.12, 0.0),
        ("deepseek", "deepseek-v3.2-exp", 1_000, 500, 0.27, 0.41),
    ] {
        let expected =
            f64::from(input) * input_price * PER_MILLION + f64::from(output) * output_price * PER_MILLION;
        let counts = Counts(u64::from(input), 0, 0, u64::from(output));
        assert_cost(cost(provider, model, &counts), Some(expected), model);
    }
}

#[test]
fn cached_tokens_are_charged_at_their_own_prices_and_not_twice() {
    let hour =
        json!({ "cache_creation": { "ephemeral_5m_input_tokens": 100, "ephemeral_1h_input_tokens": 50 } });
    let bedrock =
        json!({ "cacheDetails": [{ "ttl": "5m", "inputTokens": 10 }, { "ttl": "1h", "inputTokens": 20 }] });
    for (provider, model, counts, original, expected) in [
        (
            "openai",
            "gpt-4o",
            Counts(1_000, 600, 0, 10),
            Value::Null,
            400.0 * 2.5 + 600.0 * 1.25 + 10.0 * 10.0,
        ),
        ("openai", "gpt-5", Counts(1_000, 1_000, 0, 0), Value::Null, 1_000.0 * 0.125),
        (
            "anthropic",
            "claude-haiku-4-5",
            Counts(1_000, 500, 200, 10),
            Value::Null,
            300.0 + 50.0 + 250.0 + 50.0,
        ),
        (
            "anthropic",
            "claude-haiku-4-5",
            Counts(1_000, 500, 150, 10),
            hour,
            350.0 + 500.0 * 0.1 + 100.0 * 1.25 + 50.0 * 2.0 + 10.0 * 5.0,
        ),
        (
            "anthropic",
            "claude-3-haiku-20240307",
            Counts(100, 0, 30, 0),
            bedrock,
            70.0 * 0.25 + 10.0 * 0.3 + 20.0 * 0.5,
        ),
        // No price of its own for what is read: like the rest.
        ("mistral", "mistral-large-2411", Counts(100, 40, 0, 0), Value::Null, 100.0 * 2.0),
    ] {
        let (actual, _) = cost_at(provider, model, &counts, original, None, NOW);
        assert_cost(actual, Some(expected * PER_MILLION), model);
    }
}

#[test]
fn long_prompts_service_tiers_and_times_have_their_own_prices() {
    let tier = |model: &str, tier: &str, time: i64| {
        cost_at("openai", model, &Counts(1_000, 0, 0, 100), Value::Null, Some(tier), time).0
    };
    let dollars = |input: f64, output: f64| Some((1_000.0 * input + 100.0 * output) * PER_MILLION);
    assert_cost(tier("gpt-4o", "default", NOW), dollars(2.5, 10.0), "default");
    assert_cost(tier("gpt-4o", "priority", NOW), dollars(4.25, 17.0), "priority");
    assert_cost(tier("gpt-5", "flex", NOW), dollars(0.625, 5.0), "flex");
    assert_cost(tier("gpt-5-nano", "batch", NOW), dollars(0.025, 0.2), "batch");
    // The table has prices of tiers since October 2026.
    assert_cost(tier("gpt-4o", "priority", NOW - 86_400 * 365), None, "earlier");
    assert_cost(tier("gpt-5-nano", "priority", NOW), None, "a tier without a price");
    assert_cost(tier("gpt-4o", "scale", NOW), None, "another tier");

    let long = cost("openai", "gpt-5.4", &Counts(272_001, 0, 0, 10));
    assert_cost(long, Some((272_001.0 * 5.0 + 10.0 * 22.5) * PER_MILLION), "long");
    let long = cost("gemini", "gemini-2.5-pro", &Counts(200_001, 0, 0, 10));
    assert_cost(long, Some((200_001.0 * 2.5 + 10.0 * 15.0) * PER_MILLION), "long");

    // o3 was made cheaper on 10 June 2025.
    let o3 = |time| cost_at("openai", "o3", &Counts(1_000, 0, 0, 100), Value::Null, None, time).0;
    assert_cost(o3(1_749_513_599), dollars(10.0, 40.0), "the second before");
    assert_cost(o3(1_749_513_600), dollars(2.0, 8.0), "from that day on");
    // DeepSeek's chat model is dearer from 00:30 to 16:30 UTC.
    let chat =
        |time| cost_at("deepseek", "deepseek-chat", &Counts(1_000, 0, 0, 100), Value::Null, None, time).0;
    assert_cost(chat(NOW), dollars(0.27, 1.1), "by day");
    assert_cost(chat(NOW + 5 * 3_600), dollars(0.135, 0.55), "by night");
}

#[test]
fn other_media_and_searches_are_charged_apart() {
    let live = json!({
        "promptTokensDetails": [{ "modality": "AUDIO", "tokenCount": 300 }, { "modality": "TEXT", "tokenCount": 700 }],
        "candidatesTokensDetails": [{ "modality": "AUDIO", "tokenCount": 40 }, { "modality": "TEXT", "tokenCount": 60 }],
    });
    let (actual, _) = cost_at("gemini", "gemini-3.8-live", &Counts(1_000, 0, 0, 100), live, None, NOW);
    let expected = 700.0 * 0.75 + 300.0 * 3.0 + 60.0 * 4.5 + 40.0 * 12.0;
    assert_cost(actual, Some(expected * PER_MILLION), "audio");

    let searched = json!({ "server_tool_use": { "web_search_requests": 3 } });
    let counts = Counts(1_000, 0, 0, 100);
    let (actual, _) = cost_at("anthropic", "claude-haiku-4-5", &counts, searched.clone(), None, NOW);
    assert_cost(actual, Some((1_000.0 + 500.0) * PER_MILLION + 3.0 * 0.01), "searches");
    let (_, extension) = cost_at("anthropic", "claude-3-haiku-20240307", &counts, searched, None, NOW);
    assert_eq!(extension["cost_excludes"], json!(["web_search"]));
}

#[test]
fn what_is_not_known_has_no_cost() {
    let counts = Counts(1_000, 0, 0, 100);
    for (provider, model) in [
        ("openai", "a-model-of-tomorrow"),
        ("openai", ""),
        ("openai_compatible", "gpt-4o"),
        ("ollama", "llama3.3"),
        ("openrouter", "openai/gpt-4o"),
        ("vllm", "gpt-4o"),
        // Priced by the minute.
        ("openai", "whisper-1"),
    ] {
        assert_cost(cost(provider, model, &counts), None, model);
    }
    // Counts that contradict each other.
    assert_cost(cost("openai", "gpt-4o", &Counts(10, 20, 0, 0)), None, "more cached than sent");
    assert_cost(cost("openai", "gpt-4o", &Counts(u64::MAX, u64::MAX, u64::MAX, 0)), None, "overflow");
    let (actual, _) = cost_at(
        "openai",
        "gpt-4o",
        &counts,
        json!({ "completion_tokens_details": { "audio_tokens": 101 } }),
        None,
        NOW,
    );
    assert_cost(actual, None, "more audio than output");
    let endless = "x".repeat(1 << 20);
    assert_cost(cost("openai", &endless, &counts), None, "a name of a megabyte");
}

#[test]
fn estimate_says_where_it_comes_from_and_leaves_reported_costs_alone() {
    let (_, extension) = cost_at("openai", "gpt-4o", &Counts(1, 0, 0, 1), Value::Null, None, NOW);
    assert_eq!(extension["cost_source"], "estimate");
    assert_eq!(extension["price_model"], "gpt-4o");
    assert!(extension["price_table"].as_str().is_some_and(|table| table.contains("2026-")));

    let mut response = AiResponse {
        model: Some(Model { id: "gpt-4o".to_owned() }),
        usage: Some(Usage {
            prompt_tokens: Some(1),
            completion_tokens: Some(1),
            total_cost_usd: Some(7.0),
            ..Usage::default()
        }),
        ..AiResponse::default()
    };
    let mut extension = Map::from_iter([("provider_id".to_owned(), "openai".into())]);
    enter_estimate(&mut response, &mut extension, None, NOW);
    assert_eq!(response.usage.and_then(|usage| usage.total_cost_usd), Some(7.0));
    assert!(!extension.contains_key("cost_source"));
}

#[test]
fn model_asked_for_counts_where_the_answer_names_none_that_is_known() {
    let mut response = AiResponse {
        usage: Some(Usage { prompt_tokens: Some(1_000), completion_tokens: Some(0), ..Usage::default() }),
        ..AiResponse::default()
    };
    let mut extension = Map::from_iter([("provider_id".to_owned(), "openai".into())]);
    enter_estimate(&mut response, &mut extension, Some("gpt-4o"), NOW);
    assert_cost(response.usage.and_then(|usage| usage.total_cost_usd), Some(0.0025), "asked");
}
