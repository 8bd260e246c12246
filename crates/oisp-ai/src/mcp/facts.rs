//! What is known of a session.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::read;
use crate::json::{self, bare_url, text};

/// Tools, prompts that are remembered by name; more are counted.
const MOST_TOOLS: usize = 1024;
const MOST_NAMES: usize = 64;
const MOST_ERRORS: usize = 32;
/// Bytes of a name, and of a text that describes.
const LONGEST_NAME: usize = 256;
const LONGEST_TEXT: usize = 2048;

/// A program that speaks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct McpPeer {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: Option<String>,
}

/// A tool that is offered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct McpTool {
    /// What it does, as its server describes it.
    pub description: Option<String>,
}

/// What is known of a session.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct McpFacts {
    /// The version that is spoken.
    pub protocol_version: Option<String>,
    /// The agent's side.
    pub client: Option<McpPeer>,
    /// The tools' side.
    pub server: Option<McpPeer>,
    /// Tools offered, by name.
    pub tools: BTreeMap<String, McpTool>,
    /// Tools called.
    pub tool_calls: u64,
    /// The beginning was not seen.
    pub joined_late: bool,
    client_capabilities: Vec<String>,
    server_capabilities: Vec<String>,
    instructions: Option<String>,
    tools_left_out: u64,
    lists: BTreeMap<&'static str, u64>,
    prompts: Vec<String>,
    resources_read: Vec<String>,
    prompts_used: Vec<String>,
    methods: BTreeMap<&'static str, u64>,
    other_methods: u64,
    errors: Vec<Value>,
    errors_left_out: u64,
    pub(super) not_understood: BTreeMap<&'static str, u64>,
}

impl McpFacts {
    /// For `ext.oisp_sensor.mcp` of an event of the session.
    #[must_use]
    pub fn head(&self) -> Map<String, Value> {
        let mut map = Map::new();
        let mut set = |key: &str, value: Option<Value>| {
            if let Some(value) = value {
                map.insert(key.to_owned(), value);
            }
        };
        set("client", self.client.as_ref().map(peer));
        set("server", self.server.as_ref().map(peer));
        set("protocol_version", self.protocol_version.clone().map(Value::String));
        map
    }

    /// All of it, for the session's own events.
    #[must_use]
    pub fn whole(&self) -> Map<String, Value> {
        let mut map = self.head();
        let mut list = |key: &str, names: &mut dyn Iterator<Item = &String>| {
            let names: Vec<Value> = names.map(|name| Value::String(name.clone())).collect();
            if !names.is_empty() {
                map.insert(key.to_owned(), Value::Array(names));
            }
        };
        list("client_capabilities", &mut self.client_capabilities.iter());
        list("server_capabilities", &mut self.server_capabilities.iter());
        list("tools", &mut self.tools.keys());
        list("prompts", &mut self.prompts.iter());
        list("resources_read", &mut self.resources_read.iter());
        list("prompts_used", &mut self.prompts_used.iter());
        if let Some(instructions) = &self.instructions {
            map.insert("instructions".to_owned(), instructions.clone().into());
        }
        if !self.tools.is_empty() {
            map.insert("tools_count".to_owned(), (self.tools.len() as u64 + self.tools_left_out).into());
        }
        for (name, count) in &self.lists {
            map.insert((*name).to_owned(), (*count).into());
        }
        if !self.methods.is_empty() {
            let methods: Vec<Value> = self
                .methods
                .iter()
                .map(|(method, count)| json!({ "method": method, "count": count }))
                .collect();
            map.insert("methods".to_owned(), methods.into());
        }
        for (key, count) in [("other_methods", self.other_methods), ("errors_left_out", self.errors_left_out)]
        {
            if count > 0 {
                map.insert(key.to_owned(), count.into());
            }
        }
        if !self.errors.is_empty() {
            map.insert("errors".to_owned(), Value::Array(self.errors.clone()));
        }
        if !self.not_understood.is_empty() {
            let reasons: Vec<Value> = self
                .not_understood
                .iter()
                .map(|(reason, count)| json!({ "reason": reason, "count": count }))
                .collect();
            map.insert("not_understood".to_owned(), reasons.into());
        }
        map
    }

    /// Bytes of memory, about.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let tools: usize = self
            .tools
            .iter()
            .map(|(name, tool)| name.len() + tool.description.as_ref().map_or(0, String::len) + 96)
            .sum();
        let names = self.prompts.len() + self.resources_read.len() + self.prompts_used.len();
        tools + names * LONGEST_NAME + self.errors.len() * 1024 + 2 * LONGEST_TEXT
    }

    pub(super) fn method(&mut self, method: &str) {
        match read::known_method(method) {
            Some(method) => *self.methods.entry(method).or_default() += 1,
            None => self.other_methods += 1,
        }
    }

    pub(super) fn error(&mut self, method: &str, error: &Value) {
        if self.errors.len() >= MOST_ERRORS {
            self.errors_left_out += 1;
            return;
        }
        let mut told = json!({ "method": read::known_method(method).unwrap_or("other") });
        if let Some(code) = json::as_text(&error["code"]) {
            told["code"] = cut(&code, LONGEST_NAME).into();
        }
        if let Some(message) = text(error, "message") {
            told["message"] = cut(message, LONGEST_TEXT).into();
        }
        self.errors.push(told);
    }

    /// The client of `initialize`, or of a request of the stateless era (`_meta`).
    pub(super) fn client(&mut self, info: &Value, capabilities: &Value) {
        self.client = peer_of(info).or(self.client.take());
        keys_into(capabilities, &mut self.client_capabilities);
    }

    /// What a server says of itself, by `initialize`, `server/discover` or with any result.
    pub(super) fn server(&mut self, info: &Value, capabilities: &Value) {
        self.server = peer_of(info).or(self.server.take());
        keys_into(capabilities, &mut self.server_capabilities);
    }

    pub(super) fn version(&mut self, version: Option<&str>) {
        if let Some(version) = version.filter(|version| read::is_version(version)) {
            self.protocol_version = Some(version.to_owned());
        }
    }

    pub(super) fn instructions(&mut self, result: &Value) {
        if let Some(instructions) = text(result, "instructions").filter(|text| !text.is_empty()) {
            self.instructions = Some(cut(instructions, LONGEST_TEXT));
        }
    }

    /// A page of `tools/list`; the first makes the list anew.
    pub(super) fn tools(&mut self, tools: &[Value], is_first: bool) {
        if is_first {
            self.tools.clear();
            self.tools_left_out = 0;
        }
        for tool in tools {
            let Some(name) = text(tool, "name").filter(|name| name.len() <= LONGEST_NAME) else {
                *self.not_understood.entry("tool_without_name").or_default() += 1;
                continue;
            };
            if self.tools.len() >= MOST_TOOLS {
                self.tools_left_out += 1;
                continue;
            }
            let description = text(tool, "description")
                .filter(|description| !description.is_empty())
                .map(|description| cut(description, LONGEST_TEXT));
            self.tools.insert(name.to_owned(), McpTool { description });
        }
    }

    /// A page of a list that is counted.
    pub(super) fn listed(&mut self, key: &'static str, items: &[Value], is_first: bool) {
        if is_first {
            self.lists.remove(key);
        }
        *self.lists.entry(key).or_default() += items.len() as u64;
        if key == "prompts_count" {
            if is_first {
                self.prompts.clear();
            }
            let room = MOST_NAMES - self.prompts.len();
            self.prompts.extend(
                items
                    .iter()
                    .filter_map(|item| text(item, "name"))
                    .take(room)
                    .map(|name| cut(name, LONGEST_NAME)),
            );
        }
    }

    pub(super) fn read_resource(&mut self, uri: &str) {
        remember(&mut self.resources_read, &bare_url(uri));
    }

    pub(super) fn used_prompt(&mut self, name: &str) {
        remember(&mut self.prompts_used, name);
    }
}

fn remember(names: &mut Vec<String>, name: &str) {
    let name = cut(name, LONGEST_NAME);
    if names.len() < MOST_NAMES && !names.contains(&name) {
        names.push(name);
    }
}

fn peer(peer: &McpPeer) -> Value {
    let mut value = json!({ "name": peer.name });
    if let Some(version) = &peer.version {
        value["version"] = version.clone().into();
    }
    value
}

fn peer_of(info: &Value) -> Option<McpPeer> {
    Some(McpPeer {
        name: cut(text(info, "name")?, LONGEST_NAME),
        version: text(info, "version").map(|version| cut(version, LONGEST_NAME)),
    })
}

fn keys_into(capabilities: &Value, names: &mut Vec<String>) {
    if let Some(map) = capabilities.as_object() {
        *names = map.keys().take(MOST_NAMES).map(|name| cut(name, LONGEST_NAME)).collect();
    }
}

pub(super) fn cut(text: &str, longest: usize) -> String {
    text[..text.floor_char_boundary(longest)].to_owned()
}
