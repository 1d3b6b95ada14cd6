//! A copy of the store: what is in it, and putting it back.
//!
//! Invariant: what is put back is compared key by key.
//!
//! Not here: the file's format (`tanist_link::backup`), what follows in an installation (`tests/`).

use http_body_util::BodyExt;
use tanist_core::model::Limits;
use tanist_link::backup::Backup;
use tanist_store::{AnyStore, Options, SqliteStore, Store, Txn};

use super::rig::{Rig, spec, topology};
use crate::backup::stream_of;
use crate::leadership::Claim;
use crate::restore::{RestoreError, restore};
use crate::{ControllerError, keys};

async fn copied(store: &AnyStore) -> Backup {
    let response = stream_of(store, "here".to_owned()).await.unwrap();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    Backup::read(&bytes).unwrap()
}

/// A copy of an installation with a group.
async fn copy() -> Backup {
    let rig = Rig::new(Limits::DEFAULT, spec(), topology()).await;
    let large = Txn::new().put("large/a", vec![0xff; 1 << 20]);
    assert!(rig.store.txn(large).await.unwrap().committed);
    let more = Txn::new().put("large/b", vec![b'x'; 1 << 20]);
    assert!(rig.store.txn(more).await.unwrap().committed);
    copied(&rig.store).await
}

async fn blank(dir: &tempfile::TempDir) -> AnyStore {
    AnyStore::from(SqliteStore::open(dir.path(), Options::default()).await.unwrap())
}

#[tokio::test]
async fn what_is_put_back_is_what_was_copied_and_nobodys_leadership() {
    let backup = copy().await;
    assert!(backup.keys.iter().all(|(key, _)| key != keys::TERM), "{:?}", backup.keys);
    let dir = tempfile::tempdir().unwrap();
    let store = blank(&dir).await;
    let mut said = Vec::new();
    let restored = restore(&store, &backup, |keys| said.push(keys)).await.unwrap();
    assert_eq!((restored.keys, restored.groups), (backup.keys.len(), 1));
    assert_eq!(said.last(), Some(&backup.keys.len()));
    assert_eq!(copied(&store).await.keys, backup.keys);
    assert!(store.get(keys::RESTORING).await.unwrap().0.is_none());
}

#[tokio::test]
async fn a_store_that_has_something_is_refused_and_one_where_only_somebody_has_led_is_not() {
    let backup = copy().await;
    let dir = tempfile::tempdir().unwrap();
    let store = blank(&dir).await;
    Claim::alone(&store).await.unwrap();
    let of_itself = Txn::new().put("host/h1", "{}").put("event/1", "{}");
    store.txn(of_itself).await.unwrap();
    restore(&store, &backup, |_| ()).await.unwrap();
    let again = restore(&store, &backup, |_| ()).await;
    assert!(matches!(again, Err(RestoreError::NotEmpty { .. })), "{again:?}");
}

#[tokio::test]
async fn a_store_by_which_somebody_leads_is_refused() {
    let backup = copy().await;
    let dir = tempfile::tempdir().unwrap();
    let store = blank(&dir).await;
    let beat = |text: &'static str| Txn::new().put(keys::BEAT, text);
    store.txn(beat("1")).await.unwrap();
    // Ended between two beats and never within one, which could still arrive afterwards.
    let over = std::cell::Cell::new(false);
    let beating = async {
        while !over.get() {
            // waits: a leader beats by the clock.
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            store.txn(beat("2")).await.unwrap();
        }
    };
    let tried = async {
        let refused = restore(&store, &backup, |_| ()).await;
        over.set(true);
        refused
    };
    let (refused, ()) = tokio::join!(tried, beating);
    assert!(matches!(refused, Err(RestoreError::Led)), "{refused:?}");
    // One that was killed has left its last word behind.
    restore(&store, &backup, |_| ()).await.unwrap();
}

#[tokio::test]
async fn nobody_leads_by_half_a_copy_and_the_same_file_ends_it() {
    let backup = copy().await;
    let dir = tempfile::tempdir().unwrap();
    let store = blank(&dir).await;
    // As an interruption leaves it.
    let (key, value) = &backup.keys[0];
    let half = Txn::new().put(keys::RESTORING, backup.digest.as_str()).put(key, value.as_slice());
    store.txn(half).await.unwrap();
    let claim = Claim::alone(&store).await.unwrap();
    let led = crate::archive::Archive::open(store.clone(), claim).await;
    assert!(matches!(led, Err(ControllerError::Half)));
    let other = copy().await;
    let refused = restore(&store, &Backup { digest: "other".to_owned(), ..other }, |_| ()).await;
    assert!(matches!(refused, Err(RestoreError::Another)), "{refused:?}");
    restore(&store, &backup, |_| ()).await.unwrap();
    assert_eq!(copied(&store).await.keys, backup.keys);
}
