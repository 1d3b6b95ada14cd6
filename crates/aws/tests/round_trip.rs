//! Every operation's requests as botocore writes them, and every answer as botocore reads it.

mod botocore;

use botocore::{bytes, oracle, parsed, text};
use http::{HeaderMap, HeaderName};
use jiff::Timestamp;
use serde_json::json;
use tanist_aws::error::{ApiError, Fault};
use tanist_aws::model::{Kind, Models, Service, ShapeId};
use tanist_aws::request::Request;
use tanist_aws::value::{Structure, Value};
use tanist_aws::wire::{Protocol, Reply, decode, encode, encode_error};

const SEED: &str = "20261121";
const REQUEST_ID: &str = "the-request-id";

fn service(line: &serde_json::Value) -> &'static Service {
    let models = Models::load().expect("the oracle keeps to the model");
    match text(line, "service") {
        "cloudwatch" => &models.cloudwatch,
        "ec2" => &models.ec2,
        "elasticache" => &models.elasticache,
        "sts" => &models.sts,
        other => panic!("{other}"),
    }
}

fn protocol(line: &serde_json::Value) -> Protocol {
    match text(line, "protocol") {
        "query" => Protocol::Query,
        "ec2" => Protocol::Ec2,
        "json" => Protocol::Json { query_mode: true },
        other => panic!("{other}"),
    }
}

/// What botocore's JSON means, as the model says.
fn meaning(service: &Service, id: ShapeId, value: &serde_json::Value) -> Value {
    match &service.shape(id).kind {
        Kind::Structure(_) => Value::Structure(members(service, Some(id), value)),
        Kind::List { member, .. } => {
            let items = value.as_array().expect("the oracle keeps to the model").iter();
            items.map(|item| meaning(service, *member, item)).collect()
        }
        Kind::Map { value: inner, .. } => {
            let entries = value.as_object().expect("the oracle keeps to the model").iter();
            let entry =
                |(name, value): (&String, _)| (name.clone(), meaning(service, inner.0, value));
            Value::Structure(entries.map(entry).collect())
        }
        Kind::Text(_) => value.as_str().expect("the oracle keeps to the model").into(),
        Kind::Integer | Kind::Long => value.as_i64().expect("the oracle keeps to the model").into(),
        Kind::Float => value.as_f64().expect("the oracle keeps to the model").into(),
        Kind::Boolean => value.as_bool().expect("the oracle keeps to the model").into(),
        Kind::Timestamp => {
            Timestamp::from_millisecond(value.as_i64().expect("the oracle keeps to the model"))
                .expect("the oracle keeps to the model")
                .into()
        }
    }
}

fn members(service: &Service, id: Option<ShapeId>, value: &serde_json::Value) -> Structure {
    let mut structure = Structure::new();
    let mut left = value.as_object().expect("the oracle keeps to the model").len();
    for member in service.members(id) {
        if let Some(inner) = value.get(member.name) {
            structure = structure.set(member.name, meaning(service, member.shape, inner));
            left -= 1;
        }
    }
    assert_eq!(left, 0, "{value}");
    structure
}

fn headers(line: &serde_json::Value) -> HeaderMap {
    let pairs = line["headers"].as_object().expect("the oracle keeps to the model").iter();
    pairs
        .map(|(name, value)| {
            let name: HeaderName = name.parse().expect("the oracle keeps to the model");
            (
                name,
                value
                    .as_str()
                    .expect("the oracle keeps to the model")
                    .parse()
                    .expect("the oracle keeps to the model"),
            )
        })
        .collect()
}

#[test]
fn every_request_of_botocore_is_read_as_it_was_meant() {
    let lines = oracle(&["inputs", SEED, "20"], b"");
    assert_eq!(lines.len(), 20 * (54 + 49 + 1 + 2 * 11));
    for line in lines {
        let line = parsed(&line);
        let (service, protocol) = (service(&line), protocol(&line));
        let headers = headers(&line);
        assert_eq!(Protocol::of(Some(service.scope), &headers), protocol);
        let request = Request {
            method: text(&line, "method"),
            path: "/",
            query: text(&line, "query"),
            headers: &headers,
            body: &bytes(&line, "body"),
        };
        let call =
            decode(protocol, service, &request).unwrap_or_else(|fault| panic!("{fault}: {line}"));
        assert_eq!(call.operation.name, text(&line, "operation"));
        let expected = members(service, call.operation.input, &line["input"]);
        assert_eq!(call.input, expected, "{line}");
    }
}

fn judged(mut line: serde_json::Value, reply: &Reply) -> String {
    let headers =
        reply.headers.iter().map(|(name, value)| ((*name).to_owned(), value.clone().into()));
    line["headers"] = serde_json::Value::Object(headers.collect());
    line["status"] = reply.status.into();
    line["body"] = hex::encode(&reply.body).into();
    format!("{line}\n")
}

#[test]
fn every_answer_is_read_by_botocore_as_it_was_meant() {
    let mut wire = String::new();
    let lines = oracle(&["outputs", SEED, "20"], b"");
    for line in &lines {
        let line = parsed(line);
        let service = service(&line);
        let operation = service.operation(text(&line, "operation")).unwrap();
        let answer = members(service, operation.output, &line["answer"]);
        let reply = encode(protocol(&line), service, operation, &answer, REQUEST_ID);
        wire += &judged(line, &reply.unwrap());
    }
    let verdict = oracle(&["parse"], wire.as_bytes());
    assert_eq!(verdict, [format!("checked {}", lines.len())]);
}

#[test]
fn every_error_is_read_by_botocore_as_it_was_meant() {
    let models = Models::load().unwrap();
    let message = "no <group> & \"nothing\" else\0";
    let mut wire = String::new();
    let mut count = 0;
    let mut tell = |name: &str, wires: &str, error: &ApiError| {
        let line = json!({
            "service": name, "protocol": wires,
            "error": {"code": error.code, "message": error.message},
        });
        let mut line = line;
        let service = service(&line);
        let reply = encode_error(protocol(&line), Some(service), error, REQUEST_ID).unwrap();
        assert_eq!(reply.status, error.status);
        if wires != "json" {
            // XML has no NUL.
            let message = error.message.replace('\0', "\u{FFFD}");
            line["error"]["message"] = message.into();
        }
        wire += &judged(line, &reply);
        count += 1;
    };
    let pairs = [
        ("elasticache", "query", &models.elasticache),
        ("sts", "query", &models.sts),
        ("cloudwatch", "query", &models.cloudwatch),
        ("cloudwatch", "json", &models.cloudwatch),
    ];
    for (name, wires, service) in pairs {
        for failure in service.failures() {
            tell(name, wires, &ApiError::new(service, failure.code, message));
        }
    }
    tell("ec2", "ec2", &ApiError::new(&models.ec2, "InvalidVpcID.NotFound", message));
    for (name, wires) in [("elasticache", "query"), ("ec2", "ec2"), ("cloudwatch", "json")] {
        for fault in [Fault::NotSigned, Fault::UnknownKey, Fault::Internal, Fault::MissingAction] {
            tell(name, wires, &fault.answer(protocol(&json!({"protocol": wires}))));
        }
    }
    let verdict = oracle(&["parse"], wire.as_bytes());
    assert_eq!(verdict, [format!("checked {count}")]);
}
