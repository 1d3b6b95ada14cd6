//! The chunks of one resolution, the newest kept and the oldest dropped.
//!
//! Invariant: chunks are in the order of their times, none twice, and none is older than the newest
//! by as many chunks as are kept.
//!
//! Not here: which resolutions there are for a query ([`crate::window`]).

use std::collections::VecDeque;

use crate::chunk::{Chunk, SLOTS};
use crate::point::Point;

/// A resolution.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Level {
    /// A slot's length, in milliseconds.
    pub(crate) slot: i64,
    /// Chunks that are kept, the one that is being filled included.
    pub(crate) keep: u16,
}

/// Seconds for an hour, minutes for a day, hours for fifteen days.
pub(crate) const LEVELS: [Level; 3] = [
    Level { slot: 1_000, keep: 61 },
    Level { slot: 60_000, keep: 25 },
    Level { slot: 3_600_000, keep: 7 },
];

impl Level {
    /// A chunk's length, in milliseconds.
    pub(crate) const fn span(self) -> i64 {
        self.slot * SLOTS as i64
    }
}

#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Ring {
    pub(crate) chunks: VecDeque<Chunk>,
}

impl Ring {
    /// Adds samples, unless they are older than what is kept.
    pub(crate) fn merge(&mut self, level: Level, keep: u16, at: i64, point: Point) {
        let start = at.div_euclid(level.span()) * level.span();
        // Below 60 by construction.
        let slot = u8::try_from((at - start) / level.slot).unwrap_or(0);
        let place = self.chunks.partition_point(|chunk| chunk.start < start);
        match self.chunks.get_mut(place) {
            Some(chunk) if chunk.start == start => chunk.merge(slot, point),
            _ => {
                if place == self.chunks.len()
                    && let Some(last) = self.chunks.back_mut()
                {
                    last.shrink();
                }
                self.chunks.insert(place, Chunk::new(start, slot, point));
                self.trim(level, keep);
            }
        }
    }

    /// Drops what is older than `keep` chunks.
    pub(crate) fn trim(&mut self, level: Level, keep: u16) {
        let Some(newest) = self.chunks.back().map(|chunk| chunk.start) else { return };
        let oldest = newest.saturating_sub(level.span() * i64::from(keep.saturating_sub(1)));
        while self.chunks.front().is_some_and(|chunk| chunk.start < oldest) {
            self.chunks.pop_front();
        }
    }

    /// Drops the chunks that begin after `latest`, which is in milliseconds since 1970.
    pub(crate) fn forget_after(&mut self, latest: i64) {
        while self.chunks.back().is_some_and(|chunk| chunk.start > latest) {
            self.chunks.pop_back();
        }
    }

    /// The slots with samples that begin in `[from, to)`, oldest first.
    pub(crate) fn between(
        &self,
        level: Level,
        from: i64,
        to: i64,
    ) -> impl Iterator<Item = (i64, Point)> {
        let first = self.chunks.partition_point(|chunk| chunk.start + level.span() <= from);
        let chunks = self.chunks.range(first..).take_while(move |chunk| chunk.start < to);
        let slots = chunks.flat_map(move |chunk| {
            chunk
                .iter()
                .map(move |(slot, point)| (chunk.start + i64::from(slot) * level.slot, point))
        });
        slots.filter(move |(at, _)| (from..to).contains(at))
    }

    /// Memory that it takes beside itself, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        let unused = self.chunks.capacity() - self.chunks.len();
        self.chunks.iter().map(Chunk::bytes).sum::<usize>() + unused * size_of::<Chunk>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEVEL: Level = Level { slot: 1_000, keep: 3 };

    fn ring(times: &[i64]) -> Ring {
        let mut ring = Ring::default();
        for at in times {
            ring.merge(LEVEL, LEVEL.keep, *at, Point::of(1.0));
        }
        ring
    }

    fn starts(ring: &Ring) -> Vec<i64> {
        ring.chunks.iter().map(|chunk| chunk.start).collect()
    }

    #[test]
    fn samples_may_come_in_any_order() {
        let ring = ring(&[130_000, 0, 61_000, 59_999]);
        assert_eq!(starts(&ring), [0, 60_000, 120_000]);
        let times: Vec<i64> = ring.between(LEVEL, 0, 130_000).map(|(at, _)| at).collect();
        assert_eq!(times, [0, 59_000, 61_000]);
    }

    #[test]
    fn the_oldest_are_dropped() {
        assert_eq!(starts(&ring(&[0, 60_000, 200_000])), [60_000, 180_000]);
        assert_eq!(starts(&ring(&[200_000, 0])), [180_000], "and what comes too late");
    }

    #[test]
    fn times_before_1970_are_times() {
        let times: Vec<i64> = ring(&[-1]).between(LEVEL, -60_000, 0).map(|(at, _)| at).collect();
        assert_eq!(times, [-1_000]);
    }
}
