//! The sensor's side: one thread that waits for no client.

use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use serde_json::json;

use crate::claim::{Claim, ClaimError};
use crate::directory::SensorName;
use crate::peer::{self, Peer};
use crate::protocol::{Command, ErrorCode, MAX_REQUEST, Refusal, answer_line, parse_request};
use crate::status::{ReloadReport, Status};

/// Clients at once: a few people and their scripts. Each may hold a request and an answer, so the limit is also one on
/// memory.
const MAX_CLIENTS: usize = 8;
/// For a request to arrive, and for its answer to be read.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long new clients wait when the process has no descriptor left for one.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// What a [`Server`] asks and tells. Called in the server's thread: while a call lasts no client is answered.
pub trait Controlled: Send + Sync {
    /// What the sensor does now. Every text in it is redacted.
    fn status(&self) -> Status;
    /// Begin to end the recording; returns at once.
    fn stop(&self);
    /// Read the configuration again. Every text of the report is redacted.
    fn reload(&self) -> ReloadReport;
}

/// Why a server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The name cannot be had.
    #[error(transparent)]
    Claim(#[from] ClaimError),
    /// The system has no thread or descriptor for it.
    #[error("the control interface cannot start: {0}")]
    System(#[from] io::Error),
}

/// Answers on the socket until it is dropped; then the socket is gone.
#[derive(Debug)]
pub struct Server {
    path: PathBuf,
    wake: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Takes the name in the directory, which is made if need be (with mode 0700), and answers from then on.
    ///
    /// # Errors
    /// Another sensor has the name, or the socket cannot be made there.
    pub fn start(
        directory: &Path,
        name: &SensorName,
        controlled: Arc<dyn Controlled>,
    ) -> Result<Self, ServerError> {
        Self::start_with(directory, name, controlled, PATIENCE)
    }

    /// Answers under a name that is held already.
    ///
    /// # Errors
    /// The socket cannot be made.
    pub fn start_claimed(claim: Claim, controlled: Arc<dyn Controlled>) -> Result<Self, ServerError> {
        Self::answer(claim, controlled, PATIENCE)
    }

    fn start_with(
        directory: &Path,
        name: &SensorName,
        controlled: Arc<dyn Controlled>,
        patience: Duration,
    ) -> Result<Self, ServerError> {
        Self::answer(Claim::take(directory, name)?, controlled, patience)
    }

    fn answer(
        claim: Claim,
        controlled: Arc<dyn Controlled>,
        patience: Duration,
    ) -> Result<Self, ServerError> {
        let listener = claim.listen()?;
        let path = claim.socket();
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(io::Error::from)?;
        let wake = Arc::new(wake);
        let stop = Arc::clone(&wake);
        let owner = rustix::process::geteuid().as_raw();
        let thread = thread::Builder::new().name("control".to_owned()).spawn(move || {
            let mut loop_ = Loop {
                listener,
                clients: Vec::new(),
                controlled,
                owner,
                patience,
                accept_after: Instant::now(),
            };
            loop_.serve(&stop);
            drop(loop_);
            // The listener is closed before the socket goes, the lock after it.
            drop(claim);
        })?;
        Ok(Self { path, wake, thread: Some(thread) })
    }

    /// The socket.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The counter of an eventfd can only be full after 2^64 writes.
        let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
        if let Some(thread) = self.thread.take()
            // Dropped by what it controls: the thread ends after this call.
            && thread.thread().id() != thread::current().id()
        {
            // A panic of that thread has been printed; there is nothing to hand on.
            let _ = thread.join();
        }
    }
}

struct Loop {
    listener: UnixListener,
    clients: Vec<Client>,
    controlled: Arc<dyn Controlled>,
    owner: u32,
    patience: Duration,
    accept_after: Instant,
}

impl Loop {
    fn serve(&mut self, stop: &OwnedFd) {
        loop {
            let now = Instant::now();
            let accepting = now >= self.accept_after;
            let mut waiting = vec![PollFd::new(stop, PollFlags::IN)];
            waiting.extend(self.clients.iter().map(|client| PollFd::new(&client.stream, client.interest())));
            if accepting {
                waiting.push(PollFd::new(&self.listener, PollFlags::IN));
            }
            let timeout = self.timeout(now, accepting);
            match poll(&mut waiting, timeout.as_ref()) {
                Ok(_) => {}
                Err(rustix::io::Errno::INTR) => continue,
                Err(_) => {
                    // The kernel has no memory for it just now (poll(2)); asking at once again would not help it.
                    thread::sleep(Duration::from_millis(100));
                    continue;
                }
            }
            let ready: Vec<bool> = waiting.iter().map(|fd| !fd.revents().is_empty()).collect();
            drop(waiting);
            if ready[0] {
                return;
            }
            let now = Instant::now();
            let mut ready_clients = ready[1..].iter();
            let (controlled, patience) = (&*self.controlled, self.patience);
            self.clients.retain_mut(|client| {
                let ready = ready_clients.next().copied().unwrap_or(false);
                if ready || client.has_request() {
                    return client.advance(controlled, now, patience);
                }
                if now < client.deadline {
                    return true;
                }
                client.refuse_and_leave(ErrorCode::TooSlow, "no whole request came in time");
                false
            });
            if accepting && ready.last() == Some(&true) {
                self.accept(now);
            }
        }
    }

    /// Until the next thing that is due without anybody sending something.
    fn timeout(&self, now: Instant, accepting: bool) -> Option<Timespec> {
        if self.clients.iter().any(Client::has_request) {
            return Some(Timespec::default());
        }
        let due = self.clients.iter().map(|client| client.deadline);
        let due = due.chain((!accepting).then_some(self.accept_after)).min()?;
        // A millisecond more, so that it is due when poll returns.
        let wait = due.saturating_duration_since(now) + Duration::from_millis(1);
        Timespec::try_from(wait).ok()
    }

    fn accept(&mut self, now: Instant) {
        // As many as may be connected, so that a flood of them leaves room for the others.
        for _ in 0..MAX_CLIENTS {
            let stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::WouldBlock
                            | io::ErrorKind::Interrupted
                            | io::ErrorKind::ConnectionAborted
                    ) =>
                {
                    return;
                }
                Err(_) => {
                    // No descriptor is left (accept(2)), and the listener stays ready: not in a busy loop.
                    self.accept_after = now + ACCEPT_PAUSE;
                    return;
                }
            };
            let Ok(peer) = Peer::of(&stream) else { continue };
            if stream.set_nonblocking(true).is_err() {
                continue;
            }
            let mut client = Client::new(stream, now + self.patience);
            if !peer.may_control(self.owner) {
                let text = format!(
                    "this sensor belongs to {}; {} may not control it",
                    peer::user(self.owner),
                    peer::user(peer.uid)
                );
                client.refuse_and_leave(ErrorCode::NotPermitted, &text);
            } else if self.clients.len() >= MAX_CLIENTS {
                client.refuse_and_leave(ErrorCode::Busy, "too many clients at once; try again");
            } else {
                self.clients.push(client);
            }
        }
    }
}

struct Client {
    stream: UnixStream,
    /// What was read and not yet handled: at most [`MAX_REQUEST`] and one piece.
    input: Vec<u8>,
    /// Bytes of `input` that were searched for a newline already.
    searched: usize,
    /// Where the newline of the first request in `input` is.
    newline: Option<usize>,
    /// The answer, until it is written: no further request is read before.
    output: Vec<u8>,
    written: usize,
    deadline: Instant,
    /// Nothing more comes.
    ended: bool,
    /// Closed when the answer is written.
    closing: bool,
}

impl Client {
    fn new(stream: UnixStream, deadline: Instant) -> Self {
        Self {
            stream,
            input: Vec::new(),
            searched: 0,
            newline: None,
            output: Vec::new(),
            written: 0,
            deadline,
            ended: false,
            closing: false,
        }
    }

    fn interest(&self) -> PollFlags {
        if self.output.is_empty() { PollFlags::IN } else { PollFlags::OUT }
    }

    /// A request can be handled without waiting for the client.
    fn has_request(&self) -> bool {
        self.output.is_empty() && self.newline.is_some()
    }

    /// Does what can be done without waiting, and one request at most; `false` when the connection is over.
    fn advance(&mut self, controlled: &dyn Controlled, now: Instant, patience: Duration) -> bool {
        if !self.flush() {
            return false;
        }
        if !self.output.is_empty() {
            return now < self.deadline;
        }
        if self.newline.is_none() && !self.ended && !self.read() {
            return false;
        }
        if let Some(newline) = self.newline.take() {
            let answer = handle(&self.input[..newline], controlled);
            self.input.drain(..=newline);
            self.searched = 0;
            self.search();
            self.output = answer;
            self.deadline = now + patience;
        } else if self.input.len() >= MAX_REQUEST {
            let text = format!("a request has at most {MAX_REQUEST} bytes");
            self.refuse_and_leave(ErrorCode::TooLong, &text);
            return false;
        } else if self.ended {
            if !self.input.is_empty() {
                self.refuse_and_leave(ErrorCode::BadRequest, "the request ended without a newline");
            }
            return false;
        } else if now >= self.deadline {
            self.refuse_and_leave(ErrorCode::TooSlow, "no whole request came in time");
            return false;
        }
        self.flush()
    }

    /// Reads one piece; `false` when the connection broke.
    fn read(&mut self) -> bool {
        let mut piece = [0; 8 << 10];
        match self.stream.read(&mut piece) {
            Ok(0) => self.ended = true,
            Ok(length) => {
                self.input.extend_from_slice(&piece[..length]);
                self.search();
            }
            Err(error) => {
                return matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted);
            }
        }
        true
    }

    /// Each byte is looked at once.
    fn search(&mut self) {
        let found = self.input[self.searched..].iter().position(|byte| *byte == b'\n');
        self.newline = found.map(|offset| self.searched + offset).filter(|end| *end < MAX_REQUEST);
        self.searched = self.input.len();
    }

    /// Writes what the client takes; `false` when the connection is over.
    fn flush(&mut self) -> bool {
        while self.written < self.output.len() {
            match self.stream.write(&self.output[self.written..]) {
                Ok(0) => return false,
                Ok(length) => self.written += length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
        self.output = Vec::new();
        self.written = 0;
        !self.closing
    }

    /// For a connection that is closed right after: whoever does not take the few bytes does not get them.
    fn refuse_and_leave(&mut self, code: ErrorCode, text: &str) {
        if self.output.is_empty() {
            self.output = answer_line::<()>(Err(Refusal::new(code, text)));
            self.closing = true;
            let _ = self.flush();
        }
    }
}

fn handle(line: &[u8], controlled: &dyn Controlled) -> Vec<u8> {
    let command = match parse_request(line) {
        Ok(command) => command,
        Err(refusal) => return answer_line::<()>(Err(refusal)),
    };
    // A fault in what is asked must not take the control interface with it.
    let answer = catch_unwind(AssertUnwindSafe(|| match command {
        Command::Status => {
            let mut status = controlled.status();
            status.bound();
            answer_line(Ok(status))
        }
        Command::Stop => {
            controlled.stop();
            answer_line(Ok(json!({ "stopping": true })))
        }
        Command::Reload => {
            let mut report = controlled.reload();
            report.bound();
            answer_line(Ok(report))
        }
    }));
    answer.unwrap_or_else(|_| {
        answer_line::<()>(Err(Refusal::new(
            ErrorCode::Internal,
            "the sensor panicked while it answered; its log says where",
        )))
    })
}

#[cfg(test)]
mod tests;
