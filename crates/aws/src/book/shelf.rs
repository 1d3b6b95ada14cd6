//! Records of one kind, by their ids.
//!
//! A change works on a copy of everything and is thrown away if it is refused, so a copy must cost
//! little: records are shared until somebody writes to one.
//!
//! Invariant: two shelves that share a record agree on it; writing to a record makes it the
//! writer's own.
//!
//! Not here: what the records are (`super::records`), where they are kept (`super`).

use std::collections::BTreeMap;
use std::sync::Arc;

/// Records by their ids, in the order of the ids.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Shelf<T> {
    records: BTreeMap<Arc<str>, Arc<T>>,
}

impl<T> Default for Shelf<T> {
    fn default() -> Self {
        Self { records: BTreeMap::new() }
    }
}

/// What became of one record between two states of a shelf.
pub(super) enum Changed<'a, T> {
    Put(&'a str, &'a T),
    Gone(&'a str),
}

impl<T: Clone + PartialEq> Shelf<T> {
    /// The record with this id.
    pub(crate) fn get(&self, id: &str) -> Option<&T> {
        self.records.get(id).map(Arc::as_ref)
    }

    /// The record with this id, to be written to.
    pub(crate) fn get_mut(&mut self, id: &str) -> Option<&mut T> {
        self.records.get_mut(id).map(Arc::make_mut)
    }

    /// The record with this id, which is made if there is none.
    #[cfg(test)]
    pub(crate) fn or_default(&mut self, id: &str) -> &mut T
    where
        T: Default,
    {
        Arc::make_mut(self.records.entry(Arc::from(id)).or_default())
    }

    /// Whether there is such a record.
    pub(crate) fn contains(&self, id: &str) -> bool {
        self.records.contains_key(id)
    }

    /// Puts a record; one with the same id is replaced.
    pub(crate) fn insert(&mut self, id: &str, record: T) {
        self.records.insert(Arc::from(id), Arc::new(record));
    }

    /// Takes a record away.
    pub(crate) fn remove(&mut self, id: &str) -> Option<Arc<T>> {
        self.records.remove(id)
    }

    /// Every record with its id, in the order of the ids.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &T)> {
        self.records.iter().map(|(id, record)| (id.as_ref(), record.as_ref()))
    }

    /// Every record, in the order of the ids.
    pub(crate) fn values(&self) -> impl Iterator<Item = &T> {
        self.records.values().map(Arc::as_ref)
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.records.len()
    }

    /// What must be written so that `before` becomes this.
    pub(super) fn since<'a>(&'a self, before: &'a Self) -> impl Iterator<Item = Changed<'a, T>> {
        let put = self.records.iter().filter_map(|(id, record)| match before.records.get(id) {
            Some(old) if Arc::ptr_eq(old, record) || old == record => None,
            _ => Some(Changed::Put(id.as_ref(), record.as_ref())),
        });
        let gone = before.records.keys().filter(|id| !self.records.contains_key(*id));
        put.chain(gone.map(|id| Changed::Gone(id.as_ref())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_is_written() {
        let mut before = Shelf::default();
        for id in ["a", "b", "c", "d"] {
            before.insert(id, 1);
        }
        let mut after = before.clone();
        *after.get_mut("a").unwrap() = 2;
        // Touched, and the same again.
        *after.get_mut("b").unwrap() = 1;
        after.remove("c");
        *after.or_default("e") += 5;
        let written: Vec<String> = after
            .since(&before)
            .map(|changed| match changed {
                Changed::Put(id, record) => format!("{id}={record}"),
                Changed::Gone(id) => format!("{id} gone"),
            })
            .collect();
        assert_eq!(written, ["a=2", "e=5", "c gone"]);
        assert_eq!((before.get("a"), before.len(), after.len()), (Some(&1), 4, 4));
    }
}
