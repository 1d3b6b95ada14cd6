//! A host's agent: its conversation with the server that leads, and the nodes that it speaks for.
//!
//! One task looks after all of the host's nodes: it hears orders, probes every [`PROBE_EVERY`] and reports
//! what is new, at once if anything but numbers is.
//!
//! Invariant: what an order has changed is reported before the next probe, and nothing is built for a
//! report that is not in it.
//!
//! Not here: what an order makes of a node (`super::node`), leases (`super::leases`).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tanist_core::guard::stands_in;
use tanist_core::model::{Action, HostId, NodeId, Order, Process, ShardKey, Zone};
use tanist_link::api::Fault;
use tanist_link::wire::{
    AgentHello, FromAgent, HostReport, NodeEntry, Recalled, ToAgent, Totals, Vitals,
};
use tanist_link::{Client, Duplex, LinkError, Patience, Sender};
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval_at, sleep, sleep_until, timeout};

use super::leases::Leases;
use super::node::{Node, Site};
use super::said::{News, Said};
use super::shared::Shared;

/// Where a controller talks to agents.
const ROUTE: &str = "/link/v1/agent";
/// How often a real agent probes its engines.
const PROBE_EVERY: Duration = Duration::from_millis(50);
/// Pause between two calls.
pub(crate) const AGAIN: Duration = Duration::from_millis(100);
/// How long a call may take.
pub(crate) const CALL_LIMIT: Duration = Duration::from_secs(5);
/// Probes between two words about the wall clock.
const CLOCK_PROBES: u64 = 20;
/// Nodes that are measured in a second at most.
const VITALS: usize = 16;
/// Memory that a host says it has: placement is not what is measured.
const MEMORY: u64 = 1 << 42;

/// What happens to a host.
#[derive(Debug)]
pub(crate) enum Fate {
    /// A node's process ends.
    End(NodeId),
    /// It is cut off and without power; the nodes of these shards fail with it.
    Dark(Vec<ShardKey>),
    /// It has power again.
    Light,
}

/// Who a host is.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    pub(crate) index: usize,
    pub(crate) host: HostId,
    pub(crate) zone: Zone,
    pub(crate) address: Ipv4Addr,
    pub(crate) client: Client,
}

/// A host's agent.
pub(crate) struct Host {
    is: Identity,
    shared: Arc<Shared>,
    leases: Arc<Leases>,
    patience: Patience,
    /// Whether anything of the host runs.
    power: watch::Sender<bool>,
    nodes: Vec<Node>,
    numbers: HashMap<NodeId, usize>,
    /// Primaries that are to lead once they have a lease.
    waiting: BTreeMap<usize, Order>,
    /// Nodes of which the next probe finds something else.
    stale: BTreeSet<usize>,
    /// The last number of the controller, when it said it, and what it was at the last probe.
    heard: u64,
    heard_at: Instant,
    probed: u64,
    /// The replicas give their words.
    standing: bool,
    /// Something is to be reported at once.
    urgent: bool,
    probes: u64,
    /// Whose turn it is to be measured, and how many are due, in parts of a second's probes.
    measured: (usize, usize),
}

/// How a conversation ended.
enum End {
    Lost,
    Silent,
    Dark,
    /// The benchmark is over.
    Over,
}

type Told = Result<(), LinkError>;

impl Host {
    pub(crate) fn new(
        is: Identity,
        shared: Arc<Shared>,
        leases: Arc<Leases>,
        power: watch::Sender<bool>,
    ) -> Self {
        Self {
            is,
            shared,
            leases,
            patience: Patience::default(),
            power,
            nodes: Vec::new(),
            numbers: HashMap::new(),
            waiting: BTreeMap::new(),
            stale: BTreeSet::new(),
            heard: 0,
            heard_at: Instant::now(),
            probed: 0,
            standing: false,
            urgent: false,
            probes: 0,
            measured: (0, 0),
        }
    }

    /// Talks until nobody tells it its fate any more.
    pub(crate) async fn work(mut self, mut fates: mpsc::Receiver<Fate>) {
        loop {
            let call = self.is.client.open::<FromAgent, ToAgent>(ROUTE);
            if let Ok(Ok(duplex)) = timeout(CALL_LIMIT, call).await {
                self.shared.counts.calls.fetch_add(1, Ordering::Relaxed);
                match self.talk(duplex, &mut fates).await {
                    Ok(End::Over) => return,
                    Ok(End::Silent) => {
                        self.patience.give_up(tokio::time::Instant::now());
                        self.shared.counts.silences.fetch_add(1, Ordering::Relaxed);
                    }
                    Ok(End::Dark) => {
                        while !matches!(fates.recv().await, Some(Fate::Light) | None) {}
                        self.boot();
                    }
                    Ok(End::Lost) | Err(_) => {}
                }
            }
            // waits: nothing tells when a server will lead.
            sleep(AGAIN).await;
        }
    }

    async fn talk(
        &mut self,
        duplex: Duplex<FromAgent, ToAgent>,
        fates: &mut mpsc::Receiver<Fate>,
    ) -> Result<End, LinkError> {
        let Duplex { sender, mut receiver } = duplex;
        sender.send(&self.hello())?;
        let mut said = Said::default();
        // Hosts do not probe all at the same moment.
        let share = PROBE_EVERY.as_micros() as u64 * (self.is.index as u64 % 16) / 16;
        let first = tokio::time::Instant::now() + Duration::from_micros(share);
        let mut probes = interval_at(first, PROBE_EVERY);
        probes.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // waits: for the leader's next word, not longer than this.
        let silence = sleep_until(self.patience.end(tokio::time::Instant::now()));
        tokio::pin!(silence);
        let leases = Arc::clone(&self.leases);
        loop {
            tokio::select! {
                biased;
                heard = receiver.recv() => match heard? {
                    Some(message) => {
                        silence.as_mut().reset(self.patience.end(tokio::time::Instant::now()));
                        said.heard();
                        self.hear(message, &sender, &mut said)?;
                    }
                    None => return Ok(End::Lost),
                },
                fate = fates.recv() => match fate {
                    Some(Fate::End(node)) => self.end(&node, &sender, &mut said)?,
                    Some(Fate::Dark(shards)) => {
                        self.go_dark(&shards);
                        return Ok(End::Dark);
                    }
                    Some(Fate::Light) => {}
                    None => return Ok(End::Over),
                },
                () = leases.news.notified() => self.hear_of_leases(),
                // What has arrived is taken in first, so that one report tells of all of it.
                () = std::future::ready(()), if self.urgent => {
                    self.report(&sender, &mut said, false)?;
                }
                _ = probes.tick() => self.probe(&sender, &mut said)?,
                () = &mut silence => return Ok(End::Silent),
            }
        }
    }

    fn hello(&self) -> FromAgent {
        FromAgent::Hello(AgentHello {
            host: self.is.host.clone(),
            zone: self.is.zone.clone(),
            address: self.is.address,
            memory_bytes: MEMORY,
            keeps: true,
            parts: true,
        })
    }

    fn hear(&mut self, message: ToAgent, sender: &Sender<FromAgent>, said: &mut Said) -> Told {
        match message {
            ToAgent::Echo(number) if number != self.heard => {
                self.heard = number;
                self.heard_at = Instant::now();
            }
            ToAgent::Order(order) => self.take(*order),
            ToAgent::Inject { node, fault: Fault::Kill } => self.end(&node, sender, said)?,
            ToAgent::Recall(number) => {
                let recalled = Recalled { host: self.is.host.clone(), number, shard: None };
                sender.send(&FromAgent::Recalled(Box::new(recalled)))?;
            }
            ToAgent::Parts => {
                self.shared.counts.in_parts.fetch_add(1, Ordering::Relaxed);
                said.remember();
            }
            // Nothing here is frozen, or has a disk; and it ends when the benchmark does.
            ToAgent::Echo(_)
            | ToAgent::Inject { .. }
            | ToAgent::Keep(_)
            | ToAgent::LetGo { .. }
            | ToAgent::StopAll => {}
        }
        Ok(())
    }

    /// Takes an order in.
    fn take(&mut self, order: Order) {
        self.shared.counts.orders.fetch_add(1, Ordering::Relaxed);
        self.shared.watch.order(&order);
        let number = match self.numbers.get(&order.node) {
            Some(number) => *number,
            None => {
                let number = self.nodes.len();
                self.numbers.insert(order.node.clone(), number);
                self.nodes.push(Node::new(&order));
                self.shared.watch.place(&order.node, self.is.index);
                number
            }
        };
        let before = self.nodes[number].version;
        if !self.nodes[number].admits(&order) {
            return;
        }
        self.waiting.remove(&number);
        if self.may_lead(number, &order) {
            self.carry_out(number, &order);
        } else {
            self.waiting.insert(number, order);
        }
        self.urgent |= self.nodes[number].version != before;
    }

    /// Whether an order can be obeyed now: no primary of an `async` group begins without a lease.
    fn may_lead(&self, number: usize, order: &Order) -> bool {
        let (run, stand_ins, begins) = match &order.action {
            Action::Promote { run, stand_ins: Some(stand_ins), .. } => (run, stand_ins, true),
            Action::Admit { run, stand_ins: Some(stand_ins), .. } => (run, stand_ins, false),
            Action::Fence { .. } => {
                self.leases.leave(&order.node, order.epoch);
                return true;
            }
            _ => return true,
        };
        if self.nodes[number].run() != Some(run) {
            return true;
        }
        self.leases.lead(&order.node, order.epoch, stand_ins) || !begins
    }

    fn carry_out(&mut self, number: usize, order: &Order) {
        let loaded = self.shared.is_loaded(&order.group);
        let before = self.nodes[number].version;
        let (host, now) = (self.is.index, Instant::now());
        let mut engines = self.shared.engines();
        let site = Site { host, engines: &mut engines, loaded, now };
        self.nodes[number].obey(order, site);
        drop(engines);
        let leads = matches!(order.action, Action::Promote { stand_ins: Some(_), .. });
        if leads && !self.nodes[number].follows() {
            self.leases.begin(&order.node);
        }
        self.stale.insert(number);
        self.urgent |= self.nodes[number].version != before;
    }

    /// A lease was given, or has ended.
    fn hear_of_leases(&mut self) {
        for (number, order) in std::mem::take(&mut self.waiting) {
            if self.may_lead(number, &order) {
                self.carry_out(number, &order);
            } else {
                self.waiting.insert(number, order);
            }
        }
        for node in self.leases.ended() {
            let Some(number) = self.numbers.get(&node).copied() else { continue };
            self.nodes[number].lose_lease(&mut self.shared.engines(), Instant::now());
            self.stale.insert(number);
            self.urgent = true;
        }
    }

    /// A node's process ends, of which the supervisor tells at once.
    fn end(&mut self, node: &NodeId, sender: &Sender<FromAgent>, said: &mut Said) -> Told {
        let Some(number) = self.numbers.get(node).copied() else { return Ok(()) };
        self.leases.forget(node);
        self.waiting.remove(&number);
        self.nodes[number].end(&mut self.shared.engines(), Instant::now());
        let entry = &self.nodes[number].entry;
        let key = ShardKey { group: entry.group.clone(), shard: entry.shard.clone() };
        self.shared.watch.fail(&key);
        self.report(sender, said, false)?;
        sender.send(&FromAgent::Note {
            host: self.is.host.clone(),
            node: Some(node.clone()),
            name: "EngineEnded".to_owned(),
            text: "signal 9: by a person, or by the kernel for lack of memory".to_owned(),
        })
    }

    /// Everything ends, and nobody is told.
    fn go_dark(&mut self, shards: &[ShardKey]) {
        self.power.send_replace(false);
        let now = Instant::now();
        for node in &mut self.nodes {
            self.leases.forget(&node.entry.node);
            node.end(&mut self.shared.engines(), now);
        }
        shards.iter().for_each(|key| self.shared.watch.fail(key));
    }

    fn boot(&mut self) {
        self.waiting.clear();
        let now = Instant::now();
        for node in &mut self.nodes {
            node.reboot(&mut self.shared.engines(), now);
        }
        self.heard_at = now;
        self.power.send_replace(true);
    }

    /// Looks at what may have changed, and reports.
    fn probe(&mut self, sender: &Sender<FromAgent>, said: &mut Said) -> Told {
        let now = Instant::now();
        self.probes += 1;
        self.probed = self.heard;
        let mut engines = self.shared.engines();
        let mail = engines.mail(self.is.index);
        self.stale.extend(mail.iter().filter_map(|node| self.numbers.get(node)));
        let nodes = &mut self.nodes;
        self.stale.retain(|number| nodes[*number].probe(&mut engines, now));
        let unheard = stands_in(now - self.heard_at);
        if std::mem::replace(&mut self.standing, unheard) != unheard || unheard {
            for node in self.nodes.iter_mut() {
                node.stand(unheard && node.follows(), &mut engines);
            }
        }
        drop(engines);
        if self.probes.is_multiple_of(CLOCK_PROBES) {
            let host = self.is.host.clone();
            sender.send(&FromAgent::Clock { host, wall_ms: wall_ms() })?;
        }
        self.measure(sender)?;
        self.report(sender, said, true)
    }

    /// Says what is new, or everything where the server does not remember.
    fn report(&mut self, sender: &Sender<FromAgent>, said: &mut Said, probed: bool) -> Told {
        self.urgent = false;
        let now = Instant::now();
        let (numbers, part): (Vec<(usize, bool)>, bool) = match said.news(&self.nodes, probed, now)
        {
            News::Nothing => return Ok(()),
            News::All => ((0..self.nodes.len()).map(|number| (number, false)).collect(), false),
            News::Some(numbers) => (numbers, true),
        };
        if probed {
            let mut engines = self.shared.engines();
            for (number, _) in &numbers {
                self.nodes[*number].probe(&mut engines, now);
            }
        }
        let entries = numbers.iter().map(|(number, same)| self.entry(*number, *same));
        let nodes: Vec<NodeEntry> = entries.collect();
        let echo = if self.nodes.iter().any(|node| node.unsampled) { 0 } else { self.probed };
        let counts = &self.shared.counts;
        counts.reports.fetch_add(1, Ordering::Relaxed);
        counts.nodes.fetch_add(nodes.len() as u64, Ordering::Relaxed);
        sender.send(&FromAgent::Report(HostReport {
            host: self.is.host.clone(),
            echo,
            nodes,
            part,
        }))
    }

    fn entry(&self, number: usize, same: bool) -> NodeEntry {
        let node = &self.nodes[number];
        let echo = match node.entry.report.process {
            Process::Running(_) if node.unsampled => 0,
            Process::Running(_) => self.probed,
            Process::Unknown | Process::Absent | Process::Failed(_) => self.heard,
        };
        let mut entry = NodeEntry { echo, same, ..node.entry.clone() };
        if same {
            entry.report.applied = None;
        }
        entry
    }

    /// Measures those whose turn it is.
    fn measure(&mut self, sender: &Sender<FromAgent>) -> Told {
        let (next, owed) = &mut self.measured;
        *owed += self.nodes.len().min(VITALS);
        let due = *owed / CLOCK_PROBES as usize;
        *owed %= CLOCK_PROBES as usize;
        for _ in 0..due {
            *next = (*next + 1) % self.nodes.len().max(1);
            let Some(node) = self.nodes.get(*next) else { continue };
            let Some(run) = node.entry.report.run().filter(|_| node.address().is_some()) else {
                continue;
            };
            let passed = self.shared.began.elapsed();
            let (micros, seconds) = (passed.as_micros() as u64, passed.as_secs());
            self.shared.counts.vitals.fetch_add(1, Ordering::Relaxed);
            sender.send(&FromAgent::Vitals(Box::new(Vitals {
                host: self.is.host.clone(),
                node: node.entry.node.clone(),
                run: run.clone(),
                at_us: micros,
                main_cpu_us: micros / 100,
                process_cpu_us: micros / 90,
                host_cpu: None,
                host_free_bytes: Some(MEMORY / 2),
                swap_bytes: Some(0),
                resident_bytes: 8 << 20,
                used_bytes: 2 << 20,
                limit_bytes: 16 << 20,
                items: seconds,
                totals: Totals { commands: seconds * 20, ..Totals::default() },
            })))?;
        }
        Ok(())
    }
}

/// Now, in milliseconds since 1970.
fn wall_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
