//! Requests as botocore writes them, and answers as it reads them, in every dialect.

#[path = "../../../tests/botocore/mod.rs"]
mod botocore;

use http::{HeaderMap, HeaderName};
use serde_json::json;
use tanist_telemetry::{Dimensions, Key, Point, Resolution, Sample, Series, Unit};

use self::botocore::{bytes, oracle, parsed};
use super::*;
use crate::request::Request;
use crate::wire::{decode, encode, encode_error};

/// What botocore would read.
fn plain(value: &Value) -> serde_json::Value {
    match value {
        Value::Text(text) => json!(text),
        Value::Integer(number) => json!(number),
        Value::Float(number) => json!(number),
        Value::Boolean(flag) => json!(flag),
        Value::Timestamp(at) => json!(at.as_millisecond()),
        Value::List(values) => values.iter().map(plain).collect(),
        Value::Structure(inner) => plain_members(inner),
    }
}

fn plain_members(structure: &Structure) -> serde_json::Value {
    let members = structure.iter().map(|(name, value)| (name.to_owned(), plain(value)));
    serde_json::Value::Object(members.collect())
}

/// Operations with their parameters, and whether they are refused.
fn conversation() -> Vec<(&'static str, serde_json::Value, Option<&'static str>)> {
    let cluster = json!([{"Name": "CacheClusterId", "Value": "web-001"}]);
    let stats = json!({
        "Namespace": "AWS/ElastiCache", "MetricName": "ReplicationLag", "Dimensions": cluster,
        "StartTime": NOW - HOUR, "EndTime": NOW + MINUTE, "Period": 60,
        "Statistics": ["Average", "Maximum"], "Unit": "Seconds",
    });
    let mut too_many = stats.clone();
    too_many["StartTime"] = json!(NOW - 48 * HOUR);
    let metric = json!({"Namespace": "App", "MetricName": "Latency"});
    let stat = json!({"Metric": metric, "Period": 60, "Stat": "Average"});
    let data = json!({
        "MetricDataQueries": [{"Id": "m1", "MetricStat": stat, "Label": "<a & b>"}],
        "StartTime": NOW - HOUR, "EndTime": NOW + MINUTE, "MaxDatapoints": 1,
    });
    let math = json!({
        "MetricDataQueries": [{"Id": "e1", "Expression": "m1 * 2"}],
        "StartTime": NOW - HOUR, "EndTime": NOW,
    });
    let put = json!({"Namespace": "App", "MetricData": [
        {"MetricName": "Latency", "Timestamp": NOW - 2 * MINUTE, "Value": 0.1, "Unit": "Seconds"},
        {"MetricName": "Latency", "Timestamp": NOW - MINUTE, "Values": [0.5, 1.5], "Counts": [1, 3],
         "Unit": "Seconds", "StorageResolution": 1,
         "Dimensions": [{"Name": "Host", "Value": "a b"}]},
        {"MetricName": "Latency", "StatisticValues":
            {"SampleCount": 2, "Sum": 3, "Minimum": 1, "Maximum": 2}},
    ]});
    let ours = json!({"Namespace": "AWS/EC2", "MetricData": [{"MetricName": "m", "Value": 1.0}]});
    vec![
        ("PutMetricData", put, None),
        ("PutMetricData", ours, Some("InvalidParameterValue")),
        ("GetMetricStatistics", stats, None),
        ("GetMetricStatistics", too_many, Some("InvalidParameterCombination")),
        ("GetMetricData", data, None),
        ("GetMetricData", math, Some("ValidationError")),
        ("ListMetrics", json!({}), None),
        ("ListMetrics", json!({"NextToken": "x"}), Some("InvalidNextToken")),
    ]
}

/// A replica's lag, as the controller records it.
fn recorded() -> Series {
    let metrics = Series::default();
    let cluster = Dimensions::new([("CacheClusterId", "web-001")]);
    let name = Key::new(&"us-east-1".into(), "AWS/ElastiCache", "ReplicationLag", &cluster);
    for (minute, value) in [(3, 0.25), (2, 0.0), (1, 12.125)] {
        let (unit, resolution) = (Unit::Seconds, Resolution::Second);
        let at = NOW - minute * MINUTE;
        let sample = Sample { at, point: Point::of(value), unit, resolution };
        metrics.record(&name, &sample, NOW).unwrap();
    }
    metrics
}

#[test]
fn botocore_asks_and_reads_in_every_dialect() {
    let mut asked = String::new();
    for dialect in ["json", "query"] {
        for (operation, params, _) in conversation() {
            let line = json!({"service": "cloudwatch", "protocol": dialect,
                "operation": operation, "params": params});
            asked += &format!("{line}\n");
        }
    }
    let sent = oracle(&["ask"], asked.as_bytes());
    let expected = conversation();
    assert_eq!(sent.len(), 2 * expected.len());
    let mut wire = String::new();
    for (dialect, sent) in ["json", "query"].into_iter().zip(sent.chunks(expected.len())) {
        let metrics = recorded();
        for ((operation, _, code), sent) in expected.iter().zip(sent) {
            let told = told(&metrics, dialect, operation, *code, &parsed(sent));
            wire += &format!("{told}\n");
        }
    }
    let verdict = oracle(&["parse"], wire.as_bytes());
    assert_eq!(verdict, [format!("checked {}", sent.len())]);
}

/// One request and its answer over the wire, for the judge.
fn told(
    metrics: &Series,
    dialect: &str,
    operation: &str,
    code: Option<&str>,
    sent: &serde_json::Value,
) -> serde_json::Value {
    let headers: HeaderMap = sent["headers"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, value)| {
            let name: HeaderName = name.parse().unwrap();
            (name, value.as_str().unwrap().parse().unwrap())
        })
        .collect();
    let body = bytes(sent, "body");
    let request = Request { method: "POST", path: "/", query: "", headers: &headers, body: &body };
    let protocol = Protocol::of(Some("monitoring"), &headers);
    let call = decode(protocol, service(), &request).unwrap();
    assert_eq!(call.operation.name, operation);
    let ask = Ask { protocol, ..ask(operation, call.input) };
    let mut line = json!({"service": "cloudwatch", "protocol": dialect, "operation": operation});
    let reply = match (answered(metrics, &ask), code) {
        (Ok(answer), None) => {
            line["answer"] = plain_members(&answer);
            encode(protocol, service(), ask.operation, &answer, REQUEST_ID).unwrap()
        }
        (Err(error), Some(code)) => {
            assert_eq!((error.code.as_ref(), error.status), (code, 400));
            line["error"] = json!({"code": error.code, "message": error.message});
            encode_error(protocol, Some(service()), &error, REQUEST_ID).unwrap()
        }
        (answer, code) => panic!("{operation} {answer:?} {code:?}"),
    };
    let members = match operation {
        "GetMetricStatistics" => "Datapoints",
        "GetMetricData" => "MetricDataResults",
        _ => "Metrics",
    };
    if let Some(found) = line["answer"].get(members) {
        assert!(!found.as_array().unwrap().is_empty(), "{line}");
    }
    let headers = reply.headers.iter().map(|(name, value)| ((*name).to_owned(), json!(value)));
    line["headers"] = serde_json::Value::Object(headers.collect());
    line["status"] = json!(reply.status);
    line["body"] = json!(hex::encode(&reply.body));
    line
}
