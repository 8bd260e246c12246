//! What the messages of one session mean, whatever carried them.
//!
//! Both sides ask. An answer has the id of its request, ids count by who asked. In the era of sessions a conversation begins
//! with `initialize`; since 2026-07-28 every request says by itself who asks and in which version, and a server that needs
//! something first answers `input_required`: the client asks again then, which is the same call.

use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash as _, Hasher as _};

use oisp_decode::{ExchangeId, Nanos};
use oisp_event::ErrorInfo;
use serde_json::{Map, Value};

use super::content::{Content, McpContentPart};
use super::facts::{McpFacts, cut};
use super::lines::key;
use super::{McpBody, McpMessage, McpSide};
use crate::Findings;
use crate::json::{self, text};

/// Requests without an answer that are remembered, by both sides together.
const MOST_PENDING: usize = 1024;
/// Calls without a result that are remembered.
const MOST_CALLS: usize = 1024;
const LONGEST_NAME: usize = 256;
const LONGEST_ERROR: usize = 8192;

const VERSION: &str = "io.modelcontextprotocol/protocolVersion";
const CLIENT: &str = "io.modelcontextprotocol/clientInfo";
const CLIENT_CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
const SERVER: &str = "io.modelcontextprotocol/serverInfo";

/// A conversation between one client and one server.
#[derive(Debug, Default)]
pub struct McpConversation {
    facts: McpFacts,
    has_begun: bool,
    pending: BTreeMap<(McpSide, String), Vec<Pending>>,
    pending_count: usize,
    calls: BTreeMap<u64, OpenCall>,
    last_call: u64,
}

/// A request without an answer.
#[derive(Debug)]
struct Pending {
    connection: u64,
    exchange: ExchangeId,
    method: String,
    /// The tool call that it is.
    call: Option<u64>,
    /// It asks for the first page of a list.
    is_first_page: bool,
    /// The task whose result it asks for.
    task: Option<String>,
}

#[derive(Debug)]
struct OpenCall {
    name: String,
    /// Digest of its arguments: by them it is known again.
    arguments: u64,
    started: Nanos,
    /// The server needs something first: the client will ask again.
    awaits_input: bool,
    /// The server goes on by itself; the client will ask for the result of the task.
    task: Option<String>,
}

/// What a message gave.
#[derive(Clone, Debug, PartialEq)]
pub enum McpEvent {
    /// It is known who speaks ([`McpConversation::facts`]).
    Begun,
    /// A tool is called.
    Call(Box<McpCall>),
    /// A called tool gave something, or will not.
    Outcome(Box<McpOutcome>),
    /// The session is over.
    Ended,
}

/// A tool is called.
#[derive(Clone, PartialEq)]
pub struct McpCall {
    /// Counts the calls of the conversation.
    pub number: u64,
    /// The tool.
    pub name: String,
    /// Its arguments.
    pub arguments: Option<Map<String, Value>>,
    /// When it was called.
    pub time: Nanos,
}

/// What a called tool gave.
#[derive(Clone, PartialEq)]
pub struct McpOutcome {
    /// The number of its call.
    pub number: u64,
    /// The tool.
    pub name: String,
    /// When it was called.
    pub started: Nanos,
    /// When it answered.
    pub completed: Nanos,
    /// Whether it succeeded, where that is known.
    pub success: Option<bool>,
    /// What went wrong.
    pub error: Option<ErrorInfo>,
    /// Its texts; of structured content alone, that as JSON.
    pub text: Option<String>,
    /// What else it gave.
    pub parts: Vec<McpContentPart>,
    /// Structured content that the text does not say as well.
    pub structured: Option<Value>,
    /// What is missing.
    pub findings: Findings,
}

impl McpConversation {
    /// What is known so far.
    #[must_use]
    pub fn facts(&self) -> &McpFacts {
        &self.facts
    }

    /// Whether [`McpEvent::Begun`] was given.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.has_begun
    }

    /// Calls that have no result.
    #[must_use]
    pub fn open_calls(&self) -> u64 {
        self.calls.len() as u64
    }

    /// Takes a message. `connection` tells the connections of the conversation apart.
    pub fn take(&mut self, connection: u64, message: McpMessage) -> Vec<McpEvent> {
        let McpMessage { exchange, from, time, place, body, findings, .. } = message;
        if self.facts.protocol_version.is_none() || self.facts.joined_late {
            self.facts.version(place.protocol_version.as_deref());
        }
        let mut out = Vec::new();
        match body {
            McpBody::Request { id, method, params } => {
                self.facts.method(&method);
                let place = (connection, exchange);
                self.request(place, from, key(&id), method, params, time, &mut out);
            }
            McpBody::Notification { method, params } => {
                self.facts.method(&method);
                if from == McpSide::Client && method != "notifications/cancelled" {
                    self.join(&mut out);
                }
                if method == "notifications/cancelled" {
                    self.cancelled(from, &params, time, &mut out);
                }
            }
            McpBody::Response { id: Some(id), outcome } => {
                let pending = self.answered(connection, exchange, from.opposite(), &key(&id));
                match pending {
                    Some(pending) => self.response(pending, outcome, time, findings, &mut out),
                    None => self.not_understood("answer_without_request"),
                }
            }
            McpBody::Response { id: None, outcome } => {
                if let Err(error) = &outcome {
                    self.facts.error("", error);
                }
                self.not_understood("answer_without_id");
            }
            McpBody::Unanswered { id, status } => {
                if let Some(pending) = self.answered(connection, exchange, from.opposite(), &key(&id)) {
                    self.unanswered(&pending, status, time, findings, &mut out);
                }
            }
            McpBody::End => out.push(McpEvent::Ended),
        }
        out
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of a message")]
    fn request(
        &mut self,
        (connection, exchange): (u64, ExchangeId),
        from: McpSide,
        id: String,
        method: String,
        mut params: Value,
        time: Nanos,
        out: &mut Vec<McpEvent>,
    ) {
        let mut call = None;
        if from == McpSide::Client {
            match method.as_str() {
                "initialize" => {
                    self.facts.client(&params["clientInfo"], &params["capabilities"]);
                    self.facts.version(text(&params, "protocolVersion"));
                }
                _ => self.introduced(&method, &params, out),
            }
            match method.as_str() {
                "tools/call" => call = self.called(&mut params, time, out),
                "resources/read" => {
                    if let Some(uri) = text(&params, "uri") {
                        self.facts.read_resource(uri);
                    }
                }
                "prompts/get" => {
                    if let Some(name) = text(&params, "name") {
                        self.facts.used_prompt(name);
                    }
                }
                _ => {}
            }
        }
        let pending = Pending {
            connection,
            exchange,
            call,
            is_first_page: params.get("cursor").is_none_or(Value::is_null),
            task: text(&params, "taskId").map(|task| cut(task, LONGEST_NAME)),
            method: cut(&method, LONGEST_NAME),
        };
        if self.pending_count >= MOST_PENDING
            && let Some((_, forgotten)) = self.pending.pop_first()
        {
            self.pending_count -= forgotten.len();
            self.not_understood("requests_forgotten");
        }
        self.pending.entry((from, id)).or_default().push(pending);
        self.pending_count += 1;
    }

    /// A request of the stateless era says who asks; any other on a conversation that has not begun was joined late.
    fn introduced(&mut self, method: &str, params: &Value, out: &mut Vec<McpEvent>) {
        let meta = &params["_meta"];
        if let Some(version) = text(meta, VERSION) {
            self.facts.version(Some(version));
            self.facts.client(&meta[CLIENT], &meta[CLIENT_CAPABILITIES]);
            if method != "server/discover" {
                self.begin(out);
            }
        } else if !matches!(method, "ping" | "server/discover") {
            self.join(out);
        }
    }

    fn begin(&mut self, out: &mut Vec<McpEvent>) {
        if !std::mem::replace(&mut self.has_begun, true) {
            out.push(McpEvent::Begun);
        }
    }

    fn join(&mut self, out: &mut Vec<McpEvent>) {
        if !self.has_begun && !self.is_pending("initialize") {
            self.facts.joined_late = true;
            self.begin(out);
        }
    }

    fn is_pending(&self, method: &str) -> bool {
        self.pending.values().flatten().any(|pending| pending.method == method)
    }

    fn called(&mut self, params: &mut Value, time: Nanos, out: &mut Vec<McpEvent>) -> Option<u64> {
        let name = text(params, "name").filter(|name| name.len() <= LONGEST_NAME).map(str::to_owned);
        let Some(name) = name else {
            self.not_understood("call_without_name");
            return None;
        };
        let is_again = params.get("inputResponses").is_some() || params.get("requestState").is_some();
        let arguments = match params.get_mut("arguments").map(Value::take) {
            Some(Value::Object(map)) => Some(map),
            None | Some(Value::Null) => None,
            Some(_) => {
                self.not_understood("arguments_no_object");
                None
            }
        };
        let digest = digest(arguments.as_ref());
        let awaits =
            |call: &&mut OpenCall| call.awaits_input && call.name == name && call.arguments == digest;
        if is_again
            && let Some((number, call)) =
                self.calls.iter_mut().map(|(number, call)| (*number, call)).find(|(_, call)| awaits(call))
        {
            call.awaits_input = false;
            return Some(number);
        }
        self.facts.tool_calls += 1;
        self.last_call += 1;
        let number = self.last_call;
        if self.calls.len() >= MOST_CALLS {
            self.calls.pop_first();
            self.not_understood("calls_forgotten");
        }
        let call = OpenCall {
            name: name.clone(),
            arguments: digest,
            started: time,
            awaits_input: false,
            task: None,
        };
        self.calls.insert(number, call);
        out.push(McpEvent::Call(Box::new(McpCall { number, name, arguments, time })));
        Some(number)
    }

    /// The request that an answer is to: the one on the same exchange, else the oldest of that id.
    fn answered(
        &mut self,
        connection: u64,
        exchange: ExchangeId,
        asked_by: McpSide,
        id: &str,
    ) -> Option<Pending> {
        let key = (asked_by, id.to_owned());
        let waiting = self.pending.get_mut(&key)?;
        let is_same = |pending: &Pending| (pending.connection, pending.exchange) == (connection, exchange);
        let pending = waiting.remove(waiting.iter().position(is_same).unwrap_or(0));
        self.pending_count -= 1;
        if waiting.is_empty() {
            self.pending.remove(&key);
        }
        Some(pending)
    }

    fn response(
        &mut self,
        pending: Pending,
        outcome: Result<Value, Value>,
        time: Nanos,
        findings: Findings,
        out: &mut Vec<McpEvent>,
    ) {
        let result = match outcome {
            Ok(result) => result,
            Err(error) => {
                self.facts.error(&pending.method, &error);
                if let Some(number) = pending.call {
                    self.failed(number, json_rpc_error(&error), time, findings, out);
                }
                return;
            }
        };
        if let Some(info) = result.pointer("/_meta").map(|meta| &meta[SERVER])
            && info.is_object()
        {
            self.facts.server(info, &Value::Null);
        }
        let list = |name: &str| result[name].as_array().map_or(&[][..], Vec::as_slice);
        let is_first = pending.is_first_page;
        match pending.method.as_str() {
            "initialize" => {
                self.facts.version(text(&result, "protocolVersion"));
                self.facts.server(&result["serverInfo"], &result["capabilities"]);
                self.facts.instructions(&result);
                self.begin(out);
            }
            "server/discover" => {
                self.facts.server(&result["serverInfo"], &result["capabilities"]);
                self.facts.instructions(&result);
                self.begin(out);
            }
            "tools/list" => self.facts.tools(list("tools"), is_first),
            "resources/list" => self.facts.listed("resources_count", list("resources"), is_first),
            "resources/templates/list" => {
                self.facts.listed("resource_templates_count", list("resourceTemplates"), is_first);
            }
            "prompts/list" => self.facts.listed("prompts_count", list("prompts"), is_first),
            "tools/call" => {
                if let Some(number) = pending.call {
                    self.result(number, result, time, findings, out);
                }
            }
            "tasks/result" => {
                let task = pending.task.as_deref();
                let of_task = |call: &OpenCall| call.task.is_some() && call.task.as_deref() == task;
                let number = self.calls.iter().find(|(_, call)| of_task(call)).map(|(number, _)| *number);
                if let Some(number) = number {
                    self.result(number, result, time, findings, out);
                }
            }
            _ => {}
        }
    }

    /// A tool's result, or that there will be one.
    fn result(
        &mut self,
        number: u64,
        result: Value,
        time: Nanos,
        mut findings: Findings,
        out: &mut Vec<McpEvent>,
    ) {
        let Value::Object(mut result) = result else {
            self.not_understood("result_no_object");
            return;
        };
        let kind = json::take_text(&mut result, "resultType");
        if let Some(call) = self.calls.get_mut(&number) {
            match kind.as_deref() {
                Some("input_required") => {
                    call.awaits_input = true;
                    return;
                }
                None | Some("complete") => {}
                Some(_) => findings.reason("result_type_unknown"),
            }
            if !result.contains_key("content")
                && let Some(task) = result.get("task").and_then(|task| text(task, "taskId"))
            {
                call.task = Some(cut(task, LONGEST_NAME));
                return;
            }
        }
        let Some(call) = self.calls.remove(&number) else { return };
        let content = Content::of(json::take_array(&mut result, "content").unwrap_or_default());
        if content.not_read > 0 {
            findings.limitation(&format!("{}_parts_of_result_not_read", content.not_read));
        }
        let structured = result.remove("structuredContent").filter(|structured| !structured.is_null());
        let (text, structured) = match (content.text, structured) {
            (None, Some(structured)) => (Some(structured.to_string()), None),
            (Some(text), Some(structured)) => {
                let is_said = serde_json::from_str::<Value>(&text).is_ok_and(|said| said == structured);
                (Some(text), (!is_said).then_some(structured))
            }
            (text, None) => (text, None),
        };
        let is_error = result.get("isError").and_then(Value::as_bool).unwrap_or(false);
        let error =
            is_error.then(|| ErrorInfo { error_type: Some("tool_error".to_owned()), ..ErrorInfo::default() });
        out.push(McpEvent::Outcome(Box::new(McpOutcome {
            number,
            name: call.name,
            started: call.started,
            completed: time,
            success: Some(!is_error),
            error,
            text,
            parts: content.parts,
            structured,
            findings,
        })));
    }

    fn failed(
        &mut self,
        number: u64,
        error: ErrorInfo,
        time: Nanos,
        findings: Findings,
        out: &mut Vec<McpEvent>,
    ) {
        self.without_result(number, Some(error), time, findings, out);
    }

    fn without_result(
        &mut self,
        number: u64,
        error: Option<ErrorInfo>,
        time: Nanos,
        findings: Findings,
        out: &mut Vec<McpEvent>,
    ) {
        let Some(call) = self.calls.remove(&number) else { return };
        out.push(McpEvent::Outcome(Box::new(McpOutcome {
            number,
            name: call.name,
            started: call.started,
            completed: time,
            success: error.is_some().then_some(false),
            error,
            text: None,
            parts: Vec::new(),
            structured: None,
            findings,
        })));
    }

    fn unanswered(
        &mut self,
        pending: &Pending,
        status: Option<u16>,
        time: Nanos,
        findings: Findings,
        out: &mut Vec<McpEvent>,
    ) {
        let error = status.map(|status| ErrorInfo {
            error_type: Some("http_status".to_owned()),
            message: None,
            code: Some(status.to_string()),
        });
        if let Some(status) = status {
            self.facts.error(&pending.method, &serde_json::json!({ "code": status }));
        }
        if let Some(number) = pending.call {
            self.without_result(number, error, time, findings, out);
        }
    }

    fn cancelled(&mut self, from: McpSide, params: &Value, time: Nanos, out: &mut Vec<McpEvent>) {
        let id = match &params["requestId"] {
            Value::Number(number) => number.to_string(),
            Value::String(text) => format!("\"{text}"),
            _ => return,
        };
        // A cancelled request gets no answer; one that was under way finds no request any more.
        let Some(waiting) = self.pending.remove(&(from, id)) else { return };
        self.pending_count -= waiting.len();
        for number in waiting.iter().filter_map(|pending| pending.call) {
            let error = ErrorInfo {
                error_type: Some("cancelled".to_owned()),
                message: text(params, "reason").map(|reason| cut(reason, LONGEST_ERROR)),
                code: None,
            };
            self.failed(number, error, time, Findings::default(), out);
        }
    }

    fn not_understood(&mut self, reason: &'static str) {
        *self.facts.not_understood.entry(reason).or_default() += 1;
    }
}

fn digest(arguments: Option<&Map<String, Value>>) -> u64 {
    // The keys of this hasher are fixed, and the fields of an object are in the order of their names.
    let mut hasher = DefaultHasher::new();
    for (name, value) in arguments.into_iter().flatten() {
        (name, value.to_string()).hash(&mut hasher);
    }
    hasher.finish()
}

fn json_rpc_error(error: &Value) -> ErrorInfo {
    ErrorInfo {
        error_type: Some("json_rpc_error".to_owned()),
        message: text(error, "message").map(|message| cut(message, LONGEST_ERROR)),
        code: json::as_text(&error["code"]).map(|code| cut(&code, LONGEST_NAME)),
    }
}

// Arguments and results are captured content.

impl std::fmt::Debug for McpCall {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("McpCall").field("number", &self.number).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for McpOutcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("McpOutcome")
            .field("number", &self.number)
            .field("success", &self.success)
            .field("findings", &self.findings)
            .finish_non_exhaustive()
    }
}
