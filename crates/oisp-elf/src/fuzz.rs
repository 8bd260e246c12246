//! Entries for fuzzing: any bytes in, invariants asserted.

use crate::code::Mark;
use crate::{Image, analyze_file, dependencies};

/// Analyses a file that has these bytes.
///
/// # Panics
/// When a function is said to lie outside the file, or the same stack is reported twice: a bug in this crate.
pub fn file(bytes: &[u8]) {
    let Ok(image) = Image::copy_of(bytes) else { return };
    if let Ok(analysis) = analyze_file(&image) {
        for site in analysis.stacks.iter().flat_map(|stack| &stack.functions) {
            assert!(site.file_offset < bytes.len() as u64, "{site:?} is outside the file");
        }
        for (index, stack) in analysis.stacks.iter().enumerate() {
            let again = analysis.stacks.iter().skip(index + 1).any(|other| {
                other
                    .functions
                    .iter()
                    .any(|site| stack.functions.iter().any(|one| one.address == site.address))
            });
            assert!(!again, "{:?} is reported twice", stack.library);
        }
    }
    let _ = dependencies(&image);
}

/// Analyses a program that has the texts of every TLS library and whose code is these bytes but the first, which says
/// for which CPU it is and whether it is loaded where it says.
///
/// # Panics
/// As [`file`].
pub fn code(bytes: &[u8]) {
    if let Some((&kind, code)) = bytes.split_first() {
        file(&program(kind & 1 != 0, kind & 2 != 0, code));
    }
}

/// Where the texts begin, after the headers.
const TEXTS: u64 = 0x200;
/// Where the code begins.
const CODE: u64 = 0x1000;
/// The distance of the code from one that has its address pointed to, in bytes.
const POINTED: usize = 32;

/// An executable with a part of texts, one of code and one of pointers into the code.
fn program(for_arm: bool, is_fixed: bool, code: &[u8]) -> Vec<u8> {
    let base: u64 = if is_fixed { 0x40_0000 } else { 0 };
    let pointers: Vec<u8> = (0..code.len().min(1 << 14))
        .step_by(POINTED)
        .flat_map(|position| (base + CODE + position as u64).to_le_bytes())
        .collect();
    let code_end = CODE + code.len() as u64;
    let pointers_at = code_end.next_multiple_of(0x1000);

    let mut bytes = b"\x7fELF\x02\x01\x01".to_vec();
    bytes.resize(16, 0);
    let (kind, machine): (u16, u16) = (if is_fixed { 2 } else { 3 }, if for_arm { 183 } else { 62 });
    bytes.extend(kind.to_le_bytes());
    bytes.extend(machine.to_le_bytes());
    bytes.extend(1u32.to_le_bytes());
    for field in [base + CODE, 64, 0] {
        bytes.extend(u64::to_le_bytes(field));
    }
    bytes.extend(0u32.to_le_bytes());
    for field in [64u16, 56, 3, 64, 0, 0] {
        bytes.extend(field.to_le_bytes());
    }
    let parts = [(4u32, 0, CODE), (5, CODE, code.len() as u64), (6, pointers_at, pointers.len() as u64)];
    for (flags, offset, size) in parts {
        bytes.extend(1u32.to_le_bytes());
        bytes.extend(flags.to_le_bytes());
        for field in [offset, base + offset, base + offset, size, size, 0x1000] {
            bytes.extend(field.to_le_bytes());
        }
    }
    for (part, at) in [(Mark::all_texts(), TEXTS), (code.to_vec(), CODE), (pointers, pointers_at)] {
        bytes.resize(usize::try_from(at).unwrap_or(0), 0);
        bytes.extend(part);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{Architecture, RefusalReason};

    /// An error report of BoringSSL for x86, position-independent: its text is the first.
    const REPORT: &[u8] = b"\xbf\x10\0\0\0\x31\xf6\xba\x42\0\0\0\x48\x8d\x0d\xed\xf1\xff\xff\x41\xb8\xa3\x03\0\0\xe8\0\0\0\0\xc3";

    #[test]
    fn made_program_is_taken_for_one_of_its_cpu_and_its_texts_without_functions_are_refused() {
        for (for_arm, architecture) in [(false, Architecture::X86_64), (true, Architecture::Aarch64)] {
            let image = Image::copy_of(&program(for_arm, false, REPORT)).expect("mapped");
            let analysis = analyze_file(&image).expect("an analysis");
            assert_eq!(analysis.architecture, architecture);
            assert_eq!(analysis.stacks, []);
            assert!(
                analysis.refusals.iter().filter(|it| matches!(it.reason, RefusalReason::Absent(_))).count()
                    >= 3,
                "{:?}",
                analysis.refusals
            );
        }
    }

    #[test]
    fn reference_in_made_code_is_followed_to_its_report() {
        let image = Image::copy_of(&program(false, false, REPORT)).expect("mapped");
        let parsed = crate::image::Parsed::parse(image.bytes()).expect("parsed");
        let code = parsed.code();
        let text = code.texts(Mark::BoringSslFile)[0];
        let functions =
            crate::code::find_functions(code, &code.references(&[text.address]), crate::code::Reach::Far);
        assert_eq!(functions.len(), 1, "{functions:?}");
        assert_eq!(functions[0].start, CODE);
        let arguments = functions[0].calls[0].arguments;
        assert_eq!(arguments[..5], [Some(16), Some(0), Some(66), Some(text.address), Some(931)]);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        #[test]
        fn any_code_is_analysed_without_a_panic(kind in 0u8..4, bytes in prop::collection::vec(any::<u8>(), 0..4096)) {
            code(&[&[kind], bytes.as_slice()].concat());
        }

        #[test]
        fn any_order_of_reports_and_jumps_is_analysed_without_a_panic(
            kind in 0u8..4,
            pieces in prop::collection::vec((0usize..6, any::<[u8; 4]>()), 0..400),
        ) {
            let mut bytes = vec![kind];
            for (piece, operand) in pieces {
                let small = [operand[0], operand[1] & 0x0f, 0, 0];
                match piece {
                    0 => bytes.extend(REPORT),
                    1 => bytes.extend([&[0xe8], small.as_slice()].concat()),
                    2 => bytes.extend([&[0x0f, 0x84], small.as_slice()].concat()),
                    3 => bytes.extend([&[0xe9], small.as_slice()].concat()),
                    4 => bytes.extend([0xc3, 0xcc, 0xcc, 0xcc]),
                    _ => bytes.extend(operand),
                }
            }
            code(&bytes);
        }
    }
}
