//! Which replicas may be read from.
//!
//! Invariant: a replica is read from only while it is known to keep up.
//!
//! Not here: which of them a client gets (the proxy).

use std::time::Duration;

use super::super::route;
use super::world::{World, node};
use crate::model::{Limits, NodeId, RoleSeen};

fn readable(world: &World) -> Vec<NodeId> {
    let World { asked, decided, seen, now } = world;
    let route = route(asked, decided, seen, &Limits::DEFAULT, &world.plan(), *now);
    let fit = route.nodes.into_iter().filter(|node| node.readable);
    fit.map(|node| node.node).collect()
}

#[test]
fn a_replica_that_lags_for_longer_than_the_group_allows_is_not_read_from() {
    let mut world = World::healthy();
    assert_eq!(readable(&world), [node(2), node(3)]);
    let RoleSeen::Primary { replicas } = &mut world.report(1).engine.as_mut().unwrap().role else {
        panic!("web-001 is the primary")
    };
    replicas[0].behind = Duration::from_millis(1500);
    replicas[1].behind = Duration::from_millis(1000);
    assert_eq!(readable(&world), [node(3)]);
    world.asked.reads.max_lag_millis = 2000;
    assert_eq!(readable(&world), [node(2), node(3)]);
    world.asked.reads.max_lag_millis = 0;
    assert_eq!(readable(&world), []);
}
