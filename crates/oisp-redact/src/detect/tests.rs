use super::*;

fn survives(catalogue: &Catalogue, text: &str, secret: &str) -> bool {
    let mut kept = String::new();
    let mut at = 0;
    for finding in catalogue.find(text) {
        kept.push_str(&text[at..finding.range.start]);
        kept.push('\u{1}');
        at = finding.range.end;
    }
    kept.push_str(&text[at..]);
    kept.contains(secret)
}

#[test]
fn every_detector_finds_its_positives_and_leaves_its_negatives() {
    let catalogue = Catalogue::new(false);
    let mut wrong = Vec::new();
    for detector in samples() {
        assert!(
            !detector.positives.is_empty() && !detector.negatives.is_empty(),
            "{} has no samples",
            detector.name
        );
        for (text, secret) in detector.positives {
            assert!(text.contains(secret), "{text:?} does not contain {secret:?}");
            if survives(&catalogue, text, secret) {
                wrong.push(format!("{} misses {text:?}: {:?}", detector.name, catalogue.find(text)));
            }
        }
        for text in detector.negatives {
            let findings = catalogue.find(text);
            if !findings.is_empty() {
                wrong.push(format!("{} takes {text:?} for a secret: {findings:?}", detector.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What a JSON encoder, a shell or a chat makes of a text.
fn surroundings(text: &str) -> Vec<String> {
    let json = |text: &str| serde_json::to_string(text).unwrap();
    vec![
        text.to_owned(),
        json(text),
        json(&json(text)),
        json(&json(&json(text))),
        format!("see: {text}\n and more"),
        format!("first line\\n{text}\\nlast line"),
        format!("\u{1b}[31m{text}\u{1b}[0m"),
        format!("é{text}ü"),
        format!("`{text}`"),
        format!("({text})"),
        format!("> {text}\r\n"),
    ]
}

#[test]
fn no_surroundings_hide_a_positive() {
    let catalogue = Catalogue::new(false);
    let mut missed = Vec::new();
    for detector in samples() {
        for (text, secret) in detector.positives {
            for text in surroundings(text) {
                // A quote or backslash inside a secret changes with the encoding.
                if text.contains(secret) && survives(&catalogue, &text, secret) {
                    missed.push(format!("{}: {text}", detector.name));
                }
            }
        }
    }
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}

#[test]
fn detectors_that_run_always_find_their_positives_alone() {
    let catalogue = Catalogue::new(true);
    for detector in samples().filter(|detector| detector.reach == Reach::Always) {
        for (text, secret) in detector.positives {
            assert!(!survives(&catalogue, text, secret), "{}: {text}", detector.name);
        }
    }
}

#[test]
fn the_closest_type_names_what_several_detectors_find() {
    let catalogue = Catalogue::new(false);
    let key = samples().find(|detector| detector.name == "anthropic_api_key").unwrap().positives[0].1;
    for text in
        [format!("Authorization: Bearer {key}"), format!("API_KEY={key}"), format!("x-api-key: {key}")]
    {
        let findings = catalogue.find(&text);
        assert_eq!(findings.len(), 1, "{text}");
        assert_eq!((findings[0].name, &text[findings[0].range.clone()]), ("anthropic_api_key", key));
    }
    let findings = catalogue.find("MISTRAL_API_KEY=0aB1cD2eF3gH4iJ5");
    assert_eq!(findings[0].name, "mistral_api_key");
}

/// Every anchor, and pieces that make detectors look far, repeated and combined.
fn hostile_pieces() -> Vec<String> {
    let mut pieces: Vec<String> =
        samples().flat_map(|detector| detector.anchors).map(|anchor| (*anchor).to_owned()).collect();
    for detector in samples() {
        pieces.extend(
            detector.positives.iter().map(|(text, _)| text.chars().take(text.chars().count() / 2).collect()),
        );
        pieces.extend(detector.negatives.iter().map(|text| (*text).to_owned()));
    }
    for piece in [
        "token=",
        "password:\"",
        "password: '\\\"",
        "\"password\":\"a b ",
        "eyJ.",
        "eyJaaaaaaaaaaaa.",
        "://a:",
        "://a:b/",
        "-----BEGIN PRIVATE KEY-----",
        "-----BEGIN PRIVATE KEY-----x!",
        "-----BEGIN RSA PRIVATE KEY-----\nabc\n-----END",
        "?key=",
        "&key=$",
        "cookie:[\"",
        "cookie:[\"a\",",
        "authorization:\"",
        "authorization: a ",
        "authorization:\\\"x",
        "--token ",
        "\"--token\",\n",
        "\\\\\\\\\"",
        "sk-aaaaaaaaaaaaaaaaaaaa",
        "1234567:AA",
        "secret=\"",
        "api_key: str = ",
        "{\"name\":\"cookie\",\"value\":",
        "token_",
        "secret\\n",
    ] {
        pieces.push(piece.to_owned());
    }
    pieces
}

#[test]
fn work_stays_in_proportion_to_the_text_whatever_repeats_in_it() {
    let catalogue = Catalogue::new(false);
    let pieces = hostile_pieces();
    let measure = |text: &str| catalogue.find_counting(text).1 as f64 / text.len() as f64;
    let mut repeated = pieces.clone();
    // Neighbours too: one detector's opening before another's.
    repeated.extend(pieces.windows(2).map(|pair| pair.concat()));
    let ends = ["\"", "'", "\\\"", " ", "=", "a1"];
    repeated.extend(pieces.iter().flat_map(|piece| ends.map(|end| format!("{piece}{end}"))));
    let mut worst = (0.0, String::new());
    for piece in repeated {
        let small = measure(&piece.repeat(1_000 / piece.len() + 1));
        let large = measure(&piece.repeat(8_000 / piece.len() + 1));
        assert!(
            large <= 2.0 * small + 8.0,
            "work grows faster than the text for {piece:?}: {small} then {large}"
        );
        if large > worst.0 {
            worst = (large, piece);
        }
    }
    assert!(worst.0 < 160.0, "{} bytes examined a byte for {:?}", worst.0, worst.1);
    eprintln!("at most {:.1} bytes examined a byte of text, for {:?}", worst.0, worst.1);
}
