//! Creating a group: from what was asked to a spec and founding topologies.
//!
//! Invariant: a group that is accepted fits: every node has a host, a port and an address.
//!
//! Not here: starting anything; that follows from the topology.

use std::collections::{BTreeMap, BTreeSet};

use tanist_core::decide::{found, free_endpoints};
use tanist_core::model::{
    Accounts, Durability, GroupEndpoints, GroupName, GroupSpec, Instant, Login, ShardId,
    ShardTopology, SlotRange, Zone,
};
use tanist_link::api::{ApiError, CreateGroup, TokenChange};

use crate::ControllerConfig;
use crate::archive::Archive;
use crate::clock::wall_ms;
use crate::modify::choose_zones;
use crate::names::READER_SUFFIX;
use crate::observe::Observer;
use crate::{reads, users};

/// Most replicas that a shard may have, as in ElastiCache.
pub(crate) const MAX_REPLICAS: u8 = 5;
/// Least memory that a node is useful with.
pub(crate) const MIN_MEMORY: u64 = 16 << 20;
/// Most groups of an installation.
const MAX_GROUPS: usize = 2_500;
/// What is measured of a node at most: one series each.
const SERIES_OF_A_NODE: usize = 17;
/// The nodes of the most groups, as most of them are: with two replicas.
const MANY_NODES: usize = MAX_GROUPS * 3;

const _: () = assert!(
    tanist_telemetry::Limits::DEFAULT.own.series >= MANY_NODES * SERIES_OF_A_NODE,
    "there is room for what is measured of the most groups"
);

/// A group whose reader endpoint has the name of this one's primary endpoint, or the other way round.
fn namesake(name: &GroupName, archive: &Archive) -> Option<GroupName> {
    let base = name.as_str().strip_suffix(READER_SUFFIX).map(GroupName::new);
    let reader = GroupName::new(format!("{name}{READER_SUFFIX}"));
    base.into_iter().chain([reader]).find(|other| archive.specs.contains_key(other))
}

/// Checks what was asked and finds places for it.
pub(crate) fn plan(
    asked: &CreateGroup,
    config: &ControllerConfig,
    archive: &Archive,
    observer: &Observer,
    now: Instant,
) -> Result<(GroupSpec, Vec<ShardTopology>), ApiError> {
    let spec = check(asked, config, archive, observer)?;
    let mut shards = Vec::new();
    for id in spec.shards.keys() {
        let found = found(&spec, id, &observer.seen, &config.limits, now);
        let mut shard = found.map_err(|wait| {
            let remedy = "lower --memory, use fewer replicas, or delete a group that is not needed";
            ApiError::new("T420", wait.detail, remedy)
        })?;
        shard.lanes = observer.seen.heard.keys().cloned().collect();
        shards.push(shard);
    }
    Ok((spec, shards))
}

/// The group's name, if it can be another group's.
fn free_name(asked: &CreateGroup, archive: &Archive) -> Result<GroupName, ApiError> {
    let name = GroupName::parse(&asked.name)
        .map_err(|err| ApiError::new("T401", err.to_string(), "choose another name"))?;
    if archive.specs.contains_key(&name) {
        let remedy = "choose another name, or delete it first: tanist delete";
        return Err(ApiError::new("T402", format!("the group {name} exists already"), remedy));
    }
    if let Some(other) = namesake(&name, archive) {
        let message = format!("{name}'s endpoints would have the names of {other}'s");
        return Err(ApiError::new("T401", message, "choose another name"));
    }
    if archive.specs.len() >= MAX_GROUPS {
        let message = format!("there are {MAX_GROUPS} groups already");
        return Err(ApiError::new("T403", message, "delete a group that is not needed"));
    }
    Ok(name)
}

fn check(
    asked: &CreateGroup,
    config: &ControllerConfig,
    archive: &Archive,
    observer: &Observer,
) -> Result<GroupSpec, ApiError> {
    let name = free_name(asked, archive)?;
    if asked.replicas > MAX_REPLICAS {
        let message = format!("{} replicas are too many: at most {MAX_REPLICAS}", asked.replicas);
        return Err(ApiError::new("T404", message, "lower --replicas"));
    }
    let allowed = zones(&asked.zones, observer)?;
    let chosen = zones(&asked.node_zones, observer)?;
    let wanted =
        if asked.memory_bytes == 0 { config.default_memory_bytes } else { asked.memory_bytes };
    // More than any host has is not refused but capped; the answer says what it became.
    let memory_bytes = wanted.min(observer.largest_host());
    if memory_bytes < MIN_MEMORY {
        let message = format!("{memory_bytes} bytes of memory are too few: at least {MIN_MEMORY}");
        return Err(ApiError::new("T406", message, "raise --memory"));
    }
    if asked.min_in_sync > 1 || asked.min_in_sync > asked.replicas {
        let message = format!("min_in_sync {} is not possible", asked.min_in_sync);
        return Err(ApiError::new("T407", message, "use 0, or 1 with at least one replica"));
    }
    let Some((primary, reader)) = free_endpoints(&observer.seen) else {
        let remedy = "delete a group that is not needed";
        return Err(ApiError::new("T421", "no endpoint address is free", remedy));
    };
    let mut spec = GroupSpec {
        name,
        region: config.region.clone(),
        engine: asked.engine,
        shards: BTreeMap::from([(ShardId::new("0001"), vec![SlotRange::ALL])]),
        replicas: asked.replicas,
        zones: allowed,
        automatic_failover: asked.automatic_failover,
        durability: asked.durability.unwrap_or_else(|| default_durability(asked)),
        min_in_sync: asked.min_in_sync,
        memory_bytes,
        endpoints: GroupEndpoints {
            primary,
            reader,
            port: config.port,
            ports_from: config.endpoints.ports.map(|(first, _)| first),
        },
        endpoint_hosts: asked.endpoint_hosts.clone(),
        requests: BTreeMap::new(),
        access: asked.access.clone(),
        login: Login::default(),
        accounts: Accounts::default(),
        transit: asked.transit,
        reads: asked.reads,
        zone_of: BTreeMap::new(),
        unwanted: BTreeSet::new(),
        attributes: asked.attributes.clone(),
        deleting: false,
    };
    reads::check(&spec.reads, spec.durability)?;
    choose_zones(&mut spec, &chosen);
    if let Some(token) = asked.tokens.last() {
        users::change_token(&mut spec, &TokenChange::Set(token.clone()), wall_ms())?;
    }
    users::attach(archive, &mut spec, &asked.user_groups)?;
    users::check_login(&spec)?;
    Ok(spec)
}

fn default_durability(asked: &CreateGroup) -> Durability {
    if asked.automatic_failover && asked.replicas > 0 {
        Durability::Sync
    } else {
        Durability::Async
    }
}

/// Zones by their names.
pub(crate) fn zones(named: &[String], observer: &Observer) -> Result<Vec<Zone>, ApiError> {
    let zones: Vec<Zone> = named.iter().map(Zone::new).collect();
    let known: BTreeSet<&Zone> = observer.seen.hosts.values().map(|host| &host.zone).collect();
    match zones.iter().find(|zone| !known.contains(*zone)) {
        None => Ok(zones),
        Some(unknown) => {
            let names: Vec<&str> = known.iter().map(|zone| zone.as_str()).collect();
            let message = format!("there is no host in the zone {unknown}");
            Err(ApiError::new("T405", message, format!("use one of: {}", names.join(", "))))
        }
    }
}
