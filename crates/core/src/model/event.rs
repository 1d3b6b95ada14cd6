//! Events: what happened, in the past tense.
//!
//! The head says what follows from a decision; the controller adds the wall-clock time and stores
//! them with the commit that they belong to.
//!
//! Invariant: an event's name is the same word in logs, metrics and documents.
//!
//! Not here: what is wrong now (`super::Problem`).

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Epoch, GroupName, HostId, Imbalance, NodeId, Offset, ShardId};

/// Why a shard has no primary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// The group is new.
    Created,
    /// The primary's process is gone.
    PrimaryDown,
    /// The primary's process hangs.
    PrimarySilent,
    /// The primary's host is gone.
    HostLost,
    /// An operator asked for a failover.
    Failover,
    /// An operator asked for a switchover.
    Switchover,
    /// A person has named the node from which the shard goes on, because its store was put back
    /// from an older copy.
    StoreBehind,
    /// The store was lost, and the shard goes on from what its hosts have kept.
    Rebuilt,
    /// The group is being deleted.
    Deleted,
}

impl Cause {
    /// Whether the old primary is asked first and the heir waits for its last byte.
    pub fn is_planned(self) -> bool {
        matches!(self, Self::Failover | Self::Switchover)
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Created => "group created",
            Self::PrimaryDown => "primary down",
            Self::PrimarySilent => "primary silent",
            Self::HostLost => "host lost",
            Self::Failover => "failover requested",
            Self::Switchover => "switchover requested",
            Self::StoreBehind => "store put back from an older copy",
            Self::Rebuilt => "rebuilt from what hosts keep",
            Self::Deleted => "group deleted",
        })
    }
}

/// How much an event matters to a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Good to know.
    Info,
    /// Look at it some time.
    Warning,
    /// Look at it now.
    Error,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind")]
pub enum EventKind {
    /// The shard was founded.
    GroupCreated,
    /// The first of a failover's two commits: nobody is primary.
    PrimaryVacated {
        /// The primary before.
        prev: Option<NodeId>,
        /// Why.
        cause: Cause,
    },
    /// The second: the heir is.
    PrimaryChosen {
        /// The heir.
        node: NodeId,
        /// Its position in the old history.
        offset: Offset,
        /// Members that hold the same data.
        in_sync: Vec<NodeId>,
    },
    /// The heir was chosen by what its disk held.
    RecoveredFromDisk {
        /// The heir.
        node: NodeId,
        /// What may be missing, in words.
        possible_loss: String,
    },
    /// The operator accepted a loss.
    LossAccepted {
        /// The heir.
        node: NodeId,
    },
    /// A replica was given an attachment.
    ReplicaAttached {
        /// The replica.
        node: NodeId,
    },
    /// A replica joined the in-sync set.
    ReplicaInSync {
        /// The replica.
        node: NodeId,
    },
    /// A replica left the in-sync set.
    ReplicaOutOfSync {
        /// The replica.
        node: NodeId,
        /// Why, in words.
        reason: String,
    },
    /// Writes are acknowledged by the primary alone.
    InSyncSetEmpty,
    /// A node was placed on a host.
    NodePlaced {
        /// The node.
        node: NodeId,
        /// The host's zone.
        zone: String,
    },
    /// A node began to take another one's place.
    RelocationBegun {
        /// Who is to leave.
        node: NodeId,
        /// Who is to take its place.
        newcomer: NodeId,
        /// Where it leaves.
        from: HostId,
        /// Where the newcomer is placed.
        to: HostId,
        /// What gets better.
        why: Imbalance,
    },
    /// A node took another one's place, and that one was let go.
    RelocationDone {
        /// Who leaves.
        node: NodeId,
        /// Who took its place.
        newcomer: NodeId,
    },
    /// A node that was to take another one's place was let go.
    RelocationGivenUp {
        /// Who stays.
        node: NodeId,
        /// Who leaves instead.
        newcomer: NodeId,
        /// Why, in words.
        reason: String,
    },
    /// The lanes of a silent proxy were cut.
    ProxyCut {
        /// The proxy.
        proxy: String,
    },
    /// A proxy was let in.
    ProxyAdmitted {
        /// The proxy.
        proxy: String,
    },
    /// The group is being deleted.
    GroupDeleted,
}

/// Something that happened to a shard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// The group.
    pub group: GroupName,
    /// The shard.
    pub shard: ShardId,
    /// The epoch in which it happened.
    pub epoch: Epoch,
    /// What happened.
    #[serde(flatten)]
    pub kind: EventKind,
}

impl EventKind {
    /// The event's name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::GroupCreated => "GroupCreated",
            Self::PrimaryVacated { .. } => "PrimaryVacated",
            Self::PrimaryChosen { .. } => "PrimaryChosen",
            Self::RecoveredFromDisk { .. } => "RecoveredFromDisk",
            Self::LossAccepted { .. } => "LossAccepted",
            Self::ReplicaAttached { .. } => "ReplicaAttached",
            Self::ReplicaInSync { .. } => "ReplicaInSync",
            Self::ReplicaOutOfSync { .. } => "ReplicaOutOfSync",
            Self::InSyncSetEmpty => "InSyncSetEmpty",
            Self::NodePlaced { .. } => "NodePlaced",
            Self::RelocationBegun { .. } => "RelocationBegun",
            Self::RelocationDone { .. } => "RelocationDone",
            Self::RelocationGivenUp { .. } => "RelocationGivenUp",
            Self::ProxyCut { .. } => "ProxyCut",
            Self::ProxyAdmitted { .. } => "ProxyAdmitted",
            Self::GroupDeleted => "GroupDeleted",
        }
    }

    /// The node that it concerns, if it is about one.
    pub fn node(&self) -> Option<&NodeId> {
        match self {
            Self::PrimaryVacated { prev, .. } => prev.as_ref(),
            Self::PrimaryChosen { node, .. }
            | Self::RecoveredFromDisk { node, .. }
            | Self::LossAccepted { node }
            | Self::ReplicaAttached { node }
            | Self::ReplicaInSync { node }
            | Self::ReplicaOutOfSync { node, .. }
            | Self::NodePlaced { node, .. }
            | Self::RelocationBegun { node, .. }
            | Self::RelocationDone { node, .. }
            | Self::RelocationGivenUp { node, .. } => Some(node),
            Self::GroupCreated
            | Self::InSyncSetEmpty
            | Self::ProxyCut { .. }
            | Self::ProxyAdmitted { .. }
            | Self::GroupDeleted => None,
        }
    }

    /// How much it matters.
    pub fn severity(&self) -> Severity {
        match self {
            Self::LossAccepted { .. } => Severity::Error,
            Self::PrimaryVacated { cause, .. }
                if !cause.is_planned() && *cause != Cause::Created =>
            {
                Severity::Warning
            }
            Self::RecoveredFromDisk { .. }
            | Self::ReplicaOutOfSync { .. }
            | Self::InSyncSetEmpty
            | Self::RelocationGivenUp { .. }
            | Self::ProxyCut { .. } => Severity::Warning,
            Self::GroupCreated
            | Self::PrimaryVacated { .. }
            | Self::PrimaryChosen { .. }
            | Self::ReplicaAttached { .. }
            | Self::ReplicaInSync { .. }
            | Self::NodePlaced { .. }
            | Self::RelocationBegun { .. }
            | Self::RelocationDone { .. }
            | Self::ProxyAdmitted { .. }
            | Self::GroupDeleted => Severity::Info,
        }
    }

    /// The event as a sentence.
    pub fn sentence(&self) -> String {
        match self {
            Self::GroupCreated => "group created".to_owned(),
            Self::PrimaryVacated { prev: Some(prev), cause } => {
                format!("{prev} is no longer primary: {cause}")
            }
            Self::PrimaryVacated { prev: None, cause } => format!("no primary: {cause}"),
            Self::PrimaryChosen { node, offset, in_sync } => {
                let with = in_sync.iter().map(NodeId::as_str).collect::<Vec<_>>().join(", ");
                let with = if with.is_empty() { "nobody".to_owned() } else { with };
                format!("{node} chosen as primary at offset {offset}; in sync with it: {with}")
            }
            Self::RecoveredFromDisk { node, possible_loss } => {
                format!("{node} became primary with the data on its disk; {possible_loss}")
            }
            Self::LossAccepted { node } => {
                format!("{node} became primary although it may lack acknowledged writes: accepted")
            }
            Self::ReplicaAttached { node } => format!("{node} told to follow the primary"),
            Self::ReplicaInSync { node } => format!("{node} is in sync"),
            Self::ReplicaOutOfSync { node, reason } => format!("{node} is out of sync: {reason}"),
            Self::InSyncSetEmpty => {
                "no replica is in sync: writes are acknowledged by the primary alone".to_owned()
            }
            Self::NodePlaced { node, zone } => format!("{node} placed in {zone}"),
            Self::RelocationBegun { node, newcomer, from, to, why } => {
                format!("{newcomer} on {to} is to take the place of {node} on {from}: {why}")
            }
            Self::RelocationDone { node, newcomer } => {
                format!("{newcomer} has taken the place of {node}, which leaves")
            }
            Self::RelocationGivenUp { node, newcomer, reason } => {
                format!("{newcomer} does not take the place of {node}: {reason}")
            }
            Self::ProxyCut { proxy } => format!("lanes of the silent proxy {proxy} cut"),
            Self::ProxyAdmitted { proxy } => format!("proxy {proxy} admitted"),
            Self::GroupDeleted => "the group is being deleted".to_owned(),
        }
    }
}
