//! The client side of the `demo` command: three calls as an agent makes them, with the providers' real host
//! names, against a fake provider.

use std::path::PathBuf;

use serde_json::json;
use thiserror::Error;

use crate::calls::{Answer, AnswerError, Api};
use crate::endpoint::Endpoint;
use crate::http1::{HttpError, MessageReader, Request};
use crate::openssl_client::{Context, OpenSsl, OpenSslError, Ssl};

/// Where the demo's calls go.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// The fake provider. The calls name the providers' real hosts to it; no name server is asked.
    pub endpoint: Endpoint,
    /// The certificate that the fake provider's was signed with.
    pub ca_file: PathBuf,
    /// A folder with a copy of `libssl`; `None` for the system's.
    pub library_folder: Option<PathBuf>,
}

/// A call that was made and understood.
#[derive(Clone, Debug, PartialEq)]
pub struct DemoCall {
    /// What the call shows, for a person.
    pub title: &'static str,
    /// The provider.
    pub api: Api,
    /// The model that was named.
    pub model: &'static str,
    /// Whether the answer was streamed.
    pub streamed: bool,
    /// What the client understood.
    pub answer: Answer,
    /// Bytes of the request's body.
    pub request_bytes: usize,
}

/// Why the demo's client gave up.
#[derive(Debug, Error)]
pub enum DemoError {
    /// No library, no connection, or a refused certificate.
    #[error(transparent)]
    OpenSsl(#[from] OpenSslError),
    /// No response.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// A response that is no answer.
    #[error(transparent)]
    Answer(#[from] AnswerError),
    /// The model was to ask for a tool and did not.
    #[error("the provider's answer asks for no tool")]
    NoToolCall,
}

const OPENAI_MODEL: &str = "gpt-4o-mini";
const ANTHROPIC_MODEL: &str = "claude-sonnet-4-5";

/// Makes three calls: one to OpenAI that ends in a tool call, one that brings the tool's result, and one to
/// Anthropic that is streamed. The prompts hold an e-mail address and the calls a key, for the redaction to find.
///
/// # Errors
/// See [`DemoError`].
pub fn run_client(options: &ClientOptions) -> Result<Vec<DemoCall>, DemoError> {
    let library = OpenSsl::load(options.library_folder.as_deref())?;
    let context = library.client_context(&options.ca_file)?;
    let mut calls = openai_calls(&context, &options.endpoint)?;
    calls.push(anthropic_call(&context, &options.endpoint)?);
    Ok(calls)
}

fn openai_calls(context: &Context, endpoint: &Endpoint) -> Result<Vec<DemoCall>, DemoError> {
    let api = Api::OpenAi;
    let mut connection = MessageReader::new(context.connect(&endpoint.named(api.host()))?);
    let tools = json!([{
        "type": "function",
        "function": {
            "name": "weather",
            "description": "The weather at a place",
            "parameters": {
                "type": "object",
                "properties": { "place": { "type": "string" }, "days": { "type": "integer" } },
                "required": ["place"],
            },
        },
    }]);
    let mut messages = vec![
        json!({ "role": "system", "content": "You are a travel assistant. Answer in one sentence." }),
        json!({ "role": "user", "content":
            "I am ada.lovelace@example.com and go to Lisbon tomorrow. Please use a tool to look up the weather." }),
    ];
    let mut ask = |title, messages: &[serde_json::Value]| {
        let body = json!({ "model": OPENAI_MODEL, "messages": messages, "tools": tools, "temperature": 0.2 });
        finish(&mut connection, title, api, OPENAI_MODEL, false, &api.request(api.host(), &body))
    };
    let asked = ask("a question that makes the model ask for a tool", &messages)?;

    let call = asked.answer.tool_calls.first().ok_or(DemoError::NoToolCall)?;
    messages.push(json!({ "role": "assistant", "content": null, "tool_calls": [{
        "id": call.id, "type": "function",
        "function": { "name": call.name, "arguments": call.arguments },
    }]}));
    messages.push(json!({ "role": "tool", "tool_call_id": call.id,
        "content": json!({ "place": "Lisbon", "forecast": "sunny", "high_celsius": 24 }).to_string() }));
    let answered = ask("the tool's result and the model's answer to it", &messages)?;
    connection.into_stream().close();
    Ok(vec![asked, answered])
}

fn anthropic_call(context: &Context, endpoint: &Endpoint) -> Result<DemoCall, DemoError> {
    let api = Api::Anthropic;
    let mut connection = MessageReader::new(context.connect(&endpoint.named(api.host()))?);
    let body = json!({
        "model": ANTHROPIC_MODEL,
        "max_tokens": 1024,
        "system": "You are a careful reviewer of code.",
        "messages": [{ "role": "user", "content": "Why is a byte lost in silence worse than a gap that is reported?" }],
        "stream": true,
    });
    let mut request = api.request(api.host(), &body);
    // So that a person sees it arrive.
    request.headers.push(("x-test-script".to_owned(), "delay-30ms".to_owned()));
    let call = finish(&mut connection, "an answer that is streamed", api, ANTHROPIC_MODEL, true, &request)?;
    connection.into_stream().close();
    Ok(call)
}

fn finish(
    connection: &mut MessageReader<Ssl>,
    title: &'static str,
    api: Api,
    model: &'static str,
    streamed: bool,
    request: &Request,
) -> Result<DemoCall, DemoError> {
    let response = connection.exchange(request)?;
    let answer = api.read_answer(&response)?;
    Ok(DemoCall { title, api, model, streamed, answer, request_bytes: request.body.len() })
}
