//! Calling core's `decide`, and what planted bugs do to what goes in and what comes out.
//!
//! Invariant: without a planted bug, `decide` is called with exactly what the controller has, and
//! its commit is proposed as it came.
//!
//! Not here: the bugs' names (`crate::bugs`); those that sit in hands rather than in the head.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tanist_core::decide::{Commit, Plan, decide};
use tanist_core::model::{
    Cause, FenceAnswer, Fenced, GroupSpec, Instant, Observations, Origin, Primaryship, Run,
    ShardTopology,
};

use crate::bugs::Bug;
use crate::world::World;

impl World {
    /// What the controller's head says.
    pub(crate) fn think(
        &mut self,
        controller: usize,
        spec: &GroupSpec,
        decided: &ShardTopology,
        now: Instant,
    ) -> Plan {
        let seen = &self.controllers[controller].seen;
        let limits = &self.config.limits;
        let Some(bug) = self.config.bug else { return decide(spec, decided, seen, limits, now) };
        let mut limits = *limits;
        if bug == Bug::NoLeaseMargin {
            limits.lease_margin = Duration::ZERO;
        }
        let seen = misread(bug, seen, decided);
        let believed = misremember(bug, &seen, decided);
        let mut plan = decide(spec, &believed, &seen, &limits, now);
        if let Some(commit) = &mut plan.commit {
            misdecide(bug, commit, &seen, decided);
        }
        plan
    }

    /// What the controller takes for decided when it derives the route.
    pub(crate) fn required(&self, decided: &Rc<ShardTopology>) -> Rc<ShardTopology> {
        let mut believed = Rc::clone(decided);
        if self.has(Bug::PendingNotRequired) {
            Rc::make_mut(&mut believed).pending = None;
        }
        believed
    }

    /// What the controller takes for decided when it derives orders.
    pub(crate) fn believed(
        &self,
        controller: usize,
        decided: &Rc<ShardTopology>,
    ) -> Rc<ShardTopology> {
        match self.config.bug {
            Some(bug) => Rc::new(misremember(bug, &self.controllers[controller].seen, decided)),
            None => Rc::clone(decided),
        }
    }
}

/// Observations that are taken for what they are not.
fn misread(bug: Bug, seen: &Observations, decided: &ShardTopology) -> Observations {
    let mut seen = seen.clone();
    for node in seen.nodes.values_mut().flatten() {
        let report = &mut node.report;
        match bug {
            Bug::StaleSample => node.sampled_after = Instant::from_micros(u64::MAX),
            Bug::OldFenceAnswers => {
                if let Some(answer) = &mut report.fence {
                    answer.rev = decided.rev;
                }
            }
            Bug::CutNotAwaited => {
                if let Some(applied) = report.applied.as_mut().map(Arc::make_mut) {
                    applied.lanes.retain(|lane| decided.lanes.contains(lane));
                }
            }
            Bug::UnaskedHeir => {
                if let Some(applied) = report.applied.as_mut().map(Arc::make_mut) {
                    applied.stand_ins = decided.required().iter().map(|tag| tag.seq).collect();
                }
            }
            Bug::WordForgotten => {
                node.withheld_since = Some(Instant::ZERO);
                node.fenced_at = Instant::ZERO;
            }
            Bug::FakeFreeze => {
                if let Some(engine) = report.engine().cloned() {
                    let state = Fenced::Frozen {
                        run: engine.run,
                        replid: engine.replid,
                        before: None,
                        offset: engine.offset,
                        origin: Origin::Empty,
                    };
                    report.fence = Some(FenceAnswer { rev: decided.rev, state });
                }
            }
            _ => {}
        }
    }
    for (id, proxy) in seen.proxies.values_mut().flatten() {
        let known = decided.lanes.contains(id);
        let believed =
            (bug == Bug::GrowIgnoresProxies && known) || (bug == Bug::AdmitBlindly && !known);
        if believed {
            proxy.route = Some((decided.rev, Instant::ZERO));
        }
    }
    seen
}

/// A topology that is not the decided one.
fn misremember(bug: Bug, seen: &Observations, decided: &ShardTopology) -> ShardTopology {
    let mut believed = decided.clone();
    if decided.primary().is_some() {
        return believed;
    }
    let attached = decided.attachments();
    match bug {
        Bug::IgnoreInSync => believed.in_sync = attached,
        Bug::AnybodyGoesOn => {
            if let Primaryship::Vacant(vacancy) = &mut believed.primaryship
                && vacancy.cause == Cause::StoreBehind
            {
                vacancy.cause = Cause::Failover;
            }
        }
        Bug::EmptySetIsQuorum if decided.in_sync.is_empty() => believed.in_sync = attached,
        Bug::ShrinkWhileVacant => {
            let answered = |run: &Run| {
                let reports = seen.nodes.get(&run.node).into_iter().flatten();
                reports.filter_map(|node| node.report.fence.as_ref()).any(|a| a.rev == decided.rev)
            };
            believed.in_sync.retain(|tag| answered(&tag.run));
        }
        _ => {}
    }
    believed
}

/// A commit that is not what `decide` said.
fn misdecide(bug: Bug, commit: &mut Commit, seen: &Observations, decided: &ShardTopology) {
    let next = &mut commit.next;
    let elects = decided.primary().is_none() && next.primary().is_some();
    match bug {
        Bug::ReuseEpoch if next.primary().is_none() => next.epoch = decided.epoch,
        Bug::GrowWithoutPending => {
            if let Some(tag) = next.pending.take() {
                next.in_sync.insert(tag);
            }
        }
        Bug::NewRunIsMember if !elects && next.primary().is_some() => {
            let old = decided.attachments();
            next.in_sync.extend(next.attachments().into_iter().filter(|tag| !old.contains(tag)));
        }
        Bug::LaggardsInSync if elects => next.in_sync = next.attachments(),
        Bug::PromoteLaggard if elects => {
            let vacancy = decided.vacancy();
            let prev = vacancy.and_then(|vacancy| vacancy.prev.clone());
            let loser = decided.attachments().into_iter().find(|tag| {
                let reports = seen.nodes.get(&tag.run.node).into_iter().flatten();
                let runs = reports.filter_map(|node| node.report.run());
                runs.into_iter().any(|id| *id == tag.run.id) && !decided.in_sync.contains(tag)
            });
            if let Some(tag) = loser.filter(|tag| Some(&tag.run) != prev.as_ref()) {
                if let Some(member) = next.members.get_mut(&tag.run.node) {
                    member.attach = None;
                }
                next.primaryship = Primaryship::Serving(tag.run);
                next.in_sync = BTreeSet::new();
            }
        }
        _ => {}
    }
}
