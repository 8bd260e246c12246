//! An analysis as text for people, short and explained, and as JSON.

use std::fmt::Write as _;
use std::path::Path;

use oisp_elf::{Analysis, Architecture, CostClass, FunctionSite, ProbeSite, Refusal};
use serde_json::{Value, json};

/// A line for each function.
pub(super) fn list(path: &Path, analysis: &Analysis) -> String {
    let mut text = format!("{}\n", path.display());
    if let Some(build_id) = &analysis.build_id {
        line(&mut text, 2, &format!("build id {build_id}"));
    }
    for stack in &analysis.stacks {
        line(&mut text, 2, stack.library.name());
        for site in &stack.functions {
            let place = format!("file offset {:#x}, address {:#x}", site.file_offset, site.address);
            line(&mut text, 4, &format!("{:<14} {place} ({})", site.function.name(), site.evidence.name()));
        }
    }
    refusals(&mut text, &analysis.refusals);
    text
}

/// Everything that was decided, with its reasons.
pub(super) fn explanation(path: &Path, analysis: &Analysis) -> String {
    let mut text = format!("{}\n", path.display());
    let build_id =
        analysis.build_id.as_deref().map_or("no build id".to_owned(), |id| format!("build id {id}"));
    line(&mut text, 2, &format!("{}, {build_id}", architecture(analysis.architecture)));
    for stack in &analysis.stacks {
        line(&mut text, 2, stack.library.name());
        for site in &stack.functions {
            function(&mut text, site);
        }
    }
    refusals(&mut text, &analysis.refusals);
    text
}

fn function(text: &mut String, site: &FunctionSite) {
    line(text, 4, site.function.name());
    let found = format!("at address {:#x}, file offset {:#x}", site.address, site.file_offset);
    line(text, 6, &format!("found by   {}, {found}", site.evidence.name()));
    line(text, 6, &format!("arguments  {}", probe(site, &site.entry)));
    if site.arguments != 0 {
        line(text, 6, &format!("           not where the interface has them: {:#010x}", site.arguments));
    }
    if let Some(at) = &site.returns.probe {
        line(text, 6, &format!("result     return probe {}", probe(site, at)));
    }
    for at in &site.returns.instructions {
        line(text, 6, &format!("result     {}", probe(site, at)));
    }
    if site.returns.probe.is_none() && site.returns.instructions.is_empty() {
        line(text, 6, "result     not read");
    }
}

/// `at +0x1b, file offset 0x38eab, emulated: why`; with the address where it is not in the function.
fn probe(site: &FunctionSite, at: &ProbeSite) -> String {
    /// Longer functions are rare, and a distance beyond it says nothing to people.
    const FUNCTION: u64 = 1 << 16;
    let distance = at.address.checked_sub(site.address).filter(|distance| *distance < FUNCTION);
    let place = distance.map_or(format!("at {:#x}", at.address), |distance| format!("at +{distance:#x}"));
    let pushed = match at.pushed_words {
        0 => String::new(),
        1 => ", 1 word pushed".to_owned(),
        words => format!(", {words} words pushed"),
    };
    format!("{place}, file offset {:#x}{pushed}, {}: {}", at.file_offset, cost(at.cost), at.why)
}

fn refusals(text: &mut String, refusals: &[Refusal]) {
    for refusal in refusals {
        line(text, 2, &format!("refused: {}: {}", refusal.library.name(), refusal.reason));
    }
}

fn line(text: &mut String, indentation: usize, what: &str) {
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{:indentation$}{what}", "");
}

/// Addresses as the file states them and places in the file, as numbers.
pub(super) fn json(path: &Path, analysis: &Analysis) -> Value {
    let stacks: Vec<Value> = analysis
        .stacks
        .iter()
        .map(|stack| {
            let functions: Vec<Value> = stack.functions.iter().map(function_json).collect();
            json!({ "library": stack.library.name(), "functions": functions })
        })
        .collect();
    let refusals: Vec<Value> = analysis
        .refusals
        .iter()
        .map(|refusal| json!({ "library": refusal.library.name(), "reason": refusal.reason.to_string() }))
        .collect();
    let mut all = json!({
        "file": path.display().to_string(),
        "architecture": architecture(analysis.architecture),
        "stacks": stacks,
        "refusals": refusals,
    });
    if let Some(build_id) = &analysis.build_id {
        all["build_id"] = json!(build_id);
    }
    all
}

fn function_json(site: &FunctionSite) -> Value {
    let mut function = json!({
        "function": site.function.name(),
        "evidence": site.evidence.name(),
        "address": site.address,
        "file_offset": site.file_offset,
        "entry": probe_json(&site.entry),
        "return_instructions": site.returns.instructions.iter().map(probe_json).collect::<Vec<_>>(),
    });
    if let Some(at) = &site.returns.probe {
        function["return_probe"] = probe_json(at);
    }
    if site.arguments != 0 {
        function["arguments"] = json!(site.arguments);
    }
    function
}

fn probe_json(at: &ProbeSite) -> Value {
    json!({
        "address": at.address,
        "file_offset": at.file_offset,
        "pushed_words": at.pushed_words,
        "cost": cost(at.cost),
        "why": at.why,
    })
}

fn cost(cost: CostClass) -> &'static str {
    match cost {
        CostClass::Emulated => "emulated",
        CostClass::SingleStepped => "single-stepped",
    }
}

fn architecture(architecture: Architecture) -> &'static str {
    match architecture {
        Architecture::X86_64 => "x86_64",
        Architecture::Aarch64 => "aarch64",
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use oisp_elf::{Evidence, Function, Library, RefusalReason, Returns, Stack};

    use super::*;

    fn at(address: u64, pushed_words: u8, cost: CostClass, why: &'static str) -> ProbeSite {
        ProbeSite { address, file_offset: address - 0x1000, pushed_words, cost, why: Cow::Borrowed(why) }
    }

    /// One of each kind.
    fn analysis() -> Analysis {
        let first = "the function's first instruction";
        let write = FunctionSite {
            function: Function::SslWrite,
            address: 0x3a000,
            file_offset: 0x39000,
            evidence: Evidence::Behaviour,
            entry: at(0x3a004, 1, CostClass::Emulated, "a push behind the first instruction"),
            returns: Returns {
                probe: Some(at(0x3a000, 0, CostClass::SingleStepped, first)),
                instructions: vec![
                    at(0x3a07b, 0, CostClass::Emulated, "ret"),
                    at(0x91000, 0, CostClass::Emulated, "ret of what is called last"),
                ],
            },
            arguments: 0x0102_0304,
        };
        let free = FunctionSite {
            function: Function::SslFree,
            address: 0x3b000,
            file_offset: 0x3a000,
            evidence: Evidence::DynamicSymbol,
            entry: at(0x3b000, 0, CostClass::SingleStepped, first),
            returns: Returns::default(),
            arguments: 0,
        };
        Analysis {
            architecture: Architecture::X86_64,
            build_id: Some("0a1b2c".to_owned()),
            stacks: vec![Stack { library: Library::BoringSsl, functions: vec![write, free] }],
            refusals: vec![Refusal {
                library: Library::RustlsAwsLc,
                reason: RefusalReason::Ambiguous { function: Function::AeadSeal, candidates: 3 },
            }],
        }
    }

    #[test]
    fn a_list_has_a_line_for_each_function_and_each_refusal() {
        assert_eq!(
            list(Path::new("/opt/agent"), &analysis()),
            "\
/opt/agent
  build id 0a1b2c
  BoringSSL
    SSL_write      file offset 0x39000, address 0x3a000 (behaviour)
    SSL_free       file offset 0x3a000, address 0x3b000 (exported symbol)
  refused: rustls (aws-lc): 3 functions have the marks of EVP_AEAD_CTX_seal
"
        );
    }

    #[test]
    fn an_explanation_says_evidence_places_costs_and_reasons() {
        assert_eq!(
            explanation(Path::new("/opt/agent"), &analysis()),
            "\
/opt/agent
  x86_64, build id 0a1b2c
  BoringSSL
    SSL_write
      found by   behaviour, at address 0x3a000, file offset 0x39000
      arguments  at +0x4, file offset 0x39004, 1 word pushed, emulated: a push behind the first instruction
                 not where the interface has them: 0x01020304
      result     return probe at +0x0, file offset 0x39000, single-stepped: the function's first instruction
      result     at +0x7b, file offset 0x3907b, emulated: ret
      result     at 0x91000, file offset 0x90000, emulated: ret of what is called last
    SSL_free
      found by   exported symbol, at address 0x3b000, file offset 0x3a000
      arguments  at +0x0, file offset 0x3a000, single-stepped: the function's first instruction
      result     not read
  refused: rustls (aws-lc): 3 functions have the marks of EVP_AEAD_CTX_seal
"
        );
    }

    #[test]
    fn json_says_what_the_explanation_says() {
        let said = json(Path::new("/opt/agent"), &analysis());
        assert_eq!(said["build_id"], "0a1b2c");
        assert_eq!(said["refusals"][0]["library"], "rustls (aws-lc)");
        assert_eq!(
            said["stacks"][0]["functions"][0],
            json!({
                "function": "SSL_write", "evidence": "behaviour", "address": 0x3a000, "file_offset": 0x39000,
                "entry": { "address": 0x3a004, "file_offset": 0x39004, "pushed_words": 1, "cost": "emulated",
                    "why": "a push behind the first instruction" },
                "return_probe": { "address": 0x3a000, "file_offset": 0x39000, "pushed_words": 0,
                    "cost": "single-stepped", "why": "the function's first instruction" },
                "return_instructions": [
                    { "address": 0x3a07b, "file_offset": 0x3907b, "pushed_words": 0, "cost": "emulated", "why": "ret" },
                    { "address": 0x91000, "file_offset": 0x90000, "pushed_words": 0, "cost": "emulated",
                        "why": "ret of what is called last" },
                ],
                "arguments": 0x0102_0304,
            })
        );
        let free = &said["stacks"][0]["functions"][1];
        assert!(free.get("return_probe").is_none() && free.get("arguments").is_none(), "unknown is absent");
        let bare = Analysis { build_id: None, ..analysis() };
        assert!(json(Path::new("x"), &bare).get("build_id").is_none());
    }
}
