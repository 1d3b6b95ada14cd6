//! Follow: being a replica by one attachment, and saving first what that would destroy.
//!
//! Invariant: a run that has writes past the point where the new history begins is not attached
//! before those writes are in a file of their own.
//!
//! Not here: which attachment a run has (`tanist_core::decide`).

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use tanist_core::model::accounts::mark;
use tanist_core::model::{Applied, Offset, Order, Origin, ProxyId, ReplId, Tag};
use tanist_link::wire::{replica_label, replica_user};
use tanist_resp::{Command, Info};
use tracing::debug;

use super::admin::{Failure, info, info_of, replica_of};
use super::{CALM_DEADLINE, Node, Woken, fence};
use crate::acl::Users;
use crate::layout;
use crate::record::AppliedAs;

/// Pause between two looks at a snapshot under way or at an engine that loads.
const POLL: Duration = Duration::from_millis(20);
/// Pause before a snapshot that failed is tried again.
const TAIL_PAUSE: Duration = Duration::from_secs(5);
/// Saved tails that are kept per node.
const TAILS: usize = 2;
/// What a saved tail's name ends with.
const TAIL: &str = "-divergent.rdb";

impl Node {
    /// Follows `primary` by the attachment `tag`.
    pub(super) async fn follow(
        &mut self,
        order: &Order,
        tag: &Tag,
        primary: SocketAddr,
        base: Option<&(ReplId, Offset)>,
        lanes: &BTreeSet<ProxyId>,
    ) -> Result<(), Failure> {
        if !self.known().await {
            return Err(Failure::Superseded);
        }
        self.greet(CALM_DEADLINE).await?;
        if self.run.as_ref() != Some(&tag.run.id) {
            debug!(node = %self.id, meant = %tag.run.id, "another process runs");
            return Ok(());
        }
        let users = Users::wanted(&self.context.config.secret, order, lanes, &BTreeSet::new());
        let mut commands: Vec<Command> = users.delete_others(&self.users).into_iter().collect();
        commands.extend(users.create_missing(&self.users));
        let follows = Some((replica_user(tag), primary));
        let attached = self.record.applied.as_ref().is_some_and(|done| done.follows == follows);
        if !attached {
            self.part(order, base).await?;
            commands.extend(self.attach(order, tag, primary)?);
        }
        if !commands.is_empty() {
            self.make(&commands, CALM_DEADLINE).await?;
        }
        self.let_users_in(&users).await?;
        self.users = users.names();
        let applied = Applied {
            rev: order.rev,
            epoch: order.epoch,
            run: tag.run.id.clone(),
            primary: false,
            seqs: BTreeSet::from([tag.seq]),
            lanes: lanes.clone(),
            users: mark(&order.users),
            stand_ins: BTreeSet::new(),
        };
        self.applied(AppliedAs { applied, users: users.names(), follows }).await;
        Ok(())
    }

    fn attach(
        &self,
        order: &Order,
        tag: &Tag,
        primary: SocketAddr,
    ) -> Result<[Command; 3], Failure> {
        let fence = self.context.fence().ok_or(Failure::NoFence)?;
        let user = replica_user(tag);
        let label = replica_label(&order.group, &order.shard, tag);
        let config = Command::new("CONFIG").arg("SET").args(["masteruser", user.as_str()]);
        let config = config.arg("masterauth").arg(self.context.config.secret.password(&label));
        let config = config.args(["replica-announce-ip", user.as_str()]);
        // By way of the fence, because the engine ignores an order to follow whom it follows, and
        // would keep the old attachment.
        Ok([config, replica_of(fence), replica_of(primary)])
    }

    /// Leaves the old history: stops taking writes, and saves what the new history does not have.
    async fn part(
        &mut self,
        order: &Order,
        base: Option<&(ReplId, Offset)>,
    ) -> Result<(), Failure> {
        let fence = self.fence_address(CALM_DEADLINE).await?;
        self.forget_applied();
        let own = loop {
            let answers =
                self.ask(&[replica_of(fence), info_of("replication")], CALM_DEADLINE).await?;
            let [pointed, own] = answers.as_slice() else { return Err(Failure::Gone) };
            match pointed.error_code() {
                None => break info(own)?,
                Some("LOADING") => self.poll(POLL).await?,
                Some(_) => {
                    let text = pointed.as_error().unwrap_or_default().into_owned();
                    return Err(Failure::Refused(text));
                }
            }
        };
        let loaded = matches!(self.record.origin, Some(Origin::CleanStop | Origin::Crash));
        let parted = self.run.clone().map(|run| (run, order.epoch));
        // Since then it has taken writes from the epoch's primary alone.
        if self.parted != parted
            && let Some(tail) = base.and_then(|base| tail(&own, base, loaded))
        {
            self.keep_tail(order, tail).await?;
        }
        self.parted = parted;
        self.data_will_change()
            .map_err(|err| Failure::Refused(format!("the record of the last stop: {err}")))
    }

    /// Saves the tail, however often that has to be tried; anything but success leaves the node
    /// detached, with the tail in its engine.
    async fn keep_tail(&mut self, order: &Order, tail: Tail) -> Result<(), Failure> {
        loop {
            let reason = match self.save_tail(order, tail).await {
                Ok(()) => return Ok(()),
                Err(Failure::Tail(reason)) => reason,
                Err(failure) => return Err(failure),
            };
            if self.attempts.is_news(&reason) {
                let text = format!("the node stays detached until this works: {reason}");
                self.context.board.note(Some(&self.id), "DivergentTailNotSaved", text);
            }
            self.poll(TAIL_PAUSE).await?;
            self.greet(CALM_DEADLINE).await?;
        }
    }

    /// Saves the whole data, in which the tail is, as a snapshot in `aside`.
    async fn save_tail(&mut self, order: &Order, tail: Tail) -> Result<(), Failure> {
        let dump = self.dir.data().join("dump.rdb");
        // One that an older order began may be from before the engine took no more writes.
        while self.persistence().await?.get("rdb_bgsave_in_progress") == Some("1") {
            self.poll(POLL).await?;
        }
        // Its existence then means that the new one is complete: engines rename it into place.
        let _ = std::fs::remove_file(&dump);
        self.make(&[Command::new("BGSAVE").arg("SCHEDULE")], CALM_DEADLINE).await?;
        while !dump.exists() {
            self.poll(POLL).await?;
            let state = self.persistence().await?;
            let flag = |name| state.get(name) == Some("1");
            let under_way = flag("rdb_bgsave_in_progress") || flag("aof_rewrite_in_progress");
            if state.get("rdb_last_bgsave_status") == Some("err") && !under_way {
                return Err(Failure::Tail("the engine's snapshot failed".to_owned()));
            }
        }
        let name = format!("{}-epoch{}{TAIL}", layout::unix_millis(), order.epoch);
        let kept = self.dir.aside().join(name);
        std::fs::create_dir_all(self.dir.aside())
            .and_then(|()| std::fs::rename(&dump, &kept))
            .map_err(|err| Failure::Tail(format!("{}: {err}", kept.display())))?;
        let old = layout::oldest(&self.dir.aside(), TAILS, |name| name.ends_with(TAIL));
        old.iter().for_each(|path: &PathBuf| {
            let _ = std::fs::remove_file(path);
        });
        let text = format!("{tail}; all of its data is in {}", kept.display());
        self.context.board.note(Some(&self.id), "DivergentTailSaved", text);
        Ok(())
    }

    async fn persistence(&mut self) -> Result<Info, Failure> {
        let answers = self.ask(&[info_of("persistence")], CALM_DEADLINE).await?;
        Ok(answers.first().map(info).transpose()?.unwrap_or_default())
    }

    async fn poll(&mut self, pause: Duration) -> Result<(), Failure> {
        match self.wait(pause).await {
            Woken::Elapsed => Ok(()),
            Woken::Process => Err(Failure::Gone),
            Woken::Superseded => Err(Failure::Superseded),
        }
    }
}

/// What a run has that the new history lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tail {
    /// So many bytes of writes past the point where the new history begins.
    Bytes(u64),
    /// Data of another history, or loaded from its disk: what of it is in the new one is not known.
    Unrelated,
}

impl std::fmt::Display for Tail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Bytes(bytes) => {
                write!(f, "it had {bytes} bytes of writes that the new primary never received")
            }
            Self::Unrelated => {
                f.write_str("it had data that cannot be compared with the new primary's")
            }
        }
    }
}

/// What would be lost by following a history that begins at `base`.
fn tail(own: &Info, base: &(ReplId, Offset), loaded: bool) -> Option<Tail> {
    let replid = own.get("master_replid")?;
    let offset = own.get_u64("master_repl_offset")?;
    let (history, begin) = (base.0.as_str(), base.1.0);
    let past = |common: u64| offset.checked_sub(common).filter(|n| *n > 0).map(Tail::Bytes);
    if replid == history {
        return past(begin);
    }
    if let Some((before, from)) = fence::before(own)
        && before.as_str() == history
    {
        // It left that history itself, before or after the new one did.
        return past(begin.min(from.0.saturating_sub(1)));
    }
    // A primary that missed several epochs shares nothing by name with the one that begins. Only who
    // never took part in any history, and loaded nothing, is empty for certain.
    (loaded || offset > 0).then_some(Tail::Unrelated)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(replid: &str, offset: u64, before: Option<(&str, u64)>) -> Info {
        let (id, from) = before.unwrap_or(("0000000000000000000000000000000000000000", 0));
        Info::parse(&format!(
            "master_replid:{replid}\r\nmaster_repl_offset:{offset}\r\nmaster_replid2:{id}\r\n\
             second_repl_offset:{from}\r\n"
        ))
    }

    #[test]
    fn only_what_lies_past_the_common_history_is_a_tail() {
        let base = (ReplId::new("aa"), Offset(100));
        assert_eq!(tail(&own("aa", 100, None), &base, false), None);
        assert_eq!(tail(&own("aa", 90, None), &base, false), None);
        assert_eq!(tail(&own("aa", 130, None), &base, false), Some(Tail::Bytes(30)));
        // It was promoted at 80 by somebody and wrote on, in a history that was not chosen.
        let other = own("bb", 120, Some(("aa", 81)));
        assert_eq!(tail(&other, &base, false), Some(Tail::Bytes(40)));
        // It missed the epoch in which `aa` began, and may have gone on taking writes meanwhile.
        assert_eq!(tail(&own("cc", 120, None), &base, false), Some(Tail::Unrelated));
        let older = own("cc", 120, Some(("dd", 81)));
        assert_eq!(tail(&older, &base, false), Some(Tail::Unrelated));
        assert_eq!(tail(&own("cc", 0, None), &base, true), Some(Tail::Unrelated));
    }

    #[test]
    fn ordinary_replicas_and_empty_engines_have_no_tail() {
        let base = (ReplId::new("aa"), Offset(100));
        // Attached to the primary of the epoch that ended, by a partial or a full copy.
        assert_eq!(tail(&own("aa", 100, Some(("zz", 41))), &base, false), None);
        assert_eq!(tail(&own("aa", 70, None), &base, false), None);
        // Started without data, and never attached.
        assert_eq!(tail(&own("ee", 0, None), &base, false), None);
    }
}
