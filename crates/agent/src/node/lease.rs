//! Leases, as a node's task sees them: no primary of an `async` group begins without one, and its host's
//! supervisor hears who may confirm it before anybody else does.
//!
//! Invariant: the supervisor guards a primary before the engine is told that it is one.
//!
//! Not here: having and ending leases (`crate::supervisor`).

use std::collections::BTreeSet;

use tanist_core::model::{Order, RunId, StandIn};
use tanist_link::wire::{LEAD_ROUTE, LEAVE_ROUTE, Lead, Leading, Leave};
use tracing::debug;

use super::admin::{Failure, superseded};
use super::{CALM_DEADLINE, Node};

impl Node {
    /// Has the primary guarded; a primary that is to begin needs a lease as well.
    pub(super) async fn lease(
        &mut self,
        order: &Order,
        run: &RunId,
        stand_ins: &BTreeSet<StandIn>,
        begins: bool,
    ) -> Result<(), Failure> {
        if !self.context.config.leases {
            return Ok(());
        }
        let start = self.record.start.as_ref().ok_or(Failure::Gone)?;
        let lead = Lead {
            host: self.context.config.host.clone(),
            node: self.id.clone(),
            group: order.group.clone(),
            shard: order.shard.clone(),
            epoch: order.epoch,
            run: run.clone(),
            address: start.address,
            fence: self.context.fence().ok_or(Failure::NoFence)?,
            stand_ins: stand_ins.clone(),
        };
        let supervisor = self.context.supervised.client().within(CALM_DEADLINE);
        let answered = tokio::select! {
            biased;
            answered = supervisor.post::<_, Leading>(LEAD_ROUTE, &lead) => answered,
            () = superseded(self.errands.clone()) => return Err(Failure::Superseded),
        };
        let leading = match answered {
            Ok(leading) => leading,
            Err(err) => {
                let text = format!(
                    "its host's supervisor does not guard it ({err}), so it does not become primary. \
                     If the supervisor is of an earlier release, end it (tanist supervise): the agent \
                     starts the next one, and engines go on"
                );
                if self.attempts.is_news(&text) {
                    self.context.board.note(Some(&self.id), "NotGuarded", text);
                }
                return Err(Failure::Supervisor(err.to_string()));
            }
        };
        if begins && !leading.leased { Err(Failure::NoLease) } else { Ok(()) }
    }

    /// Tells the supervisor that the node is no primary any more. It finds out by itself, later.
    pub(super) fn leave(&self, order: &Order) {
        if !self.context.config.leases {
            return;
        }
        let host = self.context.config.host.clone();
        let leave = Leave { host, node: self.id.clone(), epoch: order.epoch };
        let supervisor = self.context.supervised.client().within(CALM_DEADLINE);
        tokio::spawn(async move {
            if let Err(err) = supervisor.post::<_, ()>(LEAVE_ROUTE, &leave).await {
                debug!(err = &err as &dyn std::error::Error, "the supervisor still guards a node");
            }
        });
    }
}
