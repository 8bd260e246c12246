//! The `oisp-sensor` program records real clients that call the fake provider over TLS; what it tells is compared with
//! what the provider logged and with what the clients understood.
//!
//! Needs root, a kernel that can be recorded, and the clients: where one is missing a test says so and passes, with
//! `OISP_REQUIRE_ALL=1` it fails. `OISP_TEST_VENV` names the virtual environment with the Python SDKs,
//! `OISP_TEST_NODE_MODULES` the folder with those for Node.js, `OISP_SPEC` the OISP specification that events are checked
//! against besides the project's own schema.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod bytes;
mod chunks;
mod clients;
mod commands;
mod connections;
mod coverage;
mod death;
mod demo;
mod go;
mod http2;
mod loss;
mod mcp;
mod peers;
mod privacy;
mod processes;
mod runtimes;
mod rustls;
mod sdks;
mod service;
mod support;
mod websocket;
