//! Orders: what a decided topology asks of the hands on a host.
//!
//! An order names a state to be reached, never a step, so that it can be lost, repeated and
//! reordered: the guard refuses what an older topology asked, and doing it twice changes nothing.
//!
//! Invariant: every order carries the term, epoch and revision that it follows from.
//!
//! Not here: when which order is due (`crate::decide::converge`); how it is carried out
//! (`tanist-agent`).

use std::collections::BTreeSet;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::{
    EngineKind, Epoch, GroupName, LaneUsers, NodeId, Offset, ProxyId, ReplId, Rev, RunId, ShardId,
    Tag, Term,
};

/// What becomes of the data on a node's disk when its process starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DataOnStart {
    /// Load it: it may be the best copy there is.
    Load,
    /// Set it aside and start empty: another history was chosen.
    SetAside,
}

/// Who may confirm a primary's lease when no controller does.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StandIn {
    /// The attachment: another one of the same node is not asked.
    pub tag: Tag,
    /// Where its engine listens.
    pub address: SocketAddr,
}

/// An imperative to a hand.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Start the node's process, following the fence, with every user but the agent's switched off.
    Start {
        /// Which engine.
        engine: EngineKind,
        /// Where it listens.
        address: SocketAddr,
        /// Its `maxmemory`, in bytes.
        memory_bytes: u64,
        /// What becomes of the data on its disk.
        data: DataOnStart,
    },
    /// Follow the fence and answer with what the run holds.
    Fence {
        /// The run was the primary: kill it when it does not confirm.
        was_primary: bool,
        /// First wait (briefly) until the run has the old primary's data up to here.
        drain_to: Option<Offset>,
    },
    /// Become the primary of the epoch; only this run may.
    Promote {
        /// The run that was chosen.
        run: RunId,
        /// Attachments to let in.
        replicas: BTreeSet<Tag>,
        /// Proxies to let in.
        lanes: BTreeSet<ProxyId>,
        /// Whoever takes writes needs a lease (`async`): these may stand in for the controllers when
        /// all of them are gone, all of them together.
        #[serde(default)]
        stand_ins: Option<BTreeSet<StandIn>>,
    },
    /// Remain the primary, and let in these attachments and proxies, no others.
    Admit {
        /// The primary's run.
        run: RunId,
        /// Attachments to let in.
        replicas: BTreeSet<Tag>,
        /// Proxies to let in.
        lanes: BTreeSet<ProxyId>,
        /// As of [`Action::Promote`].
        #[serde(default)]
        stand_ins: Option<BTreeSet<StandIn>>,
    },
    /// Follow the primary by this attachment.
    Follow {
        /// The attachment; its run must be the one that runs.
        tag: Tag,
        /// The primary's address.
        primary: SocketAddr,
        /// Where the epoch's history left that of the one before: what the run has past this is
        /// saved aside first.
        base: Option<(ReplId, Offset)>,
        /// Proxies to let in for reads.
        lanes: BTreeSet<ProxyId>,
    },
    /// Have these settings, in whatever role.
    Configure {
        /// Its `maxmemory`, in bytes.
        memory_bytes: u64,
    },
    /// Stop the node's process and delete its data.
    Remove,
}

impl Action {
    /// The action's name, as in logs, metrics and documents.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Start { .. } => "Start",
            Self::Fence { was_primary: true, .. } => "Fence",
            Self::Fence { was_primary: false, .. } => "Freeze",
            Self::Promote { .. } => "Promote",
            Self::Admit { .. } => "Admit",
            Self::Follow { .. } => "Follow",
            Self::Configure { .. } => "Configure",
            Self::Remove => "Remove",
        }
    }
}

/// An action for a node, with the decision that it follows from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Order {
    /// The leadership that sent it.
    pub term: Term,
    /// The shard's epoch.
    pub epoch: Epoch,
    /// The topology's revision: what guards compare.
    pub rev: Rev,
    /// The group.
    pub group: GroupName,
    /// The shard.
    pub shard: ShardId,
    /// The node.
    pub node: NodeId,
    /// What to do.
    pub action: Action,
    /// Users that have lanes of their own, for actions that let proxies in.
    #[serde(default)]
    pub users: LaneUsers,
}
