//! What hosts keep of the shards that have nodes there, for the case that the store is lost.
//!
//! It is what the store has, as it has it: a later release reads it as it reads a store. What it holds
//! of passwords is what the store holds of them, their hashes.
//!
//! Invariant: no message is longer than half of what a conversation's line may be ([`Keep::MOST`]).
//!
//! Not here: when something is kept or asked for (`tanist-controller`), where (`tanist-agent`).

use serde::{Deserialize, Serialize};
use tanist_core::model::stored::Stored;
use tanist_core::model::{Epoch, GroupSpec, HostId, Rev, ShardKey, ShardTopology, User, UserGroup};

/// Everything from which a shard can be rebuilt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keep {
    /// The store's revision of the newest document in it: orders what one store has said.
    pub at: u64,
    /// What was asked.
    pub spec: Stored<GroupSpec>,
    /// What was decided.
    pub shard: Stored<ShardTopology>,
    /// The users of the group's user groups.
    #[serde(default)]
    pub users: Vec<Stored<User>>,
    /// The group's user groups.
    #[serde(default)]
    pub user_groups: Vec<Stored<UserGroup>>,
}

impl Keep {
    /// The most bytes that one may have as JSON.
    pub const MOST: usize = 2 << 20;

    /// The shard.
    pub fn key(&self) -> ShardKey {
        self.shard.body().key()
    }

    /// Its revision.
    pub fn rev(&self) -> Rev {
        self.shard.body().rev
    }

    /// Which of two of one shard is newer is told by this.
    pub fn age(&self) -> (Rev, u64) {
        (self.rev(), self.at)
    }
}

/// What a host has of one shard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptShard {
    /// The shard.
    pub key: ShardKey,
    /// The newest revision by which the host has acted.
    pub promised: Rev,
    /// The epoch that came with it.
    pub epoch: Epoch,
    /// What the host keeps.
    #[serde(default)]
    pub kept: Option<Box<Keep>>,
    /// Why what it keeps cannot be read, in words.
    #[serde(default)]
    pub trouble: Option<String>,
}

/// A part of an agent's answer to what it keeps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recalled {
    /// The host.
    pub host: HostId,
    /// The number with which it was asked.
    pub number: u64,
    /// One shard; nothing at the end.
    #[serde(default)]
    pub shard: Option<Box<KeptShard>>,
}
