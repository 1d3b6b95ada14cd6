//! The embedded store passes the suite that every backend must pass.

// A test may stop at what it did not expect, and children talk over their output.
#![allow(clippy::unwrap_used)]

use tanist_store::{AnyStore, Options, SqliteStore};
use tempfile::TempDir;
use tokio::runtime::Handle;

/// Closes the store before its directory is removed.
struct Guard {
    store: SqliteStore,
    _home: TempDir,
}

impl Drop for Guard {
    fn drop(&mut self) {
        tokio::task::block_in_place(|| Handle::current().block_on(self.store.close()));
    }
}

async fn open() -> (Guard, AnyStore) {
    let home = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(home.path().join("store"), Options::default()).await.unwrap();
    (Guard { store: store.clone(), _home: home }, AnyStore::from(store))
}

tanist_store::conformance!(open);
