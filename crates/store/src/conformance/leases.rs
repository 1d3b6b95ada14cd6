//! Claims about leases. They take seconds, because etcd's leases do.

use std::time::Duration;

use crate::conformance::{next, put};
use crate::{Event, LeaseId, Revision, Store, StoreError, Txn};

const SHORT: Duration = Duration::from_secs(1);
const LONG: Duration = Duration::from_secs(600);

/// At the end of a lease all its keys vanish at once, watches see it, and it is gone.
pub async fn a_lease_that_ends_takes_its_keys_in_one_revision<S: Store>(store: &S) {
    put(store, "l/stays", "x").await;
    let lease = store.grant(SHORT).await.unwrap();
    assert!(lease.ttl >= SHORT);
    let txn = Txn::new()
        .put_with_lease("l/a", "1", lease.id)
        .put_with_lease("l/b", "2", lease.id)
        .put("l/c", "3");
    let at = store.txn(txn).await.unwrap().revision;
    assert_eq!(store.get("l/a").await.unwrap().0.unwrap().lease, Some(lease.id));
    let mut watch = store.watch("l/", at.next()).await.unwrap();
    let batch = next(&mut watch).await.unwrap();
    assert_eq!(batch.revision, at.next());
    let mut gone: Vec<_> = batch
        .events
        .iter()
        .map(|event| match event {
            Event::Delete { key, .. } => key.as_str(),
            Event::Put(kv) => panic!("{kv:?}"),
        })
        .collect();
    gone.sort_unstable();
    assert_eq!(gone, ["l/a", "l/b"]);
    let names: Vec<_> = store.range("l/").await.unwrap().0.into_iter().map(|kv| kv.key).collect();
    assert_eq!(names, ["l/c", "l/stays"]);
    assert!(is_gone(store, lease.id).await);
}

/// Keep-alives let it last; without them it ends.
pub async fn a_lease_that_is_kept_alive_does_not_end<S: Store>(store: &S) {
    let lease = store.grant(SHORT).await.unwrap();
    let at = store.txn(Txn::new().put_with_lease("l/a", "1", lease.id)).await.unwrap().revision;
    let mut watch = store.watch("l/", at.next()).await.unwrap();
    let started = tokio::time::Instant::now();
    let mut every = tokio::time::interval(lease.ttl / 5);
    while started.elapsed() < lease.ttl * 2 {
        tokio::select! {
            _ = every.tick() => {
                assert!(store.keep_alive(lease.id).await.unwrap() >= SHORT);
            }
            batch = watch.next() => panic!("{batch:?} although it was kept alive"),
        }
    }
    let kept = tokio::time::Instant::now();
    store.keep_alive(lease.id).await.unwrap();
    let batch = next(&mut watch).await.unwrap();
    assert!(kept.elapsed() >= lease.ttl, "it ended after {:?}", kept.elapsed());
    assert!(matches!(&batch.events[..], [Event::Delete { .. }]));
}

/// A revocation is the end of a lease, at once; a second one is refused.
pub async fn a_revoked_lease_is_gone_with_its_keys<S: Store>(store: &S) {
    let lease = store.grant(LONG).await.unwrap();
    let other = store.grant(LONG).await.unwrap();
    assert!(lease.id != other.id);
    let txn = Txn::new().put_with_lease("l/a", "1", lease.id).put_with_lease("l/b", "1", other.id);
    let at = store.txn(txn).await.unwrap().revision;
    store.revoke(lease.id).await.unwrap();
    let (keys, now) = store.range("l/").await.unwrap();
    assert_eq!(now, at.next());
    assert_eq!(keys.iter().map(|kv| kv.key.as_str()).collect::<Vec<_>>(), ["l/b"]);
    assert!(is_gone(store, lease.id).await);
    assert!(matches!(store.revoke(lease.id).await, Err(StoreError::LeaseNotFound(_))));
    assert!(store.keep_alive(other.id).await.unwrap() >= LONG);
}

/// The last put decides: without a lease, the key no longer belongs to one.
pub async fn a_key_put_without_its_lease_outlives_it<S: Store>(store: &S) {
    let lease = store.grant(LONG).await.unwrap();
    store.txn(Txn::new().put_with_lease("l/a", "1", lease.id)).await.unwrap();
    put(store, "l/a", "2").await;
    store.revoke(lease.id).await.unwrap();
    let kv = store.get("l/a").await.unwrap().0.unwrap();
    assert_eq!((kv.value.as_slice(), kv.lease), (&b"2"[..], None));
}

/// A lease must exist when a key is put with it; otherwise the whole transaction is refused.
pub async fn a_put_with_an_unknown_lease_changes_nothing<S: Store>(store: &S) {
    let at: Revision = put(store, "l/a", "1").await;
    let txn = Txn::new().put("l/a", "2").put_with_lease("l/b", "1", LeaseId(77));
    let error = store.txn(txn).await.unwrap_err();
    assert!(matches!(error, StoreError::LeaseNotFound(LeaseId(77))), "{error}");
    assert_eq!(store.range("").await.unwrap().1, at);
    assert!(is_gone(store, LeaseId(77)).await);
}

async fn is_gone<S: Store>(store: &S, id: LeaseId) -> bool {
    matches!(store.keep_alive(id).await, Err(StoreError::LeaseNotFound(gone)) if gone == id)
}
