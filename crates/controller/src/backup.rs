//! A copy of what the store has, for a file: every key at one revision.
//!
//! What belongs to the moment stays out: who leads, and whatever vanishes with a lease. The store is
//! read once, beside the loop, which never waits for it.
//!
//! Invariant: the copy is of one revision, and as large as one read of the store may be
//! (`tanist_store::MAX_RANGE_BYTES`).
//!
//! Not here: the file's format (`tanist_link::backup`), putting it back (`super::restore`).

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use tanist_link::backup::{BackupCheck, BackupError, BackupHead, BackupKey, BackupLine};
use tanist_store::{AnyStore, KeyValue, Store, StoreError};
use tracing::error;

use crate::clock::wall_ms;
use crate::keys;

/// Whether a copy has this key.
pub(crate) fn is_copied(key: &str) -> bool {
    // The mark of an etcd is of that etcd, not of what it holds.
    let own = [keys::TERM, keys::RESTORING, tanist_store::moving::MARK];
    !own.contains(&key) && !key.starts_with(keys::LEADERSHIP)
}

/// Everything as lines, one after the other, as fast as they are taken.
pub(crate) async fn stream_of(store: &AnyStore, region: String) -> Result<Response, StoreError> {
    let (all, revision) = store.range("").await?;
    let copied = |kv: &KeyValue| kv.lease.is_none() && is_copied(&kv.key);
    let all: Vec<KeyValue> = all.into_iter().filter(copied).collect();
    let head = BackupHead::new(region, wall_ms(), revision.0, all.len() as u64);
    let head = BackupLine::Tanist(head);
    let keys = all.into_iter().map(|kv| BackupLine::Key(BackupKey::new(kv.key, kv.value)));
    let mut check = BackupCheck::default();
    let mut lines = std::iter::once(head).chain(keys);
    let mut over = false;
    let bytes = std::iter::from_fn(move || {
        if over {
            return None;
        }
        let line = lines.next().unwrap_or_else(|| {
            over = true;
            check.end()
        });
        Some(check.take(&line).inspect_err(|err: &BackupError| {
            // Whoever reads it finds no end.
            error!(%err, "a backup cannot be written");
        }))
    });
    Ok(Body::from_stream(stream::iter(bytes)).into_response())
}
