//! Header compression (RFC 7541), read passively.
//!
//! The reader sees one direction of a connection and cannot ask again, so what it misses must not
//! turn into wrong fields. After a loss the dynamic table is forgotten: entries that come after it
//! are certain again, because they are counted from the newest, and a reference beyond them is a
//! field that is left out and said to be.
//!
//! The table's size follows the size updates within the header blocks. What the other side allows
//! in its SETTINGS takes effect only through such an update (section 4.2), so it is not followed.

use std::collections::VecDeque;

use bytes::Bytes;

use super::huffman;

/// A field's name and value.
pub(super) type Field = (Bytes, Bytes);

/// The state that one direction's header blocks share.
#[derive(Debug)]
pub(super) struct HeaderDecoder {
    /// The newest in front. A name of which nothing is known is `None`.
    entries: VecDeque<(Option<Bytes>, Bytes)>,
    size: usize,
    max_size: usize,
    /// Bytes of the table that are kept at most, whatever the connection asks for.
    cap: usize,
    /// There may be entries older than those kept.
    forgot: bool,
}

/// What a header block says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Fields {
    pub(super) known: Vec<Field>,
    /// Some fields refer to entries that are not known.
    pub(super) some_unknown: bool,
    /// Fields were left out because there are too many, or too long ones.
    pub(super) too_large: bool,
}

/// Bounds of one block.
#[derive(Clone, Copy, Debug)]
pub(super) struct BlockLimits {
    pub(super) fields: usize,
    pub(super) bytes: usize,
}

/// A block that breaks the format. The dynamic table is forgotten.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct MalformedBlock;

/// What an entry costs besides its text (section 4.1).
const ENTRY_OVERHEAD: usize = 32;
const DEFAULT_TABLE_SIZE: usize = 4096;

impl HeaderDecoder {
    pub(super) fn new(cap: usize) -> Self {
        let mut decoder = Self { entries: VecDeque::new(), size: 0, max_size: 0, cap, forgot: false };
        decoder.resize(DEFAULT_TABLE_SIZE);
        decoder
    }

    /// A header block was lost, or part of one.
    pub(super) fn forget(&mut self) {
        self.entries.clear();
        self.size = 0;
        self.forgot = true;
        // An update of the size may have been lost as well.
        self.max_size = self.cap;
    }

    /// Bytes of memory held besides the fixed size.
    pub(super) fn buffered_bytes(&self) -> usize {
        self.size + self.entries.capacity() * size_of::<(Option<Bytes>, Bytes)>()
    }

    pub(super) fn decode(&mut self, block: &[u8], limits: BlockLimits) -> Result<Fields, MalformedBlock> {
        let mut fields = Fields::default();
        let mut left = limits.bytes;
        let result = self.read(block, limits, &mut left, &mut fields);
        match result {
            Some(()) => Ok(fields),
            None => {
                self.forget();
                Err(MalformedBlock)
            }
        }
    }

    fn read(
        &mut self,
        mut block: &[u8],
        limits: BlockLimits,
        left: &mut usize,
        fields: &mut Fields,
    ) -> Option<()> {
        while let Some(&first) = block.first() {
            let (name, value) = if first & 0x80 != 0 {
                let index = integer(&mut block, 7)?;
                self.entry(index)?
            } else if first & 0xe0 == 0x20 {
                let size = integer(&mut block, 5)?;
                self.resize(size);
                continue;
            } else {
                let indexed = first & 0x40 != 0;
                let name = match integer(&mut block, if indexed { 6 } else { 4 })? {
                    0 => Some(string(&mut block)?),
                    index => self.entry(index)?.0,
                };
                let value = string(&mut block)?;
                if indexed {
                    self.insert(name.clone(), value.clone());
                }
                (name, Some(value))
            };
            match (name, value) {
                (Some(name), Some(value)) => {
                    let cost = name.len() + value.len() + ENTRY_OVERHEAD;
                    if cost > *left || fields.known.len() == limits.fields {
                        // The rest is read for the sake of the table.
                        fields.too_large = true;
                        *left = 0;
                    } else {
                        *left -= cost;
                        fields.known.push((name, value));
                    }
                }
                _ => fields.some_unknown = true,
            }
        }
        Some(())
    }

    /// The entry of an index; nothing in it when it was forgotten.
    fn entry(&self, index: usize) -> Option<(Option<Bytes>, Option<Bytes>)> {
        let index = index.checked_sub(1)?;
        if let Some((name, value)) = STATIC.get(index) {
            let bytes = |text: &'static str| Some(Bytes::from_static(text.as_bytes()));
            return Some((bytes(name), bytes(value)));
        }
        match self.entries.get(index - STATIC.len()) {
            // Without its name a value is of no use.
            Some((name, value)) => Some((name.clone(), name.is_some().then(|| value.clone()))),
            None => self.forgot.then_some((None, None)),
        }
    }

    fn resize(&mut self, size: usize) {
        if size > self.cap {
            self.forgot = true;
        }
        self.max_size = size.min(self.cap);
        self.evict(0);
    }

    fn insert(&mut self, name: Option<Bytes>, value: Bytes) {
        let cost = name.as_ref().map_or(0, Bytes::len) + value.len() + ENTRY_OVERHEAD;
        self.evict(cost);
        if cost <= self.max_size {
            self.size += cost;
            self.entries.push_front((name, value));
        }
    }

    /// Makes room for an entry (section 4.4).
    fn evict(&mut self, cost: usize) {
        while self.size + cost > self.max_size {
            let Some((name, value)) = self.entries.pop_back() else { return };
            self.size -= name.map_or(0, |name| name.len()) + value.len() + ENTRY_OVERHEAD;
        }
    }
}

/// An integer whose first byte gives `prefix` bits to it (section 5.1).
fn integer(block: &mut &[u8], prefix: u32) -> Option<usize> {
    let (&first, rest) = block.split_first()?;
    *block = rest;
    let mask = (1_usize << prefix) - 1;
    let mut value = usize::from(first) & mask;
    if value < mask {
        return Some(value);
    }
    // Four more bytes reach 2^28: no length or index is larger.
    for shift in [0, 7, 14, 21] {
        let (&byte, rest) = block.split_first()?;
        *block = rest;
        value += usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// A string literal (section 5.2).
fn string(block: &mut &[u8]) -> Option<Bytes> {
    let is_huffman = block.first()? & 0x80 != 0;
    let length = integer(block, 7)?;
    let (text, rest) = block.split_at_checked(length)?;
    *block = rest;
    if is_huffman { huffman::decode(text).map(Bytes::from) } else { Some(Bytes::copy_from_slice(text)) }
}

/// The static table (appendix A).
#[rustfmt::skip]
const STATIC: [(&str, &str); 61] = [
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    ("accept-language", ""),
    ("accept-ranges", ""),
    ("accept", ""),
    ("access-control-allow-origin", ""),
    ("age", ""),
    ("allow", ""),
    ("authorization", ""),
    ("cache-control", ""),
    ("content-disposition", ""),
    ("content-encoding", ""),
    ("content-language", ""),
    ("content-length", ""),
    ("content-location", ""),
    ("content-range", ""),
    ("content-type", ""),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("expect", ""),
    ("expires", ""),
    ("from", ""),
    ("host", ""),
    ("if-match", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("if-range", ""),
    ("if-unmodified-since", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("max-forwards", ""),
    ("proxy-authenticate", ""),
    ("proxy-authorization", ""),
    ("range", ""),
    ("referer", ""),
    ("refresh", ""),
    ("retry-after", ""),
    ("server", ""),
    ("set-cookie", ""),
    ("strict-transport-security", ""),
    ("transfer-encoding", ""),
    ("user-agent", ""),
    ("vary", ""),
    ("via", ""),
    ("www-authenticate", ""),
];

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: BlockLimits = BlockLimits { fields: 100, bytes: 10_000 };

    fn bytes(hex: &str) -> Vec<u8> {
        let hex: String = hex.split_whitespace().collect();
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
    }

    fn shown(fields: &Fields) -> Vec<String> {
        let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
        fields.known.iter().map(|(name, value)| format!("{}: {}", text(name), text(value))).collect()
    }

    fn assert_blocks(decoder: &mut HeaderDecoder, blocks: &[(&str, &[&str], usize)]) {
        for (hex, expected, size) in blocks {
            let fields = decoder.decode(&bytes(hex), LIMITS).unwrap();
            assert_eq!(shown(&fields), *expected);
            assert!(!fields.some_unknown && !fields.too_large);
            assert_eq!(decoder.size, *size, "table size after {hex}");
        }
    }

    const REQUESTS: [(&[&str], usize); 3] = [
        (&[":method: GET", ":scheme: http", ":path: /", ":authority: www.example.com"], 57),
        (
            &[
                ":method: GET",
                ":scheme: http",
                ":path: /",
                ":authority: www.example.com",
                "cache-control: no-cache",
            ],
            110,
        ),
        (
            &[
                ":method: GET",
                ":scheme: https",
                ":path: /index.html",
                ":authority: www.example.com",
                "custom-key: custom-value",
            ],
            164,
        ),
    ];

    #[test]
    fn the_single_fields_of_appendix_c2_are_decoded() {
        for (hex, expected, size) in [
            (
                "400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572",
                "custom-key: custom-header",
                55,
            ),
            ("040c 2f73 616d 706c 652f 7061 7468", ":path: /sample/path", 0),
            ("1008 7061 7373 776f 7264 0673 6563 7265 74", "password: secret", 0),
            ("82", ":method: GET", 0),
        ] {
            assert_blocks(&mut HeaderDecoder::new(4096), &[(hex, &[expected], size)]);
        }
    }

    #[test]
    fn the_requests_of_appendix_c3_are_decoded_without_huffman() {
        let hex = [
            "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
            "8286 84be 5808 6e6f 2d63 6163 6865",
            "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
        ];
        let blocks: Vec<_> =
            hex.iter().zip(REQUESTS).map(|(hex, (fields, size))| (*hex, fields, size)).collect();
        assert_blocks(&mut HeaderDecoder::new(4096), &blocks);
    }

    #[test]
    fn the_requests_of_appendix_c4_are_decoded_with_huffman() {
        let hex = [
            "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
            "8286 84be 5886 a8eb 1064 9cbf",
            "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
        ];
        let blocks: Vec<_> =
            hex.iter().zip(REQUESTS).map(|(hex, (fields, size))| (*hex, fields, size)).collect();
        assert_blocks(&mut HeaderDecoder::new(4096), &blocks);
    }

    const DATE: &str = "date: Mon, 21 Oct 2013 20:13:21 GMT";
    const LOCATION: &str = "location: https://www.example.com";
    const COOKIE: &str = "set-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1";
    const RESPONSES: [(&[&str], usize); 3] = [
        (&[":status: 302", "cache-control: private", DATE, LOCATION], 222),
        (&[":status: 307", "cache-control: private", DATE, LOCATION], 222),
        (
            &[
                ":status: 200",
                "cache-control: private",
                "date: Mon, 21 Oct 2013 20:13:22 GMT",
                LOCATION,
                "content-encoding: gzip",
                COOKIE,
            ],
            215,
        ),
    ];

    #[test]
    fn the_responses_of_appendix_c5_are_decoded_and_old_entries_evicted() {
        let hex = [
            "4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 \
             3120 474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
            "4803 3330 37c1 c0bf",
            "88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0 5a04 677a 6970 \
             7738 666f 6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851 5745 4f49 553b 206d 6178 2d61 \
             6765 3d33 3630 303b 2076 6572 7369 6f6e 3d31",
        ];
        let blocks: Vec<_> =
            hex.iter().zip(RESPONSES).map(|(hex, (fields, size))| (*hex, fields, size)).collect();
        let mut decoder = HeaderDecoder::new(4096);
        decoder.resize(256);
        assert_blocks(&mut decoder, &blocks);
    }

    #[test]
    fn the_responses_of_appendix_c6_are_decoded_with_huffman() {
        let hex = [
            "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad \
             1718 63c7 8f0b 97c8 e9ae 82ae 43d3",
            "4883 640e ffc1 c0bf",
            "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d d7f2 \
             e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07",
        ];
        let blocks: Vec<_> =
            hex.iter().zip(RESPONSES).map(|(hex, (fields, size))| (*hex, fields, size)).collect();
        let mut decoder = HeaderDecoder::new(4096);
        decoder.resize(256);
        assert_blocks(&mut decoder, &blocks);
    }

    #[test]
    fn what_was_forgotten_is_left_out_and_what_came_after_is_certain() {
        let mut decoder = HeaderDecoder::new(4096);
        decoder.decode(&bytes("4001 61 01 62"), LIMITS).unwrap();
        decoder.forget();
        // A new entry, itself, the one that was forgotten, a static one.
        let fields = decoder.decode(&bytes("4001 63 01 64 be bf 82"), LIMITS).unwrap();
        assert_eq!(shown(&fields), ["c: d", "c: d", ":method: GET"]);
        assert!(fields.some_unknown);
        // An entry under a forgotten name keeps its place.
        let fields = decoder.decode(&bytes("7f00 01 65 be bf"), LIMITS).unwrap();
        assert_eq!(shown(&fields), ["c: d"]);
        assert!(fields.some_unknown);
    }

    #[test]
    fn malformed_blocks_are_refused() {
        for hex in ["80", "be", "40", "4005 61", "7f", "ffff ffff ff7f", "4001 61 85 ff", "0001"] {
            assert_eq!(HeaderDecoder::new(4096).decode(&bytes(hex), LIMITS), Err(MalformedBlock), "{hex}");
        }
    }

    #[test]
    fn a_size_update_evicts_and_a_size_beyond_the_cap_is_cut() {
        let mut decoder = HeaderDecoder::new(100);
        decoder.decode(&bytes("4001 61 01 62 4001 63 01 64"), LIMITS).unwrap();
        assert_eq!(decoder.size, 68);
        decoder.decode(&bytes("20"), LIMITS).unwrap();
        assert_eq!(decoder.size, 0);
        decoder.decode(&bytes("3fe1 1f"), LIMITS).unwrap();
        assert_eq!(decoder.max_size, 100);
    }

    #[test]
    fn a_small_block_that_names_a_large_entry_many_times_is_cut_and_keeps_the_table() {
        let mut decoder = HeaderDecoder::new(4096);
        let mut block = bytes("4001 61 7f 8119");
        block.extend_from_slice(&[b'x'; 3328]);
        block.extend_from_slice(&[0xbe; 10_000]);
        let fields = decoder.decode(&block, LIMITS).unwrap();
        assert_eq!((fields.known.len(), fields.too_large), (2, true));
        assert_eq!(decoder.entries.len(), 1);
    }
}
