//! Generated traffic is compared with what it says of itself.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use oisp_ai::{AiAnswer, AiCall, AiEvent};
use oisp_capture::generator::{
    CallTruth, Delivery, Generator, GeneratorConfig, GeneratorStatistics, Service, Sizes,
};
use oisp_capture::{CaptureEvent, CaptureSource, Losses, Stop};
use oisp_event::{Completeness, Role};
use serde_json::Value;

use crate::stages::Stages;

#[derive(Default)]
struct Seen {
    stages: Stages,
    events: Vec<AiEvent>,
    losses: Losses,
}

impl Seen {
    fn handle(&mut self, event: &CaptureEvent) {
        if let CaptureEvent::Losses(losses) = event {
            self.losses += *losses;
        }
        self.events.extend(self.stages.handle(event));
    }

    fn halves(&self) -> (Vec<&AiCall>, Vec<&AiAnswer>) {
        let mut halves = (Vec::new(), Vec::new());
        for event in &self.events {
            match event {
                AiEvent::Request(call) => halves.0.push(&**call),
                AiEvent::Response(answer) => halves.1.push(&**answer),
                AiEvent::Chunk(_) => {}
                AiEvent::Mcp(message) => panic!("nobody speaks MCP: {message:?}"),
            }
        }
        halves
    }
}

fn run(config: GeneratorConfig) -> (BTreeMap<u64, CallTruth>, Seen, GeneratorStatistics) {
    let truth = Arc::new(Mutex::new(BTreeMap::new()));
    let sink = Arc::clone(&truth);
    let mut generator = Generator::new(config).unwrap().with_truth(move |call| {
        assert!(sink.lock().unwrap().insert(call.number, call).is_none(), "told once");
    });
    let mut seen = Seen::default();
    generator.run(&Stop::new().unwrap(), &mut |event| seen.handle(&event)).unwrap();
    assert_eq!(seen.stages.open(), 0, "every connection is closed");
    let statistics = generator.statistics();
    drop(generator);
    (Arc::into_inner(truth).unwrap().into_inner().unwrap(), seen, statistics)
}

fn text(content: Option<&Value>) -> &str {
    content.and_then(Value::as_str).unwrap_or_default()
}

/// The number of the call that a request says it is.
fn number(call: &AiCall) -> Option<u64> {
    let prompt = text(call.request.messages.last()?.content.as_ref());
    prompt.strip_prefix("Call ")?.split_once(':')?.0.parse().ok()
}

fn assert_request(call: &AiCall, truth: &CallTruth) {
    let request = &call.request;
    let id = match truth.service {
        Service::OpenAi => "openai",
        Service::Anthropic => "anthropic",
        Service::OpenRouter => "openrouter",
    };
    assert_eq!(call.detection.provider_id, id);
    let endpoint = format!("https://{}{}", truth.service.host(), truth.service.path());
    assert_eq!(request.provider.endpoint.as_deref(), Some(&*endpoint));
    assert_eq!(request.model.as_ref().map(|model| &*model.id), Some(truth.model));
    assert_eq!(request.streaming, Some(truth.streamed));
    assert_eq!(request.tools_count, Some(2));
    let messages: Vec<_> =
        request.messages.iter().map(|message| (message.role, text(message.content.as_ref()))).collect();
    assert_eq!(messages, [(Role::System, truth.system), (Role::User, &*truth.prompt)]);
}

fn assert_response(answer: &AiAnswer, truth: &CallTruth) {
    let response = &answer.response;
    assert_eq!((response.status_code, response.success), (Some(200), Some(true)));
    assert_eq!(response.provider_request_id.as_ref(), Some(&truth.response_id));
    assert_eq!(response.model.as_ref().map(|model| &*model.id), Some(truth.model));
    let message = response.choices[0].message.as_ref().unwrap();
    assert_eq!(text(message.content.as_ref()), truth.answer);
    assert_eq!(answer.extension["finish_reason"], truth.finish_reason);
    let usage = response.usage.as_ref().unwrap();
    assert_eq!(usage.prompt_tokens, Some(truth.input_tokens));
    assert_eq!(usage.completion_tokens, Some(truth.output_tokens));
    let calls: Vec<_> = response
        .tool_calls
        .iter()
        .map(|call| (call.id.as_deref(), call.name.as_deref(), call.arguments.as_deref()))
        .collect();
    let expected: Vec<_> = truth
        .tool_calls
        .iter()
        .map(|call| (Some(&*call.id), Some(call.name), Some(&*call.arguments)))
        .collect();
    assert_eq!(calls, expected);
}

fn small() -> GeneratorConfig {
    GeneratorConfig {
        connections: 5,
        prompt_bytes: Sizes::new(1, 300, 60_000).unwrap(),
        answer_bytes: Sizes::new(1, 200, 5_000).unwrap(),
        tool_calls: 0.4,
        calls: Some(150),
        ..GeneratorConfig::default()
    }
}

#[test]
fn events_of_traffic_without_losses_are_exactly_what_was_said() {
    for (seed, record_bytes) in [(1, 16 << 10), (2, 1 << 20), (3, 7)] {
        let (truth, seen, statistics) = run(GeneratorConfig { seed, record_bytes, ..small() });
        let (calls, answers) = seen.halves();
        assert_eq!((truth.len(), calls.len(), answers.len()), (150, 150, 150));
        assert_eq!((seen.stages.missing, statistics.bytes_lost), (0, 0));
        assert!(seen.losses.is_none());
        for call in calls {
            assert!(call.findings.is_empty(), "{call:?}");
            assert_request(call, &truth[&number(call).unwrap()]);
        }
        let by_id: HashMap<_, _> = truth.values().map(|truth| (&truth.response_id, truth)).collect();
        for answer in answers {
            assert!(answer.findings.is_empty(), "{answer:?}");
            assert_response(answer, by_id[answer.response.provider_request_id.as_ref().unwrap()]);
        }
        let kinds =
            |wanted: &dyn Fn(&CallTruth) -> bool| truth.values().filter(|truth| wanted(truth)).count();
        for service in [Service::OpenAi, Service::Anthropic, Service::OpenRouter] {
            for streamed in [true, false] {
                assert!(kinds(&|truth| truth.service == service && truth.streamed == streamed) > 0);
            }
        }
        assert!(kinds(&|truth| !truth.tool_calls.is_empty()) > 0);
    }
}

#[test]
fn events_of_traffic_with_losses_are_what_was_said_or_say_that_they_are_not() {
    let (mut damaged, mut whole) = (0, 0);
    for seed in 0..6 {
        let config = GeneratorConfig { seed, lost: 0.02, record_bytes: 2000, ..small() };
        let (truth, seen, statistics) = run(config);
        // Every lost byte is known to the stages, and the losses that are told add up to it.
        assert_eq!(seen.stages.missing, statistics.bytes_lost);
        assert_eq!(seen.losses.ring_full_bytes, statistics.bytes_lost);
        assert_eq!(seen.losses.ring_full_records, statistics.records_lost);
        let (calls, answers) = seen.halves();
        let mut requests_in_full = Vec::new();
        for call in calls {
            if call.findings.completeness == Completeness::Full {
                let truth = &truth[&number(call).expect("a whole request says which it is")];
                assert_eq!(truth.request, Delivery::Whole, "call {}", truth.number);
                assert_request(call, truth);
                requests_in_full.push(truth.number);
            }
        }
        let by_id: HashMap<_, _> = truth.values().map(|truth| (&truth.response_id, truth)).collect();
        let mut answers_in_full = Vec::new();
        for answer in answers {
            if answer.findings.completeness == Completeness::Full {
                let truth = by_id[answer.response.provider_request_id.as_ref().unwrap()];
                assert_eq!(truth.response, Delivery::Whole, "call {}", truth.number);
                assert_response(answer, truth);
                answers_in_full.push(truth.number);
            }
        }
        for call in truth.values() {
            let is_damaged = [call.request, call.response].iter().any(|half| *half != Delivery::Whole);
            damaged += usize::from(is_damaged);
            if !is_damaged && !call.after_loss {
                whole += 1;
                assert!(requests_in_full.contains(&call.number), "request {} is missing", call.number);
                assert!(answers_in_full.contains(&call.number), "answer {} is missing", call.number);
            }
        }
    }
    assert!(damaged > 50 && whole > 50, "{damaged} damaged, {whole} whole");
}
