//! Relocations: when a host comes, or comes back, nodes that are badly spread find a better place.
//!
//! A relocation is decided by adding the newcomer; it goes on in two steps, and each waits until every
//! node of the shard counts: the primary moves away from a node that is to leave, by an ordinary
//! planned switchover, and the node is let go. Whatever fails meanwhile is healed first.
//!
//! Invariant: in all the shards together one relocation is at work; it makes the spread strictly
//! better; nobody who is in sync is let go unless as many others are as were asked for.
//!
//! Not here: what is better (`super::spread`), nodes that have to leave a drained host
//! (`super::drain`), whose own host was lost (`super::heal`).

use super::drain::{self, is_settled};
use super::spread::{Loads, Spread};
use super::{Commit, Draft, View, heal, placement};
use crate::model::{
    EventKind, GroupSpec, HostId, Imbalance, Instant, Limits, Member, NodeId, Observations,
    Process, Relocation, Run, ShardKey, ShardTopology, Wait, WaitKind,
};

/// What is to be done about nodes that could be placed better.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outlook {
    /// No node could be placed better, or one is being relocated.
    Settled,
    /// A node of this shard could be, but not now.
    Later(ShardKey, Wait),
    /// The first step, for this shard.
    Now(ShardKey, Box<Commit>),
}

/// A node that could be placed better, and what would get better by it; the greater, the better.
struct Gain<'a> {
    size: (usize, usize, u64),
    view: View<'a>,
    node: &'a NodeId,
    to: HostId,
    why: Imbalance,
}

/// The next relocation among all shards of a region.
pub fn rebalance<'a>(
    shards: &[(&'a GroupSpec, &'a ShardTopology)],
    seen: &'a Observations,
    limits: &'a Limits,
    now: Instant,
) -> Outlook {
    let views = || shards.iter().map(|(asked, decided)| View { asked, decided, seen, limits, now });
    if limits.calm == Limits::NEVER || views().any(|view| is_moving(&view)) {
        return Outlook::Settled;
    }
    let loads = Loads::of(shards.iter().copied(), seen);
    let gains = views().filter(rests_no_more).filter_map(|view| best(view, &loads));
    let Some(best) = gains.max_by_key(|gain| gain.size) else { return Outlook::Settled };
    let key = best.view.decided.key();
    if let Some(why) = unrest(seen, limits, now) {
        let detail = format!("{} could be on {} ({}): {why}", best.node, best.to, best.why);
        return Outlook::Later(key, Wait { kind: WaitKind::Calm, detail });
    }
    match begin(&best) {
        Some(commit) => Outlook::Now(key, Box::new(commit)),
        None => Outlook::Settled,
    }
}

/// Nodes of the shard are coming or leaving already, or nobody is primary.
fn is_moving(view: &View<'_>) -> bool {
    // Who cannot leave because its host is away must not keep everybody else where they are.
    let leaves = |node: &NodeId, member: &Member| member.leaving && !is_lost(view, node);
    let mut members = view.decided.members.iter();
    view.decided.relocation.is_some()
        || view.decided.primary().is_none()
        || members.any(|(node, member)| leaves(node, member) || drain::is_displaced(view, member))
}

/// The shard's last relocation was not given up a short while ago.
fn rests_no_more(view: &View<'_>) -> bool {
    let last = view.seen.calm.given_up.get(&view.decided.key());
    last.is_none_or(|last| view.now.since(*last) >= view.limits.relocate)
}

/// What has to be over before anything is moved.
fn unrest(seen: &Observations, limits: &Limits, now: Instant) -> Option<String> {
    let away = |at: Instant| now.since(at) > limits.host;
    for (id, host) in &seen.hosts {
        // One that has been away for long is no news: its nodes have been placed elsewhere.
        if away(host.at) && now.since(host.at) < limits.replace + limits.calm {
            return Some(format!("{id} has fallen silent"));
        }
        if !away(host.at) && now.since(host.since) < limits.calm {
            return Some(format!("{id} has been heard for {} s", now.since(host.since).as_secs()));
        }
    }
    let quiet = now.since(seen.calm.unrest);
    (quiet < limits.calm).then(|| format!("it has been quiet for {} s", quiet.as_secs()))
}

/// Every node that was asked for is there and counts, and nothing else is asked.
fn is_whole<'a>(view: &View<'a>) -> Option<&'a Run> {
    let primary = view.movable()?;
    let wanted = view.asked.nodes_per_shard();
    let members = &view.decided.members;
    let whole = members.len() == wanted
        && view.decided.pending.is_none()
        && members.keys().all(|node| is_settled(view, primary, node));
    whole.then_some(primary)
}

/// The relocation that makes this shard's spread best, a replica's before the primary's; if it cannot
/// be better, one that relieves a crowded host.
fn best<'a>(view: View<'a>, loads: &Loads) -> Option<Gain<'a>> {
    let primary = is_whole(&view)?;
    let before = Spread::of(view.decided.members.values());
    let gain = |node: &'a NodeId| {
        // Where its owner wants it is where it belongs.
        if view.asked.zone_of.contains_key(node) {
            return None;
        }
        let from = &view.member(node)?.host;
        let to = placement::better_host(&view, node)?;
        let after = with(&view, node, &to)?;
        let (size, why) = if after.in_zones < before.in_zones {
            ((before.in_zones - after.in_zones, 0, 0), Imbalance::SharedZone)
        } else if after.in_zones == before.in_zones && after.on_hosts < before.on_hosts {
            ((0, before.on_hosts - after.on_hosts, 0), Imbalance::SharedHost)
        } else if after == before {
            let gap = loads.gap(view.asked, view.seen, from, &to)?;
            ((0, 0, gap), Imbalance::CrowdedHost)
        } else {
            return None;
        };
        Some(Gain { size, view, node, to, why })
    };
    let gains = view.decided.members.keys().filter_map(gain);
    gains.max_by_key(|gain| (gain.size, *gain.node != primary.node))
}

/// The spread with a node on another host.
fn with(view: &View<'_>, node: &NodeId, to: &HostId) -> Option<Spread> {
    let mut moved = view.member(node)?.clone();
    moved.zone = view.seen.hosts.get(to)?.zone.clone();
    moved.host = to.clone();
    let others = view.decided.members.iter().filter(|(other, _)| *other != node);
    Some(Spread::of(others.map(|(_, member)| member).chain([&moved])))
}

/// The newcomer's place beside the node that is to leave.
fn begin(gain: &Gain<'_>) -> Option<Commit> {
    let view = &gain.view;
    let newcomer = heal::free_name(view, view.decided)?;
    let site = placement::better_site(view, gain.node, &newcomer)?;
    let member = placement::member(site, None);
    // A wish for the newcomer's name may lead to another host than the best one.
    if member.host != gain.to {
        return None;
    }
    let mut draft = Draft::new(view);
    let (node, to, why) = (gain.node.clone(), member.host.clone(), gain.why);
    let from = view.member(gain.node)?.host.clone();
    draft.event(EventKind::NodePlaced { node: newcomer.clone(), zone: member.zone.to_string() });
    draft.next.members.insert(newcomer.clone(), member);
    draft.next.relocation =
        Some(Relocation { node: node.clone(), newcomer: newcomer.clone(), why });
    draft.event(EventKind::RelocationBegun { node, newcomer, from, to, why });
    draft.finish(view.decided).commit
}

/// What a relocation that was decided comes to now.
enum Step {
    /// It is over, or something else has to be done first that ends it.
    Over,
    /// The rules of healing go on; it ends when who was let go has left.
    Leaving,
    Wait(String),
    GiveUp(String),
    /// The node may leave.
    Done,
}

/// Goes on with the relocation of the shard, if there is one; returns whether nothing else is to be
/// changed about its nodes.
pub(super) fn go_on(view: &View<'_>, primary: &Run, draft: &mut Draft) -> bool {
    let Some(relocation) = &view.decided.relocation else { return false };
    let Relocation { node, newcomer, .. } = relocation;
    match step(view, primary, relocation, draft) {
        Step::Over => {
            draft.next.relocation = None;
            return false;
        }
        Step::Leaving => return false,
        Step::Wait(detail) => draft.wait(WaitKind::Relocation, detail),
        Step::GiveUp(reason) => {
            draft.let_go(newcomer, "it does not take another one's place any more");
            let (node, newcomer) = (node.clone(), newcomer.clone());
            draft.event(EventKind::RelocationGivenUp { node, newcomer, reason });
        }
        Step::Done => {
            draft.let_go(node, "another one has taken its place");
            let (node, newcomer) = (node.clone(), newcomer.clone());
            draft.event(EventKind::RelocationDone { node, newcomer });
        }
    }
    true
}

fn step(view: &View<'_>, primary: &Run, relocation: &Relocation, draft: &Draft) -> Step {
    let Relocation { node, newcomer, why } = relocation;
    let members = &draft.next.members;
    let (Some(from), Some(to)) = (members.get(node), members.get(newcomer)) else {
        return Step::Over;
    };
    if let Some((leaver, _)) = [(node, from), (newcomer, to)].iter().find(|(_, m)| m.leaving) {
        // Who cannot be told to leave must not keep everybody else where they are.
        return if is_lost(view, leaver) { Step::Over } else { Step::Leaving };
    }
    let counts = |node: &NodeId| is_settled(view, primary, node);
    let present = members.values().filter(|member| !member.leaving).count();
    let wanted = view.asked.nodes_per_shard();
    let drained = members.values().any(|member| drain::is_displaced(view, member));
    if drained || present <= wanted {
        return Step::Over;
    }
    if let Some(reason) = failed(view, relocation, present).filter(|_| !counts(newcomer)) {
        return Step::GiveUp(reason);
    }
    if present > wanted + 1 {
        return Step::Over;
    }
    if is_lost(view, node) && *node != primary.node {
        // The newcomer is what would have to be placed now.
        return Step::Done;
    }
    let mut stay = view.decided.members.keys().filter(|other| *other != node);
    if let Some(missed) = stay.find(|other| !counts(other)) {
        return Step::Wait(format!(
            "{newcomer} takes the place of {node} when {missed} is in sync"
        ));
    }
    if !still_better(view, relocation, *why) && *newcomer != primary.node && counts(node) {
        return Step::GiveUp("the shard would not be spread better any more".to_owned());
    }
    if *node == primary.node {
        return Step::Wait(format!("{newcomer} takes the place of {node} when another is primary"));
    }
    Step::Done
}

/// Others may have moved meanwhile, because their hosts were lost.
fn still_better(view: &View<'_>, relocation: &Relocation, why: Imbalance) -> bool {
    let after = Spread::without(view.decided, &relocation.node);
    let before = Spread::without(view.decided, &relocation.newcomer);
    if why == Imbalance::CrowdedHost { after <= before } else { after < before }
}

/// Its host has been silent for as long as nodes are placed elsewhere after.
pub(super) fn is_lost(view: &View<'_>, node: &NodeId) -> bool {
    let host = view.member(node).and_then(|member| view.seen.hosts.get(&member.host));
    match host {
        Some(host) => view.now.since(host.at) > view.limits.replace,
        None => view.unheard_for(view.limits.replace),
    }
}

/// Why the newcomer is not going to take anybody's place.
fn failed(view: &View<'_>, relocation: &Relocation, present: usize) -> Option<String> {
    let newcomer = &relocation.newcomer;
    if present > view.asked.nodes_per_shard() + 1 {
        return Some("fewer nodes are asked for".to_owned());
    }
    if is_lost(view, newcomer) {
        return Some("its host is gone".to_owned());
    }
    if let Some(Process::Failed(reason)) = view.report(newcomer).map(|seen| &seen.report.process) {
        return Some(format!("it cannot start: {reason}"));
    }
    let since = view.seen.calm.begun.get(&view.decided.key())?;
    let late = view.now.since(*since) >= view.limits.relocate;
    late.then(|| "it did not get in sync in time".to_owned())
}

/// The replica to which the primaryship should move because the primary is what another node takes the
/// place of, and everybody counts.
pub(super) fn heir<'a>(view: &View<'a>, primary: &Run) -> Option<&'a NodeId> {
    let relocation = view.decided.relocation.as_ref()?;
    let members = &view.decided.members;
    let whole = members.len() == view.asked.nodes_per_shard() + 1
        && members.values().all(|member| !member.leaving)
        && members.keys().all(|node| is_settled(view, primary, node));
    if relocation.node != primary.node || !whole {
        return None;
    }
    members.keys().find(|node| **node != primary.node)
}
