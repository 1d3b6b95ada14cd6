//! What was asked about a host.
//!
//! Invariant: a host of which nothing was asked is used.
//!
//! Not here: what is seen of it (`super::observation`).

use serde::{Deserialize, Serialize};

use super::HostId;

/// What was asked about one host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostSpec {
    /// The host.
    pub host: HostId,
    /// Its nodes are to leave it, and no new one is to come.
    #[serde(default)]
    pub draining: bool,
}
