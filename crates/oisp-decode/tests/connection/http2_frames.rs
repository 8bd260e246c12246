//! Writes HTTP/2: frames, and header blocks with a dynamic table.

use crate::support::{Step, received, sent};

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PUSH_PROMISE: u8 = 5;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
pub(crate) const PADDED: u8 = 8;
pub(crate) const HAS_PRIORITY: u8 = 0x20;

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: impl AsRef<[u8]>) -> Vec<u8> {
    let payload = payload.as_ref();
    let mut out = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
    out
}

pub(crate) fn settings(pairs: &[(u16, u32)]) -> Vec<u8> {
    let mut payload = Vec::new();
    for (name, value) in pairs {
        payload.extend_from_slice(&name.to_be_bytes());
        payload.extend_from_slice(&value.to_be_bytes());
    }
    frame(SETTINGS, 0, 0, payload)
}

/// One direction's compressor. Puts every field into the dynamic table and refers to it later.
#[derive(Clone, Default)]
pub(crate) struct Encoder {
    /// The newest last.
    table: Vec<(String, String)>,
}

impl Encoder {
    pub(crate) fn block(&mut self, fields: &[(&str, &str)]) -> Vec<u8> {
        let mut out = Vec::new();
        for (name, value) in fields {
            let known = self.table.iter().rposition(|(n, v)| (n.as_str(), v.as_str()) == (*name, *value));
            match (known, *name, *value) {
                (_, ":method", "GET") => out.push(0x82),
                (_, ":method", "POST") => out.push(0x83),
                (_, ":scheme", "https") => out.push(0x87),
                (_, ":status", "200") => out.push(0x88),
                (Some(at), ..) => integer(&mut out, 0x80, 7, 62 + self.table.len() - 1 - at),
                (None, ..) => {
                    // Values that occur once would fill the table, which this does not bound.
                    let indexed = !matches!(*name, ":path" | "n");
                    out.push(if indexed { 0x40 } else { 0x10 });
                    for text in [name, value] {
                        integer(&mut out, 0, 7, text.len());
                        out.extend_from_slice(text.as_bytes());
                    }
                    if indexed {
                        self.table.push(((*name).to_owned(), (*value).to_owned()));
                    }
                }
            }
        }
        out
    }

    pub(crate) fn headers(&mut self, stream: u32, flags: u8, fields: &[(&str, &str)]) -> Vec<u8> {
        frame(HEADERS, END_HEADERS | flags, stream, self.block(fields))
    }

    pub(crate) fn get(&mut self, stream: u32, path: &str) -> Vec<u8> {
        self.headers(stream, END_STREAM, &request("GET", path))
    }

    pub(crate) fn post(&mut self, stream: u32, path: &str) -> Vec<u8> {
        self.headers(stream, 0, &request("POST", path))
    }

    pub(crate) fn ok(&mut self, stream: u32) -> Vec<u8> {
        self.headers(stream, 0, &[(":status", "200"), ("server", "s")])
    }
}

pub(crate) fn request<'a>(method: &'a str, path: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![(":method", method), (":scheme", "https"), (":path", path), (":authority", "h.example")]
}

fn integer(out: &mut Vec<u8>, first: u8, prefix: u32, value: usize) {
    let mask = (1 << prefix) - 1;
    if value < mask {
        out.push(first | value as u8);
        return;
    }
    out.push(first | mask as u8);
    let mut rest = value - mask;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// A connection being written, as its client records it.
#[derive(Default)]
pub(crate) struct Wire {
    pub(crate) client: Encoder,
    pub(crate) server: Encoder,
    pub(crate) steps: Vec<Step>,
}

impl Wire {
    /// With the prefaces exchanged.
    pub(crate) fn new() -> Self {
        let mut wire = Self::default();
        wire.steps.push(sent([PREFACE, &settings(&[(2, 0), (4, 65_536)])].concat()));
        wire.steps.push(received([settings(&[(3, 100)]), frame(SETTINGS, 1, 0, "")].concat()));
        wire.steps.push(sent(frame(SETTINGS, 1, 0, "")));
        wire
    }

    pub(crate) fn sent(&mut self, write: impl FnOnce(&mut Encoder) -> Vec<u8>) -> &mut Self {
        let bytes = write(&mut self.client);
        self.steps.push(sent(bytes));
        self
    }

    pub(crate) fn received(&mut self, write: impl FnOnce(&mut Encoder) -> Vec<u8>) -> &mut Self {
        let bytes = write(&mut self.server);
        self.steps.push(received(bytes));
        self
    }

    pub(crate) fn lost_received(&mut self, write: impl FnOnce(&mut Encoder) -> Vec<u8>) -> &mut Self {
        let length = write(&mut self.server).len() as u64;
        self.steps.push(Step::ReceivedGap(length));
        self
    }
}

pub(crate) fn data(stream: u32, flags: u8, content: impl AsRef<[u8]>) -> Vec<u8> {
    frame(DATA, flags, stream, content)
}

pub(crate) fn reset(stream: u32, code: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, code.to_be_bytes())
}
