//! Functions that were taken for others are noticed by what goes through them, and left alone.
//!
//! The sensor's own source with a real client on sockets; only the analysis of one file says other functions than there
//! are. The server is in this process, which is not recorded.

use std::io::{BufRead as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use oisp_capture::{CaptureEvent, CoverageReason, DirectionProof, FileProof};
use oisp_capture_ebpf::{Candidate, Options};
use oisp_elf::Function;
use oisp_testkit::certificates::Certificates;
use oisp_testkit::openssl_client::{OpenSsl, Ssl};
use serde_json::{Value, json};

use crate::support::{
    LibraryCopy, ProbeState, Recording, Setup, WrongAnalysis, can_record, forge, in_role, probe_state,
    probe_state_at, role, say, wait_until,
};

/// Evidence of lengths counts on several connections.
const CONNECTIONS: usize = 6;
const REQUEST: &str = "POST /v1/messages HTTP/1.1\r\nhost: localhost\r\n\r\n";
const ANSWER: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\r\n";

#[test]
fn read_and_write_taken_for_each_other_are_noticed_though_both_directions_are_http() {
    if let Some(told) = role() {
        return be_client(&told);
    }
    if !can_record() {
        return;
    }
    let library = LibraryCopy::new();
    let functions = [(Function::SslRead, "SSL_write"), (Function::SslWrite, "SSL_read")];
    let wrong = WrongAnalysis { file: library.file(), functions: &functions };
    let sizes = Sizes { request: 5000, answer: 300 };
    let test = read_and_write_taken_for_each_other_are_noticed_though_both_directions_are_http;
    let why = assert_noticed(test, &library, &wrong, &sizes);
    assert!(why.contains("received what they should send"), "{why}");
}

#[test]
fn functions_that_move_records_taken_for_those_that_move_content_are_noticed_and_the_right_ones_stay() {
    if let Some(told) = role() {
        return be_client(&told);
    }
    if !can_record() {
        return;
    }
    let library = LibraryCopy::new();
    let file = copy_of_libcrypto(&library);
    let functions = [(Function::SslRead, "BIO_read"), (Function::SslWrite, "BIO_write")];
    let wrong = WrongAnalysis { file: &file, functions: &functions };
    let sizes = Sizes { request: 300, answer: 5000 };
    let test =
        functions_that_move_records_taken_for_those_that_move_content_are_noticed_and_the_right_ones_stay;
    let why = assert_noticed(test, &library, &wrong, &sizes);
    assert!(why.contains("more than went over their sockets"), "{why}");
}

#[test]
fn function_that_takes_no_buffer_taken_for_a_write_is_noticed_and_the_right_ones_stay() {
    if let Some(told) = role() {
        return be_client(&told);
    }
    if !can_record() {
        return;
    }
    let library = LibraryCopy::new();
    let file = copy_of_libcrypto(&library);
    // Called for each record: (context, what to do, length, pointer), and gives 1.
    let functions = [(Function::SslWrite, "EVP_CIPHER_CTX_ctrl")];
    let wrong = WrongAnalysis { file: &file, functions: &functions };
    let sizes = Sizes { request: 300, answer: 300 };
    let test = function_that_takes_no_buffer_taken_for_a_write_is_noticed_and_the_right_ones_stay;
    let why = assert_noticed(test, &library, &wrong, &sizes);
    assert!(why.contains("results or buffers that its functions cannot have"), "{why}");
}

/// The host's, beside the copy of `libssl`, which then uses it.
fn copy_of_libcrypto(library: &LibraryCopy) -> PathBuf {
    let name = library.file().file_name().unwrap().to_string_lossy().replace("ssl", "crypto");
    let original = oisp_capture_ebpf::tls_libraries_of_host()
        .iter()
        .filter_map(|library| Some(library.parent()?.join(&name)))
        .find(|file| file.is_file())
        .expect("libcrypto is beside libssl");
    let file = library.folder().join(&name);
    std::fs::copy(original, &file).unwrap();
    file
}

struct Sizes {
    request: usize,
    answer: usize,
}

/// Records the client from its start with this analysis. In its traffic the finding comes, the probes go, the traffic goes
/// on, and no byte of it is wrong. Gives what the finding says.
fn assert_noticed<Test: Fn()>(
    test: Test,
    library: &LibraryCopy,
    wrong: &WrongAnalysis<'_>,
    sizes: &Sizes,
) -> String {
    let folder = tempfile::tempdir().unwrap();
    let certificates = Certificates::generate(&[]).unwrap().write_to(folder.path()).unwrap();
    let server = Server::start(&certificates.server, &certificates.server_key, sizes);
    let command = in_role(
        test,
        &json!({
            "folder": library.folder(), "ca": certificates.ca, "port": server.port,
            "request": sizes.request, "answer": sizes.answer,
        }),
    );
    let candidate = Candidate { path: wrong.file.to_owned(), why: "analysed wrongly" };
    let setup = Setup {
        options: Options { analyses: Some(forge(wrong, library)), ..Options::default() },
        candidates: vec![candidate, library.candidate()],
        with_input: true,
        ..Setup::default()
    };
    let mut recording = Recording::of(command, &setup);
    let pid = recording.pid();
    assert_eq!(recording.line()["connected"], CONNECTIONS);
    let sites = wrong.sites();
    assert_eq!(probe_state_at(pid, wrong.file, &sites), ProbeState::Breakpoints);

    recording.say("go\n");
    recording.wait_for("the finding", |event| why_wrong(event, wrong.file).is_some());
    wait_until("the original code", || probe_state_at(pid, wrong.file, &sites) == ProbeState::Original);
    let exchanges = |recording: &mut Recording| {
        recording.say("how many\n");
        recording.line()["exchanges"].as_u64().unwrap()
    };
    let before = exchanges(&mut recording);
    wait_until("exchanges without the probes", || exchanges(&mut recording) > before + 20);
    if wrong.file != library.file() {
        assert_eq!(probe_state(pid, library), ProbeState::Breakpoints, "the file that is right keeps its");
    }

    let recorded = recording.finish();
    assert!(recorded.status.success(), "the client compared every answer: {}", recorded.output);
    server.finish();
    let reasons: Vec<&str> =
        recorded.events.iter().filter_map(|event| why_wrong(event, wrong.file)).collect();
    assert_eq!(reasons.len(), 1, "told once: {reasons:?}");
    let last = |file: &Path| proofs(&recorded.events, file).last().map(|proof| (proof.sent, proof.received));
    let (nothing, proven) = (DirectionProof::Nothing, DirectionProof::Proven);
    assert_eq!(last(wrong.file), Some((nothing, nothing)), "it is not counted as covered");
    if wrong.file != library.file() {
        assert_eq!(last(library.file()), Some((proven, proven)));
    }
    reasons[0].to_owned()
}

/// What a finding says that this file's functions are others.
fn why_wrong<'a>(event: &'a CaptureEvent, file: &Path) -> Option<&'a str> {
    let CaptureEvent::Coverage(finding) = event else { return None };
    let CoverageReason::WrongMatch { library, error } = &finding.reason else { return None };
    assert_eq!((finding.file.as_deref(), &**library), (Some(file), "OpenSSL"));
    Some(error)
}

fn proofs<'a>(events: &'a [CaptureEvent], file: &Path) -> impl Iterator<Item = &'a FileProof> {
    events.iter().filter_map(move |event| match event {
        CaptureEvent::FileProof(proof) if proof.path == file => Some(proof),
        _ => None,
    })
}

/// A server over the host's own library, one thread a connection; compares every request.
struct Server {
    port: u16,
    accepting: JoinHandle<()>,
}

impl Server {
    fn start(certificate: &Path, key: &Path, sizes: &Sizes) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let context = OpenSsl::load(None).unwrap().server_context(certificate, key).unwrap();
        let (request, answer) = (sizes.request, sizes.answer);
        let accepting = std::thread::spawn(move || {
            std::thread::scope(|scope| {
                for _ in 0..CONNECTIONS {
                    let mut ssl = context.server(listener.accept().unwrap().0).unwrap();
                    scope.spawn(move || {
                        ssl.handshake().unwrap();
                        let mut number = 0;
                        while let Some(received) = receive(&mut ssl, request) {
                            assert!(received == message(REQUEST, request, number), "request {number}");
                            send(&mut ssl, &message(ANSWER, answer, number));
                            number += 1;
                        }
                    });
                }
            });
        });
        Self { port, accepting }
    }

    fn finish(self) {
        self.accepting.join().expect("every request was as it was sent");
    }
}

/// Exchanges on several connections in turn, from the first line of input to its end; each line is answered with how many
/// there were. An answer that is wrong ends the process.
fn be_client(told: &Value) {
    let text = |name: &str| Path::new(told[name].as_str().unwrap());
    let number = |name: &str| usize::try_from(told[name].as_u64().unwrap()).unwrap();
    let (request, answer) = (number("request"), number("answer"));
    let context = OpenSsl::load(Some(text("folder"))).unwrap().client_context(text("ca")).unwrap();
    let port = u16::try_from(number("port")).unwrap();
    let connect = || {
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let mut ssl = context.client(stream, "localhost").unwrap();
        ssl.handshake().unwrap();
        ssl
    };
    let mut connections: Vec<Ssl> = (0..CONNECTIONS).map(|_| connect()).collect();
    say(&json!({ "connected": connections.len() }));
    let mut lines = std::io::stdin().lock().lines();
    lines.next().unwrap().unwrap();
    let (stop, exchanges) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0.. {
                for ssl in &mut connections {
                    send(ssl, &message(REQUEST, request, number));
                    let answered = receive(ssl, answer);
                    assert!(answered == Some(message(ANSWER, answer, number)), "answer {number}");
                    exchanges.fetch_add(1, Ordering::Relaxed);
                }
                if stop.load(Ordering::Relaxed) {
                    break;
                }
            }
            connections.iter_mut().for_each(Ssl::close);
        });
        for _ in lines.map_while(Result::ok) {
            say(&json!({ "exchanges": exchanges.load(Ordering::Relaxed) }));
        }
        stop.store(true, Ordering::Relaxed);
    });
    std::io::stdout().flush().unwrap();
}

/// No two are alike.
fn message(beginning: &str, length: usize, number: u64) -> Vec<u8> {
    let rest = (beginning.len()..length).map(|index| (index as u64 * 31 + number * 7) as u8);
    beginning.bytes().chain(rest).collect()
}

fn send(ssl: &mut Ssl, bytes: &[u8]) {
    assert_eq!(ssl.try_write(bytes).unwrap(), bytes.len());
}

/// So many bytes; `None` where the other side ended before the first.
fn receive(ssl: &mut Ssl, length: usize) -> Option<Vec<u8>> {
    let mut bytes = vec![0; length];
    let mut received = 0;
    while received < length {
        match ssl.try_read(&mut bytes[received..]).unwrap() {
            0 if received == 0 => return None,
            0 => panic!("the other side ended within a message"),
            more => received += more,
        }
    }
    Some(bytes)
}
