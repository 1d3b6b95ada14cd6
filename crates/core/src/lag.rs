//! How far behind a replica is, in time rather than bytes.
//!
//! Bytes say nothing without the write rate. A replica is behind since the moment at which the
//! primary first had something that the replica has not acknowledged yet.
//!
//! Invariant: memory is bounded: at most [`SAMPLES`] positions are kept.
//!
//! Not here: reading the positions (`tanist-agent`), what follows from the lag (`crate::decide`).

use std::collections::VecDeque;
use std::time::Duration;

use crate::model::{Instant, Offset};

/// Positions of the primary that are remembered.
pub const SAMPLES: usize = 128;

/// A primary's recent positions.
#[derive(Debug, Clone, Default)]
pub struct LagMeter {
    samples: VecDeque<(Instant, Offset)>,
}

impl LagMeter {
    /// Notes the primary's position at `now`; only advances are kept. A position before the last one
    /// belongs to another history, and the positions of the old one say nothing about it.
    pub fn note(&mut self, now: Instant, offset: Offset) {
        match self.samples.back() {
            Some((_, last)) if *last == offset => return,
            Some((_, last)) if *last > offset => self.samples.clear(),
            Some(_) | None => {}
        }
        if self.samples.len() == SAMPLES {
            self.samples.pop_front();
        }
        self.samples.push_back((now, offset));
    }

    /// How long the primary has had something that `acked` does not cover.
    pub fn behind(&self, now: Instant, acked: Offset) -> Duration {
        let first_missing = self.samples.iter().find(|(_, offset)| *offset > acked);
        first_missing.map_or(Duration::ZERO, |(at, _)| now.since(*at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meter() -> LagMeter {
        let mut meter = LagMeter::default();
        meter.note(Instant::from_millis(10), Offset(100));
        meter.note(Instant::from_millis(20), Offset(200));
        meter.note(Instant::from_millis(30), Offset(200));
        meter
    }

    #[test]
    fn a_replica_is_behind_since_the_first_position_that_it_lacks() {
        let now = Instant::from_millis(50);
        assert_eq!(meter().behind(now, Offset(150)), Duration::from_millis(30));
        assert_eq!(meter().behind(now, Offset(99)), Duration::from_millis(40));
    }

    #[test]
    fn positions_of_a_history_that_was_left_are_forgotten() {
        let mut meter = LagMeter::default();
        meter.note(Instant::from_millis(10), Offset(1000));
        meter.note(Instant::from_millis(20), Offset(10));
        let now = Instant::from_millis(90_000);
        assert_eq!(meter.behind(now, Offset(10)), Duration::ZERO);
        assert_eq!(meter.behind(now, Offset(9)), Duration::from_millis(89_980));
    }

    #[test]
    fn a_replica_that_has_everything_is_not_behind_however_old_the_last_write_is() {
        assert_eq!(meter().behind(Instant::from_millis(9000), Offset(200)), Duration::ZERO);
    }
}
