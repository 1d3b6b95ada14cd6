//! How far the hosts' wall clocks are from this one's, as each says about once a second.
//!
//! Nothing depends on it: leases and silence are measured by clocks that nobody sets. It is for people,
//! whose certificates, events and logs disagree when clocks do.
//!
//! What is said arrives later than it is said, which makes a clock look slow. Of the last few words the
//! one that was on its way for the shortest time shows the clock best: it is the one that looks the
//! fastest.
//!
//! Invariant: a clock that was not told lately is unknown, and never shown as right.
//!
//! Not here: judging it (`tanist doctor`).

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use tanist_core::model::{HostId, Instant};

use crate::clock::{boot_time, wall_ms};

/// Words of a host that are remembered.
const KEPT: usize = 8;
/// Age at which a word says nothing any more.
const OLD: Duration = Duration::from_secs(6);

/// When each host said something, and by how many milliseconds its clock was ahead then.
#[derive(Debug, Default)]
pub(crate) struct Clocks(BTreeMap<HostId, VecDeque<(Instant, i64)>>);

impl Clocks {
    /// A host's clock shows this, now.
    pub(crate) fn note(&mut self, host: HostId, theirs_ms: u64) {
        self.add(host, ahead(theirs_ms, wall_ms()), boot_time());
    }

    fn add(&mut self, host: HostId, ahead: i64, now: Instant) {
        let words = self.0.entry(host).or_default();
        words.truncate(KEPT - 1);
        words.push_front((now, ahead));
    }

    /// By how many milliseconds a host's clock is ahead, if it is known.
    pub(crate) fn ahead(&self, host: &HostId, now: Instant) -> Option<i64> {
        let words = self.0.get(host)?.iter();
        words.filter(|(at, _)| now.since(*at) < OLD).map(|(_, ahead)| *ahead).max()
    }
}

/// By how much one time is after another.
fn ahead(theirs_ms: u64, own_ms: u64) -> i64 {
    let by = i64::try_from(theirs_ms.abs_diff(own_ms)).unwrap_or(i64::MAX);
    if theirs_ms < own_ms { -by } else { by }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_that_was_long_on_its_way_makes_no_clock_look_slow() {
        let (mut clocks, host) = (Clocks::default(), HostId::new("h2"));
        let mut now = Instant::from_millis(10_000);
        assert_eq!(clocks.ahead(&host, now), None, "nobody has said it");
        for ahead in [-900, 3, -2000, -1] {
            now = now + Duration::from_secs(1);
            clocks.add(host.clone(), ahead, now);
        }
        assert_eq!(clocks.ahead(&host, now), Some(3));
        // A clock that was set back is seen once nothing older is remembered.
        for _ in 0..KEPT {
            now = now + Duration::from_secs(1);
            clocks.add(host.clone(), -30_000, now);
        }
        assert_eq!(clocks.ahead(&host, now), Some(-30_000));
        assert_eq!(clocks.ahead(&host, now + OLD), None, "it has fallen silent");
        assert!(clocks.0.values().all(|words| words.len() <= KEPT));
    }

    #[test]
    fn any_two_times_can_be_compared() {
        assert_eq!((ahead(5, 3), ahead(3, 5), ahead(4, 4)), (2, -2, 0));
        assert_eq!((ahead(u64::MAX, 0), ahead(0, u64::MAX)), (i64::MAX, -i64::MAX));
    }
}
