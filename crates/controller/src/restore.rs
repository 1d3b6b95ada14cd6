//! Putting a copy back into a store that is empty, while nobody leads.
//!
//! Several transactions are needed. The first one says that a copy is being put back, the last one
//! that it is done; in between nobody leads by the store, and whoever was interrupted begins again
//! with the same file.
//!
//! Invariant: nothing that anybody has asked for is overwritten: a store with a group, a user or what
//! is remembered of either is refused.
//!
//! Not here: what hosts know better than the copy (`tanist_core::decide`), the file
//! (`tanist_link::backup`).

use std::time::Duration;

use tanist_link::backup::Backup;
use tanist_store::{AnyStore, KeyValue, MAX_TXN_BYTES, Revision, Store, StoreError, Txn};
use tokio::time::sleep;

use crate::backup::is_copied;
use crate::keys;

/// How long a leader is listened for: several times what it may be silent.
const LISTEN: Duration = Duration::from_secs(2);
/// Keys in one transaction.
const KEYS: usize = 100;
/// Bytes of one transaction that are used: the rest is for what every one has.
const BYTES: usize = MAX_TXN_BYTES - 8192;
/// What nobody has asked for: it comes by itself when somebody leads.
const BY_ITSELF: [&str; 3] = [keys::HOSTS, keys::EVENTS, "aws/key/root"];

/// Why a copy was not put back.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// Somebody leads by this store.
    #[error("a server leads by this store at this moment")]
    Led,
    /// It holds something.
    #[error("the store is not empty: it has {key}")]
    NotEmpty {
        /// A key of it.
        key: String,
    },
    /// Another copy was begun with.
    #[error("another copy was being put back into this store, and is not whole")]
    Another,
    /// Somebody has written to it meanwhile.
    #[error("somebody else has written to the store meanwhile")]
    Disturbed,
    /// The store failed.
    #[error("writing to the store")]
    Store(#[from] StoreError),
}

/// What was put back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Restored {
    /// Keys.
    pub keys: usize,
    /// Groups among them.
    pub groups: usize,
}

/// Puts a copy back; `said` hears how many keys are written.
///
/// # Errors
/// [`RestoreError`]; then nothing was written, or what was is of no use until it is begun again.
pub async fn restore(
    store: &AnyStore,
    backup: &Backup,
    mut said: impl FnMut(usize),
) -> Result<Restored, RestoreError> {
    let (all, _) = store.range("").await?;
    let begun = all.iter().find(|kv| kv.key == keys::RESTORING);
    if begun.is_some_and(|kv| kv.value != backup.digest.as_bytes()) {
        return Err(RestoreError::Another);
    }
    let is_led = || async {
        let (beat, _) = store.get(keys::BEAT).await?;
        Ok::<_, StoreError>(beat.map_or(Revision::ABSENT, |kv| kv.mod_revision))
    };
    let before = is_led().await?;
    if all.iter().any(|kv| kv.key.starts_with(keys::LEADERSHIP)) {
        // waits: silence is the event.
        sleep(LISTEN).await;
    }
    if is_led().await? != before {
        return Err(RestoreError::Led);
    }
    if let Some(kv) = all.iter().find(|kv| begun.is_none() && !may_be_there(kv)) {
        return Err(RestoreError::NotEmpty { key: kv.key.clone() });
    }
    let revision = begin(store, backup, begun).await?;
    let mut written = 0;
    for part in parts(backup) {
        let mut txn = Txn::new().when_unchanged(keys::RESTORING, revision);
        for (key, value) in &part {
            txn = txn.put(*key, *value);
        }
        commit(store, txn).await?;
        written += part.len();
        said(written);
    }
    let end = Txn::new().when_unchanged(keys::RESTORING, revision).delete(keys::RESTORING);
    commit(store, end).await?;
    let groups = backup.keys.iter().filter(|(key, _)| key.starts_with(keys::SPECS)).count();
    Ok(Restored { keys: written, groups })
}

/// Whether a key is nothing that anybody has asked for.
fn may_be_there(kv: &KeyValue) -> bool {
    !is_copied(&kv.key) || BY_ITSELF.iter().any(|prefix| kv.key.starts_with(prefix))
}

/// Says that a copy is being put back. Whoever leads finds out by the term, which is another one now.
async fn begin(
    store: &AnyStore,
    backup: &Backup,
    begun: Option<&KeyValue>,
) -> Result<Revision, RestoreError> {
    if let Some(kv) = begun {
        return Ok(kv.mod_revision);
    }
    let txn = Txn::new().when_absent(keys::RESTORING).put(keys::RESTORING, &*backup.digest);
    commit(store, txn).await
}

async fn commit(store: &AnyStore, txn: Txn) -> Result<Revision, RestoreError> {
    let outcome = store.txn(txn).await?;
    if outcome.committed { Ok(outcome.revision) } else { Err(RestoreError::Disturbed) }
}

/// The copy in parts, each of which a transaction can hold.
fn parts(backup: &Backup) -> Vec<Vec<(&str, &[u8])>> {
    let mut parts: Vec<Vec<(&str, &[u8])>> = Vec::new();
    let mut bytes = 0;
    for (key, value) in backup.keys.iter().filter(|(key, _)| is_copied(key)) {
        let more = key.len() + value.len();
        match parts.last_mut() {
            Some(part) if part.len() < KEYS && bytes + more <= BYTES => {
                part.push((key, value));
                bytes += more;
            }
            _ => {
                parts.push(vec![(key, value)]);
                bytes = more;
            }
        }
    }
    parts
}
