//! Rules that a simulated world or its first reader found missing, each as a claim.
//!
//! Invariant: each test states one rule and breaks without it.
//!
//! Not here: sequences of decisions under faults (`tanist-sim`), where they were found.

mod leases;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use super::super::{Commit, Plan, converge, decide};
use crate::model::*;

const NOW: u64 = 100_000;
const OLD: &str = "history-old";
const NEW: &str = "history-new";

fn ms(ms: u64) -> Instant {
    Instant::from_millis(ms)
}

fn node(n: usize) -> NodeId {
    NodeId::new(format!("web-{n:03}"))
}

fn run(n: usize) -> Run {
    Run { node: node(n), id: RunId::new(format!("run-{n}")) }
}

fn tag(n: usize, seq: u64) -> Tag {
    Tag { run: run(n), seq }
}

fn host(n: usize) -> HostId {
    HostId::new(format!("host-{n}"))
}

fn address(n: usize) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::new(127, 10, 0, n as u8), 31_000))
}

/// A group of three with web-001 as primary, all in sync, one proxy, and everything well.
struct World {
    asked: GroupSpec,
    decided: ShardTopology,
    seen: Observations,
}

impl World {
    fn new() -> Self {
        let nowhere = Ipv4Addr::LOCALHOST;
        let asked = GroupSpec {
            name: "web".into(),
            region: "here".into(),
            engine: EngineKind::Redis,
            shards: BTreeMap::from([("0001".into(), vec![SlotRange::ALL])]),
            replicas: 2,
            zones: Vec::new(),
            automatic_failover: true,
            durability: Durability::Sync,
            min_in_sync: 0,
            memory_bytes: 1,
            endpoints: GroupEndpoints {
                primary: nowhere,
                reader: nowhere,
                port: 6379,
                ports_from: None,
            },
            ..super::world::spec()
        };
        let member = |n: usize| Member {
            host: host(n),
            zone: Zone::new(format!("zone-{n}")),
            address: address(n),
            endpoint: Ipv4Addr::new(127, 80, 0, n as u8),
            attach: (n > 1).then(|| tag(n, n as u64)),
            leaving: false,
        };
        let decided = ShardTopology {
            group: "web".into(),
            shard: "0001".into(),
            rev: Rev(10),
            epoch: Epoch(3),
            durability: Durability::Sync,
            slots: vec![SlotRange::ALL],
            primaryship: Primaryship::Serving(run(1)),
            in_sync: BTreeSet::from([tag(2, 2), tag(3, 3)]),
            pending: None,
            lineage: Lineage { base: Some((OLD.into(), Offset(50))), replid: Some(NEW.into()) },
            members: (1..=3).map(|n| (node(n), member(n))).collect(),
            lanes: BTreeSet::from(["proxy-1".into()]),
            next_seq: 4,
            request_done: RequestId(0),
            relocation: None,
        };
        let mut world = Self { asked, decided, seen: Observations::default() };
        for n in 1..=3 {
            world.hear(n);
        }
        world.confirm(Rev(10), NOW);
        world.known_since(NOW - 50);
        world
    }

    fn hear(&mut self, n: usize) {
        let seen = HostSeen {
            region: "here".into(),
            zone: Zone::new(format!("zone-{n}")),
            address: Ipv4Addr::new(127, 10, 0, n as u8),
            at: ms(NOW),
            since: ms(0),
            draining: false,
            memory_bytes: 100,
        };
        self.seen.hosts.insert(host(n), seen);
        let seen = NodeSeen::new(host(n), ms(NOW), ms(NOW), well(n));
        self.seen.nodes.insert(node(n), vec![seen]);
    }

    fn report(&mut self, n: usize) -> &mut NodeReport {
        &mut self.seen.nodes.get_mut(&node(n)).unwrap()[0].report
    }

    fn known_since(&mut self, at: u64) {
        self.seen.rev_since.insert(self.decided.key(), (self.decided.rev, ms(at)));
    }

    fn confirm(&mut self, rev: Rev, at: u64) {
        let said = ProxySeen { route: Some((rev, ms(at))), ..ProxySeen::default() };
        self.seen.hear_proxy(&"proxy-1".into(), &self.decided.key(), said, ms(NOW));
    }

    fn lose_host(&mut self, n: usize) {
        self.seen.hosts.get_mut(&host(n)).unwrap().at = ms(NOW - 5000);
    }

    fn vacate(&mut self, cause: Cause) {
        self.decided.rev = Rev(11);
        self.decided.epoch = Epoch(4);
        self.decided.primaryship =
            Primaryship::Vacant(Vacancy { prev: Some(run(1)), cause, request: None, heir: None });
        self.known_since(NOW - 2000);
    }

    fn answer(&mut self, n: usize, state: Fenced) {
        self.report(n).fence = Some(FenceAnswer { rev: Rev(11), state });
    }

    fn die(&mut self, n: usize) {
        self.report(n).process = Process::Absent;
        self.answer(n, Fenced::Dead);
    }

    fn make_async(&mut self) {
        self.asked.durability = Durability::Async;
        self.decided.durability = Durability::Async;
        // Answers count as heard just now, unless a claim says something else.
        for seen in self.seen.nodes.values_mut().flatten() {
            seen.fenced_at = ms(NOW);
            seen.withheld_since = Some(ms(NOW));
        }
    }

    fn node_seen(&mut self, n: usize) -> &mut NodeSeen {
        &mut self.seen.nodes.get_mut(&node(n)).unwrap()[0]
    }

    /// A request to move; one that names a node accepts a loss.
    fn ask(&mut self, kind: MoveKind, to: Option<usize>) {
        let (id, accept_loss, to) = (RequestId(1), to.is_some(), to.map(node));
        let request = MoveRequest { id, kind, to, accept_loss, beyond: None };
        self.asked.requests.insert("0001".into(), request);
    }

    fn decide(&self) -> Plan {
        decide(&self.asked, &self.decided, &self.seen, &Limits::DEFAULT, ms(NOW))
    }

    fn commit(&self) -> Commit {
        let plan = self.decide();
        let commit = plan.commit.unwrap_or_else(|| panic!("no commit, waits {:?}", plan.waits));
        assert_eq!(commit.next.check_after(&self.decided), Vec::<String>::new());
        commit
    }

    fn waits_for(&self, kind: WaitKind) -> bool {
        let plan = self.decide();
        plan.commit.is_none() && plan.waits.iter().any(|wait| wait.kind == kind)
    }

    fn order(&self, n: usize) -> Option<Action> {
        let limits = &Limits::DEFAULT;
        let orders = converge(&self.asked, &self.decided, &self.seen, limits, Term(1), ms(NOW));
        orders.into_iter().find(|(at, _)| *at == host(n)).map(|(_, order)| order.action)
    }
}

fn well(n: usize) -> NodeReport {
    let replica = |n: usize| ReplicaSeen {
        tag: tag(n, n as u64).to_string(),
        online: true,
        acked: Offset(90),
        behind: Duration::ZERO,
    };
    let role = if n == 1 {
        RoleSeen::Primary { replicas: vec![replica(2), replica(3)] }
    } else {
        RoleSeen::Replica { link_up: true, syncing: false, of: Some(address(1)) }
    };
    let engine = EngineSeen {
        run: run(n).id,
        role,
        replid: NEW.into(),
        offset: Offset(90),
        health: if n == 1 { Health::Writable } else { Health::ReadOnly },
        memory_bytes: 1,
        memory_limit: None,
        fork_error: None,
    };
    let applied = Applied {
        rev: Rev(10),
        epoch: Epoch(3),
        run: run(n).id,
        primary: n == 1,
        seqs: if n == 1 { BTreeSet::from([2, 3]) } else { BTreeSet::from([n as u64]) },
        lanes: BTreeSet::from(["proxy-1".into()]),
        users: 0,
        stand_ins: BTreeSet::new(),
    };
    NodeReport {
        rev: Rev(10),
        process: Process::Running(Some(run(n).id)),
        engine: Some(engine),
        silent: Duration::ZERO,
        stall: Stall::None,
        fence: None,
        applied: Some(Arc::new(applied)),
        data: true,
        standing: Some(Standing { on: false, turn: 1 }),
    }
}

fn frozen(n: usize, offset: u64) -> Fenced {
    held(n, offset, NEW, Some((OLD.into(), Offset(51))))
}

/// A run that was given a full copy does not know what its history continues.
fn copied(n: usize, offset: u64, replid: &str) -> Fenced {
    held(n, offset, replid, None)
}

fn held(n: usize, offset: u64, replid: &str, before: Option<(ReplId, Offset)>) -> Fenced {
    let (run, offset) = (run(n).id, Offset(offset));
    Fenced::Frozen { run, replid: replid.into(), before, offset, origin: Origin::Empty }
}

fn chosen(commit: &Commit) -> &Run {
    commit.next.primary().unwrap()
}

#[test]
fn a_shard_that_is_well_is_left_alone() {
    let plan = World::new().decide();
    assert_eq!((plan.commit, plan.problems), (None, Vec::new()));
}

#[test]
fn a_dead_primary_leaves_a_vacancy_with_the_set_as_it_was() {
    let mut world = World::new();
    world.report(1).process = Process::Absent;
    let next = world.commit().next;
    assert_eq!(next.vacancy().unwrap().cause, Cause::PrimaryDown);
    assert_eq!((next.rev, next.epoch), (Rev(11), Epoch(4)));
    assert_eq!(next.in_sync, world.decided.in_sync);
}

#[test]
fn a_host_that_was_never_heard_is_lost_after_a_while_and_not_at_once() {
    let mut world = World::new();
    world.seen.hosts.remove(&host(1));
    world.seen.nodes.remove(&node(1));
    assert!(world.decide().commit.is_none_or(|commit| commit.next.primary().is_some()));
    world.known_since(NOW - 3000);
    assert_eq!(world.commit().next.vacancy().unwrap().cause, Cause::HostLost);
}

#[test]
fn no_vacancy_for_a_lost_host_while_nobody_could_take_over() {
    let mut world = World::new();
    world.lose_host(1);
    world.lose_host(2);
    world.lose_host(3);
    world.decided.in_sync.clear();
    let plan = world.decide();
    assert!(plan.waits.iter().any(|wait| wait.kind == WaitKind::Quorum));
}

#[test]
fn any_single_member_that_answers_may_take_over() {
    let mut world = World::new();
    world.vacate(Cause::PrimaryDown);
    world.die(1);
    world.lose_host(2);
    world.answer(3, frozen(3, 90));
    let commit = world.commit();
    assert_eq!(*chosen(&commit), run(3));
    assert!(commit.next.in_sync.is_empty());
}

#[test]
fn only_members_at_the_heirs_offset_are_in_sync_with_it() {
    let mut world = World::new();
    world.vacate(Cause::PrimaryDown);
    world.die(1);
    world.answer(2, frozen(2, 90));
    world.answer(3, frozen(3, 80));
    let commit = world.commit();
    assert_eq!(*chosen(&commit), run(2));
    assert!(commit.next.in_sync.is_empty());
    world.answer(3, frozen(3, 90));
    let commit = world.commit();
    let in_sync: Vec<&Run> = commit.next.in_sync.iter().map(|tag| &tag.run).collect();
    assert_eq!(in_sync, [&run(3)]);
    assert!(commit.next.in_sync.iter().all(|tag| tag.seq >= 4), "an attachment was re-used");
}

#[test]
fn a_freeze_answer_does_not_outlive_its_revision() {
    let mut world = World::new();
    world.vacate(Cause::PrimaryDown);
    world.die(1);
    world.report(2).fence = Some(FenceAnswer { rev: Rev(10), state: frozen(2, 90) });
    world.report(3).fence = Some(FenceAnswer { rev: Rev(10), state: frozen(3, 90) });
    assert!(world.waits_for(WaitKind::Candidate));
}

#[test]
fn another_history_a_new_process_and_a_stranger_are_no_answers() {
    let mut world = World::new();
    world.vacate(Cause::PrimaryDown);
    world.die(1);
    let mut answer = frozen(2, 900);
    if let Fenced::Frozen { replid, before, .. } = &mut answer {
        *replid = "history-other".into();
        *before = None;
    }
    world.answer(2, answer);
    let mut answer = frozen(3, 900);
    if let Fenced::Frozen { run, .. } = &mut answer {
        *run = "run-later".into();
    }
    world.answer(3, answer);
    world.report(3).process = Process::Running(Some("run-later".into()));
    assert!(world.waits_for(WaitKind::Candidate));
}

#[test]
fn the_old_primary_frozen_and_answering_is_enough_by_itself() {
    let mut world = World::new();
    world.vacate(Cause::HostLost);
    world.decided.in_sync.clear();
    world.answer(1, frozen(1, 120));
    world.lose_host(2);
    world.lose_host(3);
    assert_eq!(*chosen(&world.commit()), run(1));
}

#[test]
fn with_nobody_in_sync_only_the_recorded_run_may_lead() {
    let mut world = World::new();
    world.vacate(Cause::HostLost);
    world.decided.in_sync.clear();
    world.lose_host(1);
    world.answer(2, frozen(2, 90));
    world.answer(3, frozen(3, 90));
    assert!(world.waits_for(WaitKind::Candidate));
}

#[test]
fn a_crashed_disk_never_replaces_a_member_that_has_everything() {
    let mut world = World::new();
    world.asked.automatic_failover = false;
    world.vacate(Cause::PrimaryDown);
    world.die(1);
    world.answer(2, frozen(2, 90));
    world.answer(3, frozen(3, 90));
    assert_eq!(world.order(1), None, "the disk must not be loaded");
    assert!(world.waits_for(WaitKind::AutomaticFailoverOff));
    world.ask(MoveKind::Failover, None);
    let commit = world.commit();
    assert_eq!((chosen(&commit), commit.next.request_done), (&run(2), RequestId(1)));
}

#[test]
fn once_every_memory_is_gone_the_recorded_primarys_disk_is_loaded() {
    let mut world = World::new();
    world.vacate(Cause::PrimaryDown);
    for n in 1..=3 {
        world.die(n);
    }
    assert!(world.waits_for(WaitKind::DiskRecovery));
    assert!(matches!(world.order(1), Some(Action::Start { data: DataOnStart::Load, .. })));
    assert_eq!(world.order(2), None);
}

#[test]
fn a_plan_that_fails_goes_on_as_a_crash_does() {
    let mut world = World::new();
    world.vacate(Cause::Switchover);
    world.known_since(NOW - 10);
    assert_eq!(world.order(2), None, "the old primary stops first");
    world.lose_host(1);
    let freeze = Action::Fence { was_primary: false, drain_to: None };
    assert_eq!(world.order(2), Some(freeze));
}

#[test]
fn a_replica_that_never_followed_is_no_reason_to_give_an_async_primary_up() {
    let mut world = World::new();
    world.make_async();
    world.decided.in_sync.clear();
    for n in [2, 3] {
        world.report(n).engine.as_mut().unwrap().replid = "history-of-nothing".into();
    }
    world.report(1).silent = Duration::from_secs(2);
    world.report(1).stall = Stall::Stopped;
    assert!(world.decide().waits.iter().any(|wait| wait.kind == WaitKind::Quorum));
}

#[test]
fn the_history_of_a_primary_that_was_let_go_on_is_noted() {
    let mut world = World::new();
    for n in 1..=3 {
        world.report(n).engine.as_mut().unwrap().replid = "history-later".into();
    }
    let commit = world.commit();
    assert_eq!(commit.next.lineage.replid, Some("history-later".into()));
    // Before it was noted, an answer that comes from the known history counts.
    world.vacate(Cause::PrimaryDown);
    world.die(1);
    let mut answer = frozen(2, 95);
    if let Fenced::Frozen { replid, before, .. } = &mut answer {
        *replid = "history-later".into();
        *before = Some((NEW.into(), Offset(91)));
    }
    world.answer(2, answer);
    world.die(3);
    assert_eq!(*chosen(&world.commit()), run(2));
}

#[test]
fn a_lost_member_leaves_the_set_in_one_commit() {
    let mut world = World::new();
    world.lose_host(2);
    let next = world.commit().next;
    assert_eq!(next.in_sync, BTreeSet::from([tag(3, 3)]));
    assert_eq!(next.epoch, Epoch(3));
}

#[test]
fn joining_goes_through_pending() {
    let mut world = World::new();
    world.decided.in_sync = BTreeSet::from([tag(2, 2)]);
    let next = world.commit().next;
    assert_eq!((next.pending, next.in_sync), (Some(tag(3, 3)), BTreeSet::from([tag(2, 2)])));
}

fn growing() -> World {
    let mut world = World::new();
    world.decided.in_sync = BTreeSet::from([tag(2, 2)]);
    world.decided.pending = Some(tag(3, 3));
    world
}

#[test]
fn a_newcomer_joins_when_it_reached_a_position_read_after_every_proxy_waits_for_it() {
    let mut world = growing();
    let next = world.commit().next;
    assert_eq!((next.pending, next.in_sync.len()), (None, 2));
    world.confirm(Rev(9), NOW);
    assert!(world.waits_for(WaitKind::ProxyRoutes));
    world.confirm(Rev(10), NOW + 1);
    assert!(world.waits_for(WaitKind::CatchUp), "the position is older than the routes");
    let mut world = growing();
    world.report(3).engine.as_mut().unwrap().offset = Offset(89);
    assert!(world.waits_for(WaitKind::CatchUp));
}

#[test]
fn the_set_does_not_grow_while_the_primary_still_lets_a_cut_proxy_in() {
    let mut world = growing();
    world.report(1).applied.as_mut().map(Arc::make_mut).unwrap().lanes.insert("proxy-cut".into());
    assert!(world.waits_for(WaitKind::ProxyRoutes));
}

#[test]
fn a_proxy_that_works_by_an_old_route_is_not_let_in() {
    let mut world = World::new();
    let works_by = |rev| ProxySeen { route: Some((Rev(rev), ms(NOW))), ..ProxySeen::default() };
    let key = world.decided.key();
    world.seen.hear_proxy(&"proxy-2".into(), &key, works_by(9), ms(NOW));
    assert_eq!(world.decide().commit, None);
    world.seen.hear_proxy(&"proxy-2".into(), &key, works_by(10), ms(NOW));
    assert!(world.commit().next.lanes.contains("proxy-2"));
}

#[test]
fn a_proxy_that_takes_no_route_in_does_not_hold_the_set_up_for_ever() {
    let mut world = growing();
    world.confirm(Rev(9), NOW);
    world.known_since(NOW - 1500);
    assert!(world.commit().next.lanes.is_empty());
}

#[test]
fn a_silent_proxy_does_not_prevent_a_switchover() {
    let mut world = World::new();
    world.ask(MoveKind::Switchover, None);
    assert_eq!(world.decide().hold, Some(RequestId(1)));
    world.seen.proxies.clear();
    let next = world.commit().next;
    assert!(next.lanes.is_empty() && next.primary().is_some());
    world.decided.lanes.clear();
    assert_eq!(world.commit().next.vacancy().unwrap().cause, Cause::Switchover);
}

#[test]
fn neither_a_primary_that_is_being_fenced_nor_a_lost_host_is_a_second_primary() {
    let found = |world: &World| {
        let problems = world.decide().problems;
        problems.iter().any(|problem| problem.kind == ProblemKind::TwoPrimaries)
    };
    let mut world = World::new();
    world.vacate(Cause::Switchover);
    assert!(!found(&world));
    // Somebody else is primary now: the one before comes back and still believes to be.
    world.decided.primaryship = Primaryship::Serving(run(2));
    assert!(found(&world));
    world.lose_host(1);
    assert!(!found(&world));
}

#[test]
fn a_vacancy_notes_the_history_that_was_last_seen_of_the_dead_primary() {
    let mut world = World::new();
    world.decided.lineage.replid = None;
    world.report(1).process = Process::Absent;
    let next = world.commit().next;
    assert!(next.vacancy().is_some());
    assert_eq!(next.lineage.replid, Some(NEW.into()));
}

#[test]
fn a_full_copy_is_in_the_epochs_history_if_another_answer_proves_that_history() {
    let mut world = World::new();
    world.vacate(Cause::PrimaryDown);
    world.decided.lineage.replid = None;
    world.decided.in_sync = BTreeSet::from([tag(2, 2)]);
    world.die(1);
    world.answer(2, copied(2, 95, NEW));
    assert!(world.waits_for(WaitKind::Candidate));
    // It goes on from where the epoch's primary was chosen.
    world.answer(3, frozen(3, 90));
    assert_eq!(chosen(&world.commit()), &run(2));
    world.answer(2, copied(2, 95, "another"));
    assert!(world.waits_for(WaitKind::Candidate));
}

#[test]
fn replicas_of_a_primary_that_was_let_go_on_count_until_they_come_back() {
    let mut world = World::new();
    world.make_async();
    // It goes on in a new history; nobody is in it yet.
    world.report(1).engine.as_mut().unwrap().replid = "history-later".into();
    assert_eq!(world.decide().commit, None);
    world.vacate(Cause::PrimaryDown);
    world.die(1);
    world.answer(2, copied(2, 92, NEW));
    world.answer(3, copied(3, 93, NEW));
    assert_eq!(chosen(&world.commit()), &run(3));
}
