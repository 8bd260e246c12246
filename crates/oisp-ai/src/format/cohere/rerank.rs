//! `POST /v1/rerank` and `/v2/rerank`, and the same body as Bedrock invokes it.

use oisp_event::RequestType;
use serde_json::Value;

use super::{COMPATIBLE, OTHER_PARAMETERS, count_documents, ends_with, take_usage};
use crate::bedrock;
use crate::detect::Target;
use crate::format::answer::Answer;
use crate::format::completion::{self, CompletionStream, Reading};
use crate::format::{Format, FormatId, ParsedRequest, ParsedResponse, StreamAccumulator, common};
use crate::json::{into_object, owned_text, text};
use crate::providers::Dialect;

pub(in crate::format) struct CohereRerank;

impl Format for CohereRerank {
    fn id(&self) -> FormatId {
        FormatId::CohereRerank
    }

    fn name(&self) -> &'static str {
        "cohere_rerank"
    }

    fn compatible_id(&self) -> &'static str {
        COMPATIBLE
    }

    fn serves_known_host(&self, path: &str) -> bool {
        ends_with(path, "/v1/rerank") || ends_with(path, "/v2/rerank") || bedrock::may_invoke(path, "cohere")
    }

    fn serves_any_host(&self, path: &str) -> bool {
        self.serves_known_host(path)
    }

    fn recognises_request(&self, body: &Value, _target: &Target) -> bool {
        text(body, "query").is_some() && body.get("documents").is_some_and(Value::is_array)
    }

    fn recognises_response(&self, body: &Value) -> bool {
        let results = body.get("results").and_then(Value::as_array);
        results.is_some_and(|results| results.iter().all(|found| found.get("relevance_score").is_some()))
    }

    fn parse_request(&self, body: Value, target: &Target) -> ParsedRequest {
        let mut map = into_object(body);
        let mut parsed = ParsedRequest::default();
        completion::enter_inputs(&mut parsed, RequestType::Other, map.remove("query"), None);
        common::set_model_and_streaming(&mut parsed.request, &mut map, target);
        count_documents(&map, &mut parsed.extension);
        common::enter_other_parameters(&mut parsed.extension, &map, OTHER_PARAMETERS);
        parsed
    }

    fn parse_response(&self, mut body: Value, _dialect: Dialect) -> ParsedResponse {
        let mut answer = Answer { response_id: owned_text(&body, "id"), ..Answer::default() };
        take_usage(&mut answer, body.get_mut("meta").map(Value::take));
        let results = body.get("results").and_then(Value::as_array).map(|results| results.len().into());
        answer.keep("results", results);
        answer.finish()
    }

    /// There is no streamed reranking.
    fn stream(&self, _dialect: Dialect) -> Box<dyn StreamAccumulator> {
        Box::new(CompletionStream::new(|_| Reading::default()))
    }
}
