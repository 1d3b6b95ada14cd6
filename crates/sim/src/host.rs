//! Hosts: an agent with core's guard, the supervisor's lease, disks and processes.
//!
//! The agent executes orders late, one step after the other, may die between two steps, and has
//! forgotten everything but its disk when it comes back. Engines outlive it; the supervisor, which
//! keeps the lease of `async` groups, outlives it too.
//!
//! Invariant: an order is carried out only if core's guard admits it at that moment, with its
//! revision on disk.
//!
//! Not here: carrying orders out (`crate::hands`), the probe's report (`crate::probe`).

use tanist_core::guard::{ASK_EVERY, Due, Guard, Lease, Verdict};
use tanist_core::lag::LagMeter;
use tanist_core::model::{
    Applied, EngineSeen, Epoch, FenceAnswer, Instant, Order, Origin, Rev, Standing,
};

use crate::bugs::Bug;
use crate::config::MILLI;
use crate::controller::{ControllerMsg, News};
use crate::engine::Sched;
use crate::history::Pos;
use crate::net::Place;
use crate::stand_in::Proof;
use crate::world::{Clock, Event, World};

/// What a host has of one node: its process, its disk, and the agent's memory of both.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) node: usize,
    pub(crate) proc: Option<usize>,
    pub(crate) disk: Option<Pos>,
    pub(crate) origin: Origin,
    /// A data directory exists.
    pub(crate) data: bool,
    pub(crate) failed: Option<String>,
    pub(crate) fence: Option<FenceAnswer>,
    pub(crate) applied: Option<Applied>,
    pub(crate) standing: Standing,
    pub(crate) meter: LagMeter,
    pub(crate) silent_since: Option<u64>,
    pub(crate) last_seen: Option<EngineSeen>,
    /// The order that waits to be carried out, so that its repetitions are not queued.
    pub(crate) queued: Option<(Rev, &'static str)>,
    pub(crate) free_at: u64,
}

/// A machine.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) up: bool,
    pub(crate) agent: bool,
    /// Counts starts of the agent.
    pub(crate) turn: u32,
    /// What the agent works by.
    pub(crate) guard: Guard,
    /// What is on its disk.
    pub(crate) guard_on_disk: Guard,
    pub(crate) slots: Vec<Slot>,
    pub(crate) clock: Clock,
    pub(crate) lease: Lease,
    /// An order for a lease has to be asked for although nobody is primary yet.
    pub(crate) lease_wanted: bool,
    pub(crate) lease_watched: bool,
    /// What the supervisor has asked those who stand in.
    pub(crate) proof: Option<Proof>,
    /// When the agent has heard a controller, on the host's clock.
    pub(crate) heard_at: Instant,
    /// The last number that each controller sent.
    pub(crate) echo: [u64; 2],
    pub(crate) sequence: u64,
    pub(crate) cannot_start: bool,
    /// The agent dies before this step of the next order of several steps.
    pub(crate) dies_at_step: Option<u32>,
    pub(crate) draining: bool,
}

/// What an agent or supervisor hears.
#[derive(Debug, Clone)]
pub(crate) struct AgentMsg {
    pub(crate) host: usize,
    pub(crate) from: usize,
    pub(crate) word: AgentWord,
}

#[derive(Debug, Clone)]
pub(crate) enum AgentWord {
    /// A poll: its number, the nodes that should be here (a bit each), and orders.
    Poll { number: u64, nodes: u32, orders: Vec<Order> },
    /// A lease for a request sent at `asked_at` of the host's clock.
    Grant { epoch: Epoch, asked_at: Instant },
}

impl Host {
    pub(crate) fn new(clock: Clock) -> Self {
        Self {
            up: true,
            agent: true,
            turn: 0,
            guard: Guard::default(),
            guard_on_disk: Guard::default(),
            slots: Vec::new(),
            clock,
            lease: Lease::default(),
            lease_wanted: false,
            lease_watched: false,
            proof: None,
            heard_at: Instant::ZERO,
            echo: [0; 2],
            sequence: 0,
            cannot_start: false,
            dies_at_step: None,
            draining: false,
        }
    }
}

impl World {
    /// What the host has of the node; the directory of nothing if it never heard of it.
    pub(crate) fn slot(&mut self, host: usize, node: usize) -> &mut Slot {
        let slots = &mut self.hosts[host].slots;
        let index = slots.iter().position(|slot| slot.node == node).unwrap_or(slots.len());
        if index == slots.len() {
            slots.push(Slot {
                node,
                proc: None,
                disk: None,
                origin: Origin::Empty,
                data: false,
                failed: None,
                fence: None,
                applied: None,
                standing: Standing { on: false, turn: 0 },
                meter: LagMeter::default(),
                silent_since: None,
                last_seen: None,
                queued: None,
                free_at: 0,
            });
        }
        &mut slots[index]
    }

    pub(crate) fn at_agent(&mut self, msg: AgentMsg) {
        let AgentMsg { host, from, word } = msg;
        match word {
            AgentWord::Poll { number, nodes, orders } => {
                if self.hosts[host].up && self.hosts[host].agent {
                    self.polled(host, from, number, nodes, orders);
                }
            }
            AgentWord::Grant { epoch, asked_at } => {
                if self.hosts[host].up {
                    self.granted(host, epoch, asked_at);
                }
            }
        }
    }

    fn polled(&mut self, host: usize, from: usize, number: u64, nodes: u32, orders: Vec<Order>) {
        let machine = &mut self.hosts[host];
        machine.heard_at = machine.clock.shows(self.now);
        let echo = &mut machine.echo[from];
        *echo = (*echo).max(number);
        let mut new = false;
        for node in 0..12 {
            if nodes & (1 << node) != 0 {
                let known = self.hosts[host].slots.iter().any(|slot| slot.node == node);
                self.slot(host, node);
                new |= !known;
            }
        }
        for order in orders {
            self.ordered(host, order);
        }
        if new {
            self.report_soon(host);
        }
    }

    /// Judges an order as it comes; it is judged again when its turn comes.
    fn ordered(&mut self, host: usize, order: Order) {
        let guard = self.hosts[host].guard;
        let refused = matches!(guard.judge(order.rev, order.epoch), Verdict::Refuse { .. });
        if refused && !self.has(Bug::NoGuard) {
            self.census.refused_orders += 1;
            return;
        }
        let node = Self::node_index(&order.node);
        let name = order.action.name();
        let (now, turn) = (self.now, self.hosts[host].turn);
        let delay = self.dice.tail(self.config.hands / 10, self.config.hands);
        let slot = self.slot(host, node);
        if slot.queued == Some((order.rev, name)) {
            return;
        }
        slot.queued = Some((order.rev, name));
        slot.free_at = slot.free_at.max(now) + delay;
        let wait = slot.free_at - now;
        self.after(wait, Event::Execute(Box::new((host, turn, order, 0))));
    }

    /// An order's turn: the guard's word is on disk before anything is done.
    pub(crate) fn execute(&mut self, host: usize, turn: u32, order: Order, attempt: u32) {
        let machine = &self.hosts[host];
        if !machine.up || !machine.agent || machine.turn != turn {
            return;
        }
        let node = Self::node_index(&order.node);
        let guard = machine.guard;
        match guard.judge(order.rev, order.epoch) {
            Verdict::Refuse { .. } if !self.has(Bug::NoGuard) => {
                self.census.refused_orders += 1;
                return self.release_queue(host, node, &order);
            }
            Verdict::Refuse { .. } | Verdict::Admit => {}
            Verdict::Persist(next) => self.persist(host, next),
        }
        self.carry_out(host, node, order, attempt);
    }

    fn persist(&mut self, host: usize, next: Guard) {
        self.judge_guard(host, next);
        let forgets = self.has(Bug::ForgetRevision);
        let machine = &mut self.hosts[host];
        machine.guard = next;
        if !forgets {
            machine.guard_on_disk = next;
        }
    }

    pub(crate) fn release_queue(&mut self, host: usize, node: usize, order: &Order) {
        let slot = self.slot(host, node);
        if slot.queued == Some((order.rev, order.action.name())) {
            slot.queued = None;
        }
    }

    /// The agent's process ends; engines and the supervisor go on.
    pub(crate) fn agent_dies(&mut self, host: usize) {
        let machine = &mut self.hosts[host];
        machine.agent = false;
        machine.turn += 1;
    }

    /// The agent's process starts: it knows its disk and re-adopts processes, nothing else.
    pub(crate) fn agent_starts(&mut self, host: usize) {
        let machine = &mut self.hosts[host];
        if !machine.up || machine.agent {
            return;
        }
        machine.agent = true;
        machine.turn += 1;
        machine.guard = machine.guard_on_disk;
        machine.echo = [0; 2];
        machine.heard_at = machine.clock.shows(self.now);
        let start = self.now;
        for slot in &mut machine.slots {
            slot.failed = None;
            slot.fence = None;
            slot.applied = None;
            // What it was allowed before is not known to be taken back.
            slot.standing = Standing { on: true, turn: start.max(slot.standing.turn + 1) };
            slot.meter = LagMeter::default();
            slot.silent_since = None;
            slot.last_seen = None;
            slot.queued = None;
            slot.free_at = 0;
        }
        let turn = machine.turn;
        self.after(5 * MILLI, Event::AgentTick { host, turn });
    }

    /// The whole machine stops at once.
    pub(crate) fn host_crashes(&mut self, host: usize) {
        self.agent_dies(host);
        let machine = &mut self.hosts[host];
        machine.up = false;
        machine.lease = Lease::default();
        machine.lease_wanted = false;
        machine.proof = None;
        let procs: Vec<usize> = machine.slots.iter().filter_map(|slot| slot.proc).collect();
        for proc in procs {
            self.kill_proc(proc, true);
        }
    }

    pub(crate) fn host_returns(&mut self, host: usize) {
        self.hosts[host].up = true;
        self.agent_starts(host);
        if self.is_async() {
            self.after(MILLI, Event::LeaseTick { host });
        }
    }

    // The supervisor's lease.

    /// Asks for permission to accept writes, if a primary lives here.
    pub(crate) fn lease_tick(&mut self, host: usize) {
        if !self.hosts[host].up {
            return;
        }
        let mut procs = self.hosts[host].slots.iter().filter_map(|slot| slot.proc);
        let leads = procs.find(|proc| self.procs[*proc].is_primary());
        if leads.is_some() || self.hosts[host].lease_wanted {
            self.ask_for_lease(host);
        }
        if let Some(proc) = leads {
            let (machine, epoch) = (&self.hosts[host], Epoch(self.procs[proc].epoch));
            let now = machine.clock.shows(self.now);
            if machine.lease.due(epoch, now, &self.config.limits).0 == Due::Ask {
                self.ask_stand_ins(host, proc);
            }
        }
        self.after(ASK_EVERY.as_micros() as u64, Event::LeaseTick { host });
    }

    pub(crate) fn ask_for_lease(&mut self, host: usize) {
        let asked_at = self.hosts[host].clock.shows(self.now);
        for to in 0..self.controllers.len() {
            let place = Place::Controller(to);
            self.send(Place::Host(host), place, || {
                let news = News::LeaseAsked { host, asked_at };
                Event::AtController(Box::new(ControllerMsg { to, news }))
            });
        }
    }

    pub(crate) fn granted(&mut self, host: usize, epoch: Epoch, asked_at: Instant) {
        let receipt = self.has(Bug::LeaseFromReceipt);
        let limits = self.config.limits;
        let machine = &mut self.hosts[host];
        let from = if receipt { machine.clock.shows(self.now) } else { asked_at };
        machine.lease.grant(epoch, from, &limits);
    }

    /// Wakes the supervisor when the lease of a primary on this host may be over.
    pub(crate) fn watch_lease(&mut self, host: usize) {
        if self.is_async() && !self.hosts[host].lease_watched {
            self.hosts[host].lease_watched = true;
            self.after(0, Event::LeaseEnd { host });
        }
    }

    /// Time that is left for the engine to accept writes.
    pub(crate) fn lease_left(&self, proc: usize) -> u64 {
        let engine = &self.procs[proc];
        let host = &self.hosts[engine.host];
        let left = host.lease.left(Epoch(engine.epoch), host.clock.shows(self.now));
        left.as_micros() as u64
    }

    /// Fences every primary whose lease is over, and looks again when the next one may be.
    pub(crate) fn lease_end(&mut self, host: usize) {
        self.hosts[host].lease_watched = false;
        if !self.hosts[host].up || self.has(Bug::LeaseIgnored) {
            return;
        }
        let procs: Vec<usize> =
            self.hosts[host].slots.iter().filter_map(|slot| slot.proc).collect();
        for proc in procs {
            if !self.procs[proc].is_primary() {
                continue;
            }
            let left = self.lease_left(proc);
            if left > 0 {
                let span = self.hosts[host].clock.takes(left);
                if !std::mem::replace(&mut self.hosts[host].lease_watched, true) {
                    self.after(span, Event::LeaseEnd { host });
                }
            } else {
                self.fence_self(host, proc);
            }
        }
    }

    fn fence_self(&mut self, host: usize, proc: usize) {
        if self.procs[proc].responsive() {
            self.census.leases_ended += 1;
            let name = self.nodes[self.procs[proc].node].clone();
            self.tell(|| format!("{name} stops taking writes: its lease has ended"));
            self.replicaof(proc, None, None);
            // Confirmations of this epoch are void: the controller has to promote it once more.
            let node = self.procs[proc].node;
            self.slot(host, node).applied = None;
            self.report_soon(host);
        } else {
            self.after(50 * MILLI, Event::LeaseKill { host, proc });
        }
    }

    /// Not confirmed within 50 ms: killed, unless a lease has arrived meanwhile.
    pub(crate) fn lease_kill(&mut self, host: usize, proc: usize) {
        let engine = &self.procs[proc];
        if !self.hosts[host].up || !engine.alive || !engine.is_primary() {
            return;
        }
        if engine.sched == Sched::Running {
            return self.watch_lease(host);
        }
        if self.lease_left(proc) == 0 {
            self.census.leases_ended += 1;
            self.kill_proc(proc, false);
            self.report_soon(host);
        } else {
            self.watch_lease(host);
        }
    }
}
