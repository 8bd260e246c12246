//! The chunks that make up most of a stream, read without building values.

use serde::Deserialize;
use serde_json::Value;

use super::{ChatStream, ChoiceStream, Fragment};
use crate::format::openai_chat::overwrite;
use crate::lean::{Object, Skipped, Text};

/// A chunk with the fields that services write in every one. What is skipped means nothing in any shape; fields that
/// mean something in another shape (`error`, `message`, `audio`) fail where they have it, and the chunk is taken the
/// other way.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Chunk<'a> {
    #[serde(borrow)]
    id: Option<Text<'a>>,
    #[serde(borrow)]
    model: Option<Text<'a>>,
    #[serde(borrow)]
    provider: Option<Text<'a>>,
    #[serde(borrow)]
    service_tier: Option<Text<'a>>,
    #[serde(borrow)]
    system_fingerprint: Option<Text<'a>>,
    #[serde(borrow)]
    choices: Vec<Object<Choice<'a>>>,
    usage: Option<Value>,
    #[serde(default, rename = "object")]
    _object: Skipped,
    #[serde(default, rename = "created")]
    _created: Skipped,
    #[serde(default, rename = "obfuscation")]
    _obfuscation: Skipped,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Choice<'a> {
    index: Option<u64>,
    #[serde(borrow)]
    finish_reason: Option<Text<'a>>,
    #[serde(borrow)]
    native_finish_reason: Option<Text<'a>>,
    #[serde(borrow)]
    delta: Option<Object<Delta<'a>>>,
    #[serde(default, rename = "logprobs")]
    _logprobs: Skipped,
    #[serde(default, rename = "content_filter_results")]
    _content_filter_results: Skipped,
    #[serde(default, rename = "stop_reason")]
    _stop_reason: Skipped,
    #[serde(default, rename = "token_ids")]
    _token_ids: Skipped,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Delta<'a> {
    #[serde(borrow)]
    content: Option<Text<'a>>,
    #[serde(borrow)]
    reasoning_content: Option<Text<'a>>,
    #[serde(borrow)]
    reasoning: Option<Text<'a>>,
    #[serde(borrow)]
    refusal: Option<Text<'a>>,
    #[serde(borrow)]
    tool_calls: Option<Vec<Object<Call<'a>>>>,
    #[serde(default, rename = "function_call")]
    _function_call: (),
    #[serde(default, rename = "role")]
    _role: Skipped,
    #[serde(default, rename = "reasoning_details")]
    _reasoning_details: Skipped,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Call<'a> {
    index: Option<u64>,
    #[serde(borrow)]
    id: Option<Text<'a>>,
    #[serde(rename = "type", borrow)]
    call_type: Option<Text<'a>>,
    #[serde(borrow)]
    function: Option<Object<Function<'a>>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Function<'a> {
    #[serde(borrow)]
    name: Option<Text<'a>>,
    #[serde(borrow)]
    arguments: Option<Text<'a>>,
}

impl ChatStream {
    /// Takes a chunk; says whether it carries content.
    pub(super) fn chunk(&mut self, chunk: Chunk<'_>) -> bool {
        let collected = &mut self.collected;
        for (to, text) in [
            (&mut collected.model, chunk.model),
            (&mut collected.response_id, chunk.id),
            (&mut collected.upstream, chunk.provider),
            (&mut collected.service_tier, chunk.service_tier),
            (&mut collected.system_fingerprint, chunk.system_fingerprint),
        ] {
            overwrite(to, text.as_ref().map(|text| &*text.0));
        }
        if let Some(usage) = chunk.usage.filter(Value::is_object) {
            collected.usage = Some(usage);
        }
        let mut content = false;
        for (position, Object(choice)) in chunk.choices.into_iter().enumerate() {
            let state = self.choices.entry(choice.index.unwrap_or(position as u64)).or_default();
            for (to, reason) in
                [(&mut state.finish, choice.finish_reason), (&mut state.native, choice.native_finish_reason)]
            {
                if let Some(reason) = reason {
                    *to = Some(reason.0.into_owned());
                }
            }
            if let Some(Object(delta)) = choice.delta {
                content |= state.lean_delta(delta, self.gaps);
            }
        }
        content
    }
}

impl ChoiceStream {
    fn lean_delta(&mut self, delta: Delta<'_>, gaps: u32) -> bool {
        let mut content = false;
        if let Some(text) = delta.content {
            self.said_text = true;
            content |= !text.0.is_empty();
            self.text.push(&text.0, gaps);
        }
        let reasoning = [delta.reasoning_content, delta.reasoning].into_iter().flatten();
        if let Some(text) = reasoning.into_iter().find(|text| !text.0.is_empty()) {
            content = true;
            self.reasoning.push(&text.0, gaps);
        }
        if let Some(text) = delta.refusal.filter(|text| !text.0.is_empty()) {
            content = true;
            self.refusal.push(&text.0, gaps);
        }
        for Object(call) in delta.tool_calls.unwrap_or_default() {
            content = true;
            let function = call.function.map(|function| function.0).unwrap_or_default();
            let fragment = Fragment {
                index: call.index,
                id: call.id.map(|text| text.0),
                call_type: call.call_type.map(|text| text.0),
                name: function.name.map(|text| text.0),
                arguments: function.arguments.map(|text| text.0),
            };
            self.fragment(fragment, gaps);
        }
        content
    }
}
