//! `tanist migrate-store`: the memory of an installation goes elsewhere while its clients go on.
//!
//! Invariant: no engine starts again, and a client that was connected the whole time sees no error.
//!
//! Not here: what a copy is (`tanist_store::moving`).

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use tanist_lab::Installation;
use tanist_lab::etcd::{EtcdCluster, EtcdPlan};
use tanist_link::api::GroupStatus;

use crate::{call, runtime, web};

crate::on_both_engines!(a_store_goes_to_etcd_and_back_and_no_client_notices);

/// Where the story's etcd is: its relays need a runtime that lives as long.
struct Elsewhere {
    cluster: EtcdCluster,
    runtime: tokio::runtime::Runtime,
}

impl Elsewhere {
    fn start() -> Self {
        let runtime = tokio::runtime::Runtime::new();
        let runtime = runtime.unwrap_or_else(|err| panic!("a runtime: {err}"));
        Self { cluster: runtime.block_on(EtcdCluster::start(EtcdPlan::default())), runtime }
    }

    /// A configuration file that names it.
    fn file(&self, installation: &Installation, more: &str) -> PathBuf {
        let path = installation.dir().join("tanist.toml");
        let endpoints = self.cluster.endpoints();
        let text = format!("[store]\nkind = \"etcd\"\nendpoints = {endpoints:?}\n{more}");
        std::fs::write(&path, text).unwrap_or_else(|err| panic!("{}: {err}", path.display()));
        path
    }

    /// Puts a key where somebody else's store would be: `/other/k`, in base64.
    fn put_other(&self) {
        let body = r#"{"key": "L290aGVyL2s=", "value": "dg=="}"#;
        let answer = self.runtime.block_on(self.cluster.json(0, "/v3/kv/put", body));
        assert!(answer.contains("revision"), "{answer}");
    }
}

/// What must not change: who the nodes are, their processes, whose turn it is.
fn same(group: &GroupStatus) -> Vec<String> {
    let shards = group.shards.iter();
    let shown = shards.flat_map(|shard| {
        shard.nodes.iter().map(|node| {
            format!("{} {} {} {:?} {}", shard.epoch, node.node, node.role, node.pid, node.host)
        })
    });
    shown.collect()
}

/// Writes on one connection until `over`; how many writes there were.
fn write(installation: &Installation, group: &GroupStatus, over: &AtomicBool) -> u64 {
    runtime().block_on(async {
        let mut client = installation.connect(&group.primary_endpoint).await;
        let mut number = 0;
        while !over.load(Ordering::Relaxed) {
            let reply = call(&mut client, &["SET", &format!("k{number}"), "v"]).await;
            assert!(reply.is_ok(), "{reply:?}");
            number += 1;
        }
        number
    })
}

fn a_store_goes_to_etcd_and_back_and_no_client_notices(engine: &str) {
    let elsewhere = Elsewhere::start();
    let mut installation = web(engine, &[]);
    let group = installation.available("web");
    let before = same(&group);
    let file = elsewhere.file(&installation, "").display().to_string();
    let over = AtomicBool::new(false);
    let (there, back) = (["migrate-store", "--config", &file], ["migrate-store", "--back"]);
    let busy = installation.tanist(&there);
    assert!(busy.code == 1 && busy.err.contains("T615"), "{busy:?}");
    assert!(busy.err.contains("end tanist dev first"), "{busy:?}");
    // Commands and starts do not wait for the writer, which only borrows where the endpoint is.
    let at = group.primary_endpoint.clone();
    let writer = std::thread::scope(|scope| {
        let beside = Installation::empty();
        let writing = {
            let (group, over) = (GroupStatus { primary_endpoint: at, ..group.clone() }, &over);
            scope.spawn(move || write(&beside, &group, over))
        };
        installation.kill_dev();
        let early = installation.dev_fails_with(&["--config", &file]);
        assert!(early.code == 2 && early.err.contains("T735"), "{early:?}");
        let moved = installation.tanist(&there).ok();
        assert!(moved.contains("copied") && moved.contains("are the same"), "{moved}");
        let twice = installation.tanist(&there);
        assert!(twice.code == 2 && twice.err.contains("T735"), "{twice:?}");
        installation.dev();
        assert_eq!(same(&installation.available("web")), before, "in etcd");
        // It is worked with there: what is decided now is decided in etcd.
        installation.create("other", &["--engine", engine, "--replicas", "0"]);
        let busy = installation.tanist(&back);
        assert!(busy.code == 1 && busy.err.contains("T615"), "{busy:?}");
        installation.kill_dev();
        installation.dev_with(&["--config", &file]);
        assert_eq!(same(&installation.available("web")), before, "once more");
        installation.kill_dev();
        installation.tanist(&back).ok();
        installation.dev();
        assert_eq!(same(&installation.available("web")), before, "back");
        installation.available("other");
        over.store(true, Ordering::Relaxed);
        writing.join().unwrap_or_else(|_| panic!("the writer failed"))
    });
    assert!(writer > 100, "{writer} writes");
    // And there again: what was left there is written over.
    installation.kill_dev();
    installation.tanist(&there).ok();
    installation.dev();
    installation.available("other");
}

/// Nothing of it depends on the engine.
#[test]
fn what_is_somebody_elses_is_not_written_over_and_what_is_lost_is_not_begun_anew() {
    let mut elsewhere = Elsewhere::start();
    let mut installation = Installation::start();
    installation.create("web", &["--replicas", "0"]);
    installation.kill_dev();
    elsewhere.put_other();
    let file = elsewhere.file(&installation, "prefix = \"/other/\"\n").display().to_string();
    let refused = installation.tanist(&["migrate-store", "--config", &file]);
    assert!(refused.code == 1 && refused.err.contains("T731"), "{refused:?}");
    let file = elsewhere.file(&installation, "").display().to_string();
    installation.tanist(&["migrate-store", "--config", &file]).ok();
    // The old place says where it went, also to whoever does not know of moving.
    let note = std::fs::read_to_string(installation.dir().join("store"));
    let note = note.unwrap_or_else(|err| panic!("{err}"));
    assert!(note.contains(&elsewhere.cluster.endpoint(0)), "{note}");
    let moved = installation.dir().join("store.json");
    let kept = installation.dir().join("kept.json");
    std::fs::rename(&moved, &kept).unwrap_or_else(|err| panic!("{err}"));
    let lost = installation.dev_fails();
    assert!(lost.code == 1 && lost.err.contains("T734"), "{lost:?}");
    assert!(lost.err.contains(&elsewhere.cluster.endpoint(0)), "{lost:?}");
    std::fs::rename(&kept, &moved).unwrap_or_else(|err| panic!("{err}"));
    // Another etcd, or the same one without its data, is not taken for the store.
    let empty = elsewhere.file(&installation, "prefix = \"/empty/\"\n").display().to_string();
    let refused = installation.dev_fails_with(&["--config", &empty]);
    assert!(refused.code == 1 && refused.err.contains("T734"), "{refused:?}");
    elsewhere.cluster.kill(0);
    let refused = installation.dev_fails();
    assert!(refused.code == 1 && refused.err.contains("T736"), "{refused:?}");
    elsewhere.cluster.restart(0);
    let Elsewhere { cluster, runtime } = &mut elsewhere;
    runtime.block_on(cluster.ready(0));
    installation.dev();
    installation.available("web");
}
