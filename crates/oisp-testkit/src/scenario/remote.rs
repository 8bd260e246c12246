//! Scenarios whose server is the fake provider.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{FromRawFd, OwnedFd};
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::truth::{ObjectTruth, Role, Traced, Truth};
use super::{Options, ScenarioError, io_error};
use crate::http1::{MessageReader, encode_request};
use crate::openssl_client::Context;

pub(super) fn plain(options: &Options) -> Result<Truth, ScenarioError> {
    Ok(Truth::of([connection(options, &client_context(options)?, 0)?]))
}

pub(super) fn two_connections(options: &Options) -> Result<Truth, ScenarioError> {
    const PIECES: usize = 4;
    let context = client_context(options)?;
    let mut pair = [connect(options, &context)?, connect(options, &context)?];
    for call in 0..options.calls {
        let requests = [0, 1].map(|side| encode_request(&options.request(2 * call + side)));
        for piece in 0..PIECES {
            for (connection, request) in pair.iter_mut().zip(&requests) {
                let (from, to) = (piece * request.len() / PIECES, (piece + 1) * request.len() / PIECES);
                connection.send(&request[from..to])?;
            }
        }
        // The last to ask is the first to be read.
        for connection in pair.iter_mut().rev() {
            options.api.read_answer(&connection.response("POST")?)?;
        }
    }
    Ok(Truth::of(pair.map(|connection| connection.into_stream().close())))
}

pub(super) fn reuse(options: &Options, connections: usize) -> Result<Truth, ScenarioError> {
    let context = client_context(options)?;
    let objects: Vec<ObjectTruth> = (0..connections)
        .map(|number| connection(options, &context, number * options.calls))
        .collect::<Result<_, _>>()?;
    let reused = objects.windows(2).filter(|pair| pair[0].address == pair[1].address).count();
    if connections > 1 && reused == 0 {
        return Err(ScenarioError::NotShown("no SSL object was made at its predecessor's address"));
    }
    Ok(Truth::of(objects).note("made_at_the_predecessors_address", reused))
}

pub(super) fn parallel(options: &Options, connections: usize) -> Result<Truth, ScenarioError> {
    let context = client_context(options)?;
    // Connected first, so that the calls and not the handshakes coincide.
    let connected: Vec<_> = (0..connections).map(|_| connect(options, &context)).collect::<Result<_, _>>()?;
    let start = Barrier::new(connections);
    let objects = thread::scope(|scope| {
        let threads: Vec<_> = connected
            .into_iter()
            .enumerate()
            .map(|(number, connection)| {
                let start = &start;
                scope.spawn(move || {
                    start.wait();
                    calls(options, connection, number * options.calls)
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| {
                thread
                    .join()
                    .unwrap_or_else(|_| Err(ScenarioError::Elsewhere("a thread panicked".to_owned())))
            })
            .collect::<Result<Vec<_>, _>>()
    })?;
    Ok(Truth::of(objects))
}

pub(super) fn repeat(options: &Options, duration: Duration, pause: Duration) -> Result<Truth, ScenarioError> {
    let mut connection = connect(options, &client_context(options)?)?;
    let start = Instant::now();
    let mut made = 0;
    while start.elapsed() < duration {
        options.api.read_answer(&connection.exchange(&options.request(made))?)?;
        made += 1;
        thread::sleep(pause);
    }
    Ok(Truth::of([connection.into_stream().close()]).note("calls", made))
}

pub(super) fn fork(options: &Options) -> Result<Truth, ScenarioError> {
    let context = client_context(options)?;
    // Both sides of the fork allocate from the same state, hence at the same address.
    let before = connection(options, &context, 0)?;
    let (from_child, to_parent) = pipe()?;
    // SAFETY: the child calls only into OpenSSL and the allocator, which both handle fork, and leaves by _exit.
    let child = unsafe { libc::fork() };
    match child {
        -1 => Err(io_error("fork")(std::io::Error::last_os_error())),
        0 => {
            drop(from_child);
            let report = match connection(options, &context, options.calls) {
                Ok(object) => object.to_json().to_string(),
                Err(error) => error.to_string(),
            };
            let told = File::from(to_parent).write_all(report.as_bytes());
            // SAFETY: ends the child without the parent's exit handlers and destructors.
            unsafe { libc::_exit(i32::from(told.is_err())) }
        }
        _ => {
            drop(to_parent);
            let own = connection(options, &context, 2 * options.calls);
            let mut report = String::new();
            let read = File::from(from_child).read_to_string(&mut report);
            let mut status = 0;
            // SAFETY: the child is ours and waited for once.
            unsafe { libc::waitpid(child, &raw mut status, 0) };
            read.map_err(io_error("reading the child's report"))?;
            let own = own?;
            let in_child: Value = serde_json::from_str(&report)
                .map_err(|_| ScenarioError::Elsewhere(format!("the child failed: {report}")))?;
            let same = in_child["address"] == format!("{:#x}", own.address);
            let mut truth = Truth::of([before, own]).note("same_address", same);
            truth.elsewhere.push(in_child);
            Ok(truth)
        }
    }
}

fn client_context(options: &Options) -> Result<Context, ScenarioError> {
    Ok(options.library.client_context(&options.ca_file)?)
}

fn connect(options: &Options, context: &Context) -> Result<MessageReader<Traced>, ScenarioError> {
    let mut ssl = context.connect(&options.endpoint)?;
    ssl.set_call(options.call);
    Ok(MessageReader::new(Traced::new(ssl, Role::Client, options.keep)))
}

/// A whole connection; its requests are numbered from `first`.
fn connection(options: &Options, context: &Context, first: usize) -> Result<ObjectTruth, ScenarioError> {
    calls(options, connect(options, context)?, first)
}

fn calls(
    options: &Options,
    mut connection: MessageReader<Traced>,
    first: usize,
) -> Result<ObjectTruth, ScenarioError> {
    for number in first..first + options.calls {
        options.api.read_answer(&connection.exchange(&options.request(number))?)?;
    }
    Ok(connection.into_stream().close())
}

fn pipe() -> Result<(OwnedFd, OwnedFd), ScenarioError> {
    let mut ends = [0; 2];
    // SAFETY: `ends` has room for the two descriptors.
    if unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) } != 0 {
        return Err(io_error("pipe")(std::io::Error::last_os_error()));
    }
    // SAFETY: both descriptors were just made and belong to nobody else.
    Ok(unsafe { (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1])) })
}
