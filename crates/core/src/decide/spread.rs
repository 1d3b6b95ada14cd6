//! How well nodes are spread, as a number that only gets smaller: what makes a move worth making.
//!
//! Of a shard: how many pairs of its nodes share a zone, then how many share a host. Of hosts: how much
//! of each is promised, where a node counts for a twentieth of its host at least, because nodes that
//! are empty today need not be so tomorrow. A shard's spread comes first; between hosts only a
//! gross difference counts.
//!
//! Invariant: every move that is called better makes (pairs in zones, pairs on hosts, the hosts' loads
//! from the highest down) strictly smaller, in this order: so moves end, and none takes another back.
//!
//! Not here: which move is made (`super::rebalance`), where a new node is placed (`super::placement`).

use std::collections::BTreeMap;

use crate::model::{GroupSpec, HostId, HostSeen, Member, NodeId, Observations, ShardTopology};

/// A host's memory, as loads are counted.
const WHOLE: u64 = 1_000_000;
/// What a node counts for at least.
const LEAST: u64 = WHOLE / 20;
/// How much less the better host has to carry, with the node, than the other one has now.
const GROSS: u64 = WHOLE / 4;

/// How badly a shard's nodes are spread; the smaller, the better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct Spread {
    /// Pairs of nodes that share a zone.
    pub(super) in_zones: usize,
    /// Pairs of nodes that share a host.
    pub(super) on_hosts: usize,
}

impl Spread {
    /// The spread of these nodes.
    pub(super) fn of<'a>(members: impl IntoIterator<Item = &'a Member>) -> Self {
        let mut spread = Self::default();
        let (mut zones, mut hosts) = (BTreeMap::new(), BTreeMap::new());
        for member in members {
            let in_zone: &mut usize = zones.entry(&member.zone).or_default();
            spread.in_zones += *in_zone;
            *in_zone += 1;
            let on_host: &mut usize = hosts.entry(&member.host).or_default();
            spread.on_hosts += *on_host;
            *on_host += 1;
        }
        spread
    }

    /// The spread of a shard's nodes without one of them.
    pub(super) fn without(shard: &ShardTopology, node: &NodeId) -> Self {
        Self::of(shard.members.iter().filter(|(other, _)| *other != node).map(|(_, m)| m))
    }
}

/// How much each host carries.
pub(super) struct Loads(BTreeMap<HostId, u64>);

impl Loads {
    /// What is placed by these topologies.
    pub(super) fn of<'a>(
        shards: impl IntoIterator<Item = (&'a GroupSpec, &'a ShardTopology)>,
        seen: &Observations,
    ) -> Self {
        let mut loads: BTreeMap<HostId, u64> = BTreeMap::new();
        for (asked, shard) in shards {
            for member in shard.members.values() {
                let Some(host) = seen.hosts.get(&member.host) else { continue };
                *loads.entry(member.host.clone()).or_default() += weight(asked, host);
            }
        }
        Self(loads)
    }

    /// How much a host carries.
    pub(super) fn on(&self, host: &HostId) -> u64 {
        self.0.get(host).copied().unwrap_or(0)
    }

    /// By how much more a host carries now than another one would with one node of a group; `None`
    /// if that is not gross.
    pub(super) fn gap(
        &self,
        asked: &GroupSpec,
        seen: &Observations,
        from: &HostId,
        to: &HostId,
    ) -> Option<u64> {
        let then = self.on(to).saturating_add(weight(asked, seen.hosts.get(to)?));
        self.on(from).checked_sub(then).filter(|gap| *gap >= GROSS)
    }

    /// From the highest down.
    #[cfg(test)]
    pub(super) fn sorted(&self) -> Vec<u64> {
        let mut loads: Vec<u64> = self.0.values().copied().filter(|load| *load > 0).collect();
        loads.sort_unstable_by(|a, b| b.cmp(a));
        loads
    }
}

/// What one node of a group counts for on a host.
fn weight(asked: &GroupSpec, host: &HostSeen) -> u64 {
    let share = u128::from(asked.memory_bytes) * u128::from(WHOLE);
    let share = share.checked_div(u128::from(host.memory_bytes)).unwrap_or(u128::from(WHOLE));
    u64::try_from(share).unwrap_or(WHOLE).clamp(LEAST, WHOLE)
}

/// Why a node is where it is, in short: whose place it shares, or which of the zones it has for itself.
pub fn placed_because(shard: &ShardTopology, node: &NodeId) -> String {
    let Some(own) = shard.members.get(node) else { return String::new() };
    let stays = |member: &&Member| !member.leaving;
    let before = || shard.members.iter().take_while(|(other, _)| *other != node);
    if own.leaving {
        return "leaves".to_owned();
    }
    if let Some(relocation) = shard.relocation.as_ref().filter(|r| r.newcomer == *node) {
        return format!("takes the place of {}", relocation.node);
    }
    if let Some((beside, _)) = before().find(|(_, m)| m.host == own.host && !m.leaving) {
        return format!("beside {beside}");
    }
    let in_zone: Vec<&HostId> = before()
        .map(|(_, member)| member)
        .filter(stays)
        .filter(|member| member.zone == own.zone)
        .map(|member| &member.host)
        .collect();
    if in_zone.is_empty() {
        let mut zones: Vec<_> = before().map(|(_, m)| m).filter(stays).map(|m| &m.zone).collect();
        zones.sort_unstable();
        zones.dedup();
        return format!("{} zone", ordinal(zones.len() + 1));
    }
    format!("{} host of {}", ordinal(in_zone.len() + 1), own.zone)
}

fn ordinal(number: usize) -> String {
    match number {
        1 => "first".to_owned(),
        2 => "second".to_owned(),
        3 => "third".to_owned(),
        more => format!("{more}th"),
    }
}
