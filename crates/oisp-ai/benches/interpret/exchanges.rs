//! Calls of models as a coding agent makes them, and answers as services write them.

use serde_json::{Value, json};

/// An exchange as HTTP/1.1, and the JSON in it.
pub(crate) struct Exchange {
    pub(crate) sent: Vec<u8>,
    pub(crate) received: Vec<u8>,
    pub(crate) json: Vec<Vec<u8>>,
}

const OPENAI: (&str, &str) = ("api.openai.com", "/v1/chat/completions");
const ANTHROPIC: (&str, &str) = ("api.anthropic.com", "/v1/messages");

/// 100 KB: 20 tools, 60 messages.
pub(crate) fn chat_request() -> Exchange {
    let mut messages = vec![json!({ "role": "system", "content": prose(900) })];
    for number in 0..59 {
        messages.push(match number % 3 {
            0 => json!({ "role": "user", "content": prose(200) }),
            1 => json!({
                "role": "assistant",
                "content": null,
                "tool_calls": [{
                    "id": format!("call_{number:024}"),
                    "type": "function",
                    "function": { "name": "read_file", "arguments": arguments(number).to_string() },
                }],
            }),
            _ => json!({
                "role": "tool",
                "tool_call_id": format!("call_{:024}", number - 1),
                "content": source(60),
            }),
        });
    }
    let tools: Vec<Value> = (0..20)
        .map(|number| {
            let function =
                json!({ "name": format!("tool_{number}"), "description": prose(40), "parameters": schema() });
            json!({ "type": "function", "function": function })
        })
        .collect();
    let body = json!({ "model": "gpt-5", "messages": messages, "tools": tools, "tool_choice": "auto", "max_completion_tokens": 32000, "reasoning_effort": "medium" });
    whole(OPENAI, &body, &chat_completion("Done."))
}

/// An answer of some 4,000 words.
pub(crate) fn chat_answer() -> Exchange {
    let body = json!({ "model": "gpt-5", "messages": [{ "role": "user", "content": "Explain." }] });
    whole(OPENAI, &body, &chat_completion(&format!("{}\n{}", prose(3000), source(200))))
}

/// 1,000 chunks of text.
pub(crate) fn chat_stream() -> Exchange {
    let deltas = (0..1000).map(|number| format!(r#"{{"content":" {}"}}"#, word(number)));
    chat_chunks(r#"{"role":"assistant","content":"","refusal":null}"#, deltas, "stop")
}

/// 1,000 fragments of tool calls, 50 a call.
pub(crate) fn chat_tool_stream() -> Exchange {
    let deltas = (0..1000).map(|number| {
        let index = number / 50;
        match number % 50 {
            0 => format!(
                r#"{{"tool_calls":[{{"index":{index},"id":"call_{index:024}","type":"function","function":{{"name":"write_file","arguments":""}}}}]}}"#
            ),
            1 => format!(r#"{{"tool_calls":[{{"index":{index},"function":{{"arguments":"{{\"text\":\""}}}}]}}"#),
            49 => format!(r#"{{"tool_calls":[{{"index":{index},"function":{{"arguments":"\"}}"}}}}]}}"#),
            _ => format!(
                r#"{{"tool_calls":[{{"index":{index},"function":{{"arguments":" {}"}}}}]}}"#,
                word(number)
            ),
        }
    });
    chat_chunks(r#"{"role":"assistant","content":null,"refusal":null}"#, deltas, "tool_calls")
}

fn chat_chunks(first: &str, deltas: impl Iterator<Item = String>, finish: &str) -> Exchange {
    let before = r#"{"id":"chatcmpl-DuLe5uYcQLe3hznEQpmI0pr8qyHJ8","object":"chat.completion.chunk","created":1782321945,"model":"gpt-4.1-2025-04-14","service_tier":"default","system_fingerprint":"fp_3502f4eb73","#;
    let mut number = 0;
    let mut chunk = |delta: &str, finish: &str| {
        number += 1;
        let padding = &"Hv7qlnufw6euDAEW65QnF"[..6 + number % 12];
        format!(
            r#"{before}"choices":[{{"index":0,"delta":{delta},"logprobs":null,"finish_reason":{finish}}}],"usage":null,"obfuscation":"{padding}"}}"#
        )
    };
    let mut events = vec![chunk(first, "null")];
    events.extend(deltas.map(|delta| chunk(&delta, "null")));
    events.push(chunk("{}", &format!("\"{finish}\"")));
    let usage = chat_usage();
    events.push(format!(r#"{before}"choices":[],"usage":{usage},"obfuscation":"Hv7q"}}"#));
    let mut wire: Vec<Vec<u8>> =
        events.iter().map(|event| format!("data: {event}\n\n").into_bytes()).collect();
    wire.push(b"data: [DONE]\n\n".to_vec());
    let body = json!({ "model": "gpt-4.1", "messages": [{ "role": "user", "content": "Explain." }], "stream": true, "stream_options": { "include_usage": true } });
    streamed(OPENAI, &body, &wire, events)
}

/// 100 KB: 20 tools, 60 messages.
pub(crate) fn messages_request() -> Exchange {
    let mut messages = Vec::new();
    for number in 0..60 {
        messages.push(match number % 2 {
            0 if number % 4 == 0 => json!({ "role": "user", "content": [{ "type": "text", "text": prose(200) }] }),
            0 => json!({
                "role": "user",
                "content": [{ "type": "tool_result", "tool_use_id": format!("toolu_{:024}", number - 1), "content": source(60) }],
            }),
            _ => json!({
                "role": "assistant",
                "content": [
                    { "type": "text", "text": prose(30) },
                    { "type": "tool_use", "id": format!("toolu_{number:024}"), "name": "read_file", "input": arguments(number) },
                ],
            }),
        });
    }
    let tools: Vec<Value> = (0..20)
        .map(|number| json!({ "name": format!("tool_{number}"), "description": prose(40), "input_schema": schema() }))
        .collect();
    let system = json!([{ "type": "text", "text": prose(900), "cache_control": { "type": "ephemeral" } }]);
    let body = json!({ "model": "claude-sonnet-4-5", "max_tokens": 32000, "system": system, "messages": messages, "tools": tools });
    let answer = json!({
        "id": "msg_01XFDUDYJgAACzvnptvVoYEL",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-4-5-20250929",
        "content": [{ "type": "text", "text": "Done." }],
        "stop_reason": "end_turn",
        "stop_sequence": null,
        "usage": { "input_tokens": 2095, "output_tokens": 503 },
    });
    whole(ANTHROPIC, &body, &answer)
}

/// 1,000 deltas of text.
pub(crate) fn messages_stream() -> Exchange {
    let mut events = vec![
        r#"{"type":"message_start","message":{"id":"msg_01XFDUDYJgAACzvnptvVoYEL","type":"message","role":"assistant","model":"claude-sonnet-4-5-20250929","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":25,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"output_tokens":1,"service_tier":"standard"}}}"#.to_owned(),
        r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#.to_owned(),
        r#"{"type": "ping"}"#.to_owned(),
    ];
    // As long as that service's are: some words each.
    events.extend((0..1000).map(|number| {
        let text = [word(number), word(number + 1), word(number + 2)].join(" ");
        format!(
            r#"{{"type":"content_block_delta","index":0,"delta":{{"type":"text_delta","text":" {text}"}}}}"#
        )
    }));
    events.push(r#"{"type":"content_block_stop","index":0}"#.to_owned());
    events.push(r#"{"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":1015}}"#.to_owned());
    events.push(r#"{"type":"message_stop"}"#.to_owned());
    let wire: Vec<Vec<u8>> = events
        .iter()
        .map(|event| {
            let name = event.split('"').nth(3).unwrap_or_default();
            format!("event: {name}\ndata: {event}\n\n").into_bytes()
        })
        .collect();
    let body = json!({ "model": "claude-sonnet-4-5", "max_tokens": 4096, "messages": [{ "role": "user", "content": "Explain." }], "stream": true });
    streamed(ANTHROPIC, &body, &wire, events)
}

/// 1,000 deltas of text, with the whole answer at the end.
pub(crate) fn responses_stream() -> Exchange {
    let text: String = (0..1000).map(|number| format!(" {}", word(number))).collect();
    let item = "msg_68a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f607";
    let response = |status: &str, output: Value, usage: Value| {
        json!({
            "id": "resp_68a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f607",
            "object": "response",
            "created_at": 1_782_321_945,
            "status": status,
            "model": "gpt-5-2025-08-07",
            "output": output,
            "parallel_tool_calls": true,
            "reasoning": { "effort": "medium", "summary": null },
            "service_tier": "default",
            "store": true,
            "temperature": 1.0,
            "text": { "format": { "type": "text" }, "verbosity": "medium" },
            "tool_choice": "auto",
            "tools": [],
            "usage": usage,
            "metadata": {},
        })
    };
    let message = |status: &str, content: Value| json!({ "id": item, "type": "message", "status": status, "role": "assistant", "content": content });
    let part = |text: &str| json!({ "type": "output_text", "annotations": [], "logprobs": [], "text": text });
    let whole = message("completed", json!([part(&text)]));
    let usage = json!({
        "input_tokens": 2095,
        "input_tokens_details": { "cached_tokens": 0 },
        "output_tokens": 1015,
        "output_tokens_details": { "reasoning_tokens": 0 },
        "total_tokens": 3110,
    });
    let mut events = vec![
        json!({ "type": "response.created", "response": response("in_progress", json!([]), Value::Null) }),
        json!({ "type": "response.in_progress", "response": response("in_progress", json!([]), Value::Null) }),
        json!({ "type": "response.output_item.added", "output_index": 0, "item": message("in_progress", json!([])) }),
        json!({ "type": "response.content_part.added", "item_id": item, "output_index": 0, "content_index": 0, "part": part("") }),
    ];
    events.extend((0..1000).map(|number| {
        json!({
            "type": "response.output_text.delta",
            "item_id": item,
            "output_index": 0,
            "content_index": 0,
            "delta": format!(" {}", word(number)),
            "logprobs": [],
            "obfuscation": &"Hv7qlnufw6euDAEW65QnF"[..6 + number % 12],
        })
    }));
    events.extend([
        json!({ "type": "response.output_text.done", "item_id": item, "output_index": 0, "content_index": 0, "text": text, "logprobs": [] }),
        json!({ "type": "response.content_part.done", "item_id": item, "output_index": 0, "content_index": 0, "part": part(&text) }),
        json!({ "type": "response.output_item.done", "output_index": 0, "item": whole }),
        json!({ "type": "response.completed", "response": response("completed", json!([whole]), usage) }),
    ]);
    for (number, event) in events.iter_mut().enumerate() {
        event["sequence_number"] = number.into();
    }
    let body = json!({ "model": "gpt-5", "input": "Explain.", "stream": true });
    named_stream(("api.openai.com", "/v1/responses"), &body, &events)
}

/// 200 chunks of text, as long as that service's are.
pub(crate) fn gemini_stream() -> Exchange {
    let mut events: Vec<Value> = (0..200)
        .map(|number| {
            let text: Vec<&str> = (number..number + 12).map(word).collect();
            json!({
                "candidates": [{ "content": { "parts": [{ "text": text.join(" ") }], "role": "model" }, "index": 0 }],
                "usageMetadata": {
                    "promptTokenCount": 25,
                    "candidatesTokenCount": 12 * number,
                    "totalTokenCount": 25 + 12 * number,
                    "promptTokensDetails": [{ "modality": "TEXT", "tokenCount": 25 }],
                },
                "modelVersion": "gemini-2.5-flash",
                "responseId": "rrE_aOLXJ8iNxN8Pv8f5yQ8",
            })
        })
        .collect();
    if let Some(last) = events.last_mut() {
        last["candidates"][0]["finishReason"] = "STOP".into();
    }
    let body = json!({ "contents": [{ "role": "user", "parts": [{ "text": "Explain." }] }] });
    let endpoint = (
        "generativelanguage.googleapis.com",
        "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse",
    );
    data_stream(endpoint, &body, &events)
}

/// 1,000 lines of text.
pub(crate) fn ollama_stream() -> Exchange {
    let mut events: Vec<Value> = (0..1000)
        .map(|number| {
            json!({
                "model": "llama3.2",
                "created_at": "2026-08-01T10:11:12.123456789Z",
                "message": { "role": "assistant", "content": format!(" {}", word(number)) },
                "done": false,
            })
        })
        .collect();
    events.push(json!({
        "model": "llama3.2",
        "created_at": "2026-08-01T10:11:13.123456789Z",
        "message": { "role": "assistant", "content": "" },
        "done": true,
        "done_reason": "stop",
        "total_duration": 4_883_583_458_u64,
        "load_duration": 1_334_875_u64,
        "prompt_eval_count": 26,
        "prompt_eval_duration": 342_546_000_u64,
        "eval_count": 1000,
        "eval_duration": 4_535_599_000_u64,
    }));
    let body = json!({ "model": "llama3.2", "messages": [{ "role": "user", "content": "Explain." }] });
    let wire: Vec<Vec<u8>> = events.iter().map(|event| format!("{event}\n").into_bytes()).collect();
    let texts = events.iter().map(Value::to_string).collect();
    let mut exchange = streamed(("ollama.internal", "/api/chat"), &body, &wire, texts);
    exchange.received = replaced(&exchange.received, "text/event-stream", "application/x-ndjson");
    exchange
}

/// 1,000 deltas of text.
pub(crate) fn cohere_stream() -> Exchange {
    let mut events = vec![
        json!({ "id": "c14c80c3-18eb-4519-9460-6c92edd8cfb4", "type": "message-start", "delta": { "message": { "role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": [] } } }),
        json!({ "type": "content-start", "index": 0, "delta": { "message": { "content": { "type": "text", "text": "" } } } }),
    ];
    events.extend((0..1000).map(|number| {
        json!({ "type": "content-delta", "index": 0, "delta": { "message": { "content": { "text": format!(" {}", word(number)) } } } })
    }));
    events.extend([
        json!({ "type": "content-end", "index": 0 }),
        json!({ "type": "message-end", "delta": { "finish_reason": "COMPLETE", "usage": { "billed_units": { "input_tokens": 25, "output_tokens": 1000 }, "tokens": { "input_tokens": 90, "output_tokens": 1000 } } } }),
    ]);
    let body = json!({ "model": "command-a-03-2025", "messages": [{ "role": "user", "content": "Explain." }], "stream": true });
    named_stream(("api.cohere.com", "/v2/chat"), &body, &events)
}

/// Server-sent events with the name that their JSON has.
fn named_stream(endpoint: (&str, &str), body: &Value, events: &[Value]) -> Exchange {
    let wire: Vec<Vec<u8>> = events
        .iter()
        .map(|event| {
            format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap_or_default()).into_bytes()
        })
        .collect();
    streamed(endpoint, body, &wire, events.iter().map(Value::to_string).collect())
}

/// Server-sent events without a name.
fn data_stream(endpoint: (&str, &str), body: &Value, events: &[Value]) -> Exchange {
    let wire: Vec<Vec<u8>> =
        events.iter().map(|event| format!("data: {event}\r\n\r\n").into_bytes()).collect();
    streamed(endpoint, body, &wire, events.iter().map(Value::to_string).collect())
}

fn replaced(bytes: &[u8], old: &str, new: &str) -> Vec<u8> {
    String::from_utf8_lossy(bytes).replacen(old, new, 1).into_bytes()
}

fn whole((host, path): (&str, &str), body: &Value, answer: &Value) -> Exchange {
    let json = vec![body.to_string().into_bytes(), answer.to_string().into_bytes()];
    Exchange { sent: request(host, path, &json[0]), received: length(&json[1]), json }
}

fn streamed((host, path): (&str, &str), body: &Value, wire: &[Vec<u8>], events: Vec<String>) -> Exchange {
    let mut json = vec![body.to_string().into_bytes()];
    let sent = request(host, path, &json[0]);
    json.extend(events.into_iter().map(String::into_bytes));
    Exchange { sent, received: chunked(wire), json }
}

/// A POST of JSON.
pub(crate) fn request(host: &str, path: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: {host}\r\naccept: application/json\r\ncontent-type: application/json\r\n\
         user-agent: agent/1.0\r\nauthorization: Bearer sk-proj-abcdefghijklmnopqrstuvwxyz\r\n\
         content-length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// An answer of known length.
pub(crate) fn length(body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-request-id: req_0123456789\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// A streamed answer with a chunk for each event, as servers write them.
pub(crate) fn chunked(events: &[Vec<u8>]) -> Vec<u8> {
    let mut wire = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nx-request-id: req_0123456789\r\n\
        transfer-encoding: chunked\r\n\r\n"
        .to_vec();
    for event in events {
        wire.extend(format!("{:x}\r\n", event.len()).as_bytes());
        wire.extend(event);
        wire.extend(b"\r\n");
    }
    wire.extend(b"0\r\n\r\n");
    wire
}

fn chat_completion(text: &str) -> Value {
    json!({
        "id": "chatcmpl-DuLe5uYcQLe3hznEQpmI0pr8qyHJ8",
        "object": "chat.completion",
        "created": 1_782_321_945,
        "model": "gpt-5-2025-08-07",
        "choices": [{
            "index": 0,
            "message": { "role": "assistant", "content": text, "refusal": null, "annotations": [] },
            "finish_reason": "stop",
        }],
        "usage": chat_usage(),
        "service_tier": "default",
        "system_fingerprint": null,
    })
}

fn chat_usage() -> Value {
    json!({
        "prompt_tokens": 2095,
        "completion_tokens": 1015,
        "total_tokens": 3110,
        "prompt_tokens_details": { "cached_tokens": 0, "audio_tokens": 0 },
        "completion_tokens_details": { "reasoning_tokens": 0, "audio_tokens": 0, "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0 },
    })
}

fn arguments(number: usize) -> Value {
    json!({ "path": format!("src/module_{number}/connection.rs"), "offset": number * 40, "limit": 200, "follow": false })
}

fn schema() -> Value {
    json!({
        "type": "object",
        "properties": {
            "path": { "type": "string", "description": "Path of the file, from the workspace's root." },
            "offset": { "type": "integer", "description": "Line to begin at.", "minimum": 0 },
            "limit": { "type": "integer", "description": "Most lines to read.", "default": 2000 },
            "mode": { "type": "string", "enum": ["text", "binary", "both"] },
        },
        "required": ["path"],
        "additionalProperties": false,
    })
}

fn word(number: usize) -> &'static str {
    const WORDS: [&str; 16] = [
        "connection",
        "the",
        "of",
        "reads",
        "bytes",
        "a",
        "message",
        "which",
        "until",
        "its",
        "end",
        "r\u{e9}sum\u{e9}",
        "however",
        "then",
        "\u{2014}",
        "is",
    ];
    WORDS[(number * 7 + number / 16) % WORDS.len()]
}

/// So many words in lines.
fn prose(words: usize) -> String {
    let mut text = String::new();
    for number in 0..words {
        text.push_str(word(number));
        text.push(if number % 14 == 13 { '\n' } else { ' ' });
    }
    text
}

/// So many lines of a program: quotes, tabs and line feeds to escape.
fn source(lines: usize) -> String {
    (0..lines)
        .map(|line| format!("\tlet value_{line} = table.get(\"key {line}\")?; // {}\n", word(line)))
        .collect()
}
