//! The agent's hands: what each order makes of a node.
//!
//! Promotion has several steps, between which an agent may die: users of older epochs are deleted
//! first, the role changes, and only then the new epoch's users exist.
//!
//! Invariant: an answer to a fence tells what the engine said after it was frozen, or nothing.
//!
//! Not here: whether an order may be carried out at all (`crate::host`).

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use tanist_core::lag::LagMeter;
use tanist_core::model::accounts::mark;
use tanist_core::model::{
    Action, Applied, DataOnStart, Epoch, FenceAnswer, Fenced, Offset, Order, Origin, ProxyId, Rev,
    RunId, StandIn, Tag,
};

use crate::bugs::Bug;
use crate::config::MILLI;
use crate::engine::{Role, Sched};
use crate::world::{Event, World};

/// Attempts of a fence (5 ms apart) to wait for the old primary's last bytes.
const DRAIN_ATTEMPTS: u32 = 60;
/// Attempts (50 ms apart) to fence a primary that works or gets no processor before it is killed.
const BUSY_ATTEMPTS: u32 = 5;

impl World {
    /// Carries an order out, or a later part of it.
    pub(crate) fn carry_out(&mut self, host: usize, node: usize, order: Order, attempt: u32) {
        self.census.action(order.action.name());
        match &order.action {
            Action::Start { address, data, memory_bytes, .. } => {
                self.start(host, node, *address, *data);
                self.configure(host, node, *memory_bytes);
            }
            Action::Configure { memory_bytes } => self.configure(host, node, *memory_bytes),
            Action::Fence { was_primary, drain_to } => {
                let (was_primary, drain_to) = (*was_primary, *drain_to);
                if let Some(wait) = self.fence(host, node, &order, was_primary, drain_to, attempt) {
                    let turn = self.hosts[host].turn;
                    let again = Box::new((host, turn, order, attempt + 1));
                    return self.after(wait, Event::Execute(again));
                }
            }
            Action::Promote { run, replicas, lanes, stand_ins } => {
                self.take_stand_ins(host, node, run, stand_ins.as_ref());
                self.promote(host, node, &order, run, replicas, lanes);
            }
            Action::Admit { run, replicas, lanes, stand_ins } => {
                self.take_stand_ins(host, node, run, stand_ins.as_ref());
                self.admit(host, node, &order, run, replicas, lanes);
            }
            Action::Follow { tag, primary, lanes, .. } => {
                self.follow(host, node, &order, tag, *primary, lanes);
            }
            Action::Remove => self.remove(host, node),
        }
        self.release_queue(host, node, &order);
        self.report_soon(host);
    }

    fn configure(&mut self, host: usize, node: usize, memory_bytes: u64) {
        if let Some(proc) = self.slot(host, node).proc
            && self.procs[proc].responsive()
        {
            self.procs[proc].memory_limit = memory_bytes;
        }
    }

    fn start(&mut self, host: usize, node: usize, at: std::net::SocketAddr, data: DataOnStart) {
        let fails = self.hosts[host].cannot_start;
        let slot = self.slot(host, node);
        if slot.proc.is_some() {
            return;
        }
        if fails {
            slot.failed = Some("the data directory cannot be written".to_owned());
            return;
        }
        slot.failed = None;
        slot.data = true;
        if data == DataOnStart::SetAside {
            slot.disk = None;
        }
        let disk = slot.disk;
        let origin = if disk.is_none() { Origin::Empty } else { slot.origin };
        let name = self.nodes[node].clone();
        let with = if disk.is_some() { "the data on its disk" } else { "no data" };
        self.tell(|| format!("host-{} starts {name} with {with}", host + 1));
        let proc = self.start_proc(host, node, at, disk, origin);
        let slot = self.slot(host, node);
        slot.proc = Some(proc);
        slot.applied = None;
        slot.last_seen = None;
        slot.silent_since = None;
        slot.meter = LagMeter::default();
    }

    /// Freezes a node and notes its answer; `Some` says when to try again.
    fn fence(
        &mut self,
        host: usize,
        node: usize,
        order: &Order,
        was_primary: bool,
        drain_to: Option<Offset>,
        attempt: u32,
    ) -> Option<u64> {
        let Some(proc) = self.slot(host, node).proc else {
            self.answer(host, node, order.rev, Fenced::Dead);
            return None;
        };
        if !self.procs[proc].responsive() {
            let patience = match self.procs[proc].sched {
                Sched::Running | Sched::Stalled => 1,
                Sched::Busy | Sched::Starved => BUSY_ATTEMPTS,
                // It confirms nothing until somebody continues it.
                Sched::Stopped => 0,
            };
            if was_primary && attempt < patience {
                return Some(50 * MILLI);
            }
            if was_primary {
                if !self.has(Bug::DeadWithoutKill) {
                    self.kill_proc(proc, false);
                }
                self.answer(host, node, order.rev, Fenced::Dead);
            } else {
                let run = Some(self.procs[proc].run.clone());
                self.answer(host, node, order.rev, Fenced::Unusable { run });
            }
            return None;
        }
        let engine = &self.procs[proc];
        let behind = drain_to.is_some_and(|to| engine.pos.off < to.0) && engine.link_up.is_some();
        if behind && attempt < DRAIN_ATTEMPTS {
            return Some(5 * MILLI);
        }
        let state = self.freeze(proc);
        self.answer(host, node, order.rev, state);
        None
    }

    /// `REPLICAOF` the fence, then INFO.
    fn freeze(&mut self, proc: usize) -> Fenced {
        let engine = &self.procs[proc];
        let run = engine.run.clone();
        if engine.loading && !self.has(Bug::LoadingAnswers) {
            // Refused with -LOADING; while it loads it acknowledges nothing.
            return Fenced::Unusable { run: Some(run) };
        }
        let copying = engine.copying;
        let lies = engine.loading.then_some(engine.before).flatten();
        self.replicaof(proc, None, None);
        if copying {
            return Fenced::Unusable { run: Some(run) };
        }
        let engine = &self.procs[proc];
        let pos = lies.unwrap_or(engine.pos);
        let before =
            engine.before.map(|left| (self.logs.id(left.log).clone(), Offset(left.off + 1)));
        Fenced::Frozen {
            run,
            replid: self.logs.id(pos.log).clone(),
            before,
            offset: Offset(pos.off),
            origin: engine.origin,
        }
    }

    fn answer(&mut self, host: usize, node: usize, rev: Rev, state: Fenced) {
        let answer = FenceAnswer { rev, state };
        if self.slot(host, node).fence.as_ref() != Some(&answer) {
            self.tell_answer(node, &answer.state);
        }
        let slot = self.slot(host, node);
        slot.applied = None;
        slot.fence = Some(answer);
    }

    fn tell_answer(&mut self, node: usize, state: &Fenced) {
        let node = self.nodes[node].clone();
        self.tell(|| match state {
            Fenced::Dead => format!("{node} answers the fence: it has no process"),
            Fenced::Frozen { replid, offset, .. } => {
                format!("{node} answers the fence: frozen at offset {offset} of {replid}")
            }
            Fenced::Unusable { .. } => {
                format!("{node} answers the fence: what it holds cannot be compared now")
            }
        });
    }

    /// The node's process, if it is this run and answers.
    fn ready(&mut self, host: usize, node: usize, run: &RunId) -> Option<usize> {
        let proc = self.slot(host, node).proc?;
        let engine = &self.procs[proc];
        (engine.run == *run && engine.responsive() && !engine.loading).then_some(proc)
    }

    /// The supervisor hears of them before anything else is made true.
    fn take_stand_ins(
        &mut self,
        host: usize,
        node: usize,
        run: &RunId,
        stand_ins: Option<&BTreeSet<StandIn>>,
    ) {
        if let Some(proc) = self.ready(host, node, run) {
            self.procs[proc].stand_ins = stand_ins.cloned().unwrap_or_default();
        }
    }

    fn promote(
        &mut self,
        host: usize,
        node: usize,
        order: &Order,
        run: &RunId,
        replicas: &BTreeSet<Tag>,
        lanes: &BTreeSet<ProxyId>,
    ) {
        let Some(proc) = self.ready(host, node, run) else { return };
        let epoch = order.epoch.0;
        if self.is_async() && !self.may_accept(host, order.epoch) {
            // No role without permission: the order comes again.
            self.hosts[host].lease_wanted = true;
            return self.ask_for_lease(host);
        }
        if self.procs[proc].epoch != epoch && !self.has(Bug::KeepOldUsers) {
            self.set_users(proc, 0, BTreeMap::new(), BTreeSet::new());
        }
        if self.dies_here(host, 1) {
            return;
        }
        if !self.procs[proc].is_primary() {
            // Positions that it saw as a replica say nothing about its own replicas.
            self.slot(host, node).meter = LagMeter::default();
        }
        self.become_primary(proc, epoch);
        self.watch_lease(host);
        if self.dies_here(host, 2) {
            return;
        }
        self.admit(host, node, order, run, replicas, lanes);
        self.hosts[host].lease_wanted = false;
    }

    fn may_accept(&self, host: usize, epoch: Epoch) -> bool {
        let host = &self.hosts[host];
        !host.lease.left(epoch, host.clock.shows(self.now)).is_zero()
    }

    /// The planted death of an agent between two steps.
    fn dies_here(&mut self, host: usize, step: u32) -> bool {
        let dies = self.hosts[host].dies_at_step == Some(step);
        if dies {
            self.hosts[host].dies_at_step = None;
            self.agent_dies(host);
        }
        dies
    }

    fn admit(
        &mut self,
        host: usize,
        node: usize,
        order: &Order,
        run: &RunId,
        replicas: &BTreeSet<Tag>,
        lanes: &BTreeSet<ProxyId>,
    ) {
        let Some(proc) = self.ready(host, node, run) else { return };
        let engine = &self.procs[proc];
        // Admission is no promotion: a run that fenced itself has to be promoted again.
        if !engine.is_primary() {
            return;
        }
        self.tell_admission(node, replicas, lanes);
        let mut tags: BTreeMap<u64, Rc<str>> =
            replicas.iter().map(|tag| (tag.seq, Rc::from(tag.to_string()))).collect();
        let mut users: BTreeSet<usize> = lanes.iter().map(Self::proxy_number).collect();
        if self.has(Bug::KeepOldUsers) {
            let engine = &mut self.procs[proc];
            tags.extend(engine.tags.clone());
            users.extend(engine.lane_users.clone());
            engine.tags = tags;
            engine.lane_users = users;
            engine.epoch = order.epoch.0;
        } else {
            self.set_users(proc, order.epoch.0, tags, users);
        }
        let seqs = replicas.iter().map(|tag| tag.seq).collect();
        let applied = Applied {
            rev: order.rev,
            epoch: order.epoch,
            run: run.clone(),
            primary: true,
            seqs,
            lanes: lanes.clone(),
            users: mark(&order.users),
            stand_ins: self.procs[proc].stand_ins.iter().map(|one| one.tag.seq).collect(),
        };
        self.apply(host, node, applied);
    }

    fn tell_admission(&mut self, node: usize, replicas: &BTreeSet<Tag>, lanes: &BTreeSet<ProxyId>) {
        let node = self.nodes[node].clone();
        self.tell(|| {
            let replicas = replicas.iter().map(|tag| tag.run.node.as_str());
            let all: Vec<&str> = replicas.chain(lanes.iter().map(ProxyId::as_str)).collect();
            let all = if all.is_empty() { "nobody".to_owned() } else { all.join(", ") };
            format!("{node} lets in: {all}")
        });
    }

    fn apply(&mut self, host: usize, node: usize, applied: Applied) {
        let slot = self.slot(host, node);
        slot.applied = Some(applied);
        // What was probed before says nothing about the state that the order has made.
        slot.last_seen = None;
    }

    fn follow(
        &mut self,
        host: usize,
        node: usize,
        order: &Order,
        tag: &Tag,
        primary: std::net::SocketAddr,
        lanes: &BTreeSet<ProxyId>,
    ) {
        let Some(proc) = self.ready(host, node, &tag.run.id) else { return };
        let wire: Rc<str> = Rc::from(tag.to_string());
        let target = Role::Replica { of: Some(primary), tag: Some((tag.seq, wire.clone())) };
        if self.procs[proc].role != target {
            let (name, epoch) = (self.nodes[node].clone(), order.epoch);
            let leader = self.procs.iter().rev().find(|proc| proc.address == primary);
            let leader = leader.map(|proc| self.nodes[proc.node].clone());
            self.tell(|| {
                let leader = leader.map_or(primary.to_string(), |node| node.to_string());
                format!("{name} is told to follow {leader} in epoch {epoch}")
            });
            self.replicaof(proc, Some(primary), Some((tag.seq, wire)));
        }
        let users = lanes.iter().map(Self::proxy_number).collect();
        self.set_users(proc, order.epoch.0, BTreeMap::new(), users);
        let seqs = BTreeSet::from([tag.seq]);
        let applied = Applied {
            rev: order.rev,
            epoch: order.epoch,
            run: tag.run.id.clone(),
            primary: false,
            seqs,
            lanes: lanes.clone(),
            users: mark(&order.users),
            stand_ins: BTreeSet::new(),
        };
        self.apply(host, node, applied);
    }

    fn remove(&mut self, host: usize, node: usize) {
        if let Some(proc) = self.slot(host, node).proc {
            self.kill_proc(proc, false);
        }
        let name = self.nodes[node].clone();
        self.tell(|| format!("host-{} deletes {name} and its data", host + 1));
        let slot = self.slot(host, node);
        slot.disk = None;
        slot.data = false;
        slot.applied = None;
        slot.last_seen = None;
    }
}
