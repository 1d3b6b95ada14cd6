//! Whether everybody who must have a write has it, on an upstream of the client's own (`sync`
//! shards).
//!
//! Invariant: no reply of a batch leaves before its proof holds under the route of that moment; what
//! cannot be proven is answered with `-UNCERTAIN`.
//!
//! Not here: the question itself (`crate::proof`); batches of many clients (`crate::trunk`).

use tanist_resp::Reply;
use tokio::time::Instant;

use super::flight::{Expect, Slot};
use super::{Phase, Session};
use crate::proof::{PrimaryRole, Proof, WAIT_MILLIS};
use crate::shard::Shard;

impl Session {
    /// Whether writes on this upstream have to be proven. While only subscriptions are allowed there are
    /// none, and the question would be refused.
    pub(super) fn needs_proof(&self, shard: &Shard) -> bool {
        let primary = self.link.lane.as_ref().is_some_and(|lane| lane.primary);
        primary
            && !self.state.is_limited()
            && shard.is_sync()
            && shard.with_gate(|gate| !gate.required().is_empty())
    }

    /// Whether reads have to be proven too.
    pub(super) fn proves_reads(&self, shard: &Shard) -> bool {
        shard.reads_strictly() && self.needs_proof(shard)
    }

    /// Begins the proof that is wanted, as soon as it can be asked for.
    pub(super) fn begin_wanted_proof(&mut self, shard: &Shard) {
        if !self.proof_wanted || self.is_proving() || self.link.phase != Phase::Ready {
            return;
        }
        let parked = matches!(self.slots.back(), Some(Slot::Flight(flight)) if flight.is_parked());
        if self.forward.multi || parked || self.flow.is_some() {
            return;
        }
        // After it nothing but subscriptions may be allowed here.
        if self.forward.subscribes && self.cursor < self.slots.len() {
            return;
        }
        self.forward.subscribes = false;
        self.proof_wanted = false;
        let required = shard.with_gate(|gate| gate.required().len());
        if required == 0 {
            return;
        }
        if self.state.is_limited() {
            return self.begin_witness(shard);
        }
        self.proofs += 1;
        let serial = self.proofs;
        if shard.reads_strictly() {
            self.push_word();
        }
        self.push_own(&[b"ROLE"], Expect::Role { proof: serial, first: true });
        self.proof = Some(Proof::new(serial));
        self.ask(serial, required, WAIT_MILLIS);
    }

    fn ask(&mut self, serial: u64, replicas: usize, millis: u64) {
        if let Some(proof) = &mut self.proof {
            proof.asks(replicas);
        }
        let (replicas, millis) = (replicas.to_string(), millis.to_string());
        let expect = Expect::Wait { proof: serial };
        self.push_own(&[b"WAIT", replicas.as_bytes(), millis.as_bytes()], expect);
        self.push_own(&[b"ROLE"], Expect::Role { proof: serial, first: false });
    }

    /// A proof's WAIT was answered. `false` if the engine is no primary any more.
    pub(super) fn wait_reply(&mut self, serial: u64, reply: &Reply) -> bool {
        if let Some(proof) = self.proof.as_mut().filter(|proof| proof.serial == serial) {
            proof.waited(reply);
        }
        !reply.is_error()
    }

    /// A proof's ROLE was answered. `false` if the engine is no primary any more.
    pub(super) fn role_reply(
        &mut self,
        shard: &Shard,
        serial: u64,
        first: bool,
        reply: &Reply,
        now: Instant,
    ) -> bool {
        let Some(role) = PrimaryRole::of(reply) else { return false };
        let Some(proof) = self.proof.as_mut().filter(|proof| proof.serial == serial) else {
            return true;
        };
        proof.role(role, first, now);
        self.recheck_proof(shard);
        let required = shard.with_gate(|gate| gate.required().len());
        if !first && let Some(proof) = &mut self.proof {
            let (replicas, millis) = proof.next_wait(required);
            self.ask(serial, replicas, millis);
        }
        true
    }

    /// Looks at the proof under the route of this moment.
    pub(super) fn recheck_proof(&mut self, shard: &Shard) {
        let all_answered = self.cursor == self.slots.len();
        if let Some(proof) = &self.proof {
            let holds = shard.with_gate(|gate| proof.holds(gate.required()));
            if holds && all_answered {
                self.end_proof();
            }
        } else if !self.proof_wanted && self.witness.is_none() && self.needs_proof(shard) {
            // Somebody has to have it who did not when it was sent.
            self.proof_wanted = self.slots.iter().any(|slot| match slot {
                Slot::Flight(flight) => flight.is_write() && !flight.is_parked(),
                Slot::Answer(_) => false,
            });
        }
    }

    pub(super) fn end_proof(&mut self) {
        self.proof = None;
        for slot in &mut self.slots {
            if let Slot::Flight(flight) = slot
                && flight.reply.is_some()
            {
                flight.gated = false;
            }
        }
    }

    /// Gives up a proof that has had its time.
    pub(super) fn check_proof(&mut self, shard: &Shard, now: Instant) {
        if self.proof.as_mut().is_some_and(|proof| proof.is_slow(now)) {
            shard.bell.ring();
        }
        let late = self.proof.as_ref().is_some_and(|proof| proof.is_late(now));
        if late {
            self.doubt_all(shard);
            self.end_proof();
        }
    }

    /// What was answered and not proven will not be.
    pub(super) fn doubt_all(&mut self, shard: &Shard) {
        let Some(epoch) = self.link.lane.as_ref().map(|lane| lane.epoch) else { return };
        for slot in &mut self.slots {
            if let Slot::Flight(flight) = slot
                && flight.gated
                && flight.reply.is_some()
            {
                flight.doubt(shard, epoch);
            }
        }
    }
}
