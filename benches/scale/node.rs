//! One node: what an order makes of it, and what its agent reports then.
//!
//! It does what an agent does (`tanist-agent`), without disk, process and connections: an order is obeyed
//! at once, and what an engine has become is found out at the next probe.
//!
//! Invariant: no order is obeyed that is older than one before it, and a sample that is older than what
//! was made true last never counts as fresh.
//!
//! Not here: leases (`super::leases`), which of it is said when (`super::said`).

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tanist_core::model::accounts::mark;
use tanist_core::model::{
    Action, Applied, EngineSeen, FenceAnswer, Fenced, NodeReport, Order, Process, ProxyId,
    ReplicaSeen, RoleSeen, RunId, Stall, StandIn, Standing, Tag,
};
use tanist_link::wire::NodeEntry;

use super::engines::{Begins, Engines};

/// How often a replica says how far it is, when nobody asks it to.
const ACKS: Duration = Duration::from_secs(1);
/// The same where every batch of writes waits for it.
const ACKS_ASKED: Duration = Duration::from_millis(5);

/// Where a node is, when something is done with it.
pub(crate) struct Site<'a> {
    pub(crate) host: usize,
    pub(crate) engines: &'a mut Engines,
    pub(crate) loaded: bool,
    pub(crate) now: Instant,
}

/// A node as its agent has it.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) entry: NodeEntry,
    /// Grows with every change of anything but numbers.
    pub(crate) version: u64,
    /// No probe has been made since `applied` became what it is.
    pub(crate) unsampled: bool,
    /// Where its engine listens, once it was started.
    address: Option<SocketAddr>,
    run: Option<RunId>,
    turn: u64,
    starts: u32,
}

impl Node {
    /// One of which an agent hears for the first time.
    pub(crate) fn new(order: &Order) -> Self {
        let report = NodeReport {
            rev: order.rev,
            process: Process::Absent,
            engine: None,
            silent: Duration::ZERO,
            stall: Stall::None,
            fence: None,
            applied: None,
            data: false,
            standing: None,
        };
        let entry = NodeEntry {
            group: order.group.clone(),
            shard: order.shard.clone(),
            node: order.node.clone(),
            pid: None,
            echo: 0,
            same: false,
            report,
        };
        let (address, run) = (None, None);
        Self { entry, version: 1, unsampled: false, address, run, turn: 1, starts: 0 }
    }

    /// Where its engine listens, if it runs.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.address.filter(|_| self.run.is_some())
    }

    pub(crate) fn run(&self) -> Option<&RunId> {
        self.run.as_ref()
    }

    /// It follows somebody, as it was told to.
    pub(crate) fn follows(&self) -> bool {
        self.entry.report.applied.as_ref().is_some_and(|applied| !applied.primary)
    }

    /// Changes what is reported; whether anything is different.
    fn change(&mut self, change: impl FnOnce(&mut NodeReport)) {
        let before = self.entry.report.clone();
        change(&mut self.entry.report);
        if self.entry.report.applied != before.applied {
            self.unsampled = true;
        }
        if self.entry.report != before {
            self.version += 1;
        }
    }

    /// Asks the guard: an order of an older revision is refused.
    pub(crate) fn admits(&mut self, order: &Order) -> bool {
        let admitted = order.rev >= self.entry.report.rev;
        if admitted {
            self.change(|report| report.rev = order.rev);
        }
        admitted
    }

    /// Makes an order true that was admitted.
    pub(crate) fn obey(&mut self, order: &Order, site: Site<'_>) {
        match &order.action {
            Action::Start { address, memory_bytes, .. } => {
                self.start(*address, *memory_bytes, site);
            }
            Action::Fence { .. } => self.fence(order, site),
            Action::Promote { run, replicas, lanes, stand_ins } => {
                self.lead(order, run, (replicas, lanes, stand_ins.as_ref()), true, site);
            }
            Action::Admit { run, replicas, lanes, stand_ins } => {
                self.lead(order, run, (replicas, lanes, stand_ins.as_ref()), false, site);
            }
            Action::Follow { tag, primary, lanes, .. } => {
                self.follow(order, tag, *primary, lanes, site);
            }
            Action::Configure { memory_bytes } => {
                if let Some(at) = self.address() {
                    site.engines.configure(at, *memory_bytes);
                }
            }
            Action::Remove => {
                self.end(site.engines, site.now);
                self.change(|report| {
                    report.data = false;
                    report.fence = None;
                });
            }
        }
    }

    fn start(&mut self, address: SocketAddr, memory_limit: u64, site: Site<'_>) {
        if self.run.is_some() {
            return;
        }
        let Site { host, engines, loaded, now } = site;
        let node = &self.entry.node;
        let begins = Begins { host, node, memory_limit, loaded };
        self.run = Some(engines.start(address, begins, now));
        self.address = Some(address);
        self.starts += 1;
        self.turn += 1;
        // What an agent before may have let it say is not taken back yet.
        let standing = Some(Standing { on: true, turn: self.turn });
        self.entry.pid = Some(100_000 + self.starts);
        self.change(|report| {
            report.process = Process::Running(None);
            report.data = true;
            report.applied = None;
            report.standing = standing;
        });
    }

    fn fence(&mut self, order: &Order, site: Site<'_>) {
        let state = match self.address() {
            None => Fenced::Dead,
            Some(at) => site.engines.freeze(at, site.now),
        };
        let run = self.run.clone();
        self.change(|report| {
            report.applied = None;
            report.fence = Some(FenceAnswer { rev: order.rev, state });
            if run.is_some() {
                report.process = Process::Running(run);
            }
        });
    }

    fn lead(
        &mut self,
        order: &Order,
        run: &RunId,
        (replicas, lanes, stand_ins): (
            &BTreeSet<Tag>,
            &BTreeSet<ProxyId>,
            Option<&BTreeSet<StandIn>>,
        ),
        promote: bool,
        site: Site<'_>,
    ) {
        let Some(at) = self.address().filter(|_| self.run.as_ref() == Some(run)) else { return };
        let tags: Vec<&Tag> = replicas.iter().collect();
        if promote {
            let acks = if stand_ins.is_some() { ACKS } else { ACKS_ASKED };
            site.engines.promote(at, &tags, acks, site.now);
        } else {
            site.engines.admit(at, &tags, site.now);
        }
        let applied = Applied {
            rev: order.rev,
            epoch: order.epoch,
            run: run.clone(),
            primary: true,
            seqs: replicas.iter().map(|tag| tag.seq).collect(),
            lanes: lanes.clone(),
            stand_ins: stand_ins.into_iter().flatten().map(|one| one.tag.seq).collect(),
            users: mark(&order.users),
        };
        self.change(|report| report.applied = Some(Arc::new(applied)));
    }

    fn follow(
        &mut self,
        order: &Order,
        tag: &Tag,
        primary: SocketAddr,
        lanes: &BTreeSet<ProxyId>,
        site: Site<'_>,
    ) {
        let Some(at) = self.address().filter(|_| self.run.as_ref() == Some(&tag.run.id)) else {
            return;
        };
        site.engines.follow(at, primary, tag, site.now);
        let applied = Applied {
            rev: order.rev,
            epoch: order.epoch,
            run: tag.run.id.clone(),
            primary: false,
            seqs: BTreeSet::from([tag.seq]),
            lanes: lanes.clone(),
            stand_ins: BTreeSet::new(),
            users: mark(&order.users),
        };
        self.change(|report| report.applied = Some(Arc::new(applied)));
    }

    /// Its process has ended.
    pub(crate) fn end(&mut self, engines: &mut Engines, now: Instant) {
        if let Some(at) = self.address() {
            engines.end(at, now);
        }
        self.run = None;
        self.entry.pid = None;
        self.change(|report| {
            report.process = Process::Absent;
            report.engine = None;
            report.applied = None;
            report.standing = None;
        });
        // There is nothing to look at.
        self.unsampled = false;
    }

    /// Its host had no power: what its agent had not on the disk is forgotten.
    pub(crate) fn reboot(&mut self, engines: &mut Engines, now: Instant) {
        self.end(engines, now);
        self.change(|report| report.fence = None);
    }

    /// Nobody has renewed its lease: its supervisor has pointed it at the fence.
    pub(crate) fn lose_lease(&mut self, engines: &mut Engines, now: Instant) {
        if let Some(at) = self.address() {
            engines.freeze(at, now);
        }
        self.change(|report| report.applied = None);
    }

    /// Looks at its engine; whether the next look will find something else for certain.
    pub(crate) fn probe(&mut self, engines: &mut Engines, now: Instant) -> bool {
        self.unsampled = false;
        let found = self.address().and_then(|at| engines.probe(at, now));
        let Some((seen, moves)) = found else { return false };
        let report = &mut self.entry.report;
        let known = report.engine.as_ref().is_some_and(|known| same(known, &seen));
        if !known || report.run() != Some(&seen.run) {
            self.version += 1;
            report.process = Process::Running(Some(seen.run.clone()));
        }
        if let Some(standing) = report.standing.as_mut().filter(|_| report.engine.is_none()) {
            // The first look takes back what may have been left of an earlier agent's.
            standing.on = false;
        }
        report.engine = Some(seen);
        moves
    }

    /// Notes whether its word for its primary's lease can be had.
    pub(crate) fn stand(&mut self, on: bool, engines: &mut Engines) {
        let Some(at) = self.address() else { return };
        let known = self.entry.report.standing.is_some_and(|standing| standing.on == on);
        if known || self.entry.report.engine.is_none() {
            return;
        }
        engines.stand(at, on);
        self.turn += u64::from(on);
        let standing = Some(Standing { on, turn: self.turn });
        self.change(|report| report.standing = standing);
    }
}

/// Whether two samples differ in numbers at most.
fn same(one: &EngineSeen, other: &EngineSeen) -> bool {
    let alike = |(one, other): (&ReplicaSeen, &ReplicaSeen)| {
        (&one.tag, one.online) == (&other.tag, other.online)
    };
    let roles = match (&one.role, &other.role) {
        (RoleSeen::Primary { replicas: one }, RoleSeen::Primary { replicas: other }) => {
            one.len() == other.len() && one.iter().zip(other).all(alike)
        }
        (one, other) => one == other,
    };
    let limits = one.memory_limit == other.memory_limit && one.health == other.health;
    roles && limits && one.run == other.run && one.replid == other.replid
}
