//! Programs as people use them: what the events tell is what the provider saw and what the client understood.

use oisp_testkit::calls::Api;
use oisp_testkit::clients::{Client, Clients};
use serde_json::{Value, json};

use crate::support::{LibraryCopy, Provider, Sensor, Task, assert_told, can_record, text_of};

const BOTH: [Api; 2] = [Api::OpenAi, Api::Anthropic];

/// Records the client in each format it speaks, plain and streamed, with two calls a run.
fn calls_are_told(client: Client) {
    if !can_record() {
        return;
    }
    let library = LibraryCopy::new();
    for api in BOTH.into_iter().filter(|api| client.speaks(*api)) {
        for stream in [false, true] {
            let provider = Provider::start();
            let task =
                Task { api, model: "fake-answer-3000-chunks-40-gzip", bytes: 800, requests: 2, stream };
            let call = provider.call(task);
            let Some(mut command) = provider.client(client, &call) else { return };
            // A copy in a folder of the search path: linked with curl, opened by Python, not used by Node. So that not
            // every test that runs beside this one is slowed by these probes, either.
            command.env("LD_LIBRARY_PATH", library.folder());
            let recorded = Sensor::recording(&command).run();
            recorded.assert_clean();
            let events = recorded.events();
            let told = assert_told(&events, &provider.log());
            let understood = Clients::answers(client, &call, &recorded.stdout).unwrap();
            assert_eq!(told.len(), understood.len());
            for ((made, response), answer) in told.iter().zip(&understood) {
                assert_eq!(text_of(response), answer.text);
                assert_eq!(made.answer.id, answer.id);
                let output = if api == Api::OpenAi { "completion_tokens" } else { "output_tokens" };
                assert_eq!(response["data"]["usage"]["completion_tokens"], answer.usage[output]);
                let connection = &response["ext"]["oisp_sensor"]["connection"];
                assert_eq!(connection["remote"]["port"], provider.address().port(), "{connection}");
                assert!(["127.0.0.1", "::1"].map(Value::from).contains(&connection["remote"]["ip"]));
                assert_eq!(connection["local"]["ip"], connection["remote"]["ip"]);
            }
        }
    }
}

#[test]
fn calls_of_curl_are_told_as_provider_and_client_saw_them() {
    calls_are_told(Client::Curl);
}

#[test]
fn calls_of_cpython_urllib_are_told_as_provider_and_client_saw_them() {
    calls_are_told(Client::PythonUrllib);
}

#[test]
fn calls_of_the_openai_sdk_are_told_as_provider_and_client_saw_them() {
    calls_are_told(Client::PythonOpenAi);
}

#[test]
fn calls_of_the_anthropic_sdk_are_told_as_provider_and_client_saw_them() {
    calls_are_told(Client::PythonAnthropic);
}

#[test]
fn calls_of_node_fetch_are_told_as_provider_and_client_saw_them() {
    calls_are_told(Client::NodeFetch);
}

#[test]
fn calls_of_node_https_are_told_as_provider_and_client_saw_them() {
    calls_are_told(Client::NodeHttps);
}

#[test]
fn tool_calls_and_system_prompts_are_told_in_both_formats_plain_and_streamed() {
    if !can_record() {
        return;
    }
    let schema = json!({ "type": "object", "properties": {
        "place": { "type": "string" }, "days": { "type": "integer" }, "metric": { "type": "boolean" } } });
    for api in BOTH {
        for stream in [false, true] {
            let provider = Provider::start();
            let question = "Please use every tool for \"Lisbon\" 🚀";
            let mut body = api.simple_body("fake-chunks-7", question, stream);
            match api {
                Api::OpenAi => {
                    body["messages"] = json!([{ "role": "system", "content": "Be brief." },
                        { "role": "user", "content": question }]);
                    body["tools"] = json!(["weather", "map"].map(|name| json!({ "type": "function",
                        "function": { "name": name, "parameters": schema } })));
                }
                Api::Anthropic => {
                    body["system"] = json!("Be brief.");
                    body["tools"] =
                        json!(["weather", "map"].map(|name| json!({ "name": name, "input_schema": schema })));
                }
            }
            let recorded = Sensor::recording(&provider.curl(api, &body, &["--http1.1"])).run();
            recorded.assert_clean();
            let events = recorded.events();
            let told = assert_told(&events, &provider.log());
            let [(call, response)] = &told[..] else { panic!("{} calls", told.len()) };
            assert_eq!(call.answer.tool_calls.len(), 2);
            assert_eq!(call.messages()[0].0, "system");
            assert_eq!(response["data"]["tool_calls_count"], 2);
        }
    }
}

#[test]
fn refused_call_is_told_with_its_status_and_error() {
    if !can_record() {
        return;
    }
    for api in BOTH {
        let provider = Provider::start();
        let body = api.simple_body("error-429", "too much", false);
        let recorded = Sensor::recording(&provider.curl(api, &body, &[])).run();
        assert!(recorded.stderr.contains("1 answer (1 failed)"), "{}", recorded.stderr);
        let events = recorded.events();
        let [request] = events.requests()[..] else { panic!("one request") };
        let data = &events.response_to(request)["data"];
        assert_eq!((&data["status_code"], &data["success"]), (&json!(429), &json!(false)));
        let logged: serde_json::Value =
            serde_json::from_slice(&provider.log().exchanges().next().unwrap().response_body).unwrap();
        assert_eq!(data["error"]["message"], logged["error"]["message"]);
        assert_eq!(data["error"]["type"], logged["error"]["type"]);
    }
}
