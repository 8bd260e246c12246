//! Numbers and text that follow from a seed.

use super::Sizes;

/// SplitMix64: small, fast, and each seed a sequence of its own.
#[derive(Clone, Debug)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`; 0 when that is 0.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        // The upper half of the product: as even as anybody can see for bounds far below 2⁶⁴.
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    pub(super) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low).saturating_add(1))
    }

    /// Whether something of this probability happens.
    pub(super) fn chance(&mut self, probability: f64) -> bool {
        // 53 bits are what a double holds exactly.
        ((self.next() >> 11) as f64) < probability * (1_u64 << 53) as f64
    }

    pub(super) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }

    /// A size: half of them up to the median, the other half above it with a long tail.
    pub(super) fn size(&mut self, sizes: Sizes) -> u64 {
        if self.next() >> 63 == 0 {
            return self.between(sizes.min, sizes.median);
        }
        // The cube of a number below 1, as integers, so that every machine gives the same.
        let part = u128::from(self.next() >> 32);
        let cube = (part * part * part) >> 64;
        sizes.median + ((u128::from(sizes.max - sizes.median) * cube) >> 32) as u64
    }
}

/// Words of one to four bytes a letter, and what JSON must escape.
const WORDS: [&str; 32] = [
    "the",
    "sensor",
    "reads",
    "what",
    "an",
    "agent",
    "sends",
    "and",
    "keeps",
    "every",
    "byte",
    "in",
    "order",
    "so",
    "that",
    "nothing",
    "is",
    "lost",
    "\"quoted\"",
    "back\\slash",
    "new\nline",
    "tab\there",
    "naïve",
    "café",
    "straße",
    "Ελλάδα",
    "данные",
    "漢字",
    "カナ",
    "🚀",
    "🦀",
    "done.",
];

/// Text of a given length that is made as it is taken, in pieces of any size.
#[derive(Clone, Debug)]
pub(super) struct Prose {
    random: Random,
    /// What is left of the word that is being written.
    word: &'static str,
    left: u64,
}

impl Prose {
    /// Text of exactly `bytes` bytes of UTF-8.
    pub(super) fn new(seed: u64, bytes: u64) -> Self {
        Self { random: Random::new(seed), word: "", left: bytes }
    }

    pub(super) fn is_over(&self) -> bool {
        self.left == 0
    }

    /// The next piece: at most so many bytes, but one character at least while there is one.
    pub(super) fn piece(&mut self, at_most: u64) -> String {
        let mut piece = String::with_capacity(at_most.min(self.left) as usize);
        while self.left > 0 {
            let room = at_most.saturating_sub(piece.len() as u64).min(self.left);
            let word = self.word.len() as u64;
            if (1..=room).contains(&word) {
                piece.push_str(self.word);
                self.left -= word;
                self.word = "";
                continue;
            }
            let next = self.word.chars().next().unwrap_or(' ');
            let letter = if next.len_utf8() as u64 > self.left { '.' } else { next };
            let bytes = letter.len_utf8() as u64;
            if !piece.is_empty() && piece.len() as u64 + bytes > at_most {
                break;
            }
            self.word = if word == 0 { self.random.pick(&WORDS) } else { &self.word[next.len_utf8()..] };
            self.left -= bytes;
            piece.push(letter);
        }
        piece
    }

    pub(super) fn whole(seed: u64, bytes: u64) -> String {
        Self::new(seed, bytes).piece(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_has_its_length_and_is_the_same_in_any_pieces() {
        for bytes in [0, 1, 2, 3, 7, 100, 4097] {
            let whole = Prose::whole(bytes, bytes);
            assert_eq!(whole.len() as u64, bytes);
            for at_most in [0, 1, 4, 11] {
                let mut prose = Prose::new(bytes, bytes);
                let mut pieces = String::new();
                while !prose.is_over() {
                    pieces.push_str(&prose.piece(at_most));
                }
                assert_eq!(pieces, whole);
            }
        }
        assert_ne!(Prose::whole(1, 500), Prose::whole(2, 500));
        assert!(!Prose::whole(1, 500).is_ascii());
    }

    #[test]
    fn sizes_keep_their_bounds_and_their_median() {
        let sizes = Sizes::new(10, 100, 100_000).expect("in order");
        let mut random = Random::new(3);
        let mut drawn: Vec<u64> = std::iter::repeat_with(|| random.size(sizes)).take(10_001).collect();
        drawn.sort_unstable();
        assert!(drawn[0] >= 10 && drawn[10_000] <= 100_000);
        // The upper half begins with sizes close to the median.
        assert!((95..200).contains(&drawn[5000]), "{}", drawn[5000]);
        assert!(drawn[9999] > 50_000, "{}", drawn[9999]);
    }
}
