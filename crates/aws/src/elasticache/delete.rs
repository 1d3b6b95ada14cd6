//! Letting groups and nodes go.
//!
//! Invariant: the last node and the primary of a replication group go with the group only.
//!
//! Not here: stopping anything (the controller).

use tanist_core::model::NodeId;

use super::modify::Change;
use super::refusal::{Refusal, bad_state, refuse};
use super::replicas;
use super::scene::Scene;
use super::unbuilt::refuse_final_snapshot;
use super::words;
use crate::groups::Group;
use crate::value::Structure;

/// What is to be done.
#[derive(Debug)]
pub(super) enum Farewell {
    /// The whole group goes.
    Group,
    /// Only some nodes go, or all but the primary.
    Nodes(Box<Change>),
}

/// `DeleteReplicationGroup`.
pub(super) fn group<'a>(
    scene: Scene<'a>,
    input: &Structure,
) -> Result<(&'a Group, Farewell), Refusal> {
    let group = scene.group(input.text("ReplicationGroupId").unwrap_or(""))?;
    refuse_final_snapshot(input)?;
    let word = words::group(group);
    // One that cannot be created for want of something has to be got rid of, too.
    if word == words::DELETING {
        return Err(bad_state(format_args!(
            "Replication group {} has status {word} which is not valid for deletion.",
            group.name()
        )));
    }
    if input.flag("RetainPrimaryCluster") != Some(true) {
        return Ok((group, Farewell::Group));
    }
    let Some(primary) = group.primary() else {
        return Err(bad_state(format_args!(
            "Replication group {} has no primary at the moment that could be retained.",
            group.name()
        )));
    };
    let mut change = Change::of(group)?;
    change.asked.replicas = Some(0);
    change.asked.automatic_failover = Some(false);
    change.asked.remove = others(group, primary);
    change.record.keep(|node| node == primary.as_str());
    change.record.retained = true;
    change.record.multi_az = false;
    Ok((group, Farewell::Nodes(Box::new(change))))
}

fn others(group: &Group, primary: &NodeId) -> Vec<NodeId> {
    let nodes = group.nodes().iter().map(|node| node.node.clone());
    nodes.filter(|node| node != primary).collect()
}

/// `DeleteCacheCluster`.
pub(super) fn cluster<'a>(
    scene: Scene<'a>,
    input: &Structure,
) -> Result<(&'a Group, NodeId, Farewell), Refusal> {
    let (group, node) = scene.cluster(input.text("CacheClusterId").unwrap_or(""))?;
    refuse_final_snapshot(input)?;
    let name = &node.node;
    let bad = |message: String| Err(refuse("InvalidCacheClusterState", message));
    let word = words::cluster(group, node);
    if word == words::DELETING || group.record.retained && group.retained().is_none() {
        return bad(format!(
            "Cache cluster {name} has status {word} which is not valid for deletion."
        ));
    }
    if group.retained().is_some() {
        return Ok((group, name.clone(), Farewell::Group));
    }
    if group.nodes().len() == 1 {
        return bad(
            "Cannot delete the cache cluster since it is the only member of a replication \
             group. Delete the replication group instead."
                .to_owned(),
        );
    }
    match group.primary() {
        Some(primary) if primary == name => {
            return bad(format!(
                "Cache cluster {name} is serving as primary for replication group {} and cannot \
                 be deleted. To delete the entire replication group, use DeleteReplicationGroup.",
                group.name()
            ));
        }
        Some(_) => {}
        None => {
            return bad(format!(
                "Replication group {} has no primary at the moment; try again when it has one.",
                group.name()
            ));
        }
    }
    let replicas = group.status.replicas;
    if replicas <= 1 && group.status.automatic_failover {
        return bad(format!(
            "Cannot delete the cache cluster because it is the only read replica for replication \
             group {} which has autofailover enabled or pending. You can disable autofailover and \
             then delete this cache cluster. Alternatively, to delete the entire replication \
             group, use DeleteReplicationGroup.",
            group.name()
        ));
    }
    let change = replicas::fewer(group, replicas.saturating_sub(1), vec![name.clone()])?;
    Ok((group, name.clone(), Farewell::Nodes(Box::new(change))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elasticache::kit::{Stage, group_of};

    fn web() -> Structure {
        Structure::new().set("ReplicationGroupId", "web")
    }

    fn node(name: &str) -> Structure {
        Structure::new().set("CacheClusterId", name)
    }

    fn change(farewell: Farewell) -> Change {
        match farewell {
            Farewell::Nodes(change) => *change,
            Farewell::Group => panic!("the whole group goes"),
        }
    }

    #[test]
    fn a_group_goes_once() {
        let mut stage = Stage::new();
        let (found, farewell) = group(stage.scene(), &web()).unwrap();
        assert_eq!(found.name(), "web");
        assert!(matches!(farewell, Farewell::Group));
        let kept = web().set("FinalSnapshotIdentifier", "last");
        let refusal = group(stage.scene(), &kept).unwrap_err();
        assert_eq!(refusal.code, "SnapshotFeatureNotSupportedFault");
        stage.groups[0].status.status = "deleting".to_owned();
        let refusal = group(stage.scene(), &web()).unwrap_err();
        assert_eq!(refusal.code, "InvalidReplicationGroupState");
        assert!(refusal.message.contains("has status deleting"));
    }

    #[test]
    fn a_group_that_keeps_its_primary_loses_its_replicas() {
        let mut stage = Stage::new();
        stage.groups[0].record.snapshotting_cluster = Some("web-002".to_owned());
        let (_, farewell) = group(stage.scene(), &web().set("RetainPrimaryCluster", true)).unwrap();
        let change = change(farewell);
        assert_eq!(change.asked.replicas, Some(0));
        assert_eq!(change.asked.automatic_failover, Some(false));
        assert_eq!(change.asked.remove, [NodeId::new("web-002"), NodeId::new("web-003")]);
        assert!(change.record.retained);
        assert_eq!(change.record.snapshotting_cluster, None);
        // From then on the group is being deleted, and then it is gone.
        stage.groups[0].record.retained = true;
        let again = group(stage.scene(), &web()).unwrap_err();
        assert_eq!(again.code, "InvalidReplicationGroupState");
        let refusal = cluster(stage.scene(), &node("web-001")).unwrap_err();
        assert_eq!(refusal.code, "InvalidCacheClusterState");
        stage.groups[0] = group_of("web", 1);
        stage.groups[0].record.retained = true;
        let gone = group(stage.scene(), &web()).unwrap_err();
        assert_eq!(gone.code, "ReplicationGroupNotFoundFault");
        let (_, _, farewell) = cluster(stage.scene(), &node("web-001")).unwrap();
        assert!(matches!(farewell, Farewell::Group));
    }

    #[test]
    fn a_replica_goes_alone_and_a_primary_does_not() {
        let mut stage = Stage::new();
        let (_, _, farewell) = cluster(stage.scene(), &node("Web-003")).unwrap();
        let change = change(farewell);
        assert_eq!(change.asked.replicas, Some(1));
        assert_eq!(change.asked.remove, [NodeId::new("web-003")]);
        let refused = |stage: &Stage, name: &str| {
            let refusal = cluster(stage.scene(), &node(name)).unwrap_err();
            assert_eq!(refusal.code, "InvalidCacheClusterState");
            refusal.message
        };
        assert!(refused(&stage, "web-001").contains("serving as primary"));
        stage.groups[0].status.shards[0].primary = None;
        assert!(refused(&stage, "web-002").contains("no primary at the moment"));
        stage.groups = vec![group_of("web", 2)];
        assert!(refused(&stage, "web-002").contains("only read replica"));
        stage.groups = vec![group_of("web", 1)];
        assert!(refused(&stage, "web-001").contains("only member"));
        let refusal = cluster(stage.scene(), &node("web-002")).unwrap_err();
        assert_eq!(refusal.code, "CacheClusterNotFound");
    }

    #[test]
    fn the_only_node_of_another_zone_does_not_go_alone_from_a_group_with_multi_az() {
        let mut stage = Stage::new();
        stage.groups[0].record.multi_az = true;
        stage.groups[0].status.shards[0].nodes[1].zone = "us-east-1a".into();
        let refusal = cluster(stage.scene(), &node("web-003")).unwrap_err();
        assert_eq!(refusal.code, "InvalidParameterCombination");
        assert!(cluster(stage.scene(), &node("web-002")).is_ok());
    }

    #[test]
    fn without_a_primary_none_can_be_retained() {
        let mut stage = Stage::new();
        stage.groups[0].status.shards[0].primary = None;
        let input = web().set("RetainPrimaryCluster", true);
        let refusal = group(stage.scene(), &input).unwrap_err();
        assert_eq!(refusal.code, "InvalidReplicationGroupState");
    }
}
