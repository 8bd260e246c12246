//! Whether probes would land on instructions.

use std::collections::HashMap;

use super::decode;
use super::walk::Walk;
use crate::analysis::{Analysis, CostClass, FunctionSite, ProbeSite};
use crate::image::{ElfError, Image, Parsed};

/// Why a place must not be probed. A probe inside an instruction kills whoever executes it.
#[derive(Debug, thiserror::Error)]
pub enum SiteError {
    /// The file cannot be read.
    #[error(transparent)]
    Elf(#[from] ElfError),
    /// The place is not one of an instruction of the function.
    #[error(
        "{function}: {address:#x} is not where an instruction begins that was analysed; the file has changed"
    )]
    NotAnInstruction {
        /// The function.
        function: &'static str,
        /// The place's address.
        address: u64,
    },
}

impl Analysis {
    /// Checks every place against the file as it is now: each is where an instruction begins, decoded from the beginning of
    /// its function, and of the kind that was found. To be called before probes are placed, above all for an analysis that
    /// was kept.
    ///
    /// # Errors
    /// When a place must not be probed.
    pub fn verify(&self, image: &Image) -> Result<(), SiteError> {
        let parsed = Parsed::parse(image.bytes())?;
        for function in self.stacks.iter().flat_map(|stack| &stack.functions) {
            let refused =
                |address| SiteError::NotAnInstruction { function: function.function.name(), address };
            if parsed.architecture != self.architecture {
                return Err(refused(function.address));
            }
            verify(&parsed, function).map_err(refused)?;
        }
        Ok(())
    }
}

/// The address that must not be probed, where there is one.
fn verify(parsed: &Parsed<'_>, function: &FunctionSite) -> Result<(), u64> {
    let places: Vec<&ProbeSite> = std::iter::once(&function.entry)
        .chain(&function.returns.probe)
        .chain(&function.returns.instructions)
        .collect();
    if parsed.code_offset(function.address) != Some(function.file_offset) {
        return Err(function.address);
    }
    if let Some(moved) =
        places.iter().find(|place| parsed.code_offset(place.address) != Some(place.file_offset))
    {
        return Err(moved.address);
    }
    let mut left = in_a_row(parsed, function.address, places)?;
    if !left.is_empty() {
        // In a part of the function that lies elsewhere, or behind data between its instructions.
        let walk = Walk::of(parsed, function.address, None);
        left.retain(|place| walk.steps.get(&place.address).is_none_or(|step| step.cost > place.cost));
    }
    left.first().map_or(Ok(()), |place| Err(place.address))
}

/// Decodes one instruction after the other from a function's first; gives the places that were not met.
fn in_a_row<'p>(
    parsed: &Parsed<'_>,
    from: u64,
    places: Vec<&'p ProbeSite>,
) -> Result<Vec<&'p ProbeSite>, u64> {
    /// Farther from its beginning a function's parts are reached by jumps.
    const MAX_DISTANCE: u64 = 1 << 20;
    let is_near = |address: u64| address.checked_sub(from).is_some_and(|distance| distance <= MAX_DISTANCE);
    let Some(last) = places.iter().map(|place| place.address).filter(|address| is_near(*address)).max()
    else {
        return Ok(places);
    };
    let code = parsed.code_from(from).ok_or(from)?;
    let mut met: HashMap<u64, CostClass> = HashMap::new();
    let mut address = from;
    while address <= last {
        let rest = usize::try_from(address - from).ok().and_then(|at| code.get(at..));
        let Some(step) = rest.and_then(|code| decode(parsed.architecture, code, address)) else { break };
        if places.iter().any(|place| place.address == address) {
            met.insert(address, step.cost);
        }
        address += step.length;
    }
    Ok(places
        .into_iter()
        .filter(|place| met.get(&place.address).is_none_or(|cost| *cost > place.cost))
        .collect())
}
