//! Whose tags are asked for, by an ARN.
//!
//! A replication group's tags travel with the group, and its nodes have them too; those of other
//! things are in the books.
//!
//! Invariant: an ARN of another region or account names nothing here.
//!
//! Not here: what tags may be (`super::tags`).

use super::engines::{no_parameters, parameter_groups};
use super::network::{DEFAULT_SUBNETS, no_subnet_group, subnet_groups};
use super::refusal::{Refusal, bad_state, refuse};
use super::scene::Scene;
use super::tags::{Tags, given, merged};
use super::{users, words};
use crate::book::Pages;
use crate::groups::{Group, GroupRecord};
use crate::value::Structure;

/// Something that has tags.
#[derive(Debug, Clone, Copy)]
pub(super) enum Tagged<'a> {
    /// A replication group, or the cache cluster that is left of one.
    Group(&'a Group),
    /// A node of a replication group, by its name.
    Node(&'a Group, &'a str),
    /// A subnet group with a record of its own, by its name.
    Subnets(&'a str),
    /// Something whose tags are kept by its ARN.
    Other(&'a str),
}

/// Reads the ARN of a request.
pub(super) fn tagged<'a>(scene: Scene<'a>, input: &'a Structure) -> Result<Tagged<'a>, Refusal> {
    let arn = input.text("ResourceName").unwrap_or("");
    let invalid = || refuse("InvalidARN", format_args!("The ARN {arn} is invalid."));
    let mut parts = arn.splitn(7, ':');
    let head = [(); 5].map(|()| parts.next());
    let expected = ["arn", "aws", "elasticache", scene.region, scene.account].map(Some);
    let (Some(kind), Some(name)) = (parts.next(), parts.next()) else { return Err(invalid()) };
    if head != expected || name.is_empty() {
        return Err(invalid());
    }
    match kind {
        "replicationgroup" => Ok(Tagged::Group(scene.group(name)?)),
        "cluster" => {
            let (group, node) = scene.cluster(name)?;
            Ok(match group.retained() {
                Some(_) => Tagged::Group(group),
                None => Tagged::Node(group, node.node.as_str()),
            })
        }
        "subnetgroup" => {
            let found = subnet_groups(scene.pages).into_iter().find(|group| group.name == name);
            match found.ok_or_else(|| no_subnet_group(name))?.name {
                DEFAULT_SUBNETS => Ok(Tagged::Other(arn)),
                name => Ok(Tagged::Subnets(name)),
            }
        }
        "parametergroup" => {
            let all = parameter_groups(scene.settings, scene.pages);
            let found = all.iter().any(|group| group.name == name);
            if found { Ok(Tagged::Other(arn)) } else { Err(no_parameters(name)) }
        }
        "snapshot" => {
            Err(refuse("SnapshotNotFoundFault", format_args!("Snapshot {name} not found.")))
        }
        "user" | "usergroup" => users::exists(scene, kind, name).map(|()| Tagged::Other(arn)),
        _ => Err(invalid()),
    }
}

/// The tags that something has.
pub(super) fn tags_of(scene: Scene<'_>, whose: Tagged<'_>) -> Tags {
    match whose {
        Tagged::Group(group) => group.record.tags.clone(),
        Tagged::Node(group, node) => scene.cluster_tags(group, node),
        Tagged::Subnets(name) => {
            let record = scene.pages.cache_subnet_groups.get(name);
            record.map(|record| record.tags.clone()).unwrap_or_default()
        }
        Tagged::Other(arn) => scene.pages.cache_tags.get(arn).cloned().unwrap_or_default(),
    }
}

/// How tags change.
#[derive(Debug, Clone)]
pub(super) enum Change {
    /// These are added.
    Add(Tags),
    /// The tags with these keys are removed.
    Remove(Vec<String>),
}

impl Change {
    /// `AddTagsToResource`.
    pub(super) fn adding(input: &Structure) -> Result<Self, Refusal> {
        given(input).map(Self::Add)
    }

    /// `RemoveTagsFromResource`.
    pub(super) fn removing(input: &Structure) -> Self {
        Self::Remove(input.texts("TagKeys").map(str::to_owned).collect())
    }

    fn apply(&self, mut tags: Tags) -> Result<Tags, Refusal> {
        match self {
            Self::Add(more) => merged(tags, more.clone()),
            Self::Remove(keys) => {
                for key in keys {
                    if tags.remove(key).is_none() {
                        let message = format_args!("The resource has no tag {key}.");
                        return Err(refuse("TagNotFound", message));
                    }
                }
                Ok(tags)
            }
        }
    }

    /// The record of a group after the change of its tags, or of one of its nodes'.
    pub(super) fn of_group(
        &self,
        scene: Scene<'_>,
        group: &Group,
        node: Option<&str>,
    ) -> Result<GroupRecord, Refusal> {
        if words::group(group) == words::DELETING && group.retained().is_none() {
            let message = "Cluster not in available state to perform tagging operations.";
            return Err(bad_state(message));
        }
        let mut record = group.record_now();
        match node {
            None => record.tags = self.apply(record.tags)?,
            Some(node) => {
                // A node's own tags stand over its group's; those cannot be taken from it alone.
                merged(scene.cluster_tags(group, node), self.added())?;
                let own = record.node_tags.remove(node).unwrap_or_default();
                let own = self.apply(own)?;
                if !own.is_empty() {
                    record.node_tags.insert(node.to_owned(), own);
                }
            }
        }
        Ok(record)
    }

    fn added(&self) -> Tags {
        match self {
            Self::Add(tags) => tags.clone(),
            Self::Remove(_) => Tags::new(),
        }
    }

    /// The records after the change of something's tags.
    pub(super) fn of_pages(&self, pages: &mut Pages, whose: Tagged<'_>) -> Result<Tags, Refusal> {
        match whose {
            Tagged::Subnets(name) => {
                let record = pages.cache_subnet_groups.get_mut(name);
                let record = record.ok_or_else(|| no_subnet_group(name))?;
                record.tags = self.apply(record.tags.clone())?;
                Ok(record.tags.clone())
            }
            Tagged::Other(arn) => {
                let tags = pages.cache_tags.get(arn).cloned().unwrap_or_default();
                let tags = self.apply(tags)?;
                if tags.is_empty() {
                    pages.cache_tags.remove(arn);
                } else {
                    pages.cache_tags.insert(arn, tags.clone());
                }
                Ok(tags)
            }
            Tagged::Group(_) | Tagged::Node(..) => Ok(Tags::new()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elasticache::kit::{Stage, xml};
    use crate::elasticache::tags;

    fn named(kind: &str, name: &str) -> Structure {
        let arn = format!("arn:aws:elasticache:us-east-1:123456789012:{kind}:{name}");
        Structure::new().set("ResourceName", arn)
    }

    fn add(key: &str) -> Change {
        Change::Add(Tags::from([(key.to_owned(), "v".to_owned())]))
    }

    #[test]
    fn what_an_arn_names_has_tags() {
        let stage = Stage::new();
        let code = |input: &Structure| tagged(stage.scene(), input).unwrap_err().code;
        for (kind, name) in [
            ("replicationgroup", "web"),
            ("cluster", "web-002"),
            ("subnetgroup", "practice"),
            ("subnetgroup", "default"),
            ("parametergroup", "default.redis7"),
        ] {
            let input = named(kind, name);
            let whose = tagged(stage.scene(), &input).unwrap();
            let tags = tags_of(stage.scene(), whose);
            assert!(tags.is_empty());
            xml("ListTagsForResource", &tags::list(&tags));
        }
        for (kind, expected) in [
            ("replicationgroup", "ReplicationGroupNotFoundFault"),
            ("cluster", "CacheClusterNotFound"),
            ("subnetgroup", "CacheSubnetGroupNotFoundFault"),
            ("parametergroup", "CacheParameterGroupNotFound"),
            ("snapshot", "SnapshotNotFoundFault"),
            ("user", "UserNotFound"),
            ("usergroup", "UserGroupNotFound"),
            ("thing", "InvalidARN"),
        ] {
            assert_eq!(code(&named(kind, "none")), expected, "{kind}");
        }
        for arn in [
            "",
            "web",
            "arn:aws:elasticache:eu-west-1:123456789012:cluster:web-001",
            "arn:aws:elasticache:us-east-1:000000000000:cluster:web-001",
            "arn:aws:elasticache:us-east-1:123456789012:cluster:",
            "arn:aws:rds:us-east-1",
        ] {
            assert_eq!(code(&Structure::new().set("ResourceName", arn)), "InvalidARN", "{arn}");
        }
    }

    #[test]
    fn a_node_has_its_groups_tags_and_its_own() {
        let mut stage = Stage::new();
        let group = &stage.groups[0];
        let record = add("team").of_group(stage.scene(), group, None).unwrap();
        stage.groups[0].record = record;
        let group = &stage.groups[0];
        let record = add("own").of_group(stage.scene(), group, Some("web-002")).unwrap();
        stage.groups[0].record = record;
        let tags = |name: &str| {
            let input = named("cluster", name);
            let tags = tags_of(stage.scene(), tagged(stage.scene(), &input).unwrap());
            tags.into_keys().collect::<Vec<_>>()
        };
        assert_eq!(tags("web-001"), ["team"]);
        assert_eq!(tags("web-002"), ["own", "team"]);
        stage.groups[0].record.node_tags.insert("web-009".to_owned(), Tags::new());
        let record = add("own").of_group(stage.scene(), &stage.groups[0], Some("web-003"));
        assert!(!record.unwrap().node_tags.contains_key("web-009"), "it is gone");
        let remove = Change::Remove(vec!["team".to_owned()]);
        let refusal = remove.of_group(stage.scene(), &stage.groups[0], Some("web-002"));
        assert_eq!(refusal.unwrap_err().code, "TagNotFound");
        let record = remove.of_group(stage.scene(), &stage.groups[0], None).unwrap();
        assert!(record.tags.is_empty());
    }

    #[test]
    fn tags_of_other_things_are_in_the_books() {
        let mut stage = Stage::new();
        let mut pages = stage.pages.clone();
        let (subnets, parameters) =
            (named("subnetgroup", "practice"), named("parametergroup", "default.redis7"));
        for input in [&subnets, &parameters] {
            let whose = tagged(stage.scene(), input).unwrap();
            assert_eq!(add("k").of_pages(&mut pages, whose).unwrap().len(), 1);
        }
        stage.pages = pages;
        for input in [&subnets, &parameters] {
            let whose = tagged(stage.scene(), input).unwrap();
            assert_eq!(tags_of(stage.scene(), whose).len(), 1);
            let remove = Change::removing(&Structure::new().list("TagKeys", ["k"]));
            let mut pages = stage.pages.clone();
            assert!(remove.of_pages(&mut pages, whose).unwrap().is_empty());
            assert_eq!(remove.of_pages(&mut pages, whose).unwrap_err().code, "TagNotFound");
        }
    }

    #[test]
    fn a_group_that_goes_is_not_tagged_any_more() {
        let mut stage = Stage::new();
        stage.groups[0].status.status = "deleting".to_owned();
        let refusal = add("k").of_group(stage.scene(), &stage.groups[0], None).unwrap_err();
        assert_eq!(refusal.code, "InvalidReplicationGroupState");
    }
}
