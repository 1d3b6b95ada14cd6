//! Modifying a replication group: from a request to what the controller is asked.
//!
//! Everything takes effect at once, with or without `ApplyImmediately`: no change of these restarts
//! an engine, and nothing waits for a maintenance window. Only a promotion has to be asked for now.
//!
//! Invariant: what a request does not name stays as it is.
//!
//! Not here: the number of replicas (`super::replicas`).

use tanist_core::model::NodeId;
use tanist_link::api::{ModifyGroup, NodeStatus};

use super::create::check_failover;
use super::describe::named;
use super::refusal::{Refusal, bad_combination, bad_state, bad_value};
use super::scene::{NODE_GROUP, Scene};
use super::unbuilt::refuse_unbuilt;
use super::{
    durability, engines, login, network, node_types, remembered, spread, transit, windows, words,
};
use crate::groups::{Group, GroupRecord};
use crate::value::Structure;

/// A change of a group.
#[derive(Debug)]
pub(super) struct Change {
    /// The group's name.
    pub(super) name: String,
    /// What the controller is asked. The attributes and who may connect are not in it yet.
    pub(super) asked: ModifyGroup,
    /// What is remembered afterwards.
    pub(super) record: GroupRecord,
    /// Whether other security groups say from now on who may connect.
    pub(super) protect: bool,
    /// Who is to be the primary.
    pub(super) promote: Option<NodeId>,
    /// What is being done about the token.
    pub(super) token_status: Option<&'static str>,
}

impl Change {
    /// One that changes nothing yet; refused if it could only overwrite what is remembered.
    pub(super) fn of(group: &Group) -> Result<Self, Refusal> {
        if group.unreadable {
            return Err(bad_state(format_args!(
                "What is remembered of replication group {} is not understood by this release, and \
                 a change would lose it: use the release that wrote it.",
                group.name()
            )));
        }
        let expect = Some(group.status.revision);
        Ok(Self {
            name: group.name().to_owned(),
            asked: ModifyGroup { expect, ..ModifyGroup::default() },
            record: group.record_now(),
            protect: false,
            promote: None,
            token_status: None,
        })
    }
}

/// Can the group be changed?
pub(super) fn check_state(group: &Group) -> Result<(), Refusal> {
    match words::group(group) {
        words::CREATING | words::DELETING => {
            Err(bad_state("Replication group must be in available state to modify."))
        }
        _ => Ok(()),
    }
}

/// `ModifyReplicationGroup`.
pub(super) fn change(scene: Scene<'_>, input: &Structure) -> Result<Change, Refusal> {
    let group = scene.group(input.text("ReplicationGroupId").unwrap_or(""))?;
    check_state(group)?;
    refuse_unbuilt(scene, input)?;
    if named(input, "NodeGroupId").is_some_and(|id| id != NODE_GROUP) {
        let message = format_args!("The only node group of a replication group is {NODE_GROUP}.");
        return Err(bad_value(message));
    }
    durability::check_unchanged(group, input)?;
    let mut change = Change::of(group)?;
    engine(scene, group, input, &mut change.record)?;
    failover(scene, group, input, &mut change)?;
    memory(scene, group, input, &mut change)?;
    protection(scene, group, input, &mut change)?;
    words_and_windows(scene, group, input, &mut change.record)?;
    change.asked.transit_mode = transit::change(group, input)?;
    change.promote = promotion(group, input)?;
    let login = login::change(group, input)?;
    change.asked.token = login.token;
    change.asked.user_groups = login.user_groups;
    change.token_status = login.status;
    Ok(change)
}

fn engine(
    scene: Scene<'_>,
    group: &Group,
    input: &Structure,
    record: &mut GroupRecord,
) -> Result<(), Refusal> {
    let kind = group.status.engine.to_string();
    if let Some(name) = named(input, "Engine").filter(|name| *name != kind) {
        return Err(bad_combination(format_args!(
            "The engine of a replication group cannot be changed yet: it is {kind}, not {name}."
        )));
    }
    let (version, parameters) =
        (named(input, "EngineVersion"), named(input, "CacheParameterGroupName"));
    if version.is_none() && parameters.is_none() {
        return Ok(());
    }
    // Only these need the engine to be there: whatever else there is goes on without it.
    let own = engines::named(scene.settings, &kind)?;
    if let Some(version) = version {
        engines::check_version(own, version)?;
    }
    if let Some(name) = parameters {
        engines::check_parameters(scene.settings, scene.pages, own, name)?;
        record.parameter_group = Some(name.to_owned());
    }
    Ok(())
}

fn failover(
    scene: Scene<'_>,
    group: &Group,
    input: &Structure,
    change: &mut Change,
) -> Result<(), Refusal> {
    let asked = input.flag("AutomaticFailoverEnabled");
    let multi_az = input.flag("MultiAZEnabled");
    let failover = asked.unwrap_or(group.status.automatic_failover);
    let apart = multi_az.unwrap_or(group.record.multi_az);
    if asked.is_some() || multi_az.is_some() {
        check_failover(group.status.replicas, failover, apart)?;
    }
    if multi_az == Some(true) {
        let subnets = network::find(scene, group.record.subnet_group.as_deref())?;
        spread::check_asked(&subnets, &[])?;
        spread::check_present(group)?;
    }
    change.asked.automatic_failover = asked;
    change.record.multi_az = apart;
    Ok(())
}

fn memory(
    scene: Scene<'_>,
    group: &Group,
    input: &Structure,
    change: &mut Change,
) -> Result<(), Refusal> {
    let Some(name) = named(input, "CacheNodeType") else { return Ok(()) };
    let bytes = node_types::bytes(name)?;
    if name == scene.node_type(group) && group.record.node_type.is_some() {
        return Ok(());
    }
    let used = used_bytes(group);
    if bytes < used {
        return Err(bad_value(format_args!(
            "{name} is too small: a node of the group holds {used} bytes."
        )));
    }
    change.asked.memory_bytes = Some(bytes);
    change.record.node_type = Some(name.to_owned());
    Ok(())
}

/// The memory that the fullest node uses, in bytes.
pub(super) fn used_bytes(group: &Group) -> u64 {
    group.nodes().iter().filter_map(|node| node.memory_bytes).max().unwrap_or(0)
}

fn protection(
    scene: Scene<'_>,
    group: &Group,
    input: &Structure,
    change: &mut Change,
) -> Result<(), Refusal> {
    if input.items("SecurityGroupIds").is_empty() {
        return Ok(());
    }
    let subnets = network::find(scene, group.record.subnet_group.as_deref())?;
    let ids = input.texts("SecurityGroupIds");
    change.record.security_groups = network::security_groups(scene, subnets.vpc, ids)?;
    // A group made in another way is in the default network from now on.
    change.record.subnet_group = Some(subnets.name.to_owned());
    change.protect = true;
    Ok(())
}

fn words_and_windows(
    scene: Scene<'_>,
    group: &Group,
    input: &Structure,
    record: &mut GroupRecord,
) -> Result<(), Refusal> {
    if let Some(description) = named(input, "ReplicationGroupDescription") {
        record.description = Some(remembered::description(description)?);
    }
    let weekly =
        named(input, "PreferredMaintenanceWindow").map(windows::maintenance).transpose()?;
    let daily = named(input, "SnapshotWindow").map(windows::snapshot).transpose()?;
    if weekly.is_some() || daily.is_some() {
        let (old_weekly, old_daily) = scene.windows(group);
        let (weekly, daily) = (weekly.unwrap_or(old_weekly), daily.unwrap_or(old_daily));
        windows::check_apart(&weekly, &daily)?;
        record.maintenance_window = Some(weekly);
        record.snapshot_window = Some(daily);
    }
    if let Some(name) = named(input, "SnapshottingClusterId") {
        record.snapshotting_cluster = Some(member(group, name)?.node.to_string());
    }
    if let Some(topic) = input.text("NotificationTopicArn") {
        record.notification_topic = Some(topic.to_owned()).filter(|topic| !topic.is_empty());
    }
    match named(input, "NotificationTopicStatus") {
        None | Some("active" | "inactive") => {}
        Some(word) => {
            let message = format_args!("Invalid value {word} for NotificationTopicStatus.");
            return Err(bad_value(message));
        }
    }
    if let Some(flag) = input.flag("AutoMinorVersionUpgrade") {
        record.auto_minor_version_upgrade = Some(flag);
    }
    Ok(())
}

/// A node of the group that stays.
fn member<'g>(group: &'g Group, name: &str) -> Result<&'g NodeStatus, Refusal> {
    let name = name.to_ascii_lowercase();
    match group.node(&name) {
        None => Err(bad_value(format_args!(
            "The cache cluster {name} is not a member of the replication group {}.",
            group.name()
        ))),
        Some(node) if words::is_leaving(node) => {
            Err(bad_state(format_args!("The cache cluster {name} is being deleted.")))
        }
        Some(node) => Ok(node),
    }
}

fn promotion(group: &Group, input: &Structure) -> Result<Option<NodeId>, Refusal> {
    let Some(name) = named(input, "PrimaryClusterId") else { return Ok(None) };
    let node = member(group, name)?;
    let heir = &node.node;
    if group.primary() == Some(heir) {
        return Ok(None);
    }
    if input.flag("ApplyImmediately") != Some(true) {
        return Err(bad_combination(
            "A promotion is carried out at once: PrimaryClusterId needs ApplyImmediately.",
        ));
    }
    // Before anything else of the request is done: afterwards it could only be half of it.
    if words::group(group) != words::AVAILABLE {
        return Err(bad_state("Replication group must be in available state for a promotion."));
    }
    if !node.in_sync {
        return Err(bad_state(format_args!(
            "The cache cluster {heir} is not in sync with the primary and cannot be promoted."
        )));
    }
    Ok(Some(heir.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elasticache::kit::Stage;

    fn input() -> Structure {
        Structure::new().set("ReplicationGroupId", "web")
    }

    fn changed(stage: &Stage, input: &Structure) -> Change {
        change(stage.scene(), input).unwrap()
    }

    fn code(stage: &Stage, input: &Structure) -> &'static str {
        change(stage.scene(), input).unwrap_err().code
    }

    #[test]
    fn what_is_not_named_stays_as_it_is() {
        let stage = Stage::new();
        let change = changed(&stage, &input());
        assert_eq!(change.record, stage.groups[0].record);
        assert_eq!(change.asked, ModifyGroup { expect: Some(7), ..ModifyGroup::default() });
        assert_eq!((change.protect, change.promote), (false, None));
    }

    #[test]
    fn words_windows_and_switches_are_taken() {
        let stage = Stage::new();
        let input = input()
            .set("ReplicationGroupDescription", "new")
            .set("PreferredMaintenanceWindow", "Mon:01:00-Mon:02:00")
            .set("SnapshotWindow", "05:00-06:00")
            .set("SnapshottingClusterId", "web-002")
            .set("NotificationTopicArn", "arn:aws:sns:us-east-1:1:t")
            .set("AutoMinorVersionUpgrade", false)
            .set("MultiAZEnabled", true)
            .set("CacheParameterGroupName", "default.redis7")
            .set("EngineVersion", "7.0");
        let change = changed(&stage, &input);
        let record = &change.record;
        assert_eq!(record.description.as_deref(), Some("new"));
        assert_eq!(record.maintenance_window.as_deref(), Some("mon:01:00-mon:02:00"));
        assert_eq!(record.snapshotting_cluster.as_deref(), Some("web-002"));
        assert_eq!(record.parameter_group.as_deref(), Some("default.redis7"));
        assert_eq!(record.auto_minor_version_upgrade, Some(false));
        assert!(record.multi_az);
        assert_eq!(change.asked.automatic_failover, None);
    }

    #[test]
    fn a_node_that_is_going_is_given_nothing_to_do() {
        let mut stage = Stage::new();
        stage.groups[0].status.shards[0].nodes[2].role = "leaving".to_owned();
        for member in ["SnapshottingClusterId", "PrimaryClusterId"] {
            let input = input().set(member, "web-003").set("ApplyImmediately", true);
            assert_eq!(code(&stage, &input), "InvalidReplicationGroupState", "{member}");
        }
    }

    #[test]
    fn switches_that_do_not_go_together_are_refused() {
        let mut stage = Stage::new();
        stage.groups[0].record.multi_az = true;
        let off = input().set("AutomaticFailoverEnabled", false);
        assert_eq!(code(&stage, &off), "InvalidParameterCombination");
        let both = off.set("MultiAZEnabled", false);
        assert_eq!(changed(&stage, &both).asked.automatic_failover, Some(false));
        stage.groups[0].status.replicas = 0;
        stage.groups[0].record.multi_az = false;
        let on = input().set("AutomaticFailoverEnabled", true);
        assert_eq!(code(&stage, &on), "InvalidParameterCombination");
    }

    #[test]
    fn multi_az_is_refused_to_a_group_in_one_zone_whether_it_is_new_or_kept() {
        let mut stage = Stage::new();
        for node in &mut stage.groups[0].status.shards[0].nodes {
            node.zone = "us-east-1a".into();
        }
        for kept in [false, true] {
            stage.groups[0].record.multi_az = kept;
            let on = input().set("MultiAZEnabled", true);
            assert_eq!(code(&stage, &on), "InvalidParameterCombination");
            // What does not concern it can be changed all the same.
            let other = input().set("ReplicationGroupDescription", "new");
            assert_eq!(changed(&stage, &other).record.multi_az, kept);
        }
    }

    #[test]
    fn a_node_type_is_an_amount_of_memory_that_holds_the_data() {
        let mut stage = Stage::new();
        let more = input().set("CacheNodeType", "cache.t3.small");
        let change = changed(&stage, &more);
        assert_eq!(change.asked.memory_bytes, Some(1_471_026_299));
        assert_eq!(change.record.node_type.as_deref(), Some("cache.t3.small"));
        let same = input().set("CacheNodeType", "cache.t3.micro");
        assert_eq!(changed(&stage, &same).asked.memory_bytes, None);
        stage.groups[0].status.shards[0].nodes[1].memory_bytes = Some(600 << 20);
        stage.groups[0].record.node_type = Some("cache.t3.small".to_owned());
        assert_eq!(code(&stage, &same), "InvalidParameterValue");
        let unknown = input().set("CacheNodeType", "cache.x");
        assert_eq!(code(&stage, &unknown), "InvalidParameterValue");
    }

    #[test]
    fn security_groups_are_those_of_the_network() {
        let stage = Stage::new();
        let own = stage.default_security_group("vpc-2");
        let change = changed(&stage, &input().list("SecurityGroupIds", [own.as_str()]));
        assert_eq!(change.record.security_groups, [own]);
        assert!(change.protect);
        let other = stage.default_security_group("vpc-1");
        let bad = input().list("SecurityGroupIds", [other.as_str()]);
        assert_eq!(code(&stage, &bad), "InvalidParameterCombination");
    }

    #[test]
    fn a_promotion_names_a_member_and_is_immediate() {
        let stage = Stage::new();
        let to = |name: &str| input().set("PrimaryClusterId", name);
        assert_eq!(code(&stage, &to("web-002")), "InvalidParameterCombination");
        let now = to("Web-002").set("ApplyImmediately", true);
        assert_eq!(changed(&stage, &now).promote, Some(NodeId::new("web-002")));
        assert_eq!(changed(&stage, &to("web-001")).promote, None, "it is the primary already");
        assert_eq!(code(&stage, &to("web-009")), "InvalidParameterValue");
    }

    #[test]
    fn a_group_that_is_busy_is_changed_but_for_its_primary() {
        let mut stage = Stage::new();
        let other = input().set("ReplicationGroupDescription", "new");
        let both = other.clone().set("PrimaryClusterId", "web-002").set("ApplyImmediately", true);
        assert!(changed(&stage, &both).promote.is_some());
        for word in ["modifying", "degraded", "unavailable"] {
            stage.groups[0].status.status = word.to_owned();
            assert_eq!(code(&stage, &both), "InvalidReplicationGroupState", "{word}");
            assert!(change(stage.scene(), &other).is_ok(), "{word}");
        }
    }

    #[test]
    fn only_a_replica_in_sync_is_promoted() {
        let mut stage = Stage::new();
        stage.groups[0].status.shards[0].nodes[1].in_sync = false;
        let to = |name: &str| input().set("PrimaryClusterId", name).set("ApplyImmediately", true);
        assert_eq!(code(&stage, &to("web-002")), "InvalidReplicationGroupState");
        assert!(changed(&stage, &to("web-003")).promote.is_some());
    }

    #[test]
    fn a_group_is_changed_although_its_engine_is_not_installed_any_more() {
        let mut stage = Stage::new();
        stage.settings.engines.retain(|(name, _)| name != "redis");
        let other = input().set("ReplicationGroupDescription", "new").set("Engine", "redis");
        assert_eq!(changed(&stage, &other).record.description.as_deref(), Some("new"));
        let valkey = input().set("Engine", "valkey");
        assert_eq!(code(&stage, &valkey), "InvalidParameterCombination");
        let version = input().set("EngineVersion", "7.0");
        assert_eq!(code(&stage, &version), "InvalidParameterValue");
        let parameters = input().set("CacheParameterGroupName", "default.redis7");
        assert_eq!(code(&stage, &parameters), "InvalidParameterValue");
    }

    #[test]
    fn what_cannot_change_is_refused() {
        let mut stage = Stage::new();
        let engine = input().set("Engine", "valkey");
        assert_eq!(code(&stage, &engine), "InvalidParameterCombination");
        let version = input().set("EngineVersion", "7.1");
        assert_eq!(code(&stage, &version), "InvalidParameterCombination");
        let windows = input().set("SnapshotWindow", "05:30-06:30");
        assert_eq!(code(&stage, &windows), "InvalidParameterCombination");
        for word in ["creating", "deleting"] {
            stage.groups[0].status.status = word.to_owned();
            assert_eq!(code(&stage, &input()), "InvalidReplicationGroupState");
        }
        stage.groups.clear();
        assert_eq!(code(&stage, &input()), "ReplicationGroupNotFoundFault");
    }
}
