//! When a move of the primaryship is proposed because it cures something.
//!
//! Invariant: every test begins with a primary that refuses writes and a replica that is well.
//!
//! Not here: how the move itself goes (the rules of switchovers).

use std::time::Duration;

use super::super::cure;
use super::world::{World, host, node};
use crate::model::{Health, Limits, MoveKind, NodeId, ProblemKind};

fn proposed(world: &World) -> Option<NodeId> {
    cure(&world.asked, &world.decided, &world.seen, &Limits::DEFAULT, world.now)
}

fn refusing(health: Health) -> World {
    let mut world = World::healthy();
    is(&mut world, 1, health);
    world
}

fn is(world: &mut World, n: usize, health: Health) {
    world.report(n).engine.as_mut().unwrap().health = health;
}

#[test]
fn a_primary_that_cannot_write_to_its_disk_moves_to_a_replica_whose_disk_is_well() {
    assert_eq!(proposed(&World::healthy()), None);
    assert_eq!(proposed(&refusing(Health::Misconf)), Some(node(2)));
    let mut world = refusing(Health::Misconf);
    is(&mut world, 2, Health::Misconf);
    assert_eq!(proposed(&world), Some(node(3)));
    is(&mut world, 3, Health::Misconf);
    assert_eq!(proposed(&world), None, "one full disk for all: nothing is gained");
}

#[test]
fn what_moving_does_not_cure_moves_nothing() {
    for health in [Health::OutOfMemory, Health::NoReplicas, Health::BusyScript, Health::Odd] {
        assert_eq!(proposed(&refusing(health)), None, "{health:?}");
    }
}

#[test]
fn nobody_is_proposed_who_could_not_take_over_or_shares_the_disk() {
    let mut world = refusing(Health::Misconf);
    let tags = world.decided.in_sync.clone();
    world.decided.in_sync.retain(|tag| tag.run.node == node(3));
    assert_eq!(proposed(&world), Some(node(3)));
    world.decided.in_sync = tags;
    world.report(2).silent = Duration::from_secs(60);
    world.report(2).stall = crate::model::Stall::Stopped;
    assert_eq!(proposed(&world), Some(node(3)));
    world.decided.members.get_mut(&node(3)).unwrap().host = host(1);
    assert_eq!(proposed(&world), None);
}

#[test]
fn a_fork_that_failed_is_a_problem_of_that_node() {
    let mut world = World::healthy();
    world.report(2).engine.as_mut().unwrap().fork_error = Some("Cannot allocate memory".into());
    let problems = world.plan().problems;
    let [problem] = problems.as_slice() else { panic!("{problems:?}") };
    assert_eq!((problem.kind, &problem.node), (ProblemKind::ForkFails, &Some(node(2))));
    assert_eq!(problem.detail, "Cannot allocate memory");
}

#[test]
fn a_persons_wishes_come_first() {
    let mut world = refusing(Health::Misconf);
    world.asks(MoveKind::Switchover, Some(3), false);
    assert_eq!(proposed(&world), None, "a request is being carried out");
    let mut world = refusing(Health::Misconf);
    world.asked.automatic_failover = false;
    assert_eq!(proposed(&world), None);
}
