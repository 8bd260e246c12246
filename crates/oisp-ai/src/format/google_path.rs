//! How Google's APIs name model and method in a path: `.../models/{model}:{verb}`.

use crate::detect::Target;

/// The method, if the path's last part names one.
pub(super) fn verb(path: &str) -> Option<&str> {
    let last = path.trim_end_matches('/').rsplit('/').next()?;
    let (_, verb) = last.rsplit_once(':').or_else(|| last.rsplit_once("%3A"))?;
    Some(verb)
}

/// The model; one that is not of the public list with the kind that it is named by (`tunedModels/x`, `endpoints/1`).
pub(super) fn model(target: &Target) -> Option<String> {
    [("models", ""), ("tunedModels", "tunedModels/"), ("endpoints", "endpoints/")].iter().find_map(
        |(segment, prefix)| {
            let found = target.segment_after(segment)?;
            let id = found.rsplit_once(':').map_or(found.as_str(), |(id, _)| id);
            (!id.is_empty()).then(|| format!("{prefix}{id}"))
        },
    )
}

/// Whether the body at a path is of the form that the model's maker has given it. Their token counts are not among them.
pub(super) fn is_raw_predict(path: &str) -> bool {
    matches!(verb(path), Some("rawPredict" | "streamRawPredict")) && !is_raw_count(path)
}

/// Whether a body at a path may be of Anthropic's form: its models are, and what is behind an endpoint may be.
pub(super) fn may_be_anthropics(path: &str) -> bool {
    is_raw_predict(path) && publisher(path).is_none_or(|publisher| publisher == "anthropic")
}

/// Whether a body at a path may be of the form that all the other makers use.
pub(super) fn may_be_chat(path: &str) -> bool {
    is_raw_predict(path) && publisher(path) != Some("anthropic")
}

fn publisher(path: &str) -> Option<&str> {
    path.split_once("/publishers/")?.1.split('/').next()
}

/// Whether a path counts the tokens of what a maker's body says.
pub(super) fn is_raw_count(path: &str) -> bool {
    path.trim_end_matches('/').ends_with("/models/count-tokens:rawPredict")
}

/// The model of a body that is handed on raw.
pub(super) fn model_of_raw_predict(target: &Target) -> Option<String> {
    is_raw_predict(&target.path).then(|| model(target)).flatten()
}

/// A model's name without the collection that it is in.
pub(super) fn bare_model(name: &str) -> String {
    name.rsplit_once("models/").map_or(name, |(_, id)| id).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn form_of_a_raw_body_goes_by_its_maker_where_one_is_named() {
        for (path, anthropics, chat) in [
            ("/v1/projects/p/locations/l/publishers/anthropic/models/c:rawPredict", true, false),
            ("/v1/projects/p/locations/l/publishers/mistralai/models/m:streamRawPredict", false, true),
            ("/v1/projects/p/locations/l/endpoints/1:rawPredict", true, true),
            ("/v1/projects/p/locations/l/publishers/anthropic/models/count-tokens:rawPredict", false, false),
            ("/v1/projects/p/locations/l/publishers/google/models/g:generateContent", false, false),
        ] {
            assert_eq!((may_be_anthropics(path), may_be_chat(path)), (anthropics, chat), "{path}");
        }
    }

    #[test]
    fn model_and_method_are_read_from_every_form_of_path() {
        for (path, expected_model, expected_verb) in [
            (
                "/v1beta/models/gemini-2.5-pro:generateContent",
                Some("gemini-2.5-pro"),
                Some("generateContent"),
            ),
            (
                "/v1beta/tunedModels/mine-1:streamGenerateContent",
                Some("tunedModels/mine-1"),
                Some("streamGenerateContent"),
            ),
            (
                "/v1/projects/p/locations/l/endpoints/42:generateContent",
                Some("endpoints/42"),
                Some("generateContent"),
            ),
            (
                "/v1/projects/p/locations/l/publishers/anthropic/models/claude@20250219:rawPredict",
                Some("claude@20250219"),
                Some("rawPredict"),
            ),
            ("/v1/publishers/google/models/g%3Apredict", Some("g"), Some("predict")),
            ("/v1beta/models", None, None),
            ("/v1internal:generateContent", None, Some("generateContent")),
            ("", None, None),
            ("/models/:x", None, Some("x")),
        ] {
            let target = Target { path: path.into(), query: String::new() };
            assert_eq!(model(&target).as_deref(), expected_model, "{path}");
            assert_eq!(verb(path), expected_verb, "{path}");
        }
    }
}
