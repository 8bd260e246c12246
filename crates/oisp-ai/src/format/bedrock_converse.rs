//! Bedrock's own interface to every model: `POST /model/{id}/converse`, `/converse-stream`, `/count-tokens`; Amazon's Nova
//! expects the same of `invoke`.
//!
//! It is Anthropic's messages in other words, so its blocks are put into those and read as such.

mod blocks;
mod stream;

use oisp_decode::Headers;
use oisp_event::{Parameters, RequestType, Role, ToolDefinition, ToolType};
use serde_json::{Map, Value, json};

use super::answer::{Answer, usage_with_cache_apart};
use super::anthropic_messages::{push_answer_block, push_content, push_message};
use super::common::{self, Content, Messages};
use super::{Format, FormatId, ParsedRequest, ParsedResponse, StreamAccumulator, completion};
use crate::bedrock::{self, Operation};
use crate::detect::Target;
use crate::json::{count, into_object, into_text, owned_text, take_array, take_text, text};
use crate::providers::Dialect;

pub(super) struct BedrockConverse;

impl Format for BedrockConverse {
    fn id(&self) -> FormatId {
        FormatId::BedrockConverse
    }

    fn name(&self) -> &'static str {
        "bedrock_converse"
    }

    fn compatible_id(&self) -> &'static str {
        "bedrock_compatible"
    }

    fn serves_known_host(&self, path: &str) -> bool {
        is_own(path) || bedrock::may_invoke(path, "amazon")
    }

    fn serves_any_host(&self, path: &str) -> bool {
        self.serves_known_host(path)
    }

    fn is_distinctive(&self, path: &str, _headers: &Headers) -> bool {
        is_own(path)
    }

    fn recognises_request(&self, body: &Value, target: &Target) -> bool {
        const FIELDS: [&str; 5] =
            ["messages", "system", "promptVariables", "inferenceConfig", "guardrailConfig"];
        match Operation::of_path(&target.path) {
            Some(Operation::Converse | Operation::ConverseStream) => {
                FIELDS.iter().any(|field| body.get(field).is_some())
            }
            Some(Operation::CountTokens) => body.get("input").is_some_and(Value::is_object),
            Some(Operation::Invoke | Operation::InvokeStream) => has_untyped_blocks(body),
            None => false,
        }
    }

    fn recognises_response(&self, body: &Value) -> bool {
        let message = body.get("output").and_then(|output| output.get("message"));
        message.is_some_and(Value::is_object) || text(body, "stopReason").is_some() || is_token_count(body)
    }

    fn recognises_stream_event(&self, name: &str, data: &Value) -> bool {
        stream::is_event(name, data)
    }

    fn may_begin_response(&self, beginning: &str) -> bool {
        (beginning.contains(":event-type") && beginning.contains("messageStart"))
            || (beginning.contains("\"output\"") && beginning.contains("\"message\""))
    }

    fn parse_request(&self, body: Value, target: &Target) -> ParsedRequest {
        let mut map = into_object(body);
        let mut parsed = ParsedRequest::default();
        let counting = Operation::of_path(&target.path) == Some(Operation::CountTokens);
        if counting {
            // `{"input":{"converse":{…}}}`; the other kind holds a body for `invoke`, in base64.
            let mut input = into_object(map.remove("input").unwrap_or_default());
            let Some(converse) = input.remove("converse") else {
                common::set_model_and_streaming(&mut parsed.request, &mut map, target);
                parsed.unparsed.push("invocation_to_count".to_owned());
                return parsed;
            };
            map = into_object(converse);
        }
        enter_messages(&mut map, &mut parsed);
        let request = &mut parsed.request;
        request.request_type = if counting { RequestType::Other } else { RequestType::Chat };
        common::set_model_and_streaming(request, &mut map, target);
        let mut tools = into_object(map.remove("toolConfig").unwrap_or_default());
        let mut tool_types = Vec::new();
        for tool in take_array(&mut tools, "tools").unwrap_or_default() {
            let Some((definition, original)) = tool_definition(tool) else { continue };
            if let Some(original) = original {
                tool_types.push(json!({ "tool": request.tools.len(), "type": original }));
            }
            request.tools.push(definition);
        }
        request.tools_count = Some(request.tools.len() as u64);
        request.tool_choice = tools.remove("toolChoice").and_then(into_text);
        request.parameters = Some(parameters(&map));
        common::set_array(&mut parsed.extension, "tool_types", tool_types);
        common::enter_other_parameters(&mut parsed.extension, &map, OTHER_PARAMETERS);
        // Their values are parts of the prompt; the prompt itself is not in the request.
        let variables = map.get("promptVariables").and_then(Value::as_object);
        let names = variables.map(|variables| variables.keys().cloned().map(Value::String).collect());
        common::set_array(&mut parsed.extension, "prompt_variables", names.unwrap_or_default());
        parsed
    }

    fn parse_response(&self, body: Value, _dialect: Dialect) -> ParsedResponse {
        let mut answer = Answer::default();
        if is_token_count(&body) {
            answer.keep("counted_tokens", body.get("inputTokens").cloned());
            return answer.finish();
        }
        let mut map = into_object(body);
        let output = into_object(map.remove("output").unwrap_or_default());
        let mut message =
            into_object(output.into_iter().find(|(key, _)| key == "message").unzip().1.unwrap_or_default());
        let content = take_array(&mut message, "content");
        answer.answered = content.is_some();
        for block in content.unwrap_or_default() {
            push_answer_block(&mut answer, blocks::as_anthropic(block));
        }
        answer.error = common::error_in(&map);
        answer.finish_reason = take_text(&mut map, "stopReason");
        take_metadata(&mut answer, &mut map);
        answer.finish()
    }

    fn stream(&self, _dialect: Dialect) -> Box<dyn StreamAccumulator> {
        Box::new(stream::ConverseStream::default())
    }
}

const OTHER_PARAMETERS: &[&str] = &[
    "additionalModelRequestFields",
    "additionalModelResponseFieldPaths",
    "guardrailConfig",
    "performanceConfig",
    "serviceTier",
    "outputConfig",
    "requestMetadata",
    "schemaVersion",
];

fn is_own(path: &str) -> bool {
    Operation::of_path(path).is_some_and(|operation| !operation.is_invoke())
}

/// Whether messages consist of blocks that are named by their key and not by a type: `{"text": …}`.
fn has_untyped_blocks(body: &Value) -> bool {
    let untyped = |block: &Value| block.is_object() && block.get("type").is_none();
    common::has_messages(body)
        && body.get("messages").and_then(Value::as_array).is_some_and(|messages| {
            messages.iter().all(|message| {
                let content = message.get("content").and_then(Value::as_array);
                content.is_some_and(|blocks| blocks.iter().all(untyped))
            })
        })
}

fn is_token_count(body: &Value) -> bool {
    count(body, "inputTokens").is_some() && body.get("output").is_none()
}

fn enter_messages(map: &mut Map<String, Value>, parsed: &mut ParsedRequest) {
    let mut messages = Messages::default();
    let mut tool_errors = Vec::new();
    if let Some(system) = map.remove("system").filter(|system| !system.is_null()) {
        let mut content = Content::default();
        push_content(&mut content, blocks::all_as_anthropic(system));
        if !content.says_nothing() {
            messages.push(Role::System, content);
        }
    }
    for mut message in take_array(map, "messages").unwrap_or_default() {
        if let Some(content) = message.get_mut("content") {
            *content = blocks::all_as_anthropic(content.take());
        }
        push_message(&mut messages, message, &mut tool_errors, &mut parsed.unparsed);
    }
    messages.finish(parsed);
    common::set_array(&mut parsed.extension, "tool_errors", tool_errors);
}

/// A tool, and its original kind where it is no function; none for what only marks a place in the list.
fn tool_definition(tool: Value) -> Option<(ToolDefinition, Option<String>)> {
    let (kind, tool) = into_object(tool).into_iter().find(|(kind, _)| kind != "cachePoint")?;
    let is_function = kind == "toolSpec";
    let definition = ToolDefinition {
        name: owned_text(&tool, "name"),
        tool_type: Some(if is_function { ToolType::Function } else { ToolType::Other }),
        description: owned_text(&tool, "description"),
    };
    Some((definition, (!is_function).then_some(kind)))
}

fn parameters(map: &Map<String, Value>) -> Parameters {
    let config = map.get("inferenceConfig").and_then(Value::as_object);
    config.map(completion::parameters).unwrap_or_default()
}

/// Takes what stands beside the message: in a stream, its `metadata` event.
fn take_metadata(answer: &mut Answer, map: &mut Map<String, Value>) {
    const KEYS: [&str; 4] = ["inputTokens", "outputTokens", "cacheReadInputTokens", "cacheWriteInputTokens"];
    const NOVA: [&str; 4] =
        ["inputTokens", "outputTokens", "cacheReadInputTokenCount", "cacheWriteInputTokenCount"];
    if let Some(usage) = map.remove("usage").filter(Value::is_object) {
        let keys = if usage.get(KEYS[2]).is_some() { KEYS } else { NOVA };
        answer.usage = usage_with_cache_apart(&usage, keys, &mut answer.extension);
        answer.extension.insert("usage".to_owned(), usage);
    }
    if let Some(tier) = map.get("serviceTier").and_then(|tier| owned_text(tier, "type")) {
        answer.extension.insert("service_tier".to_owned(), tier.into());
    }
    for (from, to) in [
        ("metrics", "metrics"),
        ("performanceConfig", "performance"),
        ("additionalModelResponseFields", "additional_fields"),
    ] {
        let value = map.remove(from).filter(|value| value.as_object().is_none_or(|map| !map.is_empty()));
        answer.keep(to, value);
    }
    let Some(trace) = map.get("trace") else { return };
    // A router chose the model that answered.
    if let Some(model) = trace.get("promptRouter").and_then(|router| owned_text(router, "invokedModelId")) {
        answer.model = Some(model);
    }
    if let Some(guardrail) = trace.get("guardrail") {
        // An assessment quotes what it found: only how much there is of it is told.
        let count = |key: &str| guardrail.get(key).and_then(Value::as_object).map_or(0, Map::len);
        let mut summary = json!({
            "input_assessments": count("inputAssessment"),
            "output_assessments": count("outputAssessments"),
        });
        if let Some(reason) = text(guardrail, "actionReason") {
            summary["action_reason"] = reason.into();
        }
        answer.keep("guardrail", Some(summary));
    }
}
