//! Scenarios whose server is another `SSL` object of the same process.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use super::truth::{ObjectTruth, Role, Traced, Truth};
use super::{Options, ScenarioError, io_error};
use crate::certificates::{CertificateFiles, Certificates};
use crate::http1::{BodyFraming, HttpError, MessageReader, RequestHead, encode_request};
use crate::openssl_client::{Context, OpenSslError, Ssl};
use crate::provider::answer_bytes;

const HOST: &str = "localhost";
/// Small against any request that is to show back-pressure.
const SOCKET_BUFFER: libc::c_int = 16 * 1024;

pub(super) fn memory_bio(options: &Options) -> Result<Truth, ScenarioError> {
    let (client_context, server_context) = contexts(options)?;
    let mut client = client_context.memory_client(HOST)?;
    let mut server = server_context.memory_server()?;
    client.set_call(options.call);
    server.set_call(options.call);
    loop {
        let client_done = handshake_step(&mut client)?;
        server.feed(&client.drain())?;
        let server_done = handshake_step(&mut server)?;
        client.feed(&server.drain())?;
        if client_done && server_done {
            break;
        }
    }
    let mut client = Traced::new(client, Role::Client, options.keep);
    let mut server = Traced::new(server, Role::Server, options.keep);
    for number in 0..options.calls {
        let request = encode_request(&options.request(number));
        let received = carry(&request, &mut client, &mut server)?;
        let response = carry(&answer_bytes(&received)?, &mut server, &mut client)?;
        options.api.read_answer(&MessageReader::new(&response[..]).response("POST")?)?;
    }
    Ok(Truth::of([client.close(), server.close()]))
}

pub(super) fn want_write(options: &Options, partial: bool) -> Result<Truth, ScenarioError> {
    let (mut client_context, server_context) = contexts(options)?;
    if partial {
        client_context.enable_partial_writes();
    }
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(io_error("listening"))?;
    shrink(&listener, libc::SO_RCVBUF)?;
    let address = listener.local_addr().map_err(io_error("listening"))?;
    let (begin_to_read, told_to_read) = channel();

    // Before the server's thread exists: it would wait for a connection that failed.
    let stream = TcpStream::connect(address).map_err(io_error("connecting"))?;

    thread::scope(|scope| {
        let server = scope.spawn(move || serve_late(options, &server_context, &listener, &told_to_read));
        let client = calls_against_a_slow_reader(options, &client_context, stream, &begin_to_read);
        // A client that failed leaves the server nothing to wait for.
        drop(begin_to_read);
        let server =
            server.join().unwrap_or_else(|_| Err(ScenarioError::Elsewhere("the server panicked".to_owned())));
        let (client, retries) = client?;
        Ok(Truth::of([client, server?]).note("write_retries", retries))
    })
}

/// Makes the calls on a non-blocking socket. The server is told to read when a write is stuck for the first
/// time. Returns the number of retried writes too.
fn calls_against_a_slow_reader(
    options: &Options,
    context: &Context,
    stream: TcpStream,
    begin_to_read: &Sender<()>,
) -> Result<(ObjectTruth, u64), ScenarioError> {
    shrink(&stream, libc::SO_SNDBUF)?;
    let mut ssl = context.client(stream, HOST)?;
    ssl.handshake()?;
    ssl.set_call(options.call);
    if let Some(socket) = ssl.socket() {
        socket.set_nonblocking(true).map_err(io_error("making the socket non-blocking"))?;
    }
    let traced = Traced::new(ssl, Role::Client, options.keep);
    let mut client = Patient { traced, write_retries: 0, begin_to_read };
    for number in 0..options.calls {
        client.write_all(&encode_request(&options.request(number))).map_err(HttpError::from)?;
        if client.write_retries == 0 {
            return Err(ScenarioError::NotShown("no write had to be retried; ask for more bytes"));
        }
        options.api.read_answer(&MessageReader::new(&mut client).response("POST")?)?;
    }
    Ok((client.traced.close(), client.write_retries))
}

/// Both sides' contexts, with a certificate made for them.
fn contexts(options: &Options) -> Result<(Context, Context), ScenarioError> {
    let CertificateFiles { ca, server, server_key } = Certificates::generate(&[])?
        .write_to(&options.folder.join("in-process"))
        .map_err(io_error("writing certificates"))?;
    Ok((options.library.client_context(&ca)?, options.library.server_context(&server, &server_key)?))
}

fn handshake_step(ssl: &mut Ssl) -> Result<bool, ScenarioError> {
    match ssl.handshake() {
        Ok(()) => Ok(true),
        Err(OpenSslError::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Writes in one call on one side and reads all of it on the other.
fn carry(bytes: &[u8], from: &mut Traced, to: &mut Traced) -> Result<Vec<u8>, ScenarioError> {
    from.write_all(bytes).map_err(HttpError::from)?;
    to.ssl.feed(&from.ssl.drain())?;
    let mut received = Vec::with_capacity(bytes.len());
    let mut buffer = vec![0_u8; 32 * 1024];
    loop {
        match to.read(&mut buffer) {
            Ok(length) if length > 0 => received.extend_from_slice(&buffer[..length]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(received),
            Ok(_) => return Err(HttpError::Truncated { part: "message" }.into()),
            Err(error) => return Err(HttpError::from(error).into()),
        }
    }
}

/// Accepts, and reads nothing before it is told to.
fn serve_late(
    options: &Options,
    context: &Context,
    listener: &TcpListener,
    told_to_read: &Receiver<()>,
) -> Result<ObjectTruth, ScenarioError> {
    let (stream, _) = listener.accept().map_err(io_error("accepting"))?;
    let mut ssl = context.server(stream)?;
    ssl.set_call(options.call);
    ssl.handshake()?;
    let mut connection = MessageReader::new(Traced::new(ssl, Role::Server, options.keep));
    // An error means that the client failed; reading then ends at once.
    let _told = told_to_read.recv();
    while let Some(head) = connection.head()? {
        let framing = RequestHead::parse(&head)?.framing()?;
        if framing == BodyFraming::UntilClose {
            return Err(HttpError::Malformed { part: "request head" }.into());
        }
        let request = [head, connection.body(framing)?].concat();
        connection.send(&answer_bytes(&request)?)?;
    }
    Ok(connection.into_stream().close())
}

fn shrink(socket: &impl AsRawFd, option: libc::c_int) -> Result<(), ScenarioError> {
    let size = SOCKET_BUFFER;
    // SAFETY: the descriptor is open and the value is a C int of the size given.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            option,
            (&raw const size).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io_error("setsockopt")(io::Error::last_os_error())) }
}

/// Repeats a call with the same bytes until it no longer would block.
struct Patient<'a> {
    traced: Traced,
    write_retries: u64,
    begin_to_read: &'a Sender<()>,
}

impl Read for Patient<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.traced.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    thread::sleep(Duration::from_millis(1));
                }
                other => return other,
            }
        }
    }
}

impl Write for Patient<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.traced.write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.write_retries += 1;
                    // A server that ended can't be told; the next write shows why.
                    let _told = self.begin_to_read.send(());
                    thread::sleep(Duration::from_millis(1));
                }
                other => return other,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
