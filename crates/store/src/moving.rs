//! Moving an installation's state from one store into another.
//!
//! Everything is compared before it is written and read again after it, so that a copy that was cut short
//! goes on where it was, and one that is whole says so. A key of its own, the mark, says in the new store
//! whose state it is; every write compares it, so that of two that copy at the same time one fails.
//!
//! Invariant: nothing of anybody else is changed: a store without the mark has to be empty. What a lease
//! holds stays behind, because it is of who is there now.
//!
//! Not here: seeing to it that nobody else writes meanwhile, and from where an installation goes on
//! (`tanist`).

use std::collections::BTreeMap;
use std::fmt;

use crate::error::StoreError;
use crate::model::{KeyValue, MAX_TXN_OPS, Revision, Txn};
use crate::store::Store;

/// The mark.
pub const MARK: &str = "moved";
/// Bytes of one transaction; a value alone may have as many.
const BATCH_BYTES: usize = 1 << 20;
/// How often what differs is written, if an answer was lost.
const ROUNDS: usize = 3;

/// How far the copy in a store is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// It may lack something.
    Copying,
    /// It is whole: an installation works with it.
    Whole,
    /// It was whole, and the installation has gone elsewhere.
    Left,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Copying => "copying",
            Self::Whole => "whole",
            Self::Left => "left",
        })
    }
}

/// What a store says of the state in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// Whose it is.
    pub installation: String,
    /// How far it is.
    pub stage: Stage,
}

impl Mark {
    fn bytes(&self) -> String {
        format!("{} {}", self.stage, self.installation)
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let (stage, installation) = std::str::from_utf8(bytes).ok()?.split_once(' ')?;
        let stages = [Stage::Copying, Stage::Whole, Stage::Left];
        let stage = stages.into_iter().find(|known| known.to_string() == stage)?;
        Some(Self { installation: installation.to_owned(), stage })
    }
}

/// How far a copy is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Keys that there are.
    pub keys: usize,
    /// Keys that are there, and the same.
    pub done: usize,
    /// Bytes of keys and values that were written.
    pub bytes: usize,
}

/// Why nothing was moved, or not all of it.
#[derive(Debug, thiserror::Error)]
pub enum MoveError {
    /// The new store has keys and no mark.
    #[error("there are {keys} keys already, and they are no unfinished copy of this store")]
    NotEmpty {
        /// How many.
        keys: usize,
    },
    /// The new store has the state of another installation.
    #[error("it holds the state of another installation ({installation})")]
    OfAnother {
        /// That one.
        installation: String,
    },
    /// The new store was whole and has changed since: somebody works with it.
    #[error("it holds this installation's state already, and that has changed since it was copied")]
    Changed,
    /// Somebody else copies at the same time.
    #[error("somebody else writes there at the same time")]
    Disturbed,
    /// What was read back is not what was written.
    #[error("what was read back is not what was written, at {key}")]
    Differs {
        /// The first key that differs.
        key: String,
    },
    /// A store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

type State = BTreeMap<String, Vec<u8>>;

/// Everything but the mark and what leases hold.
fn state(all: Vec<KeyValue>) -> State {
    let kept = all.into_iter().filter(|kv| kv.lease.is_none() && kv.key != MARK);
    kept.map(|kv| (kv.key, kv.value)).collect()
}

/// What a store says of the state in it; nothing if it is no copy.
///
/// # Errors
/// What the store says.
pub async fn mark(store: &impl Store) -> Result<Option<Mark>, StoreError> {
    Ok(store.get(MARK).await?.0.and_then(|kv| Mark::parse(&kv.value)))
}

/// Writes down of a store that holds an installation's state how far it is.
///
/// # Errors
/// What the store says.
pub async fn put_mark(store: &impl Store, mark: &Mark) -> Result<(), StoreError> {
    store.txn(Txn::new().put(MARK, mark.bytes())).await.map(drop)
}

/// Copies everything, reads it back, and marks the new store as whole. What was copied before is not
/// written again.
///
/// # Errors
/// [`MoveError`]; after each of them, but for those that say that the new store is somebody else's, the
/// same call goes on.
pub async fn copy(
    from: &impl Store,
    to: &impl Store,
    installation: &str,
    mut said: impl FnMut(Progress),
) -> Result<Progress, MoveError> {
    let wanted = state(from.range("").await?.0);
    let guard = begin(to, installation, &wanted).await?;
    let mut progress = Progress { keys: wanted.len(), ..Progress::default() };
    for _ in 0..ROUNDS {
        let found = state(to.range("").await?.0);
        let batches = differing(&wanted, &found);
        let left: usize = batches.iter().map(|batch| batch.then.len()).sum();
        progress.done = progress.keys.saturating_sub(left);
        said(progress);
        if batches.is_empty() {
            break;
        }
        for batch in batches {
            let (keys, bytes) = (batch.then.len(), batch.bytes());
            match to.txn(batch.when_unchanged(MARK, guard)).await {
                Ok(outcome) if outcome.committed => {}
                Ok(_) => return Err(MoveError::Disturbed),
                // The next round sees whether it was done.
                Err(StoreError::Unknown { .. }) => continue,
                Err(err) => return Err(err.into()),
            }
            progress.done = (progress.done + keys).min(progress.keys);
            progress.bytes += bytes;
            said(progress);
        }
    }
    verify(&wanted, &state(to.range("").await?.0))?;
    let whole = Mark { installation: installation.to_owned(), stage: Stage::Whole };
    let txn = Txn::new().when_unchanged(MARK, guard).put(MARK, whole.bytes());
    let outcome = to.txn(txn).await?;
    outcome.committed.then_some(progress).ok_or(MoveError::Disturbed)
}

/// Judges what is there, and marks it as a copy that is not whole; answers the mark's revision.
async fn begin(to: &impl Store, installation: &str, wanted: &State) -> Result<Revision, MoveError> {
    let (all, _) = to.range("").await?;
    let marked = all.iter().find(|kv| kv.key == MARK);
    let (at, known) = match marked {
        None => (Revision::ABSENT, None),
        Some(kv) => (kv.mod_revision, Mark::parse(&kv.value)),
    };
    let keys = all.len();
    match known {
        None if all.is_empty() => {}
        None => return Err(MoveError::NotEmpty { keys }),
        Some(mark) if mark.installation != installation => {
            return Err(MoveError::OfAnother { installation: mark.installation });
        }
        Some(Mark { stage: Stage::Whole, .. }) if state(all) != *wanted => {
            return Err(MoveError::Changed);
        }
        Some(_) => {}
    }
    let copying = Mark { installation: installation.to_owned(), stage: Stage::Copying };
    let txn = Txn::new().when_unchanged(MARK, at).put(MARK, copying.bytes());
    let outcome = to.txn(txn).await?;
    outcome.committed.then_some(outcome.revision).ok_or(MoveError::Disturbed)
}

/// What has to be written so that what is found is what is wanted.
fn differing(wanted: &State, found: &State) -> Vec<Txn> {
    let mut batches = vec![Txn::new()];
    let mut add = |key: &String, value: Option<&Vec<u8>>| {
        let bytes = key.len() + value.map_or(0, Vec::len);
        let full = batches.last().is_none_or(|batch| {
            batch.then.len() >= MAX_TXN_OPS
                || !batch.then.is_empty() && batch.bytes() + bytes > BATCH_BYTES
        });
        let batch = if full { Txn::new() } else { batches.pop().unwrap_or_default() };
        batches.push(match value {
            Some(value) => batch.put(key.as_str(), value.clone()),
            None => batch.delete(key.as_str()),
        });
    };
    for (key, value) in wanted.iter().filter(|(key, value)| found.get(*key) != Some(value)) {
        add(key, Some(value));
    }
    for key in found.keys().filter(|key| !wanted.contains_key(*key)) {
        add(key, None);
    }
    batches.retain(|batch| !batch.then.is_empty());
    batches
}

fn verify(wanted: &State, found: &State) -> Result<(), MoveError> {
    let differs = |key: &&String| wanted.get(*key) != found.get(*key);
    match wanted.keys().chain(found.keys()).find(differs) {
        Some(key) => Err(MoveError::Differs { key: key.clone() }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
