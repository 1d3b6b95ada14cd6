//! What the embedded store promises beyond the semantics that every backend shares: its lock, its
//! files, copies, restoring, retention, and leases over a restart.

// A test may stop at what it did not expect, and children talk over their output.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use futures_util::FutureExt;
use tanist_store::{Event, Options, Revision, SqliteStore, Store, StoreError, Txn};

fn quiet() -> Options {
    Options { copy_every: None, ..Options::default() }
}

async fn put(store: &SqliteStore, key: &str, value: impl Into<Vec<u8>>) -> Revision {
    store.txn(Txn::new().put(key, value)).await.unwrap().revision
}

#[tokio::test]
async fn a_second_opening_is_refused_until_the_first_is_closed() {
    let home = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(home.path(), quiet()).await.unwrap();
    let error = SqliteStore::open(home.path(), quiet()).await.unwrap_err();
    let StoreError::InUse { pid, .. } = error else { panic!("{error}") };
    assert_eq!(pid, Some(std::process::id()));
    let error = SqliteStore::restore(home.path(), home.path().join("x")).await.unwrap_err();
    assert!(matches!(error, StoreError::Files { .. }), "{error}");
    store.close().await;
    assert!(matches!(store.get("a").await, Err(StoreError::Closed)));
    assert!(matches!(store.txn(Txn::new().put("a", "1")).await, Err(StoreError::Closed)));
    let again = SqliteStore::open(home.path(), quiet()).await.unwrap();
    assert_eq!(again.status().installation, store.status().installation);
    again.close().await;
}

#[tokio::test]
async fn only_the_owner_can_read_the_files() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("store");
    fs::create_dir(&dir).unwrap();
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).unwrap();
    let store = SqliteStore::open(&dir, quiet()).await.unwrap();
    put(&store, "a", "1").await;
    store.backup(home.path().join("copy.db")).await.unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&dir), 0o700);
    assert_eq!(mode(&home.path().join("copy.db")), 0o600);
    let names: Vec<_> = fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(names.len() >= 5, "{names:?}");
    for path in names {
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
    store.close().await;
}

#[tokio::test]
async fn a_restored_copy_never_takes_the_revision_back() {
    let home = tempfile::tempdir().unwrap();
    let (dir, copy) = (home.path().join("store"), home.path().join("copy.db"));
    let store = SqliteStore::open(&dir, quiet()).await.unwrap();
    put(&store, "kept", "1").await;
    let copied = store.backup(&copy).await.unwrap();
    let last = put(&store, "lost", "1").await;
    store.close().await;
    let aside = SqliteStore::restore(&dir, &copy).await.unwrap();
    assert!(aside.join("store.db").exists());
    let store = SqliteStore::open(&dir, quiet()).await.unwrap();
    let restored = store.status().restored.unwrap();
    assert_eq!((restored.copied, restored.last), (copied, last));
    assert!(restored.now > Revision(last.0 + 1_000_000_000));
    let (keys, at) = store.range("").await.unwrap();
    assert_eq!(keys.iter().map(|kv| kv.key.as_str()).collect::<Vec<_>>(), ["kept"]);
    assert_eq!(at, restored.now);
    let error = store.watch("", last).await.unwrap_err();
    assert!(matches!(error, StoreError::Compacted { oldest } if oldest == at), "{error}");
    let mut watch = store.watch("", at.next()).await.unwrap();
    assert_eq!(put(&store, "new", "1").await, at.next());
    assert_eq!(watch.next().await.unwrap().unwrap().revision, at.next());
    store.close().await;
    let store = SqliteStore::open(&dir, quiet()).await.unwrap();
    assert_eq!(store.status().restored, None);
    assert_eq!(store.status().revision, at.next());
    store.close().await;
}

#[tokio::test]
async fn a_copy_put_back_by_hand_is_not_mixed_with_the_old_log() {
    let home = tempfile::tempdir().unwrap();
    let (dir, copy) = (home.path().join("store"), home.path().join("copy.db"));
    let store = SqliteStore::open(&dir, quiet()).await.unwrap();
    put(&store, "kept", "1").await;
    store.backup(&copy).await.unwrap();
    let last = put(&store, "lost", "1").await;
    let image = home.path().join("image");
    fs::create_dir(&image).unwrap();
    for name in ["store.db-wal", "acknowledged"] {
        fs::copy(dir.join(name), image.join(name)).unwrap();
    }
    fs::copy(&copy, image.join("store.db")).unwrap();
    store.close().await;
    let store = SqliteStore::open(&image, quiet()).await.unwrap();
    let keys = store.range("").await.unwrap().0;
    assert_eq!(keys.iter().map(|kv| kv.key.as_str()).collect::<Vec<_>>(), ["kept"]);
    assert_eq!(store.status().restored.unwrap().last, last);
    store.close().await;
}

#[tokio::test]
async fn an_older_database_file_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(home.path(), quiet()).await.unwrap();
    put(&store, "a", "1").await;
    store.close().await;
    let old = fs::read(home.path().join("store.db")).unwrap();
    let store = SqliteStore::open(home.path(), quiet()).await.unwrap();
    put(&store, "a", "2").await;
    store.close().await;
    fs::write(home.path().join("store.db"), old).unwrap();
    let error = SqliteStore::open(home.path(), quiet()).await.unwrap_err().to_string();
    assert!(error.contains("ends at revision 2, but revision 3 was acknowledged"), "{error}");
}

#[tokio::test]
async fn only_a_checked_copy_is_put_back() {
    let home = tempfile::tempdir().unwrap();
    let (dir, copy) = (home.path().join("store"), home.path().join("copy.db"));
    let store = SqliteStore::open(&dir, quiet()).await.unwrap();
    put(&store, "a", vec![7; 3000]).await;
    store.backup(&copy).await.unwrap();
    let inside = store.backup(dir.join("store.db")).await.unwrap_err();
    assert!(matches!(inside, StoreError::BadCopy { .. }), "{inside}");
    store.close().await;
    let before = fs::read(dir.join("store.db")).unwrap();
    let plain = home.path().join("plain.db");
    fs::write(&plain, &before).unwrap();
    let mut bytes = fs::read(&copy).unwrap();
    let at = bytes.windows(500).position(|w| w.iter().all(|b| *b == 7)).unwrap();
    bytes[at] = 8;
    fs::write(&copy, bytes).unwrap();
    for bad in [&plain, &copy] {
        let error = SqliteStore::restore(&dir, bad).await.unwrap_err();
        assert!(matches!(error, StoreError::BadCopy { .. }), "{error}");
    }
    assert!(fs::read(dir.join("store.db")).unwrap() == before);
}

#[tokio::test]
async fn the_last_good_copy_is_made_after_opening() {
    let home = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(home.path(), quiet()).await.unwrap();
    let at = put(&store, "a", "1").await;
    store.close().await;
    let store = SqliteStore::open(home.path(), Options::default()).await.unwrap();
    // The keeper takes one thing after the other: this one after the copy that opening asked for,
    // or before it; closing waits for what it has begun.
    while store.status().last_good_revision.is_none() {
        assert!(store.status().copy_trouble.is_none());
        tokio::task::yield_now().await;
    }
    assert_eq!(store.status().last_good_revision, Some(at));
    let last_good = store.status().last_good;
    store.close().await;
    let other = home.path().join("other");
    SqliteStore::restore(&other, &last_good).await.unwrap();
    let store = SqliteStore::open(&other, quiet()).await.unwrap();
    assert!(store.get("a").await.unwrap().0.is_some());
    store.close().await;
}

#[tokio::test]
async fn history_is_kept_for_so_many_revisions_and_bytes_and_no_more() {
    let home = tempfile::tempdir().unwrap();
    let options = Options { retain_revisions: 50, retain_bytes: 100_000, ..quiet() };
    let store = SqliteStore::open(home.path(), options).await.unwrap();
    let mut slow = store.watch("", Revision(1)).await.unwrap();
    for n in 0..200 {
        put(&store, "a", n.to_string()).await;
    }
    let status = store.status();
    assert_eq!((status.revision, status.oldest), (Revision(201), Revision(152)));
    let fell_behind = slow.next().await.unwrap().unwrap_err();
    assert!(matches!(fell_behind, StoreError::Compacted { oldest: Revision(152) }));
    assert!(slow.next().await.is_none());
    assert!(store.watch("", Revision(151)).await.is_err());
    let mut watch = store.watch("", Revision(152)).await.unwrap();
    assert_eq!(watch.next().await.unwrap().unwrap().revision, Revision(152));
    for _ in 0..20 {
        put(&store, "a", vec![1; 30_000]).await;
    }
    let status = store.status();
    assert_eq!(status.revision.0 - status.oldest.0, 2);
    store.close().await;
}

#[tokio::test]
async fn a_lease_has_its_full_time_again_after_a_restart() {
    let home = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(home.path(), quiet()).await.unwrap();
    let lease = store.grant(Duration::from_secs(1)).await.unwrap();
    let txn = Txn::new().put_with_lease("l", "1", lease.id);
    let at = store.txn(txn).await.unwrap().revision;
    store.close().await;
    let store = SqliteStore::open(home.path(), quiet()).await.unwrap();
    let opened = tokio::time::Instant::now();
    let mut watch = store.watch("l", at.next()).await.unwrap();
    let batch = watch.next().await.unwrap().unwrap();
    assert!(opened.elapsed() > Duration::from_millis(900), "{:?}", opened.elapsed());
    assert!(matches!(&batch.events[..], [Event::Delete { key, .. }] if key == "l"));
    assert_eq!(store.status().leases, 0);
    store.close().await;
}

#[tokio::test]
async fn a_caller_that_stops_waiting_does_not_undo_its_transaction() {
    let home = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(home.path(), quiet()).await.unwrap();
    let mut watch = store.watch("a", Revision(1)).await.unwrap();
    {
        let mut commit = Box::pin(store.txn(Txn::new().put("a", "1")));
        assert!(commit.as_mut().now_or_never().is_none());
    }
    assert_eq!(watch.next().await.unwrap().unwrap().revision, Revision(2));
    store.close().await;
}

#[tokio::test]
async fn a_watch_ends_with_an_error_when_the_store_is_closed() {
    let home = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(home.path(), quiet()).await.unwrap();
    let mut watch = store.watch("a", Revision(1)).await.unwrap();
    let waiting = tokio::spawn(async move { (watch.next().await, watch.next().await) });
    store.close().await;
    let (error, end) = waiting.await.unwrap();
    assert!(matches!(error, Some(Err(StoreError::Closed))) && end.is_none());
}
