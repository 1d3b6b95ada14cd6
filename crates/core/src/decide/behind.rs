//! A store that was put back from an older copy.
//!
//! Hosts remember the newest revision that they were told. If one of them knows more than the store,
//! decisions were forgotten: somebody else may have been primary since, and deciding from the old
//! topology could overwrite what was acknowledged then. Only a person can say whose data counts.
//!
//! Invariant: nothing is decided or ordered for such a shard until a person who was told of it has
//! named a node; from then on nobody but a node that a person names becomes primary.
//!
//! Not here: who is primary after that (`super::elect`); damage of the store, and putting a copy in
//! its place (`tanist-store`).

use super::{Draft, View};
use crate::model::{
    Cause, Epoch, EventKind, GAP, NodeId, Observations, Primaryship, RequestId, Rev, ShardTopology,
    Vacancy, WaitKind,
};

/// The newest revision that a host was told, if it is newer than the store's.
///
/// A leader is the only one who commits and tells, and tells only what the store has: a host that
/// was told more proves that the store has lost it, or that somebody else leads by now.
pub fn promised_beyond(decided: &ShardTopology, seen: &Observations) -> Option<Rev> {
    let reports = decided.members.keys().filter_map(|node| seen.nodes.get(node)).flatten();
    reports.map(|seen| seen.report.rev).max().filter(|rev| *rev > decided.rev)
}

impl View<'_> {
    /// The newest revision that a host was told, if the store has forgotten it.
    pub(super) fn forgotten(&self) -> Option<Rev> {
        promised_beyond(self.decided, self.seen)
    }
}

/// Lets the shard go on from the node that a person has named, beyond everything forgotten; says
/// what is missing if nobody has.
pub(super) fn go_on(view: &View<'_>, promised: Rev, draft: &mut Draft) {
    let Some((request, heir)) = named(view, promised) else {
        let missing = "a person has to say which node's data counts";
        return draft.wait(WaitKind::Candidate, missing);
    };
    let Some((rev, epoch, next_seq)) = beyond(view.decided, promised) else {
        let missing = format!("revision {promised} leaves no number to go on with");
        return draft.wait(WaitKind::Candidate, missing);
    };
    let prev = match &view.decided.primaryship {
        Primaryship::Serving(run) => Some(run.clone()),
        Primaryship::Vacant(vacancy) => vacancy.prev.clone(),
    };
    let cause = Cause::StoreBehind;
    draft.event(EventKind::PrimaryVacated {
        prev: prev.as_ref().map(|run| run.node.clone()),
        cause,
    });
    let next = &mut draft.next;
    (next.rev, next.epoch, next.next_seq) = (rev, epoch, next_seq);
    next.pending = None;
    // Who was in sync when the copy was made says nothing of now.
    next.in_sync.clear();
    let (request, heir) = (Some(request), Some(heir));
    next.primaryship = Primaryship::Vacant(Vacancy { prev, cause, request, heir });
}

/// The request of a person who knew what the store has forgotten. One that the copy itself brought
/// back was made before, or forgives less than what is forgotten now.
fn named(view: &View<'_>, promised: Rev) -> Option<(RequestId, NodeId)> {
    let request = view.request().filter(|request| request.accept_loss)?;
    let heir = request.to.clone().filter(|_| !view.asked.deleting)?;
    let member = view.member(&heir).is_some_and(|member| !member.leaving);
    (member && request.beyond >= Some(promised)).then_some((request.id, heir))
}

/// The next revision, epoch and attachment number, each beyond every one that was forgotten: an
/// epoch never gets ahead of its revision, so the revision's number is a new epoch's as well.
fn beyond(decided: &ShardTopology, promised: Rev) -> Option<(Rev, Epoch, u64)> {
    let rev = promised.0.checked_add(GAP)?;
    let epoch = decided.epoch.0.checked_add(GAP)?.max(rev);
    Some((Rev(rev), Epoch(epoch), decided.next_seq.checked_add(GAP)?))
}
