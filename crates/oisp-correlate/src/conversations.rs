//! Which requests belong to one conversation.
//!
//! A request continues a conversation of its process when it names one of its answers, or the provider's id of it, or when
//! its messages begin with all messages of the conversation's latest request; in each case with the same system prompt and
//! within [`LONGEST_PAUSE`]. So conversations that a process has at once (sub-agents) stay apart, and one whose history was
//! rewritten (compacted, edited) begins anew. The same messages once more continue a conversation only where its latest
//! request failed: that is a retry, everything else is another call that asks the same.
//!
//! A request of n messages costs n steps of one hash over their roles and contents.

use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash as _, Hasher};

use oisp_ai::AiCall;
use oisp_capture::{MonotonicNanos, ProcessId};
use oisp_event::{AiRequest, EventId, Message, RequestType, Role};
use serde_json::{Map, Value};

/// A conversation that pauses longer than this goes on as another.
const LONGEST_PAUSE: u64 = 30 * 60 * 1_000_000_000;
/// Conversations that may go on; of more than that those that began first are forgotten.
const MAX_CONVERSATIONS: usize = 4096;
/// Names of each that are remembered: providers name every answer anew.
const MAX_NAMES: usize = 64;
/// Longer names are no names.
const LONGEST_NAME: usize = 256;

/// Under what a request of the conversation, or its answer, names it.
const NAMES_IN_REQUESTS: &[&str] = &["previous_response_id", "conversation_id", "session_id"];
const NAMES_IN_ANSWERS: &[&str] = &["response_id", "conversation_id", "session_id"];

/// Follows conversations.
#[derive(Debug, Default)]
pub(crate) struct Conversations {
    open: HashMap<u64, Conversation>,
    /// Conversations in the order in which they began.
    order: VecDeque<u64>,
    /// By all messages of their latest request.
    by_messages: HashMap<u64, u64>,
    by_name: HashMap<(ProcessId, String), u64>,
    next: u64,
}

#[derive(Debug)]
struct Conversation {
    id: String,
    process: ProcessId,
    system_prompt: Option<u64>,
    messages: Option<u64>,
    latest: MonotonicNanos,
    latest_failed: bool,
    names: VecDeque<String>,
}

impl Conversations {
    /// The conversation of a request; `None` for calls that are no part of one. `event_id` names one that begins here.
    pub(crate) fn of_request(
        &mut self,
        process: ProcessId,
        call: &AiCall,
        event_id: &EventId,
    ) -> Option<String> {
        let request = &call.request;
        let names: Vec<&str> = names(&call.extension, NAMES_IN_REQUESTS).collect();
        let converses = !matches!(request.request_type, RequestType::Embedding | RequestType::Moderation);
        if !converses || request.messages.is_empty() && names.is_empty() {
            return None;
        }
        let system_prompt = system_prompt(request);
        let chain = chain(process, system_prompt, &request.messages);
        let named = names.iter().find_map(|name| self.by_name.get(&(process, (*name).to_owned())).copied());
        // Instructions of the earlier request need not be said again where that is named.
        let named = named.filter(|key| {
            self.is_alive(*key, call.started)
                && (system_prompt.is_none()
                    || self.open.get(key).is_some_and(|open| open.system_prompt == system_prompt))
        });
        let found = named.or_else(|| self.by_beginning(&chain, call.started));
        let key = found.unwrap_or_else(|| self.begin(process, system_prompt, event_id));
        for name in names {
            self.name(key, name);
        }
        let conversation = self.open.get_mut(&key)?;
        if let Some(before) = conversation.messages.take()
            && self.by_messages.get(&before) == Some(&key)
        {
            self.by_messages.remove(&before);
        }
        conversation.messages = chain.last().copied();
        conversation.latest = call.completed;
        conversation.latest_failed = false;
        let id = conversation.id.clone();
        if let Some(messages) = chain.last() {
            self.by_messages.insert(*messages, key);
        }
        Some(id)
    }

    /// What the answer to a request of `conversation` says of it.
    pub(crate) fn answered(
        &mut self,
        process: ProcessId,
        conversation: &str,
        time: MonotonicNanos,
        failed: bool,
        extension: &Map<String, Value>,
    ) {
        // The latest are at the end, and few are ever open.
        let is_it = |key: &&u64| {
            self.open.get(key).is_some_and(|open| open.process == process && open.id == conversation)
        };
        let Some(key) = self.order.iter().rev().find(is_it).copied() else { return };
        if let Some(open) = self.open.get_mut(&key) {
            open.latest = open.latest.max(time);
            open.latest_failed = failed;
        }
        for name in names(extension, NAMES_IN_ANSWERS) {
            self.name(key, name);
        }
    }

    /// Nothing of a process will come any more.
    pub(crate) fn process_exited(&mut self, process: ProcessId) {
        let of_process = |key: &u64| self.open.get(key).is_some_and(|open| open.process == process);
        let keys: Vec<u64> = self.order.iter().copied().filter(of_process).collect();
        self.order.retain(|key| !keys.contains(key));
        keys.into_iter().for_each(|key| self.forget(key));
    }

    fn is_alive(&self, key: u64, time: MonotonicNanos) -> bool {
        self.open.get(&key).is_some_and(|open| time.0.saturating_sub(open.latest.0) <= LONGEST_PAUSE)
    }

    /// The conversation whose latest request has the most of the messages at the beginning of `chain`.
    fn by_beginning(&self, chain: &[u64], time: MonotonicNanos) -> Option<u64> {
        chain.iter().enumerate().rev().find_map(|(index, hash)| {
            let key = *self.by_messages.get(hash)?;
            let is_whole = index + 1 == chain.len();
            let continues = !is_whole || self.open.get(&key).is_some_and(|open| open.latest_failed);
            (continues && self.is_alive(key, time)).then_some(key)
        })
    }

    fn begin(&mut self, process: ProcessId, system_prompt: Option<u64>, event_id: &EventId) -> u64 {
        while self.open.len() >= MAX_CONVERSATIONS {
            let Some(oldest) = self.order.pop_front() else { break };
            self.forget(oldest);
        }
        let key = self.next;
        self.next += 1;
        self.order.push_back(key);
        let conversation = Conversation {
            id: format!("conv_{event_id}"),
            process,
            system_prompt,
            messages: None,
            latest: MonotonicNanos::default(),
            latest_failed: false,
            names: VecDeque::new(),
        };
        self.open.insert(key, conversation);
        key
    }

    fn name(&mut self, key: u64, name: &str) {
        let Some(conversation) = self.open.get_mut(&key) else { return };
        let process = conversation.process;
        // A name may have gone to another conversation, and come back.
        self.by_name.insert((process, name.to_owned()), key);
        if conversation.names.iter().any(|known| known == name) {
            return;
        }
        conversation.names.push_back(name.to_owned());
        if conversation.names.len() > MAX_NAMES
            && let Some(oldest) = conversation.names.pop_front()
        {
            let oldest = (process, oldest);
            if self.by_name.get(&oldest) == Some(&key) {
                self.by_name.remove(&oldest);
            }
        }
    }

    fn forget(&mut self, key: u64) {
        let Some(conversation) = self.open.remove(&key) else { return };
        if let Some(messages) = conversation.messages.filter(|hash| self.by_messages.get(hash) == Some(&key))
        {
            self.by_messages.remove(&messages);
        }
        for name in conversation.names {
            let name = (conversation.process, name);
            if self.by_name.get(&name) == Some(&key) {
                self.by_name.remove(&name);
            }
        }
    }
}

fn names<'a>(extension: &'a Map<String, Value>, keys: &'a [&str]) -> impl Iterator<Item = &'a str> {
    keys.iter()
        .filter_map(|key| extension.get(*key)?.as_str())
        .filter(|name| !name.is_empty() && name.len() <= LONGEST_NAME)
}

/// Of all system messages, wherever they stand.
fn system_prompt(request: &AiRequest) -> Option<u64> {
    let mut prompts = request.messages.iter().filter(|message| message.role == Role::System).peekable();
    prompts.peek()?;
    let mut hasher = DefaultHasher::new();
    prompts.for_each(|message| hash(message, &mut hasher));
    Some(hasher.finish())
}

/// For each message but the system's: the hash of it and of all before it. The keys of the hasher are fixed, so that a
/// replay decides as the recording did; the process is part of the hash, so nobody meets another's.
fn chain(process: ProcessId, system_prompt: Option<u64>, messages: &[Message]) -> Vec<u64> {
    let mut hasher = DefaultHasher::new();
    (process.0, system_prompt).hash(&mut hasher);
    messages
        .iter()
        .filter(|message| message.role != Role::System)
        .map(|message| {
            hash(message, &mut hasher);
            hasher.finish()
        })
        .collect()
}

fn hash(message: &Message, hasher: &mut DefaultHasher) {
    std::mem::discriminant(&message.role).hash(hasher);
    match &message.content {
        Some(Value::String(text)) => text.hash(hasher),
        Some(other) => other.to_string().hash(hasher),
        None => 0_u8.hash(hasher),
    }
    message.tool_call_id.hash(hasher);
    message.image_count.hash(hasher);
}

#[cfg(test)]
mod tests;
