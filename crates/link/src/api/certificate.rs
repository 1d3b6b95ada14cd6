//! What a group's endpoints show of themselves.
//!
//! Invariant: nothing in here is a secret.
//!
//! Not here: the key, which goes to the proxies alone (`crate::wire`).

use serde::{Deserialize, Serialize};

/// A group's certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateStatus {
    /// Its SHA-256, 64 hexadecimal digits.
    pub fingerprint: String,
    /// The names and addresses that it is for; empty for the owner's, which is not looked into.
    pub names: Vec<String>,
    /// When it ends, in milliseconds since 1970; `None` for the owner's.
    pub ends_ms: Option<u64>,
    /// The owner gave it; otherwise the installation's authority made it.
    pub owners: bool,
}
