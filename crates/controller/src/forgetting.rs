//! The end of a group of which nothing is left.
//!
//! Invariant: what hosts keep of it is let go only after the store has.
//!
//! Not here: ending its nodes (`tanist_core::decide`), what is remembered of it (`crate::archive`).

use std::sync::Arc;

use tanist_core::model::{GroupName, ShardTopology};
use tanist_link::wire::ToProxy;

use crate::error::ControllerError;
use crate::reconciler::Controller;

impl Controller {
    /// Forgets the group, if nothing is left of it.
    pub(crate) async fn forget(&mut self, group: &GroupName) -> Result<(), ControllerError> {
        let shards: Vec<Arc<ShardTopology>> = self
            .archive
            .topologies
            .values()
            .filter(|held| held.body.group == *group)
            .map(|held| Arc::clone(&held.body))
            .collect();
        if !shards.iter().all(|shard| self.is_gone(shard)) {
            return Ok(());
        }
        if let Err(err) = self.archive.forget(group).await {
            return self.survive(err);
        }
        for shard in shards {
            let key = shard.key();
            self.observer.forget(&key, shard.members.keys());
            self.plans.remove(&key);
            self.routes.remove(&key);
            self.ordered.remove(&key);
            self.was_whole.remove(&key);
            self.refused.remove(&key);
            self.stood_back.remove(&key);
            self.timelines.end(&key);
            self.let_go(&key, shard.rev);
            for session in self.proxies.values_mut().filter(|session| session.up) {
                session.tell(&ToProxy::Gone(key.clone()));
            }
        }
        self.certificates.forget(group);
        self.observer.recount(&self.archive);
        Ok(())
    }
}
