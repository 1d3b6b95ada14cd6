//! The timeline of each failover: what happened when, measured from the detection.
//!
//! Steps are noted as the controller learns of them, on its boot-time clock; a record is stored when
//! clients are served again and once more when the shard is whole.
//!
//! Invariant: a step is noted once, in the order in which it became true.
//!
//! Not here: what clients noticed (the drill's ledger).

use std::collections::BTreeMap;

use tanist_core::model::{
    Cause, Epoch, Fenced, GroupSpec, Instant, NodeId, ShardKey, ShardTopology,
};
use tanist_link::api::{FailoverRecord, Step};

use crate::clock::{boot_time, wall_ms};
use crate::error::ControllerError;
use crate::reconciler::Controller;

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

impl Controller {
    /// Notes the steps of a failover that have become true.
    pub(crate) fn note_steps(&mut self, spec: &GroupSpec, shard: &ShardTopology, now: Instant) {
        let key = shard.key();
        let Some(open) = self.timelines.get(&key) else { return };
        let epoch = open.epoch;
        if let Some(prev) = shard.vacancy().and_then(|vacancy| vacancy.prev.as_ref())
            && let Some(member) = shard.members.get(&prev.node)
            && let Some(seen) = self.observer.seen.node(&prev.node, &member.host)
            && let Some(fence) = &seen.report.fence
            && fence.rev == shard.rev
            && matches!(fence.state, Fenced::Dead | Fenced::Frozen { .. })
        {
            self.timelines.note(&key, Step::Fenced, now);
        }
        if shard.primary().is_some() && self.is_promoted(shard) {
            self.timelines.note(&key, Step::Promoted, now);
        }
        let said = self.observer.said(&key);
        if said.filter_map(|(_, shard)| shard.released).any(|released| released >= epoch) {
            self.timelines.note(&key, Step::Released, now);
        }
        let whole = shard.in_sync.len() == usize::from(spec.replicas);
        if whole && self.timelines.has(&key, Step::Released) {
            self.timelines.note(&key, Step::Replaced, now);
        }
    }

    /// Stores the record of a failover whose clients are served again.
    pub(crate) async fn keep_timeline(
        &mut self,
        key: &ShardKey,
        replicas: u8,
        shard: &ShardTopology,
    ) -> Result<(), ControllerError> {
        if shard.in_sync.len() == usize::from(replicas) {
            self.timelines.note(key, Step::Replaced, boot_time());
            return self.end_timeline(key).await;
        }
        Ok(())
    }

    pub(crate) async fn end_timeline(&mut self, key: &ShardKey) -> Result<(), ControllerError> {
        let Some(record) = self.timelines.end(key) else { return Ok(()) };
        match self.archive.write_failover(&record).await {
            Ok(()) => Ok(()),
            Err(err) => self.survive(err),
        }
    }
}
