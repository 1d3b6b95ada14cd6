//! Every key, in memory: what the store says, as of now.
//!
//! Each request looks its key up, so the store is not asked then. The view follows the store's watch;
//! what this process itself wrote is applied before its caller hears of it, so that a key which was
//! revoked is refused from the next request on and not from the next message of the watch.
//!
//! Invariant: of two changes of one place the one with the higher revision stays, in whatever order
//! they come; a record that cannot be read is no key.
//!
//! Not here: writing (`identity`).

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock, Weak};
use std::time::Duration;

use tanist_store::{AnyStore, Event, KeyValue, Revision, Store, StoreError};
use tracing::warn;

use super::key::{Key, PREFIX, ROOT, RecordError};

/// How long to wait before the store is asked again after it failed.
const PAUSE: Duration = Duration::from_secs(1);

/// A place under the prefix. One that was emptied is remembered until the watch is past it.
type Place = (Revision, Option<Arc<Key>>);

#[derive(Debug, Default)]
pub(super) struct View {
    places: RwLock<BTreeMap<String, Place>>,
}

impl View {
    /// The key with this id, if it may be used.
    pub(super) fn key(&self, id: &str) -> Option<Arc<Key>> {
        let places = self.places.read().unwrap_or_else(PoisonError::into_inner);
        let at = |place: &str| places.get(place).and_then(|(_, key)| key.clone());
        [id, ROOT].into_iter().filter_map(at).find(|key| key.record.id == id)
    }

    pub(super) fn root(&self) -> Option<(Revision, Arc<Key>)> {
        let places = self.places.read().unwrap_or_else(PoisonError::into_inner);
        let (revision, key) = places.get(ROOT)?;
        Some((*revision, key.clone()?))
    }

    /// Every key, by place.
    pub(super) fn keys(&self) -> Vec<Arc<Key>> {
        let places = self.places.read().unwrap_or_else(PoisonError::into_inner);
        places.values().filter_map(|(_, key)| key.clone()).collect()
    }

    /// Takes a change in, unless a later one is known.
    pub(super) fn apply(&self, place: &str, revision: Revision, key: Option<Key>) {
        let mut places = self.places.write().unwrap_or_else(PoisonError::into_inner);
        if places.get(place).is_none_or(|(known, _)| *known <= revision) {
            places.insert(place.to_owned(), (revision, key.map(Arc::new)));
        }
    }

    /// Forgets emptied places that nothing older than `revision` can come for any more.
    fn forget(&self, revision: Revision) {
        let mut places = self.places.write().unwrap_or_else(PoisonError::into_inner);
        places.retain(|_, (emptied, key)| key.is_some() || *emptied > revision);
    }

    /// Takes the store's whole state in.
    pub(super) fn load(&self, records: &[KeyValue], revision: Revision) {
        let known: Vec<String> = {
            let places = self.places.read().unwrap_or_else(PoisonError::into_inner);
            places.keys().cloned().collect()
        };
        for place in known {
            if !records.iter().any(|record| record.key.strip_prefix(PREFIX) == Some(&place)) {
                self.apply(&place, revision, None);
            }
        }
        for record in records {
            self.put(record);
        }
        self.forget(revision);
    }

    fn put(&self, record: &KeyValue) {
        let Some(place) = record.key.strip_prefix(PREFIX) else { return };
        let key = readable(place, Key::read(place, &record.value));
        self.apply(place, record.mod_revision, key);
    }

    fn hear(&self, event: &Event) {
        match event {
            Event::Put(record) => self.put(record),
            Event::Delete { key, mod_revision } => {
                if let Some(place) = key.strip_prefix(PREFIX) {
                    self.apply(place, *mod_revision, None);
                }
            }
        }
    }
}

fn readable(place: &str, read: Result<Key, RecordError>) -> Option<Key> {
    let warned = |err: &RecordError| {
        warn!(place, err = err as &dyn std::error::Error, "an access key's record is unusable");
    };
    read.inspect_err(warned).ok()
}

/// Keeps a view as the store is, until the store is closed or nobody holds the view any more.
pub(super) async fn follow(store: AnyStore, view: Weak<View>, mut from: Revision) {
    loop {
        match changes(&store, &view, &mut from).await {
            Some(StoreError::Closed) | None => return,
            Some(StoreError::Compacted { .. }) => {}
            Some(err) => {
                warn!(err = &err as &dyn std::error::Error, "following the access keys");
                // waits: the store offers no event for being well again.
                tokio::time::sleep(PAUSE).await;
            }
        }
        match (store.range(PREFIX).await, view.upgrade()) {
            (_, None) | (Err(StoreError::Closed), _) => return,
            (Ok((records, revision)), Some(view)) => {
                view.load(&records, revision);
                from = revision.next();
            }
            // The next watch fails too, and waits.
            (Err(_), Some(_)) => {}
        }
    }
}

/// Takes changes in until the watch ends; `None` when the view is gone.
async fn changes(store: &AnyStore, view: &Weak<View>, from: &mut Revision) -> Option<StoreError> {
    let mut watch = match store.watch(PREFIX, *from).await {
        Ok(watch) => watch,
        Err(err) => return Some(err),
    };
    while let Some(batch) = watch.next().await {
        let view = view.upgrade()?;
        match batch {
            Ok(batch) => {
                batch.events.iter().for_each(|event| view.hear(event));
                view.forget(batch.revision);
                *from = batch.revision.next();
            }
            Err(err) => return Some(err),
        }
    }
    Some(StoreError::Closed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::key::Record;

    fn key(id: &str) -> Key {
        let record = Record { id: id.to_owned(), name: "n".to_owned(), policy: None, created: 0 };
        Key { record, policy: None, is_root: false }
    }

    #[test]
    fn an_older_change_does_not_undo_a_newer_one() {
        let view = View::default();
        view.apply("A", Revision(5), None);
        view.apply("A", Revision(4), Some(key("A")));
        assert!(view.key("A").is_none());
        view.forget(Revision(4));
        view.apply("A", Revision(4), Some(key("A")));
        assert!(view.key("A").is_none());
        view.forget(Revision(5));
        assert!(view.places.read().unwrap().is_empty());
    }

    #[test]
    fn the_name_of_a_place_is_no_key() {
        let view = View::default();
        view.apply(ROOT, Revision(1), Some(key("AKIAROOT")));
        assert!(view.key("AKIAROOT").is_some());
        assert!(view.key(ROOT).is_none());
        assert!(view.key("").is_none());
    }

    #[test]
    fn a_whole_state_replaces_what_is_older_and_keeps_what_is_newer() {
        let view = View::default();
        view.apply("GONE", Revision(2), Some(key("GONE")));
        view.apply("NEW", Revision(9), Some(key("NEW")));
        let record = KeyValue {
            key: format!("{PREFIX}KEPT"),
            value: key("KEPT").record.write().unwrap(),
            create_revision: Revision(3),
            mod_revision: Revision(3),
            version: 1,
            lease: None,
        };
        let broken =
            KeyValue { key: format!("{PREFIX}BROKEN"), value: b"{".to_vec(), ..record.clone() };
        view.load(&[record, broken], Revision(7));
        assert!(view.key("GONE").is_none());
        assert!(view.key("BROKEN").is_none());
        assert!(view.key("KEPT").is_some() && view.key("NEW").is_some());
        assert_eq!(view.keys().len(), 2);
    }
}
