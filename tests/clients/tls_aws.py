"""boto3: encryption in transit of a replication group, by ElastiCache's rules, and a client that uses it."""

import boto3
import redis
from botocore.exceptions import ClientError

cache = boto3.client("elasticache")
NAME = "sealed"


def group():
    return cache.describe_replication_groups(ReplicationGroupId=NAME)["ReplicationGroups"][0]


def modify(**members):
    return cache.modify_replication_group(ReplicationGroupId=NAME, ApplyImmediately=True, **members)


def refused(**members):
    try:
        modify(**members)
    except ClientError as error:
        assert error.response["Error"]["Code"] == "InvalidParameterCombination", error
    else:
        raise AssertionError(f"{members} was accepted")


def client(tls):
    endpoint = group()["NodeGroups"][0]["PrimaryEndpoint"]
    return redis.Redis(
        host=endpoint["Address"], port=endpoint["Port"], ssl=tls, socket_timeout=15, retry=None
    )


def closed():
    try:
        client(False).ping()
    except redis.RedisError:
        return
    raise AssertionError("a plain client is served")


cache.create_replication_group(
    ReplicationGroupId=NAME,
    ReplicationGroupDescription="sealed",
    Engine="redis",
    CacheNodeType="cache.t3.micro",
    NumCacheClusters=2,
    AutomaticFailoverEnabled=True,
    TransitEncryptionEnabled=True,
)
cache.get_waiter("replication_group_available").wait(
    ReplicationGroupId=NAME, WaiterConfig={"Delay": 1, "MaxAttempts": 60}
)
assert group()["TransitEncryptionEnabled"] is True
assert group()["TransitEncryptionMode"] == "required", group()
member = cache.describe_cache_clusters(CacheClusterId=f"{NAME}-001")["CacheClusters"][0]
assert member["TransitEncryptionEnabled"] is True and member["TransitEncryptionMode"] == "required"
assert client(True).set("k", "1")
closed()
refused(TransitEncryptionEnabled=False)
modify(TransitEncryptionMode="preferred")
assert group()["TransitEncryptionMode"] == "preferred"
assert client(False).get("k") == client(True).get("k") == b"1"
modify(TransitEncryptionEnabled=False)
assert group()["TransitEncryptionEnabled"] is False and "TransitEncryptionMode" not in group()
assert client(False).get("k") == b"1"
refused(TransitEncryptionEnabled=True)
refused(TransitEncryptionEnabled=True, TransitEncryptionMode="required")
modify(TransitEncryptionEnabled=True, TransitEncryptionMode="preferred")
modify(TransitEncryptionMode="required")
closed()
assert client(True).get("k") == b"1"
print("the group is encrypted by the rules")
