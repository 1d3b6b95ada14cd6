//! What was asked about a host, and what it said of itself.
//!
//! Invariant: a host of which nothing was asked is used.
//!
//! Not here: what is seen of it (`super::observation`).

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use super::{HostId, Labels, PasswordHash, Zone};

/// What is known of one host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostSpec {
    /// The host.
    pub host: HostId,
    /// Its nodes are to leave it, and no new one is to come.
    #[serde(default)]
    pub draining: bool,
    /// What it said of itself when it joined; `None` for one that was declared at the start.
    #[serde(default)]
    pub facts: Option<HostFacts>,
    /// It may join, once.
    #[serde(default)]
    pub invited: Option<Invited>,
    /// What its owner calls it by.
    #[serde(default)]
    pub labels: Labels,
    /// It was removed: nobody hears it, whatever it can show, until it is invited again.
    #[serde(default)]
    pub removed: bool,
}

/// What a host has to know to join.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invited {
    /// The SHA-256 of the secret in its token.
    pub hash: PasswordHash,
    /// Until when, in milliseconds since 1970.
    pub until_ms: u64,
}

impl HostSpec {
    /// A host of which nothing is known or asked.
    pub fn new(host: HostId) -> Self {
        Self {
            host,
            draining: false,
            facts: None,
            invited: None,
            labels: Labels::default(),
            removed: false,
        }
    }
}

/// What a host says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostFacts {
    /// Its zone.
    pub zone: Zone,
    /// Where its engines listen.
    pub address: Ipv4Addr,
    /// Memory that its engines may use together, in bytes.
    pub memory_bytes: u64,
}
