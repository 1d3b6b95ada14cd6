//! The nouns of the store: revisions, keys and their values, transactions, events, leases.
//!
//! They follow etcd's v3 data model, because etcd is the backend of a fleet and because its rules
//! (one global revision, compare-then-write transactions) are what the controller's
//! compare-and-set commits need.
//!
//! Invariant: a value of these types that passed `Txn::check` or `check_key` is within every limit
//! below, so that no backend meets a request that another one would refuse.
//!
//! Not here: what a backend does with them (`sqlite`), and what the bytes mean (`tanist-core`).

use std::collections::BTreeSet;
use std::time::Duration;

use crate::error::StoreError;

/// Longest key and longest prefix, in bytes.
pub const MAX_KEY_BYTES: usize = 512;
/// Longest value, in bytes (1 MiB).
pub const MAX_VALUE_BYTES: usize = 1 << 20;
/// Most operations, and most compares, in one transaction (etcd's `--max-txn-ops`).
pub const MAX_TXN_OPS: usize = 128;
/// Most bytes of keys and values in one transaction, compares included: 1.25 MiB, so that the
/// request with its framing stays under etcd's 1.5 MiB.
pub const MAX_TXN_BYTES: usize = 5 << 18;
/// Most bytes of keys and values that one `range` answers (64 MiB).
pub const MAX_RANGE_BYTES: usize = 64 << 20;
/// Shortest lease: etcd counts whole seconds.
pub const MIN_LEASE_TTL: Duration = Duration::from_secs(1);
/// Longest lease: one week.
pub const MAX_LEASE_TTL: Duration = Duration::from_secs(7 * 24 * 3600);

/// A point in the store's history. It grows by one with every transaction that changes something;
/// an empty store is at 1, so 0 is the revision of what never existed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Revision(pub u64);

impl Revision {
    /// The `mod_revision` of a key that does not exist.
    pub const ABSENT: Self = Self(0);

    /// The revision after this one: where a watch starts that follows a snapshot.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl std::fmt::Display for Revision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// Names a lease. Never 0, never re-used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseId(pub u64);

impl std::fmt::Display for LeaseId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A granted lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// Its name.
    pub id: LeaseId,
    /// What was granted: at least what was asked. etcd rounds up to whole seconds and to its own
    /// floor (about 2 s), so keep-alives must be timed by this and not by the request.
    pub ttl: Duration,
}

/// One key as it is at some revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyValue {
    /// A UTF-8 path such as `topology/web/0001`.
    pub key: String,
    /// Opaque bytes.
    pub value: Vec<u8>,
    /// The revision that created the key (after its last deletion).
    pub create_revision: Revision,
    /// The revision that last wrote the key.
    pub mod_revision: Revision,
    /// 1 at creation, one more with each write.
    pub version: u64,
    /// The lease with which the key vanishes.
    pub lease: Option<LeaseId>,
}

/// A condition of a transaction. All of them must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Compare {
    /// The key was last written at exactly this revision; `Revision::ABSENT` holds when the key
    /// does not exist.
    ModRevision {
        /// The key.
        key: String,
        /// The revision that it must have.
        revision: Revision,
    },
    /// The key exists.
    Exists {
        /// The key.
        key: String,
    },
    /// The key does not exist.
    NotExists {
        /// The key.
        key: String,
    },
    /// The key exists and its value is exactly this.
    Value {
        /// The key.
        key: String,
        /// The value that it must have.
        value: Vec<u8>,
    },
}

impl Compare {
    /// The key that is looked at.
    #[must_use]
    pub fn key(&self) -> &str {
        match self {
            Self::ModRevision { key, .. }
            | Self::Exists { key }
            | Self::NotExists { key }
            | Self::Value { key, .. } => key,
        }
    }

    fn value(&self) -> &[u8] {
        if let Self::Value { value, .. } = self { value } else { &[] }
    }
}

/// One write of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Creates or overwrites a key. Without a lease, a former lease lets go of it.
    Put {
        /// The key.
        key: String,
        /// The new value.
        value: Vec<u8>,
        /// The lease with which the key shall vanish.
        lease: Option<LeaseId>,
    },
    /// Removes a key; nothing happens when it does not exist.
    Delete {
        /// The key.
        key: String,
    },
}

impl Op {
    /// The key that is written.
    #[must_use]
    pub fn key(&self) -> &str {
        match self {
            Self::Put { key, .. } | Self::Delete { key } => key,
        }
    }

    /// The lease with which the key shall vanish.
    #[must_use]
    pub const fn lease(&self) -> Option<LeaseId> {
        match self {
            Self::Put { lease, .. } => *lease,
            Self::Delete { .. } => None,
        }
    }

    fn value(&self) -> &[u8] {
        if let Self::Put { value, .. } = self { value } else { &[] }
    }
}

/// Compares and writes, done as one: either every compare holds and every write is applied, or
/// nothing changes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Txn {
    /// What must hold.
    pub compares: Vec<Compare>,
    /// What is written then. No key may occur twice.
    pub then: Vec<Op>,
}

impl Txn {
    /// An empty transaction, to be built up with the methods below.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the condition that `key` was last written at `revision` (`Revision::ABSENT`: that it
    /// does not exist).
    #[must_use]
    pub fn when_unchanged(mut self, key: impl Into<String>, revision: Revision) -> Self {
        self.compares.push(Compare::ModRevision { key: key.into(), revision });
        self
    }

    /// Adds the condition that `key` does not exist.
    #[must_use]
    pub fn when_absent(mut self, key: impl Into<String>) -> Self {
        self.compares.push(Compare::NotExists { key: key.into() });
        self
    }

    /// Adds a write without a lease.
    #[must_use]
    pub fn put(mut self, key: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        self.then.push(Op::Put { key: key.into(), value: value.into(), lease: None });
        self
    }

    /// Adds a write of a key that vanishes with `lease`.
    #[must_use]
    pub fn put_with_lease(
        mut self,
        key: impl Into<String>,
        value: impl Into<Vec<u8>>,
        lease: LeaseId,
    ) -> Self {
        self.then.push(Op::Put { key: key.into(), value: value.into(), lease: Some(lease) });
        self
    }

    /// Adds a deletion.
    #[must_use]
    pub fn delete(mut self, key: impl Into<String>) -> Self {
        self.then.push(Op::Delete { key: key.into() });
        self
    }

    /// Bytes of all keys and values in it.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let compares = self.compares.iter().map(|c| c.key().len() + c.value().len());
        let writes = self.then.iter().map(|op| op.key().len() + op.value().len());
        compares.chain(writes).sum()
    }

    /// Checks every limit. A backend calls it before anything else.
    ///
    /// # Errors
    /// `TooManyOps`, `BadKey`, `ValueTooLarge`, `TxnTooLarge` or `DuplicateKey`.
    pub fn check(&self) -> Result<(), StoreError> {
        let ops = self.compares.len().max(self.then.len());
        if ops > MAX_TXN_OPS {
            return Err(StoreError::TooManyOps { ops });
        }
        let mut written = BTreeSet::new();
        let compared = self.compares.iter().map(|c| (c.key(), c.value()));
        for (key, value) in compared.chain(self.then.iter().map(|op| (op.key(), op.value()))) {
            check_key(key)?;
            if value.len() > MAX_VALUE_BYTES {
                return Err(StoreError::ValueTooLarge { key: key.to_owned(), bytes: value.len() });
            }
        }
        for op in &self.then {
            if !written.insert(op.key()) {
                return Err(StoreError::DuplicateKey { key: op.key().to_owned() });
            }
        }
        let bytes = self.bytes();
        if bytes > MAX_TXN_BYTES {
            return Err(StoreError::TxnTooLarge { bytes });
        }
        Ok(())
    }
}

/// What became of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct TxnOutcome {
    /// Whether every compare held, and so every write was applied and is durable.
    pub committed: bool,
    /// The store's revision after the transaction. It is the `mod_revision` of what was put. It did
    /// not grow if nothing changed (a compare failed, or only absent keys were deleted).
    pub revision: Revision,
}

impl TxnOutcome {
    /// For backends: an outcome.
    #[must_use]
    pub const fn new(committed: bool, revision: Revision) -> Self {
        Self { committed, revision }
    }
}

/// One change of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The key was created or overwritten.
    Put(KeyValue),
    /// The key was deleted, by a transaction or with its lease.
    Delete {
        /// The key.
        key: String,
        /// The revision that removed it.
        mod_revision: Revision,
    },
}

impl Event {
    /// The key that changed.
    #[must_use]
    pub fn key(&self) -> &str {
        match self {
            Self::Put(kv) => &kv.key,
            Self::Delete { key, .. } => key,
        }
    }
}

/// Everything that one revision changed under a watched prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventBatch {
    /// The revision.
    pub revision: Revision,
    /// Its changes, at least one, in the order in which they were written.
    pub events: Vec<Event>,
}

/// Checks a key: 1 to `MAX_KEY_BYTES` bytes, no control characters.
///
/// # Errors
/// `BadKey`, which says what is wrong.
pub fn check_key(key: &str) -> Result<(), StoreError> {
    if key.is_empty() {
        return Err(StoreError::BadKey { key: String::new(), wrong: "it is empty" });
    }
    check_prefix(key)
}

/// Checks a prefix: as a key, but it may be empty (then it covers every key).
///
/// # Errors
/// `BadKey`, which says what is wrong.
pub fn check_prefix(prefix: &str) -> Result<(), StoreError> {
    let wrong = if prefix.len() > MAX_KEY_BYTES {
        "it is longer than 512 bytes"
    } else if prefix.chars().any(char::is_control) {
        "it has a control character"
    } else {
        return Ok(());
    };
    let key = prefix.chars().take(64).collect();
    Err(StoreError::BadKey { key, wrong })
}

/// Checks a lease's time to live and rounds it up to whole seconds, as every backend grants it.
///
/// # Errors
/// `TtlOutOfRange`.
pub fn whole_seconds(ttl: Duration) -> Result<Duration, StoreError> {
    if !(MIN_LEASE_TTL..=MAX_LEASE_TTL).contains(&ttl) {
        return Err(StoreError::TtlOutOfRange { ttl });
    }
    let more = u64::from(ttl.subsec_nanos() > 0);
    Ok(Duration::from_secs(ttl.as_secs() + more))
}

/// The first key that is past every key with this prefix; `None` when there is none.
#[must_use]
pub fn prefix_end(prefix: &str) -> Option<Vec<u8>> {
    let mut end = prefix.as_bytes().to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return Some(end);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_rounded_up_to_whole_seconds() {
        assert_eq!(whole_seconds(Duration::from_millis(1001)).unwrap(), Duration::from_secs(2));
        assert_eq!(whole_seconds(MIN_LEASE_TTL).unwrap(), MIN_LEASE_TTL);
        assert_eq!(whole_seconds(MAX_LEASE_TTL).unwrap(), MAX_LEASE_TTL);
        assert!(whole_seconds(Duration::from_millis(999)).is_err());
        assert!(whole_seconds(MAX_LEASE_TTL + Duration::from_nanos(1)).is_err());
    }

    #[test]
    fn the_end_of_a_prefix_is_past_its_keys_and_before_the_next() {
        assert_eq!(prefix_end("a/").unwrap(), b"a0");
        assert!(prefix_end("").is_none());
        let end = prefix_end("a/").unwrap();
        assert!("a/\u{10ffff}".as_bytes() < end.as_slice());
    }

    #[test]
    fn a_key_with_a_control_character_is_refused() {
        for key in ["", "a\0b", "a\nb", "\u{7f}"] {
            assert!(matches!(check_key(key), Err(StoreError::BadKey { .. })), "{key:?}");
        }
        assert!(check_key("topology/web/0001").is_ok());
        assert!(check_key("ünïcode/ключ").is_ok());
    }
}
