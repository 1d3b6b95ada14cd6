//! Claims about watches and compaction.

use std::collections::BTreeMap;

use crate::conformance::{next, put};
use crate::{Event, Revision, Store, StoreError, Txn};

/// Past changes come first, then live ones, all in order.
pub async fn a_watch_replays_history_and_goes_on_live<S: Store>(store: &S) {
    let first = put(store, "w/a", "1").await;
    let second = put(store, "w/a", "2").await;
    let third = store.txn(Txn::new().delete("w/a")).await.unwrap().revision;
    let mut watch = store.watch("w/", first).await.unwrap();
    let fourth = put(store, "w/b", "3").await;
    for (at, value) in [(first, Some("1")), (second, Some("2")), (third, None), (fourth, Some("3"))]
    {
        let batch = next(&mut watch).await.unwrap();
        assert_eq!(batch.revision, at);
        match (&batch.events[..], value) {
            ([Event::Put(kv)], Some(value)) => {
                assert_eq!(kv.value, value.as_bytes());
                assert_eq!(kv.mod_revision, at);
            }
            ([Event::Delete { key, mod_revision }], None) => {
                assert_eq!((key.as_str(), *mod_revision), ("w/a", at));
            }
            (events, _) => panic!("{events:?} at {at}"),
        }
    }
}

/// Changes of one revision come in one batch; other keys do not come at all.
pub async fn a_watch_sees_only_its_prefix_and_a_revision_at_once<S: Store>(store: &S) {
    let (_, now) = store.range("").await.unwrap();
    let mut watch = store.watch("w/", now.next()).await.unwrap();
    put(store, "v/a", "0").await;
    put(store, "w", "0").await;
    let txn = Txn::new().put("w/a", "1").put("x", "0").put("w/b", "2").put("w/c", "3");
    let at = store.txn(txn).await.unwrap().revision;
    put(store, "w0", "0").await;
    let last = put(store, "w/a", "4").await;
    let batch = next(&mut watch).await.unwrap();
    let keys: Vec<_> = batch.events.iter().map(Event::key).collect();
    assert_eq!((batch.revision, keys), (at, vec!["w/a", "w/b", "w/c"]));
    assert_eq!(next(&mut watch).await.unwrap().revision, last);
}

/// Watches that start in the past, now, and in the middle each see every revision once, in order.
pub async fn a_watch_has_no_gap_and_no_duplicate_under_concurrent_writers<S: Store>(store: &S) {
    const WRITERS: usize = 4;
    const EACH: usize = 100;
    let start = put(store, "w/start", "").await;
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let store = store.clone();
            tokio::spawn(async move {
                let mut acknowledged = Vec::new();
                for n in 0..EACH {
                    let key = format!("w/{writer}");
                    acknowledged.push((put(&store, &key, &n.to_string()).await, key, n));
                }
                acknowledged
            })
        })
        .collect();
    let watchers: Vec<_> = [Revision(1), start.next(), Revision(start.0 + 57)]
        .map(|from| {
            let store = store.clone();
            tokio::spawn(
                async move { collect(&store, from, start.0 + (WRITERS * EACH) as u64).await },
            )
        })
        .into();
    let mut written = BTreeMap::new();
    for writer in writers {
        for (at, key, n) in writer.await.unwrap() {
            assert!(written.insert(at, (key, n.to_string())).is_none(), "{at} was given twice");
        }
    }
    for (watcher, from) in
        watchers.into_iter().zip([start.next(), start.next(), Revision(start.0 + 57)])
    {
        let mut seen = watcher.await.unwrap();
        seen.retain(|at, _| *at > start);
        let expected: BTreeMap<_, _> =
            written.range(from..).map(|(a, b)| (*a, b.clone())).collect();
        assert_eq!(seen, expected);
    }
}

async fn collect<S: Store>(
    store: &S,
    from: Revision,
    last: u64,
) -> BTreeMap<Revision, (String, String)> {
    let mut watch = store.watch("w/", from).await.unwrap();
    let mut seen = BTreeMap::new();
    let mut before = Revision::ABSENT;
    while before.0 < last {
        let batch = next(&mut watch).await.unwrap();
        assert!(batch.revision > before, "{} after {before}", batch.revision);
        before = batch.revision;
        let [Event::Put(kv)] = &batch.events[..] else { panic!("{batch:?}") };
        let value = String::from_utf8(kv.value.clone()).unwrap();
        seen.insert(batch.revision, (kv.key.clone(), value));
    }
    seen
}

/// A start that lies ahead is waited for.
pub async fn a_watch_from_the_future_waits_for_it<S: Store>(store: &S) {
    let now = put(store, "w/a", "0").await;
    let mut watch = store.watch("w/", Revision(now.0 + 3)).await.unwrap();
    for n in 1..=3 {
        put(store, "w/a", &n.to_string()).await;
    }
    assert_eq!(next(&mut watch).await.unwrap().revision, Revision(now.0 + 3));
}

/// After a compaction the keys are as before; it cannot be done twice, nor in the future.
pub async fn compaction_drops_history_and_keeps_keys<S: Store>(store: &S) {
    put(store, "a", "1").await;
    put(store, "b", "1").await;
    let at = put(store, "a", "2").await;
    let before = store.range("").await.unwrap();
    store.compact(at).await.unwrap();
    assert_eq!(store.range("").await.unwrap(), before);
    assert!(matches!(store.compact(at).await, Err(StoreError::Compacted { .. })));
    let error = store.compact(Revision(at.0 + 100)).await.unwrap_err();
    assert!(matches!(error, StoreError::FutureRevision { current } if current == at), "{error}");
    assert_eq!(put(store, "a", "3").await, at.next());
}

/// History that is gone is not skipped over: the watch says so, and from where it can start.
pub async fn a_watch_from_compacted_history_is_refused<S: Store>(store: &S) {
    let first = put(store, "w/a", "1").await;
    put(store, "w/a", "2").await;
    let third = put(store, "w/a", "3").await;
    store.compact(third).await.unwrap();
    let error = match store.watch("w/", first).await {
        Ok(mut watch) => next(&mut watch).await.unwrap_err(),
        Err(error) => error,
    };
    let StoreError::Compacted { oldest } = error else { panic!("{error}") };
    assert_eq!(oldest, third);
    let mut watch = store.watch("w/", oldest).await.unwrap();
    assert_eq!(next(&mut watch).await.unwrap().revision, third);
}
