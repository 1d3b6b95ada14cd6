//! How nodes find a better place after a host came or came back.
//!
//! Invariant: in every test what holds of every commit is checked by the estate itself.
//!
//! Not here: where a new node is placed (`found`, `drain`).

use proptest::prelude::*;

use super::super::placed_because;
use super::super::rebalance::Outlook;
use super::estate::{Estate, zoned};
use crate::model::{EventKind, HostId, NodeId, Process, WaitKind};

const MIB: u64 = 1 << 20;

/// Three nodes on two hosts, and an empty third one; each in a zone of its own.
fn crowded() -> Estate {
    let mut estate = Estate::of(&[(1, 1), (2, 2), (3, 3)]);
    estate.group("web", 64 * MIB, &[1, 2, 2]);
    estate
}

fn kinds(estate: &Estate) -> Vec<&'static str> {
    let names = estate.events.iter().map(EventKind::name);
    names.filter(|name| name.starts_with("Relocation") || *name == "PrimaryChosen").collect()
}

#[test]
fn a_node_that_shares_its_zone_moves_to_the_one_that_came_back_and_nothing_moves_after() {
    let mut estate = crowded();
    estate.seconds(10);
    assert_eq!(estate.hosts_of(0), ["h1", "h2", "h3"]);
    assert_eq!(kinds(&estate), ["RelocationBegun", "RelocationDone"]);
    let said = estate.events.iter().map(EventKind::sentence).collect::<Vec<_>>().join("\n");
    assert!(said.contains("web-004 on h3 is to take the place of web-003 on h2"), "{said}");
    assert_eq!(estate.groups[0].1.relocation, None);
    assert_eq!(estate.groups[0].1.in_sync.len(), 2);
    estate.seconds(600);
    assert_eq!(estate.begun(), 1);
}

#[test]
fn nobody_is_let_go_before_the_newcomer_counts() {
    let mut estate = crowded();
    estate.slow.insert(NodeId::new("web-004"));
    estate.seconds(30);
    assert_eq!(kinds(&estate), ["RelocationBegun"]);
    assert_eq!(estate.groups[0].1.members.len(), 4);
    let waits = estate.plan(0).waits;
    let waits = waits.iter().find(|wait| wait.kind == WaitKind::Relocation).unwrap();
    assert_eq!(waits.detail, "web-004 takes the place of web-003 when web-004 is in sync");
    estate.slow.clear();
    estate.seconds(5);
    assert_eq!(estate.hosts_of(0), ["h1", "h2", "h3"]);
}

#[test]
fn a_primary_leaves_by_a_planned_switchover() {
    // Both replicas are where their owner wants them.
    let mut estate = Estate::of(&[(1, 1), (2, 2), (3, 3)]);
    estate.group("web", 64 * MIB, &[2, 1, 2]);
    for replica in ["web-002", "web-003"] {
        let zone = estate.groups[0].1.members[&NodeId::new(replica)].zone.clone();
        estate.groups[0].0.zone_of.insert(replica.into(), zone);
    }
    estate.seconds(10);
    assert_eq!(estate.hosts_of(0), ["h1", "h2", "h3"]);
    assert_eq!(kinds(&estate), ["RelocationBegun", "PrimaryChosen", "RelocationDone"]);
    let planned = estate.events.iter().any(
        |event| matches!(event, EventKind::PrimaryVacated { cause, .. } if cause.is_planned()),
    );
    assert!(planned, "{:?}", estate.events);
}

#[test]
fn nothing_moves_soon_after_a_host_came_or_anything_went_wrong() {
    let mut estate = crowded();
    estate.silent.insert(HostId::new("h3"));
    estate.seconds(100);
    assert_eq!(estate.outlook(), Outlook::Settled, "there is no better place");
    estate.silent.clear();
    estate.second();
    let wait = estate.later().unwrap();
    assert!(wait.detail.ends_with("h3 has been heard for 0 s"), "{}", wait.detail);
    estate.seconds(58);
    assert_eq!(estate.begun(), 0);
    estate.seconds(5);
    assert_eq!(estate.begun(), 1);
    // A primary that was lost, in another group.
    let mut estate = crowded();
    estate.group("other", 64 * MIB, &[1, 2, 3]);
    estate.down.insert(NodeId::new("other-001"), Process::Absent);
    estate.groups[0].0.deleting = true;
    estate.look_around();
    let lost = estate.plan(1).commit.unwrap().next;
    estate.seen.calm.note(Some(&estate.groups[1].1.clone()), &lost, estate.now);
    estate.groups[0].0.deleting = false;
    let wait = estate.later().unwrap();
    assert_eq!(wait.kind, WaitKind::Calm);
    assert!(wait.detail.ends_with("it has been quiet for 0 s"), "{}", wait.detail);
    assert!(
        wait.detail.starts_with("web-003 could be on h3 (it shares its zone"),
        "{}",
        wait.detail
    );
}

#[test]
fn a_host_that_is_drained_is_no_better_place_and_its_nodes_go_first() {
    let mut estate = crowded();
    estate.hosts.get_mut(&HostId::new("h3")).unwrap().draining = true;
    estate.seconds(5);
    assert_eq!(estate.begun(), 0);
    let mut estate = crowded();
    estate.slow.insert(NodeId::new("web-004"));
    estate.seconds(5);
    assert_eq!(estate.begun(), 1);
    // The newcomer's host is to be left: whoever is in sync stays.
    estate.hosts.get_mut(&HostId::new("h3")).unwrap().draining = true;
    estate.seconds(5);
    assert_eq!(estate.hosts_of(0), ["h1", "h2", "h2"]);
    assert_eq!(estate.groups[0].1.relocation, None);
}

#[test]
fn a_newcomer_that_fails_is_given_up_and_not_tried_again_for_long() {
    let mut estate = crowded();
    estate.down.insert(NodeId::new("web-004"), Process::Failed("no memory".to_owned()));
    estate.seconds(5);
    assert_eq!(kinds(&estate), ["RelocationBegun", "RelocationGivenUp"]);
    let said = estate.events.iter().map(EventKind::sentence).collect::<Vec<_>>().join("\n");
    assert!(said.contains("web-004 does not take the place of web-003: it cannot start"), "{said}");
    assert_eq!(estate.hosts_of(0), ["h1", "h2", "h2"]);
    estate.down.clear();
    estate.seconds(3000);
    assert_eq!(estate.begun(), 1);
    estate.seconds(700);
    assert_eq!(estate.begun(), 2);
    // One that does not come in time, too.
    let mut estate = crowded();
    estate.slow.insert(NodeId::new("web-004"));
    estate.seconds(3500);
    assert_eq!(kinds(&estate), ["RelocationBegun"]);
    estate.seconds(200);
    assert_eq!(kinds(&estate), ["RelocationBegun", "RelocationGivenUp"]);
}

#[test]
fn a_newcomer_whose_host_is_lost_is_given_up_and_one_beside_a_lost_node_takes_its_place() {
    let mut estate = crowded();
    estate.slow.insert(NodeId::new("web-004"));
    estate.seconds(5);
    estate.silent.insert(HostId::new("h3"));
    estate.seconds(40);
    assert_eq!(kinds(&estate), ["RelocationBegun", "RelocationGivenUp"]);
    let mut estate = crowded();
    estate.slow.insert(NodeId::new("web-004"));
    estate.seconds(5);
    estate.silent.insert(HostId::new("h2"));
    estate.seconds(40);
    let shard = &estate.groups[0].1;
    assert!(shard.members[&NodeId::new("web-003")].leaving, "{:?}", estate.events);
    assert!(!shard.members[&NodeId::new("web-004")].leaving);
}

#[test]
fn a_crowded_host_is_relieved_only_of_a_gross_difference() {
    let mut estate = Estate::of(&[(1, 1), (2, 1)]);
    for group in 0..10 {
        estate.group(&format!("g{group}"), MIB, &[1]);
    }
    estate.seconds(100);
    let on = |estate: &Estate, host: &str| {
        (0..10).filter(|group| estate.hosts_of(*group) == [host]).count()
    };
    assert_eq!((on(&estate, "h1"), on(&estate, "h2")), (7, 3));
    let mut few = Estate::of(&[(1, 1), (2, 1)]);
    few.group("web", 64 * MIB, &[1]);
    few.group("shop", 64 * MIB, &[1]);
    few.seconds(100);
    assert_eq!(few.begun(), 0);
}

#[test]
fn it_is_said_why_a_node_is_where_it_is() {
    let mut estate = Estate::of(&[(1, 1), (2, 2), (3, 1), (4, 3)]);
    estate.group("web", 64 * MIB, &[1, 2, 3, 1]);
    let because = |estate: &Estate, node: &str| placed_because(&estate.groups[0].1, &node.into());
    let all: Vec<_> = (1..=4).map(|n| because(&estate, &format!("web-00{n}"))).collect();
    assert_eq!(all, ["first zone", "second zone", "second host of zone-1", "beside web-001"]);
    estate.slow.insert(NodeId::new("web-005"));
    estate.seconds(5);
    assert_eq!(because(&estate, "web-005"), "takes the place of web-004");
}

/// Hosts in three zones, and groups that are anywhere on them.
fn estates() -> impl Strategy<Value = Estate> {
    let hosts = prop::collection::vec((1_usize..4, 4_u64..40), 2..7);
    let groups = prop::collection::vec((prop::collection::vec(0_usize..6, 1..4), 1_u64..3), 1..7);
    (hosts, groups).prop_map(|(hosts, groups)| {
        let numbered: Vec<_> = hosts.iter().enumerate().map(|(n, (zone, _))| (n, *zone)).collect();
        let mut estate = Estate::of(&numbered);
        for (number, (_, memory)) in hosts.iter().enumerate() {
            let host = HostId::new(format!("h{number}"));
            estate.hosts.get_mut(&host).unwrap().memory_bytes = memory * 64 * MIB;
        }
        for (number, (on, memory)) in groups.iter().enumerate() {
            let on: Vec<usize> = on.iter().map(|host| host % hosts.len()).collect();
            estate.group(&format!("g{number}"), memory * 64 * MIB, &on);
        }
        estate.look_around();
        estate
    })
}

proptest! {
    // A case is thousands of decisions.
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn every_relocation_makes_the_spread_better_and_they_end(mut estate in estates()) {
        let mut cost = estate.cost();
        let mut done = 0;
        for _ in 0..400 {
            let before = estate.begun();
            estate.second();
            if estate.groups.iter().all(|(_, s)| s.relocation.is_none()) && estate.begun() > done {
                let now = estate.cost();
                prop_assert!(now < cost, "{now:?} after {cost:?}");
                (cost, done) = (now, estate.begun());
            }
            for (asked, shard) in &estate.groups {
                let in_sync = shard.in_sync.len();
                prop_assert!(shard.primary().is_none() || in_sync >= usize::from(asked.replicas));
            }
            prop_assert!(estate.begun() <= before + 1);
        }
        let ended = estate.begun();
        estate.pass(2000, 10);
        prop_assert_eq!(estate.begun(), ended);
    }

    #[test]
    fn hosts_that_come_and_go_leave_every_node_somewhere(
        mut estate in estates(),
        faults in prop::collection::vec((0_usize..6, 1_u64..200, 1_u64..200), 1..6),
    ) {
        let hosts: Vec<HostId> = estate.hosts.keys().cloned().collect();
        for (host, away, back) in faults {
            estate.silent.insert(hosts[host % hosts.len()].clone());
            estate.pass(away, 3);
            estate.silent.clear();
            estate.pass(back, 3);
        }
        estate.pass(4500, 10);
        for (asked, shard) in &estate.groups {
            let staying = shard.members.values().filter(|member| !member.leaving).count();
            prop_assert_eq!(staying, asked.nodes_per_shard());
            prop_assert_eq!(shard.in_sync.len(), usize::from(asked.replicas));
            prop_assert_eq!(&shard.relocation, &None);
        }
        let settled = estate.begun();
        estate.seconds(200);
        prop_assert_eq!(estate.begun(), settled);
    }

    #[test]
    fn a_host_that_comes_and_goes_every_minute_is_trusted_with_nothing(period in 2_u64..59) {
        let mut estate = crowded();
        let host = zoned(3, 3).0;
        let mut away = 0;
        for second in 0..240 {
            if second % period == 0 {
                estate.silent.insert(host.clone());
                away += 1;
            } else {
                estate.silent.clear();
            }
            estate.second();
        }
        prop_assert!(away >= 4);
        prop_assert_eq!(estate.begun(), 0);
    }
}
