//! Answers to the fence: what each member is now that nobody is primary.
//!
//! An answer counts for the vacancy's revision alone, and only of a run that the topology knows and
//! whose history is the epoch's. Everything else ("loading", a new process, another history) is not
//! a low offset but no answer at all: counting it as one loses acknowledged writes.
//!
//! Invariant: an answer is never inferred; it was given by an agent that had the vacancy's revision
//! on its disk first.
//!
//! Not here: what to make of the answers (`super::elect`).

use super::{Verdict, View};
use crate::model::{Fenced, NodeId, Offset, Origin, ReplId, Run, RunId, Tag};

/// A frozen run that is what the topology thinks it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Frozen {
    pub(super) run: Run,
    pub(super) replid: ReplId,
    pub(super) before: Option<(ReplId, Offset)>,
    pub(super) offset: Offset,
    pub(super) origin: Origin,
}

impl View<'_> {
    /// The member's answer to the fence of this vacancy.
    pub(super) fn answer(&self, node: &NodeId) -> Option<&Fenced> {
        let fence = self.report(node)?.report.fence.as_ref()?;
        (fence.rev == self.decided.rev).then_some(&fence.state)
    }

    /// The member's answer, if it is frozen and nothing has happened to its process since.
    pub(super) fn frozen(&self, node: &NodeId) -> Option<Frozen> {
        let Some(Fenced::Frozen { run, replid, before, offset, origin }) = self.answer(node) else {
            return None;
        };
        let run = Run { node: node.clone(), id: run.clone() };
        // A process that died after it answered cannot be promoted.
        if self.run_gone(&run) || self.verdict(node) == Verdict::HostLost {
            return None;
        }
        Some(Frozen {
            run,
            replid: replid.clone(),
            before: before.clone(),
            offset: *offset,
            origin: *origin,
        })
    }

    /// The answer of an attachment's own run, in the epoch's history.
    pub(super) fn frozen_member(&self, tag: &Tag) -> Option<Frozen> {
        let frozen = self.frozen(&tag.run.node)?;
        (frozen.run == tag.run && self.in_lineage(&frozen)).then_some(frozen)
    }

    /// The run is frozen in a history that is not the epoch's: it never was part of it.
    pub(super) fn is_stranger(&self, tag: &Tag) -> bool {
        let frozen = self.frozen(&tag.run.node).filter(|frozen| frozen.run == tag.run);
        frozen.is_some_and(|frozen| !self.in_lineage(&frozen))
    }

    /// The run's history is the epoch's, as its own answer or another member's proves: whoever was
    /// given a full copy does not know where its history comes from, nor where it went on.
    fn in_lineage(&self, frozen: &Frozen) -> bool {
        let beside = |tag: &Tag| {
            let other = self.frozen(&tag.run.node).filter(|other| other.run == tag.run);
            other.is_some_and(|other| {
                let before = other.before.as_ref().map(|(id, _)| id);
                let same = other.replid == frozen.replid || before == Some(&frozen.replid);
                same && self.continues(&other)
            })
        };
        self.continues(frozen) || self.decided.attachments().iter().any(beside)
    }

    /// The run is in the history that was noted for the epoch, went on from it, or is in the one that
    /// another answer went on from to get there.
    pub(super) fn in_noted_history(&self, frozen: &Frozen, answers: &[Frozen]) -> bool {
        let noted = self.decided.lineage.replid.as_ref();
        let is_noted = |of: &Frozen| Some(&of.replid) == noted;
        let left = |of: &Frozen| of.before.as_ref().map(|(id, _)| id.clone());
        noted.is_some()
            && (is_noted(frozen)
                || left(frozen).as_ref() == noted
                || answers
                    .iter()
                    .any(|other| is_noted(other) && left(other).as_ref() == Some(&frozen.replid)))
    }

    fn continues(&self, frozen: &Frozen) -> bool {
        let lineage = &self.decided.lineage;
        if lineage.replid.as_ref() == Some(&frozen.replid) {
            return true;
        }
        // The primary was fenced and let go on within the epoch, and was lost before that was noted.
        let before = frozen.before.as_ref().map(|(id, _)| id);
        if before.is_some() && before == lineage.replid.as_ref() {
            return true;
        }
        let Some((base, left_at)) = &lineage.base else { return false };
        let continued =
            frozen.before.as_ref().is_some_and(|(id, from)| id == base && from.0 == left_at.0 + 1);
        continued || frozen.replid == *base
    }

    /// The member has answered in a way that will not change by waiting, or cannot be asked.
    pub(super) fn answer_settled(&self, node: &NodeId) -> bool {
        match self.answer(node) {
            Some(Fenced::Dead | Fenced::Frozen { .. }) => true,
            Some(Fenced::Unusable { .. }) | None => !self.reachable(node),
        }
    }

    /// What the run had in memory is known to be lost.
    pub(super) fn memory_lost(&self, run: &Run) -> bool {
        let other = |id: &RunId| *id != run.id;
        match self.answer(&run.node) {
            Some(Fenced::Dead) => true,
            Some(Fenced::Frozen { run: id, .. }) => other(id) || self.run_gone(run),
            Some(Fenced::Unusable { run: Some(id) }) => other(id) || self.run_gone(run),
            Some(Fenced::Unusable { run: None }) | None => false,
        }
    }
}
