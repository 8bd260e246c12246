//! One of each type of event, no field left empty.

use std::sync::Arc;

use oisp_event::{
    AccountType, Actor, AgentInfo, AgentSession, AgentToolCall, AgentToolResult, AiEmbedding, AiRequest,
    AiResponse, AiStreamingChunk, Auth, AuthType, CaptureMethod, Choice, Cloud, CloudProvider, Completeness,
    Confidence, Container, ContainerRuntime, ContentSource, Delta, DetectionMethod, ErrorInfo, Event,
    EventIdGenerator, Extension, FinishReason, Host, Kubernetes, Level, Message, Model, OISP_VERSION,
    Parameters, ParentProcess, Payload, Process, ProcessAttribution, ProcessExec, ProcessExit, Provider,
    ProviderName, RelatedEvent, Relationship, RequestType, Role, SessionAction, SessionStats, Source,
    TerminationType, Timestamp, Tool, ToolCall, ToolCategory, ToolDefinition, ToolType, Trigger, Usage,
};
use serde_json::{Value, json};

pub(super) fn text(value: &str) -> Option<String> {
    Some(value.to_owned())
}

fn message(role: Role) -> Message {
    Message {
        role,
        content: Some(Value::String("content".into())),
        content_hash: text("hash"),
        content_length: Some(7),
        has_images: Some(false),
        image_count: Some(0),
        tool_call_id: text("call_1"),
        name: text("speaker"),
    }
}

fn provider() -> Provider {
    Provider {
        name: ProviderName::OpenAi,
        endpoint: text("https://api.openai.com/v1/chat/completions"),
        region: text("eu-west-1"),
        organization_id: text("org-1"),
        project_id: text("proj-1"),
    }
}

fn tool_call() -> ToolCall {
    ToolCall {
        id: text("call_1"),
        name: text("read_file"),
        call_type: text("function"),
        arguments: text("{}"),
        arguments_hash: text("hash"),
    }
}

fn tool() -> Tool {
    Tool {
        name: text("mcp__files__read_file"),
        category: Some(ToolCategory::FileRead),
        provider: text("mcp"),
        server: text("files"),
        description: text("reads a file"),
    }
}

/// One of each type of event, no field left empty. The structures are written out without `..Default`, so
/// that a new field must be filled here.
pub(super) fn full_events() -> Vec<Event> {
    let parent = ParentProcess { pid: 1, exe: text("/usr/bin/sh"), name: text("sh") };
    let payloads = vec![
        Payload::AiRequest(Box::new(AiRequest {
            request_id: "req_1".into(),
            conversation_id: text("conv_1"),
            provider: provider(),
            model: Some(Model { id: "gpt-4o".into() }),
            auth: Some(Auth {
                auth_type: AuthType::ApiKey,
                account_type: Some(AccountType::Corporate),
                key_prefix: text("sk-proj-"),
                key_hash: text("hash"),
                credential: None,
            }),
            request_type: RequestType::Chat,
            streaming: Some(true),
            messages: vec![message(Role::System), message(Role::User)],
            messages_count: Some(2),
            has_system_prompt: Some(true),
            system_prompt_hash: text("hash"),
            tools: vec![ToolDefinition {
                name: text("read_file"),
                tool_type: Some(ToolType::Function),
                description: text("reads"),
            }],
            tools_count: Some(1),
            tool_choice: text("read_file"),
            parameters: Some(Parameters {
                temperature: Some(1.0),
                top_p: Some(1.0),
                max_tokens: Some(1),
                frequency_penalty: Some(0.0),
                presence_penalty: Some(0.0),
                stop: vec!["END".into()],
            }),
            has_images: Some(false),
            image_count: Some(0),
        })),
        Payload::AiResponse(Box::new(AiResponse {
            request_id: "req_1".into(),
            conversation_id: text("conv_1"),
            provider_request_id: text("chatcmpl-1"),
            provider: provider(),
            model: Some(Model { id: "gpt-4o".into() }),
            status_code: Some(400),
            success: Some(false),
            error: Some(ErrorInfo { error_type: text("bad"), message: text("bad"), code: text("400") }),
            choices: vec![Choice {
                index: 0,
                message: Some(message(Role::Assistant)),
                finish_reason: Some(FinishReason::Stop),
            }],
            tool_calls: vec![tool_call()],
            tool_calls_count: Some(1),
            usage: Some(Usage::default()),
            latency_ms: Some(1),
            time_to_first_token_ms: Some(1),
            finish_reason: Some(FinishReason::Stop),
        })),
        Payload::AiStreamingChunk(Box::new(AiStreamingChunk {
            request_id: "req_1".into(),
            chunk_index: Some(0),
            delta: Delta { content: text("hi"), role: Some(Role::Assistant), tool_calls: vec![tool_call()] },
            finish_reason: Some(FinishReason::Stop),
        })),
        Payload::AiEmbedding(Box::new(AiEmbedding {
            provider: provider(),
            model: Some(Model { id: "text-embedding-3-small".into() }),
            input_count: Some(2),
            total_tokens: Some(9),
            dimensions: Some(1536),
            latency_ms: Some(1),
        })),
        Payload::AgentToolCall(Box::new(AgentToolCall {
            tool: tool(),
            call_id: text("call_1"),
            triggered_by: Some(Trigger::LlmDecision),
            arguments: json!({ "path": "/home/alice/notes", "lines": [1, 2] }).as_object().cloned(),
            arguments_hash: text("hash"),
        })),
        Payload::AgentToolResult(Box::new(AgentToolResult {
            tool: Some(tool()),
            call_id: "call_1".into(),
            success: Some(false),
            error: Some(ErrorInfo { error_type: text("bad"), message: text("bad"), code: text("400") }),
            result: Some(Value::String("content".into())),
            result_hash: text("hash"),
            result_size_bytes: Some(7),
            duration_ms: Some(1),
        })),
        Payload::AgentSession(Box::new(AgentSession {
            agent: Some(AgentInfo { name: text("agent"), version: text("1.0") }),
            action: SessionAction::End,
            session_id: text("mcp_01JFWK8X6B7C8D9E0F1G2H3I4J"),
            duration_ms: Some(1),
            stats: Some(SessionStats { tool_calls: Some(1) }),
        })),
        Payload::ProcessExec(ProcessExec {
            exe: "/usr/bin/python3".into(),
            args: vec!["python3".into(), "main.py".into()],
            cwd: text("/home/alice"),
        }),
        Payload::ProcessExit(ProcessExit {
            exit_code: 137,
            signal: Some(9),
            signal_name: text("SIGKILL"),
            runtime_ms: Some(1),
            termination_type: Some(TerminationType::Signaled),
        }),
    ];
    let ts = Timestamp::from_unix_nanoseconds(1_769_860_800_123_456_789);
    let mut ids = EventIdGenerator::with_seed(1);
    let mut ext = Extension::default();
    ext.set("provider_id", "openai");
    ext.set("notes", json!({"deep": [{"text": "free", "list": ["a", "b"]}], "reason": "timeout"}));
    payloads
        .into_iter()
        .map(|payload| Event {
            oisp_version: OISP_VERSION.into(),
            event_id: ids.next(ts),
            ts,
            ts_mono: Some(1),
            payload,
            host: Some(Arc::new(Host {
                hostname: text("host"),
                device_id: text("550e8400-e29b-41d4-a716-446655440000"),
                os: text("linux"),
                os_version: text("Debian"),
                arch: text("x86_64"),
                kernel_version: text("6.12"),
                cloud: Some(Cloud {
                    provider: CloudProvider::Aws,
                    region: text("eu-central-1"),
                    instance_id: text("i-0abcdef0123456789"),
                    instance_type: text("m5.large"),
                }),
                container: Some(Container {
                    id: text("4c01db0b339c7b3d5f0a7e1e6d3a9b8c7f6e5d4c3b2a19080706050403020100"),
                    name: text("web"),
                    image: text("docker.io/library/python:3.11"),
                    runtime: Some(ContainerRuntime::Docker),
                }),
                k8s: Some(Kubernetes {
                    namespace: text("prod"),
                    pod_uid: text("550e8400-e29b-41d4-a716-446655440001"),
                }),
                tags: vec!["production".to_owned()],
            })),
            actor: Some(Actor { uid: Some(0), gid: Some(0), user: text("alice") }),
            process: Some(Process {
                pid: 1,
                ppid: Some(1),
                exe: text("/usr/bin/python3"),
                name: text("python3"),
                cmdline: text("python3 main.py"),
                cwd: text("/home/alice"),
                start_time: Some(ts),
                parent: Some(parent.clone()),
                ancestors: vec![parent.clone()],
                thread_id: Some(1),
            }),
            source: Source {
                collector: "oisp-sensor".into(),
                collector_version: text("0.1.0"),
                capture_method: Some(CaptureMethod::EbpfUprobe),
                capture_point: text("SSL_write"),
            },
            confidence: Confidence {
                level: Level::High,
                completeness: Completeness::Full,
                reasons: vec!["reason".into()],
                missing: vec!["missing".into()],
                limitations: vec!["limitation".into()],
                process_attribution: Some(ProcessAttribution::Direct),
                content_source: Some(ContentSource::TlsBoundary),
                ai_detection_method: Some(DetectionMethod::KnownEndpoint),
                redaction_applied: Some(true),
                redaction_profile: text("safe"),
            },
            ext: ext.clone(),
            related_events: vec![RelatedEvent {
                event_id: ids.next(ts),
                relationship: Relationship::Related,
            }],
        })
        .collect()
}
