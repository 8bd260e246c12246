//! Whole events: nothing planted anywhere survives, and what was done is said.

mod fixture;

use fixture::{full_events, text};
use oisp_event::{AiRequest, Auth, AuthType, Completeness, Credential, Message, Payload, ProcessExec, Role};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::detect::{Matcher, Reach, samples};

fn redactor(mode: RedactionMode) -> Redactor {
    Redactor::new(RedactionConfig { mode, key: HashKey::from_bytes(&[7; 32]) })
}

/// JSON pointers of all strings, and of no key.
fn string_paths(value: &Value, path: &str, paths: &mut Vec<String>) {
    match value {
        Value::String(_) => paths.push(path.to_owned()),
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                string_paths(item, &format!("{path}/{index}"), paths);
            }
        }
        Value::Object(map) => {
            for (key, item) in map {
                string_paths(item, &format!("{path}/{key}"), paths);
            }
        }
        _ => {}
    }
}

/// The paths of `event` where any string may stand, not just one of a list.
fn free_paths(event: &Value) -> Vec<String> {
    let mut paths = Vec::new();
    string_paths(event, "", &mut paths);
    paths.retain(|path| plant(event, std::slice::from_ref(path), "anything").is_some());
    paths
}

fn plant(event: &Value, paths: &[String], what: &str) -> Option<Event> {
    let mut planted = event.clone();
    for path in paths {
        *planted.pointer_mut(path)? = Value::String(what.to_owned());
    }
    serde_json::from_value(planted).ok()
}

fn survivors(event: &Redacted<Event>, secret: &str) -> Vec<String> {
    let value = serde_json::to_value(event).unwrap();
    let mut paths = Vec::new();
    string_paths(&value, "", &mut paths);
    paths
        .retain(|path| value.pointer(path).and_then(Value::as_str).is_some_and(|text| text.contains(secret)));
    // Keys too.
    if paths.is_empty() && value.to_string().contains(secret) {
        paths.push("a key".to_owned());
    }
    paths
}

#[test]
fn no_planted_secret_survives_in_any_field_of_any_event() {
    for mode in [RedactionMode::Safe, RedactionMode::Minimal, RedactionMode::Full] {
        let redactor = redactor(mode);
        for event in full_events() {
            let mut value = serde_json::to_value(&event).unwrap();
            let paths = free_paths(&value);
            assert!(paths.len() >= 30, "fields for {}: {paths:?}", event.payload.event_type());
            for profile in ["safe", "minimal", "full"] {
                value["confidence"]["redaction_profile"] = profile.into();
                let paths: Vec<_> =
                    paths.iter().filter(|path| !path.ends_with("_profile")).cloned().collect();
                for detector in samples().filter(|d| mode != RedactionMode::Full || d.reach == Reach::Always)
                {
                    for (text, secret) in detector.positives {
                        let planted = plant(&value, &paths, text).unwrap();
                        let left = survivors(&redactor.redact(planted), secret);
                        assert!(left.is_empty(), "{mode}: {} survives at {left:?}: {text}", detector.name);
                    }
                }
            }
            value["confidence"]["redaction_profile"] = "safe".into();
            let planted = plant(&value, &paths, "password=hunter2").unwrap();
            if mode != RedactionMode::Full {
                assert!(survivors(&redactor.redact(planted), "hunter2").is_empty());
            }
        }
    }
}

#[test]
fn no_planted_secret_survives_as_a_key_of_an_extension() {
    for mode in [RedactionMode::Safe, RedactionMode::Minimal] {
        let redactor = redactor(mode);
        for detector in samples() {
            for (text, secret) in detector.positives {
                let mut event = full_events().remove(0);
                event.ext.set(text, "x");
                event.ext.set("nested", json!([{ *text: {} }]));
                assert!(survivors(&redactor.redact(event), secret).is_empty(), "{mode}: {}", detector.name);
            }
        }
    }
}

#[test]
fn minimal_keeps_text_in_no_field_but_these() {
    let redactor = redactor(RedactionMode::Minimal);
    let mut kept = std::collections::BTreeSet::new();
    for event in full_events() {
        let mut value = serde_json::to_value(&event).unwrap();
        value["confidence"]["redaction_profile"].take();
        let paths = free_paths(&value);
        let planted = plant(&value, &paths, "/ordinary words").unwrap();
        kept.extend(survivors(&redactor.redact(planted), "ordinary words"));
    }
    let kept: Vec<_> = kept.iter().map(String::as_str).collect();
    assert_eq!(
        kept,
        [
            "/confidence/limitations/0",
            "/confidence/missing/0",
            "/confidence/reasons/0",
            "/data/call_id",
            "/data/choices/0/message/tool_call_id",
            "/data/conversation_id",
            "/data/delta/tool_calls/0/id",
            "/data/delta/tool_calls/0/type",
            "/data/error/code",
            "/data/error/type",
            "/data/exe",
            "/data/messages/0/tool_call_id",
            "/data/messages/1/tool_call_id",
            "/data/model/id",
            "/data/provider/endpoint",
            "/data/provider/organization_id",
            "/data/provider/project_id",
            "/data/provider/region",
            "/data/provider_request_id",
            "/data/request_id",
            "/data/session_id",
            "/data/signal_name",
            "/data/tool/provider",
            "/data/tool_calls/0/id",
            "/data/tool_calls/0/type",
            "/ext/oisp_sensor/notes/reason",
            "/ext/oisp_sensor/provider_id",
            "/host/arch",
            "/host/cloud/instance_id",
            "/host/cloud/instance_type",
            "/host/cloud/region",
            "/host/container/id",
            "/host/container/image",
            "/host/container/name",
            "/host/device_id",
            "/host/hostname",
            "/host/k8s/namespace",
            "/host/k8s/pod_uid",
            "/host/kernel_version",
            "/host/os",
            "/host/os_version",
            "/host/tags/0",
            "/oisp_version",
            "/process/ancestors/0/exe",
            "/process/ancestors/0/name",
            "/process/exe",
            "/process/name",
            "/process/parent/exe",
            "/process/parent/name",
            "/source/capture_point",
            "/source/collector",
            "/source/collector_version",
        ]
    );
}

fn request(change: impl FnOnce(&mut AiRequest)) -> Event {
    let mut event = full_events().remove(0);
    event.confidence.redaction_profile = None;
    event.confidence.redaction_applied = None;
    let Payload::AiRequest(request) = &mut event.payload else { unreachable!("the first one is a request") };
    change(request);
    event
}

#[test]
fn safe_event_names_its_mode_and_counts_what_was_found() {
    let redactor = redactor(RedactionMode::Safe);
    let event = redactor.redact(request(|request| {
        request.messages[1].content = Some("password: hunter2 and PASSWORD=hunter2".into());
        request.tools[0].description = text("with Bearer 8a7b6c5d4e3f2a1b0c");
    }));
    let value = serde_json::to_value(&event).unwrap();
    let hash = redactor.key.short_hash("hunter2");
    assert_eq!(
        value["data"]["messages"][1]["content"],
        format!("password: [REDACTED:password:7:{hash}] and PASSWORD=[REDACTED:password:7:{hash}]")
    );
    assert_eq!(
        value["ext"]["oisp_sensor"]["redaction"]["findings"],
        json!([{"type": "bearer_token", "count": 1}, {"type": "password", "count": 2}])
    );
    assert_eq!(value["confidence"]["redaction_profile"], "safe");
    assert_eq!(value["confidence"]["redaction_applied"], true);
    assert_eq!(value["confidence"]["completeness"], "redacted");
}

#[test]
fn event_without_secrets_stays_as_it_is_but_for_hashes() {
    let event = redactor(RedactionMode::Safe).redact(request(|_| {}));
    let (before, after) = (request(|_| {}), serde_json::to_value(&event).unwrap());
    assert_eq!(event.confidence.completeness, Completeness::Full);
    assert_eq!(event.confidence.redaction_applied, Some(false));
    let mut before = serde_json::to_value(before).unwrap();
    for path in ["/data/system_prompt_hash", "/data/messages/0/content_hash", "/data/messages/1/content_hash"]
    {
        let hash = after.pointer(path).unwrap();
        assert!(hash.as_str().unwrap().starts_with("hmac-sha256:"), "{path}: {hash}");
        *before.pointer_mut(path).unwrap() = hash.clone();
    }
    // Nobody but this stage says what a credential's hash is, and here was no credential.
    before["data"]["auth"].as_object_mut().unwrap().remove("key_hash");
    before["confidence"]["redaction_applied"] = false.into();
    before["confidence"]["redaction_profile"] = "safe".into();
    assert_eq!(before, after);
}

#[test]
fn partial_event_stays_partial() {
    let mut event = request(|request| request.messages[0].content = Some("password: hunter2".into()));
    event.confidence.completeness = Completeness::Partial;
    let event = redactor(RedactionMode::Minimal).redact(event);
    assert_eq!(event.confidence.completeness, Completeness::Partial);
}

#[test]
fn minimal_message_is_a_redacted_object_with_length_and_hash() {
    let redactor = redactor(RedactionMode::Minimal);
    let event =
        redactor.redact(request(|request| request.messages[1] = Message::text(Role::User, "h\u{e9}llo")));
    let value = serde_json::to_value(&event).unwrap();
    let hash = redactor.key.hash("h\u{e9}llo");
    assert_eq!(
        value["data"]["messages"][1],
        json!({
            "role": "user",
            "content": {"$redacted": {
                "reason": "policy", "original_length": 5, "hash": hash, "redaction_profile": "minimal",
            }},
            "content_hash": hash,
            "content_length": 5,
        })
    );
    assert_eq!((&value["data"]["tools"], &value["data"]["tools_count"]), (&Value::Null, &json!(1)));
}

#[test]
fn credential_leaves_nothing_but_a_hash_and_the_scheme_in_every_mode() {
    for mode in [RedactionMode::Safe, RedactionMode::Minimal, RedactionMode::Full] {
        let redactor = redactor(mode);
        let key = concat!("sk-", "ant-api03-abcDEF123456abcDEF123456");
        let auth = |credential: &str, prefix: Option<&str>| {
            let event = redactor.redact(request(|request| {
                request.auth = Some(Auth {
                    account_type: None,
                    auth_type: AuthType::ApiKey,
                    key_prefix: prefix.map(str::to_owned),
                    key_hash: None,
                    credential: Some(Credential(credential.to_owned())),
                });
            }));
            let Payload::AiRequest(request) = &event.payload else { unreachable!("a request") };
            request.auth.clone().unwrap()
        };
        let redacted = auth(&format!("Bearer {key}"), None);
        assert_eq!(redacted.credential, None);
        assert_eq!(redacted.key_prefix.as_deref(), Some("sk-ant-a"));
        assert_eq!(redacted.key_hash, Some(redactor.key.hash(key)));
        // A prefix that shows more than the scheme's fixed part, or belongs to no scheme.
        assert_eq!(
            auth(key, Some("sk-ant-a")).key_prefix.as_deref(),
            Some("sk-ant-a"),
            "cut to the allowed length"
        );
        assert_eq!(auth(key, Some("sk-ant-api03-abc")).key_prefix.as_deref(), Some("sk-ant-a"));
        assert_eq!(auth("hunter2hunter2", Some("hunter2")).key_prefix, None);
        assert_eq!(auth("hunter2hunter2", None).key_prefix, None);
    }
}

#[test]
fn markers_of_one_secret_share_their_hash_wherever_it_stood() {
    let redactor = redactor(RedactionMode::Safe);
    let hash = |text: &str| {
        let redacted = redactor.redact_text(text).into_owned();
        let end = redacted.rfind(']').unwrap();
        redacted[end - 8..end].to_owned()
    };
    let first = hash("Authorization: Bearer q1w2e3r4t5");
    for text in ["--api-key=q1w2e3r4t5", "{\"token\":\"q1w2e3r4t5\"}", "https://h/?key=q1w2e3r4t5&a=b"] {
        assert_eq!(hash(text), first, "{text}");
    }
}

#[test]
fn redacting_twice_changes_nothing_more() {
    let redactor = redactor(RedactionMode::Safe);
    for detector in samples() {
        for (text, _) in detector.positives {
            let once = redactor.redact_text(text).into_owned();
            assert_eq!(redactor.redact_text(&once), once);
        }
    }
    let event = request(|request| request.messages[1].content = Some("password: hunter2".into()));
    let once = redactor.redact(event);
    assert_eq!(redactor.redact(Event::clone(&once)), once);
    let minimal = self::redactor(RedactionMode::Minimal).redact(Event::clone(&once));
    let again = redactor.redact(Event::clone(&minimal));
    assert_eq!(again, minimal, "what minimal removed, no later mode brings back or renames");
}

#[test]
fn flag_makes_a_secret_of_the_next_argument() {
    let redactor = redactor(RedactionMode::Safe);
    let mut event = full_events().remove(2);
    let arguments = [
        "agent",
        "--api-key",
        "plainword",
        "--password=correcthorse",
        "--token",
        "$TOKEN",
        "-u",
        "alice:wonder",
        "--user",
        "1000:1000",
        "--max-tokens",
        "4096",
        "-H",
        "x-api-key: abc",
    ];
    event.payload = Payload::ProcessExec(ProcessExec {
        exe: "/bin/agent".into(),
        args: arguments.map(str::to_owned).to_vec(),
        cwd: None,
    });
    event.process.as_mut().unwrap().cmdline = Some(arguments.join(" "));
    let event = redactor.redact(event);
    let Payload::ProcessExec(exec) = &event.payload else { unreachable!("an exec") };
    let marker = |name, secret| redactor.marker(name, secret);
    assert_eq!(exec.args[2], marker("api_key_header", "plainword"));
    assert_eq!(exec.args[3], format!("--password={}", marker("password", "correcthorse")));
    assert_eq!(exec.args[7], marker("user_password", "alice:wonder"));
    for index in [0, 1, 4, 5, 6, 8, 9, 10, 11, 12] {
        assert_eq!(exec.args[index], arguments[index]);
    }
    let line = serde_json::to_string(&event).unwrap();
    for secret in ["plainword", "correcthorse", "wonder", ": abc"] {
        assert!(!line.contains(secret), "{secret} survives in {line}");
    }
}

#[test]
fn names_in_extension_objects_make_their_values_secret() {
    let redactor = redactor(RedactionMode::Safe);
    let mut event = request(|_| {});
    event.ext.set(
        "http",
        json!({
            "authorization": "Bearer ka11", "Set-Cookie": ["s=kb22", "t=kc33"], "password": "kd44", "pin_password": 5566,
            "headers": [{"name": "Cookie", "value": "u=ke55"}, ["x-api-key", "kf66"]],
            "argv": ["tool", "--token", "gg77"], "url": "https://h/?key=hh88", "max_tokens": 99, "kept": "kept",
        }),
    );
    let line = serde_json::to_string(&redactor.redact(event)).unwrap();
    for secret in ["ka11", "kb22", "kc33", "kd44", "5566", "ke55", "kf66", "gg77", "hh88"] {
        assert!(!line.contains(secret), "{secret} survives in {line}");
    }
    assert!(line.contains("\"max_tokens\":99") && line.contains("\"kept\":\"kept\""), "{line}");
}

#[test]
fn full_keeps_content_and_drops_credentials_in_headers_and_urls() {
    let redactor = redactor(RedactionMode::Full);
    let key = concat!("sk-", "ant-api03-abcDEF123456abcDEF123456");
    let event = redactor.redact(request(|request| {
        request.messages[1].content =
            Some(format!("{key} then -H 'x-api-key: q1w2' https://u:p1x@h/?key=z9").into());
        request.provider.endpoint = text("https://a:b@api.example.com/v1?key=z9#x");
    }));
    let line = serde_json::to_string(&event).unwrap();
    assert!(line.contains(key));
    for secret in ["q1w2", "p1x", "z9", "a:b@"] {
        assert!(!line.contains(secret), "{secret} survives in {line}");
    }
    assert_eq!(event.confidence.redaction_profile.as_deref(), Some("full"));
    // A log needs no content.
    assert!(!redactor.redact_text(key).contains(key));
}

#[test]
fn forged_identifier_becomes_another_and_stays_the_same_for_the_same_text() {
    let redactor = redactor(RedactionMode::Safe);
    let mut value = serde_json::to_value(request(|_| {})).unwrap();
    value["event_id"] = "password=hunter2".into();
    value["related_events"][0]["event_id"] = "password=hunter2".into();
    let event = redactor.redact(serde_json::from_value(value).unwrap());
    assert_eq!(event.event_id, event.related_events[0].event_id);
    assert_eq!(event.event_id.as_str().len(), 26);
}

#[test]
fn url_loses_query_fragment_and_user() {
    let redactor = redactor(RedactionMode::Full);
    let redacted = redactor.redact_url("https://alice:w0nder@h.example/a/b?x=1#y").into_owned();
    assert!(
        redacted.starts_with("https://[REDACTED:url_credentials:12:")
            && redacted.ends_with("]@h.example/a/b")
    );
    assert_eq!(redactor.redact_url("https://h/v1"), "https://h/v1");
}

#[test]
fn nothing_has_a_debug_form_with_the_key() {
    let config = RedactionConfig { mode: RedactionMode::Safe, key: HashKey::ephemeral().unwrap() };
    assert_eq!(format!("{config:?}"), "RedactionConfig { mode: Safe, key: HashKey(..) }");
    assert_eq!(format!("{:?}", Redactor::new(config)), "Redactor { mode: Safe, .. }");
    assert_eq!("minimal".parse(), Ok(RedactionMode::Minimal));
    assert!("none".parse::<RedactionMode>().unwrap_err().to_string().contains("safe, minimal or full"));
}

fn soup() -> impl Strategy<Value = String> {
    let pieces = prop::sample::select(vec![
        "\"",
        "\\",
        "'",
        "`",
        "{",
        "}",
        "[",
        "]",
        ":",
        "=",
        ",",
        " ",
        "\n",
        "\r\n",
        "\\n",
        "\\\"",
        "/",
        "://",
        "@",
        "?",
        "&",
        "%",
        "\u{e9}",
        "\u{1f511}",
        "a",
        "Z",
        "0",
        "token",
        "password",
        "secret=",
        "authorization:",
        "cookie: ",
        "-----BEGIN ",
        "eyJ",
        "sk-",
        "--api-key",
        "[REDACTED:",
        "$",
        "<",
        ">",
    ]);
    prop_oneof![
        "\\PC{0,60}",
        "[A-Za-z0-9_-]{0,40}",
        prop::collection::vec(pieces, 0..12).prop_map(|pieces| pieces.concat()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]

    #[test]
    fn planted_secret_never_survives_safe(
        before in soup(),
        after in soup(),
        sample in prop::sample::select(
            samples().flat_map(|d| d.positives.iter().map(move |sample| (d, *sample))).map(|(d, s)| (matches!(d.matcher, Matcher::Token { .. }), s)).collect::<Vec<_>>()
        ),
        depth in 0..3_usize,
    ) {
        thread_local! {
            static REDACTOR: Redactor = redactor(RedactionMode::Safe);
        }
        let (is_token, (planted, secret)) = sample;
        // A token may be glued to anything; what its surroundings make a secret starts on a line of its own.
        let joint = if is_token { "" } else { "\n" };
        let mut text = format!("{before}{joint}{planted}{joint}{after}");
        let mut secret = secret.to_owned();
        for _ in 0..depth {
            text = serde_json::to_string(&text).unwrap();
            secret = serde_json::to_string(&secret).unwrap();
            secret = secret[1..secret.len() - 1].to_owned();
        }
        // What the surroundings hold by chance is not planted.
        prop_assume!(!before.contains(&secret) && !after.contains(&secret));
        let redacted = REDACTOR.with(|redactor| redactor.redact_text(&text).into_owned());
        prop_assert!(!redacted.contains(&secret), "{:?} survives in {:?}", secret, redacted);
    }

    #[test]
    fn findings_in_any_text_are_in_order_and_on_character_boundaries(
        text in prop::collection::vec(soup(), 0..6).prop_map(|pieces| pieces.concat()),
    ) {
        thread_local! {
            static REDACTOR: Redactor = redactor(RedactionMode::Safe);
        }
        let findings = REDACTOR.with(|redactor| redactor.all.find(&text));
        let mut at = 0;
        for finding in &findings {
            prop_assert!(at <= finding.range.start && finding.range.start < finding.range.end);
            prop_assert!(text.get(finding.range.clone()).is_some());
            at = finding.range.end;
        }
        let redacted = REDACTOR.with(|redactor| redactor.redact_text(&text).into_owned());
        prop_assert!(!findings.is_empty() || redacted == text);
    }
}
