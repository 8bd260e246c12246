//! Tokens with a shape of their own: a fixed prefix and random characters.
//!
//! No detector asks what stands before its prefix: a key may be glued to anything (`key:sk-…`, an escaped
//! line break, a shell variable's expansion). The prefix and the length of what follows are the evidence.
//!
//! The samples are random characters behind a prefix written in two parts, so that scanners of source code
//! don't take them for keys.

use super::text::{Text, is_alphanumeric, is_token};
use super::{Attempt, Detector, Matcher, Reach};

const fn is_base32(byte: u8) -> bool {
    byte.is_ascii_uppercase() || byte.is_ascii_digit()
}

const fn is_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=')
}

const fn is_name_character(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

const fn is_dotted_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.')
}

const fn token(
    name: &'static str,
    anchors: &'static [&'static str],
    body: fn(u8) -> bool,
    minimum: usize,
    mixed: bool,
    positives: &'static [(&'static str, &'static str)],
    negatives: &'static [&'static str],
) -> Detector {
    let matcher = Matcher::Token { body, minimum, mixed };
    Detector { name, reach: Reach::Safe, anchors, matcher, positives, negatives }
}

/// A sample that is a secret as a whole, its prefix in parts.
macro_rules! whole {
    ($($part:literal),+) => {
        (concat!($($part),+), concat!($($part),+))
    };
}

/// One entry a kind of token: name, prefixes, body, shortest body, whether it needs letters and digits,
/// samples.
pub(super) const DETECTORS: &[Detector] = &[
    token(
        "anthropic_api_key",
        &["sk-ant-"],
        is_token,
        16,
        true,
        &[
            whole!(
                "sk-",
                "ant-api03-",
                "PtYgjmUhBel31iEl2hpChYgCfrL1spNxnyVmihA-2O76UMFxFkM-R5Kjp1vRt_1fjORS-6ilI8ihN5KXSc7Tvo-hBKqFYAA"
            ),
            whole!(
                "sk-",
                "ant-oat01-",
                "Y-kv5ZJr3J1TWDtkwtDDb_xHKas1VOqg6YYZYn9ZhyiA4uoRgnatmUdjAWtGSU8po_799NksnRH9ucAU"
            ),
            whole!("sk-", "ant-admin01-", "sdMlHUvTCQCyEZDz-TddJ8HyS5SUkCnD8zRA9a9SkpXz9w3QlY7Zkuvqdt7s"),
        ],
        &["sk-ant-", "keys start with sk-ant-api03-..."],
    ),
    token(
        "openrouter_api_key",
        &["sk-or-v1-"],
        is_alphanumeric,
        32,
        true,
        &[whole!("sk-", "or-v1-", "fb440034d6608697a8d41bed440e50454f31af3176813e02ea68ef786e4d3cea")],
        &["sk-or-v1-<key>"],
    ),
    token(
        "openai_api_key",
        &["sk-proj-", "sk-svcacct-", "sk-admin-", "sk-None-"],
        is_token,
        20,
        true,
        &[
            whole!(
                "sk-",
                "proj-",
                "jE2jBMptUsGr7CmY_uCu3ZR1zTOlUcR64cXQLioDnkHIfxIq2HZt-PlJhx2jIclHkCiHp6bR1IT3BlbkFJqfEouHgxzNNAL5wIScGebcy8F5n3-YNBDRzrZSgqbjG3uhkWKFLf6xuI5aHUQPFeNBTxaQWk8J"
            ),
            whole!("sk-", "svcacct-", "zFalHlsZfYcMMDktXP-tKsf2rcDkdfrUnW5gcF_Ha6ili8GjHEAD6-Wj9Kfz"),
            whole!("sk-", "admin-", "jsQGMrb9h_ImB_LK777pzNk8cL6j5IXAAjlsHUqJoUD-_Ydua_5ZMs1SWOpQ"),
        ],
        &["sk-proj-", "my desk-proj-plan"],
    ),
    token(
        "openai_session_key",
        &["sess-"],
        is_alphanumeric,
        36,
        true,
        &[whole!("se", "ss-", "auWv1zh87mTa5Vsqxezy3Lex7BWr2drgd1QsO7jp")],
        &["sess-1", "process-oriented"],
    ),
    token(
        "google_api_key",
        &["AIza"],
        is_token,
        35,
        true,
        &[whole!("AI", "za", "I3OyV2dZAkg05rK_gqv81RKMGHZEM9Ypvuj")],
        &["AIza", "AIzawa"],
    ),
    token(
        "google_oauth_token",
        &["ya29."],
        is_token,
        20,
        true,
        &[whole!("ya", "29.", "A-C5Q52ryFlwRlOEVHzc0X0AWIRh-JUqBlIFXZ53Ncqe28_ajY75FnCttn6k")],
        &["ya29."],
    ),
    token(
        "google_client_secret",
        &["GOCSPX-"],
        is_token,
        20,
        false,
        &[whole!("GOC", "SPX-", "faqDeMqG3omjMyXHCabM6JOF8EFd")],
        &["GOCSPX-"],
    ),
    token(
        "groq_api_key",
        &["gsk_"],
        is_alphanumeric,
        40,
        true,
        &[whole!("gs", "k_", "9ATPtdbmF4RPAfqoQB7xoFcSvTAxRzmaZsV2GenFmtX0moDoqW4s")],
        &["gsk_example"],
    ),
    token(
        "xai_api_key",
        &["xai-"],
        is_alphanumeric,
        40,
        true,
        &[whole!(
            "xa",
            "i-",
            "g8NFNl5oFA6Qd8Mj7zdnbMjAdTdlzC5T4uUhf7kvmlP7HVDctQUy1xvCkgafrfwA94hJ9WnywX0t0ZBf"
        )],
        &["xai-org", "xai-grok-2-latest-with-a-long-model-name-and-more"],
    ),
    token(
        "huggingface_token",
        &["hf_", "api_org_"],
        is_alphanumeric,
        30,
        false,
        &[
            whole!("h", "f_", "dTEmxI6CmuxV5EbOApZOXzcycDeZ6dqmVe"),
            whole!("api_", "org_", "5Mvxrv99NcqVTSu7rtaUWM6ZO88eb0ogET"),
        ],
        &["hf_hub_download", "hf_transfer"],
    ),
    token(
        "perplexity_api_key",
        &["pplx-"],
        is_alphanumeric,
        40,
        true,
        &[whole!("pp", "lx-", "9D9XyYq6B0Fi7FlaZ7Vt0SXjMpu3uDxYYMfGmzWkpAePcEJI")],
        &["pplx-70b-online", "pplx-embed-v1"],
    ),
    token(
        "replicate_api_token",
        &["r8_"],
        is_alphanumeric,
        37,
        true,
        &[whole!("r", "8_", "ukB4geqNfngAFTCloiADN5RpVI2XQWhX1ssrK")],
        &["r8_im8"],
    ),
    token(
        "fireworks_api_key",
        &["fw_"],
        is_alphanumeric,
        20,
        true,
        &[whole!("f", "w_", "rxqVqmCplppjs46LmuezqpGH"), whole!("f", "w_", "oPZgPDcgaE40o1C6xc4soh")],
        &["fw_version", "hfw_counterclockwise"],
    ),
    token(
        "aws_access_key_id",
        &["AKIA", "ASIA", "ABIA", "ACCA"],
        is_base32,
        16,
        false,
        &[whole!("AK", "IA", "DMMEXL4QAGWNCXVJ"), whole!("AS", "IA", "CNQCNAU2XLTENC76")],
        &["AKIA", "ASIA AND AFRICA", "akiaabcdefghijklmnop"],
    ),
    token(
        "aws_bedrock_api_key",
        &["ABSK", "bedrock-api-key-"],
        is_base64,
        60,
        true,
        &[whole!(
            "AB",
            "SK",
            "eAgYzQJjOIfPkzSrAsQtA9dtVK4wAAb3XZxPmzUzn8aB5kBh0fzK4xDXkiadJjPZ6zfKN7xVGkjwskHk7egyFWZY9Zmti18c6EudM7Oyf5TNS05kOY2oNzN2m1ElKncz"
        )],
        &["bedrock-api-key-id"],
    ),
    token(
        "github_token",
        &["ghp_", "gho_", "ghu_", "ghs_", "ghr_"],
        is_alphanumeric,
        36,
        true,
        &[
            whole!("gh", "p_", "8HkywhjpU05mc4J1WRcQ1uhyMDJ2OXtPAtLp"),
            whole!("gh", "s_", "ByQxCGClbaNFDpCWNX0D1lZEzgeiwBxfZCGG"),
            whole!("gh", "o_", "QccOif7UuXUGfdWG5yP8Yib2eNUS0hmi4Fs9"),
        ],
        &["ghp_xxx", "ghs_"],
    ),
    token(
        "github_fine_grained_token",
        &["github_pat_"],
        is_name_character,
        40,
        true,
        &[whole!(
            "github",
            "_pat_",
            "Z6YkRYU7oe1wNWqku5Nr50_DjqG96EnLqNGpuxcmlzkO7rRu5ykYYqhXHdO2x93CJHLS45gqIO2zVZxqyx"
        )],
        &["github_pat_"],
    ),
    token(
        "gitlab_token",
        &["glpat-", "gldt-", "glrt-", "glcbt-", "glptt-", "glft-", "glsoat-", "gloas-"],
        is_token,
        20,
        false,
        &[whole!("gl", "pat-", "sUQk4DwgLGNOaeCtL31U"), whole!("gl", "rt-", "gq_DfcgaTMnTC0MrAU8u")],
        &["glpat-", "glpat-short"],
    ),
    token(
        "slack_token",
        &["xoxb-", "xoxp-", "xoxa-", "xoxr-", "xoxs-", "xoxe-", "xoxc-", "xoxd-", "xapp-"],
        is_token,
        20,
        true,
        &[
            whole!("xo", "xb-", "123456789012-1234567890123-ia7ZpTjCgeOj3QYrzZq9adP0"),
            whole!(
                "xa",
                "pp-",
                "1-A0123456789-1234567890123-bef750110c57513064d6d59291f0cde2e5738713a818d8962058765a6ca7cff0"
            ),
        ],
        &["xoxb-", "xapp-name"],
    ),
    token(
        "stripe_key",
        &["sk_live_", "sk_test_", "rk_live_", "rk_test_", "whsec_"],
        is_alphanumeric,
        16,
        false,
        &[
            whole!("sk_", "live_", "2bB9UoK4tYnzNLeK6kjcbhgN"),
            whole!(
                "rk_",
                "test_",
                "7kwjSbbciSPOcSeVce2LWxm090I5Qe43W6T8ygpnnhcc826ZWOf0WOOsEgigYWPnsuvBqbwq7sdTWx6uX9MGE2sNVbYAbBHXgwE"
            ),
            whole!("wh", "sec_", "TdIKnT30fK0skBaHmsWWdawFgFSY0l9F"),
        ],
        &["sk_test_", "risk_live_now"],
    ),
    token(
        "npm_token",
        &["npm_"],
        is_alphanumeric,
        36,
        true,
        &[whole!("np", "m_", "Lw91GqK8ks0n8SoFkh8OXfFYSJYgOuwgz7z5")],
        &["npm_config_registry", "npm_package_version"],
    ),
    token(
        "pypi_token",
        &["pypi-"],
        is_token,
        50,
        true,
        &[whole!(
            "py",
            "pi-",
            "AgEIcHlwaS5vcmcl2dVAMH2vWD6qeSPt5Pv74GDqQ7EyIMttFPSuEPyHnvnzXtsMM3JznnJAX7ebZ3CL7csGZaF31DDxp63OHm1FZuG296c0xPbX_neGBuzSm6A8cVR06AxYpTh"
        )],
        &["pypi-publish", "pypi-server-with-a-name"],
    ),
    token(
        "sendgrid_api_key",
        &["SG."],
        is_dotted_token,
        60,
        true,
        &[whole!("S", "G.", "GJWZhbj11THnCMZCY7Bvqi.y8CsT07Lq8TDIWG2x9aJTFMP9_2kUtMXhkPrSbbAjLG")],
        &["SG.", "MSG."],
    ),
    token(
        "digitalocean_token",
        &["dop_v1_", "doo_v1_", "dor_v1_"],
        is_alphanumeric,
        40,
        true,
        &[whole!("do", "p_v1_", "3475eb46c5296f62e338d74ff1fe4f7f505aef9ebdd25b001a3ff416d4a3baf6")],
        &["dop_v1_"],
    ),
    token(
        "docker_token",
        &["dckr_pat_"],
        is_token,
        20,
        false,
        &[whole!("dckr", "_pat_", "K3R2GgLLT-ZQISA-pQyOMqlfZZg")],
        &["dckr_pat_"],
    ),
    token(
        "langsmith_api_key",
        &["lsv2_pt_", "lsv2_sk_"],
        is_name_character,
        30,
        true,
        &[whole!("lsv2", "_pt_", "c93016f1c4261e5351d30b49895d1a0d_1f13dce20c")],
        &["lsv2_pt_"],
    ),
    token(
        "nvidia_api_key",
        &["nvapi-"],
        is_token,
        40,
        true,
        &[whole!("nv", "api-", "t80nk8Btb2abplBpq8cJF5xgUskL-6GgebhbkXNNv_hOV48vsoUu19X5IQLJhQbt")],
        &["nvapi-"],
    ),
    token(
        "tavily_api_key",
        &["tvly-"],
        is_token,
        20,
        true,
        &[whole!("tv", "ly-", "M1tLB4pyyRyMX5oZCsSauqrBkL60W4Yc")],
        &["tvly-"],
    ),
    token(
        "cerebras_api_key",
        &["csk-"],
        is_alphanumeric,
        40,
        true,
        &[whole!("cs", "k-", "s1jZ43Kjr2ZZJRX6FwIfIJFZymYWU7otMdRzDTn7qLWaYyDI")],
        &["csk-"],
    ),
    token(
        "age_secret_key",
        &["AGE-SECRET-KEY-1"],
        is_alphanumeric,
        50,
        false,
        &[whole!("AGE-SECRET", "-KEY-1", "F8WEOZ7Q7U46MMNMFLSXWZ7JPC5XGX3FJUBWR7BGCN5NQR1G2IQCVMLYFB")],
        &["AGE-SECRET-KEY-1"],
    ),
    Detector {
        name: "secret_key",
        reach: Reach::Safe,
        anchors: &["sk-"],
        matcher: Matcher::Function(generic_secret_key),
        positives: &[
            whole!("s", "k-dcJx3TDF8265e3MOz7hTT3BlbkFJ9fquKoPf96QGzlC2kx9p"),
            whole!("s", "k-7518b1018f134a069e3fab8c3bfc5e74"),
            whole!("s", "k-6R5aDT6mZck71oe7N3x4ViXC9g77y1bOeCvu0oEhOxjvoVdl"),
        ],
        negatives: &[
            "task-20241105-implement-the-thing",
            "disk-usage-of-the-second-partition",
            "task-0123456789abcdef0123456789abcdef",
            "sk-learn",
            "sk-",
        ],
    },
];

/// `sk-` and random letters and digits: OpenAI's first format, DeepSeek, Moonshot, LiteLLM and others.
fn generic_secret_key(text: &Text<'_>, anchor: std::ops::Range<usize>) -> Attempt {
    if text.slice(anchor.start, anchor.end) != "sk-" {
        return Attempt::Nothing;
    }
    let head_end = text.run(anchor.end, 64, is_alphanumeric);
    let head = text.slice(anchor.end, head_end);
    if head.len() < 20 || !super::value::is_mixed(head) {
        return Attempt::Nothing;
    }
    // `task-` and a hexadecimal id.
    if head.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        let start = text.run_back(anchor.start, 16, |byte| byte.is_ascii_lowercase());
        let word = text.slice(start, anchor.start);
        const WORDS: &[&str] = &["ta", "di", "ri", "de", "ma", "a", "fla", "kio", "subta", "multita"];
        if WORDS.contains(&word) {
            return Attempt::Nothing;
        }
    }
    Attempt::Found(anchor.start..text.run(head_end, usize::MAX, is_token))
}

/// The fixed characters that credentials start with.
const FIXED_PARTS: &[&str] = &[
    "sk-ant-api03-",
    "sk-ant-oat01-",
    "sk-ant-admin01-",
    "sk-or-v1-",
    "sk-proj-",
    "sk-svcacct-",
    "sk-admin-",
    "sk-",
    "sess-",
    "AIza",
    "ya29.",
    "gsk_",
    "xai-",
    "hf_",
    "pplx-",
    "r8_",
    "fw_",
    "AKIA",
    "ASIA",
    "ABSK",
    "nvapi-",
    "csk-",
    "eyJ",
];

/// The fixed characters that `credential` starts with, at most 8 of them; `None` where its scheme has none.
pub(crate) fn fixed_part(credential: &str) -> Option<&'static str> {
    FIXED_PARTS.iter().find(|part| credential.starts_with(**part)).map(|part| shown(part))
}

/// The same for what is already shown of a credential: the longest that it holds of any scheme's fixed characters.
pub(crate) fn fixed_part_of_prefix(prefix: &str) -> Option<&'static str> {
    FIXED_PARTS.iter().map(|part| shown(part)).find(|part| prefix.starts_with(*part))
}

/// The specification allows 8 characters.
fn shown(part: &'static str) -> &'static str {
    part.get(..part.len().min(8)).unwrap_or(part)
}
