//! The Huffman code of HPACK (RFC 7541 appendix B).
//!
//! The code is canonical: within a length, codes ascend with the symbols. So the lengths are all
//! that needs to be kept.

/// Bits of the code of each byte, then of the end-of-string symbol.
#[rustfmt::skip]
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28,
    28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6,
    6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6,
    6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22,
    20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23,
    22, 23, 23, 24, 22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22,
    23, 23, 20, 22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25,
    19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22, 22,
    25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, 30,
];
const SHORTEST: u32 = 5;
const LONGEST: u32 = 30;
const END_OF_STRING: u16 = 256;

/// Of each length: the first code and where its symbols begin in `symbols`.
struct Code {
    first: [u32; LONGEST as usize + 2],
    start: [u16; LONGEST as usize + 2],
    symbols: [u16; 257],
}

static CODE: Code = code();

const fn code() -> Code {
    let mut code =
        Code { first: [0; LONGEST as usize + 2], start: [0; LONGEST as usize + 2], symbols: [0; 257] };
    let mut next = 0_u32;
    let mut filled = 0;
    let mut length = 1;
    while length <= LONGEST as usize + 1 {
        next <<= 1;
        code.first[length] = next;
        code.start[length] = filled as u16;
        let mut symbol = 0;
        while symbol < LENGTHS.len() {
            if LENGTHS[symbol] as usize == length {
                code.symbols[filled] = symbol as u16;
                filled += 1;
                next += 1;
            }
            symbol += 1;
        }
        length += 1;
    }
    code
}

/// Undoes the code. `None` when it is broken: an end-of-string symbol, or padding that is longer
/// than seven bits or not made of ones (RFC 7541 section 5.2).
pub(super) fn decode(input: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(input.len() * 8 / SHORTEST as usize + 1);
    let mut bits = 0_u64;
    let mut available = 0_u32;
    let mut input = input.iter();
    loop {
        while available <= 56 {
            let Some(byte) = input.next() else { break };
            bits |= u64::from(*byte) << (56 - available);
            available += 8;
        }
        match symbol(bits, available) {
            Some((END_OF_STRING, _)) => return None,
            Some((symbol, length)) => {
                out.push(symbol as u8);
                bits <<= length;
                available -= length;
            }
            None => {
                let is_padding = available < 8 && bits.leading_ones() >= available;
                return is_padding.then_some(out);
            }
        }
    }
}

/// The symbol whose code the highest bits begin with, and its length.
fn symbol(bits: u64, available: u32) -> Option<(u16, u32)> {
    for length in SHORTEST..=LONGEST.min(available) {
        let value = (bits >> (64 - length)) as u32;
        let at = length as usize;
        let count = u32::from(CODE.start[at + 1] - CODE.start[at]);
        if let Some(rank) = value.checked_sub(CODE.first[at])
            && rank < count
        {
            return Some((CODE.symbols[usize::from(CODE.start[at]) + rank as usize], length));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        let hex: String = hex.split_whitespace().collect();
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
    }

    #[test]
    fn the_strings_of_appendix_c_are_decoded() {
        for (hex, expected) in [
            ("f1e3 c2e5 f23a 6ba0 ab90 f4ff", "www.example.com"),
            ("a8eb 1064 9cbf", "no-cache"),
            ("25a8 49e9 5ba9 7d7f", "custom-key"),
            ("25a8 49e9 5bb8 e8b4 bf", "custom-value"),
            ("6402", "302"),
            ("d07a be94 1054 d444 a820 0595 040b 8166 e082 a62d 1bff", "Mon, 21 Oct 2013 20:13:21 GMT"),
            ("", ""),
        ] {
            assert_eq!(decode(&bytes(hex)).as_deref(), Some(expected.as_bytes()), "{hex}");
        }
    }

    #[test]
    fn broken_padding_and_the_end_of_string_symbol_are_refused() {
        // A whole byte of padding; zeros as padding; the end-of-string symbol.
        for hex in ["f1e3 c2e5 f23a 6ba0 ab90 f4ff ff", "00", "ffff ffff"] {
            assert_eq!(decode(&bytes(hex)), None, "{hex}");
        }
    }

    #[test]
    fn the_longest_codes_are_known() {
        // Line feed is thirty bits: 0x3ffffffc.
        assert_eq!(decode(&bytes("ffff fff3")).as_deref(), Some(&b"\n"[..]));
    }
}
