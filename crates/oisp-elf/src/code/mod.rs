//! Machine code: what refers to a text, where functions begin, and what they do.
//!
//! One file a CPU ([`x86_64`], [`aarch64`]) translates instructions into [`operation::Operation`]s; everything else
//! knows no CPU. Everything is bounded: a walk has a budget of instructions, a search one of candidates, and what
//! exceeds them is not found, which the rules in `stack/` refuse.

mod aarch64;
pub(crate) mod operation;
mod starts;
mod text;
mod unwind;
mod walk;
mod x86_64;

use operation::{Decoded, Register, Registers};

use crate::image::{Architecture, Parsed, Region};

pub(crate) use starts::{Starts, find_functions};
pub(crate) use text::{Text, contains, texts_ending_in};
#[cfg(test)]
pub(crate) use walk::Call;
pub(crate) use walk::{Trace, Walker};

/// The code and the constants of a file.
pub(crate) struct Code<'a> {
    pub(crate) architecture: Architecture,
    regions: Vec<Region<'a>>,
    /// Where its unwind table lies.
    unwind: Option<unwind::Table<'a>>,
}

/// Something in the code that has an address in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sighting {
    /// The address inside the instruction where its operand is.
    pub(crate) at: u64,
    /// The address that it has.
    pub(crate) target: u64,
    pub(crate) kind: Kind,
}

/// What is done with an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It is loaded into a register.
    Address,
    /// It is called.
    Call,
    /// It is jumped to.
    Jump,
}

impl<'a> Code<'a> {
    pub(crate) fn of(parsed: &Parsed<'a>) -> Self {
        /// A linker makes four to six.
        const MAX_REGIONS: usize = 64;
        let regions: Vec<_> = parsed.regions().take(MAX_REGIONS).collect();
        let unwind = unwind::Table::find(parsed, &regions);
        Self { architecture: parsed.architecture, regions, unwind }
    }

    pub(crate) fn executable(&self) -> impl Iterator<Item = &Region<'a>> {
        self.regions.iter().filter(|region| region.executable)
    }

    /// The parts that hold constants; some linkers put them into the code's part.
    pub(crate) fn constant(&self) -> impl Iterator<Item = &Region<'a>> {
        self.regions.iter().filter(|region| !region.writable)
    }

    /// The bytes from an address in executable code on.
    pub(crate) fn at(&self, address: u64) -> Option<&'a [u8]> {
        self.regions.iter().filter(|region| region.executable).find_map(|region| region.from(address))
    }

    pub(crate) fn decode(&self, address: u64) -> Option<Decoded> {
        let bytes = self.at(address)?;
        match self.architecture {
            Architecture::X86_64 => x86_64::decode(bytes, address),
            Architecture::Aarch64 => aarch64::decode(bytes, address),
        }
    }

    fn arguments(&self) -> [Register; 6] {
        match self.architecture {
            Architecture::X86_64 => x86_64::ARGUMENTS,
            Architecture::Aarch64 => aarch64::ARGUMENTS,
        }
    }

    fn caller_saved(&self) -> Registers {
        match self.architecture {
            Architecture::X86_64 => x86_64::CALLER_SAVED,
            Architecture::Aarch64 => aarch64::CALLER_SAVED,
        }
    }

    /// Everything in the code that has an address in it, in one pass.
    fn scan(&self, found: &mut dyn FnMut(Sighting)) {
        for region in self.executable() {
            match self.architecture {
                Architecture::X86_64 => x86_64::scan(region.bytes, region.address, found),
                Architecture::Aarch64 => aarch64::scan(region.bytes, region.address, found),
            }
        }
    }

    fn scan_branches(&self, found: &mut dyn FnMut(Sighting)) {
        for region in self.executable() {
            match self.architecture {
                Architecture::X86_64 => x86_64::scan_branches(region.bytes, region.address, found),
                Architecture::Aarch64 => aarch64::scan_branches(region.bytes, region.address, found),
            }
        }
    }

    /// The places in the code that load one of a few addresses into a register, in order.
    pub(crate) fn references(&self, targets: &[u64]) -> Vec<Sighting> {
        /// A source file's name is referred to from each of its error reports: some hundred.
        const MAX_REFERENCES: usize = 4096;
        let (Some(&lowest), Some(&highest)) = (targets.iter().min(), targets.iter().max()) else {
            return Vec::new();
        };
        let mut references = Vec::new();
        self.scan(&mut |sighting| {
            if sighting.kind == Kind::Address
                && (lowest..=highest).contains(&sighting.target)
                && targets.contains(&sighting.target)
                && references.len() < MAX_REFERENCES
            {
                references.push(sighting);
            }
        });
        if self.architecture == Architecture::X86_64 {
            for &target in targets {
                let Ok(constant) = u32::try_from(target) else { continue };
                let finder = memchr::memmem::Finder::new(&constant.to_le_bytes()).into_owned();
                for region in self.executable() {
                    for position in finder.find_iter(region.bytes) {
                        if references.len() < MAX_REFERENCES
                            && x86_64::is_moved_constant(region.bytes, position)
                        {
                            let at = region.address.wrapping_add(position as u64);
                            references.push(Sighting { at, target, kind: Kind::Address });
                        }
                    }
                }
            }
        }
        references.sort_by_key(|sighting| (sighting.at, sighting.target));
        references.dedup();
        references
    }

    /// The places in the code that call a function or end by jumping to it.
    pub(crate) fn callers(&self, function: u64) -> Vec<Sighting> {
        /// More than the rules ask about.
        const MAX_CALLERS: usize = 256;
        let mut callers = Vec::new();
        self.scan(&mut |sighting| {
            if sighting.kind != Kind::Address && sighting.target == function && callers.len() < MAX_CALLERS {
                callers.push(sighting);
            }
        });
        callers
    }

    /// Whether the unwind table says that this is in a function and not its start.
    fn is_inside_function(&self, address: u64) -> bool {
        self.unwind
            .as_ref()
            .and_then(|table| table.covering(address))
            .is_some_and(|(start, _)| start != address)
    }

    /// Whether a function may begin here, by what is before.
    fn may_begin(&self, address: u64) -> bool {
        self.executable().any(|region| {
            let Some(position) = region.position(address) else { return false };
            match self.architecture {
                Architecture::X86_64 => x86_64::ends_before(region.bytes, position),
                Architecture::Aarch64 => {
                    position.is_multiple_of(4) && aarch64::ends_before(region.bytes, position)
                }
            }
        })
    }
}

impl<'a> Region<'a> {
    pub(crate) fn position(&self, address: u64) -> Option<usize> {
        let position = usize::try_from(address.checked_sub(self.address)?).ok()?;
        (position < self.bytes.len()).then_some(position)
    }

    pub(crate) fn from(&self, address: u64) -> Option<&'a [u8]> {
        self.bytes.get(self.position(address)?..)
    }
}
