//! Requests and answers as HTTP/1.1.

use serde_json::Value;

use super::plan::CallPlan;
use super::{Service, anthropic, openai};

/// A request's head and body.
pub(super) fn request(plan: &CallPlan, user_agent: &str) -> (String, String) {
    let (body, credential) = match plan.service {
        Service::OpenAi => (openai::request(plan), "Authorization: Bearer sk-generated-traffic"),
        Service::OpenRouter => (openai::request(plan), "Authorization: Bearer sk-or-v1-generated-traffic"),
        Service::Anthropic => (
            anthropic::request(plan),
            "anthropic-version: 2023-06-01\r\nx-api-key: sk-ant-api03-generated-traffic",
        ),
    };
    let body = body.to_string();
    let head = format!(
        "POST {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: {user_agent}\r\nAccept: application/json\r\n\
         Content-Type: application/json\r\n{credential}\r\nContent-Length: {}\r\n\r\n",
        plan.service.path(),
        plan.service.host(),
        body.len(),
    );
    (head, body)
}

/// A whole answer with its head.
pub(super) fn whole_answer(plan: &CallPlan) -> String {
    let body: Value = match plan.service {
        Service::OpenAi | Service::OpenRouter => openai::whole(plan),
        Service::Anthropic => anthropic::whole(plan),
    };
    let body = body.to_string();
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// The head of a streamed answer, and what comes before its text: each entry is written at once.
pub(super) fn stream_begin(plan: &CallPlan) -> Vec<String> {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nCache-Control: no-cache\r\n\
                Transfer-Encoding: chunked\r\n\r\n";
    let events = match plan.service {
        Service::OpenAi | Service::OpenRouter => openai::stream_begin(plan),
        Service::Anthropic => anthropic::stream_begin(plan),
    };
    std::iter::once(head.to_owned()).chain(events.iter().map(|event| chunk(event))).collect()
}

/// A piece of a streamed answer's text.
pub(super) fn stream_text(plan: &CallPlan, text: &str) -> String {
    chunk(&match plan.service {
        Service::OpenAi | Service::OpenRouter => openai::stream_text(plan, text),
        Service::Anthropic => anthropic::stream_text(text),
    })
}

/// What comes after the text.
pub(super) fn stream_end(plan: &CallPlan) -> Vec<String> {
    let events = match plan.service {
        Service::OpenAi | Service::OpenRouter => openai::stream_end(plan),
        Service::Anthropic => anthropic::stream_end(plan),
    };
    events.iter().map(|event| chunk(event)).chain(std::iter::once("0\r\n\r\n".to_owned())).collect()
}

/// A text as JSON.
pub(super) fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

fn chunk(data: &str) -> String {
    format!("{:x}\r\n{data}\r\n", data.len())
}
