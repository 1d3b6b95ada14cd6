//! Faults, and people who ask for things: what happens to a world from outside.
//!
//! Each has a beginning and an end. What it does is undone by what it noted when it began, so faults
//! overlap freely.
//!
//! Invariant: a fault draws its target when it begins; a world in which nothing fits skips it.
//!
//! Not here: which faults a seed gets (`crate::genesis`), what operators ask for (`crate::people`).

use tanist_core::model::Health;

use crate::config::{MILLI, SECOND};
use crate::controller::Death;
use crate::engine::Sched;
use crate::net::Place;
use crate::world::{Event, World};

macro_rules! kinds {
    ($($variant:ident,)*) => {
        /// What can happen to a world.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub(crate) enum Kind { $($variant,)* }

        impl Kind {
            pub(crate) const ALL: &'static [Self] = &[$(Self::$variant,)*];

            pub(crate) fn name(self) -> &'static str {
                match self { $(Self::$variant => stringify!($variant),)* }
            }
        }
    };
}

kinds! {
    KillPrimary, KillReplica, StopPrimary, StopReplica, StallPrimary, BusyPrimary, StarvePrimary,
    BusyReplica, CrashPrimaryHost, CrashHost, CrashAllHosts, RestartGroup, CutHost, CutPrimaryHost,
    CutFromControllers, CutReplication, CutOneWay, CutProxy, CutController, CutStore, LoseMessages,
    KillAgent, KillAgentInOrder, KillController, KillControllerAtWrite, CutStoreAtWrite,
    PauseController, SlowStore,
    ForgetfulStore, OldStore, KillProxy, DeafProxy, MuteProxy, DeadRoute, StallLink, GhostLink, FullCopy,
    RefuseWrites, ForkFails, CannotStart, DrainHost, Switchover, Failover, MoveTo, MoreReplicas,
    FewerReplicas, AutomaticOff, DeleteGroup,
}

/// How to undo what a fault has done.
#[derive(Debug, Clone, Copy)]
enum Undo {
    Heal(Place, Place),
    Resume(usize),
    HostReturns(usize),
    AgentStarts(usize),
    ControllerStarts(usize),
    ControllerGoesOn(usize),
    ControllerLives(usize),
    StoreIsWell,
    ProxyStarts(usize),
    ProxyListens(usize),
    ProxySpeaks(usize),
    Loss(u64, u64),
    Writable(usize),
    CanFork(usize),
    CanStart(usize),
    Undrain(usize),
    AutomaticOn,
}

/// One fault of one world.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) kind: Kind,
    /// `None`: for ever.
    pub(crate) lasts: Option<u64>,
    undo: Vec<Undo>,
}

impl Fault {
    pub(crate) fn new(kind: Kind, lasts: Option<u64>) -> Self {
        Self { kind, lasts, undo: Vec::new() }
    }
}

impl World {
    pub(crate) fn fault_begins(&mut self, fault: usize) {
        let Fault { kind, lasts, .. } = self.faults[fault];
        let Some(undo) = self.inflict(kind) else { return };
        self.census.fault(kind.name());
        self.faults[fault].undo = undo;
        self.tell(|| format!("* {}", kind.name()));
        if let Some(lasts) = lasts {
            self.after(lasts, Event::FaultEnds { fault });
        }
    }

    pub(crate) fn fault_ends(&mut self, fault: usize) {
        let kind = self.faults[fault].kind;
        let undo = std::mem::take(&mut self.faults[fault].undo);
        if !undo.is_empty() {
            self.tell(|| format!("* {} is over", kind.name()));
        }
        for step in undo {
            self.undo(step);
        }
    }

    /// The process that the store names primary, if it lives.
    pub(crate) fn primary_proc(&self) -> Option<usize> {
        let run = self.store.topology.as_ref()?.primary()?;
        self.proc_of(run).filter(|proc| self.procs[*proc].alive)
    }

    /// A living process that is not the primary.
    fn replica_proc(&mut self) -> Option<usize> {
        let primary = self.primary_proc();
        let live: Vec<usize> = (0..self.procs.len())
            .filter(|proc| self.procs[*proc].alive && Some(*proc) != primary)
            .collect();
        self.dice.pick(&live)
    }

    fn some_proc(&mut self) -> Option<usize> {
        let live: Vec<usize> =
            (0..self.procs.len()).filter(|proc| self.procs[*proc].alive).collect();
        self.dice.pick(&live)
    }

    fn some_host(&mut self) -> Option<usize> {
        let up: Vec<usize> = (0..self.hosts.len()).filter(|host| self.hosts[*host].up).collect();
        self.dice.pick(&up)
    }

    fn some_controller(&mut self) -> Option<usize> {
        let up: Vec<usize> =
            (0..self.controllers.len()).filter(|at| self.controllers[*at].up).collect();
        self.dice.pick(&up)
    }

    fn some_proxy(&mut self) -> Option<usize> {
        let up: Vec<usize> = (0..self.proxies.len()).filter(|at| self.proxies[*at].up).collect();
        self.dice.pick(&up)
    }

    /// Does it; `None` if nothing fits.
    fn inflict(&mut self, kind: Kind) -> Option<Vec<Undo>> {
        match kind {
            Kind::KillPrimary | Kind::KillReplica | Kind::CrashPrimaryHost | Kind::CrashHost => {
                self.inflict_death(kind)
            }
            Kind::StopPrimary => self.hold(true, Sched::Stopped),
            Kind::StopReplica => self.hold(false, Sched::Stopped),
            Kind::StallPrimary => self.hold(true, Sched::Stalled),
            Kind::BusyPrimary => self.hold(true, Sched::Busy),
            Kind::StarvePrimary => self.hold(true, Sched::Starved),
            Kind::BusyReplica => self.hold(false, Sched::Busy),
            Kind::CrashAllHosts | Kind::RestartGroup => self.inflict_everywhere(kind),
            Kind::CutHost
            | Kind::CutPrimaryHost
            | Kind::CutFromControllers
            | Kind::CutReplication
            | Kind::CutOneWay
            | Kind::CutProxy
            | Kind::CutController
            | Kind::CutStore
            | Kind::LoseMessages => self.inflict_network(kind),
            Kind::KillAgent
            | Kind::KillAgentInOrder
            | Kind::KillController
            | Kind::KillControllerAtWrite
            | Kind::CutStoreAtWrite
            | Kind::PauseController
            | Kind::SlowStore
            | Kind::ForgetfulStore
            | Kind::OldStore => self.inflict_control(kind),
            Kind::KillProxy | Kind::DeafProxy | Kind::MuteProxy | Kind::DeadRoute => {
                self.inflict_proxy(kind)
            }
            Kind::StallLink | Kind::GhostLink | Kind::FullCopy => self.inflict_link(kind),
            Kind::RefuseWrites | Kind::ForkFails | Kind::CannotStart | Kind::DrainHost => {
                self.inflict_trouble(kind)
            }
            Kind::AutomaticOff => {
                self.respecify(|spec| spec.automatic_failover = false);
                Some(vec![Undo::AutomaticOn])
            }
            _ => self.ask(kind).then(Vec::new),
        }
    }

    fn inflict_death(&mut self, kind: Kind) -> Option<Vec<Undo>> {
        match kind {
            Kind::KillPrimary | Kind::KillReplica => {
                let primary = kind == Kind::KillPrimary;
                let proc = if primary { self.primary_proc() } else { self.replica_proc() }?;
                // Mostly nothing is lost; a stalled flush loses up to a second.
                let lossy = self.dice.chance(100);
                let host = self.procs[proc].host;
                self.kill_proc(proc, lossy);
                self.report_soon(host);
                Some(Vec::new())
            }
            _ => {
                let host = match kind {
                    Kind::CrashPrimaryHost => self.procs[self.primary_proc()?].host,
                    _ => self.some_host()?,
                };
                self.host_crashes(host);
                Some(vec![Undo::HostReturns(host)])
            }
        }
    }

    fn hold(&mut self, primary: bool, sched: Sched) -> Option<Vec<Undo>> {
        let proc = if primary { self.primary_proc() } else { self.replica_proc() }?;
        if !self.procs[proc].responsive() {
            return None;
        }
        self.hold_proc(proc, sched, None);
        Some(vec![Undo::Resume(proc)])
    }

    fn inflict_everywhere(&mut self, kind: Kind) -> Option<Vec<Undo>> {
        if kind == Kind::CrashAllHosts {
            for host in 0..self.hosts.len() {
                self.host_crashes(host);
            }
            return Some((0..self.hosts.len()).map(Undo::HostReturns).collect());
        }
        self.stop_in_order();
        Some(Vec::new())
    }

    fn cut(&mut self, pairs: Vec<(Place, Place)>) -> Vec<Undo> {
        for (from, to) in &pairs {
            self.net.cut(*from, *to);
        }
        pairs.into_iter().map(|(from, to)| Undo::Heal(from, to)).collect()
    }

    fn places(&self) -> Vec<Place> {
        let hosts = (0..self.hosts.len()).map(Place::Host);
        let controllers = (0..self.controllers.len()).map(Place::Controller);
        let proxies = (0..self.proxies.len()).map(Place::Proxy);
        hosts.chain(controllers).chain(proxies).chain([Place::Store]).collect()
    }

    fn inflict_network(&mut self, kind: Kind) -> Option<Vec<Undo>> {
        let around = |all: &[Place], one: Place| -> Vec<(Place, Place)> {
            let others = all.iter().filter(|other| **other != one);
            others.flat_map(|other| [(one, *other), (*other, one)]).collect()
        };
        let all = self.places();
        let pairs = match kind {
            Kind::CutHost => around(&all, Place::Host(self.some_host()?)),
            Kind::CutPrimaryHost => {
                around(&all, Place::Host(self.procs[self.primary_proc()?].host))
            }
            Kind::CutFromControllers => {
                let host = self.primary_proc().map(|proc| self.procs[proc].host);
                let host = Place::Host(host.or_else(|| self.some_host())?);
                let mut pairs = around(&all, host);
                pairs.retain(|(a, b)| {
                    matches!(a, Place::Controller(_)) || matches!(b, Place::Controller(_))
                });
                pairs
            }
            Kind::CutReplication => {
                let host = Place::Host(self.some_host()?);
                let mut pairs = around(&all, host);
                pairs.retain(|(a, b)| matches!((a, b), (Place::Host(_), Place::Host(_))));
                pairs
            }
            Kind::CutOneWay => {
                let one = self.dice.pick(&all)?;
                let out = self.dice.chance(500);
                let mut pairs = around(&all, one);
                pairs.retain(|(from, _)| (*from == one) == out);
                pairs
            }
            Kind::CutProxy => around(&all, Place::Proxy(self.some_proxy()?)),
            Kind::CutController => around(&all, Place::Controller(self.some_controller()?)),
            Kind::CutStore => {
                let controller = Place::Controller(self.some_controller()?);
                vec![(controller, Place::Store), (Place::Store, controller)]
            }
            _ => {
                let old = (self.net.loss, self.net.slowest);
                self.net.loss = self.dice.range(50, 300);
                self.net.slowest = self.dice.range(20, 900) * MILLI;
                return Some(vec![Undo::Loss(old.0, old.1)]);
            }
        };
        Some(self.cut(pairs))
    }

    fn inflict_control(&mut self, kind: Kind) -> Option<Vec<Undo>> {
        match kind {
            Kind::KillAgent => {
                let host = self.some_host()?;
                self.agent_dies(host);
                Some(vec![Undo::AgentStarts(host)])
            }
            Kind::KillAgentInOrder => {
                let step = 1 + self.dice.index(2) as u32;
                for host in &mut self.hosts {
                    host.dies_at_step = Some(step);
                }
                Some((0..self.hosts.len()).map(Undo::AgentStarts).collect())
            }
            Kind::KillController => {
                let controller = self.some_controller()?;
                self.controller_dies(controller);
                Some(vec![Undo::ControllerStarts(controller)])
            }
            Kind::KillControllerAtWrite => {
                let before = self.dice.chance(500);
                let death = if before { Death::BeforeWrite } else { Death::AfterWrite };
                for controller in &mut self.controllers {
                    controller.dies = Some(death);
                }
                Some((0..self.controllers.len()).map(Undo::ControllerLives).collect())
            }
            Kind::CutStoreAtWrite => {
                for controller in &mut self.controllers {
                    controller.dies = Some(Death::CutOff);
                }
                Some((0..self.controllers.len()).map(Undo::ControllerLives).collect())
            }
            Kind::PauseController => {
                let controller = self.some_controller()?;
                self.controllers[controller].paused = true;
                Some(vec![Undo::ControllerGoesOn(controller)])
            }
            Kind::SlowStore => {
                self.store.slow = self.dice.range(20, 1500) * MILLI;
                Some(vec![Undo::StoreIsWell])
            }
            Kind::OldStore => {
                let back = self.put_copy_back();
                back.then(|| (0..self.controllers.len()).map(Undo::ControllerStarts).collect())
            }
            _ => {
                self.store.forgets = 700;
                Some(vec![Undo::StoreIsWell])
            }
        }
    }

    /// The store has the write; its writer hears nothing of it for a while.
    pub(crate) fn cut_from_store(&mut self, controller: usize) {
        let place = Place::Controller(controller);
        let undo = self.cut(vec![(place, Place::Store), (Place::Store, place)]);
        let fault = self.faults.len();
        self.faults.push(Fault { kind: Kind::CutStore, lasts: None, undo });
        let span = self.dice.range(SECOND, 6 * SECOND);
        self.after(span, Event::FaultEnds { fault });
    }

    fn inflict_proxy(&mut self, kind: Kind) -> Option<Vec<Undo>> {
        let seat = self.some_proxy()?;
        match kind {
            Kind::KillProxy => {
                self.proxy_dies(seat);
                return Some(vec![Undo::ProxyStarts(seat)]);
            }
            Kind::DeafProxy => self.proxies[seat].deaf = true,
            Kind::MuteProxy => self.proxies[seat].mute = true,
            _ => {
                self.proxies[seat].deaf = true;
                self.proxies[seat].mute = true;
                return Some(vec![Undo::ProxySpeaks(seat)]);
            }
        }
        Some(vec![Undo::ProxyListens(seat)])
    }

    fn inflict_link(&mut self, kind: Kind) -> Option<Vec<Undo>> {
        let live: Vec<usize> =
            (0..self.links.len()).filter(|link| self.links[*link].live).collect();
        let link = self.dice.pick(&live)?;
        match kind {
            Kind::StallLink => {
                self.links[link].blocked_until = self.now + self.dice.range(100, 4000) * MILLI;
            }
            Kind::GhostLink => self.break_link(link, true),
            _ => {
                // The backlog does not reach back far enough any more.
                let down = self.links[link].down;
                self.procs[down].must_copy = true;
                self.break_link(link, false);
            }
        }
        Some(Vec::new())
    }

    fn inflict_trouble(&mut self, kind: Kind) -> Option<Vec<Undo>> {
        match kind {
            Kind::RefuseWrites => {
                let proc = self.primary_proc()?;
                let all =
                    [Health::Misconf, Health::OutOfMemory, Health::BusyScript, Health::NoReplicas];
                self.procs[proc].health = self.dice.pick(&all);
                Some(vec![Undo::Writable(proc)])
            }
            Kind::ForkFails => {
                let proc = self.some_proc()?;
                self.procs[proc].cannot_fork = true;
                Some(vec![Undo::CanFork(proc)])
            }
            Kind::CannotStart => {
                let host = self.some_host()?;
                self.hosts[host].cannot_start = true;
                let proc = self.hosts[host].slots.iter().find_map(|slot| slot.proc);
                if let Some(proc) = proc {
                    self.kill_proc(proc, false);
                    self.report_soon(host);
                }
                Some(vec![Undo::CanStart(host)])
            }
            _ => {
                let host = self.some_host()?;
                self.hosts[host].draining = true;
                Some(vec![Undo::Undrain(host)])
            }
        }
    }

    fn undo(&mut self, step: Undo) {
        match step {
            Undo::Heal(from, to) => self.net.heal(from, to),
            Undo::Resume(proc) => {
                let turn = self.procs[proc].sched_turn;
                self.resume(proc, turn);
            }
            Undo::HostReturns(host) => {
                if !self.hosts[host].up {
                    self.host_returns(host);
                }
            }
            Undo::AgentStarts(host) => {
                self.hosts[host].dies_at_step = None;
                self.agent_starts(host);
            }
            Undo::ControllerStarts(controller) => self.controller_starts(controller),
            Undo::ControllerLives(controller) => {
                self.controllers[controller].dies = None;
                self.controller_starts(controller);
            }
            Undo::ControllerGoesOn(controller) => self.controller_goes_on(controller),
            Undo::StoreIsWell => {
                self.store.slow = 0;
                self.store.forgets = 0;
            }
            Undo::ProxyStarts(seat) => self.proxy_starts(seat),
            Undo::ProxyListens(seat) => {
                self.proxies[seat].deaf = false;
                self.proxies[seat].mute = false;
            }
            Undo::ProxySpeaks(seat) => {
                // It is heard again while it still works by what it knew.
                self.proxies[seat].mute = false;
                let fault = self.faults.len();
                let undo = vec![Undo::ProxyListens(seat)];
                self.faults.push(Fault { kind: Kind::DeafProxy, lasts: None, undo });
                let delay = self.dice.range(100 * MILLI, 2 * SECOND);
                self.after(delay, Event::FaultEnds { fault });
            }
            Undo::Loss(loss, slowest) => {
                self.net.loss = loss;
                self.net.slowest = slowest;
            }
            Undo::Writable(proc) => self.procs[proc].health = None,
            Undo::CanFork(proc) => self.procs[proc].cannot_fork = false,
            Undo::CanStart(host) => self.hosts[host].cannot_start = false,
            Undo::Undrain(host) => self.hosts[host].draining = false,
            Undo::AutomaticOn => self.respecify(|spec| spec.automatic_failover = true),
        }
    }

    /// A paused controller goes on: first with what it remembers, then with what has come.
    fn controller_goes_on(&mut self, controller: usize) {
        let state = &mut self.controllers[controller];
        if !state.paused {
            return;
        }
        state.paused = false;
        let (up, turn) = (state.up, state.turn);
        if !up {
            return;
        }
        self.wake(controller, turn);
        for news in std::mem::take(&mut self.controllers[controller].kept) {
            self.hear(controller, news);
        }
    }

    /// Kills a process's whole host in scripts.
    pub(crate) fn lasts(&mut self) -> u64 {
        match self.dice.index(4) {
            0 => self.dice.range(30 * MILLI, 400 * MILLI),
            1 | 2 => self.dice.range(400 * MILLI, 4 * SECOND),
            _ => self.dice.range(4 * SECOND, 16 * SECOND),
        }
    }
}
