//! What stands between an event and the whole truth.

use oisp_decode::{BodyEnd, Defect, Undecodable};
use oisp_event::{Completeness, Confidence, Level};

/// What was lost, cut or not understood, and how far that lowers confidence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Findings {
    /// The highest level that the event still deserves.
    pub level: Level,
    /// How much of the message was read.
    pub completeness: Completeness,
    /// Why, as short identifiers.
    pub reasons: Vec<String>,
    /// Parts known to be missing (`request_body`, `response_body`, `response`).
    pub missing: Vec<String>,
    /// What limits the event.
    pub limitations: Vec<String>,
    /// Bytes of the message that were not captured, as on the wire.
    pub lost_bytes: u64,
}

impl Default for Findings {
    fn default() -> Self {
        Self {
            level: Level::High,
            completeness: Completeness::Full,
            reasons: Vec::new(),
            missing: Vec::new(),
            limitations: Vec::new(),
            lost_bytes: 0,
        }
    }
}

impl Findings {
    /// Whether nothing was found.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Enters the findings into an event's confidence: lowers, never raises.
    pub fn apply_to(&self, confidence: &mut Confidence) {
        confidence.lower_to(self.level);
        if rank(self.completeness) > rank(confidence.completeness) {
            confidence.completeness = self.completeness;
        }
        for (to, from) in [
            (&mut confidence.reasons, &self.reasons),
            (&mut confidence.missing, &self.missing),
            (&mut confidence.limitations, &self.limitations),
        ] {
            from.iter().for_each(|item| add(to, item));
        }
    }

    /// Lowers the level to `level` where it is higher.
    pub(crate) fn lower(&mut self, level: Level) {
        self.level = self.level.max(level);
    }

    /// Less than all of it was read: lowers to at most medium and partial.
    pub(crate) fn partial(&mut self, reason: &str) {
        self.lower(Level::Medium);
        if self.completeness == Completeness::Full {
            self.completeness = Completeness::Partial;
        }
        add(&mut self.reasons, reason);
    }

    /// Nothing of the body was read.
    pub(crate) fn unread(&mut self, reason: &str, part: &str) {
        self.partial(reason);
        self.lower(Level::Low);
        add(&mut self.missing, part);
    }

    pub(crate) fn reason(&mut self, reason: &str) {
        add(&mut self.reasons, reason);
    }

    pub(crate) fn missing(&mut self, part: &str) {
        add(&mut self.missing, part);
    }

    pub(crate) fn limitation(&mut self, limitation: &str) {
        add(&mut self.limitations, limitation);
    }

    /// Enters what was found elsewhere.
    pub(crate) fn join(&mut self, other: Self) {
        self.lower(other.level);
        if rank(other.completeness) > rank(self.completeness) {
            self.completeness = other.completeness;
        }
        self.lost_bytes = self.lost_bytes.max(other.lost_bytes);
        for (to, from) in [
            (&mut self.reasons, &other.reasons),
            (&mut self.missing, &other.missing),
            (&mut self.limitations, &other.limitations),
        ] {
            from.iter().for_each(|item| add(to, item));
        }
    }

    /// Enters how a message ended. `part` names what is missing if something is.
    pub(crate) fn body_end(&mut self, end: &BodyEnd, part: &str) {
        for defect in end.completeness.defects() {
            let reason = match defect {
                Defect::Gap { lost_bytes, .. } => {
                    self.lost_bytes = self.lost_bytes.max(*lost_bytes);
                    "bytes_lost"
                }
                Defect::Truncated => "message_truncated",
                Defect::OverLimit { total_bytes } => {
                    self.limitation(&format!("message_of_{total_bytes}_bytes_over_limit"));
                    "message_over_limit"
                }
                Defect::Undecodable(why) => undecodable(why),
                Defect::PairingLost => "pairing_lost",
            };
            self.partial(reason);
            self.missing(part);
        }
    }
}

fn undecodable(why: &Undecodable) -> &'static str {
    match why {
        Undecodable::UnsupportedEncoding(_) => "content_encoding_unsupported",
        Undecodable::CorruptEncoding => "content_encoding_corrupt",
        Undecodable::TruncatedEncoding => "content_encoding_truncated",
        Undecodable::MalformedHead => "message_head_malformed",
        Undecodable::ConflictingLength => "content_length_conflicting",
        Undecodable::UnsupportedTransferEncoding => "transfer_encoding_unsupported",
        Undecodable::MalformedChunk => "chunk_framing_malformed",
        Undecodable::CompressionContextLost => "compression_context_lost",
    }
}

fn rank(completeness: Completeness) -> u8 {
    match completeness {
        Completeness::Full | Completeness::Redacted => 0,
        Completeness::Partial => 1,
        Completeness::MetadataOnly => 2,
    }
}

fn add(list: &mut Vec<String>, item: &str) {
    if !list.iter().any(|known| known == item) {
        list.push(item.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn applying_lowers_confidence_and_never_raises_it() {
        let mut findings = Findings::default();
        findings.partial("bytes_lost");
        let mut confidence = Confidence::high();
        findings.apply_to(&mut confidence);
        findings.apply_to(&mut confidence);
        assert_eq!((confidence.level, confidence.completeness), (Level::Medium, Completeness::Partial));
        assert_eq!(confidence.reasons, ["bytes_lost"]);
        confidence.completeness = Completeness::MetadataOnly;
        confidence.level = Level::Low;
        findings.apply_to(&mut confidence);
        assert_eq!((confidence.level, confidence.completeness), (Level::Low, Completeness::MetadataOnly));
    }
}
