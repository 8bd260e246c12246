//! The request side of an exchange: from head and body to an [`AiCall`].

use oisp_decode::{BodyEnd, ExchangeId, Nanos, RequestHead};
use oisp_event::{Auth, Completeness, DetectionMethod, Level, Model, Provider};
use serde_json::{Value, json};

use crate::account;
use crate::bedrock;
use crate::body::Body;
use crate::call::{AiCall, Detection};
use crate::detect::{self, Candidate, Service, Target};
use crate::findings::Findings;
use crate::form::FormReader;
use crate::format::{self, Format, FormatId, ParsedRequest};
use crate::headers::{self, Destination};
use crate::json::{self, ParseFailure};
use crate::{ConnectionContext, Limits};

/// A request that may be a call to a model, being read.
pub(crate) struct Request {
    candidate: Candidate,
    target: Target,
    head: RequestHead,
    auth: Auth,
    provider: Provider,
    body: Body,
    /// Reads the body in place of `body`, if it is a form.
    form: Option<FormReader>,
    /// The body is audio or an image: only how many bytes it has; `None` once some were lost.
    media: Option<(String, Option<u64>)>,
    last_seen: Nanos,
    sniffed: bool,
}

/// What is known of a request that has ended, as its response needs it.
#[derive(Clone, Debug)]
pub(crate) struct Recognised {
    pub(crate) service: Service,
    /// `None`: a call in a format that is not read.
    pub(crate) format: Option<FormatId>,
    pub(crate) detection: Detection,
    pub(crate) provider: Provider,
    pub(crate) completed: Nanos,
}

/// What a request turned out to be.
pub(crate) enum Outcome {
    Call(Box<AiCall>, Box<Recognised>),
    /// Not recognised; `may_answer` if the response is worth a look all the same.
    Unrecognised {
        may_answer: bool,
    },
    /// Asks nothing of a model, but the response is the answer to an earlier request.
    Fetches(Box<Recognised>),
}

impl Request {
    /// Begins with a head; `Err` if it cannot be a call to a model.
    pub(crate) fn new(
        head: RequestHead,
        destination: Destination,
        time: Nanos,
        context: &ConnectionContext,
    ) -> Result<Self, Outcome> {
        let candidate = detect::candidate(&head, &destination, context.services);
        if matches!(candidate, Candidate::None) {
            if let Some((provider, format)) = detect::fetched(&head, &destination, context.services) {
                let service = Service::from(provider);
                let detection = Detection {
                    provider_id: service.id.to_owned(),
                    method: DetectionMethod::KnownEndpoint,
                    confidence: Level::High,
                };
                let place = provider.place(&destination.host, &destination.path);
                let provider = Provider {
                    name: service.name,
                    endpoint: destination.endpoint,
                    region: place.region,
                    project_id: place.project,
                    ..Provider::default()
                };
                let recognised =
                    Recognised { service, format: Some(format), detection, provider, completed: time };
                return Err(Outcome::Fetches(Box::new(recognised)));
            }
            let may_answer = head.method.eq_ignore_ascii_case("POST");
            return Err(Outcome::Unrecognised { may_answer });
        }
        let (organization_id, project_id) = headers::organization_and_project(&head.headers);
        let place = candidate.provider().map(|provider| provider.place(&destination.host, &destination.path));
        let place = place.unwrap_or_default();
        Ok(Self {
            candidate,
            target: Target::new(&head, &destination.path),
            auth: Auth {
                account_type: account::account_type(&head, &destination.host),
                ..headers::auth(&head)
            },
            provider: Provider {
                endpoint: destination.endpoint,
                region: place
                    .region
                    .or_else(|| bedrock::region_of_host(&destination.host))
                    .or_else(|| bedrock::signed_region(&head)),
                organization_id,
                project_id: place.project.or(project_id),
                ..Provider::default()
            },
            media: headers::media_type(&head.headers)
                .filter(|media_type| headers::is_media(media_type))
                .map(|media_type| (media_type, Some(0))),
            form: head.headers.get("content-type").and_then(|value| FormReader::new(&value)),
            head,
            body: Body::default(),
            last_seen: time,
            sniffed: false,
        })
    }

    /// Takes body bytes; `Err` as soon as they show that it is no call.
    pub(crate) fn push(&mut self, time: Nanos, bytes: &[u8], limits: &Limits) -> Result<(), Outcome> {
        self.last_seen = time;
        match self.candidate {
            Candidate::UnknownFormat { .. } | Candidate::None => return Ok(()),
            Candidate::Endpoint { .. } | Candidate::Path { .. } | Candidate::Sniff { .. } => {}
        }
        if let Some(form) = &mut self.form {
            form.push(bytes);
            return Ok(());
        }
        if let Some((_, size)) = &mut self.media {
            *size = size.map(|size| size.saturating_add(bytes.len() as u64));
            return Ok(());
        }
        self.body.push(bytes, limits.body_bytes);
        if let Candidate::Sniff { .. } = self.candidate {
            return self.sniff(limits, false);
        }
        Ok(())
    }

    pub(crate) fn gap(&mut self, time: Nanos) -> Result<(), Outcome> {
        self.last_seen = time;
        self.body.gap();
        if let Some(form) = &mut self.form {
            form.gap();
        }
        if let Some((_, size)) = &mut self.media {
            *size = None;
        }
        match self.candidate {
            // Without path and without body nothing is left to recognise it by.
            Candidate::Sniff { .. } => Err(Outcome::Unrecognised { may_answer: true }),
            _ => Ok(()),
        }
    }

    /// Keeps nothing more, for want of room; says whether that is news.
    pub(crate) fn give_up(&mut self) -> bool {
        self.form = None;
        self.body.give_up()
    }

    pub(crate) fn buffered(&self) -> usize {
        self.body.buffered() + self.form.as_ref().map_or(0, FormReader::buffered)
    }

    /// The request is over; without `end` it was not seen to its end.
    pub(crate) fn finish(
        mut self,
        exchange: ExchangeId,
        end: Option<&BodyEnd>,
        cut_short: Option<&str>,
        limits: &Limits,
    ) -> Outcome {
        if let Err(outcome) = self.sniff(limits, true) {
            return outcome;
        }
        let mut findings = Findings::default();
        if let Some(end) = end {
            findings.body_end(end, "request_body");
        }
        if let Some(reason) = cut_short {
            findings.partial(reason);
            findings.missing("request_body");
        }
        let completed = end.and_then(|end| end.last_byte).unwrap_or(self.last_seen);
        let Some(judged) = self.judge(&mut findings, limits) else {
            return Outcome::Unrecognised { may_answer: true };
        };
        self.provider.name = judged.service.name;
        let detection = Detection {
            provider_id: judged.service.id.to_owned(),
            method: judged.method,
            confidence: judged.level,
        };
        let ParsedRequest { mut request, mut extension, unparsed } = judged.parsed;
        for part in unparsed {
            findings.partial("request_not_wholly_understood");
            findings.limitation(&format!("{part}_not_understood"));
        }
        request.provider = self.provider.clone();
        request.auth = Some(self.auth);
        extension.insert("http_version".to_owned(), headers::version(self.head.version).into());
        extension.insert("provider_id".to_owned(), judged.service.id.into());
        if let Some(format) = judged.format {
            extension.insert("api_format".to_owned(), format::of(format).name().into());
        }
        if let Some(features) = headers::beta_features(&self.head.headers) {
            extension.entry("beta_features").or_insert(features);
        }
        if findings.lost_bytes > 0 {
            extension.insert("lost_bytes".to_owned(), findings.lost_bytes.into());
        }
        let recognised = Recognised {
            service: judged.service,
            format: judged.format,
            detection: detection.clone(),
            provider: self.provider,
            completed,
        };
        let call = AiCall {
            exchange,
            request,
            detection,
            started: self.head.first_byte,
            completed,
            findings,
            extension,
        };
        Outcome::Call(Box::new(call), Box::new(recognised))
    }

    /// A first look at the body of a request whose path says nothing.
    fn sniff(&mut self, limits: &Limits, ended: bool) -> Result<(), Outcome> {
        if self.sniffed || !matches!(self.candidate, Candidate::Sniff { .. }) {
            return Ok(());
        }
        let bytes = self.body.whole().unwrap_or_default();
        let beginning = &bytes[..bytes.len().min(limits.sniff_bytes)];
        let unrecognised = Err(Outcome::Unrecognised { may_answer: true });
        match beginning.iter().find(|byte| !byte.is_ascii_whitespace()) {
            Some(b'{') => {}
            None if !ended && bytes.len() < limits.sniff_bytes => return Ok(()),
            _ => return unrecognised,
        }
        if !ended && bytes.len() < limits.sniff_bytes {
            return Ok(());
        }
        self.sniffed = true;
        let beginning = String::from_utf8_lossy(beginning);
        const KEYS: [&str; 6] =
            ["\"messages\"", "\"model\"", "\"contents\"", "\"inputs\"", "\"model_id\"", "\"n_predict\""];
        if KEYS.iter().any(|key| beginning.contains(key)) { Ok(()) } else { unrecognised }
    }

    /// Reads the body and decides; `None` if it is no call to a model.
    fn judge(&mut self, findings: &mut Findings, limits: &Limits) -> Option<Judged> {
        let form = self.form.take().map(FormReader::finish);
        let parsed = match self.candidate {
            Candidate::UnknownFormat { .. } | Candidate::None => Err("unknown_format"),
            _ if self.media.is_some() => {
                let (media_type, bytes) = self.media.take().unwrap_or_default();
                let incomplete = bytes.is_none();
                let file = json!({ "media_type": media_type, "bytes": bytes, "incomplete": incomplete });
                Ok(json::Parsed { value: json!({ "inputs": file }), lossy: false })
            }
            _ if form.is_some() => match form {
                Some(Ok(value)) => Ok(json::Parsed { value, lossy: false }),
                _ if self.body.is_damaged() => Err("bytes_lost"),
                _ => Err("invalid_form"),
            },
            _ if self.body.is_damaged() => Err("bytes_lost"),
            _ if self.body.is_over_limit() => {
                findings.limitation(&format!("request_of_{}_bytes_over_limit", self.body.total()));
                Err("message_over_limit")
            }
            _ => match json::parse(self.body.whole().unwrap_or_default(), limits.parsed_bytes) {
                Ok(parsed) => Ok(parsed),
                Err(ParseFailure::Invalid) if self.body.total() == 0 => Err("empty_body"),
                Err(ParseFailure::Invalid) => Err("invalid_json"),
                Err(ParseFailure::TooLarge) => Err("json_too_large"),
            },
        };
        self.body = Body::default();
        if parsed.as_ref().is_ok_and(|parsed| parsed.lossy) {
            findings.partial("invalid_utf8");
        }
        let parsed = parsed.map(|parsed| parsed.value);
        let target = &self.target;
        let with = |service, format: &'static dyn Format, value: Option<Value>, method, level| Judged {
            service,
            format: Some(format.id()),
            parsed: match value {
                Some(value) => format.parse_request(value, target),
                None => of_path(target),
            },
            method,
            level,
        };
        match (self.candidate, parsed) {
            (Candidate::None, _) => None,
            (Candidate::UnknownFormat { provider }, _) => {
                findings.reason("unknown_format");
                findings.missing("request_body");
                findings.completeness = Completeness::MetadataOnly;
                Some(Judged {
                    service: provider.into(),
                    format: None,
                    parsed: ParsedRequest::default(),
                    method: DetectionMethod::KnownEndpoint,
                    level: Level::Medium,
                })
            }
            (Candidate::Endpoint { provider }, parsed) => {
                let method = DetectionMethod::KnownEndpoint;
                let recognised = parsed.as_ref().ok().and_then(|value| {
                    provider.formats_at(&target.path).find(|format| format.recognises_request(value, target))
                });
                match (recognised, parsed) {
                    (Some(format), Ok(value)) => {
                        Some(with(provider.into(), format, Some(value), method, Level::High))
                    }
                    (_, parsed) => {
                        findings.unread(parsed.err().unwrap_or("unrecognised_body"), "request_body");
                        let format = provider.formats_at(&target.path).next()?;
                        Some(with(provider.into(), format, None, method, Level::Low))
                    }
                }
            }
            (Candidate::Path { provider, .. }, Ok(value)) => {
                let format = format::at_any_host(&target.path)
                    .find(|format| format.recognises_request(&value, target))?;
                let service = Service::new(provider, format.id());
                let method = DetectionMethod::PayloadInspection;
                Some(with(service, format, Some(value), method, Level::Medium))
            }
            (Candidate::Path { provider, distinctive }, Err(reason)) => {
                // Bytes that are there and are no JSON speak against it; bytes that are not there don't.
                let unseen = matches!(reason, "bytes_lost" | "message_over_limit" | "json_too_large");
                let format = format::of(distinctive.filter(|_| unseen || !findings.is_empty())?);
                findings.unread(reason, "request_body");
                let service = Service::new(provider, format.id());
                Some(with(service, format, None, DetectionMethod::Heuristic, Level::Low))
            }
            (Candidate::Sniff { provider }, Ok(value)) => {
                let format = format::of_request(&value, &self.head.headers)?;
                let said_streaming = value.get("stream").is_some();
                let service = Service::new(provider, format.id());
                let method = DetectionMethod::PayloadInspection;
                let mut judged = with(service, format, Some(value), method, Level::Low);
                if !said_streaming {
                    // An API with the same body on another path may have another default.
                    judged.parsed.request.streaming = None;
                }
                Some(judged)
            }
            (Candidate::Sniff { .. }, Err(_)) => None,
        }
    }
}

/// What a path says of a request whose body was not read.
fn of_path(target: &Target) -> ParsedRequest {
    let mut parsed = ParsedRequest::default();
    parsed.request.model = bedrock::model(&target.path).map(|id| Model { id });
    parsed.request.streaming =
        bedrock::Operation::of_path(&target.path).map(bedrock::Operation::is_streaming);
    parsed
}

struct Judged {
    service: Service,
    format: Option<FormatId>,
    parsed: ParsedRequest,
    method: DetectionMethod,
    level: Level,
}
