//! Who may lead, as a question of time: when a leader still knows that nobody else can lead, and when
//! a server that hears nothing may claim the next term.
//!
//! That of several claims one succeeds is the store's doing: a claim is a compare-and-set, and so is
//! every decision of a leader. Time matters for what a leader gives away without the store.
//!
//! Invariant: a leader is not sure any more before anybody else's claim is due, however late messages
//! were, as long as no clock runs faster than another by a quarter.
//!
//! Not here: beats, claims and the store (`tanist-controller`).

use std::time::Duration;

use crate::model::Instant;

/// Time between two beats of a leader.
pub const BEAT: Duration = Duration::from_millis(100);
/// After how long without one another server claims the leadership.
pub const SILENCE: Duration = Duration::from_millis(800);
/// How long a leader is sure after it sent a beat.
const SURE: Duration = Duration::from_millis(640);

/// Until when a leader is sure that nobody else leads, on its own clock, after a beat that it sent at
/// `sent` was confirmed by the store. Others heard it later than that.
pub fn sure_until(sent: Instant) -> Instant {
    sent + SURE
}

/// When a server may claim the leadership that heard the leader last at `heard`, on its own clock.
pub fn claim_due(heard: Instant) -> Instant {
    heard + SILENCE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_claims_while_a_leader_is_sure() {
        let sent = Instant::from_millis(10_000);
        for late in [0, 1, 50, 5_000] {
            let heard = sent + Duration::from_millis(late);
            // The other's clock runs faster by a quarter.
            let waited = claim_due(heard).since(heard).mul_f64(0.8);
            assert!(sure_until(sent) <= heard + waited, "heard {late} ms later");
        }
        assert!(sure_until(sent).since(sent) > BEAT * 3, "some beats may be lost");
    }
}
