//! Claims about keys, transactions and snapshots.

use crate::conformance::put;
use crate::{
    Compare, MAX_KEY_BYTES, MAX_LEASE_TTL, MAX_RANGE_BYTES, MAX_TXN_BYTES, MAX_TXN_OPS,
    MAX_VALUE_BYTES, Op, Revision, Store, StoreError, Txn,
};

/// A key counts its writes, remembers its creation, and starts anew after a deletion.
pub async fn a_key_has_its_create_and_mod_revision_and_version<S: Store>(store: &S) {
    assert_eq!(store.get("a").await.unwrap().0, None);
    let first = put(store, "a", "1").await;
    let second = put(store, "a", "2").await;
    assert_eq!(second, first.next());
    let (kv, at) = store.get("a").await.unwrap();
    let kv = kv.unwrap();
    assert_eq!(at, second);
    assert_eq!((kv.create_revision, kv.mod_revision, kv.version), (first, second, 2));
    assert_eq!((kv.key.as_str(), kv.value.as_slice(), kv.lease), ("a", &b"2"[..], None));
    store.txn(Txn::new().delete("a")).await.unwrap();
    assert_eq!(store.get("a").await.unwrap().0, None);
    let again = put(store, "a", "3").await;
    let kv = store.get("a").await.unwrap().0.unwrap();
    assert_eq!((kv.create_revision, kv.mod_revision, kv.version), (again, again, 1));
}

/// Values are opaque: empty, every byte, and the largest size.
pub async fn any_bytes_come_back_as_they_were_put<S: Store>(store: &S) {
    let every: Vec<u8> = (0..=255).collect();
    let large: Vec<u8> = (0..MAX_VALUE_BYTES).map(|n| (n % 251) as u8).collect();
    let long = "k".repeat(MAX_KEY_BYTES);
    for value in [Vec::new(), every, large] {
        store.txn(Txn::new().put(&*long, value.clone())).await.unwrap();
        let kv = store.get(&long).await.unwrap().0.unwrap();
        assert!(kv.value == value, "{} bytes differ", value.len());
    }
}

/// Compare-and-set: both saw the same revision, one commits.
pub async fn of_two_commits_on_one_revision_one_wins<S: Store>(store: &S) {
    let seen = put(store, "topology", "0").await;
    let commit = |value: &'static str| {
        let store = store.clone();
        let txn = Txn::new().when_unchanged("topology", seen).put("topology", value);
        tokio::spawn(async move { store.txn(txn).await.unwrap() })
    };
    let (one, two) = (commit("1"), commit("2"));
    let (one, two) = (one.await.unwrap(), two.await.unwrap());
    assert!(one.committed != two.committed, "{one:?} {two:?}");
    let kv = store.get("topology").await.unwrap().0.unwrap();
    assert_eq!(kv.value, if one.committed { b"1" } else { b"2" });
    let winner = if one.committed { one } else { two };
    assert_eq!(kv.mod_revision, winner.revision);
}

/// No increment is lost between writers that retry.
pub async fn concurrent_increments_are_all_counted<S: Store>(store: &S) {
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move {
                for _ in 0..20 {
                    increment(&store).await;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let kv = store.get("count").await.unwrap().0.unwrap();
    assert_eq!((kv.value.as_slice(), kv.version), (&b"160"[..], 160));
}

async fn increment<S: Store>(store: &S) {
    loop {
        let found = store.get("count").await.unwrap().0;
        let (seen, count) = match found {
            Some(kv) => (kv.mod_revision, String::from_utf8(kv.value).unwrap().parse().unwrap()),
            None => (Revision::ABSENT, 0u64),
        };
        let next = (count + 1).to_string();
        let txn = Txn::new().when_unchanged("count", seen).put("count", next);
        if store.txn(txn).await.unwrap().committed {
            return;
        }
    }
}

/// Each kind of compare, on a key that exists and on one that does not.
pub async fn each_compare_holds_exactly_when_it_says<S: Store>(store: &S) {
    let at = put(store, "here", "v").await;
    let key = |name: &str| name.to_owned();
    let cases = [
        (Compare::ModRevision { key: key("here"), revision: at }, true),
        (Compare::ModRevision { key: key("here"), revision: at.next() }, false),
        (Compare::ModRevision { key: key("here"), revision: Revision::ABSENT }, false),
        (Compare::ModRevision { key: key("gone"), revision: Revision::ABSENT }, true),
        (Compare::ModRevision { key: key("gone"), revision: at }, false),
        (Compare::Exists { key: key("here") }, true),
        (Compare::Exists { key: key("gone") }, false),
        (Compare::NotExists { key: key("here") }, false),
        (Compare::NotExists { key: key("gone") }, true),
        (Compare::Value { key: key("here"), value: b"v".to_vec() }, true),
        (Compare::Value { key: key("here"), value: b"w".to_vec() }, false),
        (Compare::Value { key: key("gone"), value: Vec::new() }, false),
    ];
    for (compare, holds) in cases {
        let mut txn = Txn::new().put("mark", "x");
        txn.compares.push(compare.clone());
        assert_eq!(store.txn(txn).await.unwrap().committed, holds, "{compare:?}");
    }
}

/// If one compare of several fails, no write happens and no revision passes.
pub async fn a_failed_compare_changes_nothing<S: Store>(store: &S) {
    put(store, "a", "1").await;
    let before = store.range("").await.unwrap();
    let mut txn = Txn::new().when_absent("b").put("b", "2").delete("a").put("c", "3");
    txn.compares.push(Compare::Value { key: "a".to_owned(), value: b"other".to_vec() });
    let outcome = store.txn(txn).await.unwrap();
    assert!(!outcome.committed);
    assert_eq!(outcome.revision, before.1);
    assert_eq!(store.range("").await.unwrap(), before);
}

/// All writes of a transaction have its one revision; the next one has the next.
pub async fn a_transaction_is_one_revision<S: Store>(store: &S) {
    let before = put(store, "old", "x").await;
    let txn = Txn::new().put("a", "1").put("b", "2").delete("old").put("c", "3");
    let outcome = store.txn(txn).await.unwrap();
    assert_eq!(outcome.revision, before.next());
    let (keys, at) = store.range("").await.unwrap();
    assert_eq!(at, outcome.revision);
    let names: Vec<_> = keys.iter().map(|kv| kv.key.as_str()).collect();
    assert_eq!(names, ["a", "b", "c"]);
    assert!(keys.iter().all(|kv| kv.mod_revision == at && kv.create_revision == at));
    assert_eq!(put(store, "d", "4").await, at.next());
}

/// Deleting nothing and writing nothing leave the revision where it is.
pub async fn a_transaction_that_changes_nothing_is_no_revision<S: Store>(store: &S) {
    let at = put(store, "a", "1").await;
    for txn in [Txn::new(), Txn::new().delete("b"), Txn::new().when_absent("b")] {
        let outcome = store.txn(txn).await.unwrap();
        assert!(outcome.committed);
        assert_eq!(outcome.revision, at);
    }
}

/// A prefix ends where its bytes end, whatever follows in the order of keys.
pub async fn a_range_has_exactly_the_keys_of_its_prefix_in_order<S: Store>(store: &S) {
    for key in ["p/b", "p/a", "p", "p0", "p/\u{10ffff}", "p/é", "o/z", "p/a/1", "q"] {
        put(store, key, "x").await;
    }
    let names = |keys: Vec<crate::KeyValue>| keys.into_iter().map(|kv| kv.key).collect::<Vec<_>>();
    let (found, _) = store.range("p/").await.unwrap();
    assert_eq!(names(found), ["p/a", "p/a/1", "p/b", "p/é", "p/\u{10ffff}"]);
    assert_eq!(store.range("").await.unwrap().0.len(), 9);
    assert_eq!(names(store.range("p/\u{10ffff}").await.unwrap().0), ["p/\u{10ffff}"]);
    assert!(store.range("nothing").await.unwrap().0.is_empty());
}

/// What lies before the start is not read, and a start outside of the prefix adds nothing.
pub async fn a_range_from_a_key_begins_there_and_ends_with_its_prefix<S: Store>(store: &S) {
    for key in ["o/z", "p/1", "p/2", "p/3", "q/1"] {
        put(store, key, "x").await;
    }
    let names = async |prefix: &str, start: &str| {
        let (found, at) = store.range_from(prefix, start).await.unwrap();
        assert_eq!(at, store.range(prefix).await.unwrap().1);
        found.into_iter().map(|kv| kv.key).collect::<Vec<_>>()
    };
    assert_eq!(names("p/", "p/2").await, ["p/2", "p/3"]);
    assert_eq!(names("p/", "p/20").await, ["p/3"]);
    assert_eq!(names("p/", "a").await, ["p/1", "p/2", "p/3"]);
    assert_eq!(names("p/", "").await, ["p/1", "p/2", "p/3"]);
    assert_eq!(names("", "p/3").await, ["p/3", "q/1"]);
    assert!(names("p/", "p/4").await.is_empty());
    assert!(names("p/", "q/1").await.is_empty());
    // Enough that reading all of it would be refused.
    let (large, count) = (vec![0; MAX_VALUE_BYTES], MAX_RANGE_BYTES / MAX_VALUE_BYTES + 1);
    for n in 0..count {
        store.txn(Txn::new().put(format!("large/{n:03}"), large.clone())).await.unwrap();
    }
    let all = store.range("large/").await.unwrap_err();
    assert!(matches!(all, StoreError::RangeTooLarge { .. }), "{all}");
    let (last, _) = store.range_from("large/", "large/060").await.unwrap();
    assert_eq!(last.len(), count - 60);
    let long = "k".repeat(MAX_KEY_BYTES + 1);
    let error = store.range_from("p/", &long).await.unwrap_err();
    assert!(matches!(error, StoreError::BadKey { .. }));
}

/// Two keys that are always written together are never read apart.
pub async fn a_range_is_one_snapshot<S: Store>(store: &S) {
    let writer = store.clone();
    let writing = tokio::spawn(async move {
        for n in 0..200 {
            let value = n.to_string();
            let txn = Txn::new().put("pair/a", value.clone()).put("pair/b", value);
            writer.txn(txn).await.unwrap();
        }
    });
    let mut last = Revision::ABSENT;
    let mut reads = 0;
    while !writing.is_finished() || reads == 0 {
        let (pair, at) = store.range("pair/").await.unwrap();
        assert!(at >= last, "{at} after {last}");
        last = at;
        if let [a, b] = pair.as_slice() {
            assert_eq!((&a.value, a.mod_revision), (&b.value, b.mod_revision));
            assert_eq!(a.mod_revision, at, "no other key is written here");
        }
        reads += 1;
    }
    writing.await.unwrap();
}

/// After the answer to a commit every read has it.
pub async fn a_read_sees_what_was_acknowledged_before_it<S: Store>(store: &S) {
    for n in 0..100 {
        let at = put(store, "a", &n.to_string()).await;
        let (kv, seen) = store.get("a").await.unwrap();
        assert_eq!(kv.unwrap().mod_revision, at);
        assert!(seen >= at);
    }
}

/// Requests over a limit get an error that names it, and change nothing.
pub async fn what_is_over_a_limit_is_refused_by_name<S: Store>(store: &S) {
    let before = put(store, "a", "1").await;
    let long = "k".repeat(MAX_KEY_BYTES + 1);
    let large = vec![0; MAX_VALUE_BYTES + 1];
    let put_all =
        |count: usize| (0..count).fold(Txn::new(), |txn, n| txn.put(format!("n/{n}"), "x"));
    let refused = async |txn: Txn| store.txn(txn).await.unwrap_err();
    assert!(matches!(refused(Txn::new().put(&*long, "x")).await, StoreError::BadKey { .. }));
    assert!(matches!(refused(Txn::new().put("", "x")).await, StoreError::BadKey { .. }));
    assert!(matches!(refused(Txn::new().delete("a\0")).await, StoreError::BadKey { .. }));
    let error = refused(Txn::new().put("b", large)).await;
    assert!(matches!(error, StoreError::ValueTooLarge { bytes, .. } if bytes > MAX_VALUE_BYTES));
    let error = refused(put_all(MAX_TXN_OPS + 1)).await;
    assert!(matches!(error, StoreError::TooManyOps { ops } if ops == MAX_TXN_OPS + 1));
    let half = vec![0; MAX_TXN_BYTES / 2];
    let error = refused(Txn::new().put("b", half.clone()).put("c", half)).await;
    assert!(matches!(error, StoreError::TxnTooLarge { .. }), "{error}");
    let mut twice = Txn::new().put("b", "1");
    twice.then.push(Op::Delete { key: "b".to_owned() });
    assert!(matches!(refused(twice).await, StoreError::DuplicateKey { .. }));
    assert!(matches!(store.get(&long).await.unwrap_err(), StoreError::BadKey { .. }));
    assert!(matches!(store.range(&long).await.unwrap_err(), StoreError::BadKey { .. }));
    let error = store.watch(&long, before).await.unwrap_err();
    assert!(matches!(error, StoreError::BadKey { .. }));
    for ttl in [std::time::Duration::ZERO, MAX_LEASE_TTL * 2] {
        let error = store.grant(ttl).await.unwrap_err();
        assert!(matches!(error, StoreError::TtlOutOfRange { .. }));
    }
    assert_eq!(store.range("").await.unwrap().1, before);
    assert!(store.txn(put_all(MAX_TXN_OPS)).await.unwrap().committed);
}
