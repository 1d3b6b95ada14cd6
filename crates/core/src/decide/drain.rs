//! Leaving hosts that are being drained: for maintenance, or for good.
//!
//! A shard first gets one node more, elsewhere; when that is in sync, one that has to leave is let
//! go, and so on. A primary leaves by an ordinary planned switchover, which is proposed here and asked
//! for by the controller instead of a person.
//!
//! Invariant: a shard has at no time fewer nodes in sync because a host is drained; it has at most
//! one node more than was asked for.
//!
//! Not here: which host the new node gets (`super::placement`).

use super::vacate::could_take_over;
use super::{Draft, View, rebalance};
use crate::model::{
    GroupSpec, HostId, Instant, Limits, Member, NodeId, Observations, Run, ShardTopology,
};

/// Whether the member has to leave its host.
pub(super) fn is_displaced(view: &View<'_>, member: &Member) -> bool {
    !member.leaving && is_drained(view, &member.host)
}

fn is_drained(view: &View<'_>, host: &HostId) -> bool {
    view.seen.hosts.get(host).is_some_and(|host| host.draining)
}

/// Whether a member counts on: the primary, or a replica that could take over.
pub(super) fn is_settled(view: &View<'_>, primary: &Run, node: &NodeId) -> bool {
    *node == primary.node || could_take_over(view, node)
}

/// Lets a replica go that has to leave, once enough others are in sync.
pub(super) fn release(view: &View<'_>, primary: &Run, draft: &mut Draft) {
    let leaves = view.decided.members.iter().find(|(node, member)| {
        let others = view.decided.members.keys().filter(|other| other != node);
        let settled = others.filter(|other| is_settled(view, primary, other)).count();
        **node != primary.node
            && is_displaced(view, member)
            && settled >= view.asked.nodes_per_shard()
    });
    if let Some((node, _)) = leaves {
        draft.let_go(&node.clone(), "its host is drained");
    }
}

/// The replica to which the shard's primaryship should move because the primary's host is drained, or
/// because another node is to take the primary's place. There is one node more before that.
pub fn off_host(
    asked: &GroupSpec,
    decided: &ShardTopology,
    seen: &Observations,
    limits: &Limits,
    now: Instant,
) -> Option<NodeId> {
    let view = View { asked, decided, seen, limits, now };
    let primary = view.movable()?;
    if !is_displaced(&view, view.member(&primary.node)?) {
        return rebalance::heir(&view, primary).cloned();
    }
    let stays = |node: &NodeId| view.member(node).is_some_and(|m| !is_displaced(&view, m));
    let heirs =
        || decided.members.keys().filter(|node| stays(node) && could_take_over(&view, node));
    (heirs().count() >= asked.nodes_per_shard()).then(|| heirs().next().cloned()).flatten()
}
