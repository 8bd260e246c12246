//! What request and response headers say: where, who, which ids, which limits.

use oisp_decode::{Headers, HttpVersion, RequestHead};
use oisp_event::{Auth, AuthType, Credential, Usage};
use serde_json::{Map, Value};

use crate::bedrock::Signer;

/// Where a request goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Destination {
    /// Host in lower case without port; empty when unknown.
    pub(crate) host: String,
    pub(crate) port: Option<u16>,
    /// Path without query.
    pub(crate) path: String,
    /// URL without query; `None` without a host.
    pub(crate) endpoint: Option<String>,
}

/// Reads the destination from target and headers; `server_name` stands in for a missing `Host`.
pub(crate) fn destination(head: &RequestHead, server_name: Option<&str>, plaintext: bool) -> Destination {
    let target = head.target.as_str();
    let target = &target[..target.find(['?', '#']).unwrap_or(target.len())];
    let (authority, path) = match target.split_once("://") {
        Some((_, rest)) => {
            let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            (Some(authority.to_owned()), path)
        }
        None => (None, target),
    };
    let authority = authority
        .or_else(|| head.headers.get(":authority").map(Into::into))
        .or_else(|| head.headers.get("host").map(Into::into))
        .or_else(|| server_name.map(str::to_owned))
        .unwrap_or_default();
    let authority = authority.rsplit_once('@').map_or(authority.as_str(), |(_, host)| host).trim();
    let authority = authority.to_ascii_lowercase();
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => {
            (host, port.parse().ok())
        }
        _ => (authority.as_str(), None),
    };
    let path = if path.is_empty() { "/" } else { path };
    let scheme = if plaintext { "http" } else { "https" };
    Destination {
        endpoint: (!host.is_empty()).then(|| format!("{scheme}://{authority}{path}")),
        host: host.trim_end_matches('.').to_owned(),
        port,
        path: path.to_owned(),
    }
}

/// The fixed first part of known keys, at most 8 characters, and what kind of credential it marks.
/// Longer beginnings of the same family come first.
static KEY_PREFIXES: &[(&str, AuthType)] = &[
    ("sk-ant-a", AuthType::ApiKey),
    ("sk-ant-o", AuthType::OAuth),
    ("sk-ant-", AuthType::ApiKey),
    ("sk-proj-", AuthType::ApiKey),
    ("sk-svcac", AuthType::ServiceAccount),
    ("sk-admin", AuthType::ApiKey),
    ("sk-or-v1", AuthType::ApiKey),
    ("sk-", AuthType::ApiKey),
    ("gsk_", AuthType::ApiKey),
    ("xai-", AuthType::ApiKey),
    ("pplx-", AuthType::ApiKey),
    ("hf_", AuthType::ApiKey),
    ("fw_", AuthType::ApiKey),
    ("tgp_v1_", AuthType::ApiKey),
    ("csk-", AuthType::ApiKey),
    ("nvapi-", AuthType::ApiKey),
    ("vck_", AuthType::ApiKey),
    ("AIza", AuthType::ApiKey),
    ("AKIA", AuthType::ApiKey),
    ("ASIA", AuthType::ApiKey),
    ("ABSK", AuthType::ApiKey),
    ("bedrock-", AuthType::ApiKey),
    ("ya29.", AuthType::OAuth),
    ("gho_", AuthType::OAuth),
    ("ghu_", AuthType::OAuth),
    ("ghp_", AuthType::ApiKey),
    ("eyJ", AuthType::OAuth),
];

/// How the caller identified itself.
pub(crate) fn auth(head: &RequestHead) -> Auth {
    for name in ["x-api-key", "api-key", "x-goog-api-key"] {
        if let Some(key) = head.headers.get(name).filter(|key| !key.is_empty()) {
            return credential(&key, AuthType::ApiKey);
        }
    }
    if let Some(value) = head.headers.get("authorization") {
        return match value.split_once(' ') {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => {
                // Most services issue keys without a fixed part, and send them as bearer tokens.
                credential(token.trim(), AuthType::ApiKey)
            }
            // The signature is of this request alone; the key's id is what tells callers apart.
            _ => match Signer::of(&value) {
                Some(signer) => credential(signer.access_key_id, AuthType::ApiKey),
                None => Auth { credential: Some(Credential(value.into())), ..Auth::default() },
            },
        };
    }
    // A browser can set no header of a WebSocket but this one.
    let protocols = head.headers.get("sec-websocket-protocol").unwrap_or_default();
    let mut protocols = protocols.split(',').map(str::trim);
    if let Some(key) = protocols.find_map(|protocol| protocol.strip_prefix("openai-insecure-api-key.")) {
        return credential(key, AuthType::ApiKey);
    }
    let query = head.target.split_once('?').map_or("", |(_, query)| query);
    let key = query.split('&').find_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        (matches!(name, "key" | "api_key" | "api-key") && !value.is_empty()).then_some(value)
    });
    if let Some(key) = key {
        return credential(key, AuthType::ApiKey);
    }
    let auth_type = if head.headers.get("cookie").is_some() { AuthType::Session } else { AuthType::None };
    Auth { auth_type, ..Auth::default() }
}

fn credential(key: &str, usual: AuthType) -> Auth {
    // A key hardly longer than its fixed part would be given away by it.
    let known =
        KEY_PREFIXES.iter().find(|(prefix, _)| key.starts_with(prefix) && key.len() >= prefix.len() + 8);
    Auth {
        auth_type: known.map_or(usual, |(_, auth_type)| *auth_type),
        key_prefix: known.map(|(prefix, _)| (*prefix).to_owned()),
        credential: Some(Credential(key.to_owned())),
        ..Auth::default()
    }
}

/// The organisation and the project that a message names.
pub(crate) fn organization_and_project(headers: &Headers) -> (Option<String>, Option<String>) {
    let first = |names: &[&str]| names.iter().find_map(|name| text(headers, name));
    (
        first(&["openai-organization", "anthropic-organization-id"]),
        first(&["openai-project", "x-goog-user-project"]),
    )
}

/// The features in trial that a request asks for.
pub(crate) fn beta_features(headers: &Headers) -> Option<Value> {
    const MOST: usize = 64;
    let features: Vec<Value> = headers
        .iter()
        .filter(|header| header.name().eq_ignore_ascii_case("anthropic-beta"))
        .flat_map(|header| header.text().split(',').map(|name| name.trim().to_owned()).collect::<Vec<_>>())
        .filter(|name| !name.is_empty())
        .take(MOST)
        .map(Value::String)
        .collect();
    (!features.is_empty()).then_some(Value::Array(features))
}

/// The id that the provider gave the call.
pub(crate) fn provider_request_id(headers: &Headers) -> Option<String> {
    [
        "request-id",
        "x-request-id",
        "apim-request-id",
        "x-amzn-requestid",
        "x-generation-id",
        "mistral-correlation-id",
        "x-ds-trace-id",
        "inference-id",
        "x-debug-trace-id",
    ]
    .iter()
    .find_map(|name| text(headers, name))
}

/// The region that a response names.
pub(crate) fn region(headers: &Headers) -> Option<String> {
    ["x-ms-region", "x-groq-region"].iter().find_map(|name| text(headers, name))
}

/// Token counts as Text Generation Inference sends them beside a body that has none.
pub(crate) fn usage(headers: &Headers) -> Option<Usage> {
    let count = |name: &str| text(headers, name)?.parse::<u64>().ok();
    let (prompt, output) = (count("x-prompt-tokens"), count("x-generated-tokens"));
    (prompt.is_some() || output.is_some()).then(|| Usage {
        prompt_tokens: prompt,
        completion_tokens: output,
        total_tokens: prompt.zip(output).and_then(|(prompt, output)| prompt.checked_add(output)),
        ..Usage::default()
    })
}

/// The rate-limit state, header by header.
pub(crate) fn rate_limit(headers: &Headers) -> Option<Value> {
    const MOST: usize = 64;
    let state: Map<String, Value> = headers
        .iter()
        .map(|header| (header.name().to_ascii_lowercase(), header))
        .filter(|(name, _)| {
            name.starts_with("x-ratelimit-")
                || name.starts_with("anthropic-ratelimit-")
                || name.starts_with("ratelimit")
                // Of the plans of ChatGPT.
                || name.starts_with("x-codex-")
                || name.starts_with("retry-after")
                || name.starts_with("x-trial-endpoint-call-")
                || name.starts_with("x-endpoint-monthly-call-")
        })
        .take(MOST)
        .map(|(name, header)| (name, Value::String(header.text().into_owned())))
        .collect();
    (!state.is_empty()).then_some(Value::Object(state))
}

/// The header's text, if there is any.
pub(crate) fn text(headers: &Headers, name: &str) -> Option<String> {
    headers.get(name).filter(|value| !value.is_empty()).map(Into::into)
}

/// Whether a body of this type is nothing to read.
pub(crate) fn is_media(media_type: &str) -> bool {
    ["audio/", "image/", "video/"].iter().any(|kind| media_type.starts_with(kind))
}

/// The version of HTTP as protocols name it.
pub(crate) fn version(version: HttpVersion) -> &'static str {
    match version {
        HttpVersion::Http10 => "1.0",
        HttpVersion::Http11 => "1.1",
        HttpVersion::Http2 => "2",
    }
}

/// The media type without parameters, in lower case.
pub(crate) fn media_type(headers: &Headers) -> Option<String> {
    let value = headers.get("content-type")?;
    Some(value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use oisp_decode::{Header, Nanos};

    use super::*;

    fn head(target: &str, headers: &[(&str, &str)]) -> RequestHead {
        RequestHead {
            method: "POST".into(),
            target: target.into(),
            version: HttpVersion::Http11,
            headers: headers
                .iter()
                .map(|(name, value)| Header::new(*name, value.as_bytes().to_vec()))
                .collect(),
            first_byte: Nanos(0),
        }
    }

    #[test]
    fn destination_is_read_from_every_form_of_target_and_has_no_query() {
        for (target, host, endpoint) in [
            ("/v1/x?key=S", Some("API.example:8443"), Some("https://api.example:8443/v1/x")),
            ("https://u:p@api.example/v1/x?key=S", None, Some("https://api.example/v1/x")),
            ("/v1/x", None, None),
            ("*", Some("h"), Some("https://h*")),
        ] {
            let headers: Vec<_> = host.map(|host| ("Host", host)).into_iter().collect();
            let destination = destination(&head(target, &headers), None, false);
            assert_eq!(destination.endpoint.as_deref(), endpoint, "{target}");
        }
        let local = destination(&head("/v1", &[("host", "[::1]:11434")]), None, true);
        assert_eq!((local.host.as_str(), local.port), ("[::1]", Some(11434)));
        assert_eq!(destination(&head("/v1", &[]), Some("sni.example"), false).host, "sni.example");
    }

    #[test]
    fn key_prefix_is_the_fixed_part_and_never_of_the_secret() {
        for (name, value, auth_type, prefix) in [
            ("authorization", "Bearer sk-proj-abcdefghijkl", AuthType::ApiKey, Some("sk-proj-")),
            ("x-api-key", "sk-ant-api03-abcdefghijkl", AuthType::ApiKey, Some("sk-ant-a")),
            ("authorization", "bearer sk-ant-oat01-abcdefghijkl", AuthType::OAuth, Some("sk-ant-o")),
            ("authorization", "Bearer abcdefghijklmnop", AuthType::ApiKey, None),
            ("authorization", "Bearer sk-abc", AuthType::ApiKey, None),
            ("authorization", "Basic abcdefghijkl", AuthType::Unknown, None),
            ("cookie", "a=b", AuthType::Session, None),
            ("accept", "*/*", AuthType::None, None),
        ] {
            let auth = auth(&head("/", &[(name, value)]));
            assert_eq!((auth.auth_type, auth.key_prefix.as_deref()), (auth_type, prefix), "{value}");
            assert!(auth.key_prefix.is_none_or(|prefix| prefix.len() <= 8));
        }
        assert!(auth(&head("/x?alt=sse&key=AIzaSECRETSECRET", &[])).credential.is_some());
    }
}
