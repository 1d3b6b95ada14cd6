//! More replicas, or fewer.
//!
//! Invariant: nobody but a replica is ever removed.
//!
//! Not here: which replica goes if none is named, and where a new one is placed (the controller).

use tanist_core::model::NodeId;

use super::create::replica_count;
use super::describe::named;
use super::modify::{Change, check_state};
use super::refusal::{Refusal, bad_combination, bad_state, bad_value, refuse};
use super::scene::{NODE_GROUP, Scene};
use super::{network, spread, words};
use crate::groups::Group;
use crate::value::Structure;

/// `IncreaseReplicaCount`.
pub(super) fn increase(scene: Scene<'_>, input: &Structure) -> Result<Change, Refusal> {
    let group = scene.group(input.text("ReplicationGroupId").unwrap_or(""))?;
    check(group, input)?;
    let before = group.status.replicas;
    let present = group.nodes().iter().filter(|node| !words::is_leaving(node)).count();
    if present != usize::from(before) + 1 || present != group.nodes().len() {
        return Err(bad_state("Replication group must be in available state to modify."));
    }
    let (count, configured) = wanted(input)?;
    let Some(count) = count else {
        return Err(bad_combination("Either NewReplicaCount or ReplicaConfiguration is needed."));
    };
    let count = replica_count(count)?;
    if count == before {
        return Err(no_operation());
    }
    if count < before {
        return Err(bad_value(format_args!(
            "NewReplicaCount must be greater than the current number of replicas, {before}."
        )));
    }
    let mut change = Change::of(group)?;
    change.asked.replicas = Some(count);
    if let Some(configured) = configured {
        change.asked.node_zones = new_zones(scene, group, configured, count)?;
        spread::check_more(group, &change.asked.node_zones)?;
    }
    change.record.settled = group.nodes().iter().map(|node| node.node.to_string()).collect();
    Ok(change)
}

/// `DecreaseReplicaCount`.
pub(super) fn decrease(scene: Scene<'_>, input: &Structure) -> Result<Change, Refusal> {
    let group = scene.group(input.text("ReplicationGroupId").unwrap_or(""))?;
    check(group, input)?;
    let before = group.status.replicas;
    let (count, configured) = wanted(input)?;
    let zones = configured.is_some_and(|c| !c.items("PreferredAvailabilityZones").is_empty());
    if zones {
        let message = "Name the replicas to remove in ReplicasToRemove, not by zones.";
        return Err(bad_combination(message));
    }
    let remove = removed(group, input)?;
    let named = i64::try_from(remove.len()).unwrap_or(i64::MAX);
    let count = match count {
        Some(count) if named > 0 && count != i64::from(before) - named => {
            return Err(bad_combination(format_args!(
                "NewReplicaCount {count} and {named} replicas to remove do not go together: there \
                 are {before} replicas."
            )));
        }
        Some(count) => count,
        None if named > 0 => i64::from(before) - named,
        None => {
            return Err(bad_combination(
                "NewReplicaCount, ReplicaConfiguration or ReplicasToRemove is needed.",
            ));
        }
    };
    if count == i64::from(before) {
        return Err(no_operation());
    }
    if count > i64::from(before) {
        return Err(bad_value(format_args!(
            "NewReplicaCount must be less than the current number of replicas, {before}."
        )));
    }
    fewer(group, replica_count(count)?, remove)
}

/// Fewer replicas, these before others.
pub(super) fn fewer(group: &Group, count: u8, remove: Vec<NodeId>) -> Result<Change, Refusal> {
    if count == 0 && group.status.automatic_failover {
        return Err(bad_value(
            "Must have at least 1 replica when cluster mode is disabled with auto failover enabled.",
        ));
    }
    let remove = spread::leavers(group, count, remove)?;
    let mut change = Change::of(group)?;
    change.asked.replicas = Some(count);
    change.record.keep(|name| !remove.iter().any(|node| node.as_str() == name));
    change.asked.remove = remove;
    Ok(change)
}

fn check(group: &Group, input: &Structure) -> Result<(), Refusal> {
    check_state(group)?;
    if input.flag("ApplyImmediately") == Some(true) {
        return Ok(());
    }
    Err(bad_value("The number of replicas is changed at once: ApplyImmediately must be true."))
}

fn no_operation() -> Refusal {
    let message = "Requested new replica count already matches current number of replicas.";
    refuse("NoOperationFault", message)
}

/// The number that is asked for, and the configuration that says it.
fn wanted(input: &Structure) -> Result<(Option<i64>, Option<&Structure>), Refusal> {
    let count = input.integer("NewReplicaCount");
    let mut configured = input.structures("ReplicaConfiguration");
    let Some(first) = configured.next() else { return Ok((count, None)) };
    if count.is_some() {
        let message = "Name either NewReplicaCount or ReplicaConfiguration.";
        return Err(bad_combination(message));
    }
    let other = [Some(first), configured.next()].into_iter().flatten();
    let mut ids = other.filter_map(|one| named(one, "NodeGroupId"));
    if ids.any(|id| id != NODE_GROUP) || input.items("ReplicaConfiguration").len() > 1 {
        let message = format_args!("The only node group of a replication group is {NODE_GROUP}.");
        return Err(bad_value(message));
    }
    if !first.items("PreferredOutpostArns").is_empty() {
        return Err(bad_value("There are no outposts."));
    }
    Ok((first.integer("NewReplicaCount"), Some(first)))
}

/// The zones of the nodes that are added: those that are named for the group without those of the
/// nodes that it has.
fn new_zones(
    scene: Scene<'_>,
    group: &Group,
    configured: &Structure,
    count: u8,
) -> Result<Vec<String>, Refusal> {
    let mut zones: Vec<&str> = configured.texts("PreferredAvailabilityZones").collect();
    if zones.is_empty() {
        return Ok(Vec::new());
    }
    if zones.len() != usize::from(count) + 1 {
        return Err(bad_combination(format_args!(
            "PreferredAvailabilityZones must name {} zones: one for the primary and one for each \
             replica.",
            count + 1
        )));
    }
    let subnets = network::find(scene, group.record.subnet_group.as_deref())?;
    network::check_zones(scene, &subnets, zones.iter().copied())?;
    for node in group.nodes() {
        let Some(at) = zones.iter().position(|zone| *zone == node.zone.as_str()) else {
            return Err(bad_combination(format_args!(
                "PreferredAvailabilityZones does not have the zone of {}, {}.",
                node.node, node.zone
            )));
        };
        zones.remove(at);
    }
    Ok(zones.into_iter().map(str::to_owned).collect())
}

fn removed(group: &Group, input: &Structure) -> Result<Vec<NodeId>, Refusal> {
    let mut remove: Vec<NodeId> = Vec::new();
    for name in input.texts("ReplicasToRemove") {
        let name = name.to_ascii_lowercase();
        let node = group.node(&name).filter(|node| !words::is_leaving(node));
        let Some(node) = node else {
            return Err(bad_value(format_args!(
                "The cache cluster {name} is not a replica of the replication group {}.",
                group.name()
            )));
        };
        if group.primary() == Some(&node.node) {
            return Err(bad_value(format_args!(
                "The cache cluster {name} is the primary of the replication group {} and cannot \
                 be removed.",
                group.name()
            )));
        }
        if !remove.contains(&node.node) {
            remove.push(node.node.clone());
        }
    }
    Ok(remove)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elasticache::kit::Stage;

    fn input() -> Structure {
        Structure::new().set("ReplicationGroupId", "web").set("ApplyImmediately", true)
    }

    fn count(count: i64) -> Structure {
        input().set("NewReplicaCount", count)
    }

    fn configured(count: i64, zones: &[&str]) -> Structure {
        let one = Structure::new()
            .set("NodeGroupId", "0001")
            .set("NewReplicaCount", count)
            .list("PreferredAvailabilityZones", zones.iter().copied());
        input().list("ReplicaConfiguration", [one])
    }

    #[test]
    fn more_replicas_are_asked_for_by_their_number() {
        let stage = Stage::new();
        let change = increase(stage.scene(), &count(4)).unwrap();
        assert_eq!(change.asked.replicas, Some(4));
        assert!(change.asked.node_zones.is_empty());
        assert_eq!(change.record.settled.len(), 3);
        let code = |input: &Structure| increase(stage.scene(), input).unwrap_err().code;
        assert_eq!(code(&count(2)), "NoOperationFault");
        assert_eq!(code(&count(1)), "InvalidParameterValue");
        assert_eq!(code(&count(6)), "InvalidParameterValue");
        assert_eq!(code(&input()), "InvalidParameterCombination");
        assert_eq!(code(&count(3).set("ApplyImmediately", false)), "InvalidParameterValue");
    }

    #[test]
    fn zones_of_new_replicas_are_what_the_others_leave() {
        let mut stage = Stage::new();
        stage.groups[0].record.subnet_group = Some("default".to_owned());
        let (a, b, c) = ("us-east-1a", "us-east-1b", "us-east-1c");
        let asked = configured(4, &[b, a, b, a, c]);
        let change = increase(stage.scene(), &asked).unwrap();
        assert_eq!(change.asked.node_zones, [b, a]);
        let code = |input: &Structure| increase(stage.scene(), input).unwrap_err().code;
        assert_eq!(code(&configured(3, &[a, b, c])), "InvalidParameterCombination");
        assert_eq!(code(&configured(3, &[a, a, a, c])), "InvalidParameterCombination");
        assert_eq!(code(&configured(3, &[a, b, c, "us-east-1z"])), "InvalidParameterValue");
    }

    #[test]
    fn a_group_that_is_being_changed_does_not_grow() {
        let mut stage = Stage::new();
        stage.groups[0].status.replicas = 3;
        let refusal = increase(stage.scene(), &count(4)).unwrap_err();
        assert_eq!(refusal.code, "InvalidReplicationGroupState");
        // But it may go back: there may be no place for what was asked.
        assert_eq!(decrease(stage.scene(), &count(2)).unwrap().asked.replicas, Some(2));
    }

    #[test]
    fn fewer_replicas_are_asked_for_by_number_or_by_name() {
        let stage = Stage::new();
        let change = decrease(stage.scene(), &count(1)).unwrap();
        assert_eq!((change.asked.replicas, change.asked.remove.len()), (Some(1), 0));
        let by_name = input().list("ReplicasToRemove", ["Web-002"]);
        let change = decrease(stage.scene(), &by_name).unwrap();
        assert_eq!(change.asked.replicas, Some(1));
        assert_eq!(change.asked.remove, [NodeId::new("web-002")]);
        let code = |input: Structure| decrease(stage.scene(), &input).unwrap_err().code;
        let remove = |name: &str| input().list("ReplicasToRemove", [name]);
        assert_eq!(code(remove("web-001")), "InvalidParameterValue", "the primary");
        assert_eq!(code(remove("web-009")), "InvalidParameterValue");
        let both = remove("web-002").set("NewReplicaCount", 0);
        assert_eq!(code(both), "InvalidParameterCombination");
        assert_eq!(code(count(2)), "NoOperationFault");
        assert_eq!(code(count(3)), "InvalidParameterValue");
        assert_eq!(code(count(0)), "InvalidParameterValue", "automatic failover is on");
        assert_eq!(code(count(-1)), "InvalidParameterValue");
        assert_eq!(code(input()), "InvalidParameterCombination");
    }

    #[test]
    fn a_new_node_inherits_nothing_from_one_of_its_name() {
        let mut stage = Stage::new();
        let tags = || [("own".to_owned(), "v".to_owned())].into();
        let record = &mut stage.groups[0].record;
        record.node_tags = ["web-002", "web-004"].map(|node| (node.to_owned(), tags())).into();
        record.settled = ["web-001", "web-004"].map(str::to_owned).into();
        record.snapshotting_cluster = Some("web-004".to_owned());
        let more = increase(stage.scene(), &count(3)).unwrap().record;
        assert_eq!(more.node_tags.keys().collect::<Vec<_>>(), ["web-002"]);
        assert!(!more.settled.contains("web-004"));
        assert_eq!(more.snapshotting_cluster, None);
        let fewer = decrease(stage.scene(), &count(1)).unwrap().record;
        assert_eq!(fewer.settled, ["web-001".to_owned()].into());
        let named = input().list("ReplicasToRemove", ["web-002"]);
        assert!(decrease(stage.scene(), &named).unwrap().record.node_tags.is_empty());
        // Of a group of which nothing is known nothing is forgotten.
        stage.groups[0].status.shards.clear();
        assert_eq!(Change::of(&stage.groups[0]).unwrap().record, stage.groups[0].record);
    }

    #[test]
    fn multi_az_stays_true_whatever_comes_or_goes() {
        let mut stage = Stage::new();
        let group = &mut stage.groups[0];
        group.record.multi_az = true;
        group.record.subnet_group = Some("default".to_owned());
        group.status.shards[0].nodes[1].zone = "us-east-1a".into();
        let change = decrease(stage.scene(), &count(1)).unwrap();
        assert_eq!(change.asked.remove, [NodeId::new("web-002")], "not the only one elsewhere");
        let by_name = input().list("ReplicasToRemove", ["web-003"]);
        let refusal = decrease(stage.scene(), &by_name).unwrap_err();
        assert_eq!(refusal.code, "InvalidParameterCombination");
        stage.groups[0].status.shards[0].nodes[2].zone = "us-east-1a".into();
        let more = |zone: &str| {
            let (a, b) = ("us-east-1a", zone);
            increase(stage.scene(), &configured(3, &[a, a, a, b])).map_err(|refusal| refusal.code)
        };
        assert_eq!(more("us-east-1a").unwrap_err(), "InvalidParameterCombination");
        assert_eq!(more("us-east-1b").unwrap().asked.node_zones, ["us-east-1b"]);
    }

    #[test]
    fn without_automatic_failover_the_last_replica_may_go() {
        let mut stage = Stage::new();
        stage.groups[0].status.automatic_failover = false;
        assert_eq!(decrease(stage.scene(), &count(0)).unwrap().asked.replicas, Some(0));
    }

    #[test]
    fn another_node_group_does_not_exist() {
        let stage = Stage::new();
        let one = Structure::new().set("NodeGroupId", "0002").set("NewReplicaCount", 3);
        let asked = input().list("ReplicaConfiguration", [one]);
        let refusal = increase(stage.scene(), &asked).unwrap_err();
        assert_eq!(refusal.code, "InvalidParameterValue");
    }
}
