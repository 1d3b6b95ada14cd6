//! Remove, and the orderly stop of everything.
//!
//! Invariant: a record of an orderly stop exists only if the process wrote everything to its disk
//! and ended by itself after it had stopped taking writes, and if what it wrote was more than what
//! an earlier crash had left.
//!
//! Not here: the order in which nodes are stopped (`crate::agent`).

use std::time::Duration;

use tanist_core::model::{Fenced, Origin};
use tanist_link::wire::Signal;
use tanist_resp::Command;
use tokio::time::Instant;
use tracing::{info, warn};

use super::admin::{info, info_of};
use super::{CALM_DEADLINE, Node, Woken};
use crate::record::Stopped;

/// How long the replicas may take to receive a primary's last writes before it is stopped, in ms.
const LAST_WRITES_MS: i64 = 200;
/// How long an engine may take to write everything and end.
const END_DEADLINE: Duration = Duration::from_secs(30);

impl Node {
    /// Ends the process and deletes everything that the node has on this host, but not what the
    /// host has promised for its shard.
    pub(super) async fn remove(&mut self) {
        if !self.known().await || !self.kill().await {
            return;
        }
        let dir = self.dir.clone();
        let deleted = tokio::task::spawn_blocking(move || dir.delete()).await;
        let deleted = deleted.map_err(std::io::Error::other).and_then(|deleted| deleted);
        let board = &self.context.board;
        if let Err(err) = deleted {
            let text = format!("{}: {err}", self.dir.path().display());
            if self.attempts.is_news(&text) {
                board.note(Some(&self.id), "NotDeleted", text);
            }
        }
        self.record.applied = None;
        let data = self.dir.exists();
        board.change(&self.id, |report| {
            report.data = data;
            report.process = tanist_core::model::Process::Absent;
            report.fence = None;
            report.applied = None;
        });
    }

    /// Freezes the engine, lets it write everything to its disk and end, and records what it had.
    pub(super) async fn stop(&mut self) {
        if self.is_starting() {
            // What it waits for is the process; a failed start is as good.
            self.wait(CALM_DEADLINE).await;
        }
        let Some(process) = self.running() else { return };
        let last = self.last_state().await;
        let settled = self.context.board.is_settled(&self.id);
        let until = Instant::now() + END_DEADLINE;
        self.killing = true;
        self.context.supervised.signal(&self.id, process, Signal::Terminate);
        while self.running() == Some(process) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                warn!(node = %self.id, "it does not end by itself");
                self.kill().await;
                return;
            }
            // A hung supervisor that was restarted has not heard the signal.
            if self.wait(left.min(CALM_DEADLINE)).await == Woken::Elapsed {
                self.context.supervised.signal(&self.id, process, Signal::Terminate);
            }
        }
        let Some(last) = last.filter(|_| self.ended_well()) else {
            return warn!(node = %self.id, "stopped, but it is not known what its disk holds");
        };
        if self.record.origin == Some(Origin::Crash) && !settled {
            return info!(node = %self.id, "stopped with what a crash had left");
        }
        match last.save(&self.dir.stopped()) {
            Ok(()) => info!(node = %self.id, offset = %last.offset, "stopped in order"),
            Err(err) => warn!(node = %self.id, %err, "the record of the stop is not written"),
        }
    }

    /// Stops the engine's writes and reads what it has.
    async fn last_state(&mut self) -> Option<Stopped> {
        self.greet(CALM_DEADLINE).await.ok()?;
        let answers = self.ask(&[info_of("replication")], CALM_DEADLINE).await.ok()?;
        let replicas = info(answers.first()?).ok()?.get_u64("connected_slaves").unwrap_or(0);
        if replicas > 0 {
            let all = i64::try_from(replicas).unwrap_or(i64::MAX);
            let wait = Command::new("WAIT").int(all).int(LAST_WRITES_MS);
            // On a replica it is an error; on a primary, too few replicas are no reason to stay.
            let _ = self.ask(&[wait], CALM_DEADLINE).await;
        }
        let state = self.freeze(Instant::now() + CALM_DEADLINE, true).await.ok()?;
        let Fenced::Frozen { run, replid, offset, .. } = state else { return None };
        let epoch = self.guard.lock().await.guard().epoch;
        Some(Stopped { epoch, run, replid, offset })
    }

    /// The engine says that it has written everything and ends.
    fn ended_well(&self) -> bool {
        super::start::last_lines(&self.dir.log())
            .iter()
            .rev()
            .take(3)
            .any(|line| line.contains("now ready to exit"))
    }
}
