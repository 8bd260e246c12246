//! The OISP event model: what the sensor writes, as types.
//!
//! Takes nothing but values; gives [`Event`] and its JSON, valid against the OISP specification v0.1.
//! Knows neither where events come from (capture, replay, generator) nor where they go (sinks), and
//! depends on no other crate of the project.
//!
//! Two rules hold for every type here:
//! - An unknown value is an absent key: never `null`, never 0.
//! - What the specification has no field for stands under `ext.oisp_sensor` ([`Extension`]).

mod agent;
mod ai;
mod context;
mod envelope;
mod host;
mod identifier;
mod process;
mod time;
#[cfg(feature = "spec-validation")]
pub mod validate;

pub use agent::{
    AgentInfo, AgentSession, AgentToolCall, AgentToolResult, SessionAction, SessionStats, Tool, ToolCategory,
    Trigger,
};
pub use ai::{
    AccountType, AiEmbedding, AiRequest, AiResponse, AiStreamingChunk, Auth, AuthType, Choice, Credential,
    Delta, ErrorInfo, FinishReason, Message, Model, Parameters, Provider, ProviderName, RequestType, Role,
    ToolCall, ToolDefinition, ToolType, Usage,
};
pub use context::{Actor, ParentProcess, Process};
pub use envelope::{
    CaptureMethod, Completeness, Confidence, ContentSource, DetectionMethod, Event, Extension, Level,
    OISP_VERSION, Payload, ProcessAttribution, RelatedEvent, Relationship, Source,
};
pub use host::{Cloud, CloudProvider, Container, ContainerRuntime, Host, Kubernetes};
pub use identifier::{EventId, EventIdGenerator};
pub use process::{ProcessExec, ProcessExit, TerminationType};
pub use time::Timestamp;

/// The project's own JSON Schema of [`Event`], generated from the types.
#[must_use]
pub fn json_schema() -> serde_json::Value {
    schemars::schema_for!(Event).to_value()
}
