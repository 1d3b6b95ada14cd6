//! What clients are told about requests that are wrong, in their protocol's words.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use http::HeaderMap;
use tanist_aws::error::{ApiError, Fault};
use tanist_aws::model::{Models, Service};
use tanist_aws::request::{MAX_BODY_BYTES, Request};
use tanist_aws::value::Structure;
use tanist_aws::wire::{
    Call, EncodeError, MAX_JSON_VALUES, MAX_PARAMETERS, Protocol, decode, encode, encode_error,
};

const FORM: &str = "application/x-www-form-urlencoded; charset=utf-8";
const JSON: Protocol = Protocol::Json { query_mode: true };

fn models() -> &'static Models {
    Models::load().expect("the models load")
}

fn call(
    (protocol, service): (Protocol, &'static Service),
    headers: &[(&'static str, &str)],
    query: &str,
    body: &[u8],
) -> Result<Call, ApiError> {
    let headers: HeaderMap = headers
        .iter()
        .map(|(name, value)| (name.parse().expect("a header"), value.parse().expect("a header")))
        .collect();
    let request = Request { method: "POST", path: "/", query, headers: &headers, body };
    decode(protocol, service, &request).map_err(|fault| fault.answer(protocol))
}

fn elasticache(body: &str) -> Result<Call, ApiError> {
    let wire = (Protocol::Query, &models().elasticache);
    call(wire, &[("content-type", FORM)], "", body.as_bytes())
}

fn ec2(body: &str) -> Result<Call, ApiError> {
    let wire = (Protocol::Ec2, &models().ec2);
    call(wire, &[("content-type", FORM)], "", body.as_bytes())
}

fn json(operation: &str, body: &str) -> Result<Call, ApiError> {
    let target = format!("GraniteServiceVersion20100801.{operation}");
    call((JSON, &models().cloudwatch), &[("x-amz-target", &target)], "", body.as_bytes())
}

fn refusal(result: Result<Call, ApiError>) -> (String, u16, String) {
    let error = result.expect_err("a refusal");
    (error.code.into_owned(), error.status, error.message)
}

#[track_caller]
fn is(result: Result<Call, ApiError>, code: &str, status: u16, word: &str) {
    let (found, found_status, message) = refusal(result);
    assert_eq!((found.as_str(), found_status), (code, status), "{message}");
    assert!(message.contains(word), "{message}");
}

const DESCRIBE: &str = "Action=DescribeReplicationGroups&Version=2015-02-02";

#[test]
fn an_action_that_nobody_serves_is_invalid() {
    let nothing = "Could not find operation Nothing for version 2015-02-02";
    is(elasticache("Action=Nothing&Version=2015-02-02"), "InvalidAction", 400, nothing);
    is(elasticache("Action=DescribeVpcs&Version=2015-02-02"), "InvalidAction", 400, "DescribeVpcs");
    is(
        elasticache("Action=DescribeReplicationGroups&Version=1"),
        "InvalidAction",
        400,
        "version 1",
    );
    is(elasticache("Action=DescribeReplicationGroups"), "InvalidAction", 400, "(none)");
    is(ec2("Action=Nothing&Version=2016-11-15"), "InvalidAction", 400, "The action Nothing");
    is(json("Nothing", "{}"), "InvalidAction", 400, "Nothing");
    let json_kind = json("Nothing", "{}").unwrap_err().kind;
    assert_eq!(json_kind, "UnknownOperationException");
    let long = format!("Action={}&Version=2015-02-02", "x".repeat(100_000));
    is(elasticache(&long), "InvalidAction", 400, "xxx");
}

#[test]
fn a_request_without_an_action_misses_it() {
    is(elasticache(""), "MissingAction", 400, "Action");
    is(elasticache("Action="), "MissingAction", 400, "Action");
    is(elasticache("Version=2015-02-02"), "MissingAction", 400, "Action");
    is(call((JSON, &models().cloudwatch), &[], "", b"{}"), "MissingAction", 400, "Action");
}

#[test]
fn a_body_of_another_type_is_no_form() {
    let wire = (Protocol::Query, &models().elasticache);
    let of_type = |kind: &str| call(wire, &[("content-type", kind)], "", DESCRIBE.as_bytes());
    for kind in [FORM, "application/x-www-form-urlencoded", "Application/X-WWW-Form-URLencoded;a=b"]
    {
        assert!(of_type(kind).is_ok(), "{kind}");
    }
    assert!(call(wire, &[], "", DESCRIBE.as_bytes()).is_ok());
    for kind in ["text/plain", "multipart/form-data; boundary=x", "application/json", ""] {
        is(of_type(kind), "MissingAction", 400, "Action");
    }
    assert!(call(wire, &[("content-type", "text/plain")], DESCRIBE, b"{}").is_ok());
}

#[test]
fn a_required_member_that_is_missing_is_named() {
    is(
        elasticache("Action=DeleteReplicationGroup&Version=2015-02-02"),
        "InvalidParameterValue",
        400,
        "The parameter ReplicationGroupId must be provided and must not be blank.",
    );
    is(
        ec2("Action=CreateSecurityGroup&Version=2016-11-15&GroupName=a"),
        "MissingParameter",
        400,
        "The request must contain the parameter Description",
    );
    let missing = "The parameter Namespace is required.";
    is(json("PutMetricData", "{}"), "MissingParameter", 400, missing);
    is(json("PutMetricData", "{\"Namespace\":null}"), "MissingParameter", 400, missing);
    let nested = r#"{"Namespace":"a","MetricData":[{"MetricName":"m"},{"Value":1}]}"#;
    is(json("PutMetricData", nested), "MissingParameter", 400, "MetricData.2.MetricName");
}

#[test]
fn a_value_out_of_range_is_named() {
    for number in ["9223372036854775808", "2147483648", "1e3", "", "ten"] {
        let body = format!("{DESCRIBE}&MaxRecords={number}");
        is(elasticache(&body), "InvalidParameterValue", 400, "MaxRecords");
    }
    let long = format!(r#"{{"AlarmNames":["{}"]}}"#, "ä".repeat(256));
    is(json("DeleteAlarms", &long), "InvalidParameterValue", 400, "AlarmNames.1");
    let fits = format!(r#"{{"AlarmNames":["{}"]}}"#, "ä".repeat(255));
    assert!(json("DeleteAlarms", &fits).is_ok());
    is(
        ec2("Action=DescribeRouteTables&Version=2016-11-15&MaxResults=4"),
        "InvalidParameterValue",
        400,
        "at least 5",
    );
}

#[test]
fn what_cannot_be_text_is_malformed() {
    for (value, word) in [("%zz", "%"), ("%", "%"), ("%F0%9F", "UTF-8"), ("a%00b", "NUL")] {
        let body = format!("{DESCRIBE}&ReplicationGroupId={value}");
        is(elasticache(&body), "MalformedQueryString", 400, word);
    }
    let wire = (Protocol::Query, &models().elasticache);
    is(call(wire, &[], "", b"Action=\xff"), "MalformedQueryString", 400, "UTF-8");
    is(call(wire, &[], "a=%zz", DESCRIBE.as_bytes()), "MalformedQueryString", 400, "%");
    is(elasticache(&format!("{DESCRIBE}&Action=A")), "MalformedQueryString", 400, "more than once");
    is(json("DeleteAlarms", "{\"AlarmNames\":[\"a\\u0000\"]}"), "MalformedQueryString", 400, "NUL");
}

#[test]
fn numbers_of_parameters_and_items_are_bounded() {
    let many = |count: usize| {
        let rest: String = (0..count - 2).map(|at| format!("&p{at}=")).collect();
        format!("{DESCRIBE}{rest}")
    };
    assert!(elasticache(&many(MAX_PARAMETERS)).is_ok());
    is(elasticache(&many(MAX_PARAMETERS + 1)), "MalformedQueryString", 400, "10000");
    for number in ["999999999", "0", "10001"] {
        let body =
            format!("Action=CreateCacheSubnetGroup&Version=2015-02-02&SubnetIds.member.{number}=a");
        is(elasticache(&body), "InvalidParameterValue", 400, "SubnetIds.member");
        let body = format!("Action=DescribeVpcs&Version=2016-11-15&VpcId.{number}=a");
        is(ec2(&body), "InvalidParameterValue", 400, "VpcId");
    }
}

#[test]
fn a_large_body_is_too_large_in_every_protocol() {
    let large = "a".repeat(MAX_BODY_BYTES + 1);
    is(elasticache(&large), "RequestEntityTooLarge", 413, "1048576");
    is(ec2(&large), "RequestEntityTooLarge", 413, "1048576");
    is(json("DeleteAlarms", &large), "RequestEntityTooLarge", 413, "1048576");
    let mut bomb = GzEncoder::new(Vec::new(), Compression::best());
    bomb.write_all(&vec![b' '; MAX_BODY_BYTES + 1]).unwrap();
    let headers = [
        ("x-amz-target", "GraniteServiceVersion20100801.DeleteAlarms"),
        ("content-encoding", "gzip"),
    ];
    let wire = (JSON, &models().cloudwatch);
    let bombed = call(wire, &headers, "", &bomb.finish().unwrap());
    is(bombed, "RequestEntityTooLarge", 413, "1048576");
    is(call(wire, &headers, "", b"{}"), "MalformedQueryString", 400, "gzip");
}

#[test]
fn a_compressed_body_is_read() {
    let mut body = GzEncoder::new(Vec::new(), Compression::fast());
    body.write_all(b"{\"AlarmNames\":[\"a\"]}").unwrap();
    let headers = [
        ("x-amz-target", "GraniteServiceVersion20100801.DeleteAlarms"),
        ("content-encoding", "gzip"),
    ];
    let call = call((JSON, &models().cloudwatch), &headers, "", &body.finish().unwrap()).unwrap();
    assert_eq!(call.input.texts("AlarmNames").collect::<Vec<_>>(), ["a"]);
}

#[test]
fn json_that_is_not_the_models_is_a_serialization_error() {
    for body in [
        "{",
        "[]",
        "1",
        "null",
        "{}{}",
        "{\"AlarmNames\":\"a\"}",
        "{\"AlarmNames\":[1]}",
        "{\"AlarmNames\":{}}",
        "{\"AlarmNames\":[],\"AlarmNames\":[]}",
        "\u{feff}{}",
        "{\"a\":01}",
    ] {
        let error = json("DeleteAlarms", body).expect_err(body);
        assert_eq!((error.kind.as_ref(), error.status), ("SerializationException", 400), "{body}");
    }
    for (name, value) in [
        ("Period", "1.5"),
        ("Period", "2147483648"),
        ("Period", "\"1\""),
        ("Threshold", "\"x\""),
        ("ActionsEnabled", "1"),
        ("AlarmName", "1"),
        ("AlarmName", "{}"),
        ("Dimensions", "[[]]"),
    ] {
        let error = json("PutMetricAlarm", &format!("{{\"{name}\":{value}}}")).expect_err(name);
        assert_eq!(error.kind, "SerializationException", "{name} {value}: {}", error.message);
    }
    for at in ["\"tomorrow\"", "1e300", "-1e300", "9223372036854775807", "true"] {
        let body = format!("{{\"Namespace\":\"a\",\"MetricData\":[{{\"Timestamp\":{at}}}]}}");
        assert_eq!(json("PutMetricData", &body).expect_err(at).kind, "SerializationException");
    }
}

#[test]
fn json_with_unknown_members_is_read_and_they_cost_nothing() {
    let deep = format!("{}{}", "[".repeat(500_000), "]".repeat(500_000));
    let body = format!("{{\"Unknown\":{deep},\"AlarmNames\":[\"a\",null]}}");
    let call = json("DeleteAlarms", &body).unwrap();
    assert_eq!(call.input, Structure::new().list("AlarmNames", ["a"]));
    assert!(json("DescribeAlarms", "").is_ok());
    assert!(json("DescribeAlarms", " \n").is_ok());
}

#[test]
fn times_in_json_are_seconds_with_a_fraction_or_text() {
    for (at, expected) in [
        ("1769860800", "2026-01-31T12:00:00Z"),
        ("1769860800.25", "2026-01-31T12:00:00.25Z"),
        ("1.7698608e9", "2026-01-31T12:00:00Z"),
        ("\"2026-01-31T12:00:00Z\"", "2026-01-31T12:00:00Z"),
        ("-1", "1969-12-31T23:59:59Z"),
    ] {
        let body = format!(
            "{{\"Namespace\":\"a\",\"MetricData\":[{{\"MetricName\":\"m\",\"Timestamp\":{at}}}]}}"
        );
        let call = json("PutMetricData", &body).unwrap();
        let datum = call.input.structures("MetricData").next().unwrap();
        assert_eq!(datum.timestamp("Timestamp").unwrap().to_string(), expected);
    }
}

#[test]
fn the_number_of_values_in_json_is_bounded() {
    let datum = |values: usize| {
        format!("{{\"MetricName\":\"m\",\"Values\":[{}]}}", vec!["0"; values].join(","))
    };
    let body = |data: usize, values: usize| {
        let data = vec![datum(values); data].join(",");
        format!("{{\"Namespace\":\"a\",\"MetricData\":[{data}]}}")
    };
    assert!(json("PutMetricData", &body(1000, 56)).is_ok());
    let (code, _, message) = refusal(json("PutMetricData", &body(1000, 58)));
    assert_eq!(code, "MalformedQueryString");
    assert!(message.contains(&MAX_JSON_VALUES.to_string()), "{message}");
    let long = refusal(json("PutMetricData", &body(1, 10_001)));
    assert!(long.2.contains("10000"), "{}", long.2);
}

#[test]
fn an_answer_that_is_not_in_the_model_is_not_written() {
    let service = &models().elasticache;
    let operation = service.operation("DeleteReplicationGroup").unwrap();
    let write = |answer: &Structure| {
        encode(Protocol::Query, service, operation, answer, "id").unwrap_err().to_string()
    };
    let group = |inner: Structure| Structure::new().set("ReplicationGroup", inner);
    assert_eq!(
        write(&group(Structure::new().set("Statsu", "available"))),
        "the answer of DeleteReplicationGroup has ReplicationGroup.Statsu, which its model does not \
         have"
    );
    assert_eq!(
        write(&group(Structure::new().list("NodeGroups", ["a"]))),
        "the answer of DeleteReplicationGroup has ReplicationGroup.NodeGroups.1, which is no \
         structure"
    );
    let nothing = models().ec2.operation("DeleteVpc").unwrap();
    let answer = Structure::new().set("Return", true);
    let written = encode(Protocol::Ec2, &models().ec2, nothing, &answer, "id");
    assert!(matches!(written, Err(EncodeError::UnknownMember { .. })));
}

#[test]
fn answers_look_as_clients_know_them() {
    let text = |reply: tanist_aws::wire::Reply| String::from_utf8(reply.body).unwrap();
    let service = &models().elasticache;
    let operation = service.operation("DeleteReplicationGroup").unwrap();
    let group = Structure::new()
        .list("NodeGroups", [Structure::new().set("NodeGroupId", "0001")])
        .list("MemberClusters", Vec::<String>::new())
        .set("ReplicationGroupId", "a&b");
    let answer = Structure::new().set("ReplicationGroup", group);
    let reply = encode(Protocol::Query, service, operation, &answer, "id").unwrap();
    assert_eq!(reply.headers[0], ("content-type", "text/xml".to_owned()));
    assert_eq!(
        text(reply),
        "<DeleteReplicationGroupResponse xmlns=\"http://elasticache.amazonaws.com/doc/2015-02-02/\">\
         <DeleteReplicationGroupResult><ReplicationGroup>\
         <ReplicationGroupId>a&amp;b</ReplicationGroupId><MemberClusters></MemberClusters>\
         <NodeGroups><NodeGroup><NodeGroupId>0001</NodeGroupId></NodeGroup></NodeGroups>\
         </ReplicationGroup></DeleteReplicationGroupResult>\
         <ResponseMetadata><RequestId>id</RequestId></ResponseMetadata>\
         </DeleteReplicationGroupResponse>"
    );
    let operation = models().ec2.operation("DeleteVpc").unwrap();
    let reply = encode(Protocol::Ec2, &models().ec2, operation, &Structure::new(), "id").unwrap();
    assert_eq!(
        text(reply),
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\
         <DeleteVpcResponse xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15\">\
         <requestId>id</requestId><return>true</return></DeleteVpcResponse>"
    );
}

#[test]
fn errors_look_as_clients_know_them() {
    let text = |reply: tanist_aws::wire::Reply| String::from_utf8(reply.body).unwrap();
    let service = &models().elasticache;
    let error = ApiError::new(service, "CacheClusterNotFoundFault", "no <a>");
    let reply = encode_error(Protocol::Query, Some(service), &error, "id").unwrap();
    assert_eq!(reply.status, 404);
    assert_eq!(
        text(reply),
        "<ErrorResponse xmlns=\"http://elasticache.amazonaws.com/doc/2015-02-02/\"><Error>\
         <Type>Sender</Type><Code>CacheClusterNotFound</Code><Message>no &lt;a&gt;</Message>\
         </Error><RequestId>id</RequestId></ErrorResponse>"
    );
    let reply = encode_error(Protocol::Ec2, None, &error, "id").unwrap();
    assert_eq!(
        text(reply),
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Response><Errors><Error>\
         <Code>CacheClusterNotFound</Code><Message>no &lt;a&gt;</Message></Error></Errors>\
         <RequestID>id</RequestID></Response>"
    );
    let error = Fault::UnknownKey.answer(JSON);
    let reply = encode_error(JSON, None, &error, "id").unwrap();
    let query_error = ("x-amzn-query-error", "InvalidClientTokenId;Sender".to_owned());
    assert_eq!(reply.headers.last(), Some(&query_error));
    assert_eq!(
        text(reply),
        "{\"__type\":\"UnrecognizedClientException\",\
         \"message\":\"The security token included in the request is invalid.\"}"
    );
    let plain = Protocol::Json { query_mode: false };
    let reply = encode_error(plain, None, &error, "id").unwrap();
    assert!(reply.headers.iter().all(|(name, _)| *name != "x-amzn-query-error"));
}
