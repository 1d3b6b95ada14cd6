//! Fence and freeze: from now on the engine takes no part in the old epoch.
//!
//! The engine is pointed at a port that nobody listens on. A primary becomes read-only at once, and
//! both keep everything that a partial resynchronization needs, which `REPLICAOF NO ONE` would not.
//!
//! Invariant: an answer says what the engine is after it has left the old epoch; what cannot be
//! read or compared is "unusable", never a low offset.
//!
//! Not here: what the answers decide (`tanist_core::decide`).

use std::net::SocketAddr;
use std::time::Duration;

use tanist_core::model::{FenceAnswer, Fenced, Offset, Order, Origin, ReplId, RunId, Stall};
use tanist_link::wire::Signal;
use tanist_resp::{Info, Value};
use tokio::time::Instant;
use tracing::debug;

use super::admin::{Failure, info, info_of, replica_of};
use super::stall::Look;
use super::{Node, Woken};
use crate::acl;

/// How long a primary may take to confirm that it takes no more writes.
const PRIMARY_DEADLINE: Duration = Duration::from_millis(50);
/// How long another member may take to answer.
const MEMBER_DEADLINE: Duration = Duration::from_millis(100);
/// Pause between two looks at a member that drains.
const DRAIN_PAUSE: Duration = Duration::from_millis(1);
/// Pause between two attempts to fence a primary.
const RETRY_PAUSE: Duration = Duration::from_millis(2);
/// Pause between two attempts to kill.
const KILL_PAUSE: Duration = Duration::from_millis(50);
/// A second replication id that was never set.
const NO_REPLID: &str = "0000000000000000000000000000000000000000";

impl Node {
    /// Fences the engine and answers with what it holds; no answer if a newer order arrives.
    pub(super) async fn fence(
        &mut self,
        order: &Order,
        was_primary: bool,
        drain_to: Option<Offset>,
    ) {
        if !self.known().await {
            return;
        }
        let state = match self.running() {
            None => Some(Fenced::Dead),
            Some(_) if was_primary => self.fence_primary().await,
            Some(_) => self.freeze_member(drain_to).await,
        };
        let Some(state) = state else { return };
        self.leave(order);
        self.context.board.change(&self.id, |report| {
            report.fence = Some(FenceAnswer { rev: order.rev, state });
        });
        if self.dir.exists() {
            self.save().await;
        }
    }

    /// Until it confirms that it takes no more writes, or is dead.
    async fn fence_primary(&mut self) -> Option<Fenced> {
        let began = Instant::now();
        let process = self.running();
        let look = || process.and_then(|process| Look::at(process.pid));
        let before = look();
        // A stopped process confirms nothing until somebody continues it.
        if before.is_some_and(|look| look.since(look, 1) == Stall::Stopped) {
            let text = "its process is stopped and could be continued at any time".to_owned();
            self.context.board.note(Some(&self.id), "EngineKilled", text);
            return self.kill().await.then_some(Fenced::Dead);
        }
        let mut until = began + PRIMARY_DEADLINE;
        loop {
            let failure = match self.freeze(until, true).await {
                Ok(state) => return Some(state),
                Err(Failure::Superseded) => return None,
                Err(failure) => failure,
            };
            // A broken connection is often the first sign of its end.
            if self.wait(RETRY_PAUSE).await == Woken::Superseded {
                return None;
            }
            if self.running().is_none() {
                return Some(Fenced::Dead);
            }
            if Instant::now() < until {
                continue;
            }
            // One that works or gets no processor on a busy host is given a little longer.
            let longest = began + self.context.config.limits.stopped;
            let nanos = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
            let stall = before.zip(look()).map(|(before, now)| now.since(before, nanos));
            if matches!(stall, Some(Stall::Busy | Stall::Starved)) && until < longest {
                until = longest;
                continue;
            }
            // It may come back to life at any time and go on taking writes.
            let text = format!("it did not confirm that it takes no more writes ({failure})");
            self.context.board.note(Some(&self.id), "EngineKilled", text);
            return self.kill().await.then_some(Fenced::Dead);
        }
    }

    async fn freeze_member(&mut self, drain_to: Option<Offset>) -> Option<Fenced> {
        if let Some(offset) = drain_to
            && let Err(Failure::Superseded) = self.drain(offset).await
        {
            return None;
        }
        let until = Instant::now() + MEMBER_DEADLINE;
        match self.freeze(until, false).await {
            Ok(state) => Some(state),
            Err(Failure::Superseded) => None,
            Err(_) if self.running().is_none() => Some(Fenced::Dead),
            Err(failure) => {
                debug!(node = %self.id, %failure, "freezing");
                let run = self.context.board.report(&self.id).and_then(|r| r.run().cloned());
                Some(Fenced::Unusable { run })
            }
        }
    }

    /// Waits, not for long, until the engine has the old primary's history up to `offset`.
    async fn drain(&mut self, offset: Offset) -> Result<(), Failure> {
        // Half of what the election waits for the answer: a planned move that comes too early has
        // to be undone.
        let until = Instant::now() + self.context.config.limits.drain / 2;
        loop {
            self.greet(left(until)).await?;
            let answers = self.ask(&[info_of("replication")], left(until)).await?;
            let state = answers.first().map(info).transpose()?.unwrap_or_default();
            let there = state.get_u64("slave_repl_offset").is_some_and(|there| there >= offset.0);
            // Without a link nothing more will come.
            let linked = state.get("master_link_status") == Some("up");
            if there || !linked || Instant::now() >= until {
                return Ok(());
            }
            if self.wait(DRAIN_PAUSE).await == Woken::Superseded {
                return Err(Failure::Superseded);
            }
        }
    }

    /// Points the engine at the fence and reads what it holds then.
    pub(super) async fn freeze(
        &mut self,
        until: Instant,
        was_primary: bool,
    ) -> Result<Fenced, Failure> {
        let fence = self.fence_address(left(until)).await?;
        self.greet(left(until)).await?;
        let run = self.admin.as_ref().map(|admin| admin.run.clone()).ok_or(Failure::Gone)?;
        let mut commands = vec![info_of("replication"), replica_of(fence), info_of("replication")];
        // The replicas of an old primary stay attached until they are told otherwise, so that they
        // can receive its last bytes.
        let cut: Vec<String> = match was_primary {
            true => acl::lanes_of(&self.users).cloned().collect(),
            false => self.users.iter().cloned().collect(),
        };
        commands.extend(acl::delete(cut.iter()));
        // Whatever comes of it, what was true before may not be any more.
        self.forget_applied();
        let answers = self.ask(&commands, left(until)).await?;
        let [before, pointed, after, ..] = answers.as_slice() else { return Err(Failure::Gone) };
        match pointed.error_code() {
            None => {}
            // A process that loads was never given a role since it started.
            Some("LOADING") => return Ok(Fenced::Unusable { run: Some(run) }),
            Some(_) => return Err(Failure::Refused(text(pointed))),
        }
        for name in cut {
            self.users.remove(&name);
        }
        let (before, after) = (info(before)?, info(after)?);
        if before.get("master_sync_in_progress") == Some("1") {
            return Ok(Fenced::Unusable { run: Some(run) });
        }
        let origin = self.record.origin.unwrap_or(Origin::Crash);
        Ok(frozen(&after, run.clone(), origin).unwrap_or(Fenced::Unusable { run: Some(run) }))
    }

    /// Where to point the engine; waits for the supervisor to say so after it was replaced.
    pub(super) async fn fence_address(&self, limit: Duration) -> Result<SocketAddr, Failure> {
        let mut port = self.context.fence.clone();
        let bound = port.wait_for(Option::is_some);
        let _ = tokio::time::timeout(limit, bound).await;
        self.context.fence().ok_or(Failure::NoFence)
    }

    /// Nothing that was made true holds any more, or it is about to change.
    pub(super) fn forget_applied(&mut self) {
        self.record.applied = None;
        self.context.board.change(&self.id, |report| report.applied = None);
    }

    /// Kills the process and waits for its end; false if a newer order arrives.
    pub(super) async fn kill(&mut self) -> bool {
        self.admin = None;
        while let Some(process) = self.running() {
            self.killing = true;
            self.context.supervised.signal(&self.id, process, Signal::Kill);
            if self.wait(KILL_PAUSE).await == Woken::Superseded {
                return false;
            }
        }
        true
    }
}

/// What a frozen engine holds; `None` if it cannot be compared.
fn frozen(info: &Info, run: RunId, origin: Origin) -> Option<Fenced> {
    if info.get("role") != Some("slave") {
        return None;
    }
    let position = info.get_u64("master_repl_offset")?;
    let applied = info.get_u64("slave_repl_offset")?;
    // A process that never had a link counts from 1 as a replica and from 0 otherwise. One that
    // lost a full copy half-way has old data, a new beginning, and nothing that can be compared.
    if applied < position || (applied > position && !(position == 0 && applied == 1)) {
        return None;
    }
    Some(Fenced::Frozen {
        run,
        replid: info.get("master_replid").map(ReplId::new)?,
        before: before(info),
        offset: Offset(position),
        origin,
    })
}

/// The history that the engine's own continues, and from where.
pub(super) fn before(info: &Info) -> Option<(ReplId, Offset)> {
    let replid = info.get("master_replid2").filter(|replid| *replid != NO_REPLID)?;
    Some((ReplId::new(replid), Offset(info.get_u64("second_repl_offset")?)))
}

fn left(until: Instant) -> Duration {
    until.saturating_duration_since(Instant::now())
}

fn text(value: &Value) -> String {
    value.as_error().unwrap_or_default().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(position: &str, applied: &str) -> Option<Fenced> {
        let text = format!(
            "role:slave\r\nmaster_replid:aa\r\nmaster_replid2:{NO_REPLID}\r\n\
             second_repl_offset:-1\r\nmaster_repl_offset:{position}\r\n\
             slave_repl_offset:{applied}\r\n"
        );
        frozen(&Info::parse(&text), RunId::new("r"), Origin::Empty)
    }

    #[test]
    fn only_positions_that_can_be_compared_are_answers() {
        let offset = |state| match state {
            Some(Fenced::Frozen { offset, before: None, .. }) => Some(offset.0),
            _ => None,
        };
        assert_eq!(offset(state("91", "91")), Some(91));
        assert_eq!(offset(state("0", "1")), Some(0));
        // A full copy was given up half-way.
        assert_eq!(state("790950", "1"), None);
        assert_eq!(state("5", "9"), None);
        assert_eq!(state("", "9"), None);
        assert_eq!(frozen(&Info::parse("role:master\r\n"), RunId::new("r"), Origin::Empty), None);
    }
}
