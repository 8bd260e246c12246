//! Text that looks written, follows from a seed, and holds characters of one to four bytes.

const WORDS: [&str; 24] = [
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
    "naïve",
    "café",
    "straße",
    "Ελλάδα",
    "данные",
    "漢字",
    "カナ",
    "🚀",
    "🦀",
];

/// Text of exactly `chars` characters.
#[must_use]
pub fn of_chars(seed: u64, chars: usize) -> String {
    Letters::new(seed).take(chars).collect()
}

/// Text of exactly `bytes` bytes of UTF-8.
#[must_use]
pub fn of_bytes(seed: u64, bytes: usize) -> String {
    let mut text = String::with_capacity(bytes);
    for letter in Letters::new(seed) {
        if text.len() + letter.len_utf8() > bytes {
            break;
        }
        text.push(letter);
    }
    while text.len() < bytes {
        text.push('.');
    }
    text
}

/// A splitmix64 step: the next value of a sequence that a seed fixes.
pub fn next_random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Words and spaces without end.
struct Letters {
    state: u64,
    word: std::str::Chars<'static>,
}

impl Letters {
    fn new(seed: u64) -> Self {
        Self { state: seed, word: "".chars() }
    }
}

impl Iterator for Letters {
    type Item = char;

    fn next(&mut self) -> Option<char> {
        if let Some(letter) = self.word.next() {
            return Some(letter);
        }
        let word = WORDS[(next_random(&mut self.state) % WORDS.len() as u64) as usize];
        self.word = word.chars();
        Some(' ')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_exact_and_the_seed_decides() {
        for size in [0, 1, 7, 1000, 4097] {
            assert_eq!(of_chars(1, size).chars().count(), size);
            assert_eq!(of_bytes(1, size).len(), size);
        }
        assert_eq!(of_bytes(7, 500), of_bytes(7, 500));
        assert_ne!(of_bytes(7, 500), of_bytes(8, 500));
        assert!(!of_chars(1, 500).is_ascii());
    }
}
