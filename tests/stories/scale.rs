//! Groups that change while clients write: more replicas, fewer, elsewhere.
//!
//! Invariant: whatever the number of replicas becomes, no acknowledged write is missing and no
//! client is disconnected.
//!
//! Not here: the loss of nodes (`crate::faults`).

use tanist_lab::Installation;
use tanist_link::api::NodeStatus;

use crate::{call, runtime, web};

crate::on_both_engines!(
    replicas_come_and_go_while_a_client_writes,
    a_named_replica_leaves_and_a_new_one_goes_where_it_is_wanted,
    a_new_memory_limit_is_the_engines_own_without_a_restart,
    what_cannot_be_is_refused_and_changes_nothing,
);

fn nodes(installation: &Installation) -> Vec<NodeStatus> {
    installation.group("web").shards.remove(0).nodes
}

fn names(installation: &Installation) -> Vec<String> {
    nodes(installation).iter().map(|node| node.node.to_string()).collect()
}

fn replicas_come_and_go_while_a_client_writes(engine: &str) {
    let installation = web(engine, &["--replicas", "1"]);
    let endpoint = installation.group("web").primary_endpoint;
    let runtime = runtime();
    let mut client = runtime.block_on(installation.connect(&endpoint));
    let mut written = 0;
    for replicas in [3, 0, 2] {
        let count = replicas.to_string();
        std::thread::scope(|scope| {
            let scaling =
                scope.spawn(|| installation.tanist(&["scale", "web", "--replicas", &count]).ok());
            while !scaling.is_finished() || written % 500 != 0 {
                let key = format!("k{written}");
                let reply = runtime.block_on(call(&mut client, &["SET", &key, "v"]));
                assert!(reply.is_ok(), "{engine}: {reply:?}");
                written += 1;
            }
            scaling.join().unwrap_or_else(|_| panic!("{engine}: scaling to {replicas} failed"));
        });
        let nodes = nodes(&installation);
        assert_eq!(nodes.len(), replicas + 1, "{engine}");
        assert!(nodes.iter().all(|node| node.role == "primary" || node.in_sync), "{nodes:?}");
    }
    // The last number of replicas holds everything: the next primary is one that came meanwhile.
    installation.tanist(&["failover", "web"]).ok();
    let size = runtime.block_on(call(&mut client, &["DBSIZE"]));
    assert_eq!(size.as_int(), Some(written), "{engine}");
}

fn a_named_replica_leaves_and_a_new_one_goes_where_it_is_wanted(engine: &str) {
    let installation = web(engine, &["--replicas", "2"]);
    let primary = installation.primary("web");
    let leaver = names(&installation).into_iter().find(|name| *name != primary.node.to_string());
    let leaver = leaver.unwrap_or_else(|| panic!("{engine}: no replica"));
    installation.tanist(&["scale", "web", "--replicas", "1", "--remove", &leaver]).ok();
    assert!(!names(&installation).contains(&leaver), "{engine}");
    let zone = primary.zone.to_string();
    installation.tanist(&["scale", "web", "--replicas", "2", "--zone", &zone]).ok();
    let back = nodes(&installation).into_iter().find(|node| node.node.to_string() == leaver);
    let back = back.unwrap_or_else(|| panic!("{engine}: the lowest free name is used again"));
    assert_eq!(back.zone, primary.zone, "{engine}");
    let status = installation.tanist(&["status", "web"]).ok();
    assert!(!status.contains("ZoneSpreadBroken"), "{engine}: {status}");
}

fn a_new_memory_limit_is_the_engines_own_without_a_restart(engine: &str) {
    let installation = web(engine, &["--replicas", "1"]);
    let pids = |nodes: Vec<NodeStatus>| nodes.iter().map(|node| node.pid).collect::<Vec<_>>();
    let before = pids(nodes(&installation));
    installation.tanist(&["scale", "web", "--memory", "96mb"]).ok();
    assert_eq!(pids(nodes(&installation)), before, "{engine}");
    runtime().block_on(async {
        for node in nodes(&installation) {
            let mut connection = installation.engine(&node).await;
            // What is kept for replicas that come back counts as used: it must leave room for data.
            for (name, wanted) in [("maxmemory", "100663296"), ("repl-backlog-size", "12582912")] {
                let set = call(&mut connection, &["CONFIG", "GET", name]).await;
                let set = set.as_array().and_then(|pair| pair.get(1)?.as_str().map(str::to_owned));
                assert_eq!(set.as_deref(), Some(wanted), "{engine}: {} {name}", node.node);
            }
        }
    });
}

fn what_cannot_be_is_refused_and_changes_nothing(engine: &str) {
    let installation = web(engine, &["--replicas", "1"]);
    let before = names(&installation);
    let primary = installation.primary("web").node.to_string();
    let refused = [
        (vec!["scale", "web", "--replicas", "0", "--remove", &primary], "T416"),
        (vec!["scale", "web", "--replicas", "0", "--remove", "web-009"], "T414"),
        (vec!["scale", "web", "--replicas", "2", "--zone", "mars-1a"], "T405"),
        (vec!["scale", "nobody", "--replicas", "2"], "T410"),
        (vec!["scale", "web", "--replicas", "1", "--remove", "web-002"], "T404"),
        (vec!["scale", "web", "--memory", "16mb"], "T406"),
    ];
    runtime().block_on(async {
        let mut client = installation.connect(&installation.group("web").primary_endpoint).await;
        let value = "x".repeat(1 << 20);
        for number in 0..20 {
            let key = format!("k{number}");
            let kept = call(&mut client, &["SET", &key, &value, "EX", "3600"]).await;
            assert!(kept.is_ok(), "{engine}");
        }
    });
    installation.wait("its size is seen", |installation| {
        let used = installation.primary("web").memory_bytes;
        used.filter(|bytes| *bytes > 20 << 20)
    });
    for (words, code) in refused {
        let ran = installation.tanist(&words);
        assert!(ran.code != 0 && ran.err.contains(code), "{engine}: {words:?}: {}", ran.err);
    }
    assert_eq!(names(&installation), before, "{engine}");
    assert_eq!(installation.group("web").replicas, 1, "{engine}");
    runtime().block_on(async {
        let mut client = installation.connect(&installation.group("web").primary_endpoint).await;
        let kept = call(&mut client, &["DBSIZE"]).await;
        assert_eq!(kept.as_int(), Some(20), "{engine}: no key was deleted to make it fit");
    });
}
