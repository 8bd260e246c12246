//! `agent.tool_call`, `agent.tool_result` and `agent.session`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::ErrorInfo;

/// `agent.tool_call`: a tool is to be used.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AgentToolCall {
    /// The tool.
    pub tool: Tool,
    /// The id that model or agent gave the call; its result has the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call_id: Option<String>,
    /// Who wanted it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub triggered_by: Option<Trigger>,
    /// The arguments by name. Arguments that are one text and no object stand under `input`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arguments: Option<Map<String, Value>>,
    /// Keyed hash of the arguments' JSON; set by the redaction stage.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arguments_hash: Option<String>,
}

/// `agent.tool_result`: what a tool gave.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AgentToolResult {
    /// The tool, where its call was seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool: Option<Tool>,
    /// The call's id.
    pub call_id: String,
    /// Whether it succeeded, where that is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub success: Option<bool>,
    /// What went wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorInfo>,
    /// What it gave: its text as the model was told. A redaction mode that keeps no content replaces it by a `$redacted`
    /// object.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<Value>,
    /// Keyed hash of the result; set by the redaction stage.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result_hash: Option<String>,
    /// Bytes of the result's text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result_size_bytes: Option<u64>,
    /// From the answer that asked for the call to the request that brought its result; of one that an MCP server carried
    /// out, from the call to the server to its answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
}

/// A tool as its use tells of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Tool {
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What it does, as far as its name tells.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub category: Option<ToolCategory>,
    /// What it belongs to: `mcp`; `server` where the AI service runs it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// The MCP server's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// What it does, as its MCP server describes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

/// `agent.session`: an agent began or ended to use an MCP server.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AgentSession {
    /// Who uses it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<AgentInfo>,
    /// What happened to it.
    pub action: SessionAction,
    /// The sensor's own id of the session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
    /// From its beginning to its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
    /// What happened in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stats: Option<SessionStats>,
}

/// An agent as it names itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AgentInfo {
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// What happened to a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the specification's own names")]
pub enum SessionAction {
    #[default]
    Start,
    End,
}

/// What happened in a session.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SessionStats {
    /// Tools called.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool_calls: Option<u64>,
}

/// What a tool does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the specification's own names")]
pub enum ToolCategory {
    FileRead,
    FileWrite,
    FileEdit,
    Terminal,
    Shell,
    Browser,
    Http,
    Database,
    CodeExecution,
    Search,
    Retrieval,
    ApiCall,
    ComputerUse,
    Other,
}

/// Who wanted a tool to be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the specification's own names")]
pub enum Trigger {
    LlmDecision,
    UserApproval,
    Automatic,
    Workflow,
    Retry,
}
