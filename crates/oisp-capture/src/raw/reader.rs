//! Reading raw recordings.

use std::fs::File;
use std::io::{BufReader, ErrorKind, Read};
use std::marker::PhantomData;
use std::path::Path;

use serde::de::DeserializeOwned;
use zstd_safe::DCtx;

use super::frame::{FrameHead, Kind, LENGTH, MAGIC, MAX_PLAIN, PREAMBLE};
use super::{MAX_RECORD_BYTES, RawHeader, RawReadError, RawRecord, VERSION};

/// Reads a raw recording: an iterator over its records. An error is the last that it gives; every record before it is
/// as it was written.
///
/// Holds one frame in memory, whatever the file says.
pub struct RawReader<A, R = BufReader<File>> {
    input: R,
    header: RawHeader,
    unpacker: DCtx<'static>,
    plain: Vec<u8>,
    packed: Vec<u8>,
    /// How far the records of the frame were read.
    at: usize,
    records: u64,
    /// Where the next frame begins.
    offset: u64,
    /// Where the frame that is being read begins.
    frame_offset: u64,
    over: bool,
    answers: PhantomData<fn() -> A>,
}

impl<A: DeserializeOwned> RawReader<A> {
    /// Opens a recording and reads its header.
    ///
    /// # Errors
    /// When the file cannot be opened, is not a raw recording, or not one of a known version.
    pub fn open(path: &Path) -> Result<Self, RawReadError> {
        let open = |source| RawReadError::Open { path: path.to_owned(), source };
        let file = File::open(path).map_err(open)?;
        if file.metadata().map_err(open)?.is_dir() {
            return Err(open(ErrorKind::IsADirectory.into()));
        }
        Self::new(BufReader::with_capacity(64 << 10, file))
    }
}

impl<A: DeserializeOwned, R: Read> RawReader<A, R> {
    /// Reads the header.
    ///
    /// # Errors
    /// When this is not a raw recording, or not one of a known version.
    pub fn new(input: R) -> Result<Self, RawReadError> {
        let mut reader = Self {
            input,
            header: RawHeader {
                sensor_version: String::new(),
                host: serde_json::Value::Null,
                wall_minus_monotonic_ns: 0,
                started: crate::Nanos(0),
                more: serde_json::Map::new(),
            },
            unpacker: DCtx::create(),
            plain: Vec::new(),
            packed: Vec::new(),
            at: 0,
            records: 0,
            offset: PREAMBLE as u64,
            frame_offset: PREAMBLE as u64,
            over: false,
            answers: PhantomData,
        };
        let mut preamble = [0; PREAMBLE];
        let length = reader.fill(&mut preamble)?;
        if length == 0 || !preamble[..length.min(MAGIC.len())].starts_with(&MAGIC[..length.min(MAGIC.len())])
        {
            return Err(RawReadError::NotRaw);
        }
        if length < PREAMBLE {
            return Err(RawReadError::EndsEarly { records: 0, bytes: length as u64 });
        }
        let version = preamble[MAGIC.len()..].iter().rev().fold(0, |sum, byte| sum << 8 | u32::from(*byte));
        if version != VERSION {
            return Err(RawReadError::UnknownVersion { found: version, known: VERSION });
        }
        if reader.next_frame()? != Kind::Header {
            return Err(reader.damaged("it does not begin with a header"));
        }
        reader.header = serde_json::from_slice(&reader.plain)
            .map_err(|error| reader.damaged(&format!("its header cannot be understood: {error}")))?;
        reader.plain.clear();
        Ok(reader)
    }

    /// What the recording begins with.
    #[must_use]
    pub fn header(&self) -> &RawHeader {
        &self.header
    }

    /// Records that were read.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.records
    }

    fn next_record(&mut self) -> Result<Option<RawRecord<A>>, RawReadError> {
        while self.at == self.plain.len() {
            match self.next_frame()? {
                Kind::Records if self.plain.is_empty() => {
                    return Err(self.damaged("a frame of records is empty"));
                }
                Kind::Records => {}
                Kind::Header => return Err(self.damaged("a second header")),
                Kind::End => {
                    let mut more = [0];
                    if self.fill(&mut more)? > 0 {
                        return Err(self.damaged("bytes follow its end"));
                    }
                    return Ok(None);
                }
            }
        }
        let rest = &self.plain[self.at..];
        let record = rest.split_first_chunk::<LENGTH>().and_then(|(length, rest)| {
            let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
            rest.get(..length).filter(|_| length <= MAX_RECORD_BYTES)
        });
        let Some(encoded) = record else {
            return Err(self.damaged("a record's length is not that of its frame"));
        };
        let next = self.at + LENGTH + encoded.len();
        match postcard::take_from_bytes(encoded) {
            Ok((record, [])) => {
                self.at = next;
                self.records += 1;
                Ok(Some(record))
            }
            Ok(_) => Err(self.damaged("bytes follow a record")),
            Err(error) => Err(self.damaged(&format!("a record cannot be understood: {error}"))),
        }
    }

    /// Reads a frame into `plain`.
    fn next_frame(&mut self) -> Result<Kind, RawReadError> {
        self.plain.clear();
        self.at = 0;
        self.frame_offset = self.offset;
        let mut head = [0; FrameHead::BYTES];
        let length = self.fill(&mut head)?;
        if length < head.len() {
            return Err(self.ends_early(length));
        }
        let head = FrameHead::from_bytes(&head);
        let (packed, plain) = (head.packed as usize, head.plain as usize);
        if plain > MAX_PLAIN || packed > zstd_safe::compress_bound(MAX_PLAIN) {
            return Err(self.damaged("a frame is over the limit"));
        }
        // Room is made for what is there, not for what the length says.
        self.packed.clear();
        let read = self.input.by_ref().take(packed as u64).read_to_end(&mut self.packed);
        read.map_err(|source| RawReadError::Read { records: self.records, source })?;
        if self.packed.len() < packed {
            return Err(self.ends_early(FrameHead::BYTES + self.packed.len()));
        }
        if head.checksum != head.checksum_with(&self.packed) {
            return Err(self.damaged("a frame's checksum is wrong"));
        }
        self.offset += (FrameHead::BYTES + packed) as u64;
        if head.first_record != self.records {
            return Err(self.damaged("records are missing before a frame"));
        }
        if plain > 0 {
            // A frame that unpacks to more than it says is refused by zstd.
            self.plain.resize(plain, 0);
            let unpacked = self.unpacker.decompress(&mut self.plain[..], &self.packed).map_err(|code| {
                self.damaged(&format!("a frame cannot be unpacked: {}", zstd_safe::get_error_name(code)))
            })?;
            if unpacked != plain {
                return Err(self.damaged("a frame has another length than it says"));
            }
        }
        Ok(match head.kind {
            kind if kind == Kind::Header as u32 => Kind::Header,
            kind if kind == Kind::Records as u32 => Kind::Records,
            kind if kind == Kind::End as u32 && plain == 0 && packed == 0 => Kind::End,
            _ => return Err(self.damaged("a frame of an unknown kind")),
        })
    }

    /// Fills a buffer as far as there are bytes.
    fn fill(&mut self, buffer: &mut [u8]) -> Result<usize, RawReadError> {
        let mut length = 0;
        while length < buffer.len() {
            match self.input.read(&mut buffer[length..]) {
                Ok(0) => break,
                Ok(more) => length += more,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(source) => return Err(RawReadError::Read { records: self.records, source }),
            }
        }
        Ok(length)
    }

    fn ends_early(&self, bytes: usize) -> RawReadError {
        RawReadError::EndsEarly { records: self.records, bytes: bytes as u64 }
    }

    fn damaged(&self, reason: &str) -> RawReadError {
        RawReadError::Damaged { records: self.records, offset: self.frame_offset, reason: reason.to_owned() }
    }
}

impl<A: DeserializeOwned, R: Read> Iterator for RawReader<A, R> {
    type Item = Result<RawRecord<A>, RawReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.over {
            return None;
        }
        let next = self.next_record().transpose();
        self.over = !matches!(next, Some(Ok(_)));
        next
    }
}
