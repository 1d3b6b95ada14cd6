//! What an agent sees and says: probes of its engines, and reports to every controller.
//!
//! A report carries the last number that its controller sent, so that the controller knows a lower
//! bound of when the sample was taken without comparing clocks.
//!
//! Invariant: what a report says about an engine was sampled after what it says was applied.
//!
//! Not here: what follows from it (core's `decide`).

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tanist_core::model::{
    EngineSeen, Health, NodeId, NodeReport, Offset, Process, ReplicaSeen, RoleSeen, Stall,
};

use crate::config::MILLI;
use crate::controller::{ControllerMsg, News};
use crate::engine::{Proc, Role, Sched};
use crate::net::Place;
use crate::world::{Event, World};

/// One agent's view of its host.
#[derive(Debug)]
pub(crate) struct HostReport {
    pub(crate) host: usize,
    /// The agent's start and the report's number since then.
    pub(crate) sequence: (u32, u64),
    pub(crate) echo: u64,
    pub(crate) nodes: Rc<Vec<(NodeId, NodeReport)>>,
}

impl World {
    pub(crate) fn agent_tick(&mut self, host: usize, turn: u32) {
        let machine = &self.hosts[host];
        if !machine.up || !machine.agent || machine.turn != turn {
            return;
        }
        self.report_soon(host);
        self.after(50 * MILLI, Event::AgentTick { host, turn });
    }

    /// Probes and reports now, if an agent is there to do it.
    pub(crate) fn report_soon(&mut self, host: usize) {
        let machine = &mut self.hosts[host];
        if !machine.up || !machine.agent {
            return;
        }
        machine.sequence += 1;
        let sequence = (machine.turn, machine.sequence);
        let echo = machine.echo;
        let mut nodes = Vec::with_capacity(self.hosts[host].slots.len());
        for index in 0..self.hosts[host].slots.len() {
            self.probe(host, index);
            nodes.push(self.node_report(host, index));
        }
        let nodes = Rc::new(nodes);
        for (to, echo) in echo.into_iter().enumerate().take(self.controllers.len()) {
            self.send(Place::Host(host), Place::Controller(to), || {
                let nodes = Rc::clone(&nodes);
                let report = HostReport { host, sequence, echo, nodes };
                Event::AtController(Box::new(ControllerMsg { to, news: News::Report(report) }))
            });
        }
    }

    fn probe(&mut self, host: usize, index: usize) {
        let now = self.now;
        let Some(proc) = self.hosts[host].slots[index].proc else { return };
        if !self.procs[proc].responsive() {
            self.hosts[host].slots[index].silent_since.get_or_insert(now);
            return;
        }
        let local = self.hosts[host].clock.shows(now);
        let offset = Offset(self.procs[proc].pos.off);
        let slot = &mut self.hosts[host].slots[index];
        slot.silent_since = None;
        slot.meter.note(local, offset);
        let seen = self.engine_seen(host, index, proc);
        self.hosts[host].slots[index].last_seen = Some(seen);
        self.stand(host, index, proc);
    }

    fn engine_seen(&self, host: usize, index: usize, proc: usize) -> EngineSeen {
        let engine = &self.procs[proc];
        let role = match &engine.role {
            Role::Primary => RoleSeen::Primary { replicas: self.replicas_seen(host, index, proc) },
            Role::Replica { of, .. } => RoleSeen::Replica {
                link_up: engine.link_up.is_some_and(|link| self.links[link].online),
                syncing: engine.copying || (engine.loading && engine.link_up.is_some()),
                of: *of,
            },
        };
        EngineSeen {
            run: engine.run.clone(),
            role,
            replid: self.logs.id(engine.pos.log).clone(),
            offset: Offset(engine.pos.off),
            health: health(engine),
            memory_bytes: 1 << 20,
            memory_limit: Some(engine.memory_limit),
            fork_error: engine.cannot_fork.then(|| "Cannot allocate memory".to_owned()),
        }
    }

    /// Every attachment that the primary lets in; the best of its links, should a ghost be listed.
    fn replicas_seen(&self, host: usize, index: usize, proc: usize) -> Vec<ReplicaSeen> {
        let engine = &self.procs[proc];
        let slot = &self.hosts[host].slots[index];
        let local = self.hosts[host].clock.shows(self.now);
        let seen = engine.tags.iter().map(|(seq, wire)| {
            let links = engine.links_down.iter().map(|link| &self.links[*link]);
            let links = links.filter(|link| link.listed && link.seq == *seq);
            let best = links.map(|link| (link.online, link.acked)).max();
            let (online, acked) = best.unwrap_or((false, 0));
            let behind = slot.meter.behind(local, Offset(acked));
            ReplicaSeen { tag: wire.to_string(), online, acked: Offset(acked), behind }
        });
        seen.collect()
    }

    fn node_report(&self, host: usize, index: usize) -> (NodeId, NodeReport) {
        let machine = &self.hosts[host];
        let slot = &machine.slots[index];
        let proc = slot.proc.map(|proc| &self.procs[proc]);
        let process = match (proc, &slot.failed) {
            (Some(engine), _) => Process::Running(Some(engine.run.clone())),
            (None, Some(reason)) => Process::Failed(reason.clone()),
            (None, None) => Process::Absent,
        };
        let silent = slot.silent_since.map_or(0, |since| self.now - since);
        let report = NodeReport {
            rev: machine.guard.rev,
            process,
            engine: slot.last_seen.clone(),
            silent: Duration::from_micros(silent),
            stall: proc.map_or(Stall::None, stall),
            fence: slot.fence.clone(),
            applied: slot.applied.clone().map(Arc::new),
            data: slot.data,
            standing: Some(slot.standing),
        };
        (self.nodes[slot.node].clone(), report)
    }
}

fn stall(engine: &Proc) -> Stall {
    match engine.sched {
        Sched::Running => Stall::None,
        Sched::Stopped => Stall::Stopped,
        Sched::Stalled => Stall::Stalled,
        Sched::Busy => Stall::Busy,
        Sched::Starved => Stall::Starved,
    }
}

fn health(engine: &Proc) -> Health {
    if engine.loading {
        return Health::Loading;
    }
    if !engine.is_primary() {
        return Health::ReadOnly;
    }
    engine.health.unwrap_or(Health::Writable)
}
