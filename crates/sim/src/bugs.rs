//! Planted bugs: one for each fence whose removal must be noticed.
//!
//! They sit in the hands of the simulated world or alter what goes into and comes out of core's
//! functions; core itself is called as it ships.
//!
//! Invariant: a world without a planted bug never asks for one.
//!
//! Not here: running them until a seed catches them (`crate::mutants`).

macro_rules! bugs {
    ($($(#[$doc:meta])* $variant:ident = $text:literal,)*) => {
        /// One planted bug.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Bug { $($(#[$doc])* $variant,)* }

        impl Bug {
            /// Every bug.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The bug's name.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => stringify!($variant),)* }
            }

            /// What is wrong with it, as a sentence.
            pub fn sentence(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }
    };
}

bugs! {
    /// A fence answer outlives its revision.
    OldFenceAnswers = "answers to an older fence count for the current one",
    /// Nobody is frozen, yet everybody is taken to have answered.
    FakeFreeze = "last reports are taken for fence answers",
    /// A vacancy keeps the epoch.
    ReuseEpoch = "a failover keeps the epoch's number",
    /// Somebody outside of the quorum is chosen.
    PromoteLaggard = "a replica that is not in sync is chosen",
    /// A crashed primary comes back as primary.
    StartAsPrimary = "an engine starts straight into the primary role",
    /// A host forgets what it promised.
    ForgetRevision = "an agent that restarts has forgotten the newest revision",
    /// Old orders are obeyed.
    NoGuard = "an agent obeys orders of any revision",
    /// Any attached replica counts as a member of the in-sync set.
    IgnoreInSync = "replicas that are attached but not in sync may take over",
    /// A newcomer is in sync before anybody waits for it.
    GrowWithoutPending = "a replica joins the in-sync set in one commit",
    /// A newcomer is in sync while a proxy still works by an older route.
    GrowIgnoresProxies = "the in-sync set grows without the proxies' confirmation",
    /// Proxies are not told to wait for a newcomer.
    PendingNotRequired = "proxies do not wait for a replica that is about to be in sync",
    /// The newcomer has to reach a position that may be older than the proxies' routes.
    StaleSample = "a newcomer is compared with a position read before the proxies waited for it",
    /// A proxy is let in although it works by an old route.
    AdmitBlindly = "a proxy is admitted whatever route it works by",
    /// The set grows although a cut proxy still has its user.
    CutNotAwaited = "the in-sync set grows before the primary has deleted a cut proxy's user",
    /// The count of WAIT is believed.
    WaitIsProof = "the number that WAIT returns is taken for proof",
    /// A write is acknowledged once the primary has it.
    NoProof = "a sync write is acknowledged without waiting for anybody",
    /// The old epoch's users stay.
    KeepOldUsers = "users of older epochs are not deleted at a promotion",
    /// Replies of an epoch that is over go out.
    ReleaseOldEpoch = "replies of an old epoch are released when it ends",
    /// A deposed leader's commit counts.
    CasWithoutTerm = "a commit does not compare the leader's term",
    /// A new process counts as the one before.
    NewRunIsMember = "a restarted replica is in sync at once, as the run before it was",
    /// An emptied engine answers the fence.
    LoadingAnswers = "an engine that is loading answers with its old position",
    /// Replicas behind the heir count as in sync with it.
    LaggardsInSync = "the new in-sync set has replicas that lack some of the heir's data",
    /// With nobody in sync, anybody may take over.
    EmptySetIsQuorum = "an empty in-sync set makes every replica a candidate",
    /// Members that do not answer are struck off.
    ShrinkWhileVacant = "silent members leave the in-sync set during a failover",
    /// A process that does not answer is taken for dead.
    DeadWithoutKill = "an old primary that does not answer is reported dead and left alive",
    /// An orderly stop makes a crash's leftovers good.
    CrashCalledClean = "a disk left by a crash counts as complete after an orderly stop",
    /// A sent write is sent again.
    ReplaySentWrite = "a write whose lane broke is executed a second time",
    /// A lease counts from the arrival of its grant.
    LeaseFromReceipt = "a lease counts from the arrival of the grant",
    /// The judge's clock is taken for the holder's.
    NoLeaseMargin = "a lease is judged without a margin for drifting clocks",
    /// A new leader does not wait for leases that the old one granted.
    NewLeaderHurries = "a new leader counts the time before its leadership as waited",
    /// A supervisor lets a primary go on without a lease.
    LeaseIgnored = "a primary accepts writes after its lease has ended",
    /// One replica's word is taken for everybody's.
    AnyStandIn = "a primary goes on without controllers by the word of one of its replicas",
    /// A replica's word is given whatever its agent hears, and nobody is told.
    StandsInAnyway = "a replica confirms a lease although its agent hears a controller",
    /// Whoever joins the set is not asked for its word.
    UnaskedHeir = "a replica is in sync before the primary asks for its word",
    /// A word that was given lately is taken for one that was never given.
    WordForgotten = "an heir's own word for the old primary's lease is not waited for",
    /// What hosts were told counts for nothing against what the store says.
    ForgottenIgnored = "a store from an older copy is decided by although hosts were told of more",
    /// The named heir is no more than a wish.
    AnybodyGoesOn = "after an older copy was put back somebody else than the named node may lead",
}
