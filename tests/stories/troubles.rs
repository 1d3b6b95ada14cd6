//! What a troubleshooting guide begins with, as the doctor and the API say it.
//!
//! Invariant: each complaint of the guide is recognised, with what to do.
//!
//! Not here: clients that security groups turn away (`crate::doors`).

use rustix::process::Signal;
use tanist_lab::{Installation, signal};

use crate::web;

crate::on_both_engines!(
    a_healthy_group_is_told_so_in_every_respect,
    an_unhealthy_replica_is_named,
    a_failover_that_would_not_come_is_announced,
    a_group_that_may_lose_writes_is_told_so,
);

fn doctor(installation: &Installation) -> String {
    installation.tanist(&["doctor"]).out
}

fn says(said: &str, parts: &[&str]) {
    for part in parts {
        assert!(said.contains(part), "{part:?} is not in\n{said}");
    }
}

fn a_healthy_group_is_told_so_in_every_respect(engine: &str) {
    let installation = web(engine, &["--replicas", "2"]);
    installation.tanist(&["failover", "web"]).ok();
    installation.available("web");
    let said = doctor(&installation);
    says(
        &said,
        &[
            "web: available, no problem",
            "all 5 endpoints answer; their addresses stay the same in every failover",
            "automatic failover is on, and a replica can take over",
            "the last failover (failover requested) took ",
            "sync: a failover loses no acknowledged write",
            "gives each new connection one of 2 replicas, and a connection stays with its replica",
        ],
    );
}

fn an_unhealthy_replica_is_named(engine: &str) {
    let installation = web(engine, &["--replicas", "1"]);
    let shard = installation.shard("web");
    let replica = shard.nodes.iter().find(|node| node.role == "replica");
    let replica = replica.unwrap_or_else(|| panic!("no replica"));
    let pid = replica.pid.unwrap_or_else(|| panic!("{replica:?}"));
    signal(pid, Signal::STOP);
    let said = installation.wait("it is out of sync", |installation| {
        let said = doctor(installation);
        said.contains("replicas that are not in sync").then_some(said)
    });
    says(
        &said,
        &[replica.node.as_str(), "needs no rule in a security group here", "one node alone"],
    );
    signal(pid, Signal::CONT);
}

fn a_failover_that_would_not_come_is_announced(engine: &str) {
    let installation = web(engine, &["--replicas", "1", "--no-automatic-failover"]);
    let said = doctor(&installation);
    says(
        &said,
        &[
            "web: automatic failover is off: a lost primary waits for a person",
            "modify-replication-group --replication-group-id web --automatic-failover-enabled",
        ],
    );
    installation.tanist(&["scale", "web", "--replicas", "0"]).ok();
    says(&doctor(&installation), &["no replica, so nobody can take over", "tanist scale web"]);
}

fn a_group_that_may_lose_writes_is_told_so(engine: &str) {
    let installation = web(engine, &["--replicas", "1", "--durability", "async"]);
    let said = doctor(&installation);
    says(&said, &["web: async: a failover may lose the last writes that were acknowledged"]);
}
