//! The response side of an exchange: from head and body, whole or streamed, to an [`AiAnswer`].

use oisp_decode::{BodyEnd, Defect, ExchangeId, Nanos, ResponseHead, Undecodable};
use oisp_event::{AiResponse, Completeness, DetectionMethod, ErrorInfo, Level, Provider, Usage};
use serde_json::{Map, Value, json};

use crate::Limits;
use crate::bedrock::{Additions, HeaderFacts};
use crate::body::Body;
use crate::call::{AiAnswer, Detection, Timings};
use crate::chunks::Draft;
use crate::detect::Service;
use crate::findings::Findings;
use crate::format::{self, FormatId, ParsedResponse};
use crate::framing::Framing;
use crate::headers;
use crate::json::ParseFailure;
use crate::providers::{Dialect, PROVIDERS};
use crate::request::Recognised;
use crate::stream::StreamReader;
use crate::thin::Thinner;

/// A response being read.
#[derive(Default)]
pub(crate) struct Response {
    head: Option<HeadFacts>,
    reading: Reading,
    last_byte: Option<Nanos>,
}

/// What the head says, the rest of it is not kept.
struct HeadFacts {
    status: u16,
    first_byte: Nanos,
    media_type: String,
    provider_request_id: Option<String>,
    organization_id: Option<String>,
    project_id: Option<String>,
    region: Option<String>,
    rate_limit: Option<Value>,
    bedrock: HeaderFacts,
    /// Token counts that stand in no body.
    usage: Option<Usage>,
    /// The service, by a header that only it sends.
    service: Option<Service>,
}

#[derive(Default)]
enum Reading {
    /// No calls here, or nothing that could be read.
    #[default]
    Skip,
    /// Of an unknown request: the first bytes decide whether it is looked at any further.
    Sniff(Vec<u8>),
    /// The first bytes tell events from JSON; the media type is not always right.
    Undecided(Vec<u8>),
    /// What the body has that is not worth keeping is left out on the way.
    Whole(Body, Option<Thinner>),
    /// Audio or an image: only how many bytes it has; `None` once some were lost.
    Media(Option<u64>),
    Stream(Box<StreamReader>),
}

impl Response {
    /// Takes the head. `request` is what its request was recognised as; `may_answer` says whether the
    /// response to an unrecognised request is worth a look.
    pub(crate) fn head(&mut self, head: &ResponseHead, request: Option<&Recognised>, may_answer: bool) {
        let media_type = headers::media_type(&head.headers).unwrap_or_default();
        let textual = media_type.is_empty()
            || media_type.contains("json")
            || Framing::of_media_type(&media_type).is_some();
        self.reading = match request {
            Some(Recognised { format: Some(_), .. }) if headers::is_media(&media_type) => {
                Reading::Media(Some(0))
            }
            Some(Recognised { format: Some(_), .. }) => Reading::Undecided(Vec::new()),
            None if may_answer && textual && (200..300).contains(&head.status) => Reading::Sniff(Vec::new()),
            _ => Reading::Skip,
        };
        if request.is_none() && matches!(self.reading, Reading::Skip) {
            return;
        }
        let (organization_id, project_id) = headers::organization_and_project(&head.headers);
        let service = PROVIDERS
            .iter()
            .find(|provider| provider.response_header.is_some_and(|name| head.headers.get(name).is_some()))
            .map(Service::from);
        self.head = Some(HeadFacts {
            status: head.status,
            first_byte: head.first_byte,
            media_type,
            provider_request_id: headers::provider_request_id(&head.headers),
            organization_id,
            project_id,
            region: headers::region(&head.headers),
            rate_limit: headers::rate_limit(&head.headers),
            bedrock: HeaderFacts::of(&head.headers),
            usage: headers::usage(&head.headers),
            service,
        });
    }

    pub(crate) fn push(&mut self, time: Nanos, bytes: &[u8], request: Option<&Recognised>, limits: &Limits) {
        self.last_byte = Some(time);
        match &mut self.reading {
            Reading::Skip => {}
            Reading::Sniff(beginning) => {
                beginning.extend_from_slice(bytes);
                if beginning.len() >= limits.sniff_bytes {
                    self.end_sniff(time, limits);
                }
            }
            // Nearly always the first piece decides.
            Reading::Undecided(beginning) if beginning.is_empty() => {
                self.decide(time, bytes, request, limits, false);
            }
            Reading::Undecided(beginning) => {
                beginning.extend_from_slice(bytes);
                let beginning = std::mem::take(beginning);
                self.decide(time, &beginning, request, limits, false);
            }
            Reading::Whole(body, None) => body.push(bytes, limits.body_bytes),
            Reading::Whole(body, Some(thinner)) => body.push(&thinner.push(bytes), limits.body_bytes),
            Reading::Media(size) => *size = size.map(|size| size.saturating_add(bytes.len() as u64)),
            Reading::Stream(stream) => stream.push(time, bytes),
        }
    }

    pub(crate) fn gap(&mut self, time: Nanos, request: Option<&Recognised>, limits: &Limits) {
        self.last_byte = Some(time);
        if let Reading::Sniff(_) = self.reading {
            self.end_sniff(time, limits);
        }
        if let Reading::Undecided(beginning) = &mut self.reading {
            let beginning = std::mem::take(beginning);
            self.decide(time, &beginning, request, limits, true);
        }
        match &mut self.reading {
            Reading::Skip | Reading::Sniff(_) | Reading::Undecided(_) => {}
            Reading::Whole(body, _) => body.gap(),
            Reading::Media(size) => *size = None,
            Reading::Stream(stream) => stream.gap(),
        }
    }

    /// The connection turned to another protocol: what follows is no answer.
    pub(crate) fn upgraded(&mut self) {
        self.reading = Reading::Skip;
    }

    /// Keeps nothing more, for want of room; says whether that is news.
    pub(crate) fn give_up(&mut self) -> bool {
        match &mut self.reading {
            Reading::Skip | Reading::Media(_) => false,
            Reading::Sniff(_) | Reading::Undecided(_) => {
                self.reading = Reading::Skip;
                true
            }
            Reading::Whole(body, _) => body.give_up(),
            Reading::Stream(stream) => stream.give_up(),
        }
    }

    pub(crate) fn buffered(&self) -> usize {
        match &self.reading {
            Reading::Skip | Reading::Media(_) => 0,
            Reading::Sniff(beginning) | Reading::Undecided(beginning) => beginning.capacity(),
            Reading::Whole(body, _) => body.buffered(),
            Reading::Stream(stream) => stream.buffered(),
        }
    }

    /// What is to be told of it before it is complete.
    pub(crate) fn take_chunks(&mut self) -> Vec<Draft> {
        match &mut self.reading {
            Reading::Stream(stream) => stream.collector.take_chunks(),
            _ => Vec::new(),
        }
    }

    /// Whether the answer said that nothing of it follows.
    pub(crate) fn has_ended(&self) -> bool {
        matches!(&self.reading, Reading::Stream(stream) if stream.has_ended())
    }

    /// The response is over; without `end` it was not seen to its end. `None` if it is no answer of a
    /// model. Gives also what was not yet told of it while it came.
    pub(crate) fn finish(
        mut self,
        exchange: ExchangeId,
        end: Option<&BodyEnd>,
        cut_short: Option<&str>,
        request: Option<&Recognised>,
        time: Nanos,
        limits: &Limits,
    ) -> Option<(AiAnswer, Vec<Draft>)> {
        let last_byte = end.and_then(|end| end.last_byte).or(self.last_byte);
        if let Reading::Sniff(_) = self.reading {
            self.end_sniff(time, limits);
        }
        if let Reading::Undecided(beginning) = &mut self.reading {
            let beginning = std::mem::take(beginning);
            self.decide(time, &beginning, request, limits, true);
        }
        let mut findings = Findings::default();
        let mut timings = Timings {
            request_completed: request.map(|request| request.completed),
            first_byte: self.head.as_ref().map(|head| head.first_byte),
            last_byte: last_byte.or(self.head.as_ref().map(|head| head.first_byte)),
            ..Timings::default()
        };
        let status = self.head.as_ref().map(|head| head.status);
        let streamed = matches!(self.reading, Reading::Stream(_));
        let has_ended = self.has_ended();
        let mut found_in_body = Findings::default();
        let (read, format) = self.read(request, &mut found_in_body, &mut timings, limits)?;
        // Nothing follows an error in a stream, either.
        let has_failed =
            streamed && read.response.error.is_some() && found_in_body.completeness == Completeness::Full;
        let answer_is_whole = has_ended || has_failed;
        if let Some(end) = end {
            // A client that leaves after the last event truncates the transport, not the answer.
            let mut end = end.clone();
            if answer_is_whole {
                let is_end = |defect: &&Defect| {
                    matches!(defect, Defect::Truncated | Defect::Undecodable(Undecodable::TruncatedEncoding))
                };
                end.completeness =
                    end.completeness.defects().iter().filter(|defect| !is_end(defect)).cloned().collect();
            }
            findings.body_end(&end, "response_body");
        }
        if let Some(reason) = cut_short.filter(|_| !answer_is_whole) {
            findings.partial(reason);
            findings.missing("response_body");
        }
        findings.join(found_in_body);
        let ParsedResponse { mut response, embedding, mut extension, unparsed, chunks, .. } = read;
        for part in unparsed {
            findings.partial("response_not_wholly_understood");
            findings.limitation(&format!("{part}_not_understood"));
        }
        let (service, detection, mut provider) = match request {
            Some(request) => (request.service, request.detection.clone(), request.provider.clone()),
            None => unasked(self.head.as_ref(), format?, &mut findings),
        };
        if let Some(head) = &mut self.head {
            let failed = head.status >= 400;
            std::mem::take(&mut head.bedrock).enter(failed, &mut response, &mut extension);
        }
        response.status_code = status;
        response.success = match (status, &response.error) {
            (_, Some(_)) => Some(false),
            (Some(status), None) => Some(status < 400),
            (None, None) => None,
        };
        extension.insert("provider_id".to_owned(), service.id.into());
        if let Some(format) = format {
            extension.insert("api_format".to_owned(), format::of(format).name().into());
        }
        if streamed {
            extension.insert("streamed".to_owned(), true.into());
        }
        if findings.lost_bytes > 0 {
            extension.insert("lost_bytes".to_owned(), findings.lost_bytes.into());
        }
        if let Some(head) = self.head {
            provider.organization_id = provider.organization_id.or(head.organization_id);
            provider.project_id = provider.project_id.or(head.project_id);
            provider.region = provider.region.or(head.region);
            if response.usage.is_none() && head.usage.is_some() {
                response.usage = head.usage;
                extension.insert("usage_source".to_owned(), "headers".into());
            }
            response.provider_request_id = head.provider_request_id.or(response.provider_request_id);
            if let Some(state) = head.rate_limit {
                extension.insert("rate_limit".to_owned(), state);
            }
        }
        response.provider = provider;
        write_timings(&timings, streamed, &mut response, &mut extension);
        let has_request = request.is_some();
        let answer =
            AiAnswer { exchange, response, embedding, detection, has_request, timings, findings, extension };
        Some((answer, chunks))
    }

    /// Reads what was kept of the body; `None` if it is no answer of a model.
    fn read(
        &mut self,
        request: Option<&Recognised>,
        findings: &mut Findings,
        timings: &mut Timings,
        limits: &Limits,
    ) -> Option<(ParsedResponse, Option<FormatId>)> {
        let expected = request.and_then(|request| request.format);
        let nothing = || (ParsedResponse::default(), expected);
        let Some(head) = &self.head else {
            // Nothing but the request tells of it.
            request?;
            findings.unread("response_not_seen", "response");
            findings.completeness = Completeness::MetadataOnly;
            return Some(nothing());
        };
        match std::mem::take(&mut self.reading) {
            Reading::Stream(stream) => {
                let times = stream.collector.times;
                timings.chunk_count = times.chunks;
                timings.first_content = times.first_content;
                timings.longest_chunk_gap = times.longest_gap;
                match stream.finish(findings, timings.last_byte.unwrap_or_default()) {
                    Some((format, parsed)) => Some((parsed, Some(format))),
                    None => {
                        request?;
                        findings.unread("no_stream_events", "response_body");
                        Some(nothing())
                    }
                }
            }
            Reading::Media(bytes) => {
                let mut read = nothing();
                let kind = head.media_type.split('/').next().unwrap_or_default();
                let kind = if kind == "application" { "file" } else { kind };
                let part = json!({ "type": kind, "media_type": head.media_type, "bytes": bytes });
                read.0.extension.insert("parts".to_owned(), json!([part]));
                Some(read)
            }
            Reading::Whole(body, thinner) => {
                let dialect = request.map_or_else(Dialect::default, |request| request.service.dialect);
                if body.is_over_limit() {
                    let total = thinner.map_or(body.total(), |thinner| thinner.taken());
                    findings.limitation(&format!("response_of_{total}_bytes_over_limit"));
                }
                match read_whole(&body, head, expected, dialect, findings, limits) {
                    Ok(read) => Some(read),
                    Err(reason) => {
                        // Proxies hand lines on as `application/json`.
                        if let Some(bytes) = body.whole().filter(|_| reason == "invalid_json") {
                            let time = timings.last_byte.unwrap_or_default();
                            let mut stream = StreamReader::new(Framing::Lines, expected, dialect, *limits);
                            stream.push(time, bytes);
                            let mut found = findings.clone();
                            if let Some((format, parsed)) = stream.finish(&mut found, time)
                                && found == *findings
                            {
                                return Some((parsed, Some(format)));
                            }
                        }
                        request?;
                        findings.unread(reason, "response_body");
                        let mut read = nothing();
                        read.0.response.error = failure_text(&body, head);
                        Some(read)
                    }
                }
            }
            Reading::Skip | Reading::Sniff(_) | Reading::Undecided(_) => {
                request?;
                findings.reason(if expected.is_none() { "unknown_format" } else { "body_not_read" });
                findings.completeness = Completeness::MetadataOnly;
                findings.missing("response_body");
                Some(nothing())
            }
        }
    }

    /// Enough of the answer to an unknown request was seen to look any further or not.
    fn end_sniff(&mut self, time: Nanos, limits: &Limits) {
        let Reading::Sniff(beginning) = std::mem::take(&mut self.reading) else { return };
        let looked_at =
            String::from_utf8_lossy(&beginning[..beginning.len().min(limits.sniff_bytes)]).into_owned();
        if format::ALL.iter().any(|format| format.may_begin_response(&looked_at)) {
            self.decide(time, &beginning, None, limits, false);
        }
    }

    /// Decides by the first bytes whether the body is a stream of events or one text, and hands them on.
    fn decide(
        &mut self,
        time: Nanos,
        beginning: &[u8],
        request: Option<&Recognised>,
        limits: &Limits,
        last_chance: bool,
    ) {
        let media_type = self.head.as_ref().map_or("", |head| head.media_type.as_str());
        let format = request.and_then(|request| request.format);
        let Some(framing) = framing(beginning, media_type, format, last_chance) else {
            self.reading = Reading::Undecided(beginning.to_vec());
            return;
        };
        self.reading = if let Some(framing) = framing {
            let dialect = request.map_or_else(Dialect::default, |request| request.service.dialect);
            // Without a request nothing says what they would be parts of.
            let streaming_chunks = limits.streaming_chunks && request.is_some();
            let limits = Limits { streaming_chunks, ..*limits };
            let mut stream = StreamReader::new(framing, format, dialect, limits);
            stream.push(time, beginning);
            Reading::Stream(Box::new(stream))
        } else if media_type == "application/octet-stream" && !begins_json(beginning) {
            Reading::Media(Some(beginning.len() as u64))
        } else {
            let mut body = Body::default();
            let failed = self.head.as_ref().is_some_and(|head| head.status >= 400);
            let thinning = format.filter(|_| !failed).and_then(|format| format::of(format).thinning());
            let mut thinner = thinning.map(Thinner::new);
            match &mut thinner {
                Some(thinner) => body.push(&thinner.push(beginning), limits.body_bytes),
                None => body.push(beginning, limits.body_bytes),
            }
            Reading::Whole(body, thinner)
        };
    }
}

/// How a body that begins so carries its events, `Some(None)` where it is one text; `None` if more bytes are needed.
#[expect(clippy::option_option, reason = "whether it is known, and what is known")]
fn framing(
    beginning: &[u8],
    media_type: &str,
    expected: Option<FormatId>,
    last_chance: bool,
) -> Option<Option<Framing>> {
    const FIELDS: [&[u8]; 5] = [b"data:", b"event:", b"id:", b"retry:", b":"];
    let said = Framing::of_media_type(media_type);
    if said == Some(Framing::AwsEvents) {
        return Some(said);
    }
    let Some(start) = beginning.iter().position(|byte| !byte.is_ascii_whitespace()) else {
        // White space before anything else is legal in all. A great deal of it is nowhere.
        return (last_chance || beginning.len() > 1024).then_some(said);
    };
    let text = &beginning[start..];
    // No text begins with this byte, the length of a message does.
    if beginning[0] == 0 && said.is_none() {
        let Some(prelude) = beginning.first_chunk::<8>() else { return last_chance.then_some(None) };
        return Some(is_aws_message(*prelude).then_some(Framing::AwsEvents));
    }
    match said {
        Some(Framing::ServerSentEvents) if !matches!(text[0], b'{' | b'[') => return Some(said),
        Some(Framing::Lines) => return Some(said),
        _ => {}
    }
    if text[0] == b'[' {
        let is_stream = match expected {
            Some(format) => format::of(format).streams_array(),
            None => {
                let text = String::from_utf8_lossy(text);
                format::ALL.iter().any(|format| format.streams_array() && format.may_begin_response(&text))
            }
        };
        return Some(is_stream.then_some(Framing::Array));
    }
    if FIELDS.iter().any(|field| text.starts_with(field)) {
        return Some(Some(Framing::ServerSentEvents));
    }
    let undecided = FIELDS.iter().any(|field| field.starts_with(text));
    (!undecided || last_chance).then_some(None)
}

/// Whether these may be the lengths at the beginning of a message of an AWS event stream: of it, and of its headers.
fn is_aws_message(prelude: [u8; 8]) -> bool {
    const AROUND: u32 = 16;
    const LONGEST_HEADERS: u32 = 128 * 1024;
    let [a, b, c, d, e, f, g, h] = prelude;
    let (total, headers) = (u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h]));
    headers > 0 && headers <= LONGEST_HEADERS && total.checked_sub(AROUND).is_some_and(|rest| rest >= headers)
}

fn read_whole(
    body: &Body,
    head: &HeadFacts,
    expected: Option<FormatId>,
    dialect: Dialect,
    findings: &mut Findings,
    limits: &Limits,
) -> Result<(ParsedResponse, Option<FormatId>), &'static str> {
    if body.is_over_limit() {
        return Err("message_over_limit");
    }
    let bytes = body.whole().ok_or("bytes_lost")?;
    if bytes.is_empty() {
        return Err("empty_body");
    }
    let expected_format = expected.map(format::of);
    if head.status < 400
        && matches!(head.media_type.as_str(), "text/plain" | "text/vtt" | "application/x-subrip")
        && !bytes.trim_ascii_start().starts_with(b"{")
        && let Some(format) = expected_format
        && let Some(parsed) = format.parse_text(String::from_utf8_lossy(bytes).trim_end())
    {
        return Ok((parsed, expected));
    }
    let mut parsed = crate::json::parse(bytes, limits.parsed_bytes).map_err(|failure| match failure {
        ParseFailure::Invalid => "invalid_json",
        ParseFailure::TooLarge => "json_too_large",
    })?;
    if parsed.lossy {
        findings.partial("invalid_utf8");
    }
    if let Some(format) = format::of_response(&parsed.value, expected) {
        let mut additions = Additions::default();
        additions.take(&mut parsed.value);
        let mut read = format.parse_response(parsed.value, dialect);
        additions.enter(&mut read.response, &mut read.extension);
        return Ok((read, Some(format.id())));
    }
    let first = parsed.value.as_array().and_then(|list| list.first()).unwrap_or(&parsed.value);
    let failed = head.status >= 400 || first.get("error").is_some_and(|error| !error.is_null());
    if expected.is_some() && failed {
        let mut read = ParsedResponse::default();
        read.response.error = format::error_of_failed(&parsed.value);
        read.response.provider_request_id = crate::json::owned_text(&parsed.value, "request_id");
        if read.response.error.is_none() {
            findings.partial("unrecognised_body");
        }
        return Ok((read, expected));
    }
    Err("unrecognised_body")
}

fn begins_json(beginning: &[u8]) -> bool {
    matches!(beginning.trim_ascii_start().first(), None | Some(b'{' | b'[' | b'"'))
}

/// The text of an error that a gateway sent instead of JSON.
fn failure_text(body: &Body, head: &HeadFacts) -> Option<ErrorInfo> {
    const LONGEST: usize = 4096;
    if head.status < 400 || head.media_type != "text/plain" {
        return None;
    }
    let bytes = body.whole()?;
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(LONGEST)]);
    let text = text.trim();
    (!text.is_empty()).then(|| ErrorInfo { message: Some(text.to_owned()), ..ErrorInfo::default() })
}

/// The service behind an answer whose request was not seen or not recognised.
fn unasked(
    head: Option<&HeadFacts>,
    format: FormatId,
    findings: &mut Findings,
) -> (Service, Detection, Provider) {
    findings.lower(Level::Low);
    findings.reason("request_not_recognised");
    findings.missing("request");
    let known = head.and_then(|head| head.service);
    let service = known.unwrap_or_else(|| Service::new(None, format));
    let method =
        if known.is_some() { DetectionMethod::HeaderFingerprint } else { DetectionMethod::PayloadInspection };
    let detection = Detection { provider_id: service.id.to_owned(), method, confidence: Level::Low };
    (service, detection, Provider { name: service.name, ..Provider::default() })
}

/// Writes latencies: rounded to milliseconds where the schema has them, exact in the extension.
pub(crate) fn write_timings(
    timings: &Timings,
    streamed: bool,
    response: &mut AiResponse,
    extension: &mut Map<String, Value>,
) {
    let since = |time: Option<Nanos>| time?.0.checked_sub(timings.request_completed?.0);
    let milliseconds = |nanos: u64| nanos.saturating_add(500_000) / 1_000_000;
    response.latency_ms = since(timings.last_byte).map(milliseconds);
    if streamed {
        response.time_to_first_token_ms = since(timings.first_content).map(milliseconds);
    }
    let exact: Map<String, Value> = [
        ("first_byte_ns", since(timings.first_byte)),
        ("first_content_ns", since(timings.first_content)),
        ("last_byte_ns", since(timings.last_byte)),
        ("chunk_count", streamed.then_some(timings.chunk_count)),
        ("longest_chunk_gap_ns", timings.longest_chunk_gap),
    ]
    .into_iter()
    .filter_map(|(key, value)| Some((key.to_owned(), json!(value?))))
    .collect();
    if !exact.is_empty() {
        extension.insert("timings".to_owned(), Value::Object(exact));
    }
}
