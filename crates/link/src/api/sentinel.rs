//! Where Sentinel-aware clients ask.
//!
//! Invariant: an address that is named is listened on.
//!
//! Not here: what they are answered (`tanist-discovery`).

use serde::{Deserialize, Serialize};

/// `GET /v1/sentinel`: what a Sentinel-aware client needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SentinelEndpoint {
    /// `ADDRESS:PORT`.
    pub endpoint: String,
    /// The same by other addresses.
    pub also: Vec<String>,
}
