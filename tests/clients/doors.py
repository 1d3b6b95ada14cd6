"""boto3 and redis-py from outside of a fleet's servers: doors.py PASSWORD CA ADDRESS...

Asks the servers at these addresses by TLS, those of the AWS endpoint with the keys of the environment. What
a server refuses is looked at first. Then, at each line of its standard input, asks again through whichever
server answers, and says `ok`. Ends with 1 and says why at the first thing that is not as it should be.
"""

import socket
import sys
import time

import boto3
import redis
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionError, HTTPClientError
from redis.sentinel import Sentinel

password, ca, *addresses = sys.argv[1:]
ONCE = Config(retries={"total_max_attempts": 1}, connect_timeout=2, read_timeout=20)


def cache(address, **arguments):
    url = f"https://{address}:4566"
    return boto3.client("elasticache", endpoint_url=url, config=ONCE, **arguments)


def refused(code, status, client):
    try:
        client.describe_replication_groups()
    except ClientError as error:
        found = (error.response["Error"]["Code"], error.response["ResponseMetadata"]["HTTPStatusCode"])
        assert found == (code, status), error
    else:
        raise AssertionError(f"nothing was refused with {code}")


def plain(address, port, request):
    """What somebody hears who does not encrypt."""
    with socket.create_connection((address, port), 10) as connection:
        connection.sendall(request)
        return connection.makefile("rb").read().decode()


def sentinel(address, **arguments):
    return redis.Redis(
        host=address, port=26379, ssl=True, ssl_ca_certs=ca, socket_timeout=10, **arguments
    )


def look_at_refusals():
    first = addresses[0]
    refused("SignatureDoesNotMatch", 403, cache(first, aws_secret_access_key="wrong", aws_access_key_id=KEY))
    refused("InvalidClientTokenId", 403, cache(first, aws_secret_access_key="w", aws_access_key_id="AKIA0"))
    said = plain(first, 4566, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert said.startswith("HTTP/1.1 400 ") and "MalformedHttpRequest" in said and "https://" in said, said
    said = plain(first, 26379, b"PING\r\n")
    assert said.startswith("-ERR this endpoint takes encrypted connections only"), said
    try:
        sentinel(first, password="wrong").ping()
    except redis.AuthenticationError:
        pass
    else:
        raise AssertionError("a wrong password is taken")
    try:
        sentinel(first).execute_command("SENTINEL", "masters")
    except redis.AuthenticationError:
        pass
    else:
        raise AssertionError("nobody has to log in")


KEY = boto3.Session().get_credentials().access_key
SECRET = boto3.Session().get_credentials().secret_key
clients = [cache(address) for address in addresses]
sentinels = Sentinel(
    [(address, 26379) for address in addresses],
    sentinel_kwargs={"password": password, "ssl": True, "ssl_ca_certs": ca},
    socket_timeout=10,
)


def any_of(ask):
    """The answer of the first server that can be reached."""
    for client in clients:
        try:
            return ask(client)
        except (ConnectionError, HTTPClientError) as error:
            last = error
    raise last


def agreed():
    """Whether both surfaces name the same address. Sentinel looks for it once a second."""
    group = any_of(lambda client: client.describe_replication_groups(ReplicationGroupId="web"))
    endpoint = group["ReplicationGroups"][0]["NodeGroups"][0]["PrimaryEndpoint"]
    return sentinels.discover_master("web") == (endpoint["Address"], endpoint["Port"])


def again(number):
    began = time.monotonic()
    while not agreed():
        assert time.monotonic() - began < 20, "Sentinel and the AWS endpoint name different addresses"
        time.sleep(0.05)  # waits: nobody tells when it has looked
    any_of(
        lambda client: client.create_user(
            UserId=f"u{number}", UserName=f"u{number}", Engine="redis", AccessString="off -@all",
            NoPasswordRequired=True,
        )
    )
    master = sentinels.master_for("web", socket_timeout=20)
    assert master.set(f"k{number}", "v"), "a write"
    assert all(master.get(f"k{before}") == b"v" for before in range(number + 1))


look_at_refusals()
others = sentinel(addresses[0], password=password).sentinel_sentinels("web")
assert {other["ip"] for other in others} == set(addresses[1:]), others
print("ready", flush=True)
for number, _ in enumerate(sys.stdin):
    again(number)
    print("ok", flush=True)
