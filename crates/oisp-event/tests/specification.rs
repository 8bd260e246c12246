//! The specification's validator accepts the specification's own examples and this crate's events, and
//! refuses what breaks it.

#![expect(clippy::unwrap_used, reason = "a failing helper fails its test")]

use oisp_event::validate::SpecValidator;
use oisp_event::{
    AccountType, AgentInfo, AgentSession, AgentToolCall, AgentToolResult, AiEmbedding, AiRequest, AiResponse,
    AiStreamingChunk, Auth, AuthType, CaptureMethod, Choice, Cloud, CloudProvider, Confidence, Container,
    ContainerRuntime, Delta, Event, EventIdGenerator, Extension, FinishReason, Host, Kubernetes, Message,
    Model, OISP_VERSION, Payload, Provider, ProviderName, RequestType, Role, SessionAction, SessionStats,
    Source, Timestamp, Tool, ToolCall, ToolCategory, ToolDefinition, ToolType, Trigger, Usage,
};
use serde_json::Value;

/// The validator, or `None` after saying why the test is skipped.
fn specification() -> Option<(SpecValidator, std::path::PathBuf)> {
    let Some(folder) = std::env::var_os("OISP_SPEC") else {
        assert!(std::env::var_os("OISP_REQUIRE_ALL").is_none(), "OISP_SPEC is not set");
        eprintln!("skipped: OISP_SPEC is not set");
        return None;
    };
    Some((SpecValidator::from_dir(&folder).unwrap(), folder.into()))
}

fn event(payload: Payload) -> Value {
    let ts = Timestamp::from_unix_nanoseconds(1_790_000_000_123_456_789);
    serde_json::to_value(Event {
        oisp_version: OISP_VERSION.to_owned(),
        event_id: EventIdGenerator::with_seed(1).next(ts),
        ts,
        ts_mono: Some(5),
        payload,
        host: None,
        actor: None,
        process: None,
        source: Source {
            collector: "oisp-sensor".to_owned(),
            collector_version: None,
            capture_method: Some(CaptureMethod::EbpfUprobe),
            capture_point: None,
        },
        confidence: Confidence::high(),
        ext: Extension::default(),
        related_events: Vec::new(),
    })
    .unwrap()
}

fn request() -> AiRequest {
    AiRequest {
        request_id: "r".to_owned(),
        provider: Provider { name: ProviderName::AwsBedrock, ..Provider::default() },
        model: Some(Model { id: "m".to_owned() }),
        auth: Some(Auth {
            auth_type: AuthType::OAuth,
            account_type: Some(AccountType::Corporate),
            key_prefix: Some("sk-proj-".to_owned()),
            ..Auth::default()
        }),
        request_type: RequestType::Chat,
        messages: vec![Message::text(Role::System, "be kind"), Message::default()],
        tools: vec![ToolDefinition { tool_type: Some(ToolType::CodeInterpreter), ..Default::default() }],
        ..AiRequest::default()
    }
}

fn response() -> AiResponse {
    AiResponse {
        request_id: "r".to_owned(),
        choices: vec![Choice {
            index: 0,
            message: Some(Message::text(Role::Assistant, "hello")),
            finish_reason: Some(FinishReason::ToolCalls),
        }],
        tool_calls: vec![ToolCall { arguments: Some("{}".to_owned()), ..ToolCall::default() }],
        usage: Some(Usage { prompt_tokens: Some(1), total_cost_usd: Some(0.5), ..Usage::default() }),
        ..AiResponse::default()
    }
}

#[test]
fn the_specifications_own_examples_are_valid() {
    let Some((validator, folder)) = specification() else { return };
    let mut seen = 0;
    for entry in std::fs::read_dir(folder.join("examples")).unwrap() {
        let path = entry.unwrap().path();
        let example: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        // `redacted` objects of two examples match both branches of a `oneOf`: a known fault of v0.1.
        let errors = validator.errors(&example);
        assert!(errors.iter().all(|error| error.contains("oneOf")), "{}: {errors:?}", path.display());
        seen += 1;
    }
    assert!(seen > 0);
}

#[test]
fn events_made_of_the_types_are_valid() {
    let Some((validator, _)) = specification() else { return };
    assert_eq!(validator.errors(&event(Payload::AiRequest(Box::new(request())))), [""; 0]);
    assert_eq!(validator.errors(&event(Payload::AiResponse(Box::new(response())))), [""; 0]);
    let tool = Tool {
        name: Some("mcp__files__read".to_owned()),
        category: Some(ToolCategory::FileRead),
        provider: Some("mcp".to_owned()),
        server: Some("files".to_owned()),
        description: Some("Reads a file.".to_owned()),
    };
    for payload in [
        Payload::AiStreamingChunk(Box::new(AiStreamingChunk {
            request_id: "r".to_owned(),
            chunk_index: Some(0),
            delta: Delta {
                content: Some("hel".to_owned()),
                role: Some(Role::Assistant),
                tool_calls: vec![ToolCall { arguments: Some("{\"pa".to_owned()), ..ToolCall::default() }],
            },
            finish_reason: Some(FinishReason::Stop),
        })),
        Payload::AiEmbedding(Box::new(AiEmbedding {
            provider: Provider::default(),
            model: Some(Model { id: "m".to_owned() }),
            input_count: Some(2),
            total_tokens: Some(9),
            dimensions: Some(1536),
            latency_ms: Some(3),
        })),
        Payload::AgentToolCall(Box::new(AgentToolCall {
            tool: tool.clone(),
            call_id: Some("call_1".to_owned()),
            triggered_by: Some(Trigger::LlmDecision),
            arguments: serde_json::json!({ "path": "/x" }).as_object().cloned(),
            arguments_hash: Some("h".to_owned()),
        })),
        Payload::AgentToolResult(Box::new(AgentToolResult {
            tool: Some(tool),
            call_id: "call_1".to_owned(),
            success: Some(true),
            result: Some(Value::String("what it gave".to_owned())),
            result_size_bytes: Some(12),
            duration_ms: Some(3),
            ..AgentToolResult::default()
        })),
        Payload::AgentSession(Box::new(AgentSession {
            agent: Some(AgentInfo { name: Some("agent".to_owned()), version: Some("1.0".to_owned()) }),
            action: SessionAction::End,
            session_id: Some("mcp_1".to_owned()),
            duration_ms: Some(3),
            stats: Some(SessionStats { tool_calls: Some(1) }),
        })),
    ] {
        assert_eq!(validator.errors(&event(payload)), [""; 0]);
    }
}

#[test]
fn every_cloud_and_container_of_a_host_is_valid() {
    let Some((validator, _)) = specification() else { return };
    use CloudProvider::{Aws, Azure, DigitalOcean, Gcp};
    use ContainerRuntime::{Containerd, Crio, Docker, Podman};
    let some = || Some("x".to_owned());
    for (provider, runtime) in [
        (Aws, Docker),
        (Gcp, Containerd),
        (Azure, Crio),
        (DigitalOcean, Podman),
        (CloudProvider::Other, ContainerRuntime::Other),
    ] {
        let host = Host {
            hostname: some(),
            device_id: some(),
            os: Some("linux".to_owned()),
            os_version: some(),
            arch: Some("i686".to_owned()),
            kernel_version: some(),
            cloud: Some(Cloud { provider, region: some(), instance_id: some(), instance_type: some() }),
            container: Some(Container { id: some(), name: some(), image: some(), runtime: Some(runtime) }),
            k8s: Some(Kubernetes { namespace: some(), pod_uid: some() }),
            tags: vec!["production".to_owned()],
        };
        let mut event = event(Payload::AiRequest(Box::new(request())));
        event["host"] = serde_json::to_value(&host).unwrap();
        assert_eq!(validator.errors(&event), [""; 0]);
        // All that is written is what the specification has a name for.
        let names = keys_of_a_host();
        for key in event["host"].as_object().unwrap().keys() {
            assert!(names.contains(key), "{key}");
        }
    }
    let mut bad = event(Payload::AiRequest(Box::new(request())));
    bad["host"] = serde_json::json!({"cloud": {"provider": "hetzner"}});
    assert!(!validator.errors(&bad).is_empty());
}

/// The keys that the specification's schema of a host has.
fn keys_of_a_host() -> Vec<String> {
    let folder = std::path::PathBuf::from(std::env::var_os("OISP_SPEC").unwrap());
    let schema = std::fs::read(folder.join("schema/v0.1/common/host.schema.json")).unwrap();
    let schema: Value = serde_json::from_slice(&schema).unwrap();
    schema["properties"].as_object().unwrap().keys().cloned().collect()
}

#[test]
fn what_breaks_the_specification_is_refused() {
    let Some((validator, _)) = specification() else { return };
    let good = event(Payload::AiRequest(Box::new(request())));
    for (pointer, bad) in [
        ("/data/messages/0/content", Value::Null),
        ("/data/messages/0/role", "developer".into()),
        ("/data/provider/name", "openrouter".into()),
        ("/data/auth/key_prefix", "sk-proj-a".into()),
        ("/oisp_version", Value::Null),
        ("/event_type", "ai.nonsense".into()),
    ] {
        let mut event = good.clone();
        *event.pointer_mut(pointer).unwrap() = bad;
        assert!(!validator.errors(&event).is_empty(), "{pointer}");
    }
    let mut unknown_key = good;
    unknown_key["surprise"] = 1.into();
    assert!(!validator.errors(&unknown_key).is_empty());
}

#[test]
fn a_folder_without_the_specification_is_an_error_that_names_it() {
    let error = SpecValidator::from_dir("/nonexistent").err().unwrap();
    assert!(error.to_string().contains("/nonexistent/schema/v0.1"));
}
