//! What a request is about, as ARNs, for the policies of its caller.
//!
//! Invariant: a request that names something is judged by its name, in the spelling in which it is
//! stored; one that names nothing, by all there is of the kind.
//!
//! Not here: judging (`crate::identity`).

use super::describe::named;
use crate::service::{Ask, Context};
use crate::value::Structure;

/// Members of inputs, and the kind of thing that they name.
const NAMES: [(&str, &str); 8] = [
    ("ReplicationGroupId", "replicationgroup"),
    ("CacheClusterId", "cluster"),
    ("CacheSubnetGroupName", "subnetgroup"),
    ("CacheParameterGroupName", "parametergroup"),
    ("SnapshotName", "snapshot"),
    ("UserId", "user"),
    ("UserGroupId", "usergroup"),
    ("GlobalReplicationGroupId", "globalreplicationgroup"),
];

/// Members of inputs that are lists of names, and the kind of things that they name.
const LISTED: [(&str, &str); 6] = [
    ("UserGroupIds", "usergroup"),
    ("UserGroupIdsToAdd", "usergroup"),
    ("UserGroupIdsToRemove", "usergroup"),
    ("UserIds", "user"),
    ("UserIdsToAdd", "user"),
    ("UserIdsToRemove", "user"),
];

/// Operations that list all of a kind if nothing is named.
const LISTS: [(&str, &str); 8] = [
    ("DescribeReplicationGroups", "replicationgroup"),
    ("DescribeCacheClusters", "cluster"),
    ("DescribeCacheSubnetGroups", "subnetgroup"),
    ("DescribeCacheParameterGroups", "parametergroup"),
    ("DescribeSnapshots", "snapshot"),
    ("DescribeUsers", "user"),
    ("DescribeUserGroups", "usergroup"),
    ("DescribeGlobalReplicationGroups", "globalreplicationgroup"),
];

/// What a request is about.
pub(crate) fn resources(context: &Context, ask: &Ask) -> Vec<String> {
    let arn = |kind: &str, name: &str| {
        let resource = format!("{kind}:{name}");
        // A global replication group is of no region.
        let region = if kind == "globalreplicationgroup" { "" } else { &ask.region };
        context.arn("elasticache", region, &resource)
    };
    of(ask.operation.name, &ask.input, arn)
}

fn of(operation: &str, input: &Structure, arn: impl Fn(&str, &str) -> String) -> Vec<String> {
    if let Some(resource) = named(input, "ResourceName") {
        return vec![as_stored(resource)];
    }
    let named = NAMES.iter().filter_map(|(member, kind)| {
        named(input, member).map(|name| arn(kind, &name.to_ascii_lowercase()))
    });
    let listed = LISTED.iter().flat_map(|(member, kind)| {
        input.texts(member).map(|name| arn(kind, &name.to_ascii_lowercase()))
    });
    let mut all: Vec<String> = named.chain(listed).collect();
    if all.is_empty() {
        let list = LISTS.iter().find(|(known, _)| *known == operation);
        all.push(list.map_or_else(|| "*".to_owned(), |(_, kind)| arn(kind, "*")));
    }
    all
}

/// An ARN in the spelling in which a policy names it. Groups and clusters are found whatever the
/// case of their names; everything else by its exact ARN only.
fn as_stored(arn: &str) -> String {
    let mut parts: Vec<String> = arn.splitn(7, ':').map(str::to_owned).collect();
    if let [.., kind, name] = parts.as_mut_slice()
        && ["replicationgroup", "cluster"].contains(&kind.as_str())
    {
        name.make_ascii_lowercase();
    }
    parts.join(":")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn about(operation: &str, input: &Structure) -> Vec<String> {
        of(operation, input, |kind, name| format!("{kind}:{name}"))
    }

    #[test]
    fn everything_that_is_named_is_judged() {
        let input = Structure::new()
            .set("ReplicationGroupId", "Web")
            .set("CacheSubnetGroupName", "practice")
            .set("CacheParameterGroupName", "default.redis7");
        assert_eq!(
            about("CreateReplicationGroup", &input),
            ["replicationgroup:web", "subnetgroup:practice", "parametergroup:default.redis7"]
        );
        let arn = "arn:aws:elasticache:us-east-1:1:cluster:web-001";
        let input = Structure::new().set("ResourceName", arn);
        assert_eq!(about("ListTagsForResource", &input), [arn]);
    }

    #[test]
    fn an_arn_is_judged_in_the_spelling_in_which_it_is_found() {
        for (asked, judged) in [
            ("replicationgroup:PROD", "replicationgroup:prod"),
            ("cluster:Prod-001", "cluster:prod-001"),
            ("subnetgroup:Prod", "subnetgroup:Prod"),
            ("replicationgroup", "replicationgroup"),
        ] {
            let arn = |resource: &str| format!("arn:aws:elasticache:us-east-1:1:{resource}");
            let input = Structure::new().set("ResourceName", arn(asked));
            for operation in ["AddTagsToResource", "RemoveTagsFromResource", "ListTagsForResource"]
            {
                assert_eq!(about(operation, &input), [arn(judged)]);
            }
        }
    }

    #[test]
    fn a_list_of_all_is_judged_by_all() {
        let none = Structure::new();
        assert_eq!(about("DescribeReplicationGroups", &none), ["replicationgroup:*"]);
        assert_eq!(about("DescribeEvents", &none), ["*"]);
        assert_eq!(about("DescribeCacheEngineVersions", &none), ["*"]);
    }
}
