//! The host's head: which orders may be carried out, and until when a primary may accept writes.
//!
//! Messages are lost, late, repeated and reordered, and two controllers may believe to lead. The
//! guard makes that harmless with one number: an order from an older revision than the newest one
//! that the host has *on its disk* is refused.
//!
//! The epoch is not compared, because it would add nothing: a shard's commits are one line in which
//! each revision is given out once and the epoch never goes back (`ShardTopology::check_after`), so
//! the newer revision always has the newer epoch. Only a store that was put back from an older copy
//! could give a revision out twice; there, core goes on beyond everything that hosts were told, and
//! by revision alone that shows (`crate::decide::promised_beyond`). The epoch is kept because an
//! engine's orderly stop notes the epoch whose data it leaves behind.
//!
//! Invariant: the revision that was promised never decreases, across restarts too; no order is
//! carried out and no fence is answered before it is persisted ([`Verdict::Persist`]).
//!
//! Not here: writing it to disk and carrying orders out (`tanist-agent`).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::{Epoch, Instant, Limits, Rev};

/// What a host remembers of a shard across restarts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Guard {
    /// The highest revision that was accepted.
    pub rev: Rev,
    /// The epoch that came with it.
    pub epoch: Epoch,
}

/// What to do with an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Carry it out: nothing newer is known and nothing has to be written first.
    Admit,
    /// Write this to disk, then carry it out.
    Persist(Guard),
    /// Refuse it: `seen` is newer.
    Refuse {
        /// The revision that was accepted before.
        seen: Rev,
    },
}

impl Guard {
    /// Judges an order of revision `rev` and epoch `epoch`.
    pub fn judge(self, rev: Rev, epoch: Epoch) -> Verdict {
        if rev < self.rev {
            return Verdict::Refuse { seen: self.rev };
        }
        if rev == self.rev {
            return Verdict::Admit;
        }
        Verdict::Persist(Self { rev, epoch })
    }
}

/// Time between two requests for a lease.
pub const ASK_EVERY: Duration = Duration::from_millis(100);
/// Silence of every controller after which a host's replicas confirm their primaries' leases. Safety
/// does not depend on it: whether they do is reported.
const STAND_IN_AFTER: Duration = Duration::from_millis(200);

/// Whether a host's replicas confirm their primaries' leases, when it has heard no controller that is
/// sure to lead for so long.
pub fn stands_in(silence: Duration) -> bool {
    silence >= STAND_IN_AFTER
}

/// What a primary's host has to do about its lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// There is none: see to it that the engine takes no writes.
    Stop,
    /// No controller has answered twice: ask those who stand in.
    Ask,
    /// Nothing.
    Wait,
}

/// A primary's permission to accept writes in an `async` group, as its own host keeps it.
///
/// It comes from the controller that leads, or, where none is to be had, from everybody in the in-sync
/// set together: nobody takes over without one of them.
///
/// Counted from the *sending* of the request on the host's own boot-time clock: a grant that was
/// delayed on its way is worth only what is left of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Lease {
    until: Option<(Epoch, Instant)>,
}

impl Lease {
    /// Takes in a grant of `epoch` for a request sent at `asked_at`.
    pub fn grant(&mut self, epoch: Epoch, asked_at: Instant, limits: &Limits) {
        let until = asked_at + limits.lease;
        let newer = match self.until {
            Some((known, before)) => epoch > known || (epoch == known && until > before),
            None => true,
        };
        if newer {
            self.until = Some((epoch, until));
        }
    }

    /// What is due for a primary of `epoch`, and after how long that has to be asked again at the
    /// latest: never later than the lease ends.
    pub fn due(&self, epoch: Epoch, now: Instant, limits: &Limits) -> (Due, Duration) {
        let left = self.left(epoch, now);
        let due = match left {
            Duration::ZERO => Due::Stop,
            left if left < limits.lease.saturating_sub(ASK_EVERY * 2) => Due::Ask,
            _ => Due::Wait,
        };
        (due, left.min(ASK_EVERY))
    }

    /// Time that is left for a primary of `epoch`; zero means: stop its writes now.
    pub fn left(&self, epoch: Epoch, now: Instant) -> Duration {
        match self.until {
            Some((known, until)) if known == epoch => until.since(now),
            Some(_) | None => Duration::ZERO,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_of_an_older_revision_is_refused() {
        let guard = Guard { rev: Rev(7), epoch: Epoch(2) };
        assert_eq!(guard.judge(Rev(6), Epoch(2)), Verdict::Refuse { seen: Rev(7) });
        assert_eq!(guard.judge(Rev(7), Epoch(2)), Verdict::Admit);
    }

    #[test]
    fn a_newer_revision_is_persisted_before_it_is_obeyed() {
        let guard = Guard { rev: Rev(7), epoch: Epoch(2) };
        let next = Guard { rev: Rev(8), epoch: Epoch(3) };
        assert_eq!(guard.judge(Rev(8), Epoch(3)), Verdict::Persist(next));
    }

    #[test]
    fn a_lease_runs_from_the_sending_of_the_request() {
        let limits = Limits::DEFAULT;
        let mut lease = Lease::default();
        lease.grant(Epoch(1), Instant::from_millis(1000), &limits);
        assert_eq!(lease.left(Epoch(1), Instant::from_millis(1500)), Duration::from_millis(100));
        assert_eq!(lease.left(Epoch(1), Instant::from_millis(1600)), Duration::ZERO);
        assert_eq!(lease.left(Epoch(2), Instant::from_millis(1000)), Duration::ZERO);
    }

    #[test]
    fn whoever_looks_when_told_to_looks_at_the_end_of_the_lease() {
        let limits = Limits::DEFAULT;
        let mut lease = Lease::default();
        let asked = Instant::from_millis(1000);
        lease.grant(Epoch(1), asked, &limits);
        let (mut now, mut seen) = (asked, Vec::new());
        loop {
            let (due, pause) = lease.due(Epoch(1), now, &limits);
            if seen.last() != Some(&due) {
                seen.push(due);
            }
            if due == Due::Stop {
                break;
            }
            assert!(!pause.is_zero() && pause <= ASK_EVERY);
            now = now + pause;
        }
        assert_eq!(seen, [Due::Wait, Due::Ask, Due::Stop]);
        assert_eq!(now, asked + limits.lease, "not a moment later");
        assert_eq!(lease.due(Epoch(2), asked, &limits).0, Due::Stop, "it is of another epoch");
    }

    #[test]
    fn a_grant_that_arrives_late_never_shortens_or_revives_a_lease() {
        let limits = Limits::DEFAULT;
        let mut lease = Lease::default();
        lease.grant(Epoch(2), Instant::from_millis(1000), &limits);
        lease.grant(Epoch(2), Instant::from_millis(500), &limits);
        lease.grant(Epoch(1), Instant::from_millis(9000), &limits);
        assert_eq!(lease.left(Epoch(2), Instant::from_millis(1100)), Duration::from_millis(500));
        assert_eq!(lease.left(Epoch(1), Instant::from_millis(1100)), Duration::ZERO);
    }
}
