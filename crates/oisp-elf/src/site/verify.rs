//! Whether probes would land on instructions.

use crate::analysis::{Analysis, CostClass, FunctionSite, ProbeSite};
use crate::image::{Architecture, ElfError, Image, Parsed};
use crate::site::{aarch64, x86_64};

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

/// Farther from its beginning no function is probed.
const MAX_DISTANCE: u64 = 1 << 20;

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
    if parsed.code_offset(function.address) != Some(function.file_offset) {
        return Err(function.address);
    }
    let mut places: Vec<&ProbeSite> = std::iter::once(&function.entry)
        .chain(&function.returns.probe)
        .chain(&function.returns.instructions)
        .collect();
    places.sort_by_key(|place| place.address);
    for place in &places {
        if parsed.code_offset(place.address) != Some(place.file_offset) {
            return Err(place.address);
        }
    }
    let code = parsed.code_from(function.address).ok_or(function.address)?;
    let last = places.last().map_or(function.address, |place| place.address);
    if last.checked_sub(function.address).is_none_or(|distance| distance > MAX_DISTANCE) {
        return Err(last);
    }
    let mut wanted = places.into_iter().peekable();
    let mut check = |address: u64, cost: CostClass| -> Result<bool, u64> {
        while let Some(place) = wanted.next_if(|place| place.address <= address) {
            if place.address != address || place.cost < cost {
                return Err(place.address);
            }
        }
        Ok(wanted.peek().is_some())
    };
    let mut address = function.address;
    loop {
        let decoded = code.get(usize::try_from(address - function.address).map_err(|_| address)?..);
        let decoded = decoded.and_then(|code| match parsed.architecture {
            Architecture::X86_64 => x86_64::decode(code, address),
            Architecture::Aarch64 => aarch64::decode(code, address),
        });
        let Some((length, cost)) = decoded else { return Err(address) };
        if !check(address, cost)? {
            return Ok(());
        }
        address += length;
    }
}
