//! Hosts that are drained: their nodes go elsewhere, and nobody who uses them notices.
//!
//! Invariant: no client sees an error, no acknowledged write is missing, and no group ever has fewer
//! nodes in sync than before.
//!
//! Not here: hosts that are lost.

use tanist_lab::Installation;
use tanist_link::api::HostStatus;

use crate::{call, runtime, web};

crate::on_both_engines!(
    every_node_leaves_a_drained_host_while_a_client_writes,
    a_group_without_replicas_moves_too,
    a_host_that_cannot_be_emptied_says_why_and_can_be_used_again,
);

fn hosts(installation: &Installation) -> Vec<HostStatus> {
    let said = installation.tanist(&["host", "list", "-o", "json"]).ok();
    serde_json::from_str(&said).unwrap_or_else(|err| panic!("{err}: {said}"))
}

fn host(installation: &Installation, name: &str) -> HostStatus {
    let found = hosts(installation).into_iter().find(|host| host.host.as_str() == name);
    found.unwrap_or_else(|| panic!("there is no host {name}"))
}

fn every_node_leaves_a_drained_host_while_a_client_writes(engine: &str) {
    let mut installation = web(engine, &["--replicas", "2"]);
    let drained = installation.primary("web").host.to_string();
    let endpoint = installation.group("web").primary_endpoint;
    let runtime = runtime();
    let mut client = runtime.block_on(installation.connect(&endpoint));
    let mut written = 0;
    std::thread::scope(|scope| {
        let draining = scope.spawn(|| installation.tanist(&["host", "drain", &drained]).ok());
        while !draining.is_finished() || written % 500 != 0 {
            let reply = runtime.block_on(call(&mut client, &["SET", &format!("k{written}"), "v"]));
            assert!(reply.is_ok(), "{engine}: {reply:?}");
            written += 1;
        }
        draining.join().unwrap_or_else(|_| panic!("{engine}: draining {drained} failed"));
    });
    let left = host(&installation, &drained);
    assert!(left.draining && left.nodes.is_empty() && left.promised_bytes == 0, "{left:?}");
    let group = installation.available("web");
    let nodes = &group.shards[0].nodes;
    assert_eq!(nodes.len(), 3, "{engine}: {nodes:?}");
    assert!(nodes.iter().all(|node| node.role == "primary" || node.in_sync), "{nodes:?}");
    // The one that took over has everything, and the next one as well.
    installation.tanist(&["failover", "web"]).ok();
    let size = runtime.block_on(call(&mut client, &["DBSIZE"]));
    assert_eq!(size.as_int(), Some(written), "{engine}");
    // What was asked holds until it is taken back.
    installation.kill_dev();
    installation.dev();
    installation.tanist(&["scale", "web", "--replicas", "4"]).ok();
    assert!(host(&installation, &drained).nodes.is_empty(), "{engine}: no node comes to it");
    installation.tanist(&["host", "drain", &drained, "--undo"]).ok();
    installation.tanist(&["scale", "web", "--replicas", "5"]).ok();
    assert_eq!(host(&installation, &drained).nodes.len(), 1, "{engine}: it is used again");
}

fn a_group_without_replicas_moves_too(engine: &str) {
    let installation = web(engine, &["--replicas", "0"]);
    let endpoint = installation.group("web").primary_endpoint;
    let before = installation.primary("web");
    runtime().block_on(async {
        let mut client = installation.connect(&endpoint).await;
        assert!(call(&mut client, &["SET", "k", "v"]).await.is_ok());
        installation.tanist(&["host", "drain", before.host.as_str()]).ok();
        let value = call(&mut client, &["GET", "k"]).await;
        assert_eq!(value.as_str(), Some("v"), "{engine}: on the connection that was there before");
    });
    let group = installation.available("web");
    assert_eq!(group.shards[0].nodes.len(), 1, "{engine}");
    assert_ne!(group.shards[0].nodes[0].host, before.host, "{engine}");
}

fn a_host_that_cannot_be_emptied_says_why_and_can_be_used_again(engine: &str) {
    let installation = web(engine, &["--replicas", "1"]);
    let before: Vec<String> = hosts(&installation)
        .iter()
        .filter(|host| !host.nodes.is_empty())
        .map(|host| host.host.to_string())
        .collect();
    for host in hosts(&installation) {
        installation.tanist(&["host", "drain", host.host.as_str(), "--no-wait"]).ok();
    }
    installation.wait("it is said", |installation| {
        let status = installation.tanist(&["status", "web"]);
        status.out.contains("NoRoom").then_some(())
    });
    for host in &before {
        assert_eq!(host_nodes(&installation, host), 1, "{engine}: where it was");
        installation.tanist(&["host", "drain", host, "--undo"]).ok();
    }
    installation.wait("all is well again", |installation| {
        let status = installation.tanist(&["status", "web"]);
        (!status.out.contains("NoRoom")).then_some(())
    });
    let refused = installation.tanist(&["host", "drain", "h99"]);
    assert!(refused.code != 0 && refused.err.contains("T470"), "{engine}: {}", refused.err);
}

fn host_nodes(installation: &Installation, name: &str) -> usize {
    host(installation, name).nodes.len()
}
