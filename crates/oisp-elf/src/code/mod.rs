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

use std::cell::OnceCell;

use object::{Object as _, ObjectKind};
use operation::{Decoded, Register, Registers};

use crate::image::{Architecture, Parsed, Region};

pub(crate) use starts::{Reach, Starts, find_functions};
pub(crate) use text::{Mark, Text};
#[cfg(test)]
pub(crate) use walk::Call;
pub(crate) use walk::{Trace, Walker};

/// The code and the constants of a file.
pub(crate) struct Code<'a> {
    pub(crate) architecture: Architecture,
    regions: Vec<Region<'a>>,
    /// Where its unwind table lies.
    unwind: Option<unwind::Table<'a>>,
    /// Whether it is loaded where it says, so that its code may have addresses as constants.
    is_fixed: bool,
    /// Shared by the searches for all libraries, because each costs a pass over all code.
    texts: OnceCell<text::Texts<'a>>,
    references: OnceCell<Vec<Sighting>>,
    starts: OnceCell<Starts>,
}

/// Addresses whose references are looked for: some few, of which each can cost a pass.
const MAX_TARGETS: usize = 32;

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
        // Parts do not overlap in what linkers make; a file that says so must not be read over and over.
        let mut left = 2 * parsed.file.data().len();
        let regions: Vec<_> = parsed
            .regions()
            .take(MAX_REGIONS)
            .map_while(|region| {
                left = left.checked_sub(region.bytes.len())?;
                Some(region)
            })
            .collect();
        let unwind = unwind::Table::find(parsed, &regions);
        Self {
            architecture: parsed.architecture,
            regions,
            unwind,
            is_fixed: parsed.file.kind() == ObjectKind::Executable,
            texts: OnceCell::new(),
            references: OnceCell::new(),
            starts: OnceCell::new(),
        }
    }

    pub(crate) fn executable(&self) -> impl Iterator<Item = &Region<'a>> {
        self.regions.iter().filter(|region| region.executable)
    }

    /// The parts that hold constants; where a linker made none, they are in the code's part.
    pub(crate) fn constant(&self) -> impl Iterator<Item = &Region<'a>> {
        let apart = self.regions.iter().any(|region| !region.writable && !region.executable);
        self.regions.iter().filter(move |region| !region.writable && (!region.executable || !apart))
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

    /// The texts with a mark in them.
    pub(crate) fn texts(&self, mark: Mark) -> &[Text<'a>] {
        self.texts.get_or_init(|| text::Texts::find(self)).of(mark)
    }

    pub(crate) fn has(&self, mark: Mark) -> bool {
        !self.texts(mark).is_empty()
    }

    /// The bytes from an address of a constant on.
    pub(crate) fn constant_at(&self, address: u64) -> Option<&'a [u8]> {
        self.constant().find_map(|region| region.from(address))
    }

    /// The places in the code that load one of these addresses into a register, in order. The addresses are those of
    /// marks, or of the texts that end in them.
    pub(crate) fn references(&self, targets: &[u64]) -> Vec<Sighting> {
        self.all_references().iter().filter(|sighting| targets.contains(&sighting.target)).copied().collect()
    }

    fn all_references(&self) -> &[Sighting] {
        self.references.get_or_init(|| {
            let mut targets = Vec::new();
            for mark in Mark::ENDS {
                // The linker may have merged the mark with the end of a longer text.
                targets.extend(self.texts(mark).iter().flat_map(|text| [text.address, text.mark]));
            }
            targets.sort_unstable();
            targets.dedup();
            targets.truncate(MAX_TARGETS);
            self.find_references(&targets)
        })
    }

    /// The starts of functions near all references.
    fn starts(&self) -> &Starts {
        self.starts.get_or_init(|| {
            let mut sites: Vec<u64> = self.all_references().iter().map(|sighting| sighting.at).collect();
            sites.dedup();
            Starts::around(self, &sites)
        })
    }

    pub(crate) fn find_references(&self, targets: &[u64]) -> Vec<Sighting> {
        /// A source file's name is referred to from each of its error reports: some hundred.
        const MAX_REFERENCES: usize = 2048;
        let (Some(&lowest), Some(&highest)) = (targets.first(), targets.last()) else { return Vec::new() };
        let mut references = Vec::new();
        let mut note = |sighting: Sighting| {
            if (lowest..=highest).contains(&sighting.target)
                && targets.binary_search(&sighting.target).is_ok()
                && references.len() < MAX_REFERENCES
            {
                references.push(sighting);
            }
        };
        for region in self.executable() {
            match self.architecture {
                Architecture::X86_64 => x86_64::scan_addresses(region.bytes, region.address, &mut note),
                Architecture::Aarch64 => aarch64::scan(region.bytes, region.address, &mut |sighting| {
                    if sighting.kind == Kind::Address {
                        note(sighting);
                    }
                }),
            }
        }
        if self.architecture == Architecture::X86_64 && self.is_fixed {
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
        references.sort_unstable_by_key(|sighting| (sighting.at, sighting.target));
        references.dedup();
        references
    }

    /// The places in the code that call one of these functions or end by jumping to it.
    pub(crate) fn callers(&self, functions: &[u64]) -> Vec<Sighting> {
        /// More than the rules ask about.
        const MAX_CALLERS: usize = 256;
        let mut callers = Vec::new();
        self.scan(&mut |sighting| {
            if sighting.kind != Kind::Address
                && functions.contains(&sighting.target)
                && callers.len() < MAX_CALLERS
            {
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
