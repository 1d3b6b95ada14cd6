//! Requests that create groups.

use super::*;
use crate::elasticache::kit::{NOW_MS, Stage, group_of};

fn input() -> Structure {
    Structure::new()
        .set("ReplicationGroupId", "practice-redis")
        .set("ReplicationGroupDescription", "Redis replication with failover")
        .set("CacheNodeType", "cache.t3.micro")
}

fn asked(stage: &Stage, input: &Structure) -> Founding {
    founding(stage.scene(), input).unwrap()
}

fn refused(input: &Structure) -> &'static str {
    founding(Stage::new().scene(), input).unwrap_err().code
}

const VALUE: &str = "InvalidParameterValue";
const COMBINATION: &str = "InvalidParameterCombination";

#[test]
fn the_practice_group_is_created_as_asked() {
    let stage = Stage::new();
    let own = stage.default_security_group("vpc-2");
    let input = input()
        .set("ReplicationGroupId", "Practice-Redis")
        .set("Engine", "redis")
        .set("EngineVersion", "7.0")
        .set("NumCacheClusters", 3)
        .set("AutomaticFailoverEnabled", true)
        .set("MultiAZEnabled", true)
        .set("CacheSubnetGroupName", "practice")
        .list("SecurityGroupIds", [own.as_str()])
        .list("Tags", [Structure::new().set("Key", "k").set("Value", "v")]);
    let Founding { asked, record } = asked(&stage, &input);
    assert_eq!((asked.name.as_str(), asked.replicas), ("practice-redis", 2));
    assert_eq!((asked.engine, asked.automatic_failover), (EngineKind::Redis, true));
    assert_eq!(asked.memory_bytes, 536_870_912);
    assert_eq!(asked.zones, ["us-east-1a", "us-east-1b"]);
    assert!(asked.node_zones.is_empty() && asked.durability.is_none());
    assert_eq!(record.description.as_deref(), Some("Redis replication with failover"));
    assert_eq!(record.security_groups, [own]);
    assert_eq!(record.created_ms, Some(NOW_MS));
    assert!(record.multi_az && record.maintenance_window.is_some());
    assert_eq!(record.tags.get("k").map(String::as_str), Some("v"));
}

#[test]
fn the_least_that_can_be_said_is_one_node_in_the_default_network() {
    let stage = Stage::new();
    let Founding { asked, record } = asked(&stage, &input());
    assert_eq!((asked.replicas, asked.automatic_failover), (0, false));
    assert_eq!(asked.zones.len(), 3);
    assert_eq!(record.subnet_group.as_deref(), Some("default"));
    assert_eq!(record.security_groups, [stage.default_security_group("vpc-1")]);
    assert!(!record.multi_az);
}

#[test]
fn nodes_are_counted_in_one_way() {
    let stage = Stage::new();
    let replicas = |input: Structure| asked(&stage, &input).asked.replicas;
    assert_eq!(replicas(input().set("NumCacheClusters", 6)), 5);
    assert_eq!(replicas(input().set("NumNodeGroups", 1).set("ReplicasPerNodeGroup", 2)), 2);
    let group = Structure::new().set("ReplicaCount", 2);
    assert_eq!(replicas(input().list("NodeGroupConfiguration", [group.clone()])), 2);
    for bad in [0, 7, -1] {
        assert_eq!(refused(&input().set("NumCacheClusters", bad)), VALUE, "{bad}");
    }
    assert_eq!(refused(&input().set("ReplicasPerNodeGroup", 6)), VALUE);
    let two_ways = input().set("NumCacheClusters", 2).set("ReplicasPerNodeGroup", 2);
    assert_eq!(refused(&two_ways), COMBINATION);
    assert_eq!(refused(&input().set("NumNodeGroups", 2)), COMBINATION);
    assert_eq!(refused(&input().set("NumNodeGroups", 0)), VALUE);
    let two = [group.clone(), group.clone()];
    assert_eq!(refused(&input().list("NodeGroupConfiguration", two)), COMBINATION);
    let slots = group.clone().set("Slots", "0-16383");
    assert_eq!(refused(&input().list("NodeGroupConfiguration", [slots])), COMBINATION);
    let other = group.set("NodeGroupId", "0002");
    assert_eq!(refused(&input().list("NodeGroupConfiguration", [other])), VALUE);
}

#[test]
fn zones_are_as_many_as_nodes_and_have_subnets() {
    let stage = Stage::new();
    let (a, b, c) = ("us-east-1a", "us-east-1b", "us-east-1c");
    let zones = |count: u8, zones: &[&str]| {
        input()
            .set("NumCacheClusters", count)
            .set("CacheSubnetGroupName", "practice")
            .list("PreferredCacheClusterAZs", zones.iter().copied())
    };
    assert_eq!(asked(&stage, &zones(3, &[a, b, b])).asked.node_zones, [a, b, b]);
    assert_eq!(refused(&zones(3, &[a, b])), COMBINATION);
    assert_eq!(refused(&zones(2, &[a, c])), COMBINATION);
    assert_eq!(refused(&zones(2, &[a, "us-east-1z"])), VALUE);
    assert_eq!(refused(&zones(2, &[a, "us-west-2a"])), VALUE);
    let spread =
        |input: Structure| input.set("AutomaticFailoverEnabled", true).set("MultiAZEnabled", true);
    assert_eq!(refused(&spread(zones(2, &[a, a]))), COMBINATION);
    assert!(founding(stage.scene(), &spread(zones(2, &[a, b]))).is_ok());
    let group = Structure::new().set("ReplicaCount", 1).set("PrimaryAvailabilityZone", b);
    let configured = |group: Structure| input().list("NodeGroupConfiguration", [group]);
    assert_eq!(asked(&stage, &configured(group.clone())).asked.node_zones, [b]);
    let both = group.list("ReplicaAvailabilityZones", [a]);
    assert_eq!(asked(&stage, &configured(both)).asked.node_zones, [b, a]);
}

#[test]
fn switches_that_do_not_go_together_are_refused() {
    let failover = input().set("AutomaticFailoverEnabled", true);
    assert_eq!(refused(&failover), COMBINATION, "one node");
    assert_eq!(
        refused(&input().set("NumCacheClusters", 2).set("MultiAZEnabled", true)),
        COMBINATION
    );
    let mut stage = Stage::new();
    if let Some(group) = stage.pages.cache_subnet_groups.get_mut("practice") {
        group.subnets.truncate(1);
    }
    let one_zone = failover
        .set("NumCacheClusters", 2)
        .set("MultiAZEnabled", true)
        .set("CacheSubnetGroupName", "practice");
    assert_eq!(founding(stage.scene(), &one_zone).unwrap_err().code, COMBINATION);
}

#[test]
fn engines_versions_and_parameter_groups_are_those_that_are_installed() {
    let stage = Stage::new();
    let valkey = input()
        .set("Engine", "valkey")
        .set("EngineVersion", "8.0")
        .set("CacheParameterGroupName", "default.valkey8");
    assert_eq!(asked(&stage, &valkey).asked.engine, EngineKind::Valkey);
    assert!(founding(stage.scene(), &input().set("EngineVersion", "7.0.15")).is_ok());
    assert_eq!(refused(&input().set("Engine", "memcached")), VALUE);
    for version in ["7.1", "7", "7.0.1", "6.x", "x"] {
        assert_eq!(refused(&input().set("EngineVersion", version)), COMBINATION, "{version}");
    }
    let parameters = |name: &str| input().set("CacheParameterGroupName", name);
    assert_eq!(refused(&parameters("mine")), "CacheParameterGroupNotFound");
    assert_eq!(refused(&parameters("default.valkey8")), COMBINATION);
    assert_eq!(refused(&parameters("default.redis7.cluster.on")), COMBINATION);
}

#[test]
fn what_is_there_already_is_not_created_again() {
    let mut stage = Stage::new();
    let again = input().set("ReplicationGroupId", "WEB");
    let code = "ReplicationGroupAlreadyExists";
    assert_eq!(founding(stage.scene(), &again).unwrap_err().code, code);
    stage.groups = vec![group_of("web", 1)];
    stage.groups[0].record.retained = true;
    let refusal = founding(stage.scene(), &again).unwrap_err();
    assert_eq!(refusal.code, code);
    assert!(refusal.message.contains("web-001"), "{}", refusal.message);
}

#[test]
fn what_does_not_exist_is_refused_by_its_code() {
    assert_eq!(refused(&input().set("ReplicationGroupId", "1x")), VALUE);
    assert_eq!(refused(&input().set("ReplicationGroupDescription", "")), VALUE);
    assert_eq!(refused(&input().set("CacheNodeType", "cache.big")), VALUE);
    assert_eq!(refused(&input().set("CacheNodeType", "")), VALUE);
    let subnets = input().set("CacheSubnetGroupName", "none");
    assert_eq!(refused(&subnets), "CacheSubnetGroupNotFoundFault");
    assert_eq!(refused(&input().list("SecurityGroupIds", ["sg-x"])), VALUE);
    assert_eq!(refused(&input().set("PrimaryClusterId", "x-001")), "CacheClusterNotFound");
    assert_eq!(refused(&input().set("PrimaryClusterId", "web-001")), COMBINATION);
    assert_eq!(refused(&input().set("TransitEncryptionMode", "required")), COMBINATION);
    let windows = input()
        .set("PreferredMaintenanceWindow", "sun:05:00-sun:06:00")
        .set("SnapshotWindow", "05:00-06:00");
    assert_eq!(refused(&windows), COMBINATION);
}
