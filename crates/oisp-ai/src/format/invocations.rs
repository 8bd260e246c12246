//! Endpoints that serve whatever model was put there: SageMaker's `/endpoints/{name}/invocations[-response-stream]`,
//! Databricks' `/serving-endpoints/{name}/invocations`.

use crate::detect::Target;

/// Whether a path invokes an endpoint that its name alone says nothing about.
pub(super) fn is_at(path: &str) -> bool {
    let path = path.trim_end_matches('/');
    (path.starts_with("/endpoints/") || path.starts_with("/serving-endpoints/"))
        && (path.ends_with("/invocations") || path.ends_with("/invocations-response-stream"))
}

/// Whether the path asks for a stream, whatever the body says.
pub(super) fn is_streaming(path: &str) -> bool {
    is_at(path) && path.trim_end_matches('/').ends_with("/invocations-response-stream")
}

/// The name that SageMaker gives an endpoint.
pub(super) fn endpoint(target: &Target) -> Option<String> {
    is_at(&target.path).then(|| target.segment_after("endpoints")).flatten()
}

/// The name that Databricks gives an endpoint and takes for a model.
pub(super) fn model(target: &Target) -> Option<String> {
    is_at(&target.path).then(|| target.segment_after("serving-endpoints")).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_told_by_their_whole_path() {
        for (path, at, streaming, name) in [
            ("/endpoints/llama/invocations", true, false, None),
            ("/endpoints/llama/invocations-response-stream", true, true, None),
            ("/serving-endpoints/claude-4/invocations", true, false, Some("claude-4")),
            ("/serving-endpoints/chat/completions", false, false, None),
            ("/invocations", false, false, None),
        ] {
            let target = Target { path: path.to_owned(), ..Target::default() };
            assert_eq!((is_at(path), is_streaming(path)), (at, streaming), "{path}");
            assert_eq!(model(&target).as_deref(), name, "{path}");
        }
    }
}
