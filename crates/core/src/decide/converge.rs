//! From a decided topology to orders: what each hand has to make true, now.
//!
//! No choice is left here. Orders are derived from what was decided and what was seen, at every
//! tick, until the reports say that they are true; so a lost order is sent again and a late one is
//! refused by its revision.
//!
//! Invariant: no order follows from a topology that is not committed.
//!
//! Not here: the decisions (`super::decide`), the refusal of old orders (`crate::guard`).

use std::collections::BTreeSet;

use super::{View, elect};
use crate::model::accounts::mark;
use crate::model::{
    Action, Applied, Cause, DataOnStart, Durability, Fenced, GroupSpec, HostId, Instant, LaneUsers,
    Limits, Member, NodeId, NodeReport, Observations, Offset, Order, Primaryship, Process,
    RoleSeen, Run, ShardTopology, StandIn, Tag, Term, Vacancy,
};

/// The orders that the shard's topology asks for and that are not yet true, with their hosts.
pub fn converge(
    asked: &GroupSpec,
    decided: &ShardTopology,
    seen: &Observations,
    limits: &Limits,
    term: Term,
    now: Instant,
) -> Vec<(HostId, Order)> {
    let view = View { asked, decided, seen, limits, now };
    let mut orders = Vec::new();
    if view.forgotten().is_some() {
        return orders;
    }
    let mut copying = None;
    for (node, member) in &decided.members {
        let Some(report) = view.report(node).map(|seen| &seen.report) else { continue };
        let action = if member.leaving {
            remove(report)
        } else {
            match &decided.primaryship {
                Primaryship::Vacant(vacancy) => while_vacant(&view, vacancy, node, member, report),
                Primaryship::Serving(primary) if primary.node == *node => {
                    lead(&view, primary, report)
                }
                Primaryship::Serving(primary) => {
                    follow(&view, primary, member, report, &mut copying)
                }
            }
        };
        if let Some(action) = action.or_else(|| configure(&view, member, report)) {
            orders.push((member.host.clone(), order(asked, decided, term, node, action)));
        }
    }
    orders
}

/// Settings that were asked for after the process was started. They can wait until everything else
/// is true: nobody's role or data depends on them.
fn configure(view: &View<'_>, member: &Member, report: &NodeReport) -> Option<Action> {
    let limit = report.engine()?.memory_limit?;
    let memory_bytes = view.asked.memory_bytes;
    let due = limit != memory_bytes && view.decided.primary().is_some() && !member.leaving;
    due.then_some(Action::Configure { memory_bytes })
}

/// Orders to remove what is left of nodes on hosts that they are not placed on any more, beside a
/// primary that serves: without one, what came back may be the best copy there is.
pub fn orphans(
    asked: &GroupSpec,
    decided: &ShardTopology,
    seen: &Observations,
    limits: &Limits,
    term: Term,
    now: Instant,
) -> Vec<(HostId, Order)> {
    let view = View { asked, decided, seen, limits, now };
    let serving = decided.primary().is_some_and(|primary| view.serves(primary));
    let mut orders = Vec::new();
    if (!serving && !asked.deleting) || view.forgotten().is_some() {
        return orders;
    }
    for (node, member) in &decided.members {
        for stray in seen.nodes.get(node).into_iter().flatten() {
            if stray.host != member.host && remove(&stray.report).is_some() {
                let order = order(asked, decided, term, node, Action::Remove);
                orders.push((stray.host.clone(), order));
            }
        }
    }
    orders
}

fn order(
    asked: &GroupSpec,
    decided: &ShardTopology,
    term: Term,
    node: &NodeId,
    action: Action,
) -> Order {
    let lets_in =
        matches!(action, Action::Promote { .. } | Action::Admit { .. } | Action::Follow { .. });
    Order {
        term,
        epoch: decided.epoch,
        rev: decided.rev,
        group: decided.group.clone(),
        shard: decided.shard.clone(),
        node: node.clone(),
        action,
        users: if lets_in { asked.accounts.lanes() } else { LaneUsers::new() },
    }
}

fn remove(report: &NodeReport) -> Option<Action> {
    let there = report.data || matches!(report.process, Process::Running(_));
    there.then_some(Action::Remove)
}

fn start(view: &View<'_>, member: &Member, data: DataOnStart) -> Option<Action> {
    Some(Action::Start {
        engine: view.asked.engine,
        address: member.address,
        memory_bytes: view.asked.memory_bytes,
        data,
    })
}

fn while_vacant(
    view: &View<'_>,
    vacancy: &Vacancy,
    node: &NodeId,
    member: &Member,
    report: &NodeReport,
) -> Option<Action> {
    if vacancy.cause == Cause::Deleted {
        return remove(report);
    }
    let running = matches!(report.process, Process::Running(_));
    if !running && may_load(view, vacancy, node) {
        return start(view, member, DataOnStart::Load);
    }
    let settled = match view.answer(node) {
        Some(Fenced::Dead) => !running,
        Some(Fenced::Frozen { run, .. }) => report.run() == Some(run),
        Some(Fenced::Unusable { .. }) | None => false,
    };
    if settled {
        return None;
    }
    let was_primary = vacancy.prev.as_ref().is_some_and(|prev| prev.node == *node);
    if was_primary || !vacancy.cause.is_planned() {
        return Some(Action::Fence { was_primary, drain_to: None });
    }
    // Planned: first the old primary stops, then the others may take in its last bytes.
    let prev = vacancy.prev.as_ref()?;
    let drain_to: Option<Offset> = match view.answer(&prev.node) {
        Some(Fenced::Frozen { run, offset, .. }) if *run == prev.id => Some(*offset),
        Some(Fenced::Frozen { .. } | Fenced::Dead | Fenced::Unusable { .. }) => None,
        // It may never answer: a plan that fails goes on as a crash does.
        None if view.reachable(&prev.node) && !view.unheard_for(view.limits.drain) => return None,
        None => None,
    };
    Some(Action::Fence { was_primary, drain_to })
}

/// The node's disk may be loaded: the group is new, or its disk is the best copy there is.
fn may_load(view: &View<'_>, vacancy: &Vacancy, node: &NodeId) -> bool {
    let wanted = elect::accepted_node(view) == Some(node);
    if vacancy.cause == Cause::StoreBehind {
        return wanted;
    }
    let Some(prev) = &vacancy.prev else { return true };
    wanted || (prev.node == *node && elect::needs_disk(view))
}

fn lead(view: &View<'_>, primary: &Run, report: &NodeReport) -> Option<Action> {
    if report.run() != Some(&primary.id) {
        return None;
    }
    let replicas = view.decided.attachments();
    let lanes = &view.decided.lanes;
    let stand_ins = stand_ins(view);
    let run = || primary.id.clone();
    if !view.promoted(primary) {
        let lanes = lanes.clone();
        return Some(Action::Promote { run: run(), replicas, lanes, stand_ins });
    }
    let seqs: BTreeSet<u64> = replicas.iter().map(|tag| tag.seq).collect();
    let asks = stand_ins.iter().flatten().map(|one| one.tag.seq).collect();
    let applied = report.applied.as_ref()?;
    let users = mark(&view.asked.accounts.lanes());
    let done = applied.seqs == seqs
        && applied.lanes == *lanes
        && applied.users == users
        && applied.stand_ins == asks;
    (!done).then(|| Action::Admit { run: run(), replicas, lanes: lanes.clone(), stand_ins })
}

/// Who confirms the primary's lease together when no controller does: whoever could take over without
/// it. Who is about to join the set is asked before it counts, who has left it until that is heard.
fn stand_ins(view: &View<'_>) -> Option<BTreeSet<StandIn>> {
    let address = |tag: &Tag| Some(view.member(&tag.run.node)?.address);
    let one = |tag: Tag| Some(StandIn { address: address(&tag)?, tag });
    (view.decided.durability == Durability::Async)
        .then(|| view.decided.required().into_iter().filter_map(one).collect())
}

fn follow(
    view: &View<'_>,
    primary: &Run,
    member: &Member,
    report: &NodeReport,
    copying: &mut Option<BTreeSet<HostId>>,
) -> Option<Action> {
    let id = match &report.process {
        // Only beside a primary that serves is a replica's disk of no more use: after the end of
        // everything it may be the best copy there is.
        Process::Absent | Process::Failed(_) if view.serves(primary) => {
            return start(view, member, DataOnStart::SetAside);
        }
        Process::Absent | Process::Failed(_) => return None,
        Process::Unknown | Process::Running(None) => return None,
        Process::Running(Some(id)) => id,
    };
    let tag = member.attach.as_ref().filter(|tag| tag.run.id == *id);
    let Some(tag) = tag else {
        // A run without an attachment is nobody's replica; if it believes to be primary, stop it.
        let stray = report.engine().is_some_and(|e| matches!(e.role, RoleSeen::Primary { .. }));
        return stray.then_some(Action::Fence { was_primary: true, drain_to: None });
    };
    let applied = report.applied.as_deref().filter(|applied| {
        applied.run == *id && !applied.primary && applied.epoch == view.decided.epoch
    });
    let attached = applied.is_some_and(|applied| applied.seqs.contains(&tag.seq));
    let users = mark(&view.asked.accounts.lanes());
    let lanes = &view.decided.lanes;
    let done = |applied: &Applied| applied.lanes == *lanes && applied.users == users;
    if attached && applied.is_some_and(done) {
        return None;
    }
    // The primary has to know the attachment first: a refused replica tries again only in a second.
    let known = view.report(&primary.node)?.report.applied.as_ref().is_some_and(|leader| {
        leader.primary && leader.run == primary.id && leader.seqs.contains(&tag.seq)
    });
    if !known || !view.promoted(primary) {
        return None;
    }
    // One full copy at a time per host: several at once starve each other and the primary.
    // Who is in sync has no copy to wait for, and writes wait for it.
    let copies = !attached && !view.decided.in_sync.contains(tag);
    let slots = || copying_hosts(view.seen);
    if copies && !copying.get_or_insert_with(slots).insert(member.host.clone()) {
        return None;
    }
    Some(Action::Follow {
        tag: tag.clone(),
        primary: view.member(&primary.node)?.address,
        base: view.decided.lineage.base.clone(),
        lanes: lanes.clone(),
    })
}

/// Hosts on which a node is receiving a full copy. Looks at every node of every group, so it is asked
/// only when a copy is about to begin.
pub(super) fn copying_hosts(seen: &Observations) -> BTreeSet<HostId> {
    let nodes = seen.nodes.values().flatten();
    let copying = nodes.filter(|node| {
        let role = node.report.engine().map(|engine| &engine.role);
        matches!(role, Some(RoleSeen::Replica { syncing: true, .. }))
    });
    copying.map(|node| node.host.clone()).collect()
}
