//! The one interface to the store, and the value that holds a backend.
//!
//! `Store` is a trait with native `async fn`s, so it has no trait objects. Code that is written
//! against the store takes `S: Store` where it is small (the conformance suite) and holds an
//! `AnyStore` where it is large (the controller): a new backend is then a new variant here and
//! makes no other type generic.
//!
//! Invariant: every backend passes `conformance` unchanged.
//!
//! Not here: a backend itself (`sqlite`, `etcd`).

use std::future::Future;
use std::time::Duration;

use crate::error::StoreError;
use crate::etcd::EtcdStore;
use crate::model::{KeyValue, Lease, LeaseId, Revision, Txn, TxnOutcome};
use crate::sqlite::SqliteStore;
use crate::watch::Watch;

/// Remembers decisions: a revisioned map of keys with compare-and-set, watches and leases.
///
/// Handles are cheap to clone and share one store. Reads see every transaction that was
/// acknowledged before they began, and only durable ones.
pub trait Store: Clone + Send + Sync + 'static {
    /// Reads one key, and the store's revision at that moment.
    ///
    /// # Errors
    /// `BadKey`, or that the backend failed.
    fn get(
        &self,
        key: &str,
    ) -> impl Future<Output = Result<(Option<KeyValue>, Revision), StoreError>> + Send;

    /// Reads every key that begins with `prefix` (`""`: all of them), in the order of their bytes,
    /// and the revision of this one snapshot.
    ///
    /// # Errors
    /// `BadKey`, `RangeTooLarge`, or that the backend failed.
    fn range(
        &self,
        prefix: &str,
    ) -> impl Future<Output = Result<(Vec<KeyValue>, Revision), StoreError>> + Send;

    /// Reads every key that begins with `prefix` and does not come before `start`, in the order of
    /// their bytes, and the revision of this one snapshot. It costs what it answers.
    ///
    /// # Errors
    /// As of [`Store::range`].
    fn range_from(
        &self,
        prefix: &str,
        start: &str,
    ) -> impl Future<Output = Result<(Vec<KeyValue>, Revision), StoreError>> + Send;

    /// Applies all writes if all compares hold, as one revision. An answer means that it is
    /// durable. A caller that stops waiting does not undo it.
    ///
    /// # Errors
    /// The limits of `Txn::check`, `LeaseNotFound`, `TooMany`, or that the backend failed; only
    /// after `Unknown` may it have been applied.
    fn txn(&self, txn: Txn) -> impl Future<Output = Result<TxnOutcome, StoreError>> + Send;

    /// Watches every key that begins with `prefix`, beginning with the changes of revision `from`
    /// (0 is taken as 1). To follow a snapshot, pass its revision's `next()`.
    ///
    /// # Errors
    /// `BadKey`; `Compacted` when `from` is gone, here or as the first item of the stream; or
    /// that the backend failed.
    fn watch(
        &self,
        prefix: &str,
        from: Revision,
    ) -> impl Future<Output = Result<Watch, StoreError>> + Send;

    /// Forgets the history before `up_to`; current keys stay. Watches can start at `up_to`.
    ///
    /// # Errors
    /// `FutureRevision`, `Compacted` when that was done before, or that the backend failed.
    fn compact(&self, up_to: Revision) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Grants a lease of at least `ttl`. Keys that are put with it vanish when it ends.
    ///
    /// # Errors
    /// `TtlOutOfRange`, `TooMany`, or that the backend failed.
    fn grant(&self, ttl: Duration) -> impl Future<Output = Result<Lease, StoreError>> + Send;

    /// Lets the lease last for its full time again, counted from now; answers that time.
    ///
    /// # Errors
    /// `LeaseNotFound`: it ended, and its keys are gone or about to be.
    fn keep_alive(&self, id: LeaseId) -> impl Future<Output = Result<Duration, StoreError>> + Send;

    /// Ends the lease at once; its keys vanish in one revision.
    ///
    /// # Errors
    /// `LeaseNotFound`, or that the backend failed.
    fn revoke(&self, id: LeaseId) -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// Some backend.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum AnyStore {
    /// Embedded, for one server.
    Sqlite(SqliteStore),
    /// etcd, for several.
    Etcd(EtcdStore),
}

impl From<SqliteStore> for AnyStore {
    fn from(store: SqliteStore) -> Self {
        Self::Sqlite(store)
    }
}

impl From<EtcdStore> for AnyStore {
    fn from(store: EtcdStore) -> Self {
        Self::Etcd(store)
    }
}

impl Store for AnyStore {
    async fn get(&self, key: &str) -> Result<(Option<KeyValue>, Revision), StoreError> {
        match self {
            Self::Sqlite(store) => store.get(key).await,
            Self::Etcd(store) => store.get(key).await,
        }
    }

    async fn range(&self, prefix: &str) -> Result<(Vec<KeyValue>, Revision), StoreError> {
        match self {
            Self::Sqlite(store) => store.range(prefix).await,
            Self::Etcd(store) => store.range(prefix).await,
        }
    }

    async fn range_from(
        &self,
        prefix: &str,
        start: &str,
    ) -> Result<(Vec<KeyValue>, Revision), StoreError> {
        match self {
            Self::Sqlite(store) => store.range_from(prefix, start).await,
            Self::Etcd(store) => store.range_from(prefix, start).await,
        }
    }

    async fn txn(&self, txn: Txn) -> Result<TxnOutcome, StoreError> {
        match self {
            Self::Sqlite(store) => store.txn(txn).await,
            Self::Etcd(store) => store.txn(txn).await,
        }
    }

    async fn watch(&self, prefix: &str, from: Revision) -> Result<Watch, StoreError> {
        match self {
            Self::Sqlite(store) => store.watch(prefix, from).await,
            Self::Etcd(store) => store.watch(prefix, from).await,
        }
    }

    async fn compact(&self, up_to: Revision) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(store) => store.compact(up_to).await,
            Self::Etcd(store) => store.compact(up_to).await,
        }
    }

    async fn grant(&self, ttl: Duration) -> Result<Lease, StoreError> {
        match self {
            Self::Sqlite(store) => store.grant(ttl).await,
            Self::Etcd(store) => store.grant(ttl).await,
        }
    }

    async fn keep_alive(&self, id: LeaseId) -> Result<Duration, StoreError> {
        match self {
            Self::Sqlite(store) => store.keep_alive(id).await,
            Self::Etcd(store) => store.keep_alive(id).await,
        }
    }

    async fn revoke(&self, id: LeaseId) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(store) => store.revoke(id).await,
            Self::Etcd(store) => store.revoke(id).await,
        }
    }
}
