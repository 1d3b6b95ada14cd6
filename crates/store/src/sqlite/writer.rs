//! The writer: the one thread that changes the store.
//!
//! Requests that wait while a commit syncs are applied together under the next one: one sync for
//! all of them, each still its own transaction with its own revision, in the order of arrival, and
//! each answered only after the sync.
//!
//! A COMMIT that fails for an I/O error may have reached the disk. Its callers are told `Unknown`,
//! and nothing is read or written until the write-ahead log was emptied: from then on the
//! transaction is gone for certain, also after a crash.
//!
//! Invariant: an answer is sent only for what is durable, and only after the witness knows it.
//!
//! Not here: what a change does to the rows (`rows`), and checkpoints (`keeper`).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot, watch};

use super::dir::{DirLock, Witness};
use super::fault::{Fault, Place, code};
use super::keeper::{Chore, checkpoint};
use super::lease::Leases;
use super::reader::Read;
use super::rows::{self, Change, State};
use crate::error::StoreError;
use crate::model::{Compare, LeaseId, Op, Revision, Txn, TxnOutcome};

/// Most requests under one sync.
const BATCH: usize = 64;
/// A batch takes no more requests after it has this many bytes.
const BATCH_BYTES: usize = 4 << 20;
/// Most revisions that one batch trims from the log, so that trimming stays short.
const TRIM: u64 = 2 * BATCH as u64;
/// A checkpoint is asked for after about so many pages of log.
const CHECKPOINT_PAGES: usize = 1000;

/// What is to be done.
#[derive(Debug)]
pub(super) enum Work {
    /// A transaction that passed `Txn::check`.
    Txn(Txn),
    /// A new lease of so many seconds.
    Grant(u64),
    /// Ends a lease on request.
    Revoke(LeaseId),
    /// Ends a lease whose time is up.
    Expire(LeaseId),
    /// Forgets history.
    Compact(Revision),
    /// Nothing but to leave the state in which an outcome is unknown.
    Settle,
    /// Stops the store.
    Close,
}

/// What was done.
#[derive(Debug, Clone, Copy)]
pub(super) struct Done {
    /// The outcome; `committed` unless it was a transaction whose compares did not hold.
    pub(super) outcome: TxnOutcome,
    /// The lease that was granted, if one was.
    pub(super) lease: Option<LeaseId>,
}

/// The channel on which an answer goes back.
type Reply = oneshot::Sender<Result<Done, StoreError>>;

/// A request to the writer.
#[derive(Debug)]
pub(super) struct Write {
    work: Work,
    reply: Reply,
}

impl Write {
    /// A request, and where its answer comes.
    pub(super) fn new(work: Work) -> (Self, oneshot::Receiver<Result<Done, StoreError>>) {
        let (reply, answer) = oneshot::channel();
        (Self { work, reply }, answer)
    }

    fn bytes(&self) -> usize {
        if let Work::Txn(txn) = &self.work { txn.bytes() } else { 0 }
    }
}

/// The threads beside the writer; it stops them when it stops.
pub(super) struct Crew {
    /// The reader's questions.
    pub(super) reader: mpsc::Sender<Read>,
    /// The keeper's chores.
    pub(super) keeper: SyncSender<Chore>,
    /// Their threads.
    pub(super) threads: Vec<JoinHandle<()>>,
    /// Dropped to stop the task that ends leases.
    pub(super) deadlines: oneshot::Sender<()>,
}

/// The writer's thread.
pub(super) struct Writer {
    /// The connection that owns the write lock.
    pub(super) conn: Connection,
    /// The state as committed.
    pub(super) state: State,
    /// Where durable revisions are testified.
    pub(super) witness: Witness,
    /// What errors name.
    pub(super) place: Place,
    /// Tells watchers of the newest state.
    pub(super) head: watch::Sender<State>,
    /// The deadlines of leases.
    pub(super) leases: Arc<Leases>,
    /// Set while an outcome is unknown.
    pub(super) unsettled: Arc<AtomicBool>,
    /// Revisions of history to keep.
    pub(super) retain_revisions: u64,
    /// Bytes of history to keep.
    pub(super) retain_bytes: u64,
    /// Pages written since the last checkpoint was asked for.
    pub(super) pages: usize,
    /// The other threads.
    pub(super) crew: Crew,
    /// Released last.
    pub(super) lock: DirLock,
    /// Dropped after everything was released.
    pub(super) gone: watch::Sender<()>,
}

/// Something to tell the deadlines after the commit.
enum Effect {
    Start(LeaseId, u64),
    Remove(LeaseId),
}

impl Writer {
    /// Works until the store is closed or its last handle is gone.
    pub(super) fn run(mut self, mut requests: mpsc::Receiver<Write>) {
        let mut closing = false;
        while !closing {
            let Some(first) = requests.blocking_recv() else { break };
            let mut batch = Vec::new();
            let mut bytes = 0;
            let mut next = Some(first);
            while let Some(request) = next {
                if matches!(request.work, Work::Close) {
                    closing = true;
                    break;
                }
                bytes += request.bytes();
                batch.push(request);
                let room = batch.len() < BATCH && bytes < BATCH_BYTES;
                next = if room { requests.try_recv().ok() } else { None };
            }
            if !batch.is_empty() {
                self.serve(batch, bytes);
            }
        }
        requests.close();
        while let Ok(request) = requests.try_recv() {
            let _ = request.reply.send(Err(StoreError::Closed));
        }
        self.stop();
    }

    fn stop(self) {
        let Self { conn, head, crew, lock, witness, gone, .. } = self;
        // Watchers see the end of the store by this.
        drop(head);
        drop(crew.deadlines);
        let _ = crew.keeper.send(Chore::Close);
        let _ = crew.reader.blocking_send(Read::Close);
        for thread in crew.threads {
            if thread.join().is_err() {
                tracing::error!("a thread of the store ended by a panic");
            }
        }
        if let Err((_, error)) = conn.close() {
            tracing::warn!(%error, "the database was not closed in order");
        }
        // It holds a file open for writing; nothing may be open when the end is told.
        drop(witness);
        drop(lock);
        drop(gone);
    }

    fn serve(&mut self, batch: Vec<Write>, bytes: usize) {
        let mut effects = Vec::new();
        let mut answers = Vec::new();
        let mut failed = self.begin().err();
        let before = self.state;
        for Write { work, reply } in batch {
            let answer = match &failed {
                Some(error) => Err(error.clone()),
                None => match self.apply(work, &mut effects) {
                    Ok(done) => Ok(done),
                    Err(Fault::Refused(error)) => Err(error),
                    Err(fault) => {
                        let error = self.place.error("writing to the database", fault);
                        failed = Some(error.clone());
                        Err(error)
                    }
                },
            };
            answers.push((reply, answer));
        }
        if failed.is_none() {
            failed = self.commit(&before).err();
        }
        if let Some(error) = failed {
            self.give_up(before);
            tracing::warn!(%error, "a batch of transactions failed");
            for (reply, _) in answers {
                let _ = reply.send(Err(error.clone()));
            }
            return;
        }
        self.acknowledge(&before, effects);
        self.pages += 4 + 4 * answers.len() + bytes / 2048;
        for (reply, answer) in answers {
            // Whoever no longer waits made a transaction all the same.
            let _ = reply.send(answer);
        }
        if self.pages > CHECKPOINT_PAGES && self.crew.keeper.try_send(Chore::Checkpoint).is_ok() {
            self.pages = 0;
        }
    }

    fn begin(&mut self) -> Result<(), StoreError> {
        self.settle()?;
        let begin = self.conn.prepare_cached("BEGIN IMMEDIATE").and_then(|mut sql| sql.execute([]));
        begin.map(drop).map_err(|error| self.place.error("beginning a transaction", error.into()))
    }

    /// Makes certain that a transaction of unknown outcome is gone.
    fn settle(&mut self) -> Result<(), StoreError> {
        if !self.unsettled.load(Ordering::Acquire) {
            return Ok(());
        }
        let doing = "settling a transaction of unknown outcome";
        let settled = || -> Result<State, Fault> {
            if checkpoint(&self.conn, "TRUNCATE")?.busy {
                let busy = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY);
                return Err(rusqlite::Error::SqliteFailure(busy, None).into());
            }
            State::load(&self.conn)
        };
        self.state = settled().map_err(|fault| self.place.error(doing, fault))?;
        self.unsettled.store(false, Ordering::Release);
        self.head.send_replace(self.state);
        tracing::info!("the store is settled again");
        Ok(())
    }

    fn apply(&mut self, work: Work, effects: &mut Vec<Effect>) -> Result<Done, Fault> {
        let mut committed = true;
        let mut lease = None;
        match work {
            Work::Txn(txn) => committed = self.apply_txn(txn)?,
            Work::Grant(ttl) => {
                let id = self.new_lease()?;
                rows::add_lease(&self.conn, &mut self.state, id, ttl)?;
                effects.push(Effect::Start(id, ttl));
                lease = Some(id);
            }
            Work::Revoke(id) | Work::Expire(id) => {
                let ended = rows::end_lease(&self.conn, &mut self.state, id);
                effects.push(Effect::Remove(id));
                ended?;
            }
            Work::Compact(up_to) => self.compact(up_to)?,
            Work::Settle | Work::Close => {}
        }
        let outcome = TxnOutcome::new(committed, Revision(self.state.revision));
        Ok(Done { outcome, lease })
    }

    fn apply_txn(&mut self, txn: Txn) -> Result<bool, Fault> {
        for compare in &txn.compares {
            if !holds(&self.conn, compare)? {
                return Ok(false);
            }
        }
        let mut puts = 0;
        for op in &txn.then {
            if let Op::Put { lease, .. } = op {
                puts += 1;
                if let Some(id) = *lease
                    && !rows::has_lease(&self.conn, id)?
                {
                    return Err(StoreError::LeaseNotFound(id).into());
                }
            }
        }
        self.state.has_room(puts)?;
        let mut change = Change::new(&self.conn, &mut self.state);
        for op in txn.then {
            match op {
                Op::Put { key, value, lease } => change.put(key, value, lease)?,
                Op::Delete { key } => change.delete(&key)?,
            }
        }
        change.finish();
        Ok(true)
    }

    fn new_lease(&self) -> Result<LeaseId, Fault> {
        loop {
            // Random, so that an id is not given again after a copy was restored.
            let id = LeaseId(rand::random::<u64>() >> 1);
            if id.0 != 0 && !rows::has_lease(&self.conn, id)? {
                return Ok(id);
            }
        }
    }

    fn compact(&mut self, up_to: Revision) -> Result<(), Fault> {
        if up_to.0 > self.state.revision {
            let current = Revision(self.state.revision);
            return Err(StoreError::FutureRevision { current }.into());
        }
        if up_to.0 <= self.state.oldest {
            return Err(StoreError::Compacted { oldest: Revision(self.state.oldest) }.into());
        }
        rows::forget(&self.conn, &mut self.state, up_to.0)
    }

    /// Trims the log a little, in the same commit: so retention needs neither a sync of its own
    /// nor a long pause.
    fn trim(&mut self) -> Result<(), Fault> {
        let limit = self.state.oldest + TRIM;
        while self.state.oldest < self.state.revision.min(limit) {
            let many = self.state.revision - self.state.oldest >= self.retain_revisions;
            if !many && self.state.log_bytes <= self.retain_bytes {
                break;
            }
            let oldest = self.state.oldest + 1;
            rows::forget(&self.conn, &mut self.state, oldest)?;
        }
        Ok(())
    }

    fn commit(&mut self, before: &State) -> Result<(), StoreError> {
        if self.state == *before {
            // Nothing was written, so there is nothing to sync.
            let end = self.conn.prepare_cached("ROLLBACK").and_then(|mut sql| sql.execute([]));
            let doing = "ending a transaction";
            return end.map(drop).map_err(|error| self.place.error(doing, error.into()));
        }
        let written = self.trim().and_then(|()| self.state.save(&self.conn));
        written.map_err(|fault| self.place.error("writing to the database", fault))?;
        let commit = self.conn.prepare_cached("COMMIT").and_then(|mut sql| sql.execute([]));
        let Err(error) = commit else { return Ok(()) };
        let doing = "committing a transaction";
        match code(&error) {
            // Both are said before the frame that makes a commit was written.
            Some(rusqlite::ErrorCode::DiskFull | rusqlite::ErrorCode::DatabaseBusy) => {
                Err(self.place.error(doing, error.into()))
            }
            _ => {
                self.unsettled.store(true, Ordering::Release);
                Err(StoreError::Unknown { doing, source: Some(Arc::new(error)) })
            }
        }
    }

    fn give_up(&mut self, before: State) {
        if !self.conn.is_autocommit()
            && let Err(error) = self.conn.execute_batch("ROLLBACK")
        {
            tracing::warn!(%error, "a failed transaction could not be rolled back");
        }
        self.state = before;
        // Settled at once if the disk already works again; otherwise by the next request.
        if let Err(error) = self.settle() {
            tracing::error!(%error, "the store refuses work until this succeeds");
        }
    }

    fn acknowledge(&mut self, before: &State, effects: Vec<Effect>) {
        if self.state.revision != before.revision
            && let Err(error) = self.witness.testify(self.state.revision)
        {
            tracing::warn!(%error, "the acknowledged revision could not be noted");
        }
        if self.state != *before {
            self.head.send_replace(self.state);
        }
        for effect in effects {
            match effect {
                Effect::Start(id, ttl) => self.leases.start(id, Duration::from_secs(ttl)),
                Effect::Remove(id) => self.leases.remove(id),
            }
        }
    }
}

fn holds(conn: &Connection, compare: &Compare) -> Result<bool, Fault> {
    Ok(match compare {
        Compare::ModRevision { key, revision } => {
            rows::head(conn, key)?.map_or(0, |head| head.mod_revision) == revision.0
        }
        Compare::Exists { key } => rows::head(conn, key)?.is_some(),
        Compare::NotExists { key } => rows::head(conn, key)?.is_none(),
        Compare::Value { key, value } => rows::get(conn, key)?.is_some_and(|kv| kv.value == *value),
    })
}
