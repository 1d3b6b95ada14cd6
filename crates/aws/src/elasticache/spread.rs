//! Multi-AZ: nodes in more than one zone.
//!
//! People rely on it to outlive the loss of a zone. So it is a fact about where the nodes are and
//! not only a wish: it is reported while it is so, and nothing is accepted that ends it unsaid.
//!
//! Invariant: no change of a group with Multi-AZ lets only nodes of one zone stay.
//!
//! Not here: finding places for nodes (the controller).

use std::collections::BTreeSet;

use tanist_core::model::NodeId;
use tanist_link::api::NodeStatus;

use super::network::SubnetGroup;
use super::refusal::{Refusal, bad_combination};
use super::words;
use crate::groups::Group;

fn staying(group: &Group) -> impl Iterator<Item = &NodeStatus> {
    group.nodes().iter().filter(|node| !words::is_leaving(node))
}

/// Whether a group is as Multi-AZ says: it was asked for, and the nodes have more than one zone. Of
/// a group whose nodes are not known yet, what was asked for.
pub(super) fn is_so(group: &Group) -> bool {
    let zones: BTreeSet<&str> = staying(group).map(|node| node.zone.as_str()).collect();
    group.record.multi_az && zones.len() != 1
}

/// Can the nodes be in more than one zone, and were they not asked to be in one?
pub(super) fn check_asked(subnets: &SubnetGroup<'_>, zones: &[String]) -> Result<(), Refusal> {
    if subnets.zones().len() < 2 {
        return Err(bad_combination(format_args!(
            "Multi-AZ needs subnets in at least two availability zones; the cache subnet group {} \
             has them in one.",
            subnets.name
        )));
    }
    if zones.len() > 1 { check(zones.iter().map(String::as_str)) } else { Ok(()) }
}

/// Are the nodes that a group has in more than one zone?
pub(super) fn check_present(group: &Group) -> Result<(), Refusal> {
    check(staying(group).map(|node| node.zone.as_str()))
}

/// Will they be with more nodes in these zones? Those without a zone are placed apart.
pub(super) fn check_more(group: &Group, zones: &[String]) -> Result<(), Refusal> {
    if !group.record.multi_az || zones.is_empty() {
        return Ok(());
    }
    let present = staying(group).map(|node| node.zone.as_str());
    check(present.chain(zones.iter().map(String::as_str)))
}

/// The replicas that go so that `count` stay: those that are named, and if the group has Multi-AZ
/// others so that it still has it. Without it the controller chooses.
pub(super) fn leavers(
    group: &Group,
    count: u8,
    mut named: Vec<NodeId>,
) -> Result<Vec<NodeId>, Refusal> {
    if !group.record.multi_az {
        return Ok(named);
    }
    let rest = |named: &[NodeId]| -> Vec<&NodeStatus> {
        staying(group).filter(|node| !named.contains(&node.node)).collect()
    };
    let mut rest_now = rest(&named);
    let surplus = rest_now.len().saturating_sub(usize::from(count) + 1);
    // One stays in any case, and one of another zone with it; of the others the last ones go.
    let first = rest_now.iter().position(|node| group.primary() == Some(&node.node)).unwrap_or(0);
    if first < rest_now.len() {
        let stays = rest_now.remove(first);
        let elsewhere = rest_now.iter().position(|node| node.zone != stays.zone);
        if let Some(other) = elsewhere.filter(|_| count > 0) {
            rest_now.remove(other);
        }
    }
    named.extend(rest_now.into_iter().rev().take(surplus).map(|node| node.node.clone()));
    check(rest(&named).into_iter().map(|node| node.zone.as_str()))?;
    Ok(named)
}

fn check<'z>(zones: impl Iterator<Item = &'z str>) -> Result<(), Refusal> {
    let zones: BTreeSet<&str> = zones.collect();
    match zones.first() {
        Some(only) if zones.len() == 1 => Err(bad_combination(format_args!(
            "Multi-AZ needs nodes in at least two availability zones; these would all be in {only}."
        ))),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elasticache::kit::web;

    /// The group `web` with nodes in these zones, the first of them the primary.
    fn placed(zones: &[&str]) -> Group {
        let count = u8::try_from(zones.len()).unwrap();
        let mut group = crate::elasticache::kit::group_of("web", count);
        group.record.multi_az = true;
        for (node, zone) in group.status.shards[0].nodes.iter_mut().zip(zones) {
            node.zone = (*zone).into();
        }
        group
    }

    fn gone(group: &Group, count: u8, named: &[&str]) -> Result<Vec<String>, &'static str> {
        let named = named.iter().map(NodeId::new).collect();
        let leavers = leavers(group, count, named).map_err(|refusal| refusal.code)?;
        Ok(leavers.iter().map(NodeId::to_string).collect())
    }

    #[test]
    fn multi_az_is_what_is_and_was_asked_for() {
        let mut group = web();
        assert!(!is_so(&group), "nobody asked for it");
        group.record.multi_az = true;
        assert!(is_so(&group));
        let mut group = placed(&["a", "a", "b"]);
        assert!(is_so(&group) && check_present(&group).is_ok());
        group.status.shards[0].nodes[2].role = "leaving".to_owned();
        assert!(!is_so(&group) && check_present(&group).is_err());
        group.status.shards.clear();
        assert!(is_so(&group), "nobody knows yet");
    }

    #[test]
    fn of_a_group_with_multi_az_nodes_of_two_zones_stay() {
        let bad = Err("InvalidParameterCombination");
        let group = placed(&["a", "a", "b"]);
        // The controller alone would let the last one go.
        assert_eq!(gone(&group, 1, &[]), Ok(vec!["web-002".to_owned()]));
        assert_eq!(gone(&group, 1, &["web-002"]), Ok(vec!["web-002".to_owned()]));
        assert_eq!(gone(&group, 1, &["web-003"]), bad);
        assert_eq!(gone(&group, 0, &[]), bad);
        let mut group = placed(&["a", "b", "b", "c"]);
        let last_two = vec!["web-004".to_owned(), "web-003".to_owned()];
        assert_eq!(gone(&group, 1, &[]), Ok(last_two));
        group.status.shards[0].primary = None;
        assert_eq!(gone(&group, 2, &[]), Ok(vec!["web-004".to_owned()]));
        assert_eq!(gone(&placed(&["a", "a", "a"]), 1, &[]), bad);
        group.record.multi_az = false;
        assert_eq!(gone(&group, 1, &[]), Ok(Vec::new()), "the controller chooses");
    }

    #[test]
    fn more_nodes_of_the_same_zone_do_not_make_multi_az() {
        let zones = |zone: &str| [zone.to_owned()];
        let mut group = placed(&["a", "a"]);
        assert!(check_more(&group, &zones("a")).is_err());
        assert!(check_more(&group, &zones("b")).is_ok());
        assert!(check_more(&group, &[]).is_ok());
        group.record.multi_az = false;
        assert!(check_more(&group, &zones("a")).is_ok());
    }
}
