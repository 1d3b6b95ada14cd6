//! Routes: what a proxy needs to know about a shard.
//!
//! Derived from the topology and published; a proxy never infers a primary itself.
//!
//! Invariant: a route with a higher revision replaces a lower one and nothing else does; a hold is
//! the one thing that may come and go within a revision, since nothing is committed by it.
//!
//! Not here: what a proxy does with it (`crate::gate`).

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};

use serde::{Deserialize, Serialize};

use super::{
    Access, Accounts, Durability, Epoch, GroupEndpoints, GroupName, HostId, NodeId, Reads,
    RequestId, Rev, ShardId, Transit, Zone,
};

/// Where a shard's requests may go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RouteState {
    /// Nobody is primary: hold.
    Vacant,
    /// This node is.
    Serving {
        /// The primary.
        primary: NodeId,
        /// Wire forms of the attachments that must have a write before it is acknowledged.
        required: BTreeSet<String>,
        /// Whether writes are allowed (`min_in_sync`).
        writable: bool,
        /// Hold and drain for this request; the primary is still the same.
        hold: Option<RequestId>,
    },
}

/// A node as a proxy dials it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRoute {
    /// The node.
    pub node: NodeId,
    /// Its zone.
    pub zone: Zone,
    /// Its engine's address.
    pub address: SocketAddr,
    /// Its node endpoint's address.
    pub endpoint: Ipv4Addr,
    /// The wire form of its attachment, by which the primary's answers name it.
    pub tag: Option<String>,
    /// The epoch whose lane user it has; `None` while it has none.
    pub lane: Option<Epoch>,
    /// Which lane users it has (`accounts::mark`), if that is known.
    #[serde(default)]
    pub users: Option<u64>,
    /// It is a replica that is linked and current enough to be read from.
    pub readable: bool,
}

/// A shard as a proxy sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// The group.
    pub group: GroupName,
    /// The shard.
    pub shard: ShardId,
    /// The topology's revision.
    pub rev: Rev,
    /// The shard's epoch.
    pub epoch: Epoch,
    /// What an acknowledged write means.
    pub durability: Durability,
    /// Where clients dial.
    pub endpoints: GroupEndpoints,
    /// On a fleet: the hosts whose proxies have the endpoints; empty for all.
    #[serde(default)]
    pub endpoint_hosts: BTreeSet<HostId>,
    /// Who may connect there.
    #[serde(default)]
    pub access: Access,
    /// Who clients may be.
    #[serde(default)]
    pub accounts: Accounts,
    /// How bytes travel there.
    #[serde(default)]
    pub transit: Transit,
    /// What reads promise.
    #[serde(default)]
    pub reads: Reads,
    /// Where requests may go.
    pub state: RouteState,
    /// Every node.
    pub nodes: Vec<NodeRoute>,
}
