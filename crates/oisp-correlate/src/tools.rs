//! Tool calls that models ask for, and the results that come back in later requests.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{Hash as _, Hasher as _};

use oisp_ai::AiCall;
use oisp_capture::{MonotonicNanos, ProcessId};
use oisp_event::{AgentToolCall, AgentToolResult, EventId, Role, Tool, ToolCall, ToolCategory, Trigger};
use serde_json::{Map, Value};

/// Calls whose results may still come, and results that were told; of more than that the oldest are forgotten.
const MAX_CALLS: usize = 4096;
/// Events made of one request, and of one answer. A body of some megabytes can name hundreds of thousands.
pub(crate) const MAX_OF_ONE: usize = 256;
/// Longer ids are no ids.
const LONGEST_ID: usize = 256;

/// Follows tool calls from the answer that asks for them to the request that brings their results.
#[derive(Debug, Default)]
pub(crate) struct Tools {
    asked: BTreeMap<(ProcessId, String), Asked>,
    /// Calls that the service gave no id, by the tool's name; by the ids that they have here they sort by age.
    unnumbered: BTreeSet<(ProcessId, String, String)>,
    told: BTreeSet<(ProcessId, String)>,
    /// In the order in which they came into either.
    order: VecDeque<(ProcessId, String)>,
}

#[derive(Debug)]
struct Asked {
    event_id: EventId,
    tool: Tool,
    time: MonotonicNanos,
    /// Of the arguments' JSON.
    arguments: u64,
    /// An MCP server carries it out.
    claimed: bool,
}

/// A call of a model that an MCP server carries out.
pub(crate) struct Claim {
    pub(crate) key: (ProcessId, String),
    pub(crate) event_id: EventId,
    pub(crate) tool: Tool,
}

/// A result that was not told before.
pub(crate) struct NewResult {
    pub(crate) result: AgentToolResult,
    /// The event of its call, where that was seen.
    pub(crate) call: Option<EventId>,
    /// Whether the service gave the call no id.
    pub(crate) by_name: bool,
}

impl Tools {
    /// Remembers a call that is told as an event. One without an id gets that of its event; says whether it did.
    pub(crate) fn asked(
        &mut self,
        process: ProcessId,
        call: &mut AgentToolCall,
        event_id: &EventId,
        time: MonotonicNanos,
    ) -> bool {
        let unnumbered = call.call_id.is_none();
        let id = call.call_id.get_or_insert_with(|| event_id.to_string()).clone();
        if id.len() > LONGEST_ID {
            return unnumbered;
        }
        let name = call.tool.name.as_ref().filter(|name| unnumbered && name.len() <= LONGEST_ID);
        if let Some(name) = name {
            self.unnumbered.insert((process, name.clone(), id.clone()));
        }
        let key = (process, id);
        self.told.remove(&key);
        self.remember(&key);
        let asked = Asked {
            event_id: event_id.clone(),
            tool: call.tool.clone(),
            time,
            arguments: digest(call.arguments.as_ref()),
            claimed: false,
        };
        self.asked.insert(key, asked);
        unnumbered
    }

    /// Processes with calls that have no result.
    pub(crate) fn processes(&self) -> Vec<ProcessId> {
        let mut processes: Vec<ProcessId> = self.asked.keys().map(|(process, _)| *process).collect();
        processes.dedup();
        processes
    }

    /// The call of a model that an MCP server is asked to carry out: of the first of `processes` that has one of this
    /// tool, the oldest with the same arguments, else the only one.
    pub(crate) fn claim(
        &mut self,
        processes: &[ProcessId],
        name: &str,
        arguments: Option<&Map<String, Value>>,
    ) -> Option<Claim> {
        let wanted = digest(arguments);
        for process in processes {
            let range = (*process, String::new())..(ProcessId(process.0.saturating_add(1)), String::new());
            let candidates: Vec<(&(ProcessId, String), &Asked)> = self
                .asked
                .range(range)
                .filter(|(_, asked)| {
                    !asked.claimed && asked.tool.name.as_deref().is_some_and(|asked| is_name_of(asked, name))
                })
                .collect();
            let same = candidates
                .iter()
                .filter(|(_, asked)| asked.arguments == wanted)
                .min_by(|(_, one), (_, other)| one.event_id.cmp(&other.event_id));
            let chosen = match (same, &candidates[..]) {
                (Some((key, _)), _) | (None, [(key, _)]) => (*key).clone(),
                _ => continue,
            };
            let asked = self.asked.get_mut(&chosen)?;
            asked.claimed = true;
            return Some(Claim { event_id: asked.event_id.clone(), tool: asked.tool.clone(), key: chosen });
        }
        None
    }

    /// The result of a claimed call is told, unless it was already. Says whether to.
    pub(crate) fn tell_claimed(&mut self, key: &(ProcessId, String)) -> bool {
        self.asked.remove(key);
        if self.told.contains(key) {
            return false;
        }
        self.remember(key);
        self.told.insert(key.clone());
        true
    }

    /// The results in a request that were not told before. Agents send the whole conversation again with every request: new
    /// is what answers a call that was seen, and what follows the last answer of the model. Also how many more there are than
    /// are given. A result without an id is that of the oldest call without one of the same tool.
    pub(crate) fn results(&mut self, process: ProcessId, call: &AiCall) -> (Vec<NewResult>, u64) {
        let messages = &call.request.messages;
        let last_answer = messages.iter().rposition(|message| message.role == Role::Assistant);
        let failed: BTreeSet<u64> = call
            .extension
            .get("tool_errors")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_u64)
            .collect();
        let mut new = Vec::new();
        let mut more = 0;
        for (index, message) in messages.iter().enumerate() {
            let is_latest = last_answer.is_none_or(|last| index > last);
            let by_name = message.tool_call_id.is_none();
            let id = match &message.tool_call_id {
                Some(id) => Some(id.clone()).filter(|id| id.len() <= LONGEST_ID),
                // The same results stand in later requests, too.
                None if is_latest && message.role == Role::Tool => {
                    self.oldest_unnumbered(process, message.name.as_deref())
                }
                None => None,
            };
            let Some(id) = id else { continue };
            let key = (process, id.clone());
            let asked = self.forget(&key);
            if self.told.contains(&key) || (asked.is_none() && !is_latest) {
                continue;
            }
            self.remember(&key);
            self.told.insert(key);
            if new.len() == MAX_OF_ONE {
                more += 1;
                continue;
            }
            let has_failed = failed.contains(&(index as u64));
            let size = message.content.as_ref().and_then(Value::as_str).map(|text| text.len() as u64);
            let tool = asked.as_ref().map(|asked| asked.tool.clone()).or_else(|| {
                let name = message.name.as_deref()?;
                Some(tool(name, None))
            });
            new.push(NewResult {
                result: AgentToolResult {
                    tool,
                    call_id: id,
                    // Most formats say nothing of success; what failed is said.
                    success: has_failed.then_some(false),
                    result: message.content.clone(),
                    result_size_bytes: size,
                    duration_ms: asked
                        .as_ref()
                        .and_then(|asked| call.started.0.checked_sub(asked.time.0))
                        .map(|nanoseconds| nanoseconds / 1_000_000),
                    ..AgentToolResult::default()
                },
                call: asked.map(|asked| asked.event_id),
                by_name,
            });
        }
        (new, more)
    }

    /// Nothing of a process will come any more.
    pub(crate) fn process_exited(&mut self, process: ProcessId) {
        let range = (process, String::new())..(ProcessId(process.0.saturating_add(1)), String::new());
        let keys: Vec<_> = self.asked.range(range.clone()).map(|(key, _)| key.clone()).collect();
        for key in keys {
            self.forget(&key);
        }
        let keys: Vec<_> = self.told.range(range).cloned().collect();
        for key in keys {
            self.told.remove(&key);
        }
    }

    fn oldest_unnumbered(&self, process: ProcessId, name: Option<&str>) -> Option<String> {
        let name = name?;
        let first = (process, name.to_owned(), String::new());
        let (of_process, of_name, id) = self.unnumbered.range(first..).next()?;
        (*of_process == process && of_name == name).then(|| id.clone())
    }

    fn forget(&mut self, key: &(ProcessId, String)) -> Option<Asked> {
        let asked = self.asked.remove(key)?;
        if let Some(name) = &asked.tool.name {
            self.unnumbered.remove(&(key.0, name.clone(), key.1.clone()));
        }
        Some(asked)
    }

    fn remember(&mut self, key: &(ProcessId, String)) {
        self.order.push_back(key.clone());
        while self.order.len() > MAX_CALLS {
            if let Some(oldest) = self.order.pop_front() {
                self.forget(&oldest);
                self.told.remove(&oldest);
            }
        }
    }
}

/// The event of a call that a model asked for.
pub(crate) fn call_of_model(call: &ToolCall) -> AgentToolCall {
    AgentToolCall {
        tool: tool(call.name.as_deref().unwrap_or_default(), call.call_type.as_deref()),
        call_id: call.id.clone(),
        triggered_by: Some(Trigger::LlmDecision),
        arguments: call.arguments.as_deref().and_then(arguments),
        arguments_hash: None,
    }
}

/// What stands between the name of a server and the name of its tool.
const SEPARATORS: &[u8] = b"_-./:";

/// Whether agents may offer a tool of this name as `offered`: under its own name, or with its server's in front.
pub(crate) fn is_name_of(offered: &str, name: &str) -> bool {
    offered.strip_suffix(name).is_some_and(|before| {
        before.is_empty()
            || (!name.is_empty() && before.bytes().last().is_some_and(|last| SEPARATORS.contains(&last)))
    })
}

/// The names that a tool may have of those that it is offered by, each with what stands before it.
pub(crate) fn names_within(offered: &str) -> impl Iterator<Item = (&str, &str)> {
    let ends =
        offered.bytes().enumerate().filter(|(_, byte)| SEPARATORS.contains(byte)).map(|(index, _)| index + 1);
    std::iter::once(0).chain(ends).map(|start| offered.split_at(start))
}

fn digest(arguments: Option<&Map<String, Value>>) -> u64 {
    // The keys of this hasher are fixed, and the fields of an object are in the order of their names.
    let mut hasher = DefaultHasher::new();
    for (name, value) in arguments.into_iter().flatten() {
        name.hash(&mut hasher);
        value.to_string().hash(&mut hasher);
    }
    hasher.finish()
}

/// The arguments as an object.
fn arguments(text: &str) -> Option<Map<String, Value>> {
    match serde_json::from_str(text) {
        Ok(Value::Object(map)) => Some(map),
        _ if text.is_empty() => None,
        _ => Some(Map::from_iter([("input".to_owned(), Value::String(text.to_owned()))])),
    }
}

/// A tool by its name. Agents name the tools of MCP servers `mcp__server__tool`; services name what they run themselves by
/// the kind of call.
pub(crate) fn tool(name: &str, call_type: Option<&str>) -> Tool {
    let by_mcp = name.strip_prefix("mcp__").and_then(|rest| rest.split_once("__"));
    let by_server = call_type.is_some_and(|kind| kind.starts_with("server_") || kind.ends_with("_call"))
        && !matches!(call_type, Some("function_call" | "custom_tool_call"));
    let (provider, server, own) = match by_mcp {
        Some((server, own)) => (Some("mcp"), Some(server.to_owned()), own),
        None if call_type.is_some_and(|kind| kind.starts_with("mcp")) => (Some("mcp"), None, name),
        None if by_server => (Some("server"), None, name),
        None => (None, None, name),
    };
    Tool {
        name: (!name.is_empty()).then(|| name.to_owned()),
        category: category(own),
        provider: provider.map(str::to_owned),
        server,
        description: None,
    }
}

/// Words of tools' names, the more particular first. Of two that a name has, the first here counts.
const CATEGORIES: &[(&[&str], ToolCategory)] = &[
    (&["web", "search"], ToolCategory::Search),
    (&["websearch"], ToolCategory::Search),
    (&["file", "search"], ToolCategory::Retrieval),
    (&["computer"], ToolCategory::ComputerUse),
    (&["browser"], ToolCategory::Browser),
    (&["playwright"], ToolCategory::Browser),
    (&["multiedit"], ToolCategory::FileEdit),
    (&["apply", "patch"], ToolCategory::FileEdit),
    (&["str", "replace"], ToolCategory::FileEdit),
    (&["edit"], ToolCategory::FileEdit),
    (&["write", "stdin"], ToolCategory::Terminal),
    (&["write"], ToolCategory::FileWrite),
    (&["create", "file"], ToolCategory::FileWrite),
    (&["read"], ToolCategory::FileRead),
    (&["view", "image"], ToolCategory::FileRead),
    (&["view", "file"], ToolCategory::FileRead),
    (&["grep"], ToolCategory::Search),
    (&["glob"], ToolCategory::Search),
    (&["bash"], ToolCategory::Shell),
    (&["shell"], ToolCategory::Shell),
    (&["exec", "command"], ToolCategory::Shell),
    (&["run", "command"], ToolCategory::Shell),
    (&["execute", "command"], ToolCategory::Shell),
    (&["terminal"], ToolCategory::Terminal),
    (&["python"], ToolCategory::CodeExecution),
    (&["code", "interpreter"], ToolCategory::CodeExecution),
    (&["code", "execution"], ToolCategory::CodeExecution),
    (&["sql"], ToolCategory::Database),
    (&["fetch"], ToolCategory::Http),
    (&["webfetch"], ToolCategory::Http),
    (&["http"], ToolCategory::Http),
    (&["search"], ToolCategory::Search),
];

fn category(name: &str) -> Option<ToolCategory> {
    let mut words: Vec<String> = Vec::new();
    let mut after_lower = false;
    for character in name.chars().take(LONGEST_ID) {
        if !character.is_alphanumeric() {
            after_lower = false;
            words.push(String::new());
            continue;
        }
        if words.is_empty() || (character.is_uppercase() && after_lower) {
            words.push(String::new());
        }
        after_lower = character.is_lowercase();
        if let Some(word) = words.last_mut() {
            word.extend(character.to_lowercase());
        }
    }
    let has = |word: &&str| words.iter().any(|own| own == word);
    CATEGORIES.iter().find(|(needed, _)| needed.iter().all(has)).map(|(_, category)| *category)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_what_tools_do() {
        for (name, expected) in [
            ("read_file", Some(ToolCategory::FileRead)),
            ("Read", Some(ToolCategory::FileRead)),
            ("MultiEdit", Some(ToolCategory::FileEdit)),
            ("str_replace_based_edit_tool", Some(ToolCategory::FileEdit)),
            ("WriteFile", Some(ToolCategory::FileWrite)),
            ("Bash", Some(ToolCategory::Shell)),
            ("container.exec_command", Some(ToolCategory::Shell)),
            ("web_search", Some(ToolCategory::Search)),
            ("WebSearch", Some(ToolCategory::Search)),
            ("get_weather", None),
            ("spreadsheet", None),
            ("", None),
        ] {
            assert_eq!(category(name), expected, "{name}");
        }
    }

    #[test]
    fn tools_of_mcp_servers_are_known_by_their_names() {
        let tool = tool("mcp__github__search_issues", Some("tool_use"));
        assert_eq!((tool.provider.as_deref(), tool.server.as_deref()), (Some("mcp"), Some("github")));
        assert_eq!(tool.category, Some(ToolCategory::Search));
        assert_eq!(super::tool("web_search", Some("server_tool_use")).provider.as_deref(), Some("server"));
        assert_eq!(super::tool("x", Some("function_call")).provider, None);
    }

    #[test]
    fn arguments_are_an_object_whatever_the_model_wrote() {
        let object = arguments("{\"path\":\"/x\"}").expect("an object");
        assert_eq!(object["path"], "/x");
        assert_eq!(arguments("*** Begin Patch").expect("an object")["input"], "*** Begin Patch");
        assert_eq!(arguments("{\"cut").expect("an object")["input"], "{\"cut");
        assert_eq!(arguments(""), None);
    }
}
