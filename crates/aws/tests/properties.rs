//! What holds for every input.

use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use tanist_aws::model::{Models, Service};
use tanist_aws::request::{Request, inflate};
use tanist_aws::sigv4::{Keys, SecretKey, claimed_service, verify};
use tanist_aws::value::Structure;
use tanist_aws::wire::{Protocol, decode, encode, encode_error};

#[derive(Debug)]
struct Everybody;

impl Keys for Everybody {
    fn secret(&self, _: &str) -> Option<SecretKey> {
        Some(SecretKey::new("secret"))
    }
}

const PROTOCOLS: [Protocol; 4] = [
    Protocol::Query,
    Protocol::Ec2,
    Protocol::Json { query_mode: true },
    Protocol::Json { query_mode: false },
];

/// Text with the pieces that forms, paths and signatures are made of.
fn pieces() -> impl Strategy<Value = String> {
    let piece = select(vec![
        "Action=",
        "&Version=",
        "2010-08-01",
        "2015-02-02",
        "2016-11-15",
        "CreateReplicationGroup",
        "PutMetricData",
        "RunInstances",
        "&",
        "=",
        ".",
        "member",
        ".1",
        ".2.",
        "0",
        "99999999999",
        "%",
        "%4",
        "%41",
        "%00",
        "%ff",
        "+",
        "é",
        "MetricData",
        "NodeGroupConfiguration",
        "Tags",
        "Tag",
        "BlockDeviceMapping",
        "Ebs",
        "entry",
        "key",
        "value",
        "Dimensions",
        "Values",
        "X-Amz-Signature=",
        "X-Amz-Credential=",
        "AKID%2F20260131%2Fus-east-1%2Fsts%2Faws4_request",
        "X-Amz-Date=20260131T120000Z",
        "X-Amz-Expires=5",
        "X-Amz-SignedHeaders=host",
        "X-Amz-Algorithm=AWS4-HMAC-SHA256",
        "/",
        "..",
        "//",
        "true",
        "-1.5e3",
        "2026-01-31",
    ]);
    let part = prop_oneof![4 => piece.prop_map(str::to_owned), 1 => any::<String>()];
    vec(part, 0..30).prop_map(|parts| parts.concat())
}

fn json() -> impl Strategy<Value = String> {
    let piece = select(vec![
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"Namespace\"",
        "\"MetricData\"",
        "\"Values\"",
        "\"Value\"",
        "\"Timestamp\"",
        "\"Dimensions\"",
        "\"EntityMetricData\"",
        "\"Entity\"",
        "\"Attributes\"",
        "null",
        "1",
        "-1e999",
        "1e308",
        "\"a\"",
        "\"\\u0000\"",
        "\"\\ud800\"",
        "true",
        " ",
        "\"",
    ]);
    vec(piece, 0..40).prop_map(|parts| parts.concat())
}

fn headers() -> impl Strategy<Value = HeaderMap> {
    let name = select(vec![
        "authorization",
        "content-type",
        "content-encoding",
        "host",
        "x-amz-date",
        "x-amz-target",
        "x-amz-content-sha256",
        "x-amz-security-token",
        "x-amzn-query-mode",
        "x-custom",
    ]);
    let value = select(vec![
        "AWS4-HMAC-SHA256 Credential=AKID/20260131/us-east-1/sts/aws4_request, \
         SignedHeaders=host;x-amz-date, Signature=\
         0000000000000000000000000000000000000000000000000000000000000000",
        "AWS4-HMAC-SHA256 Credential=a/b, SignedHeaders=, Signature=",
        "AWS4-HMAC-SHA256 ,=,==",
        "application/x-www-form-urlencoded",
        "gzip",
        "localhost",
        "20260131T120000Z",
        "true",
        "",
        "GraniteServiceVersion20100801.PutMetricData",
        "GraniteServiceVersion20100801.",
        ".",
    ]);
    let known = (name, value.prop_map(|value| value.as_bytes().to_vec()));
    let any_value =
        (select(vec!["authorization", "x-amz-target", "host"]), vec(any::<u8>(), 0..40));
    let entry = prop_oneof![3 => known, 1 => any_value];
    vec(entry, 0..8).prop_map(|entries| {
        let mut headers = HeaderMap::new();
        for (name, value) in entries {
            if let Ok(value) = HeaderValue::from_bytes(&value) {
                headers.append(HeaderName::from_static(name), value);
            }
        }
        headers
    })
}

fn services() -> [&'static Service; 4] {
    Models::load().expect("the models load and errors are written").all()
}

/// Decodes as everything that it could be, and writes every refusal.
fn everything(request: &Request<'_>) {
    for service in services() {
        for protocol in PROTOCOLS {
            if let Err(fault) = decode(protocol, service, request) {
                let error = fault.answer(protocol);
                assert!((400..600).contains(&error.status));
                encode_error(protocol, Some(service), &error, "id")
                    .expect("the models load and errors are written");
            }
        }
    }
    let now: Timestamp =
        "2026-01-31T12:00:00Z".parse().expect("the models load and errors are written");
    // Nobody can make a signature by chance.
    assert!(verify(request, &Everybody, now).is_err());
    let _whatever_it_claims = claimed_service(request);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_form_panics(path in pieces(), query in pieces(), body in pieces(), headers in headers()) {
        let request = Request {
            method: "POST", path: &path, query: &query, headers: &headers, body: body.as_bytes(),
        };
        everything(&request);
    }

    #[test]
    fn no_json_panics(body in json(), mut headers in headers()) {
        let target = HeaderValue::from_static("GraniteServiceVersion20100801.PutMetricData");
        headers.insert("x-amz-target", target);
        let request =
            Request { method: "POST", path: "/", query: "", headers: &headers, body: body.as_bytes() };
        everything(&request);
    }

    #[test]
    fn no_bytes_panic(body in vec(any::<u8>(), 0..200), headers in headers()) {
        let request =
            Request { method: "POST", path: "/", query: "", headers: &headers, body: &body };
        everything(&request);
        prop_assert!(inflate(&body, 1000).is_err() || body.starts_with(&[0x1f, 0x8b]));
    }

    #[test]
    fn whatever_an_input_was_it_is_read_back(name in "[^\0]{0,20}", names in vec("[^\0]{0,9}", 0..5)) {
        let models = Models::load().unwrap();
        let encode_part = |text: &str| {
            percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
        };
        let mut body = format!(
            "Action=CreateCacheSubnetGroup&Version=2015-02-02&CacheSubnetGroupDescription=&\
             SubnetIds=&CacheSubnetGroupName={}", encode_part(&name)
        );
        if !names.is_empty() {
            body = body.replace("&SubnetIds=", "");
        }
        for (at, name) in names.iter().enumerate() {
            body += &format!("&SubnetIds.SubnetIdentifier.{}={}", at + 1, encode_part(name));
        }
        let headers = HeaderMap::new();
        let request =
            Request { method: "POST", path: "/", query: "", headers: &headers, body: body.as_bytes() };
        let call = decode(Protocol::Query, &models.elasticache, &request).unwrap();
        let expected = Structure::new()
            .set("CacheSubnetGroupName", &name)
            .set("CacheSubnetGroupDescription", "")
            .list("SubnetIds", &names);
        prop_assert_eq!(call.input, expected);
    }

    #[test]
    fn every_text_gives_a_well_formed_answer(text in any::<String>()) {
        let service = &Models::load().unwrap().sts;
        let operation = service.operation("GetCallerIdentity").unwrap();
        let answer = Structure::new().set("Arn", &text);
        let reply = encode(Protocol::Query, service, operation, &answer, &text).unwrap();
        let body = String::from_utf8(reply.body).unwrap();
        let mut reader = quick_xml::Reader::from_str(&body);
        while !matches!(reader.read_event().unwrap(), quick_xml::events::Event::Eof) {}
    }
}
