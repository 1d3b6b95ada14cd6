//! A controller's head: the very `decide`, `converge`, `orphans` and `route` that ship, asked what
//! follows from what one controller has heard, at any time that it may be.
//!
//! Time is a choice. Whether a host counts as lost, a process as hung, a proxy as silent, or the
//! wait for answers as over is decided by clocks that nobody can trust; so every combination is
//! asked, and every commit that comes out may happen. Whether the primary was probed before or after
//! something was heard is no choice: it is what the echo numbers prove.
//!
//! Invariant: what is asked once is remembered; the answer depends on the question alone.
//!
//! Not here: carrying out what follows (`crate::step`).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Duration;

use tanist_core::decide::{Commit, Plan, converge, decide, orphans, route};
use tanist_core::model::{
    EventKind, HostSeen, Instant, NodeSeen, Observations, ProxySeen, Region, Rev,
    ShardTopology, Stall, Term,
};

use crate::config::Tooth;
use crate::nouns::{
    Attachment, Decided, host_id, key, node_id, node_of, node_report, proxy_id, spec, zone,
};
use crate::state::{Answer, Beat, Controller, NODES, PROXIES, Probe, ProbeRole, Report};
use crate::world::World;

/// What a decision depends on.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    known: u32,
    reports: [u32; NODES],
    beats: [Beat; PROXIES],
    probed: bool,
}

impl Key {
    pub(crate) fn of(controller: &Controller) -> Self {
        let Controller { known, reports, beats, probed, .. } = *controller;
        Self { known, reports, beats, probed }
    }
}

/// What a commit uses up.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Cost {
    pub(crate) failovers: u8,
    pub(crate) sets: u8,
    pub(crate) cuts: u8,
}

/// A commit that may follow.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Outcome {
    pub(crate) topology: u32,
    pub(crate) cost: Cost,
    /// The heir's data comes from its disk: what may be missing was named.
    pub(crate) recovered: bool,
    /// What is wrong with it in itself, or with the head.
    pub(crate) fault: Option<String>,
}

/// What a controller says without deciding anything.
pub(crate) struct Emission {
    pub(crate) orders: Vec<u32>,
    pub(crate) route: u32,
}

/// How old everything is, as far as judgments depend on it.
#[derive(Clone, Copy)]
struct Clocks {
    /// Nodes whose host is not heard from, a bit for each.
    lost: u8,
    /// The primary's process hangs.
    hung: bool,
    /// Proxies that are silent, a bit for each.
    silent: u8,
    /// The revision is old: a vacancy has waited for answers, a proxy is deaf to the route.
    waited: bool,
    /// An operator has asked for a failover.
    request: bool,
}

const NOW: u64 = 1_000_000;
const LONG_AGO: u64 = NOW - 20_000;

fn at(millis: u64) -> Instant {
    Instant::from_millis(millis)
}

impl World {
    /// Every commit that may follow from what a controller has heard.
    pub(crate) fn outcomes(&mut self, key: Key) -> Rc<Vec<Outcome>> {
        if let Some(known) = self.outcomes.get(&key) {
            return Rc::clone(known);
        }
        let mut found: Vec<Outcome> = Vec::new();
        for clocks in self.clocks(&key) {
            let seen = self.observations(&key, clocks);
            let asked = spec(clocks.request);
            let decided = &self.topologies.get(key.known).topology;
            let limits = self.limits;
            let plan =
                catch_unwind(AssertUnwindSafe(|| decide(&asked, decided, &seen, &limits, at(NOW))));
            let outcome = match plan {
                Ok(Plan { commit: Some(commit), .. }) => self.outcome(&key, commit),
                Ok(Plan { commit: None, .. }) => continue,
                Err(_) => Outcome {
                    topology: key.known,
                    cost: Cost::default(),
                    recovered: false,
                    fault: Some("the head panicked".to_owned()),
                },
            };
            if !found.contains(&outcome) {
                found.push(outcome);
            }
        }
        let found = Rc::new(found);
        self.outcomes.insert(key, Rc::clone(&found));
        found
    }

    /// Every combination of ages that can make a difference.
    fn clocks(&self, key: &Key) -> Vec<Clocks> {
        let decided = self.topologies.get(key.known);
        let may_cut = decided.pending && self.config.budget.cuts > 0;
        let silences: u8 = if may_cut { 1 << self.config.proxies } else { 1 };
        let requests: &[bool] = if self.config.requests { &[false, true] } else { &[false] };
        let ages: &[bool] =
            if may_cut || decided.primary.is_none() { &[false, true] } else { &[false] };
        let mut all = Vec::new();
        for bits in 0..(1_u8 << NODES) {
            for silent in 0..silences {
                for request in requests {
                    for waited in ages {
                        // A hung primary is replaced wherever one on a lost host is.
                        let primary = decided.primary.map_or(0, |(node, _)| 1 << node);
                        all.push(Clocks {
                            lost: bits & !primary,
                            hung: bits & primary != 0,
                            silent,
                            waited: *waited,
                            request: *request,
                        });
                    }
                }
            }
        }
        all
    }

    fn outcome(&mut self, key: &Key, commit: Commit) -> Outcome {
        let recovered = commit
            .events
            .iter()
            .any(|event| matches!(event.kind, EventKind::RecoveredFromDisk { .. }));
        let mut next = commit.next;
        self.spoil(key, &mut next);
        let before = self.topologies.get(key.known);
        let faults = next.check_after(&before.topology);
        let fault = (!faults.is_empty()).then(|| faults.join("; "));
        let cost = cost(&before.topology, &next);
        let topology = self.topology(next);
        Outcome { topology, cost, recovered, fault }
    }

    /// Planted bugs that concern what is committed.
    fn spoil(&self, key: &Key, next: &mut ShardTopology) {
        let before = self.topologies.get(key.known);
        if self.bites(Tooth::GrowWithoutPending)
            && before.topology.pending.is_none()
            && let Some(tag) = next.pending.take()
        {
            next.in_sync.insert(tag);
        }
        if self.bites(Tooth::LaggardsInSync) && before.primary.is_none() && next.primary().is_some()
        {
            for (node, member) in &next.members {
                let report = self.reports.get(key.reports[usize::from(node_of(node))]);
                let answered = report.and_then(|report| report.answer);
                if let (Some(tag), Some((_, Answer::Frozen { .. }))) = (&member.attach, answered) {
                    next.in_sync.insert(tag.clone());
                }
            }
        }
    }

    /// The orders and the route that follow from what a controller has heard.
    pub(crate) fn emission(&mut self, known: u32, reports: [u32; NODES]) -> Rc<Emission> {
        if let Some(known) = self.emissions.get(&(known, reports)) {
            return Rc::clone(known);
        }
        let key = Key { known, reports, beats: [Beat::default(); PROXIES], probed: false };
        let clocks =
            Clocks { lost: 0, hung: false, silent: 0, waited: false, request: false };
        let seen = self.observations(&key, clocks);
        let (asked, limits, now) = (spec(false), self.limits, at(NOW));
        let decided = &self.topologies.get(known).topology;
        // Guards compare revisions alone; who leads shows in the store.
        let mut orders = converge(&asked, decided, &seen, &limits, Term(0), now);
        orders.extend(orphans(decided, &seen, Term(0)));
        let route = route(&asked, decided, &seen, &limits, &Plan::default(), now);
        let mut orders: Vec<u32> =
            orders.into_iter().map(|(_, order)| self.asked(order)).collect();
        orders.sort_unstable();
        let emission = Rc::new(Emission { orders, route: self.route(route) });
        self.emissions.insert((known, reports), Rc::clone(&emission));
        emission
    }

    fn observations(&self, key: &Key, clocks: Clocks) -> Observations {
        let decided = self.topologies.get(key.known);
        let mut seen = Observations::default();
        for node in 0..NODES as u8 {
            let lost = clocks.lost & (1 << node) != 0;
            let heard = if lost { at(NOW - 10_000) } else { at(NOW) };
            let host = HostSeen {
                region: Region::new("here"),
                zone: zone(node),
                address: std::net::Ipv4Addr::new(127, 0, 0, node + 1),
                at: heard,
                draining: false,
                memory_bytes: u64::MAX,
            };
            seen.hosts.insert(host_id(node), host);
            if let Some(report) = self.reports.get(key.reports[usize::from(node)]) {
                let seen_node = self.node_seen(key, decided, node, report, clocks);
                seen.nodes.insert(node_id(node), vec![seen_node]);
            }
        }
        for proxy in 0..self.config.proxies {
            let beat = key.beats[usize::from(proxy)];
            let since = at(if beat.probed_after { NOW - 800 } else { NOW - 600 });
            let silent = clocks.silent & (1 << proxy) != 0;
            let said = ProxySeen {
                route: beat.current.then(|| (Rev(u64::from(decided.rev)), since)),
                drained: None,
                at: at(if silent { NOW - 5000 } else { NOW }),
            };
            seen.proxies.entry(proxy_id(proxy)).or_default().insert(self::key(), said);
        }
        let since = match (decided.primary, clocks.waited) {
            (None, false) => at(NOW),
            (Some(_), false) => at(NOW - 900),
            (_, true) => at(LONG_AGO),
        };
        seen.rev_since.insert(self::key(), (Rev(u64::from(decided.rev)), since));
        seen
    }

    fn node_seen(
        &self,
        key: &Key,
        decided: &Decided,
        node: u8,
        report: &Report,
        clocks: Clocks,
    ) -> NodeSeen {
        let mut report = *report;
        if self.bites(Tooth::OlderAnswerCounts)
            && let Some((rev, _)) = &mut report.answer
        {
            *rev = decided.rev;
        }
        let mut told = node_report(node, &report, &decided.attached);
        if clocks.hung && decided.primary.is_some_and(|(primary, _)| primary == node) {
            told.silent = Duration::from_secs(20);
            told.stall = Stall::Stopped;
        }
        // After what was heard from a proxy at NOW - 800, before what was at NOW - 600; and after
        // the commit, unless the last probe is older than that.
        let sampled_after = at(if key.probed { NOW - 700 } else { LONG_AGO - 1000 });
        NodeSeen { host: host_id(node), at: at(NOW), sampled_after, report: told }
    }

    /// What of a report can matter to a controller that works by `known`.
    pub(crate) fn essence(&self, known: u32, node: u8, mut report: Report) -> Report {
        let decided = self.topologies.get(known);
        if !self.bites(Tooth::OlderAnswerCounts) {
            report.answer = report.answer.filter(|(rev, _)| *rev == decided.rev);
        }
        report.done = report.done.filter(|done| done.epoch == decided.epoch);
        if decided.primary.is_none() {
            // A probe from before the second commit shows no attachment and no role of after it.
            report.probe = None;
        }
        if !self.config.whole_probes {
            report.probe = report.probe.map(|probe| pared(decided, node, probe));
        }
        report
    }
}

/// What of a probe matters while S, the learners and the primary are these.
fn pared(decided: &Decided, node: u8, mut probe: Probe) -> Probe {
    let learner = |at: &&Attachment| !decided.in_sync.contains(at);
    let learners = decided.attached.iter().flatten().filter(learner);
    let learners = learners.fold(0_u32, |bits, at| bits | (1 << at.seq));
    let own = decided.attached[usize::from(node)].map_or(0, |at| 1 << at.seq);
    let leads = decided.primary.is_some_and(|(primary, _)| primary == node);
    if learners == 0 || !(leads || learners & own != 0) {
        probe.offset = 0;
    }
    match &mut probe.role {
        ProbeRole::Primary { online } => *online &= learners,
        ProbeRole::Replica { up, .. } if learners & own == 0 => *up = false,
        ProbeRole::Replica { .. } => {}
    }
    if !leads && learners & own == 0 {
        probe.replid = 0;
    }
    probe
}

fn cost(before: &ShardTopology, next: &ShardTopology) -> Cost {
    if before.primary().is_none() {
        return Cost::default();
    }
    if next.primary().is_none() {
        return Cost { failovers: 1, ..Cost::default() };
    }
    let left = before.in_sync.iter().any(|tag| !next.in_sync.contains(tag));
    let began = next.required().iter().any(|tag| !before.required().contains(tag));
    Cost {
        failovers: 0,
        sets: u8::from(left) + u8::from(began),
        cuts: u8::from(before.lanes != next.lanes),
    }
}

