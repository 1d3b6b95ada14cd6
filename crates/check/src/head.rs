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

use std::iter::once;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Duration;

use tanist_core::decide::{Commit, Plan, converge, decide, orphans, route};
use tanist_core::model::{
    EventKind, HostSeen, Instant, NodeSeen, Observations, ProxySeen, Region, Rev, ShardTopology,
    Stall, Term,
};

use crate::config::{Tooth, Wish};
use crate::nouns::{
    Attachment, Decided, REQUEST, host_id, key, node_id, node_of, node_report, proxy_id, spec, zone,
};
use crate::state::{Answer, Controller, NODES, Probe, ProbeRole, Report};
use crate::world::{Said, World};

/// What a decision depends on.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    known: u32,
    /// By node: an interned report.
    reports: [u32; NODES],
    confirmed: u8,
    fresh: bool,
}

/// A commit, and the reports by which it may be decided: positions in the lists of what was heard.
/// Of those that lead to the same commit only the oldest, because they leave the most to choose.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Choice {
    pub(crate) outcome: Outcome,
    pub(crate) used: [u8; NODES],
}

/// What a commit uses up.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Cost {
    pub(crate) failovers: u8,
    pub(crate) sets: u8,
    pub(crate) cuts: u8,
}

/// A commit that may follow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Outcome {
    pub(crate) topology: u32,
    pub(crate) cost: Cost,
    /// The heir's data comes from its disk: what may be missing was named.
    pub(crate) recovered: bool,
    /// What is wrong with it in itself, or with the head.
    pub(crate) faulty: Option<u32>,
}

/// What a controller says without deciding anything.
pub(crate) struct Emission {
    pub(crate) orders: Vec<u32>,
    pub(crate) routes: Vec<u32>,
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
    /// What an operator has asked for.
    wish: Option<Wish>,
}

const NOW: u64 = 1_000_000;
/// How many combinations, and how many clocks for each, a walk tries.
const SAMPLES: usize = 3;
const LONG_AGO: u64 = NOW - 20_000;

fn at(millis: u64) -> Instant {
    Instant::from_millis(millis)
}

impl World {
    /// Every commit that may follow from what was sent to a controller.
    pub(crate) fn choices(&mut self, number: u32) -> Rc<Vec<Choice>> {
        if let Some(known) = self.choices.get(&number) {
            return Rc::clone(known);
        }
        let controller = *self.controllers.get(number);
        let mut found: Vec<Choice> = Vec::new();
        for used in self.combinations(&controller) {
            let key = self.key(&controller, used);
            for outcome in self.outcomes(key).iter() {
                let older = |choice: &Choice| {
                    choice.outcome == *outcome
                        && choice.used.iter().zip(used).all(|(before, now)| *before <= now)
                };
                if !found.iter().any(older) {
                    found.push(Choice { outcome: *outcome, used });
                }
            }
        }
        let found = Rc::new(found);
        self.choices.insert(number, Rc::clone(&found));
        found
    }

    /// Every way to have heard something of each node, from what was sent.
    fn combinations(&mut self, controller: &Controller) -> Vec<[u8; NODES]> {
        let lengths = controller.heard.map(|list| self.heard.get(list).len() as u8);
        let mut all = Vec::new();
        for first in 0..lengths[0] {
            for second in 0..lengths[1] {
                all.extend((0..lengths[2]).map(|third| [first, second, third]));
            }
        }
        if self.config.sampled { self.dice.some_of(&all, SAMPLES) } else { all }
    }

    fn key(&mut self, controller: &Controller, used: [u8; NODES]) -> Key {
        let decided = self.topologies.get(controller.known);
        let primary = decided.primary.map(|(node, _)| usize::from(node));
        let mut key = Key {
            known: controller.known,
            reports: [0; NODES],
            confirmed: controller.confirmed,
            fresh: false,
        };
        for (node, used) in used.into_iter().enumerate() {
            let heard = self.heard.get(controller.heard[node])[usize::from(used)];
            key.reports[node] = self.reports.number(heard.report);
            key.fresh |= heard.fresh && primary == Some(node);
        }
        key
    }

    fn outcomes(&mut self, key: Key) -> Rc<Vec<Outcome>> {
        if let Some(known) = self.outcomes.get(&key) {
            return Rc::clone(known);
        }
        let mut found: Vec<Outcome> = Vec::new();
        let mut all_clocks = self.clocks(&key);
        if self.config.sampled {
            all_clocks = self.dice.some_of(&all_clocks, SAMPLES);
        }
        for clocks in all_clocks {
            let seen = self.observations(&key, clocks);
            let asked = spec(clocks.wish);
            let learners = self.with_learners(key.known);
            let decided = &self.topologies.get(key.known).topology;
            let (decided, limits) = (learners.as_ref().unwrap_or(decided), self.limits);
            let plan =
                catch_unwind(AssertUnwindSafe(|| decide(&asked, decided, &seen, &limits, at(NOW))));
            let outcome = match plan {
                Ok(Plan { commit: Some(commit), .. }) => self.outcome(&key, commit),
                Ok(Plan { commit: None, .. }) => continue,
                Err(_) => {
                    self.faults.push("the head panicked".to_owned());
                    let faulty = u32::try_from(self.faults.len() - 1).ok();
                    let cost = Cost::default();
                    Outcome { topology: key.known, cost, recovered: false, faulty }
                }
            };
            if !found.contains(&outcome) {
                found.push(outcome);
            }
        }
        let found = Rc::new(found);
        if !self.config.sampled {
            self.outcomes.insert(key, Rc::clone(&found));
        }
        found
    }

    /// Every combination of ages that can make a difference.
    fn clocks(&self, key: &Key) -> Vec<Clocks> {
        let decided = self.topologies.get(key.known);
        let may_cut = decided.pending && self.config.budget.cuts > 0;
        let silences: u8 = if may_cut { 1 << self.config.proxies } else { 1 };
        let ages: &[bool] =
            if may_cut || decided.primary.is_none() { &[false, true] } else { &[false] };
        let mut all = Vec::new();
        for bits in 0..(1_u8 << NODES) {
            for silent in 0..silences {
                for wish in once(None).chain(self.config.wishes.iter().copied().map(Some)) {
                    for waited in ages {
                        // A hung primary is replaced wherever one on a lost host is.
                        let primary = decided.primary.map_or(0, |(node, _)| 1 << node);
                        all.push(Clocks {
                            lost: bits & !primary,
                            hung: bits & primary != 0,
                            silent,
                            waited: *waited,
                            wish,
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
        let cost = cost(&before.topology, &next);
        let mut faulty = None;
        if !faults.is_empty() {
            faulty = u32::try_from(self.faults.len()).ok();
            self.faults.push(faults.join("; "));
        }
        let topology = self.topology(next);
        Outcome { topology, cost, recovered, faulty }
    }

    /// A vacancy in which whoever is attached counts as in sync, if that bug is planted.
    fn with_learners(&self, known: u32) -> Option<ShardTopology> {
        let decided = self.topologies.get(known);
        let planted = self.bites(Tooth::LearnerElected) && decided.primary.is_none();
        planted.then(|| {
            let in_sync = decided.topology.attachments();
            ShardTopology { in_sync, ..decided.topology.clone() }
        })
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

    /// The orders and the routes that may follow from what was sent to a controller, whatever of it
    /// was heard.
    pub(crate) fn emission(&mut self, number: u32) -> Rc<Emission> {
        let controller = *self.controllers.get(number);
        let question = (controller.known, controller.heard);
        if let Some(known) = self.emissions.get(&question) {
            return Rc::clone(known);
        }
        let (mut all_orders, mut routes) = (Vec::new(), Vec::new());
        for used in self.combinations(&controller) {
            let key = self.key(&controller, used);
            let (orders, route) = self.said(key);
            all_orders.extend_from_slice(&orders);
            routes.push(route);
        }
        for list in [&mut all_orders, &mut routes] {
            list.sort_unstable();
            list.dedup();
        }
        let emission = Rc::new(Emission { orders: all_orders, routes });
        self.emissions.insert(question, Rc::clone(&emission));
        emission
    }

    fn said(&mut self, key: Key) -> Said {
        let Key { known, reports, .. } = key;
        if let Some((orders, route)) = self.said.get(&(known, reports)) {
            return (Rc::clone(orders), *route);
        }
        let clocks = Clocks { lost: 0, hung: false, silent: 0, waited: true, wish: None };
        let seen = self.observations(&key, clocks);
        let (asked, limits, now) = (spec(None), self.limits, at(NOW));
        let decided = &self.topologies.get(known).topology;
        // Guards compare revisions alone; who leads shows in the store.
        let mut orders = converge(&asked, decided, &seen, &limits, Term(0), now);
        orders.extend(orphans(&asked, decided, &seen, &limits, Term(0), now));
        let route = route(&asked, decided, &seen, &limits, &Plan::default(), now);
        let orders: Vec<u32> = orders.into_iter().map(|(_, order)| self.asked(order)).collect();
        let said = (Rc::new(orders), self.route(route));
        self.said.insert((known, reports), said.clone());
        said
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
                since: at(0),
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
            let confirmed =
                key.confirmed & (1 << proxy) != 0 || self.bites(Tooth::RoutesNotAwaited);
            let silent = clocks.silent & (1 << proxy) != 0;
            let said = ProxySeen {
                route: confirmed.then(|| (Rev(u64::from(decided.rev)), at(NOW - 800))),
                drained: clocks.wish.map(|_| REQUEST),
                left: None,
            };
            let heard = at(if silent { NOW - 5000 } else { NOW });
            seen.hear_proxy(&proxy_id(proxy), &self::key(), said, heard);
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
        // After what was heard from proxies, or before the revision was committed.
        let sampled_after = at(if key.fresh || self.bites(Tooth::RoutesNotAwaited) {
            NOW - 700
        } else {
            LONG_AGO - 1000
        });
        NodeSeen::new(host_id(node), at(NOW), sampled_after, told)
    }

    /// What of a report can matter to a controller that works by `known`.
    pub(crate) fn essence(&self, known: u32, node: u8, mut report: Report) -> Report {
        if self.whole_reports() {
            return report;
        }
        let decided = self.topologies.get(known);
        if !self.bites(Tooth::OlderAnswerCounts) {
            report.answer = report.answer.filter(|(rev, _)| *rev == decided.rev);
        }
        if decided.candidates & (1 << node) == 0 && !self.bites(Tooth::LearnerElected) {
            // Whoever is neither in sync nor the old primary is no candidate.
            report.answer = None;
        }
        report.done = report.done.filter(|done| done.epoch == decided.epoch);
        if decided.primary.is_none() {
            // A probe from before the second commit shows no attachment and no role of after it.
            report.probe = None;
        }
        let may_cut = self.config.budget.cuts > 0;
        report.probe = report.probe.and_then(|probe| pared(decided, node, &report, probe, may_cut));
        report
    }
}

/// What of a probe can matter while S, the learners and the primary are these: of the primary, once
/// it has confirmed that it is, its history and the learners that are online; of a learner that was
/// told, its link; positions only while one of them is pending (an older one is of use only if no
/// proxy has to confirm anything, which takes a cut); and a run that believes to be
/// primary without an attachment.
fn pared(
    decided: &Decided,
    node: u8,
    report: &Report,
    mut probe: Probe,
    may_cut: bool,
) -> Option<Probe> {
    let learner = |at: &Attachment| !decided.in_sync.contains(at);
    let own = decided.attached[usize::from(node)].filter(|at| report.run == Some(at.run));
    let leads = decided.primary == report.run.map(|run| (node, run));
    match &mut probe.role {
        ProbeRole::Primary { online } if leads => {
            report.done.filter(|done| done.primary)?;
            let learners = decided.attached.iter().flatten().filter(|at| learner(at));
            *online &= learners.fold(0_u32, |bits, at| bits | (1 << at.seq));
            if !decided.pending && !may_cut {
                probe.offset = 0;
            }
        }
        ProbeRole::Primary { online } => {
            if own.is_some() {
                return None;
            }
            *online = 0;
            (probe.replid, probe.offset) = (0, 0);
        }
        ProbeRole::Replica { up: false, copying: true } => (probe.replid, probe.offset) = (0, 0),
        ProbeRole::Replica { .. } => {
            let own = own.filter(learner)?;
            report.done.filter(|done| !done.primary && done.seqs & (1 << own.seq) != 0)?;
            if probe.role == (ProbeRole::Replica { up: false, copying: false }) {
                return None;
            }
            if !decided.required.contains(&own) && !may_cut {
                probe.offset = 0;
            }
        }
    }
    Some(probe)
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
