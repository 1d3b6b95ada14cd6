//! The reader: a thread with a read-only connection, so that reads do not wait behind a sync.
//!
//! In WAL mode SQLite shows a transaction to other connections only after its sync returned, and a
//! snapshot stays what it is while the writer goes on.
//!
//! Invariant: each answer comes from one snapshot and contains only durable transactions.
//!
//! Not here: waiting for new revisions (`follow`).

use rusqlite::{Connection, params};
use tokio::sync::{mpsc, oneshot};

use super::fault::{Fault, Place};
use super::rows::{self, State};
use crate::error::StoreError;
use crate::model::{EventBatch, KeyValue, MAX_RANGE_BYTES, Revision, prefix_end};

/// Most revisions that one page of history looks at.
const PAGE_REVISIONS: u64 = 1024;
/// A page of history ends after the revision that brings it over this size.
const PAGE_BYTES: u64 = 4 << 20;

/// The answer to a read of keys.
pub(super) type Keys = (Vec<KeyValue>, Revision);

/// A piece of history.
pub(super) struct Page {
    /// Its changes under the prefix.
    pub(super) batches: Vec<EventBatch>,
    /// The revision at which the next page starts.
    pub(super) next: u64,
}

/// A question.
pub(super) enum Read {
    /// One key: at most one row.
    Get {
        /// The key.
        key: String,
        /// The answer.
        reply: oneshot::Sender<Result<Keys, StoreError>>,
    },
    /// All keys with a prefix that do not come before another key.
    Range {
        /// The prefix.
        prefix: String,
        /// The first key, which does not come before the prefix.
        start: String,
        /// The answer.
        reply: oneshot::Sender<Result<Keys, StoreError>>,
    },
    /// History.
    Log {
        /// Of keys with this prefix.
        prefix: String,
        /// Beginning with this revision.
        from: u64,
        /// The answer.
        reply: oneshot::Sender<Result<Page, StoreError>>,
    },
    /// Stop.
    Close,
}

/// Answers questions until it is told to stop.
pub(super) fn run(conn: &Connection, place: &Place, mut questions: mpsc::Receiver<Read>) {
    while let Some(question) = questions.blocking_recv() {
        // Whoever no longer waits for an answer does not need it.
        match question {
            Read::Get { key, reply } => {
                let found = snapshot(conn, |state| {
                    let kv = rows::get(conn, &key)?;
                    Ok((kv.into_iter().collect(), Revision(state.revision)))
                });
                let _ = reply.send(found.map_err(|f| place.error("reading a key", f)));
            }
            Read::Range { prefix, start, reply } => {
                let found = snapshot(conn, |state| {
                    Ok((range(conn, &prefix, &start)?, Revision(state.revision)))
                });
                let _ = reply.send(found.map_err(|f| place.error("reading keys", f)));
            }
            Read::Log { prefix, from, reply } => {
                let found = snapshot(conn, |state| page(conn, state, &prefix, from));
                let _ = reply.send(found.map_err(|f| place.error("reading the history", f)));
            }
            Read::Close => return,
        }
    }
}

fn snapshot<T>(
    conn: &Connection,
    read: impl FnOnce(&State) -> Result<T, Fault>,
) -> Result<T, Fault> {
    let txn = conn.unchecked_transaction()?;
    let answer = read(&State::load(conn)?)?;
    txn.finish()?;
    Ok(answer)
}

fn range(conn: &Connection, prefix: &str, start: &str) -> Result<Vec<KeyValue>, Fault> {
    let sql = format!(
        "SELECT {} FROM kv WHERE key >= ?1 AND (?2 IS NULL OR key < ?2) ORDER BY key",
        rows::KV_COLUMNS
    );
    let mut query = conn.prepare_cached(&sql)?;
    let mut found = query.query(params![start.as_bytes(), prefix_end(prefix)])?;
    let mut keys = Vec::new();
    let mut bytes = 0;
    while let Some(row) = found.next()? {
        let (kv, _) = rows::read_kv(row)?;
        bytes += kv.key.len() + kv.value.len();
        if bytes > MAX_RANGE_BYTES {
            return Err(StoreError::RangeTooLarge { prefix: prefix.to_owned() }.into());
        }
        keys.push(kv);
    }
    Ok(keys)
}

fn page(conn: &Connection, state: &State, prefix: &str, from: u64) -> Result<Page, Fault> {
    if from < state.oldest {
        return Err(StoreError::Compacted { oldest: Revision(state.oldest) }.into());
    }
    let mut page = Page { batches: Vec::new(), next: from };
    if from > state.revision {
        return Ok(page);
    }
    let last = state.revision.min(from.saturating_add(PAGE_REVISIONS - 1));
    let (first_id, end_id) = rows::log_ids(from, last);
    let sql = format!(
        "SELECT {} FROM log WHERE id >= ?1 AND id < ?2 AND key >= ?3 \
         AND (?4 IS NULL OR key < ?4) ORDER BY id",
        rows::LOG_COLUMNS
    );
    let mut query = conn.prepare_cached(&sql)?;
    let mut found =
        query.query(params![first_id, end_id, prefix.as_bytes(), prefix_end(prefix)])?;
    let mut bytes = 0;
    page.next = last + 1;
    while let Some(row) = found.next()? {
        let logged = rows::read_log(row)?;
        let same = page.batches.last_mut().filter(|batch| batch.revision.0 == logged.revision);
        if let Some(batch) = same {
            batch.events.push(logged.event);
        } else if bytes > PAGE_BYTES {
            page.next = logged.revision;
            break;
        } else {
            let revision = Revision(logged.revision);
            page.batches.push(EventBatch { revision, events: vec![logged.event] });
        }
        bytes += logged.bytes;
    }
    Ok(page)
}
