//! The judge: sees everything at once and says what must never be.
//!
//! V1 to V7 of the protocol, P1 and P4, checked at the step that could break them and from the true
//! state of the world, never from what an actor believes.
//!
//! Invariant: an acknowledged write is forgiven only where an operator accepted a loss, where every
//! memory that held it is gone, or where an `async` failover says so.
//!
//! Not here: liveness (`crate::verdict`).

use std::collections::BTreeMap;

use tanist_core::guard::Guard;
use tanist_core::ledger::{Answer, Ledger};
use tanist_core::model::{Cause, EventKind, Instant, NodeId, Origin, Run, ShardTopology, Tag};

use crate::config::MILLI;
use crate::engine::Role;
use crate::history::{LogId, Pos, WriteId};
use crate::store::Proposal;
use crate::world::World;

/// A broken promise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which one: V1 to V8, P1, P4, ...
    pub invariant: &'static str,
    /// When, in microseconds of the world's time.
    pub at: u64,
    /// What happened.
    pub detail: String,
}

#[derive(Debug, Clone, Copy)]
struct Write {
    key: u64,
    version: u64,
    executed_at: Option<u64>,
    acked: bool,
}

/// What the judge knows.
#[derive(Debug, Default)]
pub(crate) struct Judge {
    pub(crate) violation: Option<Violation>,
    writes: Vec<Write>,
    pub(crate) ledger: Ledger,
    /// For each log, up to where it has acknowledged writes that nobody has forgiven.
    acked_to: BTreeMap<LogId, u64>,
    /// Heirs by epoch: the process and what it held when it was chosen.
    heirs: BTreeMap<u64, (usize, Pos)>,
    /// Execution times of acknowledged writes by epoch: the first and the last.
    spans: BTreeMap<u64, (u64, u64)>,
    promised: BTreeMap<usize, u64>,
    /// Writes whose loss was forgiven.
    pub(crate) forgiven: u64,
    /// An operator accepted a loss: an old primary that nobody can reach may go on for a while.
    pub(crate) accepted: bool,
    /// An older copy is in the store's place and nobody was chosen since: what it calls in sync need
    /// not be.
    pub(crate) restored: bool,
    /// The node whose data a person wants to go on with after that.
    pub(crate) named: Option<NodeId>,
    /// Epochs below this may have lost what was in no memory any more: a proof that was on its way
    /// when the memory was lost is released after the loss.
    excused_below: u64,
    pub(crate) last_ack: u64,
    last_epoch: u64,
    /// The longest time without an acknowledgement since the world is calm.
    pub(crate) longest_pause: u64,
    pub(crate) acks: u64,
    pub(crate) deleted: bool,
}

impl Judge {
    /// A client sends a write; returns its id.
    pub(crate) fn sent(&mut self, key: u64, now: Instant) -> WriteId {
        let version = self.ledger.sent(key, now);
        if self.writes.is_empty() {
            self.writes.push(Write { key: 0, version: 0, executed_at: None, acked: false });
        }
        self.writes.push(Write { key, version, executed_at: None, acked: false });
        (self.writes.len() - 1) as WriteId
    }

    pub(crate) fn answered(&mut self, write: WriteId, answer: Answer, now: Instant) {
        let Write { key, version, .. } = self.writes[write as usize];
        self.ledger.answered(key, version, answer, now);
    }

    pub(crate) fn disconnected(&mut self) {
        self.ledger.disconnected();
    }

    /// The process that was chosen last.
    pub(crate) fn last_heir(&self) -> Option<usize> {
        self.heirs.last_key_value().map(|(_, (proc, _))| *proc)
    }

    /// The write's key and version.
    pub(crate) fn name(&self, write: WriteId) -> (u64, u64) {
        let write = &self.writes[write as usize];
        (write.key, write.version)
    }

    /// Every write that was acknowledged and whose loss nobody has forgiven.
    pub(crate) fn acked(&self) -> impl Iterator<Item = WriteId> {
        self.writes.iter().enumerate().filter(|(_, w)| w.acked).map(|(id, _)| id as WriteId)
    }
}

impl World {
    pub(crate) fn violated(&mut self, invariant: &'static str, detail: String) {
        let at = self.now;
        self.tell(|| format!("VIOLATION {invariant}: {detail}"));
        self.judge.violation.get_or_insert(Violation { invariant, at, detail });
    }

    /// Everything that was acknowledged is in what is held at `pos`.
    pub(crate) fn holds_all(&self, pos: Pos) -> bool {
        self.judge.acked_to.iter().all(|(log, off)| self.logs.covers(pos, *log, *off))
    }

    pub(crate) fn first_missing(&self, pos: Pos) -> String {
        let missing = self.judge.acked().find(|write| !self.logs.holds(pos, *write));
        missing.map_or("nothing".to_owned(), |write| {
            let (key, version) = self.judge.name(write);
            format!("write {version} of key {key}")
        })
    }

    /// The process of a run: its number is in its id.
    pub(crate) fn proc_of(&self, run: &Run) -> Option<usize> {
        let digits = run.id.as_str().get(..8)?;
        let number = usize::from_str_radix(digits, 16).ok()?;
        (number < self.procs.len()).then_some(number)
    }

    /// A write is about to be executed.
    pub(crate) fn judge_execution(&mut self, proc: usize, write: WriteId, lane_epoch: u64) {
        let epoch = self.procs[proc].epoch;
        if epoch != lane_epoch {
            let run = &self.procs[proc].run;
            self.violated("V4", format!("{run} of epoch {epoch} takes a lane of {lane_epoch}"));
        }
        let now = self.now;
        let record = &mut self.judge.writes[write as usize];
        if record.executed_at.replace(now).is_some() {
            let (key, version) = (record.key, record.version);
            self.violated("P4", format!("write {version} of key {key} executed twice"));
        }
    }

    /// A process has become a primary.
    pub(crate) fn judge_role(&mut self, proc: usize, epoch: Option<u64>) {
        let heir = epoch.and_then(|epoch| self.judge.heirs.get(&epoch));
        if heir.is_none_or(|(heir, _)| *heir != proc) {
            let node = &self.nodes[self.procs[proc].node];
            return self.violated("V6", format!("{node} is primary without having been chosen"));
        }
        if self.is_async() && !self.judge.accepted {
            let other = self
                .procs
                .iter()
                .enumerate()
                .find(|(number, other)| *number != proc && other.alive && other.is_primary());
            if let Some((_, other)) = other {
                let other = self.nodes[other.node].clone();
                self.violated("V7", format!("{other} may still accept writes"));
            }
        }
    }

    /// An agent wrote its promise to its disk.
    pub(crate) fn judge_guard(&mut self, host: usize, next: Guard) {
        let promised = self.judge.promised.entry(host).or_default();
        let before = *promised;
        *promised = before.max(next.rev.0);
        if next.rev.0 < before {
            self.violated("V3", format!("a host promised {before} and then {}", next.rev));
        }
    }

    /// A reply goes out.
    pub(crate) fn judge_acknowledgement(&mut self, write: WriteId, epoch: u64) {
        let now = self.now;
        self.note_pause(epoch);
        self.judge.last_ack = now;
        self.judge.acks += 1;
        let record = &mut self.judge.writes[write as usize];
        record.acked = true;
        let (key, version) = (record.key, record.version);
        let Some(executed_at) = record.executed_at else {
            return self.violated("P4", format!("write {version} of key {key} never executed"));
        };
        self.judge_order(epoch, executed_at);
        let later: Vec<Pos> =
            self.judge.heirs.range(epoch + 1..).map(|(_, (_, pos))| *pos).collect();
        let lost = later.iter().any(|pos| !self.logs.holds(*pos, write));
        let excused = epoch < self.judge.excused_below;
        let forgives = self.is_async() || self.judge.accepted || excused;
        if lost && forgives {
            self.judge.forgiven += 1;
            self.judge.writes[write as usize].acked = false;
            return;
        }
        if lost {
            let detail = format!("write {version} of key {key} acknowledged after epoch {epoch}");
            return self.violated("V1", detail);
        }
        for Pos { log, off } in self.logs.places(write) {
            let to = self.judge.acked_to.entry(*log).or_default();
            *to = (*to).max(*off);
        }
        self.judge_proof(write, epoch);
    }

    /// How long clients have waited for this acknowledgement.
    fn note_pause(&mut self, epoch: u64) {
        let (now, last) = (self.now, self.judge.last_ack);
        let (pause, calm) = (now - last, self.config.calm);
        let before = std::mem::replace(&mut self.judge.last_epoch, epoch);
        if last > 0 && (pause > 50 * MILLI || before != epoch) {
            let millis = pause / MILLI;
            self.tell(|| {
                format!("clients: writes acknowledged again after {millis} ms (epoch {epoch})")
            });
        }
        if now > calm {
            let longest = &mut self.judge.longest_pause;
            *longest = (*longest).max(now - last.max(calm));
        }
    }

    /// V2 at the moment of an acknowledgement: every member whose answer would count has the write.
    fn judge_proof(&mut self, write: WriteId, epoch: u64) {
        let Some(topology) = self.store.topology.clone() else { return };
        let void = self.judge.accepted || self.judge.restored;
        if self.is_async() || void || topology.epoch.0 != epoch {
            return;
        }
        for tag in &topology.in_sync {
            let Some(proc) = self.proc_of(&tag.run) else { continue };
            let engine = &self.procs[proc];
            if engine.alive && !engine.loading && !self.logs.holds(engine.pos, write) {
                let (key, version) = self.judge.name(write);
                let rev = topology.rev;
                let detail = format!("{tag} is in sync at {rev}, lacks write {version} of {key}");
                return self.violated("V2", detail);
            }
        }
    }

    /// The engine has executed the write, whatever became of its reply.
    pub(crate) fn was_executed(&self, write: WriteId) -> bool {
        self.judge.writes[write as usize].executed_at.is_some()
    }

    /// P1: once an epoch's primary has executed an acknowledged write, no older one executes
    /// another that is acknowledged.
    fn judge_order(&mut self, epoch: u64, executed_at: u64) {
        let span = self.judge.spans.entry(epoch).or_insert((executed_at, executed_at));
        span.0 = span.0.min(executed_at);
        span.1 = span.1.max(executed_at);
        if self.judge.accepted {
            return;
        }
        let spans = &self.judge.spans;
        let newer = spans.range(epoch + 1..).any(|(_, (first, _))| *first < executed_at);
        let older = spans.range(..epoch).any(|(_, (_, last))| *last > executed_at);
        if newer || older {
            self.violated("P1", format!("epoch {epoch} and another one acknowledge by turns"));
        }
    }

    /// A commit was made.
    pub(crate) fn judge_commit(&mut self, before: Option<&ShardTopology>, proposal: &Proposal) {
        self.tell_events(proposal);
        if proposal.term != self.store.term {
            let detail = format!("a leader of term {} committed", proposal.term);
            self.violated("term", detail);
        }
        let Some(next) = proposal.next.as_deref() else {
            self.judge.deleted = true;
            return;
        };
        let faults = before.map_or_else(|| next.check(), |before| next.check_after(before));
        if let Some(fault) = faults.first() {
            self.violated("commit", fault.clone());
        }
        if next.vacancy().is_some_and(|vacancy| vacancy.cause == Cause::Deleted) {
            self.judge.deleted = true;
            return;
        }
        if let (Some(before), Some(heir)) = (before, next.primary())
            && before.vacancy().is_some()
        {
            self.judge_heir(before, next, heir, proposal);
        }
        self.judge_in_sync(next);
    }

    fn tell_events(&mut self, proposal: &Proposal) {
        let rev = proposal.next.as_ref().map_or(0, |next| next.rev.0);
        for event in &proposal.events {
            self.census.event(event.kind.name());
            let sentence = event.kind.sentence();
            self.tell(|| format!("rev {rev}: {sentence}"));
        }
    }

    /// V1, V5: the heir holds everything, and was frozen when it was chosen.
    fn judge_heir(
        &mut self,
        before: &ShardTopology,
        next: &ShardTopology,
        heir: &Run,
        proposal: &Proposal,
    ) {
        let Some(proc) = self.proc_of(heir) else {
            return self.violated("V6", format!("{} was chosen and never ran", heir.node));
        };
        let chosen: Vec<usize> =
            next.in_sync.iter().filter_map(|tag| self.proc_of(&tag.run)).chain([proc]).collect();
        for member in chosen {
            let engine = &self.procs[member];
            let frozen = matches!(engine.role, Role::Replica { of: None, .. });
            if engine.alive && !frozen {
                let node = &self.nodes[engine.node];
                return self.violated("V5", format!("{node} was counted but is not frozen"));
            }
        }
        if std::mem::take(&mut self.judge.restored) {
            self.judge.accepted |= self.may_have_forgotten(before, heir, proc, proposal);
        }
        let pos = self.procs[proc].pos;
        self.judge.heirs.insert(next.epoch.0, (proc, pos));
        self.judge_named_loss(before, next, proc, proposal);
        if self.holds_all(pos) {
            return;
        }
        let missing = self.first_missing(pos);
        if let Err(why) = self.may_lose(before, heir, proposal) {
            let detail = format!("{} was chosen and lacks {missing}: {why}", heir.node);
            return self.violated("V1", detail);
        }
        self.judge.excused_below = next.epoch.0;
        self.forgive(pos);
    }

    /// Whether an older copy in the store's place accounts for what the heir lacks: a person wanted
    /// another node's data than the last primary's, or nobody could know of what was forgotten.
    fn may_have_forgotten(
        &self,
        before: &ShardTopology,
        heir: &Run,
        proc: usize,
        proposal: &Proposal,
    ) -> bool {
        let cause = before.vacancy().map(|vacancy| vacancy.cause);
        if cause != Some(Cause::StoreBehind) {
            return !proposal.told_more;
        }
        self.judge.named.as_ref() == Some(&heir.node) && self.judge.last_heir() != Some(proc)
    }

    /// V8: no loss is named while somebody's memory still holds everything.
    fn judge_named_loss(
        &mut self,
        before: &ShardTopology,
        next: &ShardTopology,
        heir: usize,
        proposal: &Proposal,
    ) {
        let mut kinds = proposal.events.iter().map(|event| &event.kind);
        let from_disk = kinds.any(|kind| matches!(kind, EventKind::RecoveredFromDisk { .. }));
        let complete = self.procs[heir].origin == Origin::CleanStop;
        if !from_disk || complete || self.is_async() || self.judge.accepted {
            return;
        }
        if let Some(node) = self.somebody_holds_all(before) {
            self.violated("V8", format!("a loss is named although {node} has everything"));
        }
        // What is lost may be a write whose answer is still on its way.
        self.judge.excused_below = next.epoch.0;
    }

    /// A run whose answer would have counted, and that lives and has everything.
    fn somebody_holds_all(&self, before: &ShardTopology) -> Option<NodeId> {
        let prev = before.vacancy().and_then(|vacancy| vacancy.prev.as_ref());
        let held = before.in_sync.iter().map(|tag| &tag.run).chain(prev);
        let mut whole = held.filter(|run| {
            self.proc_of(run)
                .map(|member| &self.procs[member])
                .is_some_and(|engine| engine.alive && !engine.loading && self.holds_all(engine.pos))
        });
        whole.next().map(|run| run.node.clone())
    }

    /// Whether the promise allows a loss in this failover; else why not.
    fn may_lose(
        &mut self,
        before: &ShardTopology,
        heir: &Run,
        proposal: &Proposal,
    ) -> Result<(), String> {
        let kinds = || proposal.events.iter().map(|event| &event.kind);
        if kinds().any(|kind| matches!(kind, EventKind::LossAccepted { .. })) {
            self.judge.accepted = true;
            return Ok(());
        }
        let from_disk = kinds().any(|kind| matches!(kind, EventKind::RecoveredFromDisk { .. }));
        if self.is_async() {
            // A primary goes on with its own disk where automatic failover is off, and where no
            // replica has an answer in the epoch's history; what may be missing is named.
            return if from_disk { Ok(()) } else { self.may_lose_async(before, heir, proposal) };
        }
        if !from_disk {
            return Err("the event names no loss".to_owned());
        }
        let proc = self.proc_of(heir);
        if proc.is_some_and(|proc| self.procs[proc].origin == Origin::CleanStop) {
            return Err("it was stopped in order".to_owned());
        }
        match self.somebody_holds_all(before) {
            Some(node) => Err(format!("{node} still has it in memory")),
            None => Ok(()),
        }
    }

    /// An `async` failover may lose what only the old primary had: nobody whose answer was there
    /// has more than the heir.
    fn may_lose_async(
        &self,
        before: &ShardTopology,
        heir: &Run,
        proposal: &Proposal,
    ) -> Result<(), String> {
        let Some(heir) = self.proc_of(heir) else { return Ok(()) };
        let lacks = self.count_missing(self.procs[heir].pos);
        for tag in before.attachments() {
            let Some(other) = self.proc_of(&tag.run) else { continue };
            let engine = &self.procs[other];
            let frozen = matches!(engine.role, Role::Replica { of: None, .. });
            let counts = engine.alive && !engine.loading && frozen;
            if counts
                && proposal.answered.contains(&tag.run.node)
                && self.count_missing(engine.pos) < lacks
            {
                return Err(format!("{} has more and has answered", tag.run.node));
            }
        }
        Ok(())
    }

    /// Acknowledged writes that are not in what is held at `pos`.
    pub(crate) fn count_missing(&self, pos: Pos) -> usize {
        self.judge.acked().filter(|write| !self.logs.holds(pos, *write)).count()
    }

    /// From now on only what the heir holds is owed.
    fn forgive(&mut self, pos: Pos) {
        let writes: Vec<WriteId> =
            self.judge.acked().filter(|write| !self.logs.holds(pos, *write)).collect();
        self.judge.forgiven += writes.len() as u64;
        for write in writes {
            self.judge.writes[write as usize].acked = false;
        }
        self.judge.acked_to.clear();
        let owed: Vec<WriteId> = self.judge.acked().collect();
        for write in owed {
            for Pos { log, off } in self.logs.places(write) {
                let to = self.judge.acked_to.entry(*log).or_default();
                *to = (*to).max(*off);
            }
        }
    }

    /// V2: every member whose answer would count holds every acknowledged write.
    fn judge_in_sync(&mut self, topology: &ShardTopology) {
        if self.is_async() || self.judge.accepted || self.judge.restored {
            return;
        }
        for tag in topology.in_sync.clone() {
            if let Some(missing) = self.member_lacks(&tag) {
                let rev = topology.rev;
                return self.violated("V2", format!("{tag} is in sync at {rev}, lacks {missing}"));
            }
        }
        let run = match (topology.primary(), topology.vacancy()) {
            (Some(run), _) => Some(run),
            (None, Some(vacancy)) => vacancy.prev.as_ref(),
            (None, None) => None,
        };
        let Some(proc) = run.and_then(|run| self.proc_of(run)) else { return };
        if self.procs[proc].alive && !self.holds_all(self.procs[proc].pos) {
            let missing = self.first_missing(self.procs[proc].pos);
            self.violated("V2", format!("the recorded primary lacks {missing}"));
        }
    }

    fn member_lacks(&self, tag: &Tag) -> Option<String> {
        let engine = &self.procs[self.proc_of(&tag.run)?];
        let counts = engine.alive && !engine.loading;
        (counts && !self.holds_all(engine.pos)).then(|| self.first_missing(engine.pos))
    }
}
