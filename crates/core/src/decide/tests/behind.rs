//! A store that has forgotten decisions: what is not done, and how a person lets it go on.
//!
//! Invariant: every test begins with a host that was told more than the store has.
//!
//! Not here: how a store loses decisions, and what becomes of data (the simulation).

use super::super::{Plan, cure, heir_missing, orphans, promised_beyond, route};
use super::world::{World, frozen, host, node, run};
use crate::model::{
    Action, Cause, DataOnStart, Durability, Epoch, EventKind, GAP, Health, Limits, MoveKind,
    MoveRequest, Primaryship, ProblemKind, RequestId, Rev, RouteState, ShardTopology, Term,
    WaitKind,
};

/// web-003's host was told of revision 14, the store has 10.
fn behind() -> World {
    let mut world = World::healthy();
    world.report(3).rev = Rev(14);
    world
}

fn asks(world: &mut World, to: Option<usize>, beyond: Option<u64>) {
    world.asks(MoveKind::Failover, to, true);
    let request = world.asked.requests.values_mut().next().unwrap();
    request.beyond = beyond.map(Rev);
}

/// A person has named web-003, and the store goes on.
fn going_on() -> World {
    let mut world = behind();
    asks(&mut world, Some(3), Some(14));
    world.decided = world.next();
    world.seen.rev_since.insert(world.decided.key(), (world.decided.rev, world.now));
    world
}

#[test]
fn a_host_that_was_told_more_than_the_store_has_stops_everything() {
    let mut world = behind();
    // That would call for a decision and an order.
    world.dies(2);
    let plan = world.plan();
    assert_eq!((plan.commit, plan.hold), (None, None));
    assert_eq!(world.orders(), Vec::new());
    let [problem] = plan.problems.as_slice() else { panic!("{:?}", plan.problems) };
    assert_eq!(problem.kind, ProblemKind::StoreBehind);
    assert_eq!(problem.detail, "revision 10 after 14");
    world.report(3).rev = Rev(10);
    assert!(world.plan().commit.is_some() && !world.orders().is_empty());
}

#[test]
fn a_host_that_a_member_has_left_knows_as_much() {
    let mut world = World::healthy();
    let mut stray = world.seen.nodes[&node(2)][0].clone();
    stray.host = host(9);
    stray.report.rev = Rev(12);
    world.seen.nodes.get_mut(&node(2)).unwrap().push(stray);
    assert_eq!(promised_beyond(&world.decided, &world.seen), Some(Rev(12)));
    let orders =
        orphans(&world.asked, &world.decided, &world.seen, &Limits::DEFAULT, Term(1), world.now);
    assert_eq!(orders, Vec::new(), "what it has may be the newest data");
}

#[test]
fn no_route_names_a_primary_by_a_store_that_has_forgotten_who_has_to_have_a_write() {
    let state = |world: &World| {
        let (asked, decided, plan) = (&world.asked, &world.decided, Plan::default());
        route(asked, decided, &world.seen, &Limits::DEFAULT, &plan, world.now).state
    };
    assert!(matches!(state(&World::healthy()), RouteState::Serving { .. }));
    assert_eq!(state(&behind()), RouteState::Vacant);
}

#[test]
fn only_a_person_who_accepts_the_loss_is_heard() {
    for (kind, to, accept_loss) in [
        (MoveKind::Failover, None, true),
        (MoveKind::Failover, Some(3), false),
        (MoveKind::Switchover, Some(3), false),
        (MoveKind::Failover, Some(7), true),
    ] {
        let mut world = behind();
        let (to, id, beyond) = (to.map(node), RequestId(1), Some(Rev(14)));
        let request = MoveRequest { id, kind, to, accept_loss, beyond };
        world.asked.requests.insert("0001".into(), request);
        assert_eq!(world.waits_for(), [WaitKind::Candidate], "{kind:?} {accept_loss}");
    }
    let world = behind();
    let (limits, now) = (&Limits::DEFAULT, world.now);
    let to = node(2);
    let missing = |world: &World| {
        heir_missing(&world.asked, &world.decided, &world.seen, limits, now, Some(&to))
    };
    assert_eq!(missing(&World::healthy()), None);
    assert!(missing(&world).is_some(), "such a request can be refused at once");
}

#[test]
fn a_request_that_the_copy_brought_back_forgives_nothing_that_was_forgotten_since() {
    let mut world = behind();
    for made_before in [None, Some(13)] {
        asks(&mut world, Some(3), made_before);
        assert_eq!(world.waits_for(), [WaitKind::Candidate], "{made_before:?}");
    }
    asks(&mut world, Some(3), Some(14));
    assert!(world.plan().commit.is_some());
}

#[test]
fn numbers_go_on_beyond_everything_forgotten() {
    let mut world = behind();
    asks(&mut world, Some(3), Some(14));
    let plan = world.plan();
    let commit = plan.commit.unwrap();
    let next = commit.next;
    assert_eq!((next.rev, next.epoch), (Rev(14 + GAP), Epoch(14 + GAP)));
    assert_eq!(next.next_seq, world.decided.next_seq + GAP);
    let vacancy = next.vacancy().unwrap();
    assert_eq!(vacancy.cause, Cause::StoreBehind);
    assert_eq!((&vacancy.heir, vacancy.request), (&Some(node(3)), Some(RequestId(1))));
    assert!(next.in_sync.is_empty(), "who was in sync then says nothing of now");
    let (prev, cause) = (Some(node(1)), Cause::StoreBehind);
    let kinds: Vec<_> = commit.events.into_iter().map(|event| event.kind).collect();
    assert_eq!(kinds, [EventKind::PrimaryVacated { prev, cause }]);
    // The same copy is put back a second time: nothing is given out twice.
    world.report(3).rev = Rev(next.rev.0 + 5);
    asks(&mut world, Some(3), Some(next.rev.0 + 5));
    let again = world.next();
    assert!(again.rev.0 > next.rev.0 + 5 && again.epoch.0 > next.epoch.0 + 5);
}

#[test]
fn a_revision_that_nothing_can_follow_is_no_reason_to_fall_over() {
    let mut world = behind();
    world.report(3).rev = Rev(u64::MAX);
    asks(&mut world, Some(3), Some(u64::MAX));
    assert_eq!(world.waits_for(), [WaitKind::Candidate]);
}

#[test]
fn nobody_but_the_named_node_becomes_primary() {
    let mut world = going_on();
    assert_eq!(promised_beyond(&world.decided, &world.seen), None);
    let fence = |was_primary| Some(Action::Fence { was_primary, drain_to: None });
    assert_eq!(
        [world.action(1), world.action(2), world.action(3)],
        [true, false, false].map(fence)
    );
    // The primary of the copy, alive and frozen, would take over in any other vacancy.
    world.frozen(1, 500);
    world.frozen(2, 500);
    world.later(Limits::DEFAULT.busy);
    assert_eq!(world.waits_for(), [WaitKind::Candidate]);
    assert!(world.plan().waits[0].detail.contains("web-003"), "it says who is missing");
    world.answers(3, frozen(run(3).id.as_str(), "unknown to the copy", 90));
    let next = world.next();
    assert_eq!((next.primary(), next.request_done), (Some(&run(3)), RequestId(1)));
}

#[test]
fn a_person_may_name_another_node_when_the_first_does_not_come() {
    let mut world = going_on();
    world.frozen(2, 90);
    assert_eq!(world.waits_for(), [WaitKind::Candidate]);
    asks(&mut world, Some(2), None);
    world.asked.requests.values_mut().next().unwrap().id = RequestId(2);
    let next = world.next();
    assert_eq!((next.primary(), next.request_done), (Some(&run(2)), RequestId(2)));
}

#[test]
fn what_was_committed_outlives_the_request() {
    let mut world = going_on();
    world.asked.requests.clear();
    world.frozen(3, 90);
    assert_eq!(world.next().primary(), Some(&run(3)));
    world.asks(MoveKind::Failover, None, false);
    world.asked.requests.values_mut().next().unwrap().id = RequestId(2);
    assert_eq!(world.next().primary(), Some(&run(3)));
}

#[test]
fn only_the_named_nodes_disk_is_loaded() {
    let mut world = going_on();
    for n in 1..=3 {
        world.dies(n);
    }
    let load = |action| matches!(action, Some(Action::Start { data: DataOnStart::Load, .. }));
    assert_eq!([1, 2, 3].map(|n| load(world.action(n))), [false, false, true]);
}

#[test]
fn an_async_heir_waits_until_a_primary_that_was_forgotten_has_no_permission_left() {
    let mut world = going_on();
    world.asked.durability = Durability::Async;
    world.decided.durability = Durability::Async;
    // The copy's primary is dead, but it need not have been the last one.
    world.dies(1);
    world.frozen(3, 90);
    assert_eq!(world.waits_for(), [WaitKind::Lease]);
    world.later(Limits::DEFAULT.lease + Limits::DEFAULT.lease_margin);
    assert_eq!(world.waits_for(), [WaitKind::Lease], "whose word it needs was forgotten, too");
    world.frozen(2, 80);
    assert_eq!(world.next().primary(), Some(&run(3)));
}

#[test]
fn no_move_is_proposed_for_health() {
    let mut world = behind();
    world.report(1).engine.as_mut().unwrap().health = Health::Misconf;
    let proposed = |world: &World| {
        cure(&world.asked, &world.decided, &world.seen, &Limits::DEFAULT, world.now)
    };
    assert_eq!(proposed(&world), None);
    world.report(3).rev = Rev(10);
    assert_eq!(proposed(&world), Some(node(2)));
}

#[test]
fn numbers_leap_for_no_other_decision() {
    let world = going_on();
    let before = behind().decided;
    let faults = |change: fn(&mut ShardTopology)| {
        let mut next = world.decided.clone();
        change(&mut next);
        next.check_after(&before).len()
    };
    assert_eq!(faults(|_| {}), 0);
    assert_eq!(faults(|next| next.rev = Rev(10 + GAP - 1)), 1, "it may have been given out");
    assert_eq!(faults(|next| next.epoch = Epoch(4)), 1);
    assert_eq!(faults(|next| next.next_seq = 4), 1);
    assert_eq!(faults(|next| next.lanes.clear()), 1, "one thing at a time");
    let heir = |next: &mut ShardTopology| {
        next.primaryship = Primaryship::Serving(run(3));
    };
    assert_eq!(faults(heir), 1, "nobody was frozen");
    let nobody = |next: &mut ShardTopology| {
        let Primaryship::Vacant(vacancy) = &mut next.primaryship else { panic!() };
        vacancy.heir = None;
    };
    assert_eq!(faults(nobody), 1, "no person has named a node");
    let set = |next: &mut ShardTopology| next.in_sync = next.attachments();
    assert_eq!(faults(set), 1);
}

#[test]
fn an_epoch_never_goes_back_while_the_revision_goes_on() {
    let before = World::healthy().decided;
    let mut next = before.clone();
    next.rev = before.rev.next();
    assert_eq!(next.check_after(&before), Vec::<String>::new());
    next.epoch = Epoch(before.epoch.0 - 1);
    assert_ne!(next.check_after(&before), Vec::<String>::new());
}
