//! What a decoder makes of whole connections.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod http1;
mod loss;
mod properties;
mod support;
mod websocket;
mod websocket_properties;
