//! Whether a stream is JSON-RPC: what its first whole line says.

use oisp_decode::JsonRpcMessage;

/// A longer line is not waited for.
const LONGEST_LINE: usize = 1 << 20;

/// Who begins a conversation: who asks, or who answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opening {
    /// A request or a notification.
    Question,
    /// An answer: the question was not seen.
    Answer,
}

/// What a piece says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// Nothing yet.
    Nothing,
    /// It is JSON-RPC.
    JsonRpc(Opening),
    /// It is something else.
    Other,
    /// The line is too long to be waited for.
    TooLong,
}

/// The line that is being gathered.
#[derive(Debug, Default)]
pub(super) struct FirstLine {
    line: Vec<u8>,
    /// Where the next piece begins, once there was one.
    next: Option<u64>,
    /// The rest of a line that bytes of were lost.
    is_torn: bool,
}

impl FirstLine {
    /// Takes the next piece of the stream.
    pub(super) fn push(&mut self, offset: u64, mut bytes: &[u8]) -> Said {
        if self.next.is_some_and(|next| next != offset) {
            self.line.clear();
            self.is_torn = true;
        }
        self.next = Some(offset + bytes.len() as u64);
        while let Some(end) = memchr::memchr(b'\n', bytes) {
            let (rest, following) = (&bytes[..end], &bytes[end + 1..]);
            bytes = following;
            if std::mem::take(&mut self.is_torn) {
                continue;
            }
            self.line.extend_from_slice(rest);
            if self.line.len() > LONGEST_LINE {
                return Said::TooLong;
            }
            let line = std::mem::take(&mut self.line);
            if !line.trim_ascii().is_empty() {
                return match opening(&JsonRpcMessage::parse(&line)) {
                    Some(opening) => Said::JsonRpc(opening),
                    None => Said::Other,
                };
            }
        }
        if !self.is_torn {
            self.line.extend_from_slice(bytes);
        }
        if self.line.len() > LONGEST_LINE { Said::TooLong } else { Said::Nothing }
    }
}

fn opening(message: &JsonRpcMessage) -> Option<Opening> {
    match message {
        JsonRpcMessage::Request { .. } | JsonRpcMessage::Notification { .. } => Some(Opening::Question),
        JsonRpcMessage::Response { .. } => Some(Opening::Answer),
        JsonRpcMessage::Batch(messages) => messages.iter().find_map(opening),
        JsonRpcMessage::Other => None,
    }
}
