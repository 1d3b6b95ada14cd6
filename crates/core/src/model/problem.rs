//! Problems and waits: what is wrong, and why nothing was done about it yet.
//!
//! A closed list: each kind is the enum variant, the metric label, the alert, the log field and the
//! heading in `docs/failure-modes.md`.
//!
//! Invariant: a problem describes now; it is computed at every tick and never stored.
//!
//! Not here: the table of rules that finds them (`crate::decide::diagnose`).

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{NodeId, Severity};

macro_rules! kinds {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident,)* }) => {
        $(#[$doc])*
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        pub enum $name {
            $($(#[$vdoc])* $variant,)*
        }

        impl $name {
            /// Every kind, in the order of the list.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The kind's name.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => stringify!($variant),)*
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}

kinds! {
    /// What can be wrong with a shard.
    ProblemKind {
        /// The primary's process is gone.
        PrimaryDown,
        /// The primary's process does not answer and makes no progress.
        PrimarySilent,
        /// The primary does not answer, but works or waits for a processor.
        PrimaryBusy,
        /// The primary's host is not heard from.
        PrimaryHostLost,
        /// A run that was not chosen says that it is primary.
        TwoPrimaries,
        /// Nobody is primary and nobody may become it.
        NoCandidate,
        /// Hosts were told of decisions that the store does not have.
        StoreBehind,
        /// The primary answers but refuses writes.
        WritesRefused,
        /// No replica is in sync.
        InSyncSetEmpty,
        /// A replica's process is gone or its host is not heard from.
        ReplicaLost,
        /// A replica's process does not answer.
        ReplicaSilent,
        /// A replica follows somebody else than the primary.
        ReplicaFollowsWrongPrimary,
        /// A replica is attached but not in sync.
        ReplicaBehind,
        /// A node's process cannot be started.
        NodeCannotStart,
        /// An engine cannot start the child process that copies its data.
        ForkFails,
        /// Two nodes of the shard share a zone although another zone has room.
        ZoneSpreadBroken,
        /// There is no room for a node that was asked for.
        NoRoom,
        /// A host that was chosen for the group's endpoints is not there.
        EndpointHostLost,
        /// None of the hosts that were chosen for the group's endpoints is there.
        NoEndpoint,
    }
}

kinds! {
    /// Why something that is due is not done yet.
    WaitKind {
        /// Members that can be reached have not answered the fence yet.
        FenceAnswers,
        /// The old primary's permission to accept writes has not run out.
        Lease,
        /// The heir has not received the old primary's last bytes.
        Drain,
        /// Proxies still have requests in flight.
        ProxiesDraining,
        /// No member holds every acknowledged write for certain.
        Candidate,
        /// A member's data has to be loaded from disk first.
        DiskRecovery,
        /// The last failover was too recent.
        FlapLimit,
        /// Automatic failover is switched off.
        AutomaticFailoverOff,
        /// Nobody who could take over is reachable.
        Quorum,
        /// Proxies have not confirmed the route that a growing in-sync set needs.
        ProxyRoutes,
        /// A replica has not caught up yet.
        CatchUp,
        /// Another node on the host is receiving a full copy.
        ResyncSlot,
        /// The asked-for heir cannot take over.
        Heir,
        /// No host has room.
        Room,
        /// Too little time has passed since something went wrong.
        Calm,
        /// A node that takes another one's place is not in sync yet, or the shard is not whole.
        Relocation,
    }
}

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// What.
    pub kind: ProblemKind,
    /// Whom it concerns.
    pub node: Option<NodeId>,
    /// Details in words.
    pub detail: String,
}

/// Something that is waited for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wait {
    /// What.
    pub kind: WaitKind,
    /// Details in words.
    pub detail: String,
}

impl ProblemKind {
    /// How much it matters.
    pub fn severity(self) -> Severity {
        match self {
            Self::PrimaryDown
            | Self::PrimarySilent
            | Self::PrimaryHostLost
            | Self::TwoPrimaries
            | Self::NoCandidate
            | Self::StoreBehind
            | Self::WritesRefused
            | Self::NoEndpoint => Severity::Error,
            Self::PrimaryBusy
            | Self::InSyncSetEmpty
            | Self::ReplicaLost
            | Self::ReplicaSilent
            | Self::ReplicaFollowsWrongPrimary
            | Self::NodeCannotStart
            | Self::ForkFails
            | Self::ZoneSpreadBroken
            | Self::NoRoom
            | Self::EndpointHostLost => Severity::Warning,
            Self::ReplicaBehind => Severity::Info,
        }
    }
}
