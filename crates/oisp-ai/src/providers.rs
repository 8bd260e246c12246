//! The services known by host, as data.
//!
//! A service that speaks a known format is one row. Rows are tried in order; the first whose host
//! matches decides.

use oisp_event::ProviderName::{self, *};

use crate::format::FormatId::{
    self, AlephAlpha, AnthropicComplete, AnthropicMessages, BedrockAgents, BedrockConverse, BedrockNative,
    CohereEmbed, CohereGenerate, CohereRerank, CohereV1, CohereV2, Gemini, GeminiEmbeddings,
    GeminiInteractions, GoogleCountTokens, HuggingFaceTgi, LlamaCpp, LmStudio, Ollama as OllamaFormat,
    OllamaEmbeddings, OpenAiAssistants, OpenAiChat, OpenAiCompletions, OpenAiEmbeddings, OpenAiMedia,
    OpenAiResponses, Replicate as ReplicateFormat, Watsonx,
};
use crate::format::{self, Format};

/// A service.
#[derive(Debug)]
pub(crate) struct Provider {
    /// Exact id.
    pub(crate) id: &'static str,
    /// The specification's name.
    pub(crate) name: ProviderName,
    /// Where it is.
    pub(crate) hosts: &'static [Host],
    /// What it speaks here; the format's own paths decide which.
    pub(crate) formats: &'static [FormatId],
    /// Paths of the API, where the host serves other things as well; `*` stands for any one segment.
    pub(crate) api_paths: &'static [&'static str],
    /// Ends of the API's paths, where the beginnings are shared with other things.
    pub(crate) api_ends: &'static [&'static str],
    /// Paths below those that are no calls (telemetry).
    pub(crate) other_paths: &'static [&'static str],
    /// Where host or path name the region; the first that does.
    pub(crate) region: &'static [Named],
    /// Where host or path name the project.
    pub(crate) project: &'static [Named],
    /// A response header that only this service sends.
    pub(crate) response_header: Option<&'static str>,
    /// Where its usage differs from the format's.
    pub(crate) dialect: Dialect,
}

/// A host pattern; names are compared in lower case.
#[derive(Debug)]
pub(crate) enum Host {
    Exact(&'static str),
    /// A subdomain of it.
    Below(&'static str),
    /// As `Exact`, at one port.
    ExactPort(&'static str, u16),
    /// As `Below`, at one port.
    BelowPort(&'static str, u16),
    /// Beginning and end, for names with a region in the middle.
    Around(&'static str, &'static str),
    /// Something in the middle, and the end: names that begin with an id.
    Within(&'static str, &'static str),
    /// The port on a loopback or private name. Ports say little: whatever is matched so still needs a
    /// body of a known format.
    LocalPort(u16),
}

/// Where a name stands in host or path.
#[derive(Debug)]
pub(crate) enum Named {
    /// The host up to this.
    HostBefore(&'static str),
    /// The host between these.
    HostBetween(&'static str, &'static str),
    /// The segment of the path after this one.
    PathAfter(&'static str),
}

/// What host and path say beside the service's name.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) region: Option<String>,
    pub(crate) project: Option<String>,
}

/// Where a service's usage differs from its format's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Dialect {
    /// `completion_tokens` does not include `reasoning_tokens`.
    pub(crate) completion_excludes_reasoning: bool,
    /// How it reports the call's cost.
    pub(crate) cost: ReportedCost,
}

/// How a service reports what a call cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum ReportedCost {
    /// Not, or in a currency that is not known.
    #[default]
    Unknown,
    /// `usage.cost`, US dollars.
    UsageCost,
    /// `usage.cost.total_cost`, US dollars.
    UsageCostTotal,
    /// `usage.cost_in_usd_ticks`, 10^-10 US dollars.
    UsdTicks,
}

impl Provider {
    /// The formats that it speaks at a path.
    pub(crate) fn formats_at<'a>(
        &self,
        path: &'a str,
    ) -> impl Iterator<Item = &'static dyn Format> + use<'a> {
        self.formats.iter().copied().map(format::of).filter(move |format| format.serves_known_host(path))
    }

    /// Whether a path belongs to the service's API.
    pub(crate) fn serves(&self, path: &str) -> bool {
        let below = |prefixes: &[&str]| prefixes.iter().any(|prefix| is_below(path, prefix));
        let ends = |end: &&str| path.trim_end_matches('/').ends_with(*end);
        (self.api_paths.is_empty() || below(self.api_paths))
            && (self.api_ends.is_empty() || self.api_ends.iter().any(ends))
            && !below(self.other_paths)
    }

    /// Region and project, as far as host and path name them.
    pub(crate) fn place(&self, host: &str, path: &str) -> Place {
        let first = |places: &[Named]| places.iter().find_map(|place| place.read(host, path));
        Place { region: first(self.region), project: first(self.project) }
    }

    /// Whether the host is known by its name and not only by a port that others use too.
    pub(crate) fn is_named(&self) -> bool {
        !self.hosts.iter().any(|host| matches!(host, Host::LocalPort(_)))
    }
}

impl Named {
    fn read(&self, host: &str, path: &str) -> Option<String> {
        let found = match self {
            Self::HostBefore(end) => host.strip_suffix(end),
            Self::HostBetween(start, end) => host.strip_prefix(start).and_then(|rest| rest.strip_suffix(end)),
            Self::PathAfter(segment) => {
                let mut segments = path.split('/').skip_while(|found| found != segment);
                segments.nth(1)
            }
        };
        found.filter(|found| !found.is_empty()).map(str::to_owned)
    }
}

impl Host {
    pub(crate) fn matches(&self, name: &str, port: Option<u16>) -> bool {
        match self {
            Self::Exact(exact) => name == *exact,
            Self::Below(domain) => name.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.')),
            Self::ExactPort(exact, number) => port == Some(*number) && Self::Exact(exact).matches(name, port),
            Self::BelowPort(domain, number) => {
                port == Some(*number) && Self::Below(domain).matches(name, port)
            }
            Self::Around(start, end) => {
                name.len() > start.len() + end.len() && name.starts_with(start) && name.ends_with(end)
            }
            Self::Within(middle, end) => {
                name.strip_suffix(end).is_some_and(|rest| rest.find(middle).is_some_and(|at| at > 0))
            }
            Self::LocalPort(number) => port == Some(*number) && is_local(name),
        }
    }
}

/// Whether a path begins with another, in which `*` stands for any one segment.
fn is_below(path: &str, prefix: &str) -> bool {
    let Some((before, after)) = prefix.split_once("/*") else { return path.starts_with(prefix) };
    let rest = path.strip_prefix(before).and_then(|rest| rest.strip_prefix('/'));
    rest.and_then(|rest| rest.find('/').map(|end| &rest[end..])).is_some_and(|rest| is_below(rest, after))
}

/// Loopback, a private address, or a name that only a local resolver knows.
fn is_local(name: &str) -> bool {
    if let Ok(address) = name.trim_matches(['[', ']']).parse::<std::net::IpAddr>() {
        return match address {
            std::net::IpAddr::V4(v4) => v4.is_loopback() || v4.is_private() || v4.is_unspecified(),
            std::net::IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local() || v6.is_unspecified(),
        };
    }
    !name.is_empty()
        && (!name.contains('.')
            || [".local", ".internal", ".localhost", ".lan"].iter().any(|end| name.ends_with(end)))
}

const PLAIN: Dialect = Dialect { completion_excludes_reasoning: false, cost: ReportedCost::Unknown };

/// What services with OpenAI's interface speak.
const OPENAI: &[FormatId] = &[OpenAiChat, OpenAiResponses, OpenAiCompletions, OpenAiEmbeddings, OpenAiMedia];
/// What OpenAI speaks.
const OPENAI_ITSELF: &[FormatId] =
    &[OpenAiChat, OpenAiResponses, OpenAiCompletions, OpenAiEmbeddings, OpenAiMedia, OpenAiAssistants];
/// What Azure speaks.
const AZURE: &[FormatId] = &[
    OpenAiChat,
    OpenAiResponses,
    OpenAiCompletions,
    AnthropicMessages,
    OpenAiEmbeddings,
    OpenAiMedia,
    OpenAiAssistants,
];
/// What those of them speak that have Anthropic's interface as well.
const OPENAI_AND_ANTHROPIC: &[FormatId] =
    &[OpenAiChat, OpenAiResponses, OpenAiCompletions, AnthropicMessages, OpenAiEmbeddings, OpenAiMedia];
/// What Ollama speaks.
const OLLAMA: &[FormatId] = &[
    OllamaFormat,
    OllamaEmbeddings,
    OpenAiChat,
    OpenAiResponses,
    OpenAiCompletions,
    AnthropicMessages,
    OpenAiEmbeddings,
    OpenAiMedia,
];
/// What Hugging Face's services speak.
const HUGGING_FACE: &[FormatId] =
    &[OpenAiChat, OpenAiResponses, OpenAiCompletions, OpenAiEmbeddings, OpenAiMedia, HuggingFaceTgi];

/// What Anthropic speaks.
const ANTHROPIC: &[FormatId] = &[OpenAiChat, AnthropicMessages, AnthropicComplete];
/// What Bedrock's runtime speaks: its own Converse, and what the makers of its models speak.
const BEDROCK: &[FormatId] = &[
    AnthropicMessages,
    AnthropicComplete,
    BedrockConverse,
    CohereV1,
    CohereEmbed,
    CohereRerank,
    BedrockNative,
    OpenAiChat,
];
/// What goes through a gateway, below paths of its own.
const GATEWAY: &[FormatId] = &[
    AnthropicMessages,
    AnthropicComplete,
    BedrockConverse,
    CohereV2,
    CohereV1,
    BedrockNative,
    Gemini,
    GeminiEmbeddings,
    OpenAiChat,
    OpenAiResponses,
    OpenAiCompletions,
    OpenAiEmbeddings,
    OpenAiMedia,
];
/// What Cohere speaks.
const COHERE: &[FormatId] =
    &[CohereV2, CohereV1, CohereGenerate, CohereEmbed, CohereRerank, OpenAiChat, OpenAiEmbeddings];
/// What Google speaks with a key.
const GEMINI: &[FormatId] = &[
    Gemini,
    GeminiEmbeddings,
    GoogleCountTokens,
    GeminiInteractions,
    OpenAiChat,
    OpenAiResponses,
    OpenAiCompletions,
    OpenAiEmbeddings,
    OpenAiMedia,
];
/// What Google's cloud speaks: also what the makers of other models speak.
const VERTEX: &[FormatId] = &[
    Gemini,
    GeminiEmbeddings,
    GoogleCountTokens,
    GeminiInteractions,
    AnthropicMessages,
    OpenAiChat,
    OpenAiResponses,
];
/// Google's hosts serve much beside calls to models.
const GOOGLE_CALLS: &[&str] = &[
    ":generateContent",
    ":streamGenerateContent",
    ":countTokens",
    ":embedContent",
    ":batchEmbedContents",
    ":asyncBatchEmbedContent",
    ":batchGenerateContent",
    ":predict",
    ":predictLongRunning",
    ":serverStreamingPredict",
    ":rawPredict",
    ":streamRawPredict",
    ":generateAnswer",
    ":generateMessage",
    ":generateText",
    ":embedText",
    // gRPC, which is not read, but must not go unnoticed.
    "Service/GenerateContent",
    "Service/StreamGenerateContent",
    "Service/CountTokens",
    "Service/EmbedContent",
    "Service/BatchEmbedContents",
    "Service/Predict",
    "Service/RawPredict",
    "Service/StreamRawPredict",
    "/interactions",
    "/chat/completions",
    "/openai/completions",
    "/openai/embeddings",
    "/openai/responses",
    "/openai/images/generations",
    "/openai/audio/speech",
];

/// The most frequent shape: OpenAI's interface on hosts that serve nothing else.
const fn chat(id: &'static str, name: ProviderName, hosts: &'static [Host]) -> Provider {
    Provider {
        id,
        name,
        hosts,
        formats: OPENAI,
        api_paths: &[],
        api_ends: &[],
        other_paths: &[],
        region: &[],
        project: &[],
        response_header: None,
        dialect: PLAIN,
    }
}

/// As [`chat`], with Anthropic's interface as well.
const fn both(id: &'static str, name: ProviderName, hosts: &'static [Host]) -> Provider {
    Provider { formats: OPENAI_AND_ANTHROPIC, ..chat(id, name, hosts) }
}

/// Every known service.
pub(crate) static PROVIDERS: &[Provider] = &[
    Provider {
        formats: AZURE,
        api_paths: &[
            "/openai/",
            "/models/",
            "/anthropic/",
            "/api/projects/*/openai/",
            "/api/projects/*/models/",
            "/chat/completions",
        ],
        response_header: Some("apim-request-id"),
        ..chat(
            "azure_openai",
            AzureOpenAi,
            &[
                Host::Below("openai.azure.com"),
                Host::Below("cognitiveservices.azure.com"),
                Host::Below("services.ai.azure.com"),
            ],
        )
    },
    Provider {
        // A model behind an endpoint of its own.
        response_header: Some("apim-request-id"),
        ..both(
            "azure_openai",
            AzureOpenAi,
            &[Host::Below("models.ai.azure.com"), Host::Below("inference.ml.azure.com")],
        )
    },
    Provider {
        api_paths: &["/v1/"],
        other_paths: &[
            "/v1/traces/",
            "/v1/assistants",
            "/v1/files",
            "/v1/uploads",
            "/v1/vector_stores",
            "/v1/organization",
            // Of a response that was asked for before.
            "/v1/responses/resp_",
            "/v1/conversations",
        ],
        response_header: Some("openai-processing-ms"),
        formats: OPENAI_ITSELF,
        ..chat("openai", OpenAi, &[Host::Exact("api.openai.com"), Host::Below("api.openai.com")])
    },
    Provider {
        // What the plan of a person pays for; the host serves the web application as well.
        api_paths: &["/backend-api/codex/responses"],
        ..chat("openai", OpenAi, &[Host::Exact("chatgpt.com")])
    },
    Provider {
        api_paths: &["/v1/"],
        other_paths: &["/v1/files", "/v1/organizations"],
        response_header: Some("anthropic-organization-id"),
        formats: ANTHROPIC,
        ..both("anthropic", Anthropic, &[Host::Exact("api.anthropic.com")])
    },
    Provider {
        api_paths: &["/api/v1/"],
        other_paths: &["/api/v1/auth", "/api/v1/keys", "/api/v1/credits"],
        response_header: Some("x-generation-id"),
        dialect: Dialect { cost: ReportedCost::UsageCost, ..PLAIN },
        ..both("openrouter", Other, &[Host::Exact("openrouter.ai")])
    },
    Provider {
        dialect: Dialect { cost: ReportedCost::UsageCost, ..PLAIN },
        ..both("vercel_ai_gateway", Other, &[Host::Exact("ai-gateway.vercel.sh")])
    },
    Provider { response_header: Some("x-groq-region"), ..chat("groq", Groq, &[Host::Exact("api.groq.com")]) },
    chat("together", Together, &[Host::Exact("api.together.xyz"), Host::Exact("api.together.ai")]),
    Provider {
        dialect: Dialect { completion_excludes_reasoning: true, cost: ReportedCost::UsdTicks },
        ..both("xai", Other, &[Host::Exact("api.x.ai"), Host::Below("api.x.ai")])
    },
    Provider {
        response_header: Some("x-ds-trace-id"),
        ..both("deepseek", Other, &[Host::Exact("api.deepseek.com")])
    },
    Provider {
        response_header: Some("mistral-correlation-id"),
        ..chat("mistral", Mistral, &[Host::Exact("api.mistral.ai"), Host::Exact("codestral.mistral.ai")])
    },
    Provider {
        response_header: Some("fireworks-prompt-tokens"),
        ..both("fireworks", Fireworks, &[Host::Exact("api.fireworks.ai")])
    },
    Provider {
        dialect: Dialect { cost: ReportedCost::UsageCostTotal, ..PLAIN },
        ..chat("perplexity", Other, &[Host::Exact("api.perplexity.ai")])
    },
    Provider {
        formats: HUGGING_FACE,
        ..chat(
            "huggingface",
            HuggingFace,
            &[
                Host::Exact("router.huggingface.co"),
                Host::Exact("api-inference.huggingface.co"),
                Host::Below("endpoints.huggingface.cloud"),
            ],
        )
    },
    Provider {
        formats: &[OpenAiChat, OpenAiCompletions, HuggingFaceTgi],
        api_paths: &["/endpoints/"],
        ..chat("aws_sagemaker", Other, &[Host::Around("runtime.sagemaker.", ".amazonaws.com")])
    },
    Provider {
        formats: &[ReplicateFormat],
        api_paths: &["/v1/predictions", "/v1/models/", "/v1/deployments/"],
        ..chat("replicate", Replicate, &[Host::Exact("api.replicate.com")])
    },
    Provider {
        formats: &[Watsonx],
        api_paths: &["/ml/"],
        ..chat("watsonx", Other, &[Host::Below("ml.cloud.ibm.com")])
    },
    Provider {
        api_paths: &["/api/"],
        ..both("zai", Other, &[Host::Exact("api.z.ai"), Host::Exact("open.bigmodel.cn")])
    },
    both("moonshot", Other, &[Host::Exact("api.moonshot.ai"), Host::Exact("api.moonshot.cn")]),
    Provider { api_paths: &["/coding/"], ..both("moonshot", Other, &[Host::Exact("api.kimi.com")]) },
    both("minimax", Other, &[Host::Exact("api.minimax.io"), Host::Exact("api.minimaxi.com")]),
    Provider {
        api_paths: &["/compatible-mode/", "/apps/anthropic/", "/api/v1/services/"],
        ..both(
            "dashscope",
            Other,
            &[
                Host::Exact("dashscope.aliyuncs.com"),
                Host::Exact("dashscope-intl.aliyuncs.com"),
                Host::Exact("dashscope-us.aliyuncs.com"),
            ],
        )
    },
    Provider {
        formats: &[AlephAlpha, OpenAiChat],
        api_ends: &["/complete", "/chat/completions", "/embed", "/semantic_embed", "/evaluate", "/explain"],
        ..chat(
            "aleph_alpha",
            Other,
            &[Host::Exact("api.aleph-alpha.com"), Host::Below("api.pharia.aleph-alpha.com")],
        )
    },
    chat("cerebras", Other, &[Host::Exact("api.cerebras.ai")]),
    chat("nvidia", Other, &[Host::Exact("integrate.api.nvidia.com")]),
    chat("venice", Other, &[Host::Exact("api.venice.ai")]),
    chat("avian", Other, &[Host::Exact("api.avian.io")]),
    chat("deepinfra", Other, &[Host::Exact("api.deepinfra.com")]),
    chat("sambanova", Other, &[Host::Exact("api.sambanova.ai")]),
    chat("novita", Other, &[Host::Exact("api.novita.ai")]),
    chat("siliconflow", Other, &[Host::Exact("api.siliconflow.cn"), Host::Exact("api.siliconflow.com")]),
    chat("voyage", Other, &[Host::Exact("api.voyageai.com")]),
    chat("jina", Other, &[Host::Exact("api.jina.ai"), Host::Exact("deepsearch.jina.ai")]),
    chat("nomic", Other, &[Host::Exact("api-atlas.nomic.ai")]),
    chat("mixedbread", Other, &[Host::Exact("api.mixedbread.com"), Host::Exact("api.mixedbread.ai")]),
    chat("writer", Other, &[Host::Exact("api.writer.com")]),
    chat("ai21", Other, &[Host::Exact("api.ai21.com")]),
    chat("upstage", Other, &[Host::Exact("api.upstage.ai")]),
    chat("reka", Other, &[Host::Exact("api.reka.ai")]),
    chat("stepfun", Other, &[Host::Exact("api.stepfun.com"), Host::Exact("api.stepfun.ai")]),
    chat("inception", Other, &[Host::Exact("api.inceptionlabs.ai")]),
    chat(
        "nebius",
        Other,
        &[
            Host::Exact("api.studio.nebius.com"),
            Host::Exact("api.studio.nebius.ai"),
            Host::Exact("api.tokenfactory.nebius.com"),
        ],
    ),
    chat("hyperbolic", Other, &[Host::Exact("api.hyperbolic.xyz")]),
    chat("featherless", Other, &[Host::Exact("api.featherless.ai")]),
    chat("friendli", Other, &[Host::Exact("api.friendli.ai")]),
    chat("chutes", Other, &[Host::Exact("llm.chutes.ai")]),
    chat("lambda", Other, &[Host::Exact("api.lambda.ai"), Host::Exact("api.lambdalabs.com")]),
    chat("scaleway", Other, &[Host::Exact("api.scaleway.ai")]),
    chat("volcengine", Other, &[Host::Around("ark.", ".volces.com")]),
    chat("qianfan", Other, &[Host::Exact("qianfan.baidubce.com")]),
    chat("hunyuan", Other, &[Host::Exact("api.hunyuan.cloud.tencent.com")]),
    chat("meta_llama", Other, &[Host::Exact("api.llama.com")]),
    chat("poe", Other, &[Host::Exact("api.poe.com")]),
    chat("requesty", Other, &[Host::Exact("router.requesty.ai")]),
    chat("portkey", Other, &[Host::Exact("api.portkey.ai")]),
    Provider {
        formats: GATEWAY,
        api_paths: &["/v1/"],
        ..chat("cloudflare_ai_gateway", Other, &[Host::Exact("gateway.ai.cloudflare.com")])
    },
    Provider {
        api_paths: &["/client/v4/accounts/"],
        api_ends: &["/ai/v1/chat/completions", "/ai/v1/completions", "/ai/v1/embeddings", "/ai/v1/responses"],
        ..chat("cloudflare_workers_ai", Other, &[Host::Exact("api.cloudflare.com")])
    },
    Provider {
        api_paths: &["/serving-endpoints/"],
        ..both(
            "databricks",
            Other,
            &[
                Host::Below("cloud.databricks.com"),
                Host::Below("gcp.databricks.com"),
                Host::Below("azuredatabricks.net"),
            ],
        )
    },
    chat("baseten", Other, &[Host::Exact("inference.baseten.co"), Host::Around("model-", ".api.baseten.co")]),
    Provider {
        formats: GATEWAY,
        api_paths: &["/zen/"],
        ..chat("opencode_zen", Other, &[Host::Exact("opencode.ai")])
    },
    chat("parasail", Other, &[Host::Exact("api.parasail.io")]),
    chat("inference_net", Other, &[Host::Exact("api.inference.net")]),
    chat("gigachat", Other, &[Host::Exact("gigachat.devices.sberbank.ru")]),
    chat("ovhcloud", Other, &[Host::Below("endpoints.kepler.ai.cloud.ovh.net")]),
    Provider {
        api_paths: &["/inference/", "/orgs/*/inference/"],
        ..chat("github_models", Other, &[Host::Exact("models.github.ai")])
    },
    chat("github_models", Other, &[Host::Exact("models.inference.ai.azure.com")]),
    Provider {
        // The host takes telemetry and token requests as well.
        api_paths: &[
            "/chat/completions",
            "/v1/chat/completions",
            "/v1/messages",
            "/responses",
            "/v1/responses",
            "/v1/engines/",
            "/embeddings",
        ],
        ..both(
            "github_copilot",
            Other,
            &[
                Host::Exact("api.githubcopilot.com"),
                Host::Around("api.", ".githubcopilot.com"),
                Host::Around("proxy.", ".githubcopilot.com"),
                Host::Exact("copilot-proxy.githubusercontent.com"),
                Host::Around("copilot-api.", ".ghe.com"),
                Host::Around("copilot-proxy.", ".ghe.com"),
            ],
        )
    },
    Provider {
        formats: COHERE,
        api_paths: &["/v1/", "/v2/", "/compatibility/"],
        other_paths: &[
            "/v1/models",
            "/v1/datasets",
            "/v1/connectors",
            "/v1/finetuning",
            "/v1/tokenize",
            "/v1/detokenize",
            "/v1/check-api-key",
        ],
        response_header: Some("x-debug-trace-id"),
        ..chat("cohere", Cohere, &[Host::Exact("api.cohere.com"), Host::Exact("api.cohere.ai")])
    },
    Provider {
        formats: GEMINI,
        api_ends: GOOGLE_CALLS,
        ..chat(
            "gemini",
            Google,
            &[
                Host::Exact("generativelanguage.googleapis.com"),
                Host::Exact("generativelanguage.mtls.googleapis.com"),
            ],
        )
    },
    Provider {
        formats: &[Gemini, GoogleCountTokens],
        api_ends: GOOGLE_CALLS,
        ..chat(
            "gemini_code_assist",
            Google,
            &[Host::Exact("cloudcode-pa.googleapis.com"), Host::Exact("daily-cloudcode-pa.googleapis.com")],
        )
    },
    Provider {
        formats: VERTEX,
        api_ends: GOOGLE_CALLS,
        region: &[
            Named::HostBefore("-aiplatform.googleapis.com"),
            Named::HostBefore("-aiplatform.mtls.googleapis.com"),
            Named::HostBetween("aiplatform.", ".rep.googleapis.com"),
            Named::PathAfter("locations"),
        ],
        project: &[Named::PathAfter("projects")],
        ..chat(
            "vertex_ai",
            Google,
            &[
                Host::Exact("aiplatform.googleapis.com"),
                Host::Exact("aiplatform.mtls.googleapis.com"),
                Host::Around("", "-aiplatform.googleapis.com"),
                Host::Around("", "-aiplatform.mtls.googleapis.com"),
                Host::Around("aiplatform.", ".rep.googleapis.com"),
            ],
        )
    },
    Provider {
        formats: BEDROCK,
        api_paths: &["/model/", "/openai/", "/v1/", "/anthropic/", "/async-invoke"],
        response_header: Some("x-amzn-bedrock-invocation-latency"),
        ..chat(
            "aws_bedrock",
            AwsBedrock,
            &[
                Host::Around("bedrock-runtime.", ".amazonaws.com"),
                Host::Around("bedrock-runtime-fips.", ".amazonaws.com"),
                Host::Around("bedrock-runtime.", ".amazonaws.com.cn"),
                Host::Around("bedrock-runtime.", ".api.aws"),
                Host::Around("bedrock-runtime-fips.", ".api.aws"),
                Host::Within(".bedrock-runtime.", ".vpce.amazonaws.com"),
                Host::Within(".bedrock-runtime-fips.", ".vpce.amazonaws.com"),
            ],
        )
    },
    Provider {
        formats: &[BedrockAgents],
        api_paths: &["/agents/", "/retrieveAndGenerate", "/flows/"],
        other_paths: &["/agents/memories"],
        ..chat(
            "aws_bedrock",
            AwsBedrock,
            &[
                Host::Around("bedrock-agent-runtime.", ".amazonaws.com"),
                Host::Around("bedrock-agent-runtime-fips.", ".amazonaws.com"),
                Host::Around("bedrock-agent-runtime.", ".api.aws"),
            ],
        )
    },
    both("aws_bedrock", AwsBedrock, &[Host::Around("bedrock-mantle.", ".api.aws")]),
    Provider {
        formats: OLLAMA,
        api_paths: &["/v1/", "/api/chat", "/api/generate", "/api/embed"],
        ..both("ollama", Ollama, &[Host::Exact("ollama.com")])
    },
    Provider { formats: OLLAMA, ..both("ollama", Ollama, &[Host::LocalPort(11434)]) },
    Provider {
        formats: &[
            LmStudio,
            OpenAiChat,
            OpenAiResponses,
            OpenAiCompletions,
            AnthropicMessages,
            OpenAiEmbeddings,
            OpenAiMedia,
        ],
        ..both("lmstudio", ProviderName::LmStudio, &[Host::LocalPort(1234)])
    },
    both("vllm", Vllm, &[Host::LocalPort(8000)]),
    Provider {
        formats: &[
            LlamaCpp,
            OpenAiChat,
            OpenAiResponses,
            OpenAiCompletions,
            AnthropicMessages,
            OpenAiEmbeddings,
            OpenAiMedia,
        ],
        ..both("llama_cpp", Other, &[Host::LocalPort(8080)])
    },
];

/// The service at a host; the name is in lower case.
pub(crate) fn by_host(name: &str, port: Option<u16>) -> Option<&'static Provider> {
    PROVIDERS.iter().find(|provider| provider.hosts.iter().any(|host| host.matches(name, port)))
}

/// The first row of a service.
pub(crate) fn by_id(id: &str) -> Option<&'static Provider> {
    PROVIDERS.iter().find(|provider| provider.id == id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_give_their_service_and_lookalikes_give_none() {
        for (host, port, expected) in [
            ("api.openai.com", None, Some("openai")),
            ("eu.api.openai.com", None, Some("openai")),
            ("evilapi.openai.com", None, None),
            ("api.openai.com.example", None, None),
            ("my.openai.azure.com", Some(443), Some("azure_openai")),
            ("openai.azure.com", None, None),
            ("bedrock-mantle.us-east-1.api.aws", None, Some("aws_bedrock")),
            ("bedrock-mantle.api.aws", None, None),
            ("bedrock-runtime.us-east-1.amazonaws.com", None, Some("aws_bedrock")),
            ("bedrock-runtime-fips.us-gov-west-1.amazonaws.com", None, Some("aws_bedrock")),
            ("bedrock-runtime.cn-north-1.amazonaws.com.cn", None, Some("aws_bedrock")),
            ("vpce-0a-b.bedrock-runtime.us-east-1.vpce.amazonaws.com", None, Some("aws_bedrock")),
            ("bedrock-agent.us-east-1.amazonaws.com", None, None),
            ("bedrock-runtime.us-east-1.amazonaws.com.example", None, None),
            ("runtime.sagemaker.eu-west-1.amazonaws.com", None, Some("aws_sagemaker")),
            ("eu-de.ml.cloud.ibm.com", None, Some("watsonx")),
            ("ml.cloud.ibm.com", None, None),
            ("ark.cn-beijing.volces.com", None, Some("volcengine")),
            ("localhost", Some(11434), Some("ollama")),
            ("[::1]", Some(1234), Some("lmstudio")),
            ("192.168.1.5", Some(8000), Some("vllm")),
            ("8.8.8.8", Some(8000), None),
            ("shop.example", Some(8080), None),
            ("localhost", Some(4443), None),
            ("", Some(8080), None),
        ] {
            assert_eq!(by_host(host, port).map(|p| p.id), expected, "{host}");
        }
    }

    #[test]
    fn region_and_project_are_read_from_host_and_path() {
        let path = "/v1/projects/p-1/locations/europe-west4/publishers/google/models/g:generateContent";
        for (host, region) in [
            ("us-east5-aiplatform.googleapis.com", "us-east5"),
            ("aiplatform.us-central1.rep.googleapis.com", "us-central1"),
            ("aiplatform.googleapis.com", "europe-west4"),
        ] {
            let provider = by_host(host, None).unwrap();
            assert_eq!(provider.id, "vertex_ai");
            let place = provider.place(host, path);
            assert_eq!((place.region.as_deref(), place.project.as_deref()), (Some(region), Some("p-1")));
        }
        let provider = by_host("aiplatform.googleapis.com", None).unwrap();
        let express = provider.place("aiplatform.googleapis.com", "/v1/publishers/google/models/g:predict");
        assert_eq!(express, Place::default());
        assert!(!provider.serves("/v1/projects/p/locations/l/customJobs"));
        assert!(
            !by_host("generativelanguage.googleapis.com", None).unwrap().serves("/v1beta/cachedContents")
        );
    }

    #[test]
    fn any_one_segment_may_stand_in_a_path_of_an_api() {
        let azure = by_host("my.services.ai.azure.com", None).unwrap();
        assert!(azure.serves("/api/projects/p/openai/v1/responses"));
        for path in ["/api/projects/p/agents", "/api/projects/openai/v1", "/api/projects/p/q/openai/v1"] {
            assert!(!azure.serves(path), "{path}");
        }
    }

    #[test]
    fn telemetry_on_an_api_host_is_not_served() {
        let openai = by_host("api.openai.com", None).unwrap();
        assert!(openai.serves("/v1/chat/completions"));
        assert!(!openai.serves("/v1/traces/ingest"));
        assert!(!by_host("api.anthropic.com", None).unwrap().serves("/api/event_logging/batch"));
    }
}
