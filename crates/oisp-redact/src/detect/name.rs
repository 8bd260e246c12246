//! Names that say their value is a secret: of variables, JSON keys, flags, headers, query parameters.

/// What a name says about its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SecretName {
    pub(crate) kind: NameKind,
    /// The type that a marker names.
    pub(crate) label: &'static str,
}

/// How a value must look to be taken for a secret; strictest last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NameKind {
    /// A header that carries credentials: any value is one.
    Header,
    /// Passwords are chosen by people: short and wordy ones too.
    Password,
    /// `secret`, `api_key` and their like.
    Secret,
    /// `token` also means a part of a text.
    Token,
    /// Something with `key` in it: mostly not a secret.
    Key,
}

/// Header names whose values are credentials.
const HEADERS: &[(&str, &str)] = &[
    ("authorization", "authorization_header"),
    ("proxyauthorization", "authorization_header"),
    ("cookie", "cookie"),
    ("setcookie", "cookie"),
    ("xapikey", "api_key_header"),
    ("apikey", "api_key_header"),
    ("xgoogapikey", "api_key_header"),
    ("xauthtoken", "api_key_header"),
    ("xaccesstoken", "api_key_header"),
    ("xamzsecuritytoken", "api_key_header"),
    ("xfunctionskey", "api_key_header"),
    ("ocpapimsubscriptionkey", "api_key_header"),
    ("privatetoken", "api_key_header"),
    ("xgitlabtoken", "api_key_header"),
    ("xvaulttoken", "api_key_header"),
];

/// The words looked for in a name, longest meaning first. The first that is found decides.
const WORDS: &[(&str, NameKind, &str)] = &[
    ("password", NameKind::Password, "password"),
    ("passwd", NameKind::Password, "password"),
    ("passphrase", NameKind::Password, "password"),
    ("pwd", NameKind::Password, "password"),
    ("secretaccesskey", NameKind::Secret, "aws_secret_access_key"),
    ("secretkey", NameKind::Secret, "secret_key"),
    ("clientsecret", NameKind::Secret, "client_secret"),
    ("secret", NameKind::Secret, "secret"),
    ("apikey", NameKind::Secret, "api_key"),
    ("accesskey", NameKind::Secret, "access_key"),
    ("accountkey", NameKind::Secret, "access_key"),
    ("privatekey", NameKind::Secret, "private_key"),
    ("encryptionkey", NameKind::Secret, "encryption_key"),
    ("signingkey", NameKind::Secret, "signing_key"),
    ("authkey", NameKind::Secret, "api_key"),
    ("credential", NameKind::Secret, "credential"),
    ("accesstoken", NameKind::Secret, "token"),
    ("refreshtoken", NameKind::Secret, "token"),
    ("authtoken", NameKind::Secret, "token"),
    ("bearertoken", NameKind::Secret, "token"),
    ("sessiontoken", NameKind::Secret, "token"),
    ("apitoken", NameKind::Secret, "token"),
    ("bottoken", NameKind::Secret, "token"),
    ("token", NameKind::Token, "token"),
    ("key", NameKind::Key, "key"),
];

/// Providers whose keys have no shape of their own: the name tells whose key it is.
const PROVIDERS: &[(&str, &str)] = &[
    ("openai", "openai_api_key"),
    ("anthropic", "anthropic_api_key"),
    ("mistral", "mistral_api_key"),
    ("codestral", "mistral_api_key"),
    ("cohere", "cohere_api_key"),
    ("together", "together_api_key"),
    ("deepseek", "deepseek_api_key"),
    ("azure", "azure_api_key"),
];

/// What a name may go on with when it does not name the secret itself but something about it.
const NOT_THE_SECRET: &[&str] = &[
    "id",
    "name",
    "type",
    "count",
    "limit",
    "url",
    "uri",
    "path",
    "file",
    "dir",
    "expir",
    "ttl",
    "hash",
    "len",
    "size",
    "prefix",
    "hint",
    "policy",
    "rotat",
    "iz",
    "usage",
    "budget",
    "per",
    "used",
    "field",
    "label",
    "input",
    "placeholder",
    "reset",
    "required",
    "manager",
    "version",
    "format",
    "pattern",
    "regex",
    "source",
    "scope",
    "status",
    "board",
    "word",
    "endpoint",
    "index",
    "kind",
    "algorithm",
    "method",
    "provider",
    "store",
    "attempt",
    "frame",
    "map",
    "error",
    "code",
    "ring",
];

/// What stands before `key` where it is not a secret.
const ORDINARY_KEYS: &[&str] = &[
    "public",
    "primary",
    "foreign",
    "cache",
    "sort",
    "partition",
    "idempotency",
    "hash",
    "routing",
    "lookup",
    "dedup",
    "object",
    "row",
    "group",
    "unique",
    "index",
    "translation",
    "storage",
    "composite",
    "mon",
    "don",
    "tur",
    "hot",
    "arrow",
    "config",
    "metadata",
    "param",
    "dict",
    "json",
    "event",
    "message",
    "feature",
    "flag",
];

/// What stands before `token` where it is a part of a text or of a list.
const ORDINARY_TOKENS: &[&str] = &[
    "max",
    "min",
    "page",
    "next",
    "continuation",
    "total",
    "prompt",
    "completion",
    "input",
    "output",
    "num",
    "n",
];

/// What `name` says about its value; `None` when nothing.
pub(crate) fn classify(name: &str) -> Option<SecretName> {
    // `apiKey` is a name in many a text, `api-key` a header.
    let header = name.contains('-') || !name.to_ascii_lowercase().contains("key");
    if let (true, Some(header)) = (header, classify_header(name)) {
        return Some(header);
    }
    let mut buffer = [0; 64];
    classify_words(normalise(name, &mut buffer)?)
}

/// As [`classify`], for headers only; says whether the name is unmistakably a header's.
pub(crate) fn classify_header(name: &str) -> Option<SecretName> {
    let mut buffer = [0; 64];
    let name = normalise(name, &mut buffer)?;
    let (_, label) = HEADERS.iter().find(|(header, _)| *header == name)?;
    Some(SecretName { kind: NameKind::Header, label })
}

/// As [`classify`], for names of query parameters, where a bare `key`, `sig` or `code` is one too.
pub(crate) fn classify_query(name: &str) -> Option<SecretName> {
    let mut buffer = [0; 64];
    let name = normalise(name, &mut buffer)?;
    const EXACT: &[&str] = &[
        "key",
        "token",
        "sig",
        "signature",
        "auth",
        "secret",
        "session",
        "sid",
        "jwt",
        "assertion",
        "ticket",
        "pass",
        "accesstoken",
        "idtoken",
        "xamzsignature",
        "xamzsecuritytoken",
        "xamzcredential",
        "xgoogsignature",
        "xgoogcredential",
    ];
    if EXACT.contains(&name) {
        return Some(SecretName { kind: NameKind::Header, label: "url_key" });
    }
    if name == "code" {
        return Some(SecretName { kind: NameKind::Token, label: "url_key" });
    }
    let found = classify_words(name)?;
    let kind = if found.kind == NameKind::Password || found.kind == NameKind::Secret {
        NameKind::Header
    } else {
        found.kind
    };
    Some(SecretName { kind, label: "url_key" })
}

fn classify_words(name: &str) -> Option<SecretName> {
    let (position, word, kind, label) = WORDS
        .iter()
        .find_map(|(word, kind, label)| name.rfind(word).map(|position| (position, *word, *kind, *label)))?;
    let (before, after) = (&name[..position], &name[position + word.len()..]);
    if NOT_THE_SECRET.iter().any(|word| after.starts_with(word)) {
        return None;
    }
    match kind {
        NameKind::Token if after.starts_with('s') || ORDINARY_TOKENS.contains(&before) => return None,
        // `key` alone is a name for anything.
        NameKind::Key if before.is_empty() || !after.is_empty() => return None,
        NameKind::Key if ORDINARY_KEYS.iter().any(|word| before.ends_with(word)) => return None,
        _ => {}
    }
    let label = match kind {
        NameKind::Secret | NameKind::Key | NameKind::Token => PROVIDERS
            .iter()
            .find(|(provider, _)| before.contains(provider))
            .map_or(label, |(_, provider_label)| provider_label),
        NameKind::Password | NameKind::Header => label,
    };
    Some(SecretName { kind, label })
}

/// Lower case without `_`, `-` and `.`; the last 64 characters of a longer name. `None` for a name with
/// anything else in it.
fn normalise<'b>(name: &str, buffer: &'b mut [u8; 64]) -> Option<&'b str> {
    let mut length = 0;
    let bytes = name.as_bytes();
    for byte in &bytes[bytes.len().saturating_sub(buffer.len())..] {
        match byte {
            b'_' | b'-' | b'.' => {}
            byte if byte.is_ascii_alphanumeric() => {
                buffer[length] = byte.to_ascii_lowercase();
                length += 1;
            }
            _ => return None,
        }
    }
    std::str::from_utf8(&buffer[..length]).ok().filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_secrets_are_told_from_names_of_things_about_them() {
        for (name, label) in [
            ("password", "password"),
            ("DB_PASSWORD", "password"),
            ("MISTRAL_API_KEY", "mistral_api_key"),
            ("apiKey", "api_key"),
            ("aws_secret_access_key", "aws_secret_access_key"),
            ("--access-token", "token"),
            ("GITHUB_TOKEN", "token"),
            ("OPENAI_KEY", "openai_api_key"),
            ("Proxy-Authorization", "authorization_header"),
            ("Set-Cookie", "cookie"),
            ("API_KEY_PROD", "api_key"),
            ("AccountKey", "access_key"),
        ] {
            assert_eq!(classify(name).map(|name| name.label), Some(label), "{name}");
        }
        for name in [
            "max_tokens",
            "token_count",
            "tokenizer",
            "tokens",
            "next_token",
            "key",
            "public_key",
            "prompt_cache_key",
            "keyboard",
            "monkey",
            "password_policy",
            "secret_name",
            "api_key_id",
            "token_type",
            "author",
            "",
            "passwordField",
            "content",
        ] {
            assert_eq!(classify(name), None, "{name}");
        }
    }
}
