//! OpenAI: chat completions, as JSON and as a stream, and embeddings.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::answer::{Answer, Asked, ProviderFormat, Script, arguments_for, text_of, tokens, tools_wanted};
use crate::prose;

/// `POST /v1/chat/completions` and `POST /v1/embeddings`.
pub(super) struct OpenAi;

impl ProviderFormat for OpenAi {
    fn name(&self) -> &'static str {
        "openai"
    }

    fn answer(&self, asked: &Asked<'_>) -> Option<Answer> {
        let answer_body: fn(&Asked<'_>, &Value) -> Answer = match asked.path() {
            "/v1/chat/completions" => chat,
            "/v1/embeddings" => embeddings,
            _ => return None,
        };
        let answer = if asked.request.method != "POST" {
            error(405, "Not allowed to use this method on this endpoint.")
        } else {
            match serde_json::from_slice::<Value>(&asked.request.body) {
                Ok(body) => answer_body(asked, &body),
                Err(_) => error(400, "We could not parse the JSON body of your request."),
            }
        };
        Some(
            answer
                .header("x-request-id", format!("req_{}", asked.id("request", 32)))
                .header("openai-organization", "fake-organization")
                .header("openai-processing-ms", "12")
                .header("openai-version", "2020-10-01")
                .header("x-ratelimit-limit-requests", "10000")
                .header("x-ratelimit-remaining-requests", "9999")
                .header("x-ratelimit-reset-requests", "6ms"),
        )
    }
}

fn chat(asked: &Asked<'_>, body: &Value) -> Answer {
    let Some(model) = body.get("model").and_then(Value::as_str) else {
        return error(400, "you must provide a model parameter");
    };
    let Some(messages) = body.get("messages").and_then(Value::as_array).filter(|list| !list.is_empty())
    else {
        return error(400, "Missing required parameter: 'messages'.");
    };
    let script = Script::of(asked, model);
    if let Some(status) = script.error {
        return error(status, "This model fails as its name says.");
    }

    let reply = Reply::compose(asked, &script, body, messages);
    let frame = Frame { asked, model, reply: &reply };
    if body.get("stream") == Some(&Value::Bool(true)) {
        let usage = body.pointer("/stream_options/include_usage") == Some(&Value::Bool(true));
        Answer::events(frame.events(&script, usage)).paced(&script)
    } else {
        Answer::json(200, &frame.whole()).paced(&script)
    }
}

/// What the model says.
struct Reply {
    text: String,
    tool_calls: Vec<(String, String, String)>,
    usage: Value,
}

impl Reply {
    fn compose(asked: &Asked<'_>, script: &Script, body: &Value, messages: &[Value]) -> Self {
        let content = |message: &Value| text_of(message.get("content").unwrap_or(&Value::Null));
        let user =
            messages.iter().rfind(|message| message["role"] == "user").map(content).unwrap_or_default();
        let answers_a_tool = messages.last().is_some_and(|message| message["role"] == "tool");
        let offered = body.get("tools").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let wanted = if answers_a_tool { &[] } else { tools_wanted(offered, &user) };

        let tool_calls: Vec<_> = wanted
            .iter()
            .enumerate()
            .map(|(index, tool)| {
                let function = &tool["function"];
                let name = function["name"].as_str().unwrap_or_default().to_owned();
                let arguments = arguments_for(&function["parameters"], asked).to_string();
                (format!("call_{}", asked.id(&format!("tool {index}"), 24)), name, arguments)
            })
            .collect();
        let text = if tool_calls.is_empty() { script.text(asked, &user) } else { String::new() };

        let prompt: u64 = messages.iter().map(|message| 3 + tokens(&content(message))).sum();
        let reasoning = if body.get("reasoning_effort").is_some() { 64 } else { 0 };
        let called: u64 =
            tool_calls.iter().map(|(_, name, arguments)| tokens(name) + tokens(arguments)).sum();
        let completion = tokens(&text) + called + reasoning;
        let usage = json!({
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
            "prompt_tokens_details": { "cached_tokens": 0, "audio_tokens": 0 },
            "completion_tokens_details": {
                "reasoning_tokens": reasoning, "audio_tokens": 0,
                "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0,
            },
        });
        Self { text, tool_calls, usage }
    }

    fn finish_reason(&self) -> &'static str {
        if self.tool_calls.is_empty() { "stop" } else { "tool_calls" }
    }
}

/// A reply in OpenAI's envelope.
struct Frame<'a> {
    asked: &'a Asked<'a>,
    model: &'a str,
    reply: &'a Reply,
}

impl Frame<'_> {
    fn envelope(&self, object: &str, choices: Value) -> Value {
        json!({
            "id": format!("chatcmpl-{}", self.asked.id("completion", 29)),
            "object": object,
            "created": self.asked.created(),
            "model": self.model,
            "service_tier": "default",
            "system_fingerprint": format!("fp_{}", &self.asked.id("fingerprint", 10)),
            "choices": choices,
        })
    }

    fn whole(&self) -> Value {
        let mut message =
            json!({ "role": "assistant", "content": self.reply.text, "refusal": null, "annotations": [] });
        if !self.reply.tool_calls.is_empty() {
            message["content"] = Value::Null;
            message["tool_calls"] = self
                .reply
                .tool_calls
                .iter()
                .map(|(id, name, arguments)| {
                    json!({ "id": id, "type": "function", "function": { "name": name, "arguments": arguments } })
                })
                .collect();
        }
        let mut whole = self.envelope(
            "chat.completion",
            json!([{
                "index": 0, "message": message, "logprobs": null, "finish_reason": self.reply.finish_reason(),
            }]),
        );
        whole["usage"] = self.reply.usage.clone();
        whole
    }

    fn events(&self, script: &Script, usage: bool) -> Vec<Vec<u8>> {
        let chunk = |delta: Value, finish_reason: Value| {
            let choice =
                json!({ "index": 0, "delta": delta, "logprobs": null, "finish_reason": finish_reason });
            let mut chunk = self.envelope("chat.completion.chunk", json!([choice]));
            if usage {
                chunk["usage"] = Value::Null;
            }
            event(&chunk)
        };
        let mut events =
            vec![chunk(json!({ "role": "assistant", "content": "", "refusal": null }), Value::Null)];
        if self.reply.tool_calls.is_empty() {
            let pieces = script.pieces(&self.reply.text);
            let intact = script.break_after.unwrap_or(usize::MAX);
            events.extend(
                pieces.iter().take(intact).map(|piece| chunk(json!({ "content": piece }), Value::Null)),
            );
            if pieces.len() > intact {
                events.push(event(&json!({ "error": {
                    "message": "The server had an error while processing your request.",
                    "type": "server_error", "param": null, "code": null,
                }})));
                events.push(b"data: [DONE]\n\n".to_vec());
                return events;
            }
        }
        for (index, (id, name, arguments)) in self.reply.tool_calls.iter().enumerate() {
            let opening = json!({ "index": index, "id": id, "type": "function",
                "function": { "name": name, "arguments": "" } });
            events.push(chunk(json!({ "tool_calls": [opening] }), Value::Null));
            events.extend(script.pieces(arguments).iter().map(|piece| {
                let fragment = json!({ "index": index, "function": { "arguments": piece } });
                chunk(json!({ "tool_calls": [fragment] }), Value::Null)
            }));
        }
        events.push(chunk(json!({}), json!(self.reply.finish_reason())));
        if usage {
            let mut last = self.envelope("chat.completion.chunk", json!([]));
            last["usage"] = self.reply.usage.clone();
            events.push(event(&last));
        }
        events.push(b"data: [DONE]\n\n".to_vec());
        events
    }
}

fn event(data: &Value) -> Vec<u8> {
    format!("data: {data}\n\n").into_bytes()
}

fn embeddings(asked: &Asked<'_>, body: &Value) -> Answer {
    let model = body.get("model").and_then(Value::as_str).unwrap_or_default();
    if let Some(status) = Script::from_model(model).error {
        return error(status, "This model fails as its name says.");
    }
    let inputs: Vec<&str> = match body.get("input") {
        Some(Value::String(text)) => vec![text],
        Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).collect(),
        _ => return error(400, "Missing required parameter: 'input'."),
    };
    let dimensions = body.get("dimensions").and_then(Value::as_u64).unwrap_or(16).clamp(1, 4096);
    let base64 = body.get("encoding_format").and_then(Value::as_str) == Some("base64");
    let data: Vec<Value> = inputs
        .iter()
        .enumerate()
        .map(|(index, _)| {
            let mut state = asked.seed() ^ index as u64;
            let vector: Vec<f32> = (0..dimensions)
                .map(|_| (prose::next_random(&mut state) >> 40) as f32 / (1 << 24) as f32)
                .collect();
            let embedding = if base64 {
                let bytes: Vec<u8> = vector.iter().flat_map(|value| value.to_le_bytes()).collect();
                json!(STANDARD.encode(bytes))
            } else {
                json!(vector)
            };
            json!({ "object": "embedding", "index": index, "embedding": embedding })
        })
        .collect();
    let used: u64 = inputs.iter().map(|input| tokens(input)).sum();
    let usage = json!({ "prompt_tokens": used, "total_tokens": used });
    Answer::json(200, &json!({ "object": "list", "data": data, "model": model, "usage": usage }))
}

fn error(status: u16, message: &str) -> Answer {
    let (kind, code) = match status {
        401 => ("invalid_request_error", json!("invalid_api_key")),
        404 => ("invalid_request_error", json!("model_not_found")),
        429 => ("requests", json!("rate_limit_exceeded")),
        500.. => ("server_error", Value::Null),
        _ => ("invalid_request_error", Value::Null),
    };
    let body = json!({ "error": { "message": message, "type": kind, "param": null, "code": code } });
    let answer = Answer::json(status, &body);
    if status == 429 { answer.header("retry-after", "1") } else { answer }
}
