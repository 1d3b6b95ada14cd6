//! When writes may be lost, nothing is done behind the operator's back; what is set aside is kept.
//!
//! Invariant: a loss is named before it happens.
//!
//! Not here: faults that lose nothing (`super::faults`).

use std::path::{Path, PathBuf};

use tanist_lab::{Installation, kill};

use crate::{call, runtime, text, web};

crate::on_both_engines!(
    a_store_from_an_older_copy_decides_nothing_until_a_person_has_named_a_node,
    a_switchover_to_a_replica_that_is_not_in_sync_is_refused,
    an_operator_can_accept_a_loss_and_it_is_written_down,
    what_a_dead_primary_had_is_set_aside_and_reported,
);

fn a_switchover_to_a_replica_that_is_not_in_sync_is_refused(engine: &str) {
    let installation = web(engine, &[]);
    let group = installation.group("web");
    let replica = group.shards[0].nodes.iter().find(|node| node.role == "replica");
    let replica = replica.unwrap_or_else(|| panic!("{group:?}")).clone();
    // Frozen, it leaves the in-sync set and stays a member.
    tanist_lab::signal(replica.pid.unwrap_or(0), rustix::process::Signal::STOP);
    installation.wait("it is out of sync", |installation| {
        let shard = installation.shard("web");
        let out = shard.nodes.iter().any(|node| node.node == replica.node && !node.in_sync);
        out.then_some(())
    });
    let name = replica.node.to_string();
    let ran = installation.tanist(&["switchover", "web", "--to", &name]);
    assert_eq!(ran.code, 5, "{ran:?}");
    assert!(ran.err.contains("T204") && ran.err.contains("not in sync"), "{}", ran.err);
    assert!(ran.err.contains("--accept-loss"), "{}", ran.err);
    tanist_lab::signal(replica.pid.unwrap_or(0), rustix::process::Signal::CONT);
    installation.available("web");
    assert_eq!(installation.shard("web").primary, group.shards[0].primary);
}

fn an_operator_can_accept_a_loss_and_it_is_written_down(engine: &str) {
    let mut installation = web(engine, &[]);
    let group = installation.group("web");
    runtime().block_on(async {
        let mut client = installation.connect(&group.primary_endpoint).await;
        assert!(call(&mut client, &["SET", "k", "v"]).await.is_ok());
    });
    let primary = installation.primary("web");
    let replica = group.shards[0].nodes.iter().find(|node| node.role == "replica");
    let replica = replica.unwrap_or_else(|| panic!("{group:?}")).node.to_string();
    // The recorded primary's disk is lost together with every process.
    installation.kill_everything();
    let node = installation.dir().join("hosts").join(primary.host.as_str()).join("nodes");
    std::fs::remove_dir_all(node.join(primary.node.as_str()).join("data"))
        .unwrap_or_else(|err| panic!("{err}"));
    installation.dev();
    // At first it may name the replica, if that is the last one to be back.
    installation.wait("the loss is named", |installation| {
        let shard = installation.shard("web");
        let mut problems = shard.problems.iter().filter(|p| p.kind.name() == "NoCandidate");
        problems.any(|p| p.detail.contains(primary.node.as_str())).then_some(())
    });
    installation.tanist(&["failover", "web", "--to", &replica, "--accept-loss"]).ok();
    installation.available("web");
    let events = installation.tanist(&["events"]).ok();
    assert!(events.contains("LossAccepted"), "{events}");
    runtime().block_on(async {
        let mut client = installation.connect(&group.primary_endpoint).await;
        let value = call(&mut client, &["GET", "k"]).await;
        assert_eq!(value.as_str(), Some("v"), "{engine}");
    });
}

fn what_a_dead_primary_had_is_set_aside_and_reported(engine: &str) {
    let installation = web(engine, &[]);
    let group = installation.group("web");
    let primary = installation.primary("web");
    runtime().block_on(async {
        let mut client = installation.connect(&group.primary_endpoint).await;
        assert!(call(&mut client, &["SET", "precious", "v"]).await.is_ok());
    });
    kill(primary.pid.unwrap_or_else(|| panic!("{primary:?}")));
    installation.wait("another node is primary", |installation| {
        let now = installation.shard("web").primary;
        now.filter(|node| *node != primary.node)
    });
    installation.available("web");
    let events = installation.tanist(&["events"]).ok();
    assert!(events.contains("DataSetAside"), "{engine}: {events}");
    let node = installation.dir().join("hosts").join(primary.host.as_str()).join("nodes");
    let aside = node.join(primary.node.as_str()).join("aside");
    assert!(holds(&aside, b"precious"), "{engine}: nothing in {}", aside.display());
}

fn holds(dir: &Path, needle: &[u8]) -> bool {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut paths = entries.map(|entry| entry.path());
    paths.any(|path: PathBuf| {
        if path.is_dir() {
            return holds(&path, needle);
        }
        let bytes = std::fs::read(&path).unwrap_or_default();
        bytes.windows(needle.len()).any(|window| window == needle)
    })
}

fn a_store_from_an_older_copy_decides_nothing_until_a_person_has_named_a_node(engine: &str) {
    let mut installation = web(engine, &["--replicas", "1"]);
    let group = installation.group("web");
    let old = installation.primary("web").node;
    let stop = |installation: &mut Installation| {
        installation.tanist(&["down"]).ok();
        installation.dev_ended();
    };
    let copy = |installation: &Installation, from: &str, to: &str| {
        let dir = installation.dir();
        let copied = std::process::Command::new("cp")
            .args(["-a", "-T"])
            .arg(dir.join(from))
            .arg(dir.join(to))
            .status();
        assert!(copied.is_ok_and(|status| status.success()), "{from} -> {to}");
    };
    stop(&mut installation);
    copy(&installation, "store", "store-of-before");
    installation.dev();
    installation.available("web");
    installation.tanist(&["switchover", "web"]).ok();
    let new = installation.primary("web").node;
    assert_ne!(old, new);
    runtime().block_on(async {
        let mut client = installation.connect(&group.primary_endpoint).await;
        assert!(call(&mut client, &["SET", "k", "acknowledged since"]).await.is_ok());
    });
    stop(&mut installation);
    let store = installation.dir().join("store");
    std::fs::remove_dir_all(&store).unwrap_or_else(|err| panic!("{err}"));
    copy(&installation, "store-of-before", "store");
    installation.dev();
    installation.wait("it is said", |installation| {
        installation.tanist(&["events"]).out.contains("StoreBehind").then_some(())
    });
    assert_eq!(installation.group("web").status, "unavailable");
    let heir = new.to_string();
    installation.tanist(&["failover", "web", "--to", &heir, "--accept-loss"]).ok();
    assert_eq!(installation.primary("web").node, new);
    installation.available("web");
    runtime().block_on(async {
        let mut client = installation.connect(&group.primary_endpoint).await;
        assert_eq!(text(&mut client, &["GET", "k"]).await, "acknowledged since");
    });
}
