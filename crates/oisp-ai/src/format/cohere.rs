//! Cohere: chat in two versions, generated texts, embeddings, reranking. Bedrock invokes the same bodies.

mod embed;
mod generate;
mod rerank;
mod v1;
mod v2;

pub(super) use embed::CohereEmbed;
pub(super) use generate::{CohereGenerate, is_generation, read as read_generation};
pub(super) use rerank::CohereRerank;
pub(super) use v1::CohereV1;
pub(super) use v2::CohereV2;

use oisp_event::Usage;
use serde_json::{Map, Value};

use super::answer::{self, Answer};
use super::common;
use crate::json::{self, count};

/// The provider id of an unknown service that speaks it.
const COMPATIBLE: &str = "cohere_compatible";

/// Reads `usage` of version 2 or `meta` of version 1: what was processed, else what was billed.
fn usage(said: &Value) -> Option<Usage> {
    let part = |key: &str| {
        ["tokens", "billed_units"]
            .iter()
            .find_map(|group| said.get(*group).and_then(|group| count(group, key)))
    };
    let (input, output) = (part("input_tokens"), part("output_tokens"));
    let usage = Usage {
        prompt_tokens: input,
        completion_tokens: output,
        total_tokens: input.and_then(|input| input.checked_add(output?)),
        cached_tokens: count(said, "cached_tokens"),
        reasoning_tokens: said.get("tokens").and_then(|tokens| count(tokens, "reasoning_tokens")),
        ..Usage::default()
    };
    (usage != Usage::default()).then_some(usage)
}

/// Enters usage and the original of it.
fn take_usage(answer: &mut Answer, said: Option<Value>) {
    let Some(said) = said.filter(Value::is_object) else { return };
    answer.usage = usage(&said);
    const KEPT: [&str; 3] = ["billed_units", "tokens", "cached_tokens"];
    let kept: Map<String, Value> =
        into_pairs(said).filter(|(key, value)| KEPT.contains(&key.as_str()) && !value.is_null()).collect();
    if !kept.is_empty() {
        answer.extension.insert("usage".to_owned(), Value::Object(kept));
    }
}

fn into_pairs(value: Value) -> impl Iterator<Item = (String, Value)> {
    json::into_object(value).into_iter()
}

/// Lists the sources of a citation: of version 2 described, of version 1 by their ids.
fn push_citation(answer: &mut Answer, cited: &Value) {
    for id in cited.get("document_ids").and_then(Value::as_array).into_iter().flatten() {
        let described = [("type", "document".into()), ("id", id.clone())];
        answer
            .citations
            .push(described.into_iter().map(|(key, value): (&str, Value)| (key.to_owned(), value)).collect());
    }
    for source in cited.get("sources").and_then(Value::as_array).into_iter().flatten() {
        let mut described =
            answer::citation(source.get("document").unwrap_or(&Value::Null), json::text(source, "type"));
        if let Some(id) = json::text(source, "id") {
            described.insert("id".to_owned(), common::bounded(id.into()));
        }
        answer.citations.push(described);
    }
}

/// Documents given with a request, by their number.
fn count_documents(map: &Map<String, Value>, extension: &mut Map<String, Value>) {
    if let Some(documents) = map.get("documents").and_then(Value::as_array).filter(|list| !list.is_empty()) {
        extension.insert("documents".to_owned(), documents.len().into());
    }
}

/// The last part of a path.
fn ends_with(path: &str, end: &str) -> bool {
    path.trim_end_matches('/').ends_with(end)
}

const OTHER_PARAMETERS: &[&str] = &[
    "k",
    "seed",
    "response_format",
    "safety_mode",
    "citation_options",
    "citation_quality",
    "thinking",
    "logprobs",
    "strict_tools",
    "priority",
    "prompt_truncation",
    "search_queries_only",
    "force_single_step",
    "raw_prompting",
    "num_generations",
    "truncate",
    "input_type",
    "embedding_types",
    "output_dimension",
    "top_n",
    "max_tokens_per_doc",
    "max_chunks_per_doc",
    "return_documents",
];
