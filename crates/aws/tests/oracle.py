"""What botocore sends and reads, for the tests of tanist-aws.

    oracle.py sign SEED COUNT      requests that botocore signed, one JSON object on each line
    oracle.py inputs SEED COUNT    COUNT random requests of every operation, and what they mean
    oracle.py outputs SEED COUNT   COUNT random answers of every operation
    oracle.py parse                reads answers as they went over the wire; says what is wrong
    oracle.py ask                  reads operations and parameters; writes their requests

Times are milliseconds since 1970 here; bytes of bodies are in hexadecimal.
"""

import datetime
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
            return {name: self.value(shape.members[name])}
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
        if kind == "timestamp":
            # botocore's JSON has whole seconds.
            step = 1000 if self.protocol == "json" and not self.answers else 1
            milliseconds = lots.randrange(-(10**11), 4 * 10**12) // step * step
            return EPOCH + datetime.timedelta(milliseconds=milliseconds)
        raise ValueError(kind)


def plain(value):
    if isinstance(value, datetime.datetime):
        return round((value - EPOCH) / datetime.timedelta(milliseconds=1))
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
        "User-Agent": "Boto3/1.43.11",
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


if __name__ == "__main__":
    if sys.argv[1] == "parse":
        parse()
    elif sys.argv[1] == "ask":
        ask()
    else:
        seed, count = int(sys.argv[2]), int(sys.argv[3])
        {"sign": sign, "inputs": inputs, "outputs": outputs}[sys.argv[1]](seed, count)
