//! A TLS client and server over memory BIOs in this process: calls of exactly the size that a test wants.

use std::io::{Read as _, Write as _};
use std::path::Path;

use oisp_testkit::certificates::Certificates;
use oisp_testkit::openssl_client::{Call, OpenSsl};
use oisp_testkit::scenario::{Role, Traced, Truth};

/// Both sides, after their handshake.
pub(crate) struct MemoryPair {
    pub(crate) client: Traced,
    pub(crate) server: Traced,
}

impl MemoryPair {
    /// Opens the library in `folder`, and writes certificates there.
    pub(crate) fn connect(folder: &Path, call: Call) -> Self {
        let library = OpenSsl::load(Some(folder)).unwrap();
        let own = tempfile::tempdir().unwrap();
        let files = Certificates::generate(&[]).unwrap().write_to(own.path()).unwrap();
        let client = library.client_context(&files.ca).unwrap().memory_client("localhost").unwrap();
        let server = library.server_context(&files.server, &files.server_key).unwrap();
        let server = server.memory_server().unwrap();
        let mut pair = Self {
            client: Traced::new(client, Role::Client, true),
            server: Traced::new(server, Role::Server, true),
        };
        pair.client.ssl.set_call(call);
        pair.server.ssl.set_call(call);
        pair.handshake();
        pair
    }

    /// Carries flights until both sides are done.
    pub(crate) fn handshake(&mut self) {
        loop {
            let client_done = self.client.ssl.handshake().is_ok();
            self.server.ssl.feed(&self.client.ssl.drain()).unwrap();
            let server_done = self.server.ssl.handshake().is_ok();
            self.client.ssl.feed(&self.server.ssl.drain()).unwrap();
            if client_done && server_done {
                return;
            }
        }
    }

    /// One write of exactly this many bytes by the client; the server reads them into a buffer of `room` bytes.
    pub(crate) fn send(&mut self, length: usize, room: usize) {
        carry(&mut self.client, &mut self.server, length, room);
    }

    /// The same in the other direction.
    pub(crate) fn answer(&mut self, length: usize, room: usize) {
        carry(&mut self.server, &mut self.client, length, room);
    }

    /// Frees both and tells what they did.
    pub(crate) fn close(self) -> Truth {
        Truth { objects: vec![self.client.close(), self.server.close()], ..Truth::default() }
    }
}

fn carry(from: &mut Traced, to: &mut Traced, length: usize, room: usize) {
    // No two places of a stream look alike: a byte that is displaced shows.
    let seed = length as u64;
    let bytes: Vec<u8> = (0..length as u64)
        .map(|index| (index.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(seed) >> 33) as u8)
        .collect();
    assert_eq!(from.write(&bytes).unwrap(), length, "one call takes all");
    to.ssl.feed(&from.ssl.drain()).unwrap();
    let mut buffer = vec![0; room];
    let mut received = 0;
    while received < length {
        received += to.read(&mut buffer).unwrap();
    }
}
