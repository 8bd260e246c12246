use std::fs;
use std::io::BufRead as _;
use std::io::BufReader;
use std::net::Shutdown;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use proptest::prelude::*;
use serde_json::Value;
use tempfile::TempDir;

use super::*;
use crate::client::{ClientError, Connection, Presence, find, list};
use crate::protocol::Answer;
use crate::status::{Attached, STATUS_VERSION};

/// A sensor that does nothing.
#[derive(Default)]
struct Idle {
    stopped: AtomicBool,
    reloads: AtomicU32,
    /// Panics when asked.
    faulty: bool,
    /// Files that it says to have probed.
    files: usize,
}

impl Controlled for Idle {
    fn status(&self) -> Status {
        assert!(!self.faulty, "a fault in the sensor");
        Status {
            status_version: STATUS_VERSION,
            name: "test".into(),
            pid: std::process::id(),
            attached: vec![Attached { path: "/lib/x".repeat(60), ..Attached::default() }; self.files],
            ..Status::default()
        }
    }

    fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
    }

    fn reload(&self) -> ReloadReport {
        let number = self.reloads.fetch_add(1, Ordering::SeqCst) + 1;
        ReloadReport { applied: true, changed: vec![number.to_string()], ..ReloadReport::default() }
    }
}

fn name(text: &str) -> SensorName {
    text.parse().unwrap()
}

fn start(directory: &TempDir) -> (Server, Arc<Idle>) {
    start_idle(directory, Idle::default())
}

fn start_idle(directory: &TempDir, idle: Idle) -> (Server, Arc<Idle>) {
    let idle = Arc::new(idle);
    (Server::start(directory.path(), &name("test"), Arc::clone(&idle) as _).unwrap(), idle)
}

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn raw(server: &Server) -> UnixStream {
    let stream = UnixStream::connect(server.path()).unwrap();
    // So that a server that never answers fails the test instead of hanging it.
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream
}

/// All answers until the server closes the connection.
fn answers(stream: &UnixStream) -> Vec<Answer> {
    BufReader::new(stream).lines().map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect()
}

fn code(answer: &Answer) -> Option<ErrorCode> {
    answer.error.as_ref().map(|refusal| refusal.code)
}

#[test]
fn every_command_reaches_the_sensor_and_its_answer_the_client() {
    let directory = folder();
    let (server, idle) = start(&directory);
    let mut connection = Connection::connect(server.path()).unwrap();
    assert_eq!(connection.pid(), Some(std::process::id()));
    assert_eq!(connection.status().unwrap(), idle.status());
    for number in ["1", "2"] {
        assert_eq!(connection.reload().unwrap().changed, [number]);
    }
    assert!(!idle.stopped.load(Ordering::SeqCst));
    connection.stop().unwrap();
    assert!(idle.stopped.load(Ordering::SeqCst));
}

#[test]
fn nobody_but_the_user_can_enter_and_all_files_go_at_the_end() {
    let parent = folder();
    let directory = parent.path().join("made/anew");
    let server = Server::start(&directory, &name("x"), Arc::new(Idle::default())).unwrap();
    assert_eq!(fs::metadata(&directory).unwrap().mode() & 0o7777, 0o700);
    assert_eq!(fs::metadata(server.path()).unwrap().mode() & 0o7777, 0o600);
    let path = server.path().to_owned();
    drop(server);
    assert_eq!(fs::read_dir(&directory).unwrap().count(), 0);
    assert!(matches!(Connection::connect(&path), Err(ClientError::NotFound { .. })));
}

#[test]
fn directory_that_others_could_enter_is_closed_to_them() {
    let directory = folder();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let _server = start(&directory);
    assert_eq!(fs::metadata(directory.path()).unwrap().mode() & 0o7777, 0o700);
}

#[test]
fn directory_that_is_a_link_is_refused() {
    let directory = folder();
    let link = directory.path().join("link");
    std::os::unix::fs::symlink(directory.path(), &link).unwrap();
    let error = Server::start(&link, &name("x"), Arc::new(Idle::default())).unwrap_err().to_string();
    assert!(error.contains("link"), "{error}");
}

#[test]
fn malformed_requests_are_answered_and_the_connection_stays() {
    let directory = folder();
    let (server, _) = start(&directory);
    let mut stream = raw(&server);
    stream.write_all(b"\n\xff\xfe\n{\"version\":7}\n{\"version\":1,\"command\":\"fly\"}\n").unwrap();
    stream.write_all(b"{\"version\":1,\"command\":\"status\"}\n").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let answers = answers(&stream);
    let codes: Vec<_> = answers.iter().map(code).collect();
    use ErrorCode::{BadRequest, UnknownCommand, UnsupportedVersion};
    assert_eq!(
        codes,
        [Some(BadRequest), Some(BadRequest), Some(UnsupportedVersion), Some(UnknownCommand), None]
    );
    assert_eq!(answers[4].ok.as_ref().unwrap()["name"], "test");
}

#[test]
fn line_over_the_limit_is_refused_and_the_server_lives() {
    let directory = folder();
    let (server, _) = start(&directory);
    let mut stream = raw(&server);
    // The server closes the connection while this is written.
    let _ = stream.write_all(&vec![b' '; MAX_REQUEST * 4]);
    let mut line = String::new();
    BufReader::new(&stream).read_line(&mut line).unwrap();
    assert_eq!(code(&serde_json::from_str(&line).unwrap()), Some(ErrorCode::TooLong));
    assert!(Connection::connect(server.path()).unwrap().status().is_ok());
}

#[test]
fn request_of_the_largest_size_is_answered() {
    let directory = folder();
    let (server, _) = start(&directory);
    let mut stream = raw(&server);
    let request = Command::Status.request_line();
    let padding = " ".repeat(MAX_REQUEST - request.len());
    stream.write_all(format!("{padding}{request}").as_bytes()).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let answers = answers(&stream);
    assert_eq!(answers.iter().map(code).collect::<Vec<_>>(), [None]);
}

#[test]
fn request_without_its_end_is_refused() {
    let directory = folder();
    let (server, idle) = start(&directory);
    let mut stream = raw(&server);
    stream.write_all(br#"{"version":1,"command":"stop"}"#).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(answers(&stream).iter().map(code).collect::<Vec<_>>(), [Some(ErrorCode::BadRequest)]);
    assert!(!idle.stopped.load(Ordering::SeqCst));
}

#[test]
fn clients_that_send_or_read_nothing_block_nobody() {
    let directory = folder();
    let (server, _) = start_idle(&directory, Idle { files: 100, ..Idle::default() });
    let mut half = raw(&server);
    half.write_all(b"{\"version\":1,").unwrap();
    let mut deaf = raw(&server);
    // More answers than a socket holds, and none is read.
    deaf.write_all(Command::Status.request_line().repeat(500).as_bytes()).unwrap();
    let silent = raw(&server);
    for _ in 0..3 {
        assert_eq!(Connection::connect(server.path()).unwrap().status().unwrap().attached.len(), 100);
    }
    drop((half, deaf, silent));
}

#[test]
fn client_that_never_finishes_its_request_is_sent_away() {
    let directory = folder();
    let controlled = Arc::new(Idle::default());
    let server =
        Server::start_with(directory.path(), &name("test"), controlled, Duration::from_millis(20)).unwrap();
    let mut stream = raw(&server);
    stream.write_all(b"{").unwrap();
    assert_eq!(answers(&stream).iter().map(code).collect::<Vec<_>>(), [Some(ErrorCode::TooSlow)]);
}

#[test]
fn client_too_many_is_told_so_and_finds_room_when_another_leaves() {
    let directory = folder();
    let (server, _) = start(&directory);
    let mut all: Vec<_> = (0..MAX_CLIENTS).map(|_| Connection::connect(server.path()).unwrap()).collect();
    for connection in &mut all {
        connection.status().unwrap();
    }
    let refused = Connection::connect(server.path()).unwrap().status().unwrap_err();
    assert!(matches!(refused, ClientError::Refused { code: ErrorCode::Busy, .. }), "{refused}");
    all.pop();
    // The server sees the end of the one before it accepts the next, or in the same round: then it is busy once more.
    let served = (0..100).any(|_| Connection::connect(server.path()).unwrap().status().is_ok());
    assert!(served);
}

#[test]
fn fault_in_the_sensor_is_an_error_for_the_client_and_the_server_lives() {
    let directory = folder();
    let (server, _) = start_idle(&directory, Idle { faulty: true, ..Idle::default() });
    let mut connection = Connection::connect(server.path()).unwrap();
    let error = connection.status().unwrap_err();
    assert!(matches!(error, ClientError::Refused { code: ErrorCode::Internal, .. }), "{error}");
    assert!(connection.reload().unwrap().applied);
}

#[test]
fn server_ends_while_clients_are_connected() {
    let directory = folder();
    let (server, _) = start(&directory);
    let mut connection = Connection::connect(server.path()).unwrap();
    connection.status().unwrap();
    drop(server);
    assert!(matches!(connection.status(), Err(ClientError::Ended { .. })));
}

#[test]
fn second_sensor_of_a_name_is_told_the_first_ones_process() {
    let directory = folder();
    let (host, own) = (SensorName::host(), std::process::id());
    let first = Server::start(directory.path(), &host, Arc::new(Idle::default())).unwrap();
    let error = Server::start(directory.path(), &host, Arc::new(Idle::default())).unwrap_err();
    assert!(
        error.to_string().starts_with(&format!("a host-wide sensor already runs as process {own};")),
        "{error}"
    );
    assert!(Connection::connect(first.path()).unwrap().status().is_ok());
    drop(first);
    Server::start(directory.path(), &host, Arc::new(Idle::default())).unwrap();
}

#[test]
fn of_many_that_start_at_once_one_gets_the_name_also_over_a_dead_sensors_files() {
    for _ in 0..10 {
        let directory = folder();
        leave_dead(directory.path(), "test", 1);
        let begin = std::sync::Barrier::new(4);
        let results: Vec<_> = thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        begin.wait();
                        Server::start(directory.path(), &name("test"), Arc::new(Idle::default()))
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let running: Vec<_> = results.iter().flatten().collect();
        assert_eq!(running.len(), 1, "{results:?}");
        assert!(Connection::connect(running[0].path()).unwrap().status().is_ok());
    }
}

/// What a killed sensor leaves: a socket on which nobody listens, and a lock that nobody holds.
fn leave_dead(directory: &Path, sensor: &str, pid: u32) {
    drop(UnixListener::bind(directory.join(format!("{sensor}.sock"))).unwrap());
    fs::write(directory.join(format!("{sensor}.lock")), format!("{pid}\n")).unwrap();
}

#[test]
fn killed_sensor_is_known_as_dead_and_replaced() {
    let directory = folder();
    leave_dead(directory.path(), "test", 123);
    let directories = [directory.path().to_owned()];
    assert_eq!(list(directory.path()).unwrap()[0].presence, Presence::Dead(Some(123)));
    for named in [None, Some(name("test"))] {
        let error = find(&directories, named.as_ref()).unwrap_err().to_string();
        assert!(error.contains("process 123 has ended without saying so"), "{error}");
    }
    let (_server, _) = start(&directory);
    assert!(find(&directories, None).unwrap().status().is_ok());
}

#[test]
fn starting_sensor_removes_what_dead_ones_of_other_names_left_and_nothing_else() {
    let directory = folder();
    let (living, _) = start(&directory);
    leave_dead(directory.path(), "record-1", 1);
    fs::write(directory.path().join("notes.txt"), "kept").unwrap();
    let _second = Server::start(directory.path(), &name("other"), Arc::new(Idle::default())).unwrap();
    let mut left: Vec<_> =
        fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["notes.txt", "other.lock", "other.sock", "test.lock", "test.sock"]);
    assert!(Connection::connect(living.path()).unwrap().status().is_ok());
}

#[test]
fn sensor_is_found_by_name_and_without_one_if_it_is_the_only_one() {
    let directory = folder();
    let directories = [directory.path().join("none"), directory.path().to_owned()];
    assert!(matches!(find(&directories, None), Err(ClientError::NoSensor)));
    let (_server, _) = start(&directory);
    assert_eq!(find(&directories, None).unwrap().name().as_str(), "test");
    leave_dead(directory.path(), "dead", 1);
    assert_eq!(find(&directories, None).unwrap().name().as_str(), "test");
    let _second = Server::start(directory.path(), &name("other"), Arc::new(Idle::default())).unwrap();
    assert_eq!(find(&directories, Some(&name("test"))).unwrap().name().as_str(), "test");
    let error = find(&directories, None).unwrap_err().to_string();
    assert!(error.contains("other, test; name one: `oisp-sensor status other`"), "{error}");
    let error = find(&directories, Some(&name("third"))).unwrap_err().to_string();
    assert!(error.ends_with("these are: other, test"), "{error}");
}

/// A listener of the test's own on the sensor's socket.
fn pretend(directory: &TempDir) -> (UnixListener, PathBuf) {
    let path = directory.path().join("test.sock");
    (UnixListener::bind(&path).unwrap(), path)
}

#[test]
fn sensor_that_hangs_is_given_up() {
    let directory = folder();
    let (_listener, path) = pretend(&directory);
    let patience = Duration::from_millis(50);
    let error = Connection::open(&path, patience).unwrap().status().unwrap_err();
    assert!(matches!(error, ClientError::NoAnswer { .. }), "{error}");
    // Until its backlog is full and connecting itself would wait.
    let mut connections = Vec::new();
    let error = loop {
        match Connection::open(&path, patience) {
            Ok(connection) => connections.push(connection),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, ClientError::NoAnswer { .. }), "{error}");
}

#[test]
fn answers_that_are_none_are_told_apart() {
    for (answer, expected) in [
        (&b""[..], "sensor test has ended"),
        (b"HTTP/1.1 400 Bad Request\r\n", "is no sensor"),
        (b"{\"version\":1}\n", "neither"),
        (b"{\"version\":1,\"ok\":[]}\n", "is no sensor"),
        (b"{\"version\":2,\"ok\":{}}\n", "speaks version 2"),
        (
            b"{\"version\":3,\"error\":{\"code\":\"unsupported_version\",\"text\":\"no\"}}\n",
            "speaks version 3",
        ),
        (b"{\"version\":1,\"error\":{\"code\":\"of_the_future\",\"text\":\"not now\"}}\n", "not now"),
    ] {
        let directory = folder();
        let (listener, path) = pretend(&directory);
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut line = String::new();
            BufReader::new(&stream).read_line(&mut line).unwrap();
            stream.write_all(answer).unwrap();
        });
        let error = Connection::connect(&path).unwrap().status().unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        server.join().unwrap();
    }
}

#[test]
fn answer_without_end_is_given_up_at_the_limit() {
    let directory = folder();
    let (listener, path) = pretend(&directory);
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        while stream.write_all(&[b' '; 4096]).is_ok() {}
    });
    let error = Connection::connect(&path).unwrap().status().unwrap_err();
    assert!(matches!(error, ClientError::Malformed { .. }), "{error}");
    server.join().unwrap();
}

#[test]
fn other_users_are_refused_with_the_reason() {
    let nobody = rustix::process::Uid::from_raw(65534);
    if !rustix::process::geteuid().is_root() {
        assert!(std::env::var_os("OISP_REQUIRE_ALL").is_none(), "needs root");
        eprintln!("skipped: needs root to become another user");
        return;
    }
    let directory = folder();
    let (server, idle) = start(&directory);
    let as_nobody = |path: &Path, command: Command| {
        thread::scope(|scope| {
            scope
                .spawn(|| {
                    // Of this thread alone (setresuid(2), "C library/kernel differences").
                    rustix::thread::set_thread_res_uid(nobody, nobody, nobody).unwrap();
                    Connection::connect(path).and_then(|mut connection| connection.request(command))
                })
                .join()
                .unwrap()
        })
    };
    // The directory keeps others out.
    let error = as_nobody(server.path(), Command::Stop).unwrap_err().to_string();
    assert!(error.contains("test.sock belongs to another user"), "{error}");
    // If somebody opened it, the server does.
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let error = as_nobody(server.path(), Command::Stop).unwrap_err().to_string();
    assert!(error.contains("belongs to root; use sudo"), "{error}");
    fs::set_permissions(server.path(), fs::Permissions::from_mode(0o666)).unwrap();
    let error = as_nobody(server.path(), Command::Stop).unwrap_err();
    let ClientError::Refused { code: ErrorCode::NotPermitted, text, .. } = error else { panic!("{error}") };
    assert_eq!(text, "this sensor belongs to root; user 65534 may not control it");
    assert!(!idle.stopped.load(Ordering::SeqCst));
    assert!(Connection::connect(server.path()).unwrap().status().is_ok());
}

#[test]
fn only_the_same_user_and_root_may_control() {
    for (peer, owner, may) in [(1000, 1000, true), (0, 1000, true), (1000, 0, false), (1001, 1000, false)] {
        assert_eq!(Peer { pid: None, uid: peer }.may_control(owner), may);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_in_any_pieces_are_answered_line_by_line_and_the_server_lives(
        pieces in proptest::collection::vec(
            prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..200),
                Just(b"\n".to_vec()),
                Just(Command::Status.request_line().into_bytes()),
                Just(b"{\"version\":1,\"comm".to_vec()),
                Just(b"and\":\"status\"}\n".to_vec()),
            ],
            0..12,
        ),
    ) {
        let directory = folder();
        let (server, _) = start(&directory);
        let mut stream = raw(&server);
        for piece in &pieces {
            stream.write_all(piece).unwrap();
        }
        stream.shutdown(Shutdown::Write).unwrap();
        let sent = pieces.concat();
        let answers = answers(&stream);
        let unfinished = sent.last().is_some_and(|last| *last != b'\n');
        let lines: Vec<&[u8]> = sent.split_inclusive(|byte| *byte == b'\n').collect();
        prop_assert_eq!(answers.len(), lines.len());
        for (position, (line, answer)) in lines.iter().zip(&answers).enumerate() {
            let whole = !(unfinished && position + 1 == lines.len());
            let expected = whole && parse_request(line) == Ok(Command::Status);
            prop_assert_eq!(answer.ok.as_ref().is_some_and(Value::is_object), expected);
        }
    }
}
