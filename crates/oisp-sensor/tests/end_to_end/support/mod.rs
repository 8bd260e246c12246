//! What the tests share.

mod capture;
mod events;
mod host;
mod provider;
mod sensor;
mod truth;

pub(crate) use capture::{Connection, Conversation, Exchange, record, record_conversation};
pub(crate) use events::{Events, text_of};
pub(crate) use host::{
    LibraryCopy, can_record, is_missing, is_probed, peers, quoted, send_signal, unless_missing, wait_until,
};
pub(crate) use provider::{Provider, Task};
pub(crate) use sensor::{Finished, Sensor};
pub(crate) use truth::{assert_told, calls};
