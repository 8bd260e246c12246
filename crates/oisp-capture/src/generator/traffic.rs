//! The connections and their calls, in the generator's time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::plan::{CallPlan, SYSTEM};
use super::processes::{Processes, Program};
use super::random::{Prose, Random};
use super::truth::{CallTruth, Delivery};
use super::{GeneratorConfig, GeneratorConfigError, GeneratorPace, http};
use crate::{
    CaptureError, CaptureEvent, CaptureSource, CloseCause, ConnectionClosed, ConnectionId, Content,
    Direction, Losses, MonotonicNanos, Nanos, Stop,
};

const SECOND: u64 = 1_000_000_000;
const MILLISECOND: u64 = 1_000_000;
/// A call that is due later than this, in 73 years, never comes; so times have room.
const HORIZON: u64 = 1 << 61;
/// Between two events that follow from each other.
const STEP: u64 = 500;
/// Losses are told at most so often, as the kernel's counters are read.
const LOSSES_EVERY: u64 = 100 * MILLISECOND;
/// Waiting is at least so long: what falls due in the meantime is delivered at once afterwards.
const SHORTEST_WAIT: Duration = Duration::from_millis(1);
/// Being further behind than this is not made up for.
const LONGEST_DELAY: Duration = Duration::from_millis(100);
/// Without waiting, the request to stop is looked for every so many steps.
const LOOK_FOR_STOP: u64 = 64;
/// Bytes of a streamed event around its text, roughly.
const EVENT_FRAME: u64 = 180;

/// Who takes what was said.
type TruthSink = Box<dyn FnMut(CallTruth) + Send>;
type Deliver<'d> = dyn FnMut(CaptureEvent) + 'd;

/// What a generator did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GeneratorStatistics {
    /// Calls that were begun.
    pub calls: u64,
    /// Connections that were opened.
    pub connections: u64,
    /// Bytes of content, delivered or lost.
    pub content_bytes: u64,
    /// Records with content that were delivered.
    pub records_delivered: u64,
    /// Records with content that were lost.
    pub records_lost: u64,
    /// Bytes of content that were lost.
    pub bytes_lost: u64,
    /// Time that was dropped because events could not be delivered when they were due.
    pub behind: Duration,
}

/// Makes traffic. See [the module](self).
pub struct Generator {
    config: GeneratorConfig,
    random: Random,
    losses: LossGenerator,
    processes: Processes,
    slots: Vec<Slot>,
    /// What each slot does next, the earliest first.
    agenda: BinaryHeap<Reverse<(u64, usize)>>,
    /// The time of the last event.
    now: u64,
    planned: u64,
    steps: u64,
    truth: Option<TruthSink>,
    statistics: GeneratorStatistics,
}

/// A place for a connection. It has one after the other.
#[derive(Default)]
struct Slot {
    connection: Option<Connection>,
    doing: Doing,
}

#[derive(Default)]
enum Doing {
    /// No call is left.
    #[default]
    Nothing,
    Waiting(CallPlan),
    Calling(Box<Call>),
}

struct Connection {
    id: ConnectionId,
    thread: u32,
    program: &'static Program,
    sent: u64,
    received: u64,
    calls_left: u64,
    lossy: bool,
}

/// A call whose request was sent.
struct Call {
    plan: CallPlan,
    /// What is left of a streamed answer's text, once it began.
    text: Option<Prose>,
    /// Between two streamed events.
    pause: u64,
    after_loss: bool,
    lost_of_request: u64,
    lost_of_response: u64,
}

struct LossGenerator {
    random: Random,
    share: f64,
    untold: Losses,
    told: u64,
}

impl Generator {
    /// A generator of what `config` asks for.
    ///
    /// # Errors
    /// When that is not possible.
    pub fn new(config: GeneratorConfig) -> Result<Self, GeneratorConfigError> {
        config.check()?;
        let mut generator = Self {
            random: Random::new(config.seed),
            losses: LossGenerator {
                random: Random::new(!config.seed),
                share: config.lost,
                untold: Losses::default(),
                told: 0,
            },
            processes: Processes::new(config.processes, config.connections_per_process),
            slots: std::iter::repeat_with(Slot::default).take(config.connections).collect(),
            agenda: BinaryHeap::with_capacity(config.connections),
            now: config.start.0,
            planned: 0,
            steps: 0,
            truth: None,
            statistics: GeneratorStatistics::default(),
            config,
        };
        for slot in 0..generator.slots.len() {
            generator.plan(slot);
        }
        Ok(generator)
    }

    /// Hands what was said to `sink`, each call when it is over.
    #[must_use]
    pub fn with_truth(mut self, sink: impl FnMut(CallTruth) + Send + 'static) -> Self {
        self.truth = Some(Box::new(sink));
        self
    }

    /// What was done so far.
    #[must_use]
    pub fn statistics(&self) -> GeneratorStatistics {
        self.statistics
    }

    /// Gives a slot its next call, if there is one.
    fn plan(&mut self, slot: usize) {
        self.slots[slot].doing = Doing::Nothing;
        if self.config.calls.is_some_and(|calls| self.planned >= calls) {
            return;
        }
        let rate = self.config.rate;
        let since_start = |seconds: f64| (seconds * SECOND as f64) as u64;
        let due = match (rate.calls_per_second, rate.content_bytes_per_second) {
            // People and programs take a while.
            (None, None) => (self.now - self.config.start.0) + self.random.below(SECOND),
            (calls, bytes) => {
                let by_calls = calls.map_or(0, |rate| since_start(self.planned as f64 / rate));
                let by_bytes =
                    bytes.map_or(0, |rate| since_start(self.statistics.content_bytes as f64 / rate));
                by_calls.max(by_bytes)
            }
        };
        let length = self.config.duration.map_or(u128::MAX, |duration| duration.as_nanos());
        if u128::from(due) >= length.min(u128::from(HORIZON)) {
            return;
        }
        let plan = CallPlan::draw(self.planned, &self.config, &mut self.random);
        self.planned += 1;
        self.slots[slot].doing = Doing::Waiting(plan);
        self.agenda.push(Reverse(((self.config.start.0 + due).max(self.now), slot)));
    }

    /// Does what a slot has to do now.
    fn step(&mut self, slot: usize, deliver: &mut Deliver<'_>) {
        let mut place = std::mem::take(&mut self.slots[slot]);
        match std::mem::take(&mut place.doing) {
            Doing::Nothing => {}
            Doing::Waiting(plan) => {
                let mut connection = match place.connection.take() {
                    Some(connection) => connection,
                    None => self.open(slot, deliver),
                };
                let (call, wait) = self.ask(plan, &mut connection, deliver);
                place.connection = Some(connection);
                place.doing = Doing::Calling(Box::new(call));
                self.agenda.push(Reverse((self.now + wait, slot)));
            }
            Doing::Calling(mut call) => {
                let Some(mut connection) = place.connection.take() else { return };
                let goes_on = self.answer(&mut call, &mut connection, deliver);
                if goes_on {
                    place.connection = Some(connection);
                    self.agenda.push(Reverse((self.now + call.pause, slot)));
                    place.doing = Doing::Calling(call);
                } else {
                    self.finish_call(&call, &connection, deliver);
                    connection.calls_left -= 1;
                    if connection.calls_left == 0 {
                        self.close(&connection, CloseCause::Released, deliver);
                    } else {
                        place.connection = Some(connection);
                    }
                    self.plan(slot);
                    place.doing = std::mem::take(&mut self.slots[slot].doing);
                    if matches!(place.doing, Doing::Nothing)
                        && let Some(connection) = place.connection.take()
                    {
                        self.close(&connection, CloseCause::Released, deliver);
                    }
                }
            }
        }
        self.slots[slot] = place;
        if self.now >= self.losses.told + LOSSES_EVERY {
            self.tell_losses(deliver);
        }
    }

    fn open(&mut self, slot: usize, deliver: &mut Deliver<'_>) -> Connection {
        let time = self.tick();
        let mut events = Vec::new();
        let (process, program) = self.processes.opened(slot, time, &mut events);
        self.deliver_all(events, deliver);
        self.statistics.connections += 1;
        // An allocator gives the same address again; the time of birth tells them apart.
        let object = 0x5581_0000_0000 + 0x1c40 * slot as u64;
        Connection {
            id: ConnectionId { process, object, born: self.tick() },
            thread: process.0 + (slot % 4) as u32,
            program,
            sent: 0,
            received: 0,
            calls_left: self.random.size(self.config.calls_per_connection),
            lossy: false,
        }
    }

    /// Sends a request; gives the call and how long its answer takes to begin.
    fn ask(&mut self, plan: CallPlan, connection: &mut Connection, deliver: &mut Deliver<'_>) -> (Call, u64) {
        self.statistics.calls += 1;
        let after_loss = connection.lossy;
        let (head, body) = http::request(&plan, connection.program.user_agent);
        let lost = if connection.program.head_apart {
            self.transfer(connection, Direction::Sent, head, deliver)
                + self.transfer(connection, Direction::Sent, body, deliver)
        } else {
            self.transfer(connection, Direction::Sent, head + &body, deliver)
        };
        let mut wait = self.random.between(150 * MILLISECOND, 900 * MILLISECOND);
        let mut pause = self.random.between(5 * MILLISECOND, 40 * MILLISECOND);
        let chunks = if plan.streamed { plan.answer_bytes / self.config.chunk_bytes.median + 2 } else { 0 };
        if let Some(most) = self.longest_call(&plan, chunks) {
            let natural = (wait + pause.saturating_mul(chunks)) as f64;
            let factor = (most / natural).min(1.0);
            wait = (wait as f64 * factor) as u64;
            pause = (pause as f64 * factor) as u64;
        }
        let call = Call { plan, text: None, pause, after_loss, lost_of_request: lost, lost_of_response: 0 };
        (call, wait)
    }

    /// How long a call may take so that the connections keep the rate: half of what they have, for safety.
    fn longest_call(&self, plan: &CallPlan, chunks: u64) -> Option<f64> {
        let rate = self.config.rate;
        let by_calls = rate.calls_per_second.map(|rate| 1.0 / rate);
        let bytes = plan.answer_bytes + self.config.prompt_bytes.median + chunks * EVENT_FRAME;
        let by_bytes = rate.content_bytes_per_second.map(|rate| bytes as f64 / rate);
        let spacing = match (by_calls, by_bytes) {
            (Some(one), Some(other)) => one.max(other),
            (one, other) => one.or(other)?,
        };
        Some(0.5 * SECOND as f64 * spacing * self.config.connections as f64)
    }

    /// Receives the next piece of an answer; says whether there is more.
    fn answer(&mut self, call: &mut Call, connection: &mut Connection, deliver: &mut Deliver<'_>) -> bool {
        let mut receive = |generator: &mut Self, call: &mut Call, piece: String| {
            call.lost_of_response += generator.transfer(connection, Direction::Received, piece, deliver);
        };
        if !call.plan.streamed {
            receive(self, call, http::whole_answer(&call.plan));
            return false;
        }
        let Some(mut text) = call.text.take() else {
            for piece in http::stream_begin(&call.plan) {
                receive(self, call, piece);
            }
            call.text = Some(call.plan.answer());
            return true;
        };
        if text.is_over() {
            for piece in http::stream_end(&call.plan) {
                receive(self, call, piece);
            }
            return false;
        }
        let piece = text.piece(self.random.size(self.config.chunk_bytes));
        receive(self, call, http::stream_text(&call.plan, &piece));
        call.text = Some(text);
        true
    }

    /// Delivers or loses bytes, in records; gives how many were lost.
    fn transfer(
        &mut self,
        connection: &mut Connection,
        direction: Direction,
        bytes: String,
        deliver: &mut Deliver<'_>,
    ) -> u64 {
        self.statistics.content_bytes += bytes.len() as u64;
        let mut lost = 0;
        for record in bytes.as_bytes().chunks(self.config.record_bytes) {
            // Memory of its own, as a record from the kernel has: a part of the message would keep all of it.
            let record = Bytes::copy_from_slice(record);
            let length = record.len() as u64;
            let time = self.tick();
            let (offset, function) = match direction {
                Direction::Sent => (&mut connection.sent, connection.program.sends_with),
                Direction::Received => (&mut connection.received, connection.program.receives_with),
            };
            let content = Content {
                connection: connection.id,
                thread: connection.thread,
                direction,
                offset: *offset,
                bytes: record,
                time,
                function,
            };
            *offset += length;
            if self.losses.random.chance(self.losses.share) {
                self.losses.untold.ring_full_records += 1;
                self.losses.untold.ring_full_bytes += length;
                self.statistics.records_lost += 1;
                lost += length;
            } else {
                self.statistics.records_delivered += 1;
                deliver(CaptureEvent::Content(content));
            }
        }
        self.statistics.bytes_lost += lost;
        connection.lossy |= lost > 0;
        lost
    }

    fn finish_call(&mut self, call: &Call, connection: &Connection, deliver: &mut Deliver<'_>) {
        self.tell_truth(
            &call.plan,
            connection.id,
            call.after_loss,
            [delivery(call.lost_of_request), delivery(call.lost_of_response)],
        );
        if call.plan.tool_calls > 0 {
            let time = self.tick();
            let mut events = Vec::new();
            self.processes.run_tool(connection.id.process, time, &mut events);
            self.deliver_all(events, deliver);
        }
    }

    fn tell_truth(
        &mut self,
        plan: &CallPlan,
        connection: ConnectionId,
        after_loss: bool,
        [request, response]: [Delivery; 2],
    ) {
        let Some(sink) = &mut self.truth else { return };
        sink(CallTruth {
            number: plan.number,
            connection,
            service: plan.service,
            model: plan.model,
            streamed: plan.streamed,
            system: SYSTEM,
            prompt: plan.prompt(),
            answer: plan.answer().piece(u64::MAX),
            tool_calls: plan.tools(),
            response_id: plan.response_id(),
            finish_reason: plan.finish_reason(),
            input_tokens: plan.input_tokens(),
            output_tokens: plan.output_tokens(),
            request,
            response,
            after_loss,
        });
    }

    fn close(&mut self, connection: &Connection, cause: CloseCause, deliver: &mut Deliver<'_>) {
        let time = self.tick();
        deliver(CaptureEvent::ConnectionClosed(ConnectionClosed {
            connection: connection.id,
            sent_end: connection.sent,
            received_end: connection.received,
            time,
            cause,
        }));
        if cause == CloseCause::Released {
            let mut events = Vec::new();
            self.processes.closed(connection.id.process, time, &mut events);
            self.deliver_all(events, deliver);
        }
    }

    /// Ends what is open, because the source was stopped.
    fn cut_short(&mut self, deliver: &mut Deliver<'_>) {
        for mut slot in std::mem::take(&mut self.slots) {
            let Some(connection) = slot.connection.take() else { continue };
            if let Doing::Calling(call) = slot.doing {
                let ends = [delivery(call.lost_of_request), Delivery::CutShort];
                self.tell_truth(&call.plan, connection.id, call.after_loss, ends);
            }
            self.close(&connection, CloseCause::RecordingEnded, deliver);
        }
        self.agenda.clear();
    }

    fn tell_losses(&mut self, deliver: &mut Deliver<'_>) {
        self.losses.told = self.now;
        let losses = std::mem::take(&mut self.losses.untold);
        if !losses.is_none() {
            deliver(CaptureEvent::Losses(losses));
        }
    }

    fn deliver_all(&mut self, events: Vec<CaptureEvent>, deliver: &mut Deliver<'_>) {
        events.into_iter().for_each(deliver);
    }

    /// The next event's time.
    fn tick(&mut self) -> MonotonicNanos {
        self.now += STEP;
        Nanos(self.now)
    }
}

impl CaptureSource for Generator {
    fn run(&mut self, stop: &Stop, deliver: &mut dyn FnMut(CaptureEvent)) -> Result<(), CaptureError> {
        let mut begun = None;
        while let Some(Reverse((due, slot))) = self.agenda.pop() {
            let stopped = match self.config.pace {
                GeneratorPace::Unpaced => self.looks_stopped(stop),
                GeneratorPace::RealTime => {
                    let begun = begun.get_or_insert_with(Instant::now);
                    self.wait(begun, due, stop)?
                }
            };
            if stopped {
                self.cut_short(deliver);
                self.tell_losses(deliver);
                return Ok(());
            }
            self.now = self.now.max(due);
            self.step(slot, deliver);
        }
        let time = self.tick();
        let mut events = Vec::new();
        self.processes.finish(time, &mut events);
        self.deliver_all(events, deliver);
        self.tell_losses(deliver);
        Ok(())
    }
}

impl Generator {
    /// Waits until it is time; says whether the source was asked to stop.
    fn wait(&mut self, begun: &mut Instant, due: u64, stop: &Stop) -> Result<bool, CaptureError> {
        let after = Duration::from_nanos(due.saturating_sub(self.config.start.0));
        let now = Instant::now();
        let at = *begun + after;
        if at > now {
            return stop.wait_until(at.max(now + SHORTEST_WAIT));
        }
        let delay = now - at;
        if delay > LONGEST_DELAY {
            *begun += delay;
            self.statistics.behind += delay;
        }
        Ok(self.looks_stopped(stop))
    }

    fn looks_stopped(&mut self, stop: &Stop) -> bool {
        self.steps += 1;
        self.steps.is_multiple_of(LOOK_FOR_STOP) && stop.is_requested()
    }
}

fn delivery(lost_bytes: u64) -> Delivery {
    if lost_bytes == 0 { Delivery::Whole } else { Delivery::Lossy { lost_bytes } }
}
