//! Where functions begin.
//!
//! A file without symbols says it nowhere. What is called or pointed to, and comes after something that execution
//! does not run out of, is a candidate; the nearest one whose control flow reaches a place is taken for the start of
//! the function that the place is in. An unwind entry is taken where it covers the place.

use std::collections::{BTreeMap, HashSet};

use crate::analysis::RefusalReason;

use super::{Code, Kind, Sighting, Trace, Walker};

/// Known starts of functions, near the places of interest only: a whole program has millions of calls.
#[derive(Default)]
pub(crate) struct Starts {
    windows: Vec<Window>,
    pages: Vec<u64>,
}

/// Where the functions of one search jump to far away.
#[derive(Default)]
pub(crate) struct FarTargets {
    /// Functions, which something calls.
    functions: HashSet<u64>,
    /// Parts of functions, which nothing calls.
    parts: HashSet<u64>,
}

/// How far a search goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Functions whose start is near.
    Near,
    /// Also those of which rarely executed parts were set apart, which costs passes over all code.
    Far,
}

impl Reach {
    /// Searches near, and further only where a function is absent.
    pub(crate) fn widening<T>(search: impl Fn(Self) -> Result<T, RefusalReason>) -> Result<T, RefusalReason> {
        match search(Self::Near) {
            Err(RefusalReason::Absent(_)) => search(Self::Far),
            result => result,
        }
    }
}

/// A stretch of code of which the targets of calls are known.
struct Window {
    start: u64,
    end: u64,
    /// One bit an address: called.
    called: Vec<u64>,
    /// One bit an address: pointed to, or seeming to be.
    pointed: Vec<u64>,
}

fn bit(bits: &[u64], position: u64) -> bool {
    let word = usize::try_from(position / 64).ok().and_then(|index| bits.get(index)).copied().unwrap_or(0);
    word & (1 << (position % 64)) != 0
}

/// How far before a place its function may begin.
const BEFORE: u64 = 16 << 10;
const AFTER: u64 = 64;
/// How far after its start a set-apart part of a function may have the place that is looked for.
const PART: u64 = 512;
/// Candidates tried for one place.
const MAX_CANDIDATES: usize = 24;
/// Functions kept of one search: a library's source file has at most some hundred.
const MAX_FUNCTIONS: usize = 512;
/// Places that jump into set-apart parts.
const MAX_JUMPS: usize = 1024;
/// A page of the filter that keeps most calls away from the search for their window.
const PAGE_BITS: u32 = 12;
const FILTER_BITS: u64 = 1 << 16;

/// The functions that have the places, each followed. In order of their addresses.
pub(crate) fn find_functions(code: &Code<'_>, places: &[Sighting], reach: Reach) -> Vec<Trace> {
    let sites = sorted(places.iter().map(|place| place.at));
    let (of_places, of_this_search);
    let mut starts = if sites.iter().all(|&site| code.starts().window(site).is_some()) {
        code.starts()
    } else {
        of_places = Starts::around(code, &sites);
        &of_places
    };
    let mut search = Search {
        code,
        walker: Walker::new(code),
        sites,
        far: FarTargets::default(),
        traces: BTreeMap::new(),
    };
    let mut lost = search.follow(starts);
    if search.resolve_far_jumps() {
        lost = search.follow(starts);
    }
    // What several functions have in common may have been set apart: then those that call it have the places.
    let outlined: Vec<u64> =
        search.traces.values().filter(|trace| trace.is_outlined()).map(|trace| trace.start).collect();
    if !outlined.is_empty() {
        let callers = code.callers(&outlined);
        search.sites = sorted(search.sites.iter().copied().chain(callers.iter().map(|caller| caller.at)));
        of_this_search = Starts::around(code, &search.sites);
        starts = &of_this_search;
        lost = search.follow(starts);
        if search.resolve_far_jumps() {
            lost = search.follow(starts);
        }
    }
    // What no function near it reaches may be in a part that was set apart: then some function jumps there.
    if reach == Reach::Far && !lost.is_empty() {
        let jumps = jumps_into(code, &lost);
        if !jumps.is_empty() {
            search.far.parts.extend(jumps.iter().map(|jump| jump.target));
            search.sites = sorted(search.sites.iter().copied().chain(jumps.iter().map(|jump| jump.at)));
            let starts = Starts::around(code, &search.sites);
            search.follow(&starts);
            if search.resolve_far_jumps() {
                search.follow(&starts);
            }
        }
    }
    search.finish()
}

struct Search<'c, 'a> {
    code: &'c Code<'a>,
    walker: Walker<'c, 'a>,
    sites: Vec<u64>,
    far: FarTargets,
    traces: BTreeMap<u64, Trace>,
}

impl Search<'_, '_> {
    /// Follows, for each place that no followed function has yet, the candidates before it. Returns the places that
    /// none has.
    fn follow(&mut self, starts: &Starts) -> Vec<u64> {
        let mut reached: HashSet<u64> = HashSet::new();
        for trace in self.traces.values() {
            reached.extend(&trace.reached);
        }
        let mut lost = Vec::new();
        let mut tried: HashSet<u64> = HashSet::new();
        for site in self.sites.clone() {
            if reached.contains(&site) || self.traces.len() == MAX_FUNCTIONS {
                continue;
            }
            let covering = self.code.unwind.as_ref().and_then(|table| table.covering(site));
            let candidates = covering
                .map(|(start, _)| start)
                .into_iter()
                .chain(starts.before(site).filter(|&start| self.code.may_begin(start)).take(MAX_CANDIDATES));
            let mut found = false;
            for start in candidates.collect::<Vec<_>>() {
                if self.traces.contains_key(&start) || !tried.insert(start) {
                    continue;
                }
                let trace = self.walker.walk(start, &self.sites, starts, &self.far);
                if trace.reached.binary_search(&site).is_ok() {
                    reached.extend(&trace.reached);
                    self.traces.insert(start, trace);
                    found = true;
                    break;
                }
            }
            if !found {
                lost.push(site);
            }
        }
        lost
    }

    /// Finds out which of the targets of far jumps are functions. True where there are parts, so that the functions
    /// that jump there have to be followed again; these are forgotten.
    fn resolve_far_jumps(&mut self) -> bool {
        let targets: HashSet<u64> = self
            .traces
            .values()
            .flat_map(|trace| &trace.far_jumps)
            .copied()
            .filter(|target| !self.far.functions.contains(target))
            .collect();
        if targets.is_empty() {
            return false;
        }
        let (lowest, highest) =
            (targets.iter().min().copied().unwrap_or(0), targets.iter().max().copied().unwrap_or(0));
        let mut functions = HashSet::new();
        self.code.scan(&mut |sighting| {
            if sighting.kind != Kind::Jump
                && (lowest..=highest).contains(&sighting.target)
                && targets.contains(&sighting.target)
            {
                functions.insert(sighting.target);
            }
        });
        let parts: HashSet<u64> = targets
            .difference(&functions)
            .copied()
            .filter(|&target| self.code.at(target).is_some())
            .collect();
        self.far.functions.extend(functions);
        self.traces.retain(|_, trace| !trace.far_jumps.iter().any(|target| parts.contains(target)));
        let any = !parts.is_empty();
        self.far.parts.extend(parts);
        any
    }

    fn finish(self) -> Vec<Trace> {
        // What lies on another function's way and is a piece of it is no function of its own, unless that one merely
        // calls it, which is no way.
        let pieces: HashSet<u64> = self
            .traces
            .values()
            .flat_map(|trace| trace.pieces.iter().copied().filter(|&piece| piece != trace.start))
            .collect();
        self.traces.into_values().filter(|trace| !pieces.contains(&trace.start)).collect()
    }
}

/// The jumps from elsewhere to shortly before one of the places.
fn jumps_into(code: &Code<'_>, places: &[u64]) -> Vec<Sighting> {
    let mut jumps = Vec::new();
    let mut note = |sighting: Sighting| {
        if sighting.kind != Kind::Jump || jumps.len() == MAX_JUMPS {
            return;
        }
        let next = places.partition_point(|&place| place < sighting.target);
        let Some(&place) = places.get(next) else { return };
        if place - sighting.target < PART && sighting.at.abs_diff(place) > 2 * PART {
            jumps.push(sighting);
        }
    };
    code.scan(&mut note);
    code.scan_branches(&mut note);
    jumps
}

impl Starts {
    /// Learns the targets of calls near these places.
    pub(super) fn around(code: &Code<'_>, sites: &[u64]) -> Self {
        let mut starts = Self { pages: vec![0; (FILTER_BITS / 64) as usize], ..Self::default() };
        for &site in sites {
            let (start, end) = (site.saturating_sub(BEFORE), site.saturating_add(AFTER));
            match starts.windows.last_mut() {
                Some(last) if start <= last.end => last.end = end,
                _ => starts.windows.push(Window { start, end, called: Vec::new(), pointed: Vec::new() }),
            }
        }
        for window in &mut starts.windows {
            let words = usize::try_from((window.end - window.start) / 64 + 1).unwrap_or(0);
            window.called = vec![0; words];
            window.pointed = vec![0; words];
            for page in window.start >> PAGE_BITS..=window.end >> PAGE_BITS {
                let bit = page % FILTER_BITS;
                starts.pages[(bit / 64) as usize] |= 1 << (bit % 64);
            }
        }
        code.scan(&mut |sighting| {
            if sighting.kind != Kind::Jump {
                starts.note(sighting.target, sighting.kind);
            }
        });
        // Pointers to functions: relocated ones have their addresses in the data or in the relocations.
        for region in code.regions.iter().filter(|region| !region.executable) {
            let skip = region.address.wrapping_neg() % 8;
            let words = region.bytes.get(usize::try_from(skip).unwrap_or(0)..).unwrap_or_default();
            for word in words.as_chunks::<8>().0 {
                starts.note(u64::from_le_bytes(*word), Kind::Address);
            }
        }
        starts
    }

    fn note(&mut self, address: u64, kind: Kind) {
        let bit = (address >> PAGE_BITS) % FILTER_BITS;
        if self.pages[(bit / 64) as usize] & (1 << (bit % 64)) == 0 {
            return;
        }
        let index = self.windows.partition_point(|window| window.end <= address);
        if let Some(window) = self.windows.get_mut(index)
            && let Some(position) = address.checked_sub(window.start)
        {
            let bits = if kind == Kind::Call { &mut window.called } else { &mut window.pointed };
            if let Some(word) = bits.get_mut((position / 64) as usize) {
                *word |= 1 << (position % 64);
            }
        }
    }

    /// Whether something calls this address.
    pub(crate) fn is_function(&self, address: u64) -> bool {
        self.window(address).is_some_and(|window| bit(&window.called, address - window.start))
    }

    fn window(&self, address: u64) -> Option<&Window> {
        let index = self.windows.partition_point(|window| window.end <= address);
        self.windows.get(index).filter(|window| window.start <= address)
    }

    /// What is called or pointed to at or before an address, the nearest first.
    fn before(&self, address: u64) -> impl Iterator<Item = u64> + '_ {
        let window = self.window(address);
        let lowest = address.saturating_sub(BEFORE);
        window.into_iter().flat_map(move |window| {
            let position = address - window.start;
            (0..=position)
                .rev()
                .filter(|&position| bit(&window.called, position) || bit(&window.pointed, position))
                .map(move |position| window.start + position)
                .take_while(move |&start| start >= lowest)
        })
    }
}

impl FarTargets {
    pub(crate) fn is_function(&self, address: u64) -> bool {
        self.functions.contains(&address)
    }

    pub(crate) fn is_part(&self, address: u64) -> bool {
        self.parts.contains(&address)
    }
}

fn sorted(sites: impl Iterator<Item = u64>) -> Vec<u64> {
    let mut sites: Vec<u64> = sites.collect();
    sites.sort_unstable();
    sites.dedup();
    sites
}
