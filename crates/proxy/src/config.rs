//! What the binary tells the proxy at its start.
//!
//! Everything else comes from the controller, so that a proxy needs no configuration file.
//!
//! Invariant: every bound on memory that a client can cause is a field here.
//!
//! Not here: routes (`crate::shard`).

use std::net::Ipv4Addr;

use tanist_core::model::{ProxyId, Zone};
use tanist_link::{Client, Secret};

/// What a proxy is started with.
#[derive(Debug, Clone)]
pub struct ProxyConfig {
    /// Who it is; stable across restarts.
    pub id: ProxyId,
    /// The controller, or the servers of which one leads.
    pub controller: Client,
    /// Its host's address, at which it offers endpoints that have none of their own.
    pub address: Ipv4Addr,
    /// Addresses at which it offers them too, whether or not its host has them at the moment: something
    /// else moves them between hosts.
    pub floating: Vec<Ipv4Addr>,
    /// The installation's secret, from which lane passwords are derived.
    pub secret: Secret,
    /// The zone that it is in: replicas of its own zone are read from first. `None` if it does not know.
    pub zone: Option<Zone>,
    /// What clients may use at most.
    pub limits: ProxyLimits,
    /// Clients may administer the engine: for engines' own test suites, which begin with `CONFIG` and
    /// `DEBUG`. Endpoints are then offered on loopback only. No program that is installed sets it, so
    /// no configuration, however wrong, opens a group (`examples/pass_through.rs` does set it).
    pub pass_through: bool,
}

/// What clients may use at most.
#[derive(Debug, Clone)]
pub struct ProxyLimits {
    /// Clients at the same time; one more is told so and closed.
    pub max_clients: usize,
    /// Bytes of parsed requests that one client may have waiting.
    pub pending_bytes: usize,
    /// Bytes of a transaction's queued commands that are kept for the next primary.
    pub transaction_bytes: usize,
    /// Bytes of replies that may wait for one client or for one proof.
    pub output_bytes: usize,
    /// Connections that clients share to each engine, in each database and version; none gives every
    /// client a connection of its own.
    pub lanes: usize,
}

impl Default for ProxyLimits {
    fn default() -> Self {
        Self {
            max_clients: 10_000,
            pending_bytes: 1 << 20,
            transaction_bytes: 64 << 10,
            output_bytes: 1 << 20,
            lanes: 2,
        }
    }
}
