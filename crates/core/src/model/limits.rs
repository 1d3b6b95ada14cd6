//! The times that judgments use, in one place.
//!
//! They are data rather than constants, because operators tune them, the simulation squeezes them
//! and a reader wants to see them side by side.
//!
//! Invariant: `stopped < stalled < busy`, and `lease + lease_margin` covers every clock drift that
//! the installation tolerates.
//!
//! Not here: how often somebody looks (the agents' and the controller's own loops).

use std::time::Duration;

/// Deadlines of detection, fencing and durability. See `reference` values in the field docs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Silence of an engine whose process is stopped (state T) before it counts as hung.
    pub stopped: Duration,
    /// Silence of an engine that sleeps or waits for a disk (S, D) before it counts as hung: a slow
    /// fsync of a few hundred milliseconds is no reason to fail over.
    pub stalled: Duration,
    /// Silence of an engine that uses or waits for a processor before it counts as hung.
    pub busy: Duration,
    /// Silence of a host's agent before the host counts as lost.
    pub host: Duration,
    /// How long a vacancy waits for the answers of reachable members beyond the first.
    pub answers: Duration,
    /// How long an in-sync member may stay behind the primary before it leaves the set.
    pub behind: Duration,
    /// How long the proxies may take to drain before a planned switchover lets go and tries again.
    pub drain: Duration,
    /// Validity of a primary's permission to accept writes (`async` groups).
    pub lease: Duration,
    /// Extra wait that covers clock drift between the lease's holder and its judge.
    pub lease_margin: Duration,
    /// No second automatic failover on mere silence within this time.
    pub flap: Duration,
    /// How long a primary refuses writes for its disk before it is moved: an engine tries its disk
    /// again every second.
    pub refusing: Duration,
    /// How long a request to move a primaryship may wait before it is dropped.
    pub request: Duration,
    /// Silence of a proxy before its lanes are cut so that the in-sync set can grow.
    pub proxy: Duration,
    /// Absence of a host before its nodes are placed elsewhere.
    pub replace: Duration,
    /// How long nothing may have gone wrong, and every host must have been heard without a break or
    /// been away, before a node is relocated; [`Self::NEVER`] relocates none.
    pub calm: Duration,
    /// How long a relocation may take before it is given up, and how long the shard then rests.
    pub relocate: Duration,
}

impl Limits {
    /// As a limit: what it is about does not happen.
    pub const NEVER: Duration = Duration::MAX;

    /// The limits that Tanist ships with.
    pub const DEFAULT: Self = Self {
        stopped: Duration::from_millis(250),
        stalled: Duration::from_millis(1000),
        busy: Duration::from_secs(10),
        host: Duration::from_millis(500),
        answers: Duration::from_millis(100),
        behind: Duration::from_secs(2),
        drain: Duration::from_secs(1),
        lease: Duration::from_millis(600),
        // Both clocks may be off by 10 %, and a primary that does not answer its supervisor is
        // killed 50 ms after its lease: 600 / 0.9 + 50 ms have to fit into (600 + 200) / 1.1 ms.
        lease_margin: Duration::from_millis(200),
        flap: Duration::from_secs(60),
        refusing: Duration::from_secs(2),
        request: Duration::from_secs(20),
        proxy: Duration::from_secs(1),
        replace: Duration::from_secs(30),
        calm: Duration::from_secs(60),
        relocate: Duration::from_secs(3600),
    };
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}
