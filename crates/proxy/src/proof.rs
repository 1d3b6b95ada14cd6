//! The question whether everybody has a batch of writes, and how far its answer is.
//!
//! A batch is followed by `ROLE`, `WAIT`, `ROLE` on its own connection. The first tells a position
//! behind every write of the batch; a later one shows how far each attachment is. WAIT only makes the
//! engine ask its replicas and sleeps meanwhile: its number proves nothing.
//!
//! Invariant: a proof holds only if `gate::proven` says so under the route of that moment.
//!
//! Not here: what proves (`tanist_core::gate`); who asks (`crate::session`, `crate::trunk`).

use std::collections::BTreeSet;
use std::time::Duration;

use tanist_core::gate::{HOLD_LIMIT, proven};
use tanist_core::model::Offset;
use tanist_resp::{Reply, Value};
use tokio::time::Instant;

/// How long one WAIT sleeps at most, in milliseconds.
pub(crate) const WAIT_MILLIS: u64 = 100;
/// How long one sleeps at most that cannot be woken, in milliseconds.
const BLIND_MILLIS: u64 = 50;
/// When a proof is slow: most take less than one millisecond.
const SLOW: Duration = Duration::from_millis(2);

/// The question about one batch.
#[derive(Debug)]
pub(crate) struct Proof {
    pub(crate) serial: u64,
    /// The primary's offset behind the batch.
    position: Option<Offset>,
    /// Since when the position is known.
    since: Option<Instant>,
    /// For how long after that it may go on before the bell is rung (again).
    patience: Duration,
    /// The attachments and their offsets, as last seen.
    seen: Vec<(String, Offset)>,
    /// The number that the last WAIT was to reach, and what it said.
    asked: usize,
    reached: Option<usize>,
    /// WAIT counts what does not have the batch, so it can only be used as a timer.
    blind: Option<u64>,
}

impl Proof {
    /// Whether it has had its time.
    pub(crate) fn is_late(&self, now: Instant) -> bool {
        self.since.is_some_and(|since| since + HOLD_LIMIT <= now)
    }

    /// When somebody has to look at it at the latest.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.since.map(|since| since + self.patience.min(HOLD_LIMIT))
    }

    /// Whether the engine has to be made to ask its replicas again (`crate::bell`); less and less
    /// often.
    pub(crate) fn is_slow(&mut self, now: Instant) -> bool {
        let slow = self.since.is_some_and(|since| since + self.patience <= now);
        if slow {
            self.patience *= 2;
        }
        slow
    }

    /// Whether everybody who has to have the batch is known to.
    pub(crate) fn holds(&self, required: &BTreeSet<String>) -> bool {
        // With nobody to have it, it is enough that the engine has answered.
        required.is_empty()
            || self.position.is_some_and(|position| {
                let seen = self.seen.iter().map(|(tag, offset)| (tag.as_str(), *offset));
                proven(required, position, seen)
            })
    }

    /// What to ask next: a number for WAIT and how long it may sleep.
    pub(crate) fn next_wait(&mut self, required: usize) -> (usize, u64) {
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

impl Proof {
    /// A question that is about to be asked; the serial tells it from others of the connection.
    pub(crate) fn new(serial: u64) -> Self {
        Self {
            serial,
            position: None,
            since: None,
            patience: SLOW,
            seen: Vec::new(),
            asked: 0,
            reached: None,
            blind: None,
        }
    }

    /// A WAIT for so many replicas was sent.
    pub(crate) fn asks(&mut self, replicas: usize) {
        self.asked = replicas;
        self.reached = None;
    }

    /// WAIT was answered.
    pub(crate) fn waited(&mut self, reply: &Reply) {
        let count = reply.value().ok().and_then(|value| value.as_int());
        self.reached = count.and_then(|count| usize::try_from(count).ok());
    }

    /// ROLE was answered; `first` tells the position.
    pub(crate) fn role(&mut self, role: PrimaryRole, first: bool, now: Instant) {
        self.seen = role.seen;
        if first {
            self.position = Some(role.position);
            self.since = Some(now);
        }
    }
}

/// What a primary says of itself.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct PrimaryRole {
    position: Offset,
    seen: Vec<(String, Offset)>,
}

impl PrimaryRole {
    /// From ROLE's answer; `None` if it is no primary.
    pub(crate) fn of(reply: &Reply) -> Option<Self> {
        let (position, seen) = primary_role(reply.value().ok().as_ref()?)?;
        Some(Self { position, seen })
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
            patience: SLOW,
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
    fn a_slow_proof_rings_less_and_less_often() {
        let start = Instant::now();
        let mut proof = proof(10, &[]);
        assert!(!proof.is_slow(start + HOLD_LIMIT), "its position is not known yet");
        proof.since = Some(start);
        let mut rings = Vec::new();
        for millis in 0..100 {
            if proof.is_slow(start + Duration::from_millis(millis)) {
                rings.push(millis);
            }
        }
        assert_eq!(rings, [2, 4, 8, 16, 32, 64]);
        assert_eq!(proof.due(), Some(start + Duration::from_millis(128)));
        proof.patience = HOLD_LIMIT * 2;
        assert_eq!(proof.due(), Some(start + HOLD_LIMIT));
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
