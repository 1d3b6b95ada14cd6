//! A world: everything that exists in it, its clock and its queue of events.
//!
//! One thread, one queue ordered by (time, number), one source of chance: a world is a function of
//! its configuration. What happens at each event is told by the modules named after the actors.
//!
//! Invariant: nothing in a world reads a clock or the environment.
//!
//! Not here: the actors (`crate::engine`, `crate::host`, `crate::controller`, ...).

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::rc::Rc;

use tanist_core::model::{GroupSpec, HostId, Instant, NodeId, Order, ProxyId};

use crate::bugs::Bug;
use crate::census::Census;
use crate::client::Client;
use crate::config::Config;
use crate::controller::{Controller, ControllerMsg};
use crate::dice::Dice;
use crate::engine::{EngineMsg, Lane, Link, Proc};
use crate::faults::Fault;
use crate::history::Logs;
use crate::host::{AgentMsg, Host};
use crate::judge::Judge;
use crate::net::{Net, Place};
use crate::proxy::{Proxy, ProxyMsg};
use crate::stand_in::Word;
use crate::store::{Store, StoreMsg};

/// What can happen next.
#[derive(Debug)]
pub(crate) enum Event {
    ReplicaConnects { proc: usize, turn: u32 },
    ReplicaReceives { link: usize },
    PrimaryHears { link: usize, acked: u64 },
    CopyLoads { link: usize },
    CopyDone { link: usize },
    LoadDone { proc: usize },
    Resume { proc: usize, turn: u32 },
    AtEngine(Box<EngineMsg>),
    AgentTick { host: usize, turn: u32 },
    AtAgent(Box<AgentMsg>),
    Execute(Box<(usize, u32, Order, u32)>),
    StandInAsked(Word),
    StandInAnswers(Word),
    LeaseTick { host: usize },
    LeaseEnd { host: usize },
    LeaseKill { host: usize, proc: usize },
    ControllerTick { controller: usize, turn: u32 },
    Wake { controller: usize, turn: u32 },
    AtController(Box<ControllerMsg>),
    AtStore(Box<StoreMsg>),
    ProxyTick { seat: usize, number: usize },
    AtProxy(Box<ProxyMsg>),
    ClientSends { client: usize },
    FaultBegins { fault: usize },
    FaultEnds { fault: usize },
    OperatorLooks,
    PersonReads,
}

#[derive(Debug)]
struct Due {
    at: u64,
    number: u64,
    event: Event,
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.number) == (other.at, other.number)
    }
}
impl Eq for Due {}
impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

/// A machine's boot-time clock: runs at its own speed from its own origin.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    origin: u64,
    /// Microseconds gained in a second.
    gain: i64,
}

impl Clock {
    pub(crate) fn new(dice: &mut Dice, gain_max: i64) -> Self {
        // The ends of the range are the dangerous ones.
        let gain = match dice.index(3) {
            0 => gain_max,
            1 => -gain_max,
            _ => dice.range(0, 2 * gain_max.unsigned_abs() + 1) as i64 - gain_max,
        };
        Self { origin: dice.range(0, 1_000_000_000), gain }
    }

    /// What the clock shows at true time `now`.
    pub(crate) fn shows(&self, now: u64) -> Instant {
        let gained = (now as i64) / 1000 * self.gain / 1000;
        Instant::from_micros(self.origin + now.saturating_add_signed(gained))
    }

    /// True time in which the clock advances by `span` microseconds.
    pub(crate) fn takes(&self, span: u64) -> u64 {
        (span as i64 * 1_000_000 / (1_000_000 + self.gain)) as u64 + 1
    }
}

/// Everything that exists.
pub(crate) struct World {
    pub(crate) config: Config,
    pub(crate) now: u64,
    pub(crate) dice: Dice,
    pub(crate) net: Net,
    pub(crate) logs: Logs,
    pub(crate) procs: Vec<Proc>,
    pub(crate) links: Vec<Link>,
    pub(crate) lanes: Vec<Lane>,
    pub(crate) hosts: Vec<Host>,
    pub(crate) store: Store,
    pub(crate) controllers: Vec<Controller>,
    /// By seat; a proxy that restarts is a new one on the old seat.
    pub(crate) proxies: Vec<Proxy>,
    pub(crate) proxy_ids: Vec<ProxyId>,
    pub(crate) clients: Vec<Client>,
    pub(crate) faults: Vec<Fault>,
    pub(crate) nodes: Vec<NodeId>,
    pub(crate) host_ids: Vec<HostId>,
    pub(crate) judge: Judge,
    pub(crate) census: Census,
    pub(crate) spec: Rc<GroupSpec>,
    /// Lines for a reader, if one asked for them.
    pub(crate) told: Option<Vec<String>>,
    queue: BinaryHeap<Reverse<Due>>,
    events: u64,
    hash: u64,
}

impl World {
    /// A world in which nothing has happened yet and nothing is going to.
    pub(crate) fn empty(config: Config, spec: GroupSpec) -> Self {
        let net =
            Net::new(config.net_usual, config.net_slowest, config.net_loss, config.net_repeat);
        let spec = Rc::new(spec);
        Self {
            now: 0,
            dice: Dice::new(config.seed),
            net,
            logs: Logs::default(),
            procs: Vec::new(),
            links: Vec::new(),
            lanes: Vec::new(),
            hosts: Vec::new(),
            store: Store::new(Rc::clone(&spec)),
            controllers: Vec::new(),
            proxies: Vec::new(),
            proxy_ids: Vec::new(),
            clients: Vec::new(),
            faults: Vec::new(),
            nodes: (1..=12).map(|n| NodeId::new(format!("web-{n:03}"))).collect(),
            host_ids: (1..=6).map(|n| HostId::new(format!("host-{n}"))).collect(),
            judge: Judge::default(),
            census: Census::default(),
            spec,
            told: None,
            queue: BinaryHeap::new(),
            events: 0,
            hash: 0xcbf2_9ce4_8422_2325,
            config,
        }
    }

    /// Lets `event` happen after `delay` microseconds.
    pub(crate) fn after(&mut self, delay: u64, event: Event) {
        self.events += 1;
        self.queue.push(Reverse(Due { at: self.now + delay, number: self.events, event }));
    }

    /// Sends a message of Tanist's own link: each copy that arrives becomes an event.
    pub(crate) fn send(&mut self, from: Place, to: Place, event: impl Fn() -> Event) {
        for delay in self.net.message(from, to, &mut self.dice).into_iter().flatten() {
            self.after(delay, event());
        }
    }

    /// Lets everything happen that is due until `until`, or until something is wrong.
    pub(crate) fn run_until(&mut self, until: u64) {
        while self.judge.violation.is_none() {
            match self.queue.peek() {
                Some(Reverse(due)) if due.at <= until => {}
                Some(_) | None => break,
            }
            let Some(Reverse(due)) = self.queue.pop() else { break };
            self.now = due.at;
            self.mix(due.number);
            self.happen(due.event);
        }
        self.now = self.now.max(until);
    }

    /// Mixes the clock, a number and the source of chance into the trace's hash.
    fn mix(&mut self, number: u64) {
        for part in [self.now, number] {
            self.hash = (self.hash ^ part).wrapping_mul(0x0100_0000_01b3).rotate_left(23);
        }
    }

    /// What distinguishes this world's course from every other's.
    pub(crate) fn trace_hash(&self) -> u64 {
        self.hash
    }

    /// Events that have been scheduled so far.
    pub(crate) fn events(&self) -> u64 {
        self.events
    }

    pub(crate) fn has(&self, bug: Bug) -> bool {
        self.config.bug == Some(bug)
    }

    /// Tells the reader, if there is one.
    pub(crate) fn tell(&mut self, line: impl FnOnce() -> String) {
        if let Some(told) = &mut self.told {
            let (seconds, millis) = (self.now / 1_000_000, self.now % 1_000_000 / 1000);
            told.push(format!("{seconds:>4}.{millis:03}  {}", line()));
        }
    }

    /// Tells the reader, if there is one, what is done next.
    pub(crate) fn tell_step(&mut self, step: &str) {
        if let Some(told) = &mut self.told {
            if told.last().is_some_and(|line| !line.starts_with('>') && !line.is_empty()) {
                told.push(String::new());
            }
            told.push(format!("> {step}"));
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::ReplicaConnects { proc, turn } => self.replica_connects(proc, turn),
            Event::ReplicaReceives { link } => self.replica_receives(link),
            Event::PrimaryHears { link, acked } => self.primary_hears(link, acked),
            Event::CopyLoads { link } => self.copy_loads(link),
            Event::CopyDone { link } => self.copy_done(link),
            Event::LoadDone { proc } => self.load_done(proc),
            Event::Resume { proc, turn } => self.resume(proc, turn),
            Event::AtEngine(msg) => self.at_engine(*msg),
            Event::AgentTick { host, turn } => self.agent_tick(host, turn),
            Event::AtAgent(msg) => self.at_agent(*msg),
            Event::Execute(due) => self.execute(due.0, due.1, due.2, due.3),
            Event::StandInAsked(word) => self.stand_in_asked(&word),
            Event::StandInAnswers(word) => self.stand_in_answers(&word),
            Event::LeaseTick { host } => self.lease_tick(host),
            Event::LeaseEnd { host } => self.lease_end(host),
            Event::LeaseKill { host, proc } => self.lease_kill(host, proc),
            Event::ControllerTick { controller, turn } => self.controller_tick(controller, turn),
            Event::Wake { controller, turn } => self.wake(controller, turn),
            Event::AtController(msg) => self.at_controller(*msg),
            Event::AtStore(msg) => self.at_store(*msg),
            Event::ProxyTick { seat, number } => self.proxy_tick(seat, number),
            Event::AtProxy(msg) => self.at_proxy(*msg),
            Event::ClientSends { client } => self.client_sends(client),
            Event::FaultBegins { fault } => self.fault_begins(fault),
            Event::FaultEnds { fault } => self.fault_ends(fault),
            Event::OperatorLooks => self.operator_looks(),
            Event::PersonReads => self.person_reads(),
        }
    }

    /// The node's index by its name.
    pub(crate) fn node_index(node: &NodeId) -> usize {
        let digits = node.as_str().rsplit('-').next().unwrap_or_default();
        digits.parse::<usize>().unwrap_or(1) - 1
    }

    /// A proxy's number by its id.
    pub(crate) fn proxy_number(proxy: &ProxyId) -> usize {
        proxy.as_str().rsplit('.').next().and_then(|digits| digits.parse().ok()).unwrap_or(0)
    }
}
