//! The local API's documents about hosts.
//!
//! Not here: as in `super`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};

use serde::{Deserialize, Serialize};
use tanist_core::model::{HostId, Imbalance, Labels, NodeId, Zone};

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
    /// Its labels.
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub labels: Labels,
    /// Why each of them is placed there, in a few words.
    #[serde(default)]
    pub placed: BTreeMap<NodeId, String>,
    /// By how much its wall clock is ahead of that of the server that leads, in milliseconds; nothing
    /// if it has not said it within the last seconds.
    #[serde(default)]
    pub clock_ms: Option<i64>,
}

/// Where a node is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The node.
    pub node: NodeId,
    /// The host that it is placed on.
    pub host: HostId,
    /// That host's zone.
    pub zone: Zone,
}

/// A node takes another one's place, because the shard is better spread then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelocationStatus {
    /// Who leaves, and where it is.
    pub from: Place,
    /// Who comes, and where it is.
    pub to: Place,
    /// What gets better.
    pub why: Imbalance,
}

/// Asks that a host's nodes leave it, or that it is used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainHost {
    /// Whether they are to leave.
    pub draining: bool,
}

/// `POST /v1/hosts/{host}/label`: changes a host's labels.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabelHost {
    /// Those to set.
    #[serde(default)]
    pub set: BTreeMap<String, String>,
    /// Those to remove.
    #[serde(default)]
    pub remove: BTreeSet<String>,
}

/// A server, for who is to join.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerAddress {
    /// The host that it is on.
    pub host: HostId,
    /// Where it can be reached.
    pub address: SocketAddr,
}

/// `POST /v1/hosts/{host}/invite`: what a host has to know to join.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invitation {
    /// The host.
    pub host: HostId,
    /// Proves that it was invited; 64 hexadecimal digits.
    pub secret: String,
    /// Until when, in milliseconds since 1970.
    pub until_ms: u64,
    /// The fingerprint of the fleet's authority, by which it knows who answers.
    pub authority: String,
    /// Whom it may ask.
    pub servers: Vec<ServerAddress>,
}

impl fmt::Debug for Invitation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Invitation").field("host", &self.host).finish_non_exhaustive()
    }
}

/// `POST /link/v1/join`: a host comes with what it was given.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinFleet {
    /// The host.
    pub host: HostId,
    /// The invitation's.
    pub secret: String,
    /// The public half of its key, in hexadecimal digits.
    pub key: String,
}

impl fmt::Debug for JoinFleet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinFleet").field("host", &self.host).finish_non_exhaustive()
    }
}

/// An authority: its certificate and its key, PEM.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthorityPair {
    /// The certificate.
    pub certificate: String,
    /// The key.
    pub key: String,
}

/// What a host that has joined is given.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// The host's certificate with those behind it, PEM.
    pub chain: String,
    /// The certificate of the fleet's authority, PEM.
    pub authority: String,
    /// The installation's name in its endpoints' names.
    pub installation: String,
    /// The installation's secret, 64 hexadecimal digits.
    pub secret: String,
    /// The fleet's configuration file.
    pub config: String,
    /// For a server: the authorities of the fleet and of its endpoints.
    #[serde(default)]
    pub authorities: Option<(AuthorityPair, AuthorityPair)>,
    /// For a server: the authority of those who keep the fleet's store.
    #[serde(default)]
    pub keepers: Option<AuthorityPair>,
}

impl fmt::Debug for Welcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Welcome").field("chain", &self.chain).finish_non_exhaustive()
    }
}

/// `POST /link/v1/certificate`: a host wants another certificate for its key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RenewMember {
    /// The host.
    pub host: HostId,
    /// The public half of its key, in hexadecimal digits.
    pub key: String,
}

/// A host's certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberCertificate {
    /// With those behind it, PEM.
    pub chain: String,
}

/// A server of a fleet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerStatus {
    /// The host that it is on.
    pub host: HostId,
    /// Where it can be reached.
    pub address: SocketAddr,
    /// It leads: it has given this answer.
    pub leads: bool,
    /// It was heard within the last seconds.
    pub up: bool,
    /// Its release, if it was ever heard.
    #[serde(default)]
    pub version: Option<String>,
    /// By how much its wall clock is ahead of that of the one that leads, in milliseconds; nothing if
    /// it has not said it within the last seconds.
    #[serde(default)]
    pub clock_ms: Option<i64>,
}

/// `POST /link/v1/server`: a server that does not lead says that it is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerHere {
    /// Its host.
    pub host: HostId,
    /// Its release.
    pub version: String,
    /// What its wall clock shows, in milliseconds since 1970.
    #[serde(default)]
    pub wall_ms: Option<u64>,
}

/// `POST /v1/hosts/{host}/remove`: a host goes for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoveHost {
    /// Nothing runs there and never will again, whatever is placed there.
    pub dead: bool,
}
