//! Traffic that has nothing to do with AI, so that tests can show it being passed over.

use serde_json::json;

use super::answer::{Answer, Asked, ProviderFormat};
use crate::prose;

/// `GET /bytes/N` gives N bytes that don't compress, `POST /echo` the request's body, `GET /` a greeting;
/// every other path is not found.
pub(super) struct Plain;

const MAX_BYTES: usize = 256 << 20;
const PART_BYTES: usize = 64 << 10;

impl ProviderFormat for Plain {
    fn name(&self) -> &'static str {
        "plain"
    }

    fn answer(&self, asked: &Asked<'_>) -> Option<Answer> {
        let path = asked.path();
        let bytes = path.strip_prefix("/bytes/").and_then(|bytes| bytes.parse::<usize>().ok());
        Some(match (asked.request.method.as_str(), path, bytes) {
            ("GET", _, Some(bytes)) => noise(asked.seed(), bytes.min(MAX_BYTES)),
            ("GET", "/", _) => Answer::whole(200, "text/plain", b"a fake AI provider\n".to_vec()),
            ("POST", "/echo", _) => {
                Answer::whole(200, "application/octet-stream", asked.request.body.clone())
            }
            _ => Answer::json(404, &json!({ "error": { "message": format!("no such path: {path}") } })),
        })
    }
}

fn noise(seed: u64, bytes: usize) -> Answer {
    let mut state = seed;
    let mut answer = Answer::whole(200, "application/octet-stream", Vec::new());
    answer.parts = (0..bytes.div_ceil(PART_BYTES))
        .map(|part| {
            let length = PART_BYTES.min(bytes - part * PART_BYTES);
            let words = (0..length.div_ceil(8)).map(|_| prose::next_random(&mut state).to_le_bytes());
            let mut part: Vec<u8> = words.flatten().collect();
            part.truncate(length);
            part
        })
        .collect();
    answer
}
