//! What occurred in worlds, counted, so that nothing that was built goes untested unnoticed.
//!
//! Invariant: a kind that a run of many worlds never met fails the run, unless a table says why it
//! cannot occur here.
//!
//! Not here: what is right or wrong (`crate::judge`).

use std::collections::BTreeMap;

use tanist_core::decide::Plan;
use tanist_core::model::{ProblemKind, WaitKind};

/// Every action's name, as `Action::name` gives it.
const ACTIONS: [&str; 8] =
    ["Start", "Fence", "Freeze", "Promote", "Admit", "Follow", "Configure", "Remove"];

/// Every event's name, as `EventKind::name` gives it.
const EVENTS: [&str; 16] = [
    "GroupCreated",
    "PrimaryVacated",
    "PrimaryChosen",
    "RecoveredFromDisk",
    "LossAccepted",
    "ReplicaAttached",
    "ReplicaInSync",
    "ReplicaOutOfSync",
    "InSyncSetEmpty",
    "NodePlaced",
    "RelocationBegun",
    "RelocationDone",
    "RelocationGivenUp",
    "ProxyCut",
    "ProxyAdmitted",
    "GroupDeleted",
];

/// Kinds that cannot occur in a simulated world, each with the reason.
pub(crate) const EXCEPTIONS: [(&str, &str); 1] =
    [("GroupCreated", "told by the controller that founds a group, not by decide")];

/// Counts of one world, or of many.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Census {
    problems: BTreeMap<&'static str, u64>,
    waits: BTreeMap<&'static str, u64>,
    actions: BTreeMap<&'static str, u64>,
    events: BTreeMap<&'static str, u64>,
    faults: BTreeMap<&'static str, u64>,
    pub(crate) commits: u64,
    pub(crate) conflicts: u64,
    pub(crate) unknown_outcomes: u64,
    pub(crate) leaderships: u64,
    pub(crate) refused_orders: u64,
    pub(crate) leases_ended: u64,
    pub(crate) stood_in: u64,
    pub(crate) partial_resyncs: u64,
    pub(crate) full_resyncs: u64,
}

fn bump(counts: &mut BTreeMap<&'static str, u64>, name: &'static str) {
    *counts.entry(name).or_default() += 1;
}

impl Census {
    pub(crate) fn note(&mut self, plan: &Plan) {
        for problem in &plan.problems {
            bump(&mut self.problems, problem.kind.name());
        }
        for wait in &plan.waits {
            bump(&mut self.waits, wait.kind.name());
        }
    }

    pub(crate) fn wait(&mut self, kind: WaitKind) {
        bump(&mut self.waits, kind.name());
    }

    pub(crate) fn action(&mut self, name: &'static str) {
        bump(&mut self.actions, name);
    }

    pub(crate) fn event(&mut self, name: &'static str) {
        bump(&mut self.events, name);
    }

    pub(crate) fn fault(&mut self, name: &'static str) {
        bump(&mut self.faults, name);
    }

    /// Failovers and switchovers: how often somebody was chosen.
    pub(crate) fn elections(&self) -> u64 {
        self.events.get("PrimaryChosen").copied().unwrap_or(0)
    }

    pub(crate) fn faults_total(&self) -> u64 {
        self.faults.values().sum()
    }

    pub(crate) fn add(&mut self, other: &Self) {
        let maps = [
            (&mut self.problems, &other.problems),
            (&mut self.waits, &other.waits),
            (&mut self.actions, &other.actions),
            (&mut self.events, &other.events),
            (&mut self.faults, &other.faults),
        ];
        for (mine, others) in maps {
            for (name, count) in others {
                *mine.entry(name).or_default() += count;
            }
        }
        self.commits += other.commits;
        self.conflicts += other.conflicts;
        self.unknown_outcomes += other.unknown_outcomes;
        self.leaderships += other.leaderships;
        self.refused_orders += other.refused_orders;
        self.leases_ended += other.leases_ended;
        self.stood_in += other.stood_in;
        self.partial_resyncs += other.partial_resyncs;
        self.full_resyncs += other.full_resyncs;
    }

    /// Kinds that never occurred and are not excused.
    pub(crate) fn never(&self) -> Vec<&'static str> {
        let excused = |name: &&str| EXCEPTIONS.iter().any(|(excused, _)| excused == name);
        let mut never = Vec::new();
        let problems = ProblemKind::ALL.iter().map(|kind| kind.name());
        never.extend(problems.filter(|name| !self.problems.contains_key(name)));
        let waits = WaitKind::ALL.iter().map(|kind| kind.name());
        never.extend(waits.filter(|name| !self.waits.contains_key(name)));
        never.extend(ACTIONS.into_iter().filter(|name| !self.actions.contains_key(name)));
        never.extend(EVENTS.into_iter().filter(|name| !self.events.contains_key(name)));
        let faults = crate::faults::Kind::ALL.iter().map(|kind| kind.name());
        never.extend(faults.filter(|name| !self.faults.contains_key(name)));
        never.retain(|name| !excused(name));
        never
    }

    /// The counts as lines for a reader.
    pub(crate) fn lines(&self) -> Vec<String> {
        let mut lines = vec![
            format!(
                "commits {} (conflicts {}, unknown outcomes {}), leaderships {}, elections {}",
                self.commits,
                self.conflicts,
                self.unknown_outcomes,
                self.leaderships,
                self.elections()
            ),
            format!(
                "orders refused by guards {}, leases ended {} (confirmed by replicas {}), resynchronisations {} partial {} full",
                self.refused_orders,
                self.leases_ended,
                self.stood_in,
                self.partial_resyncs,
                self.full_resyncs
            ),
        ];
        for (title, counts) in [
            ("faults", &self.faults),
            ("problems", &self.problems),
            ("waits", &self.waits),
            ("actions", &self.actions),
            ("events", &self.events),
        ] {
            lines.push(format!("{title}:"));
            lines.extend(counts.iter().map(|(name, count)| format!("  {name:<28}{count:>12}")));
        }
        lines
    }
}
