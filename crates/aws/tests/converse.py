"""botocore as a client of one service, for tests that talk to operations without HTTP.

    converse.py SERVICE

Reads lines of JSON. {"operation": .., "params": ..} is answered with the request that botocore
would send; {"operation": .., "status": .., "headers": .., "body": ..} with what botocore reads in
that answer. Bytes of bodies are in hexadecimal.
"""

import json
import sys

import botocore.parsers
import botocore.serialize
import botocore.session
import botocore.validate
from botocore.awsrequest import AWSRequest, HeadersDict


def main():
    model = botocore.session.get_session().get_service_model(sys.argv[1])
    protocol = model.metadata["protocol"]
    serializer = botocore.serialize.create_serializer(protocol)
    parser = botocore.parsers.create_parser(protocol)
    for line in sys.stdin:
        told = json.loads(line)
        operation = model.operation_model(told["operation"])
        if "params" in told:
            report = botocore.validate.ParamValidator().validate(
                told["params"], operation.input_shape
            )
            if report.has_errors():
                raise ValueError(report.generate_report())
            sent = serializer.serialize_to_request(told["params"], operation)
            request = AWSRequest("POST", "http://localhost/", sent["headers"], sent["body"])
            body = request.prepare().body
            body = body.encode() if isinstance(body, str) else body
            answer = {"headers": dict(request.headers.items()), "body": body.hex()}
        else:
            response = {
                "status_code": told["status"],
                "headers": HeadersDict(told["headers"]),
                "body": bytes.fromhex(told["body"]),
            }
            answer = parser.parse(response, operation.output_shape)
        print(json.dumps(answer, default=str), flush=True)


main()
