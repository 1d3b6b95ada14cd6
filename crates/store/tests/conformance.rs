//! The embedded store passes the suite that every backend must pass.

#![allow(clippy::unwrap_used)]

use tanist_store::{AnyStore, Options, SqliteStore};
use tempfile::TempDir;

async fn open() -> (TempDir, AnyStore) {
    let home = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(home.path().join("store"), Options::default()).await.unwrap();
    (home, AnyStore::from(store))
}

tanist_store::conformance!(open);
