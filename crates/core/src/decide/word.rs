//! What a person has to know who lets a shard go on without somebody that may hold acknowledged writes.
//!
//! Invariant: the command that is named can be carried out now, and what is said to be lost is the most
//! that can be, or said not to be known.
//!
//! Not here: what follows from that word (`super::vacate`, `super::elect`).

use super::{Verdict, View};
use crate::model::{Durability, NodeId, Run};

/// A run that is missed, where it is, and why it says nothing.
pub(super) fn missed(view: &View<'_>, run: &Run) -> String {
    let host = view.member(&run.node).map_or("nowhere", |member| member.host.as_str());
    let id = run.id.as_str();
    let id = id.get(..8).unwrap_or(id);
    format!("{} on {host} ({}; run {id})", run.node, why_silent(view, &run.node))
}

fn why_silent(view: &View<'_>, node: &NodeId) -> &'static str {
    let host = view.member(node).map(|member| &member.host);
    if !host.is_some_and(|host| view.seen.hosts.contains_key(host)) {
        return "which is not there any more";
    }
    match view.verdict(node) {
        Verdict::HostLost => "which is not heard from",
        Verdict::Unknown => "which has not said what runs there",
        Verdict::Gone => "where its process is gone",
        Verdict::Alive | Verdict::Slow | Verdict::Hung => "which has not answered yet",
    }
}

/// How a person lets the shard go on without `prev`, its last primary, or whoever else is missed, and
/// what that may cost; nothing while somebody may only not have spoken yet.
pub(super) fn way_on(view: &View<'_>, prev: &Run) -> String {
    let mut nodes = view.decided.members.keys();
    if nodes.any(|node| view.verdict(node) == Verdict::Unknown) {
        return "not every host has spoken yet".to_owned();
    }
    let staying = view.decided.members.iter().filter(|(_, member)| !member.leaving);
    let there: Vec<&NodeId> =
        staying.map(|(node, _)| node).filter(|node| view.reachable(node)).collect();
    let held_all = |node: &NodeId| {
        *node == prev.node || view.decided.in_sync.iter().any(|tag| tag.run.node == *node)
    };
    let last = there.iter().find(|node| ***node == prev.node);
    let best = last.or_else(|| there.iter().find(|node| held_all(node))).or(there.first());
    let Some(node) = best else { return "no node can be reached".to_owned() };
    let most = match view.decided.durability {
        Durability::Sync if held_all(node) => {
            "what is lost at most is the last second before its process ended"
        }
        Durability::Sync | Durability::Async => "how much is lost nobody knows",
    };
    let group = &view.decided.group;
    format!("to go on without: tanist failover {group} --to {node} --accept-loss; {most}")
}
