//! What is refused before an operation sees it, and in which words.

use jiff::SignedDuration;

use super::kit::{Draft, House, Plan, WHO_AM_I, ask, ask_raw, open};
use crate::identity::AccessKey;

async fn house() -> (House, AccessKey) {
    let house = open(Plan::default()).await;
    let root = house.identity.root().unwrap();
    (house, root)
}

/// Status and code on the Query wire, of EC2, and in JSON.
type Spelled = [(u16, &'static str); 3];

const NOT_SIGNED: Spelled = [
    (403, "MissingAuthenticationToken"),
    (401, "AuthFailure"),
    (400, "MissingAuthenticationTokenException"),
];
const MISMATCH: Spelled =
    [(403, "SignatureDoesNotMatch"), (401, "AuthFailure"), (400, "InvalidSignatureException")];
const TOO_OLD: Spelled =
    [(403, "SignatureDoesNotMatch"), (400, "RequestExpired"), (400, "InvalidSignatureException")];
const UNKNOWN_KEY: Spelled =
    [(403, "InvalidClientTokenId"), (401, "AuthFailure"), (400, "UnrecognizedClientException")];
const INCOMPLETE: Spelled =
    [(400, "IncompleteSignature"), (401, "AuthFailure"), (400, "IncompleteSignatureException")];

/// Every dialect's refusal of what `change` makes of its request.
async fn all_refused(house: &House, spelled: Spelled, change: impl Fn(Draft) -> Draft) {
    for (draft, (status, code)) in Draft::of_each_dialect().into_iter().zip(spelled) {
        let got = ask(house, &change(draft)).await;
        got.is(status, code);
        if got.body.starts_with('{') {
            let query_code = &got.headers["x-amzn-query-error"];
            assert_eq!(*query_code, format!("{};Sender", spelled[0].1));
            assert_eq!(got.headers["content-type"], "application/x-amz-json-1.0");
        } else {
            assert!(got.headers["content-type"].starts_with("text/xml"), "{got:?}");
            let id = if got.body.contains("<RequestID>") { "RequestID" } else { "RequestId" };
            assert_eq!(got.part(id), got.headers["x-amzn-requestid"]);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_without_a_signature_is_refused_in_its_dialect() {
    let (house, _) = house().await;
    all_refused(&house, NOT_SIGNED, |draft| draft).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_request_is_refused_in_its_dialect() {
    let (house, root) = house().await;
    let changed = |draft: Draft| {
        let mut draft = draft.sign(&root);
        draft.body.push(b' ');
        draft
    };
    all_refused(&house, MISMATCH, changed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_secret_is_refused_in_each_dialect() {
    let (house, root) = house().await;
    let wrong = AccessKey { secret: "0".repeat(40), ..root };
    all_refused(&house, MISMATCH, |draft| draft.sign(&wrong)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_and_an_early_request_are_refused_in_each_dialect() {
    let (house, root) = house().await;
    for minutes in [-6, 6] {
        let shift = SignedDuration::from_mins(minutes);
        all_refused(&house, TOO_OLD, |draft| draft.shifted(shift).sign(&root)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_nobody_has_is_refused_in_each_dialect() {
    let (house, root) = house().await;
    for id in ["AKIAIOSFODNN7EXAMPLE", "root", "aws"] {
        let key = AccessKey { access_key_id: id.to_owned(), secret: root.secret.clone() };
        all_refused(&house, UNKNOWN_KEY, |draft| draft.sign(&key)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_signature_is_refused_in_each_dialect() {
    let (house, root) = house().await;
    let half = |draft: Draft| {
        let mut draft = draft.sign(&root);
        draft.headers.retain(|(name, _)| name != "x-amz-date");
        draft
    };
    all_refused(&house, INCOMPLETE, half).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_region_that_is_not_served_is_refused_in_each_dialect() {
    let (house, root) = house().await;
    all_refused(&house, MISMATCH, |draft| draft.region("us-west-2").sign(&root)).await;
    let draft = Draft::who_am_i().region("us-west-2").sign(&root);
    ask(&house, &draft).await.says("Credential should be scoped to a valid region.");
    let draft = Draft::who_am_i().region("eu-central-1").sign(&root);
    assert_eq!(ask(&house, &draft).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_is_not_served_is_an_invalid_action() {
    let (house, root) = house().await;
    let draft = Draft::new("iam", "Action=ListUsers&Version=2010-05-08").sign(&root);
    ask(&house, &draft).await.is(400, "InvalidAction").says("The service iam is not served here");
    let lambda = Draft::new("lambda", "").method("GET", "/2015-03-31/functions").sign(&root);
    ask(&house, &lambda).await.is(400, "InvalidAction");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_action_that_is_not_built_is_invalid() {
    let (house, root) = house().await;
    for (service, body) in [
        ("elasticache", "Action=Nothing&Version=2015-02-02"),
        ("elasticache", "Action=DescribeReplicationGroups&Version=2014-01-01"),
        ("elasticache", "Action=DescribeReplicationGroups"),
        ("sts", "Action=AssumeRole&Version=2011-06-15"),
        ("ec2", "Action=Nothing&Version=2016-11-15"),
        // Another service's action, however the scope reads.
        ("elasticache", WHO_AM_I),
    ] {
        let draft = Draft::new(service, body).sign(&root);
        ask(&house, &draft).await.is(400, "InvalidAction");
    }
    let draft = Draft::json("Nothing", "{}").sign(&root);
    let got = ask(&house, &draft).await;
    got.is(400, "UnknownOperationException");
    assert_eq!(got.headers["x-amzn-query-error"], "InvalidAction;Sender");
    let elsewhere = Draft::who_am_i().method("POST", "/elsewhere").sign(&root);
    ask(&house, &elsewhere).await.is(400, "InvalidAction").says("POST /elsewhere");
    let put = Draft::who_am_i().method("PUT", "/").sign(&root);
    ask(&house, &put).await.is(400, "InvalidAction").says("PUT /");
    let nothing = Draft::new("elasticache", "").sign(&root);
    ask(&house, &nothing).await.is(400, "MissingAction");
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_parameters_are_refused_with_a_code_that_clients_know() {
    let (house, root) = house().await;
    let describe = "Action=DescribeReplicationGroups&Version=2015-02-02";
    let many: String = (0..10_000).map(|at| format!("&p{at}=1")).collect();
    for (more, code) in [
        ("&MaxRecords=9223372036854775808", "InvalidParameterValue"),
        ("&MaxRecords=ten", "InvalidParameterValue"),
        ("&ReplicationGroupId=%zz", "MalformedQueryString"),
        ("&ReplicationGroupId=%FF", "MalformedQueryString"),
        ("&ReplicationGroupId=a%00b", "MalformedQueryString"),
        ("&Action=DescribeReplicationGroups", "MalformedQueryString"),
        (&many, "MalformedQueryString"),
    ] {
        let draft = Draft::new("elasticache", format!("{describe}{more}")).sign(&root);
        ask(&house, &draft).await.is(400, code);
    }
    let far = "Action=CreateCacheSubnetGroup&Version=2015-02-02&SubnetIds.member.999999999=a";
    let draft = Draft::new("elasticache", far).sign(&root);
    ask(&house, &draft).await.is(400, "InvalidParameterValue");
    let missing = Draft::new("ec2", "Action=CreateSubnet&Version=2016-11-15").sign(&root);
    ask(&house, &missing).await.is(400, "MissingParameter");
    let json = Draft::json("DescribeAlarms", "{").sign(&root);
    ask(&house, &json).await.is(400, "SerializationException");
    let raw = Draft::new("elasticache", b"Action=\xff".to_vec()).sign(&root);
    ask(&house, &raw).await.is(400, "MalformedQueryString");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_who_looks_at_the_address_is_told_what_it_is() {
    let (house, _) = house().await;
    for bytes in [
        &b"GET / HTTP/1.1\r\nhost: localhost:4566\r\n\r\n"[..],
        b"GET / HTTP/1.0\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n",
        b"GET /favicon.ico HTTP/1.1\r\nhost: a\r\n\r\n",
    ] {
        let got = ask_raw(&house, bytes).await.unwrap();
        got.is(403, "MissingAuthenticationToken").says("AWS_ENDPOINT_URL");
        assert!(!got.body.to_lowercase().contains("<html"), "{got:?}");
    }
}
