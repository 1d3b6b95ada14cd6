//! Watches of the store on etcd: breaks, compaction, and revisions that come in pieces.

// A test may stop at what it did not expect.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use tanist_lab::etcd::{EtcdCluster, EtcdPlan};
use tanist_store::{
    EtcdConfig, EtcdStore, Event, EventBatch, Revision, Store, StoreError, Txn, Watch,
};
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(15);

async fn open(endpoints: Vec<String>) -> EtcdStore {
    EtcdStore::open(&EtcdConfig::new(endpoints, "/tanist/watch/")).await.unwrap()
}

async fn put(store: &EtcdStore, key: &str, value: &str) -> Revision {
    store.txn(Txn::new().put(key, value)).await.unwrap().revision
}

async fn item(watch: &mut Watch) -> Result<EventBatch, StoreError> {
    timeout(PATIENCE, watch.next()).await.expect("a batch must come").expect("no end without error")
}

async fn next(watch: &mut Watch) -> EventBatch {
    item(watch).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_goes_on_at_another_member_also_when_what_it_delivered_is_compacted() {
    let plan = EtcdPlan { members: 3, ..EtcdPlan::default() };
    let mut cluster = EtcdCluster::start(plan).await;
    // Both begin with member 0; the other store goes on while that one is away.
    let store = open(cluster.endpoints()).await;
    let mut watch = store.watch("w/", Revision(1)).await.unwrap();
    let first = put(&store, "w/a", "1").await;
    assert_eq!(next(&mut watch).await.revision, first);
    let second = put(&store, "w/a", "2").await;
    assert_eq!(next(&mut watch).await.revision, second);

    store.compact(second).await.unwrap();
    cluster.kill(0);
    let others = open(cluster.endpoints().split_off(1)).await;
    let deleted = others.txn(Txn::new().delete("w/a").put("w/b", "1")).await.unwrap().revision;
    let batch = next(&mut watch).await;
    assert_eq!(batch.revision, deleted);
    let keys: Vec<_> = batch.events.iter().map(Event::key).collect();
    assert_eq!(keys, ["w/a", "w/b"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_that_missed_compacted_history_says_from_where_it_can_start() {
    let plan = EtcdPlan { members: 3, ..EtcdPlan::default() };
    let mut cluster = EtcdCluster::start(plan).await;
    let watcher = open(vec![cluster.endpoint(0)]).await;
    let mut watch = watcher.watch("w/", Revision(1)).await.unwrap();
    let others = open(cluster.endpoints().split_off(1)).await;
    put(&others, "w/a", "1").await;
    next(&mut watch).await;

    cluster.kill(0);
    // Of the members that are left one may have lost its leader.
    cluster.ready(1).await;
    for n in 2..10 {
        put(&others, "w/a", &n.to_string()).await;
    }
    let gone = others.txn(Txn::new().delete("w/a")).await.unwrap().revision;
    others.compact(gone).await.unwrap();
    cluster.restart(0);
    let StoreError::Compacted { oldest } = item(&mut watch).await.unwrap_err() else {
        panic!("it did not say that history is gone");
    };
    assert_eq!(oldest, gone);
    assert!(watch.next().await.is_none());
    // Also a deletion at the oldest revision is still told.
    let mut watch = watcher.watch("w/", oldest).await.unwrap();
    let batch = next(&mut watch).await;
    assert_eq!(batch.events, [Event::Delete { key: "w/a".to_owned(), mod_revision: gone }]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quiet_watch_survives_a_compaction_and_a_break() {
    let args = ["--experimental-watch-progress-notify-interval", "100ms"].map(str::to_owned).into();
    let mut cluster = EtcdCluster::start(EtcdPlan { args, ..EtcdPlan::default() }).await;
    let store = open(cluster.endpoints()).await;
    let mut watch = store.watch("w/", Revision(1)).await.unwrap();
    let mut last = Revision::ABSENT;
    for n in 0..20 {
        last = put(&store, "elsewhere", &n.to_string()).await;
    }
    // waits: a watch does not show that it heard of progress; etcd tells it every 100 ms.
    tokio::time::sleep(Duration::from_millis(400)).await;
    store.compact(last).await.unwrap();
    cluster.kill(0);
    cluster.restart(0);
    cluster.ready(0).await;
    let at = put(&store, "w/a", "1").await;
    assert_eq!(next(&mut watch).await.revision, at);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revision_that_comes_in_pieces_is_one_batch() {
    const KEYS: usize = 5;
    let cluster = EtcdCluster::start(EtcdPlan::default()).await;
    let store = open(cluster.endpoints()).await;
    let large = vec![7u8; 200 << 10];
    let mut revisions = Vec::new();
    for _ in 0..12 {
        let txn = (0..KEYS).fold(Txn::new(), |txn, n| txn.put(format!("w/{n}"), large.clone()));
        revisions.push(store.txn(txn).await.unwrap().revision);
    }
    // etcd cuts what is longer than 1.5 MiB, so within revisions.
    let mut watch = store.watch("w/", Revision(1)).await.unwrap();
    for revision in revisions {
        let batch = next(&mut watch).await;
        assert_eq!((batch.revision, batch.events.len()), (revision, KEYS));
        assert!(batch.events.iter().all(|event| match event {
            Event::Put(kv) => kv.value == large && kv.mod_revision == revision,
            Event::Delete { .. } => false,
        }));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_listener_makes_etcd_wait_and_misses_nothing() {
    let cluster = EtcdCluster::start(EtcdPlan::default()).await;
    let mut config = EtcdConfig::new(cluster.endpoints(), "/tanist/watch/");
    config.timeouts.silence = Duration::from_millis(300);
    let store = EtcdStore::open(&config).await.unwrap();
    let mut watch = store.watch("w/", Revision(1)).await.unwrap();
    let mut revisions = Vec::new();
    let value = "x".repeat(20_000);
    for _ in 0..300 {
        revisions.push(put(&store, "w/a", &value).await);
    }
    // waits: the listener is slow for longer than a member may be silent.
    tokio::time::sleep(Duration::from_millis(500)).await;
    for revision in revisions {
        assert_eq!(next(&mut watch).await.revision, revision);
    }
    // A quiet watch hears that its member is alive, and stays.
    // waits: nothing must happen.
    let quiet = timeout(Duration::from_millis(1000), watch.next()).await;
    assert!(quiet.is_err(), "{quiet:?}");
    let at = put(&store, "w/a", "last").await;
    assert_eq!(next(&mut watch).await.revision, at);
}
