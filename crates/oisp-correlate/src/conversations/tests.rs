use super::*;
use oisp_ai::{Detection, Findings};
use oisp_capture::Nanos;
use oisp_decode::ExchangeId;
use oisp_event::{DetectionMethod, EventIdGenerator, Level, Timestamp};
use serde_json::json;

const PROCESS: ProcessId = ProcessId(7);
const SECOND: u64 = 1_000_000_000;

/// Requests of one process, a second apart.
struct Talk {
    conversations: Conversations,
    ids: EventIdGenerator,
    now: u64,
}

impl Talk {
    fn new() -> Self {
        Self { conversations: Conversations::default(), ids: EventIdGenerator::with_seed(1), now: 0 }
    }

    /// Messages as `s:prompt`, `u:text`, `a:text`, `t:text`.
    fn ask_with(&mut self, messages: &[&str], extension: Value, process: ProcessId) -> Option<String> {
        self.now += SECOND;
        let messages = messages.iter().map(|message| {
            let (role, text) = message.split_once(':').expect("a role");
            let role = match role {
                "s" => Role::System,
                "u" => Role::User,
                "a" => Role::Assistant,
                _ => Role::Tool,
            };
            Message::text(role, text)
        });
        let call = AiCall {
            exchange: ExchangeId(1),
            request: AiRequest { messages: messages.collect(), ..AiRequest::default() },
            detection: Detection {
                provider_id: "openai".to_owned(),
                method: DetectionMethod::KnownEndpoint,
                confidence: Level::High,
            },
            started: Nanos(self.now),
            completed: Nanos(self.now),
            findings: Findings::default(),
            extension: extension.as_object().cloned().expect("an object"),
        };
        let event_id = self.ids.next(Timestamp::from_unix_nanoseconds(0));
        self.conversations.of_request(process, &call, &event_id)
    }

    fn ask(&mut self, messages: &[&str]) -> String {
        self.ask_with(messages, json!({}), PROCESS).expect("a conversation")
    }

    fn answer(&mut self, conversation: &str, failed: bool, extension: Value) {
        self.now += SECOND;
        let extension = extension.as_object().cloned().expect("an object");
        self.conversations.answered(PROCESS, conversation, Nanos(self.now), failed, &extension);
    }
}

#[test]
fn growing_history_stays_one_conversation_and_concurrent_ones_stay_apart() {
    let mut talk = Talk::new();
    let first = talk.ask(&["s:be kind", "u:one"]);
    let second = talk.ask(&["s:be kind", "u:two"]);
    assert_ne!(first, second);
    assert_eq!(talk.ask(&["s:be kind", "u:two", "a:yes", "t:gave"]), second);
    assert_eq!(talk.ask(&["s:be kind", "u:one", "a:no", "u:why"]), first);
    assert_eq!(talk.ask(&["s:be kind", "u:one", "a:no", "u:why", "a:so", "u:ah"]), first);
    assert_ne!(talk.ask(&["s:be kind", "u:a summary of all", "u:go on"]), first, "compacted");
}

#[test]
fn another_prompt_process_or_a_long_pause_begin_a_conversation() {
    let mut talk = Talk::new();
    let first = talk.ask(&["s:be kind", "u:one"]);
    assert_ne!(talk.ask(&["s:be rude", "u:one", "a:no", "u:why"]), first);
    let other = talk.ask_with(&["s:be kind", "u:one", "a:no", "u:why"], json!({}), ProcessId(8));
    assert_ne!(other.as_deref(), Some(first.as_str()));
    talk.now += LONGEST_PAUSE;
    assert_ne!(talk.ask(&["s:be kind", "u:one", "a:no", "u:why"]), first);
}

#[test]
fn same_call_once_more_is_another_conversation_unless_the_first_failed() {
    let mut talk = Talk::new();
    let first = talk.ask(&["u:one"]);
    let parallel = talk.ask(&["u:one"]);
    assert_ne!(parallel, first);
    talk.answer(&parallel, false, json!({}));
    let repeated = talk.ask(&["u:one"]);
    assert_ne!(repeated, parallel);
    talk.answer(&repeated, true, json!({}));
    assert_eq!(talk.ask(&["u:one"]), repeated, "a retry");
}

#[test]
fn request_that_names_an_answer_continues_its_conversation() {
    let mut talk = Talk::new();
    let first = talk.ask(&["s:be kind", "u:one"]);
    talk.answer(&first, false, json!({ "response_id": "resp_1" }));
    let named = json!({ "previous_response_id": "resp_1" });
    assert_eq!(talk.ask_with(&["u:why"], named.clone(), PROCESS).as_deref(), Some(first.as_str()));
    let other = talk.ask_with(&["s:be rude", "u:why"], named, PROCESS);
    assert_ne!(other.as_deref(), Some(first.as_str()));

    // The provider's own conversation, which no request before has named.
    let named = json!({ "conversation_id": "conv_x" });
    let begun = talk.ask_with(&["u:a"], named.clone(), PROCESS);
    assert_eq!(talk.ask_with(&["u:b"], named, PROCESS), begun);
}

#[test]
fn agents_that_share_a_session_stay_apart_by_their_prompts() {
    let mut talk = Talk::new();
    let mut ask =
        |messages: &[&str]| talk.ask_with(messages, json!({ "conversation_id": "session" }), PROCESS);
    let main = ask(&["s:main", "u:do it"]);
    let helper = ask(&["s:helper", "u:look it up"]);
    assert_ne!(main, helper);
    assert_eq!(ask(&["s:main", "u:do it", "a:ok", "t:found"]), main);
    assert_eq!(ask(&["s:helper", "u:look it up", "a:what", "u:that"]), helper);
}

#[test]
fn call_without_messages_has_no_conversation() {
    assert_eq!(Talk::new().ask_with(&[], json!({}), PROCESS), None);
}

#[test]
fn what_is_remembered_is_bounded_and_goes_with_the_process() {
    let mut talk = Talk::new();
    for number in 0..MAX_CONVERSATIONS + 9 {
        let id = talk.ask(&[&format!("u:{number}")]);
        talk.answer(&id, false, json!({ "response_id": format!("resp_{number}") }));
    }
    let Conversations { open, order, by_messages, by_name, .. } = &talk.conversations;
    assert_eq!(
        [open.len(), order.len(), by_messages.len(), by_name.len()],
        [MAX_CONVERSATIONS; 4],
        "of each as many as conversations"
    );
    let id = talk.ask(&["u:named"]);
    for number in 0..MAX_NAMES + 9 {
        talk.answer(&id, false, json!({ "response_id": format!("of_one_{number}") }));
    }
    assert_eq!(talk.conversations.by_name.len(), MAX_CONVERSATIONS - 1 + MAX_NAMES);
    talk.conversations.process_exited(PROCESS);
    let Conversations { open, order, by_messages, by_name, .. } = &talk.conversations;
    assert_eq!([open.len(), order.len(), by_messages.len(), by_name.len()], [0; 4]);
}
