//! What happens with nodes when a host that was lost comes back, and what hosts are called.
//!
//! Invariant: while a node is relocated no client meets an error or loses a write.
//!
//! Not here: hosts that are lost (`super::fleet`), hosts that are drained (`super::hosts`).

use std::collections::BTreeSet;

use tanist_lab::Fleet;
use tanist_link::api::{GroupStatus, HostStatus};

use crate::fleet::{missing, while_writing};

/// Short times, so that a story is no longer than it has to be.
const SHORT: &str = "[placement]\nreplace_after = 2\nrebalance_after = 4\n";

fn hosts_of(group: &GroupStatus) -> BTreeSet<String> {
    group.shards[0].nodes.iter().map(|node| node.host.to_string()).collect()
}

/// The group, once it is available and its nodes are on so many hosts.
fn on_hosts(fleet: &Fleet, hosts: usize) -> GroupStatus {
    fleet.wait(&format!("the group is on {hosts} hosts"), |fleet| {
        let group =
            fleet.try_status()?.groups.into_iter().find(|group| group.name == "web".into())?;
        let shard = &group.shards[0];
        let whole = shard.nodes.len() == 3 && shard.nodes.iter().all(|node| node.in_sync);
        let there = whole && group.status == "available" && hosts_of(&group).len() == hosts;
        there.then_some(group)
    })
}

#[test]
fn nodes_come_back_to_a_host_that_came_back_and_no_client_notices() {
    let mut fleet = Fleet::start_with(3, SHORT);
    fleet.tanist(0, &["create", "web", "--memory", "64mb"]).ok();
    let group = on_hosts(&fleet, 3);
    let primary = fleet.primary("web");
    // A replica's host whose server does not lead: nothing else happens at the same time.
    let leader = fleet.leader();
    let replicas = group.shards[0].nodes.iter().filter(|node| node.role == "replica");
    let mut hosts = replicas.map(|node| fleet.number(node.host.as_str()));
    let lost = hosts.find(|host| *host != leader).unwrap_or_else(|| panic!("{group:?}"));
    let near = (0..3).find(|host| *host != lost).unwrap_or_default();
    let away = while_writing(&mut fleet, near, |fleet| {
        fleet.kill_host(lost);
        on_hosts(fleet, 2);
    });
    let epoch = fleet.group("web").shards[0].epoch;
    let written = while_writing(&mut fleet, near, |fleet| {
        fleet.start_host(lost);
        fleet.wait("it is said what is waited for", |fleet| {
            let said = fleet.tanist(near, &["status"]).out;
            said.contains("could be on").then_some(())
        });
        on_hosts(fleet, 3);
    });
    assert_eq!(written.uncertain, 0, "{written:?}\n{}", fleet.what_it_says());
    let all: Vec<u64> = away.acked;
    assert!(missing(fleet.endpoint("web", lost), &all).is_empty(), "at its own endpoint");
    let group = fleet.group("web");
    assert_eq!(group.shards[0].epoch, epoch, "a replica moved, and nobody else");
    assert_eq!(fleet.primary("web").node, primary.node);
    let events = fleet.tanist(near, &["events"]).out;
    let count = |name: &str| events.matches(name).count();
    assert_eq!((count("RelocationBegun"), count("RelocationDone")), (1, 1), "{events}");
    assert!(events.contains("it shares its zone with another node of its shard"), "{events}");
    let listed = fleet.tanist(near, &["host", "list"]).out;
    for zone in ["first zone", "second zone", "third zone"] {
        assert!(listed.contains(zone), "{listed}");
    }
}

#[test]
fn a_hosts_labels_are_kept_and_shown() {
    let mut fleet = Fleet::start(3);
    let of = |fleet: &Fleet, host: usize| {
        let listed = fleet.tanist(host, &["host", "list", "-o", "json"]).ok();
        let hosts: Vec<HostStatus> =
            serde_json::from_str(&listed).unwrap_or_else(|err| panic!("{err}: {listed}"));
        let found = hosts.into_iter().find(|host| host.host.as_str() == "h2");
        let labels = found.unwrap_or_else(|| panic!("{listed}")).labels;
        labels.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>()
    };
    let said = fleet.tanist(0, &["host", "label", "h2", "rack=r7", "example.com/owner=web"]).ok();
    assert_eq!(said, "example.com/owner=web\nrack=r7\n");
    let said = fleet.tanist(1, &["host", "label", "h2", "rack-", "power=b"]).ok();
    assert_eq!(said, "example.com/owner=web\npower=b\n");
    for (args, code) in [(["h2", "a b=c"], 1), (["h2", "rack"], 2), (["h9", "a=b"], 1)] {
        let refused = fleet.tanist(0, &[&["host", "label"], &args[..]].concat());
        assert_eq!(refused.code, code, "{}", refused.err);
        assert!(refused.err.contains("T474") || refused.err.contains("T470"), "{}", refused.err);
    }
    // Whoever leads next knows them.
    let leader = fleet.leader();
    fleet.stop_server(leader);
    let next = fleet.leader();
    assert_eq!(of(&fleet, next), ["example.com/owner=web", "power=b"]);
    let listed = fleet.tanist(next, &["host", "list"]).out;
    assert!(listed.contains("example.com/owner=web power=b"), "{listed}");
    fleet.start_server(leader);
}

#[test]
fn a_primary_leaves_a_crowded_host_by_a_switchover_that_no_client_notices() {
    let mut fleet = Fleet::start_with(3, SHORT);
    for host in ["h2", "h3"] {
        fleet.tanist(0, &["host", "drain", host]).ok();
    }
    // Each of seven nodes counts for a twentieth of its host; the last group is the first to move.
    for group in ["a1", "a2", "a3", "a4", "a5", "a6", "web"] {
        fleet.tanist(0, &["create", group, "--replicas", "0", "--memory", "16mb"]).ok();
    }
    let before = fleet.primary("web");
    assert_eq!(before.host.as_str(), "h1");
    let written = while_writing(&mut fleet, 0, |fleet| {
        for host in ["h2", "h3"] {
            fleet.tanist(0, &["host", "drain", host, "--undo"]).ok();
        }
        fleet.wait("its primary is elsewhere and alone", |fleet| {
            let group = fleet.try_status()?.groups.into_iter().find(|g| g.name == "web".into())?;
            let [node] = &group.shards[0].nodes[..] else { return None };
            (node.role == "primary" && node.host != before.host).then_some(())
        });
    });
    assert_eq!(written.uncertain, 0, "{written:?}\n{}", fleet.what_it_says());
    let events = fleet.tanist(0, &["events"]).out;
    let why = "web-002 takes the primary's place; it moves to web-002";
    assert!(events.contains(why) && events.contains("switchover requested"), "{events}");
    assert!(!events.contains("RelocationGivenUp"), "{events}");
}
