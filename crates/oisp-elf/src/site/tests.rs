//! Over all code there is: what is chosen is an instruction of the function.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::process::Command;

use object::{Object as _, ObjectSymbol as _, SymbolKind};
use proptest::prelude::*;

use super::walk::Walk;
use super::{choose, decode};
use crate::analysis::{
    Analysis, CostClass, Evidence, Function, FunctionSite, Library, ProbeSite, Stack, analyze_file,
};
use crate::image::{Architecture, Image, Parsed};

/// An executable that is one segment of code at address 0x1000, at offset 0x1000 of the file.
fn program(machine: u16, code: &[u8]) -> Image {
    let mut bytes = vec![0; 0x1000];
    bytes[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    bytes[16..18].copy_from_slice(&2_u16.to_le_bytes());
    bytes[18..20].copy_from_slice(&machine.to_le_bytes());
    bytes[20] = 1;
    bytes[32..40].copy_from_slice(&64_u64.to_le_bytes());
    for (at, value) in [(52, 64_u16), (54, 56), (56, 1)] {
        bytes[at..at + 2].copy_from_slice(&value.to_le_bytes());
    }
    bytes[64..72].copy_from_slice(&[1, 0, 0, 0, 5, 0, 0, 0]);
    let length = code.len() as u64;
    for (index, word) in [0x1000, 0x1000, 0x1000, length, length, 0x1000_u64].into_iter().enumerate() {
        bytes[72 + index * 8..][..8].copy_from_slice(&word.to_le_bytes());
    }
    bytes.extend_from_slice(code);
    Image::copy_of(&bytes).expect("mapped")
}

const X86_64: u16 = 62;
const AARCH64: u16 = 183;

fn chosen(image: &Image, function: Function, address: u64) -> FunctionSite {
    let parsed = Parsed::parse(image.bytes()).expect("an ELF file");
    let offset = parsed.code_offset(address).expect("code");
    let mut site = FunctionSite::at(function, address, offset, Evidence::Symbol);
    choose(&parsed, std::iter::once(&mut site));
    site
}

fn at(machine: u16, function: Function, code: &[u8]) -> FunctionSite {
    chosen(&program(machine, code), function, 0x1000)
}

fn analysis(image: &Image, functions: Vec<FunctionSite>) -> Analysis {
    let architecture = Parsed::parse(image.bytes()).expect("an ELF file").architecture;
    let stacks = vec![Stack { library: Library::OpenSsl, functions }];
    Analysis { architecture, build_id: None, stacks, refusals: Vec::new() }
}

fn place(site: &ProbeSite) -> (u64, u8, CostClass) {
    (site.address - 0x1000, site.pushed_words, site.cost)
}

#[test]
fn push_at_the_beginning_is_taken_and_a_jump_behind_the_frame_when_there_is_none() {
    let push = [0x41, 0x55, 0xc3]; // push r13; ret
    assert_eq!(place(&at(X86_64, Function::SslRead, &push).entry), (0, 0, CostClass::Emulated));
    // sub rsp,0x18; test edx,edx; js +1; ret; ud2
    let frame = [0x48, 0x83, 0xec, 0x18, 0x85, 0xd2, 0x78, 0x01, 0xc3, 0x0f, 0x0b];
    assert_eq!(place(&at(X86_64, Function::SslRead, &frame).entry), (6, 3, CostClass::Emulated));
    // A register that is needed changes before.
    let moved = [0x48, 0x83, 0xec, 0x18, 0x31, 0xd2, 0x78, 0x01, 0xc3, 0x0f, 0x0b]; // … xor edx,edx …
    assert_eq!(place(&at(X86_64, Function::SslRead, &moved).entry), (0, 0, CostClass::SingleStepped));
    assert_eq!(place(&at(X86_64, Function::SslFree, &moved).entry), (6, 3, CostClass::Emulated));
}

#[test]
fn place_that_a_jump_of_the_function_leads_to_is_not_taken() {
    // test edi,edi; je +3; dec edi; jmp back to the je; ret
    let looped = [0x85, 0xff, 0x74, 0x04, 0xff, 0xcf, 0xeb, 0xfa, 0xc3];
    assert_eq!(place(&at(X86_64, Function::SslFree, &looped).entry), (0, 0, CostClass::SingleStepped));
    // An indirect jump might lead there: test edi,edi; je +2; jmp rax; ret
    let indirect = [0x85, 0xff, 0x74, 0x02, 0xff, 0xe0, 0xc3];
    assert_eq!(place(&at(X86_64, Function::SslFree, &indirect).entry), (0, 0, CostClass::SingleStepped));
}

#[test]
fn return_instructions_are_all_or_none() {
    let two = [0x85, 0xff, 0x74, 0x01, 0xc3, 0x31, 0xc0, 0xc3]; // test; je; ret; xor eax,eax; ret
    let returns = at(X86_64, Function::SslRead, &two).returns.instructions;
    assert_eq!(returns.iter().map(|site| site.address).collect::<Vec<_>>(), [0x1004, 0x1007]);
    let tail = [0x85, 0xff, 0x74, 0x02, 0xff, 0xe0, 0xc3]; // … jmp rax …
    assert_eq!(at(X86_64, Function::SslRead, &tail).returns.instructions, []);
}

#[test]
fn kernel_simulates_more_on_aarch64_and_steps_the_rest() {
    let words = |words: &[u32]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>();
    // bti c; stp x29,x30,[sp,#-32]!; mov x29,sp; str x19,[sp,#16]; cbz x0,+8; ret; ret
    let code =
        words(&[0xd503_245f, 0xa9be_7bfd, 0x9100_03fd, 0xf900_0bf3, 0xb400_0040, 0xd65f_03c0, 0xd65f_03c0]);
    let site = at(AARCH64, Function::SslRead, &code);
    assert_eq!(place(&site.entry), (16, 4, CostClass::Emulated));
    assert!(site.returns.instructions.iter().all(|site| site.cost == CostClass::Emulated));
    assert_eq!(site.returns.instructions.len(), 2);
}

#[test]
fn place_inside_an_instruction_is_refused_and_so_is_a_file_that_has_changed() {
    let code = [0x48, 0x83, 0xec, 0x18, 0x85, 0xd2, 0x78, 0x01, 0xc3, 0x0f, 0x0b];
    let image = program(X86_64, &code);
    let site = chosen(&image, Function::SslRead, 0x1000);
    assert!(analysis(&image, vec![site.clone()]).verify(&image).is_ok());
    let mut inside = site.clone();
    inside.entry.address += 1;
    inside.entry.file_offset += 1;
    assert!(analysis(&image, vec![inside]).verify(&image).is_err());
    let mut changed = code;
    changed[6] = 0x90;
    assert!(analysis(&image, vec![site]).verify(&program(X86_64, &changed)).is_err());
}

proptest! {
    #[test]
    fn any_code_has_its_places_on_boundaries(code in prop::collection::vec(any::<u8>(), 1..300), arm in any::<bool>()) {
        let image = program(if arm { AARCH64 } else { X86_64 }, &code);
        let parsed = Parsed::parse(image.bytes()).expect("an ELF file");
        for function in [Function::SslRead, Function::SslWriteEx2, Function::SslFree, Function::GoRead] {
            let site = chosen(&image, function, 0x1000);
            let walk = Walk::of(&parsed, 0x1000, None);
            let places = std::iter::once(&site.entry).chain(&site.returns.instructions);
            for place in places.filter(|place| place.address != 0x1000) {
                prop_assert!(walk.steps.contains_key(&place.address));
                prop_assert!(place.file_offset < image.bytes().len() as u64);
            }
            // Where there is no instruction at all, verification refuses.
            let verified = analysis(&image, vec![site.clone()]).verify(&image).is_ok();
            let is_code = decode(parsed.architecture, &code, 0x1000).is_some();
            prop_assert_eq!(verified, is_code);
        }
    }
}

/// Every function that the machine's TLS libraries export, against what `objdump` shows.
#[test]
fn places_in_system_libraries_are_instructions_that_objdump_shows_in_the_same_function() {
    if Architecture::host() != Some(Architecture::X86_64) {
        return;
    }
    for name in ["libssl.so.3", "libcrypto.so.3"] {
        let path = Path::new("/usr/lib/x86_64-linux-gnu").join(name);
        let image = Image::open(&path).expect("libssl3 is needed: apt-get install libssl3");
        let parsed = Parsed::parse(image.bytes()).expect("an ELF file");
        let listing = Command::new("objdump").args(["-d", "--no-show-raw-insn"]).arg(&path).output();
        let listing = listing.expect("objdump is needed: apt-get install binutils").stdout;
        let shown: HashSet<u64> = String::from_utf8_lossy(&listing)
            .lines()
            .filter_map(|line| u64::from_str_radix(line.trim_start().split_once(":\t")?.0, 16).ok())
            .collect();
        let mut functions: Vec<FunctionSite> = Vec::new();
        let mut sizes: HashMap<u64, u64> = HashMap::new();
        for symbol in parsed.file.dynamic_symbols() {
            if symbol.kind() == SymbolKind::Text
                && !symbol.is_undefined()
                && let Some(offset) = parsed.code_offset(symbol.address())
            {
                let function = Function::SslWriteEx2;
                sizes.insert(symbol.address(), symbol.size());
                functions.push(FunctionSite::at(function, symbol.address(), offset, Evidence::DynamicSymbol));
            }
        }
        assert!(functions.len() > 400, "{name}: {} functions", functions.len());
        choose(&parsed, functions.iter_mut());
        let mut cheap = 0;
        for function in &functions {
            cheap += usize::from(function.entry.cost == CostClass::Emulated);
            let within = function.entry.address - function.address;
            let size = sizes.get(&function.address).copied().unwrap_or(0);
            assert!(within == 0 || within < size, "{name}: {function:x?}");
            for place in std::iter::once(&function.entry).chain(&function.returns.instructions) {
                assert!(shown.contains(&place.address), "{name}: {function:x?}");
            }
        }
        // Most of the others are too short to have one.
        assert!(cheap * 4 > functions.len(), "{name}: {cheap} of {}", functions.len());
        assert!(analysis(&image, functions).verify(&image).is_ok(), "{name}");
    }
}

#[test]
fn system_libssl_is_read_and_written_through_its_internal_functions() {
    if Architecture::host() != Some(Architecture::X86_64) {
        return;
    }
    let image = Image::open(Path::new("/usr/lib/x86_64-linux-gnu/libssl.so.3"))
        .expect("libssl3 is needed: apt-get install libssl3");
    let analysis = analyze_file(&image).expect("an analysis");
    for internal in [Function::SslReadInternal, Function::SslWriteInternal] {
        let site = analysis.stacks[0].functions.iter().find(|site| site.function == internal);
        let site = site.unwrap_or_else(|| panic!("{}", internal.name()));
        assert_eq!((site.entry.address, site.entry.cost), (site.address, CostClass::Emulated));
    }
}
