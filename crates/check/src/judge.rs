//! The judge: what must hold after a commit, a promotion and an acknowledgement.
//!
//! It sees what nobody in the world sees: which process really has which writes.
//!
//! Invariant: it never lets a broken promise pass, except a loss that was named: the recorded
//! primary's disk after every memory that could hold more is gone.
//!
//! Not here: telling how it came to that (`crate::story`).

use crate::nouns::Attachment;
use crate::state::{Chosen, Flight, State};
use crate::step::{Fault, Next};
use crate::world::World;

fn broken(promise: &'static str, detail: String) -> Option<Fault> {
    Some(Fault { promise, detail })
}

fn writes(set: u16) -> String {
    let names: Vec<String> =
        (0..16).filter(|write| set & (1 << write) != 0).map(|write| format!("w{write}")).collect();
    names.join(", ")
}

impl World {
    /// The writes of a run, if it is alive and has data that can be compared.
    fn writes_of(&self, state: &State, node: u8, run: u8) -> Option<u16> {
        let node = self.node(state, node);
        (node.alive && node.run == run && !node.hollow).then(|| node.history.set())
    }

    pub(crate) fn judge_commit(
        &mut self,
        before: &State,
        mut state: State,
        recovered: bool,
    ) -> Next {
        let decided = self.topologies.get(state.topology);
        let (primary, epoch) = (decided.primary, decided.epoch);
        let mut ledger = self.ledgers.get(state.ledger).clone();
        if let Some((node, run)) = primary
            && ledger.chosen.last().is_none_or(|last| last.epoch != epoch)
            && epoch > 1
        {
            // What has no data that can be compared holds nothing, if somebody chooses it.
            let heir = self.node(&state, node);
            let held = (heir.alive && heir.run == run).then(|| heir.history.set());
            if recovered {
                if let Some(fault) = self.judge_recovery(before) {
                    return Next { state, fault: Some(fault) };
                }
                let written = (1_u32 << (ledger.written + 1)) as u16 - 2;
                ledger.forgiven |= written & !held.unwrap_or(0);
                ledger.acked &= !ledger.forgiven;
            }
            ledger.chosen.push(Chosen { epoch, node, run, writes: held });
            let missing = held.map_or(0, |held| ledger.acked & !held);
            state.ledger = self.ledgers.number(ledger);
            if missing != 0 {
                let detail = format!(
                    "web-{:03} was chosen for epoch {epoch} without the acknowledged {}",
                    node + 1,
                    writes(missing)
                );
                let fault =
                    broken("V1: an acknowledged write is in the candidate's history", detail);
                return Next { state, fault };
            }
        }
        let fault = self.judge_members(&state);
        Next { state, fault }
    }

    /// V2: every single member of S that could answer a freeze holds every acknowledged write.
    fn judge_members(&self, state: &State) -> Option<Fault> {
        let acked = self.ledgers.get(state.ledger).acked;
        for Attachment { node, run, seq } in &self.topologies.get(state.topology).in_sync {
            let Some(held) = self.writes_of(state, *node, *run) else { continue };
            if acked & !held != 0 {
                let detail = format!(
                    "web-{:03} (attachment {seq}) is in the in-sync set without the acknowledged {}",
                    node + 1,
                    writes(acked & !held)
                );
                return broken("V2: each member of S holds every acknowledged write", detail);
            }
        }
        None
    }

    /// A disk may be chosen only if every memory that could hold more is gone.
    fn judge_recovery(&self, vacant: &State) -> Option<Fault> {
        let ledger = self.ledgers.get(vacant.ledger);
        let prev = ledger.chosen.last().map_or((0, 0), |last| (last.node, last.run));
        let members = &self.topologies.get(vacant.topology).in_sync;
        let memories = members.iter().map(|member| (member.node, member.run)).chain([prev]);
        for (node, run) in memories {
            if self.writes_of(vacant, node, run).is_some() {
                let detail = format!("web-{:03} run {run} still lives", node + 1);
                return broken("a disk is chosen only if the memories are lost", detail);
            }
        }
        None
    }

    /// V6, at the moment at which a process begins (or goes on) to take writes.
    pub(crate) fn judge_primary(
        &self,
        state: &State,
        node: u8,
        run: u8,
        epoch: u8,
    ) -> Option<Fault> {
        if epoch == 1 && (node, run) == (0, 0) {
            return None;
        }
        let chosen = &self.ledgers.get(state.ledger).chosen;
        if chosen.iter().any(|c| (c.epoch, c.node, c.run) == (epoch, node, run)) {
            return None;
        }
        let detail = format!("web-{:03} run {run} was made primary of epoch {epoch}", node + 1);
        broken("V6: only a run that a second commit named is primary", detail)
    }

    /// P1 and V2, at the moment at which a write is acknowledged.
    pub(crate) fn judge_release(&mut self, mut state: State, flight: &Flight) -> Next {
        let mut ledger = self.ledgers.get(state.ledger).clone();
        ledger.acked |= (1 << flight.write) & !ledger.forgiven;
        let later = ledger.chosen.iter().find(|chosen| {
            chosen.epoch > flight.epoch
                && ledger.acked & (1 << flight.write) != 0
                && chosen.writes.is_some_and(|held| held & (1 << flight.write) == 0)
        });
        let fault = later.and_then(|chosen| {
            let detail = format!(
                "w{} was acknowledged under epoch {} and is not in the history of web-{:03}, \
                 primary of epoch {}",
                flight.write,
                flight.epoch,
                chosen.node + 1,
                chosen.epoch
            );
            broken("P1: an acknowledged write is in every later epoch's history", detail)
        });
        state.ledger = self.ledgers.number(ledger);
        let fault = fault.or_else(|| self.judge_members(&state));
        Next { state, fault }
    }
}
