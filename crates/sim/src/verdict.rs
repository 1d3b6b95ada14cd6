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
    if world.config.mode == Mode::Liveness {
        world.judge_service();
    }
    Ending {
        seed: world.config.seed,
        mode: world.config.mode,
        violation: world.judge.violation.clone(),
        acked: world.judge.acks,
        forgiven: world.judge.forgiven,
        simulated: world.now,
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
        let mut found: BTreeMap<u64, u64> = BTreeMap::new();
        for write in self.logs.writes(engine.pos) {
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

    /// V8: writes are acknowledged again, or it is said whose absence prevents it.
    fn judge_service(&mut self) {
        if self.judge.violation.is_some() || self.judge.deleted {
            return;
        }
        if self.spec.replicas < self.config.min_in_sync {
            // Asked for: no write without a replica, and no replica.
            return;
        }
        let silent = self.now - self.judge.last_ack;
        if silent < 10 * SECOND || self.missing_run_is_named() {
            return;
        }
        let detail = format!("no write for {} s: {}", silent / SECOND, self.why_not());
        self.violated("V8", detail);
    }

    fn missing_run_is_named(&self) -> bool {
        let plans = self.controllers.iter().filter(|c| c.up && c.term.is_some()).map(|c| &c.plan);
        let waits: Vec<_> = plans.flat_map(|plan| &plan.waits).collect();
        let named = waits.iter().any(|wait| {
            let kind = matches!(
                wait.kind,
                WaitKind::Candidate | WaitKind::DiskRecovery | WaitKind::Quorum
            );
            kind && self.nodes.iter().enumerate().any(|(node, name)| {
                wait.detail.contains(name.as_str()) && !self.node_is_well(node)
            })
        });
        named
    }

    /// The node has a process that everybody can reach.
    fn node_is_well(&self, node: usize) -> bool {
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
