//! The first of a failover's two commits: from now on nobody is primary.
//!
//! Every way to lose or move a primaryship comes through here, so that a drill, an operator and a
//! crash take the same path. What differs is only what has to be true before.
//!
//! Invariant: a vacancy is proposed only if somebody could take over, or the primary is gone anyway.
//!
//! Not here: who takes over (`super::elect`); orders to fence (`super::converge`).

use super::{Draft, Verdict, View, in_sync};
use crate::model::{
    Cause, Durability, EventKind, GroupSpec, Instant, Limits, MoveKind, MoveRequest, NodeId,
    Observations, Primaryship, Run, ShardTopology, Tag, Vacancy, WaitKind,
};

/// Proposes a vacancy if one is due; returns whether it did.
pub(super) fn vacate(view: &View<'_>, primary: &Run, draft: &mut Draft) -> bool {
    if view.asked.deleting {
        commit(view, primary, Cause::Deleted, None, draft);
        draft.event(EventKind::GroupDeleted);
        return true;
    }
    if let Some(cause) = lost(view, primary, draft) {
        commit(view, primary, cause, None, draft);
        return true;
    }
    match view.request() {
        Some(request) => requested(view, primary, request, draft),
        None => false,
    }
}

fn commit(
    view: &View<'_>,
    primary: &Run,
    cause: Cause,
    request: Option<&MoveRequest>,
    draft: &mut Draft,
) {
    in_sync::lineage(view, primary, draft);
    draft.next.epoch = view.decided.epoch.next();
    draft.next.primaryship = Primaryship::Vacant(Vacancy {
        prev: Some(primary.clone()),
        cause,
        request: request.map(|r| r.id),
        heir: request.and_then(|r| r.to.clone()),
    });
    // A pending attachment never was a quorum; the in-sync set stays, it says who may take over.
    draft.next.pending = None;
    draft.event(EventKind::PrimaryVacated { prev: Some(primary.node.clone()), cause });
}

/// Why the primary has to be replaced without anybody having asked for it.
fn lost(view: &View<'_>, primary: &Run, draft: &mut Draft) -> Option<Cause> {
    if view.run_gone(primary) {
        return Some(Cause::PrimaryDown);
    }
    match view.verdict(&primary.node) {
        Verdict::Hung => hung(view, primary, draft),
        Verdict::HostLost => host_lost(view, primary, draft),
        Verdict::Alive | Verdict::Slow | Verdict::Gone | Verdict::Unknown => None,
    }
}

fn hung(view: &View<'_>, primary: &Run, draft: &mut Draft) -> Option<Cause> {
    if anyone_could_take_over(view, primary) {
        return Some(Cause::PrimarySilent);
    }
    // Alone, it is worth waiting for: a process that is killed is restarted from its disk.
    let silent = view.report(&primary.node).map(|seen| seen.report.silent).unwrap_or_default();
    if silent >= view.limits.busy {
        return Some(Cause::PrimarySilent);
    }
    draft.wait(WaitKind::Quorum, format!("{} hangs and nobody could take over", primary.node));
    None
}

fn host_lost(view: &View<'_>, primary: &Run, draft: &mut Draft) -> Option<Cause> {
    if !view.asked.automatic_failover {
        draft.wait(WaitKind::AutomaticFailoverOff, format!("host of {} lost", primary.node));
        return None;
    }
    // It may go on where nobody hears it, but not without the word of all that are in sync.
    let counts = |tag: &Tag| view.decided.in_sync.contains(tag);
    let heir = |node: &NodeId| {
        let attach = view.member(node).and_then(|member| member.attach.as_ref());
        *node != primary.node && attach.is_some_and(counts) && could_take_over(view, node)
    };
    if !view.decided.members.keys().any(heir) {
        draft.wait(WaitKind::Quorum, format!("host of {} lost, no heir reachable", primary.node));
        return None;
    }
    // Silence may be the network's fault; two such failovers in a row would be flapping.
    if let Some(last) = view.seen.last_failover.get(&view.decided.key())
        && view.now.since(*last) < view.limits.flap
    {
        draft.wait(
            WaitKind::FlapLimit,
            format!("the last failover was {:?} ago", view.now.since(*last)),
        );
        return None;
    }
    Some(Cause::HostLost)
}

pub(super) fn anyone_could_take_over(view: &View<'_>, primary: &Run) -> bool {
    view.decided.members.keys().any(|node| *node != primary.node && could_take_over(view, node))
}

/// The member holds every acknowledged write, as far as one can know before freezing it.
pub(super) fn could_take_over(view: &View<'_>, node: &NodeId) -> bool {
    let Some(tag) = view.member(node).filter(|m| !m.leaving).and_then(|m| m.attach.as_ref()) else {
        return false;
    };
    let lineage = &view.decided.lineage;
    let holds_all = match view.decided.durability {
        Durability::Sync => view.decided.in_sync.contains(tag),
        // Whoever has not received anything of the epoch yet is no heir.
        Durability::Async => view.engine_of(&tag.run).is_some_and(|engine| {
            let base = lineage.base.as_ref().map(|(id, _)| id);
            lineage.replid.as_ref() == Some(&engine.replid) || base == Some(&engine.replid)
        }),
    };
    holds_all && !view.run_gone(&tag.run) && view.verdict(node) == Verdict::Alive
}

/// Why nobody, or not `to`, could take over if it were asked for now; `None` if somebody could.
///
/// The same judgment as the decision's own, so that a request that would only wait can be refused.
pub fn heir_missing(
    asked: &GroupSpec,
    decided: &ShardTopology,
    seen: &Observations,
    limits: &Limits,
    now: Instant,
    to: Option<&NodeId>,
) -> Option<String> {
    let view = View { asked, decided, seen, limits, now };
    if view.forgotten().is_some() {
        return Some("the store was put back from an older copy".to_owned());
    }
    match decided.primary() {
        Some(primary) => heir_wanted(&view, primary, to),
        None => Some("nobody is primary".to_owned()),
    }
}

fn heir_wanted(view: &View<'_>, primary: &Run, to: Option<&NodeId>) -> Option<String> {
    match to {
        Some(node) if could_take_over(view, node) => None,
        Some(node) => Some(format!("{node} is not in sync")),
        None if anyone_could_take_over(view, primary) => None,
        None => Some("no replica is in sync".to_owned()),
    }
}

fn requested(view: &View<'_>, primary: &Run, request: &MoveRequest, draft: &mut Draft) -> bool {
    if request.to.as_ref() == Some(&primary.node) {
        draft.next.request_done = request.id;
        return true;
    }
    let forced = request.accept_loss && request.to.is_some();
    if let Some(missing) = heir_wanted(view, primary, request.to.as_ref()).filter(|_| !forced) {
        draft.wait(WaitKind::Heir, missing);
        return false;
    }
    match request.kind {
        MoveKind::Failover => {
            commit(view, primary, Cause::Failover, Some(request), draft);
            true
        }
        MoveKind::Switchover => switchover(view, primary, request, draft),
    }
}

/// Holds the proxies; proposes the vacancy once nothing of any client is in flight.
fn switchover(view: &View<'_>, primary: &Run, request: &MoveRequest, draft: &mut Draft) -> bool {
    let key = view.decided.key();
    let since = match view.seen.holds.get(&key) {
        Some((id, since)) if *id == request.id => *since,
        Some(_) | None => view.now,
    };
    // Clients must not be held for ever by one slow command: hold and let go in turns.
    let turns = view.now.since(since).as_micros() / view.limits.drain.as_micros().max(1);
    if turns % 2 == 1 {
        draft.wait(WaitKind::ProxiesDraining, "a slow command is in flight, trying again");
        return false;
    }
    draft.hold = Some(request.id);
    let said = view.seen.proxies.get(&key);
    let drained = |proxy| {
        let seen = said.and_then(|said| said.get(proxy));
        seen.is_some_and(|seen| seen.drained == Some(request.id))
    };
    let waiting: Vec<_> = view.decided.lanes.iter().filter(|proxy| !drained(*proxy)).collect();
    if waiting.is_empty() {
        commit(view, primary, Cause::Switchover, Some(request), draft);
        return true;
    }
    draft.wait(WaitKind::ProxiesDraining, format!("{waiting:?}"));
    false
}
