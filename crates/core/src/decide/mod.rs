//! The controller's head: asked, decided and seen go in, the next decision comes out.
//!
//! [`decide`] is a table of contents. Each step looks at the [`View`] and either proposes the next
//! topology, says what it waits for, or passes on. At most one commit results; after it, the caller
//! looks again. No step remembers anything: after any crash the same inputs lead on.
//!
//! Invariant: total and deterministic; it never fails, it names problems.
//!
//! Not here: storing the commit and sending orders (`tanist-controller`).

mod behind;
mod converge;
mod cure;
mod detect;
mod diagnose;
mod drain;
mod elect;
mod fence;
mod heal;
mod in_sync;
mod patience;
mod placement;
mod rebalance;
mod routing;
mod served;
mod spread;
mod vacate;
mod word;

#[cfg(test)]
mod tests;

pub use behind::promised_beyond;
pub use converge::{converge, orphans};
pub use cure::cure;
pub use detect::Verdict;
pub use diagnose::{ProblemRule, RULES};
pub use drain::off_host;
pub use patience::{move_due, request_expired};
pub use placement::{ENGINE_PORTS, found, free_endpoints, holds_more, room_for};
pub use rebalance::{Outlook, rebalance};
pub use routing::route;
pub use spread::placed_because;
pub use vacate::heir_missing;

use crate::model::{
    EngineSeen, Event, EventKind, GroupSpec, Instant, Limits, Member, NodeId, NodeSeen,
    Observations, Primaryship, Problem, RequestId, Run, ShardTopology, Tag, Wait, WaitKind,
};

/// The next topology and what its commit means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// What replaces the current topology, by compare-and-set on its revision.
    pub next: ShardTopology,
    /// What has happened once it is committed.
    pub events: Vec<Event>,
}

/// What follows from one look at a shard.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// What is wrong.
    pub problems: Vec<Problem>,
    /// Why nothing, or not more, is done.
    pub waits: Vec<Wait>,
    /// The next decision, if one is due.
    pub commit: Option<Commit>,
    /// The request for which proxies have to hold and drain now.
    pub hold: Option<RequestId>,
}

/// Decides what comes next for one shard.
pub fn decide(
    asked: &GroupSpec,
    decided: &ShardTopology,
    seen: &Observations,
    limits: &Limits,
    now: Instant,
) -> Plan {
    let view = View { asked, decided, seen, limits, now };
    let mut draft = Draft::new(&view);
    match (view.forgotten(), &decided.primaryship) {
        (Some(promised), _) => behind::go_on(&view, promised, &mut draft),
        (None, Primaryship::Vacant(vacancy)) => elect::elect(&view, vacancy, &mut draft),
        (None, Primaryship::Serving(primary)) => {
            if !vacate::vacate(&view, primary, &mut draft) {
                in_sync::maintain(&view, primary, &mut draft);
                heal::heal(&view, primary, &mut draft);
            }
        }
    }
    let mut plan = draft.finish(decided);
    plan.problems = diagnose::diagnose(&view);
    plan
}

/// Everything that a step may look at.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    pub(crate) asked: &'a GroupSpec,
    pub(crate) decided: &'a ShardTopology,
    pub(crate) seen: &'a Observations,
    pub(crate) limits: &'a Limits,
    pub(crate) now: Instant,
}

impl<'a> View<'a> {
    /// A member of the shard.
    pub(crate) fn member(&self, node: &NodeId) -> Option<&'a Member> {
        self.decided.members.get(node)
    }

    /// The last report about a member from the host that it is placed on.
    pub(crate) fn report(&self, node: &NodeId) -> Option<&'a NodeSeen> {
        self.seen.node(node, &self.member(node)?.host)
    }

    /// The last probe answer of the process that a member runs now.
    pub(crate) fn engine(&self, node: &NodeId) -> Option<&'a EngineSeen> {
        self.report(node)?.report.engine()
    }

    /// The last probe answer, if it is of this very run.
    pub(crate) fn engine_of(&self, run: &Run) -> Option<&'a EngineSeen> {
        self.engine(&run.node).filter(|engine| engine.run == run.id)
    }

    /// The last probe answer of this very run, whether it still lives or not.
    pub(crate) fn last_seen_of(&self, run: &Run) -> Option<&'a EngineSeen> {
        let engine = self.report(&run.node)?.report.engine.as_ref()?;
        (engine.run == run.id).then_some(engine)
    }

    /// The request to move the shard's primaryship that has not been carried out yet.
    pub(crate) fn request(&self) -> Option<&'a crate::model::MoveRequest> {
        let request = self.asked.requests.get(&self.decided.shard)?;
        (request.id > self.decided.request_done).then_some(request)
    }

    /// The primary, if it serves and nothing has to end before it can be asked to move.
    pub(crate) fn movable(&self) -> Option<&'a Run> {
        let busy = self.asked.deleting || self.request().is_some() || self.forgotten().is_some();
        self.decided.primary().filter(|run| !busy && self.serves(run))
    }

    /// The primary has confirmed its role and answers.
    pub(crate) fn serves(&self, primary: &Run) -> bool {
        self.promoted(primary)
            && !self.run_gone(primary)
            && self.verdict(&primary.node) == Verdict::Alive
    }

    /// The primary has been told that it is, and has confirmed it.
    pub(crate) fn promoted(&self, primary: &Run) -> bool {
        self.report(&primary.node).and_then(|seen| seen.report.applied.as_ref()).is_some_and(
            |applied| {
                applied.primary && applied.epoch == self.decided.epoch && applied.run == primary.id
            },
        )
    }
}

/// The next topology while it is being put together.
pub(crate) struct Draft {
    pub(crate) next: ShardTopology,
    pub(crate) events: Vec<EventKind>,
    pub(crate) waits: Vec<Wait>,
    pub(crate) hold: Option<RequestId>,
}

impl Draft {
    fn new(view: &View<'_>) -> Self {
        Self { next: view.decided.clone(), events: Vec::new(), waits: Vec::new(), hold: None }
    }

    /// Notes why something that is due is not done.
    pub(crate) fn wait(&mut self, kind: WaitKind, detail: impl Into<String>) {
        self.waits.push(Wait { kind, detail: detail.into() });
    }

    /// Notes what the commit will mean.
    pub(crate) fn event(&mut self, kind: EventKind) {
        self.events.push(kind);
    }

    /// Takes an attachment out of the in-sync set, and says so if it was in it.
    pub(crate) fn expel(&mut self, tag: &Tag, reason: &str) {
        if self.next.in_sync.contains(tag) {
            let node = tag.run.node.clone();
            self.event(EventKind::ReplicaOutOfSync { node, reason: reason.to_owned() });
            if self.next.in_sync.len() == 1 {
                self.event(EventKind::InSyncSetEmpty);
            }
        }
        self.next.forget(tag);
    }

    /// Lets a replica go: it is in no set any more, and its host is to end it.
    pub(crate) fn let_go(&mut self, node: &NodeId, reason: &str) {
        let attach = self.next.members.get(node).and_then(|member| member.attach.clone());
        if let Some(tag) = attach {
            self.expel(&tag, reason);
        }
        if let Some(member) = self.next.members.get_mut(node) {
            member.leaving = true;
            member.attach = None;
        }
    }

    fn finish(self, decided: &ShardTopology) -> Plan {
        let mut plan = Plan { waits: self.waits, hold: self.hold, ..Plan::default() };
        if self.next != *decided {
            let mut next = self.next;
            if next.rev == decided.rev {
                next.rev = decided.rev.next();
            }
            let (group, shard, epoch) = (next.group.clone(), next.shard.clone(), next.epoch);
            let event = |kind| Event { group: group.clone(), shard: shard.clone(), epoch, kind };
            let events = self.events.into_iter().map(event).collect();
            plan.commit = Some(Commit { next, events });
        }
        plan
    }
}
