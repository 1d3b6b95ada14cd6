//! Requests that botocore signed, untouched and changed.

mod botocore;

use botocore::{bytes, oracle, parsed, text};
use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::{SignedDuration, Timestamp};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tanist_aws::error::Fault;
use tanist_aws::request::Request;
use tanist_aws::sigv4::{Keys, MAX_SKEW, SecretKey, Verified, verify};
use tanist_aws::wire::Protocol;

const SEED: &str = "20261121";

struct Two;

impl Keys for Two {
    fn secret(&self, access_key_id: &str) -> Option<SecretKey> {
        match access_key_id {
            "AKIDEXAMPLE" => Some(SecretKey::new("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")),
            "AKIDOTHER" => Some(SecretKey::new("secret two")),
            _ => None,
        }
    }
}

/// A request with parts that can be changed.
#[derive(Clone, Debug)]
struct Sent {
    method: String,
    path: String,
    query: String,
    headers: HeaderMap,
    body: Vec<u8>,
    now: Timestamp,
    presigned: bool,
    life: SignedDuration,
    expected: (String, String, String),
}

impl Sent {
    fn read(line: &str) -> Self {
        let line = parsed(line);
        let mut headers = HeaderMap::new();
        for pair in line["headers"].as_array().expect("the oracle tells all of it") {
            let name: HeaderName = pair[0]
                .as_str()
                .expect("the oracle tells all of it")
                .parse()
                .expect("the oracle tells all of it");
            headers.append(
                name,
                pair[1]
                    .as_str()
                    .expect("the oracle tells all of it")
                    .parse()
                    .expect("the oracle tells all of it"),
            );
        }
        let owned = |name: &str| text(&line, name).to_owned();
        let presigned = line["presigned"].as_bool().expect("the oracle tells all of it");
        let expires = SignedDuration::from_secs(
            line["expires"].as_i64().expect("the oracle tells all of it"),
        );
        Self {
            method: owned("method"),
            path: owned("path"),
            query: owned("query"),
            headers,
            body: bytes(&line, "body"),
            now: Timestamp::from_second(line["now"].as_i64().expect("the oracle tells all of it"))
                .expect("the oracle tells all of it"),
            presigned,
            life: if presigned { expires } else { MAX_SKEW },
            expected: (owned("key"), owned("region"), owned("service")),
        }
    }

    fn verify_at(&self, now: Timestamp) -> Result<Verified, Fault> {
        let request = Request {
            method: &self.method,
            path: &self.path,
            query: &self.query,
            headers: &self.headers,
            body: &self.body,
        };
        verify(&request, &Two, now)
    }

    fn verify(&self) -> Result<Verified, Fault> {
        self.verify_at(self.now)
    }

    /// Changes a text wherever this form of signature has it.
    fn replace(&mut self, from: &str, to: &str) -> bool {
        if self.presigned {
            let changed = self.query.replacen(from, to, 1);
            return std::mem::replace(&mut self.query, changed) != self.query;
        }
        let old =
            self.headers["authorization"].to_str().expect("the oracle tells all of it").to_owned();
        let new = old.replacen(from, to, 1);
        self.headers.insert("authorization", new.parse().expect("the oracle tells all of it"));
        new != old
    }

    /// The scope with its slashes as this form writes them.
    fn scope(&self, parts: [&str; 2]) -> String {
        parts.join(if self.presigned { "%2F" } else { "/" })
    }
}

fn sent(count: &str) -> Vec<Sent> {
    oracle(&["sign", SEED, count], b"").iter().map(|line| Sent::read(line)).collect()
}

fn codes(fault: &Fault) -> [(String, u16); 3] {
    [Protocol::Query, Protocol::Ec2, Protocol::Json { query_mode: false }].map(|protocol| {
        let error = fault.answer(protocol);
        let json = matches!(protocol, Protocol::Json { .. });
        let code = if json { error.kind } else { error.code };
        (code.into_owned(), error.status)
    })
}

fn spelled(query: (&str, u16), ec2: (&str, u16), json: &str) -> [(String, u16); 3] {
    [(query.0.to_owned(), query.1), (ec2.0.to_owned(), ec2.1), (json.to_owned(), 400)]
}

#[test]
fn everything_that_botocore_signs_is_verified() {
    let sent = sent("400");
    assert_eq!(sent.len(), 400);
    assert!(sent.iter().filter(|request| request.presigned).count() > 100);
    for request in sent {
        let verified = request.verify().unwrap_or_else(|fault| panic!("{fault}: {request:#?}"));
        let found = (verified.access_key_id, verified.region, verified.service);
        assert_eq!((found, verified.at), (request.expected, request.now));
    }
}

#[test]
fn a_signature_lives_as_long_as_it_may() {
    let second = SignedDuration::from_secs(1);
    for request in sent("50") {
        let ends = request.now + request.life;
        assert!(request.verify_at(ends).is_ok());
        assert!(request.verify_at(request.now - MAX_SKEW).is_ok());
        for (at, word) in [
            (ends + second, "Signature expired: "),
            (request.now - MAX_SKEW - second, "Signature not yet current: "),
        ] {
            let fault = request.verify_at(at).unwrap_err();
            assert!(fault.to_string().starts_with(word), "{fault}");
            let expected = spelled(
                ("SignatureDoesNotMatch", 403),
                ("RequestExpired", 400),
                "InvalidSignatureException",
            );
            assert_eq!(codes(&fault), expected);
        }
    }
}

#[test]
fn the_message_about_time_is_the_one_that_people_search_for() {
    let request = sent("50").into_iter().find(|request| !request.presigned).unwrap();
    let stamp = |at: Timestamp| at.strftime("%Y%m%dT%H%M%SZ").to_string();
    let late = request.now + SignedDuration::from_mins(7);
    let expected = format!(
        "Signature expired: {} is now earlier than {} ({} - 5 min.)",
        stamp(request.now),
        stamp(late - SignedDuration::from_mins(5)),
        stamp(late)
    );
    assert_eq!(request.verify_at(late).unwrap_err().to_string(), expected);
}

/// Changes one thing; `false` if this request does not have it.
type Change = fn(&mut Sent, &mut StdRng) -> bool;

fn flipped(bytes: &mut [u8], lots: &mut StdRng) -> bool {
    if bytes.is_empty() {
        return false;
    }
    let at = lots.random_range(0..bytes.len());
    bytes[at] ^= 1 << lots.random_range(0..8);
    true
}

const MISMATCHES: [(&str, Change); 14] = [
    ("method", |sent, _| {
        sent.method = if sent.method == "POST" { "GET" } else { "POST" }.to_owned();
        true
    }),
    ("path", |sent, _| {
        sent.path += "x";
        true
    }),
    ("a parameter more", |sent, _| {
        let more = if sent.query.is_empty() { "Action=x" } else { "&Action=x" };
        sent.query += more;
        true
    }),
    ("a parameter's value", |sent, _| {
        let Some(at) = sent.query.find('=').filter(|_| !sent.query.starts_with("X-Amz")) else {
            return false;
        };
        sent.query.insert(at + 1, 'q');
        true
    }),
    ("host", |sent, _| {
        sent.headers.insert("host", HeaderValue::from_static("elsewhere:4566"));
        true
    }),
    ("content type", |sent, _| {
        !sent.presigned && {
            sent.headers.insert("content-type", HeaderValue::from_static("text/plain"));
            true
        }
    }),
    ("target", |sent, _| {
        sent.headers.contains_key("x-amz-target") && {
            sent.headers.insert("x-amz-target", HeaderValue::from_static("Service.DeleteAll"));
            true
        }
    }),
    ("a target more", |sent, _| {
        let value = HeaderValue::from_static("Service.DeleteAll");
        sent.headers.append("x-amz-target", value);
        true
    }),
    ("body", |sent, lots| flipped(&mut sent.body, lots)),
    ("a longer body", |sent, _| {
        sent.body.push(b'&');
        true
    }),
    ("region", |sent, _| {
        let region = sent.expected.1.clone();
        let (from, service) = (sent.scope([&region, &sent.expected.2]), sent.expected.2.clone());
        let to = sent.scope(["eu-north-1", &service]);
        sent.replace(&from, &to)
    }),
    ("service", |sent, _| {
        let (from, to) =
            (sent.scope([&sent.expected.2, "aws4_request"]), sent.scope(["iam", "aws4_request"]));
        sent.replace(&from, &to)
    }),
    ("the other key", |sent, _| {
        let other = if sent.expected.0 == "AKIDOTHER" { "AKIDEXAMPLE" } else { "AKIDOTHER" };
        let from = format!("{}{}", sent.expected.0, sent.scope(["", ""]));
        let to = format!("{other}{}", sent.scope(["", ""]));
        sent.replace(&from, &to)
    }),
    ("signature", |sent, lots| {
        let from = if sent.presigned { "X-Amz-Signature=" } else { "Signature=" };
        let text = if sent.presigned {
            sent.query.clone()
        } else {
            sent.headers["authorization"].to_str().expect("the oracle tells all of it").to_owned()
        };
        let start = text.find(from).expect("the oracle tells all of it") + from.len();
        let at = start + lots.random_range(0..64);
        let new = if text.as_bytes()[at] == b'0' { "1" } else { "0" };
        let changed = format!("{}{new}{}", &text[..at], &text[at + 1..]);
        sent.replace(&text, &changed)
    }),
];

#[test]
fn five_hundred_changed_requests_are_refused() {
    let mut lots = StdRng::seed_from_u64(20_261_121);
    let sent = sent("400");
    let expected =
        spelled(("SignatureDoesNotMatch", 403), ("AuthFailure", 401), "InvalidSignatureException");
    let mut refused = [0; MISMATCHES.len()];
    for at in 0.. {
        if refused.iter().sum::<usize>() >= 500 && refused.iter().all(|count| *count >= 10) {
            break;
        }
        assert!(at < 5000, "{refused:?}");
        let mut request = sent[at % sent.len()].clone();
        let which = lots.random_range(0..MISMATCHES.len());
        let (name, change) = MISMATCHES[which];
        if change(&mut request, &mut lots) {
            let fault = request.verify().expect_err(name);
            assert_eq!(codes(&fault), expected, "{name}: {fault}");
            refused[which] += 1;
        }
    }
}

#[test]
fn a_changed_date_is_refused_within_its_life_too() {
    let mut changed = 0;
    for mut request in sent("100") {
        let stamp = |at: Timestamp| at.strftime("%Y%m%dT%H%M%SZ").to_string();
        let second = SignedDuration::from_secs(1);
        let (from, to) = (stamp(request.now), stamp(request.now + second));
        if from[..8] != to[..8] {
            continue;
        }
        if request.presigned {
            assert!(request.replace(&from, &to));
        } else {
            request.headers.insert("x-amz-date", to.parse().unwrap());
        }
        assert!(matches!(request.verify(), Err(Fault::BadSignature(_))));
        changed += 1;
        // Another day than the scope's.
        let day = stamp(request.now + SignedDuration::from_hours(24));
        if request.presigned {
            assert!(request.replace(&to, &day));
        } else {
            request.headers.insert("x-amz-date", day.parse().unwrap());
        }
        let fault = request.verify_at(request.now + SignedDuration::from_hours(24)).unwrap_err();
        assert!(
            fault.to_string().starts_with("Date in Credential scope does not match"),
            "{fault}"
        );
    }
    assert!(changed > 90);
}

#[test]
fn a_key_that_nobody_has_is_refused_as_such() {
    for mut request in sent("50") {
        let key = request.expected.0.clone();
        assert!(request.replace(&key, "AKIDNOBODY"));
        let fault = request.verify().unwrap_err();
        let expected = spelled(
            ("InvalidClientTokenId", 403),
            ("AuthFailure", 401),
            "UnrecognizedClientException",
        );
        assert_eq!(codes(&fault), expected);
    }
}

#[test]
fn a_request_without_a_signature_is_refused_as_such() {
    for mut request in sent("50") {
        request.headers.remove("authorization");
        request.query.clear();
        let fault = request.verify().unwrap_err();
        let expected = spelled(
            ("MissingAuthenticationToken", 403),
            ("AuthFailure", 401),
            "MissingAuthenticationTokenException",
        );
        assert_eq!(codes(&fault), expected);
    }
}

#[test]
fn a_signature_with_a_part_missing_is_incomplete() {
    let expected =
        spelled(("IncompleteSignature", 400), ("AuthFailure", 401), "IncompleteSignatureException");
    let in_header = [
        "AWS4-HMAC-SHA256",
        "Credential=",
        "SignedHeaders=",
        "Signature=",
        "host;",
        "/aws4_request",
    ];
    let in_query = [
        "AWS4-HMAC-SHA256",
        "Credential=",
        "SignedHeaders=",
        "Signature=",
        "Date=",
        "Expires=",
        "host",
    ];
    for request in sent("50") {
        let parts: &[&str] = if request.presigned { &in_query } else { &in_header };
        for part in parts {
            let mut request = request.clone();
            assert!(request.replace(part, "Nothing"), "{part}: {request:?}");
            assert_eq!(codes(&request.verify().unwrap_err()), expected, "{part}");
        }
        if !request.presigned {
            let mut request = request.clone();
            request.headers.remove("x-amz-date");
            assert_eq!(codes(&request.verify().unwrap_err()), expected);
        }
        let mut both = request.clone();
        both.headers.insert("authorization", HeaderValue::from_static("AWS4-HMAC-SHA256 a=b"));
        both.query += "&X-Amz-Signature=x";
        assert_eq!(codes(&both.verify().unwrap_err()), expected);
    }
}
