//! One connection: recognises its protocol and hands its bytes to the decoder of that protocol.
use crate::{Direction, HttpEvent, Limits, Nanos, Protocol, Role};

/// Decodes both directions of one connection.
#[derive(Debug)]
pub struct ConnectionDecoder {}

impl ConnectionDecoder {
    /// A connection of which nothing is known yet.
    pub fn new(limits: Limits) -> Self {
        let _ = limits;
        Self {}
    }
    /// Takes the next bytes of a direction.
    pub fn data(&mut self, direction: Direction, time: Nanos, bytes: &[u8], out: &mut Vec<HttpEvent>) {
        let _ = (direction, time, bytes, out);
    }
    /// Tells that the next `length` bytes of a direction were not captured.
    pub fn gap(&mut self, direction: Direction, time: Nanos, length: u64, out: &mut Vec<HttpEvent>) {
        let _ = (direction, time, length, out);
    }
    /// Tells that the connection ended.
    pub fn close(&mut self, time: Nanos, out: &mut Vec<HttpEvent>) {
        let _ = (time, out);
    }
    /// What the connection was recognised as.
    pub fn protocol(&self) -> Protocol {
        Protocol::Undetermined
    }
    /// What the recorded process is on it.
    pub fn role(&self) -> Option<Role> {
        None
    }
}
