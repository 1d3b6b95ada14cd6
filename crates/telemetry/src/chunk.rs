//! Sixty neighbouring slots of time: the seconds of a minute, the minutes of an hour, or hours.
//!
//! Most series are dull: one sample each second, often the same one. So a chunk is kept in the
//! smallest of three forms that its samples allow, and only slots that have samples take room.
//!
//! Invariant: there are as many values as bits are set in `filled`, in the order of the slots.
//!
//! Not here: how many chunks are kept ([`crate::ring`]).

use crate::point::Point;

/// Slots of a chunk.
pub(crate) const SLOTS: u8 = 60;

/// Sixty slots, some of which have samples.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Chunk {
    /// Where the first slot begins, in milliseconds since 1970.
    pub(crate) start: i64,
    /// One bit for each slot that has samples.
    pub(crate) filled: u64,
    pub(crate) body: Body,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Body {
    /// Every filled slot has just this.
    Same(Point),
    /// Every filled slot has one sample.
    Single(Vec<f64>),
    /// Anything else.
    Any(Vec<Point>),
}

impl Chunk {
    /// A chunk with samples in one slot.
    pub(crate) fn new(start: i64, slot: u8, point: Point) -> Self {
        Self { start, filled: 1 << slot, body: Body::Same(point) }
    }

    /// How many slots have samples.
    fn len(&self) -> usize {
        self.filled.count_ones() as usize
    }

    /// Adds samples to a slot, which is below [`SLOTS`].
    pub(crate) fn merge(&mut self, slot: u8, point: Point) {
        let bit = 1 << slot;
        let before = (self.filled & (bit - 1)).count_ones() as usize;
        let taken = self.filled & bit != 0;
        if !taken && self.body == Body::Same(point) {
            self.filled |= bit;
            return;
        }
        self.body = match std::mem::replace(&mut self.body, Body::Any(Vec::new())) {
            Body::Any(points) => Body::Any(points),
            body => widened(body, self.len(), !taken && point.single().is_some()),
        };
        match &mut self.body {
            Body::Any(points) if taken => points[before].merge(&point),
            Body::Any(points) => points.insert(before, point),
            // Widened to this only for one sample in an empty slot.
            Body::Single(values) => values.insert(before, point.sum),
            Body::Same(_) => {}
        }
        self.filled |= bit;
    }

    /// The filled slots' numbers and samples.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u8, Point)> {
        let slots = (0..SLOTS).filter(|slot| self.filled & (1 << slot) != 0);
        slots.enumerate().map(|(at, slot)| {
            let point = match &self.body {
                Body::Same(point) => *point,
                Body::Single(values) => Point::of(values[at]),
                Body::Any(points) => points[at],
            };
            (slot, point)
        })
    }

    /// Gives back room that is not used: nothing more is expected.
    pub(crate) fn shrink(&mut self) {
        let same = match &self.body {
            Body::Any(points) => match points.as_slice() {
                [first, rest @ ..] if rest.iter().all(|point| point == first) => Some(*first),
                _ => None,
            },
            Body::Same(_) | Body::Single(_) => None,
        };
        if let Some(point) = same {
            self.body = Body::Same(point);
        }
        match &mut self.body {
            Body::Same(_) => {}
            Body::Single(values) => values.shrink_to_fit(),
            Body::Any(points) => points.shrink_to_fit(),
        }
    }

    /// Memory that it takes, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        let inside = match &self.body {
            Body::Same(_) => 0,
            Body::Single(values) => values.capacity() * size_of::<f64>(),
            Body::Any(points) => points.capacity() * size_of::<Point>(),
        };
        size_of::<Self>() + inside
    }
}

/// The same in a form that takes one more sample in an empty slot, or anything.
fn widened(body: Body, len: usize, single: bool) -> Body {
    match body {
        Body::Same(point) => match point.single() {
            Some(value) if single => Body::Single(vec![value; len]),
            _ => Body::Any(vec![point; len]),
        },
        Body::Single(values) if single => Body::Single(values),
        Body::Single(values) => Body::Any(values.into_iter().map(Point::of).collect()),
        Body::Any(points) => Body::Any(points),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(samples: &[(u8, f64)]) -> Chunk {
        let [(slot, value), rest @ ..] = samples else { panic!("none") };
        let mut chunk = Chunk::new(0, *slot, Point::of(*value));
        for (slot, value) in rest {
            chunk.merge(*slot, Point::of(*value));
        }
        chunk
    }

    #[test]
    fn dull_samples_take_little_room() {
        let same = chunk(&[(0, 1.0), (3, 1.0), (1, 1.0)]);
        assert_eq!(same.body, Body::Same(Point::of(1.0)));
        let single = chunk(&[(3, 1.0), (0, 2.0), (1, 1.0)]);
        assert_eq!(single.body, Body::Single(vec![2.0, 1.0, 1.0]));
        assert!(same.bytes() < single.bytes());
    }

    #[test]
    fn samples_of_one_slot_are_merged() {
        let chunk = chunk(&[(3, 1.0), (0, 2.0), (3, 4.0)]);
        let expected = Point { count: 2.0, sum: 5.0, min: 1.0, max: 4.0 };
        assert_eq!(chunk.iter().collect::<Vec<_>>(), [(0, Point::of(2.0)), (3, expected)]);
    }

    #[test]
    fn what_has_become_the_same_takes_little_room_again() {
        let mut chunk = chunk(&[(0, 1.0), (0, 2.0), (1, 1.0), (1, 2.0), (59, 2.0), (59, 1.0)]);
        let before: Vec<_> = chunk.iter().collect();
        chunk.shrink();
        assert!(matches!(chunk.body, Body::Same(_)));
        assert_eq!(chunk.iter().collect::<Vec<_>>(), before);
    }
}
