//! Which attachments the primary really feeds.
//!
//! An engine lists a replica as online before it sends it anything: after a full copy the stream
//! begins with an acknowledgement, and if the first one comes before the engine has noticed that the
//! copy's child ended, with the next, up to a second later. Writes that waited for such a replica
//! would wait that long.
//!
//! Proof is a position that moved: the first that an attachment acknowledges after a copy is the
//! copy's, and every later one came by the stream. So that an idle primary has something to send,
//! it is asked to have its replicas acknowledge ([`Streams::nudge`]), which is a part of the stream.
//!
//! Invariant: nothing counts as fed for a position that it can have from a copy.
//!
//! Not here: who may join the in-sync set (`tanist_core::decide`).

use std::collections::{BTreeMap, BTreeSet};

use tanist_core::model::Offset;
use tanist_resp::Command;

/// The attachments that a primary lists, and which of them it feeds.
#[derive(Debug, Default)]
pub(super) struct Streams {
    /// The position at which each was first seen, for as long as it has not moved.
    still: BTreeMap<String, Offset>,
    fed: BTreeSet<String>,
}

impl Streams {
    /// Takes in what the primary lists now.
    pub(super) fn note(&mut self, listed: &BTreeMap<String, Offset>) {
        self.still.retain(|tag, _| listed.contains_key(tag));
        self.fed.retain(|tag| listed.contains_key(tag));
        for (tag, acked) in listed {
            if self.fed.contains(tag) {
                continue;
            }
            let first = *self.still.entry(tag.clone()).or_insert(*acked);
            if *acked > first {
                self.still.remove(tag);
                self.fed.insert(tag.clone());
            }
        }
    }

    /// Whether the attachment is fed.
    pub(super) fn feeds(&self, tag: &str) -> bool {
        self.fed.contains(tag)
    }

    /// What makes the primary send something to those of which it is not known.
    ///
    /// No primary has that many replicas, so the engine asks all it has; it is waited for as short
    /// as the engine can (1 ms).
    pub(super) fn nudge(&self) -> Option<Command> {
        (!self.still.is_empty()).then(|| Command::new("WAIT").arg("1000000").arg("1"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(acked: &[(&str, u64)]) -> BTreeMap<String, Offset> {
        acked.iter().map(|(tag, acked)| ((*tag).to_owned(), Offset(*acked))).collect()
    }

    #[test]
    fn a_position_that_may_be_the_copys_proves_nothing() {
        let mut streams = Streams::default();
        for _ in 0..3 {
            streams.note(&listed(&[("a", 70)]));
            assert!(!streams.feeds("a") && streams.nudge().is_some());
        }
        streams.note(&listed(&[("a", 71)]));
        assert!(streams.feeds("a") && streams.nudge().is_none());
        streams.note(&listed(&[("a", 71), ("b", 0)]));
        assert!(streams.feeds("a") && !streams.feeds("b") && streams.nudge().is_some());
    }

    #[test]
    fn one_that_came_anew_has_to_move_again() {
        let mut streams = Streams::default();
        streams.note(&listed(&[("a", 70)]));
        streams.note(&listed(&[("a", 80)]));
        streams.note(&listed(&[]));
        assert!(!streams.feeds("a") && streams.nudge().is_none());
        streams.note(&listed(&[("a", 90)]));
        assert!(!streams.feeds("a"));
    }
}
