//! Changing a group: from what was asked and the spec as it is to the spec as it will be.
//!
//! Invariant: a change that is accepted can come true: added nodes have places, named nodes exist.
//!
//! Not here: carrying it out; that follows from the spec.

use std::collections::BTreeSet;

use tanist_core::decide::{holds_more, room_for};
use tanist_core::model::{GroupName, GroupSpec, Instant, NodeId, ShardId, ShardTopology, Zone};
use tanist_link::api::{ApiError, ModifyGroup};

use crate::ControllerConfig;
use crate::archive::Archive;
use crate::clock::wall_ms;
use crate::create::{MAX_REPLICAS, MIN_MEMORY, zones};
use crate::observe::Observer;
use crate::{reads, requests, users};

/// The spec with the change; the same spec if nothing changes.
pub(crate) fn plan(
    name: &GroupName,
    asked: &ModifyGroup,
    config: &ControllerConfig,
    archive: &Archive,
    observer: &Observer,
    now: Instant,
) -> Result<GroupSpec, ApiError> {
    let before = requests::known(archive, name)?;
    let revision = archive.specs.get(name).map_or(0, |held| held.revision.0);
    if asked.expect.is_some_and(|expected| expected != revision) {
        let message = format!("{name} has changed since revision {}", asked.expect.unwrap_or(0));
        return Err(ApiError::new("T417", message, "read it again and repeat the change"));
    }
    let mut spec = before.clone();
    if let Some(automatic) = asked.automatic_failover {
        spec.automatic_failover = automatic;
    }
    if let Some(hosts) = &asked.endpoint_hosts {
        spec.endpoint_hosts.clone_from(hosts);
    }
    if let Some(access) = &asked.access {
        spec.access = access.clone();
    }
    if let Some(change) = &asked.token {
        users::change_token(&mut spec, change, wall_ms())?;
    }
    if let Some(user_groups) = &asked.user_groups {
        users::attach(archive, &mut spec, user_groups)?;
    }
    users::check_login(&spec)?;
    if let Some(mode) = asked.transit_mode {
        spec.transit.mode = mode;
    }
    if let Some(clients) = asked.client_certificates {
        spec.transit.clients = clients;
    }
    if let Some(reads) = asked.reads {
        reads::check(&reads, spec.durability)?;
        spec.reads = reads;
    }
    remember(&mut spec, asked);
    if let Some(wanted) = asked.memory_bytes {
        spec.memory_bytes = memory(wanted, observer)?;
    }
    check_removals(before, asked)?;
    let shards: Vec<&ShardTopology> = archive
        .topologies
        .values()
        .map(|held| &*held.body)
        .filter(|shard| shard.group == *name)
        .collect();
    resize(&mut spec, asked, observer, &shards)?;
    if spec.memory_bytes < before.memory_bytes {
        check_fits(spec.memory_bytes, &shards, observer)?;
    }
    if spec.replicas > before.replicas || spec.memory_bytes > before.memory_bytes {
        for shard in shards {
            room_for(before, &spec, shard, &observer.seen, &config.limits, now).map_err(
                |wait| {
                    let remedy = "free memory on a host, or delete a group that is not needed";
                    ApiError::new("T420", wait.detail, remedy)
                },
            )?;
        }
    }
    Ok(spec)
}

/// What surfaces remember of the group, changed.
fn remember(spec: &mut GroupSpec, asked: &ModifyGroup) {
    for (surface, value) in &asked.attributes {
        match value {
            Some(value) => spec.attributes.insert(surface.clone(), value.clone()),
            None => spec.attributes.remove(surface),
        };
    }
}

/// Nobody is named to leave in vain.
fn check_removals(before: &GroupSpec, asked: &ModifyGroup) -> Result<(), ApiError> {
    let leave = before.replicas.saturating_sub(asked.replicas.unwrap_or(before.replicas));
    if asked.remove.len() > usize::from(leave) {
        let named = asked.remove.len();
        let message = format!("{named} nodes are named to be removed, and {leave} are to leave");
        return Err(ApiError::new("T404", message, "ask for fewer replicas, or name fewer nodes"));
    }
    Ok(())
}

/// What is stored has to fit: an engine that is given less deletes keys, or refuses every write.
fn check_fits(
    memory_bytes: u64,
    shards: &[&ShardTopology],
    observer: &Observer,
) -> Result<(), ApiError> {
    let full = shards.iter().find_map(|shard| holds_more(shard, &observer.seen, memory_bytes));
    full.map_or(Ok(()), |(node, used)| {
        let message = format!("{memory_bytes} bytes are too few: {node} holds {used}");
        Err(ApiError::new("T406", message, "ask for more, or delete keys first"))
    })
}

fn memory(wanted: u64, observer: &Observer) -> Result<u64, ApiError> {
    let memory_bytes = wanted.min(observer.largest_host());
    if memory_bytes < MIN_MEMORY {
        let message = format!("{memory_bytes} bytes of memory are too few: at least {MIN_MEMORY}");
        return Err(ApiError::new("T406", message, "ask for more"));
    }
    Ok(memory_bytes)
}

/// Sets the number of replicas, who leaves first and where new ones go.
fn resize(
    spec: &mut GroupSpec,
    asked: &ModifyGroup,
    observer: &Observer,
    shards: &[&ShardTopology],
) -> Result<(), ApiError> {
    for node in &asked.remove {
        check_leaver(node, shards)?;
    }
    let Some(replicas) = asked.replicas else {
        return Ok(());
    };
    if replicas > MAX_REPLICAS {
        let message = format!("{replicas} replicas are too many: at most {MAX_REPLICAS}");
        return Err(ApiError::new("T404", message, "ask for fewer"));
    }
    if spec.min_in_sync > replicas {
        let message = format!("{} replicas in sync are required for writes", spec.min_in_sync);
        return Err(ApiError::new("T407", message, "keep at least as many replicas"));
    }
    let nodes = spec.nodes_per_shard();
    spec.replicas = replicas;
    spec.unwanted = asked.remove.iter().cloned().collect();
    let exists = |node: &NodeId| shards.iter().any(|shard| shard.members.contains_key(node));
    spec.zone_of.retain(|node, _| exists(node) && !asked.remove.contains(node));
    let zones = zones(&asked.node_zones, observer)?;
    if !zones.is_empty() && shards.iter().any(|shard| is_changing(shard, nodes)) {
        // Which names the new nodes get is not known while others come or leave.
        let message = format!("nodes of {} are moving or leaving", spec.name);
        return Err(ApiError::new("T412", message, "wait for it: tanist status"));
    }
    for shard in shards {
        for (node, zone) in newcomers(spec, &shard.shard, shard).into_iter().zip(&zones) {
            spec.zone_of.insert(node, zone.clone());
        }
    }
    Ok(())
}

fn check_leaver(node: &NodeId, shards: &[&ShardTopology]) -> Result<(), ApiError> {
    let Some(shard) = shards.iter().find(|shard| shard.members.contains_key(node)) else {
        let message = format!("there is no node {node}");
        return Err(ApiError::new("T414", message, "see tanist status"));
    };
    if shard.primary().is_some_and(|run| run.node == *node) {
        let message = format!("{node} is the primary and cannot be removed");
        return Err(ApiError::new("T416", message, "move the primary first: tanist switchover"));
    }
    Ok(())
}

/// Whether some of a shard's nodes leave, or it has one more than its number for a host that is
/// drained.
fn is_changing(shard: &ShardTopology, nodes: usize) -> bool {
    shard.members.len() > nodes || shard.members.values().any(|member| member.leaving)
}

/// The names that nodes get which are added now, in the order in which they are added.
fn newcomers(spec: &GroupSpec, id: &ShardId, shard: &ShardTopology) -> Vec<NodeId> {
    let missing = spec.nodes_per_shard().saturating_sub(shard.members.len());
    let names = (1..=999).map(|ordinal| spec.node_id(id, ordinal));
    names.filter(|node| !shard.members.contains_key(node)).take(missing).collect()
}

/// The zones of a new group's nodes, by node.
pub(crate) fn choose_zones(spec: &mut GroupSpec, zones: &[Zone]) {
    let shards: BTreeSet<ShardId> = spec.shards.keys().cloned().collect();
    for shard in shards {
        for (ordinal, zone) in (1..=spec.nodes_per_shard()).zip(zones) {
            spec.zone_of.insert(spec.node_id(&shard, ordinal), zone.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::rig::topology;

    #[test]
    fn a_shard_that_moves_a_node_gets_no_wishes_for_others() {
        let mut shard = topology();
        let nodes = shard.members.len();
        assert!(!is_changing(&shard, nodes));
        assert!(is_changing(&shard, nodes - 1), "one more than its number");
        shard.members.values_mut().for_each(|member| member.leaving = true);
        assert!(is_changing(&shard, nodes), "all of them leave");
    }
}
