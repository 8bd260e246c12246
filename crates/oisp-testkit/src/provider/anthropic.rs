//! Anthropic: messages, as JSON and as a stream.

use serde_json::{Value, json};

use super::answer::{Answer, Asked, ProviderFormat, Script, arguments_for, text_of, tokens, tools_wanted};
use crate::prose;

/// `POST /v1/messages`.
pub(super) struct Anthropic;

impl ProviderFormat for Anthropic {
    fn name(&self) -> &'static str {
        "anthropic"
    }

    fn answer(&self, asked: &Asked<'_>) -> Option<Answer> {
        if asked.path() != "/v1/messages" {
            return None;
        }
        let answer = if asked.request.method != "POST" {
            error(asked, 405, "Method Not Allowed")
        } else {
            match serde_json::from_slice::<Value>(&asked.request.body) {
                Ok(body) => messages(asked, &body),
                Err(_) => error(asked, 400, "The request body is not valid JSON."),
            }
        };
        Some(
            answer
                .header("request-id", request_id(asked))
                .header("anthropic-organization-id", "00000000-0000-4000-8000-000000000000")
                .header("anthropic-ratelimit-requests-limit", "4000")
                .header("anthropic-ratelimit-requests-remaining", "3999"),
        )
    }
}

fn messages(asked: &Asked<'_>, body: &Value) -> Answer {
    let field_required = |field: &str| error(asked, 400, &format!("{field}: Field required"));
    let Some(model) = body.get("model").and_then(Value::as_str) else {
        return field_required("model");
    };
    if body.get("max_tokens").and_then(Value::as_u64).is_none() {
        return field_required("max_tokens");
    }
    let Some(history) = body.get("messages").and_then(Value::as_array).filter(|list| !list.is_empty()) else {
        return field_required("messages");
    };
    let script = Script::of(asked, model);
    if let Some(status) = script.error {
        return error(asked, status, "This model fails as its name says.");
    }

    let reply = Reply::compose(asked, &script, body, history);
    if body.get("stream") == Some(&Value::Bool(true)) {
        Answer::events(reply.events(asked, &script, model)).paced(&script)
    } else {
        let mut message = reply.envelope(asked, model);
        message["content"] = reply.blocks.iter().map(Block::whole).collect();
        message["stop_reason"] = json!(reply.stop_reason());
        message["usage"]["output_tokens"] = json!(reply.output_tokens);
        Answer::json(200, &message).paced(&script)
    }
}

/// What the model says.
struct Reply {
    blocks: Vec<Block>,
    /// With `output_tokens` as they stand when the message begins.
    usage: Value,
    output_tokens: u64,
}

enum Block {
    Thinking { text: String, signature: String },
    Text(String),
    ToolUse { id: String, name: String, input: Value },
}

impl Reply {
    fn compose(asked: &Asked<'_>, script: &Script, body: &Value, history: &[Value]) -> Self {
        let content = |message: &Value| text_of(message.get("content").unwrap_or(&Value::Null));
        let user = history
            .iter()
            .rfind(|message| message["role"] == "user" && !content(message).is_empty())
            .map(content)
            .unwrap_or_default();
        let answers_a_tool = history
            .last()
            .and_then(|message| message["content"].as_array())
            .is_some_and(|blocks| blocks.iter().any(|block| block["type"] == "tool_result"));
        let offered = body.get("tools").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let wanted = if answers_a_tool { &[] } else { tools_wanted(offered, &user) };

        let mut blocks = Vec::new();
        let thinking = body.pointer("/thinking/type").and_then(Value::as_str);
        if matches!(thinking, Some("enabled" | "adaptive")) {
            let signature = format!("{}{}", asked.id("signature", 64), asked.id("signature end", 64));
            blocks.push(Block::Thinking { text: prose::of_chars(asked.seed() ^ 1, 200), signature });
        }
        if wanted.is_empty() {
            blocks.push(Block::Text(script.text(asked, &user)));
        } else {
            blocks.push(Block::Text("I use what I was given.".to_owned()));
        }
        blocks.extend(wanted.iter().enumerate().map(|(index, tool)| Block::ToolUse {
            id: format!("toolu_{}", asked.id(&format!("tool {index}"), 24)),
            name: tool["name"].as_str().unwrap_or_default().to_owned(),
            input: arguments_for(&tool["input_schema"], asked),
        }));

        let system = body.get("system").unwrap_or(&Value::Null);
        let system_tokens = tokens(&text_of(system));
        // A system prompt marked for the cache counts as read from it.
        let cached = system
            .as_array()
            .is_some_and(|blocks| blocks.iter().any(|block| block.get("cache_control").is_some()));
        let history_tokens: u64 = history.iter().map(|message| 3 + tokens(&content(message))).sum();
        let (input, cache_read) =
            if cached { (history_tokens, system_tokens) } else { (history_tokens + system_tokens, 0) };
        Self {
            output_tokens: blocks.iter().map(Block::tokens).sum(),
            usage: json!({
                "input_tokens": input,
                "cache_creation_input_tokens": 0,
                "cache_read_input_tokens": cache_read,
                "cache_creation": { "ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0 },
                "output_tokens": 1,
                "service_tier": "standard",
            }),
            blocks,
        }
    }

    fn stop_reason(&self) -> &'static str {
        let uses_a_tool = self.blocks.iter().any(|block| matches!(block, Block::ToolUse { .. }));
        if uses_a_tool { "tool_use" } else { "end_turn" }
    }

    fn envelope(&self, asked: &Asked<'_>, model: &str) -> Value {
        json!({
            "id": format!("msg_{}", asked.id("message", 24)),
            "type": "message",
            "role": "assistant",
            "model": model,
            "content": [],
            "stop_reason": null,
            "stop_sequence": null,
            "usage": self.usage,
        })
    }

    fn events(&self, asked: &Asked<'_>, script: &Script, model: &str) -> Vec<Vec<u8>> {
        let mut events = vec![
            event(&json!({ "type": "message_start", "message": self.envelope(asked, model) })),
            event(&json!({ "type": "ping" })),
        ];
        for (index, block) in self.blocks.iter().enumerate() {
            let delta = |delta: Value| {
                event(&json!({ "type": "content_block_delta", "index": index, "delta": delta }))
            };
            events.push(event(&json!({
                "type": "content_block_start", "index": index, "content_block": block.opening(),
            })));
            match block {
                Block::Thinking { text, signature } => {
                    let pieces = Script::default().pieces(text);
                    events.extend(
                        pieces
                            .iter()
                            .map(|piece| delta(json!({ "type": "thinking_delta", "thinking": piece }))),
                    );
                    events.push(delta(json!({ "type": "signature_delta", "signature": signature })));
                }
                Block::Text(text) => {
                    let pieces = script.pieces(text);
                    let intact = script.break_after.unwrap_or(usize::MAX);
                    events.extend(
                        pieces
                            .iter()
                            .take(intact)
                            .map(|piece| delta(json!({ "type": "text_delta", "text": piece }))),
                    );
                    if pieces.len() > intact {
                        events.push(event(&error_body(asked, 529, "Overloaded")));
                        return events;
                    }
                }
                Block::ToolUse { input, .. } => {
                    // The real service begins with an empty fragment.
                    events.push(delta(json!({ "type": "input_json_delta", "partial_json": "" })));
                    let pieces = script.pieces(&input.to_string());
                    events.extend(
                        pieces
                            .iter()
                            .map(|piece| delta(json!({ "type": "input_json_delta", "partial_json": piece }))),
                    );
                }
            }
            events.push(event(&json!({ "type": "content_block_stop", "index": index })));
        }
        let mut usage = self.usage.clone();
        usage["output_tokens"] = json!(self.output_tokens);
        events.push(event(&json!({
            "type": "message_delta",
            "delta": { "stop_reason": self.stop_reason(), "stop_sequence": null },
            "usage": usage,
        })));
        events.push(event(&json!({ "type": "message_stop" })));
        events
    }
}

impl Block {
    fn whole(&self) -> Value {
        match self {
            Self::Thinking { text, signature } => {
                json!({ "type": "thinking", "thinking": text, "signature": signature })
            }
            Self::Text(text) => json!({ "type": "text", "text": text }),
            Self::ToolUse { id, name, input } => {
                json!({ "type": "tool_use", "id": id, "name": name, "input": input })
            }
        }
    }

    fn opening(&self) -> Value {
        match self {
            Self::Thinking { .. } => json!({ "type": "thinking", "thinking": "", "signature": "" }),
            Self::Text(_) => json!({ "type": "text", "text": "" }),
            Self::ToolUse { id, name, .. } => {
                json!({ "type": "tool_use", "id": id, "name": name, "input": {} })
            }
        }
    }

    fn tokens(&self) -> u64 {
        match self {
            Self::Thinking { text, .. } | Self::Text(text) => tokens(text),
            Self::ToolUse { name, input, .. } => tokens(name) + tokens(&input.to_string()),
        }
    }
}

fn event(data: &Value) -> Vec<u8> {
    let name = data["type"].as_str().unwrap_or_default();
    format!("event: {name}\ndata: {data}\n\n").into_bytes()
}

fn request_id(asked: &Asked<'_>) -> String {
    format!("req_{}", asked.id("request", 24))
}

fn error_body(asked: &Asked<'_>, status: u16, message: &str) -> Value {
    let kind = match status {
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        529 => "overloaded_error",
        500.. => "api_error",
        _ => "invalid_request_error",
    };
    json!({
        "type": "error",
        "error": { "type": kind, "message": message },
        "request_id": request_id(asked),
    })
}

fn error(asked: &Asked<'_>, status: u16, message: &str) -> Answer {
    let answer = Answer::json(status, &error_body(asked, status, message));
    if status == 429 { answer.header("retry-after", "1") } else { answer }
}
