//! The local API's documents about hosts.
//!
//! Not here: as in `super`.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};
use tanist_core::model::{HostId, NodeId, Zone};

/// A host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostStatus {
    /// Its id.
    pub host: HostId,
    /// Its zone.
    pub zone: Zone,
    /// Where its engines listen.
    pub address: Ipv4Addr,
    /// Its agent was heard within the host limit.
    pub up: bool,
    /// Its nodes are to leave it, and no new one is to come.
    #[serde(default)]
    pub draining: bool,
    /// Memory that its engines may use together, in bytes.
    #[serde(default)]
    pub memory_bytes: u64,
    /// As much of it as is promised to nodes, in bytes.
    #[serde(default)]
    pub promised_bytes: u64,
    /// The nodes that are placed on it, those that are about to leave among them.
    #[serde(default)]
    pub nodes: Vec<NodeId>,
}

/// Asks that a host's nodes leave it, or that it is used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainHost {
    /// Whether they are to leave.
    pub draining: bool,
}
