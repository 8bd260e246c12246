//! `multipart/form-data` bodies (RFC 7578): fields as texts, files as type and size only.

use serde_json::{Map, Value, json};

/// Reads a form as its bytes come. Files are not kept, so a form may be far larger than what is.
#[derive(Debug)]
pub(crate) struct FormReader {
    /// A line break, two dashes, the boundary.
    delimiter: Vec<u8>,
    state: State,
    /// Bytes that may belong to a delimiter or to a part's head.
    pending: Vec<u8>,
    part: Part,
    fields: Map<String, Value>,
    /// Bytes of field values so far.
    kept: usize,
    parts: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// What comes before the first delimiter, and the rest of a part that is not read.
    Skip,
    /// After a delimiter: the end mark or a line break.
    AfterDelimiter,
    Head,
    Body,
    End,
}

#[derive(Debug, Default)]
struct Part {
    name: String,
    media_type: Option<String>,
    is_file: bool,
    bytes: u64,
    value: Vec<u8>,
    incomplete: bool,
}

/// No form: nothing in it begins a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoForm;

const LONGEST_BOUNDARY: usize = 200;
const LONGEST_HEAD: usize = 8 << 10;
const LONGEST_FIELD: usize = 1 << 20;
const MOST_KEPT: usize = 4 << 20;
const MOST_PARTS: usize = 1000;

impl FormReader {
    /// For a body of this content type; `None` if that is no form.
    pub(crate) fn new(content_type: &str) -> Option<Self> {
        let (media_type, parameters) = content_type.split_once(';')?;
        if !media_type.trim().eq_ignore_ascii_case("multipart/form-data") {
            return None;
        }
        let boundary = parameter(parameters, "boundary")?;
        if boundary.is_empty() || boundary.len() > LONGEST_BOUNDARY {
            return None;
        }
        Some(Self {
            delimiter: format!("\r\n--{boundary}").into_bytes(),
            state: State::Skip,
            // The first delimiter may stand at the beginning, without a line break of its own.
            pending: b"\r\n".to_vec(),
            part: Part::default(),
            fields: Map::new(),
            kept: 0,
            parts: 0,
        })
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        // In slices, so that what is pending stays small whatever comes at once.
        for slice in bytes.chunks(16 << 10) {
            self.pending.extend_from_slice(slice);
            while self.step() {}
        }
    }

    /// Bytes are missing here: the part that they are in is incomplete, the next delimiter is certain.
    pub(crate) fn gap(&mut self) {
        self.pending.clear();
        match self.state {
            State::Body => self.part.incomplete = true,
            State::End => {}
            State::Skip | State::AfterDelimiter | State::Head => self.state = State::Skip,
        }
    }

    pub(crate) fn buffered(&self) -> usize {
        self.pending.capacity() + self.part.value.capacity() + self.kept
    }

    /// The fields as an object: a text, or for a file its type and size; a name that comes several times has a list.
    pub(crate) fn finish(mut self) -> Result<Value, NoForm> {
        if self.parts == 0 && self.state != State::End {
            return Err(NoForm);
        }
        if self.state == State::Body {
            self.part.incomplete = true;
            self.end_part();
        }
        Ok(Value::Object(self.fields))
    }

    /// Goes on as far as the next change of state; says whether there may be more to do.
    fn step(&mut self) -> bool {
        match self.state {
            State::Skip | State::Body => {
                if let Some(at) = find(&self.pending, &self.delimiter) {
                    self.content(at);
                    self.pending.drain(..at + self.delimiter.len());
                    if self.state == State::Body {
                        self.end_part();
                    }
                    self.state = State::AfterDelimiter;
                    return true;
                }
                let certain = self.pending.len().saturating_sub(self.delimiter.len() - 1);
                self.content(certain);
                self.pending.drain(..certain);
                false
            }
            State::AfterDelimiter => match self.pending.get(..2) {
                Some(b"--") => {
                    self.state = State::End;
                    true
                }
                Some(b"\r\n") => {
                    // The line break stays: a head may be empty.
                    self.state = State::Head;
                    true
                }
                // Padding, or the beginning of a longer boundary.
                Some(_) => {
                    self.state = State::Skip;
                    true
                }
                None => false,
            },
            State::Head => {
                if let Some(at) = find(&self.pending, b"\r\n\r\n") {
                    self.begin_part(at);
                    self.pending.drain(..at + 4);
                    return true;
                }
                if self.pending.len() > LONGEST_HEAD {
                    self.state = State::Skip;
                    return true;
                }
                false
            }
            State::End => {
                self.pending.clear();
                false
            }
        }
    }

    fn begin_part(&mut self, head_length: usize) {
        let head = String::from_utf8_lossy(&self.pending[..head_length]).into_owned();
        self.parts += 1;
        let mut part = Part::default();
        for line in head.split("\r\n") {
            let Some((name, value)) = line.split_once(':') else { continue };
            match name.trim().to_ascii_lowercase().as_str() {
                "content-disposition" => {
                    let parameters = value.split_once(';').map_or("", |(_, parameters)| parameters);
                    part.name = parameter(parameters, "name").unwrap_or_default();
                    part.is_file = parameter(parameters, "filename").is_some()
                        || parameter(parameters, "filename*").is_some();
                }
                "content-type" => {
                    let media_type = value.split(';').next().unwrap_or_default().trim();
                    part.media_type = Some(media_type.to_ascii_lowercase());
                }
                _ => {}
            }
        }
        self.state = if part.name.is_empty() || self.parts > MOST_PARTS { State::Skip } else { State::Body };
        self.part = part;
    }

    /// Takes the first `length` pending bytes as content of the part.
    fn content(&mut self, length: usize) {
        if self.state != State::Body {
            return;
        }
        let part = &mut self.part;
        part.bytes = part.bytes.saturating_add(length as u64);
        let room = LONGEST_FIELD.min(MOST_KEPT.saturating_sub(self.kept));
        if !part.is_file && part.value.len() + length > room {
            // Too large for a field's value: measured only.
            part.is_file = true;
            part.value = Vec::new();
        }
        if !part.is_file {
            part.value.extend_from_slice(&self.pending[..length]);
        }
    }

    fn end_part(&mut self) {
        let part = std::mem::take(&mut self.part);
        let value = if part.is_file || part.incomplete {
            let mut file = json!({ "bytes": part.bytes });
            if part.incomplete {
                // How many there were is not known.
                file = json!({ "incomplete": true });
            }
            if let Some(media_type) = part.media_type {
                file["media_type"] = media_type.into();
            }
            file
        } else {
            self.kept += part.value.len();
            Value::String(String::from_utf8_lossy(&part.value).into_owned())
        };
        self.kept += part.name.len();
        match self.fields.get_mut(&part.name) {
            Some(Value::Array(list)) => list.push(value),
            Some(first) => *first = Value::Array(vec![first.take(), value]),
            None => drop(self.fields.insert(part.name, value)),
        }
    }
}

/// The value of a parameter among those of a header, quoted or not.
fn parameter(parameters: &str, name: &str) -> Option<String> {
    let mut rest = parameters;
    while !rest.is_empty() {
        let (key, after) = rest.split_once('=')?;
        let key = key.trim_matches([';', ' ', '\t']);
        let after = after.trim_start();
        let value;
        if let Some(quoted) = after.strip_prefix('"') {
            let mut text = String::new();
            let mut characters = quoted.char_indices();
            let mut end = quoted.len();
            while let Some((at, character)) = characters.next() {
                match character {
                    '"' => {
                        end = at + 1;
                        break;
                    }
                    '\\' => text.extend(characters.next().map(|(_, escaped)| escaped)),
                    other => text.push(other),
                }
            }
            rest = &quoted[end..];
            value = text;
        } else {
            let end = after.find(';').unwrap_or(after.len());
            value = after[..end].trim().to_owned();
            rest = &after[end..];
        }
        if key.eq_ignore_ascii_case(name) {
            return Some(value);
        }
        rest = rest.trim_start_matches([';', ' ', '\t']);
    }
    None
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TYPE: &str = "multipart/form-data; boundary=\"X-Y\"";
    const FORM: &[u8] = b"preamble\r\n--X-Y\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nwhisper\r\n--X-Y\r\ncontent-disposition: form-data; name=\"file\"; filename=\"secret \\\"name.mp3\"\r\nContent-Type: audio/mpeg\r\n\r\n\x00\x01\r\n--X\r\n\xff\r\n--X-Y\r\nContent-Disposition: form-data; name=\"a[]\"\r\n\r\n\r\n--X-Y\r\nContent-Disposition: form-data; name=\"a[]\"\r\n\r\nb\r\n--X-Y--\r\n";

    fn read(pieces: &[&[u8]]) -> Result<Value, NoForm> {
        let mut reader = FormReader::new(TYPE).unwrap();
        pieces.iter().for_each(|piece| reader.push(piece));
        reader.finish()
    }

    #[test]
    fn fields_are_texts_and_files_sizes_wherever_the_form_is_cut() {
        let expected = json!({
            "model": "whisper",
            "file": { "bytes": 10, "media_type": "audio/mpeg" },
            "a[]": ["", "b"],
        });
        for cut in 0..=FORM.len() {
            let (first, second) = FORM.split_at(cut);
            assert_eq!(read(&[first, second]), Ok(expected.clone()), "cut at {cut}");
        }
        let bytes: Vec<&[u8]> = FORM.chunks(1).collect();
        assert_eq!(read(&bytes), Ok(expected));
    }

    #[test]
    fn part_that_lost_bytes_is_incomplete_and_those_after_it_are_read() {
        let at = FORM.iter().position(|byte| *byte == 0xff).unwrap();
        let mut reader = FormReader::new(TYPE).unwrap();
        reader.push(&FORM[..at]);
        reader.gap();
        reader.push(&FORM[at..]);
        let read = reader.finish().unwrap();
        assert_eq!(read["file"], json!({ "incomplete": true, "media_type": "audio/mpeg" }));
        assert_eq!((&read["model"], &read["a[]"]), (&json!("whisper"), &json!(["", "b"])));
    }

    #[test]
    fn what_is_no_form_gives_none_and_large_fields_are_measured_only() {
        assert!(FormReader::new("application/json").is_none());
        assert!(FormReader::new("multipart/form-data; charset=x").is_none());
        assert_eq!(read(&[b"{\"model\": 1}"]), Err(NoForm));
        let mut reader = FormReader::new(TYPE).unwrap();
        reader.push(b"--X-Y\r\nContent-Disposition: form-data; name=prompt\r\n\r\n");
        (0..80).for_each(|_| reader.push(&[b'a'; 100_000]));
        assert!(reader.buffered() < 2 * LONGEST_FIELD);
        reader.push(b"\r\n--X-Y--");
        assert_eq!(reader.finish(), Ok(json!({ "prompt": { "bytes": 8_000_000 } })));
    }
}
