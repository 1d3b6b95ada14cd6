//! What the archive keeps, and what it reads of it.
//!
//! Invariant: the store is a real one.
//!
//! Not here: when the loop writes and reads.

use tanist_core::model::stored::Stored;
use tanist_core::model::{
    Cause, Durability, Epoch, Instant, Primaryship, Severity, ShardKey, ShardTopology, Vacancy,
};
use tanist_link::api::FailoverRecord;
use tanist_link::wire::{AskLeases, AskedFor};
use tanist_store::{AnyStore, Store, Txn};
use tokio::sync::watch;

use super::rig::{spec, store, topology};
use crate::archive::Archive;
use crate::keys;
use crate::leadership::Claim;

fn failover(group: &str, epoch: u64) -> FailoverRecord {
    FailoverRecord {
        group: group.into(),
        shard: "0001".into(),
        epoch: Epoch(epoch),
        cause: Cause::PrimaryDown,
        from: None,
        to: None,
        at_ms: epoch,
        detected: Instant::ZERO,
        steps: Vec::new(),
    }
}

async fn archive(home: &tempfile::TempDir) -> (AnyStore, Archive) {
    let store = store(home, spec(), topology()).await;
    let claim = Claim::alone(&store).await.unwrap();
    (store.clone(), Archive::open(store, claim).await.unwrap())
}

#[tokio::test]
async fn a_group_keeps_its_newest_failovers_and_none_when_it_is_gone() {
    let home = tempfile::tempdir().unwrap();
    let (store, mut archive) = archive(&home).await;
    // As a release left them that kept all.
    for epoch in 1..=250 {
        let shard = ShardKey { group: "web".into(), shard: "0001".into() };
        let record = serde_json::to_vec(&Stored::new(failover("web", epoch))).unwrap();
        store.txn(Txn::new().put(keys::failover(&shard, Epoch(epoch)), record)).await.unwrap();
    }
    archive.write_failover(&failover("web-2", 1)).await.unwrap();
    archive.write_failover(&failover("web", 251)).await.unwrap();
    let epochs = async |archive: &Archive, group: &str| {
        let kept = archive.failovers(&group.into()).await.unwrap();
        kept.iter().map(|record| record.epoch.0).collect::<Vec<_>>()
    };
    assert_eq!(epochs(&archive, "web").await, (152..=251).collect::<Vec<_>>());
    archive.write_failover(&failover("web", 252)).await.unwrap();
    assert_eq!(epochs(&archive, "web").await, (153..=252).collect::<Vec<_>>());
    archive.forget(&"web".into()).await.unwrap();
    assert!(epochs(&archive, "web").await.is_empty());
    assert_eq!(epochs(&archive, "web-2").await, [1]);
}

#[tokio::test]
async fn events_after_one_are_read_without_those_before() {
    let home = tempfile::tempdir().unwrap();
    let (store, mut archive) = archive(&home).await;
    let notes: Vec<_> =
        (0..3).map(|_| archive.note(None, None, "Noted", Severity::Info, String::new())).collect();
    archive.write_events(&notes).await.unwrap();
    let ids = async |archive: &Archive, after: u64| {
        let events = archive.events(after).await.unwrap();
        events.iter().map(|event| event.id).collect::<Vec<_>>()
    };
    let [one, two, three] = [notes[0].id, notes[1].id, notes[2].id];
    assert_eq!(ids(&archive, 0).await, [one, two, three]);
    // More than one read may answer, before the second.
    for n in 0..=tanist_store::MAX_RANGE_BYTES / tanist_store::MAX_VALUE_BYTES {
        let key = format!("{}-{n}", keys::event(one));
        let large = vec![b' '; tanist_store::MAX_VALUE_BYTES];
        store.txn(Txn::new().put(key, large)).await.unwrap();
    }
    assert_eq!(ids(&archive, one).await, [two, three]);
    assert_eq!(ids(&archive, three).await, [0; 0]);
    assert_eq!(ids(&archive, u64::MAX).await, [0; 0]);
}

#[tokio::test]
async fn a_primary_that_a_rebuilt_group_does_not_name_gets_no_lease_any_more() {
    let home = tempfile::tempdir().unwrap();
    let (_store, mut archive) = archive(&home).await;
    let (_sure, until) = watch::channel(Instant::from_millis(u64::MAX / 2000));
    archive.leases.open(until);
    let shard = ShardTopology { durability: Durability::Async, ..topology() };
    archive.leases.learn(&shard);
    let node = shard.primary().unwrap().node.clone();
    let primaries = vec![AskedFor { node: node.clone(), epoch: shard.epoch }];
    let asked = AskLeases { host: shard.members[&node].host.clone(), primaries };
    let given = |archive: &Archive| archive.leases.give(&asked, Instant::ZERO).primaries.len();
    assert_eq!(given(&archive), 1);
    let vacancy = Vacancy {
        prev: shard.primary().cloned(),
        cause: Cause::Rebuilt,
        request: None,
        heir: None,
    };
    let rebuilt = ShardTopology { primaryship: Primaryship::Vacant(vacancy), ..shard };
    archive.write_rebuilt(spec(), vec![rebuilt], &[]).await.unwrap();
    assert_eq!(given(&archive), 0);
}
