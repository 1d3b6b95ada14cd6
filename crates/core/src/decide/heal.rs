//! Keeping the number of nodes right: replace those whose host is gone, add and remove as asked.
//!
//! A process that died is restarted in place by an order, without a decision. What is decided here
//! is only membership: which nodes exist and where they are placed.
//!
//! Invariant: the primary is never moved or removed by healing.
//!
//! Not here: the choice of a host (`super::placement`).

use super::{Draft, Verdict, View, drain, placement, rebalance};
use crate::model::{EventKind, NodeId, Run, ShardTopology, WaitKind};

/// Proposes changes of membership.
pub(super) fn heal(view: &View<'_>, primary: &Run, draft: &mut Draft) {
    drop_left(view, draft);
    replace_lost(view, primary, draft);
    if rebalance::go_on(view, primary, draft) {
        return;
    }
    let present = draft.next.members.values().filter(|member| !member.leaving).count();
    let wanted = view.asked.nodes_per_shard();
    let displaced = draft.next.members.values().any(|member| drain::is_displaced(view, member));
    if present < wanted || (displaced && present == wanted) {
        add(view, draft);
    } else if displaced && present == wanted + 1 {
        drain::release(view, primary, draft);
    } else if present > wanted {
        release(view, primary, draft);
    }
}

/// Forgets members that were told to leave and have.
fn drop_left(view: &View<'_>, draft: &mut Draft) {
    for (node, member) in &view.decided.members {
        let gone = view
            .report(node)
            .is_some_and(|seen| view.verdict(node) == Verdict::Gone && !seen.report.data);
        if member.leaving && gone {
            draft.next.members.remove(node);
        }
    }
}

/// Places members elsewhere whose host has been silent for long.
fn replace_lost(view: &View<'_>, primary: &Run, draft: &mut Draft) {
    for (node, member) in &view.decided.members {
        if *node == primary.node || member.leaving {
            continue;
        }
        // Of two that take each other's place one is enough.
        let relocated = view.decided.relocation.as_ref();
        if relocated.is_some_and(|both| both.node == *node || both.newcomer == *node)
            || !rebalance::is_lost(view, node)
        {
            continue;
        }
        let Some(site) = placement::other_site(view, &draft.next, node) else {
            draft.wait(WaitKind::Room, format!("no other host has room for {node}"));
            continue;
        };
        if let Some(old) = &member.attach {
            draft.expel(old, "its host is gone");
        }
        let moved = placement::member(site, Some(member.endpoint));
        draft.event(EventKind::NodePlaced { node: node.clone(), zone: moved.zone.to_string() });
        draft.next.members.insert(node.clone(), moved);
    }
}

fn add(view: &View<'_>, draft: &mut Draft) {
    let Some(node) = free_name(view, &draft.next) else { return };
    let Some(site) = placement::site(view, &draft.next, &node) else {
        return draft.wait(WaitKind::Room, format!("no host has room for {node}"));
    };
    let member = placement::member(site, None);
    draft.event(EventKind::NodePlaced { node: node.clone(), zone: member.zone.to_string() });
    draft.next.members.insert(node, member);
}

/// The lowest ordinal that no member has.
pub(super) fn free_name(view: &View<'_>, shard: &ShardTopology) -> Option<NodeId> {
    (1..=999)
        .map(|ordinal| view.asked.node_id(&shard.shard, ordinal))
        .find(|node| !shard.members.contains_key(node))
}

/// Lets a replica go: one that its owner named, one that has to leave its host, or the
/// highest-numbered.
fn release(view: &View<'_>, primary: &Run, draft: &mut Draft) {
    let candidate = draft
        .next
        .members
        .iter()
        .filter(|(node, member)| **node != primary.node && !member.leaving)
        .max_by_key(|(node, member)| {
            let displaced = drain::is_displaced(view, member);
            (view.asked.unwanted.contains(*node), displaced, (*node).clone())
        })
        .map(|(node, _)| node.clone());
    if let Some(node) = candidate {
        draft.let_go(&node, "it was asked to leave");
    }
}
