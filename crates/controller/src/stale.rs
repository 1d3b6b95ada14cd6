//! A store that was put back from an older copy.
//!
//! Hosts remember the newest revision that they were told. If one of them knows more than the store,
//! decisions were forgotten: somebody else may have been primary since, and deciding from the old
//! topology could overwrite what was acknowledged then. Only a person can say whose data counts.
//!
//! Invariant: nothing is decided or ordered for such a shard until a person has named a node.
//!
//! Not here: damage of the store, and putting a copy in its place (`tanist-store`).

use tanist_core::model::{
    Cause, NodeId, Primaryship, RequestId, Rev, Severity, ShardKey, ShardTopology, Vacancy,
};

use crate::error::ControllerError;
use crate::reconciler::Controller;

/// How far numbers move on: beyond everything that can have been given out since the copy.
const GAP: u64 = 1 << 32;

impl Controller {
    /// The newest revision that a host was told, if it is newer than the store's.
    pub(crate) fn promised_beyond(&self, shard: &ShardTopology) -> Option<Rev> {
        let told = |(node, member): (&NodeId, &tanist_core::model::Member)| {
            self.observer.seen.node(node, &member.host).map(|seen| seen.report.rev)
        };
        shard.members.iter().filter_map(told).max().filter(|rev| *rev > shard.rev)
    }

    /// Does nothing for the shard, and says so once.
    pub(crate) async fn stand_back(
        &mut self,
        shard: &ShardTopology,
        promised: Rev,
    ) -> Result<(), ControllerError> {
        if !self.stood_back.insert(shard.key()) {
            return Ok(());
        }
        let group = &shard.group;
        let text = format!(
            "the store is older than what the hosts were told (revision {} after {promised}): it was \
             put back from a copy. Nothing is done for this group. See which node has the newest \
             data, then: tanist failover {group} --to NODE --accept-loss",
            shard.rev
        );
        self.announce(Some(group.clone()), None, "StoreBehind", Severity::Error, text).await
    }

    /// Lets the shard go on from the node that a person has named, beyond everything forgotten.
    pub(crate) async fn go_on_from(
        &mut self,
        key: &ShardKey,
        heir: &NodeId,
        request: RequestId,
    ) -> Result<(), ControllerError> {
        let Some((_, mut shard)) = self.shard(key) else { return Ok(()) };
        let Some(promised) = self.promised_beyond(&shard) else { return Ok(()) };
        let prev = match &shard.primaryship {
            Primaryship::Serving(run) => Some(run.clone()),
            Primaryship::Vacant(vacancy) => vacancy.prev.clone(),
        };
        shard.rev = Rev(promised.0.saturating_add(GAP));
        shard.epoch.0 = shard.epoch.0.saturating_add(GAP);
        shard.next_seq = shard.next_seq.saturating_add(GAP);
        shard.pending = None;
        shard.primaryship = Primaryship::Vacant(Vacancy {
            prev,
            cause: Cause::Failover,
            request: Some(request),
            heir: Some(heir.clone()),
        });
        let now = crate::clock::boot_time();
        match self.archive.write_topology(shard.clone(), &[]).await {
            Ok(()) => {
                self.observer.seen.rev_since.insert(key.clone(), (shard.rev, now));
                self.stood_back.remove(key);
                Ok(())
            }
            Err(err) => self.survive(err),
        }
    }
}
