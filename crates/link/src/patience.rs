//! For how long the server that leads may say nothing before another one is asked.
//!
//! It says something every few milliseconds. One that many hosts call at once has so much to tell all
//! of them, and to hear, that it may be silent for too long once more, and is called by all of them once
//! more, without end. So whoever gave a server up gives the next one more time, until all has been well
//! for a while.
//!
//! Invariant: a server that falls silent after [`CALM`] without that is given up after [`FIRST`].
//!
//! Not here: which server is asked next (`crate::fleet`).

use std::time::Duration;

use tokio::time::Instant;

/// How long the silence may be.
const FIRST: Duration = Duration::from_millis(800);
/// How long it may be at most.
const MOST: Duration = Duration::from_millis(3_200);
/// For how long the next one is given more time.
const CALM: Duration = Duration::from_secs(60);

/// How long a silence may be now.
#[derive(Debug, Default)]
pub struct Patience {
    /// When a server was given up last, and how long the silence may be since.
    given_up: Option<(Instant, Duration)>,
}

impl Patience {
    /// How long the silence may be that begins at `now`.
    pub fn limit(&self, now: Instant) -> Duration {
        match self.given_up {
            Some((at, limit)) if now - at < CALM => limit,
            Some(_) | None => FIRST,
        }
    }

    /// The moment at which the silence that begins at `now` is too long.
    pub fn end(&self, now: Instant) -> Instant {
        now + self.limit(now)
    }

    /// A server was silent for too long.
    pub fn give_up(&mut self, now: Instant) {
        self.given_up = Some((now, (self.limit(now) * 2).min(MOST)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_given_up_has_more_time_until_all_was_well_for_a_while() {
        let (mut patience, began) = (Patience::default(), Instant::now());
        assert_eq!(patience.end(began), began + FIRST);
        let mut now = began;
        for limit in [FIRST * 2, FIRST * 4, MOST, MOST] {
            patience.give_up(now);
            now += CALM / 2;
            assert_eq!(patience.limit(now), limit);
        }
        now += CALM / 2;
        assert_eq!(patience.limit(now), FIRST);
        patience.give_up(now);
        assert_eq!(patience.limit(now), FIRST * 2);
    }
}
