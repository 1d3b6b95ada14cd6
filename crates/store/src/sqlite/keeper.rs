//! The keeper: a thread with its own connection for what no commit should wait for.
//!
//! It moves the write-ahead log into the database (checkpoints) and makes copies.
//!
//! Invariant: the last good copy is replaced only by a copy that passed the full check, so damage
//! that creeps in while the store works does not reach it.
//!
//! Not here: deciding that the log is long (`writer` counts).

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use tokio::sync::oneshot;

use super::copies;
use super::dir::Dir;
use super::fault::Place;
use super::schema::STEPS;
use crate::error::StoreError;
use crate::model::Revision;

/// A log of this many frames (of 4 KiB) is emptied even if the writer has to wait for that.
const LONG_LOG_FRAMES: i64 = 16_384;
/// Without automatic copies the keeper only wakes when it is asked.
const IDLE: Duration = Duration::from_secs(24 * 3600);

/// Something to do.
pub(super) enum Chore {
    /// Move the log into the database.
    Checkpoint,
    /// Make a copy.
    Copy {
        /// Under this name.
        to: PathBuf,
        /// Answers the copy's revision.
        reply: oneshot::Sender<Result<Revision, StoreError>>,
    },
    /// Stop.
    Close,
}

/// What became of the automatic copies.
#[derive(Debug, Clone, Default)]
pub(super) struct CopyReport {
    /// The revision in the last good copy that this process made.
    pub(super) revision: Option<Revision>,
    /// Why the last attempt failed.
    pub(super) trouble: Option<String>,
}

/// The keeper's thread.
pub(super) struct Keeper {
    /// Its connection.
    pub(super) conn: Connection,
    /// Where the store is.
    pub(super) dir: Dir,
    /// What errors name.
    pub(super) place: Place,
    /// How often a copy is made; `None`: never.
    pub(super) copy_every: Option<Duration>,
    /// What became of it.
    pub(super) report: Arc<Mutex<CopyReport>>,
}

impl Keeper {
    /// Works until it is told to stop.
    pub(super) fn run(self, chores: &Receiver<Chore>) {
        let mut next = Instant::now();
        loop {
            let wait = match self.copy_every {
                Some(_) => next.saturating_duration_since(Instant::now()),
                None => IDLE,
            };
            match chores.recv_timeout(wait) {
                Ok(Chore::Checkpoint) => self.checkpoint(),
                Ok(Chore::Copy { to, reply }) => {
                    // The caller may have gone; the copy is made all the same.
                    let _ = reply.send(copies::copy(&self.conn, &to, &self.place, STEPS));
                }
                Ok(Chore::Close) | Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {
                    if let Some(every) = self.copy_every {
                        self.keep_last_good();
                        next = Instant::now() + every;
                    }
                }
            }
        }
    }

    fn checkpoint(&self) {
        match checkpoint(&self.conn, "PASSIVE") {
            Ok(found) if found.frames > LONG_LOG_FRAMES => {
                if let Err(error) = checkpoint(&self.conn, "TRUNCATE") {
                    tracing::warn!(%error, "the long write-ahead log could not be emptied");
                }
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "the checkpoint failed"),
        }
    }

    fn keep_last_good(&self) {
        let known = lock(&self.report).revision;
        let current = super::rows::State::load(&self.conn).map(|state| Revision(state.revision));
        if current.is_ok_and(|current| Some(current) == known) {
            return;
        }
        let made = copies::copy(&self.conn, &self.dir.last_good(), &self.place, STEPS);
        let mut report = lock(&self.report);
        match made {
            Ok(revision) => *report = CopyReport { revision: Some(revision), trouble: None },
            Err(error) => {
                tracing::error!(%error, "no copy was made; the last good one is kept");
                report.trouble = Some(error.to_string());
            }
        }
    }
}

fn lock(report: &Mutex<CopyReport>) -> std::sync::MutexGuard<'_, CopyReport> {
    report.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a checkpoint did.
#[derive(Debug, Clone, Copy)]
pub(super) struct Checkpointed {
    /// Whether others kept it from finishing.
    pub(super) busy: bool,
    /// Frames in the log.
    pub(super) frames: i64,
}

/// Runs a checkpoint of the given mode.
pub(super) fn checkpoint(conn: &Connection, mode: &str) -> rusqlite::Result<Checkpointed> {
    conn.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |row| {
        Ok(Checkpointed { busy: row.get::<_, i64>(0)? != 0, frames: row.get(1)? })
    })
}
