//! Which operations of which service are served.
//!
//! A list and not "all": EC2 alone has 765 operations, and a client that asks for one that does
//! nothing is better told so.
//!
//! Invariant: sorted within a service, so that an operation has one place.
//! Not here: what an operation does (`tanist-aws`).

/// One service, under botocore's name for it.
pub(crate) struct Service {
    pub(crate) name: &'static str,
    pub(crate) operations: &'static [&'static str],
}

pub(crate) const SERVICES: &[Service] = &[
    Service { name: "cloudwatch", operations: CLOUDWATCH },
    Service { name: "ec2", operations: EC2 },
    Service { name: "elasticache", operations: ELASTICACHE },
    Service { name: "sts", operations: &["GetCallerIdentity"] },
];

const CLOUDWATCH: &[&str] = &[
    "DeleteAlarms",
    "DescribeAlarms",
    "GetMetricData",
    "GetMetricStatistics",
    "ListMetrics",
    "ListTagsForResource",
    "PutMetricAlarm",
    "PutMetricData",
    "SetAlarmState",
    "TagResource",
    "UntagResource",
];

const EC2: &[&str] = &[
    "AssociateRouteTable",
    "AttachInternetGateway",
    "AuthorizeSecurityGroupEgress",
    "AuthorizeSecurityGroupIngress",
    "CreateInternetGateway",
    "CreateKeyPair",
    "CreateRoute",
    "CreateRouteTable",
    "CreateSecurityGroup",
    "CreateSubnet",
    "CreateTags",
    "CreateVpc",
    "DeleteInternetGateway",
    "DeleteKeyPair",
    "DeleteRoute",
    "DeleteRouteTable",
    "DeleteSecurityGroup",
    "DeleteSubnet",
    "DeleteTags",
    "DeleteVpc",
    "DescribeAccountAttributes",
    "DescribeAvailabilityZones",
    "DescribeInstanceAttribute",
    "DescribeInstanceCreditSpecifications",
    "DescribeInstanceTypes",
    "DescribeInstances",
    "DescribeInternetGateways",
    "DescribeKeyPairs",
    "DescribeNetworkAcls",
    "DescribeNetworkInterfaces",
    "DescribeRegions",
    "DescribeRouteTables",
    "DescribeSecurityGroupRules",
    "DescribeSecurityGroups",
    "DescribeSubnets",
    "DescribeTags",
    "DescribeVolumes",
    "DescribeVpcAttribute",
    "DescribeVpcs",
    "DetachInternetGateway",
    "DisassociateRouteTable",
    "ModifyInstanceAttribute",
    "ModifySecurityGroupRules",
    "ModifySubnetAttribute",
    "ModifyVpcAttribute",
    "RevokeSecurityGroupEgress",
    "RevokeSecurityGroupIngress",
    "RunInstances",
    "TerminateInstances",
];

const ELASTICACHE: &[&str] = &[
    "AddTagsToResource",
    "CompleteMigration",
    "CopySnapshot",
    "CreateCacheCluster",
    "CreateCacheParameterGroup",
    "CreateCacheSubnetGroup",
    "CreateGlobalReplicationGroup",
    "CreateReplicationGroup",
    "CreateSnapshot",
    "CreateUser",
    "CreateUserGroup",
    "DecreaseNodeGroupsInGlobalReplicationGroup",
    "DecreaseReplicaCount",
    "DeleteCacheCluster",
    "DeleteCacheParameterGroup",
    "DeleteCacheSubnetGroup",
    "DeleteGlobalReplicationGroup",
    "DeleteReplicationGroup",
    "DeleteSnapshot",
    "DeleteUser",
    "DeleteUserGroup",
    "DescribeCacheClusters",
    "DescribeCacheEngineVersions",
    "DescribeCacheParameterGroups",
    "DescribeCacheParameters",
    "DescribeCacheSubnetGroups",
    "DescribeEngineDefaultParameters",
    "DescribeEvents",
    "DescribeGlobalReplicationGroups",
    "DescribeReplicationGroups",
    "DescribeSnapshots",
    "DescribeUserGroups",
    "DescribeUsers",
    "DisassociateGlobalReplicationGroup",
    "FailoverGlobalReplicationGroup",
    "IncreaseNodeGroupsInGlobalReplicationGroup",
    "IncreaseReplicaCount",
    "ListAllowedNodeTypeModifications",
    "ListTagsForResource",
    "ModifyCacheCluster",
    "ModifyCacheParameterGroup",
    "ModifyCacheSubnetGroup",
    "ModifyGlobalReplicationGroup",
    "ModifyReplicationGroup",
    "ModifyReplicationGroupShardConfiguration",
    "ModifyUser",
    "ModifyUserGroup",
    "RebalanceSlotsInGlobalReplicationGroup",
    "RebootCacheCluster",
    "RemoveTagsFromResource",
    "ResetCacheParameterGroup",
    "StartMigration",
    "TestFailover",
    "TestMigration",
];

#[cfg(test)]
mod tests {
    use super::SERVICES;

    #[test]
    fn the_operations_are_sorted_and_told_once() {
        for service in SERVICES {
            assert!(
                service.operations.windows(2).all(|pair| pair[0] < pair[1]),
                "{}",
                service.name
            );
        }
    }
}
