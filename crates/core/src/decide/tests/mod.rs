//! Rules of the failover protocol, each as a claim about one small world built by hand.
//!
//! Invariant: a test changes one thing in a healthy shard and looks at what follows.
//!
//! Not here: sequences of events and their interleavings (the simulation, the model check).

mod behind;
mod copies;
mod cures;
mod drain;
mod estate;
mod found;
mod members;
mod patience;
mod readers;
mod rebalance;
mod rebuild;
mod served;
mod users;
mod word;
mod world;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::model::{
    Action, Cause, DataOnStart, Durability, Epoch, FenceAnswer, Fenced, MoveKind, Offset, Origin,
    ProblemKind, Process, ProxySeen, RequestId, Rev, RoleSeen, Stall,
};

use self::world::{World, frozen, host, node, proxy, run, tag};

#[test]
fn a_healthy_shard_needs_no_decision_and_no_order() {
    let world = World::healthy();
    assert_eq!(world.plan(), Plan::default());
    assert_eq!(world.orders(), Vec::new());
}

#[test]
fn a_dead_primary_is_vacated_at_the_next_epoch() {
    let mut world = World::healthy();
    world.dies(1);
    let next = world.next();
    assert_eq!((next.rev, next.epoch), (Rev(11), Epoch(4)));
    assert_eq!(next.vacancy().map(|v| v.cause), Some(Cause::PrimaryDown));
    assert_eq!(next.in_sync, world.decided.in_sync, "the set says who may take over");
}

#[test]
fn a_primary_whose_process_was_replaced_is_dead() {
    let mut world = World::healthy();
    world.report(1).process = Process::Running(Some("another".into()));
    assert_eq!(world.next().vacancy().map(|v| v.cause), Some(Cause::PrimaryDown));
}

#[test]
fn silence_is_judged_by_what_the_process_does() {
    let cases = [
        (Stall::Stopped, 249, false),
        (Stall::Stopped, 250, true),
        (Stall::Stalled, 999, false),
        (Stall::Stalled, 1000, true),
        (Stall::Busy, 9_999, false),
        (Stall::Starved, 9_999, false),
        (Stall::Busy, 10_000, true),
    ];
    for (stall, silent, vacated) in cases {
        let mut world = World::healthy();
        let report = world.report(1);
        (report.stall, report.silent) = (stall, Duration::from_millis(silent));
        let plan = world.plan();
        assert_eq!(plan.commit.is_some(), vacated, "{stall:?} for {silent} ms");
    }
}

#[test]
fn a_lost_host_is_left_only_when_somebody_can_take_over() {
    let mut world = World::healthy();
    world.seen.hosts.get_mut(&host(1)).unwrap().at = Instant::ZERO;
    assert_eq!(world.next().vacancy().map(|v| v.cause), Some(Cause::HostLost));
    world.decided.in_sync.clear();
    world.decided.members.get_mut(&node(2)).unwrap().attach = None;
    world.decided.members.get_mut(&node(3)).unwrap().attach = None;
    world.dies(2);
    world.dies(3);
    assert!(world.waits_for().contains(&WaitKind::Quorum));
}

#[test]
fn a_second_failover_on_mere_silence_waits() {
    let mut world = World::healthy();
    world.seen.hosts.get_mut(&host(1)).unwrap().at = Instant::ZERO;
    world.seen.last_failover.insert(world.decided.key(), world.now - Duration::from_secs(59));
    assert!(world.waits_for().contains(&WaitKind::FlapLimit));
    world.dies(1);
    world.seen.hosts.get_mut(&host(1)).unwrap().at = world.now;
    assert!(world.plan().commit.is_some(), "a death is no flapping");
}

#[test]
fn everybody_is_fenced_at_once_after_a_crash() {
    let mut world = World::vacant(Cause::PrimaryDown);
    world.dies(1);
    let fence = |was_primary| Some(Action::Fence { was_primary, drain_to: None });
    assert_eq!(world.action(1), fence(true));
    assert_eq!(world.action(2), fence(false));
    assert_eq!(world.action(3), fence(false));
}

#[test]
fn the_longest_history_of_the_in_sync_members_wins() {
    let mut world = World::vacant(Cause::PrimaryDown);
    world.dies(1);
    world.answers(1, Fenced::Dead);
    world.frozen(2, 100);
    world.frozen(3, 120);
    let next = world.next();
    assert_eq!(next.primary(), Some(&run(3)));
    assert_eq!(next.epoch, world.decided.epoch, "the vacancy began it");
    assert!(next.in_sync.is_empty(), "nobody else is at the winner's position");
    let tags: Vec<u64> = next.attachments().iter().map(|tag| tag.seq).collect();
    assert_eq!(tags, [4], "attachments are never used again");
}

#[test]
fn a_longer_branch_that_was_given_up_does_not_win_over_the_epochs_own_history() {
    let mut world = World::vacant(Cause::PrimaryDown);
    world.asked.durability = Durability::Async;
    world.decided.durability = Durability::Async;
    world.dies(1);
    world.answers(1, Fenced::Dead);
    world.frozen(2, 60);
    // It was primary, went on alone from where this epoch began, and has only just come back.
    let mut branch = frozen(run(3).id.as_str(), "branch", 70);
    if let Fenced::Frozen { before, .. } = &mut branch {
        *before = Some(("old".into(), Offset(51)));
    }
    world.answers(3, branch);
    assert_eq!(world.next().primary(), Some(&run(2)));
    // It is better than nobody.
    world.answers(2, Fenced::Unusable { run: None });
    world.later(Limits::DEFAULT.answers);
    assert_eq!(world.next().primary(), Some(&run(3)));
}

#[test]
fn only_members_at_the_winners_position_stay_in_sync() {
    let mut world = World::vacant(Cause::PrimaryDown);
    world.dies(1);
    world.answers(1, Fenced::Dead);
    world.frozen(2, 120);
    world.frozen(3, 120);
    let next = world.next();
    assert_eq!(next.primary(), Some(&run(2)));
    let runs: Vec<&Run> = next.in_sync.iter().map(|tag| &tag.run).collect();
    assert_eq!(runs, [&run(3)]);
}

#[test]
fn an_answer_counts_for_its_own_vacancy_alone() {
    let mut world = World::vacant(Cause::PrimaryDown);
    world.dies(1);
    world.answers(1, Fenced::Dead);
    world.report(2).fence = Some(FenceAnswer { rev: Rev(9), state: frozen("run-2", "now", 120) });
    assert_eq!(world.waits_for(), [WaitKind::FenceAnswers]);
}

#[test]
fn a_reachable_member_is_waited_for_but_not_for_ever() {
    let mut world = World::vacant(Cause::PrimaryDown);
    world.dies(1);
    world.answers(1, Fenced::Dead);
    world.frozen(2, 100);
    assert_eq!(world.waits_for(), [WaitKind::FenceAnswers]);
    world.later(Limits::DEFAULT.answers);
    assert_eq!(world.next().primary(), Some(&run(2)));
}

#[test]
fn a_new_process_of_a_member_is_no_member() {
    let mut world = World::vacant(Cause::PrimaryDown);
    world.decided.in_sync = BTreeSet::from([tag(2)]);
    world.dies(1);
    world.answers(1, Fenced::Dead);
    world.report(2).process = Process::Running(Some("another".into()));
    world.answers(2, frozen("another", "now", 500));
    world.frozen(3, 100);
    world.later(Limits::DEFAULT.answers);
    // Both memories are lost: what is left is the recorded primary's disk, not web-003's laggard.
    assert_eq!(world.waits_for(), [WaitKind::DiskRecovery]);
}

#[test]
fn a_loading_member_is_no_answer_rather_than_a_low_one() {
    let mut world = World::vacant(Cause::PrimaryDown);
    world.decided.in_sync = BTreeSet::from([tag(2)]);
    world.dies(1);
    world.answers(1, Fenced::Dead);
    world.answers(2, Fenced::Unusable { run: Some(run(2).id) });
    world.frozen(3, 100);
    world.later(Limits::DEFAULT.answers);
    assert_eq!(world.waits_for(), [WaitKind::Candidate]);
}

#[test]
fn another_history_is_no_answer() {
    let mut world = World::vacant(Cause::PrimaryDown);
    world.dies(1);
    world.answers(1, Fenced::Dead);
    world.answers(2, frozen("run-2", "foreign", 900));
    world.frozen(3, 100);
    world.later(Limits::DEFAULT.answers);
    assert_eq!(world.next().primary(), Some(&run(3)));
}

#[test]
fn the_old_primary_alone_is_enough_if_it_answers() {
    let mut world = World::vacant(Cause::HostLost);
    world.decided.in_sync.clear();
    world.frozen(1, 140);
    world.later(Limits::DEFAULT.answers);
    assert_eq!(world.next().primary(), Some(&run(1)));
}

#[test]
fn beside_the_old_primary_only_a_complete_member_takes_over() {
    let mut world = World::vacant(Cause::Failover);
    world.frozen(1, 140);
    world.frozen(2, 139);
    world.frozen(3, 140);
    let next = world.next();
    assert_eq!(next.primary(), Some(&run(3)));
    let runs: Vec<&Run> = next.in_sync.iter().map(|tag| &tag.run).collect();
    assert_eq!(runs, [&run(1)], "the old primary is as complete");
}

#[test]
fn the_old_primary_stops_before_the_others_when_it_is_planned() {
    let mut world = World::vacant(Cause::Switchover);
    assert_eq!(world.action(1), Some(Action::Fence { was_primary: true, drain_to: None }));
    assert_eq!((world.action(2), world.action(3)), (None, None));
    world.frozen(1, 140);
    let drain = Action::Fence { was_primary: false, drain_to: Some(Offset(140)) };
    assert_eq!(world.action(2), Some(drain));
}

#[test]
fn nobody_takes_over_from_members_that_may_know_more() {
    let mut world = World::vacant(Cause::PrimaryDown);
    world.dies(1);
    world.answers(1, Fenced::Dead);
    for n in [2, 3] {
        world.seen.hosts.get_mut(&host(n)).unwrap().at = Instant::ZERO;
    }
    let plan = world.plan();
    assert_eq!(plan.commit, None);
    assert!(plan.problems.iter().any(|p| p.kind == ProblemKind::NoCandidate), "{plan:?}");
    assert!(plan.waits.iter().any(|w| w.detail.contains("web-002")), "it names them: {plan:?}");
}

#[test]
fn after_the_end_of_every_process_the_recorded_primarys_disk_wins() {
    let mut world = World::vacant(Cause::PrimaryDown);
    for n in 1..=3 {
        world.dies(n);
        world.answers(n, Fenced::Dead);
    }
    world.later(Limits::DEFAULT.answers);
    assert_eq!(world.waits_for(), [WaitKind::DiskRecovery]);
    let loads = |action| matches!(action, Some(Action::Start { data: DataOnStart::Load, .. }));
    assert!(loads(world.action(1)));
    assert_eq!((world.action(2), world.action(3)), (None, None), "their disks are kept");
    world.report(1).process = Process::Running(Some("again".into()));
    let state = Fenced::Frozen {
        run: "again".into(),
        replid: "new".into(),
        before: None,
        offset: Offset(0),
        origin: Origin::Crash,
    };
    world.answers(1, state);
    let next = world.next();
    assert_eq!(next.primary().map(|run| run.id.as_str()), Some("again"));
    assert!(next.in_sync.is_empty());
}

#[test]
fn an_empty_disk_is_never_resumed() {
    let mut world = World::vacant(Cause::PrimaryDown);
    for n in 1..=3 {
        world.dies(n);
        world.answers(n, Fenced::Dead);
    }
    world.later(Limits::DEFAULT.answers);
    world.report(1).process = Process::Running(Some("again".into()));
    world.answers(1, frozen("again", "new", 0));
    assert_eq!(world.waits_for(), [WaitKind::Candidate]);
    world.asks(MoveKind::Failover, Some(1), true);
    assert!(world.next().primary().is_some(), "the operator may accept it");
}

#[test]
fn no_disk_is_set_aside_before_the_primary_serves() {
    let mut world = World::healthy();
    world.dies(2);
    let aside = |action| matches!(action, Some(Action::Start { data: DataOnStart::SetAside, .. }));
    assert!(aside(world.action(2)));
    world.report(1).process = Process::Unknown;
    assert_eq!(world.action(2), None);
}

#[test]
fn a_lost_member_leaves_the_set_at_once_and_a_slow_one_after_a_while() {
    let mut world = World::healthy();
    world.dies(2);
    assert_eq!(world.next().in_sync, BTreeSet::from([tag(3)]));
    let mut world = World::healthy();
    let report = world.report(2);
    (report.stall, report.silent) = (Stall::Starved, Duration::from_millis(1900));
    assert_eq!(world.plan().commit, None);
    world.report(2).silent = Duration::from_secs(2);
    assert_eq!(world.next().in_sync, BTreeSet::from([tag(3)]));
}

#[test]
fn a_member_joins_only_after_proxies_wait_for_it_and_it_has_what_came_before() {
    let mut world = World::healthy();
    world.decided.in_sync = BTreeSet::from([tag(3)]);
    let begun = world.next();
    assert_eq!((begun.pending.clone(), begun.in_sync.len()), (Some(tag(2)), 1));

    world.decided = begun;
    assert_eq!(world.waits_for(), [WaitKind::ProxyRoutes], "the proxy works by revision 10");
    let key = world.decided.key();
    let heard = world.now + Duration::from_millis(1);
    let proxied = ProxySeen { route: Some((Rev(11), heard)), ..ProxySeen::default() };
    world.seen.hear_proxy(&proxy(), &key, proxied, heard);
    assert_eq!(world.waits_for(), [WaitKind::CatchUp], "the position is older than the route");

    world.seen.nodes.get_mut(&node(1)).unwrap()[0].sampled_after = heard;
    world.report(1).engine.as_mut().unwrap().offset = Offset(101);
    assert_eq!(world.waits_for(), [WaitKind::CatchUp], "it lacks a byte");
    world.report(2).engine.as_mut().unwrap().offset = Offset(101);
    assert_eq!(world.next().in_sync, BTreeSet::from([tag(2), tag(3)]));
}

#[test]
fn a_silent_proxy_is_cut_so_that_the_set_can_grow() {
    let mut world = World::healthy();
    world.decided.pending = Some(tag(2));
    world.decided.in_sync = BTreeSet::from([tag(3)]);
    world.later(Duration::from_secs(2));
    assert!(world.next().lanes.is_empty());
}

#[test]
fn a_new_process_gets_an_attachment_of_its_own() {
    let mut world = World::healthy();
    world.report(2).process = Process::Running(Some("another".into()));
    let next = world.next();
    assert_eq!(next.in_sync, BTreeSet::from([tag(3)]));
    let attach = next.members[&node(2)].attach.clone().unwrap();
    assert_eq!((attach.run.id.as_str(), attach.seq), ("another", 4));
}

#[test]
fn a_replica_follows_only_once_the_primary_lets_it_in() {
    let mut world = World::healthy();
    world.report(2).process = Process::Running(Some("another".into()));
    world.decided = world.next();
    assert!(matches!(world.action(1), Some(Action::Admit { .. })));
    assert_eq!(world.action(2), None);
    world.report(1).applied.as_mut().map(Arc::make_mut).unwrap().seqs = BTreeSet::from([3, 4]);
    assert!(matches!(world.action(2), Some(Action::Follow { .. })));
}

#[test]
fn a_stray_primary_is_fenced() {
    let mut world = World::healthy();
    world.decided.members.get_mut(&node(2)).unwrap().attach = None;
    world.decided.in_sync = BTreeSet::from([tag(3)]);
    let role = RoleSeen::Primary { replicas: Vec::new() };
    world.report(2).engine.as_mut().unwrap().role = role;
    assert_eq!(world.action(2), Some(Action::Fence { was_primary: true, drain_to: None }));
    let problems = world.plan().problems;
    assert!(problems.iter().any(|p| p.kind == ProblemKind::TwoPrimaries), "{problems:?}");
}

#[test]
fn a_switchover_holds_the_proxies_until_they_have_drained() {
    let mut world = World::healthy();
    world.asks(MoveKind::Switchover, None, false);
    let plan = world.plan();
    assert_eq!((plan.hold, plan.commit), (Some(RequestId(1)), None));
    let key = world.decided.key();
    let drained = Some(RequestId(1));
    let proxied = ProxySeen { route: Some((Rev(10), world.now)), drained, left: None };
    world.seen.hear_proxy(&proxy(), &key, proxied, world.now);
    assert_eq!(world.next().vacancy().map(|v| v.cause), Some(Cause::Switchover));
}

#[test]
fn a_switchover_lets_clients_go_when_they_do_not_drain() {
    let mut world = World::healthy();
    world.asks(MoveKind::Switchover, None, false);
    world.seen.holds.insert(world.decided.key(), (RequestId(1), world.now));
    world.later(Limits::DEFAULT.drain);
    assert_eq!(world.plan().hold, None);
    world.later(Limits::DEFAULT.drain);
    assert_eq!(world.plan().hold, Some(RequestId(1)));
}

#[test]
fn an_async_group_waits_for_the_old_primarys_lease() {
    let mut world = World::vacant(Cause::HostLost);
    world.asked.durability = Durability::Async;
    world.decided.durability = Durability::Async;
    world.frozen(2, 100);
    world.frozen(3, 90);
    let over = Limits::DEFAULT.lease + Limits::DEFAULT.lease_margin;
    for n in [2, 3] {
        world.seen.nodes.get_mut(&node(n)).unwrap()[0].withheld_since = Some(world.now);
    }
    world.later(over - Duration::from_millis(1));
    world.seen.hosts.get_mut(&host(1)).unwrap().at = Instant::ZERO;
    assert_eq!(world.waits_for(), [WaitKind::Lease]);
    world.later(Duration::from_millis(1));
    world.seen.hosts.get_mut(&host(1)).unwrap().at = Instant::ZERO;
    assert_eq!(world.next().primary(), Some(&run(2)));
}

#[test]
fn a_route_names_a_primary_only_once_it_is_promoted() {
    use crate::model::RouteState;
    let mut world = World::healthy();
    let route_of = |world: &World| {
        let plan = Plan::default();
        route(&world.asked, &world.decided, &world.seen, &Limits::DEFAULT, &plan, world.now)
    };
    assert!(matches!(route_of(&world).state, RouteState::Serving { .. }));
    world.report(1).applied.as_mut().map(Arc::make_mut).unwrap().epoch = Epoch(2);
    assert_eq!(route_of(&world).state, RouteState::Vacant);
}

#[test]
fn a_founded_group_is_spread_over_zones_and_gets_addresses_of_its_own() {
    let world = World::healthy();
    let founded = found(&world.asked, &"0001".into(), &world.seen, &Limits::DEFAULT, world.now);
    let founded = founded.unwrap();
    let zones: BTreeSet<_> = founded.members.values().map(|member| &member.zone).collect();
    assert_eq!(zones.len(), 3);
    let mut addresses: BTreeSet<_> = founded.members.values().map(|m| m.endpoint).collect();
    addresses.insert(world.asked.endpoints.primary);
    addresses.insert(world.asked.endpoints.reader);
    assert_eq!(addresses.len(), 5, "no endpoint leads to two things");
    assert_eq!(founded.check(), Vec::<String>::new());
}
