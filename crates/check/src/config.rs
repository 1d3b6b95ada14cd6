//! Which world is searched: its shape, what may happen in it, and which bug is planted.
//!
//! Invariant: a configuration says everything; the same one is searched the same way every time.
//!
//! Not here: the search (`crate::search`).

use crate::state::Budget;

/// A bug planted in the world around the head: what a hand or the wiring could get wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Tooth {
    /// An agent does not remember the revision that it promised.
    AgentForgetsGuard,
    /// A freeze answer that was given for an older revision counts.
    OlderAnswerCounts,
    /// A member that loads answers the freeze, with offset 0.
    LoadingCountsAsZero,
    /// A process that was started again goes on as the run before.
    NewRunIsMember,
    /// A promotion deletes neither lane users nor attachments of older epochs.
    UsersSurvive,
    /// The second commit takes everybody who answered into the in-sync set.
    LaggardsInSync,
    /// A growth skips the pending stage.
    GrowWithoutPending,
    /// A proxy counts acknowledgements without asking whose they are.
    AnonymousWait,
    /// A report tells of users that were let in or cut beside a probe from before that.
    ProbeOlderThanUsers,
    /// A compare-and-set does not compare the leadership.
    CasWithoutTerm,
    /// Every member of the in-sync set but one is enough.
    OneShortProof,
    /// A reply may leave under another epoch than that of its lane.
    LateRelease,
}

impl Tooth {
    /// Every planted bug.
    pub const ALL: [Self; 12] = [
        Self::AgentForgetsGuard,
        Self::OlderAnswerCounts,
        Self::LoadingCountsAsZero,
        Self::NewRunIsMember,
        Self::UsersSurvive,
        Self::LaggardsInSync,
        Self::GrowWithoutPending,
        Self::AnonymousWait,
        Self::ProbeOlderThanUsers,
        Self::CasWithoutTerm,
        Self::OneShortProof,
        Self::LateRelease,
    ];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::AgentForgetsGuard => "agent-forgets-guard",
            Self::OlderAnswerCounts => "older-answer-counts",
            Self::LoadingCountsAsZero => "loading-counts-as-zero",
            Self::NewRunIsMember => "new-run-is-member",
            Self::UsersSurvive => "users-survive",
            Self::LaggardsInSync => "laggards-in-sync",
            Self::GrowWithoutPending => "grow-without-pending",
            Self::AnonymousWait => "anonymous-wait",
            Self::ProbeOlderThanUsers => "probe-older-than-users",
            Self::CasWithoutTerm => "cas-without-term",
            Self::OneShortProof => "one-short-proof",
            Self::LateRelease => "late-release",
        }
    }

    /// The planted bug of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|tooth| tooth.name() == name)
    }
}

/// One world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Configuration {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it is for, in a line.
    pub purpose: &'static str,
    /// Controllers, 1 or 2.
    pub controllers: u8,
    /// Proxies, 1 or 2.
    pub proxies: u8,
    /// Replicas that are in sync at the beginning; the others are attached and have everything.
    pub in_sync: u8,
    /// What may happen.
    pub budget: Budget,
    /// An operator may ask for a failover at any time.
    pub requests: bool,
    /// A crash may keep everything on the disk too, not only lose the last write.
    pub kind_disks: bool,
    /// Controllers remember everything that a probe said, not only what can matter to them now.
    pub whole_probes: bool,
    /// What is planted.
    pub tooth: Option<Tooth>,
}

const NOTHING: Budget = Budget {
    writes: 0,
    crashes: 0,
    restarts: 0,
    failovers: 0,
    sets: 0,
    cuts: 0,
    recopies: 0,
    leaders: 0,
};

const PLAIN: Configuration = Configuration {
    name: "",
    purpose: "",
    controllers: 1,
    proxies: 1,
    in_sync: 2,
    budget: NOTHING,
    requests: false,
    kind_disks: false,
    whole_probes: false,
    tooth: None,
};

impl Configuration {
    /// Every named configuration.
    pub const ALL: &'static [Self] = &[
        Self {
            name: "crash",
            purpose: "1 controller, 1 proxy: a crash, a restart, 2 failovers, 1 set change",
            budget: Budget {
                writes: 1,
                crashes: 1,
                restarts: 1,
                failovers: 2,
                sets: 1,
                ..NOTHING
            },
            ..PLAIN
        },
        Self {
            name: "leaders",
            purpose: "2 controllers, 2 proxies: a new leader, 1 failover, 1 set change",
            controllers: 2,
            proxies: 2,
            budget: Budget { writes: 1, failovers: 1, sets: 1, leaders: 1, ..NOTHING },
            ..PLAIN
        },
        Self {
            name: "cut",
            purpose: "1 controller, 2 proxies: a learner joins while a silent proxy is cut",
            proxies: 2,
            in_sync: 1,
            budget: Budget { writes: 1, failovers: 1, sets: 2, cuts: 2, ..NOTHING },
            ..PLAIN
        },
        Self {
            name: "large",
            purpose: "2 and 2, everything may happen: for random walks",
            controllers: 2,
            proxies: 2,
            budget: Budget {
                writes: 3,
                crashes: 2,
                restarts: 2,
                failovers: 3,
                sets: 3,
                cuts: 2,
                recopies: 1,
                leaders: 2,
            },
            requests: true,
            kind_disks: true,
            whole_probes: true,
            ..PLAIN
        },
    ];

    /// The configuration of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|configuration| configuration.name == name).copied()
    }
}
