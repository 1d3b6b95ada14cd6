//! Requests to move a primaryship: taken in as changes of the spec, and dropped when they grow old.
//!
//! Most come from people. The controller makes one itself when a move would cure a primary.
//!
//! Invariant: a request that could not be carried out for a while never surprises anybody later.
//!
//! Not here: whether one can be carried out, what a move would cure, and what has lasted for too
//! long (`tanist_core::decide`).

use std::collections::BTreeMap;

use tanist_core::decide::{move_due, request_expired};
use tanist_core::model::{
    GroupName, GroupSpec, Instant, Limits, MoveKind, MoveRequest, NodeId, RequestId, Rev, ShardId,
    ShardKey, ShardTopology,
};
use tanist_link::api::{ApiError, MovePrimary};

use crate::archive::Archive;

/// Since when a move would cure a shard's primary, and when one was last made for that.
#[derive(Debug, Default)]
pub(crate) struct Cures {
    since: BTreeMap<ShardKey, Instant>,
    made: BTreeMap<ShardKey, Instant>,
}

impl Cures {
    /// The shards that a move would cure, as was last heard.
    pub(crate) fn known(&self) -> impl Iterator<Item = &ShardKey> {
        self.since.keys()
    }

    /// Whether the move that `heir` stands for is due; if it is, it is taken for made.
    pub(crate) fn due(
        &mut self,
        key: &ShardKey,
        heir: Option<&NodeId>,
        limits: &Limits,
        now: Instant,
    ) -> bool {
        if heir.is_none() {
            self.since.remove(key);
            return false;
        }
        let since = *self.since.entry(key.clone()).or_insert(now);
        let due = move_due(since, self.made.get(key).copied(), limits, now);
        if due {
            self.made.insert(key.clone(), now);
            self.since.remove(key);
        }
        due
    }
}

/// When each pending request was first seen.
#[derive(Debug, Default)]
pub(crate) struct Ages {
    since: BTreeMap<ShardKey, (RequestId, Instant)>,
}

impl Ages {
    /// The requests that have waited for too long.
    pub(crate) fn expired(
        &mut self,
        archive: &Archive,
        limits: &Limits,
        now: Instant,
    ) -> Vec<ShardKey> {
        let mut old = Vec::new();
        // Of thousands of groups hardly any was asked for anything.
        let asked = archive.specs.values().filter(|held| !held.body.requests.is_empty());
        let shards = asked.flat_map(|held| archive.shards_of(&held.body.name));
        let pending = |shard: &ShardTopology| pending(archive, shard);
        self.since.retain(|key, _| {
            archive.topologies.get(key).is_some_and(|held| pending(&held.body).is_some())
        });
        for shard in shards {
            let Some(request) = pending(shard) else { continue };
            let key = shard.key();
            let entry = self.since.entry(key.clone()).or_insert((request.id, now));
            if entry.0 != request.id {
                *entry = (request.id, now);
            }
            if request_expired(shard, request.id, entry.1, limits, now) {
                old.push(key);
            }
        }
        old
    }
}

/// The request of a shard that has not been carried out.
pub(crate) fn pending<'a>(archive: &'a Archive, shard: &ShardTopology) -> Option<&'a MoveRequest> {
    let spec = &archive.specs.get(&shard.group)?.body;
    spec.requests.get(&shard.shard).filter(|request| request.id > shard.request_done)
}

/// The spec with a new request. `forgotten` says what hosts were told and the store has forgotten, if
/// there is anything: whoever accepts a loss then knows of it.
pub(crate) fn add(
    archive: &Archive,
    group: &GroupName,
    kind: MoveKind,
    asked: &MovePrimary,
    forgotten: impl Fn(&ShardTopology) -> Option<Rev>,
) -> Result<(GroupSpec, ShardId, RequestId), ApiError> {
    let spec = known(archive, group)?;
    let shard = match &asked.shard {
        Some(shard) => shard.clone(),
        None => spec.shards.keys().next().cloned().unwrap_or_else(|| ShardId::new("0001")),
    };
    let key = ShardKey { group: group.clone(), shard: shard.clone() };
    let Some(topology) = archive.topologies.get(&key).map(|held| &held.body) else {
        let message = format!("the group {group} has no shard {shard}");
        return Err(ApiError::new("T411", message, "see tanist status"));
    };
    // Whoever accepts a loss has found out that what was asked before does not help.
    if let Some(other) = pending(archive, topology).filter(|_| !asked.accept_loss) {
        let message = format!("{group}: request {} is still being carried out", other.id);
        return Err(ApiError::new("T412", message, "wait for it: tanist status"));
    }
    let beyond = forgotten(topology);
    if let Some(node) = &asked.to {
        // Who was primary when an older copy was made need not be.
        check_heir(topology, node, beyond.is_none())?;
    }
    let before = spec.requests.get(&shard).map_or(RequestId(0), |request| request.id);
    let id = before.max(topology.request_done).next();
    let (to, accept_loss) = (asked.to.clone(), asked.accept_loss);
    let request = MoveRequest { id, kind, to, accept_loss, beyond };
    let mut spec = spec.clone();
    spec.requests.insert(shard.clone(), request);
    Ok((spec, shard, id))
}

fn check_heir(
    topology: &ShardTopology,
    node: &NodeId,
    knows_the_primary: bool,
) -> Result<(), ApiError> {
    if knows_the_primary && topology.primary().is_some_and(|run| run.node == *node) {
        let message = format!("{node} is the primary already");
        return Err(ApiError::new("T413", message, "nothing to do"));
    }
    if topology.members.contains_key(node) {
        return Ok(());
    }
    let message = format!("{} has no node {node}", topology.group);
    Err(ApiError::new("T414", message, "see tanist status"))
}

/// A group's spec.
pub(crate) fn known<'a>(
    archive: &'a Archive,
    group: &GroupName,
) -> Result<&'a GroupSpec, ApiError> {
    let held = archive.specs.get(group).filter(|held| !held.body.deleting);
    held.map(|held| &*held.body).ok_or_else(|| {
        let message = format!("there is no group {group}");
        ApiError::new("T410", message, "tanist status lists the groups")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cure_is_due_after_a_while_and_not_again_soon() {
        let key = ShardKey { group: "web".into(), shard: "0001".into() };
        let heir = NodeId::new("web-002");
        let limits = Limits::DEFAULT;
        let mut cures = Cures::default();
        let mut due =
            |heir: Option<&NodeId>, ms| cures.due(&key, heir, &limits, Instant::from_millis(ms));
        assert!(!due(Some(&heir), 1_000));
        assert!(!due(Some(&heir), 2_999));
        // It was well for a moment: the time begins anew.
        assert!(!due(None, 3_000));
        assert!(!due(Some(&heir), 3_100));
        assert!(due(Some(&heir), 5_100));
        assert!(!due(Some(&heir), 5_200));
        assert!(!due(Some(&heir), 65_000));
        assert!(due(Some(&heir), 65_100));
    }
}
