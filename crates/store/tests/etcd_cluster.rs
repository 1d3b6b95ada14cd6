//! Who is a member of etcd, and a client that is told of others.

// A test may stop at what it did not expect.
#![allow(clippy::unwrap_used)]

use std::error::Error;
use std::time::Duration;

use tanist_lab::etcd::{EtcdCluster, EtcdPlan};
use tanist_store::{EtcdConfig, EtcdStore, Store, StoreError, Txn};

const PREFIX: &str = "/tanist/a/";

async fn three() -> EtcdCluster {
    EtcdCluster::start(EtcdPlan { members: 3, ..EtcdPlan::default() }).await
}

fn at(cluster: &EtcdCluster, members: &[usize]) -> EtcdConfig {
    let endpoints = members.iter().map(|member| cluster.endpoint(*member)).collect();
    EtcdConfig::new(endpoints, PREFIX)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_is_told_of_other_members_goes_on_with_them() {
    let mut cluster = three().await;
    let store = EtcdStore::open(&at(&cluster, &[0])).await.unwrap();
    let before = store.txn(Txn::new().put("a", "1")).await.unwrap().revision;
    let mut watch = store.watch("", before).await.unwrap();
    assert_eq!(watch.next().await.unwrap().unwrap().revision, before);
    store.redirect(&at(&cluster, &[1, 2])).unwrap();
    cluster.kill(0);
    let now = store.txn(Txn::new().put("a", "2")).await.unwrap().revision;
    assert_eq!(watch.next().await.unwrap().unwrap().revision, now, "the watch has moved as well");
    let status = store.status().await;
    let asked: Vec<_> = status.endpoints.iter().map(|one| one.endpoint.clone()).collect();
    assert_eq!(asked, [cluster.endpoint(1), cluster.endpoint(2)]);
    // And back: it is the one that it was.
    cluster.restart(0);
    cluster.ready(0).await;
    store.redirect(&at(&cluster, &[0])).unwrap();
    assert_eq!(store.get("a").await.unwrap().0.unwrap().value, b"2");
    let other = EtcdConfig { prefix: "/tanist/b/".to_owned(), ..at(&cluster, &[1]) };
    let refused = store.redirect(&other).unwrap_err();
    assert!(matches!(refused, StoreError::BadEtcdConfig { .. }), "{refused}");
    assert_eq!(store.status().await.endpoints.len(), 1, "nothing has changed");
}

/// Adds one as soon as etcd lets us: it wants all its members to have been connected for five seconds.
async fn added(store: &EtcdStore, peer: &str) -> u64 {
    for _ in 0..100 {
        match store.add_learner(peer).await {
            Ok(id) => return id,
            Err(err) => assert!(shown(&err).contains("unhealthy cluster"), "{}", shown(&err)),
        }
        // waits: etcd does not tell when it finds itself healthy.
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    panic!("etcd does not find itself healthy");
}

/// An error with what is behind it.
fn shown(error: &StoreError) -> String {
    let sources = std::iter::successors(error.source(), |error| (*error).source());
    sources.fold(error.to_string(), |text, source| format!("{text}: {source}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_learns_before_it_has_a_vote_and_leaves_when_it_is_told() {
    let cluster = three().await;
    let store = EtcdStore::open(&at(&cluster, &[0, 1, 2])).await.unwrap();
    assert_eq!(store.cluster().await.unwrap().len(), 3);
    // Nobody listens there: it never learns anything.
    let id = added(&store, "http://127.0.0.1:9").await;
    let list = store.cluster().await.unwrap();
    let new = list.iter().find(|member| member.id == id).unwrap();
    assert!(new.learner && new.name.is_empty() && new.peer_urls == ["http://127.0.0.1:9"]);
    let second = store.add_learner("http://127.0.0.1:10").await.unwrap_err();
    assert!(matches!(second, StoreError::Backend { .. }), "etcd takes one at a time: {second:?}");
    assert!(!store.promote(id).await.unwrap(), "it has nothing of the log");
    store.remove_member(id).await.unwrap();
    assert_eq!(store.cluster().await.unwrap().len(), 3);
    store.remove_member(id).await.unwrap();
    assert!(store.promote(id).await.is_err(), "it is no member any more");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_quorum_nobody_becomes_a_member() {
    let mut cluster = three().await;
    let config = at(&cluster, &[0, 1, 2]);
    let store = EtcdStore::open(&config).await.unwrap();
    cluster.kill(1);
    cluster.kill(2);
    let asked = tokio::time::timeout(Duration::from_secs(20), store.cluster()).await.unwrap();
    assert!(asked.is_err(), "what one member alone remembers may be old");
    assert!(store.add_learner("http://127.0.0.1:9").await.is_err());
}
