//! What a host's supervisor asks of whoever leads, and what its agent asks of it: permission to accept
//! writes (`async` groups).
//!
//! Invariant: an answer says nothing about time; a lease counts from when it was asked for, which only
//! its holder knows.
//!
//! Not here: how long one lasts (`tanist_core::guard`).

use std::collections::BTreeSet;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use tanist_core::model::{Epoch, GroupName, HostId, NodeId, RunId, ShardId, StandIn, Tag};

/// Where a controller grants leases.
pub const LEASE_ROUTE: &str = "/link/v1/lease";
/// Where a supervisor is told of a primary that needs a lease; answered once it has one.
pub const LEAD_ROUTE: &str = "/link/v1/lead";
/// Where a supervisor is told that a node is no such primary any more.
pub const LEAVE_ROUTE: &str = "/link/v1/leave";

/// From a supervisor to the controller that leads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AskLeases {
    /// Its host.
    pub host: HostId,
    /// The primaries there.
    pub primaries: Vec<AskedFor>,
}

/// A primary for which a lease is asked.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct AskedFor {
    /// The node.
    pub node: NodeId,
    /// The epoch whose primary it is.
    pub epoch: Epoch,
}

/// The answer: those that have one, counted from when it was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Leased {
    /// Those of the question that are primaries, in a reign that is certain.
    pub primaries: Vec<AskedFor>,
}

/// From an agent to its host's supervisor: this node needs a lease from now on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lead {
    /// The host that the agent is the hands of.
    pub host: HostId,
    /// The node.
    pub node: NodeId,
    /// Its group.
    pub group: GroupName,
    /// Its shard.
    pub shard: ShardId,
    /// The epoch whose primary it is.
    pub epoch: Epoch,
    /// Its process, by the engine's own name.
    pub run: RunId,
    /// Where its engine listens.
    pub address: SocketAddr,
    /// Where it is pointed at the end of its lease: nobody listens there.
    pub fence: SocketAddr,
    /// Who may confirm its lease, all of them together, when no controller does.
    pub stand_ins: BTreeSet<StandIn>,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leading {
    /// It has a lease.
    pub leased: bool,
}

/// From an agent to its host's supervisor: the node is not to take writes any more, or is gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leave {
    /// The host that the agent is the hands of.
    pub host: HostId,
    /// The node.
    pub node: NodeId,
    /// It is no primary of an epoch before this one.
    pub epoch: Epoch,
}

/// What the names of users begin with by which primaries' supervisors ask for a replica's word.
pub const STAND_IN_USERS: &str = "stand-in:";

/// The user by which an attachment's primary asks for its word at the replica's engine. It is there
/// only while the word is given.
pub fn stand_in_user(tag: &Tag) -> String {
    format!("{STAND_IN_USERS}{tag}")
}

/// The label of that user's password.
pub fn stand_in_label(group: &GroupName, shard: &ShardId, user: &str) -> String {
    format!("stand-in/{group}/{shard}/{user}")
}
