//! What a world is like: its shape, its network and its durability, drawn from the seed.
//!
//! Swarm testing: most knobs are off in most worlds, so that every combination is met by some world
//! and no fault hides another one.
//!
//! Invariant: everything about a world follows from (seed, mode, bug).
//!
//! Not here: which faults happen when (`crate::faults`).

use std::time::Duration;

use tanist_core::model::{Durability, Limits};

use crate::bugs::Bug;
use crate::dice::Dice;

/// A second of simulated time.
pub(crate) const SECOND: u64 = 1_000_000;
/// A millisecond of simulated time.
pub(crate) const MILLI: u64 = 1000;

/// What a run of a world is to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Nothing bad happens, whatever fails.
    Safety,
    /// Something good happens once faults stop or become permanent but survivable.
    Liveness,
}

impl Mode {
    /// The mode's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Safety => "safety",
            Self::Liveness => "liveness",
        }
    }
}

/// A world before its first event.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    pub(crate) seed: u64,
    pub(crate) mode: Mode,
    pub(crate) bug: Option<Bug>,
    pub(crate) limits: Limits,
    pub(crate) durability: Durability,
    pub(crate) min_in_sync: u8,
    pub(crate) automatic_failover: bool,
    pub(crate) hosts: usize,
    pub(crate) zones: usize,
    pub(crate) replicas: u8,
    pub(crate) controllers: usize,
    pub(crate) proxies: usize,
    pub(crate) clients: usize,
    /// Mean pause of a client between two writes, in microseconds.
    pub(crate) think: u64,
    pub(crate) net_usual: u64,
    pub(crate) net_slowest: u64,
    pub(crate) net_loss: u64,
    pub(crate) net_repeat: u64,
    /// Bytes on a stream that come seconds late, per mille.
    pub(crate) net_stuck: u64,
    /// Writes that a primary keeps for partial resynchronisation.
    pub(crate) backlog: u64,
    /// Longest full copy, in microseconds.
    pub(crate) copy: u64,
    /// Longest usual delay of an order's execution, in microseconds.
    pub(crate) hands: u64,
    /// Memory that each host may promise, in nodes.
    pub(crate) room: u64,
    /// Two worlds in three have leaders that go on acting after they were deposed.
    pub(crate) leaders_linger: bool,
    /// When the last fault has begun and the world only heals.
    pub(crate) calm: u64,
    /// When the world ends.
    pub(crate) end: u64,
    /// Faults, beside permanent ones.
    pub(crate) faults: usize,
    /// Clients, operators and faults are told by a script.
    pub(crate) scripted: bool,
}

impl Config {
    pub(crate) fn new(seed: u64, mode: Mode, bug: Option<Bug>) -> Self {
        let mut dice = Dice::new(seed ^ 0x5eed_0001);
        let is_async = dice.chance(300);
        let slow_net = dice.chance(250);
        let lossy = dice.chance(400);
        let mut config = Self {
            seed,
            mode,
            bug,
            limits: Limits::DEFAULT,
            durability: if is_async { Durability::Async } else { Durability::Sync },
            min_in_sync: u8::from(dice.chance(150)),
            automatic_failover: !dice.chance(60),
            hosts: 3 + dice.index(3),
            zones: 2 + dice.index(2),
            replicas: if dice.chance(50) { 0 } else { 1 + dice.index(2) as u8 },
            controllers: if dice.chance(400) { 2 } else { 1 },
            proxies: if dice.chance(500) { 2 } else { 1 },
            clients: 1 + dice.index(2),
            think: dice.range(20, 140) * MILLI,
            net_usual: if slow_net { 8 * MILLI } else { 600 },
            net_slowest: if slow_net { 300 * MILLI } else { 5 * MILLI },
            net_loss: if lossy { dice.range(1, 80) } else { 0 },
            net_repeat: if lossy { 20 } else { 0 },
            net_stuck: if lossy { 4 } else { 0 },
            backlog: if dice.chance(300) { 3 } else { 10_000 },
            copy: dice.range(40, 2500) * MILLI,
            hands: if dice.chance(200) { 400 * MILLI } else { 30 * MILLI },
            room: if dice.chance(100) { 1 } else { 4 },
            leaders_linger: dice.chance(660),
            calm: 48 * SECOND,
            end: 60 * SECOND,
            faults: 3 + dice.index(6),
            scripted: false,
        };
        if let Some(bug) = bug {
            config.direct(bug);
        }
        if config.limits_squeezed(&mut dice) {
            config.limits.flap = Duration::from_secs(5);
            config.limits.replace = Duration::from_secs(8);
            config.limits.calm = Duration::from_secs(3);
            config.limits.relocate = Duration::from_secs(5);
        }
        config
    }

    /// Makes a world unkind to a planted bug: whoever removes a fence must be found in seconds.
    fn direct(&mut self, bug: Bug) {
        self.faults = 9;
        self.automatic_failover = true;
        self.replicas = self.replicas.max(1);
        let lossy = |config: &mut Self| {
            config.net_loss = 60;
            config.net_repeat = 20;
            config.net_stuck = 4;
        };
        match bug {
            Bug::ForgetRevision | Bug::NoGuard | Bug::CasWithoutTerm => {
                lossy(self);
                self.controllers = 2;
                self.leaders_linger = true;
            }
            Bug::AdmitBlindly
            | Bug::CutNotAwaited
            | Bug::GrowIgnoresProxies
            | Bug::PendingNotRequired => {
                self.durability = Durability::Sync;
                self.proxies = 2;
                self.clients = 2;
                self.think = 30 * MILLI;
                self.hands = 400 * MILLI;
            }
            Bug::StaleSample => {
                lossy(self);
                self.net_stuck = 40;
                self.durability = Durability::Sync;
                self.proxies = 2;
                self.clients = 2;
                self.think = 20 * MILLI;
            }
            Bug::LoadingAnswers => {
                self.durability = Durability::Sync;
                self.copy = 2500 * MILLI;
            }
            Bug::NewLeaderHurries => {
                self.durability = Durability::Async;
                self.controllers = 2;
                self.net_loss = 0;
                self.net_stuck = 0;
            }
            Bug::NoLeaseMargin => {
                self.durability = Durability::Async;
                self.net_loss = 0;
                self.net_stuck = 0;
                self.hands = 30 * MILLI;
            }
            Bug::DeadWithoutKill => self.durability = Durability::Async,
            Bug::LeaseFromReceipt | Bug::LeaseIgnored => {
                lossy(self);
                self.durability = Durability::Async;
            }
            _ => self.durability = Durability::Sync,
        }
    }

    /// The flap limit and the replacement of hosts hide everything after the first failover, so
    /// most worlds have shorter ones; all worlds of the liveness mode do.
    fn limits_squeezed(&mut self, dice: &mut Dice) -> bool {
        if self.mode == Mode::Liveness {
            self.calm = 30 * SECOND;
            self.end = 75 * SECOND;
            self.room = 4;
            self.automatic_failover = true;
            return true;
        }
        dice.chance(700)
    }
}
