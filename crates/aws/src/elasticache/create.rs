//! Creating a replication group: from a request to what the controller is asked.
//!
//! Invariant: a request that is accepted names only what exists, and promises only what is kept.
//!
//! Not here: finding places for the nodes (the controller).

use tanist_core::model::{EngineKind, Reads};
use tanist_link::api::CreateGroup;

use super::describe::named;
use super::refusal::{Refusal, bad_combination, bad_value, no_cluster, refuse};
use super::scene::{NODE_GROUP, Scene};
use super::unbuilt::refuse_unbuilt;
use super::{
    durability, engines, ids, login, network, node_types, remembered, spread, tags, transit,
    windows,
};
use crate::groups::GroupRecord;
use crate::value::Structure;

/// Most replicas of a node group.
pub(super) const MAX_REPLICAS: i64 = 5;

/// A group to be created.
#[derive(Debug)]
pub(super) struct Founding {
    /// What the controller is asked. The attributes and who may connect are not in it yet.
    pub(super) asked: CreateGroup,
    /// What is remembered.
    pub(super) record: GroupRecord,
}

/// `CreateReplicationGroup`.
pub(super) fn founding(scene: Scene<'_>, input: &Structure) -> Result<Founding, Refusal> {
    let name = ids::replication_group(input.text("ReplicationGroupId").unwrap_or(""))?;
    let description = Some(described(input)?);
    check_free(scene, &name)?;
    refuse_unbuilt(scene, input)?;
    from_cluster(scene, input)?;
    let engine = engines::named(scene.settings, named(input, "Engine").unwrap_or("redis"))?;
    if let Some(version) = named(input, "EngineVersion") {
        engines::check_version(engine, version)?;
    }
    let parameter_group = named(input, "CacheParameterGroupName");
    if let Some(group) = parameter_group {
        engines::check_parameters(scene.settings, scene.pages, engine, group)?;
    }
    let nodes = nodes(input)?;
    let failover = input.flag("AutomaticFailoverEnabled").unwrap_or(false);
    let multi_az = input.flag("MultiAZEnabled").unwrap_or(false);
    check_failover(nodes.replicas, failover, multi_az)?;
    let Some(node_type) = named(input, "CacheNodeType") else {
        return Err(bad_value(
            "The parameter CacheNodeType must be provided and must not be null.",
        ));
    };
    let memory_bytes = node_types::bytes(node_type)?;
    let subnets = network::find(scene, named(input, "CacheSubnetGroupName"))?;
    network::check_zones(scene, &subnets, nodes.zones.iter().map(String::as_str))?;
    if multi_az {
        spread::check_asked(&subnets, &nodes.zones)?;
    }
    let security_groups =
        network::security_groups(scene, subnets.vpc, input.texts("SecurityGroupIds"))?;
    let (durability, durability_word) = durability::asked(input)?;
    let (tokens, user_groups) = login::founding(input)?;
    let record = GroupRecord {
        description,
        durability: durability_word,
        node_type: Some(node_type.to_owned()),
        subnet_group: Some(subnets.name.to_owned()),
        security_groups,
        multi_az,
        parameter_group: parameter_group.map(str::to_owned),
        notification_topic: named(input, "NotificationTopicArn").map(str::to_owned),
        auto_minor_version_upgrade: input.flag("AutoMinorVersionUpgrade"),
        tags: tags::given(input)?,
        created_ms: Some(scene.now.as_millisecond()),
        ..windows_of(&name, input)?
    };
    let zones = subnets.zones().into_iter().map(str::to_owned).collect();
    let asked = CreateGroup {
        name,
        engine: kind(engine.name)?,
        replicas: nodes.replicas,
        zones,
        durability,
        min_in_sync: 0,
        automatic_failover: failover,
        memory_bytes,
        node_zones: nodes.zones,
        endpoint_hosts: Default::default(),
        access: Default::default(),
        tokens,
        user_groups,
        transit: transit::asked(input)?,
        reads: Reads::default(),
        attributes: Default::default(),
    };
    Ok(Founding { asked, record })
}

fn described(input: &Structure) -> Result<String, Refusal> {
    let message =
        "The parameter ReplicationGroupDescription must be provided and must not be blank.";
    let text = named(input, "ReplicationGroupDescription").ok_or_else(|| bad_value(message))?;
    remembered::description(text)
}

fn check_free(scene: Scene<'_>, name: &str) -> Result<(), Refusal> {
    let Some(known) = scene.any_group(name) else { return Ok(()) };
    let code = "ReplicationGroupAlreadyExists";
    Err(match known.retained() {
        Some(left) => refuse(
            code,
            format_args!(
                "The cache cluster {} is left of a replication group {name}: delete it first.",
                left.node
            ),
        ),
        None => refuse(code, "Replication group with specified id already exists."),
    })
}

/// A group cannot grow out of a cache cluster yet.
fn from_cluster(scene: Scene<'_>, input: &Structure) -> Result<(), Refusal> {
    match named(input, "PrimaryClusterId") {
        None => Ok(()),
        Some(name) if scene.cluster(name).is_err() => Err(no_cluster(name)),
        Some(_) => Err(bad_combination(
            "A replication group cannot be made of an existing cache cluster yet: leave \
             PrimaryClusterId out.",
        )),
    }
}

fn kind(name: &str) -> Result<EngineKind, Refusal> {
    match name {
        "redis" => Ok(EngineKind::Redis),
        "valkey" => Ok(EngineKind::Valkey),
        other => Err(bad_value(format_args!("The engine {other} is not known."))),
    }
}

/// The record's windows.
fn windows_of(name: &str, input: &Structure) -> Result<GroupRecord, Refusal> {
    let weekly =
        named(input, "PreferredMaintenanceWindow").map(windows::maintenance).transpose()?;
    let daily = named(input, "SnapshotWindow").map(windows::snapshot).transpose()?;
    let (weekly, daily) = windows::choose(name, weekly, daily);
    windows::check_apart(&weekly, &daily)?;
    Ok(GroupRecord {
        maintenance_window: Some(weekly),
        snapshot_window: Some(daily),
        ..GroupRecord::default()
    })
}

/// Do the number of replicas and the switches go together?
pub(super) fn check_failover(replicas: u8, failover: bool, multi_az: bool) -> Result<(), Refusal> {
    if multi_az && !failover {
        let message = "Automatic failover must be enabled in order to enable Multi-AZ.";
        return Err(bad_combination(message));
    }
    if failover && replicas == 0 {
        return Err(bad_combination(
            "When using automatic failover, there must be at least 2 cache clusters in the \
             replication group.",
        ));
    }
    Ok(())
}

/// How many nodes, and where.
#[derive(Debug)]
struct Nodes {
    replicas: u8,
    /// Of each node in order; empty for whatever is best.
    zones: Vec<String>,
}

fn nodes(input: &Structure) -> Result<Nodes, Refusal> {
    one_node_group(input)?;
    let configured = input.structures("NodeGroupConfiguration").next();
    let clusters = input.integer("NumCacheClusters");
    let given = [
        clusters.map(|count| count.saturating_sub(1)),
        input.integer("ReplicasPerNodeGroup"),
        configured.and_then(|group| group.integer("ReplicaCount")),
    ];
    let mut given = given.into_iter().flatten();
    let replicas = given.next().unwrap_or(0);
    if given.any(|other| other != replicas) {
        return Err(bad_combination(
            "NumCacheClusters, ReplicasPerNodeGroup and ReplicaCount name different numbers of \
             nodes.",
        ));
    }
    let replicas = replica_count(replicas)?;
    let zones = match configured {
        Some(group) => configured_zones(input, group)?,
        None => input.texts("PreferredCacheClusterAZs").map(str::to_owned).collect(),
    };
    // Of a configured group the primary's zone may stand alone.
    let one_is_enough = configured.is_some() && zones.len() == 1;
    if !zones.is_empty() && zones.len() != usize::from(replicas) + 1 && !one_is_enough {
        return Err(bad_combination(
            "Must specify the same number of preferred availability zones as requested number of \
             nodes.",
        ));
    }
    Ok(Nodes { replicas, zones })
}

/// A number of replicas that a node group can have.
pub(super) fn replica_count(count: i64) -> Result<u8, Refusal> {
    let limits = 0..=MAX_REPLICAS;
    let count = u8::try_from(count).ok().filter(|count| limits.contains(&i64::from(*count)));
    count.ok_or_else(|| {
        bad_value(format_args!(
            "The number of replicas per node group must be within 0 and {MAX_REPLICAS}."
        ))
    })
}

fn one_node_group(input: &Structure) -> Result<(), Refusal> {
    let groups = input.integer("NumNodeGroups").unwrap_or(1);
    if groups < 1 {
        return Err(bad_value(format_args!("Invalid value {groups} for NumNodeGroups.")));
    }
    let configured = input.items("NodeGroupConfiguration").len();
    if groups > 1 || configured > 1 {
        let message = "Cluster mode is not offered yet: a replication group has one node group.";
        return Err(bad_combination(message));
    }
    Ok(())
}

fn configured_zones(input: &Structure, group: &Structure) -> Result<Vec<String>, Refusal> {
    if named(group, "NodeGroupId").is_some_and(|id| id != NODE_GROUP) {
        let message = format_args!("The only node group of a replication group is {NODE_GROUP}.");
        return Err(bad_value(message));
    }
    if named(group, "Slots").is_some() {
        return Err(bad_combination("Slots belong to cluster mode, which is not offered yet."));
    }
    let outposts = !group.items("ReplicaOutpostArns").is_empty();
    if outposts || named(group, "PrimaryOutpostArn").is_some() {
        return Err(bad_value("There are no outposts."));
    }
    if !input.items("PreferredCacheClusterAZs").is_empty() {
        let message = "Name zones in PreferredCacheClusterAZs or in NodeGroupConfiguration.";
        return Err(bad_combination(message));
    }
    let primary = named(group, "PrimaryAvailabilityZone");
    let replicas = group.texts("ReplicaAvailabilityZones");
    let zones: Vec<String> = primary.into_iter().chain(replicas).map(str::to_owned).collect();
    if primary.is_none() && !zones.is_empty() {
        let message = "Name the primary's availability zone if you name the replicas'.";
        return Err(bad_combination(message));
    }
    Ok(zones)
}

#[cfg(test)]
mod tests;
