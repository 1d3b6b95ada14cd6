//! A replication group and its cache clusters, as clients see them.
//!
//! The members are those that Terraform reads, so that a plan after an apply is empty. Protections
//! that are not there (encryption, an authentication token, snapshots) are said to be off.
//!
//! Invariant: every node that is named is one that the controller named; a group without cluster
//! mode has no configuration endpoint.
//!
//! Not here: the words for a state (`super::words`), lists and pages (`super::describe`).

use std::collections::BTreeMap;

use jiff::Timestamp;
use tanist_link::api::{EndpointStatus, NodeStatus};

use super::engines::{self, Engine};
use super::scene::{NODE_GROUP, Scene};
use super::{durability, node_types, spread, transit, windows, words};
use crate::groups::Group;
use crate::value::{Structure, Value};

/// The only node of a cache cluster.
const CACHE_NODE: &str = "0001";

impl Scene<'_> {
    /// The engine of a group, as it is installed.
    pub(super) fn engine_of(&self, group: &Group) -> Option<Engine<'_>> {
        let name = group.status.engine.to_string();
        engines::installed(self.settings).find(|engine| engine.name == name)
    }

    /// A group's node type.
    pub(super) fn node_type(&self, group: &Group) -> String {
        let known = group.record.node_type.clone();
        known.unwrap_or_else(|| node_types::name_for(group.status.memory_bytes).to_owned())
    }

    /// A group's parameter group.
    pub(super) fn parameter_group(&self, group: &Group) -> Option<String> {
        let known = group.record.parameter_group.clone();
        known.or_else(|| self.engine_of(group).map(|engine| engine.default_parameters()))
    }

    /// A group's windows: for maintenance, and for snapshots.
    pub(super) fn windows(&self, group: &Group) -> (String, String) {
        let record = &group.record;
        let (weekly, daily) = (record.maintenance_window.clone(), record.snapshot_window.clone());
        windows::choose(group.name(), weekly, daily)
    }

    /// A `ReplicationGroup`.
    pub(super) fn replication_group(&self, group: &Group) -> Structure {
        let (status, record) = (&group.status, &group.record);
        let word = words::group(group);
        let on = |flag: bool| if flag { "enabled" } else { "disabled" };
        let failover = match (status.automatic_failover, word) {
            (true, words::CREATING) => "enabling",
            (flag, _) => on(flag),
        };
        let description = record.description.clone().unwrap_or_else(|| group.name().to_owned());
        let (_, snapshot_window) = self.windows(group);
        let shown = Structure::new()
            .set("ReplicationGroupId", group.name())
            .set("Description", description)
            .set("GlobalReplicationGroupInfo", Structure::new())
            .set("Status", word)
            .set("PendingModifiedValues", Structure::new())
            .list("MemberClusters", group.nodes().iter().map(|node| node.node.as_str()));
        // While it is created nobody has a role yet.
        let shown = if word == words::CREATING {
            shown
        } else {
            shown.list("NodeGroups", [self.node_group(group, word)])
        };
        transit::show(group, durability::show(group, shown))
            .maybe("SnapshottingClusterId", snapshotting(group))
            .set("AutomaticFailover", failover)
            .set("MultiAZ", on(spread::is_so(group)))
            .set("SnapshotRetentionLimit", 0)
            .set("SnapshotWindow", snapshot_window)
            .set("ClusterEnabled", false)
            .set("CacheNodeType", self.node_type(group))
            .set("AuthTokenEnabled", status.login.tokens > 0)
            .maybe("AuthTokenLastModifiedDate", token_changed(group))
            .set("AtRestEncryptionEnabled", false)
            .set("ARN", self.arn("replicationgroup", group.name()))
            .maybe("UserGroupIds", user_groups(group))
            .list("LogDeliveryConfigurations", Vec::<Value>::new())
            .maybe("ReplicationGroupCreateTime", created(group))
            .set("DataTiering", "disabled")
            .set("AutoMinorVersionUpgrade", record.auto_minor_version_upgrade.unwrap_or(true))
            .set("NetworkType", "ipv4")
            .set("IpDiscovery", "ipv4")
            .set("ClusterMode", "disabled")
            .set("Engine", status.engine.to_string())
    }

    fn node_group(&self, group: &Group, word: &str) -> Structure {
        let members = group.nodes().iter().map(|node| {
            let is_primary = group.primary() == Some(&node.node);
            Structure::new()
                .set("CacheClusterId", node.node.as_str())
                .set("CacheNodeId", CACHE_NODE)
                .set("ReadEndpoint", endpoint(&node.endpoint))
                .set("PreferredAvailabilityZone", node.zone.as_str())
                .set("CurrentRole", if is_primary { "primary" } else { "replica" })
        });
        Structure::new()
            .set("NodeGroupId", NODE_GROUP)
            .set("Status", word)
            .set("PrimaryEndpoint", endpoint(&group.status.primary_endpoint))
            .set("ReaderEndpoint", endpoint(&group.status.reader_endpoint))
            .list("NodeGroupMembers", members)
    }

    /// A `CacheCluster`: one node of a group, or what is left of a group.
    pub(super) fn cache_cluster(
        &self,
        group: &Group,
        node: &NodeStatus,
        with_node: bool,
    ) -> Structure {
        let record = &group.record;
        let word = words::cluster(group, node);
        let name = node.node.as_str();
        let (maintenance, snapshot_window) = self.windows(group);
        let security_groups = record
            .security_groups
            .iter()
            .map(|id| Structure::new().set("SecurityGroupId", id.as_str()).set("Status", "active"));
        let member_of = group.retained().is_none().then_some(group.name());
        let shown = Structure::new()
            .set("CacheClusterId", name)
            .set("CacheNodeType", self.node_type(group))
            .set("Engine", group.status.engine.to_string())
            .maybe("EngineVersion", self.engine_of(group).map(|engine| engine.version))
            .set("CacheClusterStatus", word)
            .set("NumCacheNodes", 1)
            .set("PreferredAvailabilityZone", node.zone.as_str())
            .maybe("CacheClusterCreateTime", created(group))
            .set("PreferredMaintenanceWindow", maintenance)
            .set("PendingModifiedValues", Structure::new())
            .maybe("NotificationConfiguration", record.notification_topic.as_deref().map(notices))
            .list("CacheSecurityGroups", Vec::<Value>::new())
            .maybe("CacheParameterGroup", self.parameter_group(group).map(parameters))
            .maybe("CacheSubnetGroupName", record.subnet_group.as_deref());
        let shown = if with_node {
            shown.list("CacheNodes", [cache_node(group, node, word)])
        } else {
            shown
        };
        transit::show(group, shown)
            .set("AutoMinorVersionUpgrade", record.auto_minor_version_upgrade.unwrap_or(true))
            .list("SecurityGroups", security_groups)
            .maybe("ReplicationGroupId", member_of)
            .set("SnapshotRetentionLimit", 0)
            .set("SnapshotWindow", snapshot_window)
            .set("AuthTokenEnabled", group.status.login.tokens > 0)
            .maybe("AuthTokenLastModifiedDate", token_changed(group))
            .set("AtRestEncryptionEnabled", false)
            .set("ARN", self.arn("cluster", name))
            .set("ReplicationGroupLogDeliveryEnabled", false)
            .list("LogDeliveryConfigurations", Vec::<Value>::new())
            .set("NetworkType", "ipv4")
            .set("IpDiscovery", "ipv4")
    }

    /// The tags of a cache cluster: its group's, and its own.
    pub(super) fn cluster_tags(&self, group: &Group, node: &str) -> BTreeMap<String, String> {
        let mut tags = group.record.tags.clone();
        tags.extend(group.record.node_tags.get(node).cloned().unwrap_or_default());
        tags
    }
}

fn cache_node(group: &Group, node: &NodeStatus, word: &str) -> Structure {
    Structure::new()
        .set("CacheNodeId", CACHE_NODE)
        .set("CacheNodeStatus", word)
        .maybe("CacheNodeCreateTime", created(group))
        .set("Endpoint", endpoint(&node.endpoint))
        .set("ParameterGroupStatus", "in-sync")
        .set("CustomerAvailabilityZone", node.zone.as_str())
}

fn parameters(name: String) -> Structure {
    Structure::new()
        .set("CacheParameterGroupName", name)
        .set("ParameterApplyStatus", "in-sync")
        .list("CacheNodeIdsToReboot", Vec::<Value>::new())
}

/// Nothing is sent to the topic, and the status says so.
fn notices(topic: &str) -> Structure {
    Structure::new().set("TopicArn", topic).set("TopicStatus", "inactive")
}

/// The node of which snapshots would be taken, for as long as it stays.
fn snapshotting(group: &Group) -> Option<&str> {
    let node = group.node(group.record.snapshotting_cluster.as_deref()?)?;
    (!words::is_leaving(node)).then_some(node.node.as_str())
}

fn endpoint(endpoint: &EndpointStatus) -> Structure {
    Structure::new().set("Address", endpoint.host.as_str()).set("Port", endpoint.port)
}

/// When the token was last changed, if there is one.
fn token_changed(group: &Group) -> Option<Timestamp> {
    let login = &group.status.login;
    let at = login.changed_ms.filter(|_| login.tokens > 0)?;
    Timestamp::from_millisecond(i64::try_from(at).ok()?).ok()
}

fn user_groups(group: &Group) -> Option<Value> {
    let ids = &group.status.login.user_groups;
    (!ids.is_empty()).then(|| ids.iter().map(|id| Value::from(id.as_str())).collect())
}

fn created(group: &Group) -> Option<Timestamp> {
    Timestamp::from_millisecond(group.record.created_ms?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elasticache::kit::{Stage, group_of, web, xml};
    use crate::groups::GroupRecord;

    fn described(stage: &Stage, group: &Group) -> String {
        let answer =
            Structure::new().list("ReplicationGroups", [stage.scene().replication_group(group)]);
        xml("DescribeReplicationGroups", &answer)
    }

    fn clusters(stage: &Stage, group: &Group) -> String {
        let scene = stage.scene();
        let all = group.nodes().iter().map(|node| scene.cache_cluster(group, node, true));
        xml("DescribeCacheClusters", &Structure::new().list("CacheClusters", all))
    }

    #[test]
    fn a_group_is_shown_with_all_that_clients_read() {
        let xml = described(&Stage::new(), &web());
        for part in [
            "<ReplicationGroupId>web</ReplicationGroupId>",
            "<Status>available</Status>",
            "<MemberClusters><ClusterId>web-001</ClusterId><ClusterId>web-002</ClusterId>",
            "<PrimaryEndpoint><Address>web.abcdef.use1.cache.tanist</Address><Port>6379</Port>",
            "<ReaderEndpoint><Address>web-ro.abcdef.use1.cache.tanist</Address>",
            "<CacheClusterId>web-002</CacheClusterId><CacheNodeId>0001</CacheNodeId>",
            "<PreferredAvailabilityZone>us-east-1b</PreferredAvailabilityZone>",
            "<CurrentRole>replica</CurrentRole>",
            "<AutomaticFailover>enabled</AutomaticFailover>",
            "<MultiAZ>disabled</MultiAZ>",
            "<ARN>arn:aws:elasticache:us-east-1:123456789012:replicationgroup:web</ARN>",
            "<ClusterMode>disabled</ClusterMode>",
            "<TransitEncryptionEnabled>false</TransitEncryptionEnabled>",
            "<ReplicationGroupCreateTime>2026-01-02T03:04:05.000Z</ReplicationGroupCreateTime>",
            "<Engine>redis</Engine>",
        ] {
            assert!(xml.contains(part), "{part} in {xml}");
        }
        assert_eq!(xml.matches("<CurrentRole>primary</CurrentRole>").count(), 1);
        assert!(!xml.contains("ConfigurationEndpoint"));
    }

    #[test]
    fn multi_az_is_shown_while_the_nodes_are_apart() {
        let stage = Stage::new();
        let mut web = web();
        web.record.multi_az = true;
        assert!(described(&stage, &web).contains("<MultiAZ>enabled</MultiAZ>"));
        // Also of a group that was created just now: there was no place elsewhere.
        for status in ["creating", "available"] {
            web.status.status = status.to_owned();
            for node in &mut web.status.shards[0].nodes {
                node.zone = "us-east-1a".into();
            }
            assert!(described(&stage, &web).contains("<MultiAZ>disabled</MultiAZ>"));
        }
    }

    #[test]
    fn snapshots_are_of_a_node_that_stays_or_of_none() {
        let stage = Stage::new();
        let mut web = web();
        web.record.snapshotting_cluster = Some("web-003".to_owned());
        let shown = "<SnapshottingClusterId>web-003</SnapshottingClusterId>";
        assert!(described(&stage, &web).contains(shown));
        web.status.shards[0].nodes[2].role = "leaving".to_owned();
        assert!(!described(&stage, &web).contains("SnapshottingClusterId"));
        web.status.shards[0].nodes.pop();
        assert!(!described(&stage, &web).contains("SnapshottingClusterId"));
    }

    #[test]
    fn while_it_is_created_a_group_has_members_but_no_roles() {
        let mut web = web();
        web.status.status = "creating".to_owned();
        let xml = described(&Stage::new(), &web);
        assert!(xml.contains("<Status>creating</Status>") && xml.contains("web-003</ClusterId>"));
        assert!(xml.contains("<AutomaticFailover>enabling</AutomaticFailover>"));
        assert!(!xml.contains("NodeGroupMember"));
    }

    #[test]
    fn during_a_vacancy_nobody_is_primary() {
        let mut web = web();
        web.status.status = "unavailable".to_owned();
        web.status.shards[0].primary = None;
        let xml = described(&Stage::new(), &web);
        assert_eq!(xml.matches("<CurrentRole>replica</CurrentRole>").count(), 3);
    }

    #[test]
    fn every_member_is_a_cache_cluster() {
        let mut web = web();
        web.record.security_groups = vec!["sg-1".to_owned()];
        web.record.notification_topic = Some("arn:aws:sns:us-east-1:1:t".to_owned());
        let xml = clusters(&Stage::new(), &web);
        for part in [
            "<CacheClusterId>web-003</CacheClusterId>",
            "<CacheClusterStatus>available</CacheClusterStatus>",
            "<EngineVersion>7.0.15</EngineVersion>",
            "<CacheParameterGroupName>default.redis7</CacheParameterGroupName>",
            "<SecurityGroupId>sg-1</SecurityGroupId><Status>active</Status>",
            "<TopicStatus>inactive</TopicStatus>",
            "<ReplicationGroupId>web</ReplicationGroupId>",
            "<CacheSubnetGroupName>practice</CacheSubnetGroupName>",
            "<Endpoint><Address>web-001.abcdef.use1.cache.tanist</Address>",
            "<PreferredMaintenanceWindow>sun:05:00-sun:06:00</PreferredMaintenanceWindow>",
            "<ARN>arn:aws:elasticache:us-east-1:123456789012:cluster:web-003</ARN>",
        ] {
            assert!(xml.contains(part), "{part} in {xml}");
        }
    }

    #[test]
    fn what_is_left_of_a_group_belongs_to_none() {
        let mut left = group_of("web", 1);
        left.record.retained = true;
        let xml = clusters(&Stage::new(), &left);
        assert!(xml.contains("<CacheClusterId>web-001</CacheClusterId>"));
        assert!(!xml.contains("ReplicationGroupId"));
    }

    #[test]
    fn a_group_made_in_another_way_is_shown_too() {
        let mut web = web();
        web.record = GroupRecord::default();
        let stage = Stage::new();
        let xml = described(&stage, &web);
        assert!(xml.contains("<Description>web</Description>"));
        assert!(xml.contains("<CacheNodeType>cache.t4g.micro</CacheNodeType>"));
        assert!(!xml.contains("CreateTime"));
        assert!(clusters(&stage, &web).contains("default.redis7"));
    }
}
