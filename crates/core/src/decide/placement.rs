//! Which host a node is placed on: another zone before another host before the emptiest host.
//!
//! Invariant: two nodes of a shard share a zone only if no other allowed zone has room.
//!
//! Not here: when a node has to be placed (`super::heal`).

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};

use super::View;
use crate::model::{
    Cause, Epoch, GroupSpec, HostId, HostSeen, Instant, Limits, Lineage, Member, NodeId,
    Observations, Primaryship, RequestId, Rev, ShardId, ShardTopology, Vacancy, Wait, WaitKind,
    Zone,
};

/// The first and the last port that engines get on their host: below the usual range of ephemeral
/// ports.
pub const ENGINE_PORTS: (u16, u16) = (31_000, 32_700);

/// A place for a node.
pub(super) struct Site {
    host: HostId,
    zone: Zone,
    address: SocketAddr,
    endpoint: Ipv4Addr,
}

pub(super) fn member(site: Site, endpoint: Option<Ipv4Addr>) -> Member {
    Member {
        host: site.host,
        zone: site.zone,
        address: site.address,
        endpoint: endpoint.unwrap_or(site.endpoint),
        attach: None,
        leaving: false,
    }
}

/// The best place for one more node of the shard.
pub(super) fn site(view: &View<'_>, shard: &ShardTopology, node: &NodeId) -> Option<Site> {
    let others: Vec<&Member> = shard.members.values().collect();
    let want = Want { zone: view.asked.zone_of.get(node), ..Want::default() };
    choose(view.asked, view.seen, view.limits, view.now, &others, want)
}

/// The best place for a node that has to move: a wish for a zone counts less than having a place.
pub(super) fn other_site(view: &View<'_>, shard: &ShardTopology, node: &NodeId) -> Option<Site> {
    let others = without(shard, node);
    let not = shard.members.get(node).map(|member| &member.host);
    let want = Want { not, ..Want::default() };
    choose(view.asked, view.seen, view.limits, view.now, &others, want)
}

/// The host that would be best for a node instead of the one that it is on.
pub(super) fn better_host(view: &View<'_>, node: &NodeId) -> Option<HostId> {
    let leaver = view.member(node)?;
    let others: Vec<&Member> = without(view.decided, node);
    let want = Want { not: Some(&leaver.host), ..Want::default() };
    let found = best_host(view.asked, view.seen, view.limits, view.now, &others, &want);
    found.map(|(host, _)| host.clone())
}

/// A place for `newcomer`, which comes beside `node` to take its place.
pub(super) fn better_site(view: &View<'_>, node: &NodeId, newcomer: &NodeId) -> Option<Site> {
    let leaver = view.member(node)?;
    let zone = view.asked.zone_of.get(newcomer);
    let want = Want { zone, not: Some(&leaver.host) };
    let others = without(view.decided, node);
    let found = best_host(view.asked, view.seen, view.limits, view.now, &others, &want)?;
    let all: Vec<&Member> = view.decided.members.values().collect();
    place(view.asked, view.seen, &all, found)
}

fn without<'a>(shard: &'a ShardTopology, node: &NodeId) -> Vec<&'a Member> {
    let others = shard.members.iter().filter(|(other, _)| *other != node);
    others.map(|(_, member)| member).collect()
}

/// What is asked of one node's place.
#[derive(Default)]
struct Want<'a> {
    /// The only zone that will do.
    zone: Option<&'a Zone>,
    /// A host that will not.
    not: Option<&'a HostId>,
}

fn choose(
    asked: &GroupSpec,
    seen: &Observations,
    limits: &Limits,
    now: Instant,
    others: &[&Member],
    want: Want<'_>,
) -> Option<Site> {
    let found = best_host(asked, seen, limits, now, others, &want)?;
    place(asked, seen, others, found)
}

fn place(
    asked: &GroupSpec,
    seen: &Observations,
    others: &[&Member],
    (id, host): (&HostId, &HostSeen),
) -> Option<Site> {
    let address = free_port(seen, others, host.address)?;
    let endpoint = free_endpoint(asked, seen, others)?;
    Some(Site { host: id.clone(), zone: host.zone.clone(), address, endpoint })
}

fn best_host<'a>(
    asked: &GroupSpec,
    seen: &'a Observations,
    limits: &Limits,
    now: Instant,
    others: &[&Member],
    want: &Want<'_>,
) -> Option<(&'a HostId, &'a HostSeen)> {
    let usable = |id: &HostId, host: &HostSeen| {
        let promised = seen.promised_bytes.get(id).copied().unwrap_or(0);
        let zone_allowed = asked.zones.is_empty() || asked.zones.contains(&host.zone);
        host.region == asked.region
            && zone_allowed
            && !host.draining
            && now.since(host.at) <= limits.host
            && Some(id) != want.not
            && want.zone.is_none_or(|zone| *zone == host.zone)
            && promised.saturating_add(asked.memory_bytes) <= host.memory_bytes
    };
    // Who has to leave its host will not be there.
    let stays = |member: &&&Member| !seen.hosts.get(&member.host).is_some_and(|host| host.draining);
    let in_zone =
        |zone: &Zone| others.iter().filter(stays).filter(|member| member.zone == *zone).count();
    let on_host = |id: &HostId| others.iter().filter(|member| member.host == *id).count();
    seen.hosts.iter().filter(|(id, host)| usable(id, host)).min_by_key(|(id, host)| {
        let promised = seen.promised_bytes.get(*id).copied().unwrap_or(0);
        (in_zone(&host.zone), on_host(id), promised, (*id).clone())
    })
}

fn free_port(seen: &Observations, others: &[&Member], host: Ipv4Addr) -> Option<SocketAddr> {
    (ENGINE_PORTS.0..=ENGINE_PORTS.1).map(|port| SocketAddr::from((host, port))).find(|address| {
        !seen.taken.engines.contains(address)
            && !others.iter().any(|member| member.address == *address)
    })
}

fn free_endpoint(asked: &GroupSpec, seen: &Observations, others: &[&Member]) -> Option<Ipv4Addr> {
    // The group's own endpoints are promised with its spec, before anything is seen of it.
    let own = [asked.endpoints.primary, asked.endpoints.reader];
    seen.taken.plan.addresses().find(|ip| {
        !own.contains(ip)
            && !seen.taken.endpoints.contains(ip)
            && !others.iter().any(|member| member.endpoint == *ip)
    })
}

/// Free endpoint addresses for a new group: the primary's and the reader's.
pub fn free_endpoints(seen: &Observations) -> Option<(Ipv4Addr, Ipv4Addr)> {
    let mut free = seen.taken.plan.addresses().filter(|ip| !seen.taken.endpoints.contains(ip));
    Some((free.next()?, free.next()?))
}

/// The first topology of a new group's shard: nobody is primary, every node has a place.
///
/// # Errors
/// The [`Wait`] that names what is missing when a node finds no host with room.
pub fn found(
    asked: &GroupSpec,
    shard: &ShardId,
    seen: &Observations,
    limits: &Limits,
    now: Instant,
) -> Result<ShardTopology, Wait> {
    let mut members: BTreeMap<NodeId, Member> = BTreeMap::new();
    for ordinal in 1..=asked.nodes_per_shard() {
        let others: Vec<&Member> = members.values().collect();
        let node = asked.node_id(shard, ordinal);
        let want = Want { zone: asked.zone_of.get(&node), ..Want::default() };
        let Some(site) = choose(asked, seen, limits, now, &others, want) else {
            let detail = format!("no host has room for node {ordinal} of {}", asked.name);
            return Err(Wait { kind: WaitKind::Room, detail });
        };
        members.insert(node, member(site, None));
    }
    let cause = Cause::Created;
    let vacancy = Vacancy { prev: None, cause, request: None, heir: None };
    Ok(ShardTopology {
        group: asked.name.clone(),
        shard: shard.clone(),
        rev: Rev(1),
        epoch: Epoch(1),
        durability: asked.durability,
        slots: asked.shards.get(shard).cloned().unwrap_or_default(),
        primaryship: Primaryship::Vacant(vacancy),
        in_sync: BTreeSet::new(),
        pending: None,
        lineage: Lineage::default(),
        members,
        lanes: BTreeSet::new(),
        next_seq: 1,
        request_done: RequestId(0),
        relocation: None,
    })
}

/// The node that uses the most memory of those that use more than `memory_bytes`, and how much: with
/// that limit an engine would delete keys to reach it, or refuse every write.
pub fn holds_more<'a>(
    decided: &'a ShardTopology,
    seen: &Observations,
    memory_bytes: u64,
) -> Option<(&'a NodeId, u64)> {
    let used = decided.members.iter().filter_map(|(node, member)| {
        let engine = seen.node(node, &member.host)?.report.engine()?;
        Some((node, engine.memory_bytes))
    });
    used.filter(|(_, bytes)| *bytes > memory_bytes).max_by_key(|(_, bytes)| *bytes)
}

/// Whether a shard has room for what its group is about to ask for: more nodes, or larger ones.
///
/// # Errors
/// The [`Wait`] that names what is missing.
pub fn room_for(
    before: &GroupSpec,
    asked: &GroupSpec,
    decided: &ShardTopology,
    seen: &Observations,
    limits: &Limits,
    now: Instant,
) -> Result<(), Wait> {
    let wait = |detail| Wait { kind: WaitKind::Room, detail };
    let grows = asked.memory_bytes.saturating_sub(before.memory_bytes);
    let mut seen = seen.clone();
    for (node, member) in &decided.members {
        let promised = seen.promised_bytes.entry(member.host.clone()).or_default();
        *promised = promised.saturating_add(grows);
        let has = seen.hosts.get(&member.host).map_or(0, |host| host.memory_bytes);
        if grows > 0 && *promised > has {
            return Err(wait(format!("{} has no room for a larger {node}", member.host)));
        }
    }
    let mut members = decided.members.clone();
    while members.values().filter(|member| !member.leaving).count() < asked.nodes_per_shard() {
        let names = (1..=999).map(|ordinal| asked.node_id(&decided.shard, ordinal));
        let Some(node) = names.into_iter().find(|node| !members.contains_key(node)) else {
            return Err(wait("no name is free for another node".to_owned()));
        };
        let others: Vec<&Member> = members.values().collect();
        let want = Want { zone: asked.zone_of.get(&node), ..Want::default() };
        let Some(site) = choose(asked, &seen, limits, now, &others, want) else {
            return Err(wait(format!("no host has room for {node}")));
        };
        *seen.promised_bytes.entry(site.host.clone()).or_default() += asked.memory_bytes;
        members.insert(node, member(site, None));
    }
    Ok(())
}
