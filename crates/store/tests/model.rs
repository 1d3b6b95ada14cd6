//! Random transactions, compactions and restarts, compared with a model of a few lines.

// A test may stop at what it did not expect, and children talk over their output.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use proptest::prelude::*;
use tanist_store::{Compare, Event, Op, Options, Revision, SqliteStore, Store, StoreError, Txn};

#[derive(Debug, Clone)]
enum Step {
    Txn(Txn),
    Compact(u64),
    Reopen,
}

#[derive(Debug, Clone, PartialEq)]
struct Entry {
    value: Vec<u8>,
    created: u64,
    modified: u64,
    version: u64,
}

type Changed = (String, Option<Vec<u8>>);

#[derive(Debug)]
struct Model {
    keys: BTreeMap<String, Entry>,
    revision: u64,
    oldest: u64,
    /// By revision: what each changed key became.
    history: BTreeMap<u64, Vec<Changed>>,
}

impl Model {
    fn holds(&self, compare: &Compare) -> bool {
        let found = self.keys.get(compare.key());
        match compare {
            Compare::ModRevision { revision, .. } => {
                found.map_or(0, |entry| entry.modified) == revision.0
            }
            Compare::Exists { .. } => found.is_some(),
            Compare::NotExists { .. } => found.is_none(),
            Compare::Value { value, .. } => found.is_some_and(|entry| entry.value == *value),
        }
    }

    fn apply(&mut self, txn: &Txn) -> bool {
        if !txn.compares.iter().all(|compare| self.holds(compare)) {
            return false;
        }
        let at = self.revision + 1;
        let mut changes = Vec::new();
        for op in &txn.then {
            match op {
                Op::Put { key, value, .. } => {
                    let old = self.keys.get(key);
                    let entry = Entry {
                        value: value.clone(),
                        created: old.map_or(at, |old| old.created),
                        modified: at,
                        version: old.map_or(1, |old| old.version + 1),
                    };
                    self.keys.insert(key.clone(), entry);
                    changes.push((key.clone(), Some(value.clone())));
                }
                Op::Delete { key } => {
                    if self.keys.remove(key).is_some() {
                        changes.push((key.clone(), None));
                    }
                }
            }
        }
        if !changes.is_empty() {
            self.revision = at;
            self.history.insert(at, changes);
        }
        true
    }

    fn compact(&mut self, up_to: u64) -> bool {
        let possible = up_to > self.oldest && up_to <= self.revision;
        if possible {
            self.oldest = up_to;
        }
        possible
    }
}

fn key() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["a", "a/b", "a/c", "b", "é"]).prop_map(str::to_owned)
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        Just(Vec::new()),
        Just(b"x".to_vec()),
        Just(vec![7; 5000]),
        any::<[u8; 3]>().prop_map(Vec::from)
    ]
}

fn compare() -> impl Strategy<Value = Compare> {
    prop_oneof![
        (key(), 0u64..12)
            .prop_map(|(key, at)| Compare::ModRevision { key, revision: Revision(at) }),
        key().prop_map(|key| Compare::Exists { key }),
        key().prop_map(|key| Compare::NotExists { key }),
        (key(), value()).prop_map(|(key, value)| Compare::Value { key, value }),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        3 => (key(), value()).prop_map(|(key, value)| Op::Put { key, value, lease: None }),
        1 => key().prop_map(|key| Op::Delete { key }),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let compares = prop_oneof![2 => Just(Vec::new()), 1 => prop::collection::vec(compare(), 1..3)];
    let txn = (compares, prop::collection::vec(op(), 0..4));
    prop_oneof![
        12 => txn.prop_map(|(compares, then)| Step::Txn(Txn { compares, then })),
        1 => (0u64..30).prop_map(Step::Compact),
        1 => Just(Step::Reopen),
    ]
}

async fn open(path: &std::path::Path) -> SqliteStore {
    let options = Options { copy_every: None, ..Options::default() };
    SqliteStore::open(path, options).await.unwrap()
}

async fn compare_keys(store: &SqliteStore, model: &Model) {
    let (keys, at) = store.range("").await.unwrap();
    let found: BTreeMap<_, _> = keys
        .into_iter()
        .map(|kv| {
            let (created, modified) = (kv.create_revision.0, kv.mod_revision.0);
            (kv.key, Entry { value: kv.value, created, modified, version: kv.version })
        })
        .collect();
    assert_eq!((found, at.0), (model.keys.clone(), model.revision));
}

async fn compare_history(store: &SqliteStore, model: &Model) {
    let mut watch = store.watch("", Revision(model.oldest)).await.unwrap();
    for (at, changes) in model.history.range(model.oldest..) {
        let batch = watch.next().await.unwrap().unwrap();
        let found: Vec<_> = batch
            .events
            .into_iter()
            .map(|event| match event {
                Event::Put(kv) => (kv.key, Some(kv.value)),
                Event::Delete { key, .. } => (key, None),
            })
            .collect();
        assert_eq!((batch.revision.0, &found), (*at, changes));
    }
}

async fn run(steps: Vec<Step>) {
    let home = tempfile::tempdir().unwrap();
    let mut store = open(home.path()).await;
    let mut model =
        Model { keys: BTreeMap::new(), revision: 1, oldest: 1, history: BTreeMap::new() };
    for step in steps {
        match step {
            Step::Txn(txn) => match store.txn(txn.clone()).await {
                Ok(outcome) => {
                    assert_eq!(outcome.committed, model.apply(&txn));
                    assert_eq!(outcome.revision.0, model.revision);
                }
                Err(error) => {
                    assert!(matches!(error, StoreError::DuplicateKey { .. }), "{error}");
                }
            },
            Step::Compact(up_to) => {
                let done = store.compact(Revision(up_to)).await.is_ok();
                assert_eq!(done, model.compact(up_to));
            }
            Step::Reopen => {
                store.close().await;
                store = open(home.path()).await;
            }
        }
        compare_keys(&store, &model).await;
    }
    compare_history(&store, &model).await;
    store.close().await;
    let store = open(home.path()).await;
    compare_keys(&store, &model).await;
    store.close().await;
}

fn config() -> ProptestConfig {
    ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn the_store_does_what_the_model_does(steps in prop::collection::vec(step(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(run(steps));
    }
}
