//! Status words: what the controller says, in the few words that clients wait for.
//!
//! Terraform and the waiters of every SDK give up at a word that they do not know, and take
//! `available` for leave to go on.
//!
//! Invariant: `available` means that nothing is going on: every node that was asked for is there and
//! in sync.
//!
//! Not here: what the controller's own words mean (`tanist_link::api::GroupStatus`).

use tanist_link::api::NodeStatus;

use crate::groups::Group;

pub(super) const CREATING: &str = "creating";
pub(super) const AVAILABLE: &str = "available";
pub(super) const MODIFYING: &str = "modifying";
pub(super) const DELETING: &str = "deleting";
/// A node that was well before and is not now.
const REBOOTING: &str = "rebooting cluster nodes";

/// A replication group's word.
pub(super) fn group(group: &Group) -> &'static str {
    match group.status.status.as_str() {
        "deleting" => DELETING,
        // Its replicas are going; when they are gone it is a cache cluster.
        _ if group.record.retained => DELETING,
        "creating" => CREATING,
        "available" if is_whole(group) => AVAILABLE,
        _ => MODIFYING,
    }
}

/// Every node that was asked for is there, and no other.
fn is_whole(group: &Group) -> bool {
    let wanted = usize::from(group.status.replicas) + 1;
    group.nodes().len() == wanted && !group.nodes().iter().any(is_leaving)
}

/// The node is going for good.
pub(super) fn is_leaving(node: &NodeStatus) -> bool {
    node.role == "leaving"
}

/// A cache cluster's word.
pub(super) fn cluster(group: &Group, node: &NodeStatus) -> &'static str {
    let is_primary = group.primary() == Some(&node.node);
    match group.status.status.as_str() {
        "deleting" => return DELETING,
        "creating" => return CREATING,
        _ if is_leaving(node) => return DELETING,
        _ => {}
    }
    // Of a group that is being deleted the primary alone stays.
    if group.record.retained && group.nodes().len() > 1 {
        return if is_primary { MODIFYING } else { DELETING };
    }
    match node.role.as_str() {
        "primary" => AVAILABLE,
        "replica" if node.in_sync => AVAILABLE,
        _ if is_new(group, node) => CREATING,
        "replica" | "syncing" | "frozen" => MODIFYING,
        _ => REBOOTING,
    }
}

/// The node came with the last change and was not there before.
fn is_new(group: &Group, node: &NodeStatus) -> bool {
    let settled = &group.record.settled;
    !settled.is_empty() && !settled.contains(node.node.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elasticache::kit::{group_of, web};

    fn words(group: &Group) -> Vec<&'static str> {
        group.nodes().iter().map(|node| cluster(group, node)).collect()
    }

    #[test]
    fn a_group_is_available_when_all_its_nodes_are() {
        let web = web();
        assert_eq!(group(&web), "available");
        assert_eq!(words(&web), ["available"; 3]);
    }

    #[test]
    fn every_word_of_the_controller_becomes_one_that_clients_wait_for() {
        let mut web = web();
        for (theirs, ours) in [
            ("creating", "creating"),
            ("available", "available"),
            ("modifying", "modifying"),
            ("degraded", "modifying"),
            ("unavailable", "modifying"),
            ("deleting", "deleting"),
            ("something of a later release", "modifying"),
        ] {
            web.status.status = theirs.to_owned();
            assert_eq!(group(&web), ours, "{theirs}");
        }
    }

    #[test]
    fn a_group_with_a_node_too_few_or_too_many_is_not_available() {
        let mut web = web();
        web.status.replicas = 3;
        assert_eq!(group(&web), "modifying");
        web.status.replicas = 1;
        assert_eq!(group(&web), "modifying");
        web.status.shards[0].nodes[2].role = "leaving".to_owned();
        assert_eq!(group(&web), "modifying");
        assert_eq!(words(&web), ["available", "available", "deleting"]);
    }

    #[test]
    fn a_node_that_is_added_is_created_and_one_that_was_there_reboots() {
        let mut web = web();
        for (role, was_there, is_added) in [
            ("down", REBOOTING, CREATING),
            ("starting", REBOOTING, CREATING),
            ("silent", REBOOTING, CREATING),
            ("syncing", MODIFYING, CREATING),
            ("frozen", MODIFYING, CREATING),
            ("replica", MODIFYING, CREATING),
        ] {
            web.status.shards[0].nodes[2].role = role.to_owned();
            web.status.shards[0].nodes[2].in_sync = false;
            web.record.settled.clear();
            assert_eq!(words(&web)[2], was_there, "{role}");
            web.record.settled = ["web-001".to_owned(), "web-002".to_owned()].into();
            assert_eq!(words(&web)[2], is_added, "{role}");
            web.record.settled.insert("web-003".to_owned());
            assert_eq!(words(&web)[2], was_there, "{role}");
        }
    }

    #[test]
    fn of_a_group_that_keeps_its_primary_the_replicas_are_deleted() {
        let mut web = web();
        web.record.retained = true;
        assert_eq!(group(&web), "deleting");
        assert_eq!(words(&web), ["modifying", "deleting", "deleting"]);
        let mut left = group_of("web", 1);
        left.record.retained = true;
        assert_eq!(words(&left), ["available"]);
    }
}
