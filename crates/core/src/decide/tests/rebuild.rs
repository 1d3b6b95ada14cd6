//! A store that was lost: when hosts' own copies say enough, and who may be primary then.
//!
//! Invariant: every test begins with three hosts of which each keeps the shard as it was last decided.
//!
//! Not here: keeping, asking and writing (`tanist-agent`, `tanist-controller`).

use super::world::{World, host, node, proxy, run, tag};
use crate::model::{
    Cause, Fenced, GAP, Limits, MoveKind, Primaryship, ProxyId, RequestId, Rev, Vacancy, WaitKind,
};
use crate::rebuild::{Doubt, Evidence, Kept, Lost, Told, lost};

/// What three hosts and a proxy say after the store was lost.
fn evidence(world: &World) -> Evidence {
    let key = world.decided.key();
    let told = |n: usize| {
        let (spec, shard) = (world.asked.clone(), world.decided.clone());
        let kept = Some(Kept { at: 5, spec, shard });
        Told { host: host(n), key: key.clone(), promised: world.decided.rev, kept }
    };
    Evidence {
        hosts: (1..=3).map(host).collect(),
        told: (1..=3).map(told).collect(),
        routes: [(proxy(), [(key.clone(), world.decided.rev)].into())].into(),
    }
}

fn found(evidence: &Evidence) -> Lost {
    let mut all = lost(evidence, |_| None);
    assert_eq!(all.len(), 1);
    all.remove(0)
}

fn doubts(change: impl FnOnce(&mut Evidence)) -> Vec<Doubt> {
    let mut evidence = evidence(&World::healthy());
    change(&mut evidence);
    found(&evidence).doubts
}

/// The shard goes on from what `evidence` says.
fn rebuilt(mut world: World, evidence: &Evidence) -> World {
    let lost = found(evidence);
    (world.asked, world.decided) = (lost.asked(), lost.next().unwrap());
    assert_eq!(world.decided.check(), Vec::<String>::new());
    world.seen.rev_since.insert(world.decided.key(), (world.decided.rev, world.now));
    world
}

#[test]
fn what_every_host_keeps_and_nobody_goes_beyond_is_certain() {
    let world = World::healthy();
    let mut said = evidence(&world);
    let lost = found(&said);
    assert_eq!((lost.doubts.as_slice(), lost.newest), ([].as_slice(), Rev(10)));
    said.told.reverse();
    assert_eq!(found(&said), lost, "in whatever order they answer");
    let next = lost.next().unwrap();
    assert_eq!((next.rev, next.epoch.0, next.next_seq), (Rev(10 + GAP), 10 + GAP, 4 + GAP));
    let vacancy = next.vacancy().unwrap();
    assert_eq!((vacancy.cause, &vacancy.prev), (Cause::Rebuilt, &Some(run(1))));
    assert_eq!(next.in_sync, world.decided.in_sync, "any of them has every acknowledged write");
}

#[test]
fn a_shard_that_the_store_knows_as_well_or_has_seen_deleted_is_not_lost() {
    let evidence = evidence(&World::healthy());
    for (known, count) in [(None, 1), (Some(9), 1), (Some(10), 0), (Some(11), 0)] {
        assert_eq!(lost(&evidence, |_| known.map(Rev)).len(), count, "{known:?}");
    }
}

#[test]
fn the_newest_decision_counts_and_an_old_one_beside_it_does_not_matter() {
    let mut world = World::healthy();
    let old = world.decided.clone();
    world.decided.rev = Rev(11);
    let mut evidence = evidence(&world);
    if let Some(kept) = &mut evidence.told[1].kept {
        kept.shard = old;
    }
    let lost = found(&evidence);
    assert_eq!((lost.shard.rev, lost.by, lost.doubts), (Rev(11), host(1), Vec::new()));
}

#[test]
fn whatever_may_hide_a_later_decision_is_a_doubt() {
    let silent = doubts(|evidence| {
        evidence.hosts.remove(&host(3));
        evidence.told.truncate(2);
    });
    assert_eq!(silent, [Doubt::HostSilent(host(3))]);
    let nothing = doubts(|evidence| evidence.told[2].kept = None);
    assert_eq!(nothing, [Doubt::NothingKept(host(3))]);
    let newer = |by: &str| Doubt::Newer { by: by.to_owned(), rev: Rev(12) };
    assert_eq!(doubts(|evidence| evidence.told[1].promised = Rev(12)), [newer("h2")]);
    let routed = doubts(|evidence| {
        let routes = evidence.routes.values_mut().flat_map(|shards| shards.values_mut());
        routes.for_each(|rev| *rev = Rev(12));
    });
    assert_eq!(routed, [newer("proxy-1")]);
    assert_eq!(doubts(|evidence| evidence.routes.clear()), [Doubt::ProxySilent(proxy())]);
    let other = doubts(|evidence| {
        if let Some(kept) = &mut evidence.told[2].kept {
            kept.shard.in_sync.clear();
        }
    });
    assert_eq!(other, [Doubt::TwoVersions { other: host(3) }]);
    let deleting = doubts(|evidence| {
        for kept in evidence.told.iter_mut().filter_map(|told| told.kept.as_mut()) {
            kept.spec.deleting = true;
        }
    });
    assert_eq!(deleting, [Doubt::BeingDeleted]);
}

#[test]
fn a_host_that_the_shard_has_left_need_not_be_heard_but_what_it_was_told_counts() {
    let mut evidence = evidence(&World::healthy());
    let key = evidence.told[0].key.clone();
    let left = Told { host: host(9), key, promised: Rev(9), kept: None };
    evidence.told.push(left.clone());
    assert!(found(&evidence).is_certain());
    evidence.told[3].promised = Rev(14);
    let lost = found(&evidence);
    assert_eq!(lost.next().unwrap().rev, Rev(14 + GAP), "beyond everything");
    assert!(!lost.is_certain());
}

#[test]
fn the_primary_that_lives_or_whoever_has_all_of_it_takes_over() {
    let healthy = World::healthy();
    let said = evidence(&healthy);
    let mut world = rebuilt(healthy, &said);
    world.frozen(1, 100);
    world.frozen(2, 90);
    world.frozen(3, 90);
    world.later(Limits::DEFAULT.drain);
    assert_eq!(world.next().primary(), Some(&run(1)), "the others lack something");
    let mut world = rebuilt(World::healthy(), &said);
    world.dies(1);
    world.answers(1, Fenced::Dead);
    world.frozen(2, 90);
    world.frozen(3, 95);
    assert_eq!(world.next().primary(), Some(&run(3)), "any member of the set has everything");
}

#[test]
fn in_doubt_nobody_takes_over_until_a_person_names_a_node() {
    let healthy = World::healthy();
    let mut said = evidence(&healthy);
    said.told[1].promised = Rev(12);
    let mut world = rebuilt(healthy, &said);
    assert_eq!(world.decided.vacancy().map(|vacancy| vacancy.cause), Some(Cause::StoreBehind));
    assert!(world.decided.in_sync.is_empty());
    for n in 1..=3 {
        world.frozen(n, 100);
    }
    world.later(Limits::DEFAULT.busy);
    assert_eq!(world.waits_for(), [WaitKind::Candidate]);
    world.asks(MoveKind::Failover, Some(2), true);
    assert_eq!(world.next().primary(), Some(&run(2)));
}

#[test]
fn a_vacancy_that_was_kept_goes_on_and_one_for_a_named_node_stays_for_that_node() {
    let vacant = |cause, heir: Option<usize>| {
        let mut world = World::healthy();
        let (prev, heir) = (Some(run(1)), heir.map(node));
        world.decided.primaryship =
            Primaryship::Vacant(Vacancy { prev, cause, request: None, heir });
        let next = found(&evidence(&world)).next().unwrap();
        (next.vacancy().cloned().unwrap(), next.in_sync.len())
    };
    let (vacancy, set) = vacant(Cause::PrimaryDown, None);
    assert_eq!((vacancy.cause, vacancy.prev, set), (Cause::Rebuilt, Some(run(1)), 2));
    let (vacancy, set) = vacant(Cause::StoreBehind, Some(3));
    assert_eq!((vacancy.cause, vacancy.heir, set), (Cause::StoreBehind, Some(node(3)), 0));
}

#[test]
fn nobody_is_surprised_by_a_request_of_before() {
    let mut world = World::healthy();
    world.asks(MoveKind::Switchover, Some(2), false);
    let said = evidence(&world);
    let lost = found(&said);
    assert!(lost.asked().requests.is_empty());
    assert_eq!(lost.next().unwrap().request_done, RequestId(1));
}

#[test]
fn a_pending_attachment_is_none_and_numbers_have_an_end() {
    let mut world = World::healthy();
    world.decided.in_sync.remove(&tag(3));
    world.decided.pending = Some(tag(3));
    let mut said = evidence(&world);
    assert_eq!(found(&said).next().unwrap().pending, None);
    said.told[0].promised = Rev(u64::MAX);
    assert_eq!(found(&said).next(), None);
}

#[test]
fn a_proxy_of_nobodys_lanes_is_not_waited_for() {
    let mut evidence = evidence(&World::healthy());
    evidence.routes.insert(ProxyId::new("elsewhere"), Default::default());
    assert!(found(&evidence).is_certain());
}
