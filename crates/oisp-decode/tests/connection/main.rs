//! What a decoder makes of whole connections.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod early;
mod http1;
mod http2;
mod http2_frames;
mod http2_loss;
mod http2_properties;
mod json_lines;
mod loss;
mod properties;
mod smuggling;
mod support;
mod websocket;
mod websocket_properties;
