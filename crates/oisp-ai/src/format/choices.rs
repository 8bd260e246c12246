//! The choices of an answer, whole or streamed, before they are written.

use std::mem;

use oisp_event::{Choice, FinishReason, Role, ToolCall};
use serde_json::{Value, json};

use super::ParsedResponse;
use super::common::{self, Content};
use crate::json::into_object;

/// One choice.
#[derive(Debug, Default)]
pub(super) struct CollectedChoice {
    pub(super) index: u64,
    pub(super) content: Content,
    pub(super) reasoning: String,
    pub(super) refusal: String,
    /// The service's own word for why it ended.
    pub(super) finish: Option<String>,
    /// That of the service behind it.
    pub(super) native: Option<String>,
    /// What that means, where it is not what the word says.
    pub(super) meaning: Option<FinishReason>,
    pub(super) calls: Vec<ToolCall>,
}

/// Writes the choices. What is asked for by the first is the answer's finish reason.
pub(super) fn write(choices: Vec<CollectedChoice>, parsed: &mut ParsedResponse) {
    let (response, extension) = (&mut parsed.response, &mut parsed.extension);
    let several = choices.len() > 1;
    let (mut reasoning, mut refusals, mut parts, mut finishes) = (vec![], vec![], vec![], vec![]);
    for mut choice in choices {
        let index = choice.index;
        let (message, descriptions) = mem::take(&mut choice.content).into_message(Role::Assistant);
        parts.extend(descriptions.into_iter().map(|part| {
            let mut part = into_object(part);
            part.insert("choice".to_owned(), index.into());
            Value::Object(part)
        }));
        let finish = choice.meaning.or_else(|| choice.finish.as_deref().map(common::finish_reason));
        if response.finish_reason.is_none() {
            response.finish_reason = finish;
            common::set_text(extension, "finish_reason", choice.finish.clone());
            common::set_text(extension, "native_finish_reason", choice.native);
        }
        for (list, text) in [(&mut reasoning, choice.reasoning), (&mut refusals, choice.refusal)] {
            if !text.is_empty() {
                list.push(json!({ "choice": index, "text": text }));
            }
        }
        if several {
            finishes.push(json!({
                "choice": index,
                "finish_reason": choice.finish,
                "tool_calls": choice.calls.len(),
            }));
        }
        response.tool_calls.extend(choice.calls);
        response.choices.push(Choice { index, message: Some(message), finish_reason: finish });
    }
    if !response.choices.is_empty() {
        response.tool_calls_count = Some(response.tool_calls.len() as u64);
    }
    common::set_array(extension, "reasoning", reasoning);
    common::set_array(extension, "refusal", refusals);
    common::set_array(extension, "parts", parts);
    common::set_array(extension, "choices", finishes);
}
