//! Events of a watch, put together into revisions.
//!
//! etcd sends whole revisions, but cuts long answers into fragments, between any two events. After a
//! break a stream begins earlier than where the last one ended, and some releases repeat old events
//! after a member caught up from a snapshot. So events below `next` are left out, and a revision is
//! complete when an event of a later one comes, or the last fragment of an answer.
//!
//! Invariant: a revision is answered once, and only after all of its events.
//!
//! Not here: streams (`follow`).

use super::keys::Prefix;
use super::pb::mvccpb;
use crate::error::StoreError;
use crate::model::{EventBatch, Revision};

/// An event that cannot be taken in.
#[derive(Debug)]
pub(super) enum Bad {
    /// Its key is not one of ours. The revisions before its own are whole.
    Foreign(Revision, StoreError),
    /// It is of an earlier revision than the one before it.
    Disorder,
}

/// What was delivered, and what is on its way.
pub(super) struct Assembly {
    own: Prefix,
    next: u64,
    partial: Option<EventBatch>,
}

impl Assembly {
    /// Begins with the changes of revision `next`.
    pub(super) const fn new(own: Prefix, next: u64) -> Self {
        Self { own, next, partial: None }
    }

    /// The first revision that was not yet delivered, or passed without a change.
    pub(super) const fn next(&self) -> u64 {
        self.next
    }

    /// Takes in an event; answers the revision that is complete by that.
    pub(super) fn take(&mut self, event: mvccpb::Event) -> Result<Option<EventBatch>, Bad> {
        let at = super::keys::number(event.kv.as_ref().map_or(0, |kv| kv.mod_revision));
        if at < self.next {
            return Ok(None);
        }
        let (revision, event) =
            self.own.event(event).map_err(|error| Bad::Foreign(Revision(at), error))?;
        match &mut self.partial {
            Some(partial) if partial.revision == revision => {
                partial.events.push(event);
                Ok(None)
            }
            Some(partial) if partial.revision > revision => Err(Bad::Disorder),
            _ => Ok(self.partial.replace(EventBatch { revision, events: vec![event] })),
        }
    }

    /// An answer has come to its end: the last revision is complete, too.
    pub(super) fn complete(&mut self) -> Option<EventBatch> {
        self.partial.take()
    }

    /// A stream has come to its end: the next one tells the revision again.
    pub(super) fn drop_partial(&mut self) {
        self.partial = None;
    }

    /// A batch was handed over.
    pub(super) fn delivered(&mut self, at: Revision) {
        self.next = self.next.max(at.next().0);
    }

    /// Everything up to revision `at` has passed.
    pub(super) fn passed(&mut self, at: u64) {
        if self.partial.is_none() {
            self.next = self.next.max(at.saturating_add(1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(key: &str, at: i64) -> mvccpb::Event {
        let key = format!("/t/{key}").into_bytes();
        let kv = mvccpb::KeyValue { key, mod_revision: at, ..Default::default() };
        mvccpb::Event { r#type: 0, kv: Some(kv) }
    }

    fn assembly(next: u64) -> Assembly {
        Assembly::new(Prefix("/t/".to_owned()), next)
    }

    fn shown(batch: Option<EventBatch>) -> Option<(u64, Vec<String>)> {
        let names = |batch: &EventBatch| batch.events.iter().map(|e| e.key().to_owned()).collect();
        batch.map(|batch| (batch.revision.0, names(&batch)))
    }

    #[test]
    fn a_revision_over_several_fragments_is_one_batch() {
        let mut assembly = assembly(5);
        for key in ["a", "b", "c"] {
            assert!(assembly.take(event(key, 7)).unwrap().is_none());
        }
        let done = assembly.take(event("a", 8)).unwrap();
        assert_eq!(shown(done), Some((7, vec!["a".into(), "b".into(), "c".into()])));
        assert_eq!(shown(assembly.complete()), Some((8, vec!["a".into()])));
        assert!(assembly.complete().is_none());
    }

    #[test]
    fn what_was_delivered_is_left_out_when_it_comes_again() {
        let mut assembly = assembly(5);
        assert!(assembly.take(event("a", 4)).unwrap().is_none());
        assert!(assembly.complete().is_none());
        assembly.take(event("a", 6)).unwrap();
        let batch = assembly.complete().unwrap();
        assembly.delivered(batch.revision);
        assert_eq!(assembly.next(), 7);
        assembly.take(event("a", 6)).unwrap();
        assert!(assembly.complete().is_none());
    }

    #[test]
    fn half_a_revision_is_told_again_by_the_next_stream() {
        let mut assembly = assembly(5);
        assembly.take(event("a", 6)).unwrap();
        assembly.drop_partial();
        assert_eq!(assembly.next(), 5);
        assembly.take(event("a", 6)).unwrap();
        assembly.take(event("b", 6)).unwrap();
        assert_eq!(shown(assembly.complete()), Some((6, vec!["a".into(), "b".into()])));
    }

    #[test]
    fn events_out_of_order_are_no_gap_but_the_end_of_the_stream() {
        let mut assembly = assembly(5);
        assembly.take(event("a", 8)).unwrap();
        assert!(matches!(assembly.take(event("a", 7)), Err(Bad::Disorder)));
        assert!(matches!(assembly.take(mvccpb::Event::default()), Ok(None)));
        assert!(matches!(assembly.take(event("", 9)), Err(Bad::Foreign(Revision(9), _))));
    }

    #[test]
    fn progress_moves_on_but_never_over_a_revision_that_is_under_way() {
        let mut assembly = assembly(5);
        assembly.passed(9);
        assert_eq!(assembly.next(), 10);
        assembly.passed(3);
        assert_eq!(assembly.next(), 10);
        assembly.take(event("a", 11)).unwrap();
        assembly.passed(20);
        assert_eq!(assembly.next(), 10);
    }
}
