//! The timeline of each failover: what happened when, measured from the detection.
//!
//! Steps are noted as the controller learns of them, on its boot-time clock; a record is stored when
//! clients are served again and once more when the shard is whole.
//!
//! Invariant: a step is noted once, in the order in which it became true.
//!
//! Not here: what clients noticed (the drill's ledger).

use std::collections::BTreeMap;

use tanist_core::model::{Cause, Epoch, Instant, NodeId, ShardKey};
use tanist_link::api::{FailoverRecord, Step};

use crate::clock::wall_ms;

/// A failover that is not over.
#[derive(Debug)]
struct Open {
    started: Instant,
    record: FailoverRecord,
}

/// The failovers that are not over.
#[derive(Debug, Default)]
pub(crate) struct Timelines {
    open: BTreeMap<ShardKey, Open>,
}

impl Timelines {
    /// Begins a record: the vacancy of `epoch` is about to be committed.
    pub(crate) fn begin(
        &mut self,
        key: &ShardKey,
        epoch: Epoch,
        cause: Cause,
        from: Option<NodeId>,
        now: Instant,
    ) {
        let record = FailoverRecord {
            group: key.group.clone(),
            shard: key.shard.clone(),
            epoch,
            cause,
            from,
            to: None,
            at_ms: wall_ms(),
            detected: now,
            steps: vec![(Step::Detected, 0)],
        };
        self.open.insert(key.clone(), Open { started: now, record });
    }

    /// Notes a step, if it is new.
    pub(crate) fn note(&mut self, key: &ShardKey, step: Step, now: Instant) -> bool {
        let Some(open) = self.open.get_mut(key) else { return false };
        if open.record.steps.iter().any(|(known, _)| *known == step) {
            return false;
        }
        let micros = now.since(open.started).as_micros();
        open.record.steps.push((step, u64::try_from(micros).unwrap_or(u64::MAX)));
        true
    }

    /// Notes the heir.
    pub(crate) fn chosen(&mut self, key: &ShardKey, heir: &NodeId, now: Instant) {
        self.note(key, Step::Chosen, now);
        if let Some(open) = self.open.get_mut(key) {
            open.record.to = Some(heir.clone());
        }
    }

    /// The record of a shard's failover that is not over.
    pub(crate) fn get(&self, key: &ShardKey) -> Option<&FailoverRecord> {
        self.open.get(key).map(|open| &open.record)
    }

    /// The steps that were noted.
    pub(crate) fn has(&self, key: &ShardKey, step: Step) -> bool {
        self.get(key).is_some_and(|record| record.steps.iter().any(|(known, _)| *known == step))
    }

    /// Ends a record.
    pub(crate) fn end(&mut self, key: &ShardKey) -> Option<FailoverRecord> {
        self.open.remove(key).map(|open| open.record)
    }
}
