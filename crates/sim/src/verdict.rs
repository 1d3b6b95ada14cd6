//! A world's end: what is read back, and whether it still serves.
//!
//! Invariant: what the ledger calls lost is lost; a world in which a loss was forgiven says so.
//!
//! Not here: what must never be while the world runs (`crate::judge`).

use std::collections::BTreeMap;

use tanist_core::model::WaitKind;

use crate::census::Census;
use crate::config::{Config, Mode, SECOND};
use crate::genesis;
use crate::judge::Violation;
use crate::world::World;

/// The longest time for which a world may acknowledge nothing after its last fault has begun: two
/// writes of every client held (10 s each) by a proxy that hears of no route, then the flap limit.
const PATIENCE: u64 = 30 * SECOND;

/// What became of one world.
#[derive(Debug, Clone)]
pub struct Ending {
    /// Its seed.
    pub seed: u64,
    /// Its mode.
    pub mode: Mode,
    /// What must never have been, if anything was.
    pub violation: Option<Violation>,
    /// What occurred.
    pub census: Census,
    /// Writes that were acknowledged.
    pub acked: u64,
    /// Acknowledged writes whose loss an operator, a disk or an `async` failover accounts for.
    pub forgiven: u64,
    /// Simulated time, in microseconds.
    pub simulated: u64,
    /// The longest time without an acknowledgement after its last fault had begun, in microseconds;
    /// zero in a world that does not have to serve.
    pub pause: u64,
    /// What distinguishes its course from every other's.
    pub hash: u64,
    /// Events that happened.
    pub events: u64,
    /// Lines for a reader, if one asked.
    pub told: Vec<String>,
}

/// Runs one world to its end.
pub(crate) fn run(config: Config, tell: bool) -> Ending {
    let mut world = genesis::world(config);
    if tell {
        world.told = Some(Vec::new());
    }
    let end = world.config.end;
    world.run_until(end);
    world.read_back();
    let pause = if world.config.mode == Mode::Liveness { world.judge_service() } else { 0 };
    Ending {
        seed: world.config.seed,
        mode: world.config.mode,
        violation: world.judge.violation.clone(),
        acked: world.judge.acks,
        forgiven: world.judge.forgiven,
        simulated: world.now,
        pause,
        hash: world.trace_hash(),
        events: world.events(),
        told: world.told.take().unwrap_or_default(),
        census: world.census,
    }
}

impl World {
    /// Reads every key back from the recorded primary and lets core's ledger judge.
    pub(crate) fn read_back(&mut self) {
        if self.judge.violation.is_some() || self.judge.deleted {
            return;
        }
        let Some(proc) = self.primary_proc() else { return };
        let engine = &self.procs[proc];
        if engine.loading || !engine.is_primary() {
            return;
        }
        // The ledger looks at the last version of each key; this looks at every write.
        let pos = engine.pos;
        if !self.holds_all(pos) {
            let missing = self.first_missing(pos);
            return self.violated("P2", format!("at the end the primary lacks {missing}"));
        }
        let mut found: BTreeMap<u64, u64> = BTreeMap::new();
        for write in self.logs.writes(pos) {
            let (key, version) = self.judge.name(write);
            let latest = found.entry(key).or_default();
            *latest = (*latest).max(version);
        }
        let verdict = self.judge.ledger.judge(&found);
        if verdict.lost > 0 && self.judge.forgiven == 0 {
            self.violated("P2", format!("{} acknowledged writes are gone", verdict.lost));
        }
        if verdict.phantoms > 0 {
            self.violated("P4", "a write that was refused was executed".to_owned());
        }
    }

    /// V8: writes are acknowledged again in bounded time, or it is said whose absence prevents it.
    fn judge_service(&mut self) -> u64 {
        if self.judge.violation.is_some() || self.judge.deleted {
            return 0;
        }
        if self.spec.replicas < self.config.min_in_sync {
            // Asked for: no write without a replica, and no replica.
            return 0;
        }
        // Clients end a second before the world does.
        let (calm, end) = (self.config.calm, self.config.end - SECOND);
        let last = end.saturating_sub(self.judge.last_ack.max(calm));
        if last > PATIENCE && self.missing_run_is_named() {
            return 0;
        }
        let pause = self.judge.longest_pause.max(last);
        if pause > PATIENCE {
            let detail = format!("no write for {} s: {}", pause / SECOND, self.why_not());
            self.violated("V8", detail);
        }
        pause
    }

    fn missing_run_is_named(&self) -> bool {
        let plans = self.controllers.iter().filter(|c| c.up && c.term.is_some()).map(|c| &c.plan);
        let waits: Vec<_> = plans.flat_map(|plan| &plan.waits).collect();
        waits.iter().any(|wait| {
            let kind = match wait.kind {
                WaitKind::Candidate | WaitKind::DiskRecovery | WaitKind::Quorum => true,
                WaitKind::Lease => self.may_go_on_alone(),
                _ => false,
            };
            kind && self
                .nodes
                .iter()
                .enumerate()
                .any(|(node, name)| wait.detail.contains(name.as_str()) && !self.node_is_well(node))
        })
    }

    /// Nobody is there whose word a lost `async` primary would need to go on.
    fn may_go_on_alone(&self) -> bool {
        let Some(topology) = &self.store.topology else { return false };
        let prev = topology.vacancy().and_then(|vacancy| vacancy.prev.as_ref());
        let others = topology.in_sync.iter().filter(|tag| Some(&tag.run) != prev);
        !others.into_iter().any(|tag| self.node_is_well(Self::node_index(&tag.run.node)))
    }

    /// The node has a process that everybody can reach.
    pub(crate) fn node_is_well(&self, node: usize) -> bool {
        let Some(topology) = &self.store.topology else { return false };
        let Some(member) = topology.members.get(&self.nodes[node]) else { return false };
        let host = crate::controller::host_index(&member.host);
        let place = crate::net::Place::Host(host);
        let seats = 0..self.controllers.len();
        let seen = seats
            .map(crate::net::Place::Controller)
            .all(|controller| self.net.both(place, controller));
        self.hosts[host].up && self.hosts[host].agent && seen
    }

    fn why_not(&self) -> String {
        let leaders = self.controllers.iter().filter(|c| c.up && c.term.is_some());
        let waits: Vec<String> = leaders
            .flat_map(|c| &c.plan.waits)
            .map(|wait| format!("{} ({})", wait.kind, wait.detail))
            .collect();
        let state = self.store.topology.as_ref().map(|t| format!("{:?}", t.primaryship));
        format!("{} {}", state.unwrap_or_default(), waits.join("; "))
    }
}
