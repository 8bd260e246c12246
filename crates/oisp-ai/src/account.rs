//! Whose account a call is made with: a person's or an organisation's.
//!
//! Told only where what was sent can mean nothing else, and by rules that each name their source. Of a credential its kind
//! is looked at: the fixed beginning of a key, and of ChatGPT's session token the one claim that names the plan. Most calls
//! tell nothing: keys of the OpenAI API are project keys for everybody, every account has an organisation's id, and an
//! account with a cloud may be anybody's.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use oisp_decode::RequestHead;
use oisp_event::AccountType;
use serde_json::Value;

use AccountType::{Corporate, Personal};

/// What a request shows.
enum Sign {
    /// The credential begins so.
    Key(&'static str),
    /// The host ends so.
    HostEnd(&'static str),
    /// A session token of ChatGPT on `chatgpt.com` is for this plan.
    ChatGptPlan(&'static str),
}

use Sign::{ChatGptPlan, HostEnd, Key};

/// The rules; the first that fits decides.
static RULES: &[(Sign, AccountType)] = &[
    // "The Admin API is unavailable for individual accounts." (platform.claude.com, Admin API overview)
    (Key("sk-ant-admin"), Corporate),
    // A service account belongs to a project of an organisation and to no person. (OpenAI, Service accounts)
    (Key("sk-svcacct-"), Corporate),
    // An Azure resource is in a subscription, which trusts a Microsoft Entra tenant: "A tenant represents an organization."
    // (Microsoft Entra, Fundamentals)
    (HostEnd(".openai.azure.com"), Corporate),
    (HostEnd(".services.ai.azure.com"), Corporate),
    (HostEnd(".cognitiveservices.azure.com"), Corporate),
    // One host for each kind of Copilot plan. (GitHub, Copilot allowlist reference)
    (HostEnd(".individual.githubcopilot.com"), Personal),
    (HostEnd(".business.githubcopilot.com"), Corporate),
    (HostEnd(".enterprise.githubcopilot.com"), Corporate),
    // The plans that Codex knows, and which of them are a workspace's. (openai/codex, login: `KnownPlan`)
    (ChatGptPlan("free"), Personal),
    (ChatGptPlan("go"), Personal),
    (ChatGptPlan("plus"), Personal),
    (ChatGptPlan("pro"), Personal),
    (ChatGptPlan("team"), Corporate),
    (ChatGptPlan("business"), Corporate),
    (ChatGptPlan("enterprise"), Corporate),
    (ChatGptPlan("edu"), Corporate),
];

/// Whose account a request is made with, where it tells.
pub(crate) fn account_type(head: &RequestHead, host: &str) -> Option<AccountType> {
    let authorization = head.headers.get("authorization");
    let bearer = authorization.as_deref().and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    });
    let own = head.headers.get("x-api-key");
    let begins =
        |start: &str| [bearer, own.as_deref()].into_iter().flatten().any(|key| key.starts_with(start));
    let plan = bearer.filter(|_| host == "chatgpt.com").and_then(chatgpt_plan);
    let fits = |sign: &Sign| match sign {
        Key(start) => begins(start),
        HostEnd(end) => host.ends_with(end),
        ChatGptPlan(name) => plan.as_deref() == Some(*name),
    };
    RULES.iter().find(|(sign, _)| fits(sign)).map(|(_, account)| *account)
}

/// The plan that a session token of ChatGPT names; its other claims and its signature are not looked at.
fn chatgpt_plan(token: &str) -> Option<String> {
    /// Longer tokens are none of these.
    const LONGEST: usize = 16 << 10;
    let claims = token.split('.').nth(1).filter(|claims| claims.len() <= LONGEST)?;
    let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()?;
    Some(claims.get("https://api.openai.com/auth")?.get("chatgpt_plan_type")?.as_str()?.to_owned())
}

#[cfg(test)]
mod tests {
    use oisp_decode::{Header, HttpVersion, Nanos};

    use super::*;

    fn of(host: &str, name: &str, value: &str) -> Option<AccountType> {
        let head = RequestHead {
            method: "POST".into(),
            target: "/".into(),
            version: HttpVersion::Http11,
            headers: [Header::new(name, value.as_bytes().to_vec())].into_iter().collect(),
            first_byte: Nanos(0),
        };
        account_type(&head, host)
    }

    fn session(plan: &str) -> String {
        let claims = serde_json::json!({
            "email": "alice@example.com",
            "https://api.openai.com/auth": { "chatgpt_plan_type": plan, "chatgpt_account_id": "a" },
        });
        format!("Bearer eyJhbGciOiJub25lIn0.{}.c2ln", URL_SAFE_NO_PAD.encode(claims.to_string()))
    }

    #[test]
    fn account_is_told_where_the_request_can_mean_nothing_else() {
        let key = "authorization";
        let admin = concat!("sk-", "ant-admin01-abcdefgh");
        for (host, name, value, account) in [
            ("api.anthropic.com", "x-api-key", admin.to_owned(), Some(Corporate)),
            ("api.openai.com", key, concat!("Bearer sk-", "svcacct-abcdefgh").to_owned(), Some(Corporate)),
            ("mine.openai.azure.com", "api-key", "0123456789abcdef".to_owned(), Some(Corporate)),
            ("mine.services.ai.azure.com", key, "Bearer eyJ.a.b".to_owned(), Some(Corporate)),
            ("api.individual.githubcopilot.com", key, "Bearer tid=1".to_owned(), Some(Personal)),
            ("api.business.githubcopilot.com", key, "Bearer tid=1".to_owned(), Some(Corporate)),
            ("api.enterprise.githubcopilot.com", key, "Bearer tid=1".to_owned(), Some(Corporate)),
            ("chatgpt.com", key, session("plus"), Some(Personal)),
            ("chatgpt.com", key, session("team"), Some(Corporate)),
        ] {
            assert_eq!(of(host, name, &value), account, "{host} {name}: {value}");
        }
    }

    #[test]
    fn account_is_not_guessed() {
        let key = "authorization";
        for (host, name, value) in [
            ("api.openai.com", key, concat!("Bearer sk-", "proj-abcdefghijkl").to_owned()),
            ("api.openai.com", key, concat!("Bearer sk-", "admin-abcdefghijkl").to_owned()),
            ("api.openai.com", "openai-organization", "org-abc".to_owned()),
            ("api.anthropic.com", "x-api-key", concat!("sk-", "ant-api03-abcdefgh").to_owned()),
            ("api.anthropic.com", key, concat!("Bearer sk-", "ant-oat01-abcdefgh").to_owned()),
            ("api.githubcopilot.com", key, "Bearer tid=1".to_owned()),
            ("bedrock-runtime.us-east-1.amazonaws.com", key, "AWS4-HMAC-SHA256 Credential=A/b".to_owned()),
            ("us-central1-aiplatform.googleapis.com", key, "Bearer ya29.abcdefghijkl".to_owned()),
            ("chatgpt.com", key, session("a-plan-of-tomorrow")),
            ("chatgpt.com", key, "Bearer not.a-token.x".to_owned()),
            ("evil.example", key, session("plus")),
        ] {
            assert_eq!(of(host, name, &value), None, "{host} {name}: {value}");
        }
    }
}
