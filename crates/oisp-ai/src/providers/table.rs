//! The services known by host.
//!
//! A service that speaks a known format is one row. Rows are tried in order; the first whose host matches decides.

use oisp_event::ProviderName::{self, *};

use super::{Dialect, Host, Named, Provider, ReportedCost};
use crate::format::FormatId::{
    self, AlephAlpha, AnthropicComplete, AnthropicMessages, BedrockAgents, BedrockConverse, BedrockNative,
    CohereEmbed, CohereGenerate, CohereRerank, CohereV1, CohereV2, Gemini, GeminiEmbeddings,
    GeminiInteractions, GoogleCountTokens, HuggingFaceTgi, LlamaCpp, LmStudio, Ollama as OllamaFormat,
    OllamaEmbeddings, OpenAiAssistants, OpenAiChat, OpenAiCompletions, OpenAiEmbeddings, OpenAiMedia,
    OpenAiResponses, Replicate as ReplicateFormat, Watsonx,
};

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
