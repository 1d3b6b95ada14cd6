//! How a shard leaves a host that is being drained.
//!
//! Invariant: in every test the shard begins with as many nodes in sync as were asked for, and never
//! has fewer.
//!
//! Not here: how a primary's move goes (the rules of switchovers).

use std::net::Ipv4Addr;
use std::time::Duration;

use super::super::off_host;
use super::world::{World, host, node, run, tag};
use crate::model::{HostSeen, Limits, NodeId, ProblemKind, Tag, WaitKind};

/// A healthy shard with two more hosts; `zones` are theirs.
fn roomy(zones: [usize; 2]) -> World {
    let mut world = World::healthy();
    for (n, zone) in (4..).zip(zones) {
        let seen = HostSeen {
            zone: format!("zone-{zone}").as_str().into(),
            address: Ipv4Addr::new(127, 80, 0, n),
            ..world.seen.hosts[&host(1)].clone()
        };
        world.seen.hosts.insert(host(n.into()), seen);
    }
    world
}

fn drained(mut world: World, hosts: &[usize]) -> World {
    for n in hosts {
        world.seen.hosts.get_mut(&host(*n)).unwrap().draining = true;
    }
    world
}

/// What was decided last has become true: every node is in sync.
fn settle(world: &mut World) {
    world.decided = world.next();
    for (n, node) in (1..).zip(world.decided.members.keys().cloned().collect::<Vec<_>>()) {
        let primary = world.decided.primary().is_some_and(|run| run.node == node);
        let member = world.decided.members.get_mut(&node).unwrap();
        let host = member.host.clone();
        if member.leaving || primary {
            continue;
        }
        let tag = Tag { run: run(n), seq: tag(n).seq };
        member.attach = Some(tag.clone());
        world.decided.in_sync.insert(tag);
        let mut seen = world.seen.nodes[&super::world::node(2)][0].clone();
        seen.host = host;
        seen.report.process = crate::model::Process::Running(Some(run(n).id));
        seen.report.engine.as_mut().unwrap().run = run(n).id;
        world.seen.nodes.insert(node, vec![seen]);
    }
    world.decided.next_seq = 100;
}

fn leaving(world: &World) -> Vec<NodeId> {
    let members = world.decided.members.iter();
    members.filter(|(_, member)| member.leaving).map(|(node, _)| node.clone()).collect()
}

fn heir(world: &World) -> Option<NodeId> {
    off_host(&world.asked, &world.decided, &world.seen, &Limits::DEFAULT, world.now)
}

#[test]
fn a_replica_leaves_when_another_has_taken_its_place() {
    let mut world = drained(roomy([2, 1]), &[2]);
    let next = world.next();
    let placed = &next.members[&node(4)];
    assert_eq!(placed.host, host(4), "in the same zone, and not counting who leaves");
    assert!(next.members.values().all(|member| !member.leaving));
    // It is not in sync yet.
    world.decided = next;
    let next = world.plan().commit.map(|commit| commit.next);
    assert!(next.is_none_or(|next| next.members.values().all(|member| !member.leaving)));
    world = drained(roomy([2, 1]), &[2]);
    settle(&mut world);
    world.decided = world.next();
    assert_eq!(leaving(&world), [node(2)]);
    assert_eq!(world.decided.in_sync.len(), 2);
    assert!(world.plan().problems.iter().all(|p| p.kind != ProblemKind::ZoneSpreadBroken));
    assert_eq!(heir(&world), None, "the primary's host stays");
}

#[test]
fn a_primary_moves_only_when_its_place_is_taken() {
    let mut world = drained(roomy([1, 2]), &[1]);
    assert_eq!(heir(&world), None, "there would be one node less");
    settle(&mut world);
    assert_eq!(leaving(&world), [], "a primary is never let go");
    assert_eq!(heir(&world), Some(node(2)));
    world.asked.automatic_failover = false;
    assert_eq!(heir(&world), Some(node(2)), "it was asked for");
}

#[test]
fn of_two_hosts_that_are_drained_one_node_leaves_after_the_other() {
    let mut world = drained(roomy([2, 3]), &[2, 3]);
    settle(&mut world);
    world.decided = world.next();
    assert_eq!(leaving(&world), [node(2)]);
    world.decided.members.remove(&node(2));
    settle(&mut world);
    let present = world.decided.members.values().filter(|member| !member.leaving).count();
    assert_eq!(present, 4, "one more, and no more than that");
    world.decided = world.next();
    assert_eq!(leaving(&world), [node(3)]);
}

#[test]
fn without_room_elsewhere_everything_stays_and_it_is_said() {
    let mut full = drained(World::healthy(), &[2]);
    for seen in full.seen.hosts.values_mut() {
        seen.memory_bytes = 0;
    }
    assert_eq!(full.waits_for(), [WaitKind::Room]);
    let problems = full.plan().problems;
    assert!(problems.iter().any(|problem| problem.kind == ProblemKind::NoRoom), "{problems:?}");
}

#[test]
fn a_replica_that_cannot_take_over_takes_nobodys_place() {
    let mut world = drained(roomy([2, 1]), &[2]);
    settle(&mut world);
    world.report(3).silent = Duration::from_secs(60);
    world.report(3).stall = crate::model::Stall::Stopped;
    let next = world.plan().commit.map(|commit| commit.next);
    assert!(next.is_none_or(|next| next.members.values().all(|member| !member.leaving)));
}

#[test]
fn a_host_that_is_used_again_keeps_its_nodes_and_the_extra_one_goes() {
    let mut world = drained(roomy([2, 1]), &[2]);
    settle(&mut world);
    world.seen.hosts.get_mut(&host(2)).unwrap().draining = false;
    world.decided = world.next();
    assert_eq!(leaving(&world), [node(4)]);
}
