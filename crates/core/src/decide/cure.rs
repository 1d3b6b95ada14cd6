//! Moves that cure: a primary whose engine cannot write to its disk refuses writes for as long as
//! that lasts, although a replica on another disk could take them.
//!
//! It is proposed, not decided here: the move is an ordinary planned switchover, asked for by the
//! controller instead of a person, so that it drains, waits and gives up like any other.
//!
//! Invariant: only a member that could take over and whose own disk takes writes is proposed.
//!
//! Not here: for how long a primary may refuse before it is moved (`super::patience`).

use super::View;
use super::vacate::could_take_over;
use crate::model::{GroupSpec, Health, Instant, Limits, NodeId, Observations, ShardTopology};

/// The replica to which the shard's primaryship should move because its engine answers MISCONF:
/// the append-only file or a snapshot cannot be written.
pub fn cure(
    asked: &GroupSpec,
    decided: &ShardTopology,
    seen: &Observations,
    limits: &Limits,
    now: Instant,
) -> Option<NodeId> {
    let view = View { asked, decided, seen, limits, now };
    let primary = view.movable()?;
    if !asked.automatic_failover || view.engine_of(primary)?.health != Health::Misconf {
        return None;
    }
    let host = &view.member(&primary.node)?.host;
    // A replica with the same fault answers MISCONF too; one that is well refuses as a replica.
    let well = |node: &NodeId| view.engine(node).is_some_and(|e| e.health == Health::ReadOnly);
    let elsewhere = |node: &NodeId| view.member(node).is_some_and(|m| m.host != *host);
    let mut others = decided.members.keys().filter(|node| **node != primary.node);
    others.find(|node| elsewhere(node) && well(node) && could_take_over(&view, node)).cloned()
}
