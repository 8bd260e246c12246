//! A TLS implementation that no other file here knows: that it is there is seen by a text which TLS 1.3 itself asks for.
//!
//! What a server signs begins with it (RFC 8446, 4.4.3), so whoever verifies a server has it, whatever language it is
//! written in, and no option of a compiler takes it away.

use crate::analysis::{Library, Refusal, RefusalReason};
use crate::code::Mark;
use crate::image::Parsed;

/// To be asked where nothing else was found or refused.
pub(crate) fn refuse_unknown(parsed: &Parsed<'_>) -> Option<Refusal> {
    let reason = RefusalReason::Unknown { shared: parsed.is_named_by_others() };
    parsed.code().has(Mark::Tls13).then_some(Refusal { library: Library::Unknown, reason })
}
