"""What botocore sends and reads, for the tests of tanist-aws.

    oracle.py sign SEED COUNT      requests that botocore signed, one JSON object on each line
    oracle.py inputs SEED COUNT    COUNT random requests of every operation, and what they mean
    oracle.py outputs SEED COUNT   COUNT random answers of every operation
    oracle.py parse                reads answers as they went over the wire; says what is wrong
    oracle.py corpus DIRECTORY     writes the signed requests that tests/fuzz.rs starts from
    oracle.py client URL KEY SECRET    calls that address with boto3, and tells what came back
    oracle.py ask                  reads operations and parameters; writes their requests

Times are milliseconds since 1970 here; bytes of bodies are in hexadecimal, bytes of members in base64.
"""

import base64
import datetime
import gzip
import hashlib
import json
import pathlib
import random
import sys
from urllib.parse import quote, urlencode, urlsplit

import botocore.auth
import botocore.parsers
import botocore.serialize
import botocore.session
from botocore.awsrequest import AWSRequest, HeadersDict
from botocore.credentials import Credentials

MODELS = pathlib.Path(__file__).parent.parent / "models"
PROTOCOLS = {
    "cloudwatch": ["json", "query"],
    "ec2": ["ec2"],
    "elasticache": ["query"],
    "sts": ["query"],
}
UTC = datetime.timezone.utc
EPOCH = datetime.datetime(1970, 1, 1, tzinfo=UTC)
LETTERS = "aZ09-_.~ %+&=<>\"'/\\;:,?#ä€😀\t\n"
SKIP = object()


def line(value):
    print(json.dumps(value))


def operations():
    session = botocore.session.get_session()
    for name, protocols in PROTOCOLS.items():
        model = session.get_service_model(name)
        for operation in json.loads((MODELS / f"{name}.json").read_text())["operations"]:
            for protocol in protocols:
                yield name, protocol, model.operation_model(operation)


class Values:
    """Random values of shapes, as botocore takes them; None of them is empty by chance."""

    def __init__(self, lots, protocol, answers):
        self.lots, self.protocol, self.answers = lots, protocol, answers

    def structure(self, shape):
        required = () if self.answers else shape.required_members
        found = {}
        if shape.is_tagged_union:
            name = self.lots.choice(list(shape.members))
            value = self.value(shape.members[name])
            return {} if value is SKIP else {name: value}
        for name, member in shape.members.items():
            if name in required or self.lots.random() < 0.6:
                value = self.value(member)
                while value is SKIP and name in required:
                    value = self.value(member)
                if value is not SKIP:
                    found[name] = value
        return found

    def value(self, shape):
        lots, limits = self.lots, shape.metadata
        kind = shape.type_name
        if kind == "structure":
            found = self.structure(shape)
            # A form cannot say that a structure is there and empty.
            return found if found or self.answers or self.protocol == "json" else SKIP
        if kind in ("list", "map"):
            least = 0 if self.answers else limits.get("min", 0)
            if self.protocol == "ec2" and not self.answers:
                least = max(least, 1)
            size = max(least, min(lots.randrange(4), limits.get("max", 3)))
            if kind == "map":
                size = size or 1
                return {self.value(shape.key): self.value(shape.value) for _ in range(size)}
            items = [self.value(shape.member) for _ in range(size)]
            items = [item for item in items if item is not SKIP]
            return items if items or size == 0 else SKIP
        if kind == "string":
            if shape.enum and lots.random() < 0.9:
                return lots.choice(shape.enum)
            letters = LETTERS + "\r" if self.answers else LETTERS
            least, most = limits.get("min", 0), min(limits.get("max", 12), 12)
            size = lots.randint(least, max(least, most))
            return "".join(lots.choice(letters) for _ in range(size))
        if kind in ("integer", "long"):
            bits = 31 if kind == "integer" else 63
            return lots.randint(
                int(limits.get("min", -(2**bits))), int(limits.get("max", 2**bits - 1))
            )
        if kind in ("float", "double"):
            wide = lots.choice([1.0, 1e-9, 1e12, 1e300])
            return min(max(lots.uniform(-wide, wide), limits.get("min", -1e301)), limits.get("max", 1e301))
        if kind == "boolean":
            return lots.random() < 0.5
        if kind == "blob":
            return lots.randbytes(lots.randrange(12))
        if kind == "timestamp":
            # botocore's JSON has whole seconds.
            step = 1000 if self.protocol == "json" and not self.answers else 1
            milliseconds = lots.randrange(-(10**11), 4 * 10**12) // step * step
            return EPOCH + datetime.timedelta(milliseconds=milliseconds)
        raise ValueError(kind)


def plain(value):
    if isinstance(value, datetime.datetime):
        return round((value - EPOCH) / datetime.timedelta(milliseconds=1))
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, dict):
        return {name: plain(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    return value


def inputs(seed, count):
    lots = random.Random(seed)
    for service, protocol, operation in operations():
        serializer = botocore.serialize.create_serializer(protocol)
        for _ in range(count):
            shape = operation.input_shape
            params = Values(lots, protocol, False).structure(shape) if shape else {}
            sent = serializer.serialize_to_request(params, operation)
            request = AWSRequest("POST", "http://localhost/", sent["headers"], sent["body"])
            body, query = request.prepare().body, ""
            if protocol != "json" and lots.random() < 0.2:
                body, query = b"", body.decode() if isinstance(body, bytes) else body
            body = body.encode() if isinstance(body, str) else body
            line({
                "service": service,
                "protocol": protocol,
                "operation": operation.name,
                "method": "GET" if query else "POST",
                "query": query,
                "headers": dict(request.headers.items()),
                "body": body.hex(),
                "input": plain(params),
            })


def native(shape, value):
    """Parameters as botocore takes them."""
    kind = shape.type_name
    if kind == "timestamp":
        return EPOCH + datetime.timedelta(milliseconds=value)
    if kind == "blob":
        return base64.b64decode(value)
    if kind == "structure":
        return {name: native(shape.members[name], inner) for name, inner in value.items()}
    if kind == "list":
        return [native(shape.member, inner) for inner in value]
    return value


def ask():
    models = {(s, p, o.name): o for s, p, o in operations()}
    for text in sys.stdin:
        asked = json.loads(text)
        protocol = asked["protocol"]
        operation = models[asked["service"], protocol, asked["operation"]]
        params = native(operation.input_shape, asked["params"])
        sent = botocore.serialize.create_serializer(protocol).serialize_to_request(params, operation)
        request = AWSRequest("POST", "http://localhost/", sent["headers"], sent["body"])
        body = request.prepare().body
        body = body.encode() if isinstance(body, str) else body
        headers = dict(request.headers.items())
        line({"headers": headers, "body": body.hex()})


def outputs(seed, count):
    lots = random.Random(seed)
    for service, protocol, operation in operations():
        for _ in range(count):
            shape = operation.output_shape
            answer = Values(lots, protocol, True).structure(shape) if shape else {}
            line({
                "service": service,
                "protocol": protocol,
                "operation": operation.name,
                "answer": plain(answer),
            })


def strict(parser_class):
    """The parser, which also complains about what the model does not have."""

    class Strict(parser_class):
        def _handle_structure(self, shape, node):
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
            return super()._handle_structure(shape, node)

    return Strict


def parse():
    models = {(s, p, o.name): o for s, p, o in operations()}
    checked = 0
    for text in sys.stdin:
        sent = json.loads(text)
        parser = strict(botocore.parsers.PROTOCOL_PARSERS[sent["protocol"]])()
        parser.root = True
        headers = HeadersDict(sent["headers"])
        response = {
            "status_code": sent["status"],
            "headers": headers,
            "body": bytes.fromhex(sent["body"]),
        }
        where = f"{sent['service']} {sent['protocol']} {sent.get('operation', '')}"
        checked += 1
        try:
            if "error" in sent:
                parsed = parser.parse(response, None)
                error = parsed["Error"]
                found = {"code": error["Code"], "message": error["Message"]}
                expected = sent["error"]
            else:
                shape = models[sent["service"], sent["protocol"], sent["operation"]].output_shape
                parsed = parser.parse(response, shape)
                found = plain({k: v for k, v in parsed.items() if k != "ResponseMetadata"})
                expected = sent["answer"]
            if parsed["ResponseMetadata"].get("RequestId") != "the-request-id":
                print(f"{where}: the request id is {parsed['ResponseMetadata']}")
            if found != expected:
                print(f"{where}: sent {expected}, read {found}")
        except Exception as error:
            print(f"{where}: {type(error).__name__} {error}")
    print(f"checked {checked}")


KEYS = [("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"), ("AKIDOTHER", "secret two")]
SERVICES = ["elasticache", "ec2", "monitoring", "sts"]
REGIONS = ["us-east-1", "eu-central-1", "ap-southeast-2", "us-gov-west-1"]


def random_request(lots):
    def word(letters="abcXYZ019-_.~ +&=/:ä€", least=0):
        return "".join(lots.choice(letters) for _ in range(lots.randint(least, 8)))

    segments = [quote(word(), safe="") for _ in range(lots.randrange(4))]
    path = "/" + "/".join(segments) if lots.random() < 0.4 else "/"
    query = [(word(least=1), word()) for _ in range(lots.randrange(4))]
    headers = {
        "Content-Type": lots.choice(
            ["application/x-www-form-urlencoded; charset=utf-8", "application/x-amz-json-1.0"]
        ),
        "User-Agent": "Boto3/1.44.8",
    }
    if lots.random() < 0.5:
        headers["X-Amz-Target"] = "GraniteServiceVersion20100801." + word("abc", 1)
    if lots.random() < 0.5:
        headers["X-Custom"] = "  a   b  " + word("abc ,;=\"")
    body = bytes(lots.randrange(256) for _ in range(lots.randrange(200)))
    host = lots.choice(["localhost:4566", "127.0.0.1:4566", "tanist.example", "[::1]:4566"])
    url = f"http://{host}{path}" + ("?" + urlencode(query, quote_via=quote, safe="-._~") if query else "")
    return lots.choice(["GET", "POST", "PUT"]), url, headers, body


def sign(seed, count):
    lots = random.Random(seed)
    for _ in range(count):
        now = EPOCH + datetime.timedelta(seconds=lots.randrange(10**9, 4 * 10**9))
        botocore.auth.get_current_datetime = lambda: now.replace(tzinfo=None)
        key, secret = lots.choice(KEYS)
        token = "a token/with+signs" if lots.random() < 0.1 else None
        service, region = lots.choice(SERVICES), lots.choice(REGIONS)
        method, url, headers, body = random_request(lots)
        presigned, expires = lots.random() < 0.4, lots.randint(1, 604800)
        if presigned:
            body = b""
            signer = botocore.auth.SigV4QueryAuth(
                Credentials(key, secret, token), service, region, expires
            )
        else:
            signer = botocore.auth.SigV4Auth(Credentials(key, secret, token), service, region)
        request = AWSRequest(method, url, headers, body)
        if not presigned and lots.random() < 0.2:
            request.headers["X-Amz-Content-SHA256"] = signer.payload(request)
        signer.add_auth(request)
        parts = urlsplit(request.url)
        # What the HTTP library adds when it sends the request.
        sent = [["Host", parts.netloc], *([name, value] for name, value in request.headers.items())]
        line({
            "method": method,
            "path": parts.path,
            "query": parts.query,
            "headers": sent,
            "body": body.hex(),
            "now": int(now.timestamp()),
            "presigned": presigned,
            "expires": expires,
            "key": key,
            "service": service,
            "region": region,
        })


def form(action, version, **more):
    return urlencode({"Action": action, "Version": version, **more}, quote_via=quote, safe="-._~")


CORPUS_TIME = datetime.datetime(2026, 1, 31, 12, tzinfo=UTC)
GROUP = {
    "ReplicationGroupId": "web",
    "ReplicationGroupDescription": "the web's sessions & more: 100 %",
    "NumCacheClusters": "3",
    "AutomaticFailoverEnabled": "true",
    "SecurityGroupIds.SecurityGroupId.1": "sg-11111111",
    "Tags.Tag.1.Key": "owner",
    "Tags.Tag.1.Value": "dänä",
}
RULE = {
    "GroupId": "sg-11111111",
    "IpPermissions.1.IpProtocol": "tcp",
    "IpPermissions.1.FromPort": "6379",
    "IpPermissions.1.ToPort": "6379",
    "IpPermissions.1.IpRanges.1.CidrIp": "10.0.0.0/16",
}
ALARM = {
    "AlarmName": "lag",
    "Dimensions.member.1.Name": "CacheClusterId",
    "Dimensions.member.1.Value": "web-001",
    "Threshold": "1.5",
}
DATA = {"Namespace": "a", "MetricData": [{"MetricName": "m", "Values": [1, 2.5], "Timestamp": 1769860800}]}


def corpus_requests():
    cache, ec2, metrics = "2015-02-02", "2016-11-15", "2010-08-01"
    who = form("GetCallerIdentity", "2011-06-15")
    target = "GraniteServiceVersion20100801."
    yield "who-am-i", "sts", "POST", "", {}, who
    yield "who-am-i-get", "sts", "GET", who, {}, ""
    yield "who-am-i-presigned", "sts", "presigned", who, {}, ""
    yield "describe-groups", "elasticache", "POST", "", {}, form("DescribeReplicationGroups", cache)
    yield "describe-groups-split", "elasticache", "POST", "MaxRecords=20", {}, form(
        "DescribeReplicationGroups", cache, Marker="a b/c"
    )
    yield "create-group", "elasticache", "POST", "", {}, form("CreateReplicationGroup", cache, **GROUP)
    yield "create-group-presigned", "elasticache", "presigned", form(
        "CreateReplicationGroup", cache, **GROUP
    ), {}, ""
    yield "authorize-ingress", "ec2", "POST", "", {}, form("AuthorizeSecurityGroupIngress", ec2, **RULE)
    yield "put-alarm-query", "monitoring", "POST", "", {}, form("PutMetricAlarm", metrics, **ALARM)
    json_type = {"X-Amz-Target": target + "PutMetricData", "X-Amzn-Query-Mode": "true"}
    yield "put-data-json", "monitoring", "json", "", json_type, json.dumps(DATA)
    packed = gzip.compress(json.dumps(DATA).encode(), mtime=0)
    yield "put-data-gzip", "monitoring", "json", "", {**json_type, "Content-Encoding": "gzip"}, packed
    hashed = {"X-Amz-Content-SHA256": hashlib.sha256(who.encode()).hexdigest()}
    yield "describe-alarms-presigned", "monitoring", "presigned", form("DescribeAlarms", metrics), {}, ""
    yield "who-am-i-hashed", "sts", "POST", "", hashed, who


def corpus(directory):
    botocore.auth.get_current_datetime = lambda: CORPUS_TIME.replace(tzinfo=None)
    key, secret = KEYS[0]
    for name, service, kind, query, more, body in corpus_requests():
        method = {"json": "POST", "presigned": "GET"}.get(kind, kind)
        headers = {"User-Agent": "Boto3/1.44.8", **more}
        if method == "POST":
            types = {"json": "application/x-amz-json-1.0"}
            headers["Content-Type"] = types.get(kind, "application/x-www-form-urlencoded; charset=utf-8")
        url = "http://localhost:4566/" + ("?" + query if query else "")
        body = body.encode() if isinstance(body, str) else body
        request = AWSRequest(method, url, headers, body)
        credentials = Credentials(key, secret)
        if kind == "presigned":
            botocore.auth.SigV4QueryAuth(credentials, service, "us-east-1", 900).add_auth(request)
        else:
            botocore.auth.SigV4Auth(credentials, service, "us-east-1").add_auth(request)
        parts = urlsplit(request.url)
        fields = [("Host", parts.netloc), *request.headers.items(), ("Content-Length", str(len(body)))]
        lines = [f"{method} /{'?' + parts.query if parts.query else ''} HTTP/1.1"]
        lines += [f"{field}: {value}" for field, value in fields]
        head = "\r\n".join(lines) + "\r\n\r\n"
        pathlib.Path(directory, name + ".http").write_bytes(head.encode() + body)


def client(url, key, secret):
    import boto3
    from botocore.config import Config
    from botocore.exceptions import ClientError

    def of(service, region="us-east-1", key=key, secret=secret):
        return boto3.client(
            service, region_name=region, endpoint_url=url, aws_access_key_id=key,
            aws_secret_access_key=secret, config=Config(retries={"max_attempts": 0}),
        )

    def refusal(call, **arguments):
        try:
            call(**arguments)
        except ClientError as error:
            meta = error.response["ResponseMetadata"]
            return [error.response["Error"]["Code"], meta["HTTPStatusCode"], meta["RequestId"]]
        return None

    who = of("sts").get_caller_identity()
    line({name: who[name] for name in ("UserId", "Account", "Arn")})
    line(refusal(of("sts", key="AKIAIOSFODNN7EXAMPLE").get_caller_identity))
    for service, call in [
        ("elasticache", "describe_cache_clusters"), ("ec2", "describe_vpcs"), ("cloudwatch", "describe_alarms")
    ]:
        line(refusal(getattr(of(service, secret="wrong"), call)))
        line(refusal(getattr(of(service, region="mars-1"), call)))
    line(refusal(of("iam").list_users))
    large = "a" * (1 << 20)
    line(refusal(of("elasticache").create_cache_subnet_group, CacheSubnetGroupName="a",
                 CacheSubnetGroupDescription=large, SubnetIds=["subnet-1"]))
    import urllib.request
    presigned = of("sts").generate_presigned_url("get_caller_identity", HttpMethod="GET")
    with urllib.request.urlopen(presigned) as answer:
        kind, body = answer.headers["content-type"], answer.read()
        line({"status": answer.status, "type": kind, "body": body.hex()})


if __name__ == "__main__":
    if sys.argv[1] == "parse":
        parse()
    elif sys.argv[1] == "corpus":
        corpus(sys.argv[2])
    elif sys.argv[1] == "client":
        client(*sys.argv[2:])
    elif sys.argv[1] == "ask":
        ask()
    else:
        seed, count = int(sys.argv[2]), int(sys.argv[3])
        {"sign": sign, "inputs": inputs, "outputs": outputs}[sys.argv[1]](seed, count)
