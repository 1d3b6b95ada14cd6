//! Saying that a store was put back from an older copy.
//!
//! Core finds that and does nothing for such a shard until a person has named a node; here it is said
//! as an event, because a problem that is only shown when somebody looks comes too late.
//!
//! Invariant: it is said once, as long as it lasts.
//!
//! Not here: finding it, and going on from there (`tanist_core::decide`).

use tanist_core::decide::Plan;
use tanist_core::model::{ProblemKind, Severity, ShardKey};

use crate::error::ControllerError;
use crate::reconciler::Controller;

impl Controller {
    /// Says once that nothing is done for the shard because its store has forgotten decisions.
    pub(crate) async fn stand_back(
        &mut self,
        key: &ShardKey,
        plan: &Plan,
    ) -> Result<(), ControllerError> {
        let behind = plan.problems.iter().find(|problem| problem.kind == ProblemKind::StoreBehind);
        let Some(problem) = behind else {
            self.stood_back.remove(key);
            return Ok(());
        };
        if !self.stood_back.insert(key.clone()) {
            return Ok(());
        }
        let group = &key.group;
        let text = format!(
            "the store is older than what the hosts were told ({}): it was put back from a copy. \
             Nothing is done for this group. tanist rebuild shows whether the hosts keep what is \
             missing; if they do not, see which node has the newest data, then: \
             tanist failover {group} --to NODE --accept-loss",
            problem.detail
        );
        self.announce(Some(group.clone()), None, "StoreBehind", Severity::Error, text).await
    }
}
