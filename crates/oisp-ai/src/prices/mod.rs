//! What a call costs, estimated from public prices.
//!
//! The table is derived from <https://github.com/pydantic/genai-prices> (MIT) by `cargo xtask update-prices`; it knows
//! how a service's models are named, prices that changed and when, prices that depend on the length of the prompt, on the
//! time of day and on the service tier. What it does not know has no estimate: never 0.

mod billed;
mod table;

use oisp_event::{AiResponse, Usage};
use serde_json::{Map, Value};

pub use table::PriceTable;

use billed::Billed;
use table::{Amounts, Model};

/// What a call costs by the table, in US dollars.
#[derive(Clone, Debug, PartialEq)]
pub struct Estimate {
    /// Of what was sent.
    pub input_usd: f64,
    /// Of what came back.
    pub output_usd: f64,
    /// Of both and of what is counted by the piece (web searches, requests).
    pub total_usd: f64,
    /// The model as the table names it.
    pub model: String,
    /// What the call is charged for as well and has no price in the table.
    pub excludes: Vec<&'static str>,
}

/// Enters an estimate into a response that reports tokens and no cost: the costs into its usage, where they come from into
/// the extension (`cost_source`, `price_table`, `price_model`, `cost_excludes`). `model_asked` is the request's,
/// `unix_seconds` the time of the call.
pub fn enter_estimate(
    response: &mut AiResponse,
    extension: &mut Map<String, Value>,
    model_asked: Option<&str>,
    unix_seconds: i64,
) {
    let Some(usage) = response.usage.as_ref().filter(|usage| usage.total_cost_usd.is_none()) else { return };
    let Some(provider) = extension.get("provider_id").and_then(Value::as_str) else { return };
    let served = response.model.as_ref().map(|model| model.id.as_str());
    let estimate = [served, model_asked]
        .into_iter()
        .flatten()
        .find_map(|model| estimate(provider, model, usage, extension, unix_seconds));
    let Some(estimate) = estimate else { return };
    let usage = Usage {
        input_cost_usd: Some(estimate.input_usd),
        output_cost_usd: Some(estimate.output_usd),
        total_cost_usd: Some(estimate.total_usd),
        ..usage.clone()
    };
    response.usage = Some(usage);
    let table = PriceTable::built_in();
    extension.insert("cost_source".to_owned(), "estimate".into());
    extension.insert("price_table".to_owned(), format!("{} {}", table.version, table.date).into());
    extension.insert("price_model".to_owned(), estimate.model.into());
    if !estimate.excludes.is_empty() {
        extension.insert("cost_excludes".to_owned(), estimate.excludes.into());
    }
}

/// What a call of a model costs; `None` where a price or a count is not known. `extension` is that of the response, with
/// its original usage and service tier.
fn estimate(
    provider_id: &str,
    model: &str,
    usage: &Usage,
    extension: &Map<String, Value>,
    unix_seconds: i64,
) -> Option<Estimate> {
    let found = PriceTable::built_in().model(price_list(provider_id), model)?;
    let billed = Billed::read(usage, extension)?;
    let amounts = amounts(found, extension, unix_seconds)?;
    let estimate = billed.cost(&amounts)?;
    Some(Estimate { model: found.id.clone(), ..estimate })
}

/// The name of a service's list in the table, where it is another than the service's id.
fn price_list(provider_id: &str) -> &str {
    match provider_id {
        "azure_openai" => "azure",
        "gemini" | "vertex_ai" => "google",
        "aws_bedrock" => "aws",
        "xai" => "x-ai",
        "moonshot" => "moonshotai",
        "github_copilot" => "github-copilot",
        "voyage" => "voyageai",
        "cloudflare_workers_ai" => "cloudflare",
        other => other,
    }
}

/// The prices that hold for a call, by its time and its service tier; `None` where a tier has prices that are not known.
fn amounts(model: &Model, extension: &Map<String, Value>, unix_seconds: i64) -> Option<Amounts> {
    let listed = model.prices.iter().rev().find(|listed| listed.when.is_met(unix_seconds))?;
    let mut amounts = listed.amounts.clone();
    let said = |key: &str| {
        let own = extension.get(key).and_then(Value::as_str);
        own.or_else(|| extension.get("usage")?.get(key)?.as_str())
    };
    let tier = said("service_tier").map(str::to_ascii_lowercase);
    let mut facts = Vec::new();
    let ordinary = ["default", "standard", "auto", "on_demand", "shared", "not_supported"];
    if let Some(tier) = tier.as_deref() {
        facts.push(("service_tier", tier));
        if tier == "batch" {
            facts.push(("processing", tier));
        }
    }
    if let Some(speed) = said("speed").filter(|speed| *speed != "standard") {
        facts.push(("speed", speed));
    }
    for (name, value) in facts {
        // The last that holds, as with the prices themselves.
        let variant = model.variants.iter().rev().find(|variant| {
            variant.listed.when.is_met(unix_seconds)
                && variant.facts.iter().all(|(key, expected)| key == name && expected == value)
        });
        match variant {
            Some(variant) => amounts.overlay(&variant.listed.amounts),
            None if name == "service_tier" && (ordinary.contains(&value) || value == "batch") => {}
            None => return None,
        }
    }
    Some(amounts)
}

#[cfg(test)]
mod tests;
