//! Who may reach the store on etcd, what it shares with others there, and what people see of it.

// A test may stop at what it did not expect.
#![allow(clippy::unwrap_used)]

use std::error::Error;
use std::time::Duration;

use tanist_lab::etcd::{EtcdCluster, EtcdPlan};
use tanist_store::{
    EtcdConfig, EtcdIdentity, EtcdStore, EtcdTimeouts, EtcdTls, Revision, Store, StoreError, Txn,
};

const QUICK: EtcdTimeouts = EtcdTimeouts {
    connect: Duration::from_millis(500),
    attempt: Duration::from_millis(500),
    commit: Duration::from_secs(2),
    call: Duration::from_secs(1),
    silence: Duration::from_secs(3),
};

/// An error with what is behind it.
fn shown(error: &StoreError) -> String {
    let sources = std::iter::successors(error.source(), |error| (*error).source());
    sources.fold(error.to_string(), |text, source| format!("{text}: {source}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_tls_only_who_shows_a_certificate_and_trusts_the_right_authority_gets_in() {
    let cluster = EtcdCluster::start(EtcdPlan { tls: true, ..EtcdPlan::default() }).await;
    let pems = cluster.pems().unwrap().clone();
    let identity = EtcdIdentity {
        certificate: pems.certificate.clone().into_bytes(),
        key: pems.key.clone().into_bytes(),
    };
    let config = |ca: &str, identity: Option<EtcdIdentity>| EtcdConfig {
        tls: Some(EtcdTls { ca: ca.as_bytes().to_vec(), identity }),
        timeouts: QUICK,
        ..EtcdConfig::new(cluster.endpoints(), "/tanist/tls/")
    };
    let good = config(&pems.ca, Some(identity.clone()));
    let store = EtcdStore::open(&good).await.unwrap();
    let at = store.txn(Txn::new().put("a", "1")).await.unwrap().revision;
    let mut watch = store.watch("", Revision(1)).await.unwrap();
    assert_eq!(watch.next().await.unwrap().unwrap().revision, at);

    let error = shown(&EtcdStore::open(&config(&pems.ca, None)).await.unwrap_err());
    assert!(error.contains(&cluster.endpoint(0)), "{error}");
    assert!(error.to_lowercase().contains("certificate"), "{error}");
    let other = cluster.other_authority();
    let error = shown(&EtcdStore::open(&config(&other, Some(identity))).await.unwrap_err());
    assert!(error.contains("invalid peer certificate"), "{error}");
    for secret in ["PRIVATE", pems.key.as_str()] {
        assert!(!error.contains(secret) && !format!("{good:?}{store:?}").contains(secret));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn installations_that_share_an_etcd_do_not_see_each_other() {
    let cluster = EtcdCluster::start(EtcdPlan::default()).await;
    let open = async |prefix: &str| {
        EtcdStore::open(&EtcdConfig::new(cluster.endpoints(), prefix)).await.unwrap()
    };
    let (one, other) = (open("/tanist/a/").await, open("/tanist/b/").await);
    let mut watch = one.watch("", Revision(1)).await.unwrap();
    other.txn(Txn::new().put("x", "other")).await.unwrap();
    other.txn(Txn::new().put("y", "other")).await.unwrap();
    assert!(one.range("").await.unwrap().0.is_empty());
    let txn = Txn::new().when_absent("x").put("x", "one");
    assert!(one.txn(txn).await.unwrap().committed);
    let kv = other.get("x").await.unwrap().0.unwrap();
    assert_eq!((kv.key.as_str(), kv.value.as_slice(), kv.version), ("x", &b"other"[..], 1));
    let batch = watch.next().await.unwrap().unwrap();
    assert_eq!((batch.events.len(), batch.events[0].key()), (1, "x"));
    let names = other.range("").await.unwrap().0.into_iter().map(|kv| kv.key);
    assert_eq!(names.collect::<Vec<_>>(), ["x", "y"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_of_somebody_else_under_the_prefix_is_named() {
    let cluster = EtcdCluster::start(EtcdPlan::default()).await;
    let config = EtcdConfig::new(cluster.endpoints(), "/tanist/a/");
    let store = EtcdStore::open(&config).await.unwrap();
    let at = store.txn(Txn::new().put("good", "1")).await.unwrap().revision;
    // "/tanist/a/" and the byte 0xff, in base64.
    let put =
        cluster.json(0, "/v3/kv/put", r#"{"key": "L3RhbmlzdC9hL/8=", "value": "eA=="}"#).await;
    assert!(put.contains("revision"), "{put}");
    let error = store.range("").await.unwrap_err();
    assert!(matches!(error, StoreError::ForeignKey { .. }), "{error}");
    assert!(error.to_string().contains(r"/tanist/a/\xff"), "{error}");
    let mut watch = store.watch("", at).await.unwrap();
    assert_eq!(watch.next().await.unwrap().unwrap().revision, at);
    let error = watch.next().await.unwrap().unwrap_err();
    assert!(matches!(error, StoreError::ForeignKey { .. }), "{error}");
    assert!(store.get("good").await.unwrap().0.is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_several_leases_the_missing_one_is_named() {
    let cluster = EtcdCluster::start(EtcdPlan::default()).await;
    let config = EtcdConfig::new(cluster.endpoints(), "/tanist/a/");
    let store = EtcdStore::open(&config).await.unwrap();
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(store.grant(Duration::from_secs(600)).await.unwrap().id);
    }
    for gone in ids.clone() {
        store.revoke(gone).await.unwrap();
        let put = |txn: Txn, id| txn.put_with_lease(format!("{id}"), "1", id);
        let error = store.txn(ids.iter().copied().fold(Txn::new(), put)).await.unwrap_err();
        assert!(matches!(error, StoreError::LeaseNotFound(id) if id == gone), "{error}");
        let last = ids.iter_mut().find(|id| **id == gone).unwrap();
        *last = store.grant(Duration::from_secs(600)).await.unwrap().id;
    }
    assert!(store.range("").await.unwrap().0.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_over_its_quota_is_full_and_says_so() {
    let args = ["--quota-backend-bytes", "8388608"].map(str::to_owned).into();
    let cluster = EtcdCluster::start(EtcdPlan { args, ..EtcdPlan::default() }).await;
    let config = EtcdConfig::new(cluster.endpoints(), "/tanist/a/");
    let store = EtcdStore::open(&config).await.unwrap();
    let large = vec![1u8; 1 << 20];
    let mut error = None;
    // Far more than the quota: etcd learns its size only when it has written a batch to its disk.
    for n in 0..500 {
        if let Err(full) = store.txn(Txn::new().put(format!("k{n}"), large.clone())).await {
            error = Some(full);
            break;
        }
    }
    let error = error.expect("the quota must be reached");
    assert!(matches!(error, StoreError::Full { .. }), "{error}");
    assert!(shown(&error).contains("database space exceeded"), "{}", shown(&error));
    assert!(!error.outcome_unknown());
    let status = store.status().await;
    let member = status.endpoints[0].member.as_ref().unwrap();
    assert!(member.no_space && !member.troubles.is_empty(), "{member:?}");
    assert!(store.get("k0").await.unwrap().0.is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endpoints_of_different_clusters_are_not_mixed() {
    let mut one = EtcdCluster::start(EtcdPlan::default()).await;
    let other = EtcdCluster::start(EtcdPlan::default()).await;
    let endpoints = [one.endpoints(), other.endpoints()].concat();
    let config = EtcdConfig { timeouts: QUICK, ..EtcdConfig::new(endpoints, "/tanist/a/") };
    let store = EtcdStore::open(&config).await.unwrap();
    store.txn(Txn::new().put("a", "1")).await.unwrap();
    one.kill(0);
    let error = store.get("a").await.unwrap_err();
    assert!(shown(&error).contains("different clusters"), "{}", shown(&error));
    assert!(store.txn(Txn::new().put("a", "2")).await.is_err());
    let there = EtcdStore::open(&EtcdConfig::new(other.endpoints(), "/tanist/a/")).await.unwrap();
    assert!(there.get("a").await.unwrap().0.is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_status_shows_each_member_the_leader_and_who_is_away() {
    let mut cluster = EtcdCluster::start(EtcdPlan { members: 3, ..EtcdPlan::default() }).await;
    let config = EtcdConfig::new(cluster.endpoints(), "/tanist/a/");
    let store = EtcdStore::open(&config).await.unwrap();
    let at = store.txn(Txn::new().put("a", "1")).await.unwrap().revision;
    let status = store.status().await;
    let members: Vec<_> =
        status.endpoints.iter().map(|endpoint| endpoint.member.as_ref().unwrap()).collect();
    assert_eq!(members.iter().filter(|member| member.leads).count(), 1);
    assert!(members.iter().all(|member| member.version.starts_with("3.")), "{members:?}");
    assert!(members.iter().all(|member| member.leader.is_some() && !member.no_space));
    assert!(members.iter().all(|member| member.db_bytes > 0 && member.raft_index > 0));
    assert!(members.iter().any(|member| member.revision == at));
    assert_eq!(status.members.len(), 3);
    assert_eq!(status.members[0].client_urls.len(), 1);

    cluster.kill(0);
    cluster.stop(1);
    let status = store.status().await;
    assert!(status.endpoints[0].member.is_err() && status.endpoints[1].member.is_err());
    let late = status.endpoints[1].serves.as_ref().unwrap_err();
    assert!(late.contains("no answer within") || late.contains("no connection"), "{late}");
    assert_eq!(status.endpoints[2].endpoint, cluster.endpoint(2));
    assert!(status.endpoints[2].member.is_ok());
}
