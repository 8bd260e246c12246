//! All instructions of a function that can be reached from its first.

use std::collections::{BTreeMap, BTreeSet};

use super::{Flow, Step, decode};
use crate::image::Parsed;

/// Functions with more are not followed to their end.
const MAX_INSTRUCTIONS: usize = 16_384;

/// A function's instructions.
pub(super) struct Walk {
    /// By address.
    pub(super) steps: BTreeMap<u64, Step>,
    /// Where jumps lead.
    pub(super) targets: BTreeSet<u64>,
    /// Whether these are all: nothing is left by a jump that cannot be followed.
    pub(super) is_complete: bool,
}

impl Walk {
    /// Follows the code from `entry`. `end` is where the function ends, where that is known: what would run over it comes
    /// after a call that does not return.
    pub(super) fn of(parsed: &Parsed<'_>, entry: u64, end: Option<u64>) -> Self {
        let mut walk = Self { steps: BTreeMap::new(), targets: BTreeSet::new(), is_complete: true };
        let mut waiting = vec![entry];
        while let Some(mut address) = waiting.pop() {
            let Some(code) = parsed.code_from(address) else {
                walk.is_complete = false;
                continue;
            };
            let first = address;
            let mut follows_call = false;
            loop {
                if Some(address) == end {
                    // By a jump or by running on it would be another function.
                    walk.is_complete &= follows_call;
                    break;
                }
                if walk.steps.contains_key(&address) {
                    break;
                }
                let rest = usize::try_from(address - first).ok().and_then(|at| code.get(at..));
                let step = rest.and_then(|code| decode(parsed.architecture, code, address));
                let Some(step) = step.filter(|_| walk.steps.len() < MAX_INSTRUCTIONS) else {
                    walk.is_complete = false;
                    break;
                };
                walk.steps.insert(address, step);
                follows_call = matches!(step.flow, Flow::Call(_));
                match step.flow {
                    Flow::Next | Flow::Call(_) => {}
                    Flow::Branch(target) => {
                        walk.targets.insert(target);
                        waiting.push(target);
                    }
                    Flow::Jump(target) => {
                        walk.targets.insert(target);
                        waiting.push(target);
                        break;
                    }
                    Flow::Return | Flow::End => break,
                    Flow::Unknown => {
                        walk.is_complete = false;
                        break;
                    }
                }
                let Some(next) = address.checked_add(step.length) else {
                    walk.is_complete = false;
                    break;
                };
                address = next;
            }
        }
        walk
    }

    /// The instructions by which the function is left.
    pub(super) fn returns(&self) -> impl Iterator<Item = u64> {
        self.steps.iter().filter(|(_, step)| step.flow == Flow::Return).map(|(address, _)| *address)
    }
}
