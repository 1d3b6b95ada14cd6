//! AWS Signature Version 4: who sent a request, and that nobody changed it on its way.
//!
//! The scope of a signature is also the only place that names region and service: one address
//! serves all of them. So [`Verified`] is the only source of both, and nothing is decoded, looked up
//! or inflated before there is one.
//!
//! Invariant: a request is accepted only if method, path, query, every `x-amz-*` header and the body
//! are covered by a signature of a known key that is not older than it may be; signatures and
//! secrets are never shown, and compared in constant time.
//!
//! Not here: what a key may do; sessions, so a security token is covered by the signature and
//! otherwise not looked at.

mod backoff;
mod canonical;
mod claim;
mod sign;

use std::fmt;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use hmac::{Hmac, KeyInit, Mac};
use http::HeaderMap;
use jiff::{SignedDuration, Timestamp};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::error::Fault;
use crate::request::Request;
use backoff::Backoff;
use claim::Claim;

pub use backoff::{FREE_FAILURES, LONGEST_PAUSE, MAX_REMEMBERED};
pub use claim::{MAX_EXPIRES, claimed_service};
pub(crate) use claim::{Scope, claimed_scope};
pub use sign::Signer;

/// How far a client's clock may be from ours.
pub const MAX_SKEW: SignedDuration = SignedDuration::from_mins(5);

const MISMATCH: &str = "The request signature we calculated does not match the signature you \
                        provided. Check your AWS Secret Access Key and signing method. Consult the \
                        service documentation for details.";

/// A secret access key.
#[derive(Clone)]
pub struct SecretKey(String);

impl SecretKey {
    /// From its text.
    #[must_use]
    pub fn new(secret: impl Into<String>) -> Self {
        Self(secret.into())
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(..)")
    }
}

/// Who knows the access keys.
pub trait Keys {
    /// The secret of an access key, if there is such a key and it may be used.
    fn secret(&self, access_key_id: &str) -> Option<SecretKey>;
}

/// What a good signature says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Whose key it is.
    pub access_key_id: String,
    /// The region that the request is for.
    pub region: String,
    /// The service that the request is for, such as `elasticache` or `monitoring`.
    pub service: String,
    /// When it was signed.
    pub at: Timestamp,
}

/// A signature. It has no comparison but the one in constant time, and is not shown.
struct Signature([u8; 32]);

impl Signature {
    fn is(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

/// Verifies the signature of a request, in a header or presigned in the query, at the time `now`.
///
/// # Errors
/// A [`Fault`] that says which part was not good.
pub fn verify(request: &Request<'_>, keys: &impl Keys, now: Timestamp) -> Result<Verified, Fault> {
    check_claim(request, &claim::read(request)?, keys, now)
}

/// [`verify`] with a pause after repeated failures: for its time every bad signature gets the refusal
/// before it, so that who guesses learns nothing new. All clients have the same few addresses here,
/// so a good signature is let through a pause and ends it: nobody can lock a key's owner out.
#[derive(Debug)]
pub struct Verifier<K> {
    keys: K,
    failures: Mutex<Backoff>,
}

impl<K: Keys> Verifier<K> {
    /// One that knows these keys.
    pub const fn new(keys: K) -> Self {
        Self { keys, failures: Mutex::new(Backoff::new()) }
    }

    /// Verifies a request that came from `source`.
    ///
    /// # Errors
    /// As [`verify`]; during a pause the refusal is the one before it.
    pub fn verify(
        &self,
        request: &Request<'_>,
        source: IpAddr,
        now: Timestamp,
    ) -> Result<Verified, Fault> {
        let claim = claim::read(request)?;
        // The table is whole after every step, so a panic elsewhere does not spoil it.
        let failures = || self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let verified = check_claim(request, &claim, &self.keys, now);
        let fault = match verified {
            Ok(verified) => {
                failures().succeeded(source, &claim.access_key_id);
                return Ok(verified);
            }
            Err(fault) => fault,
        };
        if let Some(before) = failures().pause(source, &claim.access_key_id, now) {
            return Err(before);
        }
        if matches!(fault, Fault::UnknownKey | Fault::BadSignature(_)) {
            failures().failed(source, &claim.access_key_id, &fault, now);
        }
        Err(fault)
    }
}

fn check_claim(
    request: &Request<'_>,
    claim: &Claim,
    keys: &impl Keys,
    now: Timestamp,
) -> Result<Verified, Fault> {
    check_time(claim, now)?;
    let mismatch = || Fault::BadSignature(MISMATCH.to_owned());
    let secret = keys.secret(&claim.access_key_id).ok_or(Fault::UnknownKey)?;
    let hash = hex::encode(Sha256::digest(request.body));
    if request.headers.contains_key(canonical::CONTENT_HASH)
        && request.header(canonical::CONTENT_HASH) != Some(&hash)
    {
        // This refuses UNSIGNED-PAYLOAD and the STREAMING forms as well.
        return Err(mismatch());
    }
    let canonical = canonical::request(request, claim, &hash)?;
    let expected = signature(&secret, claim, &canonical).ok_or_else(mismatch)?;
    let given = claim.signature.as_ref().ok_or_else(mismatch)?;
    if !given.is(&expected) {
        return Err(mismatch());
    }
    Ok(Verified {
        access_key_id: claim.access_key_id.clone(),
        region: claim.region.clone(),
        service: claim.service.clone(),
        at: claim.at,
    })
}

fn check_time(claim: &Claim, now: Timestamp) -> Result<(), Fault> {
    let (life, until) = match claim.expires {
        Some(expires) => (expires, "its expiry"),
        None => (MAX_SKEW, "5 min."),
    };
    let basic = |at: Timestamp| at.strftime("%Y%m%dT%H%M%SZ").to_string();
    let (signed, current) = (basic(claim.at), basic(now));
    let age = now.duration_since(claim.at);
    if age > life {
        let oldest = now.checked_sub(life).map_or_else(|_| current.clone(), basic);
        return Err(Fault::BadTime(format!(
            "Signature expired: {signed} is now earlier than {oldest} ({current} - {until})"
        )));
    }
    if -age > MAX_SKEW {
        let newest = now.checked_add(MAX_SKEW).map_or_else(|_| current.clone(), basic);
        return Err(Fault::BadTime(format!(
            "Signature not yet current: {signed} is still later than {newest} ({current} + 5 min.)"
        )));
    }
    Ok(())
}

/// The signature that the owner of `secret` makes of a canonical request.
fn signature(secret: &SecretKey, claim: &Claim, canonical: &str) -> Option<Signature> {
    let hmac = |key: &[u8], text: &str| -> Option<[u8; 32]> {
        let mut mac = Hmac::<Sha256>::new_from_slice(key).ok()?;
        mac.update(text.as_bytes());
        Some(mac.finalize().into_bytes().into())
    };
    let Claim { date, region, service, stamp, .. } = claim;
    let text = format!(
        "AWS4-HMAC-SHA256\n{stamp}\n{date}/{region}/{service}/aws4_request\n{}",
        hex::encode(Sha256::digest(canonical))
    );
    let mut key = hmac(format!("AWS4{}", secret.0).as_bytes(), date)?;
    for part in [region, service, "aws4_request"] {
        key = hmac(&key, part)?;
    }
    hmac(&key, &text).map(Signature)
}

/// The value of a header that must be unambiguous.
fn single<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, Fault> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let ambiguous = || Fault::IncompleteSignature(format!("the header {name} is not one text"));
    if values.next().is_some() {
        return Err(ambiguous());
    }
    value.to_str().map(Some).map_err(|_| ambiguous())
}

#[cfg(test)]
mod tests;
