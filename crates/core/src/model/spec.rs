//! What was asked: a replication group as its owner described it.
//!
//! Only the API, the CLI and Terraform write it. A manual failover is a change of the spec too, so
//! that it takes the very path of a crash.
//!
//! Invariant: nothing in here is a progress or a fact; the spec of a group that does not exist yet
//! looks like that of one that does.
//!
//! Not here: where nodes are placed and who is primary (`super::ShardTopology`).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use super::{
    Access, Accounts, GroupEndpoints, GroupName, HostId, Login, NodeId, Reads, Region, RequestId,
    Rev, ShardId, SlotRange, Transit, Zone,
};

/// Which engine's binary runs the nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EngineKind {
    /// `redis-server`, 7.0 or newer.
    Redis,
    /// `valkey-server`, 8.0 or newer.
    Valkey,
}

impl fmt::Display for EngineKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Redis => "redis",
            Self::Valkey => "valkey",
        })
    }
}

/// What an acknowledged write means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// Acknowledged when every member of the in-sync set has it.
    Sync,
    /// Acknowledged when the primary has it.
    Async,
}

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sync => "sync",
            Self::Async => "async",
        })
    }
}

/// How a primaryship is asked to move.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MoveKind {
    /// Planned: proxies hold and drain first, clients see nothing.
    Switchover,
    /// As after a crash: nobody is asked to drain.
    Failover,
}

/// An operator's request to move a shard's primaryship.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MoveRequest {
    /// Its number; done when the topology's `request_done` reaches it.
    pub id: RequestId,
    /// Planned or as after a crash.
    pub kind: MoveKind,
    /// The heir asked for; `None` lets Tanist choose.
    pub to: Option<NodeId>,
    /// The operator accepts the loss that was named to them.
    pub accept_loss: bool,
    /// The newest revision that hosts had been told when it was made, if the store knew less: what
    /// has been forgotten up to there is forgiven, nothing that is forgotten later.
    #[serde(default)]
    pub beyond: Option<Rev>,
}

/// A replication group as asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupSpec {
    /// Its name.
    pub name: GroupName,
    /// The region that its hosts are in.
    pub region: Region,
    /// Which engine runs it.
    pub engine: EngineKind,
    /// Its shards and the slots that each owns; one shard with all slots unless in cluster mode.
    pub shards: BTreeMap<ShardId, Vec<SlotRange>>,
    /// Replicas of each shard, beside the primary.
    pub replicas: u8,
    /// Zones to spread over; empty means every zone of the region.
    pub zones: Vec<Zone>,
    /// Whether a lost primary is replaced without a person.
    pub automatic_failover: bool,
    /// What an acknowledged write means.
    pub durability: Durability,
    /// In-sync replicas below which writes are refused: 0 or 1.
    pub min_in_sync: u8,
    /// The engines' `maxmemory`, in bytes.
    pub memory_bytes: u64,
    /// Where clients dial.
    pub endpoints: GroupEndpoints,
    /// On a fleet: the hosts whose proxies have them; empty for all.
    #[serde(default)]
    pub endpoint_hosts: BTreeSet<HostId>,
    /// Who may connect to them.
    #[serde(default)]
    pub access: Access,
    /// How clients say who they are.
    #[serde(default)]
    pub login: Login,
    /// Who they may be: what follows from `login` and the users that there are at the moment. It is
    /// never stored, so that a user that changes is changed everywhere at once.
    #[serde(skip)]
    pub accounts: Accounts,
    /// How bytes travel between clients and them.
    #[serde(default)]
    pub transit: Transit,
    /// What its reads promise.
    #[serde(default)]
    pub reads: Reads,
    /// Zones that the owner chose for single nodes.
    #[serde(default)]
    pub zone_of: BTreeMap<NodeId, Zone>,
    /// Replicas to remove before others when there are too many.
    #[serde(default)]
    pub unwanted: BTreeSet<NodeId>,
    /// What the surface through which it was asked for has to remember, by the surface's name. Says
    /// nothing about how the group works.
    #[serde(default)]
    pub attributes: BTreeMap<String, String>,
    /// Requests to move primaryships, by shard.
    pub requests: BTreeMap<ShardId, MoveRequest>,
    /// The owner wants it gone.
    pub deleting: bool,
}

impl GroupSpec {
    /// Nodes of each shard: the primary and its replicas.
    pub fn nodes_per_shard(&self) -> usize {
        usize::from(self.replicas) + 1
    }

    /// Whether the group's endpoints are to be at a fleet's host.
    pub fn is_served_at(&self, host: &HostId) -> bool {
        self.endpoint_hosts.is_empty() || self.endpoint_hosts.contains(host)
    }

    /// The name of the `ordinal`-th node (from 1) of a shard, in AWS's form.
    pub fn node_id(&self, shard: &ShardId, ordinal: usize) -> NodeId {
        if self.shards.len() == 1 {
            NodeId::new(format!("{}-{ordinal:03}", self.name))
        } else {
            NodeId::new(format!("{}-{shard}-{ordinal:03}", self.name))
        }
    }
}
