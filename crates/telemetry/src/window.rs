//! Which times a query is about, and at which resolution it is answered.
//!
//! Invariant: a window's beginning is a multiple of the resolution that answers it.
//!
//! Not here: which periods an API accepts.

use crate::point::Point;
use crate::ring::LEVELS;

const SECOND: i64 = 1_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
/// For how long minutes are kept if there is room.
const MINUTES_KEPT: i64 = 24 * HOUR;

/// The samples of one period.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Datapoint {
    /// When the period begins, in milliseconds since 1970.
    pub at: i64,
    /// Its samples.
    pub point: Point,
}

/// The times of a query: periods from `from` until before `to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    from: i64,
    to: i64,
    period: i64,
    level: usize,
}

impl Window {
    /// Periods of `seconds` from `from` until before `to`, asked at `now` (all three in milliseconds
    /// since 1970).
    ///
    /// The beginning is rounded down as CloudWatch does it: to the period if that is shorter than a
    /// minute, else to the minute; and to the hour if it lies before what is kept in minutes and
    /// hours can answer (of a series whose minutes had to be shortened, that is later). A longer period than a minute that is no multiple of one is taken for the
    /// multiple below; none is shorter than a second.
    #[must_use]
    pub fn new(from: i64, to: i64, seconds: i64, now: i64) -> Self {
        // Far beyond every time that a client can name.
        let limit = i64::MAX / 4;
        let [from, to, now] = [from, to, now].map(|time| time.clamp(-limit, limit));
        let period = seconds.clamp(1, limit / SECOND) * SECOND;
        let (level, period, step) = if period < MINUTE {
            (0, period, period)
        } else if period % HOUR == 0 && from < now - MINUTES_KEPT {
            (2, period, HOUR)
        } else {
            (1, period - period % MINUTE, MINUTE)
        };
        Self { from: from.div_euclid(step) * step, to, period, level }
    }

    /// When the first period begins, in milliseconds since 1970.
    #[must_use]
    pub const fn from(&self) -> i64 {
        self.from
    }

    /// The same periods, but only those that begin before `to`.
    #[must_use]
    pub fn until(self, to: i64) -> Self {
        Self { to: self.to.min(to), ..self }
    }

    pub(crate) const fn bounds(&self) -> (i64, i64) {
        (self.from, self.to)
    }

    pub(crate) const fn level(&self) -> usize {
        self.level
    }

    /// The same times answered from hours, if they would be from minutes and hours can do it. For lack
    /// of room fewer minutes may be kept than usual.
    pub(crate) fn by_the_hour(&self) -> Option<Self> {
        let from = self.from.div_euclid(HOUR) * HOUR;
        (self.level == 1 && self.period % HOUR == 0).then_some(Self { from, level: 2, ..*self })
    }

    /// Merges slots, which come in the order of their times, into periods.
    pub(crate) fn periods(&self, slots: impl Iterator<Item = (i64, Point)>) -> Vec<Datapoint> {
        let mut periods: Vec<Datapoint> = Vec::new();
        for (at, point) in slots {
            let at = self.from + (at - self.from).div_euclid(self.period) * self.period;
            match periods.last_mut() {
                Some(last) if last.at == at => last.point.merge(&point),
                _ => periods.push(Datapoint { at, point }),
            }
        }
        periods
    }
}

const _: () = assert!(
    LEVELS[0].slot == SECOND && LEVELS[1].slot == MINUTE && LEVELS[2].slot == HOUR,
    "windows and rings mean the same levels"
);

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_000 * HOUR;

    #[test]
    fn the_beginning_is_rounded_down_as_the_period_asks() {
        let from = |ago: i64, seconds| {
            let window = Window::new(NOW - ago, NOW, seconds, NOW);
            (window.level, NOW - window.from)
        };
        assert_eq!(from(67_400, 10), (0, 70_000));
        assert_eq!(from(67_400, 60), (1, 120_000));
        assert_eq!(from(67_400, 3_600), (1, 120_000));
        assert_eq!(from(25 * HOUR + 1, 3_600), (2, 26 * HOUR));
        assert_eq!(from(25 * HOUR + 1, 300), (1, 25 * HOUR + MINUTE));
    }

    #[test]
    fn no_time_is_too_far_away() {
        for time in [i64::MIN, i64::MAX] {
            let window = Window::new(time, i64::MAX, i64::MAX, 0);
            assert_eq!(window.periods([(0, Point::of(1.0))].into_iter()).len(), 1);
        }
    }
}
