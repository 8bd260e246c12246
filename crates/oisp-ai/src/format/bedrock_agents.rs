//! Agents and knowledge bases on Bedrock: `POST /agents/{id}/agentAliases/{alias}/sessions/{session}/text`, `POST
//! /agents/{session}` of an agent that is described with the call, `POST /retrieveAndGenerate[Stream]`.
//!
//! Tokens are told in an agent's trace, for each model that it calls, where the caller asked for one; they are summed.

use oisp_event::{RequestType, Role, ToolCall};
use serde_json::{Map, Value, json};

use super::common::{self, Messages};
use super::plain_request as plain;
use super::text_answer::{TextAnswer, TextStream, read_whole};
use super::{Format, FormatId, ParsedRequest, ParsedResponse, StreamAccumulator};
use crate::detect::Target;
use crate::json::{count, into_object, owned_text, take_text, text};
use crate::providers::Dialect;

pub(super) struct BedrockAgents;

impl Format for BedrockAgents {
    fn id(&self) -> FormatId {
        FormatId::BedrockAgents
    }

    fn name(&self) -> &'static str {
        "bedrock_agents"
    }

    fn compatible_id(&self) -> &'static str {
        "bedrock_compatible"
    }

    fn serves_known_host(&self, path: &str) -> bool {
        invokes_agent(path) || retrieves(path)
    }

    fn serves_any_host(&self, path: &str) -> bool {
        (path.contains("/agentAliases/") && invokes_agent(path)) || retrieves(path)
    }

    fn recognises_request(&self, body: &Value, target: &Target) -> bool {
        match retrieves(&target.path) {
            true => body.get("retrieveAndGenerateConfiguration").is_some(),
            // Results of what the caller was to execute stand in for a text.
            false => {
                text(body, "inputText").is_some()
                    || body.get("sessionState").is_some()
                    || body.get("inlineSessionState").is_some()
            }
        }
    }

    fn recognises_response(&self, body: &Value) -> bool {
        body.get("output").is_some_and(|output| text(output, "text").is_some())
            && text(body, "sessionId").is_some()
    }

    fn recognises_stream_event(&self, name: &str, data: &Value) -> bool {
        (name == "trace" && text(data, "sessionId").is_some())
            || name == "returnControl"
            || name == "citation"
    }

    fn parse_request(&self, body: Value, target: &Target) -> ParsedRequest {
        let mut map = into_object(body);
        let configuration = map.remove("retrieveAndGenerateConfiguration").unwrap_or_default();
        let source = ["knowledgeBaseConfiguration", "externalSourcesConfiguration"]
            .iter()
            .find_map(|key| configuration.get(*key))
            .cloned()
            .unwrap_or_default();
        let model = take_text(&mut map, "foundationModel").or_else(|| owned_text(&source, "modelArn"));
        let mut parsed = plain::begin(RequestType::Chat, model);
        let mut messages = Messages::default();
        plain::push_text(&mut messages, Role::System, take_text(&mut map, "instruction").unwrap_or_default());
        let asked = take_text(&mut map, "inputText")
            .or_else(|| map.get("input").and_then(|input| owned_text(input, "text")));
        plain::push_text(&mut messages, Role::User, asked.unwrap_or_default());
        messages.finish(&mut parsed);
        let path = target.path.trim_end_matches('/');
        parsed.request.streaming = Some(!path.ends_with("/retrieveAndGenerate"));
        for (key, text) in [
            ("agent_id", target.segment_after("agents").filter(|_| path.contains("/agentAliases/"))),
            ("agent_alias_id", target.segment_after("agentAliases")),
            (
                "conversation_id",
                target.segment_after("sessions").or_else(|| take_text(&mut map, "sessionId")),
            ),
            ("knowledge_base_id", owned_text(&source, "knowledgeBaseId")),
        ] {
            common::set_text(&mut parsed.extension, key, text);
        }
        plain::note(&mut parsed, &map, &["enableTrace", "endSession", "memoryId", "streamingConfigurations"]);
        parsed
    }

    fn parse_response(&self, body: Value, _dialect: Dialect) -> ParsedResponse {
        let mut answer = read_whole(body, |answer, _, mut map| {
            let said = map.remove("output").and_then(|output| owned_text(&output, "text"));
            answer.note("conversation_id", map.remove("sessionId"));
            answer.note("guardrail_action", map.remove("guardrailAction"));
            answer.note(
                "citation_count",
                map.get("citations").and_then(Value::as_array).map(|all| all.len().into()),
            );
            said.is_some_and(|text| answer.push_text(&text))
        });
        answer.ended = true;
        answer.finish()
    }

    fn stream(&self, _dialect: Dialect) -> Box<dyn StreamAccumulator> {
        TextStream::boxed(event)
    }
}

fn invokes_agent(path: &str) -> bool {
    let path = path.trim_end_matches('/');
    let Some((_, rest)) = path.split_once("/agents/") else { return false };
    !rest.contains('/')
        || (rest.contains("/agentAliases/") && rest.contains("/sessions/") && rest.ends_with("/text"))
}

fn retrieves(path: &str) -> bool {
    let path = path.trim_end_matches('/');
    path.ends_with("/retrieveAndGenerate") || path.ends_with("/retrieveAndGenerateStream")
}

fn event(answer: &mut TextAnswer, name: &str, mut map: Map<String, Value>) -> bool {
    // Nothing marks the last event.
    answer.has_no_end = true;
    match name {
        // A piece of text, which the framing gives under this name.
        "chunk" | "output" => {
            // Text that is an object is given as one.
            let said = take_text(&mut map, "text").unwrap_or_else(|| Value::Object(map).to_string());
            answer.push_text(&said)
        }
        "trace" => map.get("trace").is_some_and(|trace| self::trace(answer, trace)),
        "returnControl" => {
            for input in map.get("invocationInputs").and_then(Value::as_array).into_iter().flatten() {
                let id = map.get("invocationId").and_then(Value::as_str).map(str::to_owned);
                answer.tool_calls.extend(asked_of_the_caller(input, id));
            }
            true
        }
        "citation" => {
            let cited = answer.extension.get("citation_count").and_then(Value::as_u64).unwrap_or_default();
            answer.note("citation_count", Some(cited.saturating_add(1).into()));
            false
        }
        _ => false,
    }
}

fn asked_of_the_caller(input: &Value, id: Option<String>) -> Option<ToolCall> {
    let (kind, input) = ["functionInvocationInput", "apiInvocationInput"]
        .iter()
        .find_map(|kind| Some((*kind, input.get(*kind)?)))?;
    Some(ToolCall {
        id,
        name: ["function", "apiPath"].iter().find_map(|key| owned_text(input, key)),
        call_type: Some(kind.trim_end_matches("InvocationInput").to_owned()),
        arguments: input.get("parameters").map(Value::to_string),
        arguments_hash: None,
    })
}

/// One step of what the agent did.
fn trace(answer: &mut TextAnswer, trace: &Value) -> bool {
    const MOST: usize = 64;
    let mut content = false;
    for step in trace.as_object().into_iter().flat_map(Map::values) {
        if let Some(model) =
            step.get("modelInvocationInput").and_then(|input| owned_text(input, "foundationModel"))
        {
            answer.model = Some(model);
        }
        let output = step.get("modelInvocationOutput");
        if let Some(counted) = output.and_then(|output| output.get("metadata")?.get("usage")) {
            add_usage(answer, counted);
        }
        if let Some(said) = step.get("rationale").and_then(|rationale| text(rationale, "text")) {
            if answer.has_reasoning() {
                answer.push_reasoning("\n");
            }
            content |= answer.push_reasoning(said);
        }
        let called = step.get("invocationInput").filter(|input| input.get("invocationType").is_some());
        if let Some(called) = called {
            let mut calls = match answer.extension.remove("server_tool_calls") {
                Some(Value::Array(calls)) => calls,
                _ => Vec::new(),
            };
            if calls.len() < MOST {
                let input = called.as_object().into_iter().flatten().find(|(_, value)| value.is_object());
                calls.push(json!({
                    "type": called.get("invocationType"),
                    "arguments": input.map(|(_, value)| common::bounded(value.clone())),
                }));
            }
            answer.note("server_tool_calls", Some(Value::Array(calls)));
        }
        if let Some(reason) = step.get("failureReason").and_then(Value::as_str) {
            answer.note("failure_reason", Some(reason.into()));
        }
    }
    content
}

fn add_usage(answer: &mut TextAnswer, counted: &Value) {
    let known = answer.usage.take().unwrap_or_default();
    let sum = |known: Option<u64>, key: &str| match (known, count(counted, key)) {
        (Some(known), Some(more)) => Some(known.saturating_add(more)),
        (known, more) => known.or(more),
    };
    let (input, output) =
        (sum(known.prompt_tokens, "inputTokens"), sum(known.completion_tokens, "outputTokens"));
    let original = [("inputTokens", input), ("outputTokens", output)]
        .into_iter()
        .filter_map(|(key, count)| Some((key.to_owned(), count?.into())))
        .collect();
    answer.count_tokens(input, output, original);
}
