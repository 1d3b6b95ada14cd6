//! Hosts that were chosen for a group's endpoints and are not there.
//!
//! Invariant: what is said about them changes nobody's place and nobody's role.
//!
//! Not here: who listens (`tanist-proxy`).

use std::time::Duration;

use super::world::{World, host};
use crate::model::{Instant, ProblemKind};

/// What is said about endpoints.
fn said(world: &World) -> Vec<(ProblemKind, String)> {
    let kinds = [ProblemKind::EndpointHostLost, ProblemKind::NoEndpoint];
    let problems = world.plan().problems.into_iter();
    let about = problems.filter(|problem| kinds.contains(&problem.kind));
    about.map(|problem| (problem.kind, problem.detail)).collect()
}

#[test]
fn a_chosen_host_that_is_removed_is_named_and_so_is_having_none() {
    let mut world = World::healthy();
    world.seen.hosts.remove(&host(9));
    assert_eq!(said(&world), [], "every host serves, and none is missed");
    world.asked.endpoint_hosts = [host(1), host(9)].into();
    let gone = "h9 is no host of the fleet any more".to_owned();
    assert_eq!(said(&world), [(ProblemKind::EndpointHostLost, gone.clone())]);
    assert!(world.plan().commit.is_none(), "it is no reason to move anything");
    world.asked.endpoint_hosts = [host(9)].into();
    assert_eq!(said(&world), [(ProblemKind::NoEndpoint, gone)]);
    world.asked.deleting = true;
    assert_eq!(said(&world), []);
}

#[test]
fn a_chosen_host_that_is_silent_is_named_until_it_is_heard() {
    let mut world = World::healthy();
    world.asked.endpoint_hosts = [host(2), host(3)].into();
    assert_eq!(said(&world), []);
    world.later(Duration::from_secs(5));
    world.seen.hosts.get_mut(&host(3)).unwrap().at = Instant::from_millis(1);
    let silent = "h3 is not heard from".to_owned();
    assert_eq!(said(&world), [(ProblemKind::EndpointHostLost, silent)]);
}
