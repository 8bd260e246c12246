//! The envelope around every event.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    Actor, AgentSession, AgentToolCall, AgentToolResult, AiEmbedding, AiRequest, AiResponse,
    AiStreamingChunk, EventId, Host, Process, ProcessExec, ProcessExit, Timestamp,
};

/// The version of the specification that events follow.
pub const OISP_VERSION: &str = "0.1";

/// One OISP event: the envelope and, by its type, the payload.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Event {
    /// Always [`OISP_VERSION`].
    pub oisp_version: String,
    /// A ULID made from `ts`.
    pub event_id: EventId,
    /// When it happened: wall-clock time derived from the kernel's monotonic timestamp.
    pub ts: Timestamp,
    /// The kernel's `CLOCK_MONOTONIC` in nanoseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ts_mono: Option<u64>,
    /// `event_type` and `data`.
    #[serde(flatten)]
    pub payload: Payload,
    /// The machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<std::sync::Arc<Host>>,
    /// The user the process runs as.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actor: Option<Actor>,
    /// The process that did it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process: Option<Process>,
    /// How it was captured.
    pub source: Source,
    /// How sure and how complete.
    pub confidence: Confidence,
    /// What the specification has no field for.
    #[serde(default, skip_serializing_if = "Extension::is_empty")]
    pub ext: Extension,
    /// Events that belong to this one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub related_events: Vec<RelatedEvent>,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "event_type", content = "data")]
pub enum Payload {
    /// A call to a model left the process, complete.
    #[serde(rename = "ai.request")]
    AiRequest(Box<AiRequest>),
    /// The answer arrived, complete, or ended.
    #[serde(rename = "ai.response")]
    AiResponse(Box<AiResponse>),
    /// Part of a streamed answer arrived.
    #[serde(rename = "ai.streaming_chunk")]
    AiStreamingChunk(Box<AiStreamingChunk>),
    /// Texts were turned into vectors.
    #[serde(rename = "ai.embedding")]
    AiEmbedding(Box<AiEmbedding>),
    /// A tool is to be used.
    #[serde(rename = "agent.tool_call")]
    AgentToolCall(Box<AgentToolCall>),
    /// What a tool gave.
    #[serde(rename = "agent.tool_result")]
    AgentToolResult(Box<AgentToolResult>),
    /// An agent began or ended to use an MCP server.
    #[serde(rename = "agent.session")]
    AgentSession(Box<AgentSession>),
    /// A program was started.
    #[serde(rename = "process.exec")]
    ProcessExec(ProcessExec),
    /// A process ended.
    #[serde(rename = "process.exit")]
    ProcessExit(ProcessExit),
}

impl Payload {
    /// The specification's name of the event's type.
    #[must_use]
    pub fn event_type(&self) -> &'static str {
        match self {
            Self::AiRequest(_) => "ai.request",
            Self::AiResponse(_) => "ai.response",
            Self::AiStreamingChunk(_) => "ai.streaming_chunk",
            Self::AiEmbedding(_) => "ai.embedding",
            Self::AgentToolCall(_) => "agent.tool_call",
            Self::AgentToolResult(_) => "agent.tool_result",
            Self::AgentSession(_) => "agent.session",
            Self::ProcessExec(_) => "process.exec",
            Self::ProcessExit(_) => "process.exit",
        }
    }
}

/// How an event was captured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Source {
    /// `oisp-sensor`.
    pub collector: String,
    /// The sensor's version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub collector_version: Option<String>,
    /// The technique.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capture_method: Option<CaptureMethod>,
    /// The function or tracepoint, for example `SSL_write` or `sched_process_exec`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capture_point: Option<String>,
}

/// The technique that captured an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CaptureMethod {
    /// A probe on a function of a TLS library.
    EbpfUprobe,
    /// A kernel tracepoint.
    EbpfTracepoint,
    /// Anything else: synthetic and replayed events say what under `ext`.
    Other,
}

/// How sure the sensor is of an event, and how complete it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Confidence {
    /// How sure.
    pub level: Level,
    /// How complete.
    pub completeness: Completeness,
    /// Why, as short identifiers (`tls_boundary_capture`, `bytes_lost`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<String>,
    /// What is known to be missing (`response_body`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
    /// What limits the event (`message_cut_at_16777216_bytes`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub limitations: Vec<String>,
    /// How the process was found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process_attribution: Option<ProcessAttribution>,
    /// Where the content came from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_source: Option<ContentSource>,
    /// How it was recognised as an AI call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ai_detection_method: Option<DetectionMethod>,
    /// Whether redaction replaced or removed anything; set by the redaction stage.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redaction_applied: Option<bool>,
    /// The redaction mode; set by the redaction stage.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redaction_profile: Option<String>,
}

impl Confidence {
    /// Confidence in something seen directly and whole.
    #[must_use]
    pub fn high() -> Self {
        Self {
            level: Level::High,
            completeness: Completeness::Full,
            reasons: Vec::new(),
            missing: Vec::new(),
            limitations: Vec::new(),
            process_attribution: None,
            content_source: None,
            ai_detection_method: None,
            redaction_applied: None,
            redaction_profile: None,
        }
    }

    /// Lowers the level to `level` where it is higher; never raises it.
    pub fn lower_to(&mut self, level: Level) {
        self.level = self.level.max(level);
    }
}

/// Confidence levels, highest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Seen directly.
    High,
    /// Seen, with something missing or guessed.
    Medium,
    /// Mostly guessed or with much missing.
    Low,
    /// Not seen: concluded from something else.
    Inferred,
}

/// How much of what happened the event holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Completeness {
    /// All of it.
    Full,
    /// Some content is missing: lost, cut, or not understood.
    Partial,
    /// No content.
    MetadataOnly,
    /// Complete before redaction.
    Redacted,
}

/// How an event found its process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProcessAttribution {
    /// The probe fired in the process.
    Direct,
    /// Not known.
    Unknown,
}

/// Where content came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ContentSource {
    /// Read at the TLS library's functions.
    TlsBoundary,
    /// Read from an unencrypted connection.
    PlaintextCapture,
    /// There is none.
    None,
}

/// How a call was recognised as an AI call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DetectionMethod {
    /// Host and path of a known service.
    KnownEndpoint,
    /// The body has a known format, the host is not known.
    PayloadInspection,
    /// Headers only.
    HeaderFingerprint,
    /// Anything weaker.
    Heuristic,
}

/// `ext`: namespaced extensions. The sensor writes only its own namespace, `oisp_sensor`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Extension {
    /// The sensor's own keys.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub oisp_sensor: Map<String, Value>,
}

impl Extension {
    /// Whether there is nothing to write.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.oisp_sensor.is_empty()
    }

    /// Sets a key of the sensor's namespace.
    pub fn set(&mut self, key: &str, value: impl Into<Value>) {
        self.oisp_sensor.insert(key.to_owned(), value.into());
    }
}

/// A link to another event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RelatedEvent {
    /// The other event.
    pub event_id: EventId,
    /// What the other event is to this one.
    pub relationship: Relationship,
}

/// What another event is to this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Relationship {
    /// It contains this one.
    Parent,
    /// It is contained in this one.
    Child,
    /// It caused this one.
    CausedBy,
    /// This one caused it.
    Causes,
    /// It belongs with this one.
    Related,
}
