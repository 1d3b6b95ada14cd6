//! A copy between two real stores: whole, cut short, refused, disturbed.
//!
//! Invariant: whatever is refused has changed nothing.
//!
//! Not here: `tanist migrate-store`, which the stories tell.

use std::time::Duration;

use super::*;
use crate::sqlite::{Options, SqliteStore};

struct Two {
    from: SqliteStore,
    to: SqliteStore,
    _dir: tempfile::TempDir,
}

async fn two() -> Two {
    let dir = tempfile::tempdir().unwrap();
    let open = async |name: &str| {
        let options = Options { copy_every: None, ..Options::default() };
        SqliteStore::open(dir.path().join(name), options).await.unwrap()
    };
    Two { from: open("from").await, to: open("to").await, _dir: dir }
}

async fn put(store: &SqliteStore, key: &str, value: &[u8]) {
    assert!(store.txn(Txn::new().put(key, value)).await.unwrap().committed);
}

async fn filled() -> Two {
    let two = two().await;
    for number in 0..300 {
        put(&two.from, &format!("k/{number}"), format!("v{number}").as_bytes()).await;
    }
    for number in 0..3 {
        put(&two.from, &format!("large/{number}"), &vec![number; 1 << 20]).await;
    }
    two
}

async fn is_copied(two: &Two) -> bool {
    let (from, _) = two.from.range("").await.unwrap();
    let (to, _) = two.to.range("").await.unwrap();
    state(from) == state(to)
}

#[tokio::test]
async fn everything_is_copied_but_what_a_lease_holds() {
    let two = filled().await;
    let lease = two.from.grant(Duration::from_secs(600)).await.unwrap().id;
    two.from.txn(Txn::new().put_with_lease("held", "x", lease)).await.unwrap();
    let mut last = Progress::default();
    let done = copy(&two.from, &two.to, "abc", |now| {
        assert!(now.done >= last.done && now.keys == 303, "{now:?} after {last:?}");
        last = now;
    });
    assert_eq!(done.await.unwrap().done, 303);
    assert_eq!(last.done, 303);
    assert!(is_copied(&two).await);
    assert!(two.to.get("held").await.unwrap().0.is_none());
    let whole = Mark { installation: "abc".to_owned(), stage: Stage::Whole };
    assert_eq!(mark(&two.to).await.unwrap(), Some(whole));
}

#[tokio::test]
async fn a_copy_that_was_cut_short_goes_on_and_what_is_too_much_goes() {
    let two = filled().await;
    let copying = Mark { installation: "abc".to_owned(), stage: Stage::Copying };
    put_mark(&two.to, &copying).await.unwrap();
    put(&two.to, "k/1", b"v1").await;
    put(&two.to, "k/2", b"of an earlier day").await;
    put(&two.to, "gone", b"x").await;
    let kept = two.to.get("k/1").await.unwrap().0.unwrap().mod_revision;
    copy(&two.from, &two.to, "abc", |_| {}).await.unwrap();
    assert!(is_copied(&two).await);
    assert_eq!(two.to.get("k/1").await.unwrap().0.unwrap().mod_revision, kept, "not again");
    // Once more changes nothing.
    let again = copy(&two.from, &two.to, "abc", |_| {}).await.unwrap();
    assert_eq!((again.done, again.bytes), (303, 0));
}

#[tokio::test]
async fn what_is_somebody_elses_or_worked_with_is_not_touched() {
    let two = filled().await;
    put(&two.to, "x", b"mine").await;
    let refused = copy(&two.from, &two.to, "abc", |_| {}).await.unwrap_err();
    assert!(matches!(refused, MoveError::NotEmpty { keys: 1 }), "{refused}");
    assert_eq!(two.to.range("").await.unwrap().0.len(), 1);
    let other = Mark { installation: "other".to_owned(), stage: Stage::Copying };
    put_mark(&two.to, &other).await.unwrap();
    let refused = copy(&two.from, &two.to, "abc", |_| {}).await.unwrap_err();
    assert!(matches!(&refused, MoveError::OfAnother { .. }), "{refused}");

    let two = filled().await;
    copy(&two.from, &two.to, "abc", |_| {}).await.unwrap();
    put(&two.to, "k/1", b"newer").await;
    let refused = copy(&two.from, &two.to, "abc", |_| {}).await.unwrap_err();
    assert!(matches!(refused, MoveError::Changed), "{refused}");
    assert_eq!(two.to.get("k/1").await.unwrap().0.unwrap().value, b"newer");
    // Once it was left, it may be written over.
    let left = Mark { installation: "abc".to_owned(), stage: Stage::Left };
    put_mark(&two.to, &left).await.unwrap();
    copy(&two.from, &two.to, "abc", |_| {}).await.unwrap();
    assert!(is_copied(&two).await);
}

#[tokio::test]
async fn of_two_that_copy_one_fails() {
    let two = filled().await;
    let mut rivals = 0;
    let to = two.to.clone();
    let copied = copy(&two.from, &two.to, "abc", |now| {
        if now.done > 0 && rivals == 0 {
            rivals += 1;
            // Another one begins: it marks the store as its own.
            let copying = Mark { installation: "abc".to_owned(), stage: Stage::Copying };
            let to = to.clone();
            let put = async move { put_mark(&to, &copying).await };
            std::thread::scope(|scope| {
                let put = scope.spawn(|| {
                    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                    runtime.block_on(put)
                });
                put.join().unwrap().unwrap();
            });
        }
    });
    let refused = copied.await.unwrap_err();
    assert!(matches!(refused, MoveError::Disturbed), "{refused}");
}
