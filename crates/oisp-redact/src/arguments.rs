//! Process arguments: a flag makes a secret of the argument after it.

use crate::detect::{classify_header, flag_label, is_placeholder, is_scheme, strip_scheme};
use crate::redactor::{RedactionMode, Scrubber};

/// Arguments one by one, as `exec` was given them.
pub(crate) fn redact_arguments(arguments: &mut [String], scrub: &mut Scrubber<'_>) {
    for index in 1..arguments.len() {
        let (before, rest) = arguments.split_at_mut(index);
        let (Some(flag), Some(argument)) = (before.last(), rest.first_mut()) else { continue };
        if let Some(name) = secret_after(flag, argument, scrub.mode()) {
            *argument = scrub.whole(name, argument);
        } else if let Some((name, value, label)) = header_argument(flag, argument) {
            *argument = format!("{name}: {}", scrub.whole(label, value));
        }
    }
    scrub.labels(arguments);
}

/// Arguments joined with blanks, perhaps quoted as for a shell.
pub(crate) fn redact_command_line(line: &mut String, scrub: &mut Scrubber<'_>) {
    let mut output = String::with_capacity(line.len());
    let mut flag = "";
    let mut changed = false;
    let mut rest = line.as_str();
    while !rest.is_empty() {
        let blanks = rest.len() - rest.trim_start_matches(' ').len();
        output.push_str(&rest[..blanks]);
        rest = &rest[blanks..];
        let (word, after) = rest.split_at(word_length(rest));
        rest = after;
        let bare = unquote(word);
        match secret_after(flag, bare, scrub.mode()) {
            Some(name) => {
                output.push_str(&scrub.whole(name, bare));
                changed = true;
            }
            None => output.push_str(word),
        }
        flag = bare;
    }
    if changed {
        *line = output;
    }
    scrub.label(line);
}

/// What kind of secret `argument` is, by the argument before it.
pub(crate) fn secret_after(flag: &str, argument: &str, mode: RedactionMode) -> Option<&'static str> {
    // A value that looks like a flag is taken for one, unless it is longer than flags are.
    if is_placeholder(argument) || argument.starts_with("--") && argument.len() < 24 {
        return None;
    }
    // `-H x-api-key: abc`, its quotes lost. Values of several words are found in the text.
    if let Some(name) = flag.strip_suffix(':').and_then(classify_header) {
        return (name.label != "cookie" && !is_scheme(argument)).then_some(name.label);
    }
    if mode == RedactionMode::Full {
        return None;
    }
    if let Some(name) = flag_label(flag) {
        return Some(name.label);
    }
    // curl's `--user name:password`; `docker run --user 1000:1000` is not one.
    let user = matches!(flag, "-u" | "--user" | "-U" | "--proxy-user");
    let password = argument.split_once(':').is_some_and(|(_, password)| {
        !password.is_empty()
            && !password.starts_with("//")
            && !password.bytes().all(|byte| byte.is_ascii_digit())
    });
    (user && password).then_some("user_password")
}

/// The header in `-H 'x-api-key: abc'`: name, value and type, where its value is a credential.
fn header_argument<'a>(flag: &str, argument: &'a str) -> Option<(&'a str, &'a str, &'static str)> {
    if !matches!(flag, "-H" | "--header" | "--proxy-header") {
        return None;
    }
    let (name, value) = argument.split_once(':')?;
    let label = classify_header(name)?.label;
    let value = value.trim_start();
    (!is_placeholder(strip_scheme(value))).then_some((name, value, label))
}

/// The length of the first word of a command line: up to a blank outside quotes.
fn word_length(line: &str) -> usize {
    let mut quote = None;
    for (offset, byte) in line.bytes().enumerate() {
        match (byte, quote) {
            (b' ', None) => return offset,
            (b'"' | b'\'', None) => quote = Some(byte),
            (byte, Some(open)) if byte == open => quote = None,
            _ => {}
        }
    }
    // A quote that never closes is an apostrophe.
    if quote.is_some() { line.find(' ').unwrap_or(line.len()) } else { line.len() }
}

fn unquote(word: &str) -> &str {
    ['"', '\''].into_iter().find_map(|quote| word.strip_prefix(quote)?.strip_suffix(quote)).unwrap_or(word)
}
