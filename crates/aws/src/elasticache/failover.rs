//! `TestFailover`: a failover as after a crash, of a primary that is well.
//!
//! Invariant: nothing is asked of the controller for a group that could not fail over by itself.
//!
//! Not here: the failover (the controller).

use tanist_link::api::NodeStatus;

use super::refusal::{Refusal, bad_state, refuse};
use super::scene::{NODE_GROUP, Scene};
use super::words;
use crate::groups::Group;
use crate::value::Structure;

/// The group whose primary is to fail over.
pub(super) fn test<'a>(scene: Scene<'a>, input: &Structure) -> Result<&'a Group, Refusal> {
    let group = scene.group(input.text("ReplicationGroupId").unwrap_or(""))?;
    let id = input.text("NodeGroupId").unwrap_or("");
    if id != NODE_GROUP {
        return Err(refuse(
            "NodeGroupNotFoundFault",
            format_args!(
                "Node group {id} not found in replication group {}. Its only node group is \
                 {NODE_GROUP}.",
                group.name()
            ),
        ));
    }
    let word = words::group(group);
    if word == words::CREATING || word == words::DELETING {
        return Err(bad_state(format_args!(
            "Replication group {} has status {word} which is not valid for a failover.",
            group.name()
        )));
    }
    if !group.status.automatic_failover {
        return Err(refuse(
            "TestFailoverNotAvailableFault",
            format_args!("Automatic failover is not enabled for {}.", group.name()),
        ));
    }
    // Without one the controller would wait for it, and give up in the end.
    let could_take_over = |node: &NodeStatus| {
        node.in_sync && group.primary() != Some(&node.node) && !words::is_leaving(node)
    };
    if !group.nodes().iter().any(could_take_over) {
        return Err(bad_state(format_args!(
            "Replication group {} has no replica in sync that could take over.",
            group.name()
        )));
    }
    Ok(group)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elasticache::kit::Stage;

    #[test]
    fn only_the_node_group_that_exists_fails_over_and_only_if_it_could() {
        let mut stage = Stage::new();
        let input =
            |id: &str| Structure::new().set("ReplicationGroupId", "Web").set("NodeGroupId", id);
        assert_eq!(test(stage.scene(), &input("0001")).unwrap().name(), "web");
        for id in ["0", "1", "0002"] {
            let refusal = test(stage.scene(), &input(id)).unwrap_err();
            assert_eq!(refusal.code, "NodeGroupNotFoundFault", "{id}");
        }
        stage.groups[0].status.automatic_failover = false;
        let refusal = test(stage.scene(), &input("0001")).unwrap_err();
        assert_eq!(refusal.code, "TestFailoverNotAvailableFault");
        stage.groups[0].status.status = "creating".to_owned();
        let refusal = test(stage.scene(), &input("0001")).unwrap_err();
        assert_eq!(refusal.code, "InvalidReplicationGroupState");
        stage.groups.clear();
        let refusal = test(stage.scene(), &input("0001")).unwrap_err();
        assert_eq!(refusal.code, "ReplicationGroupNotFoundFault");
    }

    #[test]
    fn without_a_replica_in_sync_nobody_could_take_over() {
        let mut stage = Stage::new();
        let input = Structure::new().set("ReplicationGroupId", "web").set("NodeGroupId", "0001");
        let nodes = |stage: &mut Stage, change: fn(&mut NodeStatus)| {
            stage.groups[0].status.shards[0].nodes[1..].iter_mut().for_each(change);
            test(stage.scene(), &input).map(|_| ()).map_err(|refusal| refusal.code)
        };
        let refused = Err("InvalidReplicationGroupState");
        assert_eq!(nodes(&mut stage, |node| node.in_sync = false), refused, "the primary is");
        assert_eq!(nodes(&mut stage, |node| node.in_sync = true), Ok(()));
        assert_eq!(nodes(&mut stage, |node| node.role = "leaving".to_owned()), refused);
    }
}
