//! Copies that matter: which may be removed, and which need no waiting.
//!
//! Invariant: nothing that may be the last copy is ever ordered away.
//!
//! Not here: who takes over (`super`).

use super::super::orphans;
use super::world::{World, host, node, report, tag};
use crate::model::{
    Action, Cause, Instant, Limits, NodeSeen, Order, Process, RoleSeen, Term, WaitKind,
};
use std::sync::Arc;

fn removals(world: &World) -> Vec<Order> {
    let (asked, decided, limits) = (&world.asked, &world.decided, &Limits::DEFAULT);
    let orders = orphans(asked, decided, &world.seen, limits, Term(1), world.now);
    orders.into_iter().map(|(_, order)| order).collect()
}

/// web-002 is placed on host-2, and host-9 comes back with what it had of it.
fn with_a_host_that_came_back(mut world: World) -> World {
    let said = NodeSeen::new(host(9), world.now, Instant::ZERO, report(2));
    world.seen.nodes.get_mut(&node(2)).unwrap().push(said);
    world
}

#[test]
fn what_a_host_brings_back_is_removed_only_beside_a_primary_that_serves() {
    let orders = removals(&with_a_host_that_came_back(World::healthy()));
    let [order] = orders.as_slice() else { panic!("{orders:?}") };
    assert_eq!((&order.node, &order.action), (&node(2), &Action::Remove));
    let mut world = with_a_host_that_came_back(World::healthy());
    world.dies(1);
    assert_eq!(removals(&world), [], "the primary is dead");
    let world = with_a_host_that_came_back(World::vacant(Cause::PrimaryDown));
    assert_eq!(removals(&world), [], "it may be the last copy");
    let mut world = with_a_host_that_came_back(World::vacant(Cause::Deleted));
    world.asked.deleting = true;
    assert_eq!(removals(&world).len(), 1);
}

#[test]
fn a_position_from_before_the_reported_users_lets_nobody_into_the_in_sync_set() {
    let mut world = World::healthy();
    world.decided.in_sync.remove(&tag(3));
    world.decided.pending = Some(tag(3));
    // Every proxy was cut: there is no route to be older than.
    world.decided.lanes.clear();
    world.report(1).applied.as_mut().map(Arc::make_mut).unwrap().lanes.clear();
    let mut stale = world.seen.clone();
    stale.nodes.get_mut(&node(1)).unwrap()[0].sampled_after = Instant::ZERO;
    let in_sync = |world: &World| world.plan().commit.is_some_and(|c| c.next.pending.is_none());
    assert!(in_sync(&world));
    world.seen = stale;
    assert!(!in_sync(&world));
}

#[test]
fn a_member_of_the_in_sync_set_does_not_wait_for_another_nodes_full_copy() {
    let mut world = World::healthy();
    // Another group's node on the same host is receiving a full copy.
    let mut other = report(3);
    let role = RoleSeen::Replica { link_up: false, syncing: true, of: None };
    other.engine.as_mut().unwrap().role = role;
    other.process = Process::Running(other.run().cloned());
    let said = NodeSeen::new(host(2), world.now, world.now, other);
    world.seen.nodes.insert("other-001".into(), vec![said]);
    world.report(2).applied = None;
    assert!(matches!(world.action(2), Some(Action::Follow { .. })), "{:?}", world.action(2));
    world.decided.in_sync.remove(&tag(2));
    assert_eq!(world.action(2), None);
    assert!(world.plan().waits.iter().any(|wait| wait.kind == WaitKind::ResyncSlot));
}
