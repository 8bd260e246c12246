//! What the host answered, kept with a raw recording and given again when it is replayed.

use std::collections::{HashMap, VecDeque};
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

use oisp_capture::ProcessId;
use oisp_capture::raw::RawWriter;
use serde::{Deserialize, Serialize};

use crate::{ProcessFacts, ProcessLookup};

/// Answers that wait for their question. A replay is a queue of events ahead of whoever asks, and an event asks about a
/// process and its ancestors; a file could have any number.
const MAX_WAITING: usize = 65_536;
/// And what they take, roughly.
const MAX_WAITING_BYTES: usize = 64 << 20;

/// A question to the host and its answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LookupAnswer {
    /// [`ProcessLookup::process`].
    Process(ProcessId, Option<ProcessFacts>),
    /// [`ProcessLookup::user_name`].
    UserName(u32, Option<String>),
}

/// Asks the host, and writes every answer to a raw recording.
///
/// The writer is shared with whoever writes the events. It must not be locked while events are handled: handling asks.
pub struct RecordingLookup<L, W: Write> {
    host: L,
    writer: Arc<Mutex<RawWriter<W>>>,
}

impl<L: ProcessLookup, W: Write + Send> RecordingLookup<L, W> {
    /// Writes the answers of `host` to `writer`.
    pub fn new(host: L, writer: Arc<Mutex<RawWriter<W>>>) -> Self {
        Self { host, writer }
    }

    fn write(&self, answer: &LookupAnswer) {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        // A writer that failed refuses the next event too, and that is where it is told. An answer that is too long is
        // counted as missing by the replay.
        let _ = writer.answer(answer);
    }
}

impl<L: ProcessLookup, W: Write + Send> ProcessLookup for RecordingLookup<L, W> {
    fn process(&self, process: ProcessId) -> Option<ProcessFacts> {
        let answer = LookupAnswer::Process(process, self.host.process(process));
        self.write(&answer);
        match answer {
            LookupAnswer::Process(_, facts) => facts,
            LookupAnswer::UserName(..) => None,
        }
    }

    fn user_name(&self, uid: u32) -> Option<String> {
        let answer = LookupAnswer::UserName(uid, self.host.user_name(uid));
        self.write(&answer);
        match answer {
            LookupAnswer::UserName(_, name) => name,
            LookupAnswer::Process(..) => None,
        }
    }
}

/// Answers of a recording on their way from the replay to [`ReplayedLookup`]. Clones are the same.
#[derive(Clone, Default)]
pub struct ReplayedAnswers {
    shared: Arc<Mutex<Waiting>>,
}

/// How well the questions of a replay were those of the recording.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReplayedStatistics {
    /// Questions that got the recording's answer.
    pub answered: u64,
    /// Of these, questions that the recording asked in another order.
    pub out_of_order: u64,
    /// Questions that the recording did not ask: nothing is known, as if the process had been gone.
    pub unanswered: u64,
    /// Answers that there was no room for.
    pub dropped: u64,
}

/// A host that answers as it did when the recording was made.
pub struct ReplayedLookup {
    answers: ReplayedAnswers,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Question {
    Process(ProcessId),
    UserName(u32),
}

#[derive(Default)]
struct Waiting {
    /// In the order of the recording, each with its number in it.
    answers: HashMap<Question, VecDeque<(u64, LookupAnswer)>>,
    count: usize,
    bytes: usize,
    given: u64,
    expected: u64,
    statistics: ReplayedStatistics,
}

impl ReplayedAnswers {
    /// Takes an answer out of the recording.
    pub fn push(&self, answer: LookupAnswer) {
        let mut waiting = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        let number = waiting.given;
        waiting.given += 1;
        let bytes = size(&answer);
        if waiting.count >= MAX_WAITING || waiting.bytes + bytes > MAX_WAITING_BYTES {
            waiting.statistics.dropped += 1;
            return;
        }
        waiting.count += 1;
        waiting.bytes += bytes;
        waiting.answers.entry(answer.question()).or_default().push_back((number, answer));
    }

    /// How it went so far.
    #[must_use]
    pub fn statistics(&self) -> ReplayedStatistics {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner).statistics
    }

    /// For the correlator.
    #[must_use]
    pub fn lookup(&self) -> ReplayedLookup {
        ReplayedLookup { answers: self.clone() }
    }

    fn take(&self, question: Question) -> Option<LookupAnswer> {
        let mut guard = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = &mut *guard;
        let found = waiting.answers.get_mut(&question).and_then(VecDeque::pop_front);
        let Some((number, answer)) = found else {
            waiting.statistics.unanswered += 1;
            return None;
        };
        if waiting.answers.get(&question).is_some_and(VecDeque::is_empty) {
            waiting.answers.remove(&question);
        }
        waiting.count -= 1;
        waiting.bytes -= size(&answer);
        waiting.statistics.answered += 1;
        if number != waiting.expected {
            waiting.statistics.out_of_order += 1;
        }
        waiting.expected = number + 1;
        Some(answer)
    }
}

impl ProcessLookup for ReplayedLookup {
    fn process(&self, process: ProcessId) -> Option<ProcessFacts> {
        match self.answers.take(Question::Process(process))? {
            LookupAnswer::Process(_, facts) => facts,
            LookupAnswer::UserName(..) => None,
        }
    }

    fn user_name(&self, uid: u32) -> Option<String> {
        match self.answers.take(Question::UserName(uid))? {
            LookupAnswer::UserName(_, name) => name,
            LookupAnswer::Process(..) => None,
        }
    }
}

impl LookupAnswer {
    fn question(&self) -> Question {
        match self {
            Self::Process(process, _) => Question::Process(*process),
            Self::UserName(uid, _) => Question::UserName(*uid),
        }
    }
}

fn size(answer: &LookupAnswer) -> usize {
    let text = match answer {
        LookupAnswer::Process(_, Some(facts)) => {
            let path =
                |path: &Option<std::path::PathBuf>| path.as_ref().map_or(0, |path| path.as_os_str().len());
            path(&facts.executable)
                + path(&facts.working_directory)
                + facts.name.as_ref().map_or(0, String::len)
                + facts.arguments.iter().map(|argument| argument.len() + size_of::<String>()).sum::<usize>()
        }
        LookupAnswer::UserName(_, Some(name)) => name.len(),
        LookupAnswer::Process(_, None) | LookupAnswer::UserName(_, None) => 0,
    };
    size_of::<(u64, LookupAnswer)>() + text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::HostLookup;
    use oisp_capture::Nanos;
    use oisp_capture::raw::{RawHeader, RawReader, RawRecord};

    fn header() -> RawHeader {
        RawHeader {
            sensor_version: "0".to_owned(),
            host: serde_json::Value::Null,
            wall_minus_monotonic_ns: 0,
            started: Nanos(0),
            more: serde_json::Map::new(),
        }
    }

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("no panic").write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn replayed_host_answers_as_the_recorded_one_did() {
        let file = Shared::default();
        let writer = Arc::new(Mutex::new(RawWriter::new(file.clone(), &header()).expect("memory")));
        let lookup = RecordingLookup::new(HostLookup, Arc::clone(&writer));
        let own = ProcessId(std::process::id());
        let asked = (lookup.process(own), lookup.process(ProcessId(u32::MAX)), lookup.user_name(0));
        assert!(asked.0.is_some());
        writer.lock().expect("no panic").finish().expect("memory");
        let bytes = file.0.lock().expect("no panic").clone();
        let answers = ReplayedAnswers::default();
        for record in RawReader::<LookupAnswer, _>::new(&*bytes).expect("a recording") {
            match record.expect("whole") {
                RawRecord::Answer(answer) => answers.push(answer),
                RawRecord::Event(event) => panic!("nobody wrote {event:?}"),
            }
        }
        let lookup = answers.lookup();
        assert_eq!((lookup.process(own), lookup.process(ProcessId(u32::MAX)), lookup.user_name(0)), asked);
        assert_eq!(answers.statistics(), ReplayedStatistics { answered: 3, ..Default::default() });
    }

    #[test]
    fn a_question_that_was_not_recorded_or_came_in_another_order_is_counted() {
        let answers = ReplayedAnswers::default();
        for uid in 0..3 {
            answers.push(LookupAnswer::UserName(uid, Some(format!("user {uid}"))));
        }
        let lookup = answers.lookup();
        assert_eq!(lookup.user_name(1).as_deref(), Some("user 1"));
        assert_eq!(lookup.user_name(1), None);
        assert_eq!(lookup.process(ProcessId(1)), None);
        assert_eq!(lookup.user_name(2).as_deref(), Some("user 2"));
        let expected = ReplayedStatistics { answered: 2, out_of_order: 1, unanswered: 2, dropped: 0 };
        assert_eq!(answers.statistics(), expected);
    }

    #[test]
    fn answers_that_nobody_asks_for_are_bounded() {
        let answers = ReplayedAnswers::default();
        for _ in 0..MAX_WAITING + 5 {
            answers.push(LookupAnswer::UserName(1, None));
        }
        assert_eq!(answers.statistics().dropped, 5);
    }
}
