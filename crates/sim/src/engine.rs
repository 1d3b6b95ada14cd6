//! Engines: processes with a role, a history, users and a queue, as measured on real ones.
//!
//! What matters of an engine is modelled as it behaves, not as one would wish: bytes that reached a
//! stopped process are executed when it goes on, a demoted primary still feeds its replicas up to
//! its last offset, WAIT counts anonymous links, and a link that died may stay listed.
//!
//! Invariant: nothing here knows epochs or revisions beyond the names of users.
//!
//! Not here: links and full copies (`crate::replication`), who gives orders (`crate::host`).

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::rc::Rc;

use tanist_core::model::{Health, Origin, RunId, StandIn};

use crate::bugs::Bug;
use crate::config::{MILLI, SECOND};
use crate::history::{Pos, WriteId};
use crate::net::Place;
use crate::proxy::{ProxyMsg, ProxyNews};
use crate::world::{Event, World};

/// What keeps a process from answering.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sched {
    Running,
    Stopped,
    Stalled,
    Busy,
    Starved,
}

/// A process's role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Role {
    Primary,
    /// `of: None` is the fence.
    Replica {
        of: Option<SocketAddr>,
        tag: Option<(u64, Rc<str>)>,
    },
}

/// One engine process, from its start to its death.
#[derive(Debug)]
pub(crate) struct Proc {
    pub(crate) run: RunId,
    pub(crate) node: usize,
    pub(crate) host: usize,
    pub(crate) address: SocketAddr,
    pub(crate) alive: bool,
    pub(crate) sched: Sched,
    /// Counts changes of `sched`, so that a late resumption does not end a later stop.
    pub(crate) sched_turn: u32,
    pub(crate) loading: bool,
    /// Receiving a full copy, before the old data is dropped.
    pub(crate) copying: bool,
    /// What it lacks is not in anybody's backlog: only a full copy helps.
    pub(crate) must_copy: bool,
    pub(crate) role: Role,
    /// Counts changes of whom it follows.
    pub(crate) turn: u32,
    pub(crate) pos: Pos,
    /// The history before, and where it was left.
    pub(crate) before: Option<Pos>,
    pub(crate) origin: Origin,
    /// It was promoted or given a full copy since it started: what it holds is complete in itself.
    pub(crate) settled: bool,
    /// It was told to follow or to lead since it started: its disk may differ from what it loaded.
    pub(crate) touched: bool,
    /// Why it refuses writes, beside its role.
    pub(crate) health: Option<Health>,
    /// It can start no child process, and so give nobody a full copy.
    pub(crate) cannot_fork: bool,
    /// What it was started or configured with, in bytes.
    pub(crate) memory_limit: u64,
    /// Replication users by attachment number.
    pub(crate) tags: BTreeMap<u64, Rc<str>>,
    /// Proxies that have a lane user.
    pub(crate) lane_users: BTreeSet<usize>,
    /// The epoch of its users.
    pub(crate) epoch: u64,
    /// Who together may confirm its lease, as its host's supervisor knows.
    pub(crate) stand_ins: BTreeSet<StandIn>,
    /// The attachment whose word it gives for its primary's lease.
    pub(crate) stands_for: Option<u64>,
    pub(crate) links_down: Vec<usize>,
    pub(crate) link_up: Option<usize>,
    pub(crate) lanes: Vec<usize>,
    pub(crate) inbox: Vec<EngineMsg>,
    pub(crate) waiters: Vec<Waiter>,
    /// What a power cut would leave on its disk.
    pub(crate) synced: Pos,
    pub(crate) synced_at: u64,
    pub(crate) changed_at: u64,
}

/// A lane: one connection of a proxy to an engine, as a user of one epoch.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) seat: usize,
    pub(crate) number: usize,
    pub(crate) proc: usize,
    pub(crate) epoch: u64,
    pub(crate) open: bool,
}

/// A replication link, as both its ends see it.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) up: usize,
    pub(crate) down: usize,
    pub(crate) seq: u64,
    pub(crate) wire: Rc<str>,
    /// Still listed by the upper end, maybe as a ghost.
    pub(crate) listed: bool,
    /// In use at the lower end.
    pub(crate) live: bool,
    pub(crate) online: bool,
    pub(crate) acked: u64,
    pub(crate) receiving: bool,
    pub(crate) acking: bool,
    /// Bytes on their way.
    pub(crate) target: u64,
    pub(crate) stalled_since: Option<u64>,
    /// Nothing passes until then, although nobody is told.
    pub(crate) blocked_until: u64,
    pub(crate) snapshot: Pos,
}

/// A batch whose WAIT has not returned.
#[derive(Debug)]
pub(crate) struct Waiter {
    pub(crate) lane: usize,
    pub(crate) batch: u64,
    pub(crate) position: u64,
    pub(crate) count: usize,
}

/// Bytes that arrive at an engine.
#[derive(Debug, Clone)]
pub(crate) struct EngineMsg {
    pub(crate) lane: usize,
    pub(crate) ask: Ask,
}

/// What they ask.
#[derive(Debug, Clone)]
pub(crate) enum Ask {
    /// Authenticate as the lane's user.
    Connect,
    /// `cmds, ROLE, WAIT count, ROLE`.
    Batch { batch: u64, writes: Rc<[WriteId]>, count: usize },
    /// ROLE once more.
    Role { batch: u64, position: u64 },
}

impl Proc {
    pub(crate) fn responsive(&self) -> bool {
        self.alive && self.sched == Sched::Running
    }

    pub(crate) fn is_primary(&self) -> bool {
        self.role == Role::Primary
    }

    /// Notes that its data is about to change; the append-only file is flushed every second.
    pub(crate) fn touch(&mut self, now: u64) {
        if now - self.synced_at >= SECOND {
            self.synced = self.pos;
            self.synced_at = now;
        }
        self.changed_at = now;
    }
}

impl World {
    /// Starts a process: a replica of the fence, without users, whatever it was before.
    pub(crate) fn start_proc(
        &mut self,
        host: usize,
        node: usize,
        address: SocketAddr,
        disk: Option<Pos>,
        origin: Origin,
    ) -> usize {
        let number = self.procs.len();
        let log = self.logs.create(disk, 0);
        let pos = Pos { log, off: 0 };
        let run = RunId::new(format!("{number:08x}{:032x}", self.config.seed));
        let loading = disk.is_some();
        let as_primary = self.has(Bug::StartAsPrimary);
        self.procs.push(Proc {
            run,
            node,
            host,
            address,
            alive: true,
            sched: Sched::Running,
            sched_turn: 0,
            loading,
            copying: false,
            must_copy: false,
            role: if as_primary { Role::Primary } else { Role::Replica { of: None, tag: None } },
            turn: 0,
            pos,
            before: None,
            origin,
            settled: false,
            touched: as_primary,
            health: None,
            cannot_fork: false,
            memory_limit: 0,
            tags: BTreeMap::new(),
            lane_users: BTreeSet::new(),
            epoch: 0,
            stand_ins: BTreeSet::new(),
            stands_for: None,
            links_down: Vec::new(),
            link_up: None,
            lanes: Vec::new(),
            inbox: Vec::new(),
            waiters: Vec::new(),
            synced: pos,
            synced_at: self.now,
            changed_at: self.now,
        });
        if as_primary {
            self.judge_role(number, None);
        }
        let duration = self.dice.range(5 * MILLI, 400 * MILLI);
        if loading {
            self.after(duration, Event::LoadDone { proc: number });
        }
        number
    }

    pub(crate) fn load_done(&mut self, proc: usize) {
        let engine = &mut self.procs[proc];
        engine.loading = false;
        let (host, node) = (engine.host, engine.node);
        if engine.alive {
            let name = self.nodes[node].clone();
            self.tell(|| format!("{name} has loaded its disk"));
        }
        self.report_soon(host);
    }

    /// Ends a process. A power cut loses what was not flushed.
    pub(crate) fn kill_proc(&mut self, proc: usize, power_cut: bool) {
        let now = self.now;
        let engine = &mut self.procs[proc];
        if !engine.alive {
            return;
        }
        engine.alive = false;
        engine.inbox.clear();
        engine.waiters.clear();
        let flushed = now - engine.changed_at > SECOND + SECOND / 2;
        let left = if power_cut && !flushed { engine.synced } else { engine.pos };
        let (host, node, loading) = (engine.host, engine.node, engine.loading);
        // Nothing was written: an orderly stop's disk is still what it was.
        let kept = engine.origin == Origin::CleanStop && !engine.touched;
        let links = std::mem::take(&mut engine.links_down);
        let up = engine.link_up.take();
        let lanes = std::mem::take(&mut engine.lanes);
        let slot = self.slot(host, node);
        slot.proc = None;
        // A process that dies while it loads leaves its disk as it was.
        if !loading || slot.disk.is_none() {
            slot.disk = Some(left);
        }
        slot.origin = if kept { Origin::CleanStop } else { Origin::Crash };
        let name = self.nodes[node].clone();
        self.tell(|| format!("{name}: its process ends"));
        for link in links {
            self.upper_end_dies(link, power_cut);
        }
        if let Some(link) = up {
            self.lower_end_leaves(link, power_cut);
        }
        for lane in lanes {
            self.close_lane(lane, !power_cut);
        }
    }

    /// Stops every process of the group in order. What a crash had left is no better for that.
    pub(crate) fn stop_in_order(&mut self) {
        for proc in 0..self.procs.len() {
            let engine = &self.procs[proc];
            if !engine.alive {
                continue;
            }
            let (host, node) = (engine.host, engine.node);
            let lies = self.config.bug == Some(Bug::CrashCalledClean);
            let complete = engine.settled || engine.origin != Origin::Crash || lies;
            self.kill_proc(proc, false);
            let origin = if complete { Origin::CleanStop } else { Origin::Crash };
            self.slot(host, node).origin = origin;
            self.report_soon(host);
        }
    }

    /// Closes a lane; the proxy hears of it unless the host went silent with it.
    pub(crate) fn close_lane(&mut self, lane: usize, told: bool) {
        let connection = &mut self.lanes[lane];
        if !connection.open {
            return;
        }
        connection.open = false;
        if told {
            self.tell_proxy(lane, ProxyNews::Closed);
        }
    }

    /// Bytes on a lane toward its proxy.
    pub(crate) fn tell_proxy(&mut self, lane: usize, news: ProxyNews) {
        let Lane { seat, number, proc, .. } = self.lanes[lane];
        let delay = self.stream_delay();
        let from = self.procs[proc].host;
        let msg = ProxyMsg { seat, number, from: Some(from), lane, news };
        self.after(delay, Event::AtProxy(Box::new(msg)));
    }

    /// Mostly fast; a few bytes come seconds late, which is what makes old answers dangerous.
    pub(crate) fn stream_delay(&mut self) -> u64 {
        let late = self.dice.chance(self.config.net_stuck);
        let stuck = if late { self.dice.range(0, 3 * SECOND) } else { 0 };
        self.net.stream(&mut self.dice) + stuck
    }

    pub(crate) fn at_engine(&mut self, msg: EngineMsg) {
        let lane = &self.lanes[msg.lane];
        if !lane.open {
            return;
        }
        let (seat, proc) = (lane.seat, lane.proc);
        let engine = &self.procs[proc];
        if !self.net.open(Place::Proxy(seat), Place::Host(engine.host)) {
            return self.after(100 * MILLI, Event::AtEngine(Box::new(msg)));
        }
        if !engine.alive {
            return self.close_lane(msg.lane, true);
        }
        if !engine.responsive() {
            return self.procs[proc].inbox.push(msg);
        }
        self.serve(proc, msg);
    }

    /// What an engine does with bytes of a lane.
    fn serve(&mut self, proc: usize, msg: EngineMsg) {
        if !self.lanes[msg.lane].open {
            return;
        }
        match msg.ask {
            Ask::Connect => self.authenticate(proc, msg.lane),
            Ask::Batch { batch, writes, count } => {
                self.serve_batch(proc, msg.lane, batch, &writes, count);
            }
            Ask::Role { batch, position } => self.answer_role(proc, msg.lane, batch, position),
        }
    }

    fn authenticate(&mut self, proc: usize, lane: usize) {
        let engine = &mut self.procs[proc];
        let connection = &self.lanes[lane];
        let known =
            engine.epoch == connection.epoch && engine.lane_users.contains(&connection.number);
        if known {
            engine.lanes.push(lane);
            self.tell_proxy(lane, ProxyNews::Connected);
        } else {
            self.close_lane(lane, true);
        }
    }

    fn serve_batch(
        &mut self,
        proc: usize,
        lane: usize,
        batch: u64,
        writes: &[WriteId],
        count: usize,
    ) {
        let engine = &self.procs[proc];
        let refusal = if engine.loading {
            Some("LOADING")
        } else if !engine.is_primary() {
            Some("READONLY")
        } else {
            engine.health.map(|health| match health {
                Health::OutOfMemory => "OOM",
                Health::BusyScript => "BUSY",
                Health::NoReplicas => "NOREPLICAS",
                _ => "MISCONF",
            })
        };
        if let Some(code) = refusal {
            return self.tell_proxy(lane, ProxyNews::Refused { batch, code });
        }
        let epoch = self.lanes[lane].epoch;
        for write in writes {
            self.execute_write(proc, *write, epoch);
        }
        let position = self.procs[proc].pos.off;
        self.procs[proc].waiters.push(Waiter { lane, batch, position, count });
        self.pump_all(proc);
        self.serve_waiters(proc);
    }

    fn execute_write(&mut self, proc: usize, write: WriteId, epoch: u64) {
        let now = self.now;
        self.judge_execution(proc, write, epoch);
        let noise = self.dice.chance(20);
        let engine = &mut self.procs[proc];
        engine.touch(now);
        let log = engine.pos.log;
        if noise {
            self.logs.append(log, 0);
        }
        self.procs[proc].pos.off = self.logs.append(log, write);
    }

    /// Wakes every WAIT whose count is reached.
    pub(crate) fn serve_waiters(&mut self, proc: usize) {
        if self.procs[proc].waiters.is_empty() {
            return;
        }
        let waiters = std::mem::take(&mut self.procs[proc].waiters);
        let (ready, blocked) = waiters
            .into_iter()
            .partition(|waiter| self.wait_count(proc, waiter.position) >= waiter.count);
        self.procs[proc].waiters = blocked;
        for Waiter { lane, batch, position, .. } in ready {
            self.answer_role(proc, lane, batch, position);
        }
    }

    /// What WAIT returns: listed links, whoever they are, at or past the position.
    fn wait_count(&self, proc: usize, position: u64) -> usize {
        let links = self.procs[proc].links_down.iter().map(|link| &self.links[*link]);
        links.filter(|link| link.listed && link.online && link.acked >= position).count()
    }

    fn answer_role(&mut self, proc: usize, lane: usize, batch: u64, position: u64) {
        let engine = &self.procs[proc];
        let mut waiters = engine.waiters.iter();
        let waiter = waiters.find(|waiter| (waiter.lane, waiter.batch) == (lane, batch));
        let position = waiter.map_or(position, |waiter| waiter.position);
        if position == 0 {
            // ROLE came before the batch did: the connection keeps its order, so it waits.
            return;
        }
        let acked = if engine.is_primary() && !engine.loading {
            let links = engine.links_down.iter().map(|link| &self.links[*link]);
            links.filter(|l| l.listed).map(|l| (Rc::clone(&l.wire), l.acked)).collect()
        } else {
            Vec::new()
        };
        let is_primary = engine.is_primary();
        let count = self.wait_count(proc, position);
        self.tell_proxy(lane, ProxyNews::Role { batch, position, is_primary, acked, count });
    }

    /// Keeps a process from answering; `until` ends it by itself.
    pub(crate) fn hold_proc(&mut self, proc: usize, sched: Sched, span: Option<u64>) {
        let engine = &mut self.procs[proc];
        engine.sched = sched;
        engine.sched_turn += 1;
        let turn = engine.sched_turn;
        if let Some(span) = span {
            self.after(span, Event::Resume { proc, turn });
        }
    }

    /// Lets a process go on: it first executes what has arrived meanwhile.
    pub(crate) fn resume(&mut self, proc: usize, turn: u32) {
        let engine = &mut self.procs[proc];
        if engine.sched_turn != turn || !engine.alive {
            return;
        }
        engine.sched = Sched::Running;
        engine.sched_turn += 1;
        for msg in std::mem::take(&mut self.procs[proc].inbox) {
            self.serve(proc, msg);
        }
        self.pump_all(proc);
        if let Some(link) = self.procs[proc].link_up {
            self.pump(link);
        }
    }

    /// `REPLICAOF`: follow somebody, or the fence (`None`). Keeps the data and its position.
    pub(crate) fn replicaof(
        &mut self,
        proc: usize,
        of: Option<SocketAddr>,
        tag: Option<(u64, Rc<str>)>,
    ) {
        let engine = &mut self.procs[proc];
        let was_primary = engine.is_primary();
        engine.turn += 1;
        engine.copying = false;
        engine.touched |= of.is_some();
        engine.role = Role::Replica { of, tag };
        let turn = engine.turn;
        let up = engine.link_up.take();
        let waiters = std::mem::take(&mut engine.waiters);
        if let Some(link) = up {
            self.lower_end_leaves(link, false);
        }
        if was_primary {
            // A blocked WAIT ends with an error; what it waited for is on its way nevertheless.
            for Waiter { lane, batch, position, .. } in waiters {
                self.answer_role(proc, lane, batch, position);
            }
        }
        if of.is_some() {
            self.after(MILLI, Event::ReplicaConnects { proc, turn });
        }
    }

    /// `REPLICAOF NO ONE`: a new history that goes on from the old one.
    pub(crate) fn become_primary(&mut self, proc: usize, epoch: u64) {
        let engine = &mut self.procs[proc];
        if engine.is_primary() {
            return;
        }
        engine.turn += 1;
        engine.copying = false;
        engine.role = Role::Primary;
        engine.settled = true;
        engine.touched = true;
        let old = engine.pos;
        let up = engine.link_up.take();
        engine.before = Some(old);
        let log = self.logs.create(Some(old), old.off);
        self.procs[proc].pos = Pos { log, off: old.off };
        if let Some(link) = up {
            self.lower_end_leaves(link, false);
        }
        self.drop_links_down(proc);
        let name = self.nodes[self.procs[proc].node].clone();
        self.tell(|| format!("{name} takes writes as the primary of epoch {epoch}"));
        self.judge_role(proc, Some(epoch));
    }

    /// Replaces the users: links and lanes of users that are gone die at once.
    pub(crate) fn set_users(
        &mut self,
        proc: usize,
        epoch: u64,
        tags: BTreeMap<u64, Rc<str>>,
        lanes: BTreeSet<usize>,
    ) {
        let engine = &mut self.procs[proc];
        let new_epoch = engine.epoch != epoch;
        engine.epoch = epoch;
        engine.tags = tags;
        engine.lane_users = lanes;
        let links = engine.links_down.clone();
        let open = engine.lanes.clone();
        for link in links {
            if !self.procs[proc].tags.contains_key(&self.links[link].seq) {
                self.break_link(link, false);
            }
        }
        for lane in open {
            let Lane { number, .. } = self.lanes[lane];
            if new_epoch || !self.procs[proc].lane_users.contains(&number) {
                self.close_lane(lane, true);
            }
        }
        self.procs[proc].lanes.retain(|lane| self.lanes[*lane].open);
    }
}
