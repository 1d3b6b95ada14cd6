//! People: what owners and operators ask for.
//!
//! An operator looks now and then; some accept a loss when the shard has been without a primary for
//! long, as the documents tell them to.
//!
//! Invariant: people change the spec and nothing else.
//!
//! Not here: what follows from it (core's `decide`).

use tanist_core::model::{MoveKind, MoveRequest, RequestId, Rev, ShardId};

use crate::config::SECOND;
use crate::faults::Kind;
use crate::world::{Event, World};

impl World {
    /// Carries out what an owner wants; says whether it made sense.
    pub(crate) fn ask(&mut self, kind: Kind) -> bool {
        match kind {
            Kind::Switchover => self.ask_to_move(MoveKind::Switchover, None, false),
            Kind::Failover => self.ask_to_move(MoveKind::Failover, None, false),
            Kind::MoveTo => {
                let node = self.dice.index(1 + usize::from(self.spec.replicas));
                let planned = self.dice.chance(500);
                let how = if planned { MoveKind::Switchover } else { MoveKind::Failover };
                self.ask_to_move(how, Some(node), false)
            }
            Kind::MoreReplicas => {
                let more = (self.spec.replicas + 1).min(4);
                // Nobody wants a byte less; but that every node has to be told does no harm either.
                self.respecify(|spec| {
                    spec.replicas = more;
                    spec.memory_bytes -= 1;
                });
                true
            }
            Kind::FewerReplicas => {
                let fewer = self.spec.replicas.saturating_sub(1);
                self.respecify(|spec| spec.replicas = fewer);
                true
            }
            Kind::DeleteGroup => {
                self.respecify(|spec| spec.deleting = true);
                true
            }
            _ => false,
        }
    }

    pub(crate) fn ask_to_move(
        &mut self,
        kind: MoveKind,
        to: Option<usize>,
        accept_loss: bool,
    ) -> bool {
        self.ask_beyond(kind, to, accept_loss, None)
    }

    /// A request of somebody who knows what the store has forgotten.
    pub(crate) fn ask_beyond(
        &mut self,
        kind: MoveKind,
        to: Option<usize>,
        accept_loss: bool,
        beyond: Option<Rev>,
    ) -> bool {
        let to = to.map(|node| self.nodes[node].clone());
        self.respecify(|spec| {
            let shard = ShardId::new("0001");
            let last = spec.requests.get(&shard).map_or(RequestId(0), |request| request.id);
            let request = MoveRequest { id: last.next(), kind, to, accept_loss, beyond };
            spec.requests.insert(shard, request);
        });
        true
    }

    /// An operator looks at a shard that has had no primary for long.
    pub(crate) fn operator_looks(&mut self) {
        self.after(3 * SECOND, Event::OperatorLooks);
        let quiet = self.now.saturating_sub(self.judge.last_ack) > 9 * SECOND;
        let vacant = self.store.topology.as_ref().is_some_and(|now| now.vacancy().is_some());
        if !quiet || !vacant || self.now < 12 * SECOND {
            return;
        }
        let node = self.dice.index(1 + usize::from(self.spec.replicas));
        self.ask_to_move(MoveKind::Failover, Some(node), true);
    }
}
