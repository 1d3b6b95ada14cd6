//! What a person is told who has to decide without somebody.
//!
//! Invariant: a command that is named names a node that can be reached.
//!
//! Not here: what the command does (`found`).

use std::time::Duration;

use super::world::{World, host, node};
use crate::model::{Cause, FenceAnswer, Fenced, Instant, ProblemKind};

fn detail(world: &World, kind: ProblemKind) -> String {
    let problems = world.plan().problems;
    let found = problems.iter().find(|problem| problem.kind == kind);
    found.unwrap_or_else(|| panic!("{problems:?}")).detail.clone()
}

/// Everything was lost, and of these nodes nothing is heard.
fn all_lost_but(mut world: World, away: &[usize]) -> World {
    world.later(Duration::from_secs(5));
    for n in 1..=3 {
        if away.contains(&n) {
            world.seen.hosts.get_mut(&host(n)).unwrap().at = Instant::from_millis(1);
            world.seen.nodes.remove(&node(n));
        } else {
            world.dies(n);
            let rev = world.decided.rev;
            world.report(n).fence = Some(FenceAnswer { rev, state: Fenced::Dead });
        }
    }
    world
}

#[test]
fn who_is_missed_is_named_with_the_command_and_the_most_that_is_lost() {
    let world = all_lost_but(World::vacant(Cause::PrimaryDown), &[3]);
    assert_eq!(
        detail(&world, ProblemKind::NoCandidate),
        "web-003 on h3 (which is not heard from; run run-3) may hold acknowledged writes; to go on \
         without: tanist failover web --to web-001 --accept-loss; what is lost at most is the last \
         second before its process ended"
    );
    // The last primary itself, of which nobody has said that it is gone.
    let world = all_lost_but(World::healthy(), &[1]);
    let said = detail(&world, ProblemKind::PrimaryHostLost);
    assert!(said.contains("--to web-002 --accept-loss; what is lost at most"), "{said}");
    // One that never was in sync.
    let mut world = all_lost_but(World::healthy(), &[1]);
    world.decided.in_sync.clear();
    let said = detail(&world, ProblemKind::PrimaryHostLost);
    assert!(said.ends_with("--to web-002 --accept-loss; how much is lost nobody knows"), "{said}");
}

#[test]
fn nobody_is_asked_to_accept_a_loss_that_a_moment_may_spare() {
    let mut world = all_lost_but(World::vacant(Cause::PrimaryDown), &[3]);
    world.seen.hosts.get_mut(&host(3)).unwrap().at = world.now;
    let said = detail(&world, ProblemKind::NoCandidate);
    assert!(said.ends_with("not every host has spoken yet"), "{said}");
    let world = all_lost_but(World::vacant(Cause::PrimaryDown), &[1, 2, 3]);
    let said = detail(&world, ProblemKind::NoCandidate);
    assert!(said.ends_with("no node can be reached"), "{said}");
}

#[test]
fn a_replica_that_can_take_over_needs_no_person() {
    let mut world = World::healthy();
    world.later(Duration::from_secs(5));
    world.seen.hosts.get_mut(&host(1)).unwrap().at = Instant::from_millis(1);
    let said = detail(&world, ProblemKind::PrimaryHostLost);
    assert_eq!(said, "web-001 on h1 (which is not heard from; run run-1)");
}
