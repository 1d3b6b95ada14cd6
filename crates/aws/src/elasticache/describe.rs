//! Lists of what there is.
//!
//! Invariant: a list of one is refused if there is no such thing, never empty.
//!
//! Not here: what a thing looks like (`super::show`).

use super::page::page;
use super::refusal::{Refusal, refuse};
use super::scene::Scene;
use crate::groups::Group;
use crate::value::{Structure, Value};

/// `DescribeReplicationGroups`.
pub(super) fn replication_groups(
    scene: Scene<'_>,
    input: &Structure,
) -> Result<Structure, Refusal> {
    let wanted: Vec<&Group> = match named(input, "ReplicationGroupId") {
        Some(name) => vec![scene.group(name)?],
        None => scene.groups.iter().filter(|group| group.retained().is_none()).collect(),
    };
    let items = wanted.into_iter().map(|group| (group.name().to_owned(), group));
    let (shown, marker) = page("DescribeReplicationGroups", input, items)?;
    let shown = shown.into_iter().map(|group| scene.replication_group(group));
    Ok(Structure::new().maybe("Marker", marker).list("ReplicationGroups", shown))
}

/// `DescribeCacheClusters`.
pub(super) fn cache_clusters(scene: Scene<'_>, input: &Structure) -> Result<Structure, Refusal> {
    let with_node = input.flag("ShowCacheNodeInfo").unwrap_or(false);
    let alone = input.flag("ShowCacheClustersNotInReplicationGroups").unwrap_or(false);
    let wanted = match named(input, "CacheClusterId") {
        Some(name) => vec![scene.cluster(name)?],
        None => {
            let all = scene.groups.iter().filter(|group| !alone || group.retained().is_some());
            let mut all: Vec<_> =
                all.flat_map(|group| group.nodes().iter().map(move |node| (group, node))).collect();
            all.sort_by(|(_, one), (_, other)| one.node.cmp(&other.node));
            all
        }
    };
    let items = wanted.into_iter().map(|found| (found.1.node.to_string(), found));
    let (shown, marker) = page("DescribeCacheClusters", input, items)?;
    let shown = shown.into_iter().map(|(group, node)| scene.cache_cluster(group, node, with_node));
    Ok(Structure::new().maybe("Marker", marker).list("CacheClusters", shown))
}

/// `DescribeSnapshots`: nothing makes one yet.
pub(super) fn snapshots(scene: Scene<'_>, input: &Structure) -> Result<Structure, Refusal> {
    if let Some(name) = named(input, "SnapshotName") {
        return Err(refuse("SnapshotNotFoundFault", format_args!("Snapshot {name} not found.")));
    }
    if let Some(name) = named(input, "ReplicationGroupId") {
        scene.group(name)?;
    }
    if let Some(name) = named(input, "CacheClusterId") {
        scene.cluster(name)?;
    }
    nothing("DescribeSnapshots", "Snapshots", input)
}

/// `DescribeGlobalReplicationGroups`: nothing makes one yet.
pub(super) fn global_groups(_scene: Scene<'_>, input: &Structure) -> Result<Structure, Refusal> {
    match named(input, "GlobalReplicationGroupId") {
        Some(name) => Err(no_global_group(name)),
        None => nothing("DescribeGlobalReplicationGroups", "GlobalReplicationGroups", input),
    }
}

/// The refusal of a global replication group that does not exist.
pub(super) fn no_global_group(name: &str) -> Refusal {
    refuse(
        "GlobalReplicationGroupNotFoundFault",
        format_args!("Global Replication Group {name} not found."),
    )
}

fn nothing(operation: &str, member: &'static str, input: &Structure) -> Result<Structure, Refusal> {
    let (shown, _) = page::<Value>(operation, input, [])?;
    Ok(Structure::new().list(member, shown))
}

/// A name that was given; a blank one is none.
pub(super) fn named<'a>(input: &'a Structure, member: &str) -> Option<&'a str> {
    input.text(member).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elasticache::kit::{Stage, group_of, web, xml};

    fn ids(answer: &Structure, list: &str, member: &str) -> Vec<String> {
        answer.structures(list).filter_map(|one| one.text(member).map(str::to_owned)).collect()
    }

    fn stage() -> Stage {
        let mut stage = Stage::new();
        let mut left = group_of("old", 1);
        left.record.retained = true;
        let mut going = group_of("going", 2);
        going.record.retained = true;
        stage.groups = vec![going, left, web()];
        stage
    }

    #[test]
    fn groups_are_listed_and_found_by_any_spelling() {
        let stage = stage();
        let all = replication_groups(stage.scene(), &Structure::new()).unwrap();
        // Of `old` only a cache cluster is left.
        assert_eq!(ids(&all, "ReplicationGroups", "ReplicationGroupId"), ["going", "web"]);
        assert_eq!(ids(&all, "ReplicationGroups", "Status"), ["deleting", "available"]);
        let input = Structure::new().set("ReplicationGroupId", "WEB");
        let one = replication_groups(stage.scene(), &input).unwrap();
        assert_eq!(ids(&one, "ReplicationGroups", "ReplicationGroupId"), ["web"]);
        xml("DescribeReplicationGroups", &one);
        for gone in ["old", "other"] {
            let input = Structure::new().set("ReplicationGroupId", gone);
            let refusal = replication_groups(stage.scene(), &input).unwrap_err();
            assert_eq!(refusal.code, "ReplicationGroupNotFoundFault");
        }
    }

    #[test]
    fn clusters_are_listed_with_and_without_groups() {
        let stage = stage();
        let list = |input: Structure| {
            let answer = cache_clusters(stage.scene(), &input).unwrap();
            xml("DescribeCacheClusters", &answer);
            ids(&answer, "CacheClusters", "CacheClusterId")
        };
        let all = ["going-001", "going-002", "old-001", "web-001", "web-002", "web-003"];
        assert_eq!(list(Structure::new()), all);
        let alone = Structure::new().set("ShowCacheClustersNotInReplicationGroups", true);
        assert_eq!(list(alone), ["old-001"]);
        assert_eq!(list(Structure::new().set("CacheClusterId", "Web-002")), ["web-002"]);
        let input = Structure::new().set("CacheClusterId", "web-009");
        let refusal = cache_clusters(stage.scene(), &input).unwrap_err();
        assert_eq!(refusal.code, "CacheClusterNotFound");
    }

    #[test]
    fn a_clusters_node_is_shown_if_asked_for() {
        let stage = stage();
        let input = Structure::new().set("CacheClusterId", "web-001");
        let without = cache_clusters(stage.scene(), &input).unwrap();
        assert!(!without.structures("CacheClusters").next().unwrap().has("CacheNodes"));
        let with = cache_clusters(stage.scene(), &input.set("ShowCacheNodeInfo", true)).unwrap();
        assert!(with.structures("CacheClusters").next().unwrap().has("CacheNodes"));
    }

    #[test]
    fn a_long_list_comes_in_pages() {
        let mut stage = Stage::new();
        stage.groups = (100..150).map(|n| group_of(&format!("g{n}"), 1)).collect();
        let input = Structure::new().set("MaxRecords", 20);
        let first = replication_groups(stage.scene(), &input).unwrap();
        let names = ids(&first, "ReplicationGroups", "ReplicationGroupId");
        assert_eq!((names.len(), names[19].as_str()), (20, "g119"));
        let input = input.set("Marker", first.text("Marker").unwrap());
        stage.groups.remove(0);
        let second = replication_groups(stage.scene(), &input).unwrap();
        assert_eq!(ids(&second, "ReplicationGroups", "ReplicationGroupId")[0], "g120");
    }

    #[test]
    fn what_nothing_makes_yet_is_an_empty_list() {
        let (stage, empty) = (Stage::new(), Structure::new());
        xml("DescribeSnapshots", &snapshots(stage.scene(), &empty).unwrap());
        xml("DescribeGlobalReplicationGroups", &global_groups(stage.scene(), &empty).unwrap());
        let code = |result: Result<Structure, Refusal>| result.unwrap_err().code;
        let asked = |member: &'static str| Structure::new().set(member, "x");
        let scene = stage.scene();
        assert_eq!(code(snapshots(scene, &asked("SnapshotName"))), "SnapshotNotFoundFault");
        assert_eq!(code(snapshots(scene, &asked("CacheClusterId"))), "CacheClusterNotFound");
        let global = asked("GlobalReplicationGroupId");
        assert_eq!(code(global_groups(scene, &global)), "GlobalReplicationGroupNotFoundFault");
    }
}
