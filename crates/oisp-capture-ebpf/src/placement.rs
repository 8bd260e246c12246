//! Which program goes on which instruction of a function.
//!
//! Where arguments are read and where the result is seen are chosen together, because a return probe sits on the function's
//! first instruction: its price is paid there in any case, and the arguments are read on the same trap.

use oisp_ebpf_common::ProbeCookie;
use oisp_elf::{Analysis, CostClass, Function, FunctionSite, ProbeSite, Stack};

use crate::programs::{Probes, probes};
use crate::sandbox;

/// What the running kernel gives and takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rules {
    /// Whether a program learns about its place.
    pub(crate) has_cookies: bool,
    /// Whether a return probe kills a process in a sandbox.
    pub(crate) return_probes_kill: bool,
}

impl Rules {
    /// Of this host.
    pub(crate) fn of_kernel() -> Self {
        Self { has_cookies: has_cookies(), return_probes_kill: sandbox::is_killed_by_return_probes() }
    }
}

/// `bpf_get_attach_cookie` and the links that carry a cookie: Linux 5.15.
pub(crate) fn has_cookies() -> bool {
    aya::features().bpf_cookie() && aya::features().bpf_perf_link()
}

/// A probe that the running kernel would get for a function of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedProbe {
    /// The function.
    pub function: Function,
    /// What is seen there.
    pub sees: Seen,
    /// The instruction.
    pub site: ProbeSite,
}

/// What a probe sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// The arguments.
    Arguments,
    /// The result, by a return probe.
    Returned,
    /// The result, on the way out.
    Returning,
}

/// The probes that a file would get from the running kernel, stack by stack; why a stack would get none.
pub fn planned_probes(analysis: &Analysis) -> Vec<Result<Vec<PlannedProbe>, String>> {
    let rules = Rules::of_kernel();
    let of_function = |site: &FunctionSite, plan: Plan<'_>| {
        let result = if plan.has_return_probe { Seen::Returned } else { Seen::Returning };
        let entry = plan.entry.into_iter().map(|placed| (Seen::Arguments, placed));
        let returns = plan.returns.into_iter().map(move |placed| (result, placed));
        let function = site.function;
        entry
            .chain(returns)
            .map(|(sees, placed)| PlannedProbe { function, sees, site: placed.site.clone() })
            .collect::<Vec<_>>()
    };
    let of_stack = |stack: &Stack| {
        let plans =
            plans(&stack.functions, rules).map_err(|(function, reason)| format!("{function}: {reason}"))?;
        Ok(plans.into_iter().flat_map(|(site, plan)| of_function(site, plan)).collect())
    };
    analysis.stacks.iter().map(of_stack).collect()
}

/// A program on an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Placed<'a> {
    pub(crate) program: &'static str,
    pub(crate) site: &'a ProbeSite,
    pub(crate) arguments: u32,
}

impl Placed<'_> {
    /// What the program is told; the file is the number of the file.
    pub(crate) fn cookie(&self, file: u16) -> ProbeCookie {
        ProbeCookie { file, pushed_words: self.site.pushed_words, arguments: self.arguments }
    }
}

/// The probes of one function.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan<'a> {
    pub(crate) entry: Option<Placed<'a>>,
    pub(crate) returns: Vec<Placed<'a>>,
    /// Whether the result is seen by a return probe.
    pub(crate) has_return_probe: bool,
    /// What a call costs with them, in the unit of [`price`].
    price: u32,
}

/// There is no place for a function's program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoPlace {
    #[error(
        "nowhere are its arguments where this kernel's programs can read them (Linux 5.15 and later can)"
    )]
    Entry,
    #[error("nowhere can its result be seen safely")]
    Return,
}

/// The functions of OpenSSL's interface that transfer a connection's bytes.
const TRANSFERS: &[Function] = &[
    Function::SslRead,
    Function::SslReadEx,
    Function::SslWrite,
    Function::SslWriteEx,
    Function::SslWriteEx2,
    Function::SslReadInternal,
    Function::SslWriteInternal,
];

/// Those that mark where a connection begins or ends. Without any, the end of its socket is its end.
const MARKS_AN_END: &[Function] = &[Function::SslNew, Function::SslFree, Function::SslClear];

/// Microseconds as measured on x86_64 with Linux 6.18. Only their order matters here: an emulated instruction costs less
/// than a return, that less than a single step.
const EMULATED: u32 = 2;
const SINGLE_STEPPED: u32 = 15;
const RETURN: u32 = 3;

fn price(site: &ProbeSite) -> u32 {
    match site.cost {
        CostClass::Emulated => EMULATED,
        CostClass::SingleStepped => SINGLE_STEPPED,
    }
}

/// The probes of a TLS library's functions. Where one function stands for others, it or they are taken.
pub(crate) fn plans<'a>(
    functions: &'a [FunctionSite],
    rules: Rules,
) -> Result<Vec<(&'a FunctionSite, Plan<'a>)>, (&'static str, NoPlace)> {
    let mut planned: Vec<(&FunctionSite, Result<Plan<'a>, NoPlace>)> =
        functions.iter().filter_map(|site| Some((site, plan(site, &probes(site)?, rules)))).collect();
    if !functions.iter().any(|site| MARKS_AN_END.contains(&site.function)) {
        let endless = planned.iter_mut().filter(|(site, _)| TRANSFERS.contains(&site.function));
        // Where it cannot be told, a connection's address marks it for as long as the process lives.
        let entries = endless.filter_map(|(_, plan)| plan.as_mut().ok()?.entry.as_mut());
        for entry in entries.filter(|_| rules.has_cookies) {
            entry.arguments = ProbeCookie::ENDS_WITH_SOCKET;
        }
    }
    for internal in functions.iter().filter(|site| !site.function.stands_for().is_empty()) {
        let is_public = |site: &FunctionSite| internal.function.stands_for().contains(&site.function);
        let own = planned.iter().find(|(site, _)| *site == internal).map(|(_, plan)| plan);
        let public: Vec<_> =
            planned.iter().filter(|(site, _)| is_public(site)).map(|(_, plan)| plan).collect();
        let takes_internal = match own {
            None | Some(Err(_)) => public.is_empty(),
            Some(Ok(own)) => public.is_empty() || is_better(own, &public, rules),
        };
        planned.retain(|(site, _)| if takes_internal { !is_public(site) } else { *site != internal });
    }
    planned
        .into_iter()
        .map(|(site, plan)| plan.map(|plan| (site, plan)).map_err(|reason| (site.function.name(), reason)))
        .collect()
}

/// Whether one function's probes are better than those of all that it stands for: who may be killed decides, then the
/// dearest call.
fn is_better(own: &Plan<'_>, public: &[&Result<Plan<'_>, NoPlace>], rules: Rules) -> bool {
    let public: Result<Vec<&Plan<'_>>, ()> =
        public.iter().map(|plan| plan.as_ref().map_err(|_| ())).collect();
    let Ok(public) = public else { return true };
    let kills = |has_return_probe: bool| rules.return_probes_kill && has_return_probe;
    let public_kill = kills(public.iter().any(|plan| plan.has_return_probe));
    let dearest = public.iter().map(|plan| plan.price).max().unwrap_or(0);
    (kills(own.has_return_probe), own.price) < (public_kill, dearest)
}

/// The cheapest probes for a function among those that are safe.
fn plan<'a>(function: &'a FunctionSite, programs: &Probes, rules: Rules) -> Result<Plan<'a>, NoPlace> {
    let is_usable =
        |site: &ProbeSite, arguments: u32| rules.has_cookies || (site.pushed_words == 0 && arguments == 0);
    let entry_at = |site: Option<&'a ProbeSite>| -> Option<Option<Placed<'a>>> {
        let Some(program) = programs.entry else { return Some(None) };
        let site = site.filter(|site| is_usable(site, programs.arguments))?;
        Some(Some(Placed { program, site, arguments: programs.arguments }))
    };
    // The chosen place, else the first instruction.
    let anywhere = || entry_at(Some(&function.entry)).or_else(|| entry_at(function.returns.probe.as_ref()));
    let Some(at_return) = programs.at_return else {
        let entry = anywhere().ok_or(NoPlace::Entry)?;
        let price = entry.map_or(0, |entry| price(entry.site));
        return Ok(Plan { entry, price, ..Plan::default() });
    };

    let by_probe = at_return.probe.zip(function.returns.probe.as_ref()).and_then(|(program, site)| {
        let entry = entry_at(Some(site))?;
        let returns = vec![Placed { program, site, arguments: 0 }];
        Some(Plan { entry, returns, has_return_probe: true, price: price(site) + RETURN })
    });
    let instructions = &function.returns.instructions;
    let are_usable = !instructions.is_empty() && instructions.iter().all(|site| is_usable(site, 0));
    let by_instruction = at_return.instruction.filter(|_| are_usable).and_then(|program| {
        let entry = anywhere()?;
        let returns: Vec<_> =
            instructions.iter().map(|site| Placed { program, site, arguments: 0 }).collect();
        let dearest = instructions.iter().map(price).max().unwrap_or(0);
        let entered = entry.map_or(0, |entry| price(entry.site));
        Some(Plan { entry, returns, has_return_probe: false, price: entered + dearest })
    });
    match (by_probe, by_instruction) {
        (Some(probe), Some(instruction)) => {
            Ok(if rules.return_probes_kill || instruction.price < probe.price { instruction } else { probe })
        }
        (Some(plan), None) | (None, Some(plan)) => Ok(plan),
        (None, None) => Err(if function.returns.probe.is_none() && instructions.is_empty() {
            NoPlace::Return
        } else {
            NoPlace::Entry
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::programs::ReturnPrograms;
    use oisp_elf::{Evidence, Returns};

    const BOTH: ReturnPrograms = ReturnPrograms { probe: Some("probe"), instruction: Some("instruction") };
    const TRANSFER: Probes = Probes { entry: Some("entry"), at_return: Some(BOTH), arguments: 0 };
    const MODERN: Rules = Rules { has_cookies: true, return_probes_kill: false };

    fn site(address: u64, pushed_words: u8, cost: CostClass) -> ProbeSite {
        ProbeSite { address, file_offset: address, pushed_words, cost, why: "test".into() }
    }

    fn function(entry: ProbeSite, probe: Option<ProbeSite>, instructions: Vec<ProbeSite>) -> FunctionSite {
        FunctionSite {
            function: Function::SslRead,
            address: 0x1000,
            file_offset: 0x1000,
            evidence: Evidence::Symbol,
            entry,
            returns: Returns { probe, instructions },
            arguments: 0,
        }
    }

    fn addresses(plan: &Plan<'_>) -> (Option<u64>, Vec<u64>, bool) {
        let returns = plan.returns.iter().map(|placed| placed.site.address).collect();
        (plan.entry.map(|placed| placed.site.address), returns, plan.has_return_probe)
    }

    #[test]
    fn return_probe_has_the_arguments_read_on_its_own_trap() {
        let dear = function(
            site(0x1010, 3, CostClass::Emulated),
            Some(site(0x1000, 0, CostClass::SingleStepped)),
            Vec::new(),
        );
        let plan = plan(&dear, &TRANSFER, MODERN).expect("a place");
        assert_eq!(addresses(&plan), (Some(0x1000), vec![0x1000], true));
    }

    #[test]
    fn cheap_instructions_win_over_a_return_probe_on_a_dear_one_and_lose_against_a_cheap_one() {
        let instructions = vec![site(0x1020, 3, CostClass::Emulated), site(0x1030, 3, CostClass::Emulated)];
        let dear = function(
            site(0x1010, 3, CostClass::Emulated),
            Some(site(0x1000, 0, CostClass::SingleStepped)),
            instructions,
        );
        let chosen = plan(&dear, &TRANSFER, MODERN).expect("a place");
        assert_eq!(addresses(&chosen), (Some(0x1010), vec![0x1020, 0x1030], false));

        let first = site(0x1000, 0, CostClass::Emulated);
        let stepped = vec![site(0x1020, 0, CostClass::SingleStepped)];
        let cheap = function(first.clone(), Some(first), stepped);
        let chosen = plan(&cheap, &TRANSFER, MODERN).expect("a place");
        assert_eq!(addresses(&chosen), (Some(0x1000), vec![0x1000], true));
        // Dear, but it kills nobody.
        let killing = Rules { return_probes_kill: true, ..MODERN };
        let chosen = plan(&cheap, &TRANSFER, killing).expect("a place");
        assert_eq!(addresses(&chosen), (Some(0x1000), vec![0x1020], false));
    }

    #[test]
    fn without_cookies_only_places_that_need_none_are_used() {
        let old = Rules { has_cookies: false, return_probes_kill: false };
        let function = function(
            site(0x1010, 3, CostClass::Emulated),
            Some(site(0x1000, 0, CostClass::SingleStepped)),
            vec![site(0x1020, 3, CostClass::Emulated)],
        );
        let chosen = plan(&function, &TRANSFER, old).expect("a place");
        assert_eq!(addresses(&chosen), (Some(0x1000), vec![0x1000], true));
        let close = Probes { entry: Some("entry"), at_return: None, arguments: 0 };
        let chosen = plan(&function, &close, old).expect("a place");
        assert_eq!(addresses(&chosen), (Some(0x1000), vec![], false));
        let moved = Probes { arguments: 7, ..TRANSFER };
        assert_eq!(plan(&function, &moved, old), Err(NoPlace::Entry));
    }

    #[test]
    fn internal_function_is_probed_for_its_public_ones_where_that_is_cheaper_and_kills_nobody() {
        let of = |kind, entry: ProbeSite, returns| FunctionSite {
            function: kind,
            ..function(entry.clone(), Some(entry), returns)
        };
        let dear = site(0x1000, 0, CostClass::SingleStepped);
        let functions = [
            of(Function::SslRead, dear.clone(), vec![dear.clone()]),
            of(Function::SslReadEx, dear.clone(), vec![dear.clone()]),
            of(Function::SslWrite, dear, Vec::new()),
            of(Function::SslReadInternal, site(0x2000, 0, CostClass::Emulated), Vec::new()),
        ];
        let names = |rules| {
            let plans = plans(&functions, rules).expect("places");
            plans.iter().map(|(site, _)| site.function).collect::<Vec<_>>()
        };
        assert_eq!(names(MODERN), [Function::SslWrite, Function::SslReadInternal]);
        let killing = Rules { return_probes_kill: true, ..MODERN };
        assert_eq!(names(killing), [Function::SslRead, Function::SslReadEx, Function::SslWrite]);
        // Without symbols there is no choice.
        let alone = plans(&functions[3..], killing).expect("a place");
        assert!(alone[0].1.has_return_probe);
    }

    #[test]
    fn function_that_is_never_to_have_a_return_probe_gets_none() {
        let entry = site(0x1000, 0, CostClass::SingleStepped);
        let stack_moves = function(entry.clone(), None, vec![site(0x1020, 0, CostClass::SingleStepped)]);
        let chosen = plan(&stack_moves, &TRANSFER, MODERN).expect("a place");
        assert_eq!(addresses(&chosen), (Some(0x1000), vec![0x1020], false));
        let unknown = function(entry, None, Vec::new());
        assert_eq!(plan(&unknown, &TRANSFER, MODERN), Err(NoPlace::Return));
    }
    #[test]
    fn stack_without_a_function_that_marks_an_end_has_its_connections_end_with_their_sockets() {
        let first = site(0x1000, 0, CostClass::Emulated);
        let of = |kind| FunctionSite {
            function: kind,
            ..function(first.clone(), Some(first.clone()), Vec::new())
        };
        let told = |kinds: &[Function], rules| {
            let functions: Vec<_> = kinds.iter().map(|&kind| of(kind)).collect();
            let plans = plans(&functions, rules).expect("places");
            plans.iter().filter_map(|(_, plan)| Some(plan.entry?.arguments)).collect::<Vec<_>>()
        };
        let ends = ProbeCookie::ENDS_WITH_SOCKET;
        assert_eq!(told(&[Function::SslRead, Function::SslWrite], MODERN), [ends, ends]);
        assert_eq!(told(&[Function::SslReadInternal, Function::SslWriteInternal], MODERN), [ends, ends]);
        assert_eq!(told(&[Function::SslRead, Function::SslWrite, Function::SslNew], MODERN), [0, 0]);
        assert_eq!(told(&[Function::SslRead, Function::SslFree], MODERN), [0, 0]);
        // Nothing of the sort is told to other libraries' programs.
        assert_eq!(told(&[Function::AeadSeal, Function::AeadOpen], MODERN), [0, 0]);
        let old = Rules { has_cookies: false, return_probes_kill: false };
        assert_eq!(told(&[Function::SslRead, Function::SslWrite], old), [0, 0]);
    }
}
