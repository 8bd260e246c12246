//! Which processes and exchanges are told: include and exclude, the sample, the rates.
//!
//! An exchange is told whole or not at all: what was decided for its request holds for its response.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use oisp_ai::AiEvent;
use oisp_capture::{ConnectionId, MonotonicNanos, ProcessId};
use oisp_config::{Exclude, Include, Patterns, Rate, RateLimit, Sample, Settings};
use oisp_decode::ExchangeId;
use oisp_event::{Actor, Event, Payload, Process};

use crate::runtime::DropReason;

/// Decisions that are remembered until the response comes; of more than that the oldest are forgotten, and their
/// responses are judged by themselves.
const MAX_DECISIONS: usize = 16_384;
/// Processes whose rate is kept.
const MAX_PROCESSES: usize = 16_384;

/// What to tell: the configuration's `include`, `exclude`, `sample` and `rate_limit`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Selection {
    pub(crate) include: Include,
    pub(crate) exclude: Exclude,
    pub(crate) sample: Sample,
    pub(crate) rate_limit: RateLimit,
}

impl From<&Settings> for Selection {
    fn from(settings: &Settings) -> Self {
        let Settings { include, exclude, sample, rate_limit, .. } = settings.clone();
        Self { include, exclude, sample, rate_limit }
    }
}

/// A token bucket on the time of the events themselves, so that a replay decides as the recording did.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    tokens: f64,
    filled: MonotonicNanos,
}

impl Bucket {
    fn new(rate: Rate, now: MonotonicNanos) -> Self {
        Self { tokens: Self::size(rate), filled: now }
    }

    /// One second's worth may come at once, and one always.
    fn size(rate: Rate) -> f64 {
        rate.per_second().max(1.0)
    }

    fn take(&mut self, rate: Rate, now: MonotonicNanos) -> bool {
        let seconds = now.0.saturating_sub(self.filled.0) as f64 / 1e9;
        self.tokens = (self.tokens + seconds * rate.per_second()).min(Self::size(rate));
        self.filled = self.filled.max(now);
        if self.tokens < 1.0 {
            return false;
        }
        self.tokens -= 1.0;
        true
    }
}

/// Decides, and remembers what it decided.
#[derive(Debug)]
pub(crate) struct Selector {
    selection: Selection,
    decisions: BTreeMap<(ConnectionId, ExchangeId), Option<DropReason>>,
    connections: HashMap<ConnectionId, Bucket>,
    processes: HashMap<ProcessId, Bucket>,
}

impl Selector {
    pub(crate) fn new(selection: Selection) -> Self {
        Self { selection, decisions: BTreeMap::new(), connections: HashMap::new(), processes: HashMap::new() }
    }

    /// What is decided from now on. Exchanges that are open keep the decision of their request.
    pub(crate) fn set(&mut self, selection: Selection) {
        self.selection = selection;
        self.connections.clear();
        self.processes.clear();
    }

    /// Whether anything of a process is told.
    pub(crate) fn takes_process(&self, process: &Process, actor: Option<&Actor>) -> bool {
        let Selection { include, exclude, .. } = &self.selection;
        let name = process.name.as_deref();
        let path = process.exe.as_deref();
        let user = actor.and_then(|actor| actor.user.as_deref());
        let uid = actor.and_then(|actor| actor.uid).map(|uid| uid.to_string());
        let is_user = |patterns: &Patterns| matches(patterns, user) || matches(patterns, uid.as_deref());
        takes(&include.process, name)
            && takes(&include.executable, path)
            && (include.user.is_empty() || is_user(&include.user))
            && !matches(&exclude.process, name)
            && !matches(&exclude.executable, path)
            && !is_user(&exclude.user)
    }

    /// Whether an exchange is told; asked for its request and its response, in the order in which they come.
    pub(crate) fn takes_call(
        &mut self,
        connection: ConnectionId,
        call: &AiEvent,
        time: MonotonicNanos,
    ) -> Result<(), DropReason> {
        let (exchange, is_request) = match call {
            AiEvent::Request(call) => (call.exchange, true),
            AiEvent::Response(answer) => (answer.exchange, false),
            // Of a request whose decision was forgotten nothing is told before its response.
            AiEvent::Chunk(chunk) => {
                let decision = self.decisions.get(&(connection, chunk.exchange));
                return decision
                    .map_or(Err(DropReason::MemoryLimit), |decision| decision.map_or(Ok(()), Err));
            }
            AiEvent::Mcp(message) => (message.exchange, message.opens_exchange),
        };
        let key = (connection, exchange);
        let known = match call {
            // An answer of MCP's may be a stream of messages.
            AiEvent::Mcp(_) => self.decisions.get(&key).copied(),
            _ if is_request => None,
            _ => self.decisions.remove(&key),
        };
        if !is_request && let Some(decision) = known {
            return decision.map_or(Ok(()), Err);
        }
        let decision = self.judge(connection, exchange, call, time).err();
        if is_request {
            if self.decisions.len() >= MAX_DECISIONS {
                self.decisions.pop_first();
            }
            self.decisions.insert(key, decision);
        }
        decision.map_or(Ok(()), Err)
    }

    /// Whether a session of MCP with this endpoint is told.
    pub(crate) fn takes_mcp(&self, endpoint: Option<&str>) -> bool {
        self.takes_names("mcp", endpoint, None)
    }

    pub(crate) fn connection_closed(&mut self, connection: ConnectionId) {
        self.connections.remove(&connection);
        let range = (connection, ExchangeId(0))..=(connection, ExchangeId(u64::MAX));
        let left: Vec<_> = self.decisions.range(range).map(|(key, _)| *key).collect();
        for key in left {
            self.decisions.remove(&key);
        }
    }

    pub(crate) fn process_exited(&mut self, process: ProcessId) {
        self.processes.remove(&process);
    }

    /// What an event says about the selection it went through.
    pub(crate) fn mark(&self, event: &mut Event) {
        // Of processes every event is told.
        let sampled = !matches!(event.payload, Payload::ProcessExec(_) | Payload::ProcessExit(_));
        let share = self.selection.sample.exchanges.share();
        if sampled && share < 1.0 {
            event.ext.set("sample_rate", share);
        }
    }

    fn judge(
        &mut self,
        connection: ConnectionId,
        exchange: ExchangeId,
        call: &AiEvent,
        time: MonotonicNanos,
    ) -> Result<(), DropReason> {
        if !self.takes_service(call) {
            return Err(DropReason::Excluded);
        }
        if part(connection, exchange) >= self.selection.sample.exchanges.share() {
            return Err(DropReason::NotSampled);
        }
        if let Some(rate) = self.selection.rate_limit.connection {
            let bucket = self.connections.entry(connection).or_insert_with(|| Bucket::new(rate, time));
            if !bucket.take(rate, time) {
                return Err(DropReason::ConnectionRate);
            }
        }
        if let Some(rate) = self.selection.rate_limit.process {
            if self.processes.len() >= MAX_PROCESSES {
                self.processes.clear();
            }
            let bucket = self.processes.entry(connection.process).or_insert_with(|| Bucket::new(rate, time));
            if !bucket.take(rate, time) {
                return Err(DropReason::ProcessRate);
            }
        }
        Ok(())
    }

    fn takes_service(&self, call: &AiEvent) -> bool {
        let (provider, model, detection) = match call {
            AiEvent::Request(call) => (&call.request.provider, &call.request.model, &call.detection),
            AiEvent::Response(answer) => {
                (&answer.response.provider, &answer.response.model, &answer.detection)
            }
            // Follows its request.
            AiEvent::Chunk(_) => return true,
            AiEvent::Mcp(message) => return self.takes_mcp(message.place.endpoint.as_deref()),
        };
        let model = model.as_ref().map(|model| model.id.as_str());
        self.takes_names(&detection.provider_id, provider.endpoint.as_deref(), model)
    }

    fn takes_names(&self, provider_id: &str, endpoint: Option<&str>, model: Option<&str>) -> bool {
        let Selection { include, exclude, .. } = &self.selection;
        let host = endpoint.and_then(host_of);
        let id = Some(provider_id);
        takes(&include.provider, id)
            && takes(&include.host, host)
            && takes(&include.model, model)
            && !matches(&exclude.provider, id)
            && !matches(&exclude.host, host)
            && !matches(&exclude.model, model)
    }
}

/// What is not known matches nothing.
fn matches(patterns: &Patterns, text: Option<&str>) -> bool {
    text.is_some_and(|text| patterns.matches(text))
}

fn takes(include: &Patterns, text: Option<&str>) -> bool {
    include.is_empty() || matches(include, text)
}

/// The server's name in a URL, without user, port and brackets.
fn host_of(url: &str) -> Option<&str> {
    let after_scheme = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = after_scheme.split(['/', '?', '#']).next()?;
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    if let Some(literal) = host.strip_prefix('[') {
        return literal.split(']').next();
    }
    Some(host.split(':').next().unwrap_or(host))
}

/// Where an exchange stands between 0 and 1: always the same for the same one, evenly spread.
fn part(connection: ConnectionId, exchange: ExchangeId) -> f64 {
    // The keys of this hasher are fixed.
    let mut hasher = DefaultHasher::new();
    (connection, exchange.0).hash(&mut hasher);
    (hasher.finish() >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use oisp_ai::{AiAnswer, AiCall, Detection, Findings, Timings};
    use oisp_capture::Nanos;
    use oisp_config::{Case, Fraction, RatePeriod, Setting as _};
    use oisp_event::{AiRequest, AiResponse, DetectionMethod, Level, Model, Provider};

    /// A selector for settings that differ from the defaults.
    fn selector(change: impl FnOnce(&mut Settings)) -> Selector {
        let mut settings = Settings::default();
        change(&mut settings);
        Selector::new(Selection::from(&settings))
    }

    fn patterns(list: &str) -> Patterns {
        Patterns::from_text(list, &Case::Insensitive).expect("patterns")
    }

    fn connection(object: u64) -> ConnectionId {
        ConnectionId { process: ProcessId(7), object, born: Nanos(1) }
    }

    fn provider() -> Provider {
        let endpoint = Some("https://api.openai.com:443/v1/chat/completions".to_owned());
        Provider { endpoint, ..Provider::default() }
    }

    fn detection() -> Detection {
        Detection {
            provider_id: "openai".to_owned(),
            method: DetectionMethod::KnownEndpoint,
            confidence: Level::High,
        }
    }

    fn request(exchange: u64, model: &str) -> AiEvent {
        let model = Some(Model { id: model.to_owned() });
        AiEvent::Request(Box::new(AiCall {
            exchange: ExchangeId(exchange),
            request: AiRequest { provider: provider(), model, ..AiRequest::default() },
            detection: detection(),
            started: Nanos(0),
            completed: Nanos(0),
            findings: Findings::default(),
            extension: serde_json::Map::new(),
        }))
    }

    fn response(exchange: u64, model: &str) -> AiEvent {
        let model = Some(Model { id: model.to_owned() });
        AiEvent::Response(Box::new(AiAnswer {
            exchange: ExchangeId(exchange),
            response: AiResponse { provider: provider(), model, ..AiResponse::default() },
            embedding: None,
            detection: detection(),
            has_request: true,
            timings: Timings::default(),
            findings: Findings::default(),
            extension: serde_json::Map::new(),
        }))
    }

    #[test]
    fn process_is_taken_by_all_of_its_facts_and_exclude_wins() {
        let process = Process {
            name: Some("python3".to_owned()),
            exe: Some("/usr/bin/python3".to_owned()),
            ..Process::default()
        };
        let actor = Actor { uid: Some(1000), user: Some("alice".to_owned()), ..Actor::default() };
        let takes = |change: fn(&mut Settings)| selector(change).takes_process(&process, Some(&actor));
        assert!(takes(|_| ()));
        assert!(takes(|settings| settings.include.process = patterns("node,python*")));
        assert!(!takes(|settings| {
            settings.include.process = patterns("python*");
            settings.include.user = patterns("bob");
        }));
        assert!(takes(|settings| settings.include.user = patterns("1000")));
        assert!(!takes(|settings| settings.exclude.executable = patterns("/usr/**")));
        assert!(!takes(|settings| {
            settings.include.user = patterns("alice");
            settings.exclude.user = patterns("alice");
        }));
    }

    #[test]
    fn response_follows_its_requests_decision_though_another_model_answered() {
        let mut selector = selector(|settings| settings.include.model = patterns("gpt-*"));
        let mut takes = |call: &AiEvent| selector.takes_call(connection(1), call, Nanos(0));
        assert_eq!(takes(&request(1, "gpt-9")), Ok(()));
        assert_eq!(takes(&response(1, "other")), Ok(()));
        assert_eq!(takes(&request(2, "claude")), Err(DropReason::Excluded));
        assert_eq!(takes(&response(2, "gpt-9")), Err(DropReason::Excluded));
        assert_eq!(
            takes(&response(3, "other")),
            Err(DropReason::Excluded),
            "a response alone is judged itself"
        );
    }

    #[test]
    fn part_of_a_response_follows_its_requests_decision_and_leaves_it_to_the_response() {
        let mut selector = selector(|settings| settings.include.model = patterns("gpt-*"));
        let mut takes = |call: &AiEvent| selector.takes_call(connection(1), call, Nanos(0));
        let part = |exchange| {
            AiEvent::Chunk(Box::new(oisp_ai::AiChunk {
                exchange: ExchangeId(exchange),
                chunk: oisp_event::AiStreamingChunk::default(),
                detection: detection(),
                time: Nanos(0),
                choice: 0,
                call_numbers: Vec::new(),
                is_last: false,
                extension: serde_json::Map::new(),
            }))
        };
        assert_eq!(takes(&request(1, "gpt-9")), Ok(()));
        assert_eq!([takes(&part(1)), takes(&part(1)), takes(&response(1, "other"))], [Ok(()); 3]);
        assert_eq!(takes(&request(2, "claude")), Err(DropReason::Excluded));
        assert_eq!(takes(&part(2)), Err(DropReason::Excluded));
        assert_eq!(takes(&response(2, "gpt-9")), Err(DropReason::Excluded));
        assert_eq!(takes(&part(3)), Err(DropReason::MemoryLimit), "what was decided is forgotten");
    }

    #[test]
    fn host_and_provider_are_looked_at() {
        let takes = |change: fn(&mut Settings)| {
            selector(change).takes_call(connection(1), &request(1, "m"), Nanos(0)).is_ok()
        };
        assert!(takes(|settings| settings.include.host = patterns("*.openai.com")));
        assert!(!takes(|settings| settings.include.host = patterns("*.anthropic.com")));
        assert!(takes(|settings| settings.include.provider = patterns("open*")));
        assert!(!takes(|settings| settings.exclude.provider = patterns("openai")));
        assert_eq!(host_of("https://me:you@[::1]:8443/v1"), Some("::1"));
        assert_eq!(host_of("http://localhost/x"), Some("localhost"));
    }

    #[test]
    fn sessions_of_mcp_are_chosen_as_calls_are() {
        let endpoint = Some("https://tools.example/mcp");
        let takes = |change: fn(&mut Settings)| selector(change).takes_mcp(endpoint);
        assert!(takes(|_| ()));
        assert!(takes(|settings| settings.include.provider = patterns("mcp")));
        assert!(!takes(|settings| settings.exclude.provider = patterns("mcp")));
        assert!(!takes(|settings| settings.exclude.host = patterns("*.example")));
        assert!(!takes(|settings| settings.include.model = patterns("gpt-*")), "it has no model");
    }

    #[test]
    fn sample_takes_its_part_of_exchanges_and_each_of_them_whole() {
        let mut selector =
            selector(|settings| settings.sample.exchanges = Fraction::new(0.25).expect("a part"));
        let mut taken = 0;
        for exchange in 0..4000 {
            let first = selector.takes_call(connection(1), &request(exchange, "m"), Nanos(0));
            let second = selector.takes_call(connection(1), &response(exchange, "m"), Nanos(0));
            assert_eq!(first, second);
            taken += u32::from(first.is_ok());
        }
        assert!((900..1100).contains(&taken), "{taken}");
    }

    #[test]
    fn rate_lets_a_seconds_worth_through_at_once_and_then_one_by_one() {
        let mut selector =
            selector(|settings| settings.rate_limit.connection = Some(Rate::new(2, RatePeriod::Second)));
        let mut takes = |object, exchange, milliseconds: u64| {
            let time = Nanos(milliseconds * 1_000_000);
            selector.takes_call(connection(object), &request(exchange, "m"), time)
        };
        assert_eq!([takes(1, 1, 0), takes(1, 2, 0)], [Ok(()); 2]);
        assert_eq!(takes(1, 3, 100), Err(DropReason::ConnectionRate));
        assert_eq!(takes(2, 1, 100), Ok(()), "another connection has its own");
        assert_eq!(takes(1, 4, 600), Ok(()));
        assert_eq!(takes(1, 5, 700), Err(DropReason::ConnectionRate));
    }

    #[test]
    fn rate_of_a_process_is_shared_by_its_connections() {
        let mut selector =
            selector(|settings| settings.rate_limit.process = Some(Rate::new(1, RatePeriod::Second)));
        assert_eq!(selector.takes_call(connection(1), &request(1, "m"), Nanos(0)), Ok(()));
        let second = selector.takes_call(connection(2), &request(1, "m"), Nanos(0));
        assert_eq!(second, Err(DropReason::ProcessRate));
    }
}
