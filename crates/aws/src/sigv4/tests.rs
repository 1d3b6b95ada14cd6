//! What no signer does, and what a verifier has to say to it.

use std::net::Ipv4Addr;

use super::*;
use crate::request::{MAX_BODY_BYTES, MAX_TARGET_BYTES};

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

#[derive(Debug)]
struct One;

impl Keys for One {
    fn secret(&self, access_key_id: &str) -> Option<SecretKey> {
        (access_key_id == "AKID").then(|| SecretKey::new("very secret"))
    }
}

fn now() -> Timestamp {
    "2026-01-31T12:00:00Z".parse().unwrap()
}

/// A request whose header is signed with the secret of `One`, whatever is in it.
struct Draft {
    query: String,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Draft {
    fn new() -> Self {
        let mut headers = HeaderMap::new();
        headers.insert("host", "localhost:4566".parse().unwrap());
        headers.insert("x-amz-date", "20260131T120000Z".parse().unwrap());
        Self { query: String::new(), headers, body: b"Action=A".to_vec() }
    }

    fn with(mut self, name: &'static str, value: &str) -> Self {
        self.headers.insert(name, value.parse().unwrap());
        self
    }

    fn request(&self) -> Request<'_> {
        Request {
            method: "POST",
            path: "/",
            query: &self.query,
            headers: &self.headers,
            body: &self.body,
        }
    }

    fn authorize(&mut self, signed_headers: &str, signature: &str) {
        let value = format!(
            "AWS4-HMAC-SHA256 Credential=AKID/20260131/us-east-1/elasticache/aws4_request, \
             SignedHeaders={signed_headers}, Signature={signature}"
        );
        self.headers.insert("authorization", value.parse().unwrap());
    }

    /// Signs what is there, with these headers.
    fn signed(mut self, signed_headers: &str) -> Self {
        self.authorize(signed_headers, &"0".repeat(64));
        let hash = hex::encode(Sha256::digest(&self.body));
        let claim = claim::read(&self.request()).unwrap();
        let canonical = canonical::request(&self.request(), &claim, &hash).unwrap();
        let good = signature(&SecretKey::new("very secret"), &claim, &canonical).unwrap();
        self.authorize(signed_headers, &hex::encode(good.0));
        self
    }

    fn verify(&self) -> Result<Verified, Fault> {
        verify(&self.request(), &One, now())
    }
}

#[test]
fn a_good_signature_names_key_region_and_service() {
    let expected = Verified {
        access_key_id: "AKID".to_owned(),
        region: "us-east-1".to_owned(),
        service: "elasticache".to_owned(),
        at: now(),
    };
    assert_eq!(Draft::new().signed("host;x-amz-date").verify(), Ok(expected));
}

#[test]
fn host_and_date_must_be_signed() {
    for list in ["host", "x-amz-date", "x-amz-date;host", "HOST;x-amz-date", "host;host;x-amz-date"]
    {
        let mut draft = Draft::new();
        draft.authorize(list, &"0".repeat(64));
        assert!(matches!(draft.verify(), Err(Fault::IncompleteSignature(_))), "{list}");
    }
}

#[test]
fn a_header_that_changes_the_meaning_must_be_signed() {
    let mut draft = Draft::new().signed("host;x-amz-date");
    draft.headers.insert("x-amz-target", "Service.DeleteAll".parse().unwrap());
    let fault = draft.verify().unwrap_err();
    assert!(fault.to_string().ends_with("not signed: x-amz-target"), "{fault}");
}

#[test]
fn a_body_must_be_hashed() {
    let list = "host;x-amz-content-sha256;x-amz-date";
    let hash = hex::encode(Sha256::digest(b"Action=A"));
    let draft = |value: &str| Draft::new().with("x-amz-content-sha256", value).signed(list);
    assert!(draft(&hash).verify().is_ok());
    for value in ["UNSIGNED-PAYLOAD", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "", &"0".repeat(64)] {
        assert!(matches!(draft(value).verify(), Err(Fault::BadSignature(_))), "{value}");
    }
}

#[test]
fn a_large_request_is_refused_before_it_is_hashed() {
    let mut draft = Draft::new().signed("host;x-amz-date");
    draft.body = vec![b'a'; MAX_BODY_BYTES + 1];
    assert_eq!(draft.verify(), Err(Fault::TooLarge { limit: MAX_BODY_BYTES }));
    let mut draft = Draft::new();
    draft.query = "X-Amz-Signature&".repeat(MAX_TARGET_BYTES / 16);
    assert_eq!(draft.verify(), Err(Fault::TooLarge { limit: MAX_TARGET_BYTES }));
}

#[test]
fn what_is_given_twice_is_refused() {
    let mut draft = Draft::new().signed("host;x-amz-date");
    let header = draft.headers["authorization"].clone();
    draft.headers.append("authorization", header);
    assert!(matches!(draft.verify(), Err(Fault::IncompleteSignature(_))));
    let mut draft = Draft::new().signed("host;x-amz-date");
    draft.headers.append("x-amz-date", "20260131T120001Z".parse().unwrap());
    assert!(matches!(draft.verify(), Err(Fault::IncompleteSignature(_))));
    let mut draft = Draft::new();
    draft.query = "X-Amz-Signature=a&X-Amz-Signature=b".to_owned();
    assert!(matches!(draft.verify(), Err(Fault::IncompleteSignature(_))));
}

#[test]
fn a_presigned_request_lives_for_a_week_at_most() {
    for expires in ["0", "-1", "604801", "99999999999999999999", "1h", ""] {
        let mut draft = Draft::new();
        draft.query = format!(
            "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-SignedHeaders=host&X-Amz-Signature=00\
             &X-Amz-Credential=AKID%2F20260131%2Fus-east-1%2Felasticache%2Faws4_request\
             &X-Amz-Date=20260131T120000Z&X-Amz-Expires={expires}"
        );
        assert!(matches!(draft.verify(), Err(Fault::IncompleteSignature(_))), "{expires}");
    }
}

#[test]
fn a_scope_is_for_a_region_and_a_service() {
    let verify = |scope: &str| {
        let mut draft = Draft::new();
        let value = format!(
            "AWS4-HMAC-SHA256 Credential=AKID/{scope}, SignedHeaders=host;x-amz-date, Signature=00"
        );
        draft.headers.insert("authorization", value.parse().unwrap());
        draft.verify().unwrap_err()
    };
    for scope in [
        "20260131/us east/sts/aws4_request",
        "20260131//sts/aws4_request",
        "20260131/us-east-1/../aws4_request",
        "20260131/us-east-1/sts/aws5_request",
        "20260130/us-east-1/sts/aws4_request",
        "20260131/us-east-1/sts/aws4_request",
    ] {
        assert!(matches!(verify(scope), Fault::BadSignature(_)), "{scope}");
    }
    for scope in ["20260131/us-east-1/sts", "20260131/us-east-1/sts/aws4_request/more"] {
        assert!(matches!(verify(scope), Fault::IncompleteSignature(_)), "{scope}");
    }
}

#[test]
fn times_are_read_in_one_form_only() {
    for date in
        ["2026-01-31T12:00:00Z", "20260131T120000", "20260231T120000Z", "20260131T246000Z", "x"]
    {
        let draft = Draft::new().with("x-amz-date", date);
        let mut draft = draft;
        draft.authorize("host;x-amz-date", &"0".repeat(64));
        assert!(matches!(draft.verify(), Err(Fault::IncompleteSignature(_))), "{date}");
    }
}

#[test]
fn secrets_are_not_shown() {
    assert_eq!(format!("{:?}", SecretKey::new("very secret")), "SecretKey(..)");
}

#[test]
fn a_pause_is_for_bad_signatures_and_a_good_one_ends_it() {
    let verifier = Verifier::new(One);
    let good = Draft::new().signed("host;x-amz-date");
    let mut bad = Draft::new();
    bad.authorize("host;x-amz-date", &"0".repeat(64));
    let mut skewed = Draft::new().with("x-amz-date", "20260131T110000Z");
    skewed.authorize("host;x-amz-date", &"0".repeat(64));
    let verify = |draft: &Draft| verifier.verify(&draft.request(), HERE, now());
    for _ in 0..FREE_FAILURES {
        assert!(matches!(verify(&skewed), Err(Fault::BadTime(_))));
        assert!(matches!(verify(&bad), Err(Fault::BadSignature(_))));
    }
    assert!(matches!(verify(&skewed), Err(Fault::BadSignature(_))), "a pause");
    assert!(verify(&good).is_ok(), "the key's owner is not locked out");
    assert!(matches!(verify(&skewed), Err(Fault::BadTime(_))), "the pause is over");
}

#[test]
fn a_refusal_can_be_written_in_the_form_of_the_claimed_service() {
    let draft = Draft::new().signed("host;x-amz-date");
    assert_eq!(claimed_service(&draft.request()).as_deref(), Some("elasticache"));
    assert_eq!(claimed_service(&Draft::new().request()), None);
}
