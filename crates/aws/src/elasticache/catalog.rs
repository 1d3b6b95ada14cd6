//! What can be chosen: engine versions, parameter groups, node types.
//!
//! Invariant: what is listed here is accepted when a group is created with it, unless cluster mode is
//! in its name.
//!
//! Not here: what was chosen (`super::show`).

use super::describe::named;
use super::modify::used_bytes;
use super::page::page;
use super::refusal::{Refusal, bad_combination};
use super::scene::Scene;
use super::{engines, node_types};
use crate::value::Structure;

/// `DescribeCacheEngineVersions`.
pub(super) fn engine_versions(scene: Scene<'_>, input: &Structure) -> Result<Structure, Refusal> {
    let engine = named(input, "Engine");
    let version = named(input, "EngineVersion");
    let family = named(input, "CacheParameterGroupFamily");
    let mut all: Vec<_> = engines::installed(scene.settings).collect();
    all.sort_by_key(|engine| (engine.name, engine.version));
    let wanted = all.into_iter().filter(|one| {
        engine.is_none_or(|name| name == one.name)
            && version.is_none_or(|version| engines::check_version(*one, version).is_ok())
            && family.is_none_or(|family| family == one.family())
    });
    let items = wanted.map(|one| (format!("{} {}", one.name, one.version), one));
    let (shown, marker) = page("DescribeCacheEngineVersions", input, items)?;
    let shown = shown.into_iter().map(|one| {
        let description = if one.name == "redis" { "Redis" } else { "Valkey" };
        Structure::new()
            .set("Engine", one.name)
            .set("EngineVersion", one.version)
            .set("CacheParameterGroupFamily", one.family())
            .set("CacheEngineDescription", description)
            .set("CacheEngineVersionDescription", format!("{} version {}", one.name, one.version))
    });
    Ok(Structure::new().maybe("Marker", marker).list("CacheEngineVersions", shown))
}

/// `DescribeCacheParameterGroups`.
pub(super) fn parameter_groups(scene: Scene<'_>, input: &Structure) -> Result<Structure, Refusal> {
    let mut all = engines::parameter_groups(scene.settings, scene.pages);
    if let Some(name) = named(input, "CacheParameterGroupName") {
        all.retain(|group| group.name == name);
        if all.is_empty() {
            return Err(engines::no_parameters(name));
        }
    }
    let items = all.into_iter().map(|group| (group.name.clone(), group));
    let (shown, marker) = page("DescribeCacheParameterGroups", input, items)?;
    let shown = shown.into_iter().map(|group| {
        Structure::new()
            .set("ARN", scene.arn("parametergroup", &group.name))
            .set("CacheParameterGroupName", group.name)
            .set("CacheParameterGroupFamily", group.family)
            .set("Description", group.description)
            .set("IsGlobal", false)
    });
    Ok(Structure::new().maybe("Marker", marker).list("CacheParameterGroups", shown))
}

/// `ListAllowedNodeTypeModifications`.
pub(super) fn node_types(scene: Scene<'_>, input: &Structure) -> Result<Structure, Refusal> {
    let group = match (named(input, "ReplicationGroupId"), named(input, "CacheClusterId")) {
        (Some(name), None) => scene.group(name)?,
        (None, Some(name)) => scene.cluster(name)?.0,
        _ => {
            let message = "Exactly one of CacheClusterId and ReplicationGroupId must be provided.";
            return Err(bad_combination(message));
        }
    };
    let (up, down) = node_types::around(&scene.node_type(group), used_bytes(group));
    Ok(Structure::new().list("ScaleUpModifications", up).list("ScaleDownModifications", down))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elasticache::kit::{Stage, xml};

    fn texts(answer: &Structure, list: &str, member: &str) -> Vec<String> {
        answer.structures(list).filter_map(|one| one.text(member).map(str::to_owned)).collect()
    }

    #[test]
    fn the_installed_engines_are_offered() {
        let stage = Stage::new();
        let versions = |input: Structure| {
            let answer = engine_versions(stage.scene(), &input).unwrap();
            xml("DescribeCacheEngineVersions", &answer);
            texts(&answer, "CacheEngineVersions", "EngineVersion")
        };
        assert_eq!(versions(Structure::new()), ["7.0.15", "8.0.1"]);
        assert_eq!(versions(Structure::new().set("Engine", "valkey")), ["8.0.1"]);
        assert_eq!(versions(Structure::new().set("EngineVersion", "7.0")), ["7.0.15"]);
        let family = Structure::new().set("CacheParameterGroupFamily", "valkey8");
        assert_eq!(versions(family), ["8.0.1"]);
        assert!(versions(Structure::new().set("Engine", "memcached")).is_empty());
    }

    #[test]
    fn default_parameter_groups_follow_from_the_engines() {
        let stage = Stage::new();
        let answer = parameter_groups(stage.scene(), &Structure::new()).unwrap();
        xml("DescribeCacheParameterGroups", &answer);
        assert_eq!(
            texts(&answer, "CacheParameterGroups", "CacheParameterGroupName"),
            [
                "default.redis7",
                "default.redis7.cluster.on",
                "default.valkey8",
                "default.valkey8.cluster.on"
            ]
        );
        let one = Structure::new().set("CacheParameterGroupName", "default.valkey8");
        let answer = parameter_groups(stage.scene(), &one).unwrap();
        assert_eq!(
            texts(&answer, "CacheParameterGroups", "CacheParameterGroupFamily"),
            ["valkey8"]
        );
        let none = Structure::new().set("CacheParameterGroupName", "mine");
        let refusal = parameter_groups(stage.scene(), &none).unwrap_err();
        assert_eq!(refusal.code, "CacheParameterGroupNotFound");
    }

    #[test]
    fn node_types_are_asked_for_of_one_thing() {
        let stage = Stage::new();
        let group = Structure::new().set("ReplicationGroupId", "web");
        let answer = node_types(stage.scene(), &group).unwrap();
        assert!(xml("ListAllowedNodeTypeModifications", &answer).contains("cache.t3.small"));
        let cluster = Structure::new().set("CacheClusterId", "web-001");
        assert_eq!(node_types(stage.scene(), &cluster).unwrap(), answer);
        for input in [Structure::new(), group.set("CacheClusterId", "web-001")] {
            let refusal = node_types(stage.scene(), &input).unwrap_err();
            assert_eq!(refusal.code, "InvalidParameterCombination");
        }
    }
}
