//! The second of a failover's two commits: who is primary now.
//!
//! With writes acknowledged by *every* in-sync member, any single one of them that answers the fence
//! holds every acknowledged write, and the old primary, frozen and answering, does by itself. Among
//! those the longest history wins. If all that memory is gone, the recorded primary's disk is next;
//! if that is gone too, the vacancy stays, named, until the operator accepts a loss.
//!
//! Invariant: nobody is chosen whose claim to every acknowledged write is a guess, unless an
//! operator said so.
//!
//! Not here: what an answer is worth (`super::fence`).

use std::collections::BTreeSet;

use super::fence::Frozen;
use super::{Draft, Verdict, View, word};
use crate::model::{
    Cause, Durability, EngineSeen, EventKind, Fenced, Instant, Lineage, MoveRequest, NodeId,
    Origin, Primaryship, RoleSeen, Run, Tag, Vacancy, WaitKind,
};

/// Proposes the heir if there is one.
pub(super) fn elect(view: &View<'_>, vacancy: &Vacancy, draft: &mut Draft) {
    if vacancy.cause == Cause::Deleted {
        return;
    }
    if view.asked.deleting {
        draft.next.primaryship =
            Primaryship::Vacant(Vacancy { cause: Cause::Deleted, ..vacancy.clone() });
        draft.next.epoch = view.decided.epoch.next();
        return draft.event(EventKind::GroupDeleted);
    }
    if let Some(heir) = accepted(view) {
        // A loss may be accepted, two primaries may not.
        if let Some(other) = other_that_may_accept(view, vacancy) {
            return draft.wait(WaitKind::Lease, format!("{other} may still accept writes"));
        }
        draft.event(EventKind::LossAccepted { node: heir.run.node.clone() });
        return commit(view, vacancy, &heir, &[], draft);
    }
    if vacancy.cause == Cause::StoreBehind {
        // What the store knew of histories and sets is out of date: nobody else's answer counts.
        let named = accepted_node(view).map_or("a node", NodeId::as_str);
        return draft.wait(WaitKind::Candidate, format!("{named} was named and has not answered"));
    }
    let Some(prev) = &vacancy.prev else { return elect_first(view, vacancy, draft) };
    if let Some(frozen) = view.frozen(&prev.node).filter(|frozen| frozen.run == *prev) {
        return elect_beside(view, vacancy, &frozen, draft);
    }
    if still_answering(view, prev) {
        return draft.wait(WaitKind::FenceAnswers, "reachable members have not answered");
    }
    if may_still_accept(view, prev) {
        return draft.wait(WaitKind::Lease, format!("{} may still accept writes", prev.node));
    }
    let answers = answers(view);
    if needs_disk(view) {
        return recover(view, vacancy, prev, draft);
    }
    let Some(best) = best(view, &answers) else { return name_missing(view, prev, draft) };
    if view.asked.automatic_failover || vacancy.request.is_some() || view.request().is_some() {
        return commit(view, vacancy, best, &answers, draft);
    }
    draft.wait(WaitKind::AutomaticFailoverOff, format!("{} could take over", best.run.node));
}

/// The attachments whose runs may take over: all have every acknowledged write (`sync`), or may lack
/// some that only the primary had (`async`).
fn electorate(view: &View<'_>) -> BTreeSet<Tag> {
    match view.decided.durability {
        Durability::Sync => view.decided.in_sync.clone(),
        Durability::Async => view.decided.attachments(),
    }
}

/// This very run is frozen.
fn frozen_run(view: &View<'_>, run: &Run) -> bool {
    view.frozen(&run.node).is_some_and(|frozen| frozen.run == *run)
}

fn answers(view: &View<'_>) -> Vec<Frozen> {
    electorate(view).iter().filter_map(|tag| view.frozen_member(tag)).collect()
}

/// The longest history; the lowest node id among equals, so that the choice can be foretold.
///
/// A primary that was given up may have gone on for a while from where this epoch began, too: what
/// is certainly of this epoch comes first, for offsets of two branches cannot be compared.
fn best<'a>(view: &View<'_>, answers: &'a [Frozen]) -> Option<&'a Frozen> {
    let rank = |frozen: &&Frozen| (view.in_noted_history(frozen, answers), frozen.offset);
    answers.iter().rev().max_by_key(rank)
}

/// Members that can be reached have not answered yet, and it is early enough to wait for them.
fn still_answering(view: &View<'_>, prev: &Run) -> bool {
    let waited = match view.seen.rev_since.get(&view.decided.key()) {
        Some((rev, since)) if *rev == view.decided.rev => view.now.since(*since),
        Some(_) | None => return true,
    };
    let electorate = electorate(view);
    let mut nodes = electorate.iter().map(|tag| &tag.run.node).chain([&prev.node]);
    waited < view.limits.answers && !nodes.all(|node| view.answer_settled(node))
}

/// The old primary may accept writes and acknowledge them by itself (`async`): it is not known to be
/// fenced or dead, and its permission may not be over.
fn may_still_accept(view: &View<'_>, prev: &Run) -> bool {
    view.decided.durability == Durability::Async
        && !frozen_run(view, prev)
        && !view.memory_lost(prev)
        && !lease_over(view, prev)
}

/// The old primary's permission has run out. No controller has renewed it since the vacancy was
/// committed, nor did it go on without: that takes the word of everybody in the set, and one of them
/// has not given it for long enough.
fn lease_over(view: &View<'_>, prev: &Run) -> bool {
    let seen = view.seen;
    let granted =
        seen.granted.get(&view.decided.key()).map_or(seen.began, |at| seen.began.max(*at));
    let mut others = view.decided.in_sync.iter().map(|tag| &tag.run.node);
    let over = |since| view.now.since(since) >= view.limits.lease + view.limits.lease_margin;
    over(granted) && others.any(|n| *n != prev.node && out_since(view, n).is_some_and(over))
}

/// Since when the member, whatever it holds, has taken no part in the old epoch: it is frozen now, and
/// has not confirmed a lease before that for some time.
fn out_since(view: &View<'_>, node: &NodeId) -> Option<Instant> {
    let out = matches!(view.answer(node), Some(Fenced::Frozen { .. } | Fenced::Dead));
    let seen = view.report(node).filter(|_| out)?;
    // What is reported of its word is exact; one that never gives it is not reported about.
    seen.report.standing.map_or(Some(seen.fenced_at), |_| seen.withheld_since)
}

/// Who but the accepted heir may accept writes: the old primary, or, where the store has forgotten
/// who that was, whoever is not known to have stopped.
fn other_that_may_accept(view: &View<'_>, vacancy: &Vacancy) -> Option<String> {
    if view.decided.durability == Durability::Sync {
        return None;
    }
    if vacancy.cause == Cause::StoreBehind {
        let node = view.decided.members.keys().find(|node| may_be_primary(view, node));
        return node.map(NodeId::to_string);
    }
    let prev = vacancy.prev.as_ref().filter(|prev| may_still_accept(view, prev))?;
    Some(prev.node.to_string())
}

fn may_be_primary(view: &View<'_>, node: &NodeId) -> bool {
    let follows = |seen: &EngineSeen| matches!(seen.role, RoleSeen::Replica { .. });
    match view.answer(node) {
        Some(Fenced::Frozen { .. } | Fenced::Dead) => false,
        Some(Fenced::Unusable { .. }) => !view.engine(node).is_some_and(follows),
        // Whatever starts follows nobody until it is told to.
        None => view.verdict(node) != Verdict::Gone,
    }
}

/// The old primary is frozen and answers: its data is the most there is, so the heir is whoever has
/// all of it, or the old primary once more.
fn elect_beside(view: &View<'_>, vacancy: &Vacancy, prev: &Frozen, draft: &mut Draft) {
    let complete: Vec<Frozen> =
        answers(view).into_iter().filter(|frozen| frozen.offset == prev.offset).collect();
    let asked_for = vacancy.heir.as_ref();
    let heir = match asked_for {
        Some(node) => complete.iter().find(|frozen| frozen.run.node == *node),
        None => complete.first(),
    };
    if let Some(heir) = heir {
        let mut equals = complete.clone();
        equals.push(prev.clone());
        return commit(view, vacancy, heir, &equals, draft);
    }
    let since = view.seen.rev_since.get(&view.decided.key());
    let waited = since.map_or(view.limits.drain, |(_, since)| view.now.since(*since));
    let patience = if vacancy.cause.is_planned() { view.limits.drain } else { view.limits.answers };
    if waited < patience && !complete_all_settled(view) {
        return draft.wait(WaitKind::Drain, "the heir is receiving the old primary's last bytes");
    }
    commit(view, vacancy, complete.first().unwrap_or(prev), &complete, draft);
}

fn complete_all_settled(view: &View<'_>) -> bool {
    electorate(view).iter().all(|tag| view.answer_settled(&tag.run.node))
}

/// A new group: the first node, once it runs; whichever does after a while.
fn elect_first(view: &View<'_>, vacancy: &Vacancy, draft: &mut Draft) {
    let since = view.seen.rev_since.get(&view.decided.key());
    let waited = since.map_or(view.limits.busy, |(_, since)| view.now.since(*since));
    let first = view.decided.members.keys().next();
    let heir = view.decided.members.keys().find_map(|node| {
        let in_turn = Some(node) == first || waited >= view.limits.drain;
        view.frozen(node).filter(|_| in_turn)
    });
    match heir {
        Some(heir) => commit(view, vacancy, &heir, &[], draft),
        None => draft.wait(WaitKind::Candidate, "no engine of the new group runs yet"),
    }
}

/// Nobody has answered who may take over; says who could.
fn name_missing(view: &View<'_>, prev: &Run, draft: &mut Draft) {
    let missing: Vec<String> = electorate(view)
        .iter()
        .filter(|tag| may_matter(view, tag))
        .map(|tag| word::missed(view, &tag.run))
        .collect();
    let names = if missing.is_empty() { word::missed(view, prev) } else { missing.join(", ") };
    draft.wait(WaitKind::Candidate, format!("{names} may hold acknowledged writes"));
}

/// Nobody's memory holds every acknowledged write: the recorded primary's disk, or nothing.
fn recover(view: &View<'_>, vacancy: &Vacancy, prev: &Run, draft: &mut Draft) {
    let Some(loaded) = view.frozen(&prev.node).filter(|frozen| frozen.run != *prev) else {
        let why = match view.reachable(&prev.node) {
            true => prev.node.to_string(),
            false => word::missed(view, prev),
        };
        return draft.wait(WaitKind::DiskRecovery, format!("{why} has to load its disk"));
    };
    let possible_loss = match loaded.origin {
        Origin::CleanStop => "it was stopped in order: nothing is missing",
        Origin::Crash => "writes of the last second before the crash may be missing",
        Origin::Empty => {
            let detail = format!("{} came back without its data", prev.node);
            return draft.wait(WaitKind::Candidate, detail);
        }
    };
    draft.event(EventKind::RecoveredFromDisk {
        node: loaded.run.node.clone(),
        possible_loss: possible_loss.to_owned(),
    });
    commit(view, vacancy, &loaded, &[], draft);
}

/// Whether every memory that could hold all acknowledged writes is known to be lost, so that the
/// recorded primary's disk is the best that there is.
pub(super) fn needs_disk(view: &View<'_>) -> bool {
    let Some(Vacancy { prev: Some(prev), .. }) = view.decided.vacancy() else { return false };
    let electorate_lost = !electorate(view).iter().any(|tag| may_matter(view, tag));
    // `async` promises nothing about the last second, so the primary may restart where it is;
    // a disk that lacks it must not replace a member of S that has it.
    let stays = view.decided.durability == Durability::Async && !view.asked.automatic_failover;
    view.memory_lost(prev) && (electorate_lost || stays)
}

/// The member may have, or come back with, acknowledged writes in its memory.
///
/// An `async` replica that never was in the epoch's history has none. In `sync` a member of S had
/// them all; if its history has become another one, a person has to judge.
fn may_matter(view: &View<'_>, tag: &Tag) -> bool {
    let stranger = view.decided.durability == Durability::Async && view.is_stranger(tag);
    !view.memory_lost(&tag.run) && !stranger
}

/// The heir for whom the operator accepted the loss.
fn accepted(view: &View<'_>) -> Option<Frozen> {
    view.frozen(accepted_node(view)?)
}

/// The node whose data the operator wants in spite of a loss: the latest that was asked for, or the
/// one by whom a vacancy was committed that nobody else can end.
pub(super) fn accepted_node<'a>(view: &View<'a>) -> Option<&'a NodeId> {
    let request = view.request().filter(|request| request.accept_loss);
    let vacancy = view.decided.vacancy().filter(|vacancy| vacancy.cause == Cause::StoreBehind);
    let asked = request.and_then(|request| request.to.as_ref());
    asked.or_else(|| vacancy.and_then(|vacancy| vacancy.heir.as_ref()))
}

fn commit(
    view: &View<'_>,
    vacancy: &Vacancy,
    heir: &Frozen,
    answers: &[Frozen],
    draft: &mut Draft,
) {
    let next = &mut draft.next;
    next.primaryship = Primaryship::Serving(heir.run.clone());
    next.lineage = Lineage { base: Some((heir.replid.clone(), heir.offset)), replid: None };
    next.in_sync.clear();
    next.pending = None;
    let waited_for = |r: &&MoveRequest| r.accept_loss || !view.asked.automatic_failover;
    let accepted = view.request().filter(waited_for).map(|r| r.id);
    if let Some(id) = vacancy.request.max(accepted) {
        next.request_done = next.request_done.max(id);
    }
    let equals =
        |run: &Run| answers.iter().any(|frozen| frozen.run == *run && frozen.offset == heir.offset);
    let runs: Vec<(NodeId, Option<Run>)> = next
        .members
        .keys()
        .map(|node| {
            let id = view.report(node).and_then(|seen| seen.report.run()).cloned();
            (node.clone(), id.map(|id| Run { node: node.clone(), id }))
        })
        .collect();
    for (node, run) in runs {
        let follows = run.filter(|run| *run != heir.run && node != heir.run.node);
        let tag = follows.map(|run| next.next_tag(run));
        if let Some(tag) = &tag
            && equals(&tag.run)
        {
            next.in_sync.insert(tag.clone());
        }
        if let Some(member) = next.members.get_mut(&node) {
            member.attach = if member.leaving { None } else { tag };
        }
    }
    let attached = next.attachments();
    next.in_sync.retain(|tag| attached.contains(tag));
    let in_sync = next.in_sync.iter().map(|tag| tag.run.node.clone()).collect();
    draft.event(EventKind::PrimaryChosen {
        node: heir.run.node.clone(),
        offset: heir.offset,
        in_sync,
    });
}
