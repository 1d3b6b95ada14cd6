//! The judge: acknowledged writes in, RTO and RPO out.
//!
//! The same code judges the simulation, the tests and the drills, so that a figure in a report means
//! what it means in a proof. A writer notes every write before it sends it and every answer as it
//! comes; at the end every key is read back.
//!
//! Invariant: a write counts as lost only if it was acknowledged and neither it nor a later write to
//! its key is found; an unknown outcome may be either and is never counted as lost.
//!
//! Not here: generating load and reading back (`tanist`'s drill, `tanist-sim`).

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::Instant;

/// How a write was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Answer {
    /// Acknowledged.
    Acked,
    /// Answered with `-UNCERTAIN`: it may or may not have happened.
    Uncertain,
    /// Answered with another error.
    Failed,
}

/// One write: the `version`-th to its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Record {
    sent: Instant,
    answered: Option<(Instant, Answer)>,
}

/// Everything that writers did, by key and version. Versions of a key grow from 1 and one key has
/// one writer, which waits for each answer before it sends the next.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    writes: BTreeMap<u64, Vec<Record>>,
    disconnects: u64,
}

/// A gap between two acknowledgements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Gap {
    /// Its length.
    pub length: Duration,
    /// When the last write before it was acknowledged.
    pub from: Instant,
}

/// What a ledger says once every key was read back.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Verdict {
    /// Writes that were acknowledged.
    pub acked: u64,
    /// Acknowledged writes that are gone.
    pub lost: u64,
    /// Writes answered with `-UNCERTAIN`.
    pub uncertain: u64,
    /// Writes answered with another error.
    pub failed: u64,
    /// Writes that were never answered.
    pub unanswered: u64,
    /// Connections that broke.
    pub disconnects: u64,
    /// Versions that were read but never sent, or of a write that was refused.
    pub phantoms: u64,
    /// The longest time from sending to acknowledgement.
    pub slowest: Duration,
    /// The longest time without an acknowledgement.
    pub longest_gap: Gap,
}

impl Ledger {
    /// Notes that the next write to `key` is about to be sent; returns its version, which is also
    /// the value to write.
    pub fn sent(&mut self, key: u64, now: Instant) -> u64 {
        let versions = self.writes.entry(key).or_default();
        versions.push(Record { sent: now, answered: None });
        versions.len() as u64
    }

    /// Notes the answer to a write.
    pub fn answered(&mut self, key: u64, version: u64, answer: Answer, now: Instant) {
        let index = usize::try_from(version).ok().and_then(|v| v.checked_sub(1));
        let record = index.and_then(|i| self.writes.get_mut(&key)?.get_mut(i));
        if let Some(record) = record {
            record.answered = Some((now, answer));
        }
    }

    /// Notes that a connection broke.
    pub fn disconnected(&mut self) {
        self.disconnects += 1;
    }

    /// The keys that were written to.
    pub fn keys(&self) -> impl Iterator<Item = u64> {
        self.writes.keys().copied()
    }

    /// Takes in what another writer did; keys must not overlap.
    pub fn merge(&mut self, other: Self) {
        self.writes.extend(other.writes);
        self.disconnects += other.disconnects;
    }

    /// The longest time without an acknowledgement that touches `from..to`.
    pub fn gap_within(&self, from: Instant, to: Instant) -> Gap {
        let mut acks = self.acks();
        acks.retain(|at| *at <= to);
        let start = acks.iter().rposition(|at| *at < from).unwrap_or(0);
        longest(acks.get(start..).unwrap_or_default(), to)
    }

    /// The slowest acknowledged write among those in flight at some time within `from..to`.
    pub fn slowest_within(&self, from: Instant, to: Instant) -> Duration {
        let spans = self.writes.values().flatten().filter_map(|record| match record.answered {
            Some((at, Answer::Acked)) => Some((record.sent, at)),
            Some((_, Answer::Uncertain | Answer::Failed)) | None => None,
        });
        let within = spans.filter(|(sent, at)| *sent <= to && *at >= from);
        within.map(|(sent, at)| at.since(sent)).max().unwrap_or_default()
    }

    /// Errors and unknown outcomes answered within `from..to`.
    pub fn errors_within(&self, from: Instant, to: Instant) -> u64 {
        let answers = self.writes.values().flatten().filter_map(|record| record.answered);
        let bad = answers
            .filter(|(at, answer)| *at >= from && *at <= to && !matches!(answer, Answer::Acked));
        bad.count() as u64
    }

    /// Judges, given the version that each key was found at (0 for absent).
    pub fn judge(&self, found: &BTreeMap<u64, u64>) -> Verdict {
        let mut verdict = Verdict { disconnects: self.disconnects, ..Verdict::default() };
        for (key, versions) in &self.writes {
            let found = found.get(key).copied().unwrap_or(0);
            judge_key(versions, found, &mut verdict);
        }
        let acks = self.acks();
        let end = acks.last().copied().unwrap_or_default();
        verdict.longest_gap = longest(&acks, end);
        verdict
    }

    fn acks(&self) -> Vec<Instant> {
        let answers = self.writes.values().flatten().filter_map(|record| record.answered);
        let acked = answers.filter(|(_, answer)| matches!(answer, Answer::Acked));
        let mut acks: Vec<Instant> = acked.map(|(at, _)| at).collect();
        acks.sort_unstable();
        acks
    }
}

fn judge_key(versions: &[Record], found: u64, verdict: &mut Verdict) {
    let mut found_may_exist = found == 0;
    for (version, record) in (1..).zip(versions) {
        match record.answered {
            Some((at, Answer::Acked)) => {
                verdict.acked += 1;
                verdict.lost += u64::from(version > found);
                verdict.slowest = verdict.slowest.max(at.since(record.sent));
                found_may_exist |= version == found;
            }
            Some((_, Answer::Uncertain)) => {
                verdict.uncertain += 1;
                found_may_exist |= version == found;
            }
            Some((_, Answer::Failed)) => verdict.failed += 1,
            None => {
                verdict.unanswered += 1;
                found_may_exist |= version == found;
            }
        }
    }
    verdict.phantoms += u64::from(!found_may_exist);
}

fn longest(acks: &[Instant], end: Instant) -> Gap {
    let mut gap = Gap::default();
    let next = acks.iter().skip(1).copied().chain([end]);
    for (from, to) in acks.iter().copied().zip(next) {
        if to.since(from) > gap.length {
            gap = Gap { length: to.since(from), from };
        }
    }
    gap
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::from_millis(ms)
    }

    fn two_acked_one_uncertain() -> Ledger {
        let mut ledger = Ledger::default();
        for (sent, answer) in [(0, Answer::Acked), (10, Answer::Acked), (20, Answer::Uncertain)] {
            let version = ledger.sent(1, at(sent));
            ledger.answered(1, version, answer, at(sent + 4));
        }
        ledger
    }

    #[test]
    fn an_acknowledged_write_that_is_not_found_is_lost() {
        let verdict = two_acked_one_uncertain().judge(&BTreeMap::from([(1, 1)]));
        assert_eq!((verdict.acked, verdict.lost, verdict.uncertain), (2, 1, 1));
        let verdict = two_acked_one_uncertain().judge(&BTreeMap::new());
        assert_eq!(verdict.lost, 2);
    }

    #[test]
    fn an_unknown_outcome_is_fine_either_way() {
        for found in [2, 3] {
            let verdict = two_acked_one_uncertain().judge(&BTreeMap::from([(1, found)]));
            assert_eq!((verdict.lost, verdict.phantoms), (0, 0), "found {found}");
        }
    }

    #[test]
    fn a_version_that_nobody_wrote_is_a_phantom() {
        let verdict = two_acked_one_uncertain().judge(&BTreeMap::from([(1, 9)]));
        assert_eq!(verdict.phantoms, 1);
    }

    #[test]
    fn the_gap_runs_from_acknowledgement_to_acknowledgement() {
        let mut ledger = Ledger::default();
        for (sent, done) in [(0, 5), (5, 10), (10, 110), (110, 115)] {
            let version = ledger.sent(7, at(sent));
            ledger.answered(7, version, Answer::Acked, at(done));
        }
        let verdict = ledger.judge(&BTreeMap::from([(7, 4)]));
        let gap = Gap { length: Duration::from_millis(100), from: at(10) };
        assert_eq!(verdict.longest_gap, gap);
        assert_eq!(verdict.slowest, Duration::from_millis(100));
        assert_eq!(ledger.gap_within(at(50), at(112)).length, Duration::from_millis(100));
        assert_eq!(ledger.gap_within(at(111), at(115)).length, Duration::from_millis(5));
    }
}
