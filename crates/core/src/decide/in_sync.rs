//! The in-sync set: who must have a write before it is acknowledged, and hence who may take over.
//!
//! Leaving is one commit, at once: the others hold everything. Joining goes through `pending`: first
//! every proxy waits for the newcomer too, then the newcomer has to reach a position that the
//! primary had *after* that; only then is it a quorum by itself.
//!
//! Invariant: at every commit each member of S holds every acknowledged write.
//!
//! Not here: proof of a single write (`crate::gate::proven`).

use super::converge::copying_hosts;
use super::{Draft, Verdict, View};
use crate::model::{
    Applied, Durability, EventKind, Instant, ProxyId, ReplicaSeen, RoleSeen, Run, Tag, WaitKind,
};

/// Shrinks, attaches, admits proxies and grows, in one proposal.
pub(super) fn maintain(view: &View<'_>, primary: &Run, draft: &mut Draft) {
    shrink(view, primary, draft);
    attach(view, primary, draft);
    name_copies(view, primary, draft);
    lanes(view, draft);
    lineage(view, primary, draft);
    if view.promoted(primary) {
        grow(view, primary, draft);
    }
}

/// Notes the history that the primary writes: an answer in a history that nobody noted is no answer.
///
/// A primary that fenced itself at its lease's end and was let go on has shifted its history within
/// the epoch. Its replicas are in the old one until they come back, so the new one is noted only
/// when somebody is in it. The last that was seen counts, even if the primary is dead by now.
pub(super) fn lineage(view: &View<'_>, primary: &Run, draft: &mut Draft) {
    let Some(leader) = view.last_seen_of(primary).filter(|_| view.promoted(primary)) else {
        return;
    };
    let joined = |tag: &Tag| {
        view.last_seen_of(&tag.run).is_some_and(|replica| replica.replid == leader.replid)
    };
    let due = match &view.decided.lineage.replid {
        None => true,
        Some(noted) => *noted != leader.replid && view.decided.attachments().iter().any(joined),
    };
    if due && matches!(leader.role, RoleSeen::Primary { .. }) {
        draft.next.lineage.replid = Some(leader.replid.clone());
    }
}

/// Lets writes go on without those who cannot confirm them. Where nobody acknowledges, nothing waits:
/// when the primary is lost as well, as after a failure of the network or for a leader that has just
/// begun to listen, whoever leaves the set could only not take over any more.
fn shrink(view: &View<'_>, primary: &Run, draft: &mut Draft) {
    let verdict = view.verdict(&primary.node);
    // Unknown, too: who has just begun to listen may hear of the primary next that it is gone.
    if !matches!(verdict, Verdict::Alive | Verdict::Slow) {
        return;
    }
    for tag in view.decided.required() {
        if let Some(reason) = lost(view, primary, &tag) {
            draft.expel(&tag, &reason);
        }
    }
}

/// Why writes must not wait for this attachment any longer.
fn lost(view: &View<'_>, primary: &Run, tag: &Tag) -> Option<String> {
    if view.run_gone(&tag.run) {
        return Some("its process is gone".to_owned());
    }
    match view.verdict(&tag.run.node) {
        Verdict::HostLost => return Some("its host is not heard from".to_owned()),
        Verdict::Hung => return Some("it does not answer".to_owned()),
        Verdict::Gone => return Some("its process is gone".to_owned()),
        // One that works or waits for a processor is worth a pause of the writes: without it they
        // would be acknowledged by fewer.
        Verdict::Slow => {
            let silent = view.report(&tag.run.node).map(|seen| seen.report.silent);
            if silent.is_some_and(|silent| silent >= view.limits.behind) {
                return Some("it has been too slow to answer".to_owned());
            }
        }
        Verdict::Alive | Verdict::Unknown => {}
    }
    let behind = as_primary_sees(view, primary, tag)?.behind;
    (behind >= view.limits.behind).then(|| format!("behind for {behind:?}"))
}

fn as_primary_sees<'a>(view: &View<'a>, primary: &Run, tag: &Tag) -> Option<&'a ReplicaSeen> {
    let RoleSeen::Primary { replicas } = &view.engine_of(primary)?.role else { return None };
    let wire = tag.to_string();
    replicas.iter().find(|replica| replica.tag == wire)
}

/// Gives every running replica an attachment of its own; an old one never serves a new process.
fn attach(view: &View<'_>, primary: &Run, draft: &mut Draft) {
    for (node, member) in &view.decided.members {
        if *node == primary.node || member.leaving {
            continue;
        }
        let Some(id) = view.report(node).and_then(|seen| seen.report.run()) else { continue };
        if member.attach.as_ref().is_some_and(|tag| tag.run.id == *id) {
            continue;
        }
        if let Some(old) = &member.attach {
            draft.expel(old, "its process was replaced");
        }
        let tag = draft.next.next_tag(Run { node: node.clone(), id: id.clone() });
        if let Some(member) = draft.next.members.get_mut(node) {
            member.attach = Some(tag);
        }
        draft.event(EventKind::ReplicaAttached { node: node.clone() });
    }
}

/// Says which attachments wait until another node of their host has its full copy.
fn name_copies(view: &View<'_>, primary: &Run, draft: &mut Draft) {
    let mut busy = None;
    for (node, member) in view.decided.members.iter().filter(|(node, _)| **node != primary.node) {
        let report = view.report(node).map(|seen| &seen.report);
        let Some((report, tag)) = report.zip(member.attach.as_ref()) else { continue };
        let told = report.applied.as_ref().is_some_and(|applied| applied.seqs.contains(&tag.seq));
        let waits = report.run() == Some(&tag.run.id) && !told;
        if waits && busy.get_or_insert_with(|| copying_hosts(view.seen)).contains(&member.host) {
            let detail = format!("{} is receiving another copy, {node} waits", member.host);
            draft.wait(WaitKind::ResyncSlot, detail);
        }
    }
}

/// Lets proxies in that work by the current route, and cuts those that do not while the set has to
/// grow or the primary has to be handed over.
///
/// A newcomer may have learned its route long ago: let in by its name alone, it would release
/// writes that a member lacks which joined since.
fn lanes(view: &View<'_>, draft: &mut Draft) {
    for (proxy, seen) in view.seen.proxies.get(&view.decided.key()).into_iter().flatten() {
        let silent = view.seen.is_old(proxy, seen, view.now, view.limits.proxy);
        let current = seen.route.is_some_and(|(rev, _)| rev >= view.decided.rev);
        let admitted = view.decided.lanes.contains(proxy);
        if !silent && current && !admitted {
            draft.next.lanes.insert(proxy.clone());
            draft.event(EventKind::ProxyAdmitted { proxy: proxy.to_string() });
        }
    }
    if view.decided.pending.is_none() && draft.hold.is_none() {
        return;
    }
    // One that reports but takes no route in holds everybody up as much as a silent one.
    let deaf = view.unheard_for(view.limits.proxy);
    for proxy in &view.decided.lanes {
        let held_up = route_of(view, proxy)
            .is_none_or(|(current, silent)| silent || (current.is_none() && deaf));
        if held_up {
            draft.next.lanes.remove(proxy);
            draft.event(EventKind::ProxyCut { proxy: proxy.to_string() });
        }
    }
}

/// Since when a proxy works by the current revision (if it does), and whether it is silent.
fn route_of(view: &View<'_>, proxy: &ProxyId) -> Option<(Option<Instant>, bool)> {
    let seen = view.seen.proxies.get(&view.decided.key())?.get(proxy)?;
    let current = seen.route.filter(|(rev, _)| *rev >= view.decided.rev).map(|(_, at)| at);
    Some((current, view.seen.is_old(proxy, seen, view.now, view.limits.proxy)))
}

fn grow(view: &View<'_>, primary: &Run, draft: &mut Draft) {
    match &view.decided.pending {
        Some(tag) if draft.next.pending.is_some() => complete(view, primary, tag, draft),
        Some(_) => {}
        None => begin(view, primary, draft),
    }
}

/// Makes writes wait for one more attachment that is up to date, as far as can be seen.
fn begin(view: &View<'_>, primary: &Run, draft: &mut Draft) {
    // In order of attachment: whoever was told to follow first joins first.
    let mut learners: Vec<&Tag> =
        draft.next.members.values().filter_map(|m| m.attach.as_ref()).collect();
    learners.sort_by_key(|tag| tag.seq);
    learners.retain(|tag| !draft.next.in_sync.contains(tag));
    let Some(tag) = learners.iter().copied().find(|tag| follows(view, primary, tag)) else {
        if !learners.is_empty() {
            draft.wait(WaitKind::CatchUp, format!("{} replicas not caught up", learners.len()));
        }
        return;
    };
    let tag = tag.clone();
    draft.next.pending = Some(tag);
}

/// The attachment is up, in the primary's history, and not far behind.
fn follows(view: &View<'_>, primary: &Run, tag: &Tag) -> bool {
    let (Some(leader), Some(replica)) = (view.engine_of(primary), view.engine_of(&tag.run)) else {
        return false;
    };
    let linked = matches!(replica.role, RoleSeen::Replica { link_up: true, syncing: false, .. });
    let by_tag = as_primary_sees(view, primary, tag)
        .is_some_and(|seen| seen.online && seen.behind < view.limits.behind / 2);
    let told = view.report(&tag.run.node).and_then(|seen| seen.report.applied.as_ref());
    let told = told.is_some_and(|applied| !applied.primary && applied.seqs.contains(&tag.seq));
    linked
        && by_tag
        && told
        && replica.replid == leader.replid
        && view.verdict(&tag.run.node) == Verdict::Alive
}

/// Ends the growth: the attachment has everything that was acknowledged without it.
fn complete(view: &View<'_>, primary: &Run, tag: &Tag, draft: &mut Draft) {
    let mut all_since = Instant::ZERO;
    for proxy in &view.decided.lanes {
        match route_of(view, proxy) {
            Some((Some(since), false)) => all_since = all_since.max(since),
            Some(_) | None => {
                return draft
                    .wait(WaitKind::ProxyRoutes, format!("{proxy} works by an older route"));
            }
        }
    }
    // A proxy that was cut may work by an older route until the primary has deleted its user.
    let applied = view.report(&primary.node).and_then(|seen| seen.report.applied.as_deref());
    if !applied.is_some_and(|applied| applied.lanes.is_subset(&view.decided.lanes)) {
        return draft.wait(WaitKind::ProxyRoutes, "the primary still lets a cut proxy in");
    }
    // Whoever counts may take over where the primary is not heard: only if it asks them, too.
    let asks = |applied: &Applied| applied.stand_ins.contains(&tag.seq);
    if view.decided.durability == Durability::Async && !applied.is_some_and(asks) {
        return draft.wait(WaitKind::CatchUp, format!("the primary does not know {tag} yet"));
    }
    // The position must have been read after the last proxy began to wait for the newcomer, and
    // after the users that are reported beside it were true: if not, it is from the distant past.
    let sampled = view.report(&primary.node).map(|seen| seen.sampled_after);
    if sampled.is_none_or(|sampled| sampled < all_since || sampled == Instant::ZERO) {
        return draft.wait(WaitKind::CatchUp, "the primary's position is older than the routes");
    }
    let (Some(leader), Some(replica)) = (view.engine_of(primary), view.engine_of(&tag.run)) else {
        return draft.wait(WaitKind::CatchUp, format!("{tag} is not seen"));
    };
    let caught_up = follows(view, primary, tag) && replica.offset >= leader.offset;
    if !caught_up {
        return draft.wait(WaitKind::CatchUp, format!("{tag} is at {}", replica.offset));
    }
    draft.next.in_sync.insert(tag.clone());
    draft.next.pending = None;
    draft.event(EventKind::ReplicaInSync { node: tag.run.node.clone() });
}
