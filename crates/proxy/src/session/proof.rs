//! Whether everybody who must have a write has it (`sync` shards).
//!
//! A batch of writes is followed by `ROLE`, `WAIT`, `ROLE` on its own connection. The first tells a
//! position behind every write of the batch; a later one shows how far each attachment is. WAIT only
//! makes the engine ask its replicas and sleeps meanwhile: its number proves nothing.
//!
//! Invariant: no reply of a batch leaves before `gate::proven` says so under the route of that
//! moment; what cannot be proven is answered with `-UNCERTAIN`.
//!
//! Not here: what proves (`tanist_core::gate`).

use std::collections::BTreeSet;

use tanist_core::gate::{HOLD_LIMIT, proven};
use tanist_core::model::Offset;
use tanist_resp::{Reply, Value};
use tokio::time::Instant;

use super::flight::{Expect, Slot};
use super::{Phase, Session};
use crate::shard::Shard;

/// How long one WAIT sleeps at most, in milliseconds.
const WAIT_MILLIS: u64 = 100;
/// How long one sleeps at most that cannot be woken, in milliseconds.
const BLIND_MILLIS: u64 = 50;

/// The question about one batch.
#[derive(Debug)]
pub(crate) struct Proof {
    serial: u64,
    /// The primary's offset behind the batch.
    position: Option<Offset>,
    /// Since when the position is known.
    since: Option<Instant>,
    /// The attachments and their offsets, as last seen.
    seen: Vec<(String, Offset)>,
    /// The number that the last WAIT was to reach, and what it said.
    asked: usize,
    reached: Option<usize>,
    /// WAIT counts what does not have the batch, so it can only be used as a timer.
    blind: Option<u64>,
}

impl Proof {
    /// When it has had its time.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.since.map(|since| since + HOLD_LIMIT)
    }

    fn holds(&self, required: &BTreeSet<String>) -> bool {
        // With nobody to have it, it is enough that the engine has answered.
        required.is_empty()
            || self.position.is_some_and(|position| {
                let seen = self.seen.iter().map(|(tag, offset)| (tag.as_str(), *offset));
                proven(required, position, seen)
            })
    }

    /// What to ask next: a number for WAIT and how long it may sleep.
    fn next_wait(&mut self, required: usize) -> (usize, u64) {
        let position = self.position.unwrap_or_default();
        let have = self.seen.iter().filter(|(_, offset)| *offset >= position).count();
        // It counts a connection's last write, and on some engines the batch is none: a request
        // that was served while it waited, or one that changed nothing.
        if self.reached.is_some_and(|reached| reached >= self.asked && have < self.asked) {
            self.blind.get_or_insert(1);
        }
        match &mut self.blind {
            None => (required.max(have + 1), WAIT_MILLIS),
            Some(millis) => {
                let now = *millis;
                *millis = (now * 2).min(BLIND_MILLIS);
                (self.seen.len() + 1, now)
            }
        }
    }
}

impl Session {
    /// Whether writes on this upstream have to be proven.
    pub(super) fn needs_proof(&self, shard: &Shard) -> bool {
        let primary = self.link.lane.as_ref().is_some_and(|lane| lane.primary);
        primary && shard.is_sync() && shard.with_gate(|gate| !gate.required().is_empty())
    }

    /// Begins the proof that is wanted, as soon as it can be asked for.
    pub(super) fn begin_wanted_proof(&mut self, shard: &Shard) {
        if !self.proof_wanted || self.proof.is_some() || self.link.phase != Phase::Ready {
            return;
        }
        let parked = matches!(self.slots.back(), Some(Slot::Flight(flight)) if flight.is_parked());
        if self.forward.multi || parked {
            return;
        }
        self.proof_wanted = false;
        let required = shard.with_gate(|gate| gate.required().len());
        if required == 0 {
            return;
        }
        self.proofs += 1;
        let serial = self.proofs;
        self.push_own(&[b"ROLE"], Expect::Role { proof: serial, first: true });
        self.proof = Some(Proof {
            serial,
            position: None,
            since: None,
            seen: Vec::new(),
            asked: 0,
            reached: None,
            blind: None,
        });
        self.ask(serial, required, WAIT_MILLIS);
    }

    fn ask(&mut self, serial: u64, replicas: usize, millis: u64) {
        if let Some(proof) = &mut self.proof {
            proof.asked = replicas;
            proof.reached = None;
        }
        let (replicas, millis) = (replicas.to_string(), millis.to_string());
        let expect = Expect::Wait { proof: serial };
        self.push_own(&[b"WAIT", replicas.as_bytes(), millis.as_bytes()], expect);
        self.push_own(&[b"ROLE"], Expect::Role { proof: serial, first: false });
    }

    /// A proof's WAIT was answered. `false` if the engine is no primary any more.
    pub(super) fn wait_reply(&mut self, serial: u64, reply: &Reply) -> bool {
        if let Some(proof) = self.proof.as_mut().filter(|proof| proof.serial == serial) {
            let count = reply.value().ok().and_then(|value| value.as_int());
            proof.reached = count.and_then(|count| usize::try_from(count).ok());
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
        let Some((position, seen)) = reply.value().ok().as_ref().and_then(primary_role) else {
            return false;
        };
        let Some(proof) = self.proof.as_mut().filter(|proof| proof.serial == serial) else {
            return true;
        };
        proof.seen = seen;
        if first {
            proof.position = Some(position);
            proof.since = Some(now);
        }
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
        } else if !self.proof_wanted && self.needs_proof(shard) {
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
        let late = self.proof.as_ref().and_then(Proof::deadline).is_some_and(|at| at <= now);
        let Some(lane) = self.link.lane.clone().filter(|_| late) else { return };
        for slot in &mut self.slots {
            if let Slot::Flight(flight) = slot
                && flight.gated
                && flight.is_write()
                && flight.reply.is_some()
            {
                shard.note_uncertain();
                flight.reply = Some(shard.uncertain(lane.epoch));
            }
        }
        self.end_proof();
    }
}

/// A primary's own offset and its attachments, from ROLE's answer; `None` if it is no primary.
fn primary_role(value: &Value) -> Option<(Offset, Vec<(String, Offset)>)> {
    let [role, position, replicas] = value.as_array()? else { return None };
    if role.as_str() != Some("master") {
        return None;
    }
    let offset = |value: &Value| u64::try_from(value.as_int()?).ok().map(Offset);
    let seen = replicas.as_array()?.iter().filter_map(|replica| {
        let [tag, _, acked] = replica.as_array()? else { return None };
        Some((tag.as_str()?.to_owned(), offset(acked)?))
    });
    Some((offset(position)?, seen.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proof(position: u64, seen: &[(&str, u64)]) -> Proof {
        Proof {
            serial: 1,
            position: Some(Offset(position)),
            since: None,
            seen: seen.iter().map(|(tag, at)| ((*tag).to_owned(), Offset(*at))).collect(),
            asked: 1,
            reached: None,
            blind: None,
        }
    }

    #[test]
    fn a_proof_holds_for_the_tags_of_this_moment() {
        let all = BTreeSet::from(["a".to_owned(), "b".to_owned()]);
        let proof = proof(10, &[("a", 10), ("b", 9)]);
        assert!(!proof.holds(&all));
        assert!(proof.holds(&BTreeSet::from(["a".to_owned()])));
        assert!(proof.holds(&BTreeSet::new()));
    }

    #[test]
    fn a_wait_that_lies_is_only_a_timer() {
        let mut honest = proof(10, &[("a", 9), ("c", 10)]);
        assert_eq!(honest.next_wait(1), (2, WAIT_MILLIS));
        let mut lying = proof(10, &[("a", 9), ("c", 9)]);
        lying.reached = Some(2);
        assert_eq!(lying.next_wait(1), (3, 1));
        assert_eq!(lying.next_wait(1), (3, 2));
        lying.blind = Some(BLIND_MILLIS);
        assert_eq!(lying.next_wait(1), (3, BLIND_MILLIS));
    }

    #[test]
    fn only_a_primary_tells_a_position() {
        let replica = Value::Array(vec![Value::Bulk("slave".into()), Value::Integer(1)]);
        assert_eq!(primary_role(&replica), None);
        let row = Value::Array(vec![
            Value::Bulk("t.1".into()),
            Value::Bulk("0".into()),
            Value::Bulk("7".into()),
        ]);
        let primary = Value::Array(vec![
            Value::Bulk("master".into()),
            Value::Integer(9),
            Value::Array(vec![row]),
        ]);
        assert_eq!(primary_role(&primary), Some((Offset(9), vec![("t.1".to_owned(), Offset(7))])));
    }
}
