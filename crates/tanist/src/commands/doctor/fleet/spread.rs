//! Where the nodes of each shard are: what the loss of one host, or of one zone, takes along.
//!
//! Invariant: whoever is told of a bad spread is told what happens next, and whether anything does by
//! itself.
//!
//! Not here: moving nodes (`tanist_core::decide`), two nodes of three that share a zone, which is a
//! problem with a name (`super::super::groups` shows it).

use std::collections::{BTreeMap, BTreeSet};

use tanist_core::model::{GroupName, HostId, ProblemKind, Zone};
use tanist_link::api::{GroupStatus, HostStatus, NodeStatus, ShardStatus, Status};

use super::Check;

/// Every shard; one line if all are well.
pub(super) fn checks(status: &Status, rebalance: bool) -> Vec<Check> {
    let several = |group: &&GroupStatus| group.replicas > 0;
    let groups: Vec<&GroupStatus> = status.groups.iter().filter(several).collect();
    if groups.is_empty() {
        return Vec::new();
    }
    let shards =
        groups.iter().flat_map(|group| group.shards.iter().map(move |shard| (group, shard)));
    let checks: Vec<Check> = shards
        .filter_map(|(group, shard)| {
            judge(&group.name, &group.zones, shard, &Site { hosts: &status.hosts, rebalance })
        })
        .collect();
    if checks.is_empty() {
        return vec![Check::good("spread: no shard has two nodes on one host, or all in one zone")];
    }
    checks
}

/// Where nodes could be.
struct Site<'a> {
    hosts: &'a [HostStatus],
    /// Nodes move to better places by themselves.
    rebalance: bool,
}

fn judge(group: &GroupName, zones: &[Zone], shard: &ShardStatus, site: &Site<'_>) -> Option<Check> {
    let leaves = |node: &NodeStatus| {
        let relocated = shard.relocation.as_ref();
        node.role == "leaving" || relocated.is_some_and(|moves| moves.from.node == node.node)
    };
    let nodes: Vec<&NodeStatus> = shard.nodes.iter().filter(|node| !leaves(node)).collect();
    let allowed = |host: &&HostStatus| zones.is_empty() || zones.contains(&host.zone);
    let usable = |host: &&HostStatus| host.up && !host.draining && allowed(host);
    let hosts: Vec<&HostStatus> = site.hosts.iter().filter(usable).collect();
    let mut by_host: BTreeMap<&HostId, Vec<&str>> = BTreeMap::new();
    for node in &nodes {
        by_host.entry(&node.host).or_default().push(node.node.as_str());
    }
    if let Some((host, shared)) = by_host.iter().find(|(_, nodes)| nodes.len() > 1) {
        let better = hosts.iter().any(|other| !by_host.contains_key(&other.host));
        return Some(Check::warning(
            format!("{group}: {} are both on {host}, and would be lost with it", shared.join(", ")),
            next(shard, site, better),
        ));
    }
    // It has a line of its own.
    if shard.problems.iter().any(|problem| problem.kind == ProblemKind::ZoneSpreadBroken) {
        return None;
    }
    let of: BTreeSet<&Zone> = nodes.iter().map(|node| &node.zone).collect();
    let (Some(zone), 1, true) = (of.first(), of.len(), nodes.len() > 1) else { return None };
    if !hosts.iter().any(|host| host.zone != **zone) {
        return None;
    }
    let names: Vec<&str> = nodes.iter().map(|node| node.node.as_str()).collect();
    Some(Check::warning(
        format!(
            "{group}: {} are all in {zone}, although there are hosts in other zones",
            names.join(", ")
        ),
        next(shard, site, true),
    ))
}

/// What happens next.
fn next(shard: &ShardStatus, site: &Site<'_>, better: bool) -> String {
    if let Some(moves) = &shard.relocation {
        let (from, to) = (&moves.from, &moves.to);
        return format!("{} on {} takes the place of {} now", to.node, to.host, from.node);
    }
    if !better {
        return "there is no better host now: let another one join".to_owned();
    }
    if !site.rebalance {
        return "nothing moves by itself ([placement] rebalance = false): tanist host drain, or \
                rebalance = true (docs/fleet.md)"
            .to_owned();
    }
    "a node moves to a better host by itself once nothing has gone wrong for a while, if it has room \
     and nobody chose the node's zone; tanist status shows what that waits for (docs/fleet.md)"
        .to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::super::Mark;
    use super::*;

    fn hosts(all: &[(&str, &str)]) -> Vec<HostStatus> {
        let of = |(host, zone): &(&str, &str)| {
            let host = json!({"host": host, "zone": zone, "address": "10.0.0.1", "up": true});
            serde_json::from_value(host).unwrap()
        };
        all.iter().map(of).collect()
    }

    fn shard(nodes: &[(&str, &str, &str)], problems: Value, relocation: Value) -> ShardStatus {
        let node = |(node, host, zone): &(&str, &str, &str)| {
            json!({
                "node": node, "host": host, "zone": zone, "role": "replica", "in_sync": true,
                "endpoint": {"host": "10.0.0.1", "address": "10.0.0.1", "port": 7000},
            })
        };
        serde_json::from_value(json!({
            "shard": "0001", "epoch": 1, "rev": 1, "request_done": 0, "held": 0, "waits": [],
            "nodes": nodes.iter().map(node).collect::<Vec<_>>(),
            "problems": problems, "relocation": relocation,
        }))
        .unwrap()
    }

    fn of(
        zones: &[&str],
        shard: &ShardStatus,
        all: &[(&str, &str)],
        rebalance: bool,
    ) -> Option<Check> {
        let zones: Vec<Zone> = zones.iter().map(|zone| Zone::new(*zone)).collect();
        let hosts = hosts(all);
        judge(&GroupName::new("web"), &zones, shard, &Site { hosts: &hosts, rebalance })
    }

    const HOSTS: [(&str, &str); 3] = [("h1", "a"), ("h2", "a"), ("h3", "b")];

    #[test]
    fn two_nodes_on_one_host_are_named_with_what_happens_next() {
        let both = shard(&[("web-001", "h1", "a"), ("web-002", "h1", "a")], json!([]), Value::Null);
        let check = of(&[], &both, &HOSTS, true).unwrap();
        assert_eq!(check.mark, Mark::Warning);
        assert!(check.what.contains("web: web-001, web-002 are both on h1"), "{check:?}");
        assert!(check.remedy.contains("by itself once nothing has gone wrong"), "{check:?}");
        let check = of(&[], &both, &HOSTS, false).unwrap();
        assert!(check.remedy.contains("rebalance = false"), "{check:?}");
        let check = of(&[], &both, &HOSTS[..1], true).unwrap();
        assert!(check.remedy.contains("let another one join"), "{check:?}");
    }

    #[test]
    fn all_in_one_zone_is_told_where_others_have_hosts_that_may_be_used() {
        let zone = [("web-001", "h1", "a"), ("web-002", "h2", "a")];
        let all = shard(&zone, json!([]), Value::Null);
        let check = of(&[], &all, &HOSTS, true).unwrap();
        assert!(check.mark == Mark::Warning && check.what.contains("are all in a"), "{check:?}");
        assert!(of(&[], &all, &HOSTS[..2], true).is_none(), "there is no other zone");
        assert!(of(&["a"], &all, &HOSTS, true).is_none(), "its owner wanted this one");
        let named = json!([{"kind": "ZoneSpreadBroken", "node": null, "detail": "d"}]);
        assert!(of(&[], &shard(&zone, named, Value::Null), &HOSTS, true).is_none(), "told already");
        let spread = [("web-001", "h1", "a"), ("web-002", "h3", "b")];
        assert!(of(&[], &shard(&spread, json!([]), Value::Null), &HOSTS, true).is_none());
        let single = shard(&zone[..1], json!([]), Value::Null);
        assert!(of(&[], &single, &HOSTS, true).is_none());
    }

    #[test]
    fn a_node_that_is_about_to_go_does_not_count() {
        let nodes = [("web-001", "h1", "a"), ("web-002", "h1", "a"), ("web-003", "h3", "b")];
        let place = |node: &str, host: &str| json!({"node": node, "host": host, "zone": "z"});
        let moves = |from: &str| {
            let to = place("web-003", "h3");
            json!({"from": place(from, "h1"), "to": to, "why": "shared-host"})
        };
        assert!(of(&[], &shard(&nodes, json!([]), moves("web-002")), &HOSTS, true).is_none());
        let check = of(&[], &shard(&nodes, json!([]), moves("web-003")), &HOSTS, true).unwrap();
        assert!(check.remedy.contains("takes the place of web-003 now"), "{check:?}");
    }
}
