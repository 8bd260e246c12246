//! What AWS Bedrock says outside its bodies: the operation and the model in the path, the region in the host, the signer,
//! the counts in response headers and beside streamed chunks.

use oisp_decode::{Headers, RequestHead};
use oisp_event::AiResponse;
use serde_json::{Map, Value};

use crate::format::usage_with_cache_apart;
use crate::headers;
use crate::json;

/// What a path asks the runtime for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Invoke,
    InvokeStream,
    Converse,
    ConverseStream,
    CountTokens,
}

impl Operation {
    /// Of `/model/{id}/{operation}`; proxies put something before it.
    pub(crate) fn of_path(path: &str) -> Option<Self> {
        parts(path).map(|(_, operation)| operation)
    }

    /// Whether the body is written as the model's maker writes it.
    pub(crate) fn is_invoke(self) -> bool {
        matches!(self, Self::Invoke | Self::InvokeStream)
    }

    pub(crate) fn is_streaming(self) -> bool {
        matches!(self, Self::InvokeStream | Self::ConverseStream)
    }
}

/// Whether the path is an invocation whose body is the maker's own.
pub(crate) fn is_invoke(path: &str) -> bool {
    Operation::of_path(path).is_some_and(Operation::is_invoke)
}

/// The model that a path names, decoded: an id, an inference profile, an ARN.
pub(crate) fn model(path: &str) -> Option<String> {
    let (model, _) = parts(path)?;
    let model = percent_encoding::percent_decode_str(model).decode_utf8_lossy();
    (!model.is_empty()).then(|| model.into_owned())
}

/// Whether a path invokes a model of this maker, or one whose name does not tell the maker.
pub(crate) fn may_invoke(path: &str, maker: &str) -> bool {
    is_invoke(path) && model(path).is_some_and(|model| self::maker(&model).is_none_or(|found| found == maker))
}

/// Whether a path invokes a model of this maker.
pub(crate) fn invokes(path: &str, maker: &str) -> bool {
    is_invoke(path) && model(path).is_some_and(|model| self::maker(&model) == Some(maker))
}

/// `us.anthropic.claude-…`, `meta.llama3-…`, the same at an ARN's end. An application's own profile does not tell.
fn maker(model: &str) -> Option<&str> {
    let id = model.rsplit_once('/').map_or(model, |(_, id)| id);
    let id = id.split(':').next().unwrap_or(id);
    // Regions of inference profiles: `us.`, `eu.`, `apac.`, `global.`, `us-gov.`.
    let (first, rest) = id.split_once('.')?;
    let is_region = matches!(first, "us" | "eu" | "apac" | "jp" | "au" | "ca" | "sa" | "us-gov" | "global");
    Some(match rest.split_once('.') {
        Some((maker, _)) if is_region => maker,
        _ => first,
    })
}

fn parts(path: &str) -> Option<(&str, Operation)> {
    let (before, operation) = path.trim_end_matches('/').rsplit_once('/')?;
    let operation = match operation {
        "invoke" => Operation::Invoke,
        "invoke-with-response-stream" => Operation::InvokeStream,
        "converse" => Operation::Converse,
        "converse-stream" => Operation::ConverseStream,
        "count-tokens" => Operation::CountTokens,
        _ => return None,
    };
    const MARK: &str = "/model/";
    let start = before.find(MARK)? + MARK.len();
    Some((&before[start..], operation)).filter(|(model, _)| !model.is_empty())
}

/// The region in a host's name: `bedrock-runtime.us-east-1.amazonaws.com`.
pub(crate) fn region_of_host(host: &str) -> Option<String> {
    let mut labels = host.split('.').skip_while(|label| !label.starts_with("bedrock-"));
    labels.next()?;
    labels.next().filter(|label| is_region(label)).map(str::to_owned)
}

fn is_region(text: &str) -> bool {
    text.len() <= 32
        && text.contains('-')
        && text.ends_with(|last: char| last.is_ascii_digit())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

/// Who signed a request with AWS's Signature Version 4, and for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Signer<'a> {
    pub(crate) access_key_id: &'a str,
    pub(crate) region: Option<&'a str>,
    pub(crate) service: &'a str,
}

impl<'a> Signer<'a> {
    /// Of an `Authorization` value: `AWS4-HMAC-SHA256 Credential=KEY/date/region/service/aws4_request, …`.
    pub(crate) fn of(authorization: &'a str) -> Option<Self> {
        let rest = authorization.strip_prefix("AWS4-")?;
        let (_, rest) = rest.split_once("Credential=")?;
        let scope = rest.split([',', ' ']).next()?;
        let mut fields = scope.split('/');
        let access_key_id = fields.next().filter(|key| !key.is_empty())?;
        let mut fields: Vec<&str> = fields.take(8).collect();
        (fields.pop() == Some("aws4_request")).then_some(())?;
        // The asymmetric variant has no region in its scope.
        let (region, service) = match fields[..] {
            [_, region, service] => (Some(region).filter(|region| is_region(region)), service),
            [_, service] => (None, service),
            _ => return None,
        };
        Some(Self { access_key_id, region, service })
    }
}

/// The region that a request is signed for, if it is signed for Bedrock.
pub(crate) fn signed_region(head: &RequestHead) -> Option<String> {
    let value = head.headers.get("authorization")?;
    let signer = Signer::of(&value)?;
    signer.region.filter(|_| signer.is_for_bedrock()).map(str::to_owned)
}

/// Whether a request is signed for Bedrock, whatever its host.
pub(crate) fn is_signed(head: &RequestHead) -> bool {
    head.headers
        .get("authorization")
        .is_some_and(|value| Signer::of(&value).is_some_and(|signer| signer.is_for_bedrock()))
}

impl Signer<'_> {
    fn is_for_bedrock(&self) -> bool {
        matches!(self.service, "bedrock" | "bedrock-mantle")
    }
}

/// What the headers of a response say that its body does not.
#[derive(Debug, Default)]
pub(crate) struct HeaderFacts {
    error_type: Option<String>,
    service_tier: Option<String>,
    counts: Map<String, Value>,
}

impl HeaderFacts {
    pub(crate) fn of(headers: &Headers) -> Self {
        let error_type = headers::text(headers, "x-amzn-errortype")
            .and_then(|kind| kind.split(':').next()?.rsplit('#').next().map(str::to_owned))
            .filter(|kind| !kind.is_empty());
        let counts = [
            ("inputTokenCount", "x-amzn-bedrock-input-token-count"),
            ("outputTokenCount", "x-amzn-bedrock-output-token-count"),
            ("cacheReadInputTokenCount", "x-amzn-bedrock-cache-read-input-token-count"),
            ("cacheWriteInputTokenCount", "x-amzn-bedrock-cache-write-input-token-count"),
            ("invocationLatency", "x-amzn-bedrock-invocation-latency"),
        ]
        .into_iter()
        .filter_map(|(key, name)| {
            let number: u64 = headers::text(headers, name)?.trim().parse().ok()?;
            Some((key.to_owned(), number.into()))
        })
        .collect();
        Self { error_type, service_tier: headers::text(headers, "x-amzn-bedrock-service-tier"), counts }
    }

    /// Adds them to what was read of the body; what the body says counts more.
    pub(crate) fn enter(self, failed: bool, response: &mut AiResponse, extension: &mut Map<String, Value>) {
        if failed && let Some(kind) = self.error_type {
            response.error.get_or_insert_default().error_type.get_or_insert(kind);
        }
        if let Some(tier) = self.service_tier {
            extension.entry("service_tier").or_insert(tier.into());
        }
        enter_metrics(self.counts, response, extension);
    }
}

/// What Bedrock adds to the answers of models, whatever their format.
#[derive(Debug, Default)]
pub(crate) struct Additions {
    metrics: Map<String, Value>,
    guardrail_action: Option<Value>,
}

impl Additions {
    /// Takes them out of a body or an event: a stream's last chunk has the metrics.
    pub(crate) fn take(&mut self, body: &mut Value) {
        let Some(map) = body.as_object_mut() else { return };
        if let Some(metrics) = map.remove("amazon-bedrock-invocationMetrics") {
            self.metrics = json::into_object(metrics);
        }
        let action = map.remove("amazon-bedrock-guardrailAction").filter(Value::is_string);
        self.guardrail_action = action.or(self.guardrail_action.take());
    }

    /// Adds them to what was read.
    pub(crate) fn enter(self, response: &mut AiResponse, extension: &mut Map<String, Value>) {
        enter_metrics(self.metrics, response, extension);
        if let Some(action) = self.guardrail_action {
            extension.insert("guardrail".to_owned(), serde_json::json!({ "action": action }));
        }
    }
}

/// Keeps measured counts and latencies, and takes usage from them where nothing else says it.
fn enter_metrics(metrics: Map<String, Value>, response: &mut AiResponse, extension: &mut Map<String, Value>) {
    if metrics.is_empty() {
        return;
    }
    let metrics = Value::Object(metrics);
    if response.usage.is_none() {
        response.usage = usage_with_cache_apart(
            &metrics,
            ["inputTokenCount", "outputTokenCount", "cacheReadInputTokenCount", "cacheWriteInputTokenCount"],
            extension,
        );
    }
    extension.entry("invocation_metrics").or_insert(metrics);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_give_operation_and_model() {
        for (path, operation, expected) in [
            (
                "/model/us.anthropic.claude-v1%3A0/invoke",
                Some(Operation::Invoke),
                Some("us.anthropic.claude-v1:0"),
            ),
            (
                "/model/arn:aws:bedrock:us-east-1:1:inference-profile/eu.x/converse-stream",
                Some(Operation::ConverseStream),
                Some("arn:aws:bedrock:us-east-1:1:inference-profile/eu.x"),
            ),
            ("/proxy/model/a/count-tokens", Some(Operation::CountTokens), Some("a")),
            ("/model//invoke", None, None),
            ("/model/invoke", None, None),
            ("/models/a/invoke", None, None),
            ("/model/a/other", None, None),
        ] {
            assert_eq!(Operation::of_path(path), operation, "{path}");
            assert_eq!(model(path).as_deref(), expected, "{path}");
        }
    }

    #[test]
    fn makers_are_known_by_id_profile_and_arn_and_not_guessed() {
        for (model, expected) in [
            ("us.anthropic.claude-opus-4-6-v1", Some("anthropic")),
            ("meta.llama3-70b-instruct-v1:0", Some("meta")),
            ("arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-pro-v1:0", Some("amazon")),
            ("arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/a1b2c3", None),
        ] {
            assert_eq!(maker(model), expected, "{model}");
        }
    }

    #[test]
    fn regions_are_read_from_hosts() {
        for (host, expected) in [
            ("bedrock-runtime.us-east-1.amazonaws.com", Some("us-east-1")),
            ("bedrock-runtime-fips.us-gov-west-1.amazonaws.com", Some("us-gov-west-1")),
            ("bedrock-runtime.cn-north-1.amazonaws.com.cn", Some("cn-north-1")),
            ("vpce-0a.bedrock-runtime.eu-west-3.vpce.amazonaws.com", Some("eu-west-3")),
            ("bedrock-mantle.us-west-2.api.aws", Some("us-west-2")),
            ("api.openai.com", None),
            ("bedrock-runtime.amazonaws.com", None),
        ] {
            assert_eq!(region_of_host(host).as_deref(), expected, "{host}");
        }
    }

    #[test]
    fn signers_are_read_and_damaged_scopes_are_not() {
        let value = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20260101/eu-west-1/bedrock/aws4_request, SignedHeaders=host, Signature=0";
        let expected = Signer { access_key_id: "AKIDEXAMPLE", region: Some("eu-west-1"), service: "bedrock" };
        assert_eq!(Signer::of(value), Some(expected));
        let asymmetric =
            "AWS4-ECDSA-P256-SHA256 Credential=AKIDEXAMPLE/20260101/bedrock/aws4_request,Signature=0";
        assert_eq!(Signer::of(asymmetric).and_then(|signer| signer.region), None);
        assert!(Signer::of(asymmetric).is_some_and(|signer| signer.is_for_bedrock()));
        for damaged in ["AWS4-HMAC-SHA256", "AWS4-HMAC-SHA256 Credential=/a/b/c/aws4_request", "Bearer x"] {
            assert_eq!(Signer::of(damaged), None, "{damaged}");
        }
    }
}
