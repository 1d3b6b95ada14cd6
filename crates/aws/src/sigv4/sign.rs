//! Signing a request as AWS clients do.
//!
//! Invariant: what is signed here is accepted by [`super::verify`], and is what botocore would have
//! signed (`tests/signatures.rs`).
//!
//! Not here: presigned requests; nobody here makes one.

use http::header::{AUTHORIZATION, HeaderName, HeaderValue};
use http::{HeaderMap, header};
use jiff::Timestamp;
use sha2::{Digest, Sha256};

use super::claim::Claim;
use super::{SecretKey, canonical, signature};
use crate::error::Fault;
use crate::request::Request;

/// The header with the time of signing.
const DATE: HeaderName = HeaderName::from_static("x-amz-date");

/// Whose signature, and for what.
#[derive(Clone, Copy, Debug)]
pub struct Signer<'a> {
    /// The key's id.
    pub access_key_id: &'a str,
    /// The key's secret.
    pub secret: &'a SecretKey,
    /// The region that the request is for.
    pub region: &'a str,
    /// The service that the request is for, such as `elasticache`.
    pub service: &'a str,
}

impl Signer<'_> {
    /// Adds the signature to the headers of a request; `host` has to be among them.
    ///
    /// # Errors
    /// [`Fault::Malformed`] if the request cannot be signed: a header that is not text.
    pub fn sign(
        &self,
        method: &str,
        path: &str,
        headers: &mut HeaderMap,
        body: &[u8],
        now: Timestamp,
    ) -> Result<(), Fault> {
        let malformed = |what: &str| Fault::Malformed(what.to_owned());
        let stamp = now.strftime("%Y%m%dT%H%M%SZ").to_string();
        let date = HeaderValue::from_str(&stamp).map_err(|_| malformed("the date"))?;
        headers.insert(DATE, date);
        let mut signed: Vec<String> = headers
            .keys()
            .filter(|name| *name == header::HOST || name.as_str().starts_with("x-amz-"))
            .map(ToString::to_string)
            .collect();
        signed.sort_unstable();
        let claim = Claim {
            access_key_id: self.access_key_id.to_owned(),
            date: stamp.chars().take(8).collect(),
            region: self.region.to_owned(),
            service: self.service.to_owned(),
            stamp,
            at: now,
            signed_headers: signed,
            signature: None,
            expires: None,
        };
        let request = Request { method, path, query: "", headers: &*headers, body };
        let hash = hex::encode(Sha256::digest(body));
        let text = canonical::request(&request, &claim, &hash)?;
        let signature =
            signature(self.secret, &claim, &text).ok_or_else(|| malformed("the secret"))?;
        let Claim { access_key_id, date, region, service, signed_headers, .. } = &claim;
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential={access_key_id}/{date}/{region}/{service}/aws4_request, \
             SignedHeaders={}, Signature={}",
            signed_headers.join(";"),
            hex::encode(signature.0)
        );
        let authorization =
            HeaderValue::from_str(&authorization).map_err(|_| malformed("the key's id"))?;
        headers.insert(AUTHORIZATION, authorization);
        Ok(())
    }
}
