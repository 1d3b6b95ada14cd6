//! Access keys of the AWS surface, and where that surface is.
//!
//! Invariant: a secret is in an answer only to whom it is given: the socket's owner.
//!
//! Not here: what a key may do (`tanist-aws`).

use std::fmt;

use serde::{Deserialize, Serialize};

/// An access key with its secret.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessKey {
    /// `AKIA...`.
    pub access_key_id: String,
    /// The secret, forty characters.
    pub secret_access_key: String,
}

impl fmt::Debug for AccessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessKey")
            .field("access_key_id", &self.access_key_id)
            .finish_non_exhaustive()
    }
}

/// `GET /v1/aws`: what an AWS client needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AwsEndpoint {
    /// `http://ADDRESS:PORT`.
    pub endpoint: String,
    /// The same by other addresses.
    pub also: Vec<String>,
    /// The region to use.
    pub region: String,
    /// The account's number.
    pub account: String,
    /// The root key.
    pub root: AccessKey,
    /// Requests without a signature are taken for the root user's.
    pub unsigned: bool,
}

/// `POST /v1/keys`: make a key; the answer is an [`AccessKey`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CreateKey {
    /// Whose it is.
    pub name: String,
    /// A policy in IAM's language; everything is allowed without one.
    #[serde(default)]
    pub policy: Option<String>,
}

/// `GET /v1/keys`: a key without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyStatus {
    /// `AKIA...`.
    pub access_key_id: String,
    /// Whose it is; `root` for the root key.
    pub name: String,
    /// Its owner as an ARN.
    pub arn: String,
    /// When it was made, in milliseconds since 1970.
    pub created_ms: i64,
    /// Its policy; `None` allows everything.
    pub policy: Option<String>,
}
