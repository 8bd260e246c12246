//! Long texts, cut after they were redacted.

use oisp_event::{Completeness, Event, Level, Message, Payload};
use serde_json::Value;

/// Keeps the first `longest` bytes of each text that somebody wrote, and says so in the event.
pub(crate) fn cut_texts(event: &mut Event, longest: usize) {
    if longest == usize::MAX {
        return;
    }
    let mut cut = Cut { longest, count: 0 };
    match &mut event.payload {
        Payload::AiRequest(request) => {
            cut.messages(&mut request.messages);
            for tool in &mut request.tools {
                cut.optional(&mut tool.description);
            }
        }
        Payload::AiResponse(response) => {
            for message in response.choices.iter_mut().filter_map(|choice| choice.message.as_mut()) {
                cut.messages(std::slice::from_mut(message));
            }
            for call in &mut response.tool_calls {
                cut.optional(&mut call.arguments);
            }
            if let Some(error) = &mut response.error {
                cut.optional(&mut error.message);
            }
        }
        Payload::ProcessExec(exec) => exec.args.iter_mut().for_each(|argument| cut.text(argument)),
        Payload::AgentToolCall(call) => {
            cut.optional(&mut call.tool.description);
            call.arguments.iter_mut().flat_map(|map| map.values_mut()).for_each(|value| cut.value(value));
        }
        Payload::AgentToolResult(result) => {
            if let Some(tool) = &mut result.tool {
                cut.optional(&mut tool.description);
            }
            result.result.iter_mut().for_each(|value| cut.value(value));
            if let Some(error) = &mut result.error {
                cut.optional(&mut error.message);
            }
        }
        // A chunk's text was cut with the text before it.
        Payload::AiStreamingChunk(_)
        | Payload::AiEmbedding(_)
        | Payload::AgentSession(_)
        | Payload::ProcessExit(_) => {}
    }
    for value in event.ext.oisp_sensor.values_mut() {
        cut.value(value);
    }
    if cut.count > 0 {
        let confidence = &mut event.confidence;
        confidence.lower_to(Level::Medium);
        if matches!(confidence.completeness, Completeness::Full | Completeness::Redacted) {
            confidence.completeness = Completeness::Partial;
        }
        confidence.limitations.push(format!("texts_cut_at_{longest}_bytes"));
    }
}

struct Cut {
    longest: usize,
    count: u64,
}

impl Cut {
    fn messages(&mut self, messages: &mut [Message]) {
        for content in messages.iter_mut().filter_map(|message| message.content.as_mut()) {
            self.value(content);
        }
    }

    fn value(&mut self, value: &mut Value) {
        match value {
            Value::String(text) => self.text(text),
            Value::Array(items) => items.iter_mut().for_each(|item| self.value(item)),
            Value::Object(fields) => fields.values_mut().for_each(|field| self.value(field)),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn optional(&mut self, text: &mut Option<String>) {
        if let Some(text) = text {
            self.text(text);
        }
    }

    fn text(&mut self, text: &mut String) {
        if text.len() > self.longest {
            text.truncate(text.floor_char_boundary(self.longest));
            text.shrink_to_fit();
            self.count += 1;
        }
    }
}
