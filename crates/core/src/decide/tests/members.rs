//! Which nodes come and go when another number of them is asked for.
//!
//! Invariant: the primary stays, whatever was named.
//!
//! Not here: replacing what is lost (`super`).

use std::collections::BTreeSet;

use super::world::{World, host, node};
use crate::decide::holds_more;
use crate::model::{NodeId, WaitKind};

fn leaving(world: &World) -> Vec<NodeId> {
    let members = world.next().members;
    members.into_iter().filter(|(_, member)| member.leaving).map(|(node, _)| node).collect()
}

#[test]
fn of_too_many_the_named_replica_leaves_and_else_the_highest_numbered() {
    let mut world = World::healthy();
    world.asked.replicas = 1;
    assert_eq!(leaving(&world), [node(3)]);
    world.asked.unwanted = BTreeSet::from([node(2)]);
    assert_eq!(leaving(&world), [node(2)]);
    world.asked.unwanted = BTreeSet::from([node(1)]);
    assert_eq!(leaving(&world), [node(3)], "the primary is nobody to let go");
    world.asked.unwanted = BTreeSet::from(["web-009".into()]);
    assert_eq!(leaving(&world), [node(3)]);
}

#[test]
fn who_leaves_is_waited_for_by_no_write_any_more() {
    let mut world = World::healthy();
    world.asked.replicas = 1;
    let next = world.next();
    assert!(next.required().iter().all(|tag| tag.run.node != node(3)), "{next:?}");
    assert!(next.rev > world.decided.rev);
}

#[test]
fn a_new_node_is_placed_in_the_zone_that_its_owner_chose_or_not_at_all() {
    let mut world = World::healthy();
    world.asked.replicas = 3;
    let placed = |world: &World| {
        world.next().members.get(&node(4)).map(|member| (member.host.clone(), member.zone.clone()))
    };
    for n in 1..=3 {
        let zone = format!("zone-{n}");
        world.asked.zone_of.insert(node(4), zone.as_str().into());
        assert_eq!(placed(&world), Some((host(n), zone.as_str().into())));
    }
    world.asked.zone_of.insert(node(4), "zone-9".into());
    assert_eq!(world.waits_for(), [WaitKind::Room]);
}

#[test]
fn the_node_that_holds_too_much_for_a_limit_is_named() {
    let mut world = World::healthy();
    for (n, bytes) in [(1, 900), (2, 1_000), (3, 950)] {
        world.report(n).engine.as_mut().unwrap().memory_bytes = bytes;
    }
    let fuller = |limit| holds_more(&world.decided, &world.seen, limit);
    assert_eq!(fuller(920), Some((&node(2), 1_000)));
    assert_eq!(fuller(1_000), None, "it fits exactly");
}

#[test]
fn who_has_not_heard_of_the_primary_yet_takes_nobody_out_of_the_set() {
    let mut world = World::healthy();
    world.seen.nodes.remove(&node(1));
    world.dies(2);
    world.dies(3);
    let next = world.plan().commit.map(|commit| commit.next);
    let kept = next.map_or(world.decided.in_sync.clone(), |next| next.in_sync);
    assert_eq!(kept, world.decided.in_sync);
}
