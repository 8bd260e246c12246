//! What an event must tell, derived from what the provider logged.

use oisp_testkit::calls::{Answer, Api};
use oisp_testkit::http1::Response;
use oisp_testkit::provider::{ExchangeLog, ProviderLog};
use serde_json::{Value, json};

use super::events::{Events, text_of};

/// A call as the provider saw it.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) api: Api,
    pub(crate) request: Value,
    pub(crate) answer: Answer,
    pub(crate) status: u16,
}

/// All calls, in the order of connections and exchanges.
pub(crate) fn calls(log: &ProviderLog) -> Vec<Call> {
    log.exchanges().map(Call::of).collect()
}

impl Call {
    fn of(exchange: &ExchangeLog) -> Self {
        assert!(exchange.complete, "the provider could not send all of its answer");
        let api = match exchange.format {
            "openai" => Api::OpenAi,
            "anthropic" => Api::Anthropic,
            other => panic!("a request of the format {other}"),
        };
        let request: Value = serde_json::from_slice(&exchange.request_body).unwrap();
        let content_type = if request["stream"] == true { "text/event-stream" } else { "application/json" };
        // The logged body is not compressed any more.
        let headers = vec![("content-type".to_owned(), content_type.to_owned())];
        let response = Response { status: exchange.status, headers, body: exchange.response_body.clone() };
        Self { api, request, answer: api.read_answer(&response).unwrap(), status: exchange.status }
    }

    /// Role and text of each message; a system prompt that stands apart is the first.
    pub(crate) fn messages(&self) -> Vec<(String, String)> {
        let system = match &self.request["system"] {
            Value::Null => None,
            system => Some(("system".to_owned(), text_content(system))),
        };
        let messages = self.request["messages"].as_array().unwrap().iter();
        let messages = messages
            .map(|message| (message["role"].as_str().unwrap().to_owned(), text_content(&message["content"])));
        system.into_iter().chain(messages).collect()
    }

    fn usage(&self) -> Value {
        let usage = &self.answer.usage;
        let count = |pointer: &str| usage.pointer(pointer).and_then(Value::as_u64);
        let (input, output, cached, reasoning) = match self.api {
            Api::OpenAi => (
                count("/prompt_tokens"),
                count("/completion_tokens"),
                count("/prompt_tokens_details/cached_tokens"),
                count("/completion_tokens_details/reasoning_tokens"),
            ),
            Api::Anthropic => (
                [
                    count("/input_tokens"),
                    count("/cache_read_input_tokens"),
                    count("/cache_creation_input_tokens"),
                ]
                .into_iter()
                .sum(),
                count("/output_tokens"),
                count("/cache_read_input_tokens"),
                None,
            ),
        };
        json!({ "prompt_tokens": input, "completion_tokens": output, "cached_tokens": cached,
            "reasoning_tokens": reasoning, "total_tokens": input.unwrap() + output.unwrap() })
    }

    fn finish_reason(&self) -> &'static str {
        match self.answer.finish_reason.as_deref() {
            Some("stop" | "end_turn") => "stop",
            Some("tool_calls" | "tool_use") => "tool_calls",
            other => panic!("the provider finished with {other:?}"),
        }
    }

    fn assert_request(&self, event: &Value) {
        let data = &event["data"];
        assert_eq!(data["model"]["id"], self.request["model"]);
        assert_eq!(data["request_type"], "chat");
        assert_eq!(data["streaming"] == true, self.request["stream"] == true, "{data}");
        let told: Vec<(String, String)> = data["messages"]
            .as_array()
            .unwrap()
            .iter()
            .map(|message| {
                let text = message["content"].as_str().unwrap_or_default();
                assert_eq!(message["content_length"], text.chars().count(), "of {message}");
                (message["role"].as_str().unwrap().to_owned(), text.to_owned())
            })
            .collect();
        assert!(told == self.messages(), "{told:?}\nis not\n{:?}", self.messages());
        assert_eq!(data["messages_count"], told.len());
        let offered = self.request["tools"].as_array().map(Vec::as_slice).unwrap_or_default();
        let offered: Vec<&Value> = offered
            .iter()
            .map(|tool| if self.api == Api::OpenAi { &tool["function"]["name"] } else { &tool["name"] })
            .collect();
        let told: Vec<&Value> =
            data["tools"].as_array().into_iter().flatten().map(|tool| &tool["name"]).collect();
        assert_eq!(told, offered);
        assert_whole(event);
    }

    fn assert_response(&self, event: &Value) {
        let data = &event["data"];
        assert_eq!(data["status_code"], self.status);
        assert_eq!(data["success"], true);
        assert_eq!(data["model"]["id"], self.request["model"]);
        assert_eq!(text_of(event), self.answer.text);
        assert_eq!(data["finish_reason"], self.finish_reason());
        for (name, count) in self.usage().as_object().unwrap() {
            assert_eq!(&data["usage"][name], count, "{name} of {}", data["usage"]);
        }
        let told: Vec<_> = data["tool_calls"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|call| (text(&call["id"]), text(&call["name"]), parsed(text(&call["arguments"]))))
            .collect();
        let made: Vec<_> = self
            .answer
            .tool_calls
            .iter()
            .map(|call| (call.id.as_str(), call.name.as_str(), parsed(&call.arguments)))
            .collect();
        assert_eq!(told, made);
        assert_whole(event);
    }
}

/// Every call has its request and its response among the events, told as the provider saw them, and there are no
/// others. Gives the calls with their responses' events.
pub(crate) fn assert_told<'e>(events: &'e Events, log: &ProviderLog) -> Vec<(Call, &'e Value)> {
    let calls = calls(log);
    assert!(!calls.is_empty(), "no call was made");
    let mut requests = events.requests();
    assert_eq!((requests.len(), events.responses().len()), (calls.len(), calls.len()));
    calls
        .into_iter()
        .map(|call| {
            let messages = call.messages();
            let (_, asked) = messages.last().expect("a message");
            let place = requests
                .iter()
                .position(|request| {
                    let told = request["data"]["messages"].as_array().and_then(|messages| messages.last());
                    told.is_some_and(|told| told["content"] == asked.as_str())
                })
                .unwrap_or_else(|| panic!("no event for {:?}", call.request));
            let request = requests.remove(place);
            call.assert_request(request);
            let response = events.response_to(request);
            call.assert_response(response);
            let connection =
                ["object", "born_ns"].map(|field| format!("/ext/oisp_sensor/connection/{field}"));
            for field in connection.iter().map(String::as_str).chain(["/process/pid"]) {
                assert_eq!(response.pointer(field), request.pointer(field), "{field}");
            }
            // Of the request they may not have been known yet.
            for end in ["local", "remote"] {
                let told = |event: &'_ Value| event["ext"]["oisp_sensor"]["connection"][end].clone();
                assert!(told(request).is_null() || told(request) == told(response), "{end}");
            }
            (call, response)
        })
        .collect()
}

/// Nothing was missing.
fn assert_whole(event: &Value) {
    let confidence = &event["confidence"];
    assert!(["full", "redacted"].map(Value::from).contains(&confidence["completeness"]), "{confidence}");
    assert_eq!(confidence["missing"], Value::Null);
    assert_eq!(confidence["limitations"], Value::Null);
}

fn text_content(content: &Value) -> String {
    match content {
        Value::Array(parts) => parts.iter().filter_map(|part| part["text"].as_str()).collect(),
        other => text(other).to_owned(),
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Arguments are compared as values: a provider may order them anew.
fn parsed(arguments: &str) -> Value {
    serde_json::from_str(arguments).unwrap_or_else(|error| panic!("{error} in {arguments}"))
}
