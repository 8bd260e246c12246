//! What the sensor is tested with, and what its `demo` command runs: a fake AI provider, a TLS client whose
//! library calls can be chosen one by one, and real client programs.
//!
//! - [`provider`] answers OpenAI and Anthropic calls over TLS or plain HTTP on loopback. Each answer is a
//!   function of the request alone, and every plaintext byte is logged, so a recording can be compared with
//!   what really crossed the wire.
//! - [`openssl_client`] opens the host's `libssl` and calls it as an ordinary application does: over a socket
//!   or memory BIOs, blocking or not, through `SSL_write` or `SSL_write_ex`.
//! - [`clients`] runs Python, Node.js and curl against the provider and reads back what they understood.
//! - `peers` (with the feature `full-protocols`) are clients and servers to be set upon each other: curl, Python,
//!   Node.js, Go, nginx.
//! - [`calls`] writes the requests that those clients send and reads the answers; [`demo`] makes three
//!   realistic calls with it.
//! - [`programs`] copies programs for tests that run them from elsewhere.
//! - [`scenario`] are the cases that kernel tests need, run by `oisp-test-client`.
//!
//! It takes a folder to write certificates and scripts to, and gives back bytes and digests. It knows nothing
//! of the sensor: no other crate of this workspace is used here, so that it can contradict any of them.

pub mod calls;
pub mod certificates;
pub mod clients;
pub mod demo;
pub mod endpoint;
pub mod http1;
pub mod openssl_client;
#[cfg(feature = "full-protocols")]
pub mod peers;
pub mod programs;
pub mod prose;
pub mod provider;
pub mod scenario;
pub mod transcript;
