//! Where a body ends (RFC 9112 section 6).

use super::chunked::Chunked;
use crate::Limits;
use crate::body::MessageBody;
use crate::headers::Headers;
use crate::message::{
    HttpEvent, HttpVersion, Nanos, ProblemKind, RequestHead, ResponseHead, Undecodable, UpgradeProtocol,
};

/// How the end of a body is found.
#[derive(Debug)]
pub(super) enum Framing {
    /// There is no body.
    None,
    /// So many bytes are left, at least one.
    Length(u64),
    Chunked(Box<Chunked>),
    /// The end of the connection.
    UntilClose,
    /// Nobody can say: everything up to the end of the connection is left out.
    Unknown(Undecodable),
}

/// What the head says about the body.
#[derive(Debug)]
pub(super) struct BodyPlan {
    pub(super) framing: Framing,
    /// Content and transfer codings in the order in which they were applied.
    pub(super) codings: Vec<String>,
    pub(super) problem: Option<ProblemKind>,
}

impl BodyPlan {
    /// How long the body is, where that is known in advance.
    pub(super) fn length(&self) -> Option<u64> {
        match self.framing {
            Framing::None => Some(0),
            Framing::Length(length) => Some(length),
            Framing::Chunked(_) | Framing::UntilClose | Framing::Unknown(_) => None,
        }
    }
}

/// What is known of the request when its response comes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum RequestKind {
    Head,
    Connect,
    Other,
}

impl RequestKind {
    pub(super) fn of(method: &str) -> Self {
        match method {
            "HEAD" => Self::Head,
            "CONNECT" => Self::Connect,
            _ => Self::Other,
        }
    }
}

pub(super) fn request_plan(head: &RequestHead, limits: &Limits) -> BodyPlan {
    plan(&head.headers, head.version, Framing::None, limits, |_| {
        Framing::Unknown(Undecodable::UnsupportedTransferEncoding)
    })
}

pub(super) fn response_plan(head: &ResponseHead, request: RequestKind, limits: &Limits) -> BodyPlan {
    if request == RequestKind::Head || matches!(head.status, 100..=199 | 204 | 304) {
        return BodyPlan { framing: Framing::None, codings: Vec::new(), problem: None };
    }
    plan(&head.headers, head.version, Framing::UntilClose, limits, |codings| {
        if codings.iter().any(|coding| coding == "chunked") {
            Framing::Unknown(Undecodable::UnsupportedTransferEncoding)
        } else {
            Framing::UntilClose
        }
    })
}

fn plan(
    headers: &Headers,
    version: HttpVersion,
    without_length: Framing,
    limits: &Limits,
    not_chunked: impl Fn(&[String]) -> Framing,
) -> BodyPlan {
    let mut codings = headers.list("content-encoding");
    let has_transfer = headers.all("transfer-encoding").next().is_some();
    let mut transfer: Vec<String> =
        headers.list("transfer-encoding").into_iter().map(|coding| coding.to_ascii_lowercase()).collect();
    let named = transfer.len();
    transfer.retain(|coding| coding != "identity");
    let mut is_doubtful = has_transfer && (named == 0 || !transfer.is_empty() && transfer.len() < named);
    for coding in &mut transfer {
        if let Some(end) = coding.find(';') {
            is_doubtful = true;
            coding.truncate(end);
            coding.truncate(coding.trim_end_matches([' ', '\t']).len());
        }
    }
    is_doubtful |= !transfer.is_empty() && version == HttpVersion::Http10;
    let has_length = headers.all("content-length").next().is_some();
    let mut problem = None;
    let framing = if transfer.is_empty() {
        match content_length(headers) {
            Some(Ok(0)) => Framing::None,
            Some(Ok(length)) => Framing::Length(length),
            Some(Err(())) => {
                problem = Some(ProblemKind::ConflictingLength);
                Framing::Unknown(Undecodable::ConflictingLength)
            }
            None => without_length,
        }
    } else {
        let chunked_last = transfer.pop_if(|coding| coding == "chunked").is_some();
        let framing = if chunked_last && !transfer.iter().any(|coding| coding == "chunked") {
            Framing::Chunked(Box::new(Chunked::new(limits)))
        } else {
            not_chunked(&transfer)
        };
        if matches!(framing, Framing::Unknown(_)) {
            problem = Some(ProblemKind::UnsupportedTransferEncoding);
        } else if has_length {
            problem = Some(ProblemKind::TransferEncodingWithLength);
        }
        framing
    };
    if is_doubtful && problem.is_none() {
        problem = Some(ProblemKind::DoubtfulTransferEncoding);
    }
    codings.extend(transfer);
    BodyPlan { framing, codings, problem }
}

/// The length, if there is one; `Err` if several differ or one is no number. The same number
/// several times is one (RFC 9110 section 8.6).
pub(crate) fn content_length(headers: &Headers) -> Option<Result<u64, ()>> {
    let mut length = None;
    for header in headers.all("content-length") {
        for text in header.value().split(|byte| *byte == b',') {
            let digits = text.trim_ascii();
            let value = match std::str::from_utf8(digits) {
                Ok(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                    digits.parse::<u64>().map_err(|_| ())
                }
                _ => Err(()),
            };
            match (length, value) {
                (None, value) => length = Some(value),
                (Some(Ok(known)), Ok(value)) if known == value => {}
                _ => length = Some(Err(())),
            }
        }
    }
    length
}

/// The protocol that a response hands the connection over to, if it does.
pub(super) fn upgrade_of(head: &ResponseHead, request: RequestKind) -> Option<UpgradeProtocol> {
    if request == RequestKind::Connect && (200..300).contains(&head.status) {
        return Some(UpgradeProtocol::Connect);
    }
    if head.status != 101 {
        return None;
    }
    let name = head.headers.get("upgrade").unwrap_or_default();
    Some(match name.to_ascii_lowercase().as_str() {
        "websocket" => UpgradeProtocol::WebSocket,
        "h2c" => UpgradeProtocol::Http2,
        _ => UpgradeProtocol::Other(name.chars().take(64).collect()),
    })
}

/// What came of giving bytes to a body.
#[derive(Debug)]
pub(super) enum Progress {
    More,
    Done(Headers, Option<ProblemKind>),
    Malformed,
}

impl Framing {
    /// Gives bytes to the body as far as they belong to it; returns how many did.
    pub(super) fn push(
        &mut self,
        input: &[u8],
        body: &mut MessageBody,
        time: Nanos,
        limits: &Limits,
        out: &mut Vec<HttpEvent>,
    ) -> (usize, Progress) {
        let done = || Progress::Done(Headers::new(), None);
        match self {
            Self::None => (0, done()),
            Self::Length(left) => {
                let taken = take(input, left);
                body.data(time, taken, out);
                (taken.len(), if *left == 0 { done() } else { Progress::More })
            }
            Self::Chunked(chunked) => chunked.push(input, body, time, limits, out),
            Self::UntilClose | Self::Unknown(_) => {
                body.data(time, input, out);
                (input.len(), Progress::More)
            }
        }
    }

    /// How many of `length` lost bytes surely lay within this body, leaving its end findable.
    /// `None`: the end can no longer be found.
    pub(super) fn skip(&mut self, length: u64) -> Option<u64> {
        match self {
            Self::None => Some(0),
            Self::Length(left) => {
                let skipped = length.min(*left);
                *left -= skipped;
                Some(skipped)
            }
            Self::Chunked(chunked) => chunked.skip(length).then_some(length),
            Self::UntilClose | Self::Unknown(_) => Some(length),
        }
    }

    /// Chunk boundaries were lost: nothing is read until they are found again. False for a body
    /// that has none.
    pub(super) fn lose_chunks(&mut self) -> bool {
        match self {
            Self::Chunked(chunked) => {
                chunked.lose();
                true
            }
            _ => false,
        }
    }

    /// Whether chunk boundaries are lost.
    pub(super) fn is_lost(&self) -> bool {
        matches!(self, Self::Chunked(chunked) if chunked.is_lost())
    }

    /// Looks for chunk boundaries at the beginning of a record; whether they were found.
    pub(super) fn find_chunks(&mut self, record: &[u8], limits: &Limits) -> bool {
        match self {
            Self::Chunked(chunked) => chunked.find(record, limits),
            _ => false,
        }
    }

    pub(super) fn is_done(&self) -> bool {
        matches!(self, Self::None | Self::Length(0))
    }

    pub(super) fn buffered_bytes(&self) -> usize {
        match self {
            Self::Chunked(chunked) => chunked.buffered_bytes(),
            _ => 0,
        }
    }
}

/// The beginning of `input` that belongs to what is left, and takes it off.
pub(super) fn take<'a>(input: &'a [u8], left: &mut u64) -> &'a [u8] {
    let length = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
    *left -= length as u64;
    &input[..length]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::headers::Header;
    use crate::message::HttpVersion;

    fn response(fields: &[(&str, &str)]) -> ResponseHead {
        ResponseHead {
            status: 200,
            reason: String::new(),
            version: HttpVersion::Http11,
            headers: fields.iter().map(|(name, value)| Header::new(*name, (*value).to_owned())).collect(),
            first_byte: Nanos(0),
        }
    }

    fn describe(plan: &BodyPlan) -> (String, Option<ProblemKind>) {
        let framing = match &plan.framing {
            Framing::Chunked(_) => "Chunked".to_owned(),
            other => format!("{other:?}"),
        };
        (framing, plan.problem)
    }

    #[test]
    fn responses_are_framed_by_rfc_9112_section_6_3() {
        use ProblemKind::{
            ConflictingLength, DoubtfulTransferEncoding, TransferEncodingWithLength,
            UnsupportedTransferEncoding,
        };
        type Fields = &'static [(&'static str, &'static str)];
        let cases: &[(Fields, &str, Option<ProblemKind>)] = &[
            (&[], "UntilClose", None),
            (&[("content-length", "0")], "None", None),
            (&[("Content-Length", "5")], "Length(5)", None),
            (&[("content-length", "5, 5"), ("content-length", "5")], "Length(5)", None),
            (
                &[("content-length", "5"), ("content-length", "6")],
                "Unknown(ConflictingLength)",
                Some(ConflictingLength),
            ),
            (&[("content-length", "+5")], "Unknown(ConflictingLength)", Some(ConflictingLength)),
            (
                &[("content-length", "99999999999999999999")],
                "Unknown(ConflictingLength)",
                Some(ConflictingLength),
            ),
            (&[("content-length", "")], "Unknown(ConflictingLength)", Some(ConflictingLength)),
            (&[("transfer-encoding", "Chunked")], "Chunked", None),
            (&[("transfer-encoding", "gzip, chunked")], "Chunked", None),
            (
                &[("transfer-encoding", "chunked"), ("content-length", "5")],
                "Chunked",
                Some(TransferEncodingWithLength),
            ),
            (&[("transfer-encoding", "gzip")], "UntilClose", None),
            (
                &[("transfer-encoding", "chunked, gzip")],
                "Unknown(UnsupportedTransferEncoding)",
                Some(UnsupportedTransferEncoding),
            ),
            (
                &[("transfer-encoding", "chunked, chunked")],
                "Unknown(UnsupportedTransferEncoding)",
                Some(UnsupportedTransferEncoding),
            ),
            (&[("transfer-encoding", "identity"), ("content-length", "5")], "Length(5)", None),
            (&[("transfer-encoding", "identity, chunked")], "Chunked", Some(DoubtfulTransferEncoding)),
            (&[("transfer-encoding", "chunked ;a=b")], "Chunked", Some(DoubtfulTransferEncoding)),
            (
                &[("transfer-encoding", ""), ("content-length", "5")],
                "Length(5)",
                Some(DoubtfulTransferEncoding),
            ),
            (&[("transfer-encoding", "\u{a0}chunked")], "UntilClose", None),
        ];
        for (fields, framing, problem) in cases {
            let plan = response_plan(&response(fields), RequestKind::Other, &Limits::default());
            assert_eq!(describe(&plan), ((*framing).to_owned(), *problem), "{fields:?}");
        }
    }

    #[test]
    fn responses_without_a_body_have_none_whatever_their_fields_say() {
        let fields = [("content-length", "5"), ("transfer-encoding", "chunked")];
        let mut head = response(&fields);
        assert!(response_plan(&head, RequestKind::Head, &Limits::default()).framing.is_done());
        for status in [204, 304] {
            head.status = status;
            assert!(response_plan(&head, RequestKind::Other, &Limits::default()).framing.is_done());
        }
    }

    #[test]
    fn transfer_codings_are_undone_after_content_codings() {
        let head = response(&[("transfer-encoding", "gzip, chunked"), ("content-encoding", "br")]);
        let plan = response_plan(&head, RequestKind::Other, &Limits::default());
        assert_eq!(plan.codings, ["br", "gzip"]);
    }
}
