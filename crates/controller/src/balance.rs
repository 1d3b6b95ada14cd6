//! Relocations: asks core every few seconds whether a node should be elsewhere, and commits the first step.
//!
//! What follows from it is decided shard by shard, as everything else is.
//!
//! Invariant: a relocation that begins is a commit like any other; why one does not begin is shown.
//!
//! Not here: which node is better elsewhere, and when it is quiet enough (`tanist_core::decide`).

use tanist_core::decide::{Outlook, rebalance};
use tanist_core::model::{NodeId, ShardTopology, Wait};
use tanist_link::api::{Place, RelocationStatus};

use crate::clock::boot_time;
use crate::error::ControllerError;
use crate::looks::Decided;
use crate::reconciler::Controller;

/// Ticks between two looks: they are at everything, and nothing is moved before a minute of quiet.
const EVERY: u64 = 60;

impl Controller {
    /// Begins the next relocation if one is due at this tick.
    pub(crate) async fn rebalance(&mut self, tick: u64) -> Result<(), ControllerError> {
        if !tick.is_multiple_of(EVERY) {
            return Ok(());
        }
        let topologies = self.archive.topologies.values().map(|held| &*held.body);
        let shards: Vec<_> = topologies
            .filter_map(|shard| Some((&*self.archive.specs.get(&shard.group)?.body, shard)))
            .collect();
        let (seen, limits) = (&self.observer.seen, &self.config.limits);
        let outlook = rebalance(&shards, seen, limits, self.heard_until);
        self.observer.later = None;
        match outlook {
            Outlook::Settled => {}
            Outlook::Later(key, wait) => self.observer.later = Some((key, wait)),
            Outlook::Now(key, commit) => {
                let Some((spec, before)) = self.shard(&key) else { return Ok(()) };
                let decided = Decided::new(spec, before, *commit, boot_time());
                self.write(vec![decided]).await?;
            }
        }
        Ok(())
    }

    /// Why nothing of this shard is relocated yet, if something could be.
    pub(crate) fn waits_for_calm(&self, shard: &ShardTopology) -> Option<Wait> {
        let later = self.observer.later.as_ref();
        later.filter(|(key, _)| *key == shard.key()).map(|(_, wait)| wait.clone())
    }
}

/// What is shown of a shard's relocation.
pub(crate) fn shown(shard: &ShardTopology) -> Option<RelocationStatus> {
    let relocation = shard.relocation.as_ref()?;
    let place = |node: &NodeId| {
        let member = shard.members.get(node)?;
        Some(Place { node: node.clone(), host: member.host.clone(), zone: member.zone.clone() })
    };
    Some(RelocationStatus {
        from: place(&relocation.node)?,
        to: place(&relocation.newcomer)?,
        why: relocation.why,
    })
}
