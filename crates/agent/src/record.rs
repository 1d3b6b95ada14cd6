//! What an agent remembers of a node across its own restarts, and what an orderly stop left behind.
//!
//! Neither is trusted alone: what was applied counts only if the engine itself still confirms it
//! (`crate::node`), and the record of a stop only as long as nothing has been written since.
//!
//! Invariant: a record that is not understood is treated as lost, which costs a repeated order or
//! a more careful judgment, never a write.
//!
//! Not here: promises to controllers (`crate::guards`).

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::path::Path;

use serde::{Deserialize, Serialize};
use tanist_core::model::{
    Applied, EngineKind, Epoch, GroupName, Offset, Origin, ReplId, RunId, ShardId,
};

use crate::layout::{self, Durable};

/// What is known about a node without its engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// Its group.
    pub(crate) group: GroupName,
    /// Its shard.
    pub(crate) shard: ShardId,
    /// What it was last started as.
    pub(crate) start: Option<StartedAs>,
    /// Where the data of its process came from.
    pub(crate) origin: Option<Origin>,
    /// What was last made true.
    pub(crate) applied: Option<AppliedAs>,
}

/// How a node's engine was started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StartedAs {
    pub(crate) engine: EngineKind,
    pub(crate) address: SocketAddr,
    pub(crate) memory_bytes: u64,
}

/// What was made true, and by which the engine can be asked whether it still is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AppliedAs {
    pub(crate) applied: Applied,
    /// Users besides the agent's.
    pub(crate) users: BTreeSet<String>,
    /// By which attachment it follows whom.
    pub(crate) follows: Option<(String, SocketAddr)>,
}

/// What a node's data held at an orderly stop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stopped {
    /// The shard's epoch that the host knew.
    pub(crate) epoch: Epoch,
    /// The process that was stopped.
    pub(crate) run: RunId,
    /// Its history.
    pub(crate) replid: ReplId,
    /// Its position in it.
    pub(crate) offset: Offset,
}

impl Record {
    pub(crate) fn new(group: GroupName, shard: ShardId) -> Self {
        Self { group, shard, start: None, origin: None, applied: None }
    }

    pub(crate) fn load(path: &Path) -> Option<Self> {
        load(path)
    }

    /// # Errors
    /// If it cannot be written.
    pub(crate) fn save(&self, path: &Path) -> io::Result<()> {
        let bytes = serde_json::to_vec_pretty(self)?;
        layout::replace(path, &bytes, Durable::No)
    }
}

impl Stopped {
    pub(crate) fn load(path: &Path) -> Option<Self> {
        load(path)
    }

    /// # Errors
    /// If it cannot be written.
    pub(crate) fn save(&self, path: &Path) -> io::Result<()> {
        let bytes = serde_json::to_vec_pretty(self)?;
        layout::replace(path, &bytes, Durable::Yes)
    }
}

fn load<T: serde::de::DeserializeOwned>(path: &Path) -> Option<T> {
    let bytes = std::fs::read(path).ok()?;
    match serde_json::from_slice(&bytes) {
        Ok(record) => Some(record),
        Err(err) => {
            let path = path.display();
            tracing::warn!(%path, err = &err as &dyn std::error::Error, "a record is lost");
            None
        }
    }
}
