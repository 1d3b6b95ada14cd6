//! What the writers of a run were told, beside what is there.
//!
//! Invariant: lost is what was acknowledged and is not there (`tanist_core::ledger`). Two primaries
//! are counted only where nothing else explains what is there: replication keeps its order, so that
//! what a primary loses is the end of its log. If one writer's acknowledged write is gone, another's,
//! sent after that acknowledgement, is there, and then the first gets yet another acknowledgement for
//! a write that is gone, then two primaries acknowledged in turns. That holds for a run with one
//! fault; two ends of logs, lost one after the other, would look the same.
//!
//! Not here: writing (`super::writer`).

use std::collections::BTreeMap;
use std::time::Duration;

use tanist_core::ledger::{Answer, Ledger, Verdict};
use tanist_core::model::Instant;

/// A write.
#[derive(Debug, Clone, Copy)]
pub struct Op {
    /// When it was due to be sent.
    pub sent: Instant,
    /// When and how it was answered.
    pub answered: Option<(Instant, Answer)>,
}

/// Everything that one writer did, in its order.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// Which writer.
    pub writer: u64,
    /// Its writes.
    pub ops: Vec<Op>,
    /// Connections that broke.
    pub disconnects: u64,
    /// Times that no connection could be had.
    pub undialled: u64,
    /// What was said that is no acknowledgement, and how often.
    pub said: BTreeMap<String, u64>,
}

impl History {
    pub(super) fn new(writer: u64) -> Self {
        Self { writer, ..Self::default() }
    }

    /// When its writes were acknowledged.
    fn acks(&self) -> impl Iterator<Item = Instant> {
        self.ops.iter().filter_map(acked)
    }

    /// How many of its writes were acknowledged after `from`, up to `to`.
    pub fn acked_between(&self, from: Instant, to: Instant) -> usize {
        self.acks().filter(|at| *at > from && *at <= to).count()
    }

    /// The longest time without an acknowledgement that touches what is after `from`, up to `to`.
    pub fn gap(&self, from: Instant, to: Instant) -> Duration {
        let mut last = Instant::ZERO;
        let mut longest = Duration::ZERO;
        for at in self.acks().chain([to]) {
            if at > from {
                longest = longest.max(at.since(last));
            }
            last = at;
        }
        longest
    }
}

fn acked(op: &Op) -> Option<Instant> {
    match op.answered {
        Some((at, Answer::Acked)) => Some(at),
        Some((_, Answer::Uncertain | Answer::Failed)) | None => None,
    }
}

/// What came of a run.
#[derive(Debug, Clone, Default)]
pub struct Judged {
    /// Counts of all writers together.
    pub verdict: Verdict,
    /// Acknowledged writes that are gone, of each writer.
    pub lost: Vec<u64>,
    /// Acknowledgements by one primary after another had acknowledged.
    pub two_primaries: u64,
}

/// Judges what writers were told, given which of their writes are there.
pub fn judge(histories: &[History], found: &BTreeMap<(u64, u64), bool>) -> Judged {
    let is_there = |writer: u64, number: u64| found.get(&(writer, number)).copied() == Some(true);
    let mut ledger = Ledger::default();
    let mut versions = BTreeMap::new();
    let mut lost = Vec::new();
    for history in histories {
        let mut gone = 0;
        for (number, op) in (0u64..).zip(&history.ops) {
            let key = history.writer << 32 | number;
            let version = ledger.sent(key, op.sent);
            if let Some((at, answer)) = op.answered {
                ledger.answered(key, version, answer, at);
            }
            let there = is_there(history.writer, number);
            versions.insert(key, u64::from(there));
            gone += u64::from(acked(op).is_some() && !there);
        }
        (0..history.disconnects).for_each(|_| ledger.disconnected());
        lost.push(gone);
    }
    let two_primaries = histories
        .iter()
        .map(|history| {
            let others = histories.iter().filter(|other| other.writer != history.writer);
            in_turns(history, others, &is_there)
        })
        .sum();
    Judged { verdict: ledger.judge(&versions), lost, two_primaries }
}

/// Writes of `history` that were acknowledged and are gone although another primary had acknowledged
/// between an earlier such one and them.
fn in_turns<'a>(
    history: &History,
    others: impl Iterator<Item = &'a History>,
    is_there: &impl Fn(u64, u64) -> bool,
) -> u64 {
    let gone: Vec<(Instant, Instant)> = (0u64..)
        .zip(&history.ops)
        .filter(|(number, _)| !is_there(history.writer, *number))
        .filter_map(|(_, op)| Some((op.sent, acked(op)?)))
        .collect();
    let Some((_, first_gone)) = gone.first().copied() else { return 0 };
    // The first acknowledgement, by somebody else's primary, of what was sent after that.
    let kept = others.flat_map(|other| {
        (0u64..)
            .zip(&other.ops)
            .filter(|(number, op)| op.sent > first_gone && is_there(other.writer, *number))
            .filter_map(|(_, op)| acked(op))
    });
    let Some(other_acked) = kept.min() else { return 0 };
    gone.iter().filter(|(sent, _)| *sent > other_acked).count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes of one writer: sent at, acknowledged 2 ms later.
    fn history(writer: u64, sent: &[u64]) -> History {
        let op = |ms: &u64| Op {
            sent: Instant::from_millis(*ms),
            answered: Some((Instant::from_millis(ms + 2), Answer::Acked)),
        };
        History { ops: sent.iter().map(op).collect(), ..History::new(writer) }
    }

    fn all_but(histories: &[History], gone: &[(u64, u64)]) -> BTreeMap<(u64, u64), bool> {
        let all =
            histories.iter().flat_map(|h| (0..h.ops.len() as u64).map(|number| (h.writer, number)));
        all.map(|key| (key, !gone.contains(&key))).collect()
    }

    #[test]
    fn a_lost_end_of_a_log_is_loss_by_one_primary() {
        let histories = [history(0, &[0, 10, 20, 30]), history(1, &[1, 11, 500, 510])];
        let judged = judge(&histories, &all_but(&histories, &[(0, 2), (0, 3)]));
        assert_eq!((judged.verdict.lost, judged.two_primaries), (2, 0));
        assert_eq!(judged.lost, [2, 0]);
    }

    #[test]
    fn acknowledgements_in_turns_are_those_of_two_primaries() {
        let histories = [history(0, &[0, 10, 20, 30]), history(1, &[1, 15, 25])];
        let judged = judge(&histories, &all_but(&histories, &[(0, 1), (0, 2), (0, 3)]));
        // The other's, sent at 15 and acknowledged at 17, is there: 20 and 30 came to another.
        assert_eq!((judged.verdict.lost, judged.two_primaries), (3, 2));
    }

    #[test]
    fn a_gap_reaches_to_the_end() {
        let history = history(0, &[0, 10, 20]);
        let at = Instant::from_millis;
        assert_eq!(history.gap(at(15), at(1022)), Duration::from_secs(1));
        assert_eq!(history.gap(at(5), at(23)), Duration::from_millis(10));
    }
}
