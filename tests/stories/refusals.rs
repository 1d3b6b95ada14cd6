//! Requests that cannot be carried out, on a real installation: each gets AWS's code and status, and
//! nothing changes.
//!
//! Invariant: the group is the same after all of them.
//!
//! Not here: requests that are broken as such (`tanist-aws`).

use crate::aws::Aws;
use crate::{runtime, web};

const ID: &str = "ReplicationGroupId";
const VALUE: (u16, &str) = (400, "InvalidParameterValue");
const COMBINATION: (u16, &str) = (400, "InvalidParameterCombination");
const STATE: (u16, &str) = (400, "InvalidReplicationGroupState");
const NO_GROUP: (u16, &str) = (404, "ReplicationGroupNotFoundFault");
const NO_CLUSTER: (u16, &str) = (404, "CacheClusterNotFound");

type Row = (&'static str, &'static [(&'static str, &'static str)], (u16, &'static str));

/// Everything that can be asked of lists, and is not possible.
const LISTS: [&str; 5] = [
    "DescribeReplicationGroups",
    "DescribeCacheClusters",
    "DescribeCacheSubnetGroups",
    "DescribeEvents",
    "DescribeCacheEngineVersions",
];

const ROWS: [Row; 17] = [
    ("DescribeReplicationGroups", &[(ID, "nobody")], NO_GROUP),
    ("DescribeCacheClusters", &[("CacheClusterId", "nobody")], NO_CLUSTER),
    ("ModifyReplicationGroup", &[(ID, "nobody")], NO_GROUP),
    ("DeleteReplicationGroup", &[(ID, "nobody")], NO_GROUP),
    ("TestFailover", &[(ID, "nobody"), ("NodeGroupId", "0001")], NO_GROUP),
    ("TestFailover", &[(ID, "web"), ("NodeGroupId", "0002")], (404, "NodeGroupNotFoundFault")),
    ("DeleteCacheCluster", &[("CacheClusterId", "nobody")], NO_CLUSTER),
    (
        "DeleteCacheSubnetGroup",
        &[("CacheSubnetGroupName", "nobody")],
        (400, "CacheSubnetGroupNotFoundFault"),
    ),
    (
        "IncreaseReplicaCount",
        &[(ID, "web"), ("NewReplicaCount", "6"), ("ApplyImmediately", "true")],
        VALUE,
    ),
    (
        "IncreaseReplicaCount",
        &[(ID, "web"), ("NewReplicaCount", "1"), ("ApplyImmediately", "true")],
        VALUE,
    ),
    (
        "DecreaseReplicaCount",
        &[(ID, "web"), ("NewReplicaCount", "5"), ("ApplyImmediately", "true")],
        VALUE,
    ),
    ("ModifyReplicationGroup", &[(ID, "web"), ("PrimaryClusterId", "web-002")], COMBINATION),
    (
        "ModifyReplicationGroup",
        &[(ID, "web"), ("MultiAZEnabled", "true"), ("AutomaticFailoverEnabled", "false")],
        COMBINATION,
    ),
    ("ModifyReplicationGroup", &[(ID, "web"), ("CacheNodeType", "cache.none")], VALUE),
    ("ModifyReplicationGroup", &[(ID, "web"), ("Durability", "async")], COMBINATION),
    ("ModifyReplicationGroup", &[(ID, "web"), ("AutomaticFailoverEnabled", "perhaps")], VALUE),
    ("ListTagsForResource", &[("ResourceName", "arn:aws:s3:::bucket")], (400, "InvalidARN")),
];

/// A request that would create `id`, with more parameters.
fn founding<'a>(id: &'a str, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let mut all = vec![
        (ID, id),
        ("ReplicationGroupDescription", "d"),
        ("CacheNodeType", "cache.t3.micro"),
        ("NumCacheClusters", "2"),
    ];
    all.retain(|(name, _)| more.iter().all(|(other, _)| other != name));
    all.extend(more);
    all
}

#[test]
fn what_cannot_be_is_refused_with_the_code_of_aws_and_nothing_changes() {
    let installation = web("redis", &[]);
    let before = installation.group("web");
    runtime().block_on(async {
        let aws = Aws::of(&installation);
        let check = async |action: &str, parameters: &[(&str, &str)], expected: (u16, &str)| {
            let (status, code) = aws.refused(action, parameters).await;
            assert_eq!((status, code.as_str()), expected, "{action} {parameters:?}");
        };
        for action in LISTS {
            for number in ["0", "19", "101", "-1", "9223372036854775808"] {
                check(action, &[("MaxRecords", number)], VALUE).await;
            }
            check(action, &[("Marker", "bm90IG91cnM")], VALUE).await;
        }
        for (action, parameters, expected) in ROWS {
            check(action, parameters, expected).await;
        }
        let long = "a".repeat(41);
        for id in ["", "1web", "web_1", "web-", "we--b", "wéb", "../web", "a b", &long] {
            check("CreateReplicationGroup", &founding(id, &[]), VALUE).await;
        }
        let create = "CreateReplicationGroup";
        let exists = (400, "ReplicationGroupAlreadyExists");
        check(create, &founding("WEB", &[]), exists).await;
        for (more, expected) in [
            (&[("MultiAZEnabled", "true")][..], COMBINATION),
            (&[("NumCacheClusters", "1"), ("AutomaticFailoverEnabled", "true")], COMBINATION),
            (&[("NumCacheClusters", "7")], VALUE),
            (&[("NumCacheClusters", "0")], VALUE),
            (&[("Engine", "memcached")], VALUE),
            (&[("CacheSubnetGroupName", "nobody")], (400, "CacheSubnetGroupNotFoundFault")),
            (&[("Durability", "always")], VALUE),
        ] {
            check(create, &founding("other", more), expected).await;
        }
    });
    let after = installation.group("web");
    assert_eq!((after.revision, after.status), (before.revision, before.status));
    let all = installation.try_status().map(|status| status.groups.len());
    assert_eq!(all, Some(1), "none was made");
}

#[test]
fn a_group_that_is_being_made_or_deleted_is_busy() {
    let installation = tanist_lab::Installation::start();
    runtime().block_on(async {
        let aws = Aws::of(&installation);
        aws.cache("CreateReplicationGroup", &founding("web", &[])).await;
        let (status, code) = aws.refused("ModifyReplicationGroup", &[(ID, "web")]).await;
        assert_eq!((status, code.as_str()), STATE, "it is being made");
        installation.available("web");
        aws.cache("DeleteReplicationGroup", &[(ID, "web")]).await;
        let failover = [(ID, "web"), ("NodeGroupId", "0001")];
        let (status, code) = aws.refused("TestFailover", &failover).await;
        assert!(
            [STATE, NO_GROUP].contains(&(status, code.as_str())),
            "it is being deleted, or is gone already: {status} {code}"
        );
    });
}
