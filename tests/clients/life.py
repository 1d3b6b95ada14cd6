"""A group's life by boto3: python life.py ENGINE VERSION

Every reply goes through botocore's own parser, which is made strict: whatever the model does not
have, or requires and does not get, is an error. Ends with 1 and says why at the first thing that is
not as it should be.
"""

import sys

import boto3
import botocore.parsers
import botocore.session
from botocore.exceptions import ClientError

NAME = "life-of-a-group"
SUBNETS = "life-subnets"
seen = set()


def strict(parser_class):
    """The parser, which also complains about what the model does not have, or misses."""

    class Strict(parser_class):
        root = True

        def parse(self, response, shape):
            self.root = True
            return super().parse(response, shape)

        def _handle_structure(self, shape, node):
            if shape.metadata.get("exception"):
                # The model says what an error holds, not how it is wrapped.
                return super()._handle_structure(shape, node)
            if isinstance(node, dict):
                found = set(node)
                known = {m.serialization.get("name", n) for n, m in shape.members.items()}
            else:
                node = node[0] if isinstance(node, list) else node
                found = {self._node_tag(item) for item in node}
                known = {self._member_key_name(m, n) for n, m in shape.members.items()}
            if self.root:
                found -= {"ResponseMetadata", "requestId"}
                self.root = False
            if found - known:
                raise ValueError(f"unknown in {shape.name}: {sorted(found - known)}")
            parsed = super()._handle_structure(shape, node)
            missing = set(shape.required_members) - set(parsed)
            if missing:
                raise ValueError(f"missing in {shape.name}: {sorted(missing)}")
            return parsed

    return Strict


class StrictFactory(botocore.parsers.ResponseParserFactory):
    def create_parser(self, protocol_name):
        return strict(botocore.parsers.PROTOCOL_PARSERS[protocol_name])(**self._defaults)


session = botocore.session.get_session()
session.register_component("response_parser_factory", StrictFactory())
session.register("after-call", lambda model, **_: seen.add(model.name))
boto = boto3.Session(botocore_session=session)
cache, ec2 = boto.client("elasticache"), boto.client("ec2")
watch, sts = boto.client("cloudwatch"), boto.client("sts")


def refused(code, call, **arguments):
    try:
        call(**arguments)
    except ClientError as error:
        found = error.response["Error"]["Code"]
        assert found == code, f"{found} instead of {code}: {error}"
    else:
        raise AssertionError(f"{call.__name__} was not refused with {code}")


def wait(name, client=cache, delay=1, **arguments):
    client.get_waiter(name).wait(WaiterConfig={"Delay": delay, "MaxAttempts": 60}, **arguments)


def network():
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    zones = [z["ZoneName"] for z in ec2.describe_availability_zones()["AvailabilityZones"]]
    subnets = [
        ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.0.{n}.0/24", AvailabilityZone=zone)["Subnet"]["SubnetId"]
        for n, zone in enumerate(zones, 11)
    ]
    group = ec2.create_security_group(GroupName="life", Description="life", VpcId=vpc)["GroupId"]
    ec2.authorize_security_group_ingress(
        GroupId=group,
        IpPermissions=[{"IpProtocol": "tcp", "FromPort": 6379, "ToPort": 6379,
                        "IpRanges": [{"CidrIp": "10.0.0.0/16", "Description": "the VPC"}]}],
    )
    for call in ("describe_vpcs", "describe_subnets", "describe_security_groups",
                 "describe_security_group_rules", "describe_route_tables", "describe_network_acls",
                 "describe_internet_gateways", "describe_account_attributes", "describe_regions",
                 "describe_key_pairs", "describe_volumes", "describe_network_interfaces"):
        getattr(ec2, call)()
    instance = ec2.run_instances(ImageId="ami-12345678", InstanceType="t2.micro", MinCount=1, MaxCount=1,
                                 SubnetId=subnets[0])["Instances"][0]["InstanceId"]
    wait("instance_running", ec2, InstanceIds=[instance])
    ec2.terminate_instances(InstanceIds=[instance])
    wait("instance_terminated", ec2, InstanceIds=[instance])
    return vpc, subnets, group


def create(engine, version, subnets, group):
    cache.create_cache_subnet_group(
        CacheSubnetGroupName=SUBNETS, CacheSubnetGroupDescription="life", SubnetIds=subnets)
    made = cache.create_replication_group(
        ReplicationGroupId=NAME, ReplicationGroupDescription="a group", Engine=engine,
        EngineVersion=version, CacheNodeType="cache.t3.micro", NumCacheClusters=3,
        AutomaticFailoverEnabled=True, MultiAZEnabled=True, CacheSubnetGroupName=SUBNETS,
        SecurityGroupIds=[group], Tags=[{"Key": "course", "Value": "life"}],
    )["ReplicationGroup"]
    assert made["Status"] == "creating", made
    refused("ReplicationGroupAlreadyExists", cache.create_replication_group, ReplicationGroupId=NAME,
            ReplicationGroupDescription="twice")
    wait("replication_group_available", ReplicationGroupId=NAME)
    for member in describe()["MemberClusters"]:
        wait("cache_cluster_available", CacheClusterId=member)
    durabilities(engine)


def durabilities(engine):
    """Who asks for nothing gets `sync`; who asks for `async` gets it, for good."""
    assert (describe()["Durability"], describe()["EffectiveDurability"]) == ("default", "sync")
    name = NAME + "-async"
    made = cache.create_replication_group(
        ReplicationGroupId=name, ReplicationGroupDescription="faster", Engine=engine,
        CacheNodeType="cache.t3.micro", NumCacheClusters=2, AutomaticFailoverEnabled=True,
        Durability="async",
    )["ReplicationGroup"]
    assert (made["Durability"], made["EffectiveDurability"]) == ("async", "async"), made
    wait("replication_group_available", ReplicationGroupId=name)
    refused("InvalidParameterCombination", cache.modify_replication_group, ReplicationGroupId=name,
            Durability="sync", ApplyImmediately=True)
    cache.delete_replication_group(ReplicationGroupId=name)
    wait("replication_group_deleted", ReplicationGroupId=name)


def describe():
    return cache.describe_replication_groups(ReplicationGroupId=NAME)["ReplicationGroups"][0]


def primary():
    members = describe()["NodeGroups"][0]["NodeGroupMembers"]
    return next(m["CacheClusterId"] for m in members if m["CurrentRole"] == "primary")


def pages():
    def count(name, result, **arguments):
        found = cache.get_paginator(name).paginate(PaginationConfig={"PageSize": 20}, **arguments)
        return sum(len(page[result]) for page in found)

    assert count("describe_cache_clusters", "CacheClusters", ShowCacheNodeInfo=True) == 3
    assert count("describe_replication_groups", "ReplicationGroups") == 1
    assert count("describe_events", "Events", Duration=60) > 0
    # The default one is there, too.
    assert count("describe_cache_subnet_groups", "CacheSubnetGroups") == 2
    assert count("describe_cache_engine_versions", "CacheEngineVersions") >= 1
    assert count("describe_cache_parameter_groups", "CacheParameterGroups") >= 2
    refused("InvalidParameterValue", cache.describe_cache_clusters, MaxRecords=19)
    refused("CacheClusterNotFound", cache.describe_cache_clusters, CacheClusterId="nobody")


def change():
    arn = describe()["ARN"]
    cache.add_tags_to_resource(ResourceName=arn, Tags=[{"Key": "more", "Value": "1"}])
    cache.remove_tags_from_resource(ResourceName=arn, TagKeys=["course"])
    tags = cache.list_tags_for_resource(ResourceName=arn)["TagList"]
    assert tags == [{"Key": "more", "Value": "1"}], tags
    cache.list_allowed_node_type_modifications(ReplicationGroupId=NAME)
    cache.modify_replication_group(ReplicationGroupId=NAME, ReplicationGroupDescription="changed",
                                   ApplyImmediately=True)
    assert describe()["Description"] == "changed"

    before = primary()
    cache.test_failover(ReplicationGroupId=NAME, NodeGroupId="0001")
    wait("replication_group_available", ReplicationGroupId=NAME)
    assert primary() != before, "nobody else took over"
    refused("NodeGroupNotFoundFault", cache.test_failover, ReplicationGroupId=NAME, NodeGroupId="0")
    cache.modify_replication_group(ReplicationGroupId=NAME, PrimaryClusterId=before, ApplyImmediately=True)
    wait("replication_group_available", ReplicationGroupId=NAME)
    assert primary() == before, "the promotion was not carried out"

    cache.increase_replica_count(ReplicationGroupId=NAME, NewReplicaCount=3, ApplyImmediately=True)
    wait("replication_group_available", ReplicationGroupId=NAME)
    assert len(describe()["MemberClusters"]) == 4
    leaver = next(m for m in describe()["MemberClusters"] if m != primary())
    cache.decrease_replica_count(ReplicationGroupId=NAME, ReplicasToRemove=[leaver], ApplyImmediately=True)
    wait("cache_cluster_deleted", CacheClusterId=leaver)
    wait("replication_group_available", ReplicationGroupId=NAME)
    assert leaver not in describe()["MemberClusters"]


def metrics():
    import datetime
    import time
    now = datetime.datetime.now(datetime.timezone.utc)
    names = {m["MetricName"] for page in watch.get_paginator("list_metrics").paginate(Namespace="AWS/ElastiCache")
             for m in page["Metrics"]}
    wanted = {"EngineCPUUtilization", "SwapUsage", "ReplicationLag", "CurrConnections",
              "DatabaseMemoryUsagePercentage"}
    assert wanted <= names, wanted - names
    for name in sorted(wanted):
        node = primary() if name != "ReplicationLag" else next(
            m for m in describe()["MemberClusters"] if m != primary())
        until = time.monotonic() + 90
        while True:
            points = watch.get_metric_statistics(
                Namespace="AWS/ElastiCache", MetricName=name,
                Dimensions=[{"Name": "CacheClusterId", "Value": node}],
                StartTime=now - datetime.timedelta(hours=1), EndTime=now + datetime.timedelta(minutes=5),
                Period=60, Statistics=["Average", "Maximum"])["Datapoints"]
            if points or time.monotonic() > until:
                break
            time.sleep(1)
        assert points, f"no datapoint of {name} for {node}"


def delete(vpc, subnets, group):
    refused("CacheSubnetGroupInUse", cache.delete_cache_subnet_group, CacheSubnetGroupName=SUBNETS)
    refused("DependencyViolation", ec2.delete_security_group, GroupId=group)
    cache.delete_replication_group(ReplicationGroupId=NAME)
    wait("replication_group_deleted", ReplicationGroupId=NAME)
    refused("ReplicationGroupNotFoundFault", cache.describe_replication_groups, ReplicationGroupId=NAME)
    cache.delete_cache_subnet_group(CacheSubnetGroupName=SUBNETS)
    ec2.delete_security_group(GroupId=group)
    for subnet in subnets:
        ec2.delete_subnet(SubnetId=subnet)
    ec2.delete_vpc(VpcId=vpc)


def main(engine, version):
    sts.get_caller_identity()
    vpc, subnets, group = network()
    create(engine, version, subnets, group)
    pages()
    change()
    metrics()
    delete(vpc, subnets, group)
    print(f"every reply is as the model says: {len(seen)} operations")


if __name__ == "__main__":
    main(*sys.argv[1:])
