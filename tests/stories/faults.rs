//! What clients notice when the primary is killed, frozen or moved: as little as possible.
//!
//! Invariant: every acknowledged write is read back.
//!
//! Not here: how fast (`benches/`).

use rustix::process::Signal;
use serde_json::Value;
use tanist_core::model::{Limits, WaitKind};
use tanist_lab::{Installation, kill, signal};

use crate::{call, runtime, text, web};

crate::on_both_engines!(
    a_killed_primary_costs_no_acknowledged_write_and_no_connection,
    a_frozen_primary_is_killed_and_replaced,
    a_planned_switchover_shows_clients_nothing_at_all,
    a_group_without_waiting_for_replicas_survives_its_primary_too,
    a_group_without_waiting_for_replicas_has_no_heir_before_the_old_primary_is_stopped,
    a_killed_replica_does_not_stop_writes_and_comes_back,
    the_primary_of_a_group_without_replicas_is_restarted_with_its_data,
    a_killed_proxy_is_back_and_costs_no_data,
    a_killed_supervisor_takes_no_engine_with_it_and_failover_still_works,
);

fn drill(installation: &Installation, args: &[&str]) -> Value {
    let mut all =
        vec!["drill", "web", "--load", "500", "--connections", "20", "--limit-ms", "10000"];
    all.extend(args);
    all.extend(["-o", "json"]);
    let ran = installation.tanist(&all);
    let report: Value = serde_json::from_str(&ran.out).unwrap_or_else(|err| {
        panic!("{err}\n{}\n{}\n{}", ran.out, ran.err, installation.what_it_says())
    });
    assert_eq!(ran.code, 0, "{report:#}\n{}", installation.what_it_says());
    report
}

fn assert_clean(report: &Value) {
    let verdict = &report["verdict"];
    assert!(verdict["acked"].as_u64().is_some_and(|acked| acked > 500), "{report:#}");
    for nothing in ["lost", "phantoms", "failed", "disconnects", "unanswered"] {
        assert_eq!(verdict[nothing], 0, "{nothing}: {report:#}");
    }
    assert_eq!(report["wrong_reads"], 0, "{report:#}");
    assert_eq!(report["reader_errors"], 0, "{report:#}");
}

fn a_killed_primary_costs_no_acknowledged_write_and_no_connection(engine: &str) {
    let installation = web(engine, &[]);
    let before = installation.primary("web");
    assert_clean(&drill(&installation, &["--kill"]));
    let after = installation.primary("web");
    assert_ne!(before.node, after.node, "{engine}");
    installation.available("web");
}

fn a_frozen_primary_is_killed_and_replaced(engine: &str) {
    let installation = web(engine, &[]);
    let before = installation.primary("web");
    assert_clean(&drill(&installation, &["--freeze"]));
    let pid = before.pid.unwrap_or_else(|| panic!("{before:?}"));
    assert!(!tanist_lab::alive(pid), "the frozen process still exists ({engine})");
    assert_ne!(installation.primary("web").node, before.node, "{engine}");
}

fn a_planned_switchover_shows_clients_nothing_at_all(engine: &str) {
    let installation = web(engine, &[]);
    let report = drill(&installation, &["--switchover", "--runs", "3"]);
    assert_clean(&report);
    assert_eq!(report["verdict"]["uncertain"], 0, "{report:#}");
}

fn a_group_without_waiting_for_replicas_survives_its_primary_too(engine: &str) {
    let installation = web(engine, &["--durability", "async"]);
    let report = drill(&installation, &["--switchover"]);
    assert_eq!(report["verdict"]["lost"], 0, "{report:#}");
    let before = installation.primary("web");
    kill(before.pid.unwrap_or_else(|| panic!("{before:?}")));
    let group = installation.wait("another node is primary", |installation| {
        let group = installation.group("web");
        let moved = group.shards[0].primary.as_ref().is_some_and(|node| *node != before.node);
        moved.then_some(group)
    });
    assert_eq!(group.durability.to_string(), "async");
    installation.available("web");
}

/// On one machine no time takes a primary's permission to accept writes away.
fn a_group_without_waiting_for_replicas_has_no_heir_before_the_old_primary_is_stopped(
    engine: &str,
) {
    let installation = web(engine, &["--durability", "async", "--replicas", "1"]);
    let before = installation.primary("web");
    let pid = before.pid.unwrap_or_else(|| panic!("{before:?}"));
    let supervisor = installation.role("supervise");
    // Nobody can reach the primary: it neither answers nor can it be killed.
    signal(supervisor, Signal::STOP);
    signal(pid, Signal::STOP);
    let waits = |installation: &Installation| {
        let shard = installation.shard("web");
        assert!(shard.primary.as_ref().is_none_or(|node| *node == before.node), "{shard:?}");
        shard.waits.iter().any(|wait| wait.kind == WaitKind::Lease).then_some(())
    };
    installation.wait("the heir waits", waits);
    let limits = Limits::DEFAULT;
    let waited = std::time::Instant::now();
    // Three times as long as a fleet's heir has to wait.
    while waited.elapsed() < (limits.lease + limits.lease_margin) * 3 {
        assert!(waits(&installation).is_some(), "{:?}", installation.shard("web"));
    }
    assert!(tanist_lab::alive(pid), "it could accept writes again at any moment");
    signal(supervisor, Signal::CONT);
    installation.wait("the heir is primary", |installation| {
        let shard = installation.shard("web");
        shard.primary.is_some_and(|node| node != before.node).then_some(())
    });
    assert!(!tanist_lab::alive(pid), "its certain end is what was waited for");
    installation.available("web");
}

fn a_killed_replica_does_not_stop_writes_and_comes_back(engine: &str) {
    let installation = web(engine, &[]);
    let group = installation.group("web");
    let replica = group.shards[0].nodes.iter().find(|node| node.role == "replica");
    let replica = replica.unwrap_or_else(|| panic!("{group:?}"));
    runtime().block_on(async {
        let mut client = installation.connect(&group.primary_endpoint).await;
        assert!(call(&mut client, &["SET", "before", "1"]).await.is_ok());
        kill(replica.pid.unwrap_or_else(|| panic!("{replica:?}")));
        for n in 0..200 {
            let reply = call(&mut client, &["SET", "k", &n.to_string()]).await;
            assert!(reply.is_ok(), "{reply:?} ({engine})");
        }
    });
    installation.available("web");
    assert_eq!(installation.shard("web").epoch, group.shards[0].epoch, "{engine}");
}

fn the_primary_of_a_group_without_replicas_is_restarted_with_its_data(engine: &str) {
    let installation = web(engine, &["--replicas", "0"]);
    let group = installation.group("web");
    let pid = installation.primary("web").pid;
    runtime().block_on(async {
        let mut client = installation.connect(&group.primary_endpoint).await;
        for n in 0..100 {
            let reply = call(&mut client, &["SET", &format!("k{n}"), "v"]).await;
            assert!(reply.is_ok(), "{reply:?}");
        }
        // While an earlier second is being synced, an engine keeps what it has acknowledged since.
        loop {
            let state = text(&mut client, &["INFO", "persistence"]).await;
            if state.contains("aof_buffer_length:0\r\n")
                && state.contains("aof_pending_bio_fsync:0\r\n")
            {
                break;
            }
        }
        kill(pid.unwrap_or_else(|| panic!("{group:?}")));
        let size = call(&mut client, &["DBSIZE"]).await;
        assert_eq!(size.as_int(), Some(100), "{size:?} ({engine})");
    });
}

fn a_killed_proxy_is_back_and_costs_no_data(engine: &str) {
    let installation = web(engine, &[]);
    let group = installation.group("web");
    let status = installation.try_status().unwrap_or_else(|| panic!("no status"));
    let pid = status.proxies[0].pid;
    runtime().block_on(async {
        let mut client = installation.connect(&group.primary_endpoint).await;
        assert!(call(&mut client, &["SET", "k", "v"]).await.is_ok());
    });
    kill(pid);
    installation.wait("another proxy is connected", |installation| {
        let status = installation.try_status()?;
        status.proxies.iter().any(|proxy| proxy.up && proxy.pid != pid).then_some(())
    });
    runtime().block_on(async {
        let mut client = installation.connect(&group.primary_endpoint).await;
        let value = call(&mut client, &["GET", "k"]).await;
        assert_eq!(value.as_str(), Some("v"), "{value:?}");
    });
    assert_eq!(installation.shard("web").epoch, group.shards[0].epoch);
}

fn a_killed_supervisor_takes_no_engine_with_it_and_failover_still_works(engine: &str) {
    let installation = web(engine, &[]);
    let pid = installation.role("supervise");
    let pids = |installation: &Installation| {
        let shard = installation.shard("web");
        shard.nodes.iter().map(|node| node.pid).collect::<Vec<_>>()
    };
    let before = pids(&installation);
    kill(pid);
    assert_clean(&drill(&installation, &["--switchover"]));
    assert_eq!(pids(&installation), before, "an engine was restarted");
    assert_clean(&drill(&installation, &["--kill"]));
}
