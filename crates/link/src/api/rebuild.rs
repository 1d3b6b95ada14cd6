//! The local API's documents about a store that was lost.
//!
//! Not here: as in `super`.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use tanist_core::model::{Epoch, GroupName, HostId, NodeId, Rev, ShardId};

/// `GET /v1/rebuild`: what hosts keep that the store does not have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RebuildProposal {
    /// Tells this proposal from any other: what is asked for by it is what was looked at.
    pub digest: String,
    /// The shards, by their names.
    pub shards: Vec<LostShard>,
    /// The hosts that have said what they keep.
    pub heard: BTreeSet<HostId>,
    /// Hosts that have not, although they are of the fleet or of one of the shards.
    pub silent: BTreeSet<HostId>,
    /// Groups of which hosts have something and nobody keeps what they can be rebuilt from.
    pub nothing_kept: BTreeSet<GroupName>,
    /// What could not be read, in words.
    pub trouble: Vec<String>,
}

/// A shard of which hosts know more than the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LostShard {
    /// Its group.
    pub group: GroupName,
    /// Its id.
    pub shard: ShardId,
    /// Who was primary last; nobody in a vacancy.
    pub primary: Option<NodeId>,
    /// In which epoch.
    pub epoch: Epoch,
    /// The revision of the newest decision that is kept.
    pub rev: Rev,
    /// The newest revision that anybody was told.
    pub newest: Rev,
    /// The host whose copy counts.
    pub kept_by: HostId,
    /// Its nodes.
    pub nodes: Vec<LostNode>,
    /// The store has the shard, as it was before.
    pub is_behind: bool,
    /// What keeps one from being sure that nothing newer was decided, in words.
    pub doubts: Vec<String>,
    /// Why it cannot be rebuilt, in words.
    pub obstacle: Option<String>,
}

/// A node of such a shard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LostNode {
    /// The node.
    pub node: NodeId,
    /// Its host.
    pub host: HostId,
    /// It was in sync, or the primary.
    pub had_everything: bool,
    /// Its host says that its process runs.
    pub runs: bool,
}

/// `POST /v1/rebuild`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rebuild {
    /// The proposal that was looked at.
    pub digest: String,
    /// Groups that are to be rebuilt although not everything is certain.
    #[serde(default)]
    pub in_doubt: BTreeSet<GroupName>,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rebuilt {
    /// Groups that go on by themselves.
    pub groups: BTreeSet<GroupName>,
    /// Groups that are there again, and of which a person has to name a node.
    pub to_name: BTreeSet<GroupName>,
    /// Groups that were left as they are.
    pub left: BTreeSet<GroupName>,
}
