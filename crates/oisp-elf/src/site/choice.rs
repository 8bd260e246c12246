//! The choice.

use std::collections::HashMap;

use object::{Object as _, ObjectSymbol as _};

use super::walk::Walk;
use super::{Flow, arguments, result};
use crate::analysis::{CostClass, Function, FunctionSite, ProbeSite};
use crate::image::Parsed;

/// Instructions that are looked at from a function's first for a place.
const MAX_STRAIGHT: usize = 64;

/// Chooses the places of functions that are to be probed where they begin, and finds their return instructions.
pub(crate) fn choose<'f>(parsed: &Parsed<'_>, functions: impl Iterator<Item = &'f mut FunctionSite>) {
    let functions: Vec<_> = functions.filter(|function| function.entry.address == function.address).collect();
    let ends = ends(parsed, functions.iter().map(|function| function.address));
    for function in functions {
        let end = ends.get(&function.address).copied();
        let walk = Walk::of(parsed, function.address, end);
        function.entry = entry(parsed, function, &walk);
        if let Some(probe) = &mut function.returns.probe {
            probe.cost = walk.steps.get(&function.address).map_or(CostClass::SingleStepped, |step| step.cost);
            if function.returns.instructions.is_empty() && has_result(function.function) {
                function.returns.instructions = returns(parsed, &walk, end.is_some());
            }
        }
    }
}

/// Where the functions at some addresses end, as symbols say.
fn ends(parsed: &Parsed<'_>, addresses: impl Iterator<Item = u64>) -> HashMap<u64, u64> {
    let mut ends: HashMap<u64, u64> = addresses.map(|address| (address, address)).collect();
    for symbol in parsed.file.dynamic_symbols().chain(parsed.file.symbols()) {
        if let Some(end) = ends.get_mut(&symbol.address())
            && let Some(stated) = symbol.address().checked_add(symbol.size())
        {
            *end = stated.max(*end);
        }
    }
    ends.retain(|address, end| address != end);
    ends
}

fn has_result(function: Function) -> bool {
    !matches!(
        function,
        Function::SslFree
            | Function::SslClear
            | Function::GoClose
            | Function::GoClientHandshake
            | Function::GoServerHandshake
    )
}

/// The first cheap place on the straight way from the function's beginning; else its beginning.
fn entry(parsed: &Parsed<'_>, function: &FunctionSite, walk: &Walk) -> ProbeSite {
    let mut site = function.entry.clone();
    let Some(first) = walk.steps.get(&function.address) else { return site };
    site.cost = first.cost;
    if first.cost == CostClass::Emulated {
        site.why = "the function's first instruction, which the kernel emulates".into();
        return site;
    }
    let needed = arguments(parsed.architecture, function.function);
    let (mut address, mut grown) = (function.address, 0_i64);
    for _ in 0..MAX_STRAIGHT {
        let Some(step) = walk.steps.get(&address) else { break };
        // A jump to here would come with other registers, and one that cannot be followed may lead here.
        let is_joined = address != function.address && (walk.targets.contains(&address) || !walk.is_complete);
        if is_joined {
            break;
        }
        if step.is_cheap_place
            && let Some(pushed_words) = words(grown)
            && let Some(file_offset) = parsed.code_offset(address)
        {
            let distance = address - function.address;
            return ProbeSite {
                address,
                file_offset,
                pushed_words,
                cost: step.cost,
                why: format!("{distance} bytes in, emulated by the kernel, the arguments still in place")
                    .into(),
            };
        }
        let Some(growth) = step.growth else { break };
        if step.flow != Flow::Next || step.writes & needed != 0 {
            break;
        }
        grown = grown.saturating_add(growth);
        address += step.length;
    }
    site
}

fn words(grown: i64) -> Option<u8> {
    (grown >= 0 && grown % 8 == 0).then(|| u8::try_from(grown / 8).ok())?
}

/// Where every return is passed with the result in place: the return instructions, or a cheap place before each. Empty
/// where not all are known.
fn returns(parsed: &Parsed<'_>, walk: &Walk, is_bounded: bool) -> Vec<ProbeSite> {
    if !walk.is_complete {
        return Vec::new();
    }
    let places: Option<Vec<ProbeSite>> = walk
        .returns()
        .map(|address| {
            let before = if is_bounded { cheap_before(parsed, walk, address) } else { None };
            before.or_else(|| {
                Some(ProbeSite {
                    address,
                    file_offset: parsed.code_offset(address)?,
                    pushed_words: 0,
                    cost: walk.steps.get(&address)?.cost,
                    why: "a return instruction".into(),
                })
            })
        })
        .collect();
    places.unwrap_or_default()
}

/// A conditional jump before a return instruction that is taken only by what never returns (the check of the stack
/// protector), with the result in its register already and nothing joining in between.
fn cheap_before(parsed: &Parsed<'_>, walk: &Walk, return_address: u64) -> Option<ProbeSite> {
    let result = result(parsed.architecture);
    let mut grown = 0_i64;
    let mut next = return_address;
    loop {
        if walk.targets.contains(&next) {
            return None;
        }
        let (&address, step) = walk.steps.range(..next).next_back()?;
        if address + step.length != next {
            return None;
        }
        if let Flow::Branch(target) = step.flow {
            if !step.is_cheap_place || reaches_return(walk, target) {
                return None;
            }
            return Some(ProbeSite {
                address,
                file_offset: parsed.code_offset(address)?,
                pushed_words: words(grown)?,
                cost: step.cost,
                why: "emulated by the kernel, on the only way to a return instruction, the result in place"
                    .into(),
            });
        }
        if step.flow != Flow::Next || step.writes & result != 0 {
            return None;
        }
        grown = grown.checked_sub(step.growth?)?;
        next = address;
    }
}

fn reaches_return(walk: &Walk, from: u64) -> bool {
    // Short: one call that does not return.
    const MAX_STEPS: usize = 16;
    let mut address = from;
    for _ in 0..MAX_STEPS {
        // Over the function's end, which the walk does not cross.
        let Some(step) = walk.steps.get(&address) else { return false };
        match step.flow {
            Flow::Next | Flow::Call(_) => address += step.length,
            Flow::End => return false,
            Flow::Branch(_) | Flow::Jump(_) | Flow::Return | Flow::Unknown => return true,
        }
    }
    true
}
