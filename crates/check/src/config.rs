//! Which world is searched: its shape, what may happen in it, and which bug is planted.
//!
//! Invariant: a configuration says everything; the same one is searched the same way every time.
//!
//! Not here: the search (`crate::search`).

use crate::state::Budget;

/// A planted bug: what the head, a hand or the wiring between them could get wrong.
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
    /// Whoever is attached may be chosen, not only members of the in-sync set.
    LearnerElected,
    /// A growth is complete although proxies may still work by the route from before it.
    RoutesNotAwaited,
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
    /// Every planted bug that a configuration finds.
    pub const ALL: [Self; 13] = [
        Self::AgentForgetsGuard,
        Self::OlderAnswerCounts,
        Self::LoadingCountsAsZero,
        Self::NewRunIsMember,
        Self::UsersSurvive,
        Self::LaggardsInSync,
        Self::LearnerElected,
        Self::RoutesNotAwaited,
        Self::GrowWithoutPending,
        Self::AnonymousWait,
        Self::ProbeOlderThanUsers,
        Self::OneShortProof,
        Self::LateRelease,
    ];

    /// Rules whose lack breaks nothing in any configuration that was searched as a whole.
    ///
    /// A decision rests on what was seen since its revision was committed, and the compare-and-set
    /// compares that revision; comparing the leadership too is a second line of defence.
    pub const REDUNDANT: [Self; 1] = [Self::CasWithoutTerm];

    /// The configuration that finds it.
    pub fn configuration(self) -> Configuration {
        let name = match self {
            Self::AgentForgetsGuard | Self::OlderAnswerCounts => "failovers",
            Self::LoadingCountsAsZero => "recopy",
            Self::NewRunIsMember | Self::LaggardsInSync => "return",
            Self::LearnerElected
            | Self::RoutesNotAwaited
            | Self::UsersSurvive
            | Self::ProbeOlderThanUsers => "cut",
            Self::GrowWithoutPending | Self::AnonymousWait => "sets",
            Self::CasWithoutTerm => "takeover",
            Self::OneShortProof | Self::LateRelease => "failover",
        };
        let found = Configuration::named(name).unwrap_or(PLAIN);
        Configuration { tooth: Some(self), ..found }
    }

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::AgentForgetsGuard => "agent-forgets-guard",
            Self::OlderAnswerCounts => "older-answer-counts",
            Self::LoadingCountsAsZero => "loading-counts-as-zero",
            Self::NewRunIsMember => "new-run-is-member",
            Self::UsersSurvive => "users-survive",
            Self::LaggardsInSync => "laggards-in-sync",
            Self::LearnerElected => "learner-elected",
            Self::RoutesNotAwaited => "routes-not-awaited",
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
        Self::ALL.into_iter().chain(Self::REDUNDANT).find(|tooth| tooth.name() == name)
    }
}

/// What an operator may ask for, at any time, once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Wish {
    /// A failover to whomever the head chooses.
    Failover,
    /// A switchover to whomever the head chooses. The proxies say at any time that they hold and
    /// have drained, and go on sending all the same: promises about writes do not depend on it.
    Switchover,
    /// A switchover to this node.
    SwitchoverTo(u8),
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
    /// What an operator may ask for.
    pub wishes: &'static [Wish],
    /// A controller that leads may begin anew too, as after a crash of its own.
    pub leader_restarts: bool,
    /// A crash may keep everything on the disk too, not only lose the last write.
    pub kind_disks: bool,
    /// Controllers are told everything, not only what can matter to them by the rules: answers of
    /// older revisions, deeds of older epochs, probes while nobody is primary. So it is the head that
    /// has to pass over them.
    pub whole_reports: bool,
    /// States are kept apart and steps are tried although an argument says that it cannot matter:
    /// the search without its short cuts, to hold them against.
    pub plain: bool,
    /// Controllers try only some of what they could have heard and of what clocks could say: for
    /// walks, which try only some of everything anyway.
    pub sampled: bool,
    /// It is searched when no name is given.
    pub standard: bool,
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
    wishes: &[],
    leader_restarts: false,
    kind_disks: false,
    whole_reports: false,
    plain: false,
    sampled: false,
    standard: true,
    tooth: None,
};

impl Configuration {
    /// Every named configuration.
    pub const ALL: &'static [Self] = &[
        Self {
            name: "failover",
            purpose: "2 writes of 2 proxies, a failover",
            proxies: 2,
            budget: Budget { writes: 2, failovers: 1, ..NOTHING },
            ..PLAIN
        },
        Self {
            name: "failovers",
            purpose: "2 writes, a crash, 2 failovers",
            budget: Budget { writes: 2, crashes: 1, failovers: 2, ..NOTHING },
            ..PLAIN
        },
        Self {
            name: "twice",
            purpose: "2 crashes, a restart, 2 failovers: the second crash in the first failover",
            budget: Budget { writes: 1, crashes: 2, restarts: 1, failovers: 2, ..NOTHING },
            ..PLAIN
        },
        Self {
            name: "sets",
            purpose: "2 changes of the in-sync set, shrinks or growths, and a failover",
            budget: Budget { writes: 1, failovers: 1, sets: 2, ..NOTHING },
            ..PLAIN
        },
        Self {
            name: "return",
            purpose: "a process dies, is started again and joins; a failover at any moment",
            budget: Budget { writes: 1, crashes: 1, restarts: 1, failovers: 1, sets: 1, ..NOTHING },
            ..PLAIN
        },
        Self {
            name: "disk",
            purpose: "every process may die, 2 are started again, the primary's disk is loaded",
            budget: Budget { writes: 1, crashes: 3, restarts: 2, failovers: 1, ..NOTHING },
            kind_disks: true,
            ..PLAIN
        },
        Self {
            name: "alone",
            purpose: "nobody is in sync at first: the primary acknowledges alone, then one joins",
            in_sync: 0,
            budget: Budget { writes: 1, crashes: 1, failovers: 1, sets: 1, ..NOTHING },
            ..PLAIN
        },
        Self {
            name: "recopy",
            purpose: "a replica loses its place and takes a full copy around 2 failovers",
            budget: Budget { writes: 1, failovers: 2, recopies: 1, ..NOTHING },
            ..PLAIN
        },
        Self {
            name: "planned",
            purpose: "a switchover is asked for, to anybody or to one; a crash, another failover",
            budget: Budget { writes: 1, crashes: 1, failovers: 2, ..NOTHING },
            wishes: &[Wish::Switchover, Wish::SwitchoverTo(2)],
            ..PLAIN
        },
        Self {
            name: "takeover",
            purpose: "a new leader or the old one anew, 2 controllers, a crash, a failover",
            controllers: 2,
            budget: Budget { writes: 1, crashes: 1, failovers: 1, leaders: 1, ..NOTHING },
            leader_restarts: true,
            ..PLAIN
        },
        Self {
            name: "anew",
            purpose: "a controller begins anew at any moment of 2 failovers",
            budget: Budget { writes: 1, failovers: 2, leaders: 1, ..NOTHING },
            leader_restarts: true,
            ..PLAIN
        },
        Self {
            name: "leaders",
            purpose: "2 controllers, 2 proxies: a new leader, a failover, a set change",
            controllers: 2,
            proxies: 2,
            budget: Budget { writes: 1, failovers: 1, sets: 1, leaders: 1, ..NOTHING },
            ..PLAIN
        },
        Self {
            name: "cut",
            purpose: "a learner joins while a silent proxy is cut, a failover",
            in_sync: 1,
            budget: Budget { writes: 1, failovers: 1, sets: 1, cuts: 1, ..NOTHING },
            ..PLAIN
        },
        Self {
            name: "cuts",
            purpose: "a learner joins while 2 proxies are cut and let in",
            proxies: 2,
            in_sync: 1,
            budget: Budget { writes: 1, sets: 1, cuts: 2, ..NOTHING },
            ..PLAIN
        },
        Self {
            name: "plain",
            purpose: "a crash and a failover, without the short cuts of the search",
            budget: Budget { writes: 1, crashes: 1, failovers: 1, ..NOTHING },
            plain: true,
            ..PLAIN
        },
        Self {
            name: "whole",
            purpose: "2 failovers; controllers are told everything, useless or not",
            budget: Budget { writes: 1, failovers: 2, ..NOTHING },
            whole_reports: true,
            ..PLAIN
        },
        Self {
            name: "whole-cut",
            purpose: "a learner joins, a proxy is cut; controllers are told everything",
            proxies: 2,
            in_sync: 1,
            budget: Budget { writes: 1, sets: 1, cuts: 1, ..NOTHING },
            whole_reports: true,
            ..PLAIN
        },
        Self {
            name: "anew-long",
            purpose: "as anew, with a crash",
            budget: Budget { writes: 1, crashes: 1, failovers: 2, leaders: 1, ..NOTHING },
            leader_restarts: true,
            standard: false,
            ..PLAIN
        },
        Self {
            name: "cut-long",
            purpose: "as cut, with 2 proxies",
            proxies: 2,
            in_sync: 1,
            budget: Budget { writes: 1, failovers: 1, sets: 1, cuts: 1, ..NOTHING },
            standard: false,
            ..PLAIN
        },
        Self {
            name: "plain-long",
            purpose: "a set change and a failover, without the short cuts of the search",
            budget: Budget { writes: 1, failovers: 1, sets: 1, ..NOTHING },
            plain: true,
            standard: false,
            ..PLAIN
        },
        Self {
            name: "large",
            purpose: "2 and 2, everything may happen: for random walks only",
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
            wishes: &[Wish::Failover, Wish::Switchover, Wish::SwitchoverTo(2)],
            leader_restarts: true,
            kind_disks: true,
            whole_reports: true,
            sampled: true,
            standard: false,
            ..PLAIN
        },
    ];

    /// The configuration of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|configuration| configuration.name == name).copied()
    }
}
