//! What makers of models on Bedrock other than Anthropic, Cohere's chat and OpenAI's likenesses expect of `invoke`: Titan,
//! Llama, Mistral's and DeepSeek's prompts, Cohere's and AI21's texts, embeddings, images.

use oisp_decode::Headers;
use oisp_event::{RequestType, Usage};
use serde_json::{Map, Value, json};

use super::common;
use super::completion::{self, CompletionStream, Reading, TextPiece};
use super::{Format, FormatId, ParsedRequest, ParsedResponse, StreamAccumulator};
use crate::bedrock;
use crate::call::Embedding;
use crate::detect::Target;
use crate::json::{count, into_object, owned_text, take_array, text};
use crate::providers::Dialect;

pub(super) struct BedrockNative;

impl Format for BedrockNative {
    fn id(&self) -> FormatId {
        FormatId::BedrockNative
    }

    fn name(&self) -> &'static str {
        "bedrock_native"
    }

    fn compatible_id(&self) -> &'static str {
        "bedrock_compatible"
    }

    fn serves_known_host(&self, path: &str) -> bool {
        bedrock::is_invoke(path)
    }

    fn serves_any_host(&self, path: &str) -> bool {
        bedrock::is_invoke(path)
    }

    fn is_distinctive(&self, path: &str, _headers: &Headers) -> bool {
        bedrock::is_invoke(path)
    }

    fn recognises_request(&self, body: &Value, target: &Target) -> bool {
        const INPUTS: [&str; 6] =
            ["prompt", "inputText", "inputImage", "text_prompts", "taskType", "inputType"];
        bedrock::is_invoke(&target.path) && INPUTS.iter().any(|key| body.get(key).is_some())
    }

    fn recognises_response(&self, body: &Value) -> bool {
        const OUTPUTS: [&str; 9] = [
            "results",
            "outputText",
            "generation",
            "outputs",
            "generations",
            "completions",
            "embedding",
            "embeddings",
            "images",
        ];
        OUTPUTS.iter().any(|key| body.get(key).is_some()) || first_text_choice(body)
    }

    fn recognises_stream_event(&self, name: &str, data: &Value) -> bool {
        // Every maker's events come under this name; the formats that know theirs are asked first.
        name == "chunk"
            && (text(data, "outputText").is_some()
                || text(data, "generation").is_some()
                || data.get("outputs").is_some_and(Value::is_array)
                || data.get("is_finished").is_some()
                || first_text_choice(data))
    }

    fn may_begin_response(&self, beginning: &str) -> bool {
        beginning.contains(":event-type") && beginning.contains("chunk")
    }

    fn parse_request(&self, body: Value, target: &Target) -> ParsedRequest {
        let mut map = into_object(body);
        let mut parsed = ParsedRequest::default();
        let model = bedrock::model(&target.path).unwrap_or_default();
        let kind = request_type(&map, &model);
        let inner =
            ["textToImageParams", "singleEmbeddingParams", "inPaintingParams", "imageVariationParams"]
                .iter()
                .find_map(|key| map.remove(*key));
        let mut texts = Vec::new();
        texts.extend(["prompt", "inputText"].iter().find_map(|key| map.remove(*key)));
        for prompt in take_array(&mut map, "text_prompts").unwrap_or_default() {
            texts.extend(owned_text(&prompt, "text").map(Value::String));
        }
        if let Some(inner) = &inner {
            let said = inner.get("text");
            let said = said.and_then(|said| said.as_str().or_else(|| text(said, "value")));
            texts.extend(said.map(Value::from));
        }
        let mut images: Vec<Value> = ["inputImage", "image"]
            .iter()
            .filter_map(|key| map.get(*key).and_then(Value::as_str).map(completion::base64_image))
            .collect();
        for image in map.get("images").and_then(Value::as_array).into_iter().flatten() {
            images.extend(image.as_str().map(completion::base64_image));
        }
        completion::enter_inputs(&mut parsed, kind, texts, images);
        common::set_model_and_streaming(&mut parsed.request, &mut map, target);
        // Titan nests its parameters; names of both levels are the same.
        let nested = into_object(map.remove("textGenerationConfig").unwrap_or_default());
        map.extend(nested);
        parsed.request.parameters = Some(completion::parameters(&map));
        common::enter_other_parameters(&mut parsed.extension, &map, OTHER_PARAMETERS);
        parsed
    }

    fn parse_response(&self, body: Value, _dialect: Dialect) -> ParsedResponse {
        let embedding = embedding(&body);
        let mut parsed = CompletionStream::read_whole(read, body);
        if embedding.is_some() {
            parsed.embedding = embedding;
            // An embedding has no output.
            if let Some(usage) = &mut parsed.response.usage {
                *usage = Usage { prompt_tokens: usage.prompt_tokens, ..Usage::default() };
            }
        }
        parsed
    }

    fn stream(&self, _dialect: Dialect) -> Box<dyn StreamAccumulator> {
        Box::new(CompletionStream::new(read))
    }
}

const OTHER_PARAMETERS: &[&str] = &[
    "top_k",
    "topK",
    "k",
    "num_generations",
    "numResults",
    "seed",
    "dimensions",
    "normalize",
    "embeddingTypes",
    "embeddingConfig",
    "taskType",
    "imageGenerationConfig",
    "aspect_ratio",
    "output_format",
    "mode",
    "steps",
    "cfg_scale",
];

fn request_type(map: &Map<String, Value>, model: &str) -> RequestType {
    let has = |keys: &[&str]| keys.iter().any(|key| map.contains_key(*key));
    let task = map.get("taskType").and_then(Value::as_str).unwrap_or_default();
    if task.ends_with("EMBEDDING")
        || model.contains("embed")
        || has(&["dimensions", "normalize", "embeddingTypes", "embeddingConfig"])
    {
        RequestType::Embedding
    } else if !task.is_empty()
        || has(&["text_prompts", "aspect_ratio", "cfg_scale"])
        || model.contains("stability.")
    {
        RequestType::Image
    } else {
        RequestType::Completion
    }
}

fn first_text_choice(body: &Value) -> bool {
    let first = body.get("choices").and_then(Value::as_array).and_then(|choices| choices.first());
    first.is_some_and(|choice| text(choice, "text").is_some())
}

/// Reads a body or an event of any maker.
fn read(mut body: Value) -> Reading {
    if super::cohere::is_generation(&body) {
        return super::cohere::read_generation(body);
    }
    let mut reading = Reading {
        response_id: owned_text(&body, "id"),
        model: owned_text(&body, "model"),
        input_tokens: count(&body, "prompt_token_count").or_else(|| count(&body, "inputTextTokenCount")),
        output_tokens: count(&body, "generation_token_count")
            .or_else(|| count(&body, "totalOutputTextTokenCount")),
        ..Reading::default()
    };
    for key in
        ["prompt_token_count", "generation_token_count", "inputTextTokenCount", "totalOutputTextTokenCount"]
    {
        if let Some(value) = body.get(key) {
            reading.usage.insert(key.to_owned(), value.clone());
        }
    }
    for (key, text_key, finish) in [
        ("results", "outputText", "completionReason"),
        ("outputs", "text", "stop_reason"),
        ("choices", "text", "stop_reason"),
    ] {
        let texts = body.get_mut(key).map(Value::take);
        let Some(Value::Array(texts)) = texts else { continue };
        for (position, text) in texts.into_iter().enumerate() {
            let mut map = into_object(text);
            if let Some(tokens) = map.get("tokenCount").and_then(Value::as_u64) {
                reading.output_tokens =
                    Some(reading.output_tokens.unwrap_or_default().saturating_add(tokens));
                reading.usage.insert("tokenCount".to_owned(), tokens.into());
            }
            let finish = if map.contains_key(finish) { finish } else { "finish_reason" };
            let index = map.remove("index").and_then(|index| index.as_u64()).unwrap_or(position as u64);
            reading.texts.push(TextPiece::of(index, map, text_key, finish));
        }
    }
    // AI21: `{"completions":[{"data":{"text"},"finishReason":{"reason"}}]}`.
    for (index, completed) in
        body.get("completions").and_then(Value::as_array).into_iter().flatten().enumerate()
    {
        reading.texts.push(TextPiece {
            index: index as u64,
            text: completed.get("data").and_then(|data| owned_text(data, "text")),
            finish: completed.get("finishReason").and_then(|finish| owned_text(finish, "reason")),
        });
    }
    let usage = body.get_mut("usage").map(Value::take).filter(Value::is_object);
    if let Some(usage) = usage {
        reading.input_tokens = count(&usage, "prompt_tokens").or(reading.input_tokens);
        reading.output_tokens = count(&usage, "completion_tokens").or(reading.output_tokens);
        reading.usage.extend(into_object(usage));
    }
    read_images(&body, &mut reading);
    let map = into_object(body);
    reading.error = common::error_in(&map);
    if map.contains_key("outputText") {
        // Titan counts only with its last event, which names no reason where a guardrail has answered.
        reading.is_last = map.get("totalOutputTextTokenCount").is_some_and(Value::is_number);
        let index = map.get("index").and_then(Value::as_u64).unwrap_or_default();
        reading.texts.push(TextPiece::of(index, map, "outputText", "completionReason"));
    } else if map.contains_key("generation") {
        reading.texts.push(TextPiece::of(0, map, "generation", "stop_reason"));
    }
    reading
}

/// Generated images by their sizes.
fn read_images(body: &Value, reading: &mut Reading) {
    for image in body.get("images").and_then(Value::as_array).into_iter().flatten() {
        reading.images.extend(image.as_str().map(completion::base64_image));
    }
    for artifact in body.get("artifacts").and_then(Value::as_array).into_iter().flatten() {
        reading.images.extend(text(artifact, "base64").map(completion::base64_image));
    }
    if let Some(reasons) = body.get("finish_reasons").filter(|reasons| reasons.is_array()) {
        reading.extension.insert("finish_reasons".to_owned(), common::bounded(json!(reasons)));
    }
}

/// Titan's `embedding` and `embeddingsByType`, Nova's and Cohere's `embeddings`.
fn embedding(body: &Value) -> Option<Embedding> {
    if let Some(vector @ Value::Array(_)) = body.get("embedding") {
        return Some(completion::embedding_of([vector]));
    }
    if let Some(by_type) = body.get("embeddingsByType").and_then(Value::as_object) {
        return by_type.values().next().map(|vector| completion::embedding_of([vector]));
    }
    let list = body.get("embeddings").or_else(|| body.get("data"))?.as_array()?;
    Some(completion::embedding_of(list.iter().map(|found| found.get("embedding").unwrap_or(found))))
}
