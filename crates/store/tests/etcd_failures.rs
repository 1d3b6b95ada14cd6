//! The store on etcd while members die, hang, and lose their quorum.

// A test may stop at what it did not expect.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tanist_lab::etcd::{EtcdCluster, EtcdPlan};
use tanist_store::{
    EtcdConfig, EtcdStore, EtcdTimeouts, Event, EventBatch, Revision, Store, StoreError, Txn, Watch,
};
use tokio::sync::Notify;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(15);

async fn three() -> EtcdCluster {
    EtcdCluster::start(EtcdPlan { members: 3, ..EtcdPlan::default() }).await
}

fn config(endpoints: Vec<String>) -> EtcdConfig {
    EtcdConfig::new(endpoints, "/tanist/failures/")
}

/// All members, that one first.
fn from(cluster: &EtcdCluster, first: usize) -> Vec<String> {
    let mut endpoints = cluster.endpoints();
    endpoints.rotate_left(first);
    endpoints
}

async fn next(watch: &mut Watch) -> EventBatch {
    timeout(PATIENCE, watch.next()).await.expect("a batch must come").unwrap().unwrap()
}

/// Retries what certainly was not done; tells what may have been.
async fn put(store: &EtcdStore, key: &str, value: &str) -> Revision {
    let until = Instant::now() + PATIENCE;
    loop {
        match store.txn(Txn::new().put(key, value)).await {
            Ok(outcome) => return outcome.revision,
            // Putting the same again does no harm here.
            Err(error) if Instant::now() < until => {
                assert!(error.may_heal() || error.outcome_unknown(), "{error}")
            }
            Err(error) => panic!("{error}"),
        }
    }
}

#[derive(Default)]
struct Tally {
    done: AtomicU64,
    unknown: AtomicU64,
    stop: AtomicBool,
    changed: Notify,
}

impl Tally {
    async fn reaches(&self, count: u64) {
        let reached = async {
            loop {
                let changed = self.changed.notified();
                if self.done.load(Ordering::SeqCst) >= count {
                    return;
                }
                changed.await;
            }
        };
        timeout(PATIENCE * 2, reached).await.expect("increments must go on");
    }
}

/// One increment, exactly once: the mark is written with it, so that whoever does not know can look.
async fn increment(store: &EtcdStore, mark: &str, tally: &Tally) {
    loop {
        // A read that fails did nothing.
        let Ok((count, _)) = store.get("count").await else { continue };
        let Ok((marked, _)) = store.get(mark).await else { continue };
        if marked.is_some() {
            return;
        }
        let (seen, value) = count.map_or((Revision::ABSENT, 0u64), |kv| {
            (kv.mod_revision, String::from_utf8(kv.value).unwrap().parse().unwrap())
        });
        let txn = Txn::new().when_unchanged("count", seen).put(mark, "x");
        match store.txn(txn.put("count", (value + 1).to_string())).await {
            Ok(outcome) if outcome.committed => return,
            Ok(_) => {}
            Err(StoreError::Unknown { .. }) => {
                tally.unknown.fetch_add(1, Ordering::SeqCst);
            }
            Err(error) => assert!(error.may_heal(), "{error}"),
        }
    }
}

/// What a writer put without a condition: so often that was acknowledged, and so often nobody knows.
#[derive(Default)]
struct Plain {
    acknowledged: u64,
    unknown: u64,
}

async fn count_up(store: EtcdStore, name: usize, tally: Arc<Tally>) -> (u64, Plain) {
    let (mut done, mut plain) = (0, Plain::default());
    while !tally.stop.load(Ordering::SeqCst) {
        increment(&store, &format!("mark/{name}/{done:05}"), &tally).await;
        done += 1;
        match store.txn(Txn::new().put(format!("plain/{name}"), "x")).await {
            Ok(_) => plain.acknowledged += 1,
            Err(StoreError::Unknown { .. }) => plain.unknown += 1,
            Err(error) => assert!(error.may_heal(), "{error}"),
        }
        tally.done.fetch_add(1, Ordering::SeqCst);
        tally.changed.notify_waiters();
    }
    (done, plain)
}

/// Every value of the counter that a watch saw, until `last`.
async fn values(mut watch: Watch, last: impl Future<Output = u64>) -> Vec<u64> {
    let (mut seen, mut before) = (Vec::new(), Revision::ABSENT);
    tokio::pin!(last);
    let mut end = None;
    while end.is_none_or(|end| seen.last() != Some(&end)) {
        tokio::select! {
            last = &mut last, if end.is_none() => end = Some(last),
            batch = watch.next() => {
                let batch = batch.unwrap().unwrap();
                assert!(batch.revision > before, "{} after {before}", batch.revision);
                before = batch.revision;
                let [Event::Put(kv)] = &batch.events[..] else { panic!("{batch:?}") };
                seen.push(String::from_utf8(kv.value.clone()).unwrap().parse().unwrap());
            }
        }
    }
    seen
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_acknowledged_increment_is_lost_or_doubled_while_leaders_are_killed() {
    let mut cluster = three().await;
    let store = EtcdStore::open(&config(cluster.endpoints())).await.unwrap();
    let watch = store.watch("count", Revision(1)).await.unwrap();
    let tally = Arc::new(Tally::default());
    let writers: Vec<_> = (0..4)
        .map(|name| tokio::spawn(count_up(store.clone(), name, Arc::clone(&tally))))
        .collect();
    let (tell, total) = tokio::sync::oneshot::channel();
    let watching = tokio::spawn(values(watch, async { total.await.unwrap() }));

    tally.reaches(50).await;
    let first = cluster.leader().await.expect("a leader");
    cluster.kill(first);
    tally.reaches(tally.done.load(Ordering::SeqCst) + 50).await;
    cluster.restart(first);
    cluster.ready(first).await;
    let second = cluster.leader().await.expect("a leader");
    cluster.kill(second);
    tally.reaches(tally.done.load(Ordering::SeqCst) + 50).await;
    tally.stop.store(true, Ordering::SeqCst);

    let mut done = 0;
    for (name, writer) in writers.into_iter().enumerate() {
        let (increments, plain) = timeout(PATIENCE, writer).await.expect("writers end").unwrap();
        done += increments;
        // Whatever is sent twice would show here, where no compare stops it.
        let version = store.get(&format!("plain/{name}")).await.unwrap().0.unwrap().version;
        let Plain { acknowledged, unknown } = plain;
        let possible = acknowledged..=acknowledged + unknown;
        assert!(possible.contains(&version), "{version} puts, {possible:?} are possible");
        tally.unknown.fetch_add(unknown, Ordering::SeqCst);
    }
    let count = store.get("count").await.unwrap().0.unwrap();
    assert_eq!(String::from_utf8(count.value).unwrap(), done.to_string());
    assert_eq!(count.version, done);
    let marks = store.range("mark/").await.unwrap().0;
    assert_eq!(marks.len() as u64, done);
    assert!(marks.iter().all(|mark| mark.version == 1), "an increment was done twice");
    tell.send(done).unwrap();
    let seen = timeout(PATIENCE, watching).await.expect("the watch catches up").unwrap();
    assert_eq!(seen, (1..=done).collect::<Vec<_>>());
    println!("{done} increments, {} unknown outcomes", tally.unknown.load(Ordering::SeqCst));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_hangs_is_left_within_a_second_and_the_watch_moves() {
    let cluster = three().await;
    let leader = cluster.leader().await.expect("a leader");
    let hung = (leader + 1) % 3;
    let mut config = config(from(&cluster, hung));
    config.timeouts.silence = Duration::from_millis(1500);
    let store = EtcdStore::open(&config).await.unwrap();
    let mut watch = store.watch("", Revision(1)).await.unwrap();
    put(&store, "a", "1").await;
    assert_eq!(next(&mut watch).await.events[0].key(), "a");

    cluster.stop(hung);
    let begun = Instant::now();
    store.get("a").await.unwrap();
    let took = begun.elapsed();
    assert!(took < Duration::from_millis(1200), "a read took {took:?}");
    let begun = Instant::now();
    let at = store.txn(Txn::new().put("b", "2")).await.unwrap().revision;
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(1), "a transaction took {took:?}");
    assert_eq!(next(&mut watch).await.revision, at);
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(5), "the watch moved after {took:?}");
    cluster.resume(hung);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_member_on_this_host_is_asked_whenever_it_serves() {
    let mut cluster = three().await;
    let leader = cluster.leader().await.expect("a leader");
    let (near, other) = ((leader + 1) % 3, (leader + 2) % 3);
    let mut config = config([leader, near, other].map(|at| cluster.endpoint(at)).to_vec());
    config.near = Some(cluster.address(near).into());
    let store = EtcdStore::open(&config).await.unwrap();
    assert_eq!(*store.asks_first(), *cluster.endpoint(near), "the first is another's");
    cluster.kill(near);
    put(&store, "a", "1").await;
    assert_eq!(*store.asks_first(), *cluster.endpoint(other));
    cluster.restart(near);
    cluster.ready(near).await;
    let begun = Instant::now();
    while *store.asks_first() != *cluster.endpoint(near) {
        assert!(begun.elapsed() < PATIENCE, "it does not come back");
        put(&store, "a", "2").await;
    }
    // What it left concerns it no more: a transaction sent there would end with an unknown outcome.
    cluster.stop(other);
    store.txn(Txn::new().put("a", "3")).await.unwrap();
    cluster.resume(other);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_hangs_is_replaced_and_calls_and_leases_go_on() {
    let mut cluster = three().await;
    let leader = cluster.leader().await.expect("a leader");
    let mut config = config(from(&cluster, leader));
    config.timeouts.silence = Duration::from_millis(1500);
    let store = EtcdStore::open(&config).await.unwrap();
    let lease = store.grant(Duration::from_secs(20)).await.unwrap();
    store.txn(Txn::new().put_with_lease("leased", "1", lease.id)).await.unwrap();
    assert_eq!(store.keep_alive(lease.id).await.unwrap(), lease.ttl);
    let mut watch = store.watch("x", Revision(1)).await.unwrap();

    cluster.stop(leader);
    let begun = Instant::now();
    let (kv, _) = store.get("leased").await.unwrap();
    let took = begun.elapsed();
    assert!(kv.is_some() && took < Duration::from_secs(5), "a read took {took:?}");
    assert_eq!(store.keep_alive(lease.id).await.unwrap(), lease.ttl);
    let at = put(&store, "x", "1").await;
    let batch = next(&mut watch).await;
    assert!(batch.revision <= at, "{batch:?}");
    cluster.resume(leader);
    cluster.ready(leader).await;
    store.revoke(lease.id).await.unwrap();
    assert!(store.get("leased").await.unwrap().0.is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_is_cut_off_is_left_and_ends_its_watches_by_itself() {
    let mut cluster = three().await;
    let leader = cluster.leader().await.expect("a leader");
    let mut config = config(from(&cluster, leader));
    // Only etcd's own word that there is no leader can move the watch.
    config.timeouts.silence = PATIENCE * 4;
    let store = EtcdStore::open(&config).await.unwrap();
    let mut watch = store.watch("", Revision(1)).await.unwrap();
    let first = put(&store, "a", "1").await;
    assert_eq!(next(&mut watch).await.revision, first);

    cluster.cut_off(leader).await;
    let begun = Instant::now();
    let seen = store.get("a").await.unwrap().0.unwrap();
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(5), "a read took {took:?}");
    assert_eq!(seen.mod_revision, first);
    let second = put(&store, "a", "2").await;
    let mut last = first;
    while last < second {
        last = next(&mut watch).await.revision;
    }
    // What only the one that was cut off has taken is no one's truth.
    let mut only = self::config(vec![cluster.endpoint(leader)]);
    only.timeouts.call = Duration::from_secs(1);
    let alone = EtcdStore::open(&only).await.unwrap_err();
    assert!(matches!(alone, StoreError::Backend { .. }), "{alone}");
    cluster.rejoin(leader);
    cluster.ready(leader).await;
    let alone = EtcdStore::open(&only).await.unwrap();
    assert!(alone.get("a").await.unwrap().0.unwrap().mod_revision >= second);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_is_lost_is_unknown_and_the_request_is_not_sent_again() {
    let mut cluster = EtcdCluster::start(EtcdPlan::default()).await;
    let mut config = config(cluster.endpoints());
    config.timeouts.commit = Duration::from_millis(500);
    let store = EtcdStore::open(&config).await.unwrap();
    put(&store, "a", "1").await;
    // It has just answered, so nobody asks it whether it serves.
    cluster.stop(0);
    let error = store.txn(Txn::new().put("a", "2")).await.unwrap_err();
    assert!(matches!(error, StoreError::Unknown { .. }), "{error}");
    let shown = format!("{error}: {}", std::error::Error::source(&error).unwrap());
    assert!(shown.contains(&cluster.endpoint(0)) && shown.contains("transaction"), "{shown}");
    // From now on it is asked before anything is sent.
    let error = store.txn(Txn::new().put("a", "3")).await.unwrap_err();
    assert!(matches!(error, StoreError::Backend { .. }), "{error}");
    cluster.resume(0);
    cluster.ready(0).await;
    put(&store, "b", "1").await;
    let kv = store.get("a").await.unwrap().0.unwrap();
    assert!(kv.version <= 2, "{kv:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_quorum_errors_are_clear_and_bounded_and_afterwards_everything_works() {
    let mut cluster = three().await;
    let mut config = config(cluster.endpoints());
    config.timeouts = EtcdTimeouts { call: Duration::from_secs(1), ..EtcdTimeouts::default() };
    let store = EtcdStore::open(&config).await.unwrap();
    let kept = store.grant(Duration::from_secs(30)).await.unwrap();
    let short = store.grant(Duration::from_secs(2)).await.unwrap();
    let txn =
        Txn::new().put_with_lease("kept", "1", kept.id).put_with_lease("short", "1", short.id);
    let at = store.txn(txn).await.unwrap().revision;
    store.keep_alive(kept.id).await.unwrap();
    store.keep_alive(short.id).await.unwrap();
    let mut watch = store.watch("", at.next()).await.unwrap();

    cluster.kill(0);
    cluster.kill(1);
    // The first may still reach a member that believes in its leader.
    let _ = store.txn(Txn::new().put("early", "1")).await;
    let begun = Instant::now();
    let write = store.txn(Txn::new().put("a", "1")).await.unwrap_err();
    let read = store.get("kept").await.unwrap_err();
    let alive = store.keep_alive(kept.id).await.unwrap_err();
    let watched = store.watch("", Revision(1)).await.unwrap_err();
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(12), "four refusals took {took:?}");
    for error in [&write, &read, &alive, &watched] {
        assert!(matches!(error, StoreError::Backend { .. }), "{error}");
        assert!(error.may_heal() && !error.outcome_unknown());
    }
    let shown = std::error::Error::source(&write).unwrap().to_string();
    assert!(
        shown.contains(&cluster.endpoint(0)) && shown.contains(&cluster.endpoint(2)),
        "{shown}"
    );
    assert!(shown.contains("no leader"), "{shown}");
    assert!(!store.status().await.has_quorum());

    cluster.restart(0);
    cluster.restart(1);
    cluster.ready(0).await;
    put(&store, "after", "1").await;
    assert_eq!(store.keep_alive(kept.id).await.unwrap(), kept.ttl);
    // Nobody kept it alive: a new leader gives it its time once more, then it ends.
    let mut keys = Vec::new();
    while keys.last().is_none_or(|key| key != "short") {
        keys.extend(next(&mut watch).await.events.iter().map(|event| event.key().to_owned()));
    }
    assert!(!keys.contains(&"kept".to_owned()), "{keys:?}");
    assert!(matches!(store.keep_alive(short.id).await, Err(StoreError::LeaseNotFound(_))));
    assert!(store.get("kept").await.unwrap().0.is_some());
}
