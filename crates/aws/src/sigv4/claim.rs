//! What a request says of its signature, in the `Authorization` header or in the query.
//!
//! Invariant: nothing of a claim is ambiguous: one form and not both, each part once, signed headers
//! in their order, and a scope whose date is that of the request.
//!
//! Not here: whether the claim is true (`sigv4`).

use std::collections::BTreeMap;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::canonical::unescape;
use super::{Signature, single};
use crate::error::Fault;
use crate::request::Request;

/// The longest life of a presigned request.
pub const MAX_EXPIRES: SignedDuration = SignedDuration::from_secs(604_800);

/// Longest access key id, region and service.
const MAX_NAME_BYTES: usize = 128;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// What a request says of its signature.
pub(super) struct Claim {
    pub(super) access_key_id: String,
    /// Of the scope, such as `20260131`.
    pub(super) date: String,
    pub(super) region: String,
    pub(super) service: String,
    /// As it was sent, such as `20260131T235959Z`.
    pub(super) stamp: String,
    pub(super) at: Timestamp,
    /// In the order in which they were signed.
    pub(super) signed_headers: Vec<String>,
    /// `None` if it cannot be one.
    pub(super) signature: Option<Signature>,
    /// Only of a presigned request.
    pub(super) expires: Option<SignedDuration>,
}

/// The parts of a claim as texts, from either form.
struct Parts {
    credential: String,
    signed_headers: String,
    signature: String,
    stamp: String,
    expires: Option<String>,
}

fn incomplete(what: impl Into<String>) -> Fault {
    Fault::IncompleteSignature(what.into())
}

/// The scope of a signature as a request claims it, for callers that do not verify.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Scope {
    pub(crate) access_key_id: String,
    pub(crate) region: String,
    pub(crate) service: String,
}

/// The scope that a request claims.
///
/// # Errors
/// [`Fault::NotSigned`] if it claims none; another [`Fault`] if the claim cannot be read.
pub(crate) fn claimed_scope(request: &Request<'_>) -> Result<Scope, Fault> {
    let credential = parts(request)?.credential;
    let parts: Vec<&str> = credential.split('/').collect();
    let [access_key_id, _, region, service, _] = parts[..] else {
        return Err(incomplete("Credential must have exactly 5 slash-delimited elements"));
    };
    let [access_key_id, region, service] = [access_key_id, region, service].map(str::to_owned);
    Ok(Scope { access_key_id, region, service })
}

/// The service that a request claims to be for. Nobody has verified it: use it only to choose the
/// form of a refusal.
#[must_use]
pub fn claimed_service(request: &Request<'_>) -> Option<String> {
    parts(request).ok()?.credential.split('/').nth(3).map(str::to_owned)
}

pub(super) fn read(request: &Request<'_>) -> Result<Claim, Fault> {
    let parts = parts(request)?;
    let at = time(&parts.stamp).ok_or_else(|| {
        incomplete("Date must be in ISO-8601 'basic format', such as 20260131T235959Z")
    })?;
    let scope: Vec<&str> = parts.credential.split('/').collect();
    let [access_key_id, date, region, service, end] = scope[..] else {
        return Err(incomplete(
            "Credential must have exactly 5 slash-delimited elements, e.g. \
             keyid/date/region/service/term",
        ));
    };
    if access_key_id.is_empty() || access_key_id.len() > MAX_NAME_BYTES {
        return Err(Fault::UnknownKey);
    }
    check_scope([date, region, service, end], &parts.stamp)?;
    let signed_headers = signed_headers(&parts.signed_headers, parts.expires.is_some())?;
    Ok(Claim {
        access_key_id: access_key_id.to_owned(),
        date: date.to_owned(),
        region: region.to_owned(),
        service: service.to_owned(),
        at,
        signed_headers,
        signature: signature(&parts.signature),
        expires: parts.expires.as_deref().map(expires).transpose()?,
        stamp: parts.stamp,
    })
}

fn parts(request: &Request<'_>) -> Result<Parts, Fault> {
    request.check_size()?;
    let presigned = presigned(request.query)?;
    match (single(request.headers, "authorization")?, presigned) {
        (None, None) => Err(Fault::NotSigned),
        (Some(_), Some(_)) => {
            Err(incomplete("a request is signed in its header or in its query, not in both"))
        }
        (Some(header), None) => in_header(request, header),
        (None, Some(found)) => in_query(found),
    }
}

/// The `X-Amz-*` parameters of a query that has a signature.
fn presigned(query: &str) -> Result<Option<BTreeMap<String, String>>, Fault> {
    let mut found = BTreeMap::new();
    for pair in query.split('&') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        // Clients write these names without escapes; escaped ones would be seen by nobody else.
        if name.starts_with("X-Amz-") && found.insert(name.to_owned(), unescape(value)?).is_some() {
            return Err(incomplete(format!("{} is given more than once", crate::error::cut(name))));
        }
    }
    let is_signed = found.contains_key("X-Amz-Signature") || found.contains_key("X-Amz-Algorithm");
    Ok(is_signed.then_some(found))
}

fn in_query(mut found: BTreeMap<String, String>) -> Result<Parts, Fault> {
    let mut part = |name: &str| {
        let missing = || incomplete(format!("AWS query-string parameters must include '{name}'."));
        found.remove(name).filter(|value| !value.is_empty()).ok_or_else(missing)
    };
    if part("X-Amz-Algorithm")? != ALGORITHM {
        return Err(incomplete("Unsupported AWS 'algorithm'"));
    }
    Ok(Parts {
        credential: part("X-Amz-Credential")?,
        signed_headers: part("X-Amz-SignedHeaders")?,
        signature: part("X-Amz-Signature")?,
        stamp: part("X-Amz-Date")?,
        expires: Some(part("X-Amz-Expires")?),
    })
}

fn in_header(request: &Request<'_>, header: &str) -> Result<Parts, Fault> {
    let rest = header.strip_prefix(ALGORITHM).filter(|rest| rest.starts_with(' '));
    let rest = rest.ok_or_else(|| incomplete("Unsupported AWS 'algorithm'"))?;
    let mut found: BTreeMap<&str, &str> = BTreeMap::new();
    for pair in rest.split(',') {
        let (name, value) = pair.trim().split_once('=').ok_or_else(|| {
            incomplete("Invalid key=value pair (missing equal-sign) in Authorization header")
        })?;
        if found.insert(name, value).is_some() {
            return Err(incomplete("a part of the Authorization header is given more than once"));
        }
    }
    let part = |name: &str| {
        let missing = || incomplete(format!("Authorization header requires '{name}' parameter."));
        found.get(name).filter(|value| !value.is_empty()).copied().ok_or_else(missing)
    };
    let stamp = single(request.headers, "x-amz-date")?.ok_or_else(|| {
        incomplete("Authorization header requires existence of an 'X-Amz-Date' header.")
    })?;
    Ok(Parts {
        credential: part("Credential")?.to_owned(),
        signed_headers: part("SignedHeaders")?.to_owned(),
        signature: part("Signature")?.to_owned(),
        stamp: stamp.to_owned(),
        expires: None,
    })
}

/// Such as `20260131T235959Z`, and nothing else.
fn time(stamp: &str) -> Option<Timestamp> {
    let bytes = stamp.as_bytes();
    let form_is_right = bytes.len() == 16
        && bytes.iter().enumerate().all(|(at, byte)| match at {
            8 => *byte == b'T',
            15 => *byte == b'Z',
            _ => byte.is_ascii_digit(),
        });
    if !form_is_right {
        return None;
    }
    let number = |from: usize, to: usize| stamp.get(from..to)?.parse::<i8>().ok();
    let year = stamp.get(..4)?.parse().ok()?;
    let time = DateTime::new(
        year,
        number(4, 6)?,
        number(6, 8)?,
        number(9, 11)?,
        number(11, 13)?,
        number(13, 15)?,
        0,
    );
    Some(time.ok()?.to_zoned(TimeZone::UTC).ok()?.timestamp())
}

fn check_scope([date, region, service, end]: [&str; 4], stamp: &str) -> Result<(), Fault> {
    let wrong = |what: &str| Err(Fault::BadSignature(what.to_owned()));
    let is_name = |text: &str| {
        let letters = text
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        letters && !text.is_empty() && text.len() <= MAX_NAME_BYTES
    };
    if end != "aws4_request" {
        return wrong("Credential should be scoped with a valid terminator: 'aws4_request'");
    }
    if stamp.get(..8) != Some(date) {
        return wrong(
            "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from \
             HTTP",
        );
    }
    if !is_name(region) {
        return wrong("Credential should be scoped to a valid region");
    }
    if !is_name(service) {
        return wrong("Credential should be scoped to a valid service");
    }
    Ok(())
}

fn signed_headers(list: &str, presigned: bool) -> Result<Vec<String>, Fault> {
    let names: Vec<String> = list.split(';').map(str::to_owned).collect();
    let in_order = names.windows(2).all(|pair| pair[0] < pair[1]);
    let lower = names.iter().all(|name| !name.bytes().any(|byte| byte.is_ascii_uppercase()));
    if !in_order || !lower {
        return Err(incomplete("SignedHeaders must be in lower case, sorted, and each once"));
    }
    for needed in ["host", "x-amz-date"] {
        // The date of a presigned request is in its query, which is signed whole.
        let elsewhere = presigned && needed == "x-amz-date";
        if !elsewhere && !names.iter().any(|name| name == needed) {
            return Err(incomplete(format!("'{needed}' must be a signed header")));
        }
    }
    Ok(names)
}

fn signature(text: &str) -> Option<Signature> {
    let mut bytes = [0; 32];
    // Upper case is another text, and no signer writes it.
    let lower = !text.bytes().any(|byte| byte.is_ascii_uppercase());
    (lower && hex::decode_to_slice(text, &mut bytes).is_ok()).then_some(Signature(bytes))
}

fn expires(text: &str) -> Result<SignedDuration, Fault> {
    let seconds = text.parse::<u32>().ok().map(|seconds| SignedDuration::from_secs(seconds.into()));
    seconds
        .filter(|life| *life > SignedDuration::ZERO && *life <= MAX_EXPIRES)
        .ok_or_else(|| incomplete("X-Amz-Expires must be within 1 and 604800 seconds"))
}
