//! What can go wrong with the store.
//!
//! A caller has to tell three things apart: a request that can never work, a request that was not
//! applied and may be tried again, and one whose outcome nobody knows.
//!
//! Invariant: every error except `Unknown` means that nothing was applied.
//!
//! Not here: a compare that does not hold; that is an answer (`TxnOutcome::committed`).

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::model::{LeaseId, Revision};

/// The error of a backend, shared because one failed commit can answer several callers.
pub type Cause = Arc<dyn Error + Send + Sync>;

/// Every error of the store.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Another process has the store open.
    #[error("the store {} is in use by {}", .path.display(), holder(*.pid))]
    InUse {
        /// The store's directory.
        path: PathBuf,
        /// The process that holds the lock, where it is known.
        pid: Option<u32>,
    },
    /// The stored bytes are not what was written. Nothing was changed.
    #[error("the store {} is damaged: {detail}; {}", .path.display(), remedy(.copy.as_ref()))]
    Damaged {
        /// The damaged file.
        path: PathBuf,
        /// What was found, with page and offset where they are known.
        detail: String,
        /// The last good copy, if there is one.
        copy: Option<PathBuf>,
    },
    /// The store was written by a newer version of Tanist. Nothing was changed.
    #[error(
        "the store {} has format {found}, and this version knows formats up to {known}; \
         run the version that wrote it, or a newer one",
        .path.display()
    )]
    Newer {
        /// The store's file.
        path: PathBuf,
        /// The format that it has.
        found: u32,
        /// The newest format that this version reads.
        known: u32,
    },
    /// A copy cannot be put back.
    #[error("{} is not a usable copy of a store: {wrong}", .path.display())]
    BadCopy {
        /// The file that was given.
        path: PathBuf,
        /// Why not.
        wrong: String,
    },
    /// The configuration of a store on etcd cannot be used.
    #[error("{what} cannot be used: {wrong}")]
    BadEtcdConfig {
        /// The endpoint, the prefix, or what else it is about. Never a secret.
        what: String,
        /// What is wrong with it.
        wrong: &'static str,
    },
    /// A key under the store's prefix in etcd was not written by Tanist.
    #[error("etcd has a key under the store's prefix that is not the store's, {key}: {wrong}")]
    ForeignKey {
        /// Its first 64 bytes, with escapes.
        key: String,
        /// What is wrong with it.
        wrong: &'static str,
    },
    /// A file or directory of the store could not be used.
    #[error("{doing} {} failed", .path.display())]
    Files {
        /// What was being done.
        doing: &'static str,
        /// With what.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: Arc<std::io::Error>,
    },
    /// The disk is full, or the store has its largest size. Nothing was applied; the store goes
    /// on when there is room.
    #[error("{doing} failed because the disk is full or the store has reached its largest size")]
    Full {
        /// What was being done.
        doing: &'static str,
        /// The backend's error.
        #[source]
        source: Cause,
    },
    /// The store cannot be written. Nothing was applied.
    #[error("{doing} failed because the store is read-only")]
    ReadOnly {
        /// What was being done.
        doing: &'static str,
        /// The backend's error.
        #[source]
        source: Cause,
    },
    /// The backend failed. Nothing was applied.
    #[error("{doing} failed")]
    Backend {
        /// What was being done.
        doing: &'static str,
        /// The backend's error.
        #[source]
        source: Cause,
    },
    /// The request may have been applied or not, and may still show up after a restart. Read before
    /// trying again.
    #[error("the outcome of {doing} is unknown")]
    Unknown {
        /// What was being done.
        doing: &'static str,
        /// The backend's error, if there was one.
        #[source]
        source: Option<Cause>,
    },
    /// The store was closed. Nothing was applied.
    #[error("the store is closed")]
    Closed,
    /// A watch or a compaction asked for history that is gone.
    #[error("that revision is compacted away; the oldest one left is {oldest}")]
    Compacted {
        /// The oldest revision from which a watch can start.
        oldest: Revision,
    },
    /// A compaction asked for a revision that does not exist yet.
    #[error("that revision lies in the future; the store is at {current}")]
    FutureRevision {
        /// The store's revision.
        current: Revision,
    },
    /// The lease expired, was revoked or never existed.
    #[error("there is no lease {0}")]
    LeaseNotFound(LeaseId),
    /// A lease's time to live is not within `MIN_LEASE_TTL..=MAX_LEASE_TTL`.
    #[error("a lease of {ttl:?} is not within 1 second and 7 days")]
    TtlOutOfRange {
        /// What was asked for.
        ttl: Duration,
    },
    /// A key or prefix that the store does not take.
    #[error("the key {key:?} is not usable: {wrong}")]
    BadKey {
        /// Its first 64 characters.
        key: String,
        /// What is wrong with it.
        wrong: &'static str,
    },
    /// A value above `MAX_VALUE_BYTES`.
    #[error("the value of {key:?} has {bytes} bytes; at most 1048576 are stored")]
    ValueTooLarge {
        /// Its key.
        key: String,
        /// Its size.
        bytes: usize,
    },
    /// More than `MAX_TXN_OPS` operations or compares.
    #[error("the transaction has {ops} operations or compares; at most 128 are allowed")]
    TooManyOps {
        /// How many there are.
        ops: usize,
    },
    /// More than `MAX_TXN_BYTES`.
    #[error("the transaction has {bytes} bytes of keys and values; at most 1310720 are allowed")]
    TxnTooLarge {
        /// Its size.
        bytes: usize,
    },
    /// A transaction writes one key twice.
    #[error("the transaction writes the key {key:?} twice")]
    DuplicateKey {
        /// The key.
        key: String,
    },
    /// A `range` would answer more than `MAX_RANGE_BYTES`.
    #[error("the keys under {prefix:?} have more than 67108864 bytes")]
    RangeTooLarge {
        /// The prefix.
        prefix: String,
    },
    /// The store has as many keys or leases as it takes.
    #[error("the store has its full number of {what} ({limit})")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many it takes.
        limit: u64,
    },
}

impl StoreError {
    /// Whether the request may have been applied all the same.
    #[must_use]
    pub const fn outcome_unknown(&self) -> bool {
        matches!(self, Self::Unknown { .. })
    }

    /// Whether the same request may work later without any change to it: the fault is with the
    /// disk, the backend or a limit that others can free.
    #[must_use]
    pub const fn may_heal(&self) -> bool {
        matches!(
            self,
            Self::Full { .. }
                | Self::ReadOnly { .. }
                | Self::Backend { .. }
                | Self::Files { .. }
                | Self::InUse { .. }
                | Self::TooMany { .. }
        )
    }
}

fn holder(pid: Option<u32>) -> String {
    pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
}

fn remedy(copy: Option<&PathBuf>) -> String {
    match copy {
        Some(copy) => {
            format!("nothing was changed; restore the last good copy, {}", copy.display())
        }
        None => "nothing was changed, and there is no copy beside it to restore".to_owned(),
    }
}
